"""Byzantine noise: bytes that are no messages, numbers at the end of their range, false heights, endless questions."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from dawan_node.consensus.messages import (
    Commit,
    Decision,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ProposalRequest,
    SlotSummary,
    Status,
    Suspect,
    SuspectEntry,
    ViewChange,
)
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.encoding import INT_MAX
from dawan_node.primitives.genesis import WINDOW_CEILING
from dawan_node.testing.attackers.attacker import DELIVERIES_MAX, Attacker, Delivery, View, others, to_all
from dawan_node.testing.attackers.forger import UNSIGNED, Forger

_BURST: Final = 16  # payloads per tick of a flood


class Garbage(Attacker):
    """Sends bytes: noise, messages cut short, lengthened, with one bit flipped or another kind, claimed lengths that
    are not there, deep nesting, numbers not in their shortest form (rows F1 to F4).

    Stopped by: the byte cap of each kind before decoding, typed decoding, and the comparison with the one canonical
    encoding; whatever fails is InvalidMessage and the peer's fault.
    """

    name: ClassVar[str] = "garbage"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._models: deque[bytes] = deque(maxlen=32)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        self._models.append(message.encode()[:65_536])
        return []

    def tick(self, view: View) -> list[Delivery]:
        audience = others(view)
        if not audience:
            return []
        return [Delivery(self.rng.choice(audience), self.junk()) for _ in range(_BURST)]

    def junk(self) -> bytes:
        """Bytes that no honest node sends; a few of them decode all the same."""
        rng = self.rng
        if not self._models or rng.random() < 0.3:
            return rng.choice(
                (
                    b"",
                    rng.randbytes(rng.randrange(1, 300)),
                    bytes([0x90 | rng.randrange(16), rng.randrange(16)]) + rng.randbytes(64),
                    b"\x97\x00" + b"\x91" * rng.randrange(2_000),
                    b"\xdd\xff\xff\xff\xff\x02",
                    b"\x97\x02\xcb" + bytes(8),
                    rng.randbytes(1) * rng.randrange(70_000),
                )
            )
        model = bytearray(self._models[rng.randrange(len(self._models))])
        at = rng.randrange(len(model))
        kind = rng.randrange(6)
        if kind == 0:
            return bytes(model[:at])
        if kind == 1:
            return bytes(model) + rng.randbytes(rng.randrange(1, 8))
        if kind == 2:
            model[at] ^= 1 << rng.randrange(8)
            return bytes(model)
        if kind == 3:
            model[1] = rng.randrange(256)
            return bytes(model)
        if kind == 4:  # the kind as a longer integer: the same value, not canonical
            return bytes([model[0], 0xCC]) + bytes(model[1:])
        return bytes(model[:at]) + rng.randbytes(rng.randrange(1, 64)) + bytes(model[at:])


class HugeNumbers(Attacker):
    """Messages of every kind, well signed, with views, heights, epochs, indexes, counts and times of 2^63 - 1 (besu
    GHSA-23rh-rrqg-wq82: an uncapped round; FISCO #4308: one node at view 10,000 blocked all).

    Stopped by: windows and indexes are compared, never allocated; of an unknown view one per author is kept, at most.
    """

    name: ClassVar[str] = "huge-numbers"

    def tick(self, view: View) -> list[Delivery]:
        messages = self.messages(view)
        chosen = self.rng.sample(messages, min(6, len(messages)))
        return [delivery for message in chosen for delivery in to_all(message.encode(), others(view))]

    def messages(self, view: View) -> list[Message]:
        """One of each kind and number."""
        huge, noise, own, epoch = INT_MAX, self.rng.randbytes(32), view.own, view.epoch
        sign = self.forger
        header = Header(
            1, view.chain_id, epoch, huge, noise, noise, huge, huge, huge, huge, view.validators.hash, False
        )
        here = msgspec.structs.replace(header, height=view.height + 1, proposer=own, tx_count=1, body_bytes=1)
        result = Result(huge, header.hash, noise, noise, noise, view.validators.hash)
        pc = sign.prepared_certificate(view, huge, huge, header.hash, range(view.q))
        certificate = sign.commit_certificate(view, huge, huge, header.hash, result.hash, range(view.q))
        wishes = sign.suspects(view, huge, range(view.q))
        full = b"\xff" * 8
        slots = tuple(SlotSummary(huge, True, full, full) for _ in range(2 * WINDOW_CEILING))
        change = sign.view_change(view, own, huge, wishes, ((header, certificate),), ((header, pc),))
        return [
            Status(huge, huge, huge, huge, noise, slots, full),
            Status(epoch, view.view, view.target, huge, noise, (), b""),
            Status(epoch, huge, huge, view.height, noise, (), full),
            sign.pre_prepare(view, huge, header, (noise,)),
            sign.pre_prepare(view, view.view, header, (noise,)),
            sign.pre_prepare(view, view.view, here, (noise,)),
            sign.prepare(view, own, huge, huge, noise),
            sign.prepare(view, own, view.view, huge, noise),
            sign.prepare(view, own, huge, view.height + 1, noise),
            sign.signed(view, Prepare(huge, huge, huge, noise, huge, UNSIGNED)),
            sign.commit(view, own, huge, huge, noise, noise),
            sign.commit(view, own, view.view, huge, noise, noise),
            sign.commit(view, own, huge, view.height + 1, noise, noise),
            sign.signed(view, Commit(huge, huge, huge, noise, noise, huge, UNSIGNED)),
            sign.suspect(view, own, huge),
            sign.signed(view, Suspect(huge, huge, huge, UNSIGNED)),
            change,
            sign.view_change(view, own, huge, wishes),
            sign.signed(view, ViewChange(huge, huge, wishes, (), (), huge, UNSIGNED)),
            sign.signed(
                view, ViewChange(epoch, huge, (SuspectEntry(huge, huge, UNSIGNED),) * view.q, (), (), own, UNSIGNED)
            ),
            sign.new_view(view, huge, [change] * view.q, [(huge, noise)]),
            sign.signed(view, NewView(huge, huge, (), (), UNSIGNED)),
            Decision(header, result, (), certificate, (noise,)),
            Decision(header, result, ((header, result),) * 64, certificate, ()),
            ProposalRequest(huge, huge, huge, noise),
            ProposalRequest(epoch, view.view, huge, noise),
        ]


class LyingHeight(Attacker):
    """Claims heights it does not have, 10^9 and then less, or none at all: in STATUS and to those who catch up (C6;
    CometBFT ASA-2025-001 stalled a node that waited for the greatest claim).

    Stopped by: the target of catch-up is what f + 1 claim, or what a certificate proves; a peer that cannot deliver is
    left for another.
    """

    name: ClassVar[str] = "lying-height"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._mode = rng.choice(("falling", "next", "nothing", "changing"))
        self._claims = 0

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, Status):
            return super().send(message, receivers, view)
        lie = msgspec.structs.replace(
            message, height=self.claimed_height(message.height, view), block_hash=self.rng.randbytes(32)
        )
        return to_all(lie.encode(), receivers)

    def claimed_height(self, height: int, view: View) -> int:
        self._claims += 1
        if self._mode == "falling":
            return max(height + 1, 10**9 >> (self._claims % 40))
        if self._mode == "next":
            return height + 1
        if self._mode == "nothing":
            return 0
        return self.rng.choice((0, height, height + 1, height + view.window + 2, height + 1_000, 10**9, INT_MAX))


class StatusLiar(Attacker):
    """Claims to lack everything, in every STATUS and many more of them, so that others send it all they have.

    Stopped by: every reply to one link is limited in time and size (1.14): a STATUS is no amplifier.
    """

    name: ClassVar[str] = "status-liar"

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, Status):
            return super().send(message, receivers, view)
        return to_all(self._poor(view, view.view, view.target).encode(), receivers)

    def tick(self, view: View) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for _ in range(8):
            claims = ((view.view, view.target), (0, 0), (0, view.target), (view.view, view.target + 1))
            number, target = self.rng.choice(claims)
            deliveries += to_all(self._poor(view, number, target).encode(), others(view))
        return deliveries[:DELIVERIES_MAX]

    def _poor(self, view: View, number: int, target: int) -> Status:
        height = self.rng.choice((0, max(0, view.height - 1), view.height))
        slots = tuple(SlotSummary(height + step, False, b"", b"") for step in range(self.rng.randrange(8)))
        return Status(view.epoch, number, target, height, self.rng.randbytes(32), slots, b"")


class ProposalRequestFlood(Attacker):
    """Asks again and again for the proposals in flight, the largest messages there are, and for ones that do not exist.

    Stopped by: replies to one link are limited in time; nothing is looked up that is not in the log of the view.
    """

    name: ClassVar[str] = "proposal-request-flood"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._known: deque[ProposalRequest] = deque(maxlen=16)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        if isinstance(message, Prepare):
            self._known.append(ProposalRequest(message.epoch, message.view, message.height, message.block_hash))
        elif isinstance(message, PrePrepare):
            header = message.header
            self._known.append(ProposalRequest(header.epoch, message.view, header.height, header.hash))
        return []

    def tick(self, view: View) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for _ in range(_BURST):
            if self._known and self.rng.random() < 0.8:
                request = self._known[self.rng.randrange(len(self._known))]
            else:
                height = view.height + self.rng.randint(1, 2 * view.window)
                request = ProposalRequest(view.epoch, view.view, height, self.rng.randbytes(32))
            deliveries += to_all(request.encode(), others(view))
        return deliveries[:DELIVERIES_MAX]
