"""Presenting a bill that a register keeps binds it, honour moves it, and it comes back with the documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.lc.entities import BoundTitle
from dawan_node.modules.light_client import Commitment
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.channels_kit import Channels, Place, copy_of
from tests.modules.lc_kit import Desk

#: One carrier and number, as people write them.
SPELLINGS = [
    ("SMDG-HMM", "HKG-1"),
    ("smdg-hmm", "hkg-1"),
    ("SMDG HMM", "HKG-1"),
    ("SMDG-HMM", "HKG 1"),
    ("SMDG/HMM", "H.K.G.1"),
    ("\uff33\uff2d\uff24\uff27-\uff28\uff2d\uff2d", "\uff28\uff2b\uff27-\uff11"),
]


@pytest.fixture
def one() -> Channels:
    """Everything on one channel; the seller holds its bills itself."""
    return Channels(one=True)


def held(one: Channels, reference: str = "HKG-1") -> str:
    return one.title(reference, "seller-a")


def presented(one: Channels, **more: Any) -> tuple[str, str]:
    title = held(one)
    return title, one.present(one.desk.credit(), title=title, **more)


def test_presentation_binds_the_title_and_honour_moves_it(one: Channels) -> None:
    title, presentation = presented(one)
    assert one.logistics.lock(title) == f"lc:{presentation}"
    one.sea.expect("E_LOCKED", "seller-a", "transfer_title", title=title, to="buyer")
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    assert one.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    assert (one.logistics.lock(title), one.bound(presentation)) == ("", [("", title, "PASSED")])
    one.desk.pay(presentation)
    one.sea.ok("bank-hk", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-cn", hand_over_to="bank-cn")


def test_refused_documents_hold_the_title_until_they_are_returned(one: Channels) -> None:
    title, presentation = presented(one)
    one.desk.refuse(presentation)
    assert one.logistics.lock(title) == f"lc:{presentation}"
    one.desk.ok("bank-hk", "return_documents", presentation=presentation)
    assert (one.holder(title), one.logistics.lock(title)) == ("seller-a", "")
    assert one.bound(presentation) == [("", title, "RETURNED")]


def test_a_corrected_presentation_takes_the_title_over(one: Channels) -> None:
    title, first = presented(one)
    one.desk.refuse(first)
    second = one.present(one.desk.get(first).credit, title=title, replaces=first)
    assert one.logistics.lock(title) == f"lc:{second}"
    one.desk.comply(second)
    one.desk.honour(second)
    assert one.holder(title) == "bank-hk"


def test_a_waiver_lets_the_issuing_bank_have_it(one: Channels) -> None:
    title, presentation = presented(one)
    one.desk.refuse(presentation)
    for person in ("buyer-a", "bank-cn"):
        one.desk.ok(person, "waive_discrepancies", presentation=presentation)
    one.desk.ok("bank-cn", "honour_presentation", presentation=presentation)
    assert one.holder(title) == "bank-cn"


def test_one_title_is_in_one_presentation_whatever_it_is_called(one: Channels) -> None:
    title, presentation = presented(one)
    credit = one.desk.credit()
    again = one.present_args(credit, 100_000_00, title=title)
    one.trade.expect("E_LOCKED", "seller-a", "lc", "present_documents", **again)
    for issuer, number in SPELLINGS:
        by_name = one.present_args(credit, 100_000_00, issuer=issuer, number=number)
        one.trade.expect("E_TITLE_KEPT", "seller-a", "lc", "present_documents", **by_name)
    assert one.bound(presentation) == [("", title, "BOUND")]


@pytest.mark.parametrize(("issuer", "number"), SPELLINGS)
def test_a_title_that_nothing_binds_is_not_presented_by_another_spelling_of_its_number(
    one: Channels, issuer: str, number: str
) -> None:
    held(one)
    by_name = one.present_args(one.desk.credit(), 100_000_00, issuer=issuer, number=number)
    one.trade.expect("E_TITLE_KEPT", "seller-a", "lc", "present_documents", **by_name)
    other = one.present(one.desk.credit(), issuer=issuer, number=f"{number}1")
    assert one.bound(other) == [], "another bill"


def test_two_presentations_of_one_title_in_one_block_are_one_in_either_order(one: Channels) -> None:
    title = held(one)
    first = one.present_args(one.desk.credit(), 100_000_00, title=title)
    second = one.present_args(one.desk.credit(), 100_000_00, title=title)
    for order in ((first, second), (second, first)):
        place = Place(copy_of(one.trade.kit))
        calls = [place.call("seller-a", "lc", "present_documents", **args) for args in order]
        assert place.race(*calls) == ["", "E_LOCKED"]


def test_presenting_and_transferring_in_one_block_is_one_of_them_in_either_order(one: Channels) -> None:
    title = held(one)
    present = one.present_args(one.desk.credit(), 100_000_00, title=title)
    for presents_first in (True, False):
        place = Place(copy_of(one.trade.kit))
        calls = [
            place.call("seller-a", "lc", "present_documents", **present),
            place.call("seller-a", "title", "transfer_title", title=title, to="buyer"),
        ]
        reasons = place.race(*(calls if presents_first else reversed(calls)))
        assert reasons == ["", "E_LOCKED" if presents_first else "E_NOT_HOLDER"]


@pytest.mark.parametrize(
    ("reason", "ebl"),
    [
        ("E_TITLE", {"issuer": "MAEU"}),
        ("E_TITLE", {"number": "BL-1"}),
        ("E_TITLE", {"kind": "INVOICE"}),
        ("E_TITLE", {"proof": b"x"}),
        ("E_TITLE", {"title": "logistics:SMDG-HMM/HKG-1"}),
        ("E_UNKNOWN_TITLE", {"title": "SMDG-HMM/NONE"}),
    ],
)
def test_what_is_said_of_a_title_makes_sense(one: Channels, reason: str, ebl: dict[str, Any]) -> None:
    title = held(one)
    args = one.present_args(one.desk.credit(), 100_000_00, **({"title": title} | ebl))
    one.trade.expect(reason, "seller-a", "lc", "present_documents", **args)


def test_only_the_holder_with_the_right_presents_a_title(one: Channels) -> None:
    title = held(one)
    one.sea.ok("seller-a", "transfer_title", title=title, to="buyer-a")
    args = one.present_args(one.desk.credit(), 100_000_00, title=title)
    one.trade.expect("E_NOT_HOLDER", "seller-a", "lc", "present_documents", **args)


def test_a_lock_that_ended_takes_the_documents_back_and_not_the_money(one: Channels) -> None:
    title, presentation = presented(one)
    one.desk.comply(presentation)
    order = {"module": "title", "asset": title, "order": "HCA 9/2026"}
    one.logistics.ok("judge", "kernel", "order_release", **order)
    one.desk.expect("E_TITLE_NOT_BOUND", "bank-hk", "honour_presentation", presentation=presentation)
    one.desk.expect("E_NOT_PARTY", "bank-hk", "return_documents", presentation=presentation)
    one.desk.ok("seller-a", "return_documents", presentation=presentation)
    found = one.desk.get(presentation)
    assert (found.state, one.desk.get_credit(found.credit).reserved_minor) == ("RETURNED", 0)


def test_every_lock_of_a_presentation_ends_by_itself(one: Channels) -> None:
    title, presentation = presented(one)
    one.pass_time(366 * DAY_MS)
    assert one.logistics.lock(title) == ""
    one.sea.ok("seller-a", "transfer_title", title=title, to="buyer")
    one.desk.ok("bank-hk", "return_documents", presentation=presentation)


def test_a_bound_bank_does_not_send_back_by_silence_what_it_has_to_honour(one: Channels) -> None:
    title = held(one)
    presentation = one.present(one.desk.credit(confirmed=True), title=title)
    one.pass_time(366 * DAY_MS)
    one.desk.expect("E_NOT_PARTY", "bank-hk", "return_documents", presentation=presentation)
    one.desk.ok("seller-a", "claim_preclusion", presentation=presentation)
    one.desk.expect("E_NOT_PARTY", "bank-hk", "return_documents", presentation=presentation)
    assert one.desk.get(presentation).state == "PRECLUDED"


def test_a_channel_without_a_register_takes_no_titles() -> None:
    desk = Desk()
    credit = desk.credit()
    for ebl in ({"title": "SMDG-HMM/HKG-1"}, {"proof": b"x"}):
        args = desk.papers_args(credit, 1)
        args["documents"][1] |= {"issuer": "", "number": ""} | ebl
        desk.expect("E_NO_TITLES", "seller-a", "present_documents", **args)


# -- titles of another channel, where the bank matters ----------------------------------------------------------------


@pytest.fixture
def two() -> Channels:
    return Channels()


def test_a_title_reserved_for_other_banks_is_not_presented_or_forwarded_to_these(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit, recipients=["bank-hk"])
    args = two.present_args(credit, 100_000_00, proof=two.reservation_proof(reservation))
    two.trade.expect("E_RECIPIENT", "seller-a", "lc", "present_documents", **args)
    macau = two.desk.credit(confirming=[{"name": "bank-mo", "place": "HK"}])
    two.desk.ok("bank-mo", "confirm_credit", credit=macau)
    two.sea.issued("HKG-2", two.sea.bill(shipper="shipper"))
    second = two.reserve("SMDG-HMM/HKG-2", macau)
    presentation = two.present(macau, proof=two.reservation_proof(second))
    forward = {"presentation": presentation, "to": "bank-mo"}
    two.desk.expect("E_TITLE_RECIPIENT", "bank-hk", "forward_presentation", **forward)
    two.desk.refuse(presentation)
    moved = two.present_args(macau, 100_000_00, "bank-mo", title="logistics:SMDG-HMM/HKG-2", replaces=presentation)
    two.trade.expect("E_TITLE_RECIPIENT", "seller-a", "lc", "present_documents", **moved)


def test_a_title_that_ends_before_the_new_examination_is_neither_kept_nor_forwarded(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit, until_ms=two.now + 14 * DAY_MS)
    presentation = two.present(credit, proof=two.reservation_proof(reservation))
    two.desk.refuse(presentation)
    two.pass_time(days=7)
    forward = {"presentation": presentation, "to": "bank-cn"}
    two.desk.expect("E_TITLE_TIME", "bank-hk", "forward_presentation", **forward)
    again = two.present_args(credit, 100_000_00, title=f"logistics:{title}", replaces=presentation)
    two.trade.expect("E_TITLE_TIME", "seller-a", "lc", "present_documents", **again)


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda bound, commitment: replace(bound, state="PASSED"),
        lambda bound, commitment: replace(bound, state="RETURNED"),
        lambda bound, commitment: replace(bound, commitment="none"),
        lambda bound, commitment: replace(commitment, state="RETURNED", ended_ms=1),
        lambda bound, commitment: replace(commitment, process="buyer-a/LC-9"),
    ],
)
def test_the_invariant_sees_a_title_that_is_not_where_the_documents_are(
    two: Channels, corrupt: Callable[[BoundTitle, Commitment], Entity]
) -> None:
    reservation = two.reserve(two.title(), two.desk.credit(number="LC-1"))
    presentation = two.present("buyer-a/LC-1", proof=two.reservation_proof(reservation))
    bound = two.trade.kit.get(BoundTitle, key_of(presentation, 1))
    commitment = two.commitment(reservation)
    assert bound is not None and commitment is not None
    entity = corrupt(bound, commitment)
    two.trade.kit.state.values[entity.spec.module, entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"lc\.titles_follow_documents"):
        two.trade.kit.check_invariants()


def test_the_invariant_sees_a_lock_of_a_presentation_that_has_no_title(one: Channels) -> None:
    title, presentation = presented(one)
    found = one.trade.kit.get(BoundTitle, key_of(presentation, 1))
    lock = one.trade.kit.get(Lock, key_of("title", title))
    assert found is not None and lock is not None
    wrong = replace(lock, owner="lc:buyer-a/LC-9#1")
    one.trade.kit.state.values["kernel", "lock", wrong.primary_key()] = encode_entity(wrong)
    with pytest.raises(AssertionError, match=r"lc\.titles_follow_documents"):
        one.trade.kit.check_invariants()
