"""A proof convicts whoever signed a contradiction, and nobody else; whatever the bytes, judging them ends in a word."""

from __future__ import annotations

import hashlib

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.primitives.certificate import PREPARE_TAG
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.evidence import (
    PROOF_BYTES_MAX,
    Charge,
    Flaw,
    Offence,
    Proof,
    Statement,
    evidence_nonce,
    examine,
    prove,
    verify,
)
from dawan_node.primitives.validators import ValidatorSet
from tests.primitives.forger import Forger

CHAIN = sha256(b"a channel")
KEYS = [PrivateKey.from_seed(sha256(b"validator %d" % number)) for number in range(4)]
VALIDATORS = ValidatorSet([(ED25519, key.public_key) for key in KEYS])
LIAR = Forger(KEYS[1], CHAIN)
PROOFS = LIAR.of_each_kind()


def flaw(proof: bytes) -> Flaw | None:
    found = verify(proof, CHAIN, VALIDATORS)
    return found if isinstance(found, Flaw) else None


@pytest.mark.parametrize("offence", Offence, ids=lambda offence: offence.label)
def test_each_kind_is_proven_by_two_signed_statements_alone(offence: Offence) -> None:
    charge = verify(PROOFS[offence], CHAIN, VALIDATORS)
    assert isinstance(charge, Charge)
    assert (charge.offence, charge.epoch, charge.public_key) == (offence, 0, KEYS[1].public_key)


def lying(
    commit: Statement, view: int = 3, last: int | None = None, prepared: tuple[tuple[int, int], ...] = ()
) -> bytes:
    content = LIAR.content(last, prepared)
    return LIAR.prove(Offence.LYING_VIEW_CHANGE, commit, LIAR.view_change(content, view), content)


@pytest.mark.parametrize(
    ("proof", "why"),
    [
        (LIAR.prove(Offence.EQUIVOCATION, LIAR.commit("a"), LIAR.commit("a")), "the same statement twice"),
        (LIAR.prove(Offence.EQUIVOCATION, LIAR.commit("a"), LIAR.commit("b", view=3)), "another view"),
        (LIAR.prove(Offence.EQUIVOCATION, LIAR.commit("a"), LIAR.commit("b", height=8)), "another height"),
        (
            LIAR.prove(Offence.EQUIVOCATION, LIAR.prepare("a"), LIAR.commit("b")),
            "a PREPARE, then a COMMIT",
        ),
        (LIAR.prove(Offence.EQUIVOCATION, LIAR.commit("a"), LIAR.commit("a", result="s")), "that is two results"),
        (LIAR.prove(Offence.EQUIVOCATION, LIAR.new_view(b"a"), LIAR.new_view(b"b")), "that is two NEW-VIEWs"),
        (LIAR.prove(Offence.TWO_RESULTS, LIAR.commit("a"), LIAR.commit("a", view=5)), "voted for again (L6)"),
        (LIAR.prove(Offence.TWO_RESULTS, LIAR.commit("a"), LIAR.commit("b", result="s")), "two blocks"),
        (LIAR.prove(Offence.TWO_RESULTS, LIAR.prepare("a"), LIAR.commit("a")), "a PREPARE has no result"),
        (LIAR.prove(Offence.TWO_NEW_VIEWS, LIAR.new_view(b"a"), LIAR.new_view(b"a")), "the same NEW-VIEW"),
        (LIAR.prove(Offence.TWO_NEW_VIEWS, LIAR.new_view(b"a"), LIAR.new_view(b"b", 4)), "two views"),
        (LIAR.prove(Offence.TWO_NEW_VIEWS, LIAR.view_change(b"a"), LIAR.new_view(b"b")), "its own VIEW-CHANGE"),
        (LIAR.prove(Offence.TWO_VIEW_CHANGES, LIAR.view_change(b"a"), LIAR.view_change(b"a")), "repeated"),
        (LIAR.prove(Offence.TWO_VIEW_CHANGES, LIAR.view_change(b"a"), LIAR.view_change(b"b", 4)), "two views"),
        (lying(LIAR.commit(), last=7), "its head is the block it committed to"),
        (lying(LIAR.commit(), last=9), "its head is above"),
        (lying(LIAR.commit(), last=6, prepared=((7, 2),)), "it shows the PC"),
        (lying(LIAR.commit(), last=6, prepared=((7, 4),)), "it shows a PC of a later view"),
        (lying(LIAR.commit(view=3)), "a vote of the new view itself"),
        (lying(LIAR.commit(view=8)), "an old VIEW-CHANGE says nothing of later votes"),
        (lying(LIAR.prepare()), "a PREPARE promises nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_honest_validator_may_have_signed_is_no_contradiction(proof: bytes, why: str) -> None:
    assert flaw(proof) is Flaw.NO_CONTRADICTION, why


@pytest.mark.parametrize(
    ("last", "prepared"), [(None, ()), (6, ()), (6, ((7, 1),)), (6, ((8, 5),)), (None, ((6, 5), (8, 5)))]
)
def test_a_view_change_that_hides_the_certificate_behind_a_commit_convicts(
    last: int | None, prepared: tuple[tuple[int, int], ...]
) -> None:
    assert flaw(lying(LIAR.commit(), last=last, prepared=prepared)) is None


def test_statements_of_two_epochs_do_not_contradict_each_other() -> None:
    """Amendment A6: a view change of another epoch starts from another base."""
    later = Forger(KEYS[1], CHAIN, epoch=1)
    content = later.content()
    pairs = [
        (Offence.EQUIVOCATION, LIAR.commit("a"), later.commit("b"), b""),
        (Offence.TWO_RESULTS, LIAR.commit(), later.commit(result="s"), b""),
        (Offence.LYING_VIEW_CHANGE, LIAR.commit(), later.view_change(content), content),
        (Offence.TWO_VIEW_CHANGES, LIAR.view_change(b"a"), later.view_change(b"b"), b""),
    ]
    assert {flaw(LIAR.prove(*pair)) for pair in pairs} == {Flaw.NO_CONTRADICTION}


def test_nobody_is_convicted_of_what_another_signed() -> None:
    other = Forger(KEYS[2], CHAIN)
    half = prove(Offence.EQUIVOCATION, KEYS[1].public_key, LIAR.commit("a"), other.commit("b"))
    framed = prove(Offence.EQUIVOCATION, KEYS[2].public_key, LIAR.commit("a"), LIAR.commit("b"))
    assert flaw(half) is flaw(framed) is Flaw.NOT_SIGNED
    stranger = Forger(PrivateKey.from_seed(sha256(b"nobody")), CHAIN)
    assert flaw(stranger.double_vote()) is Flaw.NOT_VALIDATOR
    assert flaw(Forger(KEYS[1], sha256(b"another channel")).double_vote()) is Flaw.OTHER_CHAIN


def test_a_statement_of_one_kind_is_none_of_another() -> None:
    data = LIAR.commit("a").data
    as_prepare = LIAR.sign(PREPARE_TAG, data)
    assert flaw(LIAR.prove(Offence.EQUIVOCATION, as_prepare, LIAR.prepare("b"))) is Flaw.MALFORMED
    as_transaction = LIAR.sign(b"dawan:tx:v1", data)
    assert flaw(LIAR.prove(Offence.EQUIVOCATION, as_transaction, as_transaction)) is Flaw.MALFORMED


def test_content_belongs_to_a_lying_view_change_and_must_be_what_was_signed() -> None:
    content = LIAR.content()
    commit, change = LIAR.commit(), LIAR.view_change(content)
    other = LIAR.content(last=1)
    assert flaw(LIAR.prove(Offence.LYING_VIEW_CHANGE, commit, change, other)) is Flaw.NO_CONTRADICTION
    assert flaw(LIAR.prove(Offence.LYING_VIEW_CHANGE, commit, change)) is Flaw.MALFORMED
    assert flaw(LIAR.prove(Offence.EQUIVOCATION, LIAR.commit("a"), LIAR.commit("b"), content)) is Flaw.MALFORMED
    junk = encode([1, 2, 3, 4])
    assert flaw(LIAR.prove(Offence.LYING_VIEW_CHANGE, commit, LIAR.view_change(junk), junk)) is Flaw.MALFORMED


@pytest.mark.parametrize(("n", "window"), [(4, 4), (22, 4), (22, 16), (64, 4)])
def test_a_lying_view_change_fits_as_far_as_the_module_says(n: int, window: int) -> None:
    quorum = (n + (n - 1) // 3) // 2 + 1
    content = LIAR.content(6, tuple((height, 0) for height in range(8, 8 + window)), n=quorum)
    proof = LIAR.prove(Offence.LYING_VIEW_CHANGE, LIAR.commit(), LIAR.view_change(content), content)
    assert len(proof) <= PROOF_BYTES_MAX
    assert flaw(proof) is None


def test_a_proof_beyond_the_cap_is_malformed_unread() -> None:
    assert flaw(PROOFS[Offence.EQUIVOCATION] + bytes(PROOF_BYTES_MAX)) is Flaw.MALFORMED


def test_the_nonce_of_evidence_is_a_function_of_the_proof() -> None:
    nonces = {evidence_nonce(proof) for proof in PROOFS.values()}
    assert len(nonces) == len(PROOFS)
    assert {len(nonce) for nonce in nonces} == {16}
    assert evidence_nonce(PROOFS[Offence.EQUIVOCATION]) == evidence_nonce(bytes(PROOFS[Offence.EQUIVOCATION]))


def test_at_most_two_signatures_are_checked_whatever_the_proof() -> None:
    for proof in PROOFS.values():
        charge = examine(proof, CHAIN)
        assert isinstance(charge, Charge)
        asked: list[bytes] = []

        def check(key: bytes, tag: bytes, data: bytes, signature: bytes, asked: list[bytes] = asked) -> bool:
            asked.append(data)
            return True

        assert charge.is_signed(check) and len(asked) == 2


def test_docs_formats_can_be_followed_with_another_decoder_and_another_signature_library() -> None:
    """As a court's expert would: ``msgpack`` and PyNaCl's own interface, and nothing of ours."""
    version, kind, key, first, second, content = msgpack.unpackb(PROOFS[Offence.LYING_VIEW_CHANGE])
    assert (version, kind) == (1, 3)
    for tag, data, signature in (first, second):
        VerifyKey(key).verify(tag + b"\n" + data, signature)
    chain, epoch, view, height, _block, _result = msgpack.unpackb(first[1])
    *same, new_view, digest = msgpack.unpackb(second[1])
    assert [chain, epoch] == same == [CHAIN, 0] and view < new_view
    assert hashlib.sha256(content).digest() == digest
    _suspects, last, prepared, _voter = msgpack.unpackb(content)
    assert last == prepared == [] and height == 7


# Bad input

numbers = st.integers(0, 2**63 - 1)
hashes = st.binary(min_size=32, max_size=32)
values = st.recursive(
    numbers | hashes | st.binary(max_size=70) | st.text(max_size=4) | st.booleans(),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)
statements = st.builds(
    Statement,
    st.sampled_from([b"dawan:prepare:v1", b"dawan:commit:v1", b"dawan:view-change:v1", b"dawan:new-view:v1", b"x"]),
    st.lists(numbers | hashes | st.just(CHAIN), max_size=7).map(encode) | st.binary(max_size=40),
    st.binary(min_size=64, max_size=64),
)


@given(st.binary(max_size=300) | values.map(encode))
def test_any_bytes_are_judged_in_a_word(data: bytes) -> None:
    assert examine(data, CHAIN) is Flaw.MALFORMED


@given(st.sampled_from(list(Offence)), statements, statements, st.binary(max_size=60) | values.map(encode))
def test_any_pair_of_statements_is_judged_in_a_word(
    offence: Offence, first: Statement, second: Statement, content: bytes
) -> None:
    found = verify(prove(offence, KEYS[1].public_key, first, second, content), CHAIN, VALIDATORS)
    assert isinstance(found, Flaw)


@given(st.sampled_from(sorted(PROOFS.values())), st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_a_proof_convicts_anybody_of_anything_new(proof: bytes, place: int, change: int) -> None:
    changed = bytearray(proof)
    changed[place % len(proof)] ^= change
    found = verify(bytes(changed), CHAIN, VALIDATORS)
    if isinstance(found, Charge):  # only the name of the offence is not signed, and it must fit the statements
        before = msgspec.msgpack.Decoder(Proof).decode(proof)
        assert found.public_key == before.public_key
        assert {each.data for each in found.statements} == {before.first.data, before.second.data}
