"""Reports: what is held and when it falls due, what backs a voucher, who owes how much and on what terms.

Every report is a query of one height: asked again for that height it gives the same answer, on every node. Totals
cover the records of one page (``limit`` of them), so that a bank with a million financings gets its figure by questions
of bounded cost: whoever asks adds the pages up. Every total has the sums that make that possible; averages and ratios
in a row are those of the row, rounded down.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from dawan_node.execution.module import (
    PPM,
    Date,
    Meta,
    Money,
    Page,
    Params,
    QueryContext,
    ShortText,
    days_between,
    key_of,
)
from dawan_node.modules.receivable.assets import due_date_of
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import (
    OPEN_STATES,
    PAID_OUT_STATES,
    Exposure,
    Financing,
    Invoice,
    InvoiceState,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.related import is_related, shared_org
from dawan_node.modules.receivable.supervised import (
    DeclarationState,
    EnterpriseProfile,
    ExportDeclaration,
    FilingState,
    Forfeiture,
    Rediscount,
    RediscountState,
    TaxFiling,
)

#: A voucher is split 32 times at most, whatever is voted (``refdata.parameters``), so this many layers hold all.
LAYERS_MAX: Final = 33
#: An exposure for each currency an enterprise owes in.
CURRENCIES_MAX: Final = 100

FIRST_DATE: Final = "0001-01-01"
LAST_DATE: Final = "9999-12-31"
UNCLASSIFIED: Final = "UNCLASSIFIED"


class HoldingsByDate(Params):
    """Vouchers of ``party`` that fall due from ``from_date`` on."""

    party: ShortText
    from_date: Date = FIRST_DATE


class OneVoucher(Params):
    voucher: ShortText


class OneGroup(Params):
    group: ShortText


class Lending(Params):
    """Financings paid out from ``from_date`` to ``to_date``, both included; of one financier or of all."""

    financier: Annotated[str, Meta(max_length=32)] = ""
    from_date: Date = FIRST_DATE
    to_date: Date = LAST_DATE


class OneFinancier(Params):
    """Empty: of all."""

    financier: Annotated[str, Meta(max_length=32)] = ""


class MonthlyFile(Params):
    """``month`` as ``2026-03``; the balances are those of the height that is asked."""

    section: Literal["FINANCING", "REDISCOUNT", "EXPORT", "OUTBOUND"]
    month: Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}$")]


class Holding(msgspec.Struct, frozen=True, gc=False):
    """What one party holds that falls due on one day in one currency; ``bound_minor``: pledged or locked of it."""

    due_date: str
    amount: Money
    vouchers: int
    bound_minor: int


class Backing(msgspec.Struct, frozen=True, gc=False):
    """An invoice behind a voucher and how much of it the voucher uses; ``related``: one organisation enrolled both."""

    invoice: str
    number: str
    seller: str
    buyer: str
    total: Money
    used_minor: int
    state: InvoiceState
    related: bool


class Layer(msgspec.Struct, frozen=True, gc=False):
    """One voucher between a part and its root. ``tier``: 0 for the root; ``share_ppm``: of the root's face.

    ``backing`` is given for the root, whose invoices all its parts share.
    """

    tier: int
    voucher: str
    holder: str
    face: Money
    state: VoucherState
    share_ppm: int
    guarantor: str
    backing: tuple[Backing, ...]


class GroupExposure(msgspec.Struct, frozen=True, gc=False):
    """What the core enterprises of a group owe on vouchers in one currency."""

    currency: str
    cores: int
    issued_minor: int
    redeemed_minor: int
    cancelled_minor: int
    outstanding_minor: int
    defaulted_minor: int


class LendingRow(msgspec.Struct, frozen=True, gc=False):
    """Financings of borrowers of one size and district in one currency.

    ``rate_ppm`` is the average weighted by principal, ``tenor_days`` the plain average from payment to maturity. To add
    rows up, add ``yearly_interest_minor`` (a year's interest, of each financing rounded down) and ``tenor_days_sum``.
    ``related_minor``: principal on receivables between parties of one organisation.
    """

    size: str
    district: str
    currency: str
    financings: int
    principal_minor: int
    rate_ppm: int
    tenor_days: int
    yearly_interest_minor: int
    tenor_days_sum: int
    related_minor: int


class OverdueRow(msgspec.Struct, frozen=True, gc=False):
    """What one financier has outstanding in one currency, and how much of it was due before the height's date."""

    financier: str
    currency: str
    financings: int
    outstanding_minor: int
    overdue: int
    overdue_minor: int
    ratio_ppm: int


class MonthlyRow(msgspec.Struct, frozen=True, gc=False):
    """One line of the central bank's monthly file; what the columns mean depends on the section.

    FINANCING: by financier and kind; principal paid out in the month, outstanding, overdue, principal paid back so far;
    ``held``: applications held as look-alikes and not let through. REDISCOUNT: by bank and branch; amounts funded in
    the month, outstanding, overdue, paid back or forfeited. EXPORT: by exporter and state; amounts released in the
    month, financed, none, collected. OUTBOUND: by payer and state; contract sums filed in the month, left to pay, none,
    paid.
    """

    party: str
    kind: str
    currency: str
    records: int
    new_minor: int
    open_minor: int
    overdue_minor: int
    settled_minor: int
    held: int


@module.query("holdings_by_date", params=HoldingsByDate, item=Holding)
def holdings_by_date(ctx: QueryContext, params: HoldingsByDate, limit: int, cursor: bytes | None) -> Page[Any]:
    """What a party holds, day by day of its due dates."""
    # The index goes on after the date; the bare text sorts just before it.
    start = cursor or key_of(params.party, params.from_date)
    page = ctx.page(Voucher, "by_holder", (params.party,), limit=limit, cursor=start)
    rows: dict[tuple[str, str], Holding] = {}
    for found in page.items:
        day = (found.due_date, found.face.currency)
        row = rows.get(day, Holding(found.due_date, Money(found.face.currency, 0), 0, 0))
        bound = found.state == VoucherState.PLEDGED or found.lock.is_live(ctx.time_ms)
        rows[day] = Holding(
            row.due_date,
            row.amount + found.face,
            row.vouchers + 1,
            row.bound_minor + (found.face.minor if bound else 0),
        )
    return Page(tuple([rows[day] for day in sorted(rows)]), page.cursor)


@module.query("penetration", params=OneVoucher, item=Layer)
def penetration(ctx: QueryContext, params: OneVoucher, limit: int, cursor: bytes | None) -> Page[Any]:
    """From a voucher through everything it was split from down to the invoices that its issuer confirmed."""
    chain: list[Voucher] = []
    above = params.voucher
    for _ in range(LAYERS_MAX):
        found = ctx.get(Voucher, key_of(above)) if above else None
        if found is None:
            break
        chain.append(found)
        above = found.parent
    if not chain:
        return Page((), None)
    whole = chain[-1].face.minor
    layers = [
        Layer(
            tier=found.depth,
            voucher=found.voucher,
            holder=found.holder,
            face=found.face,
            state=found.state,
            share_ppm=found.face.minor * PPM // whole,
            guarantor=found.guarantor,
            backing=_backing(ctx, found),
        )
        for found in chain
    ]
    return Page(tuple(layers), None)


@module.query("group_exposure", params=OneGroup, item=GroupExposure)
def group_exposure(ctx: QueryContext, params: OneGroup, limit: int, cursor: bytes | None) -> Page[Any]:
    """What all core enterprises of a group owe, by currency; the page is one of enterprises."""
    page = ctx.page(EnterpriseProfile, "by_group", (params.group,), limit=limit, cursor=cursor)
    rows: dict[str, GroupExposure] = {}
    for member in page.items:
        for found in ctx.scan(Exposure, "by_issuer", (member.party,), limit=CURRENCIES_MAX):
            row = rows.get(found.currency, GroupExposure(found.currency, 0, 0, 0, 0, 0, 0))
            outstanding = found.issued_minor - found.redeemed_minor - found.cancelled_minor
            rows[found.currency] = GroupExposure(
                found.currency,
                row.cores + 1,
                row.issued_minor + found.issued_minor,
                row.redeemed_minor + found.redeemed_minor,
                row.cancelled_minor + found.cancelled_minor,
                row.outstanding_minor + outstanding,
                row.defaulted_minor + found.defaulted_minor,
            )
    return Page(tuple([rows[currency] for currency in sorted(rows)]), page.cursor)


@module.query("lending", params=Lending, item=LendingRow)
def lending(ctx: QueryContext, params: Lending, limit: int, cursor: bytes | None) -> Page[Any]:
    """How much was lent to enterprises of which size and district, at what average rate and tenor."""
    page = _financings(ctx, params.financier, limit, cursor)
    sums: dict[tuple[str, str, str], tuple[int, int, int, int, int]] = {}
    for found in page.items:
        if found.state not in PAID_OUT_STATES or not params.from_date <= found.value_date <= params.to_date:
            continue
        profile = ctx.get(EnterpriseProfile, key_of(found.borrower))
        size, district = (UNCLASSIFIED, "") if profile is None else (str(profile.size), profile.district)
        row = (size, district, found.principal.currency)
        count, principal, yearly, tenor, related = sums.get(row, (0, 0, 0, 0, 0))
        sums[row] = (
            count + 1,
            principal + found.principal.minor,
            yearly + found.principal.scaled(found.rate_ppm, PPM).minor,
            # A voucher may be paid for after the maturity agreed, until it is due itself.
            tenor + max(days_between(found.value_date, found.maturity), 0),
            related + (found.principal.minor if is_related(ctx, found) else 0),
        )
    rows = [
        LendingRow(*row, count, principal, yearly * PPM // principal, tenor // count, yearly, tenor, related)
        for row, (count, principal, yearly, tenor, related) in sorted(sums.items())
    ]
    return Page(tuple(rows), page.cursor)


@module.query("overdue_ratio", params=OneFinancier, item=OverdueRow)
def overdue_ratio(ctx: QueryContext, params: OneFinancier, limit: int, cursor: bytes | None) -> Page[Any]:
    """What financiers have outstanding and how much of it is overdue, whether or not they declared it so."""
    page = _financings(ctx, params.financier, limit, cursor)
    sums: dict[tuple[str, str], tuple[int, int, int, int]] = {}
    for found in page.items:
        if found.state not in OPEN_STATES:
            continue
        row = (found.financier, found.principal.currency)
        count, outstanding, late, late_minor = sums.get(row, (0, 0, 0, 0))
        owed = _overdue_minor(ctx, found)
        late += 1 if owed else 0
        sums[row] = (count + 1, outstanding + found.outstanding_minor, late, late_minor + owed)
    rows = [
        OverdueRow(*row, count, outstanding, late, late_minor, late_minor * PPM // outstanding)
        for row, (count, outstanding, late, late_minor) in sorted(sums.items())
    ]
    return Page(tuple(rows), page.cursor)


@module.query("monthly_file", params=MonthlyFile, item=MonthlyRow)
def monthly_file(ctx: QueryContext, params: MonthlyFile, limit: int, cursor: bytes | None) -> Page[Any]:
    """The central bank's monthly file, section by section."""
    if params.section == "FINANCING":
        financings = _financings(ctx, "", limit, cursor)
        return Page(_added([_of_financing(ctx, each, params.month) for each in financings.items]), financings.cursor)
    if params.section == "REDISCOUNT":
        offers = ctx.page(Rediscount, "by_bank", (), limit=limit, cursor=cursor)
        return Page(_added([_of_rediscount(ctx, each, params.month) for each in offers.items]), offers.cursor)
    if params.section == "EXPORT":
        exports = ctx.page(ExportDeclaration, "by_exporter", (), limit=limit, cursor=cursor)
        return Page(_added([_of_export(each, params.month) for each in exports.items]), exports.cursor)
    filings = ctx.page(TaxFiling, "by_payer", (), limit=limit, cursor=cursor)
    return Page(_added([_of_filing(each, params.month) for each in filings.items]), filings.cursor)


def _financings(ctx: QueryContext, financier: str, limit: int, cursor: bytes | None) -> Page[Financing]:
    prefix = (financier,) if financier else ()
    return ctx.page(Financing, "by_financier", prefix, limit=limit, cursor=cursor)


def _overdue_minor(ctx: QueryContext, found: Financing) -> int:
    """What of an open financing was due before the business date of this height."""
    return found.outstanding_minor if due_date_of(ctx, found) < ctx.business_date else 0


def _backing(ctx: QueryContext, found: Voucher) -> tuple[Backing, ...]:
    backing: list[Backing] = []
    for use in found.invoices:
        invoice = ctx.get(Invoice, key_of(use.invoice))
        if invoice is not None:
            about = (invoice.invoice, invoice.number, invoice.seller, invoice.buyer)
            related = shared_org(ctx, invoice.seller, invoice.buyer) != ""
            backing.append(Backing(*about, invoice.total, use.minor, invoice.state, related))
    return tuple(backing)


def _of_financing(ctx: QueryContext, found: Financing, month: str) -> MonthlyRow:
    principal = found.principal.minor
    paid_out = found.state in PAID_OUT_STATES
    still_open = found.state in OPEN_STATES
    return MonthlyRow(
        party=found.financier,
        kind=str(found.kind),
        currency=found.principal.currency,
        records=1,
        new_minor=principal if paid_out and found.value_date[:7] == month else 0,
        open_minor=found.outstanding_minor if still_open else 0,
        overdue_minor=_overdue_minor(ctx, found) if still_open else 0,
        settled_minor=principal if paid_out and not still_open else 0,
        held=1 if found.similar_to and not found.override_by else 0,
    )


def _of_rediscount(ctx: QueryContext, found: Rediscount, month: str) -> MonthlyRow:
    amount = found.amount.minor
    ended = ctx.get(Forfeiture, key_of(found.rediscount))
    paid_out = found.value_date != ""
    owed = amount if found.state == RediscountState.FUNDED else 0
    if ended is not None and found.state == RediscountState.FORFEITED and ended.owed_by == found.bank:
        owed = ended.owed_minor
    return MonthlyRow(
        party=found.bank,
        kind=found.branch,
        currency=found.amount.currency,
        records=1,
        new_minor=amount if paid_out and found.value_date[:7] == month else 0,
        open_minor=owed,
        overdue_minor=owed if found.maturity < ctx.business_date else 0,
        settled_minor=amount - owed if paid_out else 0,
        held=0,
    )


def _of_export(found: ExportDeclaration, month: str) -> MonthlyRow:
    released = found.state != DeclarationState.REVOKED and found.released_date[:7] == month
    return MonthlyRow(
        party=found.exporter,
        kind=str(found.state),
        currency=found.amount.currency,
        records=1,
        new_minor=found.amount.minor if released else 0,
        open_minor=found.financed_minor,
        overdue_minor=0,
        settled_minor=found.collected_minor,
        held=0,
    )


def _of_filing(found: TaxFiling, month: str) -> MonthlyRow:
    live = found.state in (FilingState.FILED, FilingState.ACCEPTED)
    return MonthlyRow(
        party=found.payer,
        kind=str(found.state),
        currency=found.contract.currency,
        records=1,
        new_minor=found.contract.minor if found.filed_date[:7] == month else 0,
        open_minor=found.contract.minor - found.paid_minor if live else 0,
        overdue_minor=0,
        settled_minor=found.paid_minor,
        held=0,
    )


def _added(rows: Iterable[MonthlyRow]) -> tuple[MonthlyRow, ...]:
    """One row for each party, kind and currency, in that order."""
    sums: dict[tuple[str, str, str], MonthlyRow] = {}
    for each in rows:
        line = (each.party, each.kind, each.currency)
        row = sums.get(line, MonthlyRow(*line, 0, 0, 0, 0, 0, 0))
        sums[line] = MonthlyRow(
            *line,
            row.records + each.records,
            row.new_minor + each.new_minor,
            row.open_minor + each.open_minor,
            row.overdue_minor + each.overdue_minor,
            row.settled_minor + each.settled_minor,
            row.held + each.held,
        )
    return tuple([sums[line] for line in sorted(sums)])
