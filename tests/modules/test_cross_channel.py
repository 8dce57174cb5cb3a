"""RESERVE, PROOF, COMMIT, CONFIRM or RELEASE between a channel of titles and a channel of credits and receivables.

Every arrow of the protocol is cut once (the message is lost) and walked twice (a crash, and the same again): whatever
happens, the title is one party's, serves one process, and is free in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.lc.entities import PresentationState
from dawan_node.modules.light_client import Commitment, Reservation, lock_owner
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import DAY_MS, ModuleKit
from tests.modules.channels_kit import HOUR_MS, Channels, Place, believe, copy_of
from tests.modules.title_kit import CARRIER

TTL_MS = 72 * HOUR_MS


@pytest.fixture
def two() -> Channels:
    return Channels()


def presented(two: Channels, **more: Any) -> tuple[str, str, str, str]:
    """Title, credit, reservation, presentation: committed on the channel of credits."""
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit, **more)
    presentation = two.present(credit, proof=two.reservation_proof(reservation))
    return title, credit, reservation, presentation


# -- the whole way ----------------------------------------------------------------------------------------------------


def test_presentation_binds_the_title_and_honour_moves_it_to_the_bank(two: Channels) -> None:
    title, credit, reservation, presentation = presented(two)
    assert two.bound(presentation) == [("logistics", title, "BOUND")]
    assert two.logistics.lock(title) == lock_owner(reservation)
    assert two.settle(reservation) == "CONFIRMED"
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    assert two.bound(presentation) == [("logistics", title, "PASSED")]
    assert two.holder(title) == "shipper", "until the proof of it is there"
    assert two.settle(reservation) == "PASSED"
    assert two.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    assert two.logistics.lock(title) == ""
    # The bank hands it on as any holder does.
    two.sea.ok("bank-hk", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-gz", hand_over_to="bank-gz")
    document = two.desk.get(presentation).documents[1]
    assert (document.issuer, document.number) == (CARRIER, "HKG-1")
    assert credit == two.desk.get(presentation).credit


def test_documents_that_go_back_free_the_title(two: Channels) -> None:
    title, _, reservation, presentation = presented(two)
    two.desk.refuse(presentation)
    assert two.bound(presentation) == [("logistics", title, "BOUND")], "the bank holds the documents still"
    two.desk.ok("bank-hk", "return_documents", presentation=presentation)
    assert two.settle(reservation) == "RELEASED"
    assert (two.holder(title), two.logistics.lock(title)) == ("shipper", "")
    two.sea.ok("shipper", "transfer_title", title=title, to="buyer")


def test_a_corrected_presentation_keeps_its_title(two: Channels) -> None:
    title, credit, reservation, first = presented(two)
    two.desk.refuse(first)
    kept = f"logistics:{title}"
    wrong = two.present_args(credit, 100_000_00, title="logistics:SMDG-HMM/OTHER", replaces=first)
    two.trade.expect("E_TITLE", "seller-a", "lc", "present_documents", **wrong)
    other = two.present_args(credit, 100_000_00, title=kept)
    two.trade.expect("E_CONSERVATION", "seller-a", "lc", "present_documents", **other)
    second = two.present(credit, title=kept, replaces=first)
    assert (two.bound(first), two.bound(second)) == (
        [("logistics", title, "RETURNED")],
        [("logistics", title, "BOUND")],
    )
    two.desk.comply(second)
    two.desk.honour(second)
    assert two.settle(reservation) == "PASSED"
    assert two.holder(title) == "bank-hk"


def test_a_bank_that_is_not_bound_forwards_title_and_documents_to_the_one_that_is(two: Channels) -> None:
    title, _, reservation, presentation = presented(two)
    two.desk.ok("bank-hk", "forward_presentation", presentation=presentation, to="bank-cn")
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    assert two.settle(reservation) == "PASSED"
    assert two.holder(title) == "bank-gz", "the issuing bank's identity on the channel of titles"


def financed(two: Channels, until_days: int = 300, **more: Any) -> tuple[str, str, str]:
    """Title, reservation, financing: applied for with a proof."""
    title = two.title()
    invoice = two.factoring.invoice(seller="seller-a")
    financing = "seller-a/F-1"
    until_ms = two.now + until_days * DAY_MS
    args = {"purpose": "receivable.financing", "recipients": ["bank-hk"], "until_ms": until_ms} | more
    reservation = two.reserve(title, financing, **args)
    args = two.application("F-1", invoice, title_proof=two.reservation_proof(reservation))
    two.trade.ok("seller-a", "receivable", "apply_invoice_financing", **args)
    return title, reservation, financing


def test_funding_a_receivable_locks_the_title_until_it_is_repaid(two: Channels) -> None:
    title, reservation, financing = financed(two)
    assert two.security(financing) == "HELD"
    two.trade.ok("bank-hk", "receivable", "reserve_financing", financing=financing)
    two.fund(financing)
    assert two.settle(reservation) == "CONFIRMED"
    two.sea.expect("E_LOCKED", "shipper", "transfer_title", title=title, to="buyer")
    two.pass_time(days=181)
    invoice = two.factoring.get_invoice(two.factoring.kit.query("financings", {"party": "seller-a"})[0][0].asset)
    cash = two.factoring.cash("core-1", "bank-hk", ["CNY", invoice.total.minor])
    two.trade.ok("settle-bank", "receivable", "settle_invoice", invoice=invoice.invoice, cash=cash)
    assert two.security(financing) == "RETURNED"
    assert two.settle(reservation) == "RELEASED"
    two.sea.ok("shipper", "transfer_title", title=title, to="buyer")


def test_from_a_borrower_in_recourse_the_financier_takes_the_title(two: Channels) -> None:
    title, reservation, financing = financed(two)
    two.trade.ok("bank-hk", "receivable", "reserve_financing", financing=financing)
    two.trade.expect("E_FINANCING_STATE", "bank-hk", "receivable", "take_title", financing=financing)
    two.fund(financing)
    two.pass_time(days=181)
    two.trade.ok("bank-hk", "receivable", "claim_recourse", financing=financing)
    two.trade.expect("E_NOT_FINANCIER", "bank-mo", "receivable", "take_title", financing=financing)
    two.trade.ok("bank-hk", "receivable", "take_title", financing=financing)
    two.trade.expect("E_TITLE", "bank-hk", "receivable", "take_title", financing=financing)
    assert two.settle(reservation) == "PASSED"
    assert two.holder(title) == "bank-hk"


@pytest.mark.parametrize(("person", "command"), [("bank-hk", "reject_financing"), ("seller-a", "withdraw_financing")])
def test_a_financing_that_comes_to_nothing_frees_the_title(two: Channels, person: str, command: str) -> None:
    title, reservation, financing = financed(two)
    two.trade.ok(person, "receivable", command, financing=financing)
    assert two.settle(reservation) == "RELEASED"
    assert two.logistics.lock(title) == ""


# -- arrows cut -------------------------------------------------------------------------------------------------------


def reserve_only(two: Channels) -> str:
    return two.reserve(two.title(), two.desk.credit())


def until_commit(two: Channels) -> str:
    return presented(two)[2]


def until_confirm(two: Channels) -> str:
    reservation = presented(two)[2]
    two.settle(reservation)
    return reservation


def until_honour(two: Channels) -> str:
    _, _, reservation, presentation = presented(two)
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    return reservation


def until_return(two: Channels) -> str:
    _, _, reservation, presentation = presented(two)
    two.desk.refuse(presentation)
    two.desk.ok("bank-hk", "return_documents", presentation=presentation)
    return reservation


#: What was done when a message is lost; state, holder and lock afterwards when another message comes after the TTL;
#: and whether the title is free when nothing comes at all until the lock's own end.
CUTS: dict[str, tuple[Callable[[Channels], str], str, str]] = {
    "the proof of the reservation": (reserve_only, "RELEASED", "shipper"),
    "the proof that it was committed": (until_commit, "CONFIRMED", "shipper"),
    "the proof of what came of it": (until_confirm, "", "shipper"),
    "the proof of honour": (until_honour, "PASSED", "bank-hk"),
    "the proof of return": (until_return, "RELEASED", "shipper"),
}


@pytest.mark.parametrize("lost", CUTS)
def test_a_lost_message_is_made_good_by_the_next_one_however_late(two: Channels, lost: str) -> None:
    until, state, holder = CUTS[lost]
    reservation = until(two)
    title = two.reservation(reservation).asset
    two.pass_time(TTL_MS + HOUR_MS)
    # The term is over and the title is not free: the other channel may have committed, and here it is unknown.
    assert two.logistics.lock(title) == lock_owner(reservation)
    two.sea.expect("E_LOCKED", "shipper", "transfer_title", title=title, to="buyer")
    if state:
        assert two.settle(reservation) == state
    assert two.holder(title) == holder
    assert (two.logistics.lock(title) == "") == (state in ("PASSED", "RELEASED"))


@pytest.mark.parametrize("lost", CUTS)
def test_when_the_other_channel_is_gone_the_lock_ends_by_itself(two: Channels, lost: str) -> None:
    until, _, _ = CUTS[lost]
    reservation = until(two)
    title = two.reservation(reservation).asset
    two.pass_time(days=299)
    assert two.logistics.lock(title) == lock_owner(reservation)
    two.pass_time(days=1)
    assert two.logistics.lock(title) == ""
    # What comes later still counts, as long as the title is where it was.
    if lost == "the proof of honour":
        assert two.settle(reservation) == "PASSED"
        assert two.holder(title) == "bank-hk"


def test_a_proof_of_honour_after_the_title_moved_on_moves_nothing(two: Channels) -> None:
    reservation = until_honour(two)
    title = two.reservation(reservation).asset
    proof = two.commitment_proof(reservation)
    two.pass_time(days=301)
    two.sea.ok("shipper", "transfer_title", title=title, to="buyer")
    two.refuse_settle("E_NOT_HOLDER", reservation, proof)


def test_near_the_locks_end_the_bank_cannot_honour_and_the_documents_go_back(two: Channels) -> None:
    title, _, reservation, presentation = presented(two, until_ms=two.now + 14 * DAY_MS)
    two.desk.comply(presentation)
    two.desk.expect("E_STATE", "bank-hk", "return_documents", presentation=presentation)
    two.pass_time(days=12)
    two.desk.expect("E_TITLE_NOT_BOUND", "bank-hk", "honour_presentation", presentation=presentation)
    two.desk.ok("seller-a", "return_documents", presentation=presentation)
    assert two.settle(reservation) == "RELEASED"
    assert two.holder(title) == "shipper"


def test_a_title_that_is_not_bound_long_enough_is_not_taken(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit, until_ms=two.now + 7 * DAY_MS)
    args = two.present_args(credit, 100_000_00, proof=two.reservation_proof(reservation))
    two.trade.expect("E_RESERVATION_TIME", "seller-a", "lc", "present_documents", **args)


def test_the_term_ending_between_proof_and_commit_leaves_the_consumer_nothing(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit)
    proof = two.reservation_proof(reservation)
    two.pass_time(TTL_MS - 9 * 60_000)
    args = two.present_args(credit, 100_000_00, proof=proof)
    two.trade.expect("E_PROOF_STALE", "seller-a", "lc", "present_documents", **args)
    two.refuse_settle("E_NOT_EXPIRED", reservation, two.commitment_proof(reservation))
    two.pass_time(10 * 60_000)
    two.trade.expect("E_PROOF_STALE", "seller-a", "lc", "present_documents", **args)
    assert two.settle(reservation) == "RELEASED"
    two.sea.ok("shipper", "transfer_title", title=title, to="buyer")


def test_a_channel_whose_clock_is_behind_cannot_commit_to_what_was_released(two: Channels) -> None:
    """Both go by the consumer's time, so how far the clocks are apart does not matter."""
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit)
    proof = two.reservation_proof(reservation)
    two.logistics.kit.pass_time(days=30)
    two.refuse_settle("E_NOT_EXPIRED", reservation, two.commitment_proof(reservation))
    presentation = two.present(credit, proof=proof)
    assert two.settle(reservation) == "CONFIRMED"
    assert two.bound(presentation) == [("logistics", title, "BOUND")]


# -- crashes ----------------------------------------------------------------------------------------------------------


STEPS = ["reserve", "present", "confirm", "honour", "pass"]


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_and_the_same_again_change_nothing_twice(two: Channels, step: str) -> None:
    """The block is executed, the node dies before it is stored, executes it again; then everybody sends again."""
    title = two.title()
    credit = two.desk.credit()
    presentation = f"{credit}#1"
    reserve = two.reserve_args(title, credit)
    reservation = f"shipper/{reserve['number']}"

    def again(place: Place, person: str, module: str, command: str, refused: str, **args: Any) -> None:
        call = place.call(person, module, command, **args)
        dead = copy_of(place.kit)
        (before,) = dead.block(call)
        (after,) = place.kit.block(call)
        assert after.code == 0, f"{command}: {after.reason}"
        assert (before.encode(), dead.state_root) == (after.encode(), place.kit.state_root)
        place.expect(refused, person, module, command, **args)

    def once(place: Place, person: str, module: str, command: str, refused: str, **args: Any) -> None:
        del refused
        place.ok(person, module, command, **args)

    def at(name: str) -> Callable[..., None]:
        return again if name == step else once

    at("reserve")(two.logistics, "shipper", "title", "reserve_title", "E_LOCKED", **reserve)
    documents = two.present_args(credit, 60_000_00, proof=two.reservation_proof(reservation))
    at("present")(two.trade, "seller-a", "lc", "present_documents", "E_CONSERVATION", **documents)
    proof = {"reservation": reservation, "proof": two.commitment_proof(reservation)}
    at("confirm")(two.logistics, "relay", "title", "settle_title", "E_PROOF_USED", **proof)
    two.desk.comply(presentation)
    at("honour")(two.trade, "bank-hk", "lc", "honour_presentation", "E_STATE", presentation=presentation)
    proof = {"reservation": reservation, "proof": two.commitment_proof(reservation)}
    at("pass")(two.logistics, "relay", "title", "settle_title", "E_RESERVATION_STATE", **proof)
    assert two.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    assert two.sea.actions(title).count("TRANSFER") == 1


# -- abuse ------------------------------------------------------------------------------------------------------------


def test_one_title_is_not_presented_and_financed_at_once(two: Channels) -> None:
    title, credit, _, _ = presented(two)
    again = two.reserve_args(title, "seller-a/F-1", "receivable.financing")
    two.logistics.expect("E_LOCKED", "shipper", "title", "reserve_title", **again)
    two.sea.expect("E_LOCKED", "shipper", "pledge_title", title=title, pledgee="bank-hk", matures=two.sea.day(30))
    two.sea.expect("E_LOCKED", "shipper", "surrender_title", title=title, purpose="DELIVERY")
    assert credit


def test_a_proof_serves_its_purpose_and_its_process_only(two: Channels) -> None:
    title = two.title()
    credit, other = two.desk.credit(), two.desk.credit()
    reservation = two.reserve(title, credit)
    proof = two.reservation_proof(reservation)
    invoice = two.factoring.invoice(seller="seller-a")
    application = two.application("F-1", invoice, title_proof=proof)
    two.trade.expect("E_PROOF_PURPOSE", "seller-a", "receivable", "apply_invoice_financing", **application)
    wrong = two.present_args(other, 100_000_00, proof=proof)
    two.trade.expect("E_PROOF_PURPOSE", "seller-a", "lc", "present_documents", **wrong)
    two.present(credit, 60_000_00, proof=proof)
    again = two.present_args(credit, 40_000_00, proof=proof)
    two.trade.expect("E_PROOF_USED", "seller-a", "lc", "present_documents", **again)


def test_in_one_block_one_proof_makes_one_presentation_in_either_order(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    proof = two.reservation_proof(two.reserve(title, credit))
    first = two.present_args(credit, 10_000_00, proof=proof)
    second = two.present_args(credit, 20_000_00, proof=proof)
    for order in ((first, second), (second, first)):
        place = Place(copy_of(two.trade.kit))
        calls = [place.call("seller-a", "lc", "present_documents", **args) for args in order]
        assert place.race(*calls) == ["", "E_PROOF_USED"]


def test_release_and_commit_of_one_block_time_never_both_happen(two: Channels) -> None:
    """The consumer's last possible block, and the first one that proves there was none."""
    credit = two.desk.credit()
    reservation = two.reserve(two.title(), credit)
    proof = two.reservation_proof(reservation)
    term = two.reservation(reservation).commit_by_ms
    for block_ms, committed in ((term - 600_000, True), (term - 600_000 + 1, False), (term, False)):
        trade = Place(copy_of(two.trade.kit))
        trade.kit.time_ms = block_ms - 1_000
        args = two.present_args(credit, 100_000_00, proof=proof)
        (receipt,) = trade.kit.block(trade.call("seller-a", "lc", "present_documents", **args))
        assert (receipt.code == 0) == committed, (block_ms - term, receipt.reason)
        seen = trade.prover.state(Commitment, two.commitment_key(reservation))
        logistics = Place(copy_of(two.logistics.kit))
        logistics.kit.run("relay", "settle_title", {"reservation": reservation, "proof": seen}, module="title")
        settled = logistics.kit.get(Reservation, key_of(reservation))
        assert settled is not None
        assert settled.state == ("CONFIRMED" if committed else "RELEASED" if block_ms >= term else "RESERVED")


def test_somebody_elses_title_is_not_reserved_presented_or_released(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    args = two.reserve_args(title, credit)
    two.logistics.expect("E_NOT_HOLDER", "shipper-b", "title", "reserve_title", **args)
    reservation = two.reserve(title, credit)
    proof = two.reservation_proof(reservation)
    # A credit of somebody else's, named by mistake or for a bribe.
    foreign = two.desk.credit(beneficiary="seller-b")
    two.sea.issued("HKG-2", two.sea.bill(shipper="shipper"))
    given = two.reserve("SMDG-HMM/HKG-2", foreign)
    wrong = two.present_args(foreign, 100_000_00, proof=two.reservation_proof(given))
    two.trade.expect("E_NOT_OWNER", "seller-b", "lc", "present_documents", **wrong)
    # Nobody releases by a proof of nothing, of the reservation, or of another one's commitment.
    two.refuse_settle("E_PROOF", reservation, b"\xc0")
    two.refuse_settle("E_PROOF", reservation, proof)
    presentation = two.present(credit, proof=proof)
    two.refuse_settle("E_PROOF_SUBJECT", given, two.commitment_proof(reservation))
    # Nor can the holder or a bank unlock it; a court can.
    two.sea.expect("E_NOT_PLEDGEE", "bank-hk", "release_pledge", title=title)
    assert two.bound(presentation) == [("logistics", title, "BOUND")]


def test_a_court_ends_the_lock_and_honour_still_moves_a_title_that_is_there(two: Channels) -> None:
    title, _, reservation, presentation = presented(two)
    order = {"module": "title", "asset": title, "order": "HCA 7/2026"}
    two.logistics.ok("judge", "kernel", "order_release", **order)
    again = two.reserve_args(title, "another/LC-1")
    two.logistics.expect("E_DUP_RESERVATION", "shipper", "title", "reserve_title", **again)
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    assert two.settle(reservation) == "PASSED"
    assert two.holder(title) == "bank-hk"


def test_a_frozen_title_passes_when_the_court_lets_it(two: Channels) -> None:
    title, _, reservation, presentation = presented(two)
    until_ms = two.now + 3 * DAY_MS
    freeze = {"module": "title", "asset": title, "order": "HCA 8/2026", "reason": "fraud", "until_ms": until_ms}
    two.logistics.ok("judge", "kernel", "freeze_asset", **freeze)
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    proof = two.commitment_proof(reservation)
    two.refuse_settle("E_ASSET_FROZEN", reservation, proof)
    two.pass_time(days=3)
    assert two.settle(reservation, proof) == "PASSED"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("E_UNKNOWN_CLIENT", {"channel": "insurance"}),
        ("E_UNKNOWN_PARTY", {"recipients": ["nobody"]}),
        ("E_PARTY_ROLE", {"recipients": ["liner"]}),
        ("E_SELF", {"recipients": ["shipper"]}),
        ("E_PARTY_ROLE", {"recipients": ["bank-mo", "buyer"]}),
        ("E_LOCK_TIME", {"until_ms": 2**53}),
        ("E_UNKNOWN_TITLE", {"title": "SMDG-HMM/NONE"}),
    ],
)
def test_a_reservation_of_a_title_that_makes_no_sense_is_refused(
    two: Channels, reason: str, change: dict[str, Any]
) -> None:
    args = two.reserve_args(two.title(), "buyer-a/LC-1") | change
    two.logistics.expect(reason, "shipper", "title", "reserve_title", **args)


def test_a_straight_bill_and_one_endorsed_for_good_cannot_pass_to_a_bank(two: Channels) -> None:
    two.sea.issued("S-1", two.sea.straight(shipper="shipper"))
    args = two.reserve_args("SMDG-HMM/S-1", "buyer-a/LC-1")
    two.logistics.expect("E_NOT_ENDORSEE", "shipper", "title", "reserve_title", **args)
    two.sea.ok("shipper", "transfer_title", title="SMDG-HMM/S-1", to="buyer")
    two.logistics.expect("E_STRAIGHT", "buyer", "title", "reserve_title", **args)


def test_a_source_that_is_frozen_serves_nobody(two: Channels) -> None:
    title, _, reservation, presentation = presented(two)
    believe(two.logistics.kit, "trade", two.trade.kit, ["title"])
    two.refuse_settle("E_PROOF_SCOPE", reservation, two.commitment_proof(reservation))
    believe(two.logistics.kit, "trade", two.trade.kit, ["light_client"])
    assert two.settle(reservation) == "CONFIRMED"
    assert two.bound(presentation)[0][1] == title


def test_a_financing_needs_its_title_for_as_long_as_it_runs(two: Channels) -> None:
    title = two.title()
    invoice = two.factoring.invoice(seller="seller-a")
    short = two.reserve(title, "seller-a/F-1", "receivable.financing", until_ms=two.now + 200 * DAY_MS)
    args = two.application("F-1", invoice, title_proof=two.reservation_proof(short))
    two.trade.expect("E_RESERVATION_TIME", "seller-a", "receivable", "apply_invoice_financing", **args)


def test_a_step_budget_holds_a_presentation_with_a_proof_of_the_largest_usual_set(two: Channels) -> None:
    """Four validators here; q signatures cost 30 steps each, so 22 validators cost 360 more of 10,000."""
    title = two.title()
    credit = two.desk.credit()
    proof = two.reservation_proof(two.reserve(title, credit))
    args = two.present_args(credit, 100_000_00, proof=proof)
    kit: ModuleKit = two.trade.kit
    call = kit.call("seller-a", "present_documents", args, module="lc")
    (receipt,) = kit.block(call)
    assert receipt.code == Code.OK
    assert len(call.envelope) < 16 * 1024


def test_the_lock_the_chain_has_is_the_reservations(two: Channels) -> None:
    title, _, reservation, presentation = presented(two)
    lock = two.logistics.kit.get(Lock, key_of("title", title))
    assert lock is not None
    found = two.reservation(reservation)
    assert (lock.owner, lock.until_ms, lock.reason) == (lock_owner(reservation), found.until_ms, "lc.presentation")
    assert dict(found.facts)["document"] == title
    assert two.desk.get(presentation).state == PresentationState.RECEIVED


@pytest.mark.parametrize(
    "change", [{"asset": "SMDG-HMM/OTHER"}, {"state": "PASSED"}, {"until_ms": 1}, {"owner": "shipper-b"}]
)
def test_the_titles_invariant_sees_a_lock_without_its_reservation(two: Channels, change: dict[str, Any]) -> None:
    reservation = two.reservation(two.reserve(two.title(), "buyer-a/LC-1"))
    wrong = replace(reservation, **change)
    two.logistics.kit.state.values["light_client", "reservation", wrong.primary_key()] = encode_entity(wrong)
    with pytest.raises(AssertionError, match=r"title\.pledged_stays"):
        two.logistics.kit.check_invariants()
