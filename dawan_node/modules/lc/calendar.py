"""Banking days of the bank that has the documents: receipt, deadline of examination, last day of presentation.

Each bank counts its own days. A day that is a holiday in Hong Kong only is a banking day in Guangzhou, so a deadline
depends on *where* documents were presented, never on where the applicant or another bank is. A year whose calendar is
not published is unknown, and the answer is E_CALENDAR.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import BankingCalendar, Context, Roll, days_between
from dawan_node.modules.refdata import banking_calendar, parameter

#: No calendar is looked through further than this for an open day (``execution.banking_days``).
CLOSED_DAYS_MAX: Final = 31


def calendar_of(ctx: Context, place: str, date: str) -> BankingCalendar:
    """The calendar of a bank's place around a date."""
    return banking_calendar(ctx, (place,), date)


def received_date(ctx: Context, place: str) -> str:
    """The day that counts as receipt: a bank that is closed takes in documents on its next banking day (article 33)."""
    return rolled(ctx, place, ctx.business_date)


def deadline_after(ctx: Context, place: str, date: str) -> str:
    """The last day of an examination of documents received on ``date`` (article 14 b)."""
    days = parameter(ctx, "lc.exam.banking_days")
    found = calendar_of(ctx, place, date).add(date, days)
    if found is None:
        ctx.fail("E_CALENDAR")
    return found


def is_in_time(ctx: Context, place: str, day: str, last: str) -> bool:
    """Whether ``day`` is not after ``last``, or after the next banking day when the bank is closed on ``last`` (29 a).

    A calendar is asked only when it can make the difference: a credit that runs into a year not yet published can be
    used today.
    """
    if day <= last:
        return True
    return days_between(last, day) <= CLOSED_DAYS_MAX and day <= rolled(ctx, place, last)


def rolled(ctx: Context, place: str, date: str) -> str:
    """``date``, or the next banking day of the place."""
    found = calendar_of(ctx, place, date).roll(date, Roll.FOLLOWING)
    if found is None:
        ctx.fail("E_CALENDAR")
    return found
