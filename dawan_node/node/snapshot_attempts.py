"""When a node tries to get a snapshot, and how long blocks wait for it.

The first attempt holds block catch-up from the moment the node sees how far behind it is: whatever blocks would bring
meanwhile, the snapshot brings again. An attempt that fails has shown that this may lead to nothing. From then on, until
the node is level, blocks wait only for a snapshot that was chosen and that somebody here has; and however it goes they
wait no longer than for one that is on its way to be here in time. So nobody who offers snapshots, and sends little of
them or nothing, keeps a node from its blocks.

Who failed for want of peers tries again soon when one comes: a maker of snapshots may be the last to connect. Each of
these early attempts waits twice as long as the one before.

Pure: times are milliseconds of a clock that does not go back.
"""

from __future__ import annotations

from typing import Final

from dawan_node.sync.snapshot_fetch import OFFERS_MS

#: After an attempt that failed, blocks have so long before the next one.
RETRY_MS: Final = 60_000
#: Before the first early attempt: peers that come together are asked together.
COMPANY_MS: Final = 1_000
#: Blocks wait so long for any snapshot that was chosen, and longer for one that comes at a pace to be here within the
#: second time: 1 GiB at 14 Mbit/s. Whatever is slower, blocks may as well overtake.
HELD_MS: Final = 60_000
HELD_MS_MAX: Final = 600_000


class Attempts:
    """The attempts of one channel to get a snapshot, one after the other."""

    def __init__(self) -> None:
        #: Since the node was level; then blocks do not wait for the choice of a snapshot.
        self.has_failed = False
        self._not_before_ms = 0
        self._early = 0  # since the node was level
        self._lacked_peers = False  # those who were here did not have what it takes
        self._newest_peer_ms: int | None = None
        self._chosen_ms: int | None = None

    def may_begin(self, now_ms: int) -> bool:
        """Whether it is time for the next one."""
        return now_ms >= self._not_before_ms

    def begun(self) -> None:
        """One is under way."""
        self._lacked_peers, self._chosen_ms = False, None

    def chose(self, now_ms: int) -> None:
        """It is known which snapshot to fetch."""
        self._chosen_ms = now_ms

    def holds(self, now_ms: int, parts: int, parts_total: int, has_holders: bool) -> bool:
        """Whether blocks wait for the chosen snapshot, of which ``parts`` of ``parts_total`` are here."""
        if self.has_failed and not has_holders:
            return False
        elapsed_ms = 0 if self._chosen_ms is None else now_ms - self._chosen_ms
        return elapsed_ms < HELD_MS or parts * HELD_MS_MAX >= parts_total * elapsed_ms

    def peer_up(self, now_ms: int, *, is_idle: bool) -> None:
        """A peer is connected; ``is_idle``: no attempt is under way that asks it."""
        self._newest_peer_ms = now_ms
        if is_idle and self._lacked_peers:
            self._lacked_peers = False
            self._not_before_ms = min(self._not_before_ms, now_ms + self._soon_ms())

    def failed(self, now_ms: int, *, lacked_peers: bool = False, awaits_offers: bool = False) -> None:
        """The one that was under way led to nothing. ``lacked_peers``: nobody here had one that would help;
        ``awaits_offers``: somebody has not said yet whether it has."""
        self.has_failed = True
        came_late = self._newest_peer_ms is not None and now_ms - self._newest_peer_ms < OFFERS_MS
        is_early = lacked_peers and (awaits_offers or came_late)
        self._lacked_peers = lacked_peers and not is_early
        self._not_before_ms = now_ms + (self._soon_ms() if is_early else RETRY_MS)

    def postponed(self, now_ms: int) -> None:
        """Blocks seem to come after all."""
        self._not_before_ms = now_ms + RETRY_MS

    def level(self) -> None:
        """The node is not far behind any more."""
        self.has_failed, self._early = False, 0

    def _soon_ms(self) -> int:
        wait_ms = min(COMPANY_MS << min(self._early, 10), RETRY_MS)
        self._early += 1
        return wait_ms
