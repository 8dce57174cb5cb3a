"""A bad network between two honest nodes, in userspace: no root, no kernel module, and TLS passes through untouched.

A ``LinkProxy`` listens on a port of its own and passes every connection on to one target. What happens to the bytes is
set per direction (``forward``: from whoever dialled to the target, ``backward``: the answer) and may change at any
moment, for the connections that are open and for those to come:

==========  ===========================================================================================
delay       every byte arrives so much later, in order; what is under way is bounded
rate        at most so many bytes a second; beyond that the sender meets a full socket
hold        nothing is read any more and nothing lost: a route that is gone, TCP goes on trying
swallow     everything is read and thrown away while the connection stays: half-open, with no sign of it
corrupt     one byte of the next piece is changed, once
==========  ===========================================================================================

Connections can be closed (FIN) or reset (RST) at any time, and ``refuse`` turns away new ones. After bytes were
swallowed or changed the two ends of a TLS connection no longer agree, as they should not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# What one read takes; also the grain of the rate limit.
_PIECE_BYTES: Final = 16 * 1024
# Bytes under way in one direction of one connection: 300 ms of 100 Mbit/s, with room.
_UNDER_WAY_BYTES_MAX: Final = 4 * 1024 * 1024
# Small, so that a limited or held direction fills up in a moment instead of after megabytes.
_SOCKET_BUFFER_BYTES: Final = 64 * 1024
# Dialling a target on the same machine takes microseconds; one that was stopped never answers.
_DIAL_S: Final = 5.0
_NEVER_S: Final = 3_600.0


@dataclass(slots=True)
class Conditions:
    """What happens to the bytes of one direction. Set the fields, then call ``LinkProxy.changed``."""

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    hold: bool = False
    swallow: bool = False
    corrupt: bool = False

    def heal(self) -> None:
        """As if nothing had been."""
        self.delay_s, self.bytes_per_s = 0.0, None
        self.hold = self.swallow = self.corrupt = False


class LinkProxy:
    """One listening port that leads to ``target`` (``host:port``). Everything here is called on its event loop."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target: Final = (host, int(port))
        self.forward: Final = Conditions()
        self.backward: Final = Conditions()
        self.refuse = False
        self.accepted = 0  # connections ever
        self.address = ""
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listen: str = "127.0.0.1:0") -> str:
        """Listen; the address. Raises OSError."""
        host, _, port = listen.rpartition(":")
        self._server = await asyncio.start_server(self._accept, host, int(port), limit=_PIECE_BYTES)
        bound = self._server.sockets[0].getsockname()
        self.address = f"{bound[0]}:{bound[1]}"
        return self.address

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.close_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_connections(self) -> int:
        """Connections that are up now."""
        return len(self._connections)

    def changed(self) -> None:
        """Let what waits see the new conditions."""
        for connection in self._connections:
            connection.wake()

    def heal(self) -> None:
        """Both directions as if nothing had been; connections that broke are not mended."""
        self.forward.heal()
        self.backward.heal()
        self.refuse = False
        self.changed()

    def close_all(self) -> None:
        """Close every connection in order (FIN both ways)."""
        for connection in tuple(self._connections):
            connection.close(reset=False)

    def reset_all(self) -> None:
        """Break every connection (RST both ways)."""
        for connection in tuple(self._connections):
            connection.close(reset=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            if self.refuse:
                _abort(writer)
                return
            try:
                async with asyncio.timeout(_DIAL_S):
                    far_reader, far_writer = await asyncio.open_connection(*self._target, limit=_PIECE_BYTES)
            except OSError:  # TimeoutError is one
                _abort(writer)
                return
            connection = _Connection(reader, writer, far_reader, far_writer, self.forward, self.backward)
            self._connections.add(connection)
            try:
                await connection.run()
            finally:
                self._connections.discard(connection)
        except asyncio.CancelledError:
            _abort(writer)  # the proxy stops; nobody waits for this task's end but ``stop``
        finally:
            self._tasks.discard(task)


class _Connection:
    def __init__(
        self,
        near_reader: asyncio.StreamReader,
        near_writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
        forward: Conditions,
        backward: Conditions,
    ) -> None:
        self._writers = (near_writer, far_writer)
        for writer in self._writers:
            _narrow(writer)
        self._pipes = (_Pipe(near_reader, far_writer, forward), _Pipe(far_reader, near_writer, backward))

    def wake(self) -> None:
        for pipe in self._pipes:
            pipe.wake()

    async def run(self) -> None:
        """Until both directions have ended or one has broken."""
        tasks = [asyncio.create_task(each) for pipe in self._pipes for each in (pipe.take(), pipe.give())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._writers:
                writer.transport.abort()

    def close(self, *, reset: bool) -> None:
        for writer in self._writers:
            if reset:
                _abort(writer)
            else:
                writer.close()
        for pipe in self._pipes:
            pipe.end()


class _Pipe:
    """One direction of one connection: ``take`` reads, ``give`` writes, between them what is under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, conditions: Conditions) -> None:
        self._reader = reader
        self._writer = writer
        self._conditions = conditions
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._ended = False
        self._news = asyncio.Event()
        self._now: Callable[[], float] = asyncio.get_running_loop().time

    def wake(self) -> None:
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def take(self) -> None:
        """Raises ConnectionError."""
        conditions = self._conditions
        while True:
            await self._while_held()
            piece = await self._reader.read(_PIECE_BYTES)
            await self._while_held()  # the read may have begun before
            if not piece:
                self.end()
                return
            if conditions.swallow:
                continue
            if conditions.corrupt:
                conditions.corrupt = False
                middle = len(piece) // 2
                piece = piece[:middle] + bytes([piece[middle] ^ 0x01]) + piece[middle + 1 :]
            self._under_way.append((self._now() + conditions.delay_s, piece))
            self._bytes += len(piece)
            self._news.set()

    async def give(self) -> None:
        """Raises ConnectionError."""
        conditions = self._conditions
        while True:
            while not self._under_way or conditions.hold:
                if self._ended and not self._under_way:
                    with contextlib.suppress(OSError):  # the other side is gone already
                        self._writer.write_eof()
                    return
                await self._wait(_NEVER_S)
            due, piece = self._under_way[0]
            early_s = due - self._now()
            if early_s > 0:
                await self._wait(early_s)
                continue
            rate = conditions.bytes_per_s
            # A tenth of a second at a time: a slow link trickles, it does not stutter.
            part = piece if rate is None else piece[: max(1, int(rate / 10))]
            if len(part) == len(piece):
                self._under_way.popleft()
            else:
                self._under_way[0] = (due, piece[len(part) :])
            self._bytes -= len(part)
            self._news.set()
            self._writer.write(part)
            await self._writer.drain()
            if rate is not None:
                await asyncio.sleep(len(part) / rate)

    async def _while_held(self) -> None:
        while self._conditions.hold or self._bytes > _UNDER_WAY_BYTES_MAX:
            await self._wait(_NEVER_S)

    async def _wait(self, seconds: float) -> None:
        """Until there is news, at most ``seconds``."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()


def _narrow(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writer.transport.set_write_buffer_limits(_SOCKET_BUFFER_BYTES)


def _abort(writer: asyncio.StreamWriter) -> None:
    """RST: the other end learns that the connection broke."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # closed already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
