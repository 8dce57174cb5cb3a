"""Validator sets and the one quorum function (consensus.md 1.1).

With ``f = (n - 1) // 3`` faults tolerated and ``q = (n + f) // 2 + 1`` votes for a quorum, two quorums share at
least ``f + 1`` validators for every n (so one honest one), and ``q <= n - f``. The familiar ``2f + 1`` is unsafe
for every n that is not ``3f + 1`` (IBFT, arXiv 1901.07160), so it appears nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.crypto.signatures import check_public_key
from dawan_node.errors import InvalidGenesis
from dawan_node.primitives.encoding import encode

VALSET_TAG: Final = b"dawan:valset:v1"

# n = 22 is the largest set the protocol's message sizes and CPU bounds were computed for (consensus.md 1.14), with
# room for a consortium to grow; a NEW-VIEW grows with n squared.
VALIDATORS_MAX: Final = 64


def fault_bound(n: int) -> int:
    """``f``: how many of ``n`` validators may be faulty in any way."""
    return (n - 1) // 3


def quorum(n: int) -> int:
    """``q``: how many distinct validators decide."""
    return (n + fault_bound(n)) // 2 + 1


class ValidatorSet:
    """The validators of one epoch, sorted by public key; the position is the validator's index. Immutable."""

    __slots__ = ("_index", "f", "hash", "n", "public_keys", "q", "suites")

    def __init__(self, members: Sequence[tuple[str, bytes]]) -> None:
        """``members`` are (suite, public key) pairs in any order. Raises InvalidGenesis on an unusable set."""
        ordered = sorted(members, key=lambda member: member[1])
        keys = tuple(key for _, key in ordered)
        if not 1 <= len(keys) <= VALIDATORS_MAX:
            raise InvalidGenesis(f"a validator set has 1 to {VALIDATORS_MAX} members, not {len(keys)}")
        if len(set(keys)) != len(keys):
            raise InvalidGenesis("two validators share one public key")
        for suite, key in ordered:
            check_public_key(suite, key)
        self.public_keys: Final = keys
        self.suites: Final = tuple(suite for suite, _ in ordered)
        self.n: Final = len(keys)
        self.f: Final = fault_bound(self.n)
        self.q: Final = quorum(self.n)
        self.hash: Final = tagged_hash(VALSET_TAG, encode([[suite, key] for suite, key in ordered]))
        self._index = {key: index for index, key in enumerate(keys)}

    @property
    def weak(self) -> int:
        """``f + 1``: at least one of so many is honest."""
        return self.f + 1

    @property
    def members(self) -> tuple[tuple[str, bytes], ...]:
        """(suite, public key) pairs in index order."""
        return tuple(zip(self.suites, self.public_keys, strict=True))

    def index_of(self, public_key: bytes) -> int | None:
        """The validator index of a key, or None for a stranger."""
        return self._index.get(public_key)

    def primary(self, chain_id: bytes, epoch: int, view: int) -> int:
        """The index of ``primary(view)``: a different start per channel and epoch, then one further per view."""
        start = int.from_bytes(hashlib.sha256(chain_id + epoch.to_bytes(8, "big")).digest()[:8], "big")
        return (view + start) % self.n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValidatorSet) and other.hash == self.hash

    def __hash__(self) -> int:
        return int.from_bytes(self.hash[:8], "big")

    def __repr__(self) -> str:
        return f"ValidatorSet(n={self.n}, f={self.f}, q={self.q}, hash={self.hash.hex()[:16]})"
