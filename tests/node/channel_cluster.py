"""Whole channels of several nodes in one process, in virtual time, from one seed.

Everything between the links and the disk is real: ``Channel`` with driver, gatherer, admission, applier, catch-up and
replica, Ed25519, a write-ahead log with its writer, and a LevelDB per node opened by ``restore.open_channel``. In place
of TLS there are links that delay, lose, double and reorder; in place of the disk under the log one that forgets what
was not synced; threads are those of ``virtual_time``.

While it runs it checks on the wire that nobody signs two things for one slot, restarts included, and that no vote
leaves before it is on its author's disk. ``settle`` waits for what must happen once the faults stop, and compares
everything that the nodes have stored. A node that ``corrupt`` made a liar may be accused, by evidence; nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from dawan_node.consensus import Mode as ReplicaMode
from dawan_node.consensus.messages import Commit, NewView, Prepare, PrePrepare, ViewChange, decode_message
from dawan_node.errors import InvalidInput
from dawan_node.node.bodies import RETIRED_MAX
from dawan_node.node.channel import Channel
from dawan_node.node.keeping import Keeping
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.metrics import Metrics
from dawan_node.node.restore import open_channel
from dawan_node.node.signer import NodeSigner
from dawan_node.node.verifier import Mode, Verifier
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.wal import Wal
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.module_kit import FOUNDERS, private_key_of
from dawan_node.testing.simulated_disk import SimulatedDisk
from tests.node.ledger import SELLERS, START_MS, Author
from tests.node.liars import Liar
from tests.node.virtual_time import VirtualClock, VirtualThread, run_virtually

#: Small segments, so that every run of some length rolls the log over and over.
SEGMENT_BYTES = 48 * 1024
LOG_FOLDER = Path("/log")


@dataclass(frozen=True, slots=True)
class Faults:
    """What the links do to a message: shares in percent, times in milliseconds."""

    loss: int = 0
    doubled: int = 0
    delay_ms: tuple[int, int] = (1, 5)


CALM = Faults()

#: What no node has to say of honest others, or of itself.
NEVER_LOGGED = frozenset(
    {
        "evidence",
        "halted",
        "message_refused",
        "module_fault",
        "own_key_elsewhere",
        "proposal_refused",
        "quarantine",
        "results_differ",
        "signing_disabled",
        "signing_refused",
        "synced_block_dropped",
    }
)


#: Catch-up and consensus may bring the same block at the same time; whoever is second drops it.
HARMLESS = frozenset({"consensus decided this height meanwhile"})


class _Ears(logging.Handler):
    """Hears what the nodes log."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster

    def emit(self, record: logging.LogRecord) -> None:
        details = getattr(record, "fields", {})
        event = record.getMessage()
        if event == "evidence" and details["voter"] in self._cluster.liar_indexes:
            return
        if event in NEVER_LOGGED and details.get("why") not in HARMLESS:
            self._cluster.trouble.append(f"{event} {details}")


@dataclass
class Node:
    """What of a node survives a crash, and its running part."""

    name: str
    role: Role
    folder: Path
    key_name: str
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    running: Running | None = None

    @property
    def peer(self) -> PeerId:
        return PeerId(self.name, self.name[:2], self.role, private_key_of(self.key_name).public_key)

    @property
    def channel(self) -> Channel:
        assert self.running is not None, f"{self.name} is down"
        return self.running.channel


@dataclass
class Running:
    """One life of a node."""

    channel: Channel
    verifier: Verifier
    log_writer: LogWriter
    links: Links
    threads: list[VirtualThread]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Links:
    """``channel.Links`` of one life of one node."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self.is_dead = False

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        assert chain_id == self._cluster.author.genesis.chain_id
        return not self.is_dead and self._cluster.carry(self._name, peer_name, topic, payload)

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        targets = [peer.name for peer in self.connected(chain_id)] if names is None else names
        return tuple(name for name in targets if self.send(name, chain_id, topic, payload))

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        nodes, is_linked = self._cluster.nodes.values(), self._cluster.is_linked
        return tuple(node.peer for node in nodes if is_linked(self._name, node.name))

    def round_trip_ms(self, peer_name: str) -> int | None:
        return None

    def report_violation(self, peer_name: str, why: str) -> None:
        self._cluster.trouble.append(f"{self._name} accuses {peer_name}: {why}")


class Cluster:
    """Four validators and ``observers``; use it inside ``simulate``."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        observers: int = 0,
        faults: Faults = CALM,
        segment_bytes: int = SEGMENT_BYTES,
        keeping: Callable[[Path], Keeping] | None = None,
    ) -> None:
        self._segment_bytes = segment_bytes
        self._keeping = keeping
        #: Nodes that want to be opened anew; a scenario does it.
        self.reopens: list[str] = []
        self.source = random.Random(seed)
        self.author = Author()
        self.clock = VirtualClock(START_MS)
        self.faults = faults
        self.trouble: list[str] = []
        self.submitted: dict[bytes, Transaction] = {}
        self.nodes: dict[str, Node] = {}
        self.liars: dict[str, Liar] = {}
        names = [(f"{org}1", Role.VALIDATOR) for org in FOUNDERS]
        names += [(f"gz{number + 8}", Role.OBSERVER) for number in range(observers)]
        for name, role in names:
            node = Node(name, role, folder / name, f"validator {name}")
            self.make_log(node)
            self.nodes[name] = node
        self._away: dict[str, frozenset[str]] = {}
        self._generation: Counter[frozenset[str]] = Counter()
        self._last_ms: dict[tuple[str, str, Topic], float] = defaultdict(float)
        self._signed: dict[tuple[object, ...], object] = {}
        self._proven_durable: set[bytes] = set()
        self._sets: dict[int, ValidatorSet] = {}  # by epoch, as the nodes came to know them

    def make_log(self, node: Node) -> None:
        """What ``init`` does together with the key."""
        node.disk.make_directory(LOG_FOLDER)
        Wal.create(LOG_FOLDER, node.disk)

    # Lives

    @property
    def validators(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.role is Role.VALIDATOR]

    @property
    def alive(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.running is not None]

    def start(self, *names: str) -> None:
        """Start nodes (all without names) from whatever their disks hold."""
        for name in names or list(self.nodes):
            node = self.nodes[name]
            assert node.running is None
            node.running = self._life(node)
            for other in self.alive:
                if self.is_linked(name, other.name):
                    other.channel.on_peer_up(node.peer)
                    node.channel.on_peer_up(other.peer)

    def _life(self, node: Node) -> Running:
        threads: list[VirtualThread] = []

        def thread(*_: Any, **__: Any) -> VirtualThread:
            threads.append(VirtualThread(self.source, longest_ms=4))
            return threads[-1]

        wal = Wal.open(LOG_FOLDER, segment_bytes=self._segment_bytes, files=node.disk)
        key = NodeSigner(private_key_of(node.key_name)) if node.role is Role.VALIDATOR else None
        keeping = None if self._keeping is None else self._keeping(node.folder)
        parts = open_channel(
            self.author.genesis, node.folder / "db", 1_000, wal.records(), key, self.clock.wall_ms(), keeping
        )
        verifier = Verifier(Mode.INLINE)
        links = Links(self, node.name)
        with (
            mock.patch("dawan_node.node.worker.deep_threads", thread),
            mock.patch("dawan_node.node.log_writer.ThreadPoolExecutor", thread),
        ):
            log_writer = LogWriter(wal)
            channel = Channel(parts, node.name, node.role, verifier, log_writer, links, self.clock, Metrics())
        channel.on_reopen = partial(self.reopens.append, node.name)
        log_writer.add_channel(channel.checkpoint)
        running = Running(channel, verifier, log_writer, links, threads)
        for work in (channel.run(), log_writer.run()):
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(partial(self._note_end, node.name))
            running.tasks.append(task)
        return running

    def corrupt(self, name: str, kind: type[Liar]) -> Liar:
        """Make a running node a liar for the rest of this life; it lies from now on."""
        liar = self.liars[name] = kind(self.nodes[name].channel, self.source)
        liar.start()
        return liar

    @property
    def liar_indexes(self) -> frozenset[int]:
        """The validator indexes of the liars."""
        keys = self.author.genesis.validator_set.public_keys
        return frozenset(keys.index(self.nodes[name].peer.public_key) for name in self.liars)

    def _note_end(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.trouble.append(f"{name} failed: {error!r}")

    async def crash(self, *names: str) -> None:
        """Cut the power: jobs that wait are not run, what the log did not sync is gone or torn."""
        for name in names:
            node = self.nodes[name]
            running, node.running = node.running, None
            assert running is not None
            running.links.is_dead = True
            for thread in running.threads:
                thread.die()
            node.disk = node.disk.crash(self.source)
            await self._end(running)
            running.channel.store.close()
            for other in self.alive:
                if other.name not in self._away.get(name, frozenset()):
                    self._cut(name, other.name)

    async def stop(self, *names: str) -> None:
        """An orderly end, as ``Node.run`` does it."""
        for name in names or [node.name for node in self.alive]:
            node = self.nodes[name]
            running, node.running = node.running, None
            assert running is not None
            running.links.is_dead = True
            await self._end(running)
            running.channel.close()
            running.log_writer.close()
            for other in self.alive:
                self._cut(name, other.name)

    async def _end(self, running: Running) -> None:
        for task in running.tasks:
            task.cancel()
        await asyncio.gather(*running.tasks, return_exceptions=True)
        await running.verifier.close()

    # Links

    def is_linked(self, one: str, other: str) -> bool:
        if one == other or other in self._away.get(one, frozenset()):
            return False
        known = self.nodes.get(one), self.nodes.get(other)
        return all(node is not None and node.running is not None for node in known)

    def partition(self, *groups: Sequence[str]) -> None:
        """Links exist inside the groups only; nodes in none of them are alone. Without groups, all links exist."""
        before = {name: [other for other in self.nodes if self.is_linked(name, other)] for name in self.nodes}
        together = {name: set(group) for group in groups for name in group}
        self._away = {
            name: frozenset(set(self.nodes) - together.get(name, set()) if groups else ()) for name in self.nodes
        }
        for name, others in before.items():
            for other in others:
                if name < other and not self.is_linked(name, other):
                    self._cut(name, other)
        for node in self.alive:
            for other in self.alive:
                if self.is_linked(node.name, other.name) and other.name not in before[node.name]:
                    node.channel.on_peer_up(other.peer)

    def heal(self) -> None:
        """The faults stop (what the literature calls GST)."""
        self.faults = CALM
        self.partition()

    def _cut(self, one: str, other: str) -> None:
        """What was on its way is lost; whoever is alive hears of it."""
        self._generation[frozenset((one, other))] += 1
        for name, gone in ((one, other), (other, one)):
            running = self.nodes[name].running
            if running is not None:
                running.channel.on_peer_down(self.nodes[gone].peer)

    def carry(self, sender: str, receiver: str, topic: Topic, payload: bytes) -> bool:
        """Put a message on a link; whether there is one."""
        if topic is Topic.CONSENSUS:
            self._watch(sender, payload)
        if not self.is_linked(sender, receiver):
            return False
        faults, source = self.faults, self.source
        # A link keeps the order inside a topic. What consensus makes of disorder is its own business, and TCP loses
        # and doubles nothing: only send queues overflow. Catch-up is promised order; the others must cope without.
        is_ordered = topic is Topic.SYNC
        copies = 1 if is_ordered or source.randrange(100) >= faults.doubled else 2
        for _ in range(copies):
            if source.randrange(100) < faults.loss:
                continue
            now_ms = self.clock.monotonic_ms()
            at_ms = now_ms + source.uniform(*faults.delay_ms)
            if is_ordered:
                # Timers of one moment run in no particular order, so each message gets a moment of its own.
                at_ms = self._last_ms[sender, receiver, topic] = max(
                    at_ms, self._last_ms[sender, receiver, topic] + 0.01
                )
            generation = self._generation[frozenset((sender, receiver))]
            asyncio.get_running_loop().call_at(
                at_ms / 1000, partial(self._deliver, sender, receiver, topic, payload, generation)
            )
        return True

    def _deliver(self, sender: str, receiver: str, topic: Topic, payload: bytes, generation: int) -> None:
        if generation != self._generation[frozenset((sender, receiver))] or not self.is_linked(sender, receiver):
            return
        try:
            self.nodes[receiver].channel.on_message(self.nodes[sender].peer, topic, payload)
        except InvalidInput as error:
            self.trouble.append(f"{receiver} refuses what {sender} sent on {topic.name}: {error!r}")

    # The wire: one statement per slot, and on disk before it leaves

    def _watch(self, sender: str, payload: bytes) -> None:
        message = decode_message(payload)
        node = self.nodes[sender]
        self._sets[node.channel.epoch] = node.channel.driver.replica._state.validators
        slot: tuple[Any, ...]
        match message:
            case PrePrepare():
                slot = ("prepare", message.header.epoch, message.view, message.header.height)
                voter, statement, signature = message.header.proposer, message.header.hash, message.signature
            case Prepare():
                slot = ("prepare", message.epoch, message.view, message.height)
                voter, statement, signature = message.voter, message.block_hash, message.signature
            case Commit():
                slot = ("commit", message.epoch, message.view, message.height)
                voter, signature = message.voter, message.signature
                statement = message.block_hash + message.result_hash
            case ViewChange():
                slot = ("view-change", message.epoch, message.new_view)
                voter, statement, signature = message.voter, payload, message.signature
            case NewView():
                slot = ("new-view", message.epoch, message.new_view)
                statement, signature = payload, message.signature
                voter = self._sets[message.epoch].primary(self.author.genesis.chain_id, message.epoch, message.new_view)
            case _:
                return
        if voter in self.liar_indexes:
            return
        known = self._signed.setdefault((voter, *slot), statement)
        if known != statement:
            self.trouble.append(f"validator {voter} signed two statements for {slot}")
        is_own = voter == self._sets[slot[1]].index_of(node.peer.public_key)
        if is_own and signature not in self._proven_durable:
            if any(signature in inode.durable for inode in self._log_files(node)):
                self._proven_durable.add(signature)
            else:
                self.trouble.append(f"a statement of {sender} for {slot} left before it was on disk")

    def _log_files(self, node: Node) -> Iterator[Any]:
        return iter(node.disk.directories[LOG_FOLDER].names.values())

    # Clients

    def transaction(self) -> Transaction:
        """A new invoice of some seller."""
        return self.author.transaction(self.source.choice(SELLERS), time_ms=self.clock.wall_ms())

    async def submit(self, name: str, *transactions: Transaction) -> None:
        """Send transactions to a node as a client does; refusals fail the test."""
        self.submitted |= {transaction.tx_id: transaction for transaction in transactions}
        verdicts = await self.nodes[name].channel.admission.submit([tx.envelope for tx in transactions])
        refused = [verdict.refusal for verdict in verdicts if verdict.refusal is not None]
        assert not refused, refused

    async def commit(self, name: str, *transactions: Transaction, seconds: float = 30.0) -> None:
        """Send transactions (one of its own without any) and wait until that node heard that they are stored."""
        given = transactions or (self.transaction(),)
        await self.submit(name, *given)
        told, find = self.nodes[name].channel, self.nodes[name].channel.store.blocks.find_tx
        await until(lambda: all((find(tx.tx_id) or (2**62,))[0] <= told.head.height for tx in given), seconds, name)

    async def load(self, count: int, every_ms: int = 20, burst: int = 4) -> None:
        """``count`` transactions at random nodes, a few at a time."""
        while count > 0:
            batch = [self.transaction() for _ in range(min(count, self.source.randint(1, burst)))]
            count -= len(batch)
            if self.alive:
                await self.submit(self.source.choice(self.alive).name, *batch)
            await asyncio.sleep(self.source.uniform(0, every_ms) / 1000)

    async def submit_again(self) -> None:
        """What clients do with what they have no receipt for: send the same bytes to somebody."""
        for transaction in list(self.submitted.values()):
            await self.submit(self.source.choice(self.alive).name, transaction)

    # After the faults

    async def settle(self, seconds: float = 60.0) -> int:
        """Wait until all living nodes agree and nothing is left to do, then compare what they stored; the height."""
        await until(self._is_settled, seconds, "agreement", self.describe)
        assert not self.trouble, self.trouble
        self._compare()
        await until(lambda: not any(self._left_over(node) for node in self.alive), 5.0, "tidy tables", self.describe)
        return self.alive[0].channel.head.height

    def _is_settled(self) -> bool:
        channels = [node.channel for node in self.alive]
        return bool(self.trouble) or (
            len({(channel.head.height, channel.head.block_hash) for channel in channels}) == 1
            and all(len(channel.pool) == 0 for channel in channels)
            and all(channels[0].store.blocks.find_tx(tx_id) for tx_id in self.submitted)
        )

    def _compare(self) -> None:
        stores = [node.channel.store for node in self.alive]
        blocks, genesis = stores[0].blocks, self.author.genesis
        height = stores[0].head.height
        executor, state = self.alive[0].channel.executor, MemoryState()
        start = executor.genesis_state()
        state.apply(start.changes)
        result, time_ms, seen = start.result, genesis.created_ms, Counter[bytes]()
        accusations: set[bytes] = set()  # sent in by validators, not by clients
        for at in range(1, height + 1):
            header, envelopes, stored = blocks.header(at), blocks.envelopes(at), blocks.result(at)
            assert header is not None and envelopes is not None and stored is not None
            for store in stores[1:]:
                assert store.blocks.header(at) == header and store.blocks.result(at) == stored
                assert store.blocks.receipts(at) == blocks.receipts(at)
                assert store.blocks.envelopes(at) == envelopes
            transactions = [Transaction.decode(envelope) for envelope in envelopes]
            assert executor.check_block(state, time_ms, header, transactions) is None
            execution = executor.execute(state, result, header, transactions)
            assert execution.result == stored and execution.receipts == blocks.receipts(at)
            state.apply(execution.changes)
            result, time_ms = stored, header.timestamp_ms
            seen.update(transaction.tx_id for transaction in transactions)
            accusations |= {tx.tx_id for tx in transactions if tx.body.command == "record_evidence"}
        assert set(seen) - accusations == set(self.submitted), "what is on chain is what was submitted"
        assert not accusations or self.liars
        assert not seen or max(seen.values()) == 1, "nothing executes twice"
        assert executor.violations(state, height=height, time_ms=time_ms) == []
        for node in self.alive:
            self._check_proof(node, height)
            accused = {evidence.voter for evidence in node.channel.driver.evidence}
            assert accused <= self.liar_indexes, f"{node.name} holds evidence against honest nodes"
            assert node.channel.driver.replica.status().state in (ReplicaMode.NORMAL, ReplicaMode.OBSERVER)

    def _check_proof(self, node: Node, height: int) -> None:
        """The head is proven to anybody who knows the genesis (as long as its validators are in office)."""
        blocks, genesis = node.channel.store.blocks, self.author.genesis
        proof = blocks.certificate(height) if height else None
        header, result = blocks.header(height), blocks.result(height)
        if proof is None or header is None or result is None or header.epoch:
            assert height == 0 or header is not None
            return
        encoded = FinalityProof(1, header.encode(), result.encode(), list(proof.links), proof.certificate).encode()
        proven, _ = FinalityProof.decode(encoded).verify(genesis.chain_id, 0, genesis.validator_set)
        assert proven == header

    def _left_over(self, node: Node) -> list[str]:
        """Tables of a node that still hold something of blocks long decided."""
        channel = node.channel
        driver, bodies = channel.driver, channel._bodies
        tables: dict[str, bool] = {
            "in flight": bool(driver._in_flight),
            "wanted": bool(driver._wanted) or not channel._gatherer.is_idle,
            "waiting for a parent": bool(driver._waiting_for_parent),
            "executed": bool(driver._executed),
            "executions": bool(driver._applier._executions),
            "branches": bool(driver._applier._branches),
            # Blocks that lost their place stay pinned until their heights are decided: at most twice the window.
            "bodies": len(bodies) > RETIRED_MAX + 8,
            "bodies in the log": len(list(bodies.logged())) > 8,
            "catch-up": channel.catch_up.status().active or driver.is_syncing,
            "signature checks": bool(channel.admission._checking),
        }
        return [name for name, is_left in tables.items() if is_left]

    def describe(self) -> str:
        """Where everybody stands, for a test that failed."""
        lines = [*self.trouble]
        for node in self.alive:
            channel, status = node.channel, node.channel.driver.replica.status()
            lines.append(
                f"{node.name}: {status.state} view {status.view}>{status.target} height {channel.head.height}"
                f" pool {len(channel.pool)} in flight {[(s.height, s.phase, s.have) for s in status.in_flight]}"
                f" suspects {status.suspects} waits for {status.waiting_for!r} sync {channel.catch_up.status()}"
                f" left over {self._left_over(node)}"
            )
        return "\n".join(lines)


async def until(look: Callable[[], bool], seconds: float, what: str, describe: Callable[[], str] = lambda: "") -> None:
    """Let virtual time pass until ``look`` is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not look():
        assert loop.time() < deadline, f"no {what} within {seconds} s\n{describe()}"
        await asyncio.sleep(0.01)


Scenario = Callable[[Cluster], Coroutine[Any, Any, None]]


def simulate(folder: Path, seed: int, scenario: Scenario, **options: Any) -> Cluster:
    """Run ``scenario`` on a fresh cluster whose nodes are all started; the cluster as it ended."""

    async def main() -> Cluster:
        cluster = Cluster(folder, seed, **options)
        ears = _Ears(cluster)
        logger = logging.getLogger("dawan_node")
        level = logger.level
        logger.setLevel(logging.INFO)  # some of it is said no louder
        logger.addHandler(ears)
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        cluster.start()
        try:
            await scenario(cluster)
        finally:
            await cluster.stop()
            logger.removeHandler(ears)
            logger.setLevel(level)
        assert not errors, errors
        assert not cluster.trouble, cluster.trouble
        return cluster

    return run_virtually(main)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder for databases whose syncs cost nothing, where there is such a place: runs of hundreds of blocks."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)
