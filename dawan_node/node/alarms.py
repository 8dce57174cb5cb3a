"""What a replica reports, in the node's log; and whose fault it can be when a result differs from the quorum's.

A node whose result differs stops voting on that channel and on no other. Its operator must know which module to look
at, so the block is executed once more: a module that depends on more than the ledger gives itself away when the second
result is another one than the first. If both are equal, the modules whose state the block changed are named; then this
node's code or disk is not like the others', or theirs is not like anybody's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from dawan_node.consensus.ready import Alarm, AlarmKind
from dawan_node.execution.channel import GOVERNANCE, REPLAY_COLLECTION
from dawan_node.execution.executor import Execution
from dawan_node.node.applier import Applier, UnknownBranch
from dawan_node.node.bodies import Bodies
from dawan_node.node.logs import fields
from dawan_node.node.runtime import Jobs
from dawan_node.primitives.transaction import Transaction

log = logging.getLogger(__name__)

_CALM: Final = (AlarmKind.NEW_VIEW, AlarmKind.EPOCH)


class Executes(Protocol):
    """What ``examined`` needs of an applier."""

    def execute_twice(self, block_hash: bytes, transactions: Sequence[Transaction]) -> tuple[Execution, Execution]:
        """The execution at hand and a new one. Raises UnknownBranch."""
        ...


class Alarms:
    """Of one channel."""

    def __init__(self, channel: str, applier: Applier, bodies: Bodies, worker: Jobs) -> None:
        self._channel: Final = channel
        self._applier: Final = applier
        self._bodies: Final = bodies
        self._worker: Final = worker
        #: Why this node's result differs, in a sentence; empty while none does.
        self.divergence = ""

    def report(self, alarms: Sequence[Alarm]) -> None:
        """Log them. A result that differs is looked into, in the worker."""
        for alarm in alarms:
            details = dict(alarm.fields)
            level = logging.INFO if alarm.kind in _CALM else logging.WARNING
            log.log(level, alarm.kind.value, extra=fields(channel=self._channel, why=alarm.text, **details))
            body = self._bodies.get(bytes.fromhex(str(details.get("block", ""))))
            if alarm.kind is AlarmKind.QUARANTINE and body is not None:
                job = partial(examined, self._applier, body.block_hash, body.transactions)
                self._worker.submit(job, partial(self._examined, int(details["height"])))

    def _examined(self, height: int, found: str | None) -> None:
        if found is None:
            return
        self.divergence = f"block {height} came out differently here than at the quorum: {found}"
        log.error("module_diverged", extra=fields(channel=self._channel, height=height, why=found))


def examined(applier: Executes, block_hash: bytes, transactions: Sequence[Transaction]) -> str | None:
    """Which modules can have made the result of a block another one; None when it cannot be executed any more."""
    try:
        first, second = applier.execute_twice(block_hash, transactions)
    except UnknownBranch:
        return None
    return blame(first, second, transactions)


def blame(first: Execution, second: Execution, transactions: Sequence[Transaction]) -> str:
    """Name the modules behind two executions of one block that a quorum executed differently."""
    unstable = {
        tx.body.module
        for tx, one, other in zip(transactions, first.receipts, second.receipts, strict=True)
        if one != other
    }
    unstable |= {
        key[0]
        for key in first.changes.state.keys() | second.changes.state.keys()
        if first.changes.state.get(key) != second.changes.state.get(key)
    }
    if unstable:
        return f"executed twice, module {_listed(unstable)} gave two results"
    changed = {
        module
        for module, collection, _ in first.changes.state
        if (module, collection) != (GOVERNANCE, REPLAY_COLLECTION)
    }
    changed |= {tx.body.module for tx in transactions}
    return f"it comes from module {_listed(changed)}, whose code or data here is not the quorum's"


def _listed(modules: set[str]) -> str:
    return ", ".join(sorted(modules))
