"""From two messages to a proof that stands by itself (``primitives.evidence``).

A replica notices a contradiction between two *messages*; what convicts their author are the *bytes it signed*. Two
messages may differ and yet say the same: Ed25519 lets the holder of a key sign one statement in many ways, and a
validator that did so on purpose would otherwise use up the one place kept for evidence of a kind against it.
"""

from __future__ import annotations

from typing import Final

from dawan_node.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    ViewChange,
    decode_message,
    new_view_bytes,
    view_change_bytes,
    view_change_content,
)
from dawan_node.consensus.ready import EvidenceKind
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG, commit_vote_bytes, prepare_vote_bytes
from dawan_node.primitives.evidence import (
    NEW_VIEW_TAG,
    PROOF_BYTES_MAX,
    VIEW_CHANGE_TAG,
    Flaw,
    Offence,
    Statement,
    examine,
    prove,
)

#: What can be proven by two statements alone; INVALID_NEW_VIEW is judged by the whole protocol and stays local (L12).
OFFENCES: Final = {
    EvidenceKind.EQUIVOCATION: Offence.EQUIVOCATION,
    EvidenceKind.TWO_NEW_VIEWS: Offence.TWO_NEW_VIEWS,
    EvidenceKind.LYING_VIEW_CHANGE: Offence.LYING_VIEW_CHANGE,
    EvidenceKind.TWO_VIEW_CHANGES: Offence.TWO_VIEW_CHANGES,
    EvidenceKind.TWO_RESULTS: Offence.TWO_RESULTS,
}


def proof_of(chain_id: bytes, kind: EvidenceKind, public_key: bytes, first: bytes, second: bytes) -> bytes | None:
    """The proof that two encoded messages of one validator are; empty when they are evidence that does not go on chain
    (its kind or its size), None when they contradict each other in nothing."""
    offence = OFFENCES.get(kind)
    if offence is None:
        return b""
    content = b""
    if offence is Offence.LYING_VIEW_CHANGE:
        content = view_change_content(ViewChange.decode(second))
    proof = prove(offence, public_key, statement_of(chain_id, first), statement_of(chain_id, second), content)
    if len(proof) > PROOF_BYTES_MAX:
        return b""
    return None if isinstance(examine(proof, chain_id), Flaw) else proof


def statement_of(chain_id: bytes, data: bytes) -> Statement:
    """What the author of an encoded message signed. Raises InvalidMessage for a message without such a statement."""
    message = decode_message(data)
    match message:
        case Prepare():
            signed = prepare_vote_bytes(chain_id, message.epoch, message.view, message.height, message.block_hash)
            return Statement(PREPARE_TAG, signed, message.signature)
        case Commit():
            signed = commit_vote_bytes(
                chain_id, message.epoch, message.view, message.height, message.block_hash, message.result_hash
            )
            return Statement(COMMIT_TAG, signed, message.signature)
        case ViewChange():
            return Statement(VIEW_CHANGE_TAG, view_change_bytes(chain_id, message), message.signature)
        case NewView():
            return Statement(NEW_VIEW_TAG, new_view_bytes(chain_id, message), message.signature)
    raise InvalidMessage("a message that is no statement of one slot")
