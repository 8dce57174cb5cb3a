"""What policy sets: limits on vouchers, the grace of a rediscount, the time of an answer.

Governed where the channel runs ``refdata``; elsewhere the first values hold.

domain.md 1.5. Nothing else of the module depends on ``refdata``, so a channel may run receivables without it. As long
as the alliance votes no other value, the two give the same answer (tests compare constants and first values).
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import CURRENCIES, Context
from dawan_node.modules.refdata import parameter

#: Six-agency Notice in force since 15 June 2025: six months in principle, never more than a year (domain.md 0, 1.5).
TERM_MONTHS_SOFT: Final = 6
TERM_MONTHS_HARD: Final = 12
#: domain.md 1.5: eight tiers, and no part below 1,000 whole units of its currency.
SPLIT_DEPTH_MAX: Final = 8
MIN_FACE_FEN: Final = 100_000
_FEN_PER_UNIT: Final = 100

#: So many days after the day of the buy-back a rediscount waits for it, as long as a pledge of titles waits.
REDISCOUNT_GRACE_DAYS: Final = 30
#: So many days a payee has to confirm or deny a payment that was announced to it, as long as a carrier has to answer a
#: surrender: longer than the longest public holiday of the region.
ANSWER_DAYS: Final = 14
#: What is voted counts up to ten years: a later day may lie beyond the last date there is.
GRACE_DAYS_MAX: Final = 3_650


def soft_term_months(ctx: Context) -> int:
    """The term beyond which a voucher is flagged for review."""
    return _governed(ctx, "voucher.term.soft", TERM_MONTHS_SOFT)


def hard_term_months(ctx: Context) -> int:
    """The longest term."""
    return _governed(ctx, "voucher.term.hard", TERM_MONTHS_HARD)


def split_depth_max(ctx: Context) -> int:
    """How often a voucher and its parts may be split."""
    return _governed(ctx, "voucher.split.max_depth", SPLIT_DEPTH_MAX)


def min_face_minor(ctx: Context, currency: str) -> int:
    """The smallest part in minor units of its currency: as many whole units of it as the parameter has of yuan."""
    subunits: int = 10 ** CURRENCIES[currency]
    return _governed(ctx, "voucher.split.min_face", MIN_FACE_FEN) * subunits // _FEN_PER_UNIT


def rediscount_grace_days(ctx: Context) -> int:
    """How long after the day of the buy-back neither side may end a rediscount without it."""
    voted = _governed(ctx, "receivable.rediscount.grace", REDISCOUNT_GRACE_DAYS)
    return min(max(voted, 0), GRACE_DAYS_MAX)


def answer_days(ctx: Context) -> int:
    """How long nobody speaks in the place of a payee that is silent; a day at least."""
    voted = _governed(ctx, "receivable.answer.days", ANSWER_DAYS)
    return min(max(voted, 1), GRACE_DAYS_MAX)


def _governed(ctx: Context, key: str, without_refdata: int) -> int:
    return parameter(ctx, key, without_refdata) if ctx.runs("refdata") else without_refdata
