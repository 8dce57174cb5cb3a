"""A key of which the log knows no word in this epoch listens before it speaks (amendment U6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dawan_node.consensus import Record, Replica
from dawan_node.consensus.listening import patience_ms
from dawan_node.consensus.messages import Prepare, SlotSummary, Status
from dawan_node.primitives.certificate import bitmap_of
from dawan_node.testing.replica_lab import ReplicaLab


def listening_lab(n: int = 4) -> ReplicaLab:
    """Only the primary of view 0, as it starts with an empty log; it has work."""
    lab = ReplicaLab(n, honest=())
    lab.config = replace(lab.config, listens_first=True)
    lab.start(0).replica.work_pending(True, lab.now)
    return lab


def said(lab: ReplicaLab, height: int = 0, **changes: object) -> Status:
    return replace_status(Status(0, 0, 0, height, lab.chain_id, (), bytes(1)), **changes)


def replace_status(status: Status, **changes: object) -> Status:
    fields = {name: getattr(status, name) for name in status.__struct_fields__} | changes
    return Status(**fields)  # type: ignore[arg-type]


def may_propose(lab: ReplicaLab) -> bool:
    return lab[0].replica.proposal_slot() is not None


def test_the_first_word_waits_for_as_many_others_as_a_quorum_needs() -> None:
    lab = listening_lab()
    assert not may_propose(lab)
    lab.deliver(said(lab), 0, link=1)
    lab.deliver(said(lab), 0, link=1)
    assert not may_propose(lab), "the same one twice"
    lab.deliver(said(lab), 0, link=2)
    assert may_propose(lab)


def test_who_is_alone_has_nobody_to_listen_to() -> None:
    assert may_propose(listening_lab(1))


@pytest.mark.parametrize("ahead", ["height", "epoch", "view", "vote of mine", "view change of mine"])
def test_while_somebody_is_ahead_or_holds_a_word_of_mine_i_wait_and_a_liar_only_delays_me(ahead: str) -> None:
    lab = listening_lab()
    mine = bitmap_of([0], 4)
    there = {
        "height": said(lab, 5),
        "epoch": said(lab, epoch=1),
        "view": said(lab, view=1, target=1),
        "vote of mine": said(lab, slots=(SlotSummary(1, True, mine, bytes(1)),)),
        "view change of mine": said(lab, target=1, view_changes=mine),
    }[ahead]
    lab.deliver(said(lab), 0, link=1)
    lab.deliver(there, 0, link=2)
    lab.deliver(said(lab), 0, link=3)
    assert not may_propose(lab)
    for _ in range(patience_ms(lab.config.timers) // 1_000 - 1):
        lab.tick(1_000, 0)
        lab.deliver(there, 0, link=2)
        assert not may_propose(lab) and not lab[0].votes(Prepare)
    lab.tick(2_000, 0)
    assert may_propose(lab), "what is never proven stops nobody for good"


def test_who_was_ahead_and_is_no_more_is_not_waited_for() -> None:
    lab = listening_lab()
    lab.deliver(said(lab, view=1, target=1), 0, link=1)
    lab.deliver(said(lab), 0, link=2)
    assert not may_propose(lab)
    lab.deliver(said(lab), 0, link=1)
    assert may_propose(lab)


def test_a_log_that_knows_a_word_of_this_epoch_needs_nobody() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    records = [Record(record.kind, record.payload) for record in lab[0].records]
    assert records
    again = Replica(replace(lab.config, listens_first=True), lab[0].signer, lab.head(), records, lab.now)
    assert again._state.may_sign
    empty = Replica(replace(lab.config, listens_first=True), lab[0].signer, lab.head(), (), lab.now)
    assert not empty._state.may_sign
