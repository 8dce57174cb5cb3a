"""Pledges: a bank takes the title as security, and nothing moves but to the bank, or when it lets go.

The bond is a lock of the kernel, owned by the pledgee: so a court can end it, it ends by itself, and no other process
can bind the title too. Until then the pledgor keeps the title or hands it (endorsed, if agreed) to the pledgee. What
the pledgee releases goes back to what it was; what is not redeemed by its maturity it can take.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Args, Context, Date, add_days, is_date, replace, start_of_day_ms
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    FINANCIERS,
    HOLDERS,
    OneTitle,
    Party,
    TitleRef,
    eligible,
    existing_title,
    has_right,
    own_title,
    require_movable,
)
from dawan_node.modules.title.declaration import PledgeEnforced, PledgeReleased, TitlePledged, module
from dawan_node.modules.title.endorsements import require_endorsable
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO, Pledge, Title

#: Days after the maturity in which the pledgee can still take the title; then the bond is over (proposal: what a bank
#: needs to notice and to act over a long holiday).
ENFORCEMENT_DAYS: Final = 30
#: With those days and the rest of today a lock ends within the 366 days that the kernel allows.
MATURITY_DAYS_MAX: Final = 366 - ENFORCEMENT_DAYS - 1


class PledgeTitle(Args):
    """``matures``: the last day on which the debt can be paid in time."""

    title: TitleRef
    pledgee: Party
    matures: Date


@module.command("pledge_title", args=PledgeTitle, roles=HOLDERS)
def pledge_title(ctx: Context, args: PledgeTitle) -> None:
    """The holder who has the right gives the title as security to a bank or factor."""
    title = own_title(ctx, args.title)
    require_endorsable(ctx, title)
    ctx.require(has_right(title, ctx.sender.name), "E_NOT_ENDORSEE")
    ctx.require(args.pledgee != ctx.sender.name, "E_SELF")
    eligible(ctx, args.pledgee, FINANCIERS)
    ctx.require(is_date(args.matures), "E_DATE")
    latest = add_days(ctx.business_date, MATURITY_DAYS_MAX)
    ctx.require(ctx.business_date <= args.matures <= latest, "E_MATURITY")
    # An owner may set its lock anew: without this question a second pledge to one bank would replace the first.
    require_movable(ctx, title)
    until_ms = start_of_day_ms(add_days(args.matures, ENFORCEMENT_DAYS + 1))
    ctx.call("kernel", "lock", title.title, args.pledgee, "pledge", until_ms)
    pledge = Pledge(args.pledgee, ctx.sender.name, title.endorsee, args.matures, title.length)
    record(ctx, replace(title, pledge=pledge, nominee="", undo=NO_UNDO), "PLEDGE", args.pledgee)
    ctx.emit(TitlePledged(title=title.title, pledgee=args.pledgee, matures=args.matures))


@module.command("release_pledge", args=OneTitle, roles=FINANCIERS)
def release_pledge(ctx: Context, args: OneTitle) -> None:
    """The pledgee lets the title go: possession and right are the pledgor's again."""
    title = _pledged(ctx, args.title)
    pledge = title.pledge
    ctx.call("kernel", "release", title.title, pledge.pledgee)
    free = replace(
        title, holder=pledge.pledgor, endorsee=pledge.endorsee, negotiable=True, pledge=NO_PLEDGE, undo=NO_UNDO
    )
    record(ctx, free, "RELEASE", pledge.pledgor)
    ctx.emit(PledgeReleased(title=title.title, pledgee=pledge.pledgee))


@module.command("enforce_pledge", args=OneTitle, roles=FINANCIERS)
def enforce_pledge(ctx: Context, args: OneTitle) -> None:
    """The pledgee of an overdue pledge takes the title, possession and right."""
    title = _pledged(ctx, args.title)
    pledgee = title.pledge.pledgee
    ctx.require(ctx.business_date > title.pledge.matures, "E_NOT_DUE")
    ctx.call("kernel", "release", title.title, pledgee)
    taken = replace(title, holder=pledgee, endorsee=pledgee, negotiable=True, pledge=NO_PLEDGE, undo=NO_UNDO)
    record(ctx, taken, "ENFORCE", pledgee, on_behalf_of=title.pledge.pledgor)
    ctx.emit(PledgeEnforced(title=title.title, pledgee=pledgee))


def is_pledged(ctx: Context, title: Title) -> bool:
    """Whether the pledge on record binds now."""
    lock = live_lock(ctx, "title", title.title)
    return lock is not None and title.pledge.pledgee != "" and lock.owner == title.pledge.pledgee


def _pledged(ctx: Context, title: str) -> Title:
    """A title pledged to the sender that no court froze."""
    found = existing_title(ctx, title)
    ctx.require(found.pledge.pledgee == ctx.sender.name and is_pledged(ctx, found), "E_NOT_PLEDGEE")
    require_movable(ctx, found, ctx.sender.name)
    return found
