"""Where time comes from. Everything below the node takes times as arguments, so tests turn the clock by hand.

Two clocks, never mixed: ``wall_ms`` is UTC and may jump (block timestamps, validity windows), ``monotonic_ms`` only
moves forward (timers, round trips, rates).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Milliseconds as integers."""

    def wall_ms(self) -> int:
        """UTC since 1970."""
        ...

    def monotonic_ms(self) -> int:
        """Since some fixed moment; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def now(self) -> datetime:
        """The same as a datetime, for the validity of certificates."""
        return datetime.now(UTC)

    def monotonic_ms(self) -> int:
        """See Clock."""
        return time.monotonic_ns() // 1_000_000
