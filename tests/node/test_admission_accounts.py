"""On whose account a transaction is until its signature was checked: of whoever brings it, never of whom it names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import private_key_of
from tests.node.ledger import START_MS, wrongly_signed
from tests.node.test_admission import Office, narrow_office, refusals, signed


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Office:
    return narrow_office(monkeypatch)


def unsigned(office: Office, count: int) -> list[bytes]:
    """Envelopes that name a key of ``supplier-a`` and that nobody signed with it."""
    return [wrongly_signed(office.ledger.transaction("supplier-a")).envelope for _ in range(count)]


def while_checked(office: Office, first: Any, *clients: tuple[list[bytes], str]) -> list[list[int]]:
    """What each of ``clients`` (envelopes, bearer) is told while the signatures of ``first`` are being checked."""

    async def scenario() -> list[list[int]]:
        office.checks.gate = asyncio.Event()
        before = asyncio.create_task(first)
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(office.admission.submit(*client)) for client in clients]
        await asyncio.sleep(0)
        office.checks.gate.set()
        await before
        return [refusals(await task) for task in tasks]

    codes = asyncio.run(scenario())
    office.checks.gate = None
    assert office.admission._entering.total == 0
    return codes


def known_client(office: Office, bearer: str = "honest") -> None:
    """A client of whom a transaction of ``supplier-a`` was taken, and nothing waits any more."""
    assert refusals(asyncio.run(office.admission.submit([signed(office)], bearer))) == [0]
    office.decide(*office.pool.reap(10, 1 << 20, START_MS))
    assert len(office.pool) == 0


def test_a_stranger_that_names_a_key_takes_nothing_of_its_organisations_part_of_the_window(narrow: Office) -> None:
    known_client(narrow)
    flood = unsigned(narrow, 50)
    told = while_checked(
        narrow, narrow.admission.submit(flood, "stranger"), ([signed(narrow) for _ in range(4)], "honest")
    )
    assert told == [[0, 0, 0, Code.E_POOL_FULL]], "its own three are its own; the stranger's count for nothing"
    assert len(narrow.pool) == 3


def test_what_strangers_name_is_bounded_by_one_window(narrow: Office) -> None:
    first = asyncio.run(narrow.admission.submit(unsigned(narrow, 50), "stranger"))
    assert refusals(first) == [Code.E_SIGNATURE] * 3 + [Code.E_POOL_FULL] * 47
    assert len(narrow.checks.seen) == 3, "no signature is checked beyond it"


def test_a_new_client_is_served_while_strangers_use_up_what_is_not_proven(narrow: Office) -> None:
    flood = narrow.admission.submit(unsigned(narrow, 50), "stranger")
    told = while_checked(narrow, flood, ([signed(narrow) for _ in range(3)], "new"), ([signed(narrow)], "newer"))
    assert told[0] == [0, 0, Code.E_POOL_FULL], "each bearer that is not known yet has an equal part"
    assert told[1] == [0]


def test_who_brings_one_that_is_not_signed_is_believed_no_more_until_it_brings_a_signed_one(narrow: Office) -> None:
    known_client(narrow, "gateway")
    known_client(narrow, "honest")
    asyncio.run(narrow.admission.submit([*unsigned(narrow, 1), signed(narrow)], "gateway"))
    narrow.decide(*narrow.pool.reap(10, 1 << 20, START_MS))
    flood = narrow.admission.submit(unsigned(narrow, 50), "gateway")
    assert while_checked(narrow, flood, ([signed(narrow)] * 1, "honest")) == [[0]]
    narrow.decide(*narrow.pool.reap(10, 1 << 20, START_MS))
    known_client(narrow, "gateway")
    own = narrow.admission.submit([signed(narrow) for _ in range(3)], "gateway")
    assert while_checked(narrow, own, ([signed(narrow)], "honest")) == [[Code.E_POOL_FULL]], "its word counts again"


def test_sending_others_transactions_again_makes_nobody_believed(narrow: Office) -> None:
    waiting, on_chain = signed(narrow), narrow.ledger.transaction("supplier-a")
    narrow.decide(on_chain)
    asyncio.run(narrow.admission.submit([waiting], "honest"))
    copies = asyncio.run(narrow.admission.submit([waiting, on_chain.envelope], "stranger"))
    assert refusals(copies) == [0, 0]
    organisation = narrow.admission.organisation_of(private_key_of("supplier-a").public_key)
    assert organisation is not None
    entering = narrow.admission._entering
    assert entering.begin("honest").is_believed(organisation)
    assert not entering.begin("stranger").is_believed(organisation)


def test_a_peer_that_passed_on_unsigned_ones_takes_nothing_of_anybodys_part(narrow: Office) -> None:
    known_client(narrow)
    assert narrow.receive(*unsigned(narrow, 1)) == 1
    flood = narrow.admission.receive(unsigned(narrow, 50), "hk1")
    assert while_checked(narrow, flood, ([signed(narrow) for _ in range(3)], "honest")) == [[0, 0, 0]]


def test_who_brings_a_copy_while_the_first_one_is_checked_is_not_believed(narrow: Office) -> None:
    envelope = signed(narrow)
    first = narrow.admission.submit([envelope], "honest")
    assert while_checked(narrow, first, ([envelope], "stranger")) == [[0]]
    organisation = narrow.admission.organisation_of(private_key_of("supplier-a").public_key)
    assert organisation is not None
    believed = [
        name for name in ("honest", "stranger") if narrow.admission._entering.begin(name).is_believed(organisation)
    ]
    assert believed == ["honest"]
