"""Amendments: the issuing bank offers, each beneficiary accepts or rejects, whole and for itself (articles 10, 38 f).

The issuing bank is bound from the moment an amendment stands here and cannot take it back. The terms change for a
beneficiary when it accepts, expressly or by presenting documents under the amendment; its silence never does. The
confirming bank is bound by what it extended its confirmation to, and otherwise by the terms it confirmed before.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from dawan_node.execution.module import Args, Context, Meta, Money, replace
from dawan_node.modules.lc.checks import AMOUNT_MINOR_MAX, BANKS, BENEFICIARIES, existing_amendment, existing_credit
from dawan_node.modules.lc.credits import (
    CreditRef,
    MaybeDate,
    PresentationDays,
    RequiredList,
    check_dates,
    required_documents,
)
from dawan_node.modules.lc.declaration import AmendmentAnswered, AmendmentIssued, ConfirmationExtended, module
from dawan_node.modules.lc.entities import AVAILABLE_STATES, BINDING_STATES, Amendment, Credit, CreditState, Terms

#: One a month for the longest credit.
AMENDMENTS_MAX: Final = 120

AmendmentNumber = Annotated[int, Meta(ge=1, le=AMENDMENTS_MAX)]


class AmendCredit(Args):
    """``delta_minor``: by how much the amount grows or shrinks. Empty, zero: unchanged; documents replace the list."""

    credit: CreditRef
    delta_minor: Annotated[int, Meta(ge=-AMOUNT_MINOR_MAX, le=AMOUNT_MINOR_MAX)] = 0
    expiry: MaybeDate = ""
    latest_shipment: MaybeDate = ""
    presentation_days: PresentationDays = 0
    documents: RequiredList = []  # noqa: RUF012 - msgspec copies it


class AnswerAmendment(Args):
    """``credit``: the sender's own, the amended one or one transferred from it. To accept in part is to reject."""

    credit: CreditRef
    number: AmendmentNumber
    answer: Literal["ACCEPT", "ACCEPT_IN_PART", "REJECT"]


class OneAmendment(Args):
    credit: CreditRef
    number: AmendmentNumber


@module.command("amend_credit", args=AmendCredit, roles=BANKS)
def amend_credit(ctx: Context, args: AmendCredit) -> None:
    """The issuing bank offers a change, and is bound by the offer."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.issuing.name, "E_NOT_PARTY")
    ctx.require(credit.parent == "", "E_TRANSFERRED")
    ctx.require(credit.state in BINDING_STATES, "E_STATE")
    amendment = Amendment(
        credit=credit.credit,
        number=credit.amendments + 1,
        version=0,
        delta_minor=args.delta_minor,
        expiry=args.expiry,
        latest_shipment=args.latest_shipment,
        presentation_days=args.presentation_days,
        documents=required_documents(args.documents),
        extended=False,
        answers=(),
    )
    terms = _amended(credit.terms, amendment, amendment.delta_minor)
    ctx.require(0 < terms.amount.minor <= AMOUNT_MINOR_MAX, "E_AMOUNT")
    ctx.require(terms != credit.terms and amendment.number <= AMENDMENTS_MAX, "E_AMENDMENT")
    check_dates(ctx, terms)
    ctx.put(amendment)
    ctx.put(replace(credit, amendments=amendment.number))
    ctx.emit(AmendmentIssued(credit=credit.credit, number=amendment.number))


@module.command("answer_amendment", args=AnswerAmendment, roles=BENEFICIARIES)
def answer_amendment(ctx: Context, args: AnswerAmendment) -> None:
    """A beneficiary accepts or rejects an amendment as a whole, for its own credit only."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.beneficiary, "E_NOT_PARTY")
    if args.answer == "ACCEPT":
        accept(ctx, credit, args.number)
        return
    amendment = _unanswered(ctx, credit, args.number)
    ctx.put(replace(amendment, answers=(*amendment.answers, (credit.credit, False))))
    ctx.emit(AmendmentAnswered(credit=credit.credit, number=args.number, accepted=False))


@module.command("extend_confirmation", args=OneAmendment, roles=BANKS)
def extend_confirmation(ctx: Context, args: OneAmendment) -> None:
    """The confirming bank extends its confirmation to an amendment, before or after the beneficiary's answer.

    Before: to this change of what it confirmed and nothing else. After: to the credit as it then stands.
    """
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.confirming.name, "E_NOT_PARTY")
    ctx.require(credit.parent == "", "E_TRANSFERRED")
    ctx.require(credit.confirmation != (), "E_CONFIRMATION")
    ctx.require(credit.state in AVAILABLE_STATES, "E_STATE")
    amendment = existing_amendment(ctx, credit.credit, args.number)
    ctx.require(not amendment.extended, "E_ANSWERED")
    said = amendment.answer_of(credit.credit)
    # After the answer only the newest terms can be confirmed: the older ones are nobody's any more, and the bank knows
    # which they are.
    ctx.require(said == "" or (said == "ACCEPTED" and amendment.version == credit.version), "E_STATE")
    ctx.put(replace(amendment, extended=True))
    if said == "ACCEPTED":
        ctx.put(replace(credit, confirmation=(credit.terms,)))
    ctx.emit(ConfirmationExtended(credit=credit.credit, number=amendment.number))


def accept(ctx: Context, credit: Credit, number: int) -> Credit:
    """The beneficiary of ``credit`` accepts; the credit as it is now. Fails with E_ANSWERED, E_NOT_PASSED, E_STATE,
    E_CONSERVATION, E_DATES."""
    amendment = _unanswered(ctx, credit, number)
    # The amount of a transferred credit is the first beneficiary's to give.
    delta_minor = 0 if credit.parent else amendment.delta_minor
    terms = _amended(credit.terms, amendment, delta_minor)
    ctx.require(0 < terms.amount.minor <= AMOUNT_MINOR_MAX, "E_AMOUNT")
    ctx.require(not terms.latest_shipment or terms.latest_shipment <= terms.expiry, "E_DATES")
    used = credit.drawn_minor + credit.reserved_minor + credit.transferred_limit_minor
    ctx.require(used <= terms.limit_minor and credit.transferred_minor <= terms.amount.minor, "E_CONSERVATION")
    version = credit.version + 1
    more = credit.state == CreditState.DRAWN and credit.partial and credit.drawn_minor < terms.limit_minor
    # Extended beforehand, a confirmation changes by this amendment alone: one that the bank did not extend to is not
    # let in by the next one that it did.
    confirmation = credit.confirmation
    if amendment.extended:
        confirmation = tuple([_amended(confirmed, amendment, delta_minor) for confirmed in credit.confirmation])
    amended = replace(
        credit,
        terms=terms,
        state=CreditState.PARTLY_DRAWN if more else credit.state,
        version=version,
        confirmation=confirmation,
        # Consent was to cancel what the credit said before.
        cancel_consents=(),
    )
    ctx.put(amended)
    ctx.put(
        replace(
            amendment,
            version=amendment.version if credit.parent else version,
            answers=(*amendment.answers, (credit.credit, True)),
        )
    )
    ctx.emit(AmendmentAnswered(credit=credit.credit, number=number, accepted=True))
    return amended


def _unanswered(ctx: Context, credit: Credit, number: int) -> Amendment:
    """The amendment that the beneficiary of ``credit`` may answer now."""
    # The offer of more stands also when all of what was there is drawn.
    ctx.require(credit.state in (*BINDING_STATES, CreditState.DRAWN), "E_STATE")
    root = credit.parent or credit.credit
    amendment = existing_amendment(ctx, root, number)
    ctx.require(amendment.answer_of(credit.credit) == "", "E_ANSWERED")
    if credit.parent:
        # It reaches a second beneficiary when the first one accepted it and chose to let amendments through; what was
        # in the credit when it was transferred is in the transferred credit already.
        ctx.require(credit.passes_amendments and amendment.version > credit.base_version, "E_NOT_PASSED")
    return amendment


def _amended(old: Terms, amendment: Amendment, delta_minor: int) -> Terms:
    """Terms with the amendment. Never below zero: a confirmed amount that missed an increase meets the decrease too."""
    return Terms(
        amount=Money(old.amount.currency, max(old.amount.minor + delta_minor, 0)),
        plus_ppm=old.plus_ppm,
        minus_ppm=old.minus_ppm,
        expiry=amendment.expiry or old.expiry,
        latest_shipment=amendment.latest_shipment or old.latest_shipment,
        presentation_days=amendment.presentation_days or old.presentation_days,
        documents=amendment.documents or old.documents,
    )
