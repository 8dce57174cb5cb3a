"""Whatever a file holds, its reader returns or refuses: one hostile line must not end an import of a million."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.interchange.dcsa_events import read_dcsa_events
from dawan_node.interchange.epcis import read_epcis
from dawan_node.interchange.json_text import MalformedJson, parse_json_text
from dawan_node.interchange.transport_document import read_envelope, read_transport_document
from dawan_node.interchange.ubl import read_document
from tests.interchange.test_transport_document import DOCUMENT

EVENT = {
    "@context": {"e": "http://example.org/"},
    "type": "ObjectEvent", "action": "OBSERVE", "eventTime": "2026-03-04T10:00:30.000Z",
    "eventTimeZoneOffset": "+08:00", "epcList": ["urn:epc:id:sgtin:0614141.107346.2018"], "e:x": {"e:y": "text"},
    "quantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.012345.998877", "quantity": 200, "uom": "KGM"}],
    "sensorElementList": [{"sensorReport": [{"type": "Temperature", "value": 26.0, "uom": "CEL"}]}],
    "errorDeclaration": {"declarationTime": "2026-03-05T10:00:30.000Z", "reason": "did_not_occur"},
}  # fmt: skip
STATEMENT = {
    "eventID": "1", "eventDateTime": "2026-03-04T10:00:30.000Z",
    "eventClassification": {
        "eventTypeCode": "EQUIPMENT", "equipmentEventTypeCode": "LOAD", "eventClassifierCode": "ACT",
    },
    "eventLocation": {"UNLocationCode": "HKHKG"}, "equipmentDetails": {"equipmentReference": "CSQU3054383"},
    "shipmentDetails": {"documentReference": {"typeCode": "BKG", "reference": "B1"}},
    "transportDetails": {"transportCall": {"vesselTransport": {"vesselIMONumber": "9321483"}}},
}  # fmt: skip
ENVELOPE = {
    "transportDocument": DOCUMENT,
    "envelopeManifestSignedContent": "e30.e30.e30",
    "envelopeTransferChain": ["e30.e30.e30"],
}
INVOICE = (
    '<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2" '
    'xmlns:cac="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2" '
    'xmlns:cbc="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"><cbc:ID>{0}</cbc:ID>'
    "<cbc:IssueDate>{1}</cbc:IssueDate><cbc:DocumentCurrencyCode>CNY</cbc:DocumentCurrencyCode>"
    "<cac:AccountingSupplierParty><cac:Party><cac:PartyName><cbc:Name>A</cbc:Name></cac:PartyName></cac:Party>"
    "</cac:AccountingSupplierParty><cac:AccountingCustomerParty><cac:Party><cbc:EndpointID schemeID='{3}'>{3}"
    "</cbc:EndpointID></cac:Party></cac:AccountingCustomerParty><cac:LegalMonetaryTotal>"
    '<cbc:PayableAmount currencyID="CNY">{2}</cbc:PayableAmount></cac:LegalMonetaryTotal></Invoice>'
)

READERS: Sequence[tuple[Callable[[bytes], Any], Any]] = (
    (read_epcis, EVENT),
    (read_dcsa_events, STATEMENT),
    (read_transport_document, DOCUMENT),
    (read_envelope, ENVELOPE),
)
#: Texts that somewhere mean something: ends of the calendar, numbers that are none, halves of characters.
_TEXTS = (
    st.text(st.characters())
    | st.text("0123456789.eE+-:TZ", max_size=30)
    | st.sampled_from(
        [
            "\ud800", "a\udfff", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.9999-14:00", "0001-01-01T00:00:00+14:00",
            "1e99999999999", "urn:epc:id:sgtin:\u0663.1.2", "https://id.gs1.org/01/\u0663", "9999-12-31", "\x00",
        ]
    )
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any) -> list[tuple[Any, ...]]:
    """The way to everything inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in items for path in ((key,), *((key, *rest) for rest in paths_of(inner)))]


def changed(value: Any, path: Sequence[Any], new: Any) -> Any:
    """A copy of ``value`` with ``new`` in one place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize(("read", "sound"), READERS, ids=lambda part: getattr(part, "__name__", ""))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_sound_message_with_anything_anywhere_is_read_or_refused(
    read: Callable[[bytes], Any], sound: Any, data: st.DataObject
) -> None:
    found = read(json.dumps(changed(sound, data.draw(st.sampled_from(paths_of(sound))), data.draw(_VALUES))).encode())
    msgspec.json.encode(found)  # raises on half a character: whatever was read of it can be printed and sent


@given(noise=st.binary() | st.text().map(str.encode) | _VALUES.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=60, deadline=None)
def test_any_bytes_at_all_are_read_or_refused(noise: bytes) -> None:
    for read, _ in READERS:
        read(noise)
    assert read_document(noise).refusal is not None, "no noise is an invoice"


@given(
    st.lists(_TEXTS.map(lambda text: "".join(c for c in text if c not in "<&\"'")), min_size=4, max_size=4),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_an_invoice_with_any_texts_is_read_or_refused(texts: list[str], real: bool) -> None:
    number, day, amount, scheme = texts
    day, amount = ("9999-12-31", "10.00") if real else (day, amount)
    reading = read_document(INVOICE.format(number, day, amount, scheme).encode(errors="surrogatepass"), 30)
    assert not real or reading.refusal is not None, "30 days later there is no date"


def test_the_invoice_of_these_properties_is_a_sound_one() -> None:
    reading = read_document(INVOICE.format("INV-1", "2026-03-01", "10.00", "0088").encode(), 30)
    assert reading.refusal is None and reading.draft.due_date == "2026-03-31"
    late = read_document(INVOICE.format("INV-1", "9999-12-31", "10.00", "0088").encode(), 30)
    assert late.refusal is not None and late.refusal.reason == "E_DATE"


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":1e99999999999999999999}', b'{"a":-1E-99999999999999999999}', b'{"a":"\\ud800"}', b'{"\\uDFFF":1}',
        b'[["a",{"b":["\\uD83D x \\uDE00"]}]]',
    ],
)  # fmt: skip
def test_a_number_or_text_that_nothing_can_hold_is_refused_as_json(line: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json_text(line, 1_000)
    for read in (read_epcis, read_dcsa_events):
        (refusal,) = read(line).refusals
        assert refusal.reason == "E_MALFORMED_JSON"


@pytest.mark.parametrize(
    "time", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.9999-14:00", "0001-01-01T00:00:00+14:00"]
)
def test_the_ends_of_the_calendar_are_read_or_refused(time: str) -> None:
    for read, sound, name in ((read_epcis, EVENT, "eventTime"), (read_dcsa_events, STATEMENT, "eventDateTime")):
        read(json.dumps({**sound, name: time}).encode())
    sensor = {"sensorMetadata": {"time": time}, "sensorReport": [{"type": "Temperature", "time": time}]}
    read_epcis(json.dumps({**EVENT, "sensorElementList": [sensor]}).encode())


def test_a_whole_character_in_two_escapes_is_a_character() -> None:
    assert parse_json_text(rb'{"\uD83D\uDE00":"\\ud800"}', 1_000) == {"\U0001f600": "\\ud800"}
