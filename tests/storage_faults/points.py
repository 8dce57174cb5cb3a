"""Every storage call of a run, and what becomes of the node when one of them is its last, or fails.

A run of 200 blocks is cut into lives of ten blocks each, every one from the disk as the death of the one before left
it. Each life is watched once; its calls by thread are the *points*. For a point, the same life is lived again from a
copy of the same disk, and ``strace`` kills the process at that call (before the kernel does it), or makes the call
fail. So a point costs ten blocks at most, not 200, and the calls of opening a disk after a death are points as well.
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dawan_node.node.fail_stop import EXIT_STORAGE
from tests.storage_faults import chain, life
from tests.storage_faults.forks import CALLS, Answering, Ended, copy, run_life
from tests.storage_faults.reopening import Told, broken_promises, lost_blocks

#: Fail-stop: from the failed call to the end of the process (issue 5, I8).
FAIL_STOP_MS = 1000

#: A life comes by its calls in nearly the same order each time, but threads take turns as they like; and a machine with
#: other work may hold a process up for a second. A point that was missed, or only late, is tried again; the table says
#: how many were. A life that never came by says nothing and costs little; one that is late, or in which an error was
#: not made known, may be so twice.
ATTEMPTS = 6
LATE_ATTEMPTS = 3

_LINE = re.compile(r"(?P<task>\d+) +(?P<at>[\d.]+) (?P<call>\w+)\((?P<arguments>.*)")
#: The same of a single thread, which strace does not number.
_ALONE = re.compile(r"[\d.]+ \w+\((?P<arguments>.*)")

#: Calls whose failure may be ignored, because nothing rests on them: LevelDB's diary, looking for
#: and removing files it has no use for, and making directories (what matters is whether one can be opened in them).
_IGNORABLE = re.compile(
    r"^(rename|openat|write|unlink) .*/db/LOG(\.old)?$|^unlink .*/db/(\d+\.(log|ldb|dbtmp)|MANIFEST-\d+)$"
    r"|^(mkdir .*|openat .*/db/$)"
)


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``-th ``call`` of ``thread`` in the life that begins above ``first``; ``path`` is its file."""

    first: int
    up_to: int
    thread: str
    call: str
    number: int
    path: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a point: its ``outcome`` in one of the words below, and what broke; lost blocks, which are among
    what broke, are counted besides. ``stopped_ms``: from the call that failed to the end of the process."""

    outcome: str
    broken: tuple[str, ...] = ()
    lost: int = 0
    stopped_ms: int = 0
    repeated: int = 0


#: The outcomes of a point. A life that never came to it says nothing about it.
NOT_REACHED = "not reached"
PASSED = "passed"
STOPPED = "stopped, reason"
HARMLESS = "on the harmless list"
UNSEEN = "no later write"
BROKEN = "broken"

Judge = Callable[[Point, Ended], Verdict]


class Lives:
    """The run, cut into lives: the disk each begins with, and the points in it."""

    def __init__(self, folder: Path, blocks: int = chain.BLOCKS, length: int = 10) -> None:
        self._folder = folder
        self._firsts = range(0, blocks, length)
        self._length = length
        self._work = folder / "work"
        self._checked: dict[tuple[bytes, Told], tuple[int, tuple[str, ...]]] = {}
        self._checker = Answering(lambda asked: _found(self._work, Told.of(asked[0]), asked[1]))
        self.points: list[Point] = []

    def close(self) -> None:
        """No more points are tried."""
        self._checker.end()

    def home(self, first: int) -> Path:
        return self._folder / f"before-{first + 1}"

    def watch(self) -> None:
        """Live the whole run once and note every storage call."""
        chain.at(self._firsts.stop + 2 * self._length)  # known before any fork
        life.prepare(self.home(0))
        for first in self._firsts:
            # Every life at the same path, or the traces could not be told apart from the copies' own.
            copy(self.home(first), self._work)
            arguments = ("-ttt", "-y", "-s", "0", "-e", "signal=none", "-e", f"trace={','.join(CALLS)}")
            dies = first // self._length % 2 == 0  # the others end in order, which makes calls too
            ended = run_life(self._work, first + self._length, strace=arguments, follow=True, dies=dies)
            told = Told.parse(ended.told)
            assert max(told.decided, default=0) == first + self._length, ended
            self.points += self._points(first, ended)
            copy(self._work, self.home(first + self._length))

    def _points(self, first: int, ended: Ended) -> Iterator[Point]:
        names = {task: name for name, task in ended.threads.items()}
        counts: Counter[tuple[str, str]] = Counter()
        for line in ended.trace:
            match = _LINE.match(line)
            if match is None:
                continue
            thread = names[int(match["task"])]
            counts[thread, match["call"]] += 1
            path = _path(match["call"], match["arguments"])
            if path is not None and path.startswith(str(self._work)):
                number = counts[thread, match["call"]]
                yield Point(first, first + self._length, thread, match["call"], number, path)

    def kill(self, point: Point) -> Verdict:
        """Let the process die at the point, and see what its disk is worth."""
        return self._meddle(point, "signal=SIGKILL", self._judge_death)

    def fail(self, point: Point, error: str) -> Verdict:
        """Let the call fail, once, and see that the process stops, in time, and what its disk is worth."""
        return self._meddle(point, f"error={error}", partial(self._judge_stop, error))

    def _meddle(self, point: Point, what: str, judge: Judge) -> Verdict:
        repeated = 0
        while True:
            verdict = self._attempt(point, what, judge, outlasts=repeated > 0 and point.thread == "leveldb")
            only_late = verdict.stopped_ms > FAIL_STOP_MS and len(verdict.broken) == 1
            # LevelDB's own thread makes an error known when its work has ended, which on a busy machine may be after
            # several writes that began meanwhile. One that is never made known is not heard in any attempt.
            only_unheard = verdict.broken == (_unheard(point),)
            is_missed = verdict.outcome == NOT_REACHED
            attempts = ATTEMPTS if is_missed else LATE_ATTEMPTS
            if repeated + 1 >= attempts or not (is_missed or only_late or only_unheard):
                return replace(verdict, repeated=repeated)
            repeated += 1

    def _attempt(self, point: Point, what: str, judge: Judge, outlasts: bool) -> Verdict:
        copy(self.home(point.first), self._work)
        arguments = ("-ttt", "-s", "0", "-e", f"trace={point.call}", "-e")
        arguments += (f"inject={point.call}:{what}:when={point.number}",)
        ended = run_life(self._work, point.up_to, thread=point.thread, strace=arguments, outlasts=outlasts)
        verdict = judge(point, ended)
        if verdict.outcome == NOT_REACHED:
            return verdict
        told = Told.parse(ended.told, point.first)
        # What a disk is worth follows from what is on it and what was told; many points leave the same.
        left = disk_digest(self._work), told
        if left not in self._checked:
            lost, found = self._checker.ask([told.plain(), point.first])
            if found:
                self._checker.end()  # the next one is asked of a child that has met nothing broken
            self._checked[left] = lost, tuple(found)
        lost, found = self._checked[left]
        broken = (*verdict.broken, *found)
        return replace(verdict, outcome=BROKEN if broken else verdict.outcome, broken=broken, lost=lost)

    def _judge_death(self, point: Point, ended: Ended) -> Verdict:
        return Verdict(PASSED if ended.code == -signal.SIGKILL else NOT_REACHED)

    def _struck(self, point: Point, line: str) -> str | None:
        """Which file the failed call was about: threads take turns as they like, so the same number may be another
        call than in the life that was watched. None: one of this harness, whose own look at ``/proc`` counts too."""
        match = _ALONE.match(line)
        struck = None if match is None else _path(point.call, match["arguments"])
        if struck is None:
            return point.path  # a call on a descriptor: only the watched life names its file
        return struck if struck.startswith(str(self._work)) else None

    def _judge_stop(self, error: str, point: Point, ended: Ended) -> Verdict:
        injected = [line for line in ended.trace if "(INJECTED)" in line]
        if not injected:
            return Verdict(NOT_REACHED)
        began, path = _stamp(injected[0]), self._struck(point, injected[0])
        if path is None:
            return Verdict(NOT_REACHED)
        if ended.code == 0 and _IGNORABLE.match(f"{point.call} {path}"):
            return Verdict(HARMLESS)
        later = [line for line in ended.told if line.startswith("decided") and float(line.split(" ")[3]) > began]
        if ended.code == 0 and point.thread == "leveldb" and len(later) <= 1:
            return Verdict(UNSEEN)  # what fails in LevelDB's own thread is told to whoever writes next; nobody did
        if ended.code == 0 and point.thread == "leveldb":
            return Verdict(BROKEN, (_unheard(point),))
        if ended.code != EXIT_STORAGE:
            what = f"the process ended with {ended.code}, not {EXIT_STORAGE}, after {path}: {ended.told[-1:]}"
            return Verdict(BROKEN, (what,))
        reasons = [line.split(" ")[1] for line in ended.told if line.startswith("stopped ")]
        if not reasons or (error == "ENOSPC") != (reasons[0] == "STORAGE_FULL"):
            return Verdict(BROKEN, (f"the process gave {reasons or 'no reason'} for {error}",))
        lasted_ms = int((_stamp(ended.trace[-1]) - began) * 1000)
        late = (f"the process went on for {lasted_ms} ms",) if lasted_ms > FAIL_STOP_MS else ()
        return Verdict(STOPPED, late, stopped_ms=lasted_ms)


def _unheard(point: Point) -> str:
    return f"the process ended with 0, not {EXIT_STORAGE}, after {point.call} {point.number} of LevelDB's own thread"


def disk_digest(home: Path) -> bytes:
    """Of all files with their names, but LevelDB's diary, which nothing reads and which has the time in it."""
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*")):
        digest.update(f"{path.relative_to(home)}\0".encode())
        if path.is_file() and path.name not in ("LOG", "LOG.old"):
            content = path.read_bytes()
            digest.update(b"%d\0" % len(content) + content)
    return digest.digest()


def _found(home: Path, told: Told, first: int) -> tuple[int, list[str]]:
    broken = broken_promises(home, told, first=first)
    return lost_blocks(broken), broken


def _stamp(line: str) -> float:
    return float(line.split(" ", 1)[0])


def _path(call: str, arguments: str) -> str | None:
    if call in ("rename", "unlink", "mkdir"):
        match = re.match(r'"([^"]*)"', arguments)
    elif call == "openat":
        match = re.search(r'"([^"]*)"', arguments)
        if match is not None and "O_DIRECTORY" in arguments:
            return match[1] + "/"  # to list it, or to sync it
    else:
        match = re.match(r"\d+<([^>]*)>", arguments)
    return None if match is None else match[1]
