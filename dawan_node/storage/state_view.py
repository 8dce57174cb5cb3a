"""The state of a channel at one height, read from a snapshot of its database (``state_store`` says what lies there)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dawan_node.errors import DawanError, InvalidEncoding, StorageError
from dawan_node.primitives.patch import is_patch, undo
from dawan_node.storage import schema
from dawan_node.storage.kv import KeyValueReader, KeyValueSnapshot, Put

_encoder = msgspec.msgpack.Encoder()


class HistoryPruned(DawanError):
    """The state at a height that is no longer kept, or not there yet (error code 1302 towards clients)."""

    def __init__(self, height: int, oldest: int, newest: int) -> None:
        super().__init__(f"the state at height {height} is not kept: there is {oldest} to {newest}")
        self.height = height
        self.oldest = oldest
        self.newest = newest


class StateHead(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where the state is: at ``height``, whose block has ``timestamp_ms``, with history back to ``history_from``."""

    height: int
    history_from: int
    timestamp_ms: int


_head_decoder = msgspec.msgpack.Decoder(StateHead)


class StateView:
    """The state at one height, read from a snapshot of the database. Has the same reads as ``StateStore``."""

    def __init__(self, snapshot: KeyValueSnapshot, head: StateHead, height: int) -> None:
        self._snapshot = snapshot
        self._head = head
        self.height = height

    def __enter__(self) -> StateView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the database forget what only this view still needs."""
        self._snapshot.close()

    def get(self, module: str, collection: str, key: bytes) -> bytes | None:
        """The encoded entity at this height."""
        scope = schema.scope(module, collection)
        return self._value(schema.STATE + scope + key, schema.STATE_IMAGE + scope + schema.ordered(key))

    def tree_node(self, path: bytes) -> bytes | None:
        """The node of the state tree at this height."""
        patches: list[bytes] = []
        if self.height < self._head.height:
            for image in self._images(schema.node_image(path)):
                if not is_patch(image):
                    return undone(image or None, patches)
                patches.append(image)
        return undone(self._snapshot.get(schema.NODE + path), patches)

    def index_scan(
        self, module: str, collection: str, index: str, prefix: bytes, after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """As ``StateStore.index_scan``, at this height."""
        scope = schema.scope(module, collection, index)
        current = index_entries(self._snapshot, schema.INDEX + scope, prefix, after)
        if self.height == self._head.height:
            return take(current, limit)
        return take(_laid_over(current, self._changed_since(schema.INDEX_IMAGE + scope, prefix, after)), limit)

    def nonce_used(self, public_key: bytes, nonce: bytes) -> int | None:
        """As ``StateStore.nonce_used``. Raises ``HistoryPruned`` below the head: nonces have no history."""
        if self.height != self._head.height:
            raise HistoryPruned(self.height, self._head.height, self._head.height)
        return live_nonce(self._snapshot.get(schema.NONCE + schema.nonce_suffix(public_key, nonce)), self._head)

    def _value(self, current_key: bytes, image_key: bytes) -> bytes | None:
        if self.height < self._head.height:
            # The first change above this height kept what was there until then.
            for image in self._images(image_key):
                return image or None
        return self._snapshot.get(current_key)

    def _images(self, image_key: bytes) -> Iterator[bytes]:
        """What changes above this height left, oldest first."""
        later = self._snapshot.iterate(
            start=image_key + schema.height_bytes(self.height + 1),
            stop=image_key + schema.height_bytes(self._head.height + 1),
        )
        return (image for _, image in later)

    def _changed_since(self, beginning: bytes, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(index key, primary key at this height or empty) of all entries changed above this height, in key order."""
        skip = len(beginning)
        images = self._snapshot.iterate(
            prefix=beginning + schema.ordered_prefix(prefix),
            start=beginning + schema.ordered_prefix(after) + schema.AFTER_ORDERED,
        )
        done: bytes | None = None
        for image_key, image in images:
            ordered, height = image_key[skip : -schema.HEIGHT_BYTES], image_key[-schema.HEIGHT_BYTES :]
            if ordered != done and schema.height_of_bytes(height) > self.height:
                done = ordered
                yield schema.key_of_ordered(ordered), image


def undone(node: bytes | None, patches: Sequence[bytes]) -> bytes | None:
    """The node before the changes that left ``patches``, oldest first, the last of which led to ``node``. Raises
    ``StorageError`` when they do not fit."""
    for patch in reversed(patches):
        if node is None:
            raise StorageError("the history of a state tree node goes on where there was none")
        try:
            node = undo(node, patch)
        except InvalidEncoding as error:
            raise StorageError(f"the history of a state tree node cannot be read: {error}") from None
    return node


def state_head_put(height: int, history_from: int, timestamp_ms: int) -> Put:
    """The entry that says where the state is."""
    return schema.STATE_HEAD_KEY, _encoder.encode(StateHead(height, history_from, timestamp_ms))


def read_head(store: KeyValueReader) -> StateHead | None:
    data = store.get(schema.STATE_HEAD_KEY)
    if data is None:
        return None
    try:
        return _head_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise StorageError(f"the head record of the state cannot be read: {error}") from None


def index_entries(
    store: KeyValueReader, beginning: bytes, prefix: bytes, after: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """(index key, primary key) as of the head of ``store``, keys beginning with ``prefix`` and above ``after``."""
    skip = len(beginning)
    entries = store.iterate(prefix=beginning + prefix, start=beginning + after + b"\x00")
    return ((key[skip:], value) for key, value in entries)


def _laid_over(
    current: Iterator[tuple[bytes, bytes]], changed: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """Merge two runs in key order; where both have a key ``changed`` says what it was, empty for "not there"."""
    entry, other = next(current, None), next(changed, None)
    while entry is not None or other is not None:
        if other is None or (entry is not None and entry[0] < other[0]):
            assert entry is not None
            yield entry
            entry = next(current, None)
            continue
        if entry is not None and entry[0] == other[0]:
            entry = next(current, None)
        if other[1]:
            yield other
        other = next(changed, None)


def take(entries: Iterator[tuple[bytes, bytes]], limit: int) -> list[tuple[bytes, bytes]]:
    return [entry for _, entry in zip(range(limit), entries, strict=False)]


def live_nonce(value: bytes | None, head: StateHead | None) -> int | None:
    if value is None:
        return None
    valid_until_ms = schema.height_of_bytes(value)
    # Removal is spread over several blocks; until then what has expired is as good as gone.
    return valid_until_ms if head is None or valid_until_ms > head.timestamp_ms else None
