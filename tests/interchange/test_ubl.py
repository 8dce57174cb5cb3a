"""UBL import: what is read, what is refused and why, and that hostile XML gets nowhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.interchange.ubl import (
    DOCUMENT_BYTES_MAX,
    DocumentKind,
    Identifier,
    Reading,
    Reason,
    minor_units,
    read_document,
    record_invoice_args,
)
from dawan_node.interchange.xml_tree import DEPTH_MAX, ELEMENTS_MAX

# Real invoices of the European norm's and the Peppol test suites; they are not part of this project.
REAL_FILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "ubl"

NAMESPACES = (
    'xmlns="urn:oasis:names:specification:ubl:schema:xsd:{root}-2" '
    'xmlns:cac="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2" '
    'xmlns:cbc="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"'
)


def party(role: str, name: str, identifier: str = "", scheme: str = "") -> str:
    entity = f"<cbc:RegistrationName>{name}</cbc:RegistrationName>" if name else ""
    if identifier:
        entity += f'<cbc:CompanyID schemeID="{scheme}">{identifier}</cbc:CompanyID>'
    return f"<cac:{role}><cac:Party><cac:PartyLegalEntity>{entity}</cac:PartyLegalEntity></cac:Party></cac:{role}>"


def document(root: str = "Invoice", **changed: str) -> bytes:
    """An invoice of CNY 1,130.00; each keyword replaces, or with "" removes, one piece."""
    pieces = {
        "number": "<cbc:ID>INV-001</cbc:ID>",
        "issued": "<cbc:IssueDate>2026-03-01</cbc:IssueDate>",
        "due": "<cbc:DueDate>2026-05-30</cbc:DueDate>",
        "kind": f"<cbc:{root}TypeCode>{'380' if root == 'Invoice' else '381'}</cbc:{root}TypeCode>",
        "currency": "<cbc:DocumentCurrencyCode>CNY</cbc:DocumentCurrencyCode>",
        "supplier": party("AccountingSupplierParty", "Panyu Optics", "91110000600037341L", "USCC"),
        "customer": party("AccountingCustomerParty", "Nansha Motors", "213800KUD8LAJWSQ9D15", "0199"),
        "means": "",
        "tax": '<cac:TaxTotal><cbc:TaxAmount currencyID="CNY">130.00</cbc:TaxAmount></cac:TaxTotal>',
        "total": "<cac:LegalMonetaryTotal>{payable}{prepaid}</cac:LegalMonetaryTotal>",
        "payable": '<cbc:PayableAmount currencyID="CNY">1130.00</cbc:PayableAmount>',
        "prepaid": "",
    }
    pieces |= changed
    pieces["total"] = pieces["total"].format(payable=pieces.pop("payable"), prepaid=pieces.pop("prepaid"))
    body = "".join(pieces.values())
    return f'<?xml version="1.0"?><{root} {NAMESPACES.format(root=root)}>{body}</{root}>'.encode()


def payable(text: str, currency: str = "CNY") -> str:
    return f'<cbc:PayableAmount currencyID="{currency}">{text}</cbc:PayableAmount>'


def reason_of(reading: Reading) -> Reason | None:
    return reading.refusal.reason if reading.refusal else None


def test_an_invoice_gives_number_parties_dates_currency_amounts_and_hash() -> None:
    data = document()
    reading = read_document(data)
    assert reading.refusal is None
    assert reading.warnings == ()
    draft = reading.draft
    assert draft.kind is DocumentKind.INVOICE
    assert (draft.number, draft.type_code, draft.currency) == ("INV-001", "380", "CNY")
    assert (draft.issue_date, draft.due_date) == ("2026-03-01", "2026-05-30")
    assert (draft.payable_minor, draft.tax_minor) == (113_000, 13_000)
    assert draft.supplier.name == "Panyu Optics"
    assert draft.supplier.identifiers == (Identifier("USCC", "91110000600037341L"),)
    assert draft.customer.identifiers == (Identifier("0199", "213800KUD8LAJWSQ9D15"),)
    assert draft.document_sha256 == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"payable": payable("-1130.00")}, Reason.NEGATIVE),
        ({"payable": payable("0.00")}, Reason.ZERO),
        ({"payable": payable("-0.00")}, Reason.ZERO),
        ({"payable": payable("1130.001")}, Reason.PRECISION),
        ({"payable": payable("1e6")}, Reason.AMOUNT),
        ({"payable": payable("1,130.00")}, Reason.AMOUNT),
        ({"payable": payable("NaN")}, Reason.AMOUNT),
        ({"payable": payable("")}, Reason.AMOUNT),
        ({"payable": payable(".")}, Reason.AMOUNT),
        ({"payable": payable("1" + "0" * 16)}, Reason.AMOUNT_RANGE),
        ({"payable": payable("1130.00", "EUR")}, Reason.CURRENCY_MISMATCH),
        ({"payable": "<cbc:PayableAmount>1130.00</cbc:PayableAmount>"}, Reason.CURRENCY_MISMATCH),
        ({"payable": ""}, Reason.MISSING),
        ({"payable": payable("1130.00") + payable("1.00")}, Reason.DUPLICATE),
        ({"total": ""}, Reason.MISSING),
        ({"currency": "<cbc:DocumentCurrencyCode>XXQ</cbc:DocumentCurrencyCode>"}, Reason.UNKNOWN_CURRENCY),
        ({"number": ""}, Reason.MISSING),
        ({"number": "<cbc:ID>A</cbc:ID><cbc:ID>B</cbc:ID>"}, Reason.DUPLICATE),
        ({"number": f"<cbc:ID>{'9' * 65}</cbc:ID>"}, Reason.NUMBER),
        ({"number": "<cbc:ID>ІНВ-1</cbc:ID>"}, Reason.NUMBER),
        ({"issued": ""}, Reason.MISSING),
        ({"issued": "<cbc:IssueDate>2026-02-30</cbc:IssueDate>"}, Reason.DATE),
        ({"issued": "<cbc:IssueDate>20260301</cbc:IssueDate>"}, Reason.DATE),
        ({"due": "<cbc:DueDate>2026-02-28</cbc:DueDate>"}, Reason.DUE_BEFORE_ISSUE),
        ({"due": ""}, Reason.NO_DUE_DATE),
        ({"supplier": ""}, Reason.MISSING),
        ({"customer": party("AccountingCustomerParty", "")}, Reason.MISSING),
        ({"kind": "<cbc:InvoiceTypeCode>381</cbc:InvoiceTypeCode>"}, Reason.CREDIT_NOTE),
        ({"kind": "<cbc:InvoiceTypeCode>393</cbc:InvoiceTypeCode>"}, Reason.ALREADY_ASSIGNED),
        ({"kind": "<cbc:InvoiceTypeCode>325</cbc:InvoiceTypeCode>"}, Reason.INVOICE_TYPE),
        (
            {"tax": '<cac:TaxTotal><cbc:TaxAmount currencyID="CNY">-1.00</cbc:TaxAmount></cac:TaxTotal>'},
            Reason.TAX,
        ),
    ],
)
def test_what_is_no_receivable_is_refused_with_its_reason(changed: dict[str, str], reason: Reason) -> None:
    assert reason_of(read_document(document(**changed))) is reason


def test_a_credit_note_is_refused_and_still_named() -> None:
    reading = read_document(document("CreditNote", due=""))
    assert reason_of(reading) is Reason.CREDIT_NOTE
    assert reading.draft.kind is DocumentKind.CREDIT_NOTE
    assert (reading.draft.number, reading.draft.payable_minor) == ("INV-001", 113_000)


def test_a_due_date_is_also_found_in_the_payment_means_and_the_latest_counts() -> None:
    means = "".join(
        f"<cac:PaymentMeans><cbc:PaymentDueDate>{day}</cbc:PaymentDueDate></cac:PaymentMeans>"
        for day in ("2026-04-01", "2026-06-01")
    )
    reading = read_document(document(due="", means=means))
    assert reading.refusal is None
    assert reading.draft.due_date == "2026-06-01"
    assert "2 payment due dates" in reading.warnings[0]


def test_a_default_term_stands_in_for_a_missing_due_date_with_a_warning() -> None:
    reading = read_document(document(due=""), default_term_days=30)
    assert reading.refusal is None
    assert reading.draft.due_date == "2026-03-31"
    assert "30 days after issue" in reading.warnings[0]


def test_a_time_zone_on_a_date_is_dropped_not_converted() -> None:
    due = "<cbc:DueDate>2026-05-30+08:00</cbc:DueDate>"
    assert read_document(document(due=due)).draft.due_date == "2026-05-30"


def test_a_prepaid_part_is_warned_of_and_only_the_rest_counts() -> None:
    prepaid = '<cbc:PrepaidAmount currencyID="CNY">500.00</cbc:PrepaidAmount>'
    reading = read_document(document(prepaid=prepaid))
    assert reading.draft.payable_minor == 113_000
    assert "prepaid 500.00" in reading.warnings[0]


def test_arguments_leave_out_what_the_document_does_not_say() -> None:
    args = record_invoice_args(read_document(document(customer=party("AccountingCustomerParty", "N"))).draft, "buyer-a")
    assert args["total"] == ["CNY", 113_000]
    assert (args["tax_minor"], args["seller_identifier"]) == (13_000, "USCC:91110000600037341L")
    assert "buyer_identifier" not in args
    # Mostly prepaid: the tax on the whole invoice is more than what is still owed, and no tax on the claim.
    rest = read_document(document(payable=payable("100.00"))).draft
    assert rest.tax_minor == 13_000
    assert "tax_minor" not in record_invoice_args(rest, "buyer-a")


def test_tax_in_the_currency_of_accounting_is_not_taken_for_the_invoices() -> None:
    foreign = '<cac:TaxTotal><cbc:TaxAmount currencyID="EUR">17.00</cbc:TaxAmount></cac:TaxTotal>'
    assert read_document(document(tax=foreign)).draft.tax_minor is None


def test_a_wrong_check_digit_in_a_foreign_document_is_a_warning_not_an_error() -> None:
    reading = read_document(document(supplier=party("AccountingSupplierParty", "X", "213800KUD8LAJWSQ9D16", "0199")))
    assert reading.refusal is None
    assert "0199:213800KUD8LAJWSQ9D16" in reading.warnings[0]


def test_identifiers_are_kept_in_their_normalised_spelling() -> None:
    written = party("AccountingSupplierParty", "X", "2138-00ku-d8la-jwsq-9d15", "0199")
    assert read_document(document(supplier=written)).draft.supplier.identifiers[0].value == "213800KUD8LAJWSQ9D15"


BOMB = b"""<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;">]><Invoice>&c;</Invoice>"""
EXTERNAL = b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><Invoice>&f;</Invoice>'
PARAMETER = b'<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x.dtd"> %p;]><Invoice/>'
EXTERNAL_DTD = b'<!DOCTYPE Invoice SYSTEM "http://127.0.0.1:1/x.dtd"><Invoice/>'


@pytest.mark.parametrize("data", [BOMB, EXTERNAL, PARAMETER, EXTERNAL_DTD], ids=["bomb", "file", "parameter", "dtd"])
def test_document_types_entities_and_external_references_are_refused(data: bytes) -> None:
    assert reason_of(read_document(data)) is Reason.UNSAFE_XML


def test_a_document_that_is_too_deep_too_wide_or_too_large_is_refused() -> None:
    deep = b"<a>" * (DEPTH_MAX + 1) + b"</a>" * (DEPTH_MAX + 1)
    wide = b"<a>" + b"<b/>" * (ELEMENTS_MAX + 1) + b"</a>"
    assert reason_of(read_document(deep)) is Reason.UNSAFE_XML
    assert reason_of(read_document(wide)) is Reason.UNSAFE_XML
    assert reason_of(read_document(b" " * (DOCUMENT_BYTES_MAX + 1))) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [b"", b"<", b"<a>", b"<a></b>", b"\xff\xfe\x00", b'<?xml version="1.0" encoding="nonsense"?><a/>', b"PK\x03\x04"],
)
def test_what_is_not_well_formed_xml_is_refused(data: bytes) -> None:
    assert reason_of(read_document(data)) is Reason.MALFORMED_XML


def test_xml_that_is_no_ubl_invoice_is_refused() -> None:
    assert reason_of(read_document(b"<html/>")) is Reason.NOT_UBL
    other = b'<Invoice xmlns="urn:example:other"/>'
    assert reason_of(read_document(other)) is Reason.NOT_UBL


def test_a_comment_inside_a_number_cannot_cut_it_in_two() -> None:
    assert read_document(document(number="<cbc:ID>INV<!-- x -->-001</cbc:ID>")).draft.number == "INV-001"


def test_amounts_inside_invoice_lines_do_not_count() -> None:
    line = "<cac:InvoiceLine><cbc:ID>9</cbc:ID><cac:LegalMonetaryTotal/></cac:InvoiceLine>"
    assert read_document(document(means=line)).draft.payable_minor == 113_000


@given(st.binary(max_size=200))
def test_arbitrary_bytes_end_in_a_typed_refusal(data: bytes) -> None:
    assert reason_of(read_document(data)) in (Reason.MALFORMED_XML, Reason.UNSAFE_XML, Reason.NOT_UBL)


@given(st.integers(0, 10**15 - 1), st.sampled_from(["CNY", "JPY", "KWD"]), st.integers(0, 5))
def test_every_exact_decimal_becomes_its_minor_units_and_no_other(minor: int, currency: str, zeros: int) -> None:
    digits = {"CNY": 2, "JPY": 0, "KWD": 3}[currency]
    whole, fraction = divmod(minor, 10**digits)
    text = f"{whole}.{str(fraction).rjust(digits, '0') if digits else ''}{'0' * zeros}"
    assert minor_units(text, currency) == minor
    assert minor_units(f"-{text}", currency) == -minor
    with pytest.raises(ValueError, match=Reason.PRECISION):
        minor_units(text + "1" if digits or zeros else text + "01", currency)


REAL = {
    "guide-example1.xml": ("12115118", "De Koksmaat", "ODIN 59", "EUR", 25_033, 2_073, "2015-01-09", None),
    "guide-example2.xml": (
        "TOSL108",
        "Salescompany ltd.",
        "The Buyercompany",
        "NOK",
        80_178,
        36_528,
        "2013-07-20",
        None,
    ),
    "ubl-tc434-example1.xml": ("12115118", "De Koksmaat", "ODIN 59", "EUR", 25_033, 2_073, "2015-01-09", None),
    "ubl-tc434-example3.xml": (
        "TOSL108",
        "SubscriptionSeller",
        "Buyercompany ltd",
        "DKK",
        200_500,
        30_500,
        "2013-05-10",
        None,
    ),
    "ubl-tc434-example5.xml": (
        "TOSL110",
        "SellerCompany",
        "Buyercompany ltd",
        "DKK",
        233_750,
        67_500,
        "2013-05-10",
        None,
    ),
    "ubl-tc434-creditnote1.xml": (
        "018304 / 28865",
        "My Supplier Company",
        "My Customer Company",
        "EUR",
        10_011,
        0,
        "",
        Reason.CREDIT_NOTE,
    ),
    "BIS3_Invoice_negativ.xml": (
        "12345",
        "Company A",
        "Company B",
        "DKK",
        -78_217_943,
        -15_643_589,
        "2019-02-24",
        Reason.NEGATIVE,
    ),
}


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason=f"NOT RUN: the real UBL files are not at {REAL_FILES}")
@pytest.mark.parametrize("name", sorted(REAL))
def test_a_real_file_is_read_exactly_or_refused_with_its_reason(name: str) -> None:
    reading = read_document((REAL_FILES / name).read_bytes())
    draft = reading.draft
    assert (
        draft.number,
        draft.supplier.name,
        draft.customer.name,
        draft.currency,
        draft.payable_minor,
        draft.tax_minor,
        draft.due_date,
        reason_of(reading),
    ) == REAL[name]


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason=f"NOT RUN: the real UBL files are not at {REAL_FILES}")
def test_every_real_file_is_covered_and_identifier_schemes_survive() -> None:
    assert {path.name for path in REAL_FILES.glob("*.xml")} == set(REAL)
    seller = read_document((REAL_FILES / "guide-example2.xml").read_bytes()).draft.supplier
    assert [str(identifier) for identifier in seller.identifiers] == [
        "0082:123456789",
        "0088:1238764941386",
        "VAT:NO123456789MVA",
    ]
