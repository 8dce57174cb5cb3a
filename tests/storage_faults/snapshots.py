"""A process that dies while it makes a snapshot, installs one or prunes: the disk is in the old state or in the new.

Each failpoint in that code gets a child that does the whole of it and dies there, and a second one that starts as a
node does after a death, looks at what there is, and does the whole of it again. Both work on real files.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dawan_node import failpoints
from dawan_node.errors import DawanError
from dawan_node.node.snapshot_install import adopt, build, is_built
from dawan_node.node.snapshot_maker import make_snapshot
from dawan_node.storage import retention
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.leveldb import LevelDBStore, is_initialised
from dawan_node.storage.snapshot_files import PartFolder, SnapshotFolders
from dawan_node.sync.snapshot_format import Layout, Manifest
from tests.node.ledger import Ledger
from tests.node.snapshot_kit import contents, grown, no_pace, receive, take
from tests.storage_faults.forks import in_child

BLOCKS = 12
#: Which arrival at a place that is come by often is the last.
LATER = {"part.before_rename": 3, "part.after_rename": 3, "prune.before_write": 2, "prune.after_write": 2}


@cache
def _ledger() -> Ledger:
    """In memory, so that it may be forked."""
    return grown(BLOCKS)[0]


@dataclass(frozen=True, slots=True)
class Work:
    """Something a node does on its disk: ``prepare`` a folder for it (from a whole snapshot), ``do`` all of it,
    ``check`` what a start finds there (what is wrong), and what it has led to when it is ``done``."""

    places: tuple[str, ...]
    prepare: Callable[[Path, PartFolder], None]
    do: Callable[[Path], None]
    check: Callable[[Path], list[str]]
    done: Callable[[Path], list[str]]


def killed_everywhere(folder: Path) -> tuple[set[str], list[str]]:
    """Which failpoints a process died at, and what was wrong afterwards."""
    _, source = take(_ledger(), folder / "source")
    reached: set[str] = set()
    broken: list[str] = []
    for work in WORKS:
        for place in work.places:
            for arrival in sorted({1, LATER.get(place, 1)}):
                home = folder / f"{place}-{arrival}"
                home.mkdir()
                work.prepare(home, source)
                if not _dies(work, home, f"{place}:{arrival}"):
                    broken.append(f"{place}, arrival {arrival}: not reached")
                    continue
                reached.add(place)
                found = in_child(lambda work=work, home=home: _afterwards(work, home))
                broken += [f"{place}, arrival {arrival}: {text}" for text in found]
                shutil.rmtree(home)
    return reached, broken


def _dies(work: Work, home: Path, place: str) -> bool:
    pid = os.fork()
    if pid == 0:
        failpoints.arm(place)
        work.do(home)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _afterwards(work: Work, home: Path) -> list[str]:
    try:
        found = work.check(home)
        work.do(home)
        return [*found, *work.check(home), *work.done(home)]
    except DawanError as error:
        return [f"it does not start: {error}"]


# Making one, with two there already


def _with_two(home: Path, source: PartFolder) -> None:
    for height in (4, 8):  # which height it is of does not matter to the folders
        shutil.copytree(source.path, home / "snapshots" / str(height))


def _make(home: Path) -> None:
    folders = SnapshotFolders(home / "snapshots")
    if BLOCKS in folders.heights():
        return  # a node makes the snapshot of a height once
    making = folders.begin(BLOCKS)
    view = _ledger().store.snapshot()
    make_snapshot(view, making, no_pace, 4_000, 10_000)
    view.close()
    folders.finish(making, BLOCKS)


def _whole(home: Path) -> list[str]:
    """As the keeper does at a start: clear what was interrupted, and believe what has a height for its name."""
    folders = SnapshotFolders(home / "snapshots")
    folders.clear()
    heights = folders.heights()
    broken = [] if heights[:2] in ([8, 4], [BLOCKS, 8]) else [f"there are snapshots of {heights}"]
    if len(heights) != len(os.listdir(folders.path)):
        broken.append(f"something is left over: {os.listdir(folders.path)}")
    return broken + [f"snapshot {height} is not whole" for height in heights if not _is_whole(folders.at(height))]


def _is_whole(folder: PartFolder) -> bool:
    manifest = folder.manifest()
    if manifest is None:
        return False
    parts = Layout.of(Manifest.decode(manifest)).parts
    return all(folder.part(part) is not None for part in range(parts))


def _has_newest(home: Path) -> list[str]:
    heights = SnapshotFolders(home / "snapshots").heights()
    return [] if heights[0] == BLOCKS else [f"the new snapshot is not there, only {heights}"]


# Installing one, in the place of a database at its genesis


def _fetched(home: Path, source: PartFolder) -> None:
    def create() -> None:
        ledger = _ledger()
        first = ledger.executor.genesis_state()
        ChannelStore.create(home / "db", first.result, first.changes, ledger.genesis.created_ms)
        receive(source, home)

    in_child(create)


def _install(home: Path) -> None:
    incoming = PartFolder(home / "incoming")
    if not is_built(incoming) and is_initialised(home / "db") and _height(home) != BLOCKS:
        build(incoming, _ledger().executor)
    adopt(home / "db", incoming, None)


def _height(home: Path) -> int:
    store = ChannelStore.open(home / "db", _ledger().genesis.chain_id)
    height = store.head.height
    store.close()
    return height


def _one_ledger(home: Path) -> list[str]:
    """A start adopts what is built and opens the database: the old one or the new one."""
    adopt(home / "db", PartFolder(home / "incoming"), None)
    store = ChannelStore.open(home / "db", _ledger().genesis.chain_id)
    height = store.head.height
    view, expected = store.snapshot(), _ledger().store.snapshot()
    same = height != BLOCKS or contents(view) == contents(expected)
    view.close()
    store.close()
    broken = [] if height in (0, BLOCKS) else [f"the ledger is at {height}"]
    if height == BLOCKS and not list(home.glob("db.before-*")):
        broken.append("the old database is not kept")
    return broken if same else [*broken, "the state is not the snapshot's"]


def _is_installed(home: Path) -> list[str]:
    height = _height(home)
    return [] if height == BLOCKS else [f"the ledger is at {height}"]


# Pruning, two blocks at a time

WANTED = 9


def _stored(home: Path, source: PartFolder) -> None:
    def create() -> None:
        store = LevelDBStore.open(home / "db", create=True)
        view = _ledger().store.snapshot()
        store.write(list(view.iterate()), sync=True)
        view.close()
        store.mark_initialised(_ledger().genesis.chain_id)
        store.close()

    in_child(create)


def _prune(home: Path) -> None:
    retention.STEP_BLOCKS = 2
    store = ChannelStore.open(home / "db", _ledger().genesis.chain_id)
    while store.retention.step(WANTED):
        pass
    store.close()


def _consistent(home: Path) -> list[str]:
    """Every block is there with all it has, or without its body, and which are is what the mark says."""
    store = ChannelStore.open(home / "db", _ledger().genesis.chain_id)
    blocks, expected = store.blocks, _ledger().store.blocks
    oldest = blocks.kept().oldest
    broken = [] if oldest in (*range(1, WANTED, 2), WANTED) else [f"the mark is at {oldest}"]
    for height in range(1, BLOCKS + 1):
        stays = height >= oldest
        wanted = (expected.envelopes(height), expected.receipts(height)) if stays else (None, None)
        if (blocks.envelopes(height), blocks.receipts(height)) != wanted:
            broken.append(f"block {height} is not what the mark {oldest} says")
    store.close()
    return broken


def _is_pruned(home: Path) -> list[str]:
    store = ChannelStore.open(home / "db", _ledger().genesis.chain_id)
    oldest = store.blocks.kept().oldest
    store.close()
    return [] if oldest == WANTED else [f"the mark is at {oldest}"]


def _named(*prefixes: str, without: Iterable[str] = ()) -> tuple[str, ...]:
    return tuple(name for name in failpoints.FAILPOINTS if name.startswith(prefixes) and name not in without)


WORKS = (
    Work(_named("snapshot.", "part.", without=["snapshot.before_serve"]), _with_two, _make, _whole, _has_newest),
    Work(_named("install."), _fetched, _install, _one_ledger, _is_installed),
    Work(_named("prune."), _stored, _prune, _consistent, _is_pruned),
)
