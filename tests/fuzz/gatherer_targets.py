"""The gatherer among holders who send anything: only a block's own transactions complete it, only its own faults
condemn it, and nothing is left over."""

from __future__ import annotations

from functools import cache

from dawan_node.consensus.ready import Acquire
from dawan_node.errors import InvalidMessage
from dawan_node.node.bodies import Bodies
from dawan_node.node.gatherer import RETRY_MS, Gatherer
from dawan_node.p2p.gossip import BlockReply, FetchBlock, FetchTx, TxsReply, decode_fetch
from dawan_node.primitives.transaction import Transaction
from tests.fuzz.drawing import Draw, damaged, digest
from tests.node.ledger import Block, Ledger, leaves_of, wrongly_signed


@cache
def story() -> tuple[tuple[Block, ...], frozenset[bytes], tuple[Transaction, ...]]:
    """Blocks that share transactions, which of them hold a wrongly signed one, and all transactions."""
    ledger = Ledger()
    good = [ledger.transaction() for _ in range(5)]
    forged = wrongly_signed(ledger.transaction())
    blocks = (
        ledger.block(*good[:3]),
        ledger.block(*good[2:5]),
        ledger.block(good[0], forged),
        ledger.block(forged, good[4]),
    )
    return blocks, frozenset({blocks[2].hash, blocks[3].hash}), (*good, forged)


class GathererTarget:
    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.blocks, self.bad, self.transactions = story()
        self.by_leaf = {tx.leaf_hash: tx for tx in self.transactions}
        self.pool: dict[bytes, Transaction] = {}
        self.to_check: list[Transaction] = []
        self.asked: list[tuple[int, FetchTx | FetchBlock]] = []
        self.wanted: set[bytes] = set()
        self.condemned: set[bytes] = set()
        self.completed: set[bytes] = set()
        self.now_ms = 0
        self.gatherer = Gatherer(Bodies(), self.pool.get, lambda leaf: False, self._send, self.to_check.extend)

    def _send(self, holder: int, payload: bytes) -> None:
        message = decode_fetch(payload)
        assert isinstance(message, FetchTx | FetchBlock)
        self.asked.append((holder, message))

    def run(self) -> None:
        for _ in range(self.draw.integer(1, 25)):
            self.now_ms += self.draw.choice((0, 1, 60, 400))
            self.one_event()
            self.look()
        self.finish()

    def one_event(self) -> None:
        draw = self.draw
        block = draw.choice(self.blocks)
        match draw.integer(0, 7):
            case 0 | 1:
                leaves = leaves_of(block.transactions) if draw.integer(0, 1) else None
                holders = draw.choice(((0, 1), (), (63,)))
                self.gatherer.want(Acquire(block.hash, block.header, leaves, holders, False), self.now_ms)
                self.wanted.add(block.hash)
            case 2 | 3:
                envelopes = [
                    draw.choice(self.transactions).envelope if draw.integer(0, 3) else draw.binary(20) or b"\0"
                    for _ in range(draw.integer(0, 6))
                ]
                self.receive(TxsReply(draw.integer(0, 2), envelopes))
            case 4:
                leaves = draw.choice(
                    (list(leaves_of(block.transactions)), [], [bytes(32)], list(leaves_of(self.transactions)))
                )
                self.receive(BlockReply(digest(draw, block.hash), leaves))
            case 5:
                self.check()
            case 6:
                self.gatherer.forget(block.hash)
                self.wanted.discard(block.hash)
            case _:
                self.gatherer.poll(self.now_ms)

    def receive(self, message: TxsReply | BlockReply) -> None:
        data = message.encode()
        if not self.draw.integer(0, 7):
            data = damaged(self.draw, data)
        try:
            decoded = decode_fetch(data)
        except InvalidMessage:
            return
        if isinstance(decoded, TxsReply):
            self.gatherer.on_txs(decoded)
        elif isinstance(decoded, BlockReply):
            self.gatherer.on_leaves(decoded)

    def check(self) -> None:
        checked = [(transaction, transaction.verify_signature()) for transaction in self.to_check]
        self.to_check.clear()
        self.gatherer.checked(checked)

    def look(self) -> None:
        """What came out is right, and what is kept is what is wanted."""
        for done in self.gatherer.take_done():
            self.wanted.discard(done.block_hash)
            block = next(block for block in self.blocks if block.hash == done.block_hash)
            if done.body is None:
                assert done.block_hash in self.bad, done.reason
            else:
                assert done.body.transactions == block.transactions and done.block_hash not in self.bad
        kept = self.gatherer._wanted
        assert set(kept) == self.wanted
        for leaf, hashes in self.gatherer._by_leaf.items():
            assert hashes and all(leaf in kept[block_hash].missing for block_hash in hashes)

    def finish(self) -> None:
        """An honest holder answers whatever is asked."""
        for block in self.blocks:
            self.gatherer.want(Acquire(block.hash, block.header, None, (0,), True), self.now_ms)
            self.wanted.add(block.hash)
        for _ in range(10):
            self.now_ms += RETRY_MS
            self.asked.clear()
            self.gatherer.poll(self.now_ms)
            for _, message in list(self.asked):
                if isinstance(message, FetchBlock):
                    block = next(block for block in self.blocks if block.hash == message.block_hash)
                    self.gatherer.on_leaves(BlockReply(block.hash, list(leaves_of(block.transactions))))
                else:
                    envelopes = [self.by_leaf[leaf].envelope for leaf in message.leaves]
                    self.gatherer.on_txs(TxsReply(message.request_id, envelopes))
            self.check()
            self.look()
        assert self.gatherer.is_idle and not self.gatherer._by_leaf, self.gatherer._wanted


def gatherer(draw: Draw) -> None:
    GathererTarget(draw).run()
