"""Titles as security of financings, on one channel: how each comes to be held, and every way in which it is freed."""

from __future__ import annotations

from typing import Any

from dawan_node.modules.receivable.entities import Financing
from dawan_node.testing.trade import BIC, cny
from tests.modules.channels_kit import Channels
from tests.modules.examples.notebook import Notebook

MILLION = 100_000_000
DECLARATION = "530420260123456789"


def story() -> Notebook:
    one = Channels(one=True)
    notebook = Notebook(one.trade.kit)
    _on_invoices(one)
    _on_a_declaration(one)
    _on_vouchers(one)
    return notebook


def _do(one: Channels, person: str, command: str, **args: Any) -> None:
    one.trade.ok(person, "receivable", command, **args)


def _on_an_invoice(one: Channels, number: str, *, reserved: bool = True, paid: bool = True) -> tuple[str, str]:
    """A financing that a title secures, and its invoice."""
    invoice = one.factoring.invoice(f"INV-{number}", seller="seller-a", minor=MILLION, due_date=one.factoring.day(20))
    title = one.title(number, holder="seller-a")
    _do(one, "seller-a", "apply_invoice_financing", **one.application(number, invoice, title=title))
    financing = f"seller-a/{number}"
    if reserved:
        _do(one, "bank-hk", "reserve_financing", financing=financing)
    if reserved and paid:
        one.fund(financing)
    return financing, invoice


def _on_invoices(one: Channels) -> None:
    rejected, _ = _on_an_invoice(one, "A1", reserved=False)
    _do(one, "bank-hk", "reject_financing", financing=rejected)
    withdrawn, _ = _on_an_invoice(one, "A2", reserved=False)
    _do(one, "seller-a", "withdraw_financing", financing=withdrawn)
    late, _ = _on_an_invoice(one, "A3", paid=False)
    one.pass_time(days=4)
    _do(one, "seller-a", "expire_financing", financing=late)
    _, invoice = _on_an_invoice(one, "A4")
    taken, _ = _on_an_invoice(one, "A5")
    repaid, _ = _on_an_invoice(one, "A6")
    confirmed, _ = _on_an_invoice(one, "A8")
    certified, _ = _on_an_invoice(one, "A9")
    cash = one.factoring.cash("core-1", "bank-hk", cny(MILLION))
    _do(one, "settle-bank", "settle_invoice", invoice=invoice, cash=cash)
    one.pass_time(days=21)
    for financing in (taken, repaid, confirmed, certified):
        _do(one, "bank-hk", "claim_recourse", financing=financing)
    _do(one, "bank-hk", "take_title", financing=taken)
    # The goods bring more than the claim that they secured.
    cash = one.factoring.cash("core-1", "bank-hk", cny(MILLION + 5))
    _do(one, "settle-bank", "account_title", financing=taken, cash=cash)
    cash = one.factoring.cash("bank-hk", "seller-a", cny(5))
    _do(one, "settle-bank", "return_surplus", financing=taken, cash=cash, source="TITLE")
    cash = one.factoring.cash("seller-a", "bank-hk", cny(MILLION))
    _do(one, "settle-bank", "repay_financing", financing=repaid, cash=cash)
    # The seller's own bank only announces it.
    cash = one.factoring.cash("seller-a", "bank-hk", cny(MILLION), "PAY A8")
    _do(one, "settle-sz", "repay_financing", financing=confirmed, cash=cash)
    _do(one, "bank-hk", "confirm_receipt", announcement=f"settle-sz/{BIC}/paya8")
    # Of another payment the financier is silent, until it has had its time to answer.
    cash = one.factoring.cash("seller-a", "bank-hk", cny(MILLION), "PAY A9")
    _do(one, "settle-sz", "repay_financing", financing=certified, cash=cash)
    one.pass_time(days=15)
    _do(one, "pboc-gz", "certify_receipt", announcement=f"settle-sz/{BIC}/paya9")


def _on_a_declaration(one: Channels) -> None:
    goods = {"goods": ["851713"], "exporter_uscc": "91110000600037341L", "released_date": one.factoring.today}
    declaration = {"declaration": DECLARATION, "exporter": "seller-a", "amount": ["USD", 1_000_000]}
    _do(one, "customs-gz", "record_declaration", **declaration, **goods)
    loan = {"number": "A7", "declaration": DECLARATION, "financier": "bank-hk", "principal": ["USD", 500_000]}
    loan |= {"rate_ppm": 30_000, "maturity": one.factoring.day(60), "title": one.title("A7", holder="seller-a")}
    _do(one, "seller-a", "apply_export_financing", **loan)


def _on_vouchers(one: Channels) -> None:
    vouchers = [_sold_voucher(one, number) for number in ("B1", "B2", "B3", "B4")]
    _sell_on(one, vouchers[2])
    _rediscounted(one, "seller-a/B4")
    one.pass_time(days=30)
    cash = one.factoring.cash("core-1", "bank-hk", cny(MILLION))
    _do(one, "settle-bank", "settle_voucher", voucher=vouchers[0], cash=cash)
    due_date = one.factoring.get_voucher(vouchers[1]).due_date
    _do(one, "core-1", "open_clearing", number="C1", due_date=due_date, vouchers=[vouchers[1]])
    batch = {"batch": "core-1/C1", "bank": BIC, "reference": "CLEAR 1", "amount": cny(MILLION)}
    batch |= {"value_date": one.factoring.today}
    lines = [{"voucher": vouchers[1], "payee": "bank-hk", "minor": MILLION}]
    _do(one, "settle-bank", "clear_batch", **batch, lines=lines)
    one.pass_time(days=2)
    # Bought back by nobody: it passes to the branch, and the title is free.
    _do(one, "pboc-gz", "end_rediscount", rediscount="bank-hk/R4")


def _sold_voucher(one: Channels, number: str) -> str:
    """A voucher that the bank bought, with a title beside it."""
    due_date = one.factoring.day(30)
    invoice = one.factoring.invoice(f"INV-{number}", seller="seller-a", minor=MILLION, due_date=due_date)
    issue = {"number": number, "holder": "seller-a", "face": cny(MILLION), "due_date": due_date}
    _do(one, "core-1", "issue_voucher", **issue, invoices=[{"invoice": invoice, "minor": MILLION}])
    voucher = f"core-1/{number}"
    _do(one, "seller-a", "accept_voucher", voucher=voucher)
    title = one.title(number, holder="seller-a")
    _financed(one, "seller-a", number, voucher, "bank-hk", title=title)
    return voucher


def _sell_on(one: Channels, voucher: str) -> None:
    _financed(one, "bank-hk", "B9", voucher, "bank-mo")


def _financed(one: Channels, borrower: str, number: str, voucher: str, financier: str, **more: Any) -> None:
    maturity = one.factoring.get_voucher(voucher).due_date
    args = {"number": number, "voucher": voucher, "financier": financier, "kind": "DISCOUNT"}
    args |= {"principal": cny(MILLION - 1), "rate_ppm": 30_000, "maturity": maturity, "recourse": "title" in more}
    _do(one, borrower, "apply_voucher_financing", **args, **more)
    financing = f"{borrower}/{number}"
    _do(one, financier, "reserve_financing", financing=financing)
    found = one.factoring.kit.get(Financing, financing.encode())
    cash = one.factoring.cash(financier, borrower, cny(found.principal.minor))
    _do(one, "settle-bank", "fund_financing", financing=financing, cash=cash)


def _rediscounted(one: Channels, financing: str) -> None:
    offer = {"number": "R4", "branch": "pboc-gz", "financings": [financing], "amount": cny(MILLION)}
    _do(one, "bank-hk", "submit_rediscount", **offer, rate_ppm=0, days=1)
    _do(one, "pboc-gz", "accept_rediscount", rediscount="bank-hk/R4")
    cash = one.factoring.cash("pboc-gz", "bank-hk", cny(MILLION))
    _do(one, "settle-sz", "fund_rediscount", rediscount="bank-hk/R4", cash=cash)
