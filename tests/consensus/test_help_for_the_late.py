"""Who is late is helped with exactly what is missing (amendments L3, L4; consensus.md 1.7)."""

from __future__ import annotations

from dawan_node.consensus.messages import Decision, Status, ViewChange
from dawan_node.testing.replica_lab import ReplicaLab


def test_a_decision_far_above_the_head_only_says_what_to_fetch() -> None:
    lab = ReplicaLab(honest=(0,))
    name = "far"
    lab.headers[name] = header = lab.block(name, parent="", height=100)
    message = Decision(header, lab.result(header), (), lab.certificate(0, name, (1, 2, 3)), ())
    lab.deliver(message, 0, link=3)
    assert lab[0].replica._state.chain.proven == {} and lab[0].replica._state.chain.certificates == {}
    lab.tick(1_000)
    assert lab[0].syncs[-1].height == 100 and lab[0].syncs[-1].holders == (1, 2, 3)


def test_whoever_is_in_the_same_view_change_is_sent_the_view_changes_it_lacks() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(2, 0)
    lab.deliver(lab.view_change(1, 2), 0)
    lab[0].sent.clear()
    held = (1 << 3) | (1 << 0)
    lab.now += 1_000
    lab.deliver(Status(0, 0, 2, 0, lab.chain_id, (), bytes([held])), 0, link=2)
    assert [message.voter for message in lab[0].all_sent(ViewChange)] == [1]
    lab[0].sent.clear()
    lab.now += 1_000
    lab.deliver(Status(0, 0, 1, 0, lab.chain_id, (), b"\x00"), 0, link=2)  # no target yet: mine takes it along
    assert [message.voter for message in lab[0].all_sent(ViewChange)] == [0]
    lab[0].sent.clear()
    lab.now += 1_000
    lab.deliver(Status(0, 0, 3, 0, lab.chain_id, (), b"\x00"), 0, link=2)  # it is further than I am
    assert lab[0].all_sent(ViewChange) == []


def test_a_malformed_chain_of_headers_is_refused_with_one_alarm_and_decided_when_a_quorum_wanted_it() -> None:
    lab = ReplicaLab(honest=(1,))
    wrong = lab.block("a", epoch=0, timestamp_ms=lab.config.created_ms)
    lab.headers["a"] = wrong
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.tick(500)
    assert lab[1].records == []
    assert sum(alarm.kind.value == "proposal_refused" for alarm in lab[1].alarms) == 1
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    assert lab[1].replica.height == 1
