"""Seven real nodes whose links run through proxies: distance, floods of connections, and a short chaos run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.rpc.client import Client, build_body, sign_transaction
from tests.integration.chaos.network import CHANNEL, ChaosNetwork, DevnetNode, running
from tests.integration.network_kit import until

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
#: Sockets opened to each listener of one node. Each of them has a cap below this.
FLOOD = 600
#: What the caps leave: 64 strangers to p2p of which 16 from one address, 256 to RPC and 64 to ops, and room to answer.
DESCRIPTORS_MORE_MAX = 16 + 256 + 64 + 40


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosNetwork]:
    started = ChaosNetwork(tmp_path_factory.mktemp("proxied") / "net")
    with running(started):
        yield started


def commit(network: ChaosNetwork, node: DevnetNode) -> float:
    """One more committed transaction through a node; how long it took."""
    body = build_body(
        network.genesis.chain_id,
        "governance",
        "tick",
        {},
        valid_until_ms=time.time_ns() // 1_000_000 + 600_000,
    )
    envelope = sign_transaction(network.keys["gz-admin"], body)
    began = time.monotonic()
    with Client(node.rpc_url, timeout_s=10.0) as client:
        answer = client.tx_submit(CHANNEL, envelope, wait="committed", timeout_ms=30_000)
    assert answer["status"] == "committed"
    return time.monotonic() - began


def wait_linked(network: ChaosNetwork) -> None:
    """Every node commits, and every validator is linked to the three others and more."""

    def look() -> bool:
        if any(network.height(node) is None for node in network.nodes):
            return False
        return all(peers(node) >= 3 for node in network.validators)

    until(look, 60.0, "links between all validators")
    for node in network.nodes:
        commit(network, node)


def peers(node: DevnetNode) -> int:
    with Client(node.rpc_url, timeout_s=5.0) as client:
        count: int = client.node_status()["peers"]
        return count


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_connection_floods_and_idle_sockets_cost_bounded_memory_and_descriptors(network: ChaosNetwork) -> None:
    """F11: at p2p, RPC and operations at once; half of the sockets say nothing, half begin a request and stop."""
    wait_linked(network)
    node = network.validators[0]
    pid = network.pid(node)
    assert pid is not None
    before_fds, before_kib, linked = descriptors(pid), memory_kib(pid), peers(node)
    beginnings = {node.p2p: b"\x16\x03\x01\x02\x00", node.rpc: b"POST / HTTP/1.1\r\nHost: loc", node.ops: b"GET /li"}
    flood: list[socket.socket] = []
    worst_fds = worst_kib = 0
    try:
        for number in range(FLOOD):
            for address, beginning in beginnings.items():
                flood.append(opened(address, beginning if number % 2 else b""))
            if number % 50 == 0:
                assert commit(network, node) < 10.0
                worst_fds, worst_kib = max(worst_fds, descriptors(pid)), max(worst_kib, memory_kib(pid))
        assert worst_fds - before_fds <= DESCRIPTORS_MORE_MAX
        assert worst_kib - before_kib < 48 * 1024
        assert peers(node) >= linked, "no peer was pushed out"  # an observer may have come meanwhile
        for other in network.nodes:
            commit(network, other)
        # Nobody closes on this side: the node gives up on all of them by itself.
        until(lambda: descriptors(pid) <= before_fds + 4, 20.0, "descriptors back to where they were")
        assert all(hung_up(each) for each in flood)
    finally:
        for each in flood:
            each.close()


def opened(address: str, beginning: bytes) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=5.0)
    if beginning:
        connection.sendall(beginning)
    return connection


def hung_up(connection: socket.socket) -> bool:
    """Whether the other end has closed: there is an end to read, perhaps after an error reply."""
    connection.settimeout(1.0)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_four_validators_with_300_ms_between_them_go_on_committing(network: ChaosNetwork) -> None:
    wait_linked(network)
    for place, one in enumerate(network.nodes):
        for other in network.nodes[place + 1 :]:
            network.links.between(one.name, other.name, delayed)
    try:
        views = [view(node) for node in network.validators]
        took = [commit(network, network.validators[number % 4]) for number in range(4)]
        # Spreading, proposal, prepare, commit: four ways of 300 ms.
        assert all(each >= 0.9 for each in took)
        assert max(took) < 6.0
        assert [view(node) for node in network.validators] == views, "distance is no reason to replace the primary"
    finally:
        for node in network.nodes:
            network.links.heal(node.name)


def delayed(proxy: object, outward: bool) -> None:
    proxy.forward.delay_s = proxy.backward.delay_s = 0.3  # type: ignore[attr-defined]


def view(node: DevnetNode) -> int:
    with Client(node.rpc_url, timeout_s=5.0) as client:
        number: int = client.pbft_status(CHANNEL)["view"]
        return number


@pytest.mark.extended
def test_a_short_chaos_run_loses_nothing_and_every_answer_was_true(tmp_path: Path) -> None:
    """The whole instrument, with faults that take little time; ``scripts/chaos`` is the long one."""
    command = [sys.executable, "-m", "tests.integration.chaos", "--minutes", "0.1", "--seed", "5"]
    command += ["--kinds", "kill,pause,one-way cut,clock jump,data loss", "--recovery", "30", "--rate", "15"]
    ended = subprocess.run(
        [*command, "--keep", str(tmp_path / "run")], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4_000:] + ended.stderr[-2_000:]
    assert "lost 0, double 0" in ended.stdout
