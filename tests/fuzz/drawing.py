"""Where a fuzz target takes its choices from: hypothesis, which shrinks what it finds, or a coverage-guided fuzzer,
which mutates the bytes they are read from. Targets know neither; each is a function of a ``Draw``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Draw(Protocol):
    """Choices, one after the other."""

    def integer(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included; the simplest is ``low``."""

    def choice(self, options: Sequence[T]) -> T:
        """One of ``options``; the simplest is the first."""

    def binary(self, length_max: int) -> bytes:
        """Up to ``length_max`` bytes."""


class HypothesisDraw:
    """Choices of hypothesis (``st.data()``)."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def binary(self, length_max: int) -> bytes:
        return self._data.draw(st.binary(max_size=length_max))


class BytesDraw:
    """Choices read from ``data``; when it is used up, the simplest ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_used_up(self) -> bool:
        return self._at >= len(self._data)

    def integer(self, low: int, high: int) -> int:
        size = ((high - low).bit_length() + 7) // 8
        number = int.from_bytes(self._take(size), "big")
        return low + number % (high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def binary(self, length_max: int) -> bytes:
        return self._take(self.integer(0, length_max))

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken


#: What a field of 64 bits is likeliest to be mishandled at, and what other numbers of the protocol are near: W, 2W, n,
#: the sizes of integers in MessagePack.
EXTREMES = (0, 2**63 - 1, 2**63 - 2, 2**62, 2**32, 2**31 - 1, 256, 255, 128, 65, 64, 63, 33, 9, 8, 5, 4)


def number(draw: Draw, *valid: int) -> int:
    """One of ``valid``, a neighbour of it, or something extreme."""
    match draw.integer(0, 7):
        case 5:
            return min(2**63 - 1, draw.choice(valid) + 1)
        case 6:
            return max(0, draw.choice(valid) - 1)
        case 7:
            return draw.choice(EXTREMES)
        case _:
            return draw.choice(valid)


def digest(draw: Draw, *valid: bytes) -> bytes:
    """One of ``valid`` (all of one length), one with a bit changed, or zeros."""
    match draw.integer(0, 7):
        case 6:
            return flipped(draw, draw.choice(valid))
        case 7:
            return bytes(len(valid[0]))
        case _:
            return draw.choice(valid)


def flipped(draw: Draw, data: bytes) -> bytes:
    """``data`` with one bit changed."""
    if not data:
        return data
    position = draw.integer(0, len(data) * 8 - 1)
    return data[: position // 8] + bytes([data[position // 8] ^ 1 << position % 8]) + data[position // 8 + 1 :]


#: Bytes that mean something in MessagePack: integers, containers of all sizes, nil, floats, extensions.
_MARKERS = bytes.fromhex("00017f808f909f9a9ca0bfc0c1c2c3c4c5c6c7cacbcccdcecfd0d3d4d9dadcdddedfe0ff")


def damaged(draw: Draw, data: bytes) -> bytes:
    """``data`` cut, extended, doubled, with bits or bytes changed, or with a length field blown up."""
    for _ in range(draw.integer(1, 3)):
        at = draw.integer(0, max(0, len(data) - 1))
        match draw.integer(0, 6):
            case 0:
                data = flipped(draw, data)
            case 1:
                data = data[:at]
            case 2:
                data += draw.binary(8)
            case 3:
                data = data[:at] + bytes([draw.choice(_MARKERS)]) + data[at + 1 :]
            case 4:
                data = data[:at] + draw.binary(4) + data[at:]
            case 5:
                data = data[:at] + b"\xff" * 4 + data[at + 4 :]
            case _:
                data = data[:at] + data[at:] * 2
    return data
