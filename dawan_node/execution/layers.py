"""The two layers a running block needs: what its earlier transactions wrote, and what the current one writes.

``BlockLayer`` also keeps entities decoded, so that an account touched by a thousand transactions of a block is decoded
once; what a step costs is counted from encoded sizes and does not depend on that cache. ``TransactionLayer`` counts
steps: one per SDK call plus one per full 256 bytes read, written or emitted (design section 11). Counting, never
timing, gives every node the same verdict.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dawan_node.execution.entity import Entity, EntitySpec, Event, encode_entity, plain_data
from dawan_node.execution.keys import KEY_BYTES_MAX, Part, prefix_of
from dawan_node.execution.state import IndexKey, IndexName, SortedIndex, StateKey, StateReader, merged_scan
from dawan_node.primitives.encoding import check_value, encode

#: A StateProof carries the value and has at most 64 KiB (formats A.8); half of it leaves room for path and
#: certificate of the largest validator set.
ENTITY_BYTES_MAX: Final = 32 * 1024

#: The same bound for all events of one transaction, whose receipt travels inside a TxProof.
EVENTS_BYTES_MAX: Final = 32 * 1024

#: Steps are counted in units of so many bytes (design section 11).
_STEP_BITS: Final = 8  # 256 bytes

_Stored = tuple[Any, int]  # decoded entity or None, encoded size


class Abort(BaseException):
    """Ends a command without effect. Not an Exception, so that no handler in a module can swallow it."""


class OutOfSteps(Abort):
    """The transaction used more steps, or more bytes in one record, than it may."""


class ModuleFault(Abort):
    """The module did what its own declaration forbids; the text is for its developer and never goes on chain."""


class BlockLayer:
    """State after the transactions of this block so far, over the parent block's state."""

    __slots__ = ("indexes", "objects", "parent", "values")

    def __init__(self, parent: StateReader) -> None:
        self.parent: Final = parent
        self.values: dict[StateKey, bytes | None] = {}
        self.objects: dict[StateKey, _Stored] = {}
        self.indexes: dict[IndexName, SortedIndex] = {}

    def load(self, spec: EntitySpec, state_key: StateKey) -> _Stored:
        """The decoded entity and its encoded size; (None, 0) when absent."""
        stored = self.objects.get(state_key)
        if stored is None:
            value = self.parent.get(*state_key)
            stored = (None, 0) if value is None else (spec.decode(value), len(value))
            self.objects[state_key] = stored
        return stored

    def scan(self, name: IndexName, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """``StateReader.index_scan`` over this layer."""
        own = self.indexes.get(name)
        module, collection, index = name
        if own is None:
            return self.parent.index_scan(module, collection, index, prefix, after, limit)
        below = self.parent.index_scan
        return merged_scan(own, lambda p, a, n: below(module, collection, index, p, a, n), prefix, after, limit)

    def flat_indexes(self) -> dict[IndexKey, bytes | None]:
        """Index changes in the form of ``Changes``."""
        return {(*name, key): primary_key for name, index in self.indexes.items() for key, primary_key in index.items()}


class TransactionLayer:
    """What one transaction read, wrote and emitted; ``commit`` hands it to the block, dropping it undoes it all."""

    __slots__ = ("_block", "_events_bytes", "_indexes", "_writes", "events", "steps", "steps_max")

    def __init__(self, block: BlockLayer, steps_max: int) -> None:
        self._block: Final = block
        self._writes: dict[StateKey, tuple[bytes | None, Any]] = {}
        self._indexes: dict[IndexName, dict[bytes, bytes | None]] = {}
        self._events_bytes = 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.steps = 0
        self.steps_max: Final = steps_max

    def charge(self, size: int = 0, steps: int = 1) -> None:
        """Count one step, or so many, and the bytes that go with it. Raises OutOfSteps."""
        self.steps += steps + (size >> _STEP_BITS)
        if self.steps > self.steps_max:
            raise OutOfSteps

    def load(self, spec: EntitySpec, key: bytes) -> Any:
        """The entity under ``key``, or None."""
        # Written out, ``peek`` and ``charge`` included: nothing else a command does is done so often.
        state_key = (spec.module, spec.collection, key)
        written = self._writes.get(state_key)
        if written is None:
            entity, size = self._block.objects.get(state_key) or self._block.load(spec, state_key)
        else:
            value, entity = written
            size = 0 if value is None else len(value)
        self.steps += 1 + (size >> _STEP_BITS)
        if self.steps > self.steps_max:
            raise OutOfSteps
        return entity

    def store(self, entity: Entity) -> None:
        """Insert or replace ``entity`` and keep its indexes."""
        spec = entity.spec
        key = entity.primary_key()
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            raise ModuleFault(f"a key of {spec.collection} has {len(key)} bytes")
        value = encode_entity(entity)
        if len(value) > ENTITY_BYTES_MAX:
            raise OutOfSteps
        self.charge(len(value))
        state_key = (spec.module, spec.collection, key)
        if spec.indexes:
            self._reindex(spec, key, self.peek(spec, state_key)[0], entity)
        self._writes[state_key] = (value, entity)

    def remove(self, spec: EntitySpec, key: bytes) -> bool:
        """Delete the entity under ``key``; False when there is none."""
        self.charge()
        state_key = (spec.module, spec.collection, key)
        entity = self.peek(spec, state_key)[0]
        if entity is None:
            return False
        self._reindex(spec, key, entity, None)
        self._writes[state_key] = (None, None)
        return True

    def scan(self, spec: EntitySpec, index: str, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Any]]:
        """(index key, entity) pairs in index order."""
        self.charge()
        name = (spec.module, spec.collection, index)
        own = self._indexes.get(name)
        block = self._block
        if own is None:
            entries = block.scan(name, prefix, after, limit)
        else:
            entries = merged_scan(SortedIndex(own), lambda p, a, n: block.scan(name, p, a, n), prefix, after, limit)
        load = self.load
        return [(index_key, load(spec, primary_key)) for index_key, primary_key in entries]

    def emit(self, event: Event) -> None:
        """Append an event. Raises OutOfSteps when the transaction's events grow too large."""
        data = plain_data(event)
        if data is None:
            # Fields left UNSET are absent from the map, as the encoding requires. A set that a module puts in place of
            # a list is sorted, as in entities: its own order differs from process to process.
            data = msgspec.to_builtins(event, builtin_types=(bytes,), order="deterministic")
            msgspec.convert(data, type(event), builtin_types=(bytes,))
            check_value(data)
        size = len(encode(data))
        self._events_bytes += size
        if self._events_bytes > EVENTS_BYTES_MAX:
            raise OutOfSteps
        self.charge(size)
        self.events.append((type(event).__name__, data))

    def commit(self) -> None:
        """Make this transaction's writes the block's."""
        block = self._block
        for state_key, (value, entity) in self._writes.items():
            block.values[state_key] = value
            block.objects[state_key] = (entity, 0 if value is None else len(value))
        for name, entries in self._indexes.items():
            below = block.indexes.get(name)
            if below is None:
                below = block.indexes[name] = SortedIndex()
            below.update(entries)

    def peek(self, spec: EntitySpec, state_key: StateKey) -> _Stored:
        """As ``load``, with the encoded size, and not counted: for what the node itself has to know."""
        written = self._writes.get(state_key)
        if written is not None:
            value, entity = written
            return entity, 0 if value is None else len(value)
        return self._block.load(spec, state_key)

    def _reindex(self, spec: EntitySpec, key: bytes, old: Any, new: Any) -> None:
        for index, function in spec.indexes:
            was = list(function(old)) if old is not None else []
            now = list(function(new)) if new is not None else []
            # Most changes leave most indexes as they are. Types too: True equals 1 and is another key.
            if was == now and list(map(_types, was)) == list(map(_types, now)):
                continue
            before = [prefix_of(*parts) + key for parts in was]
            after = [prefix_of(*parts) + key for parts in now]
            name = (spec.module, spec.collection, index)
            own = self._indexes.get(name)
            if own is None:
                own = self._indexes[name] = {}
            for index_key in before:
                if index_key not in after:
                    own[index_key] = None
            for index_key in after:
                if index_key not in before:
                    own[index_key] = key


def _types(parts: tuple[Part, ...]) -> list[type]:
    return [type(part) for part in parts]
