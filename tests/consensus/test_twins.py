"""Twins: at most f doubled validators never break agreement, and the checker sees it when f + 1 do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dawan_node.consensus.agreement import Agreement
from dawan_node.consensus.block_tree import Block
from dawan_node.consensus.message_log import Slot
from dawan_node.consensus.messages import PrePrepare, ViewChange
from dawan_node.consensus.view_changer import ViewChanger
from dawan_node.primitives.block import Header
from dawan_node.testing import twins
from dawan_node.testing.twins import Space, cuts, partitions, play


def texts(report: twins.TwinsReport) -> list[str]:
    return [violation.text for violation in report.violations]


@pytest.mark.parametrize(
    ("n", "doubled", "views", "window", "count"),
    [(4, 1, 5, 1, 80), (4, 1, 7, 1, 20), (4, 1, 5, 2, 20), (5, 1, 5, 1, 20), (6, 1, 5, 1, 16), (7, 2, 6, 1, 12)],
)
def test_f_twins_break_nothing(n: int, doubled: int, views: int, window: int, count: int) -> None:
    report = twins.run(0, count, twins=doubled, views=views, n=n, window=window, seed=4)
    assert report.violations == []
    assert report.scenarios == count
    # A machine that never gets anywhere would find nothing either.
    assert report.decided > count // 4
    assert sum(report.views_reached[view] for view in report.views_reached if view >= 4) > count // 4


def test_f_plus_1_twins_fork_the_chain() -> None:
    found = texts(twins.run(150, 90, twins=2, seed=4))
    assert "two blocks or results at height 1" in found
    assert any("halted" in text for text in found)


def test_a_view_change_that_hides_what_was_prepared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ViewChanger._view_change

    def forgetful(self: ViewChanger, view: int, suspects: tuple[object, ...]) -> ViewChange | None:
        self._state.prepared.clear()
        return honest(self, view, suspects)  # type: ignore[arg-type]

    monkeypatch.setattr(ViewChanger, "_view_change", forgetful)
    report = twins.run(0, 100, seed=4)
    assert any("two blocks" in text for text in texts(report))
    assert any("accuses the honest" in text for text in texts(report))


def test_a_replica_that_votes_twice_is_found_when_no_guard_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Agreement._prepare

    def forgetful(self: Agreement, slot: Slot, header: Header, block_hash: bytes, block: Block | None) -> bool:
        slot.own_prepare = slot.accepted = None
        return honest(self, slot, header, block_hash, block)

    monkeypatch.setattr(Agreement, "_prepare", forgetful)
    monkeypatch.setattr(Agreement, "_is_timely", lambda self, slot, block: True)
    on_pre_prepare = Agreement.on_pre_prepare

    def credulous(self: Agreement, message: PrePrepare) -> None:
        slot = self._state.log.slots.get(message.header.height)
        if slot is not None and slot.own_commit is None:
            slot.proposal = slot.accepted = None
            slot.prepares.clear()
        on_pre_prepare(self, message)

    monkeypatch.setattr(Agreement, "on_pre_prepare", credulous)
    assert any("signed two values" in text for text in texts(twins.run(0, 20, seed=4)))


def test_every_partition_into_two_or_three_groups_is_there_once() -> None:
    assert len(partitions(5)) == 15 + 25  # Stirling numbers of the second kind S(5, 2) and S(5, 3)
    assert len(partitions(9)) == 255 + 3_025
    assert len(set(partitions(9))) == 255 + 3_025


def test_numbers_and_scenarios_are_the_same_thing() -> None:
    one = Space(4, 1, 1)
    assert one.size == 4 * 40 * 13
    scenarios = {one.scenario(index) for index in range(one.size)}
    assert len(scenarios) == one.size
    assert {step.cut for scenario in scenarios for step in scenario.steps} == set(cuts(5))
    assert {scenario.twins for scenario in scenarios} == {(0,), (1,), (2,), (3,)}
    two = Space(4, 1, 2)
    assert two.size == one.size * 4 * 40 * 13
    block = [two.scenario(index) for index in range(4 * 40 * 13)]  # one first step with every second one
    assert len({scenario.steps[0] for scenario in block}) == 1
    assert len({scenario.steps[1] for scenario in block}) == 4 * 40 * 13


def test_shuffling_visits_every_scenario_once() -> None:
    space = Space(4, 1, 1)
    assert sorted(space.shuffled(position, 7) for position in range(space.size)) == list(range(space.size))
    assert [space.shuffled(position, 7) for position in range(5)] != list(range(5))


def test_ranges_add_up_to_the_whole() -> None:
    whole = twins.run(0, 12, seed=2)
    parts = twins.TwinsReport()
    for first in (0, 5, 9):
        parts.add(twins.run(first, {0: 5, 5: 4, 9: 3}[first], seed=2))
    assert parts == whole


TRACE = """
from dawan_node.testing.twins import Space, play
space = Space()
print([play(space, space.shuffled(position, 1), traced=True).trace_hash for position in range(8)])
"""


def test_the_same_scenario_gives_the_same_trace_whatever_the_hash_seed() -> None:
    there = subprocess.run(
        [sys.executable, "-c", TRACE],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    space = Space()
    here = [play(space, space.shuffled(position, 1), traced=True).trace_hash for position in range(8)]
    assert there == f"{here}\n"
