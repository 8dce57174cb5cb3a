"""n = 1 to 22, not only 3f + 1: quorums as replicas count them, and whole clusters (consensus.md 1.1, A10)."""

from __future__ import annotations

from functools import partial

import pytest

from dawan_node.consensus.messages import Commit, Prepare, Suspect, ViewChange
from dawan_node.testing.cluster import Cluster
from dawan_node.testing.replica_lab import ReplicaLab
from tests.consensus.exchange import Exchange
from tests.consensus.scenarios import has_settled, have_reached, why

SIZES = [1, 2, 3, 5, 6, 8, 9, 10, 13, 16, 22]


def bounds(n: int) -> tuple[int, int]:
    """f and q from their definitions: the largest f below n / 3, the smallest q of which two share f + 1."""
    f = max(f for f in range(n) if 3 * f < n)
    return f, min(q for q in range(1, n + 1) if 2 * q - n >= f + 1)


@pytest.mark.parametrize("n", range(2, 23))
def test_q_votes_and_no_fewer_prepare_commit_and_leave_a_view(n: int) -> None:
    f, q = bounds(n)
    assert q <= n - f, "the honest alone are a quorum"
    lab = ReplicaLab(n=n, honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    others = [voter for voter in range(n) if voter != 1]
    held = 2
    for voter in others[1:]:
        assert bool(lab[1].votes(Commit)) is (held >= q)
        lab.deliver(lab.prepare(voter, 0, "a"), 1)
        held += 1
    assert len(lab[1].votes(Commit)) == 1
    held = 1
    for voter in others:
        assert lab[1].replica.height == (1 if held >= q else 0)
        lab.deliver(lab.commit(voter, 0, "a"), 1)
        held += 1
    assert lab[1].replica.height == 1

    for held, voter in enumerate(others, start=1):
        lab.deliver(lab.suspect(voter, 1), 1)
        joins = held >= f + 1
        assert bool(lab[1].all_sent(Suspect)) is joins, "f + 1 wishes are joined, fewer are not"
        assert bool(lab[1].all_sent(ViewChange)) is (held + joins >= q)


@pytest.mark.parametrize("n", [5, 6, 8, 9, 10, 13])
def test_f_silent_primaries_in_a_row_are_passed_over(n: int) -> None:
    """The first f views belong to nobody; the next one decides."""
    f, _ = bounds(n)
    honest = range(f, n)
    lab = ReplicaLab(n=n, honest=honest)
    exchange = Exchange(lab)
    for index in honest:
        lab[index].replica.work_pending(True, lab.now)
    lab.now += 3_000
    for view in range(1, f + 1):
        for index in honest:
            lab[index].replica.tick(lab.now)
            lab.pump(index)
        exchange.run()
        assert {lab[index].replica.status().target for index in honest} == {view}
        lab.now += min(3_000 << view, 60_000)
    lab.propose(lab.primary(f), "a")
    exchange.run()
    assert {lab[index].replica.height for index in honest} == {1}
    assert lab[lab.primary(f)].all_sent(Prepare) == [], "its PRE-PREPARE carries its vote"


@pytest.mark.parametrize("n", SIZES)
def test_a_cluster_of_any_size_decides_and_bears_f_crashes(n: int) -> None:
    f, _ = bounds(n)
    cluster = Cluster(n, seed=n)
    cluster.submit(4)
    assert cluster.run_until(lambda: has_settled(cluster), 10_000), why(cluster)
    assert cluster.heights[0] >= 1
    down = [(cluster.heights[0] + index) % n for index in range(f)]
    for index in down:
        cluster.crash(index)
    cluster.submit(4)
    up = [index for index in range(n) if index not in down]
    assert cluster.run_until(partial(has_settled, cluster, up), 60_000), why(cluster)
    for index in down:
        cluster.start(index)
    assert cluster.run_until(lambda: has_settled(cluster), 60_000), why(cluster)


@pytest.mark.parametrize("seed", range(3))
def test_one_validator_has_no_timers_and_survives_power_cuts(seed: int) -> None:
    """A10, n = 1: no timers, no SUSPECT, nobody to wait for."""
    cluster = Cluster(1, seed)
    for _ in range(5):
        cluster.submit(3)
        cluster.run(10 + seed)
        cluster.crash(0)
        cluster.start(0)
    assert cluster.run_until(lambda: has_settled(cluster), 1_000), why(cluster)
    replica = cluster.nodes[0].replica
    assert replica is not None
    assert replica.next_deadline() is None and replica.status().view == 0
    assert cluster.heights[0] >= 3


@pytest.mark.parametrize(("n", "bears"), [(2, 0), (3, 1)])
def test_two_of_two_and_two_of_three_bear_crashes_as_far_as_the_quorum_goes(n: int, bears: int) -> None:
    """A10: with n = 2 a single crash stops the chain, with n = 3 any one crash is survived, and nothing is ever lost;
    of lies neither bears one (``network verify`` says so)."""
    assert bounds(n) == (0, n - bears)
    for first in range(n):
        cluster = Cluster(n, seed=first)
        cluster.submit(2)
        assert cluster.run_until(lambda c=cluster: has_settled(c), 10_000), why(cluster)  # type: ignore[misc]
        height = cluster.heights[0]
        cluster.crash(first)
        cluster.submit(2)
        up = [index for index in range(n) if index != first]
        assert cluster.run_until(partial(have_reached, cluster, up, height + 1), 60_000) is (bears > 0), why(cluster)
        cluster.start(first)
        assert cluster.run_until(lambda c=cluster: has_settled(c), 90_000), why(cluster)  # type: ignore[misc]
        assert cluster.heights[0] > height
