"""``backup verify --deep``: the ledgers of a backup, put together in a scratch folder and verified from end to end.

``backup verify`` proves that the bytes are those that were written; this proves that what was written is right.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from dawan_node.errors import OperatorError
from dawan_node.node import consortium as consortium_file
from dawan_node.node.backups.manifest import Manifest, altered
from dawan_node.node.backups.records import NotRecords
from dawan_node.node.backups.restoring import write_records
from dawan_node.node.database.audit import Audited, Progress, audit
from dawan_node.node.database.finding import FileRefused
from dawan_node.node.database.opened import Opened, executor_of
from dawan_node.storage.leveldb import LevelDBStore


def verify_ledgers(
    folder: Path, manifest: Manifest, scratch: Path | None, progress: Progress
) -> Iterator[tuple[str, Audited]]:
    """Channel and verdict, one after the other; each ledger leaves the disk before the next.

    The files must have been checked. Raises FileRefused, or StorageError when the scratch's disk fails.
    """
    try:
        consortium = consortium_file.load(folder / "network" / "consortium.toml")
    except OperatorError as error:
        raise altered(folder, f"its consortium.toml: {error.what}: {error.why}") from None
    for channel in manifest.channels:
        records = folder / f"{channel.channel}.records"
        place = Path(tempfile.mkdtemp(prefix="dawan-backup-", dir=scratch))
        try:
            needed, free = 2 * records.stat().st_size, shutil.disk_usage(place).free
            if free < needed:
                raise FileRefused(
                    "BK_SPACE",
                    "there is not enough free disk to put the ledger together",
                    f"{channel.channel} and its second state need about {needed >> 20:,} MiB, {free >> 20:,} are free",
                    "Name a folder on another disk: --scratch.",
                )
            if channel.channel not in consortium.channels:
                raise altered(folder, f"its consortium.toml has no channel {channel.channel}")
            genesis = consortium.genesis(channel.channel)
            path = place / "ledger" / "db"
            kv = LevelDBStore.open(path, create=True)
            with closing(kv):
                try:
                    write_records(records, kv)
                except NotRecords as error:
                    raise altered(folder, f"{records.name}: {error}") from None
                executor = executor_of(genesis)
                yield channel.channel, audit(Opened(genesis, executor, kv, path), folder=place, progress=progress)
        finally:
            shutil.rmtree(place, ignore_errors=True)
