"""The pool against a model that keeps one list and computes everything anew, and rule 3 as a property."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dawan_node.errors import InvalidTransaction
from dawan_node.mempool import (
    BARRIERS_PER_ORGANISATION_MAX,
    CLOCK_SKEW_MS,
    DECIDED_MEMORY_POOLS,
    Admission,
    Mempool,
    MempoolLimits,
    replay_key,
    replay_keys,
)
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope

LIFETIME = 2_000
START = 1_000_000
ORGANISATIONS = ("a", "b", "c")
SLOT = 200  # a transaction of this test has about so many bytes


def make(nonce: int, sender: int, padding: int, valid_until_ms: int, is_barrier: bool, signature: int) -> Transaction:
    command = ("governance", "enact") if is_barrier else ("m", "c")
    body = Body(1, bytes(32), nonce.to_bytes(16, "big"), valid_until_ms, *command, {"p": "x" * padding})
    return Transaction.decode(
        assemble_envelope(body.encode(), "ed25519", sender.to_bytes(32, "big"), bytes([signature]) * 64)
    )


@dataclass
class Waiting:
    transaction: Transaction
    organisation: str

    @property
    def size(self) -> int:
        return len(self.transaction.envelope)


class Model:
    """The rules of the module's docstring, written down without any index."""

    def __init__(self, limits: MempoolLimits) -> None:
        self.limits = limits
        self.waiting: list[Waiting] = []
        self.decided: dict[bytes, Transaction] = {}  # by replay key, in the order of the first decision
        self.turns: list[str] = []  # organisations that wait, next opener first

    def of(self, organisation: str) -> list[Waiting]:
        return [item for item in self.waiting if item.organisation == organisation]

    def drop(self, item: Waiting) -> None:
        self.waiting.remove(item)
        if not self.of(item.organisation):
            self.turns.remove(item.organisation)

    def add(self, transaction: Transaction, organisation: str, now: int, head: int) -> Admission | Code:
        remembered = list(self.decided.values())[-DECIDED_MEMORY_POOLS * self.limits.count_max :]
        same_key = [item.transaction for item in self.waiting] + [
            old for old in remembered if old.body.valid_until_ms > head
        ]
        for other in same_key:
            if replay_key(other) == replay_key(transaction):
                return Admission.KNOWN if other.tx_id == transaction.tx_id else Code.E_NONCE_USED
        time = max(now, head)
        if not time < transaction.body.valid_until_ms <= time + LIFETIME + CLOCK_SKEW_MS:
            return Code.E_VALIDITY

        size, limits = len(transaction.envelope), self.limits
        own = self.of(organisation)
        sent = [item for item in self.waiting if item.transaction.public_key == transaction.public_key]
        if len(own) + 1 > limits.count_max // 2 or sum(i.size for i in own) + size > limits.bytes_max // 2:
            return Code.E_QUOTA
        if len(sent) + 1 > limits.count_max // 4 or sum(i.size for i in sent) + size > limits.bytes_max // 4:
            return Code.E_QUOTA
        if transaction.is_barrier and sum(i.transaction.is_barrier for i in own) >= BARRIERS_PER_ORGANISATION_MAX:
            return Code.E_QUOTA

        active = len({*self.turns, organisation})
        count, total = len(self.waiting), sum(item.size for item in self.waiting)
        if count + 1 > limits.count_max and len(own) + 1 > limits.count_max // active:
            return Code.E_POOL_FULL
        if total + size > limits.bytes_max and sum(i.size for i in own) + size > limits.bytes_max // active:
            return Code.E_POOL_FULL
        if count + 1 > limits.count_max:
            self.evict(organisation, lambda items: len(items), limits.count_max)
        while sum(item.size for item in self.waiting) + size > limits.bytes_max:
            self.evict(organisation, lambda items: sum(item.size for item in items), limits.bytes_max)
        self.waiting.append(Waiting(transaction, organisation))
        if organisation not in self.turns:
            self.turns.append(organisation)
        return Admission.ACCEPTED

    def evict(self, newcomer: str, measure, cap: int) -> None:  # type: ignore[no-untyped-def]
        biggest = max(self.turns, key=lambda name: measure(self.of(name)))
        assert biggest != newcomer
        assert measure(self.of(biggest)) > cap // len({*self.turns, newcomer}), (
            "only what exceeds a fair share is taken"
        )
        self.drop(self.of(biggest)[-1])

    def reap(self, txs_max: int, bytes_max: int, time: int, exclude: frozenset[bytes]) -> list[Transaction]:
        queues = {
            name: [
                item
                for item in self.of(name)
                if replay_key(item.transaction) not in exclude
                and time < item.transaction.body.valid_until_ms <= time + LIFETIME
                and item.size <= bytes_max
            ]
            for name in self.turns
        }
        received = dict.fromkeys(self.turns, 0)
        batch: list[Waiting] = []
        while len(batch) < txs_max:
            candidates = [name for name in self.turns if queues[name]]
            if not candidates:
                break
            name = min(candidates, key=lambda candidate: received[candidate])
            item = queues[name][0]
            if item.transaction.is_barrier and not batch:
                batch = [item]
                break
            if item.transaction.is_barrier or sum(i.size for i in batch) + item.size > bytes_max:
                queues[name] = []
                continue
            batch.append(queues[name].pop(0))
            received[name] += max(item.size, bytes_max // txs_max)
        if batch:
            self.turns.append(self.turns.pop(0))
        return [item.transaction for item in batch]


class PoolFollowsTheModel(RuleBasedStateMachine):
    @initialize(count_max=st.integers(4, 16), slots=st.integers(4, 16))
    def start(self, count_max: int, slots: int) -> None:
        limits = MempoolLimits(count_max, slots * SLOT)
        self.pool, self.model = Mempool(limits, LIFETIME), Model(limits)
        self.now = self.head = START
        self.blocks: list[list[Transaction]] = []

    @rule(
        nonce=st.integers(0, 12),
        sender=st.integers(1, 4),
        organisation=st.sampled_from(ORGANISATIONS),
        padding=st.sampled_from([0, 1, 60, 400]),
        ahead=st.sampled_from([-1, 0, 1, 300, 301, LIFETIME, LIFETIME + CLOCK_SKEW_MS, LIFETIME + CLOCK_SKEW_MS + 1]),
        is_barrier=st.integers(0, 5).map(lambda number: number == 0),
        signature=st.integers(0, 1),
    )
    def add(
        self, nonce: int, sender: int, organisation: str, padding: int, ahead: int, is_barrier: bool, signature: int
    ) -> None:
        transaction = make(nonce, sender, padding, self.now + ahead, is_barrier, signature)
        expected = self.model.add(transaction, organisation, self.now, self.head)
        try:
            verdict: Admission | Code = self.pool.add(transaction, organisation, self.now, self.head)
        except InvalidTransaction as refusal:
            verdict = Code(refusal.code)
        assert verdict == expected

    @rule(txs_max=st.integers(1, 6), slots=st.integers(0, 5))
    def propose(self, txs_max: int, slots: int) -> None:
        exclude = replay_keys([transaction for block in self.blocks for transaction in block])
        time = max(self.now, self.head + 1)
        batch = self.pool.reap(txs_max, slots * SLOT, time, exclude)
        assert batch == self.model.reap(txs_max, slots * SLOT, time, exclude)
        keys = [replay_key(transaction) for transaction in batch]
        assert len(set(keys)) == len(keys)
        assert not exclude & set(keys)
        assert len(batch) == 1 or not any(transaction.is_barrier for transaction in batch)
        if batch:
            self.blocks.append(batch)

    @rule()
    def decide_the_first_block_in_flight(self) -> None:
        if self.blocks:
            self.decide(self.blocks.pop(0))

    @rule(nonce=st.integers(0, 12), sender=st.integers(1, 4), padding=st.sampled_from([0, 1]))
    def decide_a_block_of_others(self, nonce: int, sender: int, padding: int) -> None:
        self.blocks.clear()
        self.decide([make(nonce, sender, padding, self.now + 300, False, 0)])

    def decide(self, block: list[Transaction]) -> None:
        self.head = max(self.now, self.head + 1)
        self.pool.remove_decided(block)
        keys = replay_keys(block)
        for item in [item for item in self.model.waiting if replay_key(item.transaction) in keys]:
            self.model.drop(item)
        self.model.decided.update((replay_key(transaction), transaction) for transaction in block)
        assert not any(transaction.leaf_hash in self.pool for transaction in block)

    @rule()
    def drop_the_blocks_in_flight(self) -> None:
        self.blocks.clear()

    @rule(step=st.sampled_from([1, 299, LIFETIME]))
    def time_passes(self, step: int) -> None:
        self.now += step
        time = max(self.now, self.head)
        gone = [item for item in self.model.waiting if item.transaction.body.valid_until_ms <= time]
        assert self.pool.expire(time) == [item.transaction for item in gone]
        for item in gone:
            self.model.drop(item)

    @invariant()
    def both_hold_the_same_within_the_caps(self) -> None:
        if not hasattr(self, "pool"):
            return
        stats = self.pool.stats()
        assert stats.count == len(self.pool) == len(self.model.waiting) <= stats.count_max
        assert stats.bytes == sum(item.size for item in self.model.waiting) <= stats.bytes_max
        assert {entry.organisation: (entry.count, entry.bytes) for entry in stats.by_organisation} == {
            name: (len(self.model.of(name)), sum(item.size for item in self.model.of(name)))
            for name in self.model.turns
        }
        for item in self.model.waiting:
            assert self.pool.get(item.transaction.leaf_hash) == item.transaction
            assert self.pool.get_by_id(item.transaction.tx_id) == item.transaction


TestPoolFollowsTheModel = PoolFollowsTheModel.TestCase
# An example is fifty steps, each with all rules checked: two in five of what a plain property gets.
TestPoolFollowsTheModel.settings = settings(max_examples=settings().max_examples * 2 // 5)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(1, 3), st.sampled_from([0, 10, 200])), min_size=30, max_size=120
    )
)
def test_an_organisation_within_its_fair_share_is_never_refused_for_room_and_never_loses(
    arrivals: list[tuple[str, int, int]],
) -> None:
    limits = MempoolLimits(16, 16 * SLOT)
    pool = Mempool(limits, LIFETIME)
    for nonce, (organisation, sender, padding) in enumerate(arrivals):
        transaction = make(nonce, ord(organisation) * 4 + sender, padding, START + 1, False, 0)
        before = {entry.organisation: entry for entry in pool.stats().by_organisation}
        active = len({*before, organisation})
        fair_count, fair_bytes = limits.count_max // active, limits.bytes_max // active
        own = before.get(organisation)
        count, size = (own.count, own.bytes) if own else (0, 0)
        try:
            pool.add(transaction, organisation, START, START)
        except InvalidTransaction as refusal:
            if refusal.code == Code.E_POOL_FULL:
                assert count + 1 > fair_count or size + len(transaction.envelope) > fair_bytes
        after = {entry.organisation: entry for entry in pool.stats().by_organisation}
        for name, entry in before.items():
            if name not in after or after[name].count < entry.count:
                assert entry.count > fair_count or entry.bytes > fair_bytes
