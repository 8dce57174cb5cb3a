"""JSON-RPC framing: what is not a call is refused with a stable code, and never with a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.primitives.codes import Code
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.api import ApiError
from dawan_node.rpc.jsonrpc import BadCall, Call, NotAnInteger


def refusal(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        jsonrpc.parse_body(body)
    return caught.value


def only_call(body: bytes) -> Call | BadCall:
    (call,) = jsonrpc.parse_body(body).calls
    return call


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"nul", -32700),
        (b"\xff\xfe", -32700),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"m"}', -32700),
        (b'{"jsonrpc":"2.0","method":"m","method":"n","id":1}', -32700),
        (b'{"jsonrpc":"2.0","method":"m","id":1,"params":{"a":1,"a":2}}', -32700),
        (b'{"jsonrpc":"2.0","method":"m","id":NaN}', -32700),
        (b'{"jsonrpc":"2.0","method":"m","params":[Infinity]}', -32700),
        (b'{"jsonrpc":"2.0","method":"m","params":["\\ud800"]}', -32700),
        (b'{"jsonrpc":"2.0","method":"m","params":{"\\udc00":1}}', -32700),
        (b'{"jsonrpc":"2.0","method":"a\nb"}', -32700),
        (b'{"jsonrpc":"2.0","method":"m"} trailing', -32700),
        (b"[" * 100_000, -32600),
        (b"[" * 60_000 + b"]" * 60_000, -32600),
        (b"[" * 500 + b"]" * 500, -32600),
        (b'{"a":' * 900 + b"1" + b"}" * 900, -32600),
        (b"[" + b"[]," * 70_000 + b"[]]", -32600),
        (b'"text"', -32600),
        (b"7", -32600),
        (b"null", -32600),
        (b"[]", -32600),
        (b"[" + b"1," * 50 + b"1]", -32005),
    ],
)
def test_a_body_that_is_no_request_is_refused_as_a_whole(body: bytes, code: int) -> None:
    assert refusal(body).code == code


@pytest.mark.parametrize(
    "element",
    [
        "1",
        "{}",
        '{"jsonrpc":"1.0","method":"m","id":1}',
        '{"jsonrpc":2.0,"method":"m","id":1}',
        '{"jsonrpc":"2.0","id":1}',
        '{"jsonrpc":"2.0","method":7,"id":1}',
        '{"jsonrpc":"2.0","method":"m","params":"x","id":1}',
        '{"jsonrpc":"2.0","method":"m","params":null,"id":1}',
        '{"jsonrpc":"2.0","method":"m","id":1.5}',
        '{"jsonrpc":"2.0","method":"m","id":1e2}',
        '{"jsonrpc":"2.0","method":"m","id":true}',
        '{"jsonrpc":"2.0","method":"m","id":{}}',
        '{"jsonrpc":"2.0","method":"m","id":[1]}',
        '{"jsonrpc":"2.0","method":"m","id":1180591620717411303424}',
        '{"jsonrpc":"2.0","method":"m","id":9007199254740992}',
        '{"jsonrpc":"2.0","method":"m","id":"' + "x" * 200 + '"}',
        '{"jsonrpc":"2.0","method":"m","id":1,"auth":"x"}',
    ],
)
def test_an_element_that_is_no_call_spoils_only_itself(element: str) -> None:
    good = '{"jsonrpc":"2.0","method":"m","id":2}'
    body = jsonrpc.parse_body(f"[{element},{good}]".encode())
    bad, call = body.calls
    assert isinstance(bad, BadCall)
    assert bad.error.code == -32600
    assert call == Call("m", {}, 2)


def test_the_id_of_a_bad_call_is_given_back_when_it_could_be_read() -> None:
    assert only_call(b'{"jsonrpc":"1.0","method":"m","id":"a"}').id == "a"
    assert only_call(b'{"jsonrpc":"2.0","method":"m","id":[1]}').id is None


def test_a_call_without_id_is_a_notification_and_a_null_id_is_not() -> None:
    without, null = only_call(b'{"jsonrpc":"2.0","method":"m"}'), only_call(b'{"jsonrpc":"2.0","method":"m","id":null}')
    assert isinstance(without, Call)
    assert isinstance(null, Call)
    assert (without.is_notification, null.is_notification) == (True, False)


@pytest.mark.parametrize("number", ["1.5", "-0.0", "1e3", "1e400", "9007199254740992", "-9007199254740992", "9" * 5000])
def test_a_number_the_ledger_cannot_take_is_kept_apart_from_integers(number: str) -> None:
    call = only_call(f'{{"jsonrpc":"2.0","method":"m","params":[{number}],"id":1}}'.encode())
    assert isinstance(call, Call)
    (value,) = call.params
    assert isinstance(value, NotAnInteger)


def test_the_largest_exact_integers_are_integers() -> None:
    call = only_call(b'{"jsonrpc":"2.0","method":"m","params":[9007199254740991,-9007199254740991,-0],"id":1}')
    assert isinstance(call, Call)
    assert call.params == [2**53 - 1, -(2**53) + 1, 0]


def test_a_whole_surrogate_pair_is_text() -> None:
    call = only_call(b'{"jsonrpc":"2.0","method":"m","params":["\\ud83d\\ude80"],"id":1}')
    assert isinstance(call, Call)
    assert call.params == ["🚀"]


def test_fifty_calls_are_a_batch() -> None:
    one = b'{"jsonrpc":"2.0","method":"m","id":1}'
    assert len(jsonrpc.parse_body(b"[" + b",".join([one] * 50) + b"]").calls) == 50


def test_a_body_over_the_cap_is_refused() -> None:
    assert refusal(b" " * (jsonrpc.BODY_BYTES_MAX + 1)).code == -32005


@given(st.binary(max_size=200))
def test_any_bytes_give_calls_or_a_stable_error(body: bytes) -> None:
    """Fabric CVE-2021-43669: a malformed request ended the orderer."""
    try:
        jsonrpc.parse_body(body)
    except ApiError as error:
        assert error.code in (-32700, -32600, -32005)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("jsonrpc", "id", "method", "params", "x"), json_values)))
def test_any_json_object_gives_a_call_or_a_stable_error(element: dict[str, Any]) -> None:
    try:
        body = jsonrpc.parse_body(json.dumps([element]).encode())
    except ApiError as error:
        assert error.code in (-32700, -32600)
        return
    (call,) = body.calls
    reply = call.error if isinstance(call, BadCall) else ApiError(-32601, "no method")
    assert json.loads(jsonrpc.encode_error(call.id, reply))["jsonrpc"] == "2.0"


def test_every_code_has_one_meaning_and_a_hint() -> None:
    reasons = [entry.reason for entry in jsonrpc.ERRORS.values()]
    assert len(set(reasons)) == len(reasons)
    assert all(entry.hint for entry in jsonrpc.ERRORS.values())
    assert {int(code) for code in Code} - {0} <= jsonrpc.ERRORS.keys()
    assert set(range(-32006, -31999)) | {-32010, -32011, -32012, -32013, 1301, 1302} <= jsonrpc.ERRORS.keys()


def test_only_what_may_succeed_unchanged_is_marked_retryable() -> None:
    retryable = {code for code, entry in jsonrpc.ERRORS.items() if entry.retryable}
    assert retryable == {-32603, -32002, -32005, 1002, 1006, 1200, 1201}


def test_an_error_always_carries_reason_retryable_and_hint() -> None:
    error = jsonrpc.error_object(ApiError(-32602, "x" * 1000, path="params.at", extra={"tx_id": "0x00"}))
    assert error["data"] == {
        "reason": "E_PARAMS",
        "retryable": False,
        "hint": "data.path names the first wrong parameter.",
        "path": "params.at",
        "tx_id": "0x00",
    }
    assert len(error["message"]) == jsonrpc.TEXT_CHARS_MAX


def test_no_error_needs_more_room_than_a_batch_keeps_for_it() -> None:
    worst = ApiError(-32602, "\x01" * 9000, hint="\x01" * 9000, path="\x01" * 9000, extra={"trace_id": "0" * 16})
    assert len(jsonrpc.encode_error("\x01" * jsonrpc.ID_CHARS_MAX, worst)) < jsonrpc.ERROR_BYTES_RESERVED


def test_a_batch_reply_is_cut_element_by_element() -> None:
    limit = 50 * jsonrpc.ERROR_BYTES_RESERVED + 1000
    batch = jsonrpc.BatchReply(limit)
    for call_id in (1, 2, 3):
        batch.add_result(call_id, jsonrpc.encode_result(call_id, "x" * 600))
    first, second, third = json.loads(batch.encode())
    assert len(first["result"]) == 600
    assert (second["error"]["code"], third["error"]["code"]) == (-32005, -32005)
    assert batch.is_full
    assert len(batch.encode()) <= limit
