"""What the state tree costs a block, in trees of 10^3, 10^5 and 10^6 entries, warm and cold.

    scripts/bench state_tree [--entries 1000,100000] [--changes N] [--json FILE]

A thousand ``receivable`` transactions change about 4,000 entries; the target is 60 ms for them in a tree of 10^5
entries on one core (design section 13 leaves 556 us of two cores per transaction for everything). Overwrites splice
stored nodes; inserts of new keys take nodes apart, the dearer case.

``warm`` has all nodes in a dictionary: what hashing and splicing cost. ``cold`` reads each from a LevelDB that was just
opened, with nothing cached by this process (the operating system's page cache stays): what a node pays for parts of the
state that nobody touched lately. Reads: milliseconds of processor time for all changes, and how many nodes they wrote.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import best_us, parser_of, tell
from dawan_node.execution.state_tree import prove, update
from dawan_node.storage.leveldb import LevelDBStore

#: Entries of one step of building: a tree of 10^6 in one update would need several gigabytes.
BUILT_AT_ONCE = 50_000


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--entries", default="1000,100000,1000000", help="sizes of trees")
    parser.add_argument("--changes", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to make the temporary files (default: system's)")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    for entries in map(int, options.entries.split(",")):
        store: dict[bytes, bytes] = {}
        keys = [_digest("key", number) for number in range(entries)]
        for at in range(0, entries, BUILT_AT_ONCE):
            _apply(store, store.get, {key: _digest("value", 0) for key in keys[at : at + BUILT_AT_ONCE]})
        with tempfile.TemporaryDirectory(dir=options.directory) as folder:
            database = _written(store, Path(folder) / "db")
            for number, (label, batch) in enumerate(
                (("overwrite", _overwrites), ("insert", _inserts)),
            ):
                batches = [batch(keys, options.changes, number * 100 + round_) for round_ in range(options.rounds)]
                cold = []
                for changes in batches:
                    opened = LevelDBStore.open(database)
                    cold.append(_timed(lambda opened=opened: opened.get, changes)[0])  # type: ignore[misc]
                    opened.close()
                warm = [_apply(store, store.get, changes) for changes in batches]
                figures[f"{entries:,} entries, {label} {options.changes:,}"] = {
                    "warm ms": statistics.median(each for each, _ in warm) * 1e3,
                    "cold ms": statistics.median(cold) * 1e3,
                    "nodes": warm[0][1],
                }
        some = keys[:1_000]
        figures[f"{entries:,} entries, prove one, us"] = best_us(
            lambda some=some, get=store.get: [prove(get, key) for key in some],
            len(some),  # type: ignore[misc]
        )
    tell(figures, options.json)


def _overwrites(keys: list[bytes], count: int, batch: int) -> dict[bytes, bytes | None]:
    # Keys are digests, so any slice of them is spread over the whole tree.
    start = batch * count % len(keys)
    return {key: _digest("new value", batch) for key in keys[start : start + count]}


def _inserts(keys: list[bytes], count: int, batch: int) -> dict[bytes, bytes | None]:
    return {_digest("new key", batch * count + number): _digest("value", number) for number in range(count)}


def _digest(kind: str, number: int) -> bytes:
    return hashlib.sha256(f"{kind} {number}".encode()).digest()


def _written(store: dict[bytes, bytes], directory: Path) -> Path:
    database = LevelDBStore.open(directory, create=True)
    items = [(b"t" + path, node) for path, node in store.items()]
    for at in range(0, len(items), BUILT_AT_ONCE):
        database.write(items[at : at + BUILT_AT_ONCE], sync=at + BUILT_AT_ONCE >= len(items))
    database.mark_initialised()
    database.close()
    return directory


def _timed(
    reader: Callable[[], Callable[[bytes], bytes | None]], changes: dict[bytes, bytes | None]
) -> tuple[float, dict[bytes, bytes | None]]:
    get = reader()
    started = time.thread_time()
    _, nodes, _ = update(lambda path: get(b"t" + path), changes)
    return time.thread_time() - started, nodes


def _apply(
    store: dict[bytes, bytes], get: Callable[[bytes], bytes | None], changes: dict[bytes, bytes | None]
) -> tuple[float, int]:
    started = time.thread_time()
    _, nodes, _ = update(get, changes)
    elapsed = time.thread_time() - started
    for path, node in nodes.items():
        if node is None:
            store.pop(path, None)
        else:
            store[path] = node
    return elapsed, len(nodes)


if __name__ == "__main__":
    main()
