"""Catch-up of one channel on this node: what travels on topic SYNC, and what the pure state machine wants of the shell.

``sync.CatchUp`` decides what to fetch and what to believe; here its requests are sent, peers' requests are answered
within their budgets, and proven blocks are handed to the driver, one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from dawan_node.crypto.signatures import Verify
from dawan_node.errors import InvalidMessage, InvalidTransaction
from dawan_node.node.bodies import BlockBody
from dawan_node.node.budget import RANGE_BLOCK_US, PeerBudgets
from dawan_node.node.channel_parts import Links
from dawan_node.node.clock import Clock
from dawan_node.node.driver import Driver
from dawan_node.node.logs import fields
from dawan_node.node.runtime import Jobs, Runtime
from dawan_node.node.serving import Serving
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.transaction import Transaction
from dawan_node.sync import (
    Anchor,
    CatchUp,
    HeadMessage,
    RangeReply,
    RangeRequest,
    SyncedBlock,
    SyncLimits,
    decode_sync_message,
)

log = logging.getLogger(__name__)

#: Range answers being read from disk, over all peers: each holds up to 4 MiB.
RANGES_SERVED_MAX: Final = 4


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
    ) -> None:
        """``name`` is the channel's, ``anchor`` the head of its store."""
        self._name: Final = name
        self._chain_id: Final = chain_id
        self._driver: Final = driver
        self._serving: Final = serving
        self._worker: Final = worker
        self._runtime: Final = runtime
        self._links: Final = links
        self._budgets: Final = budgets
        self._clock: Final = clock
        self._anchor = anchor
        self.catch_up: Final = CatchUp(chain_id, anchor, self._limits(), verify)
        #: The peers that a range is being read for: an honest one waits for its answer before it asks again.
        self.served: Final[set[str]] = set()

    # What arrives

    def on_message(self, peer: str, payload: bytes, is_validator: bool) -> None:
        """One payload on topic SYNC; ``is_validator``: of the current set. Raises InvalidMessage."""
        message = decode_sync_message(payload)
        now_ms = self._clock.monotonic_ms()
        if isinstance(message, HeadMessage):
            self.catch_up.peer_status(peer, message.height, message.block_hash, message.epoch, is_validator, now_ms)
        elif isinstance(message, RangeRequest):
            if (
                len(self.served) < RANGES_SERVED_MAX
                and peer not in self.served
                and self._budgets.of(peer).work(RANGE_BLOCK_US * (message.last - message.first + 1))
                and self._serving.may_ask_range(peer)
            ):
                self._runtime.start(self._serve_range(peer, message))
            return
        elif isinstance(message, RangeReply):
            self.catch_up.range_arrived(peer, message, now_ms)
        self._pump()

    def peer_up(self, peer: str) -> None:
        """A link is up: say how far we are."""
        self._links.send(peer, self._chain_id, Topic.SYNC, self._head_message())

    def peer_gone(self, peer: str) -> None:
        """A link is gone."""
        self.catch_up.peer_gone(peer, self._clock.monotonic_ms())
        self._pump()

    async def _serve_range(self, peer: str, request: RangeRequest) -> None:
        self.served.add(peer)
        try:
            reply = await self._worker.run(lambda: self._serving.range(request).encode())
        finally:
            self.served.discard(peer)
        if self._serving.charge(peer, reply):
            self._links.send(peer, self._chain_id, Topic.SYNC, reply)

    # What the channel tells

    def advanced(self, anchor: Anchor, ends_epoch: bool, observers: Sequence[str]) -> None:
        """A block is durable, however it came; ``observers`` are told at once, validators hear it in votes."""
        self._anchor = anchor
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
        """The block that was handed out is stored, or was not taken."""
        if failure is not None:
            log.info("synced_block_dropped", extra=fields(channel=self._name, why=failure))
            self.catch_up.dropped(self._clock.monotonic_ms())
        self._pump()

    def tick(self, now_ms: int) -> None:
        """Time-outs."""
        self.catch_up.tick(now_ms)
        self._pump()

    def say_head(self) -> None:
        """Repeat to all peers how far we are, so that a lost message costs no more than the time between two."""
        self._links.broadcast(self._chain_id, Topic.SYNC, self._head_message())
        status = self.catch_up.status()
        if status.active:
            log.info(
                "syncing",
                extra=fields(
                    channel=self._name,
                    height=status.height,
                    target=status.target,
                    peers=",".join(peer for peer, _, _ in status.requests) or "none",
                ),
            )

    # What catch-up wants

    def _pump(self) -> None:
        """Do what catch-up wants until it wants nothing."""
        while ready := self.catch_up.ready():
            for peer, request in ready.requests:
                self._links.send(peer, self._chain_id, Topic.SYNC, request.encode())
            for blame in ready.blames:
                log.warning("sync_peer_failed", extra=fields(channel=self._name, peer=blame.peer, why=blame.reason))
                if blame.proven:
                    self._links.report_violation(blame.peer, blame.reason)
            if ready.block is not None:
                self._apply(ready.block)
                return

    def _apply(self, block: SyncedBlock) -> None:
        try:
            transactions = tuple(Transaction.decode(envelope) for envelope in block.envelopes)
        except InvalidTransaction as error:
            # A quorum certified bytes that no honest replica accepts; nothing here can go on from that.
            raise InvalidMessage(f"certified block {block.header.height} holds {error}") from error
        self._driver.apply_synced(block, BlockBody(block.block_hash, transactions))

    def _limits(self) -> SyncLimits:
        """A node that votes is helped by STATUS when it is one block behind; one that does not, whatever its role says,
        has only catch-up."""
        return SyncLimits(behind_blocks=1, behind_ms=0) if self._driver.replica.own_index is None else SyncLimits()

    def _head_message(self) -> bytes:
        return HeadMessage(self._anchor.height, self._anchor.block_hash, self._anchor.epoch).encode()
