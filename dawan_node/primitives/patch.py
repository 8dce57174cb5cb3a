"""What stood in an earlier version of some bytes where only a little has changed since: for history, not for the wire.

A *patch* is two zero bytes, then for each changed *cell* its offset (u16) and the 32 bytes that stood there. Length and
everything else are those of the newer version, so a patch leads from there to the version before and not back. No node
of the state tree (``execution.state_tree``) can be taken for one: its bitmap is not zero, and one without is 64 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawan_node.errors import InvalidEncoding

CELL_BYTES: Final = 32
#: The bytes of one cell in a patch, offset included.
ENTRY_BYTES: Final = 2 + CELL_BYTES

_HEAD: Final = b"\x00\x00"


def patch_of(parts: Sequence[bytes]) -> bytes:
    """A patch of ``parts``: the offset of a cell (u16), what stood there, the next offset, and so on."""
    return _HEAD + b"".join(parts)


def is_patch(data: bytes) -> bool:
    """Whether ``data``, a node or a patch, is a patch."""
    return data.startswith(_HEAD) and len(data) > len(_HEAD) and len(data) % ENTRY_BYTES == len(_HEAD)


def undo(newer: bytes, patch: bytes) -> bytes:
    """The version before ``newer``. Raises InvalidEncoding for what is no patch of it."""
    if not is_patch(patch):
        raise InvalidEncoding(f"{len(patch)} bytes are no patch")
    older = bytearray(newer)
    for entry in range(len(_HEAD), len(patch), ENTRY_BYTES):
        at = int.from_bytes(patch[entry : entry + 2], "big")
        if at + CELL_BYTES > len(older):
            raise InvalidEncoding(f"a patch for byte {at} of {len(older)}")
        older[at : at + CELL_BYTES] = patch[entry + 2 : entry + ENTRY_BYTES]
    return bytes(older)
