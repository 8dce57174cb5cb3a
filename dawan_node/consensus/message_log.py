"""The vote log: what everybody said about each height, one slot per height (consensus.md 1.14, amendment L2).

A slot belongs to one (view, height) and keeps each author's *first* vote of either kind, so its size is bounded by
the number of validators. Slots exist for the current view and for the newest older view in which this replica voted:
late COMMITs of that view may still complete a certificate. Votes of one *later* view wait unverified, per author and
only if they came over that author's own link, so nobody can occupy another's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dawan_node.consensus.messages import Commit, Prepare
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate, bitmap_of


@dataclass(slots=True)
class Slot:
    """Everything said about one height in one view. Times are on the replica's timer clock unless ``_ms``."""

    view: int
    height: int
    prepares: dict[int, Prepare] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    #: The block the primary proposed, or that O brings (then ``reproposed``).
    proposal: bytes | None = None
    reproposed: bool = False
    #: The wall clock when the proposal arrived: what its timestamp is judged by (L11).
    arrived_ms: int = 0
    #: The block I accepted in this view; never replaced by another one.
    accepted: bytes | None = None
    accepted_at: int = 0
    #: PC of this view, and whether a commit certificate for this height is known.
    prepared: PreparedCertificate | None = None
    certified: bool = False
    own_prepare: Prepare | None = None
    own_commit: Commit | None = None
    changed_at: int = 0
    requested_at: int | None = None
    reported: bool = False

    def count_prepares(self, block_hash: bytes) -> int:
        """How many validators prepared ``block_hash`` in this view."""
        return sum(1 for vote in self.prepares.values() if vote.block_hash == block_hash)

    def prepared_certificate(self, epoch: int, block_hash: bytes, n: int) -> PreparedCertificate:
        """The PC of the PREPAREs held for ``block_hash``; the caller has counted them."""
        voters = sorted(voter for voter, vote in self.prepares.items() if vote.block_hash == block_hash)
        signatures = [self.prepares[voter].signature for voter in voters]
        return PreparedCertificate(epoch, self.view, self.height, block_hash, bitmap_of(voters, n), signatures)

    def commit_certificate(
        self, epoch: int, block_hash: bytes, result_hash: bytes, n: int, q: int
    ) -> CommitCertificate | None:
        """The certificate of the COMMITs held for this block and result, None while they are fewer than ``q``."""
        voters = sorted(
            voter
            for voter, vote in self.commits.items()
            if vote.block_hash == block_hash and vote.result_hash == result_hash
        )
        if len(voters) < q:
            return None
        signatures = [self.commits[voter].signature for voter in voters]
        return CommitCertificate(
            epoch, self.view, self.height, block_hash, result_hash, bitmap_of(voters, n), signatures
        )

    def no_result_can_win(self, n: int, q: int) -> bool:
        """Whether no (block, result) can still gather ``q`` COMMITs in this view (L1)."""
        counts: dict[tuple[bytes, bytes], int] = {}
        for vote in self.commits.values():
            key = (vote.block_hash, vote.result_hash)
            counts[key] = counts.get(key, 0) + 1
        unheard = n - len(self.commits)
        return bool(counts) and max(counts.values()) + unheard < q


class MessageLog:
    """The slots of the current view and of the newest older view this replica voted in."""

    def __init__(self) -> None:
        self.view = 0
        self.slots: dict[int, Slot] = {}
        self.older_view: int | None = None
        self.older: dict[int, Slot] = {}
        self._later: dict[int, list[Prepare | Commit]] = {}

    def slot(self, height: int) -> Slot:
        """The slot of the current view at ``height``."""
        slot = self.slots.get(height)
        if slot is None:
            slot = self.slots[height] = Slot(self.view, height)
        return slot

    def slot_of(self, view: int, height: int) -> Slot | None:
        """The slot a vote of ``view`` belongs in, or None when votes of that view are not kept."""
        if view == self.view:
            return self.slot(height)
        if view != self.older_view:
            return None
        slot = self.older.get(height)
        if slot is None:
            slot = self.older[height] = Slot(view, height)
        return slot

    def all_slots(self) -> list[Slot]:
        """Every slot, the current view's first, by height."""
        return [
            *(self.slots[height] for height in sorted(self.slots)),
            *(self.older[height] for height in sorted(self.older)),
        ]

    def keep_for_later(self, vote: Prepare | Commit, votes_max: int) -> None:
        """Keep an unverified vote of a later view that came over its author's own link.

        One later view per author, the highest seen; at most ``votes_max`` votes of it.
        """
        kept = self._later.get(vote.voter)
        if kept is None or vote.view > kept[0].view:
            self._later[vote.voter] = [vote]
        elif vote.view == kept[0].view and len(kept) < votes_max:
            kept.append(vote)

    def enter(self, view: int) -> list[Prepare | Commit]:
        """Start ``view`` with empty slots; returns the votes kept for it."""
        if any(slot.own_prepare or slot.own_commit for slot in self.slots.values()):
            self.older_view, self.older = self.view, self.slots
        self.view = view
        self.slots = {}
        due: list[Prepare | Commit] = []
        for voter in sorted(self._later):
            if self._later[voter][0].view <= view:
                due.extend(vote for vote in self._later.pop(voter) if vote.view == view)
        return due

    def heights_up_to(self, height: int) -> list[int]:
        """The heights at or below ``height`` that still have a slot."""
        return [at for at in (*self.slots, *self.older) if at <= height]

    def forget(self, heights: Iterable[int]) -> None:
        """Drop the slots of ``heights``."""
        for height in list(heights):
            self.slots.pop(height, None)
            self.older.pop(height, None)
