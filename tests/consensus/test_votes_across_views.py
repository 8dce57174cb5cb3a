"""What a vote means in another view than its own: evidence across views, and votes that are given again (L6, U12)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dawan_node.consensus import AlarmKind, RecordKind, VoteKind
from dawan_node.consensus.messages import Commit, Prepare
from dawan_node.consensus.ready import EvidenceKind
from dawan_node.testing.replica_lab import ReplicaLab
from tests.consensus.test_refusing_signer import refused, refusing


def bring_again(lab: ReplicaLab, index: int, view: int, name: str, voters: Sequence[int]) -> None:
    """Have the primary of ``view`` open it with ``name``, prepared in view 0, as its only entry of O."""
    entry = (name, lab.prepared(0, name, voters))
    lab.deliver(lab.new_view(view, [lab.view_change(v, view, prepared=[entry]) for v in voters], [name]), index)


def prepared_in_view_0() -> ReplicaLab:
    """Validator 3 has committed to "a", and so has 0, before view 1 brings it again."""
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], (0, 1, 2))
    lab.deliver(lab.commit(0, 0, "a"), 3)
    bring_again(lab, 3, 1, "a", (0, 1, 2))
    return lab


def test_another_result_for_the_same_block_in_a_later_view_is_evidence() -> None:
    """An honest validator has one result per block, whatever the view (U12): kind (e)."""
    lab = prepared_in_view_0()
    lab.deliver(lab.commit(0, 1, "a", junk=True), 3)
    assert [(e.kind, e.voter) for e in lab[3].evidence] == [(EvidenceKind.TWO_RESULTS, 0)]
    assert lab[3].evidence[0].proof, "it convicts before strangers too"


def test_the_same_result_or_another_block_in_a_later_view_is_no_evidence() -> None:
    lab = prepared_in_view_0()
    lab.deliver(lab.commit(0, 1, "a"), 3)
    lab.deliver(lab.commit(1, 1, "z"), 3)
    assert lab[3].evidence == []


def decided_and_brought_again(*refusals: VoteKind) -> ReplicaLab:
    """Validator 0 decided "a" in view 0; view 1 brings it again, and its signer refuses what is named."""
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.height == 1
    refusing(lab, 0, *refusals)
    bring_again(lab, 0, 1, "a", (1, 2, 3))
    return lab


@pytest.mark.parametrize("kind", [VoteKind.PREPARE, VoteKind.COMMIT])
def test_a_refused_second_vote_for_a_decided_block_is_one_alarm_and_the_chain_goes_on(kind: VoteKind) -> None:
    """The others are helped by the decision itself; only the vote is missing."""
    lab = decided_and_brought_again(kind)
    lab.prepare_everywhere(1, "a", [0], [2, 3])
    lab.tick(1_000)
    message = Prepare if kind is VoteKind.PREPARE else Commit
    assert [vote.view for vote in lab[0].all_sent(message) if vote.view == 1] == []
    assert refused(lab, 0) == 1 and lab[0].replica.status().state == "normal"
    lab.deliver(lab.pre_prepare(1, "ab"), 0)
    assert (lab[0].replica.status().in_flight[-1].height, lab[0].replica.height) == (2, 1)


def test_a_decided_block_is_not_committed_again_on_prepares_for_another() -> None:
    """q PREPAREs for a block nobody brought are no certificate of the one that is decided."""
    lab = decided_and_brought_again()
    for voter in (2, 3):
        lab.deliver(lab.prepare(voter, 1, "z"), 0)
    assert [view for view, _, _ in lab[0].votes(Commit)] == [0]
    assert AlarmKind.HALTED not in [alarm.kind for alarm in lab[0].alarms]


def test_prepares_that_came_before_the_view_let_a_decided_block_be_committed_at_once() -> None:
    """q PREPAREs are counted together with the one just given again: nobody has to repeat theirs."""
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    for voter in (2, 3):
        lab.deliver(lab.prepare(voter, 1, "a"), 0)  # of a view not entered here yet
    bring_again(lab, 0, 1, "a", (1, 2, 3))
    assert [view for view, _, _ in lab[0].votes(Commit)] == [0, 1]
    last = [record for record in lab[0].records if record.kind is RecordKind.COMMIT][-1]
    assert not last.pins, "the bodies of a decided block are in the store"
