"""The one way in for bytes from peers: canonical, bounded, and never an exception but InvalidMessage (1.14)."""

from __future__ import annotations

import contextlib
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.consensus.messages import (
    MESSAGE_BYTES_MAX,
    Decision,
    Message,
    ProposalRequest,
    SlotSummary,
    Status,
    decode_message,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.encoding import encode
from dawan_node.testing.replica_lab import ReplicaLab


def examples() -> list[Message]:
    """One of each kind."""
    lab = ReplicaLab(honest=())
    header = lab.block("a")
    certificate = lab.certificate(0, "a", (0, 1, 2))
    view_changes = [
        lab.view_change(v, 1, last=("a", certificate), prepared=[("ab", lab.prepared(0, "ab", (0, 1, 2)))])
        for v in (1, 2, 3)
    ]
    return [
        Status(0, 1, 2, 3, header.hash, (SlotSummary(4, True, b"\x01", b"\x00"),), b"\x07"),
        lab.pre_prepare(0, "a"),
        lab.prepare(1, 0, "a"),
        lab.commit(2, 0, "a"),
        lab.suspect(3, 7),
        view_changes[0],
        lab.new_view(1, view_changes, ["ab"]),
        Decision(header, lab.result(header), ((lab.block("ab"), lab.result(lab.block("ab"))),), certificate, ()),
        ProposalRequest(0, 1, 2, header.hash),
    ]


EXAMPLES = examples()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_kind_decodes_to_what_was_encoded(number: int) -> None:
    message = EXAMPLES[number]
    data = message.encode()
    assert data[1] == number
    assert decode_message(data) == message


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_truncation_and_extension_is_refused(number: int) -> None:
    data = EXAMPLES[number].encode()
    for length in range(len(data)):
        with pytest.raises(InvalidMessage):
            decode_message(data[:length])
    with pytest.raises(InvalidMessage):
        decode_message(data + b"\x00")


def test_another_encoding_of_the_same_message_is_refused() -> None:
    data = EXAMPLES[4].encode()  # SUSPECT: epoch 0, view 7
    assert data[2:4] == b"\x00\x07"
    with pytest.raises(InvalidMessage, match="canonical"):
        decode_message(data[:3] + b"\xcc\x07" + data[4:])


def test_messages_beyond_the_cap_of_their_kind_are_refused_undecoded() -> None:
    with pytest.raises(InvalidMessage, match="at most 512"):
        decode_message(EXAMPLES[2].encode() + bytes(600))
    with pytest.raises(InvalidMessage):
        decode_message(b"\x96\x01" + bytes(MESSAGE_BYTES_MAX))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    with contextlib.suppress(InvalidMessage):
        decode_message(data)


def test_damaged_messages_never_break_a_replica() -> None:
    """Byte flips that still decode are handed to replicas in several states: nothing but InvalidMessage comes out."""
    rng = random.Random(7)
    lab = ReplicaLab(honest=(0, 1, 3))
    lab.propose(0, "a")
    lab.change_view(1, 3)
    stepped = 0
    for _ in range(4_000):
        data = bytearray(rng.choice(EXAMPLES).encode())
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(2, len(data))] = rng.choice([0, 1, 4, 0x7F, 0xC0, 0xFF, rng.randrange(256)])
        for index in (0, 1, 3):
            try:
                lab[index].replica.step(bytes(data), rng.choice([None, 0, 1, 2, 3, 99]), lab.now)
            except InvalidMessage:
                continue
            stepped += 1
            lab.pump(index)
    assert stepped > 1_000
    assert all(lab[index].replica.height <= 1 for index in (0, 1, 3))


def test_fields_at_their_extremes_never_break_a_replica() -> None:
    """Every integer of every message at 0, 1, huge and one beyond a set of four."""
    for message in EXAMPLES:
        for name in message.__struct_fields__:
            if not isinstance(getattr(message, name), int):
                continue
            for value in (0, 1, 3, 4, 63, 64, 2**31, 2**63 - 1):
                lab = ReplicaLab(honest=(1,))
                lab.deliver(msgspec.structs.replace(message, **{name: value}), 1, link=3)
                lab.tick(1_000)
                assert lab[1].replica.height <= 2


def test_the_signed_bytes_are_those_of_amendment_a2() -> None:
    lab = ReplicaLab(honest=())
    assert suspect_bytes(lab.chain_id, 3, 4) == encode([lab.chain_id, 3, 4])
    message = lab.view_change(1, 2)
    others = sha256(encode([message.suspects, message.last, message.prepared, message.voter]))
    assert view_change_bytes(lab.chain_id, message) == encode([lab.chain_id, 0, 2, others])
    opening = lab.new_view(2, [message], [])
    others = sha256(encode([opening.view_changes, opening.prepares]))
    assert new_view_bytes(lab.chain_id, opening) == encode([lab.chain_id, 0, 2, others])
