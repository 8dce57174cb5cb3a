"""Counting banking days, against a count by hand of every day."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.execution.module import BankingCalendar, CalendarYear, Roll, business_date, close_of_day_ms

SPRING = CalendarYear(
    frozenset(f"2026-02-{day}" for day in range(15, 24)) | {"2026-01-01"}, frozenset({"2026-02-14", "2026-02-28"})
)
MAINLAND = BankingCalendar([{2026: SPRING}])
HONG_KONG = {2026: CalendarYear(frozenset({"2026-02-17", "2026-02-18", "2026-02-19", "2026-04-03"}), frozenset())}
BOTH = BankingCalendar([{2026: SPRING}, HONG_KONG])

in_2026 = st.dates(datetime.date(2026, 1, 1), datetime.date(2026, 12, 31))


def open_by_hand(day: datetime.date) -> bool:
    text = day.isoformat()
    return text in SPRING.opened or (text not in SPRING.closed and day.weekday() < 5)


@given(in_2026)
def test_a_banking_day_is_a_working_day_that_is_no_holiday_or_a_weekend_that_is_worked(day: datetime.date) -> None:
    assert MAINLAND.is_open(day.isoformat()) == open_by_hand(day)


@given(in_2026, st.integers(1, 60), st.sampled_from([1, -1]))
def test_adding_counts_every_banking_day_and_never_the_first(day: datetime.date, count: int, sign: int) -> None:
    left, current = count, day
    while left and current.year == 2026:
        current += datetime.timedelta(sign)
        left -= current.year == 2026 and open_by_hand(current)
    expected = current.isoformat() if current.year == 2026 else None
    assert MAINLAND.add(day.isoformat(), sign * count) == expected


@given(in_2026, st.integers(1, 200))
def test_counting_gives_back_what_was_added(day: datetime.date, count: int) -> None:
    end = MAINLAND.add(day.isoformat(), count)
    if end is not None:
        assert MAINLAND.count(day.isoformat(), end) == count


@given(in_2026, st.sampled_from(Roll))
def test_a_rolled_date_is_a_banking_day_and_one_that_is_stays(day: datetime.date, rule: Roll) -> None:
    rolled = MAINLAND.roll(day.isoformat(), rule)
    if rolled is None:
        assert day >= datetime.date(2026, 12, 31) or day == datetime.date(2026, 1, 1)
        return
    assert MAINLAND.is_open(rolled)
    if open_by_hand(day):
        assert rolled == day.isoformat()
    elif rule == Roll.MODIFIED_FOLLOWING:
        assert rolled[:7] == day.isoformat()[:7]
    else:
        assert (rolled > day.isoformat()) == (rule == Roll.FOLLOWING)


def test_documents_received_before_the_spring_festival_are_due_after_it() -> None:
    # Friday the 13th; Saturday the 14th is worked; nine days off; Tuesday 24th to Friday 27th.
    assert MAINLAND.add("2026-02-13", 5) == "2026-02-27"
    assert BankingCalendar([HONG_KONG]).add("2026-02-13", 5) == "2026-02-25"
    # Open in both places: the Saturday is worked in one only.
    assert BOTH.add("2026-02-13", 5) == "2026-03-02"


def test_the_end_of_a_month_is_kept_by_the_modified_rule() -> None:
    assert MAINLAND.roll("2026-05-31", Roll.FOLLOWING) == "2026-06-01"
    assert MAINLAND.roll("2026-05-31", Roll.MODIFIED_FOLLOWING) == "2026-05-29"
    assert MAINLAND.roll("2026-05-31", Roll.PRECEDING) == "2026-05-29"


def test_a_year_that_nobody_published_is_unknown_and_not_without_holidays() -> None:
    assert MAINLAND.is_open("2027-01-04") is None
    assert MAINLAND.add("2026-12-30", 1) == "2026-12-31"
    assert MAINLAND.add("2026-12-30", 2) is None
    assert MAINLAND.count("2026-12-30", "2027-01-04") is None
    assert MAINLAND.roll("2027-01-02", Roll.FOLLOWING) is None
    assert BankingCalendar([]).is_open("2026-01-05") is None
    assert BankingCalendar([{2026: SPRING}, {}]).is_open("2026-03-02") is None


def test_a_place_closed_for_more_than_a_month_gives_no_date_instead_of_a_long_search() -> None:
    first = datetime.date(2026, 3, 1)
    closed = frozenset((first + datetime.timedelta(day)).isoformat() for day in range(60))
    assert BankingCalendar([{2026: CalendarYear(closed, frozenset())}]).add("2026-03-01", 1) is None


@pytest.mark.parametrize("days", [0, 367, -367, 10**9])
def test_counts_without_meaning_are_errors(days: int) -> None:
    with pytest.raises(ValueError):
        MAINLAND.add("2026-03-02", days)


@pytest.mark.parametrize("text", ["2026-02-30", "today", "", "2026-2-3"])
def test_what_is_no_date_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        MAINLAND.is_open(text)
    with pytest.raises(ValueError):
        MAINLAND.add(text, 1)
    with pytest.raises(ValueError):
        MAINLAND.roll(text, Roll.FOLLOWING)


def test_a_period_beyond_two_years_or_backwards_is_not_counted() -> None:
    for start, end in (("2026-03-02", "2026-03-01"), ("2026-01-01", "2029-01-01")):
        with pytest.raises(ValueError):
            MAINLAND.count(start, end)


def test_a_day_closes_when_the_next_one_begins_in_the_district() -> None:
    close = close_of_day_ms("2026-03-02")
    assert business_date(close - 1) == "2026-03-02"
    assert business_date(close) == "2026-03-03"
