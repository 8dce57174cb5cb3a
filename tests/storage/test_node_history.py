"""Old nodes of a real state tree, most of which are kept as patches, against the trees there were."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import Changes

from dawan_node.errors import StorageError
from dawan_node.execution import state_tree
from dawan_node.primitives.patch import is_patch
from dawan_node.storage import schema
from dawan_node.storage.kv import MemoryStore, StagedWrites
from dawan_node.storage.migration import migrate
from dawan_node.storage.state_store import StateStore

Nodes = dict[bytes, bytes]


class Chain:
    """A state of nothing but a tree of up to ``keys`` leaves, and what the tree was at each height."""

    def __init__(self, keys: int, history: int = 10_000) -> None:
        self.kv = MemoryStore()
        self.history = history
        self.state = StateStore(self.kv, history=history)
        self.keys = [hashlib.sha256(b"%d" % number).digest() for number in range(keys)]
        #: So many that a block of them is patched, and under one child of the root.
        self.near = sorted(self.keys)[:8]
        self.trees: list[Nodes] = []
        self.decide(dict.fromkeys(self.keys, bytes(32)))

    def changes(self, leaves: dict[bytes, bytes | None], below: Nodes, *, patched: bool = True) -> Changes:
        update = state_tree.update(below.get, leaves)
        return Changes(nodes=update.nodes, patches=update.patches if patched else {})

    def decide(self, leaves: dict[bytes, bytes | None], *, patched: bool = True) -> None:
        below = self.trees[-1] if self.trees else {}
        changes = self.changes(leaves, below, patched=patched)
        self.kv.write(self.state.puts_for(len(self.trees), changes, 0))
        self.state.committed(len(self.trees))
        self.trees.append(after(below, changes))

    def check(self, height: int) -> None:
        with self.state.at(height) as view:
            for path in {path for tree in self.trees for path in tree}:
                assert view.tree_node(path) == self.trees[height].get(path)

    def images(self) -> list[bytes]:
        return [value for _, value in self.kv.iterate(prefix=schema.NODE_IMAGE)]


def after(below: Nodes, changes: Changes) -> Nodes:
    return {path: node for path, node in {**below, **changes.nodes}.items() if node is not None}


LEAVES = st.dictionaries(
    st.integers(0, 39), st.none() | st.integers(0, 3).map(lambda value: bytes([value]) * 32), max_size=20
)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(LEAVES, st.booleans(), st.booleans()), max_size=12),
    st.sampled_from([0, 2, 100]),
)
def test_every_node_of_every_kept_height_is_what_it_was(
    blocks: list[tuple[dict[int, bytes | None], bool, bool]], history: int
) -> None:
    """With blocks between as version 1 wrote them, without patches, and with starts in between."""
    chain = Chain(40, history)
    for changed, patched, starts in blocks:
        chain.decide({chain.keys[number]: value for number, value in changed.items()}, patched=patched)
        if starts:
            chain.state = StateStore(chain.kv, history=history)
        for height in range(max(0, len(chain.trees) - 1 - history), len(chain.trees)):
            chain.check(height)


def test_blocks_of_one_batch_leave_patches_that_lead_through_each_of_them() -> None:
    chain = Chain(300)
    staged = StagedWrites(chain.kv)
    for number in range(3):
        height = len(chain.trees)
        changes = chain.changes({key: bytes([height]) * 32 for key in chain.keys[: 8 + number]}, chain.trees[-1])
        staged.stage(chain.state.puts_for(height, changes, 0, staged))
        chain.trees.append(after(chain.trees[-1], changes))
    chain.kv.write(staged.puts())
    chain.state.committed(len(chain.trees) - 1)
    for height in range(len(chain.trees)):
        chain.check(height)


def test_a_node_that_changes_in_every_block_is_whole_every_thirty_blocks_or_so() -> None:
    """Or reading a height of three hours ago would undo ten thousand patches."""
    chain = Chain(300)
    for height in range(1, 1_000):
        chain.decide(dict.fromkeys(chain.near, height.to_bytes(32, "big")))
    images = [value for _, value in chain.kv.iterate(prefix=schema.node_image(b""))]
    runs = "".join("p" if is_patch(image) else " " for image in images).split(" ")
    assert len(images) == 999 and 15 < len(runs) < 60 and max(map(len, runs)) < 300
    for height in random.Random(1).sample(range(1_000), 20):
        chain.check(height)


def test_history_of_large_blocks_is_a_fraction_of_their_nodes() -> None:
    chain, source = Chain(20_000), random.Random(1)
    written = 0
    for height in range(1, 4):
        changed = {key: height.to_bytes(32, "big") for key in source.sample(chain.keys, 500)}
        update = state_tree.update(chain.trees[-1].get, dict(changed))
        written += sum(len(node) for node in update.nodes.values() if node)
        chain.decide(dict(changed))
    assert sum(map(len, chain.images())) < written * 0.4


def test_a_database_of_the_first_schema_is_taken_as_it_is_and_patched_from_then_on() -> None:
    chain = Chain(300)
    for height in range(1, 4):
        chain.decide(dict.fromkeys(chain.near, bytes([height]) * 32), patched=False)
    chain.kv.write([schema.schema_put(1)])
    assert not any(map(is_patch, chain.images()))
    assert migrate(chain.kv) == 1 and schema.schema_version(chain.kv) == 2
    chain.state = StateStore(chain.kv)
    for height in range(4, 9):
        chain.decide(dict.fromkeys(chain.near, bytes([height]) * 32))
    assert any(map(is_patch, chain.images()))
    for height in range(9):
        chain.check(height)


@pytest.mark.parametrize("wrong", [b"\x00\x00\xff\xff" + bytes(32), None])
def test_a_patch_that_does_not_fit_is_damage_and_no_answer(wrong: bytes | None) -> None:
    chain = Chain(300)
    for height in range(1, 9):
        chain.decide(dict.fromkeys(chain.near, bytes([height]) * 32))
    patched = [(key, value) for key, value in chain.kv.iterate(prefix=schema.node_image(b"")) if is_patch(value)]
    key = patched[-1][0]
    # Either the patch itself is another one, or what it leads back from is gone.
    chain.kv.write([(key, wrong) if wrong else (schema.NODE, None)])
    for later, _ in chain.kv.iterate(prefix=schema.node_image(b"")):
        if wrong is None and later > key:
            chain.kv.write([(later, None)])
    with chain.state.at(int.from_bytes(key[-8:], "big") - 1) as view, pytest.raises(StorageError, match="history"):
        view.tree_node(b"")


def test_a_block_of_few_changes_leaves_whole_nodes() -> None:
    """Some kilobytes either way; making patches would be a part of the time of a block that small."""
    chain = Chain(300)
    chain.decide({chain.keys[0]: b"\x01" * 32})
    assert chain.images() and not any(map(is_patch, chain.images()))
    chain.check(0)
