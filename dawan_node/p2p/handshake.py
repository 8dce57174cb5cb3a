"""Who is at the other end of a link, proved twice and bound together.

TLS 1.3 with certificates on both sides proves that the peer holds a key its organisation certified. The handshake
here proves that it also holds its *node key*, the one the consortium file lists, and that both proofs belong to this
very connection. Steps, the same on both sides, all CONTROL frames:

    CHALLENGE  protocol version, 32 fresh random bytes, and what the sender's wall clock shows (ms UTC)
    HELLO      signed with the node key: who I am, both certificates of this connection as I see them,
               your challenge, the channels I share with your organisation
    ACCEPTED   I believe you and keep this connection         (or REFUSED, with the reason)

Why each part is signed: the challenge makes a recorded hello worthless on any other connection; the two certificate
hashes make it worthless in the hands of a member that relays it to a third node, because that node sees another
certificate (reliability.md row E5); the tag ``dawan:hello:v1`` keeps it from being read as any other signed object.

The clock in the challenge lets each side see how far the two clocks are apart before that makes a block's timestamp
untimely. It is unsigned and proves nothing about identity: it comes inside TLS, from a certificate already judged.

A hello lists only chain ids that the peer's organisation belongs to: nobody learns that a channel exists by asking.

Pure: random bytes, certificates and the peer book's answers come in; payloads to send and verdicts go out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Annotated, Final, Protocol

import msgspec

from dawan_node.crypto.signatures import ED25519, verify
from dawan_node.errors import InvalidEncoding, InvalidMessage
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.encoding import (
    Bytes16,
    Bytes32,
    Bytes64,
    ProtocolStruct,
    Uint,
    decode_struct,
    decoder_for,
)

PROTOCOL_VERSION: Final = 1
HELLO_TAG: Final = b"dawan:hello:v1"
CHALLENGE_BYTES: Final = 32
INSTANCE_BYTES: Final = 16
#: An organisation on more channels than this shares only the first ones; the alliance plans for a dozen.
CHAIN_IDS_MAX: Final = 1_024
SOFTWARE_CHARACTERS_MAX: Final = 64
REFUSAL_CHARACTERS_MAX: Final = 512

# Fields of at most 400 bytes and 34 for each chain id.
_HELLO_BYTES_MAX: Final = 512 + 34 * CHAIN_IDS_MAX
_CONTROL_BYTES_MAX: Final = _HELLO_BYTES_MAX + 128

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]


class Refusal(StrEnum):
    """Why a connection is not kept. Part of the wire format: values are never reused."""

    MALFORMED = "malformed"  # not the message that belongs here
    VERSION = "version"
    NETWORK = "network"
    CERTIFICATE = "certificate"  # the TLS certificate does not name an organisation and node
    BINDING = "binding"  # the hello was made for another connection
    UNKNOWN_NODE = "unknown_node"
    NAME = "name"  # hello and certificate, or hello and dialled node, differ
    ORGANISATION = "organisation"
    ROLE = "role"
    KEY = "key"
    SIGNATURE = "signature"
    DUPLICATE = "duplicate"  # the two nodes are connected already
    UNWELCOME = "unwelcome"  # after misbehaviour, or a devnet partition
    FULL = "full"  # as many nodes of that organisation, or in all, as this one keeps links to
    CHANNELS = "channels"  # the channels the two nodes share have changed: connect again


class HandshakeRefused(InvalidMessage):
    """A connection that is not kept: ``refusal`` for programs, the message (what is wrong, how to mend it) for people.

    ``by_peer`` tells whose verdict it is.
    """

    def __init__(self, refusal: Refusal, text: str, *, by_peer: bool = False) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.by_peer = by_peer


class Challenge(ProtocolStruct, frozen=True, tag=0):
    """Opens a handshake."""

    version: Uint
    challenge: Bytes32
    wall_ms: Uint  # the sender's wall clock, UTC


class SignedHello(ProtocolStruct, frozen=True, tag=1):
    """A hello's bytes, passed on as they were signed."""

    hello: bytes
    signature: Bytes64


class Accepted(ProtocolStruct, frozen=True, tag=2):
    """The sender keeps this connection."""


class Refused(ProtocolStruct, frozen=True, tag=3):
    """The sender closes this connection and says why. ``text`` is shown to an operator: printable characters only."""

    refusal: Refusal
    text: Annotated[str, msgspec.Meta(max_length=REFUSAL_CHARACTERS_MAX)]

    def __post_init__(self) -> None:
        if not self.text.isprintable():
            raise ValueError("a refusal with unprintable characters")


class Ping(ProtocolStruct, frozen=True, tag=4):
    """Asks for a Pong of the same number."""

    number: Uint


class Pong(ProtocolStruct, frozen=True, tag=5):
    """Answers a Ping."""

    number: Uint


Control = Challenge | SignedHello | Accepted | Refused | Ping | Pong


class Hello(ProtocolStruct, frozen=True):
    """What a node says of itself and of the connection, under its signature."""

    version: Uint
    network: _Name
    name: _Name
    org: _Name
    role: Role
    suite: _Name
    public_key: Bytes32
    own_certificate: Bytes32  # SHA-256 of the sender's TLS certificate (DER)
    peer_certificate: Bytes32  # SHA-256 of the receiver's, as the sender saw it
    challenge: Bytes32  # what the receiver asked for
    instance: Bytes16  # random, one per start of the sender's process: tells a restart from a second connection
    chain_ids: Annotated[list[Bytes32], msgspec.Meta(max_length=CHAIN_IDS_MAX)]
    software: Annotated[str, msgspec.Meta(max_length=SOFTWARE_CHARACTERS_MAX)]

    def __post_init__(self) -> None:
        if any(left >= right for left, right in zip(self.chain_ids, self.chain_ids[1:], strict=False)):
            raise ValueError("chain ids are not in ascending order")
        if not self.software.isprintable():
            raise ValueError("a software version with unprintable characters")


_control_decoder: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)
_hello_decoder = decoder_for(Hello)


def decode_control(payload: bytes) -> Control:
    """A CONTROL payload. Raises InvalidMessage."""
    try:
        return decode_struct(_control_decoder, payload, _CONTROL_BYTES_MAX)
    except InvalidEncoding as error:
        raise InvalidMessage(f"a control message that cannot be read: {error}") from None


class HelloSigner(Protocol):
    """Signs hellos with the node key; ``crypto.signatures.PrivateKey`` is one."""

    @property
    def public_key(self) -> bytes:
        """The 32-byte Ed25519 key the consortium file lists."""

    def sign(self, tag: bytes, data: bytes) -> bytes:
        """The signature over ``tag LF data``."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """This node, as it introduces itself. ``instance``: 16 random bytes of this start of the process."""

    network: str
    name: str
    org: str
    role: Role
    key: HelloSigner
    software: str
    instance: bytes


@dataclass(frozen=True, slots=True)
class Connection:
    """What TLS proved: certificate hashes of both ends (SHA-256 of DER), and who the peer's certificate says it is."""

    own_certificate: bytes
    peer_certificate: bytes
    peer_org: str
    peer_name: str


def listing(chain_ids: Collection[bytes]) -> list[bytes]:
    """What a hello says of these channels: each once, in order, not too many."""
    return sorted(set(chain_ids))[:CHAIN_IDS_MAX]


class Stage(Enum):
    """How far a handshake is."""

    CHALLENGE = auto()  # waiting for the peer's challenge
    HELLO = auto()  # waiting for its hello
    VERIFIED = auto()  # the peer is who it says; at least one side has still to accept
    OPEN = auto()  # both accepted


class Handshake:
    """One side of one handshake.

    Send what ``start`` and ``receive`` return; when ``stage`` is VERIFIED decide and send ``accept``; the link may be
    used when it is OPEN. ``HandshakeRefused`` ends it.
    """

    def __init__(
        self,
        local: LocalNode,
        connection: Connection,
        challenge: bytes,
        chain_ids: Collection[bytes],
        find_peer: Callable[[str], PeerId | None],
    ) -> None:
        """``challenge``: 32 fresh random bytes. ``chain_ids``: the channels that the peer's organisation belongs to."""
        self.stage = Stage.CHALLENGE
        self.peer: PeerId | None = None
        self.hello: Hello | None = None
        self.peer_wall_ms: int | None = None  # what the peer's clock showed when it sent its challenge
        self._local = local
        self._connection = connection
        self._challenge = challenge
        self._chain_ids = listing(chain_ids)
        self._find_peer = find_peer
        self._accepted_here = False
        self._accepted_there = False

    def start(self, wall_ms: int) -> bytes:
        """The first payload to send, at ``wall_ms`` of this node's wall clock."""
        return Challenge(PROTOCOL_VERSION, self._challenge, wall_ms).encode()

    def receive(self, payload: bytes) -> bytes | None:
        """Take one CONTROL payload; returns the payload to answer with, if any.

        Raises HandshakeRefused, with the peer's words when it was the peer that refused.
        """
        try:
            message = decode_control(payload)
        except InvalidMessage as error:
            raise HandshakeRefused(Refusal.MALFORMED, str(error)) from None
        if isinstance(message, Refused):
            raise HandshakeRefused(message.refusal, message.text, by_peer=True)
        if isinstance(message, Challenge) and self.stage is Stage.CHALLENGE:
            if message.version != PROTOCOL_VERSION:
                raise HandshakeRefused(
                    Refusal.VERSION,
                    f"the peer speaks protocol version {message.version}, this node {PROTOCOL_VERSION}; "
                    "upgrade the older of the two",
                )
            self.stage = Stage.HELLO
            self.peer_wall_ms = message.wall_ms
            return self._signed_hello(message.challenge)
        if isinstance(message, SignedHello) and self.stage is Stage.HELLO:
            self.hello, self.peer = verify_hello(
                message, self._local.network, self._connection, self._challenge, self._find_peer
            )
            self.stage = Stage.VERIFIED
            return None
        if isinstance(message, Accepted) and self.stage is Stage.VERIFIED and not self._accepted_there:
            self._accepted_there = True
            self._maybe_open()
            return None
        raise HandshakeRefused(
            Refusal.MALFORMED, f"a {type(message).__name__} while the handshake is at {self.stage.name}"
        )

    def accept(self) -> bytes:
        """Keep this connection: the payload that says so. Only at VERIFIED."""
        assert self.stage is Stage.VERIFIED
        self._accepted_here = True
        self._maybe_open()
        return Accepted().encode()

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted."""
        return self.stage is Stage.OPEN

    @property
    def listed_chain_ids(self) -> frozenset[bytes]:
        """The channels this side listed."""
        return frozenset(self._chain_ids)

    @property
    def shared_chain_ids(self) -> frozenset[bytes]:
        """The channels both sides listed; the two nodes compute the same set."""
        assert self.hello is not None
        return frozenset(self.hello.chain_ids).intersection(self._chain_ids)

    def _maybe_open(self) -> None:
        if self._accepted_here and self._accepted_there:
            self.stage = Stage.OPEN

    def _signed_hello(self, challenge: bytes) -> bytes:
        local = self._local
        hello = Hello(
            version=PROTOCOL_VERSION,
            network=local.network,
            name=local.name,
            org=local.org,
            role=local.role,
            suite=ED25519,
            public_key=local.key.public_key,
            own_certificate=self._connection.own_certificate,
            peer_certificate=self._connection.peer_certificate,
            challenge=challenge,
            instance=local.instance,
            chain_ids=self._chain_ids,
            software=local.software[:SOFTWARE_CHARACTERS_MAX],
        ).encode()
        return SignedHello(hello, local.key.sign(HELLO_TAG, hello)).encode()


def refusal_payload(error: HandshakeRefused) -> bytes:
    """What to tell the peer before the connection is closed."""
    text = "".join(character if character.isprintable() else "?" for character in str(error))
    return Refused(error.refusal, text[:REFUSAL_CHARACTERS_MAX]).encode()


def verify_hello(
    signed: SignedHello,
    network: str,
    connection: Connection,
    challenge: bytes,
    find_peer: Callable[[str], PeerId | None],
) -> tuple[Hello, PeerId]:
    """The hello and whose it is, if every claim in it is proved.

    The order is cheap checks first, the signature last; nothing is believed before all have passed. Raises
    HandshakeRefused naming the field and the remedy.
    """
    try:
        hello = decode_struct(_hello_decoder, signed.hello, _HELLO_BYTES_MAX)
    except InvalidEncoding as error:
        raise HandshakeRefused(Refusal.MALFORMED, f"a hello that cannot be read: {error}") from None
    if hello.version != PROTOCOL_VERSION:
        raise HandshakeRefused(
            Refusal.VERSION,
            f"hello field version is {hello.version}, this node speaks {PROTOCOL_VERSION}; "
            "upgrade the older of the two",
        )
    if hello.network != network:
        raise HandshakeRefused(
            Refusal.NETWORK,
            f"hello field network is {hello.network!r}, this node belongs to {network!r}; "
            "compare `network` in both consortium.toml files",
        )
    _check_names(hello, connection)
    if (hello.own_certificate, hello.peer_certificate) != (connection.peer_certificate, connection.own_certificate):
        raise HandshakeRefused(
            Refusal.BINDING,
            f"the hello of {hello.name!r} was made for a connection with other TLS certificates: it was replayed, or "
            "something between the two nodes ends their TLS; connect them directly",
        )
    if hello.challenge != challenge:
        raise HandshakeRefused(
            Refusal.BINDING, f"the hello of {hello.name!r} answers another challenge: it was recorded earlier"
        )
    peer = _listed_peer(hello, find_peer)
    if not verify(hello.suite, hello.public_key, HELLO_TAG, signed.hello, signed.signature):
        raise HandshakeRefused(
            Refusal.SIGNATURE,
            f"the hello of {hello.name!r} is not signed by key {hello.public_key.hex()}; "
            "check that the node runs with its own key file",
        )
    return hello, peer


def _check_names(hello: Hello, connection: Connection) -> None:
    """Hello and TLS certificate must speak of the same node of the same organisation."""
    if hello.org != connection.peer_org:
        raise HandshakeRefused(
            Refusal.ORGANISATION,
            f"hello field org is {hello.org!r}, but the TLS certificate was issued under the root of "
            f"{connection.peer_org!r}; give the node a certificate of its own organisation",
        )
    if hello.name != connection.peer_name:
        raise HandshakeRefused(
            Refusal.NAME,
            f"hello field name is {hello.name!r}, but the TLS certificate names {connection.peer_name!r}; "
            f"issue a certificate for {hello.name!r} or start the node under its right name",
        )


def _listed_peer(hello: Hello, find_peer: Callable[[str], PeerId | None]) -> PeerId:
    """The list's entry for the hello's name; organisation and key must agree with it."""
    peer = find_peer(hello.name)
    if peer is None:
        raise HandshakeRefused(
            Refusal.UNKNOWN_NODE,
            f"node {hello.name!r} is not in this node's consortium.toml; add it there, on every node",
        )
    if peer.org != hello.org:
        raise HandshakeRefused(
            Refusal.ORGANISATION,
            f"node {hello.name!r} belongs to {peer.org!r} in this node's consortium.toml, not to {hello.org!r}; "
            "compare the two files",
        )
    # The role in the hello is what its sender went by at its start, and a vote may have changed it since: whoever is
    # behind that vote must get a link to learn of it. What counts is the role in this node's list.
    if hello.suite != ED25519 or peer.public_key != hello.public_key:
        raise HandshakeRefused(
            Refusal.KEY,
            f"node {hello.name!r} is listed with key {peer.public_key.hex()}, its hello shows {hello.public_key.hex()} "
            f"({hello.suite}); the key of a validator changes by vote, of an observer by register_node: before that a "
            "home with the new key is refused, after it the home with the old public_key",
        )
    return peer
