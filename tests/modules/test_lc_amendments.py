"""Amendments bind the issuing bank at once and each beneficiary when it accepts; transfers divide what there is."""

from __future__ import annotations

import pytest

from tests.modules.lc_kit import AMOUNT, Desk, usd

UP = 20_000_00


@pytest.fixture
def desk() -> Desk:
    return Desk()


def amend(desk: Desk, credit: str, **change: object) -> int:
    desk.ok("bank-cn", "amend_credit", credit=credit, **change)
    return desk.get_credit(credit).amendments


def answer(desk: Desk, credit: str, number: int, said: str = "ACCEPT", person: str = "seller-a") -> None:
    desk.ok(person, "answer_amendment", credit=credit, number=number, answer=said)


def test_silence_changes_nothing_and_the_issuing_bank_stays_bound_by_its_offer(desk: Desk) -> None:
    credit = desk.credit()
    number = amend(desk, credit, delta_minor=UP)
    desk.kit.pass_time(days=30)
    assert desk.get_credit(credit).terms.amount.minor == AMOUNT
    desk.expect("E_CONSERVATION", "seller-a", "present_documents", **desk.papers_args(credit, AMOUNT + 1))
    answer(desk, credit, number)
    assert desk.get_credit(credit).terms.amount.minor == AMOUNT + UP


@pytest.mark.parametrize("said", ["REJECT", "ACCEPT_IN_PART"])
def test_to_accept_in_part_is_to_reject(desk: Desk, said: str) -> None:
    credit = desk.credit()
    number = amend(desk, credit, delta_minor=UP, expiry=desk.day(100))
    answer(desk, credit, number, said)
    found = desk.get_credit(credit)
    assert (found.terms.amount.minor, found.version) == (AMOUNT, 1)
    desk.expect("E_ANSWERED", "seller-a", "answer_amendment", credit=credit, number=number, answer="ACCEPT")


def test_presenting_under_an_amendment_accepts_it(desk: Desk) -> None:
    credit = desk.credit()
    number = amend(desk, credit, delta_minor=UP)
    presentation = desk.present(credit, AMOUNT + UP, under_amendment=number)
    assert desk.get(presentation).version == 2
    desk.expect("E_ANSWERED", "seller-a", "answer_amendment", credit=credit, number=number, answer="REJECT")


def test_a_refused_presentation_does_not_accept_the_amendment_it_names(desk: Desk) -> None:
    credit = desk.credit()
    number = amend(desk, credit, delta_minor=UP)
    late = desk.papers_args(credit, AMOUNT + UP + 1, under_amendment=number)
    desk.expect("E_CONSERVATION", "seller-a", "present_documents", **late)
    answer(desk, credit, number, "REJECT")


def test_a_decrease_cannot_reach_below_what_is_presented_drawn_or_transferred(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    desk.honoured(credit, 30_000_00)
    desk.present(credit, 20_000_00)
    desk.transfer(credit, "seller-b", 25_000_00)
    too_much = amend(desk, credit, delta_minor=-25_000_01)
    just = amend(desk, credit, delta_minor=-25_000_00)
    desk.expect("E_CONSERVATION", "seller-a", "answer_amendment", credit=credit, number=too_much, answer="ACCEPT")
    answer(desk, credit, just)
    assert desk.get_credit(credit).available_minor == 0


def test_a_confirming_bank_is_bound_by_what_it_confirmed_and_what_it_extended_to(desk: Desk) -> None:
    credit = desk.credit(confirmed=True)
    number = amend(desk, credit, delta_minor=UP)
    answer(desk, credit, number)
    desk.expect("E_CONFIRMATION", "seller-a", "present_documents", **desk.papers_args(credit, AMOUNT + UP))
    (row,), _ = desk.kit.query("liabilities", {"bank": "bank-hk"})
    assert row.undrawn_minor == AMOUNT
    to_issuer = desk.present(credit, UP, "bank-cn")
    # What went to the issuing bank counts in full: the confirmed amount is not a second purse.
    desk.expect("E_CONFIRMATION", "seller-a", "present_documents", **desk.papers_args(credit, AMOUNT))
    desk.refuse(to_issuer)
    desk.ok("bank-cn", "return_documents", presentation=to_issuer)
    desk.ok("bank-hk", "extend_confirmation", credit=credit, number=number)
    desk.present(credit, AMOUNT + UP)


def test_a_confirmation_extended_beforehand_takes_effect_with_the_acceptance(desk: Desk) -> None:
    credit = desk.credit(confirmed=True)
    number = amend(desk, credit, expiry=desk.day(100))
    desk.ok("bank-hk", "extend_confirmation", credit=credit, number=number)
    desk.expect("E_ANSWERED", "bank-hk", "extend_confirmation", credit=credit, number=number)
    assert desk.get_credit(credit).confirmation[0].expiry == desk.day(60)
    answer(desk, credit, number)
    assert desk.get_credit(credit).confirmation[0].expiry == desk.day(100)


def test_extending_to_one_amendment_does_not_let_another_one_in(desk: Desk) -> None:
    credit = desk.credit(confirmed=True)
    increase, later = amend(desk, credit, delta_minor=UP), amend(desk, credit, expiry=desk.day(100))
    desk.ok("bank-hk", "extend_confirmation", credit=credit, number=later)
    answer(desk, credit, increase)
    answer(desk, credit, later)
    (confirmed,) = desk.get_credit(credit).confirmation
    assert (confirmed.amount.minor, confirmed.expiry) == (AMOUNT, desk.day(100))
    # A decrease it extends to meets what it confirmed, down to nothing.
    decrease = amend(desk, credit, delta_minor=-AMOUNT - 1)
    desk.ok("bank-hk", "extend_confirmation", credit=credit, number=decrease)
    answer(desk, credit, decrease)
    found = desk.get_credit(credit)
    assert (found.terms.amount.minor, found.confirmation[0].amount.minor) == (UP - 1, 0)
    desk.expect("E_CONFIRMATION", "seller-a", "present_documents", **desk.papers_args(credit, 1))
    desk.present(credit, 1, "bank-cn")


def test_the_newest_amendment_is_confirmed_late_with_all_that_stands_before_it(desk: Desk) -> None:
    credit = desk.credit(confirmed=True)
    for number in (amend(desk, credit, delta_minor=UP), amend(desk, credit, delta_minor=UP)):
        answer(desk, credit, number)
    desk.expect("E_STATE", "bank-hk", "extend_confirmation", credit=credit, number=1)
    desk.ok("bank-hk", "extend_confirmation", credit=credit, number=2)
    assert desk.get_credit(credit).confirmation[0].amount.minor == AMOUNT + 2 * UP


def test_a_later_expiry_that_was_not_confirmed_leaves_the_confirming_bank_at_the_old_one(desk: Desk) -> None:
    credit = desk.credit(confirmed=True, expiry="2025-12-10", latest_shipment="2025-12-05")
    answer(desk, credit, amend(desk, credit, expiry="2026-01-09"))
    desk.go_to("2025-12-11")
    shipped = {"shipment_date": "2025-12-05"}
    desk.expect("E_EXPIRED", "seller-a", "present_documents", **desk.papers_args(credit, AMOUNT, **shipped))
    desk.present(credit, AMOUNT, "bank-cn", **shipped)


def test_documents_forwarded_to_a_confirming_bank_fit_what_it_confirmed(desk: Desk) -> None:
    # Nominated in Hong Kong, confirmed by another bank in Guangzhou, which did not follow the later expiry.
    confirming = [{"name": "bank-mo", "place": "CN"}]
    credit = desk.credit(confirming=confirming, expiry="2025-12-10", latest_shipment="2025-12-05")
    desk.ok("bank-mo", "confirm_credit", credit=credit)
    answer(desk, credit, amend(desk, credit, expiry="2026-01-09", delta_minor=UP))
    desk.go_to("2025-12-10")
    early = desk.present(credit, 1, shipment_date="2025-12-05")
    desk.go_to("2025-12-11")
    late = desk.present(credit, AMOUNT - 1, shipment_date="2025-12-05")
    above = desk.present(credit, UP, shipment_date="2025-12-05")
    desk.expect("E_CONFIRMATION", "bank-hk", "forward_presentation", presentation=above, to="bank-mo")
    desk.ok("bank-hk", "forward_presentation", presentation=above, to="bank-cn")
    desk.refuse(above)
    desk.ok("bank-cn", "return_documents", presentation=above)
    desk.expect("E_EXPIRED", "bank-hk", "forward_presentation", presentation=late, to="bank-mo")
    desk.comply(early)  # the nominated bank likes them and need not pay
    desk.ok("seller-a", "forward_presentation", presentation=early, to="bank-mo")
    desk.ok("bank-hk", "forward_presentation", presentation=late, to="bank-cn")


def test_an_increase_that_was_offered_stands_when_everything_before_it_is_drawn(desk: Desk) -> None:
    credit = desk.credit()
    number = amend(desk, credit, delta_minor=UP)
    desk.honoured(credit)
    assert desk.states(credit)[0] == "DRAWN"
    answer(desk, credit, number)
    desk.honoured(credit, UP)
    assert desk.states(credit) == ("DRAWN", AMOUNT + UP, 0)


def test_a_transfer_divides_the_credit_and_the_confirmation_goes_with_it(desk: Desk) -> None:
    credit = desk.credit(confirmed=True, transferable=True, plus_ppm=50_000)
    part = desk.transfer(credit, "seller-b", 60_000_00, expiry=desk.day(50), presentation_days=10)
    found = desk.get_credit(part)
    assert (found.state.value, found.beneficiary, found.terms.presentation_days) == ("CONFIRMED", "seller-b", 10)
    assert found.terms.limit_minor == 63_000_00
    assert desk.get_credit(credit).available_minor == 42_000_00
    presentation = desk.present(part, 63_000_00)
    desk.kit.pass_time(days=10)
    desk.ok("seller-b", "claim_preclusion", presentation=presentation)
    desk.honour(presentation)
    assert desk.states(part) == ("DRAWN", 63_000_00, 0)
    (row,), _ = desk.kit.query("liabilities", {"bank": "bank-cn"})
    assert (row.credits, row.undrawn_minor) == (1, 42_000_00)
    (listed,), _ = desk.kit.query("transfers", {"credit": credit})
    assert listed.credit == part


def test_the_first_beneficiary_draws_its_margin_by_substituting_its_invoice_once(desk: Desk) -> None:
    credit = desk.credit(transferable=True, partial=False)
    part = desk.transfer(credit, "seller-b", 80_000_00, covers_minor=90_000_00)
    goods = desk.honoured(part, 80_000_00)
    margin = {"kinds": ("INVOICE",), "substitutes": goods}
    greedy = desk.papers_args(credit, 10_000_01, **margin)
    desk.expect("E_SUBSTITUTION", "seller-a", "present_documents", **greedy)
    presentation = desk.present(credit, 10_000_00, **margin)
    desk.expect("E_SUBSTITUTION", "seller-a", "present_documents", **desk.papers_args(credit, 1, **margin))
    desk.comply(presentation)
    desk.honour(presentation)
    assert desk.states(credit) == ("PARTLY_DRAWN", 10_000_00, 0)


def test_the_margin_follows_the_goods_and_there_is_none_at_the_same_price(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    cheaper = desk.transfer(credit, "seller-b", 40_000_00, covers_minor=50_000_00)
    same = desk.transfer(credit, "seller-c", 40_000_00)
    half, whole = desk.present(cheaper, 20_000_00), desk.present(same, 40_000_00)
    for goods, minor in ((half, 5_000_01), (whole, 1)):
        args = desk.papers_args(credit, minor, kinds=("INVOICE",), substitutes=goods)
        desk.expect("E_SUBSTITUTION", "seller-a", "present_documents", **args)
    desk.present(credit, 5_000_00, kinds=("INVOICE",), substitutes=half)


def test_each_second_beneficiary_answers_for_itself_after_the_first(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    passed_b = desk.transfer(credit, "seller-b", 30_000_00, passes_amendments=True)
    passed_c = desk.transfer(credit, "seller-c", 30_000_00, passes_amendments=True)
    kept = desk.transfer(credit, "seller-b", 10_000_00)
    later = desk.day(100)
    number = amend(desk, credit, expiry=later, delta_minor=UP)
    for_b = {"credit": passed_b, "number": number, "answer": "ACCEPT"}
    desk.expect("E_NOT_PASSED", "seller-b", "answer_amendment", **for_b)
    answer(desk, credit, number)
    answer(desk, passed_b, number, person="seller-b")
    answer(desk, passed_c, number, "REJECT", "seller-c")
    desk.expect("E_NOT_PASSED", "seller-b", "answer_amendment", credit=kept, number=number, answer="ACCEPT")
    found = [desk.get_credit(part).terms for part in (passed_b, passed_c, kept)]
    assert [terms.expiry == later for terms in found] == [True, False, False]
    # The amount of a part is what the first beneficiary gave, whatever happens to the whole.
    assert [terms.amount.minor for terms in found] == [30_000_00, 30_000_00, 10_000_00]


def test_a_part_made_after_an_amendment_has_it_already(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    number = amend(desk, credit, expiry=desk.day(100))
    answer(desk, credit, number)
    part = desk.transfer(credit, "seller-b", 1_000_00, passes_amendments=True)
    assert desk.get_credit(part).terms.expiry == desk.day(100)
    desk.expect("E_NOT_PASSED", "seller-b", "answer_amendment", credit=part, number=number, answer="ACCEPT")


def test_a_transfer_that_was_asked_for_before_an_amendment_is_asked_for_again(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    desk.ok("seller-a", "request_transfer", credit=credit, to="seller-b", amount=usd(1_000_00))
    answer(desk, credit, amend(desk, credit, expiry=desk.day(70)))
    desk.expect("E_STATE", "bank-hk", "transfer_credit", credit=f"{credit}.1")
    desk.ok("seller-a", "decline_draft", credit=f"{credit}.1")
    assert desk.get_credit(credit).available_minor == AMOUNT


def test_a_part_ends_by_consent_of_both_beneficiaries_and_its_amount_goes_back(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    part = desk.transfer(credit, "seller-b", 40_000_00)
    desk.expect("E_IN_USE", "bank-cn", "cancel_credit", credit=credit)
    desk.ok("bank-cn", "cancel_credit", credit=part)
    desk.ok("seller-b", "cancel_credit", credit=part)
    assert desk.get_credit(credit).available_minor == AMOUNT - 40_000_00
    desk.ok("seller-a", "cancel_credit", credit=part)
    assert desk.get_credit(part).state.value == "CANCELLED"
    assert desk.get_credit(credit).available_minor == AMOUNT


def test_a_credit_expires_after_all_its_parts(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    part = desk.transfer(credit, "seller-b", 40_000_00)
    desk.kit.pass_time(days=70)
    desk.expect("E_IN_USE", "seller-a", "expire_credit", credit=credit)
    desk.ok("seller-b", "expire_credit", credit=part)
    desk.ok("seller-a", "expire_credit", credit=credit)
    assert desk.get_credit(credit).state.value == "EXPIRED"
