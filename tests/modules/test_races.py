"""Two rivals in one block, in both orders: the one that stands first wins, the other is refused with its reason.

The same races are run by real validators in ``tests/integration/test_races.py``; here with the test network's modules
and people, and without a network.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dawan_node.execution.registry import load_module
from dawan_node.node.consortium import load_document
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit
from tests.modules.races import MAKERS, NOW_MS, Call, opening

TEMPLATE = Path(__file__).resolve().parents[2] / "configs" / "consortium.devnet.toml"


@pytest.fixture(scope="module")
def kit() -> ModuleKit:
    """The channel ``trade`` of the test network as it is created, with tables and a carrier by vote."""
    document = load_document(TEMPLATE)
    (trade,) = [channel for channel in document.channel if channel.name == "trade"]
    people = {each.name: (each.org, list(each.roles)) for each in document.identity}
    modules = [load_module(name, int(version)) for name, _, version in [each.partition("@") for each in trade.modules]]
    # The races are dated today, as they are sent to real validators.
    kit = ModuleKit(modules, people, created_ms=NOW_MS)
    for stage in opening():
        succeed(kit, stage)
    return kit


def transaction(kit: ModuleKit, call: Call) -> Transaction:
    return kit.call(call.person, call.command, call.args, module=call.module)


def succeed(kit: ModuleKit, stage: tuple[Call, ...]) -> None:
    receipts = kit.block(*[transaction(kit, call) for call in stage])
    assert [(receipt.code, receipt.reason) for receipt in receipts] == [(0, "")] * len(stage)


@pytest.mark.parametrize("turned", [False, True], ids=["plain", "turned"])
@pytest.mark.parametrize("number", range(len(MAKERS)), ids=[make.__name__ for make in MAKERS])
def test_the_first_of_two_rivals_wins_and_the_second_changes_nothing(kit: ModuleKit, number: int, turned: bool) -> None:
    race = MAKERS[number](f"{number:02}{int(turned)}")
    for stage in race.stages:
        succeed(kit, stage)
    rivals = (race.second, race.first) if turned else (race.first, race.second)
    winner, loser = kit.block(*[transaction(kit, call) for call in rivals])
    assert (winner.code, winner.reason) == (0, "")
    assert (loser.code, loser.reason in race.reasons, loser.events) == (3, True, []), loser.reason
