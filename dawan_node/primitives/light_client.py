"""What a light client does with bytes from anybody: it believes a quorum of the epoch, and no more than it signed.

A light client holds, of another channel, the validator set of each epoch and the heights at which it begins and ends;
it needs nothing else and asks nobody. These functions never raise: what does not prove what it claims gives None, so a
channel module can use them, whose SDK has no exceptions of the package. ``check`` verifies and counts a signature.
(consensus.md 4, amendments U4 and U14.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.errors import InvalidEncoding, InvalidGenesis, InvalidKey, InvalidProof
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.names import is_identifier
from dawan_node.primitives.proofs import FinalityProof, StateProof
from dawan_node.primitives.validators import ValidatorSet

STATEMENT_TAG: Final = b"dawan:light-client:statement:v1"

#: ``(public_key, tag, data, signature)``: whether the key signed ``tag LF data``.
Check = Callable[[bytes, bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class TrustedEpoch:
    """An epoch of another channel: who votes in it, and its heights; ``last`` is None while it is not known to be over.

    Keys of an epoch that is over prove nothing beyond its last height: they may have been replaced because they were
    stolen (amendment U14).
    """

    chain_id: bytes
    epoch: int
    first: int
    last: int | None
    validators: ValidatorSet


@dataclass(frozen=True, slots=True)
class Statement:
    """What a state proof proves: under ``(module, collection, key)`` the channel had ``value``, None for nothing, after
    the block at ``height``, whose time is ``time_ms``."""

    chain_id: bytes
    height: int
    time_ms: int
    module: str
    collection: str
    key: bytes
    value: bytes | None

    @property
    def id(self) -> bytes:
        """Names what is said, not who proves it or when: a proof of the same entry from another height, with other
        signers or links, has the same id. Certificates are not canonical (amendment A9)."""
        said = [] if self.value is None else [self.value]
        return tagged_hash(STATEMENT_TAG, encode([self.chain_id, self.module, self.collection, self.key, said]))


def trusted_validators(members: Sequence[tuple[str, bytes]]) -> ValidatorSet | None:
    """The set of these (suite, public key) pairs; None when they are no usable set."""
    try:
        return ValidatorSet(members)
    except (InvalidGenesis, InvalidKey):
        return None


def claimed_header(finality_proof: bytes) -> Header | None:
    """The header in a finality proof, *before* anything is verified: it says which chain and epoch to look up."""
    try:
        return Header.decode(FinalityProof.decode(finality_proof).header)
    except (InvalidProof, InvalidEncoding):
        return None


def claimed_state_header(state_proof: bytes) -> Header | None:
    """The header in a state proof, before anything is verified."""
    try:
        return claimed_header(StateProof.decode(state_proof).finality_proof)
    except InvalidProof:
        return None


def verified_block(finality_proof: bytes, trusted: TrustedEpoch, check: Check) -> tuple[Header, Result] | None:
    """The block that a finality proof of that epoch proves, with its result."""
    try:
        return FinalityProof.decode(finality_proof).verify(
            trusted.chain_id,
            trusted.epoch,
            trusted.validators,
            first=trusted.first,
            last=trusted.last,
            check=_commit_check(check),
        )
    except InvalidProof:
        return None


def verified_state(state_proof: bytes, trusted: TrustedEpoch, check: Check) -> Statement | None:
    """What a state proof of that epoch proves."""
    try:
        proof = StateProof.decode(state_proof)
        header, value = proof.verify(
            trusted.chain_id,
            trusted.epoch,
            trusted.validators,
            first=trusted.first,
            last=trusted.last,
            check=_commit_check(check),
        )
    except InvalidProof:
        return None
    # Names with a zero byte would let one entry be spelled in two ways: the key hash joins the three with one.
    if not is_identifier(proof.module) or not is_identifier(proof.collection):
        return None
    return Statement(
        header.chain_id, header.height, header.timestamp_ms, proof.module, proof.collection, proof.key, value
    )


def next_validators(header: Header, result: Result, members: Sequence[tuple[str, bytes]]) -> ValidatorSet | None:
    """The set of the next epoch, when ``header`` is the last block of its epoch and ``members`` are who follows."""
    if not header.barrier or result.next_valset_hash == header.valset_hash:
        return None
    following = trusted_validators(members)
    return following if following is not None and following.hash == result.next_valset_hash else None


def _commit_check(check: Check) -> Callable[[bytes, bytes, bytes], bool]:
    """A certificate's verification hands over tag and data as they were signed, in one piece."""
    head = len(COMMIT_TAG) + 1
    return lambda public_key, signed, signature: check(public_key, COMMIT_TAG, signed[head:], signature)
