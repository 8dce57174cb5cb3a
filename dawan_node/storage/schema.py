"""Where everything lies in a channel's database: the one page on its keys.

The first byte of a key is the kind of record. Heights are 8 bytes big-endian, so that they sort as numbers.

======  =============================================  ==========================================================
key                                                    value
======  =============================================  ==========================================================
``!schema``                                            version of these layouts, u32
``!blocks``                                            head of the blocks: [height, block_hash, result_hash]
``!state``                                             head of the state: [height, history_from, timestamp_ms]
``!kept``                                              oldest complete block and oldest header: see retention
``b``   height                                         encoded header (none at height 0, the genesis)
``r``   height                                         encoded result
``c``   height                                         [certificate, [[header, result], ...]]: see block_store
``e``   height                                         envelopes of the block, packed list
``p``   height                                         encoded receipts of the block, packed list
``t``   tx_id                                          height 8, index in the block 4
``k``   block_hash                                     height
``s``   scope(module, collection), key                 encoded entity, as of the head
``i``   scope(module, collection, index), index key    primary key, as of the head
``n``   path, one byte per nibble                      node of the state tree, as of the head
``S``   scope(module, collection), ordered(key), height        what ``s`` was before the block at height
``I``   scope(module, collection, index), ordered(index key), height   what ``i`` was before the block at height
``N``   length of path, path, height                   what ``n`` was before the block at height, or the patch from what
                                                       it is after it (``primitives.patch``; since schema 2)
``d``   height                                         the ``S I N`` keys the block at height wrote, without height
``x``   length of public key, public key, nonce 16     valid_until_ms of the transaction that used the nonce
``X``   valid_until_ms, then as ``x``                  nothing: ``x`` in order of expiry
``y``   height                                         nonces of a block without body that has a replay entry
``v``   epoch                                          [its first height, [[suite, key], ...]] of each epoch after 0
======  =============================================  ==========================================================

``scope`` puts the length of each name (one byte, names have at most 32) before it, so no name can be mistaken for the
beginning of another one and each collection and index is one contiguous range of keys. Keys and index keys are any
bytes; behind a scope they run to the end of the key and sort as themselves. In ``S`` and ``I`` a height follows, so
there they are written as ``ordered``: each 0x00 becomes 0x00 0xff and 0x00 0x00 ends it, which keeps their order and
lets no key be the beginning of another.

An image of "was not there" is the empty value; entities, primary keys and nodes are never empty.

A packed list is count u32, then for each item the offset of its end (u32, from the end of the table), then the items:
one item can be cut out without looking at the others.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from dawan_node.errors import StorageError
from dawan_node.storage.kv import KeyValueReader, Put

SCHEMA_VERSION: Final = 2

SCHEMA_KEY: Final = b"!schema"
BLOCKS_HEAD_KEY: Final = b"!blocks"
STATE_HEAD_KEY: Final = b"!state"
KEPT_KEY: Final = b"!kept"

HEADER: Final = b"b"
RESULT: Final = b"r"
CERTIFICATE: Final = b"c"
ENVELOPES: Final = b"e"
RECEIPTS: Final = b"p"
TX_INDEX: Final = b"t"
HASH_INDEX: Final = b"k"
STATE: Final = b"s"
INDEX: Final = b"i"
NODE: Final = b"n"
STATE_IMAGE: Final = b"S"
INDEX_IMAGE: Final = b"I"
NODE_IMAGE: Final = b"N"
IMAGE_LIST: Final = b"d"
NONCE: Final = b"x"
NONCE_EXPIRY: Final = b"X"
NONCE_LIST: Final = b"y"
EPOCH: Final = b"v"

HEIGHT_BYTES: Final = 8
NONCE_BYTES: Final = 16
_ORDERED_END = b"\x00\x00"
# Sorts behind every height of one ordered key and before the next longer key.
AFTER_ORDERED: Final = b"\x00\x01"

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_POSITION = struct.Struct(">QI")


def schema_put(version: int = SCHEMA_VERSION) -> Put:
    """The entry that a database of this version has."""
    return SCHEMA_KEY, _U32.pack(version)


def schema_version(store: KeyValueReader) -> int:
    """The version of the layouts in a database. Raises ``StorageError`` for one without."""
    written = store.get(SCHEMA_KEY)
    if written is None or len(written) != _U32.size:
        raise StorageError("the database has no schema version: it is damaged or not one of ours")
    return int.from_bytes(written, "big")


def height_bytes(height: int) -> bytes:
    """A height (or a time in ms) as it stands in keys."""
    return _U64.pack(height)


def height_of_bytes(data: bytes) -> int:
    """The number behind ``height_bytes``. Raises ``StorageError`` on another length."""
    if len(data) != _U64.size:
        raise StorageError(f"a number of {len(data)} bytes in the database")
    return int.from_bytes(data, "big")


def position_bytes(height: int, index: int) -> bytes:
    """Where a transaction stands, as a value of the ``t`` keys."""
    return _POSITION.pack(height, index)


def position_of_bytes(data: bytes) -> tuple[int, int]:
    """(height, index). Raises ``StorageError`` on another length."""
    if len(data) != _POSITION.size:
        raise StorageError(f"a transaction position of {len(data)} bytes in the database")
    height, index = _POSITION.unpack(data)
    return height, index


def scope(*names: str) -> bytes:
    """Module and collection, or module, collection and index, as the beginning of a key."""
    parts: list[bytes] = []
    for name in names:
        encoded = name.encode()
        parts += (bytes((len(encoded),)), encoded)
    return b"".join(parts)


def names_of_state_key(key: bytes) -> tuple[str, str, bytes]:
    """Module, collection and primary key of an ``s`` key. Raises ``StorageError`` when it is none."""
    try:
        module_end = 2 + key[1]
        collection_end = module_end + 1 + key[module_end]
        module, collection = key[2:module_end].decode(), key[module_end + 1 : collection_end].decode()
    except (IndexError, UnicodeDecodeError):
        raise StorageError(f"a state key of the database cannot be read: {key.hex()}") from None
    return module, collection, key[collection_end:]


def ordered(key: bytes) -> bytes:
    """``key`` in the form that sorts alike and may be followed by something else."""
    return key.replace(b"\x00", b"\x00\xff") + _ORDERED_END


def ordered_prefix(prefix: bytes) -> bytes:
    """What the ordered forms of all keys that begin with ``prefix`` begin with."""
    return prefix.replace(b"\x00", b"\x00\xff")


def key_of_ordered(data: bytes) -> bytes:
    """The key behind ``ordered``."""
    return data[: -len(_ORDERED_END)].replace(b"\x00\xff", b"\x00")


def node_image(path: bytes) -> bytes:
    """The ``N`` key of a tree node, without height."""
    return NODE_IMAGE + bytes((len(path),)) + path


def nonce_suffix(public_key: bytes, nonce: bytes) -> bytes:
    """What names one use of a nonce in ``x`` and ``X`` keys."""
    return bytes((len(public_key),)) + public_key + nonce


def pack_list(items: Sequence[bytes]) -> bytes:
    """A packed list (see the module)."""
    ends: list[int] = []
    end = 0
    for item in items:
        end += len(item)
        ends.append(end)
    return b"".join((struct.pack(f">{len(items) + 1}I", len(items), *ends), *items))


def unpack_list(data: bytes) -> tuple[bytes, ...]:
    """All items of a packed list. Raises ``StorageError`` when it does not fit together."""
    try:
        (count,) = _U32.unpack_from(data)
        ends = struct.unpack_from(f">{count}I", data, _U32.size)
    except struct.error:
        raise StorageError("a packed list in the database is cut off") from None
    base = _U32.size * (count + 1)
    if base + (ends[-1] if ends else 0) != len(data):
        raise StorageError("a packed list in the database has a wrong length")
    items: list[bytes] = []
    start = base
    for end in ends:
        items.append(data[start : base + end])
        start = base + end
    return tuple(items)


def cut_from_list(data: bytes, index: int) -> bytes | None:
    """Item ``index`` of a packed list, None when there are fewer."""
    try:
        (count,) = _U32.unpack_from(data)
        if not 0 <= index < count:
            return None
        start = _U32.unpack_from(data, _U32.size * index)[0] if index else 0
        (end,) = _U32.unpack_from(data, _U32.size * (index + 1))
    except struct.error:
        raise StorageError("a packed list in the database is cut off") from None
    base = _U32.size * (count + 1)
    return data[base + start : base + end]
