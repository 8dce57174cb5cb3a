"""EPCIS 2.0 in JSON-LD: bytes in, events in the argument form of the module ``logistics`` out, or refusals.

Contexts are never fetched: the standard's own terms are known here, and a document's own prefixes stand in its
``@context``. A key that is neither is refused, because a field that is dropped would change what the event says, and
its hash. Nothing is dropped in silence: each event of a document becomes a draft or a refusal with its position.

An event with an ``errorDeclaration`` is a statement *about* the event of the same hash: its draft carries the
arguments of ``declare_error`` beside those of ``capture_event``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import msgspec

from dawan_node.interchange.instants import instant_ms
from dawan_node.interchange.json_text import MalformedJson, parse_json_text
from dawan_node.interchange.refusal import Refusal, Unreadable
from dawan_node.modules.logistics.event_form import ROW_DEPTH_MAX, ROWS_MAX, EventForm
from dawan_node.modules.logistics.event_hash import event_digest, ni_uri

#: A day's events of a large terminal are some ten thousand of a few hundred bytes.
DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024

_PREFIX: Final = re.compile("([A-Za-z][A-Za-z0-9_-]{0,31}):([^/].*)")
_NAMESPACE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^{}\s]{1,140}")
#: Prefixes that the standard's context defines.
_STANDARD: Final = MappingProxyType(
    {
        "cbv": "https://ref.gs1.org/cbv/",
        "cbvmda": "urn:epcglobal:cbv:mda:",
        "epcis": "https://ref.gs1.org/epcis/",
        "gs1": "https://gs1.org/voc/",
    }
)
_URI_SCHEMES: Final = frozenset({"did", "doi", "geo", "http", "https", "mailto", "ni", "tag", "urn"})
_NI: Final = re.compile(r"ni:///sha-256;([0-9a-f]{64})\?ver=CBV2\.0")


@dataclass(frozen=True, slots=True)
class EventDraft:
    """``event``: arguments of ``capture_event``; ``digest``: its event hash; ``error``: of ``declare_error``."""

    position: int
    event: dict[str, Any]
    digest: bytes
    error: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def event_id(self) -> str:
        """The event hash as a URI."""
        return ni_uri(self.digest)


@dataclass(slots=True)
class Reading:
    """What a document held, in its order."""

    events: list[EventDraft] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def read_epcis(data: bytes) -> Reading:
    """Every event of an EPCIS document, query document or single event in JSON-LD. Never raises."""
    try:
        document = parse_json_text(data, DOCUMENT_BYTES_MAX)
    except MalformedJson as error:
        return Reading(refusals=[Refusal(-1, "E_MALFORMED_JSON", str(error))])
    try:
        namespaces, events = _events_of(document)
    except Unreadable as error:
        return Reading(refusals=[Refusal(-1, error.reason, error.path)])
    reading = Reading()
    for position, event in enumerate(events):
        try:
            reading.events.append(_EventReader(namespaces, event).draft(position))
        except Unreadable as error:
            reading.refusals.append(Refusal(position, error.reason, error.path))
    return reading


def _events_of(document: Any) -> tuple[dict[str, str], list[Any]]:
    if not isinstance(document, dict):
        raise Unreadable("E_NOT_EPCIS", "$")
    namespaces = dict(_STANDARD) | _namespaces(document.get("@context", []))
    kind = document.get("type", document.get("isA"))
    if kind not in ("EPCISDocument", "EPCISQueryDocument"):
        return namespaces, [document]
    if document.get("schemaVersion", "2.0") != "2.0":
        raise Unreadable("E_EPCIS_VERSION", "schemaVersion")
    body = document.get("epcisBody")
    if kind == "EPCISQueryDocument" and isinstance(body, dict):
        results = body.get("queryResults")
        body = results.get("resultsBody") if isinstance(results, dict) else None
    if not isinstance(body, dict):
        raise Unreadable("E_NOT_EPCIS", "epcisBody")
    if "event" in body and "eventList" in body:
        # Either would have to be dropped.
        raise Unreadable("E_NOT_EPCIS", "epcisBody.event beside epcisBody.eventList")
    events = [body["event"]] if "event" in body else body.get("eventList")
    if not isinstance(events, list):
        raise Unreadable("E_NOT_EPCIS", "epcisBody.eventList")
    return namespaces, events


def _namespaces(context: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in context if isinstance(context, list) else [context]:
        for prefix, namespace in entry.items() if isinstance(entry, dict) else ():
            if not isinstance(namespace, str) or _NAMESPACE.fullmatch(namespace) is None:
                raise Unreadable("E_CONTEXT", f"@context.{prefix}")
            if _STANDARD.get(prefix, namespace) != namespace:
                raise Unreadable("E_CONTEXT", f"@context.{prefix}")
            found[prefix] = namespace
    return found


class _EventReader:
    """Reads one event; every method takes the value and its path, and raises Unreadable."""

    def __init__(self, namespaces: Mapping[str, str], event: Any) -> None:
        if not isinstance(event, dict):
            raise Unreadable("E_EVENT_FORM", "$")
        self._event: Final[dict[str, Any]] = event
        self._namespaces: Final = dict(namespaces) | _namespaces(event.get("@context", []))
        self._warnings: list[str] = []

    def draft(self, position: int) -> EventDraft:
        args: dict[str, Any] = {}
        extensions: list[dict[str, Any]] = []
        for key, value in self._event.items():
            if key in _IGNORED:
                continue
            known = _EVENT_FIELDS.get(key)
            if known is not None:
                name, read = known
                args[name] = read(self, value, key)
            elif key == "persistentDisposition":
                args.update(self._persistent(value, key))
            elif key == "ilmd":
                args["ilmd"] = self._fields(value, key, 0)
            else:
                extensions += self._field(key, value, key, 0)
        if extensions:
            args["extensions"] = extensions
        if len(extensions) > ROWS_MAX:
            raise Unreadable("E_TOO_MANY", "extensions")
        try:
            form = msgspec.convert(args, EventForm)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$.")
            raise Unreadable("E_SCHEMA", f"{where.removesuffix('`') or '$'}: {message}") from error
        digest = event_digest(form)
        error_args = None
        if "errorDeclaration" in self._event:
            error_args = self._error(self._event["errorDeclaration"], digest)
        given = self._event.get("eventID")
        if isinstance(given, str) and given.startswith("ni:") and given != ni_uri(digest):
            self._warnings.append(f"eventID says {given}, the hash of this event is {ni_uri(digest)}")
        return EventDraft(position, args, digest, error_args, tuple(self._warnings))

    def text(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise Unreadable("E_FIELD_TYPE", path)
        return value.strip()

    def term(self, value: Any, path: str) -> str:
        """A URI, a word of a vocabulary, or a compact URI whose prefix the context defines."""
        text = self.text(value, path)
        found = _PREFIX.fullmatch(text)
        if found is None or found[1] in _URI_SCHEMES:
            return text
        namespace = self._namespaces.get(found[1])
        return text if namespace is None else namespace + found[2]

    def instant(self, value: Any, path: str) -> int:
        found = instant_ms(self.text(value, path))
        if found is None:
            raise Unreadable("E_TIME", path)
        return found

    def truth(self, value: Any, path: str) -> str:
        if not isinstance(value, bool):
            raise Unreadable("E_FIELD_TYPE", path)
        return "true" if value else "false"

    def terms(self, value: Any, path: str) -> list[str]:
        return [self.term(entry, f"{path}[{place}]") for place, entry in enumerate(self._list(value, path))]

    def one_or_more(self, value: Any, path: str) -> list[str]:
        return self.terms(value if isinstance(value, list) else [value], path)

    def place(self, value: Any, path: str) -> str:
        """``{"id": uri}``: a read point or business location."""
        return str(self._struct(value, path, _PLACE)["id"])

    def quantities(self, value: Any, path: str) -> list[dict[str, Any]]:
        return self._structs(value, path, _QUANTITY)

    def transactions(self, value: Any, path: str) -> list[dict[str, Any]]:
        return self._structs(value, path, _TRANSACTION)

    def sources(self, value: Any, path: str) -> list[dict[str, Any]]:
        return self._structs(value, path, _SOURCE)

    def destinations(self, value: Any, path: str) -> list[dict[str, Any]]:
        return self._structs(value, path, _DESTINATION)

    def sensors(self, value: Any, path: str) -> list[dict[str, Any]]:
        found = []
        for place, element in enumerate(self._list(value, path)):
            where = f"{path}[{place}]"
            if not isinstance(element, dict) or not element.keys() <= {"type", "sensorMetadata", "sensorReport"}:
                raise Unreadable("E_UNKNOWN_FIELD", where)
            metadata = self._struct(element.get("sensorMetadata", {}), f"{where}.sensorMetadata", _METADATA)
            reports = self._structs(element.get("sensorReport", []), f"{where}.sensorReport", _REPORT)
            found.append(metadata | {"reports": reports})
        return found

    def _persistent(self, value: Any, path: str) -> dict[str, Any]:
        found = self._struct(value, path, _PERSISTENT)
        return {f"persistent_{name}": entries for name, entries in found.items()}

    def _error(self, value: Any, digest: bytes) -> dict[str, Any]:
        found = self._struct(value, "errorDeclaration", _ERROR)
        corrective = []
        for identifier in found.get("corrective", []):
            written = _NI.fullmatch(identifier)
            if written is None:
                raise Unreadable("E_CORRECTIVE_ID", "errorDeclaration.correctiveEventIDs")
            corrective.append(bytes.fromhex(written[1]))
        return {"event": digest, "reason": found.get("reason", ""), "corrective": corrective}

    def _struct(self, value: Any, path: str, fields: Mapping[str, _Known]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Unreadable("E_FIELD_TYPE", path)
        found: dict[str, Any] = {}
        for key, entry in value.items():
            known = fields.get(key)
            if known is None:
                # Its place in the hash would have to be kept: refused, never dropped.
                raise Unreadable("E_UNKNOWN_FIELD", f"{path}.{key}")
            name, read = known
            found[name] = read(self, entry, f"{path}.{key}")
        return found

    def _structs(self, value: Any, path: str, fields: Mapping[str, _Known]) -> list[dict[str, Any]]:
        return [self._struct(entry, f"{path}[{place}]", fields) for place, entry in enumerate(self._list(value, path))]

    def _list(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise Unreadable("E_FIELD_TYPE", path)
        return value

    def _fields(self, value: Any, path: str, depth: int) -> list[dict[str, Any]]:
        if not isinstance(value, dict):
            raise Unreadable("E_FIELD_TYPE", path)
        return [row for key, entry in value.items() for row in self._field(key, entry, f"{path}.{key}", depth)]

    def _field(self, key: str, value: Any, path: str, depth: int) -> list[dict[str, Any]]:
        """The rows of an extension field. As deep as rows may nest, so the recursion is bounded."""
        found = _PREFIX.fullmatch(key)
        namespace = self._namespaces.get(found[1]) if found is not None else None
        if found is None or namespace is None:
            raise Unreadable("E_UNKNOWN_FIELD", path)
        if depth == ROW_DEPTH_MAX:
            raise Unreadable("E_TOO_DEEP", path)
        name = f"{{{namespace}}}{found[2]}"
        rows: list[dict[str, Any]] = []
        for entry in value if isinstance(value, list) else [value]:
            row: dict[str, Any] = {"depth": depth, "name": name}
            if isinstance(entry, dict):
                rows += [row, *self._fields(entry, path, depth + 1)]
            elif isinstance(entry, bool):
                rows.append(row | {"value": self.truth(entry, path)})
            else:
                rows.append(row | {"value": self.text(entry, path)})
        return rows


_Known = tuple[str, Callable[[_EventReader, Any, str], Any]]

_text, _term, _instant, _terms = _EventReader.text, _EventReader.term, _EventReader.instant, _EventReader.terms

#: Not part of the event hash: who recorded it, when, under which identifier; and what is said about it later.
_IGNORED: Final = frozenset({"@context", "eventID", "recordTime", "errorDeclaration"})

_EVENT_FIELDS: Final[Mapping[str, _Known]] = MappingProxyType(
    {
        "type": ("kind", _text),
        "isA": ("kind", _text),
        "eventTime": ("time_ms", _instant),
        "eventTimeZoneOffset": ("offset", _text),
        "certificationInfo": ("certification", _EventReader.one_or_more),
        "action": ("action", _text),
        "epcList": ("epcs", _terms),
        "quantityList": ("quantities", _EventReader.quantities),
        "parentID": ("parent", _term),
        "childEPCs": ("children", _terms),
        "childQuantityList": ("child_quantities", _EventReader.quantities),
        "inputEPCList": ("inputs", _terms),
        "inputQuantityList": ("input_quantities", _EventReader.quantities),
        "outputEPCList": ("outputs", _terms),
        "outputQuantityList": ("output_quantities", _EventReader.quantities),
        "transformationID": ("transformation", _term),
        "bizStep": ("biz_step", _term),
        "disposition": ("disposition", _term),
        "readPoint": ("read_point", _EventReader.place),
        "bizLocation": ("biz_location", _EventReader.place),
        "bizTransactionList": ("biz_transactions", _EventReader.transactions),
        "sourceList": ("sources", _EventReader.sources),
        "destinationList": ("destinations", _EventReader.destinations),
        "sensorElementList": ("sensors", _EventReader.sensors),
    }
)
_PLACE: Final[Mapping[str, _Known]] = {"id": ("id", _term)}
_QUANTITY: Final[Mapping[str, _Known]] = {
    "epcClass": ("epc_class", _term),
    "quantity": ("quantity", _text),
    "uom": ("uom", _text),
}
_TRANSACTION: Final[Mapping[str, _Known]] = {"type": ("type", _term), "bizTransaction": ("id", _term)}
_SOURCE: Final[Mapping[str, _Known]] = {"type": ("type", _term), "source": ("id", _term)}
_DESTINATION: Final[Mapping[str, _Known]] = {"type": ("type", _term), "destination": ("id", _term)}
_PERSISTENT: Final[Mapping[str, _Known]] = {"set": ("set", _terms), "unset": ("unset", _terms)}
_ERROR: Final[Mapping[str, _Known]] = {
    "declarationTime": ("declared_ms", _instant),
    "reason": ("reason", _term),
    "correctiveEventIDs": ("corrective", _terms),
}
_METADATA: Final[Mapping[str, _Known]] = {
    "time": ("time_ms", _instant),
    "startTime": ("start_time_ms", _instant),
    "endTime": ("end_time_ms", _instant),
    "deviceID": ("device_id", _term),
    "deviceMetadata": ("device_metadata", _term),
    "rawData": ("raw_data", _term),
    "dataProcessingMethod": ("data_processing_method", _term),
    "bizRules": ("biz_rules", _term),
}
_REPORT: Final[Mapping[str, _Known]] = {
    "type": ("type", _term),
    "exception": ("exception", _term),
    "deviceID": ("device_id", _term),
    "deviceMetadata": ("device_metadata", _term),
    "rawData": ("raw_data", _term),
    "dataProcessingMethod": ("data_processing_method", _term),
    "time": ("time_ms", _instant),
    "microorganism": ("microorganism", _term),
    "chemicalSubstance": ("chemical_substance", _term),
    "value": ("value", _text),
    "component": ("component", _term),
    "stringValue": ("string_value", _text),
    "booleanValue": ("boolean_value", _EventReader.truth),
    "hexBinaryValue": ("hex_binary_value", _text),
    "uriValue": ("uri_value", _term),
    "minValue": ("min_value", _text),
    "maxValue": ("max_value", _text),
    "meanValue": ("mean_value", _text),
    "sDev": ("s_dev", _text),
    "percRank": ("perc_rank", _text),
    "percValue": ("perc_value", _text),
    "uom": ("uom", _text),
    "coordinateReferenceSystem": ("coordinate_reference_system", _term),
}
