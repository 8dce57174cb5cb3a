"""What a long chain costs on one node: disk per transaction, opening it, `db verify`, memory.

    python -m benchmarks.long_chain [--blocks 200] [--txs 50] [--compact] [--json FILE]

The chain is made by the generator (real formats, signatures and execution, no consensus) and cached outside the
repository; making it is timed only when it is not there yet. Every figure is of a process of its own, whose peak
memory is the kernel's (ru_maxrss). Opening is what a node does at start: recovery by LevelDB and the walk over the last
100,000 headers. `db verify` checks everything and executes all blocks again.

Issue 5's figure is 1,000,000 transactions, on an idle machine:

    python -m benchmarks.long_chain --blocks 2000 --txs 500 --json million.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dawan_node.node.database.contents import contents, weights
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
    """Standard output, seconds and peak MiB of one process, which must succeed."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ended with {child.returncode}: {output}")
    return output, time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--txs", type=int, default=50)
    parser.add_argument("--module", default="receivable")
    parser.add_argument("--compact", action="store_true", help="also measure after LevelDB has compacted everything")
    parser.add_argument("--directory", type=Path, help="where the copy goes (default: the temporary folder)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plan = Plan(options.blocks, options.txs, options.module)
    started = time.perf_counter()
    chain = cached(plan, report=lambda line: print(line, file=sys.stderr))
    made_s = time.perf_counter() - started
    figures: dict[str, Any] = {"blocks": plan.blocks, "transactions": plan.transactions}
    if made_s > 1:
        figures |= {"made_s": round(made_s, 1), "made_transactions_per_s": round(plan.transactions / made_s)}
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        network = place(chain, Path(folder) / "net", empty=[node.name for node in chain.network.nodes[1:]])
        home = network.home(network.nodes[0])
        database = home.database(CHANNEL)
        figures["disk_bytes_per_transaction"] = directory_bytes(database) // plan.transactions
        if options.compact:
            with opened(home, CHANNEL) as found:
                found.kv.compact()
            figures["compacted_bytes_per_transaction"] = directory_bytes(database) // plan.transactions
        opens = [measured([sys.executable, "-c", OPEN, str(database), chain.chain_id.hex()]) for _ in range(3)]
        figures["open_s"] = round(min(float(output) for output, _, _ in opens), 3)
        figures["open_peak_mib"] = round(max(peak for _, _, peak in opens))
        verify = [sys.executable, "-m", "dawan_node", "db", "verify", "-c", CHANNEL, "--home", str(home.path)]
        output, seconds, peak = measured([*verify, "-o", "json", "--scratch", folder])
        report = json.loads(output)
        figures |= {
            "verify_s": round(seconds, 1),
            "verify_blocks_per_s": round(report["blocks"] / report["seconds"]),
            "verify_transactions_per_s": round(report["transactions"] / report["seconds"]),
            "verify_peak_mib": round(peak),
        }
        with opened(home, CHANNEL) as found:
            weighed = weights(contents(found))
        figures["weights"] = {name: getattr(weighed, name) for name in ("block", "body", "state", "history", "source")}
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):36}{value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
