"""What the stores need of a database: ordered bytes, atomic batches, snapshots.

``KeyValueStore`` is the seam between the ledger and LevelDB. ``MemoryStore`` is the same thing without a disk, for
tests, simulations and tools; one conformance suite runs over both.

Keys are ordered bytewise. A value of ``None`` in a batch deletes the key; later entries of a batch win.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Protocol

from dawan_node.errors import StorageError

Put = tuple[bytes, bytes | None]


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
