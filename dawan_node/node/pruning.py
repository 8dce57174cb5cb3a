"""When blocks may leave: what the settings say, and what somebody still needs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from dawan_node.errors import StorageError
from dawan_node.node.keeping import MS_PER_DAY, PEER_BLOCKS_MAX, Keeping
from dawan_node.storage.block_store import BlockStore


def oldest_wanted(
    keeping: Keeping,
    blocks: BlockStore,
    lifetime_ms: int,
    snapshots: Iterable[int],
    peers: Iterable[int] = (),
) -> int:
    """The oldest height that must stay complete; everything below may be pruned.

    The settings never go below ``keeping.retain_blocks_min``. Also kept: every block whose transactions may still be
    valid (``lifetime_ms``), because a client that sends one again is answered with its first receipt; what follows the
    oldest of the ``snapshots`` offered, which is no use to a newcomer without it; and what connected ``peers`` at these
    heights are fetching. Raises StorageError.
    """
    head = blocks.head()
    if head is None or head.header is None or not keeping.prunes:
        return 1
    oldest = blocks.kept().oldest
    newest = head.height + 1 - max(keeping.retain_blocks, keeping.retain_blocks_min)
    if newest <= oldest:
        return oldest
    span_ms = max(keeping.retain_days * MS_PER_DAY, lifetime_ms)
    cutoff_ms = head.header.timestamp_ms - span_ms

    def time_ms(height: int) -> int:
        header = blocks.header(height)
        if header is None:
            raise StorageError(f"the header at height {height} is not there")
        return header.timestamp_ms

    by_time = bisect_right(range(oldest, newest), cutoff_ms, key=time_ms) + oldest
    needed = [height + 1 for height in snapshots]
    needed += [height + 1 for height in peers if head.height - height <= PEER_BLOCKS_MAX]
    return max(oldest, min([by_time, *needed]))
