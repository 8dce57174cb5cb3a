"""A channel believes another one as far as a quorum of the epoch signed, and uses what it proves once per purpose."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from dawan_node.execution.context import SIGNATURE_STEPS
from dawan_node.execution.module import key_of
from dawan_node.modules import light_client as package
from dawan_node.modules.light_client import module
from dawan_node.modules.light_client.declaration import Epoch, Use
from dawan_node.modules.refdata import module as refdata
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.codes import Code
from dawan_node.primitives.proofs import FinalityProof, StateProof
from dawan_node.testing.channel_proofs import Prover
from dawan_node.testing.module_kit import ModuleKit, private_key_of
from tests.modules.channels_kit import believe, copy_of, passed_by_vote, seats
from tests.modules.light_client_kit import PEOPLE, Note, Pair, probe, rival

HERE = Path(__file__).resolve().parent


@pytest.fixture
def pair() -> Pair:
    return Pair()


# -- proofs -----------------------------------------------------------------------------------------------------------


def test_what_a_quorum_of_the_source_certified_is_believed_and_used_once_per_purpose(pair: Pair) -> None:
    proof = pair.note()
    assert pair.said(proof) == ""
    kept = pair.reader.get(Note, key_of("read it"))
    assert kept is not None and kept.text == f"probe {pair.source.height} hello"
    assert pair.said(proof) == "E_PROOF_USED"
    assert pair.said(proof, subject="another") == "E_PROOF_USED", "for whomever"
    assert pair.said(proof, purpose="write") == "", "another purpose is another use"
    (first, second), _ = pair.reader.query("uses", {"module": "probe", "process": "it"}, module="light_client")
    assert [use.purpose for use in (first, second)] == ["probe:read", "probe:write"]


def test_other_signers_another_view_and_a_later_block_make_no_new_proof_of_the_same_record(pair: Pair) -> None:
    proof = pair.note()
    others = pair.at_source.state(Note, key_of("n"), finality=pair.at_source.finality(signers=(1, 2, 3), view=7))
    assert others != proof
    assert pair.said(others) == ""
    pair.note("something else", name="m")
    later = pair.at_source.state(Note, key_of("n"))
    for again in (proof, others, later):
        assert pair.said(again) == "E_PROOF_USED"
    assert pair.said(pair.note("changed")) == "", "another record"


def test_that_there_is_nothing_is_proven_like_anything_else(pair: Pair) -> None:
    pair.note()
    absent = pair.at_source.state(Note, key_of("nobody wrote this"))
    assert pair.said(absent) == ""
    kept = pair.reader.get(Note, key_of("read it"))
    assert kept is not None and kept.text.endswith("absent")
    assert pair.said(absent) == "E_PROOF_USED"


def test_two_uses_of_one_proof_in_one_block_are_one_use_in_either_order(pair: Pair) -> None:
    proof = pair.note()
    for order in (("a", "b"), ("b", "a")):
        kit = copy_of(pair.reader)
        calls = [kit.call("anna", "use", {"proof": proof, "subject": subject}) for subject in order]
        assert [receipt.reason for receipt in kit.block(*calls)] == ["", "E_PROOF_USED"]
        assert kit.get(Note, key_of(f"read {order[0]}")) is not None


def broken(proof: bytes, **changes: Any) -> bytes:
    decoded = StateProof.decode(proof)
    return type(decoded)(**{name: getattr(decoded, name) for name in decoded.__struct_fields__} | changes).encode()


def test_a_proof_that_was_tampered_with_proves_nothing(pair: Pair) -> None:
    proof = pair.note()
    decoded = StateProof.decode(proof)
    (bitmap, others), *below = decoded.steps
    flipped = [bytes([others[0][0] ^ 1]) + others[0][1:], *others[1:]]
    finality = FinalityProof.decode(decoded.finality_proof)
    header = Header.decode(finality.header)
    for bad in (
        b"",
        b"\xc0",
        proof[:-1],
        proof + b"\x00",
        broken(proof, value=decoded.value[:-1] + b"x"),
        broken(proof, key=key_of("m")),
        broken(proof, collection="other"),
        broken(proof, steps=[(bitmap, flipped), *below]),
        broken(proof, steps=decoded.steps[1:]),
        broken(proof, terminal=[]),
        broken(proof, value=b"", terminal=[bytes(32), bytes(32)]),
        broken(proof, finality_proof=b"\x00" * 40),
        broken(
            proof,
            finality_proof=FinalityProof.build(
                replace_header(header, timestamp_ms=header.timestamp_ms + 1), finality.result, [], finality.certificate
            ).encode(),
        ),
    ):
        assert pair.said(bad) == "E_PROOF"
    assert pair.said(proof) == "", "and the right one does"


def replace_header(header: Header, **changes: Any) -> bytes:
    fields = {name: getattr(header, name) for name in header.__struct_fields__} | changes
    return Header(**fields).encode()


def test_an_entry_is_spelled_in_one_way(pair: Pair) -> None:
    """``H(module 0 collection 0 key)`` is the same when a zero byte of the key is taken for the one before it."""
    proof = pair.note(name="a\x00b")
    assert pair.said(broken(proof, collection="note\x00a", key=b"b")) == "E_PROOF"
    assert pair.said(broken(proof, module="probe\x00note", collection="a", key=b"b")) == "E_PROOF"
    assert pair.said(proof) == ""


def test_a_proof_of_another_channel_or_network_proves_nothing(pair: Pair) -> None:
    stranger = ModuleKit([probe, rival, module, refdata], PEOPLE, orgs=["stranger"])
    stranger.run("anna", "write", {"name": "n", "text": "hello"})
    assert pair.said(Prover(stranger).state(Note, key_of("n"))) == "E_PROOF"
    pair.reader.run("anna", "write", {"name": "n", "text": "hello"})
    assert pair.said(pair.at_reader.state(Note, key_of("n"))) == "E_PROOF", "nor does one of the channel itself"


def test_only_records_of_the_modules_that_were_voted_for_are_believed(pair: Pair) -> None:
    pair.note()
    configuration = pair.at_source.state(Use, key_of(bytes(32), "x"))
    assert pair.said(configuration) == "", "light_client is one of them"
    assert pair.source.run("anna", "tick", module="governance").code == 0
    governance = pair.source.executor.registry.modules["governance"].entities["organisation"]
    assert pair.said(pair.at_source.state(governance, key_of("gz"))) == "E_PROOF_SCOPE"


def test_a_proof_older_than_asked_for_is_stale(pair: Pair) -> None:
    proof = pair.note()
    assert pair.said(proof, oldest_ms=pair.source.time_ms + 1) == "E_PROOF_STALE"
    assert pair.said(proof, oldest_ms=pair.source.time_ms) == ""


def test_purposes_and_subjects_are_names(pair: Pair) -> None:
    proof = pair.note()
    for bad in ({"purpose": "p" * 100}, {"subject": ""}, {"subject": "s" * 101}, {"subject": "a\x00b"}):
        assert pair.said(proof, **bad) == "E_PURPOSE"


def test_too_few_signatures_a_strangers_and_one_given_twice_are_no_quorum(pair: Pair) -> None:
    pair.note()
    few = pair.at_source.finality(signers=(0, 1))
    assert pair.said(pair.at_source.state(Note, key_of("n"), finality=few)) == "E_PROOF"
    block = pair.source.blocks[-1]
    thieves = Prover(pair.source, [private_key_of(f"thief {n}") for n in range(4)])
    own = type(block.next_validators)([("ed25519", private_key_of(f"thief {n}").public_key) for n in range(4)])
    stolen = thieves.forged(block.header, block.result, own)
    assert pair.said(pair.at_source.state(Note, key_of("n"), finality=stolen)) == "E_PROOF"


def test_signatures_cost_steps_and_a_budget_that_is_too_small_ends_it() -> None:
    small = SIGNATURE_STEPS * 3
    source = ModuleKit([probe, rival, module, refdata], PEOPLE)
    reader = ModuleKit([probe, rival, module, refdata], PEOPLE, params={"tx_steps_max": small + 1_000})
    believe(reader, "source", source, ["probe"])
    source.run("anna", "write", {"name": "n", "text": "hello"})
    proof = Prover(source).state(Note, key_of("n"))
    assert reader.run("anna", "use", {"proof": proof}).code == 0
    steps = {}
    for signers in (3, 4):
        kit = copy_of(reader)
        proof = Prover(source).state(Note, key_of("n"), finality=Prover(source).finality(signers=range(signers)))
        for budget in range(small, small + 200):
            kit.executor._rules = (kit.executor._rules[0], replaced(kit.executor._rules[1], steps_max=budget))
            receipt = kit.run("anna", "use", {"proof": proof, "purpose": "again"})
            if receipt.code == 0:
                steps[signers] = budget
                break
            assert receipt.code == Code.E_BUDGET
    assert steps[4] - steps[3] == SIGNATURE_STEPS


def replaced(rules: Any, **changes: Any) -> Any:
    return dataclasses.replace(rules, **changes)


# -- clients ----------------------------------------------------------------------------------------------------------


def test_a_client_goes_from_epoch_to_epoch_by_blocks_that_the_set_before_certified(pair: Pair) -> None:
    early = pair.note("early", "early")
    end = pair.rekey()
    last = pair.source.height
    new = pair.note("new", "new")
    assert pair.said(new) == "E_PROOF", "an epoch not known here"
    assert pair.advance(end) == ""
    assert (pair.client().epoch, pair.client().state) == (1, "ACTIVE")
    assert pair.said(new) == ""
    assert pair.said(early) == "", "what the first set certified while it was in office stays proven"
    known, _ = pair.reader.query("epochs", {"source": "source"}, module="light_client")
    assert [(epoch.epoch, epoch.first, epoch.last) for epoch in known] == [(0, 1, last), (1, last + 1, 0)]
    assert pair.advance(end) == "E_PROOF", "once"


def test_keys_of_an_epoch_that_is_over_prove_nothing_beyond_its_end(pair: Pair) -> None:
    """Amendment U14: replaced keys may be stolen; the thief signs a later header with the old epoch in it."""
    old = pair.source.genesis.validator_set
    end = pair.rekey()
    pair.note("true", "n")
    block = pair.source.blocks[-1]
    lied = Header.decode(replace_header(block.header, epoch=0, valset_hash=old.hash))
    result = Result(
        lied.height,
        lied.hash,
        block.result.parent_result_hash,
        block.result.state_root,
        block.result.receipts_root,
        old.hash,
    )
    stolen = pair.at_source.forged(lied, result, old)
    forged = pair.at_source.state(Note, key_of("n"), finality=stolen)
    assert pair.advance(end) == ""
    assert pair.said(forged) == "E_PROOF"
    # Teeth: before the end was known here, the same proof counted. So advance clients soon.
    fresh = Pair()
    assert fresh.said(forged) == ""


def test_only_the_block_that_ends_the_epoch_and_the_set_it_names_bring_a_client_on(pair: Pair) -> None:
    pair.note()
    assert pair.advance(pair.at_source.finality()) == "E_NOT_EPOCH_END"
    before = seats(pair.source.genesis.validator_set)
    end = pair.rekey()
    assert pair.advance(end, validators=before) == "E_VALSET"
    assert pair.advance(end, validators=[before[0], before[0]]) == "E_VALSET"
    assert pair.advance(end, validators=[{"public_key": bytes(32)}]) == "E_VALSET"
    assert pair.advance(end[:-1]) == "E_PROOF"
    assert pair.advance(end, source="nowhere") == "E_UNKNOWN_CLIENT"
    second = pair.rekey("hk1", "newer")
    assert pair.advance(second) == "E_PROOF", "epochs come in order"
    assert pair.advance(end, validators=seats(pair.at_source.validators(pair.source.blocks[-1].header))) == ""
    assert pair.advance(second) == ""
    assert pair.client().epoch == 2


def test_two_certified_blocks_at_one_height_freeze_the_client_until_a_vote(pair: Pair) -> None:
    proof = pair.note()
    block = pair.source.blocks[-1]
    first = pair.at_source.finality()
    other_header = Header.decode(replace_header(block.header, timestamp_ms=block.header.timestamp_ms + 1))
    other_result = Result.decode(block.result.encode())
    other_result = Result(
        block.header.height, other_header.hash, *[getattr(other_result, f) for f in other_result.__struct_fields__[2:]]
    )
    second = pair.at_source.forged(other_header, other_result, pair.source.genesis.validator_set)

    def report(one: bytes, two: bytes) -> str:
        args = {"source": "source", "first": one, "second": two}
        receipt = pair.reader.run("ben", "report_conflict", args, module="light_client")
        return receipt.reason if receipt.code else ""

    again = pair.at_source.finality(signers=(1, 2, 3), view=3)
    assert report(first, again) == "E_NO_CONFLICT", "another view and other signers are normal"
    pair.note("later")
    assert report(first, pair.at_source.finality()) == "E_NO_CONFLICT", "another height"
    assert report(first, second[:-1]) == "E_PROOF"
    assert report(first, second) == ""
    assert pair.client().state == "FROZEN"
    assert pair.said(proof) == "E_CLIENT_FROZEN"
    assert pair.advance(first) == "E_CLIENT_FROZEN"
    # The members agree where the truth goes on; the epochs before it prove nothing any more.
    end = pair.rekey()
    following = seats(pair.source.blocks[-1].next_validators)
    believe(pair.reader, "source", pair.source, ["probe"], epoch=1, first=pair.source.height + 1, validators=following)
    assert pair.said(proof) == "E_PROOF"
    assert pair.said(pair.note("after", "after")) == ""
    assert pair.advance(end) == "E_PROOF"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("E_SOURCE", {"source": "Not A Name"}),
        ("E_SOURCE", {"source": "another"}),  # the chain is a source already
        ("E_SOURCE", {"chain_id": "own"}),
        ("E_EPOCH", {"epoch": 1}),
        ("E_EPOCH", {"first": 2}),
        ("E_MODULES", {"modules": ["probe", "probe"]}),
        ("E_MODULES", {"modules": ["No Module"]}),
        ("E_VALSET", {"validators": [{"public_key": bytes(32)}]}),
    ],
)
def test_a_client_that_makes_no_sense_is_not_voted_on(pair: Pair, reason: str, change: dict[str, Any]) -> None:
    good = {
        "id": "p",
        "source": "source",
        "chain_id": pair.source.genesis.chain_id,
        "validators": seats(pair.source.genesis.validator_set),
        "modules": ["probe"],
    }
    if change.get("chain_id") == "own":
        change = {"chain_id": pair.reader.genesis.chain_id}
    refused = pair.reader.run("gz-admin", "propose_client", good | change, module="light_client")
    assert refused.reason == reason


def test_a_client_needs_the_vote_and_an_administrator(pair: Pair) -> None:
    args = {"id": "p", "source": "source", "chain_id": pair.source.genesis.chain_id, "modules": ["probe"]}
    args["validators"] = seats(pair.source.genesis.validator_set)
    assert pair.reader.run("anna", "propose_client", args, module="light_client").code == Code.E_ROLE
    assert pair.reader.run("gz-admin", "propose_client", args, module="light_client").code == 0
    assert pair.reader.run("gz-admin", "enact", {"proposal": "p"}, module="light_client").reason == "E_NOT_PASSED"
    assert pair.reader.run("gz-admin", "enact", {"proposal": "q"}, module="light_client").reason == "E_UNKNOWN_CHANGE"
    # Two proposals for one chain under two names: the second to be enacted fails.
    passed_by_vote(pair.reader, "light_client", "propose_client", **{k: v for k, v in args.items() if k != "id"})


def passed(pair: Pair, name: str) -> dict[str, Any]:
    """A client of the source from its first epoch on, voted for and not enacted."""
    args = {"id": name, "source": "source", "chain_id": pair.source.genesis.chain_id, "modules": ["probe"]}
    args["validators"] = seats(pair.source.genesis.validator_set)
    assert pair.reader.run("gz-admin", "propose_client", args, module="light_client").code == 0
    for org in ("gz", "hk", "mo"):
        vote = {"proposal": name, "approve": True}
        assert pair.reader.run(f"{org}-admin", "vote", vote, module="governance").code == 0
    return {"proposal": name}


def test_a_second_vote_that_passed_does_not_take_a_client_back_to_where_it_was(pair: Pair) -> None:
    spare = passed(pair, "spare")
    assert pair.advance(pair.rekey()) == ""
    before = pair.client()
    refused = pair.reader.run("gz-admin", "enact", spare, module="light_client")
    assert (refused.reason, pair.client()) == ("E_CLIENT_CHANGED", before)


def test_a_client_begun_anew_at_an_epoch_that_is_over_knows_where_it_ended(pair: Pair) -> None:
    assert pair.advance(pair.rekey()) == ""
    chain_id = pair.source.genesis.chain_id
    end = pair.reader.get(Epoch, key_of(chain_id, 0))
    assert end is not None and end.last > 0
    assert pair.reader.run("gz-admin", "enact", passed(pair, "anew"), module="light_client").code == 0
    again = pair.reader.get(Epoch, key_of(chain_id, 0))
    assert pair.client().epoch == 0
    assert again is not None and again.last == end.last


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_declared_reason_is_given_in_the_source_and_met_by_a_test() -> None:
    folder = Path(package.__file__).parent
    sources = [path for path in folder.glob("*.py") if path.name != "declaration.py"]
    given = set(re.findall(r'"(E_[A-Z_]+)"', "".join(path.read_text(encoding="utf-8") for path in sources)))
    assert given == set(module.errors)
    tests = "".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("test_light_client*.py")))
    assert set(module.errors) - set(re.findall(r'"(E_[A-Z_]+)"', tests)) == set()
    for sentence in module.errors.values():
        assert sentence.endswith(".") and sentence[0].isupper()
