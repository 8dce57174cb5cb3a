"""Asks the signers of honest nodes for what they must refuse, whatever a replica believes (amendment U7).

A correct replica never asks for a second vote in one slot, so a guard that would give it goes unnoticed until the day
the replica is wrong. ``SlotGuard.check`` answers without signing: it can be tempted at any time, also right after a
crash, when all it knows is what the log brought back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dawan_node.consensus import Statement, VoteKind
from dawan_node.consensus.messages import Commit, Prepare
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import SigningRefused
from dawan_node.primitives.certificate import commit_vote_bytes, prepare_vote_bytes
from dawan_node.testing.simulated_node import TestSigner
from dawan_node.testing.simulator.world import Violation

if TYPE_CHECKING:
    from dawan_node.testing.simulator.node import SimulatedNode

#: Votes that left, remembered per node: what a window of the widest kind has in flight.
_VOTES_MAX: Final = 24
_OTHER: Final = sha256(b"another block, or another result")


class Temptation:
    """What each node has let out of its hands, and so may never contradict."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._votes: dict[int, deque[Prepare | Commit]] = {}
        self._count: Counter[int] = Counter()  # of votes, by node
        self._resisted: dict[int, tuple[object, ...]] = {}  # what each node and its account were like then

    def sent(self, node: SimulatedNode, vote: Prepare | Commit) -> None:
        """``vote`` left ``node`` for the first time."""
        self._votes.setdefault(node.number, deque(maxlen=_VOTES_MAX)).append(vote)
        self._count[node.number] += 1

    def tempt(self, node: SimulatedNode, height: int, promise: tuple[int, int]) -> None:
        """Ask the guard of ``node``, which decided ``height`` and promised not to vote below ``promise`` (epoch, view).

        Raises Violation when it would sign.
        """
        life = node.life
        signer = None if life is None else life.replica._state.signer
        if type(signer) is not TestSigner:
            return  # an observer's, or a liar's
        guard = signer.guard
        state = (node.lives, height, promise, self._count[node.number], guard.floor, len(guard._signed))
        if self._resisted.get(node.number) == state:
            return  # nothing was signed, decided or lost since it was asked: it would answer the same
        for why, statement in self._statements(node, height, promise):
            try:
                guard.check(statement)
            except SigningRefused:
                continue
            raise Violation(f"the guard of {node.name} would sign {why}: {statement.slot}")
        self._resisted[node.number] = state

    def _statements(
        self, node: SimulatedNode, height: int, promise: tuple[int, int]
    ) -> Iterator[tuple[str, Statement]]:
        epoch, view = promise
        if height:
            yield "for another block than the decided one", self._vote(VoteKind.PREPARE, epoch, view + 1, height)
        if view:
            yield "in a view it left", self._vote(VoteKind.PREPARE, epoch, view - 1, height + 1)
        for vote in self._votes.get(node.number, ()):
            kind = VoteKind.PREPARE if isinstance(vote, Prepare) else VoteKind.COMMIT
            yield "a second vote in one slot", self._vote(kind, vote.epoch, vote.view, vote.height)
            if isinstance(vote, Commit):
                later = max(view, vote.view) + 1
                yield (
                    "a second result for one block (U12)",
                    self._vote(kind, vote.epoch, later, vote.height, vote.block_hash),
                )

    def _vote(self, kind: VoteKind, epoch: int, view: int, height: int, block_hash: bytes = _OTHER) -> Statement:
        if kind is VoteKind.PREPARE:
            data = prepare_vote_bytes(self._chain_id, epoch, view, height, block_hash)
            return Statement(kind, epoch, view, height, block_hash, b"", data)
        data = commit_vote_bytes(self._chain_id, epoch, view, height, block_hash, _OTHER)
        return Statement(kind, epoch, view, height, block_hash, _OTHER, data)
