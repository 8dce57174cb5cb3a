"""What durable storage costs: appending to the write-ahead log, and committing full blocks.

    python benchmarks/storage.py [--directory DIR] [--json FILE] [--blocks N] [--repeat N]

Run it on the disk the node will use; ``fdatasync`` is most of the first figure and a good part of the others. The
blocks are synthetic but shaped like real ones: 1,000 transactions, each writing 4 state values (half of them new),
3 index entries and 8 tree nodes. ``cpu`` is the time the committing thread spent in Python and LevelDB (compaction,
which runs in a thread of LevelDB's own, shows in ``wall`` of later blocks only).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dawan_node.crypto import merkle
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.receipt import Receipt
from dawan_node.storage.block_store import DecidedBlock
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.wal import Wal, WalRecord

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


@dataclass
class Figures:
    name: str
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def measure(self, work: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        self.cpu_ms.append((time.thread_time() - cpu) * 1e3)
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)

    def summary(self) -> dict[str, float | int | str]:
        ordered = sorted(self.wall_ms)
        return {
            "name": self.name,
            "runs": len(ordered),
            "wall_ms_p50": round(statistics.median(ordered), 3),
            "wall_ms_p95": round(ordered[int(len(ordered) * 0.95)], 3),
            "wall_ms_max": round(ordered[-1], 3),
            "cpu_ms_p50": round(statistics.median(self.cpu_ms), 3),
        }


def benchmark_wal(directory: Path, repeat: int) -> Iterator[Figures]:
    Wal.create(directory)
    wal = Wal.open(directory)
    body, vote = random.Random(1).randbytes(500_000), bytes(200)
    for name, records in (
        ("wal: append and sync 500 KB", [WalRecord(CHAIN_ID, 1, body), WalRecord(CHAIN_ID, 2, vote)]),
        ("wal: append and sync one vote", [WalRecord(CHAIN_ID, 2, vote)]),
    ):
        figures = Figures(name)
        for _ in range(repeat):
            figures.measure(lambda records=records: (wal.append(records), wal.sync()))  # type: ignore[misc]
            if wal.should_roll:
                wal.roll([WalRecord(CHAIN_ID, 1, body)])
        yield figures
    figures = Figures("wal: roll with a 2 MB checkpoint")
    for _ in range(max(3, repeat // 10)):
        figures.measure(lambda: (wal.roll([WalRecord(CHAIN_ID, 1, body)] * 4), wal.sync()))
    yield figures
    wal.close()


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


def benchmark_commits(directory: Path, blocks: int) -> Iterator[Figures]:
    genesis = Result(0, CHAIN_ID, bytes(32), bytes(32), bytes(32), bytes(32))
    ChannelStore.create(directory, genesis, Changes(), START_MS)
    # A short history, so that most of the run also removes the images of an old block, as a long-lived node does.
    store = ChannelStore.open(directory, CHAIN_ID, history=max(1, blocks // 4))
    source = random.Random(2)
    warm, cold = Figures("commit of 1,000 transactions, values read before"), Figures("commit, nothing read before")
    head_hash, result_hash = CHAIN_ID, genesis.hash
    for height in range(1, blocks + 1):
        block, changes = block_on(head_hash, result_hash, height, source), changes_of_block(source, height)
        figures = warm if height % 2 else cold
        if figures is warm:
            # What execution does before a commit: it reads the entities and the nodes it is going to change.
            for key in changes.state:
                store.state.get(*key)
            for path in changes.nodes:
                store.state.tree_node(path)
        figures.measure(lambda block=block, changes=changes: store.commit(block, changes))  # type: ignore[misc]
        head_hash, result_hash = block.header.hash, block.result.hash
    yield warm
    yield cold
    reads = Figures("read of one state value at the head")
    for key in list(changes.state)[:1000]:
        reads.measure(lambda key=key: store.state.get(*key))  # type: ignore[misc]
    yield reads
    old = Figures("read of one state value, 10 blocks back")
    with store.state.at(max(store.head.height - 10, store.head.height - blocks // 4)) as view:
        for key in list(changes.state)[:1000]:
            old.measure(lambda key=key: view.get(*key))  # type: ignore[misc]
    yield old
    store.close()
    reopening = Figures(f"open and verify, {blocks} blocks")
    for _ in range(3):
        reopening.measure(lambda: ChannelStore.open(directory, CHAIN_ID).close())
    yield reopening


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to make the temporary files (default: system's)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        figures = [*benchmark_wal(directory / "wal", options.repeat)]
        figures += benchmark_commits(directory / "channel" / "db", options.blocks)
    rows = [figure.summary() for figure in figures]
    print(f"{'ms':<50}{'runs':>6}{'p50':>9}{'p95':>9}{'max':>9}{'cpu p50':>9}")
    for row in rows:
        print(
            f"{row['name']:<50}{row['runs']:>6}{row['wall_ms_p50']:>9}{row['wall_ms_p95']:>9}"
            f"{row['wall_ms_max']:>9}{row['cpu_ms_p50']:>9}"
        )
    text = json.dumps({"benchmark": "storage", "figures": rows}, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
