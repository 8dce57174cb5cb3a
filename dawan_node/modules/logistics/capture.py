"""Capture of EPCIS events: what was seen or done, where, by whom, under the event's own hash.

The hash makes a capture idempotent: the same event again, in whatever spelling, changes nothing. An organisation
captures at its own read points, or about what it has in custody; only who has an item changes what it is packed in.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from dawan_node.execution.module import Args, Context, Meta, ShortText, key_of, replace
from dawan_node.modules.logistics.declaration import EventCaptured, module
from dawan_node.modules.logistics.entities import EventRecord, Item, ReadPoint
from dawan_node.modules.logistics.event_form import ITEMS_MAX, REPORTS_IN_ALL_MAX, EventForm, Uri
from dawan_node.modules.logistics.event_hash import are_rows, event_digest
from dawan_node.modules.logistics.gs1 import canonical_uri
from dawan_node.modules.logistics.items import (
    HANDLERS,
    create,
    distinct,
    existing_item,
    has_children,
    outermost_of,
    own_item,
    own_or_new,
    pack,
    unpack,
)
from dawan_node.modules.logistics.vocabulary import BIZ_STEP, DISPOSITION, canonical_word
from dawan_node.modules.refdata import parameter

CAPTURERS: Final = (*HANDLERS, "inspector", "iot_provider")
#: Clocks of scanners and of validators differ; more than this is a wrong date. Parameter ``logistics.skew``.
SKEW_MS: Final = 5 * 60_000


class RegisterReadPoint(Args):
    """A location of the sender's organisation, usually a GLN: ``https://id.gs1.org/414/4012345000115``."""

    uri: Uri


class ReassignReadPoint(Args):
    uri: Uri
    org: ShortText


class CaptureEvent(Args):
    """``digest``: the event hash the sender computed; refused when it is another, so that nobody is surprised."""

    event: EventForm
    digest: Annotated[bytes, Meta(max_length=32)] = b""


@module.command("register_read_point", args=RegisterReadPoint, roles=CAPTURERS)
def register_read_point(ctx: Context, args: RegisterReadPoint) -> None:
    """An organisation says that it operates a place; the first to say so, until the alliance decides otherwise."""
    uri = canonical_uri(args.uri)
    ctx.require(ctx.get(ReadPoint, key_of(uri)) is None, "E_READ_POINT_TAKEN")
    ctx.put(ReadPoint(uri, ctx.sender.org, ctx.sender.name, ctx.time_ms))


@module.command("reassign_read_point", args=ReassignReadPoint, roles=("alliance_admin",))
def reassign_read_point(ctx: Context, args: ReassignReadPoint) -> None:
    """The alliance gives a place that was registered by the wrong organisation to the right one."""
    found = ctx.get(ReadPoint, key_of(canonical_uri(args.uri)))
    if found is None:
        ctx.fail("E_READ_POINT")
    ctx.require(ctx.is_org(args.org), "E_UNKNOWN_ORG")
    ctx.put(replace(found, org=args.org, registered_by=ctx.sender.name, since_ms=ctx.time_ms))


@module.command("capture_event", args=CaptureEvent, roles=CAPTURERS)
def capture_event(ctx: Context, args: CaptureEvent) -> None:
    """Record an EPCIS event; the same event again changes nothing."""
    event = args.event
    ctx.require(_is_well_formed(event), "E_EVENT_FORM")
    digest = event_digest(event)
    ctx.require(args.digest in (b"", digest), "E_HASH")
    known = ctx.get(EventRecord, key_of(digest))
    if known is not None:
        ctx.require(known.org == ctx.sender.org, "E_CAPTURED")
        ctx.require(known.declared_ms == 0, "E_ERRONEOUS")
        return
    require_not_future(ctx, event.time_ms)
    ctx.require(_may_capture(ctx, event), "E_READ_POINT" if event.read_point else "E_NOT_CUSTODIAN")
    items = _apply(ctx, event, digest)
    record = EventRecord(
        digest=digest,
        kind=event.kind,
        action=event.action,
        time_ms=event.time_ms,
        offset=event.offset,
        recorded_ms=ctx.time_ms,
        captured_by=ctx.sender.name,
        org=ctx.sender.org,
        biz_step=canonical_word(event.biz_step, BIZ_STEP),
        disposition=canonical_word(event.disposition, DISPOSITION),
        read_point=canonical_uri(event.read_point),
        biz_location=canonical_uri(event.biz_location),
        parent=canonical_uri(event.parent),
        epcs=tuple(_objects(event)),
        items=tuple(items),
        transactions=tuple(distinct([entry.id for entry in event.biz_transactions])),
        declared_ms=0,
        reason="",
        corrective=(),
    )
    ctx.put(record)
    ctx.emit(
        EventCaptured(
            event=digest, kind=event.kind, action=event.action, biz_step=record.biz_step, time_ms=event.time_ms
        )
    )


def require_not_future(ctx: Context, time_ms: int) -> None:
    """What happened did not happen later than now, give or take the clocks."""
    ctx.require(time_ms <= ctx.time_ms + parameter(ctx, "logistics.skew", SKEW_MS), "E_EVENT_FUTURE")


def _objects(event: EventForm) -> list[str]:
    """Every object and class the event names, for queries."""
    classes = [*event.quantities, *event.child_quantities, *event.input_quantities, *event.output_quantities]
    named = [*event.epcs, *event.children, *event.inputs, *event.outputs, *[entry.epc_class for entry in classes]]
    return distinct([*named, event.parent] if event.parent else named)


def _is_well_formed(event: EventForm) -> bool:
    """Whether the event has what its kind must have and nothing its kind cannot have (EPCIS 2.0 section 7.4)."""
    packs = event.kind in ("AggregationEvent", "AssociationEvent")
    transforms = event.kind == "TransformationEvent"
    plain = bool(event.epcs or event.quantities)
    inside = bool(event.children or event.child_quantities)
    changed = [event.inputs, event.input_quantities, event.outputs, event.output_quantities]
    if sum([len(element.reports) for element in event.sensors]) > REPORTS_IN_ALL_MAX:
        return False
    if not (are_rows(event.ilmd) and are_rows(event.extensions)) or len(_objects(event)) > ITEMS_MAX:
        return False
    if transforms:
        # Inputs and outputs of one transformation may come in several events that share its identifier.
        complete = any(changed[:2]) and any(changed[2:])
        bare = not (event.action or plain or inside or event.parent)
        return bare and (complete or bool(event.transformation and any(changed)))
    if event.action == "" or any(changed) or event.transformation:
        return False
    if packs:
        # Only an observation may leave the parent out; only an unpacking may mean everything that is inside.
        return not plain and bool(event.parent or event.action == "OBSERVE") and (inside or event.action == "DELETE")
    if event.kind == "ObjectEvent":
        return plain and not inside and not event.parent
    return bool(event.biz_transactions) and not inside and bool(plain or event.parent)


def _may_capture(ctx: Context, event: EventForm) -> bool:
    """At a read point of one's own, or about items one has."""
    org = ctx.sender.org
    if event.read_point:
        point = ctx.get(ReadPoint, key_of(canonical_uri(event.read_point)))
        return point is not None and point.org == org
    known = [item for item in [ctx.get(Item, key_of(epc)) for epc in _objects(event)] if item is not None]
    return bool(known) and all(outermost_of(ctx, item).custodian == org for item in known)


def _apply(ctx: Context, event: EventForm, digest: bytes) -> list[str]:
    """Change the items as the event says; those that changed."""
    if event.kind == "TransformationEvent":
        return _transform(ctx, distinct(event.inputs), distinct(event.outputs), digest)
    if event.kind in ("AggregationEvent", "AssociationEvent"):
        if event.action == "ADD":
            return _pack_all(ctx, canonical_uri(event.parent), distinct(event.children), digest)
        if event.action == "DELETE":
            # An unpacking that names only quantities of classes takes no item out.
            named = bool(event.children or event.child_quantities)
            return _unpack_all(ctx, canonical_uri(event.parent), distinct(event.children), named, digest)
        return []
    if event.kind == "ObjectEvent" and event.action == "ADD":
        return [create(ctx, epc, digest).epc for epc in distinct(event.epcs)]
    if event.kind == "ObjectEvent" and event.action == "DELETE":
        return [_retire(ctx, epc, "GONE", digest) for epc in distinct(event.epcs)]
    return []


def _pack_all(ctx: Context, parent: str, children: list[str], digest: bytes) -> list[str]:
    own_or_new(ctx, parent, digest)
    for epc in children:
        ctx.require(epc != parent, "E_CYCLE")
        pack(ctx, own_or_new(ctx, epc, digest), parent, digest)
    return children


def _unpack_all(ctx: Context, parent: str, children: list[str], named: bool, digest: bytes) -> list[str]:
    own_item(ctx, parent)
    if not named:
        inside = ctx.scan(Item, "by_parent", (parent,), limit=ITEMS_MAX + 1)
        ctx.require(len(inside) <= ITEMS_MAX, "E_TOO_MANY")
        children = [item.epc for item in inside]
    for epc in children:
        item = existing_item(ctx, epc)
        ctx.require(item.parent == parent, "E_NOT_PACKED")
        unpack(ctx, item, digest)
    return children


def _transform(ctx: Context, inputs: list[str], outputs: list[str], digest: bytes) -> list[str]:
    for epc in inputs:
        _retire(ctx, epc, "CONSUMED", digest)
    return [*inputs, *[create(ctx, epc, digest).epc for epc in outputs]]


def _retire(ctx: Context, epc: str, state: Literal["CONSUMED", "GONE"], digest: bytes) -> str:
    item = own_item(ctx, epc)
    ctx.require(item.parent == "", "E_PACKED")
    ctx.require(not has_children(ctx, epc), "E_NOT_EMPTY")
    ctx.call("kernel", "require_movable", epc)
    ctx.put(replace(item, state=state, last=digest))
    return epc
