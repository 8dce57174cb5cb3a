"""A database of an earlier version is brought up, one of a later or unknown version is left as it is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from dawan_node.errors import DataRefusal, DataRefused, StorageError
from dawan_node.storage import schema
from dawan_node.storage.kv import KeyValueStore, MemoryStore, Put
from dawan_node.storage.migration import migrate


def database(version: int, *entries: Put) -> MemoryStore:
    store = MemoryStore()
    store.write([schema.schema_put(version), *entries])
    return store


def content(store: MemoryStore) -> dict[bytes, bytes]:
    return dict(store.iterate())


class PowerCut(Exception):
    pass


class Renaming:
    """A step that moves the keys below ``old`` to ``new``, one batch each; ``stops_after`` loses power in between."""

    def __init__(self, old: bytes, new: bytes, stops_after: int = 1_000) -> None:
        self.old, self.new, self.left = old, new, stops_after

    def __call__(self, store: KeyValueStore) -> Iterable[list[Put]]:
        for key, value in list(store.iterate(prefix=self.old)):
            if not self.left:
                raise PowerCut
            self.left -= 1
            yield [(key, None), (self.new + key[len(self.old) :], value)]


def test_two_steps_lead_from_the_version_before_last_to_this_one() -> None:
    store = database(1, (b"a1", b"x"), (b"a2", b"y"), (b"z", b"other"))
    assert migrate(store, {1: Renaming(b"a", b"b"), 2: Renaming(b"b", b"c")}, 3) == 1
    assert content(store) == {b"c1": b"x", b"c2": b"y", b"z": b"other", schema.SCHEMA_KEY: (3).to_bytes(4, "big")}


def test_a_step_that_was_interrupted_runs_again_and_ends_in_the_same() -> None:
    for stops_after in range(3):
        store = database(1, *((b"a%d" % n, b"v%d" % n) for n in range(3)))
        with pytest.raises(PowerCut):
            migrate(store, {1: Renaming(b"a", b"b", stops_after)}, 2)
        assert schema.schema_version(store) == 1, "raised only when all of it is done"
        migrate(store, {1: Renaming(b"a", b"b")}, 2)
        assert {key: value for key, value in content(store).items() if key != schema.SCHEMA_KEY} == {
            b"b%d" % n: b"v%d" % n for n in range(3)
        }
        assert schema.schema_version(store) == 2


@pytest.mark.parametrize(
    ("version", "reason"), [(4, DataRefusal.NEWER), (0, DataRefusal.OLDER), (1, DataRefusal.OLDER)]
)
def test_a_version_without_a_way_is_refused_and_not_written_to(version: int, reason: DataRefusal) -> None:
    store = database(version, (b"b1", b"x"))
    before = content(store)
    with pytest.raises(DataRefused) as refusal:
        migrate(store, {2: Renaming(b"b", b"c")}, 3)
    assert refusal.value.reason is reason and content(store) == before


def test_a_database_without_a_version_is_damaged() -> None:
    with pytest.raises(StorageError, match="no schema version"):
        migrate(MemoryStore())
