"""Catch-up of one channel on this node: what travels on topic SYNC, and what the pure state machine wants of the shell.

``sync.CatchUp`` decides what to fetch and what to believe; here its requests are sent, peers' requests are answered
within their budgets, and proven blocks are handed to the driver, in batches.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from dawan_node import failpoints
from dawan_node.crypto.signatures import Verify
from dawan_node.node.budget import BODY_US, LIGHT_BLOCK_US, REQUEST_US, PeerBudgets
from dawan_node.node.channel_parts import Links
from dawan_node.node.clock import Clock
from dawan_node.node.driver import Driver
from dawan_node.node.logs import fields
from dawan_node.node.metrics import Sample
from dawan_node.node.runtime import Jobs, Runtime
from dawan_node.node.serving import Serving
from dawan_node.p2p.framing import Topic
from dawan_node.storage.block_store import BlockStore
from dawan_node.sync import (
    Anchor,
    BodiesRequest,
    BusyReply,
    CatchUp,
    HeadMessage,
    LightBlock,
    LightRequest,
    Progress,
    Rate,
    SyncLimits,
    SyncRequest,
    decode_sync_message,
)
from dawan_node.sync.verify import Pair

log = logging.getLogger(__name__)

#: A node that does not vote asks for ranges when it is behind for so long: gossip has asked three peers by then.
FOLLOWER_BEHIND_MS: Final = 500
#: Answers being read from disk, over all peers: each holds up to 4 MiB.
ANSWERS_MAX: Final = 4
#: Per peer: one light range and one of bodies. An honest one waits for its answer before it asks for more of a kind.
ANSWERS_PER_PEER_MAX: Final = 2
#: A peer that has used up its allowance is told to come back after this long: by then it has a quarter of it again.
RETRY_MS: Final = 500


class FarBehind(Protocol):
    """Another way to the target than block by block."""

    def far_behind(self, height: int, target: int) -> bool:
        """Whether the chain is on its way here by that other way; catch-up then asks for nothing. Called about once a
        second and at each change while this node is at ``height`` and a quorum is at ``target``."""
        ...


class Syncing:
    """Topic SYNC of one channel. Lives on the event loop; reads of ranges run in the channel's worker."""

    def __init__(
        self,
        name: str,
        chain_id: bytes,
        anchor: Anchor,
        verify: Verify,
        driver: Driver,
        serving: Serving,
        worker: Jobs,
        runtime: Runtime,
        links: Links,
        budgets: PeerBudgets,
        clock: Clock,
        blocks: BlockStore,
    ) -> None:
        """``name`` is the channel's, ``anchor`` the head of its store, ``blocks`` what is in it."""
        self._name: Final = name
        self._chain_id: Final = chain_id
        self._driver: Final = driver
        self._serving: Final = serving
        self._worker: Final = worker
        self._runtime: Final = runtime
        self._links: Final = links
        self._budgets: Final = budgets
        self._clock: Final = clock
        self._blocks: Final = blocks
        self.anchor = anchor
        self._progress: Final = Progress()
        self.catch_up: Final = CatchUp(chain_id, anchor, self._limits(), verify)
        #: How many answers are being read for each peer.
        self.served: Final[Counter[str]] = Counter()
        #: Who has answered since the last line of progress.
        self._helped: Final[set[str]] = set()
        #: Asked, when set, whether blocks are the way to go.
        self.other_way: FarBehind | None = None
        #: Called when a peer has said how far it is; the channel connects it.
        self.on_head: Callable[[str, int], None] = lambda peer, height: None

    # What arrives

    def on_message(self, peer: str, payload: bytes, is_validator: bool) -> None:
        """One payload on topic SYNC; ``is_validator``: of the current set. Raises InvalidMessage."""
        message = decode_sync_message(payload)
        if isinstance(message, LightRequest | BodiesRequest):
            self._on_request(peer, message)
            return
        now_ms = self._clock.monotonic_ms()
        if isinstance(message, HeadMessage):
            self.catch_up.head(peer, message, is_validator, now_ms)
            self.on_head(peer, message.height)
        else:
            if not isinstance(message, BusyReply):
                self._helped.add(peer)
            self.catch_up.arrived(peer, message, now_ms)
        self._pump()

    def _on_request(self, peer: str, request: SyncRequest) -> None:
        cost_us = LIGHT_BLOCK_US if isinstance(request, LightRequest) else BODY_US
        if (
            self.served.total() < ANSWERS_MAX
            and self.served[peer] < ANSWERS_PER_PEER_MAX
            and self._budgets.of(peer).work(cost_us * (request.last - request.first + 1))
            and self._serving.may_ask_range(peer)
        ):
            self._runtime.start(self._serve(peer, request))
        elif self._budgets.of(peer).work(REQUEST_US):
            self._links.send(peer, self._chain_id, Topic.SYNC, BusyReply(request.id, RETRY_MS).encode())

    def peer_up(self, peer: str) -> None:
        """A link is up: say how far we are."""
        self._links.send(peer, self._chain_id, Topic.SYNC, self._head_message())

    def peer_gone(self, peer: str) -> None:
        """A link is gone."""
        self.catch_up.peer_gone(peer, self._clock.monotonic_ms())
        self._pump()

    async def _serve(self, peer: str, request: SyncRequest) -> None:
        self.served[peer] += 1
        try:
            reply = await self._worker.run(lambda: self._answer(request))
        finally:
            self.served[peer] -= 1
            if not self.served[peer]:
                del self.served[peer]
        if not self._serving.charge(peer, reply):
            reply = BusyReply(request.id, RETRY_MS).encode()
        self._links.send(peer, self._chain_id, Topic.SYNC, reply)

    def _answer(self, request: SyncRequest) -> bytes:
        if isinstance(request, LightRequest):
            return self._serving.light(request).encode()
        return self._serving.bodies(request).encode()

    # What the channel tells

    def advanced(self, anchor: Anchor, ends_epoch: bool, observers: Sequence[str]) -> None:
        """A block is durable, however it came; ``observers`` are told at once."""
        self.anchor = anchor
        if ends_epoch:
            self.catch_up.limits = self._limits()
        self.catch_up.applied(anchor, self._clock.monotonic_ms())
        if observers:
            self._links.broadcast(self._chain_id, Topic.SYNC, self._head_message(), observers)

    def wanted(self, height: int, holders: Sequence[str]) -> None:
        """The replica knows of final blocks up to ``height`` it cannot reach by itself."""
        self.catch_up.certified(height, holders, self._clock.monotonic_ms())
        self._pump()

    def taken(self, failure: str | None) -> None:
        """Blocks that were handed out are stored, or were not taken."""
        if failure is not None:
            log.info("synced_block_dropped", extra=fields(channel=self._name, why=failure))
            self.catch_up.dropped(self._clock.monotonic_ms())
        self._pump()

    def offer(self, peer: str, block: LightBlock, links: Sequence[Pair], envelopes: tuple[bytes, ...]) -> None:
        """``peer`` brought a block by gossip: take it if it is the next one."""
        self.catch_up.offered(peer, block, links, envelopes, self._clock.monotonic_ms())
        self._pump()

    def tick(self, now_ms: int) -> None:
        """Time-outs."""
        self.catch_up.tick(now_ms)
        self._pump()

    def say_head(self) -> None:
        """Repeat to all peers how far we are, so that a lost message costs no more than the time between two."""
        self._links.broadcast(self._chain_id, Topic.SYNC, self._head_message())
        status, rate = self.catch_up.status(), self.rate()
        helpers = self._helped | {peer for peer, _, _ in status.requests}
        self._helped.clear()
        if status.active:
            log.info(
                "syncing",
                extra=fields(
                    channel=self._name,
                    height=status.height,
                    target=status.target,
                    verified=status.verified,
                    blocks_per_s=rate.blocks_per_s,
                    eta_s="unknown" if rate.eta_s is None else rate.eta_s,
                    # While what has come is executed nobody may be asked for more: that is no lack of peers.
                    peers=",".join(sorted(helpers)) or "nobody",
                ),
            )

    def rate(self) -> Rate:
        """How fast catch-up goes."""
        status = self.catch_up.status()
        return self._progress.rate(status.height, status.target, self._clock.monotonic_ms())

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        labels, status, rate = {"channel": self._name}, self.catch_up.status(), self.rate()
        yield "dawan_sync_active", labels, int(status.active)
        yield "dawan_sync_target_height", labels, status.target
        yield "dawan_sync_verified_height", labels, status.verified
        yield "dawan_sync_blocks_per_second", labels, rate.blocks_per_s
        if rate.eta_s is not None:
            yield "dawan_sync_eta_seconds", labels, rate.eta_s

    # What catch-up wants

    def _pump(self) -> None:
        """Do what catch-up wants until it wants nothing."""
        if self.catch_up.is_active:
            status = self.catch_up.status()
            self._progress.at(status.height, self._clock.monotonic_ms())
            self.catch_up.is_held = self.other_way is not None and self.other_way.far_behind(
                status.height, status.target
            )
        else:
            self._progress.stop()
            self.catch_up.is_held = False
        while ready := self.catch_up.ready():
            for peer, request in ready.requests:
                self._links.send(peer, self._chain_id, Topic.SYNC, request.encode())
            for blame in ready.blames:
                log.warning("sync_peer_failed", extra=fields(channel=self._name, peer=blame.peer, why=blame.reason))
                if blame.proven:
                    self._links.report_violation(blame.peer, blame.reason)
            if ready.blocks:
                failpoints.reach("sync.before_apply")
                self._driver.apply_synced(ready.blocks)

    def _limits(self) -> SyncLimits:
        """A node that votes is helped by STATUS when it is one block behind; to one that does not, whatever its role
        says, single blocks come by gossip, which mends what was lost in less time than this."""
        is_follower = self._driver.replica.own_index is None
        return SyncLimits(behind_blocks=1, behind_ms=FOLLOWER_BEHIND_MS) if is_follower else SyncLimits()

    def _head_message(self) -> bytes:
        anchor = self.anchor
        proof = self._blocks.certificate(anchor.height)
        certificate = b"" if proof is None else proof.certificate
        return HeadMessage(anchor.height, anchor.block_hash, anchor.epoch, certificate).encode()
