"""What each attacker does, move by move: its lies are as good as they can be, and no better than its keys allow."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec
import pytest

from dawan_node.consensus import ReplicaStatus, Timers
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    Suspect,
    ViewChange,
    decode_message,
)
from dawan_node.consensus.signer import SUSPECT_TAG, VIEW_CHANGE_TAG
from dawan_node.consensus.verification import Verifier
from dawan_node.consensus.view_change import Epoch, Plan, check_new_view, check_view_change, is_signed_by_primary
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidCertificate, InvalidMessage
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.attackers import ATTACKERS, Attacker, Forger
from dawan_node.testing.attackers.certificates import ForgedDecision, PaddedCertificates
from dawan_node.testing.attackers.floods import Garbage, HugeNumbers
from dawan_node.testing.attackers.plans import Cartel, Chameleon
from dawan_node.testing.attackers.primaries import CensoringPrimary, EquivocatingPrimary, SlowPrimary
from dawan_node.testing.attackers.view_changers import ForgedNewView, LyingViewChange, SuspectStorm, TwoNewViews
from dawan_node.testing.attackers.voters import DoubleVoter, VoteForger
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import fake_verify

SEEDS = range(12)


@dataclass
class Stand:
    """The view of a Byzantine validator of a lab, as the test says it is."""

    lab: ReplicaLab
    own: int = 3
    view: int = 0
    target: int = 0
    height: int = 0
    now_ms: int = 0
    epoch: int = 0
    window: int = 4

    @property
    def chain_id(self) -> bytes:
        return self.lab.chain_id

    @property
    def epoch_base(self) -> tuple[int, bytes]:
        return (0, self.lab.chain_id)

    @property
    def validators(self) -> ValidatorSet:
        return self.lab.validators

    @property
    def n(self) -> int:
        return self.validators.n

    @property
    def f(self) -> int:
        return self.validators.f

    @property
    def q(self) -> int:
        return self.validators.q

    @property
    def timers(self) -> Timers:
        return Timers()

    @property
    def status(self) -> ReplicaStatus:
        raise NotImplementedError

    def primary(self, view: int) -> int:
        return self.lab.primary(view)


def forger(lab: ReplicaLab, *members: int) -> Forger:
    return Forger(lab.keys[members[0]], [lab.keys[index] for index in members])


def attacker(kind: type[Attacker], lab: ReplicaLab, seed: int = 1, own: int = 3) -> Attacker:
    return kind(forger(lab, own), random.Random(seed))


def epoch_of(lab: ReplicaLab) -> Epoch:
    verifier = Verifier(lab.chain_id, fake_verify)
    return Epoch(lab.chain_id, 0, lab.validators, 4, 0, lab.chain_id, verifier)


def proposal(lab: ReplicaLab, height: int, parent_hash: bytes) -> PrePrepare:
    """A block of three transactions by the primary of view 0."""
    leaves = tuple(sha256(b"%d %d" % (height, number)) for number in range(3))
    header = msgspec.structs.replace(
        lab.block("a"),
        height=height,
        parent_hash=parent_hash,
        tx_root=merkle.root(leaves),
        tx_count=3,
        timestamp_ms=lab.now + 10 * height,
    )
    return forger(lab, 0).pre_prepare(Stand(lab, own=0), 0, header, leaves)


# --- the forger --------------------------------------------------------------------------------------------------


def test_the_forger_signs_for_its_members_and_for_nobody_else() -> None:
    lab = ReplicaLab(honest=())
    cartel = forger(lab, 3, 1)
    stand = Stand(lab)
    assert cartel.members(stand) == [1, 3] and cartel.honest(stand) == [0, 2]
    for voter in range(4):
        drafts = [
            (cartel.prepare(stand, voter, 2, 1, bytes(32)), PREPARE_TAG),
            (cartel.commit(stand, voter, 2, 1, bytes(32), bytes(32)), COMMIT_TAG),
            (cartel.suspect(stand, voter, 2), SUSPECT_TAG),
            (cartel.view_change(stand, voter, 2, ()), VIEW_CHANGE_TAG),
        ]
        for message, _ in drafts:
            assert is_genuine(lab, message) is (voter in (1, 3))
    wishes = cartel.suspects(stand, 2, (1, 3))
    assert [wish.voter for wish in wishes] == [1, 3]


def is_genuine(lab: ReplicaLab, message: object) -> bool:
    """Whether an honest validator would believe who the author is: what the lab's own forger, who has all keys, makes
    of the same statement."""
    if isinstance(message, Prepare | Commit | Suspect | ViewChange):
        everybody = Forger(lab.keys[0], lab.keys)
        return everybody.signed(Stand(lab), message) == message
    raise AssertionError(message)


# --- primaries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_each_proposal_of_an_equivocating_primary_is_accepted_where_it_is_sent_and_the_branches_grow(seed: int) -> None:
    lab = ReplicaLab(honest=(1, 2, 3))
    primary = attacker(EquivocatingPrimary, lab, seed, own=0)
    stand = Stand(lab, own=0)
    parent = lab.chain_id
    for height in (1, 2):
        truth = proposal(lab, height, parent)
        parent = truth.header.hash
        for delivery in primary.send(truth, (1, 2, 3), stand):
            if not delivery.delay_ms:
                lab.deliver(decode_message(delivery.payload), delivery.receiver)
    votes = {index: {at: block for _, at, block in lab[index].votes(Prepare)} for index in (1, 2, 3)}
    assert all(sorted(found) == [1, 2] for found in votes.values()), "everybody accepted both heights"
    for height in (1, 2):
        assert 2 <= len({found[height] for found in votes.values()}) <= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_proposal_sent_again_is_the_same_to_the_same_receiver(seed: int) -> None:
    lab = ReplicaLab(honest=())
    primary = attacker(EquivocatingPrimary, lab, seed, own=0)
    truth = proposal(lab, 1, lab.chain_id)
    first, second = (
        {d.receiver: d.payload for d in primary.send(truth, (1, 2, 3), Stand(lab, own=0)) if not d.delay_ms}
        for _ in range(2)
    )
    assert first == second


def test_a_slow_primary_stays_just_below_a_limit_of_the_others() -> None:
    lab = ReplicaLab(honest=())
    delays = {attacker(SlowPrimary, lab, seed).proposal_delay_ms(Stand(lab)) for seed in range(40)}
    assert delays == {900, 2_700, 4_500}


def test_a_censor_leaves_out_the_same_clients_always_and_others_never() -> None:
    lab = ReplicaLab(honest=())
    leaves = [sha256(b"%d" % number) for number in range(200)]
    for seed in SEEDS:
        censor = attacker(CensoringPrimary, lab, seed)
        assert isinstance(censor, CensoringPrimary)
        chosen = list(censor.choose(leaves, Stand(lab)))
        assert 20 < len(leaves) - len(chosen) < 90
        assert list(censor.choose(chosen, Stand(lab))) == chosen


# --- voters ------------------------------------------------------------------------------------------------------


def test_both_votes_of_a_double_voter_are_its_own_and_one_contradicts_the_other() -> None:
    lab = ReplicaLab(honest=())
    truth = lab.commit(3, 0, "a")
    found = set()
    for seed in SEEDS:
        for delivery in attacker(DoubleVoter, lab, seed).send(truth, (0, 1, 2), Stand(lab)):
            vote = decode_message(delivery.payload)
            assert isinstance(vote, Commit) and is_genuine(lab, vote)
            assert (vote.view, vote.height, vote.voter) == (truth.view, truth.height, 3)
            found.add((vote.block_hash == truth.block_hash, vote.result_hash == truth.result_hash))
    assert found == {(True, True), (False, True), (True, False)}


def test_a_double_voter_agrees_with_everybody_once_and_never_with_its_like() -> None:
    lab = ReplicaLab(honest=())
    voter = attacker(DoubleVoter, lab)
    for name in ("a", "b"):
        for _ in range(2):
            answers = voter.heard(1, lab.prepare(1, 0, name), Stand(lab))
        assert answers == []
    (answer,) = voter.heard(2, lab.prepare(2, 0, "b"), Stand(lab))
    assert answer.receiver == 2 and decode_message(answer.payload) == lab.prepare(3, 0, "b")
    assert voter.heard(1, lab.prepare(2, 0, "a"), Stand(lab)) == [], "passed on, not said"
    assert voter.heard(3, lab.prepare(3, 0, "c"), Stand(lab)) == []


def test_no_forged_statement_of_an_honest_validator_is_genuine() -> None:
    lab = ReplicaLab(honest=())
    thief = attacker(VoteForger, lab)
    said = [lab.prepare(1, 0, "a"), lab.commit(2, 0, "a"), lab.suspect(0, 1), lab.view_change(1, 1)]
    for message in said:
        thief.heard(0, message, Stand(lab))
    forged = 0
    for _ in range(20):
        for delivery in thief.tick(Stand(lab)):
            message = decode_message(delivery.payload)
            if message not in said:
                assert not is_genuine(lab, message)
                forged += 1
    assert forged > 50


# --- view changers -----------------------------------------------------------------------------------------------

QUORUM = (0, 1, 3)


def prepared_lab() -> tuple[ReplicaLab, ViewChange]:
    """A lab in which 1 decided "a" and prepared "ab" and "abc", and what validator 3 would truthfully say."""
    lab = ReplicaLab(honest=())
    last = ("a", lab.certificate(0, "a", QUORUM))
    prepared = [(name, lab.prepared(1, name, QUORUM)) for name in ("ab", "abc")]
    return lab, lab.view_change(3, 7, last, prepared)


def test_every_lie_in_a_view_change_is_valid_and_some_hide_everything() -> None:
    lab, truth = prepared_lab()
    older = lab.view_change(1, 5, None, [("ab", lab.prepared(0, "ab", QUORUM))])
    said = set()
    for seed in range(40):
        liar = attacker(LyingViewChange, lab, seed)
        liar.heard(1, older, Stand(lab))
        for delivery in liar.send(truth, (0, 1, 2), Stand(lab)):
            lie = decode_message(delivery.payload)
            assert isinstance(lie, ViewChange)
            check_view_change(epoch_of(lab), lie)
            said.add((len(lie.last), tuple((pc.height, pc.view) for _, pc in lie.prepared)))
    assert (1, ()) in said and (0, ()) in said and (1, ((2, 0), (3, 1))) in said
    assert len(said) >= 5


def opened(lab: ReplicaLab) -> tuple[NewView, list[ViewChange]]:
    """Validator 3 opens view 7 over the VIEW-CHANGEs of 1, 2 and itself; 0's came too late."""
    _, truth = prepared_lab()
    last = ("a", lab.certificate(0, "a", QUORUM))
    poor = [lab.view_change(voter, 7, last) for voter in (0, 1, 2)]
    return lab.new_view(7, [truth, poor[1], poor[2]], ["ab", "abc"]), poor


def test_both_new_views_are_valid_and_propose_different_blocks_again() -> None:
    lab = ReplicaLab(honest=())
    first, poor = opened(lab)
    assert lab.primary(7) == 3
    two = attacker(TwoNewViews, lab)
    two.heard(0, poor[0], Stand(lab))
    plans = set()
    for delivery in (d for _ in range(8) for d in two.send(first, (0, 1, 2), Stand(lab, target=7))):
        message = decode_message(delivery.payload)
        assert isinstance(message, NewView) and is_signed_by_primary(epoch_of(lab), message)
        plan = check_new_view(epoch_of(lab), message)
        assert isinstance(plan, Plan)
        plans.add(tuple(entry.header.height for entry in plan.entries))
    assert plans == {(), (2, 3)}


def test_no_forged_new_view_follows_from_its_proof_though_its_primary_signed_it() -> None:
    lab = ReplicaLab(honest=())
    first, _ = opened(lab)
    check_new_view(epoch_of(lab), first)
    distinct = set()
    for seed in range(150):
        forge = attacker(ForgedNewView, lab, seed)
        assert isinstance(forge, ForgedNewView)
        forge._old.append(lab.view_change(2, 3).encode())
        message = forge.forge(first, Stand(lab, height=1))
        assert NewView is type(decode_message(message.encode()))
        distinct.add(message)
        if message.epoch == 0:
            assert is_signed_by_primary(epoch_of(lab), message)
            with pytest.raises(InvalidMessage):
                check_new_view(epoch_of(lab), message)
    assert len(distinct) > 15


def test_a_storm_of_wishes_moves_nobody() -> None:
    lab = ReplicaLab(honest=(0, 1, 2))
    storm = attacker(SuspectStorm, lab)
    storm.heard(1, lab.suspect(1, 9), Stand(lab))
    for _ in range(40):
        for delivery in storm.tick(Stand(lab)):
            lab.deliver(decode_message(delivery.payload), delivery.receiver, link=3)
        lab.tick(100)
    for index in (0, 1, 2):
        assert lab[index].replica.status().target == 0
        assert lab[index].all_sent(Suspect) == []


# --- certificates, noise and plans -------------------------------------------------------------------------------


def test_no_padded_certificate_verifies() -> None:
    lab = ReplicaLab(honest=())
    verifier = Verifier(lab.chain_id, fake_verify)
    good, pc = lab.certificate(0, "a", QUORUM), lab.prepared(0, "a", QUORUM)
    verifier.commit_certificate(good, lab.validators)
    for seed in range(100):
        padder = attacker(PaddedCertificates, lab, seed)
        assert isinstance(padder, PaddedCertificates)
        with pytest.raises(InvalidCertificate):
            verifier.commit_certificate(padder.pad(good, Stand(lab)), lab.validators)
        with pytest.raises(InvalidCertificate):
            verifier.prepared_certificate(padder.pad(pc, Stand(lab)), lab.validators)


def test_no_forged_decision_makes_anybody_decide_what_is_not_final() -> None:
    lab = ReplicaLab(honest=(0,))
    header = lab.block("a")
    truth = Decision(header, lab.result(header), (), lab.certificate(0, "a", (1, 2, 3)), lab.leaves("a"))
    for seed in range(60):
        forge = attacker(ForgedDecision, lab, seed)
        assert isinstance(forge, ForgedDecision)
        forge.heard(1, truth, Stand(lab))
        for delivery in forge.tick(Stand(lab)):
            if delivery.receiver == 0:
                lab.deliver(decode_message(delivery.payload), 0, link=3)
        lab.deliver(forge.forge(truth, Stand(lab)), 0, link=3)
    assert [decided.block_hash for decided in lab[0].decided] in ([], [header.hash])
    assert lab[0].alarms == []


def test_numbers_at_the_end_of_their_range_decode_and_change_nothing() -> None:
    lab = ReplicaLab(honest=(0,))
    huge = attacker(HugeNumbers, lab)
    assert isinstance(huge, HugeNumbers)
    messages = huge.messages(Stand(lab))
    assert {type(message).__name__ for message in messages} == {
        "Status", "PrePrepare", "Prepare", "Commit", "Suspect", "ViewChange", "NewView", "Decision", "ProposalRequest",
    }  # fmt: skip
    for message in messages:
        assert decode_message(message.encode()) == message
        lab.deliver(message, 0, link=3)
    lab.tick(4_000)
    status = lab[0].replica.status()
    assert (status.view, status.target, status.height) == (0, 0, 0)
    assert all(decode_message(message.encode()) == message for message in lab[0].sent)


def test_garbage_is_refused_as_garbage() -> None:
    lab = ReplicaLab(honest=(0,))
    source = attacker(Garbage, lab)
    assert isinstance(source, Garbage)
    for message in (lab.prepare(1, 0, "a"), lab.view_change(1, 1), lab.pre_prepare(0, "a")):
        source.heard(1, message, Stand(lab))
    refused = 0
    for _ in range(2_000):
        try:
            lab[0].replica.step(source.junk(), 3, lab.now)
        except InvalidMessage:
            refused += 1
        lab.pump(0)
    assert refused > 1_000
    assert lab[0].replica.height == 0


def test_a_cartel_gives_each_half_of_the_honest_another_block_and_all_its_votes() -> None:
    lab = ReplicaLab(n=7, honest=())
    cartel = Cartel(forger(lab, 0, 4), random.Random(1))
    stand = Stand(lab, own=0)
    truth = proposal(lab, 1, lab.chain_id)
    sent = cartel.send(truth, range(1, 7), stand)
    blocks: dict[bytes, list[int]] = {}
    for delivery in sent:
        message = decode_message(delivery.payload)
        assert isinstance(message, PrePrepare)
        blocks.setdefault(message.header.hash, []).append(delivery.receiver)
    assert 4 in blocks[truth.header.hash], "its own see the first"
    assert sorted(len(set(side) - {4}) for side in blocks.values()) == [2, 3]
    vote = lab.prepare(1, 0, "a")
    votes = [decode_message(delivery.payload) for delivery in cartel.heard(1, vote, stand)]
    assert votes == [lab.prepare(0, 0, "a"), lab.prepare(4, 0, "a")]


def test_a_chameleon_wears_many_masks() -> None:
    lab = ReplicaLab(honest=())
    chameleon = attacker(Chameleon, lab)
    worn = set()
    for second in range(120):
        chameleon.tick(Stand(lab, now_ms=1_000 * second))
        worn.add(type(vars(chameleon)["_mask"]))
    assert len(worn) > 12


def test_every_attacker_says_what_stops_it_and_has_a_name_of_its_own() -> None:
    assert len(ATTACKERS) == 25
    for name, kind in ATTACKERS.items():
        assert kind.name == name
        assert kind.__doc__ is not None and "Stopped by:" in kind.__doc__


def test_the_base_class_is_honest() -> None:
    lab = ReplicaLab(honest=())
    honest = attacker(Attacker, lab)
    message = lab.prepare(3, 0, "a")
    assert [(d.receiver, d.payload) for d in honest.send(message, (0, 2), Stand(lab))] == [
        (0, message.encode()),
        (2, message.encode()),
    ]
    assert honest.heard(1, message, Stand(lab)) == honest.tick(Stand(lab)) == []
    assert isinstance(lab.block("a"), Header) and honest.result(lab.result(lab.block("a"))) == lab.result(
        lab.block("a")
    )
