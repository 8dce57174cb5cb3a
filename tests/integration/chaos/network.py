"""Seven real node processes whose every link runs through a proxy of its own.

The nodes are made by what makes a devnet; then each node's own copy of consortium.toml is told, for every other node,
the address of the proxy that leads there. So whoever dials, the pair's bytes pass through a proxy that this process
can disturb, and nothing in the nodes knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.errors import DawanError
from dawan_node.node import consortium
from dawan_node.node.consortium_text import render
from dawan_node.primitives.genesis import Genesis
from dawan_node.rpc.client import Client
from dawan_node.testing.link_proxy import LinkProxy

T = TypeVar("T")
CHANNEL = "trade"
VALIDATORS = 4
OBSERVERS = 3
#: Snapshots, as operators of a busy channel would set them: a node that has lost everything is level within seconds
#: however long the chain is. The observers make them, so that no validator spends processor time on that; each of them
#: every so many blocks, which are some 25 s here.
SNAPSHOT_EVERY = 250
#: So many blocks behind, a node takes a snapshot: what fetching and executing them would take is more than what taking
#: over a state does.
SNAPSHOT_BEHIND = 400
# A call into the loop of the proxies takes microseconds.
_CALL_S = 10.0
_ADMIN_S = 5.0


class Links:
    """A proxy for every ordered pair of nodes, on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = _new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()
        self._proxies: dict[tuple[str, str], LinkProxy] = {}

    def open(self, dialler: str, target: str, address: str) -> str:
        """A proxy for what ``dialler`` opens to ``target``; its address."""
        proxy = LinkProxy(address)
        self._proxies[dialler, target] = proxy
        future: Future[str] = asyncio.run_coroutine_threadsafe(proxy.start(), self._loop)
        return future.result(_CALL_S)

    def between(self, one: str, other: str, change: Callable[[LinkProxy, bool], None]) -> None:
        """Call ``change`` for both proxies of a pair; the flag says that ``one`` is the dialler of that proxy."""
        for dialler, target in ((one, other), (other, one)):
            proxy = self._proxies[dialler, target]

            def run(proxy: LinkProxy = proxy, outward: bool = dialler == one) -> None:
                change(proxy, outward)
                proxy.changed()

            self._call(run)

    def heal(self, node: str) -> None:
        """All links of ``node`` as if nothing had been."""
        for pair, proxy in self._proxies.items():
            if node in pair:
                self._call(proxy.heal)

    def stop(self) -> None:
        for proxy in self._proxies.values():
            asyncio.run_coroutine_threadsafe(proxy.stop(), self._loop).result(_CALL_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, action: Callable[[], T]) -> T:
        async def run() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_CALL_S)


class ChaosNetwork:
    """The nodes, their processes and their links."""

    def __init__(self, folder: Path) -> None:
        self.devnet: Devnet = devnet_creation.create(folder, VALIDATORS, OBSERVERS)
        self.processes = Processes(self.devnet)
        self.links = Links()
        self.keys = self.devnet.identity_keys()
        self.genesis = Genesis.decode((folder / "network" / "genesis" / f"{CHANNEL}.bin").read_bytes())
        self.validators = self.devnet.nodes[:VALIDATORS]
        self.observers = self.devnet.nodes[VALIDATORS:]
        self.disks: set[str] = set()  # nodes whose data lies on a small disk of their own
        self._set_snapshots()
        self._route_through_proxies()

    @property
    def nodes(self) -> tuple[DevnetNode, ...]:
        return self.devnet.nodes

    def client(self, node: DevnetNode, timeout_s: float = 5.0) -> Client:
        return Client(node.rpc_url, timeout_s=timeout_s)

    def height(self, node: DevnetNode) -> int | None:
        """The node's head, None when it does not answer."""
        try:
            with self.client(node, 2.0) as client:
                height: int = client.chain_head(CHANNEL)["height"]
                return height
        except DawanError:
            return None

    def pid(self, node: DevnetNode) -> int | None:
        return self.processes.pid(node)

    def signal(self, node: DevnetNode, which: signal.Signals) -> None:
        pid = self.pid(node)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)

    def data(self, node: DevnetNode) -> Path:
        return self.devnet.home(node).data

    def move_clock(self, node: DevnetNode, ahead_ms: int) -> None:
        """Raises OSError when the node does not answer."""
        request = urllib.request.Request(  # noqa: S310 - a loopback URL of our own state file
            f"{node.ops_url}/admin/clock",
            data=json.dumps({"ahead_ms": ahead_ms}).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=_ADMIN_S) as answer:  # noqa: S310
            answer.read()

    def stop(self) -> None:
        for node in self.nodes:
            self.signal(node, signal.SIGCONT)
        self.processes.stop(self.nodes)
        self.links.stop()

    def _set_snapshots(self) -> None:
        for node in self.nodes:
            every = SNAPSHOT_EVERY if node in self.observers else 0
            file = self.devnet.home(node).config_file
            settings = f"[storage]\nsnapshot_every = {every}\nsnapshot_behind = {SNAPSHOT_BEHIND}\n"
            text = file.read_text(encoding="utf-8")
            if text.count("[storage]\n") != 1:
                raise ValueError(f"{file} has no section [storage] to add to")
            file.write_text(text.replace("[storage]\n", settings), encoding="utf-8")

    def _route_through_proxies(self) -> None:
        proxies = {
            (one.name, other.name): self.links.open(one.name, other.name, other.p2p)
            for one, other in permutations(self.nodes, 2)
        }
        for node in self.nodes:
            file = self.devnet.home(node).consortium_file
            document = consortium.load_document(file)
            changes: dict[str, Any] = {
                kind: tuple(
                    each
                    if each.name == node.name
                    else msgspec.structs.replace(each, addresses=(proxies[node.name, each.name],))
                    for each in getattr(document, kind)
                )
                for kind in ("validator", "observer")
            }
            file.write_text(render(msgspec.structs.replace(document, **changes)), encoding="utf-8")


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop that nodes use too, where it is installed: every byte between seven nodes passes through it, on the
    cores that they share."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@contextmanager
def running(network: ChaosNetwork) -> Iterator[None]:
    """All nodes started; stopped at the end, whatever happens."""
    try:
        for node in network.nodes:
            network.processes.start(node)
        yield
    finally:
        network.stop()
