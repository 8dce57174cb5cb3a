"""Signed transactions per second, and how long each takes, on real validators on this machine.

    scripts/bench end_to_end --workload transfer --rate 1800 --seconds 60
    scripts/bench end_to_end --workload mix --nodes 7 --observers 2 --channels 4 --state-entities 1000000

Real node processes (the same files and code as production, TLS between them, LevelDB and fsync), an open-loop load
generator in processes of its own, everything signed before the clock starts and sent with ``tx_submitMany``. What the
workloads are stands in ``benchmarks/workloads.py``, what a latency is in ``benchmarks/load.py``.

How to read it: ``cpu_us_per_transaction_per_validator`` is the headline, and ``stages_us`` says where it goes; with n
validators on c cores, c * 1,000,000 / (n * that) is the most that can be committed in a second, less what the generator
takes (``generator_cpu_us_per_transaction``, shown apart). A rate is sustained when committed_per_s reaches the offered
one and p99 is far below the length of the run; offered beyond that, latency measures the queue. ``generator_lag_ms``
large beside p50 means that the generator was the bottleneck and the run says nothing. A view at the end that is not 0
means that the network changed its primary under the load. ``--round-trip-ms`` puts associations at a distance: its
proxies cost processor time of the same cores, so compare with ``--round-trip-ms 0``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.links import Proxies
from benchmarks.load import Answers, Load, Schedule
from benchmarks.network import Running, machine, now_ms, running
from benchmarks.node_probe import Usage, WireMeter, port_of, probe, stage_table
from benchmarks.workloads import NAMES, workload_of
from dawan_node.cli.devnet_network import Devnet
from dawan_node.rpc.client import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=NAMES, default="record")
    parser.add_argument("--payload-bytes", type=int, default=1024, help="size of a signed transaction of `payload`")
    parser.add_argument("--nodes", type=int, default=4, help="validators: 4, 7, 10, ...")
    parser.add_argument("--observers", type=int, default=0)
    parser.add_argument("--channels", type=int, default=1, help="channels that share the load")
    parser.add_argument("--state-entities", type=int, default=0, help="entities of each channel before the start")
    parser.add_argument(
        "--round-trip-ms",
        type=float,
        help="between nodes of different organisations, by proxies; 0: proxies alone",
    )
    parser.add_argument("--rate", type=int, default=1200, help="offered transactions per second over all channels")
    parser.add_argument("--seconds", type=int, default=30, help="steady state; under 30 it is a trial")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--batch", type=int, default=50, help="transactions per call")
    parser.add_argument("--generators", type=int, default=1, help="load generator processes")
    parser.add_argument("--profile", type=Path, help="write what the first validator's loop did to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    try:
        workload_of(options.workload, options.payload_bytes)
    except ValueError as error:
        parser.error(str(error))
    folder = Path(tempfile.mkdtemp(prefix="dawan-bench-"))
    try:
        figures = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One network, one run."""
    about = machine()
    workload = workload_of(options.workload, options.payload_bytes)
    total = options.rate * (options.warmup + options.seconds)
    # Calls go to the channels in turn: each gets so many transactions at most.
    share = -(-total // (options.batch * options.channels)) * options.batch * options.channels
    prepared_ms = now_ms()
    programs: dict[str, list[str]] = {}

    proxies = None if options.round_trip_ms is None else Proxies()

    def before_start(network: Devnet) -> None:
        if options.profile is not None:
            programs[network.nodes[0].name] = ["-m", "benchmarks.profiled_node", str(options.profile.resolve())]
        if proxies is not None:
            proxies.route(network)
            proxies.far_apart(options.round_trip_ms)

    with (
        ending(proxies),
        running(
            folder,
            workload,
            share,
            validators=options.nodes,
            observers=options.observers,
            channels=options.channels,
            entities=options.state_entities,
            programs=programs,
            before_start=before_start,
            say=lambda line: print(line, file=sys.stderr),
        ) as network,
    ):
        schedule = Schedule(
            options.workload,
            network.channels,
            tuple(node.rpc_url for node in network.validators),
            options.rate,
            options.warmup + options.seconds,
            options.batch,
            prepared_ms,
            payload_bytes=options.payload_bytes,
        )
        load = Load(network.devnet.folder, [schedule], options.generators)
        meter = WireMeter(
            {
                "links": [port_of(node.p2p) for node in network.nodes],
                "clients": [port_of(node.rpc) for node in network.nodes],
            }
        )
        try:
            load.start()
            load.wait_until(options.warmup)
            before, wire_before, heights_before = probes(network), meter.total(), heights(network)
            load.wait_until(options.warmup + options.seconds)
            after, wire_after, heights_after = probes(network), meter.total(), heights(network)
            (answers,) = load.finish()
            views = [view(network, channel) for channel in network.channels]
        finally:
            load.stop()
            meter.stop()
    wire = {kind: wire_after[kind] - wire_before[kind] for kind in wire_before}
    blocks = heights_after - heights_before
    return (
        about
        | figures_of(options, answers, before, after, wire, network.prepared, blocks)
        | {"views_at_the_end": views}
    )


@contextmanager
def ending(proxies: Proxies | None) -> Iterator[None]:
    """The proxies are closed at the end, if there are any."""
    try:
        yield
    finally:
        if proxies is not None:
            proxies.stop()


def heights(network: Running) -> int:
    """Of all channels together, in the eyes of the first node."""
    with Client(network.nodes[0].rpc_url) as client:
        return sum(int(client.chain_head(channel)["height"]) for channel in network.channels)


def view(network: Running, channel: str) -> int:
    """The view of a channel: 0 when the first primary stayed in office through the run."""
    with Client(network.nodes[0].rpc_url) as client:
        return int(client.pbft_status(channel)["view"])


def probes(network: Running) -> list[Usage]:
    """What each validator has used so far."""
    homes = network.devnet.folder
    return [probe(network.processes.pid(node), node.ops_url, homes / node.name) for node in network.validators]


def figures_of(
    options: argparse.Namespace,
    answers: Answers,
    before: list[Usage],
    after: list[Usage],
    wire: dict[str, int],
    prepared: dict[str, int],
    blocks: int,
) -> dict[str, Any]:
    """Everything per transaction is over the transactions committed in the steady state."""
    since, until = options.warmup, options.warmup + options.seconds
    count = answers.committed(since, until)
    per = max(1, count) * len(before)
    took_s = sum(b.at_s - a.at_s for a, b in zip(before, after, strict=True)) / len(before)
    stages = stage_table(before, after, count)
    return {
        "workload": options.workload,
        "nodes": options.nodes,
        "observers": options.observers,
        "channels": options.channels,
        "entities_before": max(prepared.values()),
        "offered_per_s": options.rate,
        "seconds": options.seconds,
        "batch": options.batch,
        "committed": count,
        "committed_per_s": round(count / options.seconds, 1),
        "round_trip_ms": options.round_trip_ms,
        "blocks_per_s": round(blocks / options.seconds, 1),
        "transactions_per_block": round(count / max(1, blocks), 1),
        "failed": sum(call.failed for call in answers.calls),
        "refused": answers.refusals(),
        "latency_ms": answers.latency(since, until),
        "cpu_us_per_transaction_per_validator": round(sum(stages.values()), 1),
        "stages_us": stages,
        "generator_cpu_us_per_transaction": round(answers.cpu_s * 1e6 / max(1, answers.sent), 1),
        "generator_lag_ms": answers.lag_ms,
        "validator_cores_used": round(sum(b.cpu_s - a.cpu_s for a, b in zip(before, after, strict=True)) / took_s, 2),
        "written_bytes_per_transaction_per_validator": _per(
            [a.written for a in before], [b.written for b in after], per
        ),
        "disk_bytes_per_transaction_per_validator": _per([a.disk for a in before], [b.disk for b in after], per),
        "link_bytes_per_transaction_per_validator": round(wire["links"] / per),
        "client_bytes_per_transaction": round(wire["clients"] / max(1, count)),
        "own_memory_mib_max": round(max(each.own_kib for each in after) / 1024, 1),
        "rss_mib_max": round(max(each.rss_kib for each in after) / 1024, 1),
    }


def _per(before: list[int], after: list[int], per: int) -> int:
    return round((sum(after) - sum(before)) / per)


def report(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, inner in value.items():
                print(f"  {key:<24} {inner:>10}")
        else:
            print(f"{name:<46} {value!s:>10}")


if __name__ == "__main__":
    main()
