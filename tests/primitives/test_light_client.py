"""Whatever bytes come, a light client answers with what was proven or with nothing, and never raises."""

from __future__ import annotations

from random import Random

import pytest

from dawan_node.crypto.signatures import ED25519, verify
from dawan_node.execution.module import key_of
from dawan_node.primitives.light_client import (
    TrustedEpoch,
    claimed_header,
    claimed_state_header,
    next_validators,
    trusted_validators,
    verified_block,
    verified_state,
)
from dawan_node.primitives.validators import VALIDATORS_MAX
from dawan_node.testing.channel_proofs import Prover
from dawan_node.testing.module_kit import private_key_of
from tests.modules.light_client_kit import Note, Pair

#: Enough to reach every field of a proof of some 900 bytes in several ways; half a second.
MUTATIONS = 800


def check(public_key: bytes, tag: bytes, data: bytes, signature: bytes) -> bool:
    return verify(ED25519, public_key, tag, data, signature)


@pytest.fixture(scope="module")
def prover() -> Prover:
    pair = Pair()
    pair.note()
    return pair.at_source


def trusted(prover: Prover) -> TrustedEpoch:
    return TrustedEpoch(prover.kit.genesis.chain_id, 0, 1, None, prover.kit.genesis.validator_set)


@pytest.mark.parametrize("name", ["n", "nobody wrote this"])
def test_bytes_that_were_changed_anywhere_prove_what_is_true_or_nothing_and_raise_nothing(
    prover: Prover, name: str
) -> None:
    proof = prover.state(Note, key_of(name))
    epoch = trusted(prover)
    said = verified_state(proof, epoch, check)
    assert said is not None and (said.value is None) == (name != "n")
    random = Random(7)
    for _ in range(MUTATIONS):
        mutated = bytearray(proof)
        for _ in range(random.choice((1, 1, 2, 8))):
            kind, place = random.randrange(3), random.randrange(len(mutated))
            if kind == 0:
                mutated[place] ^= 1 << random.randrange(8)
            elif kind == 1:
                del mutated[place]
            else:
                mutated.insert(place, random.randrange(256))
        found = verified_state(bytes(mutated), epoch, check)
        if found is not None:
            # An empty slot proves the absence of every key that would stand there; certificates have many encodings.
            known = prover.kit.state.get(found.module, found.collection, found.key)
            assert (found.height, found.value) == (said.height, known), bytes(mutated).hex()
        claimed_state_header(bytes(mutated))


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x95\x01", b"\xff" * 100, bytes(100_000)])
def test_no_bytes_at_all_are_nothing(prover: Prover, data: bytes) -> None:
    assert claimed_header(data) is None
    assert claimed_state_header(data) is None
    assert verified_block(data, trusted(prover), check) is None
    assert verified_state(data, trusted(prover), check) is None


def test_a_set_of_nobody_of_twins_of_too_many_or_of_bad_keys_is_no_set() -> None:
    keys = [private_key_of(f"v{number}").public_key for number in range(VALIDATORS_MAX + 1)]
    good = [(ED25519, key) for key in keys]
    assert trusted_validators([]) is None
    assert trusted_validators([good[0], good[0]]) is None
    assert trusted_validators(good) is None
    assert trusted_validators([("sm2", keys[0])]) is None
    assert trusted_validators([(ED25519, bytes(32))]) is None
    found = trusted_validators(good[:-1])
    assert found is not None and found.n == VALIDATORS_MAX


def test_only_a_barrier_that_changes_the_set_ends_an_epoch(prover: Prover) -> None:
    block = prover.kit.blocks[-1]
    assert not block.header.barrier
    assert next_validators(block.header, block.result, prover.kit.genesis.validator_set.members) is None
