"""All of a node's links: listening, dialling, accepting, sending, and the picture an operator sees.

One supervising task owns everything that runs here. It accepts connections, keeps one dialling task per peer that has
an address, and runs every link as a child task. Trouble with a peer ends that peer's link; trouble that is our own
(an exception nobody expected, a storage error raised by a handler) ends the supervisor, and ``wait`` raises it: the
node is told, nothing dies in silence.

Strangers cost little. Before the handshake is over a connection has a deadline and counts against a limit per IP
address and in total; afterwards there is at most one link per node of the consortium file (``meeting`` says which).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from dawan_node.crypto.certificates import NodeCertificate, validate_node_certificate
from dawan_node.errors import ConfigError, InvalidInput, InvalidMessage, NetworkError
from dawan_node.p2p.framing import Frame, Topic, encode_frame
from dawan_node.p2p.gossip import TokenBucket
from dawan_node.p2p.handshake import HandshakeRefused, Refusal
from dawan_node.p2p.meeting import LocalIdentity, Meetings, Met
from dawan_node.p2p.peers import (
    SECOND_DIALLER_WAITS_MS,
    PeerAddress,
    PeerBook,
    PeerId,
    PeerState,
    Role,
    TrafficCounters,
    parse_address,
)
from dawan_node.p2p.transport import (
    Direction,
    Link,
    LinkSettings,
    accept_stream,
    explain_failure,
    open_stream,
    tls_contexts,
)

logger = logging.getLogger(__name__)

# Connections the kernel may hold before this node looks at them.
_BACKLOG: Final = 64
# The accept loop rests this long when the machine has no file descriptors left.
_ACCEPT_REST_S: Final = 0.5
# Log lines about strangers: they decide how many there would be.
_STRANGER_LINES_PER_S: Final = 5
_STRANGER_LINES_BURST: Final = 20


class Clock(Protocol):
    """The two clocks this part reads, in milliseconds."""

    def wall_ms(self) -> int:
        """UTC since 1970, for the validity of certificates."""

    def monotonic_ms(self) -> int:
        """Never goes back, for back-off and rates."""


class NetworkHandler(Protocol):
    """Who is told what happens. Called on the event loop; must not block.

    ``on_message`` may raise InvalidInput for bytes that no honest peer sends: the peer is closed and left alone for a
    while. Any other exception from a handler stops the network, see ``Network.wait``.
    """

    def on_message(self, peer: PeerId, chain_id: bytes, topic: Topic, payload: bytes) -> None:
        """One payload, in the order ``peer`` sent them."""

    def on_peer_up(self, peer: PeerId, chain_ids: frozenset[bytes]) -> None:
        """A link is up; ``chain_ids`` are the channels both sides may speak of."""

    def on_peer_down(self, peer: PeerId) -> None:
        """The link is gone; what was queued is lost."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Limits and deadlines. ``faults`` permits ``cut``: development networks only."""

    links: LinkSettings = field(default_factory=LinkSettings)
    # Connections that are not authenticated yet. One address may be a company's gateway with several nodes behind it.
    strangers_per_ip_max: int = 16
    strangers_max: int = 64
    second_dialler_waits_ms: int = SECOND_DIALLER_WAITS_MS
    faults: bool = False


@dataclass(frozen=True, slots=True)
class PeerView:
    """What is known of one configured peer, connected or not."""

    name: str
    org: str
    role: Role
    state: PeerState
    address: str  # where it is connected from or to; else where it says it listens
    direction: Direction | None
    channels: tuple[bytes, ...]  # chain ids both sides share
    rtt_ms: int | None
    queued_bytes: int
    software: str
    last_failure: str
    counters: TrafficCounters


class Network:
    """The peer-to-peer side of a node. Use ``start``, ``send``, ``broadcast``, ``stop``."""

    def __init__(
        self,
        identity: LocalIdentity,
        peers: Sequence[PeerAddress],
        channels_for_org: Callable[[str], Collection[bytes]],
        listen: str | None,
        handler: NetworkHandler,
        clock: Clock,
        settings: NetworkSettings | None = None,
        certificate_validator: Callable[[bytes], NodeCertificate] | None = None,
    ) -> None:
        """``peers``: every other node of the consortium file (this node's own entry is ignored).

        ``channels_for_org``: the chain ids this node serves that an organisation belongs to. ``listen``: ``host:port``,
        port 0 for a free one, None to dial only. ``certificate_validator`` judges a peer's certificate (DER) and raises
        UntrustedCertificate; by default it goes by ``identity.roots``. Raises ConfigError.
        """
        self._identity = identity
        self._listen = listen
        self._handler = handler
        self._clock = clock
        self._settings = settings or NetworkSettings()
        self._tls = tls_contexts(identity.tls, identity.roots)
        now_ms = clock.monotonic_ms()
        self._book = PeerBook(identity.name, peers, now_ms, self._settings.second_dialler_waits_ms)
        self._meetings = Meetings(
            identity,
            self._tls.fingerprint,
            self._book,
            channels_for_org,
            certificate_validator or self._validate_against_roots,
            clock.monotonic_ms,
        )
        self._counters = {name: TrafficCounters() for name in self._book.names}
        self._links: dict[str, Link] = {}
        self._redial = {name: asyncio.Event() for name in self._book.names}
        self._strangers: dict[str, int] = {}
        self._stranger_lines = TokenBucket(_STRANGER_LINES_PER_S, _STRANGER_LINES_BURST, now_ms)
        self._lines_suppressed = 0
        self._listener: socket.socket | None = None
        self._listen_address: str | None = None
        self._supervisor: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Listen and begin to dial. Raises ConfigError when the address cannot be listened on."""
        if self._listen is not None:
            self._listener = _listening_socket(self._listen)
            host, port = self._listener.getsockname()[:2]
            self._listen_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._supervisor = asyncio.create_task(self._supervise(), name="p2p")
        _log(logging.INFO, "p2p_listening", address=self.listen_address or "none", peers=len(self._book.names))

    async def stop(self) -> None:
        """Close every link and the listener; returns when all tasks have ended."""
        if self._supervisor is None:
            return
        self._supervisor.cancel()
        await asyncio.wait([self._supervisor])
        if self._listener is not None:
            self._listener.close()  # for a supervisor that was cancelled before its first step

    async def wait(self) -> None:
        """Wait until the network has ended. Raises what ended it, unless that was ``stop``."""
        if self._supervisor is not None:
            await asyncio.wait([self._supervisor])
            if not self._supervisor.cancelled():
                self._supervisor.result()

    @property
    def listen_address(self) -> str | None:
        """Where this node listens, with the port the system chose; None when it does not."""
        return self._listen_address

    # Messages

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        """Queue one message; never waits. False when there is no link, no shared channel, or no room (counted)."""
        link = self._links.get(peer_name)
        if link is None or chain_id not in link.chain_ids:
            return False
        frame = _encode(topic, chain_id, payload)
        return frame is not None and link.send(topic, chain_id, frame)

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """Queue one message for every connected peer of the channel, or those of ``names``; returns whom it goes to.

        The frame is encoded once and shared by all queues.
        """
        links = [
            link
            for name, link in sorted(self._links.items())
            if chain_id in link.chain_ids and (names is None or name in names)
        ]
        frame = _encode(topic, chain_id, payload) if links else None
        if frame is None:
            return ()
        return tuple(link.peer.name for link in links if link.send(topic, chain_id, frame))

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        """The peers with a link that share the channel, in order of name."""
        return tuple(link.peer for _, link in sorted(self._links.items()) if chain_id in link.chain_ids)

    def report_violation(self, peer_name: str, why: str) -> None:
        """``peer_name`` sent what no honest peer sends, as was found out later: close it, leave it alone a while."""
        if self._book.find(peer_name) is not None:
            self._strike(peer_name, why)
            if link := self._links.get(peer_name):
                link.close(f"violation: {why}")

    # Picture

    def peers(self) -> tuple[PeerView, ...]:
        """Every configured peer, in order of name."""
        now_ms = self._clock.monotonic_ms()
        return tuple(self._view(name, now_ms) for name in self._book.names)

    # Faults of development networks

    def cut(self, names: Collection[str]) -> None:
        """Drop the links to ``names`` and let none come up until ``heal``. Raises ConfigError outside a devnet."""
        if not self._settings.faults:
            raise ConfigError(
                "links cannot be cut", "fault injection is off", "Set `faults = true` under [devnet] on a test network"
            )
        self._book.cut(names)
        for name in names:
            if link := self._links.get(name):
                link.close("cut")
        _log(logging.WARNING, "links_cut", peers=",".join(sorted(names)))

    def heal(self, names: Collection[str] | None = None) -> None:
        """Allow links to ``names`` (all when None) again and dial them."""
        self._book.heal(names, self._clock.monotonic_ms())
        for name in self._book.names if names is None else names:
            if name in self._redial:
                self._redial[name].set()
        _log(logging.WARNING, "links_healed", peers="all" if names is None else ",".join(sorted(names)))

    # Supervision

    async def _supervise(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                if self._listener is not None:
                    group.create_task(self._accept(self._listener, group))
                for name in self._book.names:
                    group.create_task(self._keep_dialling(name))
        except BaseExceptionGroup as failures:
            _log(logging.ERROR, "p2p_failed", error=repr(failures.exceptions[0]))
            raise
        finally:
            if self._listener is not None:
                self._listener.close()

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                self._log_stranger("accept_failed", "", error.strerror or str(error))
                await asyncio.sleep(_ACCEPT_REST_S)
                continue
            ip = str(address[0])
            settings = self._settings
            if (
                self._strangers.get(ip, 0) >= settings.strangers_per_ip_max
                or sum(self._strangers.values()) >= settings.strangers_max
            ):
                connection.close()
                self._log_stranger("connection_refused", ip, "too many connections before a handshake")
                continue
            self._strangers[ip] = self._strangers.get(ip, 0) + 1
            task = group.create_task(self._serve_inbound(connection, ip))
            # The transport closes the socket; this is for a task that is cancelled before its first step.
            task.add_done_callback(partial(_close, connection))

    async def _serve_inbound(self, connection: socket.socket, ip: str) -> None:
        met: Met | None = None
        try:
            async with asyncio.timeout(self._settings.links.handshake_s):
                stream = await accept_stream(connection, self._tls, self._settings.links)
                met = await self._meetings.meet(stream, None)
        except TimeoutError:
            self._log_stranger("handshake_timeout", ip, f"no handshake in {self._settings.links.handshake_s:g} s")
        except HandshakeRefused as error:
            if error.refusal is not Refusal.DUPLICATE:  # that is how two dials of one pair end, nothing to report
                self._log_stranger("handshake_refused", ip, str(error), refusal=error.refusal, by_peer=error.by_peer)
        except OSError as error:
            self._log_stranger("handshake_failed", ip, explain_failure(error))
        except NetworkError as error:
            self._log_stranger("handshake_failed", ip, str(error))
        finally:
            self._strangers[ip] -= 1
            if not self._strangers[ip]:
                del self._strangers[ip]
        if met is not None:
            await self._serve(met, Direction.IN)

    async def _keep_dialling(self, name: str) -> None:
        """Dial ``name`` whenever the book says so, for as long as the network runs."""
        wake = self._redial[name]
        while True:
            wake.clear()
            wait_ms = self._book.dial_wait_ms(name, self._clock.monotonic_ms())
            if wait_ms == 0:
                await self._dial(name)
                continue
            try:
                async with asyncio.timeout(None if wait_ms is None else wait_ms / 1_000):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _dial(self, name: str) -> None:
        address = self._book.begin_dial(name)
        failure, refusal = "", None
        met: Met | None = None
        try:
            host, port = parse_address(address)
            async with asyncio.timeout(self._settings.links.handshake_s):
                stream = await open_stream(host, port, self._tls, self._settings.links)
                met = await self._meetings.meet(stream, name)
        except TimeoutError:
            failure = f"no answer in {self._settings.links.handshake_s:g} s"
        except HandshakeRefused as error:
            failure, refusal = str(error), error.refusal
        except OSError as error:
            failure = explain_failure(error)
        except NetworkError as error:
            failure = str(error)
        if met is not None:
            await self._serve(met, Direction.OUT)
            return
        self._book.dial_failed(name, self._clock.monotonic_ms(), failure)
        level = logging.DEBUG if refusal is Refusal.DUPLICATE else logging.WARNING
        _log(level, "dial_failed", peer=name, address=address, reason=failure, refusal=refusal or "none")

    # Links

    async def _serve(self, met: Met, direction: Direction) -> None:
        """Run a link to its end."""
        name = met.peer.name
        link = Link(
            met.stream,
            met.peer,
            met.chain_ids,
            direction,
            met.software,
            self._counters[name],
            self._settings.links,
            self._receive,
        )
        if (replaced := self._links.get(name)) is not None:
            self._went_down(replaced, "replaced by a new connection")
            replaced.close("replaced by a new connection")
        self._links[name] = link
        self._book.connected(name, self._clock.monotonic_ms())
        _log(
            logging.INFO,
            "peer_up",
            peer=name,
            org=link.peer.org,
            address=link.remote,
            direction=link.direction,
            channels=len(link.chain_ids),
            software=link.software,
        )
        reason = "stopped"
        try:
            self._handler.on_peer_up(link.peer, link.chain_ids)
            ended = await link.run()
            reason = explain_failure(ended) if isinstance(ended, OSError) else str(ended)
            if isinstance(ended, InvalidInput):
                self._strike(name, reason)
        finally:
            met.stream.abort()
            self._meetings.release(met.stream)
            if self._links.get(name) is link:
                self._went_down(link, reason)

    def _went_down(self, link: Link, reason: str) -> None:
        name = link.peer.name
        del self._links[name]
        self._book.disconnected(name, self._clock.monotonic_ms(), reason)
        self._redial[name].set()
        _log(logging.INFO, "peer_down", peer=name, reason=reason)
        self._handler.on_peer_down(link.peer)

    def _receive(self, link: Link, frame: Frame) -> None:
        if self._links.get(link.peer.name) is link:
            self._handler.on_message(link.peer, frame.chain_id, frame.topic, frame.payload)

    def _strike(self, name: str, why: str) -> None:
        shunned_ms = self._book.strike(name, self._clock.monotonic_ms(), why)
        _log(logging.WARNING, "peer_violation", peer=name, reason=why, shunned_ms=shunned_ms)

    def _validate_against_roots(self, certificate: bytes) -> NodeCertificate:
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1_000, UTC)
        return validate_node_certificate(certificate, self._identity.roots, now)

    def _view(self, name: str, now_ms: int) -> PeerView:
        peer = self._book.find(name)
        assert peer is not None
        link = self._links.get(name)
        return PeerView(
            name=name,
            org=peer.org,
            role=peer.role,
            state=self._book.state(name, now_ms),
            address=link.remote if link else ",".join(self._book.addresses(name)),
            direction=link.direction if link else None,
            channels=tuple(sorted(link.chain_ids)) if link else (),
            rtt_ms=link.rtt_ms if link else None,
            queued_bytes=link.queued_bytes if link else 0,
            software=link.software if link else "",
            last_failure=self._book.last_failure(name),
            counters=msgspec.structs.replace(self._counters[name]),
        )

    def _log_stranger(self, event: str, ip: str, reason: str, **more: Any) -> None:
        """Like ``_log``, at a rate strangers cannot raise; what was left out is counted in the next line."""
        if not self._stranger_lines.take(1, self._clock.monotonic_ms()):
            self._lines_suppressed += 1
            return
        _log(logging.WARNING, event, ip=ip, reason=reason, suppressed=self._lines_suppressed, **more)
        self._lines_suppressed = 0


def _close(connection: socket.socket, _: asyncio.Task[None]) -> None:
    connection.close()


def _listening_socket(listen: str) -> socket.socket:
    """A non-blocking listening socket. Raises ConfigError."""
    host, port = parse_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen for peers on {listen}",
            os.strerror(error.errno) if error.errno else str(error),
            "Stop the program that holds the port, or choose another under [p2p] listen in node.toml",
        ) from None
    listener.setblocking(False)
    return listener


def _encode(topic: Topic, chain_id: bytes, payload: bytes) -> bytes | None:
    """The frame, or None (logged) for a payload that no peer would accept: a limit its maker should have kept."""
    try:
        return encode_frame(topic, chain_id, payload)
    except InvalidMessage as error:
        _log(logging.ERROR, "message_not_sent", topic=topic.name, bytes=len(payload), reason=str(error))
        return None


def _log(level: int, event: str, **fields: Any) -> None:
    logger.log(level, event, extra={"fields": fields})
