"""Names that may stand in state and on the wire, and the words behind the numbers."""

from __future__ import annotations

import pytest

from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.codes import Code, reason_of
from dawan_node.primitives.names import is_event, is_identifier, is_label, is_suite
from dawan_node.primitives.validators import ValidatorSet
from tests.sync.chain import keys_of, set_of


@pytest.mark.parametrize("is_name", [is_label, is_identifier, is_event, is_suite])
@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "é", "a" * 200, "\x00", "A/B"])
def test_no_kind_of_name_is_empty_endless_or_holds_space_or_accents(is_name, text: str) -> None:  # type: ignore[no-untyped-def]
    assert not is_name(text)


def test_names_of_the_devnet_are_names() -> None:
    assert is_label("gz1") and is_identifier("receivable") and is_suite(ED25519)
    assert is_event("InvoiceRecorded") or is_event("invoice_recorded")


def test_a_code_has_one_reason_and_an_unknown_one_says_so() -> None:
    assert {reason_of(code): Code(code) for code in Code} == dict(Code.__members__)
    assert reason_of(999_999) == "E_UNKNOWN"


def test_a_validator_set_is_its_members_in_whatever_order() -> None:
    keys = keys_of(7)
    one, other = set_of(keys), set_of(keys[::-1])
    assert one == other and hash(one) == hash(other) and one != set_of(keys[:6]) and one != 7
    assert one.members == tuple((ED25519, key.public_key) for key in keys)
    assert ValidatorSet(one.members) == one
    assert (one.n, one.f, one.q, one.weak) == (7, 2, 5, 3) and "n=7, f=2, q=5" in repr(one)
    assert one.index_of(bytes(32)) is None
