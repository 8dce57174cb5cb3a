"""Evidence: a proof, in bytes of its own, that one validator signed what no honest validator signs.

A proof holds two *statements* as they were signed (domain tag, signed bytes, signature), the key that signed both,
and says what they contradict each other in. It needs nothing else: whoever knows the chain id and the validator set of
the epoch judges it alike, a module on chain, an operator, a court (consensus.md 1.12, amendment A6).

| Kind | First and second statement | Never both signed by an honest validator |
|---|---|---|
| 1 equivocation | two PREPAREs, or COMMITs, of one view and height for two blocks | (a) one statement per slot |
| 2 two_new_views | two NEW-VIEWs for one view | (b) the same |
| 3 lying_view_change | a COMMIT and a later VIEW-CHANGE that hides what it rests on | (c) see below |
| 4 two_view_changes | two VIEW-CHANGEs for one view | (d) it repeats the same bytes, never signs anew |
| 5 two_results | two COMMITs for one block with two results, in whatever views | (e) one per block for ever (U12) |

**Why an honest validator is never convicted.** Honest includes that its log is its own: a validator that signs after it
lost its log, or from a copy, is as bad as one that lies (U6). Both statements carry one epoch and the validator's own
signature, so nobody else can make either. Kinds 1, 2, 4 and 5 are exactly what ``consensus.guard.SlotGuard`` refuses,
and its account is on disk before a statement leaves and is read back completely before the next one is signed (A4, U7);
what it has forgotten lies below its floor or its promise, where it signs nothing but the decided block with the decided
result (L6), which contradicts nothing. A block voted for again in a later view has another slot; a repeated message has
the same signed bytes, and equal bytes are no contradiction, whatever their signatures.

Kind 3 rests on three facts. (i) Who signs COMMIT(v,h) holds the prepared certificate (PC) of view v at h, on disk with
the COMMIT (U5). (ii) A PC that is held is replaced only by one of a higher view and dropped only when its height is
decided; a branch that lost its place keeps its PCs (A6). (iii) A VIEW-CHANGE is signed only by a replica whose head is
at least every height it ever recorded as decided (L3), it names that head, and it lists the PC held for every height
in the window above; a COMMIT is never further above the head than the window. Hence a later VIEW-CHANGE of the same
epoch names a head at or above h, or lists a PC at h whose view is at least v. *Later* is the order of views: no COMMIT
of a view below v' is signed after the VIEW-CHANGE for v' (the promise of the guard). A COMMIT for a block decided
already, proposed again by a NEW-VIEW, comes from a head at or above h. Across epochs none of this holds, so both
statements must be of one epoch.

A VIEW-CHANGE signs the hash of its other fields; kind 3 brings them along as ``content``. Whether its certificates are
valid does not matter: an honest validator signs what it holds.

A NEW-VIEW that does not follow from its own proof (L12) is not among the kinds: judging one takes every rule of a view
change, and it can be megabytes large. Nodes keep and export it; it does not go on chain. For the same reason a proof
has at most ``PROOF_BYTES_MAX`` bytes. All kinds but 3 have less than a kilobyte; kind 3 has about
``70 q + (W + 1) (66 q + 300)``: 7 KiB at n = 22 and W = 4, and below the cap up to n = 64 with W = 4 or n = 22 with
W = 16. A larger one is kept and exported by those who saw it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final

import msgspec

from dawan_node.crypto.hashing import domain_separated, sha256, tagged_hash
from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.errors import InvalidEncoding
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG, CommitCertificate, PreparedCertificate
from dawan_node.primitives.encoding import (
    Bytes32,
    Bytes64,
    ProtocolStruct,
    Uint,
    decode_struct,
    decoder_for,
)
from dawan_node.primitives.validators import ValidatorSet

VIEW_CHANGE_TAG: Final = b"dawan:view-change:v1"
NEW_VIEW_TAG: Final = b"dawan:new-view:v1"
NONCE_TAG: Final = b"dawan:evidence-nonce:v1"

PROOF_VERSION: Final = 1
#: What leaves room in one state entry (32 KiB) for who, when and by whom; a transaction (64 KiB) then holds it too.
PROOF_BYTES_MAX: Final = 28 * 1024
#: A COMMIT signs the most: two ids, two hashes, three integers.
_DATA_BYTES_MAX: Final = 160

#: Where evidence is recorded: the only command a validator's key signs a transaction for.
EVIDENCE_COMMAND: Final = ("governance", "record_evidence")

#: ``(public_key, tag, data, signature)``: whether the key signed ``tag LF data``.
Check = Callable[[bytes, bytes, bytes, bytes], bool]


class Offence(IntEnum):
    """What a proof proves; the number in its bytes. ``label`` is the name for people and records."""

    EQUIVOCATION = 1
    TWO_NEW_VIEWS = 2
    LYING_VIEW_CHANGE = 3
    TWO_VIEW_CHANGES = 4
    TWO_RESULTS = 5

    @property
    def label(self) -> str:
        """The name in lower case."""
        return self.name.lower()


class Flaw(StrEnum):
    """Why bytes prove nothing; each is the stable reason of a receipt."""

    MALFORMED = "E_EVIDENCE"
    OTHER_CHAIN = "E_EVIDENCE_CHAIN"
    NO_CONTRADICTION = "E_NO_CONTRADICTION"
    NOT_VALIDATOR = "E_NOT_VALIDATOR"
    NOT_SIGNED = "E_NOT_SIGNED"


class Statement(ProtocolStruct, frozen=True):
    """What a validator signed: ``signature`` is over ``tag LF data``."""

    tag: Annotated[bytes, msgspec.Meta(max_length=32)]
    data: Annotated[bytes, msgspec.Meta(max_length=_DATA_BYTES_MAX)]
    signature: Bytes64


class Proof(ProtocolStruct, frozen=True):
    """Two statements of one key. ``content``: the other fields of a lying VIEW-CHANGE, encoded; else empty."""

    version: Annotated[int, msgspec.Meta(ge=PROOF_VERSION, le=PROOF_VERSION)]
    offence: Annotated[int, msgspec.Meta(ge=1, le=len(Offence))]
    public_key: Bytes32
    first: Statement
    second: Statement
    content: bytes


class _Suspect(ProtocolStruct, frozen=True):
    voter: Uint
    view: Uint
    signature: Bytes64


class _Content(ProtocolStruct, frozen=True):
    """What a VIEW-CHANGE signs the hash of (amendment A2)."""

    suspects: tuple[_Suspect, ...]
    last: Annotated[tuple[tuple[Header, CommitCertificate], ...], msgspec.Meta(max_length=1)]
    prepared: tuple[tuple[Header, PreparedCertificate], ...]
    voter: Uint


class _Prepare(ProtocolStruct, frozen=True):
    chain_id: Bytes32
    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32


class _Commit(ProtocolStruct, frozen=True):
    chain_id: Bytes32
    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32
    result_hash: Bytes32


class _Change(ProtocolStruct, frozen=True):
    """A VIEW-CHANGE or a NEW-VIEW."""

    chain_id: Bytes32
    epoch: Uint
    view: Uint
    content_hash: Bytes32


_Signed = _Prepare | _Commit | _Change

_proof_decoder = decoder_for(Proof)
_content_decoder = decoder_for(_Content)
_decoders: Final[dict[bytes, Any]] = {
    PREPARE_TAG: decoder_for(_Prepare),
    COMMIT_TAG: decoder_for(_Commit),
    VIEW_CHANGE_TAG: decoder_for(_Change),
    NEW_VIEW_TAG: decoder_for(_Change),
}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a well-formed proof says. It holds if ``public_key`` votes in ``epoch`` and ``is_signed``."""

    offence: Offence
    epoch: int
    public_key: bytes
    statements: tuple[Statement, Statement]

    def is_signed(self, check: Check) -> bool:
        """Whether the key signed both statements; ``check`` is asked twice at most."""
        return all(check(self.public_key, each.tag, each.data, each.signature) for each in self.statements)


def prove(offence: Offence, public_key: bytes, first: Statement, second: Statement, content: bytes = b"") -> bytes:
    """The encoded proof. Says nothing about whether it holds, or fits ``PROOF_BYTES_MAX``."""
    return Proof(PROOF_VERSION, offence, public_key, first, second, content).encode()


def examine(proof: bytes, chain_id: bytes) -> Charge | Flaw:
    """The charge that ``proof`` brings on the chain of that id, or its first flaw. Total; checks no signature."""
    try:
        found = decode_struct(_proof_decoder, proof, PROOF_BYTES_MAX)
        first, second = _signed(found.first), _signed(found.second)
        if (first.chain_id, second.chain_id) != (chain_id, chain_id):
            return Flaw.OTHER_CHAIN
        offence = Offence(found.offence)
        if bool(found.content) != (offence is Offence.LYING_VIEW_CHANGE):
            return Flaw.MALFORMED
        tags = (found.first.tag, found.second.tag)
        if first.epoch != second.epoch or not _contradict(offence, tags, first, second, found.content):
            return Flaw.NO_CONTRADICTION
    except InvalidEncoding:
        return Flaw.MALFORMED
    return Charge(offence, first.epoch, found.public_key, (found.first, found.second))


def verify(
    proof: bytes,
    chain_id: bytes,
    validators: ValidatorSet,
    check: Callable[[bytes, bytes, bytes], bool] = verify_ed25519,
) -> Charge | Flaw:
    """As ``examine``, and that the key is in ``validators``, the set of the charge's epoch, and signed both.

    ``check`` is ``(public_key, signed, signature)``, ``signed`` being tag, LF and data.
    """
    charge = examine(proof, chain_id)
    if isinstance(charge, Flaw):
        return charge
    if validators.index_of(charge.public_key) is None:
        return Flaw.NOT_VALIDATOR
    if not charge.is_signed(lambda key, tag, data, signature: check(key, domain_separated(tag, data), signature)):
        return Flaw.NOT_SIGNED
    return charge


def evidence_nonce(proof: bytes) -> bytes:
    """The nonce of the transaction that records ``proof``: from one key, one proof is one transaction."""
    return tagged_hash(NONCE_TAG, proof)[:16]


def _signed(statement: Statement) -> _Signed:
    """What the signed bytes say. Raises InvalidEncoding."""
    decoder = _decoders.get(statement.tag)
    if decoder is None:
        raise InvalidEncoding("a statement of another kind")
    signed: _Signed = decode_struct(decoder, statement.data, _DATA_BYTES_MAX)
    return signed


def _contradict(offence: Offence, tags: tuple[bytes, bytes], first: _Signed, second: _Signed, content: bytes) -> bool:
    """Whether the statements, of one chain and epoch, prove the offence. Raises InvalidEncoding on bad content."""
    match offence:
        case Offence.EQUIVOCATION:
            return (
                tags[0] == tags[1]
                and not isinstance(first, _Change)
                and not isinstance(second, _Change)
                and (first.view, first.height) == (second.view, second.height)
                and first.block_hash != second.block_hash
            )
        case Offence.TWO_RESULTS:
            return (
                isinstance(first, _Commit)
                and isinstance(second, _Commit)
                and first.block_hash == second.block_hash
                and first.result_hash != second.result_hash
            )
        case Offence.TWO_VIEW_CHANGES | Offence.TWO_NEW_VIEWS:
            tag = VIEW_CHANGE_TAG if offence is Offence.TWO_VIEW_CHANGES else NEW_VIEW_TAG
            return (
                tags == (tag, tag)
                and isinstance(first, _Change)
                and isinstance(second, _Change)
                and first.view == second.view
                and first.content_hash != second.content_hash
            )
        case Offence.LYING_VIEW_CHANGE:
            return (
                isinstance(first, _Commit)
                and tags[1] == VIEW_CHANGE_TAG
                and isinstance(second, _Change)
                and first.view < second.view
                and sha256(content) == second.content_hash
                and _leaves_out(content, first.view, first.height)
            )


def _leaves_out(content: bytes, view: int, height: int) -> bool:
    """Whether a VIEW-CHANGE names no head at or above ``height`` and no PC there of ``view`` or later."""
    shown = decode_struct(_content_decoder, content, PROOF_BYTES_MAX)
    if any(max(header.height, decided.height) >= height for header, decided in shown.last):
        return False
    return not any(pc.height == height and pc.view >= view for _, pc in shown.prepared)
