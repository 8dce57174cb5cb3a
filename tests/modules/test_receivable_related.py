"""Receivables between parties of one organisation (version 2): allowed, marked for good, paid for with open eyes."""

from __future__ import annotations

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import replace
from dawan_node.modules.receivable.entities import FinancingState
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import MILLION
from tests.modules.receivable_strict import Strict
from tests.modules.test_receivable_terms import Governed

ORDERS = [(0, 1), (1, 0)]


@pytest.fixture
def desk() -> Strict:
    return Strict()


def marks(desk: Strict, **params: str) -> list[str]:
    items, _ = desk.kit.query("related_parties", params)
    return [each.asset for each in items]


def test_a_confirmation_and_a_voucher_inside_one_organisation_are_marked_for_good(desk: Strict) -> None:
    invoice = desk.invoice("INV-1", seller="supplier-b", confirmed=False)
    assert marks(desk) == []
    receipt = desk.ok("core-1", "confirm_invoice", invoice=invoice)
    assert [name for name, _ in receipt.events] == ["InvoiceConfirmed", "PartiesRelated"]
    (mark,), _ = desk.kit.query("related_parties", {"asset": invoice})
    assert (mark.seller, mark.buyer, mark.org, mark.since_date) == ("supplier-b", "core-1", "gz", desk.today)
    voucher = desk.among_relatives("V-1")
    assert set(marks(desk, org="gz")) == {invoice, voucher, desk.get_voucher(voucher).invoices[0].invoice}
    assert marks(desk, org="mo") == []
    # Disputed, confirmed again, cancelled: it stays what it was.
    desk.ok("core-1", "dispute_invoice", invoice=invoice, reason="?")
    receipt = desk.ok("core-1", "confirm_invoice", invoice=invoice)
    assert [name for name, _ in receipt.events] == ["InvoiceConfirmed"]
    desk.ok("supplier-b", "cancel_invoice", invoice=invoice)
    assert marks(desk, asset=invoice) == [invoice]


def test_parties_of_two_organisations_are_not_marked_and_nobody_is_asked(desk: Strict) -> None:
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(50 * MILLION))
    voucher = desk.voucher(guarantor="bank-mo")
    assert marks(desk) == []
    desk.bought("F-1", voucher)
    desk.move(voucher, "bank-hk", "bank-mo")
    assert desk.get_voucher(voucher).holder == "bank-mo"


def test_who_accepts_related_parties_finances_them(desk: Strict) -> None:
    invoice = desk.invoice("INV-1", seller="supplier-b")
    sale = desk.apply_invoice("F-1", invoice, "bank-hk")
    desk.ok("bank-hk", "reserve_financing", financing=sale, related=True)
    desk.fund(sale)
    assert desk.financing(sale).state == FinancingState.FUNDED
    voucher = desk.among_relatives("V-1")
    loan = desk.apply("F-2", voucher, "supplier-b", "bank-hk", MILLION, kind="PLEDGE")
    desk.ok("bank-hk", "reserve_financing", financing=loan, related=True)
    passed = desk.among_relatives("V-2")
    desk.ok("supplier-b", "transfer_voucher", voucher=passed, to="bank-mo")
    desk.ok("bank-mo", "accept_voucher", voucher=passed, related=True)
    assert desk.get_voucher(passed).holder == "bank-mo"
    # No bank, no money of others: the next supplier takes it as it takes any promise.
    further = desk.among_relatives("V-3")
    desk.move(further, "supplier-b", "supplier-c")


def test_the_second_pair_of_eyes_says_so_itself(desk: Strict) -> None:
    first = desk.apply_invoice("F-1", desk.invoice("INV-7", seller="supplier-b"), "bank-hk")
    desk.ok("bank-hk", "reserve_financing", financing=first, related=True)
    alike = desk.apply_invoice("F-2", desk.invoice("INV-07", seller="supplier-b"), "bank-hk")
    desk.expect("E_RELATED", "bank-hk", "reserve_financing", financing=alike)
    desk.ok("bank-hk", "reserve_financing", financing=alike, related=True)
    assert desk.financing(alike).state == FinancingState.HELD
    desk.expect("E_RELATED", "bank-hk-risk", "approve_similar", financing=alike, reason="seen")
    desk.ok("bank-hk-risk", "approve_similar", financing=alike, reason="seen", related=True)
    assert desk.financing(alike).state == FinancingState.RESERVED


def test_the_branch_that_rediscounts_is_asked_too(desk: Strict) -> None:
    voucher = desk.among_relatives("V-1")
    sale = desk.apply("F-1", voucher, "supplier-b", "bank-hk", 9 * MILLION)
    desk.ok("bank-hk", "reserve_financing", financing=sale, related=True)
    desk.fund(sale)
    rediscount = desk.submitted("R-1", desk.bought("F-2"), sale)
    desk.expect("E_RELATED", "pboc-gz", "accept_rediscount", rediscount=rediscount)
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount, related=True)


@pytest.mark.parametrize("order", ORDERS)
def test_of_two_reservations_in_one_block_the_one_that_accepts_stands(desk: Strict, order: tuple[int, int]) -> None:
    sale = desk.apply_invoice("F-1", desk.invoice("INV-1", seller="supplier-b"), "bank-hk")
    calls = [
        desk.call("bank-hk", "reserve_financing", financing=sale),
        desk.call("bank-hk", "reserve_financing", financing=sale, related=True),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    expected = ["E_RELATED", ""] if order == (0, 1) else ["", "E_FINANCING_STATE"]
    assert [receipt.reason for receipt in receipts] == expected


@pytest.mark.parametrize("order", ORDERS)
def test_a_confirmation_in_the_same_block_is_marked_before_anybody_pays(desk: Strict, order: tuple[int, int]) -> None:
    invoice = desk.invoice("INV-1", seller="supplier-b", confirmed=False)
    sale = desk.apply_invoice("F-1", invoice, "bank-hk")
    calls = [
        desk.call("core-1", "confirm_invoice", invoice=invoice),
        desk.call("bank-hk", "reserve_financing", financing=sale),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    expected = ["", "E_RELATED"] if order == (0, 1) else ["E_NOT_CONFIRMED", ""]
    assert [receipt.reason for receipt in receipts] == expected


def test_reports_show_it(desk: Strict) -> None:
    voucher = desk.among_relatives("V-1")
    sale = desk.apply("F-1", voucher, "supplier-b", "bank-hk", 4 * MILLION)
    desk.ok("bank-hk", "reserve_financing", financing=sale, related=True)
    desk.fund(sale)
    desk.bought("F-2")
    (row,), _ = desk.kit.query("lending", {"financier": "bank-hk"})
    assert (row.principal_minor, row.related_minor) == (13 * MILLION, 4 * MILLION)
    layers, _ = desk.kit.query("penetration", {"voucher": voucher})
    assert [backing.related for backing in layers[-1].backing] == [True]
    layers, _ = desk.kit.query("penetration", {"voucher": "core-1/V-F-2"})
    assert [backing.related for backing in layers[-1].backing] == [False]


def test_a_chain_of_version_1_asks_about_what_it_confirmed_before_it_voted() -> None:
    desk = Strict(refdata, version=1)
    voucher, other = desk.among_relatives("V-1"), desk.among_relatives("V-2")
    assert marks(desk) == []
    sale = desk.apply("F-1", voucher, "supplier-b", "bank-hk", MILLION)
    desk.ok("bank-hk", "reserve_financing", financing=sale)
    Governed(desk).set_parameter("receivable.rules", 2, desk.day(1))
    desk.kit.pass_time(days=1)
    late = desk.apply("F-2", other, "supplier-b", "bank-hk", MILLION)
    desk.expect("E_RELATED", "bank-hk", "reserve_financing", financing=late)
    # What was reserved before is paid out as agreed.
    desk.fund(sale)
    desk.among_relatives("V-3")
    assert "core-1/V-3" in marks(desk, org="gz")


@pytest.mark.parametrize("what", ["no mark", "wrong mark", "false mark", "guaranteed"])
def test_the_invariant_sees_what_is_marked_wrongly(desk: Strict, what: str) -> None:
    voucher = desk.get_voucher(desk.among_relatives("V-1"))
    (mark,), _ = desk.kit.query("related_parties", {"asset": voucher.voucher})
    entity = {
        "no mark": replace(mark, asset="core-1/V-9"),
        "wrong mark": replace(mark, org="mo"),
        "false mark": replace(desk.get_invoice(voucher.invoices[0].invoice), seller="supplier-a"),
        "guaranteed": replace(voucher, guarantor="bank-mo"),
    }[what]
    key = mark.primary_key() if what == "no mark" else entity.primary_key()
    desk.kit.state.values["receivable", entity.spec.collection, key] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"receivable\.related_parties_are_marked"):
        desk.kit.check_invariants()
