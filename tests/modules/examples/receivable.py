"""One of each command of ``receivable``: invoices become vouchers, vouchers travel and are financed, all is paid."""

from __future__ import annotations

from dawan_node.testing.trade import Trade, cny
from tests.modules.examples.notebook import Notebook

#: A thousand yuan in fen.
THOUSAND = 100_000


def story() -> Notebook:
    trade = Trade()
    notebook = Notebook(trade.kit)
    _invoices(trade)
    _vouchers(trade)
    _voucher_financings(trade)
    _invoice_financings(trade)
    return notebook


def _cash(trade: Trade, payer: str, payee: str, minor: int) -> dict[str, object]:
    return trade.cash(payer, payee, cny(minor))


def _invoices(trade: Trade) -> None:
    invoice = trade.invoice("INV-001", minor=100 * THOUSAND, confirmed=False, document=bytes(range(32)))
    trade.ok("core-1", "dispute_invoice", invoice=invoice, reason="two pallets are missing")
    trade.ok("core-1", "confirm_invoice", invoice=invoice)
    trade.ok("supplier-a", "cancel_invoice", invoice=invoice)
    paid = trade.invoice("INV-002", buyer="buyer-a", minor=7 * THOUSAND)
    trade.ok("settle-bank", "settle_invoice", invoice=paid, cash=_cash(trade, "buyer-a", "supplier-a", 7 * THOUSAND))


def _vouchers(trade: Trade) -> None:
    trade.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(5_000 * THOUSAND))
    voucher = trade.voucher("V-001", minor=100 * THOUSAND, due_date=trade.day(90), guarantor="bank-mo")
    parts = [cny(60 * THOUSAND), cny(40 * THOUSAND)]
    trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=parts)
    trade.move(f"{voucher}.1", "supplier-a", "supplier-b")
    trade.ok("supplier-a", "transfer_voucher", voucher=f"{voucher}.2", to="supplier-c")
    trade.ok("supplier-c", "decline_voucher", voucher=f"{voucher}.2")
    until_ms = trade.kit.time_ms + 3_600_000
    lock = {"owner": "bank-hk", "reason": "under review", "until_ms": until_ms}
    trade.ok("supplier-a", "lock_voucher", voucher=f"{voucher}.2", **lock)
    trade.ok("bank-hk", "release_voucher", voucher=f"{voucher}.2")
    # Two vouchers on one invoice, which is free again when both are cancelled.
    shared = trade.invoice("INV-003", minor=100 * THOUSAND)
    for number, minor in (("V-002", 40 * THOUSAND), ("V-003", 60 * THOUSAND)):
        trade.voucher(number, shared, minor=minor)
    for unused in ("core-1/V-003", "core-1/V-002"):
        trade.ok("core-1", "cancel_voucher", voucher=unused)
        trade.ok("supplier-a", "cancel_voucher", voucher=unused)


def _voucher_financings(trade: Trade) -> None:
    sold = trade.apply("F-1", "core-1/V-001.1", "supplier-b", "bank-hk", 59 * THOUSAND)
    trade.ok("bank-hk", "reserve_financing", financing=sold)
    cash = _cash(trade, "bank-hk", "supplier-b", 59 * THOUSAND)
    trade.ok("settle-bank", "fund_financing", financing=sold, cash=cash)
    # The bank sells on what it bought, and has its money back.
    again = trade.apply("R-1", "core-1/V-001.1", "bank-hk", "bank-mo", 59 * THOUSAND)
    trade.ok("bank-mo", "reserve_financing", financing=again)
    cash = _cash(trade, "bank-mo", "bank-hk", 59 * THOUSAND)
    trade.ok("settle-bank", "fund_financing", financing=again, cash=cash)
    loan = trade.apply("F-1", "core-1/V-001.2", "supplier-a", "bank-hk", 30 * THOUSAND, kind="PLEDGE", rate_ppm=0)
    trade.ok("bank-hk", "reserve_financing", financing=loan)
    cash = _cash(trade, "bank-hk", "supplier-a", 30 * THOUSAND)
    trade.ok("settle-bank", "fund_financing", financing=loan, cash=cash)
    cash = _cash(trade, "supplier-a", "bank-hk", 30 * THOUSAND)
    trade.ok("settle-bank", "repay_financing", financing=loan, cash=cash)
    rejected = trade.apply("F-2", "core-1/V-001.2", "supplier-a", "bank-hk", 30 * THOUSAND)
    trade.ok("bank-hk", "reject_financing", financing=rejected)
    withdrawn = trade.apply("F-3", "core-1/V-001.2", "supplier-a", "bank-hk", 30 * THOUSAND)
    trade.ok("supplier-a", "withdraw_financing", financing=withdrawn)
    late = trade.apply("F-4", "core-1/V-001.2", "supplier-a", "bank-hk", 30 * THOUSAND)
    trade.ok("bank-hk", "reserve_financing", financing=late)
    trade.kit.pass_time(days=4)
    trade.ok("supplier-a", "expire_financing", financing=late)
    trade.kit.pass_time(days=86)
    cash = _cash(trade, "core-1", "bank-mo", 60 * THOUSAND)
    trade.ok("settle-bank", "settle_voucher", voucher="core-1/V-001.1", cash=cash)
    trade.kit.pass_time(days=1)
    trade.ok("supplier-a", "default_voucher", voucher="core-1/V-001.2")


def _invoice_financings(trade: Trade) -> None:
    first = trade.invoice("2026-12", buyer="buyer-a", minor=50 * THOUSAND, due_date=trade.day(30))
    sold = trade.apply_invoice("F-10", first, "bank-hk", recourse=True)
    trade.ok("bank-hk", "reserve_financing", financing=sold)
    cash = _cash(trade, "bank-hk", "supplier-a", 45 * THOUSAND)
    trade.ok("settle-bank", "fund_financing", financing=sold, cash=cash)
    alike = trade.invoice("202612", buyer="buyer-a", minor=8 * THOUSAND, due_date=trade.day(30))
    held = trade.apply_invoice("F-11", alike, "bank-hk")
    trade.ok("bank-hk", "reserve_financing", financing=held)
    trade.ok("bank-hk-risk", "approve_similar", financing=held, reason="another delivery, papers seen")
    trade.kit.pass_time(days=31)
    trade.ok("bank-hk", "claim_recourse", financing=sold)
