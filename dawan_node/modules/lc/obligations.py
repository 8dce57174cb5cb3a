"""Payment obligations under URDTT: a buyer's promise to pay that becomes unconditional when electronic records say so.

Unlike a credit it has no examination of documents: each condition names whose statement meets it, and with the last one
the obligation is unconditional and nobody can take it back. A financial service provider may add its own undertaking
and then owes the same. Independent of the contract behind it, like a credit; only a court's freeze stops a payment.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import (
    ANY_ROLE,
    Args,
    Context,
    Date,
    Hash32,
    Meta,
    Money,
    ShortText,
    key_of,
    replace,
)
from dawan_node.modules.lc.checks import (
    APPLICANTS,
    BANKS,
    BENEFICIARIES,
    SETTLEMENT,
    active_party,
    check_amount,
    check_date,
    existing_obligation,
    number_of,
)
from dawan_node.modules.lc.declaration import (
    ConditionMet,
    ObligationPaid,
    ObligationUnconditional,
    ObligationUndertaken,
    UndertakingAdded,
    module,
)
from dawan_node.modules.lc.entities import Condition, ObligationState, PaymentObligation
from dawan_node.modules.lc.honour import Cash, use_cash

#: As many as documents of a credit.
CONDITIONS_MAX: Final = 16

ObligationRef = Annotated[str, Meta(min_length=1, max_length=100, description="obligation id: buyer/obligation/number")]


class NewCondition(Args):
    """``stated_by``: whose electronic record meets it, for example a carrier or an inspector."""

    text: Annotated[str, Meta(min_length=1, max_length=200)]
    stated_by: ShortText


class UndertakePayment(Args):
    number: ShortText
    beneficiary: ShortText
    amount: Money
    due_date: Date
    conditions: Annotated[list[NewCondition], Meta(max_length=CONDITIONS_MAX)] = []  # noqa: RUF012


class OneObligation(Args):
    obligation: ObligationRef


class MeetCondition(Args):
    """``position`` counts from 1; ``record``: hash of the salted electronic record."""

    obligation: ObligationRef
    position: Annotated[int, Meta(ge=1, le=CONDITIONS_MAX)]
    record: Hash32


class PayObligation(Args):
    obligation: ObligationRef
    cash: Cash


@module.command("undertake_payment", args=UndertakePayment, roles=APPLICANTS)
def undertake_payment(ctx: Context, args: UndertakePayment) -> None:
    """A buyer undertakes to pay on a date if the conditions are met; without conditions it is unconditional at once."""
    buyer = ctx.sender.name
    # Not the form of a credit's identifier: a court that freezes one must not freeze the other.
    obligation = f"{buyer}/obligation/{number_of(ctx, args.number)}"
    ctx.require(ctx.get(PaymentObligation, key_of(obligation)) is None, "E_DUP_OBLIGATION")
    check_amount(ctx, args.amount)
    check_date(ctx, args.due_date)
    ctx.require(args.due_date >= ctx.business_date, "E_DATES")
    active_party(ctx, args.beneficiary, BENEFICIARIES)
    ctx.require(args.beneficiary != buyer, "E_SELF_DEALING")
    for condition in args.conditions:
        active_party(ctx, condition.stated_by)
        # Whoever is to be paid cannot be the one whose word makes the payment due.
        ctx.require(condition.stated_by != args.beneficiary, "E_SELF_DEALING")
    ctx.emit(ObligationUndertaken(obligation=obligation, beneficiary=args.beneficiary, amount=args.amount))
    _put(
        ctx,
        PaymentObligation(
            obligation=obligation,
            buyer=buyer,
            beneficiary=args.beneficiary,
            fsp="",
            amount=args.amount,
            due_date=args.due_date,
            conditions=tuple([Condition(each.text, each.stated_by, b"") for each in args.conditions]),
            state=ObligationState.CONDITIONAL,
        ),
    )


@module.command("add_undertaking", args=OneObligation, roles=BANKS)
def add_undertaking(ctx: Context, args: OneObligation) -> None:
    """A financial service provider undertakes the same payment beside the buyer."""
    found = existing_obligation(ctx, args.obligation)
    ctx.require(found.state != ObligationState.PAID and found.fsp == "", "E_STATE")
    ctx.require(ctx.sender.name not in (found.buyer, found.beneficiary), "E_SELF_DEALING")
    ctx.put(replace(found, fsp=ctx.sender.name))
    ctx.emit(UndertakingAdded(obligation=found.obligation, fsp=ctx.sender.name))


@module.command("meet_condition", args=MeetCondition, roles=ANY_ROLE)
def meet_condition(ctx: Context, args: MeetCondition) -> None:
    """Whoever a condition names states, by an electronic record, that it is met; once and for good."""
    found = existing_obligation(ctx, args.obligation)
    ctx.require(args.position <= len(found.conditions), "E_CONDITION")
    condition = found.conditions[args.position - 1]
    ctx.require(condition.stated_by == ctx.sender.name, "E_NOT_PARTY")
    ctx.require(condition.record == b"", "E_CONDITION")
    met = Condition(condition.text, condition.stated_by, args.record)
    conditions = (*found.conditions[: args.position - 1], met, *found.conditions[args.position :])
    ctx.emit(ConditionMet(obligation=found.obligation, position=args.position))
    _put(ctx, replace(found, conditions=conditions))


@module.command("pay_obligation", args=PayObligation, roles=SETTLEMENT)
def pay_obligation(ctx: Context, args: PayObligation) -> None:
    """The settlement bank attests that the buyer, or the provider that added its undertaking, paid what was due."""
    found = existing_obligation(ctx, args.obligation)
    ctx.require(found.state == ObligationState.UNCONDITIONAL, "E_STATE")
    ctx.call("kernel", "require_movable", found.obligation)
    ctx.require(ctx.business_date >= found.due_date, "E_NOT_DUE")
    payers = (found.buyer, found.fsp) if found.fsp else (found.buyer,)
    use_cash(ctx, args.cash, payers, found.beneficiary, found.amount, "obligation", found.obligation)
    ctx.put(replace(found, state=ObligationState.PAID))
    ctx.emit(ObligationPaid(obligation=found.obligation, payer=args.cash.payer, amount=found.amount))


def _put(ctx: Context, obligation: PaymentObligation) -> None:
    """Store it, unconditional when nothing is open."""
    open_conditions = [each for each in obligation.conditions if each.record == b""]
    if open_conditions:
        ctx.put(obligation)
        return
    ctx.put(replace(obligation, state=ObligationState.UNCONDITIONAL))
    ctx.emit(ObligationUnconditional(obligation=obligation.obligation))
