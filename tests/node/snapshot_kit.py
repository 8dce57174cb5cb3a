"""Snapshots of real ledgers, small ones in many parts."""

from __future__ import annotations

from pathlib import Path

from dawan_node.node.snapshot_install import adopt, build
from dawan_node.node.snapshot_maker import make_snapshot
from dawan_node.primitives.transaction import Transaction
from dawan_node.storage import schema
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import KeyValueReader
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.snapshot_files import PartFolder, SnapshotFolders
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_format import Layout, Manifest
from tests.node.ledger import START_MS, Ledger

#: Kinds of keys that a snapshot must bring exactly as executing the blocks did.
STATE_KINDS = (schema.STATE, schema.INDEX, schema.NODE, schema.NONCE, schema.NONCE_EXPIRY)


def no_pace() -> None:
    """The tests are in a hurry."""


def grown(blocks: int, *, apart_ms: int = 1_000, per_block: int = 2) -> tuple[Ledger, list[Transaction]]:
    """A ledger of invoices and all its transactions."""
    ledger = Ledger()
    sent: list[Transaction] = []
    for number in range(blocks):
        time_ms = START_MS + number * apart_ms
        transactions = [ledger.transaction(time_ms=time_ms) for _ in range(per_block)]
        ledger.decide(ledger.block(*transactions, time_ms=time_ms))
        sent += transactions
    return ledger, sent


def take(
    ledger: Ledger, folder: Path, chunk_bytes: int = 4_000, heap_bytes: int = 10_000
) -> tuple[Manifest, PartFolder]:
    """A finished snapshot of the ledger's head."""
    folders = SnapshotFolders(folder / "snapshots")
    making = folders.begin(ledger.store.head.height)
    view = ledger.store.snapshot()
    manifest = make_snapshot(view, making, no_pace, chunk_bytes, heap_bytes)
    view.close()
    folders.finish(making, ledger.store.head.height)
    return manifest, folders.at(ledger.store.head.height)


def receive(source: PartFolder, folder: Path, epochs: Chosen | None = None) -> PartFolder:
    """What a node has kept when it has fetched all of ``source``."""
    manifest = source.manifest()
    assert manifest is not None
    incoming = PartFolder(folder / "incoming")
    incoming.path.mkdir(parents=True)
    incoming.write_manifest((epochs or Chosen(manifest, ())).encode())
    for part in range(Layout.of(Manifest.decode(manifest)).parts):
        data = source.part(part)
        assert data is not None
        incoming.write_part(part, data)
    return incoming


def installed(ledger: Ledger, source: PartFolder, folder: Path) -> ChannelStore:
    """The database that a newcomer makes of ``source``."""
    incoming = receive(source, folder)
    build(incoming, ledger.executor)
    database = folder / "db"
    assert adopt(database, incoming, None) is not None
    return ChannelStore.open(database, ledger.genesis.chain_id)


def contents(reader: KeyValueReader, kinds: tuple[bytes, ...] = STATE_KINDS) -> dict[bytes, bytes]:
    return {key: value for kind in kinds for key, value in reader.iterate(prefix=kind)}


def on_disk(path: Path) -> dict[bytes, bytes]:
    store = LevelDBStore.open(path)
    try:
        return contents(store)
    finally:
        store.close()
