"""What VIEW-CHANGEs bring along is bounded too (consensus.md 1.14)."""

from __future__ import annotations

from dawan_node.testing.replica_lab import ReplicaLab


def test_heads_far_above_mine_do_not_pile_up() -> None:
    """A replica that is far behind is shown another certified head in every VIEW-CHANGE of a voter."""
    lab = ReplicaLab(honest=(0,))
    for number in range(1, 100):
        name = f"head {number}"
        lab.headers[name] = lab.block(name, parent="", height=100 + number)
        lab.now += lab.config.timers.view_change_interval_ms
        certificate = lab.certificate(0, name, (1, 2, 3))
        lab.deliver(lab.view_change(3, number, last=(name, certificate)), 0)
    assert lab[0].replica.status().target == 99
    assert len(lab[0].replica._state.tree.blocks()) <= 2 * lab.rules.window
    lab.tick(200)
    assert lab[0].syncs[-1].height == 199
