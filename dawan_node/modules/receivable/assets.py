"""What a financing is secured by, and its exclusive hold on it: a voucher, an invoice, or a part of a declaration.

A voucher or invoice has one lock. An export declaration has none: several financings may each take a part of what is
still open on it, so the hold is a record of its own (``DeclarationUse``), which ends like a lock by block time.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, QueryContext, key_of, replace, start_of_day_ms
from dawan_node.modules.receivable.checks import existing_declaration, existing_invoice, existing_voucher
from dawan_node.modules.receivable.entities import (
    NO_LOCK,
    Financing,
    FinancingKind,
    Invoice,
    Lock,
    LockPurpose,
    Voucher,
)
from dawan_node.modules.receivable.supervised import DeclarationState, DeclarationUse

#: domain.md 1.5: an exclusive lock ends by itself after three days.
LOCK_MS_MAX: Final = 72 * 3_600_000
#: A rediscount holds its assets until it is repaid, whenever that is; dates of this representation end here.
NO_END_MS: Final = start_of_day_ms("9999-12-31")

Reader = Context | QueryContext


def is_on_declaration(financing: Financing) -> bool:
    """Whether it is secured by an export declaration: 18 digits, while identifiers of vouchers have a slash."""
    return not financing.presented and "/" not in financing.asset


def due_date_of(ctx: Reader, financing: Financing) -> str:
    """When the financier's money falls due: a loan at its maturity, what was bought when the asset is to be paid.

    The maturity agreed at the sale of a voucher may be earlier; the issuer pays on the voucher's due date.
    """
    voucher = ctx.get(Voucher, key_of(financing.asset)) if financing.kind == FinancingKind.DISCOUNT else None
    return financing.maturity if voucher is None else voucher.due_date


def lock_of(ctx: Reader, financing: Financing) -> Lock:
    """The lock on its asset now, whoever's it is; one that never lived when there is no such asset."""
    if is_on_declaration(financing):
        use = ctx.get(DeclarationUse, key_of(financing.financing))
        return NO_LOCK if use is None else Lock(use.financing, LockPurpose.FINANCING, use.until_ms)
    asset: Invoice | Voucher | None
    if financing.presented:
        asset = ctx.get(Invoice, key_of(financing.asset))
    else:
        asset = ctx.get(Voucher, key_of(financing.asset))
    return NO_LOCK if asset is None else asset.lock


def holds_lock(ctx: Reader, financing: Financing) -> bool:
    """Whether its reservation still binds the asset."""
    lock = lock_of(ctx, financing)
    return lock.owner == financing.financing and lock.is_live(ctx.time_ms)


def put_lock(ctx: Context, financing: Financing, lock: Lock) -> None:
    """Set the lock of its voucher or invoice."""
    if financing.presented:
        ctx.put(replace(existing_invoice(ctx, financing.asset), lock=lock))
    else:
        ctx.put(replace(existing_voucher(ctx, financing.asset), lock=lock))


def take_declaration(ctx: Context, financing: Financing, until_ms: int) -> None:
    """Set a part of the declaration aside for this financing. Fails when less than its principal is open."""
    declaration = existing_declaration(ctx, financing.asset)
    ctx.require(declaration.state == DeclarationState.RELEASED, "E_DECLARATION_STATE")
    minor = financing.principal.minor
    ctx.require(minor <= declaration.residual_minor, "E_RESIDUAL")
    ctx.put(replace(declaration, financed_minor=declaration.financed_minor + minor))
    ctx.put(DeclarationUse(financing.financing, declaration.declaration, minor, until_ms))


def keep_declaration(ctx: Context, financing: Financing) -> None:
    """The money moved: from now on the part is taken until it is repaid. Not while SAFE blocks the declaration."""
    declaration = existing_declaration(ctx, financing.asset)
    ctx.require(declaration.state == DeclarationState.RELEASED, "E_DECLARATION_STATE")
    ctx.put(DeclarationUse(financing.financing, financing.asset, financing.principal.minor, 0))


def give_back_declaration(ctx: Context, financing: Financing) -> None:
    """What the financing took of the declaration is open again; nothing when it took nothing."""
    if ctx.delete(DeclarationUse, key_of(financing.financing)):
        declaration = existing_declaration(ctx, financing.asset)
        left = declaration.financed_minor - financing.principal.minor
        ctx.put(replace(declaration, financed_minor=left))
