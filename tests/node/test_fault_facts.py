"""What a channel bears of one operator: the arithmetic against every subset of validators, and in words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.node.fault_facts import ChannelFacts, fault_facts
from dawan_node.primitives.validators import fault_bound, quorum

# All layouts of up to seven validators over at most four operators; larger ones only repeat the pattern mod 3.
LAYOUTS = [
    layout
    for n in range(1, 8)
    for layout in itertools.product(range(n + 1), repeat=4)
    if sum(layout) == n and list(layout) == sorted(layout, reverse=True)
]


def facts_of(*seats: int) -> ChannelFacts:
    operators = [name for name, held in zip("abcdefgh", seats, strict=False) for _ in range(held)]
    return fault_facts("trade", operators, "abcd")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_arithmetic_says_what_going_through_all_quorums_says(layout: tuple[int, ...]) -> None:
    facts = facts_of(*layout)
    owners = [name for name, held in zip("abcd", layout, strict=True) for _ in range(held)]
    everyone = range(len(owners))
    quorums = [frozenset(chosen) for chosen in itertools.combinations(everyone, quorum(len(owners)))]
    for each in facts.operators:
        seats = {place for place in everyone if owners[place] == each.operator}
        assert each.seats == len(seats)
        assert each.survives_loss == any(not chosen & seats for chosen in quorums)
        assert each.can_fork == any(a & b <= seats for a in quorums for b in quorums)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(sum))
def test_a_liar_is_survived_exactly_when_it_holds_no_more_seats_than_the_fault_bound(seats: list[int]) -> None:
    facts = facts_of(*seats)
    f, n = fault_bound(sum(seats)), sum(seats)
    assert (facts.n, facts.f, facts.quorum) == (n, f, quorum(n))
    for each in facts.operators:
        assert each.survives_lying == (each.seats <= f)
        assert each.survives_loss == (not each.can_stop)
        if n % 3 != 2:
            assert each.can_fork == (each.seats > f)
        else:
            assert each.can_fork == (each.seats > f + 1)
            assert each.can_stop == (each.seats > f)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum))
def test_every_operator_a_channel_depends_on_alone_is_warned_of(seats: list[int]) -> None:
    facts = facts_of(*seats)
    said = "\n".join(facts.warnings())
    for each in facts.operators:
        assert (f"{each.operator} alone could fork" in said) == each.can_fork
        assert (f"{each.operator} alone could stop" in said) == each.can_stop


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_three_equal_organisations_bear_no_liar_and_the_warning_names_the_way_out(k: int) -> None:
    facts = facts_of(k, k, k)
    assert not any(each.survives_lying for each in facts.operators if each.seats)
    [explained] = [warning for warning in facts.warnings() if "three equal organisations" in warning]
    assert "fourth, independently run party" in explained and f"3k + 1 = {3 * k + 1}" in explained
    with_fourth = facts_of(k, k, k, 1)
    assert with_fourth.f == k and all(each.survives_lying for each in with_fourth.operators)
    assert with_fourth.warnings() == []


@pytest.mark.parametrize(("n", "crash_only"), [(1, False), (2, True), (3, True), (4, False), (5, False)])
def test_two_or_three_validators_bear_crashes_only(n: int, crash_only: bool) -> None:
    facts = facts_of(*[1] * n)
    assert facts.crash_only is crash_only
    assert any("tolerates crashes at most" in warning for warning in facts.warnings()) is crash_only


def test_an_operator_without_a_seat_is_listed_and_survived() -> None:
    [last] = [each for each in fault_facts("trade", ["a"] * 4, ["a", "z"]).operators if each.operator == "z"]
    assert (last.seats, last.survives_loss, last.survives_lying) == (0, True, True)
