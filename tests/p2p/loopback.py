"""A small consortium on loopback sockets: authorities, certificates and keys made once, networks made on demand."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509

from dawan_node.crypto.authority import issue_node_certificate, make_authority, make_revocation_list
from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate
from dawan_node.crypto.revocation import Revocations, Revoked, load_revocation_list
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.crypto.trust import Trust
from dawan_node.errors import InvalidMessage
from dawan_node.node.clock import Clock, SystemClock
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.handshake import Control, decode_control
from dawan_node.p2p.judgement import Trust as AnyTrust
from dawan_node.p2p.meeting import LocalIdentity, Meetings
from dawan_node.p2p.network import Network, NetworkSettings, PeerView
from dawan_node.p2p.peers import PeerAddress, PeerBook, PeerId, PeerState, Role, parse_address
from dawan_node.p2p.tls import tls_contexts
from dawan_node.p2p.transport import LinkSettings, Stream, open_stream

NETWORK = "dawan-test"
TRADE = hashlib.sha256(b"trade").digest()
HEALTH = hashlib.sha256(b"health").digest()
DEADLINE_S = 20.0


@cache
def authority(org: str) -> CertifiedKey:
    return make_authority(org, datetime.now(UTC))


@cache
def certificate(org: str, name: str) -> CertifiedKey:
    return issue_node_certificate(authority(org), org, name, ["127.0.0.1"], datetime.now(UTC))


def key_of(name: str) -> PrivateKey:
    return PrivateKey.from_seed(hashlib.sha256(name.encode()).digest())


ORGS = {"gz1": "gz", "hk1": "hk", "mo1": "mo", "hq1": "hq"}


def trust(*orgs: str, revoked: Collection[CertifiedKey] = ()) -> Trust:
    """The roots of ``orgs``, of all when none is named; ``revoked`` are certificates of any of them."""
    now = datetime.now(UTC)
    roots = {org: [authority(org).certificate] for org in orgs or ORGS.values()}
    entries = [Revoked(x509.load_der_x509_certificate(each.certificate).serial_number, now) for each in revoked]
    lists = [
        load_revocation_list(make_revocation_list(authority(org), entries, 1, now), org, roots[org], now)
        for org in roots
    ]
    return Trust(roots, Revocations.collect(roots, lists if entries else []))


def identity(name: str, org: str | None = None, **changes: object) -> LocalIdentity:
    org = org or ORGS[name]
    usual = LocalIdentity(
        network=NETWORK,
        name=name,
        org=org,
        role=Role.VALIDATOR,
        key=key_of(name),
        tls=certificate(org, name),
        software="dawan-node/test",
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def entry(name: str, *addresses: str, org: str | None = None, role: Role = Role.VALIDATOR) -> PeerAddress:
    return PeerAddress(name, org or ORGS[name], key_of(name).public_key, addresses, role)


# Everything an honest node never waits for, shortened.
QUICK = NetworkSettings(
    links=LinkSettings(handshake_s=5.0, frame_s=5.0, ping_s=5.0), second_dialler_waits_ms=100, faults=True
)


@dataclass
class Recorder:
    """A handler that keeps everything and can be waited on."""

    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    messages: list[tuple[str, bytes, Topic, bytes]] = field(default_factory=list)
    channels: dict[str, frozenset[bytes]] = field(default_factory=dict)
    refuse: bytes | None = None
    failure: Exception | None = None

    def on_message(self, peer: PeerId, chain_id: bytes, topic: Topic, payload: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        if payload == self.refuse:
            raise InvalidMessage("no honest peer sends this")
        self.messages.append((peer.name, chain_id, topic, payload))

    def on_peer_up(self, peer: PeerId, chain_ids: frozenset[bytes]) -> None:
        self.up.append(peer.name)
        self.channels[peer.name] = chain_ids

    def on_peer_down(self, peer: PeerId) -> None:
        self.down.append(peer.name)

    def payloads(self, topic: Topic | None = None) -> list[bytes]:
        return [payload for _, _, of, payload in self.messages if topic is None or of is topic]


class TurnedClock(SystemClock):
    """The machine's clocks with a wall clock that a test turns."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.ahead = ahead

    def wall_ms(self) -> int:
        return super().wall_ms() + round(self.ahead.total_seconds() * 1_000)


async def until(condition: Callable[[], object], what: str = "", seconds: float = DEADLINE_S) -> None:
    """Poll ``condition`` up to a deadline."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what or condition}") from None


class Loopback:
    """Starts networks and stops them all at the end of the ``async with``."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self.recorders: dict[str, Recorder] = {}

    async def __aenter__(self) -> Loopback:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(
        self,
        who: LocalIdentity | str,
        peers: Sequence[PeerAddress] = (),
        *,
        listen: str | None = "127.0.0.1:0",
        settings: NetworkSettings = QUICK,
        channels: Callable[[NodeCertificate], Collection[bytes]] = lambda certificate: (TRADE,),
        trusted: AnyTrust | None = None,
        clock: Clock | None = None,
    ) -> tuple[Network, Recorder]:
        if isinstance(who, str):
            who = identity(who)
        recorder = Recorder()
        network = Network(who, peers, trusted or trust(), channels, listen, recorder, clock or SystemClock(), settings)
        await network.start()
        self._stack.push_async_callback(network.stop)
        self.recorders[who.name] = recorder
        return network, recorder

    async def pair(
        self,
        settings: NetworkSettings = QUICK,
        channels: Callable[[NodeCertificate], Collection[bytes]] = lambda certificate: (TRADE,),
    ) -> tuple[Network, Recorder, Network, Recorder]:
        """gz1 and hk1, connected; hk1 dialled."""
        gz, gz_saw = await self.start("gz1", [entry("hk1")], settings=settings, channels=channels)
        hk, hk_saw = await self.start("hk1", [entry("gz1", address(gz))], settings=settings, channels=channels)
        await until(lambda: gz_saw.up and hk_saw.up, "gz1 and hk1 connected")
        return gz, gz_saw, hk, hk_saw


def address(network: Network) -> str:
    assert network.listen_address is not None
    return network.listen_address


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def state_of(network: Network, name: str) -> PeerState:
    return views(network)[name].state


def views(network: Network) -> Mapping[str, PeerView]:
    return {view.name: view for view in network.peers()}


async def puppet(network: Network, name: str, org: str | None = None, *, trusted: Trust | None = None) -> Stream:
    """A connection that passed the handshake as node ``name`` and from then on does what a test wants."""
    who = identity(name, org)
    trusted = trusted or trust()
    clock = SystemClock()
    known = [entry(other) for other in ORGS]
    meetings = Meetings(
        who,
        PeerBook(name, known, clock.monotonic_ms()),
        lambda certificate: (TRADE,),
        lambda der: trusted.judge(der, datetime.now(UTC)),
        clock,
    )
    host, port = parse_address(address(network))
    stream = await open_stream(host, port, tls_contexts(who.tls, trusted.roots), LinkSettings())
    await meetings.meet(stream, None)
    return stream


async def last_words(stream: Stream) -> list[Control]:
    """The control messages a peer sent before it hung up."""
    heard = [decode_control(frame.payload) for frame in stream.frames if frame.topic is Topic.CONTROL]
    async with asyncio.timeout(DEADLINE_S):
        while data := await stream.reader.read(65_536):
            heard += [decode_control(f.payload) for f in stream.decoder.feed(data) if f.topic is Topic.CONTROL]
    return heard
