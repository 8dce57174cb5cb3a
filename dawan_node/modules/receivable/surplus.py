"""Surplus: what an enforced pledge brings beyond the debt is the pledgor's, and the financier owes it back.

A pledge secures a debt and nothing more. The financier that enforced it holds the voucher and is paid its whole face;
as soon as that is more than was outstanding, the difference stands here, to the cent, until a settlement bank attests
that the borrower was paid exactly that (Civil Code of the PRC, articles 438 and 446; Hong Kong and Macau say the same
[K]). What was bought, with recourse or without, is the buyer's own and leaves no surplus; nor can one be computed for a
title to goods, whose worth nobody attests here.
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
    FinancingState,
    Surplus,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.financing import FinancingRef
from dawan_node.modules.receivable.rules import STRICT

#: In the register of payments, with the financing as subject.
PURPOSE: Final = "surplus"


class ReturnSurplus(Args):
    financing: FinancingRef
    cash: Cash


class SurplusOf(Params):
    financing: str


class SurplusesOf(Params):
    """``side``: what ``party`` has to get back as borrower, or has to return as financier; what is still owed first."""

    party: ShortText
    side: Literal["borrower", "financier"] = "borrower"


@module.command("return_surplus", args=ReturnSurplus, roles=SETTLEMENT_ROLES)
def return_surplus(ctx: Context, args: ReturnSurplus) -> None:
    """The settlement bank attests that the financier paid the borrower what an enforced pledge brought beyond the
    debt."""
    found = ctx.get(Surplus, key_of(args.financing))
    if found is None or found.state != "OWED":
        ctx.fail("E_NO_SURPLUS")
    if not use_cash(
        ctx,
        args.cash,
        payer=found.financier,
        payee=found.borrower,
        due=found.amount,
        purpose=PURPOSE,
        subject=found.financing,
        command="return_surplus",
        record=found.financing,
    ):
        return
    ctx.put(replace(found, state="RETURNED"))
    ctx.emit(SurplusReturned(financing=found.financing, amount=found.amount))


@module.query("surplus", params=SurplusOf, item=Surplus)
def surplus(ctx: QueryContext, params: SurplusOf, limit: int, cursor: bytes | None) -> Page[Surplus]:
    """What the pledge of one financing brought beyond its debt."""
    found = ctx.get(Surplus, key_of(params.financing)) if params.financing else None
    return Page(() if found is None else (found,), None)


@module.query("surpluses", params=SurplusesOf, item=Surplus)
def surpluses(ctx: QueryContext, params: SurplusesOf, limit: int, cursor: bytes | None) -> Page[Surplus]:
    """What enforced pledges brought beyond their debts, of one party on either side."""
    return ctx.page(Surplus, f"by_{params.side}", (params.party,), limit=limit, cursor=cursor)


def owe_surplus(ctx: Context, financing: Financing, proceeds_minor: int) -> None:
    """Record what the financier of a pledge received beyond its claim, if it did; the claim is as it was before."""
    debt_minor = financing.outstanding_minor
    if proceeds_minor <= debt_minor:
        return
    amount = Money(financing.principal.currency, proceeds_minor - debt_minor)
    ctx.put(
        Surplus(
            financing=financing.financing,
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
    """Of every pledged voucher that was paid to its financier, debt and surplus are the face to the cent, and a surplus
    is returned by exactly one attested payment of it. One that was paid under the first rules left no record."""
    explained: dict[str, int] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        financing = ctx.get(Financing, key_of(voucher.pledge)) if voucher.pledge else None
        if financing is None or voucher.state != VoucherState.SETTLED:
            continue
        most = _debt_at_most(financing)
        found = ctx.get(Surplus, financing.primary_key())
        if found is None:
            if voucher.face.minor > most and ctx.version >= STRICT:
                yield f"{financing.financing} is owed {most} at most and keeps {voucher.face.minor}"
            continue
        explained[found.financing] = voucher.face.minor
        if not financing.principal.minor <= found.debt_minor <= most:
            yield f"{found.financing}: a debt of {found.debt_minor}, {financing.principal.minor} to {most} by its terms"
        if financing.state != FinancingState.CLOSED or financing.outstanding_minor:
            yield f"{found.financing} is {financing.state} and has a surplus"
        if (found.financier, found.borrower) != (financing.financier, financing.borrower):
            yield f"{found.financing}: a surplus of others"
    for found in ctx.iterate(Surplus, "by_financier"):
        total = found.debt_minor + found.amount.minor
        if not explained.get(found.financing) == found.proceeds_minor == total or found.amount.minor <= 0:
            yield f"{found.financing}: {found.debt_minor} and {found.amount.minor} of {found.proceeds_minor}"
        payments = ctx.iterate(CashReference, "by_subject", (found.financing, PURPOSE))
        paid = [(cash.payer, cash.payee, cash.amount) for cash in payments]
        due = [(found.financier, found.borrower, found.amount)] if found.state == "RETURNED" else []
        if paid != due:
            yield f"{found.financing}: the surplus is {found.state} with {len(paid)} payments"


def _debt_at_most(financing: Financing) -> int:
    """Principal and interest from the value date: the debt counts from the block that funded it, never earlier."""
    days = days_between(financing.value_date, financing.maturity)
    return financing.principal.minor + financing.principal.minor * financing.rate_ppm * days // (PPM * 365)
