"""Chunks prove themselves: any cut of any state verifies, and not one changed byte does."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidMessage
from dawan_node.execution import state_tree
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.replay import replay_value
from dawan_node.sync.snapshot_format import Chunk, Entry

ZERO = bytes(32)


class Tree:
    """A state of made-up entries with its tree."""

    def __init__(self, keys: list[bytes], replay_heights: list[int] = []) -> None:  # noqa: B006 - never changed
        self.nonces = {
            height: ((b"k" * 32, height.to_bytes(16, "big"), 5_000 + height),) * (height % 3)
            for height in replay_heights
        }
        entries = [Entry("trade", "invoice", key, b"value " + key) for key in keys]
        entries += [
            Entry("governance", "replay", height.to_bytes(8, "big"), replay_value(nonces))
            for height, nonces in self.nonces.items()
        ]
        self.entries = sorted(entries, key=lambda entry: entry.key_hash)
        self.nodes: dict[bytes, bytes] = {}
        self.root, changed, _ = state_tree.update(
            self.nodes.get, {entry.key_hash: hashlib.sha256(entry.value).digest() for entry in self.entries}
        )
        self.nodes |= {path: node for path, node in changed.items() if node is not None}

    def chunk(self, first: bytes, after: bytes) -> Chunk:
        entries = tuple(e for e in self.entries if e.key_hash >= first and (not after or e.key_hash < after))
        nonces = tuple(self.nonces[int.from_bytes(e.key, "big")] for e in entries if e.is_replay)
        leaves, subtrees = state_tree.outside(self.nodes.get, first, after)
        return Chunk(1, first, after, entries, nonces, tuple(leaves), tuple(subtrees))


def is_refused(data: bytes, root: bytes, first: bytes, after: bytes) -> bool:
    try:
        Chunk.decode(data).verify(root, first, after)
    except InvalidMessage:
        return True
    return False


keys = st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=60)
hashes = st.binary(min_size=32, max_size=32)


@given(
    keys, st.lists(st.integers(1, 50), unique=True, max_size=6), st.lists(hashes, unique=True, max_size=5), st.data()
)
def test_any_cut_of_any_state_verifies(
    own_keys: list[bytes], heights: list[int], bounds: list[bytes], data: st.DataObject
) -> None:
    tree = Tree(own_keys, tuple(heights))
    if tree.entries:  # bounds as they are made: the key hash of an entry
        chosen = data.draw(st.lists(st.sampled_from(tree.entries), max_size=4))
        bounds = [*bounds, *(entry.key_hash for entry in chosen)]
    cuts = [ZERO, *sorted(set(bounds) - {ZERO}), b""]
    found: dict[bytes, bytes] = {}
    for first, after in pairwise(cuts):
        chunk = Chunk.decode(tree.chunk(first, after).encode())
        found |= chunk.verify(tree.root, first, after)
    assert found == {entry.key_hash: hashlib.sha256(entry.value).digest() for entry in tree.entries}


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    tree = Tree([bytes([number]) for number in range(40)], (3, 4, 5))
    first = data.draw(st.sampled_from([ZERO, tree.entries[10].key_hash]))
    after = data.draw(st.sampled_from([tree.entries[25].key_hash, b""]))
    encoded = bytearray(tree.chunk(first, after).encode())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    assert is_refused(bytes(encoded), tree.root, first, after)


def test_every_bit_of_a_small_chunk_counts() -> None:
    tree = Tree([bytes([number]) for number in range(12)], (2,))
    first, after = tree.entries[4].key_hash, tree.entries[8].key_hash
    encoded = tree.chunk(first, after).encode()
    for position in range(len(encoded)):
        for bit in range(8):
            changed = bytearray(encoded)
            changed[position] ^= 1 << bit
            assert is_refused(bytes(changed), tree.root, first, after), (position, bit)


@given(keys.filter(lambda found: len(found) > 2), st.data())
def test_an_entry_left_out_added_or_hidden_outside_is_found(own_keys: list[bytes], data: st.DataObject) -> None:
    tree = Tree(own_keys)
    first, after = tree.entries[1].key_hash, data.draw(st.sampled_from([b"", b"\xff" * 32]))
    chunk = tree.chunk(first, after)
    left_out = data.draw(st.sampled_from(chunk.entries))
    fewer = tuple(entry for entry in chunk.entries if entry is not left_out)
    leaf = (left_out.key_hash, hashlib.sha256(left_out.value).digest())
    more = (*chunk.entries, Entry("trade", "invoice", b"invented", b"value"))
    more = tuple(sorted((entry for entry in more if entry.key_hash >= first), key=lambda entry: entry.key_hash))
    path = state_tree.nibbles_of(left_out.key_hash)
    for entries, leaves, subtrees in (
        (fewer, chunk.leaves, chunk.subtrees),
        (fewer, tuple(sorted((*chunk.leaves, leaf))), chunk.subtrees),
        (fewer, chunk.leaves, tuple(sorted((*chunk.subtrees, (path, leaf[1]))))),
    ):
        forged = Chunk(1, first, after, entries, (), leaves, subtrees)
        assert is_refused(forged.encode(), tree.root, first, after)
    if len(more) > len(chunk.entries):
        forged = Chunk(1, first, after, more, (), chunk.leaves, chunk.subtrees)
        assert is_refused(forged.encode(), tree.root, first, after)


def test_a_replay_entry_counts_only_with_its_own_nonces() -> None:
    """Amendment U10: presence, and no entry missing."""
    tree = Tree([b"a", b"b"], (4, 5, 7))
    chunk = tree.chunk(ZERO, b"")
    assert [len(nonces) for nonces in sorted(chunk.nonces, key=len)] == [1, 1, 2]
    for nonces in (chunk.nonces[:-1], (*chunk.nonces, ()), ((), *chunk.nonces[1:]), chunk.nonces[::-1], ()):
        if nonces == chunk.nonces:
            continue
        forged = Chunk(1, ZERO, b"", chunk.entries, nonces, (), ())
        assert is_refused(forged.encode(), tree.root, ZERO, b"")


def test_names_that_hash_like_others_are_no_names() -> None:
    """``H(module 0x00 collection 0x00 key)`` reads in two ways when a name may hold 0x00."""
    entry = Entry("trade", "invoice", b"a\x00b", b"value")
    twin = Entry("trade", "invoice\x00a", b"b", b"value")
    assert entry.key_hash == twin.key_hash
    root, _, _ = state_tree.update({}.get, {entry.key_hash: hashlib.sha256(b"value").digest()})
    assert not is_refused(Chunk(1, ZERO, b"", (entry,), (), (), ()).encode(), root, ZERO, b"")
    with pytest.raises(InvalidMessage, match="name"):
        Chunk(1, ZERO, b"", (twin,), (), (), ()).verify(root, ZERO, b"")


def test_an_empty_state_is_one_empty_chunk() -> None:
    assert Chunk(1, ZERO, b"", (), (), (), ()).verify(ZERO, ZERO, b"") == {}
    with pytest.raises(InvalidMessage, match="state root"):
        Chunk(1, ZERO, b"", (), (), (), ()).verify(b"\x01" * 32, ZERO, b"")
    with pytest.raises(InvalidMessage, match="snapshot chunk"):
        Chunk.decode(encode([2, ZERO, b"", [], [], [], []]))


def test_a_chunk_cannot_pass_for_one_of_a_wider_range() -> None:
    """True hashes of what it leaves out lead to the true root: that they lie in the range is what gives it away."""
    many = Tree([number.to_bytes(2, "big") for number in range(400)])
    few = Tree([bytes([number]) for number in range(6)])
    for tree, what in ((many, "subtrees"), (few, "leaves")):
        first, after = tree.entries[2].key_hash, tree.entries[4].key_hash
        chunk = tree.chunk(first, after)
        assert getattr(chunk, what)
        chunk.verify(tree.root, first, after)
        for low, high in ((ZERO, b""), (ZERO, after), (first, b"")):
            wider = Chunk(1, low, high, chunk.entries, (), chunk.leaves, chunk.subtrees)
            with pytest.raises(InvalidMessage, match="given as one outside"):
                wider.verify(tree.root, low, high)
