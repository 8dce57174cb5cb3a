"""From records back to a replica, and from a replica to a checkpoint (consensus.md 1.9, amendments U5 and U7).

``restore`` reads *all* records, never only the last: after "PREPARE, COMMIT, VIEW-CHANGE, crash" the prepared block is
as important as the promise not to vote below the new view (SmartBFT looked at the last record only). What it brings
back: the view and its floor, the target, every vote of mine for an undecided height with its header, PC and result,
decided blocks the store did not get yet, and HALT or QUARANTINE.

Records of an epoch that the store has not reached are kept and applied when the replica gets there again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dawan_node.consensus.agreement import Agreement
from dawan_node.consensus.block_tree import Block
from dawan_node.consensus.chain import Final
from dawan_node.consensus.messages import Commit, NewView, Prepare, ViewChange
from dawan_node.consensus.records import (
    CommitRecord,
    DecidedRecord,
    HaltedRecord,
    PrepareRecord,
    QuarantineRecord,
    Record,
    RecordKind,
    message_of,
)
from dawan_node.consensus.state import OwnRecords, ReplicaState
from dawan_node.consensus.view_change import plan_of_own_record
from dawan_node.consensus.view_changer import ViewChanger
from dawan_node.primitives.block import Header

#: A restarted replica may have missed any number of views; more back-off than this only slows it down (L10).
_BACKOFF_MAX = 5


@dataclass(slots=True)
class EpochRecords:
    """The records of one epoch, decoded, in log order."""

    prepares: list[PrepareRecord] = field(default_factory=list)
    commits: list[CommitRecord] = field(default_factory=list)
    decided: list[tuple[DecidedRecord, bool]] = field(default_factory=list)  # with: its bodies are pinned
    view_change: ViewChange | None = None
    new_view: NewView | None = None
    raw: list[Record] = field(default_factory=list)


class Restorer:
    """Holds the records until the replica has reached their epoch."""

    def __init__(self, state: ReplicaState, agreement: Agreement, view_changer: ViewChanger) -> None:
        self._state = state
        self._agreement = agreement
        self._view_changer = view_changer
        self._epochs: dict[int, EpochRecords] = {}
        #: What this key said in the current epoch when this node has no part in it; heights, 0 for a VIEW-CHANGE.
        self._unspoken: list[tuple[int, Record]] = []
        #: HALTED of a key that does not sign here.
        self._unheeded: list[Record] = []

    def load(self, records: Iterable[Record]) -> None:
        """Read all records and apply those of the epoch the store is in. Raises InvalidInput on foreign records."""
        for record in records:
            self._sort_in(record)
        state, chain = self._state, self._state.chain
        heights = [block.header.height for epoch in self._epochs.values() for block, _ in epoch.decided]
        state.catch_up_to = max([chain.height, *heights])
        if state.quarantine is not None and state.quarantine.height <= state.catch_up_to:
            state.quarantine = None
        self.apply()

    def _sort_in(self, record: Record) -> None:
        state = self._state
        kind = record.kind
        if kind is RecordKind.HALTED:
            halted = HaltedRecord.decode(record.payload)
            if halted.is_own_key and state.signer is None:
                # The key signs nothing here; following the chain is all that is left, and harmless. Not forgotten.
                self._unheeded.append(Record(kind, record.payload))
            else:
                state.halted = halted
        elif kind is RecordKind.QUARANTINE:
            state.quarantine = QuarantineRecord.decode(record.payload)
        elif kind is RecordKind.PREPARE:
            prepare = PrepareRecord.decode(record.payload)
            self._of(prepare.header, record).prepares.append(prepare)
        elif kind is RecordKind.COMMIT:
            commit = CommitRecord.decode(record.payload)
            state.logged_commits[commit.header.hash] = commit.header.height
            self._of(commit.header, record).commits.append(commit)
        elif kind in (RecordKind.DECIDED, RecordKind.SYNCED):
            decided = DecidedRecord.decode(record.payload)
            self._of(decided.header, record).decided.append((decided, kind is RecordKind.DECIDED))
        else:
            message = message_of(record)
            epoch = self._epochs.setdefault(message.epoch, EpochRecords())
            epoch.raw.append(Record(kind, record.payload))
            if isinstance(message, ViewChange):
                if epoch.view_change is None or message.new_view > epoch.view_change.new_view:
                    epoch.view_change = message
            elif epoch.new_view is None or message.new_view > epoch.new_view.new_view:
                epoch.new_view = message

    def _of(self, header: Header, record: Record) -> EpochRecords:
        epoch = self._epochs.setdefault(header.epoch, EpochRecords())
        block_hash = None if record.kind is RecordKind.SYNCED else header.hash
        epoch.raw.append(Record(record.kind, record.payload, block_hash))
        return epoch

    @property
    def waiting(self) -> list[Record]:
        """Records that the replica itself does not hold, for the next checkpoint: of epochs not reached yet, and those
        of a key that does not vote now (``observer = true``) but may again, and must not have forgotten then (U7)."""
        applied = self._state.chain.applied
        unspoken = [record for height, record in self._unspoken if not height or height > applied]
        return [
            *self._unheeded,
            *unspoken,
            *(record for epoch in sorted(self._epochs) for record in self._epochs[epoch].raw),
        ]

    def apply(self) -> None:
        """Apply the records of the current epoch; those of earlier ones only say what is decided."""
        chain = self._state.chain
        self._unspoken = []
        for number in [number for number in sorted(self._epochs) if number <= chain.epoch]:
            epoch = self._epochs.pop(number)
            self._restore_decided(epoch)
            if number == chain.epoch:
                self._restore_view(epoch)
                self._restore_votes(epoch)
                if epoch.prepares or epoch.commits or epoch.view_change is not None:
                    self._state.listening = None  # the log knows what this key has said
                if self._state.own is None:
                    self._set_aside(epoch)

    def _set_aside(self, epoch: EpochRecords) -> None:
        promised = epoch.view_change
        if promised is not None:
            self._unspoken.append((0, Record(RecordKind.VIEW_CHANGE, promised.encode())))
        for prepare in epoch.prepares:
            record = Record(RecordKind.PREPARE, prepare.encode(), prepare.header.hash)
            self._unspoken.append((prepare.header.height, record))
        for commit in epoch.commits:
            self._unspoken.append(
                (commit.header.height, Record(RecordKind.COMMIT, commit.encode(), commit.header.hash))
            )

    def _restore_decided(self, epoch: EpochRecords) -> None:
        """Blocks that the store has are recent history; later ones are decided again, with the bodies pinned then."""
        state, chain = self._state, self._state.chain
        for block, is_pinned in epoch.decided:
            header = block.header
            final = Final(header.hash, header, block.result, block.result.hash, block.links, block.certificate)
            if header.height > chain.height:
                if header.epoch == chain.epoch:
                    chain.proven[header.height] = final
            elif header.height not in chain.recent and header.height > chain.height - 2 * state.window:
                chain.recent[header.height] = final
            if header.height <= chain.height and is_pinned:
                self._release(final.block_hash)

    def _release(self, block_hash: bytes) -> None:
        if block_hash not in self._state.outbox.release:
            self._state.outbox.release.append(block_hash)

    def _restore_view(self, epoch: EpochRecords) -> None:
        state = self._state
        if epoch.new_view is not None:
            self._view_changer.adopt(epoch.new_view, plan_of_own_record(state.epoch, epoch.new_view))
        certificate = state.chain.certificate
        decided_in = certificate.view if certificate is not None and certificate.epoch == state.chain.epoch else 0
        target = state.view
        if epoch.view_change is not None and epoch.view_change.new_view > target:
            target = epoch.view_change.new_view
        state.backoff = max(0, min(_BACKOFF_MAX, target - decided_in))
        if epoch.view_change is not None and target > state.view and state.own is not None:
            self._view_changer.resume(epoch.view_change)

    def _restore_votes(self, epoch: EpochRecords) -> None:
        state = self._state
        if state.own is None:
            return
        # Far below the head outside the store nothing of mine is of use: those heights are decided, the records of that
        # say so, and I sign nothing before the chain has reached them again. A store that lost everything would have me
        # hold votes for the whole chain, speak of them all in one STATUS, and look at them at each step.
        lowest = state.catch_up_to - 2 * state.window
        for prepare in epoch.prepares:
            if prepare.header.height <= lowest:
                continue
            block = self._restore_block(prepare.header)
            if block is None:
                continue
            self._keep(Record(RecordKind.PREPARE, prepare.encode(), block.block_hash), prepare.header.height)
            if prepare.view == state.view:
                self._restore_prepare(prepare, block)
        for commit in epoch.commits:
            if commit.header.height <= lowest:
                continue
            block = self._restore_block(commit.header)
            if block is None:
                continue
            self._keep(Record(RecordKind.COMMIT, commit.encode(), block.block_hash), commit.header.height)
            block.signed_result_hash = commit.result.hash
            self._agreement.hold_prepared(commit.header, commit.prepared)
            if commit.view == state.view:
                self._restore_commit(commit, block)

    def _restore_block(self, header: Header) -> Block | None:
        """A block I voted for is pinned again, unless its height is decided: then its bodies may go."""
        block_hash = header.hash
        if header.height <= self._state.chain.height:
            self._release(block_hash)
            return None
        block = self._state.tree.add(block_hash, header)
        block.pinned = True
        return block

    def _keep(self, record: Record, height: int) -> None:
        """The newest record per block and kind: they come in the order they were written."""
        assert record.block_hash is not None
        own = self._state.own_records.setdefault(height, OwnRecords())
        own.by_block[record.kind, record.block_hash] = record

    def _restore_prepare(self, record: PrepareRecord, block: Block) -> None:
        state = self._state
        header = record.header
        slot = state.log.slot(header.height)
        slot.own_prepare = Prepare(
            header.epoch, record.view, header.height, block.block_hash, record.voter, record.signature
        )
        slot.prepares[record.voter] = slot.own_prepare
        slot.proposal = slot.accepted = block.block_hash
        block.live = True

    def _restore_commit(self, record: CommitRecord, block: Block) -> None:
        state = self._state
        header = record.header
        slot = state.log.slot(header.height)
        slot.own_commit = Commit(
            header.epoch,
            record.view,
            header.height,
            block.block_hash,
            record.result.hash,
            record.voter,
            record.signature,
        )
        slot.commits[record.voter] = slot.own_commit
        slot.prepared = record.prepared
        # A validator that is alone has its quorum with this vote, and nobody will ever send another one.
        self._agreement.note_committed(slot, slot.own_commit)


def checkpoint(state: ReplicaState, view_changer: ViewChanger, waiting: list[Record]) -> tuple[Record, ...]:
    """Everything a restart needs, so that older log segments may be deleted (U7)."""
    chain = state.chain
    records: list[Record] = []
    for height in sorted(chain.recent):
        final = chain.recent[height]
        payload = DecidedRecord(final.header, final.result, final.links, final.certificate).encode()
        if height > chain.applied:
            records.append(Record(RecordKind.DECIDED, payload, final.block_hash))
        else:
            records.append(Record(RecordKind.SYNCED, payload))
    if state.new_view is not None:
        records.append(Record(RecordKind.NEW_VIEW, state.new_view))
    own = None if state.own is None else view_changer.view_changes.get(state.own)
    if own is not None:
        records.append(Record(RecordKind.VIEW_CHANGE, own.encode()))
    for height in sorted(state.own_records):
        records.extend(state.own_records[height].by_block.values())
    for height in sorted(chain.proven):  # decided before a restart and not yet again
        if height <= state.catch_up_to:
            final = chain.proven[height]
            payload = DecidedRecord(final.header, final.result, final.links, final.certificate).encode()
            records.append(Record(RecordKind.DECIDED, payload, final.block_hash))
    if state.quarantine is not None:
        records.append(Record(RecordKind.QUARANTINE, state.quarantine.encode()))
    if state.halted is not None:
        records.append(Record(RecordKind.HALTED, state.halted.encode()))
    return (*records, *waiting)
