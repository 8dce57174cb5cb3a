"""What a live `backup create` does to commit latency.

    python -m benchmarks.backup_live [--blocks 400] [--txs 50] [--seconds 10] [--json FILE]

Four real nodes on a generated chain; one client sends transaction after transaction and waits for each to be final.
First without a backup, then while the node that it talks to makes backups, one after another, for as long.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dawan_node.cli.devnet_processes import Processes
from dawan_node.primitives.transaction import Body, sign_transaction
from dawan_node.rpc.client import Client, RpcError, Unreachable
from dawan_node.testing.long_chain import Plan
from dawan_node.testing.long_chain_homes import CHANNEL, cached, keys_of, place

START_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=400)
    parser.add_argument("--txs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chain = cached(Plan(options.blocks, options.txs), report=lambda line: print(line, file=sys.stderr))
    with tempfile.TemporaryDirectory() as folder:
        network = place(chain, Path(folder) / "net")
        keys = keys_of(network)
        admin = sorted(entry.name for entry in keys.genesis.identities if "org_admin" in entry.roles)[0]
        processes = Processes(network)
        home = network.home(network.nodes[0])
        try:
            for node in network.nodes:
                processes.start(node)

            with Client(network.nodes[0].rpc_url) as client:

                def commit() -> float:
                    """Milliseconds until one transaction is final."""
                    valid_until_ms = time.time_ns() // 1_000_000 + 300_000
                    body = Body(1, chain.chain_id, secrets.token_bytes(16), valid_until_ms, "governance", "tick", {})
                    envelope = sign_transaction(keys.people[admin], body)
                    started = time.perf_counter()
                    client.tx_submit(CHANNEL, "0x" + envelope.hex(), "committed", 30_000)
                    return (time.perf_counter() - started) * 1000

                _first(commit)
                alone = _measure(commit, options.seconds, lambda: True)
                command = [sys.executable, "-m", "dawan_node", "backup", "create", "--home", str(home.path)]
                backups = 0
                during: list[float] = []
                end = time.monotonic() + options.seconds
                while time.monotonic() < end or not during:
                    backups += 1
                    child = subprocess.Popen([*command, "--name", f"b{backups}"], stdout=subprocess.DEVNULL)
                    during += _measure(commit, START_S, lambda child=child: child.poll() is None)  # type: ignore[misc]
                    if child.wait():
                        raise SystemExit(f"backup create ended with {child.returncode}")
        finally:
            processes.stop(network.nodes)
    figures = {"backups": backups, "alone": _summary(alone), "during_backups": _summary(during)}
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _first(commit: Callable[[], float]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            commit()
            return
        except (Unreachable, RpcError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _measure(commit: Callable[[], float], seconds: float, goes_on: Callable[[], bool]) -> list[float]:
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and goes_on():
        found.append(commit())
    return found


def _summary(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "transactions": len(ordered),
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[len(ordered) * 95 // 100], 1),
        "worst_ms": round(ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
