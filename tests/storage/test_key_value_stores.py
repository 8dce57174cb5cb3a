"""One suite for every ``KeyValueStore``: the memory store must behave like LevelDB, or tests with it prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dawan_node.errors import StorageError
from dawan_node.storage.kv import KeyValueStore, MemoryStore, next_prefix
from dawan_node.storage.leveldb import LevelDBStore

MAKERS: dict[str, Callable[[Path], KeyValueStore]] = {
    "memory": lambda path: MemoryStore(),
    "leveldb": lambda path: LevelDBStore.open(path / "channel" / "db", create=True),
}


@pytest.fixture(params=list(MAKERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    made = MAKERS[request.param](tmp_path)
    yield made
    made.close()


def test_what_was_written_is_read_and_what_was_deleted_is_gone(store: KeyValueStore) -> None:
    store.write([(b"a", b"1"), (b"b", b""), (b"c", b"3")])
    store.write([(b"a", b"2"), (b"c", None), (b"never there", None)])
    assert [store.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"2", b"", None, None]


def test_the_last_word_on_a_key_in_a_batch_counts(store: KeyValueStore) -> None:
    store.write([(b"a", b"1"), (b"a", None), (b"b", None), (b"b", b"2")])
    assert list(store.iterate()) == [(b"b", b"2")]


def test_pairs_come_in_order_of_bytes_from_start_to_before_stop(store: KeyValueStore) -> None:
    keys = [b"", b"\x00", b"a", b"a\x00", b"a\xff", b"b", b"\xff", b"\xff\xff"]
    store.write([(key, b"v" + key) for key in reversed(keys)])
    assert [key for key, _ in store.iterate()] == keys
    assert [key for key, _ in store.iterate(prefix=b"a")] == [b"a", b"a\x00", b"a\xff"]
    assert [key for key, _ in store.iterate(prefix=b"\xff")] == [b"\xff", b"\xff\xff"]
    assert [key for key, _ in store.iterate(start=b"a\x00", stop=b"b")] == [b"a\x00", b"a\xff"]
    assert [key for key, _ in store.iterate(prefix=b"a", start=b"a\x00")] == [b"a\x00", b"a\xff"]
    assert [key for key, _ in store.iterate(prefix=b"a", stop=b"a\xff", reverse=True)] == [b"a\x00", b"a"]
    assert list(store.iterate(start=b"b", stop=b"a")) == []
    assert next(store.iterate(reverse=True)) == (b"\xff\xff", b"v\xff\xff")


def test_an_iteration_and_a_snapshot_do_not_see_later_writes(store: KeyValueStore) -> None:
    store.write([(b"a", b"1"), (b"b", b"1")])
    iteration, snapshot = store.iterate(), store.snapshot()
    store.write([(b"a", b"2"), (b"b", None), (b"c", b"2")])
    assert list(iteration) == [(b"a", b"1"), (b"b", b"1")]
    assert list(snapshot.iterate(prefix=b"")) == [(b"a", b"1"), (b"b", b"1")]
    assert (snapshot.get(b"a"), snapshot.get(b"c")) == (b"1", None)
    assert list(store.iterate()) == [(b"a", b"2"), (b"c", b"2")]
    snapshot.close()


def test_a_batch_that_breaks_half_way_changes_nothing(store: KeyValueStore) -> None:
    def broken() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"1"
        raise KeyError("the maker of the batch failed")

    with pytest.raises(KeyError):
        store.write(broken())
    assert store.get(b"a") is None


def test_a_closed_store_answers_nothing(store: KeyValueStore) -> None:
    store.write([(b"a", b"1"), (b"b", b"1")])
    store.close()
    store.close()
    with pytest.raises(StorageError):
        store.get(b"a")
    with pytest.raises(StorageError):
        store.write([(b"a", b"2")])
    with pytest.raises(StorageError):
        store.snapshot()
    with pytest.raises(StorageError):
        list(store.iterate())


def test_a_closed_snapshot_answers_nothing(store: KeyValueStore) -> None:
    snapshot = store.snapshot()
    snapshot.close()
    with pytest.raises(StorageError):
        snapshot.get(b"a")


KEYS = st.binary(max_size=3).map(lambda key: key.translate(bytes.maketrans(b"bcde", b"\x00\xffaa")))
BATCHES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=4)), max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCHES, max_size=6), prefix=KEYS, low=st.none() | KEYS, high=st.none() | KEYS)
@example(batches=[[(b"\x00", b"")]], prefix=b"\x00", low=None, high=None)
def test_both_stores_are_the_same_sorted_dictionary(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[bytes, bytes | None]]],
    prefix: bytes,
    low: bytes | None,
    high: bytes | None,
) -> None:
    model: dict[bytes, bytes] = {}
    stores = [make(tmp_path_factory.mktemp("store")) for make in MAKERS.values()]
    for batch in batches:
        for store in stores:
            store.write(batch, sync=False)
        for key, value in batch:
            model.pop(key, None)
            if value is not None:
                model[key] = value
    expected = sorted(
        (key, value)
        for key, value in model.items()
        if key.startswith(prefix) and (low is None or key >= low) and (high is None or key < high)
    )
    for store in stores:
        assert list(store.iterate(prefix=prefix, start=low, stop=high)) == expected
        assert list(store.iterate(prefix=prefix, start=low, stop=high, reverse=True)) == expected[::-1]
        assert all(store.get(key) == value for key, value in model.items())
        store.close()


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_a_prefix_ends_where_the_next_one_begins(prefix: bytes, key: bytes) -> None:
    end = next_prefix(prefix)
    assert key.startswith(prefix) == (key >= prefix and (end is None or key < end))
