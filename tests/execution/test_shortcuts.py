"""What is said the short way is what the long way says: events, texts, indexes and dates of the hot path."""

from __future__ import annotations

import datetime
import random
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
import pytest

from dawan_node.execution import dates
from dawan_node.execution.entity import Event, plain_data
from dawan_node.execution.keys import prefix_of
from dawan_node.execution.module import Money
from dawan_node.execution.state import SortedIndex
from dawan_node.execution.text import alphanumeric, first_unassigned, is_assigned_text
from dawan_node.primitives.encoding import encode


class Plain(Event):
    text: str
    data: bytes
    number: int
    flag: bool


class Nested(Event):
    text: str
    amount: Money


class Renamed(Event, rename="camel"):
    long_name: str


class Word(StrEnum):
    ONE = "one"


class Number(IntEnum):
    ONE = 1


def plain(**changes: Any) -> Plain:
    return Plain(**({"text": "é", "data": b"\x00", "number": -(2**63), "flag": True} | changes))


def test_an_event_of_plain_fields_has_the_data_that_converting_it_gives() -> None:
    for event in (plain(), plain(text="", number=2**63 - 1, flag=False)):
        data = plain_data(event)
        assert data == msgspec.to_builtins(event, builtin_types=(bytes,))
        assert encode(data) == encode(msgspec.to_builtins(event, builtin_types=(bytes,)))


@pytest.mark.parametrize(
    "event",
    [
        plain(text=1),
        plain(text=Word.ONE),
        plain(data="text"),
        plain(data=bytearray(b"x")),
        plain(number=True),
        plain(number=Number.ONE),
        plain(number=2**63),
        plain(number=-(2**63) - 1),
        plain(flag=1),
        Nested(text="", amount=Money("CNY", 1)),
        Renamed(long_name=""),
    ],
)
def test_an_event_that_is_not_plain_or_holds_something_else_goes_the_long_way(event: Event) -> None:
    assert plain_data(event) is None


def test_the_path_of_an_unassigned_text_is_found_wherever_it_stands() -> None:
    unassigned = "\u0378"
    assert not is_assigned_text(unassigned)
    for value, path in (
        (unassigned, ""),
        ({"a": 1, "b": unassigned}, "b"),
        ({"a": [b"x", "é", {"c": (True, [unassigned])}]}, "a[2].c[1][0]"),
        ({"a": {unassigned: 1}}, "a"),
        ({"a": {"b": [[unassigned]]}}, "a.b[0][0]"),
    ):
        assert first_unassigned(value) == path
    assert first_unassigned({"a": [b"\xff", "é", {"c": (True, ["", 1])}], "é": {}}) is None


def test_an_index_gives_ranges_in_order_however_writing_and_scanning_alternate() -> None:
    source = random.Random(7)
    for _ in range(50):
        index, model = SortedIndex({b"m": b"1"}), {b"m": b"1"}
        for _ in range(source.randrange(1, 30)):
            newer = {bytes(source.choices(b"abc", k=source.randrange(4))): None for _ in range(source.choice((1, 40)))}
            index.update(newer)
            model |= newer
            key = bytes(source.choices(b"abc", k=3))
            index.put(key, b"2")
            model[key] = b"2"
            prefix, after = bytes(source.choices(b"abc", k=source.randrange(3))), source.choice((b"", b"ab", b"b"))
            expected = [(k, v) for k, v in sorted(model.items()) if k.startswith(prefix) and k > after]
            if prefix <= after:
                assert index.range(prefix, after) == expected
            else:
                assert index.range(prefix, b"") == [(k, v) for k, v in sorted(model.items()) if k.startswith(prefix)]
        assert dict(index.items()) == model


def test_a_closed_part_escapes_what_closes_it_in_every_kind_of_text() -> None:
    for text in ("", "plain", "é\u0378", "a\x00b", "\x01", "a\x01\x00é", "\n", Word.ONE):
        plainly = str(text).encode().replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01") + b"\x00"
        assert prefix_of(text) == plainly == prefix_of(str(text).encode())


def test_what_is_kept_of_ascii_is_what_the_table_of_letters_and_numbers_says() -> None:
    text = "".join(map(chr, range(128)))
    assert alphanumeric(text) == "".join(letter for letter in text if letter.isalnum())
    assert alphanumeric(text + "é") == alphanumeric(text) + "é"


def test_dates_asked_for_again_are_answered_alike() -> None:
    for _ in range(2):
        assert dates.is_date("2028-02-29") and not dates.is_date("2027-02-29") and not dates.is_date("2027-02-2")
        assert not dates.is_date("2027-02-001") and not dates.is_date("²027-02-20")
        assert dates.add_days("2028-02-29", 1) == "2028-03-01"
        assert dates.business_date(0) == datetime.date(1970, 1, 1).isoformat()
        with pytest.raises(ValueError, match="outside the years"):
            dates.add_days("9999-12-31", 1)
