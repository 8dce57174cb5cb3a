"""EPCIS 2.0 JSON-LD: the published event hashes, the same event in other spellings, and what is refused."""

from __future__ import annotations

import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dawan_node.interchange.epcis import read_epcis
from dawan_node.modules.logistics.event_form import EventForm
from dawan_node.modules.logistics.event_hash import Order, decimal_text, event_digest, instant_text, ni_uri, prehash
from dawan_node.modules.logistics.gs1 import canonical_uri

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "epcis"

#: file -> hashes in it, and the positions whose published hash lists destinations before sources.
FILES = {
    "ReferenceEventHashAlgorithm": (1, ()),
    "ReferenceEventHashAlgorithm2": (1, ()),
    "TimeStampRoundOff": (3, ()),
    "epcisDocWithAllGS1Keys": (1, ()),
    "epcisDocWithSensorDataObjectEvent": (1, ()),
    "epcisDocWithSingleEvent": (1, ()),
    "epcisDocWithVariousEventTypes": (13, (0, 1)),
    "epclist_normalisation": (1, ()),
}


@pytest.mark.parametrize("name", FILES)
def test_the_published_hashes_are_reproduced(name: str) -> None:
    if not DATA.is_dir():
        pytest.skip(f"NOT CHECKED: the published EPCIS event hashes are not at {DATA}")
    count, by_name = FILES[name]
    reading = read_epcis((DATA / f"{name}.jsonld").read_bytes())
    published = (DATA / f"{name}.hashes").read_text().split()
    assert (len(reading.events), reading.refusals, len(published)) == (count, [], count)
    for draft, expected in zip(reading.events, published, strict=True):
        form = msgspec.convert(draft.event, EventForm)
        digests = {order: ni_uri(event_digest(form, order)) for order in Order}
        assert digests[Order.BY_NAME] == expected
        assert (digests[Order.STANDARD] != expected) == (draft.position in by_name)


EVENT: dict[str, Any] = {
    "type": "AggregationEvent",
    "eventTime": "2025-11-25T08:00:00.1234+08:00",
    "eventTimeZoneOffset": "+08:00",
    "parentID": "urn:epc:id:sscc:4047023.0111111122",
    "childEPCs": ["urn:epc:id:sgtin:4047023.077551.98", "urn:epc:id:sgtin:4047023.077551.97"],
    "action": "ADD",
    "bizStep": "packing",
    "readPoint": {"id": "urn:epc:id:sgln:4047023.00012.0"},
    "bizTransactionList": [{"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:4012345123456:1"}],
    "sensorElementList": [{"sensorReport": [{"type": "Temperature", "value": 5.50, "uom": "CEL"}]}],
    "ex:seal": {"ex:number": "A-1", "ex:parts": ["2", "1"]},
}
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ex": "https://ns.example.com/x/"}]


def document(*events: Any, **more: Any) -> bytes:
    body = {"type": "EPCISDocument", "schemaVersion": "2.0", "@context": CONTEXT, "epcisBody": {"eventList": events}}
    return json.dumps(body | more).encode()


def one(event: dict[str, Any]) -> str:
    reading = read_epcis(document(event))
    assert reading.refusals == []
    return reading.events[0].event_id


def shuffled(value: Any, source: random.Random) -> Any:
    """The same JSON with keys, and the entries of lists, in another order."""
    if isinstance(value, dict):
        keys = list(value)
        source.shuffle(keys)
        return {key: shuffled(value[key], source) for key in keys}
    if isinstance(value, list):
        return source.sample([shuffled(entry, source) for entry in value], len(value))
    return value


def test_other_key_orders_and_list_orders_give_the_same_event() -> None:
    source = random.Random(1)
    assert {one(shuffled(EVENT, source)) for _ in range(20)} == {one(EVENT)}


@pytest.mark.parametrize(
    "change",
    [
        {"eventTime": "2025-11-25T00:00:00.123Z"},
        {"eventTime": "2025-11-24T19:00:00.1228-05:00"},
        {"bizStep": "urn:epcglobal:cbv:bizstep:packing"},
        {"bizStep": "https://ref.gs1.org/cbv/BizStep-packing"},
        {"bizStep": "cbv:BizStep-packing"},
        {"parentID": "https://id.gs1.org/00/040470231111111229"},
        {"parentID": "https://boxes.example.com/track/sscc/040470231111111229?since=1"},
        {"eventID": "urn:uuid:1", "recordTime": "2025-11-26T00:00:00Z"},
        {"errorDeclaration": {"declarationTime": "2025-11-26T00:00:00Z", "reason": "incorrect_data"}},
        {"sensorElementList": [{"sensorReport": [{"type": "gs1:Temperature", "value": 5.5, "uom": "CEL"}]}]},
        {"sensorElementList": [{"sensorReport": [{"type": "Temperature", "value": 55e-1, "uom": "CEL"}]}]},
    ],
)
def test_another_spelling_is_the_same_event(change: dict[str, Any]) -> None:
    assert one(EVENT | change) == one(EVENT)


@pytest.mark.parametrize(
    "change",
    [
        {"eventTime": "2025-11-25T08:00:00.124+08:00"},
        {"eventTimeZoneOffset": "+09:00"},
        {"action": "DELETE"},
        {"type": "AssociationEvent"},
        {"bizStep": "https://example.com/packing"},
        {"parentID": "urn:epc:id:sscc:4047023.0111111123"},
        {"ex:seal": {"ex:number": "A-1", "ex:parts": ["2"]}},
        {"ex:seal": {"ex:number": "A-1"}, "ex:parts": ["2", "1"]},
        {"sensorElementList": [{"sensorReport": [{"type": "Temperature", "value": 5.5, "uom": "FAH"}]}]},
        {"certificationInfo": "https://accreditation.example.org/1"},
    ],
)
def test_another_fact_is_another_event(change: dict[str, Any]) -> None:
    assert one(EVENT | change) != one(EVENT)


@pytest.mark.parametrize(
    ("change", "reason", "path"),
    [
        ({"colour": "red"}, "E_UNKNOWN_FIELD", "colour"),
        ({"other:colour": "red"}, "E_UNKNOWN_FIELD", "other:colour"),
        ({"readPoint": {"id": "x", "ex:door": "3"}}, "E_UNKNOWN_FIELD", "readPoint.ex:door"),
        ({"eventTime": "2025-02-30T00:00:00Z"}, "E_TIME", "eventTime"),
        ({"eventTime": "2025-02-03T00:00:00"}, "E_TIME", "eventTime"),
        ({"childEPCs": "urn:x"}, "E_FIELD_TYPE", "childEPCs"),
        ({"childEPCs": [None]}, "E_FIELD_TYPE", "childEPCs[0]"),
        ({"ex:a": None}, "E_FIELD_TYPE", "ex:a"),
        ({"eventTimeZoneOffset": "+24:00"}, "E_SCHEMA", "offset"),
        ({"childEPCs": ["urn:x:" + str(number) for number in range(101)]}, "E_SCHEMA", "children"),
        ({"errorDeclaration": {"correctiveEventIDs": ["urn:uuid:1"]}}, "E_CORRECTIVE_ID", "errorDeclaration"),
        ({"@context": {"gs1": "https://evil.example.com/"}}, "E_CONTEXT", "@context.gs1"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place_and_the_rest_is_read(
    change: dict[str, Any], reason: str, path: str
) -> None:
    reading = read_epcis(document(EVENT, EVENT | change, EVENT))
    assert [draft.position for draft in reading.events] == [0, 2]
    (refusal,) = reading.refusals
    assert refusal.position == 1 and refusal.reason.startswith(reason) and refusal.path.startswith(path)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"\xff", b"{", b'{"a": 1, "a": 2}', b'{"type": NaN}', b"[" * 100_000, b'{"a": 1e999999999}',
        b'{"a": ' + b"9" * 50 + b"}", b'{"type": "EPCISDocument"}',
        b'{"type": "EPCISDocument", "schemaVersion": "1.2"}',
        b'{"type": "EPCISDocument", "epcisBody": {"eventList": {}}}', b'{"type": ["x"]}',
    ],
)  # fmt: skip
def test_a_document_that_is_none_gives_one_refusal(data: bytes) -> None:
    reading = read_epcis(data)
    assert (reading.events, len(reading.refusals)) == ([], 1)


def test_a_deep_extension_is_refused_and_a_shallow_one_kept() -> None:
    deep: Any = "1"
    for _ in range(8):
        deep = {"ex:a": deep}
    assert read_epcis(document(EVENT | {"ex:a": deep})).refusals[0].reason == "E_TOO_DEEP"
    assert read_epcis(document(EVENT | {"ex:a": deep["ex:a"]})).refusals == []


def test_a_wrong_event_id_in_the_message_is_a_warning() -> None:
    wrong = "ni:///sha-256;" + "0" * 64 + "?ver=CBV2.0"
    (draft,) = read_epcis(document(EVENT | {"eventID": wrong})).events
    assert len(draft.warnings) == 1 and draft.event_id in draft.warnings[0]


def test_the_hash_is_that_of_the_string_the_standard_describes() -> None:
    (draft,) = read_epcis(document(EVENT)).events
    text = prehash(msgspec.convert(draft.event, EventForm))
    assert text == (
        "eventType=AggregationEventeventTime=2025-11-25T00:00:00.123ZeventTimeZoneOffset=+08:00"
        "parentID=https://id.gs1.org/00/040470231111111229"
        "childEPCsepc=https://id.gs1.org/01/04047023775511/21/97epc=https://id.gs1.org/01/04047023775511/21/98"
        "action=ADDbizStep=https://ref.gs1.org/cbv/BizStep-packingreadPointid=https://id.gs1.org/414/4047023000125"
        "bizTransactionListtype=https://ref.gs1.org/cbv/BTT-pobizTransaction=urn:epcglobal:cbv:bt:4012345123456:1"
        "sensorElementListsensorElementsensorReporttype=https://gs1.org/voc/Temperaturevalue=5.5uom=CEL"
        "{https://ns.example.com/x/}seal{https://ns.example.com/x/}number=A-1"
        "{https://ns.example.com/x/}parts=1{https://ns.example.com/x/}parts=2"
    )
    assert draft.digest == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("urn:epc:id:sgtin:4012345.011111.98%22", "https://id.gs1.org/01/04012345111118/21/98%22"),
        ("https://x.org/01/4012345111118/10/L%2f1/21/a*b", "https://id.gs1.org/01/04012345111118/21/a%2Ab"),
        ("https://x.org/01/04012345111118/22/v/10/L1", "https://id.gs1.org/01/04012345111118/10/L1"),
        ("urn:epc:id:gdti:987659999999..9", "https://id.gs1.org/253/98765999999929"),
        ("https://x.org/01/04012345111118/21", "https://x.org/01/04012345111118/21"),
        ("https://x.org/01/123/21/5", "https://x.org/01/123/21/5"),
        ("urn:epc:id:sgtin:4012345.01111.9876", "urn:epc:id:sgtin:4012345.01111.9876"),
        ("urn:epc:id:sgtin:4012345.011111.%E4", "urn:epc:id:sgtin:4012345.011111.%E4"),
        ("urn:epc:idpat:sgtin:4012345.011111.7", "urn:epc:idpat:sgtin:4012345.011111.7"),
        ("geo:50.9,6.9", "geo:50.9,6.9"),
    ],
)
def test_a_gs1_key_has_one_spelling_and_other_text_stays(written: str, canonical: str) -> None:
    assert canonical_uri(written) == canonical
    assert canonical_uri(canonical) == canonical


def test_numbers_and_instants_are_written_without_what_says_nothing() -> None:
    cases = {"+012.50": "12.5", "-0.0": "0", "007": "7", "10": "10", "-3.10": "-3.1", "0.05": "0.05", "1e3": None}
    assert {text: decimal_text(text) for text in cases} == cases
    assert [instant_text(ms) for ms in (0, 951_782_400_001)] == ["1970-01-01T00:00:00.000Z", "2000-02-29T00:00:00.001Z"]
    assert all(re.fullmatch(r"[0-9TZ:.-]{24}", instant_text(ms)) for ms in (1, 86_399_999, 253_402_214_400_000))


@pytest.mark.parametrize("kind", ["EPCISDocument", "EPCISQueryDocument"])
def test_one_event_beside_a_list_of_events_is_refused_for_either_would_be_dropped(kind: str) -> None:
    body: dict[str, Any] = {"event": EVENT, "eventList": [EVENT]}
    body = body if kind == "EPCISDocument" else {"queryResults": {"resultsBody": body}}
    reading = read_epcis(json.dumps({"type": kind, "schemaVersion": "2.0", "epcisBody": body}).encode())
    assert [(each.position, each.reason) for each in reading.refusals] == [(-1, "E_NOT_EPCIS")]
    assert not reading.events
