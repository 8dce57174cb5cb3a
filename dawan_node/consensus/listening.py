"""Listening first: a key of which the log knows no word in this epoch does not speak before it has heard the others.

A home put back as ``init`` made it is the same, byte for byte, as one that starts for the first time (amendment U6). As
primary of view 0 it would propose again what it proposed long ago, before the first block that could tell it so has
come. So it asks: a quorum needs q - 1 others anyway, and each says in its first STATUS how far it is and whose votes it
holds. While any of them is ahead, or holds a vote of this key, catch-up and their help bring what proves it, and with
that the key stops for good (``finality``). Nothing said here gives a permission that the log would not; it only makes
the first word wait (A6).

STATUS is not signed by more than a link, so a liar can pretend to be ahead: it is waited for as long as that helps, and
``patience_ms`` longer.
"""

from __future__ import annotations

from dawan_node.consensus.config import Timers
from dawan_node.consensus.messages import Status


def patience_ms(timers: Timers) -> int:
    """How long what somebody claims may go without any progress here: several rounds of help."""
    return 2 * timers.silence_ms


class Listening:
    """What has been heard since this replica started, or entered the epoch as one that was not part of the last."""

    def __init__(self) -> None:
        self._said: dict[int, Status] = {}
        self._mark = (-1, -1)
        self._still_since: int | None = None

    def heard(self, link: int, status: Status) -> None:
        """Validator ``link`` says where it is."""
        self._said[link] = status

    def is_over(self, own: int, quorum: int, place: tuple[int, int, int], clock: int, timers: Timers) -> bool:
        """Whether the first word may be said. ``place``: my epoch, height and view; ``clock`` in ms."""
        if len(self._said) < quorum - 1:
            return False
        if not any(_is_ahead(status, own, place) for status in self._said.values()):
            return True
        if self._mark != place[:2] or self._still_since is None:
            self._mark, self._still_since = place[:2], clock
        return clock >= self._still_since + patience_ms(timers)


def _is_ahead(status: Status, own: int, place: tuple[int, int, int]) -> bool:
    epoch, height, view = place
    if status.epoch != epoch:
        return status.epoch > epoch
    if status.height > height or status.view > view:
        return True
    return any(
        int.from_bytes(held, "little") >> own & 1
        for held in (status.view_changes, *(bits for slot in status.slots for bits in (slot.prepares, slot.commits)))
    )
