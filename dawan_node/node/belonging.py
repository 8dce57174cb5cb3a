"""The directory in force on a running node, made anew whenever what it was made from has changed.

Three things change it: a block that changes a channel's membership, a revocation list that arrives as a file, and one
that arrives on a channel. Each time the whole directory is made from all of them and handed on; so there is no order of
events in which a change could be lost. What costs more than a lookup, judging a revocation list, is done once for each.

The first change takes effect at once; more within the same second wait for its end and are taken together. An
administrator may register a node in every block, and no member may cost the others more than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from dawan_node.crypto.certificates import NodeCertificate
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.revocation import RevocationList, RevocationRule, load_revocation_list
from dawan_node.execution.executor import Executor
from dawan_node.execution.membership import read_membership
from dawan_node.node.clock import Calendar
from dawan_node.node.consortium import Consortium
from dawan_node.node.directory import ChannelView, Directory, OwnPlace, make_directory
from dawan_node.node.logs import fields
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore

log = logging.getLogger(__name__)


#: A directory of 60 organisations with four channels and 180 nodes takes 30 to 50 ms of the event loop: 5 % at most.
RENEWED_EVERY_S: Final = 1.0

#: Judged lists kept: some for each of a few hundred organisations.
_LISTS_MAX: Final = 2_048


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
        self._judged: dict[tuple[str, bytes, tuple[bytes, ...]], RevocationList] = {}
        self._due: Final = asyncio.Event()
        self._renewed_at = float("-inf")
        #: Called with each new directory; the node connects it.
        self.on_change: Callable[[Directory], None] = lambda _: None
        self.directory = self._make(())

    def chain_ids_of(self, certificate: NodeCertificate) -> tuple[bytes, ...]:
        """The channels that the node with ``certificate`` may hear of, now."""
        return self.directory.chain_ids_of(certificate)

    def is_member(self, channel: str, org: str, authorities: frozenset[bytes]) -> bool:
        """As the directory in force says."""
        return self.directory.is_member(channel, org, authorities)

    def membership_changed(self) -> None:
        """A block may have changed who belongs to a channel. Raises StorageError."""
        if self._wait_s() > 0:
            self._due.set()
        else:
            self._renew()

    async def run(self) -> None:
        """Take what came too soon after the change before it, until cancelled. Raises StorageError."""
        while True:
            await self._due.wait()
            await asyncio.sleep(self._wait_s())
            if self._due.is_set():
                self._renew()

    def lists_changed(self, files: Mapping[str, Sequence[bytes]]) -> None:
        """These revocation lists (organisation -> DER) are beside consortium.toml now."""
        self._files = files
        self._renew()

    def _renew(self) -> None:
        self._due.clear()
        self._renewed_at = asyncio.get_running_loop().time()
        found = self._make(tuple(self.directory.trust.revocations.lists.values()))
        if found != self.directory:
            self.directory = found
            self.on_change(found)

    def _wait_s(self) -> float:
        return max(0.0, self._renewed_at + RENEWED_EVERY_S - asyncio.get_running_loop().time())

    def _make(self, held: Sequence[RevocationList]) -> Directory:
        found = make_directory(
            self._own,
            self._consortium,
            [_view(ledger) for ledger in self._ledgers],
            self._files,
            self._rule,
            self._clock.now(),
            held,
            self._load,
        )
        for problem in found.problems:
            if problem not in self._reported:
                log.error("membership_problem", extra=fields(what=problem))
        self._reported = frozenset(found.problems)
        return found

    def _load(self, data: bytes, org: str, authorities: Sequence[bytes], now: datetime) -> RevocationList:
        """As ``load_revocation_list``; what it once accepted under the same authorities it would accept again."""
        key = (org, sha256(data), tuple(authorities))
        found = self._judged.get(key)
        if found is None:
            found = load_revocation_list(data, org, authorities, now)
            if len(self._judged) >= _LISTS_MAX:
                self._judged.clear()
            self._judged[key] = found
        return found


def _view(ledger: Ledger) -> ChannelView:
    with ledger.store.state.latest() as view:
        return ChannelView(ledger.genesis.channel, ledger.genesis.chain_id, read_membership(ledger.executor, view))
