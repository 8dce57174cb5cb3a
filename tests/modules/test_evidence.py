"""Evidence on chain: validators record what proves itself, once, and nothing anybody sends makes the module break."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.crypto.signatures import ED25519
from dawan_node.execution.channel import VALIDATOR
from dawan_node.execution.module import key_of
from dawan_node.modules.governance.declaration import Evidence, ValidatorEpoch, evidence_key
from dawan_node.modules.governance.evidence import ENDED_EPOCH_MS
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.evidence import PROOF_BYTES_MAX, Offence
from dawan_node.primitives.receipt import Receipt
from dawan_node.testing.module_kit import ModuleKit, key_of_person, private_key_of, seat_args
from tests.primitives.forger import Forger

PEOPLE = {"anna": ("gz", ["supplier"])}
SEATS = ("gz1", "hk1", "hq1", "mo1")


@pytest.fixture
def kit() -> ModuleKit:
    return make_kit()


def make_kit(**more: Any) -> ModuleKit:
    kit = ModuleKit([], PEOPLE, **more)
    for seat in SEATS:
        kit.use_key(seat, private_key_of(f"validator {seat}").public_key)
    return kit


def forger(kit: ModuleKit, who: str = "validator hk1", epoch: int = 0) -> Forger:
    return Forger(private_key_of(who), kit.genesis.chain_id, epoch)


def record(kit: ModuleKit, proof: bytes, sender: str = "gz1") -> Receipt:
    return kit.run(sender, "record_evidence", {"proof": proof})


def reason(kit: ModuleKit, proof: bytes, sender: str = "gz1") -> str:
    return record(kit, proof, sender).reason


@pytest.mark.parametrize("offence", Offence, ids=lambda offence: offence.label)
def test_a_validator_records_evidence_of_every_kind_and_names_the_liar(kit: ModuleKit, offence: Offence) -> None:
    proof = forger(kit).of_each_kind()[offence]
    receipt = record(kit, proof)
    assert (receipt.code, receipt.reason) == (0, "")
    key = private_key_of("validator hk1").public_key
    found = kit.get(Evidence, evidence_key(key, 0, offence.label))
    assert found is not None
    assert (found.validator, found.org, found.kind, found.epoch) == ("hk1", "hk", offence.label, 0)
    assert (found.proof, found.height, found.time_ms, found.recorded_by) == (proof, 1, kit.time_ms, "gz1")
    assert receipt.events == [
        (
            "EvidenceRecorded",
            {
                "validator": "hk1",
                "org": "hk",
                "kind": offence.label,
                "epoch": 0,
                "public_key": key,
                "recorded_by": "gz1",
            },
        )
    ]
    assert kit.run("hk-admin", "tick").code == 0, "nothing else follows by itself"
    assert kit.run("hk1", "record_evidence", {"proof": forger(kit, "validator mo1").double_vote()}).code == 0


def test_one_record_per_key_epoch_and_kind_whoever_sends_whatever_pair(kit: ModuleKit) -> None:
    liar = forger(kit)
    other_pair = liar.prove(Offence.EQUIVOCATION, liar.prepare("x"), liar.prepare("y"))
    first, second = kit.block(
        kit.call("gz1", "record_evidence", {"proof": liar.double_vote()}),
        kit.call("mo1", "record_evidence", {"proof": liar.double_vote()}),
    )
    assert (first.reason, second.reason, reason(kit, other_pair)) == ("", "E_DUP_EVIDENCE", "E_DUP_EVIDENCE")
    assert reason(kit, liar.of_each_kind()[Offence.TWO_RESULTS]) == ""
    assert reason(kit, forger(kit, "validator mo1").double_vote()) == ""
    assert len(kit.query("evidence")[0]) == 3


def test_evidence_is_listed_in_pages_and_by_validator(kit: ModuleKit) -> None:
    for seat in ("hk1", "mo1", "hq1"):
        for proof in forger(kit, f"validator {seat}").of_each_kind().values():
            assert reason(kit, proof) == ""
    seen, cursor = [], None
    for _ in range(9):
        items, cursor = kit.query("evidence", limit=4, cursor=cursor)
        seen += [(item.height, item.validator) for item in items]
        if cursor is None:
            break
    assert len(seen) == 15 and seen == sorted(seen)
    kinds = [item.kind for item in kit.query("evidence", {"validator": "mo1"})[0]]
    assert kinds == sorted(offence.label for offence in Offence)


def test_only_a_validators_own_key_sends_it_and_that_key_sends_nothing_else(kit: ModuleKit) -> None:
    proof = forger(kit).double_vote()
    for person in ("anna", "gz-admin"):
        assert record(kit, proof, person).code == Code.E_ROLE
    assert record(kit, proof, "nobody").code == Code.E_IDENTITY
    for command, args in (
        ("tick", {}),
        ("rotate", {"name": "anna", "suite": ED25519, "public_key": key_of_person("anna-2")}),
        ("enrol", {"name": "dora", "roles": ["supplier"], "suite": ED25519, "public_key": key_of_person("dora")}),
        ("vote", {"proposal": "p", "approve": True}),
        ("enact", {"proposal": "p"}),
    ):
        assert kit.run("gz1", command, args).code == Code.E_ROLE, command


def test_nobody_is_given_the_role_of_a_validator(kit: ModuleKit) -> None:
    enrolment = {"name": "dora", "roles": [VALIDATOR], "suite": ED25519, "public_key": key_of_person("dora")}
    assert kit.run("gz-admin", "enrol", enrolment).reason == "E_ROLE_RESERVED"
    assert kit.run("gz-admin", "propose_org_role", {"id": "p", "org": "gz", "role": VALIDATOR}).reason == "E_ROLES"


def test_a_suspended_organisations_validator_votes_but_records_nothing(kit: ModuleKit) -> None:
    proof = forger(kit).double_vote()
    assert kit.run("gz-admin", "propose_org_status", {"id": "away", "org": "mo", "status": "suspended"}).code == 0
    decide(kit, "away", ("gz", "hk", "hq"))
    assert record(kit, proof, "mo1").code == Code.E_IDENTITY
    assert record(kit, proof, "hq1").code == 0


def decide(kit: ModuleKit, proposal: str, orgs: tuple[str, ...] = ("gz", "hk", "mo")) -> None:
    for org in orgs:
        assert kit.run(f"{org}-admin", "vote", {"proposal": proposal, "approve": True}).code == 0
    assert kit.run(f"{orgs[0]}-admin", "enact", {"proposal": proposal}).code == 0


# What does not convict


def test_what_proves_nothing_gives_its_reason_and_leaves_nothing(kit: ModuleKit) -> None:
    liar, stranger = forger(kit), Forger(private_key_of("nobody"), kit.genesis.chain_id)
    framed = forger(kit, "validator mo1")
    good = liar.double_vote()
    assert {
        reason(kit, b"\x00"): "junk",
        reason(kit, good[:-1]): "cut",
        reason(kit, Forger(liar.key, bytes(32)).double_vote()): "another chain",
        reason(kit, liar.prove(Offence.EQUIVOCATION, liar.commit("a"), liar.commit("a"))): "the same twice",
        reason(kit, stranger.double_vote()): "no validator",
        reason(kit, framed.prove(Offence.EQUIVOCATION, liar.commit("a"), liar.commit("b"))): "of somebody else",
        reason(kit, forger(kit, epoch=1).double_vote()): "an epoch to come",
        reason(kit, forger(kit, epoch=2**63 - 1).double_vote()): "the last epoch of all",
    } == {
        "E_EVIDENCE": "cut",
        "E_EVIDENCE_CHAIN": "another chain",
        "E_NO_CONTRADICTION": "the same twice",
        "E_NOT_VALIDATOR": "no validator",
        "E_NOT_SIGNED": "of somebody else",
        "E_EPOCH": "the last epoch of all",
    }
    assert kit.query("evidence") == ((), None)


def test_a_proof_longer_than_the_cap_does_not_fit_the_schema(kit: ModuleKit) -> None:
    assert record(kit, bytes(PROOF_BYTES_MAX + 1)).code == Code.E_SCHEMA
    assert record(kit, b"").code == Code.E_SCHEMA
    assert kit.run("gz1", "record_evidence", {"proof": "text"}).code == Code.E_SCHEMA
    assert kit.run("gz1", "record_evidence", {}).code == Code.E_SCHEMA


# Epochs


def replace_key(kit: ModuleKit, validator: str, key: str, proposal: str) -> None:
    args = seat_args(kit.genesis, proposal, validator, private_key_of(key))
    assert kit.run(f"{validator[:2]}-admin", "propose_validator_key", args).code == 0
    decide(kit, proposal)


def test_evidence_is_judged_by_who_voted_in_its_epoch(kit: ModuleKit) -> None:
    replace_key(kit, "hk1", "new hk1", "first")
    replace_key(kit, "mo1", "new mo1", "second")
    epochs = [kit.get(ValidatorEpoch, key_of(number)) for number in (1, 2)]
    barriers = [block.header.height for block in kit.blocks if block.header.barrier]
    assert [epoch and epoch.from_height for epoch in epochs] == [height + 1 for height in barriers]
    old, new = "validator hk1", "new hk1"
    assert reason(kit, forger(kit, old, 0).double_vote()) == ""
    assert reason(kit, forger(kit, new, 0).double_vote()) == "E_NOT_VALIDATOR"
    assert reason(kit, forger(kit, old, 1).double_vote()) == "E_NOT_VALIDATOR"
    assert reason(kit, forger(kit, new, 1).double_vote()) == ""
    assert reason(kit, forger(kit, new, 2).double_vote()) == ""
    assert reason(kit, forger(kit, new, 3).double_vote()) == "E_EPOCH"
    assert [(item.epoch, item.validator) for item in kit.query("evidence", {"validator": "hk1"})[0]] == [
        (0, "hk1"),
        (1, "hk1"),
        (2, "hk1"),
    ]


def test_a_key_that_was_voted_out_is_guarded_for_a_day_and_convicts_nobody_after_it(kit: ModuleKit) -> None:
    replace_key(kit, "hk1", "new hk1", "first")
    ended_ms = kit.time_ms
    kit.pass_time(ENDED_EPOCH_MS - 1_000 - (kit.time_ms - ended_ms) - 1)
    assert reason(kit, forger(kit).double_vote()) == "", "one millisecond before"
    assert reason(kit, forger(kit, "validator mo1").double_vote()) == "E_EPOCH_OVER"
    assert reason(kit, forger(kit, "validator mo1", 1).double_vote()) == ""


def test_a_replaced_key_sends_no_evidence_and_the_new_one_does(kit: ModuleKit) -> None:
    replace_key(kit, "gz1", "new gz1", "first")
    proof = forger(kit).double_vote()
    assert record(kit, proof, "gz1").code == Code.E_IDENTITY
    kit.use_key("gz1", private_key_of("new gz1").public_key)
    assert record(kit, proof, "gz1").code == 0


def test_a_barrier_that_changes_no_validator_begins_no_epoch(kit: ModuleKit) -> None:
    assert kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8}).code == 0
    decide(kit, "p")
    assert reason(kit, forger(kit, epoch=1).double_vote()) == "E_EPOCH"


# Bounds and bad input


def test_the_largest_proof_fits_the_smallest_budget_and_its_signatures_are_counted() -> None:
    kit = make_kit(params={"tx_steps_max": 500})
    liar = forger(kit)
    content = liar.content(6, tuple((height, 0) for height in range(8, 24)), n=15)
    assert len(content) > 20_000
    proof = liar.prove(Offence.LYING_VIEW_CHANGE, liar.commit(), liar.view_change(content), content)
    assert reason(kit, proof) == ""
    tight = make_kit(params={"tx_steps_max": 40})
    assert record(tight, forger(tight).double_vote()).code == Code.E_BUDGET, "two checks cost sixty steps"


KIT = make_kit()
PROOFS = sorted(forger(KIT).of_each_kind().values())


@settings(max_examples=60, deadline=None)
@given(
    st.binary(min_size=1, max_size=200)
    | st.lists(st.integers(0, 2**63 - 1) | st.binary(max_size=40), max_size=7).map(encode)
    | st.builds(
        lambda proof, place, change: bytes(
            byte ^ (change if at == place % len(proof) else 0) for at, byte in enumerate(proof)
        ),
        st.sampled_from(PROOFS),
        st.integers(0, 10_000),
        st.integers(1, 255),
    )
)
def test_whatever_is_sent_ends_with_a_reason_of_the_table_and_never_with_a_fault(proof: bytes) -> None:
    receipt = record(KIT, proof)
    assert receipt.code == Code.E_MODULE
    assert receipt.reason in KIT.executor.registry.modules["governance"].errors
    assert not KIT.blocks[-1].faults
