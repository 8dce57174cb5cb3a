"""Signed `receivable` transactions per second, and how long each takes, on real validators on this machine.

Real node processes (the same files and code as production, TLS between them, LevelDB and fsync), an open-loop load
generator in a process of its own, transactions signed before the clock starts. Prints throughput, commit latency
percentiles, CPU per transaction and validator by stage, bytes written per transaction, and writes all of it as JSON.

    python benchmarks/end_to_end.py --rate 1200 --seconds 30

Open loop means that batches leave at their time whether or not earlier ones are answered, so a slow system shows long
latencies instead of a gentler load. Latency is what a client sees: from the moment a batch was due to be sent to the
answer of `tx_submitMany` with wait=committed, counted for each transaction of the batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CHANNEL = "trade"
SUPPLIERS = ("gz-supplier", "gz-supplier-2", "hk-supplier")
BUYER = "gz-buyer"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rate", type=int, default=1200, help="offered transactions per second")
    parser.add_argument("--seconds", type=int, default=30, help="steady state")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--batch", type=int, default=50, help="transactions per call")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        asyncio.run(client(options))
        return
    folder = Path(tempfile.mkdtemp(prefix="dawan-bench-"))
    try:
        figures = run(options, folder / "net")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def run(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    from dawan_node.cli import devnet, devnet_creation
    from dawan_node.cli.devnet_processes import Processes

    network = devnet_creation.create(home, options.nodes)
    processes = Processes(network)
    stop = threading.Event()
    try:
        for node in network.nodes:
            processes.start(node)
        devnet._wait_ready(network, processes, stop)
        devnet._first_block(network, stop)
        command = [sys.executable, __file__, "--client", "--home", str(home)]
        for name in ("nodes", "rate", "seconds", "warmup", "batch"):
            command += [f"--{name}", str(getattr(options, name))]
        load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert load.stdin is not None and load.stdout is not None
        assert load.stdout.readline().strip() == "signed"
        load.stdin.write("go\n")
        load.stdin.flush()
        time.sleep(options.warmup)
        before = [probe(processes.pid(node), node.ops_url, home / node.name) for node in network.nodes]
        time.sleep(options.seconds)
        after = [probe(processes.pid(node), node.ops_url, home / node.name) for node in network.nodes]
        output, _ = load.communicate(timeout=120)
        seen = json.loads(output.splitlines()[-1])
    finally:
        processes.stop(network.nodes)
    return figures_of(options, seen, before, after)


def probe(pid: int | None, ops_url: str, home: Path) -> dict[str, Any]:
    """CPU seconds, memory, bytes written and stage times of one node now."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    written = [line for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line.startswith("wchar")]
    rss = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    stages: dict[str, dict[str, float]] = {}
    with urllib.request.urlopen(f"{ops_url}/metrics", timeout=5) as answer:  # noqa: S310 - loopback
        for line in answer.read().decode().splitlines():
            for kind in ("cpu_us", "transactions"):
                prefix = f'dawan_stage_{kind}_total{{stage="'
                if line.startswith(prefix):
                    stage, _, value = line[len(prefix) :].partition('"} ')
                    stages.setdefault(stage, {})[kind] = float(value)
    disk = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    return {
        "at": time.monotonic(),
        "cpu_s": (int(stat[11]) + int(stat[12])) / TICKS,
        "written": int(written[0].split()[1]),
        "rss_kib": int(rss[0].split()[1]),
        "disk": disk,
        "stages": stages,
    }


def figures_of(
    options: argparse.Namespace, seen: dict[str, Any], before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> dict[str, Any]:
    count = seen["committed"]
    nodes = len(before)
    scale = 1e6 / count / nodes if count else 0.0
    cpu = sum(b["cpu_s"] - a["cpu_s"] for a, b in zip(before, after, strict=True)) * scale
    stages: dict[str, float] = {}
    for a, b in zip(before, after, strict=True):
        for stage, value in b["stages"].items():
            spent = value["cpu_us"] - a["stages"].get(stage, {}).get("cpu_us", 0.0)
            stages[stage] = stages.get(stage, 0.0) + spent / max(1, count) / nodes
    stages["everything else"] = cpu - sum(stages.values())
    return {
        "nodes": nodes,
        "cores": len(os.sched_getaffinity(0)),
        "offered_per_s": options.rate,
        "seconds": options.seconds,
        "committed": count,
        "committed_per_s": round(count / options.seconds, 1),
        "failed": seen["failed"],
        "refused": seen["refused"],
        "latency_ms": seen["latency_ms"],
        "cpu_us_per_transaction_per_validator": round(cpu, 1),
        "client_cpu_us_per_transaction": round(seen["cpu_s"] * 1e6 / max(1, seen["sent"]), 1),
        "stages_us": {stage: round(value, 1) for stage, value in sorted(stages.items(), key=lambda item: -item[1])},
        "written_bytes_per_transaction_per_validator": round(
            sum(b["written"] - a["written"] for a, b in zip(before, after, strict=True)) / max(1, count) / nodes
        ),
        "disk_bytes_per_transaction_per_validator": round(
            sum(b["disk"] - a["disk"] for a, b in zip(before, after, strict=True)) / max(1, count) / nodes
        ),
        "rss_mib_max": round(max(b["rss_kib"] for b in after) / 1024, 1),
    }


def report(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, inner in value.items():
                print(f"  {key:<24} {inner:>10}")
        else:
            print(f"{name:<46} {value:>10}")


async def client(options: argparse.Namespace) -> None:
    """Sign, say so, wait for the word, and send in open loop."""
    from dawan_node.cli import devnet_network
    from dawan_node.rpc.client import AsyncClient, build_body, sign_transaction

    network = devnet_network.load(options.home)
    keys = network.identity_keys()
    urls = [node.rpc_url for node in network.nodes]
    clients = [AsyncClient(url, connections_max=64, timeout_s=90.0) for url in urls]
    chain_id = bytes.fromhex((await clients[0].channel_get(CHANNEL))["chain_id"][2:])
    total = options.rate * (options.warmup + options.seconds)
    stream = random.Random(1)
    valid_until_ms = time.time_ns() // 1_000_000 + 50 * 60_000
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    due = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 90 * 86400))
    signed = []
    for index in range(total):
        name = SUPPLIERS[index % len(SUPPLIERS)]
        args = {
            "number": f"B-{index:08d}",
            "buyer": BUYER,
            "issue_date": today,
            "due_date": due,
            "total": ["CNY", 100_000 + stream.randrange(10_000_000)],
        }
        body = build_body(
            chain_id,
            "receivable",
            "record_invoice",
            args,
            valid_until_ms=valid_until_ms,
            nonce=stream.randbytes(16),
        )
        signed.append("0x" + sign_transaction(keys[name], body).hex())
    batches = [signed[start : start + options.batch] for start in range(0, total, options.batch)]
    print("signed", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

    steady_from, steady_to = options.warmup, options.warmup + options.seconds
    seen = {"committed": 0, "failed": 0, "refused": 0}
    latencies: list[tuple[float, int]] = []
    began_cpu = time.process_time()
    began = time.monotonic()

    async def send(number: int, batch: list[str]) -> None:
        due_s = number * options.batch / options.rate
        target = clients[number % len(clients)]
        answers = await target.tx_submitMany(CHANNEL, batch, wait="committed", timeout_ms=60_000)
        done_s = time.monotonic() - began
        good = sum(1 for answer in answers if answer["status"] == "committed")
        if steady_from <= done_s < steady_to:
            seen["committed"] += good
            seen["failed"] += sum(1 for answer in answers if answer["status"] == "failed")
        seen["refused"] += sum(1 for answer in answers if "error" in answer)
        if steady_from <= due_s < steady_to and good:
            latencies.append(((done_s - due_s) * 1000, good))

    async with asyncio.TaskGroup() as group:
        for number, batch in enumerate(batches):
            wait_s = began + number * options.batch / options.rate - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(send(number, batch))
    seen["sent"] = total
    seen["cpu_s"] = time.process_time() - began_cpu
    print(json.dumps(seen | {"latency_ms": percentiles(latencies)}))
    for one in clients:
        await one.close()


def percentiles(latencies: list[tuple[float, int]]) -> dict[str, float]:
    """p50, p90, p99 and the maximum, weighted by transactions."""
    ordered = sorted(latencies)
    total = sum(count for _, count in ordered)
    found: dict[str, float] = {}
    for share in (50, 90, 99):
        passed = 0
        for latency, count in ordered:
            passed += count
            if passed * 100 >= total * share:
                found[f"p{share}"] = round(latency, 1)
                break
    if ordered:
        found["max"] = round(ordered[-1][0], 1)
    return found


if __name__ == "__main__":
    main()
