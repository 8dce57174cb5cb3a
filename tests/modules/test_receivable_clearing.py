"""Clearing: one attested payment of a core enterprise settles many vouchers, each to whoever holds it then, or none."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.modules.receivable.clearing import LINES_MAX
from dawan_node.modules.receivable.entities import CreditLine, FinancingState, InvoiceState, VoucherState
from dawan_node.modules.receivable.supervised import BatchState
from dawan_node.modules.receivable.vouchers import INVOICES_MAX
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.trade import cny, text_id
from tests.modules.receivable_kit import MILLION, Supervised


@pytest.fixture
def desk() -> Supervised:
    return Supervised()


def due_today(desk: Supervised, *numbers: str) -> list[str]:
    """Vouchers over one million that fall due today."""
    return [desk.voucher(number, minor=MILLION, due_date=desk.today) for number in numbers]


def changed(args: dict[str, Any], position: int, **line: Any) -> dict[str, Any]:
    """The same attestation with one line changed."""
    lines = [dict(each) for each in args["lines"]]
    lines[position].update(line)
    return args | {"lines": lines}


def test_h_each_holder_at_maturity_is_paid_whoever_held_when_the_batch_was_opened(desk: Supervised) -> None:
    vouchers = due_today(desk, "V-1", "V-2", "V-3")
    batch = desk.batch("C-1", *vouchers)
    desk.move(vouchers[1], "supplier-a", "supplier-c")
    receipt = desk.ok("settle-bank", "clear_batch", **desk.clearing(batch))
    assert [name for name, _ in receipt.events] == ["VoucherSettled"] * 3 + ["BatchCleared"]
    found = desk.get_batch(batch)
    assert [line.payee for line in found.lines] == ["supplier-a", "supplier-c", "supplier-a"]
    assert {desk.get_voucher(voucher).state for voucher in vouchers} == {VoucherState.SETTLED}
    (cash,), _ = desk.kit.query("cash_references", {"subject": batch})
    assert (cash.payer, cash.payee, cash.amount.minor) == ("core-1", batch, 3 * MILLION)
    (listed,), _ = desk.kit.query("clearing_batches", {"party": "core-1"})
    assert listed == found


def test_a3_lines_that_do_not_match_batch_faces_and_sum_exactly_settle_nothing(desk: Supervised) -> None:
    vouchers = due_today(desk, "V-1", "V-2")
    batch = desk.batch("C-1", *vouchers)
    good = desk.clearing(batch)
    lines = good["lines"]
    cases = [
        ("E_CLEARING_LINES", good | {"lines": lines[:1]}),
        ("E_CLEARING_LINES", good | {"lines": lines[::-1]}),
        ("E_CLEARING_LINES", good | {"lines": [*lines, lines[0]]}),
        ("E_CLEARING_LINES", changed(good, 0, minor=MILLION + 1)),
        ("E_AMOUNT_MISMATCH", changed(good, 0, minor=MILLION + 1) | {"amount": cny(2 * MILLION + 1)}),
        ("E_AMOUNT_MISMATCH", changed(changed(good, 0, minor=MILLION + 1), 1, minor=MILLION - 1)),
        ("E_CLEARING_LINES", good | {"amount": cny(2 * MILLION - 1)}),
        ("E_CURRENCY_MISMATCH", good | {"amount": ["HKD", 2 * MILLION]}),
        ("E_WRONG_PAYEE", changed(good, 1, payee="supplier-b")),
    ]
    for reason, args in cases:
        desk.expect(reason, "settle-bank", "clear_batch", **args)
    desk.expect("E_ROLE", "core-1", "clear_batch", **good)
    desk.ok("settle-bank", "clear_batch", **good)


def test_nothing_is_cleared_before_the_due_date_twice_or_after_the_core_enterprise_took_it_back(
    desk: Supervised,
) -> None:
    voucher = desk.voucher("V-1", due_date=desk.day(1))
    batch = desk.batch("C-1", voucher)
    desk.expect("E_NOT_DUE", "settle-bank", "clear_batch", **desk.clearing(batch))
    desk.kit.pass_time(days=1)
    desk.expect("E_NOT_PARTY", "core-2", "cancel_clearing", batch=batch)
    second = desk.batch("C-2", voucher)
    desk.ok("core-1", "cancel_clearing", batch=batch)
    desk.expect("E_BATCH_STATE", "settle-bank", "clear_batch", **desk.clearing(batch))
    desk.ok("settle-bank", "clear_batch", **desk.clearing(second))
    desk.expect("E_BATCH_STATE", "settle-bank", "clear_batch", **desk.clearing(second))
    desk.expect("E_BATCH_STATE", "core-1", "cancel_clearing", batch=second)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a5_of_two_batches_and_a_single_settlement_in_one_block_each_voucher_is_paid_once(
    desk: Supervised, order: tuple[int, ...]
) -> None:
    first, second = due_today(desk, "V-1", "V-2")
    batches = [desk.batch("C-1", first, second), desk.batch("C-2", second, first)]
    cash = desk.cash("core-1", "supplier-a", cny(MILLION))
    calls = [
        *[desk.call("settle-bank", "clear_batch", **desk.clearing(batch)) for batch in batches],
        desk.call("settle-bank", "settle_voucher", voucher=first, cash=cash),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    assert [receipt.reason for receipt in receipts] == ["", "E_VOUCHER_STATE", "E_VOUCHER_STATE"]


@pytest.mark.parametrize("first", ["move", "clear"])
def test_a5_in_one_block_with_a_transfer_the_holder_at_that_moment_is_paid_and_nobody_else(
    desk: Supervised, first: str
) -> None:
    (voucher,) = due_today(desk, "V-1")
    batch = desk.batch("C-1", voucher)
    desk.ok("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    move = desk.call("supplier-b", "accept_voucher", voucher=voucher)
    clear = desk.call("settle-bank", "clear_batch", **desk.clearing(batch))
    block, lost = ((move, clear), "E_WRONG_PAYEE") if first == "move" else ((clear, move), "E_NOT_OFFERED")
    assert [receipt.reason for receipt in desk.kit.block(*block)] == ["", lost]


def test_a5_a_reference_that_settled_a_voucher_clears_no_batch(desk: Supervised) -> None:
    first, second = due_today(desk, "V-1", "V-2")
    cash = desk.cash("core-1", "supplier-a", cny(MILLION), reference="PAY-77")
    desk.ok("settle-bank", "settle_voucher", voucher=first, cash=cash)
    again = desk.clearing(desk.batch("C-1", second), reference="ｐａｙ 77")
    desk.expect("E_CASHREF_USED", "settle-bank", "clear_batch", **again)


def test_pledged_reserved_and_split_vouchers_are_not_paid_past_whoever_is_to_have_them(desk: Supervised) -> None:
    reserved, split = due_today(desk, "V-1", "V-2")
    pledged = desk.voucher("V-3", due_date=desk.today)
    loan = desk.apply("F-1", pledged, "supplier-a", "bank-hk", MILLION, kind="PLEDGE")
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.fund(loan)
    sale = desk.apply("F-2", reserved, "supplier-a", "bank-hk", 1)
    desk.ok("bank-hk", "reserve_financing", financing=sale)
    batches = {voucher: desk.batch(f"C-{voucher[-1]}", voucher) for voucher in (reserved, split, pledged)}
    desk.ok("supplier-a", "split_voucher", voucher=split, parts=[cny(MILLION // 2), cny(MILLION // 2)])
    for voucher, reason in ((reserved, "E_LOCKED"), (split, "E_VOUCHER_STATE"), (pledged, "E_VOUCHER_STATE")):
        desk.expect(reason, "settle-bank", "clear_batch", **desk.clearing(batches[voucher]))
    desk.ok("bank-hk", "claim_recourse", financing=loan)
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batches[pledged]))
    assert desk.financing(loan).state == FinancingState.CLOSED


def test_a_guaranteed_or_defaulted_voucher_is_cleared_late_and_line_and_exposure_are_free(desk: Supervised) -> None:
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(10 * MILLION))
    voucher = desk.voucher("V-1", due_date=desk.today, guarantor="bank-mo")
    batch = desk.batch("C-1", voucher)
    desk.kit.pass_time(days=1)
    desk.ok("supplier-a", "default_voucher", voucher=voucher)
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batch))
    (line,), _ = desk.kit.query("credit_lines", {"party": "core-1"})
    assert isinstance(line, CreditLine) and line.used_minor == 0
    (exposure,), _ = desk.kit.query("exposure", {"party": "core-1"})
    assert (exposure.defaulted_minor, exposure.redeemed_minor) == (0, 10 * MILLION)


def test_a_settlement_bank_clears_nothing_of_which_it_is_a_holder(desk: Supervised) -> None:
    (voucher,) = due_today(desk, "V-1")
    desk.move(voucher, "supplier-a", "clearing-bank")
    batch = desk.batch("C-1", voucher)
    desk.expect("E_SELF_DEALING", "clearing-bank", "clear_batch", **desk.clearing(batch))
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batch))


def test_the_largest_batch_of_vouchers_with_the_most_invoices_fits_one_transaction(desk: Supervised) -> None:
    def block(calls: list[Transaction]) -> None:
        for start in range(0, len(calls), 256):
            assert {receipt.reason for receipt in desk.kit.block(*calls[start : start + 256])} == {""}

    numbers = [f"V-{number}" for number in range(LINES_MAX)]
    papers = {number: [f"{number}X{nth}" for nth in range(INVOICES_MAX)] for number in numbers}
    everything = [paper for group in papers.values() for paper in group]
    identifiers = {paper: text_id("supplier-a", "core-1", paper, desk.today, cny(100_000)) for paper in everything}
    recorded = [desk.invoice_args(paper, minor=100_000) for paper in everything]
    block([desk.call("supplier-a", "record_invoice", **args) for args in recorded])
    block([desk.call("core-1", "confirm_invoice", invoice=identifiers[paper]) for paper in everything])
    issues = [
        {
            "number": number,
            "holder": "supplier-a",
            "face": cny(100_000 * INVOICES_MAX),
            "due_date": desk.today,
            "invoices": [{"invoice": identifiers[paper], "minor": 100_000} for paper in papers[number]],
        }
        for number in numbers
    ]
    block([desk.call("core-1", "issue_voucher", **args) for args in issues])
    vouchers = [f"core-1/{number}" for number in numbers]
    block([desk.call("supplier-a", "accept_voucher", voucher=voucher) for voucher in vouchers])
    desk.ok("settle-bank", "clear_batch", **desk.clearing(desk.batch("C-1", *vouchers)))
    assert {desk.get_invoice(identifiers[paper]).state for paper in everything} == {InvoiceState.SETTLED}
    assert desk.get_batch("core-1/C-1").state == BatchState.CLEARED
