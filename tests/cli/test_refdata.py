"""``refdata load`` and ``enact`` against a chain in memory: what is sent, resumed, refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawan_node.execution.describe import describe_module
from dawan_node.modules.refdata import module
from dawan_node.modules.refdata.declaration import Edition
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.api import ChannelInfo, QueryPage, ReceiptInfo, SubmitOutcome, TxStatus, Wait
from dawan_node.testing.module_kit import ModuleKit, private_key_of
from tests.cli.node_in_reach import CommandLine, command_line
from tests.modules.refdata_kit import SEEDS
from tests.rpc.fake_node import FakeNode

ADMIN = private_key_of("gz-admin")
CURRENCIES = str(SEEDS / "currency.csv")


class RefdataNode(FakeNode):
    """The fake node with a real channel behind it; ``drop_after`` transactions it refuses all further ones."""

    def __init__(self) -> None:
        super().__init__()
        self.kit = ModuleKit([module], {}, created_ms=time.time_ns() // 1_000_000 - 1_000)
        self.commands: list[str] = []

    def channel(self, channel: str) -> ChannelInfo:
        return replace(super().channel(channel), chain_id=self.kit.genesis.chain_id)

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        found = self.kit.executor.describe(module)
        assert found is not None
        return found

    def check_command(self, channel: str, module: str, command: str, args: Mapping[str, Any]) -> None:
        return None

    async def query(
        self, channel: str, module: str, query: str, params: Mapping[str, Any], limit: int, cursor: bytes | None
    ) -> QueryPage:
        items, following = self.kit.query(query, params, module=module, limit=limit, cursor=cursor)
        return QueryPage(list(items), following, self.kit.height)

    def _admit(self, envelope: bytes, wait: Wait) -> SubmitOutcome:
        tx = Transaction.decode(envelope)
        self.commands.append(tx.body.command)
        (receipt,) = self.kit.block(tx, after_ms=1)
        status = TxStatus.FAILED if receipt.code else TxStatus.COMMITTED
        return SubmitOutcome(tx.tx_id, status, ReceiptInfo(receipt, b"\xaa" * 32, tx.body.module))

    def editions(self) -> list[Edition]:
        items, _ = self.kit.query("editions", {"table": "currency"})
        return list(items)


@pytest.fixture
def node() -> RefdataNode:
    return RefdataNode()


@pytest.fixture
def dawan(tmp_path: Path, node: RefdataNode) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=node) as line:
        yield line


def test_without_a_key_it_only_says_what_it_read(dawan: CommandLine, node: RefdataNode) -> None:
    done = dawan("refdata", "load", "currency", CURRENCIES)
    assert done.exit_code == 0
    assert "47 rows in 1 transactions, digest 0x" in done.stdout
    assert node.commands == []


def test_a_table_is_written_proposed_voted_on_and_put_in_force(dawan: CommandLine, node: RefdataNode) -> None:
    key = dawan.make_key("gz-admin", ADMIN)
    done = dawan("refdata", "load", "currency", CURRENCIES, *key, "-c", "trade", "--effective", "2020-01-01")
    assert done.exit_code == 0, done.stderr
    assert node.commands == ["open_edition", "write_rows", "seal_edition", "propose_edition"]
    refused = dawan("refdata", "enact", "currency-1", *key, "-c", "trade")
    assert refused.exit_code == 4 and "E_NOT_PASSED" in refused.stderr
    for org in ("gz", "hk", "mo"):
        node.kit.run(f"{org}-admin", "vote", {"proposal": "currency-1", "approve": True}, module="governance")
    done = dawan("refdata", "enact", "currency-1", *key, "-c", "trade")
    assert done.exit_code == 0, done.stderr
    (edition,) = node.editions()
    assert (edition.state, edition.rows, edition.title) == ("adopted", 47, "currency")


def test_an_interrupted_load_goes_on_with_the_same_file_and_writes_no_row_twice(
    dawan: CommandLine, node: RefdataNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawan_node.interchange.refdata_csv.BATCH_ROWS_MAX", 20)
    key = dawan.make_key("gz-admin", ADMIN)
    block = node.kit.block

    def fails_at_the_third(*transactions: Transaction, after_ms: int = 1_000) -> Any:
        if len(node.commands) >= 3:
            raise ConnectionError("gone")
        return block(*transactions, after_ms=after_ms)

    monkeypatch.setattr(node.kit, "block", fails_at_the_third)
    gone = dawan("refdata", "load", "currency", CURRENCIES, *key, "-c", "trade", "--patience", "1")
    assert gone.exit_code == 5 and "goes on after the last row" in gone.stderr
    assert set(node.commands[2:]) == {"write_rows"} and len(node.commands) > 3, "it was asked again"
    assert len({bytes(each) for each in node.submitted[2:]}) == 1, "with the same bytes"
    assert [edition.rows for edition in node.editions()] == [20]
    monkeypatch.setattr(node.kit, "block", block)
    node.commands.clear()
    done = dawan("refdata", "load", "currency", CURRENCIES, *key, "-c", "trade")
    assert done.exit_code == 0, done.stderr
    assert node.commands == ["write_rows", "write_rows", "seal_edition"]
    assert [(edition.rows, edition.state) for edition in node.editions()] == [(47, "sealed")]
    again = dawan("refdata", "load", "currency", CURRENCIES, *key, "-c", "trade", "--base", "1")
    assert again.exit_code == 4 and "another base" in again.stderr


def test_a_wrong_file_sends_nothing(dawan: CommandLine, node: RefdataNode, tmp_path: Path) -> None:
    file = tmp_path / "currency.csv"
    file.write_text("code,name,exponent,numeric\nCNY,yuan,two,156\n")
    done = dawan("refdata", "load", "currency", str(file), *dawan.make_key("gz-admin", ADMIN))
    assert done.exit_code == 1
    assert "line 2" in done.stderr and node.commands == []


def test_the_module_describes_itself() -> None:
    assert set(describe_module(module)["entities"]) == {"edition", "row", "parameter", "change"}
