"""How long ``--help`` of every command group takes beside a bare interpreter. Goal: below 150 ms; what it imports is
pinned by a test.

python benchmarks/help.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

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


if __name__ == "__main__":
    print(f"bare interpreter  {fastest_ms('-c', 'pass'):6.1f} ms")
    for group in ("", *COMMANDS):
        command = [*group.split(), "--help"]
        print(f"{' '.join(command):<18}{fastest_ms('-m', 'dawan_node', *command):6.1f} ms")
