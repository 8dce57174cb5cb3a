"""Room on the disk: how much must be left, and a reserve that lets a full disk recover.

A node that runs into a full disk has an indeterminate write behind it (reliability.md F1, F4), and opening a LevelDB
after that needs room of its own. So the node stops while there is still room, and keeps a file that holds blocks of the
disk and nothing else: at the next start on a full disk it is given up, and the databases can be opened, verified and
closed again; the node serves when somebody has made room and the reserve stands again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dawan_node.errors import StorageError, StorageReason
from dawan_node.storage.files import PRIVATE_FILE_MODE, sync_directory

#: Opening writes the log of each database anew as a table, up to the size of its write buffer, and LevelDB may find
#: that it now has four such tables and merge them at once: four times ``leveldb.WRITE_BUFFERS_BYTES``.
RESERVE_BYTES: Final = 256 * 1024 * 1024
#: Below this much free the node stops. Between two looks, a second, two cores write at most some 40 MB, a compaction
#: beside it included; a full write buffer of 64 MiB may go to the disk in one piece.
FLOOR_BYTES: Final = 128 * 1024 * 1024
MIB: Final = 1024**2
GIB: Final = 1024**3
#: LevelDB compacts into new files before it removes old ones, the log has segments of 64 MiB, and a day of logs has
#: tens of MiB: below this the next compaction may be the last.
FREE_BYTES_FAIL: Final = 1 * GIB
#: Both are at most this part of the disk each, so that a devnet on a small one can be started at all.
SMALL_PART: Final = 16

RESERVE_NAME: Final = "reserve"


class Room:
    """The disk below one data directory. Every method may wait for the disk."""

    def __init__(self, data: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        """``data`` exists. Raises StorageError."""
        self._data: Final = data
        self._reserve: Final = data / RESERVE_NAME
        small = self._statvfs().f_blocks * self._statvfs().f_frsize // SMALL_PART
        self.reserve_bytes: Final = min(reserve_bytes, small)
        self.floor_bytes: Final = min(FLOOR_BYTES, small)

    def free_bytes(self) -> int:
        """What this user may still write. Raises StorageError."""
        found = self._statvfs()
        return found.f_bavail * found.f_frsize

    def check(self) -> None:
        """Raises StorageError with ``STORAGE_FULL`` when too little is left to go on."""
        free = self.free_bytes()
        if free < self.floor_bytes:
            raise StorageError(
                f"{_mib(free)} are free in {self._data}, and a node needs {_mib(self.floor_bytes)} to stop cleanly",
                StorageReason.FULL,
            )

    def has_reserve(self) -> bool:
        """Whether the reserve stands, whole. Raises StorageError."""
        try:
            found = os.stat(self._reserve)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError.of(f"{self._reserve} cannot be looked at: {error}", error, StorageReason.READ) from error
        return found.st_size >= self.reserve_bytes and found.st_blocks * 512 >= self.reserve_bytes

    def secure(self) -> None:
        """Make the reserve if it does not stand. Raises StorageError, ``STORAGE_FULL`` when there is no room for it
        beside the floor; nothing is left half-made then."""
        if self.has_reserve():
            return
        free = self.free_bytes()
        needed = self.floor_bytes + self.reserve_bytes
        if free < needed:
            raise StorageError(
                f"{_mib(free)} are free in {self._data}, and a node needs {_mib(needed)} to start",
                StorageReason.FULL,
            )
        unfinished = self._reserve.with_name(self._reserve.name + ".new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            descriptor = os.open(unfinished, flags, PRIVATE_FILE_MODE)
            try:
                os.posix_fallocate(descriptor, 0, self.reserve_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(unfinished, self._reserve)
            sync_directory(self._data)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise StorageError.of(f"{self._reserve} cannot be made: {error}", error, StorageReason.WRITE) from error

    def secure_for_start(self) -> bool:
        """Before any database is opened: the reserve stands; or (False) it was given up, so that recovery has room, and
        the node must not serve before ``secure`` succeeds. Raises StorageError when there is no room even for that."""
        try:
            self.secure()
            self.check()
        except StorageError as error:
            if error.reason is not StorageReason.FULL or not self.has_reserve():
                raise
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the reserve's room back to the disk. Raises StorageError."""
        try:
            self._reserve.unlink(missing_ok=True)
            sync_directory(self._data)
        except OSError as error:
            raise StorageError.of(f"{self._reserve} cannot be removed: {error}", error, StorageReason.WRITE) from error

    def _statvfs(self) -> os.statvfs_result:
        try:
            return os.statvfs(self._data)
        except OSError as error:
            raise StorageError.of(f"{self._data} cannot be looked at: {error}", error, StorageReason.READ) from error


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"
