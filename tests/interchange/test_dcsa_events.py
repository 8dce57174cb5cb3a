"""DCSA track-and-trace messages: the published samples, every kind of event, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dawan_node.interchange.dcsa_events import milli, read_dcsa_events
from tests.modules.logistics_kit import Channel

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "dcsa"

EVENT: dict[str, Any] = {
    "eventID": "evt-1",
    "eventDateTime": "2025-11-25T08:00:00+08:00",
    "eventLocation": {"UNLocationCode": "MOMFM"},
    "eventClassification": {
        "eventTypeCode": "TRANSPORT",
        "eventClassifierCode": "EST",
        "transportEventTypeCode": "ARRI",
    },
    "shipmentDetails": {
        "documentReference": {"typeCode": "BKG", "reference": "B-1"},
        "additionalDocumentReferences": [{"typeCode": "TRD", "reference": "HKG-0042"}],
    },
    "transportDetails": {"transportCall": {"vesselTransport": {"vesselIMONumber": "9074729"}}},
}
REEFER: dict[str, Any] = {
    "eventID": "evt-2",
    "eventDateTime": "2025-11-25T00:00:00Z",
    "eventClassification": {"eventTypeCode": "REEFER", "eventClassifierCode": "ACT", "reeferEventTypeCode": "MEAS"},
    "equipmentDetails": {"equipmentReference": "CSQU3054383"},
    "reeferDetails": {
        "temperatureUnit": "CEL",
        "temperatureProbeMeasurements": [{"measuredTemperatureValue": -18.2}, {"measuredTemperatureValue": 4}],
    },
}


def read(*events: Any) -> Any:
    return read_dcsa_events(json.dumps({"events": events}).encode())


def test_the_published_samples_are_read() -> None:
    if not DATA.is_dir():
        pytest.skip(f"NOT CHECKED: the DCSA samples are not at {DATA}")
    found = {}
    for path in sorted(DATA.glob("tnt-300-*.json")):
        reading = read_dcsa_events(path.read_bytes())
        assert (len(reading.statements), reading.refusals) == (1, [])
        found[path.stem.rsplit("-", 1)[1]] = reading.statements[0]
    assert found["equipment"].milestone["code"] == "LOAD" and found["equipment"].equipment == "APZU4812090"
    assert found["reefer"].samples == ((1_768_932_000_000, -18_200), (1_768_932_000_000, -18_700))
    transport = found["transport"]
    assert (transport.milestone["vessel"], transport.warnings) == ("1234567", ())
    assert transport.references == (("BKG", "ABC709951"), ("TRD", "HHL71800000"))


def kind_of(family: str, **more: Any) -> dict[str, Any]:
    """An event of another type with a code of four letters."""
    code = f"{family.lower()}EventTypeCode"
    kind = {"eventTypeCode": family, "eventClassifierCode": "ACT", code: "CONF"}
    return EVENT | {"eventClassification": kind} | more


def test_what_an_event_is_its_content_says() -> None:
    events = [EVENT, kind_of("EQUIPMENT"), kind_of("SHIPMENT"), REEFER, {"eventID": "e", "retractedEventID": "d"}]
    reading = read(*events)
    assert reading.refusals == []
    kinds = ["TRANSPORT", "EQUIPMENT", "SHIPMENT", "REEFER", "RETRACTION"]
    assert [draft.kind for draft in reading.statements] == kinds
    bare = [read_dcsa_events(json.dumps(event).encode()).statements[0].kind for event in events]
    assert bare == kinds, "alone in its file too"


@pytest.mark.parametrize(
    ("document", "reason", "told"),
    [
        ({"transportDocumentReference": "T-1", "isToOrder": True}, "E_OTHER_DOCUMENT", "`title import-pint`"),
        (
            {"transportDocument": {"transportDocumentReference": "T-1"}, "envelopeManifestSignedContent": "x"},
            "E_OTHER_DOCUMENT",
            "a PINT envelope",
        ),
        ({"shippingInstructionsReference": "S-1"}, "E_OTHER_DOCUMENT", "shipping instructions"),
        ({"carrierBookingRequestReference": "B-1"}, "E_OTHER_DOCUMENT", "a booking request"),
        ({"type": "EPCISDocument", "epcisBody": {"eventList": []}}, "E_OTHER_DOCUMENT", "`logistics import-epcis`"),
        ({"type": "ObjectEvent", "bizStep": "packing"}, "E_OTHER_DOCUMENT", "an EPCIS event"),
        ({"eventType": "TRANSPORT", "eventID": "e", "transportEventTypeCode": "ARRI"}, "E_OTHER_DOCUMENT", "version 2"),
        ({"hello": "world"}, "E_NOT_DCSA", "eventClassification"),
        ({}, "E_NOT_DCSA", "eventClassification"),
        ({"events": "none"}, "E_NOT_DCSA", "a list"),
    ],
)
def test_a_document_that_is_no_message_of_events_is_one_refusal_that_says_what_it_is(
    document: dict[str, Any], reason: str, told: str
) -> None:
    reading = read_dcsa_events(json.dumps(document).encode())
    (refusal,) = reading.refusals
    assert (reading.statements, refusal.position, refusal.reason) == ([], -1, reason)
    assert told in refusal.path


def test_a_statement_goes_into_the_channel_as_it_was_read_and_once() -> None:
    (draft,) = read(EVENT).statements
    assert draft.milestone is not None and dict(draft.references)["BKG"] == "B-1"
    channel = Channel()
    shipment = channel.book()
    channel.ok("line", "state_milestone", shipment=shipment, **draft.milestone)
    assert channel.milestone(0).time_ms == 1_764_028_800_000
    assert channel.ok("line", "state_milestone", shipment=shipment, **draft.milestone).events == []


def test_a_wrong_check_digit_is_a_warning() -> None:
    (draft,) = read(REEFER | {"equipmentDetails": {"equipmentReference": "CSQU3054384"}}).statements
    assert draft.warnings == ("CSQU3054384: check digit 4, expected 3",)


def test_measurements_keep_unit_and_probes() -> None:
    (draft,) = read(REEFER).statements
    assert (draft.unit, draft.milestone, draft.equipment) == ("CEL", None, "CSQU3054383")
    assert [value for _, value in draft.samples] == [-18_200, 4_000]


def test_a_retraction_names_what_it_retracts() -> None:
    (draft,) = read({"eventID": "evt-3", "retractedEventID": "evt-1"}).statements
    assert (draft.retracts, draft.milestone) == ("evt-1", None)


def changed(event: dict[str, Any], **more: Any) -> dict[str, Any]:
    return event | more


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (changed(EVENT, eventID=""), "E_EVENT_ID"),
        (changed(EVENT, eventID="x" * 101), "E_EVENT_ID"),
        (changed(EVENT, eventDateTime="yesterday"), "E_TIME"),
        (changed(EVENT, eventLocation={}), "E_MISSING_FIELD"),
        (changed(EVENT, eventLocation={"UNLocationCode": "macau"}), "E_PLACE"),
        (changed(EVENT, eventLocation=[]), "E_FIELD_TYPE"),
        (changed(EVENT, eventClassification={"eventTypeCode": "PARTY"}), "E_CODE"),
        (
            changed(EVENT, eventClassification=EVENT["eventClassification"] | {"eventClassifierCode": "REQ"}),
            "E_CLASSIFIER",
        ),
        (
            changed(EVENT, transportDetails={"transportCall": {"vesselTransport": {"vesselIMONumber": "ship"}}}),
            "E_NUMBER_FORM",
        ),
        (changed(EVENT, shipmentDetails={"documentReference": "B-1"}), "E_FIELD_TYPE"),
        (changed(EVENT, shipmentDetails={"additionalDocumentReferences": {}}), "E_FIELD_TYPE"),
        (changed(REEFER, equipmentDetails={"equipmentReference": "CSQ3054383"}), "E_NUMBER_FORM"),
        (changed(REEFER, reeferDetails={}), "E_MISSING_FIELD"),
        (changed(REEFER, reeferDetails={"temperatureUnit": "KEL"}), "E_UOM"),
        (changed(REEFER, reeferDetails={"temperatureUnit": "CEL"}), "E_NO_MEASUREMENT"),
        (
            changed(
                REEFER,
                reeferDetails={
                    "temperatureUnit": "CEL",
                    "temperatureProbeMeasurements": [{"measuredTemperatureValue": 1.00005}],
                },
            ),
            "E_SAMPLE",
        ),
        ("event", "E_FIELD_TYPE"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_the_rest_is_read(event: Any, reason: str) -> None:
    reading = read(EVENT, event, REEFER)
    assert [draft.position for draft in reading.statements] == [0, 2]
    assert [(refusal.position, refusal.reason) for refusal in reading.refusals] == [(1, reason)]


@pytest.mark.parametrize("data", [b"", b"{", b'{"events": {}}', b'"x"', b"\xff", b"null"])
def test_a_message_that_is_none_gives_one_refusal(data: bytes) -> None:
    reading = read_dcsa_events(data)
    assert (reading.statements, len(reading.refusals)) == ([], 1)


def test_temperatures_are_exact_thousandths() -> None:
    cases = {"-18.5": -18_500, "0": 0, "4.1230": 4_123, "4.1234": None, "12345": None, "1e2": None, "-0.001": -1}
    assert {text: milli(text) for text in cases} == cases
