"""Succession: another identity of the same organisation takes the place of one that was revoked.

The party to a bill is the company; an identity signs for it. Who loses its key, or leaves, takes nothing along: without
this a title held by a revoked identity, or surrendered by one, would be nobody's to move for ever. The organisation's
administrator, whom the alliance recognises as speaking for it, names the successor. Possession and right stay within
the organisation, so nothing is taken from anybody; what a lock binds waits until the lock ends or what it binds the
title to passes it on, to a revoked identity as to any other (``locks.hand_to``). An organisation that left has no
administrator: ``departures``.
"""

from __future__ import annotations

from dawan_node.execution.module import ORG_ADMIN, Args, Context, replace
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import Party, TitleRef, eligible, existing_title, require_movable
from dawan_node.modules.title.declaration import TitleSucceeded, module
from dawan_node.modules.title.entities import NO_UNDO, OUTSTANDING, Title


class SucceedTitle(Args):
    """``revoked``: the identity that has the title, surrendered it or has the right to it; ``to``: who does now."""

    title: TitleRef
    revoked: Party
    to: Party


@module.command("succeed_title", args=SucceedTitle, roles=(ORG_ADMIN,))
def succeed_title(ctx: Context, args: SucceedTitle) -> None:
    """An administrator puts another identity of its organisation in the place of a revoked one, for one title."""
    title = existing_title(ctx, args.title)
    ctx.require(title.state in OUTSTANDING, "E_STATE")
    former = ctx.identity(args.revoked)
    if former is None:
        ctx.fail("E_UNKNOWN_PARTY")
    ctx.require(former.org == ctx.sender.org, "E_OTHER_ORG")
    ctx.require(former.status != "active", "E_NOT_REVOKED")
    require_part(ctx, title, args.revoked)
    ctx.require(eligible(ctx, args.to).org == ctx.sender.org, "E_OTHER_ORG")
    take_place(ctx, title, args.revoked, args.to)


def require_part(ctx: Context, title: Title, name: str) -> None:
    """An outstanding title that ``name`` holds, surrendered or has the right to."""
    ctx.require(title.state in OUTSTANDING, "E_STATE")
    ctx.require(name in (title.holder, title.requester, title.endorsee), "E_NO_PART")


def take_place(ctx: Context, title: Title, former: str, to: str, *, order: str = "") -> None:
    """Put ``to`` in the place of ``former`` in everything that it is to the title. ``order``: by which court's order,
    empty within one organisation."""
    require_movable(ctx, title)

    def heir(name: str) -> str:
        return to if name == former else name

    taken = replace(
        title,
        holder=heir(title.holder),
        requester=heir(title.requester),
        # A straight bill is its consignee's, by name; its successor has it amended.
        endorsee=heir(title.endorsee) if title.bill.to_order else title.endorsee,
        nominee="",
        undo=NO_UNDO if title.holder == former else title.undo,
    )
    record(ctx, taken, "SUCCEED", to, on_behalf_of=former, reason=order)
    ctx.emit(TitleSucceeded(title=title.title, revoked=former, to=to))
