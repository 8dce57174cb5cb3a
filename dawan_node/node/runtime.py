"""What runs a channel: on a node the event loop and a thread, in a simulation a queue of events on a virtual clock.

A channel is told what happens by calls and tells by calls what it wants, so these few services are all it needs to know
of the world that moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from dawan_node.node.worker import Worker

T = TypeVar("T")


class Jobs(Protocol):
    """Where blocks are judged, executed and stored; ``node.worker.Worker``."""

    failure: BaseException | None

    def submit(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Run ``job`` after those before it, then ``done`` with its outcome."""
        ...

    async def run(self, job: Callable[[], T]) -> T:
        """Run ``job`` after those before it and return its outcome."""
        ...

    def close(self) -> None:
        """Drop what has not begun."""
        ...


class Runtime(Protocol):
    """The services of one channel's life."""

    def wake_up_call(self) -> asyncio.Event:
        """What is set when the driver has something to look at."""
        ...

    def jobs(self, name: str, wake: Callable[[], None]) -> Jobs:
        """The channel's worker; ``wake`` is called after each job."""
        ...

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back once."""
        ...

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else; dropped when the channel is not running."""
        ...


class LoopRuntime:
    """The running event loop. ``tasks`` is the group that the channel's own tasks live in, None while it has none."""

    def __init__(self) -> None:
        self.tasks: asyncio.TaskGroup | None = None

    def wake_up_call(self) -> asyncio.Event:
        """See Runtime."""
        return asyncio.Event()

    def jobs(self, name: str, wake: Callable[[], None]) -> Jobs:
        """See Runtime."""
        return Worker(name, wake)

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """See Runtime."""
        asyncio.get_running_loop().call_later(delay_s, callback)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """See Runtime."""
        if self.tasks is None:
            work.close()
        else:
            self.tasks.create_task(work)
