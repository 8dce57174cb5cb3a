"""What a channel starts from: its database, what the log remembers, and whether its key may still sign.

The log is written before the database. So after a crash the database may be a few blocks behind the log, never ahead:
a database that is ahead belongs to another log, which means that votes were forgotten, and the key may not vote again
until it is replaced on chain (amendment U6). The same holds when there is no log at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from dawan_node import failpoints
from dawan_node.consensus.config import Head, ReplicaConfig
from dawan_node.consensus.records import (
    SHELL_KINDS_FROM,
    CommitRecord,
    DecidedRecord,
    PrepareRecord,
    Record,
    RecordKind,
    recorded_height,
)
from dawan_node.consensus.replica import Replica
from dawan_node.consensus.signer import VoteSigner
from dawan_node.errors import DataRefusal, DataRefused, InvalidEncoding, OperatorError, StorageError, StorageReason
from dawan_node.execution.executor import Executor
from dawan_node.execution.module import DeclarationError
from dawan_node.execution.registry import Registry
from dawan_node.node.accuser import EVIDENCE_RECORD, decode_records
from dawan_node.node.applier import rules_of
from dawan_node.node.bodies import BODIES_RECORD, BlockBody, Bodies
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.keeping import Keeping
from dawan_node.node.logs import fields
from dawan_node.node.module_package import require_pinned
from dawan_node.node.signer import ChannelSigner, NodeSigner
from dawan_node.node.snapshot_install import adopt
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.leveldb import is_initialised, set_aside, set_aside_remains
from dawan_node.storage.wal import WalRecord

log = logging.getLogger(__name__)

_FINAL_KINDS: Final = (RecordKind.DECIDED, RecordKind.SYNCED)
_HEALS: Final = "nothing: the node fetches the ledger from its peers, and signs nothing until it is as far as its log"


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """A channel's open and verified database, with the code that runs on it."""

    genesis: Genesis
    executor: Executor
    store: ChannelStore
    keeping: Keeping | None = None
    healing_to: int = 0  # see ChannelParts

    def votes(self, public_key: bytes) -> bool:
        """Whether the key is of the set that decides the next block."""
        return any(key == public_key for _, _, _, key in self.executor.configuration(self.store.state).validators)


def open_ledger(
    genesis: Genesis,
    database: Path,
    history: int,
    log_records: Iterable[WalRecord] | None,
    keeping: Keeping | None = None,
    *,
    observes: bool = False,
    in_doubt: bool = False,
    buffer_bytes: int | None = None,
) -> OpenLedger:
    """Open or create the channel's database; ``in_doubt``: read all of it first. A snapshot that was fetched for it
    comes first. ``observes``: the node only follows validators, who have what it has. ``buffer_bytes``: as for
    ``LevelDBStore.open``.

    A damaged one is set aside, and an empty one takes its place: the peers have the same blocks, the log is what keeps
    the key from contradicting itself, and nothing is signed before the chain has reached the log's head. Raises
    OperatorError (DataRefused where there is no peer to fetch the ledger from) or StorageError.
    """
    require_pinned(genesis)
    try:
        registry = Registry.load([(module.name, module.version) for module in genesis.modules])
    except DeclarationError as error:
        raise OperatorError(
            f"channel {genesis.channel} cannot run here",
            str(error),
            "Install the package that brings this module in this version; `dawan-node module list` shows what is here.",
        ) from None
    executor = Executor(registry, genesis)
    if keeping is not None:
        adopt(database, keeping.incoming, _logged_height(genesis.chain_id, log_records))
    records = _replica_records(genesis, log_records)
    if not (is_initialised(database) and database.exists()):
        if recorded_height(records):
            _require_peers(genesis, observes, database, "it is not there, and the log knows of decided blocks")
            log.critical("ledger_lost", extra=fields(channel=genesis.channel, next=_HEALS))
        set_aside_remains(database)
        _create(genesis, executor, database)
    failpoints.reach("restore.before_open")
    try:
        store = ChannelStore.open(database, genesis.chain_id, history=history, scan=in_doubt, buffer_bytes=buffer_bytes)
    except StorageError as error:
        if error.reason is not StorageReason.CORRUPT:
            raise
        _require_peers(genesis, observes, database, f"it is damaged: {error}")
        aside = set_aside(database)
        log.critical(
            "database_damaged",
            extra=fields(channel=genesis.channel, error=str(error), kept=str(aside), next=_HEALS),
        )
        _create(genesis, executor, database)
        store = ChannelStore.open(database, genesis.chain_id, history=history, buffer_bytes=buffer_bytes)
    healing_to = 0
    try:
        if _lacks_blocks(records, store.head.height, _logged_bodies(genesis, log_records)):
            healing_to = recorded_height(records) or 0
            _require_peers(
                genesis, observes, database, "it is older than the log, which does not hold the blocks between"
            )
    except BaseException:
        store.close()
        raise
    return OpenLedger(genesis, executor, store, keeping, healing_to)


def _create(genesis: Genesis, executor: Executor, database: Path) -> None:
    failpoints.reach("restore.before_create")
    first = executor.genesis_state()
    ChannelStore.create(database, first.result, first.changes, genesis.created_ms)
    failpoints.reach("restore.after_create")


def _require_peers(genesis: Genesis, observes: bool, database: Path, why: str) -> None:
    """Raises DataRefused on a channel of one validator, but for an observer: nobody else may have what is lost."""
    if observes or genesis.validator_set.n > 1:
        return
    raise DataRefused(
        DataRefusal.NO_PEERS,
        f"{database} is not made anew",
        f"{why}; channel {genesis.channel} has one validator, so nobody else has its blocks",
        "Put back the database itself, or restore the newest backup into a new home: dawan-node backup list, then "
        "dawan-node backup restore (docs/storage.md).",
    )


def _lacks_blocks(records: Sequence[Record], height: int, bodies: set[bytes]) -> bool:
    """Whether the log knows of a block above ``height`` that cannot be made again from the log alone."""
    decided = [DecidedRecord.decode(record.payload).header for record in records if record.kind in _FINAL_KINDS]
    above = {header.height: header.hash for header in decided if header.height > height}
    return any(above.get(at) not in bodies for at in range(height + 1, max(above, default=height) + 1))


def _logged_bodies(genesis: Genesis, log_records: Iterable[WalRecord] | None) -> set[bytes]:
    return {
        BlockBody.recorded_hash(record.payload)
        for record in log_records or ()
        if record.kind == BODIES_RECORD and record.channel_id == genesis.chain_id
    }


def _replica_records(genesis: Genesis, log_records: Iterable[WalRecord] | None) -> list[Record]:
    own = [record for record in log_records or () if record.channel_id == genesis.chain_id]
    return [Record(RecordKind(record.kind), record.payload) for record in own if record.kind < SHELL_KINDS_FROM]


def open_channel(
    genesis: Genesis,
    database: Path,
    history: int,
    log_records: Iterable[WalRecord] | None,
    key: NodeSigner | None,
    now_ms: int,
    keeping: Keeping | None = None,
) -> ChannelParts:
    """``open_ledger`` and ``restore_ledger`` in one, for whoever has one channel."""
    ledger = open_ledger(genesis, database, history, log_records, keeping)
    return restore_ledger(ledger, log_records, key, now_ms)


def restore_ledger(
    ledger: OpenLedger,
    log_records: Iterable[WalRecord] | None,
    key: NodeSigner | None,
    now_ms: int,
    watched: bytes | None = None,
) -> ChannelParts:
    """The parts of a channel from its open database and the log of the whole node, None when it has none; ``key`` is
    None where it may not sign, ``watched`` is then one that may again some day. Closes the database when it raises:
    OperatorError or StorageError."""
    genesis = ledger.genesis
    signer_of = None if key is None else partial(key.channel, genesis.chain_id)
    config = ReplicaConfig(genesis.chain_id, genesis.created_ms, own_key=watched, listens_first=True)
    try:
        parts = restore_channel(genesis, ledger.executor, ledger.store, log_records, signer_of, config, now_ms)
        return replace(parts, keeping=ledger.keeping, healing_to=ledger.healing_to)
    except BaseException:
        ledger.store.close()
        raise


def restore_channel(
    genesis: Genesis,
    executor: Executor,
    store: ChannelStore,
    log_records: Iterable[WalRecord] | None,
    signer_of: Callable[[list[Record]], VoteSigner] | None,
    config: ReplicaConfig,
    now_ms: int,
) -> ChannelParts:
    """The parts of a channel from its open database and the node's log; ``signer_of`` makes a signer that knows what
    these records say was signed. Raises OperatorError or StorageError."""
    head = head_of(genesis, store, executor)
    own = [record for record in log_records or () if record.channel_id == genesis.chain_id]
    records = [Record(RecordKind(r.kind), r.payload) for r in own if r.kind < SHELL_KINDS_FROM]
    signer: VoteSigner | None = None
    if signer_of is not None and log_records is not None and _is_current(genesis.channel, records, head.height):
        signer = signer_of(records)
    failpoints.reach("restore.before_replica")
    replica = Replica(config, signer, head, records, now_ms)
    failpoints.reach("restore.after_replica")
    bodies = Bodies()
    wanted = _undecided(records, head.height)
    for record in own:
        if record.kind == BODIES_RECORD and BlockBody.recorded_hash(record.payload) in wanted:
            bodies.add(BlockBody.decode_record(record.payload), logged=True)
    evidence = decode_records([record.payload for record in own if record.kind == EVIDENCE_RECORD])
    accusing = signer if isinstance(signer, ChannelSigner) else None
    return ChannelParts(genesis, store, executor, head, replica, bodies, config.verify, accusing, evidence)


def head_of(genesis: Genesis, store: ChannelStore, executor: Executor) -> Head:
    """The head of the store as a replica needs it."""
    stored = store.head
    if stored.header is None:
        return Head.at_genesis(genesis, stored.result)
    proof = stored.certificate
    if proof is None:
        raise StorageError("the head block has no certificate")
    try:
        certificate = CommitCertificate.decode(proof.certificate)
        links = tuple((Header.decode(header), Result.decode(result)) for header, result in proof.links)
    except InvalidEncoding as error:
        raise StorageError(f"the head's certificate cannot be read: {error}") from error
    ends_epoch = stored.result.next_valset_hash != stored.header.valset_hash
    epoch = stored.header.epoch + ends_epoch
    base = (stored.height, stored.block_hash) if ends_epoch else _epoch_base(genesis, store, epoch, stored.height)
    rules = rules_of(executor.configuration(store.state))
    return Head(stored.height, stored.block_hash, stored.header, stored.result, certificate, links, epoch, rules, base)


def _epoch_base(genesis: Genesis, store: ChannelStore, epoch: int, height: int) -> tuple[int, bytes]:
    """Height and hash of the block that ended the previous epoch; epochs never go down, so it is found by halving."""
    if epoch == 0:
        return 0, genesis.chain_id
    recorded = store.blocks.epoch(epoch)
    if recorded is not None:
        header = store.blocks.header(recorded.first - 1)
        if header is None:
            raise StorageError(f"the header at height {recorded.first - 1} is not there")
        return header.height, header.hash
    low, high = 0, height  # the block at ``low`` is of an earlier epoch, the one at ``high`` of this one
    while high - low > 1:
        middle = (low + high) // 2
        header = store.blocks.header(middle)
        if header is None:
            raise StorageError(f"the header at height {middle} is not there")
        if header.epoch < epoch:
            low = middle
        else:
            high = middle
    header = store.blocks.header(low)
    if header is None:
        raise StorageError(f"the header at height {low} is not there")
    return low, header.hash


def _logged_height(chain_id: bytes, log_records: Iterable[WalRecord] | None) -> int | None:
    """The highest height that the log says is decided, None without a log."""
    if log_records is None:
        return None
    own = [r for r in log_records if r.channel_id == chain_id and r.kind < SHELL_KINDS_FROM]
    return recorded_height(Record(RecordKind(r.kind), r.payload) for r in own) or 0


def _is_current(channel: str, records: Sequence[Record], height: int) -> bool:
    recorded: Final = recorded_height(records) or 0
    if recorded >= height:
        return True
    log.critical(
        "signing_disabled",
        extra=fields(
            channel=channel,
            why=f"the database is at height {height}, the write-ahead log only at {recorded}: the log is not the one "
            "that belongs to this database, so earlier votes may be forgotten",
            next="this node observes; make a new key in a new home, vote it in, and start that",
        ),
    )
    return False


def _undecided(records: Sequence[Record], height: int) -> set[bytes]:
    """The blocks above the store's head that the log speaks of: their bodies are still needed."""
    wanted: set[bytes] = set()
    for record in records:
        header: Header | None = None
        if record.kind is RecordKind.PREPARE:
            header = PrepareRecord.decode(record.payload).header
        elif record.kind is RecordKind.COMMIT:
            header = CommitRecord.decode(record.payload).header
        elif record.kind is RecordKind.DECIDED:
            header = DecidedRecord.decode(record.payload).header
        if header is not None and header.height > height:
            wanted.add(header.hash)
    return wanted
