"""What the stores need of a database: ordered bytes, atomic batches, snapshots.

``KeyValueStore`` is the seam between the ledger and LevelDB. ``MemoryStore`` is the same thing without a disk, for
tests, simulations and tools; one conformance suite runs over both.

Keys are ordered bytewise. A value of ``None`` in a batch deletes the key; later entries of a batch win.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter
from typing import Protocol, TypeVar

from dawan_node.errors import StorageError

Put = tuple[bytes, bytes | None]

_Value = TypeVar("_Value")


class KeyValueReader(Protocol):
    """Read access. Every method raises ``StorageError`` when the store is closed, failed or damaged."""

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key`` or None."""
        ...

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs in key order, as of the moment of the call.

        Either all keys that begin with ``prefix``, or those from ``start`` (inclusive) to ``stop`` (exclusive);
        giving both narrows to the keys that satisfy both. ``reverse`` walks the same keys backwards.
        """
        ...


class KeyValueSnapshot(KeyValueReader, Protocol):
    """The store as it was at one moment, however long it is read."""

    def close(self) -> None:
        """Let the store forget what only this snapshot still needs."""
        ...


class KeyValueStore(KeyValueReader, Protocol):
    """A whole store. One writer at a time; readers may run in other threads."""

    def write(self, batch: Iterable[Put], *, sync: bool = True) -> None:
        """Apply all of ``batch`` or none of it. With ``sync`` it is durable when the call returns.

        A failed write is *indeterminate*: it may be there after a reopen. The store refuses every further call.
        """
        ...

    def snapshot(self) -> KeyValueSnapshot:
        """A consistent view of the present."""
        ...

    def close(self) -> None:
        """Release everything; calling it again does nothing. No other thread may be inside a call."""
        ...


def range_of(prefix: bytes, start: bytes | None, stop: bytes | None) -> tuple[bytes, bytes | None]:
    """The single half-open key range that ``iterate`` means; a stop of None is the end of the store."""
    low = prefix if start is None else max(start, prefix)
    high = next_prefix(prefix)
    if stop is not None:
        high = stop if high is None else min(stop, high)
    return low, high


def next_prefix(prefix: bytes) -> bytes | None:
    """The smallest key above every key that begins with ``prefix``; None when there is none (all 0xff, empty)."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


class _Contents:
    """A dictionary and its keys in order, shared by a store and its snapshots until the next write copies it."""

    __slots__ = ("_keys", "values")

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self._keys: list[bytes] | None = None

    def iterate(self, low: bytes, high: bytes | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        # Sorted only when somebody asks: most writes of a busy test are never iterated over.
        if self._keys is None:
            self._keys = sorted(self.values)
        keys, values = self._keys, self.values
        first = bisect_left(keys, low)
        last = len(keys) if high is None else bisect_left(keys, high)
        positions = range(last - 1, first - 1, -1) if reverse else range(first, last)
        return ((keys[position], values[keys[position]]) for position in positions)


class MemoryStore:
    """A ``KeyValueStore`` in memory."""

    def __init__(self) -> None:
        self._contents = _Contents({})
        self._shared = False
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        self._check_open()
        return self._contents.values.get(key)

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check_open()
        self._shared = True
        return self._contents.iterate(*range_of(prefix, start, stop), reverse)

    def write(self, batch: Iterable[Put], *, sync: bool = True) -> None:
        self._check_open()
        entries = list(batch)  # before anything changes: a batch that breaks half way must change nothing
        values = dict(self._contents.values) if self._shared else self._contents.values
        for key, value in entries:
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        self._contents = _Contents(values)
        self._shared = False

    def snapshot(self) -> MemorySnapshot:
        self._check_open()
        self._shared = True
        return MemorySnapshot(self._contents)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the store is closed")


class StagedWrites:
    """Batches that shall become one: reads see them laid over a store, which does not have them yet.

    So a group of blocks is worked out one after the other, each on what the one before leaves, and written as one batch
    that is there as a whole or not at all. A ``KeyValueReader`` for one thread.
    """

    def __init__(self, store: KeyValueReader) -> None:
        self._store = store
        # By first byte, the kind of record: what is iterated over is of one kind, and few of the changes are.
        self._kinds: dict[bytes, dict[bytes, bytes | None]] = {}

    def stage(self, batch: Iterable[Put]) -> None:
        """Lay ``batch`` over what is there."""
        for key, value in batch:
            self._kinds.setdefault(key[:1], {})[key] = value

    @property
    def is_empty(self) -> bool:
        """Whether nothing was staged."""
        return not self._kinds

    def puts(self) -> list[Put]:
        """Everything staged, as one batch."""
        return [put for kind in self._kinds.values() for put in kind.items()]

    def changed(self, key: bytes, otherwise: bytes | _Value | None) -> bytes | _Value | None:
        """What was staged for ``key``, or ``otherwise``."""
        return self._kinds.get(key[:1], {}).get(key, otherwise)

    def get(self, key: bytes) -> bytes | None:
        kind = self._kinds.get(key[:1])
        return self._store.get(key) if kind is None or key not in kind else kind[key]

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        low, high = range_of(prefix, start, stop)
        kinds = [self._kinds.get(prefix[:1], {})] if prefix else list(self._kinds.values())
        inside = [put for kind in kinds for put in kind.items() if low <= put[0] and (high is None or put[0] < high)]
        below = self._store.iterate(prefix=prefix, start=start, stop=stop, reverse=reverse)
        return _newest(merge(sorted(inside, reverse=reverse), below, key=itemgetter(0), reverse=reverse))


def _newest(entries: Iterator[Put]) -> Iterator[tuple[bytes, bytes]]:
    """The first entry of each key, where that is not a removal."""
    last: bytes | None = None
    for key, value in entries:
        if key != last and value is not None:
            yield key, value
        last = key


class MemorySnapshot:
    """A ``KeyValueSnapshot`` of a ``MemoryStore``."""

    def __init__(self, contents: _Contents) -> None:
        self._contents: _Contents | None = contents

    def get(self, key: bytes) -> bytes | None:
        return self._opened().values.get(key)

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._opened().iterate(*range_of(prefix, start, stop), reverse)

    def close(self) -> None:
        self._contents = None

    def _opened(self) -> _Contents:
        if self._contents is None:
            raise StorageError("the snapshot is closed")
        return self._contents
