"""A claim for reimbursement hands the titles on: who has paid for the documents has the bill of lading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.lc.entities import ForwardedTitle, Reimbursement, ReimbursementState
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.channels_kit import Channels, Place, copy_of
from tests.modules.lc_kit import AMOUNT, Desk, usd
from tests.modules.title_kit import DOCUMENT


@pytest.fixture
def one() -> Channels:
    """Everything on one channel; the seller holds its bills itself."""
    return Channels(one=True)


def honoured(one: Channels, **terms: Any) -> tuple[str, str]:
    """A title and the presentation with which it passed to the nominated bank."""
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(**terms), title=title)
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    return title, presentation


def claimed(one: Channels, against: str = "PAYMENT", **terms: Any) -> tuple[str, str]:
    title, presentation = honoured(one, **terms)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation, against=against)
    return title, presentation


def cash_of(one: Channels) -> dict[str, Any]:
    return one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))


def reimburse(one: Channels, presentation: str, **more: Any) -> None:
    one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash_of(one), **more)


def forwarded(one: Channels, presentation: str) -> list[tuple[str, str, str]]:
    items, _ = one.trade.kit.query("forwarded_titles", {"presentation": presentation}, module="lc")
    return [(each.channel, each.title, each.state) for each in items]


def endorse(one: Channels, title: str, holder: str, to: str) -> None:
    args = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": to, "hand_over_to": to}
    one.sea.ok(holder, "endorse_title", **args)


# -- the whole way ----------------------------------------------------------------------------------------------------


def test_the_title_is_bound_by_the_claim_and_the_issuing_banks_when_it_has_paid(one: Channels) -> None:
    title, presentation = claimed(one)
    assert forwarded(one, presentation) == [("", title, "BOUND")]
    one.sea.expect("E_LOCKED", "bank-hk", "transfer_title", title=title, to="buyer")
    one.sea.expect("E_LOCKED", "bank-hk", "surrender_title", title=title, purpose="DELIVERY")
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    assert one.holder(title) == "bank-hk", "nobody has paid it yet"
    one.desk.expect("E_TITLE_NOT_PASSED", "bank-cn", "release_documents", presentation=presentation)
    reimburse(one, presentation)
    assert one.sea.control(title) == ("ISSUED", "bank-cn", "bank-cn")
    assert (forwarded(one, presentation), one.logistics.lock(title)) == ([("", title, "PASSED")], "")
    one.desk.ok("bank-cn", "release_documents", presentation=presentation)
    endorse(one, title, "bank-cn", "buyer-a")


def test_against_acceptance_it_is_the_issuing_banks_when_that_owes_the_amount(one: Channels) -> None:
    title, presentation = claimed(one, "ACCEPTANCE", available_by="DEFERRED", tenor_days=60)
    assert one.holder(title) == "bank-hk"
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    assert one.holder(title) == "bank-cn"
    one.desk.expect("E_STATE", "bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.desk.ok("bank-cn", "release_documents", presentation=presentation)
    one.pass_time(days=61)
    reimburse(one, presentation)
    assert one.desk.get_claim(presentation).state == ReimbursementState.PAID


def test_a_silent_issuing_bank_gets_the_title_for_its_payment_and_for_nothing_less(one: Channels) -> None:
    title, presentation = claimed(one, "ACCEPTANCE")
    one.pass_time(days=10)
    assert one.holder(title) == "bank-hk"
    reimburse(one, presentation)
    assert one.holder(title) == "bank-cn"


def test_the_reimbursing_bank_pays_and_the_issuing_bank_has_the_title(one: Channels) -> None:
    title, presentation = claimed(one, reimbursing="bank-mo")
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    cash = one.desk.cash("bank-mo", "bank-hk", usd(AMOUNT))
    one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    assert one.holder(title) == "bank-cn"


# -- who does not hand over gets nothing ------------------------------------------------------------------------------


def test_a_bank_that_sold_the_title_claims_nothing(one: Channels) -> None:
    title, presentation = honoured(one)
    endorse(one, title, "bank-hk", "buyer")
    one.desk.expect("E_NOT_HOLDER", "bank-hk", "claim_reimbursement", presentation=presentation)


@pytest.mark.parametrize(
    ("reason", "command", "args"),
    [
        ("E_NOT_ENDORSEE", "endorse_title", {"kind": "ENDORSE_TO_ORDER", "to": "buyer"}),
        ("E_LOCKED", "pledge_title", {"pledgee": "bank-mo"}),
        ("E_STATE", "surrender_title", {"purpose": "DELIVERY"}),
    ],
)
def test_a_bank_that_gave_the_right_away_claims_nothing(
    one: Channels, reason: str, command: str, args: dict[str, Any]
) -> None:
    title, presentation = honoured(one)
    if command == "pledge_title":
        args = args | {"matures": one.sea.day(5)}
    one.sea.ok("bank-hk", command, title=title, **args)
    one.desk.expect(reason, "bank-hk", "claim_reimbursement", presentation=presentation)


def test_a_bill_that_became_paper_is_not_claimed_for_until_it_is_electronic_again(one: Channels) -> None:
    title, presentation = honoured(one)
    one.sea.ok("bank-hk", "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
    one.sea.ok("liner", "accept_surrender", title=title, paper="P-1")
    one.desk.expect("E_PAPER", "bank-hk", "claim_reimbursement", presentation=presentation)
    again = {"bill": one.sea.bill(shipper="seller-a"), "checksum": DOCUMENT, "document": one.sea.document()}
    one.sea.ok("liner", "restore_title", title=title, paper="P-1", to="bank-hk", **again)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    assert forwarded(one, presentation) == [("", f"{title}.2", "BOUND")]
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    reimburse(one, presentation)
    assert one.holder(f"{title}.2") == "bank-cn"


def test_a_title_that_the_issuing_bank_has_already_is_not_asked_for_again(one: Channels) -> None:
    title, presentation = honoured(one)
    endorse(one, title, "bank-hk", "bank-cn")
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    assert forwarded(one, presentation) == [("", title, "PASSED")]
    refusal = {"findings": ["unsigned"]}
    one.desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, **refusal)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    one.desk.expect("E_STATE", "bank-hk", "withdraw_reimbursement", presentation=presentation)
    reimburse(one, presentation)


def test_an_issuing_bank_that_refused_keeps_no_claim_by_a_title_it_was_handed_before(one: Channels) -> None:
    title, presentation = honoured(one)
    endorse(one, title, "bank-hk", "bank-cn")
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    one.desk.expect("E_STATE", "bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, findings=["unsigned"])
    endorse(one, title, "bank-cn", "bank-hk")
    one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    assert forwarded(one, presentation) == [("", title, "RETURNED")]
    assert one.holder(title) == "bank-hk"
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    assert forwarded(one, presentation) == [("", title, "BOUND")]
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    reimburse(one, presentation)
    assert one.holder(title) == "bank-cn"


def test_a_title_that_the_issuing_bank_hands_back_is_the_claimants_to_sell_and_to_claim_with(one: Channels) -> None:
    title, presentation = honoured(one)
    endorse(one, title, "bank-hk", "bank-cn")
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    one.desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, findings=["unsigned"])
    endorse(one, title, "bank-cn", "bank-hk")
    one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    assert forwarded(one, presentation) == [("", title, "RETURNED")]
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    assert forwarded(one, presentation) == [("", title, "BOUND")]


def test_claiming_and_selling_in_one_block_is_one_of_them_in_either_order(one: Channels) -> None:
    title, presentation = honoured(one)
    for claims_first in (True, False):
        place = Place(copy_of(one.trade.kit))
        calls = [
            place.call("bank-hk", "lc", "claim_reimbursement", presentation=presentation),
            place.call("bank-hk", "title", "transfer_title", title=title, to="buyer"),
        ]
        reasons = place.race(*(calls if claims_first else reversed(calls)))
        assert reasons == ["", "E_LOCKED" if claims_first else "E_NOT_HOLDER"]


def test_paying_and_calling_back_in_one_block_is_one_of_them_in_either_order(one: Channels) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    one.pass_time(days=15)
    for pays_first in (True, False):
        place = Place(copy_of(one.trade.kit))
        calls = [
            place.call("settle-bank", "lc", "pay_reimbursement", presentation=presentation, cash=cash_of(one)),
            place.call("bank-hk", "lc", "withdraw_reimbursement", presentation=presentation),
        ]
        assert place.race(*(calls if pays_first else reversed(calls))) == ["", "E_STATE"]
        copied = Channels(one=True)
        copied.sea.kit.inner = place.kit
        assert copied.holder(title) == ("bank-cn" if pays_first else "bank-hk")


# -- what goes back ---------------------------------------------------------------------------------------------------


def test_a_refused_claim_leaves_the_title_to_whoever_claimed_when_it_calls_it_back(one: Channels) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, findings=["unsigned"])
    one.sea.expect("E_LOCKED", "bank-hk", "transfer_title", title=title, to="buyer")
    one.desk.expect("E_NOT_PARTY", "bank-mo", "withdraw_reimbursement", presentation=presentation)
    one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    assert (forwarded(one, presentation), one.logistics.lock(title)) == ([("", title, "RETURNED")], "")
    assert one.desk.get(presentation).with_party == "bank-hk"
    for command in ("accept_reimbursement", "withdraw_reimbursement"):
        person = "bank-cn" if command.startswith("accept") else "bank-hk"
        one.desk.expect("E_STATE", person, command, presentation=presentation)
    one.desk.expect("E_STATE", "settle-bank", "pay_reimbursement", presentation=presentation, cash=cash_of(one))
    one.desk.expect("E_STATE", "bank-cn", "release_documents", presentation=presentation)
    # Put right, the documents are forwarded again, to an examination and a notice of their own.
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    one.desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, findings=["unsigned still"])
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    reimburse(one, presentation)
    assert one.holder(title) == "bank-cn"


def test_an_accepted_claim_is_called_back_only_when_it_stayed_unpaid_for_days(one: Channels) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    one.desk.expect("E_NOT_OVERDUE", "bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.desk.go_to(one.desk.get_claim(presentation).deadline)
    one.pass_time(days=7)
    one.desk.expect("E_NOT_OVERDUE", "bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.pass_time(days=1)
    one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    endorse(one, title, "bank-hk", "buyer")
    one.desk.expect("E_NOT_HOLDER", "bank-hk", "claim_reimbursement", presentation=presentation)


def test_documents_that_went_to_the_applicant_are_neither_refused_nor_called_back() -> None:
    desk = Desk()
    presentation = desk.honoured(desk.credit())
    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    desk.ok("bank-cn", "release_documents", presentation=presentation)
    desk.expect("E_STATE", "bank-cn", "refuse_reimbursement", presentation=presentation, findings=["late"])
    desk.expect("E_STATE", "bank-hk", "withdraw_reimbursement", presentation=presentation)


def test_a_lock_that_a_court_ended_stops_acceptance_and_payment_until_it_is_claimed_again(one: Channels) -> None:
    title, presentation = claimed(one)
    order = {"module": "title", "asset": title, "order": "HCA 3/2026"}
    one.logistics.ok("judge", "kernel", "order_release", **order)
    one.desk.expect("E_TITLE_NOT_BOUND", "bank-cn", "accept_reimbursement", presentation=presentation)
    one.pass_time(days=10)
    one.desk.expect("E_TITLE_NOT_BOUND", "settle-bank", "pay_reimbursement", presentation=presentation,
                    cash=cash_of(one))  # fmt: skip
    one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    assert one.logistics.lock(title) == f"lc:{presentation}"


def test_a_frozen_title_stops_the_payment_from_being_booked(one: Channels) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    order = {"module": "title", "asset": title, "order": "HCA 4/2026", "reason": "fraud"}
    order |= {"until_ms": one.now + DAY_MS}
    one.logistics.ok("judge", "kernel", "freeze_asset", **order)
    pay = {"presentation": presentation, "cash": cash_of(one)}
    one.desk.expect("E_ASSET_FROZEN", "settle-bank", "pay_reimbursement", **pay)
    one.pass_time(days=2)
    one.desk.ok("settle-bank", "pay_reimbursement", **pay)


def freeze(one: Channels, module: str, asset: str, days: int) -> None:
    order = {"module": module, "asset": asset, "order": "HCA 5/2026", "reason": "fraud"}
    one.logistics.ok("judge", "kernel", "freeze_asset", **order, until_ms=one.now + days * DAY_MS)


def test_under_a_frozen_credit_no_title_passes_by_acceptance(one: Channels) -> None:
    title, presentation = claimed(one, "ACCEPTANCE", available_by="DEFERRED", tenor_days=60)
    freeze(one, "lc", presentation.split("#")[0], 2)
    one.desk.expect("E_ASSET_FROZEN", "bank-cn", "accept_reimbursement", presentation=presentation)
    assert one.holder(title) == "bank-hk"
    one.pass_time(days=3)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    assert one.holder(title) == "bank-cn"


@pytest.mark.parametrize("module", ["lc", "title"])
def test_a_payment_that_an_order_keeps_from_being_booked_is_not_overdue_meanwhile(one: Channels, module: str) -> None:
    """Or whoever was paid the day before would call the title back and sell it once more."""
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    pay = {"presentation": presentation, "cash": cash_of(one)}
    freeze(one, module, presentation.split("#")[0] if module == "lc" else title, 30)
    one.pass_time(days=20)
    one.desk.expect("E_ASSET_FROZEN", "settle-bank", "pay_reimbursement", **pay)
    one.desk.expect("E_ASSET_FROZEN", "bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.pass_time(days=11)
    one.desk.ok("settle-bank", "pay_reimbursement", **pay)
    assert one.holder(title) == "bank-cn"


def test_a_tenor_beyond_the_longest_lock_is_against_acceptance(one: Channels) -> None:
    title, presentation = honoured(one, available_by="DEFERRED", tenor_days=400)
    one.desk.expect("E_TITLE_TIME", "bank-hk", "claim_reimbursement", presentation=presentation)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation, against="ACCEPTANCE")
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    assert one.holder(title) == "bank-cn"


def test_while_the_issuing_banks_identity_is_revoked_another_one_of_its_house_gets_the_title(one: Channels) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    pay = {"presentation": presentation, "cash": cash_of(one)}
    one.desk.expect("E_ROLE_OF_PARTY", "settle-bank", "pay_reimbursement", **pay, to="bank-gz")
    one.trade.ok("gz-admin", "governance", "revoke", name="bank-cn")
    for reason, to in (
        ("E_UNKNOWN_PARTY", "bank-cn"),
        ("E_ROLE_OF_PARTY", "bank-mo"),
        ("E_ROLE_OF_PARTY", "buyer-a"),
    ):
        one.desk.expect(reason, "settle-bank", "pay_reimbursement", **pay, to=to)
    one.desk.ok("settle-bank", "pay_reimbursement", **pay, to="bank-gz")
    assert one.holder(title) == "bank-gz"


# -- titles of another channel ----------------------------------------------------------------------------------------


@pytest.fixture
def two() -> Channels:
    return Channels()


def reached(two: Channels) -> tuple[str, str]:
    """Honoured, and the nominated bank has the title on its own channel."""
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit)
    presentation = two.present(credit, proof=two.reservation_proof(reservation))
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    assert two.settle(reservation) == "PASSED"
    return title, presentation


def reserved_again(two: Channels, title: str, presentation: str, **more: Any) -> str:
    args = {"recipients": ["bank-gz"]} | more
    return two.reserve(title, presentation, "lc.reimbursement", **args)


def test_a_title_of_another_channel_is_reserved_for_the_claim_and_passes_with_the_payment(two: Channels) -> None:
    title, presentation = reached(two)
    one = {"presentation": presentation}
    two.desk.expect("E_TITLE", "bank-hk", "claim_reimbursement", **one)
    reservation = reserved_again(two, title, presentation)
    proof = two.reservation_proof(reservation)
    two.desk.expect("E_TITLE", "bank-hk", "claim_reimbursement", **one, proofs=[proof, proof])
    two.desk.ok("bank-hk", "claim_reimbursement", **one, proofs=[proof])
    assert forwarded(two, presentation) == [("logistics", title, "BOUND")]
    assert two.settle(reservation) == "CONFIRMED"
    two.desk.ok("bank-cn", "accept_reimbursement", **one)
    two.desk.expect("E_TITLE_NOT_PASSED", "bank-cn", "release_documents", **one)
    reimburse(two, presentation)
    assert two.settle(reservation) == "PASSED"
    assert two.holder(title) == "bank-gz", "the issuing bank's identity on the channel of titles"


def test_a_claim_that_is_called_back_frees_the_title_on_its_channel(two: Channels) -> None:
    title, presentation = reached(two)
    reservation = reserved_again(two, title, presentation)
    args = {"presentation": presentation, "proofs": [two.reservation_proof(reservation)]}
    two.desk.ok("bank-hk", "claim_reimbursement", **args)
    two.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    assert two.settle(reservation) == "RELEASED"
    assert (two.holder(title), two.logistics.lock(title)) == ("bank-hk", "")
    two.desk.expect("E_PROOF_USED", "bank-hk", "claim_reimbursement", **args)
    second = reserved_again(two, title, presentation)
    args["proofs"] = [two.reservation_proof(second)]
    two.desk.ok("bank-hk", "claim_reimbursement", **args)


def test_a_reservation_of_another_title_or_too_short_a_one_hands_nothing_over(two: Channels) -> None:
    title, presentation = reached(two)
    other = two.title("HKG-2")
    two.sea.ok("shipper", "endorse_title", title=other, kind="ENDORSE_TO_ORDER", to="bank-hk", hand_over_to="bank-hk")
    wrong = two.reservation_proof(reserved_again(two, other, presentation))
    claim = {"presentation": presentation}
    two.desk.expect("E_TITLE", "bank-hk", "claim_reimbursement", **claim, proofs=[wrong])
    short = two.reservation_proof(reserved_again(two, title, presentation, until_ms=two.now + 7 * DAY_MS))
    two.desk.expect("E_RESERVATION_TIME", "bank-hk", "claim_reimbursement", **claim, proofs=[short])


def test_a_proof_made_for_another_bank_or_purpose_hands_nothing_over(two: Channels) -> None:
    title, presentation = reached(two)
    claim = {"presentation": presentation}
    to_macau = two.reservation_proof(
        reserved_again(two, title, presentation, recipients=["bank-mo"], until_ms=two.now + 30 * DAY_MS)
    )
    two.desk.expect("E_RECIPIENT", "bank-hk", "claim_reimbursement", **claim, proofs=[to_macau])
    two.pass_time(days=31)
    presenting = two.reserve(title, "buyer-a/LC-1", recipients=["bank-gz"])
    proof = two.reservation_proof(presenting)
    two.desk.expect("E_PROOF_PURPOSE", "bank-hk", "claim_reimbursement", **claim, proofs=[proof])


# -- the invariant ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda each, claim: replace(each, state="PASSED"),
        lambda each, claim: replace(each, state="RETURNED"),
        lambda each, claim: replace(claim, state=ReimbursementState.PAID),
        lambda each, claim: replace(each, against="ACCEPTANCE"),
        lambda each, claim: replace(claim, state=ReimbursementState.WITHDRAWN),
    ],
)
def test_the_invariant_sees_a_title_that_does_not_follow_its_claim(
    one: Channels, corrupt: Callable[[ForwardedTitle, Reimbursement], Entity]
) -> None:
    _, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    each = one.trade.kit.get(ForwardedTitle, key_of(presentation, 1))
    assert each is not None
    entity = corrupt(each, one.desk.get_claim(presentation))
    values = one.trade.kit.state.values
    del values["lc", "forwarded_title", each.primary_key()]
    values["lc", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    if entity.spec.collection != "forwarded_title":
        values["lc", "forwarded_title", each.primary_key()] = encode_entity(each)
    with pytest.raises(AssertionError, match=r"lc\.titles_follow_claims"):
        one.trade.kit.check_invariants()
