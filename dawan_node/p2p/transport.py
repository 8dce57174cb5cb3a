"""One TLS connection to one peer: opening it, the handshake's frames, and the link that lives on it.

The asyncio shell around ``framing``, ``handshake`` and ``send_queue``, on top of ``tls``.

A ``Link`` runs three tasks: one reads and hands frames on in order, one goes on writing when the peer takes more again,
one watches. Everything that can go wrong with a peer ends them together, and ``run`` returns the reason. As long as
the peer takes everything, what waits is written by a callback, most urgent first: a vote leaves with whatever else was
said in the same turn of the loop, and no task is woken for it.

Deadlines, each against a way of holding a connection for nothing (reliability.md rows C5, F2):

==================  =====  ==============================================================================
TLS and handshake    10 s  a stranger that connects and says nothing
a started frame      10 s  a length announced, then one byte a second
ping                  5 s  a peer that vanished without a word is gone after two unanswered ones
a blocked write      15 s  a peer that keeps talking but reads nothing
==================  =====  ==============================================================================

The deadlines of frames and writes move on with the bytes that do arrive or leave, ``BYTES_PER_S_MIN`` for each second.
So a line of 100 kbit/s carries the largest frame, and a slower one the small ones; what is too slow for what it has to
carry is given up, and the peer catches up on a fresh link. That is nobody's fault and no violation: an honest peer
behind a bad line looks the same as one that dawdles.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dawan_node.crypto.certificates import NodeCertificate
from dawan_node.errors import InvalidInput, InvalidMessage, NetworkError
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
from dawan_node.p2p.tls import CLOSE_S, PatientReader, TlsContexts, connect, secure

# One read takes what has arrived, up to this; larger reads only delay the other links on the same loop.
_READ_BYTES: Final = 256 * KIB
#: Frames taken before everybody else on the loop has a turn: a few milliseconds. One read may hold thousands of small
#: ones, and an answer of the RPC server takes some ten turns of the loop.
_FRAMES_PER_TURN: Final = 64
# Frames are joined into one write, one TLS record or a few, up to this. It is also what a vote may have to wait for,
# together with what the transport below holds back, so neither is large.
_COALESCE_BYTES: Final = 64 * KIB
_WRITE_BUFFER_BYTES: Final = 128 * KIB
#: What a link must carry while it is used to the full: 100 kbit/s. One that cannot only ever delivers old news.
BYTES_PER_S_MIN: Final = 12 * KIB
# Nobody needs more before both have accepted: five small frames.
_HANDSHAKE_BYTES_MAX: Final = 64 * KIB
# A timer this late means that the whole process was stopped or starved.
_STOOD_STILL_S: Final = 1.0
# What a peer may gossip on average and at once: several times the full load of all channels.
_GOSSIP_BYTES_PER_S: Final = 8 * MIB
_GOSSIP_BURST_BYTES: Final = 32 * MIB
# Pings come every few seconds; each costs an answer.
_CONTROL_PER_S: Final = 20
_CONTROL_BURST: Final = 40

_HUNG_UP: Final = (
    "the peer closed the connection during the handshake without a word: it was stopped, or has no room for more "
    "connections; if this goes on see the peer's log"
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


class Stream:
    """A TLS connection before it is a link: whole frames in and out, no queues yet.

    ``own_certificate``: DER of what this node showed on it, which a renewal does not change afterwards.
    """

    def __init__(self, reader: PatientReader, writer: asyncio.StreamWriter, own_certificate: bytes) -> None:
        self.own_certificate = own_certificate
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
        """Send one CONTROL frame. One that no longer gets through is no error: the next read tells why."""
        self.writer.write(encode_frame(Topic.CONTROL, b"", payload))
        with contextlib.suppress(ConnectionError):  # a peer that refused and hung up has said why: still to be read
            await self.writer.drain()

    async def read_control(self) -> bytes:
        """The next frame's payload.

        Raises HandshakeRefused when it is not CONTROL, NetworkError when the peer hangs up, OSError (``ssl.SSLError``
        included) when the connection breaks: with a TLS alert if that is how the peer refused.
        """
        while not self.frames:
            data = await self.reader.read(_HANDSHAKE_BYTES_MAX)
            if not data:
                failure = self.reader.failure
                if failure is None or isinstance(failure, ConnectionError):
                    raise NetworkError(_HUNG_UP)
                raise failure
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
            async with asyncio.timeout(CLOSE_S):
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
    connection = await connect(host, port)
    reader, writer = await secure(connection, tls.client, settings.handshake_s, server_side=False)
    return Stream(reader, writer, tls.certificate)


async def accept_stream(connection: socket.socket, tls: TlsContexts, settings: LinkSettings) -> Stream:
    """Take an accepted socket through TLS. Raises OSError (``ssl.SSLError`` included), NetworkError."""
    reader, writer = await secure(connection, tls.server, settings.handshake_s, server_side=True)
    return Stream(reader, writer, tls.certificate)


@dataclass(frozen=True, slots=True)
class Met:
    """A connection that both nodes keep, and what their handshake has found out."""

    stream: Stream
    peer: PeerId
    certificate: NodeCertificate  # the peer's, as it was judged
    listed_chain_ids: frozenset[bytes]  # the channels this node listed for the peer's organisation
    chain_ids: frozenset[bytes]  # those that the peer listed too
    software: str
    clock_skew_ms: int  # the peer's wall clock minus this node's
    round_trip_ms: int  # of the exchange that was measured by; the skew may be wrong by half of it


class Link:
    """An authenticated connection that both nodes accepted.

    ``receive`` is called on the event loop for every frame but CONTROL, in the order sent; an ``InvalidInput`` it
    raises closes the link as a violation, and any other exception ends ``run`` with it.
    """

    def __init__(
        self,
        met: Met,
        direction: Direction,
        counters: TrafficCounters,
        settings: LinkSettings,
        receive: Callable[[Link, Frame], None],
        passed_ms: int,
    ) -> None:
        """``passed_ms``: wall clock at which the peer's certificate last passed every rule; now."""
        loop = asyncio.get_running_loop()
        self.met = met
        self.peer = met.peer
        self.chain_ids = met.chain_ids
        self.direction = direction
        self.counters = counters
        self.passed_ms = passed_ms
        self.rtt_ms: int | None = None
        host, port = (met.stream.writer.get_extra_info("peername") or ("?", 0))[:2]
        self.remote = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._stream = met.stream
        self._settings = settings
        self._receive = receive
        self._loop = loop
        self._now = loop.time
        self._queue = SendQueue(counters)
        self._is_running = False
        self._is_flush_due = False
        self._transport_filled = asyncio.Event()
        self._closing = asyncio.Event()
        self._close_reason = ""
        self._last_words: bytes | None = None
        self._gossip_allowance = TokenBucket(_GOSSIP_BYTES_PER_S, _GOSSIP_BURST_BYTES, int(self._now() * 1_000))
        self._control_allowance = TokenBucket(_CONTROL_PER_S, _CONTROL_BURST, int(self._now() * 1_000))
        # The watch compares these with the clock.
        self._heard = True
        self._ping_number = 0
        self._ping_sent_at: float | None = None
        self._frame_begun_at: float | None = None
        self._write_begun_at: float | None = None
        self._writing_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return self._queue.bytes

    def send(self, topic: Topic, chain_id: bytes, frame: bytes) -> bool:
        """Queue an encoded frame; never waits. False when it found no room (counted)."""
        if not self._queue.push(topic, chain_id, frame):
            return False
        self._flush_soon()
        return True

    def close(self, reason: str) -> None:
        """End the link soon; ``run`` returns ``reason``."""
        if not self._closing.is_set():
            self._close_reason = reason
            self._closing.set()

    def refuse(self, refusal: HandshakeRefused) -> None:
        """End the link soon and tell the peer why; what waits to be sent is not sent any more."""
        self._last_words = refusal_payload(refusal)
        self.close(str(refusal))

    async def run(self) -> InvalidInput | NetworkError | OSError:
        """Serve the link until it ends; returns why: InvalidInput is the peer's fault, the others nobody's."""
        tasks = [asyncio.create_task(each) for each in (self._read(), self._write(), self._watch())]
        self._is_running = True
        self._flush_soon()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._is_running = False
            ended = await _end(tasks)
            if isinstance(ended, InvalidInput):
                self._last_words = refusal_payload(HandshakeRefused(Refusal.MALFORMED, str(ended)))
            if self._last_words is not None:
                await self._stream.close(self._last_words)
            return ended
        finally:
            # Cancelled from outside, the tasks still run. (A TaskGroup would do all this, but that of Python 3.11 loses
            # a cancellation that comes together with a failure.)
            self._is_running = False
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
                raise reader.failure or NetworkError("the peer closed the connection")
            self._heard = True
            self.counters.bytes_in += len(data)
            frames = decoder.feed(data)
            for number, frame in enumerate(frames, 1):
                self._take(frame)
                if number % _FRAMES_PER_TURN == 0:
                    await asyncio.sleep(0)
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

    def _flush_soon(self) -> None:
        if self._is_running and not self._is_flush_due and self._write_begun_at is None:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what waits until the transport is full; ``_write`` goes on when it no longer is."""
        self._is_flush_due = False
        writer, queue, counters = self._stream.writer, self._queue, self.counters
        while queue and self._is_running:
            frames = queue.take(_COALESCE_BYTES)
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            counters.frames_out += len(frames)
            counters.bytes_out += len(data)
            writer.write(data)
            if writer.transport.get_write_buffer_size() >= _WRITE_BUFFER_BYTES:
                self._write_begun_at, self._writing_bytes = self._now(), len(data)
                self._transport_filled.set()
                return

    async def _write(self) -> None:
        while True:
            await self._transport_filled.wait()
            self._transport_filled.clear()
            await self._stream.writer.drain()
            self._write_begun_at = None
            self._flush()

    async def _watch(self) -> None:
        """Ping, and end the link when a deadline has passed. Raises NetworkError."""
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
                (self._frame_begun_at, self._frame_allowed_s()),
                (self._write_begun_at, self._write_allowed_s()),
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
        frame_s, write_s = self._frame_allowed_s(), self._write_allowed_s()
        if self._frame_begun_at is not None and now >= self._frame_begun_at + frame_s:
            raise NetworkError(f"a frame took longer than {frame_s:.3g} s: {self._stream.decoder.buffered} bytes came")
        if self._write_begun_at is not None and now >= self._write_begun_at + write_s:
            raise NetworkError(f"the peer has read next to nothing for {write_s:.3g} s")

    def _frame_allowed_s(self) -> float:
        """How long the frame that is arriving may take, for as much of it as has arrived."""
        return self._settings.frame_s + self._stream.decoder.buffered / BYTES_PER_S_MIN

    def _write_allowed_s(self) -> float:
        """How long the bytes that are being written may take to leave, for as many as have left."""
        waiting = self._stream.writer.transport.get_write_buffer_size()
        return self._settings.write_s + max(0, self._writing_bytes - waiting) / BYTES_PER_S_MIN


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
