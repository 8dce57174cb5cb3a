"""Several blocks in one batch: the database is the one that single commits would have made, whole or not at all."""

from __future__ import annotations

import random

import pytest
from ledger_kit import CHAIN_ID, CREATED_MS, GENESIS, Changes, chain, changes_of, genesis_changes, time_of

from dawan_node.errors import StorageError
from dawan_node.storage.channel_store import BlockToStore, ChannelStore, write_genesis
from dawan_node.storage.kv import MemoryStore, Put, StagedWrites

BLOCKS = chain(40)


class Counting(MemoryStore):
    """Counts its writes, and fails the one it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.fails_at = 0

    def write(self, batch: list[Put], *, sync: bool = True) -> None:  # type: ignore[override]
        self.writes += 1
        assert sync, "a block is durable when it is written"
        if self.writes == self.fails_at:
            raise StorageError("the disk is gone")
        super().write(batch, sync=sync)


def opened(history: int) -> tuple[Counting, ChannelStore]:
    store = Counting()
    write_genesis(store, GENESIS, genesis_changes(), CREATED_MS)
    store.writes = 0
    return store, ChannelStore.over(store, CHAIN_ID, history=history)


def blocks_of(source: random.Random) -> list[BlockToStore]:
    """Blocks that write the same keys again and again, with nonces that expire and are used anew within a batch."""
    keys = [bytes([source.randrange(6)]) for _ in range(3)]
    made = []
    for height, block in enumerate(BLOCKS, start=1):
        changes = changes_of(height)
        state = {**changes.state, ("m", "c", source.choice(keys)): source.choice([None, b"%d" % source.randrange(3)])}
        indexes = {**changes.indexes, ("m", "c", "i", source.choice(keys)): source.choice([None, b"x"])}
        nonces = [(b"k" * 32, bytes(15) + bytes([source.randrange(3)]), time_of(height) + source.randrange(1, 4_000))]
        made.append(BlockToStore(block, Changes(state, indexes, dict(changes.nodes), nonces)))
    return made


@pytest.mark.parametrize("history", [0, 3, 10_000])
def test_blocks_in_groups_leave_byte_for_byte_what_single_ones_leave(history: int) -> None:
    for seed in range(6):
        source = random.Random(seed)
        blocks = blocks_of(source)
        single, one_by_one = opened(history)
        grouped, together = opened(history)
        position = 0
        while position < len(blocks):
            size = source.randint(1, 17)
            group = blocks[position : position + size]
            writes = grouped.writes
            together.commit_all(group)
            assert grouped.writes == writes + 1
            for each in group:
                one_by_one.commit(each.block, each.changes)
            assert list(grouped.iterate()) == list(single.iterate())
            for key in range(6):
                assert together.state.get("m", "c", bytes([key])) == one_by_one.state.get("m", "c", bytes([key]))
            position += size


def test_a_group_that_cannot_be_written_leaves_nothing_of_itself() -> None:
    store, channel = opened(10)
    blocks = blocks_of(random.Random(1))
    channel.commit_all(blocks[:5])
    before = list(store.iterate())
    store.fails_at = 2
    with pytest.raises(StorageError, match="disk"):
        channel.commit_all(blocks[5:20])
    assert list(store.iterate()) == before
    assert ChannelStore.over(store, CHAIN_ID, history=10).head.height == 5


def test_a_group_is_cut_where_the_store_must_be_seen_and_seen_as_it_was_there() -> None:
    store, channel = opened(10)
    seen: list[tuple[int, int]] = []
    channel.ends_batch = lambda height: height % 4 == 0
    channel.on_commit = lambda height: seen.append((height, ChannelStore.over(store, CHAIN_ID).head.height))
    channel.commit_all(blocks_of(random.Random(2))[:10])
    assert seen == [(4, 4), (8, 8), (10, 10)]
    assert store.writes == 3


def test_a_block_that_does_not_follow_the_one_below_in_its_group_is_refused_before_anything_is_written() -> None:
    store, channel = opened(10)
    blocks = blocks_of(random.Random(3))
    with pytest.raises(ValueError, match="does not follow"):
        channel.commit_all([blocks[0], blocks[2]])
    assert store.writes == 0


def test_what_is_staged_reads_as_if_it_were_written() -> None:
    source = random.Random(4)
    names = [bytes(source.choices(b"\x00ab\xff", k=length)) for length in (0, 1, 1, 2, 2, 3, 3, 3) for _ in range(4)]
    for _ in range(60):
        written, below = MemoryStore(), MemoryStore()
        first = [(key, b"below") for key in source.sample(names, 12)]
        written.write(first)
        below.write(first)
        staged = StagedWrites(below)
        for _ in range(3):
            batch = [(source.choice(names), source.choice([None, b"1", b"2"])) for _ in range(6)]
            staged.stage(batch)
            written.write(batch)
        assert [staged.get(key) for key in names] == [written.get(key) for key in names]
        for reverse in (False, True):
            for prefix in (b"", b"a", b"\xff"):
                start, stop = source.choice([None, *names]), source.choice([None, *names])
                found = list(staged.iterate(prefix=prefix, start=start, stop=stop, reverse=reverse))
                assert found == list(written.iterate(prefix=prefix, start=start, stop=stop, reverse=reverse))
        assert list(below.iterate()) == sorted(dict(first).items())
        below.write(staged.puts())
        assert list(below.iterate()) == list(written.iterate())
