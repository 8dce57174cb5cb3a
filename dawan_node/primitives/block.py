"""Blocks: the header that replicas agree on and the result of executing it (design section 4).

The header holds no view, certificate or result, so a block proposed again in a later view keeps its hash. What
execution gave stands in ``Result``; COMMIT votes sign both hashes, so one certificate proves order and result.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for

BLOCK_TAG: Final = b"dawan:block:v1"
RESULT_TAG: Final = b"dawan:result:v1"
HEADER_BYTES_MAX: Final = 512
RESULT_BYTES_MAX: Final = 512


class Header(ProtocolStruct, frozen=True):
    """What a block is. ``timestamp_ms`` is UTC; ``proposer`` is a validator index of the block's epoch."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    chain_id: Bytes32
    epoch: Uint
    height: Uint
    parent_hash: Bytes32
    tx_root: Bytes32
    tx_count: Uint
    body_bytes: Uint
    timestamp_ms: Uint
    proposer: Uint
    valset_hash: Bytes32
    barrier: bool

    @property
    def hash(self) -> bytes:
        """``block_hash``. Computed anew on each call: keep it where it is used often."""
        return tagged_hash(BLOCK_TAG, self.encode())

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Raises InvalidEncoding."""
        return decode_struct(_header_decoder, data, HEADER_BYTES_MAX)


class Result(ProtocolStruct, frozen=True):
    """What executing the block of ``block_hash`` gave; the same on every honest replica."""

    height: Uint
    block_hash: Bytes32
    parent_result_hash: Bytes32
    state_root: Bytes32
    receipts_root: Bytes32
    next_valset_hash: Bytes32

    @property
    def hash(self) -> bytes:
        """``result_hash``."""
        return tagged_hash(RESULT_TAG, self.encode())

    @classmethod
    def decode(cls, data: bytes) -> Result:
        """Raises InvalidEncoding."""
        return decode_struct(_result_decoder, data, RESULT_BYTES_MAX)


_header_decoder = decoder_for(Header)
_result_decoder = decoder_for(Result)
