"""Five times more than the network can commit: what is refused, what the admitted wait, what it costs in memory.

    scripts/bench overload [--workload mix] [--seconds 30] [--json FILE]

On one network, one after the other:

0. **settling**: for ``--settle`` seconds the top of the ladder is offered, and nothing is counted. LevelDB of a new
   network has nothing to merge yet, and a node then does a third more than it ever will again.
1. **ladder**: offered loads that go up, a few seconds each; ``peak_per_s`` is the most that was committed in any.
2. **overload**: ``--times`` (5) the peak is offered. ``share_of_peak`` is what is still committed (goal: 0.9), latency
   is that of admitted transactions, ``refused`` by code: 1002 the pool is full, 1006 the sender or its organisation has
   used up its part; ``without_hint`` counts those of them that do not say that trying again helps (goal: 0). Memory is
   the own pages of each validator, looked at every second: ``grew_mib`` compares the second half with its beginning, so
   the queue that fills in the first half is not in it, and ``at_most_mib`` is the highest.
3. **fairness**: an organisation sends a little, alone; then the same while another one sends a hundred times as much.
   ``p99_ratio`` is its p99 in the flood over its p99 alone (goal: 2). What it shares is not the queue but the blocks,
   the validators and the two cores; ``refused`` of the modest one should be empty.

Generators are open loop and do not retry: what is refused stays refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Answers, Load, Schedule
from benchmarks.network import Running, machine, now_ms, running
from benchmarks.node_probe import memory_kib
from benchmarks.workloads import NAMES, workload_of

MODEST: Final = "hk-supplier"
GREEDY: Final = ("gz-supplier", "gz-supplier-2")
#: How much more the greedy organisation sends.
TIMES_GREEDY: Final = 100


class MemoryWatch:
    """Own memory of every validator, once a second, in a thread."""

    def __init__(self, network: Running) -> None:
        self._pids = [network.processes.pid(node) for node in network.validators]
        self.kib: list[int] = []  # the largest of them, by second
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            self.kib.append(max(memory_kib(pid)[1] for pid in self._pids))

    def stop(self) -> dict[str, float]:
        """The highest, and how much it grew in the second half, in MiB."""
        self._ended.set()
        self._thread.join()
        half = self.kib[len(self.kib) // 2 :] or [0]
        return {
            "at_most_mib": round(max(self.kib, default=0) / 1024, 1),
            "grew_mib": round((half[-1] - half[0]) / 1024, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=NAMES, default="record")
    parser.add_argument("--payload-bytes", type=int, default=1024)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--ladder", default="800,1200,1600,2000,2400", help="offered per second, one after the other")
    parser.add_argument("--settle", type=int, default=60, help="seconds")
    parser.add_argument("--step-seconds", type=int, default=10, help="of each step of the ladder")
    parser.add_argument("--times", type=float, default=5.0, help="times the peak")
    parser.add_argument("--seconds", type=int, default=30, help="of the overload and of both parts of fairness")
    parser.add_argument("--batch", type=int, default=50, help="transactions per call")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dawan-bench-"))
    try:
        figures = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All three parts on one network."""
    about = machine()
    workload = workload_of(options.workload, options.payload_bytes)
    steps = [int(step) for step in options.ladder.split(",")]
    # What the overload needs follows from the peak, which is not known yet: no more than the top of the ladder.
    most = int(sum(steps) * options.step_seconds + max(steps) * (options.settle + options.times * options.seconds))
    prepared_ms = now_ms()
    with running(
        folder,
        workload,
        most if options.workload in ("transfer", "mix") else 0,
        validators=options.nodes,
        say=lambda line: print(line, file=sys.stderr),
    ) as network:
        base = Schedule(
            options.workload,
            network.channels,
            tuple(node.rpc_url for node in network.validators),
            0,
            0,
            options.batch,
            prepared_ms,
            payload_bytes=options.payload_bytes,
        )
        first = 0
        if options.settle:
            schedule = replace(base, rate=max(steps), seconds=options.settle, first=first)
            first += schedule.transactions
            (answers,) = loaded(network, [schedule])
            print(f"settling at {max(steps)}/s: {answers.rate(0, options.settle):.0f}/s", file=sys.stderr)
        ladder: list[dict[str, Any]] = []
        for step in steps:
            schedule = replace(base, rate=step, seconds=options.step_seconds, first=first)
            first += schedule.transactions
            (answers,) = loaded(network, [schedule])
            # The first third fills the pool.
            committed = answers.rate(options.step_seconds / 3, options.step_seconds)
            ladder.append({"offered_per_s": step, "committed_per_s": round(committed, 1)})
            print(f"offered {step}/s: {committed:.0f}/s", file=sys.stderr)
        peak = max(step["committed_per_s"] for step in ladder)
        schedule = replace(base, rate=round(peak * options.times), seconds=options.seconds, first=first)
        first += schedule.transactions
        over = overload(network, schedule, peak)
        print(f"offered {schedule.rate}/s: {over['committed_per_s']:.0f}/s", file=sys.stderr)
        fair = fairness(network, replace(base, workload="record", seconds=options.seconds, first=first), peak)
    return about | {
        "workload": options.workload,
        "nodes": options.nodes,
        "batch": options.batch,
        "peak_per_s": peak,
        "ladder": ladder,
        "overload": over,
        "fairness": fair,
    }


def overload(network: Running, schedule: Schedule, peak: float) -> dict[str, Any]:
    """Part 2."""
    watch = MemoryWatch(network)
    (answers,) = loaded(network, [schedule])
    memory = watch.stop()
    # The first third fills the pool, at a rate of admission that nobody could keep.
    since, until = schedule.seconds / 3, schedule.seconds
    committed = answers.rate(since, until)
    return {
        "offered_per_s": schedule.rate,
        "committed_per_s": round(committed, 1),
        "share_of_peak": round(committed / peak, 3),
        "latency_ms": answers.latency(since, until),
        "refused": answers.refusals(),
        "without_hint": sum(call.unhinted for call in answers.calls),
        "memory": memory,
        "generator_cores": round(answers.cpu_s / schedule.seconds, 2),
        "generator_lag_ms": answers.lag_ms,
    }


def fairness(network: Running, base: Schedule, peak: float) -> dict[str, Any]:
    """Part 3: the flood is four times the peak, the modest organisation sends a hundredth of it."""
    rate = max(1, round(4 * peak / TIMES_GREEDY))
    modest = replace(base, rate=rate, batch=1, person=MODEST)
    (alone,) = loaded(network, [modest])
    first = base.first + modest.transactions
    flood = [
        replace(base, rate=rate * TIMES_GREEDY / len(GREEDY), person=person, first=first, batch=base.batch)
        for person in GREEDY
    ]
    among, *greedy = loaded(network, [replace(modest, first=first), *flood])
    since, until = base.seconds / 3, base.seconds
    before, during = alone.latency(since, until), among.latency(since, until)
    return {
        "modest_per_s": rate,
        "greedy_per_s": rate * TIMES_GREEDY,
        "alone": {"latency_ms": before, "refused": alone.refusals()},
        "in_the_flood": {"latency_ms": during, "refused": among.refusals()},
        "p50_ratio": round(during["p50"] / before["p50"], 2),
        "p99_ratio": round(during["p99"] / before["p99"], 2),
        "committed_share_of_the_modest": round(sum(call.committed for call in among.calls) / among.sent, 3),
        "greedy_committed_per_s": round(sum(each.rate(since, until) for each in greedy), 1),
        "greedy_refused": [each.refusals() for each in greedy],
    }


def loaded(network: Running, schedules: Sequence[Schedule]) -> list[Answers]:
    """Sign, run to the last answer."""
    load = Load(network.devnet.folder, schedules)
    try:
        load.start()
        return load.finish(max(each.seconds for each in schedules) + 180)
    finally:
        load.stop()


if __name__ == "__main__":
    main()
