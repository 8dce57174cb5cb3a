"""A channel's state in dictionaries: the simplest thing that satisfies ``execution.state.StateReader``."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from dawan_node.execution.state import Changes, IndexName, StateKey


class MemoryState:
    """State, indexes, tree nodes and nonces as of the last applied block."""

    def __init__(self) -> None:
        self.values: dict[StateKey, bytes] = {}
        self.nodes: dict[bytes, bytes] = {}
        self._nonces: dict[tuple[bytes, bytes], int] = {}
        self._indexes: dict[IndexName, dict[bytes, bytes]] = {}
        self._order: dict[IndexName, list[bytes]] = {}

    def copy(self) -> MemoryState:
        """The same state, which changes on its own from here."""
        made = MemoryState()
        made.values, made.nodes, made._nonces = dict(self.values), dict(self.nodes), dict(self._nonces)
        made._indexes = {name: dict(entries) for name, entries in self._indexes.items()}
        made._order = {name: keys[:] for name, keys in self._order.items()}
        return made

    def get(self, module: str, collection: str, key: bytes) -> bytes | None:
        """See StateReader."""
        return self.values.get((module, collection, key))

    def index_scan(
        self, module: str, collection: str, index: str, prefix: bytes, after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """See StateReader."""
        name = (module, collection, index)
        keys = self._order.get(name, [])
        start = bisect_right(keys, after) if after >= prefix else bisect_left(keys, prefix)
        entries = self._indexes.get(name, {})
        found: list[tuple[bytes, bytes]] = []
        for position in range(start, min(start + limit, len(keys))):
            if not keys[position].startswith(prefix):
                break
            found.append((keys[position], entries[keys[position]]))
        return found

    def tree_node(self, path: bytes) -> bytes | None:
        """See StateReader."""
        return self.nodes.get(path)

    def nonce_used(self, public_key: bytes, nonce: bytes) -> int | None:
        """See StateReader."""
        return self._nonces.get((public_key, nonce))

    def apply(self, changes: Changes) -> None:
        """Become the state after the block that made ``changes``."""
        for state_key, value in changes.state.items():
            if value is None:
                self.values.pop(state_key, None)
            else:
                self.values[state_key] = value
        for (module, collection, index, key), primary_key in changes.indexes.items():
            self._put_index((module, collection, index), key, primary_key)
        for path, node in changes.nodes.items():
            if node is None:
                self.nodes.pop(path, None)
            else:
                self.nodes[path] = node
        for public_key, nonce, until in changes.nonces:
            self._nonces[(public_key, nonce)] = until

    def _put_index(self, name: IndexName, key: bytes, primary_key: bytes | None) -> None:
        entries = self._indexes.setdefault(name, {})
        order = self._order.setdefault(name, [])
        if primary_key is None:
            if entries.pop(key, None) is not None:
                del order[bisect_left(order, key)]
            return
        if key not in entries:
            insort(order, key)
        entries[key] = primary_key
