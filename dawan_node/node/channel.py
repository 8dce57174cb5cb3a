"""One ledger on this node: its parts put together, and what arrives for it sent to the right part.

A channel owns a pool, a replica with its driver, a database with its worker thread, and catch-up. All of it lives on
the event loop but the worker; nothing here decides anything about blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from dawan_node import failpoints
from dawan_node.consensus.config import Head
from dawan_node.consensus.messages import decode_message
from dawan_node.consensus.ready import Evidence
from dawan_node.consensus.records import HaltedRecord
from dawan_node.errors import InvalidMessage
from dawan_node.execution.channel import seats
from dawan_node.execution.membership import MEMBERSHIP_EVENTS
from dawan_node.mempool import Mempool, MempoolLimits
from dawan_node.mempool_watch import FORWARDED_MS, PATIENCE_MS, MempoolWatch
from dawan_node.node.accuser import EVIDENCE_RECORD, Accuser
from dawan_node.node.admission import Admission, SignatureChecks
from dawan_node.node.applier import AppliedHead, Applier
from dawan_node.node.block_spreading import BlockSpreading
from dawan_node.node.bodies import BODIES_RECORD
from dawan_node.node.budget import (
    LEAVES_PER_US,
    REQUEST_US,
    STORED_LEAF_LIST_US,
    PeerBudgets,
)
from dawan_node.node.channel_parts import ChannelParts, Links
from dawan_node.node.clock import Clock
from dawan_node.node.driver import Driver
from dawan_node.node.event_bus import CommittedBlock, EventBus
from dawan_node.node.gatherer import Gatherer
from dawan_node.node.keeping import Keeping
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.logs import fields
from dawan_node.node.metrics import Metrics, Sample
from dawan_node.node.own_seat import OwnSeat, SeatState
from dawan_node.node.runtime import LoopRuntime, Runtime
from dawan_node.node.serving import Serving
from dawan_node.node.snapshots import Snapshots
from dawan_node.node.spreading import Spreading
from dawan_node.node.syncing import Syncing
from dawan_node.node.topics import Standing, Treatment, treatment
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import (
    BlockReply,
    FetchBlock,
    FetchTx,
    Origin,
    decode_fetch,
    txs_reply,
)
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.wal import WalRecord
from dawan_node.sync import Anchor
from dawan_node.sync.snapshot_messages import is_snapshot_message

log = logging.getLogger(__name__)

#: How often the slow duties run: time-outs of catch-up, repeated heads, expiry, overdue transactions.
DUTY_MS: Final = 250
#: Heads are repeated this often, so that a lost one costs no more.
HEAD_MS: Final = 1_000
#: consensus.md 1.6: a transaction that waits so long is sent to all validators again (amendment L7) ...
OVERDUE_MS: Final = FORWARDED_MS
#: ... so many at a time, the oldest first: 200 a second. Behind a long queue nearly everything is overdue and nearly
#: nothing is lost; ten times as many of them filled the links and took the nodes half of what they could commit ...
OVERDUE_MAX: Final = 50
#: ... and again this often: what was sent may be lost too, or its receivers may have been away all the while.
RESEND_ROUND_MS: Final = PATIENCE_MS
#: The request id under which envelopes travel unasked on topic FETCH; the gatherer asks with ids from 1.
RESENT: Final = 0


class Channel:
    """A running channel. Built on the event loop; ``run`` is its task."""

    def __init__(
        self,
        parts: ChannelParts,
        own_name: str,
        role: Role,
        verifier: SignatureChecks,
        log_writer: LogWriter | None,
        links: Links,
        clock: Clock,
        metrics: Metrics,
        budgets: PeerBudgets | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """``budgets`` are those of the whole node; a channel alone has its own. ``runtime`` is what runs the channel if
        it is not the event loop by ``run``."""
        self.genesis: Final = parts.genesis
        self.name: Final = parts.genesis.channel
        self.chain_id: Final = parts.genesis.chain_id
        self.store: Final = parts.store
        self.executor: Final = parts.executor
        self.bus: Final = EventBus()
        self._own_name: Final = own_name
        self._role: Final = role
        self._links: Final = links
        self._clock: Final = clock
        self._stages: Final = metrics.stages
        self._bodies: Final = parts.bodies
        self._budgets: Final = budgets or PeerBudgets(clock.monotonic_ms)
        self._loop: Final = LoopRuntime()
        self._runtime: Final = runtime or self._loop
        self._wake: Final = self._runtime.wake_up_call()
        self._worker: Final = self._runtime.jobs(f"channel-{self.name}", self._wake.set)
        applier = Applier(self.store, self.executor, self.genesis.created_ms, self._stages)
        self.head = applier.head
        configuration = self.executor.configuration(self.store.state)
        self.pool: Final = Mempool(MempoolLimits(), configuration.param("tx_lifetime_ms_max"))
        self.admission: Final = Admission(
            self.chain_id, self.executor, self.store, self.pool, verifier, clock, self._stages, self
        )
        self.admission.block_time_ms = applier.head.timestamp_ms
        self._gatherer: Final = Gatherer(
            self._bodies, self.pool.get, self.admission.is_checking, self._fetch_from, self._check_fetched
        )
        self.admission.is_wanted = self._gatherer.wants
        self._verifier: Final = verifier
        self._watch: Final = MempoolWatch(self.pool, self.admission.organisation_of, len(configuration.active_orgs))
        self.driver: Final = Driver(
            self.name,
            self.chain_id,
            parts.replica,
            parts.head.rules,
            applier,
            self.pool,
            self._watch,
            self.admission.window,
            self._bodies,
            self._gatherer,
            self._worker,
            log_writer,
            self,
            self,
            clock,
            self._stages,
            self._wake,
        )
        self._healing_to = parts.healing_to
        self.accuser: Final = Accuser(self.name, self.chain_id, parts.signer, self.store.state, parts.evidence)
        #: Called once when the channel is found to have stopped for good; the node connects it.
        self.on_halted: Callable[[HaltedRecord], None] = lambda halted: None
        self._names_by_key = {entry[3]: entry[0] for entry in configuration.validators}
        self._validators: ValidatorSet = parts.head.rules.validators
        self._serving: Final = Serving(self._bodies, self.pool, self.store, clock.monotonic_ms)
        self._syncing: Final = Syncing(
            self.name,
            self.chain_id,
            self._anchor(parts.head),
            parts.replica.verify,
            self.driver,
            self._serving,
            self._worker,
            self._runtime,
            links,
            self._budgets,
            clock,
            self.store.blocks,
        )
        #: Read by whoever asks how far the node is.
        self.catch_up: Final = self._syncing.catch_up
        self.sync_rate: Final = self._syncing.rate
        self.blocks: Final = BlockSpreading(
            self.name,
            self.chain_id,
            self._anchor(parts.head),
            parts.replica.own_index is None,
            parts.verify,
            self._syncing,
            self._serving,
            self._worker,
            self._runtime,
            links,
            self._budgets,
            clock,
            self.store.blocks,
        )
        self._syncing.on_head = self.blocks.on_head
        self._spreading: Final = Spreading(
            self.chain_id,
            role,
            self._receive,
            self._knows,
            self.pool.__contains__,
            self.blocks.on_message,
            self.blocks.scores.of,
            self._serving,
            self._runtime,
            links,
            self._budgets,
            clock,
            self._stages,
        )
        #: Called when the node should close and open everything again; the node connects it.
        self.on_reopen: Callable[[], None] = lambda: None
        #: None on a channel that keeps everything and knows of no folder to keep more in.
        self.snapshots: Final = (
            None if parts.keeping is None else self._make_snapshots(parts, parts.keeping, log_writer)
        )
        if self.snapshots is not None:
            self._syncing.other_way = self.snapshots
        self._head_sent_ms = 0
        self._resend_round_ms = 0
        #: What this home's key is on the channel; the node looks whenever a block may have changed it.
        self.own_seat = OwnSeat(SeatState.NONE)
        self.signs: Final = parts.signer is not None
        #: Called when a block may have changed whose nodes are believed; the node connects it.
        self.on_membership_changed: Callable[[], None] = lambda: None
        self.epoch = parts.head.epoch
        metrics.register(self._samples)

    # Life

    async def run(self) -> None:
        """Drive the channel until cancelled. Raises what must stop the node."""
        try:
            async with asyncio.TaskGroup() as group:
                self._loop.tasks = group
                group.create_task(self.driver.run())
                group.create_task(self._duties())
        finally:
            self._loop.tasks = None
            self.bus.close()

    def close(self) -> None:
        """After ``run`` has ended: finish the job in the worker thread and close the database."""
        self._worker.close()
        if self.snapshots is not None:
            self.snapshots.close()
        self.store.close()

    def checkpoint(self) -> list[WalRecord]:
        """The channel's complete state for a new log segment: bodies first, then the replica's records."""
        records = [WalRecord(self.chain_id, BODIES_RECORD, body.encode_record()) for body in self._bodies.logged()]
        records += [
            WalRecord(self.chain_id, int(record.kind), record.payload)
            for record in self.driver.replica.checkpoint_records()
        ]
        records += [WalRecord(self.chain_id, EVIDENCE_RECORD, payload) for payload in self.accuser.records()]
        return records

    # What arrives

    def on_message(self, peer: PeerId, topic: Topic, payload: bytes) -> None:
        """One payload of a peer. Raises InvalidInput for what no honest peer sends."""
        budget = self._budgets.of(peer.name)
        budget.frame(len(payload))
        standing = self._standing_of(peer)
        match treatment(topic, standing):
            case Treatment.IGNORED:
                return
            case Treatment.REFUSED:
                raise InvalidMessage(f"{standing.value} {peer.name} of {peer.org} may not send {topic.name} here")
        match topic:
            case Topic.CONSENSUS:
                if not budget.consensus(len(payload)):
                    return
                with self._stages.measure("consensus_decode", 0):
                    message = decode_message(payload)
                self.driver.message(message, self._index_of(peer))
            case Topic.GOSSIP:
                self._spreading.on_message(peer.name, payload, takes_transactions=not self.catch_up.is_far_behind)
            case Topic.FETCH:
                self._on_fetch(peer, payload)
            case Topic.SYNC if is_snapshot_message(payload):
                if self.snapshots is not None:
                    self.snapshots.on_message(peer.name, payload)
            case Topic.SYNC:
                self._syncing.on_message(peer.name, payload, self._index_of(peer) >= 0)

    def on_peer_up(self, peer: PeerId) -> None:
        """A link is up: say how far we are."""
        self.blocks.peer_up(peer.name, self._index_of(peer) >= 0)
        self._syncing.peer_up(peer.name)
        if self.snapshots is not None:
            self.snapshots.peer_up(peer.name)
        index = self._index_of(peer)
        if index >= 0:
            self.driver.peer_up(index)

    def on_peer_down(self, peer: PeerId) -> None:
        """A link is gone."""
        self._serving.peer_gone(peer.name)
        self.blocks.peer_gone(peer.name)
        self._syncing.peer_gone(peer.name)
        if self.snapshots is not None:
            self.snapshots.peer_gone(peer.name)

    def _on_fetch(self, peer: PeerId, payload: bytes) -> None:
        message = decode_fetch(payload)
        budget = self._budgets.of(peer.name)
        reply: bytes | None = None
        if isinstance(message, FetchTx):
            if budget.work(REQUEST_US + len(message.leaves) // LEAVES_PER_US):
                reply = self._serving.fetch_tx(peer.name, message)
        elif isinstance(message, FetchBlock):
            is_at_hand = message.block_hash in self._bodies
            if budget.work(REQUEST_US if is_at_hand else STORED_LEAF_LIST_US):
                reply = self._serving.fetch_block(peer.name, message)
        elif isinstance(message, BlockReply):
            self._gatherer.on_leaves(message)
            self.driver.wake()
        elif message.request_id == RESENT:
            if budget.may_offer() and budget.resent(len(payload)) and not self.catch_up.is_far_behind:
                self._runtime.start(self._receive(message.envelopes, peer.name))
        else:
            self._gatherer.on_txs(message)
            self.driver.wake()
        if reply is not None:
            self._links.send(peer.name, self.chain_id, Topic.FETCH, reply)

    async def _receive(self, envelopes: Sequence[bytes], peer: str) -> None:
        received = await self.admission.examine(envelopes, peer)
        self._budgets.of(peer).was_useless(received.useless)
        if received.faults:
            self._links.report_violation(
                peer, f"{received.faults} of {len(envelopes)} gossiped transactions are malformed"
            )

    # What admission and the gatherer want (admission.Audience)

    def checked(self, transactions: Sequence[tuple[Transaction, bool]]) -> None:
        """Signatures were checked: a wanted block may be complete now."""
        if not self._gatherer.is_idle:
            self._gatherer.checked(transactions)
            self.driver.wake()

    def admitted(self, transactions: Sequence[Transaction], source: str) -> None:
        """New in the pool: push them on."""
        origin = Origin.CLIENT
        if source:
            from_validator = source in self._names_by_key.values()
            origin = Origin.VALIDATOR if from_validator else Origin.OBSERVER
        self._spreading.spread(transactions, origin, source)
        self.driver.wake()

    def _fetch_from(self, index: int, payload: bytes) -> None:
        name = self._holder_name(index)
        if name is not None and name != self._own_name:
            self._links.send(name, self.chain_id, Topic.FETCH, payload)

    def _check_fetched(self, transactions: list[Transaction]) -> None:
        self._runtime.start(self._verify_fetched(transactions))

    async def _verify_fetched(self, transactions: list[Transaction]) -> None:
        valid = await self._verifier.verify(transactions, urgent=True)
        self._gatherer.checked(list(zip(transactions, valid, strict=True)))
        # Should the block lose its place, its transactions wait here like everybody else's.
        self.admission.adopt([tx for tx, is_valid in zip(transactions, valid, strict=True) if is_valid])
        self.driver.wake()

    # What the driver wants (driver.Sender, driver.Listener)

    def consensus(self, validators: ValidatorSet, to: tuple[int, ...] | None, payload: bytes) -> None:
        """Send a consensus message."""
        keys = validators.public_keys if to is None else [validators.public_keys[index] for index in to]
        names = [name for key in keys if (name := self._names_by_key.get(key)) and name != self._own_name]
        failpoints.reach("channel.before_send")
        self._links.broadcast(self.chain_id, Topic.CONSENSUS, payload, names)
        failpoints.reach("channel.after_send")

    def committed(self, block: CommittedBlock, validators: ValidatorSet, waited: int) -> None:
        """A block is durable: now, and only now, others hear of it."""
        failpoints.reach("channel.before_publish")
        self._validators = validators
        header = block.header
        if header.barrier:
            configuration = self.executor.configuration(self.store.state)
            # Those who left keep their names: they are still helped to learn that they left.
            self._names_by_key |= {entry[3]: entry[0] for entry in configuration.validators}
            latest_ms = max(self._clock.wall_ms(), header.timestamp_ms)
            self.admission.active_orgs = configuration.active_orgs
            self._watch.organisations = len(configuration.active_orgs)
            self.admission.seats = seats(configuration)
            self.pool.shorten(configuration.param("tx_lifetime_ms_max"), latest_ms)
        ends_epoch = block.result.next_valset_hash != header.valset_hash
        self.epoch = header.epoch + ends_epoch
        self.head = AppliedHead(header.height, block.block_hash, header.timestamp_ms, block.result)
        self.admission.block_time_ms = header.timestamp_ms
        self.admission.window.decided(waited, len(self.pool), self._clock.monotonic_ms())
        peers = self._links.connected(self.chain_id)
        voters = {peer.name for peer in peers if self._index_of(peer) >= 0}
        anchor = Anchor(header.height, block.block_hash, block.result.hash, self.epoch, validators)
        is_spread = self.blocks.advanced(anchor, header, self.driver.replica.own_index is None, voters)
        observers = [] if is_spread else [peer.name for peer in peers if peer.name not in voters]
        self._syncing.advanced(anchor, ends_epoch, observers)
        self.bus.publish(block)
        failpoints.reach("channel.after_publish")
        if header.barrier or any(name in MEMBERSHIP_EVENTS for each in block.receipts for name, _ in each.events):
            self.on_membership_changed()
        log.log(
            # Far behind, the lines of progress say as much, and a line a block was a seventh of the loop's time.
            logging.DEBUG if self._syncing.catch_up.is_active else logging.INFO,
            "block_committed",
            extra=fields(
                channel=self.name, height=header.height, transactions=header.tx_count, hash=block.block_hash.hex()[:16]
            ),
        )

    def accused(self, evidence: Evidence) -> None:
        """The replica proved that a validator lied."""
        self.accuser.add(evidence)

    def wanted_range(self, height: int, holders: tuple[int, ...]) -> None:
        """The replica knows of final blocks it cannot reach by itself."""
        names = [name for index in holders if (name := self._holder_name(index)) is not None]
        self._syncing.wanted(height, names)

    def synced(self, failure: str | None) -> None:
        """The block that catch-up handed out is stored, or was not taken."""
        self._syncing.taken(failure)
        self.blocks.settled()

    # Names

    def validator_name(self, index: int) -> str:
        """The name of the validator with this index in the current set."""
        return self._names_by_key[self._validators.public_keys[index]]

    def name_of(self, public_key: bytes) -> str:
        """The name of a validator, past ones included as far as this process has seen them; else the key itself."""
        return self._names_by_key.get(public_key) or "0x" + public_key.hex()

    def _holder_name(self, index: int) -> str | None:
        """Whom the replica means by a holder's index; None when it means nobody here.

        A hint, and perhaps of another epoch than the one in the store: the replica enters an epoch before the block
        that began it is stored, and remembers signers of the one before.
        """
        keys = self.driver.replica.validators.public_keys
        return self._names_by_key.get(keys[index]) if index < len(keys) else None

    @property
    def healing_to(self) -> int:
        """The height that the log knows of, while blocks below it are lost here and come from the peers; else 0."""
        return self._healing_to if self.head.height < self._healing_to else 0

    @property
    def members(self) -> frozenset[str]:
        """The organisations that are active on this channel."""
        return self.admission.active_orgs

    @property
    def validators(self) -> ValidatorSet:
        """The set that votes on the next block."""
        return self._validators

    def _standing_of(self, peer: PeerId) -> Standing:
        """What the peer is to this channel now. The network has judged it too, when the link came up."""
        if self._index_of(peer) >= 0:
            return Standing.VALIDATOR
        return Standing.OBSERVER if peer.org in self.members else Standing.OUTSIDER

    def _index_of(self, peer: PeerId) -> int:
        index = self._validators.index_of(peer.public_key)
        return -1 if index is None else index

    # Slow duties

    async def _duties(self) -> None:
        while True:
            await asyncio.sleep(DUTY_MS / 1000)
            self.do_duties()

    def do_duties(self) -> None:
        """What is due every ``DUTY_MS``: evidence, time-outs of catch-up, my head, expiry, overdue transactions."""
        now_ms = self._clock.monotonic_ms()
        self._accuse(now_ms)
        self._syncing.tick(now_ms)
        if self.snapshots is not None:
            self.snapshots.tick(now_ms, self._syncing.anchor)
        self.blocks.tick(now_ms)
        self._spreading.tick(now_ms)
        if now_ms - self._head_sent_ms >= HEAD_MS:
            self._head_sent_ms = now_ms
            self._syncing.say_head()
            self.pool.expire(max(self._clock.wall_ms(), self.admission.block_time_ms))
        if not self.catch_up.is_far_behind:  # else most of what waits here is decided, and would cost the others
            self._send_overdue(now_ms)

    def _send_overdue(self, now_ms: int) -> None:
        overdue = self.pool.overdue(self._clock.wall_ms(), OVERDUE_MS, OVERDUE_MAX)
        if overdue:
            self.again(overdue)
        # A round that has not come to its end goes on, or what is at the end of a long queue would never be sent.
        if len(overdue) < OVERDUE_MAX and now_ms - self._resend_round_ms >= RESEND_ROUND_MS:
            self._resend_round_ms = now_ms
            self.pool.begin_resend_round()

    def _accuse(self, now_ms: int) -> None:
        """Send the evidence that is due, and have a halt reported."""
        replica = self.driver.replica
        if replica.halted is not None:
            report, self.on_halted = self.on_halted, lambda halted: None
            report(replica.halted)
        self.accuser.look(self.head.height)
        if self.accuser.is_due(replica.own_index, replica.validators.n, now_ms):
            time_ms = max(self._clock.wall_ms(), self.admission.block_time_ms)
            self._runtime.start(self.accuser.report(self.admission, now_ms, time_ms, self.pool.lifetime_ms_max))

    def again(self, transactions: Sequence[Transaction]) -> None:
        """Old transactions go to all validators on a topic that is not the first to be dropped (amendment L7)."""
        names = [name for name in self._names_by_key.values() if name != self._own_name]
        envelopes = [transaction.envelope for transaction in transactions]
        while envelopes:
            reply = txs_reply(RESENT, envelopes)  # as many as one frame holds; at least one, however large
            del envelopes[: len(reply.envelopes)]
            self._links.broadcast(self.chain_id, Topic.FETCH, reply.encode(), names)

    def _reopen(self) -> None:
        # No block is stored here before that. A client that went on waiting would hold up the node's stop, and with
        # it the return of the whole node, by as long as calls under way are given.
        self.bus.close()
        self.on_reopen()

    def _make_snapshots(self, parts: ChannelParts, keeping: Keeping, log_writer: LogWriter | None) -> Snapshots:
        return Snapshots(
            self.name,
            self.chain_id,
            self.store,
            self.executor,
            keeping,
            self._serving,
            self._syncing,
            self._worker,
            parts.verify,
            self._runtime,
            self._links,
            self._budgets,
            log_writer,
            self._clock,
            self._reopen,
            self.genesis.validator_set,
            self._knows_of,
        )

    def _knows_of(self, certificate: CommitCertificate, validators: ValidatorSet) -> bool:
        is_known = self.driver.replica.knows_of(certificate, validators, self._clock.wall_ms())
        self.driver.wake()  # there may be a record to write
        return is_known

    def _anchor(self, head: Head) -> Anchor:
        return Anchor(head.height, head.block_hash, head.result.hash, head.epoch, head.rules.validators)

    def _knows(self, leaf_hash: bytes) -> bool:
        return leaf_hash in self.pool or self.admission.is_checking(leaf_hash)

    def _samples(self) -> Iterator[Sample]:
        labels = {"channel": self.name}
        status = self.driver.replica.status()
        yield "dawan_consensus_height", labels, self.head.height
        yield "dawan_consensus_view", labels, status.view
        yield "dawan_consensus_state", labels | {"state": status.state.value}, 1
        yield from self._syncing.samples()
        yield "dawan_mempool_size", labels, len(self.pool)
        yield "dawan_mempool_size_bytes", labels, self.pool.size_bytes
