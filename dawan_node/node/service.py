"""The node as JSON-RPC sees it: ``rpc.api.NodeApi`` over the running channels.

Reads go to a snapshot of one height and run in a small thread pool, so that neither a long query nor a cold disk
holds up the event loop. Nothing here changes a channel; submissions go through ``Channel.admission`` like gossip.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import dawan_node
from dawan_node.consensus.report import Mode, ReplicaStatus
from dawan_node.crypto.signatures import ED25519, ed25519_library
from dawan_node.errors import StorageError
from dawan_node.node.admission import Verdict
from dawan_node.node.channel import Channel
from dawan_node.node.clock import Clock
from dawan_node.node.consortium import Consortium
from dawan_node.node.deep_threads import deep_threads
from dawan_node.node.event_bus import Committed
from dawan_node.node.ledger import Ledger, status_of
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerState
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import api
from dawan_node.rpc.api import ApiError, At, SubmitOutcome, TxStatus, Wait
from dawan_node.storage.leveldb import library_version
from dawan_node.storage.state_view import HistoryPruned

T = TypeVar("T")

PROTOCOL_VERSION: Final = 1

#: Messages in one answer of ``pbft_evidence``, before hex doubles them: a reply has at most 5 MiB.
EVIDENCE_BYTES_MAX: Final = 2 * 1024 * 1024

#: Threads for reads; LevelDB serves several at once and releases the interpreter while it waits for the disk.
READERS: Final = 2


class Service:
    """Implements ``rpc.api.NodeApi``."""

    def __init__(
        self,
        name: str,
        org: str,
        consortium: Consortium,
        channels: Mapping[str, Channel],
        network: Network,
        clock: Clock,
        is_member: Callable[[str, str, frozenset[bytes]], bool],
        certificates: Callable[[], tuple[api.CertificateWarning, ...]] = tuple,
        storage_failed: Callable[[StorageError], None] = lambda error: None,
        disk: Callable[[], api.DiskInfo | None] = lambda: None,
    ) -> None:
        """``is_member``: see NodeApi. ``certificates``: those near their end. ``storage_failed``: stops the node.
        ``disk``: room as it was when last looked at; it must not ask the disk."""
        self._storage_failed: Final = storage_failed
        self._is_member: Final = is_member
        self._certificates: Final = certificates
        self._disk: Final = disk
        self._name: Final = name
        self._org: Final = org
        self._consortium: Final = consortium
        self._channels: Final = channels
        self._network: Final = network
        self._clock: Final = clock
        self._started_ms: Final = clock.monotonic_ms()
        self._descriptions: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._ledgers: Final = {name: Ledger(channel, consortium) for name, channel in channels.items()}
        self._readers: Final = deep_threads(READERS, "reader")

    def close(self) -> None:
        """End the reading threads."""
        self._readers.shutdown(cancel_futures=True)

    # Memory

    def version(self) -> api.VersionInfo:
        """See NodeApi."""
        return api.VersionInfo(
            dawan_node.__version__,
            PROTOCOL_VERSION,
            ED25519,
            platform.python_version(),
            library_version(),
            ed25519_library(),
        )

    def status(self) -> api.StatusInfo:
        """See NodeApi."""
        uptime_s = (self._clock.monotonic_ms() - self._started_ms) // 1000
        channels = tuple(self._channel_status(channel) for channel in self._channels.values())
        connected = sum(peer.state is PeerState.CONNECTED for peer in self._network.peers())
        network = self._consortium.network
        return api.StatusInfo(
            self._name, self._org, network, uptime_s, channels, connected, self._certificates(), self._disk()
        )

    def channels(self) -> tuple[str, ...]:
        """See NodeApi."""
        return tuple(self._channels)

    def is_member(self, channel: str, org: str, authorities: frozenset[bytes]) -> bool:
        """See NodeApi."""
        found = self._channels.get(channel)
        # The channel knows of a suspension with the block, the directory within a second of it.
        return found is not None and org in found.members and self._is_member(channel, org, authorities)

    def channel(self, channel: str) -> api.ChannelInfo:
        """See NodeApi."""
        found = self._channel(channel)
        validators = found.validators
        return api.ChannelInfo(
            found.name,
            found.chain_id,
            found.head.height,
            self.modules(channel),
            tuple(sorted(found.members)),
            tuple(found.validator_name(index) for index in range(validators.n)),
            validators.n,
            validators.f,
            validators.q,
        )

    def prepare_context(self, channel: str) -> api.PrepareContext:
        """See NodeApi."""
        found = self._channel(channel)
        now_ms = max(self._clock.wall_ms(), found.head.timestamp_ms)
        return api.PrepareContext(found.chain_id, now_ms, found.pool.lifetime_ms_max)

    def modules(self, channel: str) -> tuple[api.ModuleInfo, ...]:
        """See NodeApi."""
        registry = self._channel(channel).executor.registry
        return tuple(api.ModuleInfo(module.name, module.version) for module in registry.modules.values())

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        """See NodeApi."""
        described = self._descriptions.get((channel, module))
        if described is None:
            described = self._channel(channel).executor.describe(module)
            if described is None:
                raise ApiError.not_found("module", module, "module_list names the modules of a channel")
            # A module's code does not change while the process runs, and making its schemas takes milliseconds.
            self._descriptions[channel, module] = described
        return described

    def check_command(self, channel: str, module: str, command: str, args: Mapping[str, Any]) -> None:
        """See NodeApi."""
        self._channel(channel).executor.registry.check_command(module, command, dict(args))

    def pbft(self, channel: str) -> api.PbftInfo:
        """See NodeApi."""
        found = self._channel(channel)
        status = found.driver.replica.status()
        return api.PbftInfo(
            found.name,
            status.state.value,
            status.epoch,
            status.view,
            found.validator_name(status.primary),
            status.height,
            tuple(
                api.InFlight(
                    slot.height,
                    slot.phase,
                    tuple(found.validator_name(index) for index in slot.have),
                    tuple(found.validator_name(index) for index in slot.missing),
                )
                for slot in status.in_flight
            ),
            tuple((found.validator_name(index), view) for index, view in status.suspects),
            self._waits_for(found, status),
        )

    def evidence(self, channel: str) -> api.EvidenceReport:
        """See NodeApi."""
        found = self._channel(channel)
        left = EVIDENCE_BYTES_MAX

        def shown(message: bytes) -> bytes | None:
            nonlocal left
            if len(message) > left:
                return None
            left -= len(message)
            return message

        halted = found.driver.replica.halted
        halt = None
        if halted is not None:
            halt = api.HaltInfo(halted.reason, shown(halted.first), shown(halted.second))
        return api.EvidenceReport(
            tuple(
                api.EvidenceInfo(
                    held.evidence.kind.value,
                    held.evidence.epoch,
                    found.name_of(held.evidence.public_key),
                    shown(held.evidence.first),
                    shown(held.evidence.second),
                    held.on_chain,
                )
                for held in found.accuser.held
            ),
            halt,
        )

    def peers(self) -> tuple[api.PeerInfo, ...]:
        """See NodeApi."""
        names = {channel.chain_id: channel for channel in self._channels.values()}
        found = []
        for peer in self._network.peers():
            if peer.state is not PeerState.CONNECTED or peer.direction is None:
                continue
            shared = [names[chain_id] for chain_id in peer.channels if chain_id in names]
            behind = {
                channel.name: max(0, channel.head.height - channel.catch_up.claimed_height(peer.name))
                for channel in shared
            }
            found.append(
                api.PeerInfo(
                    peer.name,
                    peer.org,
                    peer.address,
                    peer.direction.value,
                    tuple(channel.name for channel in shared),
                    peer.rtt_ms,
                    behind,
                    peer.software,
                    peer.clock_skew_ms,
                )
            )
        return tuple(found)

    def pool(self, channel: str) -> api.PoolInfo:
        """See NodeApi."""
        stats = self._channel(channel).pool.stats()
        by_org = tuple((part.organisation, part.count, part.bytes) for part in stats.by_organisation)
        return api.PoolInfo(stats.count, stats.bytes, stats.count_max, stats.bytes_max, by_org)

    # Blocks

    async def head(self, channel: str) -> api.HeadInfo:
        """See NodeApi."""
        head = self._channel(channel).head
        return api.HeadInfo(head.height, head.block_hash, head.result.state_root, head.timestamp_ms)

    async def block(self, channel: str, at: At, full: bool) -> api.BlockInfo:
        """See NodeApi."""
        ledger = self._ledger(channel)
        return await self._read(lambda: ledger.block(at, full))

    async def finality_proof(self, channel: str, at: At) -> bytes:
        """See NodeApi."""
        ledger = self._ledger(channel)
        return await self._read(lambda: ledger.finality(ledger.height(at)))

    async def validators(self, channel: str, at: At) -> api.ValidatorsInfo:
        """See NodeApi."""
        found, ledger = self._channel(channel), self._ledger(channel)
        if at == "latest":
            return ledger.validators_info(found.epoch, found.validators, ledger.entries_now())
        return await self._read(lambda: ledger.validators_at(ledger.height(at)))

    # Transactions

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        """See NodeApi."""
        found = self._channel(channel)
        verdicts = await found.admission.submit(envelopes, bearer)
        committed = await self._wait(found, verdicts, timeout_ms) if wait is Wait.COMMITTED else {}
        # One look at the store for all that are on chain without having been waited for.
        on_chain = [
            verdict.transaction.tx_id
            for verdict in verdicts
            if verdict.transaction is not None
            and verdict.refusal is None
            and verdict.transaction.tx_id not in committed
            and (verdict.height is not None or wait is Wait.COMMITTED)
        ]
        if on_chain:
            stored = await self._read(lambda: {tx_id: self._ledger(channel).receipt(tx_id) for tx_id in on_chain})
            committed |= {tx_id: receipt for tx_id, receipt in stored.items() if receipt is not None}
        return [_outcome(verdict, committed, wait) for verdict in verdicts]

    async def _wait(
        self, channel: Channel, verdicts: Sequence[Verdict], timeout_ms: int
    ) -> dict[bytes, api.ReceiptInfo]:
        """The receipts of what was committed within ``timeout_ms``."""
        waiting: dict[asyncio.Future[Committed], Transaction] = {}
        for verdict in verdicts:
            transaction = verdict.transaction
            if transaction is None or verdict.refusal is not None or verdict.height is not None:
                continue
            future = channel.bus.wait_for(transaction.tx_id)
            if future is None:
                continue
            if channel.pool.get_by_id(transaction.tx_id) is None:
                # Committed between admission and now: the store knows it.
                channel.bus.forget(transaction.tx_id, future)
            else:
                waiting[future] = transaction
        if not waiting:
            return {}
        try:
            done, _ = await asyncio.wait(waiting, timeout=timeout_ms / 1000)
        finally:
            for future, transaction in waiting.items():
                channel.bus.forget(transaction.tx_id, future)
        receipts = {}
        for future in done:
            if not future.cancelled():
                commit, transaction = future.result(), waiting[future]
                receipts[transaction.tx_id] = api.ReceiptInfo(
                    commit.receipt, commit.block_hash, transaction.body.module
                )
        return receipts

    async def tx(self, channel: str, tx_id: bytes) -> api.TxInfo | None:
        """See NodeApi."""
        found = self._channel(channel)
        waiting = found.pool.get_by_id(tx_id)
        if waiting is not None:
            return api.TxInfo(waiting.envelope, TxStatus.PENDING, None)
        ledger = self._ledger(channel)
        info = await self._read(lambda: ledger.stored_tx(tx_id))
        if info is None:
            await self._read(ledger.require_all_blocks)
        return info

    async def receipt(self, channel: str, tx_id: bytes) -> api.ReceiptInfo | None:
        """See NodeApi."""
        ledger = self._ledger(channel)
        info = await self._read(lambda: ledger.receipt(tx_id))
        if info is None and self._channel(channel).pool.get_by_id(tx_id) is None:
            await self._read(ledger.require_all_blocks)
        return info

    async def tx_status(self, channel: str, tx_id: bytes) -> TxStatus:
        """See NodeApi. A transaction this node has never seen is UNKNOWN; EXPIRED needs its bytes (amendment A8)."""
        found = self._channel(channel)
        waiting = found.pool.get_by_id(tx_id)
        if waiting is not None:
            expired = found.head.timestamp_ms >= waiting.body.valid_until_ms
            return TxStatus.EXPIRED if expired else TxStatus.PENDING
        ledger = self._ledger(channel)
        info = await self._read(lambda: ledger.receipt(tx_id))
        return TxStatus.UNKNOWN if info is None else status_of(info.receipt)

    # State

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> api.StateInfo:
        """See NodeApi."""
        ledger = self._ledger(channel)
        return await self._read(lambda: ledger.state(module, collection, key, at, proof))

    async def query(
        self, channel: str, module: str, query: str, params: Mapping[str, Any], limit: int, cursor: bytes | None
    ) -> api.QueryPage:
        """See NodeApi."""
        ledger = self._ledger(channel)
        return await self._read(lambda: ledger.query(module, query, dict(params), limit, cursor))

    async def events(
        self, channel: str, after: api.EventPosition, limit: int, event_filter: api.EventFilter
    ) -> api.EventPage:
        """See NodeApi."""
        ledger = self._ledger(channel)
        return await self._read(lambda: ledger.events(after, limit, event_filter))

    async def members(self, channel: str) -> api.MemberList:
        """See NodeApi."""
        return await self._read(self._ledger(channel).members)

    async def member(self, channel: str, name: str) -> api.OrgInfo | api.IdentityInfo | None:
        """See NodeApi."""
        members = await self.members(channel)
        for org in members.orgs:
            if org.id == name:
                return org
        return next((identity for identity in members.identities if identity.name == name), None)

    # Behind them; the methods below run in a reading thread

    def _channel(self, name: str) -> Channel:
        found = self._channels.get(name)
        if found is None:
            raise ApiError.no_channel(name)
        return found

    def _ledger(self, channel: str) -> Ledger:
        return self._ledgers[self._channel(channel).name]

    async def _read(self, read: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, read)
        except HistoryPruned as error:
            if error.height > error.newest:
                raise ApiError.not_found("block", str(error.height), "chain_head names the newest height") from None
            raise ApiError.pruned(error.height, error.oldest) from None
        except StorageError as error:
            # Not an answer to one caller: what else this disk says may be wrong too.
            self._storage_failed(error)
            raise

    # Words

    def _channel_status(self, channel: Channel) -> api.ChannelStatus:
        status = channel.driver.replica.status()
        last_ms = channel.driver.last_commit_ms
        age_ms = None if last_ms is None else self._clock.monotonic_ms() - last_ms
        state = status.state.value
        sync, progress = channel.catch_up.status(), None
        if sync.active:
            rate = channel.sync_rate()
            progress = api.SyncProgress(sync.target, sync.verified, rate.blocks_per_s, rate.eta_s)
            if status.state in (Mode.OBSERVER, Mode.NORMAL):
                state = Mode.SYNCING.value
        primary = channel.validator_name(status.primary)
        height, healing_to = channel.head.height, channel.healing_to or None
        return api.ChannelStatus(channel.name, height, state, status.view, primary, age_ms, progress, healing_to)

    def _waits_for(self, channel: Channel, status: ReplicaStatus) -> str:
        if status.state is Mode.HALTED:
            return (
                f"{status.waiting_for}; both signed statements are in pbft_evidence and, in this node's home, in "
                f"log/halt-{channel.name}.json"
            )
        if status.state is Mode.QUARANTINE and channel.driver.alarms.divergence:
            return f"{status.waiting_for}; {channel.driver.alarms.divergence}"
        snapshot = None if channel.snapshots is None else channel.snapshots.status()
        if snapshot is not None:
            here = f"{snapshot.parts} of {snapshot.parts_total} parts are here"
            return f"a snapshot of height {snapshot.height:,}: {here}"
        return self._missing_quorum(channel) or status.waiting_for or channel.own_seat.text

    def _missing_quorum(self, channel: Channel) -> str:
        """One sentence naming the validators without which nothing can be decided, empty when there are enough."""
        validators = channel.validators
        linked = {peer.name for peer in self._network.connected(channel.chain_id)} | {self._name}
        names = [channel.validator_name(index) for index in range(validators.n)]
        missing = sorted(name for name in names if name not in linked)
        present = validators.n - len(missing)
        if present >= validators.q:
            return ""
        return f"a quorum: {present} of {validators.n} validators are linked, {validators.q} are needed; missing: " + (
            ", ".join(missing)
        )


def _outcome(verdict: Verdict, committed: Mapping[bytes, api.ReceiptInfo], wait: Wait) -> SubmitOutcome:
    tx_id = b"" if verdict.transaction is None else verdict.transaction.tx_id
    refusal = verdict.refusal
    if refusal is not None:
        why = api.Refusal(refusal.code, refusal.reason, refusal.detail, refusal.path)
        return SubmitOutcome(tx_id, TxStatus.UNKNOWN, refusal=why)
    receipt = committed.get(tx_id)
    if receipt is not None:
        return SubmitOutcome(tx_id, status_of(receipt.receipt), receipt)
    if wait is Wait.ACCEPTED:
        return SubmitOutcome(tx_id, TxStatus.PENDING)
    code = Code.E_WAIT_TIMEOUT
    late = api.Refusal(code, code.name, "not committed in time; it may still commit")
    return SubmitOutcome(tx_id, TxStatus.PENDING, refusal=late)
