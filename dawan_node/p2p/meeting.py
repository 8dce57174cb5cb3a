"""From a fresh TLS connection to a link that both nodes keep.

Runs the handshake, and settles which connection stays when two nodes have opened two. The node with the smaller name
is the pair's *arbiter*: it accepts the first connection it can verify and refuses another as a duplicate, while the
other node accepts whatever the arbiter accepted. So the two never close each other's choice, and no message is lost
to a tie. A restarted peer shows another ``instance`` in its hello; its new connection replaces the old one at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate
from dawan_node.errors import UntrustedCertificate
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
from dawan_node.p2p.peers import PeerBook, PeerId, PeerState, Role
from dawan_node.p2p.transport import Stream


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """Who this node is, and what it proves it with."""

    network: str
    name: str
    org: str
    role: Role
    key: HelloSigner
    tls: CertifiedKey
    roots: Mapping[str, Sequence[bytes]] = field(repr=False)  # organisation -> registered CA certificates, DER
    software: str = ""


@dataclass(frozen=True, slots=True)
class Met:
    """A connection both nodes keep."""

    stream: Stream
    peer: PeerId
    chain_ids: frozenset[bytes]
    software: str


class Meetings:
    """Every handshake of one node, and the arbiter's choices."""

    def __init__(
        self,
        identity: LocalIdentity,
        own_fingerprint: bytes,
        book: PeerBook,
        channels_for_org: Callable[[str], Collection[bytes]],
        validate: Callable[[bytes], NodeCertificate],
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._local = LocalNode(
            network=identity.network,
            name=identity.name,
            org=identity.org,
            role=identity.role,
            key=identity.key,
            software=identity.software,
            instance=os.urandom(INSTANCE_BYTES),
        )
        self._own_fingerprint = own_fingerprint
        self._book = book
        self._channels_for_org = channels_for_org
        self._validate = validate
        self._monotonic_ms = monotonic_ms
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
        certificate = self._certificate_of(stream)
        handshake = Handshake(
            self._local,
            Connection(self._own_fingerprint, certificate.fingerprint, certificate.org, certificate.name),
            os.urandom(CHALLENGE_BYTES),
            self._channels_for_org(certificate.org),
            self._book.find,
        )
        await stream.send_control(handshake.start())
        while handshake.stage is not Stage.VERIFIED:
            answer = handshake.receive(await stream.read_control())
            if answer is not None:
                await stream.send_control(answer)
        peer, hello = handshake.peer, handshake.hello
        assert peer is not None and hello is not None
        self._decide(peer.name, hello.instance, stream, expected)
        await stream.send_control(handshake.accept())
        while not handshake.is_open:
            handshake.receive(await stream.read_control())
        self._check_welcome(peer.name)  # a cut may have come while this waited
        return Met(stream, peer, handshake.shared_chain_ids, hello.software)

    def _certificate_of(self, stream: Stream) -> NodeCertificate:
        try:
            return self._validate(stream.certificate)
        except UntrustedCertificate as error:
            raise HandshakeRefused(Refusal.CERTIFICATE, f"TLS certificate refused: {error}") from None

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
        state = self._book.state(name, self._monotonic_ms())
        if state in (PeerState.CUT, PeerState.SHUNNED):
            raise HandshakeRefused(Refusal.UNWELCOME, f"this node does not take connections of {name!r} now ({state})")
