"""What is said the short way is what the long way says: events, texts, indexes and dates of the hot path."""

from __future__ import annotations

import datetime
import random
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
import pytest

from dawan_node.errors import InvalidEncoding
from dawan_node.execution import dates
from dawan_node.execution.entity import Event, complete_spec, encode_entity, plain_data
from dawan_node.execution.keys import prefix_of
from dawan_node.execution.layers import BlockLayer, TransactionLayer
from dawan_node.execution.module import Entity, Money, key_of
from dawan_node.execution.state import SortedIndex
from dawan_node.execution.text import alphanumeric, first_unassigned, is_assigned_text
from dawan_node.primitives.encoding import DEPTH_MAX, ITEMS_MAX, check_value, encode
from dawan_node.testing.memory_state import MemoryState


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


Seven = tuple[tuple[tuple[tuple[tuple[tuple[tuple[int, ...], ...], ...], ...], ...], ...], ...]


class Row(Entity, collection="row", schema=1):
    flags: tuple[bool, ...]

    def primary_key(self) -> bytes:
        return b"row"


class Deep(Entity, collection="deep", schema=1):
    inside: Seven

    def primary_key(self) -> bytes:
        return b"deep"


class TooDeep(Entity, collection="too_deep", schema=1):
    inside: tuple[Seven, ...]

    def primary_key(self) -> bytes:
        return b"too_deep"


class Parcel(Entity, collection="parcel", schema=1):
    number: int
    owner: str
    place: str
    weight: int

    indexes = {  # noqa: RUF012
        "by_owner": lambda parcel: [(parcel.owner, parcel.number)] if parcel.owner else [],
        "by_place": lambda parcel: iter([(parcel.place,), (parcel.place, parcel.owner)]),
        # Equal parts of two types: 1 == True, and the keys differ.
        "by_load": lambda parcel: [(parcel.weight > 2,) if parcel.weight % 2 else (int(parcel.weight > 2),)],
        "by_list": lambda parcel: [[part for part in (parcel.owner, parcel.place) if part]],
    }

    def primary_key(self) -> bytes:
        return key_of(self.number)


for declared in (Row, Deep, TooDeep, Parcel):
    complete_spec(declared.spec, "shortcuts")


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


@pytest.mark.parametrize("count", [0, 1, 900, ITEMS_MAX - 8, ITEMS_MAX, ITEMS_MAX + 1, 3 * ITEMS_MAX])
def test_an_entity_is_refused_for_too_many_items_whether_or_not_they_are_counted(count: int) -> None:
    row = Row((True,) * count)
    if count > ITEMS_MAX:
        with pytest.raises(InvalidEncoding):
            encode_entity(row)
    else:
        assert encode_entity(row) == encode([1, [True] * count])


def test_an_entity_is_refused_for_its_depth_only_where_its_type_can_be_too_deep() -> None:
    assert Deep.spec.unwalked_max == ITEMS_MAX and TooDeep.spec.unwalked_max == -1
    nested: Any = (1,)
    for _ in range(DEPTH_MAX - 2):
        nested = (nested,)
    value = encode_entity(Deep(nested))
    check_value(msgspec.msgpack.decode(value))
    with pytest.raises(InvalidEncoding):
        encode_entity(TooDeep((nested,)))
    assert encode_entity(TooDeep(())) == encode([1, []])


def test_the_entries_of_a_changed_entity_are_those_of_working_all_of_them_out() -> None:
    source = random.Random(11)
    layer = TransactionLayer(BlockLayer(MemoryState()), 1_000_000)
    model: dict[tuple[str, bytes], bytes] = {}
    held: dict[int, Parcel] = {}
    for _ in range(400):
        number = source.randrange(6)
        old = held.get(number)
        if old is not None and source.random() < 0.2:
            assert layer.remove(Parcel.spec, key_of(number))
            del held[number]
        else:
            new = Parcel(number, source.choice(("", "a", "b")), source.choice(("x", "y")), source.randrange(5))
            if old is not None and source.random() < 0.7:  # a copy shares what it does not change
                changes = source.choice(({"weight": new.weight}, {"owner": new.owner}, {"place": new.place}, {}))
                new = msgspec.structs.replace(old, **changes)
            layer.store(new)
            held[number] = new
        model = {
            (index, prefix_of(*parts) + parcel.primary_key()): parcel.primary_key()
            for parcel in held.values()
            for index, function in Parcel.spec.indexes
            for parts in function(parcel)
        }
        layer.commit()
        block = layer._block
        entries = {
            (name, key): primary
            for (_, _, name), index in block.indexes.items()
            for key, primary in index.items()
            if primary is not None
        }
        assert entries == model
        layer = TransactionLayer(block, 1_000_000)
