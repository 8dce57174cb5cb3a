"""SHA-256 and its domain-separated form (design section 4).

Every hash that names a kind of object starts with an ASCII tag and a line feed, so that bytes of one kind can
never be presented as another: ``H(tag || 0x0A || data)``. The same construction prefixes every signed message.
"""

from __future__ import annotations

import hashlib

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)


def sha256(data: bytes) -> bytes:
    """SHA-256 of ``data``."""
    return hashlib.sha256(data).digest()


def domain_separated(tag: bytes, data: bytes) -> bytes:
    """The bytes that are hashed or signed for ``tag``: the tag, a line feed, then ``data``."""
    return tag + b"\n" + data


def tagged_hash(tag: bytes, data: bytes) -> bytes:
    """``Hash(tag, data)`` of formats A.1."""
    return hashlib.sha256(tag + b"\n" + data).digest()
