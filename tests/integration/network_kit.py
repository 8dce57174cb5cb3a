"""Real validators in real processes for the tests of this folder, and a client that remembers what it was promised."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dawan_node.cli import devnet, devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.errors import DawanError
from dawan_node.rpc.client import Client, RpcError, Unreachable, build_body, sign_transaction

CHANNEL = "trade"


def until(look: Callable[[], bool], seconds: float, what: str) -> float:
    """Look again and again until true; how long it took. Fails with ``what``."""
    began = time.monotonic()
    while not look():
        waited = time.monotonic() - began
        assert waited < seconds, f"{what} did not happen in {seconds} s"
        threading.Event().wait(0.02)
    return time.monotonic() - began


class Network:
    """A running test network."""

    def __init__(self, folder: Path, n: int, modules: Sequence[str] = (), *, two_channels: bool = False) -> None:
        self.devnet: Devnet = devnet_creation.create(folder, n, modules=modules, two_channels=two_channels)
        self.processes = Processes(self.devnet)
        self.keys = self.devnet.identity_keys()
        self._numbers = iter(range(1_000_000))
        self.ahead_s = 0  # how far the nodes' clocks are before this machine's

    @property
    def nodes(self) -> tuple[DevnetNode, ...]:
        return self.devnet.nodes

    def start_all(self) -> None:
        for node in self.nodes:
            if self.processes.pid(node) is None:
                self.processes.start(node)
        devnet._wait_ready(self.devnet, self.processes, threading.Event())
        self.commit()

    def client(self, node: DevnetNode) -> Client:
        return Client(node.rpc_url, timeout_s=5.0)

    def ask(self, node: DevnetNode, method: str, *params: Any) -> Any:
        with self.client(node) as client:
            return client.call(method, list(params))

    def envelope(self, key: str = "gz-supplier", **changes: Any) -> bytes:
        """A signed invoice with a number of its own; ``changes`` replace arguments of the command."""
        today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + self.ahead_s + 8 * 3600))
        args: dict[str, Any] = {
            "number": f"T-{next(self._numbers):06d}",
            "buyer": "gz-buyer",
            "issue_date": today,
            "due_date": today,
            "total": ["CNY", 100_00],
        }
        body = build_body(
            self.chain_id,
            "receivable",
            "record_invoice",
            args | changes,
            valid_until_ms=time.time_ns() // 1_000_000 + self.ahead_s * 1_000 + 600_000,
        )
        return sign_transaction(self.keys[key], body)

    @property
    def chain_id(self) -> bytes:
        return self.genesis.chain_id

    @property
    def genesis(self) -> Any:
        from dawan_node.primitives.genesis import Genesis

        return Genesis.decode((self.devnet.folder / "network" / "genesis" / f"{CHANNEL}.bin").read_bytes())

    def commit(self, node: DevnetNode | None = None, timeout_ms: int = 20_000) -> Any:
        """One more committed transaction; the answer of tx_submit."""
        with Client((node or self.nodes[0]).rpc_url, timeout_s=5.0) as client:
            return client.tx_submit(CHANNEL, self.envelope(), wait="committed", timeout_ms=timeout_ms)

    def head(self, node: DevnetNode) -> tuple[int, str, str]:
        head = self.ask(node, "chain_head", CHANNEL)
        return head["height"], head["block_hash"], head["state_root"]

    def agree(self, nodes: tuple[DevnetNode, ...] | None = None, seconds: float = 30.0) -> int:
        """Wait until all ``nodes`` have the same head; its height."""
        heads: list[tuple[int, str, str]] = []

        def look() -> bool:
            try:
                heads[:] = [self.head(node) for node in nodes or self.nodes]
            except DawanError:
                return False
            return len(set(heads)) == 1

        until(look, seconds, f"the same head on all nodes, last seen {heads}")
        return heads[0][0]

    def primary(self) -> DevnetNode:
        name = self.ask(self.nodes[0], "pbft_status", CHANNEL)["primary"]
        return self.devnet.find(name)

    def wait_answering(self, node: DevnetNode) -> None:
        def look() -> bool:
            try:
                self.ask(node, "node_status")
            except (Unreachable, RpcError):
                return False
            return True

        until(look, 30.0, f"{node.name} answering")

    def wait_linked(self) -> None:
        """Every running node is linked to every other one."""
        running = [node for node in self.nodes if self.processes.pid(node) is not None]

        def look() -> bool:
            try:
                return all(self.ask(node, "node_status")["peers"] == len(running) - 1 for node in running)
            except DawanError:
                return False

        until(look, 30.0, "links between all running nodes")

    def all_transactions(self, node: DevnetNode) -> list[str]:
        """Every transaction id on the chain of ``node``, in order."""
        return [tx_id for _, tx_ids in self._chain(node, self.head(node)[0]) for tx_id in tx_ids]

    def assert_kept(self, promised: list[str], nodes: tuple[DevnetNode, ...] | None = None) -> None:
        """All heads of ``nodes`` agree and so does each block below, everything promised is on chain, and nothing is
        there twice."""
        among = nodes or self.nodes
        height = self.agree(among)
        chains = [self._chain(node, height) for node in among]
        assert all(chain == chains[0] for chain in chains)
        count = Counter(tx_id for _, tx_ids in chains[0] for tx_id in tx_ids)
        assert not [tx_id for tx_id in promised if tx_id not in count]
        assert max(count.values()) == 1

    def _chain(self, node: DevnetNode, height: int) -> list[tuple[str, list[str]]]:
        """Hash and transaction ids of each block up to ``height``."""
        chain: list[tuple[str, list[str]]] = []
        with self.client(node) as client:
            for at in range(1, height + 1):
                block = client.chain_getBlock(CHANNEL, at)
                chain.append((block["block_hash"], [tx if isinstance(tx, str) else tx["tx_id"] for tx in block["txs"]]))
        return chain


#: Between two batches of one client. Without it the clients of a test, and the nodes that serve them, take all the
#: processors of a small machine for as long as the test waits for something else, a start or a timer.
PAUSE_S = 0.1


class Load:
    """A client that submits until told to stop and remembers every transaction it was told is committed."""

    def __init__(self, network: Network, nodes: tuple[DevnetNode, ...], pause_s: float = PAUSE_S) -> None:
        """One thread for each of ``nodes``, which waits ``pause_s`` between two submissions."""
        self.committed: list[str] = []
        self._network = network
        self._nodes = nodes
        self._stop = threading.Event()
        self._pause_s = pause_s
        self._threads = [threading.Thread(target=self._run, args=(node,)) for node in nodes]

    def _run(self, node: DevnetNode) -> None:
        client = Client(node.rpc_url, timeout_s=5.0)
        while not self._stop.is_set():
            batch = [self._network.envelope() for _ in range(5)]
            try:
                for answer in client.tx_submitMany(CHANNEL, batch, wait="committed", timeout_ms=15_000):
                    if answer["status"] == "committed":
                        self.committed.append(answer["tx_id"])
                self._stop.wait(self._pause_s)
            except (RpcError, Unreachable):
                self._stop.wait(0.05)
        client.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, seconds: float = 30.0) -> float:
        """Until ``count`` more transactions are committed; how long it took."""
        goal = len(self.committed) + count
        return until(lambda: len(self.committed) >= goal, seconds, f"{count} more committed transactions")


@contextmanager
def running(
    folder: Path, n: int, settings: str = "", modules: Sequence[str] = (), *, two_channels: bool = False
) -> Iterator[Network]:
    """A network that is stopped at the end, whatever happens; ``settings`` are keys for [storage] of each node,
    ``modules`` what its first channel runs beside those of the template, ``two_channels`` gives titles their own."""
    network = Network(folder / "net", n, modules, two_channels=two_channels)
    for node in network.nodes if settings else ():
        file = network.devnet.home(node).config_file
        text = file.read_text()
        assert "[storage]\n" in text
        file.write_text(text.replace("[storage]\n", f"[storage]\n{settings}"))
    try:
        network.start_all()
        yield network
    finally:
        network.processes.stop(network.nodes)
