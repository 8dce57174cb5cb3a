"""A validator that has nothing of a long chain joins a network under load: how long it takes, and what others feel.

    python -m benchmarks.catch_up_network [--blocks 100000] [--txs 1] [--by blocks|snapshot] [--rate 60] [--json FILE]

Real node processes (TLS, log, LevelDB, RPC): three validators of four hold a chain of ``--blocks`` made by the
generator (cached outside the repository) and take transactions; the fourth has its keys and no block. Measured are

- throughput: transactions committed per second before the fourth starts, while it catches up, and after;
- RPC: the time of a ``chain_getBlock`` of the newest block, asked of the fourth node and of a validator that helps it;
- catch-up: seconds from the start of the process to the height that the others had then, blocks per second, and with
  ``--by snapshot`` the bytes of the snapshot and the height it stands at.

With ``--rate`` transactions leave at that rate whatever happens; with 0 as fast as they are answered (``--clients`` at
once), which shows the most that the validators can do. ``--pin`` gives the validators one processor and everything else
(the fourth node, the clients) another, as if the fourth were on a machine of its own: on processors that all share,
what it costs the others is first of all the time that it computes itself. The fourth gives way to the clients there.
It shares their disk still: with ``--late-on`` a folder of another one (or a memory file system) it has its own.
With ``--window`` it is stopped after so long, and the phase after is without it again: compare with the mean of both,
because a chain that grows gets slower by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawan_node.cli import devnet_network
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.errors import DawanError
from dawan_node.rpc.client import Client, build_body, sign_transaction
from dawan_node.testing.long_chain import Plan
from dawan_node.testing.long_chain_homes import CHANNEL, cached, place

SUPPLIERS = ("gz-supplier", "gz-supplier-2", "hk-supplier")
BUYER = "gz-buyer"
#: Transactions per call of the load.
BATCH = 10
#: It signed nothing of the chain: a key that forgot its votes would only observe (amendment U6).
LATE = "mo1"
#: Between two questions to one node.
PROBE_S = 0.05
#: A phase is looked at from this long after it began: the load has its rhythm, a joining node its links.
SETTLE_S = 3.0
#: With ``--pin`` the clients share a processor with the fourth node. When they waited for it the validators had less to
#: do, and that looked like what serving costs them.
LATE_NICE = 10


# The load, in a process of its own


def load(folder: Path, urls: Sequence[str], rate: int, clients: int, run: str, committed: Any, stop: Any) -> None:
    """Submit until told to stop; ``committed`` counts what was answered as committed."""
    network = devnet_network.load(folder)
    keys = network.identity_keys()
    with Client(urls[0]) as client:
        chain_id = bytes.fromhex(client.call("channel_get", [CHANNEL])["chain_id"][2:])
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    due = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 90 * 86400))

    def envelope(number: str, supplier: str) -> bytes:
        args = {"number": number, "buyer": BUYER, "issue_date": today, "due_date": due, "total": ["CNY", 100_000]}
        valid_until_ms = time.time_ns() // 1_000_000 + 1_800_000
        return sign_transaction(
            keys[supplier], build_body(chain_id, "receivable", "record_invoice", args, valid_until_ms=valid_until_ms)
        )

    began = time.monotonic()

    def work(own: int) -> None:
        supplier = SUPPLIERS[own % len(SUPPLIERS)]
        with Client(urls[own % len(urls)], timeout_s=90.0) as client:
            for turn in range(10**9):
                if rate:
                    wait_s = began + (turn * clients + own) * BATCH / rate - time.monotonic()
                    if wait_s > 0 and stop.wait(wait_s):
                        return
                if stop.is_set():
                    return
                batch = [envelope(f"{run}-{own}-{turn}-{each}", supplier) for each in range(BATCH)]
                answers = client.tx_submitMany(CHANNEL, batch, wait="committed", timeout_ms=60_000)
                with committed.get_lock():
                    committed.value += sum(1 for answer in answers if answer.get("status") == "committed")

    threads = [threading.Thread(target=work, args=(own,)) for own in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Questions


@dataclass
class Probe:
    """Asks one node for its newest block again and again; (time, milliseconds, height) of each answer."""

    url: str
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with Client(self.url, timeout_s=10.0) as client:
            while not self.is_over.wait(PROBE_S):
                began = time.monotonic()
                try:
                    head = client.call("chain_head", [CHANNEL])
                    client.call("chain_getBlock", [CHANNEL, head["height"]])
                except DawanError:
                    if self.answers:  # before the first answer the process is starting
                        self.failures.append(began)
                    continue
                now = time.monotonic()
                self.answers.append((now, (now - began) * 1_000 / 2, head["height"]))

    def between(self, began: float, ended: float) -> list[float]:
        return sorted(ms for at, ms, _ in self.answers if began <= at < ended)


def percentiles(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"p50": None, "p99": None, "max": None, "answers": 0}
    last = len(values) - 1
    return {
        "p50": round(values[last // 2], 1),
        "p99": round(values[last * 99 // 100], 1),
        "max": round(values[-1], 1),
        "answers": len(values),
    }


# The network


class Nodes:
    """Node processes of this process group, on the processors of whoever starts them."""

    def __init__(self, network: Devnet) -> None:
        self.network = network
        self.processes = Processes(network)
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, node: DevnetNode) -> None:
        home = self.network.home(node)
        home.log.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.processes.log_file(node).open("ab") as output:
            self.children[node.name] = subprocess.Popen(
                self.processes.command(node), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()

    def cpu_s(self, name: str) -> float:
        fields = Path(f"/proc/{self.children[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def on_processors(numbers: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, numbers)
    yield
    os.sched_setaffinity(0, before)


def until(look: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit(f"no {what} within {seconds:.0f} s")
        time.sleep(0.2)


def set_storage(network: Devnet, node: DevnetNode, settings: str) -> None:
    file = network.home(node).config_file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[storage]\n", f"[storage]\n{settings}"), encoding="utf-8")


def head(node: DevnetNode) -> int:
    try:
        with Client(node.rpc_url, timeout_s=5.0) as client:
            return int(client.call("chain_head", [CHANNEL])["height"])
    except DawanError:
        return -1


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    plan = Plan(options.blocks, options.txs, away=(LATE,))
    chain = cached(plan, report=lambda line: print(line, file=sys.stderr))
    validators = {entry.name for entry in chain.genesis.validators}
    network = place(chain, folder, empty=[LATE])
    late = network.find(LATE)
    others = [node for node in network.nodes if node.name in validators and node.name != LATE]
    every = options.snapshot_every if options.by == "snapshot" else 0
    if options.late_on:
        data = network.home(late).data
        shutil.move(data, options.late_on)
        data.symlink_to(options.late_on / data.name)
    for node in (*others, late):
        set_storage(network, node, f"snapshot_every = {every}\nsnapshot_behind = {1_000 if every else 0}\n")
    everywhere = sorted(os.sched_getaffinity(0))
    theirs, rest = ({everywhere[0]}, {everywhere[1]}) if options.pin else (set(everywhere), set(everywhere))
    nodes, probes = Nodes(network), [Probe(late.rpc_url), Probe(others[0].rpc_url)]
    spawn = multiprocessing.get_context("spawn")
    committed, stop = spawn.Value("q", 0), spawn.Event()
    threads = [threading.Thread(target=probe.run) for probe in probes]
    try:
        with on_processors(theirs):
            for node in others:
                nodes.start(node)
        os.sched_setaffinity(0, rest)
        until(lambda: min(head(node) for node in others) >= options.blocks, 300, "validators")
        urls = [node.rpc_url for node in others]
        arguments = (folder, urls, options.rate, options.clients, f"R{time.time_ns() % 10**9}", committed, stop)
        client = spawn.Process(target=load, args=arguments, daemon=True)
        client.start()
        until(lambda: committed.value > 5 * BATCH, 300, "commits")
        snapshots = network.home(others[0]).channel_folder(CHANNEL) / "snapshots"
        if every:
            until(lambda: any(snapshots.glob("[0-9]*/manifest")), 600, "snapshot")
        threads[1].start()
        time.sleep(SETTLE_S)
        marks = [mark("before", committed, nodes, others)]
        time.sleep(options.seconds)
        marks.append(mark("start", committed, nodes, others))
        goal = head(others[0])
        nodes.start(late)
        if options.pin:  # before it has threads, which inherit it
            os.setpriority(os.PRIO_PROCESS, nodes.children[late.name].pid, LATE_NICE)
        threads[0].start()
        until(lambda: bool(probes[0].answers), 120, "answer of the new node")
        ends = time.monotonic() + (options.window or options.limit)
        until(
            lambda: probes[0].answers[-1][2] >= goal or (options.window > 0 and time.monotonic() > ends),
            options.limit,
            f"catch-up to {goal}",
        )
        goal = min(goal, probes[0].answers[-1][2])
        marks.append(mark("caught up", committed, nodes, others))
        if options.window:
            nodes.children[late.name].terminate()
            nodes.children[late.name].wait(60)
        else:
            until(lambda: head(late) >= head(others[0]) - 2, 120, "end of catch-up")
        time.sleep(SETTLE_S)
        marks.append(mark("after", committed, nodes, others))
        time.sleep(options.seconds)
        marks.append(mark("end", committed, nodes, others))
        stop.set()
        for probe in probes:
            probe.is_over.set()
        client.join(90)
        snapshot = max((path for path in snapshots.glob("[0-9]*") if (path / "manifest").exists()), default=None)
        bytes_ = 0 if snapshot is None else sum(path.stat().st_size for path in snapshot.iterdir())
        said = nodes.processes.log_file(late).read_text(encoding="utf-8")
    except SystemExit:
        for node in (*others, late):
            print(f"{node.name}: {nodes.processes.last_words(node)}", file=sys.stderr)
        raise
    finally:
        stop.set()
        for probe in probes:
            probe.is_over.set()
        nodes.stop()
    return figures(options, marks, probes, goal, bytes_, said)


def mark(name: str, committed: Any, nodes: Nodes, of: Sequence[DevnetNode]) -> dict[str, Any]:
    cpu = {node.name: nodes.cpu_s(node.name) for node in of}
    return {"name": name, "at": time.monotonic(), "committed": committed.value, "cpu_s": cpu}


def figures(
    options: argparse.Namespace,
    marks: list[dict[str, Any]],
    probes: list[Probe],
    goal: int,
    snapshot_bytes: int,
    said: str,
) -> dict[str, Any]:
    phases = {"before": (marks[0], marks[1]), "during": (marks[1], marks[2]), "after": (marks[3], marks[4])}
    table: dict[str, Any] = {}
    for name, (first, last) in phases.items():
        seconds = last["at"] - first["at"]
        table[name] = {
            "seconds": round(seconds, 1),
            "committed_per_s": round((last["committed"] - first["committed"]) / seconds, 1),
            "cpu_of_validators": round(
                sum(last["cpu_s"][each] - first["cpu_s"][each] for each in first["cpu_s"]) / seconds, 2
            ),
            "rpc_ms_late": percentiles(probes[0].between(first["at"], last["at"])),
            "rpc_ms_validator": percentiles(probes[1].between(first["at"], last["at"])),
        }
    # With ``--window`` the fourth is stopped again, and both phases are without it. Else it votes in the one after,
    # which is another network: with it on a processor of its own twice as many transactions were committed.
    bases = ("before", "after") if options.window else ("before",)
    without = statistics.mean(table[name]["committed_per_s"] for name in bases)
    took = marks[2]["at"] - marks[1]["at"]
    found = {
        "by": options.by,
        "blocks": goal,
        "transactions_per_block": options.txs,
        "pinned": options.pin,
        "offered_per_s": options.rate or f"{options.clients} clients, each at once",
        "seconds": round(took, 1),
        "blocks_per_s": round(goal / took),
        "phases": table,
        "throughput_lost_percent": round(100 * (1 - table["during"]["committed_per_s"] / without), 1),
        "rpc_failures": [len(probe.failures) for probe in probes],
        "events": {name: said.count(name) for name in ("snapshot_chosen", "snapshot_installed", "sync_peer_failed")},
    }
    if options.by == "snapshot":
        found["snapshot_bytes"] = snapshot_bytes
    return found


def report(found: dict[str, Any]) -> None:
    pinned = "validators on one processor, the rest on another" if found["pinned"] else "all share the processors"
    print(f"catch-up by {found['by']}, {found['blocks']:,} blocks of {found['transactions_per_block']}, {pinned}")
    print(f"  {found['seconds']} s from the start of the process, {found['blocks_per_s']:,} blocks/s")
    if "snapshot_bytes" in found:
        print(f"  snapshot of {found['snapshot_bytes']:,} bytes")
    print(f"  offered {found['offered_per_s']} transactions/s; throughput lost {found['throughput_lost_percent']} %")
    print(f"  {'phase':8}{'s':>7}{'tx/s':>8}{'cpu':>6}   RPC of the late node (ms)      RPC of a validator (ms)")
    for name, row in found["phases"].items():
        shown = [
            f"p50 {each['p50']} p99 {each['p99']} max {each['max']}" if each["answers"] else "-"
            for each in (row["rpc_ms_late"], row["rpc_ms_validator"])
        ]
        print(
            f"  {name:8}{row['seconds']:7}{row['committed_per_s']:8}{row['cpu_of_validators']:6}   "
            f"{shown[0]:31}{shown[1]}"
        )
    print(f"  RPC failures {found['rpc_failures']}, events {found['events']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=3_000)
    parser.add_argument("--txs", type=int, default=1, help="transactions per block")
    parser.add_argument("--by", choices=("blocks", "snapshot"), default="blocks")
    parser.add_argument("--snapshot-every", type=int, default=100, help="with --by snapshot: heights between two")
    parser.add_argument("--rate", type=int, default=60, help="offered transactions per second, 0: all that goes")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=20, help="of the phases before and after")
    parser.add_argument("--limit", type=int, default=800, help="seconds that catch-up may take")
    parser.add_argument("--window", type=int, default=0, help="end catch-up after so many seconds, wherever it is")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--late-on", type=Path, help="where the fourth node keeps its data")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="catch-up-network-"))
        if options.late_on:
            own = tempfile.TemporaryDirectory(prefix="catch-up-late-", dir=options.late_on)
            options.late_on = Path(stack.enter_context(own))
        found = measure(options, Path(folder) / "net")
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
