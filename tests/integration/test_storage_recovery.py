"""A node and its storage: restarted one after the other under load, robbed of a ledger, of a log, of the disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from network_kit import CHANNEL, Load, Network, until

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.errors import DawanError
from dawan_node.rpc.client import Client
from dawan_node.storage.files import make_private_directory
from dawan_node.storage.wal import Wal

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


def cloned(network: Network, node: DevnetNode, clone: DevnetNode, folder: Path) -> tuple[Devnet, Processes]:
    """A copy of a stopped node's home that can run beside it: everything is the same but where it listens."""
    original = network.devnet.home(node).path
    devnet = Devnet(folder, (clone,))
    shutil.copytree(original, devnet.home(clone).path, symlinks=True)
    shutil.copy2(network.devnet.passphrase_file, devnet.passphrase_file)
    config = devnet.home(clone).config_file
    text = config.read_text()
    for before, after in ((node.p2p, clone.p2p), (node.rpc, clone.rpc), (node.ops, clone.ops)):
        assert before in text
        text = text.replace(before, after)
    config.write_text(text.replace(str(original), str(devnet.home(clone).path)))
    return devnet, Processes(devnet)


@pytest.mark.extended
@pytest.mark.parametrize("put_back", [False, True], ids=["copied", "copied as it was made"])
def test_of_two_processes_from_one_home_the_copy_never_signs_and_the_original_goes_on(
    whole_network: Network, tmp_path: Path, put_back: bool
) -> None:
    """The mark tells a copy by its place. One taken before the first start has no mark: it knows its own hand."""
    network = whole_network
    original, others = network.nodes[1], tuple(node for node in network.nodes if node != network.nodes[1])
    (clone,) = devnet_creation._with_ports((original,))  # type: ignore[arg-type]
    network.processes.kill(others[2])
    network.commit(others[0])  # of four three are needed: the original's vote is in this block
    network.processes.stop((original,))
    network.processes.start(others[2])
    devnet, processes = cloned(network, original, clone, tmp_path)
    log = processes.log_file(clone)
    if put_back:
        shutil.rmtree(devnet.home(clone).data)
        make_private_directory(devnet.home(clone).data)
        Wal.create(devnet.home(clone).wal)
    processes.start(clone)
    try:
        if not put_back:
            # Alone, as after a move that was one: there is nobody yet whom it could contradict, and it is silent.
            until(lambda: "DATA_COPIED" in log.read_text(), 60, "the copy to be recognised")
        restart(network, original)
        until(lambda: ("OWN_KEY_ELSEWHERE" if put_back else "DATA_COPIED") in log.read_text(), 60, "the copy's silence")
        assert "network replace-validator" in log.read_text(), "the way out is printed"
        with Client(clone.rpc_url, timeout_s=5.0) as client:
            until(lambda: standing(client) == "observer", 60, "the copy observing")
        caught_up(network, original)
        network.processes.kill(others[2])
        network.commit(others[0], timeout_ms=30_000)  # with the original's vote, while the copy runs
        assert processes.pid(clone) is not None
        second = subprocess.run(processes.command(clone), capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1 and "already in use" in second.stderr
    finally:
        processes.stop((clone,))
    network.processes.start(others[2])
    network.agree()
    for node in network.nodes:
        report = network.ask(node, "pbft_evidence", CHANNEL)
        assert not report["evidence"] and not report["halted"], "nobody signed two things"


def standing(client: Client) -> str:
    try:
        return str(client.call("pbft_status", [CHANNEL])["state"])
    except DawanError:
        return ""


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
    status = network.ask(robbed, "node_status")
    assert not any("healing" in row for row in status["channels"]), "it is as far as its log"
    assert status["disk"]["free_bytes"] > status["disk"]["floor_bytes"] > 0

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
