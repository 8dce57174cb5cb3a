"""A shipment's milestones as DCSA track-and-trace events, version 3.

What a carrier sent is not kept word for word: an event here has the fields the chain has. Its ``eventID`` is the
sender's own where it gave one (``source``), else ``dawan:shipment:position``; a retraction has one made the same way,
because its own is not on chain. Read again by ``dcsa_events.read_dcsa_events`` each is the same statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

_CODES: Final = MappingProxyType(
    {
        "EQUIPMENT": "equipmentEventTypeCode",
        "TRANSPORT": "transportEventTypeCode",
        "SHIPMENT": "shipmentEventTypeCode",
    }
)
#: How JSON-RPC shows the instant 0, which stands for "never".
_NEVER: Final = "1970-01-01T00:00:00.000Z"


def events_of(shipment: Mapping[str, Any], milestones: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events of a shipment's milestones, both in the notation of JSON-RPC; retractions follow what they retract."""
    events = []
    for milestone in milestones:
        event = _event(shipment, milestone)
        events.append(event)
        if milestone["retracted"] != _NEVER:
            identifier = f"dawan:{milestone['shipment']}:{milestone['position']}:retracted"
            retraction = {
                "eventID": identifier[-100:],
                "eventDateTime": milestone["retracted"],
                "retractedEventID": event["eventID"],
            }
            events.append(retraction)
    return events


def _event(shipment: Mapping[str, Any], milestone: Mapping[str, Any]) -> dict[str, Any]:
    family = milestone["family"]
    event: dict[str, Any] = {
        "eventID": milestone["source"] or f"dawan:{milestone['shipment']}:{milestone['position']}"[-100:],
        "eventDateTime": milestone["time"],
        "eventCreatedDateTime": milestone["recorded"],
        "eventLocation": {"UNLocationCode": milestone["place"]},
        "eventClassification": {
            "eventTypeCode": family,
            "eventClassifierCode": milestone["classifier"],
            _CODES[family]: milestone["code"],
        },
    }
    if milestone["corrections"]:
        event["eventUpdatedDateTime"] = milestone["corrections"][-1]["corrected"]
    booking = shipment["shipment"].partition("/")[2]
    event["shipmentDetails"] = {"documentReference": {"typeCode": "BKG", "reference": booking}}
    document = shipment["document"].rpartition("/")[2]
    if document:
        more = [{"typeCode": "TRD", "reference": document}]
        event["shipmentDetails"]["additionalDocumentReferences"] = more
    boxes = shipment["equipment"]
    if family == "EQUIPMENT" and len(boxes) == 1:
        event["equipmentDetails"] = {"equipmentReference": boxes[0]}
    if milestone["vessel"]:
        vessel = {"vesselTransport": {"vesselIMONumber": milestone["vessel"]}}
        event["transportDetails"] = {"transportCall": vessel}
    return event
