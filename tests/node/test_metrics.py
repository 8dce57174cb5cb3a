"""Stage times add up across threads, and the page is what Prometheus reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dawan_node.node.metrics import Metrics, Sample, StageTimes


def test_stages_add_processor_time_and_transactions() -> None:
    stages = StageTimes()
    stages.add("verify", 1_500_000, 3)
    stages.add("verify", 500_999, 2)
    stages.add("decode", 999, 1)
    assert dict(stages.table()) == {"decode": (0, 1), "verify": (2_000, 5)}


def test_a_stage_that_fails_is_accounted_all_the_same() -> None:
    stages = StageTimes()
    with pytest.raises(ValueError), stages.measure("check", 4):
        raise ValueError
    assert stages.table()["check"][1] == 4


def test_waiting_costs_no_processor_time() -> None:
    stages = StageTimes()
    with stages.measure("wait", 1):
        threading.Event().wait(0.05)
    assert stages.table()["wait"][0] < 20_000


def test_several_threads_lose_nothing() -> None:
    stages = StageTimes()

    def work() -> None:
        for _ in range(2_000):
            stages.add("execute", 1_000, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stages.table()["execute"] == (8_000, 8_000)


def test_the_page_holds_every_sample_under_its_name_with_help_and_type() -> None:
    metrics = Metrics()
    metrics.stages.add("verify", 5_000_000, 7)

    def source() -> Iterator[Sample]:
        yield "dawan_consensus_height", {"channel": "trade"}, 12
        yield "dawan_consensus_height", {"channel": "title"}, 3
        yield "dawan_p2p_peers", {}, 4

    metrics.register(source)
    lines = metrics.render().decode().splitlines()
    assert "# TYPE dawan_consensus_height gauge" in lines
    assert "# HELP dawan_consensus_height Decided height of the channel" in lines
    assert 'dawan_consensus_height{channel="trade"} 12.0' in lines
    assert 'dawan_consensus_height{channel="title"} 3.0' in lines
    assert "dawan_p2p_peers 4.0" in lines
    assert "# TYPE dawan_stage_cpu_us_total counter" in lines
    assert 'dawan_stage_cpu_us_total{stage="verify"} 5000.0' in lines
    assert 'dawan_stage_transactions_total{stage="verify"} 7.0' in lines


def test_a_source_is_asked_anew_for_each_page() -> None:
    metrics, heights = Metrics(), iter((1, 2))
    metrics.register(lambda: iter([("dawan_consensus_height", {"channel": "t"}, next(heights))]))
    assert b"1.0" in metrics.render() and b"2.0" in metrics.render()


def test_a_label_cannot_forge_a_line() -> None:
    metrics = Metrics()
    metrics.register(lambda: iter([("dawan_p2p_peers", {"name": 'x"} 1\nforged 9\\'}, 4)]))
    assert not [line for line in metrics.render().decode().splitlines() if line.startswith("forged")]
