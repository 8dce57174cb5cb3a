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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from dawan_node import failpoints
from dawan_node.node.logs import fields
from dawan_node.storage.wal import Wal, WalRecord

log = logging.getLogger(__name__)

#: The complete state of a channel as log records, in replay order.
Checkpoint = Callable[[], Sequence[WalRecord]]


class LogWriter:
    """Owns the open ``Wal``. All methods belong to the event loop."""

    def __init__(self, wal: Wal) -> None:
        self._wal: Final = wal
        self._checkpoints: list[Checkpoint] = []
        self._pending: list[WalRecord] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wal")
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
        self._wake.set()
        await future
        failpoints.reach("log.after_append")

    async def run(self) -> None:
        """Write groups until cancelled. Raises StorageError, which stops the node."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                failpoints.reach("log.before_group")
                records, self._pending = self._pending, []
                waiting, self._waiting = self._waiting, []
                if self._wal.should_roll:
                    # Nearly all of `records` is in the checkpoint too, since their channels' state is ahead of the log;
                    # but not, for one, a vote for what was decided already (amendment L6). They come first: replay
                    # goes from the older to the newer.
                    failpoints.reach("log.before_checkpoint")
                    checkpoint = [*records, *(record for channel in self._checkpoints for record in channel())]
                    work = partial(self._roll, checkpoint)
                    log.info("wal_rolled", extra=fields(records=len(checkpoint)))
                else:
                    work = partial(self._write, records)
                try:
                    await loop.run_in_executor(self._thread, work)
                except BaseException as error:
                    self._failure = error
                    _fail([*waiting, *self._waiting], error)
                    raise
                failpoints.reach("log.after_group")
                for future in waiting:
                    if not future.done():
                        future.set_result(None)
        finally:
            _fail(self._waiting, asyncio.CancelledError())

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
