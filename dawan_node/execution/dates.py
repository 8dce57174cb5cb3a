"""Calendar dates and block time, in integers.

A date is the string ``YYYY-MM-DD`` (design section 4); an instant is milliseconds UTC. Time is block time only; the
business date of an instant is its date at UTC+8, the hour of Guangzhou, Hong Kong and Macao, which know no summer
time. Functions that take dates raise ValueError for what is not a date: check arguments with ``is_date`` first.
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import Final

_DAY_MS: Final = 24 * 3_600_000
_UTC8_MS: Final = 8 * 3_600_000
_EPOCH_ORDINAL: Final = datetime.date(1970, 1, 1).toordinal()
# 9999-12-31, the last date the calendar of this representation has.
_ORDINAL_MAX: Final = datetime.date.max.toordinal()


def is_date(text: str) -> bool:
    """Whether ``text`` is exactly a date ``YYYY-MM-DD`` that exists."""
    return _ordinal(text) is not None


def day_number(date: str) -> int:
    """Days since 0001-01-01, which is day 1; the same numbers on every node."""
    ordinal = _ordinal(date)
    if ordinal is None:
        raise ValueError(f"{date[:32]!r} is not a date YYYY-MM-DD")
    return ordinal


def days_between(start: str, end: str) -> int:
    """Days from ``start`` to ``end``; negative when ``end`` is earlier."""
    return day_number(end) - day_number(start)


def add_days(date: str, days: int) -> str:
    """The date ``days`` later (or earlier, when negative)."""
    ordinal = day_number(date) + days
    if not 1 <= ordinal <= _ORDINAL_MAX:
        raise ValueError("the date is outside the years 1 to 9999")
    return _iso(ordinal)


def add_months(date: str, months: int) -> str:
    """The same day ``months`` later, or that month's last day when it is shorter (31 January + 1: 28 February)."""
    start = datetime.date.fromordinal(day_number(date))
    month_number = start.year * 12 + start.month - 1 + months
    year, month = month_number // 12, month_number % 12 + 1
    if not 1 <= year <= 9999:
        raise ValueError("the date is outside the years 1 to 9999")
    return datetime.date(year, month, min(start.day, _days_in_month(year, month))).isoformat()


def business_date(time_ms: int) -> str:
    """The date at UTC+8 of an instant in milliseconds UTC."""
    return _iso(_EPOCH_ORDINAL + (time_ms + _UTC8_MS) // _DAY_MS)


def start_of_day_ms(date: str) -> int:
    """The instant at which ``date`` begins at UTC+8."""
    return (day_number(date) - _EPOCH_ORDINAL) * _DAY_MS - _UTC8_MS


# The dates of a block's transactions are a few days of this year and the next ones: asked for several times each. A
# remembered answer is the same answer, and so many are a few hundred kilobytes.
@lru_cache(maxsize=4_096)
def _iso(ordinal: int) -> str:
    return datetime.date.fromordinal(ordinal).isoformat()


def _ordinal(text: str) -> int | None:
    return _ordinal_of_ten(text) if len(text) == 10 else None


@lru_cache(maxsize=4_096)
def _ordinal_of_ten(text: str) -> int | None:
    # date.fromisoformat accepts other forms from Python 3.11 on; the shape is checked here first.
    if text[4] != "-" or text[7] != "-" or not text.isascii():
        return None
    digits = text[:4] + text[5:7] + text[8:]
    if not digits.isdigit():
        return None
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= _days_in_month(year, month):
        return None
    return datetime.date(year, month, day).toordinal()


def _days_in_month(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
