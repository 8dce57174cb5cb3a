"""A title of this channel secures a financing: locked from the application until the money is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.light_client import Commitment
from dawan_node.modules.receivable.entities import TitleSecurity
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.channels_kit import Channels, Place, copy_of

FINANCING = "seller-a/F-1"


@pytest.fixture
def one() -> Channels:
    return Channels(one=True)


def applied(one: Channels, **more: Any) -> str:
    title = one.title(holder="seller-a")
    invoice = one.factoring.invoice(seller="seller-a")
    args = one.application("F-1", invoice, title=title, **more)
    one.trade.ok("seller-a", "receivable", "apply_invoice_financing", **args)
    return title


def funded(one: Channels) -> str:
    title = applied(one)
    one.trade.ok("bank-hk", "receivable", "reserve_financing", financing=FINANCING)
    one.fund(FINANCING)
    return title


def test_the_title_is_locked_from_the_application_until_it_is_repaid(one: Channels) -> None:
    title = funded(one)
    assert (one.logistics.lock(title), one.security(FINANCING)) == (f"receivable:{FINANCING}", "HELD")
    one.sea.expect("E_LOCKED", "seller-a", "transfer_title", title=title, to="buyer")
    one.sea.expect("E_LOCKED", "seller-a", "pledge_title", title=title, pledgee="bank-mo", matures=one.sea.day(9))
    one.pass_time(days=181)
    (found,), _ = one.factoring.kit.query("financings", {"party": "seller-a"})
    cash = one.factoring.cash("core-1", "bank-hk", ["CNY", 1_000_000_000])
    one.trade.ok("settle-bank", "receivable", "settle_invoice", invoice=found.asset, cash=cash)
    assert (one.logistics.lock(title), one.security(FINANCING)) == ("", "RETURNED")


def test_one_title_secures_one_financing_and_is_not_presented_beside_it(one: Channels) -> None:
    title = applied(one)
    other = one.factoring.invoice("INV-002", seller="seller-a", minor=7_000_00)
    args = one.application("F-2", other, title=title)
    one.trade.expect("E_LOCKED", "seller-a", "receivable", "apply_invoice_financing", **args)
    present = one.present_args(one.desk.credit(), 100_000_00, title=title)
    one.trade.expect("E_LOCKED", "seller-a", "lc", "present_documents", **present)


def test_financing_and_presenting_one_title_in_one_block_is_one_of_them_in_either_order(one: Channels) -> None:
    title = one.title(holder="seller-a")
    apply = one.application("F-1", one.factoring.invoice(seller="seller-a"), title=title)
    present = one.present_args(one.desk.credit(), 100_000_00, title=title)
    for order in (0, 1):
        place = Place(copy_of(one.trade.kit))
        calls = [
            place.call("seller-a", "receivable", "apply_invoice_financing", **apply),
            place.call("seller-a", "lc", "present_documents", **present),
        ]
        assert place.race(*(reversed(calls) if order else calls)) == ["", "E_LOCKED"]


@pytest.mark.parametrize(("person", "command"), [("bank-hk", "reject_financing"), ("seller-a", "withdraw_financing")])
def test_a_financing_that_comes_to_nothing_frees_it(one: Channels, person: str, command: str) -> None:
    title = applied(one)
    one.trade.ok(person, "receivable", command, financing=FINANCING)
    assert (one.logistics.lock(title), one.security(FINANCING)) == ("", "RETURNED")


def test_no_money_moves_when_the_title_is_not_bound_any_more(one: Channels) -> None:
    title = applied(one)
    one.trade.ok("bank-hk", "receivable", "reserve_financing", financing=FINANCING)
    order = {"module": "title", "asset": title, "order": "HCA 9/2026"}
    one.logistics.ok("judge", "kernel", "order_release", **order)
    cash = one.factoring.cash("bank-hk", "seller-a", ["CNY", 900_000_000])
    one.trade.expect("E_NOT_BOUND", "settle-bank", "receivable", "fund_financing", financing=FINANCING, cash=cash)
    one.trade.ok("bank-hk", "receivable", "reject_financing", financing=FINANCING)
    assert one.security(FINANCING) == "RETURNED"


def test_in_recourse_the_financier_takes_it(one: Channels) -> None:
    title = funded(one)
    one.pass_time(days=181)
    one.trade.ok("bank-hk", "receivable", "claim_recourse", financing=FINANCING)
    one.trade.ok("bank-hk", "receivable", "take_title", financing=FINANCING)
    assert one.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    cash = one.factoring.cash("seller-a", "bank-hk", ["CNY", 1_000_000_000])
    repay = {"financing": FINANCING, "cash": cash}
    one.trade.expect("E_FINANCING_STATE", "settle-bank", "receivable", "repay_financing", **repay)
    assert one.security(FINANCING) == "TAKEN"


def test_without_recourse_no_title_is_bound(one: Channels) -> None:
    title = one.title(holder="seller-a")
    args = one.application("F-1", one.factoring.invoice(seller="seller-a"), title=title) | {"recourse": False}
    one.trade.expect("E_RECOURSE", "seller-a", "receivable", "apply_invoice_financing", **args)
    assert one.logistics.lock(title) == ""


def test_the_lock_ends_thirty_days_after_the_maturity(one: Channels) -> None:
    title = funded(one)
    one.pass_time(days=210)
    assert one.logistics.lock(title) != ""
    one.pass_time(DAY_MS)
    assert one.logistics.lock(title) == ""


def test_a_title_is_locked_for_335_days_at_most_and_is_named_in_one_way(one: Channels) -> None:
    title = one.title(holder="seller-a")
    late = one.factoring.invoice(seller="seller-a", due_date=one.factoring.day(336))
    args = one.application("F-1", late, title=title)
    one.trade.expect("E_MATURITY", "seller-a", "receivable", "apply_invoice_financing", **args)
    both = one.application("F-1", late, title=title, title_proof=b"x")
    one.trade.expect("E_TITLE", "seller-a", "receivable", "apply_invoice_financing", **both)


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda security, commitment: replace(security, state="RETURNED"),
        lambda security, commitment: replace(security, state="TAKEN"),
        lambda security, commitment: replace(security, commitment="none"),
        lambda security, commitment: replace(commitment, state="PASSED", recipient_org="hk", ended_ms=1),
        lambda security, commitment: replace(commitment, process="seller-a/F-9"),
    ],
)
def test_the_invariant_sees_a_title_that_is_not_as_the_financing_is(
    corrupt: Callable[[TitleSecurity, Commitment], Entity],
) -> None:
    two = Channels()
    invoice = two.factoring.invoice(seller="seller-a")
    args = {"recipients": ["bank-hk"]}
    reservation = two.reserve(two.title(), FINANCING, "receivable.financing", **args)
    application = two.application("F-1", invoice, title_proof=two.reservation_proof(reservation))
    two.trade.ok("seller-a", "receivable", "apply_invoice_financing", **application)
    security, commitment = two.trade.kit.get(TitleSecurity, key_of(FINANCING)), two.commitment(reservation)
    assert security is not None and commitment is not None
    entity = corrupt(security, commitment)
    two.trade.kit.state.values[entity.spec.module, entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"receivable\.titles_secure_live_financings"):
        two.trade.kit.check_invariants()
