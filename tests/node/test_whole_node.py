"""A whole node as it is put together: what it remembers for channels it does not serve, and who may sign."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.cli import devnet_network
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.node import config as node_config
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import SystemClock
from dawan_node.node.home import unlock
from dawan_node.node.node import Node
from dawan_node.storage.wal import Wal, WalRecord


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    return devnet_network.create(tmp_path_factory.mktemp("whole") / "net", 1)


def look_into(devnet: Devnet, of: DevnetNode, look: Callable[[Node], None]) -> None:
    """Build the node as the daemon does, look, and close it again."""
    home = devnet.home(of)

    async def main() -> None:
        config = node_config.load(home.config_file)
        keys = unlock(home, devnet.passphrase_file.read_bytes().strip())
        node = Node(config, home, keys, consortium_file.load(home.consortium_file), SystemClock())
        try:
            look(node)
        finally:
            await node._verifier.close()
            node._close_storage()

    asyncio.run(main())


def test_records_of_a_channel_that_is_not_served_now_outlive_a_new_segment(devnet: Devnet) -> None:
    """Amendment U7: a channel may come back, and the key must not have forgotten what it signed there."""
    node = devnet.nodes[0]
    foreign = WalRecord(bytes(range(32)), 3, b"what was signed on a channel of last year")
    wal = Wal.open(devnet.home(node).wal)
    wal.append([foreign])
    wal.sync()
    wal.close()

    def look(running: Node) -> None:
        assert running._log_writer is not None
        checkpoint = [record for channel in running._log_writer._checkpoints for record in channel()]
        assert foreign in checkpoint

    look_into(devnet, node, look)


def test_an_observers_key_can_vote_as_soon_as_governance_adds_it(devnet: Devnet) -> None:
    """The validators of genesis are not those of today: whoever is added must find its signer there."""
    observer: DevnetNode = devnet.nodes[-1]

    def look(running: Node) -> None:
        for channel in running.channels.values():
            replica = channel.driver.replica
            assert replica.own_index is None
            assert replica._state.signer is not None

    look_into(devnet, observer, look)


def test_a_channel_folder_is_left_closed(devnet: Devnet, tmp_path: Path) -> None:
    for _ in range(2):
        look_into(devnet, devnet.nodes[0], lambda running: None)
