"""Text that every node reads alike.

Strings in arguments hold only code points that Unicode 14.0 assigns, so that normalisation and case folding, whose
results for assigned code points never change between Unicode versions, agree on Python 3.11 and 3.12. Modules fold
text through ``fold`` and nothing else.
"""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any, Final

from dawan_node.execution.unicode14 import ALPHANUMERIC, ASSIGNED

_CODE_POINTS: Final = 0x110000


def _membership(table: str) -> bytes:
    """The ranges of a ``unicode14`` table as one byte per code point, 1 for a member.

    A regular expression with as many ranges tests them one after another for every character beyond the first plane;
    looking up a byte costs the same for every character, also for those a hostile client picks.
    """
    numbers = [int(number, 16) for number in table.split()]
    runs = [bytes(gap) + b"\x01" * length for gap, length in zip(numbers[::2], numbers[1::2], strict=True)]
    return b"".join(runs).ljust(_CODE_POINTS, b"\x00")


_IS_ASSIGNED: Final = _membership(ASSIGNED).__getitem__
_IS_ALPHANUMERIC: Final = _membership(ALPHANUMERIC).__getitem__


def is_assigned_text(text: str) -> bool:
    """Whether every code point of ``text`` is assigned in Unicode 14.0."""
    return text.isascii() or all(map(_IS_ASSIGNED, map(ord, text)))


def first_unassigned(value: Any, path: str = "") -> str | None:
    """The path (``total.currency``, ``lines[3]``) of the first string in a checked value that is not assigned text.

    The value's depth is at most 8 (formats A.1), so is the recursion.
    """
    if type(value) is str:
        return None if value.isascii() or is_assigned_text(value) else path
    if type(value) is dict:
        for key, item in value.items():
            if not is_assigned_text(key):
                return path
            found = first_unassigned(item, f"{path}.{key}" if path else key)
            if found is not None:
                return found
    elif type(value) is list or type(value) is tuple:
        for position, item in enumerate(value):
            found = first_unassigned(item, f"{path}[{position}]")
            if found is not None:
                return found
    return None


def fold(text: str) -> str:
    """Text without differences of case and width: NFKC, casefold, NFKC (full-width ``Ａ`` becomes ``a``)."""
    if text.isascii():
        return text.lower()
    normalize = unicodedata.normalize
    return normalize("NFKC", normalize("NFKC", text).casefold())


def alphanumeric(text: str) -> str:
    """Only the letters, marks and numbers of ``text``: what remains when spaces and punctuation are dropped."""
    return "".join(itertools.compress(text, map(_IS_ALPHANUMERIC, map(ord, text))))
