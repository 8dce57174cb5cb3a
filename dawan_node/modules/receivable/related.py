"""Related parties: an invoice whose seller and buyer one organisation enrolled is worth no more than its seller's word.

A group may well buy from itself, so such an invoice is confirmed like any other; but it is marked for good when it is,
and so is every voucher on it, with its parts. Money of others comes in only by somebody who says in its own command
that it takes related parties (``related``): the financier who reserves, the second person who lets a look-alike
through, the branch that accepts a rediscount, the bank or factor to which a voucher is passed on. Nobody guarantees
such a voucher: a guarantor's line is drawn without any command of the guarantor.

Which organisation a name belongs to never changes, so the question needs no mark; the mark is what others read, list
and prove. Invoices confirmed under the first rules (``rules``) have none and are asked about all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from dawan_node.execution.module import Context, Meta, Page, Params, QueryContext, key_of
from dawan_node.modules.receivable.assets import is_on_declaration
from dawan_node.modules.receivable.checks import FINANCIERS
from dawan_node.modules.receivable.declaration import PartiesRelated, module
from dawan_node.modules.receivable.entities import Financing, Invoice, InvoiceState, RelatedParties, Voucher
from dawan_node.modules.receivable.rules import STRICT, strict

Reader = Context | QueryContext

#: In arguments: whether the sender takes a receivable between parties of one organisation.
AcceptsRelated = Annotated[bool, Meta(description="take a receivable whose seller and buyer are of one organisation")]

#: A buyer has confirmed it, now or once.
_CONFIRMED: Final = (InvoiceState.CONFIRMED, InvoiceState.PARTLY_USED, InvoiceState.USED, InvoiceState.SETTLED)


class RelatedOf(Params):
    """The mark of one ``asset``, an invoice or a root voucher; without it, all of one organisation, or all."""

    asset: Annotated[str, Meta(max_length=240)] = ""
    org: Annotated[str, Meta(max_length=32)] = ""


def shared_org(ctx: Reader, one: str, other: str) -> str:
    """The organisation that enrolled both names; empty when there is none."""
    first, second = ctx.identity(one), ctx.identity(other)
    return first.org if first is not None and second is not None and first.org == second.org else ""


def mark_if_related(ctx: Context, asset: str, seller: str, buyer: str) -> bool:
    """Mark an invoice that is confirmed, or a voucher that is issued; whether there was something to mark."""
    org = shared_org(ctx, seller, buyer) if strict(ctx) else ""
    if org and ctx.get(RelatedParties, key_of(asset)) is None:
        ctx.put(RelatedParties(asset, seller, buyer, org, ctx.business_date))
        ctx.emit(PartiesRelated(asset=asset, org=org))
    return org != ""


def is_related(ctx: Reader, financing: Financing) -> bool:
    """Whether what secures a financing is between parties of one organisation."""
    if is_on_declaration(financing):
        return False
    if financing.presented:
        invoice = ctx.get(Invoice, key_of(financing.asset))
        return invoice is not None and shared_org(ctx, invoice.seller, invoice.buyer) != ""
    voucher = ctx.get(Voucher, key_of(financing.asset))
    return voucher is not None and is_related_voucher(ctx, voucher)


def is_related_voucher(ctx: Reader, voucher: Voucher) -> bool:
    """Whether its issuer and the seller of the invoices behind its root, of whom there is one, are of one house."""
    root = voucher if not voucher.parent else ctx.get(Voucher, key_of(voucher.root))
    invoice = None if root is None else ctx.get(Invoice, key_of(root.invoices[0].invoice))
    return invoice is not None and shared_org(ctx, invoice.seller, invoice.buyer) != ""


def require_taken(ctx: Context, financing: Financing, accepts: bool) -> None:
    """Whoever gives money for it accepts related parties, or there are none. Fails with E_RELATED."""
    ctx.require(accepts or not strict(ctx) or not is_related(ctx, financing), "E_RELATED")


def require_voucher_taken(ctx: Context, voucher: Voucher, accepts: bool) -> None:
    """A bank or factor that a voucher is passed on to pays for it somewhere: it accepts related parties too."""
    if accepts or not strict(ctx) or not [role for role in ctx.sender.roles if role in FINANCIERS]:
        return
    ctx.require(not is_related_voucher(ctx, voucher), "E_RELATED")


@module.query("related_parties", params=RelatedOf, item=RelatedParties)
def related_parties(ctx: QueryContext, params: RelatedOf, limit: int, cursor: bytes | None) -> Page[RelatedParties]:
    """Invoices and root vouchers that are marked: seller and buyer are of one organisation."""
    if params.asset:
        found = ctx.get(RelatedParties, key_of(params.asset))
        return Page(() if found is None else (found,), None)
    return ctx.page(RelatedParties, "by_org", (params.org,) if params.org else (), limit=limit, cursor=cursor)


@module.invariant("related_parties_are_marked")
def related_parties_are_marked(ctx: QueryContext) -> Iterator[str]:
    """A mark stands on what has it by right and, on a chain that began with version 2, on all of it; no guarantee."""
    marked: set[str] = set()
    for mark in ctx.iterate(RelatedParties, "by_org"):
        marked.add(mark.asset)
        if mark.org != shared_org(ctx, mark.seller, mark.buyer):
            yield f"{mark.asset} is marked for {mark.org}, to which {mark.seller} and {mark.buyer} do not belong"
    if ctx.version < STRICT:
        return
    for invoice in ctx.iterate(Invoice, "by_number"):
        related = shared_org(ctx, invoice.seller, invoice.buyer) != ""
        if invoice.state in _CONFIRMED and related != (invoice.invoice in marked):
            yield f"{invoice.invoice} is between {invoice.seller} and {invoice.buyer} and marked wrongly"
    for voucher in ctx.iterate(Voucher, "by_root"):
        if voucher.parent:
            continue
        if is_related_voucher(ctx, voucher) != (voucher.voucher in marked):
            yield f"{voucher.voucher} is marked otherwise than the invoices behind it"
        if voucher.voucher in marked and voucher.guarantor:
            yield f"{voucher.voucher} is between related parties and guaranteed by {voucher.guarantor}"
