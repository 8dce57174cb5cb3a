"""View changes that only more than f liars can make stop the channel; those that ask for what is not here wait."""

from __future__ import annotations

import msgspec

from dawan_node.consensus import Mode
from dawan_node.consensus.messages import Decision, NewView
from dawan_node.testing.replica_lab import ReplicaLab

replace = msgspec.structs.replace
Q = (1, 2, 3)


def state(lab: ReplicaLab, index: int) -> tuple[Mode, str]:
    status = lab[index].replica.status()
    return status.state, status.waiting_for


def test_a_new_view_with_two_blocks_prepared_in_one_view_halts() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(1, 0)
    one = lab.view_change(1, 1, prepared=[("a", lab.prepared(0, "a", Q))])
    other = lab.view_change(2, 1, prepared=[("x", lab.prepared(0, "x", Q))])
    lab.deliver(lab.new_view(1, [one, other, lab.view_change(3, 1)], ["a"]), 0)
    mode, why = state(lab, 0)
    assert mode is Mode.HALTED and "two blocks are prepared at height 1" in why


def test_a_primary_shown_two_blocks_prepared_in_one_view_halts_and_opens_nothing() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.now += lab.config.timers.view_change_interval_ms
    lab.deliver(lab.view_change(0, 1, prepared=[("a", lab.prepared(0, "a", (0, 2, 3)))]), 1)
    lab.deliver(lab.view_change(2, 1, prepared=[("x", lab.prepared(0, "x", (0, 2, 3)))]), 1)
    assert state(lab, 1)[0] is Mode.HALTED and lab[1].all_sent(NewView) == []


def test_two_heads_decided_at_one_height_halt() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(1, 0)
    one = lab.view_change(1, 1, last=("a", lab.certificate(0, "a", Q)))
    other = lab.view_change(2, 1, last=("x", lab.certificate(0, "x", Q)))
    lab.deliver(lab.new_view(1, [one, other, lab.view_change(3, 1)], []), 0)
    mode, why = state(lab, 0)
    assert mode is Mode.HALTED and "decided at height 1" in why


def test_a_new_view_on_another_block_than_mine_halts_with_both_certificates() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", (0,), Q)
    for voter in Q:
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.height == 1
    lab.change_view(1, 0)
    theirs = lab.certificate(0, "x", Q)
    lab.deliver(lab.new_view(1, [lab.view_change(v, 1, last=("x", theirs)) for v in Q], []), 0)
    mode, why = state(lab, 0)
    assert mode is Mode.HALTED and "starts from another block at height 1" in why
    assert theirs.encode() in lab[0].records[-1].payload


def test_a_primary_asked_to_bring_another_block_than_its_decided_one_halts() -> None:
    """It decided after it had sent its own VIEW-CHANGE (L6)."""
    lab = ReplicaLab(honest=(1,))
    lab.change_view(1, 1)
    header = lab.block("a")
    lab.deliver(Decision(header, lab.result(header), (), lab.certificate(0, "a", (0, 2, 3)), ()), 1, link=0)
    assert lab[1].replica.height == 1
    lab.deliver(lab.view_change(0, 1, prepared=[("x", lab.prepared(0, "x", (0, 2, 3)))]), 1)
    mode, why = state(lab, 1)
    assert mode is Mode.HALTED and "prepared in a later view at height 1" in why
    assert lab[1].all_sent(NewView) == []


def test_a_primary_below_the_base_fetches_it_before_it_opens_the_view() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.change_view(1, 1)
    lab.deliver(lab.view_change(0, 1, last=("ab", lab.certificate(0, "ab", (0, 2, 3)))), 1)
    assert lab[1].all_sent(NewView) == [] and state(lab, 1)[0] is Mode.SYNCING
    lab.tick(4_000)
    assert lab[1].syncs[-1].height == 2
    for name in ("a", "ab"):
        header = lab.block(name)
        certificate = lab.certificate(0, name, (0, 2, 3))
        lab.deliver(Decision(header, lab.result(header), (), certificate, ()), 1, link=0)
    assert [message.new_view for message in lab[1].all_sent(NewView)] == [1]


def test_a_second_view_change_whose_signature_is_wrong_accuses_nobody() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.change_view(1, 0)
    second = replace(lab.view_change(3, 1, prepared=[("a", lab.prepared(0, "a", Q))]), signature=bytes(64))
    lab.deliver(second, 0)
    assert lab[0].evidence == []
    lab.deliver(lab.view_change(3, 1, prepared=[("a", lab.prepared(0, "a", Q))]), 0)
    assert [evidence.kind.value for evidence in lab[0].evidence] == ["two_view_changes"]
