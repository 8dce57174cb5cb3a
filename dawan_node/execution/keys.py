"""Keys of entities and indexes, built from typed parts so that no two different tuples share one key.

Joining strings by hand is how ``("ab", "c")`` and ``("a", "bc")`` become the same invoice. Here every part knows its
own end: a string or byte part is closed by ``0x00``, which occurs nowhere inside it, because ``0x00`` is written
``0x01 0x01`` and ``0x01`` is written ``0x01 0x02``; an int is eight bytes, big-endian, shifted so that negative numbers
sort first; a bool is one byte. Byte order of keys is therefore the order of the tuples, and a closed part is a prefix
of exactly the tuples that begin with it (escaping ``0x00`` as ``0x00 0xFF`` would lose that: ``a`` closed would begin
``a 0x00 b`` too).

Parts carry no type marker: within one collection or index, one position always has one type.
"""

from __future__ import annotations

from typing import Final

#: A primary key has 1 to 256 bytes (formats A.7); the genesis entry, written by the executor itself, has none.
KEY_BYTES_MAX: Final = 256

Part = str | bytes | int | bool

_INT_SHIFT: Final = 1 << 63


def key_of(*parts: Part) -> bytes:
    """A primary key of ``parts``. The last string or byte part stays unclosed, so ``key_of("x") == b"x"``.

    Raises ValueError for an int outside 64 bits.
    """
    last = parts[-1]
    if type(last) is str and len(parts) == 1:
        return last.encode()
    head = b"".join([_closed(part) for part in parts[:-1]])
    if type(last) is str:
        return head + last.encode()
    if type(last) is bytes:
        return head + last
    return head + _closed(last)


def prefix_of(*parts: Part) -> bytes:
    """The bytes that every key starting with exactly these parts begins with."""
    return b"".join([_closed(part) for part in parts])


def _closed(part: Part) -> bytes:
    if type(part) is str and part.isprintable():
        return part.encode() + b"\x00"  # nearly every part is one
    if isinstance(part, str):
        # What can be printed holds neither byte. A StrEnum member is a str whose type is not str.
        encoded = (part if type(part) is str else str(part)).encode()
        if part.isprintable():
            return encoded + b"\x00"
        return encoded.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01") + b"\x00"
    if type(part) is bytes:
        return part.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01") + b"\x00"
    if type(part) is bool:
        return b"\x01" if part else b"\x00"
    if isinstance(part, int):
        shifted = int(part) + _INT_SHIFT
        if not 0 <= shifted < 1 << 64:
            raise ValueError(f"{part} does not fit 64 bits")
        return shifted.to_bytes(8, "big")
    return _closed(bytes(part))
