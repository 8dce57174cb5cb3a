"""Whole clusters under random faults: nothing bad ever, and progress once the faults end (consensus.md section 2).

``Cluster`` checks in every step: one block, result and certificate per height; no honest node signs two values for one
slot, restarts included; nothing leaves that is not on its sender's disk. A seed that fails is a finding: it is added to
``REGRESSIONS`` with its fix and stays.
"""

from __future__ import annotations

import random
import subprocess
import sys
from functools import partial

import pytest

from dawan_node.testing.checker import Violation
from dawan_node.testing.cluster import Cluster
from dawan_node.testing.simulated_node import Faults
from tests.consensus.scenarios import HEAL_LIMIT_MS, chaos, has_settled, have_reached, one_leads, why
from tests.long_and_short import seeds

#: (seed, n) that once failed.
REGRESSIONS: list[tuple[int, int]] = []


def settle(cluster: Cluster) -> None:
    assert cluster.run_until(lambda: has_settled(cluster), HEAL_LIMIT_MS), why(cluster)


@pytest.mark.parametrize("seed", seeds(4, 10))
@pytest.mark.parametrize("n", range(1, 8))
def test_random_faults_break_nothing_and_healing_brings_progress(n: int, seed: int) -> None:
    settle(chaos(seed, n))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_same_holds_with_real_signatures(n: int) -> None:
    settle(chaos(1_000 + n, n, real_signatures=True))


@pytest.mark.parametrize("seed", seeds(2, 4))
@pytest.mark.parametrize(("n", "twins"), [(4, (0,)), (4, (3,)), (5, (1,)), (6, (2,)), (7, (0, 4))])
def test_f_byzantine_twins_fork_nothing_and_stop_nothing(n: int, twins: tuple[int, ...], seed: int) -> None:
    settle(chaos(2_000 + seed, n, twins=twins))


@pytest.mark.parametrize("seed", range(6))
def test_validator_sets_change_under_faults(seed: int) -> None:
    def change(cluster: Cluster, rng: random.Random) -> None:
        if rng.randrange(6) == 0:
            members = sorted(rng.sample(range(6), rng.randint(4, 6)))
            cluster.change_validators(members)

    rng = random.Random(seed)
    cluster = Cluster(6, seed, Faults(1, 30, rng.choice([0, 10]), 5), validators=range(4))
    for _ in range(12):
        cluster.submit(rng.randint(1, 8))
        change(cluster, rng)
        if rng.randrange(4) == 0:
            cluster.crash(rng.randrange(6))
        cluster.run(rng.randint(200, 1_500))
        cluster.start(rng.randrange(6))
    cluster.heal()
    for index in range(6):
        cluster.start(index)
    cluster.submit(3)
    settle(cluster)


def test_seeds_that_once_failed_pass() -> None:
    for seed, n in REGRESSIONS:
        settle(chaos(seed, n))


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_with_any_f_nodes_down_the_rest_goes_on(n: int) -> None:
    f = (n - 1) // 3
    for first in range(n):
        cluster = Cluster(n, seed=first)
        for offset in range(f):
            cluster.crash((first + offset) % n)
        cluster.submit(20)
        alive = [index for index in range(n) if cluster.nodes[index].replica is not None]
        assert cluster.run_until(partial(has_settled, cluster, alive), 30_000), why(cluster)


def test_with_f_plus_1_nodes_down_nothing_is_decided_and_the_missing_are_named() -> None:
    cluster = Cluster(4, seed=3)
    cluster.submit(4)
    cluster.run(500)
    height = cluster.nodes[0].height
    cluster.crash(2)
    cluster.crash(3)
    cluster.submit(4)
    cluster.run(20_000)
    assert cluster.heights[:2] == [height, height]
    replica = cluster.nodes[0].replica
    assert replica is not None
    assert replica.status().silent == (2, 3)
    cluster.start(2)
    assert cluster.run_until(lambda: cluster.heights[0] > height, 30_000), why(cluster)


def test_a_crashed_primary_costs_less_than_twice_the_view_time() -> None:
    for seed in range(10):
        cluster = Cluster(4, seed)
        cluster.submit(5)
        cluster.run(400)
        replica = cluster.nodes[0].replica
        assert replica is not None
        primary = replica.status().primary
        height = cluster.heights[(primary + 1) % 4]
        cluster.crash(primary)
        cluster.submit(5)
        others = [index for index in range(4) if index != primary]
        done = cluster.run_until(partial(have_reached, cluster, others, height + 1), 6_000)
        assert done, why(cluster)


def test_a_commit_seen_by_one_node_alone_is_decided_again_after_a_view_change() -> None:
    """Bug B3: a decision known to a single node, which then disappears."""
    for seed in range(8):
        cluster = Cluster(4, seed)
        cluster.run(50)
        cluster.submit(5)
        if not cluster.run_until(partial(one_leads, cluster), 5_000):
            continue
        winner = cluster.heights.index(1)
        decided = cluster.nodes[winner].store[0].block_hash
        cluster.crash(winner)
        cluster.submit(5)
        others = [index for index in range(4) if index != winner]
        assert cluster.run_until(partial(have_reached, cluster, others, 1), 30_000), why(cluster)
        assert {cluster.nodes[index].store[0].block_hash for index in others} == {decided}


def test_after_an_hour_of_partition_a_prepared_block_is_still_decided() -> None:
    """Bug B13: an old timestamp on a block that is proposed again."""
    cluster = Cluster(4, seed=2)
    cluster.submit(3)
    cluster.run(8)
    cluster.partition([0], [1], [2], [3])
    cluster.run(3_600_000)
    cluster.heal()
    assert cluster.run_until(lambda: has_settled(cluster), 150_000), why(cluster)


def test_the_same_seed_gives_the_same_trace_under_another_hash_seed() -> None:
    program = (
        "from tests.consensus.scenarios import chaos\n"
        "import sys; sys.stdout.write(chaos(11, 4).trace_hash + chaos(12, 5, twins=(1,)).trace_hash)"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1 and len(traces.pop()) == 128


def test_the_checker_sees_a_fork() -> None:
    """The checks have teeth: a store that is handed another block at a height is a violation."""
    cluster = Cluster(4, seed=1)
    cluster.submit(1)
    cluster.run(1_000)
    cluster.checker.decided[2] = (bytes(32), bytes(32))
    cluster.submit(1)
    with pytest.raises(Violation):
        cluster.run(1_000)
