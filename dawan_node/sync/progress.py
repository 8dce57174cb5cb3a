"""How fast catch-up goes and how long it will take, in whole numbers, over the last half minute."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: The speed is that of this long: what happened before says little about blocks of another size.
WINDOW_MS: Final = 30_000

#: A sample at most this often; so thirty are kept.
_SAMPLE_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Blocks per second over the window, rounded down, and whole seconds left, rounded up; None while unknown."""

    blocks_per_s: int
    eta_s: int | None


class Progress:
    """Heights at times. Feed it while catch-up is active, ``stop`` it when not."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque()

    def at(self, height: int, now_ms: int) -> None:
        """The chain here has reached ``height``."""
        if self._samples and now_ms - self._samples[-1][0] < _SAMPLE_MS:
            return
        self._samples.append((now_ms, height))
        while len(self._samples) > 2 and now_ms - self._samples[1][0] >= WINDOW_MS:
            self._samples.popleft()

    def stop(self) -> None:
        """Catch-up is over; the next one has a speed of its own."""
        self._samples.clear()

    def rate(self, height: int, target: int, now_ms: int) -> Rate:
        """The speed up to now, at ``height``, and how long ``target`` is away at that speed."""
        if not self._samples:
            return Rate(0, None)
        began_ms, began = self._samples[0]
        elapsed_ms, done = now_ms - began_ms, height - began
        if elapsed_ms <= 0 or done <= 0:
            return Rate(0, None)
        left = max(0, target - height)
        return Rate(1_000 * done // elapsed_ms, -(-left * elapsed_ms // (1_000 * done)))
