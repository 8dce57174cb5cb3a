"""All records of a database in one file: ``magic 8 "DAWANREC" | version u32 | (key length u32, value length u32, key,
value) ... | two zero lengths``. A copy of LevelDB's own files would need its lock and carry its accidents; records are
what the node wrote, and a restored database is one that was written anew."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from dawan_node.errors import DawanError
from dawan_node.storage.kv import KeyValueReader

MAGIC: Final = b"DAWANREC" + struct.pack(">I", 1)
#: The largest record is a block's packed transactions: 4 MiB and its table (primitives.genesis).
RECORD_BYTES_MAX: Final = 8 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024

_LENGTHS: Final = struct.Struct(">II")


class NotRecords(DawanError):
    """A file that is not of this form although its hash is right: made by something else."""


def write_records(source: KeyValueReader, path: Path, pace: Callable[[int], None]) -> tuple[int, int, str]:
    """Write every record of ``source`` into the new file ``path``, durable when this returns.

    ``pace`` is told the bytes of each chunk and may wait, or raise to end it. Returns records, bytes and SHA-256.
    Raises OSError for the file, StorageError for the source.
    """
    digest, size, count = hashlib.sha256(), 0, 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        parts, waiting = [MAGIC], len(MAGIC)
        for key, value in source.iterate():
            parts += (_LENGTHS.pack(len(key), len(value)), key, value)
            waiting += _LENGTHS.size + len(key) + len(value)
            count += 1
            if waiting >= CHUNK_BYTES:
                size += _write(file, b"".join(parts), digest.update)
                pace(waiting)
                parts, waiting = [], 0
        parts.append(_LENGTHS.pack(0, 0))
        size += _write(file, b"".join(parts), digest.update)
        os.fsync(descriptor)
    return count, size, digest.hexdigest()


def _write(file: BinaryIO, data: bytes, hashed: Callable[[bytes], None]) -> int:
    hashed(data)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    return len(data)


def read_records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Every record of a file whose hash was checked. Raises NotRecords or OSError."""
    with path.open("rb", buffering=CHUNK_BYTES) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise NotRecords("it does not begin like a file of records")
        while True:
            lengths = file.read(_LENGTHS.size)
            if len(lengths) != _LENGTHS.size:
                raise NotRecords("it ends too early")
            key_bytes, value_bytes = _LENGTHS.unpack(lengths)
            if not key_bytes:
                if value_bytes or file.read(1):
                    raise NotRecords("something follows its end")
                return
            if key_bytes + value_bytes > RECORD_BYTES_MAX:
                raise NotRecords(f"a record of {key_bytes + value_bytes} bytes")
            key, value = file.read(key_bytes), file.read(value_bytes)
            if len(key) != key_bytes or len(value) != value_bytes:
                raise NotRecords("it ends too early")
            yield key, value
