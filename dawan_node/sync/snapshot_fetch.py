"""Fetching a snapshot: which one, what to ask whom for, whom to believe.

1. **Epochs.** Every peer is asked how this node's epoch and those after it ended (``epoch_walk``): so the validators
   of each are known, and where the time of old ones was over (amendments U4, U14). Nothing is chosen before f + 1 peers
   have said all they know, and all who are connected or the time for it is over.
2. **Offers.** Every peer is asked what it has. The snapshot that most peers offer is taken, the newer of two equal
   ones: a liar alone cannot choose it, and parts can come from several peers at once. Its block must be final by the
   validators of its epoch and not above that epoch's end. Nothing of the state is asked for before that; and an end
   that somebody shows later still makes an end of a snapshot above it.
3. **Parts.** Header runs one after the other from the snapshot's block downwards, then chunks, several in flight, each
   from another peer. Every part is verified by itself when it arrives (by the caller, outside the event loop).

A peer that sends what cannot be true is blamed and not asked again; one that is late or has nothing is asked last. If
the snapshot cannot be had (its last holder is gone, nobody sends its parts, or what it claims about them is untrue),
the next best is taken: a liar's offer, or one that an earlier attempt kept and nobody has any more, delays a node and
does not stop it. When none is left the machine says that it failed, and the caller goes on by blocks or begins again.

Like ``CatchUp`` it has no I/O and no clock: feed it events and do what ``ready`` says. What has been fetched is kept
by the caller, who tells a new machine after a restart which parts it has (``resume``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.sync.epoch_walk import EpochWalk
from dawan_node.sync.peers import Blame
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_format import Layout, Manifest
from dawan_node.sync.snapshot_messages import (
    EpochQuery,
    EpochReply,
    PartQuery,
    PartReply,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
    TrustedEpoch,
)
from dawan_node.sync.snapshot_parts import Arrived, ManifestRefused, PartRule

#: Parts in flight or being verified: of 1 MiB each, and more than the peers that serve one node.
PARALLEL: Final = 4
#: Parts in flight from one peer: the next is on its way while the last is verified.
PER_PEER: Final = 2
#: A part of 1 MiB needs so long on a link of 0.6 Mbit/s.
TIMEOUT_MS: Final = 15_000
#: How long offers are waited for: several round trips on the worst link, once per snapshot. Who has nothing to offer
#: may answer first, and who has may still be connecting: so nobody is given up before this is over.
OFFERS_MS: Final = 3_000
#: A peer that has said nothing of its snapshots is asked again: the question or the answer may have been dropped.
ASK_AGAIN_MS: Final = 1_000
#: A peer that failed waits so long, doubled each time in a row.
COOLDOWN_MS: Final = 1_000
COOLDOWN_MS_MAX: Final = 30_000
#: Nothing new for so long, with all peers asked in turn: the snapshot cannot be had.
GIVE_UP_MS: Final = 120_000
#: For f + 1 peers to say how the epochs ended, which takes some KiB: two answers in time.
WITNESSES_MS: Final = 2 * TIMEOUT_MS + 5_000


@dataclass(frozen=True, slots=True)
class FetchReady:
    """What to do now."""

    requests: tuple[tuple[str, SnapshotRequest], ...] = ()
    blames: tuple[Blame, ...] = ()
    chosen: Chosen | None = None  # make this durable; parts follow
    arrived: tuple[Arrived, ...] = ()
    is_complete: bool = False
    failure: str = ""
    alarm: str = ""  # what people must look at

    def __bool__(self) -> bool:
        is_work = self.requests or self.blames or self.chosen or self.arrived
        return bool(is_work or self.is_complete or self.failure or self.alarm)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A manifest that was read once: the largest takes 20 ms, and is kept as bytes because nearly all are the same."""

    epoch: int
    height: int
    data: bytes


@dataclass(slots=True)
class _EpochQuestion:
    """What a peer is asked about epochs; late answers count until the question is put again."""

    epoch: int  # the first that it is asked about
    id: int = 0  # 0: not asked, or answered
    is_open: bool = False  # asked, and not late yet
    sent_ms: int = 0
    is_told: bool = False  # it has said all it knows


@dataclass(slots=True)
class _Peer:
    query: int  # the id of what it is asked until it answers: which snapshots it has
    asked_ms: int
    epochs: _EpochQuestion
    failures: int = 0
    not_before_ms: int = 0
    is_banned: bool = False
    in_flight: int = 0
    offers: dict[bytes, _Offer] = field(default_factory=dict)  # by snapshot id
    oldest: int | None = None  # None: it has not answered


@dataclass(slots=True)
class _Request:
    peer: str
    sent_ms: int
    part: int


class SnapshotFetch:
    """One attempt to get a snapshot above ``height``."""

    def __init__(
        self,
        chain_id: bytes,
        height: int,
        trusted: TrustedEpoch,
        now_ms: int,
        verify: Verify = verify_ed25519,
        ids: Iterator[int] | None = None,
    ) -> None:
        """``trusted``: the epoch of the block after this node's head. ``ids``: of requests, never the same one twice;
        attempts that follow each other share them."""
        self._chain_id: Final = chain_id
        self._height: Final = height
        self._walk: Final = EpochWalk(chain_id, trusted, verify)
        self._verify: Final = verify
        self._peers: dict[str, _Peer] = {}
        self._requests: dict[int, _Request] = {}
        self._ids: Final = count(1) if ids is None else ids
        self._now_ms = now_ms
        self._moved_ms = now_ms
        self._asked_ms: int | None = None
        self._refused: set[bytes] = set()  # snapshots that are impossible, or that cannot be had
        self._last_drop = ""  # why the last of them cannot be had
        self._chosen: tuple[Manifest, Header, Result] | None = None
        self._chosen_id = b""
        self._has_chosen = False
        self._layout: Layout | None = None
        self._missing: list[int] = []  # ascending
        self._checking: set[int] = set()
        self._hash_below = b""  # of the block below the last verified header run
        self._out_requests: list[tuple[str, SnapshotRequest]] = []
        self._out_blames: list[Blame] = []
        self._out_arrived: list[Arrived] = []
        self._out_chosen: Chosen | None = None
        self._is_complete_told = False
        self._failure = ""
        self._alarm_told = ""

    # Inputs

    def peer_up(self, peer: str, now_ms: int) -> None:
        """``peer`` is connected: it is asked what it has, and about the epochs."""
        self._now_ms = now_ms
        if peer not in self._peers:
            query = SnapshotQuery(self._take_id())
            self._peers[peer] = _Peer(query.id, now_ms, _EpochQuestion(self._walk.start.epoch))
            self._out_requests.append((peer, query))
            if self._asked_ms is None:
                self._asked_ms = now_ms

    def peer_gone(self, peer: str, now_ms: int) -> None:
        """The link to ``peer`` is down."""
        self._now_ms = now_ms
        self._peers.pop(peer, None)
        for request_id in [key for key, request in self._requests.items() if request.peer == peer]:
            self._want_again(self._requests.pop(request_id))

    def resume(self, kept: Chosen, read: Callable[[int], bytes | None]) -> None:
        """Take up what an earlier attempt kept; ``read`` gives a part as it was kept. Parts that do not verify any more
        are fetched again. Reads and hashes everything: call it outside the event loop, before anything else.

        Raises InvalidMessage when it is not of this chain, not above this node's head, or changed.
        """
        # This node may have entered an epoch or two since then.
        self._walk.resume([proof for proof in kept.epochs if proof.epoch >= self._walk.start.epoch])
        manifest = Manifest.decode(kept.manifest)
        header, result = self._final(manifest)
        if header.height <= self._height:
            raise InvalidMessage(f"the snapshot of height {header.height} is not above height {self._height}")
        self._begin_parts(manifest, kept.manifest, header, result)
        self._out_chosen = None
        missing: list[int] = []
        for part in self._missing:
            data = read(part)
            try:
                # Above a header run that is missing nothing can be said of the next one.
                if data is None or (missing and part < Layout.of(manifest).runs):
                    raise InvalidMessage("not there")
                self._hash_below = self._rule(part).verify(data) or self._hash_below
            except InvalidMessage:
                missing.append(part)
        self._missing = missing

    def offer_arrived(self, peer: str, offer: SnapshotOffer, now_ms: int) -> None:
        """What ``peer`` has; it says so once. Manifests that are not above this node's head are no use."""
        self._now_ms = now_ms
        state = self._peers.get(peer)
        if state is None or state.oldest is not None or offer.id != state.query:
            return
        state.oldest = offer.oldest
        for data in offer.manifests:
            try:
                manifest = Manifest.decode(data)
            except InvalidMessage as error:
                self._blame(peer, str(error))
                return
            header = manifest.header
            if header.chain_id != self._chain_id:
                self._blame(peer, "it offers a snapshot of another chain")
                return
            if header.height > self._height and header.epoch >= self._walk.start.epoch:
                state.offers[manifest.id] = _Offer(header.epoch, header.height, data)

    def epochs_arrived(self, peer: str, reply: EpochReply, now_ms: int) -> None:
        """How epochs ended, as far as ``peer`` knows."""
        self._now_ms = now_ms
        state = self._peers.get(peer)
        if state is None or state.is_banned or not state.epochs.id or reply.id != state.epochs.id:
            return
        question = state.epochs
        question.id, question.is_open = 0, False
        try:
            following = self._walk.take(peer, question.epoch, reply.proofs)
        except InvalidMessage as error:
            self._blame(peer, str(error))
            return
        question.is_told, question.epoch = following is None, following or question.epoch
        self._look_at_chosen_again()

    def part_arrived(self, peer: str, reply: PartReply, now_ms: int) -> None:
        """A part, or nothing. One that was not asked for, or is too late, is no offence and no use."""
        self._now_ms = now_ms
        request = self._requests.get(reply.id)
        if request is None or request.peer != peer:
            return
        del self._requests[reply.id]
        self._peers[peer].in_flight -= 1
        if not reply.data:
            self._missing_again(request.part)
            self._peers[peer].offers.pop(self._chosen_id, None)
            return
        self._checking.add(request.part)
        rule = self._rule(request.part)
        self._out_arrived.append(Arrived(peer, self._chosen_id, request.part, reply.data, rule))

    def checked(self, arrived: Arrived, outcome: bytes | InvalidMessage, now_ms: int) -> None:
        """What the rule gave or raised; the caller keeps the part before it says so."""
        self._now_ms = now_ms
        if arrived.snapshot != self._chosen_id or arrived.part not in self._checking:
            return  # of a snapshot that was given up meanwhile
        self._checking.discard(arrived.part)
        if isinstance(outcome, ManifestRefused):
            # The chunk is true, so the manifest is not: all who offer it made or passed on the same lie.
            self._refuse(self._chosen_id, str(outcome))
            return
        if isinstance(outcome, InvalidMessage):
            self._missing_again(arrived.part)
            self._blame(arrived.peer, str(outcome))
            return
        if outcome:
            self._hash_below = outcome
        self._moved_ms = now_ms
        state = self._peers.get(arrived.peer)
        if state is not None:
            state.failures = 0

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        self._now_ms = now_ms
        for request_id in [key for key, r in self._requests.items() if now_ms - r.sent_ms >= TIMEOUT_MS]:
            request = self._requests.pop(request_id)
            self._want_again(request)
            self._failed(request.peer, "it did not answer in time")
        for name, peer in self._peers.items():
            if peer.epochs.is_open and now_ms - peer.epochs.sent_ms >= TIMEOUT_MS:
                peer.epochs.is_open = False
                self._failed(name, "it did not say in time how the epochs ended")
            if peer.oldest is None and not peer.is_banned and now_ms - peer.asked_ms >= ASK_AGAIN_MS:
                peer.asked_ms = now_ms
                self._out_requests.append((name, SnapshotQuery(peer.query)))
        if self._is_complete_told or now_ms - self._moved_ms < GIVE_UP_MS:
            return
        if self._chosen is None:
            self._failure = "no peer has sent anything of it for too long"
        else:
            why = self._too_few if self._is_done else "no peer has sent anything of it for too long"
            self._drop_chosen(why)

    # Outputs

    def ready(self) -> FetchReady:
        """Everything to do now; handed over once."""
        if not self._failure:
            self._choose()
            self._ask()
        is_complete = self._is_done and self._is_witnessed and not self._is_complete_told
        self._is_complete_told |= is_complete
        ready = FetchReady(
            tuple(self._out_requests),
            tuple(self._out_blames),
            self._out_chosen,
            tuple(self._out_arrived),
            is_complete,
            self._failure,
            self._walk.contradiction if self._walk.contradiction != self._alarm_told else "",
        )
        self._alarm_told = self._walk.contradiction
        self._out_requests, self._out_blames, self._out_arrived, self._out_chosen = [], [], [], None
        self._failure = ""
        return ready

    @property
    def chosen(self) -> tuple[Manifest, Header, Result] | None:
        """The snapshot being fetched, its block proven."""
        return self._chosen

    @property
    def epoch(self) -> int:
        """That of this node's next block."""
        return self._walk.start.epoch

    @property
    def progress(self) -> tuple[int, int]:
        """Parts that are here, and parts there are; (0, 0) before a snapshot is chosen."""
        if self._layout is None:
            return 0, 0
        parts = self._layout.parts
        return parts - len(self._missing) - len(self._checking) - len(self._requests), parts

    @property
    def has_chosen(self) -> bool:
        """Whether there was anything to choose, though it may have been given up since."""
        return self._has_chosen

    @property
    def has_holders(self) -> bool:
        """Whether somebody who is connected has the chosen snapshot."""
        return any(self._chosen_id in peer.offers and not peer.is_banned for peer in self._peers.values())

    @property
    def awaits_offers(self) -> bool:
        """Whether somebody has not said yet which snapshots it has."""
        return any(peer.oldest is None and not peer.is_banned for peer in self._peers.values())

    def oldest_blocks(self) -> list[int]:
        """From which height on each peer that has answered has blocks."""
        return [peer.oldest for peer in self._peers.values() if peer.oldest is not None and not peer.is_banned]

    # Which snapshot

    @property
    def _is_done(self) -> bool:
        return self._chosen is not None and not (self._missing or self._checking or self._requests)

    @property
    def _is_witnessed(self) -> bool:
        """Whether the peers have been heard about the epochs: all who are here or had the time, and f + 1 at least."""
        if self._walk.witnesses < self._walk.witnesses_needed:
            return False
        waits = any(not (peer.epochs.is_told or peer.is_banned) for peer in self._peers.values())
        return not waits or self._waited_ms >= TIMEOUT_MS

    @property
    def _too_few(self) -> str:
        heard, needed = self._walk.witnesses, self._walk.witnesses_needed
        return f"only {heard} of the {needed} peers that are needed have said how the epochs ended"

    @property
    def _waited_ms(self) -> int:
        """Since the first peer was asked."""
        return 0 if self._asked_ms is None else self._now_ms - self._asked_ms

    def _choose(self) -> None:
        """Once all have answered or the time for it is over: what most peers offer, the newest of these. It fails only
        when the time is over."""
        if self._chosen is not None or self._asked_ms is None:
            return
        if self._waited_ms < OFFERS_MS and any(peer.oldest is None for peer in self._peers.values()):
            return
        offers = Counter(
            snapshot
            for peer in self._peers.values()
            if not peer.is_banned
            for snapshot in peer.offers
            if snapshot not in self._refused
        )
        if offers and not self._is_witnessed:
            if self._waited_ms >= WITNESSES_MS:
                self._failure = self._too_few
            return
        found = {snapshot: offer for peer in self._peers.values() for snapshot, offer in peer.offers.items()}
        # Of an epoch that nobody can prove, or of which something untrue is certified, nothing is believed.
        able = [snapshot for snapshot in offers if self._walk.at(found[snapshot].epoch) is not None]
        for snapshot in sorted(able, key=lambda each: (offers[each], found[each].height, each), reverse=True):
            if not any(snapshot in peer.offers for peer in self._peers.values()):
                continue  # who offered it has just been found lying
            manifest = Manifest.decode(found[snapshot].data)
            try:
                header, result = self._final(manifest)
            except InvalidMessage as error:
                self._refuse(snapshot, str(error))
                continue
            self._begin_parts(manifest, found[snapshot].data, header, result)
            return
        if self._waited_ms < OFFERS_MS:
            return
        self._failure = self._walk.contradiction or self._last_drop or "no peer offers a snapshot that would help"

    def _final(self, manifest: Manifest) -> tuple[Header, Result]:
        """Header and result of its block. Raises InvalidMessage when it is not final by the validators of its epoch, or
        above that epoch's end (amendment U14)."""
        epoch = manifest.header.epoch
        trusted = self._walk.at(epoch)
        if trusted is None:
            raise InvalidMessage(f"nothing leads to epoch {epoch}")
        return trusted.final(self._chain_id, manifest.finality, self._verify, last=self._walk.end_of(epoch))

    def _look_at_chosen_again(self) -> None:
        """More is known of the epochs now than when it was chosen."""
        if self._chosen is None or self._is_complete_told:
            return
        epoch, height = self._chosen[1].epoch, self._chosen[1].height
        end = self._walk.end_of(epoch)
        if self._walk.at(epoch) is None:
            self._drop_chosen(self._walk.contradiction)
        elif end is not None and height > end:
            self._refuse(self._chosen_id, f"its snapshot is of height {height}, and epoch {epoch} ended at {end}")

    def _begin_parts(self, manifest: Manifest, data: bytes, header: Header, result: Result) -> None:
        self._chosen, self._chosen_id, self._has_chosen = (manifest, header, result), manifest.id, True
        self._layout = Layout.of(manifest)
        self._missing = list(range(self._layout.parts))
        self._hash_below = header.parent_hash
        self._moved_ms = self._now_ms
        self._out_chosen = Chosen(data, self._walk.proofs_to(header.epoch))

    def _rule(self, part: int) -> PartRule:
        assert self._chosen is not None and self._layout is not None
        manifest, _, result = self._chosen
        return PartRule.of(self._layout, part, result.state_root, manifest.headers_from, self._hash_below)

    def _refuse(self, snapshot: bytes, why: str) -> None:
        """Whoever offers it lies: its block is not final as it says, or its parts are not what it says."""
        for name, peer in list(self._peers.items()):
            if snapshot in peer.offers:
                self._blame(name, why)
        self._refused.add(snapshot)
        if snapshot == self._chosen_id:
            self._drop_chosen("")

    def _drop_chosen(self, why: str) -> None:
        """It cannot be had, which need not be anybody's fault; another one may."""
        self._refused.add(self._chosen_id)
        self._last_drop = why
        self._chosen = self._layout = self._out_chosen = None
        self._chosen_id = b""
        self._missing, self._checking, self._out_arrived = [], set(), []
        self._requests.clear()
        for peer in self._peers.values():
            peer.in_flight = 0
        self._moved_ms = self._now_ms

    # What to ask for

    def _ask(self) -> None:
        self._ask_epochs()
        if self._chosen is None:
            return
        assert self._layout is not None
        while self._missing and len(self._requests) + len(self._checking) < PARALLEL:
            part = self._missing[0]
            # A header run is verified against the one above it, so these come one by one, and before the chunks.
            if part <= self._layout.runs and self._runs_are_open(self._layout.runs):
                return
            holder = self._next_holder()
            if holder is None:
                if not self.has_holders:
                    self._drop_without_holders()
                return
            self._missing.pop(0)
            query_part = PartQuery(self._take_id(), self._chosen_id, part)
            self._requests[query_part.id] = _Request(holder, self._now_ms, part)
            self._peers[holder].in_flight += 1
            self._out_requests.append((holder, query_part))

    def _ask_epochs(self) -> None:
        """Everybody, and who was late again: silence proves nothing."""
        for name, peer in self._peers.items():
            question = peer.epochs
            if question.is_told or question.is_open or peer.is_banned or peer.not_before_ms > self._now_ms:
                continue
            query = EpochQuery(self._take_id(), question.epoch)
            question.id, question.is_open, question.sent_ms = query.id, True, self._now_ms
            self._out_requests.append((name, query))

    def _runs_are_open(self, runs: int) -> bool:
        """Whether a header run is still on its way or being verified."""
        on_their_way = [request.part for request in self._requests.values()]
        return any(open_part < runs for open_part in (*on_their_way, *self._checking))

    def _drop_without_holders(self) -> None:
        """Nobody connected has it. After a restart the peers have first to say what they have."""
        asked = self._asked_ms
        if asked is not None and self._now_ms - max(asked, self._moved_ms) >= TIMEOUT_MS:
            self._drop_chosen("no peer that is connected has the rest of it")

    def _next_holder(self) -> str | None:
        """Who has the snapshot and may be asked now: the one with the fewest failures, then the least to do."""
        able = [
            (peer.failures, peer.in_flight, name)
            for name, peer in self._peers.items()
            if self._chosen_id in peer.offers
            and not peer.is_banned
            and peer.in_flight < PER_PEER
            and peer.not_before_ms <= self._now_ms
        ]
        return min(able)[2] if able else None

    def _want_again(self, request: _Request) -> None:
        self._missing_again(request.part)
        state = self._peers.get(request.peer)
        if state is not None:
            state.in_flight -= 1

    def _missing_again(self, part: int) -> None:
        self._missing.append(part)
        self._missing.sort()

    def _failed(self, peer: str, reason: str) -> None:
        state = self._peers[peer]
        state.failures += 1
        state.not_before_ms = self._now_ms + min(COOLDOWN_MS << min(state.failures - 1, 10), COOLDOWN_MS_MAX)
        self._out_blames.append(Blame(peer, reason, proven=False))

    def _blame(self, peer: str, reason: str) -> None:
        state = self._peers.get(peer)
        self._walk.disbelieve(peer)
        if state is not None:
            state.is_banned = True
            state.offers = {}
            state.oldest = state.oldest or 0
        for request_id in [key for key, request in self._requests.items() if request.peer == peer]:
            self._want_again(self._requests.pop(request_id))
        self._out_blames.append(Blame(peer, reason, proven=True))

    def _take_id(self) -> int:
        return next(self._ids)
