"""The abuses A2 to A5 of domain.md M1 inside one block, in both orders: the first stands, the other is refused.

A1 is in ``test_receivable``; the races of rediscounts, declarations, filings and batches stand with their nouns.
"""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.modules.receivable.entities import InvoiceState, VoucherState
from dawan_node.testing.trade import Trade, cny
from tests.modules.receivable_kit import MILLION, Supervised

ORDERS = [(0, 1), (1, 0)]


@pytest.fixture
def trade() -> Trade:
    return Trade()


def reasons(trade: Trade, order: tuple[int, int], *calls: Any) -> list[str]:
    return [receipt.reason for receipt in trade.kit.block(*[calls[which] for which in order])]


@pytest.mark.parametrize("order", ORDERS)
def test_a2_one_invoice_in_two_spellings_is_recorded_once(trade: Trade, order: tuple[int, int]) -> None:
    written = [trade.invoice_args(spelling) for spelling in ("INV-001", "ｉｎｖ 001")]
    calls = [trade.call("supplier-a", "record_invoice", **args) for args in written]
    assert reasons(trade, order, *calls) == ["", "E_DUP_INVOICE"]


@pytest.mark.parametrize("order", ORDERS)
def test_a2_an_invoice_becomes_a_voucher_or_is_reserved_by_a_bank_never_both(
    trade: Trade, order: tuple[int, int]
) -> None:
    invoice = trade.invoice()
    financing = trade.apply_invoice("F-1", invoice, "bank-hk", presented="inv 001")
    issue = {
        "number": "V-1",
        "holder": "supplier-a",
        "face": cny(10 * MILLION),
        "due_date": trade.day(90),
        "invoices": [{"invoice": invoice, "minor": 10 * MILLION}],
    }
    calls = [
        trade.call("core-1", "issue_voucher", **issue),
        trade.call("bank-hk", "reserve_financing", financing=financing),
    ]
    assert reasons(trade, order, *calls) == ["", "E_DUP_FINANCE"]


@pytest.mark.parametrize("order", ORDERS)
def test_a3_a_split_one_cent_off_is_refused_before_and_after_the_exact_one(
    trade: Trade, order: tuple[int, int]
) -> None:
    voucher = trade.voucher()
    halves = [cny(5 * MILLION), cny(5 * MILLION)]
    off = [cny(5 * MILLION), cny(5 * MILLION + 1)]
    calls = [trade.call("supplier-a", "split_voucher", voucher=voucher, parts=parts) for parts in (halves, off)]
    expected = ["", "E_VOUCHER_STATE"] if order == (0, 1) else ["E_SPLIT_SUM", ""]
    assert reasons(trade, order, *calls) == expected
    assert trade.get_voucher(voucher).parts == 2


@pytest.mark.parametrize("order", ORDERS)
def test_a3_of_a_split_and_a_transfer_one_happens(trade: Trade, order: tuple[int, int]) -> None:
    voucher = trade.voucher()
    halves = [cny(5 * MILLION), cny(5 * MILLION)]
    calls = [
        trade.call("supplier-a", "split_voucher", voucher=voucher, parts=halves),
        trade.call("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b"),
    ]
    assert reasons(trade, order, *calls) == ["", "E_VOUCHER_STATE"]


@pytest.mark.parametrize("order", ORDERS)
def test_a4_a_cancellation_agreed_by_one_side_fails_once_the_voucher_moved_on(
    trade: Trade, order: tuple[int, int]
) -> None:
    voucher = trade.voucher()
    trade.ok("supplier-a", "cancel_voucher", voucher=voucher)
    calls = [
        trade.call("core-1", "cancel_voucher", voucher=voucher),
        trade.call("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b"),
    ]
    expected = ["", "E_VOUCHER_STATE"] if order == (0, 1) else ["", "E_IN_USE"]
    assert reasons(trade, order, *calls) == expected
    state = VoucherState.CANCELLED if order == (0, 1) else VoucherState.TRANSFERRING
    assert trade.get_voucher(voucher).state == state


@pytest.mark.parametrize("order", ORDERS)
def test_a4_a_buyer_disputes_before_the_invoice_is_used_or_not_at_all(trade: Trade, order: tuple[int, int]) -> None:
    invoice = trade.invoice()
    issue = {
        "number": "V-1",
        "holder": "supplier-a",
        "face": cny(10 * MILLION),
        "due_date": trade.day(90),
        "invoices": [{"invoice": invoice, "minor": 10 * MILLION}],
    }
    calls = [
        trade.call("core-1", "dispute_invoice", invoice=invoice, reason="short delivery"),
        trade.call("core-1", "issue_voucher", **issue),
    ]
    assert reasons(trade, order, *calls) == (["", "E_NOT_CONFIRMED"] if order == (0, 1) else ["", "E_IN_USE"])
    assert trade.get_invoice(invoice).state == (InvoiceState.DISPUTED if order == (0, 1) else InvoiceState.USED)


@pytest.mark.parametrize("order", ORDERS)
def test_a5_one_payment_settles_one_of_two_vouchers(trade: Trade, order: tuple[int, int]) -> None:
    vouchers = [trade.voucher(number, due_date=trade.today) for number in ("V-1", "V-2")]
    cash = trade.cash("core-1", "supplier-a", cny(10 * MILLION), reference="PAY-77")
    calls = [
        trade.call("settle-bank", "settle_voucher", voucher=vouchers[0], cash=cash),
        trade.call("settle-bank", "settle_voucher", voucher=vouchers[1], cash=cash | {"reference": "ｐａｙ 77"}),
    ]
    assert reasons(trade, order, *calls) == ["", "E_CASHREF_USED"]


@pytest.mark.parametrize("order", ORDERS)
def test_a5_the_old_holder_is_paid_only_before_the_new_one_accepted(trade: Trade, order: tuple[int, int]) -> None:
    voucher = trade.voucher(due_date=trade.today)
    trade.ok("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    cash = trade.cash("core-1", "supplier-a", cny(10 * MILLION))
    calls = [
        trade.call("settle-bank", "settle_voucher", voucher=voucher, cash=cash),
        trade.call("supplier-b", "accept_voucher", voucher=voucher),
    ]
    assert reasons(trade, order, *calls) == (["", "E_NOT_OFFERED"] if order == (0, 1) else ["", "E_WRONG_PAYEE"])


@pytest.mark.parametrize("order", ORDERS)
def test_a5_one_payment_funds_a_loan_or_a_rediscount_but_not_both(order: tuple[int, int]) -> None:
    desk = Supervised()
    rediscount = desk.submitted("R-1", desk.bought("F-1"))
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    loan = desk.apply("F-2", desk.voucher("V-2"), "supplier-a", "bank-hk", MILLION)
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    price = cny(desk.rediscount(rediscount).price_minor)
    funded = desk.cash("bank-hk", "supplier-a", cny(MILLION), reference="PAY-1")
    discounted = desk.cash("pboc-gz", "bank-hk", price, reference="pay 1")
    calls = [
        desk.call("settle-bank", "fund_financing", financing=loan, cash=funded),
        desk.call("settle-bank", "fund_rediscount", rediscount=rediscount, cash=discounted),
    ]
    assert reasons(desk, order, *calls) == ["", "E_CASHREF_USED"]
