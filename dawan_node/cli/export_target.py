"""Where exported documents go: a folder, one file each, or standard output, one document per line.

Both can be imported again as they are. A file appears whole or not at all, and one that is there already is never
overwritten with other bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode

_Function = TypeVar("_Function", bound=Callable[..., Any])
# What a file system and a shell take without trouble; identifiers here have letters, digits and a few signs.
_UNFIT: Final = re.compile(r"[^\w.-]+")
#: File systems take names of 255 bytes; a character has up to four.
_NAME_CHARS_MAX: Final = 60


def out_option(function: _Function) -> _Function:
    """``--out``; arrives as ``out``, None for standard output."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for one file per document. Default: standard output, one document per line.",
    )(function)


class Target:
    """Takes documents; ``written`` counts them."""

    def __init__(self, out: Path | None, suffix: str) -> None:
        self._out: Final = out
        self._suffix: Final = suffix
        self.written = 0
        if out is not None:
            try:
                out.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise _failed(out, error) from None

    def put(self, name: str, document: bytes) -> None:
        """Write one document, which on standard output must be one line. Raises CommandFailed."""
        self.written += 1
        if self._out is None:
            click.echo(document.rstrip(b"\n"))
            return
        path = self._out / (_UNFIT.sub("_", name)[-_NAME_CHARS_MAX:].lstrip(".") + self._suffix)
        write_once(path, document)

    def report(self, what: str, note: str) -> None:
        """Say on standard error how many there were, and what the reader must know of them."""
        where = f" in {self._out}" if self._out is not None else ""
        click.echo(f"{self.written:,} {what} written{where}. {note}", err=True)


def write_once(path: Path, document: bytes) -> None:
    """A file with these bytes; left alone if it has them, refused if it has others. Raises CommandFailed."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            if path.read_bytes() == document:
                return
            raise CommandFailed(
                ExitCode.FAILED, f"{path} exists", "it holds something else", "Name another folder, or move it away."
            )
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(document)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _failed(path, error) from None


@contextmanager
def fresh_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write into, which appears under its name once the body of the ``with`` is done, and not otherwise.

    Raises CommandFailed when there is one of that name.
    """
    if path.exists():
        raise CommandFailed(ExitCode.FAILED, f"{path} exists", "nothing is overwritten", "Name another file.")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            yield file
        fresh.replace(path)
    except OSError as error:
        raise _failed(path, error) from None
    finally:
        fresh.unlink(missing_ok=True)


def _failed(path: Path, error: OSError) -> CommandFailed:
    return CommandFailed(
        ExitCode.FAILED, f"{path} cannot be written", error.strerror or str(error), "Check name, permissions and room."
    )
