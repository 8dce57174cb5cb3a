"""Questions about rediscounts, export declarations, tax filings, batches, registrations and classifications."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from dawan_node.execution.module import (
    UNSET,
    Meta,
    Money,
    Page,
    Params,
    QueryContext,
    ShortText,
    UnsetType,
    key_of,
)
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.queries import OneParty
from dawan_node.modules.receivable.supervised import (
    ClearingBatch,
    DeclarationState,
    DeclarationUse,
    EnterpriseProfile,
    ExportDeclaration,
    FilingState,
    MovablesRegistration,
    Rediscount,
    RediscountState,
    TaxFiling,
)

#: Declarations checked in one question, a few reads each.
BATCH_MAX: Final = 100

CheckReason = Literal["", "UNKNOWN", "BLOCKED", "REVOKED", "CURRENCY", "RESIDUAL"]


class RediscountsOf(Params):
    """``side`` says whether ``party`` is the bank or the branch."""

    party: ShortText
    side: Literal["bank", "branch"] = "bank"
    state: RediscountState | UnsetType = UNSET


class OneDeclaration(Params):
    declaration: ShortText


class ToFinance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A declaration a bank means to lend on, and how much."""

    declaration: ShortText
    amount: Money


class CheckDeclarations(Params):
    exporter: ShortText
    lines: Annotated[list[ToFinance], Meta(min_length=1, max_length=BATCH_MAX)]


class FilingsOf(Params):
    """Filings of a payer; without one, those of all payers in ``state``."""

    payer: Annotated[str, Meta(max_length=32)] = ""
    state: FilingState | UnsetType = UNSET


class OneFinancing(Params):
    financing: ShortText


class DeclarationStatus(msgspec.Struct, frozen=True, gc=False):
    """``residual_minor`` is what may still be financed or collected; nothing is lent on what is not ``financeable``."""

    declaration: str
    exporter: str
    amount: Money
    released_date: str
    state: DeclarationState
    financed_minor: int
    collected_minor: int
    residual_minor: int
    financeable: bool


class DeclarationCheck(msgspec.Struct, frozen=True, gc=False):
    """``reason`` empty: passes. UNKNOWN also stands for a declaration that is another exporter's."""

    declaration: str
    passes: bool
    reason: CheckReason
    residual_minor: int


@module.query("rediscounts", params=RediscountsOf, item=Rediscount)
def rediscounts(ctx: QueryContext, params: RediscountsOf, limit: int, cursor: bytes | None) -> Page[Rediscount]:
    """Rediscounts of a bank, or at a branch."""
    prefix = (params.party,) if isinstance(params.state, UnsetType) else (params.party, params.state)
    return ctx.page(Rediscount, f"by_{params.side}", prefix, limit=limit, cursor=cursor)


@module.query("declarations", params=OneParty, item=ExportDeclaration)
def declarations(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[ExportDeclaration]:
    """Export declarations of an exporter by date of release."""
    return ctx.page(ExportDeclaration, "by_exporter", (params.party,), limit=limit, cursor=cursor)


@module.query("declaration", params=OneDeclaration, item=DeclarationStatus)
def declaration(ctx: QueryContext, params: OneDeclaration, limit: int, cursor: bytes | None) -> Page[Any]:
    """One export declaration with its residual financeable amount."""
    found = ctx.get(ExportDeclaration, key_of(params.declaration))
    if found is None:
        return Page((), None)
    status = DeclarationStatus(
        declaration=found.declaration,
        exporter=found.exporter,
        amount=found.amount,
        released_date=found.released_date,
        state=found.state,
        financed_minor=found.financed_minor,
        collected_minor=found.collected_minor,
        residual_minor=found.residual_minor,
        financeable=found.state == DeclarationState.RELEASED and found.residual_minor > 0,
    )
    return Page((status,), None)


@module.query("check_declarations", params=CheckDeclarations, item=DeclarationCheck)
def check_declarations(ctx: QueryContext, params: CheckDeclarations, limit: int, cursor: bytes | None) -> Page[Any]:
    """Whether an exporter's declarations cover the amounts a bank means to lend: pass or fail for each line."""
    asked: dict[str, int] = {}
    checks: list[DeclarationCheck] = []
    for line in params.lines:
        found = ctx.get(ExportDeclaration, key_of(line.declaration))
        if found is None or found.exporter != params.exporter:
            checks.append(DeclarationCheck(line.declaration, False, "UNKNOWN", 0))
            continue
        # A declaration named twice has to cover both lines.
        before = asked.get(line.declaration, 0)
        reason = _refusal(found, line.amount, before)
        if reason == "":
            asked[line.declaration] = before + line.amount.minor
        checks.append(DeclarationCheck(line.declaration, reason == "", reason, found.residual_minor))
    return Page(tuple(checks), None)


@module.query("declaration_uses", params=OneDeclaration, item=DeclarationUse)
def declaration_uses(
    ctx: QueryContext, params: OneDeclaration, limit: int, cursor: bytes | None
) -> Page[DeclarationUse]:
    """Which financings take how much of a declaration."""
    return ctx.page(DeclarationUse, "by_declaration", (params.declaration,), limit=limit, cursor=cursor)


@module.query("tax_filings", params=FilingsOf, item=TaxFiling)
def tax_filings(ctx: QueryContext, params: FilingsOf, limit: int, cursor: bytes | None) -> Page[TaxFiling]:
    """Filings of outbound payments: a payer's, or all in a state, such as those that wait for the tax authority."""
    state = () if isinstance(params.state, UnsetType) else (params.state,)
    if params.payer:
        return ctx.page(TaxFiling, "by_payer", (params.payer, *state), limit=limit, cursor=cursor)
    return ctx.page(TaxFiling, "by_state", state, limit=limit, cursor=cursor)


@module.query("clearing_batches", params=OneParty, item=ClearingBatch)
def clearing_batches(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[ClearingBatch]:
    """Clearing batches of a core enterprise by due date, with who was paid."""
    return ctx.page(ClearingBatch, "by_core", (params.party,), limit=limit, cursor=cursor)


@module.query("registration", params=OneFinancing, item=MovablesRegistration)
def registration(ctx: QueryContext, params: OneFinancing, limit: int, cursor: bytes | None) -> Page[Any]:
    """Under which number a financing stands in the register of movables."""
    found = ctx.get(MovablesRegistration, key_of(params.financing))
    return Page(() if found is None else (found,), None)


@module.query("profile", params=OneParty, item=EnterpriseProfile)
def profile(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Any]:
    """How the regulators classify an enterprise."""
    found = ctx.get(EnterpriseProfile, key_of(params.party))
    return Page(() if found is None else (found,), None)


def _refusal(found: ExportDeclaration, amount: Money, asked_before: int) -> CheckReason:
    if found.state == DeclarationState.BLOCKED:
        return "BLOCKED"
    if found.state == DeclarationState.REVOKED:
        return "REVOKED"
    if amount.currency != found.amount.currency:
        return "CURRENCY"
    return "" if 0 < amount.minor <= found.residual_minor - asked_before else "RESIDUAL"
