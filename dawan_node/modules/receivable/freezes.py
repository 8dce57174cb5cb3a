"""A court's freeze (``kernel``): what is frozen does not change hands, is not financed, split, pledged or paid out.

Asked on a channel that runs the kernel, under the rules of version 2 (``rules``); the refusal is the kernel's
``E_ASSET_FROZEN``. A freeze of a voucher binds its parts too, so splitting first is no way out. It blocks and never
moves value: claims run on, a holder may still say that it was not paid, offers may be taken back, locks end as they
would, and what was paid in spite of it is attested when the order is over.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, sha256
from dawan_node.modules.receivable.entities import Financing
from dawan_node.modules.receivable.rules import strict

#: Names in the kernel have so many bytes; an asset with a longer identifier is frozen under the hex of its SHA-256.
NAME_BYTES_MAX: Final = 100


def require_unfrozen(ctx: Context, asset: str) -> None:
    """No court forbids that an invoice or a declaration moves. Fails with the kernel's E_ASSET_FROZEN."""
    if ctx.runs("kernel") and strict(ctx):
        ctx.call("kernel", "require_movable", freeze_name(asset))


def require_voucher_unfrozen(ctx: Context, voucher: str) -> None:
    """Neither a voucher nor one that it is a part of is frozen. Fails with the kernel's E_ASSET_FROZEN."""
    if ctx.runs("kernel") and strict(ctx):
        parts = voucher.split(".")
        for end in range(len(parts), 0, -1):
            ctx.call("kernel", "require_movable", freeze_name(".".join(parts[:end])))


def require_asset_unfrozen(ctx: Context, financing: Financing) -> None:
    """What secures a financing is not frozen. Fails with the kernel's E_ASSET_FROZEN."""
    if financing.presented:
        require_unfrozen(ctx, financing.asset)
    else:
        # The eighteen digits of a declaration have no dot: one name.
        require_voucher_unfrozen(ctx, financing.asset)


def freeze_name(asset: str) -> str:
    """What a court writes into ``freeze_asset`` for the voucher, invoice or declaration of this identifier; the kernel
    calls parties and subject of a payment so, too."""
    data = asset.encode()
    fits = len(data) <= NAME_BYTES_MAX and b"\x00" not in data and b"\x01" not in data
    return asset if fits else sha256(data).hex()
