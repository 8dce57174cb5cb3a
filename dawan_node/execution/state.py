"""State in layers: a transaction's writes, over its block's, over those of undecided blocks, over the store.

A layer answers a read itself or passes it on to the one below. Blocks run before they are decided (design section 5),
each on the ``Overlay`` of its parent's changes; a transaction that fails is a layer thrown away. Nothing here knows
where the lowest layer keeps its data: ``StateReader`` is all that execution needs of a store.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

StateKey = tuple[str, str, bytes]  # module, collection, primary key
IndexName = tuple[str, str, str]  # module, collection, index
IndexKey = tuple[str, str, str, bytes]  # module, collection, index, index key
NonceUse = tuple[bytes, bytes, int]  # public key, nonce, valid_until_ms

# A page of an index read from a lower layer while merging; scans ask for a few to a few hundred entries.
_PAGE: Final = 64

# Fewer new keys than one in so many are put into a sorted list one by one; sorting compares all of it once.
_INSERTED_ONE_OF: Final = 16


class StateReader(Protocol):
    """A state as of one block. Every answer is a function of the block alone, never of what was decided since."""

    def get(self, module: str, collection: str, key: bytes) -> bytes | None:
        """The stored value ``enc([schema_version, field, ...])``."""
        ...

    def index_scan(
        self, module: str, collection: str, index: str, prefix: bytes, after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """At most ``limit`` (index key, primary key) pairs in key order, keys starting with ``prefix`` and strictly
        greater than ``after``; fewer than ``limit`` only at the end."""
        ...

    def tree_node(self, path: bytes) -> bytes | None:
        """A node of the state tree; ``path`` has one byte per nibble, the root is ``b""``."""
        ...

    def nonce_used(self, public_key: bytes, nonce: bytes) -> int | None:
        """The ``valid_until_ms`` of the transaction that used this nonce, while it is still kept."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """What a block changes, for the store and for the overlay of the next block. None deletes."""

    state: Mapping[StateKey, bytes | None] = field(default_factory=dict)
    indexes: Mapping[IndexKey, bytes | None] = field(default_factory=dict)
    nodes: Mapping[bytes, bytes | None] = field(default_factory=dict)
    nonces: list[NonceUse] = field(default_factory=list)
    #: For nodes in which little changed, by path: the patch that leads back to the node before the block.
    patches: Mapping[bytes, bytes] = field(default_factory=dict)


class SortedIndex:
    """One index's changes in key order: index key -> primary key, None for a removed entry."""

    __slots__ = ("_entries", "_keys", "_unsorted")

    def __init__(self, entries: Mapping[bytes, bytes | None] = MappingProxyType({})) -> None:
        self._entries: dict[bytes, bytes | None] = dict(entries)
        # Put in order when a range is asked for: most blocks write many entries and scan none.
        self._keys: list[bytes] = []
        self._unsorted: list[bytes] = list(self._entries)

    def put(self, key: bytes, primary_key: bytes | None) -> None:
        """Set or, with None, remove an entry."""
        if key not in self._entries:
            self._unsorted.append(key)
        self._entries[key] = primary_key

    def update(self, newer: Mapping[bytes, bytes | None]) -> None:
        """Apply a newer layer's entries."""
        entries = self._entries
        self._unsorted += [key for key in newer if key not in entries]
        entries.update(newer)

    def items(self) -> Iterator[tuple[bytes, bytes | None]]:
        """All entries, unordered."""
        return iter(self._entries.items())

    def range(self, prefix: bytes, after: bytes) -> list[tuple[bytes, bytes | None]]:
        """Entries with ``prefix`` and strictly greater than ``after``, in order, removals included."""
        keys = self._in_order()
        start = bisect_right(keys, after) if after >= prefix else bisect_left(keys, prefix)
        found = []
        for position in range(start, len(keys)):
            key = keys[position]
            if not key.startswith(prefix):
                break
            found.append((key, self._entries[key]))
        return found

    def _in_order(self) -> list[bytes]:
        keys, unsorted = self._keys, self._unsorted
        if len(unsorted) * _INSERTED_ONE_OF > len(keys):
            keys += unsorted
            keys.sort()
        else:
            for key in unsorted:
                insort(keys, key)
        unsorted.clear()
        return keys


def merged_scan(
    own: SortedIndex,
    below: Callable[[bytes, bytes, int], list[tuple[bytes, bytes]]],
    prefix: bytes,
    after: bytes,
    limit: int,
) -> list[tuple[bytes, bytes]]:
    """A scan of ``own`` laid over ``below(prefix, after, limit)``."""
    mine = own.range(prefix, after)
    if not mine:
        return below(prefix, after, limit)
    merged: list[tuple[bytes, bytes]] = []
    # As many more as are removed here are read at once, rather than in another page.
    removed = sum(1 for _, primary_key in mine if primary_key is None)
    lower = _entries_below(below, prefix, after, min(limit + removed, _PAGE))
    entry = next(lower, None)
    for key, primary_key in mine:
        while entry is not None and entry[0] < key and len(merged) < limit:
            merged.append(entry)
            entry = next(lower, None)
        if len(merged) == limit:
            return merged
        if entry is not None and entry[0] == key:
            entry = next(lower, None)
        if primary_key is not None:
            merged.append((key, primary_key))
    while entry is not None and len(merged) < limit:
        merged.append(entry)
        entry = next(lower, None)
    return merged


def _entries_below(
    below: Callable[[bytes, bytes, int], list[tuple[bytes, bytes]]], prefix: bytes, after: bytes, page: int
) -> Iterator[tuple[bytes, bytes]]:
    while True:
        entries = below(prefix, after, page)
        yield from entries
        if len(entries) < page:
            return
        after = entries[-1][0]


class Overlay:
    """The state after a block, before it is decided: its changes over its parent's state. Implements StateReader."""

    __slots__ = ("_changes", "_indexes", "_nonces", "_parent")

    def __init__(self, parent: StateReader, changes: Changes) -> None:
        self._parent: Final = parent
        self._changes: Final = changes
        self._nonces: Final = {(public_key, nonce): until for public_key, nonce, until in changes.nonces}
        self._indexes: dict[IndexName, SortedIndex] | None = None

    def get(self, module: str, collection: str, key: bytes) -> bytes | None:
        """See StateReader."""
        state_key = (module, collection, key)
        if state_key in self._changes.state:
            return self._changes.state[state_key]
        return self._parent.get(module, collection, key)

    def index_scan(
        self, module: str, collection: str, index: str, prefix: bytes, after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """See StateReader."""
        if self._indexes is None:
            self._indexes = _by_index(self._changes.indexes)
        parent = self._parent
        own = self._indexes.get((module, collection, index))
        if own is None:
            return parent.index_scan(module, collection, index, prefix, after, limit)
        return merged_scan(
            own, lambda p, a, n: parent.index_scan(module, collection, index, p, a, n), prefix, after, limit
        )

    def tree_node(self, path: bytes) -> bytes | None:
        """See StateReader."""
        if path in self._changes.nodes:
            return self._changes.nodes[path]
        return self._parent.tree_node(path)

    def nonce_used(self, public_key: bytes, nonce: bytes) -> int | None:
        """See StateReader."""
        until = self._nonces.get((public_key, nonce))
        return self._parent.nonce_used(public_key, nonce) if until is None else until


class GrowingOverlay(Overlay):
    """The state after a row of blocks, as one layer that takes in one block after the other.

    A long branch read block by block would be asked for every key in every block. Whoever reads this means the state
    after the last block taken in: what rests on an earlier one needs an overlay of its own.
    """

    __slots__ = ("_entries", "_nodes", "_state")

    def __init__(self, parent: StateReader) -> None:
        self._state: Final[dict[StateKey, bytes | None]] = {}
        self._entries: Final[dict[IndexKey, bytes | None]] = {}
        self._nodes: Final[dict[bytes, bytes | None]] = {}
        super().__init__(parent, Changes(self._state, self._entries, self._nodes))

    def take(self, changes: Changes) -> None:
        """Become the state after the next block."""
        self._state.update(changes.state)
        self._entries.update(changes.indexes)
        self._nodes.update(changes.nodes)
        self._nonces.update({(public_key, nonce): until for public_key, nonce, until in changes.nonces})
        if self._indexes is not None:
            for (module, collection, index, key), primary_key in changes.indexes.items():
                self._indexes.setdefault((module, collection, index), SortedIndex()).put(key, primary_key)


def _by_index(changes: Mapping[IndexKey, bytes | None]) -> dict[IndexName, SortedIndex]:
    entries: dict[IndexName, dict[bytes, bytes | None]] = {}
    for (module, collection, index, key), primary_key in changes.items():
        entries.setdefault((module, collection, index), {})[key] = primary_key
    return {name: SortedIndex(changed) for name, changed in entries.items()}
