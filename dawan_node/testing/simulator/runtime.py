"""What stands for the event loop, the worker thread and the clock of one life of a node."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeVar

from dawan_node.node.metrics import Metrics, StageTimes
from dawan_node.testing.simulator.world import World

T = TypeVar("T")

#: What a machine's clock shows when a simulation begins: a quarter of an hour after the channel's genesis.
START_MS = 900_000


class PowerCut(BaseException):
    """Power fails in the middle of an action; nothing after it happens in this life."""


class SimulatedClock:
    """A machine's clocks. The wall clock can be set; both run a little fast or slow."""

    def __init__(self, world: World, created_ms: int, offset_ms: int) -> None:
        self._world = world
        self._start_ms = created_ms + START_MS
        self.offset_ms = offset_ms
        self.drift_ppm = 0

    def wall_ms(self) -> int:
        """See node.clock.Clock."""
        return self._start_ms + self.monotonic_ms() + self.offset_ms

    def monotonic_ms(self) -> int:
        """See node.clock.Clock."""
        now = self._world.now
        return now + now * self.drift_ppm // 1_000_000

    def now(self) -> datetime:
        """See node.clock.Calendar."""
        return datetime.fromtimestamp(self.wall_ms() / 1000, UTC)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never really waits to its end."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("work in a simulation may not wait for anything but simulated time")


class NoTimes(StageTimes):
    """Nobody asks how long a simulated node took."""

    _NOTHING = nullcontext()

    def add(self, stage: str, cpu_ns: int, transactions: int) -> None:
        """See StageTimes."""

    def measure(self, stage: str, transactions: int) -> AbstractContextManager[None]:  # type: ignore[override]
        """See StageTimes."""
        return self._NOTHING


class NoMetrics(Metrics):
    """As ``NoTimes``."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = NoTimes()


class WakeUpCall(asyncio.Event):
    """Setting it schedules a turn."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def set(self) -> None:
        self._wake()


class SimulatedJobs:
    """A worker thread without a thread: a job takes effect when it begins, its outcome is known a while later.

    A crash in between leaves what a crash leaves on a real machine: a write that happened and that nobody knows of.
    """

    def __init__(self, life: SimulatedRuntime, wake: Callable[[], None]) -> None:
        self._life = life
        self._wake = wake
        self._jobs: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._runs = False
        self.failure: BaseException | None = None

    def submit(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """See node.runtime.Jobs."""
        self._jobs.append((job, done))
        if not self._runs:
            self._runs = True
            self._life.soon(0, self._begin)

    async def run(self, job: Callable[[], T]) -> T:
        """See node.runtime.Jobs. Only for reading, which may as well happen now."""
        return job()

    def close(self) -> None:
        """See node.runtime.Jobs."""
        self._jobs.clear()

    def _begin(self) -> None:
        job, done = self._jobs.popleft()
        self._life.action("job")
        try:
            outcome = job()
        except Exception as error:  # noqa: BLE001 - as the real worker: the channel's next turn raises it
            self.failure = error
            self._life.soon(0, self._wake)
            return

        def deliver() -> None:
            done(outcome)
            self._wake()
            if self._jobs:
                self._begin()
            else:
                self._runs = False

        self._life.soon(self._life.job_ms(), deliver)


class SimulatedRuntime:
    """``node.runtime.Runtime`` of one life of one node."""

    def __init__(
        self,
        soon: Callable[[int, Callable[[], None]], None],
        turn: Callable[[], None],
        job_ms: Callable[[], int],
        action: Callable[[str], None],
    ) -> None:
        """``soon`` does something later in this life only; ``action`` is told of every step power may fail at."""
        self.soon = soon
        self.job_ms = job_ms
        self.action = action
        self._turn = turn

    def wake_up_call(self) -> asyncio.Event:
        """See node.runtime.Runtime."""
        return WakeUpCall(self._turn)

    def jobs(self, name: str, wake: Callable[[], None]) -> SimulatedJobs:
        """See node.runtime.Runtime."""
        return SimulatedJobs(self, wake)

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """See node.runtime.Runtime."""
        self.soon(round(delay_s * 1000), callback)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """See node.runtime.Runtime."""
        finish(work)
