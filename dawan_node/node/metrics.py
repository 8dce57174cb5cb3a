"""What a node measures about itself, and where its processor time goes.

Counters are plain integers that the hot path adds to; Prometheus text is made only when somebody asks
(``/metrics``). Names follow CometBFT's where the thing is the same (ecosystem.md section 1).

``StageTimes`` is the table behind the headline figure of design section 13, CPU microseconds per transaction per
validator by stage: each stage adds the processor time of its own thread and the number of transactions it handled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Final

_HELP: Final = {
    "dawan_consensus_height": "Decided height of the channel",
    "dawan_consensus_view": "Current view of the channel",
    "dawan_consensus_state": "1 for the replica's current state",
    "dawan_consensus_last_commit_age_ms": "Milliseconds since the last commit on this node",
    "dawan_mempool_size": "Transactions waiting",
    "dawan_sync_active": "1 while the node fetches blocks it missed",
    "dawan_sync_target_height": "The height that catch-up is to reach",
    "dawan_sync_verified_height": "The height up to which headers and certificates are verified",
    "dawan_sync_blocks_per_second": "Blocks a second that catch-up executes and stores, over the last half minute",
    "dawan_sync_eta_seconds": "Seconds until the target is reached at that speed",
    "dawan_mempool_size_bytes": "Bytes of waiting envelopes",
    "dawan_p2p_peers": "Connected peers",
    "dawan_storage_free_bytes": "Bytes that may still be written below the data directory",
    "dawan_certificate_not_after_seconds": "Unix time at which a certificate ends: the node's own, every CA's",
    "dawan_certificate_renewals_total": "TLS certificates of this node taken into use since start",
    "dawan_revocation_list_next_update_seconds": "Unix time by which an authority's revocation list is to be renewed",
    "dawan_stage_cpu_us_total": "Processor time by stage of the transaction path",
    "dawan_stage_transactions_total": "Transactions handled by stage",
    "dawan_blocks_total": "Blocks committed since start",
    "dawan_transactions_total": "Transactions committed since start",
}


class StageTimes:
    """Processor time and transactions per stage. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ns: dict[str, int] = {}
        self._transactions: dict[str, int] = {}

    def add(self, stage: str, cpu_ns: int, transactions: int) -> None:
        """Account ``cpu_ns`` of a thread's time for ``transactions`` of them."""
        with self._lock:
            self._ns[stage] = self._ns.get(stage, 0) + cpu_ns
            self._transactions[stage] = self._transactions.get(stage, 0) + transactions

    def measure(self, stage: str, transactions: int) -> Measurement:
        """Account the processor time of a ``with`` block, in this thread only, without awaiting inside."""
        return Measurement(self, stage, transactions)

    def table(self) -> Mapping[str, tuple[int, int]]:
        """Stage -> (microseconds, transactions)."""
        with self._lock:
            return {stage: (ns // 1000, self._transactions[stage]) for stage, ns in sorted(self._ns.items())}


class Measurement:
    """One ``StageTimes.measure``. A class, because a generator costs as much again, and some blocks are as short."""

    __slots__ = ("_stage", "_stages", "_start_ns", "_transactions")

    def __init__(self, stages: StageTimes, stage: str, transactions: int) -> None:
        self._stages = stages
        self._stage = stage
        self._transactions = transactions
        self._start_ns = 0

    def __enter__(self) -> None:
        self._start_ns = time.thread_time_ns()

    def __exit__(self, *_: object) -> None:
        self._stages.add(self._stage, time.thread_time_ns() - self._start_ns, self._transactions)


Sample = tuple[str, Mapping[str, str], int]


class Metrics:
    """Collects samples from whoever registered and renders them in the Prometheus text format."""

    def __init__(self) -> None:
        self.stages = StageTimes()
        self._sources: list[Callable[[], Iterator[Sample]]] = [self._stage_samples]

    def register(self, source: Callable[[], Iterator[Sample]]) -> None:
        """Add a source of samples, called on each scrape."""
        self._sources.append(source)

    def render(self) -> bytes:
        """The whole page."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for source in self._sources:
            for name, labels, value in source():
                family = families.get(name)
                if family is None:
                    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                    family = kind(name, _HELP.get(name, name), labels=list(labels))
                    families[name] = family
                family.add_metric(list(labels.values()), value)

        class Collector:
            def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
                yield from families.values()

        registry = CollectorRegistry()
        registry.register(Collector())
        return generate_latest(registry)

    def _stage_samples(self) -> Iterator[Sample]:
        for stage, (cpu_us, transactions) in self.stages.table().items():
            yield "dawan_stage_cpu_us_total", {"stage": stage}, cpu_us
            yield "dawan_stage_transactions_total", {"stage": stage}, transactions
