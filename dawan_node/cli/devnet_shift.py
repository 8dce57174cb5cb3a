"""How far a test network's clock is moved, as people write it: ``+21d``, ``-1h``, ``+90min``, ``+5s``."""

from __future__ import annotations

import re
from typing import Final

from dawan_node.errors import OperatorError

_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "m": 60_000, "s": 1_000}
# Nine digits of days are more than any clock can be moved, and the sum stays far from the limits of an integer.
_SHIFT: Final = re.compile(r"([+-])([0-9]{1,9})(d|h|min|m|s)")


def parse_shift(text: str) -> int:
    """Milliseconds. Raises OperatorError."""
    match = _SHIFT.fullmatch(text)
    if match is None:
        raise OperatorError(
            f"{text!r} says not how far the clock is to move",
            "that is a sign, a number and d, h, min or s",
            "Write for example +21d, -1h, or now.",
        )
    sign, number, unit = match.groups()
    return int(sign + number) * _UNITS_MS[unit]


def shift_words(ahead_ms: int) -> str:
    """The same in words."""
    if not ahead_ms:
        return "the machine's time"
    size, unit = abs(ahead_ms), "ms"
    for name, unit_ms in _UNITS_MS.items():
        if size % unit_ms == 0:
            size, unit = size // unit_ms, name
            break
    return f"{size} {unit} {'ahead of' if ahead_ms > 0 else 'behind'} the machine's time"
