"""The handshake: what it proves, and every way of lying to it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidMessage
from dawan_node.p2p.handshake import (
    CHAIN_IDS_MAX,
    HELLO_TAG,
    PROTOCOL_VERSION,
    Accepted,
    Challenge,
    Connection,
    Control,
    Handshake,
    HandshakeRefused,
    Hello,
    LocalNode,
    Ping,
    Pong,
    Refusal,
    Refused,
    SignedHello,
    Stage,
    decode_control,
    refusal_payload,
)
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.encoding import decode_struct, decoder_for

KEYS = {name: PrivateKey.from_seed(hashlib.sha256(name.encode()).digest()) for name in ("gz1", "hk1", "evil1", "obs1")}
BOOK = {
    "gz1": PeerId("gz1", "gz", Role.VALIDATOR, KEYS["gz1"].public_key),
    "hk1": PeerId("hk1", "hk", Role.VALIDATOR, KEYS["hk1"].public_key),
    "evil1": PeerId("evil1", "evil", Role.VALIDATOR, KEYS["evil1"].public_key),
    "obs1": PeerId("obs1", "hk", Role.OBSERVER, KEYS["obs1"].public_key),
}
CERTIFICATES = {name: hashlib.sha256(b"certificate of " + name.encode()).digest() for name in BOOK}
NOW_MS = 1_800_000_000_000
A, B, C = (bytes([letter]) * 32 for letter in b"abc")


def node(name: str) -> LocalNode:
    peer = BOOK[name]
    return LocalNode("dawan-test", name, peer.org, peer.role, KEYS[name], "dawan-node/0.1", name.encode().ljust(16))


def connection(own: str, peer: str) -> Connection:
    return Connection(CERTIFICATES[own], CERTIFICATES[peer], BOOK[peer].org, peer)


def side(
    own: str, peer: str, *, local: LocalNode | None = None, chains: tuple[bytes, ...] = (A, B), challenge: bytes = b""
) -> Handshake:
    challenge = challenge or hashlib.sha256(f"{own} to {peer}".encode()).digest()
    return Handshake(local or node(own), connection(own, peer), challenge, chains, BOOK.get)


def exchange(one: Handshake, other: Handshake) -> None:
    """Both challenges and both hellos."""
    from_one, from_other = one.start(NOW_MS), other.start(NOW_MS)
    hello_of_one, hello_of_other = one.receive(from_other), other.receive(from_one)
    assert hello_of_one is not None and hello_of_other is not None
    other.receive(hello_of_one)
    one.receive(hello_of_other)


def hello_of(handshake: Handshake, challenge: bytes) -> SignedHello:
    payload = handshake.receive(Challenge(PROTOCOL_VERSION, challenge, NOW_MS).encode())
    assert payload is not None
    message = decode_control(payload)
    assert isinstance(message, SignedHello)
    return message


def waiting_side(own: str = "gz1", peer: str = "hk1") -> Handshake:
    """``own`` after it has taken the peer's challenge: the next thing it wants is the hello."""
    handshake = side(own, peer)
    handshake.receive(Challenge(PROTOCOL_VERSION, bytes(32), NOW_MS).encode())
    return handshake


def refused(handshake: Handshake, payload: bytes) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        handshake.receive(payload)
    assert handshake.stage is not Stage.OPEN
    return caught.value


def test_two_honest_nodes_come_to_an_open_link() -> None:
    gz, hk = side("gz1", "hk1"), side("hk1", "gz1")
    exchange(gz, hk)
    assert (gz.stage, hk.stage) == (Stage.VERIFIED, Stage.VERIFIED)
    assert (gz.peer, hk.peer) == (BOOK["hk1"], BOOK["gz1"])
    accepted = gz.accept()
    assert (gz.stage, hk.stage) == (Stage.VERIFIED, Stage.VERIFIED)
    hk.receive(accepted)
    assert (gz.stage, hk.stage) == (Stage.VERIFIED, Stage.VERIFIED)
    gz.receive(hk.accept())
    assert (gz.is_open, hk.is_open) == (True, True)


def test_both_sides_share_the_channels_that_both_listed_and_no_others() -> None:
    gz, hk = side("gz1", "hk1", chains=(C, A, A)), side("hk1", "gz1", chains=(B, C))
    exchange(gz, hk)
    assert gz.shared_chain_ids == hk.shared_chain_ids == {C}


def test_a_hello_names_only_the_channels_given_for_the_peers_organisation() -> None:
    hello = hello_of(side("gz1", "hk1", chains=(B,)), bytes(32))
    assert decode_struct(decoder_for(Hello), hello.hello, 10_000).chain_ids == [B]
    assert A not in hello.hello


def test_the_hello_is_signed_under_its_own_tag() -> None:
    message = hello_of(side("hk1", "gz1"), bytes(32))
    assert message.signature == KEYS["hk1"].sign(HELLO_TAG, message.hello)
    for tag in (b"dawan:tx:v1", b"dawan:commit:v1", b"dawan:join:v1"):
        forged = SignedHello(message.hello, KEYS["hk1"].sign(tag, message.hello))
        gz = waiting_side()
        forged = with_challenge(forged, gz, tag)
        assert refused(gz, forged.encode()).refusal is Refusal.SIGNATURE


def with_challenge(signed: SignedHello, receiver: Handshake, tag: bytes = HELLO_TAG, key: str = "hk1") -> SignedHello:
    """The same hello for the challenge that ``receiver`` set, signed again."""
    challenge = decode_control(receiver.start(NOW_MS))
    assert isinstance(challenge, Challenge)
    return resigned(signed, key, tag, challenge=challenge.challenge)


def resigned(signed: SignedHello, key: str, tag: bytes = HELLO_TAG, **changes: Any) -> SignedHello:
    hello = decode_struct(decoder_for(Hello), signed.hello, 100_000)
    changed = msgspec.structs.replace(hello, **changes).encode()
    return SignedHello(changed, KEYS[key].sign(tag, changed))


LIES: dict[str, tuple[dict[str, Any], Refusal, str]] = {
    "another protocol": ({"version": 2}, Refusal.VERSION, "upgrade"),
    "another network": ({"network": "other-net"}, Refusal.NETWORK, "consortium.toml"),
    "another node's name": ({"name": "evil1"}, Refusal.NAME, "certificate names 'hk1'"),
    "another organisation": ({"org": "evil"}, Refusal.ORGANISATION, "root of 'hk'"),
    "a key that is not listed": ({"public_key": KEYS["evil1"].public_key}, Refusal.KEY, "public_key"),
    "another suite": ({"suite": "sm2"}, Refusal.KEY, "sm2"),
    "another certificate of its own": ({"own_certificate": bytes(32)}, Refusal.BINDING, "replayed"),
    "another certificate of mine": ({"peer_certificate": bytes(32)}, Refusal.BINDING, "replayed"),
    "certificates the wrong way round": (
        {"own_certificate": CERTIFICATES["gz1"], "peer_certificate": CERTIFICATES["hk1"]},
        Refusal.BINDING,
        "replayed",
    ),
    "another challenge": ({"challenge": bytes(32)}, Refusal.BINDING, "recorded"),
}


@pytest.mark.parametrize(("changes", "refusal", "says"), LIES.values(), ids=LIES.keys())
def test_a_hello_that_lies_in_one_field_is_refused_for_that_field(
    changes: dict[str, Any], refusal: Refusal, says: str
) -> None:
    gz = waiting_side()
    honest = with_challenge(hello_of(side("hk1", "gz1"), bytes(32)), gz)
    error = refused(gz, resigned(honest, "hk1", **changes).encode())
    assert error.refusal is refusal
    assert says in str(error)
    assert not error.by_peer


def test_the_honest_hello_behind_those_lies_is_accepted() -> None:
    gz = waiting_side()
    gz.receive(with_challenge(hello_of(side("hk1", "gz1"), bytes(32)), gz).encode())
    assert gz.stage is Stage.VERIFIED


@pytest.mark.parametrize("field", Hello.__struct_fields__)
def test_no_field_of_a_hello_can_be_changed_without_the_key(field: str) -> None:
    gz = waiting_side()
    honest = with_challenge(hello_of(side("hk1", "gz1"), bytes(32)), gz)
    hello = decode_struct(decoder_for(Hello), honest.hello, 10_000)
    other: dict[str, Callable[[], object]] = {
        "version": lambda: 2,
        "role": lambda: Role.OBSERVER,
        "instance": lambda: bytes(16),
        "chain_ids": lambda: [A, B, C],
        "software": lambda: "dawan-node/9",
        "name": lambda: "obs1",
        "network": lambda: "x",
        "org": lambda: "gz",
        "suite": lambda: "x",
    }
    changed = msgspec.structs.replace(hello, **{field: other.get(field, lambda: bytes(32))()})
    refused(gz, SignedHello(changed.encode(), honest.signature).encode())


def test_a_recorded_hello_is_worthless_on_the_next_connection() -> None:
    gz, hk = side("gz1", "hk1"), side("hk1", "gz1")
    recorded = hk.receive(gz.start(NOW_MS))
    assert recorded is not None
    fresh = side("gz1", "hk1", challenge=bytes(range(32)))
    fresh.receive(Challenge(PROTOCOL_VERSION, bytes(32), NOW_MS).encode())
    assert refused(fresh, recorded).refusal is Refusal.BINDING


def test_a_member_cannot_relay_a_node_to_a_third() -> None:
    # evil1 sits between hk1 (which dialled evil1) and gz1 (which evil1 dialled) and passes everything on.
    hk_to_evil, gz_to_evil = side("hk1", "evil1"), side("gz1", "evil1")
    hello = hk_to_evil.receive(gz_to_evil.start(NOW_MS))
    gz_to_evil.receive(hk_to_evil.start(NOW_MS))
    assert hello is not None
    assert refused(gz_to_evil, hello).refusal is Refusal.ORGANISATION  # the certificate is evil's
    # even with a certificate in the name of hk1, the hello names the certificate hk1 saw and used
    stolen_name = Handshake(
        node("gz1"), Connection(CERTIFICATES["gz1"], CERTIFICATES["evil1"], "hk", "hk1"), bytes(32), (), BOOK.get
    )
    hello = side("hk1", "evil1").receive(stolen_name.start(NOW_MS))
    stolen_name.receive(Challenge(PROTOCOL_VERSION, bytes(32), NOW_MS).encode())
    assert hello is not None
    assert refused(stolen_name, hello).refusal is Refusal.BINDING


def test_a_node_cannot_answer_itself_with_its_own_hello() -> None:
    gz = side("gz1", "hk1")
    reflected = gz.receive(gz.start(NOW_MS))
    assert reflected is not None
    refused(gz, reflected)


def test_a_node_that_is_not_listed_is_refused_with_the_remedy() -> None:
    stranger = Handshake(node("gz1"), connection("gz1", "hk1"), bytes(32), (), lambda name: None)
    hello = side("hk1", "gz1").receive(stranger.start(NOW_MS))
    stranger.receive(Challenge(PROTOCOL_VERSION, bytes(32), NOW_MS).encode())
    assert hello is not None
    error = refused(stranger, hello)
    assert error.refusal is Refusal.UNKNOWN_NODE
    assert "add it there" in str(error)


def test_a_listed_node_of_another_organisation_than_its_certificate_is_refused() -> None:
    book = {**BOOK, "hk1": replace(BOOK["hk1"], org="mo")}
    gz = Handshake(node("gz1"), connection("gz1", "hk1"), bytes(32), (), book.get)
    hello = side("hk1", "gz1").receive(gz.start(NOW_MS))
    gz.receive(Challenge(PROTOCOL_VERSION, bytes(32), NOW_MS).encode())
    assert hello is not None
    assert refused(gz, hello).refusal is Refusal.ORGANISATION


def test_an_older_protocol_is_refused_before_its_hello_is_read() -> None:
    error = refused(side("gz1", "hk1"), Challenge(99, bytes(32), NOW_MS).encode())
    assert error.refusal is Refusal.VERSION
    assert "99" in str(error)


@pytest.mark.parametrize("stage", ["start", "hello", "verified", "open"])
@pytest.mark.parametrize(
    "message", [Challenge(1, bytes(32), NOW_MS), Accepted(), SignedHello(b"x", bytes(64)), Ping(1), Pong(1)]
)
def test_a_message_out_of_turn_is_refused(stage: str, message: Control) -> None:
    gz, hk = side("gz1", "hk1"), side("hk1", "gz1")
    expected = {"start": Challenge, "hello": SignedHello, "verified": Accepted, "open": None}[stage]
    if stage == "hello":
        gz.receive(hk.start(NOW_MS))
    elif stage != "start":
        exchange(gz, hk)
        if stage == "open":
            hk.receive(gz.accept())
            gz.receive(hk.accept())
    if expected is not None and isinstance(message, expected):
        return
    with pytest.raises(HandshakeRefused) as caught:
        gz.receive(message.encode())
    assert caught.value.refusal is Refusal.MALFORMED


def test_a_peers_acceptance_alone_opens_nothing() -> None:
    gz, hk = side("gz1", "hk1"), side("hk1", "gz1")
    exchange(gz, hk)
    gz.receive(hk.accept())
    assert not gz.is_open
    refused(gz, Accepted().encode())  # nor does accepting twice


def test_the_peers_refusal_carries_its_reason() -> None:
    error = HandshakeRefused(Refusal.KEY, "an old\nkey\x1b[31m" + "!" * 1_000)
    told = refused(side("hk1", "gz1"), refusal_payload(error))
    assert (told.refusal, told.by_peer) == (Refusal.KEY, True)
    assert str(told).startswith("an old?key?[31m!!!")
    assert len(str(told)) == 512


def test_a_refusal_that_would_write_control_characters_into_a_log_is_malformed() -> None:
    with pytest.raises(InvalidMessage):
        decode_control(msgpack.packb([3, "key", "a\nfake line"]))


def test_chain_ids_are_bounded_sorted_and_distinct() -> None:
    many = [index.to_bytes(32, "big") for index in range(CHAIN_IDS_MAX + 5)]
    gz, hk = side("gz1", "hk1", chains=tuple(reversed(many))), side("hk1", "gz1", chains=tuple(many))
    exchange(gz, hk)
    assert len(gz.shared_chain_ids) == CHAIN_IDS_MAX
    for wrong in ([B, A], [A, A], many):
        receiver = waiting_side()
        honest = with_challenge(hello_of(side("hk1", "gz1"), bytes(32)), receiver)
        fields = msgpack.unpackb(honest.hello)
        fields[Hello.__struct_fields__.index("chain_ids")] = wrong
        hello = msgpack.packb(fields)
        forged = SignedHello(hello, KEYS["hk1"].sign(HELLO_TAG, hello))
        assert refused(receiver, forged.encode()).refusal is Refusal.MALFORMED


CONTROLS = [
    Challenge(1, bytes(32), NOW_MS),
    SignedHello(b"hello", bytes(64)),
    Accepted(),
    Refused(Refusal.NETWORK, "why"),
    Ping(7),
    Pong(2**63 - 1),
]


@pytest.mark.parametrize("message", CONTROLS, ids=lambda message: type(message).__name__)
def test_a_control_message_survives_the_wire(message: Control) -> None:
    assert decode_control(message.encode()) == message


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda tail: b"\x92\x01" + tail)))
def test_random_control_bytes_only_ever_give_a_message_or_the_typed_error(payload: bytes) -> None:
    try:
        message = decode_control(payload)
    except InvalidMessage:
        return
    assert message.encode() == payload


@given(st.sampled_from(CONTROLS), st.integers(0), st.integers(1, 255))
def test_a_damaged_control_message_is_another_message_or_refused(message: Control, at: int, flip: int) -> None:
    damaged = bytearray(message.encode())
    damaged[at % len(damaged)] ^= flip
    with contextlib.suppress(InvalidMessage):
        assert decode_control(bytes(damaged)).encode() == bytes(damaged)


@given(st.integers(0), st.integers(1, 255))
def test_a_damaged_hello_never_verifies(at: int, flip: int) -> None:
    gz, hk = side("gz1", "hk1"), side("hk1", "gz1")
    hello = hk.receive(gz.start(NOW_MS))
    assert hello is not None
    gz.receive(hk.start(NOW_MS))
    damaged = bytearray(hello)
    damaged[at % len(damaged)] ^= flip
    with pytest.raises(HandshakeRefused):
        gz.receive(bytes(damaged))


@given(st.lists(st.binary(max_size=120), max_size=6))
def test_a_handshake_fed_with_anything_only_ever_refuses(payloads: list[bytes]) -> None:
    gz = side("gz1", "hk1")
    with pytest.raises(HandshakeRefused):
        for payload in [*payloads, b"\xc0"]:
            gz.receive(payload)
