"""One legitimate node turned bad, against three honest ones in processes of their own (reliability.md I9)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from intruder import Intruder, Payload, longest_answer_s, memory_mib
from network_kit import CHANNEL, Network, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.consensus.messages import Prepare, Status
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import FetchBlock, FetchTx, Txs, TxsReply
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.transaction import assemble_envelope
from dawan_node.sync import BodiesRequest, LightRequest
from dawan_node.sync.messages import BODIES_MAX, LIGHT_BLOCKS_MAX

pytestmark = pytest.mark.processes

#: How long a node may take for the simplest question while it is attacked. The loop may be blocked for 250 ms; the
#: rest is this machine, which runs four nodes and the attacker on two cores.
ANSWER_S_MAX = 1.0
#: ... or, on a machine that does more than this test, so many times as long as a node beside it that nobody attacks.
ANSWER_RATIO_MAX = 3.0
FLOOD_S = 3.0
#: A node that is stopped by a flood is stopped each time; one that the machine did not give its turn is not.
ATTEMPTS = 3


def poison(network: Network) -> bytes:
    """An envelope nobody signed, whose args are a map keyed by an array."""
    body = encode([1, network.chain_id, bytes(16), 2**40, "receivable", "record_invoice", {"a": 0}])
    return assemble_envelope(body[:-1] + b"\x81\x90\x01", "ed25519", bytes(32), bytes(64))


def test_an_envelope_that_cannot_be_encoded_again_kills_nobody(own_network: Network) -> None:
    bad, *honest = own_network.nodes
    own_network.processes.stop((bad,))
    with Intruder(own_network.devnet, bad, own_network.genesis) as intruder:
        for node in honest:
            until(lambda node=node: intruder.is_linked(node.name), 20.0, "a link")  # type: ignore[misc]
            intruder.flood(node.name, lambda: [(Topic.GOSSIP, Txs([poison(own_network)]).encode())], 0.5)
        for node in honest:
            assert own_network.processes.pid(node) is not None, f"{node.name} died"
        own_network.commit(honest[0])


def longest_answer_to(network: Network, node: DevnetNode) -> float:
    """The longest the node let its client wait while the flood went on, in seconds."""
    with network.client(node) as client:
        return longest_answer_s(client.node_version, FLOOD_S)


def test_no_flood_of_one_member_stops_the_others(own_network: Network) -> None:
    bad, *honest = own_network.nodes
    victim = honest[0]
    own_network.processes.stop((bad,))
    with own_network.client(victim) as client:
        client.tx_submitMany(CHANNEL, [own_network.envelope() for _ in range(500)], wait="committed", timeout_ms=30_000)
        blocks = [client.chain_getBlock(CHANNEL, at) for at in range(1, client.chain_head(CHANNEL)["height"] + 1)]
    largest = bytes.fromhex(max(blocks, key=lambda block: len(block["txs"]))["block_hash"][2:])
    stale = [own_network.envelope() for _ in range(100)]
    validators = own_network.genesis.validator_set
    with Intruder(own_network.devnet, bad, own_network.genesis) as intruder:
        other_voter = (validators.index_of(intruder.key.node.public_key) + 1) % validators.n
        floods: dict[str, Iterable[Payload]] = {
            "leaf lists": [(Topic.FETCH, FetchBlock(largest).encode())] * 200,
            "unknown leaves": [(Topic.FETCH, FetchTx(1, [os.urandom(32) for _ in range(1_024)]).encode())] * 5,
            "ranges": [
                (Topic.SYNC, LightRequest(1, 1, LIGHT_BLOCKS_MAX).encode()),
                (Topic.SYNC, BodiesRequest(2, 1, BODIES_MAX).encode()),
            ]
            * 100,
            "wrong votes": [
                (Topic.CONSENSUS, Prepare(0, 0, len(blocks) + 1, bytes(32), other_voter, os.urandom(64)).encode())
            ]
            * 200,
            "status": [(Topic.CONSENSUS, Status(0, 0, 0, 0, bytes(32), (), b"\0").encode())] * 200,
            "sent again": [(Topic.FETCH, TxsReply(0, stale).encode())],
        }
        turn = 0
        for what, payloads in floods.items():
            for attempt in range(ATTEMPTS):
                # Each in turn: a node that cut the intruder off leaves it alone for longer each time.
                victim, other, bystander = (honest[(turn + place) % 3] for place in range(3))
                turn += 1
                until(lambda v=victim: intruder.is_linked(v.name), 30.0, f"a link for {what}")  # type: ignore[misc]
                with ThreadPoolExecutor() as threads:
                    flood = threads.submit(intruder.flood, victim.name, lambda p=payloads: p, FLOOD_S)
                    committed = threads.submit(own_network.commit, other)
                    attacked, spared = (
                        threads.submit(longest_answer_to, own_network, node) for node in (victim, bystander)
                    )
                flood.result()
                assert committed.result()["status"] == "committed", f"nothing was committed during the flood of {what}"
                assert own_network.processes.pid(victim) is not None, f"{victim.name} died of {what}"
                limit_s = max(ANSWER_S_MAX, ANSWER_RATIO_MAX * spared.result())
                if attacked.result() < limit_s:
                    break
                assert attempt < ATTEMPTS - 1, (
                    f"{what}: the node answered after {attacked.result():.2f} s, one beside it after"
                    f" {spared.result():.2f} s"
                )
        for node in honest:
            pid = own_network.processes.pid(node)
            assert pid is not None and memory_mib(pid) < 300
    assert len({own_network.ask(node, "pbft_status", CHANNEL)["view"] for node in honest}) == 1
