"""Show 4 of the trade modules: two rivals in one block, sent to different nodes in both orders. One wins, everywhere.

To have all rivals of all races in the same block, two backups are stopped: the primary fills its window with blocks
that nobody decides, and what is sent meanwhile waits in its pool. When the backups go on, one block takes it all.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from network_kit import CHANNEL, Network, running, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.rpc.client import Client, build_body, sign_transaction
from tests.modules.races import MAKERS, Call, Race, opening

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.extended]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A network whose channel has calendars, currencies and a carrier."""
    folder: Path = tmp_path_factory.mktemp("races")
    with running(folder, 4) as network:
        market = Market(network)
        for stage in opening():
            market.do(stage)
        yield market


@dataclass
class Market:
    """What the people of the channel do through its nodes."""

    network: Network

    def envelope(self, call: Call) -> bytes:
        body = build_body(
            self.network.chain_id,
            call.module,
            call.command,
            call.args,
            valid_until_ms=time.time_ns() // 1_000_000 + 600_000,
        )
        return sign_transaction(self.network.keys[call.person], body)

    def do(self, stage: Sequence[Call]) -> None:
        """All of it committed, and every one a success."""
        with Client(self.network.nodes[0].rpc_url, timeout_s=30.0) as client:
            envelopes = [self.envelope(call) for call in stage]
            answers = client.tx_submitMany(CHANNEL, envelopes, wait="committed", timeout_ms=30_000)
        for call, answer in zip(stage, answers, strict=True):
            receipt = answer.get("receipt")
            assert receipt is not None and receipt["code"] == 0, f"{call.module}.{call.command}: {answer}"

    def send(self, node: DevnetNode, call: Call) -> str:
        """The id of a transaction that is in the node's pool now."""
        with self.network.client(node) as client:
            tx_id: str = client.tx_submit(CHANNEL, self.envelope(call))["tx_id"]
        return tx_id

    def waiting(self, node: DevnetNode) -> int:
        count: int = self.network.ask(node, "txpool_status", CHANNEL)["count"]
        return count

    def receipt(self, node: DevnetNode, tx_id: str) -> Any:
        return self.network.ask(node, "tx_receipt", CHANNEL, tx_id)

    @contextmanager
    def held(self, nodes: Sequence[DevnetNode]) -> Iterator[None]:
        """``nodes`` do nothing at all meanwhile."""
        pids = [self.network.processes.pid(node) for node in nodes]
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                assert pid is not None
                os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True)
class Sent:
    """A race and the ids of its rivals; ``turned``: the second one was sent first, and to the node of the first."""

    race: Race
    turned: bool
    first: str
    second: str


def prepare(market: Market) -> list[tuple[Race, bool]]:
    """Every race twice, and all that has to be on the chain before it, as many at a time as can be."""
    races = [(make(f"{number:02}{order}"), order == 1) for number, make in enumerate(MAKERS) for order in (0, 1)]
    for place in range(max(len(race.stages) for race, _ in races)):
        market.do([call for race, _ in races if place < len(race.stages) for call in race.stages[place]])
    return races


def test_of_two_rivals_in_one_block_exactly_one_wins_and_the_same_one_on_every_node(market: Market) -> None:
    network = market.network
    races = prepare(market)
    height = network.agree()
    primary = network.primary()
    other, *stopped = [node for node in network.nodes if node != primary]
    with market.held(stopped):
        fill_window(market, primary)
        waiting = market.waiting(primary)
        sent = []
        for race, turned in races:
            rivals = (race.second, race.first) if turned else (race.first, race.second)
            ids = [market.send(node, call) for node, call in zip((primary, other), rivals, strict=True)]
            sent.append(Sent(race, turned, *(reversed(ids) if turned else ids)))
        goal = waiting + 2 * len(races)
        until(lambda: market.waiting(primary) >= goal, 20.0, "everything in the primary's pool")
    until(lambda: network.head(primary)[0] > height, 30.0, "blocks after the backups went on")
    until(lambda: market.waiting(primary) == 0, 30.0, "an empty pool")
    network.agree()
    orders: Counter[tuple[str, bool]] = Counter()
    lines = []
    for each in sent:
        first_won = judge(market, each)
        orders[each.race.name, first_won] += 1
        order, winner = "turned" if each.turned else "plain", "first" if first_won else "second"
        lines.append(f"{each.race.name:45} {order:7} won by the {winner}")
    both = {name for name, _ in orders if orders[name, True] and orders[name, False]}
    lines.append(f"{len(sent)} races; won by either rival depending on the order: {len(both)} of {len(MAKERS)}")
    sys.stdout.write("\n".join(["", *lines, ""]))
    # Rivals of one organisation stand in a block as they came to the primary, so the order they are sent in decides.
    alike = {each.race.name for each in sent if org_of(each.race.first) == org_of(each.race.second)}
    assert alike <= both


def fill_window(market: Market, primary: DevnetNode) -> None:
    """Blocks in flight up to the window; nobody decides them."""
    window = {each.name: each.value for each in market.network.genesis.params}.get("window", 4)

    def look() -> bool:
        in_flight = len(market.network.ask(primary, "pbft_status", CHANNEL)["in_flight"])
        if in_flight < window:
            market.send(primary, Call("gz-admin", "governance", "tick", {}))
        return in_flight >= window

    until(look, 20.0, f"{window} blocks in flight")


def judge(market: Market, sent: Sent) -> bool:
    """Whether the first rival won. Requires one winner, one refusal with a reason that fits, alike on every node."""
    what = f"{sent.race.name}, {'turned' if sent.turned else 'plain'}"
    receipts = [[market.receipt(node, tx_id) for tx_id in (sent.first, sent.second)] for node in market.network.nodes]
    assert all(pair == receipts[0] for pair in receipts), what
    first, second = receipts[0]
    assert first["height"] == second["height"], f"{what}: not in one block"
    assert sorted([first["code"], second["code"]]) == [0, 3], f"{what}: {first['reason']} {second['reason']}"
    loser = first if first["code"] else second
    assert loser["reason"] in sent.race.reasons and loser["events"] == [], f"{what}: {loser['reason']}"
    # Nobody overtakes inside a block: the winner is the one that stands before the other.
    assert (first["index"] < second["index"]) == (first["code"] == 0), what
    return bool(first["code"] == 0)


def org_of(call: Call) -> str:
    return call.person.partition("-")[0]
