"""Blocks run on the branch they extend, and become durable once, in order, with exactly the certified result."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.errors import StorageError
from dawan_node.node.applier import Applier, UnknownBranch
from dawan_node.storage.channel_store import ChannelStore
from tests.node.ledger import START_MS, Block, Ledger, certify


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def judge(ledger: Ledger, block: Block) -> str | None:
    return ledger.applier.judge(block.header, block.transactions)


def test_a_new_channel_stands_at_genesis(ledger: Ledger) -> None:
    head = ledger.applier.head
    assert (head.height, head.block_hash) == (0, ledger.genesis.chain_id)
    assert head.timestamp_ms == ledger.genesis.created_ms


def test_a_block_is_stored_with_everything_it_leads_to(ledger: Ledger) -> None:
    transaction = ledger.transaction()
    block = ledger.block(transaction)
    result = ledger.execute(block).execution.result
    stored = ledger.commit(block, result)
    assert (ledger.applier.head.height, ledger.applier.head.block_hash) == (1, block.hash)
    assert ledger.applier.head.timestamp_ms == block.header.timestamp_ms
    reopened = ChannelStore.over(ledger.kv, ledger.genesis.chain_id)
    assert reopened.head.result == result and reopened.blocks.find_tx(transaction.tx_id) == (1, 0)
    assert reopened.blocks.envelopes(1) == (transaction.envelope,)
    assert [receipt.encode() for receipt in stored.block.receipts] == list(reopened.blocks.receipts(1) or ())
    assert stored.block.receipts[0].code == 0 and stored.next_rules is None


def test_a_child_runs_on_the_changes_of_its_undecided_parent(ledger: Ledger) -> None:
    invoice = ledger.transaction()
    parent = ledger.block(invoice)
    repeated = ledger.transaction("supplier-a", args=dict(invoice.body.args))
    child = ledger.block(repeated, on=parent)
    ledger.execute(parent)
    assert judge(ledger, child) is None
    receipt = ledger.execute(child).execution.receipt_objects[0]
    assert receipt.code == 3, "the parent's invoice must be seen"
    assert ledger.store.head.height == 0, "nothing undecided is stored"


def test_a_nonce_used_on_the_undecided_branch_is_used(ledger: Ledger) -> None:
    transaction = ledger.transaction()
    parent = ledger.block(transaction)
    ledger.execute(parent)
    assert judge(ledger, ledger.block(transaction, on=parent)) == (
        "transaction 0 uses a nonce that its branch has used"
    )
    assert judge(ledger, ledger.block(transaction)) is None, "a sibling does not see it"


def test_time_is_judged_by_the_parent_on_the_branch(ledger: Ledger) -> None:
    parent = ledger.block(ledger.transaction(), time_ms=START_MS + 5_000)
    ledger.execute(parent)
    short = ledger.transaction("supplier-a", lifetime_ms=6_000)
    assert judge(ledger, ledger.block(short, on=parent)) is None
    late = ledger.block(short, on=parent, time_ms=START_MS + 6_000)
    assert judge(ledger, late) == "transaction 0 is not valid at the block's time"


def test_when_the_parent_is_decided_its_children_rest_on_the_store(ledger: Ledger) -> None:
    parent = ledger.block(ledger.transaction())
    child = ledger.block(ledger.transaction(), on=parent)
    grandchild = ledger.block(ledger.transaction(), on=child)
    results = [ledger.execute(block).execution.result for block in (parent, child, grandchild)]
    for block, result in zip((parent, child, grandchild), results, strict=True):
        assert ledger.execute(block).execution.result == result, "deciding its ancestors changes no result"
        ledger.commit(block, result)
    assert ledger.store.head.result == results[-1]
    fresh = Ledger(ledger.genesis)
    for block in (parent, child, grandchild):
        fresh.decide(block)
    assert fresh.store.head.result == results[-1], "executed one by one it is the same"
    assert not ledger.applier._branches and not ledger.applier._executions


def test_a_decided_block_that_was_never_executed_is_executed_then(ledger: Ledger) -> None:
    block = ledger.block(ledger.transaction())
    result = Ledger(ledger.genesis).execute(block).execution.result
    ledger.commit(block, result)
    assert ledger.store.head.height == 1


def test_siblings_of_a_decided_block_and_what_stands_on_them_are_void(ledger: Ledger) -> None:
    winner, loser = ledger.block(ledger.transaction()), ledger.block(ledger.transaction())
    on_loser = ledger.block(ledger.transaction(), on=loser)
    for block in (winner, loser, on_loser):
        ledger.execute(block)
    ledger.decide(winner)
    for block in (loser, ledger.block(ledger.transaction(), on=on_loser)):
        with pytest.raises(UnknownBranch):
            judge(ledger, block)
    with pytest.raises(UnknownBranch):
        ledger.execute(loser)
    with pytest.raises(UnknownBranch):
        judge(ledger, ledger.block(ledger.transaction(), on=on_loser))


def test_a_block_whose_parent_nobody_knows_cannot_be_judged_or_run(ledger: Ledger) -> None:
    orphan = ledger.block(ledger.transaction(), on=ledger.block(ledger.transaction()))
    with pytest.raises(UnknownBranch):
        judge(ledger, orphan)
    with pytest.raises(UnknownBranch):
        ledger.execute(orphan)


def test_a_discarded_block_is_forgotten_with_its_branch_and_may_run_again(ledger: Ledger) -> None:
    parent = ledger.block(ledger.transaction())
    child = ledger.block(ledger.transaction(), on=parent)
    first = ledger.execute(parent).execution
    ledger.execute(child)
    ledger.applier.discard([child.hash, parent.hash, bytes(32)])
    with pytest.raises(UnknownBranch):
        judge(ledger, child)
    again = ledger.execute(parent).execution
    assert again is not first and again.result == first.result
    assert judge(ledger, child) is None


def test_a_result_that_nobody_certified_is_never_stored(ledger: Ledger) -> None:
    block = ledger.block(ledger.transaction())
    result = ledger.execute(block).execution.result
    other = msgspec.structs.replace(result, state_root=bytes(32))
    with pytest.raises(StorageError, match="not the certified one"):
        ledger.commit(block, other)
    assert ledger.store.head.height == 0 and ledger.applier.head.height == 0


def test_a_disk_that_fails_leaves_the_head_where_it_was(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    block = ledger.block(ledger.transaction())

    def fail(*_: Any, **__: Any) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(ledger.kv, "write", fail)
    with pytest.raises(StorageError, match="no space"):
        ledger.decide(block)
    assert ledger.applier.head.height == 0


def test_the_links_of_a_proof_from_above_are_stored_with_the_block(ledger: Ledger) -> None:
    parent = ledger.block(ledger.transaction())
    child = ledger.block(ledger.transaction(), on=parent)
    below, above = (ledger.execute(block).execution.result for block in (parent, child))
    certificate = certify(child.header, above)
    ledger.applier.commit(parent.hash, parent.header, below, certificate, ((child.header, above),), parent.transactions)
    proof = ledger.store.blocks.certificate(1)
    assert proof is not None and proof.certificate == certificate.encode()
    assert proof.links == ((child.header.encode(), above.encode()),)


# Barriers


def passed_proposal(ledger: Ledger, value: int = 2) -> None:
    ledger.decide(ledger.block(ledger.admin("gz", "propose_parameter", {"id": "p", "name": "window", "value": value})))
    ledger.decide(
        ledger.block(*[ledger.admin(org, "vote", {"proposal": "p", "approve": True}) for org in ("gz", "hk", "mo")])
    )


def test_the_rules_above_a_barrier_are_those_it_enacts(ledger: Ledger) -> None:
    passed_proposal(ledger)
    barrier = ledger.block(ledger.admin("gz", "enact", {"proposal": "p"}))
    executed = ledger.execute(barrier)
    assert ledger.rules.window == 4
    assert executed.next_rules is not None and executed.next_rules.window == 2
    assert executed.next_rules.validators == ledger.rules.validators
    assert ledger.applier.execute(barrier.hash, barrier.header, barrier.transactions).next_rules == executed.next_rules
    assert ledger.decide(barrier).next_rules == executed.next_rules


def test_a_barrier_command_among_others_or_without_its_flag_is_refused(ledger: Ledger) -> None:
    enact = ledger.admin("gz", "enact", {"proposal": "p"})
    assert judge(ledger, ledger.block(enact, barrier=False)) == "the barrier flag does not fit the block's content"
    mixed = ledger.block(ledger.transaction(), enact, barrier=False)
    assert judge(ledger, mixed) == "transaction 1 is a barrier command among others"
    assert judge(ledger, ledger.block(ledger.transaction(), barrier=True)) is not None
    assert judge(ledger, ledger.block(enact)) is None


def test_a_restarted_applier_goes_on_from_the_stored_head(ledger: Ledger) -> None:
    ledger.grow(3)
    store = ChannelStore.over(ledger.kv, ledger.genesis.chain_id)
    applier = Applier(store, ledger.executor, ledger.genesis.created_ms, ledger.stages)
    assert applier.head == ledger.applier.head
    block = ledger.block(ledger.transaction())
    assert applier.judge(block.header, block.transactions) is None


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["fork", "fork", "discard", "decide"]), st.integers(0, 30)), max_size=14))
def test_whatever_was_tried_and_dropped_meanwhile_the_decided_chain_gives_one_state(
    actions: list[tuple[str, int]],
) -> None:
    """Forks grow, are executed in any order, discarded or overtaken; the decided blocks alone decide the result."""
    ledger = Ledger()
    undecided: list[Block] = []  # those that lead to the head
    chain: list[Block] = []
    for action, choice in actions:
        if action == "fork":
            parents = [None, *undecided]
            block = ledger.block(ledger.transaction(), on=parents[choice % len(parents)])
            ledger.execute(block)
            undecided.append(block)
        elif action == "discard" and undecided:
            gone = above(undecided[choice % len(undecided)], undecided)
            ledger.applier.discard([block.hash for block in gone])
            undecided = [block for block in undecided if block not in gone]
        elif action == "decide":
            head = ledger.applier.head.block_hash
            following = [block for block in undecided if block.header.parent_hash == head]
            if following:
                chain.append(following[choice % len(following)])
                ledger.decide(chain[-1])
                undecided = [block for block in above(chain[-1], undecided) if block != chain[-1]]
    alone = Ledger(ledger.genesis)
    for block in chain:
        alone.decide(block)
    assert alone.store.head.result == ledger.store.head.result
    assert all(execution.header.height > len(chain) for execution in ledger.applier._executions.values())


def above(bottom: Block, blocks: list[Block]) -> list[Block]:
    """``bottom`` and all of ``blocks`` that stand on it; parents come before their children there."""
    found = [bottom]
    for block in blocks:
        if block.header.parent_hash in [other.hash for other in found]:
            found.append(block)
    return found


def test_a_fork_off_a_long_branch_sees_that_branch_as_it_was_where_it_forks(ledger: Ledger) -> None:
    branch: list[Block] = []
    for _ in range(10):
        branch.append(ledger.block(ledger.transaction(), on=branch[-1] if branch else None))
        ledger.execute(branch[-1])
    used_below, used_above = branch[4].transactions[0], branch[7].transactions[0]
    for at in (6, 5, 8):  # each rests on the branch up to there, whatever was read before
        assert judge(ledger, ledger.block(used_below, on=branch[at])) is not None
        assert (judge(ledger, ledger.block(used_above, on=branch[at])) is None) == (at < 7)
    fork = ledger.block(used_above, on=branch[6])
    assert ledger.execute(fork).execution.receipt_objects[0].code == 0
    last = ledger.block(ledger.transaction(), on=branch[-1])
    alone = Ledger()
    for block in [*branch, last]:
        result = alone.execute(block).execution.result
        alone.commit(block, result)
    assert ledger.execute(last).execution.result == result


def test_a_long_undecided_branch_gives_the_results_that_block_by_block_gives_and_stays_quick(ledger: Ledger) -> None:
    """Catch-up executes batches ahead of the store. Layer over layer, each scan cost twice as much as the one below:
    thirty blocks would take hours."""
    other = Ledger()
    blocks, expected = [], []
    for _ in range(30):
        blocks.append(other.block(other.transaction()))
        expected.append(other.decide(blocks[-1]))
    results = [ledger.execute(block).execution.result for block in blocks]
    assert results == [stored.block.result for stored in expected]
    assert ledger.store.head.height == 0
    again = ledger.transaction("supplier-a", args=dict(blocks[2].transactions[0].body.args))
    top = ledger.block(again, on=blocks[-1])
    assert judge(ledger, ledger.block(blocks[3].transactions[0], on=blocks[-1])) is not None, "its nonce is used"
    assert ledger.execute(top).execution.receipt_objects[0].code == 3, "the invoice of a block far below is seen"
    for block, result in zip(blocks, results, strict=True):
        ledger.commit(block, result)
    assert ledger.store.head.result == results[-1]
