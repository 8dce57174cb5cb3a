"""Timing one piece of code many times, and printing rows of it.

Of processor work the best of several passes is kept, in processor time of the thread: neighbours can only add to it.
Where the tail is the point (disk) it is wall time, with percentiles.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def best_us(work: Callable[[], object], per: int, passes: int = 7) -> float:
    """The best pass of ``work``, in microseconds of this thread for each of the ``per`` things it does."""
    best = float("inf")
    for _ in range(passes):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best * 1e6 / per


@dataclass
class Durations:
    """Every single run of something: wall time, and what the thread itself used of the processor."""

    name: str
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def measure(self, work: Callable[[], object]) -> None:
        """Run it once."""
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        self.cpu_ms.append((time.thread_time() - cpu) * 1e3)
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)

    def row(self) -> dict[str, float | int]:
        """Median, 95th percentile, maximum."""
        ordered = sorted(self.wall_ms)
        return {
            "runs": len(ordered),
            "wall_ms_p50": round(statistics.median(ordered), 3),
            "wall_ms_p95": round(ordered[int(len(ordered) * 0.95)], 3),
            "wall_ms_max": round(ordered[-1], 3),
            "cpu_ms_p50": round(statistics.median(self.cpu_ms), 3),
        }


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows the module's docstring and has ``--json``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def tell(figures: dict[str, Any], path: Path | None) -> None:
    """Print figures, one a line, those of a dictionary as its columns; write all of them to ``path``."""
    columns: list[str] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            if list(value) != columns:
                columns = list(value)
                print(f"{'':<52}" + "".join(f"{column:>20}" for column in columns))
            print(f"{name:<52}" + "".join(f"{_text(each):>20}" for each in value.values()))
        else:
            print(f"{name:<52}{_text(value):>20}")
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def rows(durations: Iterable[Durations]) -> dict[str, Any]:
    """Figures of several."""
    return {each.name: each.row() for each in durations}


def _text(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
