"""Frames: how one TLS byte stream carries many separate messages.

TCP delivers bytes, not messages. Each message therefore travels as a *frame*: four bytes of length (unsigned,
big-endian), then a body of exactly that length:

    body = msgpack [topic: int, chain_id: bin (32 bytes, empty for CONTROL), payload: bin]

A *topic* says which part of the node the payload is for and how urgent it is; the chain id says for which channel.
The payload stays opaque here: its own decoder checks it.

The body's first bytes can only be written in one way (formats A.1: shortest form), so the decoder checks those few
bytes instead of encoding the whole body again. Every limit is checked on the first six bytes of a frame, before
memory is set aside for the rest (reliability.md rows F2 and F3).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import msgspec

from dawan_node.errors import InvalidMessage

KIB: Final = 1024
MIB: Final = 1024 * KIB


class Topic(IntEnum):
    """What a payload is for. The order of the first four is also the order of urgency."""

    CONSENSUS = 0  # votes, proposals, view changes
    FETCH = 1  # bodies that a proposal names and a node lacks
    SYNC = 2  # ranges of decided blocks
    GOSSIP = 3  # new transactions, announcements
    CONTROL = 4  # the link itself: handshake, ping


#: The largest body a peer may send at all: one block of 4 MiB with its header, certificate and lists.
FRAME_BYTES_MAX: Final = 5 * MIB

#: The largest body per topic, each with its reason. A smaller limit is a smaller weapon.
TOPIC_BYTES_MAX: Final = MappingProxyType(
    {
        # A leaf list holds at most 65,536 hashes (formats A.1), 2.2 MiB; a NEW-VIEW of 22 validators is 110 KiB.
        Topic.CONSENSUS: 3 * MIB,
        # A reply holds at most 4 MiB of envelopes (`gossip.REPLY_BYTES_MAX`) and a few bytes beside each.
        Topic.FETCH: 4 * MIB + 64 * KIB,
        Topic.SYNC: FRAME_BYTES_MAX,
        # A pushed block of `gossip.BLOCK_BYTES_MAX` with a few bytes around it; all else there is smaller still.
        Topic.GOSSIP: MIB + KIB,
        # Handshake and pings; a hello with 1,024 channels has 35 KiB.
        Topic.CONTROL: 64 * KIB,
    }
)

CHAIN_ID_BYTES: Final = 32
LENGTH_BYTES: Final = 4

# Array of three, topic, bin8 marker and length of the chain id, the chain id, bin32 marker and length.
_OVERHEAD_BYTES_MAX: Final = 1 + 1 + 2 + CHAIN_ID_BYTES + 5
_BODY_BYTES_MIN: Final = 1 + 1 + 2 + 2

_ARRAY_OF_THREE: Final = 0x93
_BIN8: Final = 0xC4
_BIN16: Final = 0xC5
_BIN32: Final = 0xC6
# Length, array marker, topic: what is needed to judge a frame.
_PREFIX: Final = struct.Struct(">IBB")
_LENGTH: Final = struct.Struct(">I")
_TOPICS: Final = tuple(Topic)
_CAPS: Final = tuple(TOPIC_BYTES_MAX[topic] for topic in Topic)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message as it came off a link."""

    topic: Topic
    chain_id: bytes
    payload: bytes


def payload_bytes_max(topic: Topic) -> int:
    """The longest payload that fits a frame of ``topic``."""
    return TOPIC_BYTES_MAX[topic] - _OVERHEAD_BYTES_MAX


def encode_frame(topic: Topic, chain_id: bytes, payload: bytes) -> bytes:
    """The bytes of one frame; the payload is copied once.

    Raises InvalidMessage when the chain id does not fit the topic or the payload exceeds the topic's limit: the peer
    would close the link for it.
    """
    if len(chain_id) != (0 if topic is Topic.CONTROL else CHAIN_ID_BYTES):
        raise InvalidMessage(f"a {topic.name} frame cannot carry a chain id of {len(chain_id)} bytes")
    size = len(payload)
    if size > payload_bytes_max(topic):
        raise InvalidMessage(
            f"a payload of {size} bytes does not fit a {topic.name} frame ({payload_bytes_max(topic)} at most)"
        )
    if size <= 0xFF:
        marker = bytes((_BIN8, size))
    elif size <= 0xFFFF:
        marker = b"\xc5" + size.to_bytes(2, "big")
    else:
        marker = b"\xc6" + size.to_bytes(4, "big")
    head = bytes((_ARRAY_OF_THREE, topic, _BIN8, len(chain_id)))
    body_length = len(head) + len(chain_id) + len(marker) + size
    return b"".join((body_length.to_bytes(LENGTH_BYTES, "big"), head, chain_id, marker, payload))


class FrameDecoder:
    """Turns the bytes of a link, cut anywhere, into frames.

    ``feed`` costs time in proportion to the bytes fed, however they are cut: a frame that is not complete yet is
    only measured, never scanned again. It holds at most one incomplete frame and what came after it in one read.

    The first violation ends the stream. Frames that were complete before it are still returned; then ``violation``
    is set, and the next ``feed`` raises it: how the network cut the bytes never decides what a peer said.
    """

    __slots__ = ("_held", "violation")

    def __init__(self) -> None:
        self._held = bytearray()
        self.violation: InvalidMessage | None = None

    @property
    def buffered(self) -> int:
        """Bytes of an incomplete frame; 0 between frames. A link puts a deadline on anything above 0."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order. Raises InvalidMessage at a violation."""
        if self.violation is not None:
            raise self.violation
        held = self._held
        source: bytes | bytearray = data
        if held:
            held += data
            source = held
        frames: list[Frame] = []
        position = 0
        try:
            with memoryview(source) as view:
                while (end := _frame_end(view, position)) is not None:
                    frames.append(_decode_body(view, position + LENGTH_BYTES, end))
                    position = end
        except InvalidMessage as error:
            self.violation = error
            self._held = bytearray()
            if frames:
                return frames
            raise
        if source is held:
            del held[:position]
        elif position < len(data):
            held += memoryview(data)[position:] if position else data
        return frames


def _frame_end(view: memoryview, start: int) -> int | None:
    """Where the frame that begins at ``start`` ends; None while it is not complete.

    Raises InvalidMessage as soon as the bytes present show that it may never be accepted.
    """
    available = len(view) - start
    if available < LENGTH_BYTES:
        return None
    if available < _PREFIX.size:
        (length,) = _LENGTH.unpack_from(view, start)
        if not _BODY_BYTES_MIN <= length <= FRAME_BYTES_MAX:
            raise InvalidMessage(f"a frame of {length} bytes; {_BODY_BYTES_MIN} to {FRAME_BYTES_MAX} are allowed")
        return None
    length, marker, topic = _PREFIX.unpack_from(view, start)
    if not _BODY_BYTES_MIN <= length <= FRAME_BYTES_MAX:
        raise InvalidMessage(f"a frame of {length} bytes; {_BODY_BYTES_MIN} to {FRAME_BYTES_MAX} are allowed")
    if marker != _ARRAY_OF_THREE:
        raise InvalidMessage(f"a frame begins with byte 0x{marker:02x}, not with an array of three")
    if topic >= len(_TOPICS):
        raise InvalidMessage(f"a frame of unknown topic {topic}")
    if length > _CAPS[topic]:
        raise InvalidMessage(f"a {_TOPICS[topic].name} frame of {length} bytes; at most {_CAPS[topic]} are allowed")
    end = start + LENGTH_BYTES + length
    return end if end <= len(view) else None


def _decode_body(view: memoryview, start: int, end: int) -> Frame:
    """The frame whose body is ``view[start:end]``; ``_frame_end`` has judged its length and first two bytes."""
    topic = _TOPICS[view[start + 1]]
    chain_length = view[start + 3]
    if view[start + 2] != _BIN8 or chain_length != (0 if topic is Topic.CONTROL else CHAIN_ID_BYTES):
        raise InvalidMessage(f"a {topic.name} frame without the chain id its topic requires")
    chain_end = start + 4 + chain_length
    if chain_end + 2 > end:
        raise InvalidMessage("a frame that ends before its payload")
    marker = view[chain_end]
    if marker == _BIN8:
        payload_start, shortest = chain_end + 2, 0
    elif marker == _BIN16:
        payload_start, shortest = chain_end + 3, 0x100
    elif marker == _BIN32:
        payload_start, shortest = chain_end + 5, 0x10000
    else:
        raise InvalidMessage(f"a frame whose payload begins with byte 0x{marker:02x} is not binary")
    if payload_start > end:
        raise InvalidMessage("a frame that ends before its payload")
    size = int.from_bytes(view[chain_end + 1 : payload_start], "big")
    if size < shortest or payload_start + size != end:
        raise InvalidMessage("a frame whose payload length is not the one canonical length")
    return Frame(topic, bytes(view[start + 4 : chain_end]), bytes(view[payload_start:end]))
