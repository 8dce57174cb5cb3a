"""How transactions spread from and to this node on one channel: topic GOSSIP, but for blocks (``block_spreading``).

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
from dawan_node.p2p.gossip import (
    Audience,
    BlockMessage,
    IHave,
    IWant,
    Origin,
    Reminders,
    TransactionBatcher,
    Txs,
    WantList,
    audience,
    decode_gossip,
)
from dawan_node.p2p.peers import Role
from dawan_node.primitives.transaction import Transaction

#: Announced transactions that are still to come.
WANTED_MAX: Final = 20_000
#: An announced transaction comes by another way, normally in two hops; then its announcers are asked in turn.
WANT_GRACE_MS: Final = 250
WANT_PATIENCE_MS: Final = 500
#: Transactions of clients that are announced again, as many as are asked for at most.
REMINDED_MAX: Final = WANTED_MAX

Receive = Callable[[Sequence[bytes], str], Coroutine[Any, Any, None]]


class Spreading:
    """Topic GOSSIP of one channel."""

    def __init__(
        self,
        chain_id: bytes,
        role: Role,
        receive: Receive,
        knows: Callable[[bytes], bool],
        is_pending: Callable[[bytes], bool],
        on_block: Callable[[str, BlockMessage], None],
        points: Callable[[str], int],
        serving: Serving,
        runtime: Runtime,
        links: Links,
        budgets: PeerBudgets,
        clock: Clock,
        stages: StageTimes,
    ) -> None:
        """``receive`` takes envelopes and the peer they came from; ``knows``: a transaction is here, by leaf hash;
        ``is_pending``: it waits for a block;
        ``on_block`` takes what is about blocks, ``points`` says what this node thinks of a peer."""
        self._chain_id: Final = chain_id
        self._role: Final = role
        self._receive: Final = receive
        self._knows: Final = knows
        self._is_pending: Final = is_pending
        self._on_block: Final = on_block
        self._points: Final = points
        self._serving: Final = serving
        self._runtime: Final = runtime
        self._links: Final = links
        self._budgets: Final = budgets
        self._clock: Final = clock
        self._stages: Final = stages
        self._batcher: Final = TransactionBatcher()
        self._batcher_names: tuple[str, ...] = ()
        self._wants: Final = WantList(WANTED_MAX, WANT_GRACE_MS, WANT_PATIENCE_MS)
        self._reminders: Final = Reminders(REMINDED_MAX)

    def on_message(self, peer: str, payload: bytes, takes_transactions: bool = True) -> None:
        """One payload on topic GOSSIP; ``takes_transactions``: false while this node is so far behind that what peers
        offer is decided before it can be judged here. Raises InvalidMessage."""
        message = decode_gossip(payload)
        budget = self._budgets.of(peer)
        if isinstance(message, Txs | IHave) and not takes_transactions:
            return
        if isinstance(message, Txs):
            if budget.may_offer():
                self._runtime.start(self._receive(message.envelopes, peer))
        elif isinstance(message, IHave):
            if not budget.work(REQUEST_US + len(message.leaves) // LEAVES_PER_US):
                return
            self._wants.announced(peer, message.leaves, self._knows, self._clock.monotonic_ms())
        elif isinstance(message, IWant):
            if not budget.work(REQUEST_US + len(message.leaves) // LEAVES_PER_US):
                return
            reply = self._serving.i_want(peer, message)
            if reply is not None:
                self._links.send(peer, self._chain_id, Topic.GOSSIP, reply)
        else:
            self._on_block(peer, message)

    def tick(self, now_ms: int) -> None:
        """Ask for what was announced and did not come, and announce again what no block has brought."""
        for peer, leaves in self._wants.due(self._knows, now_ms).items():
            self._links.send(peer, self._chain_id, Topic.GOSSIP, IWant(leaves).encode())
        forgotten = self._reminders.due(self._is_pending, now_ms)
        if forgotten:
            listeners = self._listeners(Origin.CLIENT, "")
            names = listeners.push + listeners.announce
            self._links.broadcast(self._chain_id, Topic.GOSSIP, IHave(forgotten).encode(), names)

    def spread(self, transactions: Sequence[Transaction], origin: Origin, source: str) -> None:
        """New in the pool, from peer ``source`` (empty: a client of this node): push them on."""
        listeners = self._listeners(origin, source)
        if origin is Origin.CLIENT and self._role is Role.OBSERVER:
            now_ms = self._clock.monotonic_ms()
            self._reminders.sent((transaction.leaf_hash for transaction in transactions), now_ms)
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
                due_ms = self._batcher.deadline_ms
                if due_ms is not None and not waits:
                    if due_ms <= now_ms:
                        self._push(self._batcher.flush(now_ms))
                    else:
                        self._runtime.later((due_ms - now_ms) / 1000, self._flush)

    def _listeners(self, origin: Origin, source: str) -> Audience:
        return audience(self._role, origin, source, self._links.connected(self._chain_id), self._points)

    def _flush(self) -> None:
        self._push(self._batcher.flush(self._clock.monotonic_ms()))

    def _push(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self._links.broadcast(self._chain_id, Topic.GOSSIP, payload, self._batcher_names)
