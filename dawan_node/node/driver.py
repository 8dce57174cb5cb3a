"""The driver of one channel: the single writer that feeds the replica and carries out what it wants.

One task owns the replica. Everything else (links, worker thread, timers) leaves *inputs* in a bounded queue; the
driver takes what is there, steps the replica with all of it, takes ``ready()`` once, and carries it out in the order
the protocol demands (see ``consensus.replica``): the log first, one fsync, and only then whatever relies on it.

    inputs -> step* -> maybe propose -> ready -> log + fsync -> send, gather, execute, commit -> inputs ...

Batching falls out of this: whatever arrives during an fsync is handled in one turn after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from dawan_node.client_window import ClientWindow
from dawan_node.consensus.agreement import ProposalSlot
from dawan_node.consensus.config import ChannelRules
from dawan_node.consensus.messages import Message
from dawan_node.consensus.ready import Acquire, Decided, Evidence, Execute, Ready
from dawan_node.consensus.records import Record
from dawan_node.consensus.replica import Replica
from dawan_node.errors import InvalidMessage
from dawan_node.mempool import Mempool, replay_keys
from dawan_node.mempool_watch import MempoolWatch
from dawan_node.node.accuser import EVIDENCE_RECORD, encode_record
from dawan_node.node.alarms import Alarms
from dawan_node.node.applier import Applier, Decision, Executed, Stored, UnknownBranch, storage_groups
from dawan_node.node.bodies import BODIES_RECORD, BlockBody, Bodies
from dawan_node.node.clock import Clock
from dawan_node.node.event_bus import CommittedBlock
from dawan_node.node.gatherer import Gatherer
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.logs import fields
from dawan_node.node.metrics import StageTimes
from dawan_node.node.pacing import BATCH_BYTES, BATCH_DELAY_MS, Pacing
from dawan_node.node.runtime import Jobs
from dawan_node.node.wake_timer import WakeTimer
from dawan_node.node.watching import Watching
from dawan_node.primitives.block import Header
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.wal import WalRecord
from dawan_node.sync import SyncedBlock

log = logging.getLogger(__name__)

#: Consensus messages waiting for a turn. A turn takes milliseconds; n = 22 with W = 4 sends some 200 votes per block.
#: What exceeds it is dropped like a lost message and repaired by STATUS.
INPUTS_MAX: Final = 20_000
#: Messages per turn, so that one turn (about 60 us a vote) stays well below the 250 ms a loop may be blocked.
TURN_MAX: Final = 500
#: How long the driver sleeps at most. Whatever comes in wakes it, and so does the next timer; this is for a wall clock
#: that is set back under a timer. An idle channel costs a turn each time.
TICK_MS: Final = 250

#: Evidence kept for the operator; the replica keeps one per voter, epoch and kind.
EVIDENCE_MAX: Final = 64

_PARENT_GONE: Final = "its parent was dropped"


class Sender(Protocol):
    """How consensus messages leave."""

    def consensus(self, validators: ValidatorSet, to: tuple[int, ...] | None, payload: bytes) -> None:
        """Send to these indexes of ``validators``, or to all others of them."""
        ...

    def again(self, transactions: Sequence[Transaction]) -> None:
        """Send waiting transactions to all validators once more (amendment L7)."""
        ...


class Listener(Protocol):
    """Who hears what the driver did. Called on the event loop, after the store."""

    def committed(self, block: CommittedBlock, validators: ValidatorSet, waited: int) -> None:
        """A block is durable; ``validators`` vote on the next one; so many of its transactions ``waited`` here."""
        ...

    def accused(self, evidence: Evidence) -> None:
        """The replica holds evidence against a validator."""
        ...

    def wanted_range(self, height: int, holders: tuple[int, ...]) -> None:
        """The replica is behind and asks for catch-up."""
        ...

    def synced(self, failure: str | None) -> None:
        """Blocks that catch-up handed in are stored, or why one of them, and so all after it, was not taken."""
        ...


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A block that is not stored yet: what the blocks above it may not hold again (leaf hashes and replay keys), and
    its size."""

    parent_hash: bytes
    names: frozenset[bytes]
    count: int
    bytes: int
    barrier: bool


class Driver:
    """Owns one replica. ``run`` is its task; every other method is called on the event loop."""

    def __init__(
        self,
        channel: str,
        chain_id: bytes,
        replica: Replica,
        rules: ChannelRules,
        applier: Applier,
        pool: Mempool,
        watch: MempoolWatch,
        window: ClientWindow,
        bodies: Bodies,
        gatherer: Gatherer,
        worker: Jobs,
        log_writer: LogWriter | None,
        sender: Sender,
        listener: Listener,
        clock: Clock,
        stages: StageTimes,
        wake: asyncio.Event,
    ) -> None:
        """``log_writer`` is None on a node that never signs."""
        self.replica: Final = replica
        self._channel: Final = channel
        self._chain_id: Final = chain_id
        self._applier: Final = applier
        self._pool: Final = pool
        self._watch: Final = watch
        self._window: Final = window
        self._watching: Final = Watching(channel, replica, pool, watch, clock, sender.again)
        self._bodies: Final = bodies
        self._gatherer: Final = gatherer
        self._worker: Final = worker
        self._log_writer: Final = log_writer
        self._sender: Final = sender
        self._listener: Final = listener
        self._clock: Final = clock
        self._stages: Final = stages
        self._wake: Final = wake
        self._timer: Final = WakeTimer(wake.set)
        self._inputs: deque[Callable[[], None]] = deque()
        self._rules = rules
        self._in_flight: dict[bytes, _InFlight] = {}
        self._wanted: dict[bytes, Acquire] = {}
        #: Gathered blocks whose parent is still running, by parent hash: they are judged on its state.
        self._waiting_for_parent: dict[bytes, list[BlockBody]] = {}
        self._executed: set[bytes] = set()
        #: On the monotonic clock, like the gatherer's times: a corrected wall clock must not stop a primary.
        self._attempt_due_ms: int | None = None
        self._head_ms = applier.head.timestamp_ms
        self._pacing: Final = Pacing()
        self._syncing: deque[SyncedBlock] = deque()
        self.last_commit_ms: int | None = None
        self.alarms: Final = Alarms(channel, applier, bodies, worker)
        self.evidence: deque[Evidence] = deque(maxlen=EVIDENCE_MAX)
        self.dropped = 0

    # Inputs

    def message(self, message: Message, link: int) -> None:
        """A consensus message that came over the link of validator ``link`` (-1: of a node that is none)."""
        if len(self._inputs) >= INPUTS_MAX:
            self.dropped += 1
            return
        self._add(partial(self._step, message, link))

    def peer_up(self, link: int) -> None:
        """A validator's link is up."""
        self._add(partial(self._watching.link_up, link))

    def wake(self) -> None:
        """Something changed that the next turn should look at: the pool, the gatherer."""
        self._wake.set()

    @property
    def is_syncing(self) -> bool:
        """Whether blocks of catch-up are on their way through the worker."""
        return bool(self._syncing)

    def apply_synced(self, blocks: Sequence[SyncedBlock]) -> None:
        """Execute proven blocks of catch-up, in order; each goes on as a decision of the replica if it is still the
        next one. Decoding and executing is one job for all of them; one fsync makes their decisions durable, and one
        more their blocks."""
        self._syncing.extend(blocks)

        def job() -> list[tuple[BlockBody, Executed] | None]:
            done: list[tuple[BlockBody, Executed] | None] = []
            for block in blocks:
                if block.header.height <= self._applier.head.height:
                    done.append(None)  # consensus was faster; what stands on it may still be of use
                    continue
                body = BlockBody.certified(block.block_hash, block.envelopes)
                try:
                    done.append((body, self._applier.execute(block.block_hash, block.header, body.transactions)))
                except UnknownBranch:
                    break  # a block below was not taken
            return done

        self._worker.submit(job, partial(self._synced_executed, blocks))

    # The task

    async def run(self) -> None:
        """Drive until cancelled. Raises whatever must stop the node."""
        while True:
            await self._sleep()
            self.turn()
            while ready := self.replica.ready():
                records = [*self.log_records(ready.records), *self.log_evidence(ready.evidence)]
                if self._log_writer is not None and records:
                    await self._log_writer.append(records)
                self.carry_out(ready)
            if self._inputs:
                self._wake.set()
                await asyncio.sleep(0)  # a busy channel leaves room for the others

    def turn(self) -> None:
        """Feed the replica with what has come in. The caller then takes each ``ready``, makes its records durable, and
        has it carried out. Raises whatever must stop the node."""
        if self._worker.failure is not None:
            raise self._worker.failure
        now_ms = self._clock.wall_ms()
        for _ in range(min(len(self._inputs), TURN_MAX)):
            self._inputs.popleft()()
        self._gatherer.poll(self._clock.monotonic_ms())
        self._take_gathered()
        self._watching.look([block.names for block in self._in_flight.values()], self._head_ms, self._batch_bytes)
        self.replica.tick(now_ms)
        self._maybe_propose(now_ms)

    @property
    def has_inputs(self) -> bool:
        """Whether the next turn has something to feed."""
        return bool(self._inputs)

    def wait_ms(self) -> int | None:
        """How long until the next turn is due when nothing comes in; None: for ever."""
        waits = []
        due = self.replica.next_deadline()
        if due is not None:
            waits.append(due - self._clock.wall_ms())
        now_ms = self._clock.monotonic_ms()
        due_at = (self._gatherer.next_deadline(), self._attempt_due_ms, self._watching.due_ms())
        waits += [at - now_ms for at in due_at if at is not None]
        return min(waits, default=None)

    async def _sleep(self) -> None:
        due_ms = self.wait_ms()
        wait_ms = TICK_MS if due_ms is None else min(TICK_MS, due_ms)
        if wait_ms > 0 and not self._wake.is_set():
            self._timer.ring_within(wait_ms)
            await self._wake.wait()
        self._wake.clear()

    def _add(self, work: Callable[[], None]) -> None:
        self._inputs.append(work)
        self._wake.set()

    def _step(self, message: Message, link: int) -> None:
        try:
            self.replica.step(message, link if link >= 0 else None, self._clock.wall_ms())
        except InvalidMessage as error:
            log.warning("message_refused", extra=fields(channel=self._channel, link=link, reason=str(error)))

    @property
    def _batch_bytes(self) -> int:
        return min(BATCH_BYTES, self._rules.block_bytes_max)

    # Proposing

    def _maybe_propose(self, now_ms: int) -> None:
        self._attempt_due_ms = None
        if not len(self._pool):
            return
        for _ in range(self._rules.window):
            slot = self.replica.proposal_slot()
            if slot is None or not self._propose(slot, now_ms):
                return

    def _propose(self, slot: ProposalSlot, now_ms: int) -> bool:
        """Propose one block if a batch is ready. Picking and proposing happen at one moment, so the block's time is
        the one its transactions were picked for. Where it is not and time alone changes that, ``_attempt_due_ms`` says
        when; everything else that could is an input, and so a turn."""
        branch = self._branch(slot.parent_hash)
        if branch is None or any(block.barrier for block in branch):
            return False  # decided, but not stored: others would refuse what only the rules below it allow
        waiting = len(self._pool) - sum(block.count for block in branch)
        waiting_bytes = self._pool.size_bytes - sum(block.bytes for block in branch)
        if waiting <= 0:
            return False
        per_s, window = self._window.per_s(self._clock.monotonic_ms()), self._rules.window
        if not self._pacing.has_room([block.count for block in branch], per_s, window):
            return False  # the next block that is stored makes room
        enough = min(self._rules.block_txs_max, self._pacing.block_txs(per_s, window))
        is_full = waiting >= enough or waiting_bytes >= self._batch_bytes
        ready_at_ms = self._pacing.ready_at_ms(in_flight=bool(branch))
        if not is_full and self._clock.monotonic_ms() < ready_at_ms:
            self._attempt_due_ms = ready_at_ms
            return False
        start_ns = time.thread_time_ns()
        batch = self._pool.reap(
            self._rules.block_txs_max,
            self._batch_bytes,
            slot.block_time_ms(now_ms),
            frozenset().union(*(block.names for block in branch)),
            enough,
        )
        if not batch:
            self._attempt_due_ms = self._clock.monotonic_ms() + BATCH_DELAY_MS  # what waits may be valid later
            return False
        leaves = [transaction.leaf_hash for transaction in batch]
        if is_full:
            self._pacing.filled(map(self._pool.organisation_of, leaves), self._clock.monotonic_ms())
        size = sum(len(transaction.envelope) for transaction in batch)
        header = self.replica.propose(slot, leaves, size, batch[0].is_barrier, now_ms)
        if header is None:
            return False
        self._pacing.proposed(header.hash, bool(branch), self._clock.monotonic_ms())
        self._hold(header, BlockBody(header.hash, tuple(batch)))
        self._stages.add("propose", time.thread_time_ns() - start_ns, len(batch))
        return True

    def _branch(self, parent_hash: bytes) -> list[_InFlight] | None:
        """The blocks that are not stored from the head up to ``parent_hash``. None when one of them is not here: a view
        change dropped it, this one brings it back, and nobody can tell yet which transactions it holds."""
        branch: list[_InFlight] = []
        leads_to_head = parent_hash == self.replica.block_hash
        while (block := self._in_flight.get(parent_hash)) is not None:
            branch.append(block)
            parent_hash = block.parent_hash
            leads_to_head |= parent_hash == self.replica.block_hash
        return branch if leads_to_head else None

    def _hold(self, header: Header, body: BlockBody) -> None:
        self._bodies.add(body)
        if body.block_hash not in self._in_flight:
            names = frozenset(body.leaf_hashes) | replay_keys(body.transactions)
            self._in_flight[body.block_hash] = _InFlight(
                header.parent_hash, names, header.tx_count, header.body_bytes, header.barrier
            )

    # Carrying out

    def carry_out(self, ready: Ready) -> None:
        """Do what a ``ready`` says whose records are durable."""
        for outgoing in ready.messages:
            self._sender.consensus(outgoing.validators, outgoing.to, outgoing.payload)
        # What lost its place goes first: the same block may be wanted again in the same breath.
        if ready.discard:
            self._discard(ready.discard)
        for block_hash in ready.release:
            self._forget(block_hash)
        for acquire in ready.acquire:
            self._wanted[acquire.block_hash] = acquire
            self._gatherer.want(acquire, self._clock.monotonic_ms())
        for execute in ready.execute:
            self._execute(execute)
        for group in storage_groups(ready.decide):
            self._commit(group)
        if ready.sync is not None:
            self._listener.wanted_range(ready.sync.height, ready.sync.holders)
        self.alarms.report(ready.alarms)
        for evidence in ready.evidence:
            self.evidence.append(evidence)
            self._listener.accused(evidence)
            log.warning(
                "evidence",
                extra=fields(channel=self._channel, kind=evidence.kind.value, voter=evidence.voter),
            )
        self._take_gathered()

    def log_records(self, records: Sequence[Record]) -> list[WalRecord]:
        """The records as the log takes them, and before the first one of a block the block's bodies: one fsync for all
        (amendment U5)."""
        written: list[WalRecord] = []
        for record in records:
            if record.pins and record.block_hash is not None:
                body = self._bodies.to_log(record.block_hash)
                if body is not None:
                    written.append(WalRecord(self._chain_id, BODIES_RECORD, body.encode_record()))
            written.append(WalRecord(self._chain_id, int(record.kind), record.payload))
        return written

    def log_evidence(self, evidence: Sequence[Evidence]) -> list[WalRecord]:
        """Evidence as the log takes it; what is too large for it stays in memory."""
        payloads = [encode_record(each) for each in evidence]
        return [WalRecord(self._chain_id, EVIDENCE_RECORD, payload) for payload in payloads if payload]

    # Judging: gathered blocks, on the state of their parent

    def _take_gathered(self) -> None:
        for gathered in self._gatherer.take_done():
            acquire = self._wanted.get(gathered.block_hash)
            if acquire is None:
                continue
            if gathered.body is None:
                del self._wanted[gathered.block_hash]
                self.replica.acquired(gathered.block_hash, False, gathered.reason)
                continue
            self._hold(acquire.header, gathered.body)
            self._judge(acquire, gathered.body)

    def _judge(self, acquire: Acquire, body: BlockBody) -> None:
        parent_hash = acquire.header.parent_hash
        if parent_hash in self._in_flight and parent_hash not in self._executed:
            self._waiting_for_parent.setdefault(parent_hash, []).append(body)
            return

        def job() -> str | None:
            try:
                return self._applier.judge(acquire.header, body.transactions)
            except UnknownBranch:
                return _PARENT_GONE

        self._worker.submit(job, partial(self._judged, body))

    def _judged(self, body: BlockBody, reason: str | None) -> None:
        acquire = self._wanted.get(body.block_hash)
        if acquire is None:
            return
        if reason == _PARENT_GONE:
            self._waiting_for_parent.setdefault(acquire.header.parent_hash, []).append(body)
            return
        del self._wanted[body.block_hash]
        leaves = body.leaf_hashes if acquire.leaf_hashes is None else None
        self._add(lambda: self.replica.acquired(body.block_hash, reason is None, reason or "", leaves))

    # Executing and storing, in the worker thread

    def _execute(self, execute: Execute) -> None:
        body = self._bodies.get(execute.block_hash)
        assert body is not None, "a block is executed only after its bodies were acquired"
        self._hold(execute.header, body)  # a view change may have dropped it, and a later one brought it back

        def job() -> Executed | None:
            try:
                return self._applier.execute(execute.block_hash, execute.header, body.transactions)
            except UnknownBranch:
                return None

        self._worker.submit(job, partial(self._on_executed, execute.block_hash))

    def _on_executed(self, block_hash: bytes, executed: Executed | None) -> None:
        if executed is None:
            return
        for fault in executed.execution.faults:
            log.error(
                "module_fault",
                extra=fields(
                    channel=self._channel,
                    height=executed.execution.header.height,
                    index=fault.index,
                    command=fault.command,
                    error=fault.error,
                ),
            )
        self._executed.add(block_hash)
        self._add(lambda: self.replica.executed(block_hash, executed.execution.result, executed.next_rules))
        self._judge_children(block_hash)

    def _judge_children(self, block_hash: bytes) -> None:
        """The state after ``block_hash`` is there: judge the gathered blocks that stand on it."""
        for body in self._waiting_for_parent.pop(block_hash, ()):
            acquire = self._wanted.get(body.block_hash)
            if acquire is not None:
                self._judge(acquire, body)

    def _discard(self, block_hashes: Sequence[bytes]) -> None:
        """These blocks lost their place; their transactions were never taken out of the pool."""
        for block_hash in block_hashes:
            self._in_flight.pop(block_hash, None)
            self._executed.discard(block_hash)
            self._wanted.pop(block_hash, None)
            self._waiting_for_parent.pop(block_hash, None)
            self._gatherer.forget(block_hash)
        self._worker.submit(partial(self._applier.discard, tuple(block_hashes)), _nothing)

    def _commit(self, group: Sequence[Decided]) -> None:
        bodies = [self._bodies.get(decided.block_hash) for decided in group]
        held = [body for body in bodies if body is not None]
        assert len(held) == len(group), "a block is decided only after its bodies were acquired"
        decisions = [Decision.of(decided, body.transactions) for decided, body in zip(group, held, strict=True)]
        self._worker.submit(partial(self._applier.commit_all, decisions), partial(self._committed, group, held))

    def _committed(self, group: Sequence[Decided], bodies: Sequence[BlockBody], stored: Sequence[Stored]) -> None:
        for decided, body, outcome in zip(group, bodies, stored, strict=True):
            self._publish(decided, body, outcome)
        height = group[-1].header.height
        self._add(lambda: self.replica.applied(height))
        if self._syncing and self._syncing[0].header.height <= height:
            while self._syncing and self._syncing[0].header.height <= height:
                self._syncing.popleft()
            self._listener.synced(None)

    def _publish(self, decided: Decided, body: BlockBody, stored: Stored) -> None:
        with self._stages.measure("publish", len(body.transactions)):
            self._in_flight.pop(decided.block_hash, None)
            self._executed.discard(decided.block_hash)
            self._watch.decided(
                body.transactions,
                decided.header.timestamp_ms,
                self._rules.block_txs_max,
                self._batch_bytes,
                self._clock.wall_ms(),
            )
            self._head_ms = decided.header.timestamp_ms
            waited = len(self._pool)
            self._pool.remove_decided(body.transactions)
            self.last_commit_ms = self._clock.monotonic_ms()
            self._pacing.stored(decided.block_hash, self.last_commit_ms)
            if stored.next_rules is not None:
                self._rules = stored.next_rules
            self._listener.committed(stored.block, self._rules.validators, waited - len(self._pool))
        self._judge_children(decided.block_hash)

    def _forget(self, block_hash: bytes) -> None:
        self._in_flight.pop(block_hash, None)
        self._executed.discard(block_hash)
        self._wanted.pop(block_hash, None)
        self._waiting_for_parent.pop(block_hash, None)
        self._gatherer.forget(block_hash)
        self._bodies.release(block_hash)

    # Catch-up

    def _synced_executed(
        self, blocks: Sequence[SyncedBlock], done: Sequence[tuple[BlockBody, Executed] | None]
    ) -> None:
        self._add(partial(self._decide_synced, blocks, done))

    def _decide_synced(self, blocks: Sequence[SyncedBlock], done: Sequence[tuple[BlockBody, Executed] | None]) -> None:
        """Hand synced blocks to the replica. They come back in ``Ready.decide``."""
        waiting = {id(block) for block in self._syncing}
        for block, outcome in zip(blocks, done, strict=False):
            if outcome is None or id(block) not in waiting:
                continue  # consensus decided it meanwhile, or one below it was not taken
            reason = self._decide_one(block, *outcome)
            if reason is not None:
                self._refuse_synced(reason)
                return
        if any(id(block) in waiting for block in blocks[len(done) :]):
            self._refuse_synced("it stands on a block that was not taken")

    def _decide_one(self, block: SyncedBlock, body: BlockBody, executed: Executed) -> str | None:
        """Why the block is not taken, or None."""
        if executed.execution.result != block.result:
            found = ", ".join(sorted({tx.body.module for tx in body.transactions}))
            return f"executing it here gives another result than the certified one (commands of {found})"
        if block.header.height <= self.replica.height:
            return None  # decided already; it is stored, or on its way there
        self._bodies.add(body)
        self._executed.add(block.block_hash)
        try:
            if self.replica.decided_by_sync(
                block.header,
                block.result,
                block.certificate,
                block.links,
                block.leaf_hashes,
                self._clock.wall_ms(),
                executed.next_rules,
            ):
                # Until it is stored the pool still has its transactions, which must not be proposed above it.
                self._hold(block.header, body)
                return None
            reason = "the replica has stopped, or stands on another block"
        except InvalidMessage as error:
            reason = str(error)
        if block.block_hash not in self._in_flight:
            self._executed.discard(block.block_hash)
            self._bodies.release(block.block_hash)
        return reason

    def _refuse_synced(self, reason: str) -> None:
        self._syncing.clear()
        self._listener.synced(reason)


def _nothing(_: None) -> None:
    pass
