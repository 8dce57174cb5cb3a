"""Items: physical objects, in what they are packed, and the unbroken chain of who had them.

An item has one parent at a time. What is packed is in the custody of whoever has the outermost parent, so a hand-over
moves one record, however much is inside; each item's own chain says when it went into a parent and came out of it.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, ShortText, key_of, replace
from dawan_node.modules.logistics.declaration import ItemHandedOver, module
from dawan_node.modules.logistics.entities import Custody, CustodyKind, Item
from dawan_node.modules.logistics.event_form import ITEMS_MAX, Uri
from dawan_node.modules.logistics.gs1 import canonical_uri

#: Item in carton in case on pallet in container in vehicle is six.
DEPTH_MAX: Final = 8

HANDLERS: Final = (
    "carrier",
    "consignee",
    "customs",
    "depot",
    "forwarder",
    "shipper",
    "terminal",
    "trucker",
    "warehouse",
)


class HandOver(Args):
    """``to``: the organisation that takes them; empty withdraws the offer."""

    items: Annotated[list[Uri], Meta(min_length=1, max_length=ITEMS_MAX)]
    to: Annotated[str, Meta(max_length=32)]


class TakeOver(Args):
    items: Annotated[list[Uri], Meta(min_length=1, max_length=ITEMS_MAX)]
    from_org: ShortText


@module.command("hand_over", args=HandOver, roles=HANDLERS)
def hand_over(ctx: Context, args: HandOver) -> None:
    """Whoever has items hands them to another organisation, which has them once it takes them over."""
    ctx.require(args.to == "" or (args.to != ctx.sender.org and ctx.is_org(args.to)), "E_UNKNOWN_ORG")
    for epc in distinct(args.items):
        item = own_outermost(ctx, epc)
        ctx.call("kernel", "require_movable", epc)
        ctx.put(replace(item, handed_to=args.to))


@module.command("take_over", args=TakeOver, roles=HANDLERS)
def take_over(ctx: Context, args: TakeOver) -> None:
    """The organisation that items were handed to takes them: from now on it answers for them."""
    for epc in distinct(args.items):
        item = existing_item(ctx, epc)
        ctx.require(item.handed_to == ctx.sender.org and item.custodian == args.from_org, "E_NOT_OFFERED")
        ctx.call("kernel", "require_movable", epc)
        moved = replace(item, custodian=ctx.sender.org, handed_to="", last=b"")
        _enter(ctx, moved, "HANDED_OVER", item.custodian, ctx.sender.org, "", b"")
        ctx.emit(ItemHandedOver(item=epc, from_org=item.custodian, to_org=ctx.sender.org))


def distinct(uris: list[str]) -> list[str]:
    """The canonical spellings, each once, sorted."""
    return sorted(dict.fromkeys([canonical_uri(uri) for uri in uris]))


def existing_item(ctx: Context, epc: str) -> Item:
    """The item of a canonical identifier."""
    found = ctx.get(Item, key_of(epc))
    if found is None:
        ctx.fail("E_UNKNOWN_ITEM")
    return found


def own_item(ctx: Context, epc: str) -> Item:
    """An active item that the sender's organisation has, packed or not, and that is not being handed over."""
    item = existing_item(ctx, epc)
    ctx.require(item.state == "ACTIVE", "E_ITEM_STATE")
    outermost = outermost_of(ctx, item)
    ctx.require(outermost.custodian == ctx.sender.org, "E_NOT_CUSTODIAN")
    ctx.require(outermost.handed_to == "", "E_HANDED")
    return item


def own_outermost(ctx: Context, epc: str) -> Item:
    """As ``own_item``, not packed; one that is being handed over is allowed, so that the offer can be changed."""
    item = existing_item(ctx, epc)
    ctx.require(item.state == "ACTIVE", "E_ITEM_STATE")
    ctx.require(item.parent == "", "E_PACKED")
    ctx.require(item.custodian == ctx.sender.org, "E_NOT_CUSTODIAN")
    return item


def own_or_new(ctx: Context, epc: str, event: bytes) -> Item:
    """As ``own_item``; an item nobody saw before begins its chain with the sender's organisation."""
    return create(ctx, epc, event) if ctx.get(Item, key_of(epc)) is None else own_item(ctx, epc)


def create(ctx: Context, epc: str, event: bytes) -> Item:
    """A new item in the custody of the sender's organisation."""
    ctx.require(ctx.get(Item, key_of(epc)) is None, "E_ITEM_EXISTS")
    org = ctx.sender.org
    item = Item(epc, "", org, "", "ACTIVE", custody=0, levels=0, last=event)
    return _enter(ctx, item, "FIRST", "", org, "", event)


def has_children(ctx: Context, epc: str) -> bool:
    """Whether something is packed in the item."""
    return bool(ctx.scan(Item, "by_parent", (epc,), limit=1))


def outermost_of(ctx: Context, item: Item) -> Item:
    """The item that the given one is in, directly or through others, and that is in none itself."""
    for _ in range(DEPTH_MAX + 1):
        if item.parent:
            item = existing_item(ctx, item.parent)
    ctx.require(item.parent == "", "E_DEPTH")
    return item


def pack(ctx: Context, item: Item, parent: str, event: bytes) -> None:
    """Put an item of the sender's into a parent of the sender's; both were checked."""
    ctx.require(item.parent == "", "E_HAS_PARENT")
    ctx.call("kernel", "require_movable", item.epc)
    _raise_levels(ctx, item, parent)
    moved = replace(item, parent=parent, last=event)
    _enter(ctx, moved, "PACKED", item.custodian, item.custodian, parent, event)


def unpack(ctx: Context, item: Item, event: bytes) -> None:
    """Take an item out of its parent: whoever has the outermost parent has it."""
    custodian = outermost_of(ctx, item).custodian
    moved = replace(item, parent="", custodian=custodian, last=event)
    _enter(ctx, moved, "UNPACKED", custodian, custodian, item.parent, event)


def _raise_levels(ctx: Context, item: Item, parent: str) -> None:
    """Walk from the parent outwards: the item must not be met, and nothing become deeper than allowed."""
    above, levels = parent, item.levels + 1
    for _ in range(DEPTH_MAX + 1):
        if above:
            ctx.require(above != item.epc, "E_CYCLE")
            ctx.require(levels <= DEPTH_MAX, "E_DEPTH")
            outer = existing_item(ctx, above)
            if outer.levels < levels:
                ctx.put(replace(outer, levels=levels))
            above, levels = outer.parent, levels + 1
    ctx.require(above == "", "E_DEPTH")


def _enter(ctx: Context, item: Item, kind: CustodyKind, from_org: str, to_org: str, parent: str, event: bytes) -> Item:
    """Store the item with one more entry in its chain."""
    entry = Custody(item.epc, item.custody, kind, from_org, to_org, parent, ctx.time_ms, ctx.sender.name, event)
    ctx.put(entry)
    entered = replace(item, custody=item.custody + 1)
    ctx.put(entered)
    return entered
