"""Locks for other modules: a credit or a financing that relies on a title binds it, and passes it on.

The owner of such a lock is the process, ``<module>:<process>``, which is the name of no identity: so only the module
that bound a title unbinds it, and a pledge never meets it. The calling module has decided that its sender may do this;
here is checked that the sender holds the title where it has to.
"""

from __future__ import annotations

from dawan_node.execution.module import Context, replace
from dawan_node.modules.title.chain import record
from dawan_node.modules.title.checks import eligible, has_right, issued_title, own_title, require_movable
from dawan_node.modules.title.declaration import TitleTransferred, module
from dawan_node.modules.title.endorsements import require_endorsable
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO


@module.export("bind")
def bind(ctx: Context, title: str, process: str, until_ms: int = 0) -> None:
    """Bind a title, held by the sender who has the right, to a process of the calling module, until a time.

    Fails as ``transfer_title``, with E_NOT_ENDORSEE, and with the kernel's E_LOCKED, E_ASSET_FROZEN, E_LOCK_TIME.
    """
    found = own_title(ctx, title)
    ctx.require(has_right(found, ctx.sender.name), "E_NOT_ENDORSEE")
    require_movable(ctx, found)
    ctx.call("kernel", "lock", found.title, f"{ctx.caller}:{process}", ctx.caller, until_ms)


@module.export("unbind")
def unbind(ctx: Context, title: str, process: str) -> None:
    """Give the lock of a process of the calling module back. Fails with the kernel's E_NOT_LOCKED."""
    ctx.call("kernel", "release", title, f"{ctx.caller}:{process}")


@module.export("pass_on")
def pass_on(ctx: Context, title: str, process: str, to: str) -> None:
    """Pass a title bound to a process of the calling module to ``to``, possession and right, and unbind it.

    What a credit does on honour. Fails with E_STATE, E_PARTY_ROLE, E_STRAIGHT, E_NO_FURTHER_ENDORSEMENT, E_NOT_LOCKED.
    """
    found = issued_title(ctx, title)
    ctx.call("kernel", "release", title, f"{ctx.caller}:{process}")
    require_movable(ctx, found)
    eligible(ctx, to)
    require_endorsable(ctx, found)
    endorsed = record(
        ctx,
        replace(found, endorsee=to, negotiable=True, nominee="", pledge=NO_PLEDGE, undo=NO_UNDO),
        "ENDORSE_TO_ORDER",
        to,
        on_behalf_of=found.holder,
    )
    record(ctx, replace(endorsed, holder=to), "TRANSFER", to, on_behalf_of=found.holder)
    ctx.emit(TitleTransferred(title=title, from_holder=found.holder, to_holder=to))
