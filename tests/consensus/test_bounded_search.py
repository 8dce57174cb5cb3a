"""Bounded exhaustive search: what it saw whole is right, and a planted fork is found (consensus.md section 2, B6)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dawan_node.consensus.agreement import Agreement
from dawan_node.consensus.messages import ViewChange
from dawan_node.consensus.view_changer import ViewChanger
from dawan_node.primitives import validators
from dawan_node.testing import bare_network, bounded_search
from dawan_node.testing.bounded_search import Bounds
from dawan_node.testing.replica_copy import copy_of, digest_of


@pytest.fixture
def fresh_worlds() -> Iterator[None]:
    bare_network.world_of.cache_clear()
    bare_network.suspect_certificate.cache_clear()
    yield
    bare_network.world_of.cache_clear()
    bare_network.suspect_certificate.cache_clear()


def test_one_view_of_an_equivocating_primary_is_searched_whole() -> None:
    report = bounded_search.run(Bounds(liar=0, view_max=0))
    assert report.is_exhaustive
    assert report.violations == [] and report.frontier == 0
    assert report.states > 100 and report.decided > 50
    assert "exhaustive" in str(report) and "not exhaustive" not in str(report)


@pytest.mark.parametrize("liar", [0, 1, 3])
def test_a_search_that_was_stopped_does_not_call_itself_exhaustive(liar: int) -> None:
    report = bounded_search.run(Bounds(liar=liar), states_max=800)
    assert report.violations == []
    assert report.states == 800 and report.frontier > 0
    assert not report.is_exhaustive and "not exhaustive" in str(report)


def test_a_quorum_of_two_forks_in_the_first_view(monkeypatch: pytest.MonkeyPatch, fresh_worlds: None) -> None:
    monkeypatch.setattr(validators, "quorum", lambda n: 2)
    report = bounded_search.run(Bounds(liar=0, view_max=0))
    assert any("two blocks" in text for text in report.violations)
    assert report.schedule, "it says how"
    assert not report.is_exhaustive


def test_a_view_change_that_hides_what_was_prepared_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ViewChanger._view_change

    def forgetful(self: ViewChanger, view: int, suspects: tuple[object, ...]) -> ViewChange | None:
        self._state.prepared.clear()
        return honest(self, view, suspects)  # type: ignore[arg-type]

    monkeypatch.setattr(ViewChanger, "_view_change", forgetful)
    report = bounded_search.run(Bounds(liar=3), states_max=60_000)
    assert report.violations


def test_halting_on_any_other_block_in_o_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that this search refuted (``test_agreement``)."""
    honest = Agreement._vote_for_decided_entries

    def hasty(self: Agreement) -> None:
        for entry in self._state.entries:
            final = self._state.chain.recent.get(entry.header.height)
            if final is not None and final.block_hash != entry.block_hash:
                self._state.stop_for_own_key(b"halts too early")
        honest(self)

    monkeypatch.setattr(Agreement, "_vote_for_decided_entries", hasty)
    report = bounded_search.run(Bounds(liar=1), states_max=60_000)
    assert any("halted" in text for text in report.violations)
    assert report.schedule[-1].startswith(("0: ", "2: ", "3: "))


def test_a_copy_of_a_replica_lives_its_own_life() -> None:
    network = bare_network.BareNetwork()
    network.propose()
    replica = network.nodes[1].replica
    before = digest_of(replica)
    copy = copy_of(replica)
    assert digest_of(copy) == before
    network.settle()
    assert digest_of(replica) != before
    assert digest_of(copy) == before
    assert copy.height == 0 and replica.height == 1


SEARCH = """
from dawan_node.testing.bounded_search import Bounds, run
report = run(Bounds(liar=0), states_max=400)
print(report, report.local_states, report.executions, report.transitions)
"""


def test_the_same_bounds_give_the_same_search_whatever_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SEARCH],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
