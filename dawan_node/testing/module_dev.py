"""``module dev``: a module's files are edited, and what the session's commands give now is shown at once.

A real channel never loads other code: its genesis pins the hash of a module's code, every validator would have to
change at the same block, and blocks of the past must come out as they did. So nothing is reloaded here either. For each
state of the files a process is forked that has none of the module in it, loads it guarded as a node does, makes a new
channel in memory and plays all commands of the session again (``module_session``). What came out differently from the
last time is shown, step by step and record by record. The code that did not load leaves the last good outcome as it is.

Forking costs a few milliseconds where a new interpreter costs half a second; the parent has one thread and never
imports the module. A process that does not end (a pattern that backtracks for ever) is killed after ``PLAY_S``.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node.module_package import PROJECT_FILE, at
from dawan_node.testing.module_session import MISTAKE, Played, Step, play

#: Between two looks at the files. A person does not see a tenth of a second, and a look is a few system calls.
LOOK_S: Final = 0.1
#: A session of a thousand commands takes a second or two; what takes longer hangs.
PLAY_S: Final = 30.0
#: Commands of one session, typed or from a file: far more than anybody types, and played in some seconds.
LINES_MAX: Final = 2_000
#: What one process may tell: bounded, because a module can make a lot of text.
_TOLD_BYTES_MAX: Final = 64 * 1024 * 1024
_CHUNK: Final = 65_536


class Session:
    """The commands so far and what they gave with the last code that loaded."""

    def __init__(self, project: Path, commands: Path | None, tell: Callable[[str], None]) -> None:
        """``commands``: a file of lines that are played before those that are typed, and watched like the code."""
        self._project: Final = project
        self._file: Final = commands
        self._tell: Final = tell
        self._typed: list[str] = []
        self._last: Played | None = None
        self._seen: object = None

    def refresh(self) -> bool:
        """Play everything again if a file changed since the last look; whether the code loads and was played."""
        seen = self._look()
        if seen == self._seen:
            return self._last is not None
        changed = _changed(self._seen, seen)
        self._seen = seen
        return self._replay(changed)

    def type(self, line: str) -> None:
        """One more command; its outcome is shown, and with it what the files changed meanwhile."""
        line = line.strip()
        if not line:
            return
        if len(self._lines()) >= LINES_MAX:
            self._tell(f"a session has at most {LINES_MAX} commands; begin another")
            return
        self._typed.append(line)
        if self._replay([]) and self._last is not None and self._last.steps[-1].came[:1] == [MISTAKE]:
            # It said nothing that could be played, so it is not played again either.
            self._typed.pop()
            self._last = Played(self._last.steps[:-1], self._last.state)

    def _replay(self, changed: Sequence[str]) -> bool:
        began = time.monotonic()
        try:
            lines = self._lines()
        except OSError as error:
            self._tell(f"{self._file} cannot be read: {error.strerror}")
            return False
        played = in_a_process(self._project, lines)
        took_ms = round((time.monotonic() - began) * 1_000)
        if played.trouble:
            self._tell(f"{_names(changed)}not loaded: {played.trouble}")
            return False
        last, self._last = self._last, played
        if last is None:
            self._tell(f"loaded and {len(played.steps)} lines played in {took_ms} ms")
            for number, step in enumerate(played.steps, 1):
                self._show(number, step, None)
            return True
        differences = list(compare(last, played))
        if changed:
            what = f"{len(differences)} differences" if differences else "nothing came out differently"
            self._tell(f"{_names(changed)}loaded, {len(played.steps)} lines played in {took_ms} ms: {what}")
        for text in differences:
            self._tell(text)
        return True

    def _show(self, number: int, step: Step, before: Step | None) -> None:
        for text in step_lines(number, step, before):
            self._tell(text)

    def _lines(self) -> list[str]:
        from_file = [] if self._file is None else self._file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [*from_file, *self._typed][:LINES_MAX]

    def _look(self) -> dict[str, tuple[int, int]]:
        """When each file that matters was written, and its size."""
        try:
            package = at(self._project)
            paths = [package.root / PROJECT_FILE, package.root.parent / PROJECT_FILE, *package.files()]
        except ConfigError:
            paths = [self._project / PROJECT_FILE]
        if self._file is not None:
            paths.append(self._file)
        found = {}
        for path in paths:
            with suppress(OSError):  # gone between two looks, which is a change too
                state = path.stat()
                found[str(path)] = (state.st_mtime_ns, state.st_size)
        return found


def run(session: Session, typed: int) -> None:
    """Watch the files and take commands, a line each, from the file descriptor ``typed`` until it ends."""
    waiting = b""
    while True:
        session.refresh()
        if not select.select([typed], [], [], LOOK_S)[0]:
            continue
        part = os.read(typed, _CHUNK)
        *lines, waiting = (waiting + part).split(b"\n")
        if not part:
            lines.append(waiting)
        for line in lines:
            session.refresh()
            session.type(line.decode("utf-8", "replace"))
        if not part:
            return


def compare(before: Played, now: Played) -> Iterator[str]:
    """What came out differently: steps by their place, then records of the final state."""
    for number, step in enumerate(now.steps, 1):
        old = before.steps[number - 1] if number <= len(before.steps) else None
        if old != step:
            yield "\n".join(step_lines(number, step, old))
    for number, old in enumerate(before.steps[len(now.steps) :], len(now.steps) + 1):
        yield f"{number:>4}  {old.line}\n      - no longer played"
    for record in sorted(before.state.keys() | now.state.keys()):
        old_fields, fields = before.state.get(record), now.state.get(record)
        if old_fields != fields:
            minus = [f"      - {old_fields}"] if old_fields is not None else []
            plus = [f"      + {fields}"] if fields is not None else []
            yield "\n".join([f"      {record}", *minus, *plus])


def step_lines(number: int, step: Step, before: Step | None) -> list[str]:
    """A step as it is shown: what it gave, and what it gave before if that was something else."""
    if before is None or before.line != step.line:
        return [f"{number:>4}  {step.line}", *(f"      {came}" for came in step.came)]
    minus = [f"      - {came}" for came in before.came]
    return [f"{number:>4}  {step.line}", *minus, *(f"      + {came}" for came in step.came)]


def in_a_process(project: Path, lines: Sequence[str]) -> Played:
    """``play`` in a process of its own, which is gone when this returns. Raises OperatorError: it cannot be made."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise OperatorError("no process could be made", error.strerror or "unknown", "Close something.") from None
    if not child:
        _child(project, lines, reader, writer)
    os.close(writer)
    try:
        told = _read(reader, time.monotonic() + PLAY_S)
    finally:
        os.close(reader)
        # It has told everything, or it hangs; either way it is not needed any more.
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if told is None:
        return Played(trouble=f"it did not end within {PLAY_S:g} s: a pattern that backtracks, or too many commands")
    try:
        return msgspec.json.decode(told, type=Played)
    except msgspec.MsgspecError:
        return Played(trouble="the process that played it died without a word")


def _child(project: Path, lines: Sequence[str], reader: int, writer: int) -> None:
    """What the forked process does; it never returns to the parent's code."""
    try:
        os.close(reader)
        # An interrupt is the parent's to deal with.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            played = play(project, lines)
        except BaseException as error:  # noqa: BLE001 - the module's, or a fault of this tool: the author sees which
            played = Played(trouble=f"{type(error).__name__}: {error}")
        view = memoryview(msgspec.json.encode(played))
        while view:
            view = view[os.write(writer, view[:_CHUNK]) :]
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> bytes | None:
    """All that the child tells; None when it takes too long or tells too much."""
    told = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or len(told) > _TOLD_BYTES_MAX or not select.select([reader], [], [], left)[0]:
            return None
        part = os.read(reader, _CHUNK)
        if not part:
            return bytes(told)
        told += part


def _changed(before: object, now: dict[str, tuple[int, int]]) -> list[str]:
    """The names of the files that are new, gone or written since."""
    if not isinstance(before, dict):
        return []
    return sorted({Path(path).name for path in before.keys() | now.keys() if before.get(path) != now.get(path)})


def _names(changed: Sequence[str]) -> str:
    return f"{', '.join(changed)}: " if changed else ""
