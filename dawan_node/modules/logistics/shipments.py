"""Shipments: what a carrier booked, who handles it where, and what stands beside its way: holds and damage."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from dawan_node.execution.module import Args, Context, Meta, ShortText, key_of, replace
from dawan_node.modules.logistics.checks import (
    UNKNOWN,
    container,
    existing_shipment,
    is_kept_elsewhere,
    live_shipment,
    place_code,
    reference,
    terminal_at,
    title_status,
)
from dawan_node.modules.logistics.cold_chain import end_watches
from dawan_node.modules.logistics.declaration import (
    BrokerAppointed,
    ConditionReported,
    DocumentSurrendered,
    HoldLifted,
    ShipmentBooked,
    ShipmentCancelled,
    ShipmentHeld,
    module,
)
from dawan_node.modules.logistics.entities import (
    DocumentKind,
    Equipment,
    Jurisdiction,
    Registry,
    Shipment,
    ShipmentState,
    Terminal,
)
from dawan_node.modules.logistics.event_form import EventTime
from dawan_node.modules.logistics.foreign_titles import keep_elsewhere, require_paper
from dawan_node.primitives.proofs import PROOF_BYTES_MAX

#: A bill of lading lists more boxes than this only for whole charters; those book several times.
EQUIPMENT_MAX: Final = 100
#: Places where a shipment is handled: load, discharge, and transhipments between.
TERMINALS_MAX: Final = 8
#: Days without demurrage at a terminal; contracts give a few weeks.
FREE_DAYS_MAX: Final = 366

#: Times a document is booked anew after a cancellation.
BOOKINGS_MAX: Final = 20
#: Brokers of one shipment: one at each border and one more.
BROKERS_MAX: Final = 8

Place = Annotated[str, Meta(min_length=5, max_length=5)]
#: Incoterms 2020; "" when the carrier was not told.
Incoterm = Literal["", "EXW", "FCA", "CPT", "CIP", "DAP", "DPU", "DDP", "FAS", "FOB", "CFR", "CIF"]
Mode = Literal["VESSEL", "RAIL", "TRUCK", "BARGE", "AIR"]
#: Which authority a place of discharge belongs to; beyond the three customs of the Bay Area the channel has none.
_COUNTRIES: Final[dict[str, Jurisdiction]] = {"CN": "GD", "HK": "HK", "MO": "MO"}


OptionalProof = Annotated[bytes, Meta(max_length=PROOF_BYTES_MAX)]


class TerminalAt(Args):
    place: Place
    org: ShortText


class BookShipment(Args):
    """``document``: the title's document identifier when ``registry`` is CHANNEL, or OTHER_CHANNEL with that source's
    name as ``channel``; else the carrier's reference.

    Organisations are those of the channel; ``free_days`` run from discharge.
    """

    number: ShortText
    shipper: ShortText
    consignee: ShortText
    terminals: Annotated[list[TerminalAt], Meta(min_length=1, max_length=TERMINALS_MAX)]
    mode: Mode
    document_kind: DocumentKind
    load_place: Place
    discharge_place: Place
    planned_departure_ms: EventTime
    planned_arrival_ms: EventTime
    equipment: Annotated[list[ShortText], Meta(min_length=1, max_length=EQUIPMENT_MAX)]
    document: Annotated[str, Meta(max_length=100)] = ""
    registry: Registry = "CHANNEL"
    channel: Annotated[str, Meta(max_length=32)] = ""
    incoterm: Incoterm = ""
    free_days: Annotated[int, Meta(ge=0, le=FREE_DAYS_MAX)] = 0


class OneShipment(Args):
    shipment: ShortText


class StateSurrender(Args):
    """``title``, ``carrier``: for a bill that became paper on the other channel that keeps it, StateProofs of the
    title, not older than 10 minutes, and of its carrier's enrolment."""

    shipment: ShortText
    title: OptionalProof = b""
    carrier: OptionalProof = b""


class AppointBroker(Args):
    shipment: ShortText
    org: ShortText


class HoldShipment(Args):
    shipment: ShortText
    reason: ShortText


class ReportCondition(Args):
    """``FOUND`` ends what ``LOST`` said; damage stays on record."""

    shipment: ShortText
    condition: Literal["DAMAGED", "LOST", "FOUND"]


@module.command("book_shipment", args=BookShipment, roles=("carrier",))
def book_shipment(ctx: Context, args: BookShipment) -> None:
    """A carrier confirms a booking: parties, terminals, boxes, document, planned times."""
    shipment = f"{ctx.sender.org}/{reference(ctx, args.number)}"
    ctx.require(ctx.get(Shipment, key_of(shipment)) is None, "E_DUP_SHIPMENT")
    terminals = tuple([Terminal(place_code(ctx, entry.place), entry.org) for entry in args.terminals])
    places = [terminal.place for terminal in terminals]
    ctx.require(len(dict.fromkeys(places)) == len(places), "E_PLACE")
    ctx.require(args.load_place in places and args.discharge_place in places, "E_PLACE")
    ctx.require(args.load_place != args.discharge_place, "E_PLACE")
    jurisdiction = _jurisdiction(ctx, args.discharge_place)
    for org in (args.shipper, args.consignee, *[terminal.org for terminal in terminals]):
        ctx.require(ctx.is_org(org), "E_UNKNOWN_ORG")
    ctx.require((args.document_kind == "NONE") == (args.document == ""), "E_DOCUMENT")
    _require_unused_document(ctx, args.document)
    ctx.require(args.planned_departure_ms <= args.planned_arrival_ms, "E_PLAN")
    if args.document_kind == "BOL" and args.registry == "CHANNEL":
        ctx.require(ctx.runs("title"), "E_NO_REGISTER")
    elif args.document_kind == "BOL":
        ctx.require(title_status(ctx, args.document, ctx.sender.org) == UNKNOWN, "E_KEPT_HERE")
    ctx.require((args.registry == "OTHER_CHANNEL") == (args.channel != ""), "E_DOCUMENT")
    if args.registry == "OTHER_CHANNEL":
        ctx.require(args.document_kind == "BOL", "E_DOCUMENT")
        keep_elsewhere(ctx, shipment, args.channel)
    numbers, warnings = [], []
    for text in args.equipment:
        number, fits = container(ctx, text)
        ctx.require(number not in numbers, "E_EQUIPMENT_BUSY")
        _take_container(ctx, number, shipment)
        numbers.append(number)
        # Carriers' messages are full of numbers whose digit is wrong: the box is what it is, with a warning.
        warnings += [] if fits else [f"{number}: check digit"]
    ctx.put(
        Shipment(
            shipment=shipment,
            carrier=ctx.sender.org,
            shipper=args.shipper,
            consignee=args.consignee,
            terminals=terminals,
            mode=args.mode,
            incoterm=args.incoterm,
            document_kind=args.document_kind,
            document=args.document,
            registry=args.registry,
            surrendered_ms=0,
            load_place=args.load_place,
            discharge_place=args.discharge_place,
            jurisdiction=jurisdiction,
            planned_departure_ms=args.planned_departure_ms,
            planned_arrival_ms=args.planned_arrival_ms,
            free_days=args.free_days,
            equipment=tuple(numbers),
            brokers=(),
            warnings=tuple(warnings),
            state=ShipmentState.BOOKED,
            place=args.load_place,
            vessel="",
            hold="",
            condition="",
            milestones=0,
            changed_ms=0,
        )
    )
    ctx.emit(ShipmentBooked(shipment=shipment, carrier=ctx.sender.org, consignee=args.consignee))


@module.command("cancel_shipment", args=OneShipment, roles=("carrier",))
def cancel_shipment(ctx: Context, args: OneShipment) -> None:
    """The carrier cancels a booking of which nothing has come yet."""
    shipment = existing_shipment(ctx, args.shipment)
    ctx.require(shipment.carrier == ctx.sender.org, "E_NOT_PARTY")
    ctx.require(shipment.state == ShipmentState.BOOKED, "E_STATE")
    free_containers(ctx, shipment)
    end_watches(ctx, shipment, ctx.time_ms)
    ctx.put(replace(shipment, state=ShipmentState.CANCELLED))
    ctx.emit(ShipmentCancelled(shipment=shipment.shipment))


@module.command("state_surrender", args=StateSurrender, roles=("carrier",))
def state_surrender(ctx: Context, args: StateSurrender) -> None:
    """The carrier states that a bill kept elsewhere, on paper or another platform, was surrendered to it."""
    shipment = live_shipment(ctx, args.shipment)
    ctx.require(shipment.carrier == ctx.sender.org, "E_NOT_PARTY")
    ctx.require(shipment.document_kind == "BOL", "E_DOCUMENT")
    if shipment.registry == "OTHER_CHANNEL":
        ctx.require(shipment.surrendered_ms == 0, "E_STATED")
        require_paper(ctx, shipment, args.title, args.carrier)
    else:
        ctx.require(args.title == b"" and args.carrier == b"", "E_DOCUMENT")
        kept = title_status(ctx, shipment.document, shipment.carrier)
        ctx.require(is_kept_elsewhere(shipment, kept), "E_KEPT_HERE")
    ctx.require(shipment.surrendered_ms == 0, "E_STATED")
    ctx.put(replace(shipment, surrendered_ms=ctx.time_ms))
    ctx.emit(DocumentSurrendered(shipment=shipment.shipment, document=shipment.document))


@module.command("appoint_broker", args=AppointBroker, roles=("carrier", "consignee", "shipper"))
def appoint_broker(ctx: Context, args: AppointBroker) -> None:
    """Shipper, consignee or carrier says which broker may declare the shipment; nobody else's declaration binds it."""
    shipment = live_shipment(ctx, args.shipment)
    ctx.require(ctx.sender.org in (shipment.shipper, shipment.consignee, shipment.carrier), "E_NOT_PARTY")
    ctx.require(ctx.is_org(args.org), "E_UNKNOWN_ORG")
    ctx.require(args.org not in shipment.brokers and len(shipment.brokers) < BROKERS_MAX, "E_APPOINTED")
    ctx.put(replace(shipment, brokers=(*shipment.brokers, args.org)))
    ctx.emit(BrokerAppointed(shipment=shipment.shipment, org=args.org))


@module.command("hold_shipment", args=HoldShipment, roles=("customs",))
def hold_shipment(ctx: Context, args: HoldShipment) -> None:
    """Customs of the place of discharge stops a shipment; it is not delivered until the hold is lifted."""
    shipment = _of_jurisdiction(ctx, args.shipment)
    ctx.require(shipment.hold == "", "E_HELD")
    ctx.put(replace(shipment, hold=args.reason))
    ctx.emit(ShipmentHeld(shipment=shipment.shipment, reason=args.reason))


@module.command("lift_hold", args=OneShipment, roles=("customs",))
def lift_hold(ctx: Context, args: OneShipment) -> None:
    """Customs lets a shipment go on."""
    shipment = _of_jurisdiction(ctx, args.shipment)
    ctx.require(shipment.hold != "", "E_STATE")
    ctx.put(replace(shipment, hold=""))
    ctx.emit(HoldLifted(shipment=shipment.shipment))


@module.command("report_condition", args=ReportCondition, roles=("carrier", "terminal", "inspector"))
def report_condition(ctx: Context, args: ReportCondition) -> None:
    """The carrier, or the terminal or an inspector where the shipment is, reports damage, loss, or that it is found."""
    shipment = live_shipment(ctx, args.shipment)
    here = terminal_at(shipment, shipment.place)
    # A loss stops the delivery, so only those who have the goods report it.
    surveys = "inspector" in ctx.sender.roles and args.condition == "DAMAGED"
    ctx.require(surveys or ctx.sender.org in (shipment.carrier, here), "E_NOT_PARTY")
    ctx.require((shipment.condition == "LOST") == (args.condition == "FOUND"), "E_CONDITION")
    condition: Literal["", "DAMAGED", "LOST"] = "" if args.condition == "FOUND" else args.condition
    ctx.put(replace(shipment, condition=condition))
    ctx.emit(ConditionReported(shipment=shipment.shipment, condition=args.condition))


def free_containers(ctx: Context, shipment: Shipment) -> None:
    """The boxes of a shipment that is over can go into another one."""
    for number in shipment.equipment:
        ctx.put(Equipment(number, shipment="", vessel=""))


def require_customs_of(ctx: Context, jurisdiction: str) -> None:
    """An officer's identity has the role ``customs`` and that of its jurisdiction: ``gd``, ``hk`` or ``mo``."""
    ctx.require({"GD": "gd", "HK": "hk", "MO": "mo"}[jurisdiction] in ctx.sender.roles, "E_JURISDICTION")


def _require_unused_document(ctx: Context, document: str) -> None:
    """One bill, one shipment of its carrier: goods are not delivered against the surrender of another cargo's."""
    if document:
        others = ctx.scan(Shipment, "by_document", (document, ctx.sender.org), limit=BOOKINGS_MAX)
        ctx.require(all(other.state == ShipmentState.CANCELLED for other in others), "E_DOCUMENT")
        ctx.require(len(others) < BOOKINGS_MAX, "E_DOCUMENT")


def _of_jurisdiction(ctx: Context, shipment: str) -> Shipment:
    found = live_shipment(ctx, shipment)
    require_customs_of(ctx, found.jurisdiction)
    return found


def _jurisdiction(ctx: Context, place: str) -> Jurisdiction:
    found = _COUNTRIES.get(place[:2])
    if found is None:
        ctx.fail("E_PLACE")
    return found


def _take_container(ctx: Context, number: str, shipment: str) -> None:
    found = ctx.get(Equipment, key_of(number))
    ctx.require(found is None or found.shipment == "", "E_EQUIPMENT_BUSY")
    ctx.put(Equipment(number, shipment, vessel=""))
