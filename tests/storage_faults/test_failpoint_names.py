"""Failpoints: the names are those in the code, nothing is armed by accident, and every one is reached somewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from dawan_node import failpoints
from dawan_node.errors import OperatorError
from dawan_node.node.process import _arm_failpoint
from tests.storage_faults.reached import IN_A_FETCH, IN_SNAPSHOTS, ONLY_IN_A_NETWORK, REACHED_ALONE

PACKAGE = Path(failpoints.__file__).parent
_CALL = re.compile(r"failpoints\.reach\(\"([a-z_.]+)\"\)")


def test_the_places_in_the_code_are_the_names_in_the_table() -> None:
    found = [
        name
        for path in PACKAGE.rglob("*.py")
        if path.name != "failpoints.py"
        for name in _CALL.findall(path.read_text())
    ]
    assert set(found) == set(failpoints.FAILPOINTS)
    assert len(failpoints.FAILPOINTS) >= 45


def test_every_name_is_reached_by_some_run() -> None:
    """By a node alone (``test_storage_faults``, which compares with this list), or by a network that is run for it."""
    sets = REACHED_ALONE, ONLY_IN_A_NETWORK, IN_SNAPSHOTS, IN_A_FETCH
    assert Counter(name for each in sets for name in each) == Counter(failpoints.FAILPOINTS.keys())


def test_nothing_is_armed_by_default() -> None:
    assert failpoints._listener.arrived is None
    failpoints.reach("wal.before_sync")


@pytest.mark.parametrize("text", ["wal.nowhere", "wal.before_sync:0", "wal.before_sync:x", "wal.before_sync:", ""])
def test_a_name_or_count_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"failpoint|number"):
        failpoints.arm(text)
    assert failpoints._listener.arrived is None


def test_a_node_that_is_no_test_network_refuses_to_start_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "wal.before_sync")
    with pytest.raises(OperatorError, match="DAWAN_FAILPOINT"):
        _arm_failpoint(faults=False)
    assert failpoints._listener.arrived is None
    monkeypatch.setenv(failpoints.VARIABLE, "nowhere")
    with pytest.raises(OperatorError, match="nowhere"):
        _arm_failpoint(faults=True)
    monkeypatch.delenv(failpoints.VARIABLE)
    _arm_failpoint(faults=False)
