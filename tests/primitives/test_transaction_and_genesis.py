"""A transaction or genesis is refused with the one reason that fits."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.errors import InvalidGenesis, InvalidTransaction
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.genesis import DEFAULT_PARAMS, Genesis, ModuleEntry, ParamEntry
from dawan_node.primitives.transaction import (
    TX_BYTES_MAX,
    Body,
    Transaction,
    assemble_envelope,
    claimed_id,
    claimed_key,
    nonce_use,
    sign_transaction,
    transaction_id,
)


def _body(**fields: Any) -> Body:
    base = Body(1, bytes(32), bytes(16), 1, "receivable", "record_invoice", {"n": 1})
    return msgspec.structs.replace(base, **fields)


def _envelope(body: Any, suite: str = ED25519, key: bytes = bytes(32), signature: bytes = bytes(64)) -> bytes:
    return encode([encode(body), suite, key, signature])


GOOD = [1, bytes(32), bytes(16), 1, "receivable", "record_invoice", {"n": 1}]


@pytest.mark.parametrize(
    ("envelope", "code", "why"),
    [
        (b"", 1000, "no bytes"),
        (b"\x90", 1000, "an empty array"),
        (encode([1, 2, 3, 4]), 1000, "numbers"),
        (_envelope(GOOD) + b"\x00", 1000, "trailing bytes"),
        (_envelope(GOOD[:6]), 1000, "a field missing"),
        (_envelope([*GOOD, 1]), 1000, "a field too many"),
        (_envelope([2, *GOOD[1:]]), 1000, "version 2"),
        (_envelope([True, *GOOD[1:]]), 1000, "a bool for an int"),
        (_envelope([1, bytes(31), *GOOD[2:]]), 1000, "a short chain id"),
        (_envelope([1, bytes(32), bytes(15), *GOOD[3:]]), 1000, "a short nonce"),
        (_envelope([*GOOD[:3], -1, *GOOD[4:]]), 1000, "a negative time"),
        (_envelope([*GOOD[:6], {"x": {}} | {"k" * 65: 1}]), 1000, "a long key"),
        (_envelope([*GOOD[:6], [1]]), 1000, "args that are not a map"),
        (_envelope([*GOOD[:4], "Receivable", "x", {}]), 1000, "a module in upper case"),
        (_envelope([*GOOD[:4], "a" * 33, "x", {}]), 1000, "a long module name"),
        (_envelope(GOOD, key=bytes(31)), 1000, "a short key"),
        (_envelope(GOOD, signature=bytes(63)), 1000, "a short signature"),
        (_envelope(GOOD, suite="sm2"), 1010, "another suite"),
        (encode([b"\x97" + encode(GOOD)[1:-4] + b"\xc0", ED25519, bytes(32), bytes(64)]), 1000, "nil in the body"),
        (b"\x00" * (TX_BYTES_MAX + 1), 1005, "one byte too many"),
    ],
)
def test_a_malformed_envelope_is_refused_with_its_code(envelope: bytes, code: int, why: str) -> None:
    with pytest.raises(InvalidTransaction) as refusal:
        Transaction.decode(envelope)
    assert refusal.value.code == code, why


@pytest.mark.parametrize("key", [b"\x91\x01", b"\xc4\x01a", b"\xc0", b"\x01", b"\xcb" + bytes(8)])
def test_args_with_a_map_that_has_no_encoding_are_refused_like_any_other(key: bytes) -> None:
    """Keys that are arrays, bytes, nil or numbers: the decoder takes them deep inside args, the encoder does not."""
    body = encode([*GOOD[:6], {"x": 0}])[:-1] + b"\x81" + key + b"\x02"
    with pytest.raises(InvalidTransaction, match="canonical") as refusal:
        Transaction.decode(encode([body, ED25519, bytes(32), bytes(64)]))
    assert refusal.value.code == 1000


def test_the_largest_envelope_is_accepted_and_the_next_refused(recipe: ModuleType) -> None:
    key = recipe.seeded_key("supplier")
    spare = TX_BYTES_MAX - len(sign_transaction(key, _body(args={"d": bytes(60_000)})))
    tx = Transaction.decode(sign_transaction(key, _body(args={"d": bytes(60_000 + spare)})))
    assert len(tx.envelope) == TX_BYTES_MAX and tx.verify_signature()
    with pytest.raises(InvalidTransaction, match="E_TOO_LARGE"):
        Transaction.decode(sign_transaction(key, _body(args={"d": bytes(60_001 + spare)})))


def test_two_signatures_of_one_body_share_the_tx_id_but_not_the_leaf_hash(recipe: ModuleType) -> None:
    good = sign_transaction(recipe.seeded_key("supplier"), _body())
    forged = good[:-1] + bytes([good[-1] ^ 1])
    a, b = Transaction.decode(good), Transaction.decode(forged)
    assert a.tx_id == b.tx_id and a.leaf_hash != b.leaf_hash
    assert a.verify_signature() and not b.verify_signature()


@pytest.mark.parametrize(
    "fields", [{}, {"nonce": b"n" * 16, "valid_until_ms": 2**53 - 1, "args": {"d": {"e": [b"x"]}}}]
)
def test_the_nonce_is_cut_out_of_an_envelope_as_decoding_gives_it(recipe: ModuleType, fields: dict[str, Any]) -> None:
    envelope = sign_transaction(recipe.seeded_key("supplier"), _body(**fields))
    found = Transaction.decode(envelope)
    assert nonce_use(envelope) == (found.public_key, found.body.nonce, found.body.valid_until_ms)
    for broken in (envelope[:-70], _envelope([1, bytes(32), bytes(15), 1]), b""):
        with pytest.raises(InvalidTransaction):
            nonce_use(broken)


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.binary(max_size=90), max_size=4))
def test_the_key_of_an_envelope_is_found_where_it_lies(args: dict[str, Any]) -> None:
    key = PrivateKey.from_seed(bytes(32))
    envelope = sign_transaction(key, Body(1, bytes(32), bytes(16), 1, "m", "c", args))
    assert claimed_key(envelope) == key.public_key == Transaction.decode(envelope).public_key
    assert claimed_key(envelope[:-1]) is None and claimed_key(envelope + b"\x00") is None


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.binary(max_size=400), max_size=200))
def test_the_id_of_an_envelope_is_found_without_decoding_it(args: dict[str, Any]) -> None:
    key = PrivateKey.from_seed(bytes(32))
    body = Body(1, bytes(32), bytes(16), 1, "m", "c", args).encode()
    envelope = assemble_envelope(body, "ed25519", key.public_key, bytes(64))
    assert claimed_id(envelope) == transaction_id("ed25519", key.public_key, body)
    assert claimed_id(envelope[:-1]) is None
    assert claimed_id(assemble_envelope(body, "sm2", key.public_key, bytes(64))) is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_envelope_claim_a_key_of_the_right_size_or_none(junk: bytes) -> None:
    assert len(claimed_key(junk) or bytes(32)) == len(claimed_id(junk) or bytes(32)) == 32
    assert claimed_key(b"\xc4\x20" + bytes(32) + b"\xc4\x40" + bytes(63)) is None


def test_only_governance_enact_is_a_barrier(recipe: ModuleType) -> None:
    key = recipe.seeded_key("supplier")
    enact = Transaction.decode(sign_transaction(key, _body(module="governance", command="enact")))
    other = Transaction.decode(sign_transaction(key, _body(module="governance", command="vote")))
    assert enact.is_barrier and not other.is_barrier


def _changed(genesis: Genesis, **fields: Any) -> bytes:
    return msgspec.structs.replace(genesis, **fields).encode()


def test_a_genesis_that_breaks_a_rule_is_refused_by_name(recipe: ModuleType) -> None:
    good: Genesis = recipe.genesis()
    assert Genesis.decode(good.encoded).chain_id == good.chain_id
    first = good.validators[0]
    twin = msgspec.structs.replace(good.identities[0], name="zz")
    cases: list[tuple[bytes, str]] = [
        (good.encoded + b"\x00", "MessagePack"),
        (_changed(good, network="Bad Name"), "network"),
        (_changed(good, orgs=good.orgs[::-1]), "orgs must be sorted"),
        (_changed(good, validators=[]), "1 to"),
        (_changed(good, validators=[first, first]), "sorted"),
        (_changed(good, validators=[msgspec.structs.replace(first, org="xx")]), "not an organisation"),
        (_changed(good, validators=[msgspec.structs.replace(first, public_key=bytes(32))]), "small order"),
        (
            _changed(good, validators=[first, msgspec.structs.replace(first, name="zz")]),
            "share one public key",
        ),
        (_changed(good, modules=good.modules[1:]), "governance"),
        (_changed(good, params=[msgspec.structs.replace(good.params[0], value=0)]), "at least 1"),
        (_changed(good, params=[msgspec.structs.replace(good.params[1], value=86_400_001)]), "24 hours"),
        (_changed(good, identities=[good.identities[0], good.identities[0]]), "sorted"),
        (_changed(good, identities=[good.identities[0], twin]), "identities share one public key"),
        (_changed(good, validators=[msgspec.structs.replace(first, name="Not A Name")]), "well-formed name"),
        (_changed(good, modules=[ModuleEntry("a-b", 1, bytes(32)), *good.modules]), "well-formed identifier"),
        (_changed(good, params=[ParamEntry("block_bytes_max", 4 * 1024 * 1024 + 1)]), "travels in one frame"),
        (_changed(good, params=[ParamEntry("block_bytes_max", 64 * 1024 - 1)]), "every transaction must fit"),
        (_changed(good, params=[ParamEntry("window", 65)]), "window is at most 64"),
        (_changed(good, params=[ParamEntry("window", 0)]), "at least 1"),
    ]
    for data, reason in cases:
        with pytest.raises(InvalidGenesis, match=reason):
            Genesis.decode(data)


@pytest.mark.parametrize(("name", "value"), [("window", 1), ("window", 64), ("block_bytes_max", 64 * 1024)])
def test_the_least_and_the_greatest_parameter_start_a_channel(recipe: ModuleType, name: str, value: int) -> None:
    data = _changed(recipe.genesis(), params=[ParamEntry(name, value)])
    assert Genesis.decode(data).param(name) == value


def test_parameters_default_where_the_genesis_is_silent(recipe: ModuleType) -> None:
    genesis: Genesis = recipe.genesis()
    assert genesis.param("window") == DEFAULT_PARAMS["window"] == 4
    assert genesis.param("block_txs_max") == 1000
    with pytest.raises(KeyError):
        genesis.param("no_such_parameter")
