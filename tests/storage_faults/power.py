"""Power cuts: the node lives on an ext4 of its own, which from one moment to the next forgets what was not synced."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dawan_node.node.fail_stop import EXIT_STORAGE
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.files import FileOperations
from dawan_node.storage.leveldb import LevelDBStore
from tests.storage_faults import chain, life
from tests.storage_faults.forks import in_child, start_life
from tests.storage_faults.mounts import PowerDisk
from tests.storage_faults.reopening import Told, broken_promises, lost_blocks

#: A run starts anew when its chain is that long ...
HEIGHT_MAX = 120
#: ... and after so many cuts, so that the first moments of a database are cut often too: a run of its own each.
CUTS_PER_RUN = 5


@dataclass
class Cuts:
    """What a series of power cuts did."""

    cuts: int = 0
    acknowledged: int = 0
    lossy: int = 0
    lost: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, other: Cuts) -> None:
        self.cuts += other.cuts
        self.acknowledged += other.acknowledged
        self.lossy += other.lossy
        self.lost += other.lost
        self.broken += other.broken


def cut_power(folder: Path, cycles: int, seed: int) -> Cuts:
    """One run: cut the power at random moments, remount, let the node start and go on, over and over."""
    source, outcome = random.Random(seed), Cuts()
    folder.mkdir()
    disk = PowerDisk(folder)
    home = disk.path / "home"
    told: list[str] = []
    for cycle in range(cycles):
        if cycle == 0 or len(told) > HEIGHT_MAX:
            shutil.rmtree(home, ignore_errors=True)
            in_child(lambda: life.prepare(home))
            told = []
        first = max(Told.parse(told).decided, default=0)
        running = start_life(home, first + 60)
        # In the first life of a run, sometimes before anything is there.
        wanted = source.randint(0, 25) if first else source.choice((0, 0, 1, 2, 20))
        for _ in range(wanted):
            running.lines.until("decided")
        disk.cut_power()
        code = running.end()
        disk.unmount()
        disk.mount()
        now = Told.parse(running.lines.told, first)
        told += [line for line in running.lines.told if line.startswith(("decided", "sent"))]
        outcome.cuts += 1
        outcome.acknowledged += len(now.decided)
        if code != EXIT_STORAGE:
            outcome.broken.append(f"run {seed}, cut {cycle}: the process ended with {code}: {running.lines.told[-1:]}")
        everything = Told.parse(told)
        broken = in_child(partial(broken_promises, home, everything, deep=True))
        outcome.broken += [f"run {seed}, cut {cycle}: {text}" for text in broken]
        outcome.lost += lost_blocks(broken)
        outcome.lossy += any("are gone" in text or "does not start" in text for text in broken)
        # The check let the node decide one more; nobody waited for the answer, so it is asked for again.
        told.append(_head_of(home))
    disk.unmount()
    shutil.rmtree(folder)
    return outcome


def _head_of(home: Path) -> str:
    """What a client learns that asks how far the node is."""

    def ask() -> str:
        store = ChannelStore.open(life.database_of(home), chain.genesis().chain_id)
        head = store.head
        store.close()
        return f"decided {head.height} {head.block_hash.hex()}"

    return str(in_child(ask))


def cut_power_unsynced(folder: Path, cycles: int) -> int:
    """The same with a node that only pretends to sync: in how many of the cycles acknowledged blocks were lost. Where
    it is none, a power cut here is no power cut, and nothing else it shows counts."""
    folder.mkdir()
    disk = PowerDisk(folder)
    lossy = 0
    for cycle in range(cycles):
        home = disk.path / f"home-{cycle}"
        in_child(partial(life.prepare, home))
        running = start_life(home, 60, _pretend_to_sync)
        for _ in range(20):
            running.lines.until("decided")
        disk.cut_power()
        running.end()
        disk.unmount()
        disk.mount()
        told = Told.parse(running.lines.told)
        lossy += bool(in_child(partial(broken_promises, home, told)))
    disk.unmount()
    return lossy


def _pretend_to_sync() -> None:
    """A child's own copy of the code, made worse."""
    write = LevelDBStore.write
    FileOperations.sync_data = lambda self, descriptor: None  # type: ignore[method-assign]
    LevelDBStore.write = lambda self, batch, *, sync=True: write(self, batch, sync=False)  # type: ignore[method-assign]
