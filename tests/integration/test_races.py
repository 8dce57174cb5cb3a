"""Show 4 of the trade modules: two rivals in one block, sent to different nodes in both orders. One wins, everywhere.

To have both rivals in the same block, two backups are stopped: the primary fills its window with blocks that nobody
decides, and what is sent meanwhile waits in its pool. When the backups go on, the next block takes both.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from network_kit import CHANNEL, Network, running, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.primitives.genesis import DEFAULT_PARAMS
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

    def view(self) -> int:
        view: int = self.network.ask(self.network.nodes[0], "pbft_status", CHANNEL)["view"]
        return view

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


def prepare(market: Market) -> list[tuple[Race, bool]]:
    """Every race twice, and all that has to be on the chain before it, as many at a time as can be."""
    races = [(make(f"{number:02}{order}"), order == 1) for number, make in enumerate(MAKERS) for order in (0, 1)]
    for place in range(max(len(race.stages) for race, _ in races)):
        market.do([call for race, _ in races if place < len(race.stages) for call in race.stages[place]])
    return races


def test_of_two_rivals_in_one_block_exactly_one_wins_and_the_same_one_on_every_node(market: Market) -> None:
    lines = []
    winners: dict[str, set[bool]] = {}
    for race, turned in prepare(market):
        view = market.view()
        first_won = run(market, race, turned)
        if market.view() == view and org_of(race.first) == org_of(race.second):
            # Transactions of one organisation stand in a block as they came to the primary, so the one sent first wins.
            assert first_won != turned, race.name
        winners.setdefault(race.name, set()).add(first_won)
        order, winner = "turned" if turned else "plain", "first" if first_won else "second"
        lines.append(f"{race.name:45} {order:7} won by the {winner}")
    market.network.agree()
    either = sum(len(each) == 2 for each in winners.values())
    lines.append(f"{len(lines)} races; {either} of {len(MAKERS)} pairs were won by each rival once")
    sys.stdout.write("\n".join(["", *lines, ""]))


def run(market: Market, race: Race, turned: bool) -> bool:
    """Send both rivals while nothing is decided, the first to the primary and the second to another node (turned: the
    other way round), then let the network decide. Whether the first one won."""
    network = market.network
    primary = network.primary()
    other, *stopped = [node for node in network.nodes if node != primary]
    rivals = (race.second, race.first) if turned else (race.first, race.second)
    with market.held(stopped):
        fill_window(market, primary)
        goal = market.waiting(primary) + 2
        ids = [market.send(node, call) for node, call in zip((primary, other), rivals, strict=True)]
        until(lambda: market.waiting(primary) >= goal, 20.0, "both rivals in the primary's pool")
    until(lambda: all(market.waiting(node) == 0 for node in network.nodes), 30.0, "empty pools")
    return judge(market, race, *(reversed(ids) if turned else ids))


def fill_window(market: Market, primary: DevnetNode) -> None:
    """Blocks in flight up to the window; nobody decides them."""
    params = {each.name: int(each.value) for each in market.network.genesis.params}
    window = params.get("window", DEFAULT_PARAMS["window"])

    def look() -> bool:
        in_flight = len(market.network.ask(primary, "pbft_status", CHANNEL)["in_flight"])
        if in_flight < window:
            market.send(primary, Call("gz-admin", "governance", "tick", {}))
        return in_flight >= window

    until(look, 20.0, f"{window} blocks in flight")


def judge(market: Market, race: Race, first_id: str, second_id: str) -> bool:
    """Whether the first rival won. Requires one winner, one refusal with a reason that fits, alike on every node."""
    nodes = market.network.nodes
    receipts = [[market.receipt(node, tx_id) for tx_id in (first_id, second_id)] for node in nodes]
    assert all(pair == receipts[0] for pair in receipts), race.name
    first, second = receipts[0]
    assert first["height"] == second["height"], f"{race.name}: not in one block"
    assert sorted([first["code"], second["code"]]) == [0, 3], f"{race.name}: {first['reason']} {second['reason']}"
    loser = first if first["code"] else second
    assert loser["reason"] in race.reasons and loser["events"] == [], f"{race.name}: {loser['reason']}"
    # Nobody overtakes inside a block: the winner is the one that stands before the other.
    assert (first["index"] < second["index"]) == (first["code"] == 0), race.name
    return bool(first["code"] == 0)


def org_of(call: Call) -> str:
    return call.person.partition("-")[0]
