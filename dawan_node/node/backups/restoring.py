"""``backup restore``: into a home that has signed nothing and holds no ledger yet.

A restored ledger is older than what its node signed since, so the old key may never vote from it (amendment U6). The
keys are not in the backup, and no write-ahead log is made here: a home that ``init`` made has a new key, and the empty
log that was made with it. If the ledger proves that this key never had a seat, the log is told of the restored head, as
of a head that was synced; so the node observes until its key is voted a seat, and votes then. For any other key the
database stays ahead of its log, and with that a node never signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawan_node.consensus.records import DecidedRecord, RecordKind
from dawan_node.crypto import keystore
from dawan_node.errors import DawanError, OperatorError, StorageError
from dawan_node.execution.channel import GOVERNANCE
from dawan_node.execution.context import SCAN_LIMIT_MAX
from dawan_node.execution.executor import Executor
from dawan_node.node import consortium as consortium_file
from dawan_node.node.assembly import files
from dawan_node.node.backups.manifest import BackedUpChannel, Manifest, altered, check_files, read_manifest
from dawan_node.node.backups.records import NotRecords, read_records
from dawan_node.node.config import NodeSection
from dawan_node.node.database.finding import FileRefused
from dawan_node.node.database.opened import executor_of, genesis_of, stopped
from dawan_node.node.home import Home
from dawan_node.node.memory import log_of_stopped
from dawan_node.node.public_files import replace_files
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import KeyValueStore, Put
from dawan_node.storage.leveldb import LevelDBStore, is_initialised
from dawan_node.storage.schema import SCHEMA_VERSION
from dawan_node.storage.wal import WalMissing, WalRecord, inspect

#: Records per batch, a few megabytes; only the last batch waits for the disk, and the marker comes after it.
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back. ``has_log``: the home has a write-ahead log (an empty one, made with its key)."""

    manifest: Manifest
    has_log: bool


def restore(folder: Path, home: Home, node: NodeSection, progress: Callable[[str], None] = lambda _: None) -> Restored:
    """Put the ledgers of the backup in ``folder`` into ``home``. Everything is checked before anything is written.

    Raises OperatorError (FileRefused: the backup is not taken), or StorageError when the home's disk fails.
    """
    manifest = read_manifest(folder)
    with stopped(home):
        has_log = _check_home(home, manifest, node)
        for entry in check_files(folder, manifest):
            progress(f"checked {entry.file}")
        public = _check_network(folder, home, manifest)
        for channel in manifest.channels:
            _check_records(folder, channel)
        replace_files(home.network, public)
        own_key = keystore.describe(home.node_key).public_key
        heads: list[list[WalRecord] | None] = []
        for channel in manifest.channels:
            heads.append(_restore_channel(folder, home, channel, own_key))
            progress(f"restored {channel.channel} at height {channel.height:,}")
        # Last: whatever is interrupted before leaves databases ahead of the log, and a node that only observes.
        log = log_of_stopped(home, b"", 0) if has_log else None
        if log is not None:
            with closing(log):
                log.append([record for records in heads for record in records or ()])
    return Restored(manifest, has_log)


def _check_home(home: Home, manifest: Manifest, node: NodeSection) -> bool:
    """The home is fit to observe from this backup; whether it has a log. Raises FileRefused."""
    if manifest.org != node.org:
        raise FileRefused(
            "BK_FOREIGN",
            f"the backup is of {manifest.node} of {manifest.org}",
            f"this home is of {node.org}, which may not be on the same channels",
            "Restore it into a home of that organisation.",
        )
    for channel in manifest.channels:
        if channel.schema > SCHEMA_VERSION:
            raise FileRefused(
                "BK_VERSION",
                f"the backup of {channel.channel} has schema {channel.schema}",
                f"this program knows {SCHEMA_VERSION}",
                f"Use dawan-node {manifest.program} or later.",
            )
    ledgers = sorted(path.parent.name for path in home.data.glob("*/db") if is_initialised(path) or any(path.iterdir()))
    if ledgers:
        raise FileRefused(
            "BK_NOT_EMPTY",
            f"{home.path} has a ledger of {', '.join(ledgers)}",
            "a ledger is never overwritten",
            "Make a new home: dawan-node init --home NEW, and restore into that.",
        )
    try:
        signed = inspect(home.wal)
    except WalMissing:
        return False
    if signed:
        raise FileRefused(
            "BK_SIGNED",
            f"the key of {home.path} has signed",
            f"its log holds {signed} records, and an older ledger beside them would make them look like lies",
            "Make a new home with a new key: dawan-node init --home NEW, and restore into that.",
        )
    return True


def _check_network(folder: Path, home: Home, manifest: Manifest) -> dict[str, bytes]:
    """The backup's network is one, and this home's if it has one; its public files, below HOME/network."""
    try:
        found = consortium_file.load(folder / "network" / home.consortium_file.name)
        public = files(found)
    except OperatorError as error:
        raise altered(folder, f"its consortium.toml: {error.what}: {error.why}") from None
    for channel in manifest.channels:
        if (
            channel.channel not in found.channels
            or f"0x{found.genesis(channel.channel).chain_id.hex()}" != channel.chain_id
        ):
            raise altered(folder, f"its ledger of {channel.channel} is not of its own consortium")
    if found.network != manifest.network:
        raise altered(folder, "its consortium.toml is of another network than its manifest")
    if home.consortium_file.exists():
        own = consortium_file.load(home.consortium_file)
        for channel in manifest.channels:
            if channel.channel not in own.channels or (
                f"0x{own.genesis(channel.channel).chain_id.hex()}" != channel.chain_id
            ):
                raise FileRefused(
                    "BK_FOREIGN",
                    f"the backup is of network {manifest.network}",
                    f"this home's consortium.toml, of network {own.network}, has no such channel "
                    f"{channel.channel} with chain {channel.chain_id[:18]}",
                    "Use another --home for the other network.",
                )
        return {}  # what this home was given last counts; addresses in it may be newer
    for entry in manifest.files:
        name = entry.file.removeprefix("network/")
        if entry.file.startswith("network/crl/"):
            public = {name: (folder / entry.file).read_bytes(), **public}
    return public


def _check_records(folder: Path, channel: BackedUpChannel) -> None:
    count = 0
    try:
        for _ in read_records(folder / f"{channel.channel}.records"):
            count += 1
    except NotRecords as error:
        raise altered(folder, f"{channel.channel}.records: {error}") from None
    if count != channel.records:
        raise altered(folder, f"{channel.channel}.records has {count} records, not {channel.records}")


def _restore_channel(folder: Path, home: Home, channel: BackedUpChannel, own_key: bytes) -> list[WalRecord] | None:
    """Write the database; what the log may be told of its head, None when ``own_key`` ever had a seat here."""
    kv = LevelDBStore.open(home.database(channel.channel), create=True)
    with closing(kv):
        write_records(folder / f"{channel.channel}.records", kv)
        chain_id = bytes.fromhex(channel.chain_id[2:])
        try:
            store = ChannelStore.over(kv, chain_id)
            head = store.head
        except DawanError as error:
            raise StorageError(f"what was restored of {channel.channel} is not a ledger: {error}") from None
        if (head.height, f"0x{head.block_hash.hex()}") != (channel.height, channel.block_hash):
            raise StorageError(f"the restored ledger of {channel.channel} ends at another block than its manifest says")
        told = _head_for_log(home, channel.channel, store, own_key)
        kv.mark_initialised()
    return told


def _head_for_log(home: Home, channel: str, store: ChannelStore, own_key: bytes) -> list[WalRecord] | None:
    genesis, head = genesis_of(home, channel), store.head
    if own_key in _seated_keys(executor_of(genesis), store):
        return None
    if head.header is None or head.certificate is None:
        return []  # at height 0 there is nothing a log could lack
    links = tuple((Header.decode(above), Result.decode(outcome)) for above, outcome in head.certificate.links)
    certificate = CommitCertificate.decode(head.certificate.certificate)
    record = DecidedRecord(head.header, head.result, links, certificate).encode()
    return [WalRecord(genesis.chain_id, RecordKind.SYNCED, record)]


def _seated_keys(executor: Executor, store: ChannelStore) -> set[bytes]:
    """Every key that votes or ever voted on the channel."""
    keys: set[bytes] = set()
    cursor: bytes | None = None
    state = store.state.head
    if state is None:
        raise StorageError("the restored database has no state")
    while True:
        page, cursor = executor.query(
            store.state,
            GOVERNANCE,
            "validators",
            {},
            SCAN_LIMIT_MAX,
            cursor,
            height=state.height,
            time_ms=state.timestamp_ms,
        )
        keys.update(term.public_key for term in page)
        if cursor is None:
            return keys


def write_records(path: Path, kv: KeyValueStore) -> None:
    """Put a file of records into an empty database, durably. Raises NotRecords or StorageError."""
    for batch in _batches(read_records(path)):
        kv.write(batch, sync=False)
    last: list[Put] = []
    kv.write(last, sync=True)


def _batches(records: Iterator[tuple[bytes, bytes]]) -> Iterator[list[Put]]:
    batch: list[Put] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch
