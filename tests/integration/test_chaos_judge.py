"""The judge of chaos runs finds each kind of lie: a true history passes, and one thing changed in it does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dawan_node.modules.receivable import module as receivable
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import shapes, values
from dawan_node.rpc.api import BlockInfo, ReceiptInfo
from dawan_node.rpc.schemas import ModuleSchemas
from dawan_node.testing.module_kit import ModuleKit
from dawan_node.testing.trade import PEOPLE, text_id
from tests.integration.chaos.judge import Verdict, judge_chains

SUPPLIER, BUYER = "supplier-a", "core-1"
TOTAL = ["CNY", 100_000]


class Story:
    """A short chain, the blocks as nodes show them, and what honest clients were told meanwhile."""

    def __init__(self) -> None:
        self.kit = ModuleKit([receivable], PEOPLE)
        executor = self.kit.executor
        self.schemas = ModuleSchemas(lambda module: executor.describe(module) or {})
        self.blocks: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        day = "2025-11-25"
        args = {"number": "INV-1", "buyer": BUYER, "issue_date": day, "due_date": "2026-02-01", "total": TOTAL}
        key = text_id(SUPPLIER, BUYER, "INV-1", day, TOTAL)
        self.commit([self.kit.call(SUPPLIER, "record_invoice", args)])
        self.read(key)
        self.commit([self.kit.call(BUYER, "confirm_invoice", {"invoice": key})])
        self.read(key)
        twice = args | {"number": "INV-2"}
        self.commit([self.kit.call(SUPPLIER, "record_invoice", twice), self.kit.call(BUYER, "record_invoice", twice)])
        self.read(key)

    def commit(self, transactions: Sequence[Transaction]) -> None:
        receipts = self.kit.block(*transactions)
        execution = self.kit.blocks[-1]
        info = BlockInfo(
            execution.header.height,
            execution.header.hash,
            execution.header,
            execution.result,
            0,
            (),
            tuple(receipt.tx_id for receipt in receipts),
            tuple(transaction.envelope for transaction in transactions),
            receipts,
        )
        shown = json.loads(json.dumps(shapes.block(info, True, self.schemas)))
        del shown["commit"]
        self.blocks.append(shown)
        for transaction, receipt in zip(transactions, receipts, strict=True):
            self.tell("tx_submit", {"status": "committed", "receipt": self.receipt(receipt, transaction)})

    def receipt(self, receipt: Receipt, transaction: Transaction) -> dict[str, Any]:
        info = ReceiptInfo(receipt, self.kit.blocks[-1].header.hash, transaction.body.module)
        return shapes.receipt("trade", info, self.schemas)

    def read(self, invoice: str) -> None:
        kit, key = self.kit, invoice.encode()
        value = kit.state.get("receivable", "invoice", key)
        assert value is not None
        entity = kit.executor.registry.decode_entity("receivable", "invoice", value)
        plain = {name: getattr(entity, name) for name in entity.__struct_fields__}
        shown = values.to_json(plain, *self.schemas("receivable", "entities", "invoice"))
        params = ["trade", "receivable", "invoice", "0x" + key.hex(), "latest", False]
        self.tell("state_get", {"value": shown, "height": kit.height}, params)
        items, _ = kit.query("invoices", {"party": SUPPLIER}, limit=20)
        pages = [values.to_json(item, *self.schemas("receivable", "items", "invoices")) for item in items]
        params = ["trade", "receivable", "invoices", {"party": SUPPLIER}, 20, None]
        self.tell("module_query", {"items": pages, "height": kit.height}, params)
        self.tell("chain_head", {"height": kit.height})

    def tell(self, method: str, answer: Any, params: list[Any] | None = None) -> None:
        at = float(len(self.lines))
        line = {"kind": "call", "client": "c", "node": "gz1", "method": method, "at": at, "done": at + 0.5}
        self.lines.append(line | {"answer": answer} | ({} if params is None else {"params": params}))

    def judged(self, folder: Path, change: Callable[[Story, dict[str, Any]], None] | None = None) -> Verdict:
        told = copy.deepcopy(self)
        thin = [block | {"txs": [tx["tx_id"] for tx in block["txs"]]} for block in told.blocks]
        chains = {name: copy.deepcopy(thin) for name in ("gz1", "hk1")}
        if change is not None:
            change(told, chains)
        file = folder / "history.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in told.lines), encoding="utf-8")
        return judge_chains(file, self.kit.genesis, "trade", chains, told.blocks)


# A deep copy of a kit with all its modules is neither needed nor possible.
def _copy(story: Story, memo: dict[int, Any]) -> Story:
    other = object.__new__(Story)
    other.kit, other.schemas = story.kit, story.schemas
    other.blocks, other.lines = copy.deepcopy(story.blocks), copy.deepcopy(story.lines)
    return other


Story.__deepcopy__ = _copy  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def story() -> Story:
    return Story()


def answer(story: Story, method: str, number: int) -> Any:
    return [line for line in story.lines if line["method"] == method][number]["answer"]


def another_hash(story: Story, chains: dict[str, Any]) -> None:
    chains["hk1"][1]["result"]["state_root"] = "0x" + bytes(32).hex()


def a_shorter_chain(story: Story, chains: dict[str, Any]) -> None:
    chains["hk1"].pop()


def lost(story: Story, chains: dict[str, Any]) -> None:
    answer(story, "tx_submit", 1)["receipt"]["tx_id"] = "0x" + bytes(32).hex()


def double(story: Story, chains: dict[str, Any]) -> None:
    for chain in chains.values():
        chain[2]["txs"].append(chain[0]["txs"][0])


def elsewhere(story: Story, chains: dict[str, Any]) -> None:
    answer(story, "tx_submit", 2)["receipt"]["index"] = 1


def another_outcome(story: Story, chains: dict[str, Any]) -> None:
    answer(story, "tx_submit", 3)["receipt"]["code"] = 0


def two_receipts(story: Story, chains: dict[str, Any]) -> None:
    again = copy.deepcopy(answer(story, "tx_submit", 0))
    again["receipt"]["height"] = 2
    story.tell("tx_submit", again)


def wrong_value(story: Story, chains: dict[str, Any]) -> None:
    answer(story, "state_get", 1)["value"]["state"] = "RECORDED"


def old_page(story: Story, chains: dict[str, Any]) -> None:
    answer(story, "module_query", 2)["items"] = answer(story, "module_query", 0)["items"]


def ahead_of_the_chain(story: Story, chains: dict[str, Any]) -> None:
    answer(story, "module_query", 2)["height"] = 9


def back_in_time(story: Story, chains: dict[str, Any]) -> None:
    story.tell("chain_head", {"height": 1})


def before_its_own_write(story: Story, chains: dict[str, Any]) -> None:
    """The answer to a read that began after "committed at height 2", from height 1."""
    place = next(i for i, line in enumerate(story.lines) if line["method"] == "chain_head" and line["at"] > 5)
    story.lines[place]["answer"]["height"] = 1


def a_root_nobody_gets(story: Story, chains: dict[str, Any]) -> None:
    for blocks in (story.blocks, *chains.values()):
        blocks[2]["result"]["receipts_root"] = "0x" + bytes(32).hex()


def another_header(story: Story, chains: dict[str, Any]) -> None:
    story.blocks[1]["header"]["timestamp"] = "2025-11-24T16:00:03.000Z"


def fewer_blocks(story: Story, chains: dict[str, Any]) -> None:
    """As after a snapshot, on a node that lost nothing."""
    del chains["hk1"][:2]


def a_gap(story: Story, chains: dict[str, Any]) -> None:
    del chains["hk1"][1]


def nobody_keeps_the_first(story: Story, chains: dict[str, Any]) -> None:
    for blocks in (story.blocks, *chains.values()):
        del blocks[0]


LIES = {
    another_hash: "differ at height 2",
    a_shorter_chain: "ends at height 3 and hk1 at 2",
    lost: "is not on the chain",
    double: "stands on the chain 2 times",
    elsewhere: "was acknowledged as",
    another_outcome: "was acknowledged as",
    two_receipts: "with two receipts",
    wrong_value: "answered state_get",
    old_page: "answered module_query",
    ahead_of_the_chain: "the chain ends at 3",
    back_in_time: "had answered with height 3 before",
    before_its_own_write: "had answered with height 2 before",
    a_root_nobody_gets: "block 3 gives",
    another_header: "block 2 is none",
    fewer_blocks: "hk1 lost nothing and keeps no block below height 3",
    a_gap: "hk1 lacks blocks above height 1",
    nobody_keeps_the_first: "no node keeps all blocks",
}


def test_a_true_history_is_believed(story: Story, tmp_path: Path) -> None:
    verdict = story.judged(tmp_path)
    assert verdict.wrong == []
    assert (verdict.blocks, verdict.transactions, verdict.acknowledged) == (3, 4, 4)
    assert (verdict.reads, verdict.lost, verdict.double) == (6, 0, 0)


@pytest.mark.parametrize(("lie", "says"), LIES.items(), ids=[lie.__name__ for lie in LIES])
def test_one_thing_that_is_not_true_is_found(
    story: Story, tmp_path: Path, lie: Callable[[Story, dict[str, Any]], None], says: str
) -> None:
    assert any(says in text for text in story.judged(tmp_path, lie).wrong)


def test_a_node_that_lost_its_data_may_begin_again(story: Story, tmp_path: Path) -> None:
    def loss(told: Story, chains: dict[str, Any]) -> None:
        at = float(len(told.lines))
        for phase in ("begin", "end"):
            told.lines.append({"kind": "fault", "what": "data loss", "node": "gz1", "phase": phase, "at": at})
        told.tell("chain_head", {"height": 0})

    assert story.judged(tmp_path, loss).wrong == []


def test_a_node_that_lost_its_data_may_keep_only_what_came_after_its_snapshot(story: Story, tmp_path: Path) -> None:
    def loss(told: Story, chains: dict[str, Any]) -> None:
        at = float(len(told.lines))
        told.lines.append({"kind": "fault", "what": "database loss", "node": "gz1", "phase": "begin", "at": at})
        del chains["gz1"][:2]

    verdict = story.judged(tmp_path, loss)
    assert verdict.wrong == [] and verdict.by_snapshot == {"gz1": 3} and verdict.blocks == 3
