"""One timer serves many sleeps: it rings in time for the shortest of them, and is not made anew for each."""

from __future__ import annotations

import asyncio

import pytest

from dawan_node.node.wake_timer import WakeTimer
from tests.node.virtual_time import run_virtually


def rings_of(*delays_ms: int, step_ms: int = 0) -> list[int]:
    """When a timer that is asked for each of ``delays_ms`` in turn rings, in ms since the first; ``step_ms`` lie
    between two askings."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        rings: list[int] = []
        timer = WakeTimer(lambda: rings.append(round((loop.time() - began_s) * 1000)))
        for delay_ms in delays_ms:
            timer.ring_within(delay_ms)
            await asyncio.sleep(step_ms / 1000)
        await asyncio.sleep(10)
        return rings

    return run_virtually(main)


@pytest.mark.parametrize(
    ("delays_ms", "rings_ms"),
    [
        ((250,), [250]),
        ((250, 40), [40]),
        ((40, 250), [40]),
        ((250, 250, 250), [250]),
        ((250, 100, 20, 50), [20]),
    ],
)
def test_the_shortest_delay_that_was_asked_for_decides(delays_ms: tuple[int, ...], rings_ms: list[int]) -> None:
    assert rings_of(*delays_ms) == rings_ms


def test_a_timer_that_has_rung_rings_again_when_it_is_asked_again() -> None:
    assert rings_of(100, 100, 100, step_ms=150) == [100, 250, 400]


def test_a_standing_timer_is_early_for_a_later_sleep_and_never_late() -> None:
    assert rings_of(100, 100, step_ms=60) == [100]
