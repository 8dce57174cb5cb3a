"""Bodies of wanted blocks are found in the pool, asked for from their holders in turn, and believed by their hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.consensus.ready import Acquire
from dawan_node.crypto import merkle
from dawan_node.node.bodies import BlockBody, Bodies
from dawan_node.node.gatherer import GRACE_MS, RETRY_MS, Gatherer
from dawan_node.p2p.gossip import LEAVES_MAX, BlockReply, FetchBlock, FetchTx, TxsReply, decode_fetch
from dawan_node.primitives.transaction import Transaction
from tests.node.ledger import Block, Ledger, envelopes_of, leaves_of, wrongly_signed

HOLDERS = (0, 2, 3)


@dataclass
class Desk:
    """A gatherer with everything it is given, and a note of what it did."""

    ledger: Ledger = field(default_factory=Ledger)
    bodies: Bodies = field(default_factory=Bodies)
    pool: dict[bytes, Transaction] = field(default_factory=dict)
    arriving: set[bytes] = field(default_factory=set)
    sent: list[tuple[int, FetchTx | FetchBlock]] = field(default_factory=list)
    to_check: list[Transaction] = field(default_factory=list)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.gatherer = Gatherer(
            self.bodies, self.pool.get, self.arriving.__contains__, self._send, self.to_check.extend
        )

    def _send(self, holder: int, payload: bytes) -> None:
        message = decode_fetch(payload)
        assert isinstance(message, FetchTx | FetchBlock)
        self.sent.append((holder, message))

    def block(self, count: int = 3) -> Block:
        return self.ledger.block(*[self.ledger.transaction() for _ in range(count)])

    def want(self, block: Block, *, leaves: bool = True, holders: tuple[int, ...] = HOLDERS) -> None:
        listed = leaves_of(block.transactions) if leaves else None
        self.gatherer.want(Acquire(block.hash, block.header, listed, holders, False), self.now_ms)

    def pass_ms(self, ms: int) -> list[tuple[int, FetchTx | FetchBlock]]:
        """Let time pass; what was asked meanwhile."""
        self.now_ms += ms
        self.sent.clear()
        self.gatherer.poll(self.now_ms)
        return list(self.sent)

    def give(self, transactions: Sequence[Transaction]) -> None:
        """A reply with these envelopes, whose signatures are then checked."""
        self.gatherer.on_txs(TxsReply(1, envelopes_of(transactions)))
        self.check()

    def check(self) -> None:
        checked = [(transaction, transaction.verify_signature()) for transaction in self.to_check]
        self.to_check.clear()
        self.gatherer.checked(checked)

    def done(self, block: Block) -> str | tuple[Transaction, ...] | None:
        """The transactions of a complete block, why it was condemned, or None."""
        found = [gathered for gathered in self.gatherer.take_done() if gathered.block_hash == block.hash]
        assert len(found) <= 1
        if not found:
            return None
        return found[0].reason if found[0].body is None else found[0].body.transactions


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_block_whose_transactions_all_wait_in_the_pool_is_complete_at_once(desk: Desk) -> None:
    block = desk.block()
    desk.pool.update({tx.leaf_hash: tx for tx in block.transactions})
    desk.want(block)
    assert desk.done(block) == block.transactions
    assert desk.gatherer.is_idle and desk.gatherer.next_deadline() is None
    assert desk.pass_ms(10_000) == []


def test_a_transaction_of_another_kept_block_need_not_be_fetched(desk: Desk) -> None:
    block = desk.block()
    desk.bodies.add(BlockBody(bytes(32), block.transactions))
    desk.want(block)
    assert desk.done(block) == block.transactions


def test_the_body_of_a_block_that_is_kept_is_handed_out_each_time_it_is_wanted(desk: Desk) -> None:
    block = desk.block()
    desk.bodies.add(BlockBody(block.hash, block.transactions))
    for _ in range(2):
        desk.want(block)
        assert desk.done(block) == block.transactions


def test_what_is_missing_is_asked_for_only_after_the_grace_and_then_from_each_holder_in_turn(desk: Desk) -> None:
    block = desk.block()
    known, *missing = block.transactions
    desk.pool[known.leaf_hash] = known
    desk.want(block)
    assert desk.gatherer.next_deadline() == GRACE_MS
    assert desk.pass_ms(GRACE_MS - 1) == []
    asked = desk.pass_ms(1)
    assert asked == [(0, FetchTx(1, list(leaves_of(missing))))]
    assert desk.pass_ms(RETRY_MS - 1) == []
    turns = [holder for _ in range(5) for holder, _ in desk.pass_ms(RETRY_MS)]
    assert turns == [2, 3, 0, 2, 3]
    desk.give(missing)
    assert desk.done(block) == block.transactions


def test_what_is_being_checked_already_is_not_asked_for(desk: Desk) -> None:
    block = desk.block()
    desk.arriving.update(leaves_of(block.transactions[:2]))
    desk.want(block)
    assert desk.pass_ms(GRACE_MS) == [(0, FetchTx(1, [block.transactions[2].leaf_hash]))]
    desk.gatherer.checked([(transaction, True) for transaction in block.transactions[:2]])
    assert desk.done(block) is None
    desk.give(block.transactions[2:])
    assert desk.done(block) == block.transactions


def test_one_request_names_no_more_leaves_than_a_message_may_and_the_rest_goes_to_other_holders(desk: Desk) -> None:
    leaves = tuple(index.to_bytes(32, "big") for index in range(2 * LEAVES_MAX + 5))
    header = desk.block(1).header
    desk.gatherer.want(Acquire(header.hash, header, leaves, HOLDERS, False), 0)
    asked = desk.pass_ms(GRACE_MS)
    assert [holder for holder, _ in asked] == [0, 2, 3]
    parts = [message.leaves for _, message in asked if isinstance(message, FetchTx)]
    assert [len(part) for part in parts] == [LEAVES_MAX, LEAVES_MAX, 5]
    assert tuple(leaf for part in parts for leaf in part) == leaves


def test_bytes_that_hash_to_nothing_wanted_are_dropped_and_condemn_nobody(desk: Desk) -> None:
    block, stranger = desk.block(), desk.ledger.transaction("supplier-b")
    desk.want(block)
    desk.gatherer.on_txs(TxsReply(1, [b"garbage", stranger.envelope, block.transactions[0].envelope[:-1]]))
    assert desk.to_check == [] and desk.done(block) is None
    desk.gatherer.checked([(stranger, False)])
    assert desk.done(block) is None
    desk.give(block.transactions)
    assert desk.done(block) == block.transactions


def test_a_wrongly_signed_envelope_of_a_wanted_leaf_condemns_the_block(desk: Desk) -> None:
    forged = wrongly_signed(desk.ledger.transaction())
    block = desk.ledger.block(desk.ledger.transaction(), forged)
    desk.want(block)
    desk.give(block.transactions)
    assert desk.done(block) == "an envelope is wrongly signed"
    assert desk.gatherer.is_idle and not desk.gatherer.wants(block.transactions[0].leaf_hash)


def test_a_malformed_envelope_of_a_wanted_leaf_condemns_the_block(desk: Desk) -> None:
    header = desk.block(1).header
    leaf = merkle.leaf_hash(b"no envelope")
    desk.gatherer.want(Acquire(header.hash, header, (leaf,), HOLDERS, False), 0)
    desk.gatherer.on_txs(TxsReply(1, [b"no envelope"]))
    (gathered,) = desk.gatherer.take_done()
    assert gathered.body is None and "malformed" in gathered.reason


def test_a_bad_envelope_condemns_every_block_that_holds_it_and_no_other(desk: Desk) -> None:
    forged, good = wrongly_signed(desk.ledger.transaction()), desk.ledger.transaction()
    first, second = desk.ledger.block(forged), desk.ledger.block(forged, good)
    third = desk.ledger.block(good)
    for block in (first, second, third):
        desk.want(block)
    desk.give([forged])
    condemned = {gathered.block_hash for gathered in desk.gatherer.take_done() if gathered.body is None}
    assert condemned == {first.hash, second.hash}
    desk.give([good])
    assert desk.done(third) == (good,)


def test_a_block_that_names_a_transaction_twice_is_condemned(desk: Desk) -> None:
    transaction = desk.ledger.transaction()
    block = desk.ledger.block(transaction, transaction)
    desk.want(block)
    assert desk.done(block) == "a transaction stands in it twice"


def test_a_leaf_list_is_asked_for_at_once_and_believed_only_when_it_is_the_headers(desk: Desk) -> None:
    block = desk.block()
    leaves = list(leaves_of(block.transactions))
    desk.pool.update({tx.leaf_hash: tx for tx in block.transactions})
    desk.want(block, leaves=False)
    assert desk.pass_ms(0) == [(0, FetchBlock(block.hash))]
    for lie in ([], leaves[:-1], leaves[::-1], [*leaves, leaves[-1]], [bytes(32)] * 3):
        desk.gatherer.on_leaves(BlockReply(block.hash, lie))
        assert desk.done(block) is None, lie
    desk.gatherer.on_leaves(BlockReply(bytes(32), leaves))
    assert desk.done(block) is None
    assert desk.pass_ms(RETRY_MS) == [(2, FetchBlock(block.hash))]
    desk.gatherer.on_leaves(BlockReply(block.hash, leaves))
    assert desk.done(block) == block.transactions


def test_a_second_leaf_list_of_a_block_changes_nothing(desk: Desk) -> None:
    block = desk.block()
    desk.want(block, leaves=False)
    for _ in range(2):
        desk.gatherer.on_leaves(BlockReply(block.hash, list(leaves_of(block.transactions))))
    desk.give(block.transactions)
    assert desk.done(block) == block.transactions


def test_the_same_envelope_from_two_holders_is_checked_once_between_two_requests(desk: Desk) -> None:
    block = desk.block()
    desk.want(block)
    desk.pass_ms(GRACE_MS)
    for _ in range(3):
        desk.gatherer.on_txs(TxsReply(1, envelopes_of(block.transactions)))
    assert desk.to_check == list(block.transactions)
    desk.check()
    assert desk.done(block) == block.transactions
    desk.give(block.transactions)
    assert desk.to_check == [] and desk.done(block) is None


def test_what_was_fetched_and_waits_for_its_check_is_never_asked_for_nor_decoded_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose checks take longer than a holder's patience must not fetch every block several times: that is what
    keeps it behind."""
    block = desk.block()
    desk.want(block)
    desk.pass_ms(GRACE_MS)
    desk.gatherer.on_txs(TxsReply(1, envelopes_of(block.transactions[:2])))
    waiting = list(desk.to_check)
    for holder in (2, 3, 0):
        assert desk.pass_ms(RETRY_MS) == [(holder, FetchTx(1, [block.transactions[2].leaf_hash]))]
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "decode", lambda envelope: pytest.fail("decoded again"))
        desk.gatherer.on_txs(TxsReply(1, envelopes_of(block.transactions[:2])))
    assert desk.to_check == waiting
    desk.give(block.transactions[2:])
    assert desk.done(block) == block.transactions


def test_a_transaction_in_two_wanted_blocks_completes_both(desk: Desk) -> None:
    shared, other = desk.ledger.transaction(), desk.ledger.transaction()
    first, second = desk.ledger.block(shared), desk.ledger.block(shared, other)
    desk.want(first)
    desk.want(second)
    desk.give([shared])
    assert desk.done(first) == (shared,)
    desk.give([other])
    assert desk.done(second) == (shared, other)


def test_a_forgotten_block_is_neither_asked_for_nor_handed_out_and_may_be_wanted_again(desk: Desk) -> None:
    block = desk.block()
    desk.want(block)
    desk.gatherer.forget(block.hash)
    desk.gatherer.forget(block.hash)
    assert desk.gatherer.is_idle and not desk.gatherer.wants(block.transactions[0].leaf_hash)
    assert desk.pass_ms(GRACE_MS) == []
    desk.give(block.transactions)
    assert desk.done(block) is None
    desk.want(block)
    desk.give(block.transactions)
    assert desk.done(block) == block.transactions


def test_wanting_a_block_again_with_more_holders_asks_those_too(desk: Desk) -> None:
    """A block is first wanted when only its proposer vouches for it; once certified, a quorum holds it."""
    block = desk.block()
    desk.want(block, holders=(1,))
    assert [holder for holder, _ in desk.pass_ms(GRACE_MS)] == [1]
    desk.want(block, holders=(0, 2, 3))
    asked = [holder for _ in range(3) for holder, _ in desk.pass_ms(RETRY_MS)]
    assert sorted(asked) == [0, 2, 3]


def test_wanting_a_block_again_with_its_leaf_list_needs_no_request_for_it(desk: Desk) -> None:
    block = desk.block()
    desk.want(block, leaves=False)
    desk.want(block)
    desk.give(block.transactions)
    assert desk.done(block) == block.transactions


def test_a_block_without_known_holders_waits_for_what_arrives_by_itself(desk: Desk) -> None:
    block = desk.block()
    desk.want(block, holders=())
    assert desk.pass_ms(GRACE_MS) == []
    desk.gatherer.checked([(transaction, True) for transaction in block.transactions])
    assert desk.done(block) == block.transactions


@given(
    count=st.integers(1, 6),
    known=st.sets(st.integers(0, 5)),
    deliveries=st.lists(st.lists(st.integers(0, 7), max_size=6), max_size=8),
)
def test_whatever_arrives_in_whatever_order_a_block_is_complete_when_and_only_when_all_of_it_is_here(
    count: int, known: set[int], deliveries: list[list[int]]
) -> None:
    desk = Desk()
    block = desk.block(count)
    strangers = [desk.ledger.transaction("supplier-b") for _ in range(8)]
    here = {index for index in known if index < count}
    desk.pool.update({block.transactions[index].leaf_hash: block.transactions[index] for index in here})
    desk.want(block)
    for delivery in deliveries:
        if len(here) == count:
            break
        desk.give([block.transactions[i] if i < count else strangers[i] for i in delivery])
        here |= {index for index in delivery if index < count}
    assert desk.done(block) == (block.transactions if len(here) == count else None)
    missing = {tx.leaf_hash for index, tx in enumerate(block.transactions) if index not in here}
    assert all(desk.gatherer.wants(tx.leaf_hash) is (tx.leaf_hash in missing) for tx in block.transactions)
