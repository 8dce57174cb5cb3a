"""Signatures checked beside the execution of blocks, in processes of their own.

Executing a chain again is one long line: every block stands on the one before. Signatures do not, and they are about
a fifth of the work, so other cores take them. They are processes and not threads, because execution holds the
interpreter all the time. A verdict comes some blocks late; whoever finds something else wrong first asks ``settle``,
so that the fault reported is always the first of the chain.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from dawan_node.crypto.signatures import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Verify, verify_ed25519
from dawan_node.errors import OperatorError
from dawan_node.node.database.finding import Fault, Finding, Wrong
from dawan_node.node.database.signature_process import ALL_GOOD, NUMBER, Check, pack

#: Signatures of one hand-over: some 5 ms of work beside about 0.05 ms of writing and waking.
BATCH: Final = 64
#: Batches on their way to one process. With usual transactions they fit the pipe, so handing over seldom waits.
AHEAD: Final = 24
PIPE_BYTES: Final = 1024 * 1024
#: So many signatures are checked here before processes are started: what starting one costs.
HERE_FIRST: Final = 2_000
#: The line of execution does not keep more than this many busy.
PROCESSES_MAX: Final = 4


def processes_for(cores: int | None = None) -> int:
    """How many processes help by default: one for each core beyond the first."""
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    return min(cores - 1, PROCESSES_MAX)


class Place(NamedTuple):
    """Where a signature stands: what it means if it does not verify."""

    fault: Fault
    height: int
    what: str


class SignatureQueue:
    """Checks what is added, in order. A context manager: leaving it ends the processes."""

    def __init__(self, processes: int | None = None, here_first: int = HERE_FIRST) -> None:
        """``processes`` 0 checks everything in this one. Raises OperatorError when they cannot be started."""
        self._count: Final = processes_for() if processes is None else processes
        self._here: Final = here_first if self._count else sys.maxsize
        self._done_here = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._checks: list[Check] = []
        self._places: list[Place] = []
        self._sent: deque[tuple[subprocess.Popen[bytes], list[Place]]] = deque()
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()  # it has nothing to lose, and may be waiting to be read from
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what it had not read yet
                        pipe.close()

    def add(self, place: Place, public_key: bytes, signed: bytes, signature: bytes) -> None:
        """Check one signature, now or later. Raises Wrong for it or for one added before; OperatorError."""
        if self._done_here < self._here or len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
            self._done_here += 1
            if not verify_ed25519(public_key, signed, signature):
                self.settle()
                raise _wrong(place)
            return
        self._checks.append((public_key, signed, signature))
        self._places.append(place)
        if len(self._checks) >= BATCH:
            self._send()

    def checker(self, height: int) -> Verify:
        """For certificates: takes a signature for good until its verdict comes."""
        place = Place(Fault.CERTIFICATE, height, "a validator")

        def later(public_key: bytes, signed: bytes, signature: bytes) -> bool:
            self.add(place, public_key, signed, signature)
            return True

        return later

    def settle(self) -> None:
        """Wait for every verdict. Raises Wrong for the first bad one, OperatorError."""
        if self._checks:
            self._send()
        while self._sent:
            self._receive()

    def _send(self) -> None:
        if not self._processes:
            self._processes = [_start() for _ in range(self._count)]
        if len(self._sent) >= AHEAD * len(self._processes):
            self._receive()
        process = self._processes[self._next]
        self._next = (self._next + 1) % len(self._processes)
        assert process.stdin is not None
        try:
            process.stdin.write(pack(self._checks))
            process.stdin.flush()
        except OSError as error:
            raise _ended(process, error) from None
        self._sent.append((process, self._places))
        self._checks, self._places = [], []

    def _receive(self) -> None:
        """The verdict on the oldest batch; all come in the order in which they were sent."""
        process, places = self._sent.popleft()
        assert process.stdout is not None
        answer = process.stdout.read(NUMBER.size)
        if len(answer) < NUMBER.size:
            raise _ended(process, None)
        (bad,) = NUMBER.unpack(answer)
        if bad != ALL_GOOD:
            raise _wrong(places[bad])


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dawan_node.node.database.signature_process"]
    try:
        return subprocess.Popen(command, pipesize=PIPE_BYTES, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise OperatorError(
            "no process could be started that checks signatures",
            error.strerror or str(error),
            "Run it with --processes 0, which needs none.",
        ) from None


def _ended(process: subprocess.Popen[bytes], error: OSError | None) -> OperatorError:
    return OperatorError(
        "a process that checked signatures ended",
        f"exit code {process.poll()}" if error is None else error.strerror or str(error),
        "Run it again, with --processes 0 if memory is short.",
    )


def _wrong(place: Place) -> Wrong:
    return Wrong(place.fault, place.height, f"the signature of {place.what} does not verify")


def first_of(wrong: Wrong, queue: SignatureQueue) -> Finding:
    """The first fault of the chain: ``wrong``, or a signature before it whose verdict had not come yet."""
    try:
        queue.settle()
    except Wrong as earlier:
        if earlier.finding.height <= wrong.finding.height:
            return earlier.finding
    return wrong.finding
