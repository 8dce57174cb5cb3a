"""The file operations the write-ahead log is made of, in one small class.

Whether a log keeps its promise is decided by the order of a dozen system calls and by what happens when each of
them fails. Keeping them behind one seam lets tests replace the disk by one that fails at the n-th call, or by one
that forgets whatever was not synced, without touching the ``os`` module of the process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from dawan_node.storage.lock import DirectoryLock

PRIVATE_DIRECTORY_MODE = 0o700
PRIVATE_FILE_MODE = 0o600
PRIVATE_UMASK = 0o077


class Releasable(Protocol):
    """Something held until ``release`` is called."""

    def release(self) -> None: ...


class FileOperations:
    """The operating system's files. Every method may raise ``OSError``; callers turn it into ``StorageError``."""

    def make_directory(self, path: Path) -> None:
        """Create ``path`` and its parents, readable by the owner alone; an existing directory is fine."""
        make_private_directory(path)

    def list_directory(self, path: Path) -> list[str]:
        """Names in ``path``. Raises ``FileNotFoundError`` when it does not exist."""
        return os.listdir(path)

    def lock(self, path: Path, protects: Path) -> Releasable:
        """Take the exclusive lock at ``path`` or raise ``OperatorError``."""
        return DirectoryLock.acquire(path, protects)

    def read(self, path: Path) -> bytes:
        """The whole content of a file."""
        with open(path, "rb") as file:
            return file.read()

    def open_append(self, path: Path, *, create: bool) -> int:
        """A descriptor that writes at the end. ``create`` demands that the file does not exist yet."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return os.open(path, flags, PRIVATE_FILE_MODE)

    def append(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write at the end; like ``write(2)`` it may write less than asked and says how much."""
        return os.write(descriptor, data)

    def sync_data(self, descriptor: int) -> None:
        """Return only when the content of the file (and its length) is durable."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def sync_directory(self, path: Path) -> None:
        """Make creations, renames and removals in ``path`` durable: syncing a file does not sync its name."""
        sync_directory(path)


OPERATING_SYSTEM = FileOperations()


def make_private_directory(path: Path) -> None:
    """Create ``path`` with mode 0700, parents included; an existing directory is closed to others.

    Sets the umask of the process to 077 and leaves it there, because LevelDB creates files with mode 0644 in
    threads of its own for as long as it runs, and the umask is the only thing it obeys.
    """
    os.umask(PRIVATE_UMASK)
    os.makedirs(path, mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)
    os.chmod(path, PRIVATE_DIRECTORY_MODE)


def sync_directory(path: Path) -> None:
    """fsync a directory, so that the names in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
