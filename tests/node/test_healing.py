"""A node whose ledger is damaged is healed by its peers, and never serves what the damage made of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.errors import StorageError
from dawan_node.node import restore
from tests.long_and_short import seeds
from tests.node.channel_cluster import Cluster, memory_folder, simulate

DAMAGED = "mo1"


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


def flip_bits(database: Path, source: random.Random) -> int:
    """One bit in every file that holds data; how many files."""
    files = [path for path in sorted(database.iterdir()) if path.suffix in (".ldb", ".log") and path.stat().st_size]
    for path in files:
        data = bytearray(path.read_bytes())
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(data)
    return len(files)


def set_aside(database: Path) -> None:
    """What is done with a database that does not open: kept, under another name, and the channel starts at genesis."""
    database.rename(database.with_name("db.damaged"))
    database.with_name("db.INITIALISED").unlink()


@pytest.mark.parametrize("seed", seeds(1, 3))
def test_a_damaged_ledger_is_refused_and_comes_back_from_the_peers(folder: Path, seed: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.load(40)
        await cluster.settle()
        await cluster.stop(DAMAGED)
        await cluster.load(20)
        database = cluster.nodes[DAMAGED].folder / "db"
        assert flip_bits(database, random.Random(seed)) >= 1
        try:
            cluster.start(DAMAGED)
        except StorageError:
            set_aside(database)
            cluster.start(DAMAGED)
        else:  # the damage is in what nobody has read yet; whoever does must stop
            await cluster.crash(DAMAGED)
            set_aside(database)
            cluster.start(DAMAGED)
        await cluster.load(20)
        await asyncio.sleep(1)
        height = await cluster.settle()
        assert height > 3

    simulate(folder, seed, scenario)


def test_a_node_is_healing_until_it_is_as_far_as_its_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log as it is after long: of what it knows to be decided, the bodies are gone."""
    monkeypatch.setattr(restore, "_logged_bodies", lambda genesis, log_records: set())

    async def scenario(cluster: Cluster) -> None:
        await cluster.load(20)
        height = await cluster.settle()
        assert not any(node.channel.healing_to for node in cluster.alive)
        await cluster.stop(DAMAGED)
        set_aside(cluster.nodes[DAMAGED].folder / "db")
        cluster.start(DAMAGED)
        assert cluster.nodes[DAMAGED].channel.healing_to == height
        await cluster.load(5)
        await cluster.settle()
        assert not cluster.nodes[DAMAGED].channel.healing_to

    simulate(folder, 1, scenario)
