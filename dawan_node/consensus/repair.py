"""Repair: what replicas tell and give each other so that no lost message matters (consensus.md 1.7, L4, M2).

Nothing is retransmitted blindly. Once a second, and when a link comes up, a replica says in a STATUS where it is and
which votes it holds; whoever holds what it lacks sends exactly that: the next decided blocks with their proof, the
NEW-VIEW of a later view, VIEW-CHANGEs for its target, proposals, and the sender's own votes. Every reply to one link
is limited in time, so that STATUS cannot be used as an amplifier. Only decided blocks are sent again at once, to whom
the last ones brought forward: with one round of help per ``resend_ms`` a replica that comes back to a busy channel
would stay behind it for as long as the others decide more than that in the meantime.
"""

from __future__ import annotations

from dawan_node.consensus.agreement import Agreement
from dawan_node.consensus.messages import Decision, SlotSummary, Status
from dawan_node.consensus.ready import SyncRequest
from dawan_node.consensus.state import ReplicaState
from dawan_node.consensus.view_changer import ViewChanger
from dawan_node.primitives.certificate import bitmap_of


class Repair:
    """STATUS out, STATUS in, and the decision to ask for a range of blocks."""

    def __init__(self, state: ReplicaState, agreement: Agreement, view_changer: ViewChanger) -> None:
        self._state = state
        self._agreement = agreement
        self._view_changer = view_changer
        self._status_at = state.clock
        self._claims: dict[int, int] = {}  # validator -> the highest decided height it claimed on its own link
        self._helped: dict[int, tuple[int, int]] = {}  # validator -> when, and its height then
        self._told: dict[int, tuple[int, int]] = {}  # validator -> when, and my height then
        self._epoch = state.chain.epoch
        self._behind_since = state.clock
        self._sync_asked: tuple[int, int] | None = None  # when, and up to which height
        self._sync_mark = (-1, -1)
        self._height = state.chain.height

    # --- saying where I am -------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Where I am, and which votes of my view I hold."""
        state = self._state
        n = state.validators.n
        slots = tuple(
            SlotSummary(
                height,
                state.log.slots[height].proposal is not None,
                bitmap_of(state.log.slots[height].prepares, n),
                bitmap_of(state.log.slots[height].commits, n),
            )
            for height in sorted(state.log.slots)
        )
        view_changes = self._view_changer.view_changes
        held = [voter for voter in sorted(view_changes) if view_changes[voter].new_view == state.target]
        return Status(
            state.chain.epoch,
            state.view,
            state.target,
            state.chain.height,
            state.chain.block_hash,
            slots,
            bitmap_of(held, n),
        )

    def tell(self, link: int) -> None:
        """Say where I am to one validator, at most once per ``resend_ms``, and per W blocks that help brought."""
        state = self._state
        height = state.chain.height
        if not self._is_due(self._told.get(link), height):
            return
        self._told[link] = state.clock, height
        state.outbox.send(self.status().encode(), (link,))

    def advanced(self) -> None:
        """When my head moved: who is still ahead hears of it at once, unless a range is on its way."""
        chain = self._state.chain
        if chain.height == self._height:
            return
        self._height = chain.height
        if self._epoch != chain.epoch or self._claimed() <= chain.height:
            return
        self._maybe_sync()
        if self._sync_asked is None or chain.height >= self._sync_asked[1]:
            # All of them would send the same blocks; of f + 1 one is honest.
            ahead = sorted((-height, link) for link, height in self._claims.items() if height > chain.height)
            for _, link in ahead[: self._state.validators.weak]:
                self.tell(link)

    def tick(self) -> None:
        """STATUS once per period, and range catch-up when single blocks do not suffice."""
        state = self._state
        if state.is_alone:
            return
        self._hear_out()
        if state.clock >= self._status_at + state.timers.status_ms:
            self._status_at = state.clock
            state.outbox.send(self.status().encode())
        self._maybe_sync()

    def deadlines(self) -> list[int]:
        """When ``tick`` has something to do, on the timer clock."""
        return [] if self._state.is_alone else [self._status_at + self._state.timers.status_ms]

    # --- helping -----------------------------------------------------------------------------------------------

    def voted_above(self, link: int, height: int) -> None:
        """Validator ``link`` votes at a ``height`` so far up that the vote is of no use here. Nobody votes further up
        than W above its own head, so that is where it is, long before its next STATUS says so. Where a barrier above
        has raised W it is a little less; its STATUS sets that right."""
        if self._epoch != self._state.chain.epoch:
            self._forget_epoch()
        claim = height - self._state.window
        if claim > self._claims.get(link, 0):
            self._claims[link] = claim
            self._maybe_sync()

    def on_status(self, status: Status, link: int) -> None:
        """Where the validator at the other end of ``link`` is."""
        state, chain = self._state, self._state.chain
        if self._epoch != chain.epoch:
            self._forget_epoch()
        if link >= state.validators.n or link == state.own:
            return
        self._claims[link] = status.height
        if state.listening is not None:
            state.listening.heard(link, status)
            self._hear_out()
        if status.height > chain.height or status.epoch > chain.epoch:
            self.tell(link)  # it answers with what I lack
        self._maybe_sync()
        helped = self._helped.get(link)
        if not self._is_due(helped, status.height):
            return
        is_first = helped is None or state.clock >= helped[0] + state.timers.resend_ms
        self._helped[link] = state.clock if helped is None or is_first else helped[0], status.height
        if not is_first:
            # At most 2W blocks are at hand and the height must go up: so much per ``resend_ms``, and what is decided in
            # that time.
            if status.height < chain.height:
                self._send_decisions(status.height, link)
            return
        if chain.holds(status.height, status.block_hash) is False:
            # A lie, or a fork: then my proof of that height is half of what convicts more than f validators.
            # Where I have no such proof, it still gets what follows.
            self._send_decisions(status.height - (status.height in chain.recent), link)
        elif status.height < chain.height:
            self._send_decisions(status.height, link)
        if status.epoch == chain.epoch:
            self._send_view(status, link)
            if status.view == state.view:
                self._send_votes(status, link)

    def _is_due(self, last: tuple[int, int] | None, height: int) -> bool:
        """Whether to tell or help again after ``last``, when that was and the height then."""
        state = self._state
        return last is None or state.clock >= last[0] + state.timers.resend_ms or height >= last[1] + state.window

    def _hear_out(self) -> None:
        state, chain = self._state, self._state.chain
        if state.listening is None or state.own is None:
            return
        place = (chain.epoch, chain.height, state.view)
        if state.listening.is_over(state.own, state.validators.q, place, state.clock, state.timers):
            state.listening = None

    def _send_decisions(self, height: int, link: int) -> None:
        """The next decided blocks, up to W of them; further ones come as a range (L4)."""
        state = self._state
        for at in range(height + 1, min(height + state.window, state.chain.height) + 1):
            final = state.chain.recent.get(at)
            if final is None:
                return
            leaves = final.leaf_hashes or ()
            message = Decision(final.header, final.result, final.links, final.certificate, leaves)
            state.outbox.send(message.encode(), (link,))

    def _send_view(self, status: Status, link: int) -> None:
        """What takes it into my view, or towards my target."""
        state = self._state
        if status.view < state.view and state.new_view is not None and status.target <= state.view:
            state.outbox.send(state.new_view, (link,))
        if state.target <= state.view:
            return
        view_changes = self._view_changer.view_changes
        if status.target < state.target:
            wanted = [] if state.own is None else [state.own]
        elif status.target == state.target and status.view < state.target:
            held = int.from_bytes(status.view_changes, "little")
            wanted = [voter for voter in sorted(view_changes) if not held >> voter & 1]
        else:
            wanted = []
        for voter in wanted:
            message = view_changes.get(voter)
            if message is not None and message.new_view == state.target:
                state.outbox.send(message.encode(), (link,))

    def _send_votes(self, status: Status, link: int) -> None:
        """The proposals and my votes that it lacks, unless they are so young that they may be on their way."""
        state = self._state
        if state.own is None:
            return
        theirs = {summary.height: summary for summary in status.slots}
        for height in sorted(state.log.slots):
            slot = state.log.slots[height]
            if height <= status.height and not slot.reproposed:
                continue
            if slot.own_prepare is None or state.clock < slot.changed_at + state.timers.resend_ms:
                continue
            held = theirs.get(height)
            if held is None or not held.has_proposal:
                proposal = self._agreement.pre_prepare_of(slot)
                if proposal is not None:
                    state.outbox.send(proposal.encode(), (link,))
            if held is None or not int.from_bytes(held.prepares, "little") >> state.own & 1:
                state.outbox.send(slot.own_prepare.encode(), (link,))
            if slot.own_commit is not None and (
                held is None or not int.from_bytes(held.commits, "little") >> state.own & 1
            ):
                state.outbox.send(slot.own_commit.encode(), (link,))

    # --- being far behind --------------------------------------------------------------------------------------

    def _maybe_sync(self) -> None:
        """Ask for a range when the next block does not come by itself.

        The target is what f + 1 validators claim, so no liar moves it; one certificate proves enough to ask (L4).
        """
        state, chain = self._state, self._state.chain
        target = max(self._claimed(), state.sync_height, chain.seen_height)
        if any(height > chain.height for height in self._claims.values()):
            target = max(target, chain.height + 1)
        if self._sync_asked is not None and chain.height >= self._sync_asked[1]:
            # What was asked for is here. What was decided meanwhile is a range of its own, not a repetition.
            self._sync_asked = None
        if target <= chain.height:
            return
        if self._sync_mark != (chain.epoch, chain.height):
            self._sync_mark = (chain.epoch, chain.height)
            self._behind_since = state.clock
        is_far = target > chain.height + state.window
        if not is_far and state.clock < self._behind_since + state.timers.behind_ms:
            return
        if self._sync_asked is not None and state.clock < self._sync_asked[0] + state.timers.behind_ms:
            return
        self._sync_asked = state.clock, target
        holders = [voter for voter in sorted(self._claims) if self._claims[voter] > chain.height]
        holders += [voter for voter in chain.seen_signers if voter not in holders and voter != state.own]
        state.outbox.sync = SyncRequest(target, tuple(holders))

    def _claimed(self) -> int:
        """What f + 1 validators claim; 0 while fewer have said anything."""
        weak = self._state.validators.weak
        return sorted(self._claims.values(), reverse=True)[weak - 1] if len(self._claims) >= weak else 0

    def _forget_epoch(self) -> None:
        """Indexes of the old validator set mean nothing in the new one."""
        self._epoch = self._state.chain.epoch
        self._claims.clear()
        self._helped.clear()
        self._told.clear()
