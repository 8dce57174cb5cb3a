"""Every situation a replica may be in when a message comes, each reached by an honest story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dawan_node.consensus import ChannelRules, Mode
from dawan_node.consensus.messages import Commit, NewView, Prepare, PrePrepare
from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.certificate import PREPARE_TAG, prepare_vote_bytes
from dawan_node.primitives.validators import ValidatorSet
from tests.fuzz.witnesses import WitnessedLab, without_signs_of_life

#: The replica that is talked to; the primary of view 0 is 0, of view 1 is 1, of view 2 is 2, of view 3 the liar.
TARGET = 1


@dataclass(frozen=True)
class Situation:
    """A bench whose replica ``target`` is about to be talked to."""

    lab: WitnessedLab
    target: int
    blocks: tuple[str, ...]
    #: Whether it takes part in deciding afterwards.
    recovers: bool = True

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(index for index in (0, 1, 2) if index != self.target)

    def answer_what_was_held_back(self) -> None:
        """The bodies and results that the story withheld arrive."""
        bench = self.lab[self.target]
        for wish in tuple(bench.acquire):
            self.lab.give_bodies(self.target, wish.block_hash)
        for request in tuple(bench.execute):
            self.lab.execute(self.target, request)
        self.lab.pump(self.target)


def _proposed(lab: WitnessedLab, *receivers: int, names: tuple[str, ...] = ("a",)) -> None:
    for name in names:
        lab.propose(0, name)
    for message in lab[0].all_sent(PrePrepare)[-len(names) :]:
        lab.deliver(message, *receivers)


def _exchanged(lab: WitnessedLab, kind: type[Prepare] | type[Commit], receivers: tuple[int, ...]) -> None:
    for sender in (0, 1, 2):
        for message in lab[sender].all_sent(kind):
            lab.deliver(message, *[index for index in receivers if index != sender])


def fresh(lab: WitnessedLab) -> Situation:
    return Situation(lab, TARGET, ("a",))


def primary(lab: WitnessedLab) -> Situation:
    _proposed(lab)
    return Situation(lab, 0, ("a",))


def known(lab: WitnessedLab) -> Situation:
    """A proposal is here, its bodies are not."""
    lab.propose(0, "a")
    lab[TARGET].withheld.add(lab.block("a").hash)
    lab.deliver(lab[0].all_sent(PrePrepare)[-1], TARGET)
    lab[TARGET].withheld.clear()
    return Situation(lab, TARGET, ("a",))


def accepted(lab: WitnessedLab) -> Situation:
    _proposed(lab, 1, names=("a", "ab"))
    return Situation(lab, TARGET, ("a", "ab"))


def executing(lab: WitnessedLab) -> Situation:
    """Prepared, and the result is not here yet."""
    lab[TARGET].holds_results = True
    _proposed(lab, 1, 2)
    _exchanged(lab, Prepare, (1,))
    lab[TARGET].holds_results = False
    return Situation(lab, TARGET, ("a",))


def committed(lab: WitnessedLab) -> Situation:
    """COMMITs of the target and one other are out; nobody holds a certificate."""
    _proposed(lab, 1, 2, names=("a", "ab"))
    _exchanged(lab, Prepare, (1, 2))
    assert lab[TARGET].all_sent(Commit)
    return Situation(lab, TARGET, ("a", "ab"))


def decided(lab: WitnessedLab) -> Situation:
    _proposed(lab, 1, 2, names=("a", "ab"))
    for kind in (Prepare, Commit):
        _exchanged(lab, kind, (0, 1, 2))
    assert lab[TARGET].replica.height == 2
    return Situation(lab, TARGET, ("a", "ab", "abc"))


def changing(lab: WitnessedLab) -> Situation:
    """A prepared block, and everybody on the way to view 1, which the target has to open."""
    committed(lab)
    lab.forget_undelivered()
    lab.converse(
        30_000, passes=without_signs_of_life, proposes=False, until=lambda: lab[0].replica.status().target == 1
    )
    assert lab[0].replica.status().state is Mode.VIEW_CHANGE
    return Situation(lab, 2, ("a", "ab"))


def new_view(lab: WitnessedLab) -> Situation:
    """View 1 is open and its O brings a prepared block again."""
    committed(lab)
    lab.forget_undelivered()
    lab.converse(30_000, passes=without_signs_of_life, proposes=False, until=lambda: lab[1].replica.status().view == 1)
    lab.deliver(lab[1].all_sent(NewView)[-1], 0, 2)
    lab.forget_undelivered()
    assert lab[2].replica.status().view == 1
    return Situation(lab, 2, ("a", "ab"))


def behind(lab: WitnessedLab) -> Situation:
    """The others decided two blocks with the help of a validator that will turn out a liar."""
    _proposed(lab, 1, names=("a", "ab"))
    for name in ("a", "ab"):
        lab.deliver(lab.prepare(lab.LIAR, 0, name), 0, 1)
    for message in lab[1].all_sent(Prepare):
        lab.deliver(message, 0)
    for name in ("a", "ab"):
        lab.deliver(lab.commit(lab.LIAR, 0, name), 0, 1)
    for sender, receiver in ((0, 1), (1, 0)):
        for vote in lab[sender].all_sent(Commit):
            lab.deliver(vote, receiver)
    assert lab[0].replica.height == 2 and lab[2].replica.height == 0
    return Situation(lab, 2, ("a", "ab", "abc"))


def next_epoch(lab: WitnessedLab) -> Situation:
    """A barrier has just been decided and left the liar out."""
    members = ValidatorSet([(ED25519, key.public_key) for key in lab.keys[:3]])
    rules = ChannelRules(members, lab.rules.window, 1_000, 4 * 1024 * 1024)
    header = lab.block("A")
    slot = lab[0].replica.proposal_slot()
    assert slot is not None
    proposed = lab[0].replica.propose(slot, lab.leaves("A"), 250, True, lab.now)
    assert proposed is not None and proposed != header
    lab.headers["A"] = proposed
    lab.next_rules[proposed.hash] = rules
    lab.pump(0)
    lab.deliver(lab[0].all_sent(PrePrepare)[-1], 1, 2)
    for kind in (Prepare, Commit):
        _exchanged(lab, kind, (0, 1, 2))
    assert lab[TARGET].replica.status().epoch == 1
    lab.validators, lab.rules, lab.epoch = members, rules, 1
    return Situation(lab, TARGET, ("A", "Ab"))


def observing(lab: WitnessedLab) -> Situation:
    decided(lab)
    lab.observe()
    return Situation(lab, -1, ("a", "ab", "abc"))


def quarantined(lab: WitnessedLab) -> Situation:
    lab[2].junk = True
    _proposed(lab, 1, 2)
    _exchanged(lab, Prepare, (0, 1, 2))
    lab.deliver(lab.commit(lab.LIAR, 0, "a"), 0, 1, 2)
    for sender in (0, 1):
        for vote in lab[sender].all_sent(Commit):
            lab.deliver(vote, *[index for index in (0, 1, 2) if index != sender])
    assert lab[2].replica.status().state is Mode.QUARANTINE
    return Situation(lab, 2, ("a", "ab"), recovers=False)


def halted(lab: WitnessedLab) -> Situation:
    """Something signed with the target's key that it did not write."""
    header = lab.block("a")
    lab.let_say(2, PREPARE_TAG, prepare_vote_bytes(lab.chain_id, 0, 0, 1, header.hash))
    lab.deliver(lab.prepare(2, 0, "a"), 2, link=3)
    assert lab[2].replica.status().state is Mode.HALTED
    return Situation(lab, 2, ("a",), recovers=False)


def restarted(lab: WitnessedLab) -> Situation:
    committed(lab)
    lab.start(TARGET, lab[TARGET].records)
    return Situation(lab, TARGET, ("a", "ab"))


def restarted_in_a_view_change(lab: WitnessedLab) -> Situation:
    changing(lab)
    lab.start(2, lab[2].records)
    return Situation(lab, 2, ("a", "ab"))


SITUATIONS: dict[str, Callable[[WitnessedLab], Situation]] = {
    story.__name__.replace("_", " "): story
    for story in (
        fresh,
        primary,
        known,
        accepted,
        executing,
        committed,
        decided,
        changing,
        new_view,
        behind,
        next_epoch,
        observing,
        quarantined,
        halted,
        restarted,
        restarted_in_a_view_change,
    )
}
