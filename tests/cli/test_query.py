"""``query``: the same answers as JSON-RPC, readable or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.node_in_reach import CommandLine, command_line
from tests.cli.test_tx import envelope


@pytest.fixture
def dawan(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        yield line


def test_a_block_is_shown_with_its_transactions(dawan: CommandLine) -> None:
    tx_id = dawan.json("tx", "submit", "--wait", "committed", "-o", "json", given=envelope())["tx_id"]
    shown = dawan("query", "block", "1", "--full").stdout
    assert f"{tx_id}  toy.pay  ok" in shown
    assert "signed by     gz1, hk1, hq1" in shown
    assert dawan.json("query", "block", "-o", "json")["txs"] == [tx_id]
    assert "status       committed" in dawan("query", "tx", tx_id).stdout
    assert dawan.json("query", "tx", tx_id, "-o", "json")["receipt"]["code"] == 0


def test_an_unknown_block_is_exit_code_one_with_a_reason(dawan: CommandLine) -> None:
    missing = dawan("query", "block", "99")
    assert (missing.exit_code, missing.stderr.startswith("error: E_NOT_FOUND")) == (1, True)


def test_a_state_key_is_text_or_bytes(dawan: CommandLine) -> None:
    by_text = dawan.json("query", "state", "toy", "payment", "001", "-o", "json")
    by_bytes = dawan.json("query", "state", "toy", "payment", "0x303031", "-o", "json")
    assert by_text == by_bytes
    assert by_text["value"]["amount"]["amount"] == "1234.50"
    assert '"amount": "1234.50"' in dawan("query", "state", "toy", "payment", "001").stdout
    assert dawan("query", "state", "toy", "payment", "002").stdout == "absent (height 7)\n"
    assert "proof" in dawan.json("query", "state", "toy", "payment", "001", "--proof", "-o", "json")


def test_events_end_at_the_last_one_and_go_on_from_a_cursor(dawan: CommandLine) -> None:
    lines = [json.loads(line) for line in dawan("query", "events", "-o", "json").stdout.splitlines()]
    assert [(event["height"], event["n"]) for event in lines] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    rest = dawan("query", "events", "--from", lines[3]["cursor"]).stdout.splitlines()
    assert [line.split()[0] for line in rest] == ["3/0/0", "3/0/1"]
    assert len(dawan("query", "events", "--limit", "2").stdout.splitlines()) == 2
    assert dawan("query", "events", "--name", "Other").stdout == ""


def test_members_are_listed_and_shown(dawan: CommandLine) -> None:
    listed = dawan("query", "member").stdout
    assert "Guangzhou" in listed
    assert "alice" in listed
    assert "supplier" in dawan("query", "member", "alice").stdout
    assert dawan("query", "member", "nobody").exit_code == 1


def test_any_method_can_be_called(dawan: CommandLine) -> None:
    assert dawan.json("query", "rpc", "channel_list") == ["trade"]
    assert dawan.json("query", "rpc", "chain_head", '["trade"]')["height"] == 1
    assert dawan.json("query", "rpc", "chain_head", '{"channel": "trade"}')["height"] == 1
    assert dawan("query", "rpc", "chain_head", "{").exit_code == 2
    assert dawan("query", "rpc", "chain_head", "7").exit_code == 2
    misspelt = dawan("query", "rpc", "chain_heads")
    assert (misspelt.exit_code, "Did you mean chain_head?" in misspelt.stderr) == (1, True)


def test_a_channel_is_named_by_option_or_environment_or_is_the_only_one(
    dawan: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dawan("query", "block", "--channel", "none").exit_code == 1
    dawan.environment["DAWAN_CHANNEL"] = "none"
    assert dawan("query", "block").exit_code == 1
    dawan.environment["DAWAN_CHANNEL"] = ""
    monkeypatch.setattr(dawan.server.node, "channels", lambda: ("trade", "logistics"))
    several = dawan("query", "block")
    assert (several.exit_code, "trade, logistics" in several.stderr) == (2, True)


def test_the_address_comes_from_option_then_environment_then_home(dawan: CommandLine, tmp_path: Path) -> None:
    url = dawan.environment.pop("DAWAN_RPC")
    listen = url.removeprefix("http://")
    (tmp_path / "node.toml").write_text(f'[node]\nname = "gz1"\norg = "gz"\n[rpc]\nlisten = "{listen}"\n')
    assert dawan.json("query", "rpc", "channel_list") == ["trade"]
    dawan.environment["DAWAN_RPC"] = "http://127.0.0.1:1"
    assert dawan("query", "rpc", "channel_list").exit_code == 3
    assert dawan.json("query", "rpc", "channel_list", "--rpc", url) == ["trade"]
