"""Catch-up never stands still while somebody honest has what is missing: situations in which nobody would be asked."""

from __future__ import annotations

import pytest

from dawan_node.sync import BodiesReply, BusyReply, LightReply, LightRequest, SyncReply, SyncRequest
from dawan_node.sync.catch_up import CERTIFIED_MS
from dawan_node.sync.peers import COOLDOWN_MS, COOLDOWN_MS_MAX
from tests.sync.chain import Chain, keys_of
from tests.sync.follower import VALIDATORS, Node


@pytest.fixture(scope="module")
def long_chain() -> Chain:
    return Chain(keys_of(4)).grow(400)


def denial(request: SyncRequest) -> SyncReply:
    return LightReply(request.id, (), ()) if isinstance(request, LightRequest) else BodiesReply(request.id, ())


def at_work(chain: Chain) -> Node:
    """Two batches are in the shell's hands and bodies above them on their way."""
    node = Node(chain)
    node.applies = False
    node.claim(*VALIDATORS).headers().answer("hq1").answer("gz1")
    assert node.in_hand and node.asked
    return node


def apply_all(node: Node) -> Node:
    node.applies = True
    while node.in_hand:
        node.apply_one()
    return node.run()


class TestAnInterruptionWhileBatchesAreAtWork:
    """What was on its way is forgotten then; it must be asked for again, though the shell reports back only later."""

    def test_by_another_way_that_is_given_up(self, long_chain: Chain) -> None:
        node = at_work(long_chain)
        node.sync.is_held = True
        node.run().asked.clear()
        node.sync.is_held = False
        assert apply_all(node.run()).finish().height == 400
        assert [block.header.height for block in node.applied] == list(range(1, 401))

    def test_by_the_loss_of_all_links(self, long_chain: Chain) -> None:
        node = at_work(long_chain)
        for peer in VALIDATORS:
            node.sync.peer_gone(peer, node.now)
        node.run().asked.clear()
        node.claim(*VALIDATORS)
        assert apply_all(node).finish().height == 400
        assert [block.header.height for block in node.applied] == list(range(1, 401))

    def test_again_and_again_keeps_count_of_what_is_ahead(self, long_chain: Chain) -> None:
        node = at_work(long_chain)
        for _ in range(50):
            node.sync.is_held = True
            node.run().asked.clear()
            node.sync.is_held = False
            node.run()
        assert apply_all(node).finish().height == 400
        assert node.sync._ahead_bytes == 0


class TestWhenEverybodyHasFailed:
    def test_the_least_bad_is_asked_after_the_first_pause_however_often_all_have_failed(
        self, long_chain: Chain
    ) -> None:
        """Under load every peer fails; were each then left alone for a minute, so would be a node far behind."""
        node = Node(long_chain).claim(*VALIDATORS)
        asked_at: dict[str, int] = {}
        for _ in range(80):
            while node.asked:
                peer, request = node.asked.pop(0)
                assert node.now - asked_at.get(peer, 0) >= COOLDOWN_MS, "no peer is asked more often than this"
                asked_at[peer] = node.now
                node.sync.arrived(peer, denial(request), node.now)
                node.run()
            node.pass_time(COOLDOWN_MS // 2)
        assert set(asked_at) == set(VALIDATORS), "each in turn"
        node.pass_time(COOLDOWN_MS)
        assert node.wanted and node.finish().height == 400
        assert node.liars == []

    def test_time_outs_of_everybody_do_not_end_in_silence(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim(*VALIDATORS)
        for _ in range(300):
            node.asked.clear()
            node.pass_time(1_000)
        for _ in range(600):
            waited = 0
            while not node.sync.status().requests:
                waited += 100
                node.pass_time(100)
            assert waited <= COOLDOWN_MS
            node.pass_time(100)
        assert node.pass_time(15_000).blames and node.liars == []
        node.asked.clear()
        while not node.wanted:
            node.pass_time(100)
        assert node.finish().height == 400

    def test_who_failed_rests_as_long_as_another_answers(self, long_chain: Chain) -> None:
        node = Node(long_chain, height=0)
        for height in range(1, 20):
            node.claim("gz1", "hk1", height=height)
            while node.asked:
                peer, request = node.asked.pop(0)
                node.sync.arrived(peer, denial(request) if peer == "gz1" else long_chain.answer(request), node.now)
                node.run()
            node.pass_time(500)
        assert node.height == 19
        failures = [blame for blame in node.blames if blame.peer == "gz1"]
        assert len(failures) <= 2, "asked once, and once more at most when hk1 was the only one left"


class TestWhoIsWaitedFor:
    def test_one_that_rests_for_long_is_not_waited_for_because_it_was_not_tried_yet(self, long_chain: Chain) -> None:
        node = Node(long_chain)
        node.claim("hk1", height=20)
        node.sync.certified(20, ["hk1"], node.now)
        node.run()
        for _ in range(7):
            node.reply("hk1", denial).pass_time(COOLDOWN_MS)
        node.reply("hk1", denial)
        assert node.sync._peers._peers["hk1"].cooldown_until_ms == node.now + COOLDOWN_MS_MAX
        node.claim("gz1", height=20).answer("gz1")
        node.reply("gz1", lambda request: BusyReply(request.id, 500))
        assert node.wanted == []
        assert node.pass_time(500).wanted == [("gz1", "bodies", 1, 20)]

    def test_a_fast_one_that_is_always_busy_does_not_keep_a_slow_one_from_being_asked(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=128).headers()
        node.now += 100
        node.answer("gz1")
        node.now += 10_000
        assert node.answer("hk1").height == 128
        node.claim("gz1", "hk1", height=192).headers()
        assert node.wanted == [("gz1", "bodies", 129, 192)]
        node.reply("gz1", lambda request: BusyReply(request.id, 10_000))
        assert node.wanted == [("hk1", "bodies", 129, 192)]
        node.now += 9_000
        node.answer("hk1", count=10)
        assert node.wanted == [("hk1", "bodies", 139, 192)], "everybody was tried, and gz1 still rests"
        assert node.finish().height == 192


def test_what_the_replica_does_not_say_again_is_forgotten() -> None:
    """It may have gone by claims that were wrong, and nobody has such a height: peers would be asked and blamed for it
    as long as the channel rests."""
    chain = Chain(keys_of(4)).grow(20)
    node = Node(chain, height=20).claim(*VALIDATORS)
    node.sync.certified(32, ["gz1"], node.now)
    node.run()
    assert node.sync.is_active
    node.pass_time(CERTIFIED_MS // 2)
    node.sync.certified(24, ["gz1"], node.now)
    node.pass_time(CERTIFIED_MS // 2 + 1)
    assert node.sync.target == 20 and not node.sync.is_active
    node.sync.certified(24, ["gz1"], node.now)
    node.pass_time(CERTIFIED_MS - 1)
    assert node.sync.target == 24
