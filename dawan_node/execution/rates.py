"""Interest, discount, shares, tolerances and conversion of money, in integers with one rounding rule.

**The rule** (domain.md 1.1): a result is the exact rational number rounded **down** to the minor unit, once, at the
end. Nothing is rounded on the way: rate, days and base are multiplied before the one division. Where an amount is split
into lines, every line is rounded down and the last line that has a share takes what remains, so the lines always sum
to the amount (``Money.allocate``). A limit from below is the one thing rounded up: rounding it down would let something
pass that is below it.

Rates are parts per million (``120_000`` is 12 %), exchange rates are integers of 10^-8. Amounts are not negative here:
"down" means another thing for a debt than for a claim, so the caller says whose money it is.

Raises ValueError on a negative amount, rate or period and CurrencyMismatch on mixed currencies: a module checks what a
transaction brings before it calculates.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from dawan_node.execution.dates import day_number, days_between
from dawan_node.execution.money import Money

PPM: Final = 1_000_000
#: One in an exchange rate: CNY per HKD of 0.92345678 is the integer 92_345_678.
RATE_SCALE: Final = 10**8


class DayCount(StrEnum):
    """How many days a period has of a year of how many (ISDA 2006 section 4.16; [K], domain.md)."""

    #: Actual days over 365: HKD, MOP, and what this alliance's modules use when nothing is said.
    ACT_365 = "ACT/365"
    #: Actual days over 360: CNY loans, USD, EUR.
    ACT_360 = "ACT/360"
    #: Every month has 30 days, a 31st counts as the 30th.
    THIRTY_E_360 = "30E/360"


def year_fraction(start: str, end: str, basis: DayCount) -> tuple[int, int]:
    """Days from ``start`` to ``end`` and days of the year, as the basis counts them. Raises ValueError."""
    if basis == DayCount.THIRTY_E_360:
        day_number(start), day_number(end)
        days = _thirty(end) - _thirty(start)
    else:
        days = days_between(start, end)
    if days < 0:
        raise ValueError("the period ends before it begins")
    return days, 365 if basis == DayCount.ACT_365 else 360


def interest(principal: Money, rate_ppm: int, start: str, end: str, basis: DayCount) -> Money:
    """Simple interest from ``start`` (counted) to ``end`` (not counted) at ``rate_ppm`` a year, rounded down."""
    days, year = year_fraction(start, end, basis)
    _require(principal, rate_ppm)
    return principal.scaled(rate_ppm * days, PPM * year)


def discounted(face: Money, rate_ppm: int, start: str, end: str, basis: DayCount) -> tuple[Money, Money]:
    """What a buyer pays today for ``face`` due at ``end``, and the discount it keeps: a bill discount on the face.

    The discount is rounded down; both sum to the face. The price is zero when the discount would exceed the face.
    """
    discount = interest(face, rate_ppm, start, end, basis)
    if discount > face:
        discount = face
    return face - discount, discount


def share(amount: Money, ppm: int) -> Money:
    """``ppm`` parts per million of ``amount``, rounded down: an advance rate, a fee, a refund."""
    _require(amount, ppm)
    return amount.scaled(ppm, PPM)


def within_tolerance(agreed: Money, actual: Money, *, minus_ppm: int, plus_ppm: int) -> bool:
    """Whether ``actual`` lies between ``agreed`` less and plus the tolerances, both limits included."""
    low, high = tolerance(agreed, minus_ppm=minus_ppm, plus_ppm=plus_ppm)
    return low <= actual <= high


def tolerance(agreed: Money, *, minus_ppm: int, plus_ppm: int) -> tuple[Money, Money]:
    """The least and the greatest amount ``agreed`` allows; the least is rounded up, the greatest down."""
    _require(agreed, minus_ppm)
    if plus_ppm < 0 or minus_ppm > PPM:
        raise ValueError("a tolerance is not negative and takes away no more than all")
    return agreed - agreed.scaled(minus_ppm, PPM), agreed.scaled(PPM + plus_ppm, PPM)


def converted(amount: Money, to: str, rate: int, *, places: int, to_places: int) -> Money:
    """``amount`` in the currency ``to``, rounded down. ``rate``: units of ``to`` for one unit of the amount's currency,
    times ``RATE_SCALE``; ``places``: decimal places of the two currencies (reference data, never assumed to be 2)."""
    _require(amount, rate)
    if not (0 <= places <= 6 and 0 <= to_places <= 6):
        raise ValueError("currencies have 0 to 6 decimal places")
    return Money(to, amount.minor * rate * 10**to_places // (RATE_SCALE * 10**places))


def _require(amount: Money, factor: int) -> None:
    if amount.minor < 0 or factor < 0:
        raise ValueError("amounts and rates are not negative here")


def _thirty(date: str) -> int:
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
    return year * 360 + month * 30 + min(day, 30)
