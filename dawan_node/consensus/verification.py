"""Checking signatures and certificates, each only once.

A NEW-VIEW carries q VIEW-CHANGEs that mostly repeat the same certificates, and a certificate repeats votes that came
one by one before. ``Verifier`` remembers what it has verified in a bounded, least-recently-used table. Only valid
signatures are remembered: a wrong one costs its sender's budget each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from dawan_node.consensus.config import Verify
from dawan_node.crypto.hashing import domain_separated
from dawan_node.errors import InvalidCertificate
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    commit_vote_bytes,
    indexes_of,
    prepare_vote_bytes,
)
from dawan_node.primitives.validators import ValidatorSet

#: Signatures remembered: two votes of 22 validators over 2W = 8 heights are 352; 4,096 entries hold several views of
#: that in about 1.5 MB.
VERIFIED_MAX: Final = 4_096


class Verifier:
    """Verifies votes and certificates of one channel."""

    __slots__ = ("_chain_id", "_seen", "_verify")

    def __init__(self, chain_id: bytes, verify: Verify) -> None:
        self._chain_id = chain_id
        self._verify = verify
        self._seen: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()

    def signature(self, public_key: bytes, tag: bytes, data: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is ``public_key``'s over ``tag LF data``."""
        signed = domain_separated(tag, data)
        key = (public_key, signature, signed)
        if key in self._seen:
            self._seen.move_to_end(key)
            return True
        if not self._verify(public_key, signed, signature):
            return False
        self._seen[key] = None
        if len(self._seen) > VERIFIED_MAX:
            self._seen.popitem(last=False)
        return True

    def commit_certificate(self, certificate: CommitCertificate, validators: ValidatorSet) -> None:
        """Require q valid COMMITs of ``validators``, the set of the certificate's epoch. Raises InvalidCertificate."""
        vote = commit_vote_bytes(
            self._chain_id,
            certificate.epoch,
            certificate.view,
            certificate.height,
            certificate.block_hash,
            certificate.result_hash,
        )
        self._quorum(validators, certificate.bitmap, certificate.signatures, COMMIT_TAG, vote)

    def prepared_certificate(self, certificate: PreparedCertificate, validators: ValidatorSet) -> None:
        """Require q valid PREPAREs of ``validators``, the set of the certificate's epoch. Raises InvalidCertificate."""
        vote = prepare_vote_bytes(
            self._chain_id, certificate.epoch, certificate.view, certificate.height, certificate.block_hash
        )
        self._quorum(validators, certificate.bitmap, certificate.signatures, PREPARE_TAG, vote)

    def _quorum(
        self, validators: ValidatorSet, bitmap: bytes, signatures: Sequence[bytes], tag: bytes, vote: bytes
    ) -> None:
        signers = indexes_of(bitmap, validators.n)
        if len(signers) < validators.q:
            raise InvalidCertificate(f"{len(signers)} signers are no quorum of {validators.q}")
        if len(signatures) != len(signers):
            raise InvalidCertificate(f"{len(signatures)} signatures for {len(signers)} signers")
        for index, signature in zip(signers, signatures, strict=True):
            if not self.signature(validators.public_keys[index], tag, vote, signature):
                raise InvalidCertificate(f"the signature of validator {index} does not verify")
