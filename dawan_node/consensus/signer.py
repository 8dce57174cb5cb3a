"""What the replica asks of its signer.

Every signature of a validator binds it: two of them that contradict each other are proof of a lie, whoever was at
fault. So the key is held by one object that keeps its own account of what it signed (``guard.SlotGuard``) and
refuses whatever contradicts it, *whatever the replica believes*. The replica states what it wants to say as a
``Statement``; the signer answers with a signature or raises ``SigningRefused``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG
from dawan_node.primitives.evidence import NEW_VIEW_TAG, VIEW_CHANGE_TAG

__all__ = ["NEW_VIEW_TAG", "SUSPECT_TAG", "VIEW_CHANGE_TAG", "Statement", "VoteKind", "VoteSigner"]

SUSPECT_TAG: Final = b"dawan:suspect:v1"


class VoteKind(IntEnum):
    """What is being signed; each kind has its own domain tag."""

    PREPARE = 1
    COMMIT = 2
    SUSPECT = 3
    VIEW_CHANGE = 4
    NEW_VIEW = 5

    @property
    def tag(self) -> bytes:
        """The domain the signature is made under (design section 4)."""
        return _TAGS[self]


_TAGS: Final = {
    VoteKind.PREPARE: PREPARE_TAG,
    VoteKind.COMMIT: COMMIT_TAG,
    VoteKind.SUSPECT: SUSPECT_TAG,
    VoteKind.VIEW_CHANGE: VIEW_CHANGE_TAG,
    VoteKind.NEW_VIEW: NEW_VIEW_TAG,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing a validator is asked to sign.

    ``data`` are exactly the bytes signed under ``kind.tag``; the other fields say the same in a form that a guard
    can judge. ``view`` is the *new* view for SUSPECT, VIEW-CHANGE and NEW-VIEW; ``height`` is 0 and the hashes are
    empty where the kind has none.
    """

    kind: VoteKind
    epoch: int
    view: int
    height: int
    block_hash: bytes
    result_hash: bytes
    data: bytes

    @property
    def slot(self) -> tuple[int, int, int, int]:
        """At most one statement may ever be signed per slot (SUSPECT excepted, which binds nobody)."""
        return (int(self.kind), self.epoch, self.view, self.height)


class VoteSigner(Protocol):
    """The holder of one validator key on one channel. ``dawan_node.node.signer`` implements it for real."""

    @property
    def public_key(self) -> bytes:
        """The validator key votes are signed with; the replica finds its index in each epoch's set by it."""
        ...

    def sign(self, statement: Statement) -> bytes:
        """The 64-byte signature over ``statement.kind.tag LF statement.data``.

        The same statement again gives the same signature. Raises SigningRefused for one that contradicts an
        earlier one. The replica makes the vote durable (``Ready.records``) before it leaves.
        """
        ...

    def decided(self, epoch: int, height: int, block_hash: bytes, result_hash: bytes) -> None:
        """``block_hash`` is final at ``height``: from now on only this block may be voted for there (L6). ``epoch`` is
        that of the next height: a block that ends its epoch ends all votes in it (U3)."""
        ...
