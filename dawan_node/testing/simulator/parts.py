"""What a simulation run consists of beside the seeds: each part has a short form and an extended one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dawan_node.testing.simulator.campaign import run_seeds, silence
from dawan_node.testing.simulator.scene import Scene

#: Seeds whose traces are compared between two processes.
COMPARED: Final = 50


@dataclass(frozen=True, slots=True)
class Setting:
    """How long, and in how many processes."""

    is_extended: bool
    jobs: int


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
    seconds = 120
    with silence():
        scene = Scene(1, n)
        began = time.process_time()
        for _ in range(seconds // every_s):
            scene.submit(burst)
            scene.run(every_s * 1_000)
        return seconds / (time.process_time() - began)


PARTS: Final[dict[str, Part]] = {
    "determinism": Part(_determinism),
    "rate": Part(_rate),
    "seeds": Part(lambda setting: (True, [])),
}
