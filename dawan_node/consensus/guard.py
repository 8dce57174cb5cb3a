"""SlotGuard: the signer's own account of what it may still sign (amendment U7).

It knows nothing of blocks or quorums. Per epoch it remembers which statement filled each slot, the highest decided
height, and the highest view it promised to have left, and refuses

- a second statement for a slot (kind, epoch, view, height);
- a PREPARE or COMMIT at or below the decided height, except for the decided block itself, which an O entry may bring
  again (L6);
- a PREPARE or COMMIT in a view below one it sent a VIEW-CHANGE for or already voted in;
- a VIEW-CHANGE or NEW-VIEW for a view below that;
- anything in an epoch below one it signed for or saw a decision of (U3);
- a second result for one block hash, in whatever view (U12).

The same statement again gets the same signature: refusing that would stop a chain after a crash (Tendermint #247).
The account is rebuilt from the write-ahead log alone, completely, by ``restore``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dawan_node.consensus.messages import ViewChange, new_view_bytes, view_change_bytes
from dawan_node.consensus.records import CommitRecord, DecidedRecord, PrepareRecord, Record, RecordKind, message_of
from dawan_node.consensus.signer import Statement, VoteKind
from dawan_node.errors import SigningRefused
from dawan_node.primitives.certificate import commit_vote_bytes, prepare_vote_bytes

#: Decided blocks remembered by hash. O can name at most W heights that are already decided here (WINDOW_CEILING = 64).
DECIDED_MAX: Final = 128

_HEIGHT_KINDS: Final = (VoteKind.PREPARE, VoteKind.COMMIT)


class SlotGuard:
    """The account of one validator key on one channel. ``chain_id`` is bound into every statement it admits."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._signed: dict[tuple[int, int, int, int], tuple[bytes, bytes]] = {}
        self._results: dict[bytes, tuple[int, bytes]] = {}  # block hash -> (height, result hash) that I committed to
        self._decided: dict[int, tuple[bytes, bytes]] = {}  # recent heights -> (block hash, result hash)
        self._floor = 0
        self._epoch = 0  # the highest epoch signed for or decided in
        self._promise: dict[int, int] = {}  # epoch -> lowest view in which votes are still allowed

    @property
    def floor(self) -> int:
        """The highest height known to be decided."""
        return self._floor

    def promise(self, epoch: int) -> int:
        """The lowest view of ``epoch`` in which a PREPARE or COMMIT may still be signed."""
        return self._promise.get(epoch, 0)

    def check(self, statement: Statement) -> bytes | None:
        """The signature already given for ``statement``, or None when it may be signed now.

        Raises SigningRefused when it contradicts an earlier statement.
        """
        if statement.data != self._data_of(statement):
            raise SigningRefused("the bytes to sign do not say what the statement says")
        if statement.kind is VoteKind.SUSPECT:
            return None
        signed = self._signed.get(statement.slot)
        if signed is not None:
            if signed[0] != statement.data:
                raise SigningRefused(f"another {statement.kind.name} was signed for {statement.slot[1:]}")
            return signed[1]
        if statement.epoch < self._epoch:
            # Its last block is decided: whoever still needs it is sent that block, never a vote (U3, L4).
            raise SigningRefused(f"{statement.kind.name} in epoch {statement.epoch} after epoch {self._epoch} began")
        promise = self.promise(statement.epoch)
        if statement.view < promise:
            raise SigningRefused(f"{statement.kind.name} in view {statement.view} after view {promise} was promised")
        if statement.kind in _HEIGHT_KINDS:
            self._check_height(statement)
        return None

    def _check_height(self, statement: Statement) -> None:
        if statement.height <= self._floor:
            decided = self._decided.get(statement.height)
            if decided is None or decided[0] != statement.block_hash:
                raise SigningRefused(f"height {statement.height} is decided, and not known to be for this block")
            if statement.kind is VoteKind.COMMIT and decided[1] != statement.result_hash:
                raise SigningRefused(f"height {statement.height} is decided with another result")
        if statement.kind is VoteKind.COMMIT:
            result = self._results.get(statement.block_hash)
            if result is not None and result[1] != statement.result_hash:
                raise SigningRefused(f"another result was signed for the block at height {statement.height}")

    def _data_of(self, statement: Statement) -> bytes:
        """What the statement's bytes must be; view-change kinds hash their content, which is taken as it is."""
        epoch, view, height, block_hash = (
            statement.epoch,
            statement.view,
            statement.height,
            statement.block_hash,
        )
        if statement.kind is VoteKind.PREPARE:
            return prepare_vote_bytes(self._chain_id, epoch, view, height, block_hash)
        if statement.kind is VoteKind.COMMIT:
            return commit_vote_bytes(self._chain_id, epoch, view, height, block_hash, statement.result_hash)
        return statement.data

    def signed(self, statement: Statement, signature: bytes) -> None:
        """Enter a statement that ``check`` let pass into the account."""
        if statement.kind is VoteKind.SUSPECT:
            return
        self._signed[statement.slot] = (statement.data, signature)
        self._epoch = max(self._epoch, statement.epoch)
        if statement.view > self.promise(statement.epoch):
            self._promise[statement.epoch] = statement.view
            self._forget_views(statement.epoch, statement.view)
        if statement.kind is VoteKind.COMMIT:
            self._results[statement.block_hash] = (statement.height, statement.result_hash)

    def decided(self, epoch: int, height: int, block_hash: bytes, result_hash: bytes) -> None:
        """``block_hash`` with ``result_hash`` is final at ``height``; the next height is of ``epoch``. Raises the
        floor."""
        self._decided[height] = (block_hash, result_hash)
        if len(self._decided) > DECIDED_MAX:
            del self._decided[min(self._decided)]
        if height <= self._floor:
            return
        self._floor = height
        self._epoch = max(self._epoch, epoch)
        # What was signed below the floor can no longer be asked for except for the decided block; older epochs not
        # at all. Forgetting them keeps the account as small as the window.
        lowest = height - DECIDED_MAX
        for slot in [slot for slot in self._signed if slot[1] < epoch or (slot[3] and slot[3] <= lowest)]:
            del self._signed[slot]
        for block in [block for block, (at, _) in self._results.items() if at <= lowest]:
            del self._results[block]
        for old in [old for old in self._promise if old < epoch]:
            del self._promise[old]

    def _forget_views(self, epoch: int, view: int) -> None:
        """Slots of views below the promise are refused by the promise itself."""
        for slot in [slot for slot in self._signed if slot[1] == epoch and slot[2] < view]:
            del self._signed[slot]

    def restore(self, records: Iterable[Record]) -> None:
        """Enter everything the write-ahead log says this key has signed. Raises InvalidInput on foreign records."""
        for record in records:
            self._restore(record)

    def _restore(self, record: Record) -> None:
        if record.kind is RecordKind.PREPARE:
            vote = PrepareRecord.decode(record.payload)
            self.signed(self.prepare(vote), vote.signature)
        elif record.kind is RecordKind.COMMIT:
            committed = CommitRecord.decode(record.payload)
            self.signed(self.commit(committed), committed.signature)
        elif record.kind in (RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW):
            message = message_of(record)
            if isinstance(message, ViewChange):
                data, kind = view_change_bytes(self._chain_id, message), VoteKind.VIEW_CHANGE
            else:
                # Mine or another primary's: either way I may not open this view with anything else.
                data, kind = new_view_bytes(self._chain_id, message), VoteKind.NEW_VIEW
            statement = Statement(kind, message.epoch, message.new_view, 0, b"", b"", data)
            self.signed(statement, message.signature)
        elif record.kind in (RecordKind.DECIDED, RecordKind.SYNCED):
            block = DecidedRecord.decode(record.payload)
            header, result = block.header, block.result
            ends_epoch = result.next_valset_hash != header.valset_hash
            self.decided(header.epoch + ends_epoch, header.height, header.hash, result.hash)

    def prepare(self, record: PrepareRecord) -> Statement:
        """The statement a PREPARE record is the signature of."""
        header = record.header
        block_hash = header.hash
        data = prepare_vote_bytes(self._chain_id, header.epoch, record.view, header.height, block_hash)
        return Statement(VoteKind.PREPARE, header.epoch, record.view, header.height, block_hash, b"", data)

    def commit(self, record: CommitRecord) -> Statement:
        """The statement a COMMIT record is the signature of."""
        header = record.header
        block_hash, result_hash = header.hash, record.result.hash
        data = commit_vote_bytes(self._chain_id, header.epoch, record.view, header.height, block_hash, result_hash)
        return Statement(VoteKind.COMMIT, header.epoch, record.view, header.height, block_hash, result_hash, data)
