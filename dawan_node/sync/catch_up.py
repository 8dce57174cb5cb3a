"""Catch-up: how a node that is behind decides what to fetch, from whom, and what to believe.

A node that was down, cut off or has just joined asks its peers for *ranges* of decided blocks. Peers may lie about
everything, so the rules are few and strict:

- **Target.** The (f + 1)-th highest height that validators claim, never the maximum: at least one honest validator
  has it, and one liar cannot send the node after blocks that do not exist (CometBFT ASA-2025-001). A peer whose
  claim goes down within one connection is lying and is dropped.
- **Proof before anything else.** A range is believed when the certificate of its last block verifies with the
  validator set *already trusted*, and every link below it holds, from the certificate downwards (amendment L3). Only
  then is a block of it executed.
- **Epochs.** A range ends at the first block that ends an epoch, and nothing above is verified, or asked for once
  that is known, before the block has been executed here and has named the next validators (amendment U4).
- **Several peers.** Up to three ranges travel at once, each from another peer; they are applied in order. Whoever
  is late, sends nothing, or is much slower than the others is asked last; whoever sends what cannot be true is
  blamed and not asked again.

``CatchUp`` is a state machine without I/O or clock. Feed it events, then do what ``ready()`` says, again and again
until it says nothing:

    catch_up.peer_status(...)                  # or range_arrived, applied, tick, ...
    while ready := catch_up.ready():
        ...send ready.requests, drop the links of ready.blames...
        if ready.block: execute and store it, then catch_up.applied(the new anchor), or else catch_up.dropped()

Memory is bounded by three replies of at most 5 MiB. Signatures of transactions are not checked again: the block hash
covers the envelope bytes, and a quorum, so at least one honest validator, has checked them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.sync.messages import RANGE_BLOCKS_MAX, RangeBlock, RangeReply, RangeRequest
from dawan_node.sync.verify import Anchor, verify_bodies, verify_certificate, verify_range

#: A peer that failed is left alone for this long, doubled with each failure in a row up to the second figure.
COOLDOWN_MS: Final = 1_000
COOLDOWN_MS_MAX: Final = 60_000

#: A peer is slow when it takes more than this plus four times what the fastest other one took for its last range.
#: Otherwise a peer that answers just before the deadline would set the pace of everybody it serves.
SLOW_MARGIN_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class SyncLimits:
    """Local settings; they decide how fast a node catches up, never what it accepts."""

    #: Ranges in flight or waiting for their turn; each holds up to 5 MiB.
    parallel: int = 3
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
    links: tuple[tuple[Header, Result], ...]
    certificate: CommitCertificate
    leaf_hashes: tuple[bytes, ...]
    envelopes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Blame:
    """``peer`` failed us. ``proven`` means that no honest node does this: drop the link and do not hurry back."""

    peer: str
    reason: str
    proven: bool


@dataclass(frozen=True, slots=True)
class SyncReady:
    """What to do now. Blocks are handed out one at a time: the next follows after ``applied`` or ``dropped``."""

    requests: tuple[tuple[str, RangeRequest], ...] = ()
    blames: tuple[Blame, ...] = ()
    block: SyncedBlock | None = None

    def __bool__(self) -> bool:
        return bool(self.requests or self.blames or self.block)


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """For ``node_status``: ``active`` while catching up to ``target``."""

    active: bool
    height: int
    target: int
    requests: tuple[tuple[str, int, int], ...]  # (peer, first, last)


@dataclass(slots=True)
class _Range:
    """Heights ``first`` to ``last``: wanted, then in flight (``peer`` set), then here (``blocks`` set)."""

    first: int
    last: int
    peer: str | None = None
    request_id: int = 0
    sent_ms: int = 0
    blocks: deque[RangeBlock] | None = None
    proof: tuple[tuple[tuple[Header, Result], ...], CommitCertificate] | None = None  # of the last block, verified
    tried: list[str] = field(default_factory=list)

    @property
    def is_wanted(self) -> bool:
        return self.peer is None and self.blocks is None

    @property
    def is_in_flight(self) -> bool:
        return self.peer is not None and self.blocks is None

    def want_again(self) -> None:
        """Forget what came and ask somebody else."""
        if self.peer is not None:
            self.tried.append(self.peer)
        self.peer = self.blocks = self.proof = None


@dataclass(slots=True)
class _Peer:
    """What a connected peer claims and how it has behaved."""

    height: int = 0
    epoch: int = 0
    proven_height: int = 0
    is_validator: bool = False
    is_banned: bool = False
    failures: int = 0
    not_before_ms: int = 0
    duration_ms: int = 0  # of its last reply, 0 before the first


class CatchUp:
    """The catch-up of one channel. Peers are named by strings that the caller chooses."""

    def __init__(self, chain_id: bytes, anchor: Anchor, limits: SyncLimits, verify: Verify = verify_ed25519) -> None:
        self._chain_id = chain_id
        self._anchor = anchor
        self.limits = limits
        self._verify = verify
        self._peers: dict[str, _Peer] = {}
        self._ranges: list[_Range] = []  # ascending, without gaps, from the first height not handed out
        self._certified = 0  # a certificate for this height was seen
        self._behind_since_ms: int | None = None
        self._stuck_since_ms: int | None = None
        self._active = False
        self._handed_out: int | None = None  # height of the block the caller is applying
        self._handed_out_ends_epoch = False
        self._paused_until_ms = 0
        self._span = RANGE_BLOCKS_MAX  # blocks per request, adapted to what fits into a reply
        self._next_id = 1
        self._now_ms = 0
        self._blames: list[Blame] = []
        self._requests: list[tuple[str, RangeRequest]] = []

    # Inputs

    def peer_status(
        self, peer: str, height: int, head_hash: bytes, epoch: int, is_validator: bool, now_ms: int
    ) -> None:
        """``peer`` claims a head. Feed claims in the order it sent them, from one topic: topics overtake each other.

        ``is_validator``: it is a validator of the current epoch, so its claim counts for the target.
        """
        self._now_ms = now_ms
        state = self._peers.setdefault(peer, _Peer())
        if state.is_banned:
            return
        if height < state.height or epoch < state.epoch:
            self._blame(peer, f"its head went down from {state.height} to {height}", proven=True)
            return
        if height == self._anchor.height and head_hash != self._anchor.block_hash:
            # A lie, or a fork. Its link must stay up: should it be a fork, consensus proves it by both certificates.
            state.is_banned = True
            self._blame(peer, f"it claims another block at height {height}", proven=False)
            return
        state.height, state.epoch, state.is_validator = height, epoch, is_validator

    def peer_gone(self, peer: str, now_ms: int) -> None:
        """The link to ``peer`` is down; what it was asked for is asked of others."""
        self._now_ms = now_ms
        self._peers.pop(peer, None)
        for part in self._ranges:
            if part.is_in_flight and part.peer == peer:
                part.want_again()

    def certified(self, height: int, holders: Iterable[str], now_ms: int) -> None:
        """This node's replica saw a valid certificate for ``height``, or f + 1 claims; ``holders`` can serve it."""
        self._now_ms = now_ms
        self._certified = max(self._certified, height)
        for peer in holders:
            state = self._peers.get(peer)
            if state is not None:
                state.proven_height = max(state.proven_height, height)

    def range_arrived(self, peer: str, reply: RangeReply, now_ms: int) -> None:
        """A reply came. One that was not asked for, or is too late, is no offence and no use."""
        self._now_ms = now_ms
        part = self._in_flight(peer, reply.id)
        if part is None:
            return
        if not reply.blocks:
            self._failed(part, "it does not have the range")
            return
        heights = [block.header.height for block in reply.blocks]
        if heights != list(range(part.first, part.first + len(heights))) or heights[-1] > part.last:
            part.want_again()
            self._blame(peer, f"it sent heights {heights[0]}..{heights[-1]} for {part.first}..{part.last}", proven=True)
            return
        state = self._peers[peer]
        state.failures, state.duration_ms = 0, max(1, now_ms - part.sent_ms)
        self._accept(part, reply.blocks)

    def range_failed(self, peer: str, request_id: int, now_ms: int) -> None:
        """The request could not be sent or answered. (For a reply that does not decode, drop the link.)"""
        self._now_ms = now_ms
        part = self._in_flight(peer, request_id)
        if part is not None:
            self._failed(part, "the request failed")

    def applied(self, anchor: Anchor, now_ms: int) -> None:
        """``anchor`` is executed and stored: the block that was handed out, or one that consensus decided."""
        self._now_ms = now_ms
        if anchor.height <= self._anchor.height:
            return
        self._stuck_since_ms = None
        expected = self._anchor.height + 1 == anchor.height == self._handed_out
        self._anchor = anchor
        if self._handed_out is not None and self._handed_out <= anchor.height:
            self._handed_out = None
        if not expected and self._ranges:
            self._ranges[0].proof = None  # verify its links to this block

    def dropped(self, now_ms: int) -> None:
        """The block that was handed out was not applied. Fetch anew after a pause, if the node is still behind.

        Its peer is not to blame: order and result were proven. Most likely consensus was faster.
        """
        self._now_ms = now_ms
        self._handed_out = None
        self._ranges.clear()
        self._paused_until_ms = now_ms + COOLDOWN_MS

    def tick(self, now_ms: int) -> None:
        """Time has passed: expire requests and cool-downs."""
        self._now_ms = now_ms
        for part in self._ranges:
            if part.is_in_flight and now_ms - part.sent_ms >= self.limits.request_timeout_ms:
                self._failed(part, "it did not answer in time")

    # Outputs

    def ready(self) -> SyncReady:
        """Everything to do now; handed over once."""
        self._drop_below(self._anchor.height + 1)
        block = self._next_block()
        self._plan()
        ready = SyncReady(tuple(self._requests), tuple(self._blames), block)
        self._requests.clear()
        self._blames.clear()
        return ready

    def next_deadline(self) -> int | None:
        """When ``tick`` has something to do, in milliseconds; None while nothing waits for time."""
        times = [part.sent_ms + self.limits.request_timeout_ms for part in self._ranges if part.is_in_flight]
        if any(part.is_wanted for part in self._ranges):
            times += [peer.not_before_ms for peer in self._peers.values() if peer.not_before_ms > self._now_ms]
        if self._active and self._now_ms < self._paused_until_ms:
            times.append(self._paused_until_ms)
        if self._behind_since_ms is not None and not self._active:
            times.append(self._behind_since_ms + self.limits.behind_ms)
        if self._stuck_since_ms is not None and not self._active:
            times.append(self._stuck_since_ms + self.limits.stuck_ms)
        return min(times, default=None)

    @property
    def target(self) -> int:
        """The height to reach: at least one honest validator has it."""
        claims = sorted(
            (peer.height for peer in self._peers.values() if peer.is_validator and not peer.is_banned), reverse=True
        )
        f = self._anchor.validators.f
        return max(self._certified, claims[f] if len(claims) > f else 0)

    def claimed_height(self, peer: str) -> int:
        """The height a connected peer claims; 0 before it said anything."""
        state = self._peers.get(peer)
        return 0 if state is None else state.height

    def status(self) -> SyncStatus:
        """Where catch-up stands."""
        return SyncStatus(
            self._active,
            self._anchor.height,
            max(self.target, self._anchor.height),
            tuple((part.peer, part.first, part.last) for part in self._ranges if part.is_in_flight and part.peer),
        )

    # What to ask for

    def _plan(self) -> None:
        target = self.target
        self._update_active(target)
        if not self._active:
            self._ranges.clear()
        if not self._active or self._now_ms < self._paused_until_ms:
            return
        following = self._ranges[-1].last + 1 if self._ranges else (self._handed_out or self._anchor.height) + 1
        while len(self._ranges) < self.limits.parallel and following <= target and not self._is_epoch_open():
            self._ranges.append(_Range(following, min(following + self._span - 1, target)))
            following = self._ranges[-1].last + 1
        used = sum(not part.is_wanted for part in self._ranges)
        for position, part in enumerate(self._ranges):
            # The first range may always be asked for: the others wait for it.
            if part.is_wanted and (used < self.limits.parallel or position == 0):
                used += self._ask_for(part)

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
            if waited or lag > RANGE_BLOCKS_MAX or self._certified > self._anchor.height:
                self._active = True
        elif not self._active:
            self._behind_since_ms = None

    def _is_epoch_open(self) -> bool:
        """Whether a block ahead, here but not executed, ends the epoch: nothing above it is asked for yet (U4)."""
        if self._handed_out is not None and self._handed_out_ends_epoch:
            return True
        blocks = self._ranges[-1].blocks if self._ranges else None
        return blocks is not None and len(blocks) > 0 and blocks[-1].ends_epoch

    def _ask_for(self, part: _Range) -> bool:
        busy = {other.peer for other in self._ranges if other.is_in_flight}
        able = {
            name: peer
            for name, peer in self._peers.items()
            if max(peer.height, peer.proven_height) >= part.last and not peer.is_banned
        }
        if all(name in part.tried for name in able):
            part.tried.clear()  # everybody had a chance; begin again
        untried = {name: peer for name, peer in able.items() if name not in part.tried}
        # A slow one is passed over only for another that may still be asked for this very range, or none would be.
        free = [
            name
            for name, peer in untried.items()
            if name not in busy and peer.not_before_ms <= self._now_ms and not self._is_slow(name, untried)
        ]
        if not free:
            return False
        name = min(free, key=lambda candidate: (able[candidate].failures, able[candidate].duration_ms, candidate))
        part.peer, part.request_id, part.sent_ms = name, self._next_id, self._now_ms
        self._next_id += 1
        self._requests.append((name, RangeRequest(part.request_id, part.first, part.last)))
        return True

    @staticmethod
    def _is_slow(name: str, peers: dict[str, _Peer]) -> bool:
        measured = [peer.duration_ms for peer in peers.values() if peer.duration_ms and not peer.failures]
        return bool(measured) and peers[name].duration_ms > SLOW_MARGIN_MS + 4 * min(measured)

    # What came

    def _in_flight(self, peer: str, request_id: int) -> _Range | None:
        for part in self._ranges:
            if part.is_in_flight and part.peer == peer and part.request_id == request_id:
                return part
        return None

    def _accept(self, part: _Range, blocks: tuple[RangeBlock, ...]) -> None:
        position = self._ranges.index(part)
        asked, came = part.last - part.first + 1, len(blocks)
        part.blocks, part.last = deque(blocks), part.first + came - 1
        if blocks[-1].ends_epoch:
            # If that is a lie, verification finds out and asks again; until then nothing above is wanted.
            del self._ranges[position + 1 :]
        elif came < asked:
            self._span = came
            self._ranges.insert(position + 1, _Range(part.last + 1, part.last + asked - came))
        else:
            self._span = min(RANGE_BLOCKS_MAX, max(self._span, 2 * came))

    def _drop_below(self, height: int) -> None:
        """Forget the heights below ``height``, which consensus has decided meanwhile."""
        while self._ranges and self._ranges[0].last < height:
            self._ranges.pop(0)
        first = self._ranges[0] if self._ranges else None
        if first is None or first.is_in_flight:
            return  # the reply will hold what was asked for
        while first.blocks and first.first < height:
            first.blocks.popleft()
            first.first += 1
        first.first = max(first.first, height)

    def _failed(self, part: _Range, reason: str) -> None:
        """A failure that also happens to the honest: be gentle, but ask others first."""
        peer = part.peer
        part.want_again()
        state = self._peers.get(peer) if peer is not None else None
        if peer is None or state is None:
            return
        state.failures += 1
        state.not_before_ms = self._now_ms + min(COOLDOWN_MS << min(state.failures - 1, 10), COOLDOWN_MS_MAX)
        self._blame(peer, reason, proven=False)

    def _blame(self, peer: str, reason: str, proven: bool) -> None:
        state = self._peers.get(peer)
        if proven and state is not None:
            state.is_banned = True
            for part in self._ranges:
                if part.is_in_flight and part.peer == peer:
                    part.want_again()
        self._blames.append(Blame(peer, reason, proven))

    # What to apply

    def _next_block(self) -> SyncedBlock | None:
        """The next block in order, if it is here and proven."""
        first = self._ranges[0] if self._ranges else None
        if self._handed_out is not None or first is None or not first.blocks:
            return None
        source = first.peer or ""
        try:
            if first.proof is None:
                first.proof = verify_range(self._chain_id, self._anchor, first.blocks, self._verify)
            leaf_hashes = verify_bodies(first.blocks[0])
        except InvalidMessage as error:
            first.want_again()
            self._blame(source, str(error), proven=True)
            return None
        block = first.blocks.popleft()
        first.first += 1
        links, certificate = first.proof
        links = (*((above.header, above.result) for above in first.blocks), *links)
        if first.blocks and block.certificate:
            try:
                certificate = verify_certificate(
                    self._chain_id, self._anchor, block.certificate, block.header, block.result, self._verify
                )
                links = ()
            except InvalidMessage as error:  # the block is proven from above all the same
                self._blame(source, str(error), proven=True)
        if not first.blocks:
            self._ranges.pop(0)
        self._handed_out, self._handed_out_ends_epoch = block.header.height, block.ends_epoch
        return SyncedBlock(
            block.header, block.header.hash, block.result, links, certificate, leaf_hashes, block.envelopes
        )
