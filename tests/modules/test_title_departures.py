"""Titles of an organisation that left: a court names the heir, in public and with notice, and nobody else takes any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import replace
from dawan_node.modules.title.chain import entry_hash
from dawan_node.modules.title.entities import ChainEntry, Succession
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.title_kit import DEPARTING, DOCUMENT, Sea, copy_of

ORDERS = [(0, 1), (1, 0)]
ORDER = "HCCW 12/2026"
EVIDENCE = hashlib.sha256(b"the order as it was served").digest()
#: ``title.departure.days``, ``title.answer.days``.
NOTICE, ANSWER = 30, 14


@pytest.fixture
def sea() -> Sea:
    return Sea(DEPARTING)


def traders(sea: Sea, reference: str = "HKG-1") -> str:
    """A bill that ``trader`` holds, with the right; its organisation is about to leave."""
    title = sea.issued(reference)
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="trader", hand_over_to="trader")
    return title


def order(title: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "former": "trader", "heir": "buyer", "order": ORDER, "evidence": EVIDENCE} | more


def ordered(sea: Sea, title: str, **more: Any) -> dict[str, Any]:
    """Arguments that name the order which was just given."""
    sea.ok("judge", "order_succession", **order(title, **more))
    return {"title": title, "order": more.get("order", ORDER)}


def due(sea: Sea, title: str) -> dict[str, Any]:
    """The same after the notice; the organisation left before it."""
    sea.let_go("sz")
    args = ordered(sea, title)
    sea.kit.pass_time(days=NOTICE + 1)
    return args


def succession(sea: Sea, title: str, reference: str = ORDER) -> Succession:
    found, _ = sea.kit.query("successions", {"title": title})
    return next(each for each in found if each.order == reference)


def race(sea: Sea, order: tuple[int, int], *calls: tuple[str, str, dict[str, Any], str]) -> list[str]:
    """The reasons of two commands of one block in the order sent, on a channel of its own."""
    kit = copy_of(sea.kit)
    sent = [kit.call(person, command, args, module=module) for person, command, args, module in calls]
    return [receipt.reason for receipt in kit.block(*[sent[which] for which in order])]


# -- the way ----------------------------------------------------------------------------------------------------------


def test_the_heir_that_a_court_names_takes_the_title_after_the_notice_and_the_history_says_by_which_order(
    sea: Sea,
) -> None:
    title = traders(sea)
    sea.let_go("sz")
    receipt = sea.ok("judge", "order_succession", **order(title))
    until = sea.day(NOTICE)
    said = {"title": title, "order": ORDER, "former": "trader", "heir": "buyer", "until": until}
    assert receipt.events == [("SuccessionOrdered", said)]
    assert sea.control(title) == ("ISSUED", "trader", "trader"), "an order moves nothing"
    take = {"title": title, "order": ORDER}
    sea.kit.pass_time(days=NOTICE)
    assert sea.today == until
    sea.expect("E_NOTICE", "buyer", "take_succession", **take)
    sea.kit.pass_time(days=1)
    receipt = sea.ok("buyer", "take_succession", **take)
    assert receipt.events == [("TitleSucceeded", {"title": title, "revoked": "trader", "to": "buyer"})]
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")
    entry = sea.history(title)[-1]
    assert (entry.action, entry.actor, entry.recipient) == ("SUCCEED", "buyer", "buyer")
    assert (entry.on_behalf_of, entry.reason) == ("trader", ORDER)
    found = succession(sea, title)
    assert (found.state, found.evidence, found.ordered_by, found.org) == ("CARRIED_OUT", EVIDENCE, "judge", "hq")
    sea.ok("buyer", "surrender_title", title=title, purpose="DELIVERY")


def test_the_notice_begins_with_the_order_however_long_ago_the_organisation_left(sea: Sea) -> None:
    title = traders(sea)
    sea.let_go("sz")
    sea.kit.pass_time(days=300)
    take = ordered(sea, title)
    sea.expect("E_NOTICE", "buyer", "take_succession", **take)
    sea.kit.pass_time(days=NOTICE + 1)
    sea.ok("buyer", "take_succession", **take)


def test_the_right_alone_is_succeeded_to_where_another_one_holds_the_title(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="trader", hand_over_to="bank-hk")
    sea.ok("buyer", "take_succession", **due(sea, title))
    assert sea.control(title) == ("ISSUED", "bank-hk", "buyer")
    sea.ok("buyer", "nominate_endorsee", title=title, nominee="bank-gz")


def test_a_straight_bill_stays_its_consignees_by_name_and_the_heir_has_it_amended(sea: Sea) -> None:
    title = sea.issued(bill=sea.bill(to_order=False, consignee="trader"))
    sea.ok("shipper", "transfer_title", title=title, to="trader")
    sea.ok("buyer", "take_succession", **due(sea, title))
    assert sea.control(title) == ("ISSUED", "buyer", "trader")
    sea.ok("buyer", "surrender_title", title=title, purpose="AMENDMENT")


def test_the_heir_takes_a_silent_carriers_surrender_back_after_a_time_of_its_own(sea: Sea) -> None:
    title = traders(sea)
    sea.ok("trader", "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("buyer", "take_succession", **due(sea, title))
    sea.expect("E_ANSWER_TIME", "buyer", "withdraw_surrender", title=title)
    sea.kit.pass_time(days=ANSWER + 1)
    sea.ok("buyer", "withdraw_surrender", title=title)
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")


def test_an_amended_bill_is_issued_to_the_heir_and_not_to_who_left(sea: Sea) -> None:
    title = traders(sea)
    sea.ok("trader", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "accept_surrender", title=title)
    take = due(sea, title)
    again = {"title": title, "bill": sea.bill(), "checksum": DOCUMENT, "document": sea.document()}
    sea.expect("E_UNKNOWN_PARTY", "liner", "reissue_title", **again)
    sea.ok("buyer", "take_succession", **take)
    sea.ok("liner", "reissue_title", **again)
    assert sea.control(f"{title}.2") == ("ISSUED", "buyer", "buyer")


def test_what_a_process_passes_to_who_left_since_it_paid_is_succeeded_to_as_well(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "use", module="credit", title=title, function="bind")
    sea.let_go("sz")
    sea.ok("shipper", "use", module="credit", title=title, function="pass_on", to="trader")
    take = ordered(sea, title)
    sea.kit.pass_time(days=NOTICE + 1)
    sea.ok("buyer", "take_succession", **take)
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")


def test_a_holder_that_refuses_the_transfer_takes_nothing_from_the_heir(sea: Sea) -> None:
    title = traders(sea)
    sea.ok("trader", "transfer_title", title=title, to="forwarder")
    sea.ok("buyer", "take_succession", **due(sea, title))
    assert sea.control(title) == ("ISSUED", "forwarder", "buyer")
    sea.ok("forwarder", "reject_transfer", title=title)
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")


def test_a_holder_that_refuses_a_straight_bill_gives_it_to_the_heir_and_leaves_the_right_by_name(sea: Sea) -> None:
    title = sea.issued(bill=sea.bill(to_order=False, consignee="trader"))
    sea.ok("shipper", "transfer_title", title=title, to="trader")
    sea.ok("trader", "transfer_title", title=title, to="shipper")
    sea.ok("buyer", "take_succession", **due(sea, title))
    sea.ok("shipper", "reject_transfer", title=title)
    assert sea.control(title) == ("ISSUED", "buyer", "trader")


# -- who may, and when ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "person", "changed"),
    [
        ("E_ROLE", "buyer", {}),
        ("E_ROLE", "gz-admin", {}),
        ("E_ROLE", "liner", {}),
        ("E_OWN_MATTER", "judge", {"heir": "wave"}),
        ("E_OWN_MATTER", "judge-gz", {"heir": "bank-gz"}),
        ("E_UNKNOWN_PARTY", "judge", {"heir": "nobody"}),
        ("E_UNKNOWN_PARTY", "judge", {"heir": "buyer-2"}),
        ("E_UNKNOWN_PARTY", "judge", {"heir": "trader-2"}),
        ("E_PARTY_ROLE", "judge", {"heir": "port"}),
        ("E_UNKNOWN_PARTY", "judge", {"former": "nobody"}),
        ("E_NOT_DEPARTED", "judge", {"former": "shipper"}),
        ("E_NO_PART", "judge", {"former": "trader-2"}),
        ("E_UNKNOWN_TITLE", "judge", {"title": "SMDG-HMM/NO"}),
    ],
)
def test_a_court_alone_names_the_heir_and_only_who_can_hold_a_title_and_is_not_of_its_own_organisation(
    sea: Sea, reason: str, person: str, changed: dict[str, Any]
) -> None:
    title = traders(sea)
    sea.let_go("sz")
    # ``buyer-2`` is on the channel no more either.
    sea.ok("mo-admin", "revoke", module="governance", name="buyer-2")
    sea.expect(reason, person, "order_succession", **(order(title) | changed))


def test_while_the_organisation_is_here_or_only_suspended_its_titles_have_no_heirs(sea: Sea) -> None:
    title = traders(sea)
    sea.expect("E_NOT_DEPARTED", "judge", "order_succession", **order(title))
    sea.ok("sz-admin", "revoke", module="governance", name="trader")
    sea.expect("E_NOT_DEPARTED", "judge", "order_succession", **order(title))
    sea.let_go("sz", "suspended")
    sea.expect("E_NOT_DEPARTED", "judge", "order_succession", **order(title))
    sea.let_go("sz", "active")
    sea.ok("sz-admin", "succeed_title", title=title, revoked="trader", to="trader-2")


def test_its_own_administrator_names_nobody_any_more(sea: Sea) -> None:
    title = traders(sea)
    sea.ok("sz-admin", "revoke", module="governance", name="trader")
    sea.let_go("sz")
    succeed = {"title": title, "revoked": "trader", "to": "trader-2"}
    assert sea.kit.run("sz-admin", "succeed_title", succeed).code == 1
    sea.expect("E_OTHER_ORG", "mo-admin", "succeed_title", **succeed)


def test_only_the_heir_takes_it_and_only_by_the_order_that_stands(sea: Sea) -> None:
    title = traders(sea)
    take = due(sea, title)
    for reason, person in (("E_NOT_HEIR", "buyer-2"), ("E_NOT_HEIR", "shipper"), ("E_ROLE", "judge")):
        sea.expect(reason, person, "take_succession", **take)
    sea.expect("E_NO_ORDER", "buyer", "take_succession", **take | {"order": "HCCW 13/2026"})
    sea.expect("E_NO_ORDER", "buyer", "take_succession", **take | {"title": "SMDG-HMM/HKG-2"})
    sea.ok("buyer", "take_succession", **take)
    sea.expect("E_NO_ORDER", "buyer", "take_succession", **take)


def test_an_order_stands_until_the_court_that_gave_it_recalls_it(sea: Sea) -> None:
    title = traders(sea)
    take = due(sea, title)
    sea.expect("E_DUP_ORDER", "judge", "order_succession", **order(title, heir="buyer-2"))
    other = order(title, heir="shipper", order="GZ 5/2026")
    for judge in ("judge", "judge-gz"):
        sea.expect("E_DUP_ORDER", judge, "order_succession", **other | {"heir": "buyer-2"})
    for reason, person in (("E_NOT_ORDERING", "judge-gz"), ("E_ROLE", "buyer"), ("E_ROLE", "hq-admin")):
        sea.expect(reason, person, "recall_succession", **take)
    sea.expect("E_NO_ORDER", "judge", "recall_succession", **take | {"order": "GZ 5/2026"})
    receipt = sea.ok("judge", "recall_succession", **take)
    assert receipt.events == [("SuccessionRecalled", take)]
    sea.expect("E_NO_ORDER", "judge", "recall_succession", **take)
    sea.expect("E_NO_ORDER", "buyer", "take_succession", **take)
    sea.expect("E_DUP_ORDER", "judge", "order_succession", **order(title))
    sea.ok("judge", "order_succession", **other)
    sea.expect("E_NOTICE", "shipper", "take_succession", title=title, order="GZ 5/2026")
    sea.kit.pass_time(days=NOTICE + 1)
    sea.ok("shipper", "take_succession", title=title, order="GZ 5/2026")


def test_an_order_of_a_court_that_left_is_recalled_and_replaced_by_another_one() -> None:
    sea = Sea({**DEPARTING, "judge-zh": ("zh", ["court"])})
    title = traders(sea)
    sea.let_go("sz")
    sea.ok("judge-zh", "order_succession", **order(title))
    take = {"title": title, "order": ORDER}
    sea.let_go("zh", "suspended")
    sea.expect("E_NOT_ORDERING", "judge", "recall_succession", **take)
    sea.let_go("zh")
    sea.expect("E_ROLE", "shipper", "recall_succession", **take)
    sea.ok("judge", "recall_succession", **take)
    sea.kit.pass_time(days=NOTICE + 1)
    sea.expect("E_NO_ORDER", "buyer", "take_succession", **take)
    sea.ok("judge", "order_succession", **order(title, heir="shipper", order="HCCW 15/2026"))


def test_another_court_stops_it_by_a_freeze_and_a_lock_has_to_end_first(sea: Sea) -> None:
    title = traders(sea)
    sea.ok("trader", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(200))
    take = due(sea, title)
    sea.expect("E_LOCKED", "buyer", "take_succession", **take)
    release = {"module": "title", "asset": title, "order": ORDER}
    assert sea.kit.run("judge", "order_release", release, module="kernel").code == 0
    freeze = {"module": "title", "asset": title, "order": "GZ 6/2026", "reason": "a better right"}
    until_ms = sea.kit.time_ms + 9 * DAY_MS
    assert sea.kit.run("judge-gz", "freeze_asset", freeze | {"until_ms": until_ms}, module="kernel").code == 0
    sea.expect("E_ASSET_FROZEN", "buyer", "take_succession", **take)
    sea.kit.pass_time(days=10)
    sea.ok("buyer", "take_succession", **take)


def test_what_was_delivered_meanwhile_has_no_heir(sea: Sea) -> None:
    title = traders(sea)
    sea.ok("trader", "surrender_title", title=title, purpose="DELIVERY")
    take = due(sea, title)
    sea.ok("liner", "accept_surrender", title=title)
    sea.expect("E_STATE", "buyer", "take_succession", **take)
    sea.expect("E_STATE", "judge", "order_succession", **order(title, order="HCCW 14/2026"))


def test_nobody_sends_a_title_to_an_organisation_that_left(sea: Sea) -> None:
    title, draft = sea.issued(), sea.bill(shipper="trader")
    sea.let_go("sz")
    sea.expect("E_UNKNOWN_PARTY", "shipper", "transfer_title", title=title, to="trader")
    sea.expect("E_UNKNOWN_PARTY", "shipper", "endorse_title", title=title, kind="ENDORSE", to="trader")
    args = {"carrier": "SMDG-HMM", "reference": "HKG-2", "bill": draft, "checksum": DOCUMENT}
    sea.expect("E_UNKNOWN_PARTY", "liner", "draft_title", **args)


# -- two in one block -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ORDERS)
def test_the_recall_and_the_taking_in_one_block_are_the_first_of_them(sea: Sea, sent: tuple[int, int]) -> None:
    take = due(sea, traders(sea))
    calls = (("judge", "recall_succession", take, ""), ("buyer", "take_succession", take, ""))
    assert race(sea, sent, *calls) == ["", "E_NO_ORDER"]


@pytest.mark.parametrize("sent", ORDERS)
def test_a_freeze_in_one_block_with_the_taking_stops_it_if_it_comes_first(sea: Sea, sent: tuple[int, int]) -> None:
    title = traders(sea)
    take = due(sea, title)
    freeze = {"module": "title", "asset": title, "order": "GZ 6/2026", "reason": "a better right"}
    freeze |= {"until_ms": sea.kit.time_ms + DAY_MS}
    calls = (("judge-gz", "freeze_asset", freeze, "kernel"), ("buyer", "take_succession", take, ""))
    assert race(sea, sent, *calls) == (["", "E_ASSET_FROZEN"] if sent == (0, 1) else ["", ""])


@pytest.mark.parametrize("sent", ORDERS)
def test_two_orders_about_one_party_in_one_block_are_the_first_of_them(sea: Sea, sent: tuple[int, int]) -> None:
    title = traders(sea)
    sea.let_go("sz")
    calls = (
        ("judge", "order_succession", order(title), ""),
        ("judge-gz", "order_succession", order(title, heir="buyer-2", order="GZ 5/2026"), ""),
    )
    assert race(sea, sent, *calls) == ["", "E_DUP_ORDER"]


@pytest.mark.parametrize("sent", ORDERS)
def test_the_carriers_acceptance_and_the_taking_in_one_block_make_one_state_of_one_title(
    sea: Sea, sent: tuple[int, int]
) -> None:
    title = traders(sea)
    sea.ok("trader", "surrender_title", title=title, purpose="DELIVERY")
    take = due(sea, title)
    calls = (("liner", "accept_surrender", {"title": title}, ""), ("buyer", "take_succession", take, ""))
    assert race(sea, sent, *calls) == (["", "E_STATE"] if sent == (0, 1) else ["", ""])


# -- the invariant ----------------------------------------------------------------------------------------------------


def taken(sea: Sea) -> str:
    title = traders(sea)
    sea.ok("buyer", "take_succession", **due(sea, title))
    return title


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(entry, reason=""),
        lambda entry: replace(entry, reason="HCCW 13/2026"),
        lambda entry: replace(entry, recipient="bank-hk"),
        lambda entry: replace(entry, on_behalf_of="trader-2"),
        lambda entry: replace(entry, at_ms=entry.at_ms - 2 * DAY_MS),
    ],
)
def test_the_invariant_sees_a_succession_that_no_order_allowed(
    sea: Sea, change: Callable[[ChainEntry], ChainEntry]
) -> None:
    title = taken(sea)
    entry = change(sea.history(title)[-1])
    entry = replace(entry, hash=entry_hash(DOCUMENT, replace(entry, hash=b"")))
    for entity in (entry, replace(sea.get(title), head=entry.hash)):
        sea.kit.state.values["title", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"title\.within_one_house"):
        sea.kit.check_invariants()


@pytest.mark.parametrize(
    "change",
    [
        lambda found: replace(found, state="ORDERED"),
        lambda found: replace(found, state="RECALLED"),
        lambda found: replace(found, heir="bank-hk"),
        lambda found: replace(found, org="mo"),
    ],
)
def test_the_invariant_sees_an_order_that_does_not_fit_what_was_done(
    sea: Sea, change: Callable[[Succession], Succession]
) -> None:
    title = taken(sea)
    entity = change(succession(sea, title))
    sea.kit.state.values["title", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"title\.within_one_house"):
        sea.kit.check_invariants()


def test_the_invariant_sees_an_order_that_is_said_to_be_carried_out_and_was_not(sea: Sea) -> None:
    title = traders(sea)
    due(sea, title)
    entity = replace(succession(sea, title), state="CARRIED_OUT")
    sea.kit.state.values["title", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"title\.within_one_house"):
        sea.kit.check_invariants()
