"""What the state tree costs a block: ``python -m benchmarks.state_tree``.

A thousand ``receivable`` transactions change about 4,000 entries; the target is 60 ms for them in a tree of 10^5
entries on one core (design section 13 leaves 556 us of two cores per transaction for everything). Overwrites splice
stored nodes; inserts of new keys take nodes apart, the dearer case.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time

from dawan_node.execution.state_tree import prove, update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    store: dict[bytes, bytes] = {}
    keys = [_digest("key", number) for number in range(options.entries)]
    seconds, _ = _apply(store, {key: _digest("value", 0) for key in keys})
    print(f"build {options.entries} entries           {seconds * 1e3:8.1f} ms")
    for label, batches in (
        ("overwrite", [_overwrites(keys, options.changes, number) for number in range(options.rounds)]),
        ("insert", [_inserts(options.changes, number) for number in range(options.rounds)]),
    ):
        timed = [_apply(store, batch) for batch in batches]
        print(
            f"{label:<9} {options.changes} entries         {statistics.median(t for t, _ in timed) * 1e3:8.1f} ms"
            f"   ({timed[0][1]} nodes written, {len(store)} stored)"
        )
    started = time.perf_counter()
    for key in keys[:1_000]:
        prove(store.get, key)
    print(f"prove one entry              {(time.perf_counter() - started) * 1e3:8.1f} us")


def _overwrites(keys: list[bytes], count: int, batch: int) -> dict[bytes, bytes | None]:
    # Keys are digests, so any slice of them is spread over the whole tree.
    start = batch * count % len(keys)
    return {key: _digest("new value", batch) for key in keys[start : start + count]}


def _inserts(count: int, batch: int) -> dict[bytes, bytes | None]:
    return {_digest("new key", batch * count + number): _digest("value", number) for number in range(count)}


def _digest(kind: str, number: int) -> bytes:
    return hashlib.sha256(f"{kind} {number}".encode()).digest()


def _apply(store: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> tuple[float, int]:
    started = time.perf_counter()
    _, nodes = update(store.get, changes)
    elapsed = time.perf_counter() - started
    for path, node in nodes.items():
        if node is None:
            store.pop(path, None)
        else:
            store[path] = node
    return elapsed, len(nodes)


if __name__ == "__main__":
    main()
