"""Reimbursement: the bank that honoured or negotiated forwards the documents and is paid by the issuing bank (7 c).

The issuing bank has an examination of its own, by the banking days of its own place, with one notice of refusal. Its
undertaking to reimburse is independent of the one to the beneficiary: refusing the claim takes nothing from whoever was
paid. A reimbursing bank named in the credit may pay for it. The documents go one way and the money the other: a claim
forwards the titles (``handovers``), and a bank that is not paid calls both back.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, add_days, close_of_day_ms, key_of, replace
from dawan_node.modules.lc import handovers
from dawan_node.modules.lc.calendar import deadline_after, received_date
from dawan_node.modules.lc.checks import (
    BANKS,
    SETTLEMENT,
    acts_for,
    existing_credit,
    existing_presentation,
    existing_reimbursement,
    require_not_frozen,
)
from dawan_node.modules.lc.credits import DOCUMENTS_MAX, MaybeName
from dawan_node.modules.lc.declaration import (
    ReimbursementAccepted,
    ReimbursementClaimed,
    ReimbursementPaid,
    ReimbursementRefused,
    ReimbursementWithdrawn,
    module,
)
from dawan_node.modules.lc.entities import DRAWN_STATES, Against, Reimbursement, ReimbursementState
from dawan_node.modules.lc.honour import Cash, tenor_date, use_cash
from dawan_node.modules.lc.presentations import Findings, OnePresentation, PresentationRef
from dawan_node.modules.refdata import parameter
from dawan_node.primitives.proofs import PROOF_BYTES_MAX

Proof = Annotated[bytes, Meta(min_length=1, max_length=PROOF_BYTES_MAX)]

_UNPAID: Final = (ReimbursementState.CLAIMED, ReimbursementState.REFUSED, ReimbursementState.DUE)


class ClaimReimbursement(Args):
    """``proofs``: for each title of another channel that it is reserved there for this presentation, purpose
    ``lc.reimbursement``, in the order of the documents. ``against``: when titles are the issuing bank's, as soon as it
    has paid or as soon as it owes the amount."""

    presentation: PresentationRef
    against: Against = "PAYMENT"
    proofs: Annotated[list[Proof], Meta(max_length=DOCUMENTS_MAX)] = []  # noqa: RUF012 - msgspec copies it


class RefuseReimbursement(Args):
    presentation: PresentationRef
    findings: Findings


class PayReimbursement(Args):
    """``to``: which identity of the issuing bank's organisation gets the titles, while the one named in the credit is
    revoked."""

    presentation: PresentationRef
    cash: Cash
    to: MaybeName = ""


@module.command("claim_reimbursement", args=ClaimReimbursement, roles=BANKS)
def claim_reimbursement(ctx: Context, args: ClaimReimbursement) -> None:
    """The bank that honoured or negotiated sends documents and titles to the issuing bank and claims the amount."""
    found = existing_presentation(ctx, args.presentation)
    credit = existing_credit(ctx, found.credit)
    claimant = found.bank
    ctx.require(acts_for(ctx, claimant, BANKS) and claimant != credit.issuing.name, "E_NOT_PARTY")
    before = ctx.get(Reimbursement, key_of(found.presentation))
    ctx.require(before is None or before.state == ReimbursementState.WITHDRAWN, "E_DUP_REIMBURSEMENT")
    # What it sold it cannot forward.
    ctx.require(found.state in DRAWN_STATES and found.with_party == claimant, "E_STATE")
    received = received_date(ctx, credit.issuing.place)
    deadline = deadline_after(ctx, credit.issuing.place, received)
    claim = Reimbursement(
        presentation=found.presentation,
        credit=credit.credit,
        claimant=claimant,
        issuing=credit.issuing.name,
        amount=found.amount,
        received_date=received,
        deadline=deadline,
        # Having bought a draft at a tenor early does not make the issuing bank's payment fall due early.
        due_date=tenor_date(credit, found),
        findings=(),
        refused_ms=0,
        state=ReimbursementState.CLAIMED,
    )
    handovers.forward(ctx, credit, claim, args.against, args.proofs)
    ctx.put(claim)
    ctx.put(replace(found, with_party=credit.issuing.name))
    ctx.emit(ReimbursementClaimed(presentation=found.presentation, claimant=claimant, deadline=deadline))


@module.command("accept_reimbursement", args=OnePresentation, roles=BANKS)
def accept_reimbursement(ctx: Context, args: OnePresentation) -> None:
    """The issuing bank takes up the documents, also after a refusal when their faults were waived."""
    found = existing_reimbursement(ctx, args.presentation)
    ctx.require(acts_for(ctx, found.issuing, BANKS), "E_NOT_PARTY")
    ctx.require(found.state in (ReimbursementState.CLAIMED, ReimbursementState.REFUSED), "E_STATE")
    handovers.take_up(ctx, found)
    ctx.put(replace(found, state=ReimbursementState.DUE))
    ctx.emit(ReimbursementAccepted(presentation=found.presentation))


@module.command("refuse_reimbursement", args=RefuseReimbursement, roles=BANKS)
def refuse_reimbursement(ctx: Context, args: RefuseReimbursement) -> None:
    """The issuing bank refuses the documents to the bank that claims, by one notice within its own examination."""
    found = existing_reimbursement(ctx, args.presentation)
    ctx.require(acts_for(ctx, found.issuing, BANKS), "E_NOT_PARTY")
    ctx.require(found.refused_ms == 0, "E_ONE_NOTICE")
    ctx.require(found.state == ReimbursementState.CLAIMED, "E_STATE")
    ctx.require(ctx.time_ms < close_of_day_ms(found.deadline), "E_PRECLUDED")
    # Documents that it handed on to the applicant it has taken up (article 16 c iii: it holds or returns them).
    ctx.require(existing_presentation(ctx, found.presentation).with_party == found.issuing, "E_STATE")
    findings = tuple(args.findings)
    ctx.put(replace(found, state=ReimbursementState.REFUSED, findings=findings, refused_ms=ctx.time_ms))
    ctx.emit(ReimbursementRefused(presentation=found.presentation, findings=findings))


@module.command("pay_reimbursement", args=PayReimbursement, roles=SETTLEMENT)
def pay_reimbursement(ctx: Context, args: PayReimbursement) -> None:
    """The settlement bank attests that issuing or reimbursing bank paid the claimant; silence is no reason not to."""
    found = existing_reimbursement(ctx, args.presentation)
    precluded = found.state == ReimbursementState.CLAIMED and ctx.time_ms >= close_of_day_ms(found.deadline)
    ctx.require(found.state == ReimbursementState.DUE or precluded, "E_STATE")
    credit = existing_credit(ctx, found.credit)
    require_not_frozen(ctx, credit)
    ctx.require(ctx.business_date >= found.due_date, "E_NOT_DUE")
    payers = (credit.issuing.name, credit.reimbursing) if credit.reimbursing else (credit.issuing.name,)
    use_cash(ctx, args.cash, payers, found.claimant, found.amount, "reimburse", found.presentation)
    handovers.hand_over(ctx, found, args.to)
    ctx.put(replace(found, state=ReimbursementState.PAID))
    ctx.emit(ReimbursementPaid(presentation=found.presentation, payer=args.cash.payer, amount=found.amount))


@module.command("withdraw_reimbursement", args=OnePresentation, roles=BANKS)
def withdraw_reimbursement(ctx: Context, args: OnePresentation) -> None:
    """The bank that claimed calls documents and titles back: before the answer, refused, or unpaid when it was due. The
    issuing bank gives back what it refused."""
    found = existing_reimbursement(ctx, args.presentation)
    # UCP 600 article 16 e: whoever gave the notice may return the documents at any time, asked or not. A claimant that
    # left the channel asks for nothing any more.
    returns = found.state == ReimbursementState.REFUSED and acts_for(ctx, found.issuing, BANKS)
    ctx.require(returns or acts_for(ctx, found.claimant, BANKS), "E_NOT_PARTY")
    presentation = existing_presentation(ctx, found.presentation)
    # What the issuing bank has taken, for itself or for the applicant, cannot be called back: it owes the amount.
    ctx.require(found.state in _UNPAID and presentation.with_party == found.issuing, "E_STATE")
    ctx.require(not handovers.is_kept_from(ctx, found), "E_STATE")
    precluded = found.state == ReimbursementState.CLAIMED and ctx.time_ms >= close_of_day_ms(found.deadline)
    if (found.state == ReimbursementState.DUE or precluded) and not handovers.is_lapsed(ctx, found.presentation):
        # Money may be under way, and its attestation: the bank that pays in time finds the title still bound for it.
        last = add_days(max(found.due_date, found.deadline), parameter(ctx, "lc.unpaid.days"))
        ctx.require(ctx.business_date > last, "E_NOT_OVERDUE")
        # Nor while a court stops the attestation of what may have been paid before its order.
        handovers.require_payable(ctx, found)
    handovers.give_back(ctx, found.presentation)
    ctx.put(replace(found, state=ReimbursementState.WITHDRAWN))
    ctx.put(replace(presentation, with_party=found.claimant))
    ctx.emit(ReimbursementWithdrawn(presentation=found.presentation))
