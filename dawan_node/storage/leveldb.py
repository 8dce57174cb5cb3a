"""LevelDB behind the ``KeyValueStore`` protocol, made safe to trust.

The wheel of ``plyvel`` bundles LevelDB 1.22, whose defaults are wrong for a ledger. What was measured, and what is
done about it here:

* Going on with the same handle after a failed write loses later writes that were *acknowledged*. So the first
  exception of any kind latches the store: every further call raises ``StorageError`` until a reopen.
* With default options a damaged log opens with a hole in the middle. So ``paranoid_checks`` is on.
* A damaged table block is served as a *wrong value*. So every read verifies checksums.
* A crash between creating a database and its first synced write leaves one that cannot be opened. So a marker file
  is made durable after the first write; without the marker nothing of value can be inside, and creating again is safe.
* LevelDB's own lock can be lost inside one process, and its files are created 0644. So there is a lock of our own
  (:mod:`.lock`) and a private umask and directory (:mod:`.files`).

What LevelDB cannot detect at all, such as a log that was cut off, is found by comparing with what is kept outside:
the hash-chain walk of :mod:`.block_store` and the DECIDED records of the write-ahead log.

LevelDB is not safe over ``fork``: open it only after the last one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

import plyvel

from dawan_node import failpoints
from dawan_node.errors import OperatorError, StorageError, StorageReason
from dawan_node.storage.files import PRIVATE_FILE_MODE, make_private_directory, sync_directory
from dawan_node.storage.kv import Put, range_of
from dawan_node.storage.lock import DirectoryLock
from dawan_node.storage.schema import SCHEMA_VERSION

# A larger buffer absorbs more of what blocks overwrite, and level 1 is merged with the whole of level 2 once for every
# four buffers. Four validators on two cores, `mix` for 60 s: 1,204/s with 16 MiB, 1,339 with 32, 1,433 with 64, 1,565
# with 128, and 56, 43, 31 and 25 KB written per transaction. Against it: LevelDB holds two in memory, reads a full
# one's log at open (64 MiB: 0.3 s, 128 MiB: 0.7 s), and opening on a full disk needs room for four. So the channels of
# a node share 64 MiB, or a quarter of its reserve (`storage.room`); no share is less than 16. An idle one is empty.
WRITE_BUFFERS_BYTES = 64 * 1024 * 1024
WRITE_BUFFER_BYTES = 16 * 1024 * 1024
# Validators write the same bytes, so equal buffers that began together are full together, and all validators merge in
# the same second: `mix` at half load had commits of 60 ms but for two seconds in seven, when they took up to 1,000. A
# quorum does not wait for the one that merges, so each opens with another size, up to so many hundredths smaller: p99
# 1,010 -> 430 to 530 ms with any spread from 10 to 40. Where nothing is idle it gains nothing, and smaller buffers
# merge more often: 40 cost 4 to 10 % of the rate.
WRITE_BUFFER_SPREAD_PERCENT = 15
# Uncompressed 4 KiB blocks of tables. The state store above has its own cache of hot values, so this one
# only has to hold what scans and cold reads touch.
BLOCK_CACHE_BYTES = 16 * 1024 * 1024
# Twice the default, for half the number of files; larger ones make compactions, and so some commits, longer.
TABLE_FILE_BYTES = 4 * 1024 * 1024
# Open tables per channel; LevelDB itself takes at most a fifth of the process's descriptors over all channels.
OPEN_FILES_MAX = 256
# 10 bits give 1 % false positives: four of five reads of a commit ask for keys that are not there yet.
BLOOM_FILTER_BITS = 10

# What LevelDB writes into CURRENT, and nothing else.
_CURRENT = re.compile(rb"MANIFEST-[0-9]{6,20}\n")

_MARKER_NAME = "INITIALISED"
_MARKER_CONTENT = b"dawan-node database\n"
_SIGN = re.compile(rb"dawan-node database\nschema ([0-9]{1,9})\nchain ([0-9a-f]{64})\n")
_SIGN_BYTES_MAX = 1024
_ASIDE = re.compile(r"\.(damaged|unfinished)-[0-9]+")

# Everything plyvel raises when the database is unwell; RuntimeError is its word for "closed".
_FAILURES = (plyvel.Error, OSError, RuntimeError)


def write_buffer_bytes(channels: int, reserve_bytes: int) -> int:
    """The write buffer of each channel of a node that serves so many and keeps so much of its disk in reserve."""
    return max(min(WRITE_BUFFERS_BYTES, reserve_bytes // 4) // max(channels, 1), WRITE_BUFFER_BYTES)


def drawn_write_buffer_bytes(most_bytes: int) -> int:
    """A size for the write buffer of one database that others with the same content do not have: at random, between
    ``most_bytes`` and ``WRITE_BUFFER_SPREAD_PERCENT`` less."""
    return most_bytes - secrets.randbelow(most_bytes * WRITE_BUFFER_SPREAD_PERCENT // 100 + 1)


def library_version() -> str:
    """The version of the bundled LevelDB, for ``node_version`` and the start-up log."""
    return str(plyvel.__leveldb_version__)


class LevelDBStore:
    """One LevelDB database, locked for as long as it is open. See the module for what it adds."""

    def __init__(self, path: Path, database: Any, lock: DirectoryLock) -> None:
        self.path = path
        self._database = database
        self._lock = lock
        self._failure: str | None = None
        self._reason = StorageReason.READ

    @classmethod
    def open(cls, path: Path, *, create: bool = False, buffer_bytes: int | None = None) -> Self:
        """Open the database in directory ``path``; with ``create``, make a new one there. ``buffer_bytes``: its write
        buffer, ``WRITE_BUFFER_BYTES`` by default.

        A database that was created must be given its first content by ``write(..., sync=True)`` and then
        ``mark_initialised``. Raises ``OperatorError`` when it is in use, missing, unfinished, or (``create``) exists
        already; ``StorageError`` when it is damaged, lacks files, or the disk fails.
        """
        try:
            make_private_directory(path.parent)
        except OSError as error:
            raise StorageError.of(
                f"{path.parent} cannot be prepared: {error.strerror}", error, StorageReason.WRITE
            ) from error
        lock = DirectoryLock.acquire(path.with_name(path.name + ".lock"), path)
        try:
            initialised = marker_path(path).exists()
            if create:
                if initialised:
                    raise OperatorError(
                        f"{path} is not created", "a database is already there", "Use it, or choose another home."
                    )
                _set_unfinished_aside(path)
            elif not initialised:
                raise OperatorError(
                    f"{path} cannot be opened",
                    "it was never created completely",
                    "Run the command that creates the channel again; nothing decided can be inside.",
                )
            elif missing := missing_file(path):
                raise StorageError(f"database {path} cannot be opened: {missing} is missing", StorageReason.CORRUPT)
            make_private_directory(path)
            failpoints.reach("db.before_open")
            store = cls(path, _open_database(path, create, buffer_bytes or WRITE_BUFFER_BYTES), lock)
            failpoints.reach("db.after_open")
            return store
        except _FAILURES as error:
            lock.release()
            if "missing files" in str(error):  # tables that the manifest names; LevelDB has no type for it
                raise StorageError(f"database {path} cannot be opened: {error}", StorageReason.CORRUPT) from error
            raise _storage_error(f"database {path} cannot be opened: {error}", error, StorageReason.READ) from error
        except (OperatorError, StorageError):
            lock.release()
            raise

    def mark_initialised(self, chain_id: bytes | None = None) -> None:
        """Make it durable that this database has its first content (which must have been written with ``sync``).

        With ``chain_id`` the sign also says whose it is, which can then be told without opening it.
        """
        self._check_usable()
        marker = marker_path(self.path)
        unfinished = marker.with_name(marker.name + ".new")
        try:
            sync_directory(self.path)
            failpoints.reach("db.before_marker")
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE_MODE)
            try:
                os.write(descriptor, _MARKER_CONTENT + _sign_lines(chain_id))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            failpoints.reach("db.before_marker_rename")
            os.rename(unfinished, marker)
            sync_directory(self.path.parent)
            sync_directory(self.path.parent.parent)
            failpoints.reach("db.after_marker")
        except OSError as error:
            raise self._fail(error, StorageReason.WRITE) from error

    def get(self, key: bytes) -> bytes | None:
        if self._failure is not None:
            self._check_usable()
        try:
            value: bytes | None = self._database.get(key, verify_checksums=True)
        except _FAILURES as error:
            raise self._fail(error) from error
        return value

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._iterate(self._database, *range_of(prefix, start, stop), reverse)

    def write(self, batch: Iterable[Put], *, sync: bool = True) -> None:
        self._check_usable()
        try:
            pending = self._database.write_batch(sync=sync)
            put, delete = pending.put, pending.delete
            for key, value in batch:
                if value is None:
                    delete(key)
                else:
                    put(key, value)
            failpoints.reach("db.before_write")
            pending.write()
            failpoints.reach("db.after_write")
        except _FAILURES as error:
            raise self._fail(error, StorageReason.WRITE) from error

    def snapshot(self) -> LevelDBSnapshot:
        self._check_usable()
        try:
            return LevelDBSnapshot(self, self._database.snapshot())
        except _FAILURES as error:
            raise self._fail(error) from error

    def compact(self) -> None:
        """Rewrite all tables without what was deleted or overwritten. Long; for a store that nobody else uses."""
        self._check_usable()
        try:
            self._database.compact_range()
        except _FAILURES as error:
            raise self._fail(error) from error

    def scan(self) -> None:
        """Read every record, which verifies every checksum, and check their order: a block of a table that lies in
        another one's place has a checksum that fits. For a store in doubt; reads everything. Raises StorageError."""
        last: bytes | None = None
        for key, _ in self.iterate():
            if last is not None and key <= last:
                raise StorageError(f"database {self.path} is not in order: {last.hex()} comes before {key.hex()}")
            last = key

    def close(self) -> None:
        """Close the database and give up the lock. No other thread may be inside a call of this store."""
        if self._failure is None:
            self._failure = "it is closed"
        failpoints.reach("db.before_close")
        try:
            self._database.close()
        finally:
            self._lock.release()
        failpoints.reach("db.after_close")

    def _iterate(self, source: Any, low: bytes, high: bytes | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of ``source`` (the database or a snapshot), created now and checked for the latch at every step."""
        self._check_usable()
        try:
            # plyvel 1.5.1 forgets the lower bound's own key when it walks backwards and that is the only one in range.
            start = None if reverse else low or None
            pairs = source.iterator(start=start, stop=high, reverse=reverse, verify_checksums=True)
        except _FAILURES as error:
            raise self._fail(error) from error
        walk = self._walk(pairs)
        return takewhile(lambda pair: pair[0] >= low, walk) if reverse else walk

    def _walk(self, pairs: Any) -> Iterator[tuple[bytes, bytes]]:
        try:
            for pair in pairs:
                if self._failure is not None:
                    self._check_usable()
                yield pair
        except _FAILURES as error:
            raise self._fail(error) from error
        finally:
            pairs.close()

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise StorageError(f"database {self.path} refuses all use: {self._failure}", self._reason)

    def _fail(self, error: Exception, otherwise: StorageReason = StorageReason.READ) -> StorageError:
        """Latch the store. The database object stays open until ``close``: another thread may be inside it."""
        failed = _storage_error(f"database {self.path} failed: {error}", error, otherwise)
        if self._failure is None:
            self._failure, self._reason = f"{type(error).__name__}: {error}", failed.reason
        return failed


class LevelDBSnapshot:
    """The database at one moment. Checked like the store it came from."""

    def __init__(self, store: LevelDBStore, snapshot: Any) -> None:
        self._store = store
        self._snapshot = snapshot

    def get(self, key: bytes) -> bytes | None:
        self._store._check_usable()
        try:
            value: bytes | None = self._snapshot.get(key, verify_checksums=True)
        except _FAILURES as error:
            raise self._store._fail(error) from error
        return value

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._store._iterate(self._snapshot, *range_of(prefix, start, stop), reverse)

    def close(self) -> None:
        self._snapshot.close()


def _storage_error(detail: str, error: Exception, otherwise: StorageReason) -> StorageError:
    """LevelDB says corruption by a type of its own, and what the system said only in its text."""
    if isinstance(error, plyvel.CorruptionError):
        return StorageError(detail, StorageReason.CORRUPT)
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return StorageError(detail, StorageReason.FULL)
    return StorageError.of(detail, error, otherwise)


def _open_database(path: Path, create: bool, buffer_bytes: int) -> Any:
    return plyvel.DB(
        str(path),
        create_if_missing=create,
        error_if_exists=create,
        paranoid_checks=True,
        write_buffer_size=buffer_bytes,
        lru_cache_size=BLOCK_CACHE_BYTES,
        max_file_size=TABLE_FILE_BYTES,
        max_open_files=OPEN_FILES_MAX,
        bloom_filter_bits=BLOOM_FILTER_BITS,
        # Hashes, keys and signatures do not shrink, and two cores have better things to do.
        compression=None,
    )


@dataclass(frozen=True, slots=True)
class DatabaseSign:
    """What is written beside a database about it; None where an earlier version wrote nothing."""

    schema: int | None = None
    chain_id: bytes | None = None


def read_sign(path: Path) -> DatabaseSign:
    """The sign beside the database in ``path``, without opening that; there must be one. Raises StorageError."""
    try:
        with marker_path(path).open("rb") as file:
            found = _SIGN.fullmatch(file.read(_SIGN_BYTES_MAX))
    except OSError as error:
        raise StorageError.of(f"{marker_path(path)} cannot be read: {error}", error, StorageReason.READ) from error
    return DatabaseSign(int(found[1]), bytes.fromhex(found[2].decode())) if found else DatabaseSign()


def _sign_lines(chain_id: bytes | None) -> bytes:
    return b"" if chain_id is None else b"schema %d\nchain %s\n" % (SCHEMA_VERSION, chain_id.hex().encode())


def set_aside(path: Path) -> Path | None:
    """Give the database in ``path`` the name ``db.damaged-N``, which makes room for another; None when there is none.

    It is kept: deleting is never ours to decide. Raises StorageError.
    """
    try:
        # First: what is left after a crash in between counts as unfinished, and is made anew as well.
        marker_path(path).unlink(missing_ok=True)
        sync_directory(path.parent)
        if not path.exists():
            return None
        aside = _free_name(path, "damaged")
        os.rename(path, aside)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError.of(f"{path} cannot be set aside: {error}", error, StorageReason.WRITE) from error
    return aside


def set_aside_remains(path: Path) -> None:
    """Where the database itself is gone, take away its sign, so that it can be created again. Raises StorageError."""
    if is_initialised(path) and not path.exists():
        set_aside(path)


def missing_file(path: Path) -> str:
    """What a LevelDB always has and the one in ``path`` lacks, empty when it has all that can be told without opening
    it. No crash loses one of them. Raises StorageError."""
    try:
        current = (path / "CURRENT").read_bytes()
        if not _CURRENT.fullmatch(current):
            return "the name of the manifest in CURRENT"
        manifest = current.decode().strip()
        return "" if (path / manifest).exists() else manifest
    except FileNotFoundError:
        return "CURRENT"
    except OSError as error:
        raise StorageError.of(f"{path} cannot be read: {error}", error, StorageReason.READ) from error


def set_aside_before(path: Path) -> list[Path]:
    """The databases that were set aside beside the one in ``path``, and are still there."""
    return sorted(
        each for each in path.parent.glob(f"{path.name}.*-*") if _ASIDE.fullmatch(each.name[len(path.name) :])
    )


def is_initialised(path: Path) -> bool:
    """Whether the database in ``path`` was created completely. One that was not may, and must, be created again."""
    return marker_path(path).exists()


def marker_path(path: Path) -> Path:
    """The file that says that the database in ``path`` is complete."""
    return path.with_name(f"{path.name}.{_MARKER_NAME}")


def _set_unfinished_aside(path: Path) -> None:
    """Rename what an interrupted creation left. It is kept, because deleting is never ours to decide."""
    if not path.exists():
        return
    os.rename(path, _free_name(path, "unfinished"))


def _free_name(path: Path, why: str) -> Path:
    attempt = 1
    while (aside := path.with_name(f"{path.name}.{why}-{attempt}")).exists():
        attempt += 1
    return aside
