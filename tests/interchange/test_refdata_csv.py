"""Reference tables as CSV: the seeds of the package, the public HS list, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.execution.module import CURRENCIES
from dawan_node.interchange.refdata_csv import BATCH_BYTES_MAX, FILE_BYTES_MAX, as_sent, batches, read_table
from dawan_node.modules.refdata.loading import BATCH_ROWS_MAX, NewRow, digest_of
from dawan_node.modules.refdata.tables import CALENDARS, TABLES, dates_of
from dawan_node.primitives.encoding import encode
from tests.modules.refdata_kit import SEEDS, Reference, currency

HS_FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "hs" / "harmonized-system.csv"
HEADER = "code,name,exponent,numeric\n"


def seed(table: str) -> dict[str, NewRow]:
    reading = read_table(table, (SEEDS / f"{table}.csv").read_bytes())
    assert reading.refusal == ""
    return {row.code: row for row in reading.rows}


@pytest.mark.parametrize("table", sorted(set(TABLES) - {"hs"}))
def test_the_package_has_first_rows_for_every_table_but_the_goods(table: str) -> None:
    assert seed(table)


def test_the_seeded_currencies_have_the_exponents_that_money_has_in_the_sdk() -> None:
    exponents = {code: int(dict(row.attributes)["exponent"]) for code, row in seed("currency").items()}
    assert {code: exponents[code] for code in CURRENCIES} == dict(CURRENCIES)


def test_the_seeded_countries_are_all_of_iso_3166_with_hong_kong_and_macau_among_them() -> None:
    countries = seed("country")
    assert len(countries) == 249
    assert {"CN", "HK", "MO", "TW"} <= countries.keys()
    for name in ("alpha3", "numeric"):
        assert len({dict(row.attributes)[name] for row in countries.values()}) == 249
    assert all(code[:2] in countries for code in seed("locode"))


def test_the_seeded_places_cover_the_cities_of_the_bay_area() -> None:
    names = {row.name for row in seed("locode").values()}
    cities = ["Guangzhou", "Shenzhen", "Zhuhai", "Foshan", "Huizhou", "Dongguan", "Zhongshan", "Jiangmen", "Zhaoqing"]
    assert {*cities, "Hong Kong", "Macau"} <= names


@pytest.mark.parametrize("place", CALENDARS)
def test_the_seeded_calendars_keep_the_days_that_every_law_fixes(place: str) -> None:
    for year, row in seed(CALENDARS[place]).items():
        closed = dates_of(year, dict(row.attributes)["closed"])
        assert {f"{year}-01-01", f"{year}-05-01", f"{year}-10-01"} <= set(closed)
        assert 15 <= len(closed) <= 40


# -- the Harmonized System -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HS_FILE.is_file(), reason=f"NOT RUN: the list of the Harmonized System is not at {HS_FILE}")
def test_the_public_list_of_goods_is_cut_into_some_twenty_transactions() -> None:
    reading = read_table("hs", HS_FILE.read_bytes())
    assert reading.refusal == ""
    assert len(reading.rows) == 6_939
    assert len(list(batches(reading.rows))) <= 20


@pytest.mark.skipif(not HS_FILE.is_file(), reason=f"NOT RUN: the list of the Harmonized System is not at {HS_FILE}")
@pytest.mark.extended
def test_the_public_list_of_goods_becomes_an_edition_in_force() -> None:
    reading = read_table("hs", HS_FILE.read_bytes())
    reference = Reference()
    version = reference.load("hs", reading.rows, source=reading.source)
    reference.adopt("hs", version, "2022-01-01")
    # Codes that only the edition of 2022 has (domain.md 1.2).
    assert dict(reference.found("hs", "851713").attributes) == {"parent": "8517", "section": "XVI"}
    assert reference.found("hs", "300241") is not None
    assert reference.found("hs", "99").attribute("section") == ""
    assert reference.found("hs", "851714", "2021-12-31") is None
    (edition,), _ = reference.kit.query("editions", {"table": "hs"})
    assert (edition.digest, edition.source) == (digest_of(reading.rows), reading.source)


# -- batches ---------------------------------------------------------------------------------------------------------

rows = st.lists(st.sampled_from([1, 30, 299, 300]), min_size=1, max_size=1_100).map(
    lambda lengths: [NewRow("AAA", "é" * length, (("exponent", "2"),), False) for length in lengths]
)


@settings(max_examples=10)
@given(rows)
def test_batches_are_the_rows_in_order_and_each_fits_a_transaction(given_rows: list[NewRow]) -> None:
    cut = list(batches(given_rows))
    assert [row for batch in cut for row in batch] == given_rows
    for batch in cut:
        assert 1 <= len(batch) <= BATCH_ROWS_MAX
        assert sum(len(encode(as_sent(row))) for row in batch) <= BATCH_BYTES_MAX


def test_an_interrupted_load_goes_on_and_the_digest_does_not_tell_how_it_was_cut() -> None:
    reference = Reference()
    given_rows = [currency("AAA"), currency("AAB"), currency("AAC")]
    one = {"table": "currency", "version": 1}
    reference.ok("gz-admin", "open_edition", title="t", source=bytes(32), **one)
    first = [as_sent(row) for row in given_rows[:2]]
    reference.ok("gz-admin", "write_rows", rows=first, **one)
    reference.expect("E_ROW_ORDER", "gz-admin", "write_rows", rows=first, **one)
    reference.ok("gz-admin", "write_rows", rows=[as_sent(given_rows[2])], **one)
    (edition,), _ = reference.kit.query("editions", {"table": "currency"})
    assert edition.digest == digest_of(given_rows)


# -- wrong files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", "line 1: the header"),
        (b"code,name\nCNY,yuan\n", "line 1: the header"),
        (HEADER.encode(), "no rows"),
        ((HEADER + "CNY,yuan,2\n").encode(), "line 2: 3 fields instead of 4"),
        ((HEADER + "CNY,yuan,2,156\nCNY,again,2,156\n").encode(), "line 3: CNY stands there twice"),
        ((HEADER + "cny,yuan,2,156\n").encode(), "line 2: 'cny' has not the form"),
        ((HEADER + "CNY,yuan,two,156\n").encode(), "line 2: 'CNY' has not the form"),
        ((HEADER + "CNY,,2,156\n").encode(), "line 2: the name"),
        ((HEADER + "CNY," + "x" * 301 + ",2,156\n").encode(), "line 2: the name"),
        ((HEADER + 'CNY,"yu\nan",2,156\n').encode(), "a field runs over"),
        ((HEADER + 'CNY,"yuan,2,156\n').encode(), "not CSV"),
        (HEADER.encode() + b"CNY,\xff,2,156\n", "not UTF-8"),
        (HEADER.encode() + b"a" * FILE_BYTES_MAX, "larger than"),
        ((HEADER.strip() + ",removed\nCNY,yuan,2,156,yes\n").encode(), "line 2: a removed row"),
        ((HEADER + "CNY," + "x" * 200_000 + ",2,156\n").encode(), "not CSV"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line_and_gives_no_rows(data: bytes, refusal: str) -> None:
    reading = read_table("currency", data)
    assert refusal in reading.refusal
    assert reading.rows == ()


def test_an_unknown_table_is_named_with_those_there_are() -> None:
    assert "there is no table 'planets'" in read_table("planets", b"").refusal


def test_rows_are_sorted_and_a_byte_order_mark_and_removals_are_understood() -> None:
    data = "\ufeff" + HEADER.strip() + ",removed\nHKD,dollar,2,344,\nCNY,,,,yes\n"
    reading = read_table("currency", data.encode())
    assert [(row.code, row.removed) for row in reading.rows] == [("CNY", True), ("HKD", False)]


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything(noise: bytes) -> None:
    for data in (noise, HEADER.encode() + noise, b"section,hscode,description,parent,level\n" + noise):
        for table in ("currency", "hs"):
            reading = read_table(table, data)
            assert (reading.refusal == "") == bool(reading.rows)
