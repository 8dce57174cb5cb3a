"""Money as integers: an amount is ``[currency, minor_units]`` and never a float (design section 4).

The currency table is consensus data: two nodes with different tables would disagree about a payment. It lives in the
code of this version and changes only with a new SDK version that the channel activates; ISO 4217 libraries are not
asked, because their releases differ between nodes (domain.md 1.1). CNH is not an ISO code: offshore renminbi is CNY
with a market tag in the module that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import msgspec

#: Currency -> number of decimal places of its minor unit (ISO 4217, amendment 177). The currencies the alliance's
#: members invoice in: the three of the Greater Bay Area, their main trading partners', and JPY, KRW, VND (no minor
#: unit) and KWD, BHD (three places), without which code that assumes two places would never be found out.
CURRENCIES: Final = MappingProxyType(
    {
        "AED": 2, "AUD": 2, "BHD": 3, "BRL": 2, "CAD": 2, "CHF": 2, "CNY": 2, "CZK": 2, "DKK": 2, "EUR": 2,
        "GBP": 2, "HKD": 2, "HUF": 2, "IDR": 2, "INR": 2, "JPY": 0, "KRW": 0, "KWD": 3, "MOP": 2, "MXN": 2,
        "MYR": 2, "NOK": 2, "NZD": 2, "PHP": 2, "PLN": 2, "RON": 2, "SAR": 2, "SEK": 2, "SGD": 2, "THB": 2,
        "TRY": 2, "TWD": 2, "USD": 2, "VND": 0, "ZAR": 2,
    }
)  # fmt: skip


class CurrencyMismatch(ValueError):
    """Two currencies in one sum: the module should have refused before."""


class Money(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """An amount in the minor unit of its currency. Arithmetic is exact and refuses to mix currencies.

    The constructor checks nothing: a value from a transaction may name an unknown currency, and the module answers
    that with its own error after ``is_known``.
    """

    currency: str
    minor: int

    def is_known(self) -> bool:
        """Whether the currency is in the table."""
        return self.currency in CURRENCIES

    def __add__(self, other: Money) -> Money:
        return Money(self.currency, self.minor + self._same(other))

    def __sub__(self, other: Money) -> Money:
        return Money(self.currency, self.minor - self._same(other))

    def __neg__(self) -> Money:
        return Money(self.currency, -self.minor)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other)

    def scaled(self, numerator: int, denominator: int) -> Money:
        """``floor(amount * numerator / denominator)``; for rates: ``scaled(rate_ppm, 1_000_000)``."""
        return Money(self.currency, self.minor * numerator // denominator)

    def allocate(self, weights: Sequence[int]) -> tuple[Money, ...]:
        """Parts in proportion to ``weights`` that sum to this amount exactly: floors, and the last part that has a
        weight takes the rest, so that nobody without a share is paid."""
        total = sum(weights)
        if total <= 0 or min(weights) < 0:
            raise ValueError("weights are not negative and have a positive sum")
        floors = [self.minor * weight // total for weight in weights]
        last = max(position for position, weight in enumerate(weights) if weight)
        floors[last] += self.minor - sum(floors)
        return tuple([Money(self.currency, part) for part in floors])

    def decimal(self) -> str:
        """``"1234.50"``: the amount as people write it. Raises KeyError for an unknown currency."""
        places = CURRENCIES[self.currency]
        sign = "-" if self.minor < 0 else ""
        digits = str(abs(self.minor)).rjust(places + 1, "0")
        return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return other.minor


def total(currency: str, amounts: Sequence[Money]) -> Money:
    """The sum of ``amounts``, all of ``currency``; zero of it for an empty list. Raises CurrencyMismatch."""
    return sum(amounts, start=Money(currency, 0))
