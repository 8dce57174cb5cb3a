"""What the title module keeps: titles, the entries of their chains, carriers, platforms, envelopes received.

Every identifier is text that a person can read and dictate:

- carrier ``SMDG-HMM``: the list that gives the code, and the code;
- document ``SMDG-HMM/HKG-0042``: carrier and transport document reference;
- title ``SMDG-HMM/HKG-0042``, after an amendment or the return from paper ``SMDG-HMM/HKG-0042.2``: one version of it.

What stands here is what moves with a bill at sea and on the quay (privacy class P1): parties, ports, ship, boxes.
Goods, weights, seals and charges are in the document, which stays off chain under ``checksum`` (P2).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from dawan_node.execution.module import Entity, Instant, key_of
from dawan_node.modules.document_numbers import normalised_number

#: DCSA bill of lading 3.0, ``transportDocumentStatus``.
State = Literal[
    "DRAFT",
    "APPROVED",
    "ISSUED",
    "PENDING_SURRENDER_FOR_DELIVERY",
    "SURRENDERED_FOR_DELIVERY",
    "PENDING_SURRENDER_FOR_AMENDMENT",
    "SURRENDERED_FOR_AMENDMENT",
    "VOIDED",
]
Medium = Literal["ELECTRONIC", "PAPER"]

#: PINT 3.0 action codes, those a platform sends and receives.
PintAction = Literal[
    "ISSUE",
    "TRANSFER",
    "ENDORSE",
    "ENDORSE_TO_ORDER",
    "BLANK_ENDORSE",
    "SIGN",
    "SURRENDER_FOR_DELIVERY",
    "SURRENDER_FOR_AMENDMENT",
    "SACC",
    "SREJ",
]
#: Beside them what happens only here: refusing a transfer, nomination, pledge, an envelope, a version that is replaced,
#: a surrender that nobody answered, the successor of a revoked identity or of an organisation that left.
Action = Literal[
    "ISSUE",
    "TRANSFER",
    "ENDORSE",
    "ENDORSE_TO_ORDER",
    "BLANK_ENDORSE",
    "SIGN",
    "SURRENDER_FOR_DELIVERY",
    "SURRENDER_FOR_AMENDMENT",
    "SACC",
    "SREJ",
    "RETURN",
    "NOMINATE",
    "PLEDGE",
    "RELEASE",
    "ENFORCE",
    "RECEIVE",
    "VOID",
    "WITHDRAW",
    "SUCCEED",
]
#: Why a bill is surrendered for amendment: switch to paper, change of destination, switch bill. Empty: another reason.
Reason = Literal["", "SWTP", "COD", "SWI"]
Endorsement = Literal["ENDORSE", "ENDORSE_TO_ORDER", "BLANK_ENDORSE"]

#: States in which the carrier has not delivered or voided: a box under such a bill must not leave.
OUTSTANDING: Final = (
    "ISSUED",
    "PENDING_SURRENDER_FOR_DELIVERY",
    "PENDING_SURRENDER_FOR_AMENDMENT",
    "SURRENDERED_FOR_AMENDMENT",
)


class Box(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A container (ISO 6346) and its type (ISO 6346, ``22G1``). Not ``consistent``: a foreign message gave it with a
    check digit that does not fit, which is kept as a warning."""

    number: str
    type: str
    consistent: bool


class Bill(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What rules and queries need of a transport document. Not ``to_order``: a straight bill."""

    sub_reference: str
    to_order: bool
    shipper: str
    consignee: str
    port_of_loading: str
    port_of_discharge: str
    vessel: str
    voyage: str
    boxes: tuple[Box, ...]
    shipped_on: str
    freight: Literal["PRE", "COL"]


class Pledge(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A security over the title; it binds while the kernel's lock of ``pledgee`` lives. ``endorsee`` is what it was
    before. ``position``: the entry of the chain that made it, or handed it to a successor. ``matures``: from the day
    after, it can be enforced."""

    pledgee: str
    pledgor: str
    endorsee: str
    matures: str
    position: int


class Undo(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """To whom a new holder may still give the title back, and whose it was then. ``holder`` empty: to nobody."""

    holder: str
    endorsee: str
    negotiable: bool


NO_PLEDGE: Final = Pledge("", "", "", "", 0)
NO_UNDO: Final = Undo("", "", False)


def spelling_of(document: str) -> tuple[str, str]:
    """Carrier and reference of ``carrier/reference`` as numbers on documents are compared."""
    carrier, _, reference = document.partition("/")
    return normalised_number(carrier) or "", normalised_number(reference) or ""


class Title(Entity, collection="title", schema=1, exported=True):
    """One version of a bill of lading and who controls it.

    ``holder`` has possession; the carrier's code stands there while the carrier has it. ``endorsee`` has the right to
    the goods; empty is the bearer. ``negotiable``: it may be endorsed on. ``requester`` surrendered it. ``paper`` is
    the number of the paper original that it became. ``length`` and ``head``: entries of its chain, the last one's hash.
    ``origin`` is the platform that sent it in, empty for a bill of this channel.
    """

    title: str
    document: str
    version: int
    replaces: str
    replaced_by: str
    carrier: str
    bill: Bill
    checksum: bytes
    digest: bytes
    state: State
    medium: Medium
    holder: str
    endorsee: str
    negotiable: bool
    nominee: str
    requester: str
    reason: Reason
    paper: str
    pledge: Pledge
    undo: Undo
    origin: str
    length: int
    head: bytes

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_holder": lambda title: [(title.holder, title.title)] if title.holder else [],
        "by_document": lambda title: [(title.document, title.version)],
        # However somebody writes carrier and reference: what is one number elsewhere is one here.
        "by_number": lambda title: [(*spelling_of(title.document), title.document)] if title.version == 1 else [],
        "by_pledgee": lambda title: [(title.pledge.pledgee, title.title)] if title.pledge.pledgee else [],
        "by_carrier": lambda title: [(title.carrier, title.state, title.title)],
        "by_checksum": lambda title: [(title.checksum, title.title)],
        "by_box": lambda title: (
            [(box.number, title.title) for box in title.bill.boxes] if title.state in OUTSTANDING else []
        ),
    }

    def primary_key(self) -> bytes:
        return key_of(self.title)


class ChainEntry(Entity, collection="chain_entry", schema=1, exported=True):
    """One thing that happened to a title, linked to the one before by ``previous``; ``chain.entry_hash`` is ``hash``.

    ``transaction`` is the id of the signed transaction that did it; ``reason`` of a succession the court's order, if it
    took one.
    """

    title: str
    position: int
    action: Action
    reason: str
    actor: str
    recipient: str
    on_behalf_of: str
    at_ms: Instant
    transaction: bytes
    previous: bytes
    hash: bytes

    indexes = {"by_title": lambda entry: [(entry.title, entry.position)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.title, self.position)


class Carrier(Entity, collection="carrier", schema=1, exported=True):
    """Which organisation issues bills under a carrier's code, by vote. ``public_key`` signs its issuance manifests on
    other platforms; empty when it has none."""

    code: str
    org: str
    public_key: bytes
    resolution: str

    indexes = {"by_org": lambda carrier: [(carrier.org, carrier.code)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.code)


class Platform(Entity, collection="platform", schema=1, exported=True):
    """Another platform (DCSA code ``WAVE``, ``CARX``, ...), by vote: the key of its envelopes and the identity that
    holds here what is controlled there."""

    code: str
    agent: str
    public_key: bytes
    resolution: str

    indexes = {"by_agent": lambda platform: [(platform.agent, platform.code)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.code)


class Change(Entity, collection="change", schema=1):
    """A carrier or platform put to the vote. ``party``: the carrier's organisation, or the platform's identity."""

    proposal: str
    kind: Literal["carrier", "platform"]
    subject: str
    code: str
    party: str
    public_key: bytes

    def primary_key(self) -> bytes:
        return key_of(self.proposal)


class Envelope(Entity, collection="envelope", schema=1, exported=True):
    """An accepted transfer from another platform, by the SHA-256 of its chain's last entry. Never deleted."""

    last_entry: bytes
    title: str
    platform: str
    recipient: str
    manifest: bytes
    received_ms: Instant

    indexes = {"by_title": lambda envelope: [(envelope.title, envelope.received_ms)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.last_entry)


class Succession(Entity, collection="succession", schema=1, exported=True):
    """A court's order who succeeds to a title of an organisation that left the channel; never deleted.

    ``order``: the court's reference, ``evidence``: SHA-256 of the order as it was served. ``former`` is the identity of
    that organisation, ``heir`` takes its place after the day ``until``. ``org``: the court that ordered.
    """

    title: str
    order: str
    evidence: bytes
    former: str
    heir: str
    ordered_by: str
    org: str
    ordered_ms: Instant
    until: str
    state: Literal["ORDERED", "RECALLED", "CARRIED_OUT"]

    indexes = {  # noqa: RUF012
        "by_title": lambda succession: [(succession.title, succession.order)],
        "standing": lambda s: [(s.title, s.former)] if s.state == "ORDERED" else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.title, self.order)
