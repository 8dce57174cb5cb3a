"""What can be asked: credits and their presentations, deadlines and maturities, liabilities, discrepancy statistics.

All answers are of one height and reproducible. An aggregate covers the records of one page: whoever asks adds the pages
up, so that a bank with a hundred thousand credits gets its figure by questions of bounded cost.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from dawan_node.execution.module import Meta, Page, Params, QueryContext, ShortText, is_date, key_of
from dawan_node.modules.lc.amendments import AMENDMENTS_MAX
from dawan_node.modules.lc.credits import TRANSFERS_MAX
from dawan_node.modules.lc.declaration import module
from dawan_node.modules.lc.entities import (
    OPEN_STATES,
    Amendment,
    BoundTitle,
    Credit,
    CreditState,
    ForwardedTitle,
    PaymentObligation,
    Presentation,
    PresentationState,
    Reimbursement,
)
from dawan_node.modules.refdata import banking_calendar


class OneParty(Params):
    party: ShortText


class OneCredit(Params):
    credit: ShortText


class OnePresentation(Params):
    presentation: ShortText


class OneBank(Params):
    bank: ShortText


class DeadlinesOf(Params):
    """Examinations that end within so many banking days of ``place``; 0: all that are open, overdue ones included."""

    bank: ShortText
    place: Literal["CN", "HK", "MO"] = "HK"
    banking_days: Annotated[int, Meta(ge=0, le=366)] = 0


class MaturitiesOf(Params):
    """Payments that fall due from ``from_date`` on, all when empty."""

    bank: ShortText
    from_date: Annotated[str, Meta(max_length=10)] = ""


class ClaimsOf(Params):
    """Claims against ``bank`` as issuing bank, or by it."""

    bank: ShortText
    claimed: bool = False


class Liability(msgspec.Struct, frozen=True, gc=False):
    """What a bank is bound to in one currency under credits in force: what may still be drawn, what is under
    examination or found complying, and by how much amendments it offered can still raise it."""

    currency: str
    credits: int
    undrawn_minor: int
    presented_minor: int
    offered_minor: int


class Discrepancies(msgspec.Struct, frozen=True, gc=False):
    """What a bank did with the documents it received."""

    presentations: int
    open: int
    refused: int
    waived: int
    precluded: int


@module.query("credits", params=OneParty, item=Credit)
def credits(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Credit]:
    """Credits in which a party has any part."""
    return ctx.page(Credit, "by_party", (params.party,), limit=limit, cursor=cursor)


@module.query("credit", params=OneCredit, item=Credit)
def credit(ctx: QueryContext, params: OneCredit, limit: int, cursor: bytes | None) -> Page[Credit]:
    """One credit by its identifier."""
    return _one(ctx.get(Credit, key_of(params.credit)))


@module.query("transfers", params=OneCredit, item=Credit)
def transfers(ctx: QueryContext, params: OneCredit, limit: int, cursor: bytes | None) -> Page[Credit]:
    """Credits transferred from one."""
    return ctx.page(Credit, "by_parent", (params.credit,), limit=limit, cursor=cursor)


@module.query("amendments", params=OneCredit, item=Amendment)
def amendments(ctx: QueryContext, params: OneCredit, limit: int, cursor: bytes | None) -> Page[Amendment]:
    """Amendments of a credit with the answers of its beneficiaries."""
    return ctx.page(Amendment, "by_credit", (params.credit,), limit=limit, cursor=cursor)


@module.query("presentations", params=OneCredit, item=Presentation)
def presentations(ctx: QueryContext, params: OneCredit, limit: int, cursor: bytes | None) -> Page[Presentation]:
    """Presentations under a credit, in order."""
    return ctx.page(Presentation, "by_credit", (params.credit,), limit=limit, cursor=cursor)


@module.query("presentation", params=OnePresentation, item=Presentation)
def presentation(ctx: QueryContext, params: OnePresentation, limit: int, cursor: bytes | None) -> Page[Presentation]:
    """One presentation by its identifier."""
    return _one(ctx.get(Presentation, key_of(params.presentation)))


@module.query("deadlines", params=DeadlinesOf, item=Presentation)
def deadlines(ctx: QueryContext, params: DeadlinesOf, limit: int, cursor: bytes | None) -> Page[Presentation]:
    """Examinations of a bank that end soon, the earliest first; all open ones when its calendar is not published."""
    page = ctx.page(Presentation, "by_deadline", (params.bank,), limit=limit, cursor=cursor)
    if params.banking_days == 0:
        return page
    until = banking_calendar(ctx, (params.place,), ctx.business_date).add(ctx.business_date, params.banking_days)
    if until is None:
        return page
    soon = tuple([found for found in page.items if found.deadline <= until])
    return Page(soon, page.cursor if len(soon) == len(page.items) else None)


@module.query("maturities", params=MaturitiesOf, item=Presentation)
def maturities(ctx: QueryContext, params: MaturitiesOf, limit: int, cursor: bytes | None) -> Page[Presentation]:
    """What a bank honoured and has to pay, by date."""
    if cursor is None and is_date(params.from_date):
        # The index goes on after the date; the bare text sorts just before it.
        cursor = key_of(params.bank, params.from_date)
    return ctx.page(Presentation, "by_maturity", (params.bank,), limit=limit, cursor=cursor)


@module.query("reimbursements", params=ClaimsOf, item=Reimbursement)
def reimbursements(ctx: QueryContext, params: ClaimsOf, limit: int, cursor: bytes | None) -> Page[Reimbursement]:
    """Claims for reimbursement by state and deadline."""
    index = "by_claimant" if params.claimed else "by_issuing"
    return ctx.page(Reimbursement, index, (params.bank,), limit=limit, cursor=cursor)


@module.query("obligations", params=OneParty, item=PaymentObligation)
def obligations(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[PaymentObligation]:
    """Payment obligations of a party on either side, by due date."""
    return ctx.page(PaymentObligation, "by_party", (params.party,), limit=limit, cursor=cursor)


@module.query("bound_titles", params=OnePresentation, item=BoundTitle)
def bound_titles(ctx: QueryContext, params: OnePresentation, limit: int, cursor: bytes | None) -> Page[BoundTitle]:
    """The titles of a presentation, of this channel or another: bound, passed to the bank, or returned."""
    return ctx.page(BoundTitle, "by_presentation", (params.presentation,), limit=limit, cursor=cursor)


@module.query("forwarded_titles", params=OnePresentation, item=ForwardedTitle)
def forwarded_titles(
    ctx: QueryContext, params: OnePresentation, limit: int, cursor: bytes | None
) -> Page[ForwardedTitle]:
    """The titles of a claim for reimbursement: bound for the issuing bank, that bank's, or given back."""
    return ctx.page(ForwardedTitle, "by_presentation", (params.presentation,), limit=limit, cursor=cursor)


@module.query("liabilities", params=OneBank, item=Liability)
def liabilities(ctx: QueryContext, params: OneBank, limit: int, cursor: bytes | None) -> Page[Any]:
    """The contingent liability of a bank under credits in force, by currency; what it honoured is in maturities."""
    page = ctx.page(Credit, "by_obligor", (params.bank,), limit=limit, cursor=cursor)
    rows: dict[str, Liability] = {}
    for found in page.items:
        currency = found.terms.amount.currency
        row = rows.get(currency, Liability(currency, 0, 0, 0, 0))
        parts = ctx.scan(Credit, "by_parent", (found.credit,), limit=TRANSFERS_MAX)
        drawn = found.drawn_minor + sum([part.drawn_minor for part in parts])
        presented = found.reserved_minor + sum([part.reserved_minor for part in parts])
        # What an expired part did not draw is set aside for nobody.
        lapsed = [part.terms.limit_minor - part.drawn_minor for part in parts if part.state == CreditState.EXPIRED]
        left = max(_limit(found, params.bank) - drawn - presented - sum(lapsed), 0)
        offered = _offered(ctx, found) if params.bank == found.issuing.name else 0
        rows[currency] = Liability(
            currency,
            row.credits + 1,
            row.undrawn_minor + left,
            row.presented_minor + presented,
            row.offered_minor + offered,
        )
    return Page(tuple([rows[currency] for currency in sorted(rows)]), page.cursor)


@module.query("discrepancies", params=OneBank, item=Discrepancies)
def discrepancies(ctx: QueryContext, params: OneBank, limit: int, cursor: bytes | None) -> Page[Any]:
    """How many of a bank's presentations are open, were refused, waived, or are due because it was precluded."""
    page = ctx.page(Presentation, "by_bank", (params.bank,), limit=limit, cursor=cursor)
    counts = Discrepancies(
        presentations=len(page.items),
        open=len([found for found in page.items if found.state in OPEN_STATES]),
        refused=len([found for found in page.items if found.refused_ms]),
        waived=len([found for found in page.items if len(found.waivers) > 1]),
        precluded=len([found for found in page.items if found.state == PresentationState.PRECLUDED]),
    )
    return Page((counts,), page.cursor)


def _limit(found: Credit, bank: str) -> int:
    """A confirming bank is bound by what it confirmed, at most."""
    if bank == found.issuing.name:
        return found.terms.limit_minor
    return min([terms.limit_minor for terms in (found.terms, *found.confirmation)])


def _offered(ctx: QueryContext, found: Credit) -> int:
    """Increases that the issuing bank offered and the beneficiary may still accept."""
    items = ctx.scan(Amendment, "by_credit", (found.credit,), limit=AMENDMENTS_MAX)
    return sum([each.delta_minor for each in items if each.delta_minor > 0 and each.answer_of(found.credit) == ""])


def _one(item: Any) -> Page[Any]:
    return Page(() if item is None else (item,), None)
