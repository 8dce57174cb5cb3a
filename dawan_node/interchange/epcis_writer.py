"""Captured events as EPCIS 2.0 JSON-LD, from the arguments they were captured with.

An event is written in one spelling: UTC in ``eventTime``, numbers without superfluous zeros, extension namespaces in
the event's own ``@context`` under prefixes ``x1``, ``x2``, ... Its bytes are not those of the message it came in; its
hash is, and stands in ``eventID``. Read again by ``epcis.read_epcis`` it is the same event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from dawan_node.modules.logistics.event_hash import decimal_text, instant_text, ni_uri

#: The standard's own context; known by name, never fetched.
CONTEXT: Final = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"

_Write = Callable[[Any], Any]


def write_event(event: Mapping[str, Any], digest: bytes, said: Mapping[str, Any]) -> bytes:
    """The JSON of one event. ``event``: arguments of ``capture_event``; ``said``: fields that are not part of the hash,
    such as ``recordTime`` and ``errorDeclaration``, in the notation of EPCIS."""
    prefixes: dict[str, str] = {}
    shown: dict[str, Any] = {}
    for name, key, write in _FIELDS:
        value = event.get(name)
        if value not in (None, "", []):
            shown[key] = write(value)
    dispositions = {
        key: list(event[name])
        for name, key in (("persistent_set", "set"), ("persistent_unset", "unset"))
        if event.get(name)
    }
    if dispositions:
        shown["persistentDisposition"] = dispositions
    if event.get("ilmd"):
        shown["ilmd"] = _tree(event["ilmd"], prefixes)
    extensions = _tree(event.get("extensions", ()), prefixes)
    kind = {"type": shown.pop("type")}
    context = {"@context": {prefix: namespace for namespace, prefix in prefixes.items()}} if prefixes else {}
    whole = kind | context | {"eventID": ni_uri(digest)} | shown | extensions | dict(said)
    return msgspec.json.encode(whole)


def document_head(created_ms: int) -> bytes:
    """What stands before the events of a document; they follow with commas between them."""
    head = {
        "@context": [CONTEXT],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": instant_text(created_ms),
    }
    return msgspec.json.encode(head)[:-1] + b',"epcisBody":{"eventList":[\n'


#: What stands after them.
DOCUMENT_TAIL: Final = b"\n]}}\n"


def _number(text: str) -> Any:
    """Decimal text as a JSON number with all its digits."""
    number = decimal_text(text)
    return text if number is None else msgspec.Raw(number.encode())


def _truth(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


def _same(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _place(value: str) -> Any:
    return {"id": value}


def _struct(value: Mapping[str, Any], fields: Sequence[tuple[str, str, _Write]]) -> dict[str, Any]:
    return {key: write(value[name]) for name, key, write in fields if value.get(name) not in (None, "", [])}


def _structs(fields: Sequence[tuple[str, str, _Write]]) -> _Write:
    return lambda values: [_struct(value, fields) for value in values]


def _sensors(elements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    shown = []
    for element in elements:
        metadata = _struct(element, _METADATA)
        reports = [_struct(report, _REPORT) for report in element["reports"]]
        shown.append(({"sensorMetadata": metadata} if metadata else {}) | {"sensorReport": reports})
    return shown


def _tree(rows: Sequence[Mapping[str, Any]], prefixes: dict[str, str]) -> dict[str, Any]:
    """Rows in document order as nested objects; a name that is repeated at one place is a list."""
    levels: list[dict[str, Any]] = [{}]
    for position, row in enumerate(rows):
        depth = row.get("depth", 0)
        del levels[depth + 1 :]
        namespace, _, local = row["name"][1:].partition("}")
        key = f"{prefixes.setdefault(namespace, f'x{len(prefixes) + 1}')}:{local}"
        below = position + 1 < len(rows) and rows[position + 1].get("depth", 0) > depth
        value: Any = {} if below else row.get("value", "")
        parent = levels[depth]
        if key not in parent:
            parent[key] = value
        elif isinstance(parent[key], list):
            parent[key].append(value)
        else:
            parent[key] = [parent[key], value]
        if below:
            levels.append(value)
    return levels[0]


_QUANTITY: Final = (("epc_class", "epcClass", _same), ("quantity", "quantity", _number), ("uom", "uom", _same))
_TRANSACTION: Final = (("type", "type", _same), ("id", "bizTransaction", _same))
_SOURCE: Final = (("type", "type", _same), ("id", "source", _same))
_DESTINATION: Final = (("type", "type", _same), ("id", "destination", _same))
_METADATA: Final = (
    ("time_ms", "time", instant_text), ("start_time_ms", "startTime", instant_text),
    ("end_time_ms", "endTime", instant_text), ("device_id", "deviceID", _same),
    ("device_metadata", "deviceMetadata", _same), ("raw_data", "rawData", _same),
    ("data_processing_method", "dataProcessingMethod", _same), ("biz_rules", "bizRules", _same),
)  # fmt: skip
_REPORT: Final = (
    ("type", "type", _same), ("exception", "exception", _same), ("device_id", "deviceID", _same),
    ("device_metadata", "deviceMetadata", _same), ("raw_data", "rawData", _same),
    ("data_processing_method", "dataProcessingMethod", _same), ("time_ms", "time", instant_text),
    ("microorganism", "microorganism", _same), ("chemical_substance", "chemicalSubstance", _same),
    ("value", "value", _number), ("component", "component", _same), ("string_value", "stringValue", _same),
    ("boolean_value", "booleanValue", _truth), ("hex_binary_value", "hexBinaryValue", _same),
    ("uri_value", "uriValue", _same), ("min_value", "minValue", _number), ("max_value", "maxValue", _number),
    ("mean_value", "meanValue", _number), ("s_dev", "sDev", _number), ("perc_rank", "percRank", _number),
    ("perc_value", "percValue", _number), ("uom", "uom", _same),
    ("coordinate_reference_system", "coordinateReferenceSystem", _same),
)  # fmt: skip
_FIELDS: Final[Sequence[tuple[str, str, _Write]]] = (
    ("kind", "type", _same), ("time_ms", "eventTime", instant_text), ("offset", "eventTimeZoneOffset", _same),
    ("certification", "certificationInfo", _same), ("epcs", "epcList", _same),
    ("quantities", "quantityList", _structs(_QUANTITY)), ("parent", "parentID", _same),
    ("children", "childEPCs", _same), ("child_quantities", "childQuantityList", _structs(_QUANTITY)),
    ("inputs", "inputEPCList", _same), ("input_quantities", "inputQuantityList", _structs(_QUANTITY)),
    ("outputs", "outputEPCList", _same), ("output_quantities", "outputQuantityList", _structs(_QUANTITY)),
    ("transformation", "transformationID", _same), ("action", "action", _same), ("biz_step", "bizStep", _same),
    ("disposition", "disposition", _same), ("read_point", "readPoint", _place),
    ("biz_location", "bizLocation", _place), ("biz_transactions", "bizTransactionList", _structs(_TRANSACTION)),
    ("sources", "sourceList", _structs(_SOURCE)), ("destinations", "destinationList", _structs(_DESTINATION)),
    ("sensors", "sensorElementList", _sensors),
)  # fmt: skip
#: For the tests: what stands in no list above is written by ``write_event`` itself.
WRITTEN_APART: Final = MappingProxyType(
    {"persistent_set": "set", "persistent_unset": "unset", "ilmd": "ilmd", "extensions": ""}
)
