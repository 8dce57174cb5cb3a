"""From a fresh TLS connection to a link that both nodes keep.

Runs the handshake, and settles which connection stays when two nodes have opened two. The node with the smaller name
is the pair's *arbiter*: it accepts the first connection it can verify and refuses another as a duplicate, while the
other node accepts whatever the arbiter accepted. So the two never close each other's choice, and no message is lost
to a tie. A restarted peer shows another ``instance`` in its hello; its new connection replaces the old one at once.

On the way each side learns how far the peer's clock is from its own: the challenge says what the peer's clock showed
when it left. It left after TLS was done, and was here before the hello that answers this side's challenge: half the
time between the two is taken off, and is as much as the result can be wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate, fingerprint
from dawan_node.p2p.handshake import (
    CHALLENGE_BYTES,
    INSTANCE_BYTES,
    Connection,
    Handshake,
    HandshakeRefused,
    HelloSigner,
    LocalNode,
    Refusal,
    Stage,
    refusal_payload,
)
from dawan_node.p2p.peers import PeerBook, PeerState, Role
from dawan_node.p2p.transport import Met, Stream


class Clock(Protocol):
    """The two clocks this part reads, in milliseconds."""

    def wall_ms(self) -> int:
        """UTC since 1970, for the validity of certificates."""

    def monotonic_ms(self) -> int:
        """Never goes back, for back-off and rates."""


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """Who this node is, and what it proves it with."""

    network: str
    name: str
    org: str
    role: Role
    key: HelloSigner
    tls: CertifiedKey
    software: str = ""


class Meetings:
    """Every handshake of one node, and the arbiter's choices."""

    def __init__(
        self,
        identity: LocalIdentity,
        book: PeerBook,
        channels_for: Callable[[NodeCertificate], Collection[bytes]],
        judge: Callable[[bytes], NodeCertificate],
        clock: Clock,
    ) -> None:
        """``judge``: whose a certificate (DER) is, now; raises HandshakeRefused."""
        self._local = LocalNode(
            network=identity.network,
            name=identity.name,
            org=identity.org,
            role=identity.role,
            key=identity.key,
            software=identity.software,
            instance=os.urandom(INSTANCE_BYTES),
        )
        self._book = book
        self._channels_for = channels_for
        self._judge = judge
        self._clock = clock
        # What this node has accepted as arbiter: which instance of the peer, and on which connection.
        self._chosen: dict[str, tuple[bytes, Stream]] = {}

    async def meet(self, stream: Stream, expected: str | None) -> Met:
        """The handshake on a fresh connection; ``expected`` is the node that was dialled, None when it dialled us.

        The caller sets the deadline, and calls ``release`` when the connection has ended. Raises HandshakeRefused,
        NetworkError or OSError; the stream is then closed and nothing needs to be released.
        """
        try:
            return await self._shake_hands(stream, expected)
        except HandshakeRefused as error:
            self.release(stream)
            await stream.close(None if error.by_peer else refusal_payload(error))
            raise
        except BaseException:
            self.release(stream)
            stream.abort()
            raise

    def release(self, stream: Stream) -> None:
        """The connection has ended: another of the same peer may be chosen."""
        for name, (_, chosen) in self._chosen.items():
            if chosen is stream:
                del self._chosen[name]
                return

    async def _shake_hands(self, stream: Stream, expected: str | None) -> Met:
        clock = self._clock
        begun_ms, skew_ms = clock.monotonic_ms(), 0
        certificate = self._judge(stream.certificate)
        handshake = Handshake(
            self._local,
            Connection(fingerprint(stream.own_certificate), certificate.fingerprint, certificate.org, certificate.name),
            os.urandom(CHALLENGE_BYTES),
            self._channels_for(certificate),
            self._book.find,
        )
        await stream.send_control(handshake.start(clock.wall_ms()))
        while handshake.stage is not Stage.VERIFIED:
            answer = handshake.receive(await stream.read_control())
            if answer is not None:  # to the challenge, which has just come in
                assert handshake.peer_wall_ms is not None
                skew_ms = handshake.peer_wall_ms - clock.wall_ms()
                await stream.send_control(answer)
        round_trip_ms = clock.monotonic_ms() - begun_ms
        peer, hello = handshake.peer, handshake.hello
        assert peer is not None and hello is not None
        self._decide(peer.name, hello.instance, stream, expected)
        await stream.send_control(handshake.accept())
        while not handshake.is_open:
            handshake.receive(await stream.read_control())
        self._check_welcome(peer.name)  # a cut may have come while this waited
        return Met(
            stream=stream,
            peer=peer,
            certificate=certificate,
            listed_chain_ids=handshake.listed_chain_ids,
            chain_ids=handshake.shared_chain_ids,
            software=hello.software,
            clock_skew_ms=skew_ms + round_trip_ms // 2,
            round_trip_ms=round_trip_ms,
        )

    def _decide(self, name: str, instance: bytes, stream: Stream, expected: str | None) -> None:
        """Whether to keep a verified connection. Raises HandshakeRefused."""
        if expected is not None and name != expected:
            raise HandshakeRefused(
                Refusal.NAME,
                f"dialled {expected!r} and met {name!r}; correct the addresses of {expected!r} in consortium.toml",
            )
        self._check_welcome(name)
        if not self._book.is_arbiter(name):
            return
        earlier = self._chosen.get(name)
        if earlier is not None and earlier[0] == instance:
            raise HandshakeRefused(Refusal.DUPLICATE, f"{name!r} and this node are connected already")
        self._chosen[name] = (instance, stream)
        if earlier is not None:
            earlier[1].abort()  # the peer was restarted: nobody is at the other end of the old one

    def _check_welcome(self, name: str) -> None:
        if self._book.find(name) is None:
            raise HandshakeRefused(Refusal.UNKNOWN_NODE, f"node {name!r} has just been removed from the list of nodes")
        state = self._book.state(name, self._clock.monotonic_ms())
        if state in (PeerState.CUT, PeerState.SHUNNED):
            raise HandshakeRefused(Refusal.UNWELCOME, f"this node does not take connections of {name!r} now ({state})")
