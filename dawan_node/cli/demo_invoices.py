"""The documents of the demo: small UBL 2.1 invoices of invented companies, dated today.

They are made when the demo runs, because an invoice that can be financed must fall due in the future; the importer
reads them exactly as it reads files. Names and identifiers are invented; the check digits are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from typing import Final

_UBL: Final = "urn:oasis:names:specification:ubl:schema:xsd"


@dataclass(frozen=True, slots=True)
class Company:
    """A party of the documents; ``identity`` is the name under which it signs on the channel."""

    name: str
    scheme: str
    identifier: str
    country: str
    identity: str


SUPPLIER: Final = Company("广州南沙光学有限公司", "USCC", "91440115MA5CXQ1J4F", "CN", "gz-supplier")
CORE: Final = Company("广州粤湾汽车集团", "USCC", "91440101MA9WKQ7T2Y", "CN", "gz-core")
BUYER: Final = Company("番禺精密装备有限公司", "USCC", "91440113MA5D3PXY79", "CN", "gz-buyer")


def samples(number: int, today: str) -> list[tuple[str, bytes]]:
    """(file name, document) of the supplier's outbox: three invoices and a credit note, numbered from ``number``."""
    issued = date.fromisoformat(today)
    due = (issued + timedelta(days=90)).isoformat()
    first = f"INV-{number:03d}"
    return [
        (f"{first}.xml", invoice(first, CORE, today, due, "CNY", "10000000.00", "1150442.48")),
        (f"INV-{number:03d}-B.xml", invoice(f"INV-{number:03d}-B", BUYER, today, due, "CNY", "386450.00", "44458.85")),
        (f"INV-{number:03d}-C.xml", invoice(f"INV-{number:03d}-C", BUYER, today, due, "HKD", "52800.50", "0.00")),
        (f"CN-{number:03d}.xml", credit_note(f"CN-{number:03d}", BUYER, today, "CNY", "1200.00")),
    ]


def invoice(number: str, customer: Company, issued: str, due: str, currency: str, payable: str, tax: str) -> bytes:
    """An invoice of the supplier."""
    dates = f"<cbc:IssueDate>{issued}</cbc:IssueDate><cbc:DueDate>{due}</cbc:DueDate>"
    return _document("Invoice", "380", number, customer, dates, currency, payable, tax)


def credit_note(number: str, customer: Company, issued: str, currency: str, payable: str) -> bytes:
    """A credit note of the supplier."""
    dates = f"<cbc:IssueDate>{issued}</cbc:IssueDate>"
    return _document("CreditNote", "381", number, customer, dates, currency, payable, "0.00")


def _document(
    root: str, code: str, number: str, customer: Company, dates: str, currency: str, payable: str, tax: str
) -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<{root} xmlns="{_UBL}:{root}-2"
    xmlns:cac="{_UBL}:CommonAggregateComponents-2"
    xmlns:cbc="{_UBL}:CommonBasicComponents-2">
  <cbc:ID>{escape(number)}</cbc:ID>
  {dates}
  <cbc:{root}TypeCode>{code}</cbc:{root}TypeCode>
  <cbc:DocumentCurrencyCode>{currency}</cbc:DocumentCurrencyCode>
  {_party("AccountingSupplierParty", SUPPLIER)}
  {_party("AccountingCustomerParty", customer)}
  <cac:TaxTotal><cbc:TaxAmount currencyID="{currency}">{tax}</cbc:TaxAmount></cac:TaxTotal>
  <cac:LegalMonetaryTotal>
    <cbc:PayableAmount currencyID="{currency}">{payable}</cbc:PayableAmount>
  </cac:LegalMonetaryTotal>
</{root}>
""".encode()


def _party(role: str, company: Company) -> str:
    return f"""<cac:{role}><cac:Party>
    <cac:PartyIdentification><cbc:ID schemeID="{company.scheme}">{company.identifier}</cbc:ID></cac:PartyIdentification>
    <cac:PostalAddress><cac:Country>
      <cbc:IdentificationCode>{company.country}</cbc:IdentificationCode>
    </cac:Country></cac:PostalAddress>
    <cac:PartyLegalEntity><cbc:RegistrationName>{escape(company.name)}</cbc:RegistrationName></cac:PartyLegalEntity>
  </cac:Party></cac:{role}>"""
