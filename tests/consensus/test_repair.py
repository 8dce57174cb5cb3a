"""Catching up from whatever was missed (amendments L3, L4, A7, M2; bug B11)."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.consensus import ChannelRules, Head, RecordKind
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    Status,
    ViewChange,
)
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.cluster import Cluster
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import test_keys


def status_of(lab: ReplicaLab, index: int) -> Status:
    lab.tick(1_000, index)
    return lab[index].all_sent(Status)[-1]


def test_l4_whoever_is_one_block_behind_is_sent_the_next_block_with_its_proof() -> None:
    lab = ReplicaLab(honest=(0, 1))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert (lab[0].replica.height, lab[1].replica.height) == (1, 0)
    lab.deliver(status_of(lab, 1), 0, link=1)
    to, message = lab[0].addressed[-1]
    assert isinstance(message, Decision) and to == (1,)
    lab.deliver(message, 1, link=0)
    assert lab[1].replica.height == 1


def test_whoever_claims_another_block_where_i_decided_is_sent_my_proof_of_it() -> None:
    """A fork takes more than f liars; then both certificates must meet somewhere (reliability D12)."""
    lab = ReplicaLab(honest=(0, 1))
    lab.decide(0, "a", [1], [0, 2, 3])
    other = Status(0, 0, 0, 1, bytes(32), (), b"\x00")
    lab.deliver(other, 1, link=0)
    to, message = lab[1].addressed[-1]
    assert isinstance(message, Decision) and (to, message.header) == ((0,), lab.block("a"))


def test_l4_whoever_sees_a_higher_claim_says_where_it_is() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(Status(0, 0, 0, 5, bytes(32), (), b"\x00"), 1, link=3)
    to, message = lab[1].addressed[-1]
    assert isinstance(message, Status) and to == (3,)


def test_l4_a_replica_one_epoch_behind_is_brought_over_the_barrier_by_one_certificate() -> None:
    lab = ReplicaLab(honest=(1,))
    header = lab.block("A")
    keys = test_keys(7)
    new = ValidatorSet([(ED25519, keys[index].public_key) for index in (0, 1, 4, 5)])
    lab.next_rules[header.hash] = ChannelRules(new, 4, 1_000, 4 * 1024 * 1024)
    # A message of epoch e + 1 proves nothing, but makes it say where it is (A7).
    ahead = msgspec.structs.replace(lab.prepare(3, 0, "a"), epoch=1)
    lab.deliver(ahead, 1)
    assert isinstance(lab[1].sent[-1], Status)
    decision = Decision(header, lab.result(header), (), lab.certificate(0, "A", (0, 2, 3)), lab.leaves("A"))
    lab.deliver(decision, 1, link=2)
    status = lab[1].replica.status()
    assert (status.height, status.epoch, status.own_index) == (1, 1, new.index_of(keys[1].public_key))


def test_l3_a_certified_descendant_on_a_known_branch_decides_the_blocks_below_it() -> None:
    lab = ReplicaLab(honest=(1,))
    for name in ("a", "ab"):
        lab.deliver(lab.pre_prepare(0, name), 1)
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "ab"), 1)
    assert lab[1].replica.height == 2
    first, second = lab[1].decided
    assert [header.height for header, _ in first.links] == [2] and second.links == ()
    assert first.certificate == second.certificate


def test_l3_links_prove_a_height_without_its_own_certificate() -> None:
    lab = ReplicaLab(honest=(1,))
    below, above = lab.block("a"), lab.block("ab")
    certificate = lab.certificate(0, "ab", (0, 2, 3))
    lab[1].withheld.add(above.hash)
    message = Decision(below, lab.result(below), ((above, lab.result(above)),), certificate, lab.leaves("a"))
    lab.deliver(message, 1, link=2)
    assert lab[1].replica.height == 1
    # Its head has no certificate of its own: it catches up and votes for nothing.
    lab.deliver(lab.pre_prepare(0, "ax"), 1)
    lab.deliver(lab.view_change(3, 2), 1)
    assert lab[1].votes(Prepare) == [] and lab[1].all_sent(ViewChange) == []
    lab.give_bodies(1, above.hash)
    assert lab[1].replica.height == 2
    assert lab[1].all_sent(ViewChange)[-1].new_view == 2  # what it could not follow before


@pytest.mark.parametrize("what", ["result", "parent", "certificate", "epoch end"])
def test_links_that_do_not_hold_prove_nothing(what: str) -> None:
    lab = ReplicaLab(honest=(1,))
    below, above = lab.block("a"), lab.block("ab")
    result, top = lab.result(below), lab.result(above)
    certificate = lab.certificate(0, "ab", (0, 2, 3))
    if what == "result":
        result = lab.result(below, junk=True)
    elif what == "parent":
        below = lab.block("z")
        result = lab.result(below)
    elif what == "certificate":
        certificate = msgspec.structs.replace(certificate, bitmap=b"\x07")
    else:
        result = msgspec.structs.replace(result, next_valset_hash=bytes(32))
    lab.deliver(Decision(below, result, ((above, top),), certificate, ()), 1, link=2)
    assert lab[1].replica.height == 0 and lab[1].replica.status().rejected_messages == 1


def test_a_decision_with_a_wrong_leaf_list_loses_only_the_list() -> None:
    lab = ReplicaLab(honest=(1,))
    header = lab.block("a")
    certificate = lab.certificate(0, "a", (0, 2, 3))
    lab.deliver(Decision(header, lab.result(header), (), certificate, (bytes(32),)), 1, link=3)
    assert lab[1].acquire[0].leaf_hashes is None and lab[1].acquire[0].holders == (0, 2, 3)
    assert lab[1].replica.height == 1


def test_nobody_can_use_up_anothers_turn_to_change_the_view() -> None:
    lab = ReplicaLab(honest=(1,))
    forged = msgspec.structs.replace(lab.view_change(2, 3), signature=bytes(64))
    lab.deliver(forged, 1, link=3)
    lab.deliver(lab.view_change(2, 2), 1)
    assert lab[1].replica.status().target == 2


def test_a_head_proven_through_a_descendant_finds_its_way_to_a_certified_head_alone() -> None:
    lab = ReplicaLab(honest=(1,))
    below, above = lab.block("a"), lab.block("ab")
    links = ((above, lab.result(above)),)
    certificate = lab.certificate(0, "ab", (0, 2, 3))
    head = Head(1, below.hash, below, lab.result(below), certificate, links, 0, lab.rules, (0, lab.chain_id))
    assert lab.start(1, (), head).replica.height == 2


def test_a_store_restored_from_a_backup_is_caught_up_without_suspecting_a_stolen_key() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.decide(0, "a", [1], (0, 2, 3))
    decided = next(record for record in lab[1].records if record.kind is RecordKind.DECIDED)
    lab[1].withheld.add(lab.block("a").hash)
    bench = lab.start(1, [decided])  # the votes were dropped by a checkpoint, the store is back at genesis
    assert bench.replica.height == 1 or bench.replica.status().state == "syncing"
    header = lab.block("a")
    message = Decision(header, lab.result(header), (), lab.certificate(0, "a", (0, 1, 2)), lab.leaves("a"))
    lab.deliver(message, 1, link=2)
    assert bench.replica.status().state != "halted"


def test_u4_a_range_over_a_barrier_is_not_verified_with_the_set_it_installs() -> None:
    lab = ReplicaLab(honest=(1,))
    header = lab.block("A")
    attackers = ValidatorSet([(ED25519, key.public_key) for key in test_keys(7)[4:]])
    evil = msgspec.structs.replace(lab.result(header), next_valset_hash=attackers.hash)
    above = msgspec.structs.replace(lab.block("Ab"), epoch=1, valset_hash=attackers.hash)
    forged = msgspec.structs.replace(lab.certificate(0, "Ab", (0, 2, 3)), epoch=1, block_hash=above.hash)
    message = Decision(header, evil, ((above, lab.result(above)),), forged, ())
    lab.deliver(message, 1, link=3)
    assert lab[1].replica.height == 0
    with pytest.raises(InvalidMessage):
        lab[1].replica.decided_by_sync(header, evil, forged, ((above, lab.result(above)),), None, lab.now)


def test_m2_proposals_and_votes_that_a_peer_lacks_are_sent_again_when_they_are_not_fresh() -> None:
    lab = ReplicaLab(honest=(0, 1))
    lab.propose(0, "a")
    before = len(lab[0].sent)
    lab.deliver(lab[1].replica._repair.status(), 0, link=1)
    assert len(lab[0].sent) == before, "just sent: perhaps on its way"
    lab.tick(1_000, 0)
    lab.deliver(status_of(lab, 1), 0, link=1)
    again = [message for to, message in lab[0].addressed if to == (1,)]
    assert [type(message) for message in again] == [PrePrepare, Prepare]
    lab.deliver(again[0], 1)
    lab.prepare_everywhere(0, "a", [1], [2])
    lab.tick(1_000, 1)
    lab.deliver(status_of(lab, 0), 1, link=0)
    assert {type(message) for to, message in lab[1].addressed if to == (0,)} == {Prepare, Commit}


def test_a_peer_in_an_older_view_is_sent_the_new_view_and_a_peer_without_target_the_view_changes() -> None:
    lab = ReplicaLab(honest=(0, 1))
    lab.change_view(1, 0)
    lab.deliver(status_of(lab, 1), 0, link=1)
    assert isinstance(lab[0].addressed[-1][1], ViewChange) and lab[0].addressed[-1][0] == (1,)
    lab.deliver(lab[0].addressed[-1][1], 1)
    lab.deliver(lab.view_change(2, 1), 1)
    assert lab[1].replica.status().view == 1
    lab.tick(1_000, 1)
    lab.deliver(status_of(lab, 0), 1, link=0)
    messages = [message for to, message in lab[1].addressed if to == (0,)]
    assert isinstance(messages[-1], NewView)
    lab.deliver(messages[-1], 0)
    assert lab[0].replica.status().view == 1


def test_the_sync_target_is_what_f_plus_1_validators_claim() -> None:
    """CometBFT ASA-2025-001, on the side of consensus."""
    lab = ReplicaLab(honest=(1,))
    for link, height in ((0, 90), (2, 120), (3, 2**40)):
        lab.deliver(Status(0, 0, 0, height, bytes(32), (), b"\x00"), 1, link=link)
    lab.tick(2_500)
    assert lab[1].syncs[-1].height == 120 and lab[1].syncs[-1].holders == (0, 2, 3)


def test_what_was_decided_while_a_range_came_is_asked_for_as_soon_as_the_range_is_here() -> None:
    """Without traffic of its own a validator that came back waited out the pause between two requests, once for every
    range, although it had what it asked for: some two seconds in which the channel had no spare."""
    lab = ReplicaLab(honest=(1,))
    path = ["abcde"[:length] for length in range(1, 6)]  # one block more than the window of 4 repairs by itself
    claim(lab, 5)
    lab.tick(1_000, 1)
    assert [request.height for request in lab[1].syncs] == [5]
    claim(lab, 11)
    lab.tick(100, 1)
    assert [request.height for request in lab[1].syncs] == [5], "the first range is still on its way"
    for name in path:
        header, proof = lab.block(name), lab.certificate(0, name, (0, 2, 3))
        assert lab[1].replica.decided_by_sync(header, lab.result(header), proof, (), lab.leaves(name), lab.now)
    lab.pump(1)
    assert [request.height for request in lab[1].syncs] == [5, 11]


def claim(lab: ReplicaLab, height: int) -> None:
    for link in (0, 2, 3):
        lab.deliver(Status(0, 0, 0, height, bytes(32), (), b"\x00"), 1, link=link)


def test_a_synced_block_is_decided_like_any_other() -> None:
    lab = ReplicaLab(honest=(1,))
    header = lab.block("a")
    done = lab[1].replica.decided_by_sync(
        header,
        lab.result(header),
        lab.certificate(0, "a", (0, 2, 3)),
        (),
        lab.leaves("a"),
        lab.now,
    )
    lab.pump(1)
    assert done and [decided.synced for decided in lab[1].decided] == [True]
    assert lab[1].records[-1].pins is False


def test_b11_without_traffic_a_restarted_node_catches_up() -> None:
    cluster = Cluster(4, seed=5)
    cluster.submit(10)
    cluster.run(500)
    cluster.crash(2)
    cluster.submit(40)
    cluster.run(8_000)
    cluster.start(2)
    assert cluster.run_until(lambda: len(set(cluster.heights)) == 1, 10_000), cluster.heights


def test_a_far_behind_node_catches_up_by_ranges() -> None:
    cluster = Cluster(4, seed=6)
    cluster.crash(3)
    for _ in range(100):
        cluster.submit(5)
        cluster.run(100)
    assert cluster.nodes[0].height > 60
    cluster.start(3)
    assert cluster.run_until(lambda: len(set(cluster.heights)) == 1, 20_000), cluster.heights


def test_a_restart_from_the_store_alone_keeps_the_chain() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.decide(0, "a", [1], (0, 2, 3))
    decided = lab[1].decided[0]
    head = Head(
        1,
        decided.block_hash,
        decided.header,
        decided.result,
        decided.certificate,
        (),
        0,
        lab.rules,
        (0, lab.chain_id),
    )
    bench = lab.start(1, lab[1].records, head)
    assert bench.replica.height == 1 and bench.decided == []
    lab.deliver(lab.pre_prepare(0, "ab"), 1)
    assert [height for _, height, _ in lab[1].votes(Prepare)] == [2]
