"""Cash references: the proof that money moved, attested by a settlement bank, each good for one thing once.

The platform holds no money. A settlement bank says "payer X paid payee Y this amount, under this reference of bank B";
the module compares payer, payee and amount with what is due *now* and books the reference as used. A second use of the
reference, in any spelling, is refused, so one payment can neither settle two vouchers nor one voucher twice.

Who pays and who says so are two: what a bank of the payer's own organisation attests is announced and no more
(``Announcement``) until the payee confirms it (``announcements``) or a settlement bank of another organisation attests
the payment as if nothing had been said.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Date, Meta, Money, ShortText, alphanumeric, fold, key_of
from dawan_node.modules.identifiers import normalised_bic
from dawan_node.modules.receivable.checks import check_amount, check_date
from dawan_node.modules.receivable.declaration import PaymentAnnounced
from dawan_node.modules.receivable.entities import Announcement, CashReference
from dawan_node.modules.receivable.freezes import freeze_name
from dawan_node.modules.receivable.rules import strict

SETTLEMENT_ROLES: Final = ("settlement_bank",)
#: Whoever has one of these pays its own organisation's money, not a customer's.
HOUSE_ROLES: Final = ("bank", "factor", "pboc", "settlement_bank")

#: A BIC's first eight characters name the institution; its branches share one space of references, so that the same
#: payment quoted under another branch is still the same payment.
INSTITUTION_CHARS: Final = 8
REFERENCE_BYTES_MAX: Final = 140


class Cash(Args):
    """``bank`` is the BIC of the bank whose ``reference`` this is; payer and payee are identities of the channel."""

    bank: Annotated[str, Meta(min_length=8, max_length=16)]
    reference: Annotated[str, Meta(min_length=1, max_length=70)]
    payer: ShortText
    payee: ShortText
    amount: Money
    value_date: Date


class ConfirmedCash(Cash):
    """What ``announced_by`` announced and the sender, its payee, confirms. Made here, never read from a transaction."""

    announced_by: str


def use_cash(
    ctx: Context,
    cash: Cash,
    *,
    payer: str,
    payee: str,
    due: Money,
    purpose: str,
    subject: str,
    command: str,
    record: str,
) -> bool:
    """Book ``cash`` as the payment of exactly ``due`` from ``payer`` to ``payee`` for ``subject``.

    False: it is announced only, and the ``command`` changes nothing of its ``record``.

    The sender is the settlement bank that attests it; it attests no payment of its own, nor one of a bank, factor or
    authority of its organisation, which is the same house. What an enterprise of its organisation paid it announces;
    under the first rules (``rules``) it attested that too.
    """
    bic = normalised_bic(cash.bank)
    if bic is None:
        ctx.fail("E_BANK")
    check_amount(ctx, cash.amount)
    check_date(ctx, cash.value_date)
    ctx.require(cash.value_date <= ctx.business_date, "E_VALUE_DATE")
    confirmed = isinstance(cash, ConfirmedCash)
    apart = ctx.sender.name not in (payer, payee) and not _is_own_house(ctx, payer)
    ctx.require(confirmed or apart, "E_SELF_DEALING")
    normalised = alphanumeric(fold(cash.reference))
    ctx.require(0 < len(normalised.encode()) <= REFERENCE_BYTES_MAX, "E_REFERENCE")
    institution = bic[:INSTITUTION_CHARS]
    ctx.require(ctx.get(CashReference, key_of(institution, normalised)) is None, "E_CASHREF_USED")
    ctx.require(cash.payer == payer, "E_WRONG_PAYER")
    ctx.require(cash.payee == payee, "E_WRONG_PAYEE")
    ctx.require(cash.amount.currency == due.currency, "E_CURRENCY_MISMATCH")
    ctx.require(cash.amount.minor == due.minor, "E_AMOUNT_MISMATCH")
    if not confirmed and strict(ctx) and _is_own_organisation(ctx, payer):
        _announce(ctx, cash, institution, normalised, command, record)
        return False
    attested_by = cash.announced_by if isinstance(cash, ConfirmedCash) else ctx.sender.name
    if ctx.runs("kernel") and strict(ctx):
        # The other modules' payments are booked there: without this one could settle a credit and a voucher.
        names = (freeze_name(payer), freeze_name(payee))
        details = (due, cash.value_date, purpose, freeze_name(subject), attested_by)
        ctx.call("kernel", "book_cash", cash.bank, cash.reference, *names, *details)
    ctx.put(
        CashReference(
            bank=institution,
            reference=normalised,
            payer=payer,
            payee=payee,
            amount=due,
            value_date=cash.value_date,
            purpose=purpose,
            subject=subject,
            attested_by=attested_by,
        )
    )
    return True


def _announce(ctx: Context, cash: Cash, institution: str, reference: str, command: str, record: str) -> None:
    announcement = f"{ctx.sender.name}/{institution}/{reference}"
    # Not replaced: the payee confirms what it read, and not what the bank put in its place since.
    ctx.require(ctx.get(Announcement, key_of(announcement)) is None, "E_CASHREF_USED")
    ctx.put(
        Announcement(
            announcement=announcement,
            command=command,
            record=record,
            bank=cash.bank,
            reference=cash.reference,
            payer=cash.payer,
            payee=cash.payee,
            amount=cash.amount,
            value_date=cash.value_date,
            announced_by=ctx.sender.name,
            announced_date=ctx.business_date,
            state="ANNOUNCED",
        )
    )
    ctx.emit(PaymentAnnounced(announcement=announcement, record=record, payee=cash.payee, amount=cash.amount))


def _is_own_organisation(ctx: Context, payer: str) -> bool:
    identity = ctx.identity(payer)
    return identity is not None and identity.org == ctx.sender.org


def _is_own_house(ctx: Context, payer: str) -> bool:
    identity = ctx.identity(payer)
    if identity is None or identity.org != ctx.sender.org:
        return False
    return [role for role in identity.roles if role in HOUSE_ROLES] != []
