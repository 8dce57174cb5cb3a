"""Drafts: the carrier says what the bill will say, the shipper approves exactly that, and only then it is issued."""

from __future__ import annotations

from dawan_node.execution.module import Args, Context, Hash32, ShortText, key_of, replace
from dawan_node.modules.title.bills import BillArgs, own_bill, reference
from dawan_node.modules.title.chain import NO_ENTRY
from dawan_node.modules.title.checks import CARRIERS, HOLDERS, TitleRef, existing_title, require_carrier
from dawan_node.modules.title.declaration import DraftApproved, TitleDrafted, module
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO, Bill, Title


class DraftTitle(Args):
    """``checksum``: SHA-256 of the transport document in its canonical form (PINT ``transportDocumentChecksum``)."""

    carrier: ShortText
    reference: ShortText
    bill: BillArgs
    checksum: Hash32


class ApproveDraft(Args):
    """``checksum`` of what the shipper read: a draft that was changed meanwhile is another one."""

    title: TitleRef
    checksum: Hash32


@module.command("draft_title", args=DraftTitle, roles=CARRIERS)
def draft_title(ctx: Context, args: DraftTitle) -> None:
    """The carrier drafts a bill; sent again before the issue, it replaces the draft and needs a new approval."""
    require_carrier(ctx, args.carrier)
    document = f"{args.carrier}/{reference(ctx, args.reference)}"
    known = ctx.get(Title, key_of(document))
    ctx.require(known is None or known.state in ("DRAFT", "APPROVED"), "E_DUP_TITLE")
    ctx.put(new_version(document, 1, args.carrier, own_bill(ctx, args.bill), args.checksum))
    ctx.emit(TitleDrafted(title=document))


@module.command("approve_draft", args=ApproveDraft, roles=HOLDERS)
def approve_draft(ctx: Context, args: ApproveDraft) -> None:
    """The shipper approves the draft."""
    title = existing_title(ctx, args.title)
    ctx.require(title.bill.shipper == ctx.sender.name, "E_NOT_SHIPPER")
    ctx.require(title.state == "DRAFT", "E_STATE")
    ctx.require(title.checksum == args.checksum, "E_CHECKSUM")
    ctx.put(replace(title, state="APPROVED"))
    ctx.emit(DraftApproved(title=title.title))


def new_version(document: str, version: int, carrier: str, bill: Bill, checksum: bytes) -> Title:
    """A title that nobody holds yet, with an empty chain."""
    return Title(
        title=document if version == 1 else f"{document}.{version}",
        document=document,
        version=version,
        replaces="",
        replaced_by="",
        carrier=carrier,
        bill=bill,
        checksum=checksum,
        digest=b"",
        state="DRAFT",
        medium="ELECTRONIC",
        holder="",
        endorsee="",
        negotiable=False,
        nominee="",
        requester="",
        reason="",
        paper="",
        pledge=NO_PLEDGE,
        undo=NO_UNDO,
        origin="",
        length=0,
        head=NO_ENTRY,
    )
