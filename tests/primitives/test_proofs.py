"""Proofs that a stranger verifies: nothing in them may be anything but what a quorum of that epoch signed (U14)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidProof
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.proofs import FinalityProof, StateProof, TxProof
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of, set_of

KEYS = keys_of(4)


def proof_of(chain: Chain, height: int, certified: int | None = None) -> FinalityProof:
    """The proof of a height, by the certificate of ``certified`` (default: its own)."""
    top = certified or height
    block = chain.blocks[height - 1]
    links = [(above.header.encode(), above.result.encode()) for above in chain.range(height + 1, top)]
    certificate = chain.blocks[top - 1].certificate
    return FinalityProof.build(block.header.encode(), block.result.encode(), links, certificate)


def test_u14_an_epoch_proves_nothing_beyond_its_heights() -> None:
    """U14: epoch 0 ended at 3 because keys were stolen; the thief signs a header at height 9 with them, and whoever
    still trusts epoch 0 for old proofs would believe it."""
    chain = Chain(KEYS).grow(2)
    honest = proof_of(chain, 2)
    header = msgspec.structs.replace(chain.blocks[1].header, height=9)
    result = msgspec.structs.replace(chain.blocks[1].result, height=9, block_hash=header.hash)
    stolen = FinalityProof.build(header.encode(), result.encode(), [], certify(KEYS, header, result))
    validators = set_of(KEYS)
    assert stolen.verify(CHAIN_ID, 0, validators)[0].height == 9, "nothing else is wrong with it"
    with pytest.raises(InvalidProof, match="height 9 is not one of epoch 0"):
        stolen.verify(CHAIN_ID, 0, validators, last=3)
    assert honest.verify(CHAIN_ID, 0, validators, last=3)[0].height == 2
    assert honest.verify(CHAIN_ID, 0, validators, first=2, last=2)[0].height == 2
    with pytest.raises(InvalidProof, match="height 2"):
        honest.verify(CHAIN_ID, 0, validators, first=3)


@pytest.mark.parametrize("name", ["finality_proof", "tx_proof", "state_proof_present", "state_proof_absent"])
def test_u14_every_kind_of_proof_knows_the_heights_of_its_epoch(vectors: dict[str, bytes], name: str) -> None:
    genesis = Genesis.decode(vectors["genesis"])
    trust = (genesis.chain_id, 0, genesis.validator_set)
    proof = {"finality_proof": FinalityProof, "tx_proof": TxProof}.get(name, StateProof).decode(vectors[name])
    height = proof.verify(*trust)[0].height
    proof.verify(*trust, first=height, last=height)
    for bounds in ({"first": height + 1}, {"last": height - 1}):
        with pytest.raises(InvalidProof, match="not one of epoch 0"):
            proof.verify(*trust, **bounds)


def field_changes(struct: msgspec.Struct) -> Iterator[msgspec.Struct]:
    """The struct with any one field changed, and nothing else."""
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, bool):
            yield msgspec.structs.replace(struct, **{name: not value})
        elif isinstance(value, int):
            yield msgspec.structs.replace(struct, **{name: value + 1})
        elif isinstance(value, bytes) and value:
            yield msgspec.structs.replace(struct, **{name: bytes([value[0] ^ 1]) + value[1:]})
        elif isinstance(value, list) and value:
            for position, item in enumerate(value):
                if isinstance(item, bytes):
                    changed = [*value[:position], bytes([item[0] ^ 1]) + item[1:], *value[position + 1 :]]
                    yield msgspec.structs.replace(struct, **{name: changed})
            yield msgspec.structs.replace(struct, **{name: value[:-1]})
            yield msgspec.structs.replace(struct, **{name: [*value, value[-1]]})


@pytest.mark.parametrize("certified", [2, 4])
def test_u14_every_field_of_a_certificate_is_that_of_its_header_and_result(certified: int) -> None:
    """CSA-2026-001 (Tachyon): the commit check and the block time used different fields, and one of them was not under
    the signatures. Change any one field of header, result, any link or certificate: the proof is void."""
    chain = Chain(KEYS).grow(4)
    good = proof_of(chain, 2, certified)
    validators = set_of(KEYS)
    header, result = good.verify(CHAIN_ID, 0, validators)
    assert (header, result) == (chain.blocks[1].header, chain.blocks[1].result)
    forged: list[FinalityProof] = []
    for kind, encoded in ((Header, good.header), (Result, good.result)):
        name = kind.__name__.lower()
        forged += [
            msgspec.structs.replace(good, **{name: changed.encode()})  # type: ignore[attr-defined]
            for changed in field_changes(kind.decode(encoded))
        ]
    for position, (link, outcome) in enumerate(good.links):
        for changed in field_changes(Header.decode(link)):
            pair = (changed.encode(), outcome)  # type: ignore[attr-defined]
            forged.append(
                msgspec.structs.replace(good, links=[*good.links[:position], pair, *good.links[position + 1 :]])
            )
        for changed in field_changes(Result.decode(outcome)):
            pair = (link, changed.encode())  # type: ignore[attr-defined]
            forged.append(
                msgspec.structs.replace(good, links=[*good.links[:position], pair, *good.links[position + 1 :]])
            )
    for changed in field_changes(CommitCertificate.decode(good.certificate)):
        forged.append(msgspec.structs.replace(good, certificate=changed.encode()))  # type: ignore[attr-defined]
    assert len(forged) >= 29
    for proof in forged:
        with pytest.raises(InvalidProof):
            proof.verify(CHAIN_ID, 0, validators)
    for wrong in ((sha256(b"another"), 0, validators), (CHAIN_ID, 1, validators)):
        with pytest.raises(InvalidProof):
            good.verify(*wrong)
