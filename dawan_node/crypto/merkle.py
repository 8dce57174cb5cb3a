"""Merkle trees of lists, as RFC 6962 section 2.1 defines them.

Leaves and inner nodes are hashed with different prefixes (``0x00`` and ``0x01``), and an odd subtree is never
duplicated, so two different lists cannot share a root (CVE-2012-2459). The empty list's root is ``H("")``.
Transactions and receipts of a block are such lists; their length is bound by the block header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dawan_node.errors import InvalidProof

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one list element."""
    return hashlib.sha256(b"\x00" + data).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in order.

    Computed level by level: pairing neighbours and carrying an odd last node up unchanged gives RFC 6962's
    largest-power-of-two split, without recursion.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    sha = hashlib.sha256
    level = list(leaf_hashes)
    while len(level) > 1:
        odd = level[-1] if len(level) & 1 else None
        level = [sha(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if odd is not None:
            level.append(odd)
    return level[0]


def path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of the leaf at ``index``, from the leaf to the root (RFC 6962 section 2.1.1)."""
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"leaf {index} of {len(leaf_hashes)}")
    sha = hashlib.sha256
    level = list(leaf_hashes)
    siblings: list[bytes] = []
    while len(level) > 1:
        neighbour = index ^ 1
        if neighbour < len(level):
            siblings.append(level[neighbour])
        odd = level[-1] if len(level) & 1 else None
        level = [sha(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if odd is not None:
            level.append(odd)
        index >>= 1
    return siblings


def root_from_path(leaf: bytes, index: int, size: int, siblings: Sequence[bytes]) -> bytes:
    """The root that ``siblings`` lead to from ``leaf`` at ``index`` in a list of ``size``.

    Raises InvalidProof when the path has not exactly the length that index and size require.
    """
    if not 0 <= index < size:
        raise InvalidProof(f"leaf {index} is outside a list of {size}")
    sha = hashlib.sha256
    node = leaf
    position, last, used = index, size - 1, 0
    while last > 0:
        if position & 1 or position < last:
            if used == len(siblings):
                raise InvalidProof("the audit path is too short")
            sibling = siblings[used]
            used += 1
            node = sha(b"\x01" + sibling + node).digest() if position & 1 else sha(b"\x01" + node + sibling).digest()
        position >>= 1
        last >>= 1
    if used != len(siblings):
        raise InvalidProof("the audit path is too long")
    return node
