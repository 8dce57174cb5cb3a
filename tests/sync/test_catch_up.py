"""Whom catch-up asks, what it believes, and when it gives up on a peer."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.sync import (
    Blame,
    BodiesReply,
    BusyReply,
    CatchUp,
    HeadMessage,
    LightReply,
    LightRequest,
    SyncLimits,
)
from dawan_node.sync.messages import LIGHT_BLOCKS_MAX, RETRY_MS_MAX
from dawan_node.sync.peers import COOLDOWN_MS, SLOW_MARGIN_MS
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of
from tests.sync.follower import AT_ONCE, VALIDATORS, Node


@pytest.fixture(scope="module")
def long_chain() -> Chain:
    return Chain(keys_of(4)).grow(400)


class TestTarget:
    def test_one_validator_alone_cannot_set_the_target(self, long_chain: Chain) -> None:
        """CometBFT ASA-2025-001, #5803: the target was the highest claim of anybody. Nor can it with a certificate that
        nobody else has: else it could keep everybody in catch-up by not serving the block."""
        node = Node(long_chain).claim("gz1", height=400)
        assert (node.sync.target, node.asked) == (0, [])
        node.claim("hk1", height=20)
        assert node.sync.target == 20
        node.claim("mo1", height=30)
        assert node.sync.target == 30

    @pytest.mark.parametrize("height", [21, 401, 10**9, 2**63])
    def test_asa_2025_001_a_height_without_a_certificate_counts_nothing(self, long_chain: Chain, height: int) -> None:
        """f + 1 liars, more than the protocol allows, claim what is not there: no certificate, none for that height."""
        node = Node(long_chain).claim("gz1", "hk1", height=20)
        anchor = long_chain.anchors[20]
        certificate = long_chain.blocks[19].certificate
        for liar, proof in (("mo1", b""), ("hq1", certificate), ("o1", b"\x90")):
            node.sync.head(liar, HeadMessage(height, anchor.block_hash, 0, proof), liar != "o1", node.now)
        assert node.run().liars == ["mo1", "hq1", "o1"]
        assert node.sync.target == 20
        assert node.finish().height == 20

    def test_a_head_certified_by_others_or_of_another_block_is_a_lie(self, long_chain: Chain) -> None:
        node = Node(long_chain, height=5)
        block = long_chain.blocks[19]
        good = long_chain.head(20)
        forged = certify(keys_of(4, b"attacker"), block.header, block.result)
        too_few = certify(keys_of(4), block.header, block.result, 2)
        for peer, head in {
            "a": HeadMessage(20, good.block_hash, 0, forged),
            "b": HeadMessage(20, good.block_hash, 0, too_few),
            "c": HeadMessage(20, bytes(32), 0, good.certificate),
        }.items():
            node.sync.head(peer, head, True, node.now)
        assert node.run().liars == ["a", "b", "c"]
        assert node.sync.target == 0

    def test_a_head_may_be_proven_by_a_certificate_above_it(self, long_chain: Chain) -> None:
        node = Node(long_chain)
        head = HeadMessage(20, long_chain.anchors[20].block_hash, 0, long_chain.blocks[24].certificate)
        for peer in ("gz1", "hk1"):
            node.sync.head(peer, head, True, node.now)
        assert node.run().sync.target == 20

    def test_one_certificate_is_checked_once_however_many_send_it(self, long_chain: Chain) -> None:
        checked = 0

        def verify(*_: bytes) -> bool:
            nonlocal checked
            checked += 1
            return True

        sync = CatchUp(CHAIN_ID, long_chain.anchors[0], AT_ONCE, verify)
        for second in range(3):
            for peer in VALIDATORS:
                sync.head(peer, long_chain.head(20), True, second)
        assert checked == 3

    def test_heads_of_a_later_epoch_count_with_f_plus_1_and_are_checked_when_it_is_reached(self) -> None:
        new = keys_of(4, b"new")
        chain = Chain(keys_of(4)).grow(3, new_keys=new).grow(20)
        node = Node(chain, height=0).claim("gz1", height=23)
        forged = HeadMessage(499, bytes(32), 1, _certificate_at(chain, 500, keys_of(4, b"attacker")))
        node.sync.head("mo1", forged, True, node.now)
        assert node.run().sync.target == 23, "the liar and one honest validator"
        node.finish()
        assert node.liars == ["mo1"], "in epoch 1 its certificate can be checked"
        node.claim("gz1", "hk1", height=23)
        assert node.finish().height == 23

    def test_observers_do_not_count_for_the_target_but_may_serve(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("o1", "o2", "o3", height=50, is_validator=False)
        assert node.asked == []
        node.claim("gz1", "hk1", height=20)
        assert node.wanted == [("gz1", "light", 1, 20)]
        node.pass_time(2_000).pass_time(4_000)
        assert [peer for peer, *_ in node.wanted] == ["gz1", "hk1", "o1"]

    def test_a_single_validator_is_believed_when_it_is_the_only_one_there_is(self) -> None:
        chain = Chain(keys_of(1)).grow(3)
        assert Node(chain).claim("only").finish().height == 3

    def test_a_certificate_sets_the_target_at_once(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", height=0)
        node.sync.certified(5, ["gz1", "unknown"], node.now)
        assert node.run().wanted == [("gz1", "light", 1, 5)]

    def test_a_head_that_goes_down_is_a_lie(self, long_chain: Chain) -> None:
        """CometBFT ASA-2025-001: a peer that reported a high height and then a lower one stalled block sync."""
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=50).claim("gz1", height=49)
        assert node.liars == ["gz1"]
        node.claim("gz1", height=60)
        assert node.sync.target == 50, "hk1 and mo1 are heard, gz1 no more"
        node.asked.pop(0)
        assert node.wanted == [("hk1", "light", 1, 50)]
        assert node.finish().height == 50

    def test_one_block_behind_is_left_to_consensus_but_not_for_ever(self, long_chain: Chain) -> None:
        node = Node(long_chain, height=10, limits=SyncLimits()).claim("gz1", "hk1", height=11)
        assert node.pass_time(5_900).wanted == []
        assert node.pass_time(200).wanted == [("gz1", "light", 11, 11)]

    def test_who_claims_another_block_at_our_height_is_asked_nothing_and_keeps_its_link(
        self, long_chain: Chain
    ) -> None:
        """It may be a fork, and then that link carries the proof of it."""
        node = Node(long_chain, height=10)
        node.sync.head("gz1", HeadMessage(10, bytes(32), 0, b""), True, node.now)
        (blame,) = node.run().blames
        assert blame.peer == "gz1" and not blame.proven
        node.claim("gz1", height=30)
        assert node.sync.target == 0

    def test_a_peer_that_comes_back_starts_anew(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=50)
        node.sync.peer_gone("gz1", node.now)
        node.claim("gz1", height=40)
        assert node.blames == []
        assert node.sync.target == 40


def _certificate_at(chain: Chain, height: int, keys: list[PrivateKey]) -> bytes:
    block = chain.blocks[-1]
    header = msgspec.structs.replace(block.header, height=height)
    return certify(keys, header, block.result)


class TestWhenToStart:
    def test_a_validator_waits_for_consensus_to_repair_a_small_gap(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", "hk1", height=1)
        assert node.pass_time(3_000).asked == []
        node.claim("gz1", "hk1", height=2)
        assert node.sync.next_deadline() == node.now + 2_000
        assert node.pass_time(1_999).asked == []
        assert node.pass_time(1).wanted == [("gz1", "light", 1, 2)]

    def test_a_gap_that_closes_in_time_starts_nothing(self, long_chain: Chain) -> None:
        node = Node(long_chain, limits=SyncLimits()).claim("gz1", "hk1", height=3).pass_time(1_500)
        for height in (1, 2, 3):
            node.sync.applied(long_chain.anchors[height], node.now)
        node.run().claim("gz1", "hk1", height=6)
        assert node.pass_time(1_500).asked == []

    def test_a_large_gap_is_not_waited_for(self, long_chain: Chain) -> None:
        assert Node(long_chain, limits=SyncLimits()).claim("gz1", "hk1").wanted == [("gz1", "light", 1, 400)]

    def test_nothing_is_asked_for_while_the_chain_comes_by_other_means(self, long_chain: Chain) -> None:
        node = Node(long_chain)
        node.sync.is_held = True
        assert node.claim("gz1", "hk1").asked == []
        node.sync.applied(long_chain.anchors[300], node.now)  # a snapshot was installed
        node.sync.is_held = False
        assert node.run().wanted == [("gz1", "light", 301, 400)]
        assert node.finish().height == 400


class TestBadPeers:
    def test_a_peer_that_is_late_is_not_waited_for_nor_given_up(self, long_chain: Chain) -> None:
        """One byte a second, or nothing at all: another peer is asked too, and whichever answers first is taken."""
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
        assert node.pass_time(1_999).wanted == [("gz1", "light", 1, 5)]
        assert node.pass_time(1).wanted == [("gz1", "light", 1, 5), ("hk1", "light", 1, 5)]
        assert node.blames == []
        node.answer("gz1")
        assert [request[1] for request in node.wanted] == ["light", "bodies"]
        assert node.finish().height == 5

    def test_once_answers_have_been_measured_a_late_peer_costs_little_more_than_a_second(
        self, long_chain: Chain
    ) -> None:
        node = Node(long_chain).claim(*VALIDATORS)
        node.now += 100
        node.headers().finish()
        node.chain = long_chain.fork().grow(20)
        node.claim(*VALIDATORS)
        first = node.wanted[0][0]
        node.pass_time(SLOW_MARGIN_MS + 400)
        assert [request[1] for request in node.wanted] == ["light", "light"]
        assert node.wanted[1][0] != first
        node.take(first)  # never answered
        assert node.finish().height == 420
        assert first not in {peer for peer, *_ in node.wanted}

    def test_a_peer_that_never_answers_is_blamed_and_rests(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        node.pass_time(2_000).pass_time(13_000)
        assert node.blames == [Blame("gz1", "it did not answer in time", False)]
        assert node.answer("hk1").finish().height == 5

    def test_a_lone_peer_that_fails_is_asked_again_after_a_pause_each_time(self, long_chain: Chain) -> None:
        """An endless "I do not have it" costs a request a second, no more. The pause does not grow, since nobody else
        could be asked instead."""
        chain = Chain(keys_of(1)).grow(3)
        node = Node(chain).claim("only")
        for _ in range(8):
            node.reply("only", lambda request: LightReply(request.id, (), ()))
            assert node.asked == []
            assert node.sync.next_deadline() == node.now + COOLDOWN_MS
            node.pass_time(COOLDOWN_MS)
            assert node.wanted == [("only", "light", 1, 3)]
        assert node.finish().height == 3

    def test_an_empty_reply_sends_the_request_elsewhere(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        node.reply("gz1", lambda request: LightReply(request.id, (), ()))
        assert node.wanted == [("hk1", "light", 1, 5)]
        assert node.blames == [Blame("gz1", "it does not have the range", False)]
        node.answer("hk1").reply("hk1", lambda request: BodiesReply(request.id, ()))
        assert node.blames[-1] == Blame("hk1", "it does not have the blocks", False)
        assert node.pass_time(COOLDOWN_MS).finish().height == 5

    def test_endless_denials_of_one_peer_do_not_hold_up_the_others(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim(*VALIDATORS)
        denials = 0
        while node.asked:
            peer, request = node.asked.pop(0)
            is_light = isinstance(request, LightRequest)
            denial = LightReply(request.id, (), ()) if is_light else BodiesReply(request.id, ())
            denials += peer == "gz1"
            node.sync.arrived(peer, denial if peer == "gz1" else long_chain.answer(request), node.now)
            node.run()
        assert node.height == 400 and denials == 1
        assert node.now == 1_000, "no time was lost"

    @pytest.mark.parametrize(("first", "last"), [(2, 5), (1, 6), (3, 3)])
    def test_other_heights_than_asked_for_are_a_lie(self, long_chain: Chain, first: int, last: int) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
        node.reply("gz1", lambda request: LightReply(request.id, long_chain.light(first, last), ()))
        assert node.liars == ["gz1"]
        assert node.wanted == [("hk1", "light", 1, 5)]

    @pytest.mark.parametrize("shift", [-1, 1, 3])
    def test_asa_2025_002_bodies_at_another_index_are_a_lie_and_stall_nobody(
        self, long_chain: Chain, shift: int
    ) -> None:
        """CometBFT: a part whose index was not the one its proof is for was stored under the wrong one, and the
        network stood still. Here a body counts at its height alone, and nowhere else."""
        node = Node(long_chain, height=10).claim("gz1", "hk1", "mo1", height=20).answer("gz1")
        bodies = tuple(block.envelopes for block in long_chain.range(11 + shift, 20 + shift))
        liar = node.wanted[0][0]
        node.reply(liar, lambda request: BodiesReply(request.id, bodies))
        assert node.liars == [liar] and node.applied == []
        assert node.finish().height == 20

    def test_more_bodies_than_asked_for_are_a_lie(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5).answer("gz1")
        liar = node.wanted[0][0]
        bodies = tuple(block.envelopes for block in long_chain.range(1, 6))
        node.reply(liar, lambda request: BodiesReply(request.id, bodies))
        assert node.liars == [liar]
        assert node.finish().height == 5

    def test_a_valid_block_with_a_wrong_certificate_is_a_lie(self, long_chain: Chain) -> None:
        block = long_chain.blocks[4]
        for certificate in (
            b"",
            long_chain.blocks[3].certificate,
            certify(keys_of(4, b"attacker"), block.header, block.result),
            certify(keys_of(4), block.header, block.result, 2),
        ):
            wrong = replace(block, certificate=certificate)
            node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
            node.reply("gz1", lambda request, w=wrong: LightReply(request.id, (*long_chain.light(1, 4), w.light), ()))  # type: ignore[misc]
            assert node.liars == ["gz1"]
            assert node.finish().height == 5

    def test_false_bodies_are_blamed_and_the_rest_comes_from_another_peer(self, long_chain: Chain) -> None:
        false = long_chain.fork()
        false.blocks[2] = replace(false.blocks[2], envelopes=(b"not", b"these"))
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=6).answer("gz1")
        liar = node.wanted[0][0]
        node.answer(liar, false)
        assert node.height == 2
        assert node.liars == [liar]
        assert node.wanted[0][0] != liar and node.wanted[0][1:] == ("bodies", 3, 6)
        assert node.finish().height == 6

    def test_a_reply_nobody_asked_for_is_ignored(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        request = node.asked[0][1]
        for peer, request_id in (("hk1", request.id), ("gz1", request.id + 1), ("stranger", request.id)):
            for reply in (
                LightReply(request_id, long_chain.light(1, 5), ()),
                BodiesReply(request_id, ((b"x",),)),
                BusyReply(request_id, 9),
            ):
                node.sync.arrived(peer, reply, node.now)
        node.sync.arrived("gz1", BodiesReply(request.id, ((b"x",),)), node.now)
        assert node.run().height == 0
        assert node.blames == []
        assert node.finish().height == 5

    def test_the_second_answer_to_the_same_question_is_ignored(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5).pass_time(2_000)
        slow = node.take("gz1")
        node.finish()
        node.sync.arrived("gz1", long_chain.answer(slow), node.now)
        assert node.run().height == 5 and node.blames == []

    def test_a_busy_peer_is_left_alone_for_as_long_as_it_says_but_not_for_ever(self, long_chain: Chain) -> None:
        chain = Chain(keys_of(1)).grow(3)
        node = Node(chain).claim("only")
        for says, rests in ((300, 300), (2**63, RETRY_MS_MAX)):
            node.reply("only", lambda request, says=says: BusyReply(request.id, says))  # type: ignore[misc]
            assert node.asked == [] and node.blames == []
            assert node.sync.next_deadline() == node.now + rests
            node.pass_time(rests)
            assert node.wanted == [("only", "light", 1, 3)]
        node = Node(long_chain).claim("gz1", "hk1", height=5)
        node.reply("gz1", lambda request: BusyReply(request.id, 500))
        assert node.wanted == [("hk1", "light", 1, 5)], "somebody else is not busy"

    def test_a_peer_that_leaves_gives_its_request_to_another(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", "mo1", height=5)
        node.sync.peer_gone("gz1", node.now)
        node.run()
        assert node.wanted == [("gz1", "light", 1, 5), ("hk1", "light", 1, 5)]

    def test_when_nobody_has_all_of_a_range_any_more_its_beginning_will_do(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", height=40)
        node.claim("hk1", height=20)
        node.sync.certified(40, ["gz1"], node.now)
        node.run().asked.clear()
        node.sync.peer_gone("gz1", node.now)
        assert node.run().wanted == [("hk1", "light", 1, 20)]
        node.reply("hk1", lambda request: LightReply(request.id, long_chain.light(1, 20), ()))
        node.asked = [each for each in node.asked if not isinstance(each[1], LightRequest)]
        assert node.finish().height == 20

    def test_a_peer_that_is_much_slower_than_the_others_is_not_waited_for(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("fast", "slow", "swift", height=192).headers()
        node.now += 100
        node.answer("fast").answer("swift")
        node.now += 10_000
        node.finish()
        assert node.height == 192
        node.claim("slow", "fast", "swift", height=384).headers()
        assert {peer for peer, kind, *_ in node.wanted if kind == "bodies"} == {"fast", "swift"}
        node.sync.certified(384, ["slow"], node.now)
        node.sync.peer_gone("fast", node.now)
        node.sync.peer_gone("swift", node.now)
        assert node.run().wanted[-1][0] == "slow", "better than nothing"

    def test_an_answer_ends_the_growth_of_the_pause(self) -> None:
        chain = Chain(keys_of(1)).grow(LIGHT_BLOCKS_MAX + 5)
        node = Node(chain).claim("only")
        for _ in range(2):
            node.reply("only", lambda request: LightReply(request.id, (), ())).pass_time(2 * COOLDOWN_MS)
        node.answer("only")
        node.reply("only", lambda request: LightReply(request.id, (), ()))
        assert node.sync._peers.get("only").cooldown_until_ms == node.now + COOLDOWN_MS  # type: ignore[union-attr]

    def test_the_status_names_what_is_on_its_way(self, long_chain: Chain) -> None:
        status = Node(long_chain).claim("gz1", "hk1", height=5).sync.status()
        assert (status.active, status.height, status.target, status.requests) == (True, 0, 5, (("gz1", 1, 5),))

    def test_the_claims_of_connected_peers_are_known_and_others_are_none(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", height=5)
        assert (node.sync.claimed_height("gz1"), node.sync.claimed_height("hk1")) == (5, 0)
        node.sync.peer_gone("gz1", node.now)
        assert node.sync.claimed_height("gz1") == 0

    def test_a_block_that_is_reported_late_or_twice_moves_nothing_back(self, long_chain: Chain) -> None:
        node = Node(long_chain).claim("gz1", "hk1", height=5).finish()
        assert node.height == 5
        for height in (5, 3, 0):
            node.sync.applied(long_chain.anchors[height], node.now)
        assert node.run().height == 5 and node.wanted == []
