"""What the letter of credit module keeps: credits, amendments, presentations, reimbursements, payment obligations.

Every identifier is text that a person can read and dictate:

- credit ``buyer-a/LC-1`` (applicant and the applicant's number); a credit transferred from it ``buyer-a/LC-1.1``;
- presentation ``buyer-a/LC-1#1``, the first under that credit; its reimbursement has the same identifier;
- payment obligation ``buyer-a/obligation/PO-7``.

Parties are identities of the channel. A bank has a *place*, whose banking days count for what is done there. Amounts
are integers of the currency's minor unit; dates are ``YYYY-MM-DD`` at UTC+8; times are milliseconds UTC.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from dawan_node.execution.module import Entity, Instant, Money, key_of, tolerance

#: Where a bank examines documents: a calendar of ``refdata``.
Place = Literal["CN", "HK", "MO"]
#: UCP 600, or UCP 600 with the supplement for electronic presentation (eUCP).
Rules = Literal["UCP600", "EUCP"]
#: How a credit is available (UCP 600 article 6 b).
Availability = Literal["SIGHT", "DEFERRED", "ACCEPTANCE", "NEGOTIATION"]
#: From when a tenor runs: receipt of the documents, or shipment.
TenorFrom = Literal["RECEIPT", "SHIPMENT"]
#: What a document is. ``EBL``: an electronic bill of lading, which can be presented in one place at a time.
DocumentKind = Literal[
    "DRAFT", "INVOICE", "EBL", "TRANSPORT", "INSURANCE", "PACKING_LIST", "ORIGIN", "INSPECTION", "OTHER"
]
#: Against what the issuing bank gets the title of documents that are forwarded to it.
Against = Literal["PAYMENT", "ACCEPTANCE"]
#: What a bank that refuses does with the documents (article 16 c iii).
Disposal = Literal["HELD", "AWAITS_WAIVER", "RETURNING", "AS_INSTRUCTED"]


class CreditState(StrEnum):
    """``DRAFT -> ISSUED -> ADVISED -> (CONFIRMED) -> PARTLY_DRAWN -> DRAWN -> CLOSED``; ``EXPIRED`` by date,
    ``CANCELLED`` by all who are bound or entitled. A transferred credit begins as a DRAFT and is then ADVISED."""

    DRAFT = "DRAFT"
    ISSUED = "ISSUED"
    ADVISED = "ADVISED"
    CONFIRMED = "CONFIRMED"
    PARTLY_DRAWN = "PARTLY_DRAWN"
    DRAWN = "DRAWN"
    CLOSED = "CLOSED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


#: Documents can be presented.
AVAILABLE_STATES: Final = (CreditState.ADVISED, CreditState.CONFIRMED, CreditState.PARTLY_DRAWN)
#: The issuing bank is bound to honour documents that may still come.
BINDING_STATES: Final = (CreditState.ISSUED, *AVAILABLE_STATES)


class PresentationState(StrEnum):
    """``RECEIVED -> EXAMINING -> COMPLYING | REFUSED``; without a notice in time ``PRECLUDED``; ``REFUSED ->
    WAIVED | RE_PRESENTED | RETURNED``; complying, precluded or waived ones become ``HONOURED`` (sight), ``ACCEPTED``
    (payable at maturity) or ``NEGOTIATED``, then ``PAID``."""

    RECEIVED = "RECEIVED"
    EXAMINING = "EXAMINING"
    COMPLYING = "COMPLYING"
    REFUSED = "REFUSED"
    WAIVED = "WAIVED"
    PRECLUDED = "PRECLUDED"
    RE_PRESENTED = "RE_PRESENTED"
    RETURNED = "RETURNED"
    HONOURED = "HONOURED"
    ACCEPTED = "ACCEPTED"
    NEGOTIATED = "NEGOTIATED"
    PAID = "PAID"


OPEN_STATES: Final = (PresentationState.RECEIVED, PresentationState.EXAMINING)
#: The bank has to honour.
DUE_STATES: Final = (PresentationState.COMPLYING, PresentationState.WAIVED, PresentationState.PRECLUDED)
#: An amount of the credit is set aside for it.
RESERVED_STATES: Final = (*OPEN_STATES, *DUE_STATES, PresentationState.REFUSED)
#: The bank honoured or negotiated and its customer is to be paid.
OWED_STATES: Final = (PresentationState.HONOURED, PresentationState.ACCEPTED, PresentationState.NEGOTIATED)
DRAWN_STATES: Final = (*OWED_STATES, PresentationState.PAID)
ENDED_STATES: Final = (PresentationState.RE_PRESENTED, PresentationState.RETURNED)


class ReimbursementState(StrEnum):
    """``CLAIMED -> DUE | REFUSED -> PAID``; a claim that was not refused in time can be paid like one that is due.
    ``WITHDRAWN``: the bank that claimed has its documents back, and may claim again."""

    CLAIMED = "CLAIMED"
    DUE = "DUE"
    REFUSED = "REFUSED"
    PAID = "PAID"
    WITHDRAWN = "WITHDRAWN"


class ObligationState(StrEnum):
    """``CONDITIONAL -> UNCONDITIONAL -> PAID``."""

    CONDITIONAL = "CONDITIONAL"
    UNCONDITIONAL = "UNCONDITIONAL"
    PAID = "PAID"


class Bank(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A bank and where it examines; both empty when nobody has this part in the credit."""

    name: str
    place: str


class RequiredDocument(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A document the credit calls for, and what it has to show."""

    kind: DocumentKind
    conditions: str


class PresentedDocument(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A document as presented: the hash of its salted payload (registered in the kernel), issuer and number."""

    kind: DocumentKind
    digest: bytes
    issuer: str
    number: str


class Terms(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What an amendment can change. Tolerances are parts per million; ``latest_shipment`` may be empty."""

    amount: Money
    plus_ppm: int
    minus_ppm: int
    expiry: str
    latest_shipment: str
    presentation_days: int
    documents: tuple[RequiredDocument, ...]

    @property
    def least_minor(self) -> int:
        """The least that may be drawn where partial drawings are not allowed."""
        return tolerance(self.amount, minus_ppm=self.minus_ppm, plus_ppm=self.plus_ppm)[0].minor

    @property
    def limit_minor(self) -> int:
        """The most that may be drawn in all."""
        return tolerance(self.amount, minus_ppm=self.minus_ppm, plus_ppm=self.plus_ppm)[1].minor


class Credit(Entity, collection="credit", schema=1, exported=True):
    """An irrevocable undertaking to honour complying documents.

    ``confirmation`` holds the terms to which the confirming bank is bound, and nothing before it confirmed. What is
    used of the limit: ``drawn_minor`` (honoured), ``reserved_minor`` (presented), ``transferred_limit_minor`` (limits
    of transferred credits, whose amounts sum to ``transferred_minor``). ``original_minor``: the amount before all
    amendments; ``version``: 1 and one more for each amendment in effect; ``owed``: presentations honoured and not paid.
    ``parent``: the credit it was transferred from, then in version ``base_version``; ``passes_amendments`` says whether
    the first beneficiary lets amendments reach the second one, and ``covers_minor`` for how much of the parent's amount
    it stands: the difference to its own is what the first beneficiary can draw with its own invoice.
    """

    credit: str
    parent: str
    rules: Rules
    applicant: str
    beneficiary: str
    issuing: Bank
    advising: str
    confirming: Bank
    nominated: Bank
    reimbursing: str
    available_by: Availability
    tenor_days: int
    tenor_from: TenorFrom
    partial: bool
    transhipment: bool
    transferable: bool
    passes_amendments: bool
    terms: Terms
    confirmation: tuple[Terms, ...]
    original_minor: int
    covers_minor: int
    base_version: int
    version: int
    state: CreditState
    drawn_minor: int
    reserved_minor: int
    owed: int
    transferred_minor: int
    transferred_limit_minor: int
    amendments: int
    presentations: int
    transfers: int
    cancel_consents: tuple[str, ...]

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_party": lambda credit: [(party, credit.credit) for party in credit.parties],
        # Credits that were not transferred stand under the empty parent, so that this lists every credit once.
        "by_parent": lambda credit: [(credit.parent, credit.credit)],
        "by_obligor": lambda credit: [(bank, credit.credit) for bank in credit.obligors],
    }

    @property
    def parties(self) -> tuple[str, ...]:
        """Everybody named in it, in order of name, once."""
        named = (
            self.applicant, self.beneficiary, self.issuing.name, self.advising, self.confirming.name,
            self.nominated.name, self.reimbursing,
        )  # fmt: skip
        return tuple(sorted({party for party in named if party}))

    @property
    def obligors(self) -> tuple[str, ...]:
        """The banks bound by it now: the issuing one, and the confirming one if it confirmed. A transferred credit
        divides the undertaking under its parent and adds none."""
        if self.parent or self.state not in BINDING_STATES:
            return ()
        return (self.issuing.name, self.confirming.name) if self.confirmation else (self.issuing.name,)

    @property
    def available_minor(self) -> int:
        """What can still be presented or transferred."""
        return self.terms.limit_minor - self.drawn_minor - self.reserved_minor - self.transferred_limit_minor

    def place_of(self, bank: str) -> str:
        """Where that bank examines under this credit; empty when documents cannot be presented to it."""
        places = {each.name: each.place for each in self.examining}
        return places.get(bank, "")

    @property
    def examining(self) -> tuple[Bank, ...]:
        """The banks to which documents can be presented."""
        confirming = (self.confirming,) if self.confirmation else ()
        return (self.issuing, *confirming, self.nominated)

    def is_bound(self, bank: str) -> bool:
        """Whether that bank has undertaken to honour: the issuing bank always, the confirming one once it confirmed."""
        return bank == self.issuing.name or (bank == self.confirming.name and self.confirmation != ())

    def primary_key(self) -> bytes:
        return key_of(self.credit)


class Amendment(Entity, collection="amendment", schema=1, exported=True):
    """An offer of the issuing bank to change a credit; it is bound by it from the moment it stands here.

    ``answers`` of the beneficiaries: the credit (this one or one transferred from it) and whether it was accepted.
    Empty dates, zero days and no documents: unchanged. ``extended``: the confirming bank confirms these terms too.
    ``version``: the version of the credit that it made, 0 before its beneficiary accepted.
    """

    credit: str
    number: int
    version: int
    delta_minor: int
    expiry: str
    latest_shipment: str
    presentation_days: int
    documents: tuple[RequiredDocument, ...]
    extended: bool
    answers: tuple[tuple[str, bool], ...]

    indexes = {"by_credit": lambda amendment: [(amendment.credit, amendment.number)]}  # noqa: RUF012

    def answer_of(self, credit: str) -> str:
        """``ACCEPTED``, ``REJECTED``, or empty while the beneficiary of that credit is silent."""
        said = [accepted for named, accepted in self.answers if named == credit]
        return ("ACCEPTED" if said[0] else "REJECTED") if said else ""

    def primary_key(self) -> bytes:
        return key_of(self.credit, self.number)


class Presentation(Entity, collection="presentation", schema=1, exported=True):
    """Documents presented under a credit, frozen at receipt, and what became of them.

    ``bank`` has the documents and decides; ``deadline`` is the last day of its examination; ``apparent`` lists the
    discrepancies that can be seen from the data on chain, ``findings`` those of the one notice of refusal, given at
    ``refused_ms``; ``waivers``: who waived them. ``ebls``: tags of its electronic bills of lading in the kernel's
    registry. ``substitutes``: the second beneficiary's presentation whose invoice this one replaces. ``with_party``
    has the documents now.
    """

    presentation: str
    credit: str
    seq: int
    version: int
    presenter: str
    bank: str
    place: str
    amount: Money
    documents: tuple[PresentedDocument, ...]
    ebls: tuple[bytes, ...]
    shipment_date: str
    received_ms: Instant
    received_date: str
    deadline: str
    apparent: tuple[str, ...]
    findings: tuple[str, ...]
    disposal: str
    refused_ms: Instant
    waivers: tuple[str, ...]
    replaces: str
    substitutes: str
    maturity: str
    with_party: str
    state: PresentationState

    indexes = {  # noqa: RUF012
        "by_credit": lambda p: [(p.credit, p.seq)],
        "by_deadline": lambda p: [(p.bank, p.deadline, p.presentation)] if p.state in OPEN_STATES else [],
        "by_maturity": lambda p: [(p.bank, p.maturity, p.presentation)] if p.state in OWED_STATES else [],
        "by_bank": lambda p: [(p.bank, p.presentation)],
        "by_substituted": lambda p: [(p.substitutes,)] if p.substitutes and p.state not in ENDED_STATES else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.presentation)


class BoundTitle(Entity, collection="bound_title", schema=1, exported=True):
    """A title that a presentation has: of this channel where ``channel`` is empty, else of that source channel by a
    ``commitment``. ``position``: the document that it is."""

    presentation: str
    position: int
    title: str
    channel: str
    commitment: str
    state: Literal["BOUND", "PASSED", "RETURNED"]

    indexes = {  # noqa: RUF012
        "by_presentation": lambda bound: [(bound.presentation, bound.position)],
        "by_title": lambda bound: [(bound.channel, bound.title, bound.presentation)] if bound.state == "BOUND" else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.presentation, self.position)


class ForwardedTitle(Entity, collection="forwarded_title", schema=1, exported=True):
    """A title that the bank which honoured hands on with its claim: bound for the issuing bank, then that bank's, or
    given back. ``title``: the version in force when it was forwarded; ``channel``, ``commitment`` and ``position`` as
    in ``BoundTitle``. ``against``: what makes it the issuing bank's own."""

    presentation: str
    position: int
    title: str
    channel: str
    commitment: str
    against: Against
    state: Literal["BOUND", "PASSED", "RETURNED"]

    indexes = {  # noqa: RUF012
        "by_presentation": lambda each: [(each.presentation, each.position)],
        "by_title": lambda each: [(each.channel, each.title, each.presentation)] if each.state == "BOUND" else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.presentation, self.position)


class Reimbursement(Entity, collection="reimbursement", schema=1, exported=True):
    """The claim of a bank that honoured or negotiated against the issuing bank, which has an examination of its own."""

    presentation: str
    credit: str
    claimant: str
    issuing: str
    amount: Money
    received_date: str
    deadline: str
    due_date: str
    findings: tuple[str, ...]
    refused_ms: Instant
    state: ReimbursementState

    indexes = {  # noqa: RUF012
        "by_issuing": lambda r: [(r.issuing, r.state, r.deadline)],
        "by_claimant": lambda r: [(r.claimant, r.state, r.deadline)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.presentation)


class Condition(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What has to happen and whose statement says that it did; ``record``: hash of the electronic record, if met."""

    text: str
    stated_by: str
    record: bytes


class PaymentObligation(Entity, collection="obligation", schema=1, exported=True):
    """A buyer's obligation to pay under URDTT, independent of the contract it comes from; ``fsp``: a financial service
    provider that added its own undertaking."""

    obligation: str
    buyer: str
    beneficiary: str
    fsp: str
    amount: Money
    due_date: str
    conditions: tuple[Condition, ...]
    state: ObligationState

    indexes = {  # noqa: RUF012
        "by_party": lambda o: [(party, o.due_date) for party in sorted({o.buyer, o.beneficiary, o.fsp}) if party],
    }

    def primary_key(self) -> bytes:
        return key_of(self.obligation)
