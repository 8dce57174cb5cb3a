"""The nine O-set vectors of consensus.md 1.8 (n = 4, W = 4; vector 9 as amendment L12 has it), and validity.

``11:(3,X)`` is a PC at height 11 of view 3 for block X. The change is always to view 5.
"""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.consensus import EvidenceKind
from dawan_node.consensus.messages import NewView, Suspect, ViewChange
from dawan_node.consensus.verification import Verifier
from dawan_node.consensus.view_change import (
    Contradiction,
    Epoch,
    Plan,
    check_new_view,
    check_view_change,
    plan_of,
)
from dawan_node.errors import InvalidMessage
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import fake_verify

TEN = "aaaaaaaaaa"
X, Y, Z = TEN + "x", TEN + "xy", TEN + "z"
QUORUM = (0, 1, 2)
VIEW = 5


@pytest.fixture
def lab() -> ReplicaLab:
    """Only the forger: no replica runs."""
    return ReplicaLab(honest=())


def epoch_of(lab: ReplicaLab) -> Epoch:
    verifier = Verifier(lab.chain_id, fake_verify)
    return Epoch(lab.chain_id, 0, lab.validators, 4, 0, lab.chain_id, verifier)


def vc(lab: ReplicaLab, voter: int, last: str, *prepared: tuple[int, str]) -> ViewChange:
    """A VIEW-CHANGE with the decided head ``last`` and PCs given as (view, block)."""
    pcs = [(name, lab.prepared(view, name, QUORUM)) for view, name in prepared]
    return lab.view_change(voter, VIEW, last=(last, lab.certificate(2, last, QUORUM)), prepared=pcs)


def plan(lab: ReplicaLab, *view_changes: ViewChange) -> tuple[int, list[str]] | str:
    """(base height, O by name), or why the channel halts; every VIEW-CHANGE is valid by itself."""
    epoch = epoch_of(lab)
    for message in view_changes:
        check_view_change(epoch, message)
    outcome = plan_of(epoch, list(view_changes))
    if isinstance(outcome, Contradiction):
        return outcome.reason
    names = {header.hash: name for name, header in lab.headers.items()}
    return outcome.base.height, [names[entry.block_hash] for entry in outcome.entries]


def test_vector_1_a_decided_head_covers_the_pcs_below_it(lab: ReplicaLab) -> None:
    assert plan(lab, vc(lab, 0, TEN, (3, X)), vc(lab, 1, TEN), vc(lab, 2, X)) == (11, [])


def test_vector_2_the_higher_view_wins_and_cuts_the_other_branch(lab: ReplicaLab) -> None:
    assert plan(lab, vc(lab, 0, TEN, (3, X), (3, Y)), vc(lab, 1, TEN, (4, Z)), vc(lab, 2, TEN)) == (10, [Z])


def test_vector_3_nothing_is_proposed_again_above_a_gap(lab: ReplicaLab) -> None:
    assert plan(lab, vc(lab, 0, TEN, (3, Y)), vc(lab, 1, TEN), vc(lab, 2, TEN)) == (10, [])


def test_vector_4_two_pcs_of_one_view_halt_the_channel(lab: ReplicaLab) -> None:
    reason = plan(lab, vc(lab, 0, TEN, (3, X)), vc(lab, 1, TEN, (3, Z)), vc(lab, 2, TEN))
    assert reason == "two blocks are prepared at height 11 in view 3"


def test_vector_5_nothing_follows_an_undecided_barrier(lab: ReplicaLab) -> None:
    barrier = TEN + "X"
    assert plan(lab, vc(lab, 0, TEN, (3, barrier), (3, barrier + "y")), vc(lab, 1, TEN), vc(lab, 2, TEN)) == (
        10,
        [barrier],
    )


def test_vector_6_a_pc_without_a_quorum_voids_its_view_change_and_no_other(lab: ReplicaLab) -> None:
    whole = lab.prepared(3, X, QUORUM)
    short = msgspec.structs.replace(whole, bitmap=b"\x03", signatures=whole.signatures[:2])
    repeated = msgspec.structs.replace(short, signatures=[*short.signatures, short.signatures[0]])
    twice = msgspec.structs.replace(whole, signatures=[whole.signatures[0]] * 3)
    for broken in (short, repeated, twice):
        message = lab.view_change(0, VIEW, last=(TEN, lab.certificate(2, TEN, QUORUM)), prepared=[(X, broken)])
        with pytest.raises(InvalidMessage, match="certificate"):
            check_view_change(epoch_of(lab), message)
    check_view_change(epoch_of(lab), vc(lab, 1, TEN, (3, X)))


def test_vector_6_below_a_quorum_there_is_no_new_view(lab: ReplicaLab) -> None:
    two = [lab.view_change(0, VIEW), lab.view_change(1, VIEW)]
    with pytest.raises(InvalidMessage, match="not 3"):
        check_new_view(epoch_of(lab), lab.new_view(VIEW, two, []))


def test_vector_7_two_view_changes_of_one_voter_are_no_quorum(lab: ReplicaLab) -> None:
    chosen = [lab.view_change(0, VIEW), lab.view_change(1, VIEW), vc(lab, 1, TEN)]
    with pytest.raises(InvalidMessage, match="distinct"):
        check_new_view(epoch_of(lab), lab.new_view(VIEW, chosen, []))


def test_vector_8_a_view_change_of_another_epoch_or_chain_voids_the_new_view(lab: ReplicaLab) -> None:
    good = [lab.view_change(0, VIEW), lab.view_change(1, VIEW)]
    with pytest.raises(InvalidMessage, match="epoch"):
        check_new_view(epoch_of(lab), lab.new_view(VIEW, [*good, lab.view_change(2, VIEW, epoch=1)], []))
    other = ReplicaLab(honest=())
    other.chain_id = bytes(32)
    with pytest.raises(InvalidMessage, match="does not verify"):
        check_new_view(epoch_of(lab), lab.new_view(VIEW, [*good, other.view_change(2, VIEW)], []))


@pytest.mark.parametrize("entries", [[], [Y, X], [X], [X, Z]])
def test_vector_9_a_wrong_o_is_proof_against_the_primary(entries: list[str]) -> None:
    """FISCO FIB-124, bug B9: a NEW-VIEW was not checked against the VIEW-CHANGEs in it. Amendment L12."""
    lab = ReplicaLab(honest=(0,))
    lab.change_view(VIEW, 0)
    base = TEN
    top = lab.certificate(2, base, QUORUM)
    pcs = [(X, lab.prepared(3, X, QUORUM)), (Y, lab.prepared(3, Y, QUORUM))]
    chosen = [lab.view_change(voter, VIEW, last=(base, top), prepared=pcs) for voter in (1, 2, 3)]
    lab.deliver(lab.new_view(VIEW, chosen, entries), 0)
    assert [evidence.kind for evidence in lab[0].evidence] == [EvidenceKind.INVALID_NEW_VIEW]
    assert lab[0].replica.status().view == 0
    # -> SUSPECT(v'+1), nothing more: a lone node does not leave the view.
    assert [message.new_view for message in lab[0].all_sent(Suspect)][-1:] == [VIEW + 1]
    assert lab[0].replica.status().target == VIEW


def test_a_wrong_new_view_for_a_view_nobody_asked_for_is_evidence_and_moves_nobody() -> None:
    """One liar is primary of every n-th view up to the last one there is: following it there would be for ever."""
    lab = ReplicaLab(honest=(0,))
    last = 2**63 - 1
    assert lab.primary(last) == 3
    for view in (3, last):
        lab.deliver(lab.new_view(view, [lab.view_change(v, 1) for v in (1, 2, 3)], []), 0)
        assert lab[0].all_sent(Suspect) == [] and lab[0].replica.status().target == 0
    assert [evidence.voter for evidence in lab[0].evidence] == [3]


def test_a_new_view_that_its_primary_did_not_sign_proves_nothing() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(VIEW, 0)
    message = lab.new_view(VIEW, [lab.view_change(v, VIEW) for v in (1, 2, 3)], [X])
    forged = msgspec.structs.replace(message, signature=lab.suspect(2, 9).signature)
    lab.deliver(forged, 0, link=2)
    assert lab[0].evidence == [] and lab[0].all_sent(Suspect) == []


def test_the_right_o_is_accepted(lab: ReplicaLab) -> None:
    chosen = [vc(lab, 1, TEN, (3, X), (4, Y)), vc(lab, 2, TEN, (1, X)), vc(lab, 3, TEN)]
    outcome = check_new_view(epoch_of(lab), lab.new_view(VIEW, chosen, [X, Y]))
    assert isinstance(outcome, Plan) and len(outcome.entries) == 2


def test_a_replica_that_has_not_seen_the_window_grow_accepts_what_follows_from_the_wider_one() -> None:
    """W changes by a barrier inside an epoch: validity may not depend on whether a replica has that block (A5)."""
    lab = ReplicaLab(honest=(0,), window=1)
    lab.change_view(VIEW, 0)
    top = lab.certificate(2, TEN, QUORUM)
    pcs = [(X, lab.prepared(3, X, QUORUM)), (Y, lab.prepared(3, Y, QUORUM))]
    chosen = [lab.view_change(voter, VIEW, last=(TEN, top), prepared=pcs) for voter in (1, 2, 3)]
    lab.deliver(lab.new_view(VIEW, chosen, [X, Y]), 0)
    assert lab[0].evidence == []
    assert lab[0].replica.status().view == VIEW


def test_the_primarys_own_view_change_must_be_among_them(lab: ReplicaLab) -> None:
    assert lab.primary(VIEW) == 1
    chosen = [lab.view_change(voter, VIEW) for voter in (0, 2, 3)]
    with pytest.raises(InvalidMessage, match="own VIEW-CHANGE"):
        check_new_view(epoch_of(lab), lab.new_view(VIEW, chosen, []))


def test_two_heads_at_one_height_halt_the_channel(lab: ReplicaLab) -> None:
    reason = plan(lab, vc(lab, 0, X), vc(lab, 1, Z), vc(lab, 2, TEN))
    assert reason == "two blocks or results are decided at height 11"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("a PC of the new view itself", {"prepared_view": VIEW}),
        ("a PC above the window", {"prepared_name": TEN + "bcdef"}),
        ("a PC below the head", {"prepared_name": "aaaaa"}),
        ("fewer wishes than a quorum", {"wishes": (0, 1)}),
        ("wishes for a lower view", {"wish_view": VIEW - 1}),
    ],
)
def test_an_invalid_view_change_is_void(lab: ReplicaLab, what: str, change: dict[str, object]) -> None:
    name = str(change.get("prepared_name", X))
    view = int(str(change.get("prepared_view", 3)))
    voters = change.get("wishes", QUORUM)
    assert isinstance(voters, tuple)
    message = lab.view_change(
        0,
        VIEW,
        last=(TEN, lab.certificate(2, TEN, QUORUM)),
        prepared=[(name, lab.prepared(view, name, QUORUM))],
        suspects=lab.suspects(int(str(change.get("wish_view", VIEW))), voters),
    )
    with pytest.raises(InvalidMessage):
        check_view_change(epoch_of(lab), message)


def test_a_view_change_signed_by_another_is_void(lab: ReplicaLab) -> None:
    message = msgspec.structs.replace(lab.view_change(0, VIEW), voter=1)
    with pytest.raises(InvalidMessage, match="does not verify"):
        check_view_change(epoch_of(lab), message)


def test_a_new_view_below_the_target_or_the_view_is_dropped() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(3, 0)
    two = lab.new_view(2, [lab.view_change(v, 2) for v in (1, 2, 3)], [])
    lab.deliver(two, 0)
    assert lab[0].replica.status().view == 0
    three = lab.new_view(3, [lab.view_change(v, 3) for v in (1, 2, 3)], [])
    lab.deliver(three, 0)
    assert lab[0].replica.status().view == 3
    assert isinstance(lab.new_view(4, [], []), NewView)
