"""Pace: whether the primary proposes as fast as work waits (consensus.md 1.6, amendment L9, reliability.md D2).

Two measures, because a primary can stay just below either. Both run only while the pool holds work that the primary
must know of, in an open view of another replica, and never while this replica is behind.

1. **The next proposal.** With room in the window and nothing proposed at the next height, a proposal must be accepted
   within a limit (``Pacemaker.proposal_ms``). One that is here and waits for its bodies is left to the progress timer.
2. **Heights in use.** Over ``pace_ms`` of waiting work the heights accepted and not stored here must have averaged a
   quarter of the window, and never more than ``_ASKED_MAX``. Throughput is their average divided by the time from
   acceptance to storing (Little's law), which a primary cannot stretch by itself, so with blocks of one size this is a
   share of what is possible. Whoever takes 0.9 of every limit for ever keeps a fifteenth of a window in use, and the
   office for 10 s.

   Up to storing, and not to the decision alone: where executing takes the time, a block waits for the next one's
   execution before it is stored. And no more than one height, because a block is accepted only when its parent is
   executed: of whatever the primary has under way, one or two are in use here then. Four validators on two cores, three
   of four heights under way at the primary: 0.8 to 1.3 of them accepted and undecided at the others.

A view that was left for the second reason doubles the time over which the next one is measured, up to 64 times, until
one primary holds the pace. So should all honest primaries be too slow, for whatever reason nobody foresaw, then views
change every ten minutes and not every ten seconds.
"""

from __future__ import annotations

from dawan_node.consensus.pacemaker import Pacemaker
from dawan_node.consensus.state import ReplicaState

#: The part of the window that has to be in use on average: one in so many.
_USED_PART = 4
#: Heights that are asked for at most. Four busy validators on two cores had 1.4 to 1.8 in use with W = 4 and 1.7 to 2.8
#: with W = 8, so this is a third of what is possible there or more.
_ASKED_MAX = 1
_BACKOFF_MAX = 6


class Pace:
    """Measures the primary of the current view on the timer clock."""

    def __init__(self, state: ReplicaState, pacemaker: Pacemaker) -> None:
        self._state = state
        self._pacemaker = pacemaker
        self._waiting_since: int | None = None
        self._expected_ms = 0
        self._used = 0  # heights in use times milliseconds
        self._is_below = False
        self._backoff = 0

    def pass_time(self, elapsed_ms: int) -> None:
        """``elapsed_ms`` are about to pass in which the replica was what it is now. Call it before the clock moves."""
        # Once for all that follows: this stands in the way of every message.
        has_work = self._has_work()
        in_flight = self._in_flight() if has_work else self._state.window
        self._note(self._is_awaited(in_flight))
        if not self._state.work_pending:
            self._is_below = False
        if not has_work:
            return  # a view that is being left keeps its verdict until the next one is entered
        self._expected_ms += elapsed_ms
        chain = self._state.chain
        self._used += elapsed_ms * min(self._state.window, in_flight + chain.height - chain.applied)
        period = self._period_ms()
        if self._expected_ms >= period:
            self._is_below = self._is_below_now()
            self._expected_ms = self._used = 0
            if not self._is_below:
                self._backoff = 0

    def restart(self) -> None:
        """Another view: its primary has done nothing yet."""
        if self._is_below or (self._expected_ms >= self._period_ms() // 2 and self._is_below_now()):
            self._backoff = min(self._backoff + 1, _BACKOFF_MAX)
        self._waiting_since = None
        self._expected_ms = self._used = 0
        self._is_below = False

    @property
    def is_slow(self) -> bool:
        """Whether either measure says so now."""
        return self._has_work() and (self._is_below or self._is_proposal_late())

    def deadlines(self) -> list[int]:
        """When ``is_slow`` may become true, on the timer clock."""
        self._note(self._waits())
        if not self._has_work():
            return []
        due = [self._state.clock + self._period_ms() - self._expected_ms]
        if self._waiting_since is not None:
            due.append(self._due_at(self._waiting_since))
        return due

    def _is_below_now(self) -> bool:
        return self._used * _USED_PART < self._expected_ms * min(self._state.window, _USED_PART * _ASKED_MAX)

    def _note(self, waits: bool) -> None:
        if not waits:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self._state.clock

    def _is_proposal_late(self) -> bool:
        return (
            self._waits() and self._waiting_since is not None and self._state.clock >= self._due_at(self._waiting_since)
        )

    def _due_at(self, waiting_since: int) -> int:
        state = self._state
        return max(waiting_since, state.accepted_at) + self._pacemaker.proposal_ms(state.backoff)

    def _period_ms(self) -> int:
        return self._state.timers.pace_ms << self._backoff

    def _has_work(self) -> bool:
        state = self._state
        return state.work_pending and state.may_vote and state.expects_primary and not state.is_alone

    def _waits(self) -> bool:
        """Whether the primary could propose and has not."""
        return self._is_awaited(self._in_flight() if self._has_work() else self._state.window)

    def _is_awaited(self, in_flight: int) -> bool:
        """As ``_waits``, when so many heights are in flight; a full window where nothing is expected."""
        state = self._state
        if in_flight >= state.window:
            return False
        slot = state.log.slots.get(state.chain.height + in_flight + 1)
        return slot is None or slot.proposal is None

    def _in_flight(self) -> int:
        """Accepted heights; nothing may follow an undecided barrier (U3), so one fills the window."""
        accepted = self._state.accepted_blocks()
        return self._state.window if accepted and accepted[-1].barrier else len(accepted)
