"""The normal case, rule by rule (consensus.md 1.3, amendments A1, L1, L2, L5, L6, L9, L11)."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.consensus import AlarmKind, EvidenceKind, Record, Replica
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    ProposalRequest,
    Suspect,
)
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.testing.replica_lab import ReplicaLab


def alarms(lab: ReplicaLab, index: int) -> list[AlarmKind]:
    return [alarm.kind for alarm in lab[index].alarms]


# --- three phases ------------------------------------------------------------------------------------------------


def test_a_proposal_carries_the_primarys_prepare_and_q_votes_of_each_kind_decide_it() -> None:
    lab = ReplicaLab()
    header = lab.propose(0, "a")
    proposal = lab[0].all_sent(PrePrepare)[0]
    assert (proposal.header, proposal.leaf_hashes) == (header, lab.leaves("a"))
    lab.deliver(proposal, 1, 2)
    for index in (1, 2):
        lab.deliver(lab[index].all_sent(Prepare)[0], *{0, 1, 2} - {index})
    for index in (0, 1, 2):
        lab.deliver(lab[index].all_sent(Commit)[0], *{0, 1, 2} - {index})
    for index in (0, 1, 2):
        (decided,) = lab[index].decided
        assert decided.block_hash == header.hash and decided.links == ()
        assert len(decided.certificate.signatures) == 3 and decided.certificate.height == 1
    assert {lab[index].decided[0].result for index in (0, 1, 2)} == {lab.result(header)}


def test_one_validator_alone_decides_at_once_and_has_no_timers() -> None:
    lab = ReplicaLab(n=1, honest=(0,))
    for name in ("a", "ab", "abc"):
        lab.propose(0, name)
    assert lab[0].replica.height == 3
    assert lab[0].replica.next_deadline() is None
    lab.now += 3_600_000
    lab[0].replica.work_pending(True, lab.now)
    lab.tick(1_000)
    assert lab[0].all_sent(Suspect) == [] and lab[0].replica.next_deadline() is None


def test_no_more_than_w_heights_are_in_flight() -> None:
    lab = ReplicaLab(honest=(0,))
    for name in ("a", "ab", "abc", "abcd"):
        lab.propose(0, name)
    assert lab[0].replica.proposal_slot() is None
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    slot = lab[0].replica.proposal_slot()
    assert slot is not None and slot.height == 5


def test_a_proposal_above_the_window_is_kept_until_the_window_reaches_it() -> None:
    lab = ReplicaLab(honest=(1,))
    names = ["a", "ab", "abc", "abcd", "abcde"]
    for name in names:
        lab.deliver(lab.pre_prepare(0, name), 1)
    assert [height for _, height, _ in lab[1].votes(Prepare)] == [1, 2, 3, 4]
    lab.prepare_everywhere(0, "a", [1], [2, 3])
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    assert [height for _, height, _ in lab[1].votes(Prepare)] == [1, 2, 3, 4, 5]


def test_proposals_may_arrive_in_any_order() -> None:
    lab = ReplicaLab(honest=(1,))
    messages = [lab.pre_prepare(0, name) for name in ("a", "ab", "abc")]
    for message in reversed(messages):
        lab.deliver(message, 1)
    assert [height for _, height, _ in lab[1].votes(Prepare)] == [1, 2, 3]


# --- what is refused ---------------------------------------------------------------------------------------------

WRONG_HEADERS = {
    "another chain": {"chain_id": bytes(32)},
    "another height": {"height": 3},
    "another parent": {"parent_hash": bytes(32)},
    "another epoch": {"epoch": 1},
    "another validator set": {"valset_hash": bytes(32)},
    "another proposer": {"proposer": 2},
    "too many bytes": {"body_bytes": 4 * 1024 * 1024 + 1},
    "no bytes": {"body_bytes": 0},
}


@pytest.mark.parametrize("what", sorted(WRONG_HEADERS))
def test_a_malformed_header_is_not_accepted(what: str) -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a", **WRONG_HEADERS[what]), 1)
    assert lab[1].votes(Prepare) == []


@pytest.mark.parametrize("count", [0, 1_001])
def test_an_empty_or_overfull_block_is_not_accepted(count: int) -> None:
    lab = ReplicaLab(honest=(1,))
    leaves = tuple(sha256(b"%d" % number) for number in range(count))
    header = lab.block("a", tx_count=count, tx_root=merkle.root(leaves))
    lab.headers["a"] = header
    message = msgspec.structs.replace(lab.pre_prepare(0, "a"), leaf_hashes=leaves)
    lab.deliver(message, 1)
    assert lab[1].votes(Prepare) == [] and lab[1].acquire == []


def test_a_barrier_with_two_transactions_is_not_accepted() -> None:
    lab = ReplicaLab(honest=(1,))
    leaves = (sha256(b"1"), sha256(b"2"))
    lab.headers["a"] = lab.block("a", tx_count=2, tx_root=merkle.root(leaves), barrier=True)
    lab.deliver(msgspec.structs.replace(lab.pre_prepare(0, "a"), leaf_hashes=leaves), 1)
    assert lab[1].votes(Prepare) == []


def test_a_leaf_list_that_is_not_the_headers_is_no_proposal_and_no_reason_against_it() -> None:
    lab = ReplicaLab(honest=(1,))
    good = lab.pre_prepare(0, "a")
    lab.deliver(msgspec.structs.replace(good, leaf_hashes=(sha256(b"other"),)), 1, link=3)
    assert lab[1].votes(Prepare) == []
    lab.deliver(good, 1)
    assert len(lab[1].votes(Prepare)) == 1


def test_a_forged_proposal_or_vote_counts_nothing() -> None:
    lab = ReplicaLab(honest=(1,))
    good = lab.pre_prepare(0, "a")
    lab.deliver(msgspec.structs.replace(good, signature=bytes(64)), 1)
    assert lab[1].votes(Prepare) == []
    lab.deliver(good, 1)
    for voter in (2, 3):
        lab.deliver(msgspec.structs.replace(lab.prepare(voter, 0, "a"), signature=bytes(64)), 1)
    lab.deliver(msgspec.structs.replace(lab.prepare(2, 0, "a"), voter=3), 1)
    assert lab[1].votes(Commit) == []


def test_nothing_is_prepared_before_all_bodies_are_held() -> None:
    lab = ReplicaLab(honest=(1,))
    first = lab.block("a").hash
    lab[1].withheld.add(first)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.deliver(lab.pre_prepare(0, "ab"), 1)
    assert [request.block_hash for request in lab[1].acquire] == [first, lab.block("ab").hash]
    assert lab[1].votes(Prepare) == []
    lab.give_bodies(1, first)
    assert [height for _, height, _ in lab[1].votes(Prepare)] == [1, 2]


def test_a_block_that_breaks_a_rule_is_never_prepared() -> None:
    lab = ReplicaLab(honest=(1,))
    block_hash = lab.block("a").hash
    lab[1].withheld.add(block_hash)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.give_bodies(1, block_hash, ok=False, reason="a nonce twice")
    lab.prepare_everywhere(0, "a", [1], [2, 3])
    assert lab[1].votes(Prepare) == [] and lab[1].votes(Commit) == []
    assert [alarm.text for alarm in lab[1].alarms] == ["a nonce twice"]


def test_a_block_somebody_prepared_is_not_committed_by_who_refused_it() -> None:
    lab = ReplicaLab(honest=(1,))
    block_hash = lab.block("a").hash
    lab[1].withheld.add(block_hash)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [0, 2, 3])
    assert lab[1].votes(Commit) == []


# --- time (L11) --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset_ms", "timely"),
    [(0, True), (500, True), (501, False), (-5_500, True), (-5_501, False), (3_600_000, False)],
)
def test_a_fresh_proposal_is_judged_by_the_clock_at_its_arrival(offset_ms: int, timely: bool) -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a", timestamp_ms=lab.now + offset_ms), 1)
    assert bool(lab[1].votes(Prepare)) is timely


def test_bodies_that_take_long_do_not_make_a_proposal_stale() -> None:
    lab = ReplicaLab(honest=(1,))
    message = lab.pre_prepare(0, "a", timestamp_ms=lab.now)
    lab[1].withheld.add(message.header.hash)
    lab.deliver(message, 1)
    lab.now += 60_000
    lab.give_bodies(1, message.header.hash)
    assert len(lab[1].votes(Prepare)) == 1


def test_f_plus_1_prepares_vouch_for_a_time_my_clock_rejects() -> None:
    lab = ReplicaLab(honest=(1,))
    message = lab.pre_prepare(0, "a", timestamp_ms=lab.now - 60_000)
    lab.headers["a"] = message.header
    lab.deliver(message, 1)
    assert lab[1].votes(Prepare) == []
    lab.deliver(lab.prepare(2, 0, "a"), 1)
    assert len(lab[1].votes(Prepare)) == 1
    assert AlarmKind.CLOCK_DIFFERS in alarms(lab, 1)


def test_a_parent_from_the_future_does_not_stop_the_chain() -> None:
    lab = ReplicaLab(honest=(0, 1))
    far = lab.now + 3_600_000
    lab.headers["a"] = lab.block("a", timestamp_ms=far)
    for receiver in (0, 1):
        certificate = lab.certificate(5, "a", tuple(voter for voter in range(4) if voter != receiver))
        result = lab.result(lab.block("a"))
        lab.deliver(Decision(lab.block("a"), result, (), certificate, lab.leaves("a")), receiver, link=3)
        assert lab[receiver].replica.height == 1
    header = lab.propose(0, "ab")
    assert header.timestamp_ms == far + 1
    lab.deliver(lab[0].all_sent(PrePrepare)[-1], 1)
    assert (0, 2, header.hash) in lab[1].votes(Prepare)


# --- results -----------------------------------------------------------------------------------------------------


def test_commit_waits_for_the_result_and_a_late_result_of_a_dropped_block_is_ignored() -> None:
    lab = ReplicaLab(honest=(2,))
    lab[2].holds_results = True
    lab.deliver(lab.pre_prepare(0, "a"), 2)
    lab.prepare_everywhere(0, "a", [2], [1, 3])
    assert lab[2].votes(Commit) == []
    pending = lab[2].execute[0]
    lab.deliver(lab.new_view(1, [lab.view_change(v, 1) for v in (0, 1, 3)], []), 2)
    lab.execute(2, pending)
    lab.pump(2)
    assert lab[2].votes(Commit) == []
    assert lab[2].discarded == [pending.block_hash]


def test_l1_one_wrong_result_raises_no_alarm_while_a_right_one_can_still_win() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    lab.deliver(lab.commit(3, 0, "a", junk=True), 0)
    lab.deliver(lab.commit(1, 0, "a"), 0)
    assert AlarmKind.RESULTS_DIFFER not in alarms(lab, 0) and lab[0].replica.height == 0
    # L2: that were q votes, but no certificate, so the fourth still counts.
    lab.deliver(lab.commit(2, 0, "a"), 0)
    assert lab[0].replica.height == 1


def test_l1_the_alarm_comes_when_no_result_can_win_and_changes_nothing() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (2, 3):
        lab.deliver(lab.commit(voter, 0, "a", junk=True), 0)
    assert alarms(lab, 0) == []
    lab.deliver(lab.commit(1, 0, "a"), 0)
    assert alarms(lab, 0) == [AlarmKind.RESULTS_DIFFER]
    assert lab[0].replica.status().state == "normal"


def test_u12_a_quorum_with_another_result_quarantines_and_equal_execution_releases() -> None:
    lab = ReplicaLab(honest=(0,))
    lab[0].junk = True
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.status().state == "quarantine" and lab[0].replica.height == 0
    lab.deliver(lab.suspect(1, 1), 0)
    lab.deliver(lab.suspect(2, 1), 0)
    assert lab[0].all_sent(Suspect) == []
    lab.start(0, lab[0].records)
    assert lab[0].replica.status().state == "quarantine"
    assert lab[0].replica.proposal_slot() is None
    # The repaired node computes what the quorum signed: it decides, and may vote again above.
    for voter in (1, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.height == 1 and lab[0].replica.status().state == "normal"


def test_u12_quarantine_is_durable_even_when_nothing_was_signed() -> None:
    lab = ReplicaLab(honest=(1,))
    lab[1].junk = True
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    assert lab[1].votes(Commit) == [] and lab[1].replica.status().state == "quarantine"
    lab.start(1, lab[1].records)
    assert lab[1].replica.status().state == "quarantine"
    lab.start(1, lab[1].replica.checkpoint_records())
    assert lab[1].replica.status().state == "quarantine"


def test_u12_a_result_that_differs_from_the_logged_one_quarantines_at_restart() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [2, 3])
    assert len(lab[1].votes(Commit)) == 1
    records = lab[1].records
    bench = lab.start(1, records)
    assert bench.replica.status().state == "normal"
    signer = bench.signer
    assert signer is not None
    replica = Replica(lab.config, signer, lab.head(), [Record(r.kind, r.payload) for r in records], lab.now)
    ready = replica.ready()
    replica.acquired(ready.acquire[0].block_hash, True)
    execute = replica.ready().execute[0]
    replica.executed(execute.block_hash, lab.result(execute.header, junk=True))
    assert replica.status().state == "quarantine"


# --- lies --------------------------------------------------------------------------------------------------------


def test_two_certificates_at_one_height_halt_the_channel_for_good() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.height == 1
    other = Decision(lab.block("z"), lab.result(lab.block("z")), (), lab.certificate(3, "z", (1, 2, 3)), ())
    lab.deliver(other, 0, link=3)
    assert lab[0].replica.status().state == "halted"
    assert lab[0].replica.proposal_slot() is None
    lab.start(0, lab[0].records)
    assert lab[0].replica.status().state == "halted"


def test_an_equivocating_primary_is_evidence_and_is_suspected() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.deliver(lab.pre_prepare(0, "b"), 1)
    assert [e.kind for e in lab[1].evidence] == [EvidenceKind.EQUIVOCATION]
    assert [m.new_view for m in lab[1].all_sent(Suspect)] == [1]
    assert len(lab[1].votes(Prepare)) == 1
    lab.deliver(lab.pre_prepare(0, "c"), 1)
    assert len(lab[1].evidence) == 1  # bounded: the first pair is kept


@pytest.mark.parametrize("is_early", [False, True], ids=["proposal first", "vote first"])
def test_a_primary_that_tells_each_half_another_block_is_found_out_by_both(is_early: bool) -> None:
    """Consensus.md 1.12 (a): each half holds one proposal, so each shows the other the primary's vote it holds."""
    lab = ReplicaLab(honest=(1, 2))
    told = [(lab.pre_prepare(0, "a"), 1), (lab.prepare(2, 0, "b"), 1), (lab.pre_prepare(0, "b"), 2)]
    for message, receiver in reversed(told) if is_early else told:
        lab.deliver(message, receiver)
    shown = [(to, vote) for to, vote in lab[1].addressed if isinstance(vote, Prepare) and vote.voter == 0]
    assert shown == [((2,), lab.prepare(0, 0, "a"))]
    lab.deliver(shown[0][1], 2, link=1)
    assert [(e.kind, e.voter) for e in lab[2].evidence] == [(EvidenceKind.EQUIVOCATION, 0)]
    assert [m.new_view for m in lab[2].all_sent(Suspect)] == [1]


def test_the_primarys_vote_is_shown_once_to_each_who_votes_otherwise_and_to_nobody_else() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    for _ in range(3):
        lab.deliver(lab.prepare(3, 0, "b"), 1)
    lab.deliver(lab.prepare(3, 0, "c"), 1)
    lab.deliver(lab.prepare(2, 0, "a"), 1)
    assert [to for to, vote in lab[1].addressed if isinstance(vote, Prepare) and vote.voter == 0] == [(3,)]


def test_the_victim_of_an_equivocation_follows_the_certificate() -> None:
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "b"), 1)
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    assert lab[1].replica.height == 0  # it does not know block a yet
    certificate = lab.certificate(0, "a", (0, 2, 3))
    lab.deliver(Decision(lab.block("a"), lab.result(lab.block("a")), (), certificate, ()), 1, link=2)
    assert lab[1].replica.block_hash == lab.block("a").hash
    assert lab[1].released == [lab.block("b").hash, lab.block("a").hash]


def test_every_kind_of_lie_is_evidence() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.deliver(lab.prepare(3, 0, "a"), 0)
    lab.deliver(lab.prepare(3, 0, "b"), 0)
    lab.deliver(lab.commit(3, 0, "a"), 0)
    lab.deliver(lab.commit(3, 0, "a", junk=True), 0)
    lab.deliver(lab.view_change(3, 2), 0)
    lab.deliver(lab.view_change(3, 2, suspects=lab.suspects(2, (1, 2, 3))), 0)
    assert {evidence.kind: evidence.voter for evidence in lab[0].evidence} == {
        EvidenceKind.EQUIVOCATION: 3,
        EvidenceKind.TWO_RESULTS: 3,
        EvidenceKind.LYING_VIEW_CHANGE: 3,
        EvidenceKind.TWO_VIEW_CHANGES: 3,
    }


def test_two_new_views_for_one_view_are_evidence() -> None:
    lab = ReplicaLab(honest=(0,))
    first = lab.new_view(1, [lab.view_change(v, 1) for v in (1, 2, 3)], [])
    lab.deliver(first, 0)
    second = lab.new_view(1, [lab.view_change(v, 1) for v in (0, 1, 3)], [])
    lab.deliver(second, 0)
    assert [(e.kind, e.voter) for e in lab[0].evidence] == [(EvidenceKind.TWO_NEW_VIEWS, 1)]


def test_votes_of_a_later_view_wait_only_on_their_authors_own_link() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.block("b", proposer=1)
    for voter, link in ((1, 1), (2, 2), (3, 2)):
        lab.deliver(lab.prepare(voter, 1, "b"), 0, link=link)
    lab.deliver(lab.new_view(1, [lab.view_change(v, 1) for v in (1, 2, 3)], []), 0)
    lab.deliver(lab.pre_prepare(1, "b"), 0)
    assert lab[0].votes(Commit) == [(1, 1, lab.block("b").hash)]  # 1, 2 and myself; 3's came by 2 and was dropped
    in_flight = lab[0].replica._state.log.slots[1].prepares
    assert sorted(in_flight) == [0, 1, 2]


# --- L5, L6, L9 --------------------------------------------------------------------------------------------------


def test_l5_bodies_of_an_o_entry_are_asked_from_its_signers_before_any_vote() -> None:
    lab = ReplicaLab(honest=(0,))
    pc = lab.prepared(0, "b", (1, 2, 3))
    lab[0].withheld.add(lab.block("b").hash)
    view_changes = [lab.view_change(v, 1, prepared=[("b", pc)]) for v in (1, 2, 3)]
    lab.deliver(lab.new_view(1, view_changes, ["b"]), 0)
    (request,) = lab[0].acquire
    assert request.holders == (1, 2, 3) and request.certified and request.leaf_hashes is None
    assert lab[0].votes(Prepare) == []
    lab.give_bodies(0, request.block_hash)
    assert lab[0].votes(Prepare) == [(1, 1, request.block_hash)]


def test_l5_the_primary_signs_no_new_view_before_it_holds_the_bodies_of_o() -> None:
    lab = ReplicaLab(honest=(1,))
    pc = lab.prepared(0, "b", (0, 2, 3))
    lab[1].withheld.add(lab.block("b").hash)
    for voter in (2, 3):
        lab.deliver(lab.view_change(voter, 1, prepared=[("b", pc)]), 1)
    assert lab[1].all_sent(NewView) == []
    lab.give_bodies(1, lab.block("b").hash)
    assert len(lab[1].all_sent(NewView)) == 1


def test_l5_a_prepared_block_stays_pinned_through_view_changes_until_its_height_is_decided() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    for view in (1, 2):
        lab.deliver(lab.new_view(view, [lab.view_change(v, view) for v in (0, 1, 2)], []), 3)
    assert lab[3].discarded == [lab.block("a").hash] and lab[3].released == []
    lab.decide(2, "b", [3], (0, 1, 2))
    assert lab[3].released == [lab.block("a").hash, lab.block("b").hash]


def test_l6_a_decided_entry_of_o_is_voted_for_again_without_executing_it() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert lab[0].replica.height == 1 and len(lab[0].execute) == 1
    pc = lab.prepared(0, "a", (0, 1, 2))
    view_changes = [lab.view_change(v, 1, prepared=[("a", pc)]) for v in (1, 2, 3)]
    lab.deliver(lab.new_view(1, view_changes, ["a"]), 0)
    assert lab[0].votes(Prepare)[0] == (1, 1, lab.block("a").hash)
    lab.deliver(lab.prepare(2, 1, "a"), 0)
    assert lab[0].votes(Commit)[-1] == (1, 1, lab.block("a").hash)
    assert len(lab[0].execute) == 1


def test_l6_another_block_at_a_decided_height_halts() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    for voter in (1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    pc = lab.prepared(1, "z", (1, 2, 3))
    view_changes = [lab.view_change(v, 2, prepared=[("z", pc)]) for v in (1, 2, 3)]
    lab.deliver(lab.new_view(2, view_changes, ["z"]), 0)
    assert lab[0].replica.status().state == "halted"


def decision_of(lab: ReplicaLab, view: int, name: str, voters: tuple[int, ...]) -> Decision:
    header = lab.block(name)
    return Decision(header, lab.result(header), (), lab.certificate(view, name, voters), lab.leaves(name))


def test_one_liars_two_new_views_do_not_halt_whoever_got_the_one_that_lost() -> None:
    """L6 said "the same block, else HALT". But primary(1) = 1 lies: to 3 it shows the PC of "a", which nobody
    committed, to 0 and 2 a quorum without it; there "b" is decided, in the very view of 3. One validator lied."""
    lab = ReplicaLab(honest=(3,))
    lab.change_view(1, 3)
    pc = lab.prepared(0, "a", (0, 1, 2))
    view_changes = [lab.view_change(1, 1, prepared=[("a", pc)]), lab.view_change(2, 1), lab.view_change_of(3)]
    lab.deliver(lab.new_view(1, view_changes, ["a"]), 3)
    assert lab[3].votes(Prepare) == [(1, 1, lab.block("a").hash)]
    lab.deliver(decision_of(lab, 1, "b", (0, 1, 2)), 3)
    assert lab[3].replica.block_hash == lab.block("b").hash
    assert lab[3].replica.status().state == "normal"
    assert lab[3].evidence == []


def test_a_block_decided_in_a_later_view_may_be_missing_from_the_o_of_an_earlier_one() -> None:
    """Validator 1 opens view 1 with "a" while the others have left for view 2 and decided "b" there."""
    for decided_first in (True, False):
        lab = ReplicaLab(honest=(1,))
        pc = lab.prepared(0, "a", (0, 2, 3))
        decision = decision_of(lab, 2, "b", (0, 2, 3))
        lab.change_view(1, 1)
        if decided_first:
            lab.deliver(decision, 1)
        lab.deliver(lab.view_change(0, 1, prepared=[("a", pc)]), 1)
        assert len(lab[1].all_sent(NewView)) == (0 if decided_first else 1)
        lab.deliver(decision, 1)
        assert lab[1].replica.block_hash == lab.block("b").hash
        assert lab[1].replica.status().state != "halted"


def test_l9_f_plus_1_prepares_for_an_unknown_block_fetch_the_proposal_from_them() -> None:
    lab = ReplicaLab(honest=(1, 2))
    lab.deliver(lab.pre_prepare(0, "a"), 2)
    lab.deliver(lab.prepare(3, 0, "a"), 1)
    assert lab[1].all_sent(ProposalRequest) == []
    lab.deliver(lab.prepare(2, 0, "a"), 1)
    to, request = lab[1].addressed[-1]
    assert isinstance(request, ProposalRequest) and to == (2, 3)
    lab.deliver(request, 2, link=1)
    to, proposal = lab[2].addressed[-1]
    assert isinstance(proposal, PrePrepare) and to == (1,)
    lab.deliver(proposal, 1, link=2)
    assert len(lab[1].votes(Prepare)) == 1


def test_a_proposal_brought_again_needs_no_timely_clock() -> None:
    lab = ReplicaLab(honest=(0, 2))
    lab.propose(0, "a")
    pc = lab.prepared(0, "a", (0, 1, 3))
    lab.now += 3_600_000
    view_changes = [lab.view_change(v, 1, prepared=[("a", pc)]) for v in (0, 1, 3)]
    lab.deliver(lab.new_view(1, view_changes, ["a"]), 2)
    assert lab[2].votes(Prepare) == [(1, 1, lab.block("a").hash)]


def test_a_new_view_or_view_change_of_mine_that_i_did_not_write_stops_me() -> None:
    lab = ReplicaLab(honest=(0, 1))
    lab.deliver(lab.new_view(1, [lab.view_change(v, 1) for v in (1, 2, 3)], []), 1, link=3)
    lab.deliver(lab.view_change(0, 1), 0, link=3)
    for index in (0, 1):
        assert lab[index].replica.status().state == "halted"
        assert AlarmKind.OWN_KEY_ELSEWHERE in alarms(lab, index)
