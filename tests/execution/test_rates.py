"""Interest, discount, shares, tolerances, conversion: exact rationals are the oracle, every result is their floor."""

from __future__ import annotations

import datetime
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.execution.module import (
    PPM,
    RATE_SCALE,
    DayCount,
    Money,
    converted,
    discounted,
    interest,
    share,
    tolerance,
    within_tolerance,
    year_fraction,
)

amounts = st.integers(0, 10**15).map(lambda minor: Money("CNY", minor))
rates = st.integers(0, 2 * PPM)
dates = st.dates(datetime.date(2000, 1, 1), datetime.date(2100, 12, 31))


@given(amounts, rates, dates, dates, st.sampled_from(DayCount))
def test_interest_is_the_exact_amount_rounded_down_once(
    principal: Money, rate: int, one: datetime.date, other: datetime.date, basis: DayCount
) -> None:
    start, end = sorted((one, other))
    if basis == DayCount.THIRTY_E_360:
        days = (end.year - start.year) * 360 + (end.month - start.month) * 30 + min(end.day, 30) - min(start.day, 30)
    else:
        days = (end - start).days
    exact = principal.minor * Fraction(rate, PPM) * Fraction(days, 365 if basis == DayCount.ACT_365 else 360)
    assert interest(principal, rate, start.isoformat(), end.isoformat(), basis).minor == floor(exact)


@pytest.mark.parametrize(
    ("start", "end", "basis", "expected"),
    [
        ("2026-01-31", "2026-02-28", DayCount.ACT_365, (28, 365)),
        ("2026-01-31", "2026-02-28", DayCount.ACT_360, (28, 360)),
        ("2026-01-31", "2026-02-28", DayCount.THIRTY_E_360, (28, 360)),
        ("2026-01-30", "2026-01-31", DayCount.THIRTY_E_360, (0, 360)),
        ("2024-02-28", "2024-03-01", DayCount.ACT_365, (2, 365)),
    ],
)
def test_days_are_counted_as_the_basis_says(start: str, end: str, basis: DayCount, expected: tuple[int, int]) -> None:
    assert year_fraction(start, end, basis) == expected


@given(amounts, rates, dates, st.integers(0, 2_000))
def test_price_and_discount_sum_to_the_face_and_neither_is_negative(
    face: Money, rate: int, day: datetime.date, days: int
) -> None:
    end = (day + datetime.timedelta(days)).isoformat()
    price, discount = discounted(face, rate, day.isoformat(), end, DayCount.ACT_360)
    assert price + discount == face
    assert price.minor >= 0 and discount.minor >= 0


@given(amounts, st.integers(0, PPM), st.integers(0, PPM), st.integers(-3, 3))
def test_the_limits_of_a_tolerance_are_the_last_amounts_inside_it(
    agreed: Money, minus: int, plus: int, off: int
) -> None:
    low, high = tolerance(agreed, minus_ppm=minus, plus_ppm=plus)
    exact_low, exact_high = agreed.minor * Fraction(PPM - minus, PPM), agreed.minor * Fraction(PPM + plus, PPM)
    for limit in (low, high):
        actual = Money("CNY", limit.minor + off)
        inside = exact_low <= actual.minor <= exact_high
        assert within_tolerance(agreed, actual, minus_ppm=minus, plus_ppm=plus) == inside


@given(amounts, st.integers(0, 3 * PPM))
def test_a_share_is_rounded_down(amount: Money, ppm: int) -> None:
    assert share(amount, ppm).minor == floor(amount.minor * Fraction(ppm, PPM))


@given(amounts, st.integers(0, 10**12), st.integers(0, 4), st.integers(0, 4))
def test_a_conversion_counts_the_decimal_places_of_both_currencies(
    amount: Money, rate: int, places: int, to_places: int
) -> None:
    exact = Fraction(amount.minor, 10**places) * Fraction(rate, RATE_SCALE) * 10**to_places
    assert converted(amount, "JPY", rate, places=places, to_places=to_places) == Money("JPY", floor(exact))


def test_a_hundred_yuan_in_yen_and_dinar() -> None:
    hundred = Money("CNY", 100_00)
    assert converted(hundred, "JPY", 21_12345678, places=2, to_places=0) == Money("JPY", 2_112)
    assert converted(hundred, "KWD", 4321000, places=2, to_places=3) == Money("KWD", 4_321)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: interest(Money("CNY", -1), 1, "2026-01-01", "2026-01-02", DayCount.ACT_365),
        lambda: interest(Money("CNY", 1), -1, "2026-01-01", "2026-01-02", DayCount.ACT_365),
        lambda: interest(Money("CNY", 1), 1, "2026-01-02", "2026-01-01", DayCount.ACT_365),
        lambda: interest(Money("CNY", 1), 1, "2026-02-30", "2026-03-01", DayCount.THIRTY_E_360),
        lambda: share(Money("CNY", 1), -1),
        lambda: tolerance(Money("CNY", 1), minus_ppm=PPM + 1, plus_ppm=0),
        lambda: tolerance(Money("CNY", 1), minus_ppm=0, plus_ppm=-1),
        lambda: converted(Money("CNY", 1), "HKD", -1, places=2, to_places=2),
        lambda: converted(Money("CNY", 1), "HKD", 1, places=2, to_places=7),
        lambda: within_tolerance(Money("CNY", 1), Money("HKD", 1), minus_ppm=0, plus_ppm=0),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_an_error_and_not_a_number(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        wrong()
