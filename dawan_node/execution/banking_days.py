"""Banking days: on which days banks of a place are open, counting them, moving a date to one.

A calendar is consensus data and comes from the module ``refdata``; here is only its arithmetic. A year for which no
calendar was published is *unknown*, never "no holidays": every question about it answers None, and the module refuses
(the usual reason is ``E_CALENDAR``) instead of giving a deadline that a later publication would contradict.

Saturdays and Sundays are closed, except the working Saturdays and Sundays that the State Council announces for the
mainland; a calendar's year lists those (``opened``) and the days closed for a holiday (``closed``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dawan_node.execution.dates import add_days, day_number, start_of_day_ms

#: Counting further than a year of banking days is no deadline any rule knows, and the loop is not paid in steps.
BANKING_DAYS_MAX: Final = 366
#: The longest run of closed days looked through: the mainland's longest holidays have nine. A calendar that closes
#: banks for longer (a catastrophe) makes the answer unknown rather than the loop endless.
_CLOSED_RUN_MAX: Final = 31
_SATURDAY: Final = 5
_DAY_MS: Final = 24 * 3_600_000


class Roll(StrEnum):
    """Where a date goes that is no banking day (ISDA 2006 section 4.12; UCP 600 article 29 a is FOLLOWING)."""

    FOLLOWING = "FOLLOWING"
    PRECEDING = "PRECEDING"
    #: The following banking day unless it lies in another month, else the preceding one.
    MODIFIED_FOLLOWING = "MODIFIED_FOLLOWING"


@dataclass(frozen=True, slots=True)
class CalendarYear:
    """One place's year: dates closed for a holiday, and weekend dates on which banks work."""

    closed: Collection[str]
    opened: Collection[str]

    def is_open(self, date: str) -> bool:
        """Whether banks are open on this date of the year."""
        if date in self.opened:
            return True
        return date not in self.closed and (day_number(date) - 1) % 7 < _SATURDAY


@dataclass(frozen=True, slots=True)
class BankingCalendar:
    """The published years of one or several places; a banking day of several is one of each (a payment from Guangzhou
    to Hong Kong needs both). Questions answer None where a year of a place is not published.

    Dates are ``YYYY-MM-DD``; what is no date raises ValueError.
    """

    places: Sequence[Mapping[int, CalendarYear]]

    def is_open(self, date: str) -> bool | None:
        """Whether ``date`` is a banking day."""
        day_number(date)
        years = [place.get(int(date[:4])) for place in self.places]
        known = [year for year in years if year is not None]
        if len(known) < len(years) or not years:
            return None
        return all(year.is_open(date) for year in known)

    def add(self, date: str, days: int) -> str | None:
        """The ``days``-th banking day after ``date``, or before it when negative; ``date`` itself is never counted.

        UCP 600 article 14 b: five banking days following the day of presentation is ``add(day, 5)``. Raises ValueError
        for 0 (which ``roll`` answers) and beyond ``BANKING_DAYS_MAX``.
        """
        if not 1 <= abs(days) <= BANKING_DAYS_MAX:
            raise ValueError(f"banking days are counted from 1 to {BANKING_DAYS_MAX}")
        found: str | None = date
        for _ in range(abs(days)):
            found = None if found is None else self._next(found, 1 if days > 0 else -1)
        return found

    def roll(self, date: str, rule: Roll) -> str | None:
        """``date`` if it is a banking day, else the one the rule says."""
        is_open = self.is_open(date)
        if is_open is None or is_open:
            return date if is_open else None
        if rule == Roll.PRECEDING:
            return self._next(date, -1)
        following = self._next(date, 1)
        if rule == Roll.MODIFIED_FOLLOWING and following is not None and following[:7] != date[:7]:
            return self._next(date, -1)
        return following

    def count(self, start: str, end: str) -> int | None:
        """Banking days after ``start`` up to and including ``end``: ``count(day, add(day, n)) == n``.

        Raises ValueError when ``end`` is earlier, or more than two years later.
        """
        length = day_number(end) - day_number(start)
        if not 0 <= length <= 2 * BANKING_DAYS_MAX:
            raise ValueError("banking days are counted over a period of at most two years")
        days = [self.is_open(add_days(start, after)) for after in range(1, length + 1)]
        return None if any(each is None for each in days) else days.count(True)

    def _next(self, date: str, step: int) -> str | None:
        for distance in range(1, _CLOSED_RUN_MAX + 1):
            candidate = add_days(date, step * distance)
            is_open = self.is_open(candidate)
            if is_open is None:
                return None
            if is_open:
                return candidate
        return None


def close_of_day_ms(date: str) -> int:
    """The first instant after ``date`` at UTC+8: what has to be done *by the close of* a day is done before it."""
    return start_of_day_ms(date) + _DAY_MS
