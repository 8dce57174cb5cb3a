"""Liars that need a whole node: primaries that propose what only a pool and a store know of.

``testing.attackers`` lie in consensus messages; these put the wrong transactions, or an old height, into proposals that
are sound otherwise. All of them must be refused by what is *inside* a block, or by the floor of the view.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Final

import msgspec

from dawan_node.consensus import Statement, VoteKind
from dawan_node.consensus.chain import Final as DecidedBlock
from dawan_node.consensus.messages import NewView, PrePrepare, decode_message
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.certificate import prepare_vote_bytes
from dawan_node.primitives.transaction import Transaction, assemble_envelope
from dawan_node.testing.simulator.node import Liar, SimulatedNode

Reap = Callable[[int, int, int, Set[bytes], int], list[Transaction]]

#: How often a primary that opened a view proposes below its floor again.
_TRIES: Final = 40


class _Chooser(Liar):
    """Gets between the pool and the primary, every other time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def begin(self, node: SimulatedNode) -> None:
        """See Liar."""
        pool = node.channel.pool
        pool.reap = partial(self._reap, node, pool.reap)  # type: ignore[method-assign]

    def _reap(
        self,
        node: SimulatedNode,
        reap: Reap,
        txs_max: int,
        bytes_max: int,
        block_time_ms: int,
        exclude: Set[bytes],
        enough: int,
    ) -> list[Transaction]:
        batch = reap(txs_max, bytes_max, block_time_ms, exclude, enough)
        if not batch or batch[0].is_barrier or self._random.random() < 0.5:
            return batch
        return self._spoilt(node, batch)

    def _spoilt(self, node: SimulatedNode, batch: list[Transaction]) -> list[Transaction]:
        raise NotImplementedError


class RepeatingPrimary(_Chooser):
    """Proposes payments that are on the chain already (U9): every client pays twice, if nobody looks."""

    def _spoilt(self, node: SimulatedNode, batch: list[Transaction]) -> list[Transaction]:
        blocks, height = node.channel.store.blocks, node.height
        envelopes = (blocks.envelopes(self._random.randint(1, height)) if height else None) or ()
        again = [Transaction.decode(envelope) for envelope in envelopes]
        return [transaction for transaction in again[: len(batch)] if not transaction.is_barrier] or batch


class ResigningPrimary(_Chooser):
    """Proposes copies of good transactions with a signature that is none (U8): same id, same body, other bytes."""

    def _spoilt(self, node: SimulatedNode, batch: list[Transaction]) -> list[Transaction]:
        spoilt = []
        for original in batch:
            signature = self._random.randbytes(len(original.signature))
            envelope = assemble_envelope(original.body_bytes, original.suite, original.public_key, signature)
            spoilt.append(Transaction.decode(envelope))
        return spoilt


class PrimaryBelowTheFloor(Liar):
    """Opens a view, and then proposes other blocks for heights up to its base, to whoever is not there yet (U2)."""

    def __init__(self, seed: int) -> None:
        self._tries = 0

    def consensus(self, node: SimulatedNode, names: Sequence[str], payload: bytes) -> None:
        """See Liar."""
        super().consensus(node, names, payload)
        if isinstance(decode_message(payload), NewView):
            self._tries = _TRIES
            self.tick(node)

    def tick(self, node: SimulatedNode) -> None:
        """See Liar."""
        if not self._tries or node.life is None:
            return
        self._tries -= 1
        state = node.life.replica._state
        if state.own is None or state.primary(state.view) != state.own:
            return
        for height, final in state.chain.recent.items():
            if height <= state.base.height and final.leaf_hashes is not None:
                self._propose_beside(node, final, final.leaf_hashes)

    def _propose_beside(self, node: SimulatedNode, final: DecidedBlock, leaf_hashes: tuple[bytes, ...]) -> None:
        assert node.life is not None
        state = node.life.replica._state
        header = msgspec.structs.replace(
            final.header,
            proposer=state.primary(state.view),
            timestamp_ms=max(node.clock.wall_ms(), final.header.timestamp_ms + 1),
        )
        place = (header.epoch, state.view, header.height, header.hash)
        data = prepare_vote_bytes(state.chain_id, *place)
        signer = self.signer(node, state.chain_id)
        signature = signer.sign(Statement(VoteKind.PREPARE, *place, b"", data))
        proposal = PrePrepare(state.view, header, leaf_hashes, signature).encode()
        for peer in node.scene.network.peers_of(node):
            node.scene.network.transmit(node, peer.name, Topic.CONSENSUS, proposal)


#: Name -> maker of one liar, from its seed.
ROGUE_PRIMARIES: Final[dict[str, Callable[[int], Liar]]] = {
    "primary-below-the-floor": PrimaryBelowTheFloor,
    "repeating-primary": RepeatingPrimary,
    "resigning-primary": ResigningPrimary,
}
