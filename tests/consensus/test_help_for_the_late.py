"""Who is late is helped with exactly what is missing (amendments L3, L4; consensus.md 1.7)."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.consensus import ChannelRules, RecordKind
from dawan_node.consensus.messages import Commit, Decision, Status, ViewChange
from dawan_node.consensus.records import PrepareRecord
from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.cluster import Cluster
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import test_keys
from tests.long_and_short import seeds

PATH = ["abcdefghij"[:length] for length in range(1, 11)]


def commit_at(lab: ReplicaLab, voter: int, height: int) -> Commit:
    lab.headers["far"] = lab.block("far", parent="", height=height)
    return lab.commit(voter, 0, "far")


def status_at(lab: ReplicaLab, height: int) -> Status:
    block_hash = lab.block(PATH[height - 1]).hash if 0 < height <= len(PATH) else lab.chain_id
    return Status(0, 0, 0, height, block_hash, (), b"\x00")


def help_from(lab: ReplicaLab, index: int) -> list[int]:
    heights = [message.header.height for message in lab[index].all_sent(Decision)]
    lab[index].sent.clear()
    return heights


def decision_of(lab: ReplicaLab, name: str) -> Decision:
    header = lab.block(name)
    return Decision(header, lab.result(header), (), lab.certificate(0, name, (0, 2, 3)), lab.leaves(name))


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


@pytest.mark.parametrize("seed", seeds(4, 100))
@pytest.mark.parametrize("between_ms", [20, 45])
def test_who_comes_back_to_a_busy_channel_votes_there_within_three_seconds(between_ms: int, seed: int) -> None:
    """A range brought it to where the others had been, one round of help a second; it stayed as far behind as they came
    in that time, for minutes. So the channel had no spare although all its validators ran."""
    cluster = Cluster(4, seed=seed)
    cluster.submit(3)
    cluster.run(300)
    cluster.crash(3)
    for _ in range(4_000 // between_ms):
        cluster.submit(5)
        cluster.run(between_ms)
    begin, height = cluster.now, cluster.nodes[0].height
    assert height > 100
    cluster.start(3)

    def has_voted() -> bool:
        votes = [record.payload for record in cluster.nodes[3].log if record.kind is RecordKind.PREPARE]
        return any(PrepareRecord.decode(vote).header.height > height for vote in votes)

    while not has_voted():
        assert cluster.now < begin + 3_000, cluster.heights
        cluster.submit(5)
        cluster.run(between_ms)


def test_votes_above_all_that_is_kept_say_at_once_where_their_authors_are() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(commit_at(lab, 0, 50), 1)
    assert lab[1].syncs == [], "one may lie"
    lab.deliver(commit_at(lab, 3, 40), 1, link=0)
    assert lab[1].syncs == [], "a vote says nothing of who passes it on"
    lab.deliver(commit_at(lab, 3, 40), 1)
    assert [(request.height, request.holders) for request in lab[1].syncs] == [(36, (0, 3))]


def test_a_vote_that_may_count_here_says_nothing_of_its_authors_head() -> None:
    lab = ReplicaLab(honest=(1,))
    for voter in (0, 2):
        lab.deliver(commit_at(lab, voter, 8), 1)
    lab.tick(2_500, 1)
    assert lab[1].syncs == []


def test_a_liars_votes_far_above_do_not_make_the_honest_talk() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(commit_at(lab, 0, 2**40), 1)
    lab[1].sent.clear()
    lab.decide(0, "a", [1], (0, 2, 3))
    assert lab[1].all_sent(Status) == []


def test_who_was_brought_forward_by_help_is_helped_again_at_once_and_nobody_else() -> None:
    lab = ReplicaLab(honest=(1,))
    for name in PATH[:8]:
        lab.decide(0, name, [1], (0, 2, 3))
    lab[1].sent.clear()
    lab.deliver(status_at(lab, 0), 1, link=0)
    assert help_from(lab, 1) == [1, 2, 3, 4]
    lab.deliver(status_at(lab, 3), 1, link=0)
    assert help_from(lab, 1) == [], "W blocks are one help"
    lab.deliver(status_at(lab, 4), 1, link=0)
    assert help_from(lab, 1) == [5, 6, 7, 8]
    for height in (4, 0, 8, 2**40, 4):
        lab.deliver(status_at(lab, height), 1, link=0)
    assert help_from(lab, 1) == [], "the same height again is no progress, and who is level needs nothing"
    lab.tick(500, 1)
    lab[1].sent.clear()
    lab.deliver(status_at(lab, 4), 1, link=0)
    assert help_from(lab, 1) == [5, 6, 7, 8]


def test_who_was_brought_forward_by_help_says_so_to_all_that_are_further() -> None:
    lab = ReplicaLab(honest=(1,))
    for link in (0, 2, 3):
        lab.deliver(status_at(lab, 4), 1, link=link)
    for name in PATH[:3]:
        lab.deliver(decision_of(lab, name), 1, link=0)
    lab[1].addressed.clear()
    for link, height in ((0, 8), (3, 7)):
        lab.deliver(status_at(lab, height), 1, link=link)
    assert lab[1].addressed == [], "they have heard of me already"
    lab.deliver(decision_of(lab, PATH[3]), 1, link=0)
    told = [(to, message.height) for to, message in lab[1].addressed if isinstance(message, Status)]
    assert told == [((0,), 4), ((3,), 4)]


def test_nobody_is_told_of_every_block_that_a_range_brings() -> None:
    lab = ReplicaLab(honest=(1,))
    for link in (0, 2, 3):
        lab.deliver(status_at(lab, 9), 1, link=link)
    assert [request.height for request in lab[1].syncs] == [9]
    lab.deliver(Status(0, 0, 0, 14, bytes(32), (), b"\x00"), 1, link=0)
    lab.deliver(Status(0, 0, 0, 12, bytes(32), (), b"\x00"), 1, link=2)
    lab[1].sent.clear()
    for name in PATH[:8]:
        lab.deliver(decision_of(lab, name), 1, link=0)
    assert lab[1].all_sent(Status) == []
    lab.deliver(decision_of(lab, PATH[8]), 1, link=0)
    assert [request.height for request in lab[1].syncs] == [9]
    assert [message.height for message in lab[1].all_sent(Status)] == [9, 9]


def test_votes_far_above_count_anew_in_a_new_epoch() -> None:
    """An index names another validator there."""
    lab = ReplicaLab(honest=(1,))
    keys = test_keys(7)
    new = ValidatorSet([(ED25519, keys[index].public_key) for index in (0, 1, 4, 5)])
    lab.next_rules[lab.block("A").hash] = ChannelRules(new, 4, 1_000, 4 * 1024 * 1024)
    own = new.index_of(keys[1].public_key)
    first, second, *_ = [index for index in range(4) if index != own]
    lab.deliver(commit_at(lab, second, 50), 1)
    lab.deliver(decision_of(lab, "A"), 1, link=2)
    assert lab[1].replica.status().epoch == 1
    lab[1].syncs.clear()
    lab.deliver(msgspec.structs.replace(commit_at(lab, first, 60), epoch=1), 1)
    assert lab[1].syncs == []
    lab.deliver(msgspec.structs.replace(commit_at(lab, second, 70), epoch=1), 1)
    assert [request.height for request in lab[1].syncs] == [56]
    assert {first, second} <= set(lab[1].syncs[0].holders)
