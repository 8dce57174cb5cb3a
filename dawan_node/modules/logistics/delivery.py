"""Delivery: the goods are handed over, once, against a surrendered title, after customs released them."""

from __future__ import annotations

from dawan_node.execution.module import Args, Context, Hash32, ShortText, replace
from dawan_node.modules.logistics.capture import require_not_future
from dawan_node.modules.logistics.checks import live_shipment, require_deliverable, terminal_at
from dawan_node.modules.logistics.cold_chain import end_watches
from dawan_node.modules.logistics.declaration import Delivered, module
from dawan_node.modules.logistics.entities import Delivery, ShipmentState
from dawan_node.modules.logistics.event_form import EventTime
from dawan_node.modules.logistics.shipments import free_containers


class Deliver(Args):
    """``receiver``: ``SHA-256(32 random bytes || name)``, the salt kept with the name; ``document``: hash of the signed
    delivery note."""

    shipment: ShortText
    time_ms: EventTime
    receiver: Hash32
    document: Hash32


@module.command("deliver", args=Deliver, roles=("terminal", "consignee"))
def deliver(ctx: Context, args: Deliver) -> None:
    """Terminal or consignee records that the goods were handed over; the conditions of the gate hold to the end."""
    shipment = live_shipment(ctx, args.shipment)
    terminal = terminal_at(shipment, shipment.discharge_place)
    as_terminal = ctx.sender.org == terminal and "terminal" in ctx.sender.roles
    as_consignee = ctx.sender.org == shipment.consignee and "consignee" in ctx.sender.roles
    ctx.require(as_terminal or as_consignee, "E_NOT_PARTY")
    require_deliverable(ctx, shipment)
    ctx.require(shipment.state == ShipmentState.GATED_OUT, "E_STATE")
    require_not_future(ctx, args.time_ms)
    ctx.require(args.time_ms >= shipment.changed_ms, "E_MILESTONE_TIME")
    ctx.put(
        Delivery(
            shipment=shipment.shipment,
            time_ms=args.time_ms,
            recorded_ms=ctx.time_ms,
            by=ctx.sender.name,
            org=ctx.sender.org,
            receiver=args.receiver,
            document=args.document,
        )
    )
    end_watches(ctx, shipment, args.time_ms)
    free_containers(ctx, shipment)
    ctx.put(replace(shipment, state=ShipmentState.DELIVERED))
    ctx.emit(Delivered(shipment=shipment.shipment, time_ms=args.time_ms))
