"""What a simulation run consists of beside the seeds: each part has a short form and an extended one."""

from __future__ import annotations

import os
import subprocess
import sys
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
    """How much faster than real time: n validators, a payment a second, no faults."""
    import time

    lines = []
    sizes = (1, 4, 7, 10) if not setting.is_extended else tuple(range(1, 11))
    for n in sizes:
        with silence():
            scene = Scene(1, n)
            began = time.process_time()
            for _ in range(120):
                scene.submit(1)
                scene.run(1_000)
            elapsed = time.process_time() - began
        lines.append(f"n = {n:2}: {120 / elapsed:6.0f} x real time with a payment a second, {scene.heights[0]} blocks")
    return True, lines


PARTS: Final[dict[str, Part]] = {
    "determinism": Part(_determinism),
    "rate": Part(_rate),
    "seeds": Part(lambda setting: (True, [])),
}
