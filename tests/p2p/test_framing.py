"""Frames: one canonical form, limits before memory, any cut of the stream the same frames."""

from __future__ import annotations

import itertools
import time

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import (
    CHAIN_ID_BYTES,
    FRAME_BYTES_MAX,
    TOPIC_BYTES_MAX,
    Frame,
    FrameDecoder,
    Topic,
    encode_frame,
    payload_bytes_max,
)

CHAIN = bytes(range(32))


def chain_of(topic: Topic) -> bytes:
    return b"" if topic is Topic.CONTROL else CHAIN


def raw(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


payloads = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([0, 1, 255, 256, 257, 65_535, 65_536]).map(bytes),
)
frames = st.builds(
    lambda topic, payload: Frame(topic, chain_of(topic), payload[: payload_bytes_max(topic)]),
    st.sampled_from(Topic),
    payloads,
)


@given(frames)
def test_a_frame_is_the_reference_encoding_of_its_three_parts(frame: Frame) -> None:
    encoded = encode_frame(frame.topic, frame.chain_id, frame.payload)
    assert encoded == raw(msgpack.packb([int(frame.topic), frame.chain_id, frame.payload], use_bin_type=True))


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 300_000), max_size=12))
def test_however_the_stream_is_cut_the_same_frames_come_out(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(f.topic, f.chain_id, f.payload) for f in sent)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    decoder = FrameDecoder()
    received = []
    for start, end in itertools.pairwise(edges):
        received += decoder.feed(stream[start:end])
    assert received == sent
    assert decoder.buffered == 0
    assert decoder.violation is None


def test_byte_by_byte_works_too() -> None:
    decoder = FrameDecoder()
    stream = encode_frame(Topic.GOSSIP, CHAIN, b"abc") + encode_frame(Topic.CONTROL, b"", b"")
    received = [frame for index in range(len(stream)) for frame in decoder.feed(stream[index : index + 1])]
    assert received == [Frame(Topic.GOSSIP, CHAIN, b"abc"), Frame(Topic.CONTROL, b"", b"")]


def test_a_large_frame_in_tiny_pieces_costs_time_in_proportion() -> None:
    # 84,000 pieces of 60 bytes; copying what is held at every piece would move 200 GB.
    payload = bytes(payload_bytes_max(Topic.SYNC))
    stream = memoryview(encode_frame(Topic.SYNC, CHAIN, payload))
    decoder = FrameDecoder()
    started = time.monotonic()
    received = [frame for at in range(0, len(stream), 60) for frame in decoder.feed(bytes(stream[at : at + 60]))]
    assert received == [Frame(Topic.SYNC, CHAIN, payload)]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("length", [0, 1, 5, FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_an_impossible_length_is_refused_on_its_four_bytes(length: int) -> None:
    decoder = FrameDecoder()
    with pytest.raises(InvalidMessage, match=f"{length} bytes"):
        decoder.feed(length.to_bytes(4, "big"))
    assert decoder.buffered == 0


@pytest.mark.parametrize("topic", Topic)
def test_each_topic_has_its_own_limit_refused_on_six_bytes(topic: Topic) -> None:
    cap = TOPIC_BYTES_MAX[topic]
    at_limit = FrameDecoder()
    assert at_limit.feed(cap.to_bytes(4, "big") + bytes([0x93, topic])) == []
    decoder = FrameDecoder()
    with pytest.raises(InvalidMessage):
        decoder.feed((cap + 1).to_bytes(4, "big") + bytes([0x93, topic]))
    assert decoder.buffered == 0


@pytest.mark.parametrize("topic", Topic)
def test_the_largest_payload_fits_and_one_byte_more_is_refused_by_the_sender(topic: Topic) -> None:
    payload = bytes(payload_bytes_max(topic))
    assert FrameDecoder().feed(encode_frame(topic, chain_of(topic), payload)) == [
        Frame(topic, chain_of(topic), payload)
    ]
    with pytest.raises(InvalidMessage):
        encode_frame(topic, chain_of(topic), payload + b"x")


@pytest.mark.parametrize(("topic", "chain"), [(Topic.CONTROL, CHAIN), (Topic.SYNC, b""), (Topic.GOSSIP, CHAIN[1:])])
def test_a_chain_id_that_does_not_fit_the_topic_is_refused_on_both_sides(topic: Topic, chain: bytes) -> None:
    with pytest.raises(InvalidMessage):
        encode_frame(topic, chain, b"")
    with pytest.raises(InvalidMessage):
        FrameDecoder().feed(raw(msgpack.packb([int(topic), chain, b"payload"])))


CANONICAL_HEAD = bytes([0x93, Topic.SYNC, 0xC4, 32]) + CHAIN
NOT_CANONICAL = {
    "array of three as array16": b"\xdc\x00\x03" + CANONICAL_HEAD[1:] + b"\xc4\x01x",
    "array of four": b"\x94" + CANONICAL_HEAD[1:] + b"\xc4\x01x\xc0",
    "topic as uint8": b"\x93\xcc\x02" + CANONICAL_HEAD[2:] + b"\xc4\x01x",
    "topic as a bool": b"\x93\xc2" + CANONICAL_HEAD[2:] + b"\xc4\x01x",
    "unknown topic": b"\x93\x05" + CANONICAL_HEAD[2:] + b"\xc4\x01x",
    "chain id as bin16": bytes([0x93, Topic.SYNC, 0xC5, 0, 32]) + CHAIN + b"\xc4\x01x",
    "chain id as str": bytes([0x93, Topic.SYNC, 0xD9, 32]) + CHAIN + b"\xc4\x01x",
    "payload as bin16 where bin8 does": CANONICAL_HEAD + b"\xc5\x00\x01x",
    "payload as bin32 where bin16 does": CANONICAL_HEAD + b"\xc6\x00\x00\x01\x00" + bytes(256),
    "payload as str": CANONICAL_HEAD + b"\xa1x",
    "payload as ext": CANONICAL_HEAD + b"\xc7\x01\x01x",
    "payload shorter than the frame": CANONICAL_HEAD + b"\xc4\x01xy",
    "payload longer than the frame": CANONICAL_HEAD + b"\xc4\x03xy",
    "no payload": CANONICAL_HEAD,
    "half a payload length": CANONICAL_HEAD + b"\xc6\x00",
    "chain id cut off": bytes([0x93, Topic.SYNC, 0xC4, 32]) + CHAIN[:10],
}


@pytest.mark.parametrize("body", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_any_other_encoding_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidMessage):
        FrameDecoder().feed(raw(body))


def test_frames_before_a_violation_are_delivered_however_the_stream_is_cut() -> None:
    stream = encode_frame(Topic.SYNC, CHAIN, b"good") + b"\xff\xff\xff\xff"
    for cut in range(len(stream) + 1):
        decoder = FrameDecoder()
        received: list[Frame] = []
        with pytest.raises(InvalidMessage):
            for piece in (stream[:cut], stream[cut:], b""):
                received += decoder.feed(piece)
        assert received == [Frame(Topic.SYNC, CHAIN, b"good")]
        with pytest.raises(InvalidMessage):
            decoder.feed(encode_frame(Topic.SYNC, CHAIN, b"after"))


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_random_bytes_only_ever_give_frames_or_the_typed_error(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    fed = 0
    for piece in pieces:
        fed += len(piece)
        try:
            received = decoder.feed(piece)
        except InvalidMessage:
            assert decoder.buffered == 0
            return
        for frame in received:
            assert frame.topic in Topic
            assert len(frame.chain_id) in (0, CHAIN_ID_BYTES)
        assert decoder.buffered <= fed


@given(st.lists(frames, min_size=1, max_size=4), st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_changes_content_or_is_refused_and_never_more(sent: list[Frame], at: int, bit: int) -> None:
    stream = bytearray(b"".join(encode_frame(f.topic, f.chain_id, f.payload) for f in sent))
    stream[at % len(stream)] ^= 1 << bit
    decoder = FrameDecoder()
    try:
        received = decoder.feed(bytes(stream))
    except InvalidMessage:
        return
    for frame in received:  # whatever is accepted has exactly one encoding, and it was in the stream
        assert encode_frame(frame.topic, frame.chain_id, frame.payload) in bytes(stream)
