"""The one hand that writes the write-ahead log: group commit for all channels of a node.

A driver that must not speak before its records are durable awaits ``append``. Everything that arrived while the last
``fdatasync`` ran goes out with the next one, so under load one sync serves many messages of many channels. Writing
and syncing happen in one worker thread; the event loop never waits for the disk.

When a segment is full the writer asks every channel for its complete state and begins a new segment with it
(amendment U7). Channels answer on the event loop, between two groups, so a checkpoint is never half of a change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

from dawan_node import failpoints
from dawan_node.node.logs import fields
from dawan_node.storage.wal import Wal, WalRecord

log = logging.getLogger(__name__)

#: The complete state of a channel as log records, in replay order.
Checkpoint = Callable[[], Sequence[WalRecord]]


class LogWriter:
    """Owns the open ``Wal``. All methods belong to the event loop.

    A group begins and ends by callbacks, not in the task ``run``: three groups belong to each block of each channel,
    and every task that is woken in between costs a turn of the loop.
    """

    def __init__(self, wal: Wal) -> None:
        self._wal: Final = wal
        self._checkpoints: list[Checkpoint] = []
        self._pending: list[WalRecord] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._group: list[asyncio.Future[None]] = []  # who waits for what is being written
        self._is_busy = False  # a group is being written, or begins in the next turn of the loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wal")
        self._ended: asyncio.Future[None] | None = None  # what ``run`` waits for, once it does
        self._failure: BaseException | None = None

    def add_channel(self, checkpoint: Checkpoint) -> None:
        """Register a channel's checkpoint. All channels register before the first record is appended."""
        self._checkpoints.append(checkpoint)

    async def append(self, records: Sequence[WalRecord]) -> None:
        """Return once ``records`` are durable. Raises StorageError when the disk failed; nothing may leave then."""
        if self._failure is not None:
            raise self._failure
        failpoints.reach("log.before_append")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.extend(records)
        self._waiting.append(future)
        self._begin_soon()
        await future
        failpoints.reach("log.after_append")

    async def run(self) -> None:
        """Write groups until cancelled. Raises StorageError, which stops the node."""
        self._ended = asyncio.get_running_loop().create_future()
        self._begin_soon()
        try:
            await self._ended
        except BaseException as error:
            self._give_up(error)
            raise

    def _begin_soon(self) -> None:
        """Write what waits, unless something is being written. In the next turn of the loop, so that what others append
        in this one goes with it."""
        if self._waiting and not self._is_busy and self._ended is not None:
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        if self._failure is not None:
            return
        loop = asyncio.get_running_loop()
        failpoints.reach("log.before_group")
        records, self._pending = self._pending, []
        self._group, self._waiting = self._waiting, []

        def written(future: Future[None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._written, future)

        try:
            self._thread.submit(self._work(records)).add_done_callback(written)
        except BaseException as error:  # noqa: BLE001 - raised by ``run``; the loop would only log it
            self._end(error)

    def _work(self, records: list[WalRecord]) -> Callable[[], None]:
        if not self._wal.should_roll:
            return partial(self._write, records)
        # Nearly all of `records` is in the checkpoint too, since their channels' state is ahead of the log; but not,
        # for one, a vote for what was decided already (amendment L6). They come first: replay goes from the older to
        # the newer.
        failpoints.reach("log.before_checkpoint")
        checkpoint = [*records, *(record for channel in self._checkpoints for record in channel())]
        log.info("wal_rolled", extra=fields(records=len(checkpoint)))
        return partial(self._roll, checkpoint)

    def _written(self, future: Future[None]) -> None:
        if self._failure is not None:
            return  # stopped meanwhile: who waited was told so
        error = future.exception()
        if error is not None:
            self._end(error)
            return
        failpoints.reach("log.after_group")
        group, self._group = self._group, []
        for waiting in group:
            if not waiting.done():
                waiting.set_result(None)
        self._is_busy = False
        self._begin_soon()

    def _end(self, error: BaseException) -> None:
        self._give_up(error)
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _give_up(self, error: BaseException) -> None:
        """Whoever waits for a record hears why it is not known to be durable, and so does who comes later."""
        self._failure = self._failure or error
        _fail([*self._group, *self._waiting], self._failure)
        self._group, self._waiting = [], []

    def close(self) -> None:
        """Sync, mark the orderly end and give up the lock. After ``run`` has ended."""
        self._thread.shutdown()
        self._wal.close()

    def _write(self, records: Sequence[WalRecord]) -> None:
        self._wal.append(records)
        self._wal.sync()

    def _roll(self, checkpoint: Sequence[WalRecord]) -> None:
        self._wal.roll(checkpoint)
        self._wal.sync()


def _fail(futures: Sequence[asyncio.Future[None]], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
