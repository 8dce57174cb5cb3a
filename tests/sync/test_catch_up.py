"""Whom catch-up asks, what it believes, and when it gives up on a peer."""

from __future__ import annotations

from collections.abc import Callable
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
    SyncedBlock,
    SyncLimits,
    SyncReply,
    SyncRequest,
)
from dawan_node.sync.catch_up import BATCH_BLOCKS, BATCHES_MAX, BODY_AHEAD_BYTES, LIGHT_AHEAD_MAX
from dawan_node.sync.messages import BODIES_MAX, LIGHT_BLOCKS_MAX, RETRY_MS_MAX
from dawan_node.sync.peers import COOLDOWN_MS, SLOW_MARGIN_MS
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of

AT_ONCE = SyncLimits(behind_blocks=1, behind_ms=0)
VALIDATORS = ("gz1", "hk1", "hq1", "mo1")


class Node:
    """Does what catch-up says against peers that answer when the test says so, and applies what it gets."""

    def __init__(self, chain: Chain, height: int = 0, limits: SyncLimits = AT_ONCE) -> None:
        self.chain = chain
        self.now = 1_000
        self.sync = CatchUp(CHAIN_ID, chain.anchors[height], limits)
        self.asked: list[tuple[str, SyncRequest]] = []
        self.blames: list[Blame] = []
        self.applied: list[SyncedBlock] = []
        self.in_hand: list[SyncedBlock] = []
        self.applies = True

    def claim(self, *peers: str, height: int | None = None, is_validator: bool = True) -> Node:
        head = self.chain.head(height)
        for peer in peers:
            self.sync.head(peer, head, is_validator, self.now)
        return self.run()

    def run(self) -> Node:
        while ready := self.sync.ready():
            self.asked += ready.requests
            self.blames += ready.blames
            self.in_hand += ready.blocks
            while self.applies and self.in_hand:
                self.apply_one()
        return self

    def apply_one(self) -> None:
        block = self.in_hand.pop(0)
        self.applied.append(block)
        self.sync.applied(self.chain.anchors[block.header.height], self.now)

    def answer(self, peer: str, chain: Chain | None = None, count: int = 1_000) -> Node:
        """The oldest request to ``peer`` is answered as far as ``chain`` goes, with at most ``count`` blocks."""
        return self.reply(peer, lambda request: (chain or self.chain).answer(request, count))

    def reply(self, peer: str, make: Callable[[SyncRequest], SyncReply]) -> Node:
        self.sync.arrived(peer, make(self.take(peer)), self.now)
        return self.run()

    def take(self, peer: str) -> SyncRequest:
        position = next(index for index, (name, _) in enumerate(self.asked) if name == peer)
        return self.asked.pop(position)[1]

    def headers(self, chain: Chain | None = None) -> Node:
        """Answer light requests, whomever they went to, until only bodies are wanted."""
        while light := [peer for peer, request in self.asked if isinstance(request, LightRequest)]:
            position = next(at for at, (name, each) in enumerate(self.asked) if isinstance(each, LightRequest))
            peer, request = self.asked.pop(position)
            assert peer in light
            self.sync.arrived(peer, (chain or self.chain).answer(request), self.now)
            self.run()
        return self

    def finish(self) -> Node:
        """Everything that is asked for comes at once, honestly."""
        while self.asked:
            self.answer(self.asked[0][0])
        return self

    def pass_time(self, milliseconds: int) -> Node:
        self.now += milliseconds
        self.sync.tick(self.now)
        return self.run()

    @property
    def wanted(self) -> list[tuple[str, str, int, int]]:
        return [
            (peer, "light" if isinstance(request, LightRequest) else "bodies", request.first, request.last)
            for peer, request in self.asked
        ]

    @property
    def height(self) -> int:
        return self.sync.status().height

    @property
    def liars(self) -> list[str]:
        return [blame.peer for blame in self.blames if blame.proven]


@pytest.fixture(scope="module")
def long_chain() -> Chain:
    return Chain(keys_of(4)).grow(400)


@pytest.fixture(scope="module")
def very_long_chain() -> Chain:
    return Chain(keys_of(4)).grow(1_100)


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

    def test_a_lone_peer_that_fails_is_asked_again_after_a_growing_pause(self, long_chain: Chain) -> None:
        """An endless "I do not have it" is answered by silence, each time twice as long."""
        chain = Chain(keys_of(1)).grow(3)
        node = Node(chain).claim("only")
        for pause in (COOLDOWN_MS, 2 * COOLDOWN_MS, 4 * COOLDOWN_MS):
            node.reply("only", lambda request: LightReply(request.id, (), ()))
            assert node.asked == []
            assert node.sync.next_deadline() == node.now + pause
            node.pass_time(pause)
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
        assert node.sync._peers.get("only").not_before_ms == node.now + COOLDOWN_MS  # type: ignore[union-attr]

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
