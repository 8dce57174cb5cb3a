"""Making a snapshot: the state of one moment, sorted by key hash and cut into parts that prove themselves.

It reads a database snapshot of the block's own moment in a thread of its own, and rests three times as long as it
works, so that it never takes more than a quarter of a core from a node that votes. State is stored by name, chunks are
in order of key hash: see ``key_heaps``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from dawan_node.errors import StorageError
from dawan_node.execution import state_tree
from dawan_node.node.key_heaps import HEAP_BYTES_MAX, KeyHeaps
from dawan_node.primitives.encoding import decoder_for, encode
from dawan_node.primitives.proofs import state_key_hash
from dawan_node.storage import schema
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.kv import KeyValueReader
from dawan_node.storage.retention import nonces_of
from dawan_node.storage.snapshot_files import PartFolder
from dawan_node.sync.snapshot_format import (
    CHUNK_BYTES_TARGET,
    CHUNKS_MAX,
    ENTRIES_PER_CHUNK_MAX,
    RUN_HEADERS_MAX,
    Chunk,
    Entry,
    HeaderRun,
    Layout,
    Manifest,
    NonceUse,
)

#: Entries between two looks at the clock: about a millisecond of work.
PACE_ENTRIES: Final = 128
#: Rest per unit of work.
REST: Final = 3

_HASH_BYTES: Final = 32
_nonces_decoder: Final = decoder_for(tuple[NonceUse, ...])


class TooLarge(Exception):
    """The state does not fit a snapshot."""


class Pace:
    """Slows the calling thread down to a share of its time."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def __call__(self) -> None:
        worked_s = time.monotonic() - self._began_s
        if worked_s > 0.005:
            time.sleep(worked_s * REST)
            self._began_s = time.monotonic()


def make_snapshot(
    view: KeyValueReader,
    folder: PartFolder,
    pace: Callable[[], None],
    chunk_bytes: int = CHUNK_BYTES_TARGET,
    heap_bytes: int = HEAP_BYTES_MAX,
) -> Manifest:
    """Write the parts and the manifest of the head of ``view`` into ``folder``.

    Raises StorageError when the database is damaged, OSError when the folder cannot be written, TooLarge.
    """
    blocks = BlockStore(view)
    head = blocks.head()
    finality = None if head is None or head.height == 0 else blocks.finality(head.height)
    if head is None or finality is None:
        raise StorageError("there is no block to make a snapshot of")
    heaps = KeyHeaps(folder.path, heap_bytes)
    entries, headers_from = 0, head.height
    for stored_key, value in view.iterate(prefix=schema.STATE):
        module, collection, key = schema.names_of_state_key(stored_key)
        entry = Entry(module, collection, key, value)
        if entry.is_replay:
            headers_from = min(headers_from, int.from_bytes(key, "big"))
        heaps.add(state_key_hash(module, collection, key), entry.encode())
        entries += 1
        if entries % PACE_ENTRIES == 0:
            pace()
    runs = Layout(head.height, headers_from, ()).runs
    for run in range(runs):
        first, last = Layout(head.height, headers_from, ()).heights(run)
        folder.write_part(run, _header_run(blocks, first, last))
        pace()
    cutter = _Cutter(view, blocks, folder, runs, chunk_bytes)
    for number, (key_hash, encoded) in enumerate(heaps.sorted()):
        cutter.add(key_hash, encoded)
        if number % PACE_ENTRIES == 0:
            pace()
    cutter.finish()
    heaps.remove()
    manifest = Manifest(1, finality.encode(), entries, cutter.total_bytes, headers_from, tuple(cutter.bounds))
    folder.write_manifest(manifest.encode())
    return manifest


def _header_run(blocks: BlockStore, first: int, last: int) -> bytes:
    headers = [blocks.header(height) for height in range(first, last + 1)]
    found = tuple(header for header in headers if header is not None)
    if len(found) != len(headers) or len(found) > RUN_HEADERS_MAX:
        raise StorageError(f"the headers from {first} to {last} are not all there")
    return HeaderRun(1, found).encode()


class _Cutter:
    """Cuts ascending entries into chunks: before the entry that would make one larger than it should be."""

    def __init__(
        self, view: KeyValueReader, blocks: BlockStore, folder: PartFolder, first_part: int, chunk_bytes: int
    ) -> None:
        self._view = view
        self._blocks = blocks
        self._folder = folder
        self._part = first_part
        self._chunk_bytes = chunk_bytes
        self._first = bytes(_HASH_BYTES)
        self._entries: list[Entry] = []
        self._nonces: list[tuple[NonceUse, ...]] = []
        self._bytes = 0
        self.total_bytes = 0
        self.bounds: list[bytes] = []

    def add(self, key_hash: bytes, encoded: bytes) -> None:
        entry = _entry_decoder.decode(encoded)
        size = len(encoded)
        nonces: tuple[NonceUse, ...] | None = None
        if entry.is_replay:
            nonces = self._nonces_of(int.from_bytes(entry.key, "big"))
            size += len(encode(nonces))
        is_full = self._bytes + size > self._chunk_bytes or len(self._entries) == ENTRIES_PER_CHUNK_MAX
        if self._entries and is_full:
            self._close(key_hash)
            self.bounds.append(key_hash)
        self._entries.append(entry)
        if nonces is not None:
            self._nonces.append(nonces)
        self._bytes += size
        self.total_bytes += size

    def finish(self) -> None:
        self._close(b"")

    def _close(self, after: bytes) -> None:
        if len(self.bounds) >= CHUNKS_MAX:
            raise TooLarge(f"a snapshot has at most {CHUNKS_MAX} chunks")
        leaves, subtrees = state_tree.outside(lambda path: self._view.get(schema.NODE + path), self._first, after)
        chunk = Chunk(1, self._first, after, tuple(self._entries), tuple(self._nonces), tuple(leaves), tuple(subtrees))
        self._folder.write_part(self._part, chunk.encode())
        self._part += 1
        self._first, self._entries, self._nonces, self._bytes = after, [], [], 0

    def _nonces_of(self, height: int) -> tuple[NonceUse, ...]:
        kept = self._blocks.nonces(height)
        if kept is not None:
            return _nonces_decoder.decode(kept)
        envelopes = self._blocks.envelopes(height)
        if envelopes is None:
            raise StorageError(f"the nonces of block {height} are not there")
        return tuple(nonces_of(envelopes))


_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)
