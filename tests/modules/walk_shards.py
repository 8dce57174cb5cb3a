"""Shards of an extended run of random walks: a row of seeds each, how far it came in a file, what it found beside it.

A shard that was interrupted goes on at the seed after the last one that was written down. What stands in the file is
about one version of the code: of another version nothing counts, and the shard begins again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from dawan_node.testing.module_kit import ModuleKit
from tests.modules.walk_tally import Tally

ROOT: Final = Path(__file__).resolve().parents[2]
#: What a walk depends on.
SOURCES: Final = (
    "dawan_node/crypto",
    "dawan_node/execution",
    "dawan_node/interchange",
    "dawan_node/modules",
    "dawan_node/primitives",
    "dawan_node/testing",
    "tests/modules",
    "configs/refdata",
)
#: Walks of one module in the extended run, and in every run (issue 7, Show 2).
EXTENDED: Final = 10_000
DEFAULT: Final = 300
LONG_ONE_OF: Final = 9
#: What an interruption can lose.
WRITTEN_EVERY_S: Final = 5.0
#: A shard ends at so many failures: the first few say what is wrong.
FAILURES_MAX: Final = 5


@dataclass(frozen=True)
class Lengths:
    """Blocks of a walk: many short ones begin in many ways, and one in ``LONG_ONE_OF`` comes to what takes long."""

    short: int
    long: int

    def of(self, seed: int) -> int:
        """Blocks of the walk of this seed."""
        return self.short if seed % LONG_ONE_OF else self.long


@dataclass(frozen=True)
class Walks:
    """The random walks of a module.

    ``play(seed, blocks)`` raises AssertionError where something does not hold; any other exception is a failure too.
    ``prepare`` makes what all walks begin with, so that it counts for none. ``default`` and ``extended``: how long
    walks are in every run, and in the extended one.
    """

    module: str
    prepare: Callable[[], object]
    play: Callable[[int, int], object]
    default: Lengths
    extended: Lengths


def default_folder() -> Path:
    """Where shards keep how far they came unless told otherwise."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "dawan-node" / "walks"


@cache
def version() -> str:
    """A digest of the files that a walk depends on."""
    digest = hashlib.sha256()
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*")):
            if path.suffix in (".py", ".csv"):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``of`` of a module's seeds 0 to ``walks`` - 1."""

    module: str
    number: int
    of: int
    walks: int
    lengths: Lengths

    @property
    def seeds(self) -> range:
        """No seed is in two shards, and each is in one."""
        return range(self.walks * self.number // self.of, self.walks * (self.number + 1) // self.of)

    def path(self, folder: Path) -> Path:
        """The file of its progress."""
        return folder / f"{self.module}-{self.number}-of-{self.of}.json"


@dataclass
class Progress:
    """How far a shard came; ``seconds`` on the clock and of this thread."""

    next: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failures: list[tuple[int, str]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class Busy(Exception):
    """Another process is at this shard."""


def play_shard(
    shard: Shard, walks: Walks, folder: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> Progress:
    """Play what is left of a shard. Without ``folder`` nothing is kept. Raises Busy."""
    if folder is None:
        return _play_on(shard, walks, Progress(shard.seeds.start), lambda progress: None, say)
    folder.mkdir(parents=True, exist_ok=True)
    path = shard.path(folder)
    with _locked(path.with_suffix(".lock")):
        progress = read(shard, folder) or Progress(shard.seeds.start)
        if progress.next > shard.seeds.start:
            say(f"{shard.module} {shard.number}/{shard.of}: goes on at seed {progress.next}")
        return _play_on(shard, walks, progress, lambda progress: _write(shard, progress, path), say)


def read(shard: Shard, folder: Path) -> Progress | None:
    """How far this version of the code came with a shard; None if it did not begin."""
    path = shard.path(folder)
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if (data.pop("version"), data.pop("shard")) != (version(), asdict(shard)):
        return None
    data["failures"] = [(seed, what) for seed, what in data["failures"]]
    return Progress(**(data | {"tally": Tally.from_json(data["tally"])}))


def replay_command(shard: Shard, seed: int) -> str:
    """What plays one walk again."""
    return f"scripts/walks {shard.module} --seed {seed} --blocks {shard.lengths.of(seed)}"


@contextmanager
def counted(tally: Tally) -> Iterator[Tally]:
    """Within, every block of every kit counts."""
    before = ModuleKit.witness
    ModuleKit.witness = lambda kit, execution, transactions: tally.watch(kit, execution, transactions)
    try:
        yield tally
    finally:
        ModuleKit.witness = before


def _play_on(
    shard: Shard,
    walks: Walks,
    progress: Progress,
    write: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Progress:
    if progress.next in shard.seeds:
        walks.prepare()
    begun, used = time.monotonic(), time.thread_time()
    with counted(progress.tally):
        for seed in range(progress.next, shard.seeds.stop):
            if len(progress.failures) >= FAILURES_MAX:
                break
            try:
                walks.play(seed, shard.lengths.of(seed))
            except Exception as error:  # noqa: BLE001 - whatever a walk fails with is what it is for; it is told
                progress.failures.append((seed, f"{type(error).__name__}: {error}"))
                say(f"FAILED: {replay_command(shard, seed)}: {type(error).__name__}: {error}")
            progress.tally.walks += 1
            progress.next = seed + 1
            now = time.monotonic()
            if now - begun >= WRITTEN_EVERY_S:
                begun, used = _booked(progress, begun, used)
                write(progress)
                say(f"{shard.module} {shard.number}/{shard.of}: {_so_far(shard, progress)}")
    _booked(progress, begun, used)
    write(progress)
    say(f"{shard.module} {shard.number}/{shard.of}: {_so_far(shard, progress)}")
    return progress


def _booked(progress: Progress, begun: float, used: float) -> tuple[float, float]:
    """Book the time since then and return the present."""
    now, cpu = time.monotonic(), time.thread_time()
    progress.seconds += now - begun
    progress.cpu_seconds += cpu - used
    return now, cpu


def _so_far(shard: Shard, progress: Progress) -> str:
    done = progress.next - shard.seeds.start
    return (
        f"{done} of {len(shard.seeds)} walks, {len(progress.failures)} failed, "
        f"{progress.seconds:.0f} s, {progress.cpu_seconds:.0f} s of processor"
    )


def _write(shard: Shard, progress: Progress, path: Path) -> None:
    data: dict[str, Any] = {"version": version(), "shard": asdict(shard)}
    data |= vars(progress) | {"tally": progress.tally.as_json()}
    written = path.with_suffix(".new")
    written.write_text(json.dumps(data), encoding="utf-8")
    written.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process plays the shard of {path}") from None
        yield
