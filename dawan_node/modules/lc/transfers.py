"""Transfer: a transferable credit, or parts of it, made available to second beneficiaries (article 38).

The first beneficiary asks, the transferring bank does it. Terms stay, except that amount, expiry, shipment date and
presentation period may shrink. What is transferred is set aside in the credit it came from, so what all beneficiaries
can draw together is never more than before. A second beneficiary cannot transfer on.
"""

from __future__ import annotations

from typing import Annotated

from dawan_node.execution.module import Args, Context, Meta, Money, ShortText, replace
from dawan_node.modules.lc.checks import (
    AMOUNT_MINOR_MAX,
    BANKS,
    BENEFICIARIES,
    active_party,
    check_amount,
    existing_credit,
)
from dawan_node.modules.lc.credits import (
    TRANSFERS_MAX,
    CreditRef,
    MaybeDate,
    OneCredit,
    PresentationDays,
    check_dates,
)
from dawan_node.modules.lc.declaration import CreditTransferred, TransferRequested, module
from dawan_node.modules.lc.entities import AVAILABLE_STATES, Credit, CreditState, Terms


class RequestTransfer(Args):
    """Empty dates and zero days are those of the credit. ``passes_amendments``: whether later amendments are to reach
    the second beneficiary (38 e). ``covers_minor``: for how much of the credit's amount the transfer stands, when the
    unit price in it is reduced (38 g); 0: for as much as its own amount."""

    credit: CreditRef
    to: ShortText
    amount: Money
    covers_minor: Annotated[int, Meta(ge=0, le=AMOUNT_MINOR_MAX)] = 0
    expiry: MaybeDate = ""
    latest_shipment: MaybeDate = ""
    presentation_days: PresentationDays = 0
    passes_amendments: bool = False


@module.command("request_transfer", args=RequestTransfer, roles=BENEFICIARIES)
def request_transfer(ctx: Context, args: RequestTransfer) -> None:
    """The first beneficiary asks the transferring bank to make the credit available to another party."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.beneficiary, "E_NOT_PARTY")
    ctx.require(credit.parent == "", "E_TRANSFERRED")
    ctx.require(credit.transferable, "E_NOT_TRANSFERABLE")
    ctx.require(credit.state in AVAILABLE_STATES and credit.transfers < TRANSFERS_MAX, "E_STATE")
    active_party(ctx, args.to, BENEFICIARIES)
    ctx.require(args.to not in credit.parties, "E_SELF_DEALING")
    # The confirmation goes over with the credit (38 g), so it has to be one of the terms that are transferred.
    ctx.require(credit.confirmation in ((), (credit.terms,)), "E_CONFIRMATION")
    terms = _terms(ctx, credit, args)
    covers_minor = args.covers_minor or terms.amount.minor
    ctx.require(terms.amount.minor <= covers_minor <= credit.terms.amount.minor, "E_CONSERVATION")
    if not credit.partial:
        ctx.require(credit.drawn_minor == credit.reserved_minor == credit.transferred_minor == 0, "E_PARTIAL")
    transferred_minor = credit.transferred_minor + terms.amount.minor
    ctx.require(transferred_minor <= credit.terms.amount.minor, "E_CONSERVATION")
    ctx.require(terms.limit_minor <= credit.available_minor, "E_CONSERVATION")
    part = f"{credit.credit}.{credit.transfers + 1}"
    ctx.put(
        replace(
            credit,
            transfers=credit.transfers + 1,
            transferred_minor=transferred_minor,
            transferred_limit_minor=credit.transferred_limit_minor + terms.limit_minor,
            cancel_consents=(),
        )
    )
    ctx.put(
        replace(
            credit,
            credit=part,
            parent=credit.credit,
            beneficiary=args.to,
            transferable=False,
            passes_amendments=args.passes_amendments,
            terms=terms,
            confirmation=(terms,) if credit.confirmation else (),
            original_minor=terms.amount.minor,
            covers_minor=covers_minor,
            base_version=credit.version,
            version=1,
            state=CreditState.DRAFT,
            drawn_minor=0,
            reserved_minor=0,
            owed=0,
            transferred_minor=0,
            transferred_limit_minor=0,
            amendments=0,
            presentations=0,
            transfers=0,
            cancel_consents=(),
        )
    )
    ctx.emit(TransferRequested(credit=credit.credit, transferred=part, to=args.to))


@module.command("transfer_credit", args=OneCredit, roles=BANKS)
def transfer_credit(ctx: Context, args: OneCredit) -> None:
    """The transferring bank makes the transferred credit available; it may also decline (38 a)."""
    part = existing_credit(ctx, args.credit)
    ctx.require(part.parent != "" and part.state == CreditState.DRAFT, "E_STATE")
    ctx.require(ctx.sender.name == part.nominated.name, "E_NOT_PARTY")
    credit = existing_credit(ctx, part.parent)
    ctx.require(credit.state in AVAILABLE_STATES, "E_STATE")
    # Between request and transfer the credit may have changed; the second beneficiary gets what was asked for, or no
    # credit at all.
    ctx.require(part.base_version == credit.version, "E_STATE")
    ctx.require(ctx.business_date <= part.terms.expiry, "E_EXPIRED")
    ctx.put(replace(part, state=CreditState.CONFIRMED if part.confirmation else CreditState.ADVISED))
    ctx.emit(CreditTransferred(credit=credit.credit, transferred=part.credit, to=part.beneficiary))


def _terms(ctx: Context, credit: Credit, args: RequestTransfer) -> Terms:
    """The credit's terms, curtailed where asked; nothing may be widened (38 g)."""
    check_amount(ctx, args.amount)
    ctx.require(args.amount.currency == credit.terms.amount.currency, "E_CURRENCY_MISMATCH")
    terms = Terms(
        amount=args.amount,
        plus_ppm=credit.terms.plus_ppm,
        minus_ppm=credit.terms.minus_ppm,
        expiry=args.expiry or credit.terms.expiry,
        latest_shipment=args.latest_shipment or credit.terms.latest_shipment,
        presentation_days=args.presentation_days or credit.terms.presentation_days,
        documents=credit.terms.documents,
    )
    check_dates(ctx, terms)
    ctx.require(terms.expiry <= credit.terms.expiry, "E_DATES")
    latest = credit.terms.latest_shipment
    ctx.require(not latest or terms.latest_shipment <= latest, "E_DATES")
    ctx.require(terms.presentation_days <= credit.terms.presentation_days, "E_DATES")
    return terms
