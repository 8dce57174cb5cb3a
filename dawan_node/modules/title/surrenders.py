"""Surrender: the title goes back to the carrier that issued it, for the goods, for another bill, or for paper.

While the carrier has not answered, nobody moves the title. Accepted for delivery it has done its work; accepted for
amendment it waits for the new version; accepted for a switch to paper (reason SWTP) the electronic record is dead and
the original with the recorded number is the only one. Refused, it is as it was.

A carrier that stays silent keeps nothing: after the time of the parameter ``title.answer.days`` whoever surrendered
takes the title back (``withdraw_surrender``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from dawan_node.execution.module import Args, Context, Meta, add_days, business_date, key_of, replace
from dawan_node.modules.refdata import parameter
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    CARRIERS,
    HOLDERS,
    OneTitle,
    TitleRef,
    existing_title,
    has_right,
    own_title,
    require_carrier,
    require_movable,
)
from dawan_node.modules.title.declaration import (
    SurrenderAccepted,
    SurrenderRejected,
    SurrenderRequested,
    SurrenderWithdrawn,
    TitleSwitched,
    module,
)
from dawan_node.modules.title.entities import (
    NO_PLEDGE,
    NO_UNDO,
    Action,
    Carrier,
    ChainEntry,
    Reason,
    State,
    Title,
)
from dawan_node.modules.title.issues import PAPER_NUMBER, PaperNumber, issue_unchanged
from dawan_node.modules.title.lookups import current_title

_PENDING: tuple[State, ...] = ("PENDING_SURRENDER_FOR_DELIVERY", "PENDING_SURRENDER_FOR_AMENDMENT")


class SurrenderTitle(Args):
    """``reason`` only with AMENDMENT: SWTP switch to paper, COD change of destination, SWI switch bill."""

    title: TitleRef
    purpose: Literal["DELIVERY", "AMENDMENT"]
    reason: Reason = ""


class AcceptSurrender(Args):
    """``paper``: the number of the original, where and only where the title becomes paper."""

    title: TitleRef
    paper: PaperNumber = ""


class RejectSurrender(Args):
    title: TitleRef
    why: Annotated[str, Meta(min_length=1, max_length=200)]


@module.command("surrender_title", args=SurrenderTitle, roles=HOLDERS)
def surrender_title(ctx: Context, args: SurrenderTitle) -> None:
    """The holder who has the right gives the title back to the carrier, which has to answer."""
    title = own_title(ctx, args.title)
    sender = ctx.sender.name
    # The shipper that still has a straight bill may have it amended: the consignee has no right yet. The successor of
    # either (``successions``) must: its name is not on the bill.
    amends_own = args.purpose == "AMENDMENT" and not title.bill.to_order
    ctx.require(has_right(title, sender) or amends_own, "E_NOT_ENDORSEE")
    ctx.require(args.reason == "" or args.purpose == "AMENDMENT", "E_REASON")
    require_movable(ctx, title)
    delivery = args.purpose == "DELIVERY"
    state: State = "PENDING_SURRENDER_FOR_DELIVERY" if delivery else "PENDING_SURRENDER_FOR_AMENDMENT"
    action: Action = "SURRENDER_FOR_DELIVERY" if delivery else "SURRENDER_FOR_AMENDMENT"
    surrendered = replace(
        title,
        state=state,
        holder=title.carrier,
        requester=sender,
        reason=args.reason,
        nominee="",
        pledge=NO_PLEDGE,
        undo=NO_UNDO,
    )
    record(ctx, surrendered, action, title.carrier, reason=args.reason)
    ctx.emit(SurrenderRequested(title=title.title, purpose=args.purpose, reason=args.reason))


@module.command("accept_surrender", args=AcceptSurrender, roles=CARRIERS)
def accept_surrender(ctx: Context, args: AcceptSurrender) -> None:
    """The carrier accepts the surrender; after a switch to paper the electronic record is dead."""
    title = _pending(ctx, args.title)
    switches = title.reason == "SWTP"
    ctx.require((PAPER_NUMBER.fullmatch(args.paper) is not None) if switches else args.paper == "", "E_PAPER_NUMBER")
    if switches:
        accepted = replace(title, state="VOIDED", medium="PAPER", holder="", paper=args.paper)
    elif title.state == "PENDING_SURRENDER_FOR_DELIVERY":
        accepted = replace(title, state="SURRENDERED_FOR_DELIVERY")
    else:
        accepted = replace(title, state="SURRENDERED_FOR_AMENDMENT")
    record(ctx, accepted, "SACC", title.requester, reason=title.reason)
    ctx.emit(SurrenderAccepted(title=title.title, state=accepted.state))
    if switches:
        ctx.emit(TitleSwitched(title=title.title, to_medium="PAPER", paper=args.paper))


@module.command("reject_surrender", args=RejectSurrender, roles=CARRIERS)
def reject_surrender(ctx: Context, args: RejectSurrender) -> None:
    """The carrier refuses; the title is in the requester's hands again."""
    title = _pending(ctx, args.title)
    back = replace(title, state="ISSUED", holder=title.requester, requester="", reason="")
    record(ctx, back, "SREJ", title.requester, reason=title.reason)
    ctx.emit(SurrenderRejected(title=title.title, back_to=title.requester, why=args.why))


@module.command("withdraw_surrender", args=OneTitle, roles=HOLDERS)
def withdraw_surrender(ctx: Context, args: OneTitle) -> None:
    """The party that surrendered takes the title back from a carrier that did not answer, or amend it, in time."""
    title = existing_title(ctx, args.title)
    amended = title.state == "SURRENDERED_FOR_AMENDMENT"
    ctx.require(title.state in _PENDING or amended, "E_STATE")
    ctx.require(title.requester == ctx.sender.name, "E_NOT_REQUESTER")
    require_movable(ctx, title)
    last = ctx.get(ChainEntry, key_of(title.title, title.length - 1))
    assert last is not None, "a surrendered title has the entry of its surrender"
    # The surrender, its acceptance, or the succession of who surrendered: from each on the carrier has its time.
    until = add_days(business_date(last.at_ms), parameter(ctx, "title.answer.days"))
    ctx.require(ctx.business_date > until, "E_ANSWER_TIME")
    if amended:
        # The old version was accepted and cannot live again (nothing follows SACC): a new one on the same terms.
        back = issue_unchanged(ctx, title)
    else:
        back = replace(title, state="ISSUED", holder=title.requester, requester="", reason="")
        back = record(ctx, back, "WITHDRAW", title.requester, reason=title.reason)
    ctx.emit(SurrenderWithdrawn(title=back.title, back_to=back.holder))


def _pending(ctx: Context, title: str) -> Title:
    """A surrendered title that waits for the sender's answer and that no court froze."""
    found = existing_title(ctx, title)
    require_carrier(ctx, found.carrier)
    ctx.require(found.state in _PENDING, "E_STATE")
    require_movable(ctx, found)
    return found


@module.export("delivery_status")
def delivery_status(ctx: Context, document: str, carrier: str) -> str:
    """Whether the goods of ``document`` may leave, for modules that watch over them: SURRENDERED, OUTSTANDING, PAPER
    (its original is for people to look at), or UNKNOWN when organisation ``carrier`` has issued no such title."""
    title = current_title(ctx, document)
    issuer = None if title is None else ctx.get(Carrier, key_of(title.carrier))
    if title is None or issuer is None or issuer.org != carrier:
        return "UNKNOWN"
    if title.medium == "PAPER":
        return "PAPER"
    return "SURRENDERED" if title.state == "SURRENDERED_FOR_DELIVERY" else "OUTSTANDING"
