"""The links between the nodes of a benchmark's network, as slow as is asked for.

A proxy stands between each ordered pair of nodes, on one event loop in a thread of the benchmark's own process. What it
costs (a copy of every byte, and its share of the cores) is part of whatever is measured with it, with a delay of 0 too:
compare with that, not with a network that has no proxies.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from itertools import permutations

import msgspec

from dawan_node.cli.devnet_network import Devnet
from dawan_node.node import consortium
from dawan_node.node.consortium_text import render
from dawan_node.testing.link_proxy import LinkProxy


class Proxies:
    """Whoever dials, the bytes of a pair pass through one that can slow them down."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxies: dict[tuple[str, str], LinkProxy] = {}
        self._organisations: dict[str, str] = {}

    def route(self, network: Devnet) -> None:
        """Tell each node, in its own copy of the consortium file, that the others are behind proxies."""
        for one, other in permutations(network.nodes, 2):
            proxy = LinkProxy(other.p2p)
            asyncio.run_coroutine_threadsafe(proxy.start(), self._loop).result(10)
            self._proxies[one.name, other.name] = proxy
        for node in network.nodes:
            file = network.home(node).consortium_file
            document = consortium.load_document(file)
            self._organisations |= {each.name: each.org for each in (*document.validator, *document.observer)}
            validators = tuple(
                each
                if each.name == node.name
                else msgspec.structs.replace(each, addresses=(self._proxies[node.name, each.name].address,))
                for each in document.validator
            )
            file.write_text(render(msgspec.structs.replace(document, validator=validators)), encoding="utf-8")

    def slow(self, name: str, delay_s: float, bytes_per_s: int | None) -> None:
        """All links of one node: so much later each way, and no faster than that. ``0`` and ``None`` heal them."""
        self._change((proxy for pair, proxy in self._proxies.items() if name in pair), delay_s, bytes_per_s)

    def far_apart(self, round_trip_ms: float) -> None:
        """Nodes of different organisations are so far from each other, those of the same one are where they were."""
        organisations = self._organisations
        far = [proxy for (one, other), proxy in self._proxies.items() if organisations[one] != organisations[other]]
        self._change(far, round_trip_ms / 2000, None)

    def _change(self, proxies: Iterable[LinkProxy], delay_s: float, bytes_per_s: int | None) -> None:
        chosen = list(proxies)

        def change() -> None:
            for proxy in chosen:
                for way in (proxy.forward, proxy.backward):
                    way.delay_s, way.bytes_per_s = delay_s, bytes_per_s
                proxy.changed()

        self._loop.call_soon_threadsafe(change)

    def stop(self) -> None:
        """Close everything."""
        for proxy in self._proxies.values():
            asyncio.run_coroutine_threadsafe(proxy.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
