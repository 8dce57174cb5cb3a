"""Who belongs to a channel as its state says now: organisations with their certificates, nodes, revocation lists.

What the node's network goes by. Organisations and nodes of the genesis need no record of their own, so the view joins
the two. It is read from the state at the head and rebuilt when a block may have changed it (``MEMBERSHIP_EVENTS``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from dawan_node.execution.channel import GOVERNANCE, NodeRecord, Organisation, RevocationRecord
from dawan_node.execution.entity import Entity
from dawan_node.execution.executor import Executor
from dawan_node.execution.state import StateReader

#: Events of governance after which the membership is read again, beside every barrier block. Another module may use
#: one of these names: the cost is one reading for nothing.
MEMBERSHIP_EVENTS: Final = frozenset({"NodeRegistered", "NodeRemoved", "RevocationsPublished"})


# Records read at a time; a channel has a few dozen of each kind.
_PAGE: Final = 256

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Membership:
    """One channel's members. ``validators``: name -> (organisation, voting key)."""

    organisations: Mapping[str, Organisation]
    validators: Mapping[str, tuple[str, bytes]]
    nodes: Mapping[str, NodeRecord]
    revocations: Mapping[str, tuple[bytes, ...]]

    @property
    def active_orgs(self) -> frozenset[str]:
        """Organisations whose nodes are served on this channel."""
        return frozenset(org for org, record in self.organisations.items() if record.status == "active")


def read_membership(executor: Executor, state: StateReader) -> Membership:
    """The membership after the block that ``state`` shows."""
    stored = {record.id: record for record in _records(state, Organisation, "by_id")}
    return Membership(
        {**executor.genesis.organisations, **stored},
        {name: (org, key) for name, org, _, key in executor.configuration(state).validators},
        {node.name: node for node in _records(state, NodeRecord, "by_name")},
        {record.org: record.lists for record in _records(state, RevocationRecord, "by_org")},
    )


def _records(state: StateReader, kind: type[E], index: str) -> Iterator[E]:
    """Every record of a collection of governance, by an index that holds each once."""
    collection, after = kind.spec.collection, b""
    while found := state.index_scan(GOVERNANCE, collection, index, b"", after, _PAGE):
        for _, key in found:
            value = state.get(GOVERNANCE, collection, key)
            if value is not None:
                yield kind.spec.decode(value)
        after = found[-1][0]
