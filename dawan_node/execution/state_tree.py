"""The Merkle tree under ``state_root``: radix 16 over key hashes, updated once per block (formats A.7, A.8).

Every state entry is a leaf at the path that the 64 nibbles of its key hash spell. A subtree with one leaf is that
leaf, so a path ends where no other key shares its prefix: about ``log16(n)`` levels. The hash of a leaf is
``H(0x00 key_hash value_hash)``, of an inner node ``H(0x01 bitmap16 child hashes in order)``; the empty tree is 32 zero
bytes. The root is a function of the entries alone, whatever the order of the updates that led there.

Stored nodes (our own format, never on the wire) stand under their path, one byte per nibble, the root under ``b""``::

    inner   bitmap (2 bytes) | which children are leaves (2 bytes) | one 32-byte hash per child
            | key_hash and value_hash (64 bytes) per leaf child        both in child order
    lone    key_hash value_hash                                        64 bytes, only as the root of a one-entry tree

Leaves live inside their parent, which saves a read and a record per entry; the hashes of all children stand together
so that an inner hash is one call over a slice. Writing a block touches each changed node once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from dawan_node.errors import StorageError
from dawan_node.primitives.patch import ENTRY_BYTES, patch_of

EMPTY_ROOT: Final = bytes(32)

NodeReader = Callable[[bytes], bytes | None]

# A patch of up to a third of its node is made: whole nodes of history were a third of all that a block writes. Longer
# patches save little.
_PATCHED_ONE_OF: Final = 3
# Below so many changes a block's history is a few kilobytes either way, and making patches would be a part of its time.
_PATCHED_FROM: Final = 8

_LEAF_BYTES: Final = 64
_HEAD_BYTES: Final = 4
_NIBBLES: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))

# A child while a node is being worked on: its hash, and for a leaf its 64 bytes (key hash, value hash).
_Child = tuple[bytes, bytes | None]


def nibbles_of(key_hash: bytes) -> bytes:
    """The path of a key: 64 bytes of value 0..15, high nibble first."""
    return key_hash.hex().encode().translate(_NIBBLES)


class Update(NamedTuple):
    """The new root, the nodes that changed (None: delete that record), and for those of them in which little did the
    patch (``primitives.patch``) that leads back to the node as it was."""

    root: bytes
    nodes: dict[bytes, bytes | None]
    patches: dict[bytes, bytes]


def update(read: NodeReader, changes: Mapping[bytes, bytes | None]) -> Update:
    """Apply ``key_hash -> H(value)``, None to delete.

    ``read`` answers with the node stored under a path. Raises StorageError when a node the tree refers to is missing or
    has an impossible length.
    """
    if not changes:
        return Update(root(read), {}, {})
    batch = _Batch(read, sorted([(nibbles_of(key), key, value) for key, value in changes.items()]))
    return Update(batch.apply(), batch.nodes, batch.patches)


def root(read: NodeReader) -> bytes:
    """The root of the stored tree."""
    node = read(b"")
    if node is None:
        return EMPTY_ROOT
    if len(node) == _LEAF_BYTES:
        return hashlib.sha256(b"\x00" + node).digest()
    return hashlib.sha256(b"\x01" + node[:2] + _hashes(node)).digest()


def prove(read: NodeReader, key_hash: bytes) -> tuple[list[tuple[int, list[bytes]]], list[bytes]]:
    """``steps`` and ``terminal`` of a StateProof for ``key_hash``: presence or absence (formats A.8).

    Each step is the bitmap of an inner node and the hashes of its other children; the terminal is the leaf met, as
    ``[key_hash, H(value)]``, or empty for an empty slot. Raises StorageError on a missing node.
    """
    node = read(b"")
    if node is None:
        return [], []
    if len(node) == _LEAF_BYTES:
        return [], [node[:32], node[32:]]
    steps: list[tuple[int, list[bytes]]] = []
    path = nibbles_of(key_hash)
    for depth, slot in enumerate(path):
        children = _parse(node)
        bitmap = int.from_bytes(node[:2], "big")
        steps.append((bitmap, [child[0] for at, child in enumerate(children) if child is not None and at != slot]))
        child = children[slot]
        if child is None:
            return steps, []
        leaf = child[1]
        if leaf is not None:
            return steps, [leaf[:32], leaf[32:]]
        node = _required(read, path[: depth + 1])
    raise StorageError("a state tree path is longer than a key hash")


def outside(
    read: NodeReader, first: bytes, after: bytes
) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """What the root needs beside the leaves with key hashes in [``first``, ``after``); an empty ``after`` is the end.

    Leaves ``(key hash, H(value))`` and whole subtrees ``(path, hash)`` outside that range, both ascending: as few as
    there are, those that hang off the two paths along its ends. Raises StorageError on a missing node.
    """
    leaves: list[tuple[bytes, bytes]] = []
    subtrees: list[tuple[bytes, bytes]] = []
    node = read(b"")
    if node is None:
        return leaves, subtrees
    low, high = nibbles_of(first), nibbles_of(after) if after else None
    if len(node) == _LEAF_BYTES:
        children: list[tuple[bytes, _Child]] = [(b"", (b"", node))]
    else:
        children = [(_SLOT[slot], child) for slot, child in enumerate(_parse(node)) if child is not None]
    children.reverse()
    while children:
        path, (child_hash, leaf) = children.pop()
        if leaf is not None:
            if leaf[:32] < first or (after and leaf[:32] >= after):
                leaves.append((leaf[:32], leaf[32:]))
            continue
        depth = len(path)
        if path < low[:depth] or (high is not None and (path > high[:depth] or path + bytes(64 - depth) == high)):
            subtrees.append((path, child_hash))
        elif path == low[:depth] or (high is not None and path == high[:depth]):
            below = _parse(_required(read, path))
            children += [(path + _SLOT[slot], below[slot]) for slot in range(15, -1, -1) if below[slot] is not None]  # type: ignore[misc]
    return leaves, subtrees


def check_stored(nodes: Iterator[tuple[bytes, bytes]], leaves: Iterator[tuple[bytes, bytes]]) -> bytes:
    """The root, if ``nodes`` (path, node) are exactly the tree over ``leaves`` (key hash, H(value)), both ascending.

    Reads each once and keeps a path's worth in memory: ascending paths are a walk from the root down, slot by slot, and
    the leaves met on it ascend as well. Raises StorageError at the first node or leaf that does not fit.
    """
    first = next(nodes, None)
    if first is None or first[0]:
        if first is None and next(leaves, None) is None:
            return EMPTY_ROOT
        raise StorageError("the state tree has no root")
    found = root(lambda _: first[1])
    pending: list[tuple[bytes, _Child]] = [(b"", (found, first[1] if len(first[1]) == _LEAF_BYTES else None))]
    ahead: tuple[bytes, bytes] | None = first if pending[0][1][1] is None else next(nodes, None)
    while pending:
        path, (child_hash, leaf) = pending.pop()
        if leaf is not None:
            if next(leaves, None) != (leaf[:32], leaf[32:]) or hashlib.sha256(b"\x00" + leaf).digest() != child_hash:
                raise StorageError(f"the state tree has another leaf at {path.hex()} than there are entries")
            continue
        if ahead is None or ahead[0] != path:
            raise StorageError(f"the state tree has no node at {path.hex()}")
        node = ahead[1]
        children = _parse(node)
        if hashlib.sha256(b"\x01" + node[:2] + _hashes(node)).digest() != child_hash:
            raise StorageError(f"the state tree node at {path.hex()} is not the one its parent names")
        ahead = next(nodes, None)
        pending += [(path + _SLOT[at], child) for at in range(15, -1, -1) if (child := children[at]) is not None]
    if ahead is not None or next(leaves, None) is not None:
        raise StorageError("there are nodes or entries that the state tree does not know")
    return found


class _Batch:
    """One update: sorted changes, the nodes to write, and the way back."""

    __slots__ = ("_is_large", "_items", "_read", "nodes", "patches")

    def __init__(self, read: NodeReader, items: list[tuple[bytes, bytes, bytes | None]]) -> None:
        self._read: Final = read
        self._items: Final = items
        self._is_large: Final = len(items) >= _PATCHED_FROM
        self.nodes: dict[bytes, bytes | None] = {}
        self.patches: dict[bytes, bytes] = {}

    def apply(self) -> bytes:
        """Work down from the root and return its new hash."""
        node = self._read(b"")
        end = len(self._items)
        if node is None or len(node) == _LEAF_BYTES:
            child = self._grow(b"", 0, node, 0, end)
        else:
            child = self._descend(b"", 0, node, 0, end)
        if child is None:
            if node is not None:
                self.nodes[b""] = None
            return EMPTY_ROOT
        if child[1] is not None:
            self.nodes[b""] = child[1]
        return child[0]

    def _descend(self, path: bytes, depth: int, node: bytes, start: int, end: int) -> _Child | None:
        """Apply items[start:end], which share ``path``, to a stored inner node.

        All changes are spliced into a copy of the node's bytes: those that keep its shape as they are met, children
        that appear, disappear or turn from leaf to inner node or back after them.
        """
        items = self._items
        bitmap = int.from_bytes(node[:2], "big")
        leafmap = int.from_bytes(node[2:4], "big")
        leaves_at = _HEAD_BYTES + 32 * bitmap.bit_count()
        if len(node) != leaves_at + _LEAF_BYTES * leafmap.bit_count():
            raise StorageError(f"the state tree node at {path.hex()} has {len(node)} bytes")
        spliced = bytearray(node)
        replaced: list[bytes] = []
        reshaped: list[tuple[int, _Child | None]] = []
        position = start
        while position < end:
            item = items[position]
            slot = item[0][depth]
            first = position
            position += 1
            while position < end and items[position][0][depth] == slot:
                position += 1
            bit = 1 << slot
            leaf = None
            if bitmap & bit:
                below_bit = bit - 1
                hash_at = _HEAD_BYTES + 32 * (bitmap & below_bit).bit_count()
                if not leafmap & bit:
                    below = path + _SLOT[slot]
                    child = self._descend(below, depth + 1, _required(self._read, below), first, position)
                    if child is not None and child[1] is None:
                        replaced += _OFFSET[hash_at], node[hash_at : hash_at + 32]
                        spliced[hash_at : hash_at + 32] = child[0]
                    else:
                        reshaped.append((slot, child))
                    continue
                leaf_at = leaves_at + _LEAF_BYTES * (leafmap & below_bit).bit_count()
                leaf = node[leaf_at : leaf_at + _LEAF_BYTES]
                value = item[2]
                if value is not None and position - first == 1 and leaf[:32] == item[1]:
                    replaced += _OFFSET[hash_at], node[hash_at : hash_at + 32], _OFFSET[leaf_at + 32], leaf[32:]
                    changed = item[1] + value
                    spliced[leaf_at : leaf_at + _LEAF_BYTES] = changed
                    spliced[hash_at : hash_at + 32] = hashlib.sha256(b"\x00" + changed).digest()
                    continue
            elif position - first == 1 and item[2] is not None:
                added = item[1] + item[2]
                reshaped.append((slot, (hashlib.sha256(b"\x00" + added).digest(), added)))
                continue
            reshaped.append((slot, self._grow(path + _SLOT[slot], depth + 1, leaf, first, position)))
        if reshaped:
            bitmap, leafmap = _reshape(spliced, bitmap, leafmap, reshaped)
            leaves_at = _HEAD_BYTES + 32 * bitmap.bit_count()
            if bitmap == leafmap and bitmap.bit_count() <= 1:
                # No child is no node, a lone leaf is that leaf.
                self.nodes[path] = None
                return (bytes(spliced[_HEAD_BYTES:leaves_at]), bytes(spliced[leaves_at:])) if bitmap else None
        self.nodes[path] = written = bytes(spliced)
        is_short = len(replaced) * (ENTRY_BYTES // 2 * _PATCHED_ONE_OF) <= len(node)
        if is_short and self._is_large and not reshaped and written != node:
            self.patches[path] = patch_of(replaced)
        return hashlib.sha256(b"\x01" + written[:2] + written[_HEAD_BYTES:leaves_at]).digest(), None

    def _grow(self, path: bytes, depth: int, leaf: bytes | None, start: int, end: int) -> _Child | None:
        """The subtree of items[start:end] and of the one leaf that stood here, if any."""
        changed = self._items[start:end]
        leaves = [(nibbles, key + value) for nibbles, key, value in changed if value is not None]
        if leaf is not None:
            key = leaf[:32]
            for item in changed:
                if item[1] == key:
                    break
            else:
                leaves.append((nibbles_of(key), leaf))
                leaves.sort()
        return self._build(path, depth, leaves) if leaves else None

    def _build(self, path: bytes, depth: int, leaves: list[tuple[bytes, bytes]]) -> _Child:
        """A new subtree of sorted leaves that share ``path``."""
        if len(leaves) == 1:
            leaf = leaves[0][1]
            return hashlib.sha256(b"\x00" + leaf).digest(), leaf
        bitmap = leafmap = 0
        hashes: list[bytes] = []
        kept: list[bytes] = []
        position, end = 0, len(leaves)
        while position < end:
            slot = leaves[position][0][depth]
            first = position
            position += 1
            while position < end and leaves[position][0][depth] == slot:
                position += 1
            bitmap |= 1 << slot
            if position - first == 1:
                leaf = leaves[first][1]
                leafmap |= 1 << slot
                kept.append(leaf)
                hashes.append(hashlib.sha256(b"\x00" + leaf).digest())
            else:
                hashes.append(self._build(path + _SLOT[slot], depth + 1, leaves[first:position])[0])
        joined = b"".join(hashes)
        head = bitmap.to_bytes(2, "big")
        self.nodes[path] = head + leafmap.to_bytes(2, "big") + joined + b"".join(kept)
        return hashlib.sha256(b"\x01" + head + joined).digest(), None


_SLOT: Final = tuple(bytes([slot]) for slot in range(16))
# Every offset in a node of sixteen leaves.
_OFFSET: Final = tuple(at.to_bytes(2, "big") for at in range(_HEAD_BYTES + 16 * (32 + _LEAF_BYTES)))


def _reshape(node: bytearray, bitmap: int, leafmap: int, changed: list[tuple[int, _Child | None]]) -> tuple[int, int]:
    """Put other children in the slots of ``changed`` and return the node's new bitmaps, which are in it as well."""
    for slot, child in changed:
        bit = 1 << slot
        below = bit - 1
        hash_at = _HEAD_BYTES + 32 * (bitmap & below).bit_count()
        leaf_at = _HEAD_BYTES + 32 * bitmap.bit_count() + _LEAF_BYTES * (leafmap & below).bit_count()
        # Leaves stand behind the hashes: they go first, so that the place of neither changes.
        leaf = None if child is None else child[1]
        node[leaf_at : leaf_at + (_LEAF_BYTES if leafmap & bit else 0)] = leaf or b""
        node[hash_at : hash_at + (32 if bitmap & bit else 0)] = b"" if child is None else child[0]
        bitmap = bitmap & ~bit if child is None else bitmap | bit
        leafmap = leafmap & ~bit if leaf is None else leafmap | bit
    node[:_HEAD_BYTES] = bitmap.to_bytes(2, "big") + leafmap.to_bytes(2, "big")
    return bitmap, leafmap


def _required(read: NodeReader, path: bytes) -> bytes:
    node = read(path)
    if node is None:
        raise StorageError(f"the state tree has no node at {path.hex()}")
    return node


def _hashes(node: bytes) -> bytes:
    return node[_HEAD_BYTES : _HEAD_BYTES + 32 * int.from_bytes(node[:2], "big").bit_count()]


def _parse(node: bytes) -> list[_Child | None]:
    """The sixteen children of a stored inner node."""
    bitmap = int.from_bytes(node[:2], "big")
    leafmap = int.from_bytes(node[2:4], "big")
    hash_at = _HEAD_BYTES
    leaf_at = _HEAD_BYTES + 32 * bitmap.bit_count()
    if len(node) != leaf_at + _LEAF_BYTES * leafmap.bit_count():
        raise StorageError(f"a state tree node has {len(node)} bytes")
    children: list[_Child | None] = [None] * 16
    remaining = bitmap
    while remaining:
        bit = remaining & -remaining
        remaining ^= bit
        child_hash = node[hash_at : hash_at + 32]
        hash_at += 32
        if leafmap & bit:
            children[bit.bit_length() - 1] = (child_hash, node[leaf_at : leaf_at + _LEAF_BYTES])
            leaf_at += _LEAF_BYTES
        else:
            children[bit.bit_length() - 1] = (child_hash, None)
    return children
