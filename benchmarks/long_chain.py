"""What a long chain costs on one node: disk per transaction, opening it, `db verify`, memory.

    python -m benchmarks.long_chain [--blocks 200] [--txs 50] [--compact] [--prune 10000] [--json FILE]

The chain is made by the generator (real formats, signatures and execution, no consensus) and cached outside the
repository; making it is timed only when it is not there yet. Every figure is of a process of its own. Opening is what
a node does at start: recovery by LevelDB and the walk over the last 100,000 headers. `db verify` checks everything and
executes all blocks again.

``--prune`` then removes all but the newest so many blocks of the copy and checks what is left (see
``benchmarks.pruned_chain``). Each figure is printed as soon as it is known.

Issue 5's figure is 1,000,000 transactions, on an idle machine:

    python -m benchmarks.long_chain --blocks 20000 --txs 50 --compact --prune 10000 --json million.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.pruned_chain import pruned
from dawan_node.node.database.contents import Contents, contents, weights
from dawan_node.node.database.opened import directory_bytes, opened
from dawan_node.testing.long_chain import Plan
from dawan_node.testing.long_chain_homes import CHANNEL, cached, place

OPEN = """
import sys, time
from pathlib import Path
from dawan_node.storage.channel_store import ChannelStore
started = time.perf_counter()
store = ChannelStore.open(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))
print(time.perf_counter() - started)
store.close()
"""


def measured(command: list[str]) -> tuple[str, float, float]:
    """Standard output, seconds and peak MiB of one process, which must succeed.

    The peak is that of its own memory (RssAnon, looked at every 20 ms). The kernel's peak counts the table files that
    LevelDB maps as well, and begins with the size of the process that started it.
    """
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak_kib = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak_kib
        while not ended.wait(0.02):
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii").splitlines()
                peak_kib = max(peak_kib, int(next(each for each in lines if each.startswith("RssAnon")).split()[1]))

    watching = threading.Thread(target=watch)
    watching.start()
    output, _ = child.communicate()
    seconds = time.perf_counter() - started
    ended.set()
    watching.join()
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ended with {child.returncode}: {output}")
    return output, seconds, peak_kib / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--txs", type=int, default=50)
    parser.add_argument("--module", default="receivable")
    parser.add_argument("--interval-ms", type=int, default=1_000, help="block time between two blocks")
    parser.add_argument("--compact", action="store_true", help="also measure after LevelDB has compacted everything")
    parser.add_argument("--prune", type=int, default=0, metavar="BLOCKS", help="then keep only so many blocks")
    parser.add_argument("--directory", type=Path, help="where the copy goes (default: the temporary folder)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plan = Plan(options.blocks, options.txs, options.module, interval_ms=options.interval_ms)
    started = time.perf_counter()
    chain = cached(plan, report=lambda line: print(line, file=sys.stderr))
    made_s = time.perf_counter() - started
    figures = Figures(options.json)
    figures.add(blocks=plan.blocks, transactions=plan.transactions)
    if made_s > 1:
        figures.add(made_s=round(made_s, 1), made_transactions_per_s=round(plan.transactions / made_s))
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        network = place(chain, Path(folder) / "net", empty=[node.name for node in chain.network.nodes[1:]])
        home = network.home(network.nodes[0])
        database = home.database(CHANNEL)
        opening = [sys.executable, "-c", OPEN, str(database), chain.chain_id.hex()]
        figures.add(disk_bytes_per_transaction=directory_bytes(database) // plan.transactions)
        opens = [measured(opening) for _ in range(3)]
        figures.add(open_s=round(min(float(output) for output, _, _ in opens), 3))
        figures.add(open_peak_mib=round(max(peak for _, _, peak in opens)))
        with opened(home, CHANNEL) as found:
            report_contents(contents(found), plan.transactions, figures)
        if options.compact:
            compact = [sys.executable, "-m", "dawan_node", "db", "compact", "-c", CHANNEL, "--home", str(home.path)]
            _, seconds, peak = measured(compact)
            figures.add(compact_s=round(seconds, 1), compact_peak_mib=round(peak))
            figures.add(compacted_bytes_per_transaction=directory_bytes(database) // plan.transactions)
        verify = [sys.executable, "-m", "dawan_node", "db", "verify", "-c", CHANNEL, "--home", str(home.path)]
        output, seconds, peak = measured([*verify, "-o", "json", "--scratch", folder])
        report = json.loads(output)
        figures.add(
            verify_s=round(seconds, 1),
            verify_blocks_per_s=round(report["blocks"] / report["seconds"]),
            verify_transactions_per_s=round(report["transactions"] / report["seconds"]),
            verify_peak_mib=round(peak),
        )
        if options.prune:
            node = network.nodes[0]
            figures.add(**pruned(measured, network, node, plan, options.prune, Path(folder), opening))


class Figures:
    """What is known so far: printed at once, and kept in a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._all: dict[str, Any] = {}

    def add(self, **figures: Any) -> None:
        self._all |= figures
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):36}{value}", flush=True)
        if self._path:
            self._path.write_text(json.dumps(self._all, indent=2) + "\n", encoding="utf-8")


def report_contents(found: Contents, transactions: int, figures: Figures) -> None:
    """What the bytes on disk are made of, per transaction."""
    logical = sum(kind.bytes for kind in found.kinds)
    for kind in sorted(found.kinds, key=lambda each: -each.bytes):
        per, records = kind.bytes / transactions, kind.records / transactions
        print(f"  {kind.name:26}{per:8.1f} bytes per transaction in {records:7.3f} records", flush=True)
    figures.add(
        bytes_per_transaction={kind.name: round(kind.bytes / transactions, 1) for kind in found.kinds},
        logical_bytes_per_transaction=logical // transactions,
        leveldb_overhead_percent=round(100 * (found.disk_bytes - logical) / logical, 1),
    )
    measured_weights = weights(found)
    figures.add(
        weights={name: getattr(measured_weights, name) for name in ("block", "body", "state", "history", "source")}
    )


if __name__ == "__main__":
    main()
