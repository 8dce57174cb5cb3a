"""Small ledgers whose every byte follows from the height, so that any process can say what must be stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from dawan_node.crypto import merkle
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.receipt import Receipt
from dawan_node.storage.block_store import DecidedBlock

CHAIN_ID = hashlib.sha256(b"a channel of tests").digest()
VALSET_HASH = hashlib.sha256(b"its validators").digest()
CREATED_MS = 1_750_000_000_000
GENESIS = Result(0, CHAIN_ID, bytes(32), bytes(32), hashlib.sha256(b"").digest(), VALSET_HASH)


@dataclass
class Changes:
    state: dict[tuple[str, str, bytes], bytes | None] = field(default_factory=dict)
    indexes: dict[tuple[str, str, str, bytes], bytes | None] = field(default_factory=dict)
    nodes: dict[bytes, bytes | None] = field(default_factory=dict)
    nonces: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    patches: dict[bytes, bytes] = field(default_factory=dict)


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def time_of(height: int) -> int:
    return CREATED_MS + height * 1000


def block_on(
    parent_hash: bytes,
    parent_result_hash: bytes,
    height: int,
    *,
    transactions: int = 3,
    links: tuple[tuple[bytes, bytes], ...] = (),
    epoch: int = 0,
    barrier: bool = False,
    valset_hash: bytes = VALSET_HASH,
    next_valset_hash: bytes = VALSET_HASH,
) -> DecidedBlock:
    envelopes = tuple(
        b"envelope %d of block %d" % (index, height) + bytes(height % 50) for index in range(transactions)
    )
    tx_ids = tuple(digest("transaction", envelope) for envelope in envelopes)
    receipts = tuple(Receipt(tx_id, height, index, 0, "", []).encode() for index, tx_id in enumerate(tx_ids))
    header = Header(
        1, CHAIN_ID, epoch, height, parent_hash, merkle.root([merkle.leaf_hash(envelope) for envelope in envelopes]),
        len(envelopes), sum(map(len, envelopes)), time_of(height), 0, valset_hash, barrier,
    )  # fmt: skip
    result = Result(
        height, header.hash, parent_result_hash, digest("state", height),
        merkle.root([merkle.leaf_hash(receipt) for receipt in receipts]), next_valset_hash,
    )  # fmt: skip
    return DecidedBlock(header, result, b"certificate of %d" % height, links, envelopes, receipts, tx_ids)


def chain(length: int) -> list[DecidedBlock]:
    """Blocks 1 to ``length``."""
    blocks: list[DecidedBlock] = []
    parent_hash, result_hash = CHAIN_ID, GENESIS.hash
    for height in range(1, length + 1):
        block = block_on(parent_hash, result_hash, height)
        blocks.append(block)
        parent_hash, result_hash = block.header.hash, block.result.hash
    return blocks


def genesis_changes() -> Changes:
    return Changes(state={("governance", "genesis", b""): b"the genesis"}, nodes={b"": b"root 0"})


def changes_of(height: int) -> Changes:
    """Every block renews a counter, adds an entity, moves an index entry, and changes the tree's root."""
    changes = Changes(nodes={b"": b"root %d" % height, bytes([height % 16]): b"node %d" % height})
    changes.state["trade", "counter", b"\x00"] = b"%d" % height
    changes.state["trade", "invoice", b"%08d" % height] = b"invoice %d" % height
    changes.indexes["trade", "invoice", "by_number", b"%08d" % height] = b"%08d" % height
    if height > 1:
        changes.indexes["trade", "invoice", "by_number", b"%08d" % (height - 1)] = None
    changes.nonces.append((digest("key")[:32], digest("nonce", height)[:16], time_of(height) + 5_000))
    return changes
