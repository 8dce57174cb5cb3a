"""docs/modules.md: its commands answer as printed, its code makes a module that passes, its tables are the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.execution import guard, meter
from dawan_node.execution.lint import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")


def console() -> Iterator[tuple[str, str]]:
    """(command, expected output) of every console block, in order."""
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield command, expected.strip("\n")


def edits() -> Iterator[tuple[str, str, str]]:
    """(file, text to replace or empty, new text) of every Python block."""
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        head, _, text = block.partition("\n")
        file, _, where = head.removeprefix("# ").partition(", ")
        yield file, where.removeprefix("instead of: ") if where != "at the end" else "", text


def as_pattern(expected: str) -> str:
    return re.sub(r"(\\ )+", r"\\s+", re.escape(expected)).replace("…", "(.|\n)*")


@pytest.mark.extended
def test_the_page_goes_from_nothing_to_an_installed_module(tmp_path: Path) -> None:
    shim = tmp_path / "bin"
    shim.mkdir()
    site = tmp_path / "site"
    programs = {
        "dawan-node": f'exec "{sys.executable}" -m dawan_node "$@"',
        # Not into the interpreter that runs the tests: an editable install is a line with the project's path.
        "pip": f'for last; do :; done; mkdir -p "{site}"; exec "{sys.executable}" -m pip install --quiet --no-deps'
        f' --no-build-isolation --no-index --target "{site}" "./$last"',
    }
    for name, text in programs.items():
        (shim / name).write_text(f"#!/bin/sh\n{text}\n")
        (shim / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{shim}:{os.environ['PATH']}",
        "PYTHONPATH": f"{site}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command, expected in console():
        if command.startswith("pip"):
            _apply_edits(tmp_path / "greetings")
            _run_tests_of_the_edited(tmp_path / "greetings", environment)
        answered = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert answered.returncode == 0, answered.stderr
        assert re.fullmatch(as_pattern(expected), answered.stdout.strip("\n")), (command, answered.stdout)


def _apply_edits(project: Path) -> None:
    for file, old, new in edits():
        path = project / file
        text = path.read_text()
        if old:
            assert text.count(old) == 1, (file, old)
            path.write_text(text.replace(f"    {old}" if f"    {old}" in text else old, new.rstrip("\n")))
        else:
            path.write_text(f"{text}\n\n{new}")


def _run_tests_of_the_edited(project: Path, environment: dict[str, str]) -> None:
    for command in (
        [sys.executable, "-m", "dawan_node", "module", "lint", "."],
        [sys.executable, "-m", "ruff", "check", "."],
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
    ):
        path = f"{project}:{environment['PYTHONPATH']}"
        tested = subprocess.run(
            command, cwd=project, env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert tested.returncode == 0, tested.stdout + tested.stderr


def rows_below(header: str) -> list[list[str]]:
    rows = PAGE.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in rows]


def test_the_page_lists_every_code_of_lint_with_its_reason_and_remedy() -> None:
    assert rows_below("| Code | Why | Instead |") == [[code, rule.why, rule.instead] for code, rule in RULES.items()]


def test_the_page_lists_the_limits_as_they_are() -> None:
    shown = {name: int(value.replace(",", "")) for name, value, _ in rows_below("| Limit | Value | Of what |")}
    assert shown == {name: getattr(meter, name, None) or getattr(guard, name) for name in shown}
    named = {name for module in (meter, guard) for name in vars(module) if name.endswith(("_MAX", "_PER_STEP"))}
    assert named - shown.keys() == {"DIGITS_MAX"}, "which is INT_BITS_MAX in decimal"
