"""The bodies of blocks that are not decided yet, and of those decided a moment ago.

A replica votes for hashes; somebody must keep what they stand for. A body stays here from the moment a block is
gathered until the replica releases it, whatever the pool does meanwhile (amendment L5), and is served from here to
whoever asks. That includes blocks which lost their place: somebody may hold a quorum for them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from dawan_node.errors import InvalidEncoding, InvalidTransaction, StorageError, StorageReason
from dawan_node.primitives.encoding import decoder_for, encode
from dawan_node.primitives.transaction import Transaction

#: The log record that pins a block's bodies (``records.SHELL_KINDS_FROM`` onwards is the shell's).
BODIES_RECORD: Final = 32

#: Released blocks still served: 2W of the widest window a vote can set (16), what STATUS repairs without a range
#: (amendment L4). A proposal is closed at 1 MiB, so this is at most some 32 MiB.
RETIRED_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class BlockBody:
    """The ordered transactions of one block."""

    block_hash: bytes
    transactions: tuple[Transaction, ...]

    @property
    def leaf_hashes(self) -> tuple[bytes, ...]:
        """In block order."""
        return tuple(transaction.leaf_hash for transaction in self.transactions)

    @classmethod
    def certified(cls, block_hash: bytes, envelopes: Iterable[bytes]) -> BlockBody:
        """The body of a block that a quorum certified. Raises StorageError when no honest replica could have accepted
        it: nothing here can go on from that."""
        try:
            return cls(block_hash, tuple([Transaction.decode(envelope) for envelope in envelopes]))
        except InvalidTransaction as error:
            raise StorageError(f"the certified block {block_hash.hex()} holds {error}") from error

    def encode_record(self) -> bytes:
        """The payload of a BODIES record."""
        return encode([self.block_hash, [transaction.envelope for transaction in self.transactions]])

    @classmethod
    def decode_record(cls, payload: bytes) -> BlockBody:
        """From the node's own log. Raises StorageError, since we wrote it."""
        block_hash, envelopes = _read_record(payload)
        try:
            return cls(block_hash, tuple(Transaction.decode(envelope) for envelope in envelopes))
        except (InvalidEncoding, InvalidTransaction) as error:
            raise _unreadable(error) from error

    @staticmethod
    def recorded_hash(payload: bytes) -> bytes:
        """Of which block the record in the node's own log is: nearly all of them are of blocks that are long decided,
        and their transactions need not be read again. Raises StorageError, since we wrote it."""
        return _read_record(payload)[0]


def _read_record(payload: bytes) -> tuple[bytes, list[bytes]]:
    try:
        return _record_decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> StorageError:
    return StorageError(f"a block body in the write-ahead log cannot be read: {error}", StorageReason.LOG_CORRUPT)


_record_decoder = decoder_for(tuple[bytes, list[bytes]])


class Bodies:
    """Bodies by block hash, and their transactions by leaf hash."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, BlockBody] = {}
        self._transactions: dict[bytes, Transaction] = {}
        self._uses: dict[bytes, int] = {}
        self._logged: set[bytes] = set()
        self._retired: OrderedDict[bytes, None] = OrderedDict()

    def add(self, body: BlockBody, *, logged: bool = False) -> None:
        """Keep a body; ``logged`` when it was read back from the log."""
        if logged:
            self._logged.add(body.block_hash)
        self._retired.pop(body.block_hash, None)
        if body.block_hash in self._blocks:
            return
        self._blocks[body.block_hash] = body
        for transaction in body.transactions:
            leaf = transaction.leaf_hash
            self._transactions[leaf] = transaction
            self._uses[leaf] = self._uses.get(leaf, 0) + 1

    def get(self, block_hash: bytes) -> BlockBody | None:
        """The body of a block."""
        return self._blocks.get(block_hash)

    def transaction(self, leaf_hash: bytes) -> Transaction | None:
        """One transaction of any kept block."""
        return self._transactions.get(leaf_hash)

    def to_log(self, block_hash: bytes) -> BlockBody | None:
        """The body if it must still be written to the log; from now on it counts as written."""
        body = self._blocks.get(block_hash)
        if body is None or block_hash in self._logged:
            return None
        self._logged.add(block_hash)
        return body

    def logged(self) -> Iterator[BlockBody]:
        """Every kept body that stands in the log, for a checkpoint."""
        for block_hash, body in self._blocks.items():
            if block_hash in self._logged:
                yield body

    def release(self, block_hash: bytes) -> None:
        """The replica needs this block no longer. It is served for a while yet: a peer one block behind asks for it."""
        self._logged.discard(block_hash)
        if block_hash in self._blocks:
            self._retired[block_hash] = None
        while len(self._retired) > RETIRED_MAX:
            self._drop(self._retired.popitem(last=False)[0])

    def _drop(self, block_hash: bytes) -> None:
        body = self._blocks.pop(block_hash, None)
        if body is None:
            return
        for transaction in body.transactions:
            leaf = transaction.leaf_hash
            self._uses[leaf] -= 1
            if not self._uses[leaf]:
                del self._uses[leaf], self._transactions[leaf]

    def __contains__(self, block_hash: object) -> bool:
        return block_hash in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)
