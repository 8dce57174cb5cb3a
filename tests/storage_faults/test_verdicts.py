"""An interrupted run of the storage faults goes on where it was, and believes nothing about other code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage_faults import verdicts
from tests.storage_faults.table import Table, add, lines_of
from tests.storage_faults.verdicts import Verdicts


def never() -> None:
    raise AssertionError("it was known")


def test_what_an_interrupted_run_found_out_is_known_to_the_next_and_what_it_was_cut_off_in_is_not(
    tmp_path: Path,
) -> None:
    first = Verdicts(tmp_path, "points")
    assert [first.of(key, lambda: {"outcome": "passed"}) for key in ("one", "two")] == [{"outcome": "passed"}] * 2
    path = tmp_path / "points.jsonl"
    path.write_text(path.read_text()[:-5])
    second = Verdicts(tmp_path, "points")
    assert second.of("one", never) == {"outcome": "passed"} and second.reused == 1
    assert second.of("two", lambda: "again") == "again" and second.of("three", lambda: 3) == 3
    third = Verdicts(tmp_path, "points")
    assert [third.of(key, never) for key in ("one", "two", "three")] == [{"outcome": "passed"}, "again", 3]


def test_what_was_found_out_about_other_code_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Verdicts(tmp_path, "points").of("one", lambda: "old")
    monkeypatch.setattr(verdicts, "version", lambda: "another commit")
    assert Verdicts(tmp_path, "points").of("one", lambda: "new") == "new"


def test_the_table_has_a_line_for_each_call_a_column_for_each_outcome_and_their_sums() -> None:
    table = Table()
    add(table, [("killed at", "write", "points", 2), ("killed at", "write", "lost blocks", 0)])
    add(table, [("killed at", "write", "points", 1), ("killed at", "rename", "points", 4)])
    add(table, [("slowest stop", "EIO", "ms", 40), ("slowest stop", "EIO", "ms", 30)])
    lines = [line.split() for line in lines_of(table)]
    assert lines == [
        ["killed", "at", "points", "lost", "blocks"],
        ["rename", "4", "-"],
        ["write", "3", "0"],
        ["all", "7", "0"],
        ["slowest", "stop", "ms"],
        ["EIO", "40"],
    ]
