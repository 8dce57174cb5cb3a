"""Who is far behind takes nothing it cannot judge, and gives others no work with what they decided long ago."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest

from dawan_node.mempool import Mempool
from dawan_node.node import channel as channel_module
from dawan_node.node.channel import Channel
from dawan_node.p2p.gossip import IWant, Txs, decode_gossip
from dawan_node.primitives.transaction import Transaction
from dawan_node.sync.catch_up import FAR_BEHIND_BLOCKS
from tests.node.channel_cluster import Cluster, Links, memory_folder, simulate, until

LATE = "mo1"
BLOCKS = 3 * FAR_BEHIND_BLOCKS


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


async def leave_behind(cluster: Cluster) -> Channel:
    """The late validator has just been started, far behind the others."""
    await cluster.crash(LATE)
    while cluster.nodes["gz1"].channel.head.height < BLOCKS:
        await cluster.commit("gz1")
    cluster.start(LATE)
    return cluster.nodes[LATE].channel


def test_what_is_gossiped_to_who_is_far_behind_does_not_fill_its_pool(folder: Path) -> None:
    """Its signatures were checked and its place kept for thousands of blocks, each of which went through all of it."""
    taken: list[int] = []
    add = Mempool.add

    async def scenario(cluster: Cluster) -> None:
        channel = await leave_behind(cluster)
        await until(lambda: channel.catch_up.is_far_behind, 5.0, "the distance noticed", cluster.describe)

        def counted(pool: Mempool, *args: object) -> object:
            if pool is channel.pool and channel.catch_up.is_far_behind:
                taken.append(1)
            return add(pool, *args)  # type: ignore[arg-type]

        with mock.patch.object(Mempool, "add", counted):
            apply = channel.driver.apply_synced
            with mock.patch.object(channel.driver, "apply_synced", lambda blocks: held.append(blocks)):
                for _ in range(40):
                    await cluster.commit("gz1")
                assert channel.catch_up.is_far_behind
            for blocks in held:
                apply(blocks)
            await until(lambda: not channel.catch_up.is_far_behind, 30.0, "catch-up", cluster.describe)
            await cluster.submit_again()
        await cluster.settle()
        await cluster.commit(LATE)

    held: list[Sequence[object]] = []
    simulate(folder, 51, scenario)
    assert taken == []


def test_who_is_far_behind_sends_nothing_again(folder: Path) -> None:
    """What waits there is mostly decided: the others read each of it, looked it up, and dropped it."""
    sent: list[bool] = []

    async def scenario(cluster: Cluster) -> None:
        channel = await leave_behind(cluster)
        await until(lambda: channel.catch_up.is_far_behind, 5.0, "the distance noticed", cluster.describe)
        apply, held = channel.driver.apply_synced, list[Sequence[object]]()
        again = Channel.again

        def noted(each: Channel, transactions: Sequence[Transaction]) -> None:
            if each is channel:
                sent.append(each.catch_up.is_far_behind)
            again(each, transactions)

        with mock.patch.object(Channel, "again", noted):
            with mock.patch.object(channel.driver, "apply_synced", held.append):
                transactions = [cluster.transaction() for _ in range(20)]
                await cluster.submit(LATE, *transactions)
                assert len(channel.pool) == 20, "a client is served all the while"
                channel.driver._watching._due_ms = 2**60  # the oldest of an organisation is another matter
                await asyncio.sleep(4.0)
            assert sent == []
            for blocks in held:
                apply(blocks)  # type: ignore[arg-type]
        await cluster.settle()

    simulate(folder, 52, scenario)


def test_what_clients_of_a_node_far_behind_sent_is_given_to_who_asks_for_it(folder: Path) -> None:
    """An observer announces it to all validators but one, and that one may ignore it."""

    async def scenario(cluster: Cluster) -> None:
        transaction = cluster.transaction()
        channel = cluster.nodes[LATE].channel
        await cluster.submit(LATE, transaction)
        wants = IWant([transaction.leaf_hash]).encode()
        offers = Txs([cluster.transaction().envelope]).encode()
        with mock.patch.object(Links, "send") as send:
            channel._spreading.on_message("gz1", offers, takes_transactions=False)
            channel._spreading.on_message("gz1", wants, takes_transactions=False)
        (sent,) = send.call_args_list
        assert decode_gossip(sent.args[3]).envelopes == [transaction.envelope]
        assert len(channel.pool) <= 1
        await cluster.settle()

    simulate(folder, 53, scenario)


def test_everything_overdue_is_sent_again_before_anything_is_sent_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a queue that one round did not get through, the others' few transactions were never sent again."""
    monkeypatch.setattr(channel_module, "OVERDUE_MAX", 2)
    monkeypatch.setattr(channel_module, "RESEND_ROUND_MS", 500)
    sent: list[bytes] = []

    async def scenario(cluster: Cluster) -> None:
        await cluster.crash("hk1", "mo1", "hq1")
        channel = cluster.nodes["gz1"].channel
        transactions = [cluster.transaction() for _ in range(20)]
        await cluster.submit("gz1", *transactions)
        channel.driver._watching._due_ms = 2**60  # the oldest of an organisation is another matter
        with mock.patch.object(Channel, "again", lambda _, batch: sent.extend(each.leaf_hash for each in batch)):
            await until(lambda: len(sent) > 20, 30.0, "a second round", cluster.describe)
        assert set(sent[:20]) == {transaction.leaf_hash for transaction in transactions}
        cluster.start("hk1", "mo1", "hq1")
        await cluster.settle()

    simulate(folder, 54, scenario)
