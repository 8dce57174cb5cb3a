"""Blocks that come unasked, by gossip: taken when they are the very next one, and proven like any other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dawan_node.sync import SyncLimits
from dawan_node.sync.peers import COOLDOWN_MS
from tests.sync.chain import Chain, ChainBlock, certify, keys_of
from tests.sync.follower import VALIDATORS, Node


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain(keys_of(4)).grow(40)


def offer(node: Node, height: int, peer: str = "o1", block: ChainBlock | None = None) -> Node:
    block = block or node.chain.blocks[height - 1]
    node.sync.offered(peer, block.light, (), block.envelopes, node.now)
    return node.run()


def test_block_after_block_is_taken_and_nothing_is_asked_for(chain: Chain) -> None:
    node = Node(chain, height=10, limits=SyncLimits())
    for height in range(11, 15):
        assert offer(node, height).height == height
    assert (node.asked, node.blames) == ([], [])
    assert [block.certificate.height for block in node.applied] == [11, 12, 13, 14]


@pytest.mark.parametrize("height", [1, 10, 12, 40])
def test_any_other_than_the_next_is_of_no_use_and_no_offence(chain: Chain, height: int) -> None:
    node = offer(Node(chain, height=10), height)
    assert (node.height, node.blames, node.asked) == (10, [], [])


def test_a_block_by_a_certificate_above_it_is_taken_with_the_links(chain: Chain) -> None:
    node = Node(chain, height=10)
    block, above = chain.blocks[10], chain.blocks[11]
    light = replace(block, certificate=above.certificate).light
    node.sync.offered("o1", light, ((above.header, above.result),), block.envelopes, node.now)
    assert node.run().height == 11
    assert node.applied[0].links == ((above.header, above.result),)


def test_what_is_not_proven_or_has_other_bodies_is_a_lie_and_leaves_nothing_behind(chain: Chain) -> None:
    block = chain.blocks[10]
    false = (
        replace(block, certificate=b""),
        replace(block, certificate=certify(keys_of(4, b"attacker"), block.header, block.result)),
        replace(block, certificate=certify(keys_of(4), block.header, block.result, 2)),
        replace(block, envelopes=block.envelopes[:1]),
        replace(block, envelopes=(b"not", b"these")),
    )
    node = Node(chain, height=10)
    for number, each in enumerate(false):
        offer(node, 11, f"liar{number}", each)
    assert node.liars == [f"liar{number}" for number in range(len(false))]
    assert node.height == 10
    assert offer(node, 11).height == 11


def test_while_ranges_are_on_their_way_it_is_left_to_them(chain: Chain) -> None:
    node = Node(chain).claim(*VALIDATORS).headers()
    assert offer(node, 1).height == 0
    assert node.finish().height == 40 and node.blames == []
    assert [block.header.height for block in node.applied] == list(range(1, 41))


def test_one_that_comes_before_the_headers_that_were_asked_for_does_not_confuse_them(chain: Chain) -> None:
    node = Node(chain).claim(*VALIDATORS)
    assert node.wanted == [("gz1", "light", 1, 40)]
    assert offer(node, 1).height == 1
    assert node.finish().height == 40 and node.blames == []
    assert [block.header.height for block in node.applied] == list(range(1, 41))


def test_nothing_is_taken_while_one_is_at_work_or_the_chain_comes_another_way(chain: Chain) -> None:
    node = Node(chain)
    node.applies = False
    offer(offer(offer(node, 1), 1), 2)
    assert [block.header.height for block in node.in_hand] == [1]
    other = Node(chain)
    other.sync.is_held = True
    assert offer(other, 1).in_hand == [] and other.height == 0


def test_one_that_consensus_decided_first_is_not_missed(chain: Chain) -> None:
    node = Node(chain)
    node.applies = False
    offer(node, 1)
    for height in (1, 2, 3):
        node.sync.applied(chain.anchors[height], node.now)
    node.in_hand.clear()
    node.applies = True
    assert offer(node, 4).height == 4


def test_one_that_was_dropped_is_taken_when_it_comes_again_or_is_fetched(chain: Chain) -> None:
    for is_offered in (True, False):
        node = Node(chain)
        node.applies = False
        offer(node, 1)
        node.sync.dropped(node.now)
        node.in_hand.clear()
        node.applies = True
        if is_offered:
            assert offer(node, 1).height == 1
        else:
            assert node.claim(*VALIDATORS).asked == []
            assert node.pass_time(COOLDOWN_MS).finish().height == 40


def test_the_block_that_ends_an_epoch_is_followed_by_those_of_the_next(chain: Chain) -> None:
    chain = Chain(keys_of(4)).grow(2, new_keys=keys_of(4, b"new")).grow(3)
    node = Node(chain)
    for height in range(1, 6):
        assert offer(node, height).height == height
    assert node.blames == []
