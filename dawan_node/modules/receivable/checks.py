"""Checks that several commands share. Each returns the checked thing or fails with a reason of the error table."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from dawan_node.execution.module import Context, Entity, Identity, Money, is_date, key_of
from dawan_node.modules.receivable.entities import Announcement, Financing, Invoice, Voucher, VoucherState
from dawan_node.modules.receivable.freezes import require_voucher_unfrozen
from dawan_node.modules.receivable.rules import strict
from dawan_node.modules.receivable.supervised import ClearingBatch, ExportDeclaration, Rediscount, TaxFiling

E = TypeVar("E", bound=Entity)

#: Far above any real amount, and a thousand of them still sum to less than 2^63.
AMOUNT_MINOR_MAX: Final = 10**15 - 1

_REFERENCE: Final = re.compile("[A-Z0-9][A-Z0-9-]{0,39}")

#: Who may hold vouchers and act as a holder.
HOLDERS: Final = ("bank", "core_enterprise", "exporter", "factor", "seller", "supplier")
FINANCIERS: Final = ("bank", "factor")


def check_amount(ctx: Context, amount: Money) -> None:
    """A known currency and a positive amount of at most 15 digits."""
    ctx.require(amount.is_known(), "E_UNKNOWN_CURRENCY")
    ctx.require(amount.minor >= 0, "E_NEGATIVE_AMOUNT")
    ctx.require(amount.minor > 0, "E_ZERO_AMOUNT")
    ctx.require(amount.minor <= AMOUNT_MINOR_MAX, "E_AMOUNT_RANGE")


def check_date(ctx: Context, date: str) -> None:
    """A day that exists."""
    ctx.require(is_date(date), "E_DATE")


def reference(ctx: Context, text: str) -> str:
    """A party's own number in its one spelling: ASCII letters become capitals."""
    ctx.require(text.isascii(), "E_REFERENCE")
    upper = text.upper()
    ctx.require(_REFERENCE.fullmatch(upper) is not None, "E_REFERENCE")
    return upper


def active_party(ctx: Context, name: str) -> Identity:
    """An enrolled, not revoked identity: nothing is issued or sent to a name nobody answers for."""
    identity = ctx.identity(name)
    if identity is None or identity.status != "active":
        ctx.fail("E_UNKNOWN_PARTY")
    return identity


def active_party_with(ctx: Context, name: str, role: str) -> Identity:
    """An active identity that has a role."""
    identity = active_party(ctx, name)
    ctx.require(role in identity.roles, "E_ROLE_OF_PARTY")
    return identity


def existing_invoice(ctx: Context, invoice: str) -> Invoice:
    """The invoice of that identifier."""
    return _existing(ctx, Invoice, invoice, "E_UNKNOWN_INVOICE")


def existing_voucher(ctx: Context, voucher: str) -> Voucher:
    """The voucher of that identifier."""
    return _existing(ctx, Voucher, voucher, "E_UNKNOWN_VOUCHER")


def existing_financing(ctx: Context, financing: str) -> Financing:
    """The financing of that identifier."""
    return _existing(ctx, Financing, financing, "E_UNKNOWN_FINANCING")


def existing_rediscount(ctx: Context, rediscount: str) -> Rediscount:
    """The rediscount of that identifier."""
    return _existing(ctx, Rediscount, rediscount, "E_UNKNOWN_REDISCOUNT")


def existing_declaration(ctx: Context, declaration: str) -> ExportDeclaration:
    """The export declaration of that number."""
    return _existing(ctx, ExportDeclaration, declaration, "E_UNKNOWN_DECLARATION")


def existing_filing(ctx: Context, filing: str) -> TaxFiling:
    """The tax filing of that identifier."""
    return _existing(ctx, TaxFiling, filing, "E_UNKNOWN_FILING")


def existing_batch(ctx: Context, batch: str) -> ClearingBatch:
    """The clearing batch of that identifier."""
    return _existing(ctx, ClearingBatch, batch, "E_UNKNOWN_BATCH")


def existing_announcement(ctx: Context, announcement: str) -> Announcement:
    """The announced payment of that identifier."""
    return _existing(ctx, Announcement, announcement, "E_UNKNOWN_ANNOUNCEMENT")


def financing_of_sender(ctx: Context, financing: str) -> Financing:
    """The financing of that identifier, of which the sender is the financier."""
    found = existing_financing(ctx, financing)
    ctx.require(found.financier == ctx.sender.name, "E_NOT_FINANCIER")
    return found


def financing_of_house(ctx: Context, financing: str) -> Financing:
    """The financing of that identifier, of which the sender is the financier or acts for it (``acts_for``)."""
    found = existing_financing(ctx, financing)
    ctx.require(acts_for(ctx, found.financier), "E_NOT_FINANCIER")
    return found


def acts_for(ctx: Context, party: str) -> bool:
    """Whether the sender is this party or, under the rules of version 2 and while that identity is revoked, another one
    of its organisation: what was lent is the house's claim, and a title must neither stay bound nor come free for want
    of a key."""
    if ctx.sender.name == party or not strict(ctx):
        return ctx.sender.name == party
    known = ctx.identity(party)
    return known is not None and known.status != "active" and known.org == ctx.sender.org


def own_movable_voucher(ctx: Context, voucher: str) -> Voucher:
    """A voucher the sender holds and may still move: active, not locked, due date not passed, not frozen."""
    found = existing_voucher(ctx, voucher)
    ctx.require(found.holder == ctx.sender.name, "E_NOT_HOLDER")
    # A pledge that was enforced must stay where it is until the borrower redeems it or the issuer pays it.
    ctx.require(not found.lock.is_live(ctx.time_ms) and found.pledge == "", "E_LOCKED")
    ctx.require(found.state == VoucherState.ACTIVE, "E_VOUCHER_STATE")
    ctx.require(ctx.business_date <= found.due_date, "E_MATURED")
    require_voucher_unfrozen(ctx, found.voucher)
    return found


def _existing(ctx: Context, kind: type[E], identifier: str, reason: str) -> E:
    """The one look-up behind them all; each names its own reason, so that a command is refused with no other."""
    found = ctx.get(kind, key_of(identifier))
    if found is None:
        ctx.fail(reason)
    return found
