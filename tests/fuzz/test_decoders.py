"""No bytes, honest, damaged or random, make a decoder raise anything but its own refusal ("Bad input")."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import DECODERS
from tests.fuzz.drawing import HypothesisDraw, damaged

NAMES = sorted(DECODERS)
#: There are many decoders: each gets its part of the profile's examples.
A_THIRD = settings(max_examples=max(1, settings.default.max_examples // 3))
A_FIFTH = settings(max_examples=max(1, settings.default.max_examples // 5))


@pytest.mark.parametrize("name", NAMES)
def test_honest_bytes_are_taken_or_refused_by_type(name: str) -> None:
    decoder = DECODERS[name]
    for seed in decoder.corpus:
        decoder(seed)


@pytest.mark.parametrize("name", NAMES)
@A_THIRD
@given(data=st.data())
def test_damaged_bytes_raise_nothing_but_the_refusal(name: str, data: st.DataObject) -> None:
    draw, decoder = HypothesisDraw(data), DECODERS[name]
    decoder(damaged(draw, draw.choice(decoder.corpus)))


@pytest.mark.parametrize("name", NAMES)
@A_FIFTH
@given(data=st.binary(max_size=120))
def test_arbitrary_bytes_raise_nothing_but_the_refusal(name: str, data: bytes) -> None:
    DECODERS[name](data)
