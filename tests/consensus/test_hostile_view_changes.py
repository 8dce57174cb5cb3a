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


def test_prepared_certificates_far_above_me_do_not_outlive_the_next_view() -> None:
    """A replica far behind is prepared for what each view brings again, and can have committed to none of it."""
    lab = ReplicaLab(honest=(3,))
    for name, height in (("p", 30), ("r", 60)):
        lab.headers[name] = lab.block(name, parent="", height=height)
    lab.block("pq", parent="p")
    for view, top, entries in ((1, "p", ["pq"]), (2, "r", [])):
        last = (top, lab.certificate(0, top, (0, 1, 2)))
        prepared = [(name, lab.prepared(0, name, (0, 1, 2))) for name in entries]
        changes = [lab.view_change(voter, view, last=last, prepared=prepared) for voter in (0, 1, 2)]
        lab.deliver(lab.new_view(view, changes, entries), 3)
        assert lab[3].replica.status().view == view
        for name in entries:
            lab.prepare_everywhere(view, name, [3], [0, 1, 2])
        assert sorted(lab[3].replica._state.prepared) == [lab.block(name).height for name in entries]
