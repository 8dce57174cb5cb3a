"""One of each command of ``receivable``: invoices become vouchers, vouchers travel and are financed, all is paid."""

from __future__ import annotations

from dawan_node.testing.trade import Trade, cny
from tests.modules.examples import receivable_strict, receivable_titles
from tests.modules.examples.notebook import Notebook
from tests.modules.receivable_kit import MILLION, Supervised, usd

#: A thousand yuan in fen.
THOUSAND = 100_000


def story() -> list[Notebook]:
    trade = Supervised()
    notebook = Notebook(trade.kit)
    _invoices(trade)
    _vouchers(trade)
    _voucher_financings(trade)
    _invoice_financings(trade)
    _rediscounts(trade)
    _clearing(trade)
    _exports(trade)
    _tax_filings(trade)
    _enforced_pledges(trade)
    _rare_turns(trade)
    return [notebook, receivable_titles.story(), receivable_strict.story()]


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


def _rediscounts(desk: Supervised) -> None:
    financing = desk.bought("F-20", desk.voucher("V-20"))
    for number, end in (("R-1", "reject_rediscount"), ("R-2", "reject_rediscount")):
        rediscount = desk.submitted(number, financing)
        if number == "R-2":
            desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
        desk.ok("pboc-gz", end, rediscount=rediscount, reason="the quota of the month is used up")
    for number in ("R-3", "R-4"):
        rediscount = desk.submitted(number, financing)
        if number == "R-4":
            desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
        desk.ok("bank-hk", "withdraw_rediscount", rediscount=rediscount)
    desk.buy_back(desk.rediscounted("R-5", financing))


def _clearing(desk: Supervised) -> None:
    due_date = desk.day(30)
    vouchers = [desk.voucher(f"V-3{number}", minor=MILLION, due_date=due_date) for number in (1, 2, 3)]
    desk.ok("core-1", "cancel_clearing", batch=desk.batch("C-1", *vouchers))
    batch = desk.batch("C-2", *vouchers)
    # One is offered to somebody else just then, another is in default already.
    desk.ok("supplier-a", "transfer_voucher", voucher=vouchers[1], to="supplier-b")
    desk.kit.pass_time(days=31)
    desk.ok("supplier-a", "default_voucher", voucher=vouchers[2])
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batch))


def _exports(desk: Supervised) -> None:
    desk.ok("pboc-gz", "classify_enterprise", party="core-1", size="LARGE", district="440100", group="")
    declaration = desk.declared()
    change = {"declaration": declaration, "reason": "counted again"}
    desk.ok("customs-gz", "amend_declaration", **change, amount=usd(1_200_000))
    one = {"declaration": declaration, "reason": "under inquiry"}
    desk.ok("safe-gz", "block_declaration", **one)
    desk.ok("safe-gz", "clear_declaration", **one)
    abroad = desk.cash("Buyer Abroad Inc", "exporter-a", usd(200_000))
    desk.ok("settle-bank", "collect_export", declaration=declaration, cash=abroad)
    loan = desk.loan("L-1", 500_000)
    desk.ok("bank-hk", "register_movables", financing=loan, number="0123456789")
    desk.kit.pass_time(days=101)
    desk.ok("bank-hk", "declare_overdue", financing=loan)
    desk.repay(loan)
    for number, blocked in (("530420260000000001", False), ("530420260000000002", True)):
        wrong = desk.declared(number)
        if blocked:
            desk.ok("safe-gz", "block_declaration", declaration=wrong, reason="under inquiry")
        desk.ok("customs-gz", "revoke_declaration", declaration=wrong, reason="the goods did not leave")


def _tax_filings(desk: Supervised) -> None:
    filing = desk.filed("T-1", 50_000)
    desk.ok("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(50_000))
    for number, accepted in (("T-2", False), ("T-3", True)):
        ended = desk.filed(number, accepted=accepted)
        desk.ok("core-1", "cancel_filing", filing=ended, reason="the contract was not signed")


def _enforced_pledges(desk: Supervised) -> None:
    """Loans that were not repaid. What a voucher brings beyond the debt the rules of version 2 return."""
    vouchers = [desk.voucher(f"V-5{number}", minor=MILLION, due_date=desk.day(10)) for number in (1, 2)]
    loans = []
    for number, voucher in enumerate(vouchers):
        loan = desk.apply(f"P-{number}", voucher, "supplier-a", "bank-hk", MILLION // 2, kind="PLEDGE", rate_ppm=0)
        desk.ok("bank-hk", "reserve_financing", financing=loan)
        loans.append(desk.fund(loan))
    desk.kit.pass_time(days=11)
    for loan in loans:
        desk.ok("bank-hk", "claim_recourse", financing=loan)
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(MILLION), voucher=vouchers[0])
    desk.ok("settle-bank", "clear_batch", **desk.clearing(desk.batch("C-5", vouchers[1])))


def _rare_turns(desk: Supervised) -> None:
    """What random commands seldom come to: paid after all, partly, or not taken."""
    sold = {}
    for number, recourse in (("F-41", False), ("F-42", True)):
        invoice = desk.invoice(f"LATE-{number}", buyer="buyer-a", minor=MILLION, due_date=desk.day(10))
        sold[desk.apply_invoice(number, invoice, "bank-hk", recourse=recourse)] = invoice
    for financing in sold:
        desk.ok("bank-hk", "reserve_financing", financing=financing)
        desk.fund(financing)
    alike = desk.invoice("LATE F-41.", buyer="buyer-a", minor=MILLION - 1, due_date=desk.day(10))
    held = desk.apply_invoice("F-43", alike, "bank-hk")
    desk.ok("bank-hk", "reserve_financing", financing=held)
    desk.ok("supplier-a", "withdraw_financing", financing=held)
    shared = desk.invoice("INV-40", minor=2 * MILLION)
    first = desk.voucher("V-41", shared, minor=MILLION, due_date=desk.day(10))
    desk.ok("supplier-a", "decline_voucher", voucher=desk.voucher("V-42", shared, minor=MILLION, accepted=False))
    offered, paid = [desk.voucher(number, minor=MILLION, due_date=desk.day(10)) for number in ("V-43", "V-44")]
    for voucher in (offered, paid):
        desk.ok("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    desk.kit.pass_time(days=11)
    desk.pay("settle_voucher", "core-1", "supplier-a", cny(MILLION), voucher=paid)
    desk.ok("supplier-a", "default_voucher", voucher=offered)
    desk.pay("settle_voucher", "core-1", "supplier-a", cny(MILLION), voucher=first)
    desk.pay("settle_invoice", "core-1", "supplier-a", cny(MILLION), invoice=shared)
    overdue, claimed = sold
    desk.ok("bank-hk", "declare_overdue", financing=overdue)
    desk.ok("bank-hk", "claim_recourse", financing=claimed)
    for invoice in sold.values():
        desk.pay("settle_invoice", "buyer-a", "bank-hk", cny(MILLION), invoice=invoice)
