"""What one bad peer, one bad client or one bad clock must not be able to do to a channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.errors import InvalidMessage, InvalidTransaction
from dawan_node.node.budget import (
    DEAF_MS,
    FRAMES_BURST,
    STORED_LEAF_LIST_US,
    USELESS_BURST,
    VOTES_BURST,
    WORK_US_BURST,
    PeerBudget,
    PeerBudgets,
)
from dawan_node.node.ledger import Ledger
from dawan_node.node.syncing import ANSWERS_PER_PEER_MAX
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import FetchBlock, FetchTx, Txs, TxsReply
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.transaction import Transaction, assemble_envelope
from dawan_node.rpc import api
from dawan_node.rpc.params import decode_cursor, encode_cursor
from dawan_node.sync import BodiesRequest
from tests.node.channel_cluster import Cluster, Node, memory_folder, simulate, until
from tests.node.ledger import START_MS, trade_genesis
from tests.node.virtual_time import VirtualClock

VALIDATORS = ("gz1", "hk1", "hq1", "mo1")


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The nodes log to the cluster's ears only."""
    logger = logging.getLogger("dawan_node")
    logger.propagate = False
    yield
    logger.propagate = True


# Bytes

#: Maps that MessagePack can write and that no canonical encoding has: keyed by an array, by nil, by a float.
KEYED_STRANGELY = (b"\x81\x90\x01", b"\x81\xc0\x01", b"\x81\xcb\x7f\xf8\0\0\0\0\0\x01\x01", b"\x81\x91\x90\x01")


def strangely_keyed(args: bytes) -> bytes:
    """An envelope whose args hold ``args``; nobody needs a key to make it."""
    body = encode([1, trade_genesis().chain_id, bytes(16), START_MS, "receivable", "record_invoice", {"a": 0}])
    assert body.endswith(b"\x81\xa1a\x00")
    return assemble_envelope(body[:-1] + args, "ed25519", bytes(32), bytes(64))


@pytest.mark.parametrize("args", KEYED_STRANGELY, ids=bytes.hex)
def test_a_map_with_other_keys_than_strings_is_malformed_and_nothing_worse(args: bytes) -> None:
    with pytest.raises(InvalidTransaction) as refused:
        Transaction.decode(strangely_keyed(args))
    assert refused.value.code == Code.E_MALFORMED


@pytest.mark.parametrize("topic", [Topic.GOSSIP, Topic.FETCH], ids=lambda topic: topic.name)
def test_an_envelope_that_cannot_be_encoded_again_ends_a_link_and_no_node(folder: Path, topic: Topic) -> None:
    """Fabric CVE-2022-31121: a malformed message ended the orderer."""

    async def scenario(cluster: Cluster) -> None:
        envelopes = [strangely_keyed(KEYED_STRANGELY[0])]
        payload = Txs(envelopes).encode() if topic is Topic.GOSSIP else TxsReply(0, envelopes).encode()
        cluster.carry("mo1", "gz1", topic, payload)
        await until(lambda: bool(cluster.trouble), 1.0, "accusation")
        assert cluster.trouble == ["gz1 accuses mo1: 1 of 1 gossiped transactions are malformed"]
        cluster.trouble.clear()
        await cluster.commit("gz1")

    simulate(folder, 61, scenario)


# Floods


def test_a_peer_pays_for_its_frames_votes_work_and_useless_transactions() -> None:
    now = [0]
    budget = PeerBudget(lambda: now[0])
    for _ in range(FRAMES_BURST):
        budget.frame(100)
    with pytest.raises(InvalidMessage):
        budget.frame(100)
    assert sum(budget.consensus(200) for _ in range(2 * VOTES_BURST)) == VOTES_BURST
    assert sum(budget.work(STORED_LEAF_LIST_US) for _ in range(1000)) == WORK_US_BURST // STORED_LEAF_LIST_US
    budget.was_useless(USELESS_BURST)
    assert budget.may_offer()
    budget.was_useless(1)
    assert not budget.may_offer()
    now[0] += DEAF_MS
    assert budget.may_offer() and budget.consensus(200) and budget.work(STORED_LEAF_LIST_US)
    budget.frame(100)


def test_a_peer_has_one_purse_for_all_channels_and_others_have_their_own() -> None:
    budgets = PeerBudgets(lambda: 0)
    assert budgets.of("gz1") is budgets.of("gz1")
    assert budgets.of("gz1") is not budgets.of("hk1")


def test_a_large_frame_costs_as_much_as_many_small_ones() -> None:
    budget = PeerBudget(lambda: 0)
    with pytest.raises(InvalidMessage):
        for _ in range(FRAMES_BURST // 60):
            budget.frame(1 << 20)


def test_requests_beyond_a_peers_means_are_not_even_looked_up_and_others_are_still_helped(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(40)
        await cluster.settle()
        channel = cluster.nodes["gz1"].channel
        for at in range(1, channel.head.height + 1):  # nothing at hand: each list is made from the disk
            for body in list(channel._bodies._blocks.values()):
                channel._bodies._drop(body.block_hash)
            assert channel.store.blocks.header(at) is not None
        looked_up = 0
        envelopes = channel.store.blocks.envelopes

        def counted(height: int) -> tuple[bytes, ...] | None:
            nonlocal looked_up
            looked_up += 1
            return envelopes(height)

        channel.store.blocks.envelopes = counted  # type: ignore[method-assign]
        decided = channel.store.blocks.header(1)
        assert decided is not None
        bad, good = cluster.nodes["mo1"].peer, cluster.nodes["hk1"].peer
        for _ in range(5_000):
            channel.on_message(bad, Topic.FETCH, FetchBlock(decided.hash).encode())
        assert looked_up <= WORK_US_BURST // STORED_LEAF_LIST_US
        looked_up = 0
        channel.on_message(good, Topic.FETCH, FetchBlock(decided.hash).encode())
        assert looked_up == 1
        for number in range(2_000):
            channel.on_message(bad, Topic.SYNC, BodiesRequest(number, 1, 3).encode())
            channel.on_message(bad, Topic.FETCH, FetchTx(1, [number.to_bytes(32, "big")]).encode())
        assert channel._syncing.served.total() <= ANSWERS_PER_PEER_MAX
        await cluster.commit("gz1")
        with pytest.raises(InvalidMessage):
            for _ in range(FRAMES_BURST):
                channel.on_message(bad, Topic.FETCH, FetchBlock(decided.hash).encode())

    simulate(folder, 67, scenario)


def test_nobody_but_validators_is_heard_about_consensus(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        channel = cluster.nodes["gz1"].channel
        before = len(channel.driver._inputs)
        for _ in range(100):
            channel.on_message(cluster.nodes["gz8"].peer, Topic.CONSENSUS, b"not even decoded")
        assert len(channel.driver._inputs) == before

    simulate(folder, 71, scenario, observers=1)


# Holders are hints


def test_a_holder_of_an_epoch_that_is_over_is_passed_over(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        channel = cluster.nodes["gz1"].channel
        channel.wanted_range(5, (0, 3, 4, 99))
        channel._fetch_from(99, b"x")
        await cluster.commit("gz1")

    simulate(folder, 73, scenario)


# Clocks


def test_a_clock_set_back_by_an_hour_stops_no_primary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [1]  # all clocks are an hour ahead ...
    wall_ms = VirtualClock.wall_ms
    monkeypatch.setattr(VirtualClock, "wall_ms", lambda self: wall_ms(self) + hours[0] * 3_600_000)

    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("gz1", cluster.author.transaction(time_ms=START_MS + 3_600_000))
        hours[0] = 0  # ... and corrected
        await cluster.commit("gz1", cluster.author.transaction(time_ms=START_MS + 3_600_000), seconds=2.0)
        assert {node.channel.driver.replica.status().view for node in cluster.alive} == {0}

    simulate(folder, 79, scenario)


# Rules that change under load


@pytest.mark.parametrize(
    ("name", "value"), [("block_txs_max", 10), ("tx_lifetime_ms_max", 600_000)], ids=["fewer", "briefer"]
)
def test_an_honest_primary_is_not_deposed_for_proposing_by_the_old_rules(folder: Path, name: str, value: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        author, now_ms = cluster.author, cluster.clock.wall_ms

        def rule(node: Node) -> int:
            channel = node.channel
            return channel.driver._rules.block_txs_max if name == "block_txs_max" else channel.pool.lifetime_ms_max

        await cluster.commit(
            "gz1", author.admin("gz", "propose_parameter", {"id": "p", "name": name, "value": value}, time_ms=now_ms())
        )
        votes = [
            author.admin(o, "vote", {"proposal": "p", "approve": True}, time_ms=now_ms()) for o in ("gz", "hk", "mo")
        ]
        await cluster.commit("gz1", *votes)
        waiting = [author.transaction("supplier-a", time_ms=now_ms()) for _ in range(200)]
        enact = author.admin("hk", "enact", {"proposal": "p"}, time_ms=now_ms())
        for name_of_node in VALIDATORS:
            admission = cluster.nodes[name_of_node].channel.admission
            await admission.submit([transaction.envelope for transaction in (*waiting[:60], enact, *waiting[60:])])
        await until(lambda: all(rule(node) == value for node in cluster.alive), 10.0, "the new rule", cluster.describe)
        await asyncio.sleep(30.0)
        views = {node.name: node.channel.driver.replica.status().view for node in cluster.alive}
        assert set(views.values()) == {0}, views
        await cluster.commit("gz1", author.transaction("supplier-b", time_ms=now_ms(), lifetime_ms=300_000))

    simulate(folder, 83, scenario)


# Answers


def test_the_same_bytes_long_after_they_expired_still_get_their_receipt(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        brief = cluster.author.transaction("supplier-a", time_ms=cluster.clock.wall_ms(), lifetime_ms=4_000)
        await cluster.commit("gz1", brief)
        await asyncio.sleep(60.0)
        for _ in range(3):  # blocks after its time, so that the nonce index forgets it
            await cluster.commit("gz1")
        for name in VALIDATORS:
            (verdict,) = await cluster.nodes[name].channel.admission.submit([brief.envelope])
            assert verdict.refusal is None and verdict.height is not None

    simulate(folder, 89, scenario)


def test_blocks_without_events_do_not_stop_whoever_reads_events(folder: Path) -> None:
    """A cursor always has an encoding, and goes on behind blocks that hold nothing but failures."""

    async def scenario(cluster: Cluster) -> None:
        channel, author = cluster.nodes["gz1"].channel, cluster.author
        ledger = Ledger(channel, None)  # type: ignore[arg-type]  # the consortium names members, not events
        await cluster.commit("gz1")
        found: list[api.EventInfo] = []
        cursor = api.EventPosition(0, 0, 0)
        for commands in (1, 0, 0, 2, 0):
            # An administrator may not record invoices: the receipt says so and holds no event.
            await cluster.commit("gz1", author.transaction("gz-admin", time_ms=cluster.clock.wall_ms()))
            for _ in range(commands):
                await cluster.commit("gz1")
            page = ledger.events(cursor, 100, api.EventFilter())
            found += page.events
            cursor = decode_cursor("kit", encode_cursor("kit", page.scanned_to))
            assert cursor.height == channel.head.height
            assert ledger.events(cursor, 100, api.EventFilter()).events == ()
        assert [event.position for event in found] == sorted({event.position for event in found})
        assert len(found) == 4

    simulate(folder, 97, scenario)
