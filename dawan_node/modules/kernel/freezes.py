"""Freezes: a court forbids that an asset moves. A freeze blocks and never moves value; it has a reference and an end.

Several orders can bind one asset; it is free when none is in force. Only the organisation that recorded an order lifts
it. Modules ask with ``require_movable`` before an asset moves, so a freeze also stops the owner of a lock.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Args, Context, Instant, ShortText, key_of, replace
from dawan_node.modules.kernel.checks import require_module, require_name
from dawan_node.modules.kernel.declaration import Freeze, Frozen, Unfrozen, module
from dawan_node.modules.kernel.locks import AssetName, Reason

#: The longest freeze of movables before a court renews it ([K], mainland practice: two years, three for real estate).
FREEZE_MS_MAX: Final = 3 * 366 * 24 * 3_600_000


class FreezeAsset(Args):
    """``order``: the court's reference, recorded once per asset."""

    module: ShortText
    asset: AssetName
    order: AssetName
    reason: Reason
    until_ms: Instant


class LiftFreeze(Args):
    module: ShortText
    asset: AssetName
    order: AssetName


@module.command("freeze_asset", args=FreezeAsset, roles=("court",))
def freeze_asset(ctx: Context, args: FreezeAsset) -> None:
    """A court forbids that an asset moves until a time."""
    require_module(ctx, args.module)
    require_name(ctx, args.asset, args.order)
    ctx.require(ctx.time_ms < args.until_ms <= ctx.time_ms + FREEZE_MS_MAX, "E_FREEZE_TIME")
    ctx.require(ctx.get(Freeze, key_of(args.module, args.asset, args.order)) is None, "E_ORDER")
    ctx.put(
        Freeze(
            module=args.module,
            asset=args.asset,
            order=args.order,
            reason=args.reason,
            ordered_by=ctx.sender.name,
            org=ctx.sender.org,
            since_ms=ctx.time_ms,
            until_ms=args.until_ms,
        )
    )
    ctx.emit(Frozen(module=args.module, asset=args.asset, order=args.order, until_ms=args.until_ms))


@module.command("lift_freeze", args=LiftFreeze, roles=("court",))
def lift_freeze(ctx: Context, args: LiftFreeze) -> None:
    """The court that ordered a freeze ends it before its time; the record stays."""
    found = ctx.get(Freeze, key_of(args.module, args.asset, args.order))
    if found is None or found.until_ms <= ctx.time_ms:
        ctx.fail("E_NOT_ORDERED")
    ctx.require(found.org == ctx.sender.org, "E_NOT_ORDERING")
    ctx.put(replace(found, until_ms=ctx.time_ms))
    ctx.emit(Unfrozen(module=args.module, asset=args.asset, order=args.order))
