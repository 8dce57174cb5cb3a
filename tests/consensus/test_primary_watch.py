"""A primary that proposes too slowly, or leaves transactions out (consensus.md 1.6, amendments L8 to L10, D2)."""

from __future__ import annotations

import pytest

from dawan_node.consensus import Timers
from dawan_node.consensus.messages import Decision, Status, Suspect
from dawan_node.consensus.pacemaker import Pacemaker
from dawan_node.testing.cluster import BLOCK_TXS, Cluster
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import Faults, Node

#: Without the progress timer.
SLOW_VIEWS = Timers(view_ms=60_000, view_min_ms=60_000)


def wishes(lab: ReplicaLab, index: int = 1) -> list[int]:
    return [message.new_view for message in lab[index].all_sent(Suspect)]


def pass_time(lab: ReplicaLab, elapsed_ms: int, view: int = 0) -> None:
    """Time passes for validator 1, and its primary lives."""
    for _ in range(elapsed_ms // 100):
        status = Status(0, view, view, 0, lab.chain_id, (), b"\x00")
        lab.deliver(status, 1, link=lab.primary(view))
        lab.tick(100, 1)


def works(lab: ReplicaLab) -> ReplicaLab:
    lab[1].replica.work_pending(True, lab.now)
    return lab


def complains(lab: ReplicaLab, is_left_out: bool = True) -> None:
    lab[1].replica.complain(is_left_out, lab.now)


# --- the limit of one proposal -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("backoff", "expected"), [(0, 2_000), (1, 4_000), (3, 16_000), (5, 60_000), (99, 60_000)])
def test_the_limit_of_a_proposal_grows_with_fruitless_views_like_the_view_time(backoff: int, expected: int) -> None:
    assert Pacemaker(Timers()).proposal_ms(backoff) == expected


@pytest.mark.parametrize(("commit_ms", "expected"), [(0, 1_000), (250, 1_000), (400, 1_600), (2_700, 2_000)])
def test_fast_commits_shorten_it_and_slow_ones_never_lengthen_it(commit_ms: int, expected: int) -> None:
    pacemaker = Pacemaker(Timers())
    for _ in range(100):
        pacemaker.note_commit_time(commit_ms)
    assert pacemaker.proposal_ms(0) == expected


def test_a_primary_just_below_every_limit_cannot_drag_the_limit_up() -> None:
    pacemaker = Pacemaker(Timers())
    for _ in range(1_000):
        pacemaker.note_commit_time(pacemaker.proposal_ms(0) * 9 // 10)
    assert pacemaker.proposal_ms(0) <= 2_000


def test_work_without_a_proposal_is_suspected_at_the_limit_and_not_before() -> None:
    lab = works(ReplicaLab(honest=(1,)))
    pass_time(lab, 1_900)
    assert wishes(lab) == []
    pass_time(lab, 100)
    assert wishes(lab) == [1]
    assert lab[1].replica.status().target == 0, "it keeps voting in its view"


def test_an_accepted_proposal_starts_the_limit_again_and_ends_the_wish() -> None:
    lab = works(ReplicaLab(honest=(1,), timers=SLOW_VIEWS))
    pass_time(lab, 1_900)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    pass_time(lab, 1_900)
    assert wishes(lab) == []
    pass_time(lab, 100)
    assert wishes(lab) == [1]
    lab.deliver(lab.pre_prepare(0, "ab"), 1)
    lab[1].sent.clear()
    lab[1].replica.work_pending(False, lab.now)
    pass_time(lab, 500)
    assert wishes(lab) == []


def test_without_work_no_proposal_is_expected() -> None:
    lab = ReplicaLab(honest=(1,))
    pass_time(lab, 30_000)
    assert wishes(lab) == []


def test_a_full_window_is_waited_for_by_the_progress_timer_alone() -> None:
    lab = works(ReplicaLab(honest=(1,)))
    for name in ("a", "ab", "abc", "abcd"):
        lab.deliver(lab.pre_prepare(0, name), 1)
    pass_time(lab, 2_900)
    assert wishes(lab) == []
    pass_time(lab, 100)
    assert wishes(lab) == [1]


def test_nothing_is_expected_above_an_undecided_barrier() -> None:
    lab = works(ReplicaLab(honest=(1,)))
    lab.deliver(lab.pre_prepare(0, "A"), 1)
    pass_time(lab, 2_900)
    assert wishes(lab) == []


def test_a_proposal_that_waits_here_for_its_bodies_is_a_proposal() -> None:
    lab = works(ReplicaLab(honest=(1,)))
    pass_time(lab, 1_000)
    lab[1].withheld.add(lab.pre_prepare(0, "a").header.hash)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    pass_time(lab, 1_900)
    assert wishes(lab) == []
    pass_time(lab, 100)
    assert wishes(lab) == [1], "the progress timer runs from when the work came"


def test_a_replica_that_is_behind_expects_nothing_of_the_primary() -> None:
    lab = works(ReplicaLab(honest=(1,)))
    header = lab.block("a")
    lab[1].withheld.add(header.hash)
    lab.deliver(Decision(header, lab.result(header), (), lab.certificate(0, "a", (0, 2, 3)), ()), 1, link=2)
    complains(lab)
    pass_time(lab, 20_000)
    assert wishes(lab) == []


def test_a_new_primary_has_the_whole_and_doubled_limit() -> None:
    lab = works(ReplicaLab(honest=(1,)))
    pass_time(lab, 1_900)
    lab.change_view(2, 1)
    lab.deliver(lab.new_view(2, [lab.view_change(v, 2) for v in (0, 2, 3)], []), 1)
    lab[1].sent.clear()
    pass_time(lab, 3_900, view=2)
    assert wishes(lab) == []
    pass_time(lab, 100, view=2)
    assert wishes(lab) == [3]


def test_the_primary_expects_nothing_of_itself() -> None:
    lab = ReplicaLab(honest=(0,))
    lab[0].replica.work_pending(True, lab.now)
    lab[0].replica.complain(True, lab.now)
    lab.tick(2_500, 0)
    assert wishes(lab, 0) == []


def test_the_limit_is_a_deadline() -> None:
    lab = ReplicaLab(honest=(1,))
    replica = lab[1].replica
    lab.tick(1_000)
    replica.work_pending(True, lab.now)
    began = lab.now
    while (due := replica.next_deadline()) is not None and due < began + 2_000:
        lab.now = max(due, lab.now + 1)
        replica.tick(lab.now)
        lab.pump(1)
    assert due == began + 2_000


# --- complaints --------------------------------------------------------------------------------------------------


def test_a_complaint_is_a_wish_at_once_repeated_through_decisions_until_it_is_withdrawn() -> None:
    lab = ReplicaLab(honest=(1,))
    complains(lab)
    assert lab[1].replica.next_deadline() == lab.now
    pass_time(lab, 1_000)
    assert wishes(lab) == [1]
    lab.decide(0, "a", [1], (0, 2, 3))
    pass_time(lab, 1_000)
    lab.decide(0, "ab", [1], (0, 2, 3))
    pass_time(lab, 1_000)
    assert wishes(lab) == [1, 1, 1], "who leaves out one client decides blocks all the while"
    complains(lab, False)
    pass_time(lab, 5_000)
    assert wishes(lab) == [1, 1, 1]


def test_one_complaint_moves_nobody_and_a_quorum_of_them_changes_the_view() -> None:
    lab = ReplicaLab(honest=(1, 2, 3))
    lab[1].replica.complain(True, lab.now)
    lab.tick(200)
    lab.deliver(lab[1].all_sent(Suspect)[-1], 2, 3)
    assert [lab[i].replica.status().target for i in (1, 2, 3)] == [0, 0, 0] and wishes(lab, 2) == []
    lab[2].replica.complain(True, lab.now)
    lab.tick(200)
    lab.deliver(lab[2].all_sent(Suspect)[-1], 1, 3)
    assert wishes(lab, 3) == [1], "f + 1 complain: one of them is honest, and the third joins"
    assert lab[3].replica.status().target == 1


def test_a_complaint_does_not_survive_its_view() -> None:
    lab = ReplicaLab(honest=(1,))
    complains(lab)
    pass_time(lab, 200)
    lab.change_view(2, 1)
    lab.deliver(lab.new_view(2, [lab.view_change(v, 2) for v in (0, 2, 3)], []), 1)
    lab[1].sent.clear()
    pass_time(lab, 4_000, view=2)
    assert wishes(lab) == []


# --- pace --------------------------------------------------------------------------------------------------------


class SlowPrimary:
    """Has the primaries at ``slow`` nodes propose one block of what they are asked, and no sooner than they must."""

    def __init__(self, cluster: Cluster, slow: set[int], pause_ms: int, at_once: int = 1) -> None:
        self._cluster = cluster
        self._slow = slow
        self._pause_ms = pause_ms
        self._at_once = at_once
        self._since: dict[int, int] = {}
        self._propose = cluster._propose
        cluster._propose = self.propose  # type: ignore[method-assign]

    def propose(self, node: Node, replica) -> None:  # type: ignore[no-untyped-def]
        if node.index not in self._slow or replica.proposal_slot() is None:
            self._propose(node, replica)
            return
        now = self._cluster.now
        if now < self._since.get(node.index, -self._pause_ms) + self._pause_ms:
            return
        self._since[node.index] = now
        self._cluster.at(self._pause_ms, lambda: self._cluster._pump(self._cluster.nodes[node.index]))
        slot_of, propose = replica.proposal_slot, replica.propose
        left = [self._at_once]

        def counted(*values):  # type: ignore[no-untyped-def]
            left[0] -= 1
            return propose(*values)

        replica.propose = counted
        replica.proposal_slot = lambda: slot_of() if left[0] else None
        try:
            self._propose(node, replica)
        finally:
            del replica.proposal_slot, replica.propose


#: Some fifty blocks a second.
LINKS = Faults(delay_min=15, delay_max=30)


def throughput(cluster: Cluster, seconds: int) -> int:
    """Blocks in ``seconds`` of virtual time with more waiting than anybody can commit."""
    before = min(cluster.heights)
    for _ in range(seconds * 10):
        cluster.submit(max(0, BLOCK_TXS * 12 - max(len(node.pool) for node in cluster.nodes)))
        cluster.run(100)
    return min(cluster.heights) - before


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_primary_just_below_every_limit_is_replaced_and_throughput_comes_back(at_once: int) -> None:
    """Reliability D2: at least 30 % of the fault-free throughput, or replaced. It takes nine tenths of the limit for
    each proposal (or for four at once, as many as the window takes), for ever."""
    faultless = throughput(Cluster(4, 1, LINKS), 3)
    cluster = Cluster(4, 1, LINKS)
    slow = {node.index for node in cluster.nodes if node.replica and node.replica.own_index == node.replica.primary}
    SlowPrimary(cluster, slow, pause_ms=900, at_once=at_once)
    assert throughput(cluster, 6) // 2 < faultless * 3 // 10
    assert all(node.replica is not None and node.replica.view == (0, 0) for node in cluster.nodes)
    throughput(cluster, 6)
    assert all(node.replica is not None and node.replica.primary not in slow for node in cluster.nodes)
    assert throughput(cluster, 3) >= faultless * 3 // 10


@pytest.mark.parametrize("faults", [LINKS, Faults(delay_min=15, delay_max=30, execute_max=200)])
def test_an_honest_primary_under_load_keeps_its_pace(faults: Faults) -> None:
    cluster = Cluster(4, 2, faults)
    assert throughput(cluster, 11) > 20
    assert {node.replica.view for node in cluster.nodes if node.replica is not None} == {(0, 0)}


def stores_late(lab: ReplicaLab, after: int) -> None:
    """Validator 1 stores a decided block when so many more are decided."""
    store = lab[1].replica.applied
    lab[1].replica.applied = lambda height: store(height - after) if height >= after else None  # type: ignore[method-assign]


@pytest.mark.parametrize("window", [4, 16])
@pytest.mark.parametrize(("after", "wished"), [(0, [1]), (1, []), (2, [])])
def test_what_is_decided_and_waits_to_be_stored_here_counts_as_in_use(
    window: int, after: int, wished: list[int]
) -> None:
    """Each block is decided at once. Where it is stored at once too, nothing is in use: the primary could have proposed
    more. One height is enough with any window: a block is accepted when its parent is executed."""
    lab = works(ReplicaLab(honest=(1,), timers=SLOW_VIEWS, window=window))
    stores_late(lab, after)
    for number in range(13):
        lab.decide(0, "abcdefghijklm"[: number + 1], [1], (0, 2, 3))
        pass_time(lab, 800)
    assert wishes(lab)[:1] == wished


def test_no_more_than_the_window_counts_as_in_use() -> None:
    """A storage that stands still for two seconds must not pay for the primary's next eight."""
    names = "abcdefghijklmnopqr"
    lab = works(ReplicaLab(honest=(1,), timers=SLOW_VIEWS))
    store = lab[1].replica.applied
    stores_late(lab, len(names))
    for count in range(1, len(names) + 1):
        lab.decide(0, names[:count], [1], (0, 2, 3))
        if count == 9:
            store(count)
            lab[1].replica.applied = store  # type: ignore[method-assign]
        pass_time(lab, 900 if count >= 7 else 0)
    assert wishes(lab)[:1] == [1]


def test_where_every_primary_is_slow_views_change_seldom_and_the_chain_goes_on() -> None:
    """A message takes 1.2 to 1.8 s here. Limits that did not grow would change views without end."""
    cluster = Cluster(4, 5, Faults(delay_min=1_200, delay_max=1_800))
    throughput(cluster, 100)
    views = max(node.replica.view[1] for node in cluster.nodes if node.replica is not None)
    assert min(cluster.heights) >= 20
    assert views <= min(cluster.heights) // cluster.rules.window


def test_primaries_that_are_all_too_slow_for_reasons_of_their_own_are_not_changed_for_ever() -> None:
    cluster = Cluster(4, 6, LINKS)
    SlowPrimary(cluster, {0, 1, 2, 3}, pause_ms=900)
    assert throughput(cluster, 80) >= 75
    views = max(node.replica.view[1] for node in cluster.nodes if node.replica is not None)
    assert 2 <= views <= 5, "10 s, 20 s, 40 s, ..."
