"""Decided blocks: what is found, how finality is proven, and what the walk at open notices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import CHAIN_ID, GENESIS, VALSET_HASH, block_on, chain, digest

from dawan_node.errors import StorageError
from dawan_node.primitives.block import Header, Result
from dawan_node.storage import block_store, schema
from dawan_node.storage.block_store import BlockStore, DecidedBlock
from dawan_node.storage.kv import MemoryStore


def store_of(blocks: list[DecidedBlock]) -> tuple[MemoryStore, BlockStore]:
    store = MemoryStore()
    made = BlockStore(store)
    store.write(made.genesis_puts(GENESIS))
    for block in blocks:
        store.write(made.puts_for(block))
    return store, made


def pair(block: DecidedBlock) -> tuple[bytes, bytes]:
    return block.header.encode(), block.result.encode()


def test_every_part_of_every_block_is_found_again() -> None:
    blocks = chain(5)
    _, stored = store_of(blocks)
    for block in blocks:
        height = block.header.height
        assert (stored.header(height), stored.result(height)) == (block.header, block.result)
        assert (stored.header_bytes(height), stored.result_bytes(height)) == pair(block)
        assert (stored.envelopes(height), stored.receipts(height)) == (block.envelopes, block.receipts)
        assert stored.height_of(block.header.hash) == height
        for index, tx_id in enumerate(block.tx_ids):
            assert stored.find_tx(tx_id) == (height, index)
            assert stored.envelope(height, index) == block.envelopes[index]
            assert stored.receipt(height, index) == block.receipts[index]
        proof = stored.finality(height)
        assert proof is not None
        assert (proof.header, proof.result) == pair(block)
        assert (proof.links, proof.certificate) == ([], block.certificate)
    head = stored.walk()
    assert (head.height, head.header, head.result) == (5, blocks[-1].header, blocks[-1].result)
    assert (head.block_hash, head.result_hash) == (blocks[-1].header.hash, blocks[-1].result.hash)
    assert head.certificate is not None and head.certificate.certificate == blocks[-1].certificate
    stored.verify_bodies(0, 5)


def test_what_is_not_there_is_none() -> None:
    _, stored = store_of(chain(2))
    assert stored.height_of(CHAIN_ID) == 0
    assert stored.header(0) is None and stored.result(0) == GENESIS
    for height in (0, 3):
        assert stored.finality(height) is None and stored.certificate(height) is None
        assert stored.envelopes(height) is None and stored.receipts(height) is None
        assert stored.envelope(height, 0) is None and stored.receipt(height, 0) is None
    assert stored.header(3) is None and stored.result(3) is None
    assert stored.envelope(1, 3) is None and stored.receipt(1, 3) is None
    assert stored.find_tx(bytes(32)) is None and stored.height_of(bytes(32)) is None
    assert BlockStore(MemoryStore()).head() is None


def test_the_head_of_a_new_channel_is_its_genesis() -> None:
    _, stored = store_of([])
    head = stored.walk()
    assert (head.height, head.block_hash, head.header, head.result) == (0, CHAIN_ID, None, GENESIS)
    assert head.certificate is None


@settings(max_examples=60)
@given(certified=st.sets(st.integers(1, 9)))
def test_a_block_without_its_own_certificate_is_proven_by_the_next_one_above(certified: set[int]) -> None:
    """Blocks of a synced range come with the certificate and links of a later one (amendment L3)."""
    blocks = chain(10)
    certified = certified | {10}
    store, stored = store_of([])
    for block in blocks:
        height = block.header.height
        target = min(other for other in certified if other >= height)
        links = tuple(pair(above) for above in blocks[height:target])
        store.write(stored.puts_for(replace(block, certificate=blocks[target - 1].certificate, links=links)))
        for wanted in range(1, height + 1):
            target = min(other for other in certified if other >= wanted)
            proof = stored.finality(wanted)
            assert proof is not None
            assert (proof.header, proof.result) == pair(blocks[wanted - 1])
            assert proof.certificate == blocks[target - 1].certificate
            assert proof.links == [pair(above) for above in blocks[wanted:target]]
        assert stored.walk().height == height
    # Links are kept for the head alone: below it they are read from the blocks.
    assert {schema.height_of_bytes(key[1:]) for key, _ in store.iterate(prefix=schema.CERTIFICATE)} == certified


def test_a_block_that_nothing_certifies_is_damage() -> None:
    store, stored = store_of(chain(3))
    store.write([(schema.CERTIFICATE + schema.height_bytes(3), None)])
    assert stored.certificate(2) is not None
    with pytest.raises(StorageError, match="no certificate covers"):
        stored.certificate(3)
    with pytest.raises(StorageError, match="no certificate covers"):
        stored.walk()


def test_a_block_that_does_not_follow_the_head_is_a_mistake_of_the_caller() -> None:
    blocks = chain(3)
    store, stored = store_of(blocks[:1])
    wrong = [
        blocks[0],
        blocks[2],
        replace(blocks[1], result=msgspec.structs.replace(blocks[1].result, parent_result_hash=bytes(32))),
        replace(blocks[1], result=msgspec.structs.replace(blocks[1].result, block_hash=bytes(32))),
        replace(blocks[1], receipts=blocks[1].receipts[:-1]),
        replace(blocks[1], tx_ids=()),
        block_on(bytes(32), blocks[0].result.hash, 2),
    ]
    for block in wrong:
        with pytest.raises(ValueError, match=r"does not follow|is not that of|came with it"):
            stored.puts_for(block)
    with pytest.raises(ValueError, match="empty database"):
        stored.genesis_puts(GENESIS)
    store.write(stored.puts_for(blocks[1]))


def test_the_walk_follows_the_epochs_of_the_validator_sets() -> None:
    new_set = digest("new validators")
    first = block_on(CHAIN_ID, GENESIS.hash, 1, barrier=True, next_valset_hash=new_set)
    second = block_on(first.header.hash, first.result.hash, 2, epoch=1, valset_hash=new_set, next_valset_hash=new_set)
    _, stored = store_of([first, second])
    assert stored.walk().height == 2

    old_epoch = block_on(first.header.hash, first.result.hash, 2, valset_hash=new_set, next_valset_hash=new_set)
    old_set = block_on(first.header.hash, first.result.hash, 2, epoch=1)
    for wrong in (old_epoch, old_set):
        with pytest.raises(StorageError, match="epoch or validator set"):
            store_of([first, wrong])[1].walk()
    no_barrier = block_on(CHAIN_ID, GENESIS.hash, 1, next_valset_hash=new_set)
    above = block_on(
        no_barrier.header.hash, no_barrier.result.hash, 2, epoch=1, valset_hash=new_set, next_valset_hash=new_set
    )
    with pytest.raises(StorageError, match="although it is no barrier"):
        store_of([no_barrier, above])[1].walk()


def at(kind: bytes, height: int) -> bytes:
    return kind + schema.height_bytes(height)


BLOCKS = chain(6)
OTHER = block_on(digest("elsewhere"), digest("another result"), 4)


def other_header(**changes: object) -> bytes:
    return msgspec.structs.replace(BLOCKS[3].header, **changes).encode()


def other_result(**changes: object) -> bytes:
    return msgspec.structs.replace(BLOCKS[3].result, **changes).encode()


def longer(data: bytes, number: int) -> bytes:
    """Another encoding of the same values: ``number`` where it stands first takes two bytes."""
    place = data.index(bytes([number]), 1)
    found = data[:place] + b"\xcc" + data[place:]
    assert msgspec.msgpack.decode(found) == msgspec.msgpack.decode(data)
    return found


WALK_DAMAGES: dict[str, list[tuple[bytes, bytes | None]]] = {
    "a header is missing": [(at(schema.HEADER, 4), None)],
    "a result is missing": [(at(schema.RESULT, 4), None)],
    "header and result are missing": [(at(schema.HEADER, 4), None), (at(schema.RESULT, 4), None)],
    "the head block is missing": [(at(schema.HEADER, 6), None), (at(schema.RESULT, 6), None)],
    "the head header is missing": [(at(schema.HEADER, 6), None)],
    "the genesis is missing": [(at(schema.RESULT, 0), None)],
    "a header is no header": [(at(schema.HEADER, 4), b"\x00")],
    "a result is no result": [(at(schema.RESULT, 4), b"")],
    "another block stands there": [(at(schema.HEADER, 4), OTHER.header.encode())],
    "another block and result stand there": [
        (at(schema.HEADER, 4), OTHER.header.encode()),
        (at(schema.RESULT, 4), OTHER.result.encode()),
    ],
    "a header has another time": [(at(schema.HEADER, 4), other_header(timestamp_ms=5))],
    "a header has another chain": [(at(schema.HEADER, 4), other_header(chain_id=bytes(32)))],
    "a result has another root": [(at(schema.RESULT, 4), other_result(state_root=bytes(32)))],
    "a result has another parent": [(at(schema.RESULT, 4), other_result(parent_result_hash=bytes(32)))],
    "a result has another height": [(at(schema.RESULT, 4), other_result(height=5))],
    "the head result has another root": [
        (at(schema.RESULT, 6), msgspec.structs.replace(BLOCKS[5].result, state_root=bytes(32)).encode())
    ],
    "a block lies above the head": [
        (at(schema.HEADER, 7), OTHER.header.encode()),
        (at(schema.RESULT, 7), OTHER.result.encode()),
    ],
    "a result lies above the head": [(at(schema.RESULT, 7), OTHER.result.encode())],
    "the hash index forgot a block": [(schema.HASH_INDEX + BLOCKS[3].header.hash, None)],
    "a header is in other bytes that mean the same": [(at(schema.HEADER, 4), longer(BLOCKS[3].header.encode(), 4))],
    "a result is in other bytes that mean the same": [(at(schema.RESULT, 4), longer(BLOCKS[3].result.encode(), 4))],
    "a height in the hash index is cut": [(schema.HASH_INDEX + BLOCKS[3].header.hash, b"\x04")],
    "the hash index is wrong": [(schema.HASH_INDEX + BLOCKS[3].header.hash, schema.height_bytes(3))],
    "the head record is older": [
        (schema.BLOCKS_HEAD_KEY, msgspec.msgpack.encode([5, BLOCKS[4].header.hash, BLOCKS[4].result.hash]))
    ],
    "the head record names another block": [
        (schema.BLOCKS_HEAD_KEY, msgspec.msgpack.encode([6, bytes(32), BLOCKS[5].result.hash]))
    ],
    "the head record names another result": [
        (schema.BLOCKS_HEAD_KEY, msgspec.msgpack.encode([6, BLOCKS[5].header.hash, bytes(32)]))
    ],
    "the head record is garbage": [(schema.BLOCKS_HEAD_KEY, b"\xc1")],
    "the head record is missing": [(schema.BLOCKS_HEAD_KEY, None)],
    "the head certificate is garbage": [(at(schema.CERTIFICATE, 6), b"\xc1")],
}


@pytest.mark.parametrize("ratio", [0, block_store.INDEX_READ_RATIO], ids=["each looked up", "index read"])
@pytest.mark.parametrize("damage", WALK_DAMAGES.values(), ids=WALK_DAMAGES)
def test_the_walk_notices_that(
    damage: list[tuple[bytes, bytes | None]], ratio: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_store, "INDEX_READ_RATIO", ratio)
    store, stored = store_of(BLOCKS)
    stored.walk()
    store.write(damage)
    with pytest.raises(StorageError):
        stored.walk()


def test_a_bounded_walk_covers_the_newest_blocks_and_their_link_to_the_older_ones() -> None:
    store, stored = store_of(BLOCKS)
    store.write([(at(schema.HEADER, 2), b"damaged"), (at(schema.RESULT, 4), other_result(state_root=bytes(32)))])
    assert stored.walk(1).height == 6
    with pytest.raises(StorageError, match="does not follow the result below"):
        stored.walk(2)


def swapped(kind: bytes, change: Callable[[list[bytes]], None]) -> list[tuple[bytes, bytes | None]]:
    items = list(BLOCKS[3].envelopes if kind == schema.ENVELOPES else BLOCKS[3].receipts)
    change(items)
    return [(at(kind, 4), schema.pack_list(items))]


def alter(items: list[bytes]) -> None:
    items[1] = items[1][:-1] + b"?"


BODY_DAMAGES: dict[str, list[tuple[bytes, bytes | None]]] = {
    "an envelope is missing": swapped(schema.ENVELOPES, lambda items: items.pop() and None),
    "an envelope is altered": swapped(schema.ENVELOPES, alter),
    "envelopes are swapped": swapped(schema.ENVELOPES, lambda items: items.reverse()),
    "a receipt is altered": swapped(schema.RECEIPTS, alter),
    "a receipt is missing": swapped(schema.RECEIPTS, lambda items: items.pop() and None),
    "the bodies are missing": [(at(schema.ENVELOPES, 4), None)],
    "the receipts are missing": [(at(schema.RECEIPTS, 4), None)],
    "the bodies are cut off": [(at(schema.ENVELOPES, 4), schema.pack_list(BLOCKS[3].envelopes)[:-1])],
    "the transaction index forgot one": [(schema.TX_INDEX + BLOCKS[3].tx_ids[2], None)],
    "the transaction index is wrong": [(schema.TX_INDEX + BLOCKS[3].tx_ids[2], schema.position_bytes(4, 1))],
}


@pytest.mark.parametrize("damage", BODY_DAMAGES.values(), ids=BODY_DAMAGES)
def test_the_full_check_of_bodies_notices_that(damage: list[tuple[bytes, bytes | None]]) -> None:
    store, stored = store_of(BLOCKS)
    stored.verify_bodies(1, 6)
    store.write(damage)
    stored.verify_bodies(5, 6)
    with pytest.raises(StorageError):
        stored.verify_bodies(1, 6)


def test_the_kit_makes_what_consensus_makes() -> None:
    header, result = BLOCKS[0].header, BLOCKS[0].result
    assert Header.decode(header.encode()) == header and Result.decode(result.encode()) == result
    assert header.valset_hash == VALSET_HASH and GENESIS.receipts_root == hashlib.sha256(b"").digest()
