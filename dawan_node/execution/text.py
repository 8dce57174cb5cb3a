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
    # Nearly always there is none, and then no path need be spelled.
    return None if _is_assigned(value) else _first_unassigned(value, path)


def _is_assigned(value: Any) -> bool:
    """Whether all strings of a checked value are assigned text."""
    kind = type(value)
    if kind is dict:
        for key in value:
            if not (key.isascii() or is_assigned_text(key)):
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        return kind is not str or value.isascii() or is_assigned_text(value)
    for item in value:
        kind = type(item)
        if kind is str:
            if not (item.isascii() or is_assigned_text(item)):
                return False
        elif (kind is dict or kind is list or kind is tuple) and not _is_assigned(item):
            return False
    return True


def _first_unassigned(value: Any, path: str) -> str | None:
    if type(value) is str:
        return None if value.isascii() or is_assigned_text(value) else path
    if type(value) is dict:
        for key, item in value.items():
            if not is_assigned_text(key):
                return path
            found = _first_unassigned(item, f"{path}.{key}" if path else key)
            if found is not None:
                return found
    elif type(value) is list or type(value) is tuple:
        for position, item in enumerate(value):
            found = _first_unassigned(item, f"{path}[{position}]")
            if found is not None:
                return found
    return None


def fold(text: str) -> str:
    """Text without differences of case and width: NFKC, casefold, NFKC (full-width ``Ａ`` becomes ``a``)."""
    if text.isascii():
        return text.lower()
    normalize = unicodedata.normalize
    return normalize("NFKC", normalize("NFKC", text).casefold())


#: For ``str.translate``: what of ASCII is dropped. Most invoice numbers are ASCII.
_ASCII_DROPPED: Final = dict.fromkeys(number for number in range(128) if not _IS_ALPHANUMERIC(number))


def alphanumeric(text: str) -> str:
    """Only the letters, marks and numbers of ``text``: what remains when spaces and punctuation are dropped."""
    if text.isascii():
        return text.translate(_ASCII_DROPPED)
    return "".join(itertools.compress(text, map(_IS_ALPHANUMERIC, map(ord, text))))
