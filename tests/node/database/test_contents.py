"""Sizes, forecasts and differences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dawan_node.node.database.contents import DEFAULT, KINDS, contents, forecast, weights
from dawan_node.node.database.difference import At, compare
from dawan_node.node.database.opened import opened
from dawan_node.node.home import Home
from tests.node.database.kit import CHANNEL, home_with_chain, keys

GIB = 2**30


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_with_chain(tmp_path_factory.mktemp("whole") / "home")


def test_every_record_has_a_kind_and_is_counted_once(home: Home) -> None:
    with opened(home, CHANNEL) as database:
        found = contents(database)
        pairs = list(database.kv.iterate())
    by_name = {kind.name: kind for kind in found.kinds}
    assert set(by_name) <= {name for name, _ in KINDS.values()} | {"heads and version"}
    assert sum(kind.records for kind in found.kinds) == len(pairs)
    assert sum(kind.bytes for kind in found.kinds) == sum(len(key) + len(value) for key, value in pairs)
    assert by_name["headers"].records == 12 and by_name["results"].records == 13
    assert found.transactions == by_name["transaction index"].records == 72
    assert (found.height, found.history_from, found.first_body, found.epoch) == (12, 0, 1, 0)
    assert found.chain_id == keys().genesis.chain_id


def test_a_short_chain_says_nothing_of_bytes_per_transaction_and_a_long_one_does(home: Home) -> None:
    with opened(home, CHANNEL) as database:
        short = contents(database)
    assert weights(short) is DEFAULT
    scaled = tuple(replace(kind, records=kind.records * 1000, bytes=kind.bytes * 1000) for kind in short.kinds)
    long = replace(short, kinds=scaled, transactions=72_000, height=12_000, disk_bytes=sum(k.bytes for k in scaled) * 2)
    measured = weights(long)
    assert measured is not DEFAULT
    bodies = sum(kind.bytes for kind in scaled if kind.name in ("transactions", "receipts", "transaction index"))
    assert measured.body == bodies * 2 // 72_000
    assert measured.state > 0 and measured.block > 0 and measured.history > 0


def test_a_forecast_grows_with_what_it_depends_on_and_with_nothing_else() -> None:
    usual = {"tps_milli": 50_000, "years_milli": 1_000, "block_ms": 1_000, "history": 10_000, "retain_days": 0}
    one = forecast(DEFAULT, **usual)
    transactions = 50 * 365 * 86_400
    assert one.bodies == transactions * DEFAULT.body
    assert one.history == 10_000 * 50 * DEFAULT.history
    assert one.total == one.bodies + one.state + one.blocks + one.history + one.other
    assert one.total > 100 * GIB
    five = forecast(DEFAULT, **usual | {"years_milli": 5_000})
    assert (five.bodies, five.history) == (5 * one.bodies, one.history)
    kept = forecast(DEFAULT, **usual | {"retain_days": 30})
    assert kept.bodies == 50 * 30 * 86_400 * DEFAULT.body and kept.state == one.state
    idle = forecast(DEFAULT, **usual | {"tps_milli": 1})
    assert idle.blocks == 31_536 * DEFAULT.block, "without transactions there are no blocks"


@dataclass
class Side:
    chain_id: bytes
    blocks: list[tuple[bytes, bytes]]

    @property
    def height(self) -> int:
        return len(self.blocks) - 1

    def at(self, height: int) -> At:
        block, result = self.blocks[height]
        return block, result, {"block_hash": block, "state_root": result}


def side(length: int, *, fork: int | None = None, results: bool = False, network: bytes = b"n") -> Side:
    blocks = []
    for height in range(length + 1):
        other = fork is not None and height >= fork
        block = b"%d block%s" % (height, b"'" if other and not results else b"")
        blocks.append((block, b"%d result%s" % (height, b"'" if other else b"")))
    return Side(network, blocks)


@pytest.mark.parametrize("fork", [1, 2, 499, 500, 999, 1000])
@pytest.mark.parametrize("results", [False, True])
def test_the_first_difference_is_found_in_a_few_questions(fork: int, results: bool) -> None:
    found = compare(side(1000), side(1200, fork=fork, results=results))
    assert (found.common, found.height) == (1000, fork)
    assert found.asked <= 12
    assert ("another result (state_root)" in found.text) == results


def test_chains_that_agree_are_said_to_agree_as_far_as_both_go() -> None:
    assert compare(side(30), side(20)).height is None
    assert compare(side(30), side(20)).common == 20
    assert compare(side(0), side(0)).height is None
    other = compare(side(5), side(5, network=b"m"))
    assert other.height == 0 and "two networks" in other.text


def test_nothing_is_left_in_the_temporary_folder(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dawan_node.node.database.audit import audit

    with opened(home, CHANNEL) as database:
        assert audit(database, folder=tmp_path).finding is None
    assert list(tmp_path.iterdir()) == []
