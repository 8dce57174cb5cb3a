"""The wire of topic SYNC, the cutting of replies, and what makes a range believable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidMessage
from dawan_node.primitives.proofs import LINKS_MAX
from dawan_node.sync import (
    Anchor,
    BodiesReply,
    BodiesRequest,
    BusyReply,
    LightBlock,
    LightReply,
    LightRequest,
    SyncMessage,
    cut_bodies,
    decode_sync_message,
)
from dawan_node.sync.messages import BODIES_MAX, LIGHT_BLOCKS_MAX, REPLY_BYTES_TARGET, SYNC_MESSAGE_BYTES_MAX
from dawan_node.sync.verify import Pair, Tip, VerifiedBlock, verify_bodies, verify_light
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of

replace = msgspec.structs.replace


def chain_of(height: int, n: int = 4) -> Chain:
    return Chain(keys_of(n)).grow(height)


def verified(anchor: Anchor, blocks: list[LightBlock], links: tuple[Pair, ...] = ()) -> list[VerifiedBlock]:
    return verify_light(CHAIN_ID, anchor, anchor.tip, blocks, links)[0]


class TestMessages:
    @pytest.mark.parametrize(
        "message",
        [
            chain_of(7).head(),
            chain_of(1).head(0),
            LightRequest(1, 5, 5 + LIGHT_BLOCKS_MAX - 1),
            LightReply(3, (), ()),
            LightReply(3, chain_of(3).light(1, 2), tuple((block.header, block.result) for block in chain_of(3).blocks)),
            BodiesRequest(1, 5, 5 + BODIES_MAX - 1),
            BodiesReply(3, ()),
            BodiesReply(3, tuple(block.envelopes for block in chain_of(2).blocks)),
            BusyReply(3, 500),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_a_message_survives_the_wire(self, message: SyncMessage) -> None:
        assert decode_sync_message(message.encode()) == message

    def test_the_first_item_names_the_kind(self) -> None:
        kinds = (LightRequest(9, 2, 3), BodiesRequest(9, 2, 3), BusyReply(9, 2))
        assert [msgpack.unpackb(message.encode()) for message in kinds] == [[1, 9, 2, 3], [3, 9, 2, 3], [5, 9, 2]]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xc0",
            msgpack.packb([1, 9, 2]),
            msgpack.packb([1, 9, 2, 3, 4]),
            msgpack.packb([6, 9, 2, 3]),
            msgpack.packb([1, 9, 0, 3]),
            msgpack.packb([1, 9, 4, 3]),
            msgpack.packb([1, 9, 2, 2 + LIGHT_BLOCKS_MAX]),
            msgpack.packb([3, 9, 2, 2 + BODIES_MAX]),
            msgpack.packb([1, 9, 2**64 - 1, 2**64 - 1]),
            msgpack.packb([1, -1, 2, 3]),
            msgpack.packb([2, 1, [None], []]),
            msgpack.packb([4, 1, [[None]]]),
            msgpack.packb([4, 1, [[b"x"]] * (BODIES_MAX + 1)]),
            msgpack.packb([0, 1, bytes(32), 0]),
            LightRequest(1, 2, 3).encode() + b"\x00",
            b"\x94\x01\xcc\x09\x02\x03",  # a longer form of 9
            bytes(SYNC_MESSAGE_BYTES_MAX + 1),
        ],
    )
    def test_anything_else_is_refused(self, data: bytes) -> None:
        with pytest.raises(InvalidMessage):
            decode_sync_message(data)

    @given(st.binary(max_size=200))
    def test_random_bytes_raise_nothing_else(self, data: bytes) -> None:
        with contextlib.suppress(InvalidMessage):
            decode_sync_message(data)

    def test_a_reply_of_the_largest_block_fits(self) -> None:
        for count in (1_000, 60_000):  # few large envelopes, and many small ones
            body = tuple([bytes(4_194_304 // count)] * count)
            assert len(BodiesReply(1, (body,)).encode()) <= SYNC_MESSAGE_BYTES_MAX

    def test_a_reply_of_the_most_light_blocks_fits(self) -> None:
        block = replace(chain_of(1).light(1, 1)[0], certificate=bytes(256 + 66 * 22))
        links = ((block.header, block.result),) * LINKS_MAX
        assert len(LightReply(1, (block,) * LIGHT_BLOCKS_MAX, links).encode()) <= SYNC_MESSAGE_BYTES_MAX


class TestCutting:
    def cut(self, chain: Chain, first: int, last: int) -> BodiesReply:
        return cut_bodies(BodiesRequest(4, first, last), (block.envelopes for block in chain.blocks[first - 1 :]))

    def test_a_reply_holds_what_was_asked_for(self) -> None:
        chain = chain_of(10)
        assert self.cut(chain, 3, 7) == BodiesReply(4, tuple(block.envelopes for block in chain.range(3, 7)))

    def test_a_reply_ends_where_the_chain_ends(self) -> None:
        chain = chain_of(10)
        assert len(self.cut(chain, 8, 20).bodies) == 3
        assert self.cut(chain, 11, 20) == BodiesReply(4, ())

    def test_a_reply_is_cut_before_it_is_too_large_and_blocks_are_not_loaded_in_vain(self) -> None:
        chain = Chain(keys_of(4)).grow(6, size=600_000)
        loaded = []

        def load() -> Iterator[tuple[bytes, ...]]:
            for block in chain.blocks:
                loaded.append(block.header.height)
                yield block.envelopes

        reply = cut_bodies(BodiesRequest(1, 1, 6), load())
        assert len(reply.bodies) == 3
        assert loaded == [1, 2, 3, 4]
        assert len(reply.encode()) <= REPLY_BYTES_TARGET

    def test_one_block_is_sent_however_large(self) -> None:
        chain = Chain(keys_of(4)).grow(1, size=2_400_000)
        assert len(self.cut(chain, 1, 1).bodies) == 1


def swap(blocks: Sequence[LightBlock], position: int, **changes: object) -> list[LightBlock]:
    blocks = list(blocks)
    blocks[position] = replace(blocks[position], **changes)
    return blocks


class TestProof:
    def test_one_certificate_proves_a_range(self) -> None:
        chain = chain_of(10)
        blocks = [replace(block, certificate=b"") for block in chain.light(3, 9)] + list(chain.light(10, 10))
        proven, tip = verify_light(CHAIN_ID, chain.anchors[2], chain.anchors[2].tip, blocks, ())
        assert [block.header.height for block in proven] == list(range(3, 11))
        assert {block.certificate.height for block in proven} == {10}
        assert tip == chain.anchors[10].tip

    def test_a_range_may_stand_on_a_verified_one(self) -> None:
        chain = chain_of(6)
        verify_light(CHAIN_ID, chain.anchors[1], chain.anchors[4].tip, chain.light(5, 6), ())
        with pytest.raises(InvalidMessage, match="does not stand on"):
            verify_light(CHAIN_ID, chain.anchors[1], Tip(4, bytes(32), bytes(32)), chain.light(5, 6), ())

    def test_a_certificate_above_the_range_proves_it_through_links(self) -> None:
        chain = chain_of(8)
        links = tuple((block.header, block.result) for block in chain.range(6, 8))
        blocks = swap(chain.light(2, 5), -1, certificate=chain.blocks[7].certificate)
        proven, tip = verify_light(CHAIN_ID, chain.anchors[1], chain.anchors[1].tip, blocks, links)
        assert tip == chain.anchors[5].tip, "what is above is proof, not part of the range"
        assert [(block.tail, block.own) for block in proven[-2:]] == [(links, blocks[-2].certificate), (links, b"")]

    def test_every_block_of_a_long_range_has_a_proof_of_no_more_links_than_a_proof_may_have(self) -> None:
        chain = chain_of(2 * LINKS_MAX + 40)
        for kept in ({LINKS_MAX + 30}, {LINKS_MAX + 44, LINKS_MAX - 14}):
            blocks = [
                block if block.header.height in {*kept, chain.height} else replace(block, certificate=b"")
                for block in chain.light(1, chain.height)
            ]
            if kept == {LINKS_MAX + 30}:
                with pytest.raises(InvalidMessage, match="no certificate within"):
                    verified(chain.anchors[0], blocks)
                continue
            distances = [block.certificate.height - block.header.height for block in verified(chain.anchors[0], blocks)]
            assert all(0 <= distance <= LINKS_MAX for distance in distances)
            false = swap(blocks, LINKS_MAX + 43, certificate=blocks[-1].certificate)
            with pytest.raises(InvalidMessage, match="signs another block"):
                verified(chain.anchors[0], false)

    def forged(self) -> tuple[Anchor, dict[str, list[LightBlock]]]:
        """Ranges 3..6 of which each lies in one way, on the anchor at height 2."""
        keys = keys_of(4)
        chain = Chain(keys).grow(2)
        branch, other_set = chain.fork(), keys_of(4, b"attacker")
        chain.grow(4)
        branch.grow(4, salt=b"another")
        good, last = list(chain.light(3, 6)), chain.blocks[5]
        header, result = last.header, last.result
        wrong_epoch = replace(header, epoch=1)
        wrong_set = replace(header, valset_hash=bytes(32))
        wrong_chain = replace(header, chain_id=bytes(32))
        other_result = replace(result, state_root=bytes(32))
        stolen_state = replace(good[1].result, state_root=bytes(32))

        def signed(header: object, result: object) -> dict[str, object]:
            result = replace(result, block_hash=header.hash)  # type: ignore[attr-defined, type-var]
            return {"header": header, "result": result, "certificate": certify(keys, header, result)}  # type: ignore[arg-type]

        # Signed by a quorum and yet not well formed: more than f validators lie, but one rule is not left to another.
        skipping = replace(good[2].header, height=6, parent_hash=good[0].header.hash)
        skipping_result = replace(good[2].result, height=6, parent_result_hash=good[0].result.hash)
        misplaced = replace(good[2].header, height=9)
        misplaced_result = replace(good[2].result, block_hash=misplaced.hash)
        after_misplaced = replace(header, parent_hash=misplaced.hash)
        after_misplaced_result = replace(result, parent_result_hash=misplaced_result.hash)
        misattributed = replace(result, block_hash=bytes(32))
        later_set = replace(good[2].result, next_valset_hash=bytes(32))
        early = replace(good[2].header, barrier=True)
        early_result = replace(later_set, block_hash=early.hash)
        after_early = replace(header, parent_hash=early.hash)
        after_early_result = replace(result, parent_result_hash=early_result.hash)
        lying_barrier = Chain(keys, list(chain.blocks[:2]), list(chain.anchors[:3])).grow(2, new_keys=other_set).grow(2)
        return chain.anchors[2], {
            "no certificate": swap(good, -1, certificate=b""),
            "a certificate of another height": swap(good, -1, certificate=good[0].certificate),
            "a certificate of another branch": swap(good, -1, certificate=branch.blocks[5].certificate),
            "too few signers": swap(good, -1, certificate=certify(keys, header, result, 2)),
            "other signers": swap(good, -1, certificate=certify(other_set, header, result)),
            "a certificate that is no certificate": swap(good, -1, certificate=b"\x90"),
            "another result": swap(good, -1, result=other_result),
            "another result below": swap(good, 1, result=stolen_state),
            "a block of another branch below": swap(good, 1, **_parts(branch.blocks[3].light)),
            "two blocks swapped": [good[1], good[0], *good[2:]],
            "a block left out": [good[0], *good[2:]],
            "a range that stands on nothing": good[1:],
            "another epoch": swap(good, -1, **signed(wrong_epoch, result)),
            "another set": swap(good, -1, **signed(wrong_set, result)),
            "another chain": swap(good, -1, **signed(wrong_chain, result)),
            "a new set without a barrier": swap(
                good, -1, **signed(header, replace(result, next_valset_hash=bytes(32)))
            ),
            "a range past the end of its epoch": list(lying_barrier.light(3, 6)),
            "a height left out": [*good[:1], replace(good[3], **signed(skipping, skipping_result))],
            "a header of another height": [
                *good[:2],
                replace(good[2], header=misplaced, result=misplaced_result),
                replace(good[3], **signed(after_misplaced, after_misplaced_result)),
            ],
            "the result of another block": swap(
                good, -1, result=misattributed, certificate=certify(keys, header, misattributed)
            ),
            "an epoch that goes on after its end": [
                *good[:2],
                replace(good[2], header=early, result=early_result),
                replace(good[3], **signed(after_early, after_early_result)),
            ],
        }

    def test_no_lie_passes(self) -> None:
        anchor, lies = self.forged()
        for lie, blocks in lies.items():
            with pytest.raises(InvalidMessage):
                verified(anchor, blocks)
                pytest.fail(lie)

    def test_an_empty_range_proves_nothing(self) -> None:
        chain = chain_of(1)
        with pytest.raises(InvalidMessage):
            verified(chain.anchors[0], [])

    @pytest.mark.parametrize("change", [{"tx_count": 3}, {"body_bytes": 1}, {"tx_root": bytes(32)}])
    def test_a_header_must_count_and_measure_its_envelopes(self, change: dict[str, object]) -> None:
        block = chain_of(1).blocks[0]
        with pytest.raises(InvalidMessage):
            verify_bodies(replace(block.header, **change), block.envelopes)

    def test_the_true_range_passes(self) -> None:
        chain = chain_of(6)
        assert len(verified(chain.anchors[2], list(chain.light(3, 6)))) == 4

    def test_envelopes_must_be_those_of_the_header(self) -> None:
        block = chain_of(1).blocks[0]
        first, second = block.envelopes
        assert len(verify_bodies(block.header, block.envelopes)) == 2
        for envelopes in ((first,), (first, second, b"one more"), (second, first), (first, second + b"!"), ()):
            with pytest.raises(InvalidMessage):
                verify_bodies(block.header, envelopes)


def _parts(block: LightBlock) -> dict[str, object]:
    return {name: getattr(block, name) for name in block.__struct_fields__}
