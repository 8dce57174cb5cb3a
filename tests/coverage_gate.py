"""Branch coverage of the parts where a mistake forks the chain, judged line by line: ``scripts/coverage``.

Every line or branch that no test reaches is printed with the reason why none can, from ``coverage_explained.toml``. One
without a reason is a failure. So is a reason for a line that is reached, or that is not there any more: explanations go
stale like comments.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERCENT_MIN = 98.0
EXPLAINED = Path(__file__).with_name("coverage_explained.toml")


@dataclass(frozen=True, order=True)
class Place:
    """A line, found by its text inside its function, so that it may move."""

    path: str
    function: str
    text: str


def functions_of(source: str) -> dict[int, str]:
    """The innermost function or class of each line, as a dotted name."""
    names: dict[int, str] = {}

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                names.update(dict.fromkeys(range(child.lineno, (child.end_lineno or child.lineno) + 1), name))
            walk(child, name)

    walk(ast.parse(source), "")
    return names


def uncovered(path: str, entry: dict[str, Any]) -> dict[Place, list[int]]:
    """The places of one file that tests miss: lines never run, and lines one of whose branches is never taken."""
    source = Path(path).read_text(encoding="utf-8")
    lines, functions = source.splitlines(), functions_of(source)
    missed = set(entry["missing_lines"])
    numbers = missed | {start for start, _ in entry["missing_branches"] if start not in missed}
    found: dict[Place, list[int]] = defaultdict(list)
    for number in sorted(numbers):
        found[Place(path, functions.get(number, ""), lines[number - 1].strip())].append(number)
    return found


def is_there(place: Place) -> bool:
    """Whether the source still has this line in this function."""
    path = Path(place.path)
    if not path.is_file():
        return False
    source = path.read_text(encoding="utf-8")
    functions = functions_of(source)
    return any(
        line.strip() == place.text and functions.get(number, "") == place.function
        for number, line in enumerate(source.splitlines(), 1)
    )


def explanations() -> dict[Place, str]:
    entries = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("line", [])
    return {Place(entry["path"], entry["in"], entry["text"]): entry["reason"] for entry in entries}


def main(report: Path) -> int:
    """Judge the JSON report of coverage; the exit code."""
    data = json.loads(report.read_text(encoding="utf-8"))
    reasons = explanations()
    missed: dict[Place, list[int]] = {}
    for path in sorted(data["files"]):
        entry = data["files"][path]
        print(f"{entry['summary']['percent_covered']:6.2f} %  {path}")
        missed |= uncovered(path, entry)
    unexplained = 0
    for place, numbers in sorted(missed.items(), key=lambda item: (item[0].path, item[1])):
        reason = reasons.get(place)
        unexplained += reason is None
        where = ",".join(map(str, numbers))
        print(f"\n{place.path}:{where} in {place.function}\n    {place.text}\n    -> {reason or 'NOT EXPLAINED'}")
    stale = [place for place in reasons if place not in missed]
    for place in stale:
        why = "is reached" if is_there(place) else "is not there any more"
        print(f"\nSTALE: {place.path} in {place.function}: {place.text!r} {why}; take its reason out")
    percent = data["totals"]["percent_covered"]
    verdict = "ok" if percent >= PERCENT_MIN and not stale and not unexplained else "FAILED"
    print(
        f"\ncoverage: {percent:.2f} % of lines and branches (at least {PERCENT_MIN} %), {len(missed)} places missed, "
        f"{unexplained} of them without a reason, {len(stale)} stale reasons: {verdict}"
    )
    return 0 if verdict == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
