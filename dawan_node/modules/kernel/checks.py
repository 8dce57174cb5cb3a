"""Checks that the kernel's functions share."""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context

#: Names of assets, owners and orders; two of them and a module's name fit a key of 256 bytes.
NAME_BYTES_MAX: Final = 100
REASON_CHARS_MAX: Final = 200


def require_name(ctx: Context, *names: str) -> None:
    """Texts that become parts of keys: not empty, not too long for one, without the two bytes that keys escape."""
    ctx.require(all(0 < len(name.encode()) <= NAME_BYTES_MAX for name in names), "E_NAME_FORM")
    ctx.require(all("\x00" not in name and "\x01" not in name for name in names), "E_NAME_FORM")


def require_reason(ctx: Context, reason: str) -> None:
    """A sentence for people."""
    ctx.require(0 < len(reason) <= REASON_CHARS_MAX, "E_NAME_FORM")


def require_module(ctx: Context, module: str) -> None:
    """A module of this channel."""
    ctx.require(module in [entry.name for entry in ctx.genesis.genesis.modules], "E_UNKNOWN_MODULE")


def require_orgs(ctx: Context, orgs: tuple[str, ...], most: int, reason: str) -> None:
    """1 to ``most`` different active organisations, at least."""
    ctx.require(0 < len(orgs) <= most and len(dict.fromkeys(orgs)) == len(orgs), reason)
    ctx.require(all(ctx.is_org(org) for org in orgs), reason)
