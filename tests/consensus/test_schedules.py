"""The five schedules of the amendments, section 4, against real replicas; validator Z signs everything.

Each is a fork of some earlier wording of the protocol. The step in which that fork begins must be refused.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from dawan_node.consensus import ChannelRules, Record, RecordKind, SlotGuard, Statement, VoteKind
from dawan_node.consensus.messages import Commit, NewView, Prepare, ViewChange
from dawan_node.consensus.records import DecidedRecord
from dawan_node.consensus.verification import Verifier
from dawan_node.consensus.view_change import Epoch, Plan, plan_of
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import SigningRefused
from dawan_node.primitives.block import Result
from dawan_node.primitives.certificate import commit_vote_bytes, prepare_vote_bytes
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import fake_verify, test_keys


def names_of(lab: ReplicaLab, new_view: NewView) -> list[str]:
    """The O of a NEW-VIEW, as block names."""
    epoch = Epoch(lab.chain_id, 0, lab.validators, 4, 0, lab.chain_id, Verifier(lab.chain_id, fake_verify))
    plan = plan_of(epoch, [ViewChange.decode(data) for data in new_view.view_changes])
    assert isinstance(plan, Plan)
    by_hash = {header.hash: name for name, header in lab.headers.items()}
    return [by_hash[entry.block_hash] for entry in plan.entries]


def test_u1_a_commit_sent_in_an_older_view_does_not_count_as_in_order() -> None:
    lab = ReplicaLab()
    lab.propose(0, "a")
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [0], [1, 3])
    assert lab[0].votes(Commit) == [(0, 1, lab.block("a").hash)]  # C0a; nobody hears of it

    lab.change_view(1, 1, 2)  # V1 V2
    lab.deliver(lab.view_change_of(2), 1)
    lab.deliver(lab.view_change(3, 1), 1)
    opening = lab[1].all_sent(NewView)[-1]
    assert names_of(lab, opening) == []
    lab.deliver(opening, 0, 2)  # E0 E1 (and 2)

    lab.propose(1, "b")
    lab.propose(1, "bb")
    for name in ("b", "bb"):
        lab.deliver(lab.pre_prepare(1, name), 0)
    assert (1, 2, lab.block("bb").hash) in lab[0].votes(Prepare)
    for name in ("b", "bb"):
        lab.prepare_everywhere(1, name, [1], [0, 3])
    assert {(1, 1, lab.block("b").hash), (1, 2, lab.block("bb").hash)} <= set(lab[1].votes(Commit))

    lab.prepare_everywhere(1, "bb", [0], [1, 3])  # those for 1:b are late
    assert all(view == 0 for view, _, _ in lab[0].votes(Commit)), "C0bb must be refused"

    lab.change_view(2, 0, 2)
    lab.deliver(lab.view_change_of(0), 2)
    lab.deliver(lab.view_change(3, 2), 2)
    assert names_of(lab, lab[2].all_sent(NewView)[-1]) == ["a"]


def test_u1_the_late_prepares_let_both_commits_go_in_order() -> None:
    lab = ReplicaLab()
    lab.propose(0, "a")
    lab.propose(0, "ab")
    for name in ("a", "ab"):
        lab.deliver(lab.pre_prepare(0, name), 1)
    lab.prepare_everywhere(0, "ab", [1], [0, 3])
    assert lab[1].votes(Commit) == []
    lab.prepare_everywhere(0, "a", [1], [0, 3])
    assert [height for _, height, _ in lab[1].votes(Commit)] == [1, 2]


def u2_start() -> ReplicaLab:
    """Up to D1b: 1:b is decided at 0 and 1, 2:ba only at Z, which holds 0's and 2's COMMITs."""
    lab = ReplicaLab()
    for name in ("b", "ba"):
        lab.propose(0, name)
        lab.deliver(lab.pre_prepare(0, name), 2)
        lab.prepare_everywhere(0, name, [0, 2], [0, 2, 3])
    assert [height for _, height, _ in lab[2].votes(Commit)] == [1, 2]
    lab.deliver(lab.pre_prepare(0, "b"), 1)
    for receiver in (0, 1):
        for voter in (0, 2, 3):
            if voter != receiver:
                lab.deliver(lab.commit(voter, 0, "b"), receiver)
    assert (lab[0].replica.height, lab[1].replica.height) == (1, 1)
    lab.change_view(4, 0, 1)
    return lab


def test_u2_nothing_is_voted_for_at_or_below_the_floor_of_a_view() -> None:
    lab = u2_start()
    lying = lab.view_change(3, 4, last=("ba", lab.certificate(0, "ba", [0, 2, 3])))
    opening = lab.new_view(4, [lab.view_change_of(0), lab.view_change_of(1), lying], [])
    lab[1].withheld.add(lab.block("ba").hash)
    lab.deliver(opening, 1)  # E1: replica 1 knows neither ba nor its bodies
    assert (lab[1].replica.status().view, lab[1].replica.height) == (4, 1)
    lab.deliver(lab.pre_prepare(4, "bb"), 1)
    assert all(view != 4 for view, _, _ in lab[1].votes(Prepare)), "P1bb must be refused"
    lab.deliver(lab.pre_prepare(4, "bac"), 1)
    assert all(view != 4 for view, _, _ in lab[1].votes(Prepare)), "no vote above the floor before it is decided"
    lab.tick(3_000, 1)
    assert lab[1].syncs and lab[1].syncs[-1].height == 2


def test_u2_the_primary_opens_the_view_only_on_top_of_the_base() -> None:
    lab = ReplicaLab()
    for name in ("b", "ba"):
        lab.block(name)
    lab.decide(0, "b", [1], [0, 2, 3])
    lying = lab.view_change(3, 1, last=("ba", lab.certificate(0, "ba", [0, 2, 3])))
    lab[1].withheld.add(lab.block("ba").hash)
    lab.deliver(lying, 1)
    lab.deliver(lab.view_change(2, 1), 1)
    assert lab[1].replica.status().target == 1
    assert lab[1].replica.proposal_slot() is None and not lab[1].all_sent(NewView)
    lab.give_bodies(1, lab.block("ba").hash)
    assert lab[1].replica.height == 2 and len(lab[1].all_sent(NewView)) == 1
    slot = lab[1].replica.proposal_slot()
    assert slot is not None and slot.height == 3


def test_u3_nothing_is_accepted_above_a_barrier_that_changes_the_set() -> None:
    lab = ReplicaLab(n=4)
    keys = test_keys(7)
    new_set = ValidatorSet([(ED25519, keys[index].public_key) for index in (0, 3, 4, 5)])
    barrier = lab.block("A")
    lab.next_rules[barrier.hash] = ChannelRules(new_set, 4, 1_000, 4 * 1024 * 1024)
    lab.deliver(lab.pre_prepare(0, "A"), 1, 2)
    lab.prepare_everywhere(0, "A", [1, 2], [0, 1, 2, 3])
    assert lab[1].votes(Commit) == [(0, 1, barrier.hash)]
    lab.deliver(lab.pre_prepare(0, "Ab"), 1, 2)
    assert lab[1].votes(Prepare) == [(0, 1, barrier.hash)], "nothing above an undecided barrier"

    certificate = lab.certificate(0, "A", [0, 1, 3])
    lab.change_view(3, 1, 2)
    lying = lab.view_change(3, 3, last=("A", certificate))
    opening = lab.new_view(3, [lab.view_change_of(1), lab.view_change_of(2), lying], [])
    lab.deliver(opening, 1, 2)
    for index in (1, 2):  # the base's certificate decides it, and the epoch with it
        status = lab[index].replica.status()
        assert (status.height, status.epoch, status.own_index) == (1, 1, None)
    lab.deliver(lab.pre_prepare(3, "Ab"), 1, 2)
    assert all(height == 1 for index in (1, 2) for _, height, _ in lab[index].votes(Prepare)), "P1Ab P2Ab"


def test_u3_a_view_whose_base_is_an_undecided_barrier_stays_shut() -> None:
    lab = ReplicaLab(n=4)
    barrier = lab.block("A")
    lab[1].withheld.add(barrier.hash)
    lab.change_view(3, 1)
    lying = lab.view_change(3, 3, last=("A", lab.certificate(0, "A", [0, 2, 3])))
    lab.deliver(lab.new_view(3, [lab.view_change_of(1), lab.view_change(2, 3), lying], []), 1)
    lab.deliver(lab.pre_prepare(3, "Ab"), 1)
    assert lab[1].votes(Prepare) == []
    assert lab[1].replica.status().waiting_for == "blocks up to height 1"


def test_u5_a_commit_keeps_its_block_through_a_crash_and_a_view_change() -> None:
    lab = ReplicaLab()
    lab.propose(0, "a")
    lab.deliver(lab.pre_prepare(0, "a"), 1, 2)
    lab.prepare_everywhere(0, "a", [0, 1], [0, 2, 3])
    assert lab[1].votes(Commit) == [(0, 1, lab.block("a").hash)]
    lab.start(1, lab[1].records)  # X1

    lab.change_view(1, 1, 2)
    lab.deliver(lab.view_change_of(2), 1)
    lab.deliver(lab.view_change(3, 1), 1)
    assert names_of(lab, lab[1].all_sent(NewView)[-1]) == ["a"]


def test_u5_every_vote_record_names_the_block_whose_bodies_must_be_durable() -> None:
    lab = ReplicaLab()
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    pins = [(record.kind, record.block_hash) for record in lab[0].records if record.pins]
    block_hash = lab.block("a").hash
    assert pins == [(RecordKind.PREPARE, block_hash), (RecordKind.COMMIT, block_hash)]


def test_u6_with_its_log_a_node_keeps_its_promise() -> None:
    lab = ReplicaLab(honest=(0, 1, 3))
    lab.change_view(2, 0, 1)
    for index in (0, 1):
        lab.start(index, lab[index].records)
        assert lab[index].replica.status().target == 2
    assert lab[0].replica.proposal_slot() is None, "P0a in view 0 must be refused"
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    assert lab[1].votes(Prepare) == []
    assert lab[1].alarms == [], "by the replica, not only by the guard"


def test_u6_without_its_log_a_node_is_an_observer_and_votes_for_nothing() -> None:
    lab = ReplicaLab(honest=(1, 3))
    lab.observe(0)
    lab.deliver(lab.pre_prepare(0, "a"), 0)
    lab.prepare_everywhere(0, "a", [0], [1, 2, 3])
    assert lab[0].sent == [] or all(not isinstance(m, Prepare | Commit) for m in lab[0].sent)
    for voter in (1, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.height == 1  # but it follows


def test_u6_a_vote_of_mine_that_i_did_not_write_stops_me() -> None:
    lab = ReplicaLab()
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.deliver(lab.prepare(1, 0, "b"), 1, link=3)
    assert lab[1].replica.status().state == "halted"
    assert lab[1].records[-1].kind is RecordKind.HALTED


def test_u7_the_guard_keeps_floor_promise_slots_and_results() -> None:
    lab = ReplicaLab()
    lab.propose(0, "a")
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [0, 3])
    lab.change_view(6, 1)
    guard = SlotGuard(lab.chain_id)
    guard.restore(lab[1].records)
    assert guard.promise(0) == 6
    with pytest.raises(SigningRefused, match="view 6 was promised"):
        guard.check(prepare_statement(lab, 5, "z"))
    assert guard.check(prepare_statement(lab, 6, "z")) is None
    guard.signed(prepare_statement(lab, 6, "z"), bytes(64))
    assert guard.check(prepare_statement(lab, 6, "z")) == bytes(64), "the same again gets the same"
    with pytest.raises(SigningRefused, match="another PREPARE"):
        guard.check(prepare_statement(lab, 6, "a"))
    with pytest.raises(SigningRefused, match="another result"):
        guard.check(commit_statement(lab, 6, "a", junk=True))
    assert guard.check(commit_statement(lab, 6, "a")) is None


def test_u7_below_the_floor_only_the_decided_block_is_signed_for() -> None:
    lab = ReplicaLab(honest=())
    guard = SlotGuard(lab.chain_id)
    header = lab.block("ab")
    guard.decided(0, header.height, header.hash, lab.result(header).hash)
    assert guard.floor == 2
    for name in ("a", "z", "zz"):
        with pytest.raises(SigningRefused, match="is decided"):
            guard.check(prepare_statement(lab, 1, name))
    assert guard.check(prepare_statement(lab, 1, "ab")) is None
    assert guard.check(commit_statement(lab, 1, "ab")) is None
    with pytest.raises(SigningRefused, match="another result"):
        guard.check(commit_statement(lab, 1, "ab", junk=True))


def test_u3_a_guard_that_read_of_the_end_of_an_epoch_signs_nothing_more_in_it() -> None:
    """A checkpoint after a barrier holds the barrier and no vote of the new epoch yet."""
    lab = ReplicaLab(honest=(0,))
    header, result = lab.block("A"), lab.result(lab.block("A"))
    ended = Result(1, header.hash, result.parent_result_hash, result.state_root, result.receipts_root, bytes(32))
    record = DecidedRecord(header, ended, (), lab.certificate(0, "A", [0, 1, 2])).encode()
    guard = SlotGuard(lab.chain_id)
    guard.restore([Record(RecordKind.SYNCED, record)])
    data = prepare_vote_bytes(lab.chain_id, 0, 0, 2, bytes(32))
    with pytest.raises(SigningRefused, match="after epoch 1 began"):
        guard.check(Statement(VoteKind.PREPARE, 0, 0, 2, bytes(32), b"", data))


def test_the_guard_signs_no_bytes_but_those_of_the_statement() -> None:
    lab = ReplicaLab(honest=())
    guard = SlotGuard(lab.chain_id)
    honest = prepare_statement(lab, 0, "a")
    with pytest.raises(SigningRefused, match="do not say"):
        guard.check(replace(honest, data=prepare_statement(lab, 0, "b").data))


def prepare_statement(lab: ReplicaLab, view: int, name: str) -> Statement:
    header = lab.block(name)
    data = prepare_vote_bytes(lab.chain_id, 0, view, header.height, header.hash)
    return Statement(VoteKind.PREPARE, 0, view, header.height, header.hash, b"", data)


def commit_statement(lab: ReplicaLab, view: int, name: str, junk: bool = False) -> Statement:
    header = lab.block(name)
    result_hash = lab.result(header, junk).hash
    data = commit_vote_bytes(lab.chain_id, 0, view, header.height, header.hash, result_hash)
    return Statement(VoteKind.COMMIT, 0, view, header.height, header.hash, result_hash, data)
