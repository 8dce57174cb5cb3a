"""The bytes of the write-ahead log: how one segment file is written and how it is read back.

A segment is a header followed by records:

    header  magic 8 | version u32 | sequence u64 | first_lsn u64 | salt 8 | crc32 u32 of the foregoing
    record  length u32 | crc32 u32 | kind u8 | channel 32 | payload        (length counts kind, channel and payload)

All integers are big-endian. Records are numbered through the life of the log: the first record of a segment has the
number ``first_lsn``, and "the log up to lsn n" means the n records before number n.

The crc starts from the segment's random salt and the record's own offset and length. So a record counts only at the
place where it was written: not moved, not left over from a deleted segment whose disk blocks were used again, and
not smuggled in as the content of somebody's transaction. (Only the markers below are not bound to their offset, so
that they still testify when bytes before them were lost.)

Reading knows three ends. *Clean*: the file ends where a record ends. *Torn*: the rest is the unfinished last write
of a crash, and may be cut off because nobody was ever told it was durable. *Damaged*: the rest is unreadable although
it had been synced. The last two look alike, except that every group of records begins with a SYNCED marker naming
how far the log was durable by then: a marker found behind an unreadable record and covering it proves damage.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from dawan_node.errors import DataRefusal, DataRefused

FORMAT_VERSION = 1
CHANNEL_BYTES = 32
# Kinds above this one belong to the log itself.
RECORD_KIND_MAX = 239
# The largest thing logged is one block's bodies: 4 MiB by default, a channel parameter. The bound only has to be
# small enough that a damaged length is not taken for a request to read gigabytes.
PAYLOAD_BYTES_MAX = 64 * 1024 * 1024

_KIND_CHECKPOINT_END = 254
_KIND_SYNCED = 255
# Not a possible chain id in practice: a hash that spells words.
_OWN_CHANNEL = b"dawan-node write-ahead log marks"

_MAGIC = b"DAWANWAL"
_HEADER = struct.Struct(">8sIQQ8s")
_CRC = struct.Struct(">I")
_FRAME = struct.Struct(">II")
_PREFIX = struct.Struct(">B32s")
_SEED = struct.Struct(">8sQI")
_LSN = struct.Struct(">Q")

HEADER_BYTES = _HEADER.size + _CRC.size
SALT_BYTES = 8
FRAME_BYTES = _FRAME.size
RECORD_BYTES_MIN = _FRAME.size + _PREFIX.size


class WalRecord(NamedTuple):
    """One record: the channel it belongs to, what it is (0 to 239, meaning is the caller's) and its content."""

    channel_id: bytes
    kind: int
    payload: bytes


class DamagedSegment(Exception):
    """A segment whose durable part cannot be read. Internal to the log, which raises ``StorageError``."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says about itself."""

    sequence: int
    first_lsn: int
    salt: bytes

    def encode(self) -> bytes:
        fields = _HEADER.pack(_MAGIC, FORMAT_VERSION, self.sequence, self.first_lsn, self.salt)
        return fields + _CRC.pack(crc32(fields))


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """A segment read back: everything up to the last readable record."""

    header: SegmentHeader
    records: tuple[WalRecord, ...]
    next_lsn: int
    size_bytes: int
    """Where the last readable record ends."""
    checkpoint_bytes: int
    """Where the checkpoint at the beginning ends; 0 when it is incomplete."""
    torn: bool
    """Whether unreadable bytes follow, which nobody was told are durable."""


def encode_records(salt: bytes, offset: int, records: Sequence[WalRecord]) -> bytes:
    """The bytes of ``records`` when written at ``offset`` of the segment with ``salt``."""
    parts: list[bytes] = []
    for channel_id, kind, payload in records:
        if not 0 <= kind <= RECORD_KIND_MAX or len(channel_id) != CHANNEL_BYTES:
            raise ValueError(f"record of kind {kind} for a channel id of {len(channel_id)} bytes")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"record of {len(payload)} bytes, more than {PAYLOAD_BYTES_MAX}")
        offset += _encode_one(parts, salt, offset, channel_id, kind, payload)
    return b"".join(parts)


def encode_synced_mark(salt: bytes, lsn: int) -> bytes:
    """A marker saying that all records before number ``lsn`` were durable when it was written."""
    parts: list[bytes] = []
    _encode_one(parts, salt, 0, _OWN_CHANNEL, _KIND_SYNCED, _LSN.pack(lsn))
    return b"".join(parts)


def encode_segment_start(header: SegmentHeader, checkpoint: Sequence[WalRecord]) -> bytes:
    """The beginning of a segment: header, checkpoint records, and the record that says the checkpoint is complete."""
    start = header.encode()
    start += encode_records(header.salt, len(start), checkpoint)
    parts: list[bytes] = [start]
    _encode_one(parts, header.salt, len(start), _OWN_CHANNEL, _KIND_CHECKPOINT_END, _LSN.pack(len(checkpoint)))
    return b"".join(parts)


def decode_segment(data: bytes, sequence: int) -> SegmentContent | None:
    """Read a segment; None when not even its header was written completely.

    Raises ``DamagedSegment`` when an unreadable record is known to have been durable, ``DataRefused`` when a newer
    version of the software wrote the segment.
    """
    header = _decode_header(data, sequence)
    if header is None:
        return None
    records: list[WalRecord] = []
    offset = HEADER_BYTES
    lsn = header.first_lsn
    checkpoint_bytes = 0
    while (record := _decode_one(data, header.salt, offset)) is not None:
        offset += RECORD_BYTES_MIN + len(record.payload)
        lsn += 1
        if record.kind == _KIND_CHECKPOINT_END:
            if checkpoint_bytes or record.payload != _LSN.pack(len(records)):
                raise DamagedSegment(f"segment {sequence} ends its checkpoint at a wrong place, offset {offset}")
            checkpoint_bytes = offset
        elif record.kind == _KIND_SYNCED:
            _synced_lsn(record)
        else:
            records.append(record)
    torn = offset < len(data)
    if torn and _is_known_durable(data, header.salt, offset, lsn):
        raise DamagedSegment(f"segment {sequence} is damaged at offset {offset}, in what had been made durable")
    return SegmentContent(
        header=header,
        records=tuple(records),
        next_lsn=lsn,
        size_bytes=offset,
        checkpoint_bytes=checkpoint_bytes,
        torn=torn,
    )


def _seed(salt: bytes, offset: int, length: int, kind: int) -> int:
    return crc32(_SEED.pack(salt, 0 if kind == _KIND_SYNCED else offset, length))


def _encode_one(parts: list[bytes], salt: bytes, offset: int, channel_id: bytes, kind: int, payload: bytes) -> int:
    length = _PREFIX.size + len(payload)
    prefix = _PREFIX.pack(kind, channel_id)
    checksum = crc32(payload, crc32(prefix, _seed(salt, offset, length, kind)))
    parts += (_FRAME.pack(length, checksum), prefix, payload)
    return FRAME_BYTES + length


def _decode_one(data: bytes, salt: bytes, offset: int) -> WalRecord | None:
    if len(data) - offset < RECORD_BYTES_MIN:
        return None
    length, checksum = _FRAME.unpack_from(data, offset)
    start = offset + FRAME_BYTES
    if not _PREFIX.size <= length <= min(PAYLOAD_BYTES_MAX + _PREFIX.size, len(data) - start):
        return None
    content = memoryview(data)[start : start + length]
    if crc32(content, _seed(salt, offset, length, content[0])) != checksum:
        return None
    kind, channel_id = _PREFIX.unpack_from(content)
    return WalRecord(channel_id, kind, bytes(content[_PREFIX.size :]))


def _decode_header(data: bytes, sequence: int) -> SegmentHeader | None:
    if len(data) < HEADER_BYTES:
        return None
    (checksum,) = _CRC.unpack_from(data, _HEADER.size)
    if crc32(data[: _HEADER.size]) != checksum:
        return None
    magic, version, written_sequence, first_lsn, salt = _HEADER.unpack_from(data)
    if magic != _MAGIC or written_sequence != sequence:
        raise DamagedSegment(f"segment {sequence} holds something else (sequence {written_sequence})")
    if version > FORMAT_VERSION:
        raise DataRefused(
            DataRefusal.NEWER,
            "the write-ahead log cannot be read",
            f"it has format {version} and this version knows {FORMAT_VERSION}",
            "Start the newer version of dawan-node again.",
        )
    return SegmentHeader(sequence, first_lsn, salt)


def _synced_lsn(mark: WalRecord) -> int:
    """What a marker says was durable; a sound one that says something else was not written by this log."""
    if len(mark.payload) != _LSN.size:
        raise DamagedSegment(f"a marker holds {len(mark.payload)} bytes, not {_LSN.size}")
    (lsn,) = _LSN.unpack(mark.payload)
    return int(lsn)


def _is_known_durable(data: bytes, salt: bytes, offset: int, lsn: int) -> bool:
    """Whether a marker behind ``offset`` says that record number ``lsn``, unreadable there, had been synced."""
    needle = _PREFIX.pack(_KIND_SYNCED, _OWN_CHANNEL)
    # From the damaged record itself on: if it is only a marker, it is the next one that tells.
    position = data.find(needle, offset)
    while position >= 0:
        mark = _decode_one(data, salt, position - FRAME_BYTES)
        if mark is not None and _synced_lsn(mark) > lsn:
            return True
        position = data.find(needle, position + 1)
    return False
