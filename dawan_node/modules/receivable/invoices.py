"""Invoices: recorded by the seller, confirmed or disputed by the buyer, cancelled by the seller while unused."""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Date, Hash32, Meta, Money, ShortText, add_days, key_of, replace
from dawan_node.modules.receivable.checks import check_amount, check_date, existing_invoice
from dawan_node.modules.receivable.declaration import (
    InvoiceCancelled,
    InvoiceConfirmed,
    InvoiceDisputed,
    InvoiceRecorded,
    module,
)
from dawan_node.modules.receivable.entities import NO_LOCK, Invoice, InvoiceState
from dawan_node.modules.receivable.fingerprints import invoice_id, loose_number, normalised_number
from dawan_node.modules.receivable.freezes import require_unfrozen
from dawan_node.modules.receivable.related import mark_if_related
from dawan_node.primitives.names import is_label

#: Invoices are dated where they are written; the Pacific is a day ahead of or behind the business date.
FUTURE_DAYS_MAX: Final = 1

# UN/CEFACT 1001 document types. 380 is the commercial invoice; the credit types say that less is owed.
INVOICE_TYPES: Final = frozenset({"80", "82", "84", "326", "380", "383", "384", "386", "388", "389", "395", "751"})
CREDIT_TYPES: Final = frozenset({"81", "83", "261", "262", "296", "308", "381", "396", "420", "458", "532"})
FACTORED_TYPES: Final = frozenset({"393"})

PartyText = Annotated[str, Meta(max_length=128)]
InvoiceNumber = Annotated[str, Meta(min_length=1, max_length=64)]
InvoiceRef = Annotated[str, Meta(min_length=1, max_length=240, description="invoice id: seller/number/fingerprint")]


class RecordInvoice(Args):
    """``total`` is what is payable; ``document`` is the SHA-256 of the invoice file, identifiers are ``scheme:value``
    as the document gives them."""

    number: InvoiceNumber
    buyer: ShortText
    issue_date: Date
    due_date: Date
    total: Money
    tax_minor: int = 0
    type_code: Annotated[str, Meta(pattern="^[0-9]{1,3}$")] = "380"
    document: Hash32 = b""
    seller_name: PartyText = ""
    seller_identifier: PartyText = ""
    buyer_name: PartyText = ""
    buyer_identifier: PartyText = ""


class OneInvoice(Args):
    invoice: InvoiceRef


class DisputeInvoice(Args):
    invoice: InvoiceRef
    reason: ShortText


@module.command("record_invoice", args=RecordInvoice, roles=("exporter", "seller", "supplier"))
def record_invoice(ctx: Context, args: RecordInvoice) -> None:
    """The seller records an invoice; the same invoice in another spelling is refused.

    One entity and two index entries: this is the command a trade channel runs most.
    """
    seller = ctx.sender.name
    ctx.require(args.type_code not in CREDIT_TYPES, "E_CREDIT_NOTE")
    ctx.require(args.type_code not in FACTORED_TYPES, "E_ALREADY_ASSIGNED")
    ctx.require(args.type_code in INVOICE_TYPES, "E_INVOICE_TYPE")
    check_amount(ctx, args.total)
    ctx.require(0 <= args.tax_minor <= args.total.minor, "E_TAX_AMOUNT")
    check_date(ctx, args.issue_date)
    check_date(ctx, args.due_date)
    ctx.require(args.issue_date <= args.due_date, "E_DUE_BEFORE_ISSUE")
    today = ctx.business_date
    dated = args.issue_date <= today or args.issue_date <= add_days(today, FUTURE_DAYS_MAX)
    ctx.require(dated, "E_ISSUE_DATE_FUTURE")
    # The buyer need not be a member yet: the claim is recorded, and only a member can confirm it.
    ctx.require(is_label(args.buyer), "E_UNKNOWN_PARTY")
    ctx.require(args.buyer != seller, "E_SELF_DEALING")
    number = normalised_number(args.number)
    if number is None:
        ctx.fail("E_INVOICE_NUMBER")
    invoice = invoice_id(seller, args.buyer, number, args.issue_date, args.total)
    existing = ctx.get(Invoice, key_of(invoice))
    if existing is not None:
        ctx.fail("E_DUP_FINANCE" if is_taken(existing, ctx.time_ms) else "E_DUP_INVOICE")
    ctx.put(
        Invoice(
            invoice=invoice,
            number=args.number,
            seller=seller,
            buyer=args.buyer,
            issue_date=args.issue_date,
            due_date=args.due_date,
            total=args.total,
            tax_minor=args.tax_minor,
            type_code=args.type_code,
            document=args.document,
            seller_name=args.seller_name,
            seller_identifier=args.seller_identifier,
            buyer_name=args.buyer_name,
            buyer_identifier=args.buyer_identifier,
            loose_number=loose_number(number),
            state=InvoiceState.RECORDED,
            used_minor=0,
            settled_minor=0,
            payee=seller,
            financing="",
            lock=NO_LOCK,
        )
    )
    ctx.emit(InvoiceRecorded(number=args.number))


@module.command("confirm_invoice", args=OneInvoice, roles=("buyer", "core_enterprise"))
def confirm_invoice(ctx: Context, args: OneInvoice) -> None:
    """The buyer confirms that it owes the total; from now on the invoice can back vouchers or a financing."""
    invoice = _of_buyer(ctx, args.invoice)
    ctx.require(invoice.state in (InvoiceState.RECORDED, InvoiceState.DISPUTED), "E_INVOICE_STATE")
    ctx.put(replace(invoice, state=InvoiceState.CONFIRMED))
    ctx.emit(InvoiceConfirmed(invoice=invoice.invoice))
    mark_if_related(ctx, invoice.invoice, invoice.seller, invoice.buyer)


@module.command("dispute_invoice", args=DisputeInvoice, roles=("buyer", "core_enterprise"))
def dispute_invoice(ctx: Context, args: DisputeInvoice) -> None:
    """The buyer disputes the invoice, only before any of it is used: later holders relied on the confirmation."""
    invoice = _of_buyer(ctx, args.invoice)
    _require_unused(ctx, invoice)
    ctx.require(invoice.state in (InvoiceState.RECORDED, InvoiceState.CONFIRMED), "E_INVOICE_STATE")
    ctx.put(replace(invoice, state=InvoiceState.DISPUTED))
    ctx.emit(InvoiceDisputed(invoice=invoice.invoice, reason=args.reason))


@module.command("cancel_invoice", args=OneInvoice, roles=("exporter", "seller", "supplier"))
def cancel_invoice(ctx: Context, args: OneInvoice) -> None:
    """The seller withdraws the invoice (a red-letter invoice), only while none of it is used."""
    invoice = existing_invoice(ctx, args.invoice)
    ctx.require(invoice.seller == ctx.sender.name, "E_NOT_SELLER")
    _require_unused(ctx, invoice)
    ctx.require(
        invoice.state in (InvoiceState.RECORDED, InvoiceState.CONFIRMED, InvoiceState.DISPUTED), "E_INVOICE_STATE"
    )
    require_unfrozen(ctx, invoice.invoice)
    ctx.put(replace(invoice, state=InvoiceState.CANCELLED))
    ctx.emit(InvoiceCancelled(invoice=invoice.invoice))


def is_taken(invoice: Invoice, time_ms: int) -> bool:
    """Whether any of the claim is financed, reserved for a financing, or turned into vouchers."""
    return invoice.used_minor > 0 or invoice.financing != "" or invoice.lock.is_live(time_ms)


def state_by_use(invoice: Invoice, used_minor: int) -> InvoiceState:
    """The state that goes with so much use of a confirmed invoice."""
    if used_minor == 0:
        return InvoiceState.CONFIRMED
    return InvoiceState.USED if used_minor == invoice.total.minor else InvoiceState.PARTLY_USED


def _of_buyer(ctx: Context, invoice: str) -> Invoice:
    found = existing_invoice(ctx, invoice)
    ctx.require(found.buyer == ctx.sender.name, "E_NOT_BUYER")
    return found


def _require_unused(ctx: Context, invoice: Invoice) -> None:
    ctx.require(not is_taken(invoice, ctx.time_ms), "E_IN_USE")
