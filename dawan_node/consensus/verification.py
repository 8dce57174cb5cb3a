"""Checking signatures and certificates, each only once.

A NEW-VIEW carries q VIEW-CHANGEs that mostly repeat the same certificates, and a certificate repeats votes that came
one by one before. ``Verifier`` remembers what it has verified in a bounded, least-recently-used table. Only valid
signatures are remembered: a wrong one costs its sender's budget each time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from dawan_node.crypto.hashing import domain_separated
from dawan_node.crypto.signatures import Verify
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    commit_vote_bytes,
    prepare_vote_bytes,
    verify_quorum,
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
        return self.is_valid(public_key, domain_separated(tag, data), signature)

    def is_valid(self, public_key: bytes, signed: bytes, signature: bytes) -> bool:
        """``crypto.signatures.Verify``, remembered."""
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
        verify_quorum(validators, certificate.bitmap, certificate.signatures, COMMIT_TAG, vote, self.is_valid)

    def prepared_certificate(self, certificate: PreparedCertificate, validators: ValidatorSet) -> None:
        """Require q valid PREPAREs of ``validators``, the set of the certificate's epoch. Raises InvalidCertificate."""
        vote = prepare_vote_bytes(
            self._chain_id, certificate.epoch, certificate.view, certificate.height, certificate.block_hash
        )
        verify_quorum(validators, certificate.bitmap, certificate.signatures, PREPARE_TAG, vote, self.is_valid)
