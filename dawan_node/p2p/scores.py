"""What a node thinks of its peers: points for what helped, off for what did not.

Pure. Opinions are this node's own and are never told or asked: a peer that praises its friends is praising nobody.
Praise is worth little and soon reaches its limit, blame adds up: whoever behaves well for an hour and then turns
(a *covert flash*) is known after a few blocks and not after another hour. Everything is forgotten by half a minute's
halves, so that whoever was slow on a bad day is tried again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: So much praise a peer can have in store. Two failures use it up.
BEST: Final = 8
#: ... and so much blame counts; more would only keep an upgraded peer out longer.
WORST: Final = -64
#: From here on somebody else is asked first, and nothing it merely says is acted on.
DISTRUSTED: Final = -8
#: From here on an outbound link is better used for another peer.
REPLACED: Final = -16
#: Points lose half of their value in this time.
HALF_LIFE_MS: Final = 30_000


class Deed(IntEnum):
    """What a peer did, and what that is worth."""

    FIRST = 1  # brought a block that was not here yet
    ANSWERED = 1  # brought one that it was asked for, though another was quicker
    DUPLICATE = -1  # brought one that was here, unasked
    LATE = -2  # was to push a block, and it had to be asked for elsewhere
    SILENT = -3  # said it had a block, was asked, and did not answer in time
    LAGGING = -8  # is far behind everybody else for a while
    SPAM = -5  # announces what cannot be, or more than there is
    INVALID = -64  # brought what no honest peer brings


class Scores:
    """Points by peer name. Names are those of the consortium file, so there are only so many; zero is not kept."""

    __slots__ = ("_halved_ms", "_points")

    def __init__(self, now_ms: int) -> None:
        self._points: dict[str, int] = {}
        self._halved_ms = now_ms

    def note(self, peer: str, deed: Deed) -> None:
        """``peer`` did it."""
        points = max(WORST, min(BEST, self.of(peer) + deed))
        if points:
            self._points[peer] = points
        else:
            self._points.pop(peer, None)

    def of(self, peer: str) -> int:
        """The points of ``peer``; 0 for one that nothing is known of."""
        return self._points.get(peer, 0)

    def is_distrusted(self, peer: str) -> bool:
        """Whether others are better asked."""
        return self.of(peer) <= DISTRUSTED

    def tick(self, now_ms: int) -> None:
        """Time has passed: opinions fade."""
        while now_ms - self._halved_ms >= HALF_LIFE_MS:
            self._halved_ms += HALF_LIFE_MS
            # Towards zero from both sides, so that nothing is remembered for ever.
            halved = {peer: points // 2 if points > 0 else -(-points // 2) for peer, points in self._points.items()}
            self._points = {peer: points for peer, points in halved.items() if points}

    def worst(self) -> tuple[str, ...]:
        """The peers whose links are better used for others, worst first."""
        poor = [(points, peer) for peer, points in self._points.items() if points <= REPLACED]
        return tuple(peer for _, peer in sorted(poor))
