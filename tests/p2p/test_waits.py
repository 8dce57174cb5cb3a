"""How long to wait, learnt from how long things took."""

from __future__ import annotations

from dawan_node.p2p.waits import Wait


def test_while_nothing_is_known_the_first_wait_counts_and_then_the_measured_one() -> None:
    wait = Wait(100, 20, 2_000)
    assert wait.ms == 100
    wait.note(40)
    assert wait.ms == 40 + 4 * 20


def test_what_always_takes_as_long_is_missed_soon_after_and_what_varies_is_waited_for() -> None:
    punctual, moody = Wait(100, 20, 2_000), Wait(100, 20, 2_000)
    for number in range(100):
        punctual.note(50)
        moody.note(20 if number % 2 else 80)
    assert 50 <= punctual.ms <= 55
    assert 80 < moody.ms < 250


def test_the_limits_hold_whatever_is_noted() -> None:
    wait = Wait(100, 20, 2_000)
    for _ in range(50):
        wait.note(-10_000)
    assert wait.ms == 20
    for _ in range(200):
        wait.note(10**12)
    assert wait.ms == 2_000


def test_one_late_event_is_remembered_for_some_time_and_then_forgotten() -> None:
    wait = Wait(100, 20, 2_000)
    for _ in range(50):
        wait.note(10)
    wait.note(500)
    assert wait.ms > 400
    for _ in range(60):
        wait.note(10)
    assert wait.ms < 40
