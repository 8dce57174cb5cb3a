"""Plants bugs in copies of the package, one each, and lets the simulator find them (``scripts/simulate planted``).

The tree itself is never touched: each bug has a temporary folder with a copy of the package, and a process that runs
``hunter`` there. Two controls need no copy: two twins of four validators, and a disk that forgets what it synced, are
more than any protocol survives, so the checks must see them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import dawan_node
from dawan_node.testing.planted_bugs import BUGS, PlantedBug, check, plant
from dawan_node.testing.simulator.campaign import silence
from dawan_node.testing.simulator.plan import plan_of
from dawan_node.testing.simulator.scene import Scene, run_checked
from dawan_node.testing.simulator.stage import build, perform
from dawan_node.testing.simulator.world import Violation

PACKAGE: Final = Path(dawan_node.__file__).parent

#: A bug that is not found in so much processor time is not found.
LIMIT_S: Final = 120.0
#: A process that takes so many times as long by the clock, and a minute, hangs; one that runs beside the tests
#: (``scripts/test``) has only what they leave of a processor.
CLOCK_PER_PROCESSOR: Final = 10
GRACE_S: Final = 60.0

#: What the default run hunts: quick to find, and each of another kind.
QUICK: Final = (
    "quorum of 2f + 1",
    "no in-order commit",
    "prepared certificate dropped",
    "sign before persist",
    "nonces not checked",
    "guard without floor",
)

#: Seeds of each control; the first usually does.
_CONTROL_SEEDS: Final = 40


@dataclass(frozen=True, slots=True)
class Find:
    """What became of a hunt; ``violation`` is empty when nothing was found. ``seconds`` are of processor time."""

    name: str
    seed: int
    seconds: float
    violation: str

    @property
    def line(self) -> str:
        """For the table."""
        what = self.violation.strip().splitlines()[-1] if self.violation else "NOT FOUND"
        return f"{self.name:30} seed {self.seed:4} {self.seconds:6.1f} s  {what[:110]}"


def hunt(bug: PlantedBug, limit_s: float = LIMIT_S) -> Find:
    """Plant ``bug`` in a copy and hunt it there. Raises StaleBug, or RuntimeError when the hunter broke."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder) / PACKAGE.name
        shutil.copytree(PACKAGE, copy)  # with the compiled files: those of unchanged ones are still good
        plant(bug, copy)
        try:
            run = subprocess.run(
                [sys.executable, "-m", "dawan_node.testing.simulator.hunter", bug.name, "--limit", str(limit_s)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=limit_s * CLOCK_PER_PROCESSOR + GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Find(bug.name, 0, limit_s, "")
        if run.returncode:
            raise RuntimeError(f"the hunter of {bug.name!r} broke:\n{run.stderr}")
        found = json.loads(run.stdout)
        if Path(found["package"]).resolve() != copy.resolve():
            raise RuntimeError(f"the hunter of {bug.name!r} ran {found['package']}, not the copy")
        return Find(bug.name, found["seed"], found["seconds"], found["violation"])


def hunt_all(bugs: Sequence[PlantedBug], jobs: int, limit_s: float = LIMIT_S) -> Iterator[Find]:
    """Hunt ``bugs``, ``jobs`` at a time, in their order. Raises StaleBug before anything is run."""
    for bug in bugs:
        check(bug, PACKAGE)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda bug: hunt(bug, limit_s), bugs)


def run_planted(names: Sequence[str], is_extended: bool, jobs: int) -> tuple[bool, list[str]]:
    """Hunt the bugs called ``names``; without any the quick ones, or all. Whether all were found, and the table."""
    wanted = tuple(names) or (() if is_extended else QUICK)
    bugs = [bug for bug in BUGS if not wanted or bug.name in wanted]
    began = time.monotonic()
    finds = [*controls(), *hunt_all(bugs, jobs)] if not names else list(hunt_all(bugs, jobs))
    missed = sum(1 for find in finds if not find.violation)
    lines = [find.line for find in finds]
    lines.append(f"{len(finds) - missed} of {len(finds)} found in {time.monotonic() - began:.0f} s")
    return not missed, lines


# Controls


def controls() -> list[Find]:
    """What the checks must see on the sound package."""
    return [
        _control("control: two twins of four", _two_twins, ("fork at height", "reports halted")),
        _control("control: a disk that forgets", _forgetful, ("synced records",)),
    ]


def _control(name: str, make: Callable[[int], None], marks: Sequence[str]) -> Find:
    began = time.process_time()
    with silence():
        for seed in range(1, _CONTROL_SEEDS + 1):
            try:
                make(seed)
            except Violation as found:
                if any(mark in str(found) for mark in marks):
                    return Find(name, seed, time.process_time() - began, str(found))
    return Find(name, _CONTROL_SEEDS, time.process_time() - began, "")


def _two_twins(seed: int) -> None:
    """f + 1 of n = 4 run twice, and each half of the network holds one mind of both."""
    scene = Scene(seed, 4, twins=(0, 1))
    scene.partition([0, 1, 2], [4, 5, 3])
    for honest in (2, 3):
        scene.submit(2, to=honest)
    scene.run(30_000)
    scene.heal()
    scene.settle()


def _forgetful(seed: int) -> None:
    """One disk says synced and is not."""
    plan = replace(plan_of(seed, validators=4, kinds=("crash",)), liars=(), twins=(), spares=0, drifts_ppm=(0,) * 4)
    scene = build(plan)
    for node in scene.nodes:
        node.disk_habits.forgets = True
    perform(scene, plan)
    run_checked(scene)
