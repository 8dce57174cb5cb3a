"""How much of its clients' transactions a node lets wait (issue 6, build 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.client_window import ASSUMED_PER_S, SIZE_MIN, SPAN_MS, TARGET_MS, ClientWindow

POOL = 20_000
ASSUMED = ASSUMED_PER_S * TARGET_MS // 1_000


def committing(per_s: int, seconds: int, window: ClientWindow, from_ms: int = 0, waiting: int = 5_000) -> int:
    """Ten blocks a second; returns when the last was decided."""
    for number in range(seconds * 10 + 1):
        window.decided(per_s // 10, waiting, from_ms + number * 100)
    return from_ms + seconds * 1_000


@pytest.mark.parametrize("per_s", [300, 800, 1_800, 3_000])
def test_two_seconds_of_what_the_channel_commits_may_wait(per_s: int) -> None:
    window = ClientWindow(POOL)
    now_ms = committing(per_s, 10, window)
    assert window.size(now_ms) == per_s * TARGET_MS // 1_000


def test_an_idle_channel_takes_a_burst_at_once() -> None:
    assert ClientWindow(POOL).size(0) == ASSUMED


def test_a_channel_that_keeps_up_is_as_fast_as_its_clients_and_its_speed_is_not_known() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(100, 10, window, waiting=20)
    assert window.size(now_ms) == ASSUMED


def test_where_the_way_is_long_few_that_are_under_way_are_no_queue() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(50, 20, window, waiting=100)
    assert window.size(now_ms) == ASSUMED


def test_an_observer_measures_what_its_own_clients_get_of_the_channel() -> None:
    """Of 1,000 a second in the blocks 300 had waited here: ten such nodes let in as much as the channel commits."""
    window = ClientWindow(POOL)
    assert window.size(committing(300, 10, window)) == 600


def test_a_slow_day_is_forgotten_when_the_queue_is_gone() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(300, 10, window)
    assert window.size(now_ms) == 600
    window.decided(30, 0, now_ms + 100)
    assert window.size(now_ms + 100) == ASSUMED


def test_a_dip_is_no_reason_to_let_in_less_and_a_slow_channel_is() -> None:
    """Otherwise the window feeds on itself: less is let in, less is committed, less is measured."""
    window = ClientWindow(POOL)
    now_ms = committing(1_800, 10, window)
    now_ms = committing(400, 6, window, now_ms + 100)
    assert window.size(now_ms) == 3_600
    now_ms = committing(400, 6, window, now_ms + 100)
    assert window.size(now_ms) == 800


def test_it_closes_while_nothing_is_decided_but_never_entirely() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(1_800, 10, window)
    sizes = [window.size(now_ms + later_ms) for later_ms in range(0, 120_000, 500)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 3_600 and sizes[-1] == SIZE_MIN


def test_a_channel_that_decides_one_block_and_then_none_closes_too() -> None:
    window = ClientWindow(POOL)
    window.decided(100, 5_000, 0)
    assert window.size(SPAN_MS - 1) == ASSUMED and window.size(SPAN_MS) == SIZE_MIN


def test_it_is_never_more_than_the_pool() -> None:
    window = ClientWindow(1_000)
    assert window.size(0) == 1_000
    assert window.size(committing(3_000, 10, window)) == 1_000


def test_who_keeps_within_a_fair_part_is_let_in_although_others_used_it_up() -> None:
    window = ClientWindow(POOL)
    now_ms = committing(800, 10, window)
    assert window.size(now_ms) == 1_600
    assert window.is_open(1_599, 1_599, 1, now_ms)
    assert not window.is_open(1_600, 1_600, 1, now_ms)
    assert window.is_open(1_600, 799, 2, now_ms) and not window.is_open(1_600, 800, 2, now_ms)
    assert window.is_open(5_000, 0, 5_000, now_ms), "one of each organisation, however many there are"


@given(
    blocks=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 20_000), st.integers(0, 10_000)), max_size=60),
    later_ms=st.integers(0, 100_000),
)
def test_whatever_happens_it_keeps_its_bounds_and_what_it_keeps_is_bounded(
    blocks: list[tuple[int, int, int]], later_ms: int
) -> None:
    window, now_ms, most = ClientWindow(POOL), 0, ASSUMED_PER_S
    for count, waiting, pause_ms in blocks:
        now_ms += pause_ms
        window.decided(count, waiting, now_ms)
        most = max(most, count * 1_000)
        assert len(window._measured) <= 5
        assert SIZE_MIN <= window.size(now_ms) <= min(POOL, len(blocks) * most * TARGET_MS // 1_000)
    assert SIZE_MIN <= window.size(now_ms + later_ms) <= POOL


class Saturated:
    """A network with so much capacity through which a transaction takes ``way_ms`` at least, and clients who offer more
    than it can do: what waits is as much as the window says, and what is committed is what has been under way."""

    def __init__(self, per_s: int, way_ms: int) -> None:
        self.window = ClientWindow(POOL)
        self.now_ms = 0
        self._capacity = per_s // 10
        self._way = way_ms // 100
        self._waiting = [0] * self._way  # by how many tenths of a second ago they were let in, the latest last

    def second(self) -> int:
        """How many are committed in the next second."""
        committed = 0
        for _ in range(10):
            self.now_ms += 100
            self._waiting.append(max(0, self.window.size(self.now_ms) - sum(self._waiting)))
            left = self._capacity
            for place in range(len(self._waiting) - self._way):
                taken = min(left, self._waiting[place])
                self._waiting[place] -= taken
                left -= taken
            committed += self._capacity - left
            self.window.decided(self._capacity - left, sum(self._waiting), self.now_ms)
        return committed


@pytest.mark.parametrize("per_s", [300, 800, 1_800])
@pytest.mark.parametrize("way_ms", [100, 1_000, 1_500])
def test_the_window_never_starves_the_network_that_it_measures(per_s: int, way_ms: int) -> None:
    network = Saturated(per_s, way_ms)
    committed = [network.second() for _ in range(180)]
    for first in range(10, 171, 10):
        assert sum(committed[first : first + 10]) >= 10 * per_s * 9 // 10
