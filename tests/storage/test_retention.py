"""Pruning takes what it may and leaves what somebody needs, however it is cut into steps and wherever it stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.execution import state_tree
from dawan_node.node.keeping import Keeping
from dawan_node.node.pruning import oldest_wanted
from dawan_node.primitives.genesis import TX_LIFETIME_MS_CEILING
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.storage import retention, schema
from dawan_node.storage.block_store import KeptRecord
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import MemoryStore
from tests.node.ledger import START_MS, Ledger
from tests.node.snapshot_kit import contents, grown

LIFETIME_MS = 3_600_000


def prune(ledger: Ledger, wanted: int) -> None:
    while ledger.store.retention.step(wanted):
        assert ChannelStore.over(ledger.kv, ledger.genesis.chain_id).head == ledger.store.head


@settings(max_examples=25)
@given(
    blocks=st.integers(3, 30),
    wanted=st.lists(st.integers(0, 35), min_size=1, max_size=3),
    step=st.integers(1, 9),
    milestone=st.sampled_from([4, 7, 1_000]),
)
def test_after_any_pruning_the_store_is_whole_from_the_mark_on_and_the_rest_is_gone(
    blocks: int, wanted: list[int], step: int, milestone: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "STEP_BLOCKS", step)
        patch.setattr(retention, "MILESTONE_BLOCKS", milestone)
        ledger, sent = grown(blocks)
        state = contents(ledger.kv)
        hashes = {h: ledger.store.blocks.result(h).block_hash for h in range(1, blocks + 1)}  # type: ignore[union-attr]
        for each in wanted:
            prune(ledger, each)
        store = ChannelStore.over(ledger.kv, ledger.genesis.chain_id)
        oldest = max(1, min(max(wanted), blocks))
        assert store.blocks.kept().oldest == oldest
        store.blocks.verify_bodies(1, blocks)
        assert contents(ledger.kv) == state, "the state is not touched"
        for number, transaction in enumerate(sent):
            height = 1 + number // 2
            assert (store.blocks.find_tx(transaction.tx_id) is not None) == (height >= oldest)
            assert store.state.nonce_used(transaction.public_key, transaction.body.nonce) is not None
        for height in range(1, blocks + 1):
            is_kept = height >= oldest or height % milestone == 0
            assert (store.blocks.finality(height) is not None) == is_kept
            assert (store.blocks.envelopes(height) is not None) == (height >= oldest)
            if is_kept:
                assert store.blocks.height_of(hashes[height]) == height
                proof = FinalityProof.decode(store.blocks.finality(height).encode())  # type: ignore[union-attr]
                proof.verify(ledger.genesis.chain_id, 0, ledger.genesis.validator_set)
        ledger.store, ledger.applier._store = store, store  # type: ignore[misc]
        ledger.applier._branches.clear()
        ledger.grow(2)
        assert ledger.store.head.height == blocks + 2


def test_a_pruned_node_still_proves_its_state_and_its_newest_blocks() -> None:
    ledger, _ = grown(30)
    prune(ledger, 25)
    store = ChannelStore.over(ledger.kv, ledger.genesis.chain_id)
    proof = store.blocks.finality(30)
    assert proof is not None
    _, result = FinalityProof.decode(proof.encode()).verify(ledger.genesis.chain_id, 0, ledger.genesis.validator_set)
    assert state_tree.root(store.state.tree_node) == result.state_root


def test_nothing_accepted_before_pruning_is_executed_again_after_it() -> None:
    """Row H2."""
    ledger, sent = grown(20)
    prune(ledger, 19)
    for transaction in sent:
        again = ledger.block(transaction)
        assert "nonce" in (ledger.applier.judge(again.header, again.transactions) or "")
    late = ledger.block(sent[0], time_ms=sent[0].body.valid_until_ms)
    assert "not valid" in (ledger.applier.judge(late.header, late.transactions) or "")


def test_headers_and_nonces_leave_with_their_replay_entries() -> None:
    ledger, _ = grown(20)
    prune(ledger, 18)
    assert ledger.store.blocks.kept() == KeptRecord(18, 1)
    assert ledger.store.blocks.nonces(3) is not None and ledger.store.blocks.header(3) is not None
    time_ms = START_MS + 12_000 + TX_LIFETIME_MS_CEILING
    ledger.decide(ledger.block(ledger.transaction(time_ms=time_ms), time_ms=time_ms))
    assert ledger.store.state.replay_entry(12) is None and ledger.store.state.replay_entry(13) is not None
    prune(ledger, 18)
    assert ledger.store.blocks.kept() == KeptRecord(18, 13)
    assert ledger.store.blocks.header(12) is None and ledger.store.blocks.nonces(12) is None
    assert ledger.store.blocks.header(13) is not None and ledger.store.blocks.nonces(13) is not None
    assert len(list(ledger.kv.iterate(prefix=schema.NONCE_LIST))) == 5


def test_a_barrier_block_keeps_header_result_and_certificate() -> None:
    ledger = Ledger()
    ledger.grow(3)
    enact = ledger.admin("gz", "enact", {"proposal": "nothing-of-that-name"})
    ledger.decide(ledger.block(enact))
    ledger.grow(6)
    header = ledger.store.blocks.header(4)
    assert header is not None and header.barrier
    prune(ledger, 9)
    assert ledger.store.blocks.finality(4) is not None and ledger.store.blocks.finality(3) is None


class Wanted:
    """``oldest_wanted`` on a ledger of a block a minute, three hours and twenty minutes long."""

    def __init__(self) -> None:
        self.ledger, _ = grown(200, apart_ms=60_000, per_block=1)

    def __call__(self, snapshots: tuple[int, ...] = (), peers: tuple[int, ...] = (), **retain: int) -> int:
        keeping = Keeping(Path("/nowhere"), retain_blocks_min=5, **retain)
        return oldest_wanted(keeping, self.ledger.store.blocks, LIFETIME_MS, snapshots, peers)


@pytest.fixture(scope="module")
def wanted() -> Wanted:
    return Wanted()


def test_nothing_leaves_unless_the_settings_say_so(wanted: Wanted) -> None:
    assert wanted() == 1


def test_what_either_setting_covers_stays(wanted: Wanted) -> None:
    assert wanted(retain_blocks=100) == 101
    assert wanted(retain_blocks=100, retain_days=1) == 1


def test_the_least_is_kept_whatever_is_set(wanted: Wanted) -> None:
    """A block whose transactions may still be valid stays: the last hour of these is sixty blocks."""
    assert wanted(retain_blocks=1) == 141


def test_what_follows_an_offered_snapshot_and_what_a_peer_still_fetches_stays(wanted: Wanted) -> None:
    assert wanted(retain_blocks=1, snapshots=(90, 50)) == 51
    assert wanted(retain_blocks=1, peers=(70, 200)) == 71


def test_a_peer_that_would_take_a_snapshot_anyway_holds_nothing_up(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawan_node.node.pruning.PEER_BLOCKS_MAX", 120)
    assert wanted(retain_blocks=1, peers=(70,)) == 141


def test_an_empty_chain_has_nothing_to_prune() -> None:
    ledger = Ledger()
    assert oldest_wanted(Keeping(Path("/nowhere"), retain_blocks=1), ledger.store.blocks, 1, ()) == 1
    assert ledger.store.retention.step(10) == 0 and isinstance(ledger.kv, MemoryStore)
