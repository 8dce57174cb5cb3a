"""Identifiers against python-stdnum as the oracle, and the traps of domain.md 1.2."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import bic, ean, lei
from stdnum.cn import uscc
from stdnum.iso7064 import mod_97_10

from dawan_node.modules.identifiers import (
    Scheme,
    normalised_bic,
    normalised_gln,
    normalised_lei,
    normalised_uscc,
    party_identifier,
)

ALPHANUMERIC = string.digits + string.ascii_uppercase
USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"

SOME_LEI = "213800KUD8LAJWSQ9D15"
SOME_USCC = "91110000600037341L"


def text_of(alphabet: str, length: int) -> st.SearchStrategy[str]:
    return st.text(alphabet=alphabet, min_size=length, max_size=length)


@given(text_of(ALPHANUMERIC, 18))
def test_every_lei_the_oracle_completes_is_accepted_and_its_neighbours_are_not(stem: str) -> None:
    number = stem + mod_97_10.calc_check_digits(stem)
    assert lei.is_valid(number)
    assert normalised_lei(number) == number
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not lei.is_valid(wrong)
    assert normalised_lei(wrong) is None


@given(st.text(alphabet="123456789", min_size=1, max_size=1), text_of("0123456789", 7), text_of(USCC_ALPHABET, 9))
def test_every_uscc_the_oracle_completes_is_accepted_and_its_neighbours_are_not(
    authority: str, division: str, organisation: str
) -> None:
    stem = authority + division + organisation
    number = stem + uscc.calc_check_digit(stem)
    assert normalised_uscc(number) == uscc.validate(number) == number
    wrong = number[:-1] + USCC_ALPHABET[(USCC_ALPHABET.index(number[-1]) + 1) % 31]
    assert not uscc.is_valid(wrong)
    assert normalised_uscc(wrong) is None


@given(st.integers(0, 17), st.sampled_from(USCC_ALPHABET))
def test_one_wrong_character_anywhere_makes_a_uscc_invalid(position: int, character: str) -> None:
    changed = SOME_USCC[:position] + character + SOME_USCC[position + 1 :]
    assert (normalised_uscc(changed) is None) == (changed != SOME_USCC)


@given(text_of(string.digits, 12))
def test_every_gln_the_oracle_completes_is_accepted_and_its_neighbours_are_not(stem: str) -> None:
    number = stem + ean.calc_check_digit(stem)
    assert normalised_gln(number) == ean.validate(number) == number
    assert normalised_gln(number[:-1] + str((int(number[-1]) + 1) % 10)) is None


@given(st.text(alphabet=ALPHANUMERIC + " -/.", max_size=24))
def test_arbitrary_text_is_never_accepted_where_the_oracle_refuses(text: str) -> None:
    if normalised_lei(text) is not None:
        assert lei.is_valid(text)
    if normalised_gln(text) is not None:
        assert ean.is_valid(text)
    if (accepted := normalised_uscc(text)) is not None and accepted[:8].isdigit():
        assert uscc.is_valid(text)


@pytest.mark.parametrize("written", [f" {SOME_LEI.lower()} ", "2138-00KU-D8LA-JWSQ-9D15", "2138 00ku d8la jwsq 9d15"])
def test_different_spellings_of_one_lei_return_one_text(written: str) -> None:
    assert normalised_lei(written) == SOME_LEI


def test_different_spellings_of_one_uscc_return_one_text() -> None:
    assert normalised_uscc("9 1 110000 600037341l") == SOME_USCC


def test_a_rural_cooperative_with_a_letter_as_authority_has_a_valid_uscc() -> None:
    # GB 32100 allots N to the agricultural authorities; the oracle takes digits only in the first eight places.
    stem = "N2440101MF1234567"
    assert normalised_uscc(stem + uscc.calc_check_digit(stem)) is not None


def test_a_short_number_with_the_right_remainder_is_no_lei() -> None:
    # The oracle checks the remainder but not the length.
    short = "AB" + mod_97_10.calc_check_digits("AB")
    assert lei.is_valid(short)
    assert normalised_lei(short) is None


@pytest.mark.parametrize(
    "strange", ["", "213800KUD8LAJWSQ9D1５", "２１３８００KUD8LAJWSQ9D15", "9111000060003734ıL", "9" * 500]
)
def test_text_outside_ascii_or_of_absurd_length_is_refused(strange: str) -> None:
    assert normalised_lei(strange) is None
    assert normalised_uscc(strange) is None
    assert normalised_gln(strange) is None
    assert normalised_bic(strange) is None


def test_upper_casing_never_turns_a_foreign_letter_into_a_latin_one() -> None:
    stem = "529900IIIIIIIIIIII"
    number = stem + mod_97_10.calc_check_digits(stem)
    assert normalised_lei(number.lower()) == number
    assert number.replace("I", "ı").upper() == number
    assert normalised_lei(number.replace("I", "ı")) is None


@pytest.mark.parametrize("written", ["BKCHHKHH", "bkchhkhh", "BKCH HK HH", "BKCHHKHHXXX"])
def test_a_bic_of_the_head_office_has_one_text_of_eleven_characters(written: str) -> None:
    assert bic.is_valid(written)
    assert normalised_bic(written) == "BKCHHKHHXXX"


@pytest.mark.parametrize("written", ["BKCHHKH", "BKCHHKHHX", "BKCH12HH", "BKCHHKHH????"])
def test_what_has_not_the_form_of_a_bic_is_refused(written: str) -> None:
    assert normalised_bic(written) is None


@given(text_of(ALPHANUMERIC, 18))
def test_a_lei_has_one_pair_of_check_digits_where_the_remainder_alone_allows_two(stem: str) -> None:
    fitting = [check for check in (f"{number:02}" for number in range(100)) if normalised_lei(stem + check)]
    assert fitting == [mod_97_10.calc_check_digits(stem)]


@pytest.mark.parametrize(
    ("scheme", "written", "text"),
    [
        ("LEI", SOME_LEI.lower(), f"LEI:{SOME_LEI}"),
        ("USCC", "91110000 60003734 1L", f"USCC:{SOME_USCC}"),
        ("HK-BRN", "12 345 678", "HK-BRN:12345678"),
        ("MO-REG", "12345 (SO)", "MO-REG:12345SO"),
        ("MO-REG", "SO 12345", "MO-REG:12345SO"),
        ("MO-REG", "so-012345", "MO-REG:12345SO"),
        ("BIC", "bkchhkhh", "BIC:BKCHHKHHXXX"),
        ("GLN", "4006381333931", "GLN:4006381333931"),
    ],
)
def test_an_identifier_with_its_scheme_has_one_text(scheme: str, written: str, text: str) -> None:
    found = party_identifier(scheme, written)
    assert found is not None
    assert found.text == text
    assert party_identifier(scheme, found.value) == found


@pytest.mark.parametrize(
    ("scheme", "written"),
    [
        ("lei", SOME_LEI),
        ("VAT", "12345678"),
        ("", ""),
        ("HK-BRN", "1234567"),
        ("HK-BRN", "12345678-000-05-24-9"),
        ("HK-BRN", "１２３４５６７８"),
        ("MO-REG", "12345"),
        ("MO-REG", "0 SO"),
        ("MO-REG", "1234567 SO"),
        ("MO-REG", "12345SOX"),
        ("MO-REG", "(" * 200),
        ("LEI", SOME_USCC),
    ],
)
def test_an_identifier_of_another_scheme_or_form_is_refused(scheme: str, written: str) -> None:
    assert party_identifier(scheme, written) is None


def test_every_scheme_can_be_read() -> None:
    for scheme in Scheme:
        assert party_identifier(scheme.value, "?") is None
    assert {"LEI", "USCC", "HK-BRN", "MO-REG", "BIC", "GLN"} == {scheme.value for scheme in Scheme}
