"""Is a database right? Everything that can be checked is: ``db verify``, and ``db replay``, which is a part of it.

Blocks prove themselves: header to header, every transaction's signature, every certificate against the validators of
its epoch, which executing the blocks below has given. The state proves itself by executing all kept blocks again,
from genesis, or from the oldest state that is kept, on a scratch state: every result and receipt must come out the
same, and at the end every record of the state must be the one that is stored. What the modules say must always hold
of their state is checked last. The first fault found ends the audit: what stands on it means nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dawan_node.crypto import merkle
from dawan_node.errors import (
    InvalidEncoding,
    InvalidInput,
    InvalidProof,
    InvalidTransaction,
    OperatorError,
    StorageError,
)
from dawan_node.execution.channel import validator_set
from dawan_node.execution.executor import Execution
from dawan_node.node.database.below_base import BelowBase, KeptBelow
from dawan_node.node.database.finding import Fault, Finding, Wrong
from dawan_node.node.database.kept_state import check_indexes, root_of, split
from dawan_node.node.database.opened import Opened
from dawan_node.node.database.scratch import Scratch, image_list, scratch
from dawan_node.node.database.signature_queue import Place, SignatureQueue, first_of
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.patch import is_patch, undo
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage import schema
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import KeyValueReader

#: Seconds between two reports of progress.
PROGRESS_S: Final = 2.0

Progress = Callable[[int, int, float], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit did. ``base`` is the height whose state it started from, ``milestones`` and ``nonces_below`` what
    was kept of blocks below it; ``finding`` is None when all is right."""

    height: int
    base: int
    blocks: int
    transactions: int
    certificates: int
    state_records: int
    invariants: int
    seconds: float
    milestones: int
    nonces_below: int
    finding: Finding | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """Where re-execution arrived; ``stored`` is the result that the database has of that height."""

    height: int
    result: Result
    stored: Result
    blocks: int
    transactions: int
    seconds: float


def audit(
    database: Opened,
    *,
    signatures: bool = True,
    processes: int | None = None,
    folder: Path | None = None,
    progress: Progress = lambda height, last, seconds: None,
) -> Audited:
    """Check everything. The scratch state goes below ``folder``; ``processes`` check signatures beside this one
    (default: one for each core beyond the first, 0 none). Raises OperatorError, or StorageError when the *scratch*
    fails; whatever is wrong with the database itself is in the answer."""
    started = time.monotonic()
    work: _Audit | None = None
    finding: Finding | None = None
    try:
        store = _structure(database)
        with scratch(folder) as state, SignatureQueue(processes) as queue:
            work = _Audit(database, store, state, signatures, queue)
            try:
                work.start()
                work.run(work.head, progress, started)
                queue.settle()
                work.compare_state()
                work.check_invariants()
            except Wrong as wrong:
                finding = first_of(wrong, queue)
    except Wrong as wrong:
        finding = wrong.finding
    except StorageError as error:
        text = str(error)
        if text.startswith("database ") and str(database.path) not in text:
            raise  # the scratch's disk, of which nothing follows for the database
        finding = Finding(Fault.UNREADABLE, 0 if work is None else work.height, text)
    seconds = time.monotonic() - started
    if work is None:
        return Audited(0, 0, 0, 0, 0, 0, 0, seconds, 0, 0, finding)
    return Audited(
        work.head,
        work.base,
        work.blocks,
        work.transactions,
        work.certificates,
        work.records,
        work.invariants,
        seconds,
        work.below.milestones,
        work.below.nonces,
        finding,
    )


def replay(
    database: Opened,
    to: int | None,
    *,
    folder: Path | None = None,
    progress: Progress = lambda height, last, seconds: None,
) -> Replayed:
    """Execute the blocks again up to height ``to`` (default: the head) without judging them.

    Raises OperatorError for a height that cannot be reached, StorageError for a database that cannot be read.
    """
    started = time.monotonic()
    store = ChannelStore.over(database.kv, database.genesis.chain_id)
    with scratch(folder) as state, SignatureQueue(0) as queue:
        work = _Audit(database, store, state, signatures=False, queue=queue)
        wanted = work.head if to is None else to
        if not work.base <= wanted <= work.head:
            raise OperatorError(
                f"height {wanted} cannot be replayed",
                f"this database goes from {work.base}, its oldest state, to {work.head}",
                "Choose a height between them.",
            )
        try:
            work.start()
            result = work.replay(wanted, progress, started)
        except Wrong as wrong:
            raise StorageError(wrong.finding.text) from None
    stored = store.blocks.result(wanted)
    if stored is None:
        raise StorageError(f"the result at height {wanted} is not there")
    return Replayed(wanted, result, stored, work.blocks, work.transactions, time.monotonic() - started)


def _structure(database: Opened) -> ChannelStore:
    """Headers, results, hash index and heads over the whole length. Raises Wrong."""
    try:
        return ChannelStore.over(database.kv, database.genesis.chain_id, walk_headers=sys.maxsize)
    except StorageError as error:
        text = str(error)
        fault = Fault.UNREADABLE if str(database.path) in text else Fault.HEADER
        if "state" in text:
            fault = Fault.STATE
        elif "hash index" in text:
            fault = Fault.INDEX
        elif "certificate" in text:
            fault = Fault.CERTIFICATE
        raise Wrong(fault, 0, text) from None


class _Audit:
    """One run over one database."""

    def __init__(
        self, database: Opened, store: ChannelStore, state: Scratch, signatures: bool, queue: SignatureQueue
    ) -> None:
        self._kv: Final = database.kv
        self._genesis: Final = database.genesis
        self._executor: Final = database.executor
        self._blocks: Final = store.blocks
        self._store: Final = store
        self._scratch: Final = state
        self._signatures: Final = signatures
        self._queue: Final = queue
        self.head: Final = store.head.height
        self.base: Final = _base(self._kv, store)
        self._history_from: Final = 0 if store.state.head is None else store.state.head.history_from
        self.height = self.base
        self.blocks = self.transactions = self.certificates = self.records = self.invariants = 0
        self.below = KeptBelow(0, 0)
        self._validators: ValidatorSet = self._genesis.validator_set
        self._epoch = 0
        self._epoch_first = 1
        self._time_ms = self._genesis.created_ms
        self._result: Result = _needed(self._blocks.result(self.base), "result", self.base)

    def start(self) -> None:
        """Give the scratch the state at the base, whose root must be the certified one. Raises Wrong."""
        if self.base == 0:
            first = self._executor.genesis_state()
            if first.result != self._result:
                raise Wrong(Fault.RESULT, 0, "the result of height 0 is not that of the genesis")
            self._scratch.apply(0, first.changes, self._genesis.created_ms)
            return
        header = _needed(self._blocks.header(self.base), "header", self.base)
        self._time_ms = header.timestamp_ms
        self._scratch.rewind(self._kv, self.base, self._time_ms)
        root = root_of(self._scratch.kv, self._scratch.folder)
        if root != self._result.state_root:
            raise Wrong(
                Fault.STATE,
                self.base,
                f"the oldest kept state has root {root.hex()[:16]}, certified is {self._result.state_root.hex()[:16]}",
            )
        check_indexes(self._executor.registry, self._scratch.kv)
        self.below = BelowBase(self._kv, self._genesis, self._scratch, header, self._queue).check()
        self._enter_epoch(header, self._result, validator_set(self._executor.configuration(self._scratch.state)))

    def run(self, last: int, progress: Progress, started: float) -> None:
        """Check and execute the blocks above the base. Raises Wrong."""
        said = time.monotonic()
        for height in range(self.base + 1, last + 1):
            self.height = height
            header, result, transactions = self._read(height)
            self._check_certificate(header, result)
            self._check_body(header, transactions)
            execution = self._execute(header, transactions)
            if execution.result != result:
                raise Wrong(Fault.RESULT, height, _difference(execution.result, result))
            self._check_receipts(header, result, execution)
            if height > self._history_from:
                self._check_history(execution)
            self._go_on(execution)
            now = time.monotonic()
            if now - said >= PROGRESS_S:
                said = now
                progress(height, last, now - started)

    def replay(self, last: int, progress: Progress, started: float) -> Result:
        """Execute only; the result at ``last``, whatever the database says of it."""
        said = time.monotonic()
        for height in range(self.base + 1, last + 1):
            self.height = height
            header, _, transactions = self._read(height)
            self._go_on(self._execute(header, transactions))
            now = time.monotonic()
            if now - said >= PROGRESS_S:
                said = now
                progress(height, last, now - started)
        return self._result

    def compare_state(self) -> None:
        """Every record of the state, its indexes and its tree is stored as executing made it. Raises Wrong."""
        for kind, what in ((schema.STATE, "entity"), (schema.INDEX, "index entry"), (schema.NODE, "tree node")):
            stored, made = self._kv.iterate(prefix=kind), self._scratch.kv.iterate(prefix=kind)
            for key in _first_differences(stored, made, self._count):
                raise Wrong(Fault.STATE, self.head, f"the stored {what} {_name(key)} is not the one the blocks lead to")
        live = [_live_nonces(kv, self._time_ms) for kv in (self._kv, self._scratch.kv)]
        for key in _first_differences(live[0], live[1], self._count):
            raise Wrong(Fault.STATE, self.head, f"the stored nonce {key.hex()} is not the one the blocks lead to")
        if self.base == 0:
            counted = sum(1 for _ in self._kv.iterate(prefix=schema.TX_INDEX))
            if counted != self.transactions:
                raise Wrong(
                    Fault.INDEX, 0, f"the index has {counted} transactions, the blocks have {self.transactions}"
                )

    def check_invariants(self) -> None:
        """What each module says must hold of its state. Raises Wrong."""
        found = self._executor.violations(self._scratch.state, height=self.head, time_ms=self._time_ms)
        self.invariants = sum(len(module.invariants) for module in self._executor.registry.modules.values())
        if found:
            raise Wrong(Fault.INVARIANT, self.head, found[0])

    def _count(self) -> None:
        self.records += 1

    def _read(self, height: int) -> tuple[Header, Result, list[Transaction]]:
        header = _needed(self._blocks.header(height), "header", height)
        result = _needed(self._blocks.result(height), "result", height)
        envelopes = _needed(self._blocks.envelopes(height), "body", height)
        try:
            return header, result, [Transaction.decode(envelope) for envelope in envelopes]
        except InvalidTransaction as error:
            raise Wrong(Fault.BODY, height, f"a transaction cannot be decoded: {error}") from None

    def _check_certificate(self, header: Header, result: Result) -> None:
        proof = self._blocks.finality(header.height)
        if proof is None:
            raise Wrong(Fault.CERTIFICATE, header.height, "the block has no certificate")
        check = self._queue.checker(header.height)
        try:
            proof.verify(self._genesis.chain_id, self._epoch, self._validators, first=self._epoch_first, check=check)
        except InvalidProof as error:
            raise Wrong(Fault.CERTIFICATE, header.height, str(error)) from None
        self.certificates += 1

    def _check_body(self, header: Header, transactions: list[Transaction]) -> None:
        height = header.height
        leaves = [transaction.leaf_hash for transaction in transactions]
        if not leaves or merkle.root(leaves) != header.tx_root:
            raise Wrong(Fault.BODY, height, "the transactions are not those of the header")
        refusal = self._executor.check_block(self._scratch.state, self._time_ms, header, transactions)
        if refusal is not None:
            raise Wrong(Fault.BODY, height, f"no honest validator would have accepted the block: {refusal}")
        if self._blocks.height_of(header.hash) != height:
            raise Wrong(Fault.INDEX, height, "the hash index does not know the block")
        for index, transaction in enumerate(transactions):
            if self._signatures:
                place = Place(Fault.SIGNATURE, height, f"transaction {index}")
                self._queue.add(place, transaction.public_key, transaction.signed, transaction.signature)
            if self._blocks.find_tx(transaction.tx_id) != (height, index):
                raise Wrong(Fault.INDEX, height, f"the transaction index does not know transaction {index}")

    def _check_receipts(self, header: Header, result: Result, execution: Execution) -> None:
        stored = _needed(self._blocks.receipts(header.height), "receipts", header.height)
        if stored != execution.receipts:
            raise Wrong(Fault.RECEIPT, header.height, "the receipts are not those that executing gives")
        if merkle.root([merkle.leaf_hash(receipt) for receipt in stored]) != result.receipts_root:
            raise Wrong(Fault.RECEIPT, header.height, "the receipts are not those of the result")

    def _check_history(self, execution: Execution) -> None:
        """What the block's images say was there before it is what was there. Raises Wrong."""
        height = execution.header.height
        suffix = schema.height_bytes(height)
        expected = self._scratch.images(execution.changes)
        listed = self._kv.get(schema.IMAGE_LIST + suffix)
        if sorted(image_list(listed)) != sorted(expected):
            raise Wrong(Fault.STATE, height, "the history of the block names other keys than it changed")
        for image, before in expected.items():
            kept = self._kv.get(image + suffix)
            if kept is not None and image[:1] == schema.NODE_IMAGE and is_patch(kept):
                kept = _unpatched(execution.changes.nodes[image[2:]], kept)
            if kept != before:
                raise Wrong(Fault.STATE, height, "the history of the block is not what was there before it")

    def _execute(self, header: Header, transactions: list[Transaction]) -> Execution:
        try:
            return self._executor.execute(self._scratch.state, self._result, header, transactions)
        except InvalidInput as error:
            raise Wrong(Fault.BODY, header.height, f"the block cannot be executed: {error}") from None

    def _go_on(self, execution: Execution) -> None:
        header = execution.header
        self._scratch.apply(header.height, execution.changes, header.timestamp_ms)
        self.height, self._time_ms, self._result = header.height, header.timestamp_ms, execution.result
        self.blocks += 1
        self.transactions += header.tx_count
        self._enter_epoch(header, execution.result, execution.next_validators)

    def _enter_epoch(self, header: Header, result: Result, validators: ValidatorSet) -> None:
        """The epoch of the block above ``header`` (amendment U3)."""
        ends = result.next_valset_hash != header.valset_hash
        self._epoch = header.epoch + ends
        if ends:
            self._epoch_first = header.height + 1
        elif self.height == self.base and self.base:
            self._epoch_first = 1  # where the epoch began is below what is kept
        self._validators = validators


def _base(kv: KeyValueReader, store: ChannelStore) -> int:
    """The height to execute from: 0 when every body is kept, else the oldest whose state and successors are."""
    head = store.state.head
    if head is None:
        raise StorageError("the database has no state")
    for key, _ in kv.iterate(prefix=schema.ENVELOPES):
        first = schema.height_of_bytes(key[1:])
        return 0 if first == 1 else max(first - 1, head.history_from)
    return head.height if store.head.height else 0


def _unpatched(node: bytes | None, patch: bytes) -> bytes | None:
    """The node before a block, which a patch of its history leads to; None when it leads nowhere."""
    try:
        return None if node is None else undo(node, patch)
    except InvalidEncoding:
        return None


def _needed(value: _T | None, what: str, height: int) -> _T:
    if value is None:
        raise Wrong(Fault.UNREADABLE, height, f"the {what} at height {height} is not there")
    return value


def _difference(made: Result, stored: Result) -> str:
    names = [
        name
        for name in ("block_hash", "parent_result_hash", "state_root", "receipts_root", "next_valset_hash")
        if getattr(made, name) != getattr(stored, name)
    ]
    return f"executing the block again gives another {' and '.join(names) or 'height'} than the certified result has"


def _first_differences(
    stored: Iterator[tuple[bytes, bytes]], made: Iterator[tuple[bytes, bytes]], count: Callable[[], None]
) -> Iterator[bytes]:
    """The first key at which two runs in key order differ; nothing when they are equal."""
    while True:
        ours, theirs = next(stored, None), next(made, None)
        if ours != theirs:
            yield min(pair[0] for pair in (ours, theirs) if pair is not None)
            return
        if ours is None:
            return
        count()


def _live_nonces(kv: KeyValueReader, time_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """Uses of nonces that still matter; when the others are removed is each database's own affair."""
    return ((key, value) for key, value in kv.iterate(prefix=schema.NONCE) if schema.height_of_bytes(value) > time_ms)


def _name(key: bytes) -> str:
    """A state or index key in words: its names, then the rest in hexadecimal."""
    if key[:1] == schema.NODE:
        return key[1:].hex()
    names, rest = split(key, 2 if key[:1] == schema.STATE else 3)
    return f"{'.'.join(names)} {rest.hex()}"
