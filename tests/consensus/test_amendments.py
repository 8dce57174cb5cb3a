"""The counterexamples of the amendments: where each one is a test, and those that stand nowhere else.

"Chain" in the second column means that another layer holds the rule. L7 to L9 (complaints, slow primaries) and evidence
on chain (A6) have modules of their own.

| Entry | Its counterexample |
|---|---|
| U1 | test_schedules::test_u1_a_commit_sent_in_an_older_view_does_not_count_as_in_order |
| U2 | test_schedules::test_u2_nothing_is_voted_for_at_or_below_the_floor_of_a_view |
| | test_schedules::test_u2_the_primary_opens_the_view_only_on_top_of_the_base |
| U3 | test_schedules::test_u3_nothing_is_accepted_above_a_barrier_that_changes_the_set |
| | test_schedules::test_u3_a_view_whose_base_is_an_undecided_barrier_stays_shut |
| | test_pitfalls_of_operation::test_b12_nothing_said_in_another_chain_epoch_or_view_counts_here |
| U4 | test_repair::test_u4_a_range_over_a_barrier_is_not_verified_with_the_set_it_installs |
| | test_ranges::test_keys_that_an_unproven_range_installs_prove_nothing |
| U5 | test_schedules::test_u5_a_commit_keeps_its_block_through_a_crash_and_a_view_change |
| | test_schedules::test_u5_every_vote_record_names_the_block_whose_bodies_must_be_durable |
| | test_agreement::test_a_block_somebody_prepared_is_not_committed_by_who_refused_it |
| U6 | test_schedules::test_u6_with_its_log_a_node_keeps_its_promise |
| | test_schedules::test_u6_without_its_log_a_node_is_an_observer_and_votes_for_nothing |
| | test_schedules::test_u6_a_vote_of_mine_that_i_did_not_write_stops_me |
| | test_restore::test_without_a_log_or_without_a_key_a_node_observes |
| | test_write_ahead_log::test_a_log_is_never_created_by_opening_it |
| U7 | test_schedules::test_u7_the_guard_keeps_floor_promise_slots_and_results |
| | test_restart::test_a_checkpoint_restores_what_the_whole_log_restores |
| | test_log_writer::test_a_full_segment_is_followed_by_one_that_holds_the_state_of_every_channel |
| | test_restore::test_a_log_that_is_behind_the_database_ends_signing |
| | test_write_ahead_log::test_a_removed_segment_does_not_come_back_once_the_roll_is_synced |
| U8 | test_verifier::test_a_bad_copy_poisons_nothing_and_a_good_one_covers_no_other_signature |
| | test_admission::test_a_copy_with_a_broken_signature_does_not_poison_the_true_one |
| | test_gatherer::test_bytes_that_hash_to_nothing_wanted_are_dropped_and_condemn_nobody |
| | test_transaction_and_genesis::test_two_signatures_of_one_body_share_the_tx_id_but_not_the_leaf_hash |
| | test_messages_and_verify::test_envelopes_must_be_those_of_the_header |
| U9 | test_executor::test_validity_is_open_at_block_time_and_closed_at_the_lifetime |
| | test_executor::test_a_nonce_twice_in_a_block_or_used_on_the_branch_while_valid_refuses_it |
| | test_executor::test_a_block_of_failing_transactions_is_acceptable |
| | test_applier::test_time_is_judged_by_the_parent_on_the_branch |
| | test_hostile_peers::test_an_honest_primary_is_not_deposed_for_proposing_by_the_old_rules |
| U10 | test_executor::test_every_block_writes_the_replay_entry_of_its_nonces |
| | test_executor::test_replay_entries_leave_when_their_block_is_older_than_24_hours |
| U11 | test_executor::test_wrong_chain_counts_sizes_and_barrier_flags_refuse_a_block |
| | test_applier::test_a_barrier_command_among_others_or_without_its_flag_is_refused |
| | test_governance::test_a_barrier_that_fails_or_changes_a_parameter_keeps_the_validators |
| | test_amendments::test_u11_a_barrier_that_keeps_the_set_leaves_epoch_and_view_alone |
| U12 | test_agreement::test_u12_a_quorum_with_another_result_quarantines_and_equal_execution_releases |
| | test_agreement::test_u12_quarantine_is_durable_even_when_nothing_was_signed |
| | test_agreement::test_u12_a_result_that_differs_from_the_logged_one_quarantines_at_restart |
| | test_amendments::test_u12_a_repaired_module_signs_no_second_result_in_a_later_view |
| U13 | test_amendments::test_u13_no_local_setting_is_read_by_acceptance |
| | test_applier::test_the_rules_above_a_barrier_are_those_it_enacts |
| U14 | test_proofs::test_u14_an_epoch_proves_nothing_beyond_its_heights |
| | test_proofs::test_u14_every_field_of_a_certificate_is_that_of_its_header_and_result |
| L1 | test_agreement::test_l1_one_wrong_result_raises_no_alarm_while_a_right_one_can_still_win |
| | test_agreement::test_l1_the_alarm_comes_when_no_result_can_win_and_changes_nothing |
| L2 | test_agreement::test_l1_one_wrong_result_raises_no_alarm_while_a_right_one_can_still_win |
| | test_amendments::test_l2_late_commits_of_the_view_just_left_still_decide |
| L3 | test_repair::test_l3_a_certified_descendant_on_a_known_branch_decides_the_blocks_below_it |
| | test_repair::test_l3_links_prove_a_height_without_its_own_certificate |
| L4 | test_repair::test_l4_whoever_is_one_block_behind_is_sent_the_next_block_with_its_proof |
| | test_repair::test_l4_a_replica_one_epoch_behind_is_brought_over_the_barrier_by_one_certificate |
| | test_amendments::test_l4_a_decision_that_one_replica_shares_with_a_silent_liar_reaches_the_others |
| L5 | test_agreement::test_l5_bodies_of_an_o_entry_are_asked_from_its_signers_before_any_vote |
| | test_agreement::test_l5_the_primary_signs_no_new_view_before_it_holds_the_bodies_of_o |
| | test_agreement::test_l5_a_prepared_block_stays_pinned_through_view_changes_until_its_height_is_decided |
| L6 | test_agreement::test_l6_a_decided_entry_of_o_is_voted_for_again_without_executing_it |
| | test_amendments::test_l6_a_primary_that_decided_meanwhile_still_opens_the_view |
| L9 | test_timers::test_a_primary_cannot_drag_the_view_time_up |
| | test_agreement::test_l9_f_plus_1_prepares_for_an_unknown_block_fetch_the_proposal_from_them |
| L10 | test_timers::test_a_forwarded_or_expired_wish_counts_nothing |
| | test_timers::test_backoff_falls_by_one_per_window_of_decided_blocks |
| | test_timers::test_who_knows_of_a_certificate_above_its_head_suspects_nobody |
| | test_restart::test_backoff_is_restored_from_the_views_that_passed |
| | test_timers::test_fetching_the_bodies_of_o_pauses_the_progress_timer_for_one_d |
| | test_amendments::test_l10_a_primary_whose_blocks_arrive_is_not_silent |
| L11 | test_agreement::test_a_parent_from_the_future_does_not_stop_the_chain |
| | test_agreement::test_bodies_that_take_long_do_not_make_a_proposal_stale |
| | test_agreement::test_f_plus_1_prepares_vouch_for_a_time_my_clock_rejects |
| L12 | test_view_change_vectors::test_vector_9_a_wrong_o_is_proof_against_the_primary |
| | test_view_change_vectors::test_a_new_view_that_its_primary_did_not_sign_proves_nothing |
| L13 | test_governance::test_a_proposal_that_makes_no_sense_is_not_opened |
| | test_governance_validators::test_another_key_votes_from_the_block_after_the_barrier_and_the_old_one_never_again |
| L14 | test_executor::test_a_fault_is_reported_to_the_operator_without_the_text_of_the_exception |
| | test_executor::test_execution_on_an_overlay_equals_execution_on_the_applied_state |
| | test_executor::test_two_executors_agree_whatever_they_executed_before |
| | test_receivable_errors::test_the_source_fails_with_declared_reasons_only_and_uses_all_of_them |
| A1 | test_agreement::test_a_malformed_header_is_not_accepted |
| | test_agreement::test_an_empty_or_overfull_block_is_not_accepted |
| | test_agreement::test_the_victim_of_an_equivocation_follows_the_certificate |
| A2 | test_messages::test_the_signed_bytes_are_those_of_amendment_a2 |
| | test_format_vectors::test_the_recipe_gives_the_19_vectors_kept_in_the_project |
| A3 | test_agreement::test_commit_waits_for_the_result_and_a_late_result_of_a_dropped_block_is_ignored |
| A4 | test_restart::test_a_decision_the_store_lost_is_made_again_before_anything_else_is_signed |
| | test_restart::test_decided_records_carry_the_head_outside_the_store |
| | test_restart::test_a_checkpoint_between_decision_and_store_keeps_the_block_and_its_bodies |
| A5 | test_view_change_vectors::test_the_primarys_own_view_change_must_be_among_them |
| | test_view_change_vectors::test_a_new_view_below_the_target_or_the_view_is_dropped |
| | test_amendments::test_a5_a_base_that_contradicts_a_decision_halts_with_both_proofs |
| A6 | test_agreement::test_every_kind_of_lie_is_evidence |
| | test_agreement::test_a_new_view_or_view_change_of_mine_that_i_did_not_write_stops_me |
| A7 | test_repair::test_l4_a_replica_one_epoch_behind_is_brought_over_the_barrier_by_one_certificate |
| | test_amendments::test_a7_new_validators_sign_from_the_next_height_and_removed_ones_follow |
| A8 | test_tx_status::test_a8_expired_is_said_by_block_time_and_never_by_the_clock |
| | test_state_store::test_a_nonce_is_known_until_block_time_reaches_its_end |
| A9 | test_amendments::test_a9_nodes_hold_different_certificates_and_nothing_depends_on_them |
| A10 | test_agreement::test_one_validator_alone_decides_at_once_and_has_no_timers |
| | test_sizes::test_two_of_two_and_two_of_three_bear_crashes_as_far_as_the_quorum_goes |
| M1 | test_write_ahead_log::test_one_flipped_bit_anywhere_in_synced_records_is_damage_and_never_a_shorter_log |
| M2 | test_repair::test_m2_proposals_and_votes_that_a_peer_lacks_are_sent_again_when_they_are_not_fresh |
| M3 | test_amendments::test_m3_the_latest_wish_counts_not_the_highest |
| M4 | test_amendments::test_m4_votes_of_the_old_view_are_repeated_during_a_view_change |
| M6 | test_validators_and_certificates::test_a_set_is_ordered_by_key_and_refuses_doubles_and_nobody |
| | test_governance::test_a_proposal_that_makes_no_sense_is_not_opened |
"""

from __future__ import annotations

import msgspec

from dawan_node.consensus import ChannelRules, Execute, RecordKind, ReplicaConfig, Timers
from dawan_node.consensus.messages import Commit, Decision, NewView, Prepare, Status, Suspect
from dawan_node.consensus.records import HaltedRecord
from dawan_node.node.config import Config
from dawan_node.testing.cluster import Cluster
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import Faults
from tests.consensus.exchange import Exchange, wish
from tests.consensus.scenarios import has_settled, have_reached, why
from tests.named_tests import first_cells, missing

#: L7, L8: complaints, in a module of their own; M5, M7: advice to operators.
ELSEWHERE = {"L7", "L8", "M5", "M7"}


def test_every_amendment_has_a_test_that_exists() -> None:
    numbers = {"U": 14, "L": 14, "A": 10, "M": 7}
    entries = {f"{letter}{number}" for letter, last in numbers.items() for number in range(1, last + 1)}
    named = [cell for cell in first_cells(__doc__) if cell]
    assert set(named) == entries - ELSEWHERE and len(named) == len(set(named))
    assert missing(__doc__) == []


def test_u11_a_barrier_that_keeps_the_set_leaves_epoch_and_view_alone() -> None:
    """U11: if every barrier started an epoch, failing configuration transactions would reset views and pick primaries
    at will."""
    lab = ReplicaLab(honest=(2,))
    lab.deliver(lab.new_view(1, [lab.view_change(voter, 1) for voter in (0, 1, 3)], []), 2)
    lab.block("A", proposer=1)
    lab.decide(1, "A", [2], (0, 1, 3))
    status = lab[2].replica.status()
    assert (status.height, status.epoch, status.view) == (1, 0, 1)
    lab.block("Ab", proposer=1)
    lab.decide(1, "Ab", [2], (0, 1, 3))
    assert lab[2].replica.height == 2


def test_u12_a_repaired_module_signs_no_second_result_in_a_later_view() -> None:
    """U12: q nodes commit to r1, a certificate known to Z alone; a "fixed" module gives r2 in the next view; with both
    signed there would be two finality proofs for one height."""
    lab = ReplicaLab(honest=(0, 1, 2))
    lab.propose(0, "a")
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [0, 2, 3])
    (vote,) = lab[1].all_sent(Commit)

    def fixed(index: int, request: Execute) -> None:
        lab[index].replica.executed(request.block_hash, lab.result(request.header, junk=True))

    lab.execute = fixed  # type: ignore[method-assign]  # the "fixed" module gives another result
    lab.start(1, lab[1].records)
    pc = lab.prepared(0, "a", (0, 1, 3))
    changes = [lab.view_change(voter, 2, prepared=[("a", pc)]) for voter in (0, 2, 3)]
    lab.deliver(lab.new_view(2, changes, ["a"]), 1)
    lab.prepare_everywhere(2, "a", [1], [0, 2, 3])
    assert {message.result_hash for message in lab[1].all_sent(Commit)} <= {vote.result_hash}
    assert lab[1].replica.status().state == "quarantine"


def test_u13_no_local_setting_is_read_by_acceptance() -> None:
    """U13: with W = 16 here and 4 there a VIEW-CHANGE is void for some, and a chain forks. W and the caps come from the
    genesis; ``Timers`` and ``node.toml`` have no such name, and the file refuses names it does not have."""
    rules = set(ChannelRules.__dataclass_fields__)
    assert rules == {"validators", "window", "block_txs_max", "block_bytes_max"}
    sections = [field.type for field in msgspec.structs.fields(Config)]
    local = {field.name for field in msgspec.structs.fields(Config)}
    for section in sections:
        if isinstance(section, type) and issubclass(section, msgspec.Struct):
            local |= {field.name for field in msgspec.structs.fields(section)}
    local |= set(Timers.__dataclass_fields__) | set(ReplicaConfig.__dataclass_fields__)
    assert not local & (rules | {"w", "block_txs", "block_bytes", "tx_bytes_max", "tx_lifetime_ms_max"})


def test_l2_late_commits_of_the_view_just_left_still_decide() -> None:
    """L2, and 1.3: votes of any view may complete a certificate, also when the next view is open."""
    lab = ReplicaLab(honest=(2,))
    lab.deliver(lab.pre_prepare(0, "a"), 2)
    lab.prepare_everywhere(0, "a", [2], [1, 3])
    assert len(lab[2].votes(Commit)) == 1
    lab.change_view(1, 2)
    lab.deliver(lab.commit(0, 0, "a"), 2)
    chosen = [lab.view_change(voter, 1) for voter in (0, 1, 3)]
    lab.deliver(lab.new_view(1, chosen, []), 2)
    assert lab[2].replica.height == 0
    lab.deliver(lab.commit(1, 0, "a"), 2)
    assert lab[2].replica.height == 1 and lab[2].decided[0].certificate.view == 0


def test_l4_a_decision_that_one_replica_shares_with_a_silent_liar_reaches_the_others() -> None:
    """L4 (ii): X = 0 decided with {A, X, Z}; after the view change A and B hold two of three votes, X sends only its
    own, Z is silent. One STATUS of theirs brings X's certificate."""
    lab = ReplicaLab(honest=(0, 1, 2))
    exchange = Exchange(lab)
    header = lab.propose(0, "a")
    exchange.run(is_lost=lambda s, r, m: isinstance(m, Commit) or (isinstance(m, Prepare) and r == 2))
    for voter in (1, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 0)
    assert [lab[index].replica.height for index in (0, 1, 2)] == [1, 0, 0]
    exchange.skip()
    wish(lab, 3, (1, 2))  # validator 3 is the primary of view 3 and opens nothing
    lab.tick(1_000)
    exchange.run(is_lost=lambda s, r, m: not isinstance(m, Status | Decision))
    assert {lab[index].replica.block_hash for index in (0, 1, 2)} == {header.hash}


def test_l6_a_primary_that_decided_meanwhile_still_opens_the_view() -> None:
    """L6: the primary sent its VIEW-CHANGE at last = 0 and then decided 1 by a late COMMIT. It may sign its own entry
    of O again; otherwise there would be no NEW-VIEW."""
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [2, 3])
    lab.change_view(1, 1)
    for voter in (0, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    assert lab[1].replica.height == 1 and lab[1].all_sent(NewView) == []
    pc = lab.prepared(0, "a", (0, 2, 3))
    for voter in (0, 2):
        lab.deliver(lab.view_change(voter, 1, prepared=[("a", pc)]), 1)
    (opening,) = lab[1].all_sent(NewView)
    assert len(opening.prepares) == 1
    lab.deliver(lab.prepare(0, 1, "a"), 1)
    lab.deliver(lab.prepare(2, 1, "a"), 1)
    assert lab[1].votes(Commit)[-1] == (1, 1, lab.block("a").hash)
    slot = lab[1].replica.proposal_slot()
    assert slot is not None and slot.height == 2


def test_l10_a_primary_whose_blocks_arrive_is_not_silent() -> None:
    """L10: five seconds of silence count only if nothing was decided or accepted meanwhile: blocks that others pass on
    are signs of life too."""
    lab = ReplicaLab(honest=(1,))
    lab.tick(4_900, 1)
    lab.deliver(lab.pre_prepare(0, "a"), 1, link=2)  # passed on; nothing on the primary's own link
    lab.prepare_everywhere(0, "a", [1], [2, 3])
    for voter in (2, 3):
        lab.deliver(lab.commit(voter, 0, "a"), 1)
    assert lab[1].replica.height == 1
    lab.tick(4_900, 1)
    assert lab[1].all_sent(Suspect) == []
    lab.tick(200, 1)
    assert [message.new_view for message in lab[1].all_sent(Suspect)] == [1]


def test_a5_a_base_that_contradicts_a_decision_halts_with_both_proofs() -> None:
    """A5: a NEW-VIEW whose base is another block than the decided one takes more than f liars: HALT, durable, with both
    certificates."""
    lab = ReplicaLab(honest=(2,))
    lab.decide(0, "a", [2], (0, 1, 3))
    forged = lab.certificate(0, "z", (0, 1, 3))
    chosen = [lab.view_change(voter, 1, last=("z", forged)) for voter in (0, 1, 3)]
    lab.deliver(lab.new_view(1, chosen, []), 2)
    assert lab[2].replica.status().state == "halted"
    (record,) = [record for record in lab[2].records if record.kind is RecordKind.HALTED]
    proof = HaltedRecord.decode(record.payload)
    assert (proof.first, proof.second) == (lab[2].decided[0].certificate.encode(), forged.encode())


def test_a7_new_validators_sign_from_the_next_height_and_removed_ones_follow() -> None:
    """A7: the set {0,1,2,3} becomes {0,1,4,5}. Nobody outside a height's set signs for it; all have every block."""
    cluster = Cluster(6, seed=7, validators=range(4))
    cluster.submit(4)
    assert cluster.run_until(lambda: have_reached(cluster, range(6), 1), 20_000), why(cluster)
    cluster.change_validators([0, 1, 4, 5])
    assert cluster.run_until(lambda: has_settled(cluster), 30_000), why(cluster)
    barrier = cluster.heights[0]
    cluster.submit(6)
    assert cluster.run_until(lambda: has_settled(cluster), 30_000) and cluster.heights[0] > barrier, why(cluster)
    members = [node.replica.own_index for node in cluster.nodes if node.replica is not None]
    assert [index is not None for index in members] == [True, True, False, False, True, True]
    assert cluster.nodes[2].store[-1].epoch == 1
    for block in cluster.nodes[5].store:
        assert block.certificate.epoch == (0 if block.header.height <= barrier else 1)
    cluster.crash(0)  # the new set stands by itself: q = 3 of {0, 1, 4, 5}
    cluster.submit(1)
    assert cluster.run_until(lambda: have_reached(cluster, [1, 4, 5], cluster.heights[0] + 1), 60_000), why(cluster)


def test_a9_nodes_hold_different_certificates_and_nothing_depends_on_them() -> None:
    """A9: certificates are not canonical. Nodes stored different ones for one block, and blocks and results agree."""
    cluster = Cluster(7, seed=9, faults=Faults(1, 60))
    for _ in range(10):
        cluster.submit(3)
        cluster.run(300)
    assert cluster.run_until(lambda: has_settled(cluster), 30_000), why(cluster)
    stores = [node.store for node in cluster.nodes]
    differing = 0
    for blocks in zip(*stores, strict=True):
        assert len({(block.block_hash, block.result.hash) for block in blocks}) == 1
        differing += len({block.certificate.encode() for block in blocks}) > 1
    assert differing >= 3


def test_m3_the_latest_wish_counts_not_the_highest() -> None:
    """M3: a validator that wished for view 9 and now wishes for 2 wants view 2."""
    lab = ReplicaLab(n=7, honest=(1,))
    lab.deliver(lab.suspect(3, 9), 1)
    lab.deliver(lab.suspect(3, 2), 1)
    for voter in (4, 5):
        lab.deliver(lab.suspect(voter, 9), 1)
    assert [message.new_view for message in lab[1].all_sent(Suspect)] == [2], "two want 9, f + 1 = 3 want at least 2"


def test_m4_votes_of_the_old_view_are_repeated_during_a_view_change() -> None:
    """M4: whoever still is in the old view may need them to decide; they were signed before the promise to leave."""
    lab = ReplicaLab(honest=(1, 2))
    for index in (1, 2):
        lab.deliver(lab.pre_prepare(0, "a"), index)
    lab.prepare_everywhere(0, "a", [1], [0, 3])
    lab.change_view(1, 1)
    lab.tick(1_000)
    records = len(lab[1].records)
    lab[1].addressed.clear()
    lab.deliver(lab[2].all_sent(Status)[-1], 1, link=2)
    again = [message for to, message in lab[1].addressed if to == (2,)]
    assert {type(message) for message in again} >= {Prepare, Commit}
    assert len(lab[1].records) == records, "repeated, not signed again"
