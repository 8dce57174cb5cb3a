"""One node of a simulation: the real channel over a simulated disk, from power on to power off, again and again.

What survives a crash is the disk under the write-ahead log, less what was not synced, and the database, whose writes
are synced and whole. A life is everything else. Inputs that come while the log is being synced wait, as they do in
``node.driver``; what arrives while the node is frozen waits in the sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dawan_node.consensus import Ready, Record, Replica, ReplicaConfig, VoteSigner
from dawan_node.consensus.records import HaltedRecord
from dawan_node.crypto.signatures import PrivateKey, verify_ed25519
from dawan_node.errors import StorageError
from dawan_node.execution.executor import Executor
from dawan_node.node.channel import DUTY_MS, Channel
from dawan_node.node.restore import restore_channel
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.transaction import Transaction
from dawan_node.storage.channel_store import ChannelStore, write_genesis
from dawan_node.storage.kv import MemoryStore
from dawan_node.storage.wal import Wal, WalRecord
from dawan_node.testing.simulated_disk import SimulatedDisk
from dawan_node.testing.simulated_node import TestSigner, fake_verify
from dawan_node.testing.simulator.contract import InlineChecks, node_key, node_name, org_of
from dawan_node.testing.simulator.runtime import NoMetrics, PowerCut, SimulatedClock, SimulatedRuntime, finish

if TYPE_CHECKING:
    from dawan_node.testing.simulator.scene import Scene

LOG_FOLDER: Final = Path("/log")


class Disk:
    """How fast, and how honest, a node's disk is. ``forgets``: it says synced and is not (for the checkers' teeth)."""

    def __init__(self) -> None:
        self.sync_ms = (0, 3)
        self.job_ms = (0, 3)
        self.segment_bytes = 48 * 1024
        self.forgets = False


class SimulatedNode:
    """Node ``number`` of a scene; a twin has a number of its own and another node's key."""

    def __init__(self, scene: Scene, number: int, key_number: int, role: Role) -> None:
        self.scene = scene
        self.number = number
        self.name = node_name(key_number)
        self.key: PrivateKey = node_key(key_number)
        self.peer = PeerId(self.name, org_of(key_number), role, self.key.public_key)
        self.clock = SimulatedClock(scene.world, scene.genesis.created_ms, 0)
        self.disk_habits = Disk()
        self.files = SimulatedDisk()
        self.files.make_directory(LOG_FOLDER)
        Wal.create(LOG_FOLDER, self.files)
        self.database = MemoryStore()
        write_genesis(self.database, scene.genesis_state.result, scene.genesis_state.changes, scene.genesis.created_ms)
        self.life: Life | None = None
        self.lives = 0
        self.is_frozen = False
        self._waiting_frozen: list[Callable[[], None]] = []
        #: Power fails at the so many-th action from now on.
        self.power_cut_in: int | None = None
        #: What the log has promised to hold since its last checkpoint.
        self.promised: list[WalRecord] = []
        #: The checkpoint that is about to replace all that.
        self.rolling: list[WalRecord] | None = None
        #: What it promised before that: a Ready whose records begin a segment may send what the last one held.
        self.retired: list[WalRecord] = []
        #: Signatures that have left, in whatever life.
        self.sent: set[bytes] = set()
        #: Liars' hooks; None for an honest node.
        self.liar: Liar | None = None
        #: Its home was put back as ``init`` made it: an honest program that does not know what its key has signed.
        self.is_forgetful = False
        #: It found that out: no later life has a signer (``node.memory``).
        self.is_silenced = False

    @property
    def is_honest(self) -> bool:
        """Whether the checkers hold this node to the rules."""
        return self.liar is None

    @property
    def is_up(self) -> bool:
        """Whether it has power."""
        return self.life is not None

    @property
    def channel(self) -> Channel:
        """The running channel."""
        assert self.life is not None, f"{self.name} is down"
        return self.life.channel

    @property
    def height(self) -> int:
        """The height of the store; 0 while down and in the beginning."""
        return 0 if self.life is None else self.life.channel.head.height

    # Power

    def start(self) -> None:
        """Power on, from disk."""
        if self.life is None:
            self.lives += 1
            wal = Wal.open(LOG_FOLDER, segment_bytes=self.disk_habits.segment_bytes, files=self.files)
            records = wal.records()
            self.scene.checks.recovered(self, records)
            self.files.listener = self.count_action
            self.life = Life(self, wal, records)
            self.scene.world.note("start", b"%d" % self.number)
            self.life.begin()

    def crash(self, is_killed: bool = False) -> None:
        """Power off: what was not synced is gone, torn, or by chance there. Killed: what was written stays, until the
        machine loses power itself."""
        if self.life is not None:
            self.life.end()
            self.life = None
            self.is_frozen = False
            self._waiting_frozen.clear()
            self.power_cut_in = None
            self.files.listener = None
            if is_killed:
                return
            written, synced = _log_bytes(self.files)
            self.files = self.files.crash(self.scene.world.random)
            kept, _ = _log_bytes(self.files)
            self.scene.world.counts["log tail lost"] += kept < written
            self.scene.world.counts["log tail torn"] += synced < kept < written
            self.scene.world.note("crash", b"%d" % self.number)

    def put_back(self) -> None:
        """While it is down: the whole home becomes again what ``init`` made, with the same key."""
        assert self.life is None
        scene, self.files, self.database = self.scene, SimulatedDisk(), MemoryStore()
        self.files.make_directory(LOG_FOLDER)
        Wal.create(LOG_FOLDER, self.files)
        write_genesis(self.database, scene.genesis_state.result, scene.genesis_state.changes, scene.genesis.created_ms)
        self.promised, self.rolling, self.retired = [], None, []
        self.sent.clear()
        self.is_forgetful = True
        scene.checks.forget(self)

    def halted(self, halted: HaltedRecord) -> None:
        """What ``node.Node`` does when a channel has stopped: for its own key's sake it opens anew without a signer."""
        if halted.is_own_key and self.is_forgetful:
            self.is_silenced = True
            self.scene.world.counts["forgotten vote found"] += 1
            self.scene.world.at(0, partial(self.scene.reopen, self.number))

    def freeze(self) -> None:
        """Stop as by SIGSTOP: nothing is done, nothing is lost."""
        self.is_frozen = self.is_up

    def thaw(self) -> None:
        """Go on with everything that came meanwhile, before anything that comes now: links keep their order."""
        self.is_frozen = False
        waiting, self._waiting_frozen = self._waiting_frozen, []
        for action in waiting:  # at once: what arrives at this very moment comes after them
            action()

    def perform(self, life: Life, action: Callable[[], None]) -> None:
        """Do something of ``life`` if it still lives, when it is not frozen, and with the power that is there."""
        if self.life is not life:
            return
        if self.is_frozen:
            self._waiting_frozen.append(partial(self.perform, life, action))
            return
        try:
            action()
        except PowerCut:
            self.scene.world.counts["crash in the middle of an action"] += 1
            self.scene.power_lost(self)
        except StorageError as error:
            if self.liar is None:
                raise
            # Whoever computes wrong results on purpose may find that it cannot store what the others certified.
            self.scene.world.counts["liar that broke itself"] += 1
            self.scene.world.say(f"{self.name}, a liar, stops: {error}")
            self.scene.power_lost(self)

    def count_action(self, _: str) -> None:
        """A step at which power may fail."""
        if self.power_cut_in is not None:
            self.power_cut_in -= 1
            if self.power_cut_in <= 0:
                raise PowerCut

    def make_signer(self, records: list[Record]) -> VoteSigner:
        """The voter, with an account of what the log says it signed."""
        chain_id = self.scene.genesis.chain_id
        if self.liar is not None:
            return self.liar.signer(self, chain_id)
        signer = TestSigner(self.key, chain_id, self.scene.is_real)
        signer.guard.restore(records)
        return signer


def _log_bytes(disk: SimulatedDisk) -> tuple[int, int]:
    """How long the log is, and how much of it is synced."""
    files = disk.directories[LOG_FOLDER].names.values()
    return sum(len(inode.content) for inode in files), sum(len(inode.durable) for inode in files)


class Liar:
    """What a Byzantine node does otherwise. The base class is honest but for its missing conscience."""

    def signer(self, node: SimulatedNode, chain_id: bytes) -> VoteSigner:
        """A signer that remembers nothing, so it signs whatever it is asked to."""
        return _Unscrupulous(node.key, chain_id, node.scene.is_real)

    def consensus(self, node: SimulatedNode, names: Sequence[str], payload: bytes) -> None:
        """Instead of sending a consensus message to peers."""
        for name in names:
            node.scene.network.transmit(node, name, Topic.CONSENSUS, payload)

    def other(self, node: SimulatedNode, name: str, topic: Topic, payload: bytes) -> bytes | None:
        """What really leaves on another topic; None for nothing."""
        return payload

    def heard(self, node: SimulatedNode, sender: str, topic: Topic, payload: bytes) -> None:
        """Something arrived."""

    def tick(self, node: SimulatedNode) -> None:
        """Every ``DUTY_MS``."""

    def prepare(self, node: SimulatedNode, replica: Replica) -> None:
        """Change the replica before its life begins."""
        replica._state.stop_for_own_key = lambda statement: None  # type: ignore[method-assign]

    def begin(self, node: SimulatedNode) -> None:
        """Change the channel when a life begins."""


class _Unscrupulous(TestSigner):
    __test__ = False

    def sign(self, statement: object) -> bytes:
        from dawan_node.consensus import SlotGuard

        self.guard = SlotGuard(self.guard._chain_id)
        return super().sign(statement)  # type: ignore[arg-type]

    def decided(self, epoch: int, height: int, block_hash: bytes, result_hash: bytes) -> None:
        pass


class Life:
    """From one power on to the next power off."""

    def __init__(self, node: SimulatedNode, wal: Wal, records: Sequence[WalRecord]) -> None:
        scene = node.scene
        self.node = node
        self.wal = wal
        self._world = scene.world
        self._sends_at = 0
        self._turn_at: int | None = None
        self._waits_for_sync: Ready | None = None
        self._is_woken = False
        self._unsynced: list[WalRecord] = []
        self._rolls = False
        #: What the pool took from clients in this life, by id, with the leaf hash; the checks take out what is done.
        self.taken: dict[bytes, bytes] = {}
        self.links = Links(node, self)
        executor = Executor(scene.modules(), scene.genesis)
        store = ChannelStore.over(node.database, scene.genesis.chain_id, history=64, cache_bytes=1 << 20)
        config = ReplicaConfig(
            scene.genesis.chain_id,
            scene.genesis.created_ms,
            scene.timers,
            verify_ed25519 if scene.is_real else fake_verify,
            listens_first=True,
        )
        make_signer = None if node.is_silenced else node.make_signer
        parts = restore_channel(scene.genesis, executor, store, records, make_signer, config, node.clock.wall_ms())
        if node.liar is not None:
            node.liar.prepare(node, parts.replica)
        else:
            scene.checks.duties.watch(node, parts.replica)
        runtime = SimulatedRuntime(self.soon, self._wake, self._job_ms, node.count_action)
        self.channel = Channel(
            parts,
            node.name,
            node.peer.role,
            InlineChecks(scene.is_real),
            None,
            self.links,
            node.clock,
            NoMetrics(),
            runtime=runtime,
        )
        self.channel.on_halted = node.halted
        self.replica = parts.replica

    def begin(self) -> None:
        """First turn, first duties, and links to whoever is there."""
        if self.node.liar is not None:
            self.node.liar.begin(self.node)
        self._wake()
        self.soon(self._world.random.randrange(DUTY_MS), self._duties)

    def end(self) -> None:
        """No callback of this life takes effect any more (``perform`` sees to that)."""
        self.links.is_dead = True

    def soon(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do ``action`` later, in this life."""
        self._world.at(delay_ms, partial(self.node.perform, self, action))

    def receive(self, peer: PeerId, topic: Topic, payload: bytes) -> None:
        """Something came over a link. Raises InvalidInput as the channel does."""
        self.channel.on_message(peer, topic, payload)

    def submit(self, transactions: Sequence[Transaction]) -> int:
        """Hand in transactions as a client; how many were taken or known."""
        verdicts = finish(self.channel.admission.submit([transaction.envelope for transaction in transactions]))
        for verdict in verdicts:
            if verdict.refusal is None and verdict.transaction is not None and verdict.height is None:
                self.taken[verdict.transaction.tx_id] = verdict.transaction.leaf_hash
        return sum(1 for verdict in verdicts if verdict.refusal is None)

    @property
    def waits_for_disk(self) -> bool:
        """Whether what the replica wants to say waits for the log."""
        return self._waits_for_sync is not None

    # The driver's loop

    def _wake(self) -> None:
        if self._waits_for_sync is not None:
            self._is_woken = True
        elif self._turn_at is None or self._turn_at > self._world.now:
            self._turn_at = self._world.now
            self.soon(0, partial(self._turn, self._world.now))

    def _turn(self, at: int) -> None:
        if self._waits_for_sync is not None or self._turn_at != at:
            return
        self._turn_at = None
        self.channel.driver.turn()
        self._drain()

    def _drain(self) -> None:
        """Carry out what the replica wants, up to the next sync."""
        driver = self.channel.driver
        while ready := self.replica.ready():
            self.node.scene.checks.wanted(self.node, ready)
            records = [*driver.log_records(ready.records), *driver.log_evidence(ready.evidence)]
            if records:
                self._write(records)
                self._waits_for_sync = ready
                self.soon(self._world.between(*self.node.disk_habits.sync_ms), self._synced)
                return
            driver.carry_out(ready)
        if driver.has_inputs or self._is_woken:
            self._is_woken = False
            self._wake()
            return
        due_ms = driver.wait_ms()
        if due_ms is not None:
            at = self._world.now + max(1, due_ms)
            if self._turn_at is None or at < self._turn_at:
                self._turn_at = at
                self.soon(at - self._world.now, partial(self._turn, at))

    def _write(self, records: list[WalRecord]) -> None:
        self.node.count_action("append")
        if self.wal.should_roll:
            checkpoint = [*records, *self.channel.checkpoint()]
            self.node.rolling = checkpoint
            self.wal.roll(checkpoint)
            self._unsynced, self._rolls = checkpoint, True
            self._world.counts["log segment rolled"] += 1
        else:
            self.wal.append(records)
            self._unsynced, self._rolls = records, False

    def _synced(self) -> None:
        self.node.count_action("sync")
        if self.node.disk_habits.forgets:
            with self.node.files.forgetting():
                self.wal.sync()
        else:
            self.wal.sync()
        if self._rolls:
            self.node.retired = list(self.node.promised)
            self.node.promised.clear()
            self.node.rolling = None
        self.node.promised.extend(self._unsynced)
        self.node.count_action("synced")
        ready, self._waits_for_sync = self._waits_for_sync, None
        assert ready is not None
        self.channel.driver.carry_out(ready)
        self._drain()

    def _duties(self) -> None:
        self.channel.do_duties()
        if self.node.liar is not None:
            self.node.liar.tick(self.node)
        self.soon(DUTY_MS, self._duties)

    def _job_ms(self) -> int:
        return self._world.between(*self.node.disk_habits.job_ms)


class Links:
    """``node.channel.Links`` of one life."""

    def __init__(self, node: SimulatedNode, life: Life) -> None:
        self._node = node
        self._life = life
        self._network = node.scene.network
        self.is_dead = False

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        """See node.channel.Links."""
        self.broadcast(chain_id, topic, payload, (peer_name,))
        return True

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """See node.channel.Links."""
        if self.is_dead:
            return ()
        node = self._node
        targets = [peer.name for peer in self._network.peers_of(node)] if names is None else names
        if topic is Topic.CONSENSUS:
            if node.liar is not None:
                node.liar.consensus(node, targets, payload)
                return tuple(targets)
            node.scene.checks.sent(node, payload)
        for name in targets:
            node.count_action("send")
            leaves = payload if node.liar is None else node.liar.other(node, name, topic, payload)
            if leaves is not None:
                self._network.transmit(node, name, topic, leaves)
        return tuple(targets)

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        """See node.channel.Links."""
        return self._network.peers_of(self._node)

    def round_trip_ms(self, peer_name: str) -> int | None:
        """Pings are not part of the simulation."""
        return None

    def report_violation(self, peer_name: str, why: str) -> None:
        """See node.channel.Links."""
        self._network.violated(self._node, peer_name, why)
