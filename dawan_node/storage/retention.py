"""Pruning: which blocks a channel keeps, and how the others leave while the node runs.

Blocks leave from the oldest upwards, a few at a time, each step one synced batch that also moves the mark ``oldest``:
whatever happens in between, the store is one that was pruned less. What goes are bodies, receipts and both indexes;
the state is not touched, so every value can still be proven.

What stays of a pruned block, because something needs it:

- header, result and certificate of barrier blocks (who voted when: without them nobody can check a later certificate)
  and of every 1,000th block (fixed points that two nodes can compare);
- header and result of the block right below ``oldest``, which the chain above stands on;
- header and nonces while the state has the block's replay entry (formats A.5): the header has its time, by which the
  entry is removed one day, and the nonces belong to a snapshot (amendment U10). The index of nonces in force is apart
  from blocks and keeps them all, so no transaction becomes valid again by pruning.
"""

from __future__ import annotations

from dawan_node import failpoints
from dawan_node.errors import InvalidEncoding, InvalidTransaction, StorageError
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import nonce_use
from dawan_node.storage import schema
from dawan_node.storage.block_store import BlockStore, KeptRecord, certificate_put, kept_put
from dawan_node.storage.kv import KeyValueStore, Put
from dawan_node.storage.state_store import StateStore

#: Design section 6: never pruned, beside barrier blocks.
MILESTONE_BLOCKS = 1_000
#: One step is one job between two commits: so many entries are deleted in some ten milliseconds.
STEP_ENTRIES = 4_000
#: ... of at most so many blocks, since small ones cost reads.
STEP_BLOCKS = 64


def is_milestone(height: int) -> bool:
    """Whether header, result and certificate at ``height`` are kept for ever, barrier or not."""
    return height % MILESTONE_BLOCKS == 0


def nonces_of(envelopes: tuple[bytes, ...]) -> list[tuple[bytes, bytes, int]]:
    """(public key, nonce, valid_until_ms) of each transaction in block order. Raises ``StorageError``."""
    try:
        return [nonce_use(envelope) for envelope in envelopes]
    except InvalidTransaction as error:
        raise StorageError(f"a transaction in the database cannot be read: {error}") from None


class Retention:
    """Prunes one channel's store. Its methods belong to the thread that commits."""

    def __init__(self, store: KeyValueStore, blocks: BlockStore, state: StateStore) -> None:
        self._store = store
        self._blocks = blocks
        self._state = state

    def step(self, oldest_wanted: int) -> int:
        """Remove a few of the blocks below ``oldest_wanted``; how many. 0 means that there is nothing left to do.

        The head always stays, whatever is wanted. Raises ``StorageError``.
        """
        head = self._blocks.head()
        if head is None:
            raise StorageError("the database has no genesis")
        kept = self._blocks.kept()
        puts: list[Put] = []
        oldest = kept.oldest
        while oldest < min(oldest_wanted, head.height) and oldest - kept.oldest < STEP_BLOCKS:
            if len(puts) >= STEP_ENTRIES:
                break
            self._remove(puts, oldest)
            oldest += 1
        headers_from = self._remove_headers(puts, kept.headers_from, oldest)
        if (oldest, headers_from) == (kept.oldest, kept.headers_from):
            return 0
        puts.append(kept_put(KeptRecord(oldest, headers_from)))
        failpoints.reach("prune.before_write")
        self._store.write(puts, sync=True)
        failpoints.reach("prune.after_write")
        return oldest - kept.oldest + headers_from - kept.headers_from

    def _remove(self, puts: list[Put], height: int) -> None:
        """The block at ``height`` loses its body, and the one below what only the chain above needed."""
        at = schema.height_bytes(height)
        header, envelopes = self._blocks.header(height), self._blocks.envelopes(height)
        receipts, result = self._blocks.receipts(height), self._blocks.result(height)
        if header is None or envelopes is None or receipts is None or result is None:
            raise StorageError(f"block {height} is not complete")
        if self._state.replay_entry(height) is not None:
            puts.append((schema.NONCE_LIST + at, encode([list(use) for use in nonces_of(envelopes)])))
        try:
            tx_ids = [Receipt.decode(receipt).tx_id for receipt in receipts]
        except InvalidEncoding as error:
            raise StorageError(f"a receipt of block {height} cannot be read: {error}") from None
        puts += [(schema.TX_INDEX + tx_id, None) for tx_id in tx_ids]
        puts += [(schema.ENVELOPES + at, None), (schema.RECEIPTS + at, None)]
        if header.barrier or is_milestone(height):
            certificate = self._blocks.certificate(height)
            if certificate is None:
                raise StorageError(f"block {height} has no certificate")
            puts.append(certificate_put(height, certificate))  # the blocks with its links leave too
        else:
            puts += [(schema.CERTIFICATE + at, None), (schema.HASH_INDEX + result.block_hash, None)]
        self._forget_anchor(puts, height - 1)

    def _forget_anchor(self, puts: list[Put], height: int) -> None:
        header, result = self._blocks.header(height), self._blocks.result(height)
        if header is None or result is None or header.barrier or is_milestone(height):
            return  # height 0 has no header, and its result stays
        at = schema.height_bytes(height)
        puts += [
            (schema.RESULT + at, None),
            (schema.CERTIFICATE + at, None),
            (schema.HASH_INDEX + result.block_hash, None),
        ]

    def _remove_headers(self, puts: list[Put], headers_from: int, oldest: int) -> int:
        """Headers below the one that the chain stands on go when their replay entries are gone, in order."""
        height = headers_from
        while height < oldest - 1 and height - headers_from < 2 * STEP_BLOCKS:
            if self._state.replay_entry(height) is not None:
                break
            header = self._blocks.header(height)
            at = schema.height_bytes(height)
            if header is not None and not header.barrier and not is_milestone(height):
                puts.append((schema.HEADER + at, None))
            puts.append((schema.NONCE_LIST + at, None))
            height += 1
        return height
