"""``title import-pint`` and ``export-pint``, against a channel in memory with a carrier and a platform enrolled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dawan_node.cli.import_pipeline import Pipeline
from dawan_node.cli.import_record import Record
from dawan_node.interchange.canonical_json import canonical, checksum
from dawan_node.interchange.transport_document import read_envelope
from dawan_node.testing.module_kit import private_key_of
from tests.cli.module_node import KitNode, now_ms
from tests.cli.node_in_reach import CommandLine, command_line
from tests.interchange.test_transport_document import DOCUMENT
from tests.modules.title_envelope_kit import act, first, hash_of, issuance, manifest, sign
from tests.modules.title_kit import CARRIER, PEOPLE, Sea

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dcsa" / "pint-3.0.0-transport-document.json"
TITLE = f"{CARRIER}/WAVE-7"
INVOICE = b"invoice"


@pytest.fixture
def sea() -> Sea:
    sea = Sea()
    sea.kit.time_ms = now_ms()
    return sea


@pytest.fixture
def node(sea: Sea) -> KitNode:
    return KitNode(sea.kit, PEOPLE)


@pytest.fixture
def dawan(tmp_path: Path, node: KitNode) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=node) as line:
        yield line


def as_person(dawan: CommandLine, person: str) -> list[str]:
    return [*dawan.make_key(person, private_key_of(person)), "-c", "trade"]


def envelope_file(folder: Path, **document: Any) -> Path:
    """An envelope as a file, with one supporting document listed, addressed to the buyer of this channel."""
    digest = checksum(json.dumps(DOCUMENT | document).encode())
    entry = first(
        act("ISSUE", "HMM", "ACME"), act("BLANK_ENDORSE", "ACME"), act("TRANSFER", "ACME", "buyer", "DAWAN"),
        checksum=digest, issuanceManifestSignedContent=issuance(digest),
    )  # fmt: skip
    chain = sign(entry)
    listed = [{"name": "invoice.pdf", "size": len(INVOICE), "documentChecksum": hashlib.sha256(INVOICE).hexdigest()}]
    file = folder / "envelope.json"
    whole = {
        "transportDocument": DOCUMENT | document,
        "envelopeManifestSignedContent": sign(manifest(hash_of(chain), digest, listed)),
        "envelopeTransferChain": [chain],
    }
    file.write_text(json.dumps(whole))
    return file


def rows_of(dawan: CommandLine, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = dawan("title", "import-pint", *arguments, "-o", "json")
    assert done.exit_code == code, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_an_envelope_is_received_once_and_kept_with_its_warning(
    dawan: CommandLine, node: KitNode, sea: Sea, tmp_path: Path
) -> None:
    file = envelope_file(tmp_path)
    (tmp_path / "invoice.pdf").write_bytes(INVOICE)
    wave = as_person(dawan, "wave")
    (row,) = rows_of(dawan, str(file), *wave, "--readers", "mo")
    assert (row["verdict"], row["title"], row["recipient"], row["missing"]) == ("recorded", TITLE, "buyer", [])
    assert row["warnings"] == ["container CSQU3054384: check digit 4, expected 3"]
    assert sea.control(TITLE) == ("ISSUED", "buyer", "")
    assert [box.consistent for box in sea.get(TITLE).bill.boxes] == [False], "the warning stands on the record"
    salted = hashlib.sha256(bytes.fromhex(row["salt"][2:]) + canonical(json.dumps(DOCUMENT).encode())).digest()
    assert sea.get(TITLE).digest == salted, "whoever has salt and document proves it"
    (again,) = rows_of(dawan, str(file), *wave)
    assert (again["verdict"], again["answer"]) == ("already", "DUPE")
    assert node.commands == ["receive_envelope"]


def test_a_document_that_did_not_come_is_answered_by_the_chain(
    dawan: CommandLine, node: KitNode, tmp_path: Path
) -> None:
    file = envelope_file(tmp_path)
    wave = as_person(dawan, "wave")
    (row,) = rows_of(dawan, str(file), *wave, code=4)
    assert (row["verdict"], row["reason"]) == ("rejected", "E_PINT_MDOC")
    assert row["missing"] == ["0x" + hashlib.sha256(INVOICE).hexdigest()]
    table = dawan("title", "import-pint", str(file), *wave).stdout
    assert "MDOC" in table
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "x.pdf").write_bytes(INVOICE)
    assert rows_of(dawan, str(file), *wave, "--documents", str(papers))[0]["verdict"] == "recorded"


def test_an_envelope_to_nobody_here_or_over_another_document_is_refused(
    dawan: CommandLine, node: KitNode, tmp_path: Path
) -> None:
    file = envelope_file(tmp_path)
    spoilt = json.loads(file.read_bytes())
    spoilt["transportDocument"]["isToOrder"] = False
    (tmp_path / "spoilt.json").write_text(json.dumps(spoilt))
    (row,) = rows_of(dawan, str(tmp_path / "spoilt.json"), *as_person(dawan, "wave"), code=1)
    assert row["reason"] == "E_NOT_PINT" and "another one" in row["detail"]
    for hostile in (b"[" * 100_000, b'{"a":1,"a":2}', b"\xff", b"{}", b'{"envelopeManifestSignedContent": 3}'):
        (tmp_path / "hostile.json").write_bytes(hostile)
        assert rows_of(dawan, str(tmp_path / "hostile.json"), code=1)[0]["verdict"] == "refused"
    assert node.submitted == []


def test_a_transport_document_becomes_a_draft_of_the_carrier_and_once(
    dawan: CommandLine, node: KitNode, sea: Sea, tmp_path: Path
) -> None:
    file = tmp_path / "bill.json"
    boxes = [{"equipment": {"equipmentReference": "CSQU3054383", "ISOEquipmentCode": "22G1"}}]
    file.write_text(json.dumps(DOCUMENT | {"utilizedTransportEquipments": boxes}))
    liner = as_person(dawan, "liner")
    (row,) = rows_of(dawan, str(file), *liner, code=1)
    assert row["reason"] == "E_UNKNOWN_PARTY" and "ACME Trading" in row["detail"]
    named = ["--map", "ACME Trading=shipper"]
    assert rows_of(dawan, str(file), *liner, *named)[0]["verdict"] == "recorded"
    assert sea.get(TITLE).state == "DRAFT"
    assert rows_of(dawan, str(file), *liner, *named)[0]["verdict"] == "already"
    assert node.commands == ["draft_title"]


def test_a_draft_is_there_only_with_its_whole_bill_and_is_replaced_only_when_asked(
    dawan: CommandLine, node: KitNode, sea: Sea, tmp_path: Path
) -> None:
    boxes = [{"equipment": {"equipmentReference": "CSQU3054383", "ISOEquipmentCode": "22G1"}}]
    first = DOCUMENT | {"utilizedTransportEquipments": boxes}
    folder = tmp_path / "drafts"
    folder.mkdir()
    (folder / "v1.json").write_text(json.dumps(first))
    (folder / "v2.json").write_text(json.dumps(first | {"shippedOnBoardDate": "2025-11-21"}))
    liner, named = as_person(dawan, "liner"), ["--map", "ACME Trading=shipper"]
    for verdicts in (["recorded", "rejected"], ["already", "rejected"]):
        rows = rows_of(dawan, str(folder), *liner, *named, code=4)
        assert [row["verdict"] for row in rows] == verdicts
        assert rows[1]["reason"] == "E_OTHER_DRAFT" and "--replace" in rows[1]["detail"]
    other = ["--map", "ACME Trading=buyer"]
    (row,) = rows_of(dawan, str(folder / "v1.json"), *liner, *other, code=4)
    assert row["reason"] == "E_OTHER_DRAFT", "the same document for other parties is another bill"
    sea.ok("shipper", "approve_draft", title=TITLE, checksum=sea.get(TITLE).checksum)
    (row,) = rows_of(dawan, str(folder / "v2.json"), *liner, *named, code=4)
    assert "approval" in row["detail"] and sea.get(TITLE).state == "APPROVED"
    assert rows_of(dawan, str(folder / "v2.json"), *liner, *named, "--replace")[0]["verdict"] == "recorded"
    assert (sea.get(TITLE).state, sea.get(TITLE).bill.shipped_on) == ("DRAFT", "2025-11-21")
    assert rows_of(dawan, str(folder / "v1.json"), *liner, *other, "--replace")[0]["verdict"] == "recorded"
    assert sea.get(TITLE).bill.shipper == "buyer"
    assert node.commands == ["draft_title"] * 3


def test_what_waits_for_its_turn_keeps_no_document(
    dawan: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its bytes nor its text: 4 MiB each, thousands of records would take gigabytes."""
    kept: list[tuple[Any, int]] = []
    add = Pipeline.add

    def look(pipeline: Pipeline, record: Record) -> None:
        kept.append((record.draft, record.held_bytes))
        add(pipeline, record)

    monkeypatch.setattr(Pipeline, "add", look)
    file = envelope_file(tmp_path, remarks="x" * 1_000_000)
    (row,) = rows_of(dawan, str(file), *as_person(dawan, "wave"), code=4)
    ((draft, held_bytes),) = kept
    assert draft is None and 0 < held_bytes < 100_000, row["reason"]


def test_an_envelope_is_exported_as_it_was_received_with_what_happened_since(
    dawan: CommandLine, sea: Sea, tmp_path: Path
) -> None:
    file = envelope_file(tmp_path)
    (tmp_path / "invoice.pdf").write_bytes(INVOICE)
    wave = as_person(dawan, "wave")
    rows_of(dawan, str(file), *wave)
    sea.ok("buyer", "transfer_title", title=TITLE, to="bank-hk")
    paper = tmp_path / "document.json"
    paper.write_text(json.dumps(DOCUMENT, indent=3))
    out = tmp_path / "out"
    done = dawan("title", "export-pint", TITLE, "--document", str(paper), "-c", "trade", "--out", str(out))
    assert done.exit_code == 0, done.stderr
    assert "is not signed" in done.stderr
    (written,) = out.iterdir()
    before, after = read_envelope(file.read_bytes()), read_envelope(written.read_bytes())
    assert (after.refusal, after.manifest, after.chain) == ("", before.manifest, before.chain)
    assert after.document.checksum == before.document.checksum
    more = json.loads(written.read_bytes())["dawan"]
    assert (more["holder"], more["state"]) == ("bank-hk", "ISSUED")
    entry = more["unsignedEntry"]
    assert [each["actionCode"] for each in entry["transactions"]] == ["TRANSFER"]
    assert entry["previousEnvelopeTransferChainEntrySignedContentChecksum"] == hash_of(before.chain[-1])
    (again,) = rows_of(dawan, str(written), *wave)
    assert (again["verdict"], again["answer"]) == ("already", "DUPE")


def test_another_document_is_not_put_into_an_envelope(dawan: CommandLine, sea: Sea, tmp_path: Path) -> None:
    title = sea.issued()
    paper = tmp_path / "document.json"
    paper.write_text(json.dumps(DOCUMENT))
    done = dawan("title", "export-pint", title, "--document", str(paper), "-c", "trade")
    assert done.exit_code == 1 and "is not the title's document" in done.stderr
    done = dawan("title", "export-pint", title, "-c", "trade")
    assert done.exit_code == 0 and "issued here" in done.stderr
    whole = json.loads(done.stdout)
    assert "envelopeTransferChain" not in whole
    assert [each["actionCode"] for each in whole["dawan"]["unsignedEntry"]["transactions"]] == ["ISSUE"]
    assert dawan("title", "export-pint", "SMDG-HMM/NONE", "-c", "trade").exit_code == 1


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"NOT RUN: the sample transport document is not at {SAMPLE}")
def test_the_standards_transport_document_is_read_and_its_placeholder_reference_refused(
    dawan: CommandLine, node: KitNode
) -> None:
    """Show 3: it is read whole; its reference of 40 characters is twice as long as the standard allows."""
    assert rows_of(dawan, str(SAMPLE))[0]["verdict"] == "acceptable"
    named = ["--map", "SHIPPER=shipper", "--map", "CONSIGNEE=buyer"]
    (row,) = rows_of(dawan, str(SAMPLE), *as_person(dawan, "liner"), *named, code=4)
    assert (row["verdict"], row["reason"]) == ("rejected", "E_REFERENCE")
