"""SIGINT and SIGTERM of a command that goes on until it is stopped: heard in the middle of a wait, never of a write.

    stop = Stop()
    with stop.listening(), connected(rpc, home, client=stop.client) as client:
        client.chain_head("trade")      # raises Stopped within a moment of the signal, whatever the node does
        stop.rest(60)                   # True at once

A signal that comes while nothing is waited for (a journal is written, a proof is verified) is kept and heard at the
next wait, so that no file and no answer is left half done. Signals reach the main thread of a process: everything here
is for that thread alone.

The interpreter runs a handler between two of its own steps. A signal that comes after the last step before a wait, and
before the system call, or to another thread, interrupts nothing: the wait would go on to its own end. So a thread sees
every signal too (``signal.set_wakeup_fd``) and repeats it to the main thread until it is heard.

Not heard at once is what this process cannot interrupt: the look-up of a host's name, which ends by itself.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dawan_node.rpc.client import Client

if TYPE_CHECKING:
    from dawan_node.rpc.client_tls import ClientTls

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: How soon a signal that was not heard is repeated: nobody who stops a command notices, and it costs nothing.
_REPEAT_S: Final = 0.05


class Stopped(BaseException):
    """The command is to end. Like KeyboardInterrupt it is no error, and passes by whoever handles errors."""


class Stop:
    """Whether somebody asked this command to end, and the waits that end when somebody does."""

    def __init__(self) -> None:
        self.is_asked = False
        self._interrupts = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals ask this command to end, instead of ending the process. Raises ValueError beside the main thread."""
        before = {which: signal.signal(which, self._on_signal) for which in _SIGNALS}
        try:
            with self._repeating():
                yield
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)

    @contextmanager
    def _repeating(self) -> Iterator[None]:
        """Signals are repeated to this thread until it hears one. Ends before the handlers do: whoever was there before
        must not get what was meant for this command."""
        seen, noted = socket.socketpair()
        noted.setblocking(False)
        before = signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)
        repeating = threading.Thread(target=self._repeat, args=(seen, threading.get_ident()), name="signals")
        repeating.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            noted.close()
            repeating.join()
            seen.close()

    def _repeat(self, seen: socket.socket, listener: int) -> None:
        while numbers := seen.recv(1):
            while numbers[0] in _SIGNALS and not self.is_asked:
                signal.pthread_kill(listener, numbers[0])
                time.sleep(_REPEAT_S)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """What may be cut off anywhere, because nothing is kept of it. Raises Stopped, also when that was asked for
        before."""
        outer, self._interrupts = self._interrupts, True
        try:
            self.raise_if_asked()
            yield
        finally:
            self._interrupts = outer

    def raise_if_asked(self) -> None:
        """Raises Stopped."""
        if self.is_asked:
            raise Stopped

    def rest(self, seconds: float) -> bool:
        """Wait; True, and at once, when the command is to end."""
        try:
            with self.interruptible():
                time.sleep(seconds)
        except Stopped:
            return True
        return False

    def client(self, url: str, *, tls: ClientTls | None = None) -> Client:
        """A client whose calls raise Stopped: what became of one that was cut off is not known."""
        return _StoppableClient(url, self, tls)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Raised once: what is left to do afterwards is closing files, and an impatient second signal would break in.
        first, self.is_asked = not self.is_asked, True
        if first and self._interrupts:
            raise Stopped


class _StoppableClient(Client):
    def __init__(self, url: str, stop: Stop, tls: ClientTls | None) -> None:
        super().__init__(url, tls=tls)
        self._stop: Final = stop

    def _exchange(self, payload: Any, wait_s: float) -> Any:
        try:
            with self._stop.interruptible():
                return super()._exchange(payload, wait_s)
        except Stopped:
            # In the middle of an answer: nothing else may be read from this connection.
            self.close()
            raise
