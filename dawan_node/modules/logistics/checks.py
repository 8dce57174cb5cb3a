"""Checks that several commands share. Each returns the checked thing or fails with a reason of the error table."""

from __future__ import annotations

import re
from typing import Final

from dawan_node.execution.module import Context, QueryContext, key_of
from dawan_node.modules.identifiers import container_number, imo_number
from dawan_node.modules.logistics.entities import Declaration, DeclarationState, Shipment, ShipmentState

_REFERENCE: Final = re.compile("[A-Z0-9][A-Z0-9-]{0,39}")
_PLACE: Final = re.compile("[A-Z]{2}[A-Z2-9]{3}")
#: Declarations of one shipment that are looked at: a shipment crosses two borders, each out and in, often in parts.
DECLARATIONS_MAX: Final = 100
#: Answers of the module ``title`` about a document: not kept on this channel, switched to paper, surrendered; any other
#: means that somebody holds it.
UNKNOWN: Final = "UNKNOWN"
PAPER: Final = "PAPER"
SURRENDERED: Final = "SURRENDERED"


def reference(ctx: Context, text: str) -> str:
    """A party's own number in its one spelling: ASCII letters become capitals."""
    ctx.require(text.isascii(), "E_REFERENCE")
    upper = text.upper()
    ctx.require(_REFERENCE.fullmatch(upper) is not None, "E_REFERENCE")
    return upper


def place_code(ctx: Context, text: str) -> str:
    """A UN/LOCODE by its form; the table on chain holds the Bay Area and main ports only, so it cannot refuse."""
    ctx.require(_PLACE.fullmatch(text) is not None, "E_PLACE")
    return text


def container(ctx: Context, text: str) -> tuple[str, bool]:
    """A container in its one spelling, and whether its check digit fits."""
    found = container_number(text)
    if found is None:
        ctx.fail("E_EQUIPMENT")
    return found.number, found.is_consistent


def vessel_number(ctx: Context, text: str) -> str:
    """An IMO number by its form; a wrong check digit in a carrier's message does not make it another ship."""
    found = imo_number(text)
    if found is None:
        ctx.fail("E_VESSEL")
    return found.number


def existing_shipment(ctx: Context, shipment: str) -> Shipment:
    """The shipment of that identifier."""
    found = ctx.get(Shipment, key_of(shipment))
    if found is None:
        ctx.fail("E_UNKNOWN_SHIPMENT")
    return found


def live_shipment(ctx: Context, shipment: str) -> Shipment:
    """A shipment that is neither delivered nor cancelled."""
    found = existing_shipment(ctx, shipment)
    ctx.require(found.state not in (ShipmentState.DELIVERED, ShipmentState.CANCELLED), "E_STATE")
    return found


def terminal_at(shipment: Shipment, place: str) -> str:
    """The organisation that handles the shipment at a place; empty when none was named."""
    found = [terminal.org for terminal in shipment.terminals if terminal.place == place]
    return found[0] if found else ""


def is_released(ctx: Context | QueryContext, shipment: str, jurisdiction: str) -> bool:
    """Whether customs of the place of discharge released every import declaration of the shipment that counts."""
    found = ctx.page(Declaration, "by_shipment", (shipment, jurisdiction), limit=DECLARATIONS_MAX).items
    imports = [
        declaration.state
        for declaration in found
        if declaration.regime == "IMPORT"
        and declaration.state not in (DeclarationState.DRAFT, DeclarationState.CANCELLED)
    ]
    return bool(imports) and all(state in (DeclarationState.RELEASED, DeclarationState.CLOSED) for state in imports)


def title_status(ctx: Context, document: str, carrier: str) -> str:
    """What the module ``title`` says of a document that ``carrier`` issued; a channel without it keeps none."""
    status: str = ctx.call("title", "delivery_status", document, carrier) if ctx.runs("title") else UNKNOWN
    return status


def require_deliverable(ctx: Context, shipment: Shipment) -> None:
    """Fail unless the goods may leave: title surrendered, customs released, nothing held, lost or frozen."""
    ctx.require(shipment.hold == "", "E_HELD")
    ctx.require(shipment.condition != "LOST", "E_CONDITION")
    ctx.call("kernel", "require_movable", shipment.shipment)
    ctx.require(_is_surrendered(ctx, shipment), "E_NOT_SURRENDERED")
    ctx.require(is_released(ctx, shipment.shipment, shipment.jurisdiction), "E_NOT_RELEASED")


def _is_surrendered(ctx: Context, shipment: Shipment) -> bool:
    """A waybill needs no surrender; a bill of this channel is asked for, one of another channel proven, another
    platform's stated by the carrier."""
    if shipment.document_kind != "BOL":
        return True
    if shipment.registry == "OTHER_CHANNEL":
        return shipment.surrendered_ms > 0
    kept = title_status(ctx, shipment.document, shipment.carrier)
    return shipment.surrendered_ms > 0 if is_kept_elsewhere(shipment, kept) else kept == SURRENDERED


def is_kept_elsewhere(shipment: Shipment, kept: str) -> bool:
    """Whether the carrier's word counts: a bill booked as another register's that is none of ours, or one on paper."""
    return kept == PAPER or (shipment.registry == "ELSEWHERE" and kept == UNKNOWN)
