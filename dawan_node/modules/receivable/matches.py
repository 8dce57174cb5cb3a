"""The duplicate report: what was presented more than once, and what merely looks alike (domain.md 0).

An exact match is one asset applied for more than once; the attempts that were refused stand on chain as receipts, the
applications are here. A similar match is two invoices of one seller whose numbers look alike. Neither names a
financier: another bank sees that there is a hit, not whose it is.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dawan_node.execution.module import Page, Params, QueryContext, ShortText
from dawan_node.modules.receivable.assets import is_on_declaration
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import Financing, Invoice
from dawan_node.modules.receivable.financing import SIMILAR_MAX
from dawan_node.modules.receivable.invoices import is_taken


class DuplicateReport(Params):
    """``party``: the borrower for exact matches, the seller for similar ones."""

    party: ShortText
    kind: Literal["exact", "similar"] = "exact"


class DuplicateMatch(msgspec.Struct, frozen=True, gc=False):
    """``subject`` is an application (exact) or an invoice (similar), ``written`` its number as somebody wrote it;
    ``matches`` are the others, at most 63; ``financed``: anything of the subject is financed or reserved now."""

    kind: Literal["exact", "similar"]
    subject: str
    asset: str
    written: str
    state: str
    financed: bool
    matches: tuple[str, ...]


@module.query("duplicate_report", params=DuplicateReport, item=DuplicateMatch)
def duplicate_report(ctx: QueryContext, params: DuplicateReport, limit: int, cursor: bytes | None) -> Page[Any]:
    """Assets of a party applied for twice, or invoices that look alike; a page may be short and go on."""
    if params.kind == "exact":
        applications = ctx.page(Financing, "by_borrower", (params.party,), limit=limit, cursor=cursor)
        return Page(tuple(_exact(ctx, applications.items)), applications.cursor)
    invoices = ctx.page(Invoice, "by_number", (params.party,), limit=limit, cursor=cursor)
    return Page(tuple(_similar(ctx, invoices.items)), invoices.cursor)


def _exact(ctx: QueryContext, applications: tuple[Financing, ...]) -> list[DuplicateMatch]:
    found: list[DuplicateMatch] = []
    for each in applications:
        # A declaration is lent on in parts: several financings of one are no duplicates.
        if is_on_declaration(each):
            continue
        others = ctx.scan(Financing, "by_asset", (each.asset,), limit=SIMILAR_MAX)
        matches = tuple([other.financing for other in others if other.financing != each.financing])
        if matches:
            state = str(each.state)
            financed = each.state in ("RESERVED", "FUNDED", "OVERDUE", "RECOURSE")
            match = DuplicateMatch("exact", each.financing, each.asset, each.presented, state, financed, matches)
            found.append(match)
    return found


def _similar(ctx: QueryContext, invoices: tuple[Invoice, ...]) -> list[DuplicateMatch]:
    found: list[DuplicateMatch] = []
    for each in invoices:
        others = ctx.scan(Invoice, "by_number", (each.seller, each.loose_number), limit=SIMILAR_MAX)
        matches = tuple([other.invoice for other in others if other.invoice != each.invoice])
        if matches:
            invoice, state, financed = each.invoice, str(each.state), is_taken(each, ctx.time_ms)
            match = DuplicateMatch("similar", invoice, invoice, each.number, state, financed, matches)
            found.append(match)
    return found
