"""The journal of an import: what was signed and sent and is not known to be final yet.

What is on chain needs no journal; the chain is asked. Between the two lie the transactions under way when the machine
died. Signed anew they would be others, so they are written down before they are sent, and whoever resumes sends *the
same bytes* first, which gives the first answer however often it is done (docs/formats.md, section 2).

Format, version 1: lines of text, each ``crc32 of the rest, 8 hexadecimal digits`` SPACE ``JSON``. The first says what
the journal belongs to, each further one what a batch has open from now on: ``{"batch": 7, "open": [envelope, ...]}`` in
base64, ``[]`` once nothing is. A last line without its end was being written when the machine died; its transactions
were not sent, so it is dropped. Any other line that does not check is an error: then nothing may be concluded from it.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from dawan_node.cli.exit_codes import CommandFailed, ExitCode

FORMAT: Final = "dawan-import-journal"
VERSION: Final = 1
#: Beyond this the settled part is rewritten away; a batch has at most a few MiB, so the file stays below twice this.
BYTES_MAX: Final = 32 * 1024 * 1024
#: One batch in base64, with room.
_LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_CRC_DIGITS: Final = 8


class Journal:
    """An open journal; no other process has it. ``open_batches`` is what is under way, by batch number."""

    def __init__(self, path: Path, owner: dict[str, str], work: str = "import") -> None:
        """Open or begin the journal at ``path`` for ``owner``: channel, chain id, key, command. ``work``: what it is
        of, for messages.

        Raises CommandFailed when it is another one's, in use, damaged, or cannot be written.
        """
        self.path: Final = path
        self._work: Final = work
        self._owner: Final = {"format": FORMAT, "version": VERSION, **owner}
        self.open_batches: dict[int, tuple[bytes, ...]] = {}
        self._size = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed(
                path, "cannot be written", error.strerror or str(error), "Name another with --journal."
            ) from None
        try:
            self._take()
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            os.close(self._lock)
            raise _failed(
                path, "cannot be opened", error.strerror or str(error), "Name another with --journal."
            ) from None
        except CommandFailed:
            os.close(self._lock)
            raise
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; it stays, for whoever resumes."""
        os.close(self._file)
        os.close(self._lock)

    def set_open(self, batch: int, envelopes: Sequence[bytes]) -> None:
        """From now on exactly ``envelopes`` of this batch are under way; on disk when this returns.

        Raises CommandFailed when the disk refuses: then nothing may be sent.
        """
        if envelopes:
            self.open_batches[batch] = tuple(envelopes)
        else:
            self.open_batches.pop(batch, None)
        self._append(_entry(batch, envelopes), sync=bool(envelopes))
        if self._size > BYTES_MAX:
            self._rewrite()

    def next_batch(self) -> int:
        """A number no open batch has."""
        return max(self.open_batches, default=0) + 1

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _failed(
                self.path, "is in use", f"another {self._work} with this key is running", "Wait for it, or end it."
            ) from None

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        with os.fdopen(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            first = stream.readline(_LINE_BYTES_MAX)
            if not first.endswith(b"\n") and len(first) == size:
                # New, or the machine died in its first line.
                os.ftruncate(self._file, 0)
                self._append(self._owner, sync=True)
                return
            self._check_owner(first)
            sound = len(first)
            while line := stream.readline(_LINE_BYTES_MAX):
                if not line.endswith(b"\n") and sound + len(line) == size:
                    break
                self._take_in(_decoded(line), sound)
                sound += len(line)
        if sound != size:
            os.ftruncate(self._file, sound)
        self._size = sound

    def _check_owner(self, line: bytes) -> None:
        found = _decoded(line)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise _failed(
                self.path, f"is no journal of this {self._work}", "its first line does not check", "Name another file."
            )
        if found.get("version") != VERSION:
            raise _failed(
                self.path,
                f"is of version {found.get('version')!r}",
                f"this program writes version {VERSION}",
                f"Finish that {self._work} with the program that began it.",
            )
        other = [name for name, value in self._owner.items() if found.get(name) != value]
        if other:
            raise _failed(
                self.path,
                f"belongs to another {self._work}",
                ", ".join(f"{name} {found.get(name)!r}" for name in other),
                "Give --journal FILE, another for each channel, key and command.",
            )

    def _take_in(self, entry: Any, offset: int) -> None:
        match entry:
            case {"batch": int() as batch, "open": list() as texts}:
                envelopes = [_envelope(text) for text in texts]
                if None not in envelopes:
                    kept = tuple(envelope for envelope in envelopes if envelope is not None)
                    if kept:
                        self.open_batches[batch] = kept
                    else:
                        self.open_batches.pop(batch, None)
                    return
        raise _failed(
            self.path,
            "is damaged",
            f"the line at byte {offset} does not check",
            "Move it away and begin again: the chain knows what is recorded, and nothing is recorded twice.",
        )

    def _append(self, entry: Any, *, sync: bool) -> None:
        line = _encoded(entry)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._file, view) :]
            if sync:
                os.fdatasync(self._file)
        except OSError as error:
            raise _failed(
                self.path,
                "cannot be written",
                error.strerror or str(error),
                "Make room and run the same command again.",
            ) from None
        self._size += len(line)

    def _rewrite(self) -> None:
        """The same journal without what is settled; at every moment one whole file has the name."""
        fresh = Path(f"{self.path}.new")
        try:
            handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed(
                fresh, "cannot be written", error.strerror or str(error), "Make room and run it again."
            ) from None
        os.close(self._file)
        self._file, self._size = handle, 0
        self._append(self._owner, sync=False)
        for batch, envelopes in self.open_batches.items():
            self._append(_entry(batch, envelopes), sync=False)
        os.fsync(handle)
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _entry(batch: int, envelopes: Sequence[bytes]) -> dict[str, Any]:
    return {"batch": batch, "open": [base64.b64encode(envelope).decode() for envelope in envelopes]}


def _encoded(entry: Any) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True).encode()
    return f"{zlib.crc32(text):08x} ".encode() + text + b"\n"


def _decoded(line: bytes) -> Any:
    """The entry of a line; None when it does not check."""
    crc, _, text = line.removesuffix(b"\n").partition(b" ")
    if len(crc) != _CRC_DIGITS or crc != f"{zlib.crc32(text):08x}".encode():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _envelope(text: Any) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except binascii.Error:
        return None


def _failed(path: Path, what: str, why: str, fix: str) -> CommandFailed:
    return CommandFailed(ExitCode.FAILED, f"the journal {path} {what}", why, fix)
