"""Locks for other modules: a credit or a financing that relies on a title binds it, and passes it on.

The owner of such a lock is the process, ``<module>:<process>``, which is the name of no identity: so only the module
that bound a title unbinds it, and a pledge never meets it. The calling module has decided that its sender may do this;
here is checked that the sender holds the title where it has to.
"""

from __future__ import annotations

from dawan_node.execution.module import Context, replace
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import (
    has_right,
    issued_title,
    own_title,
    recipient,
    require_entitled,
    require_movable,
)
from dawan_node.modules.title.declaration import TitleTransferred, module
from dawan_node.modules.title.endorsements import require_endorsable
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO, Title


@module.export("bind")
def bind(ctx: Context, title: str, process: str, until_ms: int = 0, recipients: tuple[str, ...] = ()) -> None:
    """Bind a title, held by the sender who has the right, to a process of the calling module, until a time.

    ``recipients``: to whom it may be passed on; checked now, so that nothing of the title prevents it later. Fails as
    ``transfer_title``, with E_NOT_ENDORSEE, and with the kernel's E_LOCKED, E_ASSET_FROZEN, E_LOCK_TIME.
    """
    found = bindable(ctx, title, recipients)
    ctx.call("kernel", "lock", found.title, f"{ctx.caller}:{process}", ctx.caller, until_ms)


@module.export("is_bound")
def is_bound(ctx: Context, title: str, process: str) -> bool:
    """Whether a title is bound to a process of the calling module now."""
    lock = live_lock(ctx, "title", title)
    return lock is not None and lock.owner == f"{ctx.caller}:{process}"


@module.export("require_bound")
def require_bound(ctx: Context, title: str, process: str) -> None:
    """Fail with E_NOT_BOUND unless a title is bound to a process of the calling module now."""
    ctx.require(is_bound(ctx, title, process), "E_NOT_BOUND")


@module.export("require_passable")
def require_passable(ctx: Context, title: str, process: str) -> None:
    """Fail with the kernel's E_ASSET_FROZEN, or E_LOCKED, when a title cannot pass on by a process of the calling
    module now."""
    ctx.call("kernel", "require_movable", title, f"{ctx.caller}:{process}")


@module.export("unbind")
def unbind(ctx: Context, title: str, process: str) -> None:
    """Give the lock of a process of the calling module back. Fails with the kernel's E_NOT_LOCKED."""
    ctx.call("kernel", "release", title, f"{ctx.caller}:{process}")


@module.export("pass_on")
def pass_on(ctx: Context, title: str, process: str, to: str) -> None:
    """Pass a title bound to a process of the calling module to ``to``, possession and right, and unbind it.

    What a credit does on honour. A ``to`` that is revoked by now gets it all the same. Fails with E_STATE,
    E_UNKNOWN_PARTY, E_PARTY_ROLE, E_STRAIGHT, E_NO_FURTHER_ENDORSEMENT, E_NOT_LOCKED.
    """
    found = issued_title(ctx, title)
    ctx.call("kernel", "release", title, f"{ctx.caller}:{process}")
    hand_to(ctx, found, to)


def bindable(ctx: Context, title: str, recipients: tuple[str, ...]) -> Title:
    """A title of the sender, who has the right, that nothing binds and that can pass to each of ``recipients``."""
    found = own_title(ctx, title)
    ctx.require(has_right(found, ctx.sender.name), "E_NOT_ENDORSEE")
    require_movable(ctx, found)
    if recipients:
        require_endorsable(ctx, found)
    for name in recipients:
        recipient(ctx, name)
    return found


def hand_to(ctx: Context, found: Title, to: str) -> None:
    """Possession and right to ``to``, for the holder, by a process that the holder bound the title to.

    ``to`` may have been revoked since it paid. Were it refused, the title would stay bound until the lock's end, up to
    a year, and then be free in the hands of whoever was paid for it.
    """
    require_movable(ctx, found)
    require_entitled(ctx, to)
    require_endorsable(ctx, found)
    endorsed = record(
        ctx,
        replace(found, endorsee=to, negotiable=True, nominee="", pledge=NO_PLEDGE, undo=NO_UNDO),
        "ENDORSE_TO_ORDER",
        to,
        on_behalf_of=found.holder,
    )
    record(ctx, replace(endorsed, holder=to), "TRANSFER", to, on_behalf_of=found.holder)
    ctx.emit(TitleTransferred(title=found.title, from_holder=found.holder, to_holder=to))
