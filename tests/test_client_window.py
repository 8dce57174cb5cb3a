"""How much of its clients' transactions a node lets wait (issue 6, build 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.client_window import (
    ASSUMED_PER_S,
    BLOCKS_MAX,
    MEASURED_MS_MIN,
    SIZE_MIN,
    SPAN_MS,
    TARGET_MS,
    ClientWindow,
)

POOL = 20_000


def committing(per_s: int, seconds: int, window: ClientWindow, from_ms: int = 0, waiting: int = 5_000) -> int:
    """Ten blocks a second; returns when the last was decided."""
    for number in range(seconds * 10 + 1):
        window.decided(per_s // 10, waiting, from_ms + number * 100)
    return from_ms + seconds * 1_000


@pytest.mark.parametrize("per_s", [300, 800, 1_800, 3_000])
def test_a_second_of_what_the_channel_commits_may_wait(per_s: int) -> None:
    window = ClientWindow(POOL)
    now_ms = committing(per_s, 10, window)
    assert window.size(now_ms) == per_s * TARGET_MS // 1_000


def test_an_idle_channel_takes_a_burst_at_once() -> None:
    assert ClientWindow(POOL).size(0) == ASSUMED_PER_S * TARGET_MS // 1_000


def test_a_channel_that_keeps_up_is_as_fast_as_its_clients_and_its_speed_is_not_known() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(100, 10, window, waiting=20)
    assert window.size(now_ms) == ASSUMED_PER_S * TARGET_MS // 1_000


def test_a_slow_day_is_forgotten_when_the_queue_is_gone() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(300, 10, window)
    assert window.size(now_ms) == 300
    window.decided(30, 0, now_ms + 100)
    assert window.size(now_ms + 100) == ASSUMED_PER_S * TARGET_MS // 1_000


def test_it_follows_the_channel_within_the_span() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(1_800, 10, window)
    now_ms = committing(400, SPAN_MS // 1_000 + 1, window, now_ms + 100)
    assert window.size(now_ms) == 400


def test_it_closes_while_nothing_is_decided_but_never_entirely() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(1_800, 10, window)
    sizes = [window.size(now_ms + later_ms) for later_ms in range(0, 120_000, 500)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == SIZE_MIN


def test_it_is_never_more_than_the_pool() -> None:
    window = ClientWindow(1_000)
    assert window.size(0) == 1_000
    assert window.size(committing(3_000, 10, window)) == 1_000


def test_who_keeps_within_a_fair_part_is_let_in_although_others_used_it_up() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(800, 10, window)
    assert window.size(now_ms) == 800
    assert window.is_open(799, 799, 1, now_ms)
    assert not window.is_open(800, 800, 1, now_ms)
    assert window.is_open(800, 399, 2, now_ms) and not window.is_open(800, 400, 2, now_ms)
    assert window.is_open(5_000, 0, 5_000, now_ms), "one of each organisation, however many there are"


@given(
    blocks=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 20_000), st.integers(0, 10_000)), max_size=60),
    later_ms=st.integers(0, 100_000),
)
def test_whatever_happens_it_stays_within_its_bounds(blocks: list[tuple[int, int, int]], later_ms: int) -> None:
    """A model that keeps everything: the speed is that of the blocks of the span."""
    window, now_ms = ClientWindow(POOL), 0
    kept: list[tuple[int, int]] = []
    for count, waiting, pause_ms in blocks:
        now_ms += pause_ms
        window.decided(count, waiting, now_ms)
        kept.append((now_ms, count))
        while len(kept) > 2 and now_ms - kept[1][0] >= SPAN_MS:
            kept.pop(0)
        counted, elapsed_ms = sum(number for _, number in kept[1:]), now_ms - kept[0][0]
        if not waiting or (elapsed_ms >= 250 and waiting * elapsed_ms < counted * 250):
            kept.clear()
    now_ms += later_ms
    per_s = ASSUMED_PER_S
    if kept and now_ms - kept[0][0] >= MEASURED_MS_MIN:
        per_s = sum(number for _, number in kept[1:]) * 1_000 // (now_ms - kept[0][0])
    assert window.size(now_ms) == min(POOL, max(SIZE_MIN, per_s * TARGET_MS // 1_000))


def test_the_blocks_it_keeps_are_bounded() -> None:
    window = ClientWindow(POOL)
    for _ in range(3 * BLOCKS_MAX):
        window.decided(10, 5_000, 0)
    assert len(window._blocks) == BLOCKS_MAX
    assert window.size(MEASURED_MS_MIN) == 10 * (BLOCKS_MAX - 1) * TARGET_MS // 1_000
