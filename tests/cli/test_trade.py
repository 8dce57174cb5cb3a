"""``trade import-ubl``: what it shows, what it sends, and its exit codes, against a chain in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.cli.demo_invoices import BUYER, credit_note, invoice
from dawan_node.interchange.ubl import read_document
from dawan_node.modules.receivable import module
from dawan_node.modules.receivable.entities import Invoice
from dawan_node.testing.module_kit import ModuleKit, private_key_of
from tests.cli.module_node import KitNode, now_ms
from tests.cli.node_in_reach import CommandLine, command_line

REAL_FILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "ubl"
SUPPLIER = private_key_of("gz-supplier")


PEOPLE = {"gz-supplier": ("gz", ["supplier"]), "gz-buyer": ("gz", ["buyer"])}


class TradeNode(KitNode):
    """A receivable channel in reach."""

    def __init__(self) -> None:
        super().__init__(ModuleKit([module], PEOPLE, created_ms=now_ms()), PEOPLE)

    def invoices(self) -> list[Invoice]:
        items, _ = self.kit.query("invoices", {"party": "gz-supplier"})
        return list(items)


@pytest.fixture
def node() -> TradeNode:
    return TradeNode()


@pytest.fixture
def dawan(tmp_path: Path, node: TradeNode) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=node) as line:
        yield line


@pytest.fixture
def paper(tmp_path: Path) -> str:
    file = tmp_path / "inv-7.xml"
    file.write_bytes(invoice("INV-7", BUYER, "2026-03-01", "2026-05-30", "CNY", "1130.00", "130.00"))
    return str(file)


def test_without_a_key_it_only_says_what_it_read(dawan: CommandLine, node: TradeNode, paper: str) -> None:
    (row,) = dawan.json("trade", "import-ubl", paper, "-o", "json")
    assert (row["number"], row["verdict"], row["payable"]) == (
        "INV-7",
        "acceptable",
        {"currency": "CNY", "amount": "1130.00"},
    )
    assert row["customer"]["identifiers"] == [{"scheme": "USCC", "value": BUYER.identifier}]
    assert node.submitted == []
    table = dawan("trade", "import-ubl", paper)
    assert "INV-7" in table.stdout
    assert "CNY 1130.00" in table.stdout
    assert "Nothing was sent" in table.stderr


def test_with_a_key_it_records_and_a_second_time_is_told_so(dawan: CommandLine, node: TradeNode, paper: str) -> None:
    key = dawan.make_key("gz-supplier", SUPPLIER)
    who = ["--map", f"USCC:{BUYER.identifier}=gz-buyer"]
    (row,) = dawan.json("trade", "import-ubl", paper, *key, *who, "-o", "json")
    assert row["verdict"] == "recorded"
    assert row["height"] == 1
    (recorded,) = node.invoices()
    assert (recorded.number, recorded.buyer, recorded.total.minor, recorded.tax_minor) == (
        "INV-7",
        "gz-buyer",
        113_000,
        13_000,
    )
    assert "0x" + recorded.document.hex() == row["document_sha256"]
    assert recorded.buyer_identifier == f"USCC:{BUYER.identifier}"
    (again,) = dawan.json("trade", "import-ubl", paper, *key, *who, "-o", "json")
    assert (again["verdict"], len(node.commands)) == ("already", 1), "the second run sent nothing"


def test_the_same_invoice_on_another_paper_is_refused_and_not_sent(
    dawan: CommandLine, node: TradeNode, paper: str, tmp_path: Path
) -> None:
    options = [*dawan.make_key("gz-supplier", SUPPLIER), "--buyer", "gz-buyer", "-o", "json"]
    other = tmp_path / "copy.xml"
    other.write_bytes(Path(paper).read_bytes() + b"<!-- another paper -->")
    done = dawan("trade", "import-ubl", paper, str(other), *options)
    assert done.exit_code == 4
    rows = json.loads(done.stdout)
    assert [(row["verdict"], row["reason"]) for row in rows] == [("recorded", ""), ("rejected", "E_DUP_INVOICE")]
    assert rows[0]["document_sha256"] in rows[1]["detail"]
    assert node.commands == ["record_invoice"]


def test_a_dry_run_sends_nothing_even_with_a_key(dawan: CommandLine, node: TradeNode, paper: str) -> None:
    key = dawan.make_key("gz-supplier", SUPPLIER)
    assert dawan("trade", "import-ubl", paper, *key, "--dry-run").exit_code == 0
    assert node.submitted == []


def test_an_unknown_buyer_is_asked_for_before_anything_is_sent(dawan: CommandLine, node: TradeNode, paper: str) -> None:
    key = dawan.make_key("gz-supplier", SUPPLIER)
    done = dawan("trade", "import-ubl", paper, *key)
    assert done.exit_code == 2
    assert "--map" in done.stderr
    assert node.submitted == []
    assert dawan("trade", "import-ubl", paper, "--map", "no-equals-sign").exit_code == 2


def test_a_refused_document_does_not_stop_the_others(
    dawan: CommandLine, node: TradeNode, paper: str, tmp_path: Path
) -> None:
    (tmp_path / "cn.xml").write_bytes(credit_note("CN-7", BUYER, "2026-03-01", "CNY", "5.00"))
    (tmp_path / "bomb.xml").write_bytes(b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    key = dawan.make_key("gz-supplier", SUPPLIER)
    done = dawan("trade", "import-ubl", str(tmp_path), *key, "--buyer", "gz-buyer", "-o", "json")
    assert done.exit_code == 1
    verdicts = {row["file"]: (row["verdict"], row["reason"]) for row in json.loads(done.stdout)}
    assert verdicts == {
        "bomb.xml": ("refused", "E_UNSAFE_XML"),
        "cn.xml": ("refused", "E_CREDIT_NOTE"),
        "inv-7.xml": ("recorded", ""),
    }
    assert len(node.invoices()) == 1


def test_every_reason_is_named_and_explained(dawan: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "cn.xml").write_bytes(credit_note("CN-7", BUYER, "2026-03-01", "CNY", "5.00"))
    (tmp_path / "minus.xml").write_bytes(invoice("INV-8", BUYER, "2026-03-01", "2026-05-30", "CNY", "-5.00", "0.00"))
    done = dawan("trade", "import-ubl", str(tmp_path))
    assert "2 of 2 refused: E_CREDIT_NOTE, E_NEGATIVE_AMOUNT." in done.stderr
    assert "minus.xml: payable -5.00 is negative" in done.stdout


def test_a_wait_that_ends_is_unknown_not_failed(dawan: CommandLine, node: TradeNode, paper: str) -> None:
    node.commits = False
    key = dawan.make_key("gz-supplier", SUPPLIER)
    done = dawan("trade", "import-ubl", paper, *key, "--buyer", "gz-buyer", "--patience", "1", "-o", "json")
    assert done.exit_code == 5
    assert json.loads(done.stdout)[0]["verdict"] == "unknown"


def test_a_default_term_is_an_explicit_choice(dawan: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "open.xml"
    text = invoice("INV-8", BUYER, "2026-03-01", "2026-05-30", "CNY", "1.00", "0.00").decode()
    file.write_text(text.replace("<cbc:DueDate>2026-05-30</cbc:DueDate>", ""), encoding="utf-8")
    refused = dawan("trade", "import-ubl", str(file), "-o", "json")
    assert json.loads(refused.stdout)[0]["reason"] == "E_NO_DUE_DATE"
    (row,) = dawan.json("trade", "import-ubl", str(file), "--due", "30", "-o", "json")
    assert row["due_date"] == "2026-03-31"
    assert row["warnings"] != []


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason=f"NOT RUN: the real UBL files are not at {REAL_FILES}")
def test_the_real_files_are_recorded_or_refused(dawan: CommandLine, node: TradeNode) -> None:
    key = dawan.make_key("gz-supplier", SUPPLIER)
    done = dawan("trade", "import-ubl", str(REAL_FILES), *key, "--buyer", "gz-buyer", "-o", "json")
    reasons = {row["file"]: row["reason"] for row in json.loads(done.stdout) if row["reason"]}
    assert reasons == {
        "BIS3_Invoice_negativ.xml": "E_NEGATIVE_AMOUNT",
        "ubl-tc434-creditnote1.xml": "E_CREDIT_NOTE",
        "ubl-tc434-example1.xml": "E_DUP_INVOICE",
    }
    assert len(node.invoices()) == 4


def test_recorded_invoices_are_exported_as_copies_that_say_so_and_are_recognised(
    dawan: CommandLine, node: TradeNode, paper: str, tmp_path: Path
) -> None:
    key = dawan.make_key("gz-supplier", SUPPLIER)
    options = [*key, "--map", f"USCC:{BUYER.identifier}=gz-buyer"]
    (before,) = dawan.json("trade", "import-ubl", paper, *options, "-o", "json")
    done = dawan("trade", "export-ubl", "--party", "gz-supplier", "-c", "trade", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0 and "copies of the facts" in done.stderr
    (written,) = (tmp_path / "out").iterdir()
    text = written.read_text(encoding="utf-8")
    assert "<cbc:CopyIndicator>true</cbc:CopyIndicator>" in text
    assert f"DAWAN:trade:{before['invoice']}" in text and before["document_sha256"][2:] in text
    read = read_document(written.read_bytes())
    assert read.refusal is None
    for name in ("number", "issue_date", "due_date"):
        assert getattr(read.draft, name) == before[name]
    assert (read.draft.payable_minor, read.draft.tax_minor) == (113_000, 13_000)
    again = dawan("trade", "import-ubl", str(written), *options, "-o", "json")
    assert (again.exit_code, json.loads(again.stdout)[0]["reason"]) == (4, "E_DUP_INVOICE")
    assert node.commands == ["record_invoice"], "a copy is recognised before it is sent"
    (line,) = dawan("trade", "export-ubl", "--invoice", before["invoice"], "-c", "trade").stdout.splitlines()
    assert line.encode() == written.read_bytes()
    assert dawan("trade", "export-ubl", "--invoice", "a/b/c", "-c", "trade").exit_code == 1
    assert dawan("trade", "export-ubl", "-c", "trade").exit_code == 2
