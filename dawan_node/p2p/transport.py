"""One TLS connection to one peer: opening it, the handshake's frames, and the link that lives on it.

The asyncio shell around ``framing``, ``handshake`` and ``send_queue``.

TLS is 1.3 only, with certificates on both sides. OpenSSL checks that the peer's chain ends in *some* registered root
and that the peer holds the key; which organisation that makes it, and whether every rule of the network is kept, is
decided afterwards by ``crypto.certificates`` on the certificate itself. Host names are not checked: identity is key
and organisation root, an address is only a hint.

A ``Link`` runs three tasks: one reads and hands frames on in order, one writes what waits most urgently, one watches.
Everything that can go wrong with a peer ends them together, and ``run`` returns the reason.

Deadlines, each against a way of holding a connection for nothing (reliability.md rows C5, F2):

==================  =====  ==============================================================================
TLS and handshake    10 s  a stranger that connects and says nothing
a started frame      10 s  a length announced, then one byte a second
ping                  5 s  a peer that vanished without a word is gone after two unanswered ones
a blocked write      15 s  a peer that keeps talking but reads nothing
==================  =====  ==============================================================================
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dawan_node.crypto.certificates import CertifiedKey, fingerprint, load_into_context
from dawan_node.errors import ConfigError, InvalidInput, InvalidMessage, NetworkError
from dawan_node.p2p.framing import KIB, MIB, Frame, FrameDecoder, Topic, encode_frame
from dawan_node.p2p.gossip import TokenBucket
from dawan_node.p2p.handshake import (
    HandshakeRefused,
    Ping,
    Pong,
    Refusal,
    Refused,
    decode_control,
    refusal_payload,
)
from dawan_node.p2p.peers import PeerId, TrafficCounters
from dawan_node.p2p.send_queue import SendQueue

# One read takes what has arrived, up to this; larger reads only delay the other links on the same loop.
_READ_BYTES: Final = 256 * KIB
# Frames are joined into one write, one TLS record or a few, up to this. It is also what a vote may have to wait for,
# together with what the transport below holds back, so neither is large.
_COALESCE_BYTES: Final = 64 * KIB
_WRITE_BUFFER_BYTES: Final = 128 * KIB
# Nobody needs more before both have accepted: five small frames.
_HANDSHAKE_BYTES_MAX: Final = 64 * KIB
# A closing connection gets this long for its last words.
_CLOSE_S: Final = 1.0
# A timer this late means that the whole process was stopped or starved.
_STOOD_STILL_S: Final = 1.0
# What a peer may gossip on average and at once: several times the full load of all channels.
_GOSSIP_BYTES_PER_S: Final = 8 * MIB
_GOSSIP_BURST_BYTES: Final = 32 * MIB
# Pings come every few seconds; each costs an answer.
_CONTROL_PER_S: Final = 20
_CONTROL_BURST: Final = 40

# In TLS 1.3 a client has finished its part before the server has judged its certificate, and asyncio closes the
# connection without sending the alert that would say why.
_HUNG_UP: Final = (
    "the peer closed the connection during the handshake; if this goes on it does not accept this node's TLS "
    "certificate: check that the certificate is valid and that the peer's consortium.toml lists this organisation's CA "
    "certificate, and see the peer's log"
)


class Direction(StrEnum):
    """Who dialled."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Deadlines in seconds, explained at the top of this file."""

    handshake_s: float = 10.0
    frame_s: float = 10.0
    ping_s: float = 5.0
    pings_missed_max: int = 2
    write_s: float = 15.0


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """Both ends' TLS settings with this node's certificate, and that certificate's fingerprint."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    fingerprint: bytes


def tls_contexts(certified: CertifiedKey, roots: Mapping[str, Sequence[bytes]]) -> TlsContexts:
    """Contexts that speak only TLS 1.3 and demand a certificate under one of ``roots`` (organisation -> DER).

    Raises ConfigError when the certificate, its key or a root cannot be used.
    """
    authorities = b"".join(der for org in sorted(roots) for der in roots[org])
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=authorities)
            load_into_context(context, certified)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                "TLS cannot start",
                f"the node certificate, its key or a registered CA certificate is unusable ({error})",
                "Check the certificates with `dawan-node network verify`",
            ) from None
        contexts.append(context)
    server, client = contexts
    # A resumed session shows no certificate, and there would be nothing to bind the handshake to.
    server.num_tickets = 0
    return TlsContexts(server, client, fingerprint(certified.certificate))


class Stream:
    """A TLS connection before it is a link: whole frames in and out, no queues yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.decoder = FrameDecoder()
        self.frames: deque[Frame] = deque()
        writer.transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        # Both contexts allow nothing else; checked again because everything rests on it.
        certificate = connection.getpeercert(binary_form=True)
        if connection.version() != "TLSv1.3" or certificate is None:
            self.abort()
            raise NetworkError(f"a connection with {connection.version()} or without a certificate")
        self.certificate = certificate

    async def send_control(self, payload: bytes) -> None:
        """Send one CONTROL frame. Raises OSError."""
        self.writer.write(encode_frame(Topic.CONTROL, b"", payload))
        await self.writer.drain()

    async def read_control(self) -> bytes:
        """The next frame's payload; HandshakeRefused when it is not CONTROL, NetworkError when the peer hangs up."""
        while not self.frames:
            try:
                data = await self.reader.read(_HANDSHAKE_BYTES_MAX)
            except ConnectionResetError:
                data = b""
            if not data:
                raise NetworkError(_HUNG_UP)
            try:
                self.frames += self.decoder.feed(data)
            except InvalidMessage as error:
                raise HandshakeRefused(Refusal.MALFORMED, str(error)) from None
            if self.decoder.buffered > _HANDSHAKE_BYTES_MAX:
                raise HandshakeRefused(Refusal.MALFORMED, "a large frame before the handshake was over")
        frame = self.frames.popleft()
        if frame.topic is not Topic.CONTROL:
            raise HandshakeRefused(Refusal.MALFORMED, f"a {frame.topic.name} frame before the handshake was over")
        return frame.payload

    async def close(self, last_words: bytes | None = None) -> None:
        """Close politely, a moment long, then at once. ``last_words`` is a CONTROL payload. Never raises."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                if last_words is not None:
                    self.writer.write(encode_frame(Topic.CONTROL, b"", last_words))
                self.writer.close()
                await self.writer.wait_closed()
        except OSError:  # TimeoutError is one
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close without a word; does nothing when already closed."""
        self.writer.transport.abort()


async def open_stream(host: str, port: int, tls: TlsContexts, settings: LinkSettings) -> Stream:
    """Dial. Raises OSError (``ssl.SSLError`` included), NetworkError."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(
        lambda: protocol,
        host,
        port,
        ssl=tls.client,
        server_hostname="",
        ssl_handshake_timeout=settings.handshake_s,
        ssl_shutdown_timeout=_CLOSE_S,
    )
    return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def accept_stream(connection: socket.socket, tls: TlsContexts, settings: LinkSettings) -> Stream:
    """Take an accepted socket through TLS. Raises OSError (``ssl.SSLError`` included), NetworkError."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        connection,
        ssl=tls.server,
        ssl_handshake_timeout=settings.handshake_s,
        ssl_shutdown_timeout=_CLOSE_S,
    )
    return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


def explain_failure(error: OSError) -> str:
    """What an operator should read about a connection that could not be opened, with the remedy where one is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the peer's TLS certificate is refused: {error.verify_message}; it must be valid now and issued under a "
            "CA certificate that consortium.toml lists for its organisation ([[org]] ca)"
        )
    reason = getattr(error, "reason", None) or ""
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return (
            f"the peer refused this node's TLS certificate ({reason}); check that it has not expired and that the "
            "peer's consortium.toml lists this organisation's CA certificate"
        )
    if "PROTOCOL" in reason or "VERSION" in reason or "WRONG" in reason or "HTTP" in reason:
        return f"the other end does not speak TLS 1.3 ({reason}); is the port the peer-to-peer one?"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there, or not yet"
    return reason or error.strerror or str(error) or type(error).__name__


class Link:
    """An authenticated connection that both nodes accepted.

    ``receive`` is called on the event loop for every frame but CONTROL, in the order sent; an ``InvalidInput`` it
    raises closes the link as a violation, and any other exception ends ``run`` with it.
    """

    def __init__(
        self,
        stream: Stream,
        peer: PeerId,
        chain_ids: frozenset[bytes],
        direction: Direction,
        software: str,
        counters: TrafficCounters,
        settings: LinkSettings,
        receive: Callable[[Link, Frame], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.peer = peer
        self.chain_ids = chain_ids
        self.direction = direction
        self.software = software
        self.counters = counters
        self.rtt_ms: int | None = None
        host, port = (stream.writer.get_extra_info("peername") or ("?", 0))[:2]
        self.remote = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._stream = stream
        self._settings = settings
        self._receive = receive
        self._now = loop.time
        self._queue = SendQueue(counters)
        self._queue_filled = asyncio.Event()
        self._closing = asyncio.Event()
        self._close_reason = ""
        self._gossip_allowance = TokenBucket(_GOSSIP_BYTES_PER_S, _GOSSIP_BURST_BYTES, int(self._now() * 1_000))
        self._control_allowance = TokenBucket(_CONTROL_PER_S, _CONTROL_BURST, int(self._now() * 1_000))
        # The watch compares these with the clock.
        self._heard = True
        self._ping_number = 0
        self._ping_sent_at: float | None = None
        self._frame_begun_at: float | None = None
        self._write_begun_at: float | None = None

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return self._queue.bytes

    def send(self, topic: Topic, chain_id: bytes, frame: bytes) -> bool:
        """Queue an encoded frame; never waits. False when it found no room (counted)."""
        if not self._queue.push(topic, chain_id, frame):
            return False
        self._queue_filled.set()
        return True

    def close(self, reason: str) -> None:
        """End the link soon; ``run`` returns ``reason``."""
        if not self._closing.is_set():
            self._close_reason = reason
            self._closing.set()

    async def run(self) -> InvalidInput | NetworkError | OSError:
        """Serve the link until it ends; returns why: InvalidInput is the peer's fault, the others nobody's."""
        tasks = [asyncio.create_task(each) for each in (self._read(), self._write(), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = await _end(tasks)
            if isinstance(ended, InvalidInput):
                await self._stream.close(refusal_payload(HandshakeRefused(Refusal.MALFORMED, str(ended))))
            return ended
        finally:
            # Cancelled from outside, the tasks still run. (A TaskGroup would do all this, but that of Python 3.11 loses
            # a cancellation that comes together with a failure.)
            await _end(tasks)
            self._stream.abort()

    async def _read(self) -> None:
        decoder, reader = self._stream.decoder, self._stream.reader
        for frame in self._stream.frames:  # came in one read with the end of the handshake
            self._take(frame)
        self._stream.frames.clear()
        self._note_partial_frame(begun_now=True)
        while True:
            data = await reader.read(_READ_BYTES)
            if not data:
                raise NetworkError("the peer closed the connection")
            self._heard = True
            self.counters.bytes_in += len(data)
            frames = decoder.feed(data)
            for frame in frames:
                self._take(frame)
            if decoder.violation is not None:
                raise decoder.violation
            self._note_partial_frame(begun_now=bool(frames))

    def _note_partial_frame(self, *, begun_now: bool) -> None:
        if self._stream.decoder.buffered == 0:
            self._frame_begun_at = None
        elif begun_now or self._frame_begun_at is None:
            self._frame_begun_at = self._now()

    def _take(self, frame: Frame) -> None:
        self.counters.frames_in += 1
        if frame.topic is Topic.CONTROL:
            self._take_control(frame.payload)
        elif frame.chain_id not in self.chain_ids:
            # Both sides computed the same shared set; a member that tries others is looking for channels.
            raise InvalidMessage("a frame for a channel that the two nodes do not share")
        elif frame.topic is Topic.GOSSIP and not self._gossip_allowance.take(
            len(frame.payload), int(self._now() * 1_000)
        ):
            self.counters.limited += 1
        else:
            self._receive(self, frame)

    def _take_control(self, payload: bytes) -> None:
        if not self._control_allowance.take(1, int(self._now() * 1_000)):
            raise InvalidMessage(f"more than {_CONTROL_PER_S} control frames a second")
        message = decode_control(payload)
        if isinstance(message, Ping):
            self.send(Topic.CONTROL, b"", encode_frame(Topic.CONTROL, b"", Pong(message.number).encode()))
        elif isinstance(message, Pong):
            if message.number == self._ping_number and self._ping_sent_at is not None:
                self.rtt_ms = max(1, round((self._now() - self._ping_sent_at) * 1_000))
                self._ping_sent_at = None
        elif isinstance(message, Refused):
            raise NetworkError(f"the peer closed the link: {message.refusal}: {message.text}")
        else:
            raise InvalidMessage(f"a {type(message).__name__} after the handshake")

    async def _write(self) -> None:
        writer, queue, counters = self._stream.writer, self._queue, self.counters
        while True:
            await self._queue_filled.wait()
            self._queue_filled.clear()
            while queue:
                frames = queue.take(_COALESCE_BYTES)
                data = frames[0] if len(frames) == 1 else b"".join(frames)
                counters.frames_out += len(frames)
                counters.bytes_out += len(data)
                self._write_begun_at = self._now()
                writer.write(data)
                await writer.drain()
                self._write_begun_at = None

    async def _watch(self) -> None:
        """Ping, and end the link when a deadline has passed. Raises NetworkError, InvalidMessage."""
        settings = self._settings
        missed = 0
        next_ping_at = self._now()
        while True:
            now = self._now()
            if now >= next_ping_at:
                missed = 0 if self._heard else missed + 1
                if missed >= settings.pings_missed_max:
                    raise NetworkError(f"nothing heard for {missed} pings of {settings.ping_s:g} s")
                self._heard = False
                self._ping_number += 1
                self._ping_sent_at = now
                next_ping_at = now + settings.ping_s
                self.send(Topic.CONTROL, b"", encode_frame(Topic.CONTROL, b"", Ping(self._ping_number).encode()))
            wake_at = next_ping_at
            for begun_at, allowed_s in (
                (self._frame_begun_at, settings.frame_s),
                (self._write_begun_at, settings.write_s),
            ):
                # A frame that begins while this sleeps is seen at the next wake: at most one ping later.
                wake_at = min(wake_at, (now if begun_at is None else begun_at) + allowed_s)
            try:
                async with asyncio.timeout_at(wake_at):
                    await self._closing.wait()
                raise NetworkError(self._close_reason)
            except TimeoutError:
                pass
            self._check_deadlines(late_s=self._now() - max(now, wake_at))

    def _check_deadlines(self, late_s: float) -> None:
        now = self._now()
        if late_s > _STOOD_STILL_S:
            # This process stood still while the peer's bytes waited: nobody is judged by that, the clocks start anew.
            self._frame_begun_at = None if self._frame_begun_at is None else now
            self._write_begun_at = None if self._write_begun_at is None else now
        if self._frame_begun_at is not None and now >= self._frame_begun_at + self._settings.frame_s:
            raise InvalidMessage(f"a frame took longer than {self._settings.frame_s:g} s")
        if self._write_begun_at is not None and now >= self._write_begun_at + self._settings.write_s:
            raise NetworkError(f"the peer has read nothing for {self._settings.write_s:g} s")


async def _end(tasks: list[asyncio.Task[None]]) -> InvalidInput | NetworkError | OSError:
    """Cancel what still runs, wait for all; the reason they ended for, the peer's fault before any other.

    Raises an exception that is neither: a failure of our own.
    """
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    reason: InvalidInput | NetworkError | OSError = NetworkError("stopped")
    for result in results:
        if isinstance(result, InvalidInput):
            reason = result
        elif isinstance(result, NetworkError | OSError):
            reason = reason if isinstance(reason, InvalidInput) else result
        elif isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    return reason
