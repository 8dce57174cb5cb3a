"""Each invariant sees the violation it is for: a sound channel passes, one changed record does not."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import Money, replace
from dawan_node.modules.receivable import module
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    CashReference,
    CreditLine,
    Exposure,
    FinancingState,
    InvoiceState,
    Lock,
    LockPurpose,
    VoucherState,
)
from dawan_node.modules.receivable.supervised import (
    BatchState,
    ClearingBatch,
    DeclarationState,
    DeclarationUse,
    FilingState,
    MovablesRegistration,
    RediscountState,
)
from tests.modules.receivable_kit import DECLARATION, MILLION, Supervised

PLEDGED, RESERVED = "core-1/V-P", "core-1/V-R"


@functools.cache
def _sound() -> Supervised:
    """F-1 bought and rediscounted (R-1 funded, R-2 for F-2 submitted), P pledged, R reserved, S split, a guaranteed
    voucher, D in default; a declaration with a loan and a payment, a filing half paid, a batch cleared and one open."""
    desk = Supervised()
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=["CNY", 20 * MILLION])
    desk.rediscounted("R-1", desk.bought("F-1"), days=10)
    desk.submitted("R-2", desk.bought("F-2"))
    loan = desk.apply("P", desk.voucher("V-P"), "supplier-a", "bank-hk", MILLION, kind="PLEDGE")
    held = desk.apply("R", desk.voucher("V-R"), "supplier-a", "bank-hk", MILLION)
    for financing in (loan, held):
        desk.ok("bank-hk", "reserve_financing", financing=financing)
    desk.fund(loan)
    desk.ok("bank-hk", "register_movables", financing=loan, number="ZD-1")
    desk.ok("bank-hk", "register_movables", financing="supplier-a/F-1", number="ZD-2")
    split = desk.voucher("V-S", guarantor="bank-mo")
    desk.ok("supplier-a", "split_voucher", voucher=split, parts=[["CNY", 6 * MILLION], ["CNY", 4 * MILLION]])
    desk.declared()
    desk.loan("L-1", 400_000)
    cash = desk.cash("Acme", "exporter-a", ["USD", 100_000])
    desk.ok("settle-bank", "collect_export", declaration=DECLARATION, cash=cash)
    desk.ok("settle-bank", "pay_filing", filing=desk.filed("T-1", 100), cash=desk.abroad(40))
    desk.filed("T-2", 100)
    due = [desk.voucher(number, minor=MILLION, due_date=desk.today) for number in ("V-C1", "V-C2", "V-D")]
    desk.ok("settle-bank", "clear_batch", **desk.clearing(desk.batch("C-1", *due[:2])))
    desk.kit.pass_time(days=1)
    desk.ok("supplier-a", "default_voucher", voucher=due[2])
    desk.batch("C-2", due[2])
    paid = desk.voucher("V-E", minor=MILLION, due_date=desk.today)
    desk.ok("settle-bank", "settle_voucher", voucher=paid, cash=desk.cash("core-1", "supplier-a", ["CNY", MILLION]))
    return desk


def line(desk: Supervised) -> CreditLine:
    (found,), _ = desk.kit.query("credit_lines", {"party": "core-1"})
    assert isinstance(found, CreditLine)
    return found


def exposure(desk: Supervised) -> Exposure:
    (found,), _ = desk.kit.query("exposure", {"party": "core-1"})
    assert isinstance(found, Exposure)
    return found


def cash(desk: Supervised, subject: str) -> CashReference:
    items, _ = desk.kit.query("cash_references", {"subject": subject})
    assert isinstance(items[0], CashReference)
    return items[0]


def settled(desk: Supervised) -> CashReference:
    return cash(desk, "core-1/V-E")


def more(entity: CashReference) -> CashReference:
    return replace(entity, amount=Money(entity.amount.currency, entity.amount.minor + 1))


def locked(owner: str, purpose: LockPurpose) -> Lock:
    return Lock(owner, purpose, 2**52)


def use(desk: Supervised) -> DeclarationUse:
    found = desk.find(DeclarationUse, "exporter-a/L-1")
    assert isinstance(found, DeclarationUse)
    return found


def registration(desk: Supervised) -> MovablesRegistration:
    found = desk.find(MovablesRegistration, "supplier-a/P")
    assert isinstance(found, MovablesRegistration)
    return found


def paid_to(desk: Supervised, payee: str) -> ClearingBatch:
    found = desk.get_batch("core-1/C-1")
    return replace(found, lines=(replace_line(found, payee), *found.lines[1:]))


def replace_line(found: ClearingBatch, payee: str) -> object:
    return type(found.lines[0])(found.lines[0].voucher, found.lines[0].root, payee, found.lines[0].minor)


VIOLATIONS: list[tuple[str, Callable[[Supervised], Entity]]] = [
    ("conservation", lambda d: replace(d.get_voucher("core-1/V-S.1"), face=Money("CNY", 6 * MILLION + 1))),
    ("conservation", lambda d: replace(d.get_voucher("core-1/V-S.1"), due_date="2030-01-01")),
    ("conservation", lambda d: replace(d.get_voucher("core-1/V-S"), state=VoucherState.ACTIVE)),
    ("conservation", lambda d: replace(d.get_voucher("core-1/V-C1"), redeemed_minor=0)),
    ("conservation", lambda d: replace(d.get_batch("core-1/C-1"), state=BatchState.OPEN)),
    ("invoice_use", lambda d: replace(d.get_invoice(d.get_voucher(PLEDGED).invoices[0].invoice), used_minor=1)),
    ("invoice_use", lambda d: replace(d.get_invoice(d.get_voucher(PLEDGED).invoices[0].invoice), settled_minor=1)),
    (
        "invoice_use",
        lambda d: replace(d.get_invoice(d.get_voucher("core-1/V-C1").invoices[0].invoice), state=InvoiceState.USED),
    ),
    ("no_double_financing", lambda d: replace(d.get_voucher(PLEDGED), pledge="supplier-a/R")),
    ("no_double_financing", lambda d: replace(d.financing("supplier-a/P"), asset=RESERVED)),
    ("no_double_financing", lambda d: replace(d.financing("supplier-a/R"), state=FinancingState.REJECTED)),
    (
        "no_double_financing",
        lambda d: replace(d.get_voucher(RESERVED), lock=locked("supplier-a/R-9", LockPurpose.FINANCING)),
    ),
    ("cash_once", lambda d: replace(d.financing("supplier-a/P"), state=FinancingState.RESERVED)),
    ("cash_once", lambda d: more(cash(d, "supplier-a/P"))),
    ("cash_once", lambda d: replace(d.financing("supplier-a/R"), state=FinancingState.OVERDUE)),
    ("totals", lambda d: replace(line(d), used_minor=0)),
    ("totals", lambda d: replace(line(d), limit=Money("CNY", MILLION))),
    ("totals", lambda d: replace(exposure(d), redeemed_minor=0)),
    ("totals", lambda d: replace(exposure(d), defaulted_minor=0)),
    ("rediscounts_hold_assets", lambda d: replace(d.get_voucher("core-1/V-F-1"), lock=NO_LOCK)),
    ("rediscounts_hold_assets", lambda d: replace(d.get_voucher("core-1/V-F-1"), holder="bank-mo")),
    ("rediscounts_hold_assets", lambda d: replace(d.rediscount("bank-hk/R-2"), financings=("supplier-a/F-1",))),
    ("rediscounts_hold_assets", lambda d: replace(d.rediscount("bank-hk/R-2"), financings=("supplier-a/F-9",))),
    ("rediscounts_hold_assets", lambda d: replace(d.rediscount("bank-hk/R-2"), state=RediscountState.FUNDED)),
    ("rediscounts_hold_assets", lambda d: replace(d.rediscount("bank-hk/R-2"), state=RediscountState.WITHDRAWN)),
    ("rediscounts_hold_assets", lambda d: replace(d.rediscount("bank-hk/R-1"), state=RediscountState.REPAID)),
    ("rediscounts_hold_assets", lambda d: more(cash(d, "bank-hk/R-1"))),
    (
        "rediscounts_hold_assets",
        lambda d: replace(d.get_voucher("core-1/V-D"), lock=locked("bank-hk/R-1", LockPurpose.REDISCOUNT)),
    ),
    ("declarations_cover_loans", lambda d: replace(d.declaration(), financed_minor=0)),
    ("declarations_cover_loans", lambda d: replace(d.declaration(), collected_minor=0)),
    ("declarations_cover_loans", lambda d: replace(d.declaration(), amount=Money("USD", 499_999))),
    ("declarations_cover_loans", lambda d: replace(d.declaration(), state=DeclarationState.REVOKED)),
    ("declarations_cover_loans", lambda d: more(cash(d, DECLARATION))),
    ("declarations_cover_loans", lambda d: replace(use(d), minor=1)),
    ("declarations_cover_loans", lambda d: replace(d.financing("exporter-a/L-1"), asset="1" * 18)),
    ("declarations_cover_loans", lambda d: replace(d.financing("exporter-a/L-1"), asset=PLEDGED)),
    ("declarations_cover_loans", lambda d: replace(d.financing("exporter-a/L-1"), state=FinancingState.REPAID)),
    ("declarations_cover_loans", lambda d: replace(d.financing("exporter-a/L-1"), principal=Money("USD", 1))),
    ("filings_within_contract", lambda d: replace(d.filing("core-1/T-1"), paid_minor=41)),
    ("filings_within_contract", lambda d: replace(d.filing("core-1/T-1"), contract=Money("USD", 39))),
    ("filings_within_contract", lambda d: replace(d.filing("core-1/T-1"), contract=Money("USD", 40))),
    ("filings_within_contract", lambda d: replace(d.filing("core-1/T-1"), state=FilingState.FILED)),
    ("filings_within_contract", lambda d: replace(d.filing("core-1/T-2"), contract_number="c2026t1")),
    ("filings_within_contract", lambda d: more(cash(d, "core-1/T-1"))),
    ("batches_sum_exactly", lambda d: replace(d.get_batch("core-1/C-1"), total=Money("CNY", MILLION))),
    ("batches_sum_exactly", lambda d: replace(d.get_batch("core-1/C-2"), state=BatchState.CLEARED)),
    ("batches_sum_exactly", lambda d: paid_to(d, "supplier-b")),
    ("batches_sum_exactly", lambda d: more(cash(d, "core-1/C-1"))),
    (
        "batches_sum_exactly",
        lambda d: replace(d.get_batch("core-1/C-2"), lines=d.get_batch("core-1/C-1").lines, state=BatchState.CLEARED),
    ),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "supplier-a/P"), payer="core-1")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "supplier-a/P"), payee="supplier-b")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "supplier-a/P"), purpose="gift")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "supplier-a/P"), purpose="repay")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "supplier-a/P"), subject="supplier-a/P-9")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, DECLARATION), payer="exporter-a")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, DECLARATION), payee="supplier-a")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "core-1/T-1"), payee="exporter-a")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "core-1/C-1"), payer="supplier-a")),
    ("payments_reach_their_payees", lambda d: replace(cash(d, "bank-hk/R-1"), payer="bank-hk", payee="pboc-gz")),
    ("payments_reach_their_payees", lambda d: replace(settled(d), amount=Money("JPY", MILLION))),
    ("payments_reach_their_payees", lambda d: replace(settled(d), payer="bank-mo")),
    ("holders_were_paid", lambda d: replace(settled(d), payee="supplier-b")),
    ("holders_were_paid", lambda d: more(settled(d))),
    ("holders_were_paid", lambda d: replace(d.get_voucher("core-1/V-E"), holder="supplier-b")),
    ("holders_were_paid", lambda d: replace(d.get_voucher("core-1/V-D"), state=VoucherState.SETTLED)),
    ("terms_within_the_law", lambda d: replace(d.get_voucher(PLEDGED), due_date="2030-01-01")),
    ("terms_within_the_law", lambda d: replace(d.get_voucher(PLEDGED), due_date="2020-01-01")),
    ("terms_within_the_law", lambda d: replace(d.get_voucher(PLEDGED), flagged=True)),
    ("conservation", lambda d: replace(d.get_voucher("core-1/V-S.1"), face=Money("JPY", 6 * MILLION))),
    ("conservation", lambda d: replace(d.get_voucher("core-1/V-S.1"), guarantor="")),
    ("invoice_use", lambda d: replace(d.get_voucher(PLEDGED), face=Money("JPY", 10 * MILLION))),
    ("registered_once", lambda d: replace(registration(d), number="ZD-2")),
]


@pytest.mark.parametrize(("name", "corrupt"), VIOLATIONS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(VIOLATIONS)])
def test_an_invariant_sees_what_it_is_for(name: str, corrupt: Callable[[Supervised], Entity]) -> None:
    desk = _sound().copy()
    desk.kit.check_invariants()
    entity = corrupt(desk)
    desk.kit.state.values["receivable", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=rf"receivable\.{name}"):
        desk.kit.check_invariants()


def test_every_invariant_is_among_them() -> None:
    # Titles take a register or another channel, and a surplus an enforced pledge: test_receivable_titles and
    # test_receivable_surplus. The rest is of version 2, or takes the kernel: test_receivable_kernel_cash.
    elsewhere = {"titles_secure_live_financings", "surplus_is_the_pledgors", "payments_have_a_witness"}
    elsewhere |= {"related_parties_are_marked", "forfeitures_balance", "kernel_books_payments"}
    assert {name for name, _ in VIOLATIONS} | elsewhere == set(module.invariants)
