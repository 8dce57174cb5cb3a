"""How transactions spread from and to this node on one channel: topic GOSSIP.

Who gets what is decided by ``p2p.gossip``; here batches are filled, announcements answered, and everything a peer asks
for is paid from its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from dawan_node.node.budget import LEAVES_PER_US, REQUEST_US, PeerBudgets
from dawan_node.node.channel_parts import Links
from dawan_node.node.clock import Clock
from dawan_node.node.metrics import StageTimes
from dawan_node.node.runtime import Runtime
from dawan_node.node.serving import Serving
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import IHave, IWant, Origin, TransactionBatcher, Txs, WantList, audience, decode_gossip
from dawan_node.p2p.peers import Role
from dawan_node.primitives.transaction import Transaction

#: Announced transactions an observer has asked for.
WANTED_MAX: Final = 20_000
WANT_PATIENCE_MS: Final = 2_000

Receive = Callable[[Sequence[bytes], str], Coroutine[Any, Any, None]]


class Spreading:
    """Topic GOSSIP of one channel."""

    def __init__(
        self,
        chain_id: bytes,
        role: Role,
        receive: Receive,
        knows: Callable[[bytes], bool],
        serving: Serving,
        runtime: Runtime,
        links: Links,
        budgets: PeerBudgets,
        clock: Clock,
        stages: StageTimes,
    ) -> None:
        """``receive`` takes envelopes and the peer they came from; ``knows``: a transaction is here, by leaf hash."""
        self._chain_id: Final = chain_id
        self._role: Final = role
        self._receive: Final = receive
        self._knows: Final = knows
        self._serving: Final = serving
        self._runtime: Final = runtime
        self._links: Final = links
        self._budgets: Final = budgets
        self._clock: Final = clock
        self._stages: Final = stages
        self._batcher: Final = TransactionBatcher()
        self._batcher_names: tuple[str, ...] = ()
        self._wants: Final = WantList(WANTED_MAX, WANT_PATIENCE_MS)

    def on_message(self, peer: str, payload: bytes) -> None:
        """One payload on topic GOSSIP. Raises InvalidMessage."""
        message = decode_gossip(payload)
        budget = self._budgets.of(peer)
        if isinstance(message, Txs):
            if budget.may_offer():
                self._runtime.start(self._receive(message.envelopes, peer))
        elif isinstance(message, IHave):
            if not budget.work(REQUEST_US + len(message.leaves) // LEAVES_PER_US):
                return
            wanted = self._wants.to_ask(message.leaves, self._knows, self._clock.monotonic_ms())
            if wanted:
                self._links.send(peer, self._chain_id, Topic.GOSSIP, IWant(wanted).encode())
        elif isinstance(message, IWant):
            if not budget.work(REQUEST_US + len(message.leaves) // LEAVES_PER_US):
                return
            reply = self._serving.i_want(peer, message)
            if reply is not None:
                self._links.send(peer, self._chain_id, Topic.GOSSIP, reply)
        # A block's announcement says no more than HEAD does, which every node sends; it needs no answer.

    def spread(self, transactions: Sequence[Transaction], origin: Origin, source: str) -> None:
        """New in the pool, from peer ``source`` (empty: a client of this node): push them on."""
        listeners = audience(self._role, origin, source, self._links.connected(self._chain_id))
        with self._stages.measure("gossip", len(transactions)):
            if listeners.announce:
                leaves = [transaction.leaf_hash for transaction in transactions]
                self._links.broadcast(self._chain_id, Topic.GOSSIP, IHave(leaves).encode(), listeners.announce)
            if listeners.push:
                now_ms = self._clock.monotonic_ms()
                self._batcher_names = listeners.push
                waits = self._batcher.deadline_ms is not None
                for transaction in transactions:
                    self._push(self._batcher.add(transaction.envelope, now_ms))
                if self._batcher.deadline_ms is not None and not waits:
                    self._runtime.later(max(0, self._batcher.deadline_ms - now_ms) / 1000, self._flush)

    def _flush(self) -> None:
        self._push(self._batcher.flush())

    def _push(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self._links.broadcast(self._chain_id, Topic.GOSSIP, payload, self._batcher_names)
