"""How much of its clients' transactions a node lets wait: no more than its channel commits in two seconds.

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

#: What is let in is decided in about half as long again, because the pools of several nodes fill before they know of
#: each other. Much less would feed on itself: a transaction takes a second or more through a saturated network, and
#: where fewer wait than are under way the channel gets slower, is measured to be slower, and lets in less (with one
#: second half of the throughput was lost). Much more would be sent to all validators again before it is decided
#: (FORWARDED_MS of ``mempool_watch``), which costs as much as sending it the first time.
TARGET_MS: Final = 2_000

#: The speed that is assumed until one has been measured: the goal of design section 13. A client that sends a burst to
#: an idle channel has two seconds of it taken at once.
ASSUMED_PER_S: Final = 2_000

#: At least so many are let in however slow the channel is, a few calls of a client: while a view changes nothing is
#: committed, and the new primary should have something to propose.
SIZE_MIN: Final = 500

#: The speed is measured over so long a time ...
MEASURED_MS: Final = 2_000

#: ... and the best of the measurements of so long counts: a dip, or clients who pause, is no reason to let in less.
SPAN_MS: Final = 10_000

#: With less waiting than is committed in this time nothing holds the channel up, and its speed is that of its clients;
#: nor with so few, which may be no more than what is under way where the way is long.
IDLE_MS: Final = 250
IDLE_COUNT: Final = 125


class ClientWindow:
    """What one channel commits on this node, and how many of its clients' transactions may wait for it."""

    def __init__(self, count_max: int) -> None:
        """``count_max``: never more than so many, the size of the pool."""
        self._count_max: Final = count_max
        self._began_ms: int | None = None  # when the measurement began that is under way; None: nothing holds up
        self._count = 0  # decided since
        self._measured: deque[tuple[int, int]] = deque(maxlen=SPAN_MS // MEASURED_MS)  # (when, transactions a second)

    def decided(self, count: int, waiting: int, now_ms: int) -> None:
        """A block was decided that held ``count`` transactions of those that waited here, and ``waiting`` are left.

        On an observer that is its own clients' part of the channel: of the others' it hears in blocks only.
        """
        if self._began_ms is None:
            self._began_ms = now_ms  # what this block took is not known
        else:
            self._count += count
        elapsed_ms = now_ms - self._began_ms
        if elapsed_ms >= MEASURED_MS:
            self._measured.append((now_ms, self._count * 1_000 // elapsed_ms))
            self._began_ms, self._count = now_ms, 0
        per_s = self._measured[-1][1] if self._measured else 0
        if waiting < IDLE_COUNT or waiting * 1_000 < per_s * IDLE_MS:
            self._began_ms, self._count = None, 0
            self._measured.clear()

    def size(self, now_ms: int) -> int:
        """How many may wait now. It goes down when nothing is decided for long."""
        return min(self._count_max, max(SIZE_MIN, self.per_s(now_ms) * TARGET_MS // 1_000))

    def is_open(self, waiting: int, own: int, organisations: int, now_ms: int) -> bool:
        """Whether one more may come in: ``waiting`` are here, ``own`` of the sender's organisation, one of
        ``organisations`` (at least 1) that have something here."""
        size = self.size(now_ms)
        return waiting < size or own < max(1, size // organisations)

    def per_s(self, now_ms: int) -> int:
        """What the channel commits a second while it is held up; what is assumed of it while it is not."""
        if self._began_ms is None:
            return ASSUMED_PER_S
        recent = [per_s for at_ms, per_s in self._measured if now_ms - at_ms < SPAN_MS]
        if recent:
            return max(recent)
        elapsed_ms = now_ms - self._began_ms
        if elapsed_ms < SPAN_MS:
            return ASSUMED_PER_S  # nothing is known yet
        return self._count * 1_000 // elapsed_ms
