"""The bank of planted bugs fits the code it is planted into, and the machinery that hunts them is not fooled."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from dawan_node.testing.planted_bugs import BUGS, PlantedBug, StaleBug, bug_named, check
from dawan_node.testing.simulator.campaign import silence
from dawan_node.testing.simulator.liars import LIARS
from dawan_node.testing.simulator.plan import plan_of
from dawan_node.testing.simulator.planted import PACKAGE, QUICK, controls, hunt
from dawan_node.testing.simulator.rules import quorum_of
from dawan_node.testing.simulator.stage import run_plan

NAMES = [bug.name for bug in BUGS]


@pytest.mark.parametrize("bug", BUGS, ids=NAMES)
def test_the_text_a_bug_replaces_stands_once_and_what_replaces_it_is_python(bug: PlantedBug) -> None:
    check(bug, PACKAGE)
    text = (PACKAGE / bug.file).read_text()
    ast.parse(text.replace(bug.old, bug.new))


def test_a_stale_bug_is_said_to_be_stale(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1\nx = 1\n")
    bug = replace(BUGS[0], file="one.py", old="x = 1")
    with pytest.raises(StaleBug, match="2 times"):
        check(bug, tmp_path)


def test_the_bank_holds_at_least_24_bugs_of_different_names_and_known_liars() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 24
    assert set(QUICK) <= set(NAMES)
    assert {liar for bug in BUGS for liar in bug.hunt.liars} <= set(LIARS)


def test_a_planted_bug_is_found_in_a_copy_and_the_tree_stays_as_it_is() -> None:
    bug = bug_named("quorum of 2f")
    before = (PACKAGE / bug.file).read_text()
    find = hunt(bug, limit_s=60)
    assert "signers" in find.violation
    assert (PACKAGE / bug.file).read_text() == before


def test_more_than_f_twins_and_a_disk_that_forgets_are_seen() -> None:
    assert all(find.violation for find in controls())


def test_the_rules_have_quorums_of_their_own() -> None:
    assert [quorum_of(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 19, 22)] == [
        1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 9, 11, 13, 15,
    ]  # fmt: skip


def test_a_primary_proposes_nothing_twice_above_a_block_that_a_view_change_brought_back() -> None:
    """The driver had forgotten what the block holds, and was asked for the next one before it knew again."""
    with silence():
        outcome = run_plan(plan_of(4, kinds=("clock", "cut", "freeze", "weather", "clog", "deaf")))
    assert not outcome.violation
