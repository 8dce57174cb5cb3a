"""Whom catch-up asks, what it believes, and when it gives up on a peer."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.sync import Blame, CatchUp, RangeReply, RangeRequest, SyncedBlock, SyncLimits
from dawan_node.sync.catch_up import COOLDOWN_MS
from dawan_node.sync.messages import RANGE_BLOCKS_MAX
from tests.sync.chain import CHAIN_ID, Chain, keys_of

replace = msgspec.structs.replace
AT_ONCE = SyncLimits(behind_blocks=1, behind_ms=0)


class Node:
    """Does what catch-up says against peers that answer when the test says so, and applies what it gets."""

    def __init__(self, chain: Chain, height: int = 0, limits: SyncLimits = AT_ONCE) -> None:
        self.chain = chain
        self.now = 1_000
        self.sync = CatchUp(CHAIN_ID, chain.anchors[height], limits)
        self.asked: list[tuple[str, RangeRequest]] = []
        self.blames: list[Blame] = []
        self.applied: list[SyncedBlock] = []

    def claim(self, *peers: str, height: int | None = None, is_validator: bool = True) -> Node:
        height = self.chain.height if height is None else height
        anchor = self.chain.anchors[min(height, self.chain.height)]
        for peer in peers:
            self.sync.peer_status(peer, height, anchor.block_hash, anchor.epoch, is_validator, self.now)
        return self.run()

    def run(self, apply: bool = True) -> Node:
        while ready := self.sync.ready():
            self.asked += ready.requests
            self.blames += ready.blames
            if ready.block:
                self.applied.append(ready.block)
                if not apply:
                    break
                self.apply(ready.block.header.height)
        return self

    def apply(self, height: int) -> None:
        self.sync.applied(self.chain.anchors[height], self.now)

    def answer(self, peer: str, chain: Chain | None = None, count: int = RANGE_BLOCKS_MAX) -> Node:
        """The oldest request to ``peer`` is answered with (at most ``count``) blocks of ``chain``."""
        request = self.take(peer)
        chain = chain or self.chain
        blocks = chain.range(request.first, min(request.last, request.first + count - 1))
        self.sync.range_arrived(peer, RangeReply(request.id, tuple(blocks)), self.now)
        return self.run()

    def take(self, peer: str) -> RangeRequest:
        position = next(index for index, (name, _) in enumerate(self.asked) if name == peer)
        return self.asked.pop(position)[1]

    def pass_time(self, milliseconds: int) -> Node:
        self.now += milliseconds
        self.sync.tick(self.now)
        return self.run()

    @property
    def wanted(self) -> list[tuple[str, int, int]]:
        return [(peer, request.first, request.last) for peer, request in self.asked]

    @property
    def height(self) -> int:
        return self.sync.status().height


@pytest.fixture(scope="module")
def long_chain() -> Chain:
    return Chain(keys_of(4)).grow(400)


class TestTarget:
    def test_one_validator_alone_cannot_set_the_target(self, long_chain: Chain) -> None:
        """CometBFT ASA-2025-001, #5803: the target was the highest claim of anybody."""
        node = Node(long_chain).claim("gz1", height=9_999_999)
        assert (node.sync.target, node.asked) == (0, [])
        node.claim("hk1", height=20)
        assert node.sync.target == 20
        node.claim("mo1", height=30)
        assert node.sync.target == 30

    def test_observers_do_not_count_for_the_target_but_may_serve(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("o1", "o2", "o3", height=50, is_validator=False)
        assert node.asked == []
        node.claim("gz1", "hk1", height=20)
        assert node.wanted == [("gz1", 1, 20)]
        node.pass_time(15_000)
        assert {peer for peer, _, _ in node.wanted[1:]} == {"hk1"}
        node.pass_time(15_000)
        assert node.wanted[2][0] == "o1"

    def test_a_single_validator_is_believed_when_it_is_the_only_one_there_is(self) -> None:
        chain = Chain(keys_of(1)).grow(3)
        node = Node(chain).claim("only").answer("only")
        assert node.height == 3

    def test_a_certificate_sets_the_target_at_once(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", height=0)
        node.sync.certified(5, ["gz1", "unknown"], node.now)
        assert node.run().wanted == [("gz1", 1, 5)]

    def test_a_head_that_goes_down_is_a_lie(self, long_chain: Chain) -> None:
        """CometBFT ASA-2025-001: a peer that reported a high height and then a lower one stalled block sync."""
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=50).claim("gz1", height=49)
        assert [(blame.peer, blame.proven) for blame in node.blames] == [("gz1", True)]
        node.claim("gz1", height=60)
        assert node.sync.target == 50, "hk1 and mo1 are heard, gz1 no more"
        assert node.wanted == [("gz1", 1, 50), ("hk1", 1, 50)]

    def test_one_block_behind_is_left_to_consensus_but_not_for_ever(self, long_chain: Chain) -> None:
        node = Node(long_chain, height=10, limits=SyncLimits()).claim("gz1", "hk1", height=11)
        assert node.pass_time(5_900).wanted == []
        assert node.pass_time(200).wanted == [("gz1", 11, 11)]

    def test_who_claims_another_block_at_our_height_is_asked_nothing_and_keeps_its_link(
        self, long_chain: Chain
    ) -> None:
        """It may be a fork, and then that link carries the proof of it."""
        node = Node(long_chain, height=10)
        node.sync.peer_status("gz1", 10, bytes(32), 0, True, node.now)
        (blame,) = node.run().blames
        assert blame.peer == "gz1" and not blame.proven
        node.sync.peer_status("gz1", 30, bytes(32), 0, True, node.now)
        assert node.sync.target == 0

    def test_a_peer_that_comes_back_starts_anew(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=50)
        node.sync.peer_gone("gz1", node.now)
        node.claim("gz1", height=40)
        assert node.blames == []
        assert node.sync.target == 40


class TestWhenToStart:
    def test_a_validator_waits_for_consensus_to_repair_a_small_gap(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", "hk1", height=1)
        assert node.pass_time(3_000).asked == []
        node.claim("gz1", "hk1", height=2)
        assert node.sync.next_deadline() == node.now + 2_000
        assert node.pass_time(1_999).asked == []
        assert node.pass_time(1).wanted == [("gz1", 1, 2)]

    def test_a_gap_that_closes_in_time_starts_nothing(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", "hk1", height=3).pass_time(1_500)
        for height in (1, 2, 3):
            node.apply(height)
        node.run().claim("gz1", "hk1", height=6)
        assert node.pass_time(1_500).asked == []

    def test_a_large_gap_is_not_waited_for(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", "hk1")
        assert node.wanted == [("gz1", 1, 64), ("hk1", 65, 128)]


class TestRanges:
    def test_a_chain_is_fetched_in_ranges_from_several_peers_and_applied_in_order(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", "hq1")
        assert node.wanted == [("gz1", 1, 64), ("hk1", 65, 128), ("hq1", 129, 192)]
        node.answer("hq1").answer("hk1")
        assert node.applied == []
        node.answer("gz1")
        assert node.height == 192
        while node.asked:
            node.answer(node.asked[0][0])
        assert [block.header.height for block in node.applied] == list(range(1, 401))
        assert not node.sync.status().active
        assert node.blames == []

    def test_memory_is_bounded_by_the_ranges_on_their_way(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("a", "b", "c", "d", "e")
        node.answer("b").answer("c")
        assert node.wanted == [("a", 1, 64)], "nothing more is asked for while the first is missing"

    def test_a_block_comes_with_its_own_certificate_or_with_links(self, long_chain: Chain) -> None:
        stripped = long_chain.fork()
        stripped.blocks = [replace(block, certificate=b"") for block in stripped.blocks[:9]] + stripped.blocks[9:]
        node = Node(stripped).claim("gz1", "hk1", height=12).answer("gz1")
        for block in node.applied:
            height = block.header.height
            assert block.block_hash == long_chain.anchors[height].block_hash
            assert block.certificate.height == (12 if height < 10 else height)
            assert [header.height for header, _ in block.links] == (list(range(height + 1, 13)) if height < 10 else [])

    def test_a_false_certificate_inside_a_range_is_blamed_and_not_passed_on(self, long_chain: Chain) -> None:
        false = long_chain.fork()
        false.blocks[3] = replace(false.blocks[3], certificate=false.blocks[4].certificate)
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=6).answer("gz1", false)
        assert node.height == 6
        assert [blame.peer for blame in node.blames] == ["gz1"]
        assert node.applied[3].certificate.height == 6
        assert len(node.applied[3].links) == 2

    def test_a_short_reply_is_continued_and_later_requests_are_smaller(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=100).answer("gz1", count=8)
        assert node.height == 8
        assert ("gz1", 9, 64) in node.wanted
        node.answer("gz1", count=8)
        assert ("gz1", 17, 64) in node.wanted
        node.claim("gz1", "hk1", height=300)
        assert ("mo1", 101, 108) in node.claim("mo1", "mo1").wanted

    def test_requests_grow_again_when_replies_are_complete(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=64)
        node.answer("gz1", count=4)
        node.answer(node.asked[0][0])
        assert node.height == 64
        node.claim("gz1", "hk1", "mo1", height=400)
        assert [(first, last) for _, first, last in node.wanted] == [(65, 128), (129, 192), (193, 256)]
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=8).answer("gz1", count=4)
        node.answer(node.asked[0][0])
        assert node.height == 8
        node.claim("gz1", "hk1", "mo1", height=400)
        assert [(first, last) for _, first, last in node.wanted] == [(9, 16), (17, 24), (25, 32)]

    def test_the_remainder_of_a_short_reply_counts_as_a_range_of_its_own(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "hq1", "mo1", height=192)
        node.answer("hk1", count=8)
        assert node.wanted == [("gz1", 1, 64), ("hq1", 129, 192)], "three ranges are on their way or here"
        node.answer("gz1")
        assert node.wanted == [("hq1", 129, 192), ("mo1", 73, 128)]

    def test_a_block_that_does_not_stand_on_what_consensus_decided_is_not_handed_out(self, long_chain: Chain) -> None:
        """Two certified branches: more than f validators lie. The node must not mix them."""
        branch = Chain(keys_of(4)).grow(5, salt=b"fork")
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
        request = node.take("gz1")
        node.sync.range_arrived("gz1", RangeReply(request.id, tuple(long_chain.range(1, 5))), node.now)
        node.run(apply=False)
        node.sync.applied(branch.anchors[2], node.now)
        assert node.run().applied[1:] == []
        assert node.blames[0].proven

    def test_nothing_above_the_end_of_an_epoch_is_asked_for_before_it_is_applied(self) -> None:
        new = keys_of(7, b"new")
        chain = Chain(keys_of(4)).grow(3, new_keys=new).grow(100)
        node = Node(chain).claim("gz1", "hk1", "mo1", height=103)
        assert len(node.wanted) == 2
        request = node.take("gz1")
        node.sync.range_arrived("gz1", RangeReply(request.id, tuple(chain.range(1, 3))), node.now)
        node.asked.clear()
        for height in (1, 2):
            node.run(apply=False)
            node.apply(height)
        node.run(apply=False)
        assert node.applied[-1].header.height == 3
        assert node.run().asked == [], "the block that names the next validators is being executed"
        node.apply(3)
        node.claim("hq1", "gz1")
        assert node.wanted[0][1:] == (4, 67)
        for _ in range(9):
            if node.asked:
                node.answer(node.asked[0][0])
        assert node.height == 103
        assert node.blames == []

    def test_keys_that_an_unproven_range_installs_prove_nothing(self, long_chain: Chain) -> None:
        """The attack of amendment U4: blocks 11..40 of a liar, with a barrier at 12 that installs its own keys."""
        evil = Chain(keys_of(4), long_chain.blocks[:10], long_chain.anchors[:11])
        evil.keys = keys_of(4, b"attacker")
        evil.grow(2, new_keys=keys_of(4, b"attacker")).grow(28)
        for count in (2, 30):
            node = Node(long_chain, height=10).claim("a-liar", "gz1", "hk1", height=40)
            assert node.wanted == [("a-liar", 11, 40)]
            node.answer("a-liar", evil, count)
            assert [blame.peer for blame in node.blames] == ["a-liar"]
            assert node.applied == []
            while node.asked:
                node.answer(node.asked[0][0])
            assert node.height == 40

    def test_blocks_that_consensus_decides_meanwhile_are_not_handed_out(self, long_chain: Chain) -> None:
        node = Node(long_chain, height=10).claim("gz1", "hk1", height=20)
        for height in (11, 12, 13):
            node.apply(height)
        node.run().answer("gz1")
        assert [block.header.height for block in node.applied] == list(range(14, 21))
        assert node.blames == []

    def test_the_next_block_follows_only_after_the_last_was_applied(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        request = node.take("gz1")
        node.sync.range_arrived("gz1", RangeReply(request.id, tuple(long_chain.range(1, 5))), node.now)
        node.run(apply=False)
        assert not node.sync.ready()
        node.apply(1)
        assert node.run().height == 5

    def test_a_block_that_could_not_be_applied_is_fetched_again_after_a_pause(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        request = node.take("gz1")
        node.sync.range_arrived("gz1", RangeReply(request.id, tuple(long_chain.range(1, 5))), node.now)
        node.run(apply=False)
        node.sync.dropped(node.now)
        assert node.run().asked == []
        assert node.sync.next_deadline() == node.now + COOLDOWN_MS
        node.pass_time(COOLDOWN_MS)
        assert [(first, last) for _, first, last in node.wanted] == [(1, 5)]
        assert node.answer(node.asked[0][0]).height == 5
        assert node.blames == []


class TestBadPeers:
    def test_a_peer_that_does_not_answer_is_replaced_and_asked_again_later(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        assert node.sync.next_deadline() == node.now + 15_000
        assert node.pass_time(14_999).wanted == [("gz1", 1, 5)]
        node.pass_time(1)
        assert node.wanted == [("gz1", 1, 5), ("hk1", 1, 5)]
        assert node.blames == [Blame("gz1", "it did not answer in time", False)]
        node.pass_time(15_000)
        assert node.wanted[-1][0] == "gz1", "both failed once; the cool-down of the first is over"

    def test_a_failed_request_goes_elsewhere(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        node.sync.range_failed("gz1", node.take("gz1").id, node.now)
        node.run()
        assert node.wanted == [("hk1", 1, 5)]
        assert not node.blames[0].proven

    def test_a_lone_peer_that_fails_is_asked_again_after_a_growing_pause(self, long_chain: Chain) -> None:
        chain = Chain(keys_of(1)).grow(3)
        node = Node(chain).claim("only")
        for pause in (COOLDOWN_MS, 2 * COOLDOWN_MS, 4 * COOLDOWN_MS):
            node.sync.range_failed("only", node.take("only").id, node.now)
            node.run()
            assert node.asked == []
            assert node.sync.next_deadline() == node.now + pause
            node.pass_time(pause)
            assert node.wanted == [("only", 1, 3)]
        assert node.answer("only").height == 3

    def test_an_empty_reply_sends_the_request_elsewhere(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        node.sync.range_arrived("gz1", RangeReply(node.take("gz1").id, ()), node.now)
        assert node.run().wanted == [("hk1", 1, 5)]
        assert node.blames == [Blame("gz1", "it does not have the range", False)]

    @pytest.mark.parametrize(("first", "last"), [(2, 5), (1, 6), (3, 3)])
    def test_other_heights_than_asked_for_are_a_lie(self, long_chain: Chain, first: int, last: int) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
        request = node.take("gz1")
        node.sync.range_arrived("gz1", RangeReply(request.id, tuple(long_chain.range(first, last))), node.now)
        assert node.run().blames[0].proven
        assert node.wanted == [("hk1", 1, 5)]

    def test_a_reply_nobody_asked_for_is_ignored(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        request = node.asked[0][1]
        for peer, request_id in (("hk1", request.id), ("gz1", request.id + 1), ("stranger", request.id)):
            node.sync.range_arrived(peer, RangeReply(request_id, tuple(long_chain.range(1, 5))), node.now)
            node.sync.range_failed(peer, request_id, node.now)
        assert node.run().height == 0
        assert node.blames == []
        assert node.answer("gz1").height == 5

    def test_a_reply_that_comes_too_late_is_ignored(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5).pass_time(15_000)
        node.answer("gz1")
        assert node.height == 0
        assert node.answer("hk1").height == 5

    def test_false_bodies_are_blamed_and_the_rest_comes_from_another_peer(self, long_chain: Chain) -> None:
        false = long_chain.fork()
        false.blocks[2] = replace(false.blocks[2], envelopes=(b"not", b"these"))
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=6).answer("gz1", false)
        assert node.height == 2
        assert node.blames[0].proven
        assert node.wanted == [("hk1", 3, 6)]
        assert node.answer("hk1").height == 6

    def test_a_peer_that_leaves_gives_its_request_to_another(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
        node.sync.peer_gone("gz1", node.now)
        node.run()
        assert node.wanted == [("gz1", 1, 5), ("hk1", 1, 5)]

    def test_a_peer_that_is_much_slower_than_the_others_is_not_waited_for(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("fast1", "fast2", "slow", height=192)
        node.now += 100
        node.answer("fast1").answer("fast2")
        node.now += 10_000
        node.answer("slow")
        assert node.height == 192
        node.claim("slow", "fast1", "fast2", height=384)
        assert {peer for peer, _, _ in node.wanted} == {"fast1", "fast2"}
        node.sync.certified(384, ["slow"], node.now)
        node.sync.peer_gone("fast1", node.now)
        node.sync.peer_gone("fast2", node.now)
        assert node.run().wanted[-1] == ("slow", 193, 256), "better than nothing"

    def test_a_peer_that_lacks_a_range_is_not_asked_for_it_again_while_others_may_have_it(
        self, long_chain: Chain
    ) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=192)
        node.sync.range_arrived("gz1", RangeReply(node.take("gz1").id, ()), node.now)
        node.run().pass_time(2 * COOLDOWN_MS)
        assert node.wanted == [("hk1", 65, 128), ("mo1", 129, 192)]
        node.answer("hk1")
        assert node.wanted == [("mo1", 129, 192), ("hk1", 1, 64)]

    def test_an_answer_ends_the_growth_of_the_pause(self) -> None:
        chain = Chain(keys_of(1)).grow(128)
        node = Node(chain).claim("only")
        for _ in range(2):
            node.sync.range_failed("only", node.take("only").id, node.now)
            node.run().pass_time(2 * COOLDOWN_MS)
        node.answer("only")
        assert node.height == 64
        node.sync.range_failed("only", node.take("only").id, node.now)
        node.run()
        assert node.sync.next_deadline() == node.now + COOLDOWN_MS

    def test_the_status_names_what_is_on_its_way(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        status = node.sync.status()
        assert (status.active, status.height, status.target, status.requests) == (True, 0, 5, (("gz1", 1, 5),))

    def test_the_claims_of_connected_peers_are_known_and_others_are_none(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", height=5)
        assert (node.sync.claimed_height("gz1"), node.sync.claimed_height("hk1")) == (5, 0)
        node.sync.peer_gone("gz1", node.now)
        assert node.sync.claimed_height("gz1") == 0

    def test_a_block_that_is_reported_late_or_twice_moves_nothing_back(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5).answer("gz1")
        assert node.height == 5
        for height in (5, 3, 0):
            node.sync.applied(long_chain.anchors[height], node.now)
        assert node.run().height == 5 and node.wanted == []
