"""Two revisions in turns, on the same machine within the same minutes: A B A B, and the ratios of their figures.

    scripts/bench end_to_end --base main --workload transfer --rate 1800
    scripts/bench verify --base HEAD~3 --json ratios.json

A is the working tree as it is, B the revision ``--base``, checked out into a temporary folder; the benchmark's own
files are those of the working tree in both, so that both are asked the same. Each run says which package it imported,
and a run that imported the wrong one ends the comparison. Options it does not know go to the benchmark.

How to read it: a ratio is A / B of the medians over all turns. ``spread`` is how far the turns of one revision lie
apart (largest / smallest, the worse of the two); a ratio within the spread says nothing.
The benchmark must take ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]

#: Runs a benchmark's module after it has said which package there is to run.
RUN: Final = """
import runpy, sys
import dawan_node
print("package", dawan_node.__file__, file=sys.stderr, flush=True)
if not dawan_node.__file__.startswith(sys.argv[1] + "/"):
    sys.exit(f"the package of {sys.argv[1]} was to run")
name = sys.argv[2]
sys.argv = [name, *sys.argv[3:]]
runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", help="which benchmark")
    parser.add_argument("--base", required=True, help="revision to compare the working tree with")
    parser.add_argument("--turns", type=int, default=2, help="runs of each revision")
    parser.add_argument("--json", type=Path, help="write the figures of all turns and their ratios to this file")
    options, rest = parser.parse_known_args()
    with checked_out(options.base) as base:
        turns: dict[str, list[dict[str, float]]] = {"here": [], "base": []}
        for _ in range(options.turns):
            for side, tree in (("here", ROOT), ("base", base)):
                turns[side].append(numbers(run(tree, options.name, rest)))
    figures = compare(turns["here"], turns["base"])
    report(options.base, figures)
    if options.json:
        about = {"benchmark": options.name, "options": rest, "base": revision(options.base), "here": described()}
        options.json.write_text(json.dumps(about | {"turns": turns, "figures": figures}, indent=1) + "\n")


@contextmanager
def checked_out(name: str) -> Iterator[Path]:
    """The tree of a revision in a temporary folder, with this tree's benchmarks; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="dawan-base-"))
    tree = folder / "tree"
    try:
        git("worktree", "add", "--detach", str(tree), revision(name))
        shutil.rmtree(tree / "benchmarks", ignore_errors=True)
        shutil.copytree(ROOT / "benchmarks", tree / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
        yield tree
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        git("worktree", "prune")


def run(tree: Path, name: str, rest: Sequence[str]) -> Any:
    """One run of the benchmark with the package of ``tree``; its figures."""
    with tempfile.TemporaryDirectory(prefix="dawan-turn-") as folder:
        out = Path(folder) / "figures.json"
        environment = os.environ | {"PYTHONPATH": str(tree)}
        command = [sys.executable, "-c", RUN, str(tree), name, *rest, "--json", str(out)]
        child = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if child.returncode:
            sys.exit(f"{name} failed with the package of {tree}:\n{child.stdout}")
        return json.loads(out.read_text(encoding="utf-8"))


def numbers(value: Any, path: str = "") -> dict[str, float]:
    """Every number of nested figures by its path."""
    if isinstance(value, bool):
        return {}
    if isinstance(value, int | float):
        return {path: float(value)}
    inner: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    found: dict[str, float] = {}
    for key, each in inner:
        found |= numbers(each, f"{path}.{key}" if path else str(key))
    return found


def compare(here: Sequence[dict[str, float]], base: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """By figure: the medians, their ratio and the spread. Figures that are the same in all turns are settings."""
    found: dict[str, dict[str, float]] = {}
    for name in here[0]:
        mine, theirs = ([turn[name] for turn in side if name in turn] for side in (here, base))
        if len(mine) < len(here) or len(theirs) < len(base) or len({*mine, *theirs}) == 1:
            continue
        row = {"here": median(mine), "base": median(theirs)}
        if min(*mine, *theirs) > 0:
            row["ratio"] = round(row["here"] / row["base"], 3)
            row["spread"] = round(max(max(side) / min(side) for side in (mine, theirs)), 3)
        found[name] = row
    return found


def report(base: str, figures: dict[str, dict[str, float]]) -> None:
    """The table."""
    print(f"{'':<50} {'here':>12} {base[:12]:>12} {'ratio':>7} {'spread':>7}")
    for name, row in figures.items():
        ratio, spread = (f"{row[key]:>7.3f}" if key in row else f"{'-':>7}" for key in ("ratio", "spread"))
        print(f"{name:<50} {row['here']:>12.6g} {row['base']:>12.6g} {ratio} {spread}")


def revision(name: str) -> str:
    """The commit a name stands for."""
    return git("rev-parse", "--verify", f"{name}^{{commit}}")


def described() -> str:
    """The working tree's commit, marked when there are changes beside it."""
    return git("describe", "--always", "--dirty", "--abbrev=12")


def git(*arguments: str) -> str:
    child = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if child.returncode:
        sys.exit(f"git {' '.join(arguments)}: {child.stderr.strip()}")
    return child.stdout.strip()


if __name__ == "__main__":
    main()
