"""The nonces of a block, and the one state entry that commits to them (formats A.5, amendment U10).

The lists themselves are in no tree: they are an index that every node keeps beside the state. The entry makes them
part of what a quorum signs, so that a node that gets its state from others can check the lists it gets with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.primitives.encoding import encode

REPLAY_TAG: Final = b"dawan:replay:v1"

#: Module and collection of the entries; the key is the height, eight bytes big-endian.
REPLAY_ENTRY: Final = ("governance", "replay")


def replay_hash(nonces: Sequence[tuple[bytes, bytes, int]]) -> bytes:
    """What a block's replay entry commits to: its (public key, nonce, valid_until_ms) in block order."""
    return tagged_hash(REPLAY_TAG, encode([list(use) for use in nonces]))


def replay_value(nonces: Sequence[tuple[bytes, bytes, int]]) -> bytes:
    """The value of a block's replay entry."""
    return encode([1, replay_hash(nonces)])
