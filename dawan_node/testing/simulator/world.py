"""Time and chance: one queue of events, one clock, one seeded generator.

Whatever happens in a simulation happens because the queue said so, in an order that depends on the seed alone. The
``trace_hash`` is a hash over everything that happened; equal seeds give equal hashes in any process.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

#: More events than any sound run has: a run that needs more is caught in a circle.
EVENTS_MAX: Final = 3_000_000


class Violation(AssertionError):
    """Something that must never happen did."""


class World:
    """The clock is in milliseconds from 0. ``counts`` says how often each kind of fault was really injected."""

    def __init__(self, seed: int, transcript: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0
        self.events = 0
        self.counts: Counter[str] = Counter()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._trace = hashlib.blake2b(digest_size=16)
        self._transcript = transcript

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do ``action`` after ``delay_ms``; events of one moment keep their order."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay_ms, self._sequence, action))

    def run(self, duration_ms: int) -> None:
        """Let ``duration_ms`` pass."""
        self.run_until(None, duration_ms)

    def run_until(self, condition: Callable[[], bool] | None, limit_ms: int) -> bool:
        """Let time pass until ``condition`` holds, looked at every 50 ms; whether it did within ``limit_ms``."""
        end = self.now + limit_ms
        look_at = self.now
        queue = self._queue
        while True:
            if condition is not None and self.now >= look_at:
                if condition():
                    return True
                look_at = self.now + 50
            if not queue or queue[0][0] > end:
                self.now = end
                return condition is not None and condition()
            self.now, _, action = heapq.heappop(queue)
            self.events += 1
            if self.events > EVENTS_MAX:
                raise Violation(f"more than {EVENTS_MAX} events: something runs in a circle")
            action()

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases; draws nothing for 0."""
        return percent > 0 and self.random.random() * 100 < percent

    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``: ``randint`` at a third of its price."""
        return low + int(self.random.random() * (high - low + 1))

    def note(self, what: str, payload: bytes = b"") -> None:
        """Enter an event into the trace."""
        self._trace.update(b"%d %s" % (self.now, what.encode()))
        if payload:
            self._trace.update(payload)

    def say(self, text: str) -> None:
        """A line for whoever reads the transcript. Where it happens often, ask ``is_told`` first."""
        if self._transcript is not None:
            self._transcript(f"{self.now / 1000:10.3f}  {text}")

    @property
    def is_told(self) -> bool:
        """Whether somebody reads the transcript."""
        return self._transcript is not None

    @property
    def trace_hash(self) -> str:
        """A hash over everything that happened."""
        return self._trace.hexdigest()
