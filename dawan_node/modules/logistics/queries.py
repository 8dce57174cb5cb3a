"""Questions about logistics: where a box is and who has it, what happened to it, what was excused as an error, whether
the cold chain held, what customs decided, how late a ship is.

Event queries take the parameters of the EPCIS query interface (EPCIS 2.0 section 8.2.7.1) in the spelling of this
channel: ``ge_event_time_ms`` is GE_eventTime. All answers are pages of an index at one height.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from dawan_node.execution.module import (
    UNSET,
    Hash32,
    Meta,
    Page,
    Params,
    QueryContext,
    ShortText,
    UnsetType,
    key_of,
)
from dawan_node.modules.logistics.declaration import module
from dawan_node.modules.logistics.entities import (
    ColdChain,
    Custody,
    Declaration,
    DeclarationState,
    Delivery,
    EventRecord,
    Excursion,
    Item,
    Jurisdiction,
    Milestone,
    ReadPoint,
    SensorBatch,
    Shipment,
)
from dawan_node.modules.logistics.event_form import EventKind, EventTime, Uri
from dawan_node.modules.logistics.gs1 import canonical_uri
from dawan_node.modules.logistics.items import DEPTH_MAX
from dawan_node.modules.logistics.milestones import MILESTONES_MAX, agreed_time, happened
from dawan_node.modules.logistics.vocabulary import BIZ_STEP, DISPOSITION, canonical_word

#: Events read for one page at most when parameters drop some: the page is then short and its cursor goes on.
FILTER_READS_MAX: Final = 1_000
_DAY_MS: Final = 24 * 3_600_000


class EventsLike(Params):
    """An event must fit every parameter given; ``match_epc`` matches a class or object in any list, parents included.

    ``exists_error_declaration``: only those declared erroneous, or only those not.
    """

    event_type: EventKind | UnsetType = UNSET
    ge_event_time_ms: EventTime | UnsetType = UNSET
    lt_event_time_ms: EventTime | UnsetType = UNSET
    ge_record_time_ms: EventTime | UnsetType = UNSET
    lt_record_time_ms: EventTime | UnsetType = UNSET
    eq_action: Literal["ADD", "OBSERVE", "DELETE"] | UnsetType = UNSET
    eq_biz_step: Uri | UnsetType = UNSET
    eq_disposition: Uri | UnsetType = UNSET
    eq_read_point: Uri | UnsetType = UNSET
    eq_biz_location: Uri | UnsetType = UNSET
    eq_biz_transaction: Uri | UnsetType = UNSET
    match_epc: Uri | UnsetType = UNSET
    match_parent_id: Uri | UnsetType = UNSET
    exists_error_declaration: bool | UnsetType = UNSET


class OneEvent(Params):
    event: Hash32


class OneItem(Params):
    item: Uri


class OneOrg(Params):
    org: ShortText


class ShipmentsOf(Params):
    """By what is known: container, document, carrier or consignee; the first that is given counts."""

    equipment: Annotated[str, Meta(max_length=20)] = ""
    document: Annotated[str, Meta(max_length=100)] = ""
    carrier: Annotated[str, Meta(max_length=32)] = ""
    consignee: Annotated[str, Meta(max_length=32)] = ""


class OneShipment(Params):
    shipment: ShortText


class DeclarationsOf(Params):
    """``state`` narrows a jurisdiction's list; ``shipment`` alone lists its own."""

    shipment: Annotated[str, Meta(max_length=200)] = ""
    jurisdiction: Jurisdiction | UnsetType = UNSET
    state: DeclarationState | UnsetType = UNSET


class OneDeclaration(Params):
    jurisdiction: Jurisdiction
    number: ShortText


class Whereabouts(msgspec.Struct, frozen=True, gc=False):
    """``inside``: the item's parents, the nearest first; ``custodian`` has the outermost."""

    item: str
    state: str
    inside: tuple[str, ...]
    custodian: str


class Timeliness(msgspec.Struct, frozen=True, gc=False):
    """Times in ms UTC, 0 for unknown. ``agreed_ms``: what carrier and terminal both state of the arrival; ``delay_ms``:
    of the agreed arrival against the plan; ``free_until_ms``: when demurrage begins."""

    shipment: str
    planned_ms: int
    estimated_ms: int
    by_carrier_ms: int
    by_terminal_ms: int
    agreed_ms: int
    delay_ms: int
    discharged_ms: int
    free_until_ms: int


@module.query("events", params=EventsLike, item=EventRecord)
def events(ctx: QueryContext, params: EventsLike, limit: int, cursor: bytes | None) -> Page[EventRecord]:
    """Events by the parameters of the EPCIS query interface, in order of time."""
    index, prefix = _index(params)
    start = params.ge_event_time_ms
    if cursor is None and not isinstance(start, UnsetType):
        # Index keys of the time before sort before this one, whatever their event.
        cursor = key_of(*prefix, start - 1) + b"\xff" * 33 if start else None
    found: list[EventRecord] = []
    for _ in range(FILTER_READS_MAX // limit + 1):
        page = ctx.page(EventRecord, index, prefix, limit=limit - len(found), cursor=cursor)
        found += [event for event in page.items if _fits(event, params)]
        cursor = page.cursor
        late = not isinstance(params.lt_event_time_ms, UnsetType) and any(
            event.time_ms >= params.lt_event_time_ms for event in page.items[-1:]
        )
        if late:
            # In order of time nothing after it can fit.
            cursor = None
        if cursor is None or len(found) == limit:
            break
    return Page(tuple(found), cursor)


@module.query("event", params=OneEvent, item=EventRecord)
def event(ctx: QueryContext, params: OneEvent, limit: int, cursor: bytes | None) -> Page[EventRecord]:
    """One event by its hash."""
    found = ctx.get(EventRecord, key_of(params.event))
    return Page(() if found is None else (found,), None)


@module.query("track", params=OneItem, item=Whereabouts)
def track(ctx: QueryContext, params: OneItem, limit: int, cursor: bytes | None) -> Page[Whereabouts]:
    """What an item is packed in and who has it."""
    item = ctx.get(Item, key_of(canonical_uri(params.item)))
    if item is None:
        return Page((), None)
    inside: list[str] = []
    outer: Item | None = item
    for _ in range(DEPTH_MAX + 1):
        if outer is None or outer.parent == "":
            break
        inside.append(outer.parent)
        outer = ctx.get(Item, key_of(outer.parent))
    return Page((Whereabouts(item.epc, item.state, tuple(inside), outer.custodian if outer else ""),), None)


@module.query("contents", params=OneItem, item=Item)
def contents(ctx: QueryContext, params: OneItem, limit: int, cursor: bytes | None) -> Page[Item]:
    """What is packed directly in an item."""
    return ctx.page(Item, "by_parent", (canonical_uri(params.item),), limit=limit, cursor=cursor)


@module.query("custody", params=OneItem, item=Custody)
def custody(ctx: QueryContext, params: OneItem, limit: int, cursor: bytes | None) -> Page[Custody]:
    """The custody chain of an item, from the first entry on."""
    return ctx.page(Custody, "by_item", (canonical_uri(params.item),), limit=limit, cursor=cursor)


@module.query("held_items", params=OneOrg, item=Item)
def held_items(ctx: QueryContext, params: OneOrg, limit: int, cursor: bytes | None) -> Page[Item]:
    """Outermost items in an organisation's custody."""
    return ctx.page(Item, "by_custodian", (params.org,), limit=limit, cursor=cursor)


@module.query("hand_overs", params=OneOrg, item=Item)
def hand_overs(ctx: QueryContext, params: OneOrg, limit: int, cursor: bytes | None) -> Page[Item]:
    """Items that wait for an organisation to take them over."""
    return ctx.page(Item, "by_hand_over", (params.org,), limit=limit, cursor=cursor)


@module.query("read_points", params=OneOrg, item=ReadPoint)
def read_points(ctx: QueryContext, params: OneOrg, limit: int, cursor: bytes | None) -> Page[ReadPoint]:
    """Places an organisation captures at."""
    return ctx.page(ReadPoint, "by_org", (params.org,), limit=limit, cursor=cursor)


@module.query("shipments", params=ShipmentsOf, item=Shipment)
def shipments(ctx: QueryContext, params: ShipmentsOf, limit: int, cursor: bytes | None) -> Page[Shipment]:
    """Shipments by container, document or party."""
    if params.equipment:
        index, value = "by_equipment", params.equipment
    elif params.document:
        index, value = "by_document", params.document
    elif params.carrier:
        index, value = "by_carrier", params.carrier
    else:
        index, value = "by_consignee", params.consignee
    return ctx.page(Shipment, index, (value,), limit=limit, cursor=cursor)


@module.query("shipment", params=OneShipment, item=Shipment)
def shipment(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[Shipment]:
    """One shipment by its identifier."""
    found = ctx.get(Shipment, key_of(params.shipment))
    return Page(() if found is None else (found,), None)


@module.query("milestones", params=OneShipment, item=Milestone)
def milestones(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[Milestone]:
    """Everything stated about a shipment, corrections and retractions included."""
    return ctx.page(Milestone, "by_shipment", (params.shipment,), limit=limit, cursor=cursor)


@module.query("timeliness", params=OneShipment, item=Timeliness)
def timeliness(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[Timeliness]:
    """Planned, expected and stated arrival, the delay both parties agree on, and the demurrage clock."""
    found = ctx.get(Shipment, key_of(params.shipment))
    if found is None:
        return Page((), None)
    stated = ctx.page(Milestone, "by_shipment", (params.shipment,), limit=MILESTONES_MAX).items
    there = [m for m in stated if m.place == found.discharge_place and m.retracted_ms == 0]
    estimated = [m.time_ms for m in there if m.code == "ARRI" and m.classifier == "EST"]
    arrived = [m for m in happened(ctx, found.shipment) if m.code == "ARRI" and m.place == found.discharge_place]
    discharged = [m.time_ms for m in there if m.code == "DISC" and m.classifier == "ACT"]
    agreed = agreed_time(ctx, found, "ARRI")
    answer = Timeliness(
        shipment=found.shipment,
        planned_ms=found.planned_arrival_ms,
        estimated_ms=estimated[-1] if estimated else 0,
        by_carrier_ms=max([m.time_ms for m in arrived if m.org == found.carrier], default=0),
        by_terminal_ms=max([m.time_ms for m in arrived if m.org != found.carrier], default=0),
        agreed_ms=agreed,
        delay_ms=max(0, agreed - found.planned_arrival_ms) if agreed else 0,
        discharged_ms=max(discharged, default=0),
        free_until_ms=max(discharged) + found.free_days * _DAY_MS if discharged else 0,
    )
    return Page((answer,), None)


@module.query("cold_chains", params=OneShipment, item=ColdChain)
def cold_chains(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[ColdChain]:
    """Rules watched over a shipment, with totals and whether they were breached."""
    return ctx.page(ColdChain, "by_shipment", (params.shipment,), limit=limit, cursor=cursor)


@module.query("excursions", params=OneShipment, item=Excursion)
def excursions(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[Excursion]:
    """Closed excursions of a shipment, gaps in the samples included."""
    return ctx.page(Excursion, "by_shipment", (params.shipment,), limit=limit, cursor=cursor)


@module.query("sensor_batches", params=OneShipment, item=SensorBatch)
def sensor_batches(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[SensorBatch]:
    """The evidence of a cold chain: every series with its hash."""
    return ctx.page(SensorBatch, "by_shipment", (params.shipment,), limit=limit, cursor=cursor)


@module.query("declarations", params=DeclarationsOf, item=Declaration)
def declarations(ctx: QueryContext, params: DeclarationsOf, limit: int, cursor: bytes | None) -> Page[Declaration]:
    """Customs declarations of a shipment, or of a jurisdiction by state."""
    jurisdiction = () if isinstance(params.jurisdiction, UnsetType) else (params.jurisdiction,)
    if params.shipment or not jurisdiction:
        return ctx.page(Declaration, "by_shipment", (params.shipment, *jurisdiction), limit=limit, cursor=cursor)
    state = () if isinstance(params.state, UnsetType) else (params.state,)
    return ctx.page(Declaration, "by_state", (*jurisdiction, *state), limit=limit, cursor=cursor)


@module.query("declaration", params=OneDeclaration, item=Declaration)
def declaration(ctx: QueryContext, params: OneDeclaration, limit: int, cursor: bytes | None) -> Page[Declaration]:
    """One declaration by jurisdiction and normalised number."""
    found = ctx.get(Declaration, key_of(params.jurisdiction, params.number))
    return Page(() if found is None else (found,), None)


@module.query("delivery", params=OneShipment, item=Delivery)
def delivery(ctx: QueryContext, params: OneShipment, limit: int, cursor: bytes | None) -> Page[Delivery]:
    """The proof of delivery of a shipment."""
    found = ctx.get(Delivery, key_of(params.shipment))
    return Page(() if found is None else (found,), None)


def _index(params: EventsLike) -> tuple[str, tuple[str, ...]]:
    """The index that narrows most; all are ordered by event time within their prefix."""
    for epc in (params.match_epc, params.match_parent_id):
        if not isinstance(epc, UnsetType):
            return "by_epc", (canonical_uri(epc),)
    if not isinstance(params.eq_biz_transaction, UnsetType):
        return "by_transaction", (canonical_uri(params.eq_biz_transaction),)
    if not isinstance(params.eq_biz_step, UnsetType):
        return "by_step", (canonical_word(params.eq_biz_step, BIZ_STEP),)
    if not isinstance(params.event_type, UnsetType):
        return "by_kind", (params.event_type,)
    return "by_time", ()


def _fits(event: EventRecord, params: EventsLike) -> bool:
    equal = (
        (params.event_type, event.kind),
        (params.eq_action, event.action),
        (_word(params.eq_biz_step, BIZ_STEP), event.biz_step),
        (_word(params.eq_disposition, DISPOSITION), event.disposition),
        (_uri(params.eq_read_point), event.read_point),
        (_uri(params.eq_biz_location), event.biz_location),
        (_uri(params.match_parent_id), event.parent),
        (params.exists_error_declaration, event.declared_ms > 0),
    )
    least = ((params.ge_event_time_ms, event.time_ms), (params.ge_record_time_ms, event.recorded_ms))
    below = ((params.lt_event_time_ms, event.time_ms), (params.lt_record_time_ms, event.recorded_ms))
    epc, transaction = _uri(params.match_epc), _uri(params.eq_biz_transaction)
    return (
        all(isinstance(wanted, UnsetType) or wanted == value for wanted, value in equal)
        and all(isinstance(bound, UnsetType) or bound <= value for bound, value in least)
        and all(isinstance(bound, UnsetType) or value < bound for bound, value in below)
        and (isinstance(epc, UnsetType) or epc in event.epcs)
        and (isinstance(transaction, UnsetType) or transaction in event.transactions)
    )


def _uri(text: str | UnsetType) -> str | UnsetType:
    return text if isinstance(text, UnsetType) else canonical_uri(text)


def _word(text: str | UnsetType, prefix: str) -> str | UnsetType:
    return text if isinstance(text, UnsetType) else canonical_word(text, prefix)
