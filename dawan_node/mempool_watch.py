"""What this node may expect of the primary: who waits, and who is left out (consensus.md 1.6, amendments L7 and L8).

The replica knows blocks and no transactions, the pool knows transactions and no blocks. The watch is told of every
decided block and looks at the pool now and then; it says what is to be sent to all validators again, whether there is
work that the primary must know of, and whether it leaves a transaction out.

**Work.** A transaction obliges the primary once this node has sent it to everybody itself. Otherwise a Byzantine peer
could show a transaction to one honest node alone, have it wait for a proposal nobody could make, and depose any primary
with that node's wish and its own. So the oldest transaction of each organisation is sent again after ``FORWARD_MS``,
long before the pool's general re-sending, and counts as work from the next look on.

**Passed over.** Per organisation, three findings about a block are proof that its primary does not do what
``Mempool.reap`` does with a pool that holds the organisation's oldest transaction T:

A. *It had room* (L8). The order in a block is the order of picking, so the picking can be followed. T's organisation
   was passed over if another one was served while it had already received more in this block, or if the block ended
   short of both its caps and of ``BATCH_TXS_MIN``. Neither happens to an organisation that still has something
   eligible, unless its next transaction did not fit: while the largest transaction there can be fits, that is no
   reason. A full block in which it got its share is no room, however long it waits: it is one member's own spam that it
   waits for.
B. *Younger ones came first.* The block holds a transaction of the same organisation that reached this node long after
   T was sent to all: inside an organisation the order is that of arrival.
C. *Not one, block after block.* Whose turn it is to open a block goes round, so among as many blocks in a row as there
   are organisations each one that waits gets a place, barrier blocks and full blocks included.

An organisation with a barrier transaction waiting may have to wait for its turn to open, so there A proves nothing.
One that fills more than half of its fair share here may have been refused at the primary, so for a while neither A nor
B counts for it. Both only ever excuse the primary towards the organisation that did this.

T is judged by blocks whose primary had it: decided later than ``SETTLED_MS`` after this node sent it to all, by this
node's clock and by the block's own time. After a view change, and when the primary's link comes back, all begins anew.

**A complaint** needs three findings of A or B, or C, and a transaction that has waited ``FORWARDED_MS + PATIENCE_MS``.
It lasts as long as that transaction waits, and so long its transactions are sent to everybody again and again.

Pure: ``now_ms`` is this node's UTC clock in milliseconds, and so are the stamps of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from dawan_node.mempool import CLOCK_SKEW_MS, Mempool, Waiting, replay_keys
from dawan_node.primitives.transaction import TX_BYTES_MAX, Transaction

#: The oldest transaction of an organisation is sent to all validators when it has waited so long here.
FORWARD_MS: Final = 500
#: T_fwd and T_complain of consensus.md 1.6: every transaction is sent again after the one, and after the other on top
#: of it the primary is complained of.
FORWARDED_MS: Final = 2_000
PATIENCE_MS: Final = 10_000
#: What was sent has arrived by then, and whatever waited longer elsewhere was sent here (T_fwd and its way).
SETTLED_MS: Final = 4_000
#: An organisation that was crowded is judged again after so long: by then a re-sending round has reached everybody.
CROWDED_MS: Final = 15_000
#: A complaint sends its transactions again this often while it lasts: as long as a SUSPECT counts.
COMPLAINT_RESEND_MS: Final = 5_000
#: A block so old was decided before this node was there: five times as old as a proposal may be in a view that works.
PAST_MS: Final = 30_000
#: Findings of A and B that make a complaint.
FINDINGS: Final = 3
#: A primary may end a block here though more waits, so that what comes next does not queue behind a second's worth of
#: it (``node.pacing``). Below this every block has room. Shorter ones have a modest organisation beside a flood wait
#: less (p99 590 ms with 64, 840 with 128), and leave less of the throughput under a primary who always ends there.
BATCH_TXS_MIN: Final = 96
#: How often in one view the primary's returning link gives it time anew. One whose link comes and goes for ever must
#: not leave out for ever.
REUNIONS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What the watch saw.

    ``has_work``: tell ``Replica.work_pending``. ``left_out``: tell ``Replica.complain`` whether there are any.
    ``send``: send these to all validators, on a topic that is not the first to be dropped. ``complains``: some of them
    because they are left out, which is worth saying.
    """

    has_work: bool
    left_out: tuple[Transaction, ...]
    send: tuple[Transaction, ...]
    complains: bool


@dataclass(slots=True)
class _Case:
    """What the blocks of this view say about one organisation."""

    #: When the latest blocks that passed it over (A, B) were decided.
    findings: list[int] = field(default_factory=list)
    #: Blocks in a row without it (C), and when the first of them was decided.
    without: int = 0
    without_since_ms: int = 0
    crowded_until_ms: int = 0


class MempoolWatch:
    """Watches one channel's primary through what waits in the pool."""

    def __init__(self, pool: Mempool, organisation_of: Callable[[bytes], str | None], organisations: int) -> None:
        """``organisation_of`` finds a public key's organisation when its transaction is not in the pool;
        ``organisations`` is how many the channel has, to be assigned when that changes."""
        self.organisations = organisations
        self._pool: Final = pool
        self._organisation_of: Final = organisation_of
        self._cases: dict[str, _Case] = {}
        self._view = (0, 0)
        self._reunions = 0
        self._complaint_sent_ms: int | None = None

    def decided(
        self,
        transactions: Sequence[Transaction],
        timestamp_ms: int,
        txs_max: int,
        bytes_max: int,
        now_ms: int,
    ) -> None:
        """A block was decided: call it *before* its transactions leave the pool.

        ``txs_max`` and ``bytes_max`` are what an honest primary would have given to ``Mempool.reap`` for it.
        """
        if timestamp_ms + PAST_MS < now_ms:
            # It says nothing of what waits here. Of catch-up there may be 100,000 such, so nothing is looked at.
            self._forget_all_but((), now_ms)
            return
        keys = replay_keys(transactions)
        judged = min(timestamp_ms, now_ms)
        heads = [
            head
            for head in self._pool.heads(timestamp_ms, bytes_max, (keys,))
            if head.sent_ms is not None and head.sent_ms + SETTLED_MS <= judged
        ]
        self._forget_all_but(heads, now_ms)
        if not heads:
            return
        owners = [self._owner_of(transaction) for transaction in transactions]
        for head in heads:
            self._judge(head, transactions, owners, txs_max, bytes_max, now_ms)

    def look(
        self,
        view: tuple[int, int],
        block_time_ms: int,
        bytes_max: int,
        in_flight: Sequence[Set[bytes]],
        now_ms: int,
    ) -> Look:
        """What is to be done now. Call it a few times a second; nothing in it is proportional to the pool.

        ``view`` is the replica's (epoch, view), ``block_time_ms`` the decided head's timestamp, ``in_flight`` the leaf
        hashes or replay keys of the undecided blocks at hand.
        """
        if view != self._view:
            self._restart(view, now_ms)
        time_ms = max(block_time_ms, now_ms)
        heads = self._pool.heads(time_ms, bytes_max, in_flight, CLOCK_SKEW_MS)
        # Who crowds the pool has work for the primary, whatever of it was refused; who did so until now, perhaps not.
        has_work = False
        for head in heads:
            was_crowded = self._is_crowded(head, now_ms)
            has_work = has_work or (head.sent_ms is not None and (not was_crowded or self._crowds(head)))
        left_out = [head.transaction for head in heads if self._is_left_out(head, now_ms)]
        send = [head.transaction for head in heads if head.sent_ms is None and head.since_ms + FORWARD_MS <= now_ms]
        for transaction in send:
            self._pool.mark_sent(transaction.leaf_hash, now_ms)
        last_ms = self._complaint_sent_ms
        complains = bool(left_out) and (last_ms is None or now_ms >= last_ms + COMPLAINT_RESEND_MS)
        if complains:
            self._complaint_sent_ms = now_ms
            send += left_out
        elif not left_out:
            self._complaint_sent_ms = None
        return Look(has_work, tuple(left_out), tuple(send), complains)

    def primary_returned(self, now_ms: int) -> None:
        """The link to the primary is up again: what was sent meanwhile did not reach it."""
        if self._reunions < REUNIONS_MAX:
            self._reunions += 1
            self._cases.clear()
            self._pool.restart_ages(now_ms)
        else:
            self._pool.begin_resend_round()

    # Judging

    def _judge(
        self,
        head: Waiting,
        transactions: Sequence[Transaction],
        owners: Sequence[str | None],
        txs_max: int,
        bytes_max: int,
        now_ms: int,
    ) -> None:
        case = self._cases.setdefault(head.organisation, _Case())
        if head.organisation in owners:
            case.without = 0
        else:
            case.without_since_ms = now_ms if case.without == 0 else case.without_since_ms
            case.without += 1
        if self._is_crowded(head, now_ms):
            return
        had_room = head.barriers == 0 and self._had_room(head.organisation, transactions, owners, txs_max, bytes_max)
        if had_room or self._was_overtaken(head, transactions, owners):
            case.findings = [*case.findings[-(FINDINGS - 1) :], now_ms]

    @staticmethod
    def _had_room(
        organisation: str,
        transactions: Sequence[Transaction],
        owners: Sequence[str | None],
        txs_max: int,
        bytes_max: int,
    ) -> bool:
        """A: follow ``Mempool.reap`` through the block."""
        if transactions[0].is_barrier:
            return False  # it stands alone, whoever waits
        received: dict[str, int] = {}
        slot_bytes, bytes_left = max(1, bytes_max // max(1, txs_max)), bytes_max
        for transaction, owner in zip(transactions, owners, strict=True):
            if bytes_left < TX_BYTES_MAX:
                return False
            # Of whom nothing is known may be anybody's: it proves nothing, and counts for all.
            name = organisation if owner is None else owner
            if received.get(name, 0) > received.get(organisation, 0):
                return True
            size = len(transaction.envelope)
            bytes_left -= size
            received[name] = received.get(name, 0) + max(slot_bytes, size)
        return len(transactions) < min(txs_max, BATCH_TXS_MIN) and bytes_left >= TX_BYTES_MAX

    def _was_overtaken(self, head: Waiting, transactions: Sequence[Transaction], owners: Sequence[str | None]) -> bool:
        """B: something of the same organisation that came when T had long been sent."""
        assert head.sent_ms is not None, "only such heads are judged"
        late_ms = head.sent_ms + SETTLED_MS
        return any(
            owner == head.organisation and (self._pool.arrived_ms(transaction.leaf_hash) or 0) >= late_ms
            for transaction, owner in zip(transactions, owners, strict=True)
        )

    def _is_left_out(self, head: Waiting, now_ms: int) -> bool:
        case = self._cases.get(head.organisation)
        if case is None or head.sent_ms is None or now_ms < head.since_ms + FORWARDED_MS + PATIENCE_MS:
            return False
        settled_ms = head.sent_ms + SETTLED_MS
        if len(case.findings) == FINDINGS and case.findings[0] >= settled_ms:
            return True
        return case.without > max(FINDINGS, self.organisations) and case.without_since_ms >= settled_ms

    def _is_crowded(self, head: Waiting, now_ms: int) -> bool:
        """Whether its organisation fills, or filled a short while ago, so much of the pool here that an honest primary
        may have refused its transactions (the rules of ``Mempool``), and forget what was found against it."""
        if self._crowds(head):
            self._cases.setdefault(head.organisation, _Case()).crowded_until_ms = now_ms + CROWDED_MS
        case = self._cases.get(head.organisation)
        if case is None or now_ms >= case.crowded_until_ms:
            return False
        case.findings.clear()
        return True

    def _crowds(self, head: Waiting) -> bool:
        limits, share = self._pool.limits, 2 * max(4, self.organisations)  # half a fair share, or half a key's part
        return head.count > limits.count_max // share or head.bytes > limits.bytes_max // share

    def _owner_of(self, transaction: Transaction) -> str | None:
        owner = self._pool.organisation_of(transaction.leaf_hash)
        return owner if owner is not None else self._organisation_of(transaction.public_key)

    def _forget_all_but(self, heads: Sequence[Waiting], now_ms: int) -> None:
        """Who has nothing old waiting is treated well."""
        kept = {head.organisation for head in heads}
        for name, case in list(self._cases.items()):
            if name not in kept:
                if now_ms < case.crowded_until_ms:
                    self._cases[name] = _Case(crowded_until_ms=case.crowded_until_ms)
                else:
                    del self._cases[name]

    def _restart(self, view: tuple[int, int], now_ms: int) -> None:
        self._view = view
        self._reunions = 0
        self._cases.clear()
        self._complaint_sent_ms = None
        self._pool.restart_ages(now_ms)
