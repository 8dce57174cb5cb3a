"""What the receivable module keeps: invoices, vouchers, financings, cash references, credit lines, exposures.

Every identifier is text that a person can read and dictate:

- invoice ``supplier-a/inv001/3f9c0a12b4d5e6f7``: seller, normalised number, start of the exact fingerprint;
- voucher ``core-1/V-001``, its parts ``core-1/V-001.1`` and ``.2``, a part of the second ``core-1/V-001.2.1``;
- financing ``supplier-b/F-1``: borrower and the borrower's number.

Amounts are integers of the currency's minor unit; dates are ``YYYY-MM-DD`` at UTC+8; times are milliseconds UTC.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from dawan_node.execution.module import CURRENCIES, Entity, Instant, Money, key_of

__all__ = [
    "CURRENCIES",
    "NO_LOCK",
    "OPEN_STATES",
    "PAID_OUT_STATES",
    "Announcement",
    "CashReference",
    "CreditLine",
    "Exposure",
    "Financing",
    "FinancingKind",
    "FinancingState",
    "Invoice",
    "InvoiceState",
    "InvoiceUse",
    "Lock",
    "LockPurpose",
    "Money",
    "RelatedParties",
    "Tag",
    "TitleSecurity",
    "Voucher",
    "VoucherState",
]


class InvoiceState(StrEnum):
    """``RECORDED -> CONFIRMED -> PARTLY_USED -> USED -> SETTLED``; ``DISPUTED`` and ``CANCELLED`` only before use."""

    RECORDED = "RECORDED"
    CONFIRMED = "CONFIRMED"
    PARTLY_USED = "PARTLY_USED"
    USED = "USED"
    SETTLED = "SETTLED"
    DISPUTED = "DISPUTED"
    CANCELLED = "CANCELLED"


class VoucherState(StrEnum):
    """``OFFERED -> ACTIVE``; then ``TRANSFERRING``, ``PLEDGED`` and back, or ``SPLIT`` (consumed by its parts); at
    maturity ``SETTLED`` or ``DEFAULTED``. Maturity itself is not a state: it is the due date compared with block time.
    """

    OFFERED = "OFFERED"
    ACTIVE = "ACTIVE"
    TRANSFERRING = "TRANSFERRING"
    PLEDGED = "PLEDGED"
    SPLIT = "SPLIT"
    SETTLED = "SETTLED"
    DEFAULTED = "DEFAULTED"
    CANCELLED = "CANCELLED"


#: Leaves somebody holds and will be paid for: these appear in holdings and in the maturity ladder.
HELD_STATES: Final = (VoucherState.ACTIVE, VoucherState.TRANSFERRING, VoucherState.PLEDGED, VoucherState.DEFAULTED)


class FinancingKind(StrEnum):
    """DISCOUNT buys a voucher; PLEDGE lends against one, or against an export declaration; FACTORING buys an invoice,
    with or without recourse, FORFAIT always without."""

    DISCOUNT = "DISCOUNT"
    PLEDGE = "PLEDGE"
    FACTORING = "FACTORING"
    FORFAIT = "FORFAIT"


class FinancingState(StrEnum):
    """``APPLIED -> RESERVED -> FUNDED -> REPAID``; ``HELD`` waits for a second pair of eyes; unpaid in time
    ``OVERDUE``, then ``RECOURSE -> CLOSED``."""

    APPLIED = "APPLIED"
    HELD = "HELD"
    RESERVED = "RESERVED"
    FUNDED = "FUNDED"
    REPAID = "REPAID"
    OVERDUE = "OVERDUE"
    RECOURSE = "RECOURSE"
    CLOSED = "CLOSED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    EXPIRED = "EXPIRED"


#: The financier paid and has not everything back yet.
OPEN_STATES: Final = (FinancingState.FUNDED, FinancingState.OVERDUE, FinancingState.RECOURSE)
#: The financier paid, whatever became of it.
PAID_OUT_STATES: Final = (*OPEN_STATES, FinancingState.REPAID, FinancingState.CLOSED)


class LockPurpose(StrEnum):
    """Why an asset may not move: a financing was reserved on it, its holder locked it for another process, or the bank
    that bought it rediscounts it."""

    NONE = "NONE"
    FINANCING = "FINANCING"
    OTHER = "OTHER"
    REDISCOUNT = "REDISCOUNT"


class Lock(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """Exclusive, with an owner (a financing or a party) and an end; the end is block time, so it cannot be stuck."""

    owner: str
    purpose: LockPurpose
    until_ms: Instant

    def is_live(self, time_ms: int) -> bool:
        """Whether the lock binds at ``time_ms``."""
        return time_ms < self.until_ms


NO_LOCK: Final = Lock("", LockPurpose.NONE, 0)


class InvoiceUse(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """How much of an invoice backs a voucher, in minor units of the voucher's currency."""

    invoice: str
    minor: int


class Invoice(Entity, collection="invoice", schema=1, exported=True):
    """A seller's claim as it recorded it. ``number`` keeps the seller's spelling; ``invoice`` is the fingerprint."""

    invoice: str
    number: str
    seller: str
    buyer: str
    issue_date: str
    due_date: str
    total: Money
    tax_minor: int
    type_code: str
    document: bytes
    seller_name: str
    seller_identifier: str
    buyer_name: str
    buyer_identifier: str
    loose_number: str
    state: InvoiceState
    used_minor: int
    settled_minor: int
    payee: str
    financing: str
    lock: Lock

    # ``by_number`` finds similar numbers of one seller and lists a seller's invoices; two entries per invoice in all,
    # because recording invoices is the most frequent thing that happens on a trade channel.
    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_number": lambda invoice: [(invoice.seller, invoice.loose_number)],
        "by_buyer": lambda invoice: [(invoice.buyer, invoice.state)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.invoice)


class Voucher(Entity, collection="voucher", schema=1, exported=True):
    """A core enterprise's promise to pay ``face`` on ``due_date`` to whoever holds it then.

    ``invoices`` and ``redeemed_minor`` are kept on the root only. ``discount`` and ``pledge`` name the financing that
    bought it or holds it as security.
    """

    voucher: str
    root: str
    parent: str
    depth: int
    issuer: str
    holder: str
    offered_to: str
    face: Money
    issue_date: str
    due_date: str
    flagged: bool
    guarantor: str
    invoices: tuple[InvoiceUse, ...]
    state: VoucherState
    parts: int
    transfers: int
    redeemed_minor: int
    cancel_consent: str
    discount: str
    pledge: str
    lock: Lock

    indexes = {  # noqa: RUF012
        "by_holder": lambda v: [(v.holder, v.due_date)] if v.state in HELD_STATES else [],
        "by_offer": lambda v: [(v.offered_to,)] if v.offered_to else [],
        "by_root": lambda v: [(v.root, v.voucher)],
        "by_due": lambda v: [(v.issuer, v.due_date, v.face.currency)] if v.state in HELD_STATES else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.voucher)


class Financing(Entity, collection="financing", schema=1, exported=True):
    """Money against a voucher or an invoice. ``presented`` is the invoice number as this borrower wrote it.

    ``outstanding_minor`` is what the financier still has to receive; with ``rate_ppm`` in parts per million a year.
    """

    financing: str
    kind: FinancingKind
    asset: str
    presented: str
    borrower: str
    financier: str
    principal: Money
    rate_ppm: int
    recourse: bool
    value_date: str
    maturity: str
    outstanding_minor: int
    state: FinancingState
    reviewed_by: str
    similar_to: str
    override_by: str
    override_reason: str

    indexes = {  # noqa: RUF012
        "by_borrower": lambda f: [(f.borrower, f.state)],
        "by_financier": lambda f: [(f.financier, f.state)],
        "by_asset": lambda f: [(f.asset,)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.financing)


class CashReference(Entity, collection="cash_reference", schema=1, exported=True):
    """A payment that a settlement bank attests. It settles one thing, once; the platform itself holds no money."""

    bank: str
    reference: str
    payer: str
    payee: str
    amount: Money
    value_date: str
    purpose: str
    subject: str
    attested_by: str

    indexes = {"by_subject": lambda cash: [(cash.subject, cash.purpose)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.bank, self.reference)


class Announcement(Entity, collection="announcement", schema=1, exported=True):
    """A payment of which only a bank of the payer's own organisation speaks: it discharges nobody by itself.

    ``command`` would book it, for the ``record`` that the command names; ``announcement`` is ``bank/BIC/reference``
    with the announcing identity first. It takes up no cash reference and binds nothing. ``DENIED``: by the payee, who
    may confirm it yet; ``CERTIFIED``: a third house spoke in the place of a payee that was silent.
    """

    announcement: str
    command: str
    record: str
    bank: str
    reference: str
    payer: str
    payee: str
    amount: Money
    value_date: str
    announced_by: str
    announced_date: str
    state: Literal["ANNOUNCED", "CONFIRMED", "DENIED", "CERTIFIED"]

    indexes = {  # noqa: RUF012
        "by_payee": lambda a: [(a.payee, a.state)],
        "by_record": lambda a: [(a.record, a.announcement)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.announcement)


class Certification(Entity, collection="certification", schema=1, exported=True):
    """Who certified, of which organisation and when, that an announced repayment came of which its payee was silent."""

    announcement: str
    by: str
    org: str
    date: str

    indexes = {"by_org": lambda certification: [(certification.org, certification.announcement)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.announcement)


class CreditLine(Entity, collection="credit_line", schema=1, exported=True):
    """Up to how much a bank guarantees a core enterprise's vouchers, and how much of it is in use."""

    bank: str
    core: str
    limit: Money
    used_minor: int

    indexes = {"by_core": lambda line: [(line.core, line.bank)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.bank, self.core, self.limit.currency)


class Exposure(Entity, collection="exposure", schema=1, exported=True):
    """What a core enterprise owes on vouchers in one currency: ``issued - redeemed - cancelled``."""

    issuer: str
    currency: str
    issued_minor: int
    redeemed_minor: int
    cancelled_minor: int
    defaulted_minor: int

    indexes = {"by_issuer": lambda exposure: [(exposure.issuer,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.issuer, self.currency)


class RelatedParties(Entity, collection="related_parties", schema=1, exported=True):
    """The mark of an invoice, or of a root voucher, whose ``seller`` and ``buyer`` one organisation enrolled. It is set
    when the buyer confirms or issues, and stays."""

    asset: str
    seller: str
    buyer: str
    org: str
    since_date: str

    indexes = {"by_org": lambda related: [(related.org, related.asset)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.asset)


class Tag(Entity, collection="tag", schema=1):
    """A keyed fingerprint that a financier computed off chain over a document this channel does not hold."""

    tag: bytes
    financing: str

    def primary_key(self) -> bytes:
        return self.tag


class Surplus(Entity, collection="surplus", schema=1, exported=True):
    """What security brought beyond the debt: the borrower's money, ``amount``, in the financier's hands.

    ``source``: the voucher of an enforced pledge, or the goods whose title the financier took. ``proceeds_minor`` is
    what was paid for it, ``debt_minor`` what of that the financier was still owed.
    """

    financing: str
    source: Literal["VOUCHER", "TITLE"]
    financier: str
    borrower: str
    amount: Money
    proceeds_minor: int
    debt_minor: int
    state: Literal["OWED", "RETURNED"]

    indexes = {  # noqa: RUF012
        "by_financing": lambda s: [(s.financing, s.source)],
        "by_financier": lambda s: [(s.financier, s.state, s.financing, s.source)],
        "by_borrower": lambda s: [(s.borrower, s.state, s.financing, s.source)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.financing, self.source)


class TitleSecurity(Entity, collection="title_security", schema=1, exported=True):
    """The title to goods that secures a financing: of this channel where ``channel`` is empty, else of that source
    channel by a ``commitment``."""

    financing: str
    title: str
    channel: str
    commitment: str
    state: Literal["HELD", "RETURNED", "TAKEN", "SOLD"]

    def primary_key(self) -> bytes:
        return key_of(self.financing)
