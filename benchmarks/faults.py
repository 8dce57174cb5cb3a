"""Throughput and latency while something is broken and afterwards, as ratios to clean, in the same run.

    scripts/bench faults                                 # all of them, about a minute each
    scripts/bench faults backup-crash primary-crash --rate 800
    scripts/bench faults --list

Four validators of one network for each fault; one open-loop load from the first second to the last, through all nodes,
below what the network can do: ``clean`` seconds, ``during``, ``after``. A client whose node is gone sends the same
bytes to the next one, and its latency goes on counting.

==================  ==================================================================================================
backup-crash        ``kill -9`` of a node that is not the primary; it starts again when ``after`` begins
primary-crash       the same of the primary. ``gap_s`` is the longest time without a commit (goal: < 2 view timeouts)
slow-disk           every sync of one backup takes ``--disk-ms`` longer
slow-disk-primary   the same of the primary
slow-link           all links of one backup: ``--link-ms`` more each way, and 1 MiB/s
slow-link-primary   the same of the primary
attackers           each of the simulator's list (``dawan_node.testing.attackers``) as a real process: one of four nodes
                    lies from the moment ``during`` begins. It is the primary then
==================  ==================================================================================================

How to read it: ``rate`` counts commits by the time of their answer, so a queue that is worked off makes it more than
offered; a ratio of at least 0.5 is the goal (a load that is offered at half of the capacity can hide a halved capacity:
look at p50 as well, and repeat with ``--rate`` near the capacity). Latency is by the time a call was due. ``lost`` are
transactions that neither committed nor were refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.faulty_node import ATTACKERS, SLOW_DISK
from benchmarks.links import Proxies
from benchmarks.load import Answers, Load, Schedule
from benchmarks.network import Running, machine, now_ms, running
from benchmarks.workloads import workload_of
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.consensus.config import Timers
from dawan_node.rpc.client import Client

CRASHES: Final = ("backup-crash", "primary-crash")
DISKS: Final = ("slow-disk", "slow-disk-primary")
LINKS: Final = ("slow-link", "slow-link-primary")
FAULTS: Final = (*CRASHES, *DISKS, *LINKS, *ATTACKERS)
SLOW_BYTES_PER_S: Final = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", help="which; default: all")
    parser.add_argument("--list", action="store_true", help="name them and end")
    parser.add_argument("--workload", choices=("record", "transfer", "mix"), default="record")
    parser.add_argument("--rate", type=int, default=500, help="offered transactions per second")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--clean", type=int, default=10, help="seconds before the fault (after 5 of warm-up)")
    parser.add_argument("--during", type=int, default=15)
    parser.add_argument("--after", type=int, default=10)
    parser.add_argument("--disk-ms", type=int, default=50)
    parser.add_argument("--link-ms", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.list:
        print("\n".join(FAULTS))
        return
    unknown = [name for name in options.faults if name not in FAULTS]
    if unknown:
        parser.error(f"there is no fault {unknown[0]}; --list names them")
    figures: dict[str, Any] = machine() | {
        "view_timeout_s": Timers().view_ms / 1000,
        "offered_per_s": options.rate,
        "workload": options.workload,
        "faults": {},
    }
    columns = ("clean/s", "during", "p50", "p99", "after", "p50", "p99", "gap s", "lost")
    print(f"{'fault':<24}{''.join(f'{each:>8}' for each in columns)}   ratios to clean but for the ends", flush=True)
    for name in options.faults or FAULTS:
        folder = Path(tempfile.mkdtemp(prefix="dawan-bench-"))
        try:
            row = run(name, options, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        figures["faults"][name] = row
        cells = [f"{'-' if each is None else each:>8}" for each in row["ratios"].values()]
        during = row["during"]
        print(
            f"{name:<24}{row['clean']['rate']:>8.0f}{''.join(cells)}{during['gap_s']:>8.2f}{row['lost']:>8}", flush=True
        )
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")


def run(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One fault on a network of its own."""
    starts = (5, 5 + options.clean, 5 + options.clean + options.during)
    seconds = starts[2] + options.after
    prepared_ms = now_ms()
    proxies = Proxies() if name in LINKS else None
    programs: dict[str, list[str]] = {}

    def before_start(network: Devnet) -> None:
        # Who is the primary in view 0 follows from the genesis, which exists only now.
        up = Running(network, None, ("trade",), network.nodes)  # type: ignore[arg-type]
        if proxies is not None:
            proxies.route(network)
        if name in ATTACKERS or name in DISKS:
            fault = f"{SLOW_DISK}:{options.disk_ms}" if name in DISKS else name
            programs[victim_of(up, name).name] = ["-m", "benchmarks.faulty_node", fault]

    try:
        with running(
            folder,
            workload_of(options.workload, 0),
            options.rate * seconds,
            programs=programs,
            before_start=before_start,
        ) as network:
            schedule = Schedule(
                options.workload,
                network.channels,
                tuple(node.rpc_url for node in network.nodes),
                options.rate,
                seconds,
                options.batch,
                prepared_ms,
                timeout_s=10.0,
            )
            load = Load(network.devnet.folder, [schedule])
            try:
                load.start()
                load.wait_until(starts[1])
                primary = primary_now(network)
                victim = primary if name == "primary-crash" else victim_of(network, name)
                with broken(network, victim, name, proxies, options):
                    load.wait_until(starts[2])
                (answers,) = load.finish(seconds + 240)
            finally:
                load.stop()
    finally:
        if proxies is not None:
            proxies.stop()
    return {"victim_was_primary": victim == primary} | figures_of(answers, starts, seconds)


def primary_now(network: Running) -> DevnetNode:
    """Who leads, in the eyes of the first node."""
    with Client(network.nodes[0].rpc_url) as client:
        return network.devnet.find(client.pbft_status("trade")["primary"])


def victim_of(network: Running, name: str) -> DevnetNode:
    """The primary of view 0, or for faults of a backup the node after it in the list."""
    primary = network.primary("trade")
    if name in ("backup-crash", "slow-disk", "slow-link"):
        nodes = network.nodes
        return nodes[(nodes.index(primary) + 1) % len(nodes)]
    return primary


@contextmanager
def broken(
    network: Running, victim: DevnetNode, name: str, proxies: Proxies | None, options: argparse.Namespace
) -> Iterator[None]:
    """The fault is there inside, and what can be mended is mended at the end."""
    if name in CRASHES:
        network.processes.kill(victim)
        yield
        network.processes.start(victim)
        return
    if proxies is not None:
        proxies.slow(victim.name, options.link_ms / 1000, SLOW_BYTES_PER_S)
        yield
        proxies.slow(victim.name, 0.0, None)
        return
    pid = network.processes.pid(victim)
    assert pid is not None, network.processes.last_words(victim)
    os.kill(pid, signal.SIGUSR1)
    yield
    if "fault begins" not in network.processes.log_file(victim).read_text(errors="replace"):
        sys.exit(f"{name}: the node did not do what it was to do")
    pid = network.processes.pid(victim)
    if pid is None:
        sys.exit(f"{name}: the node with the fault ended by itself: {network.processes.last_words(victim)}")
    os.kill(pid, signal.SIGUSR2)


def figures_of(answers: Answers, starts: tuple[int, int, int], seconds: int) -> dict[str, Any]:
    """Each phase, and the ratios of the later two to the first."""
    edges = {"clean": starts[:2], "during": starts[1:], "after": (starts[2], seconds)}
    row: dict[str, Any] = {}
    for phase, (since, until) in edges.items():
        row[phase] = {
            "rate": round(answers.rate(since, until), 1),
            "latency_ms": answers.latency(since, until),
            "gap_s": round(answers.gap_s(since, until), 2),
        }
    clean = row["clean"]
    row["ratios"] = {
        f"{what}_{phase}": ratio(read(row[phase]), read(clean))
        for phase in ("during", "after")
        for what, read in READINGS.items()
    }
    refused = answers.refusals()
    row["refused"] = refused
    done = sum(call.committed + call.failed for call in answers.calls)
    row["lost"] = answers.sent - done - sum(count for code, count in refused.items() if code.isdigit())
    return row


READINGS: Final[dict[str, Callable[[dict[str, Any]], float | None]]] = {
    "rate": lambda phase: phase["rate"],
    "p50": lambda phase: phase["latency_ms"].get("p50"),
    "p99": lambda phase: phase["latency_ms"].get("p99"),
}


def ratio(value: float | None, clean: float | None) -> float | None:
    """None when nothing was committed in either."""
    return round(value / clean, 2) if value is not None and clean else None


if __name__ == "__main__":
    main()
