"""View changes as functions: from bytes to a plan, the same on every replica (consensus.md 1.8).

A NEW-VIEW proves by q VIEW-CHANGEs what a new primary may not undo. From them everybody computes the same ``Plan``:
the *base* (the highest decided head among them) and *O*, the contiguous chain of blocks above it that may already be
decided somewhere and so must be proposed again.

Why stopping O at a gap is safe: if a block at h is decided in view v, then q replicas sent COMMIT(v,h), so at least
q - f honest ones each, for *every* g <= h, had decided g or sent COMMIT(v,g) and hold its PC (in-order rule, bound to
the view: U1). Any q VIEW-CHANGEs contain one of them: heights up to its head are at most the base; above, its PC is
there with a view of at least v, and by induction no other block was prepared at g in a view above v; parents match
because acceptance required it. So the loop reaches the block. A gap at g proves that nothing at or above g is
decided.

Validity is a pure function of the bytes, the validator set and the base block of the epoch (A5), never of what this
replica happens to know.
"""

from __future__ import annotations

from dataclasses import dataclass

from dawan_node.consensus.messages import (
    NewView,
    SuspectEntry,
    ViewChange,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from dawan_node.consensus.signer import NEW_VIEW_TAG, SUSPECT_TAG, VIEW_CHANGE_TAG
from dawan_node.consensus.verification import Verifier
from dawan_node.errors import InvalidCertificate, InvalidMessage
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import (
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    prepare_vote_bytes,
)
from dawan_node.primitives.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class Epoch:
    """What view-change messages of one epoch are judged by. ``base`` is the block that ended the epoch before.

    ``window`` is the widest W there may be, never that of a channel: W changes inside an epoch, and whoever does not
    have that block yet would compute another O and hold an honest primary to it. Nothing is lost by that: with at most
    f faults a PC stands within W of some head among any q VIEW-CHANGEs.
    """

    chain_id: bytes
    number: int
    validators: ValidatorSet
    window: int
    base_height: int
    base_hash: bytes
    verifier: Verifier

    def primary(self, view: int) -> int:
        """The index of primary(view)."""
        return self.validators.primary(self.chain_id, self.number, view)


@dataclass(frozen=True, slots=True)
class Base:
    """The floor of a view: nothing at or below it is proposed or voted for again (U2).

    ``header`` and ``certificate`` are None when it is the epoch's base block.
    """

    height: int
    block_hash: bytes
    header: Header | None
    certificate: CommitCertificate | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A block of O, and the PC that brought it there."""

    header: Header
    block_hash: bytes
    certificate: PreparedCertificate


@dataclass(frozen=True, slots=True)
class Plan:
    """What a view starts from."""

    base: Base
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two valid certificates that cannot both exist with at most f faults: the channel halts."""

    reason: str
    first: bytes
    second: bytes


def plan_of(epoch: Epoch, view_changes: list[ViewChange]) -> Plan | Contradiction:
    """Base and O of valid VIEW-CHANGEs of q distinct voters."""
    base = _base_of(epoch, view_changes)
    if isinstance(base, Contradiction):
        return base
    entries: list[Entry] = []
    tip_hash = base.block_hash
    for height in range(base.height + 1, base.height + epoch.window + 1):
        best: Entry | None = None
        for message in view_changes:
            for header, certificate in message.prepared:
                if header.height != height:
                    continue
                if best is None or certificate.view > best.certificate.view:
                    best = Entry(header, certificate.block_hash, certificate)
                elif certificate.view == best.certificate.view and certificate.block_hash != best.block_hash:
                    return Contradiction(
                        f"two blocks are prepared at height {height} in view {certificate.view}",
                        best.certificate.encode(),
                        certificate.encode(),
                    )
        if best is None or best.header.parent_hash != tip_hash:
            break  # a gap, or a branch that a later view left: nothing from here on can be decided
        entries.append(best)
        tip_hash = best.block_hash
        if best.header.barrier:
            break  # nothing may follow an undecided change of configuration
    return Plan(base, tuple(entries))


def _base_of(epoch: Epoch, view_changes: list[ViewChange]) -> Base | Contradiction:
    base = Base(epoch.base_height, epoch.base_hash, None, None)
    for message in view_changes:
        for header, certificate in message.last:
            known = base.certificate
            if header.height > base.height:
                base = Base(header.height, certificate.block_hash, header, certificate)
            elif (
                header.height == base.height
                and known is not None
                and (certificate.block_hash, certificate.result_hash) != (known.block_hash, known.result_hash)
            ):
                return Contradiction(
                    f"two blocks or results are decided at height {header.height}",
                    known.encode(),
                    certificate.encode(),
                )
    return base


def check_suspects(epoch: Epoch, new_view: int, suspects: tuple[SuspectEntry, ...]) -> None:
    """Require a SuspectCert: signed wishes of q distinct voters for ``new_view`` or later. Raises InvalidMessage."""
    if len(suspects) < epoch.validators.q:
        raise InvalidMessage(f"{len(suspects)} suspects are no quorum of {epoch.validators.q}")
    previous = -1
    for entry in suspects:
        if not previous < entry.voter < epoch.validators.n:
            raise InvalidMessage("the suspects are not distinct validators in ascending order")
        previous = entry.voter
        if entry.view < new_view:
            raise InvalidMessage(f"validator {entry.voter} wished only for view {entry.view}")
        data = suspect_bytes(epoch.chain_id, epoch.number, entry.view)
        key = epoch.validators.public_keys[entry.voter]
        if not epoch.verifier.signature(key, SUSPECT_TAG, data, entry.signature):
            raise InvalidMessage(f"the wish of validator {entry.voter} does not verify")


def check_view_change(epoch: Epoch, message: ViewChange) -> None:
    """Require a valid VIEW-CHANGE. Raises InvalidMessage. One bad PC voids this message, never another's."""
    if message.epoch != epoch.number:
        raise InvalidMessage(f"a VIEW-CHANGE of epoch {message.epoch} in epoch {epoch.number}")
    if message.new_view < 1 or message.voter >= epoch.validators.n:
        raise InvalidMessage("a VIEW-CHANGE to view 0 or of no validator")
    key = epoch.validators.public_keys[message.voter]
    data = view_change_bytes(epoch.chain_id, message)
    if not epoch.verifier.signature(key, VIEW_CHANGE_TAG, data, message.signature):
        raise InvalidMessage(f"the VIEW-CHANGE of validator {message.voter} does not verify")
    check_suspects(epoch, message.new_view, message.suspects)
    height = epoch.base_height
    try:
        for header, decided in message.last:
            height = _check_last(epoch, header, decided)
        previous = height
        for header, prepared in message.prepared:
            if not previous < header.height <= height + epoch.window:
                raise InvalidMessage("the prepared heights are not ascending within the window")
            previous = header.height
            _check_prepared(epoch, message.new_view, header, prepared)
    except InvalidCertificate as error:
        raise InvalidMessage(f"a certificate in the VIEW-CHANGE of {message.voter}: {error}") from None


def _check_last(epoch: Epoch, header: Header, certificate: CommitCertificate) -> int:
    if header.epoch != epoch.number or certificate.epoch != epoch.number or header.height <= epoch.base_height:
        raise InvalidMessage("the decided head lies outside the epoch")
    if certificate.height != header.height or certificate.block_hash != header.hash:
        raise InvalidMessage("the certificate is not that of the decided head")
    epoch.verifier.commit_certificate(certificate, epoch.validators)
    return header.height


def _check_prepared(epoch: Epoch, new_view: int, header: Header, certificate: PreparedCertificate) -> None:
    if header.epoch != epoch.number or certificate.epoch != epoch.number:
        raise InvalidMessage("a prepared block of another epoch")
    if certificate.height != header.height or certificate.block_hash != header.hash:
        raise InvalidMessage("a PC is not that of its header")
    if certificate.view >= new_view:
        raise InvalidMessage(f"a PC of view {certificate.view} in a change to view {new_view}")
    epoch.verifier.prepared_certificate(certificate, epoch.validators)


def is_signed_by_primary(epoch: Epoch, message: NewView) -> bool:
    """Whether primary(new_view) signed the NEW-VIEW; if so, what it holds is held against it (L12)."""
    key = epoch.validators.public_keys[epoch.primary(message.new_view)]
    data = new_view_bytes(epoch.chain_id, message)
    return epoch.verifier.signature(key, NEW_VIEW_TAG, data, message.signature)


def check_new_view(epoch: Epoch, message: NewView) -> Plan | Contradiction:
    """The plan of a NEW-VIEW whose own signature was checked. Raises InvalidMessage when it does not follow."""
    if len(message.view_changes) != epoch.validators.q:
        raise InvalidMessage(f"a NEW-VIEW of {len(message.view_changes)} VIEW-CHANGEs, not {epoch.validators.q}")
    view_changes: list[ViewChange] = []
    previous = -1
    for data in message.view_changes:
        view_change = ViewChange.decode(data)
        if view_change.new_view != message.new_view or view_change.voter <= previous:
            raise InvalidMessage("the VIEW-CHANGEs are not of distinct voters for this view in ascending order")
        previous = view_change.voter
        check_view_change(epoch, view_change)
        view_changes.append(view_change)
    primary = epoch.primary(message.new_view)
    if all(view_change.voter != primary for view_change in view_changes):
        raise InvalidMessage("the primary's own VIEW-CHANGE is missing")
    plan = plan_of(epoch, view_changes)
    if isinstance(plan, Contradiction):
        return plan
    if len(message.prepares) != len(plan.entries):
        raise InvalidMessage(f"{len(message.prepares)} signatures for an O of {len(plan.entries)} blocks")
    key = epoch.validators.public_keys[primary]
    for entry, signature in zip(plan.entries, message.prepares, strict=True):
        data = prepare_vote_bytes(epoch.chain_id, epoch.number, message.new_view, entry.header.height, entry.block_hash)
        if not epoch.verifier.signature(key, PREPARE_TAG, data, signature):
            raise InvalidMessage(f"the primary did not sign the entry of O at height {entry.header.height}")
    return plan


def plan_of_own_record(epoch: Epoch, message: NewView) -> Plan:
    """The plan of a NEW-VIEW read back from the log, which was checked before it was written. Raises InvalidMessage on
    one that this program did not write: a contradicting NEW-VIEW halts the channel instead of being recorded."""
    plan = plan_of(epoch, [ViewChange.decode(data) for data in message.view_changes])
    if isinstance(plan, Contradiction) or len(plan.entries) != len(message.prepares):
        raise InvalidMessage("the log holds a NEW-VIEW that opens no view")
    return plan
