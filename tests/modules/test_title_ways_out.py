"""No silent carrier and no revoked identity keeps a title for ever, and no way out makes two holders or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import replace
from dawan_node.interchange.pint_writer import next_entry
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.title.chain import entry_hash
from dawan_node.modules.title.entities import ChainEntry
from tests.modules.title_kit import DOCUMENT, Sea, copy_of

AMENDED = hashlib.sha256(b"the amended document").digest()
#: ``title.answer.days``.
DAYS = 14


@pytest.fixture
def sea() -> Sea:
    return Sea()


def surrendered(sea: Sea, purpose: str = "DELIVERY", reason: str = "", bill: dict[str, Any] | None = None) -> str:
    title = sea.issued(bill=bill)
    sea.ok("shipper", "surrender_title", title=title, purpose=purpose, reason=reason)
    return title


def accepted(sea: Sea) -> str:
    """Given up for an amended bill that the carrier owes."""
    title = surrendered(sea, "AMENDMENT", "COD")
    sea.ok("liner", "accept_surrender", title=title)
    return title


def again(sea: Sea, **bill: Any) -> dict[str, Any]:
    return {"bill": sea.bill(**bill), "checksum": AMENDED, "document": sea.document()}


def revoke(sea: Sea, admin: str, name: str) -> None:
    assert sea.kit.run(admin, "revoke", {"name": name}, module="governance").code == 0


def race(sea: Sea, first: tuple[Any, ...], second: tuple[Any, ...]) -> list[str]:
    """The reasons of two commands of one block, on a channel of its own."""
    kit = copy_of(sea.kit)
    calls = [kit.call(person, command, args) for person, command, args in (first, second)]
    return [receipt.reason for receipt in kit.block(*calls)]


# -- a carrier that does not answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "reason"), [("DELIVERY", ""), ("AMENDMENT", ""), ("AMENDMENT", "COD"), ("AMENDMENT", "SWTP")]
)
def test_whoever_surrendered_takes_the_title_back_from_a_carrier_that_never_answers(
    sea: Sea, purpose: str, reason: str
) -> None:
    title = surrendered(sea, purpose, reason)
    one = {"title": title}
    sea.expect("E_ANSWER_TIME", "shipper", "withdraw_surrender", **one)
    sea.kit.pass_time(days=DAYS)
    sea.expect("E_ANSWER_TIME", "shipper", "withdraw_surrender", **one)
    sea.kit.pass_time(days=1)
    sea.expect("E_NOT_REQUESTER", "buyer", "withdraw_surrender", **one)
    sea.expect("E_ROLE", "liner", "withdraw_surrender", **one)
    receipt = sea.ok("shipper", "withdraw_surrender", **one)
    assert [tuple(event) for event in receipt.events] == [
        ("SurrenderWithdrawn", {"title": title, "back_to": "shipper"})
    ]
    assert sea.control(title) == ("ISSUED", "shipper", "shipper")
    assert sea.actions(title)[-1] == "WITHDRAW"
    for command in ("accept_surrender", "reject_surrender"):
        more = {"why": "late"} if command == "reject_surrender" else {}
        sea.expect("E_STATE", "liner", command, **one, **more)
    sea.expect("E_STATE", "shipper", "withdraw_surrender", **one)
    # It is a title like any other again: sold, or surrendered once more, to a time of its own.
    sea.ok("shipper", "endorse_title", **one, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="buyer")
    sea.ok("buyer", "surrender_title", **one, purpose="DELIVERY")
    sea.expect("E_ANSWER_TIME", "buyer", "withdraw_surrender", **one)
    sea.ok("liner", "accept_surrender", **one)
    sea.kit.pass_time(days=DAYS + 1)
    sea.expect("E_STATE", "buyer", "withdraw_surrender", **one)


@pytest.mark.parametrize("answer", ["accept_surrender", "reject_surrender"])
def test_the_carriers_answer_and_the_withdrawal_in_one_block_are_one_of_them_in_either_order(
    sea: Sea, answer: str
) -> None:
    title = surrendered(sea)
    sea.kit.pass_time(days=DAYS + 1)
    more = {"why": "?"} if answer == "reject_surrender" else {}
    said = ("liner", answer, {"title": title, **more})
    back = ("shipper", "withdraw_surrender", {"title": title})
    assert race(sea, said, back) == ["", "E_STATE"]
    assert race(sea, back, said) == ["", "E_STATE"]


def test_a_frozen_title_waits_for_the_court_and_not_for_the_carrier(sea: Sea) -> None:
    title = surrendered(sea)
    until_ms = sea.kit.time_ms + 30 * 86_400_000
    order = {"module": "title", "asset": title, "order": "HCA 1/2026", "reason": "fraud", "until_ms": until_ms}
    assert sea.kit.run("judge", "freeze_asset", order, module="kernel").code == 0
    sea.kit.pass_time(days=DAYS + 1)
    sea.expect("E_ASSET_FROZEN", "shipper", "withdraw_surrender", title=title)


def test_an_amended_bill_that_never_comes_gives_way_to_a_new_version_on_the_old_terms(sea: Sea) -> None:
    title = accepted(sea)
    sea.kit.pass_time(days=DAYS)
    sea.expect("E_ANSWER_TIME", "shipper", "withdraw_surrender", title=title)
    sea.kit.pass_time(days=1)
    sea.ok("shipper", "withdraw_surrender", title=title)
    fresh = sea.get(f"{title}.2")
    old = sea.get(title)
    assert (old.state, old.holder, old.replaced_by) == ("VOIDED", "", fresh.title)
    assert (fresh.bill, fresh.checksum, fresh.digest) == (old.bill, old.checksum, old.digest)
    assert sea.control(fresh.title) == ("ISSUED", "shipper", "shipper")
    assert sea.actions(fresh.title) == ["ISSUE"]
    sea.expect("E_STATE", "liner", "reissue_title", title=title, **again(sea))
    sea.ok("shipper", "surrender_title", title=fresh.title, purpose="DELIVERY")


def test_the_amended_bill_and_the_withdrawal_in_one_block_are_one_of_them_in_either_order(sea: Sea) -> None:
    title = accepted(sea)
    sea.kit.pass_time(days=DAYS + 1)
    bill = ("liner", "reissue_title", {"title": title, **again(sea)})
    back = ("shipper", "withdraw_surrender", {"title": title})
    assert race(sea, bill, back) == ["", "E_STATE"]
    assert race(sea, back, bill) == ["", "E_STATE"]


def test_an_endorsement_that_was_the_last_one_stays_the_last_one(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE", to="buyer", hand_over_to="buyer")
    sea.ok("buyer", "surrender_title", title=title, purpose="AMENDMENT")
    sea.ok("liner", "accept_surrender", title=title)
    sea.kit.pass_time(days=DAYS + 1)
    sea.ok("buyer", "withdraw_surrender", title=title)
    args = {"title": f"{title}.2", "kind": "BLANK_ENDORSE"}
    sea.expect("E_NO_FURTHER_ENDORSEMENT", "buyer", "endorse_title", **args)


def test_to_other_platforms_a_surrender_that_nobody_answered_did_not_happen(sea: Sea) -> None:
    title = surrendered(sea)
    sea.kit.pass_time(days=DAYS + 1)
    sea.ok("shipper", "withdraw_surrender", title=title)
    history = [
        {"position": each.position, "action": each.action, "actor": each.actor, "recipient": each.recipient}
        | {"on_behalf_of": each.on_behalf_of, "reason": each.reason, "at": str(each.at_ms)}
        for each in sea.history(title)
    ]
    entry = next_entry({"checksum": "0x" + DOCUMENT.hex()}, history, None)
    assert [each["actionCode"] for each in entry["transactions"]] == ["ISSUE"]
    assert [each["action"] for each in entry["withoutPintCode"]] == ["SURRENDER_FOR_DELIVERY", "WITHDRAW"]


# -- an identity that was revoked -------------------------------------------------------------------------------------


def buyers(sea: Sea) -> str:
    """A bill that the buyer holds, with the right; ``buyer-2`` is of its organisation."""
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="buyer")
    return title


def test_a_bill_surrendered_by_an_identity_revoked_since_is_reissued_to_its_successor(sea: Sea) -> None:
    title = buyers(sea)
    sea.ok("buyer", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "accept_surrender", title=title)
    succeed = {"title": title, "revoked": "buyer", "to": "buyer-2"}
    sea.expect("E_NOT_REVOKED", "mo-admin", "succeed_title", **succeed)
    revoke(sea, "mo-admin", "buyer")
    sea.expect("E_UNKNOWN_PARTY", "liner", "reissue_title", title=title, **again(sea))
    receipt = sea.ok("mo-admin", "succeed_title", **succeed)
    assert [event[0] for event in receipt.events] == ["TitleSucceeded"]
    sea.ok("liner", "reissue_title", title=title, **again(sea))
    assert sea.control(f"{title}.2") == ("ISSUED", "buyer-2", "buyer-2")


def test_what_goes_back_to_a_revoked_identity_is_taken_over_by_another_one_of_its_house(sea: Sea) -> None:
    title = buyers(sea)
    sea.ok("buyer", "surrender_title", title=title, purpose="DELIVERY")
    revoke(sea, "mo-admin", "buyer")
    sea.ok("liner", "reject_surrender", title=title, why="the freight is not paid")
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")
    sea.ok("mo-admin", "succeed_title", title=title, revoked="buyer", to="buyer-2")
    assert sea.control(title) == ("ISSUED", "buyer-2", "buyer-2")
    assert sea.actions(title)[-1] == "SUCCEED"
    sea.ok("buyer-2", "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("liner", "accept_surrender", title=title)


def test_a_successor_takes_a_silent_carriers_title_back_after_a_time_of_its_own(sea: Sea) -> None:
    title = buyers(sea)
    sea.ok("buyer", "surrender_title", title=title, purpose="DELIVERY")
    revoke(sea, "mo-admin", "buyer")
    sea.kit.pass_time(days=DAYS + 1)
    sea.ok("mo-admin", "succeed_title", title=title, revoked="buyer", to="buyer-2")
    sea.expect("E_ANSWER_TIME", "buyer-2", "withdraw_surrender", title=title)
    sea.kit.pass_time(days=DAYS + 1)
    sea.ok("buyer-2", "withdraw_surrender", title=title)
    assert sea.control(title) == ("ISSUED", "buyer-2", "buyer-2")


def test_possession_and_right_are_succeeded_apart(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="bank-hk")
    revoke(sea, "mo-admin", "buyer")
    sea.ok("mo-admin", "succeed_title", title=title, revoked="buyer", to="buyer-2")
    assert sea.control(title) == ("ISSUED", "bank-hk", "buyer-2")
    sea.ok("buyer-2", "nominate_endorsee", title=title, nominee="bank-gz")
    sea.ok("bank-hk", "confirm_nomination", title=title, nominee="bank-gz")


def test_the_successor_of_a_straight_bills_party_has_it_amended_in_its_name(sea: Sea) -> None:
    title = sea.issued(bill=sea.straight())
    sea.ok("shipper", "transfer_title", title=title, to="buyer")
    revoke(sea, "mo-admin", "buyer")
    sea.ok("mo-admin", "succeed_title", title=title, revoked="buyer", to="buyer-2")
    assert sea.control(title) == ("ISSUED", "buyer-2", "buyer")
    sea.expect("E_NOT_ENDORSEE", "buyer-2", "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("buyer-2", "surrender_title", title=title, purpose="AMENDMENT")
    sea.ok("liner", "accept_surrender", title=title)
    bill = again(sea) | {"bill": sea.bill(to_order=False, consignee="buyer-2")}
    sea.ok("liner", "reissue_title", title=title, **bill)
    assert sea.control(f"{title}.2") == ("ISSUED", "buyer-2", "buyer-2")


def test_a_bound_title_waits_until_its_lock_is_over(sea: Sea) -> None:
    title = buyers(sea)
    sea.ok("buyer", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(3))
    revoke(sea, "mo-admin", "buyer")
    succeed = {"title": title, "revoked": "buyer", "to": "buyer-2"}
    sea.expect("E_LOCKED", "mo-admin", "succeed_title", **succeed)
    sea.ok("bank-hk", "release_pledge", title=title)
    sea.ok("mo-admin", "succeed_title", **succeed)


#: A bank of ``PEOPLE`` whose house has another one, and a trader.
LENDERS = {"bank-mo": ("mo", ["bank"]), "bank-mo-2": ("mo", ["bank"])}


def pledged(handed: bool = False) -> tuple[Sea, str]:
    """Pledged by the shipper to a bank that was revoked since; ``handed``: which has it in its hands."""
    sea = Sea(LENDERS)
    title = sea.issued()
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-mo", matures=sea.day(3))
    if handed:
        endorse = {"kind": "ENDORSE_TO_ORDER", "to": "bank-mo", "hand_over_to": "bank-mo"}
        sea.ok("shipper", "endorse_title", title=title, **endorse)
    revoke(sea, "mo-admin", "bank-mo")
    return sea, title


@pytest.mark.parametrize("handed", [False, True])
def test_a_revoked_pledgees_house_frees_the_title_of_who_paid(handed: bool) -> None:
    sea, title = pledged(handed)
    sea.expect("E_NOT_PLEDGEE", "bank-mo-2", "release_pledge", title=title)
    until_ms = sea.kit.entities(Lock)[0].until_ms
    sea.ok("mo-admin", "succeed_title", title=title, revoked="bank-mo", to="bank-mo-2")
    (lock,) = sea.kit.entities(Lock)
    assert (lock.owner, lock.until_ms) == ("bank-mo-2", until_ms)
    holder = "bank-mo-2" if handed else "shipper"
    assert sea.control(title) == ("ISSUED", holder, holder)
    sea.expect("E_LOCKED", holder, "transfer_title", title=title, to="buyer")
    sea.expect("E_NOT_PLEDGEE", "bank-hk", "release_pledge", title=title)
    sea.ok("bank-mo-2", "release_pledge", title=title)
    assert sea.control(title) == ("ISSUED", "shipper", "shipper")
    assert sea.kit.entities(Lock) == []


@pytest.mark.parametrize("handed", [False, True])
def test_a_revoked_pledgees_house_enforces_what_was_not_paid_and_not_before(handed: bool) -> None:
    sea, title = pledged(handed)
    sea.ok("mo-admin", "succeed_title", title=title, revoked="bank-mo", to="bank-mo-2")
    sea.expect("E_NOT_DUE", "bank-mo-2", "enforce_pledge", title=title)
    sea.kit.pass_time(days=4)
    sea.ok("bank-mo-2", "enforce_pledge", title=title)
    assert sea.control(title) == ("ISSUED", "bank-mo-2", "bank-mo-2")


@pytest.mark.parametrize(
    ("reason", "admin", "changed"),
    [
        ("E_OTHER_ORG", "gz-admin", {}),
        ("E_OTHER_ORG", "mo-admin", {"to": "bank-hk"}),
        ("E_PARTY_ROLE", "mo-admin", {"to": "buyer"}),
        ("E_LOCKED", "gz-admin", {"revoked": "shipper", "to": "forwarder"}),
        ("E_NO_PART", "mo-admin", {"revoked": "bolero", "to": "bank-mo-2"}),
    ],
)
def test_a_pledge_passes_to_a_bank_of_the_pledgees_house_alone(
    reason: str, admin: str, changed: dict[str, Any]
) -> None:
    sea, title = pledged()
    revoke(sea, "gz-admin", "shipper")
    revoke(sea, "mo-admin", "bolero")
    args = {"title": title, "revoked": "bank-mo", "to": "bank-mo-2"} | changed
    sea.expect(reason, admin, "succeed_title", **args)


def test_a_pledge_that_is_over_has_no_successor() -> None:
    sea, title = pledged()
    sea.kit.pass_time(days=40)
    sea.expect("E_NO_PART", "mo-admin", "succeed_title", title=title, revoked="bank-mo", to="bank-mo-2")
    sea.ok("shipper", "transfer_title", title=title, to="buyer")


def test_a_frozen_pledge_waits() -> None:
    sea, title = pledged()
    freeze = {"module": "title", "asset": title, "order": "HCA 7/2026", "reason": "a claim"}
    until_ms = sea.kit.time_ms + 86_400_000
    assert sea.kit.run("judge", "freeze_asset", freeze | {"until_ms": until_ms}, module="kernel").code == 0
    sea.expect("E_ASSET_FROZEN", "mo-admin", "succeed_title", title=title, revoked="bank-mo", to="bank-mo-2")


def test_a_pledgor_that_is_revoked_too_has_its_title_back_and_its_house_succeeds_to_it() -> None:
    sea, title = pledged()
    revoke(sea, "gz-admin", "shipper")
    sea.ok("mo-admin", "succeed_title", title=title, revoked="bank-mo", to="bank-mo-2")
    sea.ok("bank-mo-2", "release_pledge", title=title)
    sea.ok("gz-admin", "succeed_title", title=title, revoked="shipper", to="forwarder")
    assert sea.control(title) == ("ISSUED", "forwarder", "forwarder")


def test_a_succession_and_the_end_of_a_pledge_by_a_court_in_one_block_leave_one_state_in_either_order() -> None:
    sea, title = pledged()
    order = {"module": "title", "asset": title, "order": "HCA 7/2026"}
    succeed = {"title": title, "revoked": "bank-mo", "to": "bank-mo-2"}
    for first in (True, False):
        kit = copy_of(sea.kit)
        calls = [
            kit.call("mo-admin", "succeed_title", succeed),
            kit.call("judge", "order_release", order, module="kernel"),
        ]
        receipts = kit.block(*(calls if first else calls[::-1]))
        assert [receipt.reason for receipt in receipts] == (["", ""] if first else ["", "E_NO_PART"])
        assert kit.entities(Lock) == []


@pytest.mark.parametrize(
    ("reason", "admin", "changed"),
    [
        ("E_ROLE", "buyer-2", {}),
        ("E_OTHER_ORG", "gz-admin", {}),
        ("E_OTHER_ORG", "mo-admin", {"to": "bank-hk"}),
        ("E_PARTY_ROLE", "mo-admin", {"to": "other-liner"}),
        ("E_UNKNOWN_PARTY", "mo-admin", {"to": "buyer"}),
        ("E_UNKNOWN_PARTY", "mo-admin", {"to": "nobody"}),
        ("E_UNKNOWN_PARTY", "mo-admin", {"revoked": "nobody"}),
        ("E_NO_PART", "mo-admin", {"revoked": "bolero"}),
        ("E_UNKNOWN_TITLE", "mo-admin", {"title": "SMDG-HMM/NO"}),
    ],
)
def test_nobody_gets_a_title_by_succession_but_another_identity_of_the_revoked_ones_house(
    sea: Sea, reason: str, admin: str, changed: dict[str, Any]
) -> None:
    title = buyers(sea)
    for name in ("buyer", "bolero"):
        revoke(sea, "mo-admin", name)
    args = {"title": title, "revoked": "buyer", "to": "buyer-2"} | changed
    sea.expect(reason, admin, "succeed_title", **args)


def test_what_is_delivered_on_paper_or_a_draft_has_no_successors(sea: Sea) -> None:
    delivered = buyers(sea)
    sea.ok("buyer", "surrender_title", title=delivered, purpose="DELIVERY")
    sea.ok("liner", "accept_surrender", title=delivered)
    paper, draft = sea.on_paper("HKG-2"), sea.approved("HKG-3")
    revoke(sea, "mo-admin", "buyer")
    revoke(sea, "gz-admin", "shipper")
    sea.expect("E_STATE", "mo-admin", "succeed_title", title=delivered, revoked="buyer", to="buyer-2")
    for title in (paper, draft):
        sea.expect("E_STATE", "gz-admin", "succeed_title", title=title, revoked="shipper", to="forwarder")


def test_two_successors_in_one_block_are_the_first_one(sea: Sea) -> None:
    title = sea.issued()
    revoke(sea, "gz-admin", "shipper")
    named = [
        ("gz-admin", "succeed_title", {"title": title, "revoked": "shipper", "to": to})
        for to in ("forwarder", "bank-gz")
    ]
    assert race(sea, named[0], named[1]) == race(sea, named[1], named[0]) == ["", "E_NO_PART"]


# -- the invariants ---------------------------------------------------------------------------------------------------


def rewritten(sea: Sea, title: str, change: Callable[[ChainEntry], ChainEntry]) -> None:
    """The title's last entry, said otherwise, in a chain that is in order."""
    entry = sea.history(title)[-1]
    entry = change(entry)
    entry = replace(entry, hash=entry_hash(DOCUMENT, replace(entry, hash=b"")))
    found = replace(sea.get(title), head=entry.hash)
    for entity in (entry, found):
        key = ("title", entity.spec.collection, entity.primary_key())
        sea.kit.state.values[key] = encode_entity(entity)


@pytest.mark.parametrize(
    ("invariant", "change"),
    [
        ("one_holder", lambda entry: replace(entry, recipient="bank-hk")),
        ("within_one_house", lambda entry: replace(entry, recipient="bank-hk")),
        ("within_one_house", lambda entry: replace(entry, on_behalf_of="shipper")),
        ("complete_history", lambda entry: replace(entry, action="WITHDRAW")),
    ],
)
def test_the_invariants_see_a_succession_that_is_none(
    sea: Sea, invariant: str, change: Callable[[ChainEntry], ChainEntry]
) -> None:
    title = buyers(sea)
    revoke(sea, "mo-admin", "buyer")
    sea.ok("mo-admin", "succeed_title", title=title, revoked="buyer", to="buyer-2")
    rewritten(sea, title, change)
    with pytest.raises(AssertionError, match=rf"title\.{invariant}"):
        sea.kit.check_invariants()


def test_the_invariants_see_a_withdrawal_that_gives_the_title_to_somebody_else(sea: Sea) -> None:
    title = surrendered(sea)
    sea.kit.pass_time(days=DAYS + 1)
    sea.ok("shipper", "withdraw_surrender", title=title)
    rewritten(sea, title, lambda entry: replace(entry, recipient="buyer"))
    with pytest.raises(AssertionError, match=r"title\.one_holder"):
        sea.kit.check_invariants()
