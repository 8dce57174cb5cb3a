"""Batches of catch-up: stored with one write, and of use as far as consensus was not faster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest

from dawan_node.errors import StorageError
from dawan_node.node.applier import Decision
from dawan_node.storage.kv import Put
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.sync import SyncedBlock
from tests.node.channel_cluster import Cluster, memory_folder, simulate, until
from tests.node.ledger import Ledger, certify

OBSERVER = "gz8"
BEHIND = 24


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


async def put_behind(cluster: Cluster) -> None:
    await cluster.crash(OBSERVER)
    while cluster.nodes["gz1"].channel.head.height < BEHIND:
        await cluster.commit("gz1")
    cluster.start(OBSERVER)


async def caught_up(cluster: Cluster) -> None:
    channel = cluster.nodes[OBSERVER].channel
    await until(lambda: channel.head.height >= BEHIND, 30.0, "catch-up", cluster.describe)
    await cluster.settle()


def test_the_blocks_of_a_batch_share_one_synced_write(folder: Path) -> None:
    writes: list[int] = []
    write = LevelDBStore.write

    def counted(store: LevelDBStore, batch: Iterable[Put], *, sync: bool = True) -> None:
        if OBSERVER in str(store.path):
            assert sync
            writes.append(1)
        write(store, batch, sync=sync)

    async def scenario(cluster: Cluster) -> None:
        await put_behind(cluster)
        channel = cluster.nodes[OBSERVER].channel
        began = channel.head.height
        assert began == 0
        with mock.patch.object(LevelDBStore, "write", counted):
            await caught_up(cluster)
        assert 0 < len(writes) <= BEHIND // 3, writes

    simulate(folder, 41, scenario, observers=1)


def test_a_batch_that_consensus_has_begun_is_taken_from_where_it_left_off(folder: Path) -> None:
    """A dropped batch would be logged as ``synced_block_dropped``, which the cluster does not forgive."""
    taken_up: list[int] = []

    async def scenario(cluster: Cluster) -> None:
        await put_behind(cluster)
        channel = cluster.nodes[OBSERVER].channel
        apply, held = channel.driver.apply_synced, list[Sequence[SyncedBlock]]()

        async def release() -> None:
            await until(lambda: channel.head.height >= 2, 10.0, "the first two blocks", cluster.describe)
            for blocks in held:
                taken_up.append(sum(block.header.height <= channel.head.height for block in blocks))
                apply(blocks)
            held.clear()

        def late(blocks: Sequence[SyncedBlock]) -> None:
            if taken_up:
                apply(blocks)
                return
            held.append(blocks)
            if len(held) == 1:
                apply(blocks[:2])
                cluster.releasing = asyncio.create_task(release())  # type: ignore[attr-defined]

        with mock.patch.object(channel.driver, "apply_synced", late):
            await caught_up(cluster)

    simulate(folder, 43, scenario, observers=1)
    assert taken_up[0] == 2


def test_a_group_with_one_result_that_nobody_certified_is_not_stored_at_all() -> None:
    ledger = Ledger()
    first = ledger.block(ledger.transaction())
    below = ledger.execute(first).execution.result
    second = ledger.block(ledger.transaction(), on=first)
    above = ledger.execute(second).execution.result
    pairs = [(first, below), (second, above)]
    good = [Decision(b.hash, b.header, r, certify(b.header, r), (), b.transactions) for b, r in pairs]
    other = below  # of another block
    bad = Decision(second.hash, second.header, other, certify(second.header, other), (), second.transactions)
    with pytest.raises(StorageError, match="not the certified one"):
        ledger.applier.commit_all([good[0], bad])
    assert ledger.store.head.height == 0
    stored = ledger.applier.commit_all(good)
    assert [each.block.header.height for each in stored] == [1, 2] and ledger.applier.head.block_hash == second.hash
