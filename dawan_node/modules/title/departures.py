"""Departures: who succeeds to the titles of an organisation that left the channel.

Such an organisation has no administrator here any more and never comes back under its name, so nobody of it can name a
successor (``successions``); its claims to goods did not end with its membership. Who has them now, a liquidator, a
buyer of the business, a creditor, is a question of law. The members do not answer it by a vote: they let the
organisation go, and would share what it leaves. A court does, by an order that everybody can read here and check
against the paper by its hash.

The order moves nothing by itself. It is public for the time of the parameter ``title.departure.days``, in which whoever
has a better right turns to a court: the one that ordered recalls it, any other freezes the title. Afterwards the heir
takes the title, and the order's reference stands in the title's history. What a lock binds waits for its end, or for a
court that releases it (``kernel``).
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Hash32, Meta, add_days, key_of, replace
from dawan_node.modules.refdata import parameter
from dawan_node.modules.title.checks import HOLDERS, Party, TitleRef, eligible, existing_title, has_left
from dawan_node.modules.title.declaration import SuccessionOrdered, SuccessionRecalled, module
from dawan_node.modules.title.entities import Succession
from dawan_node.modules.title.successions import require_part, take_place

COURTS: Final = ("court",)

#: A court's reference: docket numbers of the region have some twenty characters; with the title in a key of 256 bytes.
OrderRef = Annotated[str, Meta(min_length=1, max_length=40, description="the court's reference of its order")]


class OrderSuccession(Args):
    """``former``: the identity of the organisation that left, ``heir``: who takes its place for this title.
    ``evidence``: SHA-256 of the order as it was served."""

    title: TitleRef
    former: Party
    heir: Party
    order: OrderRef
    evidence: Hash32


class OneOrder(Args):
    title: TitleRef
    order: OrderRef


@module.command("order_succession", args=OrderSuccession, roles=COURTS)
def order_succession(ctx: Context, args: OrderSuccession) -> None:
    """A court names who succeeds to a title of an organisation that left the channel; nothing moves yet."""
    title = existing_title(ctx, args.title)
    former = ctx.identity(args.former)
    if former is None:
        ctx.fail("E_UNKNOWN_PARTY")
    ctx.require(has_left(ctx, former.org), "E_NOT_DEPARTED")
    require_part(ctx, title, former.name)
    heir = eligible(ctx, args.heir)
    # Nobody is judge in his own matter.
    ctx.require(heir.org != ctx.sender.org, "E_OWN_MATTER")
    ctx.require(ctx.get(Succession, key_of(title.title, args.order)) is None, "E_DUP_ORDER")
    ctx.require(not ctx.scan(Succession, "standing", (title.title, former.name), limit=1), "E_DUP_ORDER")
    until = add_days(ctx.business_date, parameter(ctx, "title.departure.days"))
    ctx.put(
        Succession(
            title=title.title,
            order=args.order,
            evidence=args.evidence,
            former=former.name,
            heir=heir.name,
            ordered_by=ctx.sender.name,
            org=ctx.sender.org,
            ordered_ms=ctx.time_ms,
            until=until,
            state="ORDERED",
        )
    )
    ctx.emit(
        SuccessionOrdered(title=title.title, order=args.order, former=former.name, heir=heir.name, until=until),
    )


@module.command("recall_succession", args=OneOrder, roles=COURTS)
def recall_succession(ctx: Context, args: OneOrder) -> None:
    """The court that gave an order, or any court once that one left, takes it back before it was carried out; the
    record stays."""
    found = _standing(ctx, args)
    # Else an order of a court that was let go could be neither recalled nor replaced, whoever has the better right.
    ctx.require(found.org == ctx.sender.org or has_left(ctx, found.org), "E_NOT_ORDERING")
    ctx.put(replace(found, state="RECALLED"))
    ctx.emit(SuccessionRecalled(title=found.title, order=found.order))


@module.command("take_succession", args=OneOrder, roles=HOLDERS)
def take_succession(ctx: Context, args: OneOrder) -> None:
    """The heir takes the title that a court ordered to be its own, when the time for objections is over."""
    found = _standing(ctx, args)
    ctx.require(found.heir == ctx.sender.name, "E_NOT_HEIR")
    ctx.require(ctx.business_date > found.until, "E_NOTICE")
    # All of it once more: the title may have gone back to somebody, or on, since the order.
    title = existing_title(ctx, found.title)
    require_part(ctx, title, found.former)
    eligible(ctx, found.heir)
    take_place(ctx, title, found.former, found.heir, order=found.order)
    ctx.put(replace(found, state="CARRIED_OUT"))


def _standing(ctx: Context, args: OneOrder) -> Succession:
    found = ctx.get(Succession, key_of(args.title, args.order))
    if found is None or found.state != "ORDERED":
        ctx.fail("E_NO_ORDER")
    return found
