"""A NEW-VIEW that its primary signed and that does not follow from its proof: evidence, and no more power than that."""

from __future__ import annotations

import pytest

from dawan_node.consensus import EvidenceKind, Mode
from dawan_node.consensus.messages import Suspect, decode_message
from dawan_node.testing.replica_lab import ReplicaLab

LIAR = 3
#: Views whose primary is the liar: its next turn, later ones, and the last there is.
TURNS = (3, 7, 4_003, 2**62 + 3, 2**63 - 1)


def lying_new_view(lab: ReplicaLab, view: int) -> bytes:
    assert lab.primary(view) == LIAR
    return lab.new_view(view, [], []).encode()


@pytest.mark.parametrize("view", TURNS)
def test_an_invalid_new_view_of_a_view_nobody_awaits_is_evidence_and_deposes_nobody(view: int) -> None:
    lab = ReplicaLab()
    lab.propose(0, "a")
    for index in (0, 1, 2):
        lab.deliver(decode_message(lying_new_view(lab, view)), index, link=LIAR)
        assert [evidence.kind for evidence in lab[index].evidence] == [EvidenceKind.INVALID_NEW_VIEW]
        assert lab[index].all_sent(Suspect) == []
        assert lab[index].replica.status().target == 0
    lab.decide(0, "a", (0, 1, 2), (0, 1, 2))
    assert [lab[index].replica.height for index in (0, 1, 2)] == [1, 1, 1]


def test_one_liar_cannot_take_the_turn_of_every_honest_primary() -> None:
    """Its invalid NEW-VIEWs arrive as soon as a view is open; if each ended it, nothing would ever be decided."""
    lab = ReplicaLab()
    lab.change_view(1, 0, 1, 2)
    for view in (3, 7, 11):
        lab.deliver(decode_message(lying_new_view(lab, view)), 0, 1, 2, link=LIAR)
    for index in (0, 1, 2):
        assert lab[index].all_sent(Suspect) == []
        status = lab[index].replica.status()
        assert (status.target, status.state) == (1, Mode.VIEW_CHANGE)


def test_an_invalid_new_view_of_the_awaited_view_ends_it_at_once() -> None:
    lab = ReplicaLab()
    lab.change_view(3, 0, 1, 2)
    lab.deliver(decode_message(lying_new_view(lab, 3)), 0, 1, 2, link=LIAR)
    for index in (0, 1, 2):
        assert [message.new_view for message in lab[index].all_sent(Suspect)] == [4]


def test_behind_the_last_view_there_is_no_wish() -> None:
    """More than f liars can bring everybody there; what a replica says must still be a message."""
    lab = ReplicaLab()
    lab.change_view(2**63 - 1, 0, 1, 2)
    lab.tick(10_000)  # no NEW-VIEW comes; the lab decodes whatever is said
    assert lab[0].all_sent(Suspect) == []
