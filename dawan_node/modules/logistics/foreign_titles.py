"""Titles kept on another channel: the goods leave when *that* channel's record says that the carrier has the bill.

The carrier books the shipment with the source channel that keeps the title. Delivery then takes two proofs from there,
which anybody may bring: the title, surrendered for delivery, and the enrolment that says whose bills those are. That a
title was surrendered stays true for ever; whose they are can be voted anew, so that proof is not older than the time of
the parameter ``lock.ttl``. What is proven is used once for a shipment. One document has one shipment of its carrier
that is not cancelled, so it delivers no other cargo, and it is not lost with a booking that was cancelled.

That a bill is paper does not stay true: the carrier can restore it, and then somebody holds it. So the carrier's
statement that it has the paper brings a proof of minutes ago.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import ANY_ROLE, Args, Context, ShortText, decoded, key_of, replace
from dawan_node.modules.light_client import Client
from dawan_node.modules.light_client.clients import Proof
from dawan_node.modules.logistics.checks import live_shipment
from dawan_node.modules.logistics.declaration import DocumentSurrendered, module
from dawan_node.modules.logistics.entities import ForeignTitle, Shipment
from dawan_node.modules.refdata import parameter
from dawan_node.modules.title.entities import Carrier, Title
from dawan_node.primitives.light_client import Statement

#: Age of the proof that a bill is paper. Long enough to fetch it from there and send it with clocks that differ; a bill
#: that is restored and sold takes longer than that.
PAPER_PROOF_MS_MAX: Final = 600_000


class ProveSurrender(Args):
    """``title``, ``carrier``: StateProofs of the title and of its carrier's enrolment, both of the source channel."""

    shipment: ShortText
    title: Proof
    carrier: Proof


@module.command("prove_surrender", args=ProveSurrender, roles=ANY_ROLE)
def prove_surrender(ctx: Context, args: ProveSurrender) -> None:
    """Prove that a title kept on another channel was surrendered for delivery."""
    shipment = live_shipment(ctx, args.shipment)
    foreign = ctx.get(ForeignTitle, key_of(shipment.shipment))
    if foreign is None:
        ctx.fail("E_DOCUMENT")
    ctx.require(shipment.surrendered_ms == 0, "E_STATED")
    title, said = _proven(ctx, shipment, foreign, args.title, args.carrier, 0)
    ctx.require(title.state == "SURRENDERED_FOR_DELIVERY", "E_NOT_SURRENDERED")
    ctx.put(replace(foreign, title=title.title, height=said.height))
    ctx.put(replace(shipment, surrendered_ms=ctx.time_ms))
    ctx.emit(DocumentSurrendered(shipment=shipment.shipment, document=shipment.document))


def require_paper(ctx: Context, shipment: Shipment, title: bytes, carrier: bytes) -> None:
    """The carrier says that it has the paper: proven is that the bill is paper, and was so a few minutes ago."""
    foreign = ctx.get(ForeignTitle, key_of(shipment.shipment))
    if foreign is None or title == b"" or carrier == b"":
        ctx.fail("E_KEPT_THERE")
    found, said = _proven(ctx, shipment, foreign, title, carrier, ctx.time_ms - PAPER_PROOF_MS_MAX)
    ctx.require(found.medium == "PAPER" and found.replaced_by == "", "E_KEPT_THERE")
    ctx.put(replace(foreign, title=found.title, on_paper=True, height=said.height))


def surrender_purpose(shipment: str) -> str:
    """For what the proof of a title is used up."""
    return f"surrender {shipment}"


def keep_elsewhere(ctx: Context, shipment: str, channel: str) -> None:
    """Record which source channel keeps the title of a shipment that is being booked."""
    ctx.require(ctx.runs("light_client"), "E_NO_REGISTER")
    client = ctx.get(Client, key_of(channel)) if channel else None
    ctx.require(client is not None and "title" in client.modules, "E_NO_REGISTER")
    ctx.put(ForeignTitle(shipment, channel, "", False, 0))


def _proven(
    ctx: Context, shipment: Shipment, foreign: ForeignTitle, proof: bytes, carrier: bytes, oldest_ms: int
) -> tuple[Title, Statement]:
    """The shipment's own title as the channel that keeps it has it, and what says so."""
    purpose = surrender_purpose(shipment.shipment)
    said: Statement = ctx.call("light_client", "consume", proof, purpose, shipment.shipment, oldest_ms)
    _require_from(ctx, said, foreign, "title")
    title = decoded(Title, said.value) if said.value is not None else None
    if title is None or title.primary_key() != said.key or title.document != shipment.document:
        ctx.fail("E_PROVEN")
    _require_issuer(ctx, carrier, foreign, shipment, title)
    return title, said


def _require_issuer(ctx: Context, proof: bytes, foreign: ForeignTitle, shipment: Shipment, title: Title) -> None:
    """The shipment's carrier is who issues under that code: nobody's goods leave against another carrier's bill."""
    oldest_ms = ctx.time_ms - parameter(ctx, "lock.ttl")
    purpose = f"carrier for {shipment.shipment}"
    said: Statement = ctx.call("light_client", "consume", proof, purpose, shipment.shipment, oldest_ms)
    _require_from(ctx, said, foreign, "carrier")
    carrier = decoded(Carrier, said.value) if said.value is not None else None
    if carrier is None or carrier.primary_key() != said.key:
        ctx.fail("E_PROVEN")
    ctx.require((carrier.code, carrier.org) == (title.carrier, shipment.carrier), "E_PROVEN")


def _require_from(ctx: Context, said: Statement, foreign: ForeignTitle, collection: str) -> None:
    client = ctx.get(Client, key_of(foreign.channel))
    ctx.require(client is not None and client.chain_id == said.chain_id, "E_PROVEN")
    ctx.require((said.module, said.collection) == ("title", collection), "E_PROVEN")
