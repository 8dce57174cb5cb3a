"""The pool as its callers see it: admission, fair shares, batches, leaving, re-sending."""

from __future__ import annotations

import pytest

from dawan_node.errors import InvalidTransaction
from dawan_node.mempool import (
    BARRIERS_PER_ORGANISATION_MAX,
    CLOCK_SKEW_MS,
    Admission,
    Mempool,
    MempoolLimits,
    replay_keys,
)
from dawan_node.primitives.codes import RETRYABLE, Code
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope

NOW = 1_700_000_000_000
LIFETIME = 3_600_000


def make(
    nonce: int,
    *,
    sender: int = 1,
    padding: int = 0,
    valid_until_ms: int = NOW + LIFETIME,
    command: tuple[str, str] = ("receivable", "record_invoice"),
    signature: int = 0,
) -> Transaction:
    """A decoded transaction; the pool never looks at signatures."""
    args = {"memo": "x" * padding}
    body = Body(1, bytes(32), nonce.to_bytes(16, "big"), valid_until_ms, *command, args)
    envelope = assemble_envelope(body.encode(), "ed25519", sender.to_bytes(32, "big"), bytes([signature]) * 64)
    return Transaction.decode(envelope)


def barrier(nonce: int, sender: int = 1) -> Transaction:
    return make(nonce, sender=sender, command=("governance", "enact"))


def pool_of(count_max: int = 20_000, bytes_max: int = 64 << 20) -> Mempool:
    return Mempool(MempoolLimits(count_max, bytes_max), LIFETIME)


def add(
    pool: Mempool, transaction: Transaction, organisation: str = "gz", now: int = NOW, head: int = NOW
) -> Admission:
    return pool.add(transaction, organisation, now, head)


def refusal(pool: Mempool, transaction: Transaction, organisation: str = "gz", now: int = NOW, head: int = NOW) -> Code:
    before = pool.stats()
    with pytest.raises(InvalidTransaction) as caught:
        pool.add(transaction, organisation, now, head)
    assert caught.value.reason == Code(caught.value.code).name
    assert pool.stats() == before, "a refusal changes nothing"
    return Code(caught.value.code)


class TestAdmission:
    def test_the_same_bytes_again_are_known_and_not_an_error(self) -> None:
        pool = pool_of()
        assert add(pool, make(1)) is Admission.ACCEPTED
        assert add(pool, make(1)) is Admission.KNOWN
        assert len(pool) == 1

    def test_the_same_body_under_another_signature_is_the_same_transaction(self) -> None:
        pool = pool_of()
        first, other = make(1), make(1, signature=7)
        assert first.tx_id == other.tx_id
        assert first.leaf_hash != other.leaf_hash
        add(pool, first)
        assert add(pool, other) is Admission.KNOWN
        assert pool.get(first.leaf_hash) is first
        assert pool.get(other.leaf_hash) is None

    def test_another_body_with_the_nonce_of_a_waiting_one_is_refused(self) -> None:
        pool = pool_of()
        add(pool, make(1))
        assert refusal(pool, make(1, padding=5)) is Code.E_NONCE_USED

    def test_the_same_nonce_of_another_key_is_another_transaction(self) -> None:
        pool = pool_of()
        add(pool, make(1, sender=1))
        assert add(pool, make(1, sender=2)) is Admission.ACCEPTED

    def test_a_transaction_is_found_by_leaf_hash_and_by_id(self) -> None:
        pool = pool_of()
        transaction = make(1)
        add(pool, transaction, now=NOW + 5)
        assert pool.get(transaction.leaf_hash) is transaction
        assert pool.get_by_id(transaction.tx_id) is transaction
        assert transaction.leaf_hash in pool
        assert pool.arrived_ms(transaction.leaf_hash) == NOW + 5
        assert pool.size_bytes == len(transaction.envelope)
        assert pool.get_by_id(bytes(32)) is None
        assert pool.arrived_ms(bytes(32)) is None

    @pytest.mark.parametrize(
        ("valid_until_ms", "now", "head", "admitted"),
        [
            (NOW, NOW, NOW - 9, False),
            (NOW + 1, NOW, NOW - 9, True),
            (NOW + 1, NOW, NOW + 1, False),  # the head's time is ahead of this clock
            (NOW + LIFETIME + CLOCK_SKEW_MS, NOW, NOW - 9, True),
            (NOW + LIFETIME + CLOCK_SKEW_MS + 1, NOW, NOW - 9, False),
            (NOW + LIFETIME + CLOCK_SKEW_MS + 1, NOW, NOW + 1, True),
            (NOW, NOW - 99_000_000, NOW - 1, True),  # this clock is wrong by a day, the chain's time counts
        ],
    )
    def test_valid_until_must_lie_within_the_lifetime_of_the_next_block(
        self, valid_until_ms: int, now: int, head: int, admitted: bool
    ) -> None:
        pool, transaction = pool_of(), make(1, valid_until_ms=valid_until_ms)
        if admitted:
            assert add(pool, transaction, now=now, head=head) is Admission.ACCEPTED
        else:
            assert refusal(pool, transaction, now=now, head=head) is Code.E_VALIDITY

    def test_many_at_once_get_one_verdict_each(self) -> None:
        pool = pool_of()
        verdicts = pool.add_many([(make(1), "gz"), (make(1), "gz"), (make(1, padding=1), "gz")], NOW, NOW)
        assert verdicts[:2] == [Admission.ACCEPTED, Admission.KNOWN]
        assert isinstance(verdicts[2], InvalidTransaction)
        assert verdicts[2].code == Code.E_NONCE_USED


class TestShares:
    def test_one_organisation_holds_at_most_half_of_the_pool(self) -> None:
        pool = pool_of(count_max=40)
        for nonce in range(20):
            add(pool, make(nonce, sender=nonce % 2 + 1))
        code = refusal(pool, make(99, sender=3))
        assert code is Code.E_QUOTA
        assert code in RETRYABLE

    def test_one_organisation_holds_at_most_half_of_the_bytes(self) -> None:
        size = len(make(0, padding=1_000).envelope)
        pool = pool_of(bytes_max=8 * size)
        for nonce in range(4):
            add(pool, make(nonce, sender=nonce % 2 + 1, padding=1_000))
        assert refusal(pool, make(99, sender=3, padding=1_000)) is Code.E_QUOTA

    def test_one_key_holds_at_most_half_of_its_organisations_part(self) -> None:
        pool = pool_of(count_max=40)
        for nonce in range(10):
            add(pool, make(nonce))
        assert refusal(pool, make(99)) is Code.E_QUOTA
        assert add(pool, make(99, sender=2)) is Admission.ACCEPTED

    def test_what_left_no_longer_counts_against_its_key(self) -> None:
        pool = pool_of(bytes_max=16 * len(make(0, padding=1_000).envelope))
        for nonce in range(100):
            add(pool, make(nonce, padding=1_000))
            if nonce >= 2:
                pool.remove_decided([make(nonce, padding=1_000)])
        for nonce in range(100, 102):
            add(pool, make(nonce, padding=1_000))
        assert refusal(pool, make(999, padding=1_000)) is Code.E_QUOTA

    def test_an_empty_pool_remembers_nobody_who_used_it(self) -> None:
        """Keys are free to make; whoever invents millions of them must not leave a trace of each."""
        pool = pool_of()
        for number in range(50):
            add(pool, make(1, sender=number), f"org{number % 5}")
        pool.discard([make(1, sender=number).leaf_hash for number in range(50)])
        assert (len(pool), pool._senders, pool._organisations) == (0, {}, {})

    def test_the_newcomer_counts_when_shares_are_computed(self) -> None:
        pool = pool_of(count_max=4)
        for organisation in "abcd":
            add(pool, make(0, sender=ord(organisation)), organisation)
        assert refusal(pool, make(0, sender=200), "e") is Code.E_POOL_FULL, "4 // 5: there is no share to have"

    def test_a_newcomer_within_its_fair_share_displaces_the_newest_of_the_biggest(self) -> None:
        pool = pool_of(count_max=40)
        for nonce in range(20):
            add(pool, make(nonce, sender=10 + nonce % 2), "big")
            add(pool, make(nonce, sender=20 + nonce % 2), "also-big")
        assert add(pool, make(1, sender=30), "small") is Admission.ACCEPTED
        counts = {entry.organisation: entry.count for entry in pool.stats().by_organisation}
        assert counts == {"also-big": 20, "big": 19, "small": 1}
        assert make(19, sender=11).leaf_hash not in pool, "the newest"
        assert make(0, sender=10).leaf_hash in pool, "not the oldest"
        assert pool.stats().evicted == 1

    def test_a_full_pool_refuses_an_organisation_that_has_its_fair_share(self) -> None:
        pool = pool_of(count_max=40)
        for nonce in range(20):
            add(pool, make(nonce, sender=10 + nonce % 2), "a")
            if nonce < 15:
                add(pool, make(nonce, sender=20 + nonce % 2), "b")
        for nonce in range(13):  # 5 into free room, then up to 40 // 3 by eviction
            add(pool, make(nonce, sender=30 + nonce % 2), "c")
        code = refusal(pool, make(99, sender=33), "c")
        assert code is Code.E_POOL_FULL
        assert code in RETRYABLE
        assert refusal(pool, make(99, sender=13), "a") is Code.E_POOL_FULL

    def test_room_in_bytes_is_made_by_as_many_evictions_as_it_takes(self) -> None:
        small = len(make(0, padding=100).envelope)
        pool = pool_of(bytes_max=40 * small)
        for nonce in range(20):
            add(pool, make(nonce, sender=10 + nonce % 2, padding=100), "a")
            add(pool, make(nonce, sender=20 + nonce % 2, padding=100), "b")
        large = make(0, sender=30, padding=1_000)
        add(pool, large, "c")
        assert pool.stats().evicted == -(-len(large.envelope) // small)
        assert pool.size_bytes <= 40 * small

    def test_barrier_commands_cannot_queue_up(self) -> None:
        pool = pool_of()
        for nonce in range(BARRIERS_PER_ORGANISATION_MAX):
            add(pool, barrier(nonce))
        assert refusal(pool, barrier(99)) is Code.E_QUOTA
        assert add(pool, barrier(99, sender=2), "hk") is Admission.ACCEPTED
        pool.remove_decided([barrier(0)])
        assert add(pool, barrier(100)) is Admission.ACCEPTED


class TestBatches:
    def test_organisations_alternate_and_each_keeps_its_order(self) -> None:
        pool = pool_of()
        for nonce in range(100):
            add(pool, make(nonce, sender=1), "gz")
        for nonce in range(3):
            add(pool, make(nonce, sender=2), "hk")
        batch = pool.reap(8, 1 << 20, NOW)
        senders = [transaction.public_key[-1] for transaction in batch]
        assert senders == [1, 2, 1, 2, 1, 2, 1, 1]
        assert [transaction.body.nonce[-1] for transaction in batch if transaction.public_key[-1] == 1] == [
            0,
            1,
            2,
            3,
            4,
        ]

    def test_a_batch_that_ends_early_is_the_beginning_of_the_whole_one(self) -> None:
        pool = pool_of()
        for nonce in range(60):
            add(pool, make(nonce, sender=1 + nonce % 3), ("gz", "hk", "mo")[nonce % 3])
        whole = pool.reap(50, 1 << 14, NOW)
        for _ in range(2):  # until the same organisation opens again
            pool.reap(50, 1 << 14, NOW)
        assert pool.reap(50, 1 << 14, NOW, enough=7) == whole[:7]

    def test_reaping_takes_nothing_out(self) -> None:
        pool = pool_of()
        for nonce in range(5):
            add(pool, make(nonce))
        assert pool.reap(5, 1 << 20, NOW) == pool.reap(5, 1 << 20, NOW)
        assert len(pool) == 5

    def test_what_is_in_flight_waits_and_returns_when_its_block_is_dropped(self) -> None:
        pool = pool_of()
        for nonce in range(5):
            add(pool, make(nonce))
        first = pool.reap(3, 1 << 20, NOW)
        by_leaf = frozenset(transaction.leaf_hash for transaction in first)
        for exclude in (by_leaf, replay_keys(first)):
            second = pool.reap(3, 1 << 20, NOW, exclude)
            assert [transaction.body.nonce[-1] for transaction in second] == [3, 4]
        assert pool.reap(3, 1 << 20, NOW) == first

    def test_another_body_with_a_nonce_used_on_the_branch_is_left_out(self) -> None:
        pool = pool_of()
        add(pool, make(1))
        assert pool.reap(3, 1 << 20, NOW, replay_keys([make(1, padding=9)])) == []

    def test_a_barrier_transaction_comes_alone(self) -> None:
        pool = pool_of()
        first, enact, last = make(1), barrier(2), make(3)
        for transaction in (first, enact, last):
            add(pool, transaction)
        assert pool.reap(10, 1 << 20, NOW) == [first]
        assert pool.reap(10, 1 << 20, NOW, replay_keys([first])) == [enact]
        assert pool.reap(10, 1 << 20, NOW, replay_keys([first, enact])) == [last]

    def test_barrier_commands_of_one_organisation_take_only_its_turns(self) -> None:
        pool = pool_of()
        for nonce in range(BARRIERS_PER_ORGANISATION_MAX):
            add(pool, barrier(nonce, sender=1), "gz")
        for nonce in range(20):
            add(pool, make(nonce, sender=2), "hk")
        sizes = []
        while len(pool):
            batch = pool.reap(5, 1 << 20, NOW)
            sizes.append((batch[0].is_barrier, len(batch)))
            pool.remove_decided(batch)
        assert sizes == [(True, 1), (False, 5)] * 4

    def test_large_transactions_do_not_crowd_out_small_ones(self) -> None:
        pool = pool_of()
        for nonce in range(100):
            add(pool, make(nonce, sender=1, padding=60_000), "hog")
        for nonce in range(2_000):
            add(pool, make(nonce, sender=2), "small")
        batch = pool.reap(1_000, 4 << 20, NOW)
        small = sum(transaction.public_key[-1] == 2 for transaction in batch)
        assert small >= 900
        assert sum(len(transaction.envelope) for transaction in batch) <= 4 << 20
        assert len(batch) - small >= 50, "and the large ones get theirs"

    def test_a_small_transaction_does_not_overtake_a_large_one_of_its_organisation(self) -> None:
        pool = pool_of()
        sizes = [400, 60_000, 10]
        for nonce, padding in enumerate(sizes):
            add(pool, make(nonce, padding=padding))
        assert [transaction.body.nonce[-1] for transaction in pool.reap(10, 60_500, NOW)] == [0]

    def test_a_transaction_larger_than_a_block_does_not_wedge_its_organisation(self) -> None:
        pool = pool_of()
        add(pool, make(1, padding=60_000))
        add(pool, make(2))
        assert [transaction.body.nonce[-1] for transaction in pool.reap(10, 5_000, NOW)] == [2]

    def test_only_what_is_valid_at_the_blocks_time_is_taken(self) -> None:
        pool = pool_of()
        soon, late = make(1, valid_until_ms=NOW + 100), make(2, valid_until_ms=NOW + LIFETIME + CLOCK_SKEW_MS)
        add(pool, soon)
        add(pool, late)
        assert pool.reap(10, 1 << 20, NOW) == [soon]
        assert pool.reap(10, 1 << 20, NOW + 100) == []
        assert pool.reap(10, 1 << 20, NOW + CLOCK_SKEW_MS) == [late]

    @pytest.mark.parametrize(("txs_max", "bytes_max"), [(0, 1 << 20), (10, 0)])
    def test_no_room_gives_no_batch(self, txs_max: int, bytes_max: int) -> None:
        pool = pool_of()
        add(pool, make(1))
        add(pool, barrier(2, sender=2), "hk")
        assert pool.reap(txs_max, bytes_max, NOW) == []


class TestFairness:
    def test_an_honest_organisation_is_served_as_if_the_flooding_one_had_sent_as_little(self) -> None:
        """An organisation sends a hundred times more than another one (reliability.md H1).

        Per block of 100 the honest one sends 10 and the other 1,000. The honest one loses nothing, and each of its
        transactions is in the very next block.
        """
        pool = pool_of(count_max=1_000)
        nonce = 0
        for _ in range(50):
            for _ in range(1_000):
                nonce += 1
                pool.add_many([(make(nonce, sender=nonce % 5 + 1), "flood")], NOW, NOW)
            honest = [make(nonce + number, sender=99) for number in range(10)]
            assert (
                pool.add_many([(transaction, "honest") for transaction in honest], NOW, NOW)
                == [Admission.ACCEPTED] * 10
            )
            batch = pool.reap(100, 1 << 20, NOW)
            assert len(batch) == 100
            assert {transaction.leaf_hash for transaction in honest} <= {tx.leaf_hash for tx in batch}
            pool.remove_decided(batch)


class TestLeaving:
    def test_a_decided_transaction_never_enters_again(self) -> None:
        pool = pool_of()
        add(pool, make(1))
        pool.remove_decided([make(1)])
        assert len(pool) == 0
        assert add(pool, make(1)) is Admission.KNOWN
        assert len(pool) == 0
        assert refusal(pool, make(1, padding=5)) is Code.E_NONCE_USED

    def test_a_decision_removes_the_other_body_with_its_nonce(self) -> None:
        pool = pool_of()
        mine = make(1)
        add(pool, mine)
        pool.remove_decided([make(1, padding=3)])
        assert len(pool) == 0
        assert refusal(pool, mine) is Code.E_NONCE_USED

    def test_a_nonce_is_free_again_when_its_transaction_is_no_longer_valid(self) -> None:
        pool = pool_of()
        pool.remove_decided([make(1, valid_until_ms=NOW + 10)])
        assert add(pool, make(1, padding=1), now=NOW + 10, head=NOW + 10) is Admission.ACCEPTED

    def test_decisions_are_remembered_up_to_a_bound_the_oldest_forgotten_first(self) -> None:
        pool = pool_of(count_max=8)
        pool.remove_decided([make(nonce) for nonce in range(20)])
        assert add(pool, make(4)) is Admission.KNOWN
        assert add(pool, make(3)) is Admission.ACCEPTED

    def test_the_bytes_of_recent_blocks_are_known_and_forgotten_with_their_decisions(self) -> None:
        pool = pool_of(count_max=8)
        add(pool, make(0))
        pool.remove_decided([make(nonce) for nonce in range(20)])
        assert [nonce for nonce in range(22) if pool.was_decided(make(nonce).leaf_hash)] == list(range(4, 20))
        assert not pool.was_decided(make(5, padding=1).leaf_hash)
        pool.remove_decided([make(5, padding=1)])
        assert pool.was_decided(make(5, padding=1).leaf_hash) and not pool.was_decided(make(5).leaf_hash)

    def test_what_has_expired_leaves_and_is_named(self) -> None:
        pool = pool_of()
        transactions = [make(nonce, valid_until_ms=NOW + 10 * nonce) for nonce in range(1, 6)]
        for transaction in transactions:
            add(pool, transaction)
        assert pool.expire(NOW + 9) == []
        assert pool.expire(NOW + 30) == transactions[:3]
        assert pool.expire(NOW + 30) == []
        assert len(pool) == 2
        assert pool.expire(NOW + 50) == transactions[3:]
        assert len(pool) == pool.size_bytes == 0
        assert add(pool, make(9)) is Admission.ACCEPTED

    def test_the_caller_may_drop_transactions(self) -> None:
        pool = pool_of()
        add(pool, make(1))
        assert pool.discard([make(1).leaf_hash, make(2).leaf_hash, make(1).leaf_hash]) == [make(1)]
        assert add(pool, make(1)) is Admission.ACCEPTED


class TestResending:
    def test_what_waits_too_long_is_named_once_oldest_first(self) -> None:
        pool = pool_of()
        for nonce in range(5):
            add(pool, make(nonce, sender=nonce + 1), now=NOW + nonce)
        assert pool.overdue(NOW + 1_999, 2_000, 10) == []
        assert [tx.body.nonce[-1] for tx in pool.overdue(NOW + 2_002, 2_000, 2)] == [0, 1]
        assert [tx.body.nonce[-1] for tx in pool.overdue(NOW + 2_002, 2_000, 10)] == [2]
        assert [tx.body.nonce[-1] for tx in pool.overdue(NOW + 9_000, 2_000, 10)] == [3, 4]
        assert pool.overdue(NOW + 99_000, 2_000, 10) == []

    def test_a_new_view_starts_all_ages_again(self) -> None:
        pool = pool_of()
        add(pool, make(1))
        assert len(pool.overdue(NOW + 2_000, 2_000, 10)) == 1
        pool.restart_ages(NOW + 5_000)
        assert pool.overdue(NOW + 6_999, 2_000, 10) == []
        assert len(pool.overdue(NOW + 7_000, 2_000, 10)) == 1

    def test_what_left_the_pool_while_it_was_sent_is_not_marked(self) -> None:
        pool = pool_of()
        gone, waiting = make(1), make(2, sender=2)
        add(pool, gone)
        add(pool, waiting)
        pool.remove_decided([gone])
        for transaction in (gone, waiting):
            pool.mark_sent(transaction.leaf_hash, NOW + 5)
        (head,) = pool.heads(NOW, 1 << 20)
        assert (head.transaction, head.sent_ms, len(pool)) == (waiting, NOW + 5, 1)


def test_stats_name_every_organisation_that_waits() -> None:
    pool = pool_of()
    add(pool, make(1), "hk", now=NOW + 3)
    add(pool, make(2), "hk", now=NOW + 4)
    add(pool, make(1, sender=2, padding=50), "gz")
    stats = pool.stats()
    assert (stats.count, stats.bytes, stats.count_max, stats.bytes_max) == (3, pool.size_bytes, 20_000, 64 << 20)
    assert [(entry.organisation, entry.count, entry.oldest_ms) for entry in stats.by_organisation] == [
        ("gz", 1, NOW),
        ("hk", 2, NOW + 3),
    ]
    assert sum(entry.bytes for entry in stats.by_organisation) == stats.bytes
