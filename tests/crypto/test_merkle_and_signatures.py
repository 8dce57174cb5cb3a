"""Lists have one root each, and one rule decides which Ed25519 signatures count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey, check_public_key, verify, verify_ed25519
from dawan_node.errors import InvalidKey, InvalidProof

SPECCHECK = Path(__file__).resolve().parents[3] / "shared" / "data" / "ed25519" / "speccheck-cases.json"

leaves = st.lists(st.binary(max_size=8), max_size=40).map(lambda items: [merkle.leaf_hash(item) for item in items])


def _rfc6962(hashes: list[bytes]) -> bytes:
    """The definition, word for word: split at the largest power of two smaller than n."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01" + _rfc6962(hashes[:split]) + _rfc6962(hashes[split:]))


@given(leaves)
def test_the_root_is_that_of_rfc_6962(hashes: list[bytes]) -> None:
    assert merkle.root(hashes) == _rfc6962(hashes)


@given(leaves.filter(bool), st.data())
def test_a_path_proves_its_leaf_at_its_index_and_no_other(hashes: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(hashes) - 1))
    path, root = merkle.path(hashes, index), merkle.root(hashes)
    assert merkle.root_from_path(hashes[index], index, len(hashes), path) == root
    other = data.draw(st.integers(0, len(hashes) - 1))
    if hashes[other] != hashes[index]:
        try:
            assert merkle.root_from_path(hashes[other], index, len(hashes), path) != root
        except InvalidProof:
            pytest.fail("a path of the right length is always computed")
    for wrong in ([*path, bytes(32)], path[:-1] if path else [bytes(32)]):
        with pytest.raises(InvalidProof):
            merkle.root_from_path(hashes[index], index, len(hashes), wrong)


def test_an_odd_last_leaf_is_not_counted_twice() -> None:
    """CVE-2012-2459."""
    a, b, c = (merkle.leaf_hash(x) for x in (b"a", b"b", b"c"))
    assert merkle.root([a, b, c]) != merkle.root([a, b, c, c])


def test_a_leaf_cannot_pass_for_an_inner_node() -> None:
    a, b = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(a + b) != merkle.root([a, b])


@pytest.mark.skipif(not SPECCHECK.exists(), reason="NOT RUN: the Ed25519 edge cases are not on this machine")
def test_the_twelve_edge_cases_give_the_strict_verdicts() -> None:
    cases = json.loads(SPECCHECK.read_text())
    verdicts = [
        "V" if verify_ed25519(*(bytes.fromhex(case[name]) for name in ("pub_key", "message", "signature"))) else "X"
        for case in cases
    ]
    assert " ".join(verdicts) == "X X X V X X X X X X X X"


def test_the_identity_point_is_no_key_and_verifies_nothing() -> None:
    identity = (1).to_bytes(32, "little")
    with pytest.raises(InvalidKey, match="small order"):
        check_public_key("ed25519", identity)
    signature = identity + bytes(32)
    assert not any(verify("ed25519", identity, b"t", bytes([i]), signature) for i in range(64))


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        (2**255 - 20).to_bytes(32, "little"),
        (2**255 - 19).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        bytes(31),
    ],
)
def test_small_order_and_non_canonical_keys_are_refused_before_they_are_registered(key: bytes) -> None:
    with pytest.raises(InvalidKey):
        check_public_key("ed25519", key)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_a_signature_holds_for_its_tag_and_message_only(seed: bytes, message: bytes) -> None:
    key = PrivateKey.from_seed(seed)
    check_public_key("ed25519", key.public_key)
    signature = key.sign(b"dawan:prepare:v1", message)
    assert verify("ed25519", key.public_key, b"dawan:prepare:v1", message, signature)
    assert not verify("ed25519", key.public_key, b"dawan:commit:v1", message, signature)
    assert not verify("ed25519", key.public_key, b"dawan:prepare:v1", message + b"x", signature)
    assert not verify("sm2", key.public_key, b"dawan:prepare:v1", message, signature)


def test_a_private_key_never_shows_or_serialises_its_secret() -> None:
    key = PrivateKey.from_seed(bytes(range(32)))
    assert bytes(range(32)).hex() not in repr(key)
    with pytest.raises(TypeError):
        key.__reduce__()
