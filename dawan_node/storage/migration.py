"""From the layout of an earlier version to this one's, before anything else reads the database.

One step leads from each version to the next. A step is given the database and yields batches of changes, each written
as one; the version is raised, synced, after the last. A crash in between leaves the version as it was and the step runs
again, so a step must do nothing the second time that it has done before: it looks at what is there.

A database newer than this program, or older than the oldest step, is refused before a byte of it is written: neither
may be guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from dawan_node.errors import DataRefusal, DataRefused
from dawan_node.storage.kv import KeyValueStore, Put
from dawan_node.storage.schema import SCHEMA_VERSION, schema_put, schema_version

#: What leads away from a version, to the next one.
Step = Callable[[KeyValueStore], Iterable[list[Put]]]


def _nothing_to_rewrite(store: KeyValueStore) -> Iterable[list[Put]]:
    """Version 2 reads all that version 1 wrote. The number is raised because 1 cannot read the patches of 2."""
    return ()


#: By the version they start from.
STEPS: Final[Mapping[int, Step]] = {1: _nothing_to_rewrite}


def migrate(store: KeyValueStore, steps: Mapping[int, Step] = STEPS, to: int = SCHEMA_VERSION) -> int:
    """Bring the database to version ``to``; the version it had. Raises DataRefused, having written nothing, or
    StorageError."""
    found = schema_version(store)
    if found > to:
        raise DataRefused(
            DataRefusal.NEWER,
            "the database cannot be opened",
            f"it has schema {found} and this version of dawan-node knows {to}",
            "Start the newer version again, or restore the backup made before it ran.",
        )
    missing = [version for version in range(found, to) if version not in steps]
    if missing:
        raise DataRefused(
            DataRefusal.OLDER,
            "the database cannot be opened",
            f"it has schema {found}, and this version of dawan-node has no way from {missing[0]} to {to}",
            "Start the versions between one after the other, or move the database away so that it syncs anew.",
        )
    for version in range(found, to):
        for batch in steps[version](store):
            store.write(batch, sync=False)
        store.write([schema_put(version + 1)], sync=True)
    return found
