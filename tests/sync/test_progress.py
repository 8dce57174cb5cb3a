"""How long catch-up takes, in whole numbers."""

from __future__ import annotations

from dawan_node.sync import Progress, Rate
from dawan_node.sync.progress import WINDOW_MS


def test_before_anything_was_measured_nothing_is_said() -> None:
    progress = Progress()
    assert progress.rate(5, 100, 1_000) == Rate(0, None)
    progress.at(5, 1_000)
    assert progress.rate(5, 100, 1_000) == Rate(0, None)
    assert progress.rate(5, 100, 9_000) == Rate(0, None), "no block in eight seconds: no end in sight"


def test_speed_is_rounded_down_and_the_time_left_up() -> None:
    progress = Progress()
    progress.at(0, 0)
    assert progress.rate(25, 100, 10_000) == Rate(2, 30)
    assert progress.rate(3, 100, 10_000) == Rate(0, 324)
    assert progress.rate(100, 100, 10_000) == Rate(10, 0)


def test_only_the_last_half_minute_counts_however_often_it_is_fed() -> None:
    progress = Progress()
    for now_ms in range(0, 100_000, 10):
        height = now_ms // 100 if now_ms < 50_000 else 500 + (now_ms - 50_000) // 10
        progress.at(height, now_ms)
    assert len(progress._samples) <= WINDOW_MS // 1_000 + 2
    assert progress.rate(5_500, 6_500, 100_000).blocks_per_s == 100


def test_a_new_catch_up_has_a_speed_of_its_own() -> None:
    progress = Progress()
    progress.at(0, 0)
    progress.stop()
    progress.at(900, 60_000)
    assert progress.rate(910, 1_000, 61_000) == Rate(10, 9)
