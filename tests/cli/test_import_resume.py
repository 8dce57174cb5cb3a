"""Imports that are interrupted, crowded out or repeated: nothing is lost, nothing is recorded twice."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from dawan_node.cli import import_pipeline
from dawan_node.cli.connect import channel_of
from dawan_node.cli.demo_invoices import BUYER, invoice
from dawan_node.cli.exit_codes import CommandFailed
from dawan_node.cli.import_delivery import Patience
from dawan_node.cli.main import cli
from dawan_node.primitives.codes import Code
from dawan_node.rpc.api import Refusal, StateInfo, SubmitOutcome, TxStatus, Wait
from dawan_node.rpc.client import Client, RpcError, Unreachable
from dawan_node.testing.module_kit import private_key_of
from tests.cli.node_in_reach import CommandLine, command_line
from tests.cli.test_trade import SUPPLIER, TradeNode

ROOT = Path(__file__).resolve().parents[2]

#: A whole program must start and read hundreds of invoices, beside whatever else the machine does.
PATIENCE_S = 60


@pytest.fixture
def node() -> TradeNode:
    return TradeNode()


@pytest.fixture
def dawan(tmp_path: Path, node: TradeNode) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=node) as line:
        yield line


def one_line(number: str, amount: str = "10.00") -> bytes:
    """An invoice as a line of a file of lines."""
    return invoice(number, BUYER, "2026-03-01", "2026-05-30", "CNY", amount, "0.00").replace(b"\n", b" ")


def batch_file(folder: Path, count: int, broken: tuple[int, ...] = ()) -> Path:
    """A file of ``count`` invoices, one per line; ``broken`` lines (from 0) are no XML."""
    file = folder / "batch.ndxml"
    lines = [b"<broken" if place in broken else one_line(f"INV-{place}") for place in range(count)]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


def import_ubl(dawan: CommandLine, file: Path, *more: str) -> tuple[int, Counter[str]]:
    """Exit code and verdicts of an import."""
    done = dawan("trade", "import-ubl", str(file), *as_supplier(dawan), "--buyer", "gz-buyer", "-o", "json", *more)
    return done.exit_code, Counter(row["verdict"] for row in json.loads(done.stdout))


def as_supplier(dawan: CommandLine) -> list[str]:
    """Options that make a command sign as the supplier."""
    if not (dawan.folder / "keys").exists():
        return dawan.make_key("gz-supplier", SUPPLIER)
    secret = dawan.folder / "passphrase"
    return ["--key", "gz-supplier", "--home", str(dawan.folder), "--passphrase-file", str(secret)]


def numbers(node: TradeNode) -> list[str]:
    found, cursor = [], None
    while True:
        items, cursor = node.kit.query("invoices", {"party": "gz-supplier"}, limit=100, cursor=cursor)
        found += [each.number for each in items]
        if cursor is None:
            return found


def test_a_file_of_lines_with_broken_ones_in_the_middle_loses_only_those(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    file = batch_file(tmp_path, 60, broken=(7, 31))
    assert import_ubl(dawan, file) == (1, Counter(recorded=58, refused=2))
    assert sorted(numbers(node)) == sorted(f"INV-{place}" for place in range(60) if place not in (7, 31))
    sent = len(node.submitted)
    assert import_ubl(dawan, file) == (1, Counter(already=58, refused=2))
    assert len(node.submitted) == sent, "a second run sends nothing"


def test_the_lines_that_were_refused_are_named_and_the_sum_is_told(dawan: CommandLine, tmp_path: Path) -> None:
    file = batch_file(tmp_path, 60, broken=(57,))
    done = dawan("trade", "import-ubl", str(file))
    assert done.exit_code == 1
    assert f"{file}:58" in done.stdout and "E_MALFORMED_XML" in done.stdout
    assert "60 records: 59 acceptable, 1 refused" in done.stdout
    assert f"{file}:55" not in done.stdout, "of a long file only what needs attention is shown"


def test_the_table_has_one_width_for_files_of_any_length(dawan: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.ndxml").write_bytes(one_line("A-1") + b"\n" + one_line("A-2") + b"\n")
    (tmp_path / "much-longer-name.xml").write_bytes(one_line("B-1"))
    lines = dawan("trade", "import-ubl", str(tmp_path)).stdout.splitlines()
    rows = [line for line in lines if not line.startswith("  ")]
    assert [row.split()[0] for row in rows] == ["FILE", "a.ndxml:1", "a.ndxml:2", "much-longer-name.xml"]
    assert len({row.index(word) for row, word in zip(rows[1:], ("A-1", "A-2", "B-1"), strict=True)}) == 1
    assert "  a.ndxml: 2 records: 2 acceptable" in lines


def test_what_was_sent_before_the_answer_was_lost_is_settled_first_with_the_same_bytes(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    file = batch_file(tmp_path, 5)
    node.commits, node.lands = False, True
    assert import_ubl(dawan, file, "--patience", "1") == (5, Counter(unknown=5))
    assert len(numbers(node)) == 5, "they were recorded all the same"
    node.commits = True
    sent = {bytes(each) for each in node.submitted}
    done = dawan("trade", "import-ubl", str(file), *as_supplier(dawan), "--buyer", "gz-buyer")
    assert done.exit_code == 0, done.stderr
    assert "settled first what an interrupted import had sent: 5 recorded" in done.stderr
    assert {bytes(each) for each in node.submitted} == sent, "no other transaction was ever made"
    assert sorted(numbers(node)) == [f"INV-{place}" for place in range(5)]


def test_every_transaction_is_in_the_journal_before_it_leaves(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    """Looked at by the node the moment it receives them: a kill at any later moment finds them there."""
    admit, seen = node.submit, []

    async def look(
        channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        (journal,) = (dawan.folder / "imports").glob("*.journal")
        written = journal.read_bytes()
        seen.extend(base64.b64encode(envelope) in written for envelope in envelopes)
        return await admit(channel, envelopes, wait, timeout_ms, bearer)

    node.submit = look  # type: ignore[method-assign]
    assert import_ubl(dawan, batch_file(tmp_path, 5)) == (0, Counter(recorded=5))
    assert seen == [True] * 5


def test_what_was_sent_and_never_arrived_is_sent_again(dawan: CommandLine, node: TradeNode, tmp_path: Path) -> None:
    file = batch_file(tmp_path, 5)
    node.commits = False
    assert import_ubl(dawan, file, "--patience", "1") == (5, Counter(unknown=5))
    assert numbers(node) == []
    node.commits = True
    assert import_ubl(dawan, file) == (0, Counter(already=5))
    assert len(numbers(node)) == 5 and len({bytes(each) for each in node.submitted}) == 5


def test_what_was_sent_and_expired_before_the_import_was_resumed_is_signed_anew(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    file = batch_file(tmp_path, 3)
    node.commits = False
    assert import_ubl(dawan, file, "--patience", "1") == (5, Counter(unknown=3))
    node.commits, node.expired = True, {bytes(each) for each in node.submitted}
    assert import_ubl(dawan, file) == (0, Counter(recorded=3))
    assert len(numbers(node)) == 3 and len({bytes(each) for each in node.submitted}) == 6


def test_a_pool_without_room_is_asked_again_with_the_same_bytes(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    node.full_for = 3
    assert import_ubl(dawan, batch_file(tmp_path, 4)) == (0, Counter(recorded=4))
    assert len(node.submitted) == 16 and len(set(node.submitted)) == 4


@pytest.mark.parametrize("code", [Code.E_POOL_FULL, Code.E_QUOTA])
def test_single_transactions_for_which_there_was_no_room_are_sent_again_as_they_were(
    dawan: CommandLine, node: TradeNode, tmp_path: Path, code: Code
) -> None:
    """A busy node takes a part of a batch; the rest comes again, the same bytes, and only the rest."""
    admit, sent = node.submit, []

    async def two_at_a_time(
        channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        sent.append([bytes(each) for each in envelopes])
        full = Refusal(code, code.name, "no room")
        crowded = [SubmitOutcome(b"", TxStatus.UNKNOWN, None, full) for _ in envelopes[2:]]
        return [*await admit(channel, envelopes[:2], wait, timeout_ms, bearer), *crowded]

    node.submit = two_at_a_time  # type: ignore[method-assign]
    assert import_ubl(dawan, batch_file(tmp_path, 5)) == (0, Counter(recorded=5))
    assert sent == [sent[0], sent[0][2:], sent[0][4:]] and len(node.commands) == 5


def test_an_import_that_gets_nothing_in_asks_ever_more_rarely() -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    patience = Patience(1_000, wait=wait)
    deadline = time.monotonic() + 1_000
    assert all(patience.pause(deadline, vain) for vain in (0, 1, 2, 3, 4, 5, 100_000))
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_long_documents_wait_for_their_turn_in_smaller_numbers(
    dawan: CommandLine, node: TradeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_pipeline, "HELD_BYTES_MAX", 3 * len(one_line("INV-1")))
    assert import_ubl(dawan, batch_file(tmp_path, 10)) == (0, Counter(recorded=10))
    assert node.block_sizes == [4, 4, 2]


def test_what_another_import_recorded_a_moment_ago_is_recognised(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    """Not there when it was looked up, there when the transaction was executed."""
    file = batch_file(tmp_path, 3)
    assert import_ubl(dawan, file) == (0, Counter(recorded=3))
    look, blind = node.state, [True] * 3

    async def state(*place: Any) -> StateInfo:
        return StateInfo(1, None, None, None) if blind and blind.pop() else await look(*place)

    node.state = state  # type: ignore[method-assign]
    assert import_ubl(dawan, file) == (0, Counter(already=3))
    assert len(node.commands) == 6 and len(numbers(node)) == 3


def test_a_node_that_is_gone_for_a_while_does_not_end_an_import(
    dawan: CommandLine, node: TradeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both its reads and what it sends are asked again."""
    exchange, failures = Client._exchange, [True] * 4

    def sometimes(client: Client, payload: Any, wait_s: float) -> Any:
        asked = payload[0]["method"] if isinstance(payload, list) else payload["method"]
        if asked in ("state_get", "tx_submitMany") and failures and failures.pop():
            raise Unreachable("gone", sent=asked == "tx_submitMany")
        return exchange(client, payload, wait_s)

    monkeypatch.setattr(Client, "_exchange", sometimes)
    assert import_ubl(dawan, batch_file(tmp_path, 3)) == (0, Counter(recorded=3))
    assert failures == [] and len(node.commands) == 3


@pytest.mark.parametrize("asked", ["channel_get", "member_list", "state_get"])
def test_a_node_that_says_to_come_back_is_waited_for_from_the_first_question_on(
    dawan: CommandLine, node: TradeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """It starts, or catches up: what it says then is worth asking again, and who waits is told so."""
    exchange, refusals = Client._exchange, [True] * 2

    def starting(client: Client, payload: Any, wait_s: float) -> Any:
        first = payload[0]["method"] if isinstance(payload, list) else payload["method"]
        if first == asked and refusals:
            refusals.pop()
            raise RpcError(-32002, "the node is starting", {"reason": "E_UNAVAILABLE", "retryable": True})
        return exchange(client, payload, wait_s)

    monkeypatch.setattr(Client, "_exchange", starting)
    done = dawan("trade", "import-ubl", str(batch_file(tmp_path, 2)), *as_supplier(dawan), "--buyer", "gz-buyer")
    assert done.exit_code == 0, done.stderr
    assert refusals == [] and len(node.commands) == 2
    assert "no answer yet" in done.stderr and "up to 60 s (--patience)" in done.stderr


def test_a_question_that_stays_without_an_answer_ends_the_import_so_that_it_can_be_resumed(
    dawan: CommandLine, node: TradeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch is on its way when the node is gone for what the second one asks."""
    monkeypatch.setattr(import_pipeline, "BATCH", 2)
    exchange, reads = Client._exchange, [0]

    def gone_after_one(client: Client, payload: Any, wait_s: float) -> Any:
        first = payload[0]["method"] if isinstance(payload, list) else payload["method"]
        if first == "state_get":
            reads[0] += 1
            if reads[0] > 1:
                raise Unreachable("gone")
        return exchange(client, payload, wait_s)

    file = batch_file(tmp_path, 4)
    with monkeypatch.context() as patched:
        patched.setattr(Client, "_exchange", gone_after_one)
        done = dawan("trade", "import-ubl", str(file), *as_supplier(dawan), "--buyer", "gz-buyer", "--patience", "1")
    assert done.exit_code == 5 and "Run the same command again" in done.stderr
    code, counted = import_ubl(dawan, file)
    assert (code, counted.total(), counted["already"] + counted["recorded"]) == (0, 4, 4)
    assert sorted(numbers(node)) == [f"INV-{place}" for place in range(4)] and len(node.commands) == 4


def test_a_node_that_is_not_there_at_all_is_said_at_once_and_nothing_was_sent(
    dawan: CommandLine, node: TradeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(client: Client, payload: Any, wait_s: float) -> Any:
        raise Unreachable("connection refused")

    monkeypatch.setattr(Client, "_exchange", nobody)
    done = dawan(
        "trade", "import-ubl", str(batch_file(tmp_path, 1)), *as_supplier(dawan), "--buyer", "b", "--patience", "1"
    )
    assert done.exit_code == 3 and "no node answers" in done.stderr
    assert "no answer yet (connection refused)" in done.stderr and node.submitted == []


def test_every_importer_has_the_same_patience() -> None:
    """One option: same name, default, bounds and words."""
    importers = [
        ("logistics", "import-dcsa"), ("logistics", "import-epcis"), ("refdata", "load"), ("title", "import-pint"),
        ("trade", "import-ubl"),
    ]  # fmt: skip
    found = set()
    for group, command in importers:
        told = CliRunner().invoke(cli, [group, command, "--help"]).output
        lines = " ".join(told.split())
        found.add(lines.partition("--patience")[2].partition("]")[0])
    (words,) = found
    assert "default: 60" in words and "1<=x<=3600" in words and "says to come back" in words


def test_two_copies_of_one_invoice_in_one_file_are_one_invoice(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    file = tmp_path / "twice.ndxml"
    file.write_bytes(one_line("INV-1") + b"\n" + one_line("INV-2") + b"\n" + one_line("INV-1") + b"\n")
    assert import_ubl(dawan, file) == (0, Counter(recorded=2, already=1))
    assert node.commands == ["record_invoice"] * 2


def test_standard_input_holds_one_document_or_with_lines_many(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    text = batch_file(tmp_path, 3).read_text()
    key = dawan.make_key("gz-supplier", SUPPLIER)
    options = ["-", "--lines", *key, "--buyer", "gz-buyer", "-o", "json"]
    rows = dawan.json("trade", "import-ubl", *options, given=text)
    assert [(row["file"], row["line"], row["verdict"]) for row in rows] == [("-", n, "recorded") for n in (1, 2, 3)]
    (row,) = dawan.json("trade", "import-ubl", "-", "-o", "json", given=text.splitlines()[0])
    assert row["verdict"] == "acceptable" and "line" not in row


def test_a_key_of_nobody_on_the_channel_is_told_before_anything_is_sent(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    key = dawan.make_key("stranger", private_key_of("stranger"))
    done = dawan("trade", "import-ubl", str(batch_file(tmp_path, 1)), *key, "--buyer", "gz-buyer")
    assert done.exit_code == 1 and "this key is nobody's on channel trade" in done.stderr
    assert node.submitted == []


def test_the_only_channel_that_runs_the_module_needs_no_name() -> None:
    class Several:
        """A client of a node with three channels."""

        def channel_list(self) -> list[str]:
            return ["health", "trade", "trade-2"]

        def module_list(self, channel: str) -> list[dict[str, Any]]:
            return [{"name": {"health": "kernel", "trade": "receivable", "trade-2": "title"}[channel], "version": 1}]

    several = cast(Client, Several())
    assert channel_of(several, None, "receivable") == "trade"
    assert channel_of(several, "health", "receivable") == "health"
    for module in ("", "lc"):
        with pytest.raises(CommandFailed, match="which channel"):
            channel_of(several, None, module)


def test_a_rejection_by_the_chain_is_the_records_own_and_exit_code_four(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.ndxml"
    file.write_bytes(one_line("INV-1") + b"\n")
    key = dawan.make_key("gz-supplier", SUPPLIER)
    done = dawan("trade", "import-ubl", str(file), *key, "--buyer", "gz-supplier", "-o", "json")
    assert done.exit_code == 4
    (row,) = json.loads(done.stdout)
    assert (row["verdict"], row["reason"]) == ("rejected", "E_SELF_DEALING")
    assert row["tx_id"].startswith("0x") and row["height"] == 1


@pytest.mark.slow
def test_an_import_killed_in_the_middle_goes_on_without_loss_or_duplicate(
    dawan: CommandLine, node: TradeNode, tmp_path: Path
) -> None:
    """A process of its own, killed with SIGKILL once the chain has some of its invoices, then run again."""
    count = 1_200
    file = batch_file(tmp_path, count)
    key = dawan.make_key("gz-supplier", SUPPLIER)
    command = [sys.executable, "-c", "from dawan_node.cli.main import main; main()", "trade", "import-ubl", str(file)]
    command += [*key, "--buyer", "gz-buyer", "-o", "json"]
    environment = {**os.environ, **dawan.environment}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE_S
    while len(node.commands) < 300 and process.poll() is None and time.monotonic() < deadline:
        threading.Event().wait(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(node.commands)
    assert process.returncode == -signal.SIGKILL and 300 <= before < count, "it was killed in the middle"
    code, verdicts = import_ubl(dawan, file)
    assert (code, sum(verdicts.values())) == (0, count)
    assert verdicts["recorded"] + verdicts["already"] == count and verdicts["already"] >= before
    assert sorted(numbers(node)) == sorted(f"INV-{place}" for place in range(count))
    assert len(node.commands) == count, "every invoice is one transaction on chain, no refused second one"
