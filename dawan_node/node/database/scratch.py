"""A state beside the real one, to execute blocks again on: a LevelDB in a temporary directory that nobody relies on.

On disk, because the state of a long chain does not fit into memory; never synced, because it is thrown away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from dawan_node.errors import StorageError
from dawan_node.execution.state import Changes
from dawan_node.primitives.patch import is_patch
from dawan_node.storage import schema
from dawan_node.storage.kv import KeyValueReader, KeyValueSnapshot, KeyValueStore, Put
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.state_store import StateStore
from dawan_node.storage.state_view import StateHead, undone

#: Records copied in one batch: some megabytes.
COPIED_AT_ONCE: Final = 20_000

_lists: Final = msgspec.msgpack.Decoder(list[bytes])


class Unsynced:
    """A store whose writes are not durable until ``finish``. For what is thrown away when the machine stops."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store: Final = store
        self.get = store.get
        self.iterate = store.iterate
        self.close = store.close

    def write(self, batch: Iterable[Put], *, sync: bool = True) -> None:
        """As the store's, without waiting for the disk."""
        self._store.write(batch, sync=False)

    def snapshot(self) -> KeyValueSnapshot:
        """As the store's."""
        return self._store.snapshot()

    def finish(self) -> None:
        """Make everything durable: a synced batch is durable only with all that came before it."""
        nothing: list[Put] = []
        self._store.write(nothing, sync=True)


class Scratch:
    """A state without history over a store of its own."""

    def __init__(self, kv: KeyValueStore, folder: Path) -> None:
        """``folder`` is for whatever else is needed on disk meanwhile."""
        self.kv: Final = kv
        self.folder: Final = folder
        self.state = StateStore(kv, history=0)

    def apply(self, height: int, changes: Changes, timestamp_ms: int) -> None:
        """Move on to the block at ``height``."""
        self.kv.write(self.state.puts_for(height, changes, timestamp_ms), sync=False)
        self.state.committed(height)

    def images(self, changes: Changes) -> dict[bytes, bytes]:
        """What a store with history would keep of a block with ``changes`` on this state: image key without height ->
        what was there before it, empty for nothing. What stays the same is left out."""
        return {image: before or b"" for _, _, image, before in self.state.changed(changes)}

    def rewind(self, source: KeyValueReader, height: int, timestamp_ms: int) -> None:
        """Become the state of ``source`` after the block at ``height``, which its images must reach.

        The current records are copied; then each block above ``height``, newest first, gives back what was there
        before it. Nonces have no history and are left out.
        """
        for kind in (schema.STATE, schema.INDEX, schema.NODE):
            copy(source.iterate(prefix=kind), self.kv)
        above = schema.IMAGE_LIST + schema.height_bytes(height + 1)
        for key, data in source.iterate(prefix=schema.IMAGE_LIST, start=above, reverse=True):
            suffix = key[1:]
            puts: list[Put] = []
            for image in image_list(data):
                before = source.get(image + suffix)
                current = _current(image)
                if before is not None and image[:1] == schema.NODE_IMAGE and is_patch(before):
                    before = undone(self.kv.get(current), [before])
                puts.append((current, before or None))
            self.kv.write(puts, sync=False)
        head = msgspec.msgpack.encode(StateHead(height, height, timestamp_ms))
        self.kv.write([(schema.STATE_HEAD_KEY, head)], sync=False)
        self.state = StateStore(self.kv, history=0)


def image_list(data: bytes | None) -> list[bytes]:
    """The image keys, without height, that one block wrote. Raises StorageError."""
    if data is None:
        return []
    try:
        return _lists.decode(data)
    except msgspec.MsgspecError as error:
        raise StorageError(f"a list of images cannot be read: {error}") from None


def _current(image: bytes) -> bytes:
    """The ``s``, ``i`` or ``n`` key behind an image's key without its height."""
    if image[:1] == schema.NODE_IMAGE:
        return schema.NODE + image[2:]
    is_state = image[:1] == schema.STATE_IMAGE
    position = 1
    for _ in range(2 if is_state else 3):
        position += 1 + image[position]
    kind = schema.STATE if is_state else schema.INDEX
    return kind + image[1:position] + schema.key_of_ordered(image[position:])


def copy(records: Iterator[tuple[bytes, bytes]], target: KeyValueStore) -> int:
    """Write ``records`` in batches; how many there were."""
    count = 0
    batch: list[Put] = []
    for record in records:
        batch.append(record)
        count += 1
        if len(batch) == COPIED_AT_ONCE:
            target.write(batch, sync=False)
            batch = []
    target.write(batch, sync=False)
    return count


@contextmanager
def scratch(folder: Path | None = None, opening: Callable[..., Any] = LevelDBStore.open) -> Iterator[Scratch]:
    """An empty scratch state below ``folder`` (default: the system's temporary folder), gone afterwards.

    Raises StorageError when the disk does not take it.
    """
    place = Path(tempfile.mkdtemp(prefix="dawan-db-", dir=folder))
    try:
        kv = opening(place / "scratch" / "db", create=True)
        try:
            yield Scratch(kv, place)
        finally:
            kv.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)
