"""Which failpoint is reached by which kind of run; a name in neither set fails a test."""

from __future__ import annotations

from typing import Final

from dawan_node import failpoints

#: What a node without peers never comes by.
ONLY_IN_A_NETWORK: Final = frozenset(
    {
        "apply.before_group",
        "apply.before_judge",
        "node.after_channels",
        "node.after_close",
        "node.after_log",
        "node.before_close",
        "node.before_listen",
        "node.before_log",
        "node.before_stop",
        "node.started",
        "sync.before_apply",
    }
)

#: What ``campaign snapshots`` kills a process at.
IN_SNAPSHOTS: Final = frozenset(
    name
    for name in failpoints.FAILPOINTS
    if name.startswith(("snapshot.", "part.", "install.", "prune.")) and name != "snapshot.before_serve"
)

#: What two nodes come by of which one fetches the other's snapshot (``tests/node/test_snapshot_failpoints.py``).
IN_A_FETCH: Final = frozenset(name for name in failpoints.FAILPOINTS if name.startswith("fetch.")) | {
    "snapshot.before_serve"
}

#: All others: ``campaign failpoints`` fails if it does not come by one of them.
REACHED_ALONE: Final = frozenset(failpoints.FAILPOINTS) - ONLY_IN_A_NETWORK - IN_SNAPSHOTS - IN_A_FETCH
