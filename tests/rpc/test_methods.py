"""Every method through the dispatcher: names and shapes of formats B, and a wrong input for each."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from dawan_node.errors import InvalidTransaction, StorageError
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import client, jsonrpc
from dawan_node.rpc.api import ApiError, EventPosition
from dawan_node.rpc.caller import LOCAL
from dawan_node.rpc.dispatch import Dispatcher
from dawan_node.rpc.methods import ROUTES
from dawan_node.rpc.params import Access, decode_cursor, encode_cursor
from tests.rpc.fake_node import CHAIN_ID, KEY, NOW_MS, FakeNode

PUBLIC_KEY = "0x" + KEY.public_key.hex()
PAY = {"to": "hk-bank", "amount": {"currency": "CNY", "amount": "1234.50"}, "due": "2026-05-20T08:00:00.000Z"}


def ask(node: FakeNode, body: Any, **options: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = asyncio.run(Dispatcher(node, **options).handle(data, LOCAL))
    return json.loads(reply) if reply else None


def call(method: str, params: Any = None, node: FakeNode | None = None, **options: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method}
    if params is not None:
        request["params"] = params
    return ask(node or FakeNode(), request, **options)


def result(method: str, params: Any = None, node: FakeNode | None = None) -> Any:
    reply = call(method, params, node)
    assert "error" not in reply, reply
    assert reply["id"] == 1
    return reply["result"]


def error(method: str, params: Any = None, node: FakeNode | None = None, **options: Any) -> Any:
    reply = call(method, params, node, **options)
    assert "result" not in reply, reply
    assert {"reason", "retryable", "hint"} <= reply["error"]["data"].keys()
    return reply["error"]


def transaction(to: str = "hk-bank", nonce: bytes = bytes(16)) -> bytes:
    body = client.build_body(
        CHAIN_ID, "toy", "pay", {"to": to, "amount": ["CNY", 5]}, valid_until_ms=NOW_MS + 1, nonce=nonce
    )
    return client.sign_transaction(KEY, body)


def committed(node: FakeNode, to: str = "hk-bank") -> str:
    return str(result("tx_submit", ["trade", "0x" + transaction(to).hex(), "committed"], node)["tx_id"])


# -- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "keys"),
    [
        ("node_version", [], "version protocol suite python leveldb ed25519"),
        ("node_status", [], "node org network uptime_s disk channels peers"),
        ("channel_get", ["trade"], "channel chain_id height modules orgs validators n f quorum"),
        ("chain_head", ["trade"], "height block_hash state_root timestamp"),
        ("chain_getBlock", ["trade", 1], "height header block_hash result commit txs"),
        ("chain_getFinalityProof", ["trade", "latest"], "proof decoded"),
        ("chain_getValidators", ["trade", "latest"], "epoch valset_hash validators"),
        ("state_get", ["trade", "toy", "payment", "0x00"], "value height"),
        ("module_query", ["trade", "toy", "paid"], "items cursor height"),
        ("events_get", ["trade"], "events cursor"),
        ("member_list", ["trade"], "orgs identities"),
        (
            "pbft_status",
            ["trade"],
            "channel state epoch view primary height in_flight suspects waiting_for",
        ),
        ("pbft_evidence", ["trade"], "evidence halted"),
        ("txpool_status", ["trade"], "count bytes count_max bytes_max by_org"),
    ],
)
def test_a_result_has_exactly_the_documented_members(method: str, params: list[Any], keys: str) -> None:
    assert sorted(result(method, params)) == sorted(keys.split())


def test_status_and_version_are_as_documented() -> None:
    status = result("node_status")
    assert status["channels"] == [
        {
            "channel": "trade",
            "height": 1,
            "state": "normal",
            "view": 0,
            "primary": "gz1",
            "last_commit_age_ms": 120,
            "sync": None,
        }
    ]
    assert status["disk"] == {"free_bytes": 50 << 30, "floor_bytes": 64 << 20, "reserve_bytes": 64 << 20}
    assert result("channel_list") == ["trade"]
    assert result("module_list", ["trade"]) == [{"name": "toy", "version": 1}]
    assert result("channel_get", ["trade"])["modules"] == [{"name": "toy", "version": 1}]
    assert result("net_peers")[0] == {
        "name": "hk1",
        "org": "hk",
        "address": "127.0.0.1:7100",
        "direction": "out",
        "channels": ["trade"],
        "rtt_ms": 3,
        "behind": {"trade": 0},
        "software": "",
        "clock_skew_ms": None,
    }
    assert result("txpool_status", ["trade"])["by_org"] == [{"org": "gz", "count": 2, "bytes": 700}]


def test_a_block_shows_ids_or_whole_transactions() -> None:
    node = FakeNode()
    tx_id = committed(node)
    block = result("chain_getBlock", ["trade", 1], node)
    assert block["txs"] == [tx_id]
    assert block["commit"] == {"view": 0, "signers": ["gz1", "hk1", "hq1"]}
    assert block["header"]["timestamp"] == "2025-11-24T16:00:00.123Z"
    assert block["header"]["chain_id"] == "0x" + CHAIN_ID.hex()
    (full,) = result("chain_getBlock", {"channel": "trade", "at": "latest", "full": True}, node)["txs"]
    assert full["tx_id"] == tx_id
    assert full["tx"] == "0x" + transaction().hex()
    assert full["args"] == {"to": "hk-bank", "amount": {"currency": "CNY", "amount": "0.05"}}
    assert (full["module"], full["command"], full["code"], full["index"]) == ("toy", "pay", 0, 0)


@pytest.mark.parametrize("at", [1, "latest", "0x" + "aa" * 32])
def test_a_block_is_selected_by_height_hash_or_latest(at: Any) -> None:
    assert result("chain_getBlock", ["trade", at])["height"] == 1


def test_a_finality_proof_comes_as_bytes_and_decoded() -> None:
    proof = result("chain_getFinalityProof", ["trade", 1])
    assert proof["decoded"]["header"]["height"] == 1
    assert proof["decoded"]["certificate"]["bitmap"] == "0x07"
    assert proof["decoded"]["links"] == []
    assert proof["proof"].startswith("0x95")


def test_pbft_status_names_who_is_missing() -> None:
    node = FakeNode()
    node.unhealthy = True
    status = result("pbft_status", ["trade"], node)
    assert status["in_flight"] == [{"height": 2, "phase": "prepare", "have": ["gz1", "hk1"], "missing": ["hq1", "mo1"]}]
    assert status["suspects"] == [{"name": "gz1", "view": 3}, {"name": "hk1", "view": 3}]


def test_evidence_comes_with_both_signed_messages_and_a_halt_with_its_proof() -> None:
    node = FakeNode()
    assert result("pbft_evidence", ["trade"], node) == {"evidence": [], "halted": None}
    node.unhealthy = True
    shown = result("pbft_evidence", ["trade"], node)
    assert shown["evidence"] == [
        {"kind": "equivocation", "epoch": 0, "validator": "hk1", "first": "0x01", "second": "0x02", "on_chain": 7},
        {"kind": "invalid_new_view", "epoch": 0, "validator": "mo1", "first": None, "second": "0x", "on_chain": None},
    ]
    assert shown["halted"] == {"reason": "two blocks are decided at height 9", "first": "0x03", "second": "0x04"}


def test_members_have_names_in_every_language_and_certificates_their_end() -> None:
    members = result("member_list", ["trade"])
    assert members["orgs"] == [
        {"id": "gz", "names": {"en": "Guangzhou", "zh-Hans": "广州"}, "tier": "founding", "status": "active"}
    ]
    alice, node = members["identities"]
    assert alice["public_key"] == PUBLIC_KEY
    assert "certificate_not_after" not in alice
    assert node["certificate_not_after"] == "2025-11-24T16:00:00.123Z"
    assert result("member_get", ["trade", "gz"])["kind"] == "organisation"
    assert result("member_get", ["trade", "alice"])["kind"] == "identity"
    assert error("member_get", ["trade", "nobody"])["code"] == -32001


def test_state_is_shown_by_field_or_raw_or_as_absent() -> None:
    entry = result("state_get", ["trade", "toy", "payment", "0x" + b"001".hex()])
    assert entry["value"]["amount"] == {"currency": "CNY", "amount": "1234.50"}
    assert entry["value"]["due"] == "2025-11-24T16:00:00.123Z"
    assert entry["value"]["document"] == "0x" + "01" * 32
    assert result("state_get", ["trade", "toy", "payment", "0x00"])["value"] is None
    assert result("state_get", ["trade", "governance", "replay", "0x00"])["value"] == "0x9101"
    named = {"channel": "trade", "module": "toy", "collection": "payment", "key": "0x00", "proof": True}
    assert result("state_get", named)["proof"] == "0xc4026869"


def test_a_query_reads_its_parameters_by_schema_and_pages() -> None:
    node = FakeNode()
    params = {"to": "x", "least": {"currency": "HKD", "amount": "1.00"}}
    page = result("module_query", ["trade", "toy", "paid", params, 1], node)
    assert node.queried == {"to": "x", "least": ["HKD", 100]}
    assert page["items"][0]["amount"] == {"currency": "CNY", "amount": "1234.50"}
    again = result("module_query", ["trade", "toy", "paid", {}, 1, page["cursor"]], node)
    assert again["cursor"] is None
    assert error("module_query", ["trade", "toy", "paid", {"least": 5}], node)["data"]["path"] == "params.params.least"
    assert error("module_query", ["trade", "toy", "unpaid", {}], node)["code"] == -32001
    assert error("module_query", ["trade", "none", "paid", {}], node)["code"] == -32001


def test_events_are_read_to_the_end_without_gap_or_repetition() -> None:
    seen, cursor = [], None
    for _ in range(10):
        page = result("events_get", ["trade", cursor, 4])
        seen += [(event["height"], event["index"], event["n"]) for event in page["events"]]
        assert not page["events"] or page["events"][-1]["cursor"] == page["cursor"]
        if page["cursor"] == cursor:
            break
        cursor = page["cursor"]
    assert seen == [(1, 0, 0), (1, 0, 1), (2, 0, 0), (2, 0, 1), (3, 0, 0), (3, 0, 1)]


def test_an_event_is_shown_by_its_schema() -> None:
    event = result("events_get", {"channel": "trade", "limit": 1})["events"][0]
    assert event["data"] == {"amount": {"currency": "JPY", "amount": "7"}, "at": "1970-01-01T00:00:00.000Z"}
    assert (event["module"], event["name"], event["channel"]) == ("toy", "Paid", "trade")


def test_a_filter_that_matches_nothing_still_moves_the_cursor() -> None:
    page = result("events_get", {"channel": "trade", "filter": {"names": ["Other"]}, "limit": 3})
    assert page["events"] == []
    assert decode_cursor("trade", bytes.fromhex(page["cursor"][2:])) == EventPosition(2, 0, 0)


def test_a_cursor_of_another_channel_is_refused() -> None:
    cursor = "0x" + encode_cursor("logistics", EventPosition(1, 0, 0)).hex()
    refused = error("events_get", ["trade", cursor])
    assert (refused["code"], refused["data"]["path"]) == (-32602, "params.cursor")


# -- transactions ----------------------------------------------------------------------------------------------------


def prepare(node: FakeNode | None = None, **changes: Any) -> Any:
    params = {
        "channel": "trade",
        "suite": "ed25519",
        "public_key": PUBLIC_KEY,
        "module": "toy",
        "command": "pay",
        "args": PAY,
    }
    return call("tx_prepare", {**params, **changes}, node)


def test_a_client_without_messagepack_prepares_signs_and_submits() -> None:
    node = FakeNode()
    prepared = prepare(node)["result"]
    signature = KEY.sign(b"dawan:tx:v1", bytes.fromhex(prepared["body"][2:]))
    assert prepared["signing_bytes"] == "0x" + b"dawan:tx:v1\n".hex() + prepared["body"][2:]
    assembled = result("tx_assemble", [prepared["body"], "ed25519", PUBLIC_KEY, "0x" + signature.hex()])
    assert assembled["tx_id"] == prepared["tx_id"]
    decoded = Transaction.decode(bytes.fromhex(assembled["tx"][2:]))
    assert decoded.body.args == {"to": "hk-bank", "amount": ["CNY", 123_450], "due_ms": 1_779_264_000_000}
    assert decoded.body.chain_id == CHAIN_ID
    assert prepared["valid_until"] == "2025-11-24T16:10:00.123Z"
    assert prepared["nonce"] == "0x" + decoded.body.nonce.hex()
    verdict = result("tx_submit", ["trade", assembled["tx"], "committed", 1000], node)
    assert (verdict["status"], verdict["receipt"]["code"]) == ("committed", 0)
    assert verdict["tx_id"] == prepared["tx_id"]


def test_the_longest_lifetime_leaves_room_for_a_block_time_behind_this_node() -> None:
    assert prepare(valid_for_ms=3_600_000)["result"]["valid_until"] == "2025-11-24T16:57:00.123Z"


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"channel": "none"}, -32001, None),
        ({"suite": "sm2"}, 1010, "params.suite"),
        ({"public_key": "0x00"}, -32602, "params.public_key"),
        ({"public_key": "0x" + "00" * 32}, -32602, "params.public_key"),
        ({"module": "none"}, 1008, "params.module"),
        ({"command": "none"}, 1008, "params.command"),
        ({"args": []}, -32602, "params.args"),
        ({"args": {"to": "x"}}, 1009, "args.amount"),
        ({"args": {**PAY, "amount": 7}}, 1009, "args.amount"),
        ({"args": {**PAY, "to": "nobody"}}, 1009, "args.to"),
        ({"args": {**PAY, "typo": 1}}, 1009, "args.typo"),
        ({"valid_for_ms": 10}, -32602, "params.valid_for_ms"),
        ({"valid_for_ms": 3_600_001}, 1003, "params.valid_for_ms"),
    ],
)
def test_what_cannot_be_prepared_is_refused_with_its_path(change: dict[str, Any], code: int, path: str | None) -> None:
    refused = prepare(**change)["error"]
    assert (refused["code"], refused["data"].get("path")) == (code, path)


def test_a_wrong_signature_or_body_is_found_while_assembling() -> None:
    body = prepare()["result"]["body"]
    params = [body, "ed25519", PUBLIC_KEY, "0x" + "01" * 64]
    assert error("tx_assemble", params)["code"] == Code.E_SIGNATURE
    assert error("tx_assemble", ["0x80", *params[1:]])["code"] == Code.E_MALFORMED
    assert error("tx_assemble", [*params[:3], "0x00"])["data"]["path"] == "params.signature"


def test_the_same_bytes_again_give_the_same_answer() -> None:
    node = FakeNode()
    params = ["trade", "0x" + transaction().hex(), "committed"]
    assert result("tx_submit", params, node) == result("tx_submit", params, node)


def test_a_receipt_is_shown_whole() -> None:
    node = FakeNode()
    tx_id = committed(node, "the-loser")
    assert result("tx_receipt", ["trade", tx_id], node) == {
        "tx_id": tx_id,
        "channel": "trade",
        "height": 1,
        "index": 0,
        "block_hash": "0x" + "aa" * 32,
        "code": 3,
        "reason": "E_DUP_FINANCE",
        "events": [],
    }
    assert result("tx_status", ["trade", tx_id], node) == {"tx_id": tx_id, "status": "failed"}
    got = result("tx_get", ["trade", tx_id], node)
    assert (got["status"], got["receipt"]["reason"], got["channel"]) == ("committed", "E_DUP_FINANCE", "trade")


def test_an_unknown_transaction_is_not_found() -> None:
    unknown = "0x" + "11" * 32
    assert result("tx_status", ["trade", unknown])["status"] == "unknown"
    assert error("tx_receipt", ["trade", unknown])["code"] == -32001
    assert error("tx_get", ["trade", unknown])["code"] == -32001


def test_a_refused_transaction_is_an_error_with_its_own_code() -> None:
    tampered = bytearray(transaction())
    tampered[-1] ^= 1
    refused = error("tx_submit", ["trade", "0x" + tampered.hex()])
    assert (refused["code"], refused["data"]["reason"]) == (1001, "E_SIGNATURE")
    assert refused["data"]["tx_id"].startswith("0x")
    assert error("tx_submit", ["trade", "0x"])["code"] == 1000
    assert error("tx_submit", ["trade", "0x" + "00" * 70_000])["code"] == 1005
    assert error("tx_submit", ["trade", "zz"])["code"] == -32602


def test_a_wait_that_ends_in_vain_says_the_transaction_may_still_commit() -> None:
    node = FakeNode()
    node.commits = False
    late = error("tx_submit", ["trade", "0x" + transaction().hex(), "committed"], node)
    assert (late["code"], late["data"]["reason"], late["data"]["retryable"]) == (1100, "E_WAIT_TIMEOUT", False)
    assert "tx_id" in late["data"]


def test_many_transactions_get_one_verdict_each() -> None:
    node = FakeNode()
    txs = ["0x" + transaction().hex(), "zz", 7, "0x", "0x" + transaction("the-loser", b"n" * 16).hex()]
    verdicts = result("tx_submitMany", ["trade", txs, "committed"], node)
    assert [verdict["status"] for verdict in verdicts] == ["committed", "unknown", "unknown", "unknown", "failed"]
    assert verdicts[1]["error"]["data"]["path"] == "params.txs[1]"
    assert verdicts[2]["error"]["code"] == -32602
    assert verdicts[3]["error"]["code"] == 1000
    assert verdicts[4]["receipt"]["reason"] == "E_DUP_FINANCE"
    assert node.submitted == [transaction(), b"", transaction("the-loser", b"n" * 16)]


def test_five_hundred_transactions_are_the_most() -> None:
    node = FakeNode()
    assert len(result("tx_submitMany", ["trade", ["0x"] * 500], node)) == 500
    assert error("tx_submitMany", ["trade", ["0x"] * 501], node)["data"]["path"] == "params.txs"
    assert error("tx_submitMany", ["trade", []], node)["data"]["path"] == "params.txs"


# -- binding ---------------------------------------------------------------------------------------------------------


def test_by_name_and_by_position_are_the_same_call() -> None:
    for route in ROUTES.values():
        assert [param.required for param in route.params] == sorted(
            [param.required for param in route.params], reverse=True
        ), f"{route.name}: required parameters come first"
    assert result("chain_getBlock", ["trade", 1, False]) == result(
        "chain_getBlock", {"full": False, "at": 1, "channel": "trade"}
    )
    assert result("events_get", ["trade", None, 2]) == result("events_get", {"channel": "trade", "limit": 2})


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("chain_head", [], "params.channel"),
        ("chain_head", {}, "params.channel"),
        ("chain_head", [None], "params.channel"),
        ("chain_head", [7], "params.channel"),
        ("chain_head", ["Trade!"], "params.channel"),
        ("chain_head", ["trade", 1], "params[1]"),
        ("chain_head", {"channel": "trade", "x": 1}, "params.x"),
        ("node_version", {"x": 1}, "params.x"),
        ("node_version", [1], "params[0]"),
        ("chain_getBlock", ["trade", "newest"], "params.at"),
        ("chain_getBlock", ["trade", "0xabcd"], "params.at"),
        ("chain_getBlock", ["trade", -1], "params.at"),
        ("chain_getBlock", ["trade", 1.5], "params.at"),
        ("chain_getBlock", ["trade", True], "params.at"),
        ("chain_getBlock", ["trade", 1, "yes"], "params.full"),
        ("tx_get", ["trade", "0x00"], "params.tx_id"),
        ("tx_submit", ["trade", "0x00", "finalised"], "params.wait"),
        ("tx_submit", ["trade", "0x00", ["accepted"]], "params.wait"),
        ("tx_submit", ["trade", "0x00", "accepted", 0], "params.timeout_ms"),
        ("tx_submit", ["trade", "0x00", "accepted", 60_001], "params.timeout_ms"),
        ("state_get", ["trade", "toy", "payment", "0x" + "00" * 257], "params.key"),
        ("state_get", ["trade", "Toy", "payment", "0x00"], "params.module"),
        ("module_query", ["trade", "toy", "paid", {}, 501], "params.limit"),
        ("module_query", ["trade", "toy", "paid", {}, 0], "params.limit"),
        ("module_query", ["trade", "toy", "paid", []], "params.params"),
        ("events_get", ["trade", "0x00"], "params.cursor"),
        ("events_get", ["trade", None, 1, {"module": []}], "params.filter"),
        ("events_get", ["trade", None, 1, {"modules": "toy"}], "params.filter.modules"),
        ("events_get", ["trade", None, 1, {"names": ["paid"]}], "params.filter.names[0]"),
        ("events_get", ["trade", None, 1, {"names": [[]]}], "params.filter.names[0]"),
    ],
)
def test_a_wrong_parameter_is_named(method: str, params: Any, path: str) -> None:
    refused = error(method, params)
    assert (refused["code"], refused["data"]["path"]) == (-32602, path)


def test_an_unknown_channel_is_not_found_by_every_method_that_takes_one() -> None:
    sample = {
        "tx_id": "0x" + "00" * 32,
        "tx": "0x00",
        "txs": ["0x00"],
        "module": "toy",
        "collection": "payment",
        "key": "0x00",
        "query": "paid",
        "name": "gz",
        "suite": "ed25519",
        "public_key": PUBLIC_KEY,
        "command": "pay",
        "args": {},
    }
    for route in ROUTES.values():
        if any(param.name == "channel" for param in route.params):
            params = {param.name: sample[param.name] for param in route.params if param.name in sample}
            assert error(route.name, {**params, "channel": "none"})["code"] == -32001, route.name


@pytest.mark.parametrize(
    "method", ["tx_proof", "tx_simulate", "events_subscribe", "events_unsubscribe", "rpc.discover"]
)
def test_a_method_that_is_not_there_yet_says_what_to_do_instead(method: str) -> None:
    refused = error(method, {})
    assert (refused["code"], refused["data"]["reason"]) == (-32601, "E_METHOD")
    assert "not offered" in refused["message"]


def test_a_misspelt_method_names_the_nearest() -> None:
    assert error("chain_getblock", [])["data"]["hint"] == "Did you mean chain_getBlock?"
    assert error("eth_blockNumber", [])["code"] == -32601
    assert error("x" * 100_000, [])["code"] == -32601


def test_only_submissions_may_change_anything() -> None:
    assert {route.name for route in ROUTES.values() if route.access is Access.SUBMIT} == {"tx_submit", "tx_submitMany"}


def test_the_python_clients_have_every_method_of_the_table() -> None:
    assert {name for name in ROUTES if hasattr(client.Methods, name)} == set(ROUTES)


# -- the dispatcher --------------------------------------------------------------------------------------------------


def test_a_batch_is_answered_in_order_and_notifications_are_not() -> None:
    requests = [
        {"jsonrpc": "2.0", "id": "a", "method": "channel_list"},
        {"jsonrpc": "2.0", "method": "channel_list"},
        {"jsonrpc": "2.0", "id": None, "method": "nothing"},
        5,
    ]
    replies = ask(FakeNode(), requests)
    assert [reply["id"] for reply in replies] == ["a", None, None]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32601, -32600]


def test_only_notifications_get_no_reply_at_all() -> None:
    assert ask(FakeNode(), {"jsonrpc": "2.0", "method": "channel_list"}) is None
    assert ask(FakeNode(), [{"jsonrpc": "2.0", "method": "nothing"}]) is None


def test_a_reply_that_would_be_too_large_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrpc, "REPLY_BYTES_MAX", 100)
    assert error("node_status")["code"] == -32005


def test_a_batch_stops_working_when_its_reply_is_full() -> None:
    node = FakeNode()
    node.pages = 500
    big = {"jsonrpc": "2.0", "id": 1, "method": "module_query", "params": ["trade", "toy", "paid", {}, 500]}
    replies = ask(node, [big] * 50)
    codes = [reply.get("error", {}).get("code") for reply in replies]
    first_cut = codes.index(-32005)
    assert first_cut > 5
    assert codes == [None] * first_cut + [-32005] * (50 - first_cut)
    assert node.queries == first_cut + 1, "nothing is asked of the node for a reply that will not fit"
    assert len(json.dumps(replies, separators=(",", ":"))) <= jsonrpc.REPLY_BYTES_MAX


def test_an_unforeseen_error_shows_only_a_trace_id(caplog: pytest.LogCaptureFixture) -> None:
    node = FakeNode()
    node.fails_with = RuntimeError("the secret of another member")
    with caplog.at_level(logging.ERROR):
        refused = error("node_status", [], node)
    assert refused["code"] == -32603
    assert "secret" not in json.dumps(refused)
    assert "Traceback" not in json.dumps(refused)
    assert f"trace_id={refused['data']['trace_id']}" in caplog.text


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ApiError.unavailable("syncing"), -32002),
        (ApiError.pruned(5, 9), 1302),
        (ApiError.invalid("no"), -32000),
        (StorageError("checksum"), -32002),
        (InvalidTransaction(1006, "E_QUOTA", "too many"), 1006),
        (RecursionError(), -32603),
        (KeyError("x"), -32603),
    ],
)
def test_every_failure_of_the_node_has_its_code(failure: BaseException, code: int) -> None:
    node = FakeNode()
    node.fails_with = failure
    assert error("node_status", [], node)["code"] == code


def test_one_failing_call_does_not_spoil_the_batch() -> None:
    node = FakeNode()
    node.fails_with = RuntimeError()
    replies = ask(
        node, [{"jsonrpc": "2.0", "id": n, "method": m} for n, m in enumerate(["node_status", "channel_list"])]
    )
    assert ["error" in reply for reply in replies] == [True, False]


def test_a_read_that_hangs_is_given_up() -> None:
    node = FakeNode()
    node.delay_s = 60
    assert error("chain_head", ["trade"], node, read_ms_max=10)["code"] == -32002


def test_a_batch_that_ran_out_of_time_does_not_run_the_rest() -> None:
    node = FakeNode()
    clock = iter(range(0, 10_000, 40))
    submit = {"jsonrpc": "2.0", "id": 1, "method": "tx_submit", "params": ["trade", "0x" + transaction().hex()]}
    replies = ask(node, [submit] * 4, request_ms_max=100, monotonic_ms=lambda: next(clock))
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32005, -32005, -32005]
    assert len(node.submitted) == 1


def test_a_submission_waits_no_longer_than_the_request_may_last() -> None:
    node = FakeNode()
    node.commits = False
    params = ["trade", "0x" + transaction().hex(), "committed", 60_000]
    assert error("tx_submit", params, node, request_ms_max=20)["code"] == 1100
    assert 1 <= node.timeouts_ms[0] <= 20


def test_calls_are_observed_without_letting_clients_invent_names() -> None:
    seen: list[tuple[str, int]] = []
    requests = [{"jsonrpc": "2.0", "id": 1, "method": method} for method in ("channel_list", "x" * 50)]
    ask(FakeNode(), [*requests, 5], observe=lambda method, code, _: seen.append((method, code)))
    assert seen == [("channel_list", 0), ("unknown", -32601), ("unknown", -32600)]
