"""The formats are what the vectors say, byte for byte, here and in the vectors handed to every implementer."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import msgpack
import pytest

from dawan_node.errors import DawanError
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.proofs import FinalityProof, StateProof, TxProof
from dawan_node.primitives.transaction import Transaction

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "tests" / "vectors" / "formats.json"
HANDED_OUT = ROOT.parent / "shared" / "data" / "format-vectors" / "vectors.json"

Vectors = dict[str, bytes | int]


def _as_json(vectors: Vectors) -> dict[str, str | int]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in vectors.items()}


def test_the_recipe_gives_the_19_vectors_kept_in_the_project(vectors: Vectors) -> None:
    stored = json.loads(OWN.read_text())
    assert len(stored) == 19
    assert _as_json(vectors) == stored


@pytest.mark.skipif(not HANDED_OUT.exists(), reason="NOT RUN: the shared format vectors are not on this machine")
def test_the_recipe_gives_the_vectors_handed_to_every_implementer(vectors: Vectors) -> None:
    assert _as_json(vectors) == json.loads(HANDED_OUT.read_text())


def test_msgpack_reads_and_writes_every_encoded_vector_identically(vectors: Vectors) -> None:
    for name in ("genesis", "body", "envelope", "header", "receipt", "result", "certificate", "finality_proof"):
        data = vectors[name]
        assert isinstance(data, bytes)
        assert msgpack.packb(msgpack.unpackb(data), use_bin_type=True) == data, name


def test_every_proof_among_the_vectors_verifies_and_says_what_it_proves(vectors: Vectors, recipe: ModuleType) -> None:
    genesis = Genesis.decode(_bytes(vectors, "genesis"))
    trust = (genesis.chain_id, 0, genesis.validator_set)
    header, result = FinalityProof.decode(_bytes(vectors, "finality_proof")).verify(*trust)
    assert header.hash == vectors["block_hash"] and result.hash == vectors["result_hash"]
    _, receipt = TxProof.decode(_bytes(vectors, "tx_proof")).verify(*trust)
    assert receipt.tx_id == vectors["tx_id"]
    _, present = StateProof.decode(_bytes(vectors, "state_proof_present")).verify(*trust)
    assert present is not None and msgpack.unpackb(present) == [1, "INV-007", ["CNY", 7]]
    _, absent = StateProof.decode(_bytes(vectors, "state_proof_absent")).verify(*trust)
    assert absent is None


@pytest.mark.parametrize("name", ["finality_proof", "tx_proof", "state_proof_present", "state_proof_absent"])
def test_a_proof_with_any_byte_changed_never_proves_something_else(vectors: Vectors, name: str) -> None:
    genesis = Genesis.decode(_bytes(vectors, "genesis"))
    trust = (genesis.chain_id, 0, genesis.validator_set)
    kind = {"finality_proof": FinalityProof, "tx_proof": TxProof}.get(name, StateProof)
    original = _bytes(vectors, name)
    proven = kind.decode(original).verify(*trust)
    for position in range(len(original)):
        for bit in (0x01, 0x80):
            changed = bytearray(original)
            changed[position] ^= bit
            try:
                statement = kind.decode(bytes(changed)).verify(*trust)
            except DawanError:
                continue
            # The only bytes a proof may lose are those that name another key that is just as absent.
            assert name == "state_proof_absent" and statement == proven, f"byte {position} is not covered"


def test_a_transaction_with_any_byte_changed_is_refused_or_has_another_identity(vectors: Vectors) -> None:
    original = _bytes(vectors, "envelope")
    tx_id = vectors["tx_id"]
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 0x01
        try:
            tx = Transaction.decode(bytes(changed))
        except DawanError:
            continue
        assert not tx.verify_signature()
        assert tx.tx_id != tx_id or tx.signature != Transaction.decode(original).signature


def _bytes(vectors: Vectors, name: str) -> bytes:
    value = vectors[name]
    assert isinstance(value, bytes)
    return value
