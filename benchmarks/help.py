"""How long ``--help`` of every command group takes beside a bare interpreter. Goal: below 150 ms; what it imports is
pinned by a test.

python benchmarks/help.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.timing import parser_of, tell
from dawan_node.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def fastest_ms(*arguments: str) -> float:
    """The fastest of 20 runs, in milliseconds."""
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=ROOT)
        best = min(best, (time.perf_counter() - start) * 1000)
    return best


def main() -> None:
    parser = parser_of(__doc__)
    options = parser.parse_args()
    figures = {"bare interpreter, ms": fastest_ms("-c", "pass")}
    for group in ("", *COMMANDS):
        command = [*group.split(), "--help"]
        figures[f"{' '.join(command)}, ms"] = fastest_ms("-m", "dawan_node", *command)
    tell(figures, options.json)


if __name__ == "__main__":
    main()
