"""How decided blocks reach the nodes that do not vote: along a tree that grows by itself and mends itself.

Pure: messages and time (milliseconds of a monotonic clock) come in, orders to send go out. After Plumtree (Leitao,
Pereira, Rodrigues 2007), with two things simpler: blocks have heights, so "I have 7" also says "and all below", and
every block proves itself, so whoever brings it needs no trust.

Every link is *lazy* at first: over it a node only says which height it has (HAVE). A node that follows picks one
*parent*: the first peer to announce a block. It asks it to push from now on (GRAFT), and becomes its child. The
validators all have a block at about the same time and are the roots of one tree; a child hears first from whoever is
nearest to them. When the tree is whole, a node receives each block once, one hop after its parent, and from its other
links a few bytes.

Repair. A block that was announced and is not here when the parent usually would have brought it is asked for, of the
two best announcers at once (WANT), and of the next as soon as one of them is late. How long is usual, is measured
(``waits``): how far the parent is behind the first announcement, and how long answers take beyond the round trip. So
on quick lines a lost message costs little more than the two crossings of a question and its answer.

A parent that let this happen twice in a row, or once in four blocks for some time, is dropped for whoever helped. One
lost message therefore changes nothing in the tree, a silent, slow or lying parent costs two late blocks, and one that
keeps now and then a block to itself four.

A tree that grew on a bad moment gets shallow again: a validator that announced each of the last eight blocks before the
parent brought it is *tried*: it is asked to push beside the parent, and whose next block comes first, is the parent
from then on. Nothing is missed meanwhile, and a parent that is merely slow has a rival. Validators take no blocks here,
so this makes no circle.

A peer that is asked to push and has ``CHILDREN_MAX`` children declines
(PRUNE), as one does that is pushed a block it has already: the link is lazy again. PRUNE ends pushing in both
directions.

What a peer says is bounded: heights more than ``AHEAD_MAX`` above this node's are left to catch-up, a peer's
announcements and requests go through a token bucket, blocks that were neither asked for nor from the parent are paid
for with points (``scores``). A node that votes takes no blocks here: it only gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from dawan_node.p2p.gossip import TokenBucket
from dawan_node.p2p.scores import Deed, Scores
from dawan_node.p2p.waits import Wait

#: Blocks a node pushes at most so many times: at 1,000 transactions a second of 400 bytes, 3 MB/s, which a validator
#: on a 50 Mbit/s line can spare. Seven validators with eight children each are more than 54 members.
CHILDREN_MAX: Final = 8
#: Announced and not here for so long: ask. This much as long as nothing is known of the parent: one that is a hop
#: further from the validators than the announcer needs a hop more, on lines of this region 5 to 50 ms with the check.
PATIENCE_MS: Final = 100
#: ... at least so long, however punctual it was: what a busy event loop delays is not lost.
PATIENCE_MS_MIN: Final = 25
#: ... and at most so long, where hops turn out to be longer. Up to ``PATIENCE_MS`` what was measured counts. Beyond it
#: the limit grows by half with each later block, and shrinks by an eighth with each that took less than half of it: a
#: parent that had to mend a loss of its own now and then is no slow one, and must not make all below it wait.
PATIENCE_MS_MAX: Final = 2_000
#: Asked and not here after the round trip and so much more: ask another. As long as nothing is known: the block's
#: time on a line of 10 Mbit/s.
ANSWER_MS: Final = 100
ANSWER_MS_MIN: Final = 20
#: The round trip where none is known: to the far end of the region and back.
ROUND_TRIP_MS: Final = 100
#: A peer that is asked for the same block again gets twice the time, so often: a large block on a slow line is on its
#: way, and more questions would only bring it more often.
ANSWER_DOUBLINGS_MAX: Final = 4
#: Questions at once for one block that is late, or where questions stayed without an answer lately: one in ten messages
#: may be lost, and a question with its answer are two.
ASKED_AT_ONCE: Final = 2
#: "Lately": until so many answers have come in time. Where a tenth of messages is lost, one in five does not.
UNANSWERED_REMEMBERED: Final = 16
#: A block that had to be asked for elsewhere costs the parent so much trust, a punctual one gives back 1, and at the
#: limit another parent is looked for: after two late blocks in a row, where one may be bad luck, or after four of the
#: thirteen that one brings who keeps every fourth.
MISS_COST: Final = 5
MISSES_COST_MAX: Final = 2 * MISS_COST
#: Blocks held ahead of a missing one. A gap is mended in one or two round trips, a few blocks; whoever lacks more is
#: behind, and that is catch-up's business.
AHEAD_MAX: Final = 8
#: In so many blocks in a row a validator must have been ahead of the parent to be tried, and so many the parent may
#: bring before it is given up. Of two that are as near as the parent one gets there by chance once in a hundred times,
#: and then costs one block that comes twice.
NEARER_AFTER: Final = 8
#: A peer that declined is not asked to push again for so long.
DECLINED_MS: Final = 10_000
#: Announcements and requests of one peer: a block a tenth of a second needs ten announcements a second, and requests
#: come for one block in ten on bad lines. The burst is what a second of silence on a link may hold back.
WORDS_PER_S: Final = 60
WORDS_BURST: Final = 240
#: A peer so many heights behind for so long has nothing to give; after twice as long its link is better used for
#: another.
LAG_BLOCKS: Final = 16
LAG_MS: Final = 5_000
#: Questions about so many of the last heights are remembered, to tell a late answer from an unasked push.
REMEMBERED: Final = 4 * AHEAD_MAX


class Word(Enum):
    """What an order sends."""

    BLOCK = auto()
    HAVE = auto()
    GRAFT = auto()  # push to me from now on, and send this height now (0: none)
    WANT = auto()  # send this height
    PRUNE = auto()


@dataclass(frozen=True, slots=True)
class Order:
    """Send ``word`` about ``height`` to ``peer``. A BLOCK that is not at hand any more is not sent: no harm."""

    peer: str
    word: Word
    height: int = 0


@dataclass(slots=True)
class _Peer:
    words: TokenBucket
    votes: bool
    knows: int = 0  # the highest height it has, as far as was said
    declined_until_ms: int = 0
    behind_since_ms: int | None = None


@dataclass(slots=True)
class _Missing:
    """A height that somebody has and this node lacks."""

    since_ms: int
    ask_at_ms: int
    announcers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # in this round
    waits_for: dict[str, int] = field(default_factory=dict)  # peer -> when its answer is late
    asked_ms: dict[str, list[int]] = field(default_factory=dict)  # peer -> when it was asked, each time


def _no_round_trip(peer: str) -> int | None:
    return None


class BlockSpread:
    """One channel's tree, as this node sees it. Feed it what happens, then carry out ``take()``."""

    def __init__(
        self,
        height: int,
        follows: bool,
        scores: Scores,
        round_trip_ms: Callable[[str], int | None] = _no_round_trip,
    ) -> None:
        """``height`` is that of the last block here; ``follows``: this node does not vote and wants blocks;
        ``round_trip_ms`` tells a peer's, in milliseconds, None where it is not known yet."""
        self.follows = follows
        self._scores = scores
        self._round_trip_ms = round_trip_ms
        self._peers: dict[str, _Peer] = {}
        self._base = height  # everything up to here is here
        self._held: set[int] = set()  # proven, above a gap
        self._checking: dict[int, str] = {}
        self._missing: dict[int, _Missing] = {}
        self._settled: dict[int, _Missing] = {}  # what was asked about the last heights
        self._parent: str | None = None
        self._trial: str | None = None  # a validator that pushes beside the parent, to see who is first
        self._trial_blocks = 0  # that the parent brought since
        self._ahead: set[str] = set()  # the validators that were ahead of the parent in each ...
        self._ahead_blocks = 0  # ... of so many blocks, the last ones
        self._mistrust = 0  # of the parent
        self._missed = 0  # the height that it was last late with
        self._parent_lag = _parent_lag()
        self._patience_ms_max = PATIENCE_MS
        self._answer_lag = Wait(ANSWER_MS, ANSWER_MS_MIN, PATIENCE_MS_MAX)
        self._unanswered = 0  # answers until the last silence is forgotten
        self._children: dict[str, None] = {}
        self._orders: list[Order] = []
        self._floods: list[str] = []

    # Links

    def peer_up(self, peer: str, votes: bool, now_ms: int) -> None:
        """A link is up; ``votes``: the peer takes no blocks here."""
        self._peers[peer] = _Peer(TokenBucket(WORDS_PER_S, WORDS_BURST, now_ms), votes)

    def peer_down(self, peer: str) -> None:
        """A link is gone: its place in the tree is free at once."""
        self._peers.pop(peer, None)
        self._children.pop(peer, None)
        self._no_more_from(peer)
        for missing in self._missing.values():
            if peer in missing.announcers:
                missing.announcers.remove(peer)
            if missing.waits_for.pop(peer, None) is not None:
                missing.ask_at_ms = 0

    def set_voters(self, voters: Iterable[str]) -> None:
        """Other validators are in office."""
        names = set(voters)
        for name, peer in self._peers.items():
            peer.votes = name in names

    # What peers say

    def on_have(self, peer: str, height: int, now_ms: int) -> None:
        """``peer`` says that it has ``height``."""
        state = self._hear(peer, now_ms)
        if state is None:
            return
        self._learn(state, height)
        if self.follows and not self._scores.is_distrusted(peer):
            self._announced(peer, height, now_ms)

    def _announced(self, peer: str, height: int, now_ms: int) -> None:
        if height > self._base + AHEAD_MAX:
            return
        if self._parent is None and self._base <= height + AHEAD_MAX and height <= self._base:
            # It is not the first, but those before it declined: pushed by a later one a block comes sooner than asked
            # for at an earlier one.
            if self._may_push(peer, now_ms) and peer not in self._children and self._scores.of(peer) >= 0:
                self._adopt(peer, 0)
            return
        for each in range(self._base + 1, height + 1):
            if each in self._held or each in self._checking:
                continue
            missing = self._missing.get(each)
            if missing is None:
                wait_ms = 0 if self._parent is None else min(self._parent_lag.ms, self._patience_ms_max)
                missing = self._missing[each] = _Missing(now_ms, now_ms + wait_ms)
            if peer not in missing.announcers:
                missing.announcers.append(peer)
            if missing.ask_at_ms <= now_ms:
                self._ask(each, missing, now_ms)

    def claimed(self, peer: str, height: int, now_ms: int) -> None:
        """``peer`` told its head another way, which is paid for there: as good as an announcement."""
        state = self._peers.get(peer)
        if state is not None:
            self._learn(state, height)
            if self._base < height <= self._base + AHEAD_MAX and self.follows:
                self.on_have(peer, height, now_ms)

    def on_graft(self, peer: str, height: int, now_ms: int) -> None:
        """``peer`` asks for every block from now on, and for ``height`` unless that is 0."""
        state = self._hear(peer, now_ms)
        if state is None:
            return
        # A parent that asks heard of a block from here first, so it is no nearer to the validators than this node.
        self._no_more_from(peer)
        if peer in self._children or len(self._children) < CHILDREN_MAX:
            self._children[peer] = None
            # What it has it may never have said here, where a validator is concerned; it wants what comes from now on.
            self._learn(state, self._base)
        else:
            self._order(peer, Word.PRUNE)
        self._answer(peer, height)

    def on_want(self, peer: str, height: int, now_ms: int) -> None:
        """``peer`` asks for ``height``, once."""
        if self._hear(peer, now_ms) is not None:
            self._answer(peer, height)

    def on_prune(self, peer: str, now_ms: int) -> None:
        """``peer`` neither pushes to this node nor wants to be pushed to."""
        state = self._hear(peer, now_ms)
        if state is None:
            return
        self._children.pop(peer, None)
        if self._pushes(peer):
            self._no_more_from(peer)
            state.declined_until_ms = now_ms + DECLINED_MS

    def on_block(self, peer: str, height: int, now_ms: int) -> bool:
        """A block arrived: whether to check it now. Then ``accepted``, ``refused`` or ``put_off`` must follow."""
        state = self._peers.get(peer)
        if state is None:
            return False
        if not self.follows:
            self._order(peer, Word.PRUNE)
            self._blame(peer, Deed.DUPLICATE)
            return False
        if height <= self._base or height in self._held or height in self._checking:
            self._learn(state, height)
            self._came_again(peer, height, now_ms)
            return False
        if height > self._base + AHEAD_MAX:
            return False
        self._time(peer, self._missing.get(height), now_ms)
        self._checking[height] = peer
        return True

    # What became of a block

    def accepted(self, peer: str, height: int, now_ms: int) -> None:
        """The block that ``peer`` brought proves itself: pass it on."""
        self._checking.pop(height, None)
        state = self._peers.get(peer)
        if state is not None:
            self._learn(state, height)
        self._scores.note(peer, Deed.FIRST)
        self._judge_parent(peer, height, now_ms)
        self._held.add(height)
        self._settle(height)
        self._pass_on(height, peer)
        if height - 1 > self._base and state is not None:
            self._announced(peer, height - 1, now_ms)  # whoever has a block has those below it: a push was lost

    def refused(self, peer: str, height: int) -> None:
        """The block that ``peer`` brought is none: no honest node passes such a thing on."""
        if self._checking.get(height) == peer:
            del self._checking[height]
        self._blame(peer, Deed.INVALID)
        self._no_more_from(peer)

    def put_off(self, peer: str, height: int) -> None:
        """Nothing can be said of the block yet: another epoch's validators signed it."""
        self._checking.pop(height, None)
        missing = self._missing.get(height)
        if not self._pushes(peer) and (missing is None or peer not in missing.asked_ms):
            self._blame(peer, Deed.DUPLICATE)

    def committed(self, height: int, is_announced: bool = True) -> None:
        """A block is stored here, however it came; everything below is, too. Unless it ``is_announced``, others hear
        of it in another way."""
        is_news = height > self._base and height not in self._held
        if height > self._base:
            self._base = height
        self._settle(height)
        if is_news and is_announced:
            self._pass_on(height, "")

    # Time

    def tick(self, now_ms: int) -> None:
        """Time has passed: ask again for what did not come."""
        for height in sorted(self._missing):
            missing = self._missing.get(height)
            if missing is not None and missing.ask_at_ms <= now_ms:
                self._ask(height, missing, now_ms)
        for name, peer in self._peers.items():
            if not self.follows or peer.knows + LAG_BLOCKS >= self._base:
                peer.behind_since_ms = None
            elif peer.behind_since_ms is None:
                peer.behind_since_ms = now_ms
            elif now_ms - peer.behind_since_ms >= LAG_MS:
                peer.behind_since_ms = now_ms
                self._scores.note(name, Deed.LAGGING)

    def next_deadline(self) -> int | None:
        """When ``tick`` has something to ask for."""
        return min((missing.ask_at_ms for missing in self._missing.values()), default=None)

    # Outputs

    def take(self) -> list[Order]:
        """What is to be sent, once, in this order."""
        orders, self._orders = self._orders, []
        return orders

    def take_floods(self) -> list[str]:
        """Peers that said more than any honest one does."""
        floods, self._floods = self._floods, []
        return floods

    @property
    def height(self) -> int:
        """Everything up to this height is here or was proven."""
        return self._base

    @property
    def parent(self) -> str | None:
        """Who is to push blocks to this node."""
        return self._parent

    @property
    def children(self) -> tuple[str, ...]:
        """Whom this node pushes blocks to."""
        return tuple(self._children)

    @property
    def open_questions(self) -> int:
        """Heights that somebody has and this node lacks."""
        return len(self._missing)

    # Inside

    def _hear(self, peer: str, now_ms: int) -> _Peer | None:
        """The peer, if it may say one more word."""
        state = self._peers.get(peer)
        if state is None:
            return None
        if not state.words.take(1, now_ms):
            self._blame(peer, Deed.SPAM)
            self._floods.append(peer)
            return None
        return state

    @staticmethod
    def _learn(state: _Peer, height: int) -> None:
        state.knows = max(state.knows, height)

    def _ask(self, height: int, missing: _Missing, now_ms: int) -> None:
        for silent in [name for name, late_ms in missing.waits_for.items() if late_ms <= now_ms]:
            del missing.waits_for[silent]
            self._unanswered = UNANSWERED_REMEMBERED
            self._blame(silent, Deed.SILENT)
            self._no_more_from(silent)
        missing.announcers = [name for name in missing.announcers if not self._scores.is_distrusted(name)]
        if not missing.announcers:
            del self._missing[height]  # only liars had it; whoever else has it will say so
            return
        # Where nobody pushes, asking is the usual way, and nothing is late yet.
        is_late = self._parent is not None or missing.asked_ms or self._unanswered
        at_once = ASKED_AT_ONCE if is_late else 1
        while len(missing.waits_for) < at_once:
            fresh = [name for name in missing.announcers if name not in missing.asked]
            if not fresh:
                missing.asked.clear()
                fresh = [name for name in missing.announcers if name not in missing.waits_for]
            if not fresh:
                break
            self._ask_one(height, missing, fresh, now_ms)
        missing.ask_at_ms = min(missing.waits_for.values())

    def _ask_one(self, height: int, missing: _Missing, fresh: Sequence[str], now_ms: int) -> None:
        # Whoever has brought something before comes first, whoever has failed of late comes last; of equals the
        # nearest, and of equally near ones the first to announce.
        peer = min(fresh, key=lambda name: (-min(1, self._scores.of(name)), self._trip_ms(name)))
        times = missing.asked_ms.setdefault(peer, [])
        wait_ms = (self._trip_ms(peer) + self._answer_lag.ms) << min(ANSWER_DOUBLINGS_MAX, len(times))
        missing.asked.append(peer)
        times.append(now_ms)
        missing.waits_for[peer] = now_ms + wait_ms
        if self._parent is None and self._may_push(peer, now_ms):
            self._adopt(peer, height)
        else:
            self._order(peer, Word.WANT, height)

    def _may_push(self, peer: str, now_ms: int) -> bool:
        return peer in self._peers and now_ms >= self._peers[peer].declined_until_ms

    def _trip_ms(self, peer: str) -> int:
        trip_ms = self._round_trip_ms(peer)
        return ROUND_TRIP_MS if trip_ms is None else trip_ms

    def _adopt(self, peer: str, height: int) -> None:
        self._children.pop(peer, None)
        self._trust(peer)
        self._order(peer, Word.GRAFT, height)

    def _trust(self, peer: str) -> None:
        if peer == self._trial:
            self._trial = None
        self._parent, self._mistrust, self._missed, self._ahead_blocks = peer, 0, 0, 0
        self._parent_lag, self._patience_ms_max = _parent_lag(), PATIENCE_MS

    def _pushes(self, peer: str) -> bool:
        """Whether this node asked ``peer`` to push."""
        return peer in (self._parent, self._trial)

    def _no_more_from(self, peer: str) -> None:
        """``peer`` is not expected to push to this node any more, if it ever was."""
        if peer == self._parent:
            self._parent = None
        elif peer == self._trial:
            self._trial = None

    def _end_trial(self, now_ms: int) -> None:
        """The validator that is being tried is no nearer than the parent."""
        if self._trial is not None:
            self._peers[self._trial].declined_until_ms = now_ms + DECLINED_MS
            self._order(self._trial, Word.PRUNE)
            self._trial = None

    def _look_nearer(self, height: int, now_ms: int) -> None:
        """The parent brought ``height``: try a validator that has been ahead of it for some time."""
        if self._trial is not None:
            self._trial_blocks += 1
            if self._trial_blocks >= NEARER_AFTER:
                self._end_trial(now_ms)
            return
        missing = self._missing.get(height)
        announcers = () if missing is None else missing.announcers
        ahead = {name for name in announcers if self._peers[name].votes and name != self._parent}
        self._ahead = self._ahead & ahead if self._ahead_blocks else ahead
        self._ahead_blocks = self._ahead_blocks + 1 if self._ahead else 0
        if self._ahead_blocks < NEARER_AFTER:
            return
        self._ahead_blocks = 0
        for name in announcers:
            if name in self._ahead and self._may_push(name, now_ms) and self._scores.of(name) >= 0:
                self._children.pop(name, None)
                self._trial, self._trial_blocks = name, 0
                self._order(name, Word.GRAFT)
                return

    def _judge_parent(self, source: str, height: int, now_ms: int) -> None:
        """``source`` was the first to bring the block at ``height``."""
        if source == self._parent:
            self._mistrust = max(0, self._mistrust - 1)
            self._look_nearer(height, now_ms)
            return
        self._ahead_blocks = 0
        if source == self._trial:
            if self._parent is not None:
                self._order(self._parent, Word.PRUNE)
            self._trust(source)
            return
        if self._parent is not None:
            self._mistrust, self._missed = self._mistrust + MISS_COST, height
            if self._mistrust < MISSES_COST_MAX:
                return
            self._blame(self._parent, Deed.LATE)
            self._order(self._parent, Word.PRUNE)
            self._parent = None
        if self._may_push(source, now_ms):
            self._adopt(source, 0)

    def _came_again(self, peer: str, height: int, now_ms: int) -> None:
        question = self._missing.get(height) or self._settled.get(height)
        self._time(peer, question, now_ms)
        if question is not None and peer in question.asked_ms:
            self._scores.note(peer, Deed.ANSWERED)
        elif peer == self._trial:
            self._end_trial(now_ms)
        elif peer == self._parent:
            if height == self._missed:
                # It was on its way, and somebody else was quicker or asked too soon.
                self._mistrust = max(0, self._mistrust - MISS_COST)
                self._missed = 0
        else:
            self._order(peer, Word.PRUNE)
            self._blame(peer, Deed.DUPLICATE)

    def _time(self, peer: str, question: _Missing | None, now_ms: int) -> None:
        """``peer`` has sent the block that there was a ``question`` about: learn how long that took."""
        times = question.asked_ms.get(peer, ()) if question is not None else ()
        if len(times) == 1:  # of one that was asked twice, nobody knows which question it answers
            self._answer_lag.note(now_ms - times[0] - self._trip_ms(peer))
            self._unanswered = max(0, self._unanswered - 1)
        if not times and peer == self._parent:
            lag_ms = now_ms - question.since_ms if question is not None else 0
            self._parent_lag.note(lag_ms)
            limit_ms = self._patience_ms_max
            if lag_ms > limit_ms:
                self._patience_ms_max = min(PATIENCE_MS_MAX, limit_ms + limit_ms // 2)
            elif 2 * lag_ms < limit_ms:
                self._patience_ms_max = max(PATIENCE_MS, limit_ms - limit_ms // 8)

    def _settle(self, height: int) -> None:
        """``height`` is here: forget the questions about it and move on as far as there is no gap."""
        answered = self._missing.pop(height, None)
        if answered is not None:
            self._settled[height] = answered
        while len(self._settled) > REMEMBERED:
            del self._settled[min(self._settled)]
        while self._base + 1 in self._held:
            self._base += 1
        self._held = {each for each in self._held if each > self._base}
        for each in [each for each in self._missing if each <= self._base]:
            del self._missing[each]

    def _pass_on(self, height: int, source: str) -> None:
        for name, peer in self._peers.items():
            if name == source or peer.votes or peer.knows >= height:
                continue
            if name not in self._children:
                self._order(name, Word.HAVE, height)
            elif peer.knows + AHEAD_MAX >= height:  # whoever is further behind is catching up, from somebody
                self._order(name, Word.BLOCK, height)
                peer.knows = height

    def _answer(self, peer: str, height: int) -> None:
        if height and (height <= self._base or height in self._held):
            self._order(peer, Word.BLOCK, height)
            self._learn(self._peers[peer], height)

    def _order(self, peer: str, word: Word, height: int = 0) -> None:
        self._orders.append(Order(peer, word, height))

    def _blame(self, peer: str, deed: Deed) -> None:
        self._scores.note(peer, deed)


def _parent_lag() -> Wait:
    """How far a parent is behind the first announcement; nothing is known of it."""
    return Wait(PATIENCE_MS, PATIENCE_MS_MIN, PATIENCE_MS_MAX)
