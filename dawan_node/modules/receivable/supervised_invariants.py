"""What must hold after every block for rediscounts, declarations, filings and batches, whatever was sent.

As in ``invariants``, each checker compares records that different commands write: the sums booked on a declaration with
the uses and the attested payments, the locks with the rediscounts that took them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dawan_node.execution.module import QueryContext, key_of
from dawan_node.modules.receivable.assets import is_on_declaration, lock_of
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import (
    OPEN_STATES,
    CashReference,
    Financing,
    FinancingState,
    Invoice,
    InvoiceState,
    Lock,
    LockPurpose,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.payment_invariants import holders_when_paid
from dawan_node.modules.receivable.supervised import (
    LIVE_REDISCOUNTS,
    BatchState,
    ClearingBatch,
    DeclarationState,
    DeclarationUse,
    ExportDeclaration,
    FilingState,
    MovablesRegistration,
    Rediscount,
    RediscountState,
    TaxFiling,
)

_UNFUNDED: Final = (
    RediscountState.SUBMITTED,
    RediscountState.ACCEPTED,
    RediscountState.REJECTED,
    RediscountState.WITHDRAWN,
)


@module.invariant("rediscounts_hold_assets")
def rediscounts_hold_assets(ctx: QueryContext) -> Iterator[str]:
    """A live rediscount has every asset that is not paid yet, no asset has two, and money moved once each way."""
    holders: dict[str, str] = {}
    for found in ctx.iterate(Rediscount, "by_bank"):
        paid = _attested(ctx, found.rediscount, "rediscount")
        back = _attested(ctx, found.rediscount, "buy_back")
        funded = found.state not in _UNFUNDED
        if paid != (found.price_minor if funded else 0):
            yield f"{found.rediscount} is {found.state} with {paid} paid out"
        if back != (found.amount.minor if found.state == RediscountState.REPAID else 0):
            yield f"{found.rediscount} is {found.state} with {back} paid back"
        if found.state not in LIVE_REDISCOUNTS:
            continue
        for each in found.financings:
            financing = ctx.get(Financing, key_of(each))
            if financing is None:
                yield f"{found.rediscount} names {each}, which does not exist"
                continue
            if holders.get(financing.asset, found.rediscount) != found.rediscount:
                yield f"{financing.asset} is rediscounted by {holders[financing.asset]} and {found.rediscount}"
            holders[financing.asset] = found.rediscount
            lock = lock_of(ctx, financing)
            locked = lock.owner == found.rediscount and lock.is_live(ctx.time_ms)
            if not locked and not _is_paid(ctx, financing, found):
                yield f"{financing.asset} is rediscounted by {found.rediscount} and not locked"
    for asset, lock, holder in _locked(ctx):
        if holders.get(asset) != lock.owner:
            yield f"{asset} is locked for the rediscount {lock.owner}, which does not hold it"
        elif holder != lock.owner.split("/")[0]:
            yield f"{asset} is rediscounted by {lock.owner} and held by {holder}"


@module.invariant("declarations_cover_loans")
def declarations_cover_loans(ctx: QueryContext) -> Iterator[str]:
    """What is financed and collected never exceeds a declaration, and each use has its live financing."""
    uses: dict[str, DeclarationUse] = {}
    for found in ctx.iterate(ExportDeclaration, "by_exporter"):
        taken = 0
        for use in ctx.iterate(DeclarationUse, "by_declaration", (found.declaration,)):
            uses[use.financing] = use
            taken += use.minor
        collected = _attested(ctx, found.declaration, "collect")
        if (found.financed_minor, found.collected_minor) != (taken, collected):
            yield (
                f"{found.declaration}: {found.financed_minor} financed and {found.collected_minor} collected by the "
                f"books, {taken} and {collected} by uses and payments"
            )
        if found.residual_minor < 0 or taken < 0 or collected < 0:
            yield f"{found.declaration}: {taken} financed and {collected} collected of {found.amount.minor}"
        if found.state == DeclarationState.REVOKED and (taken or collected):
            yield f"{found.declaration} is revoked and in use"
    for financing in ctx.iterate(Financing, "by_asset"):
        if not is_on_declaration(financing):
            continue
        binding = financing.state in (FinancingState.RESERVED, *OPEN_STATES)
        held = uses.pop(financing.financing, None)
        if binding != (held is not None):
            yield f"{financing.financing} is {financing.state} and its part of {financing.asset} is {held}"
        elif held is not None and (held.declaration, held.minor) != (financing.asset, financing.principal.minor):
            yield f"{financing.financing} takes {held.minor} of {held.declaration}"
    for use in uses.values():
        yield f"{use.declaration} is used by {use.financing}, which does not exist"


@module.invariant("filings_within_contract")
def filings_within_contract(ctx: QueryContext) -> Iterator[str]:
    """Payments abroad never exceed the contract, each is attested, and one contract has one live filing."""
    contracts: dict[tuple[str, str], str] = {}
    ended: dict[tuple[str, str], int] = {}
    for found in ctx.iterate(TaxFiling, "by_payer"):
        if found.state == FilingState.CANCELLED:
            contract = (found.payer_uscc, found.contract_number)
            ended[contract] = ended.get(contract, 0) + found.paid_minor
    for found in ctx.iterate(TaxFiling, "by_payer"):
        paid = _attested(ctx, found.filing, "pay_filing")
        if not 0 <= found.paid_minor <= found.contract.minor or paid != found.paid_minor:
            yield f"{found.filing}: {found.paid_minor} paid of {found.contract.minor}, {paid} attested"
        if found.state == FilingState.FILED and found.paid_minor:
            yield f"{found.filing} was paid before it was accepted"
        if found.state == FilingState.CANCELLED:
            continue
        contract = (found.payer_uscc, found.contract_number)
        of_contract = found.paid_minor + ended.get(contract, 0)
        exhausted = found.state == FilingState.EXHAUSTED
        if of_contract > found.contract.minor or exhausted != (of_contract == found.contract.minor):
            yield f"{found.filing} is {found.state} with {of_contract} of {found.contract.minor} paid"
        if contract in contracts:
            yield f"{found.filing} and {contracts[contract]} file one contract"
        contracts[contract] = found.filing


@module.invariant("batches_sum_exactly")
def batches_sum_exactly(ctx: QueryContext) -> Iterator[str]:
    """The lines of a batch sum to its total, which is what was attested; every line's holder was paid, once."""
    cleared: dict[str, str] = {}
    for batch in ctx.iterate(ClearingBatch, "by_core"):
        total = sum([line.minor for line in batch.lines])
        paid = _attested(ctx, batch.batch, "clear")
        done = batch.state == BatchState.CLEARED
        if total != batch.total.minor or paid != (total if done else 0):
            yield f"{batch.batch} is {batch.state}: lines of {total}, total {batch.total.minor}, {paid} attested"
        for line in batch.lines if done else ():
            voucher = ctx.get(Voucher, key_of(line.voucher))
            if line.voucher in cleared:
                yield f"{line.voucher} is cleared by {cleared[line.voucher]} and by {batch.batch}"
            cleared[line.voucher] = batch.batch
            if voucher is None or voucher.state != VoucherState.SETTLED:
                yield f"{line.voucher} is cleared by {batch.batch} and not settled"
                continue
            known = line.payee in holders_when_paid(ctx, voucher)
            if not known or (voucher.face.minor, voucher.root) != (line.minor, line.root):
                yield f"{line.voucher}: {line.payee} was paid {line.minor}, {voucher.holder} held {voucher.face.minor}"


@module.invariant("registered_once")
def registered_once(ctx: QueryContext) -> Iterator[str]:
    """A number of the register of movables belongs to one financing."""
    seen: dict[str, str] = {}
    for found in ctx.iterate(MovablesRegistration, "by_number"):
        if found.number in seen:
            yield f"{found.number} registers {seen[found.number]} and {found.financing}"
        seen[found.number] = found.financing


def _attested(ctx: QueryContext, subject: str, purpose: str) -> int:
    return sum([cash.amount.minor for cash in ctx.iterate(CashReference, "by_subject", (subject, purpose))])


def _is_paid(ctx: QueryContext, financing: Financing, rediscount: Rediscount) -> bool:
    """Whether the asset itself was paid and holds nothing any more, though not before the branch paid for it.

    A voucher is paid on its due date at the earliest, so after a rediscount that ends by then was funded. An invoice
    may be paid on any day: it keeps the lock of a funded rediscount, and loses that of an offer.
    """
    funded = rediscount.state == RediscountState.FUNDED
    if financing.presented:
        invoice = ctx.get(Invoice, key_of(financing.asset))
        return invoice is not None and invoice.state == InvoiceState.SETTLED and not funded
    voucher = ctx.get(Voucher, key_of(financing.asset))
    if voucher is None or voucher.state != VoucherState.SETTLED:
        return False
    return not funded or rediscount.maturity <= voucher.due_date


def _locked(ctx: QueryContext) -> Iterator[tuple[str, Lock, str]]:
    """Every asset locked for a rediscount, with the lock and who holds it."""
    for voucher in ctx.iterate(Voucher, "by_root"):
        if voucher.lock.purpose == LockPurpose.REDISCOUNT:
            yield voucher.voucher, voucher.lock, voucher.holder
    for invoice in ctx.iterate(Invoice, "by_number"):
        if invoice.lock.purpose == LockPurpose.REDISCOUNT:
            yield invoice.invoice, invoice.lock, invoice.payee
