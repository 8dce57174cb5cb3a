"""A whole node: every channel it serves, its network, its listeners, and an orderly end.

Everything is built complete before anything starts, in the order log, databases, channels, network, listeners; it
stops in the reverse order. One task group holds all that runs: the first part that fails stops the rest, and the
reason leaves ``run`` as an exception.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import dawan_node
from dawan_node import failpoints
from dawan_node.consensus.records import HaltedRecord
from dawan_node.consensus.report import Mode as ReplicaMode
from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate
from dawan_node.crypto.revocation import RevocationRule
from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node import data_directory
from dawan_node.node.backups.live import LiveBackups
from dawan_node.node.backups.making import About
from dawan_node.node.belonging import Belonging
from dawan_node.node.budget import PeerBudgets
from dawan_node.node.certificate_watch import CertificateWatch
from dawan_node.node.certificates import Certificates
from dawan_node.node.channel import Channel
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.clock import DevnetClock, SystemClock
from dawan_node.node.config import Config, parse_address
from dawan_node.node.consortium import Consortium
from dawan_node.node.directory import Directory, OwnPlace
from dawan_node.node.fail_stop import FailStop, doubt_is_over, is_in_doubt
from dawan_node.node.halt_report import write_halt
from dawan_node.node.home import Home, NodeKeys, read_certificates
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.logs import fields
from dawan_node.node.memory import Memory, Silence
from dawan_node.node.metrics import Metrics, Sample
from dawan_node.node.own_seat import own_seat
from dawan_node.node.rekey_steps import admin_of, listening, rekey_steps
from dawan_node.node.restore import OpenLedger, open_ledger, restore_ledger
from dawan_node.node.service import Service
from dawan_node.node.signer import NodeSigner
from dawan_node.node.storage_watch import StorageWatch
from dawan_node.node.verification import require_own_certificate, served_channels
from dawan_node.node.verifier import Mode, Verifier, choose_mode
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.meeting import LocalIdentity
from dawan_node.p2p.network import Network, NetworkSettings
from dawan_node.p2p.peers import PeerId, PeerState, Role
from dawan_node.primitives.genesis import Genesis
from dawan_node.rpc.api import ApiError, DiskInfo
from dawan_node.rpc.dispatch import Dispatcher
from dawan_node.rpc.server import OpsActions, OpsServer, RpcServer
from dawan_node.rpc.server_tls import ServerTls
from dawan_node.storage.files import make_private_directory
from dawan_node.storage.leveldb import drawn_write_buffer_bytes, library_version, write_buffer_bytes
from dawan_node.storage.room import Room

log = logging.getLogger(__name__)

#: With work waiting and no commit for so long a channel counts as stalled: several view changes at the first back-offs.
STALLED_MS: Final = 30_000
_NOT_SERVING: Final = (ReplicaMode.HALTED, ReplicaMode.QUARANTINE, ReplicaMode.SYNCING)


class Node:
    """One running node. Build it with the event loop running, then ``await run(stop)``."""

    def __init__(
        self,
        config: Config,
        home: Home,
        keys: NodeKeys,
        consortium: Consortium,
        clock: SystemClock,
        fail_stop: FailStop | None = None,
    ) -> None:
        """Opens the log and every database. Raises OperatorError or StorageError; nothing is left open then.

        ``fail_stop`` hears of storage errors while the node runs; without one the node has its own.
        """
        self._fail_stop: Final = fail_stop or FailStop()
        self._config: Final = config
        self._must_reopen: Final = asyncio.Event()
        self._clock: Final = clock
        self._metrics: Final = Metrics()
        self._mode, workers = _verifier_mode(config.node.verifier)
        self._verifier: Final = Verifier(
            self._mode, workers, account=lambda cpu_ns, count: self._metrics.stages.add("verify", cpu_ns, count)
        )
        name, org = config.node.name, config.node.org
        role = Role.VALIDATOR if consortium.is_validator(name) else Role.OBSERVER
        signer = NodeSigner(keys.node)
        names = served_channels(home, consortium, org)
        genesis = {channel: _genesis(home, consortium, channel) for channel in names}
        chains = {channel: each.chain_id for channel, each in genesis.items()}
        expected = data_directory.Belonging(consortium.network, name, signer.public_key, chains)
        mark = data_directory.check_data(home, expected)
        make_private_directory(home.data)
        self._room: Final = Room(home.data, config.storage.reserve_mib * 1024 * 1024)
        self._has_room = self._room.secure_for_start()
        if not self._has_room:
            log.critical("reserve_released", extra=fields(free=self._room.free_bytes(), next="free or add space"))
        self._storage_watch: Final = StorageWatch(self._room, self._note_log)
        failpoints.reach("node.before_log")
        validated = [each.name for each in consortium.document.channel if name in each.validators]
        steps = rekey_steps(
            home.path,
            name,
            org,
            validated,
            addresses=listening(config),
            admin=admin_of(consortium.document, org),
        )
        self._memory: Final = Memory(home, steps, mark, expected)
        failpoints.reach("node.after_log")
        wal = self._memory.wal
        self._log_writer = None if wal is None else LogWriter(wal)
        records = None if wal is None else wal.records()
        ledgers: list[OpenLedger] = []
        budgets = PeerBudgets(clock.monotonic_ms)
        opened: list[ChannelParts] = []
        self.channels: dict[str, Channel] = {}
        try:
            in_doubt, most_bytes = is_in_doubt(home.data), write_buffer_bytes(len(names), self._room.reserve_bytes)
            for channel in names:
                place, history = home.database(channel), config.storage.history
                keeping = config.storage.keeping(channel, home.channel_folder(channel))
                ledger = open_ledger(
                    genesis[channel],
                    place,
                    history,
                    records,
                    keeping,
                    observes=role is Role.OBSERVER,
                    in_doubt=in_doubt,
                    buffer_bytes=drawn_write_buffer_bytes(most_bytes),
                )
                ledgers.append(ledger)
            doubt_is_over(home.data)
            for ledger in ledgers:
                votes = ledger.votes(signer.public_key)
                self._memory.compare(ledger.genesis.chain_id, ledger.store.head.height, votes=votes)
            # Whose key is not in the validator set signs nothing; a vote may add it any day.
            key = signer if self._memory.may_sign and not config.node.observer else None
            # A key that only observes for now must not find itself in what it forgot when it votes again.
            watched = signer.public_key if self._memory.may_sign else None
            while ledgers:
                opened.append(restore_ledger(ledgers.pop(0), records, key, clock.wall_ms(), watched))
            own = OwnPlace(name, org, _own_authorities(home))
            self._belonging: Final = Belonging(own, consortium, opened, RevocationRule(config.p2p.revocation), clock)
            trust = self._belonging.directory.trust
            require_own_certificate(home, config.node, trust, clock.now())
            #: Who JSON-RPC is and whom it believes; None: it is plain, for this machine alone.
            self._rpc_tls: Final = ServerTls(keys.tls, self._is_own, trust, clock.now) if config.rpc.tls else None
            self._network: Final = Network(
                LocalIdentity(consortium.network, name, org, role, signer, keys.tls, dawan_node.__version__),
                self._belonging.directory.peers,
                trust,
                self._belonging.chain_ids_of,
                config.p2p.listen,
                self,
                clock,
                NetworkSettings(faults=config.devnet.faults),
            )
            for parts in opened:
                running = Channel(
                    parts, name, role, self._verifier, self._log_writer, self._network, clock, self._metrics, budgets
                )
                running.on_membership_changed = partial(self._membership_changed, running, signer.public_key)
                self._look_at_own_seat(running, signer.public_key)
                running.on_reopen = self._reopen
                running.blocks.on_poor_peer = self._network.give_up
                running.on_halted = partial(self._export_halt, home.halt_file(running.name), running)
                self.channels[running.name] = running
            snapshots = {running.name: running.store.snapshot for running in self.channels.values()}
            self._backups: Final = LiveBackups(home, About(consortium.network, name, org), snapshots, clock.now)
        except BaseException:
            # A channel closes the store of its parts; those that no channel was made of yet are closed here.
            for parts in opened[len(self.channels) :]:
                parts.store.close()
            for ledger in ledgers:
                ledger.store.close()
            self._close_storage()
            raise
        failpoints.reach("node.after_channels")
        self._belonging.on_change = self._take_directory
        self._by_chain: Final = {channel.chain_id: channel for channel in self.channels.values()}
        if self._log_writer is not None:
            for running in self.channels.values():
                self._log_writer.add_channel(running.checkpoint)
            # A channel that is not served now (its organisation left it, or the file lacks it) may come back, and what
            # the key signed there must not be forgotten by a new segment (amendment U7).
            unserved = [record for record in records or () if record.channel_id not in self._by_chain]
            self._log_writer.add_channel(lambda: unserved)
        self._certificates: Final = Certificates(
            name, org, keys.tls.certificate, own.authorities, lambda: self._belonging.directory.trust, clock
        )
        self._watch: Final = CertificateWatch(
            home,
            name,
            org,
            keys.tls,
            lambda: self._belonging.directory.trust,
            clock,
            self._renew,
            self._belonging.lists_changed,
        )
        self.service: Final = Service(
            name,
            org,
            consortium,
            self.channels,
            self._network,
            clock,
            self._belonging.is_member,
            self._certificates.warnings,
            self._fail_stop.report,
            self._disk,
        )
        dispatcher = Dispatcher(self.service, storage_failed=self._fail_stop.report)
        self._rpc: Final = RpcServer(dispatcher, allow_hosts=config.rpc.allow_hosts)
        admin: dict[str, Callable[[Mapping[str, Any]], Any]] = dict(self._backups.actions)
        if config.devnet.faults:
            admin["cut"] = self._cut
        if isinstance(clock, DevnetClock):
            admin["clock"] = self._move_clock
        self._ops: Final = OpsServer(OpsActions(self._not_ready, self._metrics.render, admin=admin))
        self._metrics.register(self._samples)
        self._metrics.register(self._certificates.samples)

    async def abandon(self) -> None:
        """Close everything of a node that is not to run."""
        self.service.close()
        await self._verifier.close()
        self._backups.close()
        self._close_storage()

    async def run(self, stop: asyncio.Event, started: Callable[[], None] = lambda: None) -> None:
        """Run until ``stop`` is set. Raises what ended the node early."""
        try:
            if not self._has_room:
                # Every database was opened and verified, so nothing is lost; but this is no disk to write to.
                self._room.secure()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._fail_stop.run(), name="fail-stop")]

                def start(work: Coroutine[Any, Any, None], name: str) -> None:
                    tasks.append(group.create_task(self._fail_stop.watch(work), name=name))

                for channel in self.channels.values():
                    start(channel.run(), channel.name)
                if self._log_writer is not None:
                    start(self._log_writer.run(), "log")
                self._watch.look(at_once=True)
                await self._network.start()
                start(self._network.wait(), "network")
                start(self._certificates.run(), "expiry")
                start(self._watch.run(), "certificates")
                start(self._belonging.run(), "membership")
                start(self._storage_watch.run(), "storage")
                failpoints.reach("node.before_listen")
                await self._rpc.start(*parse_address(self._config.rpc.listen), self._rpc_tls)
                await self._ops.start(*parse_address(self._config.ops.listen))
                log.info(
                    "node_started",
                    extra=fields(
                        node=self._config.node.name,
                        channels=",".join(self.channels),
                        p2p=self._network.listen_address,
                        rpc=self._config.rpc.listen,
                        ops=self._config.ops.listen,
                        signing=self._memory.may_sign,
                        verifier=self._mode.value,
                        leveldb=library_version(),
                    ),
                )
                failpoints.reach("node.started")
                started()
                await self._wait(stop)
                failpoints.reach("node.before_stop")
                log.info("node_stopping", extra=fields(node=self._config.node.name))
                await self._rpc.stop()
                await self._ops.stop()
                for task in tasks:
                    task.cancel()
        finally:
            await self._rpc.stop()
            await self._ops.stop()
            await self._network.stop()
            failpoints.reach("node.before_close")
            await self.abandon()
            failpoints.reach("node.after_close")
        log.info("node_stopped", extra=fields(node=self._config.node.name))

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until the node is told to stop, or a part of it needs everything opened anew."""
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._must_reopen.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    @property
    def must_reopen(self) -> bool:
        """After ``run``: whether the node wants to be built and run again (a snapshot waits to be installed)."""
        return self._must_reopen.is_set()

    def _reopen(self) -> None:
        self._must_reopen.set()

    def _is_own(self, certificate: NodeCertificate) -> bool:
        """Whether a caller of JSON-RPC is of this node's organisation."""
        directory = self._belonging.directory
        return certificate.org == self._config.node.org and directory.is_own(certificate.authorities)

    def _export_halt(self, path: Path, channel: Channel, halted: HaltedRecord) -> None:
        """A channel has stopped for good, now or before this start: its proof goes where people find it."""
        is_own_key = halted.is_own_key
        if is_own_key:
            # First of all, and for all channels, which share one log. Opened anew the node follows them and signs
            # nothing: the channels are as well as ever, it is only this key that is not.
            self._memory.forbid(Silence.OWN_KEY_ELSEWHERE)
            self._reopen()
        try:
            write_halt(path, self._config.node.name, channel.name, channel.chain_id, halted)
        except ConfigError as error:
            log.critical(
                "halt_not_exported",
                extra=fields(channel=channel.name, what=error.what, why=error.why, next=error.fix),
            )
            return
        log.critical(
            "halt_exported",
            extra=fields(
                channel=channel.name,
                why=halted.reason,
                file=str(path),
                next="this node goes on as an observer; find out where else the key is, and replace it (docs/rekey.md)"
                if is_own_key
                else "compare it with the other operators' files; the channel goes on only by an agreed restart",
            ),
        )

    # p2p.network.NetworkHandler

    def on_message(self, peer: PeerId, chain_id: bytes, topic: Topic, payload: bytes) -> None:
        """See NetworkHandler."""
        channel = self._by_chain.get(chain_id)
        if channel is not None:
            channel.on_message(peer, topic, payload)

    def on_peer_up(self, peer: PeerId, chain_ids: frozenset[bytes]) -> None:
        """See NetworkHandler."""
        for chain_id, channel in self._by_chain.items():
            if chain_id in chain_ids:
                channel.on_peer_up(peer)

    def on_peer_down(self, peer: PeerId) -> None:
        """See NetworkHandler."""
        for channel in self._by_chain.values():
            channel.on_peer_down(peer)

    # Certificates

    def look_at_files(self) -> None:
        """Take over certificates and revocation lists that changed on disk now (SIGHUP)."""
        self._watch.wake()

    def _membership_changed(self, channel: Channel, public_key: bytes) -> None:
        """A block may have changed who belongs to a channel, this node's key among them. Raises StorageError."""
        self._look_at_own_seat(channel, public_key)
        self._belonging.membership_changed()

    def _look_at_own_seat(self, channel: Channel, public_key: bytes) -> None:
        with channel.store.state.latest() as view:
            found = own_seat(channel.executor, view, self._config.node.name, public_key, signs=channel.signs)
        if found != channel.own_seat:
            channel.own_seat = found
            found.report(channel.name)

    def _renew(self, tls: CertifiedKey) -> None:
        self._network.renew(tls)
        if self._rpc_tls is not None:
            self._rpc_tls.renew(tls)
        self._certificates.renewed(tls.certificate)

    def _take_directory(self, directory: Directory) -> None:
        """Who belongs has changed: links that must go are cut now, and new peers are dialled."""
        log.info(
            "directory_changed",
            extra=fields(peers=len(directory.peers), orgs=",".join(sorted(directory.trust.roots))),
        )
        try:
            self._network.update(directory.peers, directory.trust)
            if self._rpc_tls is not None:
                self._rpc_tls.update(directory.trust)
        except OperatorError as error:
            # The directory leaves out what cannot be used; should something be left, every node of the channel meets it
            # in the same block, and not one may stop for it. What was believed before is still believed.
            log.critical("directory_refused", extra=fields(what=error.what, why=error.why, next=error.fix))

    # Health

    def _not_ready(self) -> Mapping[str, str]:
        """What keeps this node from serving: each check by name, with the reason. Empty: ready."""
        failing = self._certificates.failing()
        for channel in self.channels.values():
            status = channel.driver.replica.status()
            if status.state in _NOT_SERVING or channel.catch_up.is_active:
                why = status.waiting_for
                if status.state is ReplicaMode.QUARANTINE:
                    why = channel.driver.alarms.divergence or why
                failing[f"{channel.name}.state"] = f"{status.state.value}: {why}"
            last_ms = channel.driver.last_commit_ms
            oldest = min((part.oldest_ms for part in channel.pool.stats().by_organisation), default=None)
            if oldest is not None:
                quiet_ms = self._clock.wall_ms() - oldest
                if last_ms is not None:
                    quiet_ms = min(quiet_ms, self._clock.monotonic_ms() - last_ms)
                if quiet_ms > STALLED_MS:
                    failing[f"{channel.name}.commits"] = f"transactions wait; no commit for {quiet_ms} ms"
        return failing

    def _disk(self) -> DiskInfo:
        return DiskInfo(self._storage_watch.free_bytes, self._room.floor_bytes, self._room.reserve_bytes)

    def _samples(self) -> Iterator[Sample]:
        connected = sum(peer.state is PeerState.CONNECTED for peer in self._network.peers())
        yield "dawan_p2p_peers", {}, connected
        yield "dawan_storage_free_bytes", {}, self._storage_watch.free_bytes

    async def _move_clock(self, argument: Mapping[str, Any]) -> Any:
        """Devnet only: set the wall clock ``ahead_ms`` before the machine's; without it only say how it is set."""
        clock = self._clock
        assert isinstance(clock, DevnetClock)
        if "ahead_ms" in argument:
            ahead_ms = argument["ahead_ms"]
            if not isinstance(ahead_ms, int) or isinstance(ahead_ms, bool):
                raise ApiError.invalid("ahead_ms must be an integer", path="ahead_ms")
            try:
                clock.move(ahead_ms)
            except OperatorError as error:
                raise ApiError.invalid(str(error), path="ahead_ms") from None
            log.warning("clock_moved", extra=fields(ahead_ms=ahead_ms, now=clock.now().isoformat()))
            self._certificates.report()
        return {"ahead_ms": clock.ahead_ms, "now_ms": clock.wall_ms()}

    async def _cut(self, argument: Mapping[str, Any]) -> Any:
        """Devnet only: allow no links to the named nodes, and all others."""
        names = argument.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ApiError.invalid("names must be a list of node names", path="names")
        self._network.heal()
        self._network.cut(names)
        return {"cut": sorted(names)}

    def _note_log(self) -> None:
        self._memory.note()

    def _close_storage(self) -> None:
        for channel in self.channels.values():
            channel.close()
        self._storage_watch.close()
        if self._log_writer is not None:
            self._log_writer.close()
            self._memory.note()


def _own_authorities(home: Home) -> list[bytes]:
    """The certificates of its organisation's authority that this home keeps; a second node's home has none."""
    return read_certificates(home.authority_certificate) if home.authority_certificate.exists() else []


def _genesis(home: Home, consortium: Consortium, channel: str) -> Genesis:
    """The channel's genesis, equal to the one computed from consortium.toml. Raises OperatorError."""
    computed = consortium.genesis(channel)
    path = home.genesis_file(channel)
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read",
            error.strerror or "unknown reason",
            "Copy the network folder from whoever ran `network assemble`, then run `dawan-node network verify`.",
        ) from None
    if stored != computed.encoded:
        raise OperatorError(
            f"{path} is not the genesis of consortium.toml",
            f"its bytes differ from chain {computed.chain_id.hex()[:16]}",
            "Run `dawan-node network verify` and compare chain ids with the other parties.",
        )
    return computed


def _verifier_mode(setting: str) -> tuple[Mode, int]:
    if setting == "auto":
        return choose_mode()
    return Mode(setting), max(1, len(os.sched_getaffinity(0)) - 1)
