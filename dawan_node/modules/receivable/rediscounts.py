"""Rediscount: a bank sells what it bought once more, to a branch of the central bank, and buys it back on a day.

Vouchers and invoices that the bank bought and still has (DISCOUNT, FACTORING, FORFAIT) qualify; a pledge does not, for
it goes back to its borrower whenever the loan is repaid. From submission until the bank has paid the branch back, all
assets are locked: they can be neither moved, split, sold again nor claimed back from the seller. They can be *paid*:
the holder at maturity is the payee, and the bank then owes the branch the money instead.

A rediscount that is not bought back in time is ended by either side (``forfeitures``).

The price is the amount less the discount for the agreed days, actual days over 360 as the central bank counts, rounded
down once; it does not depend on the day of funding. The buy-back may be earlier; the discount stays the branch's.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import (
    PPM,
    Args,
    Context,
    DayCount,
    Meta,
    Money,
    ShortText,
    add_days,
    discounted,
    key_of,
    replace,
)
from dawan_node.modules.receivable.assets import NO_END_MS, due_date_of, lock_of, put_lock
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.checks import (
    active_party_with,
    check_amount,
    existing_financing,
    existing_rediscount,
    existing_voucher,
    financing_of_sender,
    reference,
)
from dawan_node.modules.receivable.declaration import (
    RediscountAccepted,
    RediscountEnded,
    RediscountFunded,
    RediscountRepaid,
    RediscountSubmitted,
    VoucherLocked,
    VoucherReleased,
    module,
)
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    Financing,
    FinancingKind,
    FinancingState,
    Lock,
    LockPurpose,
    VoucherState,
)
from dawan_node.modules.receivable.financing import FinancingRef, Rate
from dawan_node.modules.receivable.forfeitures import pay_rest
from dawan_node.modules.receivable.freezes import require_asset_unfrozen
from dawan_node.modules.receivable.related import AcceptsRelated, require_taken
from dawan_node.modules.receivable.supervised import Rediscount, RediscountState

#: One rediscount touches so many assets at most, far inside the step budget.
ASSETS_MAX: Final = 32
#: The longest asset runs a year.
DAYS_MAX: Final = 366

_BOUGHT: Final = (FinancingKind.DISCOUNT, FinancingKind.FACTORING, FinancingKind.FORFAIT)
_UNFUNDED: Final = (RediscountState.SUBMITTED, RediscountState.ACCEPTED)

RediscountRef = Annotated[str, Meta(min_length=1, max_length=80, description="rediscount id: bank/number")]


class SubmitRediscount(Args):
    """``amount`` is what the bank pays back after ``days``; the branch pays out less by the discount."""

    number: ShortText
    branch: ShortText
    financings: Annotated[list[FinancingRef], Meta(min_length=1, max_length=ASSETS_MAX)]
    amount: Money
    rate_ppm: Rate
    days: Annotated[int, Meta(ge=1, le=DAYS_MAX)]


class OneRediscount(Args):
    rediscount: RediscountRef


class AcceptRediscount(Args):
    """``related``: the branch takes receivables between parties of one organisation."""

    rediscount: RediscountRef
    related: AcceptsRelated = False


class RejectRediscount(Args):
    rediscount: RediscountRef
    reason: ShortText


class PayRediscount(Args):
    rediscount: RediscountRef
    cash: Cash


@module.command("submit_rediscount", args=SubmitRediscount, roles=("bank",))
def submit_rediscount(ctx: Context, args: SubmitRediscount) -> None:
    """A bank offers what it bought to a branch of the central bank; the assets are locked at once."""
    bank = ctx.sender.name
    rediscount = f"{bank}/{reference(ctx, args.number)}"
    ctx.require(ctx.get(Rediscount, key_of(rediscount)) is None, "E_DUP_REDISCOUNT")
    branch = active_party_with(ctx, args.branch, "pboc")
    # The branch supervises the bank: it is never the same house.
    ctx.require(branch.org != ctx.sender.org, "E_SELF_DEALING")
    check_amount(ctx, args.amount)
    ctx.require(0 <= args.rate_ppm <= PPM, "E_RATE")
    today = ctx.business_date
    price, _ = discounted(args.amount, args.rate_ppm, today, add_days(today, args.days), DayCount.ACT_360)
    ctx.require(price.minor > 0, "E_RATE")
    lock = Lock(rediscount, LockPurpose.REDISCOUNT, NO_END_MS)
    worth = 0
    for each in args.financings:
        financing = _of_bank(ctx, each, args.amount.currency)
        # A financing named twice finds its own lock here.
        _require_free(ctx, financing, add_days(today, args.days))
        require_asset_unfrozen(ctx, financing)
        worth += financing.outstanding_minor
        put_lock(ctx, financing, lock)
        if not financing.presented:
            ctx.emit(VoucherLocked(voucher=financing.asset, owner=rediscount, until_ms=lock.until_ms))
    ctx.require(args.amount.minor <= worth, "E_PRINCIPAL")
    ctx.put(
        Rediscount(
            rediscount=rediscount,
            bank=bank,
            branch=branch.name,
            financings=tuple(args.financings),
            amount=args.amount,
            rate_ppm=args.rate_ppm,
            days=args.days,
            price_minor=price.minor,
            value_date="",
            maturity="",
            state=RediscountState.SUBMITTED,
            reason="",
        )
    )
    ctx.emit(RediscountSubmitted(rediscount=rediscount, branch=branch.name, amount=args.amount))


@module.command("accept_rediscount", args=AcceptRediscount, roles=("pboc",))
def accept_rediscount(ctx: Context, args: AcceptRediscount) -> None:
    """The branch takes the offer; a settlement bank then attests that it paid."""
    found = _of_branch(ctx, args.rediscount)
    ctx.require(found.state == RediscountState.SUBMITTED, "E_REDISCOUNT_STATE")
    for each in found.financings:
        require_taken(ctx, existing_financing(ctx, each), args.related)
    ctx.put(replace(found, state=RediscountState.ACCEPTED))
    ctx.emit(RediscountAccepted(rediscount=found.rediscount, price=Money(found.amount.currency, found.price_minor)))


@module.command("reject_rediscount", args=RejectRediscount, roles=("pboc",))
def reject_rediscount(ctx: Context, args: RejectRediscount) -> None:
    """The branch declines, also what it accepted and did not pay yet; the assets are free again."""
    found = _of_branch(ctx, args.rediscount)
    ctx.require(found.state in _UNFUNDED, "E_REDISCOUNT_STATE")
    _end(ctx, replace(found, reason=args.reason), RediscountState.REJECTED)
    ctx.emit(RediscountEnded(rediscount=found.rediscount, state=RediscountState.REJECTED))


@module.command("withdraw_rediscount", args=OneRediscount, roles=("bank",))
def withdraw_rediscount(ctx: Context, args: OneRediscount) -> None:
    """The bank takes its offer back before it is paid; the assets are free again."""
    found = existing_rediscount(ctx, args.rediscount)
    ctx.require(found.bank == ctx.sender.name, "E_NOT_PARTY")
    ctx.require(found.state in _UNFUNDED, "E_REDISCOUNT_STATE")
    _end(ctx, found, RediscountState.WITHDRAWN)
    ctx.emit(RediscountEnded(rediscount=found.rediscount, state=RediscountState.WITHDRAWN))


@module.command("fund_rediscount", args=PayRediscount, roles=SETTLEMENT_ROLES)
def fund_rediscount(ctx: Context, args: PayRediscount) -> None:
    """The settlement bank attests that the branch paid the bank the price; the days run from today.

    Refused when an asset was paid meanwhile: the bank withdraws the offer, or the branch rejects it.
    """
    found = existing_rediscount(ctx, args.rediscount)
    ctx.require(found.state == RediscountState.ACCEPTED, "E_REDISCOUNT_STATE")
    maturity = add_days(ctx.business_date, found.days)
    worth = 0
    for each in found.financings:
        financing = existing_financing(ctx, each)
        # Whoever owes on the asset may have paid since the offer: then there is nothing left to sell.
        ctx.require(financing.state == FinancingState.FUNDED, "E_FINANCING_STATE")
        ctx.require(lock_of(ctx, financing).owner == found.rediscount, "E_LOCK_EXPIRED")
        ctx.require(maturity <= due_date_of(ctx, financing), "E_MATURITY")
        require_asset_unfrozen(ctx, financing)
        worth += financing.outstanding_minor
    ctx.require(found.amount.minor <= worth, "E_PRINCIPAL")
    price = Money(found.amount.currency, found.price_minor)
    if not use_cash(
        ctx,
        args.cash,
        payer=found.branch,
        payee=found.bank,
        due=price,
        purpose="rediscount",
        subject=found.rediscount,
        command="fund_rediscount",
        record=found.rediscount,
    ):
        return
    funded = replace(found, state=RediscountState.FUNDED, value_date=args.cash.value_date, maturity=maturity)
    ctx.put(funded)
    ctx.emit(RediscountFunded(rediscount=found.rediscount, price=price, maturity=maturity))


@module.command("repay_rediscount", args=PayRediscount, roles=SETTLEMENT_ROLES)
def repay_rediscount(ctx: Context, args: PayRediscount) -> None:
    """The settlement bank attests that the bank paid the branch back, and what is not settled yet is the bank's again;
    or, after the rediscount was ended without it, that one side paid the other the rest."""
    found = existing_rediscount(ctx, args.rediscount)
    if found.state == RediscountState.FORFEITED:
        pay_rest(ctx, found, args.cash)
        return
    ctx.require(found.state == RediscountState.FUNDED, "E_REDISCOUNT_STATE")
    if not use_cash(
        ctx,
        args.cash,
        payer=found.bank,
        payee=found.branch,
        due=found.amount,
        purpose="buy_back",
        subject=found.rediscount,
        command="repay_rediscount",
        record=found.rediscount,
    ):
        return
    _end(ctx, found, RediscountState.REPAID)
    ctx.emit(RediscountRepaid(rediscount=found.rediscount, amount=found.amount))


def _of_bank(ctx: Context, financing: str, currency: str) -> Financing:
    """A financing whose asset the sender bought, in the currency of the rediscount, and for which it is still owed."""
    found = financing_of_sender(ctx, financing)
    ctx.require(found.kind in _BOUGHT, "E_FINANCING_KIND")
    ctx.require(found.state == FinancingState.FUNDED, "E_FINANCING_STATE")
    ctx.require(found.principal.currency == currency, "E_CURRENCY_MISMATCH")
    return found


def _of_branch(ctx: Context, rediscount: str) -> Rediscount:
    found = existing_rediscount(ctx, rediscount)
    ctx.require(found.branch == ctx.sender.name, "E_NOT_BRANCH")
    return found


def _require_free(ctx: Context, financing: Financing, maturity: str) -> None:
    """The bank has the asset to itself, and it falls due no sooner than the rediscount."""
    ctx.require(not lock_of(ctx, financing).is_live(ctx.time_ms), "E_LOCKED")
    if not financing.presented:
        voucher = existing_voucher(ctx, financing.asset)
        ctx.require(voucher.holder == financing.financier and voucher.pledge == "", "E_NOT_HOLDER")
        ctx.require(voucher.state == VoucherState.ACTIVE, "E_VOUCHER_STATE")
    ctx.require(maturity <= due_date_of(ctx, financing), "E_MATURITY")


def _end(ctx: Context, found: Rediscount, state: RediscountState) -> None:
    """Give up the locks that the rediscount still has; a voucher that was paid meanwhile has none."""
    for each in found.financings:
        financing = existing_financing(ctx, each)
        if lock_of(ctx, financing).owner == found.rediscount:
            put_lock(ctx, financing, NO_LOCK)
            if not financing.presented:
                ctx.emit(VoucherReleased(voucher=financing.asset, owner=found.rediscount))
    ctx.put(replace(found, state=state))
