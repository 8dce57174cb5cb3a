"""How the epochs from this node's own on ended, as all peers together know it (amendments U4 and U14).

Whoever holds the keys of a quorum of *old* validators can certify blocks above the end of their epoch, and nothing in
such a block shows that its time was over: the keys may have been stolen after the set was replaced, or because of it.
Only the end itself shows it. So a node that trusts an old set asks everybody how that epoch and those after it ended:

- **An end counts by its own certificate**, of the validators of that very epoch, whose first height and set the end
  before it has named. No number of peers can make one up, and one peer that knows it is enough.
- **An end that is known bounds its epoch**: nothing above it is of that epoch, whoever certified it.
- **Silence proves nothing**, so f + 1 peers have to answer before "nobody knows an end" is believed: as many as
  catch-up asks for a height, since one of so many validators is honest.
- **Two ends of one epoch**, each with its certificate, mean that keys were stolen or that more than f validators
  signed both. Which is true cannot be told from here: from that epoch on nothing is believed, and people are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawan_node.crypto.signatures import Verify
from dawan_node.errors import InvalidInput, InvalidMessage
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.sync.snapshot_messages import EPOCHS_PER_REPLY, EpochProof, TrustedEpoch

#: Ends that are kept, of some 3 KiB each: a change of validators every day for five years.
EPOCHS_MAX: Final = 2_048


class EpochWalk:
    """The epochs that are trusted, upwards from one, by what the peers say of their ends."""

    def __init__(self, chain_id: bytes, start: TrustedEpoch, verify: Verify) -> None:
        self._chain_id: Final = chain_id
        self._verify: Final = verify
        self._epochs = [start]
        self._proofs: list[EpochProof] = []  # how ``_epochs[n]`` ended
        self._sources: list[str] = []  # who said so first
        self._witnesses: set[str] = set()
        self._contradicted: int | None = None
        #: Two ends of one epoch, in words; empty while there is no such thing.
        self.contradiction = ""

    @property
    def start(self) -> TrustedEpoch:
        """The epoch of this node's next block."""
        return self._epochs[0]

    @property
    def witnesses(self) -> int:
        """How many peers have said all that they know."""
        return len(self._witnesses)

    @property
    def witnesses_needed(self) -> int:
        """Of f + 1 validators one is honest."""
        return self.start.validators.f + 1

    def at(self, epoch: int) -> TrustedEpoch | None:
        """A trusted epoch; None when no end leads to it, or one of two that contradict each other would."""
        position = epoch - self.start.epoch
        if not 0 <= position < len(self._epochs) or (self._contradicted is not None and epoch >= self._contradicted):
            return None
        return self._epochs[position]

    def end_of(self, epoch: int) -> int | None:
        """The last height of an epoch, None while nobody has shown it."""
        position = epoch - self.start.epoch
        return self._epochs[position + 1].first - 1 if 0 <= position < len(self._proofs) else None

    def proofs_to(self, epoch: int) -> tuple[EpochProof, ...]:
        """How the epochs below a trusted one ended."""
        return tuple(self._proofs[: epoch - self.start.epoch])

    def take(self, source: str, epoch: int, proofs: Sequence[EpochProof]) -> int | None:
        """What ``source`` says when asked how ``epoch`` and those after it ended; from which epoch on it has more to
        say, None when that was all. ``epoch`` is the start's or one that an earlier answer led to.

        Raises InvalidMessage when it says what no validators have signed.
        """
        self._follow(source, epoch, proofs)
        following = epoch + len(proofs)
        if len(proofs) == EPOCHS_PER_REPLY and following - self.start.epoch < EPOCHS_MAX and not self.contradiction:
            return following
        self._witnesses.add(source)
        return None

    def resume(self, proofs: Sequence[EpochProof]) -> None:
        """What an earlier attempt kept, from the start's epoch on. Raises InvalidMessage."""
        self._follow("an earlier attempt", self.start.epoch, proofs)

    def disbelieve(self, source: str) -> None:
        """A peer that lied about something is no witness of anything. The ends that it brought stand on their own."""
        self._witnesses.discard(source)

    def _follow(self, source: str, epoch: int, proofs: Sequence[EpochProof]) -> None:
        for position, proof in enumerate(proofs, start=epoch - self.start.epoch):
            if position >= EPOCHS_MAX:
                return
            if position < len(self._proofs) and _said(proof) == _said(self._proofs[position]):
                continue  # whatever certificate came with it: the one that is here was verified
            (reached,) = self._epochs[position].follow(self._chain_id, [proof], self._verify)
            if position < len(self._proofs):
                self._contradict(position, self._sources[position], source, reached.first - 1)
                return
            self._epochs.append(reached)
            self._proofs.append(proof)
            self._sources.append(source)

    def _contradict(self, position: int, first: str, second: str, other_end: int) -> None:
        epoch = self.start.epoch + position
        if self._contradicted is None or epoch < self._contradicted:
            self._contradicted = epoch
            self.contradiction = (
                f"epoch {epoch} has two ends, each certified by its validators: the block at height "
                f"{self.end_of(epoch)} that {first} shows and that at height {other_end} that {second} shows; "
                f"their keys were stolen or misused, and only people can say which is true"
            )


def _said(proof: EpochProof) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
    """What a proof says, whoever signed it. Raises InvalidMessage."""
    try:
        finality = FinalityProof.decode(proof.finality)
    except InvalidInput as error:
        raise InvalidMessage(str(error)) from None
    return finality.header, finality.result, proof.members
