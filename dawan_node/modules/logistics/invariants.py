"""What must hold after every block, whatever was sent: one parent, custody without a break, nothing delivered that
customs or the title keeps, cold chains that add up.

Each checker compares independent records: items with their custody chains, shipments with the statements about them,
totals with the excursions they sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import QueryContext, key_of
from dawan_node.modules.kernel.declaration import CashReference
from dawan_node.modules.light_client.declaration import Use
from dawan_node.modules.logistics.checks import is_released
from dawan_node.modules.logistics.declaration import module
from dawan_node.modules.logistics.entities import (
    ENDED,
    ColdChain,
    Custody,
    Declaration,
    DeclarationState,
    Delivery,
    Equipment,
    EventRecord,
    Excursion,
    ForeignTitle,
    Item,
    Shipment,
    ShipmentState,
)
from dawan_node.modules.logistics.foreign_titles import surrender_purpose
from dawan_node.modules.logistics.items import DEPTH_MAX
from dawan_node.modules.logistics.milestones import derive, happened
from dawan_node.modules.title.lookups import is_delivered_against


@module.invariant("one_parent")
def one_parent(ctx: QueryContext) -> Iterator[str]:
    """An item is in at most one parent, the one its chain says; parents exist, are there, and contain no circle."""
    for item in _items(ctx):
        inside = ""
        for entry in ctx.iterate(Custody, "by_item", (item.epc,)):
            if entry.kind == "PACKED":
                if inside:
                    yield f"{item.epc} was packed in {entry.parent} while in {inside}"
                inside = entry.parent
            elif entry.kind == "UNPACKED":
                if entry.parent != inside:
                    yield f"{item.epc} was taken out of {entry.parent} and was in {inside or 'nothing'}"
                inside = ""
            elif entry.kind == "HANDED_OVER" and inside:
                yield f"{item.epc} was handed over while in {inside}"
        if inside != item.parent:
            yield f"{item.epc} is in {item.parent or 'nothing'} and by its chain in {inside or 'nothing'}"
        yield from _way_out(ctx, item)


@module.invariant("custody_is_unbroken")
def custody_is_unbroken(ctx: QueryContext) -> Iterator[str]:
    """Every chain begins once, each entry takes over from the one before, and the last one has the item."""
    for item in _items(ctx):
        entries = list(ctx.iterate(Custody, "by_item", (item.epc,)))
        positions = [entry.position for entry in entries]
        if positions != list(range(item.custody)) or not entries:
            yield f"{item.epc} has entries {positions} and counts {item.custody}"
            continue
        if [entry.kind for entry in entries].count("FIRST") != 1 or entries[0].kind != "FIRST":
            yield f"the chain of {item.epc} begins with {entries[0].kind}"
        for place, before in enumerate(entries[:-1]):
            after = entries[place + 1]
            if after.recorded_ms < before.recorded_ms:
                yield f"the chain of {item.epc} goes back in time at {after.position}"
            # What was packed comes out in the hands of whoever has the outermost parent by then.
            if after.kind != "UNPACKED" and after.from_org != before.to_org:
                yield f"{item.epc} passed from {after.from_org} and {before.to_org} had it"
            if after.kind == "UNPACKED" and after.to_org not in _holders(ctx, after.parent):
                yield f"{item.epc} came out of {after.parent} to {after.to_org}, which never had that"
        if item.parent == "" and entries[-1].to_org != item.custodian:
            yield f"{item.custodian} has {item.epc} and by its chain {entries[-1].to_org}"
        if item.parent and item.handed_to:
            yield f"{item.epc} is packed and handed to {item.handed_to}"
        if item.state != "ACTIVE" and (item.parent or item.handed_to):
            yield f"{item.epc} is {item.state} and packed or handed over"


@module.invariant("errors_are_their_authors")
def errors_are_their_authors(ctx: QueryContext) -> Iterator[str]:
    """Corrective events exist and are of the organisation that declared the error."""
    for event in ctx.iterate(EventRecord, "by_time"):
        for digest in event.corrective:
            other = ctx.get(EventRecord, key_of(digest))
            if other is None or other.org != event.org:
                yield f"{event.digest.hex()} is corrected by {digest.hex()}"
        if event.recorded_ms < event.declared_ms and event.declared_ms > ctx.time_ms:
            yield f"{event.digest.hex()} is declared erroneous in the future"


@module.invariant("shipments_follow_statements")
def shipments_follow_statements(ctx: QueryContext) -> Iterator[str]:
    """A shipment's state follows from statements, release and delivery; its boxes are in it, aboard its vessel; what is
    delivered was released by customs before, and its bill surrendered."""
    for shipment in ctx.iterate(Shipment, "by_carrier"):
        state, place, vessel, changed_ms = derive(shipment, happened(ctx, shipment.shipment))
        delivery = ctx.get(Delivery, key_of(shipment.shipment))
        if (delivery is not None) != (shipment.state == ShipmentState.DELIVERED):
            yield f"{shipment.shipment} is {shipment.state} and its delivery is {delivery is not None}"
        if delivery is not None and state != ShipmentState.GATED_OUT:
            yield f"{shipment.shipment} is delivered and by what happened {state}"
        there = place == shipment.discharge_place
        released = there and is_released(ctx, shipment.shipment, shipment.jurisdiction)
        if state == ShipmentState.DISCHARGED and released:
            state = ShipmentState.RELEASED
        if shipment.state not in ENDED and shipment.state != state:
            yield f"{shipment.shipment} is {shipment.state} and by what happened {state}"
        if (shipment.place, shipment.vessel, shipment.changed_ms) != (place, vessel, changed_ms):
            yield f"{shipment.shipment} is at {shipment.place} and by what happened at {place}"
        for number in shipment.equipment:
            box = ctx.get(Equipment, key_of(number))
            if box is None or (shipment.state in ENDED and box.shipment == shipment.shipment):
                yield f"{number} is still in {shipment.shipment}"
            elif shipment.state not in ENDED and (box.shipment, box.vessel) != (shipment.shipment, vessel):
                yield f"{number} is in {box.shipment} aboard {box.vessel}, not in {shipment.shipment} aboard {vessel}"
        if delivery is not None:
            yield from _delivered_rightly(ctx, shipment, delivery)
        yield from _proven(ctx, shipment)


@module.invariant("customs_decided")
def customs_decided(ctx: QueryContext) -> Iterator[str]:
    """What is released was decided by an officer of another organisation than the broker's, assessed and paid: by one
    attested payment of exactly the duty, where there is any."""
    before = (DeclarationState.DRAFT, DeclarationState.LODGED, DeclarationState.CANCELLED, DeclarationState.AMENDED)
    for declaration in ctx.iterate(Declaration, "by_broker"):
        name = f"{declaration.jurisdiction}/{declaration.number}"
        if declaration.state not in before and not declaration.decided_by:
            yield f"{name} is {declaration.state} and nobody decided"
        officer = ctx.identity(declaration.decided_by) if declaration.decided_by else None
        if officer is not None and officer.org == declaration.org:
            yield f"{name} was declared and decided by {officer.org}"
        done = declaration.state in (DeclarationState.RELEASED, DeclarationState.CLOSED)
        if done and not (declaration.paid and declaration.released_ms):
            yield f"{name} is {declaration.state} and not paid"
        if declaration.paid and declaration.duty.minor < 0:
            yield f"{name} has a negative duty"
        paid = [cash.amount for cash in ctx.iterate(CashReference, "by_subject", (module.name, name, "duty"))]
        if paid != ([declaration.duty] if declaration.paid and declaration.duty.minor else []):
            yield f"{name}: {paid} attested, {declaration.duty} due and {'paid' if declaration.paid else 'not paid'}"


@module.invariant("cold_chains_add_up")
def cold_chains_add_up(ctx: QueryContext) -> Iterator[str]:
    """Closed excursions and the open one sum to the total, do not overlap, and a breach is known as one."""
    for chain in ctx.iterate(ColdChain, "by_shipment"):
        name = f"{chain.shipment} {chain.device}"
        closed = list(ctx.iterate(Excursion, "by_shipment", (chain.shipment, chain.device)))
        lengths = [excursion.to_ms - excursion.from_ms for excursion in closed]
        if chain.open_ms:
            lengths.append(chain.last_ms - chain.open_ms)
        if len(closed) != chain.excursions or sum(lengths) != chain.total_ms:
            yield f"{name}: excursions of {sum(lengths)} ms, {chain.total_ms} booked"
        if max(lengths, default=0) != chain.longest_ms or min(lengths, default=0) < 0:
            yield f"{name}: the longest is {max(lengths, default=0)} ms, {chain.longest_ms} booked"
        for place, first in enumerate(closed[:-1]):
            second = closed[place + 1]
            if second.from_ms < first.to_ms:
                yield f"{name}: excursions {first.position} and {second.position} overlap"
        over = chain.longest_ms > chain.rule.single_ms or chain.total_ms > chain.rule.total_ms
        if over != (chain.breached_ms > 0):
            yield f"{name}: breached is {over}, noticed is {chain.breached_ms > 0}"
        if chain.ended_ms and chain.open_ms:
            yield f"{name}: ended with an open excursion"


def _delivered_rightly(ctx: QueryContext, shipment: Shipment, delivery: Delivery) -> Iterator[str]:
    """What a delivery rests on. A declaration that somebody lodges afterwards changes nothing of it, and an accepted
    surrender for delivery is the last of a title."""
    declarations = ctx.iterate(Declaration, "by_shipment", (shipment.shipment, shipment.jurisdiction))
    releases = [each.released_ms for each in declarations if each.regime == "IMPORT" and each.released_ms]
    if not releases or min(releases) > delivery.recorded_ms:
        yield f"{shipment.shipment} is delivered and was not released in {shipment.jurisdiction}"
    if shipment.document_kind != "BOL" or shipment.surrendered_ms:
        return
    # Where titles are kept here too, one found after the booking may have been surrendered instead.
    kept = ctx.runs("title") and shipment.registry != "OTHER_CHANNEL"
    if not kept or not is_delivered_against(ctx, shipment.document):
        yield f"{shipment.shipment} is delivered and its bill not surrendered"


def _proven(ctx: QueryContext, shipment: Shipment) -> Iterator[str]:
    """A bill of another channel counts as surrendered by a proof that was used for this shipment, for no other."""
    if shipment.registry != "OTHER_CHANNEL":
        return
    foreign = ctx.get(ForeignTitle, key_of(shipment.shipment))
    if foreign is None:
        yield f"{shipment.shipment}: nobody knows which channel keeps its title"
    elif shipment.surrendered_ms:
        uses = list(
            ctx.iterate(
                Use, "by_subject", ("logistics", shipment.shipment, f"logistics:{surrender_purpose(shipment.shipment)}")
            )
        )
        if foreign.title == "" or len(uses) != 1:
            yield f"{shipment.shipment}: {foreign.title or 'its bill'} surrendered by {len(uses)} proofs"


def _items(ctx: QueryContext) -> Iterator[Item]:
    """All items: those in a parent and those in none."""
    yield from ctx.iterate(Item, "by_custodian")
    yield from ctx.iterate(Item, "by_parent")


def _way_out(ctx: QueryContext, item: Item) -> Iterator[str]:
    outer: Item | None = item
    for _ in range(DEPTH_MAX + 1):
        if outer is None or outer.parent == "":
            break
        parent = ctx.get(Item, key_of(outer.parent))
        if parent is None or parent.state != "ACTIVE":
            yield f"{outer.epc} is in {outer.parent}, which is not there"
        outer = parent
    if outer is not None and outer.parent:
        yield f"{item.epc} is in a circle or more than {DEPTH_MAX} deep"


def _holders(ctx: QueryContext, epc: str) -> list[str]:
    """Every organisation that had an item or one it was packed in."""
    holders: list[str] = []
    names = [epc]
    for _ in range(DEPTH_MAX):
        entries = [entry for name in names for entry in ctx.iterate(Custody, "by_item", (name,))]
        holders += [entry.to_org for entry in entries]
        names = sorted(dict.fromkeys([entry.parent for entry in entries if entry.kind == "PACKED"]))
    return holders
