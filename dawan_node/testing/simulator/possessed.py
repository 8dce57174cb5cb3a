"""Byzantine nodes of a simulation: a real node possessed by an attacker (``testing.attackers``).

The node's replica, pool, executor and store run as in any other node, but its signer refuses nothing and seeing its
own key at work elsewhere stops it not. Whatever it wants to say passes through the attacker; what the attacker may know
is where its replica stands (``Position``). All liars of a scene share their keys, as a cartel would.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Final

import msgspec

from dawan_node.consensus import ChannelRules, Replica, ReplicaStatus, Timers
from dawan_node.consensus.agreement import ProposalSlot
from dawan_node.consensus.messages import decode_message
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidEncoding, InvalidMessage
from dawan_node.mempool import Mempool
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import BlockReply, IHave, Txs, TxsReply, decode_fetch, decode_gossip
from dawan_node.primitives.block import Result
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.sync.messages import HeadMessage, decode_sync_message
from dawan_node.testing.attackers import Attacker, Delivery, Forger
from dawan_node.testing.simulator.node import Liar, SimulatedNode

#: Proposals an attacker sits on, by (epoch, view, height): more than any window.
_WAITS_MAX: Final = 256


class Position:
    """``attackers.View`` of a node that is up and votes."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        assert node.life is not None
        self._replica = node.life.replica

    @property
    def chain_id(self) -> bytes:
        """See View."""
        return self._node.scene.genesis.chain_id

    @property
    def epoch(self) -> int:
        """See View."""
        return self._replica._state.chain.epoch

    @property
    def epoch_base(self) -> tuple[int, bytes]:
        """See View."""
        return self._replica._state.chain.epoch_base

    @property
    def view(self) -> int:
        """See View."""
        return self._replica._state.view

    @property
    def target(self) -> int:
        """See View."""
        return self._replica._state.target

    @property
    def own(self) -> int:
        """See View."""
        own = self._replica.own_index
        assert own is not None, "only a validator's attacker is asked"
        return own

    @property
    def height(self) -> int:
        """See View."""
        return self._replica.height

    @property
    def window(self) -> int:
        """See View."""
        return self._replica._state.window

    @property
    def now_ms(self) -> int:
        """See View."""
        return self._node.clock.wall_ms()

    @property
    def validators(self) -> ValidatorSet:
        """See View."""
        return self._replica.validators

    @property
    def n(self) -> int:
        """See View."""
        return self.validators.n

    @property
    def f(self) -> int:
        """See View."""
        return self.validators.f

    @property
    def q(self) -> int:
        """See View."""
        return self.validators.q

    @property
    def timers(self) -> Timers:
        """See View."""
        return self._node.scene.timers

    @property
    def status(self) -> ReplicaStatus:
        """See View."""
        return self._replica.status()

    def primary(self, view: int) -> int:
        """See View."""
        return self._replica._state.primary(view)


class Possessed(Liar):
    """A liar whose mind is an attacker. It keeps its memory when its node loses power: nobody said it must forget."""

    def __init__(self, kind: type[Attacker], seed: int) -> None:
        self._kind = kind
        self._seed = seed
        self.attacker: Attacker | None = None
        self._may_propose_at: OrderedDict[tuple[int, int, int], int] = OrderedDict()

    def prepare(self, node: SimulatedNode, replica: Replica) -> None:
        """Get between the replica and what feeds it."""
        super().prepare(node, replica)
        if self.attacker is None:
            cartel = [other.key for other in node.scene.nodes if not other.is_honest]
            forger = Forger(node.key, cartel, real_signatures=node.scene.is_real)
            self.attacker = self._kind(forger, random.Random(self._seed))
        slot, executed = replica.proposal_slot, replica.executed
        replica.proposal_slot = partial(self._proposal_slot, node, slot)  # type: ignore[method-assign]
        replica.executed = partial(self._executed, executed)  # type: ignore[method-assign]

    def begin(self, node: SimulatedNode) -> None:
        """Get between the pool and the primary."""
        pool = node.channel.pool
        pool.reap = partial(self._reap, node, pool, pool.reap)  # type: ignore[method-assign]

    # What leaves

    def consensus(self, node: SimulatedNode, names: Sequence[str], payload: bytes) -> None:
        """See Liar."""
        position = self._position(node)
        if position is None:
            super().consensus(node, names, payload)
            return
        assert self.attacker is not None
        receivers = [index for index in (self._index(node, position, name) for name in names) if index is not None]
        self._launch(node, position, self.attacker.send(decode_message(payload), receivers, position))

    def other(self, node: SimulatedNode, name: str, topic: Topic, payload: bytes) -> bytes | None:
        """See Liar: heights on the topic of catch-up, bodies on those of fetching and gossip."""
        position = self._position(node)
        to = None if position is None else self._index(node, position, name)
        if position is None or to is None:
            return payload
        assert self.attacker is not None
        if topic is Topic.SYNC:
            head = decode_sync_message(payload)
            if isinstance(head, HeadMessage):
                height = self.attacker.claimed_height(head.height, position)
                return payload if height == head.height else msgspec.structs.replace(head, height=height).encode()
            return payload
        named = _content_named(topic, payload)
        return payload if named is None or self.attacker.serves_body(named, to, position) else None

    def heard(self, node: SimulatedNode, sender: str, topic: Topic, payload: bytes) -> None:
        """See Liar."""
        position = self._position(node)
        if topic is not Topic.CONSENSUS or position is None:
            return
        index = self._index(node, position, sender)
        if index is None or index == position.own:
            return
        try:
            message = decode_message(payload)
        except InvalidMessage:
            return
        assert self.attacker is not None
        self._launch(node, position, self.attacker.heard(index, message, position))

    def tick(self, node: SimulatedNode) -> None:
        """See Liar."""
        position = self._position(node)
        if position is not None:
            assert self.attacker is not None
            self._launch(node, position, self.attacker.tick(position))

    def _launch(self, node: SimulatedNode, position: Position, deliveries: Sequence[Delivery]) -> None:
        keys = position.validators.public_keys
        names = {other.key.public_key: other.name for other in node.scene.nodes}
        for delivery in deliveries:
            name = names.get(keys[delivery.receiver])
            if name is not None and name != node.name:
                node.scene.world.counts["message of an attacker"] += 1
                network = node.scene.network
                network.transmit(node, name, Topic.CONSENSUS, delivery.payload, delivery.delay_ms)

    # What its node does

    def _proposal_slot(self, node: SimulatedNode, ask: Callable[[], ProposalSlot | None]) -> ProposalSlot | None:
        slot = ask()
        position = self._position(node)
        if slot is None or position is None:
            return slot
        assert self.attacker is not None
        delay_ms = self.attacker.proposal_delay_ms(position)
        if not delay_ms:
            return slot
        now_ms = node.clock.monotonic_ms()
        due_ms = self._may_propose_at.setdefault((slot.epoch, slot.view, slot.height), now_ms + delay_ms)
        if len(self._may_propose_at) > _WAITS_MAX:
            self._may_propose_at.popitem(last=False)
        return slot if now_ms >= due_ms else None

    def _executed(
        self,
        tell: Callable[[bytes, Result, ChannelRules | None], None],
        block_hash: bytes,
        result: Result,
        next_rules: ChannelRules | None = None,
    ) -> None:
        assert self.attacker is not None
        tell(block_hash, self.attacker.result(result), next_rules)

    def _reap(
        self,
        node: SimulatedNode,
        pool: Mempool,
        reap: Callable[[int, int, int, Set[bytes], int], list[Transaction]],
        txs_max: int,
        bytes_max: int,
        block_time_ms: int,
        exclude: Set[bytes],
        enough: int,
    ) -> list[Transaction]:
        """The attacker chooses among all that a block could hold, not among what is next."""
        position = self._position(node)
        if position is None:
            return reap(txs_max, bytes_max, block_time_ms, exclude, enough)
        assert self.attacker is not None
        there = {tx.leaf_hash: tx for tx in reap(len(pool), pool.size_bytes, block_time_ms, exclude, len(pool))}
        batch: list[Transaction] = []
        for leaf in self.attacker.choose(list(there), position):
            transaction = there[leaf]
            bytes_max -= len(transaction.envelope)
            if len(batch) == min(txs_max, enough) or bytes_max < 0:
                break
            batch.append(transaction)
        return batch

    def _position(self, node: SimulatedNode) -> Position | None:
        """None while the node is no validator: nothing it says counts then, and it has no index to say it under."""
        return None if node.life is None or node.life.replica.own_index is None else Position(node)

    @staticmethod
    def _index(node: SimulatedNode, position: Position, name: str) -> int | None:
        known = node.scene.nodes_called(name)
        return position.validators.index_of(known[0].key.public_key) if known else None


def _content_named(topic: Topic, payload: bytes) -> bytes | None:
    """What an answer or a push gives away, by block hash or by the first leaf hash; None when it gives nothing."""
    try:
        message = decode_fetch(payload) if topic is Topic.FETCH else decode_gossip(payload)
    except (InvalidEncoding, InvalidMessage):
        return None
    if isinstance(message, BlockReply):
        return message.block_hash
    if isinstance(message, Txs | TxsReply) and message.envelopes:
        return sha256(b"\x00" + message.envelopes[0])
    if isinstance(message, IHave) and message.leaves:
        return message.leaves[0]
    return None
