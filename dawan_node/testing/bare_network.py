"""Replicas and a message queue, and nothing else: the lightest world in which the real ``Replica`` runs.

``cluster`` asks what happens with clocks, disks and lost messages; here a network is a function of which messages are
delivered. Bodies are always at hand, execution is immediate (a result is a hash of its block), nothing is written to a
log, and signatures are hashes. So a network of five replicas costs microseconds to build and a thousand schedules a
few seconds to run: the world of ``twins``.

- **Nodes and validators.** A validator may run on several nodes (*twins*): same key, same rules, its own state and its
  own proposals. Together they equivocate, vote twice and forget, as a Byzantine validator does; what they sign is not
  judged. All other nodes are honest.
- **Partitions** apply when a message is sent: it is queued for the connected nodes and lost for the others. What is
  held back (``hold_back``) leaves instead through the partition in force at ``release``. Wishes always arrive.
- **The checker** is built in: ``violations`` collects what no honest network may show (consensus.md section 2). A
  message is judged once, when it is sent.

``Outgoing.payload`` is decoded once for all receivers, and the same bytes in the next network not at all: decoding is
a pure function, so its cache changes no result.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from dawan_node.consensus import AlarmKind, ChannelRules, Decided, Head, Replica, ReplicaConfig, Statement, VoteSigner
from dawan_node.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Suspect,
    SuspectEntry,
    ViewChange,
    decode_message,
    suspect_bytes,
)
from dawan_node.consensus.ready import Execute, Outgoing, Ready
from dawan_node.consensus.signer import SUSPECT_TAG
from dawan_node.consensus.suspicion import Reason
from dawan_node.crypto.hashing import ZERO_HASH, domain_separated, sha256
from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulated_node import CREATED_MS, TestSigner, fake_signature, fake_verify, test_keys

START_MS: Final = CREATED_MS + 1_000_000
#: Virtual time between two views: above every interval that limits how often a peer is listened to.
STEP_MS: Final = 1_000
#: What an honest node never reports while at most f validators lie.
NEVER: Final = (
    AlarmKind.HALTED,
    AlarmKind.QUARANTINE,
    AlarmKind.RESULTS_DIFFER,
    AlarmKind.CERTIFIED_REFUSED,
    AlarmKind.OWN_KEY_ELSEWHERE,
    AlarmKind.SIGNING_REFUSED,
)
_CACHE_MAX: Final = 50_000
_BODY_BYTES: Final = 250

#: (kind, epoch, view, height) and the value signed there; None for what binds nobody.
Claim = tuple[tuple[int, int, int, int], bytes]


class UnguardedSigner:
    """A ``VoteSigner`` that signs whatever it is asked to: only the replica's own rules keep it from lying."""

    __slots__ = ("_public_key",)

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    @property
    def public_key(self) -> bytes:
        """The validator key."""
        return self._public_key

    def sign(self, statement: Statement) -> bytes:
        """A fake signature."""
        return fake_signature(self._public_key, domain_separated(statement.kind.tag, statement.data))

    def decided(self, epoch: int, height: int, block_hash: bytes, result_hash: bytes) -> None:
        """Nothing to remember."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything about a channel of n validators that is the same in every network. primary(0) is validator 0."""

    keys: tuple[PrivateKey, ...]
    validators: ValidatorSet
    chain_id: bytes
    rules: ChannelRules
    config: ReplicaConfig
    genesis_result: Result
    head: Head

    def primary(self, view: int) -> int:
        """primary(view), in the only epoch there is."""
        return view % self.validators.n


@cache
def world_of(n: int, window: int) -> World:
    """The world of ``n`` validators with W = ``window``."""
    keys = tuple(test_keys(n))
    validators = ValidatorSet([(ED25519, key.public_key) for key in keys])
    number = 0
    while validators.primary(sha256(b"bare %d" % number), 0, 0) != 0:
        number += 1
    chain_id = sha256(b"bare %d" % number)
    rules = ChannelRules(validators, window, 1_000, 4 * 1024 * 1024)
    result = Result(0, chain_id, ZERO_HASH, ZERO_HASH, ZERO_HASH, validators.hash)
    head = Head(0, chain_id, None, result, None, (), 0, rules, (0, chain_id))
    config = ReplicaConfig(chain_id, CREATED_MS, verify=fake_verify)
    return World(keys, validators, chain_id, rules, config, result, head)


@cache
def suspect_certificate(world_size: tuple[int, int], view: int) -> tuple[SuspectEntry, ...]:
    """q wishes for ``view`` in the world of (n, window). Wishes bind nobody and timers are local, so there may be a
    quorum of them at any moment."""
    world = world_of(*world_size)
    data = suspect_bytes(world.chain_id, 0, view)
    return tuple(
        SuspectEntry(voter, view, fake_signature(key.public_key, domain_separated(SUSPECT_TAG, data)))
        for voter, key in enumerate(world.keys[: world.validators.q])
    )


_decoded: dict[bytes, tuple[Message, Claim | None]] = {}


def decode_sent(payload: bytes) -> tuple[Message, Claim | None]:
    """A sent message and what its sender claims by it, each computed once per distinct message."""
    known = _decoded.get(payload)
    if known is None:
        if len(_decoded) >= _CACHE_MAX:
            _decoded.clear()
        message = decode_message(payload)
        known = _decoded[payload] = (message, claim_of(message))
    return known


def claim_of(message: Message) -> Claim | None:
    """The slot a message fills, and with what."""
    match message:
        case PrePrepare():
            header = message.header
            return (2, header.epoch, message.view, header.height), header.hash
        case Prepare():
            return (2, message.epoch, message.view, message.height), message.block_hash
        case Commit():
            return (3, message.epoch, message.view, message.height), message.block_hash + message.result_hash
        case ViewChange():
            return (5, message.epoch, message.new_view, 0), sha256(message.encode())
        case NewView():
            return (6, message.epoch, message.new_view, 0), sha256(message.encode())
        case _:
            return None


@dataclass(slots=True)
class BareNode:
    """One replica of ``validator``."""

    index: int
    validator: int
    is_honest: bool
    replica: Replica
    signed: dict[tuple[int, int, int, int], bytes] = field(default_factory=dict)
    results: dict[bytes, Result] = field(default_factory=dict)


class BareNetwork:
    """n validators, those in ``twins`` on two nodes each: the second ones are the nodes from n on."""

    def __init__(
        self,
        n: int = 4,
        twins: Sequence[int] = (),
        *,
        window: int = 1,
        heights: int = 1,
        guarded: bool = False,
        traced: bool = False,
    ) -> None:
        """``heights``: how far primaries propose. ``guarded`` gives honest nodes the real guard; without it a replica
        that wants to contradict itself can, and is seen to."""
        self.world = world_of(n, window)
        self._size = (n, window)
        self._heights = heights
        self.now = START_MS
        self.violations: list[str] = []
        self.delivered = 0
        self.decided: dict[int, tuple[bytes, bytes]] = {}
        self._late: tuple[type, ...] = ()
        self._hearer: int | None = None
        self._held: list[tuple[int, tuple[int, ...], Message, bytes]] = []
        self._queue: deque[tuple[int, int, Message]] = deque()
        self._trace = hashlib.sha256() if traced else None
        self.nodes: list[BareNode] = []
        self._groups = [0] * (n + len(twins))
        self._honest_validators = frozenset(range(n)) - frozenset(twins)
        self._nodes_of: list[list[int]] = [[] for _ in range(n)]
        world = self.world
        for index in range(n + len(twins)):
            validator = index if index < n else twins[index - n]
            is_honest = validator in self._honest_validators
            signer: VoteSigner = UnguardedSigner(world.keys[validator].public_key)
            if guarded and is_honest:
                signer = TestSigner(world.keys[validator], world.chain_id)
            replica = Replica(world.config, signer, world.head, (), self.now)
            if not is_honest:
                # An honest node stops when it sees its own key at work elsewhere; these do not.
                replica._state.stop_for_own_key = _ignore  # type: ignore[method-assign]
            self.nodes.append(BareNode(index, validator, is_honest, replica))
            self._nodes_of[validator].append(index)
        everybody = range(len(self.nodes))
        self._peers = [
            tuple(other for other in everybody if self.nodes[other].validator != node.validator) for node in self.nodes
        ]

    # --- what a scenario does ----------------------------------------------------------------------------------

    def partition(self, groups: Sequence[int]) -> None:
        """From now on two nodes are connected iff their entries in ``groups`` are equal."""
        self._groups = list(groups)

    def heal(self) -> None:
        """Everybody is connected."""
        self._groups = [0] * len(self.nodes)

    def propose(self) -> None:
        """Have whoever is primary propose."""
        for node in self.nodes:
            self._pump(node)

    def wish(self, view: int) -> None:
        """Everybody wishes for ``view``, as its timers would have it: SUSPECTs travel, and a quorum of them moves."""
        for node in self.nodes:
            node.replica._suspicion.suspect(view, Reason.PROGRESS)
            node.replica._advance()
        for node in self.nodes:
            self._pump(node)

    def change_view(self, view: int) -> None:
        """Everybody holds a quorum of wishes for ``view``: what ``wish`` leads to without partitions, but cheaper."""
        certificate = suspect_certificate(self._size, view)
        for node in self.nodes:
            state = node.replica._state
            if view > state.target and state.halted is None:
                node.replica._view_changer._start(view, certificate)
        for node in self.nodes:
            self._pump(node)

    def pass_time(self, elapsed_ms: int = STEP_MS) -> None:
        """Let virtual time pass; replicas see it with their next message, no timer fires."""
        self.now += elapsed_ms

    def tick(self) -> None:
        """Have every replica look at the clock, with transactions waiting everywhere."""
        for node in self.nodes:
            node.replica.work_pending(node.replica.height < self._heights, self.now)
            node.replica.tick(self.now)
        for node in self.nodes:
            self._pump(node)

    def settle(self) -> None:
        """Deliver until the queue is empty, oldest first."""
        queue, nodes = self._queue, self.nodes
        while queue:
            sender, receiver, message = queue.popleft()
            node = nodes[receiver]
            node.replica.step(message, nodes[sender].validator, self.now)
            self.delivered += 1
            if node.replica._state.outbox:
                self._pump(node)

    def hold_back(self, kinds: tuple[type, ...], hearer: int | None = None) -> None:
        """From now on hold back messages of these kinds, except towards the node ``hearer``."""
        self._late, self._hearer = kinds, hearer

    def release(self) -> None:
        """Hold nothing back any more, and send what was, through the partition of now."""
        self._late = ()
        held, self._held = self._held, []
        for sender, receivers, message, payload in held:
            self._queue_for(sender, receivers, message, payload)

    @property
    def trace_hash(self) -> str:
        """A hash over every message put on the wire and every decision (``traced``)."""
        assert self._trace is not None, "this network keeps no trace"
        return self._trace.hexdigest()

    # --- the driver --------------------------------------------------------------------------------------------

    def _pump(self, node: BareNode) -> None:
        """Do whatever the replica's ``Ready`` says."""
        replica = node.replica
        state = replica._state
        while True:
            if state.outbox:
                ready = replica.ready()
                for execute in ready.execute:
                    replica.executed(execute.block_hash, self._result_of(node, execute))
                for request in ready.acquire:
                    replica.acquired(request.block_hash, True)
                for outgoing in ready.messages:
                    self._send(node, outgoing)
                for decided in ready.decide:
                    self._decide(node, decided)
                if node.is_honest and (ready.alarms or ready.evidence):
                    self._judge(node, ready)
            elif not (state.own == self.world.primary(state.view) and self._propose(node)):
                return

    def _propose(self, node: BareNode) -> bool:
        replica = node.replica
        if replica.height >= self._heights:
            return False
        slot = replica.proposal_slot()
        if slot is None or slot.height > self._heights:
            return False
        leaf = sha256(b"%d %d %d" % (node.index, slot.view, slot.height))
        return replica.propose(slot, (leaf,), _BODY_BYTES, False, self.now) is not None

    def _result_of(self, node: BareNode, execute: Execute) -> Result:
        parent = node.results.get(execute.parent_hash, self.world.genesis_result)
        result = result_of(execute.header, execute.block_hash, parent)
        node.results[execute.block_hash] = result
        return result

    def _send(self, node: BareNode, outgoing: Outgoing) -> None:
        message, claim = decode_sent(outgoing.payload)
        kind = type(message)
        if node.is_honest and claim is not None:
            self._check_claim(node, message, claim)
        to = outgoing.to
        receivers = self._peers[node.index]
        if to is not None:
            receivers = tuple(index for index in receivers if self.nodes[index].validator in to)
        if kind in self._late:
            self._held.append((node.index, receivers, message, outgoing.payload))
            if self._hearer in receivers:
                self._queue_for(node.index, (self._hearer,), message, outgoing.payload)
        else:
            self._queue_for(node.index, receivers, message, outgoing.payload)

    def _queue_for(self, sender: int, receivers: Sequence[int], message: Message, payload: bytes) -> None:
        groups, queue = self._groups, self._queue
        group = groups[sender]
        is_wish = type(message) is Suspect  # wishes are repeated until they arrive
        for receiver in receivers:
            if is_wish or groups[receiver] == group:
                queue.append((sender, receiver, message))
                if self._trace is not None:
                    self._trace.update(b"%d>%d " % (sender, receiver) + payload)

    # --- the checker -------------------------------------------------------------------------------------------

    def _check_claim(self, node: BareNode, message: Message, claim: Claim) -> None:
        slot, value = claim
        # A replica passes on what others signed: a proposal, a VIEW-CHANGE, the NEW-VIEW it entered by.
        if isinstance(message, ViewChange):
            if message.voter != node.validator:
                return
        elif isinstance(message, PrePrepare | NewView) and self.world.primary(slot[2]) != node.validator:
            return
        if node.signed.setdefault(slot, value) != value:
            self.violations.append(f"node {node.index} signed two values for {slot}")
        if isinstance(message, ViewChange):
            for header, certificate in message.last:
                self._is_final(header.height, certificate.block_hash, certificate.result_hash)

    def _decide(self, node: BareNode, decided: Decided) -> None:
        self._is_final(decided.header.height, decided.block_hash, decided.result.hash)
        node.replica.applied(decided.header.height)
        if self._trace is not None:
            self._trace.update(b"%d! " % node.index + decided.block_hash)

    def _is_final(self, height: int, block_hash: bytes, result_hash: bytes) -> None:
        value = (block_hash, result_hash)
        if self.decided.setdefault(height, value) != value:
            self.violations.append(f"two blocks or results at height {height}")

    def _judge(self, node: BareNode, ready: Ready) -> None:
        for alarm in ready.alarms:
            if alarm.kind in NEVER:
                self.violations.append(f"node {node.index} reports {alarm.kind}: {alarm.text}")
        for evidence in ready.evidence:
            if evidence.voter in self._honest_validators:
                self.violations.append(f"node {node.index} accuses the honest {evidence.voter} of {evidence.kind}")


def result_of(header: Header, block_hash: bytes, parent: Result) -> Result:
    """What executing a block gives: a pure function of the block and its parent's result."""
    return Result(header.height, block_hash, parent.hash, block_hash, ZERO_HASH, header.valset_hash)


def _ignore(statement: bytes) -> None:
    """A twin takes no offence at its other self."""
