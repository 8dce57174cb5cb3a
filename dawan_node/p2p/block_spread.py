"""How decided blocks reach the nodes that do not vote: along a tree that grows by itself and mends itself.

Pure: messages and time (milliseconds of a monotonic clock) come in, orders to send go out. After Plumtree (Leitao,
Pereira, Rodrigues 2007), with two things simpler: blocks have heights, so "I have 7" also says "and all below", and
every block proves itself, so whoever brings it needs no trust.

Every link is *lazy* at first: over it a node only says which height it has (HAVE). A node that follows picks one
*parent*: the first peer to announce a block. It asks it to push from now on (GRAFT), and becomes its child. The
validators all have a block at about the same time and are the roots of one tree; a child hears first from whoever is
nearest to them. When the tree is whole, a node receives each block once, one hop after its parent, and from its other
links a few bytes.

Repair. A block that was announced and is not here after ``patience`` is asked for, of the best announcer that was not
asked yet (WANT), and when that one does not answer, of two others at once, again and again. A parent that let this
happen twice in a row is dropped for whoever helped. One lost message therefore changes nothing in the tree, and a
silent, slow or lying parent costs two late blocks. A peer that is asked to push and has ``CHILDREN_MAX`` children
declines (PRUNE), as one does that is pushed a block it has already: the link is lazy again. PRUNE ends pushing in both
directions.

What a peer says is bounded: heights more than ``AHEAD_MAX`` above this node's are left to catch-up, a peer's
announcements and requests go through a token bucket, blocks that were neither asked for nor from the parent are paid
for with points (``scores``). A node that votes takes no blocks here: it only gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from dawan_node.p2p.gossip import TokenBucket
from dawan_node.p2p.scores import Deed, Scores

#: Blocks a node pushes at most so many times: at 1,000 transactions a second of 400 bytes, 3 MB/s, which a validator
#: on a 50 Mbit/s line can spare. Seven validators with eight children each are more than 54 members.
CHILDREN_MAX: Final = 8
#: Announced and not here for so long: ask. A parent one hop further from the validators than the announcer needs one
#: more hop; on lines of this region a hop takes 5 to 50 ms with the check of its certificate.
PATIENCE_MS: Final = 100
#: ... at most so long, where hops turn out to be longer: it doubles when an asked-for block was on its way after all.
PATIENCE_MS_MAX: Final = 2_000
#: Asked and not here after so long (a round trip, and the block's time on a line of 10 Mbit/s): ask another.
ANSWER_MS: Final = 150
#: Blocks in a row that had to be asked for elsewhere before another parent is looked for: one may be bad luck.
MISSES_MAX: Final = 2
#: Blocks held ahead of a missing one. A gap is mended in one or two round trips, a few blocks; whoever lacks more is
#: behind, and that is catch-up's business.
AHEAD_MAX: Final = 8
#: A peer that declined is not asked to push again for so long.
DECLINED_MS: Final = 10_000
#: Announcements and requests of one peer: a block a tenth of a second needs ten announcements a second, and requests
#: come for one block in ten on bad lines. The burst is what a second of silence on a link may hold back.
WORDS_PER_S: Final = 60
WORDS_BURST: Final = 240
#: A peer so many heights behind for so long has nothing to give.
LAG_BLOCKS: Final = 16
LAG_MS: Final = 10_000
#: Answers to blocks of the last heights are remembered, to tell a late answer from an unasked push.
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

    ask_at_ms: int
    announcers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # in this round
    waits_for: list[str] = field(default_factory=list)
    asked_ever: set[str] = field(default_factory=set)


class BlockSpread:
    """One channel's tree, as this node sees it. Feed it what happens, then carry out ``take()``."""

    def __init__(self, height: int, follows: bool, scores: Scores) -> None:
        """``height`` is that of the last block here; ``follows``: this node does not vote and wants blocks."""
        self.follows = follows
        self._scores = scores
        self._peers: dict[str, _Peer] = {}
        self._base = height  # everything up to here is here
        self._held: set[int] = set()  # proven, above a gap
        self._checking: dict[int, str] = {}
        self._missing: dict[int, _Missing] = {}
        self._answers: dict[int, set[str]] = {}  # height -> who was asked for it
        self._parent: str | None = None
        self._misses = 0
        self._patience_ms = PATIENCE_MS
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
        if self._parent == peer:
            self._drop_parent()
        for missing in self._missing.values():
            if peer in missing.announcers:
                missing.announcers.remove(peer)
            if peer in missing.waits_for:
                missing.waits_for.remove(peer)
                if not missing.waits_for:
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
        if not self.follows or height > self._base + AHEAD_MAX or self._scores.is_distrusted(peer):
            return
        for each in range(self._base + 1, height + 1):
            if each in self._held or each in self._checking:
                continue
            missing = self._missing.get(each)
            if missing is None:
                wait_ms = 0 if self._parent is None else self._patience_ms
                missing = self._missing[each] = _Missing(now_ms + wait_ms)
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
        if peer == self._parent:
            # It heard of a block from here first, so it is no nearer to the validators than this node.
            self._drop_parent()
        if peer in self._children or len(self._children) < CHILDREN_MAX:
            self._children[peer] = None
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
        if self._parent == peer:
            self._drop_parent()
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
            self._came_again(peer, height)
            return False
        if height > self._base + AHEAD_MAX:
            return False
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
        self._judge_parent(peer)
        self._held.add(height)
        self._settle(height)
        self._pass_on(height, peer)

    def refused(self, peer: str, height: int) -> None:
        """The block that ``peer`` brought is none: no honest node passes such a thing on."""
        self._checking.pop(height, None)
        self._blame(peer, Deed.INVALID)
        if self._parent == peer:
            self._drop_parent()

    def put_off(self, peer: str, height: int) -> None:
        """Nothing can be said of the block yet: another epoch's validators signed it."""
        self._checking.pop(height, None)
        missing = self._missing.get(height)
        if peer != self._parent and (missing is None or peer not in missing.asked_ever):
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
        for silent in missing.waits_for:
            self._blame(silent, Deed.SILENT)
            if silent == self._parent:
                self._drop_parent()
        missing.waits_for.clear()
        missing.announcers = [name for name in missing.announcers if not self._scores.is_distrusted(name)]
        if not missing.announcers:
            del self._missing[height]  # only liars had it; whoever else has it will say so
            return
        missing.ask_at_ms = now_ms + max(ANSWER_MS, self._patience_ms)
        for _ in range(2 if missing.asked_ever else 1):
            fresh = [name for name in missing.announcers if name not in missing.asked]
            if not fresh:
                missing.asked.clear()
                fresh = [name for name in missing.announcers if name not in missing.waits_for]
            if fresh:
                self._ask_one(height, missing, fresh, now_ms)

    def _ask_one(self, height: int, missing: _Missing, fresh: Sequence[str], now_ms: int) -> None:
        # Whoever has brought something before comes first, whoever has failed of late comes last; of equals the first
        # to announce, which is the nearest.
        peer = max(fresh, key=lambda name: min(1, self._scores.of(name)))
        missing.asked.append(peer)
        missing.asked_ever.add(peer)
        missing.waits_for.append(peer)
        if self._parent is None and now_ms >= self._peers[peer].declined_until_ms:
            self._adopt(peer, height)
        else:
            self._order(peer, Word.WANT, height)

    def _adopt(self, peer: str, height: int) -> None:
        self._children.pop(peer, None)
        self._parent, self._misses = peer, 0
        self._order(peer, Word.GRAFT, height)

    def _drop_parent(self) -> None:
        self._parent, self._misses = None, 0

    def _judge_parent(self, source: str) -> None:
        """``source`` was the first to bring a block."""
        if source == self._parent:
            self._misses = 0
            self._patience_ms = max(PATIENCE_MS, self._patience_ms - self._patience_ms // 16)
            return
        if source not in self._peers:
            return
        if self._parent is not None:
            self._misses += 1
            if self._misses < MISSES_MAX:
                return
            self._blame(self._parent, Deed.LATE)
            self._order(self._parent, Word.PRUNE)
        self._adopt(source, 0)

    def _came_again(self, peer: str, height: int) -> None:
        was_asked = peer in self._answers.get(height, ())
        if peer == self._parent:
            if self._answers.get(height):
                # It was on its way, and somebody else was asked too soon.
                self._patience_ms = min(PATIENCE_MS_MAX, 2 * self._patience_ms)
            return
        if not was_asked:
            self._order(peer, Word.PRUNE)
            self._blame(peer, Deed.DUPLICATE)

    def _settle(self, height: int) -> None:
        """``height`` is here: forget the questions about it and move on as far as there is no gap."""
        answered = self._missing.pop(height, None)
        self._answers[height] = answered.asked_ever if answered is not None else set()
        while len(self._answers) > REMEMBERED:
            del self._answers[min(self._answers)]
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
