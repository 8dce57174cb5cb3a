"""What nodes say to each other about snapshots, on topic SYNC beside ``messages``; and the walk over the epochs.

| Message | Fields | Says |
|---|---|---|
| SNAPSHOT-QUERY | id | which snapshots do you have, and which blocks? |
| SNAPSHOT-OFFER | id, oldest, manifests | these, newest first; my blocks are complete from ``oldest`` on |
| EPOCH-QUERY | id, epoch | show me how this epoch ended, and those after it |
| EPOCH-REPLY | id, proofs | so: one proof per epoch, ascending; none when I cannot |
| PART-QUERY | id, snapshot, part | send me this part of the snapshot with that id |
| PART-REPLY | id, data | here; empty when I do not have it |

Before any part of a snapshot is asked for, its block is proven final by validators that are trusted: those of this
node's own head or, over epoch proofs, those that each barrier block on the way has named (amendment U4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidEncoding, InvalidGenesis, InvalidInput, InvalidKey, InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for
from dawan_node.primitives.proofs import PROOF_BYTES_MAX, FinalityProof
from dawan_node.primitives.validators import VALIDATORS_MAX, ValidatorSet
from dawan_node.sync.messages import SYNC_MESSAGE_BYTES_MAX
from dawan_node.sync.snapshot_format import MANIFEST_BYTES_MAX, PART_BYTES_MAX

#: The two that a node keeps.
OFFERS_MAX: Final = 2
#: Epochs end by votes of people: so many proofs of about 3 KiB each are years of them, and fit a frame with room.
EPOCHS_PER_REPLY: Final = 32

Member = tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=32)], Annotated[bytes, msgspec.Meta(max_length=64)]]


class SnapshotQuery(ProtocolStruct, frozen=True, tag=10):
    """Ask what snapshots there are."""

    id: Uint


class SnapshotOffer(ProtocolStruct, frozen=True, tag=11):
    """Encoded manifests, newest first, and the oldest height whose block the sender has complete."""

    id: Uint
    oldest: Uint
    manifests: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=MANIFEST_BYTES_MAX)], ...], msgspec.Meta(max_length=OFFERS_MAX)
    ]


class EpochQuery(ProtocolStruct, frozen=True, tag=12):
    """Ask for the ends of epochs from ``epoch`` on."""

    id: Uint
    epoch: Uint


class EpochProof(ProtocolStruct, frozen=True):
    """How an epoch ended: the FinalityProof (encoded) of its last block, and the validators that block named."""

    finality: Annotated[bytes, msgspec.Meta(max_length=PROOF_BYTES_MAX)]
    members: Annotated[tuple[Member, ...], msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX)]

    @property
    def epoch(self) -> int:
        """The epoch that it says ended. Raises InvalidMessage."""
        try:
            return Header.decode(FinalityProof.decode(self.finality).header).epoch
        except InvalidInput as error:
            raise InvalidMessage(str(error)) from None


class EpochReply(ProtocolStruct, frozen=True, tag=13):
    """Proofs of consecutive epochs."""

    id: Uint
    proofs: Annotated[tuple[EpochProof, ...], msgspec.Meta(max_length=EPOCHS_PER_REPLY)]


class PartQuery(ProtocolStruct, frozen=True, tag=14):
    """Ask for one part."""

    id: Uint
    snapshot: Bytes32
    part: Uint


class PartReply(ProtocolStruct, frozen=True, tag=15):
    """An encoded chunk or header run, or nothing."""

    id: Uint
    data: Annotated[bytes, msgspec.Meta(max_length=PART_BYTES_MAX)]


SnapshotRequest = SnapshotQuery | EpochQuery | PartQuery
SnapshotAnswer = SnapshotOffer | EpochReply | PartReply
SnapshotMessage = SnapshotRequest | SnapshotAnswer

_TAGS: Final = range(10, 16)
_decoder: Final = decoder_for(SnapshotMessage)  # type: ignore[arg-type, var-annotated]


def is_snapshot_message(payload: bytes) -> bool:
    """Whether a payload on topic SYNC is one of these; its first item says so."""
    return len(payload) > 1 and payload[1] in _TAGS


def decode_snapshot_message(payload: bytes) -> SnapshotMessage:
    """Raises InvalidMessage."""
    try:
        message: SnapshotMessage = decode_struct(_decoder, payload, SYNC_MESSAGE_BYTES_MAX)
    except InvalidEncoding as error:
        raise InvalidMessage(f"snapshot message: {error}") from None
    return message


@dataclass(frozen=True, slots=True)
class TrustedEpoch:
    """The validators of one epoch, its first height, and why they are trusted: the proofs walked over so far."""

    epoch: int
    first: int
    validators: ValidatorSet

    def follow(
        self, chain_id: bytes, proofs: Sequence[EpochProof], verify: Verify = verify_ed25519
    ) -> tuple[TrustedEpoch, ...]:
        """The epochs that ``proofs`` lead to, one each: proof by proof, each checked with the set that the one before
        has named and with no other (amendment U4). Raises InvalidMessage."""
        trusted = self
        reached: list[TrustedEpoch] = []
        for proof in proofs:
            header, result = trusted.final(chain_id, proof.finality, verify)
            try:
                following = ValidatorSet(proof.members)
            except (InvalidGenesis, InvalidKey) as error:
                raise InvalidMessage(f"the validators after epoch {trusted.epoch}: {error}") from None
            if not header.barrier or result.next_valset_hash == header.valset_hash:
                raise InvalidMessage(f"the block at height {header.height} does not end epoch {trusted.epoch}")
            if following.hash != result.next_valset_hash or following.members != proof.members:
                raise InvalidMessage(f"the block at height {header.height} named other validators")
            trusted = TrustedEpoch(trusted.epoch + 1, header.height + 1, following)
            reached.append(trusted)
        return tuple(reached)

    def final(
        self, chain_id: bytes, finality: bytes, verify: Verify = verify_ed25519, *, last: int | None = None
    ) -> tuple[Header, Result]:
        """Header and result of a block that this epoch's validators made final; ``last`` is the epoch's last height
        where that is known, for its keys sign nothing above it (amendment U14). Raises InvalidMessage."""
        try:
            proof = FinalityProof.decode(finality)
            return proof.verify(chain_id, self.epoch, self.validators, first=self.first, last=last, check=verify)
        except InvalidInput as error:
            raise InvalidMessage(str(error)) from None
