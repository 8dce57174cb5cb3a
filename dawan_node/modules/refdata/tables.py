"""Which tables there are, and what a row of each holds.

Every row has a code, a name for people and a fixed set of attributes, all text, whose form is checked when the row is
written: a table with a letter among its exponents must not wait for the first payment to be found out. Texts have the
form that integers and dates have in JSON, so that one record fits every table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dawan_node.execution.module import days_between, is_date

#: Mainland days off are fewer than forty a year; a year of weekends would still fit.
CALENDAR_DATES_MAX: Final = 200
#: Calendars are published for the near future; the bound keeps every date inside what dates can express.
CALENDAR_YEARS: Final = ("2000", "2199")
_MONTHS_DAYS: Final = re.compile(r"(?:[01][0-9][0-3][0-9](?: [01][0-9][0-3][0-9])*)?")
_SATURDAY: Final = 5


@dataclass(frozen=True, slots=True)
class Table:
    """The form of a table's codes and of each attribute. ``calendar``: codes are years, attributes lists of dates."""

    title: str
    code: re.Pattern[str]
    attributes: Mapping[str, re.Pattern[str]]
    calendar: bool = False

    def accepts(self, code: str, attributes: Sequence[tuple[str, str]]) -> bool:
        """Whether a row with this code may have these attributes: all of the table's, in order of name."""
        if self.code.fullmatch(code) is None or [name for name, _ in attributes] != sorted(self.attributes):
            return False
        if any(self.attributes[name].fullmatch(value) is None for name, value in attributes):
            return False
        return not self.calendar or _is_calendar(code, dict(attributes))


def _calendar(place: str) -> Table:
    return Table(
        f"Banking days of {place}",
        re.compile("[0-9]{4}"),
        MappingProxyType({"closed": _MONTHS_DAYS, "opened": _MONTHS_DAYS}),
        calendar=True,
    )


TABLES: Final = MappingProxyType(
    {
        "calendar_cn": _calendar("the mainland"),
        "calendar_hk": _calendar("Hong Kong"),
        "calendar_mo": _calendar("Macau"),
        # Hong Kong and Macau are countries HK and MO here, never subdivisions of CN (domain.md 1.2: one convention).
        "country": Table(
            "Countries, ISO 3166-1",
            re.compile("[A-Z]{2}"),
            MappingProxyType({"alpha3": re.compile("[A-Z]{3}"), "numeric": re.compile("[0-9]{3}")}),
        ),
        # CNH is no ISO code: offshore renminbi is CNY, and the market is another field.
        "currency": Table(
            "Currencies, ISO 4217",
            re.compile("[A-Z]{3}"),
            MappingProxyType({"exponent": re.compile("[0-6]"), "numeric": re.compile("[0-9]{3}")}),
        ),
        "hs": Table(
            "Goods, Harmonized System, chapters to six digits",
            re.compile("[0-9]{2}(?:[0-9]{2}){0,2}"),
            MappingProxyType({"parent": re.compile("(?:[0-9]{2}){0,2}"), "section": re.compile("[IVX]{0,5}")}),
        ),
        "locode": Table(
            "Places, UN/LOCODE",
            re.compile("[A-Z]{2}[A-Z2-9]{3}"),
            MappingProxyType({"function": re.compile("[0-9B-]{1,8}"), "subdivision": re.compile("[A-Z0-9]{0,3}")}),
        ),
    }
)

#: The table of each place that has a calendar.
CALENDARS: Final = MappingProxyType({"CN": "calendar_cn", "HK": "calendar_hk", "MO": "calendar_mo"})


def dates_of(year: str, months_days: str) -> tuple[str, ...]:
    """``("2026", "0101 0217")`` is ``("2026-01-01", "2026-02-17")``."""
    return tuple([f"{year}-{each[:2]}-{each[2:]}" for each in months_days.split(" ") if each])


def _is_calendar(year: str, attributes: Mapping[str, str]) -> bool:
    closed, opened = dates_of(year, attributes["closed"]), dates_of(year, attributes["opened"])
    if not CALENDAR_YEARS[0] <= year <= CALENDAR_YEARS[1] or len(closed) + len(opened) > CALENDAR_DATES_MAX:
        return False
    if not all(is_date(date) for date in (*closed, *opened)):
        return False
    ascending = list(closed) == sorted(set(closed)) and list(opened) == sorted(set(opened))
    # A weekday needs no permission to be worked, and no day is both.
    weekends = all(days_between("0001-01-01", date) % 7 >= _SATURDAY for date in opened)
    return ascending and weekends and not any(date in closed for date in opened)
