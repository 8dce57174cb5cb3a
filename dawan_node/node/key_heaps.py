"""Sorting more entries by key hash than memory should hold.

State is stored by name, but its tree and its snapshots are in order of key hash. Entries are dealt into 256 heaps by
the first byte of their key hash, kept on disk once they are more than memory should hold; then each heap is sorted by
itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Entries that wait in memory for being sorted; what is more waits on disk.
HEAP_BYTES_MAX: Final = 32 * 1024 * 1024

_LENGTH: Final = struct.Struct(">I")
_HASH_BYTES: Final = 32


class KeyHeaps:
    """Entries by the first byte of their key hash, in memory or, from a certain size on, in a file each."""

    def __init__(self, folder: Path, bytes_max: int = HEAP_BYTES_MAX) -> None:
        """The files go into ``folder``, which is there. Methods raise OSError when the disk does not take them."""
        self._folder = folder
        self._bytes_max = bytes_max
        self._heaps = [bytearray() for _ in range(256)]
        self._files: set[int] = set()
        self._bytes = 0

    def add(self, key_hash: bytes, value: bytes) -> None:
        """One more entry."""
        self._heaps[key_hash[0]] += key_hash + _LENGTH.pack(len(value)) + value
        self._bytes += len(value) + _HASH_BYTES + _LENGTH.size
        if self._bytes > self._bytes_max:
            for number, heap in enumerate(self._heaps):
                with self._file(number).open("ab") as file:
                    file.write(heap)
                heap.clear()
                self._files.add(number)
            self._bytes = 0

    def sorted(self) -> Iterator[tuple[bytes, bytes]]:
        """(key hash, value) in order."""
        for number, heap in enumerate(self._heaps):
            data = bytes(heap)
            if number in self._files:
                data = self._file(number).read_bytes() + data
            items: list[tuple[bytes, bytes]] = []
            position = 0
            while position < len(data):
                start = position + _HASH_BYTES + _LENGTH.size
                (length,) = _LENGTH.unpack_from(data, position + _HASH_BYTES)
                items.append((data[position : position + _HASH_BYTES], data[start : start + length]))
                position = start + length
            items.sort()
            yield from items

    def remove(self) -> None:
        """Remove the files."""
        for number in self._files:
            self._file(number).unlink()

    def _file(self, number: int) -> Path:
        return self._folder / f"heap-{number:02x}"
