"""The CBV event hash: one identifier for one event, whatever the order of keys, syntax or time zone it came in.

CBV 2.0 section 8.9 writes an event as one string, the *pre-hash string*: the fields in a fixed order, each as
``name=value`` with nothing between them; values in their canonical spelling (``gs1``, ``vocabulary``, instants in UTC
with milliseconds, decimals without superfluous zeros); the entries of every list sorted. Its SHA-256 is the event's
identifier ``ni:///sha-256;<hex>?ver=CBV2.0``. Record time, event ID and error declaration are not part of it, so an
event declared erroneous keeps the identifier it had.

The offset of the local clock (``eventTimeZoneOffset``) *is* part of it: it says how late in the day it was for the
people there. The same instant written with another UTC offset in ``eventTime`` is the same event.

Two published readings of the order exist. The standard lists business transactions, sources, destinations, then
sensors; a widely used generator writes what its table does not consume, these three and the extensions, after the
sensors and by name, so that destinations come before sources. ``Order.BY_NAME`` reproduces its hashes; this channel's
identifiers follow the standard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import msgspec

from dawan_node.execution.module import business_date, sha256
from dawan_node.modules.logistics import vocabulary
from dawan_node.modules.logistics.event_form import (
    ROW_DEPTH_MAX,
    EventForm,
    Quantity,
    Row,
    SensorElement,
    SensorReport,
    TypedReference,
)
from dawan_node.modules.logistics.gs1 import canonical_uri

_UTC8_MS: Final = 8 * 3_600_000
_DAY_MS: Final = 24 * 3_600_000
_DECIMAL: Final = re.compile(r"([+-]?)0*([0-9]+)(?:\.([0-9]*?)0*)?")

# Fields of the standard in its order, and how each value is written: "time", or the prefix of a vocabulary word.
_SENSOR_FIELDS: Final = (
    ("time_ms", "time"), ("start_time_ms", "startTime"), ("end_time_ms", "endTime"), ("device_id", "deviceID"),
    ("device_metadata", "deviceMetadata"), ("raw_data", "rawData"),
    ("data_processing_method", "dataProcessingMethod"), ("biz_rules", "bizRules"),
)  # fmt: skip
_REPORT_FIELDS: Final = (
    ("type", "type"), ("exception", "exception"), ("device_id", "deviceID"), ("device_metadata", "deviceMetadata"),
    ("raw_data", "rawData"), ("data_processing_method", "dataProcessingMethod"), ("time_ms", "time"),
    ("microorganism", "microorganism"), ("chemical_substance", "chemicalSubstance"), ("value", "value"),
    ("component", "component"), ("string_value", "stringValue"), ("boolean_value", "booleanValue"),
    ("hex_binary_value", "hexBinaryValue"), ("uri_value", "uriValue"), ("min_value", "minValue"),
    ("max_value", "maxValue"), ("mean_value", "meanValue"), ("s_dev", "sDev"), ("perc_rank", "percRank"),
    ("perc_value", "percValue"), ("uom", "uom"), ("coordinate_reference_system", "coordinateReferenceSystem"),
)  # fmt: skip
_WORDS: Final = MappingProxyType(
    {"type": vocabulary.MEASUREMENT, "exception": vocabulary.MEASUREMENT, "component": vocabulary.COMPONENT}
)
_TIMES: Final = frozenset({"time_ms", "start_time_ms", "end_time_ms"})


class Order(StrEnum):
    """Where the lists of transactions, sources and destinations stand in the pre-hash string."""

    STANDARD = "standard"
    BY_NAME = "by name"


def event_id(event: EventForm) -> str:
    """``ni:///sha-256;<hex>?ver=CBV2.0``."""
    return ni_uri(event_digest(event))


def event_digest(event: EventForm, order: Order = Order.STANDARD) -> bytes:
    """The SHA-256 of the pre-hash string."""
    return sha256(prehash(event, order).encode())


def ni_uri(digest: bytes) -> str:
    """An event hash as EPCIS writes it in ``eventID`` and ``correctiveEventIDs`` (RFC 6920)."""
    return f"ni:///sha-256;{digest.hex()}?ver=CBV2.0"


def prehash(event: EventForm, order: Order = Order.STANDARD) -> str:
    """The pre-hash string of an event."""
    word = vocabulary.canonical_word
    transactions = [_typed("bizTransaction", entry, vocabulary.TRANSACTION_TYPE) for entry in event.biz_transactions]
    sources = [_typed("source", entry, vocabulary.SOURCE_TYPE) for entry in event.sources]
    destinations = [_typed("destination", entry, vocabulary.SOURCE_TYPE) for entry in event.destinations]
    dispositions = [
        *sorted([f"set={word(entry, vocabulary.DISPOSITION)}" for entry in event.persistent_set]),
        *sorted([f"unset={word(entry, vocabulary.DISPOSITION)}" for entry in event.persistent_unset]),
    ]
    listed = [
        _group("bizTransactionList", sorted(transactions)),
        _group("sourceList", sorted(sources)),
        _group("destinationList", sorted(destinations)),
    ]
    sensors = _group("sensorElementList", sorted([_sensor(element) for element in event.sensors]))
    extensions = [_group("ilmd", _rows(event.ilmd)), *_rows(event.extensions)]
    tail = [*listed, sensors, *extensions] if order == Order.STANDARD else [sensors, *sorted([*listed, *extensions])]
    return "".join(
        [
            f"eventType={event.kind}eventTime={instant_text(event.time_ms)}eventTimeZoneOffset={event.offset}",
            "".join(sorted([f"certificationInfo={canonical_value(entry)}" for entry in event.certification])),
            _epcs("epcList", event.epcs),
            _field("parentID", canonical_uri(event.parent)),
            _epcs("inputEPCList", event.inputs),
            _epcs("childEPCs", event.children),
            _quantities("quantityList", event.quantities),
            _quantities("childQuantityList", event.child_quantities),
            _quantities("inputQuantityList", event.input_quantities),
            _epcs("outputEPCList", event.outputs),
            _quantities("outputQuantityList", event.output_quantities),
            _field("action", event.action),
            _field("transformationID", canonical_uri(event.transformation)),
            _field("bizStep", word(event.biz_step, vocabulary.BIZ_STEP)),
            _field("disposition", word(event.disposition, vocabulary.DISPOSITION)),
            _group("persistentDisposition", dispositions),
            _group("readPoint", [_field("id", canonical_uri(event.read_point))]),
            _group("bizLocation", [_field("id", canonical_uri(event.biz_location))]),
            *tail,
        ]
    )


def instant_text(time_ms: int) -> str:
    """``2020-03-04T10:00:30.000Z``: UTC with milliseconds."""
    # The SDK's calendar is that of the district, eight hours ahead of UTC.
    date = business_date(time_ms - _UTC8_MS)
    rest = time_ms % _DAY_MS
    seconds, milliseconds = rest // 1_000, rest % 1_000
    return f"{date}T{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}Z"


def decimal_text(text: str) -> str | None:
    """A decimal number without plus sign and superfluous zeros (``+012.50`` is ``12.5``); None for other text."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return None
    number = f"{found[2]}.{found[3]}" if found[3] else found[2]
    return "-" + number if found[1] == "-" and number != "0" else number


def canonical_value(text: str) -> str:
    """A value whose type the field does not say: a number, a vocabulary word's URN, a GS1 key, or plain text."""
    stripped = text.strip(" \t\r\n")
    number = decimal_text(stripped)
    return number if number is not None else canonical_uri(vocabulary.canonical_urn(stripped))


def are_rows(rows: Sequence[Row]) -> bool:
    """Whether the rows are a tree in document order: the first at depth 0, none more than one deeper than before."""
    depths = [-1, *[row.depth for row in rows]]
    return all(depths[place + 1] <= depths[place] + 1 for place in range(len(rows)))


def _field(name: str, value: str) -> str:
    return f"{name}={value}" if value else ""


def _group(name: str, entries: Sequence[str]) -> str:
    inside = "".join(entries)
    return name + inside if inside else ""


def _epcs(name: str, epcs: Sequence[str]) -> str:
    return _group(name, sorted([f"epc={canonical_uri(epc)}" for epc in epcs]))


def _quantities(name: str, quantities: Sequence[Quantity]) -> str:
    entries = [
        f"quantityElementepcClass={canonical_uri(entry.epc_class)}"
        + _field("quantity", canonical_value(entry.quantity))
        + _field("uom", entry.uom)
        for entry in quantities
    ]
    return _group(name, sorted(entries))


def _typed(name: str, entry: TypedReference, prefix: str) -> str:
    kind = _field("type", vocabulary.canonical_word(entry.type, prefix))
    return f"{kind}{name}={canonical_value(entry.id)}"


def _sensor(element: SensorElement) -> str:
    fields = msgspec.structs.asdict(element)
    metadata = _group("sensorMetadata", [_value(fields, name, shown) for name, shown in _SENSOR_FIELDS])
    reports = sorted([_report(report) for report in element.reports])
    return "sensorElement" + metadata + "".join(reports)


def _report(report: SensorReport) -> str:
    fields = msgspec.structs.asdict(report)
    return _group("sensorReport", [_value(fields, name, shown) for name, shown in _REPORT_FIELDS])


def _value(fields: dict[str, Any], name: str, shown: str) -> str:
    value = fields[name]
    if name in _TIMES:
        return f"{shown}={instant_text(value)}" if isinstance(value, int) else ""
    if name in _WORDS:
        return _field(shown, vocabulary.canonical_word(value, _WORDS[name]))
    return _field(shown, canonical_value(value))


def _rows(rows: Sequence[Row]) -> list[str]:
    """The fields at depth 0, sorted, each with the fields below it, sorted in turn.

    Read from the last row to the first, so that what is below a row is complete when the row itself comes.
    """
    below: list[list[str]] = [[] for _ in range(ROW_DEPTH_MAX + 1)]
    for row in reversed(rows):
        inside = "".join(sorted(below[row.depth + 1]))
        below[row.depth + 1] = []
        below[row.depth].append(row.name + _value_of_row(row) + inside)
    return sorted(below[0])


def _value_of_row(row: Row) -> str:
    value = canonical_value(row.value)
    return f"={value}" if value else ""
