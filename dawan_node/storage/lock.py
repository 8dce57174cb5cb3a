"""Locks that keep a second daemon away from the same files.

Two nodes running on one set of keys would vote twice and be guilty of equivocation, so this is a safety rule and
not a convenience. LevelDB's own ``LOCK`` file does not do: it is a POSIX lock, which the kernel drops as soon as the
process closes *any* descriptor of that file, even one opened just to read it. ``flock`` belongs to the open file,
is held until we close it or die, and also refuses a second opening inside one process.

The lock files stay on disk for ever: removing one would let two processes hold "the" lock on different files.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from dawan_node.errors import OperatorError, StorageError, StorageReason

_NODE_LOCK_NAME = "node.lock"
# A decimal process id and a line end; whatever else is in the file is not ours and is not shown.
_PID_BYTES_MAX = 20


class DirectoryLock:
    """An exclusive lock on one directory of data, held until ``release`` or the death of the process."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, protects: Path) -> Self:
        """Lock the file at ``path`` on behalf of the directory ``protects``.

        Raises ``OperatorError`` when another process (or another part of this one) holds it, and ``StorageError``
        when the file cannot be used at all.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageError.of(
                f"lock file {path} cannot be opened: {error.strerror}", error, StorageReason.WRITE
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise OperatorError(
                f"{protects} is already in use",
                f"{holder} holds {path}",
                "Stop that process first, or give this node a home directory of its own.",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError.of(f"{path} cannot be locked: {error.strerror}", error, StorageReason.WRITE) from error
        try:
            # In this order: on a full disk the block that is there can be written over, a freed one not had back.
            os.ftruncate(descriptor, os.pwrite(descriptor, b"%d\n" % os.getpid(), 0))
        except OSError as error:
            os.close(descriptor)
            raise StorageError.of(
                f"lock file {path} cannot be written: {error.strerror}", error, StorageReason.WRITE
            ) from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock up; calling it again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class NodeLock(DirectoryLock):
    """The lock of a node's whole data directory, taken before anything in it is opened."""

    __slots__ = ()

    @classmethod
    def acquire_home(cls, data_directory: Path) -> Self:
        """Lock ``data_directory``; raises as :meth:`DirectoryLock.acquire`."""
        return cls.acquire(data_directory / _NODE_LOCK_NAME, data_directory)


def _holder(descriptor: int) -> str:
    try:
        text = os.pread(descriptor, _PID_BYTES_MAX, 0).strip()
    except OSError:
        text = b""
    return f"process {int(text)}" if text.isdigit() else "another process"
