"""Recorded invoices as UBL 2.1: what the chain has of an invoice, in the document that purchasing systems read.

The chain has an invoice's facts and the SHA-256 of its document, not the document. So what is written here is marked as
a copy (``CopyIndicator``), names the record (``DAWAN:channel:invoice``) and the hash of the original in an
``AdditionalDocumentReference``, and has one line for the whole claim: its bytes are not those that were imported, its
facts are. Read again by ``ubl.read_document`` it gives number, dates, parties, payable amount and tax as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from dawan_node.interchange.ubl import minor_units
from dawan_node.modules.receivable.entities import Money

_UBL: Final = "urn:oasis:names:specification:ubl:schema:xsd"
_SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"


def write_invoice(invoice: Mapping[str, Any], channel: str) -> bytes:
    """The UBL 2.1 invoice of a record of ``receivable``, given in the notation of JSON-RPC. One line of text."""
    currency = invoice["total"]["currency"]
    payable = minor_units(invoice["total"]["amount"], currency)
    tax = invoice["tax_minor"]
    record = f"DAWAN:{channel}:{invoice['invoice']}"
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<Invoice xmlns="{_UBL}:Invoice-2" xmlns:cac="{_UBL}:CommonAggregateComponents-2" '
        f'xmlns:cbc="{_UBL}:CommonBasicComponents-2">',
        _text("UBLVersionID", "2.1"),
        _text("ID", invoice["number"]),
        _text("CopyIndicator", "true"),
        _text("IssueDate", invoice["issue_date"]),
        _text("DueDate", invoice["due_date"]),
        _text("InvoiceTypeCode", invoice["type_code"]),
        _text("DocumentCurrencyCode", currency),
        _reference(record, invoice["document"]),
        _party("AccountingSupplierParty", invoice, "seller"),
        _party("AccountingCustomerParty", invoice, "buyer"),
        f"<cac:TaxTotal>{_amount('TaxAmount', currency, tax)}</cac:TaxTotal>",
        f"<cac:LegalMonetaryTotal>{_amount('PayableAmount', currency, payable)}</cac:LegalMonetaryTotal>",
        f"<cac:InvoiceLine>{_text('ID', '1')}{_amount('LineExtensionAmount', currency, payable - tax)}"
        f"<cac:Item>{_text('Name', f'Claim as recorded: {record}')}</cac:Item></cac:InvoiceLine>",
        "</Invoice>",
    ]
    return "".join(parts).encode()


def _reference(record: str, document: str) -> str:
    """The record on chain, and the hash of the document it was made of where there is one."""
    digest = document.removeprefix("0x")
    original = (
        "<cac:Attachment><cac:ExternalReference>"
        f"{_text('DocumentHash', digest)}{_text('HashAlgorithmMethod', _SHA256)}"
        "</cac:ExternalReference></cac:Attachment>"
        if digest
        else ""
    )
    said = "the original document, of which this is a copy of the facts" if digest else "no document was recorded"
    return (
        f"<cac:AdditionalDocumentReference>{_text('ID', record)}"
        f"{_text('DocumentDescription', said)}{original}</cac:AdditionalDocumentReference>"
    )


def _party(role: str, invoice: Mapping[str, Any], side: str) -> str:
    scheme, colon, value = invoice[f"{side}_identifier"].partition(":")
    given = _identifier(scheme if colon else "", value if colon else scheme)
    name = invoice[f"{side}_name"] or invoice[side]
    return (
        f"<cac:{role}><cac:Party>{given}{_identifier('DAWAN', invoice[side])}"
        f"<cac:PartyLegalEntity>{_text('RegistrationName', name)}</cac:PartyLegalEntity></cac:Party></cac:{role}>"
    )


def _identifier(scheme: str, value: str) -> str:
    if not value:
        return ""
    attribute = f' schemeID="{_escaped(scheme)}"' if scheme else ""
    return f"<cac:PartyIdentification><cbc:ID{attribute}>{_escaped(value)}</cbc:ID></cac:PartyIdentification>"


def _amount(name: str, currency: str, minor: int) -> str:
    return f'<cbc:{name} currencyID="{currency}">{Money(currency, minor).decimal()}</cbc:{name}>'


def _text(name: str, value: str) -> str:
    return f"<cbc:{name}>{_escaped(value)}</cbc:{name}>"


def _escaped(text: str) -> str:
    """``text`` as XML on one line; what XML cannot hold becomes the replacement character."""
    return escape("".join(each if each.isprintable() else "\ufffd" for each in text))
