"""What the logistics module keeps: read points, events, items with their custody, shipments with their milestones,
devices and cold chains, customs declarations, deliveries.

Parties are organisations of the channel: the person at the gate changes, who answers for the goods does not. Instants
are milliseconds UTC of what happened (``time_ms``) and of the block that recorded it (``recorded_ms``), never mixed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from dawan_node.execution.module import Entity, Instant, Money, key_of

ItemState = Literal["ACTIVE", "CONSUMED", "GONE"]
CustodyKind = Literal["FIRST", "HANDED_OVER", "PACKED", "UNPACKED"]
Classifier = Literal["PLN", "EST", "ACT"]
DocumentKind = Literal["BOL", "SWB", "NONE"]
#: Who keeps the title: this channel, a platform or paper that the carrier speaks for, a source channel of this one.
Registry = Literal["CHANNEL", "ELSEWHERE", "OTHER_CHANNEL"]
Jurisdiction = Literal["GD", "HK", "MO"]
Regime = Literal["IMPORT", "EXPORT", "TRANSIT"]
Unit = Literal["CEL", "FAH"]
ExcursionKind = Literal["TEMPERATURE", "GAP", "BOTH"]


class ShipmentState(StrEnum):
    """Derived from milestones that happened, the customs release and the delivery; HOLD, DAMAGED and LOST stand
    beside it (``Shipment.hold``, ``condition``)."""

    BOOKED = "BOOKED"
    GATED_IN = "GATED_IN"
    LOADED = "LOADED"
    DEPARTED = "DEPARTED"
    ARRIVED = "ARRIVED"
    DISCHARGED = "DISCHARGED"
    RELEASED = "RELEASED"
    GATED_OUT = "GATED_OUT"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"


#: A shipment that is over: its boxes are free.
ENDED: Final = (ShipmentState.DELIVERED, ShipmentState.CANCELLED)


class DeclarationState(StrEnum):
    """``DRAFT -> LODGED -> ACCEPTED -> (SCAN | INSPECT) -> TAX_DUE -> RELEASED -> CLOSED``; AMENDED is lodged anew."""

    DRAFT = "DRAFT"
    LODGED = "LODGED"
    AMENDED = "AMENDED"
    ACCEPTED = "ACCEPTED"
    SCAN = "SCAN"
    INSPECT = "INSPECT"
    TAX_DUE = "TAX_DUE"
    RELEASED = "RELEASED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    SEIZED = "SEIZED"


class ReadPoint(Entity, collection="read_point", schema=1, exported=True):
    """A place where events are read and the organisation that operates it; only that one captures there."""

    uri: str
    org: str
    registered_by: str
    since_ms: Instant

    indexes = {"by_org": lambda point: [(point.org, point.uri)]}  # noqa: RUF012 - a ClassVar of the base class

    def primary_key(self) -> bytes:
        return key_of(self.uri)


class EventRecord(Entity, collection="event", schema=1, exported=True):
    """A captured EPCIS event under its hash. ``epcs`` are all objects named in it, ``items`` those it changed.

    ``declared_ms`` is not 0 once its capturer declared it erroneous; it is never deleted.
    """

    digest: bytes
    kind: str
    action: str
    time_ms: Instant
    offset: str
    recorded_ms: Instant
    captured_by: str
    org: str
    biz_step: str
    disposition: str
    read_point: str
    biz_location: str
    parent: str
    epcs: tuple[str, ...]
    items: tuple[str, ...]
    transactions: tuple[str, ...]
    declared_ms: Instant
    reason: str
    corrective: tuple[bytes, ...]

    indexes = {  # noqa: RUF012
        "by_time": lambda event: [(event.time_ms,)],
        "by_kind": lambda event: [(event.kind, event.time_ms)],
        "by_step": lambda event: [(event.biz_step, event.time_ms)] if event.biz_step else [],
        "by_epc": lambda event: [(epc, event.time_ms) for epc in event.epcs],
        "by_transaction": lambda event: [(name, event.time_ms) for name in event.transactions],
    }

    def primary_key(self) -> bytes:
        return key_of(self.digest)


class Item(Entity, collection="item", schema=1, exported=True):
    """A physical object and who has it. One that is packed (``parent``) is where its outermost parent is.

    ``custody``: entries of its custody chain. ``levels``: how deep other items are or were packed in it. ``last`` is
    the event that changed it last, so that an older one can no longer be undone; empty after a hand-over.
    """

    epc: str
    parent: str
    custodian: str
    handed_to: str
    state: ItemState
    custody: int
    levels: int
    last: bytes

    indexes = {  # noqa: RUF012
        "by_parent": lambda item: [(item.parent, item.epc)] if item.parent else [],
        "by_custodian": lambda item: [(item.custodian, item.epc)] if not item.parent else [],
        "by_hand_over": lambda item: [(item.handed_to, item.epc)] if item.handed_to else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.epc)


class Custody(Entity, collection="custody", schema=1, exported=True):
    """One entry of an item's custody chain: from whom to whom, in what, when, by whom. Never changed."""

    epc: str
    position: int
    kind: CustodyKind
    from_org: str
    to_org: str
    parent: str
    recorded_ms: Instant
    by: str
    event: bytes

    indexes = {"by_item": lambda entry: [(entry.epc, entry.position)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.epc, self.position)


class Terminal(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """Which organisation handles the shipment at a place (UN/LOCODE)."""

    place: str
    org: str


class Shipment(Entity, collection="shipment", schema=1, exported=True):
    """A carrier's booking and where it stands. ``surrendered_ms`` is for bills that are kept elsewhere; those of this
    channel are asked for in the module ``title``. ``hold`` is the reason of a customs hold."""

    shipment: str
    carrier: str
    shipper: str
    consignee: str
    terminals: tuple[Terminal, ...]
    mode: str
    incoterm: str
    document_kind: DocumentKind
    document: str
    registry: Registry
    surrendered_ms: Instant
    load_place: str
    discharge_place: str
    jurisdiction: Jurisdiction
    planned_departure_ms: Instant
    planned_arrival_ms: Instant
    free_days: int
    equipment: tuple[str, ...]
    brokers: tuple[str, ...]
    warnings: tuple[str, ...]
    state: ShipmentState
    place: str
    vessel: str
    hold: str
    condition: Literal["", "DAMAGED", "LOST"]
    milestones: int
    changed_ms: Instant

    indexes = {  # noqa: RUF012
        "by_carrier": lambda s: [(s.carrier, s.state, s.shipment)],
        "by_consignee": lambda s: [(s.consignee, s.state, s.shipment)],
        "by_document": lambda s: [(s.document, s.carrier, s.shipment)] if s.document else [],
        "by_equipment": lambda s: [(number, s.shipment) for number in s.equipment],
    }

    def primary_key(self) -> bytes:
        return key_of(self.shipment)


class ForeignTitle(Entity, collection="foreign_title", schema=1, exported=True):
    """The source channel that keeps the title of a shipment, and what a proof from there said: at which height which
    version was surrendered for delivery, or is the paper that the carrier stated to have."""

    shipment: str
    channel: str
    title: str
    on_paper: bool
    height: int

    def primary_key(self) -> bytes:
        return key_of(self.shipment)


class Equipment(Entity, collection="equipment", schema=1, exported=True):
    """A container in a live shipment (``shipment`` empty: free) and the vessel it is aboard."""

    number: str
    shipment: str
    vessel: str

    def primary_key(self) -> bytes:
        return key_of(self.number)


class Correction(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What a statement said before its author corrected it, and why."""

    time_ms: Instant
    corrected_ms: Instant
    reason: str


class Milestone(Entity, collection="milestone", schema=1, exported=True):
    """One DCSA event of a shipment as one party stated it. ``late``: recorded long after it is said to have happened.

    ``retracted_ms`` is not 0 once its author retracted it. Never deleted.
    """

    shipment: str
    position: int
    family: str
    code: str
    classifier: Classifier
    time_ms: Instant
    recorded_ms: Instant
    by: str
    org: str
    place: str
    vessel: str
    source: str
    late: bool
    corrections: tuple[Correction, ...]
    retracted_ms: Instant
    reason: str

    indexes = {  # noqa: RUF012
        "by_shipment": lambda m: [(m.shipment, m.position)],
        "by_source": lambda m: [(m.org, m.source)] if m.source else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.shipment, self.position)


class Delivery(Entity, collection="delivery", schema=1, exported=True):
    """Proof of delivery. The receiver's name is a salted commitment; the paper is bound by its hash."""

    shipment: str
    time_ms: Instant
    recorded_ms: Instant
    by: str
    org: str
    receiver: bytes
    document: bytes

    def primary_key(self) -> bytes:
        return key_of(self.shipment)


class Device(Entity, collection="device", schema=1, exported=True):
    """A temperature logger: the unit it measures in, for good, and its measuring range in thousandths of that unit."""

    uri: str
    org: str
    unit: Unit
    low_milli: int
    high_milli: int

    indexes = {"by_org": lambda device: [(device.org, device.uri)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.uri)


class ColdRule(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """Limits, both included, in thousandths of ``unit``; how long one excursion and all together may last; the longest
    time between two samples."""

    unit: Unit
    low_milli: int
    high_milli: int
    single_ms: int
    total_ms: int
    gap_ms: int


class ColdChain(Entity, collection="cold_chain", schema=1, exported=True):
    """A rule watched over a shipment by one device. ``open_ms``: start of the excursion that still goes on, else 0."""

    shipment: str
    device: str
    rule: ColdRule
    from_ms: Instant
    last_ms: Instant
    last_out: bool
    open_ms: Instant
    open_kind: ExcursionKind
    excursions: int
    longest_ms: int
    total_ms: int
    samples: int
    breached_ms: Instant
    ended_ms: Instant

    indexes = {  # noqa: RUF012
        "watching": lambda chain: [(chain.device, chain.shipment)] if not chain.ended_ms else [],
        "by_shipment": lambda chain: [(chain.shipment, chain.device)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.shipment, self.device)


class Excursion(Entity, collection="excursion", schema=1, exported=True):
    """A closed stretch of time outside the rule, or without samples."""

    shipment: str
    device: str
    position: int
    kind: ExcursionKind
    from_ms: Instant
    to_ms: Instant

    indexes = {"by_shipment": lambda e: [(e.shipment, e.device, e.position)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.shipment, self.device, self.position)


class SensorBatch(Entity, collection="sensor_batch", schema=1, exported=True):
    """What stays of a series of samples: extremes, span, and the hash of the series with its device and unit."""

    digest: bytes
    shipment: str
    device: str
    unit: Unit
    from_ms: Instant
    to_ms: Instant
    samples: int
    low_milli: int
    high_milli: int
    recorded_ms: Instant
    by: str

    indexes = {"by_shipment": lambda batch: [(batch.shipment, batch.device, batch.from_ms)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.digest)


class Declaration(Entity, collection="declaration", schema=1, exported=True):
    """A customs declaration of a broker for a shipment. ``number`` is normalised; ``decided_by``: the officer."""

    jurisdiction: Jurisdiction
    number: str
    regime: Regime
    shipment: str
    broker: str
    org: str
    hs: tuple[str, ...]
    origin: str
    value: Money
    duty: Money
    paid: bool
    state: DeclarationState
    version: int
    examined: Literal["", "SCAN", "INSPECT"]
    decided_by: str
    released_ms: Instant
    reason: str

    indexes = {  # noqa: RUF012
        "by_shipment": lambda d: [(d.shipment, d.jurisdiction, d.number)],
        "by_state": lambda d: [(d.jurisdiction, d.state, d.number)],
        "by_broker": lambda d: [(d.org, d.state, d.number)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.jurisdiction, self.number)
