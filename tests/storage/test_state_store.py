"""The state store against plain dictionaries, one per height."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import Changes

from dawan_node.errors import StorageError
from dawan_node.storage import schema
from dawan_node.storage.kv import MemoryStore
from dawan_node.storage.state_store import StateStore
from dawan_node.storage.state_view import HistoryPruned

# Names that are beginnings of each other, and keys full of the bytes that layouts stumble over.
NAMES = st.sampled_from([("m", "c"), ("m", "cc"), ("mm", "c"), ("m", "\x01c")])
KEYS = st.lists(st.sampled_from([0, 1, 0xFE, 0xFF, 97]), max_size=3).map(bytes)
VALUES = st.none() | st.binary(min_size=1, max_size=3)
BLOCKS = st.builds(
    lambda state, indexes, nodes: Changes(
        {(*names, key): value for names, key, value in state},
        {(*names, index, key): value for names, index, key, value in indexes if key},
        dict(nodes),
    ),
    st.lists(st.tuples(NAMES, KEYS, VALUES), max_size=6),
    st.lists(st.tuples(NAMES, st.sampled_from(["i", "ii"]), KEYS, VALUES), max_size=8),
    st.lists(st.tuples(st.lists(st.integers(0, 15), max_size=3).map(bytes), VALUES), max_size=5),
)


class Model:
    """What the state is at one height."""

    def __init__(self) -> None:
        self.state: dict[tuple[str, str, bytes], bytes] = {}
        self.indexes: dict[tuple[str, str, str, bytes], bytes] = {}
        self.nodes: dict[bytes, bytes] = {}

    def after(self, changes: Changes) -> Model:
        model = deepcopy(self)
        for table, changed in (
            (model.state, changes.state),
            (model.indexes, changes.indexes),
            (model.nodes, changes.nodes),
        ):
            for key, value in changed.items():
                table.pop(key, None)  # type: ignore[call-overload]
                if value is not None:
                    table[key] = value  # type: ignore[index]
        return model

    def index_scan(
        self, module: str, collection: str, index: str, prefix: bytes, after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        found = sorted(
            (key, value)
            for (*names, key), value in self.indexes.items()
            if names == [module, collection, index] and key.startswith(prefix) and key > after
        )
        return found[:limit]


def write(store: MemoryStore, state: StateStore, height: int, changes: Changes, time_ms: int = 0) -> None:
    store.write(state.puts_for(height, changes, time_ms))
    state.committed(height)


def image_heights(store: MemoryStore) -> set[int]:
    kinds = (schema.STATE_IMAGE, schema.INDEX_IMAGE, schema.NODE_IMAGE, schema.IMAGE_LIST)
    return {int.from_bytes(key[-8:], "big") for kind in kinds for key, _ in store.iterate(prefix=kind)}


@settings(max_examples=150)
@given(
    blocks=st.lists(BLOCKS, min_size=1, max_size=9),
    history=st.sampled_from([0, 1, 3, 100]),
    cache_bytes=st.sampled_from([0, 2_000, 1_000_000]),
    scans=st.lists(st.tuples(NAMES, st.sampled_from(["i", "ii"]), KEYS, KEYS, st.integers(0, 4)), max_size=4),
    seed=st.integers(0, 1000),
)
def test_every_kept_height_reads_as_it_was_then(
    blocks: list[Changes],
    history: int,
    cache_bytes: int,
    scans: Sequence[tuple[tuple[str, str], str, bytes, bytes, int]],
    seed: int,
) -> None:
    store, source = MemoryStore(), random.Random(seed)
    state = StateStore(store, history=history, cache_bytes=cache_bytes)
    models: list[Model] = []
    for height, changes in enumerate(blocks):
        models.append((models[-1] if models else Model()).after(changes))
        write(store, state, height, changes)
        if source.random() < 0.2:
            state = StateStore(store, history=history, cache_bytes=cache_bytes)
        oldest = max(0, height - history)
        for wanted in range(oldest, height + 1):
            with state.at(wanted) as view:
                check(view, models, wanted, scans)
        check(state, models, height, scans)
        for wanted in (oldest - 1, height + 1):
            with pytest.raises(HistoryPruned) as refused:
                state.at(wanted)
            assert (refused.value.oldest, refused.value.newest) == (oldest, height)
        assert all(oldest < at <= height for at in image_heights(store))


def check(
    reader: object,
    models: list[Model],
    height: int,
    scans: Sequence[tuple[tuple[str, str], str, bytes, bytes, int]],
) -> None:
    """Compare everything that ever existed in any model, and the scans, with the model of ``height``."""
    model = models[height]
    for key in {key for each in models for key in each.state}:
        assert reader.get(*key) == model.state.get(key)  # type: ignore[attr-defined]
    for path in {path for each in models for path in each.nodes} | {b""}:
        assert reader.tree_node(path) == model.nodes.get(path)  # type: ignore[attr-defined]
    for names, index, prefix, after, limit in scans:
        arguments = (*names, index, prefix, after, limit)
        assert reader.index_scan(*arguments) == model.index_scan(*arguments)  # type: ignore[attr-defined]
    for names in (("m", "c"), ("mm", "c")):
        assert reader.index_scan(*names, "i", b"", b"", 100) == model.index_scan(*names, "i", b"", b"", 100)  # type: ignore[attr-defined]


def test_an_index_entry_that_comes_and_goes_is_listed_once_and_as_it_was() -> None:
    store = MemoryStore()
    state = StateStore(store)
    names = ("m", "c", "i")
    for height in range(12):
        flips = b"%d" % height if height % 2 else None
        write(store, state, height, Changes(indexes={(*names, b"a"): flips, (*names, b"b"): b"%d" % height}))
    for height in range(12):
        flipping = [(b"a", b"%d" % height)] if height % 2 else []
        with state.at(height) as view:
            assert view.index_scan(*names, b"", b"", 100) == [*flipping, (b"b", b"%d" % height)]


def test_a_view_stays_as_it_is_while_blocks_are_written_and_history_is_pruned() -> None:
    store = MemoryStore()
    state = StateStore(store, history=2)
    for height in range(4):
        write(store, state, height, Changes({("m", "c", b"k"): b"%d" % height}))
    old, latest = state.at(1), state.latest()
    for height in range(4, 12):
        write(store, state, height, Changes({("m", "c", b"k"): b"%d" % height}))
    assert (old.get("m", "c", b"k"), latest.get("m", "c", b"k"), latest.height) == (b"1", b"3", 3)
    assert state.get("m", "c", b"k") == b"11"


def test_a_shortened_history_is_caught_up_with_a_little_in_each_block() -> None:
    store = MemoryStore()
    state = StateStore(store, history=100)
    for height in range(21):
        write(store, state, height, Changes({("m", "c", b"%d" % height): b"v"}))
    state = StateStore(store, history=5)
    kept = []
    for height in range(21, 45):
        write(store, state, height, Changes({("m", "c", b"k"): b"%d" % height}))
        kept.append(min(image_heights(store)))
    assert kept == sorted(kept)
    assert max(later - earlier for earlier, later in itertools.pairwise(kept)) <= 2
    assert kept[-1] == 44 - 5 + 1


def test_a_lengthened_history_promises_only_what_is_there() -> None:
    store = MemoryStore()
    state = StateStore(store, history=1)
    for height in range(6):
        write(store, state, height, Changes({("m", "c", b"k"): b"%d" % height}))
    state = StateStore(store, history=100)
    for height in range(6, 10):
        write(store, state, height, Changes({("m", "c", b"k"): b"%d" % height}))
    with pytest.raises(HistoryPruned):
        state.at(3)
    with state.at(4) as view:
        assert view.get("m", "c", b"k") == b"4"


def test_what_does_not_change_leaves_no_trace() -> None:
    store = MemoryStore()
    state = StateStore(store)
    changes = Changes({("m", "c", b"k"): b"v", ("m", "c", b"none"): None}, {("m", "c", "i", b"k"): b"v"}, {b"": b"r"})
    write(store, state, 0, changes)
    before = len(list(store.iterate()))
    write(store, state, 1, changes)
    assert len(list(store.iterate())) == before
    assert image_heights(store) == set()


def test_heights_follow_each_other_and_values_are_not_empty() -> None:
    store = MemoryStore()
    state = StateStore(store)
    write(store, state, 7, Changes())  # the height of a snapshot
    for wrong in (7, 9):
        with pytest.raises(ValueError, match="does not follow"):
            state.puts_for(wrong, Changes(), 0)
    with pytest.raises(ValueError, match="empty"):
        state.puts_for(8, Changes(nodes={b"": b""}), 0)
    with pytest.raises(ValueError, match="no entries"):
        state.committed(8)


def test_entities_of_a_collection_come_in_order_of_keys() -> None:
    store = MemoryStore()
    state = StateStore(store)
    entities = {("m", "c", key): b"v" + key for key in (b"b", b"", b"a\x00", b"a", b"\xff")}
    write(store, state, 0, Changes({**entities, ("m", "cc", b"x"): b"other", ("mm", "c", b"x"): b"other"}))
    assert list(state.entities("m", "c")) == sorted((key, value) for (*_, key), value in entities.items())


KEY, NONCE = bytes(32), bytes(16)


def test_a_nonce_is_known_until_block_time_reaches_its_end() -> None:
    store = MemoryStore()
    state = StateStore(store)
    write(store, state, 0, Changes(nonces=[(KEY, NONCE, 100)]), time_ms=10)
    assert state.nonce_used(KEY, NONCE) == 100
    assert state.nonce_used(KEY, NONCE[:-1] + b"\x01") is None
    assert state.nonce_used(KEY[:-1] + b"\x01", NONCE) is None
    write(store, state, 1, Changes(), time_ms=99)
    assert state.nonce_used(KEY, NONCE) == 100
    write(store, state, 2, Changes(), time_ms=100)
    assert state.nonce_used(KEY, NONCE) is None
    assert not list(store.iterate(prefix=schema.NONCE)) and not list(store.iterate(prefix=schema.NONCE_EXPIRY))


def test_a_flood_of_expiring_nonces_is_removed_over_several_blocks_but_not_known_any_more_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dawan_node.storage.state_store._EXPIRED_NONCES_PER_COMMIT", 10)
    store = MemoryStore()
    state = StateStore(store)
    nonces = [bytes(15) + bytes((number,)) for number in range(25)]
    write(store, state, 0, Changes(nonces=[(KEY, nonce, 100 + nonce[-1]) for nonce in nonces]), time_ms=10)
    left = []
    for height in range(1, 4):
        write(store, state, height, Changes(), time_ms=1_000 + height)
        left.append(len(list(store.iterate(prefix=schema.NONCE))))
        assert all(state.nonce_used(KEY, nonce) is None for nonce in nonces)
    assert left == [15, 5, 0]


def test_a_nonce_used_anew_after_it_expired_outlives_the_removal_of_its_first_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dawan_node.storage.state_store._EXPIRED_NONCES_PER_COMMIT", 1)
    store = MemoryStore()
    state = StateStore(store)
    other = bytes(15) + b"\x01"
    write(store, state, 0, Changes(nonces=[(KEY, other, 50), (KEY, NONCE, 60)]), time_ms=10)
    write(store, state, 1, Changes(nonces=[(KEY, NONCE, 500)]), time_ms=100)
    for height in range(2, 6):
        write(store, state, height, Changes(), time_ms=100 + height)
        assert state.nonce_used(KEY, NONCE) == 500
    assert len(list(store.iterate(prefix=schema.NONCE_EXPIRY))) == 1


@settings(max_examples=150)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=4)),
        max_size=20,
    )
)
def test_nonces_are_a_dictionary_that_forgets_by_block_time(steps: list[tuple[int, list[tuple[int, int]]]]) -> None:
    store = MemoryStore()
    state = StateStore(store)
    model: dict[int, int] = {}
    time_ms = 0
    for height, (elapsed, uses) in enumerate(steps):
        time_ms += elapsed
        # As consensus allows it: only nonces that are free, each once, ending after block time.
        fresh = {nonce: time_ms + lifetime for nonce, lifetime in uses if nonce not in model}
        write(
            store, state, height, Changes(nonces=[(KEY, bytes(15) + bytes((n,)), t) for n, t in fresh.items()]), time_ms
        )
        model = {nonce: end for nonce, end in (model | fresh).items() if end > time_ms}
        assert {n: state.nonce_used(KEY, bytes(15) + bytes((n,))) for n in range(4)} == {
            nonce: model.get(nonce) for nonce in range(4)
        }


def test_nonces_have_no_history() -> None:
    store = MemoryStore()
    state = StateStore(store)
    write(store, state, 0, Changes(nonces=[(KEY, NONCE, 100)]), 0)
    write(store, state, 1, Changes(), 1)
    with state.latest() as view:
        assert view.nonce_used(KEY, NONCE) == 100
    with state.at(0) as view, pytest.raises(HistoryPruned):
        view.nonce_used(KEY, NONCE)


def test_an_empty_database_has_no_state_to_view() -> None:
    state = StateStore(MemoryStore())
    assert state.head is None
    with pytest.raises(StorageError, match="no state"):
        state.latest()


def test_a_value_read_while_its_block_is_written_is_not_remembered_as_current() -> None:
    class SlowStore(MemoryStore):
        """Lets a commit happen between reading a value and handing it out."""

        meanwhile = None

        def get(self, key: bytes) -> bytes | None:
            value = super().get(key)
            if self.meanwhile is not None and key.startswith(schema.STATE):
                happen, self.meanwhile = self.meanwhile, None
                happen()
            return value

    store = SlowStore()
    state = StateStore(store)
    write(store, state, 0, Changes({("m", "c", b"k"): b"old"}))
    state = StateStore(store)
    store.meanwhile = lambda: write(store, state, 1, Changes({("m", "c", b"k"): b"new"}))  # type: ignore[assignment]
    assert state.get("m", "c", b"k") == b"old"
    assert state.get("m", "c", b"k") == b"new"


def test_a_value_found_in_the_old_generation_while_its_block_is_written_does_not_come_back() -> None:
    store = MemoryStore()
    state = StateStore(store)
    write(store, state, 0, Changes({("m", "c", b"k"): b"old"}))
    state.get("m", "c", b"k")
    cache = state._cache

    class Old(dict[bytes, bytes | None]):
        def get(self, key: bytes, default: object = None) -> object:  # type: ignore[override]
            value = super().get(key, default)  # type: ignore[arg-type]
            if height := heights.pop() if heights else None:
                write(store, state, height, Changes({("m", "c", b"k"): b"new"}))
            return value

    heights = [1]
    cache._old, cache._young = Old(cache._young), {}
    assert state.get("m", "c", b"k") == b"old"
    assert state.get("m", "c", b"k") == b"new"
    assert StateStore(store).get("m", "c", b"k") == b"new"


def test_between_making_and_committing_entries_the_database_is_what_counts() -> None:
    store = MemoryStore()
    state = StateStore(store)
    write(store, state, 0, Changes({("m", "c", b"k"): b"old"}))
    assert state.get("m", "c", b"k") == b"old"
    puts = state.puts_for(1, Changes({("m", "c", b"k"): b"new"}), 0)
    assert state.get("m", "c", b"k") == b"old"
    store.write(puts)
    assert state.get("m", "c", b"k") == b"new"
    state.committed(1)
    assert state.get("m", "c", b"k") == b"new"


def test_uses_leave_when_they_expire_in_whatever_order_they_were_written() -> None:
    """Looking for expired ones begins where the last look ended, and a use may be written below that."""
    for seed in range(20):
        source = random.Random(seed)
        store = MemoryStore()
        state = StateStore(store, history=3)
        live: dict[bytes, int] = {}
        now_ms = 1_000
        for height in range(30):
            now_ms += source.choice([1, 10, 200])
            live = {nonce: until for nonce, until in live.items() if until > now_ms}
            uses = [(bytes(15) + bytes([height]), now_ms + source.randrange(-50, 300)) for _ in range(2)][:1]
            live.update(uses)
            changes = Changes(nonces=[(b"k" * 32, nonce, until) for nonce, until in uses])
            store.write(state.puts_for(height, changes, now_ms))
            state.committed(height)
            kept = [key for key, _ in store.iterate(prefix=schema.NONCE_EXPIRY)]
            assert len(kept) == len(live) == len(list(store.iterate(prefix=schema.NONCE)))
