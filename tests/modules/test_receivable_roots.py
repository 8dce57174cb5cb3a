"""State root of the receivable module after fixed transactions: a version's behaviour and bytes never change.

The first story is told in commands that version 1 had from the beginning, and its root was computed with the code from
before rediscounts, declarations, filings and batches: what a kept block holds is read and repeated alike.
"""

from __future__ import annotations

import hashlib

from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.trade import Trade, cny
from tests.modules.receivable_kit import DECLARATION, MILLION, Supervised
from tests.modules.receivable_strict import Strict


def test_the_first_commands_leave_the_root_they_left_before_others_were_added() -> None:
    trade = Trade()

    def pay(command: str, payer: str, payee: str, minor: int, **subject: str) -> None:
        trade.ok("settle-bank", command, **subject, cash=trade.cash(payer, payee, cny(minor)))

    trade.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(50 * MILLION))
    voucher = trade.voucher("V-1", due_date=trade.day(200), guarantor="bank-mo")
    trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(6 * MILLION), cny(4 * MILLION)])
    trade.move(f"{voucher}.1", "supplier-a", "supplier-b")
    trade.ok("supplier-a", "transfer_voucher", voucher=f"{voucher}.2", to="supplier-c")
    trade.ok("supplier-c", "decline_voucher", voucher=f"{voucher}.2")
    sale = trade.apply("F-1", f"{voucher}.1", "supplier-b", "bank-hk", 5 * MILLION, recourse=True)
    loan = trade.apply("F-1", f"{voucher}.2", "supplier-a", "bank-mo", MILLION, kind="PLEDGE", maturity=trade.day(90))
    for bank, borrower, financing, minor in (
        ("bank-hk", "supplier-b", sale, 5 * MILLION),
        ("bank-mo", "supplier-a", loan, MILLION),
    ):
        trade.ok(bank, "reserve_financing", financing=financing)
        pay("fund_financing", bank, borrower, minor, financing=financing)
    first, second = trade.invoice("INV-7", minor=700), trade.invoice("INV-07", minor=900)
    factored = trade.apply_invoice("F-2", first, "bank-hk", recourse=True)
    trade.ok("bank-hk", "reserve_financing", financing=factored, tag=bytes(range(32)))
    pay("fund_financing", "bank-hk", "supplier-a", 630, financing=factored)
    similar = trade.apply_invoice("F-3", second, "bank-hk", presented="inv 07")
    trade.ok("bank-hk", "reserve_financing", financing=similar)
    trade.ok("bank-hk-risk", "approve_similar", financing=similar, reason="both seen")
    trade.ok("bank-hk", "reject_financing", financing=similar)
    trade.kit.pass_time(days=91)
    trade.ok("bank-mo", "claim_recourse", financing=loan)
    pay("repay_financing", "supplier-a", "bank-mo", MILLION + 739_726, financing=loan)
    trade.kit.pass_time(days=92)
    trade.ok("bank-hk", "claim_recourse", financing=factored)
    pay("repay_financing", "supplier-a", "bank-hk", 700, financing=factored)
    pay("settle_invoice", "core-1", "supplier-a", 700, invoice=first)
    trade.kit.pass_time(days=18)
    trade.ok("bank-hk", "default_voucher", voucher=f"{voucher}.1")
    trade.ok("bank-hk", "claim_recourse", financing=sale)
    pay("settle_voucher", "bank-mo", "bank-hk", 6 * MILLION, voucher=f"{voucher}.1")
    pay("settle_voucher", "core-1", "supplier-a", 4 * MILLION, voucher=f"{voucher}.2")
    untouched = trade.voucher("V-2")
    trade.ok("core-1", "cancel_voucher", voucher=untouched)
    trade.ok("supplier-a", "cancel_voucher", voucher=untouched)
    assert trade.kit.state_root.hex() == "1a88bc20c877605a801b15976ab6f91fbab9879d172ab5794972d731bcc5b9f2"
    receipts = hashlib.sha256(b"".join([receipt for block in trade.kit.blocks for receipt in block.receipts]))
    assert receipts.hexdigest() == "6dce225af8ade7f58c0b38cef49ac16f54fbb4a563f1ddfd0cdab991b0593838"


def test_rediscount_loan_filing_and_clearing_leave_this_root() -> None:
    desk = Supervised()
    desk.ok("pboc-gz", "classify_enterprise", party="core-1", size="LARGE", district="440100", group="pearl")
    bought = desk.bought("F-1", desk.voucher("V-1", due_date=desk.day(30)))
    desk.ok("bank-hk", "register_movables", financing=bought, number="zd-1")
    rediscount = desk.rediscounted("R-1", bought, days=20)
    desk.declared()
    desk.ok("safe-gz", "block_declaration", declaration=DECLARATION, reason="?")
    desk.ok("safe-gz", "clear_declaration", declaration=DECLARATION, reason="!")
    loan = desk.loan("L-1", 600_000, maturity=desk.day(10))
    filing = desk.filed("T-1", 500)
    desk.ok("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(200))
    desk.kit.pass_time(days=11)
    desk.ok("bank-hk", "declare_overdue", financing=loan)
    desk.repay(loan)
    cash = desk.cash("Acme", "exporter-a", ["USD", 900_000])
    desk.ok("settle-bank", "collect_export", declaration=DECLARATION, cash=cash)
    desk.ok("tax-gz", "cancel_filing", filing=filing, reason="contract ended")
    desk.kit.pass_time(days=19)
    batch = desk.batch("C-1", "core-1/V-1")
    desk.buy_back(rediscount)
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batch))
    assert desk.kit.state_root.hex() == "5632f772ec2f60d8a7e3af49778bfe4afdee4ea33481826f6bcf3900e49a5b23"


def test_announcements_related_parties_a_forfeiture_and_a_freeze_leave_this_root_under_version_2() -> None:
    desk = Strict(kernel, refdata, staff={"judge": ("hq", ["court"])})
    desk.ok("supplier-a", "confirm_receipt", announcement=desk.announced(desk.due("V-1")))
    desk.announced(desk.due("V-2"), "PAY 2")
    related = desk.apply("F-1", desk.among_relatives("V-3"), "supplier-b", "bank-hk", 9 * MILLION)
    desk.ok("bank-hk", "reserve_financing", financing=related, related=True)
    desk.fund(related)
    ended = desk.rediscounted("R-1", desk.bought("F-2"), amount=cny(4 * MILLION), days=1)
    desk.kit.pass_time(days=32)
    desk.ok("bank-hk", "end_rediscount", rediscount=ended)
    freeze = {"module": "receivable", "asset": "core-1/V-2", "order": "O-1", "reason": "?"}
    until_ms = desk.kit.time_ms + 86_400_000
    assert desk.kit.run("judge", "freeze_asset", freeze | {"until_ms": until_ms}, module="kernel").code == 0
    desk.expect("E_ASSET_FROZEN", "settle-hq", "settle_voucher", **desk.payment("core-1/V-2"))
    assert desk.kit.state_root.hex() == "bab269cbd9b2d624d127d0b15cc430f31d076cc98e12482221397091609eed06"
