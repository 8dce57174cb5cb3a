"""What an importer is given: files, folders and standard input, as documents of bounded size, one after another.

A file is one document; a file of lines (``.jsonl``, ``.ndjson``, ``.ndxml``, or any with ``--lines``) is one document
per line, so that one of a million that is broken is one refusal. Nothing is read ahead: a document is in memory, never
a file of lines.

What cannot be read is a document too, with the reason: nothing that was named is left out in silence. In a folder a
link to another folder is not followed, because links can lead round in circles and out of the folder.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

#: A file with one of these endings holds one document per line.
LINE_SUFFIXES: Final = (".jsonl", ".ndjson", ".ndxml")
#: Folders in folders; no archive of documents is sorted so deep, and the walk is bounded.
FOLDER_DEPTH_MAX: Final = 16
#: Standard input, as a file name.
STDIN: Final = "-"

_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file or line was not read."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document, or why there is none. ``line`` counts from 1 in a file of lines, else it is 0."""

    file: str
    line: int
    data: bytes
    problem: Problem | None = None
    path: Path | None = None


@dataclass(slots=True)
class LeftOut:
    """Files of a folder whose endings are none of this importer's."""

    files: int = 0


def documents(
    paths: Sequence[str],
    suffixes: Sequence[str],
    bytes_max: int,
    *,
    lines: bool = False,
    left_out: LeftOut | None = None,
) -> Iterator[Document]:
    """Every document of ``paths``, in the order given, folders sorted by name. Raises nothing for what it meets."""
    left_out = left_out if left_out is not None else LeftOut()
    for path in paths:
        if path == STDIN:
            yield from _read_stream(sys.stdin.buffer, STDIN, bytes_max, lines=lines)
            continue
        named = Path(path)
        if named.is_dir():
            yield from _folder(named, named, suffixes, bytes_max, lines, left_out, 0)
        else:
            yield from _file(named, path, bytes_max, lines=lines, named=True)


def _folder(
    root: Path, folder: Path, suffixes: Sequence[str], bytes_max: int, lines: bool, left_out: LeftOut, depth: int
) -> Iterator[Document]:
    shown = folder.relative_to(root).as_posix()
    if depth > FOLDER_DEPTH_MAX:
        yield _refused(shown, "E_FOLDER_DEPTH", f"folders are nested deeper than {FOLDER_DEPTH_MAX}")
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield _refused(shown if depth else str(folder), "E_UNREADABLE", _why(error))
        return
    for entry in entries:
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(root, path, suffixes, bytes_max, lines, left_out, depth + 1)
        elif entry.is_symlink() and _leads_to_folder(path):
            yield _refused(name, "E_LINK", "a link to a folder is not followed: name that folder itself")
        elif path.suffix.lower() in (*suffixes, *LINE_SUFFIXES):
            yield from _file(path, name, bytes_max, lines=lines, named=False)
        else:
            left_out.files += 1


def _leads_to_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False  # it leads nowhere, or round in a circle: opening it will say so


def _file(path: Path, shown: str, bytes_max: int, *, lines: bool, named: bool) -> Iterator[Document]:
    try:
        # Not blocking: a named pipe that nobody writes to must not stop the import of a folder for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if named else os.O_NONBLOCK))
    except OSError as error:
        yield _refused(shown, "E_UNREADABLE", _why(error))
        return
    with os.fdopen(handle, "rb") as stream:
        if not named and not stat.S_ISREG(os.fstat(handle).st_mode):
            yield _refused(shown, "E_UNREADABLE", "it is no regular file")
            return
        by_line = lines or path.suffix.lower() in LINE_SUFFIXES
        yield from _read_stream(stream, shown, bytes_max, lines=by_line, path=path)


def _read_stream(
    stream: IO[bytes], shown: str, bytes_max: int, *, lines: bool, path: Path | None = None
) -> Iterator[Document]:
    try:
        if lines:
            yield from _lines(stream, shown, bytes_max, path)
            return
        # One byte more than allowed, so that the reader sees that it is too large.
        data = stream.read(bytes_max + 1)
    except OSError as error:
        yield _refused(shown, "E_UNREADABLE", _why(error))
        return
    yield Document(shown, 0, data, _too_large(data, bytes_max), path)


def _lines(stream: IO[bytes], shown: str, bytes_max: int, path: Path | None) -> Iterator[Document]:
    number = 0
    while line := stream.readline(bytes_max + 2):
        number += 1
        whole = line.endswith(b"\n")
        text = line.rstrip(b"\r\n")
        problem = _too_large(text, bytes_max)
        if problem is not None and not whole:
            while (rest := stream.readline(_CHUNK)) and not rest.endswith(b"\n"):
                continue
        if text:
            yield Document(shown, number, b"" if problem else text, problem, path)


def _too_large(data: bytes, bytes_max: int) -> Problem | None:
    if len(data) <= bytes_max:
        return None
    return Problem("E_DOCUMENT_TOO_LARGE", f"more than {bytes_max} bytes; a file of lines needs --lines")


def _refused(shown: str, reason: str, detail: str) -> Document:
    return Document(shown, 0, b"", Problem(reason, detail))


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
