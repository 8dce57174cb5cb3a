"""Financing up to the payment: a holder applies, a financier reserves the asset (lock and fingerprint) or declines.

Reserving is where double financing is stopped. It is the financier's act, after it has checked what it was shown:

- an asset that is financed, reserved elsewhere or already turned into vouchers is refused with ``E_DUP_FINANCE``;
- an invoice whose number merely resembles that of a financed invoice of the same seller is not refused but *held*:
  the event ``FingerprintHit`` says so, nothing is locked, and another person of the financier's organisation approves
  with a reason (``approve_similar``) or the financier rejects;
- of an export declaration no more than is still open can be reserved (``E_RESIDUAL``).

A reservation is a lock with an end, so an applicant is never blocked for good by a bank that falls silent: after 72
hours the asset is free again, whether or not somebody sends ``expire_financing``. Only the part of a declaration is
given back by that command, which the borrower may send itself.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from dawan_node.execution.module import (
    PPM,
    Args,
    Context,
    Date,
    Hash32,
    Meta,
    Money,
    ShortText,
    add_months,
    key_of,
    replace,
)
from dawan_node.modules.receivable.assets import (
    LOCK_MS_MAX,
    give_back_declaration,
    holds_lock,
    is_on_declaration,
    lock_of,
    put_lock,
    take_declaration,
)
from dawan_node.modules.receivable.checks import (
    FINANCIERS,
    HOLDERS,
    active_party,
    acts_for,
    check_amount,
    check_date,
    existing_declaration,
    existing_financing,
    existing_invoice,
    existing_voucher,
    financing_of_house,
    financing_of_sender,
    reference,
)
from dawan_node.modules.receivable.declaration import (
    FinancingApplied,
    FinancingEnded,
    FinancingReserved,
    FingerprintHit,
    VoucherLocked,
    module,
)
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    Financing,
    FinancingKind,
    FinancingState,
    Invoice,
    InvoiceState,
    Lock,
    LockPurpose,
    Tag,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.modules.receivable.freezes import require_asset_unfrozen
from dawan_node.modules.receivable.invoices import InvoiceNumber, is_taken
from dawan_node.modules.receivable.related import AcceptsRelated, require_taken
from dawan_node.modules.receivable.title_security import TitleName, TitleProof, end_security, secure
from dawan_node.modules.receivable.vouchers import VoucherRef

#: A seller with more look-alikes of one number than this has its request held anyway; the scan stays bounded.
SIMILAR_MAX: Final = 64
#: Proceeds of exports come in within a year, as long as a voucher may run.
EXPORT_TERM_MONTHS_MAX: Final = 12

Rate = Annotated[int, Meta(description="parts per million a year")]
FinancingRef = Annotated[str, Meta(min_length=1, max_length=120, description="financing id: borrower/number")]


class ApplyVoucherFinancing(Args):
    """DISCOUNT sells the voucher for ``principal``; PLEDGE borrows ``principal`` until ``maturity`` at ``rate_ppm``."""

    number: ShortText
    voucher: VoucherRef
    financier: ShortText
    kind: FinancingKind
    principal: Money
    rate_ppm: Rate
    recourse: bool
    maturity: Date
    title: TitleName = ""
    title_proof: TitleProof = b""


class ApplyInvoiceFinancing(Args):
    """The invoice as the seller presents it to this financier, in whatever spelling.

    ``kind`` empty: FACTORING with recourse, FORFAIT without. Factoring without recourse has to be asked for.
    """

    number: ShortText
    invoice_number: InvoiceNumber
    buyer: ShortText
    issue_date: Date
    total: Money
    financier: ShortText
    principal: Money
    rate_ppm: Rate
    recourse: bool
    kind: Literal["", "FACTORING", "FORFAIT"] = ""
    title: TitleName = ""
    title_proof: TitleProof = b""


class ApplyExportFinancing(Args):
    """``declaration``: 18 digits; the loan is repaid by ``maturity`` from the proceeds or otherwise."""

    number: ShortText
    declaration: ShortText
    financier: ShortText
    principal: Money
    rate_ppm: Rate
    maturity: Date
    title: TitleName = ""
    title_proof: TitleProof = b""


class OneFinancing(Args):
    financing: FinancingRef


class ReserveFinancing(Args):
    """``tag``: HMAC-SHA-256 under the financiers' key over a document that is not on this channel (fingerprints)."""

    financing: FinancingRef
    tag: Hash32 = b""
    related: AcceptsRelated = False


class ApproveSimilar(Args):
    financing: FinancingRef
    reason: ShortText
    related: AcceptsRelated = False


@module.command("apply_voucher_financing", args=ApplyVoucherFinancing, roles=HOLDERS)
def apply_voucher_financing(ctx: Context, args: ApplyVoucherFinancing) -> None:
    """The holder of a voucher asks a financier to buy it or to lend against it."""
    ctx.require(args.kind in (FinancingKind.DISCOUNT, FinancingKind.PLEDGE), "E_FINANCING_KIND")
    voucher = existing_voucher(ctx, args.voucher)
    ctx.require(voucher.holder == ctx.sender.name, "E_NOT_HOLDER")
    check_date(ctx, args.maturity)
    ctx.require(ctx.business_date <= args.maturity <= voucher.due_date, "E_MATURITY")
    _apply(ctx, args, voucher.voucher, "", args.kind, args.recourse, voucher.face, args.maturity)


@module.command("apply_invoice_financing", args=ApplyInvoiceFinancing, roles=("exporter", "seller", "supplier"))
def apply_invoice_financing(ctx: Context, args: ApplyInvoiceFinancing) -> None:
    """The seller of an invoice asks a financier to buy it, naming it as the paper does."""
    check_amount(ctx, args.total)
    check_date(ctx, args.issue_date)
    number = normalised_number(args.invoice_number)
    if number is None:
        ctx.fail("E_INVOICE_NUMBER")
    invoice = existing_invoice(ctx, invoice_id(ctx.sender.name, args.buyer, number, args.issue_date, args.total))
    # What is bought à forfait never comes back to the seller.
    ctx.require(not (args.kind == "FORFAIT" and args.recourse), "E_FINANCING_KIND")
    kind = FinancingKind.FACTORING if args.recourse or args.kind == "FACTORING" else FinancingKind.FORFAIT
    _apply(ctx, args, invoice.invoice, args.invoice_number, kind, args.recourse, invoice.total, invoice.due_date)


@module.command("apply_export_financing", args=ApplyExportFinancing, roles=("exporter",))
def apply_export_financing(ctx: Context, args: ApplyExportFinancing) -> None:
    """An exporter asks for a loan on goods that customs released, up to what is neither financed nor collected."""
    declaration = existing_declaration(ctx, args.declaration)
    ctx.require(declaration.exporter == ctx.sender.name, "E_NOT_EXPORTER")
    check_date(ctx, args.maturity)
    latest = add_months(ctx.business_date, EXPORT_TERM_MONTHS_MAX)
    ctx.require(ctx.business_date <= args.maturity <= latest, "E_MATURITY")
    # The borrower of a loan always owes it: recourse is what a loan is.
    _apply(ctx, args, declaration.declaration, "", FinancingKind.PLEDGE, True, declaration.amount, args.maturity)


@module.command("reserve_financing", args=ReserveFinancing, roles=FINANCIERS)
def reserve_financing(ctx: Context, args: ReserveFinancing) -> None:
    """The financier locks the asset for itself; an asset financed elsewhere, in any spelling, is refused."""
    financing = financing_of_sender(ctx, args.financing)
    ctx.require(financing.state == FinancingState.APPLIED, "E_FINANCING_STATE")
    if args.tag:
        _register_tag(ctx, args.tag, financing.financing)
    if financing.presented:
        invoice = _require_free_invoice(ctx, financing.asset)
        require_taken(ctx, financing, args.related)
        similar = _similar_financed(ctx, invoice)
        if similar is not None:
            ctx.put(
                replace(
                    financing,
                    state=FinancingState.HELD,
                    reviewed_by=ctx.sender.name,
                    similar_to=similar.invoice,
                )
            )
            ctx.emit(
                FingerprintHit(
                    kind="similar",
                    financing=financing.financing,
                    invoice=invoice.invoice,
                    similar_to=similar.invoice,
                )
            )
            return
    _reserve(ctx, financing, args.related)


@module.command("approve_similar", args=ApproveSimilar, roles=FINANCIERS)
def approve_similar(ctx: Context, args: ApproveSimilar) -> None:
    """A second person of the financier's organisation lets a held financing through and says why."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(financing.state == FinancingState.HELD, "E_FINANCING_STATE")
    financier = active_party(ctx, financing.financier)
    ctx.require(ctx.sender.org == financier.org and ctx.sender.name != financing.reviewed_by, "E_FOUR_EYES")
    ctx.require(ctx.sender.name != financing.borrower, "E_SELF_DEALING")
    _require_free_invoice(ctx, financing.asset)
    _reserve(ctx, replace(financing, override_by=ctx.sender.name, override_reason=args.reason), args.related)


@module.command("reject_financing", args=OneFinancing, roles=FINANCIERS)
def reject_financing(ctx: Context, args: OneFinancing) -> None:
    """The financier declines, also after reserving: lock and fingerprint are free again."""
    financing = financing_of_house(ctx, args.financing)
    _end(
        ctx,
        financing,
        FinancingState.REJECTED,
        (FinancingState.APPLIED, FinancingState.HELD, FinancingState.RESERVED),
    )


@module.command("withdraw_financing", args=OneFinancing, roles=HOLDERS)
def withdraw_financing(ctx: Context, args: OneFinancing) -> None:
    """The borrower withdraws an application that is not reserved yet."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(acts_for(ctx, financing.borrower), "E_NOT_BORROWER")
    _end(ctx, financing, FinancingState.WITHDRAWN, (FinancingState.APPLIED, FinancingState.HELD))


@module.command("expire_financing", args=OneFinancing, roles=())
def expire_financing(ctx: Context, args: OneFinancing) -> None:
    """Borrower or financier records that a reservation ran out; the asset was free from that moment."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(acts_for(ctx, financing.borrower) or acts_for(ctx, financing.financier), "E_NOT_PARTY")
    ctx.require(not holds_lock(ctx, financing), "E_LOCK_LIVE")
    _end(ctx, financing, FinancingState.EXPIRED, (FinancingState.RESERVED,))


def _apply(
    ctx: Context,
    args: ApplyVoucherFinancing | ApplyInvoiceFinancing | ApplyExportFinancing,
    asset: str,
    presented: str,
    kind: FinancingKind,
    recourse: bool,
    value: Money,
    maturity: str,
) -> None:
    financing = f"{ctx.sender.name}/{reference(ctx, args.number)}"
    ctx.require(ctx.get(Financing, key_of(financing)) is None, "E_DUP_FINANCING")
    check_amount(ctx, args.principal)
    ctx.require(args.principal.currency == value.currency, "E_CURRENCY_MISMATCH")
    ctx.require(args.principal.minor <= value.minor, "E_PRINCIPAL")
    ctx.require(0 <= args.rate_ppm <= PPM, "E_RATE")
    financier = active_party(ctx, args.financier)
    ctx.require(financier.name != ctx.sender.name, "E_SELF_DEALING")
    ctx.put(
        Financing(
            financing=financing,
            kind=kind,
            asset=asset,
            presented=presented,
            borrower=ctx.sender.name,
            financier=financier.name,
            principal=args.principal,
            rate_ppm=args.rate_ppm,
            recourse=recourse,
            value_date="",
            maturity=maturity,
            outstanding_minor=0,
            state=FinancingState.APPLIED,
            reviewed_by="",
            similar_to="",
            override_by="",
            override_reason="",
        )
    )
    if args.title or args.title_proof:
        # Only in recourse can a title be taken: without recourse it would bind the goods and secure nothing.
        ctx.require(recourse or kind == FinancingKind.PLEDGE, "E_RECOURSE")
    secure(ctx, financing, args.title, args.title_proof, financier.name, maturity)
    ctx.emit(FinancingApplied(financing=financing, financier=financier.name))


def _register_tag(ctx: Context, tag: bytes, financing: str) -> None:
    ctx.require(ctx.get(Tag, tag) is None, "E_DUP_FINANCE")
    ctx.put(Tag(tag=tag, financing=financing))


def _require_free_invoice(ctx: Context, invoice_ref: str) -> Invoice:
    invoice = existing_invoice(ctx, invoice_ref)
    ctx.require(not is_taken(invoice, ctx.time_ms), "E_DUP_FINANCE")
    ctx.require(invoice.state not in (InvoiceState.RECORDED, InvoiceState.DISPUTED), "E_NOT_CONFIRMED")
    ctx.require(invoice.state == InvoiceState.CONFIRMED, "E_INVOICE_STATE")
    ctx.require(ctx.business_date <= invoice.due_date, "E_MATURED")
    return invoice


def _require_free_voucher(ctx: Context, financing: Financing) -> Voucher:
    voucher = existing_voucher(ctx, financing.asset)
    if voucher.lock.is_live(ctx.time_ms):
        ctx.fail("E_LOCKED" if voucher.lock.purpose == LockPurpose.OTHER else "E_DUP_FINANCE")
    ctx.require(voucher.pledge == "", "E_DUP_FINANCE")
    if voucher.holder != financing.borrower:
        # Sold to another financier since: that is the double financing this registry exists for.
        ctx.fail("E_DUP_FINANCE" if voucher.discount else "E_NOT_HOLDER")
    ctx.require(voucher.state == VoucherState.ACTIVE, "E_VOUCHER_STATE")
    ctx.require(ctx.business_date <= voucher.due_date, "E_MATURED")
    return voucher


def _similar_financed(ctx: Context, invoice: Invoice) -> Invoice | None:
    """Another invoice of the seller whose number looks the same and of which something is financed."""
    candidates = ctx.scan(Invoice, "by_number", (invoice.seller, invoice.loose_number), limit=SIMILAR_MAX)
    for candidate in candidates:
        if candidate.invoice != invoice.invoice and is_taken(candidate, ctx.time_ms):
            return candidate
    return candidates[0] if len(candidates) == SIMILAR_MAX else None


def _reserve(ctx: Context, financing: Financing, related: bool) -> None:
    """Lock the asset for this financing; ``related``: the financier accepts related parties."""
    lock = Lock(financing.financing, LockPurpose.FINANCING, ctx.time_ms + LOCK_MS_MAX)
    require_asset_unfrozen(ctx, financing)
    if is_on_declaration(financing):
        take_declaration(ctx, financing, lock.until_ms)
    elif financing.presented:
        require_taken(ctx, financing, related)
        put_lock(ctx, financing, lock)
    else:
        voucher = _require_free_voucher(ctx, financing)
        require_taken(ctx, financing, related)
        ctx.put(replace(voucher, lock=lock))
        ctx.emit(VoucherLocked(voucher=voucher.voucher, owner=financing.financing, until_ms=lock.until_ms))
    ctx.put(replace(financing, state=FinancingState.RESERVED, reviewed_by=ctx.sender.name))
    ctx.emit(FinancingReserved(financing=financing.financing, asset=financing.asset, until_ms=lock.until_ms))


def _end(ctx: Context, financing: Financing, state: FinancingState, allowed: tuple[FinancingState, ...]) -> None:
    """End a financing that was not funded; give its lock back if it still has it."""
    ctx.require(financing.state in allowed, "E_FINANCING_STATE")
    if is_on_declaration(financing):
        give_back_declaration(ctx, financing)
    elif lock_of(ctx, financing).owner == financing.financing:
        put_lock(ctx, financing, NO_LOCK)
    ctx.put(replace(financing, state=state))
    end_security(ctx, financing.financing)
    ctx.emit(FinancingEnded(financing=financing.financing, state=state))
