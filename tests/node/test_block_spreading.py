"""Decided blocks on their way to observers: proven before anything else, and then one way with catch-up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.errors import InvalidMessage
from dawan_node.node.block_spreading import SpreadBlock, decode_spread_block, prove
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import Block, Graft, Have, Txs, decode_gossip
from dawan_node.sync import Anchor, HeadMessage, decode_sync_message
from tests.node.channel_cluster import Cluster, Faults, simulate, until
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of


def chain(blocks: int = 4) -> Chain:
    made = Chain(keys_of(4))
    for _ in range(blocks):
        made.grow()
    return made


def judge(anchor: Anchor, block: SpreadBlock, height: int | None = None) -> bool:
    height = block.light.header.height if height is None else height
    return prove(CHAIN_ID, anchor, height, block, verify_ed25519)


def at(made: Chain, height: int, envelopes: tuple[bytes, ...] = (), **changes: Any) -> SpreadBlock:
    """The block at ``height``, with other ``envelopes`` if given and ``changes`` to what is light of it."""
    block = made.blocks[height - 1]
    return SpreadBlock(msgspec.structs.replace(block.light, **changes), (), envelopes or block.envelopes)


def test_the_next_block_and_one_above_a_gap_prove_themselves() -> None:
    made = chain()
    assert judge(made.anchors[0], at(made, 1))
    assert judge(made.anchors[0], at(made, 3))
    assert judge(made.anchors[2], at(made, 3))


def test_a_block_that_is_not_final_is_refused_whatever_is_wrong_with_it() -> None:
    made = chain()
    good = at(made, 3)
    header, result = good.light.header, good.light.result
    changed = msgspec.structs.replace
    wrong: dict[str, SpreadBlock] = {
        "no certificate": at(made, 3, certificate=b""),
        "too few signers": at(made, 3, certificate=certify(made.keys, header, result, signers=2)),
        "signers nobody elected": at(made, 3, certificate=certify(keys_of(4, b"stranger"), header, result)),
        "the certificate of another block": at(made, 3, certificate=made.blocks[1].certificate),
        "another result": at(made, 3, result=made.blocks[1].result),
        "another envelope": at(made, 3, (b"x",)),
        "an envelope more": at(made, 3, (*good.envelopes, b"x")),
        "another validator set": at(made, 3, header=changed(header, valset_hash=bytes(32))),
        "another chain": at(made, 3, header=changed(header, chain_id=bytes(32))),
    }
    for anchor in (made.anchors[0], made.anchors[2]):
        for what, block in wrong.items():
            with pytest.raises(InvalidMessage):
                judge(anchor, block)
                pytest.fail(what)
        with pytest.raises(InvalidMessage):
            judge(anchor, good, height=2)


def test_a_block_of_another_epoch_is_neither_believed_nor_held_against_its_bringer() -> None:
    made = chain()
    good = at(made, 3)
    assert not judge(replace(made.anchors[2], epoch=1), good)
    linked = msgspec.structs.replace(good, links=((good.light.header, good.light.result),))
    assert not judge(made.anchors[0], linked)


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x93\x00\x00\x00", bytes(300)])
def test_bytes_that_are_no_block_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_spread_block(data)


class Traffic:
    """Counts what a cluster carries."""

    def __init__(self, cluster: Cluster) -> None:
        self.words: Counter[str] = Counter()
        self.ranges = 0
        self.blocks: dict[str, Counter[int]] = {}
        self._carry, cluster.carry = cluster.carry, self.carry  # type: ignore[method-assign]
        self.loses: Any = lambda sender, receiver, message: False

    def carry(self, sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
        if topic is Topic.GOSSIP:
            message = decode_gossip(payload)
            self.words[type(message).__name__] += 1
            if self.loses(sender, receiver, message):
                return True
            if isinstance(message, Block):
                self.blocks.setdefault(receiver, Counter())[message.height] += 1
        if topic is Topic.SYNC:
            self.ranges += not isinstance(decode_sync_message(payload), HeadMessage)
        return self._carry(sender, receiver, topic, payload)


def test_observers_get_every_block_pushed_once_and_ask_for_no_range(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("gz1")
        traffic = Traffic(cluster)
        await cluster.load(60)
        height = await cluster.settle()
        assert height > 6
        assert traffic.ranges == 0
        for name in ("gz8", "gz9"):
            got = traffic.blocks[name]
            assert set(got) >= set(range(3, height + 1))
            assert sum(got.values()) <= height + 2
        assert set(traffic.blocks) == {"gz8", "gz9"}, "no block is pushed to validators"

    simulate(tmp_path, 3, scenario, observers=2)


def test_a_lost_push_is_asked_for_and_a_parent_that_stays_silent_is_left(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("gz1")
        await cluster.settle()
        blocks = cluster.nodes["gz8"].channel.blocks
        silent = blocks.tree.parent
        assert silent is not None
        traffic = Traffic(cluster)
        traffic.loses = lambda sender, receiver, message: sender == silent and isinstance(message, Block)
        for _ in range(4):
            await cluster.commit("gz8")
        await cluster.settle()
        assert traffic.ranges == 0
        assert blocks.tree.parent not in (None, silent)
        assert blocks.scores.of(silent) < blocks.scores.of(str(blocks.tree.parent))

    simulate(tmp_path, 4, scenario, observers=1)


def test_an_observers_clients_are_heard_through_one_validator_or_by_asking_when_that_one_loses_everything(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster) -> None:
        traffic = Traffic(cluster)
        traffic.loses = lambda sender, receiver, message: sender == "gz8" and traffic.words["Txs"] == 1
        await cluster.commit("gz8", seconds=1.5)  # before the mempool sends it again
        assert traffic.words["IHave"] > 0
        assert traffic.words["IWant"] > 0
        await cluster.settle()

    simulate(tmp_path, 5, scenario, observers=1)


def test_a_forged_block_closes_the_link_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("gz1")
        await cluster.settle()
        observer, liar = cluster.nodes["gz8"], cluster.nodes["gz1"].peer
        height = observer.channel.head.height
        forged = Block(height + 1, at(chain(), 1).encode()).encode()
        with pytest.raises(InvalidMessage):
            observer.channel.on_message(liar, Topic.GOSSIP, forged)
        assert observer.channel.blocks.scores.is_distrusted("gz1")
        await cluster.commit("hk1")
        await cluster.settle()

    simulate(tmp_path, 6, scenario, observers=1)


def test_a_flood_of_announcements_is_a_violation_and_costs_no_question(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.commit("gz1")
        await cluster.settle()
        observer, liar = cluster.nodes["gz8"], cluster.nodes["gz1"].peer
        for height in range(1_000, 1_500):
            observer.channel.on_message(liar, Topic.GOSSIP, Have(height).encode())
        assert cluster.trouble
        assert all("gz8 accuses gz1" in each for each in cluster.trouble)
        cluster.trouble.clear()
        assert observer.channel.blocks.tree.open_questions == 0

    simulate(tmp_path, 7, scenario, observers=1)


def test_grafts_of_old_heights_are_answered_from_the_store_and_of_unknown_ones_not(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        for _ in range(20):
            await cluster.commit("gz1")
        await cluster.settle()
        traffic = Traffic(cluster)
        cluster.nodes["gz1"].channel.on_message(cluster.nodes["gz8"].peer, Topic.GOSSIP, Graft(1).encode())
        cluster.nodes["gz1"].channel.on_message(cluster.nodes["gz8"].peer, Topic.GOSSIP, Graft(5_000).encode())
        await until(lambda: traffic.blocks.get("gz8", {}) == {1: 1}, 5.0, "the block")

    simulate(tmp_path, 9, scenario, observers=1, faults=Faults())


def test_observers_hear_of_no_transactions_but_in_blocks(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        traffic = Traffic(cluster)
        heard: list[str] = []
        traffic.loses = lambda sender, receiver, message: (
            heard.append(receiver) or False if isinstance(message, Txs) and receiver == "gz8" else False
        )
        await cluster.load(20)
        await cluster.settle()
        assert not heard

    simulate(tmp_path, 10, scenario, observers=1)
