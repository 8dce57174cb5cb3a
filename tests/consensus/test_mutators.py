"""Small-scope mutations (ByzzFuzz, doi 10.1145/3586053): whatever one liar makes of a message, replicas survive it."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dawan_node.consensus.messages import (
    Decision,
    Message,
    Prepare,
    ProposalRequest,
    SlotSummary,
    Status,
    ViewChange,
    decode_message,
)
from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.certificate import PREPARE_TAG, prepare_vote_bytes
from dawan_node.testing.bare_network import NEVER
from dawan_node.testing.mutators import (
    ALL_KINDS,
    BYTE_CATALOGUE,
    CATALOGUE,
    OTHER_CHANNEL,
    ByzzFuzz,
    Forger,
    changed,
    mutate,
)
from dawan_node.testing.replica_lab import ReplicaLab

LIAR = 3


def said(lab: ReplicaLab) -> list[Message]:
    """One believable life of a channel, by everybody but validator 2: every kind of message, the liar's among them."""
    header = lab.block("a")
    certificate = lab.certificate(0, "a", (0, 1, 3))
    pc = lab.prepared(0, "ab", (0, 1, 3))
    changes = {
        view: [lab.view_change(v, view, last=("a", certificate), prepared=[("ab", pc)]) for v in (0, 1, 3)]
        for view in (1, 3)
    }
    links = ((lab.block("ab"), lab.result(lab.block("ab"))),)
    above = lab.certificate(0, "ab", (0, 1, 3))
    return [
        Status(0, 0, 1, 0, lab.chain_id, (SlotSummary(1, True, b"\x0b", b"\x08"),), b"\x09"),
        lab.pre_prepare(0, "a"),
        lab.pre_prepare(0, "ab"),
        lab.prepare(1, 0, "a"),
        lab.prepare(LIAR, 0, "a"),
        lab.commit(0, 0, "a"),
        lab.commit(LIAR, 0, "a"),
        lab.suspect(LIAR, 1),
        *changes[1],
        *changes[3],
        lab.new_view(1, changes[1], ["ab"]),
        lab.new_view(3, changes[3], ["ab"]),
        Decision(header, lab.result(header), (), certificate, lab.leaves("a")),
        Decision(header, lab.result(header), links, above, ()),
        ProposalRequest(0, 0, 1, header.hash),
    ]


def forger_of(lab: ReplicaLab, *, is_real: bool = False) -> Forger:
    return Forger(lab.chain_id, lab.validators, {LIAR: lab.keys[LIAR]}, is_real)


def give(lab: ReplicaLab, payload: bytes) -> None:
    """Over the liar's link, a stranger's and an honest one: only bytes that are no message may raise."""
    for link in (LIAR, None, 1):
        try:
            lab[2].replica.step(payload, link, lab.now)
        except InvalidMessage:
            with pytest.raises(InvalidMessage):
                decode_message(payload)
        lab.pump(2)


def check_survived(lab: ReplicaLab) -> None:
    assert [alarm for alarm in lab[2].alarms if alarm.kind in NEVER] == []
    assert {evidence.voter for evidence in lab[2].evidence} <= {LIAR}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.__name__)
def test_a_replica_survives_every_mutation_of_every_kind(kind: type[Message]) -> None:
    lab = ReplicaLab(honest=(2,))
    history = said(lab)
    forger = forger_of(lab)
    originals = [message for message in history if isinstance(message, kind)]
    assert originals, "every kind is there"
    fitting = [mutator for mutator in CATALOGUE if kind in mutator.kinds]
    changing = 0
    for mutator in fitting:
        has_changed = False
        for seed, message in enumerate(originals):
            rng = random.Random(seed)
            for _ in range(2):
                wrong = mutator.mutate(message, rng, history)
                has_changed = has_changed or wrong != message
                give(lab, forger.sign_again(wrong).encode())
                lab.now += 200
        changing += has_changed
        check_survived(lab)
    assert changing >= 0.6 * len(fitting) > 4, "below 0 there is no view, and a list of one has one order"
    for message in originals:
        give(lab, forger.sign_again(message, b"\x01" * 32).encode())
    check_survived(lab)
    lab.deliver(next(message for message in history if isinstance(message, Decision)), 2)
    assert lab[2].replica.height >= 1, "it still decides"


@pytest.mark.parametrize("name", sorted(BYTE_CATALOGUE))
def test_mutated_bytes_are_a_message_or_refused_with_invalid_message(name: str) -> None:
    lab = ReplicaLab(honest=(2,))
    rng = random.Random(1)
    refused = 0
    for message in said(lab):
        for _ in range(8):
            payload = BYTE_CATALOGUE[name](message.encode(), rng)
            try:
                decode_message(payload)
            except InvalidMessage:
                refused += 1
            give(lab, payload)
    assert refused > 0
    check_survived(lab)


def test_the_forger_signs_with_its_own_keys_only() -> None:
    lab = ReplicaLab(honest=())
    forger = forger_of(lab, is_real=True)
    theirs = changed(lab.prepare(1, 0, "a"), view=1)
    assert forger.sign_again(theirs) == theirs
    mine = forger.sign_again(changed(lab.prepare(LIAR, 0, "a"), view=1))
    assert isinstance(mine, Prepare)
    data = prepare_vote_bytes(lab.chain_id, 0, 1, 1, mine.block_hash)
    signed = PREPARE_TAG + b"\n" + data
    assert verify_ed25519(lab.keys[LIAR].public_key, signed, mine.signature)
    elsewhere = forger.sign_again(mine, b"\x01" * 32)
    assert isinstance(elsewhere, Prepare) and elsewhere != mine
    assert not verify_ed25519(lab.keys[LIAR].public_key, signed, elsewhere.signature)


def test_a_vote_signed_for_another_channel_counts_nowhere() -> None:
    lab = ReplicaLab(honest=(2,))
    lab.deliver(lab.pre_prepare(0, "a"), 2)
    vote = forger_of(lab).sign_again(lab.prepare(LIAR, 0, "a"), b"\x01" * 32)
    lab.deliver(vote, 2)
    assert LIAR not in lab[2].replica.status().in_flight[0].have
    lab.deliver(lab.prepare(LIAR, 0, "a"), 2)
    assert lab[2].votes(Prepare) and lab[2].replica.status().in_flight[0].phase == "commit"


def test_fuzzing_uses_the_whole_catalogue_and_mutates_what_is_inside_a_new_view() -> None:
    lab = ReplicaLab(honest=())
    history = said(lab)
    fuzz = ByzzFuzz(forger_of(lab), random.Random(3))
    for _ in range(250):
        for message in history:
            decodes(fuzz(message, history))
    unused = [name for name, count in fuzz.used.items() if count == 0]
    assert unused == []
    assert fuzz.used[OTHER_CHANNEL] > 0
    assert len(fuzz.used) == len(CATALOGUE) + 1, "names are unique"


def decodes(message: Message) -> None:
    with contextlib.suppress(InvalidMessage):
        assert decode_message(message.encode()) == message


def results(seed: int, history: Sequence[Message]) -> list[bytes]:
    rng = random.Random(seed)
    return [mutate(message, rng, history).encode() for message in history for _ in range(10)]


def test_mutations_are_functions_of_message_seed_and_history() -> None:
    lab = ReplicaLab(honest=())
    history = said(lab)
    before = [message.encode() for message in history]
    assert results(5, history) == results(5, history)
    assert results(5, history) != results(6, history)
    assert [message.encode() for message in history] == before, "nothing is changed in place"
    assert any(isinstance(message, ViewChange) for message in history)


FUZZ = """
import hashlib, random
from tests.consensus.test_mutators import results, said
from dawan_node.testing.replica_lab import ReplicaLab
print(hashlib.sha256(b"".join(results(9, said(ReplicaLab(honest=()))))).hexdigest())
"""


def test_the_same_seed_mutates_alike_whatever_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", FUZZ],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
