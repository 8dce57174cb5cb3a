"""A real validator dies at a named failpoint, under load and with peers, and is back within ten seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from network_kit import Load, Network, until

from dawan_node import failpoints
from tests.storage_faults.reached import IN_A_FETCH, IN_SNAPSHOTS, ONLY_IN_A_NETWORK

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: From the start of the process to the head of the others (reliability.md A2).
REJOIN_S = 10.0

#: A node alone is killed at all the others in the default run (``campaign failpoints``).
DEFAULT = ("apply.before_judge",)
#: Reached while the process ends, not while it works.
AT_THE_END = ("node.before_stop", "node.before_close", "node.after_close", "db.before_close", "db.after_close")
AT_THE_END += ("wal.before_last_mark", "wal.after_last_mark")
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


def die_and_return(network: Network, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node, *others = network.nodes
    with Load(network, tuple(others)) as load:
        load.wait_for(10)
        network.processes.stop((node,))
        load.wait_for(10)  # what it has to catch up with
        monkeypatch.setenv(failpoints.VARIABLE, name)
        network.processes.start(node)
        monkeypatch.delenv(failpoints.VARIABLE)
        if name in AT_THE_END:
            network.wait_answering(node)
            network.processes.stop((node,))
        until(lambda: network.processes.pid(node) is None, 30.0, f"death at {name}")
        load.wait_for(10)
        network.processes.start(node)
        network.wait_answering(node)
        goal = network.head(others[0])[0]
        until(lambda: network.head(node)[0] >= goal, REJOIN_S, f"the return of {node.name} after {name}")
    network.assert_kept(load.committed)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_validator_that_dies_at_a_failpoint_comes_back(
    network: Network, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_and_return(network, name, monkeypatch)


@pytest.mark.extended
@pytest.mark.parametrize("name", sorted(set(failpoints.FAILPOINTS) - set(DEFAULT) - NOT_HERE))
def test_a_validator_that_dies_at_any_failpoint_comes_back(
    network: Network, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_and_return(network, name, monkeypatch)


def test_what_only_a_network_reaches_is_killed_here() -> None:
    assert not ONLY_IN_A_NETWORK & NOT_HERE


def test_no_failpoint_is_named_in_a_shipped_configuration() -> None:
    shipped = Path(__file__).resolve().parents[2] / "configs"
    assert not [path for path in shipped.rglob("*") if path.is_file() and failpoints.VARIABLE in path.read_text()]
