"""The logistics module's public face: its events, its error table, its version.

Reasons are API: a client branches on them, and a reason keeps its meaning for ever.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Event, Instant, Module, Money
from dawan_node.modules.logistics import entities


class EventCaptured(Event):
    event: bytes
    kind: str
    action: str
    biz_step: str
    time_ms: Instant


class EventDeclaredErroneous(Event):
    event: bytes
    reason: str


class ItemHandedOver(Event):
    item: str
    from_org: str
    to_org: str


class ShipmentBooked(Event):
    shipment: str
    carrier: str
    consignee: str


class ShipmentCancelled(Event):
    shipment: str


class MilestoneStated(Event):
    """Departed and Arrived are the codes DEPA and ARRI of class ACT."""

    shipment: str
    code: str
    classifier: str
    time_ms: Instant
    by: str
    late: bool


class ShipmentDelayed(Event):
    """An estimate or an arrival later than planned."""

    shipment: str
    planned_ms: Instant
    time_ms: Instant


class MilestoneCorrected(Event):
    shipment: str
    position: int
    reason: str


class DocumentSurrendered(Event):
    shipment: str
    document: str


class ShipmentHeld(Event):
    shipment: str
    reason: str


class HoldLifted(Event):
    shipment: str


class ConditionReported(Event):
    shipment: str
    condition: str


class ExcursionStarted(Event):
    shipment: str
    device: str
    from_ms: Instant


class ExcursionEnded(Event):
    shipment: str
    device: str
    kind: str
    from_ms: Instant
    to_ms: Instant


class ColdChainBreached(Event):
    shipment: str
    device: str


class DeclarationChanged(Event):
    jurisdiction: str
    number: str
    state: str


class CustomsReleased(Event):
    jurisdiction: str
    number: str
    shipment: str


class DutyPaid(Event):
    jurisdiction: str
    number: str
    amount: Money


class BrokerAppointed(Event):
    shipment: str
    org: str


class Delivered(Event):
    shipment: str
    time_ms: Instant


ERRORS: Final = {
    # Events and items
    "E_EVENT_FORM": "The event lacks a field its kind needs, or has one its kind cannot have.",
    "E_HASH": "The event has another hash than the sender computed.",
    "E_EVENT_FUTURE": "The event is said to have happened later than now.",
    "E_TOO_MANY": "The event changes more than a hundred items at once.",
    "E_CAPTURED": "Another organisation captured this event already.",
    "E_ERRONEOUS": "The event was declared erroneous; a corrected one has another hash.",
    "E_READ_POINT": "The read point is not registered for the sender's organisation.",
    "E_READ_POINT_TAKEN": "The read point is registered already.",
    "E_NOT_CUSTODIAN": "The sender's organisation does not have the item in custody.",
    "E_UNKNOWN_ITEM": "There is no such item.",
    "E_ITEM_EXISTS": "The item exists already.",
    "E_ITEM_STATE": "The item was consumed or is gone.",
    "E_HAS_PARENT": "The item is packed already; an item has one parent at a time.",
    "E_NOT_PACKED": "The item is not packed in this parent.",
    "E_NOT_EMPTY": "Other items are packed in it.",
    "E_CYCLE": "An item would be packed in itself.",
    "E_DEPTH": "Items would be packed more than eight levels deep.",
    "E_PACKED": "The item is packed; its outermost parent is handed over, not it.",
    "E_NOT_OFFERED": "The item is not handed to the sender's organisation.",
    "E_HANDED": "The item is on its way to another organisation.",
    "E_UNKNOWN_EVENT": "There is no such event.",
    "E_NOT_CAPTURER": "Only the organisation that captured or stated it corrects it.",
    "E_RELIED_ON": "Later records build on it; correct those first.",
    "E_CORRECTIVE": "A corrective event must be another event of the same organisation, captured before.",
    "E_UNKNOWN_ORG": "There is no active organisation of that name on this channel.",
    # Shipments and milestones
    "E_REFERENCE": "A number has 1 to 40 letters, digits and hyphens, beginning with a letter or digit.",
    "E_DUP_SHIPMENT": "The carrier already used this booking number.",
    "E_UNKNOWN_SHIPMENT": "There is no such shipment.",
    "E_PLACE": "A place is a UN/LOCODE of five characters, here one of the shipment's.",
    "E_EQUIPMENT": "The text has not the form of a container number, or the carrier's own entry a wrong check digit.",
    "E_EQUIPMENT_BUSY": "The container is in another shipment that is not delivered.",
    "E_VESSEL": "The vessel is not given by an IMO number, or is another than the one loaded.",
    "E_DOCUMENT": "A bill of lading or waybill needs its reference, which no other shipment of the carrier has.",
    "E_PLAN": "The planned arrival lies before the planned departure.",
    "E_NOT_PARTY": "Only a party that this falls to may do it.",
    "E_CODE": "The code is not one of this family, or not one that is stated this way.",
    "E_STATE": "It is in a state in which this is not possible.",
    "E_STATED": "The organisation has stated this already.",
    "E_MILESTONE_TIME": "The time lies before what happened earlier, or after what happened later.",
    "E_SETTLED": "The time to correct the statement is over.",
    "E_MILESTONES": "There are as many statements about the shipment as one can have.",
    "E_CORRECTIONS": "The statement was corrected too often.",
    "E_NOT_RELEASED": "Customs has not released the shipment.",
    "E_NOT_SURRENDERED": "The bill of lading was not surrendered for delivery.",
    "E_NO_REGISTER": "This channel keeps no titles, or does not believe the channel that is said to keep this one.",
    "E_PROVEN": "The proof is of another channel, record, document or carrier than the shipment's.",
    "E_KEPT_THERE": "The title is kept on another channel: its surrender is proved from there, not stated.",
    "E_KEPT_HERE": "The title of this document is kept on this channel; it is surrendered there.",
    "E_HELD": "The shipment is on hold.",
    "E_CONDITION": "The shipment is reported lost, or was not.",
    # Cold chain
    "E_UNKNOWN_DEVICE": "There is no such device of the sender's organisation.",
    "E_DUP_DEVICE": "The device is registered already.",
    "E_RULE": "Limits are in order, times positive, and within the device's measuring range.",
    "E_WATCHED": "The device already watches this or another shipment.",
    "E_NOT_WATCHED": "The device does not watch this shipment, or no longer.",
    "E_UOM": "The unit is not the one the device measures in.",
    "E_SAMPLE_RANGE": "A sample lies outside the device's measuring range.",
    "E_SAMPLE_ORDER": "Samples come in order of time, after all earlier ones.",
    # Customs
    "E_DUP_DECLARATION": "The declaration number is in use.",
    "E_UNKNOWN_DECLARATION": "There is no such declaration.",
    "E_NUMBER": "The declaration number has not the form of its jurisdiction.",
    "E_HS": "The goods code has not the form of one, or is not in the edition in force.",
    "E_ORIGIN": "The country of origin is not a code of two letters, or not in the table in force.",
    "E_VALUE": "The value or duty is negative, not positive where it must be, or too large.",
    "E_DECLARATIONS": "The shipment has as many declarations as one can have.",
    "E_APPOINTED": "The broker is not appointed for the shipment, or is already, or there are too many.",
    "E_NOT_BROKER": "Only the broker that lodged the declaration may do this.",
    "E_JURISDICTION": "Only customs of that jurisdiction may do this.",
    "E_DUTY": "The duty is not paid, or not over exactly this amount.",
}

module: Final = Module(
    "logistics",
    version=1,
    entities=(
        entities.ReadPoint,
        entities.EventRecord,
        entities.Item,
        entities.Custody,
        entities.Shipment,
        entities.ForeignTitle,
        entities.Equipment,
        entities.Milestone,
        entities.Delivery,
        entities.Device,
        entities.ColdChain,
        entities.Excursion,
        entities.SensorBatch,
        entities.Declaration,
    ),
    events=(
        EventCaptured,
        EventDeclaredErroneous,
        ItemHandedOver,
        ShipmentBooked,
        ShipmentCancelled,
        MilestoneStated,
        ShipmentDelayed,
        MilestoneCorrected,
        DocumentSurrendered,
        ShipmentHeld,
        HoldLifted,
        ConditionReported,
        ExcursionStarted,
        ExcursionEnded,
        ColdChainBreached,
        DeclarationChanged,
        CustomsReleased,
        DutyPaid,
        Delivered,
        BrokerAppointed,
    ),
    errors=ERRORS,
    uses=("kernel", "refdata"),
    may_use=("light_client", "title"),
)
