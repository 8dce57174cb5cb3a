"""Reading the kernel's records: what other modules import from here, with ``uses=("kernel",)``."""

from __future__ import annotations

from dawan_node.execution.module import Context, QueryContext, key_of
from dawan_node.modules.kernel.declaration import Freeze, Lock, Question

Reader = Context | QueryContext


def live_lock(ctx: Reader, module: str, asset: str) -> Lock | None:
    """The lock that binds an asset now."""
    lock = ctx.get(Lock, key_of(module, asset))
    return lock if lock is not None and ctx.time_ms < lock.until_ms else None


def is_frozen(ctx: Reader, module: str, asset: str) -> bool:
    """Whether an order in force now forbids to move an asset."""
    longest = ctx.page(Freeze, "by_asset", (module, asset), limit=1).items
    return bool(longest) and ctx.time_ms < longest[0].until_ms


def settled_answer(ctx: Reader, module: str, name: str) -> str | None:
    """The answer to a question that nothing can change any more; None while it is open, disputable or disputed."""
    question = ctx.get(Question, key_of(module, name))
    if question is None:
        return None
    if question.state == "RESOLVED":
        return question.answer
    settled = question.state == "AGREED" and ctx.time_ms >= question.agreed_ms + question.dispute_ms
    return question.answer if settled else None
