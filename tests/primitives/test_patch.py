"""A patch leads from bytes to what they were before, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidEncoding
from dawan_node.primitives.patch import is_patch, patch_of, undo


def offset(at: int) -> bytes:
    return at.to_bytes(2, "big")


@given(st.binary(min_size=64, max_size=400), st.data())
def test_undoing_gives_back_what_stood_in_every_cell_and_keeps_the_rest(older: bytes, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.integers(0, len(older) // 32 - 1), unique=True, min_size=1))
    newer = bytearray(older)
    parts: list[bytes] = []
    for cell in cells:
        at = cell * 32
        parts += offset(at), older[at : at + 32]
        newer[at : at + 32] = data.draw(st.binary(min_size=32, max_size=32))
    patch = patch_of(parts)
    assert is_patch(patch) and undo(bytes(newer), patch) == older


@given(st.integers(1, 0xFFFF), st.integers(0, 48))
def test_no_node_of_the_tree_is_taken_for_a_patch(bitmap: int, cells: int) -> None:
    assert not is_patch(offset(bitmap) + bytes(2 + 32 * cells))
    assert not is_patch(bytes(64)), "a lone leaf"
    assert not is_patch(b"") and not is_patch(b"\x00\x00")


@pytest.mark.parametrize("patch", [b"", bytes(2), bytes(35), b"\x01" + bytes(35), patch_of([offset(33), bytes(32)])])
def test_what_is_no_patch_of_these_bytes_is_refused(patch: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        undo(bytes(64), patch)
