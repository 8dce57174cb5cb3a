"""DCSA track and trace, version 3: bytes in, statements for the module ``logistics`` out, or refusals; no I/O.

EQUIPMENT, TRANSPORT and SHIPMENT events become arguments of ``state_milestone`` without the shipment, which the channel
names by carrier and booking: the draft carries the references by which the caller finds it. REEFER and IOT measurements
become samples in thousandths of the message's own unit. An event that retracts another (``retractedEventID``) is a
draft of ``retract_milestone``. A container number or IMO number with a wrong check digit is a warning, one without its
form a refusal.

What a message is, its content says, never its name. A folder of a carrier's messages holds bills and envelopes too:
what is no message of events is one refusal that says what it is and which command reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from dawan_node.interchange.instants import instant_ms
from dawan_node.interchange.json_text import MalformedJson, parse_json_text
from dawan_node.interchange.refusal import Refusal, Unreadable
from dawan_node.modules.identifiers import ObjectNumber, container_number, imo_number
from dawan_node.modules.logistics.cold_chain import MILLI_MAX
from dawan_node.modules.logistics.event_form import TIME_MS_MAX

#: A carrier's answer holds at most a thousand events of a few kilobytes.
DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024
SOURCE_CHARS_MAX: Final = 100

#: Type of event -> field that holds its code, family in the module.
_CODES: Final = MappingProxyType(
    {
        "EQUIPMENT": "equipmentEventTypeCode",
        "TRANSPORT": "transportEventTypeCode",
        "SHIPMENT": "shipmentEventTypeCode",
        "REEFER": "reeferEventTypeCode",
        "IOT": "iotEventTypeCode",
    }
)
#: ``StatementDraft.kind`` of an event that takes another one back; the others have the type of their event.
RETRACTION: Final = "RETRACTION"

#: Members of an object that no event has -> what it is, and who reads it. In this order: an envelope holds a document.
_OTHERS: Final = (
    (("envelopeManifestSignedContent", "transportDocument"), "a PINT envelope, which `title import-pint` reads"),
    (("transportDocumentReference",), "a transport document (DCSA EBL), which `title import-pint` reads"),
    (("shippingInstructionsReference",), "shipping instructions (DCSA EBL), which nothing here reads"),
    (("carrierBookingRequestReference",), "a booking request (DCSA BKG), which nothing here reads"),
    (("epcisBody",), "an EPCIS document, which `logistics import-epcis` reads"),
    (("bizStep",), "an EPCIS event, which `logistics import-epcis` reads"),
    (("eventType",), "an event of DCSA track and trace version 2; version 3 is read, with eventClassification"),
)
_CODE: Final = re.compile("[A-Z]{3,4}")
_PLACE: Final = re.compile("[A-Z]{2}[A-Z2-9]{3}")
_MILLI: Final = re.compile(r"(-?)([0-9]{1,4})(?:\.([0-9]{1,3})0*)?")


@dataclass(frozen=True, slots=True)
class StatementDraft:
    """``kind``: EQUIPMENT, TRANSPORT, SHIPMENT, REEFER, IOT or RETRACTION. ``milestone``: arguments of
    ``state_milestone`` but the shipment; None for measurements and retractions.

    ``samples``: (milliseconds UTC, thousandths of ``unit``). ``references``: document type (BKG, TRD, ...) and number.
    """

    position: int
    source: str
    kind: str
    equipment: str = ""
    references: tuple[tuple[str, str], ...] = ()
    milestone: dict[str, Any] | None = None
    unit: str = ""
    samples: tuple[tuple[int, int], ...] = ()
    retracts: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Reading:
    """What a message held, in its order."""

    statements: list[StatementDraft] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def read_dcsa_events(data: bytes) -> Reading:
    """Every event of a message ``{"events": [...]}``, of a bare list, or a single event. Never raises."""
    try:
        message = parse_json_text(data, DOCUMENT_BYTES_MAX)
    except MalformedJson as error:
        return Reading(refusals=[Refusal(-1, "E_MALFORMED_JSON", str(error))])
    events = message.get("events", [message]) if isinstance(message, dict) else message
    if not isinstance(events, list):
        return Reading(refusals=[Refusal(-1, "E_NOT_DCSA", 'a message is an event, a list, or {"events": [...]}')])
    if isinstance(message, dict) and events == [message] and not _is_event(message):
        return Reading(refusals=[_not_an_event(message)])
    reading = Reading()
    for position, event in enumerate(events):
        try:
            reading.statements.append(_draft(position, event))
        except Unreadable as error:
            reading.refusals.append(Refusal(position, error.reason, error.path))
    return reading


def _is_event(message: dict[str, Any]) -> bool:
    """Whether an object says what only an event says. What is wrong with it then, reading it tells."""
    return "eventClassification" in message or "retractedEventID" in message


def _not_an_event(message: dict[str, Any]) -> Refusal:
    """What a document is that is no message of events, as far as its members tell."""
    for members, what in _OTHERS:
        if all(member in message for member in members):
            return Refusal(-1, "E_OTHER_DOCUMENT", f"this is {what}")
    return Refusal(-1, "E_NOT_DCSA", 'neither an event of track and trace (eventClassification) nor {"events": [...]}')


def milli(text: str) -> int | None:
    """A decimal number in thousandths; None for more than three decimals, which nothing here may round."""
    found = _MILLI.fullmatch(text)
    if found is None:
        return None
    value = int(found[2]) * 1_000 + int((found[3] or "").ljust(3, "0"))
    return -value if found[1] else value


def _draft(position: int, event: Any) -> StatementDraft:
    source = _text(event, "eventID")
    if not 0 < len(source) <= SOURCE_CHARS_MAX:
        raise Unreadable("E_EVENT_ID", "eventID")
    retracts = _text(event, "retractedEventID", "")
    if retracts:
        return StatementDraft(position, source, RETRACTION, retracts=retracts)
    kind = _object(event, "eventClassification")
    family = _text(kind, "eventTypeCode", path="eventClassification")
    code = _text(kind, _CODES.get(family, ""), path="eventClassification") if family in _CODES else ""
    if _CODE.fullmatch(code) is None:
        raise Unreadable("E_CODE", "eventClassification")
    time_ms = instant_ms(_text(event, "eventDateTime"))
    if time_ms is None or time_ms > TIME_MS_MAX:
        raise Unreadable("E_TIME", "eventDateTime")
    warnings: list[str] = []
    equipment = _text(_object(event, "equipmentDetails"), "equipmentReference", "", path="equipmentDetails")
    if equipment:
        equipment = _checked(container_number(equipment), "equipmentDetails.equipmentReference", warnings)
    references = _references(_object(event, "shipmentDetails"))
    if family in ("REEFER", "IOT"):
        unit, samples = _samples(_object(event, "reeferDetails"), time_ms)
        return StatementDraft(
            position, source, family, equipment, references, unit=unit, samples=samples, warnings=tuple(warnings)
        )
    classifier = _text(kind, "eventClassifierCode", path="eventClassification")
    if classifier not in ("PLN", "EST", "ACT"):
        raise Unreadable("E_CLASSIFIER", "eventClassification.eventClassifierCode")
    place = _text(_object(event, "eventLocation"), "UNLocationCode", path="eventLocation")
    if _PLACE.fullmatch(place) is None:
        raise Unreadable("E_PLACE", "eventLocation.UNLocationCode")
    milestone = {"family": family, "code": code, "classifier": classifier, "time_ms": time_ms, "place": place}
    vessel = _vessel(event)
    if vessel:
        milestone["vessel"] = _checked(imo_number(vessel), "vesselIMONumber", warnings)
    milestone["source"] = source
    return StatementDraft(position, source, family, equipment, references, milestone, warnings=tuple(warnings))


def _vessel(event: Any) -> str:
    call = _object(_object(event, "transportDetails"), "transportCall")
    return _text(_object(call, "vesselTransport"), "vesselIMONumber", "", path="vesselTransport")


def _references(details: Any) -> tuple[tuple[str, str], ...]:
    more = details.get("additionalDocumentReferences", [])
    if not isinstance(more, list):
        raise Unreadable("E_FIELD_TYPE", "shipmentDetails.additionalDocumentReferences")
    entries = [details["documentReference"], *more] if "documentReference" in details else more
    where = "shipmentDetails.documentReference"
    return tuple([(_text(entry, "typeCode", path=where), _text(entry, "reference", path=where)) for entry in entries])


def _samples(details: Any, time_ms: int) -> tuple[str, tuple[tuple[int, int], ...]]:
    """What every probe measured at one moment, in the order of the message."""
    unit = _text(details, "temperatureUnit", path="reeferDetails")
    if unit not in ("CEL", "FAH"):
        raise Unreadable("E_UOM", "reeferDetails.temperatureUnit")
    where = "reeferDetails.temperatureProbeMeasurements"
    probes = details.get("temperatureProbeMeasurements", [])
    if not isinstance(probes, list) or not probes:
        raise Unreadable("E_NO_MEASUREMENT", where)
    values = [milli(_text(probe, "measuredTemperatureValue", path=where)) for probe in probes]
    known = [value for value in values if value is not None and -MILLI_MAX <= value <= MILLI_MAX]
    if len(known) != len(values):
        raise Unreadable("E_SAMPLE", where)
    return unit, tuple([(time_ms, value) for value in known])


def _checked(found: ObjectNumber | None, path: str, warnings: list[str]) -> str:
    if found is None:
        raise Unreadable("E_NUMBER_FORM", path)
    if not found.is_consistent:
        warnings.append(f"{found.number}: check digit {found.written}, expected {found.expected}")
    return found.number


def _object(value: Any, name: str) -> dict[str, Any]:
    """The object in a field; empty when it is absent."""
    if not isinstance(value, dict):
        raise Unreadable("E_FIELD_TYPE", name)
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise Unreadable("E_FIELD_TYPE", name)
    return found


def _text(value: Any, name: str, default: str | None = None, *, path: str = "") -> str:
    """The text, or number as text, in a field; refused when it is absent and there is no default."""
    where = f"{path}.{name}" if path else name
    if not isinstance(value, dict):
        raise Unreadable("E_FIELD_TYPE", where)
    found = value.get(name, default)
    if not isinstance(found, str):
        raise Unreadable("E_MISSING_FIELD" if found is None else "E_FIELD_TYPE", where)
    return found
