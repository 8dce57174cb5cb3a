"""What is in a database, by kind of record: ``db info``; and what that means for the years to come: ``db plan``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dawan_node.errors import StorageError
from dawan_node.node.database.opened import Opened, directory_bytes
from dawan_node.storage import schema
from dawan_node.storage.channel_store import ChannelStore

#: Kind of record -> (word for it, what it grows with). In the order of the page on the schema.
KINDS: Final[dict[bytes, tuple[str, str]]] = {
    schema.HEADER: ("headers", "block"),
    schema.RESULT: ("results", "block"),
    schema.CERTIFICATE: ("certificates", "block"),
    schema.HASH_INDEX: ("block hash index", "block"),
    schema.ENVELOPES: ("transactions", "body"),
    schema.RECEIPTS: ("receipts", "body"),
    schema.TX_INDEX: ("transaction index", "body"),
    schema.STATE: ("state", "state"),
    schema.INDEX: ("state indexes", "state"),
    schema.NODE: ("state tree", "state"),
    schema.STATE_IMAGE: ("state history", "history"),
    schema.INDEX_IMAGE: ("index history", "history"),
    schema.NODE_IMAGE: ("tree history", "history"),
    schema.IMAGE_LIST: ("history lists", "history"),
    schema.NONCE: ("nonces", "window"),
    schema.NONCE_EXPIRY: ("nonce expiry", "window"),
    schema.NONCE_LIST: ("nonces of pruned blocks", "window"),
    schema.EPOCH: ("epochs", "block"),
    schema.NONCE_LIST: ("nonces of pruned blocks", "window"),
    schema.EPOCH: ("epochs", "block"),
}

_HEADS: Final = b"!"
#: Transactions from which a database's own figures say more than the table of ``DEFAULT``.
MEASURED_FROM: Final = 10_000
_DAY_S: Final = 86_400
_YEAR_DAYS: Final = 365
#: The write-ahead log: a segment and, while it is replaced, its successor (storage.wal).
_LOG_BYTES: Final = 2 * 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """Records of one kind: how many, and the bytes of their keys and values."""

    name: str
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """One channel's database. ``disk_bytes`` is what its files take, ``first_body`` the lowest height whose
    transactions are kept (0: none)."""

    channel: str
    chain_id: bytes
    schema_version: int
    height: int
    block_hash: bytes
    state_root: bytes
    epoch: int
    timestamp_ms: int
    history_from: int
    first_body: int
    transactions: int
    kinds: tuple[Kind, ...]
    disk_bytes: int


def contents(database: Opened, progress: Callable[[int], None] = lambda records: None) -> Contents:
    """Read every record and count. Raises OperatorError or StorageError."""
    kv = database.kv
    store = ChannelStore.over(kv, database.genesis.chain_id)
    head, state = store.head, store.state.head
    if state is None:
        raise StorageError("the database has no state")
    counts: dict[bytes, list[int]] = {}
    for number, (key, value) in enumerate(kv.iterate(), start=1):
        count = counts.setdefault(key[:1], [0, 0])
        count[0] += 1
        count[1] += len(key) + len(value)
        if number % 1_000_000 == 0:
            progress(number)
    first_body = next((schema.height_of_bytes(key[1:]) for key, _ in kv.iterate(prefix=schema.ENVELOPES)), 0)
    version = kv.get(schema.SCHEMA_KEY) or b""
    # What a later version adds has no word here yet, and is shown all the same.
    names = {kind: name for kind, (name, _) in KINDS.items()} | {_HEADS: "heads and version"}
    order = [_HEADS, *KINDS, *sorted(kind for kind in counts if kind not in names)]
    return Contents(
        database.genesis.channel,
        database.genesis.chain_id,
        int.from_bytes(version, "big"),
        head.height,
        head.block_hash,
        head.result.state_root,
        0 if head.header is None else head.header.epoch,
        state.timestamp_ms,
        state.history_from,
        first_body,
        counts.get(schema.TX_INDEX, [0, 0])[0],
        tuple(Kind(names.get(kind, repr(kind)), *counts[kind]) for kind in order if kind in counts),
        directory_bytes(database.path),
    )


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes on disk, measured: per block, per transaction of bodies and of state, and per transaction of history
    while its block is within ``history``. ``source`` says where."""

    block: int
    body: int
    state: int
    history: int
    window: int
    source: str


#: Measured on a generated chain of 100,000 ``receivable`` transactions in blocks of 500 (benchmarks/long_chain.py).
DEFAULT: Final = Weights(955, 618, 407, 963, 130, "a generated chain of receivable transactions")


def weights(found: Contents) -> Weights:
    """What this database says; the default table for a short one."""
    if found.transactions < MEASURED_FROM or not found.height:
        return DEFAULT
    by_name = {kind.name: kind.bytes for kind in found.kinds}
    logical = sum(by_name.values())

    def group(wanted: str) -> int:
        """Bytes on disk: what LevelDB adds is shared out by size."""
        mine = sum(by_name.get(name, 0) for name, grows in KINDS.values() if grows == wanted)
        return mine * found.disk_bytes // max(1, logical)

    per_block = max(1, found.transactions // found.height)
    in_history = max(1, (found.height - found.history_from) * per_block)
    return Weights(
        max(1, group("block") // found.height),
        max(1, group("body") // found.transactions),
        max(1, group("state") // found.transactions),
        max(1, group("history") // in_history),
        DEFAULT.window,
        f"this home's {found.channel}, {found.transactions:,} transactions",
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes on disk after so many years. ``total`` includes the log and what a compaction needs meanwhile."""

    bodies: int
    state: int
    blocks: int
    history: int
    other: int
    total: int


def forecast(
    measured: Weights,
    *,
    tps_milli: int,
    years_milli: int,
    block_ms: int,
    history: int,
    retain_days: int,
    window_s: int = 3_600,
) -> Forecast:
    """The disk of one channel: ``tps_milli`` transactions per 1,000 s on average, for ``years_milli`` thousandths of a
    year, a block every ``block_ms`` while there is traffic. ``retain_days`` of bodies are kept, 0 keeps all."""
    seconds = years_milli * _YEAR_DAYS * _DAY_S // 1000
    transactions = tps_milli * seconds // 1000
    # There are no empty blocks: below one transaction per block time every transaction has its own.
    blocks = min(transactions, seconds * 1000 // block_ms)
    kept = transactions if not retain_days else min(transactions, tps_milli * retain_days * _DAY_S // 1000)
    in_history = min(transactions, history * max(1, transactions // max(1, blocks)))
    bodies, state = kept * measured.body, transactions * measured.state
    headers, images = blocks * measured.block, in_history * measured.history
    window = min(transactions, tps_milli * window_s // 1000) * measured.window
    written = bodies + state + headers + images + window
    # LevelDB rewrites a level at a time; a tenth is what it may hold twice meanwhile.
    other = window + _LOG_BYTES + written // 10
    return Forecast(bodies, state, headers, images, other, bodies + state + headers + images + other)
