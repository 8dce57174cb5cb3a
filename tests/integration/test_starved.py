"""A validator with a slow disk, without memory, or that stands still for long (reliability.md A8 and A11)."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from network_kit import CHANNEL, Load, Network, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.errors import DawanError
from tests.storage_faults.test_storage_faults import require, why_no_strace

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.extended]

#: A8: what a sync of the slow disk takes, and what the others must keep of their throughput once they have done with
#: that node (a slow primary is replaced; three of four need no fourth).
SYNC_S = 2.0
THROUGHPUT_KEPT = 0.7
#: From the moment a node may run again to the head of the others.
REJOIN_S = 10.0
MIB = 1024 * 1024


@contextmanager
def slow_disk(network: Network, node: DevnetNode) -> Iterator[None]:
    """Every sync of the node returns ``SYNC_S`` late."""
    pid = network.processes.pid(node)
    inject = f"inject=fdatasync,fsync:delay_exit={int(SYNC_S * 1e6)}"
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", inject, "-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    try:
        said, deadline = b"", time.monotonic() + 20
        while b"attached" not in said:
            ready, _, _ = select.select([tracer.stderr], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"strace does not attach: {said!r}"
            said += os.read(tracer.stderr.fileno(), 4096)
        yield
    finally:
        tracer.terminate()
        tracer.wait(20)
        tracer.stderr.close()


def back_among(network: Network, node: DevnetNode, others: list[DevnetNode]) -> None:
    """As far as the others were a moment ago, in time."""
    goal = max(network.head(other)[0] for other in others)

    def look() -> bool:
        try:
            return network.head(node)[0] >= goal
        except DawanError:
            return False

    until(look, REJOIN_S, f"{node.name} at height {goal}")


def test_a_primary_with_a_slow_disk_is_replaced_and_its_loop_does_not_wait_for_the_disk(own_network: Network) -> None:
    require(why_no_strace())
    network = own_network
    slow = network.primary()
    others = [node for node in network.nodes if node != slow]
    with Load(network, tuple(others)) as load:
        load.wait_for(20)
        before_s = load.wait_for(100, 60)
        with slow_disk(network, slow):
            until(lambda: network.ask(others[0], "pbft_status", CHANNEL)["primary"] != slow.name, 60, "another primary")
            load.wait_for(20, 60)
            asked: list[float] = []
            during_s = 0.0
            for _ in range(4):
                during_s += load.wait_for(25, 60)
                began = time.monotonic()
                network.ask(slow, "node_status")
                asked.append(time.monotonic() - began)
        assert during_s <= before_s / THROUGHPUT_KEPT, f"100 transactions took {before_s:.1f} s and then {during_s:.1f}"
        assert min(asked) < 0.25 and max(asked) < SYNC_S, f"the slow node answers after {asked} s"
    back_among(network, slow, others)
    network.assert_kept(load.committed)


@pytest.mark.parametrize("seconds", [5, 30, 120])
def test_a_primary_that_stands_still_is_replaced_and_returns_without_a_word_against_its_own(
    own_network: Network, seconds: int
) -> None:
    network = own_network
    frozen = network.primary()
    others = [node for node in network.nodes if node != frozen]
    pid = network.processes.pid(frozen)
    assert pid is not None
    view = network.ask(others[0], "pbft_status", CHANNEL)["view"]
    with Load(network, tuple(others)) as load:
        load.wait_for(10)
        os.kill(pid, signal.SIGSTOP)
        try:
            load.wait_for(10, 60)
            threading.Event().wait(seconds)  # the length of the fault
        finally:
            os.kill(pid, signal.SIGCONT)
        back_among(network, frozen, others)
        load.wait_for(10)
    assert network.ask(frozen, "pbft_status", CHANNEL)["view"] > view, "the old primary knows that it is none"
    network.assert_kept(load.committed)
    for node in network.nodes:
        report = network.ask(node, "pbft_evidence", CHANNEL)
        assert not report["evidence"] and not report["halted"], "nobody signed two things"


def test_a_validator_without_memory_lives_on_or_ends_and_comes_back_whole(own_network: Network) -> None:
    network = own_network
    starved = network.primary()
    others = [node for node in network.nodes if node != starved]
    pid = network.processes.pid(starved)
    assert pid is not None
    with Load(network, network.nodes) as load:
        load.wait_for(10)
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = size + MIB
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
        load.wait_for(400, 120)

        def decided() -> bool:
            """It has ended, or it answers."""
            if network.processes.pid(starved) is None:
                return True
            try:
                network.ask(starved, "node_status")
            except DawanError:
                return False
            return True

        until(decided, 30, "an end, or an answer")
        network.processes.kill(starved)
        network.processes.start(starved)
        network.wait_answering(starved)
        back_among(network, starved, others)
        load.wait_for(10)
    network.assert_kept(load.committed)
