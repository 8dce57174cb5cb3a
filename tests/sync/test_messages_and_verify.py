"""The wire of topic SYNC, the cutting of replies, and what makes a range believable."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import InvalidMessage
from dawan_node.sync import Anchor, HeadMessage, RangeBlock, RangeReply, RangeRequest, cut_reply, decode_sync_message
from dawan_node.sync.messages import RANGE_BLOCKS_MAX, REPLY_BYTES_TARGET, SYNC_MESSAGE_BYTES_MAX
from dawan_node.sync.verify import verify_bodies, verify_range
from tests.sync.chain import CHAIN_ID, Chain, certify, keys_of

replace = msgspec.structs.replace


def chain_of(height: int, n: int = 4) -> Chain:
    return Chain(keys_of(n)).grow(height)


class TestMessages:
    @pytest.mark.parametrize(
        "message",
        [
            HeadMessage(7, bytes(32), 1),
            RangeRequest(1, 5, 5 + RANGE_BLOCKS_MAX - 1),
            RangeReply(3, ()),
            RangeReply(3, tuple(chain_of(2).blocks)),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_a_message_survives_the_wire(self, message: HeadMessage | RangeRequest | RangeReply) -> None:
        assert decode_sync_message(message.encode()) == message

    def test_the_first_item_names_the_kind(self) -> None:
        assert msgpack.unpackb(RangeRequest(9, 2, 3).encode()) == [1, 9, 2, 3]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xc0",
            msgpack.packb([1, 9, 2]),
            msgpack.packb([1, 9, 2, 3, 4]),
            msgpack.packb([5, 9, 2, 3]),
            msgpack.packb([1, 9, 0, 3]),
            msgpack.packb([1, 9, 4, 3]),
            msgpack.packb([1, 9, 2, 2 + RANGE_BLOCKS_MAX]),
            msgpack.packb([1, -1, 2, 3]),
            msgpack.packb([2, 1, [None]]),
            RangeRequest(1, 2, 3).encode() + b"\x00",
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
        block = chain_of(1).blocks[0]
        full = replace(block, envelopes=tuple([bytes(4_194)] * 1_000))
        assert len(RangeReply(1, (full,)).encode()) <= SYNC_MESSAGE_BYTES_MAX


class TestCutting:
    def cut(self, chain: Chain, first: int, last: int) -> RangeReply:
        return cut_reply(RangeRequest(4, first, last), iter(chain.blocks[first - 1 :]))

    def test_a_reply_holds_what_was_asked_for(self) -> None:
        chain = chain_of(10)
        assert self.cut(chain, 3, 7) == RangeReply(4, tuple(chain.range(3, 7)))

    def test_a_reply_ends_where_the_chain_ends(self) -> None:
        chain = chain_of(10)
        assert self.cut(chain, 8, 20) == RangeReply(4, tuple(chain.range(8, 10)))
        assert self.cut(chain, 11, 20) == RangeReply(4, ())

    def test_a_reply_ends_with_its_epoch(self) -> None:
        chain = chain_of(3).grow(2, new_keys=keys_of(4, b"next")).grow(3)
        assert self.cut(chain, 2, 8) == RangeReply(4, tuple(chain.range(2, 5)))

    def test_a_barrier_block_that_keeps_the_validators_is_no_end(self) -> None:
        chain = chain_of(3)
        chain.grow(1, new_keys=chain.keys).grow(3)
        assert chain.blocks[3].header.barrier
        assert len(self.cut(chain, 2, 7).blocks) == 6

    def test_a_reply_is_cut_before_it_is_too_large_and_blocks_are_not_loaded_in_vain(self) -> None:
        chain = Chain(keys_of(4)).grow(6, size=600_000)
        loaded = []

        def load() -> Iterator[RangeBlock]:
            for block in chain.blocks:
                loaded.append(block.header.height)
                yield block

        reply = cut_reply(RangeRequest(1, 1, 6), load())
        assert [block.header.height for block in reply.blocks] == [1, 2, 3]
        assert loaded == [1, 2, 3, 4]
        assert len(reply.encode()) <= REPLY_BYTES_TARGET

    def test_one_block_is_sent_however_large(self) -> None:
        chain = Chain(keys_of(4)).grow(1, size=2_400_000)
        assert len(self.cut(chain, 1, 1).blocks) == 1

    def test_the_last_block_of_a_reply_is_proven_and_the_others_carry_no_links(self) -> None:
        chain = chain_of(6)
        links = tuple((block.header, block.result) for block in chain.range(4, 5))
        chain.blocks[2] = replace(chain.blocks[2], links=links, certificate=chain.blocks[4].certificate)
        chain.blocks[3] = replace(chain.blocks[3], links=links[1:], certificate=chain.blocks[4].certificate)
        lower = self.cut(chain, 2, 3)
        assert lower.blocks[-1].links == links
        whole = self.cut(chain, 2, 6)
        assert [bool(block.certificate) for block in whole.blocks] == [True, False, False, True, True]
        assert not any(block.links for block in whole.blocks)
        for reply in (lower, whole):
            verify_range(CHAIN_ID, chain.anchors[1], reply.blocks)

    def test_a_reply_never_needs_more_links_than_a_proof_may_have(self) -> None:
        chain = chain_of(RANGE_BLOCKS_MAX + 4)
        top = chain.blocks[-1]
        for height in range(RANGE_BLOCKS_MAX - 1, RANGE_BLOCKS_MAX + 4):  # the last five are proven by the last
            links = tuple((block.header, block.result) for block in chain.blocks[height:])
            chain.blocks[height - 1] = replace(chain.blocks[height - 1], links=links, certificate=top.certificate)
        reply = self.cut(chain, 1, RANGE_BLOCKS_MAX)
        assert len(reply.blocks) == RANGE_BLOCKS_MAX - 2
        verify_range(CHAIN_ID, chain.anchors[0], reply.blocks)


def swap(blocks: list[RangeBlock], position: int, **changes: object) -> list[RangeBlock]:
    blocks = list(blocks)
    blocks[position] = replace(blocks[position], **changes)
    return blocks


class TestProof:
    def test_one_certificate_proves_a_range(self) -> None:
        chain = chain_of(10)
        blocks = [replace(block, certificate=b"") for block in chain.range(3, 9)] + chain.range(10, 10)
        links, certificate = verify_range(CHAIN_ID, chain.anchors[2], blocks)
        assert links == ()
        assert certificate.height == 10

    def test_a_certificate_above_the_range_proves_it_through_links(self) -> None:
        chain = chain_of(8)
        links = tuple((block.header, block.result) for block in chain.range(6, 8))
        blocks = swap(chain.range(2, 5), -1, links=links, certificate=chain.blocks[7].certificate)
        assert verify_range(CHAIN_ID, chain.anchors[1], blocks)[0] == links

    def forged(self) -> tuple[Anchor, dict[str, list[RangeBlock]]]:
        """Ranges 3..6 of which each lies in one way, on the anchor at height 2."""
        keys = keys_of(4)
        chain = Chain(keys).grow(2)
        branch, other_set = chain.fork(), keys_of(4, b"attacker")
        chain.grow(4)
        branch.grow(4, salt=b"another")
        good, last = chain.range(3, 6), chain.blocks[5]
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
            "a block of another branch below": swap(good, 1, **_parts(branch.blocks[3])),
            "two blocks swapped": [good[1], good[0], *good[2:]],
            "a block left out": [good[0], *good[2:]],
            "a range that stands on nothing": good[1:],
            "another epoch": swap(good, -1, **signed(wrong_epoch, result)),
            "another set": swap(good, -1, **signed(wrong_set, result)),
            "another chain": swap(good, -1, **signed(wrong_chain, result)),
            "a new set without a barrier": swap(
                good, -1, **signed(header, replace(result, next_valset_hash=bytes(32)))
            ),
            "a range past the end of its epoch": lying_barrier.range(3, 6),
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
                verify_range(CHAIN_ID, anchor, blocks)
                pytest.fail(lie)

    def test_a_certificate_proves_only_as_many_blocks_as_a_finality_proof_may_have_links(self) -> None:
        chain = chain_of(RANGE_BLOCKS_MAX + 2)
        links = [(block.header, block.result) for block in chain.blocks[RANGE_BLOCKS_MAX:]]
        for count in (1, 2):
            certificate = chain.blocks[RANGE_BLOCKS_MAX - 1 + count].certificate
            blocks = swap(chain.range(1, RANGE_BLOCKS_MAX), -1, links=tuple(links[:count]), certificate=certificate)
            if count == 1:
                verify_range(CHAIN_ID, chain.anchors[0], blocks)
            else:
                with pytest.raises(InvalidMessage, match="under one certificate"):
                    verify_range(CHAIN_ID, chain.anchors[0], blocks)

    @pytest.mark.parametrize("change", [{"tx_count": 3}, {"body_bytes": 1}, {"tx_root": bytes(32)}])
    def test_a_header_must_count_and_measure_its_envelopes(self, change: dict[str, object]) -> None:
        block = chain_of(1).blocks[0]
        with pytest.raises(InvalidMessage):
            verify_bodies(replace(block, header=replace(block.header, **change)))

    def test_the_true_range_passes(self) -> None:
        chain = Chain(keys_of(4)).grow(6)
        verify_range(CHAIN_ID, chain.anchors[2], chain.range(3, 6))

    @pytest.mark.parametrize(
        "change",
        [
            lambda block: block.envelopes[:1],
            lambda block: (*block.envelopes, b"one more"),
            lambda block: block.envelopes[::-1],
            lambda block: (block.envelopes[0], block.envelopes[1] + b"!"),
            lambda block: (),
        ],
    )
    def test_envelopes_must_be_those_of_the_header(self, change: Callable[[RangeBlock], tuple[bytes, ...]]) -> None:
        block = chain_of(1).blocks[0]
        assert len(verify_bodies(block)) == 2
        with pytest.raises(InvalidMessage):
            verify_bodies(replace(block, envelopes=change(block)))


def _parts(block: RangeBlock) -> dict[str, object]:
    return {name: getattr(block, name) for name in block.__struct_fields__}
