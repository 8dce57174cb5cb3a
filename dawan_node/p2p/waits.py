"""How long to wait for what usually comes, learnt from how long it took.

Pure. As TCP computes its retransmission time-out (RFC 6298): the smoothed time, and four times its smoothed deviation.
Whoever is always as punctual is missed soon, whoever is now early, now late, gets more time; in integers throughout.
"""

from __future__ import annotations

from typing import Final

#: Smoothed values are kept in so many parts of a millisecond, so that small steps are not lost to division.
_PARTS: Final = 64


class Wait:
    """One kind of event's usual delay in milliseconds, and how long to wait for it."""

    __slots__ = ("_deviation", "_first_ms", "_max_ms", "_min_ms", "_usual")

    def __init__(self, first_ms: int, min_ms: int, max_ms: int) -> None:
        """Wait ``first_ms`` while nothing is known; never less than ``min_ms`` nor more than ``max_ms`` after that."""
        self._first_ms = first_ms
        self._min_ms = min_ms
        self._max_ms = max_ms
        self._usual: int | None = None
        self._deviation = 0

    def note(self, took_ms: int) -> None:
        """It took so long this time; less than nothing counts as nothing, more than the longest wait as that."""
        took = _PARTS * max(0, min(took_ms, self._max_ms))
        if self._usual is None:
            self._usual, self._deviation = took, took // 2
            return
        self._deviation += (abs(took - self._usual) - self._deviation) // 4
        self._usual += (took - self._usual) // 8

    @property
    def ms(self) -> int:
        """How long to wait."""
        if self._usual is None:
            return self._first_ms
        return max(self._min_ms, min(self._max_ms, (self._usual + 4 * self._deviation) // _PARTS))
