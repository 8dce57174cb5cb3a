"""Succession: another identity of the same organisation takes the place of one that was revoked.

The party to a bill is the company; an identity signs for it. Who loses its key, or leaves, takes nothing along: without
this a title held by a revoked identity, or surrendered by one, would be nobody's to move for ever. The organisation's
administrator, whom the alliance recognises as speaking for it, names the successor. Possession and right stay within
the organisation, so nothing is taken from anybody; what a lock binds waits until the lock ends or what it binds the
title to passes it on, to a revoked identity as to any other (``locks.hand_to``). A pledge is a lock of its
pledgee's own and passes within the organisation too. An organisation that left has no administrator: ``departures``.
"""

from __future__ import annotations

from dawan_node.execution.module import ORG_ADMIN, Args, Context, replace
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    FINANCIERS,
    HOLDERS,
    Party,
    TitleRef,
    eligible,
    existing_title,
    require_movable,
)
from dawan_node.modules.title.declaration import TitleSucceeded, module
from dawan_node.modules.title.entities import NO_UNDO, OUTSTANDING, Pledge, Title, Undo
from dawan_node.modules.title.pledges import is_pledged


class SucceedTitle(Args):
    """``revoked``: the identity that has the title, surrendered it, has the right to it or has it as a pledge; ``to``:
    who does now."""

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
    pledged = args.revoked == title.pledge.pledgee and is_pledged(ctx, title)
    if not pledged:
        require_part(ctx, title, args.revoked)
    ctx.require(eligible(ctx, args.to, FINANCIERS if pledged else HOLDERS).org == ctx.sender.org, "E_OTHER_ORG")
    if pledged:
        title = _hand_over_pledge(ctx, title, args.to)
    take_place(ctx, title, args.revoked, args.to, bound_to=args.to if pledged else "")


def require_part(ctx: Context, title: Title, name: str) -> None:
    """An outstanding title that ``name`` holds, surrendered or has the right to."""
    ctx.require(title.state in OUTSTANDING, "E_STATE")
    ctx.require(name in (title.holder, title.requester, title.endorsee), "E_NO_PART")


def take_place(ctx: Context, title: Title, former: str, to: str, *, order: str = "", bound_to: str = "") -> None:
    """Put ``to`` in the place of ``former`` in everything that it is to the title. ``order``: by which court's order,
    empty within one organisation; ``bound_to``: whose lock is no obstacle."""
    require_movable(ctx, title, bound_to)

    def heir(name: str) -> str:
        return to if name == former else name

    # A straight bill is its consignee's, by name; its successor has it amended.
    named = title.bill.to_order
    undo = title.undo
    if title.holder == former:
        undo = NO_UNDO
    elif order:
        # A holder that refuses the transfer gives possession and right back to who has the place now: given to who
        # left, they would be taken from the heir.
        undo = Undo(heir(undo.holder), heir(undo.endorsee) if named else undo.endorsee, undo.negotiable)
    taken = replace(
        title,
        holder=heir(title.holder),
        requester=heir(title.requester),
        endorsee=heir(title.endorsee) if named else title.endorsee,
        nominee="",
        undo=undo,
    )
    record(ctx, taken, "SUCCEED", to, on_behalf_of=former, reason=order)
    ctx.emit(TitleSucceeded(title=title.title, revoked=former, to=to))


def _hand_over_pledge(ctx: Context, title: Title, to: str) -> Title:
    """The bond of a pledge is its pledgee's: it becomes the successor's, until the same time and on the same terms. So
    a debt that is paid frees the title, and one that is not can be enforced, though the one who lent has no key."""
    lock = live_lock(ctx, "title", title.title)
    assert lock is not None, "a pledge that binds has its lock"
    require_movable(ctx, title, lock.owner)
    ctx.call("kernel", "release", title.title, lock.owner)
    ctx.call("kernel", "lock", title.title, to, lock.reason, lock.until_ms)
    # From the entry that says so on, whatever happens goes to the new pledgee.
    pledge = title.pledge
    return replace(title, pledge=Pledge(to, pledge.pledgor, pledge.endorsee, pledge.matures, title.length))
