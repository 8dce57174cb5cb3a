"""Key layouts and packed lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import StorageError
from dawan_node.storage import schema

KEYS = st.lists(st.sampled_from([0, 1, 2, 0xFE, 0xFF]), max_size=4).map(bytes)
HEIGHTS = st.integers(0, 2**64 - 1).map(schema.height_bytes)


@given(KEYS, KEYS, HEIGHTS, HEIGHTS)
def test_ordered_keys_sort_like_the_keys_and_none_begins_another(a: bytes, b: bytes, x: bytes, y: bytes) -> None:
    assert schema.key_of_ordered(schema.ordered(a)) == a
    if a < b:
        assert schema.ordered(a) + x < schema.ordered(b) + y
        assert not schema.ordered(b).startswith(schema.ordered(a))
    assert b.startswith(a) == schema.ordered(b).startswith(schema.ordered_prefix(a))
    assert (b > a) == (schema.ordered(b) + x >= schema.ordered_prefix(a) + schema.AFTER_ORDERED)


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=2, max_size=3), KEYS, st.data())
def test_a_scope_is_no_beginning_of_another_one(names: list[str], key: bytes, data: st.DataObject) -> None:
    other = data.draw(st.lists(st.text("ab", min_size=1, max_size=3), min_size=len(names), max_size=len(names)))
    assert (schema.scope(*names) + key).startswith(schema.scope(*other)) == (names == other)


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_a_packed_list_gives_back_all_items_and_each_one(items: list[bytes]) -> None:
    packed = schema.pack_list(items)
    assert schema.unpack_list(packed) == tuple(items)
    assert [schema.cut_from_list(packed, index) for index in range(len(items))] == items
    assert schema.cut_from_list(packed, len(items)) is None
    assert schema.cut_from_list(packed, -1) is None
    for cut in range(len(packed)):
        with pytest.raises(StorageError):
            schema.unpack_list(packed[:cut])
