"""The client builds with msgpack what the node decodes with msgspec: the same bytes, or the same refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidTransaction
from dawan_node.primitives.transaction import Body, Transaction
from dawan_node.primitives.transaction import sign_transaction as node_sign
from dawan_node.primitives.transaction import signing_bytes as node_signing_bytes
from dawan_node.rpc import client
from tests.rpc.fake_node import CHAIN_ID, KEY

names = st.text(min_size=1, max_size=12)
args_maps = st.dictionaries(
    names,
    st.recursive(
        st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40) | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=10,
    ),
    max_size=5,
).filter(lambda value: _depth(value) <= 8)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(item) for item in inner), default=-1)


@given(args_maps, st.integers(0, 2**63 - 1), st.binary(min_size=16, max_size=16))
def test_both_codecs_build_the_same_transaction(args: dict[str, Any], until: int, nonce: bytes) -> None:
    body = client.build_body(CHAIN_ID, "toy", "pay", args, valid_until_ms=until, nonce=nonce)
    envelope = client.sign_transaction(KEY, body)
    assert envelope == node_sign(KEY, Body(1, CHAIN_ID, nonce, until, "toy", "pay", args))
    transaction = Transaction.decode(envelope)
    assert transaction.verify_signature()
    assert transaction.body.args == args
    assert transaction.tx_id == client.transaction_id(body, "ed25519", KEY.public_key)
    assert client.signing_bytes(body) == node_signing_bytes(body)
    assert client.read_envelope(envelope) == (body, "ed25519", KEY.public_key, transaction.signature)
    assert client.read_body(body)["args"] == args


def test_a_nonce_is_random_unless_it_is_given() -> None:
    one, two = (client.build_body(CHAIN_ID, "toy", "pay", {}, valid_until_ms=1) for _ in range(2))
    assert one != two


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"a": 1.5}, TypeError),
        ({"a": None}, TypeError),
        ({"a": {1: 2}}, TypeError),
        ({"a": {1, 2}}, TypeError),
        ({"a": 2**63}, ValueError),
        ({"a": [[[[[[[[7]]]]]]]]}, ValueError),
    ],
)
def test_a_value_without_canonical_encoding_is_refused_before_it_is_signed(args: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        client.build_body(CHAIN_ID, "toy", "pay", args, valid_until_ms=1)


@pytest.mark.parametrize(("chain_id", "nonce"), [(b"short", None), (CHAIN_ID, b"short")])
def test_a_chain_id_or_nonce_of_a_wrong_length_is_refused(chain_id: bytes, nonce: bytes | None) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        client.build_body(chain_id, "toy", "pay", {}, valid_until_ms=1, nonce=nonce)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x94", b"\x97\x02\x01\x01\x01\x01\x01\x80", b"\xff" * 40, b"\xdd\xff\xff\xff\xff"]
)
def test_what_is_no_body_or_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a transaction"):
        client.read_body(data)
    with pytest.raises(ValueError, match="not a transaction"):
        client.read_envelope(data)
    with pytest.raises(InvalidTransaction):
        Transaction.decode(data)


def test_arguments_as_deep_as_the_format_allows_are_built_and_read_alike() -> None:
    args: dict[str, Any] = {"a": [[[[[[[7]]]]]]]}  # 8 containers, formats A.1
    body = client.build_body(CHAIN_ID, "toy", "pay", args, valid_until_ms=1)
    assert Transaction.decode(client.sign_transaction(KEY, body)).body.args == args
    assert client.read_body(body)["args"] == args
