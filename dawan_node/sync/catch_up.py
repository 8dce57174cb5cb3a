"""Catch-up: how a node that is behind decides what to fetch, from whom, and what to believe.

A node that was down, cut off or has just joined asks its peers for decided blocks. Peers may lie about everything, so
the rules are few and strict:

- **Target.** The (f + 1)-th highest height that validators *prove* by a certificate, never the maximum
  (``sync.peers``; CometBFT ASA-2025-001).
- **Headers first.** Light ranges (headers, results, certificates) run ahead of everything. A range is believed when
  the certificate of its last block verifies with the validator set *already trusted* and every link below it holds,
  from the certificate downwards (amendment L3). Nothing is executed that is not proven.
- **Epochs.** A light range ends at the first block that ends an epoch, and nothing above is asked for before that block
  has been executed here and has named the next validators (amendment U4).
- **Bodies in parallel.** Of verified headers the bodies are fetched in ranges of about 1 MiB from several peers at
  once, each checked against its header's ``tx_root`` as it comes, in whatever order.
- **Late peers do not hold up others** (``sync.asks``); whoever sends what cannot be true is blamed and not asked again.

``CatchUp`` is a state machine without I/O or clock. Feed it events, then do what ``ready()`` says, again and again
until it says nothing:

    catch_up.head(...)                  # or arrived, applied, tick, ...
    while ready := catch_up.ready():
        ...send ready.requests, drop the links of ready.blames...
        if ready.blocks: execute and store them, in order: catch_up.applied(anchor) for each, or else catch_up.dropped()

Memory is bounded: ``LIGHT_AHEAD_MAX`` light blocks (2 MiB of encoded bytes at n = 4, 4 MiB at n = 22), and bodies of
``BODY_AHEAD_BYTES`` and one block (at most 4 MiB) beyond what the shell is working on, which is two batches of at most
``BATCH_BYTES`` and one block. Signatures of transactions are not checked again: the block hash covers the envelope
bytes, and a quorum, so at least one honest validator, has checked them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.sync.asks import Ask, Asks, Attempt
from dawan_node.sync.messages import (
    BODIES_MAX,
    LIGHT_BLOCKS_MAX,
    RETRY_MS_MAX,
    BodiesReply,
    BusyReply,
    HeadMessage,
    LightBlock,
    LightReply,
    SyncReply,
    SyncRequest,
)
from dawan_node.sync.peers import COOLDOWN_MS, Blame, Kind, Peers
from dawan_node.sync.verify import Anchor, Pair, VerifiedBlock, verify_bodies, verify_certificate, verify_light

#: Verified headers waiting for their bodies: enough that bodies are never waited for on account of headers, since a
#: light range of 512 brings what the fastest executor takes a second or so for.
LIGHT_AHEAD_MAX: Final = 1_024

#: One request for bodies: small, so that a slow peer holds up little, yet a second at 10 Mbit/s.
BODIES_BYTES: Final = 1024 * 1024

#: Bodies asked for or waiting for their turn: what eight requests bring.
BODY_AHEAD_BYTES: Final = 8 * 1024 * 1024

#: One batch for the shell: what executes in about half a second, so that consensus, which shares the worker, waits no
#: longer for its turn. Each costs two syncs of the disk, one for the log and one for the store: some ten milliseconds,
#: in which ten of the smallest blocks are executed.
BATCH_BLOCKS: Final = 64
BATCH_TXS: Final = 1_000
BATCH_BYTES: Final = 1024 * 1024

#: Batches in the shell's hands: one is executed while the one before is made durable.
BATCHES_MAX: Final = 2

#: What the replica wants is believed for so long: it repeats it every two seconds.
CERTIFIED_MS: Final = 10_000

#: So far behind, nobody waits to see whether consensus repairs it.
FAR_BEHIND_BLOCKS: Final = 64


@dataclass(frozen=True, slots=True)
class SyncLimits:
    """Local settings; they decide how fast a node catches up, never what it accepts."""

    #: Requests for bodies in flight.
    parallel: int = 4
    #: A reply of 4 MiB needs this long on a link of 2.5 Mbit/s (consensus.md 1.10).
    request_timeout_ms: int = 15_000
    #: How far behind is behind. A validator one block behind is helped by its peers' STATUS (amendment L4); a node
    #: that does not vote has only this way: 1.
    behind_blocks: int = 2
    #: ... and for how long, since a claim is naturally ahead of what is still on its way. 0 without consensus.
    behind_ms: int = 2_000
    #: However little behind: so long without a block is too long. A validator that the very next block votes out is
    #: told nothing by the others' STATUS any more, and learns that it left only from that block.
    stuck_ms: int = 6_000


@dataclass(frozen=True, slots=True)
class SyncedBlock:
    """A block whose order and result are proven; ``certificate`` is its own if ``links`` is empty."""

    header: Header
    block_hash: bytes
    result: Result
    links: tuple[Pair, ...]
    certificate: CommitCertificate
    leaf_hashes: tuple[bytes, ...]
    envelopes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SyncReady:
    """What to do now. ``blocks`` is a batch in order; it is done when each was ``applied``, or once ``dropped``."""

    requests: tuple[tuple[str, SyncRequest], ...] = ()
    blames: tuple[Blame, ...] = ()
    blocks: tuple[SyncedBlock, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requests or self.blames or self.blocks)


_NOTHING: Final = SyncReady()


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """For ``node_status``: ``active`` while catching up to ``target``; ``verified`` is how far headers are proven."""

    active: bool
    height: int
    target: int
    verified: int
    requests: tuple[tuple[str, int, int], ...]  # (peer, first, last)


class CatchUp:
    """The catch-up of one channel. Peers are named by strings that the caller chooses."""

    def __init__(self, chain_id: bytes, anchor: Anchor, limits: SyncLimits, verify: Verify = verify_ed25519) -> None:
        self._chain_id = chain_id
        self._anchor = anchor
        self.limits = limits
        self._verify = verify
        self._peers = Peers(chain_id, verify)
        self._asks = Asks(self._peers, limits.request_timeout_ms)
        #: Verified, from the first height not handed out, without gaps; and who sent each.
        self._light: deque[tuple[VerifiedBlock, str]] = deque()
        self._tip = anchor.tip  # the last verified block
        self._tip_ends_epoch = False
        self._bodies: dict[int, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {}  # height -> leaf hashes, envelopes
        self._bodies_asked_to = anchor.height
        self._ahead_bytes = 0  # of bodies asked for or here, not handed out
        self._certified = 0  # the replica says that this height is decided
        self._certified_ms = 0  # when it said so last
        self._behind_since_ms: int | None = None
        self._stuck_since_ms: int | None = None
        self._active = False
        #: While true nothing is asked for or handed out: the chain is on its way here by other means.
        self.is_held = False
        self._batches: deque[int] = deque()  # the last height of each batch in the shell's hands
        self._handed_out = anchor.height
        self._paused_until_ms = 0
        self._now_ms = 0

    # Inputs

    def head(self, peer: str, head: HeadMessage, is_validator: bool, now_ms: int) -> None:
        """``peer`` claims a head. Feed claims in the order it sent them, from one topic: topics overtake each other.

        ``is_validator``: it is a validator of the current epoch, so its claim counts for the target.
        """
        self._now_ms = now_ms
        self._peers.claim(peer, head, is_validator, self._anchor)

    def peer_gone(self, peer: str, now_ms: int) -> None:
        """The link to ``peer`` is down; what it was asked for is asked of others."""
        self._now_ms = now_ms
        self._peers.gone(peer)
        self._asks.give_up(peer)

    def certified(self, height: int, holders: Iterable[str], now_ms: int) -> None:
        """This node's replica saw a valid certificate for ``height``, or f + 1 claims; ``holders`` can serve it. It
        repeats that while it is behind; what it no longer says is forgotten, for claims may be wrong."""
        self._now_ms = now_ms
        if height >= self._certified:
            self._certified, self._certified_ms = height, now_ms
        for peer in holders:
            self._peers.holds(peer, height)

    def arrived(self, peer: str, reply: SyncReply, now_ms: int) -> None:
        """A reply came. One that was not asked for, or is too late, is no offence and no use."""
        self._now_ms = now_ms
        if isinstance(reply, LightReply):
            found = self._asks.find(peer, reply.id, Kind.LIGHT)
            if found is not None:
                self._light_arrived(*found, reply)
        elif isinstance(reply, BodiesReply):
            found = self._asks.find(peer, reply.id, Kind.BODIES)
            if found is not None:
                self._bodies_arrived(*found, reply)
        else:
            self._busy(peer, reply)

    def offered(
        self, peer: str, block: LightBlock, links: Sequence[Pair], envelopes: tuple[bytes, ...], now_ms: int
    ) -> None:
        """A block came unasked, by gossip. If it is the very next one and nothing above the anchor is here yet, it is
        taken as if it had been asked for, and proven here like any other."""
        self._now_ms = now_ms
        anchor = self._anchor
        if block.header.height != anchor.height + 1 or self._light or self._batches or self.is_held:
            return
        try:
            verified, tip = verify_light(self._chain_id, anchor, anchor.tip, [block], links, self._verify)
            leaf_hashes = verify_bodies(block.header, envelopes)
        except InvalidMessage as error:
            self._lied(peer, str(error))
            return
        self._light.append((verified[0], peer))
        self._bodies[block.header.height] = (leaf_hashes, envelopes)
        self._tip, self._tip_ends_epoch = tip, verified[0].ends_epoch

    def applied(self, anchor: Anchor, now_ms: int) -> None:
        """``anchor`` is executed and stored: a block that was handed out, or one that consensus decided."""
        self._now_ms = now_ms
        if anchor.height <= self._anchor.height:
            return
        self._stuck_since_ms = None
        enters_epoch = anchor.epoch != self._anchor.epoch
        self._anchor = anchor
        while self._batches and self._batches[0] <= anchor.height:
            self._batches.popleft()
        self._stand_on_anchor()
        if enters_epoch:
            self._peers.anchored(anchor)

    def dropped(self, now_ms: int) -> None:
        """A block that was handed out was not applied, nor will those handed out after it be. Fetch anew after a pause,
        if the node is still behind.

        Its peers are not to blame: order and result were proven. Most likely consensus was faster.
        """
        self._now_ms = now_ms
        self._batches.clear()
        self._handed_out = self._anchor.height
        self._forget()
        self._paused_until_ms = now_ms + COOLDOWN_MS

    def tick(self, now_ms: int) -> None:
        """Time has passed: expire requests and cool-downs."""
        self._now_ms = now_ms
        if now_ms >= self._certified_ms + CERTIFIED_MS:
            self._certified = 0
        self._asks.expire(now_ms)

    # Outputs

    def ready(self) -> SyncReady:
        """Everything to do now; handed over once."""
        if self._is_at_rest:
            return _NOTHING
        blocks = self._next_batch()
        for blame in self._peers.blames:
            if blame.proven:
                self._asks.give_up(blame.peer)
        self._plan()
        ready = SyncReady(tuple(self._asks.requests), tuple(self._peers.blames), blocks)
        self._asks.requests.clear()
        self._peers.blames.clear()
        return ready

    def next_deadline(self) -> int | None:
        """When ``tick`` has something to do, in milliseconds; None while nothing waits for time."""
        times = self._asks.due_ms()
        if any(not ask.attempts for ask in self._asks):
            for _, peer in self._peers.items():
                times += [peer.not_before_ms, peer.cooldown_until_ms]
        if self._certified > self._anchor.height:
            times.append(self._certified_ms + CERTIFIED_MS)
        if self._active:
            times.append(self._paused_until_ms)
        else:
            if self._behind_since_ms is not None:
                times.append(self._behind_since_ms + self.limits.behind_ms)
            if self._stuck_since_ms is not None:
                times.append(self._stuck_since_ms + self.limits.stuck_ms)
        return min((time for time in times if time > self._now_ms), default=None)

    @property
    def target(self) -> int:
        """The height to reach: at least one honest validator has it."""
        return max(self._certified, self._peers.target(self._anchor))

    @property
    def is_active(self) -> bool:
        """Whether it is catching up."""
        return self._active

    @property
    def is_far_behind(self) -> bool:
        """Whether it is catching up and knows of so many blocks above that nothing which waits to be decided now can be
        judged here."""
        return self._active and self.target - self._anchor.height > FAR_BEHIND_BLOCKS

    def claimed_height(self, peer: str) -> int:
        """The height a connected peer claims; 0 before it said anything."""
        state = self._peers.get(peer)
        return 0 if state is None else state.height

    def status(self) -> SyncStatus:
        """Where catch-up stands."""
        height = self._anchor.height
        requests = tuple((sent.peer, sent.first, sent.last) for ask in self._asks for sent in ask.attempts)
        return SyncStatus(self._active, height, max(self.target, height), max(self._tip.height, height), requests)

    @property
    def _is_at_rest(self) -> bool:
        """Nobody is ahead and nothing is under way, as nearly always when this is asked."""
        return not (
            self._active
            or self._light
            or self._batches
            or self._peers.blames
            or self._stuck_since_ms is not None
            or self._behind_since_ms is not None
            or self.target > self._anchor.height
        )

    # What to ask for

    def _plan(self) -> None:
        target = self.target
        self._update_active(target)
        if not self._active or self.is_held:
            if self._batches:
                self._stop_asking()
            else:
                self._forget()
            return
        if self._now_ms < self._paused_until_ms:
            return
        self._plan_light(target)
        self._plan_bodies()
        for ask in self._asks:
            self._asks.send(ask, self._now_ms)

    def _plan_light(self, target: int) -> None:
        first = self._tip.height + 1
        if (
            self._asks.light is None
            and first <= target
            and not self._tip_ends_epoch
            and first + LIGHT_BLOCKS_MAX <= self._handed_out + 1 + LIGHT_AHEAD_MAX
        ):
            self._asks.light = Ask(Kind.LIGHT, first, min(first + LIGHT_BLOCKS_MAX - 1, target))

    def _plan_bodies(self) -> None:
        """Ask for the bodies of verified headers, as many as there is room for; the next one always has room."""
        skip = self._bodies_asked_to - self._handed_out
        while (
            len(self._asks.bodies) < self.limits.parallel
            and skip < len(self._light)
            and self._ahead_bytes < BODY_AHEAD_BYTES
        ):
            first = last = self._bodies_asked_to + 1
            size = self._light[skip][0].header.body_bytes
            while last - first + 1 < BODIES_MAX and skip + 1 < len(self._light):
                more = self._light[skip + 1][0].header.body_bytes
                if size + more > BODIES_BYTES:
                    break
                last, skip, size = last + 1, skip + 1, size + more
            skip, self._bodies_asked_to = skip + 1, last
            self._ahead_bytes += size
            self._asks.bodies.append(Ask(Kind.BODIES, first, last))

    def _update_active(self, target: int) -> None:
        lag = target - self._anchor.height
        if lag <= 0:
            self._active, self._behind_since_ms, self._stuck_since_ms = False, None, None
            return
        if self._stuck_since_ms is None:
            self._stuck_since_ms = self._now_ms
        if self._now_ms - self._stuck_since_ms >= self.limits.stuck_ms:
            self._active = True
        if lag >= self.limits.behind_blocks or self._certified > self._anchor.height:
            if self._behind_since_ms is None:
                self._behind_since_ms = self._now_ms
            waited = self._now_ms - self._behind_since_ms >= self.limits.behind_ms
            if waited or lag > FAR_BEHIND_BLOCKS or self._certified > self._anchor.height:
                self._active = True
        elif not self._active:
            self._behind_since_ms = None

    # What came

    def _light_arrived(self, ask: Ask, attempt: Attempt, reply: LightReply) -> None:
        peer = attempt.peer
        ask.attempts.remove(attempt)
        if not reply.blocks:
            self._peers.failed(peer, "it does not have the range", self._now_ms)
            return
        heights = [block.header.height for block in reply.blocks]
        if heights != list(range(attempt.first, attempt.first + len(heights))) or heights[-1] > attempt.last:
            self._lied(peer, f"it sent heights {heights[0]}..{heights[-1]} for {attempt.first}..{attempt.last}")
            return
        if ask.first != self._tip.height + 1:
            self._asks.light = None  # consensus was faster; ask anew from where we are
            return
        try:
            verified, tip = verify_light(
                self._chain_id, self._anchor, self._tip, reply.blocks, reply.links, self._verify
            )
        except InvalidMessage as error:
            self._lied(peer, str(error))
            return
        self._peers.answered(peer, Kind.LIGHT, self._now_ms - attempt.sent_ms)
        self._asks.light = None
        self._light.extend((block, peer) for block in verified)
        self._tip, self._tip_ends_epoch = tip, verified[-1].ends_epoch

    def _bodies_arrived(self, ask: Ask, attempt: Attempt, reply: BodiesReply) -> None:
        peer = attempt.peer
        ask.attempts.remove(attempt)
        if not reply.bodies:
            self._peers.failed(peer, "it does not have the blocks", self._now_ms)
            return
        if attempt.first + len(reply.bodies) - 1 > attempt.last:
            self._lied(peer, f"it sent {len(reply.bodies)} blocks for {attempt.first}..{attempt.last}")
            return
        for height, envelopes in enumerate(reply.bodies, start=attempt.first):
            if height < ask.first:
                continue  # somebody else was faster with this one
            position = height - self._handed_out - 1
            try:
                leaf_hashes = verify_bodies(self._light[position][0].header, envelopes)
            except InvalidMessage as error:
                self._lied(peer, str(error))
                return
            self._bodies[height] = (leaf_hashes, envelopes)
            ask.first = height + 1
        self._peers.answered(peer, Kind.BODIES, self._now_ms - attempt.sent_ms)
        if ask.first > ask.last:
            self._asks.bodies.remove(ask)

    def _busy(self, peer: str, reply: BusyReply) -> None:
        for kind in Kind:
            found = self._asks.find(peer, reply.id, kind)
            if found is not None:
                found[0].attempts.remove(found[1])
                self._peers.rest(peer, min(reply.retry_ms, RETRY_MS_MAX), self._now_ms)

    def _lied(self, peer: str, reason: str) -> None:
        self._peers.blame(peer, reason, proven=True)

    def _stand_on_anchor(self) -> None:
        """Drop what consensus has decided meanwhile; what remains must stand on the anchor."""
        anchor = self._anchor
        below: VerifiedBlock | None = None
        while self._handed_out < anchor.height and self._light:
            below, _ = self._take()
            self._bodies.pop(self._handed_out, None)
        is_other = below is not None and below.block_hash != anchor.block_hash  # a fork; consensus will say so
        is_past = self._tip.height < anchor.height or (self._tip.height == anchor.height and self._tip_ends_epoch)
        if is_other or is_past:
            self._forget()
            return
        for ask in list(self._asks.bodies):
            ask.first = max(ask.first, self._handed_out + 1)
            if ask.first > ask.last:
                self._asks.bodies.remove(ask)

    def _forget(self) -> None:
        """Begin again from the anchor."""
        self._asks.clear()
        self._light.clear()
        self._bodies.clear()
        self._handed_out = self._bodies_asked_to = self._anchor.height
        self._ahead_bytes = 0
        self._tip, self._tip_ends_epoch = self._anchor.tip, False

    def _stop_asking(self) -> None:
        """Want nothing for now, while the shell is at work on what stands below: what is proven stays proven, and the
        bodies that have not come are asked for anew later. Otherwise nobody would ever ask for them again."""
        if self._asks.bodies:
            asked_to = self._asks.bodies[0].first - 1
            for height in range(asked_to + 1, self._bodies_asked_to + 1):
                self._bodies.pop(height, None)
                self._ahead_bytes -= self._light[height - self._handed_out - 1][0].header.body_bytes
            self._bodies_asked_to = asked_to
        self._asks.clear()

    def _take(self) -> tuple[VerifiedBlock, str]:
        """The lowest verified block, and who sent it."""
        block, source = self._light.popleft()
        self._handed_out += 1
        if self._handed_out <= self._bodies_asked_to:
            self._ahead_bytes -= block.header.body_bytes
        self._bodies_asked_to = max(self._bodies_asked_to, self._handed_out)
        return block, source

    # What to apply

    def _next_batch(self) -> tuple[SyncedBlock, ...]:
        """The next blocks in order that are here and proven, when the shell has room for them."""
        batch: list[SyncedBlock] = []
        if self.is_held or len(self._batches) >= BATCHES_MAX:
            return ()
        transactions = size = 0
        while self._light and len(batch) < BATCH_BLOCKS:
            block, _ = self._light[0]
            height = block.header.height
            transactions, size = transactions + block.header.tx_count, size + block.header.body_bytes
            if height not in self._bodies or (batch and (transactions > BATCH_TXS or size > BATCH_BYTES)):
                break
            batch.append(self._hand_out())
            if block.header.barrier:
                break  # what stands above it may need other rules
        if batch:
            self._batches.append(self._handed_out)
        return tuple(batch)

    def _hand_out(self) -> SyncedBlock:
        block, source = self._take()
        leaf_hashes, envelopes = self._bodies.pop(block.header.height)
        certificate = self._own_certificate(block, source)
        links: tuple[Pair, ...] = ()
        if certificate is None:
            certificate = block.certificate
            between = certificate.height - block.header.height - len(block.tail)
            above = [self._light[position][0] for position in range(between)]
            links = (*((each.header, each.result) for each in above), *block.tail)
        return SyncedBlock(block.header, block.block_hash, block.result, links, certificate, leaf_hashes, envelopes)

    def _own_certificate(self, block: VerifiedBlock, source: str) -> CommitCertificate | None:
        """So that this node too keeps a short proof of every block. Without it the block is proven from above."""
        if block.certificate.height == block.header.height:
            return block.certificate
        if not block.own:
            return None
        try:
            return verify_certificate(self._chain_id, self._anchor, block.own, block.header, block.result, self._verify)
        except InvalidMessage as error:
            self._lied(source, str(error))
            return None
