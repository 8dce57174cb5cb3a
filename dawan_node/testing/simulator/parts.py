"""What a simulation run consists of beside the seeds: each part has a short form and an extended one."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dawan_node.testing import bounded_search, twins
from dawan_node.testing.gossip_network import scenarios
from dawan_node.testing.simulator import forgetting
from dawan_node.testing.simulator.campaign import run_campaign, run_seeds, silence, spread
from dawan_node.testing.simulator.planted import run_planted
from dawan_node.testing.simulator.scene import Scene
from dawan_node.testing.simulator.stage import GC_THRESHOLD

#: Seeds whose traces are compared between two processes.
COMPARED: Final = 50
#: Seeds of mutating liars lie apart from the others.
BYZZFUZZ_FIRST: Final = 5_000_000
#: Stories of a home that was put back.
FORGETTING_EXTENDED: Final = 1_000
#: Twins: scenarios handed to a process at once, how many a run plays (by default what a minute holds at the least speed
#: the budget allows, 150 a second: counted and not timed, the same on every machine and beside other work), how many
#: show the checker's teeth.
TWINS_CHUNK: Final = 100
TWINS_DEFAULT: Final = 9_000
TWINS_EXTENDED: Final = 60_000
TWINS_TEETH: Final = 400
TWINS_SEED: Final = 1
#: Gossip: blocks of a run. Thirty seconds of them are one half-life of points and six changes of links; more seeds tell
#: more than longer runs, as each has other links, crossings and attackers.
GOSSIP_BLOCKS: Final = 40
GOSSIP_BLOCKS_EXTENDED: Final = 120
GOSSIP_SEEDS_EXTENDED: Final = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """How long, and in how many processes."""

    is_extended: bool
    jobs: int
    #: Only these planted bugs.
    bugs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """``run`` says whether all was well, and what there is to report. ``is_default``: also without ``--extended``."""

    run: Callable[[Setting], tuple[bool, list[str]]]
    is_default: bool = True


def _determinism(setting: Setting) -> tuple[bool, list[str]]:
    """The same seeds in two processes with different hash seeds: every trace is the same."""
    program = (
        "import sys; from dawan_node.testing.simulator.parts import trace_hashes;"
        "sys.stdout.write(trace_hashes(int(sys.argv[1])))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(COMPARED)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "4242")
    ]
    first, second = (process.communicate()[0].split() for process in running)
    equal = sum(1 for one, other in zip(first, second, strict=False) if one == other)
    is_good = len(first) == len(second) == equal == COMPARED
    return is_good, [f"{equal} of {COMPARED} seeds have equal traces in two processes with different hash seeds"]


def trace_hashes(count: int) -> str:
    """The traces of the first seeds."""
    return "\n".join(outcome.trace_hash for outcome in run_seeds(range(count)))


def _rate(setting: Setting) -> tuple[bool, list[str]]:
    """How much faster than real time, without faults: idle, and a payment a second, in bursts of five or singly."""
    lines = []
    for n in range(1, 11) if setting.is_extended else (1, 4, 7, 10):
        idle, bursts, singly = (_times_real(n, burst, every_s) for burst, every_s in ((0, 1), (5, 5), (1, 1)))
        lines.append(
            f"n = {n:2}: {idle:5.0f} x real time idle, {bursts:5.0f} x with bursts, {singly:5.0f} x one by one"
        )
    return True, lines


def _times_real(n: int, burst: int, every_s: int) -> float:
    """The median of three runs: one takes a fraction of a second, and a neighbour on the processor may double that."""
    return statistics.median(_one_rate(n, burst, every_s) for _ in range(3))


def _one_rate(n: int, burst: int, every_s: int) -> float:
    seconds = 120
    gc.set_threshold(GC_THRESHOLD)
    with silence():
        scene = Scene(1, n)
        began = time.process_time()
        for _ in range(seconds // every_s):
            scene.submit(burst)
            scene.run(every_s * 1_000)
        return seconds / (time.process_time() - began)


def _byzzfuzz(setting: Setting) -> tuple[bool, list[str]]:
    """Liars that mutate what they say, in networks of 4 to 10."""
    report = run_campaign(BYZZFUZZ_FIRST, 1_000 if setting.is_extended else 60, None, setting.jobs, liar="mutating")
    lines = [f"seed {outcome.seed}: {outcome.violation.strip()}" for outcome in report.failures]
    mutated = report.counts["message mutated"]
    return not report.failures and mutated > 0, [
        *lines,
        f"{report.seeds} runs, {mutated} messages mutated, {len(report.failures)} violations, {report.wall_s:.0f} s",
    ]


def _twins(setting: Setting) -> tuple[bool, list[str]]:
    """Two minds with one key, every partition and primary by index; and f + 1 of them, which must be found out."""
    began = time.monotonic()
    count = TWINS_EXTENDED if setting.is_extended else TWINS_DEFAULT
    total = twins.TwinsReport()
    for report in spread(
        _twins_range, iter([(first, TWINS_CHUNK) for first in range(0, count, TWINS_CHUNK)]), setting.jobs
    ):
        total.add(report)
    elapsed = time.monotonic() - began
    caught = twins.run(0, TWINS_TEETH, twins=2, seed=TWINS_SEED)
    lines = [f"scenario {violation}" for violation in total.violations[:5]]
    lines.append(
        f"{total.scenarios} scenarios of n = 4 with one twin, {total.scenarios / elapsed:.0f}/s,"
        f" {total.decided} of them decided, {len(total.violations)} violations"
    )
    lines.append(f"with two twins: violations in {len(caught.violations)} of {caught.scenarios} scenarios")
    return not total.violations and bool(caught.violations), lines


def _twins_range(part: tuple[int, int]) -> twins.TwinsReport:
    with silence():
        return twins.run(*part, seed=TWINS_SEED)


def _search(setting: Setting) -> tuple[bool, list[str]]:
    """Every order of deliveries, for one liar and two values, within bounds."""
    bounds = [bounded_search.Bounds(liar=3)]
    if setting.is_extended:
        bounds += [bounded_search.Bounds(liar=liar) for liar in (0, 1, 2)]
        bounds += [bounded_search.Bounds(liar=0, view_max=2), bounded_search.Bounds(liar=3, heights=2)]
    reports = list(spread(_search_one, iter([(each, 300.0) for each in bounds]), setting.jobs))
    return not any(report.violations for report in reports), [str(report) for report in reports]


def _search_one(task: tuple[bounded_search.Bounds, float]) -> bounded_search.SearchReport:
    with silence():
        return bounded_search.run(task[0], seconds=task[1])


def _forgetting(setting: Setting) -> tuple[bool, list[str]]:
    """Homes put back as ``init`` made them (``forgetting``)."""
    count = FORGETTING_EXTENDED
    chunks = iter([range(first, min(first + 20, count)) for first in range(0, count, 20)])
    told = forgetting.Told()
    for part in spread(_forgetting_range, chunks, setting.jobs):
        told.add(part)
    return not told.violations and told.needed > 0, [
        *told.violations[:5],
        f"{told.stories} homes put back, {told.found_out} found out ({told.needed} of them had to),"
        f" {len(told.violations)} violations",
    ]


def _forgetting_range(seeds: range) -> forgetting.Told:
    with silence():
        return forgetting.run_stories(seeds)


def _gossip(setting: Setting) -> tuple[bool, list[str]]:
    """Sixty nodes spread blocks and transactions, with attackers (docs/gossip.md)."""
    chosen = scenarios.SCENARIOS if setting.is_extended else scenarios.DEFAULT
    seeds = range(1, 1 + (GOSSIP_SEEDS_EXTENDED if setting.is_extended else 1))
    blocks = GOSSIP_BLOCKS_EXTENDED if setting.is_extended else GOSSIP_BLOCKS
    lines, is_good = [scenarios.HEADER], True
    tasks = [(scenario.name, seed, blocks) for scenario in chosen for seed in seeds]
    for outcome in spread(scenarios.run_named, iter(tasks), setting.jobs):
        lines += [outcome.row(), *(f"   PROBLEM: {problem}" for problem in outcome.problems)]
        is_good = is_good and not outcome.problems
    return is_good, lines


PARTS: Final[dict[str, Part]] = {
    "gossip": Part(_gossip),
    "byzzfuzz": Part(_byzzfuzz),
    "determinism": Part(_determinism),
    "planted": Part(lambda setting: run_planted(setting.bugs, setting.is_extended, setting.jobs)),
    "forgetting": Part(_forgetting, is_default=False),
    "rate": Part(_rate, is_default=False),
    "search": Part(_search, is_default=False),
    "twins": Part(_twins),
    "seeds": Part(lambda setting: (True, [])),
}
