"""Catch-up among liars who say anything: only true blocks come out, in order, and with honest peers it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from dawan_node.errors import InvalidMessage
from dawan_node.sync import (
    BodiesReply,
    BusyReply,
    CatchUp,
    HeadMessage,
    LightBlock,
    LightReply,
    LightRequest,
    SyncLimits,
    SyncMessage,
    SyncRequest,
    decode_sync_message,
)
from dawan_node.sync.asks import ATTEMPTS_MAX
from dawan_node.sync.catch_up import BATCHES_MAX, LIGHT_AHEAD_MAX
from tests.fuzz.drawing import Draw, damaged, digest, number
from tests.fuzz.seeds import sync_chain
from tests.sync.chain import CHAIN_ID

replace = msgspec.structs.replace
T = TypeVar("T")

#: One of four validators lies, and any number of observers.
LIARS = ("validator", "observer", "stranger")
HONEST = ("honest 1", "honest 2", "honest 3")


class CatchUpTarget:
    """One node's catch-up, and the world around it."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.chain = sync_chain()
        self.height = draw.choice((0, 3, 11, 12, 13))
        self.limits = SyncLimits(parallel=draw.integer(1, 3), behind_blocks=draw.integer(1, 2), behind_ms=0)
        self.catch_up = CatchUp(CHAIN_ID, self.chain.anchors[self.height], self.limits)
        self.now_ms = 0
        self.open: list[tuple[str, SyncRequest]] = []
        self.in_hand: list[int] = []

    def run(self) -> None:
        for _ in range(self.draw.integer(1, 30)):
            self.now_ms += self.draw.choice((0, 0, 1, 999, 15_000))
            self.one_event()
            self.pump()
        self.arrive()

    def one_event(self) -> None:
        draw, catch_up = self.draw, self.catch_up
        peer = draw.choice(LIARS)
        match draw.integer(0, 7):
            case 0 | 1 | 2:
                self.receive(peer, self.message(peer))
            case 3:
                # f + 1 claims, or a valid certificate, are what stands behind this: never a liar alone.
                holders = draw.choice(((), LIARS, HONEST, ("nobody",)))
                catch_up.certified(draw.integer(0, self.chain.height), holders, self.now_ms)
            case 4:
                catch_up.peer_gone(peer, self.now_ms)
                self.open = [each for each in self.open if each[0] != peer]
            case 5:
                requests = [each for each in self.open if each[0] == peer]
                number_ = requests[0][1].id if requests else draw.integer(0, 9)
                catch_up.arrived(peer, BusyReply(number_, number(draw, 500)), self.now_ms)
            case 6:
                catch_up.tick(self.now_ms)
            case _:
                self.finish_block(draw.integer(0, 2))

    def message(self, peer: str) -> SyncMessage:
        """What ``peer`` says: a head or a reply whose every field may be wrong."""
        draw, chain = self.draw, self.chain
        if not draw.integer(0, 2):
            true = chain.head(draw.integer(0, chain.height))
            height = number(draw, true.height, self.height, self.height + 1)
            certificate = draw.choice((true.certificate, damaged(draw, true.certificate)[:4_000], b""))
            return HeadMessage(height, digest(draw, true.block_hash), number(draw, 0, 1), certificate)
        asked = [request for name, request in self.open if name == peer]
        request = draw.choice(asked) if asked else LightRequest(draw.integer(0, 5), self.height + 1, self.height + 2)
        reply = chain.answer(request)
        if isinstance(reply, BodiesReply):
            return BodiesReply(
                number(draw, request.id), tuple(self.mangled(list(reply.bodies), self.changed_body))[:64]
            )
        assert isinstance(reply, LightReply)
        blocks = self.mangled(list(reply.blocks), self.changed)
        other = chain.blocks[draw.integer(0, chain.height - 1)]
        links = ((other.header, other.result),) * draw.choice((0, 0, 0, 1, 2))
        return LightReply(number(draw, request.id), tuple(blocks), links)

    def mangled(self, items: list[T], change: Callable[[T], T]) -> list[T]:
        """Some items changed, one missing or one too many."""
        draw = self.draw
        for _ in range(draw.integer(0, 2)):
            if items:
                at = draw.integer(0, len(items) - 1)
                items[at] = change(items[at])
        match draw.integer(0, 7):
            case 5:
                return items[1:] or items
            case 6:
                return items + items[-1:]
            case 7:
                return items[:-1]
        return items

    def changed_body(self, envelopes: tuple[bytes, ...]) -> tuple[bytes, ...]:
        other = self.chain.blocks[self.draw.integer(0, self.chain.height - 1)]
        return self.draw.choice(((), other.envelopes, envelopes[::-1], (b"",), (*envelopes, b"")))

    def changed(self, block: LightBlock) -> LightBlock:
        draw, chain = self.draw, self.chain
        other = chain.blocks[draw.integer(0, chain.height - 1)].light
        match draw.integer(0, 6):
            case 0:
                return replace(block, certificate=b"")
            case 1:
                return replace(block, certificate=other.certificate)
            case 2:
                return replace(block, certificate=damaged(draw, block.certificate)[:4_000])
            case 3:
                return other
            case 4:
                return replace(block, header=replace(block.header, barrier=not block.header.barrier))
            case 5:
                name = draw.choice(("state_root", "next_valset_hash", "parent_result_hash", "block_hash"))
                return replace(block, result=replace(block.result, **{name: bytes(32)}))
            case _:
                name = draw.choice(("height", "epoch", "tx_count", "body_bytes", "proposer", "timestamp_ms"))
                value = number(draw, getattr(block.header, name))
                return replace(block, header=replace(block.header, **{name: value}))

    def receive(self, peer: str, message: SyncMessage) -> None:
        """As a channel takes it: bytes that do not decode end the link."""
        data = message.encode()
        if not self.draw.integer(0, 9):
            data = damaged(self.draw, data)
        try:
            message = decode_sync_message(data)
        except InvalidMessage:
            self.catch_up.peer_gone(peer, self.now_ms)
            return
        if isinstance(message, HeadMessage):
            self.catch_up.head(peer, message, peer == "validator", self.now_ms)
        elif isinstance(message, LightReply | BodiesReply):
            self.catch_up.arrived(peer, message, self.now_ms)
            self.open = [each for each in self.open if (each[0], each[1].id) != (peer, message.id)]

    def pump(self) -> None:
        for _ in range(20):
            ready = self.catch_up.ready()
            if not ready:
                break
            self.open = (self.open + list(ready.requests))[-50:]
            for blame in ready.blames:
                assert blame.peer not in HONEST or not blame.proven, blame
            for block in ready.blocks:
                height = block.header.height
                true = self.chain.blocks[height - 1]
                assert height == (self.in_hand[-1] if self.in_hand else self.height) + 1
                assert (block.header, block.result, block.envelopes) == (true.header, true.result, true.envelopes)
                self.in_hand.append(height)
        self.assert_bounded()

    def finish_block(self, how: int) -> None:
        """The next block in hand is stored, or all are dropped; or consensus was faster."""
        if how == 0 and self.in_hand:
            self.in_hand.clear()
            self.catch_up.dropped(self.now_ms)
        elif (how == 1 or self.in_hand) and self.height < self.chain.height:
            self.height += 1
            self.in_hand = [height for height in self.in_hand if height > self.height]
            self.catch_up.applied(self.chain.anchors[self.height], self.now_ms)

    def arrive(self) -> None:
        """Honest peers turn up, and time passes."""
        top = self.chain.height
        for _ in range(400):
            for peer in HONEST:
                self.catch_up.head(peer, self.chain.head(), True, self.now_ms)
            self.pump()
            if self.in_hand:
                self.finish_block(2)
                continue
            for peer, request in self.open:
                if peer in HONEST:
                    self.catch_up.arrived(peer, self.chain.answer(request), self.now_ms)
            self.open.clear()
            if self.height > top - self.limits.behind_blocks:
                break  # the replica's own repair goes the rest of the way (amendment L4)
            due = self.catch_up.next_deadline()
            self.now_ms = max(self.now_ms + 1, due if due is not None else self.now_ms + 1_000)
            self.catch_up.tick(self.now_ms)
        assert self.height > top - self.limits.behind_blocks, (self.height, self.catch_up.status())

    def assert_bounded(self) -> None:
        """What is asked for and what is held have their limits."""
        state, peers = self.catch_up, self.catch_up._peers._peers
        asks = list(state._asks)
        assert len(asks) <= self.limits.parallel + 1
        assert all(len(ask.attempts) <= ATTEMPTS_MAX for ask in asks)
        assert all(len(ask.tried) <= len(LIARS) + len(HONEST) + 1 for ask in asks)
        assert len(state._light) <= LIGHT_AHEAD_MAX and len(state._bodies) <= len(state._light)
        assert len(state._batches) <= BATCHES_MAX
        expected = state._light if state._bodies_asked_to else ()
        asked = [block.header.body_bytes for block, _ in expected if block.header.height <= state._bodies_asked_to]
        assert state._ahead_bytes == sum(asked)
        assert peers.keys() <= {*LIARS, *HONEST}


def catch_up(draw: Draw) -> None:
    CatchUpTarget(draw).run()
