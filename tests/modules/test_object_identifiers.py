"""Containers, logistic units, trade items, ships, payment references against python-stdnum as the oracle."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import ean, imo, iso6346, iso11649
from stdnum.iso7064 import mod_97_10

from dawan_node.modules.identifiers import (
    ObjectNumber,
    container_number,
    creditor_reference,
    gtin,
    imo_number,
    sscc,
)

ALPHANUMERIC = string.digits + string.ascii_uppercase
EVERY: tuple[Callable[[str], ObjectNumber | None], ...] = (container_number, sscc, gtin, imo_number, creditor_reference)


def digits(length: int) -> st.SearchStrategy[str]:
    return st.text(alphabet=string.digits, min_size=length, max_size=length)


def read(function: Callable[[str], ObjectNumber | None], text: str) -> ObjectNumber:
    found = function(text)
    assert found is not None
    return found


@given(st.text(alphabet=string.ascii_uppercase, min_size=3, max_size=3), st.sampled_from("UJZ"), digits(7))
def test_a_container_is_consistent_exactly_when_the_oracle_says_so(owner: str, category: str, serial: str) -> None:
    text = owner + category + serial
    found = read(container_number, text)
    assert found.is_consistent == iso6346.is_valid(text)
    assert found.expected == iso6346.calc_check_digit(text[:10])
    assert found.number == text


def test_a_wrong_digit_is_told_apart_from_a_wrong_form() -> None:
    wrong = read(container_number, "csqu 305438-4")
    assert (wrong.number, wrong.written, wrong.expected, wrong.is_consistent) == ("CSQU3054384", "4", "3", False)
    for malformed in ("CSQX3054383", "CSQU305438", "CSQU30543833", "CSQ13054383", "ＣSQU3054383"):
        assert container_number(malformed) is None


def test_a_container_with_remainder_ten_ends_in_zero() -> None:
    found = read(container_number, "APZU4812090")
    assert found.is_consistent == iso6346.is_valid("APZU4812090")
    tens = [f"CSQU{serial:06}" for serial in range(200) if iso6346.calc_check_digit(f"CSQU{serial:06}") == "0"]
    assert len(tens) > 25  # remainders 0 and 10 both
    assert all(read(container_number, stem + "0").is_consistent for stem in tens)


@given(digits(6))
def test_a_ship_is_consistent_exactly_when_the_oracle_says_so(stem: str) -> None:
    for last in string.digits:
        found = read(imo_number, f"IMO {stem}{last}")
        assert found.is_consistent == imo.is_valid(stem + last)
        assert found.number == stem + last


@given(st.sampled_from([8, 12, 13, 14]), st.data())
def test_a_trade_item_is_consistent_exactly_when_the_oracle_says_so(length: int, data: st.DataObject) -> None:
    text = data.draw(digits(length))
    found = read(gtin, text)
    assert found.is_consistent == ean.is_valid(text)
    assert found.number == "0" * (14 - length) + text


def test_one_item_in_four_lengths_is_one_number() -> None:
    assert {read(gtin, "0" * zeros + "73513537").number for zeros in (0, 4, 5, 6)} == {"00000073513537"}
    assert [gtin("0" * zeros + "73513537") for zeros in (1, 2, 3, 7)] == [None] * 4


@given(digits(17))
def test_every_digit_but_one_is_wrong_for_a_logistic_unit(stem: str) -> None:
    # The oracle knows no SSCC; its EAN digit does not depend on the length.
    fitting = [last for last in string.digits if read(sscc, stem + last).is_consistent]
    assert fitting == [ean.calc_check_digit(stem)]


@given(digits(18), st.integers(0, 17), st.integers(1, 9))
def test_one_mistyped_digit_of_a_consistent_logistic_unit_is_noticed(text: str, position: int, by: int) -> None:
    text = text[:17] + read(sscc, text).expected
    changed = text[:position] + str((int(text[position]) + by) % 10) + text[position + 1 :]
    assert read(sscc, text).is_consistent and not read(sscc, changed).is_consistent


@given(st.text(alphabet=ALPHANUMERIC, min_size=1, max_size=21))
def test_a_creditor_reference_has_exactly_the_check_digits_the_oracle_computes(reference: str) -> None:
    right = mod_97_10.calc_check_digits(reference + "RF")
    fitting = [
        check
        for check in (f"{number:02}" for number in range(100))
        if read(creditor_reference, f"RF{check}{reference}").is_consistent
    ]
    assert fitting == [right]
    assert iso11649.is_valid(f"RF{right}{reference}")


def test_a_second_pair_of_check_digits_with_the_same_remainder_is_not_accepted() -> None:
    # 02 and 99 leave one remainder; the oracle looks at nothing else.
    reference = next(str(n) for n in range(1_000) if mod_97_10.calc_check_digits(f"{n}RF") == "02")
    assert iso11649.is_valid(f"RF99{reference}")
    assert not read(creditor_reference, f"RF99{reference}").is_consistent


@given(st.text(alphabet=ALPHANUMERIC + " -/.", max_size=30))
def test_what_the_oracle_accepts_is_consistent_here_and_nothing_else(text: str) -> None:
    if (found := container_number(text)) is not None and found.is_consistent:
        assert iso6346.is_valid(found.number)
    if (found := gtin(text)) is not None:
        assert found.is_consistent == ean.is_valid(text)
    if (found := imo_number(text)) is not None:
        assert found.is_consistent == imo.is_valid(text)


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.__name__)
@pytest.mark.parametrize("strange", ["", " ", "é", "1" * 500, "１２３４５６７８", "\x00" * 8, "12345678\n", "٣" * 18])
def test_text_that_is_no_number_is_refused(function: Callable[[str], ObjectNumber | None], strange: str) -> None:
    assert function(strange) is None
