"""Error declarations: an event was wrong, says the one who captured it. The event stays, with what is said about it.

EPCIS never deletes: an error declaration names the event by its hash and, where there are any, the corrective events
(EPCIS 2.0 section 7.4.1.4). What the event did to items is undone if nothing was built on it since; else it is refused,
and the later events come first.
"""

from __future__ import annotations

from typing import Annotated

from dawan_node.execution.module import Args, Context, Hash32, Meta, key_of, replace
from dawan_node.modules.logistics.capture import CAPTURERS
from dawan_node.modules.logistics.declaration import EventDeclaredErroneous, module
from dawan_node.modules.logistics.entities import EventRecord, Item
from dawan_node.modules.logistics.items import existing_item, has_children, own_item, pack, unpack
from dawan_node.modules.logistics.vocabulary import ERROR_REASON, canonical_word

#: Corrective events of one declaration; a wrong event is nearly always one other.
CORRECTIVE_MAX = 10


class DeclareError(Args):
    """``reason``: a CBV error reason such as ``incorrect_data``; ``corrective``: hashes of the events that replace it,
    captured before."""

    event: Hash32
    reason: Annotated[str, Meta(max_length=160)] = ""
    corrective: Annotated[list[Hash32], Meta(max_length=CORRECTIVE_MAX)] = []  # noqa: RUF012 - msgspec copies it


@module.command("declare_error", args=DeclareError, roles=CAPTURERS)
def declare_error(ctx: Context, args: DeclareError) -> None:
    """The capturer declares an event erroneous; what it did to items is undone unless others built on it."""
    event = ctx.get(EventRecord, key_of(args.event))
    if event is None:
        ctx.fail("E_UNKNOWN_EVENT")
    ctx.require(event.org == ctx.sender.org, "E_NOT_CAPTURER")
    corrective = tuple(sorted(dict.fromkeys(args.corrective)))
    if event.declared_ms and event.corrective == corrective:
        # The same declaration again, as a message that is sent twice.
        return
    ctx.require(event.declared_ms == 0, "E_ERRONEOUS")
    for digest in corrective:
        other = ctx.get(EventRecord, key_of(digest))
        named = other is not None and other.org == event.org and other.declared_ms == 0
        ctx.require(named and digest != event.digest, "E_CORRECTIVE")
    _undo(ctx, event)
    reason = canonical_word(args.reason, ERROR_REASON)
    ctx.put(replace(event, declared_ms=ctx.time_ms, reason=reason, corrective=corrective))
    ctx.emit(EventDeclaredErroneous(event=event.digest, reason=reason))


def _undo(ctx: Context, event: EventRecord) -> None:
    items = [existing_item(ctx, epc) for epc in event.items]
    ctx.require(all(item.last == event.digest for item in items), "E_RELIED_ON")
    packs = event.kind in ("AggregationEvent", "AssociationEvent")
    for item in items:
        if packs and event.action == "ADD":
            own_item(ctx, item.epc)
            unpack(ctx, item, event.digest)
        elif packs:
            ctx.require(item.handed_to == "", "E_RELIED_ON")
            own_item(ctx, item.epc)
            own_item(ctx, event.parent)
            pack(ctx, item, event.parent, event.digest)
        else:
            _reverse(ctx, item, event)


def _reverse(ctx: Context, item: Item, event: EventRecord) -> None:
    """What was made or commissioned was not, what was consumed or retired is there again."""
    ctx.require(item.custodian == ctx.sender.org, "E_NOT_CUSTODIAN")
    ctx.require(item.handed_to == "" and not has_children(ctx, item.epc), "E_RELIED_ON")
    ctx.put(replace(item, state="GONE" if item.state == "ACTIVE" else "ACTIVE"))
