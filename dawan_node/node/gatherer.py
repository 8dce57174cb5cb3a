"""Finds the bodies of blocks that a replica wants: in the log's memory, in the pool, or at the peers that hold them.

A proposal names its transactions by leaf hash; most of them arrived before it. What is missing is asked for after a
short grace (it may be on its way, or waiting for its signature check), from the holders in turn, again and again until
the block is complete or no longer wanted. Content names itself: an envelope that does not hash to a wanted leaf is
dropped, and is never a reason to refuse a block (amendment U8). An envelope that *does* and is malformed or wrongly
signed condemns the block.

Sans-I/O: messages go out through ``send``, signature checks through ``verify``; both are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dawan_node.consensus.ready import Acquire
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidTransaction
from dawan_node.node.bodies import BlockBody, Bodies
from dawan_node.p2p.gossip import LEAVES_MAX, BlockReply, FetchBlock, FetchTx, TxsReply
from dawan_node.primitives.transaction import Transaction

#: Gossip batches leave every 5 ms and signatures of a full block are checked in about 50 ms on one core.
GRACE_MS: Final = 60
#: A holder that has not answered after so long is passed over for the next one: several LAN round trips with a full
#: reply of 4 MiB, a few WAN ones.
RETRY_MS: Final = 400

#: Envelopes name themselves, so all requests share one id; 0 marks envelopes that nobody asked for.
REQUEST_ID: Final = 1

Send = Callable[[int, bytes], None]  # validator index, FETCH payload
Lookup = Callable[[bytes], Transaction | None]


@dataclass(frozen=True, slots=True)
class Gathered:
    """A wanted block is complete, or condemned with a ``reason``."""

    block_hash: bytes
    body: BlockBody | None
    reason: str = ""


@dataclass(slots=True)
class _Wanted:
    acquire: Acquire
    holders: tuple[int, ...]
    leaves: tuple[bytes, ...] | None
    found: dict[bytes, Transaction]
    missing: set[bytes]
    ask_at_ms: int
    next_holder: int = 0
    rounds: int = 0
    checking: set[bytes] = field(default_factory=set)

    def take_holder(self) -> int:
        """Whose turn it is to be asked."""
        holder = self.holders[self.next_holder % len(self.holders)]
        self.next_holder += 1
        return holder


class Gatherer:
    """The wanted blocks of one channel. Bounded by what the replica wants: at most 2W blocks."""

    def __init__(
        self,
        bodies: Bodies,
        pool: Lookup,
        is_arriving: Callable[[bytes], bool],
        send: Send,
        verify: Callable[[list[Transaction]], None],
    ) -> None:
        """``pool`` finds a verified transaction by leaf hash, ``is_arriving`` says that one is being checked;
        ``verify`` starts the check of fetched ones and leads to ``checked``."""
        self._bodies: Final = bodies
        self._pool: Final = pool
        self._is_arriving: Final = is_arriving
        self._send: Final = send
        self._verify: Final = verify
        self._wanted: dict[bytes, _Wanted] = {}
        self._by_leaf: dict[bytes, set[bytes]] = {}
        self._done: list[Gathered] = []

    def want(self, acquire: Acquire, now_ms: int) -> None:
        """Start gathering, or go on with what is known by now: a block that became certified has more holders."""
        block_hash = acquire.block_hash
        body = self._bodies.get(block_hash)
        if body is not None:
            self._done.append(Gathered(block_hash, body))
            return
        known = self._wanted.get(block_hash)
        if known is not None:
            known.holders = acquire.holders or known.holders
            if known.leaves is None and acquire.leaf_hashes is not None:
                self._take_leaves(known, acquire.leaf_hashes)
            return
        wanted = _Wanted(acquire, acquire.holders, None, {}, set(), now_ms + GRACE_MS)
        self._wanted[block_hash] = wanted
        if acquire.leaf_hashes is None:
            wanted.ask_at_ms = now_ms
        else:
            self._take_leaves(wanted, acquire.leaf_hashes)

    def forget(self, block_hash: bytes) -> None:
        """The block is no longer wanted."""
        wanted = self._wanted.pop(block_hash, None)
        if wanted is None:
            return
        for leaf in wanted.missing:
            blocks = self._by_leaf.get(leaf)
            if blocks is not None:
                blocks.discard(block_hash)
                if not blocks:
                    del self._by_leaf[leaf]

    def take_done(self) -> list[Gathered]:
        """Blocks that became complete or condemned since the last call."""
        done, self._done = self._done, []
        return done

    @property
    def is_idle(self) -> bool:
        """Whether nothing is wanted and nothing done."""
        return not self._wanted and not self._done

    def wants(self, leaf_hash: bytes) -> bool:
        """Whether some wanted block misses this transaction."""
        return leaf_hash in self._by_leaf

    def checked(self, transactions: Sequence[tuple[Transaction, bool]]) -> None:
        """Signature checks are done, of fetched or of arriving transactions."""
        for transaction, is_valid in transactions:
            leaf = transaction.leaf_hash
            for block_hash in sorted(self._by_leaf.get(leaf, ())):
                if is_valid:
                    self._fill(self._wanted[block_hash], transaction)
                else:
                    self._condemn(block_hash, "an envelope is wrongly signed")

    def on_txs(self, reply: TxsReply) -> None:
        """Envelopes from a peer; what nobody wants is dropped."""
        to_check: list[Transaction] = []
        for envelope in reply.envelopes:
            leaf = sha256(b"\x00" + envelope)
            blocks = self._by_leaf.get(leaf)
            # The same bytes from the next holder while they wait for their check: not decoded, not checked again.
            if not blocks or all(leaf in self._wanted[block_hash].checking for block_hash in blocks):
                continue
            try:
                transaction = Transaction.decode(envelope)
            except InvalidTransaction as error:
                for block_hash in sorted(blocks):
                    self._condemn(block_hash, f"an envelope is malformed: {error}")
                continue
            for block_hash in blocks:
                self._wanted[block_hash].checking.add(leaf)
            to_check.append(transaction)
        if to_check:
            self._verify(to_check)

    def on_leaves(self, reply: BlockReply) -> None:
        """A leaf list from a peer; believed only if it hashes to the header's root."""
        wanted = self._wanted.get(reply.block_hash)
        if wanted is None or wanted.leaves is not None or not reply.leaves:
            return
        header = wanted.acquire.header
        if len(reply.leaves) == header.tx_count and merkle.root(reply.leaves) == header.tx_root:
            self._take_leaves(wanted, tuple(reply.leaves))

    def poll(self, now_ms: int) -> None:
        """Look again for what is missing, and ask the next holder where it is time."""
        for wanted in list(self._wanted.values()):
            if now_ms < wanted.ask_at_ms:
                continue
            wanted.ask_at_ms = now_ms + RETRY_MS
            if not wanted.holders:
                continue
            if wanted.leaves is None:
                self._send(wanted.take_holder(), FetchBlock(wanted.acquire.block_hash).encode())
                continue
            # What is being checked already is given one round; behind a long queue of clients' signatures it would take
            # too long, and what is fetched for a block is checked before those. What was fetched is never asked for
            # again: its check ends in ``checked``, and on a node that is behind, bodies that are fetched over and over
            # would keep it there.
            missing = [
                leaf
                for leaf in wanted.leaves
                if leaf in wanted.missing
                and leaf not in wanted.checking
                and (wanted.rounds or not self._is_arriving(leaf))
            ]
            wanted.rounds += 1
            # Several holders at once: each is asked for the next part, in turn.
            for start in range(0, len(missing), LEAVES_MAX):
                part = missing[start : start + LEAVES_MAX]
                self._send(wanted.take_holder(), FetchTx(REQUEST_ID, part).encode())

    def next_deadline(self) -> int | None:
        """When ``poll`` is due."""
        return min((wanted.ask_at_ms for wanted in self._wanted.values()), default=None)

    def _take_leaves(self, wanted: _Wanted, leaves: tuple[bytes, ...]) -> None:
        wanted.leaves = leaves
        if len(set(leaves)) != len(leaves):
            self._condemn(wanted.acquire.block_hash, "a transaction stands in it twice")
            return
        for leaf in leaves:
            transaction = self._pool(leaf) or self._bodies.transaction(leaf)
            if transaction is not None:
                wanted.found[leaf] = transaction
            else:
                wanted.missing.add(leaf)
                self._by_leaf.setdefault(leaf, set()).add(wanted.acquire.block_hash)
        self._finish_if_complete(wanted)

    def _fill(self, wanted: _Wanted, transaction: Transaction) -> None:
        leaf = transaction.leaf_hash
        wanted.missing.discard(leaf)
        wanted.found[leaf] = transaction
        blocks = self._by_leaf[leaf]
        blocks.discard(wanted.acquire.block_hash)
        if not blocks:
            del self._by_leaf[leaf]
        self._finish_if_complete(wanted)

    def _finish_if_complete(self, wanted: _Wanted) -> None:
        if wanted.leaves is None or wanted.missing:
            return
        block_hash = wanted.acquire.block_hash
        del self._wanted[block_hash]
        body = BlockBody(block_hash, tuple(wanted.found[leaf] for leaf in wanted.leaves))
        self._done.append(Gathered(block_hash, body))

    def _condemn(self, block_hash: bytes, reason: str) -> None:
        self.forget(block_hash)
        self._done.append(Gathered(block_hash, None, reason))
