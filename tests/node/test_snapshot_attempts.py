"""When a node tries to get a snapshot, and how long blocks wait for it."""

from __future__ import annotations

import pytest

from dawan_node.node.snapshot_attempts import COMPANY_MS, HELD_MS, HELD_MS_MAX, RETRY_MS, Attempts
from dawan_node.sync.snapshot_fetch import OFFERS_MS


def first_moment(attempts: Attempts, since_ms: int) -> int:
    """From when on the next attempt may begin."""
    return next(now for now in range(since_ms, since_ms + 2 * RETRY_MS, 100) if attempts.may_begin(now)) - since_ms


def test_after_a_failure_blocks_have_a_minute() -> None:
    attempts = Attempts()
    assert attempts.may_begin(0)
    attempts.failed(0)
    assert first_moment(attempts, 0) == RETRY_MS


def test_where_peers_were_lacking_the_next_one_that_comes_is_asked_soon() -> None:
    attempts = Attempts()
    attempts.failed(0, lacked_peers=True)
    attempts.peer_up(20_000, is_idle=True)
    assert first_moment(attempts, 20_000) == COMPANY_MS


def test_who_came_too_late_to_answer_is_asked_again_soon() -> None:
    late, silent, early = Attempts(), Attempts(), Attempts()
    late.peer_up(OFFERS_MS - 1, is_idle=False)
    late.failed(OFFERS_MS, lacked_peers=True)
    silent.failed(OFFERS_MS, lacked_peers=True, awaits_offers=True)
    early.peer_up(0, is_idle=False)
    early.failed(OFFERS_MS, lacked_peers=True)
    assert [first_moment(each, OFFERS_MS) for each in (late, silent, early)] == [COMPANY_MS, COMPANY_MS, RETRY_MS]


def test_who_comes_again_and_again_is_asked_less_and_less_often() -> None:
    attempts, now_ms, waits = Attempts(), 0, []
    for _ in range(9):
        attempts.failed(now_ms, lacked_peers=True)
        attempts.peer_up(now_ms, is_idle=True)
        waits.append(first_moment(attempts, now_ms))
        now_ms += waits[-1]
        attempts.begun()
        now_ms += OFFERS_MS
    assert waits[:5] == [COMPANY_MS << number for number in range(5)]
    assert max(waits) == waits[-1] == RETRY_MS
    attempts.level()
    attempts.failed(now_ms, lacked_peers=True, awaits_offers=True)
    assert first_moment(attempts, now_ms) == COMPANY_MS


def test_one_that_was_chosen_and_could_not_be_had_is_not_tried_soon_whoever_comes() -> None:
    attempts = Attempts()
    attempts.failed(0, lacked_peers=False, awaits_offers=True)
    attempts.peer_up(5_000, is_idle=True)
    assert first_moment(attempts, 0) == RETRY_MS


def test_blocks_wait_a_minute_for_a_chosen_snapshot_and_then_only_for_one_that_comes_in_time() -> None:
    attempts = Attempts()
    attempts.chose(0)
    assert attempts.holds(HELD_MS - 1, 0, 1_000, True)
    assert not attempts.holds(HELD_MS, 0, 1_000, True)
    parts = -(-1_000 * HELD_MS // HELD_MS_MAX)
    assert attempts.holds(HELD_MS, parts, 1_000, True) and not attempts.holds(HELD_MS, parts - 1, 1_000, True)
    assert attempts.holds(HELD_MS_MAX, 1_000, 1_000, True)


@pytest.mark.parametrize("parts", [0, 500, 1_000])
def test_after_a_failure_blocks_do_not_wait_for_what_nobody_here_has(parts: int) -> None:
    attempts = Attempts()
    attempts.chose(0)
    assert attempts.holds(10, parts, 1_000, False), "its holder may be back in a moment"
    attempts.failed(20)
    attempts.begun()
    attempts.chose(RETRY_MS)
    assert not attempts.holds(RETRY_MS, parts, 1_000, False)
    assert attempts.holds(RETRY_MS, parts, 1_000, True)
    attempts.level()
    assert attempts.holds(RETRY_MS, parts, 1_000, False)
