"""Timers and the two-step view change, by table (consensus.md 1.7, amendments L9, L10, L12, A10)."""

from __future__ import annotations

import pytest

from dawan_node.consensus import Timers
from dawan_node.consensus.messages import Decision, Status, Suspect, ViewChange
from dawan_node.consensus.pacemaker import Pacemaker, Wish, Wishes
from dawan_node.testing.replica_lab import ReplicaLab


def wishes(lab: ReplicaLab, index: int) -> list[int]:
    return [message.new_view for message in lab[index].all_sent(Suspect)]


#: Nothing but the progress timer.
PATIENT = Timers(proposal_ms=60_000, proposal_min_ms=60_000)


def primary_lives(lab: ReplicaLab, index: int, view: int = 0) -> None:
    """A STATUS of the primary on its own link."""
    status = Status(0, view, view, 0, lab.chain_id, (), b"\x00")
    lab.deliver(status, index, link=lab.primary(view))


# --- durations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backoff", "expected"), [(0, 3_000), (1, 6_000), (2, 12_000), (4, 48_000), (5, 60_000), (99, 60_000)]
)
def test_the_view_time_doubles_per_fruitless_view_up_to_its_cap(backoff: int, expected: int) -> None:
    assert Pacemaker(Timers()).view_ms(backoff) == expected


@pytest.mark.parametrize(
    ("commit_ms", "expected"), [(0, 1_000), (100, 1_000), (200, 1_200), (400, 2_400), (2_700, 3_000)]
)
def test_fast_commits_shorten_the_view_time_and_slow_ones_never_lengthen_it(commit_ms: int, expected: int) -> None:
    pacemaker = Pacemaker(Timers())
    for _ in range(100):
        pacemaker.note_commit_time(commit_ms)
    assert pacemaker.view_ms(0) == expected


def test_a_primary_cannot_drag_the_view_time_up() -> None:
    pacemaker = Pacemaker(Timers())
    for _ in range(1_000):
        pacemaker.note_commit_time(pacemaker.view_ms(0) * 9 // 10)
    assert pacemaker.view_ms(0) <= 3_000


def test_backoff_falls_by_one_per_window_of_decided_blocks() -> None:
    pacemaker = Pacemaker(Timers())
    assert [pacemaker.backoff_after(3, 1, 4) for _ in range(4)] == [3, 3, 3, 2]
    assert pacemaker.backoff_after(0, 8, 4) == 0


def test_wishes_count_distinct_validators_and_expire() -> None:
    table = Wishes()
    for voter, view, expires in ((0, 3, 100), (1, 5, 200), (2, 4, 300)):
        table.put(voter, Wish(view, bytes(64), expires))
    assert [table.wanted_by(count) for count in (1, 2, 3, 4)] == [5, 4, 3, 0]
    assert table.wanted_by(2, without=1) == 3
    entries = table.certificate(3, 3)
    assert entries is not None and [entry.voter for entry in entries] == [0, 1, 2]
    assert table.certificate(4, 3) is None
    table.expire(200)
    assert table.views() == [(2, 4)]


# --- triggers ----------------------------------------------------------------------------------------------------


def test_work_without_progress_is_suspected_after_d0_and_not_before() -> None:
    lab = ReplicaLab(honest=(1,), timers=PATIENT)
    lab[1].replica.work_pending(True, lab.now)
    for _ in range(29):
        primary_lives(lab, 1)
        lab.tick(100)
    assert wishes(lab, 1) == []
    lab.tick(100)
    assert wishes(lab, 1) == [1]
    assert lab[1].replica.status().target == 0, "it keeps voting in its view"
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    assert lab[1].replica.status().in_flight[0].phase == "prepare"


def test_without_work_only_silence_is_suspected() -> None:
    lab = ReplicaLab(honest=(1,))
    for _ in range(100):
        primary_lives(lab, 1)
        lab.tick(100)
    assert wishes(lab, 1) == []
    lab.tick(4_800)  # the last sign of life is 100 ms old
    assert wishes(lab, 1) == []
    lab.tick(100)
    assert wishes(lab, 1) == [1]


def test_a_wish_is_repeated_while_its_reason_lasts_and_ends_with_progress() -> None:
    lab = ReplicaLab(honest=(1,), timers=PATIENT)
    lab[1].replica.work_pending(True, lab.now)
    lab.tick(5_000)
    assert wishes(lab, 1) == [1, 1, 1]
    lab.decide(0, "a", [1], (0, 2, 3))
    lab[1].sent.clear()
    lab[1].replica.work_pending(False, lab.now)
    lab.tick(3_000)
    assert wishes(lab, 1) == []


def test_a_decision_restarts_the_progress_timer() -> None:
    lab = ReplicaLab(honest=(1,), timers=PATIENT)
    lab[1].replica.work_pending(True, lab.now)
    lab.tick(2_500)
    lab.decide(0, "a", [1], (0, 2, 3))
    lab.tick(900)
    assert wishes(lab, 1) == []


def test_who_knows_of_a_certificate_above_its_head_suspects_nobody() -> None:
    lab = ReplicaLab(honest=(1,))
    lab[1].replica.work_pending(True, lab.now)
    header = lab.block("a")
    lab[1].withheld.add(header.hash)
    decision = Decision(header, lab.result(header), (), lab.certificate(0, "a", (0, 2, 3)), ())
    lab.deliver(decision, 1, link=2)
    lab.tick(20_000)
    assert wishes(lab, 1) == [] and lab[1].replica.status().state == "syncing"


# --- two steps ---------------------------------------------------------------------------------------------------


def test_f_plus_1_wishes_are_joined_and_q_move_the_target() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.suspect(2, 4), 1)
    assert wishes(lab, 1) == []
    lab.deliver(lab.suspect(3, 4), 1)
    # Two others and I are q = 3: the wish and the VIEW-CHANGE follow at once.
    assert wishes(lab, 1) == [4]
    (message,) = lab[1].all_sent(ViewChange)
    assert message.new_view == 4 and [entry.voter for entry in message.suspects] == [1, 2, 3]
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    assert lab[1].replica.status().in_flight[0].phase != "commit"


def test_one_huge_wish_moves_nobody() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.suspect(3, 2**62), 1)
    lab.deliver(lab.suspect(2, 1), 1)
    assert wishes(lab, 1) == [1]
    assert lab[1].replica.status().target == 1


def test_a_forwarded_or_expired_wish_counts_nothing() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.suspect(2, 1), 1, link=3)
    lab.deliver(lab.suspect(3, 1), 1)
    assert wishes(lab, 1) == []
    for _ in range(50):
        primary_lives(lab, 1)
        lab.tick(100)
    lab.deliver(lab.suspect(2, 1), 1)
    assert wishes(lab, 1) == [], "3's wish is older than 5 s"


def test_a_joined_wish_is_dropped_when_the_others_drop_theirs() -> None:
    lab = ReplicaLab(n=7, honest=(1,))
    for voter in (2, 3, 4):
        lab.deliver(lab.suspect(voter, 1), 1)
    assert wishes(lab, 1) == [1]
    for _ in range(80):
        primary_lives(lab, 1)
        lab.tick(100)
    assert len(wishes(lab, 1)) < 7 and lab[1].replica.status().target == 0
    lab[1].sent.clear()
    for _ in range(30):
        primary_lives(lab, 1)
        lab.tick(100)
    assert wishes(lab, 1) == []


def test_a_view_change_takes_its_receiver_along() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.view_change(3, 5), 1)
    assert lab[1].replica.status().target == 5
    (message,) = lab[1].all_sent(ViewChange)
    assert message.new_view == 5


def test_a_view_change_without_a_quorum_of_wishes_moves_nobody() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.view_change(3, 5, suspects=lab.suspects(5, (2, 3))), 1)
    assert lab[1].replica.status().target == 0
    assert lab[1].replica.status().rejected_messages == 1


def test_without_a_new_view_the_next_view_is_wished_for_after_twice_the_time() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.change_view(2, 1)
    lab.tick(5_900)
    assert wishes(lab, 1) == []
    lab.tick(100)
    assert wishes(lab, 1) == [3]
    assert lab[1].replica.status().target == 2, "below a quorum: only the wish, never alone"
    late = lab.new_view(2, [lab.view_change(v, 2) for v in (0, 2, 3)], [])
    lab.deliver(late, 1)
    assert lab[1].replica.status().view == 2, "a late NEW-VIEW is still welcome"
    lab[1].sent.clear()
    lab.tick(2_000)
    assert wishes(lab, 1) == []


def test_fetching_the_bodies_of_o_pauses_the_progress_timer_for_one_d() -> None:
    lab = ReplicaLab(honest=(3,))
    pc = lab.prepared(0, "b", (0, 1, 2))
    lab[3].withheld.add(lab.block("b").hash)
    view_changes = [lab.view_change(v, 1, prepared=[("b", pc)]) for v in (0, 1, 2)]
    lab.deliver(lab.new_view(1, view_changes, ["b"]), 3)
    for _ in range(59):
        primary_lives(lab, 3, 1)
        lab.tick(100)
    assert wishes(lab, 3) == []
    primary_lives(lab, 3, 1)
    lab.tick(100)
    assert wishes(lab, 3) == [2]


def test_a_clock_that_steps_back_stops_no_timer() -> None:
    lab = ReplicaLab(honest=(1,), timers=PATIENT)
    lab[1].replica.work_pending(True, lab.now)
    lab.tick(1_000)
    lab.now -= 3_600_000
    lab.tick(2_100)
    assert wishes(lab, 1) == [1]


def test_the_next_deadline_is_when_something_is_due() -> None:
    lab = ReplicaLab(honest=(1,))
    replica = lab[1].replica
    lab.tick(1_000)
    assert replica.next_deadline() == lab.now + 1_000  # STATUS
    lab.tick(600)
    replica.work_pending(True, lab.now)
    assert replica.next_deadline() == lab.now + 400
    lab.tick(100)
    assert replica.next_deadline() == lab.now + 300
