"""Rules of the papers the protocol comes from, with their sections.

Castro and Liskov, *Practical Byzantine Fault Tolerance* (OSDI'99) and *... and Proactive Recovery* (TOCS 20(4), 2002);
Bravo, Chockler and Gotsman, *Making Byzantine Consensus Live* (DISC'20, arXiv 2008.04167); Saltini and Hyland-Wood on
IBFT and QBFT (arXiv 1901.07160, 2002.03613). Where the protocol differs on purpose (consensus.md 1.16) the test says
what stands in the rule's place.

| Rule | Its tests |
|---|---|
| 4.2 one proposal | test_agreement::test_an_equivocating_primary_is_evidence_and_is_suspected |
| 4.2 prepared | test_paper_rules::test_osdi99_4_2_prepared_takes_matching_votes_of_one_view |
| 4.2 committed | test_paper_rules::test_osdi99_4_2_a_block_is_decided_by_matching_commits_of_one_view |
| 4.2 order | test_paper_rules::test_osdi99_4_2_blocks_are_handed_over_in_order_whatever_commits_first |
| 4.4 set P | test_paper_rules::test_osdi99_4_4_a_view_change_carries_the_newest_certificate_of_every_height |
| 4.4 silence | test_paper_rules::test_osdi99_4_4_after_view_change_nothing_of_the_old_view_is_voted_for |
| 4.4 O again | test_view_change_vectors::test_vector_9_a_wrong_o_is_proof_against_the_primary |
| 4.5.2 f + 1 | test_paper_rules::test_tocs02_4_5_2_f_plus_1_are_joined_at_the_smallest_of_their_views |
| 4.5.2 timer | test_paper_rules::test_tocs02_4_5_2_the_timer_of_a_view_starts_with_the_quorum |
| 4.5.2 back-off | test_paper_rules::test_tocs02_4_5_2_each_fruitless_view_is_given_twice_the_time |
| 4.5.2 f faulty | test_paper_rules::test_tocs02_4_5_2_f_replicas_cannot_force_a_view_change |
| synchroniser | test_paper_rules::test_bcg_views_only_rise_and_only_after_an_honest_wish |
| | test_paper_rules::test_bcg_one_message_brings_a_straggler_into_the_view |
| | test_pitfalls_of_operation::test_b14_after_the_faults_all_are_in_one_view_within_three_timeouts |
| QBFT quorum | test_quorums::test_two_quorums_share_an_honest_validator_and_the_honest_are_a_quorum |
| | test_sizes::test_q_votes_and_no_fewer_prepare_commit_and_leave_a_view |
"""

from __future__ import annotations

import random

import pytest

from dawan_node.consensus import AlarmKind
from dawan_node.consensus.messages import Commit, NewView, Prepare, Suspect, ViewChange
from dawan_node.testing.replica_lab import ReplicaLab
from tests.consensus.exchange import Exchange, wish
from tests.named_tests import missing


def test_every_test_that_is_named_exists() -> None:
    assert missing(__doc__) == []


def test_osdi99_4_2_prepared_takes_matching_votes_of_one_view() -> None:
    """OSDI'99 4.2: prepared is true with the pre-prepare and 2f prepares *of the same view, number and digest*."""
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.deliver(lab.prepare(2, 0, "b"), 1)  # another digest
    lab.deliver(lab.prepare(3, 1, "a"), 1)  # another view
    lab.deliver(lab.prepare(3, 0, "ab"), 1)  # another number
    lab.deliver(lab.prepare(0, 0, "a"), 1)  # the primary again
    assert lab[1].votes(Commit) == []
    lab.deliver(lab.prepare(3, 0, "a"), 1)
    assert lab[1].votes(Commit) == [(0, 1, lab.block("a").hash)]


def test_osdi99_4_2_a_block_is_decided_by_matching_commits_of_one_view() -> None:
    """OSDI'99 4.2: committed-local takes 2f + 1 commits that match: COMMITs of two views are never added up."""
    lab = ReplicaLab(honest=(2,))
    lab.deliver(lab.pre_prepare(0, "a"), 2)
    lab.prepare_everywhere(0, "a", [2], [1, 3])
    pc = lab.prepared(0, "a", (0, 1, 3))
    chosen = [lab.view_change(voter, 1, prepared=[("a", pc)]) for voter in (0, 1, 3)]
    lab.deliver(lab.new_view(1, chosen, ["a"]), 2)
    lab.prepare_everywhere(1, "a", [2], [0, 3])
    lab.deliver(lab.commit(0, 1, "a"), 2)  # with mine: two of view 1
    lab.deliver(lab.commit(1, 0, "a"), 2)  # with mine: two of view 0; three voters in all
    assert lab[2].replica.height == 0
    lab.deliver(lab.commit(3, 1, "a"), 2)
    assert lab[2].replica.height == 1


def test_osdi99_4_2_blocks_are_handed_over_in_order_whatever_commits_first() -> None:
    """OSDI'99 4.2: a request is executed when all with lower numbers are. Decisions come in the order of heights."""
    lab = ReplicaLab(honest=(1,))
    names = ["a", "ab", "abc"]
    for name in names:
        lab.deliver(lab.pre_prepare(0, name), 1)
        lab.prepare_everywhere(0, name, [1], [2, 3])
    for name in reversed(names):
        for voter in (0, 2, 3):
            lab.deliver(lab.commit(voter, 0, name), 1)
    assert [decided.header.height for decided in lab[1].decided] == [1, 2, 3]


def test_osdi99_4_4_a_view_change_carries_the_newest_certificate_of_every_height() -> None:
    """OSDI'99 4.4: P holds a set for each request prepared at i above the stable checkpoint; TOCS'02 4.5.1: the one of
    the latest view. Nothing is left out because a view passed without it."""
    lab = ReplicaLab(honest=(2,))
    for name in ("a", "ab", "abc"):
        lab.deliver(lab.pre_prepare(0, name), 2)
    for name in ("a", "ab"):
        lab.prepare_everywhere(0, name, [2], [1, 3])
    pc = lab.prepared(0, "a", (0, 1, 3))
    chosen = [lab.view_change(voter, 1, prepared=[("a", pc)]) for voter in (0, 1, 3)]
    lab.deliver(lab.new_view(1, chosen, ["a"]), 2)
    lab.prepare_everywhere(1, "a", [2], [0, 3])
    lab.change_view(5, 2)
    prepared = {header.height: certificate.view for header, certificate in lab.view_change_of(2).prepared}
    assert prepared == {1: 1, 2: 0}


def test_osdi99_4_4_after_view_change_nothing_of_the_old_view_is_voted_for() -> None:
    """OSDI'99 4.4: from VIEW-CHANGE on a backup accepts nothing but checkpoint, view-change and new-view messages."""
    lab = ReplicaLab(honest=(2,))
    lab.deliver(lab.pre_prepare(0, "a"), 2)
    lab.change_view(1, 2)
    lab[2].sent.clear()
    lab.prepare_everywhere(0, "a", [2], [1, 3])
    lab.deliver(lab.pre_prepare(0, "ab"), 2)
    assert lab[2].votes(Prepare) == [] and lab[2].votes(Commit) == []
    assert [alarm.kind for alarm in lab[2].alarms] == [AlarmKind.VIEW_CHANGE], "it does not even ask its guard"
    for voter in (0, 1, 3):  # but a certificate decides in any view: it stands for the stable checkpoint
        lab.deliver(lab.commit(voter, 0, "a"), 2)
    assert lab[2].replica.height == 1


def test_tocs02_4_5_2_f_plus_1_are_joined_at_the_smallest_of_their_views() -> None:
    """OSDI'99 4.5.2, TOCS'02: with f + 1 view changes for views above its own a replica joins, though its timer has not
    expired, *for the smallest view in the set*. So f liars decide neither whether nor where to."""
    lab = ReplicaLab(n=7, honest=(1,))
    for voter, view in ((2, 90), (3, 9)):
        lab.deliver(lab.suspect(voter, view), 1)
    assert lab[1].all_sent(Suspect) == []
    lab.deliver(lab.suspect(4, 5), 1)
    assert [message.new_view for message in lab[1].all_sent(Suspect)] == [5]
    assert lab[1].all_sent(ViewChange) == []


def test_tocs02_4_5_2_the_timer_of_a_view_starts_with_the_quorum() -> None:
    """OSDI'99 4.5.2: a replica waits for 2f + 1 view changes before it starts the timer for the new view; otherwise it
    would be ahead alone. Its wish starts none: an hour later it wishes for the same view, and votes in the old one."""
    lab = ReplicaLab(honest=(1,))
    lab[1].replica.work_pending(True, lab.now)
    lab.tick(60_000, 1)
    assert {message.new_view for message in lab[1].all_sent(Suspect)} == {1}
    lab.deliver(lab.suspect(2, 1), 1)
    lab.deliver(lab.suspect(3, 1), 1)
    assert lab[1].replica.status().target == 1
    lab[1].sent.clear()
    lab.tick(5_900, 1)
    assert lab[1].all_sent(Suspect) == []
    lab.tick(100, 1)
    assert {message.new_view for message in lab[1].all_sent(Suspect)} == {2}


def test_tocs02_4_5_2_each_fruitless_view_is_given_twice_the_time() -> None:
    """OSDI'99 4.5.2: T, then 2T, then 4T, up to the cap."""
    lab = ReplicaLab(honest=(1,))
    waited = []
    for view in range(1, 7):
        wish(lab, view, (1,))
        lab[1].sent.clear()
        elapsed = 0
        while not lab[1].all_sent(Suspect):
            lab.tick(1_000, 1)
            elapsed += 1
        waited.append(elapsed)
    assert waited == [6, 12, 24, 48, 60, 60]


@pytest.mark.parametrize("n", [4, 7, 8, 10])
def test_tocs02_4_5_2_f_replicas_cannot_force_a_view_change(n: int) -> None:
    """OSDI'99 4.5.2: a faulty replica cannot force one by sending view-change messages; it takes f + 1."""
    lab = ReplicaLab(n=n, honest=(1,))
    faulty = range(n - lab.validators.f, n)
    for view in (1, 2, 7):
        for voter in faulty:
            lab.deliver(lab.suspect(voter, view), 1)
            lab.now += 300
            lab.deliver(lab.view_change(voter, view, suspects=lab.suspects(view, faulty)), 1)
            lab.deliver(lab.new_view(view, [lab.view_change(v, view, suspects=()) for v in faulty], []), 1)
    status = lab[1].replica.status()
    assert (status.view, status.target) == (0, 0)
    assert lab[1].all_sent(Suspect) == [] and lab[1].all_sent(NewView) == []


def test_bcg_views_only_rise_and_only_after_an_honest_wish() -> None:
    """arXiv 2008.04167, figure 1: monotonicity (views and targets only rise), validity (a view is entered only if some
    honest one wished to leave the view before), bounded space (one wish per validator). One liar among four, at random
    wishing, voting and opening, against three replicas that have nothing to complain about."""
    rng = random.Random(2008)
    lab = ReplicaLab(honest=(0, 1, 2))
    exchange = Exchange(lab)
    wished = 0
    last = dict.fromkeys((0, 1, 2), (0, 0))
    for _ in range(300):
        view = wished + rng.choice([1, 1, 2, 3, 50])
        alone = lab.suspects(view, (3,))
        said = [lab.suspect(3, view), lab.view_change(3, view, suspects=alone)]
        far = view + 3 - view % 4  # a view of which it is the primary
        message = rng.choice([*said, lab.new_view(far, [], [])])
        lab.deliver(message, *rng.sample([0, 1, 2], 2), link=3)
        if rng.randrange(20) == 0 and wished < 12:  # now and then an honest one wishes; with the liar that is f + 1
            (honest,) = rng.sample([0, 1, 2], 1)
            wished += 1
            for index in (0, 1, 2):
                if index != honest:
                    lab.deliver(lab.suspect(honest, wished), index)
                    lab.deliver(lab.suspect(3, wished), index)
        lab.now += 50
        exchange.run()
        for index in (0, 1, 2):
            status = lab[index].replica.status()
            assert status.view >= last[index][0] and status.target >= last[index][1]
            assert status.target <= wished and len(status.suspects) <= 4
            last[index] = (status.view, status.target)
    assert max(view for view, _ in last.values()) > 0


def test_bcg_one_message_brings_a_straggler_into_the_view() -> None:
    """arXiv 2008.04167 and Diem's timeout certificates: whoever entered proves it by a quorum, so one VIEW-CHANGE takes
    along a replica that heard none of the wishes, however far behind it is; its NEW-VIEW does the same later."""
    lab = ReplicaLab(honest=(0, 1, 2, 3))
    exchange = Exchange(lab)
    for view in range(1, 6):
        wish(lab, view, (0, 1, 2))
        exchange.run((0, 1, 2))
    assert lab[3].replica.status().target == 0
    lab.deliver(lab.view_change_of(0), 3)
    assert lab[3].replica.status().target == 5
    lab.deliver(lab[1].all_sent(NewView)[-1], 3)
    assert lab[3].replica.status().view == 5
