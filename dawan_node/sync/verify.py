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
from dawan_node.sync.messages import LightBlock

Pair = tuple[Header, Result]


@dataclass(frozen=True, slots=True)
class Anchor:
    """The block on which the next one must stand, executed here; epoch and validators are those of the next height."""

    height: int
    block_hash: bytes
    result_hash: bytes
    epoch: int
    validators: ValidatorSet

    @property
    def tip(self) -> Tip:
        """As what a light range stands on."""
        return Tip(self.height, self.block_hash, self.result_hash)


@dataclass(frozen=True, slots=True)
class Tip:
    """The block that a light range stands on: the anchor, or a verified one above it in the same epoch."""

    height: int
    block_hash: bytes
    result_hash: bytes


@dataclass(frozen=True, slots=True)
class VerifiedBlock:
    """A block that is final. ``certificate`` proves it, as that of a height at most ``LINKS_MAX`` above it: through the
    blocks of the range and, where it lies above them, ``tail``. ``own`` is the encoded certificate of its own that came
    with it, not verified, or empty."""

    header: Header
    block_hash: bytes
    result: Result
    own: bytes
    certificate: CommitCertificate
    tail: tuple[Pair, ...]

    @property
    def ends_epoch(self) -> bool:
        """Whether other validators decide the next height (amendment U3)."""
        return self.header.barrier and self.result.next_valset_hash != self.header.valset_hash


def verify_light(
    chain_id: bytes,
    anchor: Anchor,
    tip: Tip,
    blocks: Sequence[LightBlock],
    links: Sequence[Pair],
    verify: Verify = verify_ed25519,
) -> tuple[list[VerifiedBlock], Tip]:
    """Require that ``blocks``, and ``links`` above them, are final and follow ``tip``; the blocks, and the new tip.

    The last certificate is checked first, with the anchor's validators and no others, then each link from there down
    to the tip, so nothing that a liar invented is looked at any closer than that. Raises InvalidMessage.
    """
    chain: list[Pair] = [*((block.header, block.result) for block in blocks), *links]
    if not blocks or len(links) > LINKS_MAX:
        raise InvalidMessage(f"a light range of {len(blocks)} blocks with {len(links)} links, at most {LINKS_MAX}")
    certificate = verify_certificate(chain_id, anchor, blocks[-1].certificate, *chain[-1], verify)
    covering, candidate = len(chain) - 1, len(chain) - 1  # positions: of ``certificate``, and of one not verified yet
    tail = tuple(links)
    block_hash, result_hash, height = certificate.block_hash, certificate.result_hash, certificate.height
    verified: list[VerifiedBlock] = []
    top = anchor.tip
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
        if position < len(blocks):
            # The last block's certificate is its own only without links.
            own = blocks[position].certificate if position < len(blocks) - 1 or not links else b""
            if own:
                candidate = position
            if covering - position > LINKS_MAX:  # the lowest certificate so far takes over
                if candidate == covering or candidate - position > LINKS_MAX:
                    raise InvalidMessage(f"no certificate within {LINKS_MAX} blocks above height {height}")
                data = blocks[candidate].certificate
                certificate = verify_certificate(chain_id, anchor, data, *chain[candidate], verify)
                covering, tail = candidate, ()
            if not verified:
                top = Tip(height, block_hash, result_hash)
            verified.append(VerifiedBlock(header, block_hash, result, own, certificate, tail))
        block_hash, result_hash, height = header.parent_hash, result.parent_result_hash, height - 1
    if (block_hash, result_hash, height) != (tip.block_hash, tip.result_hash, tip.height):
        raise InvalidMessage(f"the range does not stand on the block at height {tip.height}")
    verified.reverse()
    return verified, top


def verify_bodies(header: Header, envelopes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Require that the envelopes are those of the header; their leaf hashes. Raises InvalidMessage."""
    if len(envelopes) != header.tx_count or sum(len(envelope) for envelope in envelopes) != header.body_bytes:
        raise InvalidMessage(f"the envelopes at height {header.height} are not those that its header counts")
    leaf_hashes = tuple([merkle.leaf_hash(envelope) for envelope in envelopes])
    if merkle.root(leaf_hashes) != header.tx_root:
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
