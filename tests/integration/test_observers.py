"""Organisations without a validator run observers: they follow, verify, serve, and pass on what their clients send."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from intruder import Intruder
from network_kit import CHANNEL, Network, running, until

from dawan_node.crypto import merkle
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.node.block_spreading import SpreadBlock
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import Block
from dawan_node.p2p.peers import STRIKE_MAX_MS
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.sync import LightBlock

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """One validator, and three who follow it."""
    with running(tmp_path_factory.mktemp("followed"), 1) as network:
        yield network


def test_observers_follow_one_validator_and_pass_on_transactions(followed: Network) -> None:
    network = followed
    validator, observer = network.nodes[0], network.nodes[2]
    assert network.ask(observer, "pbft_status", CHANNEL)["state"] == "observer"
    answer = network.commit(observer)
    assert answer["status"] == "committed"
    network.agree()
    assert network.ask(observer, "tx_receipt", CHANNEL, answer["tx_id"]) == network.ask(
        validator, "tx_receipt", CHANNEL, answer["tx_id"]
    )
    network.processes.kill(observer)
    for _ in range(70):
        network.commit()
    network.processes.start(observer)
    network.wait_answering(observer)
    network.agree()


def next_block(network: Network, signer: PrivateKey, height: int, parent: bytes) -> bytes:
    """A BLOCK of gossip as the validator's would be, above the true head, but for who signed it."""
    validators, envelope = network.genesis.validator_set, network.envelope()
    root = merkle.root([merkle.leaf_hash(envelope)])
    size, time_ms = len(envelope), network.genesis.created_ms + 10**9
    header = Header(1, network.chain_id, 0, height, parent, root, 1, size, time_ms, 0, validators.hash, False)
    result = Result(height, header.hash, bytes(32), bytes(32), bytes(32), validators.hash)
    vote = commit_vote_bytes(network.chain_id, 0, 0, height, header.hash, result.hash)
    signature = signer.sign(COMMIT_TAG, vote)
    certificate = CommitCertificate(0, 0, height, header.hash, result.hash, bitmap_of(range(1), 1), [signature])
    light = LightBlock(header, result, certificate.encode())
    return Block(height, SpreadBlock(light, (), (envelope,)).encode()).encode()


# The last of this file: the network has an observer less afterwards.
def test_a_forged_block_over_a_real_link_is_not_stored_and_its_sender_is_shunned_at_once(followed: Network) -> None:
    network = followed
    validator, _, victim, bad = network.nodes
    network.processes.stop((bad,))
    kept = network.nodes[:3]
    height = network.agree(kept)
    parent = bytes.fromhex(network.head(victim)[1][2:])
    with Intruder(network.devnet, bad, network.genesis) as intruder:
        until(lambda: intruder.is_linked(victim.name), 30.0, "a link")
        forged = next_block(network, intruder.key.node, height + 1, parent)
        intruder.flood(victim.name, lambda: [(Topic.GOSSIP, forged)], 5.0)
        until(lambda: not intruder.is_linked(victim.name), 30.0, "the end of the link")
        log = network.processes.log_file(victim)
        said = re.compile(rf"peer_violation.*{bad.name}.*{STRIKE_MAX_MS}|{STRIKE_MAX_MS}.*{bad.name}.*peer_violation")
        until(lambda: said.search(log.read_text()) is not None, 10.0, "the forger shunned for the longest time")
        assert network.head(victim)[0] == height, "nothing of it is stored"
        network.commit(validator)
        assert network.agree(kept) == height + 1, "the true block of that height"
        assert not intruder.is_linked(victim.name)
        assert bad.name not in [peer["name"] for peer in network.ask(victim, "net_peers")]
