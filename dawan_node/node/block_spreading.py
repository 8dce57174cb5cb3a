"""Decided blocks to and from the nodes that do not vote: what ``p2p.block_spread`` orders, carried out.

A block that arrives is proven with the validators trusted already before anything else is done with it (amendment U4),
then passed on and handed to catch-up as if a range of one block had been asked for: from there on live, gossiped and
fetched blocks go one way. What cannot be proven yet, because another epoch's validators signed it, is dropped; the
nodes below it in the tree get it when this node has executed the block that names those validators.

Blocks too large to push are not announced here: heads on topic SYNC tell of them, and catch-up fetches them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Annotated, Final

import msgspec

from dawan_node.crypto.signatures import Verify
from dawan_node.errors import ForgedBlock, InvalidEncoding, InvalidMessage
from dawan_node.node.budget import BODY_US, LIGHT_BLOCK_US, REQUEST_US, PeerBudgets
from dawan_node.node.channel_parts import Links
from dawan_node.node.clock import Clock
from dawan_node.node.logs import fields
from dawan_node.node.runtime import Jobs, Runtime
from dawan_node.node.serving import Serving
from dawan_node.node.syncing import Syncing
from dawan_node.p2p.block_spread import AHEAD_MAX, BlockSpread, Order, Word
from dawan_node.p2p.framing import KIB, Topic
from dawan_node.p2p.gossip import BLOCK_BYTES_MAX, Block, BlockMessage, Graft, Have, Prune, Want
from dawan_node.p2p.scores import Scores
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.encoding import ProtocolStruct, decode_struct
from dawan_node.primitives.proofs import LINKS_MAX
from dawan_node.storage.block_store import BlockStore
from dawan_node.sync import Anchor, LightBlock
from dawan_node.sync.messages import Body
from dawan_node.sync.verify import verify_bodies, verify_certificate, verify_light

log = logging.getLogger(__name__)

#: Encoded blocks kept to be sent: as many as a child may be behind and still be helped here, 16 MiB at most.
KEPT_MAX: Final = 2 * AHEAD_MAX
#: What a block has beside its envelopes: header, result, certificate and links; and per envelope its length.
OVERHEAD_BYTES: Final = 64 * KIB
ENVELOPE_OVERHEAD_BYTES: Final = 5


class SpreadBlock(ProtocolStruct, frozen=True):
    """A decided block on its way: what a light range and a range of bodies of catch-up say, for one height.

    ``links`` are the (header, result) pairs up to the certificate's height, usually none (amendment L3).
    """

    light: LightBlock
    links: Annotated[tuple[tuple[Header, Result], ...], msgspec.Meta(max_length=LINKS_MAX)]
    envelopes: Body


_block_decoder: Final = msgspec.msgpack.Decoder(Block)
_decoder: Final = msgspec.msgpack.Decoder(SpreadBlock)


def decode_spread_block(data: bytes) -> SpreadBlock:
    """The block inside a BLOCK message. Raises InvalidMessage."""
    try:
        return decode_struct(_decoder, data, BLOCK_BYTES_MAX)
    except InvalidEncoding as error:
        raise InvalidMessage(f"a gossiped block that cannot be read: {error}") from None


def prove(chain_id: bytes, anchor: Anchor, height: int, block: SpreadBlock, verify: Verify) -> bool:
    """Whether ``block`` is final at ``height``; False: that cannot be said yet, of a block of another epoch.

    Raises InvalidMessage for what is none in this epoch: no honest node passes it on.
    """
    light = block.light
    header = light.header
    if header.height != height or header.chain_id != chain_id:
        raise InvalidMessage(f"a block of height {header.height} of another height or chain, gossiped as {height}")
    if header.epoch != anchor.epoch or (block.links and height != anchor.height + 1):
        return False
    if height == anchor.height + 1:
        verify_light(chain_id, anchor, anchor.tip, [light], block.links, verify)
    elif header.valset_hash != anchor.validators.hash:
        raise InvalidMessage(f"the block at height {height} names other validators than its epoch has")
    else:
        # One block of each height has the signatures of a quorum of these validators: this one will stand here.
        verify_certificate(chain_id, anchor, light.certificate, header, light.result, verify)
    verify_bodies(header, block.envelopes)
    return True


class BlockSpreading:
    """The block tree of one channel. Lives on the event loop; blocks are read from disk in the channel's worker."""

    def __init__(
        self,
        name: str,
        chain_id: bytes,
        anchor: Anchor,
        follows: bool,
        verify: Verify,
        syncing: Syncing,
        serving: Serving,
        worker: Jobs,
        runtime: Runtime,
        links: Links,
        budgets: PeerBudgets,
        clock: Clock,
        store: BlockStore,
    ) -> None:
        """``follows``: this node does not vote."""
        self._name: Final = name
        self._chain_id: Final = chain_id
        self._verify: Final = verify
        self._syncing: Final = syncing
        self._serving: Final = serving
        self._worker: Final = worker
        self._runtime: Final = runtime
        self._links: Final = links
        self._budgets: Final = budgets
        self._clock: Final = clock
        self._store: Final = store
        self._anchor = anchor
        self.scores: Final = Scores(clock.monotonic_ms())
        self.tree: Final = BlockSpread(anchor.height, follows, self.scores, links.round_trip_ms)
        self._kept: dict[int, bytes] = {}  # BLOCK messages by height, the lowest leaves first
        self._waiting: dict[int, list[str]] = {}  # height being read from disk -> who gets it
        self._proven: dict[int, tuple[str, SpreadBlock]] = {}  # not stored yet
        self._wakes_at_ms: int | None = None
        #: Called for a peer whose link is better used for another, with the reason; the node connects it.
        self.on_poor_peer: Callable[[str, str], None] = lambda peer, why: None

    # What arrives

    def on_message(self, peer: str, message: BlockMessage) -> None:
        """A word or a block. Raises InvalidMessage for a block that is none."""
        now_ms = self._clock.monotonic_ms()
        match message:
            case Block():
                self._on_block(peer, message, now_ms)
            case Have():
                self.tree.on_have(peer, message.height, now_ms)
            case Graft():
                self.tree.on_graft(peer, message.height, now_ms)
            case Want():
                if self._budgets.of(peer).work(REQUEST_US):
                    self.tree.on_want(peer, message.height, now_ms)
            case Prune():
                self.tree.on_prune(peer, now_ms)
        self._carry_out()

    def on_head(self, peer: str, height: int) -> None:
        """``peer`` told its head on topic SYNC, and catch-up has looked at it."""
        now_ms = self._clock.monotonic_ms()
        self.tree.claimed(peer, height, now_ms)
        self._carry_out()

    def peer_up(self, peer: str, votes: bool) -> None:
        """A link is up; ``votes``: a validator in office, which takes no blocks."""
        self.tree.peer_up(peer, votes, self._clock.monotonic_ms())

    def peer_gone(self, peer: str) -> None:
        """A link is gone."""
        self.tree.peer_down(peer)
        self._carry_out()

    def _on_block(self, peer: str, message: Block, now_ms: int) -> None:
        height = message.height
        if not self.tree.on_block(peer, height, now_ms):
            self._check_again(peer, message)
            return
        try:
            block = decode_spread_block(message.block)
            is_proven = prove(self._chain_id, self._anchor, height, block, self._verify)
        except InvalidMessage as error:
            self.tree.refused(peer, height)
            raise ForgedBlock(str(error)) from None
        if not is_proven:
            self.tree.put_off(peer, height)
            return
        self._keep(height, message.encode())
        self._proven[height] = (peer, block)
        self.tree.accepted(peer, height, now_ms)
        self._hand_over()

    def _check_again(self, peer: str, message: Block) -> None:
        """A block that is here already: whoever sends another one under its height forges, at one body each."""
        kept = self._kept.get(message.height)
        if kept is None or kept == message.encode():
            return
        try:
            block = decode_spread_block(message.block)
            own = decode_spread_block(_block_decoder.decode(kept).block)
            if (block.light.header, block.envelopes) != (own.light.header, own.envelopes):
                raise InvalidMessage(f"another block than the final one, gossiped as {message.height}")
        except InvalidMessage as error:
            self.tree.refused(peer, message.height)
            raise ForgedBlock(str(error)) from None

    # What the channel tells

    def advanced(self, anchor: Anchor, header: Header, follows: bool, voters: Iterable[str]) -> bool:
        """A block is stored here, however it came; whether it is small enough to be pushed.

        ``voters`` are the peers that vote on the next one, ``follows`` says that this node does not.
        """
        self._anchor = anchor
        self.tree.follows = follows
        self.tree.set_voters(voters)
        for height in [height for height in self._proven if height <= anchor.height]:
            del self._proven[height]
        bytes_max = header.body_bytes + ENVELOPE_OVERHEAD_BYTES * header.tx_count + OVERHEAD_BYTES
        is_small = bytes_max <= BLOCK_BYTES_MAX
        self.tree.committed(anchor.height, is_announced=is_small)
        self._carry_out()
        return is_small

    def settled(self) -> None:
        """Catch-up has no block in hand: the next one may be here."""
        self._hand_over()

    def tick(self, now_ms: int) -> None:
        """Every ``DUTY_MS``, and when ``next_deadline`` of the tree is due."""
        self.scores.tick(now_ms)
        self.tree.tick(now_ms)
        self._carry_out()
        for peer in self.scores.worst():
            self.on_poor_peer(peer, f"{self.scores.of(peer)} points on channel {self._name}")

    # Inside

    def _hand_over(self) -> None:
        following = self._proven.get(self._anchor.height + 1)
        if following is not None:
            peer, block = following
            self._syncing.offer(peer, block.light, block.links, block.envelopes)

    def _carry_out(self) -> None:
        for order in self.tree.take():
            self._send(order)
        for peer in dict.fromkeys(self.tree.take_floods()):
            log.warning("gossip_flood", extra=fields(channel=self._name, peer=peer))
            self._links.report_violation(peer, "it announces and asks for more blocks than any honest peer does")
        due_ms = self.tree.next_deadline()
        if due_ms is not None and (self._wakes_at_ms is None or due_ms < self._wakes_at_ms):
            self._wakes_at_ms = due_ms
            self._runtime.later(max(0, due_ms - self._clock.monotonic_ms()) / 1000, self._wake)

    def _wake(self) -> None:
        self._wakes_at_ms = None
        self.tree.tick(self._clock.monotonic_ms())
        self._carry_out()

    def _send(self, order: Order) -> None:
        if order.word is Word.BLOCK:
            self._send_block(order.peer, order.height)
        else:
            self._links.send(order.peer, self._chain_id, Topic.GOSSIP, _word(order).encode())

    def _send_block(self, peer: str, height: int) -> None:
        payload = self._kept.get(height)
        if payload is not None:
            if self._serving.charge(peer, payload):
                self._links.send(peer, self._chain_id, Topic.GOSSIP, payload)
        elif height in self._waiting:
            if peer not in self._waiting[height]:
                self._waiting[height].append(peer)
        elif len(self._waiting) < KEPT_MAX and self._budgets.of(peer).work(LIGHT_BLOCK_US + BODY_US):
            self._waiting[height] = [peer]
            self._runtime.start(self._read(height))

    async def _read(self, height: int) -> None:
        """A block that consensus or catch-up brought, from the store."""
        try:
            payload = await self._worker.run(lambda: self._encoded(height))
        finally:
            waiting = self._waiting.pop(height, [])
        if payload is not None:
            self._keep(height, payload)
            for peer in waiting:
                if self._serving.charge(peer, payload):
                    self._links.send(peer, self._chain_id, Topic.GOSSIP, payload)

    def _encoded(self, height: int) -> bytes | None:
        blocks = self._store
        header, result, envelopes = blocks.header(height), blocks.result(height), blocks.envelopes(height)
        proof = blocks.certificate(height)
        if header is None or result is None or envelopes is None or proof is None:
            return None
        links = tuple((Header.decode(above), Result.decode(outcome)) for above, outcome in proof.links)
        encoded = SpreadBlock(LightBlock(header, result, proof.certificate), links, envelopes).encode()
        return Block(height, encoded).encode() if len(encoded) <= BLOCK_BYTES_MAX else None

    def _keep(self, height: int, payload: bytes) -> None:
        self._kept[height] = payload
        while len(self._kept) > KEPT_MAX:
            del self._kept[min(self._kept)]


def _word(order: Order) -> BlockMessage:
    """The message of an order that sends no block."""
    match order.word:
        case Word.HAVE:
            return Have(order.height)
        case Word.GRAFT:
            return Graft(order.height)
        case Word.WANT:
            return Want(order.height)
        case _:
            return Prune()
