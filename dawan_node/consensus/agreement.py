"""The normal case: proposals become accepted, prepared, executed and committed (consensus.md 1.3, amendment A1).

``advance`` walks the heights in flight once, upwards from the head, and does whatever each has become ready for. It
is called after every input, so no handler needs to know what its message might make possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dawan_node.consensus.block_tree import Block, Bodies, Run
from dawan_node.consensus.chain import Final
from dawan_node.consensus.finality import Finality, is_leaf_list
from dawan_node.consensus.message_log import Slot
from dawan_node.consensus.messages import Commit, Prepare, PrePrepare, ProposalRequest
from dawan_node.consensus.ready import AlarmKind, EvidenceKind
from dawan_node.consensus.records import CommitRecord, PrepareRecord, Record, RecordKind
from dawan_node.consensus.signer import VoteKind
from dawan_node.consensus.state import ReplicaState
from dawan_node.consensus.suspicion import Reason, Suspicion
from dawan_node.consensus.view_change import Contradiction
from dawan_node.consensus.view_changer import ViewChanger
from dawan_node.crypto import merkle
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    PreparedCertificate,
    commit_vote_bytes,
    prepare_vote_bytes,
)


@dataclass(frozen=True, slots=True)
class ProposalSlot:
    """Where the primary may propose now."""

    epoch: int
    view: int
    height: int
    parent_hash: bytes
    parent_timestamp_ms: int

    def block_time_ms(self, now_ms: int) -> int:
        """The timestamp a block proposed at ``now_ms`` gets: transactions are picked for this time (L11)."""
        return max(now_ms, self.parent_timestamp_ms + 1)


class Agreement:
    """Votes of the current view: taking them, and giving mine."""

    def __init__(
        self, state: ReplicaState, finality: Finality, view_changer: ViewChanger, suspicion: Suspicion
    ) -> None:
        self._state = state
        self._finality = finality
        self._view_changer = view_changer
        self._suspicion = suspicion

    # --- messages ----------------------------------------------------------------------------------------------

    def on_pre_prepare(self, message: PrePrepare) -> None:
        """A proposal of the current view's primary, from whoever passes it on."""
        state, header = self._state, message.header
        if message.view != state.view or not self._is_in_window(header.height):
            return
        if header.chain_id != state.chain_id:
            return
        slot = state.log.slot(header.height)
        primary = state.primary(state.view)
        block_hash = header.hash
        block = state.tree.get(block_hash)
        if slot.proposal == block_hash and block is not None and block.leaf_hashes is not None:
            return
        vote = Prepare(header.epoch, message.view, header.height, block_hash, primary, message.signature)
        if not self._take_prepare(slot, vote):
            return
        if slot.reproposed or (slot.proposal is not None and slot.proposal != block_hash):
            return
        # Only the right leaf list makes it a proposal; more leaves than the channel allows are not even hashed.
        if len(message.leaf_hashes) > state.chain.rules.block_txs_max or not is_leaf_list(header, message.leaf_hashes):
            return
        state.tree.add(block_hash, header, message.leaf_hashes)
        if slot.proposal is None:
            slot.proposal = block_hash
            slot.arrived_ms = state.now_ms
        self._note_prepared(slot, block_hash)

    def on_prepare(self, vote: Prepare, is_own_link: bool) -> None:
        """A PREPARE."""
        slot = self._slot_for(vote, is_own_link)
        if slot is None or not self._take_prepare(slot, vote):
            return
        self._note_prepared(slot, vote.block_hash)
        self._maybe_request_proposal(slot, vote.block_hash)

    def on_commit(self, vote: Commit, is_own_link: bool) -> None:
        """A COMMIT."""
        slot = self._slot_for(vote, is_own_link)
        if slot is None:
            return
        prior = slot.commits.get(vote.voter)
        if prior == vote or (slot.certified and prior is None):
            return
        if not self._is_signed(vote):
            return
        if vote.voter == self._state.own:
            self._stop_for_own_vote(vote, slot)
            return
        if prior is not None:
            kind = EvidenceKind.EQUIVOCATION
            if prior.block_hash == vote.block_hash:
                kind = EvidenceKind.TWO_RESULTS
            self._state.accuse(kind, vote.voter, prior.encode(), vote.encode())
            return
        slot.commits[vote.voter] = vote
        self._compare_results(vote)
        self._view_changer.compare_with_view_change(vote)
        self.note_committed(slot, vote)

    def on_proposal_request(self, request: ProposalRequest, link: int) -> None:
        """Somebody holds f + 1 PREPAREs for a block it does not know (L9)."""
        if request.epoch != self._state.chain.epoch or request.view != self._state.view:
            return
        slot = self._state.log.slots.get(request.height)
        if slot is None or slot.proposal != request.block_hash:
            return
        message = self.pre_prepare_of(slot)
        if message is not None:
            self._state.outbox.send(message.encode(), (link,))

    def pre_prepare_of(self, slot: Slot) -> PrePrepare | None:
        """The PRE-PREPARE of a slot as its primary sent it, if all of it is here."""
        block = self._state.tree.get(slot.proposal)
        vote = slot.prepares.get(self._state.primary(slot.view))
        if slot.reproposed or block is None or block.leaf_hashes is None or vote is None:
            return None
        if vote.block_hash != block.block_hash:
            return None
        return PrePrepare(slot.view, block.header, block.leaf_hashes, vote.signature)

    def _is_in_window(self, height: int) -> bool:
        """Proposals and votes are kept up to 2W above the head (a primary may move its window first), and never at or
        below the floor of the view."""
        chain = self._state.chain
        return max(chain.height, self._state.base.height) < height <= chain.height + 2 * self._state.window

    def _slot_for(self, vote: Prepare | Commit, is_own_link: bool) -> Slot | None:
        """The slot a vote counts in. None: not now. The epoch was checked by the caller."""
        state = self._state
        if vote.voter >= state.validators.n:
            return None
        if vote.view > state.view:
            if is_own_link and vote.voter != state.own:
                state.log.keep_for_later(vote, 4 * state.window)
            return None
        if not state.chain.height < vote.height <= state.chain.height + 2 * state.window:
            # Below the head only what O brought again, until I have voted for it there too (L6).
            slot = state.log.slots.get(vote.height)
            unfinished = slot is not None and slot.reproposed and slot.own_commit is None
            return slot if unfinished and vote.view == state.view else None
        if vote.view == state.view and vote.height <= state.base.height:
            return None
        return state.log.slot_of(vote.view, vote.height)

    def _take_prepare(self, slot: Slot, vote: Prepare) -> bool:
        """Enter a PREPARE as its author's first one. Whether it is in the slot now."""
        prior = slot.prepares.get(vote.voter)
        if prior == vote:
            return True
        if slot.prepared is not None and prior is None and slot.prepared.block_hash == vote.block_hash:
            return False  # a certificate exists: further votes are dropped unverified (L2)
        if not self._is_signed(vote):
            return False
        if vote.voter == self._state.own:
            self._stop_for_own_vote(vote, slot)
            return False
        if prior is not None:
            self._state.accuse(EvidenceKind.EQUIVOCATION, vote.voter, prior.encode(), vote.encode())
            if vote.voter == self._state.primary(slot.view) and slot.view == self._state.view:
                self._suspicion.suspect(slot.view + 1, Reason.EQUIVOCATION)
            return False
        slot.prepares[vote.voter] = vote
        self._show_other_proposal(slot, vote)
        return True

    def _show_other_proposal(self, slot: Slot, vote: Prepare) -> None:
        """Whoever accepted another block than the primary proposed here is sent the primary's vote that I hold.

        A primary that tells one part of the others one block and the rest another is seen by nobody: each of them has
        one proposal. With the vote from the other part it has both, which is the proof (consensus.md 1.12 (a)). At
        most one message per voter and slot: only an author's first vote gets here.
        """
        state = self._state
        primary = state.primary(slot.view)
        proposed = slot.prepares.get(primary)
        if proposed is None:
            return
        others = sorted(slot.prepares) if vote.voter == primary else [vote.voter]
        deceived = tuple(
            voter
            for voter in others
            if voter not in (primary, state.own) and slot.prepares[voter].block_hash != proposed.block_hash
        )
        if deceived:
            state.outbox.send(proposed.encode(), deceived)

    def _is_signed(self, vote: Prepare | Commit) -> bool:
        state = self._state
        key = state.validators.public_keys[vote.voter]
        if isinstance(vote, Prepare):
            data = prepare_vote_bytes(state.chain_id, vote.epoch, vote.view, vote.height, vote.block_hash)
            return state.verifier.signature(key, PREPARE_TAG, data, vote.signature)
        data = commit_vote_bytes(state.chain_id, vote.epoch, vote.view, vote.height, vote.block_hash, vote.result_hash)
        return state.verifier.signature(key, COMMIT_TAG, data, vote.signature)

    def _stop_for_own_vote(self, vote: Prepare | Commit, slot: Slot) -> None:
        """Of the current view above the head I know every vote of mine; older ones I may have forgotten."""
        known_up_to = max(self._state.chain.height, self._state.catch_up_to)
        if slot.view == self._state.view and slot.height > known_up_to:
            self._state.stop_for_own_key(vote.encode())

    def _note_prepared(self, slot: Slot, block_hash: bytes) -> None:
        """Form the PC as soon as q PREPAREs and the header are here."""
        state = self._state
        if slot.prepared is not None or slot.count_prepares(block_hash) < state.validators.q:
            return
        block = state.tree.get(block_hash)
        if block is None:
            return
        slot.prepared = slot.prepared_certificate(state.chain.epoch, block_hash, state.validators.n)
        if slot.height > state.chain.height:
            self.hold_prepared(block.header, slot.prepared)

    def hold_prepared(self, header: Header, certificate: PreparedCertificate) -> None:
        """Keep the PC of the highest view per height (A6: replaced only by a higher view)."""
        held = self._state.prepared.get(header.height)
        if held is None or certificate.view > held[1].view:
            self._state.prepared[header.height] = (header, certificate)

    def _maybe_request_proposal(self, slot: Slot, block_hash: bytes) -> None:
        state = self._state
        if slot.view != state.view or slot.proposal is not None or state.tree.get(block_hash) is not None:
            return
        if slot.count_prepares(block_hash) < state.validators.weak:
            return
        if slot.requested_at is not None and state.clock < slot.requested_at + state.timers.resend_ms:
            return
        slot.requested_at = state.clock
        voters = tuple(
            voter
            for voter in sorted(slot.prepares)
            if voter != state.own and slot.prepares[voter].block_hash == block_hash
        )
        request = ProposalRequest(state.chain.epoch, slot.view, slot.height, block_hash)
        state.outbox.send(request.encode(), voters)

    def _compare_results(self, vote: Commit) -> None:
        """Evidence (e): two results of one voter for one block, in whatever two views."""
        for slot in self._state.log.all_slots():
            other = slot.commits.get(vote.voter)
            if other is not None and other.block_hash == vote.block_hash and other.result_hash != vote.result_hash:
                self._state.accuse(EvidenceKind.TWO_RESULTS, vote.voter, other.encode(), vote.encode())

    def note_committed(self, slot: Slot, vote: Commit) -> None:
        """Form the certificate as soon as q COMMITs agree on block and result."""
        state = self._state
        n, q = state.validators.n, state.validators.q
        certificate = slot.commit_certificate(state.chain.epoch, vote.block_hash, vote.result_hash, n, q)
        if certificate is not None:
            slot.certified = True
            self._finality.add_certificate(certificate)
        elif not slot.reported and slot.no_result_can_win(n, q):
            slot.reported = True
            state.outbox.alarm(
                AlarmKind.RESULTS_DIFFER, "no result can reach a quorum at this height", height=slot.height
            )

    # --- my own steps ------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Do whatever each height in flight has become ready for."""
        state = self._state
        if state.halted is not None:
            return
        chain, tree = state.chain, state.tree
        if not state.log.slots and not state.log.older:
            return
        state.log.forget(height for height in state.log.heights_up_to(chain.height) if not self._is_revote_due(height))
        if state.entries:
            self._vote_for_decided_entries()
        parent_hash, parent_time = chain.block_hash, chain.timestamp_ms
        may_accept = may_commit = state.may_vote
        for height in range(chain.height + 1, chain.height + state.window + 1):
            slot = state.log.slots.get(height)
            block = None if slot is None else tree.get(slot.accepted or slot.proposal)
            if slot is None or block is None or block.header.parent_hash != parent_hash:
                return
            if slot.accepted is None:
                if not self._is_well_formed(slot, block.header, height, parent_time):
                    return
                self._want(slot, block)
                may_accept = may_accept and self._maybe_accept(slot, block)
            if slot.accepted is not None:
                self._want(slot, block)
                tree.run(block)
                may_commit = may_commit and self._maybe_commit(slot, block)
            if block.header.barrier:
                return  # nothing is accepted above an undecided barrier (U3)
            parent_hash, parent_time = block.block_hash, block.header.timestamp_ms

    def _want(self, slot: Slot, block: Block) -> None:
        if block.bodies is not Bodies.HELD:
            self._state.tree.want(block, self._holders(slot, block.block_hash), slot.reproposed)

    def _holders(self, slot: Slot, block_hash: bytes) -> tuple[int, ...]:
        """Who signed for a block has its bodies (L5)."""
        held = self._state.prepared.get(slot.height)
        own = self._state.own
        if held is not None and held[1].block_hash == block_hash:
            bits = int.from_bytes(held[1].bitmap, "little")
            return tuple(i for i in range(self._state.validators.n) if bits >> i & 1 and i != own)
        return tuple(
            voter for voter in sorted(slot.prepares) if slot.prepares[voter].block_hash == block_hash and voter != own
        )

    def _is_well_formed(self, slot: Slot, header: Header, height: int, parent_time: int) -> bool:
        """The header rules of A1 that need no bodies. O entries were judged when they were prepared; their epoch and
        set are a function of the parent like anybody's (U3)."""
        state, rules = self._state, self._state.chain.rules
        wrong = ""
        if header.height != height or header.epoch != state.chain.epoch or header.valset_hash != rules.validators.hash:
            wrong = "height, epoch or validator set do not follow from the parent"
        elif header.timestamp_ms <= parent_time:
            wrong = "the block is not later than its parent"
        elif slot.reproposed:
            return True
        elif not 1 <= header.tx_count <= rules.block_txs_max or not 1 <= header.body_bytes <= rules.block_bytes_max:
            wrong = "the block is empty or larger than the channel allows"
        elif header.proposer != state.primary(slot.view):
            wrong = "the proposer is not the primary"
        elif header.barrier and header.tx_count != 1:
            wrong = "a barrier stands alone in its block"
        if wrong and not slot.reported:
            slot.reported = True
            state.outbox.alarm(AlarmKind.PROPOSAL_REFUSED, wrong, height=height, view=slot.view)
        return not wrong

    def _maybe_accept(self, slot: Slot, block: Block) -> bool:
        """PREPARE the block if it may be accepted now. Ancestors were accepted or decided before it."""
        state = self._state
        if block.bodies is Bodies.REFUSED and not slot.reported:
            slot.reported = True
            state.outbox.alarm(AlarmKind.PROPOSAL_REFUSED, block.refusal, height=slot.height, view=slot.view)
        if block.bodies is not Bodies.HELD:
            return False
        if not slot.reproposed and not self._is_timely(slot, block):
            return False
        return self._prepare(slot, block.header, block.block_hash, block)

    def _is_timely(self, slot: Slot, block: Block) -> bool:
        """L11: judged by my clock when the proposal arrived, or by f + 1 others who found it timely."""
        state, time = self._state, block.header.timestamp_ms
        parent = state.tree.get(block.header.parent_hash)
        parent_time = state.chain.timestamp_ms if parent is None else parent.header.timestamp_ms
        timers = state.timers
        latest = max(slot.arrived_ms + timers.precision_ms, parent_time + 1)
        age_max = (timers.message_delay_ms << min(state.backoff, 16)) + timers.precision_ms
        if slot.arrived_ms - age_max <= time <= latest:
            return True
        is_vouched_for = slot.count_prepares(block.block_hash) >= state.validators.weak
        if not slot.reported:
            slot.reported = True
            state.outbox.alarm(
                AlarmKind.CLOCK_DIFFERS,
                "the proposal's time is far from this node's clock; check NTP",
                height=slot.height,
                view=slot.view,
                difference_ms=time - slot.arrived_ms,
            )
        return is_vouched_for

    def _prepare(self, slot: Slot, header: Header, block_hash: bytes, block: Block | None) -> bool:
        """Accept: sign PREPARE, make it durable, send it. ``block`` is None for a height already decided (L6)."""
        state = self._state
        assert state.own is not None
        if slot.own_prepare is None:
            data = prepare_vote_bytes(state.chain_id, state.chain.epoch, slot.view, slot.height, block_hash)
            signature = state.sign(VoteKind.PREPARE, slot.view, data, slot.height, block_hash)
            if signature is None:
                return False
            vote = Prepare(state.chain.epoch, slot.view, slot.height, block_hash, state.own, signature)
            record = PrepareRecord(slot.view, header, state.own, signature).encode()
            if block is None:
                state.outbox.records.append(Record(RecordKind.PREPARE, record))
            else:
                state.keep_own_vote(Record(RecordKind.PREPARE, record, block_hash), slot.height)
            slot.own_prepare = slot.prepares[state.own] = vote
            slot.changed_at = state.clock
            proposal = self.pre_prepare_of(slot) if state.own == state.primary(slot.view) else None
            state.outbox.send((vote if proposal is None else proposal).encode())
        slot.accepted = block_hash
        slot.accepted_at = state.accepted_at = state.clock
        if block is not None:
            block.live = block.pinned = True
            self._note_prepared(slot, block_hash)
        elif slot.prepared is None and slot.count_prepares(block_hash) >= state.validators.q:
            slot.prepared = slot.prepared_certificate(state.chain.epoch, block_hash, state.validators.n)
        return True

    def _maybe_commit(self, slot: Slot, block: Block) -> bool:
        """COMMIT an accepted, prepared and executed block. The caller has seen to the in-order rule: every height
        between the head and this one was committed *in this view* (U1). True when this height is committed too."""
        if slot.own_commit is not None:
            return slot.own_commit.block_hash == block.block_hash
        self._note_prepared(slot, block.block_hash)
        if slot.prepared is None or slot.prepared.block_hash != slot.accepted or block.run is not Run.DONE:
            return False
        assert block.result is not None
        block.signed_result_hash = block.result_hash
        return self._commit(slot, block.header, block.result, block.result_hash, True)

    def _commit(self, slot: Slot, header: Header, result: Result, result_hash: bytes, is_undecided: bool) -> bool:
        """Sign COMMIT for the slot's accepted and prepared block, make it durable with all it rests on, send it."""
        state = self._state
        block_hash = slot.accepted
        assert state.own is not None and block_hash is not None and slot.prepared is not None
        epoch = state.chain.epoch
        data = commit_vote_bytes(state.chain_id, epoch, slot.view, slot.height, block_hash, result_hash)
        signature = state.sign(VoteKind.COMMIT, slot.view, data, slot.height, block_hash, result_hash)
        if signature is None:
            return False
        payload = CommitRecord(slot.view, header, result, slot.prepared, state.own, signature).encode()
        if is_undecided:
            state.keep_own_vote(Record(RecordKind.COMMIT, payload, block_hash), slot.height)
        else:
            state.outbox.records.append(Record(RecordKind.COMMIT, payload))  # its bodies are in the store
        vote = Commit(epoch, slot.view, slot.height, block_hash, result_hash, state.own, signature)
        slot.own_commit = slot.commits[state.own] = vote
        slot.changed_at = state.clock
        state.outbox.send(vote.encode())
        self.note_committed(slot, vote)
        return True

    # --- entries of O that are decided here already (L6) -------------------------------------------------------

    def _is_revote_due(self, height: int) -> bool:
        slot = self._state.log.slots.get(height)
        return slot is not None and slot.reproposed and slot.own_commit is None

    def _vote_for_decided_entries(self) -> None:
        """Sign again, in this view, for what I decided in an earlier one: the others may need my vote to get there."""
        state = self._state
        for entry in state.entries:
            height = entry.header.height
            if height > state.chain.height:
                return
            final = state.chain.recent.get(height)
            slot = state.log.slots.get(height)
            if final is None or slot is None:
                continue
            if final.block_hash != entry.block_hash:
                if final.certificate.view >= state.view:
                    # Decided in this view or a later one: only a block of an *earlier* view must be in every O. The
                    # primary sent different NEW-VIEWs, or this view was left before anything was decided in it.
                    continue
                state.halt(
                    Contradiction(
                        f"another block than the decided one is proposed again at height {height}",
                        final.certificate.encode(),
                        entry.certificate.encode(),
                    )
                )
                return
            if state.may_vote and slot.own_commit is None:
                self._vote_again(slot, final)

    def _vote_again(self, slot: Slot, final: Final) -> None:
        if slot.accepted is None and not self._prepare(slot, final.header, final.block_hash, None):
            return
        if slot.prepared is None and slot.count_prepares(final.block_hash) >= self._state.validators.q:
            slot.prepared = slot.prepared_certificate(
                self._state.chain.epoch, final.block_hash, self._state.validators.n
            )
        if slot.prepared is not None and slot.prepared.block_hash == final.block_hash:
            self._commit(slot, final.header, final.result, final.result_hash, False)

    # --- proposing ---------------------------------------------------------------------------------------------

    def proposal_slot(self) -> ProposalSlot | None:
        """Where I may propose now, None when I may not."""
        state, chain = self._state, self._state.chain
        if not state.may_vote or state.primary(state.view) != state.own:
            return None
        parent_hash, parent_time = chain.block_hash, chain.timestamp_ms
        for height in range(max(chain.height, state.base.height) + 1, chain.height + state.window + 1):
            slot = state.log.slots.get(height)
            if slot is None or slot.proposal is None:
                return ProposalSlot(chain.epoch, state.view, height, parent_hash, parent_time)
            block = state.tree.get(slot.accepted)
            if block is None or block.header.parent_hash != parent_hash or block.header.barrier:
                return None
            if block.bodies is not Bodies.HELD:
                return None  # after a restart: nobody can tell yet which transactions the branch holds (B17)
            parent_hash, parent_time = block.block_hash, block.header.timestamp_ms
        return None

    def propose(self, at: ProposalSlot, leaf_hashes: Sequence[bytes], body_bytes: int, barrier: bool) -> Header | None:
        """Propose a block of bodies the shell holds and has judged; it is accepted like anybody's (B17)."""
        state = self._state
        if at != self.proposal_slot() or state.own is None:
            return None
        leaves = tuple(leaf_hashes)
        header = Header(
            1,
            state.chain_id,
            at.epoch,
            at.height,
            at.parent_hash,
            merkle.root(leaves),
            len(leaves),
            body_bytes,
            at.block_time_ms(state.now_ms),
            state.own,
            state.validators.hash,
            barrier,
        )
        slot = state.log.slot(at.height)
        block = state.tree.add(header.hash, header, leaves)
        block.bodies = Bodies.HELD
        slot.proposal = block.block_hash
        slot.arrived_ms = state.now_ms
        return header
