"""A running channel with a validator, and an observer, that send anything on every topic: refusals by type, and the
chain goes on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidInput
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import Txs, TxsReply, decode_fetch, decode_gossip
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import private_key_of
from dawan_node.testing.replica_lab import Bench
from tests.fuzz import seeds
from tests.fuzz.drawing import BytesDraw, damaged
from tests.fuzz.replica_messages import MessageDrawer
from tests.fuzz.replica_states import Situation
from tests.fuzz.witnesses import WitnessedLab
from tests.node.channel_cluster import Cluster, Node, memory_folder, simulate
from tests.node.ledger import trade_genesis

MESSAGES = 400


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("dawan_node")
    logger.propagate = False
    yield
    logger.propagate = True


class Mouth(WitnessedLab):
    """Draws consensus messages for a channel's replica: real signatures, but only with the liar's own key."""

    def __init__(self, target: Node, liar: PrivateKey) -> None:
        super().__init__()
        genesis = trade_genesis()
        self.validators, self.chain_id = genesis.validator_set, genesis.chain_id
        self.keys = [PrivateKey.from_seed(bytes([number]) * 32) for number in range(self.validators.n)]
        self.liar = liar
        index = self.validators.index_of(liar.public_key)
        assert index is not None
        self.LIAR = index
        self.keys[index] = liar
        self.headers.clear()
        self.benches = {index: Bench(index, None, target.channel.driver.replica) for index in (0, 1, 2)}

    def sign(self, voter: int, tag: bytes, data: bytes) -> bytes:
        return self.keys[voter].sign(tag, data)


@cache
def honest_bytes() -> dict[Topic, list[bytes]]:
    return {
        Topic.CONSENSUS: seeds.consensus(),
        Topic.GOSSIP: seeds.gossip(),
        Topic.FETCH: seeds.fetch(),
        Topic.SYNC: seeds.sync(),
    }


def gossiped() -> list[Transaction]:
    """What the bad peers bring that is good."""
    found = [decode_gossip(data) for data in honest_bytes()[Topic.GOSSIP]]
    found += [decode_fetch(data) for data in honest_bytes()[Topic.FETCH]]
    lists = [message.envelopes for message in found if isinstance(message, Txs | TxsReply)]
    return [Transaction.decode(envelope) for envelopes in lists for envelope in envelopes]


def payload(topic: Topic, draw: BytesDraw, drawer: MessageDrawer) -> bytes:
    if topic is Topic.CONSENSUS and draw.integer(0, 9):
        data = drawer.message().encode()
    else:
        data = draw.choice(honest_bytes()[topic])
    return damaged(draw, data) if not draw.integer(0, 3) else data


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_peer_that_sends_anything_is_refused_and_the_chain_goes_on(folder: Path, seed: int) -> None:
    source = random.Random(seed)

    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("gz1")
        validators = [cluster.nodes[name] for name in ("gz1", "hk1", "hq1")]
        liar = cluster.nodes["mo1"]
        await cluster.stop("mo1")
        said = 0
        for number in range(MESSAGES):
            target = source.choice(validators)
            draw = BytesDraw(source.randbytes(1_200))
            mouth = Mouth(target, private_key_of(liar.key_name))
            mouth.now = cluster.clock.wall_ms()
            situation = Situation(mouth, 0, ("a", "ab"))
            sender = source.choice((liar, liar, cluster.nodes["gz8"]))
            topic = source.choice((Topic.CONSENSUS, Topic.CONSENSUS, Topic.GOSSIP, Topic.FETCH, Topic.SYNC))
            try:
                target.channel.on_message(sender.peer, topic, payload(topic, draw, MessageDrawer(draw, situation)))
                said += 1
            except InvalidInput:
                pass
            if number % 20 == 0:
                await asyncio.sleep(0.05)
        assert said > MESSAGES // 3
        await asyncio.sleep(1.0)
        # The bad peers' good transactions come from the same authors, who count their nonces alike.
        used = {(each.public_key, each.body.nonce) for each in gossiped()}
        fresh = next(tx for tx in iter(cluster.transaction, None) if (tx.public_key, tx.body.nonce) not in used)
        await cluster.commit("hk1", fresh, seconds=120.0)
        broken = [line for line in cluster.trouble if " failed: " in line]
        assert not broken, broken
        accused = [line for line in cluster.trouble if "accuses" in line]
        assert all("accuses mo1" in line or "accuses gz8" in line for line in accused), accused
        blocks = validators[0].channel.store.blocks
        for transaction in gossiped():
            if blocks.find_tx(transaction.tx_id):
                cluster.submitted[transaction.tx_id] = transaction
        cluster.trouble.clear()
        await cluster.settle()

    simulate(folder, seed, scenario, observers=1)


def test_every_kind_of_message_is_drawn() -> None:
    drawer = MessageDrawer(BytesDraw(random.Random(3).randbytes(20_000)), Situation(WitnessedLab(), 1, ("a",)))
    assert {type(drawer.message()) for _ in range(300)} == {type(message) for message in seeds.consensus_messages()}
