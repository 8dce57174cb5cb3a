"""What peers may draw from a node: bodies, leaf lists and ranges, each peer within its own allowance."""

from __future__ import annotations

import pytest

from dawan_node.mempool import Mempool, MempoolLimits
from dawan_node.node.bodies import BlockBody, Bodies
from dawan_node.node.serving import ANSWER_BYTES_BURST, ANSWER_BYTES_MIN, ANSWER_BYTES_PER_S, Serving
from dawan_node.p2p.gossip import BlockReply, FetchBlock, FetchTx, IWant, Txs, TxsReply, decode_fetch, decode_gossip
from dawan_node.storage.block_store import StoredCertificate
from dawan_node.sync import Anchor, BodiesRequest, LightRequest
from dawan_node.sync.verify import verify_bodies, verify_light
from tests.node.ledger import START_MS, Ledger, envelopes_of, leaves_of


class Counter:
    def __init__(self) -> None:
        self.ledger, self.bodies = Ledger(), Bodies()
        self.pool = Mempool(MempoolLimits(), 3_600_000)
        self.now_ms = 0
        self.serving = Serving(self.bodies, self.pool, self.ledger.store, lambda: self.now_ms)


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_envelopes_come_from_blocks_in_flight_and_from_the_pool_in_the_order_asked(counter: Counter) -> None:
    in_block, waiting, unknown = (counter.ledger.transaction() for _ in range(3))
    counter.bodies.add(BlockBody(bytes(32), (in_block,)))
    counter.pool.add(waiting, "gz", START_MS, START_MS)
    asked = list(leaves_of([waiting, unknown, in_block]))
    reply = counter.serving.fetch_tx("hk1", FetchTx(9, asked))
    assert reply is not None and decode_fetch(reply) == TxsReply(9, envelopes_of([waiting, in_block]))
    gossip = counter.serving.i_want("hk1", IWant(asked))
    assert gossip is not None and decode_gossip(gossip) == Txs(envelopes_of([waiting, in_block]))


def test_an_announced_transaction_that_is_gone_needs_no_answer(counter: Counter) -> None:
    assert counter.serving.i_want("hk1", IWant([bytes(32)])) is None


def test_the_leaf_list_of_a_block_is_served_before_and_after_it_is_decided(counter: Counter) -> None:
    (decided,) = counter.ledger.grow(1)
    flying = counter.ledger.block(counter.ledger.transaction())
    counter.bodies.add(BlockBody(flying.hash, flying.transactions))
    for block in (decided, flying):
        reply = counter.serving.fetch_block("hk1", FetchBlock(block.hash))
        assert reply is not None
        assert decode_fetch(reply) == BlockReply(block.hash, list(leaves_of(block.transactions)))


@pytest.mark.parametrize("block_hash", [bytes(32), Ledger().genesis.chain_id])
def test_a_block_nobody_knows_and_the_genesis_have_an_empty_list(counter: Counter, block_hash: bytes) -> None:
    reply = counter.serving.fetch_block("hk1", FetchBlock(block_hash))
    assert reply is not None and decode_fetch(reply) == BlockReply(block_hash, [])


def test_a_range_convinces_whoever_knows_the_block_below_it(counter: Counter) -> None:
    counter.ledger.grow(7)
    genesis = counter.ledger.genesis
    below = counter.ledger.store.blocks.result(2)
    assert below is not None
    anchor = Anchor(2, below.block_hash, below.hash, 0, genesis.validator_set)
    light, bodies = counter.serving.light(LightRequest(5, 3, 6)), counter.serving.bodies(BodiesRequest(6, 3, 6))
    assert (light.id, bodies.id) == (5, 6) and [block.header.height for block in light.blocks] == [3, 4, 5, 6]
    verify_light(genesis.chain_id, anchor, anchor.tip, light.blocks, light.links)
    for block, envelopes in zip(light.blocks, bodies.bodies, strict=True):
        verify_bodies(block.header, envelopes)


@pytest.mark.parametrize(("first", "last", "count"), [(6, 60, 2), (8, 20, 0), (1000, 1001, 0)])
def test_a_range_ends_where_the_chain_ends(counter: Counter, first: int, last: int, count: int) -> None:
    counter.ledger.grow(7)
    light = counter.serving.light(LightRequest(1, first, last))
    assert [block.header.height for block in light.blocks] == list(range(first, first + count))
    assert len(counter.serving.bodies(BodiesRequest(1, first, last)).bodies) == count


def test_a_block_that_is_proven_from_above_is_served_with_the_links_to_its_certificate(counter: Counter) -> None:
    """What a node that caught up through such a range has stored (amendment L3)."""
    counter.ledger.grow(7)
    genesis, blocks = counter.ledger.genesis, counter.ledger.store.blocks
    own = blocks.own_certificate
    blocks.own_certificate = lambda height: b"" if height == 5 else own(height)  # type: ignore[method-assign]
    sixth = blocks.certificate(6)
    header, result = blocks.header_bytes(6), blocks.result_bytes(6)
    assert sixth is not None and header is not None and result is not None
    proof = StoredCertificate(sixth.certificate, ((header, result),))
    blocks.certificate = lambda height: proof  # type: ignore[method-assign]
    anchor = Anchor(0, genesis.chain_id, blocks.result(0).hash, 0, genesis.validator_set)  # type: ignore[union-attr]
    light = counter.serving.light(LightRequest(1, 1, 5))
    assert len(light.links) == 1
    verify_light(genesis.chain_id, anchor, anchor.tip, light.blocks, light.links)


def test_a_peer_that_asks_too_much_gets_nothing_until_time_has_passed_and_others_are_served(counter: Counter) -> None:
    serving = counter.serving
    drawn = 0
    while serving.charge("hk1", bytes(1 << 20)):
        drawn += 1 << 20
    assert drawn == ANSWER_BYTES_BURST
    assert serving.fetch_tx("hk1", FetchTx(1, [bytes(32)])) is None
    assert serving.fetch_block("hk1", FetchBlock(bytes(32))) is None
    assert not serving.may_ask_range("hk1")
    assert serving.fetch_tx("mo1", FetchTx(1, [bytes(32)])) is not None
    counter.now_ms += 1_000
    assert serving.charge("hk1", bytes(ANSWER_BYTES_PER_S))
    assert not serving.may_ask_range("hk1")


def test_empty_answers_are_not_free(counter: Counter) -> None:
    asked = 0
    while counter.serving.fetch_block("hk1", FetchBlock(bytes(32))) is not None:
        asked += 1
        assert asked <= ANSWER_BYTES_BURST // ANSWER_BYTES_MIN
    asked = 0
    while counter.serving.may_ask_range("mo1"):
        asked += 1
    assert asked <= ANSWER_BYTES_BURST // ANSWER_BYTES_MIN


def test_an_answer_larger_than_any_allowance_is_still_given_once(counter: Counter) -> None:
    assert counter.serving.charge("hk1", bytes(ANSWER_BYTES_BURST + 1))
    assert not counter.serving.charge("hk1", b"x")


def test_a_peer_that_is_gone_leaves_nothing_behind(counter: Counter) -> None:
    for number in range(100):
        counter.serving.charge(f"peer-{number}", b"x")
        counter.serving.peer_gone(f"peer-{number}")
    assert not counter.serving._allowances
