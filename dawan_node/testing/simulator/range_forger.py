"""A liar of catch-up: what it serves of the chain is wrong in one field, each in turn.

Whoever is behind believes a light range by the certificate at its end and the hash links below it, and a body by the
root in its header (``sync.verify``). So a change of any field of any block, result, certificate or link, and of any
byte of a transaction, must be found before anything of the answer is stored, and whoever sent it is cut off. An answer
cut short is none of these: a node sends as much as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.sync.messages import BodiesReply, LightBlock, LightReply, decode_sync_message
from dawan_node.testing.simulator.node import Liar, SimulatedNode

T = TypeVar("T", bound=msgspec.Struct)

#: What a forged answer is called, and what makes it of an honest one; None where that has nothing to forge it in.
Forgery = tuple[str, Callable[[Any, int], Any]]


def _other(value: object) -> Any:
    """A value of the same type, wrong by as little as can be."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"\x01"
    assert isinstance(value, list | tuple)
    return type(value)([*value[:-1], _other(value[-1])])


def _with_other(struct: T, name: str) -> T:
    return msgspec.structs.replace(struct, **{name: _other(getattr(struct, name))})


def _in_block(change: Callable[[LightBlock], LightBlock]) -> Callable[[LightReply, int], LightReply]:
    """The change in one of the blocks, now this one and now that."""

    def forged(reply: LightReply, turn: int) -> LightReply:
        at = turn % len(reply.blocks)
        blocks = (*reply.blocks[:at], change(reply.blocks[at]), *reply.blocks[at + 1 :])
        return msgspec.structs.replace(reply, blocks=blocks)

    return forged


def _in_last_certificate(change: Callable[[CommitCertificate], CommitCertificate]) -> Callable[[LightReply, int], Any]:
    """The change in the certificate that proves the whole range."""

    def forged(reply: LightReply, turn: int) -> LightReply:
        last = reply.blocks[-1]
        certificate = change(CommitCertificate.decode(last.certificate)).encode()
        last = msgspec.structs.replace(last, certificate=certificate)
        return msgspec.structs.replace(reply, blocks=(*reply.blocks[:-1], last))

    return forged


def _header(name: str) -> Callable[[LightBlock], LightBlock]:
    return lambda block: msgspec.structs.replace(block, header=_with_other(block.header, name))


def _result(name: str) -> Callable[[LightBlock], LightBlock]:
    return lambda block: msgspec.structs.replace(block, result=_with_other(block.result, name))


def _fewer_votes(certificate: CommitCertificate) -> CommitCertificate:
    """One vote less: the highest bit goes with its signature."""
    bits = int.from_bytes(certificate.bitmap, "little")
    without = bits ^ (1 << (bits.bit_length() - 1))
    return msgspec.structs.replace(
        certificate,
        bitmap=without.to_bytes(len(certificate.bitmap), "little"),
        signatures=certificate.signatures[:-1],
    )


def _uncertified(reply: LightReply, turn: int) -> LightReply:
    last = msgspec.structs.replace(reply.blocks[-1], certificate=b"")
    return msgspec.structs.replace(reply, blocks=(*reply.blocks[:-1], last))


def _link(reply: LightReply, turn: int) -> LightReply:
    """A block above the range that nobody certified."""
    last = reply.blocks[-1]
    return msgspec.structs.replace(reply, links=(*reply.links, (last.header, last.result)))


def _beginning(reply: LightReply, turn: int) -> LightReply | None:
    return None if len(reply.blocks) < 2 else msgspec.structs.replace(reply, blocks=reply.blocks[1:])


def _repeated(reply: LightReply, turn: int) -> LightReply:
    return msgspec.structs.replace(reply, blocks=(reply.blocks[0], *reply.blocks))


#: Every field of what a light range is made of.
LIGHT_FORGERIES: Final[tuple[Forgery, ...]] = (
    *((f"header.{name}", _in_block(_header(name))) for name in Header.__struct_fields__),
    *((f"result.{name}", _in_block(_result(name))) for name in Result.__struct_fields__),
    *(
        (f"certificate.{name}", _in_last_certificate(lambda found, name=name: _with_other(found, name)))  # type: ignore[misc]
        for name in CommitCertificate.__struct_fields__
    ),
    ("certificate of too few", _in_last_certificate(_fewer_votes)),
    ("no certificate", _uncertified),
    ("a link", _link),
    ("the beginning left out", _beginning),
    ("a block twice", _repeated),
)


def _in_body(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Callable[[BodiesReply, int], BodiesReply]:
    def forged(reply: BodiesReply, turn: int) -> BodiesReply:
        at = turn % len(reply.bodies)
        bodies = (*reply.bodies[:at], change(reply.bodies[at]), *reply.bodies[at + 1 :])
        return msgspec.structs.replace(reply, bodies=bodies)

    return forged


def _of_other_heights(reply: BodiesReply, turn: int) -> BodiesReply | None:
    return None if reply.bodies[0] == reply.bodies[-1] else msgspec.structs.replace(reply, bodies=reply.bodies[::-1])


#: Everything that can be wrong with a body.
BODY_FORGERIES: Final[tuple[Forgery, ...]] = (
    ("a byte of a transaction", _in_body(lambda body: (*body[:-1], body[-1][:-1] + bytes([body[-1][-1] ^ 1])))),
    ("a transaction left out", _in_body(lambda body: body[:-1])),
    ("a transaction twice", _in_body(lambda body: (*body, body[-1]))),
    ("a transaction cut short", _in_body(lambda body: (*body[:-1], body[-1][:-1]))),
    ("transactions in another order", _in_body(lambda body: body[::-1] if body[::-1] != body else body[:-1])),
    ("bodies of other heights", _of_other_heights),
    ("more bodies than asked for", lambda reply, turn: _more(reply)),
)


def _more(reply: BodiesReply) -> BodiesReply:
    return msgspec.structs.replace(reply, bodies=(*reply.bodies, reply.bodies[-1]) * 64)


class RangeForger(Liar):
    """Answers requests of catch-up with one forgery after the other. Its consensus is that of an honest node, so that
    others believe that it has the blocks."""

    def __init__(self, seed: int) -> None:
        self._turns = {
            LightReply: self._in_turn(LIGHT_FORGERIES, seed),
            BodiesReply: self._in_turn(BODY_FORGERIES, seed),
        }

    def other(self, node: SimulatedNode, name: str, topic: Topic, payload: bytes) -> bytes | None:
        """See Liar."""
        if topic is not Topic.SYNC:
            return payload
        try:
            message = decode_sync_message(payload)
        except InvalidMessage:
            return payload  # about snapshots
        if (isinstance(message, LightReply) and message.blocks) or (
            isinstance(message, BodiesReply) and message.bodies
        ):
            turn, (what, forge) = next(self._turns[type(message)])
            forged = forge(message, turn)
            if forged is not None and forged != message:
                node.scene.world.counts[f"range forged: {what}"] += 1
                return bytes(forged.encode())
        return payload

    @staticmethod
    def _in_turn(forgeries: tuple[Forgery, ...], seed: int) -> Iterator[tuple[int, Forgery]]:
        turn = seed
        while True:
            yield turn, forgeries[turn % len(forgeries)]
            turn += 1
