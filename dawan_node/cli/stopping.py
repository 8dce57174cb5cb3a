"""SIGINT and SIGTERM of a command that goes on until it is stopped: heard in the middle of a wait, never of a write.

    stop = Stop()
    with stop.listening(), connected(rpc, home, client=stop.client) as client:
        client.chain_head("trade")      # raises Stopped within a moment of the signal, whatever the node does
        stop.rest(60)                   # True at once

A signal that comes while nothing is waited for (a journal is written, a proof is verified) is kept and heard at the
next wait, so that no file and no answer is left half done. Signals reach the main thread of a process: everything here
is for that thread alone.

Not heard at once is what this process cannot interrupt: the look-up of a host's name, which ends by itself.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dawan_node.rpc.client import Client

if TYPE_CHECKING:
    from dawan_node.rpc.client_tls import ClientTls

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
            yield
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)

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
