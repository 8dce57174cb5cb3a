"""Reimbursement: the bank that honoured or negotiated forwards the documents and is paid by the issuing bank (7 c).

The issuing bank has an examination of its own, by the banking days of its own place, with one notice of refusal. Its
undertaking to reimburse is independent of the one to the beneficiary: refusing the claim takes nothing from whoever was
paid. A reimbursing bank named in the credit may pay for it.
"""

from __future__ import annotations

from dawan_node.execution.module import Args, Context, close_of_day_ms, key_of, replace
from dawan_node.modules.lc.calendar import deadline_after, received_date
from dawan_node.modules.lc.checks import (
    BANKS,
    SETTLEMENT,
    existing_credit,
    existing_presentation,
    existing_reimbursement,
    require_not_frozen,
)
from dawan_node.modules.lc.declaration import (
    ReimbursementAccepted,
    ReimbursementClaimed,
    ReimbursementPaid,
    ReimbursementRefused,
    module,
)
from dawan_node.modules.lc.entities import DRAWN_STATES, Reimbursement, ReimbursementState
from dawan_node.modules.lc.honour import Cash, tenor_date, use_cash
from dawan_node.modules.lc.presentations import Findings, OnePresentation, PresentationRef


class RefuseReimbursement(Args):
    presentation: PresentationRef
    findings: Findings


class PayReimbursement(Args):
    presentation: PresentationRef
    cash: Cash


@module.command("claim_reimbursement", args=OnePresentation, roles=BANKS)
def claim_reimbursement(ctx: Context, args: OnePresentation) -> None:
    """The bank that honoured or negotiated sends the documents to the issuing bank and claims the amount."""
    found = existing_presentation(ctx, args.presentation)
    credit = existing_credit(ctx, found.credit)
    claimant = ctx.sender.name
    ctx.require(claimant == found.bank and claimant != credit.issuing.name, "E_NOT_PARTY")
    ctx.require(found.state in DRAWN_STATES, "E_STATE")
    ctx.require(ctx.get(Reimbursement, key_of(found.presentation)) is None, "E_DUP_REIMBURSEMENT")
    received = received_date(ctx, credit.issuing.place)
    deadline = deadline_after(ctx, credit.issuing.place, received)
    ctx.put(
        Reimbursement(
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
    )
    ctx.put(replace(found, with_party=credit.issuing.name))
    ctx.emit(ReimbursementClaimed(presentation=found.presentation, claimant=claimant, deadline=deadline))


@module.command("accept_reimbursement", args=OnePresentation, roles=BANKS)
def accept_reimbursement(ctx: Context, args: OnePresentation) -> None:
    """The issuing bank takes up the documents, also after a refusal when their faults were waived."""
    found = existing_reimbursement(ctx, args.presentation)
    ctx.require(ctx.sender.name == found.issuing, "E_NOT_PARTY")
    ctx.require(found.state in (ReimbursementState.CLAIMED, ReimbursementState.REFUSED), "E_STATE")
    ctx.put(replace(found, state=ReimbursementState.DUE))
    ctx.emit(ReimbursementAccepted(presentation=found.presentation))


@module.command("refuse_reimbursement", args=RefuseReimbursement, roles=BANKS)
def refuse_reimbursement(ctx: Context, args: RefuseReimbursement) -> None:
    """The issuing bank refuses the documents to the bank that claims, by one notice within its own examination."""
    found = existing_reimbursement(ctx, args.presentation)
    ctx.require(ctx.sender.name == found.issuing, "E_NOT_PARTY")
    ctx.require(found.refused_ms == 0, "E_ONE_NOTICE")
    ctx.require(found.state == ReimbursementState.CLAIMED, "E_STATE")
    ctx.require(ctx.time_ms < close_of_day_ms(found.deadline), "E_PRECLUDED")
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
    ctx.put(replace(found, state=ReimbursementState.PAID))
    ctx.emit(ReimbursementPaid(presentation=found.presentation, payer=args.cash.payer, amount=found.amount))
