"""What one transaction costs in the pool: add, reap, remove, for a backlog of several organisations.

    scripts/bench mempool [--count N] [--organisations N] [--json FILE]

Reads: microseconds per transaction and step; ``total_us`` is their sum, budget 6 us (design section 13 leaves
about 270 us per transaction and validator at 1,800/s on half of two cores; the pool should be noise in it).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from dawan_node.mempool import Mempool, MempoolLimits, replay_keys
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope

LIFETIME_MS = 3_600_000
NOW_MS = 1_700_000_000_000


def transactions(count: int, keys: int) -> list[Transaction]:
    """Decoded transactions of about 300 bytes; their signatures are not looked at here."""
    made = []
    for number in range(count):
        body = Body(
            1,
            bytes(32),
            number.to_bytes(16, "big"),
            NOW_MS + LIFETIME_MS // 2,
            "receivable",
            "record_invoice",
            {"memo": "x" * 100, "number": number},
        )
        key = (number % keys).to_bytes(32, "big")
        made.append(Transaction.decode(assemble_envelope(body.encode(), "ed25519", key, bytes(64))))
    return made


def run(count: int, organisations: int) -> dict[str, float]:
    """One pass: fill the pool, then take and decide it in blocks of 1,000 with four blocks in flight."""
    items = [(tx, f"org{index % organisations}") for index, tx in enumerate(transactions(count, organisations * 4))]
    pool = Mempool(MempoolLimits(), LIFETIME_MS)
    started = time.perf_counter()
    verdicts = pool.add_many(items, NOW_MS, NOW_MS)
    added = time.perf_counter()
    assert all(not isinstance(verdict, Exception) for verdict in verdicts)

    reap_s = remove_s = 0.0
    in_flight: list[tuple[list[Transaction], frozenset[bytes]]] = []
    decided = 0
    while decided < count:
        while len(in_flight) < 4:
            at = time.perf_counter()
            exclude = frozenset[bytes]().union(*(keys for _, keys in in_flight))
            batch = pool.reap(1_000, 4 << 20, NOW_MS, exclude)
            keys = replay_keys(batch)
            reap_s += time.perf_counter() - at
            if not batch:
                break
            in_flight.append((batch, keys))
        batch, _ = in_flight.pop(0)
        at = time.perf_counter()
        pool.remove_decided(batch)
        remove_s += time.perf_counter() - at
        decided += len(batch)
    assert len(pool) == 0
    add_us, reap_us, remove_us = (seconds / count * 1e6 for seconds in (added - started, reap_s, remove_s))
    return {"add_us": add_us, "reap_us": reap_us, "remove_us": remove_us, "total_us": add_us + reap_us + remove_us}


def main() -> None:
    """Best of several passes: the others measure the neighbours on the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--organisations", type=int, default=4)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    passes = [run(options.count, options.organisations) for _ in range(options.passes)]
    best = {name: round(value, 2) for name, value in min(passes, key=lambda result: result["total_us"]).items()}
    print(f"{options.count} transactions of {options.organisations} organisations, us per transaction")
    for name, value in best.items():
        print(f"  {name.removesuffix('_us'):<8}{value:>8.2f}")
    if options.json:
        header = {"benchmark": "mempool", "count": options.count, "organisations": options.organisations}
        options.json.write_text(json.dumps({**header, **best}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
