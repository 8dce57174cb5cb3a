"""``db export`` and ``db import``: blocks out of one node's database and into another's.

Importing is catch-up without a network and goes the same way: certificates and hash links are checked with the
validators that are trusted already, then bodies and signatures, then the blocks are executed by the applier, which
compares every result. All that a file alone can be wrong about is checked before the first block is written.

The write-ahead log hears of imported blocks before the database does, as of synced ones (SYNCED records): a database
that is ahead of its log would take the node's vote away (amendment U6). A log that is behind its database already, or
not the one that was here, hears nothing: it must not come to look like the right one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from dawan_node.consensus.records import DecidedRecord, RecordKind
from dawan_node.crypto import keystore
from dawan_node.errors import (
    InvalidEncoding,
    InvalidInput,
    InvalidMessage,
    InvalidTransaction,
    OperatorError,
    StorageError,
)
from dawan_node.execution.channel import GOVERNANCE, validator_set
from dawan_node.execution.executor import Executor
from dawan_node.execution.keys import key_of
from dawan_node.modules.governance.declaration import ValidatorEpoch
from dawan_node.node.applier import Applier
from dawan_node.node.database.blocks_file import AGAIN, About, BlocksFile, ExportedBlock, write
from dawan_node.node.database.finding import FileRefused
from dawan_node.node.database.opened import Opened, executor_of, genesis_of, stopped
from dawan_node.node.home import Home
from dawan_node.node.memory import log_of_stopped
from dawan_node.node.metrics import StageTimes
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate, indexes_of
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.names import is_label
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.channel_store import ChannelStore, write_genesis
from dawan_node.storage.kv import KeyValueStore, MemoryStore
from dawan_node.storage.leveldb import LevelDBStore, is_initialised
from dawan_node.storage.wal import Wal, WalRecord
from dawan_node.sync.verify import Anchor, verify_bodies, verify_light

#: Blocks that the log hears of at once, before they are written: as many as one range of a catch-up.
LOGGED_AT_ONCE: Final = 64
PROGRESS_S: Final = 2.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    first: int
    last: int
    transactions: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken in; ``skipped`` blocks were there already."""

    first: int
    last: int
    skipped: int
    transactions: int
    height: int


def export(database: Opened, path: Path, first: int | None, last: int | None) -> Exported:
    """Write the blocks from ``first`` to ``last`` (default: all that are kept) into the new file ``path``.

    Raises OperatorError for a range that is not there, StorageError for a damaged database.
    """
    store = ChannelStore.over(database.kv, database.genesis.chain_id)
    head = store.head.height
    low, high = 1 if first is None else first, head if last is None else last
    if not 1 <= low <= high <= head:
        raise OperatorError(
            f"blocks {low} to {high} cannot be exported", f"the chain goes from 1 to {head}", "Correct --from and --to."
        )
    below, below_header = store.blocks.result(low - 1), store.blocks.header(low - 1)
    if below is None or (below_header is None and low > 1) or store.blocks.envelopes(low) is None:
        raise OperatorError(
            f"block {low} cannot be exported",
            "its body is not kept any more",
            "Choose a later --from, or export from a node that keeps everything.",
        )
    genesis = database.genesis
    about = About(genesis.network, genesis.channel, genesis.chain_id, low, high, below.block_hash, below.hash)
    count = 0

    def blocks() -> Iterator[ExportedBlock]:
        nonlocal count
        for height in range(low, high + 1):
            block = _read(store, database.executor, height)
            count += block.header.tx_count
            yield block

    digest = write(path, about, blocks())
    return Exported(low, high, count, path.stat().st_size, digest)


def _read(store: ChannelStore, executor: Executor, height: int) -> ExportedBlock:
    header, result = store.blocks.header(height), store.blocks.result(height)
    stored, envelopes = store.blocks.certificate(height), store.blocks.envelopes(height)
    if header is None or result is None or stored is None or envelopes is None:
        raise StorageError(f"block {height} is not complete")
    try:
        links = tuple((Header.decode(above), Result.decode(outcome)) for above, outcome in stored.links)
    except InvalidEncoding as error:
        raise StorageError(f"the proof of block {height} cannot be read: {error}") from None
    following: tuple[tuple[str, bytes], ...] = ()
    if result.next_valset_hash != header.valset_hash:
        following = _validators_of(store, executor, header.epoch + 1, result.next_valset_hash)
    return ExportedBlock(header, result, links, stored.certificate, envelopes, following)


def _validators_of(store: ChannelStore, executor: Executor, epoch: int, wanted: bytes) -> tuple[tuple[str, bytes], ...]:
    """Those of an epoch after the first, as governance keeps them on record; nothing when it knows no such set."""
    value = store.state.get(GOVERNANCE, ValidatorEpoch.spec.collection, key_of(epoch))
    record = (
        None if value is None else executor.registry.decode_entity(GOVERNANCE, ValidatorEpoch.spec.collection, value)
    )
    if not isinstance(record, ValidatorEpoch):
        return ()
    found = ValidatorSet([(suite, public_key) for _, _, suite, public_key in record.validators])
    return found.members if found.hash == wanted else ()


def import_blocks(
    home: Home,
    channel: str | None,
    path: Path,
    *,
    history: int,
    progress: Progress = lambda phase, done, of: None,
) -> Imported:
    """Take in the blocks of a file that continue the chain of a stopped node, or begin it where it has none yet.

    Raises FileRefused (nothing was written), OperatorError when the node runs, StorageError when the disk fails or
    executing a certified block gives another result here.
    """
    with BlocksFile(path) as file, stopped(home), ExitStack() as stack:
        genesis = _genesis_for(home, channel, file)
        executor = executor_of(genesis)
        database = home.database(genesis.channel)
        first_state = executor.genesis_state()
        kv: KeyValueStore = MemoryStore()
        if is_initialised(database):
            kv = stack.enter_context(closing(LevelDBStore.open(database)))
        else:
            # Until the file is found right, a genesis in memory stands for the database that is not there.
            write_genesis(kv, first_state.result, first_state.changes, genesis.created_ms)
        store = ChannelStore.over(kv, genesis.chain_id, history=history)
        skipped = _check_place(file, genesis, store)
        first = store.head.height + 1
        own_key = keystore.describe(home.node_key).public_key
        own_votes: dict[bytes, int] = {}
        digests = _check_blocks(file, _anchor(store, executor), store, progress, own_key, own_votes)
        if not digests:
            return Imported(first, first - 1, skipped, 0, first - 1)
        if isinstance(kv, MemoryStore):
            ChannelStore.create(database, first_state.result, first_state.changes, genesis.created_ms)
            kv = stack.enter_context(closing(LevelDBStore.open(database)))
            store = ChannelStore.over(kv, genesis.chain_id, history=history)
        applier = Applier(store, executor, genesis.created_ms, StageTimes())
        log = log_of_stopped(home, genesis.chain_id, store.head.height, own_votes)
        if log is not None:
            stack.enter_context(closing(log))
        transactions = _take_in(file, applier, genesis.chain_id, log, skipped, digests, progress)
        height = store.head.height
    return Imported(first, height, skipped, transactions, height)


def _genesis_for(home: Home, channel: str | None, file: BlocksFile) -> Genesis:
    """The genesis of the channel named, else of the one in the home that the file is of."""
    name = file.about.channel if channel is None else channel
    if not is_label(name) or not home.genesis_file(name).exists():
        raise FileRefused(
            "XF_FOREIGN",
            f"{file.path} is of channel {name[:32]!r}",
            f"{home.network} knows no such channel",
            "Import it into a home of that network.",
        )
    return genesis_of(home, name)


def _check_place(file: BlocksFile, genesis: Genesis, store: ChannelStore) -> int:
    """The file is of this chain and leaves no gap; how many of its blocks are here already."""
    about, head = file.about, store.head
    if about.chain_id != genesis.chain_id:
        raise FileRefused(
            "XF_FOREIGN",
            f"{file.path} is of another chain",
            f"it is of {about.channel[:32]} of network {about.network[:32]}, chain {about.chain_id.hex()[:16]}; "
            f"this home has chain {genesis.chain_id.hex()[:16]}",
            "Import it into a home of that network.",
        )
    if not 1 <= about.first <= about.last:
        raise FileRefused("XF_ALTERED", f"{file.path} is not taken", "its range is none", AGAIN)
    if about.first > head.height + 1:
        raise FileRefused(
            "XF_GAP",
            f"{file.path} begins at height {about.first}",
            f"this chain ends at {head.height}, and the blocks between are missing",
            f"Import a file with --from {head.height + 1} or lower first.",
        )
    return max(0, min(about.last, head.height) - about.first + 1)


def _anchor(store: ChannelStore, executor: Executor) -> Anchor:
    head = store.head
    epoch = 0
    if head.header is not None:
        epoch = head.header.epoch + (head.result.next_valset_hash != head.header.valset_hash)
    return Anchor(
        head.height, head.block_hash, head.result_hash, epoch, validator_set(executor.configuration(store.state))
    )


def _check_blocks(
    file: BlocksFile,
    anchor: Anchor,
    store: ChannelStore,
    progress: Progress,
    own_key: bytes,
    own_votes: dict[bytes, int],
) -> list[bytes]:
    """Check every block of the file; the digests of the frames that are new here, for the second reading. What their
    certificates hold of ``own_key`` is added to ``own_votes``."""
    digests: list[bytes] = []
    expected = file.about.first
    said = time.monotonic()
    for frame in file.frames():
        block = file.block(frame)
        header = block.header
        if header.height != expected:
            raise FileRefused("XF_ALTERED", f"{file.path} is not taken", f"block {expected} is missing in it", AGAIN)
        expected += 1
        if header.height <= anchor.height and not digests:
            _check_known(file, block, store)
            continue
        own = anchor.validators.index_of(own_key)
        anchor, validators = _check_block(file, block, anchor), anchor.validators
        certificate = CommitCertificate.decode(block.certificate)
        if own is not None and own in indexes_of(certificate.bitmap, validators.n):
            own_votes[certificate.block_hash] = certificate.height
        digests.append(hashlib.sha256(frame).digest())
        if time.monotonic() - said >= PROGRESS_S:
            said = time.monotonic()
            progress("checked", header.height, file.about.last)
    if expected != file.about.last + 1:
        raise FileRefused("XF_TRUNCATED", f"{file.path} is not taken", f"block {expected} is missing in it", AGAIN)
    return digests


def _check_known(file: BlocksFile, block: ExportedBlock, store: ChannelStore) -> None:
    height = block.header.height
    ours = store.blocks.result(height)
    if ours is not None and (ours.block_hash, ours.hash) != (block.header.hash, block.result.hash):
        raise FileRefused(
            "XF_FORK",
            f"{file.path} holds another block {height}",
            f"this chain has {ours.block_hash.hex()[:16]} there, the file {block.header.hash.hex()[:16]}",
            "Run `dawan-node db diff` against a peer: one of the two is not this network's chain.",
        )


def _check_block(file: BlocksFile, block: ExportedBlock, anchor: Anchor) -> Anchor:
    """Certificate, links, bodies and signatures of the next block; the anchor for the one after it."""
    height = block.header.height
    try:
        verify_light(block.header.chain_id, anchor, anchor.tip, [block.as_light], block.links)
        verify_bodies(block.header, block.envelopes)
        for envelope in block.envelopes:
            if not Transaction.decode(envelope).verify_signature():
                raise InvalidMessage("a transaction's signature does not verify")
    except (InvalidMessage, InvalidTransaction) as error:
        raise FileRefused("XF_UNPROVEN", f"{file.path} is not taken", f"block {height}: {error}", AGAIN) from None
    epoch, validators = anchor.epoch, anchor.validators
    if block.as_light.ends_epoch:
        epoch += 1
        if height < file.about.last:  # else nothing in the file stands on it, and executing it gives the set
            validators = _next_validators(file, block)
    return Anchor(height, block.header.hash, block.result.hash, epoch, validators)


def _next_validators(file: BlocksFile, block: ExportedBlock) -> ValidatorSet:
    """The set whose hash the validators before it have certified."""
    if not block.next_validators:
        raise FileRefused(
            "XF_EPOCH",
            f"{file.path} cannot be checked beyond height {block.header.height}",
            "that block changes the validators, and the exporting node did not know them any more",
            f"Export up to --to {block.header.height} and import that first, then the rest.",
        )
    try:
        found = ValidatorSet(block.next_validators)
    except InvalidInput as error:
        raise FileRefused("XF_UNPROVEN", f"{file.path} is not taken", f"its validators: {error}", AGAIN) from None
    if found.hash != block.result.next_valset_hash:
        raise FileRefused(
            "XF_UNPROVEN", f"{file.path} is not taken", "its validators are not the certified ones", AGAIN
        )
    return found


def _take_in(
    file: BlocksFile,
    applier: Applier,
    chain_id: bytes,
    log: Wal | None,
    skipped: int,
    digests: list[bytes],
    progress: Progress,
) -> int:
    frames = islice(file.frames(), skipped, None)
    transactions = done = 0
    said = time.monotonic()
    while batch := list(islice(frames, LOGGED_AT_ONCE)):
        for frame, digest in zip(batch, digests[done:], strict=False):
            if hashlib.sha256(frame).digest() != digest:
                raise FileRefused(
                    "XF_CHANGED", f"{file.path} is not taken further", "it changed while it was read", AGAIN
                )
        blocks = [file.block(frame) for frame in batch]
        last = blocks[-1]
        if log is not None:
            record = DecidedRecord(
                last.header, last.result, last.links, CommitCertificate.decode(last.certificate)
            ).encode()
            log.append([WalRecord(chain_id, RecordKind.SYNCED, record)])
            log.sync()
        for block in blocks:
            applier.commit(
                block.header.hash,
                block.header,
                block.result,
                CommitCertificate.decode(block.certificate),
                block.links,
                [Transaction.decode(envelope) for envelope in block.envelopes],
            )
            transactions += block.header.tx_count
        done += len(batch)
        if time.monotonic() - said >= PROGRESS_S:
            said = time.monotonic()
            progress("executed", last.header.height, file.about.last)
    return transactions
