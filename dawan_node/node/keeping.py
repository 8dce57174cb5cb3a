"""What a channel keeps on this node, and how far behind it must be to begin with a snapshot: the settings.

Local, and different on every node if its operator wants it so: nothing here changes what a block is or means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawan_node.storage.snapshot_files import PartFolder, SnapshotFolders

#: Heights of snapshots: every node makes them at the multiples of this, so peers have the same ones. The two that are
#: kept reach 10,000 blocks back at most, as far as the state history; and at one block a second making one (some ten
#: seconds of processor time for a million entries) happens every hour and a half.
SNAPSHOT_EVERY: Final = 5_000
#: A node further behind fetches a snapshot instead of blocks (consensus.md 1.10): executing 10,000 full blocks takes
#: many minutes, fetching the state of a channel seldom more than one. A snapshot is at most 5,000 blocks old.
SNAPSHOT_BEHIND: Final = 10_000
#: The least that ``retain`` may ask for. A proof may need the 64 blocks above its own, a validator that restarts the
#: window, and a peer that was away for a few minutes should not need a snapshot: a thousand covers them all.
RETAIN_BLOCKS_MIN: Final = 1_000
#: What a connected peer that is catching up still needs is not pruned, as far back as it would fetch by blocks at all.
PEER_BLOCKS_MAX: Final = SNAPSHOT_BEHIND

MS_PER_DAY: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Keeping:
    """The settings of one channel. ``folder`` is its folder below ``data``.

    ``retain_blocks`` and ``retain_days``: what either of them covers is kept; both 0 keep everything.
    ``snapshot_every`` 0 makes none, ``snapshot_behind`` 0 fetches none.
    """

    folder: Path
    retain_blocks: int = 0
    retain_days: int = 0
    snapshot_every: int = SNAPSHOT_EVERY
    snapshot_behind: int = SNAPSHOT_BEHIND
    retain_blocks_min: int = RETAIN_BLOCKS_MIN

    @property
    def snapshots(self) -> SnapshotFolders:
        """The snapshots this node made."""
        return SnapshotFolders(self.folder / "snapshots")

    @property
    def incoming(self) -> PartFolder:
        """The snapshot this node fetches."""
        return PartFolder(self.folder / "incoming")

    @property
    def prunes(self) -> bool:
        """Whether blocks leave at all."""
        return bool(self.retain_blocks or self.retain_days)
