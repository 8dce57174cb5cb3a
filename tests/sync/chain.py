"""A chain as catch-up sees it: signed, linked blocks over made-up results, with epochs. No execution."""

from __future__ import annotations

from dataclasses import dataclass, field

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.sync import (
    Anchor,
    BodiesReply,
    BodiesRequest,
    HeadMessage,
    LightBlock,
    LightReply,
    LightRequest,
    SyncReply,
    SyncRequest,
    cut_bodies,
)

CHAIN_ID = sha256(b"a chain for catch-up")


def keys_of(n: int, name: bytes = b"validator") -> list[PrivateKey]:
    """``n`` keys in validator order."""
    keys = [PrivateKey.from_seed(sha256(name + bytes([number]))) for number in range(n)]
    return sorted(keys, key=lambda key: key.public_key)


def set_of(keys: list[PrivateKey]) -> ValidatorSet:
    return ValidatorSet([(ED25519, key.public_key) for key in keys])


def certify(keys: list[PrivateKey], header: Header, result: Result, signers: int | None = None) -> bytes:
    """A commit certificate by the first q (or ``signers``) of ``keys``."""
    validators = set_of(keys)
    count = validators.q if signers is None else signers
    vote = commit_vote_bytes(CHAIN_ID, header.epoch, 0, header.height, header.hash, result.hash)
    return CommitCertificate(
        header.epoch,
        0,
        header.height,
        header.hash,
        result.hash,
        bitmap_of(range(count), validators.n),
        [key.sign(COMMIT_TAG, vote) for key in keys[:count]],
    ).encode()


@dataclass(frozen=True)
class ChainBlock:
    """One decided block; ``certificate`` is its own, encoded, or empty."""

    header: Header
    result: Result
    certificate: bytes
    envelopes: tuple[bytes, ...]

    @property
    def light(self) -> LightBlock:
        return LightBlock(self.header, self.result, self.certificate)

    @property
    def ends_epoch(self) -> bool:
        return self.light.ends_epoch


@dataclass
class Chain:
    """Blocks from height 1; ``keys`` are those of the next height."""

    keys: list[PrivateKey]
    blocks: list[ChainBlock] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.anchors:
            self.anchors = [Anchor(0, CHAIN_ID, sha256(b"result 0"), 0, set_of(self.keys))]

    @property
    def height(self) -> int:
        return len(self.blocks)

    def fork(self) -> Chain:
        """A copy that goes its own way."""
        return Chain(list(self.keys), list(self.blocks), list(self.anchors))

    def grow(
        self, count: int = 1, *, size: int = 40, new_keys: list[PrivateKey] | None = None, salt: bytes = b""
    ) -> Chain:
        """``count`` more blocks, each certified on its own; the last of them installs ``new_keys``."""
        for number in range(count):
            self.blocks.append(self.next_block(size, new_keys if number == count - 1 else None, salt))
            block, below = self.blocks[-1], self.anchors[-1]
            if block.ends_epoch and new_keys is not None:
                self.keys = new_keys
            validators = set_of(self.keys) if block.ends_epoch else below.validators
            epoch = below.epoch + block.ends_epoch
            self.anchors.append(Anchor(block.header.height, block.header.hash, block.result.hash, epoch, validators))
        return self

    def next_block(self, size: int, new_keys: list[PrivateKey] | None, salt: bytes) -> ChainBlock:
        below = self.anchors[-1]
        height = below.height + 1
        envelopes = tuple([bytes([height % 256, number]) + salt + bytes(size) for number in range(2)])
        next_set = below.validators if new_keys is None else set_of(new_keys)
        header = Header(
            1,
            CHAIN_ID,
            below.epoch,
            height,
            below.block_hash,
            merkle.root([merkle.leaf_hash(envelope) for envelope in envelopes]),
            len(envelopes),
            sum(len(envelope) for envelope in envelopes),
            1_000 * height,
            0,
            below.validators.hash,
            new_keys is not None,
        )
        result = Result(
            height, header.hash, below.result_hash, sha256(b"state %d" % height), sha256(b"receipts"), next_set.hash
        )
        return ChainBlock(header, result, certify(self.keys, header, result), envelopes)

    def range(self, first: int, last: int) -> list[ChainBlock]:
        return self.blocks[first - 1 : last]

    def head(self, height: int | None = None) -> HeadMessage:
        """The honest claim of a peer that has got to ``height``."""
        height = self.height if height is None else height
        anchor = self.anchors[height]
        certificate = self.blocks[height - 1].certificate if height else b""
        return HeadMessage(height, anchor.block_hash, anchor.epoch, certificate)

    def light(self, first: int, last: int) -> tuple[LightBlock, ...]:
        return tuple(block.light for block in self.range(first, last))

    def answer(self, request: SyncRequest, count: int = 1_000) -> SyncReply:
        """What an honest peer with all of this chain sends, of at most ``count`` heights."""
        blocks = self.range(request.first, min(request.last, request.first + count - 1))
        if isinstance(request, BodiesRequest):
            return cut_bodies(request, (block.envelopes for block in blocks)) if blocks else BodiesReply(request.id, ())
        assert isinstance(request, LightRequest)
        end = next((position for position, block in enumerate(blocks) if block.ends_epoch), len(blocks))
        return LightReply(request.id, tuple(block.light for block in blocks[: end + 1]), ())
