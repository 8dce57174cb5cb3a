"""What came of the storage faults: a block for each kind of fault, with a line for each call or change and a column
for each outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

Table = Counter[tuple[str, str, str]]

#: What comes first in every block, as far as it has it; other outcomes follow by name.
_FIRST = ("points", "faults", "cuts", "passed", "lost blocks", "stopped, reason", "on the harmless list")
#: Of these the largest counts, not the sum.
_LARGEST = ("ms",)


def add(table: Table, rows: Iterable[tuple[str, str, str, int]]) -> None:
    """Add the rows of one part."""
    for what, kind, outcome, count in rows:
        key = what, kind, outcome
        table[key] = max(table[key], count) if outcome in _LARGEST else table[key] + count


def lines_of(table: Mapping[tuple[str, str, str], int]) -> Iterator[str]:
    """The blocks, each with its sums where it has more than one line."""
    for block in sorted({what for what, _, _ in table}):
        cells = {(kind, outcome): count for (what, kind, outcome), count in table.items() if what == block}
        kinds = sorted({kind for kind, _ in cells})
        names = {outcome for _, outcome in cells}
        columns = [*(name for name in _FIRST if name in names), *sorted(names.difference(_FIRST))]
        yield f"{block:<28}" + "".join(f"{name:>{_width(name)}}" for name in columns)
        for kind in kinds:
            yield f"  {kind:<26}" + _numbers(columns, [cells.get((kind, name)) for name in columns])
        if len(kinds) > 1 and not names.intersection(_LARGEST):
            sums = [sum(cells.get((kind, name), 0) for kind in kinds) for name in columns]
            yield f"  {'all':<26}" + _numbers(columns, sums)


def _numbers(columns: list[str], counts: list[int] | list[int | None]) -> str:
    return "".join(
        f"{'-' if count is None else count:>{_width(name)}}" for name, count in zip(columns, counts, strict=True)
    )


def _width(name: str) -> int:
    return max(8, len(name) + 2)
