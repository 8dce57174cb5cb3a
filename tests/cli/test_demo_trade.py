"""The demo's story on a chain in memory, through a client that answers as JSON-RPC does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dawan_node.cli import demo_trade
from dawan_node.cli.demo_trade import CAST, DemoFailed, DemoReport, run_demo
from dawan_node.modules.receivable import versions
from dawan_node.node.consortium import load_document
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import values
from dawan_node.testing.module_kit import ModuleKit, private_key_of

ROOT = Path(__file__).resolve().parents[2]
REAL_FILES = ROOT.parent / "shared" / "data" / "ubl"
ROLES = {
    "gz-supplier": ("gz", ["supplier"]),
    "gz-supplier-2": ("gz", ["supplier"]),
    "gz-buyer": ("gz", ["buyer"]),
    "gz-core": ("gz", ["buyer", "core_enterprise"]),
    "hk-bank": ("hk", ["bank"]),
    "mo-bank": ("mo", ["bank"]),
    "gz-settlement": ("gz", ["settlement_bank"]),
    "hk-settlement": ("hk", ["settlement_bank"]),
}


# Commands that the story shows; applications for the refused financings are told by their refusal.
TOLD = ("issue_voucher", "split_voucher", "fund_financing", "reserve_financing", "settle_voucher")


class KitClient:
    """The part of the client that the demo uses, over a module kit whose clock is the machine's."""

    def __init__(self, version: int = 2) -> None:
        self.kit = ModuleKit([versions[version]], ROLES, created_ms=time.time_ns() // 1_000_000 - 1_000)
        self.document = self.kit.executor.describe("receivable")
        self.break_reason = ""

    async def channel_get(self, channel: str) -> Any:
        return {"chain_id": "0x" + self.kit.genesis.chain_id.hex()}

    async def tx_submit(self, channel: str, tx: bytes, wait: str, timeout_ms: int) -> Any:
        assert (channel, wait) == ("trade", "committed")
        transaction = Transaction.decode(tx)
        assert transaction.verify_signature()
        (receipt,) = self.kit.block(transaction, after_ms=1)
        reason = self.break_reason or receipt.reason
        shown = {"height": receipt.height, "code": receipt.code, "reason": reason}
        return {"tx_id": "0x" + receipt.tx_id.hex(), "status": "committed", "receipt": shown}

    async def module_query(self, channel: str, name: str, query: str, params: Mapping[str, Any]) -> Any:
        assert self.document is not None
        items, _ = self.kit.query(query, dict(params))
        schema = self.document["queries"][query]["items"]
        return {"items": [values.to_json(_builtins(item), schema, self.document) for item in items]}


def _builtins(item: Any) -> Any:
    """A struct by field names, as the node's API hands it to JSON."""
    if hasattr(item, "__struct_fields__") and type(item).__name__ != "Money":
        return {name: _builtins(getattr(item, name)) for name in item.__struct_fields__}
    if type(item).__name__ == "Money":
        return [item.currency, item.minor]
    return [_builtins(part) for part in item] if isinstance(item, tuple) else item


def tell(client: Any, folder: Path | None = None) -> tuple[DemoReport, list[str]]:
    lines: list[str] = []
    keys = {name: private_key_of(name) for name in CAST}
    report = asyncio.run(run_demo(client, keys, folder, lines.append))
    return report, lines


@pytest.mark.parametrize("version", sorted(versions))
def test_the_story_ends_with_three_refusals_and_sums_that_agree(version: int) -> None:
    report, lines = tell(KitClient(version))
    assert report.refusals == 3
    assert report.issued_minor == report.redeemed_minor == 1_000_000_000
    assert [step.reason for step in report.steps if step.command == "reserve_financing"] == ["", *["E_DUP_FINANCE"] * 3]
    assert "issued CNY 10,000,000.00 = redeemed CNY 6,000,000.00 + CNY 4,000,000.00, open CNY 0.00" in lines[-1]
    shown = "\n".join(lines)
    for spelling in ('" inv-001"', '"INV 001"', '"ＩＮＶ－００１"'):
        assert f"tries {spelling}: refused, E_DUP_FINANCE" in shown
    assert all(f"block {step.height}, tx {step.tx_id}" in shown for step in report.steps if step.command in TOLD)


def test_a_credit_note_among_the_suppliers_documents_is_refused_before_it_is_sent() -> None:
    report, _ = tell(KitClient())
    assert report.imported == {
        "INV-001.xml": "recorded",
        "INV-001-B.xml": "recorded",
        "INV-001-C.xml": "recorded",
        "CN-001.xml": "E_CREDIT_NOTE",
    }


def test_the_story_can_be_told_again_on_the_same_channel() -> None:
    client = KitClient()
    tell(client)
    report, lines = tell(client)
    assert report.imported["INV-002.xml"] == "recorded"
    assert '" inv-002"' in "\n".join(lines)


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason=f"NOT RUN: the real UBL files are not at {REAL_FILES}")
def test_real_invoices_are_recorded_or_refused_each_with_its_reason() -> None:
    report, _ = tell(KitClient(), REAL_FILES)
    assert {name: outcome for name, outcome in report.imported.items() if "001" not in name} == {
        "BIS3_Invoice_negativ.xml": "E_NEGATIVE_AMOUNT",
        "guide-example1.xml": "recorded",
        "guide-example2.xml": "recorded",
        "ubl-tc434-creditnote1.xml": "E_CREDIT_NOTE",
        # The same invoice as guide-example1.xml, in another file of the norm's test suite.
        "ubl-tc434-example1.xml": "E_DUP_INVOICE",
        "ubl-tc434-example3.xml": "recorded",
        "ubl-tc434-example5.xml": "recorded",
    }


def test_a_chain_that_answers_otherwise_ends_the_story() -> None:
    client = KitClient()
    client.break_reason = "E_ROLE"
    with pytest.raises(DemoFailed, match="did not record"):
        tell(client)


def test_sums_that_do_not_agree_end_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_trade, "FACE", 1_000_000_001)
    with pytest.raises(DemoFailed):
        tell(KitClient())


def test_a_missing_key_is_named() -> None:
    with pytest.raises(DemoFailed, match="gz-supplier"):
        asyncio.run(run_demo(KitClient(), {}, None, lambda _: None))  # type: ignore[arg-type]


def test_the_devnets_consortium_has_the_whole_cast() -> None:
    template = load_document(ROOT / "configs" / "consortium.devnet.toml")
    enrolled = {identity.name: (identity.org, sorted(identity.roles)) for identity in template.identity}
    for name, (org, roles) in ROLES.items():
        assert enrolled[name] == (org, sorted(roles))
    assert set(CAST) == set(ROLES)
