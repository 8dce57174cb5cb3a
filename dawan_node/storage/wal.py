"""The write-ahead log: what a validator has signed, durable before anybody sees it.

A replica that forgets a vote over a crash may vote again differently, which is what a Byzantine replica does. So
every vote, view promise and pinned block is appended here and synced *before* the message leaves; on start the log is
replayed completely. One log serves all channels of a node, so that one ``fdatasync`` makes the votes of all of them
durable together.

How to use it: ``append`` returns a log sequence number (lsn); ``sync``, usually called in a worker thread while
appending goes on, returns up to which lsn the log is now durable; a message may leave when that covers its records.

**Segments.** When ``should_roll`` says so the owner calls ``roll`` with the *complete* state of *every* channel. That
checkpoint begins a new segment, and the next ``sync`` makes it durable (content, then directory) and only then removes
the older segments. A crash in between leaves either a complete checkpoint or the older segments, never neither.

**Trouble.** The unfinished last write of a crash is cut off at open; any other damage, and any error of the disk, is a
``StorageError`` and latches the log: a failed ``fdatasync`` cannot be asked again, since the kernel may have dropped
the very pages it failed to write. A log that is not there is ``WalMissing`` and is never created by a running node: a
validator without its memory may only observe until its key is replaced on chain.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dawan_node import failpoints
from dawan_node.errors import DawanError, OperatorError, StorageError, StorageReason
from dawan_node.storage import wal_format
from dawan_node.storage.files import OPERATING_SYSTEM, FileOperations, Releasable
from dawan_node.storage.wal_format import DamagedSegment, SegmentContent, SegmentHeader, WalRecord

__all__ = ["SEGMENT_BYTES", "Wal", "WalMissing", "WalRecord"]

# Replay reads at most this much and one checkpoint, and every start waits for it: some 0.15 s of processor time per MiB
# of small blocks was measured, so 64 MiB would be ten seconds. Bodies of undecided blocks are in the log, about 0.5 MB
# per full block: a checkpoint (the bodies in flight, a file, two syncs) is due every eight of these, or every two
# thousand of the smallest blocks.
SEGMENT_BYTES = 4 * 1024 * 1024

_SEGMENT_NAME = re.compile(r"([0-9]{16})\.wal")


class WalMissing(DawanError):
    """There is no write-ahead log where one must be: this node may observe, but not sign."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment that is open for appending."""

    sequence: int
    salt: bytes
    path: Path
    descriptor: int


class Wal:
    """The open log of one node. ``append`` and ``roll`` belong to one thread; ``sync`` may run in another."""

    def __init__(
        self,
        directory: Path,
        files: FileOperations,
        lock: Releasable,
        segment: _Segment,
        content: SegmentContent,
        segment_bytes: int,
    ) -> None:
        self.directory = directory
        self._files = files
        self._directory_lock = lock
        self._segment_bytes = segment_bytes
        self._replayed: tuple[WalRecord, ...] | None = content.records
        self._failure: str | None = None
        self._failure_reason = StorageReason.WRITE
        self._closed = False
        # Guards everything below; never held over a sync.
        self._state_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._segment = segment
        self._retired: tuple[_Segment, ...] = ()
        self._offset = content.size_bytes
        self._checkpoint_bytes = content.checkpoint_bytes
        self._lsn = content.next_lsn
        self._synced_lsn = content.next_lsn
        self._marked_lsn = 0

    @classmethod
    def create(cls, directory: Path, files: FileOperations = OPERATING_SYSTEM) -> None:
        """Make an empty log in ``directory``. For ``init`` alone, together with the validator key.

        Raises ``OperatorError`` when a log is there already, ``StorageError`` when the disk fails.
        """
        try:
            files.make_directory(directory)
            lock = files.lock(_lock_path(directory), directory)
            try:
                _create_first_segment(directory, files)
            finally:
                lock.release()
        except OSError as error:
            raise StorageError.of(
                f"write-ahead log {directory} cannot be created: {error}", error, StorageReason.WRITE
            ) from error

    @classmethod
    def open(
        cls, directory: Path, *, segment_bytes: int = SEGMENT_BYTES, files: FileOperations = OPERATING_SYSTEM
    ) -> Self:
        """Open and replay the log; everything replayed is durable when the call returns.

        Raises ``WalMissing``, ``OperatorError`` (in use, newer format) or ``StorageError`` (damaged, disk failed).
        """
        try:
            if not _segments(directory, files):
                raise WalMissing(f"there is no write-ahead log in {directory}")
            lock = files.lock(_lock_path(directory), directory)
        except OSError as error:
            raise StorageError.of(
                f"write-ahead log {directory} cannot be opened: {error}", error, StorageReason.READ
            ) from error
        try:
            segment, content = _recover(directory, files)
        except OSError as error:
            lock.release()
            raise StorageError.of(
                f"write-ahead log {directory} cannot be opened: {error}", error, StorageReason.READ
            ) from error
        except DawanError:
            lock.release()
            raise
        return cls(directory, files, lock, segment, content, segment_bytes)

    @property
    def lsn(self) -> int:
        """How many records the log holds, durable or not."""
        return self._lsn

    @property
    def synced_lsn(self) -> int:
        """How many of them are durable."""
        return self._synced_lsn

    @property
    def should_roll(self) -> bool:
        """Whether the segment is full. A checkpoint that is itself large is given room before the next one."""
        return self._offset >= max(self._segment_bytes, 2 * self._checkpoint_bytes)

    def records(self) -> tuple[WalRecord, ...]:
        """What was replayed, in order: the last complete checkpoint and all that followed. Until the first append."""
        if self._replayed is None:
            raise ValueError("the replayed records were given up at the first append")
        return self._replayed

    def append(self, records: Sequence[WalRecord]) -> int:
        """Write ``records`` in one go and return the lsn that ``sync`` must reach before they may be relied upon."""
        with self._state_lock:
            self._check_usable()
            self._replayed = None
            if not records:
                return self._lsn
            failpoints.reach("wal.before_append")
            data = b""
            marked = self._synced_lsn > self._marked_lsn
            if marked:
                data = wal_format.encode_synced_mark(self._segment.salt, self._synced_lsn)
            data += wal_format.encode_records(self._segment.salt, self._offset + len(data), records)
            self._write(self._segment.descriptor, data)
            self._offset += len(data)
            self._lsn += len(records) + marked
            failpoints.reach("wal.after_append")
            if marked:
                self._marked_lsn = self._synced_lsn
            return self._lsn

    def sync(self) -> int:
        """Make everything appended before the call durable and return its lsn. Safe in another thread."""
        with self._sync_lock:
            with self._state_lock:
                self._check_usable()
                segment, retired, lsn = self._segment, self._retired, self._lsn
            failpoints.reach("wal.before_sync")
            try:
                self._files.sync_data(segment.descriptor)
                failpoints.reach("wal.after_sync")
                if retired:
                    _remove_segments(self.directory, [old.path for old in retired], self._files)
                    for old in retired:
                        self._files.close(old.descriptor)
            except OSError as error:
                raise self._fail(error) from error
            with self._state_lock:
                self._retired = self._retired[len(retired) :]
                self._synced_lsn = max(self._synced_lsn, lsn)
            return lsn

    def roll(self, checkpoint: Sequence[WalRecord]) -> int:
        """Begin a new segment with ``checkpoint``: all that every channel needs to be restored, in replay order.

        Durable, like appended records, when ``sync`` reaches the lsn returned; the older segments stay until then.
        """
        if self._retired:
            # Two segments without a durable name could lose the lower one alone, and with it the way back.
            self.sync()
        with self._state_lock:
            self._check_usable()
            self._replayed = None
            header = SegmentHeader(self._segment.sequence + 1, self._lsn, os.urandom(wal_format.SALT_BYTES))
            data = wal_format.encode_segment_start(header, checkpoint)
            path = _segment_path(self.directory, header.sequence)
            failpoints.reach("wal.before_roll")
            try:
                descriptor = self._files.open_append(path, create=True)
                failpoints.reach("wal.after_create_segment")
            except OSError as error:
                raise self._fail(error) from error
            self._retired += (self._segment,)
            self._segment = _Segment(header.sequence, header.salt, path, descriptor)
            self._write(descriptor, data)
            failpoints.reach("wal.after_roll")
            self._offset = self._checkpoint_bytes = len(data)
            self._lsn += len(checkpoint) + 1
            return self._lsn

    def close(self) -> None:
        """Sync, say so in a last marker, and give up the lock. Calling it again does nothing.

        After a failure nothing is written any more; the descriptors are closed and the failure is not raised again.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._failure is None:
                self.sync()
                self._write_last_mark()
        finally:
            if self._failure is None:
                self._failure = "it is closed"
            self._release()

    def _write_last_mark(self) -> None:
        """Without it the last group before an orderly stop could not be told from a torn one."""
        with self._state_lock:
            failpoints.reach("wal.before_last_mark")
            mark = wal_format.encode_synced_mark(self._segment.salt, self._synced_lsn)
            self._write(self._segment.descriptor, mark)
            try:
                self._files.sync_data(self._segment.descriptor)
                failpoints.reach("wal.after_last_mark")
            except OSError as error:
                raise self._fail(error) from error

    def _release(self) -> None:
        try:
            for segment in (*self._retired, self._segment):
                self._files.close(segment.descriptor)
        except OSError as error:
            raise StorageError.of(
                f"write-ahead log {self.directory} cannot be closed: {error}", error, StorageReason.WRITE
            ) from error
        finally:
            self._directory_lock.release()

    def _write(self, descriptor: int, data: bytes) -> None:
        try:
            _write_all(self._files, descriptor, data)
        except OSError as error:
            raise self._fail(error) from error

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise StorageError(
                f"write-ahead log {self.directory} refuses all use: {self._failure}", self._failure_reason
            )

    def _fail(self, error: OSError) -> StorageError:
        failed = StorageError.of(f"write-ahead log {self.directory} failed: {error}", error, StorageReason.WRITE)
        if self._failure is None:
            self._failure, self._failure_reason = str(error), failed.reason
        return failed


def has_segments(directory: Path, files: FileOperations = OPERATING_SYSTEM) -> bool:
    """Whether there is a log at all. Raises OSError."""
    return bool(_segments(directory, files))


def inspect(directory: Path, files: FileOperations = OPERATING_SYSTEM) -> int:
    """How many records the log would replay, found out without changing or locking anything.

    Raises ``WalMissing``, or ``StorageError`` for a damaged log or disk. For a log that no node has open.
    """
    try:
        sequences = _segments(directory, files)
        if not sequences:
            raise WalMissing(f"there is no write-ahead log in {directory}")
        return len(_newest(directory, sequences, files)[1].records)
    except OSError as error:
        raise StorageError.of(
            f"write-ahead log {directory} cannot be read: {error}", error, StorageReason.READ
        ) from error


def _create_first_segment(directory: Path, files: FileOperations) -> None:
    if _segments(directory, files):
        raise OperatorError(
            f"{directory} is not created",
            "a write-ahead log is already there",
            "Keep it: a validator that loses its log has to be given a new key on chain.",
        )
    header = SegmentHeader(1, 0, os.urandom(wal_format.SALT_BYTES))
    # Under another name until it is durable, so that an interrupted `init` can simply be run again.
    unfinished = directory / "first.new"
    if unfinished.name in files.list_directory(directory):
        files.remove(unfinished)
    descriptor = files.open_append(unfinished, create=True)
    try:
        _write_all(files, descriptor, wal_format.encode_segment_start(header, ()))
        files.sync_data(descriptor)
    finally:
        files.close(descriptor)
    files.rename(unfinished, _segment_path(directory, header.sequence))
    files.sync_directory(directory)
    files.sync_directory(directory.parent)


def _recover(directory: Path, files: FileOperations) -> tuple[_Segment, SegmentContent]:
    """Find the newest segment with a complete checkpoint, cut off a torn tail, and remove the other segments."""
    sequences = _segments(directory, files)
    failpoints.reach("wal.before_recover")
    sequence, content = _newest(directory, sequences, files)
    path = _segment_path(directory, sequence)
    descriptor = files.open_append(path, create=False)
    if content.torn:
        failpoints.reach("wal.before_truncate")
        files.truncate(descriptor, content.size_bytes)
    # What is about to be believed (and answered for) may so far be only in the memory of the machine.
    files.sync_data(descriptor)
    _remove_segments(directory, [_segment_path(directory, other) for other in sequences if other != sequence], files)
    failpoints.reach("wal.after_recover")
    return _Segment(sequence, content.header.salt, path, descriptor), content


def _newest(directory: Path, sequences: Sequence[int], files: FileOperations) -> tuple[int, SegmentContent]:
    """The newest segment with a complete checkpoint, of those in ``sequences``."""
    sequence = sequences[-1]
    content = _read_segment(directory, sequence, files)
    if content is None and sequence - 1 in sequences:
        # Never durable, or the segment before it would be gone by now; so the one before it is the log.
        sequence -= 1
        content = _read_segment(directory, sequence, files)
    if content is None:
        raise StorageError(
            f"write-ahead log {directory}: segment {sequence} is damaged and has no predecessor",
            StorageReason.LOG_CORRUPT,
        )
    return sequence, content


def _read_segment(directory: Path, sequence: int, files: FileOperations) -> SegmentContent | None:
    """The content of a segment, or None when its checkpoint was not finished."""
    try:
        content = wal_format.decode_segment(files.read(_segment_path(directory, sequence)), sequence)
    except DamagedSegment as error:
        raise StorageError(f"write-ahead log {directory}: {error}", StorageReason.LOG_CORRUPT) from error
    return content if content is not None and content.checkpoint_bytes else None


def _remove_segments(directory: Path, paths: Sequence[Path], files: FileOperations) -> None:
    """Remove segments that a durable one replaces. The first sync makes sure that it has its name in the directory,
    the second that the removal is durable before anything in the new segment is relied upon: then an older segment
    beside an unfinished newer one always means that nothing of the newer was."""
    files.sync_directory(directory)
    if paths:
        failpoints.reach("wal.before_retire")
        for path in paths:
            files.remove(path)
        failpoints.reach("wal.between_retire_syncs")
        files.sync_directory(directory)
        failpoints.reach("wal.after_retire")


def _write_all(files: FileOperations, descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[files.append(descriptor, rest) :]


def _segments(directory: Path, files: FileOperations) -> list[int]:
    """The sequence numbers present, ascending; empty also when the directory does not exist."""
    try:
        names = files.list_directory(directory)
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _SEGMENT_NAME.fullmatch(name)))


def _segment_path(directory: Path, sequence: int) -> Path:
    return directory / f"{sequence:016d}.wal"


def _lock_path(directory: Path) -> Path:
    return directory.with_name(directory.name + ".lock")
