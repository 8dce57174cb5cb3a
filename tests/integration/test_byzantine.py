"""One of four real nodes lies on purpose; the three others run the program as it is (reliability.md D and I9).

Each time the chain must be safe (the honest nodes have the same blocks, nothing acknowledged is lost, nothing is there
twice) and live, and whoever can be accused of a lie is the liar.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lying_network import LyingNetwork, lying
from network_kit import CHANNEL, Load, until

from dawan_node.primitives.codes import Code
from dawan_node.rpc.client import Client

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: D0 of the view timer is 3 s; this is what a loaded machine may make of two of them.
REPLACED_S_MAX = 20.0
#: Reliability.md section 6: what is left of the throughput of an honest network under any single Byzantine node.
THROUGHPUT_SHARE_MIN = 0.3
#: How long clients offer transactions in each half of a comparison.
OFFER_S = 4.0


def assert_only_the_liar_is_accused(network: LyingNetwork) -> None:
    accused = {voter for proofs in network.accusations().values() for _, voter in proofs}
    assert accused <= {network.liar_index}, network.accusations()


def has_proof(network: LyingNetwork, kind: str) -> bool:
    return any((kind, network.liar_index) in proofs for proofs in network.accusations().values())


def test_a_primary_that_proposes_two_blocks_at_one_height_is_proven_to_lie_and_replaced(tmp_path: Path) -> None:
    with lying(tmp_path, "equivocating-primary") as network:
        with Load(network, network.honest) as load:
            until(network.is_replaced, REPLACED_S_MAX, "another primary")
            load.wait_for(30)
        assert network.lies["two proposals"]
        network.assert_kept(load.committed, network.honest)
        assert has_proof(network, "equivocation")
        assert_only_the_liar_is_accused(network)


def test_two_votes_at_every_height_stop_nobody_and_are_proven(tmp_path: Path) -> None:
    with lying(tmp_path, "double-voter", is_primary=False) as network:
        with Load(network, network.honest) as load:
            load.wait_for(60)
            until(lambda: has_proof(network, "equivocation"), 20.0, "a proof")
        assert network.lies["two votes"] >= 10
        network.assert_kept(load.committed, network.honest)
        assert_only_the_liar_is_accused(network)


def test_a_primary_that_holds_its_proposals_back_costs_no_more_than_it_may_or_is_replaced(tmp_path: Path) -> None:
    """It proposes at 0.9 of what the others tolerate. The same load on the same machine with the same node being honest
    is what it is measured by."""
    with lying(tmp_path, "slow-primary") as network:
        slow, promised = throughput(network)
        is_replaced = network.is_replaced()
        assert network.lies["held back"]
        network.be_honest()
        clean, more = throughput(network)
        assert is_replaced or slow >= THROUGHPUT_SHARE_MIN * clean, f"{slow:.0f} of {clean:.0f} transactions a second"
        network.assert_kept(promised + more, network.honest)
        assert not any(network.accusations().values()), "slow is no lie"


def test_a_primary_that_is_alive_and_proposes_nothing_is_replaced(tmp_path: Path) -> None:
    with lying(tmp_path, "silent-primary") as network:
        with Load(network, network.honest) as load:
            until(network.is_replaced, REPLACED_S_MAX, "another primary")
            load.wait_for(20)
        assert network.lies["no proposal"]
        network.assert_kept(load.committed, network.honest)
        assert not any(network.accusations().values()), "silence is no lie"


def test_wrong_results_and_garbage_stop_nobody(tmp_path: Path) -> None:
    with lying(tmp_path, "babbler", is_primary=False) as network:
        with Load(network, network.honest) as load:
            until(lambda: network.lies["garbage"] > 1 and network.lies["a wrong result"] > 1, 20.0, "lies")
            load.wait_for(30)
        network.assert_kept(load.committed, network.honest)
        assert_only_the_liar_is_accused(network)
        assert all(network.processes.pid(node) is not None for node in network.honest)


def throughput(network: LyingNetwork) -> tuple[float, list[str]]:
    """Transactions per second from the first one offered to the last one committed, and their ids. They are offered one
    batch after the other, whatever is committed meanwhile; those that a full node told to come back are not counted."""
    offered: list[str] = []
    node = network.honest[0]
    began = time.monotonic()
    with Client(node.rpc_url, timeout_s=20.0) as client:
        at = client.chain_head(CHANNEL)["height"]
        while time.monotonic() - began < OFFER_S:
            batch = [network.envelope() for _ in range(5)]
            answers = client.tx_submitMany(CHANNEL, batch, wait="accepted")
            refused = {answer["error"]["code"] for answer in answers if answer["tx_id"] is None}
            assert refused <= {int(Code.E_POOL_FULL)}, answers
            offered += [answer["tx_id"] for answer in answers if answer["tx_id"] is not None]
        missing = set(offered)

        def look() -> bool:
            nonlocal at
            while at < client.chain_head(CHANNEL)["height"]:
                at += 1
                missing.difference_update(client.chain_getBlock(CHANNEL, at)["txs"])
            return not missing

        until(look, 60.0, "everything offered committed")
    return len(offered) / (time.monotonic() - began), offered
