"""Clearing: on a due date a core enterprise pays many holders at once, and one settlement bank attests all of it.

The core enterprise says which of its vouchers, in one currency and due on one day. The settlement bank, which alone
moves money, then attests one payment with one line per voucher: who was paid, and how much. The lines must be exactly
the batch's vouchers, each payee the voucher's holder *now*, each amount its face, and the sum the payment; one line off
and nothing is settled. Whoever holds a voucher when the batch is cleared is paid, not whoever held it when it was
opened.

The platform pools no money: the reference is of the settlement bank's own booking from the core enterprise to the
holders, and in the register of payments the batch stands as payee.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Date, Meta, Money, ShortText, key_of, replace
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.checks import check_date, existing_batch, existing_voucher, reference
from dawan_node.modules.receivable.declaration import BatchCancelled, BatchCleared, BatchOpened, module
from dawan_node.modules.receivable.entities import HELD_STATES
from dawan_node.modules.receivable.settlement import pay_holder, payable_voucher
from dawan_node.modules.receivable.supervised import BatchState, ClearingBatch, ClearingLine
from dawan_node.modules.receivable.vouchers import VoucherRef

#: Each line can complete a root whose 32 invoices are then settled: so many such lines take 2,900 of the 10,000 steps
#: a transaction has, with short names. A core enterprise with more vouchers due on a day has several batches.
LINES_MAX: Final = 32

BatchRef = Annotated[str, Meta(min_length=1, max_length=80, description="clearing batch id: core/number")]


class OpenClearing(Args):
    """``vouchers``: issued by the sender, all due on ``due_date`` and in one currency."""

    number: ShortText
    due_date: Date
    vouchers: Annotated[list[VoucherRef], Meta(min_length=1, max_length=LINES_MAX)]


class PaidLine(Args):
    """What the settlement bank paid to whom for one voucher, in minor units of the payment's currency."""

    voucher: VoucherRef
    payee: ShortText
    minor: int


class ClearBatch(Args):
    """One payment of the core enterprise over ``amount``; ``lines`` in the order of the batch."""

    batch: BatchRef
    bank: Annotated[str, Meta(min_length=8, max_length=16)]
    reference: Annotated[str, Meta(min_length=1, max_length=70)]
    amount: Money
    value_date: Date
    lines: Annotated[list[PaidLine], Meta(min_length=1, max_length=LINES_MAX)]


class OneBatch(Args):
    batch: BatchRef


@module.command("open_clearing", args=OpenClearing, roles=("core_enterprise",))
def open_clearing(ctx: Context, args: OpenClearing) -> None:
    """A core enterprise has its bank pay the holders of several vouchers together on their due date."""
    core = ctx.sender.name
    batch = f"{core}/{reference(ctx, args.number)}"
    ctx.require(ctx.get(ClearingBatch, key_of(batch)) is None, "E_DUP_BATCH")
    check_date(ctx, args.due_date)
    ctx.require(len(dict.fromkeys(args.vouchers)) == len(args.vouchers), "E_CLEARING_LINES")
    vouchers = [existing_voucher(ctx, each) for each in args.vouchers]
    currency = vouchers[0].face.currency
    for voucher in vouchers:
        ctx.require(voucher.issuer == core, "E_NOT_ISSUER")
        ctx.require(voucher.due_date == args.due_date and voucher.face.currency == currency, "E_CLEARING_LINES")
        ctx.require(voucher.state in HELD_STATES, "E_VOUCHER_STATE")
    total = Money(currency, sum([voucher.face.minor for voucher in vouchers]))
    lines = tuple([ClearingLine(voucher.voucher, voucher.root, "", voucher.face.minor) for voucher in vouchers])
    ctx.put(ClearingBatch(batch, core, args.due_date, total, lines, BatchState.OPEN, ""))
    ctx.emit(BatchOpened(batch=batch, due_date=args.due_date, total=total, vouchers=len(lines)))


@module.command("clear_batch", args=ClearBatch, roles=SETTLEMENT_ROLES)
def clear_batch(ctx: Context, args: ClearBatch) -> None:
    """The settlement bank attests one payment with a line for each voucher; every holder is paid or nobody."""
    found = existing_batch(ctx, args.batch)
    ctx.require(found.state == BatchState.OPEN, "E_BATCH_STATE")
    ctx.require([line.voucher for line in args.lines] == [line.voucher for line in found.lines], "E_CLEARING_LINES")
    ctx.require(sum([line.minor for line in args.lines]) == args.amount.minor, "E_CLEARING_LINES")
    cash = Cash(
        bank=args.bank,
        reference=args.reference,
        payer=found.core,
        payee=found.batch,
        amount=args.amount,
        value_date=args.value_date,
    )
    if not use_cash(
        ctx,
        cash,
        payer=found.core,
        payee=found.batch,
        due=found.total,
        purpose="clear",
        subject=found.batch,
        command="clear_batch",
        record=found.batch,
    ):
        return
    lines = tuple([_pay_line(ctx, line) for line in args.lines])
    ctx.put(replace(found, lines=lines, state=BatchState.CLEARED, cleared_date=ctx.business_date))
    ctx.emit(BatchCleared(batch=found.batch, total=found.total, vouchers=len(lines)))


@module.command("cancel_clearing", args=OneBatch, roles=("core_enterprise",))
def cancel_clearing(ctx: Context, args: OneBatch) -> None:
    """The core enterprise takes back a batch that was not paid; its vouchers were never bound by it."""
    found = existing_batch(ctx, args.batch)
    ctx.require(found.core == ctx.sender.name, "E_NOT_PARTY")
    ctx.require(found.state == BatchState.OPEN, "E_BATCH_STATE")
    ctx.put(replace(found, state=BatchState.CANCELLED))
    ctx.emit(BatchCancelled(batch=found.batch))


def _pay_line(ctx: Context, line: PaidLine) -> ClearingLine:
    voucher = payable_voucher(ctx, line.voucher)
    ctx.require(line.payee == voucher.holder, "E_WRONG_PAYEE")
    ctx.require(line.payee != ctx.sender.name, "E_SELF_DEALING")
    ctx.require(line.minor == voucher.face.minor, "E_AMOUNT_MISMATCH")
    pay_holder(ctx, voucher)
    return ClearingLine(voucher.voucher, voucher.root, voucher.holder, voucher.face.minor)
