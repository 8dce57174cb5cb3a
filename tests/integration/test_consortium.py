"""Four real validators answer alike, prove what they say, and refuse what is wrong with its stable code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from network_kit import CHANNEL, Network

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.proofs import FinalityProof, StateProof
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.client import RpcError, build_body, sign_transaction

pytestmark = pytest.mark.processes


def test_a_transaction_is_committed_once_and_every_node_shows_the_same_receipt(network: Network) -> None:
    answer = network.commit()
    assert answer["status"] == "committed" and answer["receipt"]["code"] == 0
    network.agree()
    receipts = [network.ask(node, "tx_receipt", CHANNEL, answer["tx_id"]) for node in network.nodes]
    assert all(receipt == receipts[0] for receipt in receipts)
    assert receipts[0]["height"] == answer["receipt"]["height"]


def test_the_same_bytes_again_give_the_first_answer_on_any_node(network: Network) -> None:
    envelope = network.envelope()
    first = network.ask(network.nodes[0], "tx_submit", CHANNEL, "0x" + envelope.hex(), "committed", 20_000)
    network.agree()
    for node in network.nodes:
        assert network.ask(node, "tx_submit", CHANNEL, "0x" + envelope.hex(), "committed", 20_000) == first
    everything = network.all_transactions(network.nodes[0])
    assert everything.count(first["tx_id"]) == 1


def test_a_block_and_an_absence_are_proven_offline_with_the_genesis_alone(network: Network) -> None:
    network.commit()
    network.agree()  # two different nodes are asked about the newest block
    genesis: Genesis = network.genesis
    trust = (genesis.chain_id, 0, genesis.validator_set)
    answer = network.ask(network.nodes[2], "chain_getFinalityProof", CHANNEL, "latest")
    header, result = FinalityProof.decode(bytes.fromhex(answer["proof"][2:])).verify(*trust)
    state = network.ask(
        network.nodes[3], "state_get", CHANNEL, "receivable", "invoice", "0x" + b"nothing".hex(), header.height, True
    )
    proven_header, value = StateProof.decode(bytes.fromhex(state["proof"][2:])).verify(*trust)
    assert proven_header.height == header.height and value is None and state["value"] is None
    assert result.height == header.height


@pytest.mark.parametrize(("module", "collection"), [("receivable", "invoic"), ("recievable", "invoice")])
def test_a_misspelt_collection_is_no_proof_of_absence(network: Network, module: str, collection: str) -> None:
    with pytest.raises(RpcError) as refusal:
        network.ask(network.nodes[0], "state_get", CHANNEL, module, collection, "0x00")
    assert refusal.value.code == -32001


def test_the_genesis_entry_and_a_blocks_nonces_can_be_read_like_any_state(network: Network) -> None:
    height = network.agree()
    for collection, key in (("genesis", "0x"), ("replay", "0x" + height.to_bytes(8, "big").hex())):
        found = network.ask(network.nodes[0], "state_get", CHANNEL, "governance", collection, key)
        assert found["value"] is not None


def _changed(network: Network, **changes: Any) -> bytes:
    """An invoice whose body differs in the given field, correctly signed."""
    fields = {
        "chain_id": network.chain_id,
        "module": "receivable",
        "command": "record_invoice",
        "args": {},
        "valid_until_ms": time.time_ns() // 1_000_000 + 60_000,
    } | changes
    body = build_body(
        fields["chain_id"], fields["module"], fields["command"], fields["args"], valid_until_ms=fields["valid_until_ms"]
    )
    return sign_transaction(fields.get("key", network.keys["gz-supplier"]), body)


def _broken_signature(network: Network) -> bytes:
    envelope = network.envelope()
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


REFUSALS: list[tuple[str, int, Callable[[Network], bytes]]] = [
    ("malformed", 1000, lambda network: b"\x93\x01\x02\x03"),
    ("oversized", 1005, lambda network: bytes(65_537)),
    ("wrongly signed", 1001, _broken_signature),
    ("of another chain", 1007, lambda network: _changed(network, chain_id=bytes(32))),
    ("expired", 1003, lambda network: _changed(network, module="governance", command="tick", valid_until_ms=1)),
    ("of an unknown module", 1008, lambda network: _changed(network, module="casino")),
    ("of an unknown command", 1008, lambda network: _changed(network, command="print_money")),
    ("without its arguments", 1009, lambda network: _changed(network)),
    ("of a stranger", 1, lambda network: _stranger(network)),
]


def _stranger(network: Network) -> bytes:
    envelope = Transaction.decode(network.envelope())
    return sign_transaction(PrivateKey.generate(), envelope.body_bytes)


@pytest.mark.parametrize(("what", "code", "make"), REFUSALS, ids=[what for what, _, _ in REFUSALS])
def test_a_transaction_that_is_wrong_is_refused_with_its_code_and_changes_nothing(
    network: Network, what: str, code: int, make: Callable[[Network], bytes]
) -> None:
    network.agree()
    before = network.head(network.nodes[1])
    with pytest.raises(RpcError) as refusal:
        network.ask(network.nodes[1], "tx_submit", CHANNEL, "0x" + make(network).hex(), "committed", 5_000)
    assert refusal.value.code == code, what
    assert refusal.value.data["reason"] and refusal.value.data["hint"]
    assert network.head(network.nodes[1]) == before


def test_a_wrong_role_reaches_a_block_and_fails_there_on_the_receipt(network: Network) -> None:
    envelope = network.envelope(key="hq-regulator")
    answer = network.ask(network.nodes[0], "tx_submit", CHANNEL, "0x" + envelope.hex(), "committed", 20_000)
    assert answer["status"] == "failed"
    assert (answer["receipt"]["code"], answer["receipt"]["reason"]) == (2, "E_ROLE")


def test_a_negative_invoice_fails_with_the_modules_own_error(network: Network) -> None:
    envelope = network.envelope(total=["CNY", -1])
    answer = network.ask(network.nodes[0], "tx_submit", CHANNEL, "0x" + envelope.hex(), "committed", 20_000)
    assert answer["status"] == "failed" and answer["receipt"]["code"] == 3
    assert answer["receipt"]["reason"].startswith("E_")


def test_another_body_with_a_used_nonce_is_refused(network: Network) -> None:
    nonce = bytes(range(16))
    until_ms = time.time_ns() // 1_000_000 + 60_000

    def make(number: str) -> str:
        body = build_body(
            network.chain_id,
            "governance",
            "tick",
            {},
            valid_until_ms=until_ms + len(number),
            nonce=nonce,
        )
        return "0x" + sign_transaction(network.keys["gz-admin"], body).hex()

    network.ask(network.nodes[0], "tx_submit", CHANNEL, make("a"), "committed", 20_000)
    network.agree()
    for node in network.nodes:
        with pytest.raises(RpcError) as refusal:
            network.ask(node, "tx_submit", CHANNEL, make("bb"), "accepted", 5_000)
        assert refusal.value.code == 1004


def test_events_are_read_without_gap_or_repetition_through_a_cursor(network: Network) -> None:
    for _ in range(3):
        network.commit()
    network.agree()
    whole = network.ask(network.nodes[0], "events_get", CHANNEL)["events"]
    cursor, pieces = None, []
    while True:
        page = network.ask(network.nodes[3], "events_get", CHANNEL, cursor, 2)
        cursor = page["cursor"]
        if not page["events"]:
            break
        pieces += page["events"]
    assert [event["cursor"] for event in pieces] == [event["cursor"] for event in whole]
    assert len({(event["height"], event["index"], event["n"]) for event in pieces}) == len(pieces) >= 3
