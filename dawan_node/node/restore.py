"""What a channel starts from: its database, what the log remembers, and whether its key may still sign.

The log is written before the database. So after a crash the database may be a few blocks behind the log, never ahead:
a database that is ahead belongs to another log, which means that votes were forgotten, and the key may not vote again
until it is replaced on chain (amendment U6). The same holds when there is no log at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

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
from dawan_node.errors import InvalidEncoding, OperatorError, StorageError
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry, UnknownModule
from dawan_node.node.accuser import EVIDENCE_RECORD, decode_records
from dawan_node.node.applier import rules_of
from dawan_node.node.bodies import BODIES_RECORD, BlockBody, Bodies
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.keeping import Keeping
from dawan_node.node.logs import fields
from dawan_node.node.signer import ChannelSigner, NodeSigner
from dawan_node.node.snapshot_install import adopt
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.leveldb import is_initialised
from dawan_node.storage.wal import WalRecord

log = logging.getLogger(__name__)


def open_channel(
    genesis: Genesis,
    database: Path,
    history: int,
    log_records: Iterable[WalRecord] | None,
    key: NodeSigner | None,
    now_ms: int,
    keeping: Keeping | None = None,
) -> ChannelParts:
    """Open or create the channel's database and restore its replica. A snapshot that was fetched for it comes first.

    ``log_records`` are those of the whole node, None when it has no log; ``key`` is None on an observer. Raises
    OperatorError or StorageError.
    """
    try:
        registry = Registry.load([(module.name, module.version) for module in genesis.modules])
    except UnknownModule as error:
        raise OperatorError(
            f"channel {genesis.channel} cannot run here",
            str(error),
            "Install the package that brings this module in this version.",
        ) from None
    executor = Executor(registry, genesis)
    if keeping is not None:
        adopt(database, keeping.incoming, _logged_height(genesis.chain_id, log_records))
    if not is_initialised(database):
        first = executor.genesis_state()
        ChannelStore.create(database, first.result, first.changes, genesis.created_ms)
    store = ChannelStore.open(database, genesis.chain_id, history=history)
    signer_of = None if key is None else partial(key.channel, genesis.chain_id)
    try:
        config = ReplicaConfig(genesis.chain_id, genesis.created_ms)
        parts = restore_channel(genesis, executor, store, log_records, signer_of, config, now_ms)
        return replace(parts, keeping=keeping)
    except BaseException:
        store.close()
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
    replica = Replica(config, signer, head, records, now_ms)
    bodies = Bodies()
    wanted = _undecided(records, head.height)
    for record in own:
        if record.kind == BODIES_RECORD:
            body = BlockBody.decode_record(record.payload)
            if body.block_hash in wanted:
                bodies.add(body, logged=True)
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
