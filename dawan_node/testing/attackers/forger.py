"""The forger: every signed message, from parts, in the name of Byzantine nodes alone.

It holds the keys of the Byzantine nodes of one run and no other. Asked for the signature of anybody else it signs with
its own key under the other's index: a forgery, which every honest node must recognise. Nothing stops it from signing
two statements for one slot, for another chain or for a block that does not exist: that is its purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from dawan_node.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    Suspect,
    SuspectEntry,
    ViewChange,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from dawan_node.consensus.signer import NEW_VIEW_TAG, SUSPECT_TAG, VIEW_CHANGE_TAG
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import domain_separated
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    bitmap_of,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulated_node import fake_signature

#: Where a signature will stand.
UNSIGNED = bytes(64)

Signable = PrePrepare | Prepare | Commit | Suspect | ViewChange | NewView
Signed = TypeVar("Signed", bound=Signable)


class Place(Protocol):
    """Where a statement is made: what every signature binds."""

    @property
    def chain_id(self) -> bytes: ...

    @property
    def epoch(self) -> int: ...

    @property
    def own(self) -> int: ...

    @property
    def validators(self) -> ValidatorSet: ...

    def primary(self, view: int) -> int: ...


class Forger:
    """Signs anything for ``own`` and for the other members of its ``cartel``, with Ed25519 or with the stand-in that
    simulations verify."""

    def __init__(self, own: PrivateKey, cartel: Sequence[PrivateKey] = (), *, real_signatures: bool = False) -> None:
        self._own = own
        self._keys = {key.public_key: key for key in (*cartel, own)}
        self._is_real = real_signatures

    def members(self, at: Place) -> list[int]:
        """The validators it can sign for, ascending; its own node among them."""
        return [index for index, key in enumerate(at.validators.public_keys) if key in self._keys]

    def honest(self, at: Place) -> list[int]:
        """The validators it cannot sign for."""
        return [index for index, key in enumerate(at.validators.public_keys) if key not in self._keys]

    def sign(self, at: Place, voter: int, tag: bytes, data: bytes) -> bytes:
        """The signature of ``voter`` if it is a member; else the node's own, which is none of ``voter``'s."""
        keys = at.validators.public_keys
        key = self._keys.get(keys[voter], self._own) if 0 <= voter < len(keys) else self._own
        if self._is_real:
            return key.sign(tag, data)
        return fake_signature(key.public_key, domain_separated(tag, data))

    def signed(self, at: Place, draft: Signed, *, chain_id: bytes | None = None) -> Signed:
        """``draft`` with the signature its fields ask for, in the name of its voter, or of the primary of its view."""
        chain = at.chain_id if chain_id is None else chain_id
        tag: bytes
        if isinstance(draft, PrePrepare):
            header = draft.header
            voter, tag = at.primary(draft.view), PREPARE_TAG
            data = prepare_vote_bytes(chain, header.epoch, draft.view, header.height, header.hash)
        elif isinstance(draft, Prepare):
            voter, tag = draft.voter, PREPARE_TAG
            data = prepare_vote_bytes(chain, draft.epoch, draft.view, draft.height, draft.block_hash)
        elif isinstance(draft, Commit):
            voter, tag = draft.voter, COMMIT_TAG
            data = commit_vote_bytes(chain, draft.epoch, draft.view, draft.height, draft.block_hash, draft.result_hash)
        elif isinstance(draft, Suspect):
            voter, tag = draft.voter, SUSPECT_TAG
            data = suspect_bytes(chain, draft.epoch, draft.new_view)
        elif isinstance(draft, ViewChange):
            voter, tag, data = draft.voter, VIEW_CHANGE_TAG, view_change_bytes(chain, draft)
        else:
            voter, tag, data = at.primary(draft.new_view), NEW_VIEW_TAG, new_view_bytes(chain, draft)
        return msgspec.structs.replace(draft, signature=self.sign(at, voter, tag, data))

    # --- from parts --------------------------------------------------------------------------------------------

    def pre_prepare(self, at: Place, view: int, header: Header, leaf_hashes: Sequence[bytes]) -> PrePrepare:
        """A proposal of the primary of ``view``."""
        return self.signed(at, PrePrepare(view, header, tuple(leaf_hashes), UNSIGNED))

    def prepare(self, at: Place, voter: int, view: int, height: int, block_hash: bytes) -> Prepare:
        """A PREPARE."""
        return self.signed(at, Prepare(at.epoch, view, height, block_hash, voter, UNSIGNED))

    def commit(self, at: Place, voter: int, view: int, height: int, block_hash: bytes, result_hash: bytes) -> Commit:
        """A COMMIT."""
        return self.signed(at, Commit(at.epoch, view, height, block_hash, result_hash, voter, UNSIGNED))

    def suspect(self, at: Place, voter: int, view: int) -> Suspect:
        """A wish for ``view``."""
        return self.signed(at, Suspect(at.epoch, view, voter, UNSIGNED))

    def suspects(self, at: Place, view: int, voters: Iterable[int]) -> tuple[SuspectEntry, ...]:
        """Wishes of ``voters`` for ``view`` as a SuspectCert holds them, in the order given."""
        return tuple(SuspectEntry(voter, view, self.suspect(at, voter, view).signature) for voter in voters)

    def view_change(
        self,
        at: Place,
        voter: int,
        view: int,
        suspects: tuple[SuspectEntry, ...],
        last: tuple[tuple[Header, CommitCertificate], ...] = (),
        prepared: tuple[tuple[Header, PreparedCertificate], ...] = (),
    ) -> ViewChange:
        """A VIEW-CHANGE that claims whatever it is told to."""
        return self.signed(at, ViewChange(at.epoch, view, suspects, last, prepared, voter, UNSIGNED))

    def new_view(
        self, at: Place, view: int, view_changes: Sequence[ViewChange], entries: Sequence[tuple[int, bytes]]
    ) -> NewView:
        """A NEW-VIEW of the primary of ``view`` over ``view_changes`` as they stand, which proposes ``entries``, the
        (height, block hash) pairs of O, again."""
        primary = at.primary(view)
        prepares = tuple(self.prepare(at, primary, view, height, block).signature for height, block in entries)
        chosen = tuple(message.encode() for message in view_changes)
        return self.signed(at, NewView(at.epoch, view, chosen, prepares, UNSIGNED))

    def prepared_certificate(
        self, at: Place, view: int, height: int, block_hash: bytes, voters: Sequence[int]
    ) -> PreparedCertificate:
        """A PC that names ``voters``; the signatures of those that are no members are forged."""
        signatures = [self.prepare(at, voter, view, height, block_hash).signature for voter in voters]
        bitmap = bitmap_of(voters, at.validators.n)
        return PreparedCertificate(at.epoch, view, height, block_hash, bitmap, signatures)

    def commit_certificate(
        self, at: Place, view: int, height: int, block_hash: bytes, result_hash: bytes, voters: Sequence[int]
    ) -> CommitCertificate:
        """A commit certificate that names ``voters``; the signatures of those that are no members are forged."""
        signatures = [self.commit(at, voter, view, height, block_hash, result_hash).signature for voter in voters]
        bitmap = bitmap_of(voters, at.validators.n)
        return CommitCertificate(at.epoch, view, height, block_hash, result_hash, bitmap, signatures)


def variant(
    header: Header, leaf_hashes: Sequence[bytes], branch: int, parent_hash: bytes
) -> tuple[Header, tuple[bytes, ...]]:
    """Another block from the same transactions, as acceptable as the first: later by ``branch`` ms, its leaf list
    rotated by as much, on the parent that the branch has. Branch 0 on the same parent is the block itself.

    The bodies exist wherever those of the first block do, and their sizes add up to the same.
    """
    turn = branch % max(1, len(leaf_hashes))
    leaves = (*leaf_hashes[turn:], *leaf_hashes[:turn])
    changed = msgspec.structs.replace(
        header,
        parent_hash=parent_hash,
        tx_root=merkle.root(leaves),
        timestamp_ms=header.timestamp_ms + branch,
    )
    return changed, leaves
