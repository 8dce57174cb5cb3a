"""Everything about snapshots and pruning on one channel, for the channel to hold as one thing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from dawan_node.crypto.signatures import Verify
from dawan_node.execution.executor import Executor
from dawan_node.node.budget import PeerBudgets
from dawan_node.node.channel_parts import Links
from dawan_node.node.clock import Clock
from dawan_node.node.keeping import Keeping
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.logs import fields
from dawan_node.node.pruning import oldest_wanted
from dawan_node.node.runtime import Jobs, Runtime
from dawan_node.node.serving import Serving
from dawan_node.node.snapshot_fetching import SnapshotFetching, SnapshotStatus
from dawan_node.node.snapshot_keeper import SnapshotKeeper
from dawan_node.node.syncing import Syncing
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.sync import Anchor
from dawan_node.sync.snapshot_messages import SnapshotRequest, decode_snapshot_message

log = logging.getLogger(__name__)

#: Between two looks whether blocks may leave, when the last one found none. While there are any, one step follows the
#: other, each a job of some ten milliseconds between two commits.
PRUNE_MS: Final = 5_000


class Snapshots:
    """Making, serving and fetching snapshots, and pruning. Lives on the event loop."""

    def __init__(
        self,
        name: str,
        chain_id: bytes,
        store: ChannelStore,
        executor: Executor,
        keeping: Keeping,
        serving: Serving,
        syncing: Syncing,
        worker: Jobs,
        verify: Verify,
        runtime: Runtime,
        links: Links,
        budgets: PeerBudgets,
        log_writer: LogWriter | None,
        clock: Clock,
        reopen: Callable[[], None],
        genesis: ValidatorSet,
        knows_of: Callable[[CommitCertificate, ValidatorSet], bool],
    ) -> None:
        """``worker`` is the channel's, where blocks are committed; the last three see SnapshotFetching."""
        self._name: Final = name
        self._store: Final = store
        self._executor: Final = executor
        self._keeping: Final = keeping
        self._worker: Final = worker
        self._syncing: Final = syncing
        self._chain_id: Final = chain_id
        self._links: Final = links
        self._keeper: Final = SnapshotKeeper(
            name,
            store,
            keeping,
            serving,
            runtime,
            budgets,
            self._send,
        )
        self._fetching: Final = SnapshotFetching(
            name,
            chain_id,
            keeping,
            executor,
            store.blocks,
            syncing,
            verify,
            runtime,
            links,
            log_writer,
            clock,
            reopen,
            genesis,
            knows_of,
        )
        self._is_pruning = False
        self._prune_at_ms = 0

    @property
    def offered(self) -> tuple[int, ...]:
        """Heights of the snapshots that others may have."""
        return self._keeper.heights

    def status(self) -> SnapshotStatus | None:
        """The snapshot being fetched."""
        return self._fetching.status()

    def far_behind(self, height: int, target: int) -> bool:
        """Whether block catch-up must wait for a snapshot (see ``syncing.FarBehind``)."""
        return self._fetching.holds_blocks()

    def on_message(self, peer: str, payload: bytes) -> None:
        """One payload of topic SYNC that ``is_snapshot_message``. Raises InvalidMessage."""
        message = decode_snapshot_message(payload)
        if isinstance(message, SnapshotRequest):
            self._keeper.on_request(peer, message)
        else:
            self._fetching.on_answer(peer, message)

    def peer_up(self, peer: str) -> None:
        """A link is up."""
        self._fetching.peer_up(peer)

    def peer_gone(self, peer: str) -> None:
        """A link is gone."""
        self._fetching.peer_gone(peer)

    def tick(self, now_ms: int, anchor: Anchor) -> None:
        """Time has passed. Raises what must stop the node."""
        self._keeper.tick()
        self._fetching.tick(now_ms, anchor)
        if self._keeping.prunes and not self._is_pruning and now_ms >= self._prune_at_ms:
            self._is_pruning = True
            self._prune_at_ms = now_ms + PRUNE_MS
            peers = [self._syncing.catch_up.claimed_height(peer.name) for peer in self._links.connected(self._chain_id)]
            self._worker.submit(lambda: self._prune(peers), self._pruned)

    def _send(self, peer: str, payload: bytes) -> None:
        self._links.send(peer, self._chain_id, Topic.SYNC, payload)

    def close(self) -> None:
        """Stop the threads."""
        self._keeper.close()
        self._fetching.close()

    def _prune(self, peers: Sequence[int]) -> int:
        """One step in the worker; how much it removed."""
        lifetime_ms = self._executor.configuration(self._store.state).param("tx_lifetime_ms_max")
        blocks = self._store.blocks
        wanted = oldest_wanted(self._keeping, blocks, lifetime_ms, self._keeper.heights, [p for p in peers if p])
        return self._store.retention.step(wanted)

    def _pruned(self, removed: int) -> None:
        self._is_pruning = False
        if removed:
            self._prune_at_ms = 0
            log.debug("blocks_pruned", extra=fields(channel=self._name, removed=removed))
