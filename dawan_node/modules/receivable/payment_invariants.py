"""What must hold of every payment after every block: it went from who owed to who was owed, in the debt's currency.

The sums are compared elsewhere (``invariants``, ``supervised_invariants``); here are the two ends of each payment, the
register of payments that the kernel keeps for all modules, and the term that the law sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dawan_node.execution.module import QueryContext, add_months, key_of
from dawan_node.modules.kernel.declaration import CashReference as KernelCash
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import (
    CashReference,
    Financing,
    FinancingKind,
    FinancingState,
    Invoice,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.freezes import freeze_name
from dawan_node.modules.receivable.rules import STRICT
from dawan_node.modules.receivable.supervised import (
    BatchState,
    ClearingBatch,
    ExportDeclaration,
    Rediscount,
    TaxFiling,
)
from dawan_node.modules.receivable.terms import TERM_MONTHS_HARD, TERM_MONTHS_SOFT
from dawan_node.modules.refdata import parameter


@dataclass(frozen=True, slots=True)
class _Debt:
    """Who may pay (nobody named: anybody but the payee), who is to be paid (nobody named: checked elsewhere)."""

    payers: tuple[str, ...]
    payee: str
    currency: str


@module.invariant("payments_reach_their_payees")
def payments_reach_their_payees(ctx: QueryContext) -> Iterator[str]:
    """Each attested payment is for something that is there, from who owed it to who was owed, in its currency."""
    for cash in ctx.iterate(CashReference, "by_subject"):
        find = _DEBTS.get(cash.purpose)
        debt = None if find is None else find(ctx, cash.subject)
        name = f"the payment {cash.bank} {cash.reference}, {cash.purpose} of {cash.subject},"
        if debt is None:
            yield f"{name} is for nothing that is there"
            continue
        if cash.payer not in debt.payers if debt.payers else cash.payer == cash.payee:
            yield f"{name} is {cash.payer}'s and owed by {debt.payers or 'somebody else'}"
        if debt.payee and cash.payee != debt.payee:
            yield f"{name} went to {cash.payee} and was owed to {debt.payee}"
        if cash.amount.currency != debt.currency:
            yield f"{name} is in {cash.amount.currency} and owed in {debt.currency}"


@module.invariant("holders_were_paid")
def holders_were_paid(ctx: QueryContext) -> Iterator[str]:
    """Each voucher that is settled, and not in a batch, has a payment of its face to who held it; there is no other."""
    cleared: dict[str, str] = {}
    for batch in ctx.iterate(ClearingBatch, "by_core"):
        if batch.state == BatchState.CLEARED:
            cleared |= {line.voucher: batch.batch for line in batch.lines}
    owed: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        of_root = owed.setdefault(voucher.root, [])
        if voucher.state == VoucherState.SETTLED and voucher.voucher not in cleared:
            of_root.append((holders_when_paid(ctx, voucher), voucher.face.minor))
    for root, settled in owed.items():
        payments = ctx.iterate(CashReference, "by_subject", (root, "settle"))
        paid = [(cash.payee, cash.amount.minor) for cash in payments]
        for names, minor in sorted(settled, key=lambda each: len(each[0])):
            found = [(name, minor) for name in names if (name, minor) in paid]
            if found:
                paid.remove(found[0])
            else:
                yield f"{root}: {minor} of it are settled and no payment of that went to {names[0]}"
        for payee, minor in paid:
            yield f"{root}: {minor} were paid to {payee}, who held no part of that"


@module.invariant("kernel_books_payments")
def kernel_books_payments(ctx: QueryContext) -> Iterator[str]:
    """On a channel with the kernel, and from its beginning under the rules of version 2, every payment is booked there
    alike, so that it settles nothing else; and nothing is booked there for this module that stands not here."""
    if not ctx.runs("kernel"):
        return
    booked = {(cash.bank, cash.reference): cash for cash in ctx.iterate(KernelCash, "by_subject", (module.name,))}
    for cash in ctx.iterate(CashReference, "by_subject"):
        known = booked.pop((cash.bank, cash.reference), None)
        name = f"the payment {cash.bank} {cash.reference}"
        if known is None:
            # A chain of version 1 has payments from before it voted.
            if ctx.version >= STRICT:
                yield f"{name} is not booked in the kernel"
            continue
        here = (cash.amount, cash.value_date, cash.purpose, cash.attested_by)
        there = (known.amount, known.value_date, known.purpose, known.attested_by)
        names = [freeze_name(each) for each in (cash.payer, cash.payee, cash.subject)]
        if here != there or names != [known.payer, known.payee, known.subject]:
            yield f"{name} is booked otherwise in the kernel"
    for bank, reference in booked:
        yield f"the kernel booked the payment {bank} {reference} for this module, which knows of none"


@module.invariant("terms_within_the_law")
def terms_within_the_law(ctx: QueryContext) -> Iterator[str]:
    """No voucher runs longer than the term that was in force when it was issued, and a long one is flagged."""
    terms: dict[str, tuple[str, str]] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        issued, due = voucher.issue_date, voucher.due_date
        if issued not in terms:
            terms[issued] = (_term(ctx, "soft", issued, TERM_MONTHS_SOFT), _term(ctx, "hard", issued, TERM_MONTHS_HARD))
        soft, hard = terms[issued]
        if not issued <= due <= hard:
            yield f"{voucher.voucher} runs from {issued} to {due}"
        if voucher.flagged != (due > soft):
            yield f"{voucher.voucher} from {issued} to {due} is flagged wrongly"


def holders_when_paid(ctx: QueryContext, voucher: Voucher) -> tuple[str, ...]:
    """Who can have held a settled voucher when it was paid: its holder. Under the first rules a borrower that paid the
    rest of an enforced pledge became holder of the paid voucher."""
    pledges: list[str] = []
    if ctx.version < STRICT:
        pledges = [
            financing.financier
            for financing in ctx.iterate(Financing, "by_asset", (voucher.voucher,))
            if financing.kind == FinancingKind.PLEDGE and financing.state == FinancingState.CLOSED
        ]
    return (voucher.holder, *pledges)


def _term(ctx: QueryContext, name: str, issued: str, first: int) -> str:
    """The last day within a term that was in force when something was issued; what was in force never changes."""
    months = parameter(ctx, f"voucher.term.{name}", first, date=issued) if ctx.runs("refdata") else first
    return add_months(issued, months)


def _of_financing(is_paid_back: bool) -> Callable[[QueryContext, str], _Debt | None]:
    def find(ctx: QueryContext, subject: str) -> _Debt | None:
        found = ctx.get(Financing, key_of(subject))
        if found is None:
            return None
        ends = (found.borrower, found.financier) if is_paid_back else (found.financier, found.borrower)
        return _Debt((ends[0],), ends[1], found.principal.currency)

    return find


def _of_goods(ctx: QueryContext, subject: str) -> _Debt | None:
    found = ctx.get(Financing, key_of(subject))
    return None if found is None else _Debt((), found.financier, found.principal.currency)


def _of_rediscount(is_paid_back: bool) -> Callable[[QueryContext, str], _Debt | None]:
    def find(ctx: QueryContext, subject: str) -> _Debt | None:
        found = ctx.get(Rediscount, key_of(subject))
        if found is None:
            return None
        ends = (found.bank, found.branch) if is_paid_back else (found.branch, found.bank)
        return _Debt((ends[0],), ends[1], found.amount.currency)

    return find


def _of_rest(ctx: QueryContext, subject: str) -> _Debt | None:
    found = ctx.get(Rediscount, key_of(subject))
    return None if found is None else _Debt((found.bank, found.branch), "", found.amount.currency)


def _of_asset(ctx: QueryContext, subject: str) -> _Debt | None:
    voucher = ctx.get(Voucher, key_of(subject))
    if voucher is not None:
        payers = (voucher.issuer, voucher.guarantor) if voucher.guarantor else (voucher.issuer,)
        return _Debt(payers, "", voucher.face.currency)
    invoice = ctx.get(Invoice, key_of(subject))
    return None if invoice is None else _Debt((invoice.buyer,), invoice.payee, invoice.total.currency)


def _of_batch(ctx: QueryContext, subject: str) -> _Debt | None:
    found = ctx.get(ClearingBatch, key_of(subject))
    return None if found is None else _Debt((found.core,), found.batch, found.total.currency)


def _of_declaration(ctx: QueryContext, subject: str) -> _Debt | None:
    found = ctx.get(ExportDeclaration, key_of(subject))
    return None if found is None else _Debt((), found.exporter, found.amount.currency)


def _of_filing(ctx: QueryContext, subject: str) -> _Debt | None:
    found = ctx.get(TaxFiling, key_of(subject))
    return None if found is None else _Debt((found.payer,), found.payee, found.contract.currency)


#: By the purpose under which a payment is booked: what it paid.
_DEBTS: Final[Mapping[str, Callable[[QueryContext, str], _Debt | None]]] = MappingProxyType(
    {
        "buy_back": _of_rediscount(is_paid_back=True),
        "clear": _of_batch,
        "collect": _of_declaration,
        "fund": _of_financing(is_paid_back=False),
        "pay_filing": _of_filing,
        "proceeds": _of_goods,
        "rediscount": _of_rediscount(is_paid_back=False),
        "repay": _of_financing(is_paid_back=True),
        "rest": _of_rest,
        "settle": _of_asset,
        "surplus": _of_financing(is_paid_back=False),
        "surplus_title": _of_financing(is_paid_back=False),
    }
)
