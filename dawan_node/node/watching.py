"""The primary under watch: what the pool's watch says reaches the replica, the log and the other validators."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from typing import Final

from dawan_node.consensus.replica import Replica
from dawan_node.mempool import Mempool
from dawan_node.mempool_watch import MempoolWatch
from dawan_node.node.clock import Clock
from dawan_node.node.logs import fields
from dawan_node.primitives.transaction import Transaction

log = logging.getLogger(__name__)

#: How often the pool is looked at while something waits in it.
WATCH_MS: Final = 250


class Watching:
    """Part of one channel's driver, which alone calls it."""

    def __init__(
        self,
        channel: str,
        replica: Replica,
        pool: Mempool,
        watch: MempoolWatch,
        clock: Clock,
        again: Callable[[Sequence[Transaction]], None],
    ) -> None:
        """``again`` sends transactions to all validators once more (amendment L7)."""
        self._channel: Final = channel
        self._replica: Final = replica
        self._pool: Final = pool
        self._watch: Final = watch
        self._clock: Final = clock
        self._again: Final = again
        self._due_ms = 0
        self._has_spoken = False  # the replica was told something that an empty pool takes back

    def due_ms(self) -> int | None:
        """When to look, on the monotonic clock; None while there is nothing to look at."""
        return self._due_ms if len(self._pool) or self._has_spoken else None

    def look(self, in_flight: Sequence[Set[bytes]], block_time_ms: int, bytes_max: int) -> None:
        """Look if it is time; the arguments are those of ``MempoolWatch.look``."""
        at_ms, due_ms = self._clock.monotonic_ms(), self.due_ms()
        if due_ms is None or at_ms < due_ms:
            return
        self._due_ms = at_ms + WATCH_MS
        replica, now_ms = self._replica, self._clock.wall_ms()
        look = self._watch.look(replica.view, block_time_ms, bytes_max, in_flight, now_ms)
        replica.work_pending(look.has_work, now_ms)
        replica.complain(bool(look.left_out), now_ms)
        self._has_spoken = look.has_work or bool(look.left_out)
        if look.send:
            self._again(look.send)
        if look.complains and replica.primary != replica.own_index:
            log.warning(
                "transactions_left_out",
                extra=fields(
                    channel=self._channel,
                    primary=replica.primary,
                    transactions=len(look.left_out),
                    first=look.left_out[0].tx_id.hex(),
                ),
            )

    def link_up(self, validator: int) -> None:
        """A validator's link is up."""
        now_ms = self._clock.wall_ms()
        self._replica.link_up(validator, now_ms)
        if validator == self._replica.primary:
            self._watch.primary_returned(now_ms)
