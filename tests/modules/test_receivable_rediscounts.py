"""Rediscount: what a bank bought is locked from offer to buy-back, and is paid at maturity all the same."""

from __future__ import annotations

from itertools import permutations

import pytest

from dawan_node.modules.receivable.entities import FinancingState, InvoiceState, LockPurpose, VoucherState
from dawan_node.modules.receivable.supervised import BatchState, RediscountState
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import MILLION, Supervised


@pytest.fixture
def desk() -> Supervised:
    return Supervised()


def test_h_ten_million_are_split_financed_rediscounted_and_cleared_to_the_cent(desk: Supervised) -> None:
    invoice = desk.invoice()
    voucher = desk.voucher("V-001", invoice)
    desk.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(6 * MILLION), cny(4 * MILLION)])
    desk.move(f"{voucher}.1", "supplier-a", "supplier-b")
    desk.ok("supplier-b", "split_voucher", voucher=f"{voucher}.1", parts=[cny(2 * MILLION), cny(4 * MILLION)])
    desk.move(f"{voucher}.1.1", "supplier-b", "supplier-c")
    financed = f"{voucher}.1.2"
    financing = desk.apply("F-1", financed, "supplier-b", "bank-hk", 393_000_000)
    desk.ok("bank-hk", "reserve_financing", financing=financing)
    desk.fund(financing)
    # 2 % of 4,000,000.00 for 90 days of 360 are 20,000.00.
    rediscount = desk.rediscounted("R-1", financing, amount=cny(4 * MILLION))
    assert desk.rediscount(rediscount).price_minor == 4 * MILLION - 2_000_000
    desk.kit.pass_time(days=90)
    desk.buy_back(rediscount)

    desk.kit.pass_time(days=90)
    leaves = {f"{voucher}.2": "supplier-a", f"{voucher}.1.1": "supplier-c", financed: "bank-hk"}
    batch = desk.batch("C-1", *leaves)
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batch))
    cleared = desk.get_batch(batch)
    assert cleared.state == BatchState.CLEARED
    assert {line.voucher: line.payee for line in cleared.lines} == leaves
    assert cleared.total.minor == sum(line.minor for line in cleared.lines) == 10 * MILLION
    assert desk.get_voucher(voucher).redeemed_minor == 10 * MILLION
    assert desk.get_invoice(invoice).state == InvoiceState.SETTLED
    assert desk.financing(financing).state == FinancingState.REPAID
    assert desk.rediscount(rediscount).state == RediscountState.REPAID


def test_the_assets_are_locked_from_submission_until_the_bank_bought_them_back(desk: Supervised) -> None:
    voucher = desk.voucher("V-1")
    financing = desk.bought("F-1", voucher)
    elsewhere = desk.apply("F-9", voucher, "bank-hk", "bank-mo", MILLION)

    def refused() -> None:
        halves = [cny(5 * MILLION), cny(5 * MILLION)]
        until_ms = desk.kit.time_ms + 3_600_000
        other = {"voucher": voucher, "owner": "bank-mo", "reason": "x", "until_ms": until_ms}
        desk.expect("E_LOCKED", "bank-hk", "transfer_voucher", voucher=voucher, to="bank-mo")
        desk.expect("E_LOCKED", "bank-hk", "split_voucher", voucher=voucher, parts=halves)
        desk.expect("E_LOCKED", "bank-hk", "lock_voucher", **other)
        desk.expect("E_NOT_LOCKED", "bank-hk", "release_voucher", voucher=voucher)
        desk.expect("E_DUP_FINANCE", "bank-mo", "reserve_financing", financing=elsewhere)
        again = desk.submission("R-2", financing, branch="pboc-sz")
        desk.expect("E_LOCKED", "bank-hk", "submit_rediscount", **again)

    rediscount = desk.submitted("R-1", financing)
    refused()
    desk.kit.pass_time(days=4)  # longer than any reservation
    refused()
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    refused()
    price = cny(desk.rediscount(rediscount).price_minor)
    desk.pay("fund_rediscount", "pboc-gz", "bank-hk", price, rediscount=rediscount)
    refused()
    desk.buy_back(rediscount)
    assert desk.get_voucher(voucher).lock.purpose == LockPurpose.NONE
    desk.ok("bank-mo", "reserve_financing", financing=elsewhere)


def test_the_holder_is_paid_while_its_voucher_is_rediscounted_and_still_owes_the_branch(desk: Supervised) -> None:
    voucher = desk.voucher("V-1", due_date=desk.day(30))
    rediscount = desk.rediscounted("R-1", desk.bought("F-1", voucher), days=30)
    desk.kit.pass_time(days=30)
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(10 * MILLION), voucher=voucher)
    assert desk.get_voucher(voucher).state == VoucherState.SETTLED
    assert desk.rediscount(rediscount).state == RediscountState.FUNDED
    desk.buy_back(rediscount)
    assert desk.rediscount(rediscount).state == RediscountState.REPAID


def test_an_invoice_bought_is_rediscounted_and_settled_like_a_voucher(desk: Supervised) -> None:
    invoice = desk.invoice("INV-9", buyer="buyer-a", minor=1_000, due_date=desk.day(30))
    financing = desk.apply_invoice("F-1", invoice, "bank-hk", recourse=True)
    desk.ok("bank-hk", "reserve_financing", financing=financing)
    desk.fund(financing)
    rediscount = desk.rediscounted("R-1", financing, amount=cny(1_000), days=20)
    desk.kit.pass_time(days=31)
    desk.expect("E_LOCKED", "bank-hk", "claim_recourse", financing=financing)
    desk.pay("settle_invoice", "buyer-a", "bank-hk", cny(1_000), invoice=invoice)
    assert desk.get_invoice(invoice).state == InvoiceState.SETTLED
    desk.buy_back(rediscount)
    assert desk.get_invoice(invoice).lock.purpose == LockPurpose.NONE


def test_a_bank_turns_to_the_seller_only_after_it_bought_the_voucher_back(desk: Supervised) -> None:
    voucher = desk.voucher("V-1", due_date=desk.day(5))
    financing = desk.bought("F-1", voucher, recourse=True)
    rediscount = desk.rediscounted("R-1", financing, days=5)
    desk.kit.pass_time(days=6)
    desk.ok("bank-hk", "default_voucher", voucher=voucher)
    desk.expect("E_LOCKED", "bank-hk", "claim_recourse", financing=financing)
    desk.buy_back(rediscount)
    desk.ok("bank-hk", "claim_recourse", financing=financing)


@pytest.mark.parametrize(("person", "command"), [("pboc-gz", "reject_rediscount"), ("bank-hk", "withdraw_rediscount")])
@pytest.mark.parametrize("accepted", [False, True])
def test_before_it_is_paid_either_side_ends_a_rediscount_and_frees_the_assets(
    desk: Supervised, person: str, command: str, accepted: bool
) -> None:
    voucher = desk.voucher("V-1")
    rediscount = desk.submitted("R-1", desk.bought("F-1", voucher))
    if accepted:
        desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    reason = {"reason": "quota used up"} if command == "reject_rediscount" else {}
    desk.ok(person, command, rediscount=rediscount, **reason)
    assert desk.rediscount(rediscount).state in (RediscountState.REJECTED, RediscountState.WITHDRAWN)
    desk.expect("E_REDISCOUNT_STATE", person, command, rediscount=rediscount, **reason)
    desk.ok("bank-hk", "transfer_voucher", voucher=voucher, to="bank-mo")


def test_of_two_branches_or_a_sale_and_a_branch_in_one_block_the_first_has_the_asset() -> None:
    for order in permutations(range(3)):
        desk = Supervised()
        voucher = desk.voucher("V-1")
        financing = desk.bought("F-1", voucher)
        sale = desk.apply("F-9", voucher, "bank-hk", "bank-mo", MILLION)
        calls = [
            desk.call("bank-hk", "submit_rediscount", **desk.submission("R-1", financing)),
            desk.call("bank-hk", "submit_rediscount", **desk.submission("R-2", financing, branch="pboc-sz")),
            desk.call("bank-mo", "reserve_financing", financing=sale),
        ]
        receipts = desk.kit.block(*[calls[which] for which in order])
        # Whoever comes first wins; a bank that reserves what is rediscounted sees a hit.
        lost = ["E_LOCKED", "E_LOCKED", "E_DUP_FINANCE"]
        assert [receipt.reason for receipt in receipts] == ["", lost[order[1]], lost[order[2]]]


def test_a5_a_payment_of_one_rediscount_is_not_one_of_another(desk: Supervised) -> None:
    first = desk.submitted("R-1", desk.bought("F-1"))
    second = desk.submitted("R-2", desk.bought("F-2"))
    for rediscount in (first, second):
        desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    cash = desk.cash("pboc-gz", "bank-hk", cny(desk.rediscount(first).price_minor), reference="CB 1")
    desk.ok("settle-bank", "fund_rediscount", rediscount=first, cash=cash)
    again = cash | {"reference": "ｃｂ-1"}
    desk.expect("E_CASHREF_USED", "settle-bank", "fund_rediscount", rediscount=second, cash=again)
    desk.expect("E_REDISCOUNT_STATE", "settle-bank", "fund_rediscount", rediscount=first, cash=cash)
    wrong = desk.cash("pboc-sz", "bank-hk", cny(desk.rediscount(second).price_minor))
    desk.expect("E_WRONG_PAYER", "settle-bank", "fund_rediscount", rediscount=second, cash=wrong)


def test_the_price_is_rounded_once_and_a_rate_that_leaves_nothing_is_refused(desk: Supervised) -> None:
    financing = desk.bought("F-1")
    # 1.7501 % of 99,999.99 for 89 days of 360 are 432.6635...; the discount is rounded down.
    found = desk.rediscount(desk.submitted("R-1", financing, amount=cny(9_999_999), rate_ppm=17_501, days=89))
    assert found.price_minor == 9_999_999 - 43_266
    desk.ok("bank-hk", "withdraw_rediscount", rediscount="bank-hk/R-1")
    all_of_it = desk.submission("R-2", financing, rate_ppm=1_000_000, days=366)
    desk.expect("E_RATE", "bank-hk", "submit_rediscount", **all_of_it)


def test_the_days_run_from_the_payment_and_end_before_an_asset_falls_due(desk: Supervised) -> None:
    financing = desk.bought("F-1", desk.voucher("V-1", due_date=desk.day(30)))
    too_long = desk.submission("R-1", financing, days=31)
    desk.expect("E_MATURITY", "bank-hk", "submit_rediscount", **too_long)
    rediscount = desk.submitted("R-1", financing, days=29)
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    desk.kit.pass_time(days=2)
    cash = desk.cash("pboc-gz", "bank-hk", cny(desk.rediscount(rediscount).price_minor))
    desk.expect("E_MATURITY", "settle-bank", "fund_rediscount", rediscount=rediscount, cash=cash)


def test_a_branch_funds_nothing_that_was_paid_since_the_offer(desk: Supervised) -> None:
    invoice = desk.invoice("INV-9", buyer="buyer-a", minor=1_000, due_date=desk.day(30))
    financing = desk.apply_invoice("F-1", invoice, "bank-hk", recourse=True)
    desk.ok("bank-hk", "reserve_financing", financing=financing)
    desk.fund(financing)
    rediscount = desk.submitted("R-1", financing, amount=cny(1_000), days=20)
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    desk.pay("settle_invoice", "buyer-a", "bank-hk", cny(1_000), invoice=invoice)
    assert desk.financing(financing).state == FinancingState.REPAID
    # What is paid has nothing left to hold: the invariant that a funded rediscount has its invoices would see it.
    assert desk.get_invoice(invoice).lock.purpose == LockPurpose.NONE
    cash = desk.cash("pboc-gz", "bank-hk", cny(desk.rediscount(rediscount).price_minor))
    desk.expect("E_FINANCING_STATE", "settle-bank", "fund_rediscount", rediscount=rediscount, cash=cash)
    desk.ok("bank-hk", "withdraw_rediscount", rediscount=rediscount)


def test_no_settlement_bank_of_the_branch_attests_that_the_branch_paid() -> None:
    desk = Supervised(staff={"branch-settle": ("hq", ["settlement_bank"])})
    rediscount = desk.submitted("R-1", desk.bought("F-1"))
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    cash = desk.cash("pboc-gz", "bank-hk", cny(desk.rediscount(rediscount).price_minor))
    desk.expect("E_SELF_DEALING", "branch-settle", "fund_rediscount", rediscount=rediscount, cash=cash)
    desk.ok("settle-bank", "fund_rediscount", rediscount=rediscount, cash=cash)
