"""Export declarations: customs writes what left the country, SAFE may stop it, banks lend on what is still open.

The amount of a declaration is spoken for in two ways, and never twice: ``financed`` by loans that are not repaid and
``collected`` by money that came in from abroad. What remains is the residual: the most that can be financed next. A
payment from abroad that the residual does not cover is refused until the loan on it is repaid (both may stand in one
block), because otherwise a bank would be left with a loan on money that is gone.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Date, Meta, Money, ShortText, key_of, replace
from dawan_node.modules.identifiers import normalised_uscc
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.checks import active_party, check_amount, check_date, existing_declaration
from dawan_node.modules.receivable.declaration import (
    DeclarationAmended,
    DeclarationBlocked,
    DeclarationCleared,
    DeclarationRecorded,
    DeclarationRevoked,
    ExportCollected,
    module,
)
from dawan_node.modules.receivable.freezes import require_unfrozen
from dawan_node.modules.receivable.supervised import DeclarationState, ExportDeclaration
from dawan_node.modules.refdata import edition_in_force, lookup

#: Items of one declaration: the mainland's form has fifty lines.
GOODS_MAX: Final = 50

# Mainland customs: office, year, flow and sequence (domain.md 1.2; no check digit).
_NUMBER: Final = re.compile("[0-9]{18}")
_HS: Final = re.compile("[0-9]{6}(?:[0-9]{2}){0,2}")


class RecordDeclaration(Args):
    """``goods``: six international digits, eight or ten national ones; ``exporter``: its name on the channel."""

    declaration: ShortText
    exporter: ShortText
    exporter_uscc: ShortText
    goods: Annotated[list[ShortText], Meta(min_length=1, max_length=GOODS_MAX)]
    amount: Money
    released_date: Date


class AmendExportDeclaration(Args):
    declaration: ShortText
    amount: Money
    reason: ShortText


class DecideDeclaration(Args):
    declaration: ShortText
    reason: ShortText


class CollectExport(Args):
    """``cash.payer`` is the buyer abroad by name; it need not be on the channel."""

    declaration: ShortText
    cash: Cash


@module.command("record_declaration", args=RecordDeclaration, roles=("customs",))
def record_declaration(ctx: Context, args: RecordDeclaration) -> None:
    """Customs records an export that it released: what banks may lend on, and no more than that."""
    ctx.require(_NUMBER.fullmatch(args.declaration) is not None, "E_DECLARATION_NUMBER")
    ctx.require(ctx.get(ExportDeclaration, key_of(args.declaration)) is None, "E_DUP_DECLARATION")
    # Customs names somebody whose organisation it can see. A name that nobody has yet any organisation could enrol
    # later and borrow on another firm's goods; one that somebody has stays with that organisation for good.
    ctx.require(active_party(ctx, args.exporter).org != ctx.sender.org, "E_SELF_DEALING")
    uscc = normalised_uscc(args.exporter_uscc)
    if uscc is None:
        ctx.fail("E_USCC")
    for code in args.goods:
        ctx.require(_HS.fullmatch(code) is not None and is_listed(ctx, "hs", code[:6]), "E_GOODS")
    check_amount(ctx, args.amount)
    check_date(ctx, args.released_date)
    ctx.require(args.released_date <= ctx.business_date, "E_RELEASE_DATE")
    ctx.put(
        ExportDeclaration(
            declaration=args.declaration,
            exporter=args.exporter,
            exporter_uscc=uscc,
            goods=tuple(args.goods),
            amount=args.amount,
            released_date=args.released_date,
            financed_minor=0,
            collected_minor=0,
            state=DeclarationState.RELEASED,
            recorded_by=ctx.sender.name,
            decided_by=ctx.sender.name,
            reason="",
        )
    )
    ctx.emit(DeclarationRecorded(declaration=args.declaration, exporter=args.exporter, amount=args.amount))


@module.command("amend_declaration", args=AmendExportDeclaration, roles=("customs",))
def amend_declaration(ctx: Context, args: AmendExportDeclaration) -> None:
    """Customs corrects the amount, never below what is financed or collected."""
    found = _live(ctx, args.declaration)
    _require_other_house(ctx, found)
    check_amount(ctx, args.amount)
    ctx.require(args.amount.currency == found.amount.currency, "E_CURRENCY_MISMATCH")
    ctx.require(args.amount.minor >= found.financed_minor + found.collected_minor, "E_RESIDUAL")
    ctx.put(replace(found, amount=args.amount, decided_by=ctx.sender.name, reason=args.reason))
    ctx.emit(DeclarationAmended(declaration=found.declaration, amount=args.amount, reason=args.reason))


@module.command("revoke_declaration", args=DecideDeclaration, roles=("customs",))
def revoke_declaration(ctx: Context, args: DecideDeclaration) -> None:
    """Customs withdraws a release of which nothing is financed or collected."""
    found = _live(ctx, args.declaration)
    _require_other_house(ctx, found)
    ctx.require(found.financed_minor == 0 and found.collected_minor == 0, "E_IN_USE")
    _decide(ctx, found, DeclarationState.REVOKED, args.reason)
    ctx.emit(DeclarationRevoked(declaration=found.declaration, reason=args.reason))


@module.command("block_declaration", args=DecideDeclaration, roles=("safe",))
def block_declaration(ctx: Context, args: DecideDeclaration) -> None:
    """SAFE stops further financing of a declaration; loans paid out already and payments from abroad go on."""
    found = existing_declaration(ctx, args.declaration)
    _require_other_house(ctx, found)
    ctx.require(found.state == DeclarationState.RELEASED, "E_DECLARATION_STATE")
    _decide(ctx, found, DeclarationState.BLOCKED, args.reason)
    ctx.emit(DeclarationBlocked(declaration=found.declaration, reason=args.reason))


@module.command("clear_declaration", args=DecideDeclaration, roles=("safe",))
def clear_declaration(ctx: Context, args: DecideDeclaration) -> None:
    """SAFE lets a blocked declaration be financed again."""
    found = existing_declaration(ctx, args.declaration)
    _require_other_house(ctx, found)
    ctx.require(found.state == DeclarationState.BLOCKED, "E_DECLARATION_STATE")
    _decide(ctx, found, DeclarationState.RELEASED, args.reason)
    ctx.emit(DeclarationCleared(declaration=found.declaration, reason=args.reason))


@module.command("collect_export", args=CollectExport, roles=SETTLEMENT_ROLES)
def collect_export(ctx: Context, args: CollectExport) -> None:
    """The settlement bank attests that a buyer abroad paid the exporter for declared goods."""
    found = _live(ctx, args.declaration)
    require_unfrozen(ctx, found.declaration)
    amount = args.cash.amount
    ctx.require(amount.currency == found.amount.currency, "E_CURRENCY_MISMATCH")
    ctx.require(amount.minor <= found.residual_minor, "E_RESIDUAL")
    payer, payee = args.cash.payer, found.exporter
    # The payer is whoever the bank says it is; a payment of the exporter to itself is none.
    ctx.require(payer != payee, "E_SELF_DEALING")
    if not use_cash(
        ctx,
        args.cash,
        payer=payer,
        payee=payee,
        due=amount,
        purpose="collect",
        subject=found.declaration,
        command="collect_export",
        record=found.declaration,
    ):
        return
    collected = found.collected_minor + amount.minor
    ctx.put(replace(found, collected_minor=collected))
    residual = found.residual_minor - amount.minor
    ctx.emit(ExportCollected(declaration=found.declaration, amount=amount, residual_minor=residual))


def is_listed(ctx: Context, table: str, code: str) -> bool:
    """In the edition in force; a channel without reference data, or that voted for none, checks the form alone."""
    if not ctx.runs("refdata") or edition_in_force(ctx, table) is None:
        return True
    return lookup(ctx, table, code) is not None


def _live(ctx: Context, declaration: str) -> ExportDeclaration:
    found = existing_declaration(ctx, declaration)
    ctx.require(found.state != DeclarationState.REVOKED, "E_DECLARATION_STATE")
    return found


def _require_other_house(ctx: Context, found: ExportDeclaration) -> None:
    """No officer decides for its own organisation. An exporter that was recorded before it was enrolled has none."""
    exporter = ctx.identity(found.exporter)
    ctx.require(exporter is None or exporter.org != ctx.sender.org, "E_SELF_DEALING")


def _decide(ctx: Context, found: ExportDeclaration, state: DeclarationState, reason: str) -> None:
    ctx.put(replace(found, state=state, decided_by=ctx.sender.name, reason=reason))
