"""Tables in docstrings that say which test covers what: ``module::test_name``, and whether that test exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_TESTS = Path(__file__).parent
_CITATION = re.compile(r"\b(test_[a-z0-9_]+)::((?:Test\w+::)?test_[a-z0-9_]+)")


def cited(docstring: str | None) -> list[tuple[str, str]]:
    """(module, test) of every citation, in order."""
    return _CITATION.findall(docstring or "")


def first_cells(docstring: str | None) -> list[str]:
    """The first cell of every row of the docstring's table, its head and rule left out."""
    rows = [line for line in (docstring or "").splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip() for row in rows[2:]]


@cache
def _source(module: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(_TESTS.rglob(f"{module}.py")))


def missing(docstring: str | None) -> list[str]:
    """Citations that name no test."""
    return [
        f"{module}::{name}"
        for module, name in cited(docstring)
        if not re.search(rf"^\s*(async )?def {name.rpartition('::')[2]}\(", _source(module), re.MULTILINE)
    ]
