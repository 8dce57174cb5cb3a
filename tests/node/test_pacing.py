"""When the primary's next batch leaves (consensus.md 1.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.mempool_watch import BATCH_TXS_MIN
from dawan_node.node.pacing import (
    BATCH_DELAY_MAX_MS,
    BATCH_DELAY_MS,
    BLOCK_TXS_MIN,
    IDLE_BATCH_DELAY_MS,
    IN_FLIGHT_MS,
    MODEST_TIMES,
    SHARED_IN_FLIGHT_MS,
    SHARED_MS,
    TIMED_MAX,
    Pacing,
    blocks_in_flight,
)


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def batch(*shares: int) -> list[str]:
    return [f"org{number}" for number, share in enumerate(shares) for _ in range(share)]


def taking(ms: int, blocks: int = 40, in_flight: bool = False) -> Pacing:
    pacing = Pacing()
    for number in range(blocks):
        pacing.proposed(name(number), in_flight, number * 1_000)
        pacing.stored(name(number), number * 1_000 + ms)
    return pacing


def test_the_first_batch_leaves_at_once() -> None:
    assert Pacing().ready_at_ms(in_flight=True) <= 0


def test_on_an_idle_channel_a_batch_waits_for_the_rest_of_its_burst_only() -> None:
    pacing = taking(2_000)
    pacing.proposed(name(99), False, 100_000)
    assert pacing.ready_at_ms(in_flight=False) == 100_000 + IDLE_BATCH_DELAY_MS


@pytest.mark.parametrize(("took_ms", "delay_ms"), [(5, 50), (49, 50), (120, 120), (249, 249), (3_000, 250)])
def test_behind_others_it_waits_about_as_long_as_a_block_takes(took_ms: int, delay_ms: int) -> None:
    pacing = taking(took_ms)
    pacing.proposed(name(99), False, 100_000)
    assert delay_ms - 4 <= pacing.ready_at_ms(in_flight=True) - 100_000 <= delay_ms


def test_what_was_slow_is_forgotten_in_a_few_blocks() -> None:
    pacing = taking(3_000)
    for number in range(100, 120):
        pacing.proposed(name(number), False, number * 1_000)
        pacing.stored(name(number), number * 1_000 + 20)
    assert pacing.delay_ms == BATCH_DELAY_MS


def test_blocks_of_others_and_proposals_that_were_dropped_tell_nothing() -> None:
    pacing = Pacing()
    pacing.stored(name(1), 5_000)
    for number in range(3 * TIMED_MAX):
        pacing.proposed(name(number), False, 0)
    assert pacing.delay_ms == BATCH_DELAY_MS and len(pacing._proposed) == TIMED_MAX


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 5_000)), max_size=60))
def test_the_delay_keeps_its_bounds(steps: list[tuple[int, bool, int]]) -> None:
    pacing, now_ms = Pacing(), 0
    for number, proposes, pause_ms in steps:
        now_ms += pause_ms
        if proposes:
            pacing.proposed(name(number), bool(number % 2), now_ms)
        else:
            pacing.stored(name(number), now_ms)
        assert BATCH_DELAY_MS <= pacing.delay_ms <= BATCH_DELAY_MAX_MS
        if proposes:
            pacing.filled(batch(1, 50 * number), now_ms)
        assert pacing.in_flight_max(number, 1 + number % 16) >= 2 * BATCH_TXS_MIN


def test_a_slow_channel_has_three_small_blocks_in_flight_and_a_fast_one_less_than_a_second() -> None:
    assert Pacing().in_flight_max(600, 4) == 3 * BLOCK_TXS_MIN
    assert Pacing().in_flight_max(21_000, 4) == 21_000 * IN_FLIGHT_MS // 1_000


def test_beside_one_that_brings_much_more_whoever_brings_little_waits_for_two_short_blocks() -> None:
    usual = 21_000 * IN_FLIGHT_MS // 1_000
    alike, modest = taking(0), taking(0)
    alike.filled(batch(200, 200 * MODEST_TIMES - 1, 300), 0)
    assert alike.in_flight_max(21_000, 4) == usual, "as among traders of one business"
    modest.filled(batch(200, 200 * MODEST_TIMES, 300), 1_000)
    assert modest.in_flight_max(21_000, 4) == 21_000 * SHARED_IN_FLIGHT_MS // 1_000
    assert modest.in_flight_max(600, 4) == 2 * BATCH_TXS_MIN
    modest.filled(batch(400), 999 + SHARED_MS)
    assert modest.in_flight_max(21_000, 4) < usual, "it may send again"
    modest.filled(batch(400), 1_000 + SHARED_MS)
    assert modest.in_flight_max(21_000, 4) == usual


@pytest.mark.parametrize("window", range(2, 17))
def test_when_blocks_become_shorter_one_leaves_for_each_that_is_stored(window: int) -> None:
    """Else nothing would leave before the last of the long ones is stored, and the primary would look idle."""
    pacing = taking(0)
    long = pacing.block_txs(1_600, window)
    in_flight = [long] * blocks_in_flight(window)
    assert not pacing.has_room(in_flight, 1_600, window)
    pacing.filled(batch(2_000, 2), 0)
    shared = blocks_in_flight(window, is_shared=True)
    while in_flight:
        assert pacing.has_room(in_flight, 1_600, window) == (len(in_flight) < shared)
        in_flight.pop()
    short = pacing.block_txs(1_600, window)
    assert short < long and not pacing.has_room([short] * shared, 1_600, window)


def test_whoever_stops_sending_is_not_modest() -> None:
    pacing = taking(0)
    usual = pacing.in_flight_max(21_000, 4)
    pacing.filled(batch(1_000, 1_000), 0)
    for number in range(100):
        pacing.filled(batch(400), number)
        assert pacing.in_flight_max(21_000, 4) == usual


def test_calls_of_many_that_blocks_cut_in_two_make_nobody_modest() -> None:
    """One in six transactions, fifty at a time: two in one block, fifty in the next."""
    pacing = taking(0)
    usual = pacing.in_flight_max(21_000, 4)
    for number in range(200):
        pacing.filled(batch(270, 2 if number % 2 else 100), number)
        assert pacing.in_flight_max(21_000, 4) == usual


def test_where_links_are_long_more_is_in_flight_so_that_the_channel_does_not_wait_for_them() -> None:
    far = taking(700)
    assert far.in_flight_max(3_000, 4) > 3_000 * 700 // 1_000


def test_blocks_that_queue_behind_others_do_not_make_the_queue_longer() -> None:
    """They take as long as what is in flight; counting that would let in more, which would take longer."""
    busy = taking(40)
    for number in range(100, 200):
        busy.proposed(name(number), True, number * 1_000)
        busy.stored(name(number), number * 1_000 + 5_000)
    assert busy.in_flight_max(10_000, 4) < 10_000 * (IN_FLIGHT_MS + 41) // 1_000


@pytest.mark.parametrize("window", range(2, 17))
@pytest.mark.parametrize("per_s", [0, 600, 4_000, 20_000])
@pytest.mark.parametrize("shares", [(200, 200), (1, 3_999)])
def test_of_any_window_at_least_half_can_be_in_use(window: int, per_s: int, shares: tuple[int, int]) -> None:
    """Whoever keeps less than a quarter of it in use while work waits is replaced."""
    pacing = taking(40)
    pacing.filled(batch(*shares), 0)
    txs = pacing.block_txs(per_s, window)
    assert txs >= BATCH_TXS_MIN, "a block that ends with fewer leaves somebody out"
    blocks = 1
    while pacing.has_room([txs] * blocks, per_s, window):
        blocks += 1
    assert 2 * blocks >= window and blocks >= blocks_in_flight(window, is_shared=shares[0] < shares[1]) >= 2


def test_with_a_window_of_one_a_block_holds_what_the_channel_commits_while_it_takes() -> None:
    """Half of it would halve the speed that is measured, and so the next block, until the smallest is reached."""
    per_s, took_ms = 400, 1_000
    far = taking(took_ms)
    for _ in range(20):
        per_s = min(1_000, far.block_txs(per_s, 1)) * 1_000 // took_ms
    assert per_s == 1_000


def test_an_outage_while_a_block_was_alone_does_not_lift_the_bound() -> None:
    pacing = taking(40)
    pacing.proposed(name(99), False, 100_000)
    pacing.stored(name(99), 160_000)
    for number in range(100, 140):
        pacing.proposed(name(number), True, number * 10_000)
        pacing.stored(name(number), number * 10_000 + 200)
    assert pacing.in_flight_max(10_000, 4) <= 10_000 * (IN_FLIGHT_MS + 210) // 1_000


def test_a_block_that_is_alone_on_a_busy_machine_does_not_lift_the_bound_and_longer_links_do() -> None:
    """Every tenth has no other before it, because all three before were stored at once."""
    pacing = taking(20)
    for number in range(100, 150):
        pacing.proposed(name(number), number % 10 != 0, number * 1_000)
        pacing.stored(name(number), number * 1_000 + 800)
    assert pacing.in_flight_max(10_000, 4) < 10_000 * (IN_FLIGHT_MS + 300) // 1_000
    for number in range(200, 260):
        pacing.proposed(name(number), False, number * 1_000)
        pacing.stored(name(number), number * 1_000 + 800)
    assert pacing.in_flight_max(10_000, 4) > 10_000 * (IN_FLIGHT_MS + 700) // 1_000
