"""A real validator dies at a named failpoint, under load and with peers, and is back within ten seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from failing import DEFAULT, die_and_return
from network_kit import Network

from dawan_node import failpoints
from tests.storage_faults.reached import IN_A_FETCH, IN_SNAPSHOTS, ONLY_IN_A_NETWORK

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: Not by a node that has a database and a whole log. A node alone comes by them (``campaign failpoints``).
NOT_HERE = {
    name for name in failpoints.FAILPOINTS if name.startswith(("restore.before_create", "restore.after_create"))
}
NOT_HERE |= {"db.before_marker", "db.before_marker_rename", "db.after_marker", "wal.before_truncate"}
#: Only when 64 MiB of log are full.
NOT_HERE |= {name for name in failpoints.FAILPOINTS if name.startswith(("wal.before_r", "wal.between", "wal.after_r"))}
NOT_HERE |= {"wal.after_create_segment", "log.before_checkpoint"}
NOT_HERE -= {"wal.before_recover", "wal.after_recover"}
#: A snapshot comes every 5,000 blocks, and nothing is pruned unless it is asked for (``campaign snapshots``).
NOT_HERE |= IN_SNAPSHOTS | IN_A_FETCH


@pytest.mark.extended
@pytest.mark.parametrize("name", sorted(set(failpoints.FAILPOINTS) - {DEFAULT} - NOT_HERE))
def test_a_validator_that_dies_at_any_failpoint_comes_back(
    network: Network, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_and_return(network, name, monkeypatch)


def test_what_only_a_network_reaches_is_killed_here() -> None:
    assert not ONLY_IN_A_NETWORK & NOT_HERE


def test_no_failpoint_is_named_in_a_shipped_configuration() -> None:
    shipped = Path(__file__).resolve().parents[2] / "configs"
    assert not [path for path in shipped.rglob("*") if path.is_file() and failpoints.VARIABLE in path.read_text()]
