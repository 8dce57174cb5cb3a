"""What catch-up asks for, in which order, and what it hands out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dawan_node.sync import (
    LightReply,
    SyncLimits,
)
from dawan_node.sync.catch_up import BATCH_BLOCKS, BATCHES_MAX, BODY_AHEAD_BYTES, LIGHT_AHEAD_MAX
from dawan_node.sync.messages import BODIES_MAX
from dawan_node.sync.peers import COOLDOWN_MS
from tests.sync.chain import Chain, keys_of
from tests.sync.follower import VALIDATORS, Node


@pytest.fixture(scope="module")
def long_chain() -> Chain:
    return Chain(keys_of(4)).grow(400)


@pytest.fixture(scope="module")
def very_long_chain() -> Chain:
    return Chain(keys_of(4)).grow(1_100)


class TestRanges:
    def test_headers_come_first_and_bodies_in_ranges_from_several_peers_applied_in_order(
        self, long_chain: Chain
    ) -> None:
        node = Node(long_chain).claim(*VALIDATORS)
        assert node.wanted == [("gz1", "light", 1, 400)]
        node.headers()
        assert node.wanted == [
            (peer, "bodies", BODIES_MAX * number + 1, BODIES_MAX * (number + 1))
            for number, peer in enumerate(VALIDATORS)
        ]
        node.answer("hq1").answer("hk1")
        assert node.applied == []
        node.answer("gz1")
        assert node.height == 3 * BODIES_MAX
        node.finish()
        assert [block.header.height for block in node.applied] == list(range(1, 401))
        assert not node.sync.status().active
        assert node.blames == []

    def test_headers_run_ahead_only_so_far(self, very_long_chain: Chain) -> None:
        node = Node(very_long_chain).claim(*VALIDATORS).headers()
        assert node.sync.status().verified == LIGHT_AHEAD_MAX
        assert [kind for _, kind, *_ in node.wanted] == ["bodies"] * 4
        assert node.finish().height == 1_100
        assert node.blames == []

    def test_bodies_are_asked_for_by_their_bytes_and_only_so_far_ahead(self) -> None:
        chain = Chain(keys_of(4)).grow(60, size=300_000)
        node = Node(chain, limits=SyncLimits(parallel=100, behind_blocks=1, behind_ms=0))
        node.claim(*VALIDATORS, *(f"o{number}" for number in range(40))).headers()
        size = chain.blocks[0].header.body_bytes
        assert all(last == first for _, _, first, last in node.wanted), "two of them are more than one request is for"
        assert len(node.wanted) == -(-BODY_AHEAD_BYTES // size)
        assert node.finish().height == 60

    def test_at_most_two_batches_are_in_the_shells_hands(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim(*VALIDATORS)
        node.applies = False
        node.headers().finish()
        assert [block.header.height for block in node.in_hand] == list(range(1, BATCHES_MAX * BATCH_BLOCKS + 1))
        for _ in range(BATCH_BLOCKS):
            node.apply_one()
        node.run()
        assert node.in_hand[-1].header.height == 3 * BATCH_BLOCKS

    def test_a_block_comes_with_its_own_certificate_or_with_links(self, long_chain: Chain) -> None:
        stripped = long_chain.fork()
        stripped.blocks = [replace(block, certificate=b"") for block in stripped.blocks[:9]] + stripped.blocks[9:]
        node = Node(stripped).claim("gz1", "hk1", height=12).finish()
        for block in node.applied:
            height = block.header.height
            assert block.block_hash == long_chain.anchors[height].block_hash
            assert block.certificate.height == (12 if height < 10 else height)
            assert [header.height for header, _ in block.links] == (list(range(height + 1, 13)) if height < 10 else [])

    def test_a_range_may_be_proven_by_a_block_above_it(self, long_chain: Chain) -> None:
        links = tuple((block.header, block.result) for block in long_chain.range(4, 6))
        top = replace(long_chain.blocks[2], certificate=long_chain.blocks[5].certificate)
        node = Node(long_chain).claim("gz1", "hk1", height=3)
        node.reply("gz1", lambda request: LightReply(request.id, (*long_chain.light(1, 2), top.light), links)).finish()
        assert node.height == 3 and node.blames == []
        assert [len(block.links) for block in node.applied] == [0, 0, 3]
        assert node.applied[2].certificate.height == 6

    def test_a_false_certificate_inside_a_range_is_blamed_and_not_passed_on(self, long_chain: Chain) -> None:
        false = long_chain.fork()
        false.blocks[3] = replace(false.blocks[3], certificate=false.blocks[4].certificate)
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=6).answer("gz1", false).finish()
        assert node.height == 6
        assert node.liars == ["gz1"]
        assert node.applied[3].certificate.height == 6
        assert len(node.applied[3].links) == 2

    def test_a_short_reply_is_continued(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=100).answer("gz1", count=30)
        assert ("light", 31, 100) in [request[1:] for request in node.wanted]
        node.headers()
        peer, _, first, _ = node.wanted[0]
        assert first == 1
        node.answer(peer, count=8)
        assert node.height == 8
        node.answer("hk1")
        assert any(request[2] == 9 for request in node.wanted if request[0] == "hk1"), "the rest is another's turn"
        assert node.finish().height == 100
        assert node.blames == []

    def test_nothing_above_the_end_of_an_epoch_is_asked_for_before_it_is_applied(self) -> None:
        new = keys_of(7, b"new")
        chain = Chain(keys_of(4)).grow(3, new_keys=new).grow(100)
        node = Node(chain).claim("gz1", "hk1", "mo1", height=103)
        node.applies = False
        node.headers()
        assert [request[1:] for request in node.wanted] == [("bodies", 1, 3)]
        node.finish()
        assert [block.header.height for block in node.in_hand] == [1, 2, 3]
        for _ in range(2):
            node.apply_one()
        assert node.run().asked == [], "the block that names the next validators is being executed"
        node.apply_one()
        node.applies = True
        node.claim("hq1", "gz1")
        assert node.wanted[0][1:] == ("light", 4, 103)
        assert node.finish().height == 103
        assert node.blames == []

    @pytest.mark.parametrize("count", [2, 30])
    def test_keys_that_an_unproven_range_installs_prove_nothing(self, long_chain: Chain, count: int) -> None:
        """The attack of amendment U4: blocks 11..40 of a liar, with a barrier at 12 that installs its own keys."""
        evil = Chain(keys_of(4), long_chain.blocks[:10], long_chain.anchors[:11])
        evil.keys = keys_of(4, b"attacker")
        evil.grow(2, new_keys=keys_of(4, b"attacker")).grow(28)
        node = Node(long_chain, height=10).claim("a-liar", "gz1", "hk1", height=40)
        assert node.wanted == [("a-liar", "light", 11, 40)]
        node.reply("a-liar", lambda request: LightReply(request.id, evil.light(11, 10 + count), ()))
        assert node.liars == ["a-liar"]
        assert node.applied == []
        assert node.finish().height == 40

    def test_blocks_that_consensus_decides_meanwhile_are_not_handed_out(self, long_chain: Chain) -> None:
        node = Node(long_chain, height=10).claim("gz1", "hk1", height=20)
        for height in (11, 12, 13):
            node.sync.applied(long_chain.anchors[height], node.now)
        node.run().finish()
        assert [block.header.height for block in node.applied] == list(range(14, 21))
        assert node.blames == []

    def test_consensus_may_overtake_catch_up_at_any_moment(self, long_chain: Chain) -> None:
        """After headers, after some bodies, in the middle of a batch: what remains is still asked for and right."""
        for moment in range(6):
            node = Node(long_chain).claim(*VALIDATORS, height=200)
            node.applies = False
            for _ in range(moment):
                node.answer(node.asked[0][0])
            node.sync.applied(long_chain.anchors[100], node.now)
            node.in_hand = [block for block in node.in_hand if block.header.height > 100]
            node.applies = True
            assert node.run().finish().height == 200, moment
            assert node.blames == []

    def test_a_block_that_could_not_be_applied_is_fetched_again_after_a_pause(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        node.applies = False
        node.finish()
        node.in_hand.clear()
        node.sync.dropped(node.now)
        node.applies = True
        assert node.run().asked == []
        assert node.sync.next_deadline() == node.now + COOLDOWN_MS
        node.pass_time(COOLDOWN_MS)
        assert [request[1:] for request in node.wanted] == [("light", 1, 5)]
        assert node.finish().height == 5
        assert node.blames == []
