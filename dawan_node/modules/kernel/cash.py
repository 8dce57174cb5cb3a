"""Cash references: a payment that a settlement bank attests settles one thing, once, whatever module it belongs to.

The platform holds no money. The module that is paid compares payer, payee and amount with what is due *now*; the kernel
books the reference as used. A bank's branches share one space of references, and a reference has one spelling, so the
same payment quoted under another branch or in full-width digits is still the same payment.

A settlement bank attests no payment of its own organisation, whoever of it pays: the payee would have only the payer's
word. That the payee is of its organisation is no objection, for it says then that it was paid.

The module ``receivable`` keeps a registry of its own, from before this one; under its rules of version 2 it books every
payment here too (``book_cash``), so that no payment settles one thing there and another one here.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, Money, alphanumeric, fold, is_date, key_of
from dawan_node.modules.identifiers import normalised_bic
from dawan_node.modules.kernel.checks import require_name
from dawan_node.modules.kernel.declaration import CashReference, module

SETTLEMENT_BANK: Final = "settlement_bank"
#: A BIC's first eight characters name the institution.
INSTITUTION_CHARS: Final = 8
REFERENCE_BYTES_MAX: Final = 140
#: Far above any real amount, and a thousand of them still sum to less than 2^63.
AMOUNT_MINOR_MAX: Final = 10**15 - 1


@module.export("use_cash")
def use_cash(
    ctx: Context,
    bank: str,
    reference: str,
    payer: str,
    payee: str,
    amount: Money,
    value_date: str,
    purpose: str,
    subject: str,
) -> None:
    """Book a payment as used for ``purpose`` of ``subject``. The sender is the settlement bank that attests it.

    The caller has compared payer, payee, amount and currency with what is due. Fails with E_NOT_ATTESTOR, E_BANK,
    E_AMOUNT, E_VALUE_DATE, E_REFERENCE, E_CASHREF_USED, E_NAME_FORM.
    """
    ctx.require(SETTLEMENT_BANK in ctx.sender.roles and ctx.sender.name not in (payer, payee), "E_NOT_ATTESTOR")
    # Under two names it would still vouch for itself. A payer that is not on the channel belongs to nobody here.
    paying = ctx.identity(payer)
    ctx.require(paying is None or paying.org != ctx.sender.org, "E_NOT_ATTESTOR")
    book_cash(ctx, bank, reference, payer, payee, amount, value_date, purpose, subject, ctx.sender.name)


@module.export("book_cash")
def book_cash(
    ctx: Context,
    bank: str,
    reference: str,
    payer: str,
    payee: str,
    amount: Money,
    value_date: str,
    purpose: str,
    subject: str,
    attested_by: str,
) -> None:
    """Book a payment as used where the calling module answers for the witness ``attested_by``, by rules of its own: the
    reference settles nothing else then, in any module. Fails as ``use_cash``, but for E_NOT_ATTESTOR."""
    require_name(ctx, payer, payee, purpose, subject)
    bic = normalised_bic(bank)
    if bic is None:
        ctx.fail("E_BANK")
    ctx.require(0 < amount.minor <= AMOUNT_MINOR_MAX, "E_AMOUNT")
    ctx.require(is_date(value_date) and value_date <= ctx.business_date, "E_VALUE_DATE")
    normalised = alphanumeric(fold(reference))
    ctx.require(0 < len(normalised.encode()) <= REFERENCE_BYTES_MAX, "E_REFERENCE")
    institution = bic[:INSTITUTION_CHARS]
    ctx.require(ctx.get(CashReference, key_of(institution, normalised)) is None, "E_CASHREF_USED")
    ctx.put(
        CashReference(
            bank=institution,
            reference=normalised,
            payer=payer,
            payee=payee,
            amount=amount,
            value_date=value_date,
            module=ctx.caller,
            purpose=purpose,
            subject=subject,
            attested_by=attested_by,
        )
    )
