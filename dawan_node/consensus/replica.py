"""Replica: one validator's (or observer's) part in PBFT on one channel, without any I/O.

**What it is.** A state machine. Inputs are method calls that carry everything they need, the time included; outputs
are collected and handed over by ``ready()``. It has no clock, threads, randomness, files or sockets, it never sees a
transaction body, and the same inputs give the same outputs byte for byte. So a simulator can run a hundred of them
through years of faults in seconds, and a bug found there is a bug found for good.

**The driver's loop.** One task owns a replica and is the only one to call it::

    wal_records, bodies = wal.replay(channel)              # bodies: those pinned in the log, by block hash
    replica = Replica(config, signer, head, wal_records, clock.now_ms())
    while running:
        event = next input, or the passing of replica.next_deadline()
        match event:
            message:    replica.step(payload, link_validator, now)      # raises InvalidMessage: that peer's fault
            link up:    replica.link_up(validator, now)
            timeout:    replica.tick(now)
            bodies:     replica.acquired(block_hash, ok, reason, leaf_hashes)   # answers Acquire
            execution:  replica.executed(block_hash, result, next_rules)        # answers Execute
            stored:     replica.applied(height)                                 # after the store's own sync
            pool:       replica.work_pending(has_work, now)         # both from MempoolWatch.look, some times a second
                        replica.complain(is_anything_left_out, now)
            catch-up:   replica.decided_by_sync(header, result, certificate, links, leaf_hashes, now)
        if slot := replica.proposal_slot():                             # this replica is primary and may propose
            transactions = mempool.reap(block_time=slot.block_time_ms(now))
            header = replica.propose(slot, leaf_hashes, body_bytes, barrier, now)
        while ready := replica.ready():
            wal.append(ready.records)          # before the first record that pins a block: its bodies (U5)
            wal.sync()                         # one fsync; group several channels in it
            send(ready.messages)               # only now: whatever was signed is on disk (A4)
            for block in ready.decide: applier.store(block)             # in order; then replica.applied(height)
            drop(ready.discard); free(ready.release)                    # first: it may be the same block
            start(ready.acquire, ready.execute)
            sync.request(ready.sync); log(ready.alarms); keep(ready.evidence)

The order inside one ``Ready`` is part of the protocol. Records are on disk before anything else of the same ``Ready``
is acted upon, and one ``Ready``'s records before the next one's. The fsync may run in a thread while inputs go on;
then later ``Ready``s wait for their own.

- **Time.** ``now_ms`` is UTC milliseconds. Block timestamps are judged by it. Timers use its *differences*, and a step
  backwards counts as none, so a corrected clock stops nothing; hand in a clock that does not jump if there is one.
- **The primary under watch.** ``work_pending``: the pool holds a transaction that a block on top of the undecided ones
  could take, and that the primary must know of. Then it has to propose, fast enough (``pace``). ``complain``: it goes
  on proposing and leaves a transaction out; only who knows transactions can tell. Both say how things are *now*: repeat
  them, and take them back. They hold for ``view``, the view they were found in, and no complaint survives a new one.
- **Bodies.** ``Acquire`` asks the shell to gather and judge a block, and ``acquired`` with ok answers once for all.
  After a restart the blocks I voted for are asked for again; those pinned in the log are at hand. ``discard`` and
  ``release`` say when an overlay, and when bodies, are not needed any more.
- **Results.** A block is executed on its parent's overlay as soon as it is accepted or known to be final, so a result
  is usually there before the PREPAREs are.
- **Validators and observers.** With a ``signer`` whose key is in the current set the replica votes. Without one, or
  outside the set, it follows certificates and decides like everybody, and signs nothing. Validators send their
  consensus messages to each other only: observers, and validators that a newer epoch left out, hear of new blocks by
  the shell's announcements and get them through catch-up.
- **Restart.** Give all records of the channel in log order. A validator whose log is gone, does not open or is older
  than its store (``records.recorded_height``) must be built with ``signer=None`` until its key is replaced (U6).
- **n = 1** needs no timers and no peers; **n = 2, 3** tolerate a crash-free minority only, no lie at all (A10).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from dawan_node.consensus.agreement import Agreement, ProposalSlot
from dawan_node.consensus.block_tree import Bodies, Run
from dawan_node.consensus.chain import Final
from dawan_node.consensus.config import ChannelRules, Head, ReplicaConfig
from dawan_node.consensus.finality import Finality
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ProposalRequest,
    Status,
    Suspect,
    ViewChange,
    decode_message,
)
from dawan_node.consensus.ready import AlarmKind, Ready
from dawan_node.consensus.records import HaltedRecord, Record
from dawan_node.consensus.repair import Repair
from dawan_node.consensus.report import ReplicaStatus, report_of
from dawan_node.consensus.restore import Restorer, checkpoint
from dawan_node.consensus.signer import VoteSigner
from dawan_node.consensus.state import ReplicaState
from dawan_node.consensus.suspicion import Suspicion
from dawan_node.consensus.view_changer import ViewChanger
from dawan_node.crypto.signatures import Verify
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.validators import ValidatorSet


class Replica:
    """See the module's docstring. Every input is total: what is unknown or late does nothing."""

    def __init__(
        self,
        config: ReplicaConfig,
        signer: VoteSigner | None,
        head: Head,
        restored: Iterable[Record],
        now_ms: int,
    ) -> None:
        """``restored`` are all records of this channel in log order. Raises InvalidInput on records that this
        program did not write."""
        self._state = ReplicaState(config, signer, head, now_ms)
        self._finality = Finality(self._state)
        self._suspicion = Suspicion(self._state)
        self._view_changer = ViewChanger(self._state, self._finality, self._suspicion)
        self._agreement = Agreement(self._state, self._finality, self._view_changer, self._suspicion)
        self._repair = Repair(self._state, self._agreement, self._view_changer)
        self._restorer = Restorer(self._state, self._agreement, self._view_changer)
        self._restored_epoch = head.epoch
        self._rejected = 0
        #: When ``tick`` has something to do, on the timer clock, as of the last input; ``_next_due`` finds it anew.
        self._due: int | None = None
        self._is_due_known = False
        self._restorer.load(restored)
        self._advance()

    # --- inputs ------------------------------------------------------------------------------------------------

    def step(self, message: bytes | Message, link_validator: int | None, now_ms: int) -> None:
        """A message that came over the link of ``link_validator`` (its index in the current epoch, None for a peer that
        is no validator). Raises InvalidMessage only for bytes that are no message; a message that proves nothing is
        counted and dropped."""
        if isinstance(message, bytes):
            message = decode_message(message)
        self._pass_time(now_ms)
        if self._state.halted is not None and not isinstance(message, Status):
            return
        if link_validator is not None:
            self._suspicion.heard(link_validator)
        was_listening = self._state.listening is not None
        try:
            self._dispatch(message, link_validator)
        except InvalidMessage:
            self._rejected += 1
        has_heard = was_listening and self._state.listening is None
        if has_heard or not isinstance(message, Status):  # else what others say of themselves changes nothing of mine
            self._advance()

    def link_up(self, validator: int, now_ms: int) -> None:
        """The link to ``validator`` came up: say where this replica is."""
        self._pass_time(now_ms)
        # The link may have come up in an epoch that is over by now, with more validators.
        if not self._state.is_alone and validator < self._state.validators.n:
            self._repair.tell(validator)

    def tick(self, now_ms: int) -> None:
        """Time has passed: call when ``next_deadline`` is reached. Earlier calls cost nothing."""
        self._pass_time(now_ms)
        due = self._next_due()
        if due is None or self._state.clock < due:
            return
        if self._state.halted is None:
            self._suspicion.tick()
        self._repair.tick()
        self._advance()

    def next_deadline(self) -> int | None:
        """When ``tick`` is due, on the scale of ``now_ms``; None without timers (n = 1)."""
        due = self._next_due()
        return None if due is None else self._state.now_ms + max(0, due - self._state.clock)

    def complain(self, is_left_out: bool, now_ms: int) -> None:
        """Whether the primary of this ``view`` leaves transactions out while it commits others (consensus.md 1.6).

        While it does this replica wishes for another view, and says so every second; ``tick`` acts on it.
        """
        self._pass_time(now_ms)
        if self._state.left_out is not is_left_out:
            self._state.left_out = is_left_out
            self._advance()

    def work_pending(self, is_pending: bool, now_ms: int) -> None:
        """Whether the pool holds transactions that the primary must know of and a block could take now, beside those of
        the undecided blocks: then the primary is expected to act."""
        self._pass_time(now_ms)
        if self._state.work_pending is not is_pending:
            self._state.work_pending = is_pending
            self._advance()

    def acquired(
        self, block_hash: bytes, ok: bool, reason: str = "", leaf_hashes: Sequence[bytes] | None = None
    ) -> None:
        """The bodies of a block are here and were judged; ``reason`` says which rule they break when not ``ok``.

        Give ``leaf_hashes`` when ``Acquire`` did not: others may ask for the proposal.
        """
        block = self._state.tree.get(block_hash)
        if block is None or block.bodies is Bodies.HELD:
            return
        block.bodies = Bodies.HELD if ok else Bodies.REFUSED
        block.refusal = reason
        if not ok and block.certified:
            self._state.outbox.alarm(
                AlarmKind.CERTIFIED_REFUSED,
                f"a quorum accepted what this node refuses: {reason}",
                height=block.header.height,
            )
        if leaf_hashes is not None and block.leaf_hashes is None:
            block.leaf_hashes = tuple(leaf_hashes)
        self._advance()

    def executed(self, block_hash: bytes, result: Result, next_rules: ChannelRules | None = None) -> None:
        """The result of a block that ``Ready.execute`` named; ignored when it lost its place meanwhile (A3).

        ``next_rules`` must be given for a barrier block: the configuration in force above it.
        """
        block = self._state.tree.get(block_hash)
        if block is None or block.run is not Run.RUNNING:
            return
        assert result.block_hash == block_hash and result.height == block.header.height
        self._finality.executed(block, result, next_rules)
        self._advance()

    def applied(self, height: int) -> None:
        """Every decided block up to ``height`` is durably in the store."""
        self._finality.applied(height)

    def decided_by_sync(
        self,
        header: Header,
        result: Result,
        certificate: CommitCertificate,
        links: Sequence[tuple[Header, Result]],
        leaf_hashes: Sequence[bytes] | None,
        now_ms: int,
        next_rules: ChannelRules | None = None,
    ) -> bool:
        """The block above the head, fetched by catch-up, executed by the shell with exactly ``result``.

        It is decided like any other: it comes back in ``Ready.decide`` (``synced``) and is stored then. False when it
        is not the next block any more or this replica has stopped. Raises InvalidMessage when the proof is none.
        """
        self._pass_time(now_ms)
        leaves = None if leaf_hashes is None else tuple(leaf_hashes)
        final = Final(header.hash, header, result, result.hash, tuple(links), certificate, leaves)
        is_decided = self._finality.decided_by_sync(final, next_rules)
        self._advance()
        return is_decided

    def knows_of(self, certificate: CommitCertificate, validators: ValidatorSet, now_ms: int) -> bool:
        """Whether this replica may be taken up to a block that ``validators`` certified by other means than its blocks
        (a snapshot). False: the verified ``certificate`` holds a COMMIT of this key that was not written here, and the
        replica has stopped (U6)."""
        self._pass_time(now_ms)
        is_forged = self._finality.is_forged_in_my_name(certificate, validators)
        self._advance()
        return not is_forged

    def proposal_slot(self) -> ProposalSlot | None:
        """Non-None when this replica is primary and may propose now."""
        return self._agreement.proposal_slot()

    def propose(
        self, slot: ProposalSlot, leaf_hashes: Sequence[bytes], body_bytes: int, barrier: bool, now_ms: int
    ) -> Header | None:
        """Propose a block whose bodies the shell holds and has judged as it judges others' (``check_block``).

        Returns its header (timestamp ``slot.block_time_ms(now_ms)``), or None when the slot is gone. The bodies are
        pinned by the records of the next ``ready()``.
        """
        self._pass_time(now_ms)
        header = self._agreement.propose(slot, leaf_hashes, body_bytes, barrier)
        self._advance()
        return header

    # --- outputs -----------------------------------------------------------------------------------------------

    def ready(self) -> Ready:
        """Everything to be done since the last call; false when there is nothing."""
        return self._state.outbox.take()

    def status(self) -> ReplicaStatus:
        """Where this replica is and what it waits for, for people."""
        return report_of(self._state, self._view_changer, self._suspicion, self._rejected)

    def checkpoint_records(self) -> tuple[Record, ...]:
        """The complete state to be restored: what every new log segment begins with (U7).

        Call it between two ``ready()``; records still in the outbox are part of it.
        """
        return checkpoint(self._state, self._view_changer, self._restorer.waiting)

    @property
    def validators(self) -> ValidatorSet:
        """The validators of the current epoch: ``Outgoing.to`` and ``link_validator`` are indexes in it."""
        return self._state.validators

    @property
    def verify(self) -> Verify:
        """Checks a signature as this replica does, which then need not do it again: for catch-up, whose certificates
        it is given."""
        return self._state.verifier.is_valid

    @property
    def halted(self) -> HaltedRecord | None:
        """Why this channel has stopped for good, with both contradicting statements; None while it has not."""
        return self._state.halted

    @property
    def own_index(self) -> int | None:
        """This replica's index in the current epoch, None for an observer."""
        return self._state.own

    @property
    def view(self) -> tuple[int, int]:
        """The epoch, and the view in it that was entered last."""
        return self._state.chain.epoch, self._state.view

    @property
    def primary(self) -> int:
        """The index of the primary of ``view``."""
        return self._state.primary(self._state.view)

    @property
    def tip_hash(self) -> bytes:
        """The highest block accepted in this view, ``block_hash`` without any: what the next proposal stands on."""
        accepted = self._state.accepted_blocks()
        return accepted[-1].hash if accepted else self._state.chain.block_hash

    @property
    def height(self) -> int:
        """The highest decided height."""
        return self._state.chain.height

    @property
    def block_hash(self) -> bytes:
        """The block hash at ``height``."""
        return self._state.chain.block_hash

    # --- inside ------------------------------------------------------------------------------------------------

    def _next_due(self) -> int | None:
        if not self._is_due_known:
            due = self._repair.deadlines()
            if self._state.halted is None:
                due += self._suspicion.deadlines()
            self._due = min(due, default=None)
            self._is_due_known = True
        return self._due

    def _pass_time(self, now_ms: int) -> None:
        state = self._state
        elapsed_ms = max(0, now_ms - state.now_ms)
        self._suspicion.pace.pass_time(elapsed_ms)
        state.clock += elapsed_ms
        state.now_ms = now_ms

    def _dispatch(self, message: Message, link: int | None) -> None:
        epoch = self._state.chain.epoch
        match message:
            case Status():
                if link is not None:
                    self._repair.on_status(message, link)
            case Decision():
                self._finality.on_decision(message)
            case PrePrepare():
                if self._is_of_epoch(message.header.epoch, link):
                    self._agreement.on_pre_prepare(message)
            case Prepare():
                if self._is_of_epoch(message.epoch, link):
                    self._note_place(message, link)
                    self._agreement.on_prepare(message, link == message.voter)
            case Commit():
                if self._is_of_epoch(message.epoch, link):
                    self._note_place(message, link)
                    self._agreement.on_commit(message, link == message.voter)
            case Suspect():
                if message.epoch == epoch and link == message.voter:
                    self._suspicion.on_suspect(message)
            case ViewChange():
                if self._is_of_epoch(message.epoch, link):
                    self._view_changer.on_view_change(message)
            case NewView():
                if self._is_of_epoch(message.epoch, link):
                    self._view_changer.on_new_view(message)
            case ProposalRequest():
                if link is not None and link < self._state.validators.n:
                    self._agreement.on_proposal_request(message, link)
            case _:
                assert_never(message)

    def _note_place(self, vote: Prepare | Commit, link: int | None) -> None:
        """A vote above all that I keep says where its author is."""
        state = self._state
        if link == vote.voter and vote.height > state.chain.height + 2 * state.window and link < state.validators.n:
            self._repair.voted_above(link, vote.height)

    def _is_of_epoch(self, epoch: int, link: int | None) -> bool:
        """Another epoch's message is dropped; but one of us is behind, and a STATUS sets repair going (A7, L4)."""
        if epoch == self._state.chain.epoch:
            return True
        if link is not None and link < self._state.validators.n and link != self._state.own:
            self._repair.tell(link)
        return False

    def _advance(self) -> None:
        """Draw every consequence of the last input. Ends: each round decides a height, raises a view or target, or
        uses up votes kept for later."""
        self._is_due_known = False
        state = self._state
        while True:
            mark = (
                state.chain.epoch,
                state.chain.height,
                state.view,
                state.target,
                len(state.chain.certificates),
                state.halted is None,
            )
            self._finality.advance()
            if state.chain.epoch != self._restored_epoch:
                self._restored_epoch = state.chain.epoch
                self._restorer.apply()
            self._view_changer.advance()
            due, self._view_changer.due_votes = self._view_changer.due_votes, []
            for vote in due:
                if isinstance(vote, Prepare):
                    self._agreement.on_prepare(vote, True)
                else:
                    self._agreement.on_commit(vote, True)
            self._agreement.advance()
            if not due and mark == (
                state.chain.epoch,
                state.chain.height,
                state.view,
                state.target,
                len(state.chain.certificates),
                state.halted is None,
            ):
                break
        self._repair.advanced()
