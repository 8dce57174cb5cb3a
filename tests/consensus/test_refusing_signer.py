"""A signer that refuses stops a vote, and nothing but the vote: one alarm for each slot, no exception, no record."""

from __future__ import annotations

import pytest

from dawan_node.consensus import AlarmKind, Mode, SlotGuard, VoteKind
from dawan_node.consensus.messages import Commit, NewView, Prepare, Suspect, ViewChange
from dawan_node.consensus.signer import Statement
from dawan_node.errors import SigningRefused
from dawan_node.primitives.certificate import prepare_vote_bytes
from dawan_node.testing.replica_lab import ReplicaLab


def refusing(lab: ReplicaLab, index: int, *kinds: VoteKind) -> None:
    """From now on this replica's signer refuses these kinds, as the guard of a key that is used elsewhere would."""
    signer = lab[index].signer
    assert signer is not None
    sign = signer.sign

    def guarded(statement: Statement) -> bytes:
        if statement.kind in kinds:
            raise SigningRefused(f"no {statement.kind.name}")
        return sign(statement)

    signer.sign = guarded  # type: ignore[method-assign]


def refused(lab: ReplicaLab, index: int) -> int:
    return sum(alarm.kind is AlarmKind.SIGNING_REFUSED for alarm in lab[index].alarms)


@pytest.mark.parametrize(("kind", "message"), [(VoteKind.PREPARE, Prepare), (VoteKind.COMMIT, Commit)])
def test_a_refused_vote_is_one_alarm_and_the_others_decide(kind: VoteKind, message: type) -> None:
    lab = ReplicaLab(honest=(1,))
    refusing(lab, 1, kind)
    lab.decide(0, "a", (1,), (0, 2))
    lab.tick(2_000)
    assert lab[1].all_sent(message) == [] and refused(lab, 1) == 1
    lab.deliver(lab.prepare(3, 0, "a"), 1)
    lab.deliver(lab.commit(3, 0, "a"), 1)
    assert lab[1].replica.height == 1


def test_a_refused_view_change_leaves_the_target_where_it_was() -> None:
    lab = ReplicaLab(honest=(0,))
    refusing(lab, 0, VoteKind.VIEW_CHANGE)
    lab.deliver(lab.view_change(3, 1), 0)
    assert lab[0].all_sent(ViewChange) == [] and lab[0].replica.status().target == 0 and refused(lab, 0) == 1


def test_a_refused_wish_is_not_said() -> None:
    lab = ReplicaLab(honest=(1,))
    refusing(lab, 1, VoteKind.SUSPECT)
    lab.tick(8_000)
    assert lab[1].all_sent(Suspect) == [] and refused(lab, 1) == 1


@pytest.mark.parametrize("kind", [VoteKind.PREPARE, VoteKind.NEW_VIEW])
def test_a_refused_new_view_or_entry_of_o_opens_no_view(kind: VoteKind) -> None:
    lab = ReplicaLab(honest=(1,))
    refusing(lab, 1, kind)
    prepared = [("a", lab.prepared(0, "a", (0, 2, 3)))]
    lab.deliver(lab.view_change(0, 1, prepared=prepared), 1)
    lab.deliver(lab.view_change(2, 1, prepared=prepared), 1)
    assert lab[1].all_sent(NewView) == [] and refused(lab, 1) == 1
    assert lab[1].replica.status().state is Mode.VIEW_CHANGE
    assert all(record.kind.name == "VIEW_CHANGE" for record in lab[1].records)


def test_a_checkpoint_keeps_quarantine_and_halt() -> None:
    lab = ReplicaLab(honest=(1, 2))
    lab[1].junk = True
    lab.decide(0, "a", (1,), (0, 2, 3))
    lab.deliver(lab.commit(2, 0, "a"), 2, link=3)
    assert lab[1].replica.status().state is Mode.QUARANTINE
    assert lab[2].replica.status().state is Mode.HALTED
    for index, mode in ((1, Mode.QUARANTINE), (2, Mode.HALTED)):
        records = lab[index].replica.checkpoint_records()
        assert lab.start(index, records).replica.status().state is mode


def test_the_guard_signs_nothing_of_an_epoch_that_is_over() -> None:
    """Its last block is decided: whoever still needs it is sent that block, never a vote (U3)."""
    guard = SlotGuard(bytes(32))
    guard.decided(1, 10, bytes(32), bytes(32))
    data = prepare_vote_bytes(bytes(32), 0, 5, 11, bytes(32))
    with pytest.raises(SigningRefused, match="after epoch 1 began"):
        guard.check(Statement(VoteKind.PREPARE, 0, 5, 11, bytes(32), b"", data))
