"""What a replica holds against a liar convicts it by itself; nothing that honest replicas ever sign convicts anybody.

``Accuser`` below is the worst enemy an honest validator can have: it has read everything that was ever sent, by
everybody, in every life, and pairs it in every way that evidence can be made of (amendment A6).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import pytest

from dawan_node.consensus import Evidence, EvidenceKind, Record, RecordKind
from dawan_node.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    decode_message,
)
from dawan_node.consensus.proof import proof_of
from dawan_node.consensus.records import CommitRecord
from dawan_node.consensus.view_change import plan_of_own_record
from dawan_node.primitives.evidence import Charge, Flaw, verify
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.cluster import Cluster
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import Node, fake_verify
from tests.consensus.scenarios import HEAL_LIMIT_MS, chaos, has_settled, why

Signed = Prepare | Commit | ViewChange | NewView


class Accuser:
    """Everything signed, by key; ``charges`` tries every pair."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._said: dict[bytes, dict[bytes, Signed]] = defaultdict(dict)

    def hear(self, validators: ValidatorSet, message: Signed, author: int) -> None:
        self._said[validators.public_keys[author]][message.encode()] = message

    def count(self, kind: type) -> int:
        return sum(isinstance(message, kind) for said in self._said.values() for message in said.values())

    def charges(self) -> Iterator[tuple[bytes, EvidenceKind]]:
        for key, said in self._said.items():
            for kind, first, second in _pairs(list(said.values())):
                proof = proof_of(self._chain_id, kind, key, first.encode(), second.encode())
                if proof is not None:
                    yield key, kind


def _pairs(said: list[Signed]) -> Iterator[tuple[EvidenceKind, Signed, Signed]]:
    slots: dict[tuple[object, ...], list[Signed]] = defaultdict(list)
    results: dict[bytes, list[Signed]] = defaultdict(list)
    for message in said:
        if isinstance(message, Prepare | Commit):
            slots[type(message), message.epoch, message.view, message.height].append(message)
        else:
            slots[type(message), message.epoch, message.new_view].append(message)
        if isinstance(message, Commit):
            results[message.block_hash].append(message)
    for group in slots.values():
        for first, second in combinations(group, 2):
            if isinstance(first, ViewChange):
                yield EvidenceKind.TWO_VIEW_CHANGES, first, second
            elif isinstance(first, NewView):
                yield EvidenceKind.TWO_NEW_VIEWS, first, second
            else:
                yield EvidenceKind.EQUIVOCATION, first, second
    for group in results.values():
        for first, second in combinations(group, 2):
            yield EvidenceKind.TWO_RESULTS, first, second
    for commit in said:
        for change in said:
            if isinstance(commit, Commit) and isinstance(change, ViewChange):
                yield EvidenceKind.LYING_VIEW_CHANGE, commit, change


def listen(cluster: Cluster) -> Accuser:
    """An accuser that hears every honest node of the cluster from now on."""
    accuser = Accuser(cluster.chain_id)
    check = cluster.checker.sent

    def sent(node: Node, payload: bytes, validators: ValidatorSet) -> None:
        check(node, payload, validators)
        message = decode_message(payload)
        match message:
            case PrePrepare(header=header):
                author = validators.primary(cluster.chain_id, header.epoch, message.view)
                vote = Prepare(header.epoch, message.view, header.height, header.hash, author, message.signature)
                accuser.hear(validators, vote, author)
            case Prepare() | Commit() | ViewChange():
                accuser.hear(validators, message, message.voter)
            case NewView():
                author = validators.primary(cluster.chain_id, message.epoch, message.new_view)
                accuser.hear(validators, message, author)
                replica = node.replica
                if replica is not None and replica._state.chain.epoch == message.epoch:
                    plan = plan_of_own_record(replica._state.epoch, message)
                    for entry, signature in zip(plan.entries, message.prepares, strict=True):
                        height = entry.header.height
                        vote = Prepare(message.epoch, message.new_view, height, entry.block_hash, author, signature)
                        accuser.hear(validators, vote, author)
            case _:
                pass

    cluster.checker.sent = sent  # type: ignore[method-assign]
    return accuser


@pytest.mark.parametrize(("n", "seeds"), [(4, range(12)), (5, range(4)), (7, range(3))])
def test_an_enemy_who_has_read_everything_convicts_no_honest_validator(n: int, seeds: range) -> None:
    """Crashes with loss of what was not synced, restarts, partitions, view changes and blocks proposed again."""
    again = changes = 0
    for seed in seeds:
        ears: list[Accuser] = []

        def during(cluster: Cluster, rng: random.Random, ears: list[Accuser] = ears) -> None:
            if not ears:
                ears.append(listen(cluster))

        cluster = chaos(300 + seed, n, during=during)
        assert cluster.run_until(lambda cluster=cluster: has_settled(cluster), HEAL_LIMIT_MS), why(cluster)
        (accuser,) = ears
        assert list(accuser.charges()) == [], why(cluster)
        changes += accuser.count(ViewChange)
        again += sum(1 for said in accuser._said.values() for _ in _voted_again(list(said.values())))
    assert changes > 10, "there were view changes to lie in"
    assert again > 0, "blocks were voted for again in later views"


def _voted_again(said: list[Signed]) -> Iterator[bytes]:
    views: dict[bytes, set[int]] = defaultdict(set)
    for message in said:
        if isinstance(message, Commit):
            views[message.block_hash].add(message.view)
    return (block for block, seen in views.items() if len(seen) > 1)


@pytest.mark.parametrize("seed", range(4))
def test_nor_while_the_validators_change(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(6, 70 + seed, validators=range(4))
    accuser = listen(cluster)
    for _ in range(10):
        cluster.submit(rng.randint(1, 8))
        if rng.randrange(4) == 0:
            cluster.change_validators(sorted(rng.sample(range(6), rng.randint(4, 6))))
        if rng.randrange(3) == 0:
            cluster.crash(rng.randrange(6))
        cluster.run(rng.randint(200, 2_000))
        cluster.start(rng.randrange(6))
    assert list(accuser.charges()) == []


def test_twins_are_convicted_by_whoever_met_both_and_nobody_else_is() -> None:
    """The checks have teeth: two processes with the key of the first primary, neither of which knows of the other."""
    runs_with_proof = 0
    for seed in range(5):
        primary = Cluster(4, seed).rules.validators.primary(Cluster(4, seed).chain_id, 0, 0)
        cluster = Cluster(4, seed, twins=(primary,))
        twin, others = 4, [index for index in range(4) if index != primary]
        cluster.crash(twin)
        cluster.partition([primary], others)
        cluster.submit(1)
        cluster.run(300)  # proposed to nobody, and on its disk
        cluster.crash(primary)
        cluster.heal()
        cluster.start(twin)
        cluster.run(2)  # the others have not decided yet: votes for a decided height prove nothing to them
        cluster.start(primary)
        cluster.run(3_000)
        found = [each for index in others for each in cluster.nodes[index].replica._state._evidence.values()]  # type: ignore[union-attr]
        runs_with_proof += bool(found)
        for evidence in found:
            charge = verify(evidence.proof, cluster.chain_id, cluster.rules.validators, fake_verify)
            assert isinstance(charge, Charge)
            assert charge.public_key == evidence.public_key == cluster.nodes[primary].key.public_key
    assert runs_with_proof >= 3, "where the second vote comes too late, the height is decided and nobody compares"


# One replica, exact schedules


def convicted(lab: ReplicaLab, evidence: Evidence) -> bool:
    charge = verify(evidence.proof, lab.chain_id, lab.validators, fake_verify)
    return isinstance(charge, Charge) and charge.public_key == lab.keys[evidence.voter].public_key


def test_each_kind_a_replica_notices_goes_out_as_a_proof() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.deliver(lab.prepare(3, 0, "a"), 0)
    lab.deliver(lab.prepare(3, 0, "b"), 0)
    lab.deliver(lab.commit(3, 0, "a"), 0)
    lab.deliver(lab.commit(3, 0, "a", junk=True), 0)
    lab.deliver(lab.view_change(3, 2), 0)
    lab.deliver(lab.view_change(3, 2, suspects=lab.suspects(2, (1, 2, 3))), 0)
    assert len(lab[0].evidence) == 4
    assert all(convicted(lab, evidence) for evidence in lab[0].evidence)
    other = ReplicaLab(honest=(0,))
    other.deliver(other.new_view(1, [other.view_change(v, 1) for v in (1, 2, 3)], []), 0)
    other.deliver(other.new_view(1, [other.view_change(v, 1) for v in (0, 1, 3)], []), 0)
    assert [e.kind for e in other[0].evidence] == [EvidenceKind.TWO_NEW_VIEWS]
    assert convicted(other, other[0].evidence[0])


def test_a_new_view_that_does_not_follow_is_evidence_without_a_proof_for_the_chain() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.deliver(lab.new_view(1, [lab.view_change(v, 1) for v in (2, 3)], []), 0)
    (evidence,) = lab[0].evidence
    assert (evidence.kind, evidence.proof) == (EvidenceKind.INVALID_NEW_VIEW, b"")


def test_one_statement_under_two_signatures_is_no_evidence_and_takes_no_place() -> None:
    """Ed25519 lets the holder of a key sign one thing in many ways; a liar would spend its one place on that."""
    lab = ReplicaLab(honest=(0,))
    lab[0].replica._state.verifier._verify = lambda key, signed, signature: True  # one that knows many signatures
    lab.propose(0, "a")
    lab.deliver(lab.commit(3, 0, "a"), 0)
    again = lab.commit(3, 0, "a")
    lab.deliver(Commit(again.epoch, again.view, again.height, again.block_hash, again.result_hash, 3, b"\x07" * 64), 0)
    assert lab[0].evidence == []
    lab.deliver(lab.commit(3, 0, "a", junk=True), 0)
    assert [evidence.kind for evidence in lab[0].evidence] == [EvidenceKind.TWO_RESULTS]


def test_a_replica_that_decided_votes_again_for_an_o_entry_and_cannot_be_convicted() -> None:
    """Amendment L6: its COMMITs of two views for one block and its next VIEW-CHANGE go together."""
    lab = ReplicaLab(honest=(1,))
    lab.decide(0, "a", [1], [0, 2, 3])
    entry = ("a", lab.prepared(0, "a", (0, 2, 3)))
    view_changes = [lab.view_change(v, 2, None, [entry]) for v in (0, 2, 3)]
    lab.deliver(lab.new_view(2, view_changes, ["a"]), 1)
    lab.prepare_everywhere(2, "a", [1], [0, 2, 3])
    assert [view for view, _, _ in lab[1].votes(Commit)] == [0, 2]
    lab.change_view(3, 1)
    _assert_clean(lab, 1)


def _assert_clean(lab: ReplicaLab, index: int) -> None:
    accuser = Accuser(lab.chain_id)
    for message in lab[index].sent:
        if isinstance(message, Prepare | Commit | ViewChange):
            accuser.hear(lab.validators, message, message.voter)
    assert list(accuser.charges()) == []


def test_after_a_restart_no_other_result_is_signed_for_a_block() -> None:
    """Amendment U12: an operator restarts with another module; the replica goes into quarantine instead."""
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [0, 2, 3])
    assert len(lab[1].votes(Commit)) == 1
    sent, records = list(lab[1].sent), list(lab[1].records)
    bench = lab.start(1, records)
    bench.sent.extend(sent)
    bench.junk = True
    bench.results.clear()
    for request in list(bench.execute):
        lab.execute(1, request)
    lab.pump(1)
    view_changes = [lab.view_change(v, 2, None, [("a", lab.prepared(0, "a", (0, 2, 3)))]) for v in (0, 2, 3)]
    lab.deliver(lab.new_view(2, view_changes, ["a"]), 1)
    lab.prepare_everywhere(2, "a", [1], [0, 2, 3])
    _assert_clean(lab, 1)


def test_a_commit_record_without_its_certificate_would_make_an_honest_validator_a_liar() -> None:
    """The docstring's fact (i) with teeth: forget the PC at restart and the next VIEW-CHANGE convicts (U5)."""
    lab = ReplicaLab(honest=(1,))
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    lab.prepare_everywhere(0, "a", [1], [0, 2, 3])
    sent, records = list(lab[1].sent), list(lab[1].records)
    assert any(CommitRecord.decode(r.payload) for r in records if r.kind is RecordKind.COMMIT)
    for kept, verdict in ((records, 0), (without_commits(records), 1)):
        bench = lab.start(1, kept)
        lab.change_view(2, 1)
        bench.sent[:0] = sent
        accuser = Accuser(lab.chain_id)
        for message in bench.sent:
            if isinstance(message, Commit | ViewChange):
                accuser.hear(lab.validators, message, message.voter)
        assert [kind for _, kind in accuser.charges()] == [EvidenceKind.LYING_VIEW_CHANGE] * verdict


def without_commits(records: list[Record]) -> list[Record]:
    return [record for record in records if record.kind is not RecordKind.COMMIT]


def test_a_proof_of_one_channel_means_nothing_on_another() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.deliver(lab.prepare(3, 0, "a"), 0)
    lab.deliver(lab.prepare(3, 0, "b"), 0)
    found = verify(lab[0].evidence[0].proof, bytes(32), lab.validators, fake_verify)
    assert found is Flaw.OTHER_CHAIN
