"""Checks that several commands share. Each returns the checked thing or fails with a reason of the error table."""

from __future__ import annotations

import re
from typing import Final

from dawan_node.execution.module import Context, Identity, Money, add_months, is_date, key_of
from dawan_node.modules.lc.entities import Amendment, Credit, PaymentObligation, Presentation, Reimbursement
from dawan_node.modules.refdata import currency_places

#: Far above any real amount, and a thousand of them, each with a tolerance of 100 %, still sum to less than 2^63.
AMOUNT_MINOR_MAX: Final = 10**15 - 1
#: Credits of capital goods run for years; longer ones are renewed. Also the longest tenor.
TERM_MONTHS_MAX: Final = 120

# With the applicant (32), a transfer (".99") and a presentation ("#9999") inside the kernel's names of 100 bytes.
_NUMBER: Final = re.compile("[A-Z0-9][A-Z0-9-]{0,31}")

BANKS: Final = ("bank",)
#: Who may ask for a credit or owe a payment obligation.
APPLICANTS: Final = ("buyer", "core_enterprise")
#: Who may draw on one.
BENEFICIARIES: Final = ("exporter", "seller", "supplier")
SETTLEMENT: Final = ("settlement_bank",)


def check_amount(ctx: Context, amount: Money) -> None:
    """A currency of the channel's reference data and a positive amount of at most 15 digits."""
    ctx.require(0 < amount.minor <= AMOUNT_MINOR_MAX, "E_AMOUNT")
    ctx.require(currency_places(ctx, amount.currency) is not None, "E_UNKNOWN_CURRENCY")


def check_date(ctx: Context, date: str) -> None:
    """A day that exists, not further away than any term."""
    ctx.require(is_date(date), "E_DATE")
    ctx.require(date <= add_months(ctx.business_date, TERM_MONTHS_MAX), "E_TERM")


def number_of(ctx: Context, text: str) -> str:
    """A party's own number in its one spelling: ASCII letters become capitals."""
    ctx.require(text.isascii(), "E_REFERENCE")
    upper = text.upper()
    ctx.require(_NUMBER.fullmatch(upper) is not None, "E_REFERENCE")
    return upper


def active_party(ctx: Context, name: str, roles: tuple[str, ...] = ()) -> Identity:
    """An enrolled, not revoked identity, with one of ``roles`` if any are asked for."""
    identity = ctx.identity(name)
    if identity is None or identity.status != "active":
        ctx.fail("E_UNKNOWN_PARTY")
    ctx.require(not roles or any(role in identity.roles for role in roles), "E_ROLE_OF_PARTY")
    return identity


def stands_for(ctx: Context, name: str, party: str) -> bool:
    """Whether ``name`` is this party or, while the party's identity is revoked, another one of its organisation.

    The party to a credit is the bank or the company, and an identity signs for it. Whoever loses its key leaves neither
    the documents nor the titles that are bound with them behind where nobody could move them.
    """
    if name == party:
        return True
    known, other = ctx.identity(party) if party else None, ctx.identity(name) if name else None
    return known is not None and known.status != "active" and other is not None and other.org == known.org


def acts_for(ctx: Context, party: str, roles: tuple[str, ...]) -> bool:
    """Whether the sender, who has one of ``roles``, may do what is this party's to do (``stands_for``)."""
    # A house may have a bank and a trader on two sides of one credit: its trader does not act for its bank.
    return any(role in roles for role in ctx.sender.roles) and stands_for(ctx, ctx.sender.name, party)


def existing_credit(ctx: Context, credit: str) -> Credit:
    """The credit of that identifier."""
    found = ctx.get(Credit, key_of(credit))
    if found is None:
        ctx.fail("E_UNKNOWN_CREDIT")
    return found


def existing_amendment(ctx: Context, credit: str, number: int) -> Amendment:
    """The amendment of that number."""
    found = ctx.get(Amendment, key_of(credit, number))
    if found is None:
        ctx.fail("E_UNKNOWN_AMENDMENT")
    return found


def existing_presentation(ctx: Context, presentation: str) -> Presentation:
    """The presentation of that identifier."""
    found = ctx.get(Presentation, key_of(presentation))
    if found is None:
        ctx.fail("E_UNKNOWN_PRESENTATION")
    return found


def existing_reimbursement(ctx: Context, presentation: str) -> Reimbursement:
    """The reimbursement claimed for that presentation."""
    found = ctx.get(Reimbursement, key_of(presentation))
    if found is None:
        ctx.fail("E_UNKNOWN_REIMBURSEMENT")
    return found


def existing_obligation(ctx: Context, obligation: str) -> PaymentObligation:
    """The payment obligation of that identifier."""
    found = ctx.get(PaymentObligation, key_of(obligation))
    if found is None:
        ctx.fail("E_UNKNOWN_OBLIGATION")
    return found


def require_not_frozen(ctx: Context, credit: Credit) -> None:
    """Autonomy: nothing but a court's order in force (kernel, asset = the credit or the one it was transferred from)
    stops an undertaking. Fails with the kernel's E_ASSET_FROZEN."""
    for asset in (credit.credit, credit.parent):
        if asset:
            ctx.call("kernel", "require_movable", asset)
