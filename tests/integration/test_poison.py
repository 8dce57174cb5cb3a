"""A channel whose module misbehaves in every way, on real nodes: the other channel goes on, and so does this one (H6).

One node is killed while blocks of poison are in flight and comes back to the same ledger; nobody's processes end.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network_kit import CHANNEL, Network, running, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.errors import DawanError
from dawan_node.primitives.genesis import Genesis
from dawan_node.rpc.client import build_body, sign_transaction
from tests.execution.test_hostile_modules import HOSTILE, VERDICTS

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
OTHER = "alliance"


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four nodes whose channel ``trade`` runs the hostile module of an installed package."""
    folder = tmp_path_factory.mktemp("poison")
    package, info = folder / "site" / "dawan_hostile", folder / "site" / "dawan_hostile-1.dist-info"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(HOSTILE.read_text())
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dawan-hostile\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dawan_node.modules]\nhostile = dawan_hostile:module\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), str(ROOT)]))
        with running(folder, 4, modules=["hostile@1"]) as network:
            yield network


def send(network: Network, node: DevnetNode, channel: str, module: str, command: str, args: dict[str, Any]) -> Any:
    """One transaction of gz-supplier through ``node``; the answer once it is committed."""
    genesis = Genesis.decode((network.devnet.folder / "network" / "genesis" / f"{channel}.bin").read_bytes())
    until_ms = time.time_ns() // 1_000_000 + 600_000
    body = build_body(genesis.chain_id, module, command, args, valid_until_ms=until_ms)
    with network.client(node) as client:
        envelope = sign_transaction(network.keys["gz-supplier"], body)
        return client.tx_submit(channel, envelope, wait="committed", timeout_ms=20_000)


def receipts(network: Network, node: DevnetNode, channel: str) -> list[tuple[str, int]]:
    """Every transaction of the channel and its code, in order, as ``node`` has it."""
    found = []
    with network.client(node) as client:
        for height in range(1, client.chain_head(channel)["height"] + 1):
            for tx in client.chain_getBlock(channel, height)["txs"]:
                tx_id = tx if isinstance(tx, str) else tx["tx_id"]
                found.append((tx_id, client.tx_receipt(channel, tx_id)["code"]))
    return found


def heads(network: Network, channel: str) -> set[tuple[Any, ...]]:
    """Height, block and state of every node."""
    shown = [network.ask(node, "chain_head", channel) for node in network.nodes]
    return {(head["height"], head["block_hash"], head["state_root"]) for head in shown}


def test_poison_is_a_failed_receipt_on_every_node_and_the_other_channel_goes_on(poisoned: Network) -> None:
    nodes = poisoned.nodes
    other: list[float] = []
    stop = threading.Event()

    def keep_on() -> None:
        """Somebody works on the other channel all the while."""
        number = 0
        while not stop.is_set():
            began = time.monotonic()
            # A supplier has no vote: the transaction fails, in a block that had to be decided.
            answer = send(poisoned, nodes[number % 4], OTHER, "governance", "vote", {"proposal": "p", "approve": True})
            assert answer["status"] == "failed", answer
            other.append(time.monotonic() - began)
            number += 1

    thread = threading.Thread(target=keep_on)
    thread.start()
    try:
        for number, (how, code) in enumerate(VERDICTS.items()):
            before = len(other)
            answer = send(poisoned, nodes[number % 4], CHANNEL, "hostile", "behave", {"how": how})
            assert (answer["status"], answer["receipt"]["code"]) == ("failed", code), how
            until(lambda mark=before: len(other) > mark, 20, f"a block of {OTHER} beside {how}")  # type: ignore[misc]
        assert send(poisoned, nodes[0], CHANNEL, "hostile", "behave", {"how": "honest"})["receipt"]["code"] == 0
        poisoned.commit()
    finally:
        stop.set()
        thread.join()
    until(lambda: len(heads(poisoned, CHANNEL)) == 1, 20, "one head on all nodes")
    told = [receipts(poisoned, node, CHANNEL) for node in nodes]
    assert all(each == told[0] for each in told)
    assert {int(code) for code in VERDICTS.values()} <= {code for _, code in told[0]}
    assert all(poisoned.processes.pid(node) for node in nodes)
    assert poisoned.ask(nodes[0], "pbft_status", CHANNEL)["state"] == "normal"


@pytest.mark.extended
def test_a_node_killed_over_poison_comes_back_to_the_same_ledger(poisoned: Network) -> None:
    victim, *others = poisoned.nodes
    threads = [
        threading.Thread(target=_try, args=(poisoned, node, how))
        for node in others
        for how in ("nested", "generator", "spread")
    ]
    for thread in threads:
        thread.start()
    poisoned.processes.kill(victim)
    for thread in threads:
        thread.join()
    pids = []
    for _ in range(2):
        poisoned.processes.start(victim)
        poisoned.wait_answering(victim)
        pids.append(poisoned.processes.pid(victim))
        until(lambda: len(heads(poisoned, CHANNEL)) == 1, 60, "the same head on all nodes")
        if len(pids) == 1:
            poisoned.processes.kill(victim)
    assert len(heads(poisoned, OTHER)) == 1
    assert poisoned.processes.pid(victim) == pids[-1], "it came back once and stayed"
    assert send(poisoned, victim, CHANNEL, "hostile", "behave", {"how": "loop"})["receipt"]["code"] == 5
    assert send(poisoned, victim, CHANNEL, "hostile", "behave", {"how": "honest"})["receipt"]["code"] == 0
    told = [receipts(poisoned, node, CHANNEL) for node in poisoned.nodes]
    assert told[0] == told[1]


def _try(network: Network, node: DevnetNode, how: str) -> None:
    # A node is killed meanwhile; what counts is compared afterwards.
    with contextlib.suppress(DawanError):
        send(network, node, CHANNEL, "hostile", "behave", {"how": how})


@pytest.mark.extended
def test_a_node_that_lacks_the_module_says_so_and_does_not_start(poisoned: Network) -> None:
    """A node without the package would have to guess: it names what is missing instead."""
    node = poisoned.nodes[-1]
    poisoned.processes.stop((node,))
    ended = subprocess.run(
        poisoned.processes.command(node), env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert re.search(r"error: channel trade cannot run here: no module hostile is installed\. Next: ", ended.stderr)
    poisoned.processes.start(node)
    poisoned.wait_answering(node)
