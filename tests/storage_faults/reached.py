"""Which failpoint is reached by which kind of run; a name in neither set fails a test."""

from __future__ import annotations

from typing import Final

from dawan_node import failpoints

#: What a node without peers never comes by.
ONLY_IN_A_NETWORK: Final = frozenset(
    {
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

#: All others: ``campaign failpoints`` fails if it does not come by one of them.
REACHED_ALONE: Final = frozenset(failpoints.FAILPOINTS) - ONLY_IN_A_NETWORK
