"""An observer that lost its ledger joins again by snapshot, in real processes, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from network_kit import CHANNEL, running, until

from dawan_node.errors import DawanError

pytestmark = pytest.mark.processes

EAGER = "snapshot_every = 4\nsnapshot_behind = 6\n"


def test_an_observer_with_empty_data_joins_by_snapshot(tmp_path: Path) -> None:
    with running(tmp_path, 1, EAGER) as network:
        validator, observer = network.nodes[0], network.nodes[2]
        network.commit(validator)
        until(lambda: network.head(observer)[0] >= 1, 20, "a block at the observer, which its log knows of")
        network.processes.kill(observer)
        shutil.rmtree(network.devnet.home(observer).channel_folder(CHANNEL))
        while network.head(validator)[0] < 9:
            network.commit(validator)
        offered = network.devnet.home(validator).channel_folder(CHANNEL) / "snapshots"
        until(lambda: any(offered.glob("[0-9]*/manifest")), 20, "a snapshot")

        network.processes.start(observer)

        def has_joined() -> bool:
            try:
                return network.head(observer)[0] >= 9
            except DawanError:
                return False

        until(has_joined, 40, "joining by snapshot")
        network.commit(observer)
        network.agree()
        said = network.processes.log_file(observer).read_text()
        for event in ("snapshot_wanted", "snapshot_chosen", "snapshot_ready", "node_reopens", "snapshot_installed"):
            assert event in said, event
        with network.client(observer) as client, pytest.raises(DawanError, match="no longer kept"):
            client.call("chain_getBlock", [CHANNEL, 3])
        with network.client(observer) as client, pytest.raises(DawanError, match="no longer kept"):
            client.call("events_get", [CHANNEL])
        assert network.ask(observer, "chain_getBlock", CHANNEL, "latest")["txs"]
        proof = network.ask(observer, "state_get", CHANNEL, "governance", "genesis", "0x", "latest", True)
        assert proof["proof"]
