"""How long a node takes from ``dawan-node run`` to its first vote, and what it costs when nothing happens.

    scripts/bench startup [--blocks 100000] [--repeat 5] [--channels 6] [--idle 20] [--json FILE]

**First vote**: of four validators with so long a chain one is away for good and two run, so no block is final without
the fourth. It is started, a transaction is handed in when the primary has its link, and the clock runs from the start
of its process to the answer that the transaction is committed: process, imports, LevelDB, the walk over the headers,
links, the proposal, its vote, and the block. Goal: < 1.5 s at 100,000 blocks. The chain is made once by the generator
and cached. (A transaction that waits for the fourth longer than a second makes the others change the view, which is
about them and not about its start.)
``to_ready`` is the same clock until the node says that it serves (``/readyz``), ``cpu`` the processor time it has used
by its vote, which is what to look at on a machine that is not idle.

**Idle**: four validators with ``--channels`` channels (``alliance`` is one of them) are left alone for ``--idle``
seconds; ``core_percent`` is processor time of one node in percent of one core (goal: < 2), ``own_mib`` its own memory
(goal: < 150), ``rss_mib`` with what it maps of libraries and table files.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.network import NodeProcesses, end_in_order, running
from benchmarks.node_probe import cpu_s, memory_kib
from benchmarks.timing import parser_of, tell
from benchmarks.workloads import workload_of
from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.primitives.genesis import Genesis
from dawan_node.rpc.client import Client, build_body, sign_transaction
from dawan_node.testing.long_chain import Plan
from dawan_node.testing.long_chain_homes import CHANNEL, cached, place

START_S_MAX = 60.0


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--channels", type=int, default=6)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds")
    options = parser.parse_args()
    end_in_order()
    folder = Path(tempfile.mkdtemp(prefix="dawan-bench-"))
    try:
        figures: dict[str, Any] = {f"{options.blocks:,} blocks": first_votes(folder, options.blocks, options.repeat)}
        figures[f"{options.channels} channels, idle"] = idle(folder, options.channels, options.idle)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell(figures, options.json)


def first_votes(folder: Path, blocks: int, repeat: int) -> dict[str, float]:
    """Median and worst of ``repeat`` starts of one node."""
    # The same chain as the benchmarks of catch-up use.
    chain = cached(Plan(blocks=blocks, away=("mo1",)), report=lambda line: print(line, file=sys.stderr))
    network = place(chain, folder / "long")
    genesis = chain.genesis
    validators = genesis.validator_set
    primary = validators.public_keys[validators.primary(genesis.chain_id, 0, 0)]
    leader = network.find(next(entry.name for entry in genesis.validators if entry.public_key == primary))
    late, other, _ = (node for node in network.nodes if node != leader)
    processes = NodeProcesses(network, {})
    key = network.identity_keys()["gz-admin"]
    votes, readies, used = [], [], []
    try:
        processes.start(leader)
        processes.start(other)
        for node in (leader, other):
            wait_ready(node)
        # The first time is not counted: it is the first that reads these files.
        for number in range(repeat + 1):
            with ThreadPoolExecutor(2) as pool:
                began = time.monotonic()
                processes.start(late)
                ready = pool.submit(wait_ready, late)
                wait_linked(leader, late)
                committed = pool.submit(commit, leader, genesis, key, number)
                done, served = committed.result(), ready.result()
            if number:
                votes.append(done - began)
                readies.append(served - began)
                used.append(cpu_s(processes.pid(late)))
            processes.stop((late,))
    finally:
        processes.stop(network.nodes)
    return {
        "first_vote_s_p50": statistics.median(votes),
        "first_vote_s_max": max(votes),
        "to_ready_s_p50": statistics.median(readies),
        "cpu_s_p50": statistics.median(used),
    }


def commit(node: DevnetNode, genesis: Genesis, key: Any, number: int) -> float:
    """Hand in one transaction; the moment at which it is final."""
    until_ms = time.time_ns() // 1_000_000 + 600_000
    nonce = (3 << 100 | number).to_bytes(16, "big")
    body = build_body(genesis.chain_id, "governance", "tick", {}, valid_until_ms=until_ms, nonce=nonce)
    with Client(node.rpc_url, timeout_s=5.0) as client:
        answer = client.tx_submit(CHANNEL, sign_transaction(key, body), wait="committed", timeout_ms=60_000)
    assert answer["status"] == "committed"
    return time.monotonic()


def wait_ready(node: DevnetNode) -> float:
    """The moment at which the node says that it serves."""
    deadline = time.monotonic() + START_S_MAX
    reason = "no answer"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{node.ops_url}/readyz", timeout=5):  # noqa: S310 - loopback
                return time.monotonic()
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
        except OSError as error:
            reason = str(error)
        threading.Event().wait(0.01)
    raise SystemExit(f"{node.name} is not ready after {START_S_MAX:.0f} s: {reason}")


def wait_linked(node: DevnetNode, other: DevnetNode) -> None:
    """Until ``node`` has a link to ``other``."""
    deadline = time.monotonic() + START_S_MAX
    with Client(node.rpc_url, timeout_s=5.0) as client:
        while time.monotonic() < deadline:
            if any(peer["name"] == other.name and peer["channels"] for peer in client.net_peers()):
                return
            threading.Event().wait(0.01)
    raise SystemExit(f"{node.name} has no link to {other.name} after {START_S_MAX:.0f} s")


def idle(folder: Path, channels: int, seconds: float) -> dict[str, float]:
    """The worst of four nodes over ``seconds`` of nothing."""
    with running(folder / "idle", workload_of("record", 0), 0, channels=channels - 1) as network:
        pids = [network.processes.pid(node) for node in network.nodes]
        time.sleep(5)  # links, first blocks and their garbage are no part of idling
        before = [cpu_s(pid) for pid in pids]
        time.sleep(seconds)
        used = [cpu_s(pid) - former for pid, former in zip(pids, before, strict=True)]
        memory = [memory_kib(pid) for pid in pids]
    return {
        "core_percent": max(used) * 100 / seconds,
        "own_mib": max(own for _, own in memory) / 1024,
        "rss_mib": max(rss for rss, _ in memory) / 1024,
    }


if __name__ == "__main__":
    main()
