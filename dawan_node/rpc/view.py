"""The node as one organisation of the network may see it: ``NodeApi`` with everything that is not its own taken out.

The dispatcher judges every call before a handler runs; this view stands behind it. A handler gets it in place of the
node whenever the caller is not of the node's own organisation, so that a handler that forgot whom it answers still
cannot reach a channel that is not the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dawan_node.rpc import access, api
from dawan_node.rpc.access import Kind
from dawan_node.rpc.api import ApiError, At, NodeApi, Wait
from dawan_node.rpc.caller import Caller


def kind_of(node: NodeApi, caller: Caller, channel: str | None) -> Kind:
    """What ``caller`` is to ``channel``; without one, to the node: a member if it is on any channel here."""
    if caller.kind is not Kind.OUTSIDER:
        return caller.kind
    if channel is not None:
        return Kind.MEMBER if node.is_member(channel, caller.org, caller.authorities) else Kind.OUTSIDER
    return Kind.MEMBER if channels_of(node, caller) else Kind.OUTSIDER


def channels_of(node: NodeApi, caller: Caller) -> tuple[str, ...]:
    """The channels of the node that list the caller's organisation."""
    return tuple(name for name in node.channels() if node.is_member(name, caller.org, caller.authorities))


def view_for(node: NodeApi, caller: Caller) -> NodeApi:
    """What a handler may ask on behalf of ``caller``."""
    return node if caller.kind in access.OPERATOR else CallerView(node, caller)


class CallerView:
    """See the top of the file. Every method is that of ``NodeApi``; a channel that is not the caller's is none."""

    __slots__ = ("_caller", "_node")

    def __init__(self, node: NodeApi, caller: Caller) -> None:
        self._node: Final = node
        self._caller: Final = caller

    def _at(self, channel: str) -> NodeApi:
        if not self._node.is_member(channel, self._caller.org, self._caller.authorities):
            raise ApiError.no_channel(channel)
        return self._node

    # -- memory

    def version(self) -> api.VersionInfo:
        return self._node.version()

    def status(self) -> api.StatusInfo:
        """Only the caller's channels, and nothing of the node's peers and disk or of anybody's certificates."""
        info, seen = self._node.status(), frozenset(self.channels())
        shown = tuple(row for row in info.channels if row.channel in seen)
        return replace(info, channels=shown, peers=None, certificates=(), disk=None)

    def channels(self) -> tuple[str, ...]:
        return channels_of(self._node, self._caller)

    def is_member(self, channel: str, org: str, authorities: frozenset[bytes]) -> bool:
        return self._at(channel).is_member(channel, org, authorities)

    def channel(self, channel: str) -> api.ChannelInfo:
        return self._at(channel).channel(channel)

    def prepare_context(self, channel: str) -> api.PrepareContext:
        return self._at(channel).prepare_context(channel)

    def modules(self, channel: str) -> tuple[api.ModuleInfo, ...]:
        return self._at(channel).modules(channel)

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        return self._at(channel).describe(channel, module)

    def check_command(self, channel: str, module: str, command: str, args: Mapping[str, Any]) -> None:
        self._at(channel).check_command(channel, module, command, args)

    def pbft(self, channel: str) -> api.PbftInfo:
        self._at(channel)
        raise access.refusal(access.OPERATOR, Kind.MEMBER, "pbft_status", channel)

    def evidence(self, channel: str) -> api.EvidenceReport:
        self._at(channel)
        raise access.refusal(access.OPERATOR, Kind.MEMBER, "pbft_evidence", channel)

    def peers(self) -> tuple[api.PeerInfo, ...]:
        raise access.refusal(access.OPERATOR, Kind.MEMBER, "net_peers", None)

    def pool(self, channel: str) -> api.PoolInfo:
        self._at(channel)
        raise access.refusal(access.OPERATOR, Kind.MEMBER, "txpool_status", channel)

    # -- may wait

    async def head(self, channel: str) -> api.HeadInfo:
        return await self._at(channel).head(channel)

    async def block(self, channel: str, at: At, full: bool) -> api.BlockInfo:
        return await self._at(channel).block(channel, at, full)

    async def finality_proof(self, channel: str, at: At) -> bytes:
        return await self._at(channel).finality_proof(channel, at)

    async def validators(self, channel: str, at: At) -> api.ValidatorsInfo:
        return await self._at(channel).validators(channel, at)

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[api.SubmitOutcome]:
        return await self._at(channel).submit(channel, envelopes, wait, timeout_ms, bearer)

    async def tx(self, channel: str, tx_id: bytes) -> api.TxInfo | None:
        return await self._at(channel).tx(channel, tx_id)

    async def receipt(self, channel: str, tx_id: bytes) -> api.ReceiptInfo | None:
        return await self._at(channel).receipt(channel, tx_id)

    async def tx_status(self, channel: str, tx_id: bytes) -> api.TxStatus:
        return await self._at(channel).tx_status(channel, tx_id)

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> api.StateInfo:
        return await self._at(channel).state(channel, module, collection, key, at, proof)

    async def query(
        self, channel: str, module: str, query: str, params: Mapping[str, Any], limit: int, cursor: bytes | None
    ) -> api.QueryPage:
        return await self._at(channel).query(channel, module, query, params, limit, cursor)

    async def events(
        self, channel: str, after: api.EventPosition, limit: int, event_filter: api.EventFilter
    ) -> api.EventPage:
        return await self._at(channel).events(channel, after, limit, event_filter)

    async def members(self, channel: str) -> api.MemberList:
        return await self._at(channel).members(channel)

    async def member(self, channel: str, name: str) -> api.OrgInfo | api.IdentityInfo | None:
        return await self._at(channel).member(channel, name)
