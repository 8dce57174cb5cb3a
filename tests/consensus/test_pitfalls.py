"""What brought other BFT systems down, B1 to B10 of consensus.md section 2, as tests; the rest is in
``test_pitfalls_of_operation``.

| Pitfall | Its tests |
|---|---|
| B1 | test_pitfalls::test_b1_2f_plus_1_votes_decide_nothing_where_they_are_no_quorum |
| | test_quorums::test_two_quorums_share_an_honest_validator_and_the_honest_are_a_quorum |
| B2 | test_pitfalls::test_b2_a_partition_after_prepare_in_two_successive_views_locks_nobody |
| B3 | test_pitfalls::test_b3_a_view_change_carries_over_what_one_replica_alone_committed |
| | test_cluster::test_a_commit_seen_by_one_node_alone_is_decided_again_after_a_view_change |
| B4 | test_pitfalls::test_b4_four_replicas_go_on_without_any_one_of_them |
| | test_cluster::test_with_any_f_nodes_down_the_rest_goes_on |
| B5 | test_pitfalls::test_b5_commits_sent_in_different_views_block_no_view_change |
| B6 | test_pitfalls::test_b6_the_first_slot_with_an_equivocating_primary_and_two_view_changes_never_forks |
| B7 | test_pitfalls::test_b7_any_quorum_of_valid_view_changes_opens_the_view |
| | test_pitfalls::test_b7_no_consensus_test_is_skipped_and_no_failing_seed_left_out |
| B8 | test_pitfalls::test_b8_a_thousand_view_changes_under_load_end_with_everything_decided |
| | test_view_change_vectors::test_vector_7_two_view_changes_of_one_voter_are_no_quorum |
| B9 | test_view_change_vectors::test_vector_9_a_wrong_o_is_proof_against_the_primary |
| | test_pitfalls::test_b9_a_proposal_of_a_higher_view_counts_nothing_before_its_new_view |
| | test_pitfalls::test_b9_what_o_brings_again_is_not_replaced_by_a_fresh_proposal |
| | test_pitfalls::test_b9_a_certified_block_on_another_parent_is_never_decided |
| | test_pitfalls::test_b9_a_full_window_is_decided_at_once_without_recursion |
| B10 | test_pitfalls::test_b10_catching_up_at_any_step_of_a_view_change_decides_once_and_wedges_nothing |
| | test_messages::test_damaged_messages_never_break_a_replica |
"""

from __future__ import annotations

import inspect
import itertools
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.consensus import AlarmKind
from dawan_node.consensus.messages import Commit, Decision, Message, Prepare, PrePrepare, ViewChange
from dawan_node.consensus.verification import Verifier
from dawan_node.consensus.view_change import Epoch, Plan, check_view_change, plan_of
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import fake_verify
from tests.consensus.exchange import Exchange, wish
from tests.named_tests import first_cells, missing


def test_every_pitfall_has_a_test_that_exists() -> None:
    named = [cell for cell in first_cells(__doc__) if cell]
    assert named == [f"B{number}" for number in range(1, 11)]
    assert missing(__doc__) == []


def kinds(*lost: type[Message]) -> Callable[[int, int, Message], bool]:
    """A network that loses every message of these kinds."""
    return lambda sender, receiver, message: isinstance(message, lost)


@pytest.mark.parametrize("n", [5, 6, 8, 9])
def test_b1_2f_plus_1_votes_decide_nothing_where_they_are_no_quorum(n: int) -> None:
    """IBFT (EIP-650, Quorum): ``2f + 1`` of n != 3f + 1 lets two blocks through (Saltini and Hyland-Wood, arXiv
    1901.07160); celo #117: the intersection must be f + 1."""
    q = -(-2 * n // 3)
    assert 2 * ((n - 1) // 3) + 1 < q
    lab = ReplicaLab(n=n, honest=(1,))
    others = [0, *range(2, n)]
    lab.deliver(lab.pre_prepare(0, "a"), 1)  # with the primary's vote and its own: two PREPAREs
    for count, voter in enumerate(others[1:], start=3):
        assert lab[1].votes(Commit) == []
        lab.deliver(lab.prepare(voter, 0, "a"), 1)
        if count == q:
            break
    assert len(lab[1].votes(Commit)) == 1
    for count, voter in enumerate(others, start=2):
        assert lab[1].replica.height == 0
        lab.deliver(lab.commit(voter, 0, "a"), 1)
        if count == q:
            break
    assert lab[1].replica.height == 1


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_b2_a_partition_after_prepare_in_two_successive_views_locks_nobody(absent: int) -> None:
    """IBFT lock without justification: f nodes locked A, 2f locked B, and the chain stood for ever (quorum #305,
    celo #200, polygon-edge #232). A PC is no lock: it travels in VIEW-CHANGE, and the highest view wins."""
    lab = ReplicaLab(honest=(0, 1, 2, 3))
    exchange = Exchange(lab)
    lab.propose(0, "a")
    exchange.run(is_lost=lambda s, r, m: isinstance(m, Commit) or (isinstance(m, Prepare) and r != 3))
    exchange.skip()  # partition: 3 alone has prepared a
    wish(lab, 1, (0, 1, 2))
    exchange.run((0, 1, 2))
    lab.propose(1, "b")
    exchange.run((0, 1, 2), lambda s, r, m: isinstance(m, Commit) or (isinstance(m, Prepare) and r == 0))
    exchange.skip()  # partition: 1 and 2 have prepared b
    phases = [lab[index].replica.status().in_flight[0].phase for index in range(4)]
    assert phases == ["prepare", "commit", "commit", "commit"]
    present = [index for index in range(4) if index != absent]
    wish(lab, 2, present)
    exchange.run(present)
    assert {lab[index].replica.block_hash for index in present} == {lab.block("b").hash}


def test_b3_a_view_change_carries_over_what_one_replica_alone_committed() -> None:
    """sawtooth-pbft: VIEW-CHANGE named no block and NEW-VIEW only counted votes, so a committed block was lost;
    cothority #2080: a view change between commit and publication forked ByzCoin."""
    lab = ReplicaLab(honest=(0, 1, 2, 3))
    exchange = Exchange(lab)
    header = lab.propose(0, "a")
    exchange.run(is_lost=lambda sender, receiver, message: isinstance(message, Commit) and receiver != 3)
    assert [lab[index].replica.height for index in range(4)] == [0, 0, 0, 1]
    exchange.skip()
    wish(lab, 1, (0, 1, 2))  # validator 3, which alone knows the decision, is gone
    exchange.run((0, 1, 2))
    assert {lab[index].replica.block_hash for index in range(4)} == {header.hash}


@pytest.mark.parametrize("crashed", range(4))
def test_b4_four_replicas_go_on_without_any_one_of_them(crashed: int) -> None:
    """sawtooth-pbft (180ceed): the primary must send no PREPARE, yet more than 2f PREPARE *messages* are required, so
    n = 4 with one crashed backup never prepares. Here the PRE-PREPARE carries the primary's PREPARE."""
    alive = [index for index in range(4) if index != crashed]
    lab = ReplicaLab(honest=alive)
    exchange = Exchange(lab)
    view = 0
    if crashed == 0:
        view = 1
        wish(lab, view, alive)
        exchange.run()
    lab.propose(lab.primary(view), "a")
    exchange.run()
    assert [lab[index].replica.height for index in alive] == [1, 1, 1]
    assert lab[lab.primary(view)].all_sent(Prepare) == []


def test_b5_commits_sent_in_different_views_block_no_view_change() -> None:
    """dBFT 2.0: nodes that had sent COMMIT left no view any more; with commits sent in different views nobody ever got
    a quorum (neo-modules #792). Here a COMMIT binds nobody to its view, and its PC is in the VIEW-CHANGE."""
    lab = ReplicaLab(honest=(0, 1, 2, 3))
    exchange = Exchange(lab)
    lab.propose(0, "a")
    # Only replica 0 learns enough to commit to a in view 0.
    exchange.run(is_lost=lambda s, r, m: isinstance(m, Commit) or (isinstance(m, Prepare) and r != 0))
    exchange.skip()
    assert [len(lab[index].votes(Commit)) for index in range(4)] == [1, 0, 0, 0]
    wish(lab, 1, (1, 2, 3))
    exchange.run((1, 2, 3))
    lab.propose(1, "b")
    exchange.run((1, 2, 3), lambda s, r, m: isinstance(m, Commit) or (isinstance(m, Prepare) and r != 2))
    exchange.skip()
    assert lab[2].votes(Commit) == [(1, 1, lab.block("b").hash)] and lab[1].votes(Commit) == []
    wish(lab, 2, (0, 2, 3))
    exchange.run((0, 2, 3))
    assert {lab[index].replica.block_hash for index in (0, 2, 3)} == {lab.block("b").hash}


def first_slot(split: tuple[str, ...], heard: tuple[bool, ...], absent: tuple[int, int]) -> set[tuple[int, bytes]]:
    """(view, block) of the decisions at height 1 when primary 0 is Byzantine.

    ``split`` is what it proposes to each of 1, 2, 3 (or nothing), ``heard`` who of them hears the others' votes in view
    0, ``absent`` whose VIEW-CHANGE is late in view 1 and in view 2. The Byzantine one votes for everything and reports
    nothing. Who is late in view 1 hears no votes of it, and its COMMITs reach only who is late in view 2.
    """
    lab = ReplicaLab(honest=(1, 2, 3))
    exchange = Exchange(lab)
    for replica, name in zip((1, 2, 3), split, strict=True):
        if name:
            lab.deliver(lab.pre_prepare(0, name), replica)
    hearers = [replica for replica, hears in zip((1, 2, 3), heard, strict=True) if hears]
    exchange.run(is_lost=lambda sender, receiver, message: receiver not in hearers)
    for name in ("a", "b"):
        for replica in hearers:
            lab.deliver(lab.commit(0, 0, name), replica)
    exchange.skip()
    for view, choice in zip((1, 2), absent, strict=True):
        lab.now += lab.config.timers.view_change_interval_ms
        primary = lab.primary(view)
        late = [index for index in (1, 2, 3) if index != primary][choice]
        for index in (1, 2, 3):
            lab.deliver(lab.view_change(0, view), index)
        last_to_know = (1, 3)[absent[1]]

        def is_lost(sender: int, receiver: int, message: Message, at: int = view, late: int = late) -> bool:
            if at == 1 and isinstance(message, Prepare | Commit):
                return receiver == late or (isinstance(message, Commit) and receiver != last_to_know)  # noqa: B023
            return isinstance(message, ViewChange) and sender == late

        exchange.run(is_lost=is_lost)
        slot = lab[primary].replica.proposal_slot()
        if view == 1 and slot is not None and slot.height == 1:
            lab.propose(primary, "c")
            exchange.run(is_lost=is_lost)
        voted = {at[2] for bench in lab.benches.values() for at in bench.votes(Prepare) if at[0] == view}
        for name in [name for name, header in lab.headers.items() if header.hash in voted]:
            for receiver in (last_to_know,) if view == 1 else (1, 2, 3):
                lab.deliver(lab.prepare(0, view, name), receiver)
                lab.deliver(lab.commit(0, view, name), receiver)
        exchange.run(is_lost=is_lost)
        exchange.skip()
    assert all(bench.replica.status().state != "halted" for bench in lab.benches.values()), (split, heard, absent)
    return {
        (decided.view, decided.block_hash)
        for bench in lab.benches.values()
        for decided in bench.decided
        if decided.header.height == 1
    }


def test_b6_the_first_slot_with_an_equivocating_primary_and_two_view_changes_never_forks() -> None:
    """Zyzzyva loses safety and FaB liveness in the first slot of four nodes with one or two view changes (arXiv
    1712.01367); Twins found Fast-HotStuff's fork in as few. All splits, all hearers, all late VIEW-CHANGEs."""
    views = {0: 0, 1: 0, 2: 0}
    splits = [split for split in itertools.product(("a", "b", ""), repeat=3) if "".join(split)[:1] != "b"]
    for split in splits:
        for heard in itertools.product((True, False), repeat=3):
            for absent in itertools.product((0, 1), repeat=2):
                decided = first_slot(split, heard, absent)
                assert len({block_hash for _, block_hash in decided}) <= 1, (split, heard, absent)
                for view in {view for view, _ in decided}:
                    views[view] += 1
    assert views[0] > 50 and views[2] > 200, views


def histories(rng: random.Random, lab: ReplicaLab, view: int) -> list[ViewChange]:
    """Valid VIEW-CHANGEs of q voters with random heads and PCs that no more than f liars could have made: one block
    per (view, height), any gaps, any branches."""
    names = {(0, 1): "a", (1, 1): "b", (2, 1): "c", (0, 2): "ad", (1, 2): "be", (2, 2): "cf", (0, 3): "adg"}
    chosen = []
    for voter in sorted([lab.primary(view), *rng.sample([i for i in range(4) if i != lab.primary(view)], 2)]):
        last = rng.choice([None, ("a", lab.certificate(0, "a", (0, 1, 2)))])
        base = 0 if last is None else 1
        prepared = []
        for height in range(base + 1, 4):
            options = [(v, name) for (v, h), name in sorted(names.items()) if h == height and v < view]
            if rng.randrange(3):
                at, name = rng.choice(options)
                prepared.append((name, lab.prepared(at, name, (0, 1, 2))))
        chosen.append(lab.view_change(voter, view, last=last, prepared=prepared))
    return chosen


def test_b7_any_quorum_of_valid_view_changes_opens_the_view() -> None:
    """indy-plenum #1506: checkpoint selection could come out empty and then no NEW-VIEW was possible. Here base and O
    are defined for any q valid VIEW-CHANGEs, and O is a chain on the base."""
    rng = random.Random(7)
    for _ in range(300):
        lab = ReplicaLab(honest=())
        view = rng.choice([3, 4, 5])
        epoch = Epoch(lab.chain_id, 0, lab.validators, 4, 0, lab.chain_id, Verifier(lab.chain_id, fake_verify))
        chosen = histories(rng, lab, view)
        for message in chosen:
            check_view_change(epoch, message)
        plan = plan_of(epoch, chosen)
        assert isinstance(plan, Plan)
        parent, height = plan.base.block_hash, plan.base.height
        for entry in plan.entries:
            assert (entry.header.parent_hash, entry.header.height) == (parent, height + 1)
            parent, height = entry.block_hash, entry.header.height


def test_b7_no_consensus_test_is_skipped_and_no_failing_seed_left_out() -> None:
    """indy-plenum excluded 24 failing seeds and commented an assert out (test_sim_view_change.py)."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for mark in ("skip", "xfail"):
            assert f"pytest.{mark}" not in source and f"mark.{mark}" not in source, path.name


def test_b8_a_thousand_view_changes_under_load_end_with_everything_decided() -> None:
    """fabric v0.6: view changes that never completed once checkpoints differed (#1111), and view mania under load
    (#917, #798). Every view is left with a block at another stage; nothing grows, and the last view decides all."""
    lab = ReplicaLab(honest=(0, 1, 2))
    exchange = Exchange(lab)
    rng = random.Random(8)
    stages: tuple[tuple[type[Message], ...], ...] = ((), (Prepare,), (Prepare, PrePrepare))
    largest = 0
    for view in range(1_000):
        primary = lab.primary(view)
        if primary != 3 and lab[primary].replica.proposal_slot() is not None:
            lab.propose(primary, f"v{view}")
        exchange.run(is_lost=kinds(Commit, *rng.choice(stages)))
        exchange.skip()
        largest = max(largest, *(len(bench.replica.checkpoint_records()) for bench in lab.benches.values()))
        for bench in lab.benches.values():
            for kept in (bench.sent, bench.addressed, bench.records, bench.acquire):
                kept.clear()
        exchange = Exchange(lab)
        wish(lab, view + 1, (0, 1, 2))
    exchange.run()
    statuses = [lab[index].replica.status() for index in (0, 1, 2)]
    assert {(status.view, status.height) for status in statuses} == {(1_000, statuses[0].height)}
    assert statuses[0].height >= 1 and not any(status.in_flight for status in statuses)
    assert largest <= 2 + 2 * 4, "VIEW-CHANGE, NEW-VIEW, and the newest two votes of each height of the window"


def test_b9_a_proposal_of_a_higher_view_counts_nothing_before_its_new_view() -> None:
    """FISCO FIB-133: a PRE-PREPARE of a higher view was processed, so one node could drag the others there; #4308: one
    that was kept blocked everybody until all had reached its view."""
    lab = ReplicaLab(honest=(2,))
    for view in (1, 4, 2**40):  # the primary of view 4 is that of view 0
        lab.deliver(lab.pre_prepare(view, "b", proposer=lab.primary(view)), 2)
    status = lab[2].replica.status()
    assert (status.view, status.target, status.in_flight) == (0, 0, ())
    assert lab[2].votes(Prepare) == [] and lab[2].acquire == []
    lab.deliver(lab.new_view(1, [lab.view_change(v, 1) for v in (0, 1, 3)], []), 2)
    assert lab[2].votes(Prepare) == [], "nothing was kept for view 1"


def test_b9_what_o_brings_again_is_not_replaced_by_a_fresh_proposal() -> None:
    """FISCO FIB-124: the proposals of a NEW-VIEW were never checked against the VIEW-CHANGEs. The right O and then
    another block at its height is the same attack in two messages."""
    lab = ReplicaLab(honest=(0,))
    pc = lab.prepared(0, "a", (1, 2, 3))
    chosen = [lab.view_change(v, 1, prepared=[("a", pc)]) for v in (1, 2, 3)]
    lab.deliver(lab.new_view(1, chosen, ["a"]), 0)
    assert lab[0].votes(Prepare) == [(1, 1, lab.block("a").hash)]
    lab.block("b", proposer=1)
    lab.deliver(lab.pre_prepare(1, "b"), 0)
    lab.prepare_everywhere(1, "b", [0], [2, 3])
    assert lab[0].votes(Prepare) == [(1, 1, lab.block("a").hash)] and lab[0].votes(Commit) == []
    assert AlarmKind.SIGNING_REFUSED not in [alarm.kind for alarm in lab[0].alarms], "it does not even try"


def test_b9_a_certified_block_on_another_parent_is_never_decided() -> None:
    """FISCO FIB-128: the commit queue did not check the parent's index. A certificate for a block whose parent is not
    the decided one takes more than f liars, so the channel halts and keeps both proofs."""
    lab = ReplicaLab(honest=(1,))
    lab.decide(0, "a", [1], (0, 2, 3))
    lab.block("z")
    orphan = lab.block("zb")
    message = Decision(orphan, lab.result(orphan), (), lab.certificate(0, "zb", (0, 2, 3)), lab.leaves("zb"))
    lab.deliver(message, 1, link=2)
    assert (lab[1].replica.height, lab[1].replica.block_hash) == (1, lab.block("a").hash)
    assert lab[1].replica.status().state == "halted"


def test_b9_a_full_window_is_decided_at_once_without_recursion() -> None:
    """FISCO FIB-115: unbounded recursion over what others had sent. The widest window, proposed and prepared from the
    top down and certified at the top alone, on a stack that would not hold a frame per height."""
    lab = ReplicaLab(honest=(1,), window=64)
    names = ["a" * length for length in range(1, 65)]
    messages: list[Message] = [lab.pre_prepare(0, name) for name in reversed(names)]
    messages += [lab.prepare(voter, 0, name) for name in reversed(names) for voter in (2, 3)]
    messages += [lab.commit(voter, 0, names[-1]) for voter in (0, 2, 3)]
    lab[1].holds_results = True  # the lab's own results recurse
    results = {lab.block(name).hash: lab.result(lab.block(name)) for name in names}
    limit, depth = sys.getrecursionlimit(), len(inspect.stack())
    sys.setrecursionlimit(depth + 50)
    try:
        for message in messages:
            lab.deliver(message, 1)
        while lab[1].execute:
            request = lab[1].execute.pop(0)
            lab[1].replica.executed(request.block_hash, results[request.block_hash])
            lab.pump(1)
    finally:
        sys.setrecursionlimit(limit)
    assert lab[1].replica.height == 64


def steps_of_a_view_change(lab: ReplicaLab) -> list[Message]:
    """Everything replica 2 hears from a proposal to its decision in the next view."""
    header = lab.block("a")
    votes = [lab.prepare(voter, 0, "a") for voter in (1, 3)]
    pc = lab.prepared(0, "a", (0, 1, 3))
    changes = [lab.view_change(voter, 1, prepared=[("a", pc)]) for voter in (0, 1, 3)]
    assert header.height == 1
    return [
        lab.pre_prepare(0, "a"),
        *votes,
        lab.commit(0, 0, "a"),
        lab.suspect(3, 1),
        *changes,
        lab.new_view(1, changes, ["a"]),
        *(lab.prepare(voter, 1, "a") for voter in (0, 3)),
        *(lab.commit(voter, 1, "a") for voter in (0, 1, 3)),
    ]


@pytest.mark.parametrize("way", ["range", "decision"])
def test_b10_catching_up_at_any_step_of_a_view_change_decides_once_and_wedges_nothing(way: str) -> None:
    """SmartBFT: deliveries in sync and view change delivered twice (#484, #553, #570), in-flight proposals survived a
    sync (#481), and a decision during a view change left the node behind (#499, #350)."""
    length = len(steps_of_a_view_change(ReplicaLab(honest=())))
    for step in range(length + 1):
        lab = ReplicaLab(honest=(2,))
        header = lab.block("a")
        certificate = lab.certificate(0, "a", (0, 1, 3))
        for number, message in enumerate([*steps_of_a_view_change(lab), None]):
            if number == step and way == "range":
                result = lab.result(header)
                lab[2].replica.decided_by_sync(header, result, certificate, (), lab.leaves("a"), lab.now)
                lab.pump(2)
            elif number == step:
                lab.deliver(Decision(header, lab.result(header), (), certificate, lab.leaves("a")), 2, link=3)
            if message is not None:
                lab.deliver(message, 2)
        status = lab[2].replica.status()
        assert [decided.block_hash for decided in lab[2].decided] == [header.hash], step
        assert (status.view, status.height, status.state, status.in_flight) == (1, 1, "normal", ()), step
        # And the view works: the next block is voted for and decided.
        lab.block("ab", proposer=1)
        lab.decide(1, "ab", [2], (0, 1, 3))
        assert lab[2].replica.height == 2, step
        assert (1, 2, lab.block("ab").hash) in lab[2].votes(Commit), step
