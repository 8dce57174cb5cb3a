"""UBL 2.1 invoices and credit notes: bytes in, a draft of a receivable with warnings out, or a typed refusal.

UBL (ISO/IEC 19845) is the XML that purchasing systems exchange. This reader takes what a receivable needs (number,
parties with their identifier schemes, dates, currency, payable amount, tax) and nothing else; the whole document is
bound by its SHA-256, so that a bank can later compare the file it was shown with what stands on the chain.

Three decisions that a reader of the result should know:

- The receivable is the **payable amount** (BT-115): what is still owed after prepayments. Amounts are decimal text and
  become integers of the currency's minor unit exactly; what does not fit exactly is refused, never rounded.
- The **due date** is ``DueDate``; else the latest ``PaymentDueDate`` of the payment means or terms; else, if the caller
  gave one, a default number of days after issue (with a warning); else the document is refused, because without a
  maturity nothing can be financed.
- A **credit note**, whether by its root element or by its type code, is read as far as possible and refused: it is a
  claim of the buyer. So is a factored invoice (type 393), whose claim was already assigned to somebody.

XML from outside is hostile until shown otherwise; ``xml_tree`` refuses the constructs and sizes that attacks use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Final

from dawan_node.crypto.hashing import sha256
from dawan_node.interchange.xml_tree import Element, MalformedXml, UnsafeXml, parse_xml
from dawan_node.modules.identifiers import normalised_gln, normalised_lei, normalised_uscc
from dawan_node.modules.receivable.entities import CURRENCIES, Money
from dawan_node.modules.receivable.fingerprints import normalised_number
from dawan_node.modules.receivable.invoices import CREDIT_TYPES, FACTORED_TYPES, INVOICE_TYPES

#: Invoices with an embedded PDF reach a few megabytes; the parsed tree takes some ten times the text.
DOCUMENT_BYTES_MAX: Final = 8 * 1024 * 1024
#: No invoice is larger than the whole of world trade, and a fixed bound keeps sums far from 2^63.
AMOUNT_DIGITS_MAX: Final = 15
#: Texts are shown to people and stored on chain: long ones are cut (names) or refused (numbers).
NUMBER_CHARS_MAX: Final = 64
NAME_CHARS_MAX: Final = 120
IDENTIFIER_CHARS_MAX: Final = 64
PARTY_IDENTIFIERS_MAX: Final = 8

_NAMESPACES: Final = {
    "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2": "cbc",
    "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2": "cac",
    "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2": "invoice",
    "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2": "creditnote",
}
_INVOICE_ROOT: Final = "invoice:Invoice"
_CREDIT_NOTE_ROOT: Final = "creditnote:CreditNote"
# Nothing is read from these, and they are most of a document.
_SKIPPED: Final = frozenset({"cac:InvoiceLine", "cac:CreditNoteLine", "cac:AdditionalDocumentReference"})

# xsd:decimal: a sign, digits, optionally a point; no exponent, no thousands separator.
_DECIMAL: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?")
# xsd:date may carry a time zone; an invoice date is the date written on the paper, so the zone is dropped.
_DATE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|[+-][0-9]{2}:[0-9]{2})?")


class DocumentKind(StrEnum):
    """What the document is, by its root element and its type code together."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class Reason(StrEnum):
    """Why a document cannot become a receivable. Where the module has the same rule, the identifier is the same."""

    TOO_LARGE = "E_DOCUMENT_TOO_LARGE"
    UNSAFE_XML = "E_UNSAFE_XML"
    MALFORMED_XML = "E_MALFORMED_XML"
    NOT_UBL = "E_NOT_UBL"
    MISSING = "E_MISSING_ELEMENT"
    DUPLICATE = "E_DUPLICATE_ELEMENT"
    NUMBER = "E_INVOICE_NUMBER"
    DATE = "E_DATE"
    NO_DUE_DATE = "E_NO_DUE_DATE"
    DUE_BEFORE_ISSUE = "E_DUE_BEFORE_ISSUE"
    UNKNOWN_CURRENCY = "E_UNKNOWN_CURRENCY"
    CURRENCY_MISMATCH = "E_CURRENCY_MISMATCH"
    AMOUNT = "E_AMOUNT_FORMAT"
    PRECISION = "E_AMOUNT_PRECISION"
    AMOUNT_RANGE = "E_AMOUNT_RANGE"
    NEGATIVE = "E_NEGATIVE_AMOUNT"
    ZERO = "E_ZERO_AMOUNT"
    TAX = "E_TAX_AMOUNT"
    CREDIT_NOTE = "E_CREDIT_NOTE"
    ALREADY_ASSIGNED = "E_ALREADY_ASSIGNED"
    INVOICE_TYPE = "E_INVOICE_TYPE"


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier as the document gives it. ``scheme`` is the ISO 6523 or private code, "" when none is given."""

    scheme: str
    value: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.value}" if self.scheme else self.value


@dataclass(frozen=True, slots=True)
class PartyDraft:
    """A company as the document names it; identifiers in the order legal entity, party, endpoint, tax."""

    name: str = ""
    identifiers: tuple[Identifier, ...] = ()
    country: str = ""

    @property
    def identifier(self) -> str:
        """The first identifier as ``scheme:value``, "" when there is none."""
        return str(self.identifiers[0]) if self.identifiers else ""


@dataclass(frozen=True, slots=True)
class InvoiceDraft:
    """What was read. In a refused document the fields after the offending one keep their empty values.

    Amounts are integers of the currency's minor unit; dates are ``YYYY-MM-DD``.
    """

    document_sha256: bytes
    kind: DocumentKind = DocumentKind.INVOICE
    type_code: str = ""
    number: str = ""
    supplier: PartyDraft = PartyDraft()
    customer: PartyDraft = PartyDraft()
    issue_date: str = ""
    due_date: str = ""
    currency: str = ""
    payable_minor: int = 0
    tax_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the document is not taken: a stable reason and a sentence for a person."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The outcome for one document. ``refusal`` is None exactly when the draft is complete and may be recorded."""

    draft: InvoiceDraft
    refusal: Refusal | None = None
    warnings: tuple[str, ...] = ()


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


def read_document(data: bytes, default_term_days: int | None = None) -> Reading:
    """Read one UBL 2.1 Invoice or CreditNote.

    ``default_term_days`` is the term to assume, counted from the issue date, when the document gives no due date; None
    refuses such a document. Never raises on content: the refusal says what is wrong.
    """
    reader = _Reader(data, default_term_days)
    try:
        reader.read()
    except _Refused as refused:
        return Reading(reader.draft, refused.refusal, tuple(reader.warnings))
    return Reading(reader.draft, None, tuple(reader.warnings))


def record_invoice_args(draft: InvoiceDraft, buyer: str) -> dict[str, Any]:
    """The arguments of ``receivable.record_invoice`` for a draft that was not refused.

    ``buyer`` is the channel identity behind the document's customer; the sender of the transaction is the supplier.
    Optional fields that the document does not give stay absent.
    """
    args: dict[str, Any] = {
        "number": draft.number,
        "buyer": buyer,
        "issue_date": draft.issue_date,
        "due_date": draft.due_date,
        "total": [draft.currency, draft.payable_minor],
        "type_code": draft.type_code,
        "document": draft.document_sha256,
        "seller_name": draft.supplier.name,
        "seller_identifier": draft.supplier.identifier,
        "buyer_name": draft.customer.name,
        "buyer_identifier": draft.customer.identifier,
    }
    # Tax on the whole invoice may exceed what is still payable after prepayment; then it says nothing about the claim.
    if draft.tax_minor is not None and draft.tax_minor <= draft.payable_minor:
        args["tax_minor"] = draft.tax_minor
    return {name: value for name, value in args.items() if value != ""}


def minor_units(text: str, currency: str) -> int:
    """The exact number of minor units in a decimal text: ``("1234.50", "CNY")`` is 123450.

    Zeros beyond the currency's precision are harmless; other digits there are refused. Raises ValueError whose text is
    a ``Reason``.
    """
    digits = CURRENCIES[currency]
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(Reason.AMOUNT)
    whole, fraction = match[2] or "", match[3] or ""
    if fraction[digits:].strip("0"):
        raise ValueError(Reason.PRECISION)
    written = (whole + fraction[:digits].ljust(digits, "0")).lstrip("0") or "0"
    if len(written) > AMOUNT_DIGITS_MAX:
        raise ValueError(Reason.AMOUNT_RANGE)
    return -int(written) if match[1] == "-" else int(written)


class _Reader:
    """Walks one document; ``draft`` grows field by field so that a refusal can still say which invoice it was."""

    def __init__(self, data: bytes, default_term_days: int | None) -> None:
        self._data = data
        self._default_term_days = default_term_days
        self.draft = InvoiceDraft(sha256(data))
        self.warnings: list[str] = []

    def read(self) -> None:
        root = _parse(self._data)
        self._read_kind(root)
        self._read_identity(root)
        self._read_dates(root)
        self._read_amounts(root)
        # Last, so that the refusal of a credit note still names its number, parties and amount.
        self._refuse_what_is_no_receivable()

    def _read_kind(self, root: Element) -> None:
        if root.tag not in (_INVOICE_ROOT, _CREDIT_NOTE_ROOT):
            name = root.tag.rpartition(":")[2][:40]
            raise _Refused(Reason.NOT_UBL, f"the root element <{name}> is neither a UBL 2 Invoice nor a CreditNote")
        is_credit_note = root.tag == _CREDIT_NOTE_ROOT
        type_code = _text(root, "CreditNoteTypeCode" if is_credit_note else "InvoiceTypeCode")
        if is_credit_note or type_code in CREDIT_TYPES:
            self._set(kind=DocumentKind.CREDIT_NOTE)
        self._set(type_code=type_code or ("381" if is_credit_note else "380"))

    def _read_identity(self, root: Element) -> None:
        number = _shown(_required(root, "ID"))
        if len(number) > NUMBER_CHARS_MAX:
            raise _Refused(Reason.NUMBER, f"the number has {len(number)} characters, at most {NUMBER_CHARS_MAX}")
        self._set(number=number)
        if normalised_number(number) is None:
            raise _Refused(Reason.NUMBER, "the number must have digits, Latin letters or Han characters only")
        self._set(supplier=self._party(root, "AccountingSupplierParty"))
        self._set(customer=self._party(root, "AccountingCustomerParty"))

    def _party(self, root: Element, role: str) -> PartyDraft:
        party = next(root.all(f"cac:{role}/cac:Party"), None)
        if party is None:
            raise _Refused(Reason.MISSING, f"there is no {role}")
        name = next(_texts(party, "cac:PartyLegalEntity/cbc:RegistrationName", "cac:PartyName/cbc:Name"), "")
        elements = [
            *party.all("cac:PartyLegalEntity/cbc:CompanyID"),
            *party.all("cac:PartyIdentification/cbc:ID"),
            *party.all("cbc:EndpointID"),
        ]
        found = [Identifier(_shown(e.attributes.get("schemeID", ""))[:16], _shown(e.text)) for e in elements]
        found += [
            Identifier("VAT", _shown(number))
            for scheme in party.all("cac:PartyTaxScheme")
            if "VAT" in _texts(scheme, "cac:TaxScheme/cbc:ID")
            for number in _texts(scheme, "cbc:CompanyID")
        ]
        kept = dict.fromkeys(self._checked(i) for i in found if 0 < len(i.value) <= IDENTIFIER_CHARS_MAX)
        if not name and not kept:
            raise _Refused(Reason.MISSING, f"{role} has neither a name nor an identifier")
        country = next(_texts(party, "cac:PostalAddress/cac:Country/cbc:IdentificationCode"), "")
        return PartyDraft(_shown(name)[:NAME_CHARS_MAX], tuple(kept)[:PARTY_IDENTIFIERS_MAX], country[:2])

    def _checked(self, identifier: Identifier) -> Identifier:
        """The identifier with its check digits verified where the scheme has any.

        A wrong digit in somebody else's document is a warning, not an error (domain.md 1.2): half the sample messages
        of the standards bodies have one.
        """
        check = _CHECKS.get(identifier.scheme.upper())
        if check is None:
            return identifier
        normalised = check(identifier.value)
        if normalised is None:
            self.warnings.append(f"identifier {identifier} has a wrong form or check digit")
            return identifier
        return Identifier(identifier.scheme, normalised)

    def _read_dates(self, root: Element) -> None:
        issued = _date(_required(root, "IssueDate"), "IssueDate")
        self._set(issue_date=issued.isoformat())
        due = self._due_date(root, issued)
        if due is None:
            return
        self._set(due_date=due.isoformat())
        if due < issued:
            raise _Refused(Reason.DUE_BEFORE_ISSUE, f"due {due} is before issue {issued}")

    def _due_date(self, root: Element, issued: date) -> date | None:
        if text := _text(root, "DueDate"):
            return _date(text, "DueDate")
        places = ("cac:PaymentMeans/cbc:PaymentDueDate", "cac:PaymentTerms/cbc:PaymentDueDate")
        if dates := sorted({_date(text, "PaymentDueDate") for text in _texts(root, *places)}):
            if len(dates) > 1:
                self.warnings.append(f"{len(dates)} payment due dates, the latest is taken")
            return dates[-1]
        if self._default_term_days is None:
            # A credit note rarely has a due date, and that is not what is wrong with it.
            if self.draft.kind is DocumentKind.CREDIT_NOTE:
                return None
            raise _Refused(Reason.NO_DUE_DATE, "neither DueDate nor PaymentDueDate is given")
        self.warnings.append(f"no due date: {self._default_term_days} days after issue assumed")
        try:
            return issued + timedelta(days=self._default_term_days)
        except OverflowError:
            raise _Refused(Reason.DATE, f"{issued} and {self._default_term_days} days is after the year 9999") from None

    def _read_amounts(self, root: Element) -> None:
        currency = _required(root, "DocumentCurrencyCode")
        if currency not in CURRENCIES:
            raise _Refused(Reason.UNKNOWN_CURRENCY, f"{currency[:8]!r} is not a currency of this channel")
        self._set(currency=currency)
        total = next(root.all("cac:LegalMonetaryTotal"), None)
        if total is None:
            raise _Refused(Reason.MISSING, "there is no LegalMonetaryTotal")
        payable = self._amount(total, "PayableAmount", currency)
        if payable is None:
            raise _Refused(Reason.MISSING, "there is no PayableAmount")
        self._set(payable_minor=payable)
        self._set(tax_minor=self._tax(root, currency))
        if self.draft.kind is DocumentKind.INVOICE:
            self._require_positive(payable)
        if prepaid := self._amount(total, "PrepaidAmount", currency):
            self.warnings.append(f"prepaid {Money(currency, prepaid).decimal()}: only the payable rest is a receivable")

    def _require_positive(self, payable: int) -> None:
        if payable < 0:
            raise _Refused(Reason.NEGATIVE, f"payable {Money(self.draft.currency, payable).decimal()} is negative")
        if payable == 0:
            raise _Refused(Reason.ZERO, "nothing is payable")
        if self.draft.tax_minor is not None and self.draft.tax_minor < 0:
            raise _Refused(Reason.TAX, "the tax amount is negative")

    def _tax(self, root: Element, currency: str) -> int | None:
        """The tax in the document's currency; a second total in the currency of accounting is not ours."""
        for element in root.all("cac:TaxTotal/cbc:TaxAmount"):
            if element.attributes.get("currencyID") == currency:
                return _minor(element, "TaxAmount", currency)
        return None

    def _amount(self, parent: Element, name: str, currency: str) -> int | None:
        element = _single(parent, name)
        if element is None:
            return None
        given = element.attributes.get("currencyID", "no currency")
        if given != currency:
            raise _Refused(Reason.CURRENCY_MISMATCH, f"{name} is in {given[:16]}, the document in {currency}")
        return _minor(element, name, currency)

    def _refuse_what_is_no_receivable(self) -> None:
        if self.draft.kind is DocumentKind.CREDIT_NOTE:
            raise _Refused(Reason.CREDIT_NOTE, "a credit note is a claim of the buyer, not a receivable")
        if self.draft.type_code in FACTORED_TYPES:
            raise _Refused(Reason.ALREADY_ASSIGNED, "a factored invoice (393): the claim was already assigned")
        if self.draft.type_code not in INVOICE_TYPES:
            raise _Refused(Reason.INVOICE_TYPE, f"type code {self.draft.type_code[:8]!r} is not that of an invoice")

    def _set(self, **fields: object) -> None:
        self.draft = replace(self.draft, **fields)  # type: ignore[arg-type]


_CHECKS: Final = {
    "0199": normalised_lei,  # ISO 6523 code of the LEI
    "LEI": normalised_lei,
    "0088": normalised_gln,  # ISO 6523 code of the GLN
    "GLN": normalised_gln,
    "USCC": normalised_uscc,
}


def _parse(data: bytes) -> Element:
    if len(data) > DOCUMENT_BYTES_MAX:
        raise _Refused(Reason.TOO_LARGE, f"{len(data)} bytes, at most {DOCUMENT_BYTES_MAX}")
    try:
        return parse_xml(data, _NAMESPACES, _SKIPPED)
    except UnsafeXml as error:
        raise _Refused(Reason.UNSAFE_XML, str(error)) from None
    except MalformedXml as error:
        raise _Refused(Reason.MALFORMED_XML, str(error)) from None


def _texts(parent: Element, *paths: str) -> Iterator[str]:
    """The non-empty texts at these paths, in this order."""
    return (element.text for path in paths for element in parent.all(path) if element.text)


def _single(parent: Element, name: str) -> Element | None:
    """The direct child that may stand there at most once: two amounts would let two readers see two invoices."""
    elements = list(parent.all(f"cbc:{name}"))
    if len(elements) > 1:
        raise _Refused(Reason.DUPLICATE, f"{name} stands there {len(elements)} times")
    return elements[0] if elements else None


def _text(root: Element, name: str) -> str:
    element = _single(root, name)
    return element.text if element is not None else ""


def _shown(text: str) -> str:
    """``text`` on one line without control characters: it is printed on terminals and stored on chain."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _required(root: Element, name: str) -> str:
    if text := _text(root, name):
        return text
    raise _Refused(Reason.MISSING, f"there is no {name}")


def _date(text: str, name: str) -> date:
    match = _DATE.fullmatch(text)
    try:
        if match is not None:
            return date.fromisoformat(match[1])
    except ValueError:
        pass
    raise _Refused(Reason.DATE, f"{name} {text[:40]!r} is not a date YYYY-MM-DD")


def _minor(element: Element, name: str, currency: str) -> int:
    try:
        return minor_units(element.text, currency)
    except ValueError as error:
        raise _Refused(
            Reason(str(error)), f"{name} {element.text[:40]!r} cannot be an exact amount of {currency}"
        ) from None
