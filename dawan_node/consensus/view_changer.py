"""Leaving a view and entering the next (consensus.md 1.7 and 1.8).

Two steps, so that one impatient replica costs nothing. First the cheap one: SUSPECT(v) says "I wish for view v", binds
nobody, and its sender keeps voting. Only q such wishes move a replica's *target*: then it sends VIEW-CHANGE, votes no
more below, and takes everybody along, because the VIEW-CHANGE carries the q wishes. The primary of the target collects
q VIEW-CHANGEs and opens the view with NEW-VIEW; what must be proposed again follows from them (``view_change``).

``suspicion`` decides when to wish; this part does everything from the quorum of wishes on.
"""

from __future__ import annotations

from dawan_node.consensus.block_tree import Bodies
from dawan_node.consensus.finality import Finality
from dawan_node.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    SuspectEntry,
    ViewChange,
    new_view_bytes,
    view_change_bytes,
)
from dawan_node.consensus.ready import AlarmKind, EvidenceKind
from dawan_node.consensus.records import PrepareRecord, Record, RecordKind
from dawan_node.consensus.signer import VIEW_CHANGE_TAG, VoteKind
from dawan_node.consensus.state import ReplicaState
from dawan_node.consensus.suspicion import Reason, Suspicion
from dawan_node.consensus.view_change import (
    Contradiction,
    Entry,
    Plan,
    check_new_view,
    check_view_change,
    is_signed_by_primary,
    plan_of,
)
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import (
    CommitCertificate,
    PreparedCertificate,
    indexes_of,
    prepare_vote_bytes,
)


class ViewChanger:
    """VIEW-CHANGEs and NEW-VIEWs: leaving, opening and entering views."""

    def __init__(self, state: ReplicaState, finality: Finality, suspicion: Suspicion) -> None:
        self._state = state
        self._finality = finality
        self._suspicion = suspicion
        self._epoch = state.chain.epoch
        self.view_changes: dict[int, ViewChange] = {}  # the highest valid one per voter, of a view above mine
        self._taken_at: dict[int, int] = {}
        self._chosen: tuple[ViewChange, ...] | None = None
        self._plan: Plan | None = None
        #: Votes kept for the view just entered; the replica feeds them back in.
        self.due_votes: list[Prepare | Commit] = []

    # --- messages ----------------------------------------------------------------------------------------------

    def on_view_change(self, message: ViewChange) -> None:
        """Somebody left the views below ``new_view``. Raises InvalidMessage when it is not valid."""
        state = self._state
        voter = message.voter
        if voter >= state.validators.n or message.new_view <= state.view:
            return
        if voter == state.own:
            if message.new_view > state.target:
                check_view_change(state.epoch, message)
                state.stop_for_own_key(message.encode())
            return
        known = self.view_changes.get(voter)
        if known is not None and message.new_view <= known.new_view:
            if message.new_view == known.new_view and message != known:
                self._compare_view_changes(known, message)
            return
        taken_at = self._taken_at.get(voter)
        if taken_at is not None and state.clock < taken_at + state.timers.view_change_interval_ms:
            return
        check_view_change(state.epoch, message)
        self._taken_at[voter] = state.clock  # only now: nobody else may use up a voter's turn
        self.view_changes[voter] = message
        for slot in state.log.all_slots():
            vote = slot.commits.get(voter)
            if vote is not None:
                self.compare_with_view_change(vote)
        for header, certificate in message.last:
            # Further up the certificate only says that I am behind; headers there would pile up (1.14).
            if state.chain.height < header.height <= state.chain.height + 2 * state.window:
                state.tree.add(certificate.block_hash, header)
            self._finality.add_certificate(certificate)
        if message.new_view > state.target and self._suspicion.may_change_view():
            self._start(message.new_view, message.suspects)

    def compare_with_view_change(self, vote: Commit) -> None:
        """Evidence (c): a COMMIT whose PC its author's later VIEW-CHANGE leaves out."""
        message = self.view_changes.get(vote.voter)
        if message is None or message.new_view <= vote.view:
            return
        last = max((header.height for header, _ in message.last), default=self._state.chain.epoch_base[0])
        if last >= vote.height:
            return
        if any(pc.height == vote.height and pc.view >= vote.view for _, pc in message.prepared):
            return
        self._state.accuse(EvidenceKind.LYING_VIEW_CHANGE, vote.voter, vote.encode(), message.encode())

    def _compare_view_changes(self, known: ViewChange, other: ViewChange) -> None:
        """Evidence (d): two VIEW-CHANGEs of one voter for one view."""
        state = self._state
        key = state.validators.public_keys[other.voter]
        if state.verifier.signature(key, VIEW_CHANGE_TAG, view_change_bytes(state.chain_id, other), other.signature):
            state.accuse(EvidenceKind.TWO_VIEW_CHANGES, other.voter, known.encode(), other.encode())

    def on_new_view(self, message: NewView) -> None:
        """A primary opens a view. Accepted iff it is not below my target and above the last view I entered (A5)."""
        state = self._state
        if message.new_view <= state.view or message.new_view < state.target:
            self._compare_new_views(message)
            return
        epoch = state.epoch
        if not is_signed_by_primary(epoch, message):
            return  # anybody could have made it; it proves nothing (L12)
        primary = epoch.primary(message.new_view)
        if primary == state.own:
            state.stop_for_own_key(message.encode())  # mine is entered before it leaves
            return
        try:
            plan = check_new_view(epoch, message)
        except InvalidMessage:
            state.accuse(EvidenceKind.INVALID_NEW_VIEW, primary, message.encode(), b"")
            if message.new_view == state.target:
                # Only of the view I wait for: every validator is the primary of some view near 2^63, and would take
                # all of us there with one message.
                self._suspicion.suspect(message.new_view + 1, Reason.INVALID_NEW_VIEW)
            return
        if isinstance(plan, Contradiction):
            state.halt(plan)
            return
        self._enter(message, plan)

    def _compare_new_views(self, message: NewView) -> None:
        """Evidence (b): two NEW-VIEWs for the view I am in."""
        state = self._state
        if message.new_view != state.view or state.new_view is None:
            return
        data = message.encode()
        if data != state.new_view and is_signed_by_primary(state.epoch, message):
            state.accuse(EvidenceKind.TWO_NEW_VIEWS, state.primary(state.view), state.new_view, data)
            self._suspicion.suspect(state.view + 1, Reason.EQUIVOCATION)

    # --- changing ----------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Whatever the last input made possible."""
        state = self._state
        if state.chain.epoch != self._epoch:
            self._epoch = state.chain.epoch
            self.view_changes.clear()
            self._taken_at.clear()
            self._chosen = self._plan = None
        self._suspicion.note_progress()
        if state.halted is not None:
            return
        self._maybe_start()
        self._maybe_open()
        self._suspicion.set_progress_timer()

    def _maybe_start(self) -> None:
        """Follow a quorum of wishes, and VIEW-CHANGEs that came while I could not sign."""
        state = self._state
        if not self._suspicion.may_change_view():
            return
        wanted = self._suspicion.wanted_view()
        if wanted > state.target:
            certificate = self._suspicion.wishes.certificate(wanted, state.validators.q)
            if certificate is not None:
                self._start(wanted, certificate)
        for voter in sorted(self.view_changes) if self.view_changes else ():
            if self.view_changes[voter].new_view > state.target:
                self._start(self.view_changes[voter].new_view, self.view_changes[voter].suspects)

    def _start(self, view: int, suspects: tuple[SuspectEntry, ...]) -> None:
        """Move the target to ``view`` and say so; from here on no vote below it."""
        state = self._state
        if not state.may_sign:
            return  # catching up: the head has no certificate of its own to show (L3)
        message = self._view_change(view, suspects)
        if message is None:
            return
        state.target = view
        state.backoff += 1
        state.outbox.records.append(Record(RecordKind.VIEW_CHANGE, message.encode()))
        state.outbox.send(message.encode())
        state.outbox.alarm(
            AlarmKind.VIEW_CHANGE,
            f"changing the view: {self._suspicion.reason}",
            view=view,
            primary=state.primary(view),
        )
        assert state.own is not None
        self.view_changes[state.own] = message
        self._after_target()

    def resume(self, message: ViewChange) -> None:
        """After a restart: this is the VIEW-CHANGE I sent last; its view is my target again."""
        assert self._state.own is not None
        self._state.target = message.new_view
        self.view_changes[self._state.own] = message
        self._after_target()

    def _after_target(self) -> None:
        self._chosen = self._plan = None
        self._suspicion.target_moved()

    def _view_change(self, view: int, suspects: tuple[SuspectEntry, ...]) -> ViewChange | None:
        state, chain = self._state, self._state.chain
        last: tuple[tuple[Header, CommitCertificate], ...] = ()
        if chain.height > chain.epoch_base[0]:
            final = chain.recent[chain.height]
            last = ((final.header, final.certificate),)
        prepared: list[tuple[Header, PreparedCertificate]] = [
            state.prepared[height]
            for height in sorted(state.prepared)
            if chain.height < height <= chain.height + state.window and state.prepared[height][1].view < view
        ]
        assert state.own is not None
        draft = ViewChange(chain.epoch, view, suspects, last, tuple(prepared), state.own, bytes(64))
        signature = state.sign(VoteKind.VIEW_CHANGE, view, view_change_bytes(state.chain_id, draft))
        if signature is None:
            return None
        return ViewChange(chain.epoch, view, suspects, last, tuple(prepared), state.own, signature)

    # --- opening and entering ----------------------------------------------------------------------------------

    def _maybe_open(self) -> None:
        """As the target's primary: choose q VIEW-CHANGEs, gather what O needs, then open the view."""
        state = self._state
        if state.target <= state.view or state.primary(state.target) != state.own or not state.may_sign:
            return
        if self._plan is None and not self._choose():
            return
        assert self._plan is not None and self._chosen is not None
        if not self._holds_all(self._plan):
            return
        prepares: list[bytes] = []
        records: list[tuple[Record, int, bool]] = []
        for entry in self._plan.entries:
            height = entry.header.height
            data = prepare_vote_bytes(state.chain_id, state.chain.epoch, state.target, height, entry.block_hash)
            signature = state.sign(VoteKind.PREPARE, state.target, data, height, entry.block_hash)
            if signature is None:
                return
            prepares.append(signature)
            payload = PrepareRecord(state.target, entry.header, state.own, signature).encode()
            is_undecided = height > state.chain.height
            record = Record(RecordKind.PREPARE, payload, entry.block_hash if is_undecided else None)
            records.append((record, height, is_undecided))
        chosen = tuple(message.encode() for message in self._chosen)
        draft = NewView(state.chain.epoch, state.target, chosen, tuple(prepares), bytes(64))
        signature = state.sign(VoteKind.NEW_VIEW, state.target, new_view_bytes(state.chain_id, draft))
        if signature is None:
            return
        # The bodies behind my signatures come first: a NEW-VIEW in the log is one that may have left (U5).
        for record, height, is_undecided in records:
            if is_undecided:
                state.keep_own_vote(record, height)
            else:
                state.outbox.records.append(record)
        message = NewView(state.chain.epoch, state.target, chosen, tuple(prepares), signature)
        self._enter(message, self._plan)
        state.outbox.send(message.encode())

    def _choose(self) -> bool:
        state = self._state
        assert state.own is not None
        ready = [voter for voter in sorted(self.view_changes) if self.view_changes[voter].new_view == state.target]
        if state.own not in ready or len(ready) < state.validators.q:
            return False
        others = [voter for voter in ready if voter != state.own][: state.validators.q - 1]
        chosen = tuple(self.view_changes[voter] for voter in sorted([state.own, *others]))
        plan = plan_of(state.epoch, list(chosen))
        if isinstance(plan, Contradiction):
            state.halt(plan)
            return False
        self._chosen, self._plan = chosen, plan
        for entry in plan.entries:
            if entry.header.height > state.chain.height:
                state.tree.add(entry.block_hash, entry.header)
        return True

    def _holds_all(self, plan: Plan) -> bool:
        """Whether my head contains the base and the bodies of O are here: not before do I sign for it (U2, L5)."""
        state, chain = self._state, self._state.chain
        if chain.height < plan.base.height:
            state.sync_height = max(state.sync_height, plan.base.height)
            return False
        if chain.holds(plan.base.height, plan.base.block_hash) is False:
            self._halt_on_base(plan)
            return False
        is_complete = True
        for entry in plan.entries:
            held = chain.holds(entry.header.height, entry.block_hash)
            if entry.header.height <= chain.height:
                if held is False:
                    self._maybe_halt_on_entry(entry)
                is_complete = is_complete and held is True
                continue
            block = state.tree.add(entry.block_hash, entry.header)
            state.tree.want(block, self._signers(entry), True)
            is_complete = is_complete and block.bodies is Bodies.HELD
        return is_complete and state.halted is None

    def _signers(self, entry: Entry) -> tuple[int, ...]:
        """Who prepared an entry of O has its bodies."""
        state = self._state
        signers = indexes_of(entry.certificate.bitmap, state.validators.n)
        return tuple(index for index in signers if index != state.own)

    def _halt_on_base(self, plan: Plan) -> None:
        mine = self._state.chain.recent.get(plan.base.height)
        self._state.halt(
            Contradiction(
                f"a NEW-VIEW starts from another block at height {plan.base.height} than the decided one",
                b"" if mine is None else mine.certificate.encode(),
                b"" if plan.base.certificate is None else plan.base.certificate.encode(),
            )
        )

    def _maybe_halt_on_entry(self, entry: Entry) -> None:
        """A decided block must be in the O of every later view, or more than f lied. One that was decided in the target
        view or above need not: the others went on without me."""
        mine = self._state.chain.recent.get(entry.header.height)
        if mine is not None and mine.certificate.view >= self._state.target:
            return
        self._state.halt(
            Contradiction(
                f"another block than the decided one is prepared in a later view at height {entry.header.height}",
                b"" if mine is None else mine.certificate.encode(),
                entry.certificate.encode(),
            )
        )

    def _enter(self, message: NewView, plan: Plan) -> None:
        """Enter the view a valid NEW-VIEW opens."""
        state, chain = self._state, self._state.chain
        if chain.height >= plan.base.height and chain.holds(plan.base.height, plan.base.block_hash) is False:
            self._halt_on_base(plan)
            return
        if plan.base.certificate is not None:
            assert plan.base.header is not None
            if plan.base.height > chain.height:
                state.tree.add(plan.base.block_hash, plan.base.header)
            self._finality.add_certificate(plan.base.certificate)
        state.outbox.records.append(Record(RecordKind.NEW_VIEW, message.encode()))
        self.adopt(message, plan)
        state.outbox.alarm(
            AlarmKind.NEW_VIEW,
            "entered a view",
            view=state.view,
            primary=state.primary(state.view),
            base=plan.base.height,
            reproposed=len(plan.entries),
        )

    def adopt(self, message: NewView, plan: Plan) -> None:
        """Make a NEW-VIEW's view the current one: also after a restart, from the log."""
        state, chain = self._state, self._state.chain
        view = message.new_view
        state.view = view
        state.target = max(state.target, view)
        state.new_view = message.encode()
        state.base = plan.base
        state.entries = plan.entries
        state.forget_refusals()
        self.due_votes = state.log.enter(view)
        primary = state.primary(view)
        again = {entry.block_hash for entry in plan.entries}
        # Far behind, W entries of each view would pile up. I cannot have committed to them, and no VIEW-CHANGE of mine
        # could list them; what was decided before a restart counts as mine again.
        near = max(chain.height, state.catch_up_to) + 2 * state.window
        for height in [height for height in state.prepared if height > near]:
            del state.prepared[height]
        for entry, signature in zip(plan.entries, message.prepares, strict=True):
            height = entry.header.height
            slot = state.log.slot(height)
            slot.proposal = entry.block_hash
            slot.reproposed = True
            slot.arrived_ms = state.now_ms
            vote = Prepare(chain.epoch, view, height, entry.block_hash, primary, signature)
            slot.prepares[primary] = vote
            if primary == state.own:
                slot.own_prepare = vote
            if height > chain.height:
                block = state.tree.add(entry.block_hash, entry.header)
                block.pinned = block.pinned or primary == state.own
                held = state.prepared.get(height)
                if height <= near and (held is None or entry.certificate.view > held[1].view):
                    state.prepared[height] = (entry.header, entry.certificate)
        # Whatever O leaves out cannot be decided any more, so its overlays are void; certified blocks and their
        # ancestors keep theirs, and blocks that a PC names stay known.
        for certificate in chain.certificates.values():
            branch = state.tree.branch(certificate.block_hash) or ()
            again |= {certificate.block_hash, *(block.block_hash for block in branch)}
        for block in state.tree.blocks():
            if block.block_hash not in again and block.header.height > plan.base.height:
                state.tree.drop_overlay(block)
        needed = again | {header.hash for header, _ in state.prepared.values()}
        state.tree.forget(lambda block: block.block_hash in needed)
        for voter in [voter for voter, vc in self.view_changes.items() if vc.new_view <= view]:
            del self.view_changes[voter]
        self._chosen = self._plan = None
        self._suspicion.view_entered()
        if plan.base.height > chain.height:
            state.sync_height = max(state.sync_height, plan.base.height)
