"""All of a node's links: listening, dialling, accepting, sending, and the picture an operator sees.

One supervising task owns everything that runs here. It lets the ``door`` accept connections, keeps one dialling task
per peer that has an address, and runs every link as a child task. Trouble with a peer ends that peer's link; trouble
that is our own (an exception nobody expected, a storage error raised by a handler) ends the supervisor, and ``wait``
raises it: the node is told, nothing dies in silence. There is at most one link per node (``meeting`` says which).

Everything it goes by may change while it runs: the list of nodes, the authorities and what they have revoked, the
channels of each organisation (``update``), this node's own certificate (``renew``). What has become wrong about a
link closes it, and the peer is told why; what is right stays up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate
from dawan_node.errors import ConfigError, ForgedBlock, InvalidInput, InvalidMessage, UntrustedCertificate
from dawan_node.p2p.dialling import Diallers
from dawan_node.p2p.door import Door, DoorLimits, listening_socket
from dawan_node.p2p.failure import Attempt, explain_attempt, explain_failure
from dawan_node.p2p.framing import Frame, Topic, encode_frame
from dawan_node.p2p.handshake import HandshakeRefused, Refusal, refusal_payload
from dawan_node.p2p.judgement import Trust, at, judge_newcomer, judge_resident, verdict
from dawan_node.p2p.link_plan import LinkPlan
from dawan_node.p2p.meeting import Clock, LocalIdentity, Meetings
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
from dawan_node.p2p.standing import objection
from dawan_node.p2p.tls import shown_certificate, tls_contexts
from dawan_node.p2p.transport import Direction, Link, LinkSettings, Met, accept_stream, open_stream

logger = logging.getLogger(__name__)

#: Clocks further apart than this are reported. It is PREC of the timestamp rule (amendment L11): a primary that is more
#: than PREC ahead of the others proposes blocks they find untimely, and whoever is behind finds theirs so.
CLOCK_SKEW_MS_MAX: Final = 500
#: Every link's certificate is judged again this often. Reliability.md row E2 allows 60 s from a revocation to the cut;
#: half of that leaves as much for a loop that is busy and a peer that has to be told.
JUDGE_AGAIN_S: Final = 30.0
#: Which links to have is thought over this often, and at each update: a lost one is dialled again by itself.
PLAN_S: Final = 1.0
#: A peer that could not be reached so often in a row (1.4 s of back-off) makes room for another, if there is one.
FAILURES_MAX: Final = 3


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
    judge_again_s: float = JUDGE_AGAIN_S
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
    clock_skew_ms: int | None  # its wall clock minus ours when the link came up
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
        trust: Trust,
        channels_for: Callable[[NodeCertificate], Collection[bytes]],
        listen: str | None,
        handler: NetworkHandler,
        clock: Clock,
        settings: NetworkSettings | None = None,
    ) -> None:
        """``peers``: every other node of the network (this node's own entry is ignored).

        ``trust``: whose certificates count. ``channels_for``: the chain ids this node serves that the node
        with a certificate may hear of; what it answers may change, ``update`` looks again. ``listen``:
        ``host:port``, port 0 for a free one, None to dial only. Raises ConfigError.
        """
        self._identity = identity
        self._certified = identity.tls
        self._trust = trust
        self._channels_for = channels_for
        self._listen = listen
        self._handler = handler
        self._clock = clock
        self._settings = settings or NetworkSettings()
        self._tls = tls_contexts(self._certified, trust.roots)
        now_ms = clock.monotonic_ms()
        self._book = PeerBook(identity.name, peers, now_ms, self._settings.second_dialler_waits_ms)
        own_place = PeerId(identity.name, identity.org, identity.role, b"")
        self._plan = LinkPlan(own_place, os.urandom(16))
        self._plan.update(peers)
        self._book.seek(self._plan.choose((), now_ms))
        self._meetings = Meetings(identity, self._book, channels_for, self._judge, clock)
        self._counters = {name: TrafficCounters() for name in self._book.names}
        self._links: dict[str, Link] = {}
        self._diallers = Diallers(
            self._book, self._reach, self._reached, self._explain_dial, self._settings.links.handshake_s, clock
        )
        self._judge_now = asyncio.Event()
        self._door = Door(
            DoorLimits(
                self._settings.strangers_per_ip_max, self._settings.strangers_max, self._settings.links.handshake_s
            ),
            self._meet_stranger,
            self._welcome,
            self._explain_stranger,
            clock.monotonic_ms,
        )
        self._listener: socket.socket | None = None
        self._listen_address: str | None = None
        self._group: asyncio.TaskGroup | None = None  # while it runs
        self._supervisor: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Listen and begin to dial. Raises ConfigError when the address cannot be listened on."""
        if self._listen is not None:
            self._listener = listening_socket(self._listen)
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

    # Change

    def update(self, peers: Sequence[PeerAddress], trust: Trust) -> None:
        """Take over another list of nodes, other authorities and revocations, and the channels of each organisation.

        A link that no longer fits (its node is not listed any more, or with another key, organisation or role; the
        channels the two may share have changed) is closed before this returns, with a word to the peer: nothing is
        delivered from it afterwards. Certificates are judged again right afterwards, link by link. New and changed
        nodes are dialled, addresses of connected ones are used the next time. Raises ConfigError for a CA certificate
        that cannot be used; nothing has changed then.
        """
        if trust.roots != self._trust.roots:  # OpenSSL knows of nothing else, and reads every authority anew
            self._tls = tls_contexts(self._certified, trust.roots)
        self._trust = trust
        listed = {peer.name: peer.id for peer in peers}
        now_ms = self._clock.monotonic_ms()
        for name, link in tuple(self._links.items()):
            refusal = objection(link.met, listed.get(name), self._channels_for)
            if refusal is not None:
                self._cast_out(link, refusal)
                self._book.dial_soon(name, now_ms)
        anew = self._book.update(peers, now_ms)
        gone = set(self._counters).difference(self._book.names)
        for name in gone:
            del self._counters[name]
            self._diallers.end(name)
        for name in anew:
            self._counters.setdefault(name, TrafficCounters())
            self._diallers.end(name)
            self._diallers.begin(name, self._group)
        self._plan.update(peers)
        self._plan_links()
        self._judge_now.set()
        _log(logging.INFO, "network_updated", peers=len(self._book.names), gone=len(gone), anew=len(anew))

    def renew(self, tls: CertifiedKey) -> None:
        """Show another certificate from now on; links that are up stay up.

        Raises ConfigError when the certificate is not one of this node that its peers would accept, or does not fit
        its key; the old one stays in use then.
        """
        name, org = self._identity.name, self._identity.org
        try:
            judged = self._trust.judge(tls.certificate, at(self._clock.wall_ms()))
        except UntrustedCertificate as error:
            raise ConfigError(
                "the new TLS certificate is not used", str(error), "Renew it with `dawan-node cert renew`"
            ) from None
        if (judged.name, judged.org) != (name, org):
            raise ConfigError(
                "the new TLS certificate is not used",
                f"it is for node {judged.name!r} of {judged.org!r}, this is {name!r} of {org!r}",
                "Request one for this node with `dawan-node cert request`",
            )
        self._tls = tls_contexts(tls, self._trust.roots)
        self._certified = tls
        _log(logging.INFO, "certificate_renewed", not_after=judged.not_after.isoformat())

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

    def round_trip_ms(self, peer_name: str) -> int | None:
        """How long the last ping to ``peer_name`` took to be answered; None while none was."""
        link = self._links.get(peer_name)
        return None if link is None else link.rtt_ms

    def report_violation(self, peer_name: str, why: str) -> None:
        """``peer_name`` sent what no honest peer sends, as was found out later: close it, leave it alone a while."""
        if self._book.find(peer_name) is not None:
            self._strike(peer_name, why)
            if link := self._links.get(peer_name):
                link.close(f"violation: {why}")

    def give_up(self, peer_name: str, why: str) -> None:
        """The link to ``peer_name`` is better used for another peer: close it, if there may be another instead."""
        link = self._links.get(peer_name)
        if link is not None and self._plan.give_up(peer_name, self._clock.monotonic_ms()):
            _log(logging.INFO, "link_given_up", peer=peer_name, reason=why)
            link.close(f"given up for another peer: {why}")
            self._plan_links()

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
            self._diallers.wake(name)
        _log(logging.WARNING, "links_healed", peers="all" if names is None else ",".join(sorted(names)))

    # Supervision

    async def _supervise(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                if self._listener is not None:
                    group.create_task(self._door.accept(self._listener, group))
                group.create_task(self._keep_judging())
                group.create_task(self._keep_planning())
                for name in self._book.names:
                    self._diallers.begin(name, group)
        except BaseExceptionGroup as failures:
            _log(logging.ERROR, "p2p_failed", error=repr(failures.exceptions[0]))
            raise
        finally:
            self._group = None
            if self._listener is not None:
                self._listener.close()

    # Accepting

    async def _meet_stranger(self, connection: socket.socket) -> Met:
        return await self._meetings.meet(await accept_stream(connection, self._tls, self._settings.links), None)

    async def _welcome(self, met: Met) -> None:
        await self._serve(met, Direction.IN)

    def _explain_stranger(self, error: OSError, ip: str) -> str:
        return explain_attempt(error, Attempt(f"a peer at {ip}", self._certified.certificate, self._trust.roots))

    async def _reach(self, name: str, address: str) -> Met:
        host, port = parse_address(address)
        stream = await open_stream(host, port, self._tls, self._settings.links)
        return await self._meetings.meet(stream, name)

    def _reached(self, met: Met) -> None:
        assert self._group is not None
        task = self._group.create_task(self._serve(met, Direction.OUT))
        # For a task that is cancelled before its first step.
        task.add_done_callback(lambda _: met.stream.abort())

    async def _explain_dial(self, error: OSError, peer: PeerId, address: str) -> str:
        shown = ""
        if isinstance(error, ssl.SSLCertVerificationError):
            leaf = await shown_certificate(*parse_address(address), self._settings.links.handshake_s)
            shown = "" if leaf is None else verdict(self._trust, leaf, self._clock.wall_ms())
        return explain_attempt(
            error,
            Attempt(
                f"peer {peer.name!r} of {peer.org} ({address})",
                self._certified.certificate,
                self._trust.roots,
                peer.org,
                shown,
            ),
        )

    # Links

    async def _serve(self, met: Met, direction: Direction) -> None:
        """Run a link to its end."""
        name = met.peer.name
        refusal = self._changed_mind(met) or self._no_room_for(met, direction)
        if refusal is not None:
            await self._turn_away(met, direction, refusal)
            return
        link = Link(met, direction, self._counters[name], self._settings.links, self._receive, self._clock.wall_ms())
        if (replaced := self._links.get(name)) is not None:
            self._went_down(replaced, "replaced by a new connection")
            replaced.close("replaced by a new connection")
        self._links[name] = link
        self._book.connected(name, self._clock.monotonic_ms())
        self._plan.reached(name)
        self._log_up(link)
        reason = "stopped"
        try:
            self._handler.on_peer_up(link.peer, link.chain_ids)
            ended = await link.run()
            reason = explain_failure(ended) if isinstance(ended, OSError) else str(ended)
            if isinstance(ended, InvalidInput) and self._book.find(name) == link.peer:
                self._strike(name, reason, isinstance(ended, ForgedBlock))
        finally:
            met.stream.abort()
            self._meetings.release(met.stream)
            if self._links.get(name) is link:
                self._went_down(link, reason)

    def _changed_mind(self, met: Met) -> HandshakeRefused | None:
        """Why a connection is not kept after all: an update came while the two nodes were meeting."""
        try:
            self._judge(met.stream.certificate)
        except HandshakeRefused as error:
            return error
        return objection(met, self._book.find(met.peer.name), self._channels_for)

    def _no_room_for(self, met: Met, direction: Direction) -> HandshakeRefused | None:
        """Why a link that the peer opened is one too many (``link_plan``)."""
        if direction is not Direction.IN:
            return None
        inbound = [link.peer for link in self._links.values() if link.direction is Direction.IN]
        why = self._plan.may_enter(met.peer, inbound)
        return None if why is None else HandshakeRefused(Refusal.FULL, why)

    async def _turn_away(self, met: Met, direction: Direction, refusal: HandshakeRefused) -> None:
        name = met.peer.name
        self._meetings.release(met.stream)
        if direction is Direction.OUT and self._book.find(name) is not None:
            self._book.dial_failed(name, self._clock.monotonic_ms(), str(refusal))
            self._diallers.wake(name)
        _log(logging.WARNING, "link_refused", peer=name, reason=str(refusal), refusal=refusal.refusal)
        await met.stream.close(refusal_payload(refusal))

    def _cast_out(self, link: Link, refusal: HandshakeRefused) -> None:
        """End a link at once: nothing more is taken from it or sent on it but ``refusal``."""
        level = logging.INFO if refusal.refusal is Refusal.CHANNELS else logging.WARNING
        _log(level, "link_refused", peer=link.peer.name, reason=str(refusal), refusal=refusal.refusal)
        self._went_down(link, str(refusal))
        self._meetings.release(link.met.stream)
        link.refuse(refusal)

    def _judge(self, leaf_der: bytes) -> NodeCertificate:
        return judge_newcomer(self._trust, leaf_der, self._clock.wall_ms())

    async def _keep_judging(self) -> None:
        """Judge the certificate of every link again, at each update and every so often."""
        while True:
            self._judge_now.clear()
            for link in tuple(self._links.values()):
                if self._links.get(link.peer.name) is link:
                    self._judge_again(link)
                await asyncio.sleep(0)  # a judgement takes milliseconds: votes go in between
            try:
                async with asyncio.timeout(self._settings.judge_again_s):
                    await self._judge_now.wait()
            except TimeoutError:
                pass

    async def _keep_planning(self) -> None:
        """Think over which links to have, every so often."""
        while True:
            self._plan_links()
            await asyncio.sleep(PLAN_S)

    def _plan_links(self) -> None:
        """Seek the peers that are chosen now, and end links of this node's own that it has no use for any more."""
        now_ms = self._clock.monotonic_ms()
        for name in self._book.names:
            if name not in self._links and self._book.failures(name) >= FAILURES_MAX:
                self._plan.unreached(name, now_ms)
        chosen = self._plan.choose(tuple(self._links), now_ms)
        for name in self._book.seek(chosen):
            link = self._links.get(name)
            if link is not None and name not in chosen and link.direction is Direction.OUT:
                link.close("other links were chosen")
            self._diallers.wake(name)

    def _judge_again(self, link: Link) -> None:
        now_ms = self._clock.wall_ms()
        met = link.met
        try:
            passed = judge_resident(self._trust, met.certificate, met.stream.certificate, now_ms, link.passed_ms)
        except HandshakeRefused as refusal:
            self._cast_out(link, refusal)
        else:
            if passed:
                link.passed_ms = now_ms

    def _went_down(self, link: Link, reason: str) -> None:
        name = link.peer.name
        del self._links[name]
        self._book.disconnected(name, self._clock.monotonic_ms(), reason)
        self._diallers.wake(name)
        _log(logging.INFO, "peer_down", peer=name, reason=reason)
        self._handler.on_peer_down(link.peer)

    def _receive(self, link: Link, frame: Frame) -> None:
        if self._links.get(link.peer.name) is link:
            self._handler.on_message(link.peer, frame.chain_id, frame.topic, frame.payload)

    def _strike(self, name: str, why: str, is_forgery: bool = False) -> None:
        now_ms = self._clock.monotonic_ms()
        shunned_ms = self._book.strike(name, now_ms, why, is_forgery)
        self._plan.shunned(name, now_ms + shunned_ms)
        _log(logging.WARNING, "peer_violation", peer=name, reason=why, shunned_ms=shunned_ms)

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
            clock_skew_ms=link.met.clock_skew_ms if link else None,
            queued_bytes=link.queued_bytes if link else 0,
            software=link.met.software if link else "",
            last_failure=self._book.last_failure(name),
            counters=msgspec.structs.replace(self._counters[name]),
        )

    def _log_up(self, link: Link) -> None:
        met = link.met
        _log(
            logging.INFO,
            "peer_up",
            peer=link.peer.name,
            org=link.peer.org,
            address=link.remote,
            direction=link.direction,
            channels=len(link.chain_ids),
            software=met.software,
            clock_skew_ms=met.clock_skew_ms,
        )
        # Only what is certain: the round trip may have gone one way in all its length.
        if abs(met.clock_skew_ms) - met.round_trip_ms // 2 > CLOCK_SKEW_MS_MAX:
            _log(
                logging.WARNING,
                "clock_skew",
                peer=link.peer.name,
                skew_ms=met.clock_skew_ms,
                reason=f"clocks more than {CLOCK_SKEW_MS_MAX} ms apart make blocks untimely; check NTP on both nodes",
            )


def _encode(topic: Topic, chain_id: bytes, payload: bytes) -> bytes | None:
    """The frame, or None (logged) for a payload that no peer would accept: a limit its maker should have kept."""
    try:
        return encode_frame(topic, chain_id, payload)
    except InvalidMessage as error:
        _log(logging.ERROR, "message_not_sent", topic=topic.name, bytes=len(payload), reason=str(error))
        return None


def _log(level: int, event: str, **fields: Any) -> None:
    logger.log(level, event, extra={"fields": fields})
