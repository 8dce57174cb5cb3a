"""Quorums intersect in an honest validator, and a certificate counts each of them once."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidCertificate, InvalidEncoding, InvalidGenesis
from dawan_node.primitives.certificate import CommitCertificate, bitmap_of, indexes_of
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.validators import ValidatorSet, fault_bound, quorum

Vectors = dict[str, bytes | int]


@given(st.integers(1, 5000))
def test_two_quorums_share_an_honest_validator_and_a_quorum_survives_f_crashes(n: int) -> None:
    f, q = fault_bound(n), quorum(n)
    assert 2 * q - n >= f + 1
    assert q <= n - f
    assert 2 * (q - 1) - n < f + 1, "a smaller quorum would do, so this one is not minimal"


def test_the_quorum_table_of_the_protocol() -> None:
    table = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 9: 6, 10: 7, 13: 9, 16: 11, 19: 13, 22: 15}
    assert {n: quorum(n) for n in table} == table


def test_a_set_is_ordered_by_key_and_refuses_doubles_and_nobody(recipe: ModuleType) -> None:
    keys = [("ed25519", recipe.seeded_key(f"v{i}").public_key) for i in range(5)]
    assert ValidatorSet(keys) == ValidatorSet(keys[::-1])
    assert list(ValidatorSet(keys).public_keys) == sorted(key for _, key in keys)
    with pytest.raises(InvalidGenesis, match="share"):
        ValidatorSet([*keys, keys[0]])
    with pytest.raises(InvalidGenesis, match="1 to"):
        ValidatorSet([])


def test_views_rotate_over_every_validator_and_channels_start_elsewhere(recipe: ModuleType) -> None:
    validators = recipe.genesis().validator_set
    assert {validators.primary(bytes(32), 0, view) for view in range(4)} == {0, 1, 2, 3}
    assert len({validators.primary(bytes([i]) * 32, 0, 0) for i in range(40)}) == 4


@given(st.integers(1, 64), st.data())
def test_a_bitmap_names_exactly_its_indexes(n: int, data: st.DataObject) -> None:
    indexes = data.draw(st.sets(st.integers(0, n - 1)))
    assert indexes_of(bitmap_of(indexes, n), n) == sorted(indexes)


def test_every_way_to_cheat_with_a_certificate_is_refused(vectors: Vectors) -> None:
    data, first = vectors["certificate"], vectors["genesis"]
    assert isinstance(data, bytes) and isinstance(first, bytes)
    genesis = Genesis.decode(first)
    good = CommitCertificate.decode(data)
    good.verify(genesis.chain_id, genesis.validator_set)
    a, b, c = good.signatures

    def changed(bitmap: bytes | None = None, signatures: list[bytes] | None = None, view: int = 0) -> CommitCertificate:
        return CommitCertificate(
            good.epoch,
            view,
            good.height,
            good.block_hash,
            good.result_hash,
            good.bitmap if bitmap is None else bitmap,
            good.signatures if signatures is None else signatures,
        )

    cheats = {
        "two signers": changed(b"\x03", [a, b]),
        "one signer counted twice": changed(b"\x07", [a, b, b]),
        "signatures in another order": changed(b"\x07", [b, a, c]),
        "a signature without its bit": changed(b"\x03", [a, b, c]),
        "a bit without its signature": changed(b"\x0f", [a, b, c]),
        "a bit beyond the set": changed(b"\x17", [a, b, c, c]),
        "a bitmap too long": changed(b"\x07\x00"),
        "no bitmap": changed(b""),
        "a fourth, broken signature": changed(b"\x0f", [a, b, c, c]),
        "another view": changed(view=1),
    }
    for why, cheat in cheats.items():
        with pytest.raises(InvalidCertificate):
            cheat.verify(genesis.chain_id, genesis.validator_set)
            pytest.fail(why)
    with pytest.raises(InvalidCertificate):
        good.verify(bytes(32), genesis.validator_set)
    with pytest.raises(InvalidEncoding):
        CommitCertificate.decode(data + b"\x00")
