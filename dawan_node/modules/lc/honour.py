"""Honour and negotiation: what a bank owes on complying documents, when, and the proof that it paid (7, 8, 15).

At sight the bank pays, by deferred payment or acceptance it undertakes to pay at maturity, by negotiation the nominated
bank buys. Nothing that happens to the goods, no claim and no hedge can stop it; a court's order can, and it is the
kernel's freeze of the credit. The platform holds no money: a settlement bank attests each payment.
"""

from __future__ import annotations

from typing import Annotated

from dawan_node.execution.module import Args, Context, Date, Meta, Money, ShortText, add_days, key_of, replace
from dawan_node.modules.lc import bills, handovers, titles
from dawan_node.modules.lc.checks import (
    BANKS,
    SETTLEMENT,
    active_party,
    acts_for,
    existing_credit,
    existing_presentation,
    require_not_frozen,
)
from dawan_node.modules.lc.declaration import (
    CreditClosed,
    DocumentsReleased,
    PresentationHonoured,
    PresentationPaid,
    module,
)
from dawan_node.modules.lc.entities import (
    DRAWN_STATES,
    DUE_STATES,
    OWED_STATES,
    Credit,
    CreditState,
    Presentation,
    PresentationState,
    Reimbursement,
    ReimbursementState,
)
from dawan_node.modules.lc.presentations import OnePresentation, PresentationRef


class Cash(Args):
    """``bank`` is the BIC of the bank whose ``reference`` this is; payer and payee are identities of the channel."""

    bank: Annotated[str, Meta(min_length=8, max_length=16)]
    reference: Annotated[str, Meta(min_length=1, max_length=70)]
    payer: ShortText
    payee: ShortText
    amount: Money
    value_date: Date


class SellDocuments(Args):
    """``to``: who bought them, and has their titles."""

    presentation: PresentationRef
    to: ShortText


class PayPresentation(Args):
    presentation: PresentationRef
    cash: Cash


@module.command("honour_presentation", args=OnePresentation, roles=BANKS)
def honour_presentation(ctx: Context, args: OnePresentation) -> None:
    """The bank honours or negotiates documents that comply, were waived, or that it can no longer refuse."""
    found = existing_presentation(ctx, args.presentation)
    ctx.require(acts_for(ctx, found.bank, BANKS), "E_NOT_PARTY")
    ctx.require(found.state in DUE_STATES, "E_STATE")
    credit = existing_credit(ctx, found.credit)
    require_not_frozen(ctx, credit)
    titles.pass_on(ctx, found.presentation, found.bank)
    bills.honour(ctx, found)
    how = _how(credit, found.bank)
    maturity = tenor_date(credit, found) if how == PresentationState.ACCEPTED else ctx.business_date
    drawn = replace(
        credit,
        reserved_minor=credit.reserved_minor - found.amount.minor,
        drawn_minor=credit.drawn_minor + found.amount.minor,
        owed=credit.owed + 1,
    )
    ctx.put(_with_state(drawn))
    ctx.put(replace(found, state=how, maturity=maturity))
    ctx.emit(PresentationHonoured(presentation=found.presentation, how=how, maturity=maturity))


@module.command("pay_presentation", args=PayPresentation, roles=SETTLEMENT)
def pay_presentation(ctx: Context, args: PayPresentation) -> None:
    """The settlement bank attests that the bank which honoured paid the presenter, at maturity or later."""
    found = existing_presentation(ctx, args.presentation)
    ctx.require(found.state in OWED_STATES, "E_STATE")
    credit = existing_credit(ctx, found.credit)
    require_not_frozen(ctx, credit)
    ctx.require(ctx.business_date >= found.maturity, "E_NOT_DUE")
    use_cash(ctx, args.cash, (found.bank,), found.presenter, found.amount, "honour", found.presentation)
    ctx.put(replace(found, state=PresentationState.PAID))
    closed = credit.state == CreditState.DRAWN and credit.owed == 1
    ctx.put(replace(credit, owed=credit.owed - 1, state=CreditState.CLOSED if closed else credit.state))
    ctx.emit(PresentationPaid(presentation=found.presentation, payee=found.presenter, amount=found.amount))
    if closed:
        ctx.emit(CreditClosed(credit=credit.credit))


@module.command("sell_documents", args=SellDocuments, roles=BANKS)
def sell_documents(ctx: Context, args: SellDocuments) -> None:
    """The bank that honoured sells documents and goods that nobody reimburses it for; it cannot claim for them then."""
    found = existing_presentation(ctx, args.presentation)
    ctx.require(acts_for(ctx, found.bank, BANKS), "E_NOT_PARTY")
    # Forwarded with a claim they are with the issuing bank: it withdraws the claim first.
    ctx.require(found.state in DRAWN_STATES and found.with_party == found.bank, "E_STATE")
    credit = existing_credit(ctx, found.credit)
    require_not_frozen(ctx, credit)
    active_party(ctx, args.to)
    ctx.require(args.to != found.bank, "E_SELF_DEALING")
    ctx.require(not titles.has_kept(ctx, found.presentation, found.bank), "E_TITLE_KEPT_BACK")
    ctx.put(replace(found, with_party=args.to))
    ctx.emit(DocumentsReleased(presentation=found.presentation, to=args.to))


@module.command("release_documents", args=OnePresentation, roles=BANKS)
def release_documents(ctx: Context, args: OnePresentation) -> None:
    """The issuing bank hands the documents of an honoured presentation to the applicant."""
    found = existing_presentation(ctx, args.presentation)
    credit = existing_credit(ctx, found.credit)
    ctx.require(acts_for(ctx, credit.issuing.name, BANKS), "E_NOT_PARTY")
    ctx.require(found.state in DRAWN_STATES and found.with_party == credit.issuing.name, "E_STATE")
    claim = ctx.get(Reimbursement, key_of(found.presentation))
    # Documents that it refused to the bank that honoured are held for that bank.
    ctx.require(claim is None or claim.state != ReimbursementState.REFUSED, "E_STATE")
    ctx.require(not handovers.is_bound(ctx, found.presentation), "E_TITLE_NOT_PASSED")
    require_not_frozen(ctx, credit)
    ctx.put(replace(found, with_party=credit.applicant))
    ctx.emit(DocumentsReleased(presentation=found.presentation, to=credit.applicant))


def use_cash(
    ctx: Context, cash: Cash, payers: tuple[str, ...], payee: str, due: Money, purpose: str, subject: str
) -> None:
    """Compare a payment with what is due and have the kernel book it as used."""
    ctx.require(cash.payer in payers, "E_WRONG_PAYER")
    ctx.require(cash.payee == payee, "E_WRONG_PAYEE")
    ctx.require(cash.amount.currency == due.currency, "E_CURRENCY_MISMATCH")
    ctx.require(cash.amount.minor == due.minor, "E_AMOUNT_MISMATCH")
    ctx.call("kernel", "use_cash", cash.bank, cash.reference, cash.payer, payee, due, cash.value_date, purpose, subject)


def tenor_date(credit: Credit, found: Presentation) -> str:
    """When the tenor ends. It is not moved to a banking day: an undertaking must not wait for a calendar of a far year
    to be published; a payment is attested on the day it was made, and from this day on it is due."""
    start = found.shipment_date if credit.tenor_from == "SHIPMENT" and found.shipment_date else found.received_date
    return add_days(start, credit.tenor_days)


def _how(credit: Credit, bank: str) -> PresentationState:
    """Article 6 b: the issuing bank never negotiates its own credit, it honours according to the tenor."""
    if credit.available_by == "NEGOTIATION" and bank != credit.issuing.name:
        return PresentationState.NEGOTIATED
    return PresentationState.ACCEPTED if credit.tenor_days else PresentationState.HONOURED


def _with_state(credit: Credit) -> Credit:
    """DRAWN when nothing more can be presented. (No credit ends while something of it is under examination.)"""
    whole = not credit.partial and credit.transferred_limit_minor == 0
    is_drawn = whole or credit.drawn_minor == credit.terms.limit_minor
    return replace(credit, state=CreditState.DRAWN if is_drawn else CreditState.PARTLY_DRAWN)
