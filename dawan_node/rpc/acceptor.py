"""Takes sockets through TLS, each with the context of the moment.

asyncio's own server binds one context for its whole life and puts no bound on handshakes under way. Here every accepted
socket gets the context that is in force then, and handshakes are bounded as the connections are that come out of them:
by eviction of the oldest, of the same address first, so that half-open sockets cannot keep others out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

#: Handshakes under way: a member takes a few milliseconds for one, so this is room for a thousand new ones a second.
HANDSHAKES_MAX: Final = 128
HANDSHAKES_PER_ADDRESS_MAX: Final = 64
#: Connections the system holds for us, and the most taken at once.
_BACKLOG: Final = 128
#: After an accept failed, most likely for want of file descriptors.
_ACCEPT_REST_S: Final = 0.1
#: How long a close waits for the other side's farewell.
_CLOSE_S: Final = 2.0

_log: Final = logging.getLogger("dawan_node.rpc")


class Acceptor:
    """Accepts on one listening socket, which it owns."""

    def __init__(
        self,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext],
        new_protocol: Callable[[], asyncio.Protocol],
        handshake_s: float,
    ) -> None:
        self._listener: Final = listener
        self._context: Final = context
        self._new_protocol: Final = new_protocol
        self._handshake_s: Final = handshake_s
        # Insertion order is age.
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._rest: asyncio.TimerHandle | None = None
        #: Handshakes that came to nothing, for metrics.
        self.failed = 0

    def start(self) -> None:
        """Begin to accept."""
        self._rest = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def stop(self) -> None:
        """Accept no more and drop what has not finished its handshake."""
        if self._rest is not None:
            self._rest.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        handshakes = list(self._handshakes)
        for task in handshakes:
            task.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)

    def _accept(self) -> None:
        """Take what waits. Not a task around ``sock_accept``: that one loses a socket when it is cancelled."""
        loop = asyncio.get_running_loop()
        for _ in range(_BACKLOG):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("rpc_accept_failed error=%s", error.strerror or error)
                loop.remove_reader(self._listener)
                self._rest = loop.call_later(_ACCEPT_REST_S, self.start)
                return
            connection.setblocking(False)
            ip = str(address[0])
            self._make_room(ip)
            task = loop.create_task(self._shake_hands(connection))
            self._handshakes[task] = ip
            task.add_done_callback(partial(self._ended, connection))

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._new_protocol,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        except OSError:  # ssl.SSLError and the time-out are
            self.failed += 1
            connection.close()

    def _make_room(self, ip: str) -> None:
        same = [task for task, other in self._handshakes.items() if other == ip]
        if len(same) >= HANDSHAKES_PER_ADDRESS_MAX:
            victim = same[0]
        elif len(self._handshakes) >= HANDSHAKES_MAX:
            victim = next(iter(self._handshakes))
        else:
            return
        self.failed += 1
        del self._handshakes[victim]
        victim.cancel()

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)
        if task.cancelled():
            connection.close()
        elif (error := task.exception()) is not None:
            # Our own fault must not end unseen.
            _log.error("rpc_handshake_failed error=%s", type(error).__name__, exc_info=error)


async def listening_socket(host: str, port: int) -> socket.socket:
    """A non-blocking listening socket on the first address of ``host``. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
