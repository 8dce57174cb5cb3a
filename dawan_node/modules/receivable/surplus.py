"""Surplus: what security brings beyond the debt is the borrower's, and the financier owes it back.

A pledge secures a debt and nothing more. The financier that enforced it holds the voucher and is paid its whole face,
or it sells the goods whose title it took; as soon as that is more than was outstanding, the difference stands here, to
the cent, until a settlement bank attests that the borrower was paid exactly that (Civil Code of the PRC, articles 438
and 446; Hong Kong and Macau say the same [K]). What was bought, with recourse or without, is the buyer's own and leaves
no surplus.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from dawan_node.execution.module import (
    PPM,
    Args,
    Context,
    Money,
    Page,
    Params,
    QueryContext,
    ShortText,
    days_between,
    key_of,
    replace,
)
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.declaration import SurplusOwed, SurplusReturned, module
from dawan_node.modules.receivable.entities import (
    CashReference,
    Financing,
    FinancingKind,
    FinancingState,
    Invoice,
    Surplus,
    TitleSecurity,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.financing import FinancingRef
from dawan_node.modules.receivable.rules import STRICT

Source = Literal["VOUCHER", "TITLE"]

#: In the register of payments, with the financing as subject: what is returned, and what goods brought.
PURPOSES: Final[dict[Source, str]] = {"VOUCHER": "surplus", "TITLE": "surplus_title"}
PROCEEDS: Final = "proceeds"


class ReturnSurplus(Args):
    """``source``: of the pledged voucher, or of the title that the financier took."""

    financing: FinancingRef
    cash: Cash
    source: Source = "VOUCHER"


class SurplusOf(Params):
    financing: str


class SurplusesOf(Params):
    """``side``: what ``party`` has to get back as borrower, or has to return as financier; what is still owed first."""

    party: ShortText
    side: Literal["borrower", "financier"] = "borrower"


@module.command("return_surplus", args=ReturnSurplus, roles=SETTLEMENT_ROLES)
def return_surplus(ctx: Context, args: ReturnSurplus) -> None:
    """The settlement bank attests that the financier paid the borrower what its security brought beyond the debt."""
    found = ctx.get(Surplus, key_of(args.financing, args.source))
    if found is None or found.state != "OWED":
        ctx.fail("E_NO_SURPLUS")
    if not use_cash(
        ctx,
        args.cash,
        payer=found.financier,
        payee=found.borrower,
        due=found.amount,
        purpose=PURPOSES[args.source],
        subject=found.financing,
        command="return_surplus",
        record=found.financing,
    ):
        return
    ctx.put(replace(found, state="RETURNED"))
    ctx.emit(SurplusReturned(financing=found.financing, amount=found.amount))


@module.query("surplus", params=SurplusOf, item=Surplus)
def surplus(ctx: QueryContext, params: SurplusOf, limit: int, cursor: bytes | None) -> Page[Surplus]:
    """What the security of one financing brought beyond its debt."""
    return ctx.page(Surplus, "by_financing", (params.financing,), limit=limit, cursor=cursor)


@module.query("surpluses", params=SurplusesOf, item=Surplus)
def surpluses(ctx: QueryContext, params: SurplusesOf, limit: int, cursor: bytes | None) -> Page[Surplus]:
    """What security brought beyond the debts, of one party on either side."""
    return ctx.page(Surplus, f"by_{params.side}", (params.party,), limit=limit, cursor=cursor)


def owe_surplus(ctx: Context, financing: Financing, source: Source, proceeds_minor: int, debt_minor: int) -> None:
    """Record what the financier received beyond what it was owed before, if it did."""
    if proceeds_minor <= debt_minor:
        return
    amount = Money(financing.principal.currency, proceeds_minor - debt_minor)
    ctx.put(
        Surplus(
            financing=financing.financing,
            source=source,
            financier=financing.financier,
            borrower=financing.borrower,
            amount=amount,
            proceeds_minor=proceeds_minor,
            debt_minor=debt_minor,
            state="OWED",
        )
    )
    ctx.emit(
        SurplusOwed(
            financing=financing.financing, financier=financing.financier, borrower=financing.borrower, amount=amount
        )
    )


@module.invariant("surplus_is_the_pledgors")
def surplus_is_the_pledgors(ctx: QueryContext) -> Iterator[str]:
    """Of every pledged voucher that was paid to its financier, and of all goods that it sold, debt and surplus are the
    proceeds to the cent; a surplus is returned by exactly one attested payment of it. A voucher that was paid
    under the first rules left no record."""
    brought: dict[tuple[str, str], int] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        if voucher.pledge and voucher.state == VoucherState.SETTLED:
            brought[voucher.pledge, "VOUCHER"] = voucher.face.minor
    for financing in ctx.iterate(Financing, "by_asset"):
        sold = [cash.amount.minor for cash in ctx.iterate(CashReference, "by_subject", (financing.financing, PROCEEDS))]
        security = ctx.get(TitleSecurity, financing.primary_key())
        if (len(sold) == 1) != (security is not None and security.state == "SOLD") or len(sold) > 1:
            yield f"{financing.financing}: {len(sold)} payments for goods that are not sold, or none for sold ones"
        brought |= {(financing.financing, "TITLE"): sum(sold)} if sold else {}
        most = _debt_at_most(ctx, financing)
        for source in PURPOSES:
            proceeds = brought.get((financing.financing, source), 0)
            found = ctx.get(Surplus, key_of(financing.financing, source))
            if found is None:
                if proceeds > most and (source == "TITLE" or ctx.version >= STRICT):
                    yield f"{financing.financing} is owed {most} at most and keeps {proceeds}"
                continue
            # Goods that were sold before leave less of a loan than was lent.
            least = 0 if sold else financing.principal.minor
            if found.proceeds_minor != proceeds or not least <= found.debt_minor <= most:
                yield f"{financing.financing}: a surplus over {found.debt_minor} of {most}, from {proceeds}"
            if (found.financier, found.borrower) != (financing.financier, financing.borrower):
                yield f"{financing.financing}: a surplus of others"
            if financing.state != FinancingState.CLOSED or financing.outstanding_minor:
                yield f"{financing.financing} is {financing.state} and has a surplus"
    for found in ctx.iterate(Surplus, "by_financier"):
        if found.debt_minor + found.amount.minor != found.proceeds_minor or found.amount.minor <= 0:
            yield f"{found.financing}: {found.debt_minor} and {found.amount.minor} of {found.proceeds_minor}"
        payments = ctx.iterate(CashReference, "by_subject", (found.financing, PURPOSES[found.source]))
        paid = [(cash.payer, cash.payee, cash.amount) for cash in payments]
        due = [(found.financier, found.borrower, found.amount)] if found.state == "RETURNED" else []
        if paid != due:
            yield f"{found.financing}: the surplus is {found.state} with {len(paid)} payments"


def _debt_at_most(ctx: QueryContext, financing: Financing) -> int:
    """What the financier can be owed: a loan's principal and interest from the value date (it counts from the block
    that funded it, never earlier); of what was bought the face."""
    if financing.kind != FinancingKind.PLEDGE:
        invoice, voucher = ctx.get(Invoice, key_of(financing.asset)), ctx.get(Voucher, key_of(financing.asset))
        return invoice.total.minor if invoice is not None else voucher.face.minor if voucher is not None else 0
    days = days_between(financing.value_date, financing.maturity) if financing.value_date else 0
    return financing.principal.minor + financing.principal.minor * financing.rate_ppm * days // (PPM * 365)
