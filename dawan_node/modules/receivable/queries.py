"""Questions about receivables: a party's invoices, offers, holdings and financings, a voucher's tree, what is due when.

All answers are pages of an index at one height; amounts are integers of minor units. A state that depends on the day
(a voucher past its due date, a lock that ran out) is for the reader to derive from the dates shown: the height's block
time is part of the answer's envelope.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from dawan_node.execution.module import (
    UNSET,
    Hash32,
    Meta,
    Money,
    Page,
    Params,
    QueryContext,
    ShortText,
    UnsetType,
    is_date,
    key_of,
)
from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import (
    CashReference,
    CreditLine,
    Exposure,
    Financing,
    FinancingState,
    Invoice,
    InvoiceState,
    Tag,
    Voucher,
)
from dawan_node.modules.receivable.fingerprints import invoice_id, loose_number, normalised_number
from dawan_node.modules.receivable.invoices import is_taken

#: Entities read for one page at most when a filter drops some: the page is then short and its cursor goes on.
FILTER_READS_MAX: Final = 1_000
#: Vouchers one page of the ladder sums up, well inside the step budget of a query; a day with more goes on next page.
LADDER_VOUCHERS_MAX: Final = 4_000
_READ: Final = 500


class InvoicesOf(Params):
    """``side`` says whether ``party`` sold or bought; ``state`` narrows to one state."""

    party: ShortText
    side: Literal["seller", "buyer"] = "seller"
    state: InvoiceState | UnsetType = UNSET


class OneInvoice(Params):
    invoice: ShortText


class OneParty(Params):
    party: ShortText


class OneVoucher(Params):
    voucher: ShortText


class FinancingsOf(Params):
    party: ShortText
    side: Literal["borrower", "financier"] = "borrower"
    state: FinancingState | UnsetType = UNSET


class FinancingsOfAsset(Params):
    asset: ShortText


class CashOf(Params):
    """``subject`` is a root voucher, an invoice or a financing."""

    subject: ShortText


class CheckFingerprint(Params):
    """The fields of a paper somebody presents; ``tag`` instead asks for a financiers' keyed fingerprint."""

    seller: Annotated[str, Meta(max_length=32)] = ""
    buyer: Annotated[str, Meta(max_length=32)] = ""
    number: Annotated[str, Meta(max_length=64)] = ""
    issue_date: Annotated[str, Meta(max_length=10)] = ""
    total: Money = Money("CNY", 0)
    tag: Hash32 = b""


class Ladder(Params):
    """Due dates from ``from_date`` on, all when empty."""

    issuer: ShortText
    from_date: Annotated[str, Meta(max_length=10)] = ""


class Rung(msgspec.Struct, frozen=True, gc=False):
    """What an issuer has to pay on one day in one currency, unpaid vouchers of the past included.

    Not ``complete``: the next page begins with the rest of the same rung.
    """

    due_date: str
    amount: Money
    vouchers: int
    complete: bool


class FingerprintStatus(msgspec.Struct, frozen=True, gc=False):
    """``exact``: unknown, registered or financed. ``similar``: whether a look-alike of the seller's is financed."""

    exact: Literal["unknown", "registered", "financed"]
    similar: bool


@module.query("invoices", params=InvoicesOf, item=Invoice)
def invoices(ctx: QueryContext, params: InvoicesOf, limit: int, cursor: bytes | None) -> Page[Invoice]:
    """Invoices of a party as seller or buyer."""
    if params.side == "buyer":
        prefix = (params.party,) if isinstance(params.state, UnsetType) else (params.party, params.state)
        return ctx.page(Invoice, "by_buyer", prefix, limit=limit, cursor=cursor)
    if isinstance(params.state, UnsetType):
        return ctx.page(Invoice, "by_number", (params.party,), limit=limit, cursor=cursor)
    found: list[Invoice] = []
    for _ in range(FILTER_READS_MAX // limit + 1):
        page = ctx.page(Invoice, "by_number", (params.party,), limit=limit - len(found), cursor=cursor)
        found += [invoice for invoice in page.items if invoice.state == params.state]
        cursor = page.cursor
        if cursor is None or len(found) == limit:
            break
    return Page(tuple(found), cursor)


@module.query("invoice", params=OneInvoice, item=Invoice)
def invoice(ctx: QueryContext, params: OneInvoice, limit: int, cursor: bytes | None) -> Page[Invoice]:
    """One invoice by its identifier."""
    return _one(ctx.get(Invoice, key_of(params.invoice)))


@module.query("voucher", params=OneVoucher, item=Voucher)
def voucher(ctx: QueryContext, params: OneVoucher, limit: int, cursor: bytes | None) -> Page[Voucher]:
    """One voucher by its identifier."""
    return _one(ctx.get(Voucher, key_of(params.voucher)))


@module.query("holdings", params=OneParty, item=Voucher)
def holdings(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Voucher]:
    """Vouchers a party holds, by due date."""
    return ctx.page(Voucher, "by_holder", (params.party,), limit=limit, cursor=cursor)


@module.query("offers", params=OneParty, item=Voucher)
def offers(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Voucher]:
    """Vouchers offered to a party, waiting for it to accept."""
    return ctx.page(Voucher, "by_offer", (params.party,), limit=limit, cursor=cursor)


@module.query("voucher_tree", params=OneVoucher, item=Voucher)
def voucher_tree(ctx: QueryContext, params: OneVoucher, limit: int, cursor: bytes | None) -> Page[Voucher]:
    """All vouchers under a root, the root first: where the promise went, tier by tier."""
    return ctx.page(Voucher, "by_root", (params.voucher,), limit=limit, cursor=cursor)


@module.query("maturity_ladder", params=Ladder, item=Rung)
def maturity_ladder(ctx: QueryContext, params: Ladder, limit: int, cursor: bytes | None) -> Page[Any]:
    """What an issuer has to pay, day by day."""
    rungs: list[Rung] = []
    if cursor is None and is_date(params.from_date):
        cursor = _before_day(params.issuer, params.from_date)
    for _ in range(LADDER_VOUCHERS_MAX // _READ):
        page = ctx.page(Voucher, "by_due", (params.issuer,), limit=_READ, cursor=cursor)
        for due in page.items:
            if rungs and (rungs[-1].due_date, rungs[-1].amount.currency) == (due.due_date, due.face.currency):
                rungs[-1] = Rung(due.due_date, rungs[-1].amount + due.face, rungs[-1].vouchers + 1, True)
            elif len(rungs) == limit:
                return Page(tuple(rungs), _after_rung(params.issuer, rungs[-1]))
            else:
                rungs.append(Rung(due.due_date, due.face, 1, True))
        cursor = page.cursor
        if cursor is None:
            return Page(tuple(rungs), None)
    rungs[-1] = Rung(rungs[-1].due_date, rungs[-1].amount, rungs[-1].vouchers, False)
    return Page(tuple(rungs), cursor)


@module.query("financings", params=FinancingsOf, item=Financing)
def financings(ctx: QueryContext, params: FinancingsOf, limit: int, cursor: bytes | None) -> Page[Financing]:
    """Financings of a party as borrower or financier."""
    prefix = (params.party,) if isinstance(params.state, UnsetType) else (params.party, params.state)
    return ctx.page(Financing, f"by_{params.side}", prefix, limit=limit, cursor=cursor)


@module.query("financings_of_asset", params=FinancingsOfAsset, item=Financing)
def financings_of_asset(
    ctx: QueryContext, params: FinancingsOfAsset, limit: int, cursor: bytes | None
) -> Page[Financing]:
    """Every financing ever applied for on one voucher or invoice."""
    return ctx.page(Financing, "by_asset", (params.asset,), limit=limit, cursor=cursor)


@module.query("exposure", params=OneParty, item=Exposure)
def exposure(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Exposure]:
    """What a core enterprise issued, redeemed and owes, by currency."""
    return ctx.page(Exposure, "by_issuer", (params.party,), limit=limit, cursor=cursor)


@module.query("credit_lines", params=OneParty, item=CreditLine)
def credit_lines(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[CreditLine]:
    """The guarantees banks give for a core enterprise."""
    return ctx.page(CreditLine, "by_core", (params.party,), limit=limit, cursor=cursor)


@module.query("cash_references", params=CashOf, item=CashReference)
def cash_references(ctx: QueryContext, params: CashOf, limit: int, cursor: bytes | None) -> Page[CashReference]:
    """The payments attested for a root voucher, an invoice or a financing."""
    return ctx.page(CashReference, "by_subject", (params.subject,), limit=limit, cursor=cursor)


@module.query("check_fingerprint", params=CheckFingerprint, item=FingerprintStatus)
def check_fingerprint(ctx: QueryContext, params: CheckFingerprint, limit: int, cursor: bytes | None) -> Page[Any]:
    """Whether a paper is known and financed: hit or no hit, nothing about who financed it."""
    if params.tag:
        taken = ctx.get(Tag, params.tag) is not None
        return _one(FingerprintStatus("financed" if taken else "unknown", False))
    number = normalised_number(params.number)
    if number is None:
        return _one(FingerprintStatus("unknown", False))
    identifier = invoice_id(params.seller, params.buyer, number, params.issue_date, params.total)
    found = ctx.get(Invoice, key_of(identifier))
    lookalikes = ctx.scan(Invoice, "by_number", (params.seller, loose_number(number)), limit=100)
    similar = any(is_taken(each, ctx.time_ms) for each in lookalikes if each.invoice != identifier)
    if found is None:
        return _one(FingerprintStatus("unknown", similar))
    return _one(FingerprintStatus("financed" if is_taken(found, ctx.time_ms) else "registered", similar))


def _one(item: Any) -> Page[Any]:
    return Page(() if item is None else (item,), None)


def _before_day(issuer: str, date: str) -> bytes:
    # The index key of (issuer, date, ...) continues with the part's end mark; the bare text sorts just before it.
    return key_of(issuer, date)


def _after_rung(issuer: str, rung: Rung) -> bytes:
    # 0x01 sorts after the 0x00 that closes the currency and before every longer text.
    return key_of(issuer, rung.due_date, rung.amount.currency) + b"\x01"
