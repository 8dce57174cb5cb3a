"""Financing: a holder applies, a financier reserves the asset (lock and fingerprint), cash moves, the loan ends.

Reserving is where double financing is stopped. It is the financier's act, after it has checked what it was shown:

- an asset that is financed, reserved elsewhere or already turned into vouchers is refused with ``E_DUP_FINANCE``;
- an invoice whose number merely resembles that of a financed invoice of the same seller is not refused but *held*:
  the event ``FingerprintHit`` says so, nothing is locked, and another person of the financier's organisation approves
  with a reason (``approve_similar``) or the financier rejects.

A reservation is a lock with an end, so an applicant is never blocked for good by a bank that falls silent: after 72
hours the asset is free again, whether or not somebody sends ``expire_financing``.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import (
    Args,
    Context,
    Date,
    Hash32,
    Meta,
    Money,
    ShortText,
    days_between,
    key_of,
    replace,
)
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.checks import (
    FINANCIERS,
    HOLDERS,
    active_party,
    check_amount,
    check_date,
    existing_financing,
    existing_invoice,
    existing_voucher,
    reference,
)
from dawan_node.modules.receivable.declaration import (
    FinancingApplied,
    FinancingEnded,
    FinancingFunded,
    FinancingRecourse,
    FinancingRepaid,
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
from dawan_node.modules.receivable.invoices import InvoiceNumber, is_taken
from dawan_node.modules.receivable.title_security import (
    TitleName,
    TitleProof,
    end_security,
    require_secured,
    secure,
)
from dawan_node.modules.receivable.vouchers import LOCK_MS_MAX, VoucherRef

PPM: Final = 1_000_000
#: Interest is simple, on actual days over 365, as money markets count in yuan, Hong Kong dollars and patacas.
YEAR_DAYS: Final = 365
#: A seller with more look-alikes of one number than this has its request held anyway; the scan stays bounded.
SIMILAR_MAX: Final = 64

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
    """The invoice as the seller presents it to this financier, in whatever spelling."""

    number: ShortText
    invoice_number: InvoiceNumber
    buyer: ShortText
    issue_date: Date
    total: Money
    financier: ShortText
    principal: Money
    rate_ppm: Rate
    recourse: bool
    title: TitleName = ""
    title_proof: TitleProof = b""


class OneFinancing(Args):
    financing: FinancingRef


class ReserveFinancing(Args):
    """``tag``: HMAC-SHA-256 under the financiers' key over a document that is not on this channel (fingerprints)."""

    financing: FinancingRef
    tag: Hash32 = b""


class ApproveSimilar(Args):
    financing: FinancingRef
    reason: ShortText


class PayFinancing(Args):
    financing: FinancingRef
    cash: Cash


@module.command("apply_voucher_financing", args=ApplyVoucherFinancing, roles=HOLDERS)
def apply_voucher_financing(ctx: Context, args: ApplyVoucherFinancing) -> None:
    """The holder of a voucher asks a financier to buy it or to lend against it."""
    ctx.require(args.kind in (FinancingKind.DISCOUNT, FinancingKind.PLEDGE), "E_FINANCING_KIND")
    voucher = existing_voucher(ctx, args.voucher)
    ctx.require(voucher.holder == ctx.sender.name, "E_NOT_HOLDER")
    check_date(ctx, args.maturity)
    ctx.require(ctx.business_date <= args.maturity <= voucher.due_date, "E_MATURITY")
    _apply(ctx, args, voucher.voucher, "", args.kind, voucher.face, args.maturity)


@module.command("apply_invoice_financing", args=ApplyInvoiceFinancing, roles=("exporter", "seller", "supplier"))
def apply_invoice_financing(ctx: Context, args: ApplyInvoiceFinancing) -> None:
    """The seller of an invoice asks a financier to buy it, naming it as the paper does."""
    check_amount(ctx, args.total)
    check_date(ctx, args.issue_date)
    number = normalised_number(args.invoice_number)
    if number is None:
        ctx.fail("E_INVOICE_NUMBER")
    invoice = existing_invoice(ctx, invoice_id(ctx.sender.name, args.buyer, number, args.issue_date, args.total))
    kind = FinancingKind.FACTORING if args.recourse else FinancingKind.FORFAIT
    _apply(ctx, args, invoice.invoice, args.invoice_number, kind, invoice.total, invoice.due_date)


@module.command("reserve_financing", args=ReserveFinancing, roles=FINANCIERS)
def reserve_financing(ctx: Context, args: ReserveFinancing) -> None:
    """The financier locks the asset for itself; an asset financed elsewhere, in any spelling, is refused."""
    financing = _of_financier(ctx, args.financing)
    ctx.require(financing.state == FinancingState.APPLIED, "E_FINANCING_STATE")
    if args.tag:
        _register_tag(ctx, args.tag, financing.financing)
    if financing.presented:
        invoice = _require_free_invoice(ctx, financing.asset)
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
    _reserve(ctx, financing)


@module.command("approve_similar", args=ApproveSimilar, roles=FINANCIERS)
def approve_similar(ctx: Context, args: ApproveSimilar) -> None:
    """A second person of the financier's organisation lets a held financing through and says why."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(financing.state == FinancingState.HELD, "E_FINANCING_STATE")
    financier = active_party(ctx, financing.financier)
    ctx.require(ctx.sender.org == financier.org and ctx.sender.name != financing.reviewed_by, "E_FOUR_EYES")
    ctx.require(ctx.sender.name != financing.borrower, "E_SELF_DEALING")
    _require_free_invoice(ctx, financing.asset)
    _reserve(ctx, replace(financing, override_by=ctx.sender.name, override_reason=args.reason))


@module.command("reject_financing", args=OneFinancing, roles=FINANCIERS)
def reject_financing(ctx: Context, args: OneFinancing) -> None:
    """The financier declines, also after reserving: lock and fingerprint are free again."""
    financing = _of_financier(ctx, args.financing)
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
    ctx.require(financing.borrower == ctx.sender.name, "E_NOT_BORROWER")
    _end(ctx, financing, FinancingState.WITHDRAWN, (FinancingState.APPLIED, FinancingState.HELD))


@module.command("expire_financing", args=OneFinancing, roles=())
def expire_financing(ctx: Context, args: OneFinancing) -> None:
    """Borrower or financier records that a reservation ran out; the asset was free from that moment."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(ctx.sender.name in (financing.borrower, financing.financier), "E_NOT_PARTY")
    ctx.require(not _holds_lock(ctx, financing), "E_LOCK_LIVE")
    _end(ctx, financing, FinancingState.EXPIRED, (FinancingState.RESERVED,))


@module.command("fund_financing", args=PayFinancing, roles=SETTLEMENT_ROLES)
def fund_financing(ctx: Context, args: PayFinancing) -> None:
    """The settlement bank attests that the financier paid the borrower; the asset changes hands or is pledged."""
    financing = existing_financing(ctx, args.financing)
    ctx.require(financing.state == FinancingState.RESERVED, "E_FINANCING_STATE")
    ctx.require(_holds_lock(ctx, financing), "E_LOCK_EXPIRED")
    require_secured(ctx, financing.financing)
    use_cash(
        ctx,
        args.cash,
        payer=financing.financier,
        payee=financing.borrower,
        due=financing.principal,
        purpose="fund",
        subject=financing.financing,
    )
    if financing.presented:
        outstanding = _buy_invoice(ctx, financing)
    else:
        outstanding = _take_voucher(ctx, financing)
    ctx.put(
        replace(
            financing,
            state=FinancingState.FUNDED,
            value_date=args.cash.value_date,
            outstanding_minor=outstanding,
        )
    )
    ctx.emit(FinancingFunded(financing=financing.financing, principal=financing.principal))


@module.command("repay_financing", args=PayFinancing, roles=SETTLEMENT_ROLES)
def repay_financing(ctx: Context, args: PayFinancing) -> None:
    """The settlement bank attests that the borrower paid back a pledge loan or a recourse claim."""
    financing = existing_financing(ctx, args.financing)
    in_recourse = financing.state == FinancingState.RECOURSE
    loan = financing.state == FinancingState.FUNDED and financing.kind == FinancingKind.PLEDGE
    ctx.require(in_recourse or loan, "E_FINANCING_STATE")
    use_cash(
        ctx,
        args.cash,
        payer=financing.borrower,
        payee=financing.financier,
        due=Money(financing.principal.currency, financing.outstanding_minor),
        purpose="repay",
        subject=financing.financing,
    )
    _give_back(ctx, financing)
    end_security(ctx, financing.financing)
    state = FinancingState.CLOSED if in_recourse else FinancingState.REPAID
    ctx.put(replace(financing, state=state, outstanding_minor=0))
    ctx.emit(FinancingRepaid(financing=financing.financing))


@module.command("claim_recourse", args=OneFinancing, roles=FINANCIERS)
def claim_recourse(ctx: Context, args: OneFinancing) -> None:
    """The financier turns to the borrower: the loan is overdue, or what it bought with recourse was not paid."""
    financing = _of_financier(ctx, args.financing)
    ctx.require(financing.state == FinancingState.FUNDED, "E_FINANCING_STATE")
    if financing.presented:
        invoice = existing_invoice(ctx, financing.asset)
        ctx.require(financing.recourse and ctx.business_date > invoice.due_date, "E_RECOURSE")
    else:
        voucher = existing_voucher(ctx, financing.asset)
        if financing.kind == FinancingKind.PLEDGE:
            collectable = ctx.business_date > financing.maturity or ctx.business_date >= voucher.due_date
            ctx.require(collectable, "E_RECOURSE")
            # The pledge is enforced: the financier holds the voucher until the borrower redeems it.
            ctx.put(
                replace(
                    voucher,
                    state=VoucherState.ACTIVE,
                    holder=financing.financier,
                    transfers=voucher.transfers + 1,
                )
            )
        else:
            ctx.require(financing.recourse and voucher.state == VoucherState.DEFAULTED, "E_RECOURSE")
            ctx.require(voucher.holder == financing.financier, "E_NOT_HOLDER")
    ctx.put(replace(financing, state=FinancingState.RECOURSE))
    ctx.emit(
        FinancingRecourse(
            financing=financing.financing,
            outstanding=Money(financing.principal.currency, financing.outstanding_minor),
        )
    )


def reduce_outstanding(ctx: Context, financing_id: str, minor: int) -> None:
    """Book money that reached the financier through the asset itself; at zero the financing is over."""
    financing = existing_financing(ctx, financing_id)
    if financing.state not in (FinancingState.FUNDED, FinancingState.RECOURSE):
        return
    rest = max(financing.outstanding_minor - minor, 0)
    state: FinancingState = financing.state
    if rest == 0:
        state = FinancingState.CLOSED if state == FinancingState.RECOURSE else FinancingState.REPAID
        end_security(ctx, financing.financing)
        ctx.emit(FinancingRepaid(financing=financing.financing))
    ctx.put(replace(financing, state=state, outstanding_minor=rest))


def _apply(
    ctx: Context,
    args: ApplyVoucherFinancing | ApplyInvoiceFinancing,
    asset: str,
    presented: str,
    kind: FinancingKind,
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
            recourse=args.recourse,
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
    secure(ctx, financing, args.title, args.title_proof, financier.name, maturity)
    ctx.emit(FinancingApplied(financing=financing, financier=financier.name))


def _of_financier(ctx: Context, financing: str) -> Financing:
    found = existing_financing(ctx, financing)
    ctx.require(found.financier == ctx.sender.name, "E_NOT_FINANCIER")
    return found


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
        ctx.fail("E_DUP_FINANCE" if voucher.lock.purpose == LockPurpose.FINANCING else "E_LOCKED")
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


def _reserve(ctx: Context, financing: Financing) -> None:
    """Lock the asset for this financing."""
    lock = Lock(financing.financing, LockPurpose.FINANCING, ctx.time_ms + LOCK_MS_MAX)
    if financing.presented:
        ctx.put(replace(existing_invoice(ctx, financing.asset), lock=lock))
    else:
        voucher = _require_free_voucher(ctx, financing)
        ctx.put(replace(voucher, lock=lock))
        ctx.emit(VoucherLocked(voucher=voucher.voucher, owner=financing.financing, until_ms=lock.until_ms))
    ctx.put(replace(financing, state=FinancingState.RESERVED, reviewed_by=ctx.sender.name))
    ctx.emit(FinancingReserved(financing=financing.financing, asset=financing.asset, until_ms=lock.until_ms))


def _lock_of(ctx: Context, financing: Financing) -> Lock:
    if financing.presented:
        return existing_invoice(ctx, financing.asset).lock
    return existing_voucher(ctx, financing.asset).lock


def _holds_lock(ctx: Context, financing: Financing) -> bool:
    lock = _lock_of(ctx, financing)
    return lock.owner == financing.financing and lock.is_live(ctx.time_ms)


def _end(ctx: Context, financing: Financing, state: FinancingState, allowed: tuple[FinancingState, ...]) -> None:
    """End a financing that was not funded; give its lock back if it still has it."""
    ctx.require(financing.state in allowed, "E_FINANCING_STATE")
    if _lock_of(ctx, financing).owner == financing.financing:
        if financing.presented:
            ctx.put(replace(existing_invoice(ctx, financing.asset), lock=NO_LOCK))
        else:
            ctx.put(replace(existing_voucher(ctx, financing.asset), lock=NO_LOCK))
    ctx.put(replace(financing, state=state))
    end_security(ctx, financing.financing)
    ctx.emit(FinancingEnded(financing=financing.financing, state=state))


def _buy_invoice(ctx: Context, financing: Financing) -> int:
    invoice = existing_invoice(ctx, financing.asset)
    ctx.require(ctx.business_date <= invoice.due_date, "E_MATURED")
    ctx.put(
        replace(
            invoice,
            state=InvoiceState.USED,
            used_minor=invoice.total.minor,
            payee=financing.financier,
            financing=financing.financing,
            lock=NO_LOCK,
        )
    )
    return invoice.total.minor


def _take_voucher(ctx: Context, financing: Financing) -> int:
    """Move or pledge the voucher; what the financier will receive in the end, in minor units."""
    voucher = existing_voucher(ctx, financing.asset)
    # The lock keeps others out, but the due date may have passed since, and the holder may have declared default.
    ctx.require(ctx.business_date <= voucher.due_date, "E_MATURED")
    if financing.kind == FinancingKind.PLEDGE:
        ctx.put(replace(voucher, state=VoucherState.PLEDGED, pledge=financing.financing, lock=NO_LOCK))
        days = days_between(ctx.business_date, financing.maturity)
        # Agreed to maturity whenever it is repaid; rounded down, so the borrower never owes a fraction.
        interest = financing.principal.minor * financing.rate_ppm * days // (PPM * YEAR_DAYS)
        return financing.principal.minor + interest
    if voucher.discount:
        # The seller was itself a financier: with the price it has its money back.
        reduce_outstanding(ctx, voucher.discount, voucher.face.minor)
    ctx.put(
        replace(
            voucher,
            holder=financing.financier,
            discount=financing.financing,
            transfers=voucher.transfers + 1,
            lock=NO_LOCK,
        )
    )
    return voucher.face.minor


def _give_back(ctx: Context, financing: Financing) -> None:
    """Return the asset to the borrower who has paid."""
    if financing.presented:
        invoice = existing_invoice(ctx, financing.asset)
        unpaid = replace(invoice, state=InvoiceState.CONFIRMED, used_minor=0, payee=financing.borrower, financing="")
        ctx.put(unpaid)
        return
    voucher = existing_voucher(ctx, financing.asset)
    if financing.kind == FinancingKind.PLEDGE:
        state = VoucherState.ACTIVE if voucher.state == VoucherState.PLEDGED else voucher.state
        ctx.put(replace(voucher, state=state, holder=financing.borrower, pledge=""))
    else:
        ctx.put(replace(voucher, holder=financing.borrower, discount=""))
