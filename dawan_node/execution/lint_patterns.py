"""Whether a regular expression can take for ever: the one thing a pattern of a module must not do.

Python's matcher backtracks, and while it does nothing else in the process runs. A pattern is refused when a repeated
group can split the same text in more than one way: a repeat inside a repeat (``(a+)+``), or alternatives that begin
alike under a repeat (``(a|ab)*``). What remains takes the text's length to the power of its open repeats at most, which
is what ``guard`` counts.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

#: A group repeated at most so often doubles the work that often at worst; beyond, the doubling is felt.
_FEW: Final = 4

#: Repeats with no bound, or one far away, in one pattern; each one more multiplies the work by the text's length.
_OPEN_MAX: Final = 4
_FAR: Final = 64

_QUANTIFIER: Final = re.compile(r"[*+?]|\{([0-9]*)(,?)([0-9]*)\}")
_GROUP_HEAD: Final = re.compile(r"\?(?:[aiLmsux-]*:|[=!]|<[=!]|P<[A-Za-z_][A-Za-z0-9_]*>)")
_ATOM: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[()|]", re.DOTALL)

_ESCAPE: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_INNERMOST: Final = re.compile(r"\([^()]*\)")


class _Group:
    """An open group: what its repetition would multiply."""

    def __init__(self) -> None:
        self.has_repeat = False
        #: The first atom of each alternative; None where it begins with a group or with nothing.
        self.firsts: list[str | None] = []
        self.is_at_start = True

    def begin_with(self, atom: str | None) -> None:
        if self.is_at_start:
            self.firsts.append(atom)
            self.is_at_start = False


@cache  # one entry for each pattern in the code of the installed modules, here and below
def slow_pattern(pattern: str) -> str | None:
    """Why matching ``pattern`` is not bounded, or None. A pattern that is none at all is a reason too."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"it is no pattern: {error}"
    reason, opened = _read(pattern)
    if reason is None and opened > _OPEN_MAX:
        return f"it has more than {_OPEN_MAX} repeats without a near bound"
    return reason


@cache
def open_repeats(pattern: str) -> int:
    """The exponent of the work of matching ``pattern`` at one place, at least 1."""
    return max(1, _read(pattern)[1])


@cache
def is_anchored(pattern: str) -> bool:
    """Whether ``search`` tries ``pattern`` at the beginning of a text only."""
    bare = _ESCAPE.sub("", pattern)
    for _ in range(bare.count("(")):
        bare = _INNERMOST.sub("", bare)
    return pattern.startswith("^") and "|" not in bare


def _read(pattern: str) -> tuple[str | None, int]:
    """Why it is not bounded, and its open repeats."""
    groups = [_Group()]
    last: _Group | None = None  # the group that was closed just now
    at, opened = 0, 0
    for _ in range(len(pattern)):
        if at >= len(pattern):
            break
        character = pattern[at]
        quantifier = _QUANTIFIER.match(pattern, at)
        if (
            quantifier is not None
            and (character != "{" or quantifier[1] or quantifier[3])
            and not groups[-1].is_at_start
        ):
            most = _most(quantifier)
            opened += most is None or most > _FAR
            if last is not None and (most is None or most > _FEW):
                if last.has_repeat:
                    return "a repeat inside a repeat can split one text in many ways", opened
                if _overlap(last.firsts):
                    return "alternatives under a repeat begin alike", opened
            # ``{4}`` takes its text in one way only.
            groups[-1].has_repeat |= character != "{" or (bool(quantifier[2]) and quantifier[1] != quantifier[3])
            at = quantifier.end()
            if at < len(pattern) and pattern[at] in "?+":
                at += 1
            last = None
            continue
        last = None
        if character == "(":
            groups[-1].begin_with(None)
            head = _GROUP_HEAD.match(pattern, at + 1)
            if head is None and pattern.startswith("?", at + 1):
                return "it uses a kind of group that modules do without", opened
            groups.append(_Group())
            at = at + 1 if head is None else head.end()
        elif character == ")":
            last = groups.pop()
            if last.is_at_start:
                last.firsts.append(None)
            groups[-1].has_repeat |= last.has_repeat
            at += 1
        elif character == "|":
            groups[-1].begin_with(None)
            groups[-1].is_at_start = True
            at += 1
        else:
            atom = _ATOM.match(pattern, at)
            if atom is None:
                return "it cannot be read", opened
            if atom[0][:1] == "\\" and atom[0][1:].isdigit():
                return "a back-reference matches in exponential time", opened
            groups[-1].begin_with(atom[0])
            at = atom.end()
    return None, opened


def _most(quantifier: re.Match[str]) -> int | None:
    """How often at most; None without a bound."""
    text = quantifier[0]
    if text in ("*", "+"):
        return None
    if text == "?":
        return 1
    low, comma, high = quantifier[1], quantifier[2], quantifier[3]
    if not comma:
        return int(low)
    return int(high) if high else None


def _overlap(firsts: list[str | None]) -> bool:
    """Whether two alternatives can begin with the same character."""
    if len(firsts) < 2:
        return False
    if None in firsts:
        return True
    patterns = [re.compile(first, re.DOTALL) for first in firsts if first is not None]
    return any(
        sum(1 for pattern in patterns if pattern.fullmatch(character)) > 1 for character in map(chr, range(0x300))
    )
