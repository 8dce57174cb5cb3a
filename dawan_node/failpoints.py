"""Named places where a test may kill the process, or hear that it came by (issue 5, reliability.md A2).

    failpoints.reach("wal.before_sync")

A crash test is only as good as its choice of moments. The kernel sees system calls; between two of them lie moments
that matter as much: a vote signed and not yet logged, a block stored and not yet announced. Each such place has a name
here and one line in the code. A production node pays one comparison for it.

Nothing is armed unless ``arm`` was called, which the node does for the environment variable ``DAWAN_FAILPOINT``, and
only with ``[devnet] faults = true``. Its value is a name, or ``name:count`` for the count-th arrival.

A new place: a row in ``FAILPOINTS``, and the call. A test fails for a name that no run reaches.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

#: The environment variable that arms one.
VARIABLE: Final = "DAWAN_FAILPOINT"

#: Every name, and what has happened there and what has not.
FAILPOINTS: Final[dict[str, str]] = {
    # The write-ahead log
    "wal.before_recover": "the log's files were listed, nothing was changed",
    "wal.before_truncate": "a torn tail was found and is still there",
    "wal.after_recover": "the log is open, older segments are removed",
    "wal.before_append": "records were handed over, none is written",
    "wal.after_append": "records are written, not synced",
    "wal.before_sync": "the sync is about to begin",
    "wal.after_sync": "records are durable, nobody knows",
    "wal.before_roll": "the checkpoint was handed over, its segment does not exist",
    "wal.after_create_segment": "the new segment exists and is empty",
    "wal.after_roll": "the checkpoint is written, not synced",
    "wal.before_retire": "the checkpoint is durable, the older segments are still there",
    "wal.between_retire_syncs": "the older segments are removed, the directory is not synced",
    "wal.after_retire": "only the new segment is left",
    "wal.before_last_mark": "an orderly end, before its mark",
    "wal.after_last_mark": "an orderly end, after its mark",
    # A channel's database
    "db.before_open": "locked, not open",
    "db.after_open": "open, nothing read",
    "db.before_write": "a batch is built, not handed over",
    "db.after_write": "a batch is durable, the caller does not know",
    "db.before_marker": "a new database has its first content, and no marker",
    "db.before_marker_rename": "the marker is durable under another name",
    "db.after_marker": "a new database is complete",
    "db.before_close": "everything is written",
    "db.after_close": "closed, and unlocked",
    # Group commit
    "log.before_append": "records that a message relies on are due",
    "log.after_append": "records are durable, nothing that relies on them has left",
    "log.before_group": "records of all channels wait in memory",
    "log.before_checkpoint": "the state of every channel is about to be asked for",
    "log.after_group": "records are durable, the drivers do not know",
    # Signing
    "sign.before": "a statement was judged, not signed",
    "sign.after": "a statement is signed, not logged",
    # A channel
    "channel.before_send": "a message that relies on durable records is about to leave",
    "channel.after_send": "it has left",
    "channel.before_publish": "a block is stored, nobody was told",
    "channel.after_publish": "clients were told of a block",
    "sync.before_apply": "blocks of catch-up are proven, none is executed",
    # Executing and storing
    "apply.before_judge": "a proposed block is about to be judged on its branch",
    "apply.before_execute": "a block is about to be executed",
    "apply.after_execute": "a block is executed, its result known to nobody",
    "apply.before_decided": "a decision is durable in the log, its block is not stored",
    "apply.before_group": "several blocks of catch-up are durable in the log, none is stored; one batch will hold them",
    "apply.before_commit": "a decided block is executed, its batch not built",
    "apply.after_commit": "a decided block is durable, the applier's head is the old one",
    # Snapshots: making and offering one
    "snapshot.before_clear": "what an earlier attempt left is still there",
    "snapshot.begun": "an empty folder has the name of an unfinished snapshot",
    "part.before_rename": "a file of a snapshot is durable under another name",
    "part.after_rename": "it has its name, which is not durable",
    "snapshot.before_finish": "every file is there, under the name of an unfinished snapshot",
    "snapshot.between": "it has its own name, which is not durable, and one too many is there",
    "snapshot.removing": "one that is too old has lost its name, and has its files",
    "snapshot.finished": "the new one is there and the oldest gone",
    "snapshot.before_serve": "a part was read for a peer, and is not sent",
    # Snapshots: fetching and installing one
    "fetch.after_choice": "what is fetched is written down, no part of it is there",
    "fetch.after_part": "a part is verified and kept, and nobody knows",
    "fetch.before_build": "all parts are kept, no database is made of them",
    "fetch.before_log": "the database is complete, the log does not know of it",
    "fetch.after_log": "the log knows of it, the node is not opened anew",
    "install.before_finish": "the state is written to the new database, its head is not",
    "install.before_sign": "the new database has its head, and no sign that it is complete",
    "install.after_build": "the new database is complete, beside the old one",
    "install.before_aside": "the old database is still in its place",
    "install.after_aside": "the old database has another name, none is in its place",
    "install.after_place": "the new database is in its place, its sign is not",
    "install.after_sign": "database and sign are in their place, the sign is at the old place too",
    "install.before_remove": "only the fetched parts are left of the snapshot",
    # Pruning
    "prune.before_write": "a batch that removes blocks is built, not written",
    "prune.after_write": "it is durable, its thread does not know",
    # Opening a channel
    "restore.before_create": "a channel has no database yet",
    "restore.after_create": "a channel has a database at height 0",
    "restore.before_open": "the database is about to be opened",
    "restore.before_replica": "the database is open, the log not replayed into the replica",
    "restore.after_replica": "the replica stands where it stood",
    # The node
    "node.before_log": "the home is locked, the log not open",
    "node.after_log": "the log is open, no channel is",
    "node.after_channels": "every channel is open, nothing runs",
    "node.before_listen": "channels run, nobody can reach them",
    "node.started": "everything runs and listens",
    "node.before_stop": "told to stop, everything still runs",
    "node.before_close": "nothing runs any more, the stores are open",
    "node.after_close": "the stores are closed, the home is locked",
}


class _Listener:
    """Who is told of every place that is reached, while anything is armed."""

    arrived: Callable[[str], None] | None = None


_listener: Final = _Listener()


def reach(name: str) -> None:
    """The process is at the place called ``name``. Does nothing unless something is armed."""
    arrived = _listener.arrived
    if arrived is not None:
        arrived(name)


def watch(arrived: Callable[[str], None] | None) -> None:
    """Have every arrival told to ``arrived``, in the thread that arrives; None: to nobody again. For tests."""
    _listener.arrived = arrived


def arm(text: str) -> None:
    """Kill this process at a place: its name, or ``name:count``. Raises ValueError for what is neither."""
    name, colon, number = text.partition(":")
    if name not in FAILPOINTS:
        raise ValueError(f"there is no failpoint {name!r}")
    if colon and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise ValueError(f"{number!r} is not the number of an arrival")
    left = int(number) if colon else 1

    def arrived(place: str) -> None:
        nonlocal left
        if place == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    watch(arrived)
