"""What the rules of version 2 add: payments that wait for a witness, rediscounts that nobody buys back."""

from __future__ import annotations

from dawan_node.testing.trade import BIC, cny
from tests.modules.examples.notebook import Notebook
from tests.modules.receivable_kit import MILLION, usd
from tests.modules.receivable_strict import Strict


def story() -> Notebook:
    desk = Strict()
    notebook = Notebook(desk.kit)
    _announcements(desk)
    _silence(desk)
    _forfeitures(desk)
    _surplus(desk)
    return notebook


def _announcements(desk: Strict) -> None:
    desk.ok("supplier-a", "confirm_receipt", announcement=desk.announced(desk.due("V-1")))
    # Other moves of the same command: an invoice beside its voucher, a loan, a purchase that is paid, a recourse.
    shared = desk.invoice("INV-2", minor=2 * MILLION)
    desk.voucher("V-2", shared, minor=MILLION)
    _confirmed(desk, "settle_invoice", "core-1", "supplier-a", MILLION, "pay2", invoice=shared)
    pledged = desk.voucher("V-3", minor=2 * MILLION)
    desk.move(pledged, "supplier-a", "supplier-b")
    loan = desk.apply("F-3", pledged, "supplier-b", "bank-hk", MILLION, kind="PLEDGE", rate_ppm=0)
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.fund(loan)
    _confirmed(desk, "repay_financing", "supplier-b", "bank-hk", MILLION, "pay3", financing=loan)
    # The voucher on half of an invoice is paid, then the other half; one is paid while it is offered to another.
    half = desk.invoice("INV-4", minor=2 * MILLION)
    desk.ok("settle-hq", "settle_voucher", **desk.payment(desk.due("V-4", MILLION, invoice=half)))
    _confirmed(desk, "settle_invoice", "core-1", "supplier-a", MILLION, "pay4", invoice=half)
    offered = desk.due("V-5")
    desk.ok("supplier-a", "transfer_voucher", voucher=offered, to="supplier-c")
    desk.ok("supplier-a", "confirm_receipt", announcement=desk.announced(offered, "PAY 5"))
    # A pledge that was enforced on its due date brings more than the debt.
    loan = desk.apply("F-6", desk.due("V-6"), "supplier-a", "bank-hk", MILLION, kind="PLEDGE", rate_ppm=0)
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.ok("bank-hk", "claim_recourse", financing=desk.fund(loan))
    desk.ok("bank-hk", "confirm_receipt", announcement=desk.announced("core-1/V-6", "PAY 6"))
    # Money from a buyer abroad that is on the channel, and of the bank's organisation.
    desk.ok(
        "settle-bank", "collect_export", declaration=desk.declared(), cash=desk.cash("core-1", "exporter-a", usd(1))
    )


def _silence(desk: Strict) -> None:
    """Of two loans repaid through the borrower's own bank one financier says that nothing came, the other nothing."""
    _, denied = desk.silently_repaid("F-8")
    loan, silent = desk.silently_repaid("F-9")
    desk.ok("bank-hk", "deny_receipt", announcement=denied, why="our account shows no such entry")
    desk.kit.pass_time(days=15)
    desk.ok("pboc-gz", "certify_receipt", announcement=silent)
    assert desk.financing(loan).state == "REPAID"
    desk.ok("bank-hk", "confirm_receipt", announcement=denied)


def _confirmed(desk: Strict, command: str, payer: str, payee: str, minor: int, reference: str, **subject: str) -> None:
    desk.ok("settle-bank", command, **subject, cash=desk.cash(payer, payee, cny(minor), reference))
    desk.ok(payee, "confirm_receipt", announcement=f"settle-bank/{BIC}/{reference}")


def _forfeitures(desk: Strict) -> None:
    """Three that nobody bought back: worth more than the bank owes, as much, and one whose bank said it was late."""
    for number, part in (("R-1", 2), ("R-2", 1)):
        rediscount = desk.rediscounted(number, desk.bought(number), amount=cny(10 * MILLION // part), days=1)
        desk.kit.pass_time(days=32)
        desk.ok("bank-hk", "end_rediscount", rediscount=rediscount)
        if part > 1:
            desk.ok("settle-bank", "repay_rediscount", **desk.rest(rediscount))
    late = desk.bought("R-3", desk.voucher("V-R-3", due_date=desk.day(1)))
    rediscount = desk.rediscounted("R-3", late, days=1)
    desk.kit.pass_time(days=32)
    desk.ok("bank-hk", "declare_overdue", financing=late)
    desk.ok("pboc-gz", "end_rediscount", rediscount=rediscount)


def _surplus(desk: Strict) -> None:
    """What the voucher of a loan that was not repaid brings beyond the debt goes back to who pledged it."""
    voucher = desk.voucher("V-7", minor=MILLION, due_date=desk.day(10))
    loan = desk.apply("P-7", voucher, "supplier-a", "bank-hk", MILLION // 2, kind="PLEDGE", rate_ppm=0)
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.fund(loan)
    desk.kit.pass_time(days=11)
    desk.ok("bank-hk", "claim_recourse", financing=loan)
    desk.ok("settle-hq", "settle_voucher", **desk.payment(voucher))
    desk.pay("return_surplus", "bank-hk", "supplier-a", cny(MILLION // 2), financing=loan)
