"""Timers as numbers: how long a view may take, and who wishes for another one (consensus.md 1.7, L9, L10).

Nothing here has a clock. Times are milliseconds of the replica's timer clock, which only ever moves forward;
durations double with every fruitless view up to a cap, and may be *shortened* by fast commits but never lengthened by
slow ones, because the primary under watch would use that.
"""

from __future__ import annotations

from dataclasses import dataclass

from dawan_node.consensus.config import Timers
from dawan_node.consensus.messages import SuspectEntry

#: Exponent bound: 3 s doubled 16 times is far above any cap.
_BACKOFF_SHIFT_MAX = 16
#: Weight of a new commit time in the average: 1/8, in integers.
_EWMA_SHIFT = 3


class Pacemaker:
    """Durations of views."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._commit_time_x8: int | None = None
        self._decided_since_fewer = 0

    def note_commit_time(self, elapsed_ms: int) -> None:
        """A block took so long from acceptance to decision here."""
        if self._commit_time_x8 is None:
            self._commit_time_x8 = elapsed_ms << _EWMA_SHIFT
        else:
            self._commit_time_x8 += elapsed_ms - (self._commit_time_x8 >> _EWMA_SHIFT)

    def base_ms(self) -> int:
        """D0: ``min(view_ms, max(view_min_ms, 6 * EWMA))``."""
        if self._commit_time_x8 is None:
            return self._timers.view_ms
        adapted = 6 * (self._commit_time_x8 >> _EWMA_SHIFT)
        return min(self._timers.view_ms, max(self._timers.view_min_ms, adapted))

    def view_ms(self, backoff: int) -> int:
        """D: ``min(D0 * 2^k, view_max_ms)``."""
        return min(self.base_ms() << min(backoff, _BACKOFF_SHIFT_MAX), self._timers.view_max_ms)

    def proposal_ms(self, backoff: int) -> int:
        """How long work may wait for a proposal: ``min(proposal_ms, max(proposal_min_ms, 4 * EWMA)) * 2^k``, capped
        like D. Like D it grows with k: where every primary is slow, because the machines or the links are, a limit
        that stood still would change views for ever, each with all the work of the last one still to do (L9, L10)."""
        base = self._timers.proposal_ms
        if self._commit_time_x8 is not None:
            adapted = 4 * (self._commit_time_x8 >> _EWMA_SHIFT)
            base = min(base, max(self._timers.proposal_min_ms, adapted))
        return min(base << min(backoff, _BACKOFF_SHIFT_MAX), self._timers.view_max_ms)

    def backoff_after(self, backoff: int, decided: int, window: int) -> int:
        """k after ``decided`` more blocks: one less for each W of them, never below 0."""
        self._decided_since_fewer += decided
        while self._decided_since_fewer >= window:
            self._decided_since_fewer -= window
            backoff = max(0, backoff - 1)
        return backoff


@dataclass(frozen=True, slots=True)
class Wish:
    """A live SUSPECT: who wished for which view, and until when it counts."""

    view: int
    signature: bytes
    expires_at: int


class Wishes:
    """The latest SUSPECT of each validator that came over its own link (L10, M3)."""

    def __init__(self) -> None:
        self._wishes: dict[int, Wish] = {}

    def __bool__(self) -> bool:
        """Whether anybody wishes for anything."""
        return bool(self._wishes)

    def get(self, voter: int) -> Wish | None:
        """The voter's latest wish."""
        return self._wishes.get(voter)

    def put(self, voter: int, wish: Wish) -> None:
        """Replace the voter's wish by its latest."""
        self._wishes[voter] = wish

    def expire(self, clock: int) -> None:
        """Forget wishes whose time is over."""
        for voter in [voter for voter, wish in self._wishes.items() if wish.expires_at <= clock]:
            del self._wishes[voter]

    def expiries(self) -> list[int]:
        """When the next wish expires, if there is one."""
        return [min(wish.expires_at for wish in self._wishes.values())] if self._wishes else []

    def forget_up_to(self, view: int) -> None:
        """Forget wishes that are fulfilled."""
        for voter in [voter for voter, wish in self._wishes.items() if wish.view <= view]:
            del self._wishes[voter]

    def views(self) -> list[tuple[int, int]]:
        """(voter, view) by voter."""
        return sorted((voter, wish.view) for voter, wish in self._wishes.items())

    def wanted_by(self, count: int, without: int | None = None) -> int:
        """The largest view that ``count`` validators (``without`` one of them) wish for or beyond; 0 if none."""
        views = sorted((wish.view for voter, wish in self._wishes.items() if voter != without), reverse=True)
        return views[count - 1] if len(views) >= count else 0

    def certificate(self, view: int, q: int) -> tuple[SuspectEntry, ...] | None:
        """A SuspectCert for ``view``: the first q voters that wish for it or beyond."""
        entries = [
            SuspectEntry(voter, self._wishes[voter].view, self._wishes[voter].signature)
            for voter in sorted(self._wishes)
            if self._wishes[voter].view >= view
        ]
        return tuple(entries[:q]) if len(entries) >= q else None
