"""Four channels (and observers) against lost, late, doubled and reordered messages, crashes, cuts and long absence.

Each run is one seed: a failure is repeated exactly by running the test again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator, Set
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from dawan_node.consensus import Acquire, Execute, Mode
from dawan_node.consensus.pace import Pace
from dawan_node.errors import StorageError
from dawan_node.mempool import replay_keys
from dawan_node.node.bodies import BlockBody
from dawan_node.node.channel import OVERDUE_MS, RESEND_ROUND_MS
from dawan_node.node.worker import Worker
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import Txs
from dawan_node.p2p.peers import Role
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import private_key_of, seat_args
from tests.node.channel_cluster import CALM, SEGMENT_BYTES, Cluster, Faults, memory_folder, simulate, until
from tests.node.ledger import SELLERS, Ledger, leaves_of, wrongly_signed

VALIDATORS = ("gz1", "hk1", "hq1", "mo1")
OBSERVER = "gz8"
#: consensus.Timers.view_ms: how long a view may go without a decision.
VIEW_S = 3.0
#: A seed does not get simpler by being smaller.
SEEDS = settings(max_examples=6, phases=[Phase.explicit, Phase.generate])


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


def primary_of(cluster: Cluster) -> str:
    channel = cluster.alive[0].channel
    return channel.validator_name(channel.driver.replica.status().primary)


def heights(cluster: Cluster) -> dict[str, int]:
    return {node.name: node.channel.head.height for node in cluster.alive}


def test_transactions_sent_to_any_node_are_committed_everywhere_exactly_once(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(80)
        assert await cluster.settle(seconds=2.0) > 4

    simulate(folder, 1, scenario, observers=1)


def test_the_same_seed_gives_the_same_chain(folder: Path) -> None:
    hashes: list[bytes] = []

    async def scenario(cluster: Cluster) -> None:
        await cluster.load(30)
        await cluster.crash("hk1")
        await cluster.load(10)
        cluster.start("hk1")
        cluster.heal()
        await cluster.submit_again()  # what only the crashed node knew is gone with it
        await cluster.settle()
        hashes.append(cluster.nodes["gz1"].channel.head.block_hash)

    for run in range(2):
        simulate(folder / str(run), 7, scenario, faults=Faults(loss=5, doubled=5, delay_ms=(1, 30)))
    assert hashes[0] == hashes[1]


@SEEDS
@given(
    seed=st.integers(0, 2**32),
    loss=st.integers(0, 25),
    doubled=st.integers(0, 25),
    late_ms=st.sampled_from([5, 50, 400]),
    observers=st.integers(0, 1),
)
@example(seed=2, loss=10, doubled=5, late_ms=60, observers=1)
def test_whatever_the_links_do_once_they_are_calm_all_agree_and_nothing_is_lost_or_done_twice(
    seed: int, loss: int, doubled: int, late_ms: int, observers: int
) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(40, every_ms=150)
        cluster.heal()
        await cluster.settle()

    with memory_folder() as folder:
        simulate(folder, seed, scenario, observers=observers, faults=Faults(loss, doubled, (1, late_ms)))


@settings(SEEDS, max_examples=max(2, settings().max_examples // 100))
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0, 8]))
@example(seed=20, loss=0)
def test_crashes_cuts_and_restarts_in_any_order_lose_nothing_that_clients_send_again(seed: int, loss: int) -> None:
    """Every few hundred milliseconds something breaks or comes back, down to all nodes at once; clients then send what
    they have no receipt for again, as the same bytes."""

    async def chaos(cluster: Cluster) -> None:
        for _ in range(6):
            await asyncio.sleep(cluster.source.uniform(0, 1.0))
            alive = [node.name for node in cluster.alive]
            down = [name for name in cluster.nodes if name not in alive]
            match cluster.source.randrange(5):
                case 0 if alive:
                    await cluster.crash(cluster.source.choice(alive))
                case 1 if down:
                    cluster.start(cluster.source.choice(down))
                case 2:
                    names = cluster.source.sample(list(cluster.nodes), len(cluster.nodes))
                    split = cluster.source.randint(1, len(names) - 1)
                    cluster.partition(names[:split], names[split:])
                case 3:
                    cluster.partition()
                case 4 if alive:
                    await cluster.crash(*alive)
                    cluster.start(*alive)
        cluster.heal()
        for node in cluster.nodes.values():
            if node.running is None:
                cluster.start(node.name)

    async def scenario(cluster: Cluster) -> None:
        breaking = asyncio.create_task(chaos(cluster))
        while not breaking.done():
            await cluster.load(4, every_ms=100)
        await breaking
        await cluster.submit_again()
        await cluster.settle(seconds=90.0)

    with memory_folder() as folder:
        simulate(folder, seed, scenario, observers=1, faults=Faults(loss, loss, (1, 40)) if loss else CALM)


# Crashes


def test_commits_go_on_within_two_views_when_the_primary_dies_under_load(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(40)
        dead = primary_of(cluster)
        await cluster.crash(dead)
        alive = cluster.alive[0].name
        began = asyncio.get_running_loop().time()
        await cluster.commit(alive, seconds=2 * VIEW_S)
        assert asyncio.get_running_loop().time() - began < 2 * VIEW_S
        await cluster.load(20)
        cluster.start(dead)
        await cluster.submit_again()
        await cluster.settle()

    simulate(folder, 3, scenario)


@pytest.mark.parametrize("segment_bytes", [SEGMENT_BYTES, 2_000], ids=["seldom-rolled", "always-rolled"])
def test_nothing_committed_is_lost_when_all_nodes_lose_power_at_once_again_and_again(
    folder: Path, segment_bytes: int
) -> None:
    """With the smallest segments a restart knows of nearly everything from a checkpoint only."""

    async def scenario(cluster: Cluster) -> None:
        for _ in range(6):
            loading = asyncio.create_task(cluster.load(24))
            await asyncio.sleep(cluster.source.uniform(0.02, 0.12))
            seen = {
                tx_id
                for tx_id in cluster.submitted
                if any(node.channel.store.blocks.find_tx(tx_id) for node in cluster.alive)
            }
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await cluster.crash(*cluster.nodes)
            cluster.start()
            await cluster.commit("hk1")
            await until(lambda: len(set(heights(cluster).values())) == 1, 30.0, "one height")
            for node in cluster.alive:
                assert all(node.channel.store.blocks.find_tx(tx_id) for tx_id in seen), "committed and lost"
        await cluster.submit_again()
        await cluster.settle()

    simulate(folder, 5, scenario, observers=1, segment_bytes=segment_bytes)


def test_an_orderly_stop_leaves_nothing_to_repair(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(30)
        before = await cluster.settle()
        await cluster.stop()
        cluster.start()
        assert all(node.channel.driver.replica.status().state is Mode.NORMAL for node in cluster.validators)
        assert set(heights(cluster).values()) == {before}
        await cluster.commit("mo1", seconds=1.0)
        await cluster.settle()

    simulate(folder, 11, scenario)


# Absence


@pytest.mark.parametrize("away", ["mo1", OBSERVER], ids=["validator", "observer"])
def test_a_node_that_missed_more_than_a_range_of_blocks_catches_up(folder: Path, away: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.crash(away)
        while cluster.nodes["gz1"].channel.head.height < 75:
            await cluster.commit("gz1")
        cluster.start(away)
        channel = cluster.nodes[away].channel
        assert channel.head.height == 0
        await until(lambda: channel.head.height >= 75, 30.0, "catch-up", cluster.describe)
        await cluster.commit("gz1")
        await cluster.settle()

    simulate(folder, 13, scenario, observers=1)


def test_a_node_that_catches_up_under_load_gets_there(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.partition(("gz1", "hk1", "hq1"))
        while cluster.nodes["gz1"].channel.head.height < 70:
            await cluster.commit("gz1")
        cluster.heal()
        await cluster.load(60, every_ms=60)
        await cluster.settle()

    simulate(folder, 17, scenario)


def test_an_observer_follows_within_moments_and_passes_its_clients_transactions_on(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        for _ in range(5):
            await cluster.commit(OBSERVER, seconds=1.5)
        assert cluster.nodes[OBSERVER].channel.driver.replica.status().state is Mode.OBSERVER
        await cluster.settle()

    simulate(folder, 19, scenario, observers=1)


# Cuts


def test_without_a_quorum_nothing_is_committed_and_with_it_everything_is(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(20)
        await cluster.settle()
        before = heights(cluster)
        cluster.partition(("gz1", "hk1"), ("hq1", "mo1"))
        await cluster.submit("gz1", cluster.transaction())
        await cluster.submit("mo1", cluster.transaction())
        await asyncio.sleep(20.0)
        assert heights(cluster) == before
        cluster.heal()
        await cluster.settle(seconds=4 * VIEW_S)

    simulate(folder, 23, scenario)


@pytest.mark.parametrize("alone", ["gz1", "hk1", "hq1", "mo1", OBSERVER])
def test_what_only_one_cut_off_node_knows_is_committed_after_it_returned(folder: Path, alone: str) -> None:
    """Nobody sends it again but that node, and a single node that complains changes no view (amendment L7)."""

    async def scenario(cluster: Cluster) -> None:
        cluster.partition(tuple(name for name in cluster.nodes if name != alone))
        await cluster.submit(alone, cluster.transaction(), cluster.transaction())
        await asyncio.sleep(RESEND_ROUND_MS / 1000 + 5.0)
        cluster.heal()
        await cluster.settle(seconds=(RESEND_ROUND_MS + OVERDUE_MS) / 1000 + 2 * VIEW_S)

    simulate(folder, 29, scenario, observers=1)


def test_large_transactions_are_sent_again_in_messages_a_frame_can_hold(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        author, now_ms = cluster.author, cluster.clock.wall_ms()
        # No command has a field that long: such a transaction fails on chain, and is on chain.
        big = [
            author.transaction("supplier-a", "record_invoice", {"number": "X" * 60_000}, time_ms=now_ms)
            for _ in range(90)
        ]
        # Not at the primary, which would propose them itself.
        alone = next(name for name in VALIDATORS if name != primary_of(cluster))
        cluster.partition(tuple(name for name in VALIDATORS if name != alone))
        cluster.submitted |= {transaction.tx_id: transaction for transaction in big}
        assert await cluster.nodes[alone].channel.admission.receive([tx.envelope for tx in big], "gz1") == 0
        await asyncio.sleep(1.0)
        cluster.heal()
        await cluster.settle()

    simulate(folder, 31, scenario)


# Rules and epochs


async def enact(
    cluster: Cluster, name: str, command: str, args: dict[str, object], load: int = 30, by: str = "gz"
) -> None:
    """Pass and enact a proposal while other transactions go on."""
    author = cluster.author

    async def send(*commands: tuple[str, str, dict[str, object]]) -> None:
        now_ms = cluster.clock.wall_ms()
        await cluster.commit("gz1", *[author.admin(org, what, given, time_ms=now_ms) for org, what, given in commands])

    await send((by, command, {"id": name, **args}))
    await send(*[(org, "vote", {"proposal": name, "approve": True}) for org in ("gz", "hk", "mo")])
    loading = asyncio.create_task(cluster.load(load, every_ms=10))
    await send(("hk", "enact", {"proposal": name}))
    await loading


def test_a_barrier_changes_the_rules_of_everybody_at_one_height(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await enact(cluster, "narrow", "propose_parameter", {"name": "window", "value": 1})
        await cluster.settle()
        # Without load: what the cluster's clients sign lives for 50 minutes and would be refused from there on.
        await enact(cluster, "brief", "propose_parameter", {"name": "tx_lifetime_ms_max", "value": 600_000}, load=0)
        await until(lambda: len(set(heights(cluster).values())) == 1, 10.0, "one height")
        for node in cluster.alive:
            assert node.channel.driver._rules.window == 1 and node.channel.pool.lifetime_ms_max == 600_000
        refused = cluster.transaction()  # it lives for 50 minutes
        (verdict,) = await cluster.nodes["gz1"].channel.admission.submit([refused.envelope])
        assert verdict.refusal is not None and verdict.refusal.code == Code.E_VALIDITY

    simulate(folder, 37, scenario, observers=1)


@pytest.mark.parametrize("who", ["hk1", "mo1"])
def test_a_validator_key_is_replaced_under_load_and_its_new_home_votes_in_the_new_epoch(folder: Path, who: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        node = cluster.nodes[who]
        new_name = f"validator {who} from now on"
        await cluster.load(10)
        proposal = seat_args(cluster.author.genesis, "key", who, private_key_of(new_name))
        await enact(cluster, "key", "propose_validator_key", proposal, by=who[:2])
        await until(lambda: {n.channel.epoch for n in cluster.alive} == {1}, 30.0, "epoch 1", cluster.describe)
        assert node.channel.driver.replica.status().state is Mode.OBSERVER, "its old key has no vote any more"
        await cluster.load(10)
        await cluster.settle()
        await cluster.stop(who)
        # A new key comes with a new home: a log that never forgot anything and a database to be filled by peers.
        node.key_name, node.folder, node.disk = new_name, node.folder / "again", type(node.disk)()
        cluster.make_log(node)
        cluster.start(who)
        await cluster.load(10)
        await cluster.settle()
        assert node.channel.driver.replica.status().state is Mode.NORMAL
        other = "hk1" if who == "mo1" else "mo1"
        await cluster.crash(other)
        await cluster.commit(who)  # nothing is decided now without its vote
        cluster.start(other)
        await cluster.settle()

    simulate(folder, 41, scenario, observers=1)


def test_an_observer_becomes_the_fifth_validator_and_another_one_leaves_under_load(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        newcomer, leaver = cluster.nodes["gz8"], cluster.nodes["mo1"]
        await cluster.stop("gz8")
        newcomer.role = Role.VALIDATOR  # it has a key and a log of its own, and follows until its key has a seat
        cluster.start("gz8")
        await cluster.load(10)
        assert newcomer.channel.driver.replica.status().state is Mode.OBSERVER
        seat = seat_args(cluster.author.genesis, "more", "gz8", private_key_of(newcomer.key_name))
        await enact(cluster, "more", "propose_validator", seat)
        await until(lambda: {n.channel.epoch for n in cluster.alive} == {1}, 30.0, "epoch 1", cluster.describe)
        await cluster.load(10)
        await cluster.settle()
        assert newcomer.channel.driver.replica.status().state is Mode.NORMAL
        await enact(cluster, "less", "propose_validator_removal", {"validator": "mo1"})
        await until(lambda: {n.channel.epoch for n in cluster.alive} == {2}, 30.0, "epoch 2", cluster.describe)
        assert leaver.channel.driver.replica.status().state is Mode.OBSERVER
        await cluster.crash("hk1")
        await cluster.commit("mo1")  # decided by three of four, gz8 among them, and passed on by who has no vote
        cluster.start("hk1")
        await cluster.submit_again()  # what hk1 alone had been given died with it
        await cluster.settle()

    simulate(folder, 61, scenario, observers=1)


# Misfortune inside a node


def test_a_transaction_nobody_can_include_expires_and_nobody_is_suspected_for_ever(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.partition(("gz1", "hk1", "hq1"), ("mo1",))
        brief = cluster.author.transaction("supplier-a", time_ms=cluster.clock.wall_ms(), lifetime_ms=4_000)
        await cluster.nodes["mo1"].channel.admission.submit([brief.envelope])
        await asyncio.sleep(6.0)
        assert len(cluster.nodes["mo1"].channel.pool) == 0
        cluster.heal()
        await cluster.commit("gz1")
        await asyncio.sleep(10.0)
        assert all(not node.channel.driver.replica.status().suspects for node in cluster.alive)

    simulate(folder, 43, scenario)


def test_a_peer_that_gossips_forgeries_is_named_and_nothing_of_it_is_kept(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        forged = wrongly_signed(cluster.transaction())
        cluster.carry("mo1", "gz1", Topic.GOSSIP, Txs([forged.envelope]).encode())
        await until(lambda: bool(cluster.trouble), 1.0, "accusation")
        assert cluster.trouble == ["gz1 accuses mo1: 1 of 1 gossiped transactions are malformed"]
        cluster.trouble.clear()
        assert len(cluster.nodes["gz1"].channel.pool) == 0

    simulate(folder, 47, scenario)


def test_a_node_whose_database_fails_stops_and_the_others_go_on(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(10)
        channel = cluster.nodes["mo1"].channel

        def fail(*_: object, **__: object) -> None:
            raise StorageError("no space left")

        channel.store._store.write = fail  # type: ignore[method-assign]
        loading = asyncio.create_task(cluster.load(10))
        await until(lambda: bool(cluster.trouble), 5.0, "the end of mo1", cluster.describe)
        await loading
        assert all("mo1 failed" in line and "no space left" in line for line in cluster.trouble)
        cluster.trouble.clear()
        worker: Worker = channel._worker
        assert isinstance(worker.failure, StorageError)
        await cluster.crash("mo1")
        await cluster.submit_again()
        await cluster.settle()

    simulate(folder, 53, scenario)


def test_a_block_is_judged_after_its_parent_was_executed_even_if_it_was_complete_before(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        driver = cluster.nodes["gz1"].channel.driver
        ledger = Ledger()
        parent = ledger.block(ledger.transaction())
        child = ledger.block(ledger.transaction(), on=parent)
        judged: list[str | None] = []
        for block in (parent, child):
            driver._hold(block.header, BlockBody(block.hash, block.transactions))
        with mock.patch.object(driver, "_judged", lambda body, reason: judged.append(reason)):
            acquire = Acquire(child.hash, child.header, leaves_of(child.transactions), (), False)
            driver._wanted[child.hash] = acquire
            driver._judge(acquire, BlockBody(child.hash, child.transactions))
            await asyncio.sleep(0.1)
            assert judged == []
            driver._execute(Execute(parent.hash, parent.header, parent.header.parent_hash))
            await asyncio.sleep(0.1)
            assert judged == [None]

    simulate(folder, 61, scenario)


def test_what_a_dropped_block_held_is_left_out_again_once_the_block_is_back(folder: Path) -> None:
    """A view change drops a block, a later one brings it back (its bodies were kept all the while). A primary that
    forgot what it holds would propose its transactions a second time on top of it, and all would refuse."""

    async def scenario(cluster: Cluster) -> None:
        driver = cluster.nodes["gz1"].channel.driver
        ledger = Ledger()
        block = ledger.block(ledger.transaction())
        driver._hold(block.header, BlockBody(block.hash, block.transactions))
        assert len(driver._branch(block.hash)) == 1
        driver._discard((block.hash,))
        assert driver._branch(block.hash) is None  # until then nobody can tell what the branch holds
        driver._execute(Execute(block.hash, block.header, block.header.parent_hash))
        assert [flying.names for flying in driver._branch(block.hash)] == [
            frozenset({block.transactions[0].leaf_hash}) | replay_keys(block.transactions)
        ]

    simulate(folder, 59, scenario)


# A primary that leaves transactions out


def censor(cluster: Cluster, name: str, who: str) -> None:
    """Have ``name`` leave the transactions of one client's key out of its blocks whenever it is primary."""
    pool, key = cluster.nodes[name].channel.pool, private_key_of(who).public_key
    honest = pool.reap

    def reap(txs_max: int, bytes_max: int, time_ms: int, exclude: Set[bytes], enough: int) -> list[Transaction]:
        hidden = {leaf for leaf, entry in pool._entries.items() if entry.transaction.public_key == key}
        return honest(txs_max, bytes_max, time_ms, exclude | hidden, enough)

    pool.reap = reap  # type: ignore[method-assign]


def views_of(cluster: Cluster) -> set[int]:
    return {node.channel.driver.replica.view[1] for node in cluster.validators}


@pytest.mark.parametrize("is_measured", [True, False], ids=["by its pace too", "by complaint alone"])
def test_a_primary_that_leaves_one_client_out_is_replaced_and_nobody_else_suffers(
    folder: Path, is_measured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the window as empty as here, its pace gives it away a little earlier than the complaint."""
    patience_s = (OVERDUE_MS + RESEND_ROUND_MS) / 1000
    if not is_measured:
        monkeypatch.setattr(Pace, "is_slow", False)

    async def scenario(cluster: Cluster) -> None:
        await cluster.load(8)
        await cluster.settle()
        censoring, seller = primary_of(cluster), SELLERS[0]
        others = [each for each in SELLERS if each != seller]
        censor(cluster, censoring, seller)
        entry = next(name for name in VALIDATORS if name != censoring)
        victim = cluster.author.transaction(seller, time_ms=cluster.clock.wall_ms())
        await cluster.submit(entry, victim)
        began = asyncio.get_running_loop().time()
        slowest = 0.0
        store = cluster.nodes[entry].channel.store
        while store.blocks.find_tx(victim.tx_id) is None:
            sent = asyncio.get_running_loop().time()
            assert sent - began < patience_s + 2 * VIEW_S, cluster.describe()
            other = cluster.author.transaction(cluster.source.choice(others), time_ms=cluster.clock.wall_ms())
            await cluster.commit(entry, other)
            slowest = max(slowest, asyncio.get_running_loop().time() - sent)
            await asyncio.sleep(0.5)
        assert asyncio.get_running_loop().time() - began > (RESEND_ROUND_MS / 1000 if is_measured else patience_s)
        assert slowest < VIEW_S
        assert primary_of(cluster) != censoring and views_of(cluster) == {1}
        await cluster.settle()

    simulate(folder, 67, scenario)


def test_one_client_that_floods_its_organisation_makes_nobody_complain(folder: Path) -> None:
    """Blocks of four, so that what the flooder has waiting lasts; the others commit as if it were not there."""

    async def scenario(cluster: Cluster) -> None:
        for node in cluster.validators:
            rules = node.channel.driver._rules
            node.channel.driver._rules = dataclasses.replace(rules, block_txs_max=4)
        flooder, others = SELLERS[0], SELLERS[1:]
        flood = [cluster.author.transaction(flooder, time_ms=cluster.clock.wall_ms()) for _ in range(900)]
        await cluster.submit("mo1", *flood)
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began < 16.0:
            other = cluster.author.transaction(cluster.source.choice(others), time_ms=cluster.clock.wall_ms())
            await cluster.commit("gz1", other, seconds=2.0)
            await asyncio.sleep(0.5)
            assert not any(node.channel.driver.replica.status().suspects for node in cluster.validators)
        assert views_of(cluster) == {0}
        await cluster.settle()

    simulate(folder, 71, scenario)
