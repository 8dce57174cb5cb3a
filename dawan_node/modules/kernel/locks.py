"""Exclusive locks: while one lives, nobody but its owner moves the asset.

One live lock per asset, always with an end, so that no process that died holds an asset for ever. It ends when the
owner releases it, when its time is over (by block time, without a transaction), or by a court's order.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, ShortText, key_of
from dawan_node.modules.kernel.checks import NAME_BYTES_MAX, REASON_CHARS_MAX, require_name, require_reason
from dawan_node.modules.kernel.declaration import Lock, Locked, Released, module
from dawan_node.modules.kernel.lookups import is_frozen, live_lock
from dawan_node.modules.refdata import parameter

#: The longest financing a title or a receivable secures runs a year (domain.md 1.5, voucher.term.hard).
LOCK_MS_MAX: Final = 366 * 24 * 3_600_000

AssetName = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES_MAX)]
Reason = Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX)]


class OrderRelease(Args):
    """``module`` and ``asset``: what is locked; ``order``: the court's reference."""

    module: ShortText
    asset: AssetName
    order: AssetName


@module.export("lock")
def lock(ctx: Context, asset: str, owner: str, reason: str, until_ms: int = 0) -> None:
    """Lock an asset of the calling module for ``owner``; ``until_ms`` 0: for the time of the parameter ``lock.ttl``.

    An owner that has the lock may set its end anew. Fails with E_LOCKED, E_ASSET_FROZEN, E_LOCK_TIME, E_NAME_FORM.
    """
    require_name(ctx, asset, owner)
    require_reason(ctx, reason)
    require_movable(ctx, asset, owner)
    end_ms = until_ms or ctx.time_ms + parameter(ctx, "lock.ttl")
    ctx.require(ctx.time_ms < end_ms <= ctx.time_ms + LOCK_MS_MAX, "E_LOCK_TIME")
    ctx.put(Lock(ctx.caller, asset, owner, reason, ctx.time_ms, end_ms))
    ctx.emit(Locked(module=ctx.caller, asset=asset, owner=owner, until_ms=end_ms))


@module.export("release")
def release(ctx: Context, asset: str, owner: str) -> None:
    """The owner gives the lock back. Fails with E_NOT_LOCKED when it has none that lives."""
    found = live_lock(ctx, ctx.caller, asset)
    if found is None or found.owner != owner:
        ctx.fail("E_NOT_LOCKED")
    _end(ctx, found, owner)


@module.export("require_movable")
def require_movable(ctx: Context, asset: str, owner: str = "") -> None:
    """Fail with E_ASSET_FROZEN or, unless ``owner`` has the lock, E_LOCKED. Modules ask before an asset moves."""
    ctx.require(not is_frozen(ctx, ctx.caller, asset), "E_ASSET_FROZEN")
    found = live_lock(ctx, ctx.caller, asset)
    ctx.require(found is None or found.owner == owner, "E_LOCKED")


@module.command("order_release", args=OrderRelease, roles=("court",))
def order_release(ctx: Context, args: OrderRelease) -> None:
    """A court ends a lock; its order stands in the event and nothing else moves."""
    found = live_lock(ctx, args.module, args.asset)
    if found is None:
        ctx.fail("E_NOT_LOCKED")
    _end(ctx, found, args.order)


def _end(ctx: Context, found: Lock, by: str) -> None:
    ctx.delete(Lock, key_of(found.module, found.asset))
    ctx.emit(Released(module=found.module, asset=found.asset, by=by))
