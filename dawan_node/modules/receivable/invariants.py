"""What must hold after every block, whatever was sent: no value appears or vanishes, nothing is financed twice.

Each checker reads the whole state and yields a sentence per violation. They compare independent records with each
other (the vouchers with the attested payments, the invoices with the vouchers that use them), so that one wrong line
of code cannot make both sides wrong alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dawan_node.execution.module import QueryContext
from dawan_node.modules.receivable.assets import holds_lock, is_on_declaration
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import (
    OPEN_STATES,
    PAID_OUT_STATES,
    CashReference,
    CreditLine,
    Exposure,
    Financing,
    FinancingKind,
    FinancingState,
    Invoice,
    InvoiceState,
    Lock,
    LockPurpose,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.supervised import BatchState, ClearingBatch


@module.invariant("conservation")
def conservation(ctx: QueryContext) -> Iterator[str]:
    """Unredeemed leaves and what was redeemed add up to what was issued, root by root and part by part."""
    leaves: dict[str, int] = {}
    parts: dict[str, int] = {}
    redeemed: dict[str, int] = {}
    cleared: dict[str, int] = {}
    for batch in ctx.iterate(ClearingBatch, "by_core"):
        for line in batch.lines if batch.state == BatchState.CLEARED else ():
            cleared[line.root] = cleared.get(line.root, 0) + line.minor
    roots: list[Voucher] = []
    split: list[Voucher] = []
    parents: dict[str, Voucher] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        parents[voucher.voucher] = voucher
        if voucher.parent:
            parts[voucher.parent] = parts.get(voucher.parent, 0) + voucher.face.minor
        else:
            roots.append(voucher)
        if voucher.state == VoucherState.SPLIT:
            split.append(voucher)
        elif voucher.state == VoucherState.SETTLED:
            redeemed[voucher.root] = redeemed.get(voucher.root, 0) + voucher.face.minor
        else:
            leaves[voucher.root] = leaves.get(voucher.root, 0) + voucher.face.minor
        if voucher.face.minor <= 0:
            yield f"{voucher.voucher} has the face {voucher.face.minor}"
        if voucher.state == VoucherState.TRANSFERRING and voucher.lock.is_live(ctx.time_ms):
            yield f"{voucher.voucher} is locked and moving"
    for voucher in split:
        if parts.get(voucher.voucher) != voucher.face.minor:
            yield f"the parts of {voucher.voucher} sum to {parts.get(voucher.voucher)}, not {voucher.face.minor}"
    for voucher in parents.values():
        parent = parents.get(voucher.parent)
        if voucher.parent and (parent is None or parent.state != VoucherState.SPLIT):
            yield f"{voucher.voucher} is a part of {voucher.parent}, which is not split"
        if voucher.parent and (voucher.redeemed_minor or voucher.invoices):
            yield f"{voucher.voucher} books what belongs to its root"
        if parent is not None and _promise(parent) != _promise(voucher):
            yield f"{voucher.voucher} promises something else than {voucher.parent}"
    for root in roots:
        live, paid = leaves.get(root.voucher, 0), redeemed.get(root.voucher, 0)
        if live + paid != root.face.minor:
            yield f"{root.voucher}: {live} unredeemed and {paid} redeemed are not {root.face.minor} issued"
        attested = cleared.get(root.voucher, 0) + sum(
            [cash.amount.minor for cash in ctx.iterate(CashReference, "by_subject", (root.voucher, "settle"))]
        )
        if not paid == root.redeemed_minor == attested:
            yield f"{root.voucher}: {paid} settled, {root.redeemed_minor} booked, {attested} attested"


@module.invariant("invoice_use")
def invoice_use(ctx: QueryContext) -> Iterator[str]:
    """No invoice is used beyond its confirmed total, and each use has its voucher, buyer of the claim or payment."""
    by_vouchers: dict[str, int] = {}
    redeemed: dict[str, int] = {}
    promised: dict[str, list[str]] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        if voucher.state == VoucherState.CANCELLED:
            continue
        for use in voucher.invoices:
            promised.setdefault(use.invoice, []).append(voucher.face.currency)
            by_vouchers[use.invoice] = by_vouchers.get(use.invoice, 0) + use.minor
            if voucher.redeemed_minor == voucher.face.minor:
                redeemed[use.invoice] = redeemed.get(use.invoice, 0) + use.minor
    for invoice in ctx.iterate(Invoice, "by_number"):
        total = invoice.total.minor
        if not 0 <= invoice.settled_minor <= total or not 0 <= invoice.used_minor <= total:
            yield f"{invoice.invoice}: used {invoice.used_minor}, settled {invoice.settled_minor} of {total}"
        uses = by_vouchers.get(invoice.invoice, 0)
        if any(currency != invoice.total.currency for currency in promised.get(invoice.invoice, ())):
            yield f"{invoice.invoice} is in {invoice.total.currency} and its vouchers are not"
        paid = sum(
            [cash.amount.minor for cash in ctx.iterate(CashReference, "by_subject", (invoice.invoice, "settle"))]
        )
        explained = total if invoice.financing else uses + paid
        if explained != invoice.used_minor:
            yield f"{invoice.invoice}: {invoice.used_minor} used, {explained} explained by vouchers and payments"
        if invoice.settled_minor != paid + redeemed.get(invoice.invoice, 0):
            yield f"{invoice.invoice}: {invoice.settled_minor} settled, {paid} paid beside its vouchers"
        if invoice.financing and uses:
            yield f"{invoice.invoice} is financed as an invoice and again as vouchers"
        untouched = (InvoiceState.RECORDED, InvoiceState.DISPUTED, InvoiceState.CANCELLED)
        if invoice.state in untouched and (invoice.used_minor or invoice.financing):
            yield f"{invoice.invoice} is {invoice.state} and in use"
        if (invoice.state == InvoiceState.SETTLED) != (invoice.settled_minor == total):
            yield f"{invoice.invoice} is {invoice.state} with {invoice.settled_minor} of {total} settled"


@module.invariant("no_double_financing")
def no_double_financing(ctx: QueryContext) -> Iterator[str]:
    """At most one financing has each asset: reserved with a live lock, lent against, or bought and not yet repaid."""
    owners: dict[str, str] = {}
    for financing in ctx.iterate(Financing, "by_asset"):
        if not _binds(ctx, financing):
            continue
        if financing.asset in owners:
            yield f"{financing.asset} is financed by {owners[financing.asset]} and by {financing.financing}"
        owners[financing.asset] = financing.financing
    for voucher in ctx.iterate(Voucher, "by_root"):
        if voucher.state == VoucherState.PLEDGED and owners.get(voucher.voucher) != voucher.pledge:
            yield f"{voucher.voucher} is pledged for {voucher.pledge}, which does not bind it"
        yield from _locked(ctx, owners, voucher.voucher, voucher.lock)
    numbers: dict[tuple[str, str, str, str, int], str] = {}
    for invoice in ctx.iterate(Invoice, "by_number"):
        identity = (
            invoice.seller,
            invoice.buyer,
            invoice.invoice.split("/")[1],
            invoice.issue_date,
            invoice.total.minor,
        )
        if identity in numbers:
            yield f"{invoice.invoice} and {numbers[identity]} are one invoice"
        yield from _locked(ctx, owners, invoice.invoice, invoice.lock)
        numbers[identity] = invoice.invoice


@module.invariant("cash_once")
def cash_once(ctx: QueryContext) -> Iterator[str]:
    """A loan is paid out once and each payment stands under one reference."""
    funded: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for cash in ctx.iterate(CashReference, "by_subject"):
        if (cash.bank, cash.reference) in seen:
            yield f"the reference {cash.bank} {cash.reference} is booked twice"
        seen.add((cash.bank, cash.reference))
        if cash.purpose == "fund":
            funded[cash.subject] = funded.get(cash.subject, 0) + cash.amount.minor
    for financing in ctx.iterate(Financing, "by_asset"):
        expected = financing.principal.minor if financing.state in PAID_OUT_STATES else 0
        if funded.get(financing.financing, 0) != expected:
            yield f"{financing.financing} is {financing.state} with {funded.get(financing.financing, 0)} paid out"


@module.invariant("totals")
def totals(ctx: QueryContext) -> Iterator[str]:
    """Exposures and credit lines equal the sums over the vouchers they stand for."""
    open_states = (VoucherState.SPLIT, VoucherState.SETTLED, VoucherState.CANCELLED)
    owed: dict[tuple[str, str], int] = {}
    guaranteed: dict[tuple[str, str, str], int] = {}
    defaulted: dict[tuple[str, str], int] = {}
    for voucher in ctx.iterate(Voucher, "by_root"):
        if voucher.state in open_states:
            continue
        pair = (voucher.issuer, voucher.face.currency)
        owed[pair] = owed.get(pair, 0) + voucher.face.minor
        if voucher.state == VoucherState.DEFAULTED:
            defaulted[pair] = defaulted.get(pair, 0) + voucher.face.minor
        if voucher.guarantor:
            line = (voucher.guarantor, *pair)
            guaranteed[line] = guaranteed.get(line, 0) + voucher.face.minor
    for exposure in ctx.iterate(Exposure, "by_issuer"):
        pair = (exposure.issuer, exposure.currency)
        outstanding = exposure.issued_minor - exposure.redeemed_minor - exposure.cancelled_minor
        if outstanding != owed.get(pair, 0):
            yield f"{pair} owes {outstanding} by the books and {owed.get(pair, 0)} by the vouchers"
        if exposure.defaulted_minor != defaulted.get(pair, 0):
            yield f"{pair}: {exposure.defaulted_minor} booked as in default, {defaulted.get(pair, 0)} are"
    for credit in ctx.iterate(CreditLine, "by_core"):
        used = guaranteed.get((credit.bank, credit.core, credit.limit.currency), 0)
        if credit.used_minor != used or used > credit.limit.minor:
            yield f"the line of {credit.bank} for {credit.core}: {credit.used_minor} booked, {used} in use"


def _locked(ctx: QueryContext, owners: Mapping[str, str], asset: str, lock: Lock) -> Iterator[str]:
    """A lock for a financing is that of the one which has the asset."""
    if lock.purpose == LockPurpose.FINANCING and lock.is_live(ctx.time_ms) and owners.get(asset) != lock.owner:
        yield f"{asset} is locked for {lock.owner}, and {owners.get(asset, 'no financing')} has it"


def _promise(voucher: Voucher) -> tuple[str, str, str, str, str]:
    """What a part promises as the whole does, beside its own share of the face."""
    return voucher.due_date, voucher.issuer, voucher.guarantor, voucher.face.currency, voucher.root


def _binds(ctx: QueryContext, financing: Financing) -> bool:
    """Whether this financing has its asset to itself now; of a declaration each has a part."""
    if is_on_declaration(financing):
        return False
    if financing.state == FinancingState.RESERVED:
        return holds_lock(ctx, financing)
    if financing.state not in OPEN_STATES:
        return False
    # A discounted voucher is an ordinary holding of its buyer and may be sold on: then the newest purchase counts.
    return financing.kind != FinancingKind.DISCOUNT
