"""A hundred thousand invoices with broken ones in the middle: the memory of a hundred, and none lost.

The node behind it keeps what it is sent without executing modules: what is tested is the importer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.api import At, ReceiptInfo, StateInfo
from tests.cli.node_in_reach import command_line
from tests.cli.test_import_resume import ROOT, as_supplier, one_line
from tests.cli.test_trade import TradeNode

#: What an importer of ten thousand more lines may need more: allocators round up, lists do not.
GROWTH_KIB_MAX = 24 * 1024


class Ledger(TradeNode):
    """Remembers the document of every invoice, counts transactions, and executes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[bytes, bytes] = {}
        self.transactions = 0

    def _execute(self, envelopes: Sequence[bytes]) -> None:
        self.receipts.clear()
        self.submitted.clear()
        for index, envelope in enumerate(envelopes):
            tx = Transaction.decode(envelope)
            args = tx.body.args
            number = normalised_number(args["number"])
            assert number is not None
            total = Money(*args["total"])
            key = invoice_id("gz-supplier", args["buyer"], number, args["issue_date"], total).encode()
            assert key not in self.documents, "sent twice"
            self.documents[key] = args["document"]
            self.transactions += 1
            receipt = Receipt(tx.tx_id, 1, index, 0, "", [])
            self.receipts[tx.tx_id] = ReceiptInfo(receipt, b"\xaa" * 32, "receivable")

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> StateInfo:
        document = self.documents.get(key)
        return StateInfo(1, document, None if document is None else {"document": document}, None)


def imported(folder: Path, node: Ledger, count: int, broken_every: int) -> tuple[int, str, int]:
    """Exit code, standard error and peak memory (KiB) of an importer in a process of its own."""
    file = folder / "invoices.ndxml"
    with file.open("wb") as stream:
        for number in range(count):
            whole = number % broken_every != broken_every // 2
            stream.write((one_line(f"INV-{number}") if whole else b"<cut off \xff") + b"\n")
    with command_line(folder, node=node) as line:
        command = [
            sys.executable,
            "-c",
            "from dawan_node.cli.main import main; main()",
            "trade",
            "import-ubl",
            str(file),
        ]
        command += [*as_supplier(line), "--buyer", "gz-buyer"]
        errors = folder / "errors"
        with errors.open("wb") as said, (folder / "report").open("wb") as report:
            child = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **line.environment}, stdout=report, stderr=said
            )
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, errors.read_text(), used.ru_maxrss


@pytest.mark.extended
def test_a_hundred_thousand_invoices_with_broken_lines_need_the_memory_of_a_few(tmp_path: Path) -> None:
    small, large = Ledger(), Ledger()
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    code, _, little = imported(tmp_path / "small", small, 5_000, 1_000)
    assert (code, small.transactions) == (1, 4_995)
    code, said, much = imported(tmp_path / "large", large, 101_000, 1_000)
    assert code == 1
    assert "101,000 records" in said and "100,899 recorded, 101 refused" in said
    assert large.transactions == len(large.documents) == 100_899
    assert much - little < GROWTH_KIB_MAX, f"{little} KiB for 5,000 invoices, {much} KiB for 101,000"
    code, said, _ = imported(tmp_path / "large", large, 101_000, 1_000)
    assert "100,899 already, 101 refused" in said
    assert large.transactions == 100_899, "the second run sent nothing"
