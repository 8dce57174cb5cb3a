"""What comes late, twice or after a restart: no vote is shown as another's, and no record counts for more than once."""

from __future__ import annotations

from dawan_node.consensus import Record, RecordKind, Replica, VoteKind
from dawan_node.consensus.messages import Prepare, PrePrepare, ProposalRequest, Status, ViewChange
from dawan_node.consensus.records import DecidedRecord
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import TestSigner
from tests.consensus.test_refusing_signer import refusing


def test_after_a_restart_a_block_is_not_passed_on_under_the_primarys_vote_for_another() -> None:
    """The log holds my PREPARE and the header, not the primary's signature; the first vote of it that arrives now is
    for "z", and would make no PRE-PREPARE of "a"."""
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.start(3, lab[3].records)
    block_hash = lab.block("a").hash
    lab[3].replica.acquired(block_hash, True, "", lab.leaves("a"))
    block = lab[3].replica._state.tree.get(block_hash)
    assert block is not None
    block.leaf_hashes = lab.leaves("a")
    lab.deliver(lab.prepare(0, 0, "z"), 3)
    lab.deliver(ProposalRequest(0, 0, 1, block_hash), 3, link=1)
    assert lab[3].all_sent(PrePrepare) == []


def test_votes_at_or_below_the_floor_of_a_view_fill_no_slot() -> None:
    """Its NEW-VIEW proves that they are decided: who is behind fetches the blocks, and needs no votes (U2)."""
    lab = ReplicaLab(honest=(3,))
    last = ("ab", lab.certificate(0, "ab", (0, 1, 2)))
    lab.deliver(lab.new_view(1, [lab.view_change(voter, 1, last=last) for voter in (0, 1, 2)], []), 3)
    assert lab[3].replica.view == (0, 1)
    for name in ("a", "ab"):
        for voter in (0, 1, 2):
            lab.deliver(lab.prepare(voter, 1, name), 3)
            lab.deliver(lab.commit(voter, 1, name), 3)
    assert [each.height for each in lab[3].replica.status().in_flight] == [] and lab[3].replica.height == 0
    lab.deliver(lab.prepare(0, 1, "abc"), 3)
    assert [each.height for each in lab[3].replica.status().in_flight] == [3]


def test_my_own_vote_for_a_height_decided_before_a_restart_stops_nobody() -> None:
    """A checkpoint keeps the decision and not the vote, so a peer may well show me what I do not remember."""
    lab = ReplicaLab(honest=(3,))
    lab.decide(0, "a", [3], (0, 1, 2))
    decided = [Record(r.kind, r.payload) for r in lab[3].records if r.kind is RecordKind.DECIDED]
    signer = TestSigner(lab.keys[3], lab.chain_id)
    signer.guard.restore(decided)
    replica = Replica(lab.config, signer, lab.head(), decided, lab.now)
    replica.step(lab.prepare(3, 0, "a"), 0, lab.now)
    replica.step(lab.commit(3, 0, "a"), 0, lab.now)
    assert replica.halted is None
    replica.step(lab.commit(3, 0, "ab"), 0, lab.now)
    assert replica.halted is not None, "above what was decided I know every vote of mine"


def test_bodies_given_up_with_a_view_are_gathered_anew_when_the_block_is_brought_again() -> None:
    """Its quorum of PREPAREs is here, so the block stays known; the fetch that its view had begun is over."""
    lab = ReplicaLab(honest=(3,))
    block_hash = lab.block("a").hash
    lab[3].withheld.add(block_hash)
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    for voter in (0, 1, 2):
        lab.deliver(lab.prepare(voter, 0, "a"), 3)
    lab.deliver(lab.new_view(1, [lab.view_change(voter, 1) for voter in (0, 1, 2)], []), 3)
    assert lab[3].discarded == [block_hash] and lab[3].released == []
    assert len(lab[3].acquire) == 1
    entry = ("a", lab.prepared(0, "a", (0, 1, 2)))
    lab[3].withheld.clear()
    changes = [lab.view_change(voter, 2, prepared=[entry]) for voter in (0, 1, 2)]
    lab.deliver(lab.new_view(2, changes, ["a"]), 3)
    assert [request.block_hash for request in lab[3].acquire] == [block_hash, block_hash]
    assert lab[3].votes(Prepare) == [(2, 1, block_hash)]


def test_bodies_given_up_with_a_view_are_gathered_anew_when_the_block_is_proposed_again() -> None:
    """Views later the same validator is primary again, and nothing but its proposal speaks for the block."""
    lab = ReplicaLab(honest=(3,))
    block_hash = lab.block("a").hash
    lab[3].withheld.add(block_hash)
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    for voter in (0, 1, 2):
        lab.deliver(lab.prepare(voter, 0, "a"), 3)
    lab.deliver(lab.new_view(4, [lab.view_change(voter, 4) for voter in (0, 1, 2)], []), 3)
    lab[3].withheld.clear()
    data = lab.pre_prepare(0, "a")
    again = lab.prepare(0, 4, "a")
    lab.deliver(PrePrepare(4, data.header, data.leaf_hashes, again.signature), 3)
    assert [request.block_hash for request in lab[3].acquire] == [block_hash, block_hash]
    assert (4, 1, block_hash) in lab[3].votes(Prepare)


def test_whoever_waits_for_my_target_is_not_sent_view_changes_for_others() -> None:
    """Validator 0 cannot follow 3 to view 2: it helps 2 into view 1 with what is of view 1 only."""
    lab = ReplicaLab(honest=(0,))
    lab.change_view(1, 0)
    refusing(lab, 0, VoteKind.VIEW_CHANGE)
    lab.now += lab.config.timers.view_change_interval_ms
    lab.deliver(lab.view_change(3, 2), 0)
    lab[0].addressed.clear()
    lab.deliver(Status(0, 0, 1, 0, lab.chain_id, (), b"\x00"), 0, link=2)
    shown = [message for to, message in lab[0].addressed if to == (2,) and isinstance(message, ViewChange)]
    assert [(message.voter, message.new_view) for message in shown] == [(0, 1)]


def test_records_that_a_checkpoint_holds_already_may_follow_it() -> None:
    """A log segment begins with a checkpoint; what was in the outbox then is in it, and is written once more."""
    lab = ReplicaLab(honest=(3,))
    lab.change_view(1, 3)
    lab.deliver(lab.new_view(1, [lab.view_change(voter, 1) for voter in (0, 1, 2)], []), 3)
    lab.change_view(2, 3)
    tail = [record for record in lab[3].records if record.kind in (RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW)]
    kept = list(lab[3].replica.checkpoint_records())
    assert {record.kind for record in kept} == {RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW}
    sent = lab.view_change_of(3)
    # Cut off by a crash, the repetition ends with a VIEW-CHANGE older than the checkpoint's.
    for records in (kept, [*kept, *tail], [*kept, *tail[:1]], [*kept, *tail[:2]]):
        lab.start(3, records)
        status = lab[3].replica.status()
        assert (status.view, status.target) == (1, 2)
        assert lab[3].replica._view_changer.view_changes[3] == sent


def test_a_decision_read_twice_is_decided_once() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.decide(0, "a", [3], (0, 1, 2))
    records = list(lab[3].records)
    lab.start(3, [*records, *records])
    assert [decided.header.height for decided in lab[3].decided] == [1]
    assert DecidedRecord.decode(next(r for r in records if r.kind is RecordKind.DECIDED).payload).header.height == 1
