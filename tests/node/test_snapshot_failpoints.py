"""A newcomer dies at each named place of fetching a snapshot, and its helpers while they serve one: it arrives."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node import failpoints
from tests.node.channel_cluster import Cluster, memory_folder, simulate, until
from tests.node.test_snapshot_cluster import OBSERVER, eager, grow, level, quiet, reopened
from tests.storage_faults.reached import IN_A_FETCH

__all__ = ["quiet"]

#: Two and a half seconds each; in every run the one after which most is there.
DEFAULT = "fetch.after_log"
LATER = sorted(name for name in IN_A_FETCH if name.startswith("fetch.") and name != DEFAULT)


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made
    failpoints.watch(None)


@pytest.mark.parametrize("place", [DEFAULT, *(pytest.param(name, marks=pytest.mark.extended) for name in LATER)])
def test_a_newcomer_that_dies_at_a_named_place_of_fetching_arrives(folder: Path, place: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        node = cluster.nodes[OBSERVER]
        await cluster.stop(OBSERVER)
        await grow(cluster, 31)
        photos: list[object] = []

        def arrived(name: str) -> None:
            """What a death here would leave: the files as they are, and what the disk below the log has."""
            if name == place and not photos:
                shutil.copytree(node.folder, folder / "photo")
                photos.append(copy.deepcopy(node.disk))

        failpoints.watch(arrived)
        cluster.start(OBSERVER)
        await until(lambda: bool(photos), 60, place, cluster.describe)
        failpoints.watch(None)
        await cluster.crash(OBSERVER)
        shutil.rmtree(node.folder)
        (folder / "photo").rename(node.folder)
        node.disk = photos[0].crash(cluster.source)  # type: ignore[attr-defined]
        cluster.reopens.clear()
        cluster.start(OBSERVER)
        if node.channel.head.height < 30:
            await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)
        assert node.channel.store.blocks.kept().oldest == 31, "it came by the snapshot"

    simulate(folder, 20, scenario, observers=1, keeping=eager)


@pytest.mark.extended
def test_helpers_that_die_while_they_serve_a_part_serve_it_after_their_return(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.stop(OBSERVER)
        await grow(cluster, 31)
        served: list[str] = []
        failpoints.watch(lambda name: served.append(name) if name == "snapshot.before_serve" else None)
        cluster.start(OBSERVER)
        await until(lambda: len(served) > 4, 60, "a part that is served", cluster.describe)
        failpoints.watch(None)
        helpers = [node.name for node in cluster.validators]
        await cluster.crash(*helpers)
        cluster.start(*helpers)
        assert all(node.channel.snapshots.offered == (30, 20) for node in cluster.validators)  # type: ignore[union-attr]
        await reopened(cluster, OBSERVER)
        await level(cluster, OBSERVER)

    simulate(folder, 21, scenario, observers=1, keeping=eager)
