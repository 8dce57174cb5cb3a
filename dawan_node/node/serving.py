"""Answers to what peers ask for: bodies of blocks in flight, leaf lists, and ranges of decided blocks.

Requests are cheap and answers are not, so each peer has an allowance (a token bucket of answered bytes). What exceeds
it is dropped, and the asker turns to somebody else; parts of a snapshot, which perhaps nobody else has, come later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Final

from msgspec.structs import replace

from dawan_node.crypto import merkle
from dawan_node.mempool import Mempool
from dawan_node.node.bodies import Bodies
from dawan_node.p2p.gossip import BlockReply, FetchBlock, FetchTx, IWant, TokenBucket, Txs, txs_reply
from dawan_node.primitives.block import Header, Result
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.sync import BodiesReply, BodiesRequest, LightBlock, LightReply, LightRequest, cut_bodies

#: A peer catching up may draw this much per second on average, and this much at once: four replies of 4 MiB. Local
#: disks and loopback do far more; a voting node must not be slowed by those it helps.
ANSWER_BYTES_PER_S: Final = 16 * 1024 * 1024
ANSWER_BYTES_BURST: Final = 32 * 1024 * 1024
#: What any request costs at least, so that empty answers are not free.
ANSWER_BYTES_MIN: Final = 512


class Serving:
    """The serving side of one channel."""

    def __init__(self, bodies: Bodies, pool: Mempool, store: ChannelStore, now_ms: Callable[[], int]) -> None:
        """``now_ms`` is a monotonic clock."""
        self._bodies: Final = bodies
        self._pool: Final = pool
        self._store: Final = store
        self._now_ms: Final = now_ms
        self._allowances: dict[str, TokenBucket] = {}

    def fetch_tx(self, peer: str, request: FetchTx) -> bytes | None:
        """The envelopes held here; None when the peer asks too much."""
        reply = txs_reply(request.request_id, self._envelopes(request.leaves))
        return self._allowed(peer, reply.encode())

    def i_want(self, peer: str, request: IWant) -> bytes | None:
        """The announced transactions an observer asks for."""
        found = txs_reply(0, self._envelopes(request.leaves)).envelopes
        return self._allowed(peer, Txs(found).encode()) if found else None

    def fetch_block(self, peer: str, request: FetchBlock) -> bytes | None:
        """The leaf list of a block in flight or decided, empty when it is not held."""
        body = self._bodies.get(request.block_hash)
        if body is not None:
            leaves = list(body.leaf_hashes)
        else:
            height = self._store.blocks.height_of(request.block_hash)
            envelopes = self._store.blocks.envelopes(height) if height else None
            leaves = [merkle.leaf_hash(envelope) for envelope in envelopes or ()]
        return self._allowed(peer, BlockReply(request.block_hash, leaves).encode())

    def may_ask_range(self, peer: str) -> bool:
        """Whether the peer has any allowance left; the answer itself is charged by ``charge``."""
        return self._allowance(peer).take(ANSWER_BYTES_MIN, self._now_ms())

    def light(self, request: LightRequest) -> LightReply:
        """Decided blocks without their bodies, up to the end of an epoch. Reads the disk: call it in the worker."""
        blocks = self._store.blocks
        found: list[LightBlock] = []
        for height in range(request.first, request.last + 1):
            header, result = blocks.header(height), blocks.result(height)
            if header is None or result is None:
                break
            found.append(LightBlock(header, result, blocks.own_certificate(height)))
            if found[-1].ends_epoch:
                break
        if not found or found[-1].certificate:
            return LightReply(request.id, tuple(found), ())
        proof = blocks.certificate(found[-1].header.height)
        if proof is None:
            return LightReply(request.id, (), ())
        found[-1] = replace(found[-1], certificate=proof.certificate)
        links = tuple((Header.decode(above), Result.decode(outcome)) for above, outcome in proof.links)
        return LightReply(request.id, tuple(found), links)

    def bodies(self, request: BodiesRequest) -> BodiesReply:
        """The bodies of decided blocks, as many as fit. Reads the disk: call it in the worker."""
        heights = range(request.first, request.last + 1)
        return cut_bodies(request, takewhile(bool, (self._store.blocks.envelopes(height) or () for height in heights)))

    def charge(self, peer: str, payload: bytes) -> bool:
        """Whether ``payload`` may be sent to ``peer`` now."""
        return self._allowance(peer).take(min(max(len(payload), ANSWER_BYTES_MIN), ANSWER_BYTES_BURST), self._now_ms())

    def wait_ms(self, peer: str) -> int:
        """How long the peer has to wait for the answer to its next request, where answers may be late."""
        return self._allowance(peer).wait_ms(self._now_ms())

    def charge_anyway(self, peer: str, payload: bytes) -> None:
        """``payload`` is sent to ``peer``; what it exceeds its allowance by, later answers wait for."""
        self._allowance(peer).spend(max(len(payload), ANSWER_BYTES_MIN), self._now_ms())

    def peer_gone(self, peer: str) -> None:
        """Forget a peer's allowance; a peer that reconnects too often is limited by the network."""
        self._allowances.pop(peer, None)

    def _envelopes(self, leaves: list[bytes]) -> Iterator[bytes]:
        for leaf in leaves:
            transaction = self._bodies.transaction(leaf) or self._pool.get(leaf)
            if transaction is not None:
                yield transaction.envelope

    def _allowed(self, peer: str, payload: bytes) -> bytes | None:
        return payload if self.charge(peer, payload) else None

    def _allowance(self, peer: str) -> TokenBucket:
        allowance = self._allowances.get(peer)
        if allowance is None:
            allowance = TokenBucket(ANSWER_BYTES_PER_S, ANSWER_BYTES_BURST, self._now_ms())
            self._allowances[peer] = allowance
        return allowance
