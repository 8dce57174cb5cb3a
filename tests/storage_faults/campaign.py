"""One part of the storage faults, in a process of its own: ``python -m tests.storage_faults.campaign PART ...``.

It prints one line of JSON: rows of a table, and everything that broke. The process has one thread and no database open,
so that it may fork; tests start it and read what it says.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from dawan_node import failpoints
from dawan_node.errors import OperatorError
from tests.storage_faults import chain, corruption, life, mounts, power, snapshots
from tests.storage_faults.forks import in_child, start_life
from tests.storage_faults.points import EXIT_STORAGE, NOT_REACHED, Lives, Point, Verdict
from tests.storage_faults.reached import IN_A_FETCH, IN_SNAPSHOTS, ONLY_IN_A_NETWORK, REACHED_ALONE
from tests.storage_faults.reopening import Told, broken_promises
from tests.storage_faults.verdicts import Verdicts

Row = tuple[str, str, str, int]  # what, kind, outcome, how many
Report = tuple[list[Row], list[str]]


def points(folder: Path, shard: int, shards: int, every: int, kinds: Sequence[str], known: Verdicts) -> Report:
    """Kill at every call that syncs and at every so-many-th of the others, and let a part of both fail."""
    lives = Lives(folder)
    lives.watch()
    gc.freeze()
    table = PointTable()
    seen: Counter[str] = Counter()
    for point in lives.points:
        if point.first // 10 % shards != shard:
            continue
        seen[point.call] += 1
        number = seen[point.call]
        key = f"{point.first} {point.thread} {point.call} {point.number}"
        if "kills" in kinds and (point.call == "fdatasync" or number % every == 0):
            table.add("killed at", point, known.of(f"kill {key}", partial(_tried, lives.kill, point)))
        # Twice as thin as the kills, and the two errors in turn; every 1 of the extended run is both at each.
        for turn, error in enumerate(("EIO", "ENOSPC")):
            period = every * (8 if point.call == "write" else 4)  # most calls are writes, and alike
            if "errors" in kinds and (every == 1 or number % period == turn * period // 2):
                table.add(error, point, known.of(f"{error} {key}", partial(_tried, lives.fail, point, error)))
    lives.close()
    return table.report()


def _tried(fault: Callable[..., Verdict | power.Cuts], *arguments: object) -> dict[str, Any]:
    return asdict(fault(*arguments))


class PointTable:
    """Verdicts on points, added up by what was done and by system call."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[str, str, str]] = Counter()
        self._broken: list[str] = []
        self._slowest_ms: dict[str, int] = {}

    def add(self, what: str, point: Point, verdict: dict[str, Any]) -> None:
        rows, call = self._rows, point.call
        rows[what, call, "points"] += 1
        rows[what, call, verdict["outcome"]] += 1
        rows[what, call, "lost blocks"] += verdict["lost"]  # a column of zeros is what this is about
        rows[what, call, "tried again"] += verdict["repeated"] > 0
        place = f"{point.call} {point.number} of {point.thread} above block {point.first} ({Path(point.path).name})"
        self._broken += [f"{what} {place}: {text}" for text in verdict["broken"]]
        if verdict["stopped_ms"]:
            self._slowest_ms[what] = max(self._slowest_ms.get(what, 0), verdict["stopped_ms"])

    def report(self) -> Report:
        rows: list[Row] = [(*key, count) for key, count in sorted(self._rows.items())]
        rows += [("slowest stop", what, "ms", slowest) for what, slowest in self._slowest_ms.items()]
        tried = sum(count for (_, _, outcome), count in self._rows.items() if outcome == "points")
        missed = sum(count for (_, _, outcome), count in self._rows.items() if outcome == NOT_REACHED)
        broken = self._broken
        if missed > 0.02 * tried or not tried:
            broken.append(f"{missed} of {tried} points were not reached")
        return rows, broken


def power_cuts(folder: Path, cycles: int, known: Verdicts) -> Report:
    """Cut the power, and show with a node that does not sync that it was cut."""
    mounts.own_namespace()
    outcome = power.Cuts()
    for run in range(-(-cycles // power.CUTS_PER_RUN)):
        cuts = min(power.CUTS_PER_RUN, cycles - run * power.CUTS_PER_RUN)
        place = folder / f"synced-{run}"
        found = known.of(f"run {run} of {cuts}", partial(_tried, power.cut_power, place, cuts, run))
        outcome.add(power.Cuts(**found))
    control = 3
    lossy = known.of("control", lambda: power.cut_power_unsynced(folder / "unsynced", control))
    broken = outcome.broken[:]
    if outcome.acknowledged < cycles:
        broken.append(f"only {outcome.acknowledged} blocks were acknowledged in {cycles} lives")
    if lossy < control:
        broken.append(f"the node that does not sync lost blocks in {lossy} of {control} cuts: this is no power cut")
    rows: list[Row] = [
        ("power cuts", "ext4 on loop", "cuts", outcome.cuts),
        ("power cuts", "ext4 on loop", "blocks told", outcome.acknowledged),
        ("power cuts", "ext4 on loop", "cuts with loss", outcome.lossy),
        ("power cuts", "ext4 on loop", "lost blocks", outcome.lost),
        ("power cuts", "control, no sync", "cuts", control),
        ("power cuts", "control, no sync", "cuts with loss", lossy),
    ]
    return rows, broken


def corruptions(folder: Path, wanted: int, heal_each: int, known: Verdicts) -> Report:
    """Damage files, half of the times after an orderly end and half after a death, and let a peer heal them."""
    outcomes, source = corruption.Outcomes(), random.Random(1)
    for killed in (False, True):
        place = folder / f"killed-{killed}"
        place.mkdir()
        disk = corruption.prepare(place, 60, killed=killed)
        gc.freeze()
        given: list[corruption.Fault] = []
        while len(given) < wanted // 2:
            given += corruption.faults(disk, source)
        corruption.inject(disk, given[: wanted // 2], folder / "work", outcomes, known, heal_each=heal_each)
    missing = set(corruption.KINDS) - {kind for kind, _ in outcomes.counts}
    return _added("damaged files", outcomes, [f"nothing was {kind}" for kind in missing])


def log_cuts(folder: Path, wanted: int, known: Verdicts) -> Report:
    """Cut the log at every byte of its last two records, and at random places."""
    outcomes, source = corruption.Outcomes(), random.Random(2)
    for killed in (False, True):
        place = folder / f"killed-{killed}"
        place.mkdir()
        disk = corruption.prepare(place, 60, killed=killed)
        begin, end = corruption.last_records_begin(disk, folder / "cut", 2)
        offsets = [*range(begin, end), *(source.randrange(end) for _ in range(wanted // 2))]
        corruption.cut_log(disk, folder / "cut", outcomes, offsets)
    return _added("log cut", outcomes, [])


def _added(what: str, outcomes: corruption.Outcomes, broken: list[str]) -> Report:
    rows: list[Row] = [(what, kind, outcome, count) for (kind, outcome), count in sorted(outcomes.counts.items())]
    for kind in sorted({kind for kind, _ in outcomes.counts}):
        once = (corruption.HARMLESS, *corruption.DETECTED)
        faults = sum(outcomes.counts[kind, outcome] for outcome in once) + outcomes.wrong[kind]
        rows.append((what, kind, "faults", faults))
        rows.append((what, kind, "wrong values", outcomes.wrong[kind]))
    return rows, [*outcomes.broken, *broken]


def full_disk(folder: Path) -> Report:
    """A node writes until its disk of 24 MiB is full, with and without room given back, and starts again (F1)."""
    mounts.own_namespace()
    rows: list[Row] = []
    broken: list[str] = []
    for round_number in range(3):
        disk = folder / f"disk-{round_number}"
        mounts.mount_memory_disk(disk, 24)
        home, ballast = disk / "home", disk / "ballast"
        in_child(lambda home=home: life.prepare(home))
        first = start_life(home, 20)
        assert first.end() == 0
        running = start_life(home, 5_000)
        for _ in range(5 + round_number):
            running.lines.until("decided")
        _fill(ballast)
        code = running.end()
        told = Told.parse([*first.lines.told, *running.lines.told])
        reasons = [line.split(" ")[1] for line in running.lines.told if line.startswith("stopped ")]
        if code != EXIT_STORAGE or reasons[:1] != ["STORAGE_FULL"]:
            broken.append(f"round {round_number}: the process ended with {code} for {reasons}")
        ballast.unlink()
        broken += in_child(lambda home=home, told=told: broken_promises(home, told, deep=True))
        rows.append(("disk full", "24 MiB tmpfs", "stopped, nothing lost", 1))
    return rows, broken


def _fill(ballast: Path) -> None:
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def double_start(folder: Path) -> Report:
    """A second node on the same home, while the first lives and after one that was opened twice in one process."""
    home = folder / "home"
    in_child(lambda: life.prepare(home))
    running = start_life(home, 100_000)
    for _ in range(5):
        running.lines.until("decided")
    broken = []
    for attempt in range(3):
        second = start_life(home, None)
        code = second.end()
        if code != 1 or "in use" not in second.lines.told[-1]:
            broken.append(f"attempt {attempt}: the second node ended with {code}: {second.lines.told}")
    running.lines.until("decided")
    running.kill()
    told = Told.parse(running.lines.told)
    broken += in_child(lambda: broken_promises(home, told, deep=True))
    broken += in_child(lambda: _open_twice(home))
    return [("double start", "second process", "refused", 3), ("double start", "in one process", "refused", 1)], broken


def _open_twice(home: Path) -> list[str]:
    """F6: a second open in one process must not make room for another process."""
    from dawan_node.storage.channel_store import ChannelStore

    chain_id = chain.genesis().chain_id
    store = ChannelStore.open(life.database_of(home), chain_id)
    broken = []
    try:
        ChannelStore.open(life.database_of(home), chain_id)
        broken.append("a second open in the same process succeeded")
    except OperatorError:
        pass

    def from_another_process() -> bool:
        try:
            ChannelStore.open(life.database_of(home), chain_id).close()
        except OperatorError:
            return True
        return False

    if not in_child(from_another_process):
        broken.append("after a second open in one process, another process can open the database")
    store.close()
    return broken


def named_failpoints(folder: Path, arrivals: int) -> Report:
    """Kill a node at each named failpoint its life comes by; which those are is found by a life that is watched."""
    rows: list[Row] = []
    broken: list[str] = []
    chain.at(80)
    reached: set[str] = set()
    for name in sorted(REACHED_ALONE):
        for count in {1, arrivals}:
            home = folder / f"{name}-{count}"
            in_child(lambda home=home: life.prepare(home))
            said: list[str] = []
            # A life that ends in order, one that dies, and a third that finds what they left.
            for up_to, dies in ((12, False), (40, True), (60, False)):
                if up_to == 60:
                    _tear(home)
                running = start_life(home, up_to, lambda text=f"{name}:{count}": failpoints.arm(text), dies=dies)
                code = running.end()
                first = max(Told.parse(said).decided, default=0)
                said += [line for line in running.lines.told if line.startswith(("decided", "sent"))]
                if code == -9 and not (dies and f"decided {up_to} " in said[-1]):
                    reached.add(name)
                    told = Told.parse(said)
                    broken += [
                        f"{name}, arrival {count}: {text}"
                        for text in in_child(lambda home=home, told=told, first=first: broken_promises(home, told))
                    ]
                    break
            shutil.rmtree(home)
    rows.append(("failpoints", "a node alone", "passed", len(reached)))
    rows.append(("failpoints", "tried by tests of networks", "not here", len(ONLY_IN_A_NETWORK | IN_A_FETCH)))
    return rows, [*broken, *(f"{name} is reached by no life" for name in sorted(REACHED_ALONE - reached))]


def _tear(home: Path) -> None:
    """Leave what a death in the middle of a write leaves at the end of the log."""
    segment = sorted(life.wal_of(home).glob("*.wal"))[-1]
    with segment.open("ab") as file:
        file.write(bytes(20))


def snapshot_failpoints(folder: Path) -> Report:
    """Kill a process at each failpoint of making and installing snapshots and of pruning."""
    reached, broken = snapshots.killed_everywhere(folder)
    broken += [f"{name} is reached by no work" for name in sorted(IN_SNAPSHOTS - reached)]
    return [("failpoints", "snapshots and pruning", "passed", len(reached))], broken


PARTS = ("points", "power", "corruption", "log-cuts", "full", "double", "failpoints", "snapshots")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--heal", type=int, default=1, help="of each stratum of damage, how many are healed")
    parser.add_argument("--kinds", nargs="+", default=["kills", "errors"])
    parser.add_argument("--state", type=Path, help="folder of verdicts, to go on after an interruption")
    asked = parser.parse_args()
    began = time.monotonic()
    known = Verdicts(asked.state, f"{asked.part}-{asked.shard}-of-{asked.shards}")
    folder = Path(tempfile.mkdtemp(prefix="dawan-faults-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        chain.at(chain.BLOCKS + 100)
        life.warm()
        match asked.part:
            case "points":
                rows, broken = points(folder, asked.shard, asked.shards, asked.every, asked.kinds, known)
            case "power":
                rows, broken = power_cuts(folder, asked.count, known)
            case "corruption":
                rows, broken = corruptions(folder, asked.count, asked.heal, known)
            case "log-cuts":
                rows, broken = log_cuts(folder, asked.count, known)
            case "full":
                rows, broken = full_disk(folder)
            case "double":
                rows, broken = double_start(folder)
            case "snapshots":
                rows, broken = snapshot_failpoints(folder)
            case _:
                rows, broken = named_failpoints(folder, asked.count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if known.reused:
        rows.append(("interrupted", asked.part, "known from before", known.reused))
    json.dump({"rows": rows, "broken": broken, "seconds": round(time.monotonic() - began, 1)}, sys.stdout)


if __name__ == "__main__":
    main()
