"""A member that has gone bad: real keys, real certificate, whatever bytes it likes.

It takes the place of a node of the test network that is stopped, with that node's identity, and speaks to the others
through the same ``p2p.network`` as they do. So everything it sends has passed the handshake of a legitimate party.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Self

from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.crypto.trust import Trust
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import SystemClock
from dawan_node.node.consortium import public_key_bytes
from dawan_node.node.home import unlock
from dawan_node.node.signer import NodeSigner
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.meeting import LocalIdentity
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerAddress, PeerId, Role
from dawan_node.primitives.genesis import Genesis

Payload = tuple[Topic, bytes]


class Intruder:
    """Use it as a context manager; methods may be called from the test's thread."""

    def __init__(self, devnet: Devnet, node: DevnetNode, genesis: Genesis) -> None:
        self.received: Counter[Topic] = Counter()
        self.key = unlock(devnet.home(node), devnet.passphrase_file.read_bytes().strip())
        self.genesis = genesis
        self._consortium = consortium_file.load(devnet.home(node).consortium_file)
        self._node = node
        self._linked: set[str] = set()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._loop = asyncio.new_event_loop()
        self._network: Network | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            if self._network is not None:
                await self._network.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def is_linked(self, name: str) -> bool:
        return name in self._linked

    def flood(self, name: str, payloads: Callable[[], Iterable[Payload]], seconds: float) -> int:
        """Send to ``name`` as fast as it reads, for so long or until it hangs up; how many messages left."""

        async def send() -> int:
            assert self._network is not None
            sent, end = 0, time.monotonic() + seconds
            while time.monotonic() < end and name in self._linked:
                for topic, payload in payloads():
                    while not self._network.send(name, self.genesis.chain_id, topic, payload):
                        if time.monotonic() >= end or name not in self._linked:
                            return sent
                        await asyncio.sleep(0.001)
                    sent += 1
                await asyncio.sleep(0)
            return sent

        return asyncio.run_coroutine_threadsafe(send(), self._loop).result(seconds + 20)

    # p2p.network.NetworkHandler

    def on_message(self, peer: PeerId, chain_id: bytes, topic: Topic, payload: bytes) -> None:
        self.received[topic] += 1

    def on_peer_up(self, peer: PeerId, chain_ids: frozenset[bytes]) -> None:
        self._linked.add(peer.name)

    def on_peer_down(self, peer: PeerId) -> None:
        self._linked.discard(peer.name)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()

    async def _start(self) -> None:
        file, node = self._consortium, self._node
        role = Role.VALIDATOR if file.is_validator(node.name) else Role.OBSERVER
        self._network = Network(
            LocalIdentity(file.network, node.name, node.org, role, NodeSigner(self.key.node), self.key.tls),
            [
                PeerAddress(other.name, other.org, public_key_bytes(other.public_key), other.addresses, Role.VALIDATOR)
                for other in file.nodes
                if other.name != node.name
            ],
            Trust(file.roots),
            lambda certificate: (self.genesis.chain_id,),
            node.p2p,
            self,
            SystemClock(),
        )
        await self._network.start()


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used."""
    import os

    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def longest_answer_s(ask: Callable[[], Any], seconds: float) -> float:
    """The longest that ``ask`` took, asked again and again for so long: what the event loop was blocked for."""
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        ask()
        worst = max(worst, time.monotonic() - began)
        threading.Event().wait(0.01)
    return worst
