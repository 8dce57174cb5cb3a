"""Customs declarations: a broker drafts, lodges and amends; customs of that jurisdiction decides; nobody else does.

``DRAFT -> LODGED -> ACCEPTED -> (SCAN | INSPECT) -> TAX_DUE -> RELEASED -> CLOSED``. An amendment sends a declaration
back to customs (AMENDED), a cancellation is the broker's while customs has not begun to examine, a seizure is customs'
until the file is closed. An officer is an identity with the role ``customs`` and the role of its jurisdiction.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from dawan_node.execution.module import Args, Context, Meta, Money, ShortText, key_of, replace
from dawan_node.modules.document_numbers import normalised_number
from dawan_node.modules.logistics.checks import DECLARATIONS_MAX, live_shipment
from dawan_node.modules.logistics.declaration import CustomsReleased, DeclarationChanged, DutyPaid, module
from dawan_node.modules.logistics.entities import (
    Declaration,
    DeclarationState,
    Jurisdiction,
    Regime,
    Shipment,
    ShipmentState,
)
from dawan_node.modules.logistics.milestones import with_release
from dawan_node.modules.logistics.shipments import require_customs_of
from dawan_node.modules.refdata import currency_places, edition_in_force, lookup

#: Items of one declaration: the mainland's form has fifty lines.
GOODS_MAX: Final = 50
#: With its jurisdiction before it, a number names what a payment is for (``kernel``, 100 bytes).
NUMBER_BYTES_MAX: Final = 90
AMOUNT_MINOR_MAX: Final = 10**15 - 1
#: Mainland: 18 digits, office, year, flow and sequence. Hong Kong's and Macau's forms vary: their text is normalised.
_MAINLAND: Final = re.compile("[0-9]{18}")
_HS: Final = re.compile("[0-9]{6}(?:[0-9]{2}){0,2}")
_COUNTRY: Final = re.compile("[A-Z]{2}")

_EXAMINABLE: Final = (DeclarationState.ACCEPTED, DeclarationState.SCAN)
_ASSESSABLE: Final = (DeclarationState.ACCEPTED, DeclarationState.SCAN, DeclarationState.INSPECT)
_AMENDABLE: Final = (
    DeclarationState.DRAFT,
    DeclarationState.LODGED,
    DeclarationState.AMENDED,
    DeclarationState.ACCEPTED,
)
_OVER: Final = (DeclarationState.DRAFT, DeclarationState.CLOSED, DeclarationState.CANCELLED, DeclarationState.SEIZED)

GoodsCode = Annotated[str, Meta(min_length=6, max_length=10)]


class DraftDeclaration(Args):
    """``hs``: six international digits, eight or ten national ones; ``origin``: two letters."""

    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]
    regime: Regime
    shipment: ShortText
    hs: Annotated[list[GoodsCode], Meta(min_length=1, max_length=GOODS_MAX)]
    origin: Annotated[str, Meta(min_length=2, max_length=2)]
    value: Money


class AmendDeclaration(Args):
    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]
    hs: Annotated[list[GoodsCode], Meta(min_length=1, max_length=GOODS_MAX)]
    origin: Annotated[str, Meta(min_length=2, max_length=2)]
    value: Money
    reason: ShortText


class OneDeclaration(Args):
    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]


class ReasonedDecision(Args):
    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]
    reason: ShortText


class ExamineDeclaration(Args):
    """SCAN is DCSA's CUSS, INSPECT its CUSI."""

    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]
    how: Literal["SCAN", "INSPECT"]


class AssessDuty(Args):
    """Duty and tax together; zero when none is due."""

    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]
    duty: Money


class PayDuty(Args):
    """A payment that a settlement bank attests: who paid, and the authority's name as payee."""

    jurisdiction: Jurisdiction
    number: Annotated[str, Meta(min_length=1, max_length=40)]
    bank: Annotated[str, Meta(min_length=8, max_length=16)]
    reference: Annotated[str, Meta(min_length=1, max_length=70)]
    payer: ShortText
    payee: ShortText
    amount: Money
    value_date: Annotated[str, Meta(min_length=10, max_length=10)]


@module.command("draft_declaration", args=DraftDeclaration, roles=("customs_broker",))
def draft_declaration(ctx: Context, args: DraftDeclaration) -> None:
    """A broker prepares a declaration for a shipment; it binds nobody until it is lodged."""
    number = _number(ctx, args.jurisdiction, args.number)
    ctx.require(ctx.get(Declaration, key_of(args.jurisdiction, number)) is None, "E_DUP_DECLARATION")
    shipment = live_shipment(ctx, args.shipment)
    # What is not discharged there is not imported there: it could release nothing.
    ctx.require(ctx.sender.org in shipment.brokers, "E_APPOINTED")
    others = ctx.scan(Declaration, "by_shipment", (args.shipment,), limit=DECLARATIONS_MAX)
    ctx.require(len(others) < DECLARATIONS_MAX, "E_DECLARATIONS")
    ctx.require(args.regime != "IMPORT" or args.jurisdiction == shipment.jurisdiction, "E_JURISDICTION")
    _check_goods(ctx, args.hs, args.origin, args.value)
    ctx.put(
        Declaration(
            jurisdiction=args.jurisdiction,
            number=number,
            regime=args.regime,
            shipment=args.shipment,
            broker=ctx.sender.name,
            org=ctx.sender.org,
            hs=tuple(args.hs),
            origin=args.origin,
            value=args.value,
            duty=Money(args.value.currency, 0),
            paid=False,
            state=DeclarationState.DRAFT,
            version=1,
            examined="",
            decided_by="",
            released_ms=0,
            reason="",
        )
    )


@module.command("lodge_declaration", args=OneDeclaration, roles=("customs_broker",))
def lodge_declaration(ctx: Context, args: OneDeclaration) -> None:
    """The broker lodges what it drafted."""
    found = _of_broker(ctx, args.jurisdiction, args.number)
    ctx.require(found.state == DeclarationState.DRAFT, "E_STATE")
    _enter(ctx, found, DeclarationState.LODGED)


@module.command("amend_declaration", args=AmendDeclaration, roles=("customs_broker",))
def amend_declaration(ctx: Context, args: AmendDeclaration) -> None:
    """The broker changes goods, origin or value before examination; what was lodged goes back to customs."""
    found = _of_broker(ctx, args.jurisdiction, args.number)
    ctx.require(found.state in _AMENDABLE, "E_STATE")
    _check_goods(ctx, args.hs, args.origin, args.value)
    draft = found.state == DeclarationState.DRAFT
    amended = replace(
        found,
        hs=tuple(args.hs),
        origin=args.origin,
        value=args.value,
        duty=Money(args.value.currency, 0),
        version=found.version + 1,
        reason=args.reason,
    )
    _enter(ctx, amended, DeclarationState.DRAFT if draft else DeclarationState.AMENDED)


@module.command("cancel_declaration", args=ReasonedDecision, roles=("customs_broker",))
def cancel_declaration(ctx: Context, args: ReasonedDecision) -> None:
    """The broker withdraws a declaration that customs has not begun to examine."""
    found = _of_broker(ctx, args.jurisdiction, args.number)
    ctx.require(found.state in _AMENDABLE, "E_STATE")
    _enter(ctx, replace(found, reason=args.reason), DeclarationState.CANCELLED)


@module.command("accept_declaration", args=OneDeclaration, roles=("customs",))
def accept_declaration(ctx: Context, args: OneDeclaration) -> None:
    """Customs accepts a declaration, new or amended."""
    found = _of_customs(ctx, args.jurisdiction, args.number)
    ctx.require(found.state in (DeclarationState.LODGED, DeclarationState.AMENDED), "E_STATE")
    _enter(ctx, replace(found, decided_by=ctx.sender.name), DeclarationState.ACCEPTED)


@module.command("examine_declaration", args=ExamineDeclaration, roles=("customs",))
def examine_declaration(ctx: Context, args: ExamineDeclaration) -> None:
    """Customs has the goods scanned or opened."""
    found = _of_customs(ctx, args.jurisdiction, args.number)
    ctx.require(found.state in _EXAMINABLE and found.state != args.how, "E_STATE")
    state = DeclarationState.SCAN if args.how == "SCAN" else DeclarationState.INSPECT
    _enter(ctx, replace(found, examined=args.how, decided_by=ctx.sender.name), state)


@module.command("assess_duty", args=AssessDuty, roles=("customs",))
def assess_duty(ctx: Context, args: AssessDuty) -> None:
    """Customs says how much duty and tax is due, zero included."""
    found = _of_customs(ctx, args.jurisdiction, args.number)
    ctx.require(found.state in _ASSESSABLE, "E_STATE")
    _check_money(ctx, args.duty, least=0)
    assessed = replace(found, duty=args.duty, paid=args.duty.minor == 0, decided_by=ctx.sender.name)
    _enter(ctx, assessed, DeclarationState.TAX_DUE)


@module.command("pay_duty", args=PayDuty, roles=("settlement_bank",))
def pay_duty(ctx: Context, args: PayDuty) -> None:
    """A settlement bank attests that the duty was paid, exactly and once."""
    found = _existing(ctx, args.jurisdiction, args.number)
    ctx.require(found.state == DeclarationState.TAX_DUE and not found.paid, "E_STATE")
    ctx.require(args.amount == found.duty, "E_DUTY")
    payee = ctx.identity(args.payee)
    customs = payee is not None and payee.status == "active" and "customs" in payee.roles
    ctx.require(customs and payee is not None and found.jurisdiction in _jurisdictions(payee.roles), "E_DUTY")
    subject = f"{found.jurisdiction}/{found.number}"
    cash = (args.bank, args.reference, args.payer, args.payee, args.amount, args.value_date)
    ctx.call("kernel", "use_cash", *cash, "duty", subject)
    ctx.put(replace(found, paid=True))
    ctx.emit(DutyPaid(jurisdiction=found.jurisdiction, number=found.number, amount=args.amount))


@module.command("release_declaration", args=OneDeclaration, roles=("customs",))
def release_declaration(ctx: Context, args: OneDeclaration) -> None:
    """Customs releases the goods (CUSR): assessed, and paid where anything is due."""
    found = _of_customs(ctx, args.jurisdiction, args.number)
    ctx.require(found.state == DeclarationState.TAX_DUE, "E_STATE")
    ctx.require(found.paid, "E_DUTY")
    released = replace(found, decided_by=ctx.sender.name, released_ms=ctx.time_ms)
    _enter(ctx, released, DeclarationState.RELEASED)
    ctx.emit(CustomsReleased(jurisdiction=found.jurisdiction, number=found.number, shipment=found.shipment))


@module.command("close_declaration", args=OneDeclaration, roles=("customs",))
def close_declaration(ctx: Context, args: OneDeclaration) -> None:
    """Customs closes the file of released goods."""
    found = _of_customs(ctx, args.jurisdiction, args.number)
    ctx.require(found.state == DeclarationState.RELEASED, "E_STATE")
    _enter(ctx, replace(found, decided_by=ctx.sender.name), DeclarationState.CLOSED)


@module.command("seize_declaration", args=ReasonedDecision, roles=("customs",))
def seize_declaration(ctx: Context, args: ReasonedDecision) -> None:
    """Customs seizes the goods, also released ones that have not left."""
    found = _of_customs(ctx, args.jurisdiction, args.number)
    ctx.require(found.state not in _OVER, "E_STATE")
    _enter(ctx, replace(found, decided_by=ctx.sender.name, reason=args.reason), DeclarationState.SEIZED)


def _enter(ctx: Context, declaration: Declaration, state: DeclarationState) -> None:
    """Store the declaration in its new state, and its shipment, whose release may have come or gone."""
    ctx.put(replace(declaration, state=state))
    ctx.emit(DeclarationChanged(jurisdiction=declaration.jurisdiction, number=declaration.number, state=state))
    shipment = ctx.get(Shipment, key_of(declaration.shipment))
    if shipment is not None and shipment.state in (ShipmentState.DISCHARGED, ShipmentState.RELEASED):
        ctx.put(with_release(ctx, shipment))


def _existing(ctx: Context, jurisdiction: str, number: str) -> Declaration:
    found = ctx.get(Declaration, key_of(jurisdiction, _number(ctx, jurisdiction, number)))
    if found is None:
        ctx.fail("E_UNKNOWN_DECLARATION")
    return found


def _of_broker(ctx: Context, jurisdiction: str, number: str) -> Declaration:
    found = _existing(ctx, jurisdiction, number)
    ctx.require(found.org == ctx.sender.org, "E_NOT_BROKER")
    return found


def _of_customs(ctx: Context, jurisdiction: str, number: str) -> Declaration:
    found = _existing(ctx, jurisdiction, number)
    require_customs_of(ctx, found.jurisdiction)
    # One organisation never declares and decides (separation of duties, domain.md 1.4).
    ctx.require(found.org != ctx.sender.org, "E_JURISDICTION")
    return found


def _jurisdictions(roles: tuple[str, ...]) -> list[str]:
    return [name for name, role in (("GD", "gd"), ("HK", "hk"), ("MO", "mo")) if role in roles]


def _number(ctx: Context, jurisdiction: str, text: str) -> str:
    if jurisdiction == "GD":
        ctx.require(_MAINLAND.fullmatch(text) is not None, "E_NUMBER")
        return text
    normalised = normalised_number(text)
    if normalised is None or len(normalised.encode()) > NUMBER_BYTES_MAX:
        ctx.fail("E_NUMBER")
    return normalised


def _check_goods(ctx: Context, codes: list[str], origin: str, value: Money) -> None:
    for code in codes:
        ctx.require(_HS.fullmatch(code) is not None, "E_HS")
        ctx.require(_is_listed(ctx, "hs", code[:6]), "E_HS")
    ctx.require(_COUNTRY.fullmatch(origin) is not None and _is_listed(ctx, "country", origin), "E_ORIGIN")
    _check_money(ctx, value, least=1)


def _check_money(ctx: Context, amount: Money, least: int) -> None:
    known = amount.is_known() or currency_places(ctx, amount.currency) is not None
    ctx.require(known and least <= amount.minor <= AMOUNT_MINOR_MAX, "E_VALUE")


def _is_listed(ctx: Context, table: str, code: str) -> bool:
    """In the edition in force; a channel that voted for none checks the form alone."""
    return edition_in_force(ctx, table) is None or lookup(ctx, table, code) is not None
