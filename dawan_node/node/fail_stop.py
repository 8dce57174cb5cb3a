"""The one way a node ends for its storage: at once, whatever thread found out, with a stable reason as its last word.

A storage error is not an answer to a request. LevelDB goes on after a failed write and loses what it acknowledges from
then on (reliability.md F1), and one wrong value read may be the first of many. So whoever meets a ``StorageError``
reports it here: the event loop learns of it and takes the node down in the orderly way, which ends every vote and
every answer at the next turn of the loop. Should the orderly way get stuck (closing waits for a disk that does not
answer), the process is ended hard after ``GRACE_S``: nothing is lost by it, since everything that was promised to
anybody is durable, and the next start verifies all of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from dawan_node.errors import StorageError, StorageReason
from dawan_node.node.logs import fields

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Exception)

#: The exit code (EX_IOERR of sysexits.h): a restart may repair it, unlike what an operator has to fix.
EXIT_STORAGE: Final = 74

#: Between the first error and the end of the process; a node must have stopped voting and serving within a second.
GRACE_S: Final = 0.8

#: In the data directory: the error of a process that found a database to be damaged.
DOUBT_NAME: Final = "doubt"


class FailStop:
    """The first storage error of a process. ``report`` may be called from any thread."""

    def __init__(self, data: Path | None = None) -> None:
        """Belongs to the running event loop. ``data`` is the data directory of the node that the process is; without
        it the process is not ended hard, since it may hold more than one node."""
        self._loop: Final = asyncio.get_running_loop()
        self._reported: Final = asyncio.Event()
        self._lock: Final = threading.Lock()
        self._data: Final = data
        self.error: StorageError | None = None

    def report(self, error: StorageError) -> None:
        """The disk is in doubt. Only the first report counts: what follows is its consequence."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
        if self._data is not None:
            timer = threading.Timer(GRACE_S, _end_hard, (error, self._data))
            timer.daemon = True  # the orderly end is not waited with
            timer.start()
        self._loop.call_soon_threadsafe(self._reported.set)

    async def run(self) -> None:
        """Wait for a report and raise it; a task of the node's group, which it thereby ends."""
        await self._reported.wait()
        assert self.error is not None
        raise self.error

    async def watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, and report the storage error that ends it before anybody begins to close anything."""
        try:
            await work
        except* StorageError as group:
            self.report(first_of(group))
            raise


def first_of(group: BaseExceptionGroup[E]) -> E:
    """The first exception inside nested groups."""
    inner: E | BaseExceptionGroup[E] = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


def _end_hard(error: StorageError, data: Path) -> None:
    end(error, data)
    os._exit(EXIT_STORAGE)


def end(error: StorageError, data: Path) -> None:
    """The last thing a process does that stops for its storage: a sign for its next start if what is on disk is wrong,
    and its last log line."""
    if error.reason is StorageReason.CORRUPT:
        try:
            (data / DOUBT_NAME).write_text(f"{error}\n", encoding="utf-8")
        except OSError as failed:
            log.critical("doubt_not_noted", extra=fields(error=str(failed)))
    log.critical("storage_failed", extra=fields(reason=error.reason.value, error=str(error), next=next_step(error)))


def is_in_doubt(data: Path) -> bool:
    """Whether the last process found a database to be damaged: this one reads all of each before it is believed."""
    return (data / DOUBT_NAME).exists()


def doubt_is_over(data: Path) -> None:
    """Everything was read, and what was damaged has been set aside."""
    (data / DOUBT_NAME).unlink(missing_ok=True)


def next_step(error: StorageError) -> str:
    """What to do now, in one sentence."""
    return _NEXT[error.reason.value]


_NEXT: Final = {
    "STORAGE_READ": "check the disk (dmesg, smartctl), then start again: the node verifies what it has",
    "STORAGE_WRITE": "check the disk (dmesg, smartctl), then start again: the node verifies what it has",
    "STORAGE_FULL": "free or add space, then start again; nothing acknowledged is lost",
    "STORAGE_CORRUPT": "start again: the node sets a damaged database aside and fetches the ledger from its peers",
    "LOG_CORRUPT": "start again: the node observes until its key is replaced on chain; never copy a log from elsewhere",
    "RESULT_DIFFERS": "compare versions with the other operators, then run `dawan-node db verify` before a new start",
}
