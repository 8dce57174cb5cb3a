"""The kits of several channels behind the node's real JSON-RPC, on a loopback port: for commands that carry proofs.

    two = Channels()
    node = ChannelsNode({"logistics": (two.logistics, SHIPPERS), "trade": (two.trade, TRADERS)})
    with running(node=node) as server: ...

Proofs are signed by the validators' real keys, and what is submitted is executed, a block for each call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dawan_node.rpc.api import (
    ApiError,
    At,
    ChannelInfo,
    HeadInfo,
    MemberList,
    ModuleInfo,
    QueryPage,
    StateInfo,
    SubmitOutcome,
    Wait,
)
from dawan_node.testing.module_kit import People
from tests.cli.module_node import KitNode
from tests.modules.channels_kit import Place
from tests.rpc.fake_node import ORGS, FakeNode


class ChannelsNode(FakeNode):
    """Answers for the channels in ``places``. ``calls`` has what it was asked; ``hooks`` are awaited before a method of
    that name answers."""

    def __init__(self, places: Mapping[str, tuple[Place, People]]) -> None:
        super().__init__(dict.fromkeys(places, ORGS))
        self.places: Final = {name: place for name, (place, _) in places.items()}
        self.inner: Final = {name: KitNode(place.kit, people) for name, (place, people) in places.items()}
        self.hooks: dict[str, Callable[[], Awaitable[None]]] = {}

    def channel(self, channel: str) -> ChannelInfo:
        found = super().channel(channel)
        return replace(found, chain_id=self.places[channel].kit.genesis.chain_id)

    def modules(self, channel: str) -> tuple[ModuleInfo, ...]:
        self._require(channel)
        return tuple(ModuleInfo(each.name, each.version) for each in self.places[channel].kit.genesis.modules)

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        self._require(channel)
        found = self.places[channel].kit.executor.describe(module)
        if found is None:
            raise ApiError.not_found("module", module)
        return found

    async def head(self, channel: str) -> HeadInfo:
        await self._asked(channel, "head")
        kit = self.places[channel].kit
        # Time passes between blocks; the head has that of the last one.
        return HeadInfo(kit.height, b"\xaa" * 32, b"\xbb" * 32, kit.blocks[-1].header.timestamp_ms)

    async def finality_proof(self, channel: str, at: At) -> bytes:
        await self._asked(channel, "finality_proof")
        assert isinstance(at, int)
        return self.places[channel].prover.finality(at)

    async def members(self, channel: str) -> MemberList:
        await self._asked(channel, "members")
        return await self.inner[channel].members(channel)

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> StateInfo:
        await self._asked(channel, "state")
        place = self.places[channel]
        declared = place.kit.executor.registry.module(module)
        if declared is None:
            raise ApiError.not_found("module", module)
        found = await self.inner[channel].state(channel, module, collection, key, at, proof)
        return replace(found, proof=place.prover.state(declared.entities[collection], key)) if proof else found

    async def query(
        self, channel: str, module: str, query: str, params: Mapping[str, Any], limit: int, cursor: bytes | None
    ) -> QueryPage:
        await self._asked(channel, "query")
        return await self.inner[channel].query(channel, module, query, params, limit, cursor)

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        self.submitted.extend(envelopes)
        await self._asked(channel, "submit")
        return await self.inner[channel].submit(channel, envelopes, wait, timeout_ms, bearer)

    async def _asked(self, channel: str, method: str) -> None:
        self._require(channel)
        self.calls[-1] = method
        hook = self.hooks.get(method)
        if hook is not None:
            await hook()


class Silence:
    """A hook: no answer until ``end``. ``and_then`` happens while the caller waits for it."""

    def __init__(self, and_then: Callable[[], None]) -> None:
        self._and_then: Final = and_then
        self._over: asyncio.Event | None = None

    async def __call__(self) -> None:
        assert self._over is None, "nobody asks again"
        self._over = asyncio.Event()
        self._and_then()
        await self._over.wait()

    def end(self) -> None:
        """Called on the server's loop: who was kept waiting is answered."""
        if self._over is not None:
            self._over.set()
