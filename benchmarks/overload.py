"""Five times more than the network can commit: what is refused, what the admitted wait, what it costs in memory.

    scripts/bench overload [--workload mix] [--seconds 30] [--json FILE]

On one network, one after the other:

0. **settling**: for ``--settle`` seconds the top of the ladder is offered, and nothing is counted. LevelDB of a new
   network has nothing to merge yet, and a node then does a third more than it ever will again.
1. **ladder**: offered loads that go up, a few seconds each; ``ladder_peak_per_s`` is the most committed in any.
2. **overload**: ``--times`` (5) that peak is offered for ``--seconds``, and before and after it, as long, the load at
   which the ladder peaked. ``share_of_peak`` is what is still committed over the mean of those two (goal: 0.9): a
   database that grows gives less by itself, a quarter in five minutes, so the peak of minutes ago is no measure of what
   being overloaded costs; ``share_of_ladder`` is that all the same. Latency is that of admitted transactions,
   ``refused`` by code: 1002 the pool is full, 1006 the sender or its organisation has used up its part;
   ``without_hint`` counts those of them that do not say that trying again helps (goal: 0). Memory is the own pages of
   each validator, looked at every second: ``grew_mib`` compares the second half with its beginning, so the queue that
   fills in the first half is not in it, and ``at_most_mib`` is the highest.
3. **fairness**: an organisation sends a little: alone, while another one sends half of the peak, and while that one
   sends a hundred times as much as the first. ``p99_ratio`` is its p99 in the flood over its p99 alone (goal: 2),
   ``p99_ratio_to_a_busy_day`` over that beside half of the peak, when blocks and cores are in use already. What it
   shares is not the queue but the blocks, the validators and the two cores; ``refused`` of the modest one should be
   empty.

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
    most = int(
        sum(steps) * options.step_seconds + max(steps) * (options.settle + (options.times + 2) * options.seconds)
    )
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
        best = max(ladder, key=lambda step: step["committed_per_s"])
        steady = replace(base, rate=best["offered_per_s"], seconds=options.seconds)
        before, first = sustained(network, replace(steady, first=first))
        schedule = replace(steady, rate=round(best["committed_per_s"] * options.times), first=first)
        over = overload(network, schedule)
        after, first = sustained(network, replace(steady, first=first + schedule.transactions))
        print(f"{before}/s, offered {schedule.rate}/s: {over['committed_per_s']}/s, then {after}/s", file=sys.stderr)
        peak = (before + after) / 2
        over |= {
            "share_of_peak": round(over["committed_per_s"] / peak, 3),
            "share_of_ladder": round(over["committed_per_s"] / best["committed_per_s"], 3),
        }
        fair = fairness(network, replace(base, workload="record", seconds=options.seconds, first=first), peak)
    return about | {
        "workload": options.workload,
        "nodes": options.nodes,
        "batch": options.batch,
        "ladder_peak_per_s": best["committed_per_s"],
        "ladder": ladder,
        "before_and_after_per_s": [before, after],
        "overload": over,
        "fairness": fair,
    }


def sustained(network: Running, schedule: Schedule) -> tuple[float, int]:
    """What is committed per second of this load once it is steady, and the number of the next transaction."""
    (answers,) = loaded(network, [schedule])
    return round(answers.rate(schedule.seconds / 3, schedule.seconds), 1), schedule.first + schedule.transactions


def overload(network: Running, schedule: Schedule) -> dict[str, Any]:
    """The middle of part 2."""
    watch = MemoryWatch(network)
    (answers,) = loaded(network, [schedule])
    memory = watch.stop()
    # The first third fills the pool, at a rate of admission that nobody could keep.
    since, until = schedule.seconds / 3, schedule.seconds
    committed = answers.rate(since, until)
    return {
        "offered_per_s": schedule.rate,
        "committed_per_s": round(committed, 1),
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

    def beside(total: float) -> list[Answers]:
        """The modest one, and others that send so much together."""
        nonlocal first
        mine = replace(modest, first=first)
        first += mine.transactions
        others = []
        for person in GREEDY:
            others.append(replace(base, rate=total / len(GREEDY), person=person, first=first))
            first += others[-1].transactions
        return loaded(network, [mine, *others])

    (busy, *_) = beside(peak / 2)
    among, *greedy = beside(rate * TIMES_GREEDY)
    since, until = base.seconds / 3, base.seconds
    before, usual, during = (answers.latency(since, until) for answers in (alone, busy, among))
    return {
        "modest_per_s": rate,
        "greedy_per_s": rate * TIMES_GREEDY,
        "alone": {"latency_ms": before, "refused": alone.refusals()},
        "on_a_busy_day": {"latency_ms": usual, "refused": busy.refusals()},
        "in_the_flood": {"latency_ms": during, "refused": among.refusals()},
        "p50_ratio": round(during["p50"] / before["p50"], 2),
        "p99_ratio": round(during["p99"] / before["p99"], 2),
        "p99_ratio_to_a_busy_day": round(during["p99"] / usual["p99"], 2),
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
