"""What another platform says happened to a bill: a chain of signed entries (PINT 3.0), read and played through.

Each entry is a JWS of the platform on which its transactions took place and carries the SHA-256 of the entry before.
Playing it through gives who has possession and right at its end, or shows that it contradicts itself. A fresh chain
begins with the issue; one that continues a title of this channel begins where this channel's own chain ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from dawan_node.execution.module import Context, key_of, sha256
from dawan_node.modules.title.entities import Platform
from dawan_node.primitives.jws import read_json, read_jws

T = TypeVar("T")

#: Transactions of one envelope; a bill changes hands some ten times.
TRANSACTIONS_MAX: Final = 64

PLATFORM_CODE: Final = re.compile("[A-Z]{2,5}")
_PARTY: Final = re.compile("[ -9;-~]{1,40}")


class Code(msgspec.Struct, frozen=True, rename="camel"):
    party_code: str = ""


class PartyOf(msgspec.Struct, frozen=True, rename="camel"):
    """A party of a platform, named by its first identifying code, or by its name where it has none."""

    ebl_platform: str = ""
    party_name: str = ""
    identifying_codes: tuple[Code, ...] = ()

    @property
    def name(self) -> str:
        """``WAVE:ACME``: nobody of this channel is called so."""
        code = self.identifying_codes[0].party_code if self.identifying_codes else self.party_name
        return f"{self.ebl_platform}:{code}"

    @property
    def is_named(self) -> bool:
        """Whether the name is one that can be stored, and can be taken for no other."""
        platform, _, code = self.name.partition(":")
        return PLATFORM_CODE.fullmatch(platform) is not None and _PARTY.fullmatch(code) is not None


class Transaction(msgspec.Struct, frozen=True, rename="camel"):
    action_code: str
    actor: PartyOf
    recipient: PartyOf | None = None


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    ebl_platform: str
    transport_document_checksum: str
    transactions: tuple[Transaction, ...]
    previous: str | None = msgspec.field(default=None, name="previousEnvelopeTransferChainEntrySignedContentChecksum")
    issuance_manifest_signed_content: str | None = None
    control_tracking_registry: str | None = None


class Supporting(msgspec.Struct, frozen=True, rename="camel"):
    """A document that travels with the bill."""

    size: int
    document_checksum: str


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    transport_document_checksum: str
    last: str = msgspec.field(name="lastEnvelopeTransferChainEntrySignedContentChecksum")
    supporting_documents: tuple[Supporting, ...] = ()
    visualisation: Supporting | None = msgspec.field(default=None, name="eBLVisualisationByCarrier")

    @property
    def documents(self) -> tuple[Supporting, ...]:
        """Everything that must have been received."""
        return self.supporting_documents + ((self.visualisation,) if self.visualisation is not None else ())


class IssuanceManifest(msgspec.Struct, frozen=True, rename="camel"):
    document_checksum: str


@dataclass(frozen=True, slots=True)
class Control:
    """Who has a title; ``endorsee`` empty is the bearer."""

    holder: str
    endorsee: str
    negotiable: bool


def read_manifest(ctx: Context, text: str, public_key: bytes) -> Manifest:
    """The envelope's manifest, signed by the platform that sends it. Fails with E_PINT_BENV, E_PINT_BSIG."""
    return _signed(ctx, text, public_key, Manifest)


def read_issuance(ctx: Context, text: str, public_key: bytes) -> IssuanceManifest:
    """The carrier's manifest of the issue. Fails with E_PINT_BENV, E_PINT_BSIG."""
    ctx.require(public_key != b"", "E_PINT_BSIG")
    return _signed(ctx, text, public_key, IssuanceManifest)


def read_entries(ctx: Context, texts: Sequence[str], manifest: Manifest) -> tuple[Entry, ...]:
    """The entries, each signed by its platform, in an unbroken row that ends where the manifest says, all about the
    manifest's document. Fails with E_PINT_BENV, E_PINT_BSIG."""
    entries: list[Entry] = []
    for text in texts:
        entries.append(_entry(ctx, text))
    for position, entry in enumerate(entries):
        ctx.require(entry.transport_document_checksum == manifest.transport_document_checksum, "E_PINT_BENV")
        if position:
            ctx.require(entry.previous == checksum_of(texts[position - 1]), "E_PINT_BENV")
    ctx.require(manifest.last == checksum_of(texts[-1]), "E_PINT_BENV")
    ctx.require(sum([len(entry.transactions) for entry in entries]) <= TRANSACTIONS_MAX, "E_PINT_BENV")
    return tuple(entries)


def checksum_of(text: str) -> str:
    """How an entry is referred to: the SHA-256 of the JWS as it stands."""
    return sha256(text.encode()).hex()


def play(ctx: Context, entries: Sequence[Entry], start: Control | None, to_order: bool, consignee: str) -> Control:
    """Who has the title after all transactions, from ``start`` or, when there is none, from the issue.

    Fails with E_PINT_BENV when a transaction could not have taken place.
    """
    now = start
    pending = False
    last = ""
    for entry in entries:
        for each in entry.transactions:
            _require_possible(ctx, entry, each, now, pending, to_order)
            # A straight bill passes once, to the consignee; what follows that is no possible transaction.
            ctx.require(to_order or last != "TRANSFER", "E_PINT_BENV")
            now = _after(each, now, to_order, consignee)
            pending = each.action_code in ("SURRENDER_FOR_DELIVERY", "SURRENDER_FOR_AMENDMENT")
            last = each.action_code
    if now is None or last != "TRANSFER":
        ctx.fail("E_PINT_BENV")
    return now


_ENDORSEMENTS: Final = ("ENDORSE", "ENDORSE_TO_ORDER", "BLANK_ENDORSE")
#: Action codes and whether they name a recipient. SACC is missing: a bill that was accepted back is not sent on.
_NAMES_RECIPIENT: Final = {
    "ISSUE": True,
    "TRANSFER": True,
    "ENDORSE": True,
    "ENDORSE_TO_ORDER": True,
    "BLANK_ENDORSE": False,
    "SIGN": False,
    "SURRENDER_FOR_DELIVERY": True,
    "SURRENDER_FOR_AMENDMENT": True,
    "SREJ": True,
}


def _require_possible(
    ctx: Context, entry: Entry, each: Transaction, now: Control | None, pending: bool, to_order: bool
) -> None:
    action = each.action_code
    names = _NAMES_RECIPIENT.get(action)
    ctx.require(names is not None and names == (each.recipient is not None), "E_PINT_BENV")
    # What its parties do, a platform records, and no other: it signs for nobody else's.
    ctx.require(each.actor.ebl_platform == entry.ebl_platform and each.actor.is_named, "E_PINT_BENV")
    ctx.require(each.recipient is None or each.recipient.is_named, "E_PINT_BENV")
    ctx.require((action == "ISSUE") == (now is None), "E_PINT_BENV")
    ctx.require(pending == (action == "SREJ"), "E_PINT_BENV")
    if now is None:
        return
    if action == "SREJ":
        ctx.require(each.recipient is not None and each.recipient.name == now.holder, "E_PINT_BENV")
        return
    actor = each.actor.name
    ctx.require(now.holder == actor, "E_PINT_BENV")
    if action in _ENDORSEMENTS:
        ctx.require(to_order and now.negotiable and now.endorsee in ("", actor), "E_PINT_BENV")


def _after(each: Transaction, now: Control | None, to_order: bool, consignee: str) -> Control:
    recipient = each.recipient.name if each.recipient is not None else ""
    if now is None:
        return Control(recipient, recipient if to_order else consignee, to_order)
    if each.action_code == "TRANSFER":
        return replace(now, holder=recipient)
    if each.action_code in _ENDORSEMENTS:
        return Control(now.holder, recipient, each.action_code != "ENDORSE")
    # Signed, surrendered or refused: possession and right are where they were.
    return now


def _entry(ctx: Context, text: str) -> Entry:
    read = read_jws(text)
    entry = read_json(read.payload, Entry) if read is not None else None
    if read is None or entry is None or not entry.transactions:
        ctx.fail("E_PINT_BENV")
    is_code = PLATFORM_CODE.fullmatch(entry.ebl_platform) is not None
    platform = ctx.get(Platform, key_of(entry.ebl_platform)) if is_code else None
    if platform is None:
        ctx.fail("E_PINT_BSIG")
    ctx.require(ctx.is_signed_line(platform.public_key, read.signing_input, read.signature), "E_PINT_BSIG")
    return entry


def _signed(ctx: Context, text: str, public_key: bytes, kind: type[T]) -> T:
    read = read_jws(text)
    if read is None:
        ctx.fail("E_PINT_BENV")
    ctx.require(ctx.is_signed_line(public_key, read.signing_input, read.signature), "E_PINT_BSIG")
    payload = read_json(read.payload, kind)
    if payload is None:
        ctx.fail("E_PINT_BENV")
    return payload
