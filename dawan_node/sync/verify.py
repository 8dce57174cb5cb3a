"""What makes a range of blocks believable, as functions from bytes to a verdict.

One certificate proves a whole range: a quorum signed the hash of its last block and of that block's result, the
block names its parent by hash and the result its parent's result, and so on down to a block that was executed here
(amendment L3). Checking from the certificate downwards means that nothing is believed on the word of the sender.
The certificate must be of the validators that are trusted already; a range that would install others ends there
(amendment U4), because a certificate must never be checked with keys learned from what it is the proof of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dawan_node.crypto import merkle
from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidCertificate, InvalidEncoding, InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.proofs import LINKS_MAX
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.sync.messages import RangeBlock


@dataclass(frozen=True, slots=True)
class Anchor:
    """The block on which the next one must stand, executed here; epoch and validators are those of the next height."""

    height: int
    block_hash: bytes
    result_hash: bytes
    epoch: int
    validators: ValidatorSet


def verify_range(
    chain_id: bytes, anchor: Anchor, blocks: Sequence[RangeBlock], verify: Verify = verify_ed25519
) -> tuple[tuple[tuple[Header, Result], ...], CommitCertificate]:
    """Require that ``blocks`` are final and follow ``anchor``; the links and certificate of the last of them.

    The certificate is checked first, with the anchor's validators and no others, then each link from there down to
    the anchor, so nothing that a liar invented is looked at any closer than that. Raises InvalidMessage.
    """
    links = blocks[-1].links
    chain = [*((block.header, block.result) for block in blocks), *links]
    if len(chain) > 1 + LINKS_MAX:
        raise InvalidMessage(f"{len(chain)} blocks under one certificate, at most {1 + LINKS_MAX}")
    certificate = verify_certificate(chain_id, anchor, blocks[-1].certificate, *chain[-1], verify)
    block_hash, result_hash, height = certificate.block_hash, certificate.result_hash, certificate.height
    for position in range(len(chain) - 1, -1, -1):
        header, result = chain[position]
        if header.hash != block_hash or result.hash != result_hash or header.height != height:
            raise InvalidMessage(f"the block above height {header.height} does not stand on it")
        if result.block_hash != block_hash or result.height != height:
            raise InvalidMessage(f"the result at height {height} is of another block")
        if (header.chain_id, header.epoch, header.valset_hash) != (chain_id, anchor.epoch, anchor.validators.hash):
            raise InvalidMessage(f"the block at height {height} belongs to another chain, epoch or validator set")
        if result.next_valset_hash != header.valset_hash and not (header.barrier and position == len(chain) - 1):
            raise InvalidMessage(f"a range ends where its epoch ends, at height {height}")
        block_hash, result_hash, height = header.parent_hash, result.parent_result_hash, height - 1
    if (block_hash, result_hash, height) != (anchor.block_hash, anchor.result_hash, anchor.height):
        raise InvalidMessage(f"the range does not stand on the block at height {anchor.height}")
    return links, certificate


def verify_bodies(block: RangeBlock) -> tuple[bytes, ...]:
    """Require that the envelopes are those of the header; their leaf hashes. Raises InvalidMessage."""
    header = block.header
    leaf_hashes = tuple([merkle.leaf_hash(envelope) for envelope in block.envelopes])
    if (
        len(leaf_hashes) != header.tx_count
        or sum(len(envelope) for envelope in block.envelopes) != header.body_bytes
        or merkle.root(leaf_hashes) != header.tx_root
    ):
        raise InvalidMessage(f"the envelopes at height {header.height} are not those of its header")
    return leaf_hashes


def verify_certificate(
    chain_id: bytes,
    anchor: Anchor,
    data: bytes,
    header: Header,
    result: Result,
    verify: Verify = verify_ed25519,
) -> CommitCertificate:
    """The certificate in ``data``, if the anchor's validators signed exactly this block and result with it.

    Raises InvalidMessage.
    """
    try:
        certificate = CommitCertificate.decode(data)
        signed = (certificate.epoch, certificate.height, certificate.block_hash, certificate.result_hash)
        if signed != (anchor.epoch, header.height, header.hash, result.hash):
            raise InvalidMessage(f"the certificate at height {header.height} signs another block or result")
        certificate.verify(chain_id, anchor.validators, verify)
    except (InvalidEncoding, InvalidCertificate) as error:
        raise InvalidMessage(f"the certificate at height {header.height}: {error}") from None
    return certificate
