"""Virtual time for asyncio: hours of timers in seconds, in an order that depends on nothing but a seed.

``VirtualLoop`` never sleeps: when nothing is left to do at this moment its clock jumps to the next timer.
``threads_of`` makes stand-ins for ``ThreadPoolExecutor``: a job takes effect when it begins, on the loop's own thread,
and its outcome is delivered a little later. So a crash in between leaves what a crash leaves on a real machine, a
write that happened and that nobody knows of, and two runs with one seed are the same run.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

T = TypeVar("T")


class EverybodyWaits(AssertionError):
    """No timer is set and nothing is left to do: the program would hang for ever."""


class _JumpingSelector(selectors.SelectSelector):
    """Waits by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise EverybodyWaits("nobody will ever wake this loop")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own, from 0 s."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def _write_to_self(self) -> None:
        """Nobody wakes this loop from another thread."""


def run_virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


@dataclass(slots=True)
class VirtualClock:
    """``node.clock.Clock`` on the running loop; ``start_ms`` is what the wall clock showed when the loop began."""

    start_ms: int

    def wall_ms(self) -> int:
        return self.start_ms + self.monotonic_ms()

    def monotonic_ms(self) -> int:
        # The loop's time is a sum of floats; a millionth of a millisecond makes 5.999999 the 6 that was meant.
        return int(asyncio.get_running_loop().time() * 1000 + 1e-6)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ms() / 1000, UTC)


class VirtualThread:
    """One worker thread without a thread; stands where ``ThreadPoolExecutor(1)`` does."""

    def __init__(self, source: random.Random, longest_ms: int) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._source: Final = source
        self._longest_ms: Final = longest_ms
        self._jobs: deque[Callable[[], None]] = deque()
        self._runs = False
        self._is_dead = False

    def submit(self, job: Callable[..., T], /, *args: Any) -> Future[T]:
        future: Future[T] = Future()

        def begin() -> None:
            try:
                outcome = job(*args)
            except BaseException as error:  # noqa: BLE001 - a future carries whatever the job raised
                self._later(lambda error=error: future.set_exception(error))  # type: ignore[misc]
            else:
                self._later(lambda: future.set_result(outcome))

        if not self._is_dead:
            self._jobs.append(begin)
            self._next()
        return future

    def die(self) -> None:
        """The power is gone: nothing waiting is run and no outcome is delivered."""
        self._is_dead = True
        self._jobs.clear()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._jobs.clear()
        while self._jobs:
            self._jobs.popleft()()
        self._is_dead = True

    def _next(self) -> None:
        if not self._runs and self._jobs:
            self._runs = True
            # Begun in a turn of its own, as a thread is: whoever submits goes on first.
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        if self._jobs:
            self._jobs.popleft()()
        else:
            self._runs = False

    def _later(self, deliver: Callable[[], None]) -> None:
        def end() -> None:
            self._runs = False
            if not self._is_dead:
                deliver()
                self._next()

        self._loop.call_later(self._source.uniform(0, self._longest_ms) / 1000, end)
