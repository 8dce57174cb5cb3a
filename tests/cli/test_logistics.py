"""``logistics import-epcis``, ``import-dcsa`` and their exports, against a channel in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dawan_node.cli import import_pipeline
from dawan_node.interchange.epcis import read_epcis
from dawan_node.modules.logistics.gs1 import canonical_uri
from dawan_node.rpc.values import from_instant, to_instant
from dawan_node.testing.module_kit import private_key_of
from tests.cli.module_node import KitNode, now_ms
from tests.cli.node_in_reach import CommandLine, command_line
from tests.interchange.test_dcsa_events import EVENT as DCSA_EVENT
from tests.interchange.test_dcsa_events import REEFER
from tests.interchange.test_epcis import CONTEXT, EVENT, document
from tests.modules.logistics_kit import LOGGER, MINUTE, PEOPLE, Channel

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT RUN: the published messages are not at {DATA}")

READ_POINT = "https://id.gs1.org/414/4047023000125"


class Port(Channel):
    """A logistics channel whose time is now, and the node that runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.kit.time_ms = self.start = now_ms() - 10 * MINUTE
        self.node = KitNode(self.kit, PEOPLE)


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def dawan(tmp_path: Path, port: Port) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=port.node) as line:
        yield line


def as_person(dawan: CommandLine, person: str) -> list[str]:
    """Options that make a command sign as a person of the channel."""
    return [*dawan.make_key(person, private_key_of(person)), "-c", "trade"]


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['verdict']} {row['reason']}".strip() for row in rows]


def rows_of(dawan: CommandLine, *arguments: str, code: int = 0, given: str | None = None) -> list[dict[str, Any]]:
    done = dawan("logistics", *arguments, "-o", "json", given=given)
    assert done.exit_code == code, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


# -- EPCIS


def test_events_are_captured_once_whatever_order_zone_and_spelling_they_come_in(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    port.gate("maker", READ_POINT)
    maker = as_person(dawan, "maker")
    file = tmp_path / "day.jsonld"
    file.write_bytes(document(EVENT, EVENT | {"action": "OBSERVE"}))
    assert verdicts(rows_of(dawan, "import-epcis", str(file), *maker)) == ["recorded", "recorded"]
    again = {
        **dict(reversed(EVENT.items())),
        "eventTime": "2025-11-25T00:00:00.123Z",
        "bizStep": "urn:epcglobal:cbv:bizstep:packing",
        "@context": CONTEXT,
    }
    lines = tmp_path / "again.ndjson"
    lines.write_text(json.dumps(again) + "\n" + json.dumps(again, indent=None, sort_keys=True) + "\n")
    assert verdicts(rows_of(dawan, "import-epcis", str(lines), *maker)) == ["already", "already"]
    assert port.node.commands == ["capture_event", "capture_event"]


def test_an_event_with_an_error_declaration_is_captured_and_then_declared(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    port.gate("maker", READ_POINT)
    maker = as_person(dawan, "maker")
    file = tmp_path / "wrong.json"
    declared = {"declarationTime": "2025-11-26T00:00:00Z", "reason": "incorrect_data"}
    file.write_bytes(document(EVENT | {"errorDeclaration": declared}))
    assert verdicts(rows_of(dawan, "import-epcis", str(file), *maker)) == ["recorded", "recorded"]
    assert port.node.commands == ["capture_event", "declare_error"]
    assert verdicts(rows_of(dawan, "import-epcis", str(file), *maker)) == ["already", "already"]
    file.write_bytes(document(EVENT))
    assert verdicts(rows_of(dawan, "import-epcis", str(file), *maker, code=4)) == ["rejected E_ERRONEOUS"]


def test_half_a_document_is_never_sent_unless_asked_for(dawan: CommandLine, port: Port, tmp_path: Path) -> None:
    port.gate("maker", READ_POINT)
    maker = as_person(dawan, "maker")
    file = tmp_path / "half.json"
    file.write_bytes(document(EVENT, EVENT | {"colour": "red"}, EVENT | {"action": "OBSERVE"}))
    held = ["held E_DOCUMENT_HELD", "refused E_UNKNOWN_FIELD", "held E_DOCUMENT_HELD"]
    assert verdicts(rows_of(dawan, "import-epcis", str(file), *maker, code=1)) == held
    assert port.node.submitted == []
    parts = rows_of(dawan, "import-epcis", str(file), *maker, "--partial", code=1)
    assert verdicts(parts) == ["recorded", "refused E_UNKNOWN_FIELD", "recorded"]


def test_an_event_about_what_an_earlier_one_made_waits_until_that_is_final(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    """Commissioned, packed, observed: each needs the one before, so none travels with it."""
    port.gate("maker", READ_POINT)
    pallets = [f"urn:epc:id:sscc:4012345.{number:010d}" for number in range(4)]
    told = {"eventTime": "2025-11-25T08:00:00+08:00", "eventTimeZoneOffset": "+08:00", "readPoint": {"id": READ_POINT}}
    made = told | {"type": "ObjectEvent", "action": "ADD", "epcList": pallets[:2]}
    other = told | {"type": "ObjectEvent", "action": "ADD", "epcList": pallets[2:]}
    packed = told | {"type": "AggregationEvent", "action": "ADD", "parentID": pallets[0], "childEPCs": [pallets[1]]}
    file = tmp_path / "day.json"
    file.write_bytes(document(made, other, packed))
    rows = rows_of(dawan, "import-epcis", str(file), *as_person(dawan, "maker"))
    assert verdicts(rows) == ["recorded"] * 3
    assert port.node.block_sizes == [2, 1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[" * 200_000 + b"]" * 200_000, "E_MALFORMED_JSON"),
        (b'{"type": "ObjectEvent", "eventTime": 1' + b"0" * 100_000 + b"}", "E_MALFORMED_JSON"),
        (b'{"type": "ObjectEvent", "eventTime": 1e999999999}', "E_MALFORMED_JSON"),
        (b'{"type": "ObjectEvent", "type": "AggregationEvent"}', "E_MALFORMED_JSON"),
        (b'{"type": "ObjectEvent", "action": "\xff\xfe"}', "E_MALFORMED_JSON"),
        (b'{"type": "ObjectEvent", "value": NaN}', "E_MALFORMED_JSON"),
        (b'{"type": "ObjectEvent", "evil:x": {"evil:x": 1}}', "E_UNKNOWN_FIELD"),
        (b'{"type": "EPCISDocument", "epcisBody": {"eventList": []}}', "E_NO_EVENTS"),
        (b"<?xml version='1.0'?><EPCISDocument/>", "E_MALFORMED_JSON"),
        (b"", "E_MALFORMED_JSON"),
    ],
)
def test_a_hostile_document_is_one_refusal_and_the_next_one_is_read(
    dawan: CommandLine, tmp_path: Path, data: bytes, reason: str
) -> None:
    (tmp_path / "a.json").write_bytes(data)
    (tmp_path / "b.json").write_bytes(document(EVENT))
    rows = rows_of(dawan, "import-epcis", str(tmp_path / "a.json"), str(tmp_path / "b.json"), code=1)
    assert verdicts(rows) == [f"refused {reason}", "acceptable"]


def test_a_context_is_never_fetched(dawan: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look at the network would raise; a context on loopback would be answered with the same hash as without."""
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an importer opened a connection")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    far = json.loads(document(EVENT)) | {"@context": ["http://127.0.0.1:9/ctx.jsonld", *CONTEXT, "file:///etc/passwd"]}
    (tmp_path / "far.json").write_text(json.dumps(far))
    (row,) = rows_of(dawan, "import-epcis", str(tmp_path / "far.json"))
    assert row["event"] == read_epcis(document(EVENT)).events[0].event_id


def test_what_was_captured_is_exported_and_is_the_same_when_imported_again(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    port.gate("maker", READ_POINT)
    maker = as_person(dawan, "maker")
    file, out = tmp_path / "day.json", tmp_path / "out.jsonld"
    declared = {"declarationTime": "2025-11-26T00:00:00Z", "reason": "incorrect_data"}
    observed = EVENT | {"action": "OBSERVE", "ex:lots": [{"ex:lot": "1"}, {"ex:lot": "2"}], "ex:dry": True}
    file.write_bytes(document(observed, EVENT | {"errorDeclaration": declared}))
    first = rows_of(dawan, "import-epcis", str(file), *maker)
    done = dawan("logistics", "export-epcis", "-c", "trade", "--out", str(out))
    assert done.exit_code == 0 and "2 events written" in done.stderr
    reading = read_epcis(out.read_bytes())
    assert reading.refusals == []
    assert [draft.event_id for draft in reading.events] == [first[0]["event"], first[1]["event"]]
    assert [draft.error is not None for draft in reading.events] == [False, True]
    assert set(verdicts(rows_of(dawan, "import-epcis", str(out), *maker))) == {"already"}
    lines = dawan(
        "logistics", "export-epcis", "-c", "trade", "--epc", EVENT["parentID"], "--until", "2025-01-01T00:00:00Z"
    )
    assert (lines.exit_code, lines.stdout) == (0, "")
    assert dawan("logistics", "export-epcis", "-c", "trade", "--out", str(out)).exit_code == 1, "nothing is overwritten"


@needs_data
def test_the_published_documents_are_captured_under_the_published_hashes(dawan: CommandLine, port: Port) -> None:
    """Show 3: every file of the folder, its hashes, and which order of lists each needs."""
    rows = rows_of(dawan, "import-epcis", str(DATA / "epcis"), "--compare-hashes", "--dry-run")
    events = [row for row in rows if row["kind"] != "errorDeclaration"]
    found = {(row["file"], row["position"]): row["published"] for row in events}
    by_name = {("epcisDocWithVariousEventTypes.jsonld", place) for place in (0, 1)}
    assert {place for place, said in found.items() if said == "equal, order by name"} == by_name
    assert {said for place, said in found.items() if place not in by_name} == {"equal in either order"}
    assert (len(found), len({name for name, _ in found})) == (22, 8)
    for point in _read_points():
        port.gate("maker", point)
    # What the samples unpack and consume must have been packed and commissioned before them.
    sscc = "urn:epc:id:sscc:4012344."
    packed = {f"{sscc}0111111144": [4], f"{sscc}0998811122": [3, 4, 5]}
    before = {"read_point": _read_points()[0], "time_ms": 1_500_000_000_000}
    for parent, last in packed.items():
        children = [f"{sscc}099881112{digit}" if len(last) > 1 else f"{sscc}0999999999" for digit in last]
        port.ok("maker", "capture_event", event=port.event("ADD", children, parent=parent, **before))
    inputs = ["urn:epc:id:sgtin:4012345.011122.25", "urn:epc:id:sgtin:4000001.065432.99886655"]
    port.ok("maker", "capture_event", event=port.event("ADD", inputs, **before))
    maker = as_person(dawan, "maker")
    sent = rows_of(dawan, "import-epcis", str(DATA / "epcis"), *maker, code=4)
    # Three of the samples consume the same two objects, which can be consumed once.
    twice = {("epcisDocWithVariousEventTypes.jsonld", place) for place in (11, 12)}
    assert {(row["file"], row["position"]) for row in sent if row["verdict"] != "recorded"} == twice
    assert {row["reason"] for row in sent if row["verdict"] != "recorded"} == {"E_ITEM_STATE"}
    on_chain = {each.digest for each in port.kit.query("events", {})[0]}
    assert {_digest(row) for row in sent if row["verdict"] == "recorded"} <= on_chain
    again = rows_of(dawan, "import-epcis", str(DATA / "epcis"), *maker, code=4)
    assert Counter(verdicts(again)) == Counter({"already": 20, "rejected E_ITEM_STATE": 2})
    exported = dawan("logistics", "export-epcis", "-c", "trade")
    assert exported.exit_code == 0, exported.stderr
    written = {draft.digest for line in exported.stdout.splitlines() for draft in read_epcis(line.encode()).events}
    assert written == {_digest(row) for row in sent if row["verdict"] == "recorded"}, (
        "every kind of event comes out again"
    )


def _read_points() -> list[str]:
    """Every read point of the published events, in its one spelling."""
    drafts = [draft for path in (DATA / "epcis").glob("*.jsonld") for draft in read_epcis(path.read_bytes()).events]
    return sorted({canonical_uri(draft.event["read_point"]) for draft in drafts if "read_point" in draft.event})


def _digest(row: dict[str, Any]) -> bytes:
    return bytes.fromhex(row["event"].partition(";")[2].partition("?")[0])


# -- DCSA


def message(*events: Any) -> str:
    return json.dumps({"events": events})


def test_a_milestone_is_stated_of_the_senders_own_booking_and_once(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    shipment = port.book()
    line = as_person(dawan, "line")
    file = tmp_path / "tnt.json"
    file.write_text(message(DCSA_EVENT))
    (row,) = rows_of(dawan, "import-dcsa", str(file), *line)
    assert (row["verdict"], row["shipment"]) == ("recorded", shipment)
    assert port.milestone(0).source == "evt-1"
    file.write_text(message(dict(reversed(DCSA_EVENT.items())) | {"eventDateTime": "2025-11-25T00:00:00Z"}))
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line)) == ["already"]
    assert port.node.commands == ["state_milestone"]
    file.write_text(message(DCSA_EVENT | {"eventDateTime": "2025-11-25T00:00:01Z"}))
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line, code=4)) == ["rejected E_STATED"]
    assert port.node.commands == ["state_milestone"]


def test_an_unknown_code_is_refused_by_the_chain_alone_and_one_without_form_by_the_reader(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    port.book()
    line = as_person(dawan, "line")
    kind = DCSA_EVENT["eventClassification"]
    unknown = DCSA_EVENT | {"eventID": "evt-2", "eventClassification": kind | {"transportEventTypeCode": "ZZZZ"}}
    malformed = DCSA_EVENT | {"eventID": "evt-3", "eventClassification": kind | {"transportEventTypeCode": "arri"}}
    file = tmp_path / "tnt.json"
    file.write_text(message(unknown, DCSA_EVENT))
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line, code=4)) == ["rejected E_CODE", "recorded"]
    file.write_text(message(DCSA_EVENT, malformed))
    held = rows_of(dawan, "import-dcsa", str(file), *line, code=1)
    assert verdicts(held) == ["held E_DOCUMENT_HELD", "refused E_CODE"]


def test_a_retraction_finds_what_it_retracts_and_is_made_once(dawan: CommandLine, port: Port, tmp_path: Path) -> None:
    shipment = port.book()
    line = as_person(dawan, "line")
    file = tmp_path / "tnt.json"
    file.write_text(message(DCSA_EVENT, {"eventID": "evt-9", "retractedEventID": "evt-1"}))
    named = ["--map", f"*={shipment}"]
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line, *named)) == ["recorded", "recorded"]
    assert port.milestone(0).retracted_ms > 0
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line, *named)) == ["already", "already"]
    file.write_text(message({"eventID": "evt-9", "retractedEventID": "evt-7"}))
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line, *named, code=1)) == ["refused E_UNKNOWN_EVENT"]
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *line, code=1)) == ["refused E_UNKNOWN_SHIPMENT"]


def test_temperatures_go_to_the_logger_that_watches_or_is_named_and_once(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    port.book()
    port.watch()
    sensors = as_person(dawan, "sensors")
    probes = {"temperatureUnit": "CEL", "temperatureProbeMeasurements": [{"measuredTemperatureValue": 4.25}]}
    when = to_instant(port.chain().last_ms + 1_000)
    one = REEFER | {"eventDateTime": when, "reeferDetails": probes}
    file = tmp_path / "reefer.json"
    file.write_text(message(one))
    (row,) = rows_of(dawan, "import-dcsa", str(file), *sensors)
    assert (row["verdict"], row["what"], port.chain().samples) == ("recorded", "probe 1: 4.250 CEL", 1)
    assert verdicts(rows_of(dawan, "import-dcsa", str(file), *sensors)) == ["already"]
    later = REEFER | {"eventDateTime": to_instant(port.chain().last_ms + 1_000)}
    file.write_text(message(later))
    two = rows_of(dawan, "import-dcsa", str(file), *sensors, code=1)
    assert verdicts(two) == ["refused E_UNKNOWN_DEVICE"] * 2, "which probe is whose, nobody can guess"
    assert "--device CSQU3054383/2=URI" in two[1]["detail"]
    named = ["--device", f"CSQU3054383/2={LOGGER}", "--partial"]
    mixed = rows_of(dawan, "import-dcsa", str(file), *sensors, *named, code=1)
    assert verdicts(mixed) == ["refused E_UNKNOWN_DEVICE", "recorded"]


def gathered(folder: Path, port: Port) -> Path:
    """A folder as it gathers on a desk: messages of several members, other documents, and something broken."""
    folder.mkdir()
    probes = {"temperatureUnit": "CEL", "temperatureProbeMeasurements": [{"measuredTemperatureValue": 4}]}
    when = to_instant(port.chain().last_ms + 1_000)
    documents: dict[str, Any] = {
        "a-vessel.json": {"events": [DCSA_EVENT]},
        "b-later.json": DCSA_EVENT | {"eventID": "evt-9", "eventDateTime": "2025-11-26T00:00:00Z"},
        "c-reefer.json": {"events": [REEFER | {"eventDateTime": when, "reeferDetails": probes}]},
        "d-bill.json": {"transportDocumentReference": "HKG-0042", "isToOrder": True},
        "e-empty.json": {"events": []},
    }
    for name, found in documents.items():
        (folder / name).write_text(json.dumps(found))
    (folder / "f-broken.json").write_text('{"events": [')
    (folder / "g-many.ndjson").write_text(json.dumps(DCSA_EVENT) + "\n" + json.dumps({"hello": 1}) + "\n")
    (folder / "readme.txt").write_text("not looked at")
    return folder


#: What becomes of them with a carrier's key; of the same event again the chain knows.
GATHERED = {
    "a-vessel.json": "recorded",
    "b-later.json": "recorded",
    "c-reefer.json": "refused E_ROLE",
    "d-bill.json": "refused E_OTHER_DOCUMENT",
    "e-empty.json": "refused E_NO_EVENTS",
    "f-broken.json": "refused E_MALFORMED_JSON",
    "g-many.ndjson:1": "already",
    "g-many.ndjson:2": "refused E_NOT_DCSA",
}


def by_place(rows: list[dict[str, Any]]) -> dict[str, str]:
    places = [f"{row['file']}:{row['line']}" if "line" in row else row["file"] for row in rows]
    return dict(zip(places, verdicts(rows), strict=True))


def test_of_a_folder_each_file_is_taken_for_what_it_holds_and_sent_once(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    port.book()
    port.watch()
    folder = str(gathered(tmp_path / "in", port))
    line = as_person(dawan, "line")
    first = rows_of(dawan, "import-dcsa", folder, *line, code=1)
    assert by_place(first) == GATHERED
    assert "iot_provider" in first[2]["detail"] and "import-pint" in first[3]["detail"]
    assert port.node.commands == ["state_milestone"] * 2, "no refusal of the chain stands on it"
    again = by_place(rows_of(dawan, "import-dcsa", folder, *line, code=1))
    assert again == {**GATHERED, "a-vessel.json": "already", "b-later.json": "already"}
    sensors = by_place(rows_of(dawan, "import-dcsa", folder, *as_person(dawan, "sensors"), code=1))
    assert (sensors["c-reefer.json"], sensors["a-vessel.json"]) == ("recorded", "refused E_ROLE")
    assert port.node.commands == ["state_milestone"] * 2 + ["record_samples"]


def test_a_folder_whose_import_was_cut_off_goes_on_where_it_was(dawan: CommandLine, port: Port, tmp_path: Path) -> None:
    port.book()
    port.watch()
    folder = str(gathered(tmp_path / "in", port))
    line = as_person(dawan, "line")
    port.node.commits, port.node.lands = False, True
    cut = rows_of(dawan, "import-dcsa", folder, *line, "--patience", "1", code=5)
    assert by_place(cut)["a-vessel.json"].startswith("unknown")
    port.node.commits = True
    again = by_place(rows_of(dawan, "import-dcsa", folder, *line, code=1))
    assert again["a-vessel.json"] == "already" and again["b-later.json"] in ("already", "recorded")
    assert port.node.commands == ["state_milestone"] * 2


def test_standard_input_holds_one_message_or_with_lines_many(dawan: CommandLine, port: Port) -> None:
    port.book()
    line = as_person(dawan, "line")
    (row,) = rows_of(dawan, "import-dcsa", "-", *line, given=message(DCSA_EVENT))
    assert (row["file"], row["verdict"], row["kind"]) == ("-", "recorded", "TRANSPORT")
    other = DCSA_EVENT | {"eventID": "evt-8", "eventDateTime": "2025-11-26T00:00:00Z"}
    lines = "".join(json.dumps(each) + "\n" for each in (DCSA_EVENT, {"transportDocumentReference": "T"}, other))
    rows = rows_of(dawan, "import-dcsa", "-", "--lines", *line, given=lines, code=1)
    assert by_place(rows) == {"-:1": "already", "-:2": "refused E_OTHER_DOCUMENT", "-:3": "recorded"}


def test_a_shipments_milestones_are_exported_and_the_same_when_imported_again(
    dawan: CommandLine, port: Port, tmp_path: Path
) -> None:
    shipment = port.book()
    line = as_person(dawan, "line")
    file = tmp_path / "tnt.json"
    file.write_text(message(DCSA_EVENT, DCSA_EVENT | {"eventID": "evt-2", "eventDateTime": "2025-11-26T00:00:00Z"}))
    rows_of(dawan, "import-dcsa", str(file), *line)
    done = dawan("logistics", "export-dcsa", shipment, "-c", "trade", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    (out,) = (tmp_path / "out").iterdir()
    assert [event["eventID"] for event in json.loads(out.read_bytes())["events"]] == ["evt-1", "evt-2"]
    assert verdicts(rows_of(dawan, "import-dcsa", str(out), *line)) == ["already", "already"]
    assert dawan("logistics", "export-dcsa", "hk/none", "-c", "trade").exit_code == 1


@needs_data
def test_the_published_messages_are_stated_where_their_shipment_is_booked(
    dawan: CommandLine, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show 3: the three messages of the standard, and the transport document, which is no message of events."""
    folder = str(DATA / "dcsa")
    rows = rows_of(dawan, "import-dcsa", folder, code=1)
    assert [(row["file"], row.get("kind", ""), row["verdict"], row["reason"]) for row in rows] == [
        ("pint-3.0.0-transport-document.json", "", "refused", "E_OTHER_DOCUMENT"),
        ("tnt-300-request-equipment.json", "EQUIPMENT", "acceptable", ""),
        ("tnt-300-request-reefer.json", "REEFER", "acceptable", ""),
        ("tnt-300-request-reefer.json", "REEFER", "acceptable", ""),
        ("tnt-300-request-transport.json", "TRANSPORT", "acceptable", ""),
    ]
    ship, trucks = "1234567", {"mode": "TRUCK", "document_kind": "NONE", "document": "", "load_place": "NLRTM"}
    at = [{"place": place, "org": "yantian"} for place in ("NLRTM", "DEHAM", "HKHKG")]
    monkeypatch.setattr(import_pipeline, "time", SimpleNamespace(time_ns=lambda: port.kit.time_ms * 1_000_000))
    port.kit.time_ms = from_instant("2026-01-20T00:00:00Z", "")
    port.start = port.kit.time_ms
    box = port.book("BOX-1", **trucks, terminals=at, discharge_place="HKHKG", equipment=["APZU4812090"])
    sea = {"mode": "VESSEL", "load_place": "NLRTM", "terminals": at, "discharge_place": "HKHKG"}
    port.book("ABC709951", **sea)
    for code in ("GTIN", "LOAD", "DEPA"):
        aboard = {} if code == "GTIN" else {"vessel": ship}
        person = "yantian" if code == "GTIN" else "line"
        port.did(person, code, "NLRTM", "hk/ABC709951", **aboard)
    port.did("yantian", "GTIN", "NLRTM", box)
    port.kit.time_ms = from_instant("2026-01-20T17:00:00Z", "")
    port.watch(box)
    port.kit.time_ms = from_instant("2026-01-20T19:00:00Z", "")
    line, sensors = as_person(dawan, "line"), as_person(dawan, "sensors")
    bill = "refused E_OTHER_DOCUMENT"
    stated = rows_of(dawan, "import-dcsa", folder, *line, code=1)
    assert verdicts(stated) == [bill, "recorded", "refused E_ROLE", "refused E_ROLE", "recorded"]
    assert [row.get("shipment") for row in stated if row["verdict"] == "recorded"] == [box, "hk/ABC709951"]
    probe = ["--device", f"APZU4812090/1={LOGGER}", "--partial"]
    measured = rows_of(dawan, "import-dcsa", folder, *sensors, *probe, code=1)
    one_place = [bill, "refused E_ROLE", "recorded", "refused E_UNKNOWN_DEVICE", "refused E_ROLE"]
    assert verdicts(measured) == one_place, "one logger measures at one place"
    assert port.milestone(1, box).source == "evt-equip-001-2026-01-20T14:15:00Z"
    sent = len(port.node.submitted)
    again = rows_of(dawan, "import-dcsa", folder, *line, code=1)
    assert verdicts(again) == [bill, "already", "refused E_ROLE", "refused E_ROLE", "already"]
    assert verdicts(rows_of(dawan, "import-dcsa", folder, *sensors, *probe, code=1))[2] == "already"
    assert len(port.node.submitted) == sent, "a folder that was imported sends nothing"
