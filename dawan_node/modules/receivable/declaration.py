"""The receivable module's public face: its events, its error table, version 1 (``versions``: the later ones).

Reasons are API: a client branches on them, and a reason keeps its meaning for ever.
"""

from __future__ import annotations

from typing import Final, Literal

from dawan_node.execution.module import Event, Instant, Module, Money
from dawan_node.modules.receivable import entities, supervised


class InvoiceRecorded(Event):
    number: str


class InvoiceConfirmed(Event):
    invoice: str


class InvoiceDisputed(Event):
    invoice: str
    reason: str


class InvoiceCancelled(Event):
    invoice: str


class InvoiceSettled(Event):
    invoice: str
    payee: str
    amount: Money


class VoucherIssued(Event):
    voucher: str
    holder: str
    face: Money
    due_date: str
    flagged: bool


class VoucherAccepted(Event):
    voucher: str
    holder: str


class VoucherSplit(Event):
    voucher: str
    parts: tuple[str, ...]


class VoucherOffered(Event):
    voucher: str
    offered_to: str


class VoucherDeclined(Event):
    voucher: str
    by: str


class VoucherTransferred(Event):
    voucher: str
    from_holder: str
    to_holder: str


class VoucherLocked(Event):
    voucher: str
    owner: str
    until_ms: Instant


class VoucherReleased(Event):
    voucher: str
    owner: str


class VoucherSettled(Event):
    voucher: str
    payee: str
    amount: Money


class VoucherDefaulted(Event):
    voucher: str
    holder: str


class VoucherCancelled(Event):
    voucher: str


class FingerprintHit(Event):
    """An exact hit is a refused transaction and stands on chain as its receipt; this event is the loose one."""

    kind: Literal["similar"]
    financing: str
    invoice: str
    similar_to: str


class FinancingApplied(Event):
    financing: str
    financier: str


class FinancingReserved(Event):
    financing: str
    asset: str
    until_ms: Instant


class FinancingFunded(Event):
    financing: str
    principal: Money


class FinancingRepaid(Event):
    financing: str


class FinancingRecourse(Event):
    financing: str
    outstanding: Money


class FinancingEnded(Event):
    financing: str
    state: entities.FinancingState


class TitleTaken(Event):
    financing: str
    title: str


class CreditLineSet(Event):
    bank: str
    core: str
    limit: Money


class FinancingOverdue(Event):
    """The financier's statement; ``due_date`` is when the money should have come."""

    financing: str
    due_date: str
    outstanding: Money


class MovablesRegistered(Event):
    financing: str
    number: str


class RediscountSubmitted(Event):
    rediscount: str
    branch: str
    amount: Money


class RediscountAccepted(Event):
    """``price``: what the branch will pay out."""

    rediscount: str
    price: Money


class RediscountFunded(Event):
    rediscount: str
    price: Money
    maturity: str


class RediscountRepaid(Event):
    rediscount: str
    amount: Money


class RediscountEnded(Event):
    """Before any money moved."""

    rediscount: str
    state: supervised.RediscountState


class RediscountForfeited(Event):
    """Not bought back: assets that bring ``passed`` are the branch's now, and ``owed_by`` owes the rest."""

    rediscount: str
    by: str
    passed: Money
    owed_by: str
    owed: Money


class DeclarationRecorded(Event):
    declaration: str
    exporter: str
    amount: Money


class DeclarationAmended(Event):
    declaration: str
    amount: Money
    reason: str


class DeclarationRevoked(Event):
    declaration: str
    reason: str


class DeclarationBlocked(Event):
    declaration: str
    reason: str


class DeclarationCleared(Event):
    declaration: str
    reason: str


class ExportCollected(Event):
    declaration: str
    amount: Money
    residual_minor: int


class PaymentFiled(Event):
    filing: str
    country: str
    contract: Money


class FilingAccepted(Event):
    filing: str


class FilingPaid(Event):
    """``paid_minor``: all payments so far; ``exhausted``: the contract sum is reached."""

    filing: str
    amount: Money
    paid_minor: int
    exhausted: bool


class FilingCancelled(Event):
    filing: str
    by: str
    reason: str


class BatchOpened(Event):
    batch: str
    due_date: str
    total: Money
    vouchers: int


class BatchCleared(Event):
    """A ``VoucherSettled`` for each line comes before it."""

    batch: str
    total: Money
    vouchers: int


class BatchCancelled(Event):
    batch: str


class SurplusOwed(Event):
    financing: str
    financier: str
    borrower: str
    amount: Money


class SurplusReturned(Event):
    financing: str
    amount: Money


class PartiesRelated(Event):
    """An invoice, or a voucher on it, is between two that ``org`` enrolled."""

    asset: str
    org: str


class PaymentAnnounced(Event):
    """Nobody is discharged by it yet: ``payee`` confirms it, or a bank of another organisation attests it."""

    announcement: str
    record: str
    payee: str
    amount: Money


class ReceiptConfirmed(Event):
    announcement: str
    payee: str


class ReceiptDenied(Event):
    announcement: str
    payee: str
    why: str


class ReceiptCertified(Event):
    """``payee`` was silent; ``by`` is of a third house."""

    announcement: str
    payee: str
    by: str


class EnterpriseClassified(Event):
    party: str
    size: supervised.EnterpriseSize
    group: str


ERRORS: Final = {
    # Amounts, dates, names
    "E_NEGATIVE_AMOUNT": "The amount is negative.",
    "E_ZERO_AMOUNT": "The amount is zero.",
    "E_AMOUNT_RANGE": "The amount has more than 15 digits in minor units.",
    "E_UNKNOWN_CURRENCY": "The currency is not one this channel knows.",
    "E_CURRENCY_MISMATCH": "The amount is in another currency than what it belongs to.",
    "E_TAX_AMOUNT": "The tax is negative or more than the total.",
    "E_DATE": "The text has the form of a date but no such day exists.",
    "E_DUE_BEFORE_ISSUE": "The due date lies before the issue date.",
    "E_ISSUE_DATE_FUTURE": "The invoice is dated later than tomorrow's business date.",
    "E_TERM": "The voucher falls due later than the longest term in force allows: one year, unless voted otherwise.",
    "E_DUE_PAST": "The due date lies before today's business date.",
    "E_UNKNOWN_PARTY": "No active identity of that name is enrolled on this channel.",
    "E_SELF_DEALING": "One party would stand on both sides.",
    "E_REFERENCE": "A number has 1 to 40 letters, digits and hyphens, beginning with a letter or digit.",
    # Invoices
    "E_INVOICE_NUMBER": "The invoice number is empty, too long, or not in digits, Latin letters and Han characters.",
    "E_INVOICE_TYPE": "The document type is not that of an invoice.",
    "E_CREDIT_NOTE": "The document is a credit note: a claim of the buyer, not a receivable.",
    "E_ALREADY_ASSIGNED": "The document is a factored invoice: its claim was already assigned.",
    "E_DUP_INVOICE": "The seller already recorded this invoice, perhaps in another spelling.",
    "E_UNKNOWN_INVOICE": "There is no such invoice.",
    "E_NOT_SELLER": "Only the seller of the invoice may do this.",
    "E_NOT_BUYER": "Only the buyer named on the invoice may do this.",
    "E_INVOICE_STATE": "The invoice is in a state in which this is not possible.",
    "E_NOT_CONFIRMED": "The buyer has not confirmed the invoice.",
    "E_IN_USE": "Part of the invoice, or the voucher, is already used, transferred, split or locked.",
    "E_OVERUSE": "The uses of the invoice would exceed its confirmed total.",
    "E_USE_MISMATCH": "The invoice uses name one invoice twice, or do not sum to the voucher's face.",
    # Vouchers
    "E_DUP_VOUCHER": "The issuer already issued a voucher with this number.",
    "E_UNKNOWN_VOUCHER": "There is no such voucher.",
    "E_VOUCHER_STATE": "The voucher is in a state in which this is not possible.",
    "E_NOT_HOLDER": "The party does not hold the voucher.",
    "E_NOT_PARTY": "Only a party to it may do this.",
    "E_NOT_OFFERED": "The voucher is not offered to the sender.",
    "E_SPLIT_SUM": "The parts do not sum to the face of the voucher exactly.",
    "E_SPLIT_DEPTH": "The voucher was split the greatest permitted number of times.",
    "E_MIN_FACE": "A part would be smaller than the smallest permitted face.",
    "E_LOCKED": "The voucher or invoice is locked.",
    "E_NOT_LOCKED": "There is no live lock of the sender.",
    "E_LOCK_TIME": "A lock ends later than now and at most 72 hours from now.",
    "E_MATURED": "The due date has passed; what was not paid can only be settled.",
    "E_NOT_DUE": "The due date has not come.",
    "E_CREDIT_LINE": "The guarantor's credit line for this core enterprise does not cover it.",
    "E_LINE_BELOW_USE": "The limit would be less than what is in use.",
    # Financing and money
    "E_DUP_FINANCE": "The invoice or voucher is already financed, reserved or turned into vouchers.",
    "E_DUP_FINANCING": "The borrower already used this financing number.",
    "E_UNKNOWN_FINANCING": "There is no such financing.",
    "E_FINANCING_STATE": "The financing is in a state in which this is not possible.",
    "E_FINANCING_KIND": "This kind of financing does not fit the asset or its recourse.",
    "E_NOT_FINANCIER": "Only the financier of this financing may do this.",
    "E_NOT_BORROWER": "Only the borrower of this financing may do this.",
    "E_RATE": "The rate lies outside 0 to 1,000,000 parts per million a year.",
    "E_PRINCIPAL": "The principal exceeds the value of the asset.",
    "E_MATURITY": "The maturity lies before today or after the asset falls due, or is too far away.",
    "E_FOUR_EYES": "The override needs another identity of the financier's organisation.",
    "E_LOCK_EXPIRED": "The reservation ended before it was funded.",
    "E_LOCK_LIVE": "The reservation has not ended yet.",
    "E_RECOURSE": "There is no recourse, or not yet.",
    "E_NO_SURPLUS": "No surplus of this financing is owed back: none arose, or it was returned.",
    "E_RELATED": "Seller and buyer are of one organisation, and whoever gives money for it did not accept that.",
    "E_TITLE": "A financing is secured by a title of this channel, by a proof of one elsewhere, or by none.",
    "E_NO_TITLES": "This channel keeps no titles, or believes no other channel.",
    "E_BANK": "The bank is not given by a BIC of 8 or 11 characters.",
    "E_CASHREF_USED": "The cash reference was already used.",
    "E_WRONG_PAYER": "The cash reference does not name the one who has to pay.",
    "E_WRONG_PAYEE": "The cash reference does not name the one who is to be paid now.",
    "E_AMOUNT_MISMATCH": "The cash reference is not over exactly the amount due.",
    "E_VALUE_DATE": "The value date lies after today's business date.",
    "E_UNKNOWN_ANNOUNCEMENT": "There is no such announced payment.",
    "E_ANNOUNCEMENT_STATE": "The announced payment is confirmed, denied or certified already.",
    "E_ANSWER_TIME": "The payee still has time to confirm or deny the announced payment, or is suspended and cannot.",
    "E_WITNESS": "Only a settlement bank of a house not the payer's, nor of a payee who rediscounted, can show it.",
    # Rediscount
    "E_ROLE_OF_PARTY": "The party named has not the role this needs.",
    "E_DUP_REDISCOUNT": "The bank already used this rediscount number.",
    "E_UNKNOWN_REDISCOUNT": "There is no such rediscount.",
    "E_REDISCOUNT_STATE": "The rediscount is in a state in which this is not possible.",
    "E_NOT_BRANCH": "Only the branch to which the rediscount was submitted may do this.",
    # Export declarations
    "E_DECLARATION_NUMBER": "A customs declaration number has 18 digits.",
    "E_USCC": "The Unified Social Credit Code is not well-formed, or its check character is wrong.",
    "E_GOODS": "A goods code has 6, 8 or 10 digits, the first six as the tariff in force lists them.",
    "E_RELEASE_DATE": "The release date lies after today's business date.",
    "E_DUP_DECLARATION": "This declaration is recorded already.",
    "E_UNKNOWN_DECLARATION": "There is no such export declaration.",
    "E_DECLARATION_STATE": "The declaration is blocked or revoked, or not in the state that this changes.",
    "E_NOT_EXPORTER": "Only the exporter of the declaration may do this.",
    "E_RESIDUAL": "The declaration has less left than this: its amount without what is financed and collected.",
    # Tax filings
    "E_DUP_FILING": "The payer already used this filing number.",
    "E_DUP_CONTRACT": "A filing of this payer for this contract exists, perhaps in another spelling.",
    "E_UNKNOWN_FILING": "There is no such filing.",
    "E_FILING_STATE": "The filing is in a state in which this is not possible.",
    "E_NOT_PAYER": "Only the payer of the filing or the tax authority may do this.",
    "E_COUNTRY": "The country is not a two-letter code in force, or it is the mainland itself.",
    "E_CONTRACT_NUMBER": "The contract number is empty, too long, or not in digits, Latin letters and Han characters.",
    "E_OVER_CONTRACT": "The payments would exceed the contract sum.",
    # Clearing, registration, classification
    "E_DUP_BATCH": "The core enterprise already used this batch number.",
    "E_UNKNOWN_BATCH": "There is no such clearing batch.",
    "E_BATCH_STATE": "The batch is cleared or cancelled.",
    "E_NOT_ISSUER": "The sender did not issue one of the vouchers.",
    "E_CLEARING_LINES": "The lines are not the batch's vouchers in order and sum; a batch has one day and currency.",
    "E_DUP_REGISTRATION": "The financing is registered already, or the register's number belongs to another one.",
    "E_PROFILE": "A district is six digits, HK or MO; a group is a name of small letters, digits and hyphens.",
}

module: Final = Module(
    "receivable",
    version=1,
    entities=(
        entities.Invoice,
        entities.Voucher,
        entities.Financing,
        entities.CashReference,
        entities.Announcement,
        entities.Certification,
        entities.RelatedParties,
        entities.CreditLine,
        entities.Exposure,
        entities.Tag,
        entities.TitleSecurity,
        entities.Surplus,
        supervised.Rediscount,
        supervised.Forfeiture,
        supervised.ExportDeclaration,
        supervised.DeclarationUse,
        supervised.TaxFiling,
        supervised.ClearingBatch,
        supervised.MovablesRegistration,
        supervised.EnterpriseProfile,
    ),
    events=(
        InvoiceRecorded,
        InvoiceConfirmed,
        InvoiceDisputed,
        InvoiceCancelled,
        InvoiceSettled,
        VoucherIssued,
        VoucherAccepted,
        VoucherSplit,
        VoucherOffered,
        VoucherDeclined,
        VoucherTransferred,
        VoucherLocked,
        VoucherReleased,
        VoucherSettled,
        VoucherDefaulted,
        VoucherCancelled,
        FingerprintHit,
        FinancingApplied,
        FinancingReserved,
        FinancingFunded,
        FinancingRepaid,
        FinancingRecourse,
        FinancingEnded,
        TitleTaken,
        SurplusOwed,
        SurplusReturned,
        CreditLineSet,
        FinancingOverdue,
        MovablesRegistered,
        RediscountSubmitted,
        RediscountAccepted,
        RediscountFunded,
        RediscountRepaid,
        RediscountEnded,
        RediscountForfeited,
        DeclarationRecorded,
        DeclarationAmended,
        DeclarationRevoked,
        DeclarationBlocked,
        DeclarationCleared,
        ExportCollected,
        PaymentFiled,
        FilingAccepted,
        FilingPaid,
        FilingCancelled,
        BatchOpened,
        BatchCleared,
        BatchCancelled,
        PartiesRelated,
        PaymentAnnounced,
        ReceiptConfirmed,
        ReceiptDenied,
        ReceiptCertified,
        EnterpriseClassified,
    ),
    errors=ERRORS,
    # The limits on vouchers (``terms``), titles (``title_security``) and freezes, each only where the channel runs the
    # module.
    may_use=("kernel", "light_client", "refdata", "title"),
)
