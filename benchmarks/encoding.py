"""What encoding and decoding cost: a transaction, a block's header, a receipt, the votes about it.

    scripts/bench encoding [--count N] [--json FILE]

Reads: microseconds each, best of several passes, without signatures. Decoding includes what formats A.1 demands of
every decoder: the byte cap, strict types, and that encoding again gives the same bytes. A validator decodes each
transaction once (the stage ``decode`` of a node holds the checks before the signature as well) and each vote once; a
client's codec (``client: build``) is msgpack, not the node's.
"""

from __future__ import annotations

import hashlib

from benchmarks.timing import best_us, parser_of, tell
from benchmarks.workloads import workload_of
from dawan_node.consensus.messages import Commit, Prepare, PrePrepare, decode_message
from dawan_node.crypto import merkle
from dawan_node.primitives.block import Header
from dawan_node.primitives.encoding import decode_value, encode
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.client import assemble_transaction, build_body

NOW_MS = 1_780_000_000_000
CHAIN = hashlib.sha256(b"benchmark").digest()


def envelopes(workload: str, count: int, payload_bytes: int = 8192) -> list[bytes]:
    """Transactions of one workload with signatures that nobody looks at."""
    calls = workload_of(workload, payload_bytes)
    made = []
    for number in range(count):
        call = calls.call(number, NOW_MS)
        nonce = number.to_bytes(16, "big")
        body = build_body(CHAIN, call.module, call.command, call.args, valid_until_ms=NOW_MS, nonce=nonce)
        made.append(assemble_transaction(body, "ed25519", bytes(32), bytes(64)))
    return made


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=2_000)
    options = parser.parse_args()
    count = options.count
    figures: dict[str, object] = {}
    for workload in ("record", "transfer", "mix", "payload"):
        batch = envelopes(workload, count)
        size = sum(map(len, batch)) // count
        figures[f"transaction: decode, {workload}, {size} bytes"] = best_us(
            lambda batch=batch: [Transaction.decode(each) for each in batch],
            count,  # type: ignore[misc]
        )
    figures["client: build a transaction, mix"] = best_us(lambda: envelopes("mix", count), count)
    batch = envelopes("mix", count)
    transactions = [Transaction.decode(each) for each in batch]
    bodies = [each.body for each in transactions]
    figures["transaction: encode the body again, mix"] = best_us(lambda: [each.encode() for each in bodies], count)
    values = [encode(each.args) for each in bodies]
    figures["arguments: decode as a free value, mix"] = best_us(
        lambda: [decode_value(each, 65_536) for each in values], count
    )
    leaves = [each.leaf_hash for each in transactions]
    thousand = (leaves * 1_000)[:1_000]
    figures["Merkle root of 1,000 leaves, each"] = best_us(lambda: merkle.root(thousand), 1_000)
    header = Header(1, CHAIN, 0, 1, CHAIN, CHAIN, count, 400 * count, NOW_MS, 0, CHAIN, False)
    raw = header.encode()
    figures["header: encode"] = best_us(lambda: [header.encode() for _ in range(1_000)], 1_000)
    figures["header: decode"] = best_us(lambda: [Header.decode(raw) for _ in range(1_000)], 1_000)
    receipt = Receipt(CHAIN, 1, 0, 0, "", [("InvoiceRecorded", {"number": "B-00000001"})])
    raw_receipt = receipt.encode()
    figures["receipt: encode"] = best_us(lambda: [receipt.encode() for _ in range(1_000)], 1_000)
    figures["receipt: decode"] = best_us(lambda: [Receipt.decode(raw_receipt) for _ in range(1_000)], 1_000)
    votes = {
        "PREPARE": Prepare(0, 0, 1, CHAIN, 1, bytes(64)),
        "COMMIT": Commit(0, 0, 1, CHAIN, CHAIN, 1, bytes(64)),
        "PRE-PREPARE of 250 leaves": PrePrepare(0, header, tuple((leaves * 250)[:250]), bytes(64)),
    }
    for name, vote in votes.items():
        wire = vote.encode()
        figures[f"{name}: encode"] = best_us(lambda vote=vote: [vote.encode() for _ in range(1_000)], 1_000)  # type: ignore[misc]
        figures[f"{name}: decode"] = best_us(lambda wire=wire: [decode_message(wire) for _ in range(1_000)], 1_000)  # type: ignore[misc]
    tell(figures, options.json)


if __name__ == "__main__":
    main()
