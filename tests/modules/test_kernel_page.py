"""docs/kernel.md lists what the kernel has, no more and no less, and its examples run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dawan_node.execution.lint import lint_source
from dawan_node.modules.identifiers import Scheme
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.modules.refdata.tables import TABLES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "kernel.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def rows_below(header: str) -> list[str]:
    """The rows of the table with this header."""
    return PAGE.split(header)[1].split("\n\n")[0].splitlines()[2:]


def names_in(rows: list[str]) -> set[str]:
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "def " not in each])
def test_an_example_that_stands_alone_runs(example: str) -> None:
    exec(compile(example, "docs/kernel.md", "exec"), {})  # noqa: S102 - our own page


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_passes_the_lint(example: str) -> None:
    assert ast.parse(example)
    assert lint_source(example) == []


def test_the_page_lists_functions_commands_tables_schemes_and_parameters_as_they_are() -> None:
    assert names_in(rows_below("| Function | What it does |")) == set(kernel.exports)
    assert names_in(rows_below("| Command | Role | Effect |")) == set(kernel.commands)
    assert names_in(rows_below("| Scheme | Form | Checked |")) == {scheme.value for scheme in Scheme}
    tables = PAGE.split("Tables: ")[1].split(". ")[0]
    assert set(re.findall(r"`(\w+)`", tables)) == set(TABLES)
    assert set(refdata.commands) <= set(re.findall(r"`(\w+)`", PAGE))
    shown = [[cell.strip(" `") for cell in row.split("|")[1:4]] for row in rows_below("| Key | First value | Unit |")]
    assert shown == [[key, f"{spec.first:,}", spec.unit] for key, spec in PARAMETERS.items()]


def test_every_reason_on_the_page_is_declared_or_said_to_be_the_authors() -> None:
    own = {"E_CALENDAR", "E_GOODS", "E_CURRENCY", "E_NOT_HOLDER", "E_OTHER_MODULE"}
    assert set(re.findall(r"E_[A-Z_]+", PAGE)) - set(kernel.errors) - set(refdata.errors) == own
