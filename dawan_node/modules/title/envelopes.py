"""Envelopes: another platform hands a title to a party of this channel (DCSA PINT 3.0), and gets one of seven answers.

``RECE`` (accepted) and ``DUPE`` (accepted before, nothing changes) are successes with an event. ``BSIG``, ``BENV``,
``INCD``, ``MDOC`` and ``DISE`` are refusals: the transaction fails with the reason ``E_PINT_...``, nothing changes, and
its receipt on chain is the record of the answer.

This channel is a control tracking registry: of a title that it knows, the only sender it believes is the platform whose
identity holds the title here, and only a chain that continues from the title's own last entry. So a title that was
handed to nobody cannot come in from anywhere (DISE), and each hand-over brings it back at most once.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import (
    UNSET,
    Args,
    Context,
    Hash32,
    Meta,
    ShortText,
    UnsetType,
    key_of,
    replace,
)
from dawan_node.modules.title.bills import BillArgs, DocumentArgs, foreign_bill, reference, register
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import Party, eligible, existing_carrier, require_movable
from dawan_node.modules.title.declaration import EnvelopeAnswered, module
from dawan_node.modules.title.drafts import new_version
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO, Bill, Envelope, Platform, Title
from dawan_node.modules.title.foreign_chain import (
    Control,
    Entry,
    Manifest,
    checksum_of,
    play,
    read_entries,
    read_issuance,
    read_manifest,
)
from dawan_node.modules.title.lookups import current_title
from dawan_node.modules.title.trust import OWN_PLATFORM
from dawan_node.primitives.jws import JWS_CHARS_MAX

#: Entries of a chain: one for each time a bill changes platforms. With certificates in their headers so many come near
#: the 64 KiB of a transaction, which bounds the whole.
ENTRIES_MAX: Final = 16
DOCUMENTS_MAX: Final = 64

JwsText = Annotated[str, Meta(min_length=1, max_length=JWS_CHARS_MAX)]


class ReceivedDocument(Args):
    """A document that came with the envelope, as the sender of this transaction hashed it."""

    checksum: Hash32
    size: int


class ReceiveEnvelope(Args):
    """``manifest`` and ``chain``: envelopeManifestSignedContent and envelopeTransferChain as received. ``checksum``: of
    the transport document in its canonical form. ``bill`` and ``document`` describe a bill unknown here."""

    carrier: ShortText
    reference: ShortText
    checksum: Hash32
    manifest: JwsText
    chain: Annotated[list[JwsText], Meta(min_length=1, max_length=ENTRIES_MAX)]
    recipient: Party
    documents: Annotated[list[ReceivedDocument], Meta(max_length=DOCUMENTS_MAX)] = []  # noqa: RUF012
    bill: BillArgs | UnsetType = UNSET
    document: DocumentArgs | UnsetType = UNSET


@module.command("receive_envelope", args=ReceiveEnvelope, roles=("ebl_platform",))
def receive_envelope(ctx: Context, args: ReceiveEnvelope) -> None:
    """A platform's identity brings a title in from its platform, for a party of this channel."""
    platform = _platform(ctx)
    carrier = existing_carrier(ctx, args.carrier)
    document = f"{args.carrier}/{reference(ctx, args.reference)}"
    manifest = read_manifest(ctx, args.manifest, platform.public_key)
    ctx.require(manifest.transport_document_checksum == args.checksum.hex(), "E_PINT_BENV")
    entries = read_entries(ctx, args.chain, manifest)
    ctx.require(entries[-1].ebl_platform == platform.code, "E_PINT_BENV")
    last_entry = bytes.fromhex(checksum_of(args.chain[-1]))
    before = ctx.get(Envelope, key_of(last_entry))
    if before is not None:
        ctx.require(before.recipient == args.recipient, "E_PINT_BENV")
        ctx.emit(EnvelopeAnswered(answer="DUPE", title=before.title, last_entry=last_entry))
        return
    eligible(ctx, args.recipient)
    title = current_title(ctx, document)
    if title is None:
        issuance = read_issuance(ctx, entries[0].issuance_manifest_signed_content or "", carrier.public_key)
        ctx.require(issuance.document_checksum == args.checksum.hex(), "E_PINT_BENV")
        title = _unknown(ctx, args, entries[0], document, platform)
        start = None
    else:
        _require_sent_there(ctx, title, args, entries[0])
        ctx.require(entries[0].ebl_platform == platform.code, "E_PINT_DISE")
        # The identity that held it stood for the platform's party that acts first.
        first = entries[0].transactions[0].actor.name
        start = Control(first, first if title.endorsee == ctx.sender.name else title.endorsee, title.negotiable)
    after = play(ctx, entries, start, title.bill.to_order, title.bill.consignee)
    ctx.require(after.holder == f"{OWN_PLATFORM}:{args.recipient}", "E_PINT_BENV")
    ctx.require(title.bill.to_order or title.bill.consignee == args.recipient, "E_PINT_BENV")
    _require_documents(ctx, manifest, args.documents)
    _receive(ctx, title, args, after, platform, last_entry)


def _platform(ctx: Context) -> Platform:
    found = ctx.scan(Platform, "by_agent", (ctx.sender.name,), limit=1)
    ctx.require(len(found) == 1, "E_NOT_PLATFORM")
    return found[0]


def _unknown(ctx: Context, args: ReceiveEnvelope, first: Entry, document: str, platform: Platform) -> Title:
    """A title that this channel meets for the first time, in nobody's hands yet."""
    ctx.require(first.previous is None, "E_PINT_DISE")
    # A bill that names a registry is controlled by what stands there: in this one it does not stand, another one
    # cannot be asked.
    ctx.require(not first.control_tracking_registry, "E_PINT_DISE")
    # What stands in the document is the sender's word here: one document under two references would be two titles.
    ctx.require(not ctx.scan(Title, "by_checksum", (args.checksum,), limit=1), "E_PINT_DISE")
    if isinstance(args.bill, UnsetType) or isinstance(args.document, UnsetType):
        ctx.fail("E_PINT_BENV")
    bill: Bill = foreign_bill(ctx, args.bill, platform.code)
    register(ctx, args.document)
    fresh = new_version(document, 1, args.carrier, bill, args.checksum)
    return replace(fresh, state="ISSUED", digest=args.document.digest, origin=platform.code)


def _require_sent_there(ctx: Context, title: Title, args: ReceiveEnvelope, first: Entry) -> None:
    """The title is the sender's to bring back, and the chain goes on where this channel's ended."""
    ctx.require(title.state == "ISSUED" and title.holder == ctx.sender.name, "E_PINT_DISE")
    ctx.require(title.checksum == args.checksum, "E_PINT_DISE")
    ctx.require(first.previous == title.head.hex(), "E_PINT_DISE")
    require_movable(ctx, title)


def _require_documents(ctx: Context, manifest: Manifest, received: list[ReceivedDocument]) -> None:
    """Exactly the documents of the manifest."""
    listed = {document.document_checksum: document.size for document in manifest.documents}
    for document in received:
        ctx.require(listed.get(document.checksum.hex()) == document.size, "E_PINT_INCD")
    arrived = [document.checksum.hex() for document in received]
    ctx.require(all(checksum in arrived for checksum in listed), "E_PINT_MDOC")


def _receive(
    ctx: Context, title: Title, args: ReceiveEnvelope, after: Control, platform: Platform, last_entry: bytes
) -> None:
    own = f"{OWN_PLATFORM}:"
    # A party of this channel under its own name; one of another platform keeps that platform's before it.
    endorsee = after.endorsee.removeprefix(own)
    if endorsee != after.endorsee:
        eligible(ctx, endorsee)
    received = replace(
        title,
        holder=args.recipient,
        endorsee=endorsee,
        negotiable=after.negotiable,
        nominee="",
        pledge=NO_PLEDGE,
        undo=NO_UNDO,
    )
    record(ctx, received, "RECEIVE", args.recipient, on_behalf_of=platform.code, reason=last_entry.hex())
    manifest = bytes.fromhex(checksum_of(args.manifest))
    ctx.put(Envelope(last_entry, title.title, platform.code, args.recipient, manifest, ctx.time_ms))
    ctx.emit(EnvelopeAnswered(answer="RECE", title=title.title, last_entry=last_entry))
