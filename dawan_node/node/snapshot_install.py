"""From a fetched snapshot to the channel's database.

``build`` makes a new database beside the one in use, in ``data/<channel>/incoming/db``, from parts that were kept and
are verified once more. It takes nothing from the wire but entries, headers, nonces and proofs: tree nodes are computed
and must lead to the certified root, indexes follow from the entities by the modules' own declarations.

``adopt`` puts it in the place of the old one, at the next opening, by renames: the old database first gets a name of
its own, so at every moment there is one whole database, and whoever starts in between goes on where this stopped. The
old one is kept, because it may hold blocks that nobody else has; deleting it is for the operator.

What the blocks have overtaken is not adopted but removed: it would take the node back. And a node with a write-ahead
log adopts only what the log knows of. Otherwise the database would be ahead of the log, which
is what a lost log looks like, and the key could never vote again (amendments U6, U7).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from dawan_node import failpoints
from dawan_node.errors import DataRefusal, DataRefused, InvalidMessage, OperatorError, StorageError
from dawan_node.execution import state_tree
from dawan_node.execution.executor import REPLAY_INDEX, Executor
from dawan_node.execution.keys import prefix_of
from dawan_node.execution.registry import Registry
from dawan_node.node.logs import fields
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.replay import REPLAY_ENTRY
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.files import sync_directory
from dawan_node.storage.leveldb import LevelDBStore, is_initialised, marker_path, read_sign
from dawan_node.storage.schema import SCHEMA_VERSION
from dawan_node.storage.snapshot_files import PartFolder
from dawan_node.storage.snapshot_store import SnapshotStore
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_format import Chunk, Entry, HeaderRun, Layout, Manifest
from dawan_node.sync.snapshot_parts import PartRule

log = logging.getLogger(__name__)

_DATABASE: Final = "db"

IndexEntry = tuple[tuple[str, str, str], bytes, bytes]


def build(incoming: PartFolder, executor: Executor, pace: Callable[[], None] = lambda: None) -> None:
    """Make ``incoming/db`` from the parts in ``incoming``, complete and durable when this returns.

    Raises InvalidMessage when a part is not what it was when it was kept, OperatorError when this node does not run
    what the snapshot's state is made of, StorageError or OSError when the disk fails.
    """
    kept = incoming.manifest()
    if kept is None:
        raise InvalidMessage("the kept snapshot has no manifest")
    chosen = Chosen.decode(kept)
    manifest = Manifest.decode(chosen.manifest)
    header, result, layout = manifest.header, manifest.result, Layout.of(manifest)
    path = incoming.path / _DATABASE
    _remove_unfinished(path)
    store = LevelDBStore.open(path, create=True)
    try:
        writer = SnapshotStore(store, header.timestamp_ms)
        times = {header.height: header.timestamp_ms}
        hash_below = header.parent_hash
        for part in range(layout.parts):
            data = incoming.part(part)
            if data is None:
                raise InvalidMessage(f"part {part} of the kept snapshot is not there")
            rule = PartRule.of(layout, part, result.state_root, manifest.headers_from, hash_below)
            hash_below = rule.verify(data) or hash_below
            if part < layout.runs:
                headers = HeaderRun.decode(data).headers
                times |= {each.height: each.timestamp_ms for each in headers}
                writer.add_headers(headers)
            else:
                _add_chunk(writer, executor.registry, Chunk.decode(data), times)
            pace()
        if state_tree.root(writer.tree_node) != result.state_root:
            raise InvalidMessage("the state of the kept snapshot does not have the certified root")
        proofs = (*chosen.below, *chosen.epochs)
        writer.add_epochs((FinalityProof.decode(proof.finality), proof.members) for proof in proofs)
        genesis = executor.genesis_state().result
        failpoints.reach("install.before_finish")
        writer.finish(genesis, FinalityProof.decode(manifest.finality), manifest.headers_from)
        failpoints.reach("install.before_sign")
        store.mark_initialised(genesis.block_hash)
    finally:
        store.close()
    failpoints.reach("install.after_build")


def adopt(database: Path, incoming: PartFolder, logged_height: int | None) -> int | None:
    """Put a built database in the place of ``database``, if there is one; the height it is at.

    ``logged_height`` is the highest decided height in this node's log, None without a log. Raises StorageError, and
    DataRefused, with nothing touched, for one that a newer version built. One of an older version takes its place as it
    is: whoever opens it brings it up, like any other database.
    """
    built = incoming.path / _DATABASE
    if not is_initialised(built):
        return None
    try:
        kept = incoming.manifest()
        if kept is None:
            raise InvalidMessage("its manifest is not there")
        height = Manifest.decode(Chosen.decode(kept).manifest).header.height
        if built.exists():
            if logged_height is not None and logged_height < height:
                return None  # written to the log once the node runs, then adopted
            _require_known_schema(built)
            head = _head_of(database)
            if head is not None and head >= height:
                discard(incoming)
                log.info("snapshot_overtaken", extra=fields(database=str(database), height=height, head=head))
                return None
            failpoints.reach("install.before_aside")
            if database.exists():
                aside = next(a for n in count() if not (a := database.with_name(f"db.before-{height}-{n}")).exists())
                os.rename(database, aside)
                sync_directory(database.parent)
                log.warning(
                    "database_set_aside",
                    extra=fields(path=str(aside), next="remove it when nobody needs the blocks in it"),
                )
            failpoints.reach("install.after_aside")
            os.rename(built, database)
            sync_directory(database.parent)
        failpoints.reach("install.after_place")
        if not is_initialised(database):
            os.rename(marker_path(built), marker_path(database))
            sync_directory(database.parent)
        failpoints.reach("install.after_sign")
        discard(incoming)
    except OSError as error:
        raise StorageError(f"the snapshot for {database} cannot be installed: {error}") from error
    except InvalidMessage as error:
        raise StorageError(f"the snapshot in {incoming.path} is damaged: {error}; remove that folder") from None
    log.info("snapshot_installed", extra=fields(database=str(database), height=height))
    return height


def discard(incoming: PartFolder) -> None:
    """Remove a folder of parts with what was built of them, if it is there. Raises OSError."""
    built = incoming.path / _DATABASE
    if is_initialised(built):
        # First, and durably: what is left of the folder then means nothing any more.
        marker_path(built).unlink()
        sync_directory(incoming.path)
    failpoints.reach("install.before_remove")
    if incoming.path.exists():
        shutil.rmtree(incoming.path)


def _head_of(database: Path) -> int | None:
    """The height of the database in use, None where there is none that can be read: then a snapshot is better."""
    if not is_initialised(database):
        return None
    try:
        store = LevelDBStore.open(database)
    except StorageError:
        return None
    try:
        head = BlockStore(store).head()
        return None if head is None else head.height
    except StorageError:
        return None
    finally:
        store.close()


def _require_known_schema(built: Path) -> None:
    schema = read_sign(built).schema
    if schema is not None and schema > SCHEMA_VERSION:
        raise DataRefused(
            DataRefusal.NEWER,
            f"{built} is not put in the place of the database",
            f"it has schema {schema} and this version of dawan-node knows {SCHEMA_VERSION}",
            f"Start the newer version again, or remove {built.parent}: the snapshot is then fetched anew.",
        )


def is_built(incoming: PartFolder) -> bool:
    """Whether a complete database waits to be adopted."""
    return is_initialised(incoming.path / _DATABASE)


def _add_chunk(writer: SnapshotStore, registry: Registry, chunk: Chunk, times: dict[int, int]) -> None:
    leaves = {entry.key_hash: hashlib.sha256(entry.value).digest() for entry in chunk.entries}
    _, nodes, _ = state_tree.update(writer.tree_node, leaves)
    indexes = [found for entry in chunk.entries for found in _index_entries(registry, entry, times)]
    heights = [int.from_bytes(entry.key, "big") for entry in chunk.entries if entry.is_replay]
    writer.add_state(
        {(entry.module, entry.collection, entry.key): entry.value for entry in chunk.entries},
        indexes,
        nodes,
        dict(zip(heights, chunk.nonces, strict=True)),
    )


def _index_entries(registry: Registry, entry: Entry, times: dict[int, int]) -> Iterator[IndexEntry]:
    """The index entries that executing this channel's blocks would have left for ``entry``."""
    if entry.is_replay:
        time_ms = times.get(int.from_bytes(entry.key, "big"))
        if time_ms is None:
            raise InvalidMessage("a replay entry of the snapshot is of a block without a header")
        yield (*REPLAY_ENTRY, REPLAY_INDEX), time_ms.to_bytes(8, "big") + entry.key, entry.key
        return
    module = registry.module(entry.module)
    kind = None if module is None else module.entities.get(entry.collection)
    if kind is None:
        if not entry.key:
            return  # the genesis, which the executor itself keeps
        raise OperatorError(
            "the snapshot cannot be installed",
            f"its state has {entry.module}.{entry.collection}, which no module of this channel declares here",
            "Install the version of the module that the channel runs.",
        )
    try:
        entity = kind.spec.decode(entry.value)
    except msgspec.MsgspecError as error:
        raise OperatorError(
            "the snapshot cannot be installed",
            f"an entry of {entry.module}.{entry.collection} cannot be read: {error}",
            "Install the version of the module that the channel runs.",
        ) from None
    for name, function in kind.spec.indexes:
        for parts in function(entity):
            yield (entry.module, entry.collection, name), prefix_of(*parts) + entry.key, entry.key


def _remove_unfinished(path: Path) -> None:
    """What an interrupted ``build`` left is ours and worth nothing."""
    if path.exists():
        shutil.rmtree(path)
