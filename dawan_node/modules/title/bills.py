"""The part of a transport document that stands on chain, checked where it enters.

Forms and check digits are checked; whether a port exists is not, because the alliance's table holds the ports of the
Bay Area and the main ones, and bills go everywhere. Numbers that the carrier's own people type in must have right
check digits; in a document that another platform sends, a box whose digit does not fit is kept with a warning
(domain.md 1.2).
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from dawan_node.execution.module import Args, Context, Date, Hash32, Meta, ShortText, is_date
from dawan_node.modules.identifiers import container_number, imo_number
from dawan_node.modules.title.checks import Party, eligible
from dawan_node.modules.title.entities import Bill, Box

#: A bill for a whole barge of boxes; more are several bills. Each is an index entry.
BOXES_MAX: Final = 100

_REFERENCE: Final = re.compile("[A-Z0-9][A-Z0-9-]{0,19}")
_SUB_REFERENCE: Final = re.compile("[A-Za-z0-9-]{0,20}")
_PORT: Final = re.compile("[A-Z]{2}[A-Z2-9]{3}")
_BOX_TYPE: Final = re.compile("[A-Z0-9]{4}")
_VOYAGE: Final = re.compile("[ -~]{0,50}")
_FOREIGN: Final = re.compile("[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}")


class BoxArgs(Args):
    """``number``: ISO 6346; ``type``: its code there, ``22G1``."""

    number: Annotated[str, Meta(min_length=11, max_length=20)]
    type: Annotated[str, Meta(min_length=4, max_length=4)]


class BillArgs(Args):
    """A DCSA transport document as far as the chain needs it; ``kind`` is ``transportDocumentTypeCode``.

    ``vessel`` is the IMO number, empty when not known yet; ``shipper`` and ``consignee`` are identities of the channel.
    """

    to_order: bool
    shipper: Annotated[str, Meta(min_length=1, max_length=60)]
    port_of_loading: Annotated[str, Meta(min_length=5, max_length=5)]
    port_of_discharge: Annotated[str, Meta(min_length=5, max_length=5)]
    shipped_on: Date
    kind: Literal["BOL", "SWB"] = "BOL"
    sub_reference: Annotated[str, Meta(max_length=20)] = ""
    consignee: Party = ""
    vessel: Annotated[str, Meta(max_length=10)] = ""
    voyage: Annotated[str, Meta(max_length=50)] = ""
    boxes: Annotated[list[BoxArgs], Meta(max_length=BOXES_MAX)] = []  # noqa: RUF012 - msgspec copies it
    freight: Literal["PRE", "COL"] = "PRE"


class DocumentArgs(Args):
    """The document off chain, for the kernel's registry: ``digest`` is the hash of salt and payload; ``readers`` are
    organisations."""

    digest: Hash32
    size: int
    readers: Annotated[list[ShortText], Meta(min_length=1, max_length=64)]
    retain_until: Date


def reference(ctx: Context, text: str) -> str:
    """A transport document reference in its one spelling: ASCII letters become capitals."""
    ctx.require(text.isascii(), "E_REFERENCE")
    upper = text.upper()
    ctx.require(_REFERENCE.fullmatch(upper) is not None, "E_REFERENCE")
    return upper


def own_bill(ctx: Context, args: BillArgs) -> Bill:
    """The bill of a carrier of this channel: both parties are on it, every check digit fits."""
    eligible(ctx, args.shipper)
    if args.consignee:
        eligible(ctx, args.consignee)
    bill = _bill(ctx, args, args.shipper)
    ctx.require(all(box.consistent for box in bill.boxes), "E_CONTAINER")
    return bill


def foreign_bill(ctx: Context, args: BillArgs, platform: str) -> Bill:
    """A bill that another platform sends; its shipper is a customer there, and stands under the platform's code, so
    that it is nobody of this channel."""
    ctx.require(_FOREIGN.fullmatch(args.shipper) is not None, "E_UNKNOWN_PARTY")
    if args.consignee:
        eligible(ctx, args.consignee)
    return _bill(ctx, args, f"{platform}:{args.shipper}")


def register(ctx: Context, document: DocumentArgs) -> None:
    """Enter the document in the kernel's registry."""
    ctx.call(
        "kernel",
        "register_document",
        document.digest,
        document.size,
        "application/json",
        "DCSA:EBL:3.0.0:TransportDocument",
        tuple(document.readers),
        document.retain_until,
    )


def _bill(ctx: Context, args: BillArgs, shipper: str) -> Bill:
    ctx.require(args.kind == "BOL", "E_WAYBILL")
    ctx.require(_SUB_REFERENCE.fullmatch(args.sub_reference) is not None, "E_REFERENCE")
    for port in (args.port_of_loading, args.port_of_discharge):
        ctx.require(_PORT.fullmatch(port) is not None, "E_PORT")
    ctx.require(_VOYAGE.fullmatch(args.voyage) is not None, "E_VOYAGE")
    ctx.require(is_date(args.shipped_on), "E_DATE")
    if not args.to_order:
        ctx.require(args.consignee not in ("", shipper), "E_CONSIGNEE")
    boxes = tuple([_box(ctx, box) for box in args.boxes])
    ctx.require(len({box.number for box in boxes}) == len(boxes), "E_CONTAINER")
    return Bill(
        sub_reference=args.sub_reference,
        to_order=args.to_order,
        shipper=shipper,
        consignee=args.consignee,
        port_of_loading=args.port_of_loading,
        port_of_discharge=args.port_of_discharge,
        vessel=_vessel(ctx, args.vessel),
        voyage=args.voyage,
        boxes=boxes,
        shipped_on=args.shipped_on,
        freight=args.freight,
    )


def _box(ctx: Context, args: BoxArgs) -> Box:
    found = container_number(args.number)
    if found is None:
        ctx.fail("E_CONTAINER")
    ctx.require(_BOX_TYPE.fullmatch(args.type) is not None, "E_CONTAINER_TYPE")
    return Box(found.number, args.type, found.is_consistent)


def _vessel(ctx: Context, text: str) -> str:
    if not text:
        return ""
    found = imo_number(text)
    if found is None or not found.is_consistent:
        ctx.fail("E_VESSEL")
    return found.number
