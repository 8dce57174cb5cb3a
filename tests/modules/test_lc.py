"""Letters of credit on the main road: issue, present, examine, honour, reimburse, close; and the days of each bank."""

from __future__ import annotations

import pytest

from dawan_node.execution.module import DeclarationError
from dawan_node.execution.registry import Registry
from dawan_node.modules.lc.entities import PresentationState
from tests.modules.lc_kit import AMOUNT, Desk, usd


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_happy_path_of_a_deferred_credit_to_the_last_paper(desk: Desk) -> None:
    """Domain H: issue, advise, amend, accept, ship, present, comply on day 3, 60 days deferred, pay, title onwards."""
    credit = desk.credit(available_by="DEFERRED", tenor_days=60, tenor_from="SHIPMENT")
    desk.ok("bank-cn", "amend_credit", credit=credit, delta_minor=10_000_00, expiry=desk.day(90))
    desk.ok("seller-a", "answer_amendment", credit=credit, number=1, answer="ACCEPT")
    shipped = desk.today
    desk.kit.pass_time(days=6)  # Monday 1 December
    presentation = desk.present(credit, 110_000_00, shipment_date=shipped)
    assert desk.get(presentation).deadline == "2025-12-08"
    desk.go_to("2025-12-04")
    desk.ok("bank-hk", "examine_presentation", presentation=presentation)
    desk.comply(presentation)
    desk.honour(presentation)
    found = desk.get(presentation)
    assert (found.state, found.maturity) == (PresentationState.ACCEPTED, "2026-01-24")
    assert desk.states(credit) == ("DRAWN", 110_000_00, 0)

    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    desk.ok("bank-cn", "release_documents", presentation=presentation)
    assert desk.get(presentation).with_party == "buyer-a"

    early = desk.cash("bank-hk", "seller-a", usd(110_000_00))
    desk.expect("E_NOT_DUE", "settle-bank", "pay_presentation", presentation=presentation, cash=early)
    desk.go_to("2026-01-24")
    desk.pay(presentation)
    cash = desk.cash("bank-cn", "bank-hk", usd(110_000_00))
    desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    assert desk.states(credit) == ("CLOSED", 110_000_00, 0)
    assert desk.get(presentation).state == PresentationState.PAID


def test_a_sight_credit_is_drawn_in_parts_to_its_last_cent_and_closed(desk: Desk) -> None:
    credit = desk.credit()
    first = desk.honoured(credit, 60_000_00)
    assert desk.states(credit) == ("PARTLY_DRAWN", 60_000_00, 0)
    second = desk.honoured(credit, 40_000_00)
    assert desk.states(credit) == ("DRAWN", AMOUNT, 0)
    desk.pay(first)
    assert desk.states(credit)[0] == "DRAWN"
    desk.pay(second)
    assert desk.states(credit)[0] == "CLOSED"


@pytest.mark.parametrize(
    ("terms", "bank", "how", "maturity"),
    [
        ({"available_by": "SIGHT"}, "bank-hk", "HONOURED", "2025-11-25"),
        ({"available_by": "SIGHT"}, "bank-cn", "HONOURED", "2025-11-25"),
        ({"available_by": "DEFERRED", "tenor_days": 30}, "bank-hk", "ACCEPTED", "2025-12-25"),
        ({"available_by": "ACCEPTANCE", "tenor_days": 90}, "bank-cn", "ACCEPTED", "2026-02-23"),
        ({"available_by": "NEGOTIATION"}, "bank-hk", "NEGOTIATED", "2025-11-25"),
        ({"available_by": "NEGOTIATION", "tenor_days": 30}, "bank-hk", "NEGOTIATED", "2025-11-25"),
        ({"available_by": "NEGOTIATION"}, "bank-cn", "HONOURED", "2025-11-25"),
        ({"available_by": "NEGOTIATION", "tenor_days": 30}, "bank-cn", "ACCEPTED", "2025-12-25"),
    ],
)
def test_how_and_when_a_bank_pays_follows_from_the_availability(
    desk: Desk, terms: dict[str, object], bank: str, how: str, maturity: str
) -> None:
    presentation = desk.honoured(desk.credit(**terms), bank=bank)
    found = desk.get(presentation)
    assert (found.state.value, found.maturity) == (how, maturity)


def test_the_issuing_bank_pays_a_bought_draft_at_its_tenor_not_when_it_was_bought(desk: Desk) -> None:
    credit = desk.credit(available_by="NEGOTIATION", tenor_days=30, reimbursing="bank-mo")
    presentation = desk.honoured(credit)
    desk.pay(presentation)
    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    assert desk.get_claim(presentation).due_date == "2025-12-25"
    desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    desk.go_to("2025-12-25")
    cash = desk.cash("bank-mo", "bank-hk", usd(AMOUNT))
    desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)


def test_a_confirming_bank_owes_beside_the_issuing_one(desk: Desk) -> None:
    credit = desk.credit(confirmed=True)
    assert desk.get_credit(credit).obligors == ("bank-cn", "bank-hk")
    presentation = desk.present(credit)
    desk.kit.pass_time(days=10)
    desk.ok("seller-a", "claim_preclusion", presentation=presentation)
    desk.honour(presentation)
    desk.pay(presentation)


def test_a_nominated_bank_that_is_not_bound_can_be_silent_and_the_documents_go_on(desk: Desk) -> None:
    credit = desk.credit()
    presentation = desk.present(credit)
    desk.kit.pass_time(days=10)
    desk.expect("E_NOT_PRECLUDED", "seller-a", "claim_preclusion", presentation=presentation)
    desk.expect("E_PRECLUDED", "bank-hk", "refuse_presentation", presentation=presentation,
                findings=["late"], disposal="HELD")  # fmt: skip
    desk.ok("seller-a", "forward_presentation", presentation=presentation, to="bank-cn")
    found = desk.get(presentation)
    # Friday 5 December in Guangzhou: five banking days after it is the next Friday.
    assert (found.bank, found.received_date, found.deadline) == ("bank-cn", "2025-12-05", "2025-12-12")
    desk.go_to("2025-12-13")
    desk.ok("seller-a", "claim_preclusion", presentation=presentation)
    desk.honour(presentation)


def test_a_refusal_of_a_bank_that_is_not_bound_does_not_speak_for_the_issuing_bank(desk: Desk) -> None:
    credit = desk.credit(expiry=desk.day(7), latest_shipment=desk.day(7))
    presentation = desk.present(credit)
    desk.refuse(presentation)
    desk.kit.pass_time(days=10)  # too late for another presentation, not for these documents
    desk.ok("seller-a", "forward_presentation", presentation=presentation, to="bank-cn")
    assert desk.get(presentation).findings == ()
    desk.refuse(presentation, "its own reason")
    again = {"presentation": presentation, "findings": ["another"], "disposal": "HELD"}
    desk.expect("E_ONE_NOTICE", "bank-cn", "refuse_presentation", **again)
    desk.expect("E_STATE", "seller-a", "forward_presentation", presentation=presentation, to="bank-cn")


def test_refused_documents_are_waived_by_applicant_and_issuing_bank_in_either_order(desk: Desk) -> None:
    for order in (("buyer-a", "bank-cn"), ("bank-cn", "buyer-a")):
        presentation = desk.present(desk.credit())
        desk.refuse(presentation)
        desk.ok(order[0], "waive_discrepancies", presentation=presentation)
        assert desk.get(presentation).state == PresentationState.REFUSED
        desk.expect("E_CONSENTED", order[0], "waive_discrepancies", presentation=presentation)
        desk.ok(order[1], "waive_discrepancies", presentation=presentation)
        assert (desk.get(presentation).state, desk.get(presentation).bank) == (PresentationState.WAIVED, "bank-cn")
        desk.honour(presentation)


def test_refused_documents_are_corrected_and_presented_again_with_the_same_bill(desk: Desk) -> None:
    credit = desk.credit()
    args = desk.papers_args(credit, AMOUNT, bill="BL-7")
    desk.ok("seller-a", "present_documents", **args)
    desk.refuse(f"{credit}#1")
    others = args["documents"][1:]
    corrected = [*desk.papers("INVOICE"), *others]
    again = args | {"documents": corrected, "replaces": f"{credit}#1"}
    desk.ok("seller-a", "present_documents", **again)
    assert desk.get(f"{credit}#1").state == PresentationState.RE_PRESENTED
    assert desk.states(credit) == ("ADVISED", 0, AMOUNT)
    desk.comply(f"{credit}#2")


def test_returned_documents_free_the_amount_and_the_bill(desk: Desk) -> None:
    credit = desk.credit()
    presentation = desk.present(credit, bill="BL-7")
    desk.refuse(presentation)
    desk.ok("bank-hk", "return_documents", presentation=presentation)
    assert desk.states(credit) == ("ADVISED", 0, 0)
    assert desk.get(presentation).with_party == "seller-a"
    desk.present(credit, bill="bl 7")


def test_what_the_chain_can_see_itself_is_noted_and_binds_nobody(desk: Desk) -> None:
    credit = desk.credit(latest_shipment=desk.day(1))
    desk.kit.pass_time(days=3)
    presentation = desk.present(credit, kinds=("EBL", "INVOICE"))
    assert desk.get(presentation).apparent == ("MISSING INSURANCE", "LATE SHIPMENT")
    desk.comply(presentation)


def test_a_bank_closed_on_the_expiry_date_takes_documents_on_its_next_day(desk: Desk) -> None:
    # 25 and 26 December 2025 are holidays in Hong Kong, the 27th is a Saturday; Guangzhou works on the 25th.
    hong_kong = desk.credit(expiry="2025-12-25", latest_shipment="2025-12-20")
    guangzhou = desk.credit(expiry="2025-12-25", latest_shipment="2025-12-20")
    desk.go_to("2025-12-26")
    late = desk.papers_args(guangzhou, AMOUNT, "bank-cn", shipment_date="2025-12-20")
    desk.expect("E_EXPIRED", "seller-a", "present_documents", **late)
    desk.expect("E_NOT_EXPIRED", "bank-cn", "expire_credit", credit=hong_kong)
    presentation = desk.present(hong_kong, shipment_date="2025-12-20")
    assert desk.get(presentation).received_date == "2025-12-29"
    desk.go_to("2025-12-30")
    desk.expect("E_IN_USE", "bank-cn", "expire_credit", credit=hong_kong)
    desk.ok("buyer-a", "expire_credit", credit=guangzhou)
    assert desk.states(guangzhou) == ("EXPIRED", 0, 0)


def test_a_credit_that_runs_into_a_year_without_a_calendar_can_be_used_today(desk: Desk) -> None:
    credit = desk.credit(expiry="2028-05-01", available_by="ACCEPTANCE", tenor_days=900)
    presentation = desk.honoured(credit)
    assert desk.get(presentation).maturity == "2028-05-13"


def test_a_place_without_a_published_calendar_takes_no_documents(desk: Desk) -> None:
    credit = desk.credit(nominated={"name": "bank-mo", "place": "MO"}, advising="bank-mo")
    desk.expect("E_CALENDAR", "seller-a", "present_documents", **desk.papers_args(credit, AMOUNT, "bank-mo"))
    desk.present(credit, bank="bank-cn")


def test_a_credit_is_cancelled_by_all_who_are_bound_or_entitled_and_never_by_the_applicant(desk: Desk) -> None:
    credit = desk.credit(confirmed=True)
    for person in ("bank-cn", "seller-a"):
        desk.ok(person, "cancel_credit", credit=credit)
    assert desk.get_credit(credit).state.value == "CONFIRMED"
    desk.expect("E_NOT_PARTY", "bank-mo", "cancel_credit", credit=credit)
    assert desk.kit.run("buyer-a", "cancel_credit", {"credit": credit}).reason == "E_ROLE"
    desk.ok("bank-hk", "cancel_credit", credit=credit)
    assert desk.get_credit(credit).state.value == "CANCELLED"
    assert desk.get_credit(credit).obligors == ()


def test_presenting_documents_takes_a_consent_to_cancel_back(desk: Desk) -> None:
    credit = desk.credit()
    desk.ok("seller-a", "cancel_credit", credit=credit)
    presentation = desk.present(credit)
    desk.expect("E_IN_USE", "bank-cn", "cancel_credit", credit=credit)
    desk.refuse(presentation)
    desk.ok("bank-hk", "return_documents", presentation=presentation)
    desk.ok("bank-cn", "cancel_credit", credit=credit)
    assert desk.get_credit(credit).state.value == "ADVISED"


def test_banks_see_deadlines_maturities_liabilities_and_discrepancies(desk: Desk) -> None:
    credit = desk.credit(plus_ppm=100_000)
    desk.ok("bank-cn", "amend_credit", credit=credit, delta_minor=5_000_00)
    presentation = desk.present(credit, 60_000_00)
    (soon,), _ = desk.kit.query("deadlines", {"bank": "bank-hk", "place": "HK", "banking_days": 5})
    assert soon.presentation == presentation
    assert desk.kit.query("deadlines", {"bank": "bank-hk", "place": "HK", "banking_days": 4})[0] == ()
    (row,), _ = desk.kit.query("liabilities", {"bank": "bank-cn"})
    assert (row.currency, row.undrawn_minor, row.presented_minor, row.offered_minor) == (
        "USD", 50_000_00, 60_000_00, 5_000_00,
    )  # fmt: skip
    assert desk.kit.query("liabilities", {"bank": "bank-hk"})[0] == ()
    desk.comply(presentation)
    desk.honour(presentation)
    (owed,), _ = desk.kit.query("maturities", {"bank": "bank-hk", "from_date": desk.today})
    assert owed.presentation == presentation
    assert desk.kit.query("maturities", {"bank": "bank-hk", "from_date": desk.day(1)})[0] == ()
    desk.refuse(desk.present(credit, 1_00))
    (counts,), _ = desk.kit.query("discrepancies", {"bank": "bank-hk"})
    assert (counts.presentations, counts.refused, counts.waived, counts.open) == (2, 1, 0, 0)


def test_a_channel_loads_the_module_with_the_two_it_uses_and_not_without() -> None:
    entries = [("governance", 1), ("kernel", 1), ("lc", 1), ("refdata", 1)]
    assert Registry.load(entries).command("lc", "issue_credit") is not None
    with pytest.raises(DeclarationError, match="lc uses kernel"):
        Registry.load([entry for entry in entries if entry[0] != "kernel"])


def test_a_payment_obligation_becomes_unconditional_with_its_last_condition_and_is_paid_once(desk: Desk) -> None:
    conditions = [{"text": "shipped", "stated_by": "carrier-1"}, {"text": "taken over", "stated_by": "buyer-a"}]
    args = {"number": "PO-1", "beneficiary": "seller-a", "amount": usd(500), "due_date": desk.day(1)}
    desk.ok("buyer-a", "undertake_payment", **args, conditions=conditions)
    obligation = "buyer-a/obligation/PO-1"
    desk.ok("bank-cn", "add_undertaking", obligation=obligation)
    record = bytes(32)
    desk.expect("E_NOT_PARTY", "seller-a", "meet_condition", obligation=obligation, position=1, record=record)
    desk.ok("carrier-1", "meet_condition", obligation=obligation, position=1, record=record)
    assert desk.get_obligation(obligation).state.value == "CONDITIONAL"
    cash = desk.cash("bank-cn", "seller-a", usd(500))
    desk.expect("E_STATE", "settle-bank", "pay_obligation", obligation=obligation, cash=cash)
    desk.ok("buyer-a", "meet_condition", obligation=obligation, position=2, record=record)
    assert desk.get_obligation(obligation).state.value == "UNCONDITIONAL"
    desk.expect("E_NOT_DUE", "settle-bank", "pay_obligation", obligation=obligation, cash=cash)
    desk.kit.pass_time(days=1)
    desk.ok("settle-bank", "pay_obligation", obligation=obligation, cash=cash)
    desk.expect("E_STATE", "settle-bank", "pay_obligation", obligation=obligation, cash=desk.cash(
        "buyer-a", "seller-a", usd(500)))  # fmt: skip
    (listed,), _ = desk.kit.query("obligations", {"party": "seller-a"})
    assert listed.state.value == "PAID"
