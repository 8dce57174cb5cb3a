"""Keys, money, dates and text: the pure value types of the SDK."""

from __future__ import annotations

import datetime
import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.execution.dates import (
    add_days,
    add_months,
    business_date,
    day_number,
    days_between,
    is_date,
    start_of_day_ms,
)
from dawan_node.execution.keys import key_of, prefix_of
from dawan_node.execution.money import CURRENCIES, CurrencyMismatch, Money, total
from dawan_node.execution.text import alphanumeric, first_unassigned, fold, is_assigned_text

int64 = st.integers(-(2**63), 2**63 - 1)
# Few characters, the terminator and its neighbours among them, so that near collisions are common.
texts = st.text(st.sampled_from("\x00\x01aÿ票"), max_size=4)
tuples = st.tuples(texts, st.binary(max_size=4), int64, st.booleans(), texts)


# -- keys ----------------------------------------------------------------------------------------------------------


@given(tuples, tuples)
def test_keys_of_different_tuples_differ_and_sort_like_the_tuples(left, right):
    def comparable(parts):
        return tuple(part.encode() if isinstance(part, str) else part for part in parts)

    assert (prefix_of(*left) < prefix_of(*right)) == (comparable(left) < comparable(right))
    assert (key_of(*left) == key_of(*right)) == (left == right)


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_a_prefix_matches_exactly_the_tuples_that_start_with_its_parts(left, right):
    assert prefix_of(*left).startswith(prefix_of(right[0])) == (left[0] == right[0])


def test_a_key_of_one_text_is_that_text_and_an_int_must_fit():
    assert key_of("INV-1") == b"INV-1"
    assert key_of("ab", "c") != key_of("a", "bc")
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            key_of(number)


# -- money ---------------------------------------------------------------------------------------------------------


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any))
def test_allocated_parts_sum_to_the_amount_to_the_last_minor_unit(minor, weights):
    parts = Money("CNY", minor).allocate(weights)
    assert total("CNY", parts) == Money("CNY", minor)
    last = max(position for position, weight in enumerate(weights) if weight)
    for position, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        if position != last:
            assert part.minor == minor * weight // sum(weights)


def test_a_line_without_a_share_takes_no_remainder():
    assert [part.minor for part in Money("CNY", 1).allocate([1, 1, 0])] == [0, 1, 0]


def test_money_of_two_currencies_is_never_mixed():
    with pytest.raises(CurrencyMismatch):
        Money("CNY", 1) + Money("HKD", 1)
    with pytest.raises(CurrencyMismatch):
        Money("CNY", 1) < Money("HKD", 1)  # noqa: B015
    with pytest.raises(CurrencyMismatch):
        total("CNY", [Money("MOP", 1)])


def test_decimal_notation_has_the_places_of_the_currency():
    assert Money("CNY", 123_450).decimal() == "1234.50"
    assert Money("CNY", -5).decimal() == "-0.05"
    assert Money("JPY", 1_234).decimal() == "1234"
    assert Money("KWD", 1).decimal() == "0.001"
    assert Money("CNY", 100).scaled(33_333, 100_000) == Money("CNY", 33)
    assert Money("CNY", -100).scaled(1, 3) == Money("CNY", -34), "floor, also below zero"
    assert not Money("CNH", 1).is_known()
    assert {"CNY", "HKD", "MOP"} <= CURRENCIES.keys()


# -- dates ---------------------------------------------------------------------------------------------------------

days = st.dates()


@given(days, days)
def test_days_between_dates_are_those_of_the_calendar(start, end):
    assert days_between(start.isoformat(), end.isoformat()) == (end - start).days
    assert add_days(start.isoformat(), (end - start).days) == end.isoformat()


@given(st.text("0123456789-", min_size=8, max_size=11) | days.map(str))
def test_only_existing_dates_in_the_one_form_are_dates(text):
    try:
        expected = datetime.date(*map(int, text.split("-", 2))).isoformat() == text
    except (ValueError, TypeError, OverflowError):
        expected = False
    assert is_date(text) == expected


@pytest.mark.parametrize(
    "text", ["2025-02-29", "20251124", "2025-W48-1", "2025-1-01", "0000-01-01", "２０２５-01-01", ""]
)
def test_what_is_no_date_is_refused_by_arithmetic_too(text):
    assert not is_date(text)
    with pytest.raises(ValueError, match="not a date"):
        day_number(text)


def test_months_end_on_their_last_day_and_years_on_theirs():
    assert add_months("2025-08-31", 6) == "2026-02-28"
    assert add_months("2024-02-29", 12) == "2025-02-28"
    assert add_months("2025-11-24", 2) == "2026-01-24"
    assert add_months("2025-01-15", -13) == "2023-12-15"
    with pytest.raises(ValueError, match="years 1 to 9999"):
        add_months("9999-12-01", 1)
    with pytest.raises(ValueError, match="years 1 to 9999"):
        add_days("0001-01-01", -1)


@given(st.integers(0, 4_102_444_800_000))
def test_the_business_date_is_the_date_at_utc_plus_8(time_ms):
    zone = datetime.timezone(datetime.timedelta(hours=8))
    assert business_date(time_ms) == datetime.datetime.fromtimestamp(time_ms // 1000, zone).date().isoformat()
    date = business_date(time_ms)
    assert start_of_day_ms(date) <= time_ms < start_of_day_ms(add_days(date, 1))


# -- text ----------------------------------------------------------------------------------------------------------


def test_folding_removes_case_width_and_compatibility_forms():
    assert fold("ＩＮＶ－００１") == fold("inv-001") == "inv-001"
    assert fold("Straße") == fold("STRASSE")
    assert fold("ﬁ") == "fi"
    assert alphanumeric("inv - 001/ä？号") == "inv001ä号"


def test_folding_twice_changes_nothing_more():
    for point in range(0x3000):
        if is_assigned_text(chr(point)):
            once = fold(chr(point))
            assert fold(once) == once


@pytest.mark.slow
def test_every_assigned_code_point_folds_as_it_did_in_unicode_14():
    """The digest was made by Python 3.11; 3.12 and 3.13, with Unicode 15.0 and 15.1, gave the same."""
    digest, count = hashlib.sha256(), 0
    for point in range(0x110000):
        character = chr(point)
        if not 0xD800 <= point < 0xE000 and is_assigned_text(character):
            count += 1
            digest.update(f"{fold(character)}|{alphanumeric(character)}\n".encode())
    assert count == 282_230
    assert digest.hexdigest() == "d2ced2ebc376fb6d7aa6892a3c914f4e242f7a94c366123dee322d746b2dbc13"


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="only Python 3.11 has Unicode 14.0 to compare with")
def test_the_tables_are_those_of_unicode_14():
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    categories = [unicodedata.category(character) for character in points]
    everything = "".join(points)
    for character, category in zip(points, categories, strict=True):
        assert is_assigned_text(character) == (category != "Cn"), hex(ord(character))
    assert alphanumeric(everything) == "".join(
        character for character, category in zip(points, categories, strict=True) if category[0] in "LMN"
    )


def test_the_path_of_the_first_unassigned_code_point_is_named():
    assert first_unassigned({"a": "ok", "b": [1, {"c": "\u0378"}]}) == "b[1].c"
    assert first_unassigned({"a": "票據", "b": [b"\xff", True, -1]}) is None
