"""A funded rediscount that nobody buys back ends by time: either side ends it, and every cent is accounted for."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import replace
from dawan_node.modules.receivable.entities import FinancingState, InvoiceState, VoucherState
from dawan_node.modules.receivable.supervised import Forfeiture, RediscountState
from dawan_node.modules.receivable.terms import GRACE_DAYS_MAX, REDISCOUNT_GRACE_DAYS
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import MILLION, Supervised
from tests.modules.receivable_strict import Strict
from tests.modules.test_receivable_terms import Governed

ORDERS = [(0, 1), (1, 0)]
DAYS = 5


@pytest.fixture(params=[1, 2], ids=["version 1", "version 2"])
def desk(request: pytest.FixtureRequest) -> Supervised:
    return Supervised() if request.param == 1 else Strict()


def forgotten(desk: Supervised, *sold: str, amount: int, number: str = "R-1") -> str:
    """Funded, and due back so long ago that it may be ended from the next day on."""
    rediscount = desk.rediscounted(number, *sold, amount=cny(amount), days=DAYS)
    desk.kit.pass_time(days=DAYS + REDISCOUNT_GRACE_DAYS)
    return rediscount


def ended(desk: Supervised, rediscount: str) -> Forfeiture:
    (found,), _ = desk.kit.query("forfeiture", {"rediscount": rediscount})
    assert isinstance(found, Forfeiture)
    return found


def state(desk: Supervised, rediscount: str) -> RediscountState:
    return desk.rediscount(rediscount).state


@pytest.mark.parametrize("person", ["bank-hk", "pboc-gz"])
def test_either_side_ends_it_the_day_after_the_grace_and_not_before(desk: Supervised, person: str) -> None:
    rediscount = forgotten(desk, desk.bought("F-1"), amount=10 * MILLION)
    desk.expect("E_NOT_DUE", person, "end_rediscount", rediscount=rediscount)
    desk.kit.pass_time(days=1)
    for stranger, reason in (("bank-mo", "E_NOT_PARTY"), ("pboc-sz", "E_NOT_PARTY"), ("core-1", "E_ROLE")):
        desk.expect(reason, stranger, "end_rediscount", rediscount=rediscount)
    desk.ok(person, "end_rediscount", rediscount=rediscount)
    # Worth exactly what the bank owed: nobody owes anything.
    assert state(desk, rediscount) == RediscountState.CLOSED
    found = ended(desk, rediscount)
    assert (found.ended_by, found.passed, found.passed_minor) == (person, ("supplier-a/F-1",), 10 * MILLION)
    assert (found.owed_by, found.owed_minor) == ("", 0)
    voucher = desk.get_voucher("core-1/V-F-1")
    assert (voucher.holder, voucher.discount, voucher.state) == ("pboc-gz", "", VoucherState.ACTIVE)
    assert desk.financing("supplier-a/F-1").state == FinancingState.REPAID
    for again in ("end_rediscount", "accept_rediscount", "withdraw_rediscount"):
        sender = "pboc-gz" if again == "accept_rediscount" else "bank-hk"
        desk.expect("E_REDISCOUNT_STATE", sender, again, rediscount=rediscount)
    cash = desk.cash("bank-hk", "pboc-gz", cny(10 * MILLION))
    desk.expect("E_REDISCOUNT_STATE", "settle-bank", "repay_rediscount", rediscount=rediscount, cash=cash)
    assert desk.kit.query("forfeiture", {"rediscount": "bank-hk/R-9"})[0] == ()


def test_the_branch_is_paid_at_maturity_and_nobody_else(desk: Supervised) -> None:
    rediscount = forgotten(desk, desk.bought("F-1"), amount=10 * MILLION)
    desk.kit.pass_time(days=1)
    desk.ok("bank-hk", "end_rediscount", rediscount=rediscount)
    desk.kit.pass_time(days=180)
    for payee, reason in (("bank-hk", "E_WRONG_PAYEE"), ("pboc-gz", "")):
        cash = desk.cash("core-1", payee, cny(10 * MILLION))
        args = {"voucher": "core-1/V-F-1", "cash": cash}
        if reason:
            desk.expect(reason, desk.attestor(1), "settle_voucher", **args)
        else:
            desk.ok(desk.attestor(1), "settle_voucher", **args)
    assert desk.get_voucher("core-1/V-F-1").state == VoucherState.SETTLED


@pytest.mark.parametrize(("amount", "owed_by"), [(4 * MILLION, "pboc-gz"), (10 * MILLION, "bank-hk")])
def test_the_difference_is_owed_and_closes_it_when_it_is_paid(desk: Supervised, amount: int, owed_by: str) -> None:
    short = owed_by == "bank-hk"
    sold = desk.bought("F-1", desk.voucher("V-F-1", minor=10 * MILLION - short, due_date=desk.day(40)))
    extra = [desk.bought("F-2", desk.voucher("V-F-2", due_date=desk.day(5)))] if short else []
    rediscount = desk.rediscounted("R-1", sold, *extra, amount=cny(amount), days=DAYS)
    desk.kit.pass_time(days=DAYS + REDISCOUNT_GRACE_DAYS + 1)
    if short:
        # Paid to the bank meanwhile: it keeps that, and owes it.
        cash = desk.cash("core-1", "bank-hk", cny(10 * MILLION))
        desk.ok(desk.attestor(1), "settle_voucher", voucher="core-1/V-F-2", cash=cash)
    desk.ok("pboc-gz", "end_rediscount", rediscount=rediscount)
    found = ended(desk, rediscount)
    assert state(desk, rediscount) == RediscountState.FORFEITED
    assert (found.passed, found.passed_minor) == (("supplier-a/F-1",), 10 * MILLION - short)
    assert (found.owed_by, found.owed_minor) == (owed_by, 1 if short else 6 * MILLION)
    (row,), _ = desk.kit.query("monthly_file", {"section": "REDISCOUNT", "month": desk.today[:7]})
    assert row.open_minor == row.overdue_minor == (1 if short else 0)
    paid = desk.rest(rediscount)
    for change, reason in (
        ({"amount": cny(found.owed_minor + 1)}, "E_AMOUNT_MISMATCH"),
        ({"payer": found.owed_to, "payee": found.owed_by}, "E_WRONG_PAYER"),
    ):
        wrong = {"rediscount": rediscount, "cash": paid["cash"] | change}
        desk.expect(reason, "settle-bank", "repay_rediscount", **wrong)
    desk.ok("settle-bank", "repay_rediscount", **paid)
    assert state(desk, rediscount) == RediscountState.CLOSED
    desk.expect("E_REDISCOUNT_STATE", "settle-bank", "repay_rediscount", **paid)


def test_an_invoice_passes_too_and_one_that_was_paid_is_free(desk: Supervised) -> None:
    sold = []
    for number in ("F-1", "F-2"):
        invoice = desk.invoice(f"INV-{number}", minor=MILLION, due_date=desk.day(100))
        sold.append(desk.apply_invoice(number, invoice, "bank-hk", recourse=True))
        desk.ok("bank-hk", "reserve_financing", financing=sold[-1])
        desk.fund(sold[-1])
    rediscount = desk.rediscounted("R-1", *sold, amount=cny(MILLION), days=DAYS)
    invoices = [desk.financing(each).asset for each in sold]
    cash = desk.cash("core-1", "bank-hk", cny(MILLION))
    desk.ok(desk.attestor(1), "settle_invoice", invoice=invoices[1], cash=cash)
    desk.kit.pass_time(days=DAYS + REDISCOUNT_GRACE_DAYS + 1)
    desk.ok("bank-hk", "end_rediscount", rediscount=rediscount)
    assert state(desk, rediscount) == RediscountState.CLOSED
    assert desk.get_invoice(invoices[0]).payee == "pboc-gz"
    assert not any(desk.get_invoice(each).lock.is_live(desk.kit.time_ms) for each in invoices)
    # What is over for the bank is over for the seller, recourse or not.
    desk.kit.pass_time(days=100)
    desk.expect("E_FINANCING_STATE", "bank-hk", "claim_recourse", financing=sold[0])
    desk.ok(desk.attestor(1), "settle_invoice", invoice=invoices[0], cash=desk.cash("core-1", "pboc-gz", cny(MILLION)))
    assert desk.get_invoice(invoices[0]).state == InvoiceState.SETTLED


def test_before_the_money_moved_it_is_withdrawn_or_rejected_and_not_ended(desk: Supervised) -> None:
    rediscount = desk.submitted("R-1", desk.bought("F-1"), days=DAYS)
    desk.kit.pass_time(days=100)
    desk.expect("E_REDISCOUNT_STATE", "bank-hk", "end_rediscount", rediscount=rediscount)
    desk.expect("E_UNKNOWN_REDISCOUNT", "bank-hk", "end_rediscount", rediscount="bank-hk/R-9")


def race(desk: Supervised, order: tuple[int, int], *calls: Any) -> list[str]:
    return [receipt.reason for receipt in desk.kit.block(*[calls[which] for which in order])]


@pytest.mark.parametrize("order", ORDERS)
def test_of_both_sides_in_one_block_the_first_ends_it(desk: Supervised, order: tuple[int, int]) -> None:
    rediscount = forgotten(desk, desk.bought("F-1"), amount=10 * MILLION)
    desk.kit.pass_time(days=1)
    calls = [desk.call(person, "end_rediscount", rediscount=rediscount) for person in ("bank-hk", "pboc-gz")]
    assert race(desk, order, *calls) == ["", "E_REDISCOUNT_STATE"]


@pytest.mark.parametrize("order", ORDERS)
def test_of_the_buy_back_and_the_end_in_one_block_the_first_counts(desk: Supervised, order: tuple[int, int]) -> None:
    rediscount = forgotten(desk, desk.bought("F-1"), amount=10 * MILLION)
    desk.kit.pass_time(days=1)
    cash = desk.cash("bank-hk", "pboc-gz", cny(10 * MILLION))
    calls = [
        desk.call("settle-bank", "repay_rediscount", rediscount=rediscount, cash=cash),
        desk.call("pboc-gz", "end_rediscount", rediscount=rediscount),
    ]
    assert race(desk, order, *calls) == ["", "E_REDISCOUNT_STATE"]
    holder = "bank-hk" if order == (0, 1) else "pboc-gz"
    assert desk.get_voucher("core-1/V-F-1").holder == holder


@pytest.mark.parametrize("order", ORDERS)
def test_a_payment_of_the_asset_before_the_end_is_the_banks_and_its_debt(
    desk: Supervised, order: tuple[int, int]
) -> None:
    sold = desk.bought("F-1", desk.voucher("V-F-1", due_date=desk.day(DAYS)))
    rediscount = forgotten(desk, sold, amount=10 * MILLION)
    desk.kit.pass_time(days=1)
    cash = desk.cash("core-1", "bank-hk", cny(10 * MILLION))
    calls = [
        desk.call(desk.attestor(1), "settle_voucher", voucher="core-1/V-F-1", cash=cash),
        desk.call("pboc-gz", "end_rediscount", rediscount=rediscount),
    ]
    assert race(desk, order, *calls) == (["", ""] if order == (0, 1) else ["", "E_WRONG_PAYEE"])
    owed = (10 * MILLION, "bank-hk") if order == (0, 1) else (0, "")
    assert (ended(desk, rediscount).owed_minor, ended(desk, rediscount).owed_by) == owed


def test_under_version_2_the_branch_declares_what_passed_to_it_unpaid_and_the_guarantor_pays() -> None:
    desk = Strict()
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(10 * MILLION))
    sold = desk.bought("F-1", desk.voucher("V-F-1", due_date=desk.day(DAYS), guarantor="bank-mo"))
    rediscount = forgotten(desk, sold, amount=10 * MILLION)
    desk.kit.pass_time(days=1)
    desk.ok("pboc-gz", "end_rediscount", rediscount=rediscount)
    desk.expect("E_NOT_HOLDER", "pboc-sz", "default_voucher", voucher="core-1/V-F-1")
    desk.ok("pboc-gz", "default_voucher", voucher="core-1/V-F-1")
    cash = desk.cash("bank-mo", "pboc-gz", cny(10 * MILLION))
    desk.ok("settle-bank", "settle_voucher", voucher="core-1/V-F-1", cash=cash)
    assert desk.get_voucher("core-1/V-F-1").state == VoucherState.SETTLED


@pytest.mark.parametrize("kind", ["voucher", "invoice"])
def test_a_bank_does_not_pay_a_branch_with_what_its_debtor_did_not_pay(desk: Supervised, kind: str) -> None:
    if kind == "voucher":
        sold = desk.bought("F-1", desk.voucher("V-F-1", due_date=desk.day(40)))
    else:
        sold = desk.apply_invoice("F-1", desk.invoice(due_date=desk.day(40)), "bank-hk", recourse=True)
        desk.ok("bank-hk", "reserve_financing", financing=sold)
        desk.fund(sold)
    rediscount = desk.rediscounted("R-1", sold, amount=cny(10 * MILLION), days=DAYS)
    desk.kit.pass_time(days=40)
    on_the_day = desk.copy()
    on_the_day.ok("bank-hk", "end_rediscount", rediscount=rediscount)
    desk.kit.pass_time(days=1)
    desk.expect("E_MATURED", "bank-hk", "end_rediscount", rediscount=rediscount)
    if kind == "voucher":
        desk.ok("bank-hk", "default_voucher", voucher="core-1/V-F-1")
        desk.expect("E_MATURED", "bank-hk", "end_rediscount", rediscount=rediscount)
    bought_back = desk.copy()
    bought_back.buy_back(rediscount)
    desk.ok("pboc-gz", "end_rediscount", rediscount=rediscount)
    assert state(desk, rediscount) == RediscountState.CLOSED


def test_under_version_1_no_branch_says_default_and_the_guarantor_pays_it_from_the_day_after() -> None:
    desk = Supervised()
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(10 * MILLION))
    due = DAYS + REDISCOUNT_GRACE_DAYS + 2
    sold = desk.bought("F-1", desk.voucher("V-F-1", due_date=desk.day(due), guarantor="bank-mo"))
    rediscount = forgotten(desk, sold, amount=10 * MILLION)
    desk.kit.pass_time(days=1)
    desk.ok("bank-hk", "end_rediscount", rediscount=rediscount)
    desk.kit.pass_time(days=1)
    cash = desk.cash("bank-mo", "pboc-gz", cny(10 * MILLION))
    desk.expect("E_ROLE", "pboc-gz", "default_voucher", voucher="core-1/V-F-1")
    desk.expect("E_WRONG_PAYER", "settle-bank", "settle_voucher", voucher="core-1/V-F-1", cash=cash)
    desk.kit.pass_time(days=1)
    desk.ok("settle-bank", "settle_voucher", voucher="core-1/V-F-1", cash=cash)
    assert desk.get_voucher("core-1/V-F-1").state == VoucherState.SETTLED
    (line,), _ = desk.kit.query("credit_lines", {"party": "core-1"})
    assert line.used_minor == 0


@pytest.mark.parametrize(("voted", "days"), [(2, 2), (0, 0), (-5, 0), (GRACE_DAYS_MAX * 2, GRACE_DAYS_MAX)])
def test_the_grace_is_what_was_voted_within_reason(voted: int, days: int) -> None:
    desk = Supervised(refdata)
    Governed(desk).set_parameter("receivable.rediscount.grace", voted, desk.day(1))
    rediscount = desk.rediscounted("R-1", desk.bought("F-1"), days=DAYS)
    desk.kit.pass_time(days=DAYS + days)
    desk.expect("E_NOT_DUE", "pboc-gz", "end_rediscount", rediscount=rediscount)
    desk.kit.pass_time(days=1)
    desk.ok("pboc-gz", "end_rediscount", rediscount=rediscount)


@pytest.mark.parametrize("what", ["unrecorded", "wrong sum", "paid twice", "still owed", "kept"])
def test_the_invariant_sees_a_cent_that_is_missing(what: str) -> None:
    desk = Supervised()
    rediscount = forgotten(desk, desk.bought("F-1"), amount=4 * MILLION)
    desk.kit.pass_time(days=1)
    desk.ok("bank-hk", "end_rediscount", rediscount=rediscount)
    found = ended(desk, rediscount)
    entity = {
        "unrecorded": replace(desk.rediscount(rediscount), state=RediscountState.REPAID),
        "wrong sum": replace(found, owed_minor=found.owed_minor - 1),
        "paid twice": replace(desk.rediscount(rediscount), state=RediscountState.CLOSED),
        "still owed": replace(found, owed_by="bank-hk", owed_to="pboc-gz"),
        "kept": replace(desk.financing("supplier-a/F-1"), state=FinancingState.FUNDED),
    }[what]
    desk.kit.state.values["receivable", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"receivable\.forfeitures_balance"):
        desk.kit.check_invariants()
