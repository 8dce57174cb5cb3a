"""The marks of a data directory: which network and node key it belongs to, and what its log is known to have held.

``data/mark.json`` lies beside the databases, ``data/wal/owner.json`` inside the write-ahead log, and both name the same
log. So a log of another node, a directory copied over another one, and a copy that lost files are known before
anything is opened. Homes of earlier versions have neither; their first start writes both.

The mark also keeps what is known of the log outside of the log: how many records it held when that was last written
down, and where it lay. A log that holds fewer, or lies elsewhere, is a copy or was put back from one, and the key may
not vote with it (amendments U6 and U7). That verdict is written down as well, by key: otherwise a log put back would
look like the right one again as soon as the node has followed the chain for a while. The mark is a witness, not the
memory itself: a whole disk put back from an image is one state with its mark and is told only by what peers have seen
(``ReplicaState.stop_for_own_key``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from dawan_node.errors import DataRefusal, DataRefused, StorageError, StorageReason
from dawan_node.storage.files import PRIVATE_FILE_MODE, sync_directory

T = TypeVar("T")

MARK_VERSION: Final = 1
MARK_NAME: Final = "mark.json"
OWNER_NAME: Final = "owner.json"

#: A mark has a few hundred bytes; a silenced key adds a hundred, and a home has had one or two keys.
_BYTES_MAX: Final = 64 * 1024


class LogOwner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``owner.json``: whose votes a log holds, and which log of that key it is (random, made with the mark)."""

    format: int
    public_key: str
    log_id: str


class DataMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``mark.json``; keys and ids in hex."""

    format: int
    network: str
    node: str
    public_key: str
    log_id: str
    """Empty in a home that had no log when it was marked."""
    log_records: int
    """Records that the log is known to have held durably (``Wal.synced_lsn``)."""
    log_place: int
    """Inode of the log's folder: a copy has another one."""
    silenced: dict[str, str] = {}
    """Public keys that may not vote from this home, and why (a ``Silence`` code)."""


def read_mark(data: Path) -> DataMark | None:
    """The mark of a data directory, None without one. Raises DataRefused or StorageError."""
    return _read(data / MARK_NAME, DataMark)


def read_owner(wal: Path) -> LogOwner | None:
    """Whose log ``wal`` is, None without the file. Raises DataRefused or StorageError."""
    return _read(wal / OWNER_NAME, LogOwner)


def write_mark(data: Path, mark: DataMark) -> None:
    """Durable when it returns. Raises StorageError."""
    _replace(data / MARK_NAME, msgspec.json.encode(mark))


def write_owner(wal: Path, owner: LogOwner) -> None:
    """Durable when it returns. Raises StorageError."""
    _replace(wal / OWNER_NAME, msgspec.json.encode(owner))


class _Version(msgspec.Struct, frozen=True):
    format: int


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError.of(f"{path} cannot be read: {error}", error, StorageReason.READ) from error
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version > MARK_VERSION:
            raise DataRefused(
                DataRefusal.NEWER,
                f"{path.parent} is not opened",
                f"{path.name} has format {version} and this version of dawan-node knows {MARK_VERSION}",
                "Start the newer version again.",
            )
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise DataRefused(
            DataRefusal.HALF_COPIED,
            f"{path.parent} is not opened",
            f"{path.name} cannot be read ({error}); a node writes it whole or not at all",
            "Put back the directory this one was copied from, or give the node a new home and a new key (init).",
        ) from None


def _replace(path: Path, content: bytes) -> None:
    """The old content or the new one, after any crash."""
    unfinished = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE_MODE)
        try:
            os.write(descriptor, content + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(unfinished, path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError.of(f"{path} cannot be written: {error}", error, StorageReason.WRITE) from error
