"""Milestones: DCSA track-and-trace events of a shipment, each as one party stated it, and the state that follows.

What happened (class ACT) moves the shipment on; plans and estimates are kept beside it. Carrier and terminal both
state an arrival and a discharge: the first moves the shipment, the second stands beside it, and a delay claim looks at
both (``agreed_time``). A statement keeps the time of the block that recorded it, so that one said to have happened long
before is seen as late, and its author may correct its time for a day only, with the old time kept. So nobody rewrites
an arrival to make a delay vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, QueryContext, ShortText, key_of, replace
from dawan_node.modules.logistics.capture import require_not_future
from dawan_node.modules.logistics.checks import (
    is_released,
    live_shipment,
    require_deliverable,
    terminal_at,
    vessel_number,
)
from dawan_node.modules.logistics.declaration import MilestoneCorrected, MilestoneStated, ShipmentDelayed, module
from dawan_node.modules.logistics.entities import (
    Classifier,
    Correction,
    Equipment,
    Milestone,
    Shipment,
    ShipmentState,
)
from dawan_node.modules.logistics.event_form import EventTime
from dawan_node.modules.logistics.shipments import Place
from dawan_node.modules.refdata import parameter

#: Statements of one shipment: some ten codes at eight places by two parties, with estimates.
MILESTONES_MAX: Final = 256
#: Plans and estimates leave room for what happens.
ESTIMATES_MAX: Final = 160
CORRECTIONS_MAX: Final = 8
#: A statement made so long after the fact is marked. Parameter ``logistics.late``.
LATE_MS: Final = 24 * 3_600_000
#: Two statements of one fact that differ by no more agree. Parameter ``logistics.tolerance``.
TOLERANCE_MS: Final = 2 * 3_600_000

#: code -> (family, states it leads from, state it leads to, whether carrier, whether the terminal there states it).
_MOVES: Final[dict[str, tuple[str, tuple[ShipmentState, ...], ShipmentState, bool, bool]]] = {
    "GTIN": ("EQUIPMENT", (ShipmentState.BOOKED,), ShipmentState.GATED_IN, False, True),
    "LOAD": ("EQUIPMENT", (ShipmentState.GATED_IN, ShipmentState.DISCHARGED), ShipmentState.LOADED, True, True),
    "DEPA": ("TRANSPORT", (ShipmentState.LOADED, ShipmentState.ARRIVED), ShipmentState.DEPARTED, True, False),
    "ARRI": ("TRANSPORT", (ShipmentState.DEPARTED,), ShipmentState.ARRIVED, True, True),
    "DISC": ("EQUIPMENT", (ShipmentState.ARRIVED,), ShipmentState.DISCHARGED, True, True),
    "GTOT": ("EQUIPMENT", (ShipmentState.DISCHARGED,), ShipmentState.GATED_OUT, False, True),
}
#: Codes that move nothing. Customs codes are no statements: customs decides a declaration.
_NOTES: Final = {
    "STUF": "EQUIPMENT", "STRP": "EQUIPMENT", "PICK": "EQUIPMENT", "DROP": "EQUIPMENT", "INSP": "EQUIPMENT",
    "RSEA": "EQUIPMENT", "RMVD": "EQUIPMENT", "RECE": "SHIPMENT", "CONF": "SHIPMENT", "ISSU": "SHIPMENT",
}  # fmt: skip
_ABOARD: Final = ("LOAD", "DEPA", "ARRI", "DISC")


class StateMilestone(Args):
    """``family``: TRANSPORT, EQUIPMENT or SHIPMENT; ``code``: DCSA's of four letters; ``source``: the message's own
    event identifier, stated once per organisation; ``vessel``: IMO number, for LOAD, DEPA, ARRI, DISC by vessel."""

    shipment: ShortText
    family: Annotated[str, Meta(max_length=16)]
    code: Annotated[str, Meta(min_length=4, max_length=4)]
    classifier: Classifier
    time_ms: EventTime
    place: Place
    vessel: Annotated[str, Meta(max_length=10)] = ""
    source: Annotated[str, Meta(max_length=100)] = ""


class CorrectMilestone(Args):
    shipment: ShortText
    position: Annotated[int, Meta(ge=0)]
    time_ms: EventTime
    reason: ShortText


class RetractMilestone(Args):
    shipment: ShortText
    position: Annotated[int, Meta(ge=0)]
    reason: ShortText


@module.command("state_milestone", args=StateMilestone, roles=("carrier", "terminal"))
def state_milestone(ctx: Context, args: StateMilestone) -> None:
    """Carrier or terminal states what is planned, expected or happened; the same message again changes nothing."""
    shipment = live_shipment(ctx, args.shipment)
    if args.source:
        known = ctx.scan(Milestone, "by_source", (ctx.sender.org, args.source), limit=1)
        if known and _says_the_same(known[0], args):
            return
        ctx.require(not known, "E_STATED")
    _require_statable(ctx, shipment, args)
    room = MILESTONES_MAX if args.classifier == "ACT" else ESTIMATES_MAX
    ctx.require(shipment.milestones < room, "E_MILESTONES")
    if args.classifier == "ACT":
        require_not_future(ctx, args.time_ms)
        if args.code in _MOVES:
            shipment = _move(ctx, shipment, args)
    late = args.classifier == "ACT" and ctx.time_ms - args.time_ms > parameter(ctx, "logistics.late", LATE_MS)
    ctx.put(
        Milestone(
            shipment=shipment.shipment,
            position=shipment.milestones,
            family=args.family,
            code=args.code,
            classifier=args.classifier,
            time_ms=args.time_ms,
            recorded_ms=ctx.time_ms,
            by=ctx.sender.name,
            org=ctx.sender.org,
            place=args.place,
            vessel=vessel_number(ctx, args.vessel) if args.vessel else "",
            source=args.source,
            late=late,
            corrections=(),
            retracted_ms=0,
            reason="",
        )
    )
    ctx.put(replace(shipment, milestones=shipment.milestones + 1))
    ctx.emit(
        MilestoneStated(
            shipment=shipment.shipment,
            code=args.code,
            classifier=args.classifier,
            time_ms=args.time_ms,
            by=ctx.sender.name,
            late=late,
        )
    )
    arrives = args.code == "ARRI" and args.place == shipment.discharge_place and args.classifier != "PLN"
    if arrives and args.time_ms > shipment.planned_arrival_ms:
        planned = shipment.planned_arrival_ms
        ctx.emit(ShipmentDelayed(shipment=shipment.shipment, planned_ms=planned, time_ms=args.time_ms))


@module.command("correct_milestone", args=CorrectMilestone, roles=("carrier", "terminal"))
def correct_milestone(ctx: Context, args: CorrectMilestone) -> None:
    """The author corrects the time of a statement within a day; what it said before stays in it."""
    shipment = live_shipment(ctx, args.shipment)
    found = _own(ctx, args.shipment, args.position)
    window = parameter(ctx, "delay.dispute")
    ctx.require(ctx.time_ms <= found.recorded_ms + window, "E_SETTLED")
    ctx.require(len(found.corrections) < CORRECTIONS_MAX, "E_CORRECTIONS")
    if found.classifier == "ACT":
        require_not_future(ctx, args.time_ms)
        others = [m for m in _moves(ctx, shipment) if m.code != found.code]
        ctx.require(all(m.time_ms <= args.time_ms for m in others if m.position < found.position), "E_MILESTONE_TIME")
        ctx.require(all(args.time_ms <= m.time_ms for m in others if m.position > found.position), "E_MILESTONE_TIME")
    correction = Correction(found.time_ms, ctx.time_ms, args.reason)
    ctx.put(replace(found, time_ms=args.time_ms, corrections=(*found.corrections, correction)))
    if found.classifier == "ACT":
        _put_derived(ctx, shipment)
    ctx.emit(MilestoneCorrected(shipment=found.shipment, position=found.position, reason=args.reason))


@module.command("retract_milestone", args=RetractMilestone, roles=("carrier", "terminal"))
def retract_milestone(ctx: Context, args: RetractMilestone) -> None:
    """The author retracts a statement on which nothing later rests; the shipment is where the others say it is."""
    shipment = live_shipment(ctx, args.shipment)
    found = _own(ctx, args.shipment, args.position)
    if found.classifier == "ACT":
        ctx.require(ctx.time_ms <= found.recorded_ms + parameter(ctx, "delay.dispute"), "E_SETTLED")
    ctx.put(replace(found, retracted_ms=ctx.time_ms, reason=args.reason))
    if found.classifier == "ACT" and found.code in _MOVES:
        left = _moves(ctx, shipment)
        later = [m for m in left if m.position > found.position and m.code != found.code]
        # What came later may rest on the other party's statement of the same fact.
        stands = ShipmentState.DISCHARGED if shipment.state == ShipmentState.RELEASED else shipment.state
        ctx.require(not later or derive(shipment, left)[0] == stands, "E_RELIED_ON")
        _put_derived(ctx, shipment)
    ctx.emit(MilestoneCorrected(shipment=found.shipment, position=found.position, reason=args.reason))


def happened(ctx: Context | QueryContext, shipment: str) -> list[Milestone]:
    """The statements of what happened that were not retracted, in the order in which they were recorded."""
    found = ctx.page(Milestone, "by_shipment", (shipment,), limit=MILESTONES_MAX).items
    return [m for m in found if m.classifier == "ACT" and m.retracted_ms == 0]


def derive(shipment: Shipment, statements: Sequence[Milestone]) -> tuple[ShipmentState, str, str, int]:
    """State, place, vessel and time of the last move that follow from statements of what happened.

    A statement that leads nowhere from the state reached is another party's of the same fact, and moves nothing.
    """
    state, place, vessel, changed_ms = ShipmentState.BOOKED, shipment.load_place, "", 0
    for statement in statements:
        move = _MOVES.get(statement.code)
        if move is None or state not in move[1]:
            continue
        state, place, changed_ms = move[2], statement.place, statement.time_ms
        if statement.code == "LOAD":
            vessel = statement.vessel
        elif statement.code == "DISC":
            vessel = ""
    return state, place, vessel, changed_ms


def agreed_time(ctx: Context | QueryContext, shipment: Shipment, code: str) -> int:
    """When something happened at the place of discharge, if carrier and terminal agree; else 0.

    Of two times within the tolerance the later one: neither party gains by an hour. One statement alone is none.
    """
    found = [m for m in happened(ctx, shipment.shipment) if m.code == code and m.place == shipment.discharge_place]
    terminal = terminal_at(shipment, shipment.discharge_place)
    by_carrier = [m.time_ms for m in found if m.org == shipment.carrier]
    by_terminal = [m.time_ms for m in found if m.org == terminal]
    if terminal == shipment.carrier or not by_carrier or not by_terminal:
        return 0
    first, last = sorted([by_carrier[-1], by_terminal[-1]])
    return last if last - first <= parameter(ctx, "logistics.tolerance", TOLERANCE_MS) else 0


def with_release(ctx: Context, shipment: Shipment) -> Shipment:
    """A discharged shipment at its place of discharge is RELEASED exactly while customs released it."""
    if shipment.state not in (ShipmentState.DISCHARGED, ShipmentState.RELEASED):
        return shipment
    there = shipment.place == shipment.discharge_place
    released = there and is_released(ctx, shipment.shipment, shipment.jurisdiction)
    return replace(shipment, state=ShipmentState.RELEASED if released else ShipmentState.DISCHARGED)


def _says_the_same(known: Milestone, args: StateMilestone) -> bool:
    said = known.corrections[0].time_ms if known.corrections else known.time_ms
    return (known.shipment, known.code, known.classifier, said, known.place) == (
        args.shipment,
        args.code,
        args.classifier,
        args.time_ms,
        args.place,
    )


def _require_statable(ctx: Context, shipment: Shipment, args: StateMilestone) -> None:
    """The code exists, and the sender is the carrier, or the terminal at that place, as the code asks for."""
    move = _MOVES.get(args.code)
    family = move[0] if move is not None else _NOTES.get(args.code)
    ctx.require(family == args.family, "E_CODE")
    terminal = terminal_at(shipment, args.place)
    ctx.require(terminal != "", "E_PLACE")
    carrier_may, terminal_may = (move[3], move[4]) if move is not None else (True, True)
    as_carrier = carrier_may and ctx.sender.org == shipment.carrier and "carrier" in ctx.sender.roles
    as_terminal = terminal_may and ctx.sender.org == terminal and "terminal" in ctx.sender.roles
    ctx.require(as_carrier or as_terminal, "E_NOT_PARTY")


def _move(ctx: Context, shipment: Shipment, args: StateMilestone) -> Shipment:
    """The shipment after what happened: moved on, or where it is when the other party said so already."""
    leads_from, state = _MOVES[args.code][1:3]
    vessel = vessel_number(ctx, args.vessel) if args.vessel else ""
    if shipment.mode in ("VESSEL", "BARGE") and args.code in _ABOARD:
        ctx.require(vessel != "", "E_VESSEL")
    reached = ShipmentState.DISCHARGED if shipment.state == ShipmentState.RELEASED else shipment.state
    if reached not in leads_from:
        _require_second_statement(ctx, shipment, args, vessel)
        return shipment
    ctx.require(args.time_ms >= shipment.changed_ms, "E_MILESTONE_TIME")
    _require_place(ctx, shipment, args)
    if args.code in ("DEPA", "ARRI", "DISC"):
        ctx.require(vessel == shipment.vessel, "E_VESSEL")
    if args.code == "GTOT":
        require_deliverable(ctx, shipment)
    if args.code == "LOAD":
        _set_aboard(ctx, shipment, vessel)
    elif args.code == "DISC":
        _set_aboard(ctx, shipment, "")
    aboard = {"LOAD": vessel, "DISC": ""}.get(args.code, shipment.vessel)
    moved = replace(shipment, state=state, place=args.place, vessel=aboard, changed_ms=args.time_ms)
    return with_release(ctx, moved)


def _require_second_statement(ctx: Context, shipment: Shipment, args: StateMilestone, vessel: str) -> None:
    """The other party's statement of a fact that is known: same code, place and vessel, the newest of its kind."""
    moves = _moves(ctx, shipment)
    same = [m for m in moves if m.code == args.code]
    ctx.require(bool(same) and same[-1].place == args.place, "E_STATE")
    ctx.require(same[-1].vessel == vessel, "E_VESSEL")
    there = [m for m in same if m.place == args.place]
    ctx.require(ctx.sender.org not in [m.org for m in there], "E_STATED")
    others = [m for m in moves if m.code != args.code]
    ctx.require(all(m.time_ms <= args.time_ms for m in others if m.position < there[0].position), "E_MILESTONE_TIME")
    ctx.require(all(args.time_ms <= m.time_ms for m in others if m.position > there[-1].position), "E_MILESTONE_TIME")


def _moves(ctx: Context, shipment: Shipment) -> list[Milestone]:
    return [m for m in happened(ctx, shipment.shipment) if m.code in _MOVES]


def _put_derived(ctx: Context, shipment: Shipment) -> None:
    """Put the shipment and its boxes where the statements that are left say they are."""
    state, place, vessel, changed_ms = derive(shipment, _moves(ctx, shipment))
    ctx.put(with_release(ctx, replace(shipment, state=state, place=place, vessel=vessel, changed_ms=changed_ms)))
    _set_aboard(ctx, shipment, vessel)


def _require_place(ctx: Context, shipment: Shipment, args: StateMilestone) -> None:
    """Where it can happen: in at the place of loading, out at that of discharge, off and on where the ship is."""
    match args.code:
        case "GTIN":
            ctx.require(args.place == shipment.load_place, "E_PLACE")
        case "GTOT":
            ctx.require(args.place == shipment.discharge_place == shipment.place, "E_PLACE")
        case "ARRI":
            ctx.require(args.place != shipment.place, "E_PLACE")
        case _:
            ctx.require(args.place == shipment.place, "E_PLACE")
            # Goods that came to their place are not loaded on again.
            ctx.require(args.code != "LOAD" or args.place != shipment.discharge_place, "E_PLACE")


def _set_aboard(ctx: Context, shipment: Shipment, vessel: str) -> None:
    """A live shipment's boxes are in it and nowhere else, so they are aboard what it is aboard."""
    for number in shipment.equipment:
        ctx.put(Equipment(number, shipment.shipment, vessel))


def _own(ctx: Context, shipment: str, position: int) -> Milestone:
    found = ctx.get(Milestone, key_of(shipment, position))
    if found is None:
        ctx.fail("E_UNKNOWN_EVENT")
    ctx.require(found.org == ctx.sender.org, "E_NOT_CAPTURER")
    ctx.require(found.retracted_ms == 0, "E_ERRONEOUS")
    return found
