"""The database of one channel: blocks and state, always at the same height.

A decided block is written together with everything it leads to in *one* synced batch; of blocks that catch-up brings
several may share one. So after any crash the database is at exactly one height, and "is this block committed" has one
answer. Opening verifies what can be verified
without executing anything again; the write-ahead log holds the head a second time, outside, and the node compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dawan_node.errors import DataRefusal, DataRefused, OperatorError, StorageError
from dawan_node.primitives.block import Result
from dawan_node.storage import schema
from dawan_node.storage.block_store import WALK_HEADERS_MAX, BlockStore, DecidedBlock, StoredHead, epoch_put
from dawan_node.storage.kv import KeyValueSnapshot, KeyValueStore, StagedWrites
from dawan_node.storage.leveldb import DatabaseSign, LevelDBStore, read_sign
from dawan_node.storage.migration import migrate
from dawan_node.storage.retention import Retention
from dawan_node.storage.state_store import CACHE_BYTES, HISTORY_BLOCKS, StateChanges, StateStore


@dataclass(frozen=True, slots=True)
class BlockToStore:
    """A decided block and what it leads to. ``next_members``: the validators from the next height on, when the block
    ends its epoch."""

    block: DecidedBlock
    changes: StateChanges
    next_members: tuple[tuple[str, bytes], ...] = ()


class ChannelStore:
    """``blocks`` and ``state`` of one channel over one ``KeyValueStore``. One thread commits; others may read."""

    def __init__(self, store: KeyValueStore, *, history: int = HISTORY_BLOCKS, cache_bytes: int = CACHE_BYTES) -> None:
        self._store = store
        self.blocks = BlockStore(store)
        self.state = StateStore(store, history=history, cache_bytes=cache_bytes)
        self.retention = Retention(store, self.blocks, self.state)
        #: Called in the committing thread after each batch is durable, with the height of its last block, while nothing
        #: newer is in the store.
        self.on_commit: Callable[[int], None] = lambda height: None
        #: Whether a batch must end with this height, so that the store is seen as it was there.
        self.ends_batch: Callable[[int], bool] = lambda height: False

    @classmethod
    def create(cls, path: Path, genesis: Result, changes: StateChanges, created_ms: int) -> None:
        """Make the database of a new channel in directory ``path``: height 0, its result, and the state governance
        wrote for it. Run again after an interruption it starts over; a finished database is never touched.

        Raises ``OperatorError`` when one is there already or in use, ``StorageError`` when the disk fails.
        """
        store = LevelDBStore.open(path, create=True)
        try:
            write_genesis(store, genesis, changes, created_ms)
            store.mark_initialised(genesis.block_hash)
        finally:
            store.close()

    @classmethod
    def open(
        cls,
        path: Path,
        chain_id: bytes,
        *,
        history: int = HISTORY_BLOCKS,
        cache_bytes: int = CACHE_BYTES,
        walk_headers: int = WALK_HEADERS_MAX,
        scan: bool = False,
        buffer_bytes: int | None = None,
    ) -> Self:
        """Open and verify the database of the channel with ``chain_id``; with ``scan`` all of it, if it is in doubt.
        ``buffer_bytes``: as for ``LevelDBStore.open``.

        Raises ``OperatorError`` (in use, missing, newer schema, another channel's) or ``StorageError`` (damaged).
        """
        store = LevelDBStore.open(path, buffer_bytes=buffer_bytes)
        try:
            if scan:
                store.scan()
            channel = cls.over(store, chain_id, history=history, cache_bytes=cache_bytes, walk_headers=walk_headers)
            if read_sign(path) != DatabaseSign(schema.SCHEMA_VERSION, chain_id):
                store.mark_initialised(chain_id)  # it was migrated, or is of a version that signed less
        except (OperatorError, StorageError):
            store.close()
            raise
        return channel

    @classmethod
    def over(
        cls,
        store: KeyValueStore,
        chain_id: bytes,
        *,
        history: int = HISTORY_BLOCKS,
        cache_bytes: int = CACHE_BYTES,
        walk_headers: int = WALK_HEADERS_MAX,
    ) -> Self:
        """As ``open``, over a store that already holds a genesis (tests use a ``MemoryStore``)."""
        migrate(store)
        channel = cls(store, history=history, cache_bytes=cache_bytes)
        genesis = channel.blocks.result(0)
        if genesis is None or genesis.block_hash != chain_id:
            found = "no chain" if genesis is None else f"chain {genesis.block_hash.hex()[:16]}"
            raise DataRefused(
                DataRefusal.OTHER_CHANNEL,
                "the channel cannot be opened",
                f"its database holds {found}, its genesis file chain {chain_id.hex()[:16]}",
                "Use the genesis file this database was made with, or move the channel's folder away: it syncs anew.",
            )
        head = channel.blocks.walk(walk_headers)
        state_head = channel.state.head
        if state_head is None or state_head.height != head.height:
            raise StorageError(f"the blocks are at height {head.height} and the state is not")
        if head.header is not None and head.header.timestamp_ms != state_head.timestamp_ms:
            raise StorageError(f"the state at height {head.height} is not of the head block")
        return channel

    @property
    def head(self) -> StoredHead:
        """The newest decided block."""
        head = self.blocks.head()
        if head is None:
            raise StorageError("the database has no genesis")
        return head

    def commit(
        self, block: DecidedBlock, changes: StateChanges, next_members: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        """``commit_all`` of one block."""
        self.commit_all([BlockToStore(block, changes, next_members)])

    def commit_all(self, group: Sequence[BlockToStore]) -> None:
        """Write decided blocks, each on the one before, and the state they lead to durably: all or nothing, or where
        ``ends_batch`` says so the lower ones first. When this returns, clients may be told.

        Raises ``StorageError`` when the disk fails: whether the blocks are there is then known only after a reopen.
        Raises ``ValueError`` for a block that does not follow the one below, which is a mistake of the caller.
        """
        staged = StagedWrites(self._store)
        blocks = BlockStore(staged)
        for position, each in enumerate(group, start=1):
            header = each.block.header
            puts = blocks.puts_for(each.block)
            puts += self.state.puts_for(header.height, each.changes, header.timestamp_ms, staged)
            if each.next_members:
                puts.append(epoch_put(header.epoch + 1, header.height + 1, each.next_members))
            is_last = position == len(group) or self.ends_batch(header.height)
            if is_last and staged.is_empty:
                self._store.write(puts, sync=True)  # one block of consensus, as it is
            else:
                staged.stage(puts)
                if is_last:
                    self._store.write(staged.puts(), sync=True)
            if is_last:
                self.state.committed(header.height)
                self.on_commit(header.height)
                staged = StagedWrites(self._store)
                blocks = BlockStore(staged)

    def snapshot(self) -> KeyValueSnapshot:
        """Every record of the database as of this moment, for a backup. Close it."""
        return self._store.snapshot()

    def close(self) -> None:
        """Close the database. No other thread may be inside a call; calling it again does nothing."""
        self._store.close()


def write_genesis(store: KeyValueStore, genesis: Result, changes: StateChanges, created_ms: int) -> None:
    """Write height 0 into an empty store, durably."""
    puts = [schema.schema_put(), *BlockStore(store).genesis_puts(genesis)]
    puts += StateStore(store, cache_bytes=0).puts_for(0, changes, created_ms)
    store.write(puts, sync=True)
