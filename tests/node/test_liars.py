"""One of four validators lies, in virtual time: the others keep one chain and go on, and only the liar can be accused.

``settle`` compares everything the nodes have stored, block by block, and requires that what clients sent is on chain
exactly once and that evidence names nobody but the liar. The liar's own replica is honest inside, so it has to end up
with the same chain as everybody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from dawan_node.consensus import EvidenceKind
from tests.long_and_short import seeds
from tests.node.channel_cluster import Cluster, Faults, Node, memory_folder, simulate, until
from tests.node.liars import DoubleVoter, EquivocatingPrimary, Liar, SilentPrimary, SlowPrimary

#: consensus.Timers.view_ms: how long a view may go without a decision.
VIEW_S = 3.0
ROUGH = Faults(loss=5, doubled=5, delay_ms=(1, 40))


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


def honest(cluster: Cluster) -> list[Node]:
    """The running validators that do not lie."""
    return [node for node in cluster.validators if node.running and node.name not in cluster.liars]


def views(cluster: Cluster) -> set[int]:
    return {node.channel.driver.replica.status().view for node in honest(cluster)}


def kinds_of_evidence(cluster: Cluster) -> dict[str, set[EvidenceKind]]:
    """What each honest node can prove; against whom, ``settle`` has seen to."""
    return {node.name: {proof.kind for proof in node.channel.driver.evidence} for node in honest(cluster)}


@pytest.mark.parametrize("seed", seeds(2, 6))
def test_a_primary_that_proposes_two_blocks_at_one_height_is_proven_to_lie_and_replaced(seed: int) -> None:
    """Reliability.md D1, by chance every split of the three others; from the first block on and under load."""

    async def scenario(cluster: Cluster) -> None:
        liar = cluster.corrupt(primary_of(cluster), EquivocatingPrimary)
        await cluster.load(30)
        await until(lambda: min(views(cluster)) > 0, 2 * VIEW_S, "another primary", cluster.describe)
        await cluster.load(20)
        await cluster.settle()
        assert liar.lies["two proposals"]
        assert any(EvidenceKind.EQUIVOCATION in kinds for kinds in kinds_of_evidence(cluster).values())

    with memory_folder() as folder:
        simulate(folder, seed, scenario, observers=seed % 2)


@pytest.mark.parametrize("seed", seeds(1, 3))
def test_two_proposals_at_one_height_fork_nothing_on_bad_links(seed: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        liar = cluster.corrupt(primary_of(cluster), EquivocatingPrimary)
        await cluster.load(40, every_ms=100)
        cluster.heal()
        await cluster.submit_again()
        await cluster.settle()
        assert liar.lies["two proposals"]

    with memory_folder() as folder:
        simulate(folder, 100 + seed, scenario, faults=ROUGH)


@pytest.mark.parametrize("seed", seeds(2, 4))
def test_two_votes_at_every_height_stop_nobody_and_are_proven_by_whoever_hears_both(seed: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        name = cluster.source.choice([node.name for node in cluster.validators])
        liar = cluster.corrupt(name, DoubleVoter)
        await cluster.load(60)
        await cluster.settle(seconds=4 * VIEW_S)
        assert liar.lies["two votes"]
        assert any(EvidenceKind.EQUIVOCATION in kinds for kinds in kinds_of_evidence(cluster).values())
        assert views(cluster) == {0}, "votes depose no primary"

    with memory_folder() as folder:
        simulate(folder, 200 + seed, scenario)


@pytest.mark.parametrize("seed", seeds(1, 3))
def test_two_votes_at_every_height_fork_nothing_while_nodes_crash(seed: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        liar_name, victim = cluster.source.sample([node.name for node in cluster.validators], 2)
        liar = cluster.corrupt(liar_name, DoubleVoter)
        await cluster.load(30, every_ms=60)
        await cluster.crash(victim)
        await cluster.load(10, every_ms=60)
        cluster.start(victim)
        await cluster.load(10, every_ms=60)
        cluster.heal()
        await cluster.submit_again()
        await cluster.settle()
        assert liar.lies["two votes"]

    with memory_folder() as folder:
        simulate(folder, 300 + seed, scenario, faults=ROUGH)


@pytest.mark.parametrize("seed", seeds(1, 2))
def test_a_primary_that_is_slow_but_not_too_slow_costs_time_and_no_transaction(seed: int) -> None:
    """At 0.9 of what the others tolerate: blocks are seldom, but each takes all that waits, so what is offered is what
    is committed; or the primary is replaced."""

    async def scenario(cluster: Cluster) -> None:
        liar = cluster.corrupt(primary_of(cluster), SlowPrimary)
        await cluster.load(40, every_ms=300)
        await asyncio.sleep(2 * VIEW_S)
        on_time = sum(bool(honest(cluster)[0].channel.store.blocks.find_tx(tx_id)) for tx_id in cluster.submitted)
        assert on_time >= 0.3 * len(cluster.submitted) or min(views(cluster)) > 0, cluster.describe()
        await cluster.settle()
        assert liar.lies["held back"]
        assert not any(kinds_of_evidence(cluster).values()), "slow is no lie"

    with memory_folder() as folder:
        simulate(folder, 400 + seed, scenario)


def test_a_primary_that_is_alive_and_proposes_nothing_is_replaced() -> None:
    async def scenario(cluster: Cluster) -> None:
        liar: Liar = cluster.corrupt(primary_of(cluster), SilentPrimary)
        await cluster.load(10)
        await until(lambda: min(views(cluster)) > 0, 2 * VIEW_S, "another primary", cluster.describe)
        await cluster.settle()
        assert liar.lies["no proposal"]
        assert not any(kinds_of_evidence(cluster).values()), "silence is no lie"

    with memory_folder() as folder:
        simulate(folder, 500, scenario)
