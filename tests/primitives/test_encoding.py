"""One value has one encoding, and nothing else decodes."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidEncoding
from dawan_node.primitives.encoding import DEPTH_MAX, INT_MAX, INT_MIN, ITEMS_MAX, decode_value, encode

CAP = 1 << 20

text = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.one_of(st.integers(INT_MIN, INT_MAX), st.booleans(), st.binary(max_size=40), text)
keys = text.filter(lambda key: 1 <= len(key.encode()) <= 64)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)


def _sorted_maps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_maps(value[key]) for key in sorted(value, key=lambda key: key.encode())}
    return [_sorted_maps(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_any_allowed_value_survives_encoding_and_the_reference_encodes_it_identically(value: Any) -> None:
    data = encode(value)
    assert data == msgpack.packb(_sorted_maps(value), use_bin_type=True)
    try:
        assert decode_value(data, CAP) == value
    except InvalidEncoding as error:
        assert "nested" in str(error)


@given(st.binary(max_size=200))
def test_random_bytes_decode_canonically_or_are_refused(data: bytes) -> None:
    try:
        value = decode_value(data, CAP)
    except InvalidEncoding:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xcc\x01", "a longer integer than needed"),
        (b"\xcd\x00\x01", "a longer integer than needed"),
        (b"\xd0\x01", "a signed integer where a fixint fits"),
        (b"\xd9\x01a", "a longer string header than needed"),
        (b"\xc5\x00\x01a", "a longer binary header than needed"),
        (b"\xdc\x00\x01\x01", "a longer array header than needed"),
        (b"\x82\xa1b\x01\xa1a\x02", "unsorted keys"),
        (b"\x82\xa1a\x01\xa1a\x02", "a repeated key"),
        (b"\xcb" + bytes(8), "a float"),
        (b"\xca" + bytes(4), "a short float"),
        (b"\xc0", "nil"),
        (b"\xd4\x01\x00", "an extension"),
        (b"\xd6\xff" + bytes(4), "a timestamp"),
        (b"\xcf" + b"\xff" * 8, "an integer beyond 63 bits"),
        (b"\xa1\xff", "invalid UTF-8"),
        (b"\xa3\xed\xa0\x80", "a lone surrogate"),
        (b"\x01\x01", "trailing bytes"),
        (b"\xc6\xff\xff\xff\xff", "a claimed length of 4 GiB"),
        (b"\x81\x01\x01", "a key that is not a string"),
        (b"\x81\xa0\x01", "an empty key"),
        (b"\x81\xd9\x41" + b"k" * 65 + b"\x01", "a key of 65 bytes"),
        (b"", "nothing"),
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidEncoding):
        decode_value(data, CAP)


def test_depth_items_and_size_have_exact_limits() -> None:
    nested: Any = 1
    for _ in range(DEPTH_MAX):
        nested = [nested]
    assert decode_value(encode(nested), CAP) == nested
    with pytest.raises(InvalidEncoding, match="nested"):
        decode_value(encode([nested]), CAP)
    assert len(decode_value(encode([0] * ITEMS_MAX), CAP)) == ITEMS_MAX
    with pytest.raises(InvalidEncoding, match="items"):
        decode_value(encode([0] * (ITEMS_MAX + 1)), CAP)
    with pytest.raises(InvalidEncoding, match="at most"):
        decode_value(encode(b"x" * 10), 11)
    with pytest.raises(InvalidEncoding):
        decode_value(b"\x91" * 100_000 + b"\x90", CAP)
