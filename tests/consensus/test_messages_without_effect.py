"""What is late, early, said twice or not this replica's business changes nothing (consensus.md 1.15: handlers are
total)."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.consensus import Mode
from dawan_node.consensus.messages import Commit, Prepare, PrePrepare, ProposalRequest, Status, ViewChange
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidMessage
from dawan_node.testing.replica_lab import ReplicaLab

replace = msgspec.structs.replace


def quiet(lab: ReplicaLab, index: int) -> tuple[int, int, object]:
    bench = lab[index]
    return len(bench.sent), len(bench.records), bench.replica.status()


def test_the_same_vote_twice_counts_once() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    for _ in range(3):
        lab.deliver(lab.prepare(2, 0, "a"), 1)
        lab.deliver(lab.commit(2, 0, "a"), 1)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    (first,) = lab[1].replica.status().in_flight
    assert lab[1].replica.height == 0 and first.phase == "commit"
    assert lab[1].evidence == []


@pytest.mark.parametrize(
    "change",
    [{"epoch": 1}, {"view": 1}, {"height": 2}, {"height": 2**63 - 1}, {"block_hash": sha256(b"another")}],
    ids=str,
)
def test_a_request_for_a_proposal_i_do_not_hold_is_not_answered(change: dict[str, object]) -> None:
    lab = ReplicaLab(honest=(0,))
    header = lab.propose(0, "a")
    request = ProposalRequest(0, 0, 1, header.hash)
    before = len(lab[0].sent)
    lab.deliver(replace(request, **change), 0, link=1)
    lab.deliver(request, 0, link=None)
    assert len(lab[0].sent) == before
    lab.deliver(request, 0, link=1)
    to, message = lab[0].addressed[-1]
    assert to == (1,) and isinstance(message, PrePrepare) and message.header == header


def test_a_block_brought_again_is_not_passed_on_as_its_primarys_proposal() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(1, 0)
    prepared = [("a", lab.prepared(0, "a", (1, 2, 3)))]
    changes = [lab.view_change(voter, 1, prepared=prepared) for voter in (1, 2, 3)]
    lab.deliver(lab.new_view(1, changes, ["a"]), 0)
    before = len(lab[0].sent)
    lab.deliver(ProposalRequest(0, 1, 1, lab.block("a").hash), 0, link=2)
    assert len(lab[0].sent) == before


def test_votes_at_and_below_the_head_and_of_forgotten_views_are_dropped() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.decide(0, "a", (1,), (0, 2, 3))
    assert lab[1].replica.height == 1
    before = quiet(lab, 1)
    lab.deliver(lab.prepare(2, 0, "a"), 1)
    lab.deliver(lab.commit(2, 0, "a", junk=True), 1)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.deliver(replace(lab.prepare(2, 0, "ab"), voter=63), 1, link=2)
    assert quiet(lab, 1) == before
    assert lab[1].evidence == []


def test_messages_of_another_epoch_are_answered_with_where_i_am_but_only_on_a_validators_link() -> None:
    lab = ReplicaLab(honest=(1,))
    for link in (None, 1, 63):
        lab[1].replica.step(replace(lab.prepare(2, 0, "a"), epoch=3), link, lab.now)
    lab.pump(1)
    assert lab[1].sent == []
    lab.deliver(replace(lab.commit(2, 0, "a"), epoch=3), 1)
    assert [type(message) for message in lab[1].sent] == [Status]
    lab.deliver(replace(lab.commit(2, 0, "a"), epoch=3), 1)
    assert len(lab[1].sent) == 1  # once per half second: nobody is an amplifier


def test_a_status_of_no_validator_or_of_my_own_index_tells_nothing() -> None:
    lab = ReplicaLab(honest=(1,))
    status = Status(0, 0, 0, 50, sha256(b"far"), (), b"\x00")
    for link in (1, 4, 99):
        lab[1].replica.step(status, link, lab.now)
    lab[1].replica.step(status, None, lab.now)
    lab.pump(1)
    lab.tick(5_000)
    assert lab[1].syncs == []


def test_answers_about_blocks_that_are_gone_or_known_change_nothing() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    before = quiet(lab, 1)
    header = lab.block("a")
    lab[1].replica.acquired(header.hash, False, "too late: they were judged already")
    lab[1].replica.acquired(sha256(b"unknown"), True)
    lab[1].replica.executed(sha256(b"unknown"), lab.result(header))
    lab[1].replica.executed(header.hash, lab.result(header))
    lab.pump(1)
    assert quiet(lab, 1) == before


def test_a_slot_that_is_gone_is_not_proposed_at() -> None:
    lab = ReplicaLab(honest=(0,))
    slot = lab[0].replica.proposal_slot()
    assert slot is not None
    lab.propose(0, "a")
    assert lab.propose_at(0, slot, "x") is None
    assert len(lab[0].all_sent(PrePrepare)) == 1


def test_an_encoded_message_of_another_kind_is_no_view_change() -> None:
    lab = ReplicaLab(honest=())
    with pytest.raises(InvalidMessage, match="not a VIEW-CHANGE"):
        ViewChange.decode(lab.suspect(1, 1).encode())


def test_an_observer_signs_nothing_and_names_what_it_waits_for() -> None:
    lab = ReplicaLab(honest=(0,))
    bench = lab.observe(7)
    lab.deliver(lab.pre_prepare(0, "a"), 7)
    lab.prepare_everywhere(0, "a", (7,), (0, 1, 2))
    lab.tick(30_000, 7)
    assert bench.votes(Prepare) == [] and bench.votes(Commit) == [] and bench.records == []
    assert bench.replica.status().state is Mode.OBSERVER
    assert bench.replica.proposal_slot() is None


def test_a_certificate_for_bodies_this_node_refuses_is_an_alarm_and_no_decision() -> None:
    lab = ReplicaLab(honest=(1,))
    header = lab.block("a")
    lab[1].withheld.add(header.hash)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    lab.give_bodies(1, header.hash, ok=False, reason="a nonce is used twice")
    assert {alarm.kind.value for alarm in lab[1].alarms} == {"certified_refused", "proposal_refused"}
    assert lab[1].replica.height == 0


def test_a_replica_alone_greets_nobody() -> None:
    lab = ReplicaLab(1, honest=(0,))
    lab[0].replica.link_up(0, lab.now)
    lab.tick(10_000)
    assert lab[0].sent == [] and lab[0].replica.next_deadline() is None
