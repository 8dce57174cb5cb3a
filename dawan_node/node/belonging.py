"""The directory in force on a running node, made anew whenever what it was made from has changed.

Three things change it: a block that changes a channel's membership, a revocation list that arrives as a file, and one
that arrives on a channel. Each time the whole directory is made from all of them (a millisecond for a few dozen
organisations) and handed on; so there is no order of events in which a change could be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from dawan_node.crypto.revocation import RevocationList, RevocationRule
from dawan_node.execution.executor import Executor
from dawan_node.execution.membership import read_membership
from dawan_node.node.clock import Calendar
from dawan_node.node.consortium import Consortium
from dawan_node.node.directory import ChannelView, Directory, OwnPlace, make_directory
from dawan_node.node.logs import fields
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """What is needed of a channel: its genesis, and its state at the head."""

    @property
    def genesis(self) -> Genesis: ...

    @property
    def executor(self) -> Executor: ...

    @property
    def store(self) -> ChannelStore: ...


class Belonging:
    """Keeps the directory. Lives on the event loop; reads a channel's records from one snapshot of its state."""

    def __init__(
        self,
        own: OwnPlace,
        consortium: Consortium,
        ledgers: Sequence[Ledger],
        rule: RevocationRule,
        clock: Calendar,
    ) -> None:
        """``ledgers`` are the channels this node serves, in the order of consortium.toml. Raises StorageError."""
        self._own: Final = own
        self._consortium: Final = consortium
        self._ledgers: Final = ledgers
        self._rule: Final = rule
        self._clock: Final = clock
        self._files: Mapping[str, Sequence[bytes]] = {}
        self._reported: frozenset[str] = frozenset()
        #: Called with each new directory; the node connects it.
        self.on_change: Callable[[Directory], None] = lambda _: None
        self.directory = self._make(())

    def chain_ids_of(self, org: str, node: str) -> tuple[bytes, ...]:
        """The channels that ``node`` of ``org`` may hear of, now."""
        return self.directory.chain_ids_of(org, node)

    def membership_changed(self) -> None:
        """A block may have changed who belongs to a channel. Raises StorageError."""
        self._renew()

    def lists_changed(self, files: Mapping[str, Sequence[bytes]]) -> None:
        """These revocation lists (organisation -> DER) are beside consortium.toml now."""
        self._files = files
        self._renew()

    def _renew(self) -> None:
        found = self._make(tuple(self.directory.trust.revocations.lists.values()))
        if found != self.directory:
            self.directory = found
            self.on_change(found)

    def _make(self, held: Sequence[RevocationList]) -> Directory:
        found = make_directory(
            self._own,
            self._consortium,
            [_view(ledger) for ledger in self._ledgers],
            self._files,
            self._rule,
            self._clock.now(),
            held,
        )
        for problem in found.problems:
            if problem not in self._reported:
                log.error("membership_problem", extra=fields(what=problem))
        self._reported = frozenset(found.problems)
        return found


def _view(ledger: Ledger) -> ChannelView:
    with ledger.store.state.latest() as view:
        return ChannelView(ledger.genesis.channel, ledger.genesis.chain_id, read_membership(ledger.executor, view))
