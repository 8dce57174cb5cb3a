"""Bindings: a title that a process here keeps from going anywhere else until what it waits for has happened.

A presentation binds the titles that come with its documents (``titles``), a claim for reimbursement those that it
forwards (``handovers``). In the register of this channel that is a lock of the module ``title``, on another channel a
reservation, to which a commitment here answers. What becomes of either is done here alike.
"""

from __future__ import annotations

from dawan_node.execution.module import Context
from dawan_node.modules.lc.entities import BoundTitle, ForwardedTitle

Binding = BoundTitle | ForwardedTitle


def is_there(ctx: Context, binding: Binding) -> bool:
    """Whether the title is bound still: a lock ends by itself in the end, and so does a commitment."""
    if binding.channel:
        passable: bool = ctx.call("light_client", "is_passable", binding.commitment)
        return passable
    there: bool = ctx.call("title", "is_bound", binding.title, binding.presentation)
    return there


def let_go(ctx: Context, binding: Binding) -> None:
    """The title is free again in the hands of whoever bound it."""
    if binding.channel:
        ctx.call("light_client", "conclude", binding.commitment)
    elif ctx.call("title", "is_bound", binding.title, binding.presentation):
        ctx.call("title", "unbind", binding.title, binding.presentation)


def pass_to(ctx: Context, binding: Binding, to: str, house: str) -> None:
    """The title is ``to``'s, at once here. On another channel it is, by a proof of this, of the organisation of
    ``house``: who of it gets the title is said there."""
    if binding.channel:
        ctx.call("light_client", "conclude", binding.commitment, org_of(ctx, house))
    else:
        ctx.call("title", "pass_on", binding.title, binding.presentation, to)


def org_of(ctx: Context, name: str) -> str:
    """The organisation of an identity, empty when there is none of that name."""
    identity = ctx.identity(name)
    return "" if identity is None else identity.org
