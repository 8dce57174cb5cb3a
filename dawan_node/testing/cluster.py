"""A whole network of replicas in one process, on a virtual clock, from one seed.

``Cluster`` is the driver of ``consensus.replica`` written out for n nodes at once, with a network that delays, loses,
doubles and reorders messages, links that can be cut, disks that lose what was not synced, and nodes that crash and
come back. Every choice comes from one seeded generator and one event queue, so a run is a pure function of its
arguments: a seed that fails once fails always, and ``trace_hash`` proves it.

While it runs its ``checker`` looks for what no honest network may ever show (``Violation``): two blocks, results or
certificates at one height; two signatures of one honest node for one slot, restarts included; a vote on the wire whose
record is not on the sender's disk.

Bodies are modelled as their leaf hashes, execution as a hash over the parent's state. Signatures are hashes by default
(the protocol does not look inside them) and real Ed25519 on request.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from dawan_node.consensus import (
    Acquire,
    ChannelRules,
    Decided,
    Execute,
    Head,
    Outgoing,
    Record,
    Replica,
    ReplicaConfig,
    SyncRequest,
    Timers,
)
from dawan_node.crypto.hashing import ZERO_HASH, sha256
from dawan_node.crypto.merkle import EMPTY_ROOT
from dawan_node.crypto.signatures import ED25519, verify_ed25519
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.checker import Checker, Violation
from dawan_node.testing.simulated_node import (
    CREATED_MS,
    Faults,
    Node,
    StoredBlock,
    TestSigner,
    fake_verify,
    test_keys,
)

ENVELOPE_BYTES: Final = 250  # what a body counts in ``Header.body_bytes``
BLOCK_TXS: Final = 5  # small blocks keep several in flight
_RANGE_MAX: Final = 64  # blocks per catch-up request, as the real one


class Cluster:
    """n nodes, of which ``validators`` (default: all) form the first validator set."""

    def __init__(
        self,
        n: int,
        seed: int,
        faults: Faults | None = None,
        *,
        validators: Sequence[int] | None = None,
        timers: Timers | None = None,
        real_signatures: bool = False,
        window: int = 4,
        checkpoint_every: int = 40,
        twins: Sequence[int] = (),
    ) -> None:
        """``twins`` name validators that run twice: a second node with the same key and its own log, so that the two
        together equivocate, vote twice and forget, as a Byzantine validator would (consensus.md section 2). They are
        the nodes from n on, and nothing they sign is checked."""
        self.random = random.Random(seed)
        self.seed = seed
        self.faults = faults or Faults()
        self.now = 0
        self.chain_id = sha256(b"cluster %d" % seed)
        self._real = real_signatures
        self._checkpoint_every = checkpoint_every
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._groups: list[int] = [0] * (n + len(twins))
        self._trace = hashlib.sha256()
        keys = test_keys(n)
        members = range(n) if validators is None else validators
        self.rules = ChannelRules(
            ValidatorSet([(ED25519, keys[index].public_key) for index in members]), window, 1_000, 4 * 1024 * 1024
        )
        self.config = ReplicaConfig(
            self.chain_id,
            CREATED_MS,
            timers or Timers(),
            verify_ed25519 if real_signatures else fake_verify,
        )
        self.genesis_result = Result(0, self.chain_id, ZERO_HASH, ZERO_HASH, EMPTY_ROOT, self.rules.validators.hash)
        skew = self.faults.skew_max
        self.nodes = [Node(index, keys[index], self.random.randint(-skew, skew)) for index in range(n)]
        for twin in twins:
            self.nodes.append(Node(len(self.nodes), keys[twin], self.nodes[twin].skew_ms))
        self._by_key: dict[bytes, list[int]] = {}
        for node in self.nodes:
            self._by_key.setdefault(node.key.public_key, []).append(node.index)
        self._sets: dict[bytes, ChannelRules] = {}  # barrier leaf -> the rules it installs
        self.checker = Checker(seed, self.chain_id)
        self._transactions = 0
        self.byzantine = {*twins, *range(n, n + len(twins))}
        for node in self.nodes:
            self.start(node.index)

    # --- what a test does --------------------------------------------------------------------------------------

    def submit(self, count: int = 1) -> None:
        """Hand ``count`` new transactions to every node that is up."""
        for _ in range(count):
            leaf = sha256(b"tx %d" % self._transactions)
            self._transactions += 1
            self._hand_out(leaf)

    def change_validators(self, members: Sequence[int]) -> None:
        """Submit a barrier that makes nodes ``members`` the validators."""
        leaf = sha256(b"barrier %d %r" % (self._transactions, tuple(members)))
        self._transactions += 1
        validators = ValidatorSet([(ED25519, self.nodes[index].key.public_key) for index in members])
        self._sets[leaf] = ChannelRules(validators, self.rules.window, 1_000, 4 * 1024 * 1024)
        self._hand_out(leaf)

    def _hand_out(self, leaf: bytes) -> None:
        for node in self.nodes:
            node.pool[leaf] = None
            if node.replica is not None:
                self._pump(node)

    def run(self, duration_ms: int) -> None:
        """Let ``duration_ms`` of virtual time pass."""
        end = self.now + duration_ms
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_ms: int) -> bool:
        """Let time pass until ``condition`` holds; whether it did within ``limit_ms``."""
        end = self.now + limit_ms
        while not condition():
            if not self._queue or self._queue[0][0] > end:
                self.now = end
                return condition()
            self.now, _, action = heapq.heappop(self._queue)
            action()
        return True

    def crash(self, index: int) -> None:
        """Power off: what was not synced is gone, but for a prefix the disk happened to write."""
        node = self.nodes[index]
        if node.replica is None:
            return
        kept = self.random.randint(0, len(node.unsynced))
        self._append(node, node.unsynced[:kept])
        fresh = Node(node.index, node.key, node.skew_ms, node.log, node.pinned, node.store, node.committed)
        fresh.life = node.life + 1
        fresh.pool = node.pool  # clients and gossip bring transactions again
        self.nodes[index] = fresh
        self._note("crash", index, kept)

    def start(self, index: int) -> None:
        """Power on, from disk."""
        node = self.nodes[index]
        if node.replica is not None:
            return
        signer = TestSigner(node.key, self.chain_id, self._real)
        signer.guard.restore(node.log)
        node.bodies = dict(node.pinned)
        for block in node.store:
            node.headers[block.block_hash] = block.header
        node.replica = Replica(self.config, signer, self.head_of(node), node.log, self._time_of(node))
        if index in self.byzantine:
            # An honest node stops when it sees its own key at work elsewhere; these do not.
            node.replica._state.stop_for_own_key = lambda statement: None  # type: ignore[method-assign]
        self._note("start", index, node.height)
        for peer in range(len(node.replica.validators.public_keys)):
            if peer != node.replica.own_index:
                node.replica.link_up(peer, self._time_of(node))
        self._pump(node)

    def partition(self, *groups: Sequence[int]) -> None:
        """Cut the links between groups; nodes not named are alone together."""
        self._groups = [-1] * len(self.nodes)
        for number, group in enumerate(groups):
            for index in group:
                self._groups[index] = number

    def heal(self) -> None:
        """All links work again, without loss."""
        self._groups = [0] * len(self.nodes)
        self.faults = Faults(self.faults.delay_min, self.faults.delay_max, 0, 0, self.faults.sync_max)

    @property
    def heights(self) -> list[int]:
        """The store height of every node."""
        return [node.height for node in self.nodes]

    @property
    def trace_hash(self) -> str:
        """A hash over everything that happened."""
        return self._trace.hexdigest()

    def head_of(self, node: Node) -> Head:
        """The head a replica of this node starts from."""
        if not node.store:
            base = (0, self.chain_id)
            return Head(0, self.chain_id, None, self.genesis_result, None, (), 0, self.rules, base)
        last = node.store[-1]
        return Head(
            last.header.height,
            last.block_hash,
            last.header,
            last.result,
            last.certificate,
            last.links,
            last.epoch,
            last.rules,
            last.epoch_base,
        )

    # --- time and network --------------------------------------------------------------------------------------

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do ``action`` after ``delay_ms``; equal times keep their order."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay_ms, self._sequence, action))

    def _time_of(self, node: Node) -> int:
        return CREATED_MS + 1_000_000 + self.now + node.skew_ms

    def is_connected(self, first: int, second: int) -> bool:
        """Whether the link between two nodes is not cut."""
        return self._groups[first] == self._groups[second] >= 0

    def deliver(self, sender: int, receiver: int, payload: bytes) -> None:
        """Put a message on the wire: maybe lost, maybe twice, some time later."""
        for _ in range(2 if self.random.randrange(100) < self.faults.duplicate else 1):
            if self.random.randrange(100) < self.faults.loss:
                continue
            delay = self.random.randint(self.faults.delay_min, self.faults.delay_max)
            self.at(delay, partial(self._receive, sender, receiver, payload))

    def _receive(self, sender: int, receiver: int, payload: bytes) -> None:
        node = self.nodes[receiver]
        if node.replica is None or not self.is_connected(sender, receiver):
            return
        link = node.replica.validators.index_of(self.nodes[sender].key.public_key)
        self._note("receive", sender, receiver, payload)
        node.replica.step(payload, link, self._time_of(node))
        self._pump(node)

    def _send(self, node: Node, message: Outgoing) -> None:
        if node.index not in self.byzantine:
            self.checker.sent(node, message.payload, message.validators)
        validators = message.validators
        if message.to is None:
            keys: Sequence[bytes] = validators.public_keys
        else:
            keys = [validators.public_keys[index] for index in message.to]
        for key in keys:
            for receiver in self._by_key[key]:
                if receiver != node.index and key != node.key.public_key:
                    self.deliver(node.index, receiver, message.payload)

    # --- the driver --------------------------------------------------------------------------------------------

    def _pump(self, node: Node) -> None:
        replica = node.replica
        if replica is None:
            return
        self._propose(node, replica)
        while ready := replica.ready():
            for alarm in ready.alarms:
                if node.index not in self.byzantine:
                    self.checker.reported(node, alarm)
            for record in ready.records:
                node.unsynced.append((record, self._pinned_by(node, record)))
            for block_hash in ready.discard:
                node.wanted.pop(block_hash, None)
                node.results.pop(block_hash, None)
            for block_hash in ready.release:
                node.bodies.pop(block_hash, None)  # on disk it stays until this Ready is synced
            for request in ready.acquire:
                self._acquire(node, request)
            for execute in ready.execute:
                delay = self.random.randint(0, self.faults.execute_max)
                self.at(delay, partial(self._execute, node, node.life, execute))
            node.waiting.append(ready)
            self._propose(node, replica)
        if node.waiting and not node.is_syncing:
            node.is_syncing = True
            delay = self.random.randint(0, self.faults.sync_max)
            self.at(delay, partial(self._synced, node, node.life, len(node.waiting)))
        deadline = replica.next_deadline()
        if deadline is not None:
            at = max(self.now, deadline - (CREATED_MS + 1_000_000 + node.skew_ms))
            if node.tick_at is None or at < node.tick_at or node.tick_at < self.now:
                node.tick_at = at
                self.at(at - self.now, partial(self._tick, node, node.life, at))

    def _tick(self, node: Node, life: int, at: int) -> None:
        if node.life != life or node.replica is None or self.nodes[node.index] is not node:
            return
        if node.tick_at == at:
            node.tick_at = None
        node.replica.tick(self._time_of(node))
        if self._is_stranger_to_a_higher_node(node):
            self._fetch_range(node, SyncRequest(node.height + 1, ()))  # block announcements reach everybody
        self._pump(node)

    def _is_stranger_to_a_higher_node(self, node: Node) -> bool:
        """Whether a reachable node is ahead and sends this one no consensus messages: it is no validator there."""
        return any(
            other.height > node.height
            and other.replica is not None
            and other.replica.validators.index_of(node.key.public_key) is None
            and self.is_connected(node.index, other.index)
            for other in self.nodes
        )

    def _synced(self, node: Node, life: int, count: int) -> None:
        """The disk has everything of the first ``count`` Readys: now their effects may leave the node."""
        if self.nodes[node.index] is not node or node.life != life or node.replica is None:
            return
        node.is_syncing = False
        done, node.waiting = node.waiting[:count], node.waiting[count:]
        records = sum(len(ready.records) for ready in done)
        self._append(node, node.unsynced[:records])
        node.unsynced = node.unsynced[records:]
        for ready in done:
            for message in ready.messages:
                self._send(node, message)
            for decided in ready.decide:
                self._apply(node, decided)
            for block_hash in ready.release:
                node.pinned.pop(block_hash, None)
            if ready.sync is not None:
                self._fetch_range(node, ready.sync)
        if len(node.log) > self._checkpoint_every and not node.waiting:
            records_now = node.replica.checkpoint_records()
            node.log = []
            self._append(node, [(record, self._pinned_by(node, record)) for record in records_now])
        self._pump(node)

    def _append(self, node: Node, records: Sequence[tuple[Record, tuple[bytes, ...] | None]]) -> None:
        for record, leaves in records:
            if record.block_hash is not None and leaves is not None:
                node.pinned[record.block_hash] = leaves
            node.log.append(Record(record.kind, record.payload))

    def _pinned_by(self, node: Node, record: Record) -> tuple[bytes, ...] | None:
        """The bodies that must be on disk no later than ``record`` (U5)."""
        if not record.pins or record.block_hash is None:
            return None
        if record.block_hash not in node.bodies:
            raise Violation(f"seed {self.seed}: node {node.index} pins bodies it does not hold")
        return node.bodies[record.block_hash]

    # --- bodies, execution, store ------------------------------------------------------------------------------

    def _branch_leaves(self, node: Node, parent_hash: bytes) -> dict[bytes, None]:
        """The transactions of the undecided ancestors; those of the store are in ``committed``."""
        leaves: dict[bytes, None] = {}
        at = parent_hash
        head = node.store[-1].block_hash if node.store else self.chain_id
        while at in node.headers and at != head:
            leaves.update(dict.fromkeys(node.bodies.get(at, ())))
            at = node.headers[at].parent_hash
        return leaves

    def _propose(self, node: Node, replica: Replica) -> None:
        time = self._time_of(node)
        while True:
            free: list[bytes] = []
            if node.pool:
                slot = replica.proposal_slot()
                used = self._branch_leaves(node, replica.tip_hash if slot is None else slot.parent_hash)
                free = [leaf for leaf in node.pool if leaf not in used and leaf not in node.committed]
            replica.work_pending(bool(free), time)
            slot = replica.proposal_slot()
            if slot is None or not free or replica.own_index is None:
                return
            is_barrier = free[0] in self._sets
            leaves = free[:1] if is_barrier else [leaf for leaf in free if leaf not in self._sets][:BLOCK_TXS]
            header = replica.propose(slot, leaves, ENVELOPE_BYTES * len(leaves), is_barrier, time)
            if header is None:
                return
            node.bodies[header.hash] = tuple(leaves)
            node.headers[header.hash] = header

    def _acquire(self, node: Node, request: Acquire) -> None:
        node.headers[request.block_hash] = request.header
        node.wanted[request.block_hash] = request
        if request.leaf_hashes is not None:
            node.bodies.setdefault(request.block_hash, request.leaf_hashes)
        self.at(0, partial(self._gather, node, node.life, request.block_hash))

    def _gather(self, node: Node, life: int, block_hash: bytes) -> None:
        """Bodies at hand, or from a reachable holder some time later; then judged on the branch."""
        request = node.wanted.get(block_hash)
        if self.nodes[node.index] is not node or node.life != life or node.replica is None or request is None:
            return
        leaves = node.bodies.get(block_hash)
        if leaves is None:
            for other in self.nodes:
                if other is not node and other.replica is not None and self.is_connected(node.index, other.index):
                    leaves = other.bodies.get(block_hash) or next(
                        (block.leaf_hashes for block in other.store if block.block_hash == block_hash), None
                    )
                    if leaves is not None:
                        node.bodies[block_hash] = leaves
                        break
            self.at(self.random.randint(20, 100), partial(self._gather, node, life, block_hash))
            return
        del node.wanted[block_hash]
        used = self._branch_leaves(node, request.header.parent_hash)
        ok = all(leaf not in used and leaf not in node.committed for leaf in leaves)
        ok = ok and len(set(leaves)) == len(leaves)
        node.replica.acquired(block_hash, ok, "" if ok else "a transaction twice on the branch", leaves)
        self._pump(node)

    def result_of(self, header: Header, parent: Result, leaves: Sequence[bytes]) -> tuple[Result, ChannelRules | None]:
        """What executing a block gives: a pure function of the block and its parent's result."""
        state_root = sha256(parent.state_root + header.hash)
        rules = self._sets.get(leaves[0]) if header.barrier else None
        valset_hash = header.valset_hash if rules is None else rules.validators.hash
        result = Result(header.height, header.hash, parent.hash, state_root, sha256(b"receipts"), valset_hash)
        return result, rules

    def _parent_result(self, node: Node, parent_hash: bytes) -> Result | None:
        if parent_hash == self.chain_id:
            return self.genesis_result
        if node.store and node.store[-1].block_hash == parent_hash:
            return node.store[-1].result
        known = node.results.get(parent_hash)
        if known is not None:
            return known[0]
        return next((block.result for block in node.store if block.block_hash == parent_hash), None)

    def _execute(self, node: Node, life: int, request: Execute) -> None:
        if self.nodes[node.index] is not node or node.life != life or node.replica is None:
            return
        parent = self._parent_result(node, request.parent_hash)
        leaves = node.bodies.get(request.block_hash)
        if parent is None or leaves is None:
            return  # discarded or released meanwhile
        result, rules = self.result_of(request.header, parent, leaves)
        if request.header.barrier and rules is None:
            rules = self.head_of(node).rules
        node.results[request.block_hash] = (result, rules)
        node.replica.executed(request.block_hash, result, rules)
        self._pump(node)

    def _apply(self, node: Node, decided: Decided) -> None:
        header = decided.header
        self.checker.stored(node, decided)
        before = self.head_of(node)
        leaves = node.bodies[decided.block_hash]
        rules, epoch, base = before.rules, before.epoch, before.epoch_base
        if decided.result.next_valset_hash != header.valset_hash:
            rules, epoch, base = self._sets[leaves[0]], epoch + 1, (header.height, decided.block_hash)
        node.headers[decided.block_hash] = header
        node.store.append(
            StoredBlock(
                header,
                decided.block_hash,
                decided.result,
                decided.certificate,
                decided.links,
                leaves,
                rules,
                epoch,
                base,
            )
        )
        for leaf in leaves:
            node.pool.pop(leaf, None)
            node.committed[leaf] = None
        self._note("decide", node.index, decided.block_hash)
        assert node.replica is not None
        node.replica.applied(header.height)

    def _fetch_range(self, node: Node, request: SyncRequest) -> None:
        if not node.is_fetching_range:
            node.is_fetching_range = True
            delay = 2 * self.random.randint(self.faults.delay_min, self.faults.delay_max)
            self.at(delay, partial(self._range_arrives, node, node.life, request))

    def _range_arrives(self, node: Node, life: int, request: SyncRequest) -> None:
        replica = node.replica
        if self.nodes[node.index] is not node or node.life != life or replica is None:
            return
        node.is_fetching_range = False
        begin = replica.height
        for other in self.nodes:
            if other.replica is None or not self.is_connected(node.index, other.index):
                continue
            for block in other.store[replica.height : replica.height + _RANGE_MAX]:
                if block.header.height != replica.height + 1:
                    break
                parent = self._parent_result(node, block.header.parent_hash)
                if parent is None:
                    break
                result, rules = self.result_of(block.header, parent, block.leaf_hashes)
                node.bodies[block.block_hash] = block.leaf_hashes
                node.headers[block.block_hash] = block.header
                node.results[block.block_hash] = (result, rules)
                if block.header.barrier and rules is None:
                    rules = block.rules
                replica.decided_by_sync(
                    block.header,
                    result,
                    block.certificate,
                    block.links,
                    block.leaf_hashes,
                    self._time_of(node),
                    rules,
                )
        self._pump(node)
        if begin < replica.height < request.height:
            self._fetch_range(node, request)

    def _note(self, what: str, *values: int | bytes) -> None:
        self._trace.update(f"{self.now} {what}".encode())
        for value in values:
            self._trace.update(value if isinstance(value, bytes) else b"%d" % value)
