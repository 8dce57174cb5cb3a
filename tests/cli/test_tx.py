"""``tx``: every step on its own, across an air gap, with exit codes that a script can act on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.client import build_body, sign_transaction
from tests.cli.node_in_reach import CommandLine, command_line
from tests.rpc.fake_node import CHAIN_ID, KEY, NOW_MS, TOY
from tests.rpc.harness import answering

ARGS = '{"to": "hk-bank", "amount": {"currency": "CNY", "amount": "1234.50"}, "due": "2026-05-20T08:00:00.000Z"}'
PUBLIC_KEY = "0x" + KEY.public_key.hex()


@pytest.fixture
def dawan(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        yield line


def envelope(to: str = "hk-bank") -> str:
    args = {"to": to, "amount": ["CNY", 5]}
    body = build_body(CHAIN_ID, "toy", "pay", args, valid_until_ms=NOW_MS, nonce=bytes(16))
    return "0x" + sign_transaction(KEY, body).hex()


def test_build_sign_and_submit_make_one_committed_transaction(dawan: CommandLine) -> None:
    key = dawan.make_key()
    built = dawan("tx", "build", "toy", "pay", "--args", ARGS, "--key", "alice")
    assert built.exit_code == 0, built.stderr
    signed = dawan("tx", "sign", *key, given=built.stdout)
    assert signed.exit_code == 0, signed.stderr
    verdict = dawan.json("tx", "submit", "--wait", "committed", "-o", "json", given=signed.stdout)
    assert verdict["status"] == "committed"
    assert verdict["tx_id"] == json.loads(built.stdout)["tx_id"] == json.loads(signed.stdout)["tx_id"]
    (sent,) = dawan.server.node.submitted
    transaction = Transaction.decode(sent)
    assert transaction.verify_signature()
    assert transaction.body.args == {"to": "hk-bank", "amount": ["CNY", 123_450], "due_ms": 1_779_264_000_000}
    assert dawan.json("tx", "status", verdict["tx_id"], "-o", "json")["status"] == "committed"
    assert dawan.json("tx", "receipt", verdict["tx_id"], "-o", "json")["code"] == 0


def test_send_does_all_three_in_one_step_and_names_the_transaction_before_it_leaves(dawan: CommandLine) -> None:
    key = dawan.make_key()
    sent = dawan("tx", "send", "toy", "pay", "--args", ARGS, *key)
    assert sent.exit_code == 0, sent.stderr
    (envelope,) = dawan.server.node.submitted
    tx_id = "0x" + Transaction.decode(envelope).tx_id.hex()
    assert f"sending toy.pay to trade as {tx_id}" in sent.stderr
    assert sent.stdout.startswith(f"{tx_id} committed")
    assert dawan("tx", "send", "toy", "nothing", *key).exit_code == 4
    assert len(dawan.server.node.submitted) == 1


def test_files_carry_a_transaction_between_machines(dawan: CommandLine, tmp_path: Path) -> None:
    args, unsigned, signed = tmp_path / "args.json", tmp_path / "unsigned.json", tmp_path / "signed.json"
    args.write_text(ARGS)
    key = dawan.make_key()
    steps = [
        ["tx", "build", "toy", "pay", "--args", f"@{args}", "--public-key", PUBLIC_KEY, "--out", str(unsigned)],
        ["tx", "sign", str(unsigned), *key, "--out", str(signed)],
        ["tx", "submit", str(signed)],
    ]
    for step in steps:
        done = dawan(*step)
        assert done.exit_code == 0, done.stderr
    assert json.loads(unsigned.read_text())["public_key"] == PUBLIC_KEY
    assert len(dawan.server.node.submitted) == 1


def test_a_transaction_is_built_without_any_node(dawan: CommandLine, tmp_path: Path) -> None:
    schema = tmp_path / "toy.json"
    schema.write_text(json.dumps(TOY))
    options = ["--offline", "--chain-id", "0x" + CHAIN_ID.hex(), "--schema", str(schema), "--public-key", PUBLIC_KEY]
    dawan.environment["DAWAN_RPC"] = "http://127.0.0.1:1"
    built = dawan.json("tx", "build", "toy", "pay", "--args", ARGS, *options)
    assert built["args"]["amount"] == {"currency": "CNY", "amount": "1234.50"}
    wrong = dawan("tx", "build", "toy", "pay", "--args", '{"to": "x"}', *options)
    assert (wrong.exit_code, wrong.stderr.split("\n")[0]) == (
        2,
        "error: args.amount: is missing. Next: Correct that value.",
    )
    assert dawan("tx", "build", "toy", "refund", *options).exit_code == 1
    assert dawan("tx", "build", "toy", "pay", "--offline", "--public-key", PUBLIC_KEY).exit_code == 2


def test_sign_shows_what_it_signs(dawan: CommandLine) -> None:
    key = dawan.make_key()
    body = build_body(CHAIN_ID, "toy", "pay", {"to": "b\u202eank"}, valid_until_ms=NOW_MS)
    signed = dawan("tx", "sign", *key, given="0x" + body.hex())
    assert signed.exit_code == 0, signed.stderr
    assert "signing toy.pay" in signed.stderr
    assert '{"to": "b\\u202eank"}' in signed.stderr, "no character may reorder the line"
    assert "2025-11-24T16:00:00.123Z" in signed.stderr


def test_sign_shows_money_as_people_write_it_not_only_in_minor_units(dawan: CommandLine) -> None:
    args = {"total": ["HKD", 123_450], "parts": [["JPY", 5], ["CNY", -7]], "pair": ["hkd", 1]}
    body = build_body(CHAIN_ID, "toy", "pay", args, valid_until_ms=NOW_MS)
    shown = dawan("tx", "sign", *dawan.make_key(), given="0x" + body.hex()).stderr
    assert "total HKD 1234.50\n" in shown
    assert "parts[0] JPY 5\n" in shown
    assert "parts[1] CNY -0.07\n" in shown
    assert shown.count("  amount ") == 3


def test_a_signature_made_elsewhere_is_checked_and_joined(dawan: CommandLine) -> None:
    built = dawan("tx", "build", "toy", "pay", "--args", ARGS, "--public-key", PUBLIC_KEY)
    document = json.loads(built.stdout)
    body = bytes.fromhex(document["body"][2:])
    assert bytes.fromhex(document["signing_bytes"][2:]) == b"dawan:tx:v1\n" + body
    good = "0x" + KEY.sign(b"dawan:tx:v1", body).hex()
    assert "tx" in dawan.json("tx", "sign", "--signature", good, given=built.stdout)
    bad = dawan("tx", "sign", "--signature", "0x" + "11" * 64, given=built.stdout)
    assert (bad.exit_code, "the signature is refused" in bad.stderr) == (1, True)


def test_the_wrong_key_is_refused_before_it_signs(dawan: CommandLine) -> None:
    other = dawan.make_key("mallory", PrivateKey.from_seed(b"m" * 32))
    built = dawan("tx", "build", "toy", "pay", "--args", ARGS, "--public-key", PUBLIC_KEY)
    refused = dawan("tx", "sign", *other, given=built.stdout)
    assert (refused.exit_code, "was built for" in refused.stderr) == (1, True)


def test_a_missing_key_and_a_wrong_passphrase_are_one_line_each(dawan: CommandLine, tmp_path: Path) -> None:
    key = dawan.make_key()
    missing = dawan("tx", "sign", "--key", "bob", given=envelope())
    assert missing.exit_code == 1
    (tmp_path / "passphrase").write_bytes(b"wrong")
    body = build_body(CHAIN_ID, "toy", "pay", {}, valid_until_ms=NOW_MS)
    wrong = dawan("tx", "sign", *key, given="0x" + body.hex())
    assert wrong.exit_code == 1
    assert wrong.stderr.splitlines()[-1].startswith("error: ")
    assert "passphrase is wrong" in wrong.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"chain_id": bytes(32)}, "not what was asked for"),
        ({"module": "evil"}, "not what was asked for"),
        ({"command": "refund"}, "not what was asked for"),
        ({"args": {"to": "mallory", "amount": ["CNY", 123_450]}}, "not what was asked for"),
        (
            {"args": {"to": "hk-bank", "amount": ["CNY", 999_999], "due_ms": 1_779_264_000_000}},
            "not what was asked for",
        ),
        ({"public_key": bytes(32)}, "tx_id"),
    ],
)
def test_a_node_that_prepares_something_else_is_found_out(
    dawan: CommandLine, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str
) -> None:
    from dawan_node.rpc.client import Client, transaction_id

    honest = {
        "chain_id": CHAIN_ID,
        "module": "toy",
        "command": "pay",
        "args": {"to": "hk-bank", "amount": ["CNY", 123_450], "due_ms": 1_779_264_000_000},
        "public_key": KEY.public_key,
    }
    lie = {**honest, **change}

    def tx_prepare(self: Client, *_: Any) -> Any:
        body = build_body(lie["chain_id"], lie["module"], lie["command"], lie["args"], valid_until_ms=1)
        return {"body": "0x" + body.hex(), "tx_id": "0x" + transaction_id(body, "ed25519", lie["public_key"]).hex()}

    monkeypatch.setattr(Client, "tx_prepare", tx_prepare)
    built = dawan("tx", "build", "toy", "pay", "--args", ARGS, "--public-key", PUBLIC_KEY)
    assert built.exit_code == 1
    assert told in built.stderr
    assert "Do not sign it" in built.stderr


def test_exit_codes_tell_rejected_from_unknown_from_unreachable(dawan: CommandLine) -> None:
    assert dawan("tx", "submit", given=envelope()).exit_code == 0
    failed = dawan("tx", "submit", "--wait", "committed", given=envelope("the-loser"))
    assert (failed.exit_code, "E_DUP_FINANCE" in failed.stderr) == (4, True)
    tampered = dawan("tx", "submit", given=envelope()[:-2] + "00")
    assert (tampered.exit_code, "E_SIGNATURE" in tampered.stderr) == (4, True)
    dawan.server.node.commits = False
    late = dawan("tx", "submit", "--wait", "committed", given=envelope())
    assert (late.exit_code, "do not sign it anew" in late.stderr) == (5, True)
    dawan.environment["DAWAN_RPC"] = "http://127.0.0.1:1"
    nobody = dawan("tx", "submit", given=envelope())
    assert (nobody.exit_code, "--rpc" in nobody.stderr) == (3, True)


def test_a_connection_that_breaks_after_sending_is_state_unknown(dawan: CommandLine) -> None:
    with answering(b"") as url:
        broken = dawan("tx", "submit", "--channel", "trade", "--rpc", url, given=envelope())
    assert (broken.exit_code, "always safe" in broken.stderr) == (5, True)


def test_submitting_the_same_bytes_twice_is_safe(dawan: CommandLine) -> None:
    outputs = [dawan("tx", "submit", "--wait", "committed", given=envelope()).stdout for _ in range(2)]
    assert outputs[0] == outputs[1]
    assert "committed" in outputs[0]


@pytest.mark.parametrize("given", ["", "hello", "[]", "0x", "0xzz", "{}", '{"tx": 7}', '{"tx": "0xZZ"}'])
def test_what_is_no_transaction_is_refused_with_one_line(dawan: CommandLine, given: str) -> None:
    done = dawan("tx", "submit", given=given)
    assert done.exit_code in (1, 2)
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert dawan.server.node.submitted == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["tx", "build", "toy", "pay"],
        ["tx", "build", "toy", "pay", "--public-key", PUBLIC_KEY, "--args", "{"],
        ["tx", "build", "toy", "pay", "--public-key", PUBLIC_KEY, "--args", "[]"],
        ["tx", "build", "toy", "pay", "--public-key", "0xZZ"],
        ["tx", "status", "zz"],
        ["tx", "submit", "--wait", "finalised"],
    ],
)
def test_wrong_usage_is_exit_code_two(dawan: CommandLine, arguments: list[str]) -> None:
    assert dawan(*arguments, given="0x00").exit_code == 2


def test_an_argument_the_schema_refuses_is_named(dawan: CommandLine) -> None:
    refused = dawan("tx", "build", "toy", "pay", "--public-key", PUBLIC_KEY, "--args", '{"to": "x", "amount": 5}')
    assert (refused.exit_code, "E_SCHEMA at args.amount: " in refused.stderr) == (4, True)
    assert refused.stderr.count("args.amount") == 1, "the place is said once"
    assert "data.path" not in refused.stderr, "advice for programs is not for people"


def test_another_chain_id_than_the_nodes_is_refused(dawan: CommandLine) -> None:
    wrong = "0x" + "00" * 32
    refused = dawan("tx", "build", "toy", "pay", "--public-key", PUBLIC_KEY, "--args", ARGS, "--chain-id", wrong)
    assert (refused.exit_code, "its chain id is" in refused.stderr) == (1, True)


def test_an_unknown_transaction_has_a_status_and_no_receipt(dawan: CommandLine) -> None:
    unknown = "0x" + "11" * 32
    assert dawan("tx", "status", unknown).stdout == "unknown\n"
    assert dawan("tx", "receipt", unknown).exit_code == 1
