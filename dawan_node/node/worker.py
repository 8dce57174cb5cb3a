"""The channel's one worker thread: where blocks are judged, executed and stored, in the order they were asked for.

A job's outcome comes back to the event loop as a callback, so the driver stays the only one that changes the channel's
state. A job that fails with anything but its own declared signal fails the worker, and so does an outcome that cannot
be dealt with: the node must not go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from dawan_node.node.deep_threads import deep_threads

T = TypeVar("T")


class Worker:
    """Runs jobs first in, first out."""

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        """``wake`` is called on the event loop after each job, for whoever waits for its outcome."""
        self._thread = deep_threads(1, name)
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self.failure: BaseException | None = None

    def submit(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Run ``job`` in the thread, then ``done`` with its outcome on the event loop."""

        def deliver(future: Future[T]) -> None:
            if future.cancelled() or self.failure is not None:
                return
            try:
                done(future.result())
            except BaseException as error:  # noqa: BLE001 - raised by the channel's task; the loop would only log it
                self.failure = error
            self._wake()

        if self.failure is None:
            self._thread.submit(job).add_done_callback(lambda future: self._loop.call_soon_threadsafe(deliver, future))

    async def run(self, job: Callable[[], T]) -> T:
        """Run ``job`` in the thread and return its outcome; its exception is raised here and fails nobody else."""
        return await self._loop.run_in_executor(self._thread, job)

    def close(self) -> None:
        """Finish the job that runs, drop the others."""
        self._thread.shutdown(cancel_futures=True)
