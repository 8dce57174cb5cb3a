"""A proof that a quorum did sign something is not yet a proof of this block, this receipt or this value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import ZERO_HASH, sha256
from dawan_node.errors import InvalidEncoding, InvalidProof
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.encoding import DEPTH_MAX, decode_value
from dawan_node.primitives.proofs import LINKS_MAX, FinalityProof, TxProof, verify_state_path
from dawan_node.primitives.receipt import Receipt
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of, set_of

replace = msgspec.structs.replace
OTHER = sha256(b"another")
KEYS = keys_of(4)
VALIDATORS = set_of(KEYS)
Pair = tuple[Header, Result]


@cache
def three() -> tuple[Pair, ...]:
    """Three blocks of one epoch."""
    return tuple((block.header, block.result) for block in Chain(KEYS).grow(3).blocks)


def proof(pairs: list[Pair], signed: Pair | None = None) -> FinalityProof:
    """The first of ``pairs`` by a certificate of the last (or of ``signed``)."""
    (header, result), *links = pairs
    encoded = [(above.encode(), outcome.encode()) for above, outcome in links]
    return FinalityProof.build(header.encode(), result.encode(), encoded, certify(KEYS, *(signed or pairs[-1])))


def changed(position: int, header: dict[str, object], result: dict[str, object]) -> list[Pair]:
    """The three, one of them with other fields; its result is of the changed header unless that is what changes."""
    pairs = list(three())
    block = replace(pairs[position][0], **header)
    pairs[position] = (block, replace(pairs[position][1], **({"block_hash": block.hash} | result)))
    return pairs


WRONG: dict[str, Callable[[], FinalityProof]] = {
    "another chain": lambda: proof(changed(2, {"chain_id": OTHER}, {})),
    "another epoch": lambda: proof(changed(2, {"epoch": 1}, {})),
    "another validator set": lambda: proof(changed(2, {"valset_hash": OTHER}, {})),
    "a result of another block": lambda: proof(changed(2, {}, {"block_hash": OTHER})),
    "a result of another height": lambda: proof(changed(2, {}, {"height": 9})),
    "a set changed without a barrier": lambda: proof(changed(2, {}, {"next_valset_hash": OTHER})),
    "a set changed below the top": lambda: proof(changed(1, {"barrier": True}, {"next_valset_hash": OTHER})),
    "a link of another parent": lambda: proof(changed(0, {"body_bytes": 1}, {})),
    "a link of another result": lambda: proof(changed(0, {}, {"state_root": OTHER})),
    "a link left out": lambda: proof([three()[0], three()[2]]),
    "a certificate of another block": lambda: proof(list(three()), three()[1]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_chain_of_blocks_that_does_not_hold_together_is_refused(what: str) -> None:
    with pytest.raises(InvalidProof):
        WRONG[what]().verify(CHAIN_ID, 0, VALIDATORS)


def test_the_same_chain_unchanged_is_a_proof_also_when_it_ends_its_epoch() -> None:
    header, result = proof(list(three())).verify(CHAIN_ID, 0, VALIDATORS)
    assert (header, result) == three()[0]
    last = changed(2, {"barrier": True}, {"next_valset_hash": OTHER})
    assert proof(last[2:]).verify(CHAIN_ID, 0, VALIDATORS)[1].next_valset_hash == OTHER


def test_too_many_links_and_unknown_versions_are_refused_before_any_signature_is_checked() -> None:
    good = proof(list(three()))
    link = good.links[0]
    assert len(FinalityProof.decode(replace(good, links=[link] * LINKS_MAX).encode()).links) == LINKS_MAX
    for wrong in (replace(good, links=[link] * (LINKS_MAX + 1)), replace(good, version=2)):
        with pytest.raises(InvalidProof):
            FinalityProof.decode(wrong.encode())


def tx_proof(receipts: list[bytes], index: int) -> TxProof:
    """A receipt of the first block, whose receipts are ``receipts``."""
    header, result = three()[0]
    assert header.tx_count == len(receipts) == 2
    leaves = [merkle.leaf_hash(receipt) for receipt in receipts]
    result = replace(result, receipts_root=merkle.root(leaves))
    return TxProof(1, proof([(header, result)]).encode(), receipts[index], index, [leaves[1 - index]])


def receipt(**fields: object) -> bytes:
    return replace(Receipt(bytes(32), 1, 0, 0, "", []), **fields).encode()


def test_a_receipt_is_proven_at_its_own_place_only() -> None:
    receipts = [receipt(), receipt(index=1, code=2100, reason="E_LATE")]
    header, proven = tx_proof(receipts, 1).verify(CHAIN_ID, 0, VALIDATORS)
    assert header == three()[0][0] and proven.code == 2100
    for index in (0, 2, 2**62):
        with pytest.raises(InvalidProof):
            replace(tx_proof(receipts, 1), index=index).verify(CHAIN_ID, 0, VALIDATORS)


@pytest.mark.parametrize("wrong", [b"no receipt", b"", receipt(height=2), receipt(index=1)], ids=range(4))
def test_what_stands_under_the_root_must_be_the_receipt_of_that_place(wrong: bytes) -> None:
    with pytest.raises(InvalidProof):
        tx_proof([wrong, receipt(index=1)], 0).verify(CHAIN_ID, 0, VALIDATORS)


@pytest.mark.parametrize(
    ("steps", "terminal"),
    [
        ([(1, [])] * 65, []),
        ([], [OTHER]),
        ([], [OTHER, OTHER, OTHER]),
        ([(0, [])], []),
        ([(1 << 16, [OTHER])], []),
        ([(0b11, [OTHER, OTHER])], []),
        ([(0b11, [])], [ZERO_HASH, OTHER]),
        ([(0b10, [OTHER])], [ZERO_HASH, OTHER]),
        ([], [ZERO_HASH, OTHER]),
    ],
    ids=[
        "a path longer than a key",
        "half a leaf",
        "a leaf and a half",
        "an inner node without children",
        "a seventeenth child",
        "a sibling too many",
        "a sibling too few",
        "a child that the bitmap denies",
        "another root",
    ],
)
def test_a_state_path_that_rebuilds_no_root_is_refused(
    steps: list[tuple[int, list[bytes]]], terminal: list[bytes]
) -> None:
    with pytest.raises(InvalidProof):
        verify_state_path(sha256(b"root"), ZERO_HASH, steps, terminal)


def test_a_value_nested_without_end_is_refused_before_the_stack_is() -> None:
    for depth in (DEPTH_MAX + 1, 600, 50_000):
        with pytest.raises(InvalidEncoding):
            decode_value(b"\x91" * depth + b"\x00", 65_536)
