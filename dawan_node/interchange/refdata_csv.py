"""Reference tables as CSV: bytes in, the rows of an edition out, or the line that is wrong.

Two headers are understood. The project's own is ``code,name`` and the table's attributes in order of name, with an
optional last column ``removed`` (``yes`` or empty) for an edition that amends another. The other is that of the public
list of the Harmonized System, ``section,hscode,description,parent,level``, whose root row ``TOTAL`` is no good and is
left out. Rows may stand in any order; they are written in order of code.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dawan_node.crypto.hashing import sha256
from dawan_node.modules.refdata.loading import ATTRIBUTE_CHARS_MAX, BATCH_ROWS_MAX, NAME_CHARS_MAX, NewRow
from dawan_node.modules.refdata.tables import TABLES
from dawan_node.primitives.encoding import encode

#: The Harmonized System has 850 KiB; a list five times as long is no table of this kind.
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
#: A transaction has 64 KiB; what is left is for its envelope and names.
BATCH_BYTES_MAX: Final = 56 * 1024
HS_HEADER: Final = ("section", "hscode", "description", "parent", "level")
_HS_ROOT: Final = "TOTAL"


@dataclass(frozen=True, slots=True)
class TableReading:
    """The rows in order of code, and the SHA-256 of the file; or what is wrong, with no rows."""

    source: bytes
    rows: tuple[NewRow, ...] = ()
    refusal: str = ""


def read_table(table: str, data: bytes) -> TableReading:
    """The rows of ``table`` in a CSV file. Never raises on what the file holds."""
    source = sha256(data)
    try:
        return TableReading(source, _rows(table, data))
    except _Wrong as wrong:
        return TableReading(source, refusal=str(wrong))


def batches(rows: Sequence[NewRow]) -> Iterator[tuple[NewRow, ...]]:
    """The rows cut into lists that one transaction each can write."""
    batch: list[NewRow] = []
    size = 0
    for row in rows:
        length = len(encode(as_sent(row)))
        if batch and (len(batch) == BATCH_ROWS_MAX or size + length > BATCH_BYTES_MAX):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield tuple(batch)


def as_sent(row: NewRow) -> list[object]:
    """A row as it stands in the arguments of ``write_rows``."""
    return [row.code, row.name, [list(attribute) for attribute in row.attributes], row.removed]


class _Wrong(ValueError):
    """What is wrong with the file, for people."""


def _rows(table: str, data: bytes) -> tuple[NewRow, ...]:
    if table not in TABLES:
        raise _Wrong(f"there is no table {table[:32]!r}; there are {', '.join(sorted(TABLES))}")
    if len(data) > FILE_BYTES_MAX:
        raise _Wrong(f"the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Wrong("the file is not UTF-8") from None
    lines = text.splitlines()
    try:
        records = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise _Wrong(f"the file is not CSV: {error}") from None
    if len(records) != len(lines):
        raise _Wrong("a field runs over the end of its line")
    header = tuple(records[0]) if records else ()
    attributes = tuple(sorted(TABLES[table].attributes))
    is_hs = table == "hs" and header == HS_HEADER
    own = ("code", "name", *attributes)
    if not is_hs and header not in (own, (*own, "removed")):
        raise _Wrong(f"line 1: the header is not {','.join(own)}")
    found: dict[str, NewRow] = {}
    for number, record in enumerate(records[1:], start=2):
        if len(record) != len(header):
            raise _Wrong(f"line {number}: {len(record)} fields instead of {len(header)}")
        if is_hs and record[1] == _HS_ROOT:
            continue
        row = _hs_row(record) if is_hs else _own_row(record, attributes)
        _check(table, row, number)
        if row.code in found:
            raise _Wrong(f"line {number}: {row.code} stands there twice")
        found[row.code] = row
    if not found:
        raise _Wrong("the file has no rows")
    return tuple([found[code] for code in sorted(found)])


def _own_row(record: Sequence[str], attributes: Sequence[str]) -> NewRow:
    removed = record[2 + len(attributes) :] == ["yes"]
    values = tuple(zip(attributes, record[2:], strict=False))
    return NewRow(record[0], record[1], () if removed else values, removed)


def _hs_row(record: Sequence[str]) -> NewRow:
    # Chapters stand below the root; chapter 99, which members fill themselves, belongs to no section.
    section, code, description, parent, _ = ["" if field == _HS_ROOT else field for field in record]
    return NewRow(code, description, (("parent", parent), ("section", section)), False)


def _check(table: str, row: NewRow, number: int) -> None:
    if row.removed:
        if row.name or not row.code:
            raise _Wrong(f"line {number}: a removed row has a code and nothing else")
        return
    if not row.name or len(row.name) > NAME_CHARS_MAX:
        raise _Wrong(f"line {number}: the name has not 1 to {NAME_CHARS_MAX} characters")
    if any(len(value) > ATTRIBUTE_CHARS_MAX for _, value in row.attributes):
        raise _Wrong(f"line {number}: a field has more than {ATTRIBUTE_CHARS_MAX} characters")
    if not TABLES[table].accepts(row.code, row.attributes):
        raise _Wrong(f"line {number}: {row.code[:32]!r} has not the form of the table {table}")
