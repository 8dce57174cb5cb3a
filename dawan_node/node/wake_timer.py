"""The timer of a task that sleeps until something comes in, or a moment is reached.

Nearly every sleep of a busy task ends by an input, long before its moment. A timer made for each sleep and cancelled
after it costs more than the turn it was made for, so one is left standing for the next sleeps: as long as it rings
early enough it serves them too. It may ring for nothing now and then, and who is woken looks at the time anyhow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final


class WakeTimer:
    """Belongs to the running event loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """``wake`` is called when the timer rings."""
        self._wake: Final = wake
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at_s = 0.0

    def ring_within(self, delay_ms: int) -> None:
        """Ring after ``delay_ms`` at the latest, and perhaps before."""
        loop = asyncio.get_running_loop()
        at_s = loop.time() + delay_ms / 1000
        if self._handle is not None:
            if self._rings_at_s <= at_s:
                return
            self._handle.cancel()
        self._rings_at_s = at_s
        self._handle = loop.call_at(at_s, self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._wake()
