"""Quorum certificates: q signatures of distinct validators over one statement (design section 4).

A certificate is not canonical: nodes may hold different views and signers for one block, so nothing deterministic
may depend on them (amendment A9). A bitmap names the signers, bit i of byte i // 8 counted from the least
significant; exactly one valid signature stands per set bit, in index order, and *every* one is verified
(Tendermint 0.33.6 stopped after two thirds).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from dawan_node.crypto.hashing import domain_separated
from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidCertificate
from dawan_node.primitives.encoding import (
    Bytes32,
    Bytes64,
    ProtocolStruct,
    Uint,
    decode_struct,
    decoder_for,
    encode,
)
from dawan_node.primitives.validators import VALIDATORS_MAX, ValidatorSet

PREPARE_TAG: Final = b"dawan:prepare:v1"
COMMIT_TAG: Final = b"dawan:commit:v1"

# Fields of at most 110 bytes and one 66-byte signature per validator.
CERTIFICATE_BYTES_MAX: Final = 256 + 66 * VALIDATORS_MAX


def prepare_vote_bytes(chain_id: bytes, epoch: int, view: int, height: int, block_hash: bytes) -> bytes:
    """What a PREPARE signs, without its tag."""
    return encode([chain_id, epoch, view, height, block_hash])


def commit_vote_bytes(
    chain_id: bytes, epoch: int, view: int, height: int, block_hash: bytes, result_hash: bytes
) -> bytes:
    """What a COMMIT signs, without its tag."""
    return encode([chain_id, epoch, view, height, block_hash, result_hash])


def bitmap_of(indexes: Iterable[int], n: int) -> bytes:
    """The bitmap of validator ``indexes`` in a set of ``n``."""
    bitmap = bytearray((n + 7) // 8)
    for index in indexes:
        bitmap[index // 8] |= 1 << (index % 8)
    return bytes(bitmap)


def indexes_of(bitmap: bytes, n: int) -> list[int]:
    """The validator indexes a bitmap names, ascending. Raises InvalidCertificate on a wrong length or unused bit."""
    if len(bitmap) != (n + 7) // 8:
        raise InvalidCertificate(f"a bitmap for {n} validators has {(n + 7) // 8} bytes, not {len(bitmap)}")
    bits = int.from_bytes(bitmap, "little")
    if bits >> n:
        raise InvalidCertificate("the bitmap names validators that do not exist")
    return [index for index in range(n) if bits >> index & 1]


def verify_quorum(
    validators: ValidatorSet,
    bitmap: bytes,
    signatures: Sequence[bytes],
    tag: bytes,
    vote: bytes,
    verify: Verify = verify_ed25519,
) -> None:
    """Require at least q distinct validators, one valid signature each over ``tag LF vote``.

    Raises InvalidCertificate.
    """
    signers = indexes_of(bitmap, validators.n)
    if len(signers) < validators.q:
        raise InvalidCertificate(f"{len(signers)} signers are no quorum of {validators.q}")
    if len(signatures) != len(signers):
        raise InvalidCertificate(f"{len(signatures)} signatures for {len(signers)} signers")
    signed = domain_separated(tag, vote)
    for index, signature in zip(signers, signatures, strict=True):
        if not verify(validators.public_keys[index], signed, signature):
            raise InvalidCertificate(f"the signature of validator {index} does not verify")


class PreparedCertificate(ProtocolStruct, frozen=True):
    """PC: q PREPARE votes of one view for one block. No other block can be prepared at (view, height)."""

    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32
    bitmap: bytes
    signatures: list[Bytes64]

    def verify(self, chain_id: bytes, validators: ValidatorSet) -> None:
        """Raises InvalidCertificate unless q of ``validators`` signed. The caller matches the epoch's set."""
        vote = prepare_vote_bytes(chain_id, self.epoch, self.view, self.height, self.block_hash)
        verify_quorum(validators, self.bitmap, self.signatures, PREPARE_TAG, vote)

    @classmethod
    def decode(cls, data: bytes) -> PreparedCertificate:
        """Raises InvalidEncoding."""
        return decode_struct(_prepared_decoder, data, CERTIFICATE_BYTES_MAX)


class CommitCertificate(ProtocolStruct, frozen=True):
    """q COMMIT votes of one view for one block and one result: the block is final, with this result."""

    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32
    result_hash: Bytes32
    bitmap: bytes
    signatures: list[Bytes64]

    def verify(self, chain_id: bytes, validators: ValidatorSet, verify: Verify = verify_ed25519) -> None:
        """Raises InvalidCertificate unless q of ``validators`` signed. The caller matches the epoch's set."""
        vote = commit_vote_bytes(chain_id, self.epoch, self.view, self.height, self.block_hash, self.result_hash)
        verify_quorum(validators, self.bitmap, self.signatures, COMMIT_TAG, vote, verify)

    @classmethod
    def decode(cls, data: bytes) -> CommitCertificate:
        """Raises InvalidEncoding."""
        return decode_struct(_commit_decoder, data, CERTIFICATE_BYTES_MAX)


_prepared_decoder = decoder_for(PreparedCertificate)
_commit_decoder = decoder_for(CommitCertificate)
