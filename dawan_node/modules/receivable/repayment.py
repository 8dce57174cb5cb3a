"""Financing from the payment on: cash moves, the asset changes hands or is pledged, the money comes back or does not.

``FUNDED -> REPAID``; unpaid after the due date ``OVERDUE``, which the financier says; then it turns to the borrower
(``RECOURSE``) where it may, and when it is paid the financing is ``CLOSED``. Whether something is overdue never hangs
on that declaration: reports compare dates.

Recourse: a loan (PLEDGE) is owed by its borrower whatever ``recourse`` says. What was bought (DISCOUNT, FACTORING) goes
back to the seller only when it was bought with recourse; FORFAIT never does.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import PPM, Args, Context, Money, ShortText, days_between, replace
from dawan_node.modules.receivable.assets import (
    due_date_of,
    give_back_declaration,
    holds_lock,
    is_on_declaration,
    keep_declaration,
    lock_of,
)
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, ConfirmedCash, use_cash
from dawan_node.modules.receivable.checks import (
    FINANCIERS,
    existing_financing,
    existing_invoice,
    existing_voucher,
    financing_of_house,
    financing_of_sender,
    reference,
)
from dawan_node.modules.receivable.declaration import (
    FinancingFunded,
    FinancingOverdue,
    FinancingRecourse,
    FinancingRepaid,
    MovablesRegistered,
    module,
)
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    OPEN_STATES,
    Financing,
    FinancingKind,
    FinancingState,
    InvoiceState,
    LockPurpose,
    VoucherState,
)
from dawan_node.modules.receivable.financing import FinancingRef, OneFinancing
from dawan_node.modules.receivable.freezes import require_asset_unfrozen, require_voucher_unfrozen
from dawan_node.modules.receivable.related import shared_org
from dawan_node.modules.receivable.rules import strict
from dawan_node.modules.receivable.supervised import MovablesRegistration
from dawan_node.modules.receivable.surplus import PROCEEDS, owe_surplus
from dawan_node.modules.receivable.title_security import end_security, is_taken, require_secured, sell

#: Interest is simple, on actual days over 365, as money markets count in yuan, Hong Kong dollars and patacas.
YEAR_DAYS: Final = 365

_REGISTRABLE: Final = (FinancingState.RESERVED, *OPEN_STATES)


class PayFinancing(Args):
    financing: FinancingRef
    cash: Cash


class RegisterMovables(Args):
    """``number``: as the register of movables gave it out."""

    financing: FinancingRef
    number: ShortText


@module.command("fund_financing", args=PayFinancing, roles=SETTLEMENT_ROLES)
def fund_financing(ctx: Context, args: PayFinancing) -> None:
    """The settlement bank attests that the financier paid the borrower; the asset changes hands or is pledged."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(financing.state == FinancingState.RESERVED, "E_FINANCING_STATE")
    ctx.require(holds_lock(ctx, financing), "E_LOCK_EXPIRED")
    require_secured(ctx, financing.financing)
    require_asset_unfrozen(ctx, financing)
    if not use_cash(
        ctx,
        args.cash,
        payer=financing.financier,
        payee=financing.borrower,
        due=financing.principal,
        purpose="fund",
        subject=financing.financing,
        command="fund_financing",
        record=financing.financing,
    ):
        return
    if is_on_declaration(financing):
        keep_declaration(ctx, financing)
        outstanding = _with_interest(ctx, financing)
    elif financing.presented:
        outstanding = _buy_invoice(ctx, financing)
    else:
        outstanding = _take_voucher(ctx, financing)
    ctx.put(
        replace(
            financing,
            state=FinancingState.FUNDED,
            value_date=args.cash.value_date,
            outstanding_minor=outstanding,
        )
    )
    ctx.emit(FinancingFunded(financing=financing.financing, principal=financing.principal))


@module.command("repay_financing", args=PayFinancing, roles=SETTLEMENT_ROLES)
def repay_financing(ctx: Context, args: PayFinancing) -> None:
    """The settlement bank attests that the borrower paid back a loan or a recourse claim."""
    financing = existing_financing(ctx, args.financing)
    in_recourse = financing.state == FinancingState.RECOURSE
    lent = financing.state in (FinancingState.FUNDED, FinancingState.OVERDUE)
    ctx.require(in_recourse or (lent and financing.kind == FinancingKind.PLEDGE), "E_FINANCING_STATE")
    # The financier has the goods, perhaps sold already: nobody could hand the title back for this money.
    ctx.require(not is_taken(ctx, financing.financing), "E_FINANCING_STATE")
    if not is_on_declaration(financing):
        # The asset would go back to the borrower. Of a declaration nothing moves: a part of it is open again.
        require_asset_unfrozen(ctx, financing)
    if not use_cash(
        ctx,
        args.cash,
        payer=financing.borrower,
        payee=financing.financier,
        due=Money(financing.principal.currency, financing.outstanding_minor),
        purpose="repay",
        subject=financing.financing,
        command="repay_financing",
        record=financing.financing,
    ):
        return
    _give_back(ctx, financing)
    end_security(ctx, financing.financing)
    state = FinancingState.CLOSED if in_recourse else FinancingState.REPAID
    ctx.put(replace(financing, state=state, outstanding_minor=0))
    ctx.emit(FinancingRepaid(financing=financing.financing))


@module.command("account_title", args=PayFinancing, roles=SETTLEMENT_ROLES)
def account_title(ctx: Context, args: PayFinancing) -> None:
    """The settlement bank attests what somebody paid the financier for the goods whose title it took, once: it pays the
    debt, and what is more is the borrower's."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(is_taken(ctx, financing.financing), "E_TITLE")
    # A price that the financier makes with itself would say nothing of what the goods are worth.
    own_price = args.cash.payer == financing.financier
    # Nor would one among its own house, which could have the goods for a cent and the debt beside them.
    own_price = own_price or (strict(ctx) and shared_org(ctx, args.cash.payer, financing.financier) != "")
    ctx.require(not own_price, "E_SELF_DEALING")
    # Nor does its own house say how little they brought; what another house announced it may confirm.
    financier = ctx.identity(financing.financier)
    own_house = financier is not None and financier.org == ctx.sender.org
    ctx.require(isinstance(args.cash, ConfirmedCash) or not own_house, "E_SELF_DEALING")
    if not is_on_declaration(financing):
        # As when it is repaid: the asset may go back to the borrower.
        require_asset_unfrozen(ctx, financing)
    proceeds = Money(financing.principal.currency, args.cash.amount.minor)
    if not use_cash(
        ctx,
        args.cash,
        payer=args.cash.payer,
        payee=financing.financier,
        due=proceeds,
        purpose=PROCEEDS,
        subject=financing.financing,
        command="account_title",
        record=financing.financing,
    ):
        return
    sell(ctx, financing.financing)
    # Where the claim itself was paid since, nothing is owed any more and all of it is the borrower's.
    owe_surplus(ctx, financing, "TITLE", proceeds.minor, financing.outstanding_minor)
    if financing.state != FinancingState.RECOURSE:
        return
    rest = max(financing.outstanding_minor - proceeds.minor, 0)
    if rest == 0:
        _give_back(ctx, financing)
        ctx.emit(FinancingRepaid(financing=financing.financing))
    state = FinancingState.RECOURSE if rest else FinancingState.CLOSED
    ctx.put(replace(financing, state=state, outstanding_minor=rest))


@module.command("declare_overdue", args=OneFinancing, roles=FINANCIERS)
def declare_overdue(ctx: Context, args: OneFinancing) -> None:
    """The financier states that a loan, or what it bought, was not paid by the day it was due."""
    financing = financing_of_house(ctx, args.financing)
    ctx.require(financing.state == FinancingState.FUNDED, "E_FINANCING_STATE")
    due_date = due_date_of(ctx, financing)
    ctx.require(ctx.business_date > due_date, "E_NOT_DUE")
    ctx.put(replace(financing, state=FinancingState.OVERDUE))
    outstanding = Money(financing.principal.currency, financing.outstanding_minor)
    ctx.emit(FinancingOverdue(financing=financing.financing, due_date=due_date, outstanding=outstanding))


@module.command("claim_recourse", args=OneFinancing, roles=FINANCIERS)
def claim_recourse(ctx: Context, args: OneFinancing) -> None:
    """The financier turns to the borrower: the loan is overdue, or what it bought with recourse was not paid."""
    financing = financing_of_house(ctx, args.financing)
    ctx.require(financing.state in (FinancingState.FUNDED, FinancingState.OVERDUE), "E_FINANCING_STATE")
    # What is rediscounted stays where it is; the bank pays its branch back first.
    ctx.require(lock_of(ctx, financing).purpose != LockPurpose.REDISCOUNT, "E_LOCKED")
    if is_on_declaration(financing):
        ctx.require(ctx.business_date > financing.maturity, "E_RECOURSE")
    elif financing.presented:
        invoice = existing_invoice(ctx, financing.asset)
        ctx.require(financing.recourse and ctx.business_date > invoice.due_date, "E_RECOURSE")
    else:
        voucher = existing_voucher(ctx, financing.asset)
        if financing.kind == FinancingKind.PLEDGE:
            collectable = ctx.business_date > financing.maturity or ctx.business_date >= voucher.due_date
            ctx.require(collectable, "E_RECOURSE")
            require_voucher_unfrozen(ctx, voucher.voucher)
            # The pledge is enforced: the financier holds the voucher until the borrower redeems it.
            ctx.put(
                replace(
                    voucher,
                    state=VoucherState.ACTIVE,
                    holder=financing.financier,
                    transfers=voucher.transfers + 1,
                )
            )
        else:
            ctx.require(financing.recourse and voucher.state == VoucherState.DEFAULTED, "E_RECOURSE")
            ctx.require(voucher.holder == financing.financier, "E_NOT_HOLDER")
    ctx.put(replace(financing, state=FinancingState.RECOURSE))
    ctx.emit(
        FinancingRecourse(
            financing=financing.financing,
            outstanding=Money(financing.principal.currency, financing.outstanding_minor),
        )
    )


@module.command("register_movables", args=RegisterMovables, roles=FINANCIERS)
def register_movables(ctx: Context, args: RegisterMovables) -> None:
    """The financier records under which number the financing stands in the register of movables, once."""
    financing = financing_of_sender(ctx, args.financing)
    ctx.require(financing.state in _REGISTRABLE, "E_FINANCING_STATE")
    number = reference(ctx, args.number)
    ctx.require(ctx.get(MovablesRegistration, financing.primary_key()) is None, "E_DUP_REGISTRATION")
    ctx.require(not ctx.scan(MovablesRegistration, "by_number", (number,), limit=1), "E_DUP_REGISTRATION")
    ctx.put(MovablesRegistration(financing.financing, number, ctx.sender.name, ctx.business_date))
    ctx.emit(MovablesRegistered(financing=financing.financing, number=number))


def reduce_outstanding(ctx: Context, financing_id: str, minor: int) -> None:
    """Book money that reached the financier through the asset itself; at zero the financing is over. What a pledge
    brings beyond its debt is owed back to the borrower (under the first rules nothing was recorded of it); what was
    bought is the financier's whole."""
    financing = existing_financing(ctx, financing_id)
    if financing.state not in OPEN_STATES:
        return
    if financing.kind == FinancingKind.PLEDGE and strict(ctx):
        owe_surplus(ctx, financing, "VOUCHER", minor, financing.outstanding_minor)
    rest = max(financing.outstanding_minor - minor, 0)
    state: FinancingState = financing.state
    if rest == 0:
        state = FinancingState.CLOSED if state == FinancingState.RECOURSE else FinancingState.REPAID
        end_security(ctx, financing.financing)
        ctx.emit(FinancingRepaid(financing=financing.financing))
    ctx.put(replace(financing, state=state, outstanding_minor=rest))


def _with_interest(ctx: Context, financing: Financing) -> int:
    """What a loan paid out today comes to at its maturity, in minor units."""
    days = days_between(ctx.business_date, financing.maturity)
    # A loan paid out after its maturity would cost less than nothing.
    ctx.require(days >= 0, "E_MATURITY")
    # Agreed to maturity whenever it is repaid; rounded down, so the borrower never owes a fraction.
    interest = financing.principal.minor * financing.rate_ppm * days // (PPM * YEAR_DAYS)
    return financing.principal.minor + interest


def _buy_invoice(ctx: Context, financing: Financing) -> int:
    invoice = existing_invoice(ctx, financing.asset)
    ctx.require(ctx.business_date <= invoice.due_date, "E_MATURED")
    ctx.put(
        replace(
            invoice,
            state=InvoiceState.USED,
            used_minor=invoice.total.minor,
            payee=financing.financier,
            financing=financing.financing,
            lock=NO_LOCK,
        )
    )
    return invoice.total.minor


def _take_voucher(ctx: Context, financing: Financing) -> int:
    """Move or pledge the voucher; what the financier will receive in the end, in minor units."""
    voucher = existing_voucher(ctx, financing.asset)
    # The lock keeps others out, but the due date may have passed since, and the holder may have declared default.
    ctx.require(ctx.business_date <= voucher.due_date, "E_MATURED")
    if financing.kind == FinancingKind.PLEDGE:
        ctx.put(replace(voucher, state=VoucherState.PLEDGED, pledge=financing.financing, lock=NO_LOCK))
        return _with_interest(ctx, financing)
    if voucher.discount:
        # The seller was itself a financier: with the price it has its money back.
        reduce_outstanding(ctx, voucher.discount, voucher.face.minor)
    ctx.put(
        replace(
            voucher,
            holder=financing.financier,
            discount=financing.financing,
            transfers=voucher.transfers + 1,
            lock=NO_LOCK,
        )
    )
    return voucher.face.minor


def _give_back(ctx: Context, financing: Financing) -> None:
    """Return the asset to the borrower who has paid."""
    if is_on_declaration(financing):
        give_back_declaration(ctx, financing)
        return
    if financing.presented:
        invoice = existing_invoice(ctx, financing.asset)
        unpaid = replace(invoice, state=InvoiceState.CONFIRMED, used_minor=0, payee=financing.borrower, financing="")
        ctx.put(unpaid)
        return
    voucher = existing_voucher(ctx, financing.asset)
    if voucher.state == VoucherState.SETTLED and strict(ctx):
        # The enforced pledge was paid and did not cover the interest: nothing of the voucher is left to give back, and
        # its record says whom it was paid to.
        return
    if financing.kind == FinancingKind.PLEDGE:
        state = VoucherState.ACTIVE if voucher.state == VoucherState.PLEDGED else voucher.state
        ctx.put(replace(voucher, state=state, holder=financing.borrower, pledge=""))
    else:
        ctx.put(replace(voucher, holder=financing.borrower, discount=""))
