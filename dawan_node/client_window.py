"""How much of its clients' transactions a node lets wait: no more than its channel commits in a second.

A queue does not make a channel faster. What clients offer beyond its speed waits longer and longer, is sent again by
everybody (consensus.md 1.6), costs every node work, and in the end expires. So a node measures what its channel commits
and keeps the wait short: beyond that, clients are told to come back (1002) before anything expensive is done for them.

**Fair shares.** As in the pool (``Mempool``, rule 3), but of the window: an organisation within its part, the window
divided by the number of organisations that have something waiting, is let in although the window is used up. So an
organisation that sends a little is not told to come back because another one sends a lot.

**Only clients.** What peers gossip has been let in by the node that took it; refusing it here would only leave the
pools of the validators unlike each other, and the primary without it. For that the pool's own limits hold.

This is a node's own decision about its own clients. It is not consensus: nothing here reaches a block, and nodes may
decide differently. Pure: times are arguments, in milliseconds of a clock that does not go back. Issue 6.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: What is let in is decided in about so long. The pools of several nodes fill before they know of each other, so it
#: may become two or three times as much, and it should be decided before it would be sent to all validators again
#: (FORWARDED_MS of ``mempool_watch``), which costs as much as sending it the first time. Whoever is within its fair
#: part waits as long, because all that is let in is soon in flight.
TARGET_MS: Final = 1_000

#: The speed that is assumed until one has been measured: the goal of design section 13. A client that sends a burst to
#: an idle channel has two seconds of it taken at once.
ASSUMED_PER_S: Final = 2_000

#: At least so many are let in however slow the channel is, a few calls of a client: while a view changes nothing is
#: committed, and the new primary should have something to propose.
SIZE_MIN: Final = 250

#: The speed is that of so long a time; several view changes' worth of blocks on an ordinary day.
SPAN_MS: Final = 5_000

#: A speed measured over less says little: a few blocks.
MEASURED_MS_MIN: Final = 1_000

#: With less waiting than is committed in this time nothing holds the channel up, and its speed is that of its clients.
IDLE_MS: Final = 250

#: Blocks whose times are kept; with a block every 10 ms the span.
BLOCKS_MAX: Final = 512


class ClientWindow:
    """What one channel commits on this node, and how many of its clients' transactions may wait for it."""

    def __init__(self, count_max: int) -> None:
        """``count_max``: never more than so many, the size of the pool."""
        self._count_max: Final = count_max
        self._blocks: deque[tuple[int, int]] = deque()  # (when, how many transactions), the oldest first
        self._counted = 0  # in all of them but the first, whose time only begins the measurement

    def decided(self, count: int, waiting: int, now_ms: int) -> None:
        """A block of ``count`` transactions was decided, and ``waiting`` are left."""
        blocks = self._blocks
        if blocks:
            self._counted += count
        blocks.append((now_ms, count))
        while len(blocks) > 2 and (len(blocks) > BLOCKS_MAX or now_ms - blocks[1][0] >= SPAN_MS):
            blocks.popleft()
            self._counted -= blocks[0][1]
        elapsed_ms = now_ms - blocks[0][0]
        is_idle = elapsed_ms >= IDLE_MS and waiting * elapsed_ms < self._counted * IDLE_MS
        if is_idle or not waiting:
            blocks.clear()
            self._counted = 0

    def size(self, now_ms: int) -> int:
        """How many may wait now. It goes down while nothing is decided."""
        per_s = ASSUMED_PER_S
        if self._blocks:
            elapsed_ms = now_ms - self._blocks[0][0]
            if elapsed_ms >= MEASURED_MS_MIN:
                per_s = self._counted * 1_000 // elapsed_ms
        return min(self._count_max, max(SIZE_MIN, per_s * TARGET_MS // 1_000))

    def is_open(self, waiting: int, own: int, organisations: int, now_ms: int) -> bool:
        """Whether one more may come in: ``waiting`` are here, ``own`` of the sender's organisation, one of
        ``organisations`` (at least 1) that have something here."""
        size = self.size(now_ms)
        return waiting < size or own < max(1, size // organisations)
