"""What the write-ahead log costs: appending and syncing one vote, a block's proposal, rolling to a new segment.

    scripts/bench wal [--directory DIR] [--repeat N] [--json FILE]

Run it on the disk the node will use; nearly all of it is ``fdatasync``, which is the disk's figure and not the node's.
``cpu`` is what the appending thread used. One sync serves all channels and everything that came in meanwhile (group
commit), so a node does a few hundred a second, not one for each transaction; ``append only`` is what each further
record of the group costs.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import Durations, parser_of, rows, tell
from dawan_node.storage.wal import Wal, WalRecord

CHAIN_ID = hashlib.sha256(b"benchmark").digest()


def figures(directory: Path, repeat: int) -> Iterator[Durations]:
    """Everything on one log."""
    Wal.create(directory)
    wal = Wal.open(directory)
    body, vote = random.Random(1).randbytes(500_000), bytes(200)
    for name, records in (
        ("append and sync one vote", [WalRecord(CHAIN_ID, 2, vote)]),
        ("append and sync 20 votes", [WalRecord(CHAIN_ID, 2, vote)] * 20),
        ("append and sync a proposal of 500 KB", [WalRecord(CHAIN_ID, 1, body), WalRecord(CHAIN_ID, 2, vote)]),
    ):
        synced = Durations(name)
        for _ in range(repeat):
            synced.measure(lambda records=records: (wal.append(records), wal.sync()))  # type: ignore[misc]
            if wal.should_roll:
                wal.roll([WalRecord(CHAIN_ID, 1, body)])
        yield synced
    appended = Durations("append only, one vote")
    for _ in range(repeat):
        appended.measure(lambda: wal.append([WalRecord(CHAIN_ID, 2, vote)]))
    yield appended
    rolled = Durations("roll with a checkpoint of 2 MB")
    for _ in range(max(3, repeat // 10)):
        rolled.measure(lambda: (wal.roll([WalRecord(CHAIN_ID, 1, body)] * 4), wal.sync()))
    yield rolled
    wal.close()
    reopened = Durations("open after an orderly end")
    for _ in range(5):
        reopened.measure(lambda: Wal.open(directory).close())
    yield reopened


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--directory", type=Path, help="where to make the temporary files (default: system's)")
    parser.add_argument("--repeat", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        tell(rows(figures(Path(name) / "wal", options.repeat)), options.json)


if __name__ == "__main__":
    main()
