"""Ledger values in JSON: each direction undoes the other, and nothing that does not fit slips through."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.execution.money import CURRENCIES, Money
from dawan_node.rpc import values
from dawan_node.rpc.values import BadValue
from tests.rpc.fake_node import NOW_MS, PAYMENT, TOY

INT64 = st.integers(-(2**63), 2**63 - 1)
LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
FIRST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z


@given(st.binary(max_size=80))
def test_bytes_survive_the_way_through_hexadecimal(data: bytes) -> None:
    text = values.to_hex(data)
    assert values.from_hex(text, "p") == data
    assert values.is_hex(text)


@pytest.mark.parametrize(
    "text", ["", "0", "0x0", "00", "0xAB", "0XAB", "0x zz", "0x0 0", "0x00 ", "0xé0", "0x٠٠", 7, None]
)
def test_only_one_spelling_of_bytes_is_accepted(text: Any) -> None:
    with pytest.raises(BadValue, match=r"0x and an even number"):
        values.from_hex(text, "p")
    assert not values.is_hex(text)


def test_bytes_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(BadValue, match="expected 32 bytes, not 1"):
        values.from_hex("0x00", "p", 32)


@given(INT64)
def test_integers_survive_and_are_exact_for_every_reader(number: int) -> None:
    shown = values.to_int(number)
    assert values.from_int(shown, "p") == number
    assert json.loads(json.dumps(shown)) == shown
    assert isinstance(shown, int) == (abs(number) <= 2**53 - 1)


@pytest.mark.parametrize("value", [True, None, 1.0, "1.0", "01", "-0", "+1", " 1", "1" * 30, "٣", str(2**63), [1]])
def test_what_is_no_integer_is_refused(value: Any) -> None:
    with pytest.raises(BadValue):
        values.from_int(value, "p")


@given(st.integers(FIRST_MS, LAST_MS))
def test_instants_survive_the_way_through_rfc_3339(ms: int) -> None:
    text = values.to_instant(ms)
    assert values.from_instant(text, "p") == ms
    assert len(text) == 24


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_instants_agree_with_the_standard_library(moment: datetime.datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ms = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(milliseconds=1)
    assert values.to_instant(ms) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_an_instant_outside_the_calendar_is_shown_as_digits() -> None:
    assert values.to_instant(2**63 - 1) == str(2**63 - 1)


def test_an_instant_may_leave_its_milliseconds_out() -> None:
    assert values.from_instant("1970-01-01T00:00:01Z", "p") == 1000
    assert values.from_instant("1970-01-01T00:00:01.5Z", "p") == 1500


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-20",
        "2026-05-20T08:00:00",
        "2026-05-20T08:00:00+08:00",
        "2026-05-20 08:00:00Z",
        "2026-02-30T08:00:00Z",
        "2026-05-20T24:00:00Z",
        "2026-05-20T08:60:00Z",
        "2026-05-20T23:59:60Z",
        "2026-05-20T08:00:00.1234Z",
        "0000-01-01T00:00:00Z",
        "２026-05-20T08:00:00Z",
        NOW_MS,
        None,
    ],
)
def test_what_is_no_utc_time_is_refused(text: Any) -> None:
    with pytest.raises(BadValue):
        values.from_instant(text, "p")


@given(st.sampled_from(["CNY", "HKD", "MOP", "JPY", "KWD", "CLF", "XXX"]), INT64)
def test_money_survives_to_the_last_minor_unit(currency: str, minor: int) -> None:
    shown = values.to_money(currency, minor)
    assert values.from_money(shown, "p") == [currency, minor]


@pytest.mark.parametrize(
    ("currency", "minor", "amount"),
    [
        ("CNY", 123_450, "1234.50"),
        ("CNY", 5, "0.05"),
        ("CNY", -5, "-0.05"),
        ("CNY", 0, "0.00"),
        ("JPY", 1234, "1234"),
        ("KWD", 1, "0.001"),
        ("KWD", -12_345, "-12.345"),
        ("CNY", 1_000_000_000, "10000000.00"),
    ],
)
def test_money_is_written_with_the_decimals_of_its_currency(currency: str, minor: int, amount: str) -> None:
    assert values.to_money(currency, minor) == {"currency": currency, "amount": amount}


def test_decimals_agree_with_the_ledger_for_every_currency_modules_know() -> None:
    assert {currency: values.decimal_places(currency) for currency in CURRENCIES} == dict(CURRENCIES)
    for currency in CURRENCIES:
        assert values.to_money(currency, -1234)["amount"] == Money(currency, -1234).decimal()


@pytest.mark.parametrize("amount", ["12", "12.5", "12.50"])
def test_decimals_at_the_end_may_be_left_out(amount: str) -> None:
    assert (
        values.from_money({"currency": "CNY", "amount": amount}, "p")[1]
        == values.from_money({"currency": "CNY", "amount": amount}, "p")[1]
    )
    assert values.from_money({"currency": "CNY", "amount": "12.5"}, "p") == ["CNY", 1250]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (1234, "p"),
        (["CNY", 5], "p"),
        ({"currency": "CNY"}, "p"),
        ({"currency": "CNY", "amount": "1", "x": 1}, "p"),
        ({"currency": "cny", "amount": "1"}, "p.currency"),
        ({"currency": "CNY", "amount": 1}, "p.amount"),
        ({"currency": "CNY", "amount": "1.234"}, "p.amount"),
        ({"currency": "JPY", "amount": "1.0"}, "p.amount"),
        ({"currency": "CNY", "amount": "1,234.50"}, "p.amount"),
        ({"currency": "CNY", "amount": "1e3"}, "p.amount"),
        ({"currency": "CNY", "amount": "01"}, "p.amount"),
        ({"currency": "CNY", "amount": ".5"}, "p.amount"),
        ({"currency": "CNY", "amount": "+5"}, "p.amount"),
        ({"currency": "CNY", "amount": "１"}, "p.amount"),
        ({"currency": "CNY", "amount": "92233720368547758.08"}, "p.amount"),
    ],
)
def test_what_is_no_money_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(BadValue) as caught:
        values.from_money(value, "p")
    assert caught.value.path == path


# -- along a schema --------------------------------------------------------------------------------------------------

PAY = TOY["$defs"]["Pay"]
PAY_JSON = {
    "to": "hk-bank",
    "amount": {"currency": "CNY", "amount": "1234.50"},
    "due": "2025-11-24T16:00:00.123Z",
    "ttl_ms": 5000,
    "document": "0x" + "01" * 32,
    "kind": "cash",
    "lines": [{"currency": "JPY", "amount": "7"}],
}
PAY_LEDGER = {
    "to": "hk-bank",
    "amount": ["CNY", 123_450],
    "due_ms": NOW_MS,
    "ttl_ms": 5000,
    "document": b"\x01" * 32,
    "kind": "cash",
    "lines": [["JPY", 7]],
}


def test_arguments_are_read_along_their_schema() -> None:
    assert values.from_json(PAY_JSON, {"$ref": "#/$defs/Pay"}, "args", TOY) == PAY_LEDGER


def test_a_ledger_value_is_shown_along_its_schema() -> None:
    assert values.to_json(PAY_LEDGER, {"$ref": "#/$defs/Pay"}, TOY) == PAY_JSON


def test_an_instant_loses_its_suffix_and_a_duration_keeps_it() -> None:
    shown = values.to_json(PAYMENT, TOY["$defs"]["Payment"], TOY)
    assert shown["due"] == "2025-11-24T16:00:00.123Z"
    assert "due_ms" not in shown
    assert shown["ttl_ms"] == 5000
    assert shown["serial"] == str(2**60)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"to": ""}, "args.to"),
        ({"to": "x" * 21}, "args.to"),
        ({"to": 7}, "args.to"),
        ({"to": None}, "args.to"),
        ({"amount": ["CNY", 5]}, "args.amount"),
        ({"amount": {"currency": "CNY", "amount": 5}}, "args.amount.amount"),
        ({"due": 5}, "args.due"),
        ({"due_ms": NOW_MS}, "args.due_ms"),
        ({"ttl_ms": 0}, "args.ttl_ms"),
        ({"ttl_ms": 1.5}, "args.ttl_ms"),
        ({"ttl_ms": True}, "args.ttl_ms"),
        ({"document": "0x00"}, "args.document"),
        ({"document": "AAAA"}, "args.document"),
        ({"kind": "gold"}, "args.kind"),
        ({"kind": True}, "args.kind"),
        ({"lines": {}}, "args.lines"),
        ({"lines": [7]}, "args.lines[0]"),
        ({"lines": [{"currency": "JPY", "amount": "7"}] * 4}, "args.lines"),
        ({"typo": 1}, "args.typo"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(change: dict[str, Any], path: str) -> None:
    with pytest.raises(BadValue) as caught:
        values.from_json({**PAY_JSON, **change}, PAY, "args", TOY)
    assert caught.value.path == path


def test_a_missing_required_argument_is_named() -> None:
    with pytest.raises(BadValue) as caught:
        values.from_json({"to": "x"}, PAY, "args", TOY)
    assert (caught.value.path, caught.value.message) == ("args.amount", "is missing")


class Line(msgspec.Struct, array_like=True, frozen=True):
    text: str
    price: Money
    key: bytes


class Bill(msgspec.Struct, array_like=True, frozen=True):
    lines: list[Line]
    note: str | msgspec.UnsetType = msgspec.UNSET


def test_structs_are_shown_by_field_name_and_unset_fields_left_out() -> None:
    bill = Bill([Line("paper", Money("HKD", 950), b"\xff")])
    assert values.to_json(bill) == {
        "lines": [{"text": "paper", "price": {"currency": "HKD", "amount": "9.50"}, "key": "0xff"}]
    }


def test_a_schema_that_refers_to_itself_does_not_make_the_walk_endless() -> None:
    schema = {"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}
    assert values.to_json(7, schema) == 7
    nest: Any = 7
    for _ in range(40):
        nest = [nest]
    json.dumps(values.to_json(nest))
    with pytest.raises(BadValue, match="nested deeper"):
        values.from_json(nest, {}, "args")


ledger_values = st.recursive(
    st.booleans() | INT64.filter(lambda n: abs(n) < 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=12,
).filter(lambda value: _depth(value) <= 8)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(item) for item in inner), default=-1)


@given(ledger_values)
def test_untyped_values_without_bytes_survive_both_ways(value: Any) -> None:
    assert values.from_json(values.to_json(value), {}, "args") == value


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PAY_JSON, "x"]), inner, max_size=5),
    max_leaves=12,
)


@given(anything)
def test_reading_anything_along_a_schema_gives_a_value_or_a_path(value: Any) -> None:
    try:
        values.from_json(value, PAY, "args", TOY)
    except BadValue as error:
        assert error.path.startswith("args")


@given(anything, st.sampled_from([PAY, TOY["$defs"]["Money"], {"type": "integer", "format": "instant-ms"}, {}]))
def test_showing_anything_along_any_schema_never_fails(value: Any, schema: dict[str, Any]) -> None:
    values.to_json(value, schema, TOY)
