"""A real validator that dies at a named failpoint, under load and with peers, and comes back."""

from __future__ import annotations

import pytest
from network_kit import Load, Network, until

from dawan_node import failpoints

#: From the start of the process to the head of the others (reliability.md A2).
REJOIN_S = 10.0

#: The one of the default run (``test_faults``); a node alone is killed at all the others (``campaign failpoints``).
DEFAULT = "apply.before_judge"
#: Reached while the process ends, not while it works.
AT_THE_END = ("node.before_stop", "node.before_close", "node.after_close", "db.before_close", "db.after_close")
AT_THE_END += ("wal.before_last_mark", "wal.after_last_mark")


def die_and_return(network: Network, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first node dies at failpoint ``name`` while the others work, and is at their head within ``REJOIN_S``."""
    node, *others = network.nodes
    with Load(network, tuple(others)) as load:
        load.wait_for(10)
        network.processes.stop((node,))
        load.wait_for(10)  # what it has to catch up with
        monkeypatch.setenv(failpoints.VARIABLE, name)
        network.processes.start(node)
        monkeypatch.delenv(failpoints.VARIABLE)
        if name in AT_THE_END:
            network.wait_answering(node)
            network.processes.stop((node,))
        until(lambda: network.processes.pid(node) is None, 30.0, f"death at {name}")
        load.wait_for(10)
        network.processes.start(node)
        network.wait_answering(node)
        goal = network.head(others[0])[0]
        until(lambda: network.head(node)[0] >= goal, REJOIN_S, f"the return of {node.name} after {name}")
    network.assert_kept(load.committed)
