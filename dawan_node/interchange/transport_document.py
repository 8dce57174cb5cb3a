"""Transport documents and envelopes as the carriers' standard writes them (DCSA EBL 3.0, PINT 3.0): bytes in, the
arguments of the title module out, or what is wrong.

Form is an error; a check digit that does not fit is a warning, because of the container numbers in real messages many
have a wrong one (domain.md 1.2). Parties stand in a document under codes of some list; who of the channel that is, the
caller says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dawan_node.crypto.hashing import sha256
from dawan_node.interchange.canonical_json import NoCanonicalForm, canonical
from dawan_node.modules.identifiers import container_number
from dawan_node.primitives.jws import read_json, read_jws

#: Whose list a carrier's code is from.
_LISTS: Final = ("SMDG", "NMFTA")


class _Code(msgspec.Struct, frozen=True, rename="camel"):
    party_code: str


class _Party(msgspec.Struct, frozen=True, rename="camel"):
    party_name: str = ""
    identifying_codes: tuple[_Code, ...] = ()

    @property
    def name(self) -> str:
        return self.identifying_codes[0].party_code if self.identifying_codes else self.party_name


class _Parties(msgspec.Struct, frozen=True, rename="camel"):
    shipper: _Party = _Party()
    consignee: _Party = _Party()
    endorsee: _Party = _Party()


class _Place(msgspec.Struct, frozen=True):
    code: str = msgspec.field(name="UNLocationCode", default="")


class _Voyage(msgspec.Struct, frozen=True, rename="camel"):
    vessel_imo: str = msgspec.field(name="vesselIMONumber", default="")
    carrier_export_voyage_number: str = ""


class _Transports(msgspec.Struct, frozen=True, rename="camel"):
    port_of_loading: _Place
    port_of_discharge: _Place
    vessel_voyages: tuple[_Voyage, ...] = ()


class _Equipment(msgspec.Struct, frozen=True, rename="camel"):
    equipment_reference: str
    type: str = msgspec.field(name="ISOEquipmentCode", default="")


class _Utilized(msgspec.Struct, frozen=True, rename="camel"):
    equipment: _Equipment


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    transport_document_reference: str
    transport_document_type_code: str
    is_to_order: bool
    carrier_code: str
    carrier_code_list_provider: str
    freight_payment_term_code: str
    transports: _Transports
    transport_document_sub_reference: str = ""
    shipped_on_board_date: str = ""
    received_for_shipment_date: str = ""
    document_parties: _Parties = _Parties()
    utilized_transport_equipments: tuple[_Utilized, ...] = ()


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    transport_document: msgspec.Raw
    envelope_manifest_signed_content: str
    envelope_transfer_chain: tuple[str, ...]


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    transport_document_checksum: str


@dataclass(frozen=True, slots=True)
class TransportDocument:
    """What the title module needs of a document, or why it cannot have it (``refusal``).

    ``shipper``, ``consignee`` and ``endorsee`` are the parties' codes in the document; the bill has their places empty.
    ``text`` is the document in its canonical form, of which ``checksum`` is the hash.
    """

    carrier: str = ""
    reference: str = ""
    checksum: bytes = b""
    text: bytes = b""
    shipper: str = ""
    consignee: str = ""
    endorsee: str = ""
    bill: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class PintEnvelope:
    """An envelope's document with its manifest and chain as received, or why it is none (``refusal``)."""

    document: TransportDocument = TransportDocument()
    manifest: str = ""
    chain: tuple[str, ...] = ()
    refusal: str = ""


def read_transport_document(data: bytes) -> TransportDocument:
    """A DCSA transport document. Never raises on what the file holds."""
    try:
        text = canonical(data)
        document = msgspec.json.decode(data, type=_Document)
    except (NoCanonicalForm, msgspec.MsgspecError) as error:
        return TransportDocument(refusal=str(error))
    if document.carrier_code_list_provider not in _LISTS:
        return TransportDocument(refusal=f"the carrier's code is from the list {document.carrier_code_list_provider!r}")
    boxes = [
        (each.equipment.equipment_reference, each.equipment.type) for each in document.utilized_transport_equipments
    ]
    warnings: list[str] = []
    for number, _ in boxes:
        found = container_number(number)
        if found is None:
            return TransportDocument(refusal=f"{number!r} is no container number")
        if not found.is_consistent:
            warnings.append(f"container {found.number}: check digit {found.written}, expected {found.expected}")
    parties = document.document_parties
    voyages = document.transports.vessel_voyages
    voyage = voyages[0] if voyages else _Voyage()
    return TransportDocument(
        carrier=f"{document.carrier_code_list_provider}-{document.carrier_code}",
        reference=document.transport_document_reference,
        checksum=sha256(text),
        text=text,
        shipper=parties.shipper.name,
        consignee=parties.consignee.name,
        endorsee=parties.endorsee.name,
        bill={
            "kind": document.transport_document_type_code,
            "sub_reference": document.transport_document_sub_reference,
            "to_order": document.is_to_order,
            "port_of_loading": document.transports.port_of_loading.code,
            "port_of_discharge": document.transports.port_of_discharge.code,
            "vessel": voyage.vessel_imo,
            "voyage": voyage.carrier_export_voyage_number,
            "boxes": [{"number": number, "type": kind} for number, kind in boxes],
            "shipped_on": document.shipped_on_board_date or document.received_for_shipment_date,
            "freight": document.freight_payment_term_code,
        },
        warnings=tuple(warnings),
    )


def read_envelope(data: bytes) -> PintEnvelope:
    """A PINT envelope whose document is the one its manifest names. Signatures are for the channel to judge.

    Never raises on what the file holds.
    """
    envelope = read_json(data, _Envelope)
    if envelope is None:
        return PintEnvelope(refusal="the file is no envelope of PINT 3.0")
    document = read_transport_document(bytes(envelope.transport_document))
    if document.refusal:
        return PintEnvelope(refusal=document.refusal)
    signed = read_jws(envelope.envelope_manifest_signed_content)
    manifest = read_json(signed.payload, _Manifest) if signed is not None else None
    if manifest is None:
        return PintEnvelope(refusal="the manifest is no signed content")
    if manifest.transport_document_checksum != document.checksum.hex():
        return PintEnvelope(refusal="the document is another one than the one the manifest was signed for")
    return PintEnvelope(document, envelope.envelope_manifest_signed_content, envelope.envelope_transfer_chain)
