"""The state of a channel at its head, and at each of the last ``history`` heights.

The state proper (entities, their indexes, the nodes of the state tree) is kept as of the head and updated in place.
Beside it, each block leaves an *image* of everything it changed: the value from before. To read at an older height,
take the image of the first change after that height; where there is none, the head's value was already there then.
Of a tree node the image is mostly a patch from the value after the block to the one before it: a block touches
hundreds of nodes of half a kilobyte for one hash in each.
A list of what each block imaged lets the images of the block that falls out of ``history`` be removed while the next
one is written, so the work per block is bounded and there is no clean-up job.

Used nonces are kept only as long as they matter (their ``valid_until`` lies ahead of block time, amendment U9) and
only for the head.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

from dawan_node.errors import StorageError
from dawan_node.primitives.replay import REPLAY_ENTRY
from dawan_node.storage import schema
from dawan_node.storage.kv import KeyValueReader, KeyValueStore, Put, StagedWrites
from dawan_node.storage.read_cache import MISSING, Missing, ReadCache
from dawan_node.storage.state_view import (
    HistoryPruned,
    StateHead,
    StateView,
    index_entries,
    live_nonce,
    read_head,
    state_head_put,
    take,
)

# Design section 6: values and proofs of about the last three hours at one block a second.
HISTORY_BLOCKS = 10_000
# The upper four levels of a large state tree (about 3 MiB) and what the last few full blocks touched.
CACHE_BYTES = 32 * 1024 * 1024

# More than one, so that a shortened `history` is caught up with; few, so that no commit takes long over it.
_PRUNED_BLOCKS_PER_COMMIT = 2
# After an idle hour thousands of nonces may expire at once. Each commit removes what came with it and some more.
_EXPIRED_NONCES_PER_COMMIT = 4_000

# One of so many images of a node, by chance, is the whole node, even where a patch would do: whoever reads an old
# height undoes about so many patches, however often the node has changed since. The most in 10,000 heights is some 160;
# an author who could choose in which blocks a node changes could make it all of them, at 4 us each.
_WHOLE_ONE_OF = 32

_encoder = msgspec.msgpack.Encoder()
_list_decoder = msgspec.msgpack.Decoder(list[bytes])


class StateChanges(Protocol):
    """What a block changes; None removes. Values, primary keys and nodes are never empty."""

    @property
    def state(self) -> Mapping[tuple[str, str, bytes], bytes | None]: ...

    @property
    def indexes(self) -> Mapping[tuple[str, str, str, bytes], bytes | None]: ...

    @property
    def nodes(self) -> Mapping[bytes, bytes | None]: ...

    @property
    def nonces(self) -> Sequence[tuple[bytes, bytes, int]]: ...

    @property
    def patches(self) -> Mapping[bytes, bytes]:
        """For some of ``nodes``, by path: the patch from the new node to the one before (``primitives.patch``)."""
        ...


#: One record that a block changes: key, new value, its history's key without the height, value before. Values of None
#: are "not there". A plain tuple, because there are fifteen thousand in a block.
Changed = tuple[bytes, bytes | None, bytes, bytes | None]


class StateStore:
    """The state at the head. ``get``, ``index_scan``, ``tree_node`` and ``nonce_used`` are what execution reads.

    A block is written by ``puts_for``, one batch, ``committed``; between the two, readers see each single value
    either before or after. Whoever needs several values of one height uses ``at`` (RPC) or lays the block's changes
    over this store (execution).
    """

    def __init__(self, store: KeyValueStore, *, history: int = HISTORY_BLOCKS, cache_bytes: int = CACHE_BYTES) -> None:
        self._store = store
        self._history = history
        self._cache = ReadCache(cache_bytes)
        self._head = read_head(store)
        self._pending: StateHead | None = None
        #: No use that expired up to here is left. Only a hint where to begin: otherwise LevelDB would step over all
        #: that was removed since it last tidied up, ten thousands of entries, in every commit.
        self._expired_ms = -1
        self._fresh: dict[bytes, bytes | None] = {}  # the current values that came with what is pending
        # (beginning of current keys, beginning of image keys) of each collection and index met so far: a few dozen.
        self._scopes: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    @property
    def head(self) -> StateHead | None:
        """Where the state is, None in an empty database."""
        return self._head

    def get(self, module: str, collection: str, key: bytes) -> bytes | None:
        """The encoded entity at the head."""
        return self._current(self._scope(schema.STATE, schema.STATE_IMAGE, module, collection)[0] + key)

    def tree_node(self, path: bytes) -> bytes | None:
        """The node of the state tree at the head; ``path`` has one byte per nibble."""
        return self._current(schema.NODE + path)

    def index_scan(
        self, module: str, collection: str, index: str, prefix: bytes, after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` (index key, primary key) in key order, keys beginning with ``prefix``, above ``after``."""
        beginning = self._scope(schema.INDEX, schema.INDEX_IMAGE, module, collection, index)[0]
        return take(index_entries(self._store, beginning, prefix, after), limit)

    def nonce_used(self, public_key: bytes, nonce: bytes) -> int | None:
        """``valid_until_ms`` of the transaction that used this nonce, None when none did that could still matter."""
        value = self._store.get(schema.NONCE + schema.nonce_suffix(public_key, nonce))
        return live_nonce(value, self._head)

    def at(self, height: int) -> StateView:
        """The state as it was after the block at ``height``; consistent however long it is read. Close it.

        Raises ``HistoryPruned`` for heights that are not kept any more or not decided yet.
        """
        return self._view(height)

    def latest(self) -> StateView:
        """The state at the head of this moment, consistent however long it is read. Close it."""
        return self._view(None)

    def puts_for(
        self, height: int, changes: StateChanges, decided_timestamp_ms: int, staged: StagedWrites | None = None
    ) -> list[Put]:
        """Entries that carry the state from the head to the block at ``height``, whose time is given.

        With ``staged``, the entries of blocks between, which will be written in the same batch, are in there. The first
        ``height`` of an empty database may be any (0, or that of a snapshot). Call ``committed`` when the batch is
        durable. Raises ``ValueError`` when ``height`` does not follow or a value is empty.
        """
        reader = self._store if staged is None else staged
        staged_head = staged is not None and staged.changed(schema.STATE_HEAD_KEY, None) is not None
        before = self._pending if staged_head else self._head
        if before is not None and height != before.height + 1:
            raise ValueError(f"state of height {height} does not follow the head at {before.height}")
        if any(b"" in values.values() for values in (changes.state, changes.indexes, changes.nodes)):
            raise ValueError("an entity, a primary key or a node is empty")
        fresh: dict[bytes, bytes | None] = {}
        puts: list[Put] = []
        if not staged_head:
            self._fresh = {}
        if before is None or self._history == 0:
            keys, _, values = self._columns(changes)
            fresh.update(zip(keys, values, strict=True))
            puts += fresh.items()
            oldest = height
        else:
            self._write_with_images(changes, fresh, puts, height, staged)
            oldest = self._prune(reader, puts, before.history_from, height)
        self._expire_nonces(reader, puts, decided_timestamp_ms)
        self._write_nonces(reader, puts, changes.nonces)
        puts.append(state_head_put(height, oldest, decided_timestamp_ms))
        self._pending = StateHead(height, oldest, decided_timestamp_ms)
        self._fresh.update(fresh)
        self._cache.begin_commit(self._fresh)
        return puts

    def committed(self, height: int) -> None:
        """The entries of the last ``puts_for`` are durable: the head is now at ``height``."""
        if self._pending is None or self._pending.height != height:
            raise ValueError(f"no entries for height {height} were made")
        self._head, self._pending, self._fresh = self._pending, None, {}
        self._cache.end_commit()

    def entities(self, module: str, collection: str) -> Iterator[tuple[bytes, bytes]]:
        """All (key, encoded entity) of a collection at the head, in key order. For checks, not for execution."""
        beginning = self._scope(schema.STATE, schema.STATE_IMAGE, module, collection)[0]
        skip = len(beginning)
        return ((key[skip:], value) for key, value in self._store.iterate(prefix=beginning))

    def replay_entry(self, height: int) -> bytes | None:
        """The state entry that commits to the nonces of the block at ``height``, while there is one."""
        return self.get(*REPLAY_ENTRY, schema.height_bytes(height))

    def _current(self, key: bytes) -> bytes | None:
        value = self._cache.get(key)
        if isinstance(value, Missing):
            ticket = self._cache.ticket
            value = self._store.get(key)
            self._cache.fill(key, value, ticket)
        return value

    def _scope(self, kind: bytes, image: bytes, *names: str) -> tuple[bytes, bytes]:
        beginnings = self._scopes.get(names)
        if beginnings is None:
            scope = schema.scope(*names)
            beginnings = self._scopes[names] = (kind + scope, image + scope)
        return beginnings

    def _view(self, height: int | None) -> StateView:
        snapshot = self._store.snapshot()
        head = read_head(snapshot)
        if head is None:
            snapshot.close()
            raise StorageError("the database has no state")
        wanted = head.height if height is None else height
        if not head.history_from <= wanted <= head.height:
            snapshot.close()
            raise HistoryPruned(wanted, head.history_from, head.height)
        return StateView(snapshot, head, wanted)

    def _write_with_images(
        self,
        changes: StateChanges,
        fresh: dict[bytes, bytes | None],
        puts: list[Put],
        height: int,
        staged: StagedWrites | None,
    ) -> None:
        """Entries of the new values, and of what was there before. A value that stays the same is left out.

        This handles every change of a block, fifteen thousand and more, column by column: a step over a whole column
        runs in C, and a call per change would cost more than all the rest.
        """
        suffix = schema.height_bytes(height)
        patches = changes.patches
        if patches:
            crc32, chance = zlib.crc32, zlib.crc32(suffix)
            patches = {path: patch for path, patch in patches.items() if (crc32(path) ^ chance) % _WHOLE_ONE_OF}
        rows = self.changed(changes, staged, patches)
        if not rows:
            return
        fresh.update((key, value) for key, value, _, _ in rows)
        puts += fresh.items()
        puts += [(image + suffix, old or b"") for _, _, image, old in rows]
        puts.append((schema.IMAGE_LIST + suffix, _encoder.encode([image for _, _, image, _ in rows])))

    def changed(
        self,
        changes: StateChanges,
        staged: StagedWrites | None = None,
        patches: Mapping[bytes, bytes] = MappingProxyType({}),
    ) -> list[Changed]:
        """What ``changes`` would change, without what stays the same. Not while a commit is under way, but for that of
        the blocks in ``staged``. Nodes with ``patches`` (by path) have those instead of their value before."""
        keys, images, values = self._columns(changes, without=patches)
        before = self._cache.get_many(keys)
        if staged is not None and self._fresh:
            before = [staged.changed(key, old) for key, old in zip(keys, before, strict=True)]
        for position in [position for position, value in enumerate(before) if value is MISSING]:
            # Not remembered in the cache: a commit is about to change it.
            before[position] = self._store.get(keys[position])
        rows = zip(keys, values, images, before, strict=True)
        found: list[Changed] = [row for row in rows if row[1] != row[3]]  # type: ignore[misc]
        node, node_image, nodes = schema.NODE, schema.node_image, changes.nodes
        found += [(node + path, nodes[path], node_image(path), patch) for path, patch in patches.items()]
        return found

    def _columns(
        self, changes: StateChanges, without: Mapping[bytes, bytes] = MappingProxyType({})
    ) -> tuple[list[bytes], list[bytes], list[bytes | None]]:
        """Current key, image key without height, and new value of everything that changes, but the nodes ``without``
        says."""
        scope, ordered = self._scope, schema.ordered
        keys: list[bytes] = []
        images: list[bytes] = []
        for module, collection, key in changes.state:
            beginning, image = scope(schema.STATE, schema.STATE_IMAGE, module, collection)
            keys.append(beginning + key)
            images.append(image + ordered(key))
        for module, collection, index, key in changes.indexes:
            beginning, image = scope(schema.INDEX, schema.INDEX_IMAGE, module, collection, index)
            keys.append(beginning + key)
            images.append(image + ordered(key))
        paths = [path for path in changes.nodes if path not in without]
        keys += [schema.NODE + path for path in paths]
        images += [schema.node_image(path) for path in paths]
        nodes = changes.nodes
        return keys, images, [*changes.state.values(), *changes.indexes.values(), *(nodes[path] for path in paths)]

    def _prune(self, reader: KeyValueReader, puts: list[Put], history_from: int, height: int) -> int:
        """Remove the images of blocks that fall out of history; returns the oldest height that stays readable."""
        oldest = min(max(history_from, height - self._history), history_from + _PRUNED_BLOCKS_PER_COMMIT)
        for pruned in range(history_from + 1, oldest + 1):
            suffix = schema.height_bytes(pruned)
            data = reader.get(schema.IMAGE_LIST + suffix)
            if data is None:
                continue
            try:
                images = _list_decoder.decode(data)
            except msgspec.MsgspecError as error:
                raise StorageError(f"the list of images at height {pruned} cannot be read: {error}") from None
            puts += [(image + suffix, None) for image in images]
            puts.append((schema.IMAGE_LIST + suffix, None))
        return oldest

    def _expire_nonces(self, reader: KeyValueReader, puts: list[Put], now_ms: int) -> None:
        start = schema.NONCE_EXPIRY + _after(self._expired_ms)
        expired = reader.iterate(prefix=schema.NONCE_EXPIRY, start=start, stop=schema.NONCE_EXPIRY + _after(now_ms))
        keys = [key for _, (key, _) in zip(range(_EXPIRED_NONCES_PER_COMMIT), expired, strict=False)]
        for key in keys:
            puts.append((key, None))
            puts.append((schema.NONCE + key[1 + schema.HEIGHT_BYTES :], None))
        if len(keys) < _EXPIRED_NONCES_PER_COMMIT:
            self._expired_ms = max(self._expired_ms, now_ms)

    def nonce_puts(self, nonces: Iterable[tuple[bytes, bytes, int]]) -> list[Put]:
        """Entries that make these nonces used, for a state whose blocks are not executed here."""
        puts: list[Put] = []
        self._write_nonces(self._store, puts, nonces)
        return puts

    def _write_nonces(
        self, reader: KeyValueReader, puts: list[Put], nonces: Iterable[tuple[bytes, bytes, int]]
    ) -> None:
        for public_key, nonce, valid_until_ms in nonces:
            if len(nonce) != schema.NONCE_BYTES:
                raise ValueError(f"a nonce of {len(nonce)} bytes")
            suffix = schema.nonce_suffix(public_key, nonce)
            key = schema.NONCE + suffix
            # An expired use that still waits for its removal must not take the new one with it.
            earlier = reader.get(key)
            if earlier is not None:
                puts.append((schema.NONCE_EXPIRY + earlier + suffix, None))
            self._expired_ms = min(self._expired_ms, valid_until_ms - 1)
            valid_until = schema.height_bytes(valid_until_ms)
            puts.append((key, valid_until))
            puts.append((schema.NONCE_EXPIRY + valid_until + suffix, b""))


def _after(time_ms: int) -> bytes:
    return schema.height_bytes(time_ms + 1)
