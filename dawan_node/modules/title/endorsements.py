"""Endorsements: who has the right to the goods, as distinct from who has the title in hand.

To endorse takes both, possession and the right (the bearer of a title endorsed in blank has it by possession). Where
the two are apart, the endorsee nominates the next one and the holder confirms: together they can do what neither can
alone.
"""

from __future__ import annotations

from dawan_node.execution.module import Args, Context, replace
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    HOLDERS,
    Party,
    TitleRef,
    has_right,
    issued_title,
    own_title,
    recipient,
    require_movable,
)
from dawan_node.modules.title.declaration import EndorseeNominated, TitleEndorsed, module
from dawan_node.modules.title.entities import NO_UNDO, Endorsement, Title, Undo
from dawan_node.modules.title.transfers import hand_over


class EndorseTitle(Args):
    """``to`` is empty for BLANK_ENDORSE; ``hand_over_to``: who gets possession with it, nobody when empty."""

    title: TitleRef
    kind: Endorsement
    to: Party = ""
    hand_over_to: Party = ""


class NominateEndorsee(Args):
    """An empty ``nominee`` takes the nomination back."""

    title: TitleRef
    nominee: Party = ""


class ConfirmNomination(Args):
    """``nominee`` as the holder saw it: a nomination that was changed meanwhile is another one."""

    title: TitleRef
    nominee: Party


@module.command("endorse_title", args=EndorseTitle, roles=HOLDERS)
def endorse_title(ctx: Context, args: EndorseTitle) -> None:
    """The holder who has the right passes it on: to a named party only, to its order, or in blank."""
    title = own_title(ctx, args.title)
    require_endorsable(ctx, title)
    ctx.require(has_right(title, ctx.sender.name), "E_NOT_ENDORSEE")
    ctx.require((args.to == "") == (args.kind == "BLANK_ENDORSE"), "E_RECIPIENT")
    if args.to:
        recipient(ctx, args.to)
    require_movable(ctx, title, args.to)
    before = Undo(title.holder, title.endorsee, title.negotiable)
    negotiable = args.kind != "ENDORSE"
    endorsed = replace(title, endorsee=args.to, negotiable=negotiable, nominee="", undo=NO_UNDO)
    endorsed = record(ctx, endorsed, args.kind, args.to)
    ctx.emit(TitleEndorsed(title=title.title, kind=args.kind, to=args.to))
    if args.hand_over_to:
        recipient(ctx, args.hand_over_to)
        hand_over(ctx, endorsed, args.hand_over_to, before)


@module.command("nominate_endorsee", args=NominateEndorsee, roles=HOLDERS)
def nominate_endorsee(ctx: Context, args: NominateEndorsee) -> None:
    """The endorsee of a title that another party holds names who is to have the right after it."""
    title = issued_title(ctx, args.title)
    ctx.require(title.endorsee == ctx.sender.name, "E_NOT_ENDORSEE")
    ctx.require(title.holder != ctx.sender.name, "E_IS_HOLDER")
    require_endorsable(ctx, title)
    if args.nominee:
        recipient(ctx, args.nominee)
    record(ctx, replace(title, nominee=args.nominee), "NOMINATE", args.nominee)
    ctx.emit(EndorseeNominated(title=title.title, nominee=args.nominee))


@module.command("confirm_nomination", args=ConfirmNomination, roles=HOLDERS)
def confirm_nomination(ctx: Context, args: ConfirmNomination) -> None:
    """The holder endorses the title to the order of the nominee, for the endorsee."""
    title = own_title(ctx, args.title)
    ctx.require(args.nominee != "" and title.nominee == args.nominee, "E_NOT_NOMINATED")
    require_endorsable(ctx, title)
    require_movable(ctx, title, args.nominee)
    endorsed = replace(title, endorsee=args.nominee, nominee="", undo=NO_UNDO)
    record(ctx, endorsed, "ENDORSE_TO_ORDER", args.nominee, on_behalf_of=title.endorsee)
    ctx.emit(TitleEndorsed(title=title.title, kind="ENDORSE_TO_ORDER", to=args.nominee))


def require_endorsable(ctx: Context, title: Title) -> None:
    """A bill to order whose last endorsement allows a further one."""
    ctx.require(title.bill.to_order, "E_STRAIGHT")
    ctx.require(title.negotiable, "E_NO_FURTHER_ENDORSEMENT")
