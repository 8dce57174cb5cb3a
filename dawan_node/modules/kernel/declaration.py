"""What the kernel declares: locks, freezes, cash references, fingerprints, documents, questions; events; errors.

An asset is named by the module it belongs to and a text of that module's own (``"title"``, ``"carrier-1/BL-77"``).
"""

from __future__ import annotations

from typing import Final, Literal

from dawan_node.execution.module import Entity, Event, Instant, Module, Money, key_of

FingerprintState = Literal["HELD", "REGISTERED", "FINANCED", "RELEASED", "CANCELLED"]
QuestionState = Literal["OPEN", "AGREED", "DISPUTED", "RESOLVED"]

#: States in which a document cannot be registered again.
LIVE_STATES: Final[tuple[FingerprintState, ...]] = ("HELD", "REGISTERED", "FINANCED")


class Lock(Entity, collection="lock", schema=1, exported=True):
    """The last exclusive lock of an asset; it binds before ``until_ms``. ``owner`` is the process that holds it."""

    module: str
    asset: str
    owner: str
    reason: str
    since_ms: Instant
    until_ms: Instant

    indexes = {"by_asset": lambda lock: [(lock.module, lock.asset)]}  # noqa: RUF012 - a ClassVar of the base class

    def primary_key(self) -> bytes:
        return key_of(self.module, self.asset)


class Freeze(Entity, collection="freeze", schema=1, exported=True):
    """A court's order that an asset must not move, from ``since_ms`` until before ``until_ms``. Never deleted."""

    module: str
    asset: str
    order: str
    reason: str
    ordered_by: str
    org: str
    since_ms: Instant
    until_ms: Instant

    # The order that lasts longest comes first.
    indexes = {"by_asset": lambda freeze: [(freeze.module, freeze.asset, -freeze.until_ms)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.module, self.asset, self.order)


class CashReference(Entity, collection="cash_reference", schema=1, exported=True):
    """A payment that a settlement bank attested and what it settled. Never deleted: used once means for ever."""

    bank: str
    reference: str
    payer: str
    payee: str
    amount: Money
    value_date: str
    module: str
    purpose: str
    subject: str
    attested_by: str

    indexes = {"by_subject": lambda cash: [(cash.module, cash.subject, cash.purpose)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.bank, self.reference)


class Fingerprint(Entity, collection="fingerprint", schema=1, exported=True):
    """A document that is or was to be financed, by its exact tag; ``loose`` finds those that look alike.

    ``HELD`` waits for a second pair of eyes because a look-alike is live; ``similar_to`` is that one's tag.
    """

    exact: bytes
    loose: bytes
    module: str
    subject: str
    state: FingerprintState
    registered_by: str
    org: str
    similar_to: bytes
    override_by: str
    override_reason: str

    indexes = {  # noqa: RUF012
        "live": lambda tag: [(tag.loose, tag.exact)] if tag.state in LIVE_STATES else [],
        "by_subject": lambda tag: [(tag.module, tag.subject)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.exact)


class Document(Entity, collection="document", schema=1, exported=True):
    """A document off chain: the hash of its salted payload, who may read it, until when it is kept. After the purge
    ``purged_ms`` is set and the record stays as a tombstone."""

    digest: bytes
    module: str
    size: int
    media_type: str
    schema_id: str
    readers: tuple[str, ...]
    retain_until: str
    registered_by: str
    purged_ms: Instant

    indexes = {"by_module": lambda document: [(document.module, document.digest)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.digest)


class Question(Entity, collection="question", schema=1, exported=True):
    """A fact that ``needed`` of the organisations in ``sources`` must state alike. An agreed answer settles when
    ``dispute_ms`` passed without a dispute; a disputed one when the module that asked resolved it."""

    module: str
    name: str
    sources: tuple[str, ...]
    parties: tuple[str, ...]
    needed: int
    closes_ms: Instant
    dispute_ms: int
    state: QuestionState
    answer: str
    agreed_ms: Instant
    disputed_by: str
    dispute_reason: str
    statements: tuple[tuple[str, str], ...]

    indexes = {"by_name": lambda question: [(question.module, question.name)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.module, self.name)


class Locked(Event):
    module: str
    asset: str
    owner: str
    until_ms: Instant


class Released(Event):
    """``by``: the owner, or the order of the court."""

    module: str
    asset: str
    by: str


class Frozen(Event):
    module: str
    asset: str
    order: str
    until_ms: Instant


class Unfrozen(Event):
    module: str
    asset: str
    order: str


class SimilarFingerprint(Event):
    module: str
    subject: str
    similar_to: bytes


class DocumentPurged(Event):
    digest: bytes


class AnswerAgreed(Event):
    module: str
    name: str
    answer: str
    settles_ms: Instant


class AnswerDisputed(Event):
    module: str
    name: str
    by: str


ERRORS: Final = {
    "E_NAME_FORM": "A name, reference or reason is empty or too long.",
    "E_UNKNOWN_MODULE": "The channel runs no such module.",
    "E_LOCKED": "The asset has a live lock of another owner.",
    "E_NOT_LOCKED": "The asset has no live lock of this owner.",
    "E_LOCK_TIME": "A lock ends later than now and at most 366 days from now.",
    "E_ASSET_FROZEN": "A court's order forbids to move the asset.",
    "E_ORDER": "This order about this asset was recorded already.",
    "E_NOT_ORDERED": "There is no such order in force.",
    "E_NOT_ORDERING": "Only the organisation that recorded the order may lift it.",
    "E_FREEZE_TIME": "An order ends later than now and at most three years from now; a court renews it.",
    "E_NOT_ATTESTOR": "Only a settlement bank attests payments, and none of its own organisation.",
    "E_BANK": "The bank is not given by a BIC of 8 or 11 characters.",
    "E_REFERENCE": "The reference has no letter or digit, or too many.",
    "E_CASHREF_USED": "The cash reference was already used.",
    "E_AMOUNT": "The amount is not positive, or has more than 15 digits.",
    "E_VALUE_DATE": "The value date is no date, or lies after today's business date.",
    "E_TAG": "A fingerprint has 32 bytes.",
    "E_DUP_FINANCE": "The document is registered or financed already.",
    "E_NOT_REGISTERED": "There is no such fingerprint of this module in a state in which this is possible.",
    "E_FOUR_EYES": "The override needs another identity of the same organisation.",
    "E_DUP_DOCUMENT": "A document with this hash is registered already.",
    "E_UNKNOWN_DOCUMENT": "This module registered no such document.",
    "E_READERS": "Readers are 1 to 64 different member organisations.",
    "E_DOCUMENT": "Size, media type, schema or retention date are not well formed.",
    "E_RETENTION": "The document must be kept longer.",
    "E_PURGED": "The document was purged.",
    "E_QUESTION": "A question has 1 to 32 different member organisations as sources and asks for 1 to all of them.",
    "E_DUP_QUESTION": "This module already asked a question of this name.",
    "E_UNKNOWN_QUESTION": "There is no such question.",
    "E_NOT_SOURCE": "The sender's organisation is no source of this question.",
    "E_STATED": "The organisation has stated its answer already.",
    "E_QUESTION_CLOSED": "The question is no longer open.",
    "E_NOT_DISPUTABLE": "There is no agreed answer, or the time to dispute it is over.",
    "E_NOT_CONCERNED": "Only a source or a party of the question may dispute its answer.",
    "E_NOT_DISPUTED": "The question is not in dispute, or still open.",
}

module: Final = Module(
    "kernel",
    version=1,
    entities=(Lock, Freeze, CashReference, Fingerprint, Document, Question),
    events=(
        Locked,
        Released,
        Frozen,
        Unfrozen,
        SimilarFingerprint,
        DocumentPurged,
        AnswerAgreed,
        AnswerDisputed,
    ),
    errors=ERRORS,
    uses=("refdata",),
)
