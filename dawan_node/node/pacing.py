"""When the primary's next batch leaves, and how much may be in flight (consensus.md 1.4, issue 6).

At once on an idle channel, seldom enough on a busy one, and no more than keeps the validators at work.

A block costs every validator some 10 ms of processor time whatever it holds (votes and their signatures, fsyncs, the
upper levels of the tree, a commit), and a transaction waits for the blocks before its own anyhow. So while blocks are
in flight the next one leaves about when the last one is expected to be stored: 50 ms later where that is quick, as the
text has it, and up to 250 ms where the machines are busy, which is when the work saved is needed.

Times are of the monotonic clock, in milliseconds. Nothing here decides what is valid: whoever proposes more or less
often is as correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from dawan_node.mempool_watch import BATCH_TXS_MIN

#: With blocks in flight a batch waits for this many bytes ...
BATCH_BYTES: Final = 1024 * 1024
#: ... or so long, whatever the last blocks took ...
BATCH_DELAY_MS: Final = 50
#: ... and never longer than this: a quarter of what a client may wait at half load (p99 < 1 s, design section 13).
BATCH_DELAY_MAX_MS: Final = 250
#: With none it leaves nearly at once: a client's next transactions of the same burst are milliseconds away.
IDLE_BATCH_DELAY_MS: Final = 5

#: Own proposals whose time is being taken; more than any window (W <= 16). A view change forgets some unstored.
TIMED_MAX: Final = 32

#: A block that ends because enough is in it has at least so many: each costs every validator some 6 to 10 ms whatever
#: it holds, a transaction 0.25 to 0.6.
BLOCK_TXS_MIN: Final = 256

#: What is in flight is at most what the channel commits in so long, beside the time that a block takes when it is alone
#: (two or three one-way delays and an fsync or two). What waits beyond that waits in the pool, where the organisations
#: take turns, and not in blocks, where nobody overtakes anybody. Less leaves processors idle between two blocks, and
#: has each block's own cost borne by fewer: three blocks of 256 in flight (half a second) left a tenth of two cores
#: idle at 1,550/s where three of 512 gave 1,810/s.
IN_FLIGHT_MS: Final = 900

#: Where full blocks have so many times less of one organisation than of another, the one gets all it sends into the
#: next block, and the wait that is left to it is what others have in flight. Traders of the same business differ by
#: less.
MODEST_TIMES: Final = 10
#: That is judged by the last one or two thousand transactions: clients send tens at a time, so one block may have two
#: of an organisation whose next fifty are on their way.
SHARES_TXS_MIN: Final = 512
SHARES_TXS_MAX: Final = 4 * SHARES_TXS_MIN
#: ... so as much as this is in flight then, in fewer blocks with W = 4, of at least ``BATCH_TXS_MIN`` ...
SHARED_IN_FLIGHT_MS: Final = 50
#: ... for so long: who sends now and then finds it like that.
SHARED_MS: Final = 10_000


#: How slowly the time of a block alone is believed to have grown: by one in so many of what is more.
_GROWS_ONE_OF: Final = 16


def _lowest(known_ms: int | None, took_ms: int) -> int:
    """About the least that a block takes. A busy machine makes one that happens to be alone take ten times as long, and
    believing that would have ten times as much in flight; longer links make all of them take longer."""
    if known_ms is None or took_ms < known_ms:
        return took_ms
    return known_ms + (took_ms - known_ms) // _GROWS_ONE_OF


def blocks_in_flight(window: int, is_shared: bool = False) -> int:
    """Blocks that what may be in flight is divided into, for a window of so many heights; ``is_shared``: beside a
    modest organisation, whose wait is as many blocks long.

    Two at least, so that one is executed while the next is agreed on, and half of the window: a primary that keeps less
    than a quarter of it in use while work waits is replaced (``consensus.pace``), and what the others have in use, from
    accepting to storing, is less than what is under way here. Then three quarters of a window of four, because two
    blocks do not keep every machine at work.
    """
    half = max(2, (window + 1) // 2)
    return half if is_shared else max(half, min(3, window - 1))


class Pacing:
    """How long this node's proposals take, and when the next one leaves."""

    def __init__(self) -> None:
        self._last_ms = -BATCH_DELAY_MAX_MS
        self._took_ms = 0  # from proposing to storing, of the last few blocks
        self._alone_ms: int | None = None  # the same, of those that had no other before them: about the least
        self._proposed: dict[bytes, tuple[int, bool]] = {}
        self._shares: Counter[str | None] = Counter()  # of full batches' transactions, halved now and then
        self._shared_until_ms: int | None = None

    @property
    def delay_ms(self) -> int:
        """How long after the last batch the next one leaves while blocks are in flight."""
        return min(BATCH_DELAY_MAX_MS, max(BATCH_DELAY_MS, self._took_ms))

    def ready_at_ms(self, in_flight: bool) -> int:
        """From when on a batch that is not full may leave."""
        return self._last_ms + (self.delay_ms if in_flight else IDLE_BATCH_DELAY_MS)

    def filled(self, owners: Iterable[str | None], now_ms: int) -> None:
        """A batch was full; ``owners`` are the organisations of its transactions, at least one."""
        among = Counter(owners)
        self._shares.update(among)
        total = self._shares.total()
        if total > SHARES_TXS_MAX:
            self._shares = Counter({owner: half for owner, share in self._shares.items() if (half := share // 2)})
        # Whoever has stopped sending waits for nobody.
        least = min(self._shares[owner] for owner in among)
        if total >= SHARES_TXS_MIN and max(self._shares.values(), default=0) >= MODEST_TIMES * least:
            self._shared_until_ms = now_ms + SHARED_MS
        elif self._shared_until_ms is not None and now_ms >= self._shared_until_ms:
            self._shared_until_ms = None

    def block_txs(self, per_s: int, window: int) -> int:
        """With how many transactions a block ends where the channel commits ``per_s`` a second: all that may be in
        flight, in equal parts. With a window of one nothing else is agreed on meanwhile, so one block has all of it."""
        is_shared = self._is_shared
        least, usual_ms = (BATCH_TXS_MIN, SHARED_IN_FLIGHT_MS) if is_shared else (BLOCK_TXS_MIN, IN_FLIGHT_MS)
        # Behind others a block takes at least as long as alone; an outage while one was alone must not count for ever.
        alone_ms = min(self._alone_ms or 0, self._took_ms)
        return max(least, per_s * (usual_ms + alone_ms) // 1_000 // min(window, self._blocks(window)))

    def in_flight_max(self, per_s: int, window: int) -> int:
        """How many transactions may be in flight."""
        return self._blocks(window) * self.block_txs(per_s, window)

    def has_room(self, in_flight: Sequence[int], per_s: int, window: int) -> bool:
        """Whether one more block may be in flight beside those with so many transactions.

        Always while they are fewer blocks than what may be in flight is divided into: when blocks become shorter, the
        long ones ahead must not keep new ones back until the last of them is stored. The primary would look idle.
        """
        is_much = sum(in_flight) + BATCH_TXS_MIN > self.in_flight_max(per_s, window)
        return not is_much or len(in_flight) < self._blocks(window)

    @property
    def _is_shared(self) -> bool:
        return self._shared_until_ms is not None

    def _blocks(self, window: int) -> int:
        return blocks_in_flight(window, self._is_shared)

    def proposed(self, block_hash: bytes, in_flight: bool, now_ms: int) -> None:
        """A batch left; ``in_flight`` as in ``ready_at_ms``."""
        self._last_ms = now_ms
        self._proposed[block_hash] = now_ms, in_flight
        if len(self._proposed) > TIMED_MAX:
            del self._proposed[next(iter(self._proposed))]

    def stored(self, block_hash: bytes, now_ms: int) -> None:
        """A block is durable here; only own proposals tell how long one takes."""
        proposed = self._proposed.pop(block_hash, None)
        if proposed is not None:
            proposed_ms, in_flight = proposed
            self._took_ms += (now_ms - proposed_ms - self._took_ms) // 4
            if not in_flight:
                self._alone_ms = _lowest(self._alone_ms, now_ms - proposed_ms)
