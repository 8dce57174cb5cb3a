"""Runs blocks: speculatively before they are decided, durably once they are. Live and synced blocks take this path.

All of it happens in the channel's one worker thread, job after job, so execution and storage never see each other
half-way. A block is judged and executed on the *branch* it extends: the store's state under the changes of its
undecided ancestors. When a block is decided, its block data and its changes go to the store as **one** synced batch, of
catch-up those of several blocks; after that its descendants' branches rest on the store alone.

Executing twice must give the same result (determinism), so a result that is cached under the block hash is as good as
a new one: the hash fixes all ancestors (amendment A3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dawan_node import failpoints
from dawan_node.consensus.config import ChannelRules
from dawan_node.consensus.ready import Decided
from dawan_node.errors import StorageError, StorageReason
from dawan_node.execution.channel import Configuration, validator_set
from dawan_node.execution.executor import Execution, Executor
from dawan_node.execution.state import GrowingOverlay, Overlay, StateReader
from dawan_node.node.event_bus import CommittedBlock
from dawan_node.node.metrics import StageTimes
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.transaction import Transaction
from dawan_node.storage.block_store import DecidedBlock
from dawan_node.storage.channel_store import BlockToStore, ChannelStore

#: Undecided blocks laid over one another, layer by layer: a window of live consensus. A read may ask every layer, so
#: the longer branches of catch-up are one layer that grows with each block. Whoever needs such a branch as it was
#: lower down has it made anew.
NESTED_MAX: Final = 4

Links = tuple[tuple[Header, Result], ...]


@dataclass(frozen=True, slots=True)
class AppliedHead:
    """The last block in the store; ``header`` is None at genesis."""

    height: int
    block_hash: bytes
    timestamp_ms: int
    result: Result


@dataclass(frozen=True, slots=True)
class Stored:
    """A decided block that is durable, and for a barrier block the rules in force above it."""

    block: CommittedBlock
    next_rules: ChannelRules | None


@dataclass(frozen=True, slots=True)
class Executed:
    """A block's execution, and for a barrier block the rules in force above it."""

    execution: Execution
    next_rules: ChannelRules | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A decided block, to be made durable; ``certificate`` is that of the last of ``links``, or its own."""

    block_hash: bytes
    header: Header
    result: Result
    certificate: CommitCertificate
    links: Links
    transactions: Sequence[Transaction]

    @classmethod
    def of(cls, decided: Decided, transactions: Sequence[Transaction]) -> Decision:
        """What the replica decided, with its body."""
        proof = (decided.certificate, decided.links)
        return cls(decided.block_hash, decided.header, decided.result, *proof, transactions)


class UnknownBranch(Exception):
    """The parent of a block is neither the head nor an executed block above it."""


class Applier:
    """One channel's blocks and state. Not thread-safe: every method runs in the channel's worker thread."""

    def __init__(self, store: ChannelStore, executor: Executor, created_ms: int, stages: StageTimes) -> None:
        self._store: Final = store
        self._executor: Final = executor
        self._stages: Final = stages
        self._executions: dict[bytes, Execution] = {}
        self._branches: dict[bytes, StateReader] = {}
        self._merged: dict[bytes, GrowingOverlay] = {}  # those of them that are one layer, which nothing else rests on
        stored = store.head
        timestamp_ms = created_ms if stored.header is None else stored.header.timestamp_ms
        self.head = AppliedHead(stored.height, stored.block_hash, timestamp_ms, stored.result)

    def judge(self, header: Header, transactions: Sequence[Transaction]) -> str | None:
        """Why no replica may accept the block (amendment U9), or None; signatures are checked elsewhere.

        Raises UnknownBranch when its parent was dropped meanwhile.
        """
        failpoints.reach("apply.before_judge")
        branch, timestamp_ms, _ = self._parent(header.parent_hash)
        with self._stages.measure("check", len(transactions)):
            return self._executor.check_block(branch, timestamp_ms, header, transactions)

    def execute(self, block_hash: bytes, header: Header, transactions: Sequence[Transaction]) -> Executed:
        """Execute the block on its branch. Raises UnknownBranch when its parent was dropped meanwhile."""
        execution = self._executions.get(block_hash)
        if execution is None:
            branch, _, parent_result = self._parent(header.parent_hash)
            failpoints.reach("apply.before_execute")
            with self._stages.measure("execute", len(transactions)):
                execution = self._executor.execute(branch, parent_result, header, transactions)
            failpoints.reach("apply.after_execute")
            self._executions[block_hash] = execution
        if not header.barrier:
            return Executed(execution, None)
        return Executed(execution, rules_of(self._executor.configuration(self._branch(block_hash, execution))))

    def execute_twice(self, block_hash: bytes, transactions: Sequence[Transaction]) -> tuple[Execution, Execution]:
        """The execution at hand of a block and a new one, to see whether they are equal. Raises UnknownBranch."""
        known = self._executions.get(block_hash)
        if known is None:
            raise UnknownBranch
        branch, _, parent_result = self._parent(known.header.parent_hash)
        return known, self._executor.execute(branch, parent_result, known.header, transactions)

    def discard(self, block_hashes: Sequence[bytes]) -> None:
        """Forget speculative executions whose blocks lost their place."""
        for block_hash in block_hashes:
            self._executions.pop(block_hash, None)
            self._branches.pop(block_hash, None)
            self._merged.pop(block_hash, None)

    def commit(
        self,
        block_hash: bytes,
        header: Header,
        result: Result,
        certificate: CommitCertificate,
        links: Links,
        transactions: Sequence[Transaction],
    ) -> Stored:
        """``commit_all`` of one block."""
        return self.commit_all([Decision(block_hash, header, result, certificate, links, transactions)])[0]

    def commit_all(self, decisions: Sequence[Decision]) -> list[Stored]:
        """Make decided blocks, each on the one before, durable with one write. Raises StorageError, after which this
        process must not go on."""
        group: list[BlockToStore] = []
        stored: list[Stored] = []
        for decision in decisions:
            failpoints.reach("apply.before_decided")
            executed = self.execute(decision.block_hash, decision.header, decision.transactions)
            execution, header = executed.execution, decision.header
            if execution.result != decision.result:
                # The replica compares before it decides; whoever gets here would write a state that nobody certified.
                raise StorageError(
                    f"the result of block {header.height} is not the certified one; state or code differs",
                    StorageReason.RESULT_DIFFERS,
                )
            group.append(_to_store(decision, execution))
            block = CommittedBlock(header, decision.block_hash, decision.result, execution.receipt_objects)
            stored.append(Stored(block, executed.next_rules))
        if len(group) > 1:
            failpoints.reach("apply.before_group")
        failpoints.reach("apply.before_commit")
        with self._stages.measure("store", sum(len(decision.transactions) for decision in decisions)):
            self._store.commit_all(group)
        failpoints.reach("apply.after_commit")
        top = decisions[-1]
        self.head = AppliedHead(top.header.height, top.block_hash, top.header.timestamp_ms, top.result)
        # What remains above the head rests on the store from now on; siblings of what is decided are void.
        self._branches.clear()
        self._merged.clear()
        for other in [h for h, e in self._executions.items() if e.header.height <= top.header.height]:
            del self._executions[other]
        return stored

    def _parent(self, parent_hash: bytes) -> tuple[StateReader, int, Result]:
        """State, time and result of the block that the next one extends."""
        if parent_hash == self.head.block_hash:
            return self._store.state, self.head.timestamp_ms, self.head.result
        parent = self._executions.get(parent_hash)
        if parent is None:
            raise UnknownBranch
        return self._branch(parent_hash, parent), parent.header.timestamp_ms, parent.result

    def _branch(self, block_hash: bytes, execution: Execution) -> StateReader:
        branch = self._branches.get(block_hash)
        if branch is not None:
            return branch
        parent_hash = execution.header.parent_hash
        merged = self._merged.pop(parent_hash, None)
        if merged is not None:
            del self._branches[parent_hash]
            merged.take(execution.changes)
        elif len(path := self._path(execution)) > NESTED_MAX:
            merged = GrowingOverlay(self._store.state)
            for each in path:
                merged.take(each.changes)
        if merged is None:
            below, _, _ = self._parent(parent_hash)
            branch = Overlay(below, execution.changes)
        else:
            branch = self._merged[block_hash] = merged
        self._branches[block_hash] = branch
        return branch

    def _path(self, execution: Execution) -> list[Execution]:
        """The executions from the head up to this one. Raises UnknownBranch when one of them was dropped."""
        path = [execution]
        while path[-1].header.parent_hash != self.head.block_hash:
            below = self._executions.get(path[-1].header.parent_hash)
            if below is None:
                raise UnknownBranch
            path.append(below)
        path.reverse()
        return path


def _to_store(decision: Decision, execution: Execution) -> BlockToStore:
    header, result, transactions = decision.header, decision.result, decision.transactions
    block = DecidedBlock(
        header,
        result,
        decision.certificate.encode(),
        tuple((above.encode(), outcome.encode()) for above, outcome in decision.links),
        tuple(transaction.envelope for transaction in transactions),
        execution.receipts,
        tuple(transaction.tx_id for transaction in transactions),
    )
    ends_epoch = result.next_valset_hash != header.valset_hash
    return BlockToStore(block, execution.changes, execution.next_validators.members if ends_epoch else ())


def storage_groups(decided: Sequence[Decided]) -> list[list[Decided]]:
    """What is stored with one write: blocks of consensus singly, since somebody waits for each; those of catch-up that
    were decided together, one or two of its batches. A block that changes the rules ends its group."""
    groups: list[list[Decided]] = []
    for each in decided:
        last = groups[-1][-1] if groups else None
        if last is not None and last.synced and each.synced and not last.header.barrier:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def rules_of(configuration: Configuration) -> ChannelRules:
    """What acceptance rules read of the channel's configuration (amendment U13)."""
    return ChannelRules(
        validator_set(configuration),
        configuration.param("window"),
        configuration.param("block_txs_max"),
        configuration.param("block_bytes_max"),
    )
