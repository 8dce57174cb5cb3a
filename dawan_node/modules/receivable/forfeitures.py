"""Rediscounts that nobody bought back: after a time of grace either side ends them, and what was paid stays paid.

A rediscount is ended by the attested buy-back, so a bank that falls silent would keep a branch waiting, and its own
assets bound, for ever. Some days after the day of the buy-back (``terms``) bank or branch may end it, alone:

- what was attested decides the money. The branch paid its price; nothing came back; ``amount`` is owed;
- the assets that nobody paid yet pass to the branch, which paid for them, and count for what they will bring. A bank
  that does not pay never gets them back, whoever ends it; the purchases they came from are over, as when a bank sells
  on what it bought. But an asset that its own debtor did not pay when it was due is no payment: while there is one only
  the branch ends it, if it wants the claim; the bank buys back;
- what was paid meanwhile was paid to the bank and does not count;
- the difference stands on the record as owed by one to the other, and an attested payment of exactly it closes all.

So ``amount`` + what the branch owes = what passed + what the bank owes, to the cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from dawan_node.execution.module import (
    Args,
    Context,
    Meta,
    Money,
    Page,
    Params,
    QueryContext,
    ShortText,
    add_days,
    key_of,
    replace,
)
from dawan_node.modules.receivable.assets import due_date_of, lock_of, put_lock
from dawan_node.modules.receivable.cash import Cash, use_cash
from dawan_node.modules.receivable.checks import (
    existing_financing,
    existing_invoice,
    existing_rediscount,
    existing_voucher,
)
from dawan_node.modules.receivable.declaration import (
    RediscountForfeited,
    RediscountRepaid,
    VoucherReleased,
    VoucherTransferred,
    module,
)
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    CashReference,
    Financing,
    FinancingState,
    Invoice,
    InvoiceState,
    Voucher,
)
from dawan_node.modules.receivable.freezes import require_unfrozen, require_voucher_unfrozen
from dawan_node.modules.receivable.repayment import reduce_outstanding
from dawan_node.modules.receivable.supervised import Forfeiture, Rediscount, RediscountState
from dawan_node.modules.receivable.terms import rediscount_grace_days


class EndRediscount(Args):
    rediscount: Annotated[str, Meta(min_length=1, max_length=80, description="rediscount id: bank/number")]


class ForfeitureOf(Params):
    rediscount: ShortText


@module.command("end_rediscount", args=EndRediscount, roles=("bank", "pboc"))
def end_rediscount(ctx: Context, args: EndRediscount) -> None:
    """Bank or branch ends a rediscount that was not bought back in time; unpaid assets pass to the branch."""
    found = existing_rediscount(ctx, args.rediscount)
    ctx.require(ctx.sender.name in (found.bank, found.branch), "E_NOT_PARTY")
    ctx.require(found.state == RediscountState.FUNDED, "E_REDISCOUNT_STATE")
    ctx.require(ctx.business_date > add_days(found.maturity, rediscount_grace_days(ctx)), "E_NOT_DUE")
    worth = [(each, _pass_to_branch(ctx, found, existing_financing(ctx, each))) for each in found.financings]
    passed = sum([minor for _, minor in worth])
    short = found.amount.minor - passed
    debtor, creditor = (found.bank, found.branch) if short > 0 else (found.branch, found.bank)
    ended = Forfeiture(
        rediscount=found.rediscount,
        ended_by=ctx.sender.name,
        ended_date=ctx.business_date,
        passed=tuple([each for each, minor in worth if minor]),
        passed_minor=passed,
        owed_by=debtor if short else "",
        owed_to=creditor if short else "",
        owed_minor=abs(short),
    )
    ctx.put(ended)
    ctx.put(replace(found, state=RediscountState.FORFEITED if short else RediscountState.CLOSED))
    currency = found.amount.currency
    ctx.emit(
        RediscountForfeited(
            rediscount=found.rediscount,
            by=ctx.sender.name,
            passed=Money(currency, passed),
            owed_by=ended.owed_by,
            owed=Money(currency, ended.owed_minor),
        )
    )


def pay_rest(ctx: Context, found: Rediscount, cash: Cash) -> None:
    """What one side of an ended rediscount owes the other is paid, and all is over."""
    ended = ctx.get(Forfeiture, key_of(found.rediscount))
    assert ended is not None, "the command that forfeits a rediscount writes it"
    rest = Money(found.amount.currency, ended.owed_minor)
    if not use_cash(
        ctx,
        cash,
        payer=ended.owed_by,
        payee=ended.owed_to,
        due=rest,
        purpose="rest",
        subject=found.rediscount,
        command="repay_rediscount",
        record=found.rediscount,
    ):
        return
    ctx.put(replace(found, state=RediscountState.CLOSED))
    ctx.emit(RediscountRepaid(rediscount=found.rediscount, amount=rest))


@module.query("forfeiture", params=ForfeitureOf, item=Forfeiture)
def forfeiture(ctx: QueryContext, params: ForfeitureOf, limit: int, cursor: bytes | None) -> Page[Any]:
    """How a rediscount ended that was not bought back: what passed to the branch, and who owes how much."""
    found = ctx.get(Forfeiture, key_of(params.rediscount))
    return Page(() if found is None else (found,), None)


@module.invariant("forfeitures_balance")
def forfeitures_balance(ctx: QueryContext) -> Iterator[str]:
    """An ended rediscount was paid out and not back, its assets and the debt make up its amount, and the debt is paid
    once."""
    for found in ctx.iterate(Rediscount, "by_bank"):
        ended = ctx.get(Forfeiture, key_of(found.rediscount))
        over = found.state in (RediscountState.FORFEITED, RediscountState.CLOSED)
        if over != (ended is not None):
            yield f"{found.rediscount} is {found.state} and {'not ' if ended is None else ''}forfeited"
        if ended is None:
            continue
        passed = sum([_worth(ctx, each) for each in ended.passed])
        by_bank = ended.owed_minor if ended.owed_by == found.bank else 0
        by_branch = ended.owed_minor if ended.owed_by == found.branch else 0
        if passed != ended.passed_minor or found.amount.minor + by_branch != passed + by_bank:
            yield (
                f"{found.rediscount} of {found.amount.minor}: {passed} passed, {ended.passed_minor} by the record, "
                f"{by_bank} owed by the bank and {by_branch} by the branch"
            )
        rest = ctx.iterate(CashReference, "by_subject", (found.rediscount, "rest"))
        paid = [(cash.payer, cash.payee, cash.amount.minor) for cash in rest]
        due = [(ended.owed_by, ended.owed_to, ended.owed_minor)] if ended.owed_minor else []
        if paid != (due if found.state == RediscountState.CLOSED else []):
            yield f"{found.rediscount} is {found.state} with {paid} paid of {due}"
        for each in ended.passed:
            financing = ctx.get(Financing, key_of(each))
            if financing is None or financing.state != FinancingState.REPAID:
                yield f"{each} passed to {found.branch} and is not over for {found.bank}"


def _pass_to_branch(ctx: Context, found: Rediscount, financing: Financing) -> int:
    """The asset of one purchase becomes the branch's; what it will bring, 0 when it was paid already."""
    if lock_of(ctx, financing).owner != found.rediscount:
        return 0
    worth = financing.outstanding_minor
    if financing.presented:
        invoice = existing_invoice(ctx, financing.asset)
        if invoice.state == InvoiceState.SETTLED:
            put_lock(ctx, financing, NO_LOCK)
            return 0
        _require_worth_it(ctx, found, financing)
        require_unfrozen(ctx, invoice.invoice)
        ctx.put(replace(invoice, payee=found.branch, lock=NO_LOCK))
    else:
        voucher = existing_voucher(ctx, financing.asset)
        _require_worth_it(ctx, found, financing)
        require_voucher_unfrozen(ctx, voucher.voucher)
        ctx.put(replace(voucher, holder=found.branch, discount="", transfers=voucher.transfers + 1, lock=NO_LOCK))
        ctx.emit(VoucherReleased(voucher=voucher.voucher, owner=found.rediscount))
        ctx.emit(VoucherTransferred(voucher=voucher.voucher, from_holder=found.bank, to_holder=found.branch))
    reduce_outstanding(ctx, financing.financing, worth)
    return worth


def _require_worth_it(ctx: Context, found: Rediscount, financing: Financing) -> None:
    """What its debtor did not pay when it was due only the branch takes for its face. Fails with E_MATURED."""
    taken = ctx.sender.name == found.branch
    ctx.require(taken or ctx.business_date <= due_date_of(ctx, financing), "E_MATURED")


def _worth(ctx: QueryContext, financing_id: str) -> int:
    """What the asset of a purchase brings its holder."""
    financing = ctx.get(Financing, key_of(financing_id))
    if financing is None:
        return 0
    if financing.presented:
        invoice = ctx.get(Invoice, key_of(financing.asset))
        return 0 if invoice is None else invoice.total.minor
    voucher = ctx.get(Voucher, key_of(financing.asset))
    return 0 if voucher is None else voucher.face.minor
