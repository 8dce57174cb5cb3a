"""Tells those who wait that blocks were committed: transaction waiters now, event subscriptions later.

Published last, after the block is durable in the store (design section 3): whoever hears of a transaction can read
its receipt. Single-threaded: everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.receipt import Receipt

# One waiting RPC call per transaction at the connection caps of the RPC server, times the batch size of 500; beyond
# that a submission returns "accepted" at once and the client polls.
WAITERS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """A block that is durable in the store."""

    header: Header
    block_hash: bytes
    result: Result
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """Where one transaction ended up."""

    block_hash: bytes
    receipt: Receipt


class EventBus:
    """Futures of committed transactions."""

    def __init__(self) -> None:
        self._waiters: dict[bytes, list[asyncio.Future[Committed]]] = {}
        self._count = 0
        self._is_closed = False

    def wait_for(self, tx_id: bytes) -> asyncio.Future[Committed] | None:
        """A future of the commit of ``tx_id``; None when too many already wait, or nothing will be committed here."""
        if self._is_closed or self._count >= WAITERS_MAX:
            return None
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(tx_id, []).append(future)
        self._count += 1
        return future

    def forget(self, tx_id: bytes, future: asyncio.Future[Committed]) -> None:
        """Stop waiting, for example after a time-out."""
        waiting = self._waiters.get(tx_id)
        if waiting is None or future not in waiting:
            return
        waiting.remove(future)
        self._count -= 1
        if not waiting:
            del self._waiters[tx_id]

    def publish(self, block: CommittedBlock) -> None:
        """Resolve whoever waits for a transaction of ``block``."""
        if not self._waiters:
            return
        for receipt in block.receipts:
            for future in self._waiters.pop(receipt.tx_id, ()):
                self._count -= 1
                if not future.done():
                    future.set_result(Committed(block.block_hash, receipt))

    def close(self) -> None:
        """Cancel all waiting, now and from now on: nothing more is committed here."""
        self._is_closed = True
        for futures in self._waiters.values():
            for future in futures:
                future.cancel()
        self._waiters.clear()
        self._count = 0
