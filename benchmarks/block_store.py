"""What keeping decided blocks costs: committing one with all it wrote, and reading it back.

    scripts/bench block_store [--directory DIR] [--blocks N] [--json FILE]

Run it on the disk the node will use; a commit is one synced batch of LevelDB. The blocks are synthetic but shaped like
real ones: 1,000 transactions, each writing 4 state values (half of them new), 3 index entries and 8 tree nodes. ``cpu``
is the time the committing thread spent in Python and LevelDB (compaction, which runs in a thread of its own, shows in
``wall`` of later blocks only). Per transaction divide a commit by 1,000.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.timing import Durations, parser_of, rows, tell
from dawan_node.crypto import merkle
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.receipt import Receipt
from dawan_node.storage.block_store import DecidedBlock
from dawan_node.storage.channel_store import ChannelStore

TRANSACTIONS = 1_000
STATE_PER_TRANSACTION = 4
INDEXES_PER_TRANSACTION = 3
NODES_PER_TRANSACTION = 8
ENVELOPE_BYTES = 480
NODE_BYTES = 500
CHAIN_ID = hashlib.sha256(b"benchmark").digest()
START_MS = 1_750_000_000_000


@dataclass
class Changes:
    state: dict[tuple[str, str, bytes], bytes | None] = field(default_factory=dict)
    indexes: dict[tuple[str, str, str, bytes], bytes | None] = field(default_factory=dict)
    nodes: dict[bytes, bytes | None] = field(default_factory=dict)
    nonces: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    patches: dict[bytes, bytes] = field(default_factory=dict)


def changes_of_block(source: random.Random, height: int) -> Changes:
    changes = Changes()
    for transaction in range(TRANSACTIONS):
        for item in range(STATE_PER_TRANSACTION):
            # Even items are new, odd ones change what an earlier block wrote (or will have written first here).
            serial = height * TRANSACTIONS + transaction if item % 2 == 0 else source.randrange(50_000)
            key = hashlib.sha256(b"%d %d" % (item, serial)).digest()[:20]
            changes.state["receivable", "invoice", key] = source.randbytes(180)
        for item in range(INDEXES_PER_TRANSACTION):
            key = b"%d/%08d" % (item, source.randrange(10**8))
            changes.indexes["receivable", "invoice", "by_holder", key] = key
        public_key = bytes([transaction % 16]) * 32
        changes.nonces.append((public_key, source.randbytes(16), START_MS + height * 1000 + 60_000))
    # Four full upper levels, then two nodes further down for each remaining change.
    upper = [b"", *(bytes([a]) for a in range(16)), *(bytes([a, b]) for a in range(16) for b in range(16))]
    for path in upper:
        changes.nodes[path] = source.randbytes(NODE_BYTES)
    while len(changes.nodes) < NODES_PER_TRANSACTION * TRANSACTIONS:
        path = bytes(source.randrange(16) for _ in range(3))
        changes.nodes[path] = source.randbytes(NODE_BYTES)
        deeper = path + bytes(source.randrange(16) for _ in range(2))
        changes.nodes[deeper] = source.randbytes(NODE_BYTES)
    return changes


def block_on(head_hash: bytes, result_hash: bytes, height: int, source: random.Random) -> DecidedBlock:
    envelopes = tuple(source.randbytes(ENVELOPE_BYTES) for _ in range(TRANSACTIONS))
    tx_ids = tuple(hashlib.sha256(envelope).digest() for envelope in envelopes)
    receipts = tuple(
        Receipt(tx_id, height, index, 0, "", [("Recorded", {"key": tx_id})]).encode()
        for index, tx_id in enumerate(tx_ids)
    )
    header = Header(
        1, CHAIN_ID, 0, height, head_hash, merkle.root([merkle.leaf_hash(envelope) for envelope in envelopes]),
        len(envelopes), sum(map(len, envelopes)), START_MS + height * 1000, 0, bytes(32), False,
    )  # fmt: skip
    result = Result(
        height, header.hash, result_hash, bytes(32), merkle.root([merkle.leaf_hash(receipt) for receipt in receipts]),
        bytes(32),
    )  # fmt: skip
    return DecidedBlock(header, result, bytes(450), (), envelopes, receipts, tx_ids)


def figures(directory: Path, blocks: int) -> Iterator[Durations]:
    genesis = Result(0, CHAIN_ID, bytes(32), bytes(32), bytes(32), bytes(32))
    ChannelStore.create(directory, genesis, Changes(), START_MS)
    # A short history, so that most of the run also removes the images of an old block, as a long-lived node does.
    store = ChannelStore.open(directory, CHAIN_ID, history=max(1, blocks // 4))
    source = random.Random(2)
    warm, cold = Durations("commit of 1,000 transactions, values read before"), Durations("commit, nothing read before")
    head_hash, result_hash = CHAIN_ID, genesis.hash
    for height in range(1, blocks + 1):
        block, changes = block_on(head_hash, result_hash, height, source), changes_of_block(source, height)
        run = warm if height % 2 else cold
        if run is warm:
            # What execution does before a commit: it reads the entities and the nodes it is going to change.
            for key in changes.state:
                store.state.get(*key)
            for path in changes.nodes:
                store.state.tree_node(path)
        run.measure(lambda block=block, changes=changes: store.commit(block, changes))  # type: ignore[misc]
        head_hash, result_hash = block.header.hash, block.result.hash
    yield warm
    yield cold
    reads = Durations("read of one state value at the head")
    for key in list(changes.state)[:1000]:
        reads.measure(lambda key=key: store.state.get(*key))  # type: ignore[misc]
    yield reads
    old = Durations("read of one state value, 10 blocks back")
    with store.state.at(max(store.head.height - 10, store.head.height - blocks // 4)) as view:
        for key in list(changes.state)[:1000]:
            old.measure(lambda key=key: view.get(*key))  # type: ignore[misc]
    yield old
    found = Durations("find a transaction and read it with its receipt")
    for tx_id in block.tx_ids:
        found.measure(lambda tx_id=tx_id: read_transaction(store, tx_id))  # type: ignore[misc]
    yield found
    whole = Durations("read a whole block of 1,000 transactions")
    for height in range(max(1, blocks - 20), blocks + 1):
        whole.measure(lambda height=height: (store.blocks.envelopes(height), store.blocks.receipts(height)))  # type: ignore[misc]
    yield whole
    store.close()
    reopening = Durations(f"open and verify, {blocks} blocks")
    for _ in range(3):
        reopening.measure(lambda: ChannelStore.open(directory, CHAIN_ID).close())
    yield reopening


def read_transaction(store: ChannelStore, tx_id: bytes) -> None:
    """What `tx_get` reads."""
    place = store.blocks.find_tx(tx_id)
    assert place is not None
    store.blocks.envelope(*place)
    store.blocks.receipt(*place)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--directory", type=Path, help="where to make the temporary files (default: system's)")
    parser.add_argument("--blocks", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        tell(rows(figures(Path(name) / "channel" / "db", options.blocks)), options.json)


if __name__ == "__main__":
    main()
