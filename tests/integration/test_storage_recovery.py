"""A node and its storage: restarted one after the other under load, robbed of a ledger, of a log, of the disk."""

from __future__ import annotations

import shutil

import pytest
from network_kit import CHANNEL, Load, Network, until

from dawan_node.cli.devnet_network import DevnetNode

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def log_of(network: Network, node: DevnetNode) -> str:
    return network.processes.log_file(node).read_text()


def restart(network: Network, node: DevnetNode) -> None:
    network.processes.start(node)
    network.wait_answering(node)


def caught_up(network: Network, node: DevnetNode) -> None:
    """As far as the others were a moment ago, and voting."""
    goal = max(network.ask(other, "chain_head", CHANNEL)["height"] for other in network.nodes if other != node)
    seen: list[tuple[int, str, str]] = []

    def look() -> bool:
        status = network.ask(node, "pbft_status", CHANNEL)
        seen[:] = [(network.ask(node, "chain_head", CHANNEL)["height"], status["state"], status["waiting_for"])]
        return seen[0][0] >= goal and status["state"] == "normal"

    try:
        until(look, 60.0, f"{node.name} at height {goal}, voting")
    except AssertionError as late:
        raise AssertionError(f"{late}; last seen {seen}") from None


def test_all_four_restarted_one_after_the_other_under_load_lose_nothing_and_commit_on(whole_network: Network) -> None:
    network = whole_network
    with Load(network, network.nodes) as load:
        load.wait_for(10)
        for node in network.nodes:
            network.processes.stop((node,))
            load.wait_for(3)  # three of four go on
            restart(network, node)
            caught_up(network, node)
        load.wait_for(10)
    network.assert_kept(load.committed)


# The last of this file: the network has a validator less afterwards.
def test_a_lost_and_a_damaged_ledger_come_back_from_the_peers_and_a_lost_log_does_not(whole_network: Network) -> None:
    network = whole_network
    robbed, helper = network.nodes[0], network.nodes[3]
    with Load(network, network.nodes[1:]) as load:
        load.wait_for(10)
    network.processes.stop((robbed,))
    data = network.devnet.home(robbed).data
    shutil.rmtree(data / CHANNEL)
    network.commit(helper)
    restart(network, robbed)
    caught_up(network, robbed)
    assert "ledger_lost" in log_of(network, robbed)

    network.processes.stop((robbed,))
    database = network.devnet.home(robbed).database(CHANNEL)
    for file in (*database.glob("*.log"), *database.glob("*.ldb")):
        content = bytearray(file.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        content[len(content) // 3] ^= 1
        file.write_bytes(content)
    restart(network, robbed)
    caught_up(network, robbed)
    assert "database_damaged" in log_of(network, robbed) and database.with_name("db.damaged-1").is_dir()
    # Its vote is needed now, and given.
    network.processes.kill(helper)
    network.commit(robbed, timeout_ms=30_000)
    network.assert_kept(load.committed, network.nodes[:3])

    network.processes.stop((robbed,))
    wal = network.devnet.home(robbed).wal
    wal.rename(wal.with_name("wal.lost"))
    restart(network, robbed)
    until(lambda: network.ask(robbed, "pbft_status", CHANNEL)["state"] == "observer", 10.0, "an observer")
    text = log_of(network, robbed)
    assert "LOG_MISSING" in text and "replace-validator" in text and not wal.exists()
