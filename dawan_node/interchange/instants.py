"""Date-times of messages (ISO 8601, xsd:dateTime with a zone) as milliseconds UTC, in integers."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,12}))?"
    r"(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH: Final = date(1970, 1, 1).toordinal()


def instant_ms(text: str) -> int | None:
    """Milliseconds since 1970 UTC; the fourth decimal of the seconds rounds half up. None for what has not this form,
    names no real instant, or lies before 1970."""
    found = _DATE_TIME.fullmatch(text.strip())
    if found is None:
        return None
    try:
        day = date(int(found[1]), int(found[2]), int(found[3])).toordinal() - _EPOCH
    except ValueError:
        return None
    hour, minute, second = int(found[4]), int(found[5]), int(found[6])
    zone_hour, zone_minute = int(found[10] or 0), int(found[11] or 0)
    if hour > 23 or minute > 59 or second > 59 or zone_hour > 14 or zone_minute > 59:
        return None
    fraction = (found[7] or "").ljust(4, "0")
    milliseconds = int(fraction[:3]) + (1 if fraction[3] >= "5" else 0)
    zone = (zone_hour * 60 + zone_minute) * (-1 if found[9] == "-" else 1)
    instant = ((day * 24 + hour) * 60 + minute - zone) * 60_000 + second * 1_000 + milliseconds
    return instant if instant >= 0 else None
