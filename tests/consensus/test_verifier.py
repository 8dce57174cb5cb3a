"""The memory of verified signatures: each checked once, bounded, and never of a wrong one."""

from __future__ import annotations

import pytest

from dawan_node.consensus import verification
from dawan_node.consensus.verification import Verifier

KEY, TAG = bytes(32), b"tag"


class Counted:
    """A check of signatures that counts; ``good`` is the one right signature."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def __call__(self, public_key: bytes, signed: bytes, signature: bytes) -> bool:
        self.calls.append(signed)
        return signature == b"good"


def test_a_valid_signature_is_checked_once_and_a_wrong_one_each_time() -> None:
    check = Counted()
    verifier = Verifier(bytes(32), check)
    for _ in range(3):
        assert verifier.signature(KEY, TAG, b"data", b"good")
        assert not verifier.signature(KEY, TAG, b"data", b"bad")
    assert len(check.calls) == 1 + 3


def test_the_memory_is_bounded_and_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "VERIFIED_MAX", 3)
    check = Counted()
    verifier = Verifier(bytes(32), check)
    for data in (b"1", b"2", b"3", b"1", b"4"):  # 1 is used again, so 2 has to go
        assert verifier.signature(KEY, TAG, data, b"good")
    assert len(verifier._seen) == 3 and len(check.calls) == 4
    for data in (b"1", b"3", b"4"):
        assert verifier.signature(KEY, TAG, data, b"good")
    assert len(check.calls) == 4
    assert verifier.signature(KEY, TAG, b"2", b"good") and len(check.calls) == 5


def test_wrong_signatures_take_no_place_of_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "VERIFIED_MAX", 2)
    check = Counted()
    verifier = Verifier(bytes(32), check)
    assert verifier.signature(KEY, TAG, b"1", b"good")
    for number in range(10):
        assert not verifier.signature(KEY, TAG, b"%d" % number, b"bad")
    assert verifier.signature(KEY, TAG, b"1", b"good")
    assert len(check.calls) == 11
