"""Whole channels with a liar among them: its double vote ends up on record on every node, by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.consensus import Evidence, EvidenceKind, Mode
from dawan_node.consensus.messages import Commit, decode_message
from dawan_node.crypto.hashing import sha256
from dawan_node.modules.governance.declaration import Evidence as EvidenceRecord
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.certificate import COMMIT_TAG, commit_vote_bytes
from dawan_node.primitives.evidence import Charge, verify
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import private_key_of
from tests.node.channel_cluster import Cluster, memory_folder, simulate, until

LIAR = "hk1"
OBSERVER = "gz8"


@pytest.fixture
def folder() -> Iterator[Path]:
    logger = logging.getLogger("dawan_node")
    logger.propagate = False
    with memory_folder() as made:
        yield made
    logger.propagate = True


class Twin:
    """A second holder of the liar's key: whenever the liar commits, it commits to another block in the same slot."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._carry = cluster.carry
        self.is_lying = True
        cluster.carry = self.carry  # type: ignore[method-assign]

    def carry(self, sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
        if self.is_lying and sender == LIAR and topic is Topic.CONSENSUS:
            message = decode_message(payload)
            if isinstance(message, Commit):
                generation = self._cluster._generation[frozenset((sender, receiver))]
                self._cluster._deliver(sender, receiver, topic, self._another(message).encode(), generation)
        return self._carry(sender, receiver, topic, payload)

    def _another(self, vote: Commit) -> Commit:
        chain_id, block = self._cluster.author.genesis.chain_id, sha256(b"another block")
        data = commit_vote_bytes(chain_id, vote.epoch, vote.view, vote.height, block, vote.result_hash)
        signature = private_key_of(f"validator {LIAR}").sign(COMMIT_TAG, data)
        return Commit(vote.epoch, vote.view, vote.height, block, vote.result_hash, vote.voter, signature)


def recorded(cluster: Cluster, name: str) -> list[EvidenceRecord]:
    channel = cluster.nodes[name].channel
    items, _ = channel.executor.query(
        channel.store.state,
        "governance",
        "evidence",
        {},
        100,
        None,
        height=channel.head.height,
        time_ms=channel.head.timestamp_ms,
    )
    return list(items)


async def everywhere(cluster: Cluster, seconds: float = 30.0) -> list[EvidenceRecord]:
    """Wait until every living node has evidence on record, and has the same."""
    names = [node.name for node in cluster.alive]
    await until(lambda: all(recorded(cluster, name) for name in names), seconds, "evidence", cluster.describe)
    await until(lambda: len({cluster.nodes[name].channel.head.height for name in names}) == 1, 10.0, "one height")
    found = [recorded(cluster, name) for name in names]
    assert all(records == found[0] for records in found[1:])
    roots = {cluster.nodes[name].channel.head.result.state_root for name in names}
    assert len(roots) == 1
    return found[0]


def sent_in(cluster: Cluster) -> list[Transaction]:
    """The accusations on chain, whatever became of them."""
    blocks = cluster.nodes["gz1"].channel.store.blocks
    head = cluster.nodes["gz1"].channel.head.height
    envelopes = [each for height in range(1, head + 1) for each in blocks.envelopes(height) or ()]
    return [tx for tx in map(Transaction.decode, envelopes) if tx.body.command == "record_evidence"]


def expect(cluster: Cluster, *events: str) -> None:
    """These were logged, and nothing else that an honest network would not say."""
    said = {line.split(" ")[0] for line in cluster.trouble}
    assert said == set(events), cluster.trouble
    cluster.trouble.clear()


def test_a_validator_that_votes_twice_is_on_record_on_every_node_and_the_chain_goes_on(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        twin = Twin(cluster)
        await cluster.load(12)
        records = await everywhere(cluster)
        twin.is_lying = False
        (record,) = records
        assert (record.validator, record.org, record.kind, record.epoch) == (LIAR, "hk", "equivocation", 0)
        assert record.recorded_by != LIAR
        genesis = cluster.author.genesis
        charge = verify(record.proof, genesis.chain_id, genesis.validator_set)
        assert isinstance(charge, Charge) and charge.public_key == private_key_of(f"validator {LIAR}").public_key
        assert len(sent_in(cluster)) == 1, "one validator sent it, the others saw it on record"
        await until(
            lambda: all(held.on_chain == record.height for node in cluster.alive for held in node.channel.accuser.held),
            5.0,
            "everybody to note it",
        )
        held = [name for name in ("gz1", "hq1", "mo1") if cluster.nodes[name].channel.accuser.held]
        assert held == ["gz1", "hq1", "mo1"]
        assert cluster.nodes[LIAR].channel.accuser.held == () == cluster.nodes[OBSERVER].channel.accuser.held
        await cluster.commit("gz1")
        expect(cluster, "evidence")

    simulate(folder, 101, scenario, observers=1)


def test_evidence_that_was_noticed_survives_the_loss_of_power_everywhere(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        twin = Twin(cluster)
        await cluster.submit("gz1", cluster.transaction())
        await until(lambda: any("evidence" in line for line in cluster.trouble), 5.0, "a double vote")
        twin.is_lying = False
        await asyncio.sleep(0.02)  # long enough for the log, not for a turn to accuse
        await cluster.crash(*cluster.nodes)
        cluster.start()
        await cluster.submit_again()
        assert sum(len(node.channel.accuser.held) for node in cluster.alive) > 0
        records = await everywhere(cluster)
        assert [(record.validator, record.kind) for record in records] == [(LIAR, "equivocation")]
        expect(cluster, "evidence")

    simulate(folder, 103, scenario)


def test_if_the_first_in_turn_is_away_the_next_one_sends_it(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        genesis = cluster.author.genesis
        by_key = {node.peer.public_key: node.name for node in cluster.validators}
        names = [by_key[key] for key in genesis.validator_set.public_keys]
        first = names[(names.index(LIAR) + 1) % 4]
        cluster.nodes[first].channel.accuser._signer = None  # as if its log were lost
        twin = Twin(cluster)
        await cluster.load(4)
        (record,) = await everywhere(cluster)
        twin.is_lying = False
        assert record.recorded_by == names[(names.index(LIAR) + 2) % 4]
        expect(cluster, "evidence")

    simulate(folder, 107, scenario)


def test_a_halted_channel_says_so_once_with_its_proof_and_again_after_a_restart(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("mo1")
        heard: list[str] = []
        channel = cluster.nodes["mo1"].channel
        channel.on_halted = lambda halted: heard.append(halted.reason)
        channel.driver.replica._state.stop_for_own_key(b"a statement of mine")
        await asyncio.sleep(2.0)
        assert len(heard) == 1 and "was not written here" in heard[0]
        await cluster.stop("mo1")
        cluster.start("mo1")
        again = cluster.nodes["mo1"].channel
        again.on_halted = lambda halted: heard.append(halted.first.decode())
        await asyncio.sleep(2.0)
        assert again.driver.replica.status().state is Mode.HALTED
        assert heard[1:] == ["a statement of mine"]
        expect(cluster, "own_key_elsewhere", "halted")

    simulate(folder, 109, scenario)


def test_a_node_that_is_told_a_lie_about_evidence_keeps_its_own(folder: Path) -> None:
    """Only what the replica itself has seen is accused: nothing on the wire carries evidence but transactions."""

    async def scenario(cluster: Cluster) -> None:
        proof = b"junk"
        channel = cluster.nodes["gz1"].channel
        key = private_key_of(f"validator {LIAR}").public_key
        channel.accused(Evidence(EvidenceKind.EQUIVOCATION, 0, 0, key, b"", b"", proof))
        await asyncio.sleep(10.0)
        assert channel.accuser.held[0].dropped, "the signer refuses it, and the node goes on"
        await cluster.commit("gz1")
        assert sent_in(cluster) == []

    simulate(folder, 113, scenario)
