"""Random lives of a cluster, shared by the cluster tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from dawan_node.testing.cluster import Cluster
from dawan_node.testing.simulated_node import Faults

CHAOS_MS = 12_000
#: After healing every view of an honest primary decides; back-off may have grown to the cap of 60 s once.
HEAL_LIMIT_MS = 200_000


def faults_of(rng: random.Random) -> Faults:
    """A bad day on a network: up to 30 % loss, 20 % duplicates, 300 ms delay, slow disks, clocks apart."""
    return Faults(
        delay_min=1,
        delay_max=rng.choice([5, 50, 300]),
        loss=rng.choice([0, 5, 30]),
        duplicate=rng.choice([0, 20]),
        sync_max=rng.choice([0, 4, 30]),
        execute_max=rng.choice([1, 10, 100]),
        skew_max=rng.choice([0, 200]),
    )


def chaos(
    seed: int,
    n: int,
    *,
    real_signatures: bool = False,
    twins: tuple[int, ...] = (),
    during: Callable[[Cluster, random.Random], None] | None = None,
) -> Cluster:
    """Crashes, restarts, partitions and load for ``CHAOS_MS``; then everything heals. Raises Violation."""
    rng = random.Random(seed * 7_919 + n)
    cluster = Cluster(n, seed, faults_of(rng), real_signatures=real_signatures, twins=twins)
    nodes = len(cluster.nodes)
    while cluster.now < CHAOS_MS:
        choice = rng.randrange(10)
        if choice < 4:
            cluster.submit(rng.randint(1, 12))
        elif choice < 6:
            cluster.crash(rng.randrange(nodes))
        elif choice < 8:
            cluster.start(rng.randrange(nodes))
        elif choice < 9:
            order = list(range(nodes))
            rng.shuffle(order)
            cut = rng.randint(0, nodes)
            cluster.partition(order[:cut], order[cut:])
        else:
            cluster.partition(range(nodes))
        if during is not None:
            during(cluster, rng)
        cluster.run(rng.randint(50, 1_500))
    cluster.heal()
    for index in range(nodes):
        cluster.start(index)
    cluster.submit(3)
    return cluster


def has_settled(cluster: Cluster, indexes: Sequence[int] | None = None) -> bool:
    """Whether every honest node (of ``indexes``) has decided everything, and nobody has decided more."""
    among = range(len(cluster.nodes)) if indexes is None else indexes
    honest = [cluster.nodes[index] for index in among if index not in cluster.byzantine]
    return all(not node.pool for node in honest) and len({node.height for node in honest}) == 1


def have_reached(cluster: Cluster, indexes: Sequence[int], height: int) -> bool:
    """Whether all these nodes have stored ``height``."""
    return all(cluster.heights[index] >= height for index in indexes)


def one_leads(cluster: Cluster) -> bool:
    """Whether somebody has stored block 1."""
    return max(cluster.heights) == 1


def why(cluster: Cluster) -> str:
    """What every node says it waits for, for a failing seed's report."""
    lines = [f"seed {cluster.seed}, n {len(cluster.nodes)}, heights {cluster.heights}"]
    for node in cluster.nodes:
        if node.replica is not None:
            status = node.replica.status()
            lines.append(
                f"{node.index}: {status.state} view {status.view}/{status.target} {status.waiting_for}"
                f" pool {len(node.pool)} suspects {status.suspects} in flight {status.in_flight}"
            )
    return "\n".join(lines)
