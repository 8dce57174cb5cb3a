"""Issue: how a title begins, again after an amendment, and again after paper. Each time it is a new chain.

Whose the right is at the beginning follows from the bill: a straight bill is the consignee's; a bill to the order of
somebody named is that one's; a bill "to order" is to the order of the shipper (to whom it may be issued over a
forwarder or bank).
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Hash32, Meta, replace
from dawan_node.modules.title.bills import BillArgs, DocumentArgs, own_bill, register
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    CARRIERS,
    Party,
    TitleRef,
    eligible,
    existing_title,
    require_carrier,
    require_movable,
)
from dawan_node.modules.title.declaration import TitleIssued, TitleSwitched, TitleVoided, module
from dawan_node.modules.title.drafts import new_version
from dawan_node.modules.title.entities import Bill, Title

#: The number printed on a paper original.
PAPER_NUMBER: Final = re.compile("[A-Za-z0-9][A-Za-z0-9/-]{0,29}")

PaperNumber = Annotated[str, Meta(max_length=30)]


class IssueTitle(Args):
    """``to`` is the first holder, the shipper when empty."""

    title: TitleRef
    document: DocumentArgs
    to: Party = ""


class ReissueTitle(Args):
    """The amended bill, for the party that surrendered the old one."""

    title: TitleRef
    bill: BillArgs
    checksum: Hash32
    document: DocumentArgs


class RestoreTitle(Args):
    """``paper`` is the number of the original that ``to`` handed in."""

    title: TitleRef
    paper: PaperNumber
    to: Party
    bill: BillArgs
    checksum: Hash32
    document: DocumentArgs


@module.command("issue_title", args=IssueTitle, roles=CARRIERS)
def issue_title(ctx: Context, args: IssueTitle) -> None:
    """The carrier issues an approved bill; its first holder controls it from now on."""
    title = existing_title(ctx, args.title)
    require_carrier(ctx, title.carrier)
    ctx.require(title.state == "APPROVED", "E_STATE")
    holder = args.to or title.bill.shipper
    _require_fit_to_hold(ctx, title.bill, holder)
    endorsee = title.bill.consignee or title.bill.shipper
    _issue(ctx, title, args.document, holder, endorsee, title.bill.to_order)


@module.command("reissue_title", args=ReissueTitle, roles=CARRIERS)
def reissue_title(ctx: Context, args: ReissueTitle) -> None:
    """The carrier issues the amended version of a surrendered bill; the old one is void."""
    old = existing_title(ctx, args.title)
    require_carrier(ctx, old.carrier)
    ctx.require(old.state == "SURRENDERED_FOR_AMENDMENT", "E_STATE")
    require_movable(ctx, old)
    bill = own_bill(ctx, args.bill)
    holder = old.requester
    _require_fit_to_hold(ctx, bill, holder)
    if not bill.to_order:
        endorsee, negotiable = bill.consignee, False
    elif old.bill.to_order:
        # The amendment changes the terms, not whose they are.
        endorsee, negotiable = old.endorsee, old.negotiable
    else:
        endorsee, negotiable = bill.consignee or holder, True
    fresh = _replace_version(ctx, old, bill, args.checksum)
    _issue(ctx, fresh, args.document, holder, endorsee, negotiable)


@module.command("restore_title", args=RestoreTitle, roles=CARRIERS)
def restore_title(ctx: Context, args: RestoreTitle) -> None:
    """The carrier took the paper original in and issues the title electronically again, once."""
    old = existing_title(ctx, args.title)
    require_carrier(ctx, old.carrier)
    ctx.require(old.medium == "PAPER" and old.replaced_by == "", "E_STATE")
    ctx.require(args.paper == old.paper, "E_PAPER_NUMBER")
    require_movable(ctx, old)
    bill = own_bill(ctx, args.bill)
    _require_fit_to_hold(ctx, bill, args.to)
    fresh = _replace_version(ctx, old, bill, args.checksum)
    endorsee = args.to if bill.to_order else bill.consignee
    _issue(ctx, fresh, args.document, args.to, endorsee, bill.to_order)
    ctx.emit(TitleSwitched(title=fresh.title, to_medium="ELECTRONIC", paper=args.paper))


def issue_unchanged(ctx: Context, old: Title) -> Title:
    """The next version of a bill that was surrendered for an amendment which never came: the same document, for the
    party that surrendered it, with the right as it was. The old one is void."""
    fresh = _replace_version(ctx, old, old.bill, old.checksum)
    issued = replace(
        fresh,
        state="ISSUED",
        holder=old.requester,
        endorsee=old.endorsee,
        negotiable=old.negotiable,
        digest=old.digest,
    )
    issued = record(ctx, issued, "ISSUE", old.requester, on_behalf_of=old.carrier)
    ctx.emit(TitleIssued(title=issued.title, holder=issued.holder, replaces=old.title))
    return issued


def _require_fit_to_hold(ctx: Context, bill: Bill, holder: str) -> None:
    eligible(ctx, holder)
    ctx.require(bill.to_order or holder in (bill.shipper, bill.consignee), "E_STRAIGHT")


def _replace_version(ctx: Context, old: Title, bill: Bill, checksum: bytes) -> Title:
    """Void the old version; the next one, not issued yet."""
    fresh = new_version(old.document, old.version + 1, old.carrier, bill, checksum)
    void = replace(old, state="VOIDED", holder="", replaced_by=fresh.title)
    record(ctx, void, "VOID")
    ctx.emit(TitleVoided(title=old.title, replaced_by=fresh.title))
    return replace(fresh, replaces=old.title)


def _issue(ctx: Context, title: Title, document: DocumentArgs, holder: str, endorsee: str, negotiable: bool) -> None:
    ctx.require(title.bill.shipped_on <= ctx.business_date, "E_NOT_SHIPPED")
    register(ctx, document)
    issued = replace(
        title, state="ISSUED", holder=holder, endorsee=endorsee, negotiable=negotiable, digest=document.digest
    )
    record(ctx, issued, "ISSUE", holder)
    ctx.emit(TitleIssued(title=title.title, holder=holder, replaces=title.replaces))
