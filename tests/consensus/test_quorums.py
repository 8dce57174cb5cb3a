"""Quorum arithmetic as the replica relies on it (consensus.md 1.1, bug B1)."""

from __future__ import annotations

import pytest

from dawan_node.primitives.validators import fault_bound, quorum

TABLE = {1: (0, 1), 2: (0, 2), 3: (0, 2), 4: (1, 3), 5: (1, 4), 6: (1, 4), 7: (2, 5), 8: (2, 6), 9: (2, 6)}
TABLE |= {10: (3, 7), 13: (4, 9), 16: (5, 11), 19: (6, 13), 22: (7, 15)}


@pytest.mark.parametrize("n", sorted(TABLE))
def test_the_table_of_the_protocol_holds(n: int) -> None:
    assert (fault_bound(n), quorum(n)) == TABLE[n]


def test_two_quorums_share_an_honest_validator_and_the_honest_are_a_quorum() -> None:
    for n in range(1, 2_001):
        f, q = fault_bound(n), quorum(n)
        assert 2 * q - n >= f + 1
        assert q <= n - f
        assert q == -(-2 * n // 3)


def test_2f_plus_1_would_share_no_honest_validator_outside_3f_plus_1() -> None:
    unsafe = [n for n in range(4, 50) if 2 * (2 * fault_bound(n) + 1) - n < fault_bound(n) + 1]
    assert unsafe == [n for n in range(4, 50) if n % 3 != 1]
