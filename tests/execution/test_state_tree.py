"""The state tree against a naive rebuild, the format vectors and the proofs that primitives verify."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import StorageError
from dawan_node.execution.state_tree import EMPTY_ROOT, check_stored, nibbles_of, prove, root, update
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.patch import undo
from dawan_node.primitives.proofs import state_key_hash, verify_state_path

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "format-vectors" / "vectors.json"

# Facts of the format vectors, kept here so that a checkout without them still tests the same thing.
VECTOR_ENTRIES_ROOT = bytes.fromhex("19273fe0583fe298d25b5ee363f82cd1b16878061479561f9e2d8ad0d0321cb5")
VECTOR_PUBLIC_KEY = hashlib.sha256(b"supplier").digest()


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def naive_root(entries: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The definition of formats A.7, word for word, from all entries at once."""
    if not entries:
        return bytes(32)
    if len(entries) == 1:
        ((key, value),) = entries.items()
        return sha(b"\x00" + key + value)
    bitmap, hashes = 0, b""
    for nibble in range(16):
        below = {key: value for key, value in entries.items() if int(key.hex()[depth], 16) == nibble}
        if below:
            bitmap |= 1 << nibble
            hashes += naive_root(below, depth + 1)
    return sha(b"\x01" + bitmap.to_bytes(2, "big") + hashes)


class Tree:
    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}
        self.patched = 0

    def update(self, changes: dict[bytes, bytes | None]) -> bytes:
        new_root, nodes, patches = update(self.nodes.get, changes)
        for path, node in nodes.items():
            if path in patches:
                assert node is not None and undo(node, patches[path]) == self.nodes[path] != node
                self.patched += 1
            if node is None:
                self.nodes.pop(path, None)
            else:
                self.nodes[path] = node
        assert root(self.nodes.get) == new_root
        return new_root


# Few distinct leading bytes, so that paths collide deeply and collapses happen.
crowded_keys = st.builds(
    lambda head, tail: (bytes(head) + sha(bytes(tail)))[:32],
    st.lists(st.sampled_from([0x00, 0x01, 0x10, 0xFF]), min_size=0, max_size=3),
    st.lists(st.integers(0, 3), max_size=2),
)
values = st.binary(min_size=1, max_size=1).map(sha)
batches = st.lists(st.dictionaries(crowded_keys, st.none() | values, max_size=12), min_size=1, max_size=6)


@given(batches)
def test_any_sequence_of_batches_gives_the_root_of_a_full_rebuild(sequence):
    tree, model = Tree(), {}
    for batch in sequence:
        new_root = tree.update(batch)
        model.update(batch)
        model = {key: value for key, value in model.items() if value is not None}
        assert new_root == naive_root(model)
    fresh = Tree()
    assert fresh.update(dict(model)) == naive_root(model)
    assert fresh.nodes == tree.nodes, "the stored nodes are a function of the entries, not of their history"


@given(st.dictionaries(crowded_keys, values, min_size=1, max_size=20), st.lists(crowded_keys, max_size=8))
def test_a_proof_shows_presence_with_the_value_and_absence_of_anything_else(entries, others):
    tree = Tree()
    state_root = tree.update(dict(entries))
    for key in [*entries, *others]:
        steps, terminal = prove(tree.nodes.get, key)
        assert verify_state_path(state_root, key, steps, terminal) == entries.get(key)


def test_the_order_of_single_updates_does_not_matter():
    draw = random.Random(7)
    entries = {draw.randbytes(32): draw.randbytes(32) for _ in range(300)}
    roots = set()
    for _ in range(3):
        keys = list(entries)
        draw.shuffle(keys)
        tree = Tree()
        for key in keys:
            last = tree.update({key: entries[key]})
        roots.add(last)
    assert roots == {naive_root(entries)}


def test_deleting_everything_leaves_the_empty_tree_and_no_nodes():
    draw = random.Random(8)
    entries = {draw.randbytes(32): draw.randbytes(32) for _ in range(200)}
    tree = Tree()
    tree.update(dict(entries))
    keys = list(entries)
    tree.update(dict.fromkeys(keys[:150]))
    assert tree.update(dict.fromkeys(keys[150:])) == EMPTY_ROOT == bytes(32)
    assert tree.nodes == {}


def test_an_inner_node_with_one_inner_child_stays_and_a_lone_leaf_moves_up():
    twin_a = bytes(31) + b"\x01"
    twin_b = bytes(31) + b"\x02"
    tree = Tree()
    pair_root = tree.update({twin_a: sha(b"a"), twin_b: sha(b"b")})
    assert len(tree.nodes) == 64, "one inner node per shared nibble"
    assert pair_root == naive_root({twin_a: sha(b"a"), twin_b: sha(b"b")})
    assert tree.update({twin_b: None}) == sha(b"\x00" + twin_a + sha(b"a"))
    assert list(tree.nodes) == [b""]


def test_deleting_what_is_not_there_changes_nothing():
    tree = Tree()
    before = tree.update({sha(b"1"): sha(b"a"), sha(b"2"): sha(b"b")})
    nodes = dict(tree.nodes)
    assert tree.update({sha(b"3"): None}) == before
    assert tree.update({}) == before
    assert tree.nodes == nodes
    assert Tree().update({sha(b"3"): None}) == EMPTY_ROOT


def test_nibbles_come_from_the_high_half_of_each_byte_first():
    assert nibbles_of(bytes([0x1F]) + bytes(31))[:3] == bytes([1, 15, 0])


def test_a_missing_or_cut_node_is_a_storage_error():
    draw = random.Random(9)
    tree = Tree()
    key = draw.randbytes(32)
    tree.update({**{draw.randbytes(32): draw.randbytes(32) for _ in range(100)}, key: sha(b"x")})
    path = nibbles_of(key)[:1]
    node = tree.nodes.pop(path)
    with pytest.raises(StorageError):
        update(tree.nodes.get, {key: sha(b"y")})
    with pytest.raises(StorageError):
        prove(tree.nodes.get, key)
    tree.nodes[path] = node[:-1]
    with pytest.raises(StorageError):
        update(tree.nodes.get, {key: sha(b"y")})


def vector_entries() -> dict[bytes, bytes | None]:
    """The state that README.md of the format vectors describes."""
    entries: dict[bytes, bytes | None] = {}
    for i in range(40):
        key = state_key_hash("receivable", "invoice", b"%03d" % i)
        entries[key] = sha(encode([1, f"INV-{i:03}", ["CNY", i]]))
    return entries


def test_the_state_root_of_the_format_vectors():
    # The replay entry of block 1 needs the sender's public key, so the vector's own envelope supplies it.
    from dawan_node.crypto.signatures import PrivateKey
    from dawan_node.primitives.replay import replay_hash

    supplier = PrivateKey.from_seed(VECTOR_PUBLIC_KEY).public_key
    replay = encode([1, replay_hash([(supplier, bytes(range(16)), 1_764_000_600_000)])])
    entries = vector_entries()
    entries[state_key_hash("governance", "replay", (1).to_bytes(8, "big"))] = sha(replay)
    assert Tree().update(entries) == VECTOR_ENTRIES_ROOT


@pytest.mark.skipif(not VECTORS.exists(), reason=f"NOT RUN: the shared format vectors are not at {VECTORS}")
def test_the_constant_above_is_the_one_in_the_shared_vectors():
    assert json.loads(VECTORS.read_text())["state_root"] == VECTOR_ENTRIES_ROOT.hex()


@pytest.mark.parametrize("count", [0, 1, 2, 17, 300])
def test_a_stored_tree_is_checked_in_one_pass_against_its_entries(count: int) -> None:
    leaves = sorted((sha(b"key %d" % number), sha(b"value %d" % number)) for number in range(count))
    tree = Tree()
    whole = tree.update(dict(leaves)) if leaves else EMPTY_ROOT

    def checked(nodes: dict[bytes, bytes], entries: list[tuple[bytes, bytes]]) -> bytes:
        return check_stored(iter(sorted(nodes.items())), iter(entries))

    assert checked(tree.nodes, leaves) == whole
    wrong: list[tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]] = [
        (tree.nodes | {b"\x00" * 9: bytes(64)}, leaves),
        (tree.nodes, [*leaves, (b"\xff" * 32, bytes(32))]),
    ]
    for path, node in list(tree.nodes.items())[-3:]:
        wrong.append(({other: tree.nodes[other] for other in tree.nodes if other != path}, leaves))
        if path:  # the root's own hash is for the caller to compare
            wrong.append((tree.nodes | {path: node[:-1] + bytes([node[-1] ^ 1])}, leaves))
            wrong.append((tree.nodes | {path: node[:4] + bytes([node[4] ^ 1]) + node[5:]}, leaves))
    if leaves:
        wrong += [(tree.nodes, leaves[1:]), (tree.nodes, [(leaves[0][0], bytes(32)), *leaves[1:]])]
    for nodes, entries in wrong:
        with pytest.raises(StorageError):
            checked(nodes, entries)
