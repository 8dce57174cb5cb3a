"""A key that was replaced says nothing that counts, and nothing it says is held against the key in its seat."""

from __future__ import annotations

import pytest

from dawan_node.consensus.config import ChannelRules
from dawan_node.consensus.messages import Decision, Message
from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import test_keys

SEAT = 3


def in_epoch_1() -> ReplicaLab:
    """Replica 2 after the block that gave validator 3 another key; the lab still signs for seat 3 with the old one."""
    lab = ReplicaLab(honest=(2,))
    keys = test_keys(7)
    lab.next_rules[lab.block("A").hash] = ChannelRules(
        ValidatorSet([(ED25519, keys[index].public_key) for index in (0, 1, 2, 5)]), 4, 1_000, 4 * 1024 * 1024
    )
    lab.decide(0, "A", [2], (0, 1, 3))
    status = lab[2].replica.status()
    assert (status.epoch, status.own_index) == (1, 2)
    lab.epoch, lab.validators = 1, lab.next_rules[lab.block("A").hash].validators
    return lab


def view_of_seat(lab: ReplicaLab) -> int:
    """The first view above 0 that belongs to the seat."""
    return next(view for view in range(1, 9) if lab.primary(view) == SEAT)


def said_by_the_old_key(lab: ReplicaLab) -> list[Message]:
    """Everything it can say, in the name of its old seat, of two blocks that contradict each other."""
    view = view_of_seat(lab)
    messages: list[Message] = [lab.suspect(SEAT, 1), lab.view_change(SEAT, 1), lab.view_change(SEAT, view)]
    for name in ("Ab", "Ac"):
        messages += [lab.prepare(SEAT, 0, name), lab.commit(SEAT, 0, name), lab.pre_prepare(view, name)]
    messages += [lab.view_change(SEAT, 1, suspects=lab.suspects(1, (0, 1, SEAT)))]
    messages += [lab.new_view(view, [lab.view_change(voter, view) for voter in (0, 1, SEAT)], [])]
    return messages


@pytest.mark.parametrize("link", [None, 0, SEAT])
def test_what_a_replaced_key_signs_in_the_new_epoch_counts_for_nothing_and_accuses_nobody(link: int | None) -> None:
    lab = in_epoch_1()
    bench = lab[2]
    before, records = bench.replica.status(), len(bench.records)
    rejected = before.rejected_messages
    for message in said_by_the_old_key(lab):
        bench.replica.step(message.encode(), link, lab.now)
        lab.pump(2)
    after = bench.replica.status()
    assert (after.state, after.view, after.target, after.height) == (before.state, 0, 0, 1)
    assert after.suspects == () and bench.evidence == [], "the new key would be blamed for what the old one did"
    assert all(SEAT not in slot.have for slot in after.in_flight)
    assert len(bench.records) == records, "nothing of it is worth a record"
    assert after.rejected_messages >= rejected


def test_a_quorum_that_needs_the_replaced_key_is_none_and_one_with_the_new_key_is() -> None:
    lab = in_epoch_1()
    header = lab.block("Ab")
    for key, height in ((lab.keys[SEAT], 1), (test_keys(7)[5], 2)):
        lab.keys[SEAT] = key
        proof = lab.certificate(0, "Ab", (0, 1, SEAT))
        lab.deliver(Decision(header, lab.result(header), (), proof, lab.leaves("Ab")), 2, link=0)
        assert lab[2].replica.height == height
    assert lab[2].evidence == []
