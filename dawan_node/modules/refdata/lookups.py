"""Looking reference data up: what other modules import from here.

These functions read refdata's exported records in the caller's own command or query, so the module that uses them
declares ``uses=("refdata",)``. None always means "this channel does not know"; the caller refuses with a reason of its
own, because what an unknown currency means to a user is the caller's business. ``date`` is the business date whose
edition is wanted, today's when empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawan_node.execution.module import BankingCalendar, CalendarYear, Context, QueryContext, key_of
from dawan_node.modules.refdata.declaration import Edition, Parameter, Row, day_of
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.modules.refdata.tables import CALENDARS, dates_of

Reader = Context | QueryContext

#: Editions a look-up goes through; ``loading.DEPTH_MAX`` and the complete one below.
_CHAIN_MAX: Final = 9
#: A deadline counted in banking days ends in this year or in one of the next two (``BANKING_DAYS_MAX``).
_YEARS_AHEAD: Final = 2


def edition_in_force(ctx: Reader, table: str, date: str = "") -> Edition | None:
    """The edition of ``table`` in force on a date. Raises ValueError for what is no date."""
    # In the index later dates come first, so the first entry after this key is the newest not later than the date.
    after = key_of(table, -day_of(date or ctx.business_date))
    found = ctx.page(Edition, "in_force", (table,), limit=1, cursor=after).items
    return found[0] if found else None


def lookup(ctx: Reader, table: str, code: str, date: str = "") -> Row | None:
    """The row of ``code`` in the edition in force; None when it has none or no edition is in force."""
    edition = edition_in_force(ctx, table, date)
    return None if edition is None else row_of(ctx, table, edition.version, code)


def row_of(ctx: Reader, table: str, version: int, code: str) -> Row | None:
    """The row of ``code`` in an edition, taken from those it amends where it has none itself."""
    for _ in range(_CHAIN_MAX):
        edition = ctx.get(Edition, key_of(table, version)) if version else None
        if edition is None:
            return None
        row = ctx.get(Row, key_of(table, version, code))
        if row is not None:
            return None if row.removed else row
        version = edition.base
    return None


def currency_places(ctx: Reader, code: str, date: str = "") -> int | None:
    """Decimal places of a currency's minor unit."""
    row = lookup(ctx, "currency", code, date)
    return None if row is None else int(row.attribute("exponent"))


def banking_calendar(ctx: Reader, places: Sequence[str], first_date: str) -> BankingCalendar:
    """The banking days that are open in all ``places`` ("CN", "HK", "MO"), for the year of ``first_date``, the one
    before and the two after, as far as they are published. Raises KeyError for a place without a calendar."""
    year = int(first_date[:4])
    years = range(year - 1, year + _YEARS_AHEAD + 1)
    return BankingCalendar([_years(ctx, CALENDARS[place], years) for place in places])


def parameter(ctx: Reader, key: str, default: int | None = None, *, date: str = "") -> int:
    """The value of a parameter in force: what was voted, else ``default``, else the first value of ``PARAMETERS``.

    A module gives ``default`` for the keys of its own (``<module>.<name>``). Raises KeyError for a key that has
    neither.
    """
    after = key_of(key, -day_of(date or ctx.business_date))
    found = ctx.page(Parameter, "in_force", (key,), limit=1, cursor=after).items
    if found:
        return found[0].value
    return PARAMETERS[key].first if default is None else default


def _years(ctx: Reader, table: str, years: Sequence[int]) -> dict[int, CalendarYear]:
    rows = [(year, lookup(ctx, table, str(year))) for year in years]
    return {
        year: CalendarYear(dates_of(row.code, row.attribute("closed")), dates_of(row.code, row.attribute("opened")))
        for year, row in rows
        if row is not None
    }
