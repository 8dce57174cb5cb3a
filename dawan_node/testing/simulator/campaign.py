"""Many seeds on all cores, and a report of what they met.

A campaign is only as good as the misfortunes it really had: every kind is counted where it takes effect, and a kind
that never did fails the campaign (no silent gaps).
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final, TypeVar

from dawan_node.testing.simulator.liars import LIARS
from dawan_node.testing.simulator.plan import plan_of
from dawan_node.testing.simulator.stage import Outcome, run_plan

A = TypeVar("A")
R = TypeVar("R")

#: Misfortunes that every campaign of some size must have had.
REQUIRED: Final = (
    "clock set back", "clock set forward", "clock that drifts", "crash", "crash in the middle of an action",
    "crash of everybody", "cut: everybody alone", "cut: one alone", "cut: ring", "cut: two sides",
    "cut: two sides and a bridge", "freeze", "kill", "liar: twin", "log segment rolled", "log tail lost",
    "log tail torn",
    "message clogged", "message damaged", "message doubled", "message lost", "message lost in a deaf direction",
    "message muffled",
    "message overtaken", "slow disk", "validator set change submitted", "alarm: epoch", "alarm: new_view", "evidence",
    "O ended at a stale branch",
)  # fmt: skip
#: From so many seeds on.
REQUIRED_FROM: Final = 500
#: Seeds handed to a process at once: short ones must not wait for many long ones.
CHUNK: Final = 4


@dataclass(slots=True)
class Report:
    """What a campaign met. ``missing`` are kinds of misfortune that never took effect."""

    seeds: int = 0
    simulated_ms: int = 0
    events: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    blocks: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    by_size: dict[int, list[float]] = field(default_factory=dict)  # validators -> [seeds, simulated ms, cpu s]

    def add(self, outcome: Outcome) -> None:
        """Account one run."""
        self.seeds += 1
        self.simulated_ms += outcome.simulated_ms
        self.events += outcome.events
        self.cpu_s += outcome.cpu_s
        self.blocks += outcome.height
        self.counts += outcome.counts
        self.slowest = max(self.slowest, (outcome.cpu_s, outcome.seed))
        size = self.by_size.setdefault(outcome.validators, [0, 0, 0])
        size[0] += 1
        size[1] += outcome.simulated_ms
        size[2] += outcome.cpu_s
        if outcome.violation:
            self.failures.append(outcome)

    @property
    def missing(self) -> list[str]:
        """Kinds of misfortune that had to occur and did not."""
        if self.seeds < REQUIRED_FROM:
            return []
        kinds = [*REQUIRED, *(f"liar: {name}" for name in LIARS)]
        return [kind for kind in kinds if not self.counts[kind]]

    def lines(self) -> Iterator[str]:
        """The report, as people read it."""
        hours = self.simulated_ms / 3_600_000
        yield (
            f"{self.seeds} seeds, {hours:.2f} simulated hours, {self.blocks} blocks, {self.events} events,"
            f" {self.events / max(self.cpu_s, 1e-9):.0f} events/s per core, {self.wall_s:.0f} s"
        )
        yield f"slowest seed {self.slowest[1]}: {self.slowest[0]:.1f} s"
        for n, (seeds, simulated_ms, cpu_s) in sorted(self.by_size.items()):
            yield f"  n = {n:2}: {seeds:5.0f} seeds, {simulated_ms / 1000 / max(cpu_s, 1e-9):6.0f} x real time"
        yield "met:"
        for kind, count in sorted(self.counts.items()):
            yield f"  {kind}: {count}"
        for kind in self.missing:
            yield f"  {kind}: 0  <- must not be"


def run_seeds(seeds: Sequence[int], validators: int | None = None, liar: str | None = None) -> list[Outcome]:
    """Run some seeds in this process."""
    with silence():
        return [run_plan(plan_of(seed, validators=validators, liar=liar)) for seed in seeds]


def run_campaign(
    first: int,
    count: int | None,
    limit_s: float | None,
    jobs: int,
    *,
    validators: int | None = None,
    liar: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Seeds from ``first`` on, ``count`` of them or for ``limit_s`` seconds, whichever ends first."""
    report = Report()
    began = said = time.monotonic()

    def chunks() -> Iterator[tuple[Sequence[int], int | None, str | None]]:
        at = first
        while count is None or at < first + count:
            if limit_s is not None and time.monotonic() - began > limit_s:
                return
            end = at + CHUNK if count is None else min(at + CHUNK, first + count)
            yield range(at, end), validators, liar
            at = end

    for outcomes in spread(_run_chunk, chunks(), jobs):
        for outcome in outcomes:
            report.add(outcome)
            if outcome.violation:
                say(f"seed {outcome.seed} (n = {outcome.validators}): {outcome.summary}")
        if time.monotonic() - said > 30:
            said = time.monotonic()
            say(f"... {report.seeds} seeds after {said - began:.0f} s, {len(report.failures)} violations")
    report.wall_s = time.monotonic() - began
    return report


def _run_chunk(chunk: tuple[Sequence[int], int | None, str | None]) -> list[Outcome]:
    return run_seeds(*chunk)


def spread(work: Callable[[A], R], items: Iterator[A], jobs: int) -> Iterator[R]:
    """``work`` on every item in ``jobs`` processes, as they finish; items are drawn only as they are needed."""
    if jobs <= 1:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[R]] = set()
        while True:
            while len(running) < 2 * jobs and (item := next(items, None)) is not None:
                running.add(pool.submit(work, item))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def cores() -> int:
    """How many processes may run at once here."""
    return len(os.sched_getaffinity(0))


@contextmanager
def silence() -> Iterator[None]:
    """Nodes log what they do; thousands of simulated ones would fill a terminal."""
    logger = logging.getLogger("dawan_node")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
