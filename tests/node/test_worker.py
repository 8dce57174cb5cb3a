"""Jobs run one after the other off the loop, and nothing that goes wrong with one stays unheard."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dawan_node.errors import StorageError
from dawan_node.node.worker import Worker

PATIENCE_S = 20.0


def run(scenario: Callable[[Worker, asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        wake = asyncio.Event()
        worker = Worker("test", wake.set)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(worker, wake)
        finally:
            worker.close()

    asyncio.run(main())


async def woken(wake: asyncio.Event, until: Callable[[], bool]) -> None:
    while not until():
        await wake.wait()
        wake.clear()


def ignore(_: object) -> None:
    pass


def test_jobs_run_in_order_off_the_loop_and_their_outcomes_come_back_on_it() -> None:
    async def scenario(worker: Worker, wake: asyncio.Event) -> None:
        loop_thread, ran, came = threading.get_ident(), list[tuple[int, int]](), list[tuple[int, int]]()

        def job(number: int) -> Callable[[], int]:
            return lambda: ran.append((number, threading.get_ident())) or number

        for number in range(20):
            worker.submit(job(number), lambda outcome: came.append((outcome, threading.get_ident())))
        await woken(wake, lambda: len(came) == 20)
        assert [number for number, _ in ran] == [number for number, _ in came] == list(range(20))
        assert {thread for _, thread in came} == {loop_thread}
        assert loop_thread not in {thread for _, thread in ran} and len({thread for _, thread in ran}) == 1

    run(scenario)


def test_a_job_that_fails_fails_the_worker_and_the_owner_is_woken() -> None:
    async def scenario(worker: Worker, wake: asyncio.Event) -> None:
        came: list[Any] = []

        def fail() -> None:
            raise StorageError("no space")

        worker.submit(fail, came.append)
        worker.submit(lambda: 1, came.append)
        await woken(wake, lambda: worker.failure is not None)
        assert isinstance(worker.failure, StorageError) and came == []
        worker.submit(lambda: 2, came.append)
        await worker.run(lambda: None)
        await asyncio.sleep(0)
        assert came == [], "after a failure nothing is acted upon any more"

    run(scenario)


def test_an_outcome_that_cannot_be_dealt_with_fails_the_worker_too() -> None:
    """The loop would only log it, and the channel would wait for that outcome for ever."""

    async def scenario(worker: Worker, wake: asyncio.Event) -> None:
        heard: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))

        def deal(_: int) -> None:
            raise AssertionError("our own fault")

        worker.submit(lambda: 1, deal)
        await woken(wake, lambda: worker.failure is not None)
        assert isinstance(worker.failure, AssertionError) and heard == []

    run(scenario)


def test_a_job_that_somebody_awaits_fails_nobody_else() -> None:
    async def scenario(worker: Worker, wake: asyncio.Event) -> None:
        def fail() -> None:
            raise ValueError("his own business")

        with pytest.raises(ValueError, match="his own business"):
            await worker.run(fail)
        assert worker.failure is None and await worker.run(lambda: 7) == 7

    run(scenario)


def test_closing_finishes_the_job_that_runs_and_drops_the_others() -> None:
    began, may_end, ran = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        began.set()
        assert may_end.wait(PATIENCE_S)
        ran.append("first")

    async def main() -> None:
        worker = Worker("test", lambda: None)
        worker.submit(first, ignore)
        second = asyncio.create_task(worker.run(lambda: ran.append("second")))
        assert await asyncio.to_thread(began.wait, PATIENCE_S)
        closing = asyncio.create_task(asyncio.to_thread(worker.close))
        with pytest.raises(asyncio.CancelledError):
            await second
        assert ran == [] and not closing.done()
        may_end.set()
        await closing

    asyncio.run(main())
    assert ran == ["first"]


def test_a_value_nested_as_deep_as_a_budget_allows_does_not_end_the_process() -> None:
    """Eight levels for each of 160,000 units of work; an ordinary thread ends the process at some 100,000 levels."""
    script = (
        "from dawan_node.node.deep_threads import deep_threads\n"
        "def nested():\n"
        "    value = ()\n"
        "    for _ in range(8 * 160_000):\n"
        "        value = (value,)\n"
        "    return hash(value) is not None\n"
        "print(deep_threads(1, 'deep').submit(nested).result())\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr
