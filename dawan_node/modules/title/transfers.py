"""Transfers of possession: the one holder hands the title to the next, at once, and the next may hand it back.

A holder that acts on a title has accepted it; until then it can refuse, and everything is as before the transfer.
"""

from __future__ import annotations

from typing import Annotated

from dawan_node.execution.module import Args, Context, Meta, replace
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    HOLDERS,
    OneTitle,
    Party,
    TitleRef,
    own_title,
    recipient,
    require_movable,
)
from dawan_node.modules.title.declaration import TitleSigned, TitleTransferred, TransferRejected, module
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO, Title, Undo


class TransferTitle(Args):
    """``for_party``: for whom a platform's identity takes it, in that platform's words."""

    title: TitleRef
    to: Party
    for_party: Annotated[str, Meta(max_length=60, pattern=r"^[A-Za-z0-9 ._:-]*$")] = ""


@module.command("transfer_title", args=TransferTitle, roles=HOLDERS)
def transfer_title(ctx: Context, args: TransferTitle) -> None:
    """The holder hands the title over; of a pledged one only to the pledgee, of a straight one within its parties."""
    title = own_title(ctx, args.title)
    recipient(ctx, args.to)
    hand_over(ctx, title, args.to, _undo_of(title), args.for_party)


@module.command("reject_transfer", args=OneTitle, roles=HOLDERS)
def reject_transfer(ctx: Context, args: OneTitle) -> None:
    """The new holder refuses a title it has done nothing with: all is as it was before the transfer."""
    title = own_title(ctx, args.title)
    ctx.require(title.undo.holder != "", "E_NOT_RETURNABLE")
    require_movable(ctx, title)
    before = title.undo
    returned = replace(
        title,
        holder=before.holder,
        endorsee=before.endorsee,
        negotiable=before.negotiable,
        nominee="",
        pledge=NO_PLEDGE,
        undo=NO_UNDO,
    )
    record(ctx, returned, "RETURN", before.holder)
    ctx.emit(TransferRejected(title=title.title, by=ctx.sender.name, back_to=before.holder))


@module.command("sign_title", args=OneTitle, roles=HOLDERS)
def sign_title(ctx: Context, args: OneTitle) -> None:
    """The holder confirms its possession in the chain, and cannot refuse the transfer any more."""
    title = own_title(ctx, args.title)
    # Nothing happens to a title that is bound, or its holder could sign it away from the bank it is reserved for.
    require_movable(ctx, title, ctx.sender.name)
    record(ctx, replace(title, undo=NO_UNDO), "SIGN")
    ctx.emit(TitleSigned(title=title.title, by=ctx.sender.name))


def hand_over(ctx: Context, title: Title, to: str, undo: Undo, for_party: str = "") -> None:
    """Move possession from the sender, who has it, to ``to``, who may have it; ``undo`` is what a refusal restores."""
    ctx.require(title.bill.to_order or to in (title.bill.shipper, title.bill.consignee), "E_STRAIGHT")
    require_movable(ctx, title, to)
    # A pledge binds while the kernel's lock lives; one that ended leaves the title with its first move.
    pledge = title.pledge if title.pledge.pledgee == to else NO_PLEDGE
    record(ctx, replace(title, holder=to, nominee="", pledge=pledge, undo=undo), "TRANSFER", to, on_behalf_of=for_party)
    ctx.emit(TitleTransferred(title=title.title, from_holder=ctx.sender.name, to_holder=to))


def _undo_of(title: Title) -> Undo:
    return Undo(title.holder, title.endorsee, title.negotiable)
