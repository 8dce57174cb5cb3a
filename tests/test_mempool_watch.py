"""The primary as seen from the pool: honest ones are never complained of, whatever anybody sends (amendment L8)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from dawan_node import mempool_watch
from dawan_node.errors import InvalidTransaction
from dawan_node.mempool import Mempool, MempoolLimits
from dawan_node.mempool_watch import (
    BATCH_TXS_MIN,
    COMPLAINT_RESEND_MS,
    CROWDED_MS,
    FORWARD_MS,
    FORWARDED_MS,
    PAST_MS,
    PATIENCE_MS,
    REUNIONS_MAX,
    SETTLED_MS,
    MempoolWatch,
)
from dawan_node.primitives.transaction import TX_BYTES_MAX, Body, Transaction, assemble_envelope

NOW = 1_000_000
LIFETIME = 3_600_000
TXS_MAX, BYTES_MAX = 12, 1024 * 1024
ORGANISATIONS = ("gz", "hk", "mo", "hq")


def make(
    nonce: int, sender: int = 1, size: int = 0, barrier: bool = False, valid_until: int | None = None
) -> Transaction:
    command = ("governance", "enact") if barrier else ("m", "c")
    until = valid_until or NOW + LIFETIME // 2
    body = Body(1, bytes(32), nonce.to_bytes(16, "big"), until, *command, {"p": "x" * size})
    return Transaction.decode(assemble_envelope(body.encode(), "ed25519", sender.to_bytes(32, "big"), bytes(64)))


class Scene:
    """One node's pool and watch. The organisation of a key is its first byte's."""

    def __init__(self, limits: MempoolLimits | None = None) -> None:
        self.now = NOW
        self.pool = Mempool(limits or MempoolLimits(), LIFETIME)
        self.watch = MempoolWatch(self.pool, self.owner, len(ORGANISATIONS))
        self.view = (0, 0)
        self.sent: list[Transaction] = []
        self.look()

    @staticmethod
    def owner(public_key: bytes) -> str | None:
        number = int.from_bytes(public_key, "big") - 1
        return ORGANISATIONS[number] if number < len(ORGANISATIONS) else None

    def add(self, *transactions: Transaction) -> None:
        for transaction in transactions:
            self.pool.add(transaction, self.owner(transaction.public_key) or "", self.now, self.now)

    def look(self) -> tuple[Transaction, ...]:
        look = self.watch.look(self.view, self.now, BYTES_MAX, (), self.now)
        self.has_work = look.has_work
        self.sent += look.send
        self.pool.overdue(self.now, FORWARDED_MS, 1_000)
        return look.left_out

    def wait(self, elapsed_ms: int) -> tuple[Transaction, ...]:
        end, left_out = self.now + elapsed_ms, ()
        while self.now < end:
            self.now = min(end, self.now + 250)
            left_out = self.look()  # type: ignore[assignment]
        return left_out

    def block(self, *transactions: Transaction) -> None:
        self.watch.decided(transactions, self.now, TXS_MAX, BYTES_MAX, self.now)
        self.pool.remove_decided(transactions)

    def blocks(self, count: int, first: int = 1_000, sender: int = 2, every_ms: int = 500) -> tuple[Transaction, ...]:
        """Small blocks of another organisation."""
        left_out: tuple[Transaction, ...] = ()
        for number in range(count):
            transaction = make(first + number, sender)
            self.add(transaction)
            left_out = self.wait(every_ms)
            self.block(transaction)
        return left_out


def test_a_block_of_the_past_is_no_finding_and_interrupts_the_row_of_those_that_were() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    for number in range(40):
        scene.blocks(2, first=1_000 + 2 * number)
        assert scene.watch.look(scene.view, scene.now, BYTES_MAX, (), scene.now).left_out == ()
        scene.watch.decided((), scene.now - PAST_MS - 1, TXS_MAX, BYTES_MAX, scene.now)
    scene.blocks(3, first=2_000)
    assert scene.look() == (victim,)


def test_a_block_of_the_past_costs_the_same_however_much_waits() -> None:
    """While a node caught up with 100,000 blocks the pool was gone through for each: two fifths of its time."""
    scene = Scene()
    scene.add(*(make(number) for number in range(50)))
    with mock.patch.object(Mempool, "heads", side_effect=AssertionError("the pool is gone through")):
        scene.watch.decided((), scene.now - PAST_MS - 1, TXS_MAX, BYTES_MAX, scene.now)


# --- who is complained of ----------------------------------------------------------------------------------------


def test_a_transaction_left_out_of_blocks_with_room_is_complained_of_after_t_fwd_and_t_complain() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    assert scene.blocks(23) == ()
    assert scene.wait(NOW + FORWARDED_MS + PATIENCE_MS - scene.now - 1) == ()
    assert scene.wait(1) == (victim,)


@pytest.mark.parametrize(("short_by", "is_complained_of"), [(0, False), (1, True)])
def test_a_block_of_less_than_its_caps_had_room_unless_it_holds_enough(short_by: int, is_complained_of: bool) -> None:
    """The victim's organisation got its share of each block; what is left of it could have come too."""
    scene, victim = Scene(), make(1)
    scene.add(victim)
    scene.wait(FORWARD_MS + SETTLED_MS)
    for number in range(3):
        block = [make(1_000 * (number + 1) + at) for at in range(BATCH_TXS_MIN - short_by)]
        scene.watch.decided(block, scene.now, 2 * BATCH_TXS_MIN, BYTES_MAX, scene.now)
        scene.wait(500)
    assert (scene.wait(FORWARDED_MS + PATIENCE_MS) == (victim,)) is is_complained_of


def test_three_blocks_are_needed_and_those_before_it_was_sent_count_nothing() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    scene.blocks((FORWARD_MS + SETTLED_MS) // 500 - 1)
    assert scene.wait(20_000) == ()
    scene.blocks(2, first=2_000)
    assert scene.wait(1_000) == ()
    scene.blocks(1, first=3_000)
    assert scene.wait(250) == (victim,)


def test_the_oldest_of_each_organisation_is_sent_soon_and_again_with_each_complaint() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim, make(2))
    scene.wait(FORWARD_MS)
    assert scene.sent == [victim]
    scene.blocks(25)
    assert scene.sent.count(victim) == 2
    scene.wait(COMPLAINT_RESEND_MS)
    assert scene.sent.count(victim) == 3


def test_a_transaction_is_work_once_it_was_sent_to_everybody() -> None:
    scene = Scene()
    scene.add(make(1))
    scene.wait(FORWARD_MS)
    assert not scene.has_work
    scene.wait(250)
    assert scene.has_work
    scene.block(make(1))
    scene.wait(250)
    assert not scene.has_work


def test_what_is_in_flight_or_about_to_expire_is_neither_work_nor_left_out() -> None:
    scene = Scene()
    brief, flying = make(1, valid_until=NOW + 13_000), make(1, 3)
    scene.add(brief, flying)
    scene.blocks(25)
    scene.now = NOW + 12_500
    look = scene.watch.look(scene.view, scene.now, BYTES_MAX, [frozenset({flying.leaf_hash})], scene.now)
    assert look.left_out == () and not look.has_work


def test_the_complaint_ends_with_its_transaction_and_with_the_view() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    scene.blocks(25)
    assert scene.wait(250) == (victim,)
    scene.view = (0, 1)
    assert scene.wait(250) == ()
    assert scene.blocks(22, first=5_000) == ()
    assert scene.blocks(4, first=6_000) == (victim,), "the new primary had the same time"
    scene.block(victim)
    assert scene.wait(250) == ()


def test_a_primary_that_lets_one_through_now_and_then_is_complained_of_all_the_same() -> None:
    """Throttled to one transaction each time the complaint is near: age is that of the oldest that waits."""
    scene = Scene()
    scene.add(*[make(nonce) for nonce in range(10)])
    scene.blocks(23)
    scene.block(make(0))
    assert scene.blocks(3, first=3_000) != ()


def test_a_full_block_without_the_organisation_is_no_excuse_when_others_got_more() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    left_out: tuple[Transaction, ...] = ()
    for number in range(25):
        greedy = [make(100 * number + at, 2) for at in range(TXS_MAX)]
        scene.add(*greedy)
        left_out = scene.wait(500)
        scene.block(*greedy)
    assert left_out == (victim,)


def test_younger_transactions_of_the_same_organisation_that_come_first_are_a_reason_in_full_blocks_too() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    left_out: tuple[Transaction, ...] = ()
    for number in range(25):
        own = [make(1_000 + 100 * number + at) for at in range(TXS_MAX)]
        scene.add(*own)
        left_out = scene.wait(500)
        scene.block(*own)
    assert left_out == (victim,)


@pytest.mark.parametrize("sender", [2, 99], ids=["a member's", "of unknown keys"])
def test_barrier_blocks_for_ever_leave_nobody_out_for_ever(sender: int) -> None:
    """A primary can make as many commands as it likes under keys of nobody."""
    scene, victim = Scene(), make(1)
    scene.add(victim)
    left_out: tuple[Transaction, ...] = ()
    for number in range(25):
        left_out = scene.wait(500)
        scene.block(make(number, sender, barrier=True))
    assert left_out == (victim,)


def test_a_barrier_that_never_gets_its_turn_is_left_out() -> None:
    scene, victim = Scene(), make(1, barrier=True)
    scene.add(victim)
    scene.blocks(12)
    assert scene.wait(20_000) == ()
    assert scene.blocks(2, first=9_000) == (victim,)


def test_an_organisation_that_crowds_the_pool_is_judged_a_while_later() -> None:
    """Its transactions may have been refused where they were sent while it did."""
    scene = Scene(MempoolLimits(count_max=80))  # half a fair share is 10
    scene.add(*[make(nonce) for nonce in range(12)])
    left_out: tuple[Transaction, ...] = ()

    def pass_over(seconds: int, first: int) -> None:
        nonlocal left_out
        for number in range(seconds):
            young = make(first + number)
            scene.add(young)
            left_out = scene.wait(1_000)
            scene.block(young)

    pass_over(25, first=1_000)
    assert left_out == ()
    scene.block(*[make(nonce) for nonce in range(6)])
    pass_over(CROWDED_MS // 1_000, first=2_000)
    assert left_out == ()
    pass_over(6, first=3_000)
    assert left_out == (make(6),)


def test_a_primary_whose_link_returns_has_time_anew_but_not_for_ever() -> None:
    scene, victim = Scene(), make(1)
    scene.add(victim)
    for number in range(REUNIONS_MAX):
        assert scene.blocks(22, first=1_000 * (number + 1)) == ()
        scene.watch.primary_returned(scene.now)
    assert scene.blocks(20, first=20_000) == ()
    scene.watch.primary_returned(scene.now)
    assert scene.blocks(6, first=30_000) == (victim,)


# --- honest primaries --------------------------------------------------------------------------------------------

STEP = st.tuples(
    st.integers(1, 4),  # sender, and so organisation
    st.integers(0, 30),  # how many
    st.sampled_from([0, 100, 5_000, 40_000, TX_BYTES_MAX - 400]),  # size
    st.booleans(),  # a barrier
    st.sampled_from([0, 0, 1]),  # known to the primary alone before it is sent here
)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.lists(STEP, max_size=3), min_size=30, max_size=45),
    bytes_max=st.sampled_from([64 * 1024, 150_000, BYTES_MAX]),
    txs_max=st.sampled_from([1, 5, 40]),
    depth=st.integers(1, 3),
    enough=st.integers(3, 50),
)
def test_an_honest_primary_is_never_complained_of(
    steps: Sequence[Sequence[tuple[int, int, int, bool, int]]], bytes_max: int, txs_max: int, depth: int, enough: int
) -> None:
    """It picks with ``Mempool.reap`` from a pool that holds what this node sent it, in another order of arrival and
    with other transactions ahead; blocks are decided some blocks later. All members spam as they like. It may end its
    blocks at ``BATCH_TXS_MIN``, here three."""
    with mock.patch.object(mempool_watch, "BATCH_TXS_MIN", 3):
        watch_an_honest_primary(steps, bytes_max, txs_max, depth, enough)


def watch_an_honest_primary(
    steps: Sequence[Sequence[tuple[int, int, int, bool, int]]], bytes_max: int, txs_max: int, depth: int, enough: int
) -> None:
    scene, primary = Scene(), Mempool(MempoolLimits(), LIFETIME)
    in_flight: list[list[Transaction]] = []
    late: list[Transaction] = []  # on its way between the two
    nonce = 0
    for step in steps:
        arrived, late = late, []
        for sender, count, size, barrier, is_late in step:
            made = [make(nonce + at, sender, size, barrier) for at in range(count if not barrier else min(count, 1))]
            nonce += count
            first = primary if is_late else scene.pool
            for transaction in made:
                offer(first, transaction, scene.now)
            late += made
        for transaction in arrived:
            offer(primary, transaction, scene.now)
            offer(scene.pool, transaction, scene.now)
        for _ in range(2):
            flying = frozenset(tx.leaf_hash for block in in_flight for tx in block)
            if not any(block[0].is_barrier for block in in_flight):
                batch = primary.reap(txs_max, bytes_max, scene.now, flying, enough)
                if batch:
                    in_flight.append(batch)
            look = scene.watch.look((0, 0), scene.now, bytes_max, (), scene.now)
            assert not look.left_out
            scene.pool.overdue(scene.now, FORWARDED_MS, 10_000)
            scene.now += 400
            if len(in_flight) >= depth or (in_flight and in_flight[-1][0].is_barrier):
                block = in_flight.pop(0)
                scene.watch.decided(block, scene.now - 400, txs_max, bytes_max, scene.now)
                scene.pool.remove_decided(block)
                primary.remove_decided(block)


def offer(pool: Mempool, transaction: Transaction, now: int) -> None:
    if transaction.leaf_hash not in pool:
        with suppress(InvalidTransaction):
            pool.add(transaction, Scene.owner(transaction.public_key) or "", now, now)
