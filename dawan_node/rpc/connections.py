"""Connection guards: deadlines and caps that the HTTP library does not have (reliability.md F11, row G4).

Measured: with aiohttp alone an idle socket, a header sent byte by byte and a body that never ends all stay open for
ever, and a few hundred of them starve the honest client. So each connection is wrapped in a ``Guard``, an asyncio
protocol that passes everything on to aiohttp's and watches the clock:

    RECEIVING --whole request read--> HANDLING --reply ready--> SENDING --buffer empty--> IDLE --bytes--> RECEIVING

Receiving and idling have fixed deadlines, sending must make progress, handling is the dispatcher's affair. A
connection that misses its deadline is aborted: no lingering flush that a slow reader could hold open.

Caps per address and in all are kept by *eviction*: the connection longest without a request in hand gives way to the
new one, so that an attacker's half-open sockets cannot keep others out, and one that is being answered is never cut.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, cast

from aiohttp import web

from dawan_node.errors import OperatorError
from dawan_node.rpc.acceptor import Acceptor, listening_socket

# A client that talks before its call is answered wants pipelining; no JSON-RPC client does. A stray CR LF may come.
PIPELINED_BYTES_MAX: Final = 64 * 1024
_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener allows. Times in seconds."""

    # Header and body of a request must be here this long after its first byte (or after connecting).
    receive_s: float = 10.0
    # A keep-alive connection without a request. Clients reconnect by themselves.
    idle_s: float = 10.0
    # While sending, this much must leave in each interval, or the reader counts as stopped.
    send_interval_s: float = 5.0
    send_progress_bytes: int = 128 * 1024
    # Enough for a load generator and the members of a consortium; far below the usual 1,024 open files.
    connections_max: int = 512
    connections_per_address_max: int = 256
    # Bodies being received, of all connections together; 16 of the largest.
    buffered_bytes_max: int = 64 * 1024 * 1024
    # How long calls under way may take when the node stops.
    drain_s: float = 5.0


class Phase(Enum):
    """Where a connection stands; see the module docstring."""

    RECEIVING = "receiving"
    HANDLING = "handling"
    SENDING = "sending"
    IDLE = "idle"


class Guard(asyncio.Protocol):
    """Watches one connection. ``inner`` is aiohttp's protocol, None when the connection was refused."""

    __slots__ = ("_early_bytes", "_gate", "_timer", "_unsent", "address", "inner", "number", "phase", "transport")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._timer: asyncio.TimerHandle | None = None
        self._early_bytes = 0
        self._unsent = 0
        self.address = ""
        #: Which connection of the listener it is, from 1.
        self.number = gate.next_number()
        self.inner: Any = None
        self.phase = Phase.RECEIVING
        self.transport: asyncio.Transport | None = None

    # -- what the request handler reports -------------------------------------------------------------------------

    def request_received(self) -> None:
        """The whole body is here: the client's deadline is met."""
        self.phase = Phase.HANDLING
        self._arm(None)

    def reply_ready(self) -> None:
        """The reply goes out now: from here on the client must read."""
        self.phase = Phase.SENDING
        # The reply is not in the buffer yet; the first check only takes the measure.
        self._unsent = -1
        self._arm(self._gate.limits.send_interval_s)

    def reply_handed_over(self) -> None:
        """aiohttp has given the whole reply to the transport."""
        if self.phase is Phase.SENDING and self._buffered() == 0:
            self._rest()

    def abort(self) -> None:
        """Cut the connection without waiting for anything to be flushed."""
        self._arm(None)
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream listener's connections are stream transports; uvloop's do not derive from asyncio.Transport.
        stream = cast(asyncio.Transport, transport)
        self.transport = stream
        peer = stream.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"
        if not self._gate.admit(self):
            stream.write(_BUSY)
            stream.close()
            return
        self.inner = self._gate.new_inner()
        self.inner.connection_made(stream)
        self._arm(self._gate.limits.receive_s)

    def data_received(self, data: bytes) -> None:
        if self.inner is None:
            return
        if self.phase is Phase.SENDING and self._buffered() == 0:
            self._rest()
        if self.phase is Phase.IDLE:
            self.phase = Phase.RECEIVING
            self._arm(self._gate.limits.receive_s)
        elif self.phase is not Phase.RECEIVING:
            self._early_bytes += len(data)
            if self._early_bytes > PIPELINED_BYTES_MAX:
                self.abort()
                return
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self.inner is None else self.inner.eof_received()

    def pause_writing(self) -> None:
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        if self.inner is not None:
            self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arm(None)
        self._gate.forget(self)
        if self.inner is not None:
            self.inner.connection_lost(exc)

    # -- the clock -------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """The reply has left. Bytes that came early are the start of the next request."""
        limits = self._gate.limits
        self.phase = Phase.RECEIVING if self._early_bytes else Phase.IDLE
        self._arm(limits.receive_s if self._early_bytes else limits.idle_s)
        self._early_bytes = 0

    def _expired(self) -> None:
        self._timer = None
        if self.phase is not Phase.SENDING:
            self._gate.cut += 1
            self.abort()
            return
        unsent = self._buffered()
        if unsent == 0:
            self._rest()
        elif self._unsent >= 0 and self._unsent - unsent < min(self._gate.limits.send_progress_bytes, self._unsent):
            self._gate.cut += 1
            self.abort()
        else:
            self._unsent = unsent
            self._arm(self._gate.limits.send_interval_s)

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expired)

    def _buffered(self) -> int:
        return 0 if self.transport is None else self.transport.get_write_buffer_size()


class Gate:
    """All connections of one listener: admits, evicts, counts. ``cut`` and ``refused`` are for metrics."""

    def __init__(self, limits: Limits, new_inner: Callable[[], Any]) -> None:
        self.limits: Final = limits
        self.new_inner: Final = new_inner
        self.cut = 0
        self.refused = 0
        self.buffered_bytes = 0
        self._numbers = 0
        # Insertion order is age: the first waiting one is the oldest.
        self._guards: dict[Guard, None] = {}
        self._by_address: dict[str, int] = {}

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._guards)

    def next_number(self) -> int:
        """The number of a new connection; no two have the same."""
        self._numbers += 1
        return self._numbers

    def admit(self, guard: Guard) -> bool:
        """Take a new connection in, if need be in place of the oldest one that has no request in hand."""
        same = self._by_address.get(guard.address, 0)
        if same >= self.limits.connections_per_address_max:
            victim = self._oldest_waiting(guard.address)
        elif len(self._guards) >= self.limits.connections_max:
            victim = self._oldest_waiting(None)
        else:
            self._add(guard)
            return True
        if victim is None:
            self.refused += 1
            return False
        self.cut += 1
        self.forget(victim)
        victim.abort()
        self._add(guard)
        return True

    def forget(self, guard: Guard) -> None:
        """Drop a connection from the books; twice is once."""
        if guard not in self._guards:
            return
        del self._guards[guard]
        left = self._by_address[guard.address] - 1
        if left:
            self._by_address[guard.address] = left
        else:
            del self._by_address[guard.address]

    def reserve(self, size: int) -> bool:
        """Room for ``size`` more bytes of bodies; the caller gives back what it got with ``release``."""
        if self.buffered_bytes + size > self.limits.buffered_bytes_max:
            return False
        self.buffered_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give reserved bytes back."""
        self.buffered_bytes -= size

    def abort_waiting(self) -> None:
        """Cut every connection that has no request in hand (the node stops)."""
        for guard in list(self._guards):
            if guard.phase in (Phase.IDLE, Phase.RECEIVING):
                guard.abort()

    def abort_all(self) -> None:
        """Cut everything."""
        for guard in list(self._guards):
            guard.abort()

    def _add(self, guard: Guard) -> None:
        self._guards[guard] = None
        self._by_address[guard.address] = self._by_address.get(guard.address, 0) + 1

    def _oldest_waiting(self, address: str | None) -> Guard | None:
        for guard in self._guards:
            if guard.phase in (Phase.IDLE, Phase.RECEIVING) and address in (None, guard.address):
                return guard
        return None


class Listener:
    """One listening socket with guarded connections; ``handler`` answers whole requests."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limits: Limits,
        quiet: Any,
    ) -> None:
        """``quiet``: a logger for aiohttp's own complaints, which any stranger can cause at will."""
        self._limits = limits
        self._http = web.Server(
            handler,
            access_log=None,
            logger=quiet,
            auto_decompress=False,  # compressed bodies are refused: no bombs
            keepalive_timeout=3600.0,  # the guard's business
            lingering_time=1.0,
            max_headers=64,
        )
        self.gate: Final = Gate(limits, self._http)
        self._server: asyncio.Server | None = None
        self._acceptor: Acceptor | None = None

    async def start(
        self, host: str, port: int, name: str, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> tuple[str, int]:
        """Listen; the address really bound (port 0 chooses a free one). Raises OperatorError when it is taken.

        ``tls`` is asked for the context of each new connection.
        """
        try:
            if tls is not None:
                listener = await listening_socket(host, port)
                self._acceptor = Acceptor(listener, tls, lambda: Guard(self.gate), self._limits.receive_s)
                self._acceptor.start()
                bound = listener.getsockname()
            else:
                self._server = await asyncio.get_running_loop().create_server(
                    lambda: Guard(self.gate), host, port, backlog=128, reuse_address=True
                )
                bound = self._server.sockets[0].getsockname()
        except OSError as error:
            raise OperatorError(
                f"cannot listen on {host}:{port}",
                error.strerror or str(error),
                f"Stop what uses it, or choose another address in {name}.",
            ) from None
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Stop listening, let calls under way finish for ``drain_s``, cut the rest."""
        server, self._server = self._server, None
        acceptor, self._acceptor = self._acceptor, None
        if server is not None:
            server.close()
        elif acceptor is not None:
            await acceptor.stop()
        else:
            return
        self.gate.abort_waiting()
        await self._http.shutdown(self._limits.drain_s)
        self.gate.abort_all()
        if server is not None:
            await server.wait_closed()
