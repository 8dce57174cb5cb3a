"""Lives in children of a process that has imported everything, watched or meddled with by ``strace``.

Forking is safe here because the parent has one thread and never opens a database; starting an interpreter for each of
thousands of lives would take most of the time. ``strace`` attaches to one thread of the child before it does anything
that counts: its counters are per thread, so a fault is named by thread, system call and number.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import plyvel

from dawan_node.node.channel_parts import ChannelParts
from tests.storage_faults import life

#: Whoever has not come to an end by then hangs.
LIFE_S = 60.0
ATTACH_S = 20.0

#: What a store does to its disk. The calls that open, write, sync, rename and remove, by all their names.
CALLS = ("fdatasync", "fsync", "write", "pwrite64", "rename", "unlink", "openat", "ftruncate", "mkdir")


@dataclass
class Ended:
    """How a life ended: exit code, or minus the signal."""

    code: int
    told: list[str]
    threads: dict[str, int]
    trace: list[str] = field(default_factory=list)


def in_child(work: Callable[[], Any]) -> Any:
    """The outcome of ``work``, done in a child of this process; an exception there is an AssertionError here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = json.dumps({"ok": work()})
        except BaseException:  # noqa: BLE001 - a child ends here, whatever happens
            answer = json.dumps({"error": traceback.format_exc()})
        with os.fdopen(writing, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    answer = json.loads(text) if text else {"error": "the child died"}
    assert "ok" in answer, answer["error"]
    return answer["ok"]


class Answering:
    """A child that does the same work again and again, for work that leaves nothing behind in its process.

    A fork costs as much as a short life: the child copies every page of this process that it touches. After an error,
    and when ``end`` was called, the next question goes to a new child.
    """

    def __init__(self, work: Callable[[Any], Any]) -> None:
        """``work`` gets what was asked and gives the answer, both as JSON has them."""
        self._work = work
        self._pid = 0
        self._questions: Any = None
        self._answers: Any = None

    def ask(self, question: Any) -> Any:
        """The answer; an exception there is an AssertionError here."""
        if not self._pid:
            self._begin()
        with suppress(BrokenPipeError):  # it died, which the missing answer says
            self._questions.write(json.dumps(question) + "\n")
            self._questions.flush()
        text = self._answers.readline()
        answer = json.loads(text) if text else {"error": "the child died"}
        if "ok" not in answer:
            self.end()
        assert "ok" in answer, answer["error"]
        return answer["ok"]

    def end(self) -> None:
        """Let the child go, if there is one."""
        if self._pid:
            with suppress(BrokenPipeError):
                self._questions.close()
            self._answers.close()
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _begin(self) -> None:
        asked_read, asked_write = os.pipe()
        told_read, told_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(asked_write)
            os.close(told_read)
            with os.fdopen(asked_read) as questions:
                for line in questions:
                    try:
                        answer = json.dumps({"ok": self._work(json.loads(line))})
                    except BaseException:  # noqa: BLE001 - whatever happens is the answer
                        answer = json.dumps({"error": traceback.format_exc()})
                    os.write(told_write, answer.encode() + b"\n")
            os._exit(0)
        os.close(asked_read)
        os.close(told_write)
        self._questions, self._answers = os.fdopen(asked_write, "w"), os.fdopen(told_read)


def run_life(
    home: Path,
    up_to: int,
    *,
    thread: str = "",
    strace: tuple[str, ...] = (),
    follow: bool = False,
    dies: bool = False,
    outlasts: bool = False,
) -> Ended:
    """One life in a child. With ``strace`` arguments, attach it to the thread ``thread`` (``follow``: to all). One that
    ``outlasts`` LevelDB's own thread closes its database only when that has nothing to do."""
    told_read, told_write = os.pipe()
    go_read, go_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="life", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
        pid = os.fork()
        if pid == 0:
            os.close(told_read)
            os.close(go_write)
            wants_leveldb_thread = follow or thread == "leveldb"
            place = Path(scratch) if wants_leveldb_thread else None
            _child(home, up_to, place, told_write, go_read, dies, outlasts)
        os.close(told_write)
        os.close(go_read)
        try:
            return _attend(pid, told_read, go_write, Path(scratch), thread, strace, follow)
        finally:
            os.close(told_read)
            os.close(go_write)


@dataclass
class Started:
    """A life that goes on, and what it says."""

    pid: int
    lines: _Lines

    def end(self) -> int:
        """Let it end by itself and return its code."""
        self.lines.until("")
        return _wait(self.pid)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.end()


def start_life(
    home: Path, up_to: int | None, prepare: Callable[[], None] = lambda: None, *, dies: bool = False
) -> Started:
    """Begin a life in a child and return at once; ``prepare`` is called in the child first."""
    told_read, told_write = os.pipe()
    go_read, go_write = os.pipe()
    os.write(go_write, b"..")
    pid = os.fork()
    if pid == 0:
        os.close(told_read)
        prepare()
        _child(home, up_to, None, told_write, go_read, dies)
    for descriptor in (told_write, go_read, go_write):
        os.close(descriptor)
    return Started(pid, _Lines(told_read))


def _child(
    home: Path, up_to: int | None, scratch: Path | None, told: int, go: int, dies: bool, outlasts: bool = False
) -> None:
    code = 70
    try:
        witness = life.Witness(told, up_to if dies else None)
        if scratch is not None:
            _start_leveldb_thread(scratch / "leveldb")
        witness.say("threads", json.dumps(_threads()))
        os.read(go, 1)

        def between(parts: ChannelParts) -> None:
            witness.say("threads", json.dumps(_threads()))
            os.read(go, 1)

        before_end = partial(_await_sleep, _threads()["leveldb"]) if outlasts else lambda: None
        life.live(home, up_to, witness, between, before_end)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - a child ends here, whatever happens
        os.write(told, ("crashed " + repr(traceback.format_exc()) + "\n").encode())
    os._exit(code)


def _start_leveldb_thread(scratch: Path) -> None:
    """LevelDB has one thread for all databases of a process, begun with the first compaction of any of them."""
    database = plyvel.DB(str(scratch), create_if_missing=True)
    for number in range(3):
        database.put(b"%d" % number, b"")
        database.compact_range()
    database.close()


def _await_sleep(task: int) -> None:
    """Wait until the thread was asleep at ten looks in a row: waiting for work, then, and not once for a lock."""
    asleep, deadline = 0, time.monotonic() + LIFE_S
    while asleep < 10 and time.monotonic() < deadline:
        status = Path(f"/proc/self/task/{task}/stat").read_text()
        asleep = asleep + 1 if status.rpartition(")")[2].split()[0] == "S" else 0
        select.select([], [], [], 0.001)


def _threads() -> dict[str, int]:
    named = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[str, int] = {}
    for task in map(int, os.listdir("/proc/self/task")):
        # A fork leaves Python's own note of the main thread as it was.
        name = "main" if task == os.getpid() else named.get(task, "leveldb")
        found[name.split("_")[0]] = task
    return found


def _attend(pid: int, told: int, go: int, scratch: Path, thread: str, strace: tuple[str, ...], follow: bool) -> Ended:
    lines = _Lines(told)
    threads = json.loads(lines.until("threads").split(" ", 1)[1])
    tracer: subprocess.Popen[bytes] | None = None
    if strace and (follow or thread in threads):
        tracer = _attach(pid if follow else threads[thread], strace, follow, scratch / "trace")
    os.write(go, b".")
    line = lines.until("threads")
    if line:
        threads = json.loads(line.split(" ", 1)[1])
        if strace and tracer is None:
            assert thread in threads, f"no thread {thread} in {threads}"
            tracer = _attach(threads[thread], strace, follow, scratch / "trace")
        with suppress(BrokenPipeError):  # it may be dead already
            os.write(go, b".")
        lines.until("")
    code = _wait(pid)
    trace: list[str] = []
    if tracer is not None:
        tracer.wait(ATTACH_S)
        assert tracer.stderr is not None
        tracer.stderr.close()
        trace = (scratch / "trace").read_text(errors="replace").splitlines()
    return Ended(code, lines.told, threads, trace)


def _wait(pid: int) -> int:
    deadline = time.monotonic() + LIFE_S
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("a life hangs after its last word")
        select.select([], [], [], 0.001)


def _attach(task: int, arguments: tuple[str, ...], follow: bool, output: Path) -> subprocess.Popen[bytes]:
    command = ["strace", *(["-f"] if follow else []), *arguments, "-o", str(output), "-p", str(task)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert tracer.stderr is not None
    said, deadline = b"", time.monotonic() + ATTACH_S
    while b"attached" not in said:
        ready, _, _ = select.select([tracer.stderr], [], [], max(0, deadline - time.monotonic()))
        data = os.read(tracer.stderr.fileno(), 4096) if ready else b""
        if not data:
            tracer.kill()
            raise AssertionError(f"strace cannot attach: {said!r}")
        said += data
    return tracer


class _Lines:
    """Lines of a pipe, as they come."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self.all: list[str] = []

    def until(self, word: str) -> str:
        """Read up to the next line that begins with ``word``, or to the end: the line, or nothing."""
        deadline = time.monotonic() + LIFE_S
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                self.all.append(line.decode())
                if word and self.all[-1].startswith(word + " "):
                    return self.all[-1]
                continue
            ready, _, _ = select.select([self._descriptor], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"a life hangs; it said {self.all[-3:]}"
            data = os.read(self._descriptor, 65536)
            if not data:
                return ""
            self._rest += data

    @property
    def told(self) -> list[str]:
        """All but what is between us and the child."""
        return [line for line in self.all if not line.startswith("threads ")]


def copy(source: Path, target: Path) -> None:
    """A whole home, for a life of its own."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
