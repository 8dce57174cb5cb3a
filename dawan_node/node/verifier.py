"""Verification of transaction signatures off the event loop: each signature once per node, whoever brings it.

Checking a signature costs about as much as everything else a node does with a small transaction, so three rules:

- **Once.** A signature that verified is remembered by *leaf hash*, which covers the signature itself (amendment U8;
  by transaction id, a copy with a garbage signature could poison the verdict on the true one). Only good verdicts are
  remembered, and only so many. Two callers who bring the same transaction at the same time share one check.
- **Off the loop.** libsodium works without the interpreter lock, so a thread can check signatures while the event loop
  goes on. Whether that gains anything depends on the machine: on one core, or when as many nodes as cores run on it,
  threads only add switching. ``choose_mode`` measures it at start. Without threads, signatures are checked on the
  loop in slices short enough that nobody notices.
- **Bounded.** Only so many signatures wait; further callers wait for room before theirs are queued. What a block that
  is being agreed on needs (``urgent``) goes before what clients send.

Use it from one event loop. Decoding is not done here: a ``Transaction`` is decoded already, and only once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from dawan_node.crypto.hashing import domain_separated, sha256
from dawan_node.crypto.signatures import PrivateKey, verify_ed25519
from dawan_node.primitives.transaction import Transaction

#: Signatures per hand-over to a thread: 4 to 14 ms of work beside about 0.1 ms for the hand-over, short enough that
#: urgent ones do not wait long behind a batch that has begun.
BATCH_MAX: Final = 128

#: Signatures checked on the loop in one go, without threads: about 1 ms.
SLICE_MAX: Final = 16
#: And so many, some 5 ms, while more than that wait: a busy loop takes tens of milliseconds for a turn, and 16 in each
#: are fewer than arrive. A client then waited ten seconds for its answer, behind a processor that had the time.
LONG_SLICE_MAX: Final = 64

#: So few signatures, with nothing else to do, are checked on the spot: cheaper than the hand-over.
ON_THE_SPOT_MAX: Final = 2

#: Signatures that wait; half a second of work for one core.
QUEUE_MAX: Final = 8_192

#: Good verdicts remembered: three full pools; about 10 MiB.
CACHE_MAX: Final = 65_536

#: More threads than this only fight for the interpreter lock between two signatures.
WORKERS_MAX: Final = 4

#: A thread must give back at least this share (in percent) of what it works, or the loop does the work itself: the
#: rest is lost to switching, and a loop that is interrupted by threads answers later.
GAIN_PERCENT_MIN: Final = 50


class Mode(StrEnum):
    """Where signatures are checked."""

    INLINE = "inline"
    THREADS = "threads"


@dataclass(frozen=True, slots=True)
class VerifierStats:
    """Counts since the start. ``queued`` is what waits or is being checked now."""

    mode: Mode
    workers: int
    queued: int
    checked: int
    refused: int
    remembered: int  # answered from memory


def _unaccounted(cpu_ns: int, signatures: int) -> None:
    return


class _Group:
    """One call of ``verify`` that waits for some of its verdicts."""

    __slots__ = ("future", "missing", "verdicts")

    def __init__(self, size: int, future: asyncio.Future[None]) -> None:
        self.verdicts = [False] * size
        self.missing = 1  # verdicts, and 1 until all of the call's signatures are queued
        self.future = future


class _Job:
    """One signature to check and everybody who waits for it."""

    __slots__ = ("is_begun", "is_urgent", "transaction", "waiters")

    def __init__(self, transaction: Transaction, is_urgent: bool) -> None:
        self.transaction = transaction
        self.is_urgent = is_urgent
        self.is_begun = False
        self.waiters: list[tuple[_Group, int]] = []


class Verifier:
    """Checks signatures for all channels of a node."""

    def __init__(
        self,
        mode: Mode,
        workers: int = 1,
        cache_max: int = CACHE_MAX,
        queue_max: int = QUEUE_MAX,
        account: Callable[[int, int], None] = _unaccounted,
        check: Callable[[list[Transaction]], list[bool]] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Build it inside the event loop that uses it. ``workers`` counts in mode THREADS only.

        ``account`` is told the processor time (nanoseconds) of each batch and its size, in whatever thread it ran.
        Simulations bring their own ``check`` and ``loop``.
        """
        self._account = account
        self._check = check
        self._loop = loop or asyncio.get_running_loop()
        self._mode = mode
        self._workers = workers if mode is Mode.THREADS else 0
        self._threads = ThreadPoolExecutor(workers, "verifier") if mode is Mode.THREADS else None
        self._cache: dict[bytes, None] = {}
        self._cache_max = cache_max
        self._queue_max = queue_max
        self._jobs: dict[bytes, _Job] = {}  # waiting or being checked, by leaf hash
        self._urgent: deque[_Job] = deque()
        self._normal: deque[_Job] = deque()
        self._running = 0  # batches in threads, or 1 while a slice is scheduled on the loop
        self._room: deque[asyncio.Future[None]] = deque()  # callers waiting for room, first come first served
        self._checked = self._refused = self._remembered = 0
        self._is_closed = False

    async def verify(self, transactions: Sequence[Transaction], urgent: bool = False) -> list[bool]:
        """Whether each signature is its key's over its body, in order.

        Waits while too many signatures are queued (not if ``urgent``: blocks are bounded by their own caps).
        """
        group = _Group(len(transactions), self._loop.create_future())
        for first in range(0, len(transactions), BATCH_MAX):
            if not urgent:
                await self._wait_for_room()
            for place in range(first, min(first + BATCH_MAX, len(transactions))):
                self._enqueue(transactions[place], urgent, group, place)
            self._dispatch()
            self._give_room()  # the next caller's turn, even if all of this one's were known
        group.missing -= 1
        if group.missing:
            await group.future
        return group.verdicts

    def is_verified(self, leaf_hash: bytes) -> bool:
        """Whether the signature in this envelope is remembered as good. False only means: ask ``verify``."""
        return leaf_hash in self._cache

    def stats(self) -> VerifierStats:
        """For metrics."""
        return VerifierStats(self._mode, self._workers, len(self._jobs), self._checked, self._refused, self._remembered)

    async def close(self) -> None:
        """Stop. Whoever still waits is cancelled; batches that have begun are finished first."""
        self._is_closed = True
        self._urgent.clear()
        self._normal.clear()
        for job in self._jobs.values():
            for group, _ in job.waiters:
                group.future.cancel()
        self._jobs.clear()
        for waiting in self._room:
            waiting.cancel()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown)

    # Queueing

    async def _wait_for_room(self) -> None:
        if self._is_closed:
            raise asyncio.CancelledError("the verifier is closed")
        while len(self._jobs) >= self._queue_max:
            room: asyncio.Future[None] = self._loop.create_future()
            self._room.append(room)
            try:
                await room
            except asyncio.CancelledError:
                self._give_room()  # it may have been this caller's turn already
                raise

    def _give_room(self) -> None:
        if len(self._jobs) >= self._queue_max:
            return
        while self._room:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)
                return

    def _enqueue(self, transaction: Transaction, urgent: bool, group: _Group, place: int) -> None:
        leaf = _name_of(transaction)
        if leaf in self._cache:
            self._remembered += 1
            group.verdicts[place] = True
            return
        job = self._jobs.get(leaf)
        if job is None:
            job = self._jobs[leaf] = _Job(transaction, urgent)
            (self._urgent if urgent else self._normal).append(job)
        elif urgent and not job.is_urgent and not job.is_begun:
            job.is_urgent = True  # its old place in the other queue is passed over when its turn comes
            self._urgent.append(job)
        job.waiters.append((group, place))
        group.missing += 1

    def _take(self, count: int) -> list[_Job]:
        """The next jobs, urgent ones first."""
        taken: list[_Job] = []
        while len(taken) < count and (self._urgent or self._normal):
            job = (self._urgent or self._normal).popleft()
            if not job.is_begun:
                job.is_begun = True
                taken.append(job)
        return taken

    # Working

    def _dispatch(self) -> None:
        """Give every idle worker something to do."""
        waiting = len(self._urgent) + len(self._normal)
        if self._threads is None:
            if waiting and not self._running:
                self._running = 1
                self._loop.call_soon(self._check_slice)
            return
        if 0 < waiting <= ON_THE_SPOT_MAX and not self._running:
            jobs = self._take(ON_THE_SPOT_MAX)
            self._finish(jobs, self._check_accounted([job.transaction for job in jobs]))
            return
        while self._running < self._workers and (self._urgent or self._normal):
            # Shared out evenly, so that a thread does not wait idle beside another's long batch.
            waiting = len(self._urgent) + len(self._normal)
            jobs = self._take(min(BATCH_MAX, -(-waiting // (self._workers - self._running))))
            if jobs:
                self._running += 1
                done = self._threads.submit(self._check_accounted, [job.transaction for job in jobs])
                done.add_done_callback(partial(self._from_thread, jobs))

    def _check_slice(self) -> None:
        waiting = len(self._urgent) + len(self._normal)
        jobs = self._take(LONG_SLICE_MAX if waiting > LONG_SLICE_MAX else SLICE_MAX)
        verdicts = self._check_accounted([job.transaction for job in jobs])
        self._running = 0
        self._finish(jobs, verdicts)
        self._dispatch()

    def _from_thread(self, jobs: list[_Job], future: Future[list[bool]]) -> None:
        """Called in the thread; the loop may be gone when a node stops."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._batch_done, jobs, future)

    def _batch_done(self, jobs: list[_Job], future: Future[list[bool]]) -> None:
        self._running -= 1
        if self._is_closed:
            return
        error = future.exception()
        if error is None:
            self._finish(jobs, future.result())
        else:  # our own fault: let it stop whoever waits, they know what to do with it
            for group in {group for job in jobs for group, _ in job.waiters}:
                if not group.future.done():
                    group.future.set_exception(error)
        self._dispatch()

    def _check_accounted(self, transactions: list[Transaction]) -> list[bool]:
        start_ns = time.thread_time_ns()
        verdicts = (self._check or _check)(transactions)
        self._account(time.thread_time_ns() - start_ns, len(transactions))
        return verdicts

    def _finish(self, jobs: list[_Job], verdicts: list[bool]) -> None:
        for job, is_valid in zip(jobs, verdicts, strict=True):
            leaf = _name_of(job.transaction)
            self._jobs.pop(leaf, None)
            self._checked += 1
            if is_valid:
                self._cache[leaf] = None
            else:
                self._refused += 1
            for group, place in job.waiters:
                group.verdicts[place] = is_valid
                group.missing -= 1
                if not group.missing and not group.future.done():
                    group.future.set_result(None)
        while len(self._cache) > self._cache_max:
            del self._cache[next(iter(self._cache))]
        self._give_room()


def _name_of(transaction: Transaction) -> bytes:
    """What a verdict is remembered under. The leaf hash covers the signature; the transaction id does not (U8)."""
    return transaction.leaf_hash


def _check(transactions: list[Transaction]) -> list[bool]:
    return [transaction.verify_signature() for transaction in transactions]


def choose_mode(cores: int | None = None) -> tuple[Mode, int]:
    """Measure whether threads gain anything here and now: the mode and the number of threads. Takes about 60 ms.

    The question is how much of a thread's work comes for free while this thread computes in Python. The probe cannot
    know what else will run later: with as many nodes as cores on one machine, choose INLINE whatever it says.
    """
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    if cores < 2:
        return Mode.INLINE, 1
    with ThreadPoolExecutor(1, "verifier-probe") as thread:
        rounds = [_probe_round(thread) for _ in range(5)]
    # The least of each: whatever disturbs a measurement only adds to it.
    signatures, python, together = (min(times) for times in zip(*rounds, strict=True))
    gain_percent = 100 * (signatures + python - together) // max(1, signatures)
    return (Mode.THREADS, min(cores - 1, WORKERS_MAX)) if gain_percent >= GAIN_PERCENT_MIN else (Mode.INLINE, 1)


def _probe_round(thread: ThreadPoolExecutor) -> tuple[int, int, int]:
    """Nanoseconds for the signatures, for the Python work, and for both at once."""
    started = time.perf_counter_ns()
    _probe_signatures()
    between = time.perf_counter_ns()
    _probe_python()
    alone = time.perf_counter_ns()
    background = thread.submit(_probe_signatures)
    _probe_python()
    background.result()
    return between - started, alone - between, time.perf_counter_ns() - alone


_PROBE_KEY: Final = PrivateKey.from_seed(sha256(b"verifier probe"))
_PROBE_TAG: Final = b"dawan:probe:v1"
_PROBE_DATA: Final = bytes(250)
_PROBE_SIGNATURE: Final = _PROBE_KEY.sign(_PROBE_TAG, _PROBE_DATA)


def _probe_signatures() -> None:
    signed = domain_separated(_PROBE_TAG, _PROBE_DATA)
    for _ in range(64):
        verify_ed25519(_PROBE_KEY.public_key, signed, _PROBE_SIGNATURE)


def _probe_python() -> int:
    """A few milliseconds of what the loop does: small objects, dictionaries, short hashes."""
    table: dict[bytes, int] = {}
    for number in range(3_000):
        table[sha256(number.to_bytes(8, "big"))] = number
    return len(table)
