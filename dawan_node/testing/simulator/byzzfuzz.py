"""A liar that says what its replica says, wrong by one small mutation now and then (ByzzFuzz, OOPSLA 2023)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Final

from dawan_node.consensus.messages import Message, decode_message
from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import Topic
from dawan_node.testing.mutators import ByzzFuzz, Forger
from dawan_node.testing.simulator.node import Liar, SimulatedNode

#: One message in so many is changed, for one receiver.
MUTATED_EVERY: Final = 4
#: What it may say again, of its own and of others.
HISTORY_MAX: Final = 64


class MutatingLiar(Liar):
    """Sends most of what it should, and each receiver its own selection of wrong messages."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._history: deque[Message] = deque(maxlen=HISTORY_MAX)

    def consensus(self, node: SimulatedNode, names: Sequence[str], payload: bytes) -> None:
        """See Liar."""
        message = decode_message(payload)
        self._history.append(message)
        for name in names:
            sent = payload
            if self._rng.randrange(MUTATED_EVERY) == 0:
                sent = self._mutated(node, message).encode()
                node.scene.world.counts["message mutated"] += 1
            node.scene.network.transmit(node, name, Topic.CONSENSUS, sent)

    def heard(self, node: SimulatedNode, sender: str, topic: Topic, payload: bytes) -> None:
        """See Liar."""
        if topic is Topic.CONSENSUS:
            try:
                self._history.append(decode_message(payload))
            except InvalidMessage:
                return  # damaged on the way

    def _mutated(self, node: SimulatedNode, message: Message) -> Message:
        assert node.life is not None, "only a node that is up speaks"
        validators = node.life.replica.validators
        index = validators.index_of(node.key.public_key)
        keys = {} if index is None else {index: node.key}
        forger = Forger(node.scene.genesis.chain_id, validators, keys, node.scene.is_real)
        return ByzzFuzz(forger, self._rng)(message, list(self._history))
