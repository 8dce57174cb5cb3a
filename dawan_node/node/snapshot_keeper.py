"""The snapshots this node makes of a channel and offers to others.

At every height that is a multiple of the interval the worker, right after the block is durable and before anything
else is, takes a view of the database; a thread of its own makes the snapshot from it at leisure. One that is still
being made when the next is due lets that one go by. What the disk refuses here (it may be full) costs a snapshot, not
the node: nothing in it is needed by this node itself. What the *database* refuses stops the node, as everywhere.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from dawan_node import failpoints
from dawan_node.errors import InvalidMessage
from dawan_node.node.budget import REQUEST_US, PeerBudgets
from dawan_node.node.keeping import Keeping
from dawan_node.node.logs import fields
from dawan_node.node.runtime import Jobs, Runtime
from dawan_node.node.serving import Serving
from dawan_node.node.snapshot_maker import Pace, TooLarge, make_snapshot
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import KeyValueSnapshot
from dawan_node.sync.snapshot_format import Manifest
from dawan_node.sync.snapshot_messages import (
    EPOCHS_PER_REPLY,
    EpochProof,
    EpochQuery,
    EpochReply,
    PartQuery,
    PartReply,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
)

log = logging.getLogger(__name__)

#: Requests that wait for their answer, a hundred bytes each. Of one peer: two parts, its offer and the epochs. Of all:
#: of as many newcomers as a consortium lets in at once. The disk is read for one of them at a time.
WAITING_PER_PEER_MAX: Final = 4
WAITING_MAX: Final = 16 * WAITING_PER_PEER_MAX


def epoch_proofs(blocks: BlockStore, epoch: int, count: int = EPOCHS_PER_REPLY) -> list[EpochProof]:
    """How ``epoch`` and those after it ended, as far as they have."""
    proofs: list[EpochProof] = []
    while len(proofs) < count and (following := blocks.epoch(epoch + len(proofs) + 1)) is not None:
        finality = blocks.finality(following.first - 1)
        if finality is None:
            break
        proofs.append(EpochProof(finality.encode(), following.members))
    return proofs


class Stopped(Exception):
    """The node ends while a snapshot is being made."""


class SnapshotKeeper:
    """Making and serving. ``committed`` is called in the channel's worker, everything else on the event loop."""

    def __init__(
        self,
        name: str,
        store: ChannelStore,
        keeping: Keeping,
        serving: Serving,
        runtime: Runtime,
        budgets: PeerBudgets,
        send: Callable[[str, bytes], None],
    ) -> None:
        """``name`` is the channel's; ``send`` an answer to a peer."""
        self._name: Final = name
        self._store: Final = store
        self._every: Final = keeping.snapshot_every
        self._folders: Final = keeping.snapshots
        self._serving: Final = serving
        self._runtime: Final = runtime
        self._budgets: Final = budgets
        self._send: Final = send
        self._maker: Final[Jobs] = runtime.jobs(f"snapshot-{name}", lambda: None)
        self._reader: Final[Jobs] = runtime.jobs(f"parts-{name}", lambda: None)
        self._pinned: tuple[int, KeyValueSnapshot] | None = None
        self._is_making = False
        self._is_stopping = False
        self._waiting: Counter[str] = Counter()
        #: (height, id, encoded manifest) of what is offered, newest first.
        self._offered: list[tuple[int, bytes, bytes]] = []
        self._store.on_commit = self.committed
        self._store.ends_batch = self.is_due
        self._reload()

    @property
    def heights(self) -> tuple[int, ...]:
        """Of the snapshots offered."""
        return tuple(height for height, _, _ in self._offered)

    def is_due(self, height: int) -> bool:
        """Whether a snapshot is made at this height, if none is being made then."""
        return self._every > 0 and height % self._every == 0

    def committed(self, height: int) -> None:
        """A block is durable and nothing newer is."""
        if self.is_due(height) and self._pinned is None and not self._is_making:
            self._pinned = height, self._store.snapshot()

    def tick(self) -> None:
        """Begin what is due. Raises what must stop the node."""
        for jobs in (self._maker, self._reader):
            if jobs.failure is not None:
                raise jobs.failure
        if self._pinned is not None and not self._is_making:
            height, view = self._pinned
            self._is_making = True
            self._maker.submit(lambda: self._make(height, view), lambda failure: self._made(height, failure))

    def on_request(self, peer: str, request: SnapshotRequest) -> None:
        """Answer: at once, or when the peer may draw more. Nothing is dropped of who keeps to the number of requests,
        because it would wait for that answer until it is late."""
        if (
            self._waiting.total() >= WAITING_MAX
            or self._waiting[peer] >= WAITING_PER_PEER_MAX
            or not self._budgets.of(peer).work(REQUEST_US)
        ):
            return
        self._waiting[peer] += 1
        self._answer_when_due(peer, request)

    def _answer_when_due(self, peer: str, request: SnapshotRequest) -> None:
        if self._is_stopping:
            return
        wait_ms = self._serving.wait_ms(peer)
        if wait_ms:
            self._runtime.later(wait_ms / 1_000, lambda: self._answer_when_due(peer, request))
        else:
            self._reader.submit(lambda: self._answer(request), lambda payload: self._answered(peer, payload))

    def close(self) -> None:
        """Stop what runs; the store may be closed after this."""
        self._is_stopping = True
        self._maker.close()
        self._reader.close()
        if self._pinned is not None:
            self._pinned[1].close()
            self._pinned = None

    # Making

    def _make(self, height: int, view: KeyValueSnapshot) -> str | None:
        """In the maker's thread: what went wrong, or None."""
        pace = Pace()

        def look_up() -> None:
            if self._is_stopping:
                raise Stopped
            pace()

        try:
            folder = self._folders.begin(height)
            make_snapshot(view, folder, look_up)
            self._folders.finish(folder, height)
        except OSError as error:
            return error.strerror or str(error)
        except TooLarge as error:
            return str(error)
        except Stopped:
            return "the node stops"
        return None

    def _made(self, height: int, failure: str | None) -> None:
        self._is_making = False
        if self._pinned is not None:
            self._pinned[1].close()
            self._pinned = None
        if failure is not None:
            log.warning("snapshot_failed", extra=fields(channel=self._name, height=height, why=failure))
            return
        self._reload()
        log.info("snapshot_made", extra=fields(channel=self._name, height=height))

    def _reload(self) -> None:
        """Read the manifests of what is there: at the start, and after a new one."""
        self._offered = []
        try:
            self._folders.clear()
            heights = self._folders.heights()
        except OSError as error:
            log.warning("snapshot_unreadable", extra=fields(channel=self._name, why=str(error)))
            return
        for height in heights:
            try:
                data = self._folders.at(height).manifest()
                manifest = None if data is None else Manifest.decode(data)
            except (OSError, InvalidMessage) as error:  # damaged, or another version's; the others are offered
                log.warning("snapshot_unreadable", extra=fields(channel=self._name, height=height, why=str(error)))
                continue
            if data is not None and manifest is not None and manifest.header.height == height:
                self._offered.append((height, manifest.id, data))

    # Serving

    def _answer(self, request: SnapshotRequest) -> bytes:
        if isinstance(request, SnapshotQuery):
            manifests = tuple(data for _, _, data in self._offered)
            return SnapshotOffer(request.id, self._store.blocks.kept().oldest, manifests).encode()
        if isinstance(request, EpochQuery):
            return EpochReply(request.id, tuple(epoch_proofs(self._store.blocks, request.epoch))).encode()
        return PartReply(request.id, self._part(request)).encode()

    def _part(self, request: PartQuery) -> bytes:
        height = next((height for height, own_id, _ in self._offered if own_id == request.snapshot), None)
        if height is None:
            return b""
        try:
            return self._folders.at(height).part(request.part) or b""
        except OSError as error:
            log.warning("snapshot_unreadable", extra=fields(channel=self._name, height=height, why=str(error)))
            return b""

    def _answered(self, peer: str, payload: bytes) -> None:
        self._waiting[peer] -= 1
        if not self._waiting[peer]:
            del self._waiting[peer]
        self._serving.charge_anyway(peer, payload)
        failpoints.reach("snapshot.before_serve")
        self._send(peer, payload)
