"""When to wish for another view: signs of life, progress, and other replicas' wishes (consensus.md 1.7, L9, L10).

A wish (SUSPECT) is cheap and binds nobody. It starts nothing unless f + 1 others share it (then one of them is honest),
and it counts only while its author repeats it on its own link: an old one, forwarded later, deposes nobody. A replica
that is behind blames nobody at all; it may only join others.
"""

from __future__ import annotations

from enum import StrEnum

from dawan_node.consensus.messages import Suspect, suspect_bytes
from dawan_node.consensus.pace import Pace
from dawan_node.consensus.pacemaker import Pacemaker, Wish, Wishes
from dawan_node.consensus.signer import SUSPECT_TAG, VoteKind
from dawan_node.consensus.state import ReplicaState
from dawan_node.primitives.encoding import INT_MAX


class Reason(StrEnum):
    """Why this replica wishes for another view."""

    PROGRESS = "no decision in time"
    SILENCE = "the primary is silent"
    NEW_VIEW = "no NEW-VIEW in time"
    EQUIVOCATION = "the primary signed two proposals"
    INVALID_NEW_VIEW = "the primary signed a NEW-VIEW that does not follow from its proof"
    SLOW = "the primary proposes too slowly"
    COMPLAINT = "the primary leaves transactions out"
    JOIN = "f + 1 others wish for it"


#: Reasons that end when something is decided. A primary that leaves out one client, or that is slow, decides blocks all
#: the while: those two last until what they are about has changed.
_ENDED_BY_PROGRESS = (Reason.PROGRESS, Reason.SILENCE)


class Suspicion:
    """The progress, new-view and silence timers, my wish, and everybody else's."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self.pacemaker = Pacemaker(state.timers)
        self.pace = Pace(state, self.pacemaker)
        self.wishes = Wishes()
        self._wish: tuple[int, Reason] | None = None
        self._wish_sent_at = 0
        self._heard_at: dict[int, int] = {}
        self._started_at = state.clock
        self._progress_at = state.clock
        self._progress_mark = (state.chain.epoch, state.chain.height, state.chain.seen_height)
        self._progress_deadline: int | None = None
        self._new_view_deadline: int | None = None
        self._pause_used = False

    def on_suspect(self, message: Suspect) -> None:
        """A wish, over its author's own link (the caller has seen to that)."""
        state = self._state
        if message.voter >= state.validators.n or message.voter == state.own or state.is_alone:
            return
        if message.new_view <= max(state.view, state.target):
            return
        known = self.wishes.get(message.voter)
        if known is None or (known.view, known.signature) != (message.new_view, message.signature):
            data = suspect_bytes(state.chain_id, message.epoch, message.new_view)
            key = state.validators.public_keys[message.voter]
            if not state.verifier.signature(key, SUSPECT_TAG, data, message.signature):
                return
        expires_at = state.clock + state.timers.suspect_expiry_ms
        self.wishes.put(message.voter, Wish(message.new_view, message.signature, expires_at))

    def heard(self, validator: int) -> None:
        """A sign of life on ``validator``'s own link."""
        self._heard_at[validator] = self._state.clock

    def silent(self) -> tuple[int, ...]:
        """Validators whose links gave no sign of life for ``silence_ms``."""
        state = self._state
        oldest = state.clock - state.timers.silence_ms
        return tuple(
            validator
            for validator in range(state.validators.n)
            if validator != state.own and self._heard_at.get(validator, self._started_at) <= oldest
        )

    # --- wishing -----------------------------------------------------------------------------------------------

    def suspect(self, view: int, reason: Reason) -> None:
        """Wish for ``view``, unless something says the fault may be mine (L10)."""
        state = self._state
        if not self.may_change_view() or not max(state.target, state.view) < view <= INT_MAX:
            return
        if reason is not Reason.JOIN and state.is_behind:
            return
        if self._wish is not None and self._wish[0] >= view:
            return
        self._wish = (view, reason)
        self._send_wish()

    @property
    def reason(self) -> str:
        """Why I wish for another view, for people."""
        return "a quorum wishes for it" if self._wish is None else self._wish[1].value

    def wanted_view(self) -> int:
        """The largest view q validators wish for, after joining what f + 1 others wish for; 0 if none."""
        state = self._state
        if not self.wishes:
            return 0
        self.wishes.expire(state.clock)
        joined = self.wishes.wanted_by(state.validators.weak, without=state.own)
        if joined > max(state.target, state.view):
            self.suspect(joined, Reason.JOIN)
        return self.wishes.wanted_by(state.validators.q)

    def target_moved(self) -> None:
        """I sent a VIEW-CHANGE: from now on the NEW-VIEW is awaited."""
        state = self._state
        self._progress_deadline = None
        self._new_view_deadline = state.clock + self.pacemaker.view_ms(state.backoff)
        if self._wish is not None and self._wish[0] <= state.target:
            self._wish = None

    def view_entered(self) -> None:
        """A NEW-VIEW was accepted: its primary starts with a clean slate."""
        state = self._state
        self.wishes.forget_up_to(state.view)
        self._wish = None
        self._progress_deadline = self._new_view_deadline = None
        self._pause_used = False
        self._heard_at[state.primary(state.view)] = state.clock
        state.left_out = False
        self.pace.restart()

    def _send_wish(self) -> None:
        state = self._state
        assert self._wish is not None and state.own is not None
        view = self._wish[0]
        signature = state.sign(VoteKind.SUSPECT, view, suspect_bytes(state.chain_id, state.chain.epoch, view))
        self._wish_sent_at = state.clock
        if signature is None:
            return
        self.wishes.put(state.own, Wish(view, signature, state.clock + state.timers.suspect_expiry_ms))
        state.outbox.send(Suspect(state.chain.epoch, view, state.own, signature).encode())

    def may_change_view(self) -> bool:
        """Whether this replica takes part in view changes at all."""
        state = self._state
        return state.own is not None and not state.is_alone and state.halted is None and state.quarantine is None

    def _reason_lasts(self) -> bool:
        assert self._wish is not None
        view, reason = self._wish
        state = self._state
        if view <= max(state.target, state.view):
            return False
        if reason is Reason.JOIN:
            return self.wishes.wanted_by(state.validators.weak, without=state.own) >= view
        if reason is Reason.PROGRESS:
            return self._has_work()
        if reason is Reason.SILENCE:
            return self._is_primary_silent()
        if reason is Reason.SLOW:
            return self.pace.is_slow
        if reason is Reason.COMPLAINT:
            return self._leaves_out()
        return True

    # --- time --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed."""
        state = self._state
        self.wishes.expire(state.clock)
        if not self.may_change_view():
            return
        if self._progress_deadline is not None and state.clock >= self._progress_deadline:
            self._progress_deadline = None
            self.suspect(state.view + 1, Reason.PROGRESS)
        if self._new_view_deadline is not None and state.clock >= self._new_view_deadline:
            self._new_view_deadline = state.clock + self.pacemaker.view_ms(state.backoff)
            self.suspect(state.target + 1, Reason.NEW_VIEW)
        if self._is_primary_silent():
            self.suspect(state.view + 1, Reason.SILENCE)
        if self.pace.is_slow:
            self.suspect(state.view + 1, Reason.SLOW)
        if self._leaves_out():
            self.suspect(state.view + 1, Reason.COMPLAINT)
        if self._wish is not None:
            if not self._reason_lasts():
                self._wish = None
            elif state.clock >= self._wish_sent_at + state.timers.suspect_resend_ms:
                self._send_wish()

    def deadlines(self) -> list[int]:
        """When ``tick`` has something to do, on the timer clock."""
        state = self._state
        due = [at for at in (self._progress_deadline, self._new_view_deadline) if at is not None]
        if self._wish is not None:
            due.append(self._wish_sent_at + state.timers.suspect_resend_ms)
        elif self._watches_primary():
            due.append(self._primary_seen_at() + state.timers.silence_ms)
            due += self.pace.deadlines()
            if state.left_out:
                due.append(state.clock)
        return due + self.wishes.expiries()

    def note_progress(self) -> None:
        """Progress is a decision, or a certificate that shows the group goes on without me (L10)."""
        state, chain = self._state, self._state.chain
        epoch, height, _ = self._progress_mark
        mark = (chain.epoch, chain.height, chain.seen_height)
        if mark == self._progress_mark:
            return
        if chain.epoch != epoch:
            self._reset()
        elif chain.height > height:
            for decided in range(height + 1, chain.height + 1):
                slot = state.log.slots.get(decided)
                if slot is not None and slot.accepted is not None:
                    self.pacemaker.note_commit_time(state.clock - slot.accepted_at)
            state.backoff = self.pacemaker.backoff_after(state.backoff, chain.height - height, state.window)
        self._progress_mark = mark
        self._progress_at = state.clock
        self._progress_deadline = None
        if self._wish is not None and self._wish[1] in _ENDED_BY_PROGRESS:
            self._wish = None

    def _reset(self) -> None:
        """A new epoch: no wish of the old one means anything any more."""
        self.wishes = Wishes()
        self._heard_at.clear()
        self._started_at = self._state.clock
        self._wish = None
        self._new_view_deadline = None
        self._pause_used = False
        self._state.backoff = 0
        self._state.left_out = False
        self.pace.restart()

    def _has_work(self) -> bool:
        """Eligible transactions, or a proposal that is not decided yet."""
        state = self._state
        return state.work_pending or any(
            slot.proposal is not None and slot.height > state.chain.height for slot in state.log.slots.values()
        )

    def set_progress_timer(self) -> None:
        """One timer, only in an open view with work to do and the floor reached."""
        state = self._state
        is_running = (
            self.may_change_view()
            and state.target == state.view
            and state.chain.height >= state.base.height
            and self._wish is None
            and self._has_work()
        )
        if not is_running:
            self._progress_deadline = None
            return
        duration = self.pacemaker.view_ms(state.backoff)
        waits_for_bodies = any(
            entry.header.height > state.chain.height and state.log.slot(entry.header.height).accepted is None
            for entry in state.entries
        )
        if self._progress_deadline is None:
            self._progress_deadline = state.clock + duration
            if waits_for_bodies and not self._pause_used:
                # Fetching the bodies of O pauses the timer once, for at most one D (L10).
                self._pause_used = True
                self._progress_deadline += duration
        elif self._pause_used and not waits_for_bodies:
            self._progress_deadline = min(self._progress_deadline, state.clock + duration)

    def _watches_primary(self) -> bool:
        return self.may_change_view() and self._state.expects_primary

    def _primary_seen_at(self) -> int:
        state = self._state
        heard_at = self._heard_at.setdefault(state.primary(state.view), state.clock)
        return max(heard_at, self._progress_at, state.accepted_at)

    def _leaves_out(self) -> bool:
        return self._state.left_out and self._watches_primary()

    def _is_primary_silent(self) -> bool:
        state = self._state
        return self._watches_primary() and state.clock >= self._primary_seen_at() + state.timers.silence_ms
