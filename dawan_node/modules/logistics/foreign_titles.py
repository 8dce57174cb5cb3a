"""Titles kept on another channel: the goods leave when *that* channel's record says that the carrier has the bill.

The carrier books the shipment with the source channel that keeps the title. Delivery then takes two proofs from there,
which anybody may bring: the title, surrendered for delivery, and the enrolment that says whose bills those are. That a
title was surrendered stays true for ever; whose they are can be voted anew, so that proof is not older than the time of
the parameter ``lock.ttl``. Each serves one shipment.
"""

from __future__ import annotations

from dawan_node.execution.module import ANY_ROLE, Args, Context, ShortText, key_of, replace
from dawan_node.modules.light_client import Client
from dawan_node.modules.light_client.clients import Proof
from dawan_node.modules.logistics.checks import live_shipment
from dawan_node.modules.logistics.declaration import DocumentSurrendered, module
from dawan_node.modules.logistics.entities import ForeignTitle, Shipment
from dawan_node.modules.refdata import parameter
from dawan_node.modules.title import carrier_of, title_of
from dawan_node.modules.title.entities import Title
from dawan_node.primitives.light_client import Statement


class ProveSurrender(Args):
    """``title``, ``carrier``: StateProofs of the title and of its carrier's enrolment, both of the source channel."""

    shipment: ShortText
    title: Proof
    carrier: Proof


@module.command("prove_surrender", args=ProveSurrender, roles=ANY_ROLE)
def prove_surrender(ctx: Context, args: ProveSurrender) -> None:
    """Prove that a title kept on another channel was surrendered for delivery, or became paper there."""
    shipment = live_shipment(ctx, args.shipment)
    foreign = ctx.get(ForeignTitle, key_of(shipment.shipment))
    if foreign is None:
        ctx.fail("E_DOCUMENT")
    ctx.require(shipment.surrendered_ms == 0, "E_STATED")
    said: Statement = ctx.call("light_client", "consume", args.title, "surrender", shipment.shipment)
    _require_from(ctx, said, foreign, "title")
    title = title_of(said.value) if said.value is not None else None
    if title is None or title.primary_key() != said.key or title.document != shipment.document:
        ctx.fail("E_PROVEN")
    _require_issuer(ctx, args.carrier, foreign, shipment, title)
    if title.medium == "PAPER" and title.replaced_by == "":
        # From now on the original is for people to look at, and the carrier states that it has it.
        ctx.put(replace(foreign, title=title.title, on_paper=True, height=said.height))
        return
    ctx.require(title.state == "SURRENDERED_FOR_DELIVERY", "E_NOT_SURRENDERED")
    ctx.put(replace(foreign, title=title.title, height=said.height))
    ctx.put(replace(shipment, surrendered_ms=ctx.time_ms))
    ctx.emit(DocumentSurrendered(shipment=shipment.shipment, document=shipment.document))


def keep_elsewhere(ctx: Context, shipment: str, channel: str) -> None:
    """Record which source channel keeps the title of a shipment that is being booked."""
    ctx.require(ctx.runs("light_client"), "E_NO_REGISTER")
    client = ctx.get(Client, key_of(channel)) if channel else None
    ctx.require(client is not None and "title" in client.modules, "E_NO_REGISTER")
    ctx.put(ForeignTitle(shipment, channel, "", False, 0))


def _require_issuer(ctx: Context, proof: bytes, foreign: ForeignTitle, shipment: Shipment, title: Title) -> None:
    """The shipment's carrier is who issues under that code: nobody's goods leave against another carrier's bill."""
    oldest_ms = ctx.time_ms - parameter(ctx, "lock.ttl")
    purpose = f"carrier of {title.title}"
    said: Statement = ctx.call("light_client", "consume", proof, purpose, shipment.shipment, oldest_ms)
    _require_from(ctx, said, foreign, "carrier")
    carrier = carrier_of(said.value) if said.value is not None else None
    if carrier is None or carrier.primary_key() != said.key:
        ctx.fail("E_PROVEN")
    ctx.require((carrier.code, carrier.org) == (title.carrier, shipment.carrier), "E_PROVEN")


def _require_from(ctx: Context, said: Statement, foreign: ForeignTitle, collection: str) -> None:
    client = ctx.get(Client, key_of(foreign.channel))
    ctx.require(client is not None and client.chain_id == said.chain_id, "E_PROVEN")
    ctx.require((said.module, said.collection) == ("title", collection), "E_PROVEN")
