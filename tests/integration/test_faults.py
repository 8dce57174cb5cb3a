"""What was acknowledged survives: a dead primary, four dead nodes, a lost quorum, a cut network, a late node."""

from __future__ import annotations

import pytest
from failing import DEFAULT, die_and_return
from network_kit import CHANNEL, Load, Network, until

from dawan_node.rpc.client import RpcError
from tests.long_and_short import seeds

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: D0 of the view timer; a dead primary must be replaced within twice that (design section 13).
VIEW_TIMEOUT_S = 3.0


def test_commits_go_on_when_the_primary_is_killed_under_load(whole_network: Network) -> None:
    network = whole_network
    primary = network.primary()
    others = tuple(node for node in network.nodes if node != primary)
    with Load(network, others) as load:
        load.wait_for(20)
        network.processes.kill(primary)
        waited = load.wait_for(1)
        assert waited < 2 * VIEW_TIMEOUT_S
        load.wait_for(20)
        network.processes.start(primary)
        network.wait_answering(primary)
        load.wait_for(20)
    network.assert_kept(load.committed)


@pytest.mark.parametrize("attempt", seeds(1, 4))
def test_nothing_acknowledged_is_lost_when_all_four_die_at_once(whole_network: Network, attempt: int) -> None:
    network = whole_network
    with Load(network, network.nodes) as load:
        load.wait_for(40 + 17 * attempt)
        for node in network.nodes:
            network.processes.kill(node)
    for node in network.nodes:
        network.processes.start(node)
    network.wait_linked()
    network.commit()
    network.assert_kept(load.committed)


def test_without_a_quorum_nothing_is_committed_and_the_missing_are_named(whole_network: Network) -> None:
    network = whole_network
    here, there = network.nodes[:2], network.nodes[2:]
    for node in there:
        network.processes.kill(node)
    until(lambda: network.ask(here[0], "node_status")["peers"] == 1, 10.0, "the loss of two links noticed")
    with pytest.raises(RpcError) as refusal:
        network.commit(here[0], timeout_ms=1_500)
    assert refusal.value.code == 1100
    waiting_for = network.ask(here[0], "pbft_status", CHANNEL)["waiting_for"]
    assert all(node.name in waiting_for for node in there)
    assert not any(node.name in waiting_for for node in here)
    network.processes.start(there[0])
    network.wait_linked()
    assert network.commit(here[0], timeout_ms=30_000)["status"] == "committed"


def test_a_cut_network_stops_and_goes_on_when_the_links_return(whole_network: Network) -> None:
    from dawan_node.cli.devnet import _admin

    network = whole_network
    here, there = network.nodes[:2], network.nodes[2:]
    for node in network.nodes:
        _admin(node, "cut", {"names": [other.name for other in (there if node in here else here)]})
    until(lambda: network.ask(here[0], "node_status")["peers"] == 1, 10.0, "the cut")
    with pytest.raises(RpcError) as refusal:
        network.commit(here[0], timeout_ms=1_500)
    assert refusal.value.code == 1100
    for node in network.nodes:
        _admin(node, "cut", {"names": []})
    network.wait_linked()
    assert network.commit(there[0], timeout_ms=40_000)["status"] == "committed"
    network.agree()


def test_a_node_that_was_away_for_many_blocks_catches_up_without_any_traffic(whole_network: Network) -> None:
    network = whole_network
    away = network.nodes[3]
    network.processes.kill(away)
    begin = network.head(network.nodes[0])[0]
    while network.head(network.nodes[0])[0] < begin + 80:
        network.commit()
    network.processes.start(away)
    network.wait_answering(away)
    assert network.agree() >= begin + 80


def test_a_validator_that_dies_in_the_middle_of_its_work_comes_back(
    whole_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_and_return(whole_network, DEFAULT, monkeypatch)
