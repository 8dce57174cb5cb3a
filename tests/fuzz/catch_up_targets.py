"""Catch-up among liars who say anything: only true blocks come out, in order, and with honest peers it arrives."""

from __future__ import annotations

import msgspec

from dawan_node.errors import InvalidMessage
from dawan_node.sync import (
    CatchUp,
    HeadMessage,
    RangeBlock,
    RangeReply,
    RangeRequest,
    SyncLimits,
    SyncMessage,
    cut_reply,
    decode_sync_message,
)
from tests.fuzz.drawing import Draw, damaged, digest, number
from tests.fuzz.seeds import sync_chain
from tests.sync.chain import CHAIN_ID

replace = msgspec.structs.replace

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
        self.open: list[tuple[str, RangeRequest]] = []
        self.in_hand: int | None = None

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
                catch_up.range_failed(peer, number_, self.now_ms)
            case 6:
                catch_up.tick(self.now_ms)
            case _:
                self.finish_block(draw.integer(0, 2))

    def message(self, peer: str) -> SyncMessage:
        """What ``peer`` says: a head or a reply whose every field may be wrong."""
        draw, chain = self.draw, self.chain
        if not draw.integer(0, 2):
            height = number(draw, chain.height, self.height, self.height + 1)
            block_hash = chain.anchors[min(height, chain.height)].block_hash
            return HeadMessage(height, digest(draw, block_hash), number(draw, 0, 1))
        asked = [request for name, request in self.open if name == peer]
        request = draw.choice(asked) if asked else RangeRequest(draw.integer(0, 5), self.height + 1, self.height + 2)
        blocks = list(cut_reply(request, iter(chain.blocks[request.first - 1 :])).blocks)
        for _ in range(draw.integer(0, 2)):
            if blocks:
                at = draw.integer(0, len(blocks) - 1)
                blocks[at] = self.changed(blocks[at])
        match draw.integer(0, 7):
            case 5:
                blocks = blocks[1:] or blocks
            case 6:
                blocks = blocks + blocks[-1:]
            case 7:
                blocks = blocks[:-1]
        return RangeReply(number(draw, request.id), tuple(blocks[:64]))

    def changed(self, block: RangeBlock) -> RangeBlock:
        draw, chain = self.draw, self.chain
        other = chain.blocks[draw.integer(0, chain.height - 1)]
        match draw.integer(0, 8):
            case 0:
                return replace(block, certificate=b"")
            case 1:
                return replace(block, certificate=other.certificate)
            case 2:
                return replace(block, certificate=damaged(draw, block.certificate)[:4_000])
            case 3:
                return replace(block, envelopes=draw.choice(((), other.envelopes, block.envelopes[::-1], (b"",))))
            case 4:
                return replace(block, links=((other.header, other.result),) * draw.integer(0, 2))
            case 5:
                return other
            case 6:
                return replace(block, header=replace(block.header, barrier=not block.header.barrier))
            case 7:
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
            self.catch_up.peer_status(
                peer, message.height, message.block_hash, message.epoch, peer == "validator", self.now_ms
            )
        elif isinstance(message, RangeReply):
            self.catch_up.range_arrived(peer, message, self.now_ms)
            self.open = [each for each in self.open if (each[0], each[1].id) != (peer, message.id)]

    def pump(self) -> None:
        for _ in range(20):
            ready = self.catch_up.ready()
            if not ready:
                break
            self.open = (self.open + list(ready.requests))[-50:]
            for blame in ready.blames:
                assert blame.peer not in HONEST or not blame.proven, blame
            if ready.block is not None:
                assert self.in_hand is None
                self.in_hand = ready.block.header.height
                true = self.chain.blocks[self.in_hand - 1]
                assert self.in_hand == self.height + 1
                assert (ready.block.header, ready.block.result) == (true.header, true.result)
                assert ready.block.envelopes == true.envelopes
        self.assert_bounded()

    def finish_block(self, how: int) -> None:
        """The block in hand is stored or dropped; or consensus was faster."""
        if how == 0 and self.in_hand is not None:
            self.in_hand = None
            self.catch_up.dropped(self.now_ms)
        elif (how == 1 or self.in_hand is not None) and self.height < self.chain.height:
            self.height += 1
            self.in_hand = None
            self.catch_up.applied(self.chain.anchors[self.height], self.now_ms)

    def arrive(self) -> None:
        """Honest peers turn up, and time passes."""
        top = self.chain.anchors[-1]
        for peer in HONEST:
            self.catch_up.peer_status(peer, top.height, top.block_hash, top.epoch, True, self.now_ms)
        for _ in range(400):
            self.pump()
            if self.in_hand is not None:
                self.finish_block(2)
                continue
            for peer, request in self.open:
                if peer in HONEST:
                    reply = cut_reply(request, iter(self.chain.blocks[request.first - 1 :]))
                    self.catch_up.range_arrived(peer, reply, self.now_ms)
            self.open.clear()
            if self.height > top.height - self.limits.behind_blocks:
                break  # the replica's own repair goes the rest of the way (amendment L4)
            due = self.catch_up.next_deadline()
            self.now_ms = max(self.now_ms + 1, due if due is not None else self.now_ms + 1_000)
            self.catch_up.tick(self.now_ms)
        assert self.height > top.height - self.limits.behind_blocks, (self.height, self.catch_up.status())

    def assert_bounded(self) -> None:
        """At most ``parallel`` ranges are asked for or here; a short reply may split one of them."""
        ranges, peers = self.catch_up._ranges, self.catch_up._peers
        held = [part for part in ranges if part.blocks is not None]
        assert len(held) <= self.limits.parallel + 1, len(held)
        assert len(ranges) <= 2 * self.limits.parallel + 1, len(ranges)
        assert peers.keys() <= {*LIARS, *HONEST}
        assert all(len(part.tried) <= len(LIARS) + len(HONEST) + 1 for part in ranges)


def catch_up(draw: Draw) -> None:
    CatchUpTarget(draw).run()
