"""Newcomers and nodes long away join whole channels by snapshot: among liars, and through crashes of their own."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from dawan_node import failpoints
from dawan_node.consensus.report import Mode
from dawan_node.node.keeping import Keeping
from dawan_node.node.snapshot_attempts import HELD_MS, RETRY_MS
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.primitives.codes import Code
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.snapshot_files import SnapshotFolders
from dawan_node.sync import LightReply, decode_sync_message
from dawan_node.sync.snapshot_messages import (
    EpochProof,
    EpochReply,
    PartReply,
    SnapshotOffer,
    decode_snapshot_message,
    is_snapshot_message,
)
from dawan_node.testing.module_kit import private_key_of
from tests.node.channel_cluster import Cluster, memory_folder, simulate, until
from tests.node.snapshot_kit import contents

OBSERVER = "gz8"

Carry = Callable[[str, str, Topic, bytes], bool]


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("dawan_node")
    logger.propagate = False
    yield
    logger.propagate = True


def eager(folder: Path) -> Keeping:
    """A snapshot every ten blocks, fetched by whoever is further behind than fifteen."""
    return Keeping(folder, snapshot_every=10, snapshot_behind=15)


async def grow(cluster: Cluster, height: int) -> None:
    """Blocks of a transaction or two, up to a height at least, and the snapshots that are due."""
    while cluster.alive[0].channel.head.height < height:
        await cluster.commit("gz1", cluster.transaction())
    due = height // 10 * 10
    await until(
        lambda: all(node.channel.snapshots and due in (0, *node.channel.snapshots.offered) for node in cluster.alive),
        20,
        f"snapshot of {due} everywhere",
        cluster.describe,
    )


async def reopened(cluster: Cluster, name: str) -> None:
    """Wait until a node has a snapshot to install, and open it anew as the process does."""
    await until(lambda: name in cluster.reopens, 60, "snapshot", cluster.describe)
    cluster.reopens.remove(name)
    await cluster.stop(name)
    cluster.start(name)


async def level(cluster: Cluster, name: str) -> None:
    """Wait until a node is where the others are, with the same state byte for byte."""
    own, other = cluster.nodes[name].channel, cluster.nodes["gz1"].channel
    await until(lambda: own.head.block_hash == other.head.block_hash, 60, "catching up", cluster.describe)
    mine, theirs = own.store.snapshot(), other.store.snapshot()
    assert contents(mine) == contents(theirs)
    mine.close()
    theirs.close()


def test_an_observer_with_nothing_joins_by_snapshot_and_follows(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 33)
        cluster.start(OBSERVER)
        bus = cluster.nodes[OBSERVER].channel.bus
        client = bus.wait_for(bytes(32))
        await until(lambda: OBSERVER in cluster.reopens, 60, "snapshot", cluster.describe)
        assert client is not None and client.cancelled(), "a client that waits would hold up the opening"
        assert bus.wait_for(bytes(32)) is None
        await reopened(cluster, OBSERVER)
        channel = cluster.nodes[OBSERVER].channel
        assert channel.store.blocks.kept().oldest == 31
        await level(cluster, OBSERVER)
        await cluster.commit("gz1", cluster.transaction())
        await level(cluster, OBSERVER)
        assert channel.store.blocks.envelopes(5) is None and channel.store.blocks.envelopes(33) is not None

    simulate(folder, 1, scenario, observers=1, keeping=eager)


def lying(cluster: Cluster, liar: str) -> Callable[[], None]:
    """From now on every part of a snapshot that ``liar`` sends has one bit changed."""
    carry = cluster.carry

    def changed(sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
        if sender == liar and topic is Topic.SYNC and is_snapshot_message(payload):
            message = decode_snapshot_message(payload)
            if isinstance(message, PartReply) and message.data:
                data = bytearray(message.data)
                data[cluster.source.randrange(len(data))] ^= 1
                payload = PartReply(message.id, bytes(data)).encode()
        return carry(sender, receiver, topic, payload)

    cluster.carry = changed  # type: ignore[method-assign]
    return lambda: setattr(cluster, "carry", carry)


def test_a_lying_peer_is_cut_off_and_the_newcomer_arrives_all_the_same(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 21)
        stop = lying(cluster, "gz1")  # the first that is asked
        cluster.start(OBSERVER)
        await reopened(cluster, OBSERVER)
        stop()
        assert cluster.trouble and all(each.startswith(f"{OBSERVER} accuses gz1:") for each in cluster.trouble)
        cluster.trouble.clear()
        await level(cluster, OBSERVER)

    simulate(folder, 2, scenario, observers=1, keeping=eager)


def stolen_end(cluster: Cluster, height: int) -> EpochProof:
    """An end of epoch 0 that nobody decided, by whoever has the keys of its validators (amendment U14)."""
    genesis = cluster.author.genesis
    validators = genesis.validator_set
    keys = {node.peer.public_key: private_key_of(node.key_name) for node in cluster.nodes.values()}
    following = ValidatorSet(validators.members[:3])
    header = Header(
        1,
        genesis.chain_id,
        0,
        height,
        bytes(32),
        bytes(32),
        1,
        1,
        genesis.created_ms + height,
        0,
        validators.hash,
        True,
    )
    result = Result(height, header.hash, bytes(32), bytes(32), bytes(32), following.hash)
    vote = commit_vote_bytes(genesis.chain_id, 0, 0, height, header.hash, result.hash)
    signatures = [keys[public_key].sign(COMMIT_TAG, vote) for public_key in validators.public_keys[: validators.q]]
    bitmap = bitmap_of(range(validators.q), validators.n)
    certificate = CommitCertificate(0, 0, height, header.hash, result.hash, bitmap, signatures)
    finality = FinalityProof.build(header.encode(), result.encode(), [], certificate.encode())
    return EpochProof(finality.encode(), following.members)


def test_where_an_epoch_has_two_ends_no_snapshot_is_taken_and_people_are_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 21)
        carry = cluster.carry
        ends = {"gz1": stolen_end(cluster, 5), "hk1": stolen_end(cluster, 7)}

        def thieves(sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
            if sender in ends and topic is Topic.SYNC and is_snapshot_message(payload):
                message = decode_snapshot_message(payload)
                if isinstance(message, EpochReply):
                    payload = EpochReply(message.id, (ends[sender],)).encode()
            return carry(sender, receiver, topic, payload)

        cluster.carry = thieves  # type: ignore[method-assign]
        cluster.start(OBSERVER)
        await level(cluster, OBSERVER)
        assert not cluster.reopens, "by blocks"

    with caplog.at_level(logging.WARNING, "dawan_node.node.snapshot_fetching"):
        simulate(folder, 3, scenario, observers=1, keeping=eager)
    (alarm,) = [record for record in caplog.records if record.message == "epoch_ends_contradict"]
    assert alarm.levelno == logging.CRITICAL
    assert "snapshot_given_up" in caplog.messages and "snapshot_chosen" not in caplog.messages


def test_a_validator_that_lost_its_database_and_kept_its_log_votes_again_after_the_snapshot(folder: Path) -> None:
    """The cluster watches every signature: nothing is signed below the floor that the log remembers (U6, U7)."""

    async def scenario(cluster: Cluster) -> None:
        await grow(cluster, 27)
        await cluster.stop("mo1")
        shutil.rmtree(cluster.nodes["mo1"].folder)
        await grow(cluster, 31)
        cluster.start("mo1")
        await reopened(cluster, "mo1")
        await level(cluster, "mo1")
        await cluster.stop("hk1")  # from now on its vote is needed
        before = cluster.nodes["gz1"].channel.head.height
        await cluster.commit("gz1", cluster.transaction(), seconds=60)
        assert cluster.nodes["gz1"].channel.head.height > before
        assert cluster.nodes["mo1"].channel.driver.replica.status().state is Mode.NORMAL

    simulate(folder, 3, scenario, keeping=eager)


def test_a_validator_that_was_away_for_long_keeps_its_vote(folder: Path) -> None:
    """Its log hears of the snapshot before its database does; else the log would look like a lost one."""

    async def scenario(cluster: Cluster) -> None:
        await grow(cluster, 3)
        await cluster.stop("mo1")
        await grow(cluster, 31)
        cluster.start("mo1")
        await reopened(cluster, "mo1")
        await level(cluster, "mo1")
        assert cluster.nodes["mo1"].channel.driver.replica.status().state is Mode.NORMAL
        aside = [path.name for path in cluster.nodes["mo1"].folder.iterdir() if "before" in path.name]
        assert len(aside) == 1, "its own blocks are kept aside"

    simulate(folder, 4, scenario, keeping=eager)


@pytest.mark.parametrize("seed", range(3))
def test_a_newcomer_that_crashes_while_it_fetches_goes_on_and_arrives(folder: Path, seed: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 31)
        for _ in range(3):
            cluster.start(OBSERVER)
            before = len(cluster.reopens)
            deadline = cluster.clock.monotonic_ms() + cluster.source.randrange(50, 4_000)
            await until(
                lambda before=before, deadline=deadline: (  # type: ignore[misc]
                    len(cluster.reopens) > before or cluster.clock.monotonic_ms() > deadline
                ),
                60,
                "moment to crash",
            )
            await cluster.crash(OBSERVER)
        cluster.reopens.clear()
        cluster.start(OBSERVER)
        if cluster.nodes[OBSERVER].channel.head.height < 30:
            await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)
        assert cluster.nodes[OBSERVER].channel.store.blocks.kept().oldest > 1

    simulate(folder, 10 + seed, scenario, observers=1, keeping=eager)


def test_without_any_snapshot_the_node_says_so_and_goes_on_by_blocks(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 20)
        for node in cluster.alive:
            folders = SnapshotFolders(node.folder / "snapshots")
            for height in folders.heights():
                folders.remove(height)
        names = [node.name for node in cluster.alive]
        await cluster.stop(*names)
        cluster.start(*names)
        cluster.start(OBSERVER)
        await level(cluster, OBSERVER)
        assert cluster.nodes[OBSERVER].channel.store.blocks.kept().oldest == 1
        assert not cluster.reopens

    simulate(folder, 5, scenario, observers=1, keeping=eager)


def one_maker(folder: Path) -> Keeping:
    """Only gz1 makes snapshots."""
    return Keeping(folder, snapshot_every=10 if folder.name == "gz1" else 0, snapshot_behind=15)


async def made_by_one(cluster: Cluster) -> None:
    """Some blocks without the observer, which then starts where the maker of snapshots cannot be reached."""
    await cluster.stop(OBSERVER)
    while cluster.alive[0].channel.head.height < 60:
        await cluster.commit("gz1", cluster.transaction())
    maker = cluster.nodes["gz1"].channel
    await until(lambda: maker.snapshots is not None and 60 in maker.snapshots.offered, 20, "snapshot of 60")
    others = [name for name in cluster.nodes if name not in ("gz1", OBSERVER)]
    cluster.partition(["gz1", *others], [*others, OBSERVER])
    cluster.start(OBSERVER)


@pytest.mark.parametrize("after_ms", [0, 100, 2_500, 3_500, 9_000])
def test_who_makes_snapshots_may_be_connected_last(folder: Path, after_ms: int) -> None:
    """A node that had lost everything heard of no snapshot from the first two peers, and fetched all blocks."""

    async def scenario(cluster: Cluster) -> None:
        carry = cluster.carry

        def without_blocks(sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
            is_help = receiver == OBSERVER and topic is Topic.SYNC and not is_snapshot_message(payload)
            if is_help and isinstance(decode_sync_message(payload), LightReply):
                return False  # blocks would be there before the maker is
            return carry(sender, receiver, topic, payload)

        cluster.carry = without_blocks  # type: ignore[method-assign]
        await made_by_one(cluster)
        connected_ms = cluster.clock.monotonic_ms() + after_ms
        await until(lambda: cluster.clock.monotonic_ms() >= connected_ms, 20, "the moment")
        cluster.partition()
        await until(lambda: OBSERVER in cluster.reopens, 10, "snapshot", cluster.describe)
        took_ms = cluster.clock.monotonic_ms() - connected_ms
        assert took_ms < 5_000, "and not a minute after the first attempt"
        cluster.carry = carry  # type: ignore[method-assign]
        await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)
        assert cluster.nodes[OBSERVER].channel.store.blocks.kept().oldest > 1

    simulate(folder, 30, scenario, observers=1, keeping=one_maker)


def test_blocks_do_not_wait_for_further_attempts_to_find_a_snapshot(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await made_by_one(cluster)
        await level(cluster, OBSERVER)
        channel = cluster.nodes[OBSERVER].channel
        assert channel.store.blocks.kept().oldest == 1 and not cluster.reopens

    simulate(folder, 31, scenario, observers=1, keeping=one_maker)


def test_a_snapshot_that_blocks_have_overtaken_does_not_take_the_node_back(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 33)
        cluster.start(OBSERVER)
        channel, incoming = cluster.nodes[OBSERVER].channel, folder / OBSERVER / "incoming"

        def arrived(place: str) -> None:
            if place == "fetch.before_build":  # as if blocks that were on their way had been executed
                channel._syncing.anchor = cluster.nodes["gz1"].channel._syncing.anchor

        failpoints.watch(arrived)
        await until(lambda: channel._syncing.anchor.height == 33, 60, "overtaking", cluster.describe)
        await level(cluster, OBSERVER)
        assert channel.store.blocks.kept().oldest == 1
        assert not cluster.reopens and not incoming.exists()

    try:
        simulate(folder, 32, scenario, observers=1, keeping=eager)
    finally:
        failpoints.watch(None)


def test_who_offers_a_snapshot_and_sends_nothing_of_it_keeps_nobody_from_the_blocks(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        carry = cluster.carry

        def sparing(sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
            is_answer = receiver == OBSERVER and topic is Topic.SYNC and is_snapshot_message(payload)
            if is_answer and isinstance(decode_snapshot_message(payload), PartReply):
                return True
            return carry(sender, receiver, topic, payload)

        await made_by_one(cluster)
        cluster.carry = sparing  # type: ignore[method-assign]
        cluster.partition()
        began_ms = cluster.clock.monotonic_ms()
        channel = cluster.nodes[OBSERVER].channel
        await until(lambda: channel.head.height >= 60, 200, "blocks", cluster.describe)
        assert cluster.clock.monotonic_ms() - began_ms < HELD_MS + 10_000
        await level(cluster, OBSERVER)
        assert channel.store.blocks.kept().oldest == 1 and not cluster.reopens

    simulate(folder, 33, scenario, observers=1, keeping=one_maker)


def test_who_may_draw_little_gets_a_snapshot_slowly_and_no_part_is_late(folder: Path) -> None:
    """A helper that has sent as much as it lends answers later; an answer it dropped would be waited for 15 s."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 33)
        cluster.start(OBSERVER)
        began_ms = cluster.clock.monotonic_ms()
        await until(lambda: OBSERVER in cluster.reopens, 60, "snapshot", cluster.describe)
        took_ms = cluster.clock.monotonic_ms() - began_ms
        assert 2_000 < took_ms < 14_000, took_ms
        await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)

    with (
        mock.patch("dawan_node.node.serving.ANSWER_BYTES_BURST", 4_096),
        mock.patch("dawan_node.node.serving.ANSWER_BYTES_PER_S", 1_024),
    ):
        simulate(folder, 34, scenario, observers=1, keeping=eager)


def pruning(folder: Path) -> Keeping:
    """Ten blocks or so are kept, and a snapshot is taken for nothing but want of them."""
    return Keeping(folder, retain_blocks=1, retain_blocks_min=1, snapshot_every=10, snapshot_behind=1_000)


async def pruned(cluster: Cluster) -> None:
    """22 blocks without the observer, of which the first ten are nowhere any more."""
    await cluster.stop(OBSERVER)
    await grow(cluster, 22)
    cluster.clock.start_ms += 3_700_000  # a transaction lives for an hour at most
    await cluster.commit("gz1")
    await until(
        lambda: all(node.channel.store.blocks.kept().oldest == 11 for node in cluster.alive),
        30,
        "pruning up to the older snapshot",
        cluster.describe,
    )


def test_a_node_whose_next_block_nobody_keeps_takes_a_snapshot_however_little_behind(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await pruned(cluster)
        cluster.start(OBSERVER)
        await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)
        assert cluster.nodes[OBSERVER].channel.store.blocks.kept().oldest == 21

    simulate(folder, 7, scenario, observers=1, keeping=pruning)


def test_a_peer_that_says_it_keeps_blocks_and_sends_none_holds_up_a_snapshot_for_a_minute_only(folder: Path) -> None:
    def boasting(carry: Carry) -> Carry:
        def changed(sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
            if sender == "gz1" and topic is Topic.SYNC and is_snapshot_message(payload):
                message = decode_snapshot_message(payload)
                if isinstance(message, SnapshotOffer):
                    payload = msgspec.structs.replace(message, oldest=1).encode()
            return carry(sender, receiver, topic, payload)

        return changed

    async def scenario(cluster: Cluster) -> None:
        await pruned(cluster)
        cluster.carry = boasting(cluster.carry)  # type: ignore[method-assign]
        cluster.start(OBSERVER)
        began_ms = cluster.clock.monotonic_ms()
        await until(lambda: OBSERVER in cluster.reopens, 120, "snapshot", cluster.describe)
        assert cluster.clock.monotonic_ms() - began_ms > RETRY_MS, "an honest one may only be slow"
        await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)

    simulate(folder, 9, scenario, observers=1, keeping=pruning)


def test_every_transaction_sent_again_after_snapshots_and_pruning_is_on_chain_once(folder: Path) -> None:
    """Row H2, on a whole channel: everything is sent again, to a node that has it and to one that never had."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 21)
        cluster.start(OBSERVER)
        await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)
        store = cluster.nodes["gz1"].channel.store
        height = store.head.height
        for transaction in cluster.submitted.values():
            for name in ("gz1", OBSERVER):
                (verdict,) = await cluster.nodes[name].channel.admission.submit([transaction.envelope])
                assert verdict.height is not None or verdict.refusal is not None
                if name == OBSERVER and verdict.refusal is not None:
                    assert verdict.refusal.code == Code.E_NONCE_USED and "older blocks" in verdict.refusal.detail
        await cluster.commit("gz1")
        assert store.head.height == height + 1, "the new one, and nothing again"

    simulate(folder, 8, scenario, observers=1, keeping=eager)


def test_a_node_within_reach_of_blocks_fetches_blocks(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 12)
        cluster.start(OBSERVER)
        await level(cluster, OBSERVER)
        assert cluster.nodes[OBSERVER].channel.store.blocks.kept().oldest == 1

    simulate(folder, 6, scenario, observers=1, keeping=eager)
