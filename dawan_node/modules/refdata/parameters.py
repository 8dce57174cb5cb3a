"""Policy parameters: limits, days and rates that a law, a regulator or the alliance sets (domain.md 1.5).

Each has a unit, bounds, and a first value that holds from the beginning of the channel until a resolution dates
another. The values are integers: money in fen, rates and tolerances in parts per million, time in milliseconds or days.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

HOUR_MS: Final = 3_600_000
#: No key can be voted beyond this: a thousand such amounts still sum to less than 2^63.
VALUE_MAX: Final = 10**15
_FEN: Final = "fen (CNY 0.01)"
_PPM: Final = "parts per million"


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """Unit, bounds (both included) and first value of a parameter, and what it limits."""

    unit: str
    least: int
    greatest: int
    first: int
    meaning: str


def _spec(first: int, unit: str, meaning: str, least: int = 0, greatest: int = VALUE_MAX) -> ParameterSpec:
    return ParameterSpec(unit, least, greatest, first, meaning)


PARAMETERS: Final = MappingProxyType(
    {
        "breakglass.review": _spec(72 * HOUR_MS, "ms", "an emergency access to a health record is reviewed", 1),
        "cargo.insured.min": _spec(1_100_000, _PPM, "least insured value, of the CIF or CIP value", 0, 10_000_000),
        "delay.dispute": _spec(24 * HOUR_MS, "ms", "a delay statement can be disputed"),
        "delay.sources": _spec(2, "sources", "sources that must agree on a delay (carrier and terminal)", 1, 32),
        "equity.max_holders": _spec(200, "holders", "holders of a mainland company that is not public", 1),
        "health.prepare": _spec(72 * HOUR_MS, "ms", "a record asked for is made ready", 1),
        "health.window": _spec(3, "years", "how far back a health record is given", 1, 100),
        "lc.exam.banking_days": _spec(5, "banking days", "examination of a presentation, UCP 600 article 14 b", 1, 366),
        "lc.presentation_days": _spec(21, "days", "presentation after shipment, UCP 600 article 14 c", 1, 366),
        "lc.tolerance.about": _spec(100_000, _PPM, '"about" or "approximately", UCP 600 article 30 a', 0, 1_000_000),
        "lc.tolerance.quantity": _spec(50_000, _PPM, "quantity without a number of units, article 30 b", 0, 1_000_000),
        "lc.unpaid.days": _spec(7, "days", "an unpaid claim's documents can be called back after its due date", 1, 366),
        "lock.ttl": _spec(72 * HOUR_MS, "ms", "an exclusive lock ends by itself", 60_000, 366 * 24 * HOUR_MS),
        "motor.compulsory.limit": _spec(20_000_000, _FEN, "compulsory cross-border motor insurance"),
        "proof.min_life": _spec(600_000, "ms", "life a proof must have left when it is consumed", 1_000, 24 * HOUR_MS),
        "refund.cash_max": _spec(2_000_000, _FEN, "largest tax refund in cash"),
        "refund.leave_days": _spec(90, "days", "a visitor leaves after buying", 1, 366),
        "refund.min": _spec(20_000, _FEN, "least purchase with a tax refund"),
        "refund.rate": _spec(110_000, _PPM, "tax refund of the purchase", 0, 1_000_000),
        "refund.resident_days": _spec(183, "days", "a stay that makes a resident", 1, 366),
        "statistics.k_min": _spec(10, "persons", "smallest group a statistic shows", 2, 10_000),
        "statuslist.min_bits": _spec(131_072, "bits", "smallest credential status list", 1, 16_777_216),
        "title.answer.days": _spec(
            14, "days", "a carrier answers a surrender, over the longest public holiday", 1, 366
        ),
        "title.departure.days": _spec(
            30, "days", "notice of a court's order who succeeds an organisation that left", 1, 366
        ),
        "voucher.split.max_depth": _spec(8, "levels", "a voucher is split", 1, 32),
        "voucher.split.min_face": _spec(100_000, _FEN, "smallest part of a voucher", 1),
        "voucher.term.hard": _spec(12, "months", "longest term of a voucher, six-agency Notice of 2025", 1, 120),
        "voucher.term.soft": _spec(6, "months", "term beyond which a voucher is flagged, same Notice", 1, 120),
    }
)
