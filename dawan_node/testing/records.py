"""The records of a channel in memory, each decoded once, and the pages of indexes that somebody asked for.

Whoever looks at the same state again and again, as invariants and random walks do, finds here what it found before,
unless a block changed it: ``take`` says what that was.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from dawan_node.execution.entity import Entity, EntitySpec
from dawan_node.execution.state import Changes, IndexName, StateKey
from dawan_node.testing.memory_state import MemoryState

E = TypeVar("E", bound=Entity)

#: Index, prefix, where to go on, how many at most.
Asked = tuple[IndexName, bytes, bytes, int]

#: All that there is.
NO_LIMIT: Final = 2**62


@dataclass(frozen=True, slots=True)
class Page:
    """What stood in a part of an index: (index key, record), the records alone, and their keys."""

    entries: list[tuple[bytes, Any]]
    records: tuple[Any, ...]
    keys: frozenset[StateKey]


@dataclass(frozen=True, slots=True)
class Touched:
    """What a block changed of what was read before: records, and pages that may be others now."""

    keys: frozenset[StateKey]
    pages: frozenset[Asked]


class Records:
    """A view of ``state`` that is right as long as every change of it is told to ``take``."""

    def __init__(self, state: MemoryState) -> None:
        self.state: Final = state
        self._decoded: dict[StateKey, Any] = {}
        # By module and collection.
        self._pages: dict[tuple[str, str], dict[Asked, Page]] = {}
        # Keys by collection in order, of all collections as soon as one is asked for.
        self._keys: dict[tuple[str, str], list[bytes]] = {}
        self._every: dict[tuple[str, str], tuple[Any, ...]] = {}

    def copy(self, state: MemoryState) -> Records:
        """The same view of a copy of the state."""
        made = Records(state)
        made._decoded, made._every = self._decoded.copy(), self._every.copy()
        made._keys = {name: keys.copy() for name, keys in self._keys.items()}
        made._pages = {name: pages.copy() for name, pages in self._pages.items()}
        return made

    def take(self, changes: Changes) -> Touched:
        """The state has changed by ``changes``; returns what of it was read before."""
        collections: set[tuple[str, str]] = set()
        for state_key, value in changes.state.items():
            self._decoded.pop(state_key, None)
            name = state_key[:2]
            collections.add(name)
            self._every.pop(name, None)
            if self._keys:
                self._note(name, state_key[2], value is not None)
        keys = frozenset(changes.state)
        moved: dict[IndexName, list[bytes]] = {}
        for module, collection, index, key in changes.indexes:
            moved.setdefault((module, collection, index), []).append(key)
            collections.add((module, collection))
        stale: list[Asked] = []
        for name in collections:
            pages = self._pages.get(name, {})
            touched = [
                asked
                for asked, page in pages.items()
                if not page.keys.isdisjoint(keys)
                or (asked[0] in moved and any(key.startswith(asked[1]) for key in moved[asked[0]]))
            ]
            for asked in touched:
                del pages[asked]
            stale += touched
        return Touched(keys, frozenset(stale))

    def get(self, spec: EntitySpec, key: bytes) -> Any:
        """The record under ``key``, or None."""
        state_key = (spec.module, spec.collection, key)
        try:
            return self._decoded[state_key]
        except KeyError:
            value = self.state.values.get(state_key)
            found = self._decoded[state_key] = None if value is None else spec.decode(value)
            return found

    def page(self, spec: EntitySpec, asked: Asked) -> Page:
        """Records in the order of an index of theirs."""
        (module, collection, index), prefix, after, limit = asked
        pages = self._pages.setdefault((module, collection), {})
        page = pages.get(asked)
        if page is None:
            entries = self.state.index_scan(module, collection, index, prefix, after, limit)
            found = [(index_key, self.get(spec, key)) for index_key, key in entries]
            page = pages[asked] = Page(
                found,
                tuple([record for _, record in found]),
                frozenset([(module, collection, key) for _, key in entries]),
            )
        return page

    def every(self, kind: type[E]) -> tuple[E, ...]:
        """All records of a kind, by key."""
        spec = kind.spec
        name = (spec.module, spec.collection)
        found = self._every.get(name)
        if found is None:
            if not self._keys:
                for module, collection, key in sorted(self.state.values):
                    self._keys.setdefault((module, collection), []).append(key)
            found = self._every[name] = tuple([self.get(spec, key) for key in self._keys.get(name, ())])
        return found

    def _note(self, name: tuple[str, str], key: bytes, is_there: bool) -> None:
        keys = self._keys.setdefault(name, [])
        at = bisect_left(keys, key)
        known = at < len(keys) and keys[at] == key
        if is_there and not known:
            insort(keys, key)
        elif known and not is_there:
            del keys[at]
