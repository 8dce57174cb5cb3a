"""Vouchers: a core enterprise's dated promise to pay, accepted, split, passed down the supply chain, locked, cancelled.

A voucher is backed by invoices that the core enterprise itself confirmed as their buyer; what backs a voucher can back
nothing else. Splitting consumes a voucher and creates parts with the same due date whose faces sum to it exactly, so
the unredeemed leaves under a root and what was redeemed always add up to what was issued.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import (
    Args,
    Context,
    Date,
    Instant,
    Meta,
    Money,
    ShortText,
    add_months,
    key_of,
    replace,
)
from dawan_node.modules.receivable.assets import LOCK_MS_MAX
from dawan_node.modules.receivable.checks import (
    FINANCIERS,
    HOLDERS,
    active_party,
    check_amount,
    check_date,
    existing_invoice,
    existing_voucher,
    own_movable_voucher,
    reference,
)
from dawan_node.modules.receivable.declaration import (
    CreditLineSet,
    VoucherAccepted,
    VoucherCancelled,
    VoucherDeclined,
    VoucherIssued,
    VoucherLocked,
    VoucherOffered,
    VoucherReleased,
    VoucherSplit,
    VoucherTransferred,
    module,
)
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    CreditLine,
    Exposure,
    InvoiceState,
    InvoiceUse,
    Lock,
    LockPurpose,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.freezes import require_unfrozen, require_voucher_unfrozen
from dawan_node.modules.receivable.invoices import state_by_use
from dawan_node.modules.receivable.related import AcceptsRelated, mark_if_related, require_voucher_taken
from dawan_node.modules.receivable.terms import (
    hard_term_months,
    min_face_minor,
    soft_term_months,
    split_depth_max,
)

#: One split touches this many entities at most, far inside the step budget.
PARTS_MAX: Final = 32
INVOICES_MAX: Final = 32

Minor = Annotated[int, Meta(ge=-(10**15), le=10**15)]
VoucherRef = Annotated[str, Meta(min_length=1, max_length=200, description="voucher id: issuer/number[.part ...]")]


class Use(Args):
    invoice: Annotated[str, Meta(min_length=1, max_length=240)]
    minor: Minor


class IssueVoucher(Args):
    """``invoices`` sum to ``face``; the issuer is their buyer and ``holder`` their seller."""

    number: ShortText
    holder: ShortText
    face: Money
    due_date: Date
    invoices: Annotated[list[Use], Meta(min_length=1, max_length=INVOICES_MAX)]
    guarantor: Annotated[str, Meta(max_length=32)] = ""


class OneVoucher(Args):
    voucher: VoucherRef


class AcceptVoucher(Args):
    """``related``: a bank or factor takes a voucher between parties of one organisation."""

    voucher: VoucherRef
    related: AcceptsRelated = False


class SplitVoucher(Args):
    voucher: VoucherRef
    parts: Annotated[list[Money], Meta(min_length=2, max_length=PARTS_MAX)]


class TransferVoucher(Args):
    voucher: VoucherRef
    to: ShortText


class LockVoucher(Args):
    """``until_ms`` is block time in ms UTC; only ``owner`` can release the lock before it."""

    voucher: VoucherRef
    owner: ShortText
    reason: ShortText
    until_ms: Instant


class SetCreditLine(Args):
    core: ShortText
    limit: Money


@module.command("issue_voucher", args=IssueVoucher, roles=("core_enterprise",))
def issue_voucher(ctx: Context, args: IssueVoucher) -> None:
    """A core enterprise promises to pay its supplier's confirmed invoices on a date; the supplier has to accept."""
    issuer = ctx.sender.name
    voucher = f"{issuer}/{reference(ctx, args.number)}"
    ctx.require(ctx.get(Voucher, key_of(voucher)) is None, "E_DUP_VOUCHER")
    check_amount(ctx, args.face)
    check_date(ctx, args.due_date)
    today = ctx.business_date
    ctx.require(today <= args.due_date, "E_DUE_PAST")
    ctx.require(args.due_date <= add_months(today, hard_term_months(ctx)), "E_TERM")
    flagged = args.due_date > add_months(today, soft_term_months(ctx))
    ctx.require(args.holder != issuer, "E_SELF_DEALING")
    active_party(ctx, args.holder)
    uses = tuple([InvoiceUse(use.invoice, use.minor) for use in args.invoices])
    _use_invoices(ctx, uses, args.holder, args.face)
    # All of them are sold by the holder to the issuer.
    related = mark_if_related(ctx, voucher, args.holder, issuer)
    if args.guarantor:
        ctx.require(not related, "E_RELATED")
        _draw_credit_line(ctx, args.guarantor, args.face)
    _add_exposure(ctx, issuer, args.face.currency, issued=args.face.minor)
    ctx.put(
        Voucher(
            voucher=voucher,
            root=voucher,
            parent="",
            depth=0,
            issuer=issuer,
            holder="",
            offered_to=args.holder,
            face=args.face,
            issue_date=today,
            due_date=args.due_date,
            flagged=flagged,
            guarantor=args.guarantor,
            invoices=uses,
            state=VoucherState.OFFERED,
            parts=0,
            transfers=0,
            redeemed_minor=0,
            cancel_consent="",
            discount="",
            pledge="",
            lock=NO_LOCK,
        )
    )
    ctx.emit(
        VoucherIssued(voucher=voucher, holder=args.holder, face=args.face, due_date=args.due_date, flagged=flagged)
    )


@module.command("accept_voucher", args=AcceptVoucher, roles=HOLDERS)
def accept_voucher(ctx: Context, args: AcceptVoucher) -> None:
    """The party a voucher is offered to, newly issued or transferred, takes it and becomes its holder."""
    voucher = existing_voucher(ctx, args.voucher)
    ctx.require(voucher.offered_to == ctx.sender.name, "E_NOT_OFFERED")
    ctx.require(ctx.business_date <= voucher.due_date, "E_MATURED")
    require_voucher_unfrozen(ctx, voucher.voucher)
    require_voucher_taken(ctx, voucher, args.related)
    first = voucher.state == VoucherState.OFFERED
    ctx.put(
        replace(
            voucher,
            state=VoucherState.ACTIVE,
            holder=ctx.sender.name,
            offered_to="",
            transfers=voucher.transfers + (0 if first else 1),
        )
    )
    if first:
        ctx.emit(VoucherAccepted(voucher=voucher.voucher, holder=ctx.sender.name))
    else:
        ctx.emit(VoucherTransferred(voucher=voucher.voucher, from_holder=voucher.holder, to_holder=ctx.sender.name))


@module.command("decline_voucher", args=OneVoucher, roles=HOLDERS)
def decline_voucher(ctx: Context, args: OneVoucher) -> None:
    """The offered party declines, or the offering one takes the offer back: a new voucher ends, a transfer does not."""
    voucher = existing_voucher(ctx, args.voucher)
    ctx.require(voucher.offered_to != "", "E_VOUCHER_STATE")
    first = voucher.state == VoucherState.OFFERED
    offering = voucher.issuer if first else voucher.holder
    ctx.require(ctx.sender.name in (voucher.offered_to, offering), "E_NOT_PARTY")
    if first:
        require_voucher_unfrozen(ctx, voucher.voucher)
        _cancel(ctx, voucher)
    else:
        ctx.put(replace(voucher, state=VoucherState.ACTIVE, offered_to=""))
    ctx.emit(VoucherDeclined(voucher=voucher.voucher, by=ctx.sender.name))


@module.command("split_voucher", args=SplitVoucher, roles=HOLDERS)
def split_voucher(ctx: Context, args: SplitVoucher) -> None:
    """The holder splits a voucher into parts that sum to its face to the last minor unit."""
    voucher = own_movable_voucher(ctx, args.voucher)
    ctx.require(voucher.depth < split_depth_max(ctx), "E_SPLIT_DEPTH")
    for part in args.parts:
        check_amount(ctx, part)
        ctx.require(part.currency == voucher.face.currency, "E_CURRENCY_MISMATCH")
    ctx.require(sum([part.minor for part in args.parts]) == voucher.face.minor, "E_SPLIT_SUM")
    smallest = min_face_minor(ctx, voucher.face.currency)
    ctx.require(min([part.minor for part in args.parts]) >= smallest, "E_MIN_FACE")
    names = tuple([f"{voucher.voucher}.{position}" for position in range(1, len(args.parts) + 1)])
    for name, part in zip(names, args.parts, strict=True):
        ctx.put(
            replace(
                voucher,
                voucher=name,
                parent=voucher.voucher,
                depth=voucher.depth + 1,
                face=part,
                invoices=(),
                transfers=0,
                redeemed_minor=0,
                cancel_consent="",
                lock=NO_LOCK,
            )
        )
    ctx.put(replace(voucher, state=VoucherState.SPLIT, parts=len(names), lock=NO_LOCK))
    ctx.emit(VoucherSplit(voucher=voucher.voucher, parts=names))


@module.command("transfer_voucher", args=TransferVoucher, roles=HOLDERS)
def transfer_voucher(ctx: Context, args: TransferVoucher) -> None:
    """The holder offers the voucher to another party, which becomes the holder when it accepts."""
    voucher = own_movable_voucher(ctx, args.voucher)
    # Back to the issuer would make debtor and creditor one; that is settlement, and settlement is attested in cash.
    ctx.require(args.to not in (voucher.holder, voucher.issuer), "E_SELF_DEALING")
    active_party(ctx, args.to)
    ctx.put(replace(voucher, state=VoucherState.TRANSFERRING, offered_to=args.to))
    ctx.emit(VoucherOffered(voucher=voucher.voucher, offered_to=args.to))


@module.command("lock_voucher", args=LockVoucher, roles=HOLDERS)
def lock_voucher(ctx: Context, args: LockVoucher) -> None:
    """The holder locks the voucher for another party's process; one live lock per voucher."""
    voucher = own_movable_voucher(ctx, args.voucher)
    active_party(ctx, args.owner)
    ctx.require(ctx.time_ms < args.until_ms <= ctx.time_ms + LOCK_MS_MAX, "E_LOCK_TIME")
    ctx.put(replace(voucher, lock=Lock(args.owner, LockPurpose.OTHER, args.until_ms)))
    ctx.emit(VoucherLocked(voucher=voucher.voucher, owner=args.owner, until_ms=args.until_ms))


@module.command("release_voucher", args=OneVoucher, roles=())
def release_voucher(ctx: Context, args: OneVoucher) -> None:
    """The owner of a lock that a holder gave it ends the lock; a financing's lock ends with the financing."""
    voucher = existing_voucher(ctx, args.voucher)
    owned = voucher.lock.purpose == LockPurpose.OTHER and voucher.lock.owner == ctx.sender.name
    ctx.require(owned and voucher.lock.is_live(ctx.time_ms), "E_NOT_LOCKED")
    ctx.put(replace(voucher, lock=NO_LOCK))
    ctx.emit(VoucherReleased(voucher=voucher.voucher, owner=ctx.sender.name))


@module.command("cancel_voucher", args=OneVoucher, roles=HOLDERS)
def cancel_voucher(ctx: Context, args: OneVoucher) -> None:
    """Issuer and first holder cancel together, each by sending this, while the voucher was never moved or split."""
    voucher = existing_voucher(ctx, args.voucher)
    sender = ctx.sender.name
    ctx.require(sender in (voucher.issuer, voucher.holder), "E_NOT_PARTY")
    untouched = (
        voucher.state == VoucherState.ACTIVE
        and voucher.depth == 0
        and voucher.transfers == 0
        and not voucher.lock.is_live(ctx.time_ms)
    )
    ctx.require(untouched, "E_IN_USE")
    require_voucher_unfrozen(ctx, voucher.voucher)
    if voucher.cancel_consent in ("", sender):
        ctx.put(replace(voucher, cancel_consent=sender))
        return
    _cancel(ctx, voucher)
    ctx.emit(VoucherCancelled(voucher=voucher.voucher))


@module.command("set_credit_line", args=SetCreditLine, roles=(*FINANCIERS, "guarantor"))
def set_credit_line(ctx: Context, args: SetCreditLine) -> None:
    """A bank says up to how much it guarantees a core enterprise's vouchers in one currency."""
    check_amount(ctx, args.limit)
    ctx.require(args.core != ctx.sender.name, "E_SELF_DEALING")
    active_party(ctx, args.core)
    line = ctx.get(CreditLine, key_of(ctx.sender.name, args.core, args.limit.currency))
    used = line.used_minor if line is not None else 0
    ctx.require(used <= args.limit.minor, "E_LINE_BELOW_USE")
    ctx.put(CreditLine(bank=ctx.sender.name, core=args.core, limit=args.limit, used_minor=used))
    ctx.emit(CreditLineSet(bank=ctx.sender.name, core=args.core, limit=args.limit))


def release_guarantee(ctx: Context, voucher: Voucher, minor: int) -> None:
    """Give back to the guarantor's line what this voucher no longer needs."""
    if voucher.guarantor:
        line = ctx.get(CreditLine, key_of(voucher.guarantor, voucher.issuer, voucher.face.currency))
        assert line is not None, "a guaranteed voucher drew on a line, and lines are never deleted"
        ctx.put(replace(line, used_minor=line.used_minor - minor))


def _add_exposure(ctx: Context, issuer: str, currency: str, issued: int = 0, cancelled: int = 0) -> None:
    exposure = ctx.get(Exposure, key_of(issuer, currency)) or Exposure(
        issuer=issuer, currency=currency, issued_minor=0, redeemed_minor=0, cancelled_minor=0, defaulted_minor=0
    )
    ctx.put(
        replace(
            exposure,
            issued_minor=exposure.issued_minor + issued,
            cancelled_minor=exposure.cancelled_minor + cancelled,
        )
    )


def _use_invoices(ctx: Context, uses: tuple[InvoiceUse, ...], seller: str, face: Money) -> None:
    """Bind the backing invoices: each confirmed by the issuer as its buyer, sold by the holder, not over-used."""
    ctx.require(len({use.invoice for use in uses}) == len(uses), "E_USE_MISMATCH")
    for use in uses:
        check_amount(ctx, Money(face.currency, use.minor))
    ctx.require(sum([use.minor for use in uses]) == face.minor, "E_USE_MISMATCH")
    for use in uses:
        invoice = existing_invoice(ctx, use.invoice)
        ctx.require(invoice.buyer == ctx.sender.name, "E_NOT_BUYER")
        ctx.require(invoice.seller == seller, "E_NOT_SELLER")
        ctx.require(invoice.total.currency == face.currency, "E_CURRENCY_MISMATCH")
        ctx.require(invoice.financing == "" and not invoice.lock.is_live(ctx.time_ms), "E_DUP_FINANCE")
        ctx.require(invoice.state not in (InvoiceState.RECORDED, InvoiceState.DISPUTED), "E_NOT_CONFIRMED")
        used = invoice.used_minor + use.minor
        ctx.require(used <= invoice.total.minor, "E_OVERUSE")
        ctx.require(invoice.state in (InvoiceState.CONFIRMED, InvoiceState.PARTLY_USED), "E_INVOICE_STATE")
        require_unfrozen(ctx, invoice.invoice)
        ctx.put(replace(invoice, used_minor=used, state=state_by_use(invoice, used), lock=NO_LOCK))


def _draw_credit_line(ctx: Context, guarantor: str, face: Money) -> None:
    line = ctx.get(CreditLine, key_of(guarantor, ctx.sender.name, face.currency))
    if line is None or line.used_minor + face.minor > line.limit.minor:
        ctx.fail("E_CREDIT_LINE")
    ctx.put(replace(line, used_minor=line.used_minor + face.minor))


def _cancel(ctx: Context, voucher: Voucher) -> None:
    """End a voucher that nobody relied on: its invoices are free again."""
    for use in voucher.invoices:
        invoice = existing_invoice(ctx, use.invoice)
        used = invoice.used_minor - use.minor
        ctx.put(replace(invoice, used_minor=used, state=state_by_use(invoice, used)))
    release_guarantee(ctx, voucher, voucher.face.minor)
    _add_exposure(ctx, voucher.issuer, voucher.face.currency, cancelled=voucher.face.minor)
    ctx.put(replace(voucher, state=VoucherState.CANCELLED, offered_to="", lock=NO_LOCK))
