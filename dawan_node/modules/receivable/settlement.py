"""Maturity and settlement: the holder on the due date is paid, once, exactly; or the voucher is in default.

Nothing happens by itself at maturity, because a chain acts only in transactions: from the due date on, the settlement
bank attests payments voucher by voucher, and a holder still unpaid on the day after may declare default. A defaulted
voucher stays a claim and can be settled late, by the issuer or its guarantor.
"""

from __future__ import annotations

from dawan_node.execution.module import Args, Context, Money, key_of, replace
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.checks import HOLDERS, existing_invoice, existing_voucher
from dawan_node.modules.receivable.declaration import InvoiceSettled, VoucherDefaulted, VoucherSettled, module
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    Exposure,
    InvoiceState,
    Lock,
    LockPurpose,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.freezes import require_unfrozen, require_voucher_unfrozen
from dawan_node.modules.receivable.invoices import InvoiceRef
from dawan_node.modules.receivable.repayment import reduce_outstanding
from dawan_node.modules.receivable.rules import STRICT, strict
from dawan_node.modules.receivable.supervised import Rediscount, RediscountState
from dawan_node.modules.receivable.vouchers import OneVoucher, VoucherRef, release_guarantee


class SettleVoucher(Args):
    voucher: VoucherRef
    cash: Cash


class SettleInvoice(Args):
    invoice: InvoiceRef
    cash: Cash


@module.command("settle_voucher", args=SettleVoucher, roles=SETTLEMENT_ROLES)
def settle_voucher(ctx: Context, args: SettleVoucher) -> None:
    """The settlement bank attests that the issuer, or the guarantor after default, paid the holder the face."""
    voucher = payable_voucher(ctx, args.voucher)
    by_guarantor = _is_guarantors_turn(ctx, voucher) and args.cash.payer == voucher.guarantor
    if use_cash(
        ctx,
        args.cash,
        payer=voucher.guarantor if by_guarantor else voucher.issuer,
        payee=voucher.holder,
        due=voucher.face,
        purpose="settle",
        subject=voucher.root,
        command="settle_voucher",
        record=voucher.voucher,
    ):
        pay_holder(ctx, voucher)


@module.command("default_voucher", args=OneVoucher, roles=HOLDERS)
def default_voucher(ctx: Context, args: OneVoucher) -> None:
    """The holder declares that the voucher was not paid on its due date."""
    voucher = existing_voucher(ctx, args.voucher)
    ctx.require(voucher.holder == ctx.sender.name, "E_NOT_HOLDER")
    ctx.require(voucher.state in (VoucherState.ACTIVE, VoucherState.TRANSFERRING), "E_VOUCHER_STATE")
    ctx.require(ctx.business_date > voucher.due_date, "E_NOT_DUE")
    ctx.put(replace(voucher, state=VoucherState.DEFAULTED, offered_to=""))
    _book(ctx, voucher, defaulted=voucher.face.minor)
    ctx.emit(VoucherDefaulted(voucher=voucher.voucher, holder=voucher.holder))


@module.command("settle_invoice", args=SettleInvoice, roles=SETTLEMENT_ROLES)
def settle_invoice(ctx: Context, args: SettleInvoice) -> None:
    """The settlement bank attests that the buyer paid what no voucher covers, to the seller or the claim's buyer."""
    invoice = existing_invoice(ctx, args.invoice)
    bound = invoice.lock.is_live(ctx.time_ms) and invoice.lock.purpose != LockPurpose.REDISCOUNT
    ctx.require(not bound, "E_LOCKED")
    sold = invoice.financing != ""
    open_states = (InvoiceState.CONFIRMED, InvoiceState.PARTLY_USED)
    ctx.require(invoice.state in open_states or (sold and invoice.state == InvoiceState.USED), "E_INVOICE_STATE")
    require_unfrozen(ctx, invoice.invoice)
    _require_third_witness(ctx, invoice.lock, invoice.payee)
    due = invoice.total.minor if sold else invoice.total.minor - invoice.used_minor
    if not use_cash(
        ctx,
        args.cash,
        payer=invoice.buyer,
        payee=invoice.payee,
        due=Money(invoice.total.currency, due),
        purpose="settle",
        subject=invoice.invoice,
        command="settle_invoice",
        record=invoice.invoice,
    ):
        return
    settled = invoice.settled_minor + due
    done = settled == invoice.total.minor
    ctx.put(
        replace(
            invoice,
            state=InvoiceState.SETTLED if done else InvoiceState.USED,
            used_minor=invoice.total.minor,
            settled_minor=settled,
            lock=_lock_once_paid(ctx, invoice.lock),
        )
    )
    if sold:
        reduce_outstanding(ctx, invoice.financing, due)
    ctx.emit(InvoiceSettled(invoice=invoice.invoice, payee=invoice.payee, amount=Money(invoice.total.currency, due)))


def payable_voucher(ctx: Context, voucher_id: str) -> Voucher:
    """A voucher whose holder may be paid now: due, not pledged, not frozen, reserved for nobody who would be holder."""
    voucher = existing_voucher(ctx, voucher_id)
    payable = (VoucherState.ACTIVE, VoucherState.TRANSFERRING, VoucherState.DEFAULTED)
    ctx.require(voucher.state in payable, "E_VOUCHER_STATE")
    ctx.require(ctx.business_date >= voucher.due_date, "E_NOT_DUE")
    # A rediscounted voucher stays with its holder, and the holder at maturity is paid.
    bound = voucher.lock.is_live(ctx.time_ms) and voucher.lock.purpose != LockPurpose.REDISCOUNT
    ctx.require(not bound, "E_LOCKED")
    require_voucher_unfrozen(ctx, voucher.voucher)
    _require_third_witness(ctx, voucher.lock, voucher.holder)
    return voucher


def pay_holder(ctx: Context, voucher: Voucher) -> None:
    """Book that the holder got the face: the voucher ends, its root, guarantee, exposure and financings follow."""
    settled = replace(voucher, state=VoucherState.SETTLED, offered_to="", lock=NO_LOCK)
    ctx.put(settled)
    _redeem(ctx, settled)
    release_guarantee(ctx, voucher, voucher.face.minor)
    defaulted = voucher.state == VoucherState.DEFAULTED
    _book(ctx, voucher, redeemed=voucher.face.minor, defaulted=-voucher.face.minor if defaulted else 0)
    for financing in (voucher.discount, voucher.pledge):
        if financing:
            reduce_outstanding(ctx, financing, voucher.face.minor)
    ctx.emit(VoucherSettled(voucher=voucher.voucher, payee=voucher.holder, amount=voucher.face))


def _is_guarantors_turn(ctx: Context, voucher: Voucher) -> bool:
    """After default. In version 1 no branch of the central bank says that there is one, so of a voucher that a bank
    forfeited to it the guarantor may pay from the day on which another holder could have said it."""
    if voucher.guarantor == "" or voucher.state == VoucherState.DEFAULTED:
        return voucher.guarantor != ""
    holder = ctx.identity(voucher.holder)
    mute = ctx.version < STRICT and holder is not None and not [role for role in holder.roles if role in HOLDERS]
    return mute and ctx.business_date > voucher.due_date


def _require_third_witness(ctx: Context, lock: Lock, payee: str) -> None:
    """A rediscounted asset is the branch's security: paid, it is lost to it. So the bank's own word, or that of a
    settlement bank of its organisation, is not enough, as it is where the payee alone would lose what was not paid."""
    found = _rediscount_of(ctx, lock)
    if found is None or found.state != RediscountState.FUNDED or not strict(ctx):
        return
    paid = ctx.identity(payee)
    ctx.require(paid is None or paid.org != ctx.sender.org, "E_WITNESS")


def _lock_once_paid(ctx: Context, lock: Lock) -> Lock:
    """An offer of rediscount that is not funded yet loses a paid invoice; one that is funded keeps it to its end."""
    found = _rediscount_of(ctx, lock)
    return lock if found is None or found.state == RediscountState.FUNDED else NO_LOCK


def _rediscount_of(ctx: Context, lock: Lock) -> Rediscount | None:
    return ctx.get(Rediscount, key_of(lock.owner)) if lock.purpose == LockPurpose.REDISCOUNT else None


def _redeem(ctx: Context, leaf: Voucher) -> None:
    """Count the leaf at its root; when the whole root is redeemed, its invoices are paid as far as it used them."""
    root = existing_voucher(ctx, leaf.root)
    root = replace(root, redeemed_minor=root.redeemed_minor + leaf.face.minor)
    ctx.put(root)
    if root.redeemed_minor < root.face.minor:
        return
    for use in root.invoices:
        invoice = existing_invoice(ctx, use.invoice)
        settled = invoice.settled_minor + use.minor
        state = InvoiceState.SETTLED if settled == invoice.total.minor else invoice.state
        ctx.put(replace(invoice, settled_minor=settled, state=state))


def _book(ctx: Context, voucher: Voucher, redeemed: int = 0, defaulted: int = 0) -> None:
    exposure = ctx.get(Exposure, key_of(voucher.issuer, voucher.face.currency))
    assert exposure is not None, "issuing the voucher wrote the exposure, and exposures are never deleted"
    ctx.put(
        replace(
            exposure,
            redeemed_minor=exposure.redeemed_minor + redeemed,
            defaulted_minor=exposure.defaulted_minor + defaulted,
        )
    )
