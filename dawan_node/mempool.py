"""The pool of transactions that wait for a block, one per channel.

A transaction enters when its bytes, chain, signature and nonce have been checked, and it leaves when a decided
block holds it (or another body with its nonce), when it has expired, or when a fairer claim needs its place. Being
proposed is not leaving: a proposal may be dropped by a view change, so the primary names what is in flight when
it asks for a batch (``reap``) and everything else is eligible, what was in a dropped block included.

**Names.** A transaction is found by leaf hash (blocks and fetches), by transaction id (clients) and by *replay key*,
its public key and nonce, which may be used once while valid. The same bytes again are never an error: the nonce
is the client's idempotency key (design section 4).

**Fair shares.** The channel's organisations share one pool and must not be able to shut each other out:

1. an organisation holds at most half of the pool, a signing key at most half of that (``E_QUOTA``);
2. what is free is free for everybody within rule 1;
3. when the pool is full, an organisation that stays within its *fair share*, the cap divided by the number of
   organisations that have transactions waiting, is admitted all the same: the newest transactions of the biggest
   organisation make room. Any other newcomer is refused (``E_POOL_FULL``).

Rule 3 always finds room: k organisations fill the cap, and the newcomer's stays within cap / k, so another one
holds more than cap / k. It follows that an organisation within its fair share is never refused for want of room
and never loses a transaction to another one. Counts and bytes are judged separately by the same rule.

**Batches** take from the organisations by fair queueing: next comes the organisation that has received least in this
batch, where a transaction counts as its size but at least as an average slot of the block. Small transactions so
alternate one by one, and large ones do not crowd them out. Inside an organisation the order is that of arrival.

This module is pure: times are arguments, in milliseconds UTC. Where several times are at hand: ``now_ms`` is this
node's clock and ``block_time_ms`` a block's timestamp (of the decided head, or of the block to be proposed).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dawan_node.errors import InvalidTransaction
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction

# Clocks of two honest nodes differ; a transaction at the far end of its allowed lifetime at one of them must not be
# refused as too far ahead by the other. It waits in the pool until a block may hold it.
CLOCK_SKEW_MS: Final = 1_000

# A barrier transaction takes a whole block for itself, so a queue of them would slow the channel down. Enacting a
# passed proposal needs one.
BARRIERS_PER_ORGANISATION_MAX: Final = 4

# Late copies of a decided transaction arrive within seconds of the decision; so many pools full of them are kept in
# mind so that they are recognised without asking the store.
DECIDED_MEMORY_POOLS: Final = 2


class Admission(Enum):
    """What ``Mempool.add`` did with a transaction it did not refuse."""

    ACCEPTED = "accepted"
    #: This very transaction is waiting, or was decided a short while ago. Nothing changed.
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    """How much one channel's pool may hold. The defaults are those of consensus.md 1.14."""

    # Ten seconds of the goal of 2,000 transactions per second; what waits longer is better told to come back.
    count_max: int = 20_000
    # Sum of envelope bytes: about 3.3 KiB each when the count is used up; decoded they take several times as much.
    bytes_max: int = 64 * 1024 * 1024

    @property
    def organisation_count_max(self) -> int:
        """Half of the pool: one organisation cannot fill it, and two of them find a balance by rule 3."""
        return self.count_max // 2

    @property
    def organisation_bytes_max(self) -> int:
        """Half of the pool, in bytes."""
        return self.bytes_max // 2

    @property
    def sender_count_max(self) -> int:
        """Half of its organisation's part: one runaway client leaves room for its colleagues."""
        return self.count_max // 4

    @property
    def sender_bytes_max(self) -> int:
        """Half of its organisation's part, in bytes."""
        return self.bytes_max // 4


@dataclass(frozen=True, slots=True)
class OrganisationStats:
    """What one organisation has waiting; ``oldest_ms`` is when its oldest waiting transaction arrived."""

    organisation: str
    count: int
    bytes: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class MempoolStats:
    """A picture of the pool for ``txpool_status`` and metrics. ``evicted`` counts since the start."""

    count: int
    bytes: int
    count_max: int
    bytes_max: int
    evicted: int
    by_organisation: tuple[OrganisationStats, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The oldest transaction of one organisation that a block of a given time could hold, and what waits with it.

    ``since_ms`` is when it arrived, or when all ages began anew. ``sent_ms`` is when this node first sent it to all
    validators since then, None while it has not. The rest is about everything of its organisation in the pool.
    """

    organisation: str
    transaction: Transaction
    since_ms: int
    sent_ms: int | None
    count: int
    bytes: int
    barriers: int


class _Usage:
    """How many transactions of how many bytes an owner has waiting."""

    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0


class _Entry:
    """One waiting transaction."""

    __slots__ = (
        "arrived_ms",
        "is_barrier",
        "key",
        "organisation",
        "resend_round",
        "sender",
        "sent_ms",
        "size",
        "transaction",
        "valid_until_ms",
    )

    def __init__(
        self,
        transaction: Transaction,
        key: bytes,
        organisation: _Organisation,
        sender: _Usage,
        arrived_ms: int,
        resend_round: int,
    ) -> None:
        self.transaction = transaction
        self.key = key
        self.size = len(transaction.envelope)
        self.is_barrier = transaction.is_barrier
        self.valid_until_ms = transaction.body.valid_until_ms
        self.organisation = organisation
        self.sender = sender
        self.arrived_ms = arrived_ms
        self.resend_round = resend_round
        self.sent_ms: int | None = None


class _Organisation(_Usage):
    """One organisation's queue in order of arrival, by leaf hash."""

    __slots__ = ("barriers", "name", "waiting")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.barriers = 0
        self.waiting: dict[bytes, _Entry] = {}


class Mempool:
    """The waiting transactions of one channel."""

    def __init__(self, limits: MempoolLimits, lifetime_ms_max: int) -> None:
        """``lifetime_ms_max`` is the channel parameter ``tx_lifetime_ms_max``; assign it when a barrier changes it."""
        self.limits: Final = limits
        # The limits again that every newcomer is held against, worked out once.
        self._organisation_max: Final = (limits.organisation_count_max, limits.organisation_bytes_max)
        self._sender_max: Final = (limits.sender_count_max, limits.sender_bytes_max)
        self.lifetime_ms_max = lifetime_ms_max
        self._entries: dict[bytes, _Entry] = {}  # by leaf hash, in order of arrival
        self._by_key: dict[bytes, _Entry] = {}
        self._by_id: dict[bytes, _Entry] = {}
        self._bytes = 0
        # Only organisations with something waiting. The order is whose turn it is to open a batch.
        self._organisations: dict[str, _Organisation] = {}
        self._senders: dict[bytes, _Usage] = {}
        self._decided: dict[bytes, tuple[bytes, int, bytes]] = {}  # replay key -> (id, valid_until_ms, leaf hash)
        self._decided_leaves: set[bytes] = set()  # of the same
        self._first_expiry_ms: int | None = None  # no waiting transaction expires before this
        self._evicted = 0
        self._resend_round = 0
        self._ages_from_ms = 0

    # Admission

    def add(self, transaction: Transaction, organisation: str, now_ms: int, block_time_ms: int) -> Admission:
        """Take a transaction in whose signature and nonce (against the store) the caller has checked.

        ``organisation`` is the one its key is registered with; ``block_time_ms`` the decided head's timestamp.
        Raises InvalidTransaction: 1002, 1006 (both worth a retry with the same bytes), 1003 or 1004.
        """
        key = replay_key(transaction)
        known = self._by_key.get(key)
        if known is not None:
            return _same_or_refused(known.transaction.tx_id, transaction)
        decided = self._decided.get(key)
        if decided is not None and decided[1] > block_time_ms:
            return _same_or_refused(decided[0], transaction)
        self._check_validity(transaction, now_ms, block_time_ms)

        size = len(transaction.envelope)
        owner = self._organisations.get(organisation)
        if owner is None:
            owner = _Organisation(organisation)
        sender = self._senders.get(transaction.public_key)
        if sender is None:
            sender = _Usage()
        self._check_quota(owner, sender, size, transaction.is_barrier)
        if len(self._entries) >= self.limits.count_max or self._bytes + size > self.limits.bytes_max:
            self._make_room(owner, size)
        self._organisations.setdefault(organisation, owner)
        self._senders.setdefault(transaction.public_key, sender)
        self._insert(_Entry(transaction, key, owner, sender, now_ms, self._resend_round - 1))
        return Admission.ACCEPTED

    def check_room(self, transaction: Transaction, organisation: str, now_ms: int, block_time_ms: int) -> None:
        """Refuse what ``add`` would refuse for its validity or its owner's quota, before anybody checks the signature.

        What is known already, by whatever name, is left to ``add``. Raises InvalidTransaction: 1003 or 1006.
        """
        key = replay_key(transaction)
        if key in self._by_key or key in self._decided:
            return
        self._check_validity(transaction, now_ms, block_time_ms)
        owner = self._organisations.get(organisation) or _Organisation(organisation)
        sender = self._senders.get(transaction.public_key) or _Usage()
        self._check_quota(owner, sender, len(transaction.envelope), transaction.is_barrier)

    def add_many(
        self, items: Iterable[tuple[Transaction, str]], now_ms: int, block_time_ms: int
    ) -> list[Admission | InvalidTransaction]:
        """``add`` for several (transaction, organisation) pairs: one verdict each, a refusal as a value."""
        verdicts: list[Admission | InvalidTransaction] = []
        for transaction, organisation in items:
            try:
                verdicts.append(self.add(transaction, organisation, now_ms, block_time_ms))
            except InvalidTransaction as refusal:
                verdicts.append(refusal)
        return verdicts

    def _check_validity(self, transaction: Transaction, now_ms: int, block_time_ms: int) -> None:
        """The next block's time will be ``max(clock, head + 1)`` (amendment L11): refuse what cannot be in it."""
        earliest = max(now_ms, block_time_ms)
        valid_until = transaction.body.valid_until_ms
        if valid_until <= earliest:
            raise _refusal(Code.E_VALIDITY, f"valid_until {valid_until} is not after the block time {earliest}")
        latest = earliest + self.lifetime_ms_max
        if valid_until > latest + CLOCK_SKEW_MS:
            raise _refusal(Code.E_VALIDITY, f"valid_until {valid_until} is beyond {latest}, block time plus lifetime")

    def _check_quota(self, organisation: _Organisation, sender: _Usage, size: int, is_barrier: bool) -> None:
        count_max, bytes_max = self._organisation_max
        if organisation.count >= count_max or organisation.bytes + size > bytes_max:
            raise _refusal(Code.E_QUOTA, f"{organisation.name} has used up its half of the pool")
        count_max, bytes_max = self._sender_max
        if sender.count >= count_max or sender.bytes + size > bytes_max:
            raise _refusal(Code.E_QUOTA, "this key has used up its quarter of the pool")
        if is_barrier and organisation.barriers >= BARRIERS_PER_ORGANISATION_MAX:
            raise _refusal(Code.E_QUOTA, f"{organisation.name} has {organisation.barriers} barrier commands waiting")

    def _make_room(self, newcomer: _Organisation, size: int) -> None:
        """Rule 3 of the module's docstring. Raises E_POOL_FULL, and then has evicted nothing."""
        limits = self.limits
        active = len(self._organisations) + (newcomer.name not in self._organisations)
        count_is_full = len(self._entries) >= limits.count_max
        if count_is_full and newcomer.count + 1 > limits.count_max // active:
            raise _refusal(Code.E_POOL_FULL, f"{limits.count_max} transactions wait")
        if self._bytes + size > limits.bytes_max and newcomer.bytes + size > limits.bytes_max // active:
            raise _refusal(Code.E_POOL_FULL, f"transactions of {self._bytes} bytes wait")
        if count_is_full:
            self._evict_newest(max(self._organisations.values(), key=lambda organisation: organisation.count))
        while self._bytes + size > limits.bytes_max:
            self._evict_newest(max(self._organisations.values(), key=lambda organisation: organisation.bytes))

    def _evict_newest(self, organisation: _Organisation) -> None:
        self._remove(next(reversed(organisation.waiting.values())))
        self._evicted += 1

    # Batches

    def reap(
        self, txs_max: int, bytes_max: int, block_time_ms: int, exclude: Set[bytes] = frozenset(), enough: int = 1 << 32
    ) -> list[Transaction]:
        """The transactions for a block of timestamp ``block_time_ms``; they stay in the pool until decided.

        ``enough`` ends the picking early and changes nothing else. ``exclude`` names what the undecided ancestors of
        the block hold, by leaf hash, by replay key, or both. By replay key it also keeps out another body with a nonce
        of theirs, for which every replica would refuse the block (``replay_keys``). A barrier comes alone.

        Takes time in proportion to what is taken, in flight and expired, not to what waits.
        """
        batch: list[Transaction] = []
        bytes_left = bytes_max
        slot_bytes = max(1, bytes_max // max(1, txs_max))
        # (received in this batch, turn, candidates): turns differ, so candidates are never compared.
        queues = [
            (0, turn, self._eligible(organisation, block_time_ms, exclude))
            for turn, organisation in enumerate(self._organisations.values())
        ]
        while queues and len(batch) < min(txs_max, enough):
            received, turn, candidates = queues[0]
            entry = next(candidates, None)
            if entry is None:
                heapq.heappop(queues)
                continue
            size = entry.size
            if entry.is_barrier:
                if not batch and size <= bytes_max:
                    batch.append(entry.transaction)
                    break
                heapq.heappop(queues)  # it opens a batch when it is this organisation's turn
                continue
            if size > bytes_left:
                # Nothing behind it overtakes it, or small transactions could starve a large one.
                if size <= bytes_max:
                    heapq.heappop(queues)
                continue
            batch.append(entry.transaction)
            bytes_left -= size
            heapq.heapreplace(queues, (received + max(slot_bytes, size), turn, candidates))
        if batch:
            opener = next(iter(self._organisations))
            self._organisations[opener] = self._organisations.pop(opener)
        return batch

    def _eligible(self, organisation: _Organisation, block_time_ms: int, exclude: Set[bytes]) -> Iterator[_Entry]:
        latest = block_time_ms + self.lifetime_ms_max
        for leaf, entry in organisation.waiting.items():
            if leaf in exclude or entry.key in exclude:
                continue
            if block_time_ms < entry.valid_until_ms <= latest:
                yield entry

    # Leaving

    def remove_decided(self, transactions: Iterable[Transaction]) -> None:
        """Forget what a decided block holds, and whatever waits with one of its nonces: it can no longer execute.

        The decision is remembered for a while, so that a copy that is still travelling does not enter again.
        """
        for transaction in transactions:
            key = replay_key(transaction)
            entry = self._by_key.get(key)
            if entry is not None:
                self._remove(entry)
            before = self._decided.get(key)
            if before is not None:
                self._decided_leaves.discard(before[2])
            self._decided[key] = (transaction.tx_id, transaction.body.valid_until_ms, transaction.leaf_hash)
            self._decided_leaves.add(transaction.leaf_hash)
        surplus = len(self._decided) - DECIDED_MEMORY_POOLS * self.limits.count_max
        if surplus > 0:
            oldest = iter(self._decided)
            for key in [next(oldest) for _ in range(surplus)]:
                self._decided_leaves.discard(self._decided.pop(key)[2])

    def discard(self, leaf_hashes: Iterable[bytes]) -> list[Transaction]:
        """Drop transactions for a reason of the caller's (their signer was revoked); those that were there."""
        dropped = [self._entries[leaf] for leaf in dict.fromkeys(leaf_hashes) if leaf in self._entries]
        for entry in dropped:
            self._remove(entry)
        return [entry.transaction for entry in dropped]

    def expire(self, time_ms: int) -> list[Transaction]:
        """Drop what no block from ``time_ms`` on may hold.

        Pass the greater of this node's clock and the decided head's timestamp: on an idle channel only the clock
        advances, and a transaction that can never be in a block must not look like pending work for ever.
        """
        if self._first_expiry_ms is None or time_ms < self._first_expiry_ms:
            return []
        expired = [entry for entry in self._entries.values() if entry.valid_until_ms <= time_ms]
        for entry in expired:
            self._remove(entry)
        self._first_expiry_ms = min((entry.valid_until_ms for entry in self._entries.values()), default=None)
        return [entry.transaction for entry in expired]

    def shorten(self, lifetime_ms_max: int, time_ms: int) -> list[Transaction]:
        """The channel's lifetime changed: drop what would now be refused as too far ahead at ``time_ms``.

        No block could hold it for as long as it exceeds the new lifetime, and until then it would look like work that
        every primary leaves undone.
        """
        self.lifetime_ms_max = lifetime_ms_max
        latest = time_ms + lifetime_ms_max + CLOCK_SKEW_MS
        dropped = [entry for entry in self._entries.values() if entry.valid_until_ms > latest]
        for entry in dropped:
            self._remove(entry)
        return [entry.transaction for entry in dropped]

    # Re-sending

    def overdue(self, now_ms: int, age_ms: int, limit: int) -> list[Transaction]:
        """Up to ``limit`` transactions that have waited ``age_ms`` here, oldest first, each once per round.

        The caller sends them to all validators again: perhaps gossip lost them, and a primary must not be able to
        pass over what only one honest validator knows (amendment L7). A round lasts until ``begin_resend_round``.
        """
        found: list[Transaction] = []
        if now_ms - self._ages_from_ms < age_ms:
            return found
        for entry in self._entries.values():
            if len(found) == limit or entry.arrived_ms > now_ms - age_ms:
                break
            if entry.resend_round < self._resend_round:
                entry.resend_round = self._resend_round
                self._mark_sent(entry, now_ms)
                found.append(entry.transaction)
        return found

    def begin_resend_round(self) -> None:
        """What is overdue is sent once more: what was sent may be lost, or its receivers may have been away."""
        self._resend_round += 1

    def restart_ages(self, now_ms: int) -> None:
        """Count waiting from now, for all: after a view change the new primary gets its chance (consensus.md 1.6), and
        nothing counts as sent to it yet."""
        self._ages_from_ms = now_ms
        self._resend_round += 1

    def mark_sent(self, leaf_hash: bytes, now_ms: int) -> None:
        """The caller sends this transaction to all validators now."""
        entry = self._entries.get(leaf_hash)
        if entry is not None:
            self._mark_sent(entry, now_ms)

    def _mark_sent(self, entry: _Entry, now_ms: int) -> None:
        if entry.sent_ms is None or entry.sent_ms < self._ages_from_ms:
            entry.sent_ms = now_ms

    # Looking

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, leaf_hash: object) -> bool:
        return leaf_hash in self._entries

    @property
    def size_bytes(self) -> int:
        """Sum of the envelope sizes."""
        return self._bytes

    def was_decided(self, leaf_hash: bytes) -> bool:
        """Whether a recent block held exactly these bytes; False says nothing."""
        return leaf_hash in self._decided_leaves

    def get(self, leaf_hash: bytes) -> Transaction | None:
        """The waiting transaction of a leaf hash."""
        entry = self._entries.get(leaf_hash)
        return None if entry is None else entry.transaction

    def get_by_id(self, tx_id: bytes) -> Transaction | None:
        """The waiting transaction of a transaction id."""
        entry = self._by_id.get(tx_id)
        return None if entry is None else entry.transaction

    def arrived_ms(self, leaf_hash: bytes) -> int | None:
        """When a waiting transaction arrived here."""
        entry = self._entries.get(leaf_hash)
        return None if entry is None else entry.arrived_ms

    def organisation_of(self, leaf_hash: bytes) -> str | None:
        """Whose share of the pool a waiting transaction takes."""
        entry = self._entries.get(leaf_hash)
        return None if entry is None else entry.organisation.name

    def share_of(self, organisation: str) -> tuple[int, int]:
        """How many transactions of this organisation wait, and how many organisations wait: it, and who has some."""
        owner = self._organisations.get(organisation)
        return (0, len(self._organisations) + 1) if owner is None else (owner.count, len(self._organisations))

    def heads(
        self, block_time_ms: int, bytes_max: int, exclude: Sequence[Set[bytes]] = (), spare_ms: int = 0
    ) -> list[Waiting]:
        """Per organisation the oldest transaction that ``reap`` would consider for a block of this time and size.

        ``exclude`` as there, as several sets. ``spare_ms`` leaves out what is that close to either end of its
        validity, where two honest clocks disagree.
        """
        earliest, latest = block_time_ms + spare_ms, block_time_ms + self.lifetime_ms_max - spare_ms
        heads: list[Waiting] = []
        for owner in self._organisations.values():
            for leaf, entry in owner.waiting.items():
                for names in exclude:
                    if leaf in names or entry.key in names:
                        break
                else:
                    if not earliest < entry.valid_until_ms <= latest or entry.size > bytes_max:
                        continue
                    is_sent = entry.sent_ms is not None and entry.sent_ms >= self._ages_from_ms
                    since_ms = max(entry.arrived_ms, self._ages_from_ms)
                    sent_ms = entry.sent_ms if is_sent else None
                    own = owner.count, owner.bytes, owner.barriers
                    heads.append(Waiting(owner.name, entry.transaction, since_ms, sent_ms, *own))
                    break
        return heads

    def stats(self) -> MempoolStats:
        """Counts and bytes, in total and by organisation name."""
        return MempoolStats(
            len(self._entries),
            self._bytes,
            self.limits.count_max,
            self.limits.bytes_max,
            self._evicted,
            tuple(
                OrganisationStats(name, owner.count, owner.bytes, next(iter(owner.waiting.values())).arrived_ms)
                for name, owner in sorted(self._organisations.items())
            ),
        )

    # The one place that adds and the one that removes keep all indexes and sums together.

    def _insert(self, entry: _Entry) -> None:
        transaction, organisation, sender = entry.transaction, entry.organisation, entry.sender
        leaf = transaction.leaf_hash
        self._entries[leaf] = entry
        self._by_key[entry.key] = entry
        self._by_id[transaction.tx_id] = entry
        self._bytes += entry.size
        organisation.waiting[leaf] = entry
        organisation.count += 1
        organisation.bytes += entry.size
        organisation.barriers += entry.is_barrier
        sender.count += 1
        sender.bytes += entry.size
        if self._first_expiry_ms is None or entry.valid_until_ms < self._first_expiry_ms:
            self._first_expiry_ms = entry.valid_until_ms

    def _remove(self, entry: _Entry) -> None:
        transaction, organisation, sender = entry.transaction, entry.organisation, entry.sender
        leaf = transaction.leaf_hash
        del self._entries[leaf]
        del self._by_key[entry.key]
        del self._by_id[transaction.tx_id]
        self._bytes -= entry.size
        del organisation.waiting[leaf]
        organisation.count -= 1
        organisation.bytes -= entry.size
        organisation.barriers -= entry.is_barrier
        if organisation.count == 0:
            del self._organisations[organisation.name]
        sender.count -= 1
        sender.bytes -= entry.size
        if sender.count == 0:
            del self._senders[transaction.public_key]


def replay_key(transaction: Transaction) -> bytes:
    """Public key and nonce: at most one transaction with these executes while it is valid."""
    return transaction.public_key + transaction.body.nonce


def replay_keys(transactions: Sequence[Transaction]) -> frozenset[bytes]:
    """What ``reap`` is to exclude because a block that is not decided yet holds ``transactions``."""
    return frozenset([replay_key(transaction) for transaction in transactions])


def _same_or_refused(tx_id: bytes, transaction: Transaction) -> Admission:
    if tx_id == transaction.tx_id:
        return Admission.KNOWN
    raise _refusal(Code.E_NONCE_USED, f"this key used the nonce for transaction {tx_id.hex()}")


def _refusal(code: Code, detail: str) -> InvalidTransaction:
    return InvalidTransaction(code, code.name, detail)
