"""Blocks and state together, on LevelDB: one height, one batch, and no trust in files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_kit import CHAIN_ID, CREATED_MS, GENESIS, Changes, chain, changes_of, genesis_changes, time_of

from dawan_node.errors import OperatorError, StorageError
from dawan_node.storage import schema
from dawan_node.storage.channel_store import ChannelStore, write_genesis
from dawan_node.storage.kv import MemoryStore
from dawan_node.storage.leveldb import LevelDBStore

BLOCKS = chain(40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ChannelStore.create(tmp_path / "trade" / "db", GENESIS, genesis_changes(), CREATED_MS)
    return tmp_path / "trade" / "db"


def commit_all(channel: ChannelStore, first: int, last: int) -> None:
    for height in range(first, last + 1):
        channel.commit(BLOCKS[height - 1], changes_of(height))


def test_a_new_channel_opens_at_its_genesis(path: Path) -> None:
    channel = ChannelStore.open(path, CHAIN_ID)
    assert channel.head.height == 0 and channel.head.result == GENESIS
    assert channel.state.get("governance", "genesis", b"") == b"the genesis"
    assert channel.state.tree_node(b"") == b"root 0"
    channel.close()


def test_committed_blocks_and_their_state_are_there_after_a_reopen(path: Path) -> None:
    channel = ChannelStore.open(path, CHAIN_ID, history=10)
    commit_all(channel, 1, 20)
    channel.close()
    channel.close()
    channel = ChannelStore.open(path, CHAIN_ID, history=10)
    assert channel.head.block_hash == BLOCKS[19].header.hash
    channel.blocks.verify_bodies(1, 20)
    commit_all(channel, 21, 25)
    assert channel.state.get("trade", "counter", b"\x00") == b"25"
    for height in range(15, 26):
        with channel.state.at(height) as view:
            assert view.get("trade", "counter", b"\x00") == b"%d" % height
            assert view.tree_node(b"") == b"root %d" % height
            assert view.index_scan("trade", "invoice", "by_number", b"", b"", 5) == [
                (b"%08d" % height, b"%08d" % height)
            ]
    channel.close()


def test_a_block_that_does_not_fit_changes_nothing(path: Path) -> None:
    channel = ChannelStore.open(path, CHAIN_ID)
    with pytest.raises(ValueError, match="does not follow"):
        channel.commit(BLOCKS[1], changes_of(2))
    commit_all(channel, 1, 2)
    assert channel.head.height == 2
    channel.close()


def test_a_finished_database_is_never_created_again(path: Path) -> None:
    with pytest.raises(OperatorError, match="already there"):
        ChannelStore.create(path, GENESIS, genesis_changes(), CREATED_MS)
    ChannelStore.open(path, CHAIN_ID).close()


def test_the_database_of_another_channel_is_refused(path: Path) -> None:
    with pytest.raises(OperatorError, match="genesis file"):
        ChannelStore.open(path, bytes(32))
    ChannelStore.open(path, CHAIN_ID).close()


def test_blocks_and_state_at_different_heights_are_damage() -> None:
    store = MemoryStore()
    write_genesis(store, GENESIS, genesis_changes(), CREATED_MS)
    channel = ChannelStore.over(store, CHAIN_ID)
    older = store.get(schema.STATE_HEAD_KEY)
    commit_all(channel, 1, 3)
    ChannelStore.over(store, CHAIN_ID)
    newest = store.get(schema.STATE_HEAD_KEY)
    for wrong in (older, None, b"\xc1"):
        store.write([(schema.STATE_HEAD_KEY, wrong)])
        with pytest.raises(StorageError):
            ChannelStore.over(store, CHAIN_ID)
    store.write([(schema.STATE_HEAD_KEY, newest)])
    ChannelStore.over(store, CHAIN_ID)


def test_a_commit_that_fails_shows_neither_in_the_head_nor_in_the_state() -> None:
    class Failing(MemoryStore):
        failing = False

        def write(self, batch: object, *, sync: bool = True) -> None:
            if self.failing:
                raise StorageError("the disk is full")
            assert sync, "a decided block is written with sync"
            super().write(batch, sync=sync)  # type: ignore[arg-type]

    store = Failing()
    write_genesis(store, GENESIS, genesis_changes(), CREATED_MS)
    channel = ChannelStore.over(store, CHAIN_ID)
    commit_all(channel, 1, 1)
    store.failing = True
    with pytest.raises(StorageError):
        commit_all(channel, 2, 2)
    assert channel.head.height == 1
    assert channel.state.get("trade", "counter", b"\x00") == b"1"
    assert channel.state.head is not None and channel.state.head.timestamp_ms == time_of(1)


def files_of(path: Path) -> Iterator[Path]:
    return (file for file in sorted(path.iterdir()) if file.is_file())


def committed_copy(path: Path, heights: int, *, reopen: bool) -> None:
    """A database with ``heights`` blocks; reopening moves the log's content into tables, so both kinds are hit."""
    channel = ChannelStore.open(path, CHAIN_ID)
    commit_all(channel, 1, heights)
    channel.close()
    if reopen:
        store = LevelDBStore.open(path)
        store._database.compact_range()
        store.close()


def read_everything(path: Path) -> int:
    """Open, verify and read all; returns the height. Raises when anything is wrong; wrong values fail the test."""
    channel = ChannelStore.open(path, CHAIN_ID)
    try:
        height = channel.head.height
        channel.blocks.verify_bodies(1, height)
        for past in range(height + 1):
            with channel.state.at(past) as view:
                assert view.get("trade", "counter", b"\x00") == (b"%d" % past if past else None)
                assert view.tree_node(b"") == b"root %d" % past
                for number in range(1, past + 1):
                    assert view.get("trade", "invoice", b"%08d" % number) == b"invoice %d" % number
        return height
    finally:
        channel.close()


@pytest.mark.parametrize("compacted", [False, True], ids=["in the log", "in tables"])
def test_a_flipped_bit_anywhere_is_an_error_or_at_most_a_shorter_chain_and_never_a_wrong_value(
    path: Path, tmp_path: Path, compacted: bool
) -> None:
    committed_copy(path, 12, reopen=compacted)
    source = random.Random(5)
    outcomes = {"error": 0, "whole": 0, "shorter": 0}
    copy = tmp_path / "copy" / "db"
    for _ in range(60):
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(path.parent, copy.parent)
        # LOG and LOCK hold nothing of ours.
        victims = [
            file for file in files_of(copy) if file.stat().st_size and file.name not in ("LOG", "LOG.old", "LOCK")
        ]
        victim = source.choice(victims)
        data = bytearray(victim.read_bytes())
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        victim.write_bytes(data)
        try:
            height = read_everything(copy)
        except (StorageError, OperatorError):
            outcomes["error"] += 1
        else:
            # What a cut-off log loses at its end is for the head in the write-ahead log to notice.
            outcomes["whole" if height == 12 else "shorter"] += 1
    assert outcomes["error"] >= 20, outcomes


def test_a_lost_file_is_an_error_or_at_most_a_shorter_chain(path: Path, tmp_path: Path) -> None:
    committed_copy(path, 12, reopen=True)
    channel = ChannelStore.open(path, CHAIN_ID)
    commit_all(channel, 13, 15)
    channel.close()
    copy = tmp_path / "copy" / "db"
    heights = {}
    for name in [file.name for file in files_of(path)]:
        shutil.copytree(path.parent, copy.parent)
        (copy / name).unlink()
        try:
            heights[name] = read_everything(copy)
        except (StorageError, OperatorError):
            heights[name] = -1
        shutil.rmtree(copy.parent)
    assert heights["CURRENT"] == -1
    assert [height for name, height in heights.items() if name.endswith(".ldb")] == [-1] * sum(
        name.endswith(".ldb") for name in heights
    )
    assert [height for name, height in heights.items() if name.endswith(".log")] == [12], "only the last blocks"


def test_a_block_and_all_it_leads_to_is_one_synced_batch() -> None:
    writes = []

    class Counting(MemoryStore):
        def write(self, batch: object, *, sync: bool = True) -> None:
            entries = list(batch)  # type: ignore[call-overload]
            writes.append((len(entries), sync))
            super().write(entries, sync=sync)

    store = Counting()
    write_genesis(store, GENESIS, Changes(), CREATED_MS)
    channel = ChannelStore.over(store, CHAIN_ID)
    commit_all(channel, 1, 1)
    assert len(writes) == 2 and all(sync for _, sync in writes)
