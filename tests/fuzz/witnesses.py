"""A bench on which nobody can forge: a signature counts when its validator made it, or is one of the liars.

``ReplicaLab`` signs anything for anybody. Here what it signs for an honest validator verifies only if that validator's
own replica has signed the same statement, so a target may draw any message at all and still at most f validators lie.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from dawan_node.consensus import Head, Record, Replica, ReplicaConfig, Statement
from dawan_node.consensus.messages import (
    Decision,
    Message,
    Suspect,
    ViewChange,
)
from dawan_node.crypto.hashing import domain_separated
from dawan_node.primitives.block import Header
from dawan_node.testing.replica_lab import Bench, ReplicaLab
from dawan_node.testing.simulated_node import TestSigner, fake_verify

Filter = Callable[[Message], bool]


class WitnessedSigner(TestSigner):
    """A signer whose statements are remembered."""

    said: set[tuple[bytes, bytes]]

    def sign(self, statement: Statement) -> bytes:
        signature = super().sign(statement)
        self.said.add((self.public_key, domain_separated(statement.kind.tag, statement.data)))
        return signature


class WitnessedLab(ReplicaLab):
    """Validators 0, 1 and 2 of four are honest replicas; validator 3 signs whatever the target wants.

    With ``everybody_lies`` all signatures count: then only totality can be asked for, not agreement.
    """

    LIAR = 3

    def __init__(self, *, everybody_lies: bool = False) -> None:
        super().__init__(4, ())
        self.said: set[tuple[bytes, bytes]] = set()
        if not everybody_lies:
            config = self.config
            self.config = ReplicaConfig(config.chain_id, config.created_ms, config.timers, self._verify)
        self.everybody_lies = everybody_lies
        self._delivered: dict[int, int] = {}
        self._decided: dict[int, int] = {}
        for index in (0, 1, 2):
            self.start(index)

    def _verify(self, public_key: bytes, signed: bytes, signature: bytes) -> bool:
        is_said = (public_key, signed) in self.said or public_key == self.keys[self.LIAR].public_key
        return is_said and fake_verify(public_key, signed, signature)

    def start(self, index: int, records: Sequence[Record] = (), head: Head | None = None) -> Bench:
        signer = WitnessedSigner(self.keys[index], self.chain_id)
        signer.said = self.said
        signer.guard.restore(records)
        restored = [Record(record.kind, record.payload) for record in records]
        replica = Replica(self.config, signer, head or self.head(), restored, self.now)
        old = self.benches.get(index)
        bench = self.benches[index] = Bench(index, signer, replica, list(records))
        self._delivered[index] = self._decided[index] = 0
        if old is not None:
            bench.results = old.results
        self.pump(index)
        return bench

    def let_say(self, voter: int, tag: bytes, data: bytes) -> None:
        """Have an honest validator's key used outside its replica: a stolen key."""
        self.said.add((self.keys[voter].public_key, domain_separated(tag, data)))

    # --- a conversation of the honest --------------------------------------------------------------------------

    def converse(
        self,
        duration_ms: int,
        *,
        among: Collection[int] = (0, 1, 2),
        until: Callable[[], bool] = lambda: False,
        passes: Filter = lambda message: True,
        proposes: bool = True,
    ) -> bool:
        """Let the replicas ``among`` talk for so long, or ``until``; whether that came about.

        Messages that ``passes`` refuses are lost. With ``proposes`` a primary proposes whenever it may: there is always
        work. Nothing takes time but what the replicas wait for themselves.
        """
        end = self.now + duration_ms
        while True:
            self._settle(among, passes, proposes, until)
            if until():
                return True
            deadlines = [self.benches[index].replica.next_deadline() for index in among]
            due = min((at for at in deadlines if at is not None), default=end)
            if due >= end:
                return until()
            self.now = max(self.now + 1, due)
            for index in among:
                self.benches[index].replica.tick(self.now)
                self.pump(index)

    def _settle(self, among: Collection[int], passes: Filter, proposes: bool, until: Callable[[], bool]) -> None:
        """Deliver until nobody has anything to say."""
        for _ in range(200):
            is_quiet = True
            for index in among:
                bench = self.benches[index]
                bench.replica.work_pending(proposes, self.now)
                slot = bench.replica.proposal_slot() if proposes and not until() else None
                if slot is not None and slot.height <= bench.replica.height + 1:
                    header = self.propose_at(index, slot, self._name(slot.height, slot.view, index))
                    is_quiet = is_quiet and header is None
                self.pump(index)
                new = bench.addressed[self._delivered[index] :]
                self._delivered[index] = len(bench.addressed)
                for to, message in new:
                    receivers = [other for other in among if other != index and (to is None or other in to)]
                    for receiver in receivers:
                        if passes(message):
                            is_quiet = False
                            self.benches[receiver].replica.step(message.encode(), index, self.now)
                            self.pump(receiver)
            if is_quiet or until():
                return

    def _name(self, height: int, view: int, index: int) -> str:
        return f"{height} in {view} by {index} at {self.now}"

    def forget_undelivered(self) -> None:
        """What was said so far and not delivered is lost."""
        for index, bench in self.benches.items():
            self._delivered[index] = len(bench.addressed)

    def decision(self, header: Header) -> Decision | None:
        """A decided block as a peer sends it to who is behind."""
        for bench in self.benches.values():
            for decided in bench.decided:
                if decided.header == header and bench.signer is not None:
                    leaves = decided.leaf_hashes or ()
                    return Decision(header, decided.result, decided.links, decided.certificate, leaves)
        return None

    def tops(self) -> list[Header]:
        """The decided blocks of the honest, ascending."""
        found = {d.header.height: d.header for i, b in self.benches.items() if i >= 0 for d in b.decided}
        return [found[height] for height in sorted(found)]


def without_signs_of_life(message: Message) -> bool:
    """Loses what keeps a view alive and what opens the next: only wishes and view changes get through."""
    return isinstance(message, Suspect | ViewChange)
