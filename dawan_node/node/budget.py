"""What one peer may cost this node: messages, votes, useless transactions, and work done on its behalf.

A peer has proven who it is; that does not make it honest. Whatever it sends is looked at on the event loop that all
channels and all other peers share, so every kind of message has a price and every peer a purse, *one for all
channels*, that fills at a steady rate. What a peer cannot pay for is dropped before the work is done, like a message
that was lost, and everything here survives loss (STATUS, the gatherer's retries, catch-up's time-outs, amendment L7).
Only a peer that sends more frames than any honest one ever could is cut off: dropping a frame costs something too.

The rates are chosen with room above what an honest validator sends at full load. They bound what one peer can take;
they do not make it nothing: on two cores shared by four nodes and the attacker, a flood of gossip under unknown keys
still cost more than half of the throughput. Purses are not given back when a link ends, or reconnecting would fill
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import KIB, MIB
from dawan_node.p2p.gossip import TokenBucket

#: Frames of any topic, a large one counting once per 16 KiB: reading and decoding it costs accordingly. Gossip batches
#: leave every 5 ms per busy channel, votes some hundred times a second, replies of catch-up with 16 MiB a second. The
#: burst is what piles up on a link whose reader stood still until the 15 s after which such a link is closed.
FRAMES_PER_S: Final = 3_000
FRAMES_BURST: Final = 30_000
FRAME_UNIT_BYTES: Final = 16 * KIB

#: Consensus messages, each up to 100 us for a signature that may be wrong, and their bytes: a proposal names its
#: transactions by 34 bytes each and a window of the largest is 9 MiB.
VOTES_PER_S: Final = 1_000
VOTES_BURST: Final = 5_000
VOTE_BYTES_PER_S: Final = 4 * MIB
VOTE_BYTES_BURST: Final = 32 * MIB

#: Transactions that turned out to be of no use (of an unknown key, expired, or on chain already), 15 to 40 us each.
#: Late copies are honest; a peer that sends little else is not listened to for a while.
USELESS_PER_S: Final = 2_000
USELESS_BURST: Final = 20_000
DEAF_MS: Final = 1_000
#: Transactions sent again unasked (amendment L7) by one peer: as much as gossip.
RESENT_BYTES_PER_S: Final = 8 * MIB
RESENT_BYTES_BURST: Final = 32 * MIB

#: Microseconds of answering: a tenth of a core, and at once no more than the loop may be blocked for.
WORK_US_PER_S: Final = 100_000
WORK_US_BURST: Final = 200_000
#: What a request costs: to look at it, per leaf looked for, per leaf list made from a decided block on disk, per light
#: block and per body read for catch-up (their bytes count as well, in ``node.serving``). A light range of 512 blocks is
#: a fifth of the burst, so that whoever is far behind is given some 1,000 blocks a second by each peer.
REQUEST_US: Final = 50
LEAVES_PER_US: Final = 3
STORED_LEAF_LIST_US: Final = 2_000
LIGHT_BLOCK_US: Final = 80
BODY_US: Final = 100


class PeerBudget:
    """The purses of one peer."""

    __slots__ = ("_deaf_until_ms", "_frames", "_now_ms", "_resent", "_useless", "_vote_bytes", "_votes", "_work")

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """``now_ms`` is a monotonic clock."""
        now = now_ms()
        self._now_ms: Final = now_ms
        self._frames: Final = TokenBucket(FRAMES_PER_S, FRAMES_BURST, now)
        self._votes: Final = TokenBucket(VOTES_PER_S, VOTES_BURST, now)
        self._vote_bytes: Final = TokenBucket(VOTE_BYTES_PER_S, VOTE_BYTES_BURST, now)
        self._useless: Final = TokenBucket(USELESS_PER_S, USELESS_BURST, now)
        self._resent: Final = TokenBucket(RESENT_BYTES_PER_S, RESENT_BYTES_BURST, now)
        self._work: Final = TokenBucket(WORK_US_PER_S, WORK_US_BURST, now)
        self._deaf_until_ms = now

    def frame(self, size: int) -> None:
        """One more frame of ``size`` bytes. Raises InvalidMessage when there are more than any honest peer sends."""
        if not self._frames.take(1 + size // FRAME_UNIT_BYTES, self._now_ms()):
            raise InvalidMessage(f"more than {FRAMES_PER_S} frames a second")

    def consensus(self, size: int) -> bool:
        """Whether to look at one more consensus message of ``size`` bytes."""
        now = self._now_ms()
        return self._votes.take(1, now) and self._vote_bytes.take(max(size, KIB), now)

    def may_offer(self) -> bool:
        """Whether transactions of this peer are looked at: it has not sent too many useless ones of late."""
        return self._now_ms() >= self._deaf_until_ms

    def was_useless(self, count: int) -> None:
        """``count`` transactions were of no use."""
        now = self._now_ms()
        if not self._useless.take(count, now):
            self._deaf_until_ms = now + DEAF_MS

    def resent(self, size: int) -> bool:
        """Whether to look at ``size`` bytes of transactions sent again."""
        return self._resent.take(size, self._now_ms())

    def work(self, cost_us: int) -> bool:
        """Whether to do ``cost_us`` microseconds of work for this peer."""
        return self._work.take(cost_us, self._now_ms())


class PeerBudgets:
    """One budget per peer, by name. Names are those of the consortium file, so there are only so many."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms: Final = now_ms
        self._budgets: dict[str, PeerBudget] = {}

    def of(self, peer: str) -> PeerBudget:
        """The budget of ``peer``."""
        budget = self._budgets.get(peer)
        if budget is None:
            budget = self._budgets[peer] = PeerBudget(self._now_ms)
        return budget
