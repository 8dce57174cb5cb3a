"""Ready: everything a replica wants done, in one value.

The replica never acts; it collects wishes, and ``Replica.ready()`` hands them over at once and forgets them. The
order in which the shell must honour them is part of the protocol (see ``replica``): records first, in order, with
one fsync; only then messages, decisions and the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dawan_node.consensus.records import Record
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An encoded message. ``to`` are indexes in ``validators``, None for all of them but the sender.

    ``validators`` is the set of the epoch the message belongs to: one ``Ready`` may hold the last COMMIT of one epoch
    and the first STATUS of the next.
    """

    to: tuple[int, ...] | None
    payload: bytes
    validators: ValidatorSet


@dataclass(frozen=True, slots=True)
class Acquire:
    """Gather the bodies of a block and judge it; answer with ``Replica.acquired``.

    The shell finds the leaf list (``leaf_hashes``, or when that is None its own log, or FETCH_BLOCK from
    ``holders``, checked against ``header.tx_root`` and ``tx_count``), then each envelope by its leaf hash (log,
    pool, FETCH_TX from ``holders``; a body that does not hash to its leaf is dropped and fetched elsewhere), checks
    ``body_bytes`` against the sum of envelope lengths, every signature, and amendment U9 (2) to (5) *on the branch
    that ends in* ``header.parent_hash``. ``Acquire`` of an undecided parent always comes earlier.

    ``holders`` are validator indexes of the epoch it was emitted in, a hint. A body that cannot be found yet is no
    answer: keep trying until the block is discarded or released. ``certified`` blocks are final or prepared by a
    quorum: they are wanted whatever the clock says, and asked for again with better holders.
    """

    block_hash: bytes
    header: Header
    leaf_hashes: tuple[bytes, ...] | None
    holders: tuple[int, ...]
    certified: bool


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute the (acquired) block on the overlay or state of its parent; answer with ``Replica.executed``."""

    block_hash: bytes
    header: Header
    parent_hash: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """A block is final: store it, then answer with ``Replica.applied(height)``.

    Emitted in height order, once per process and block; again after a restart if the store did not have it yet.
    ``links`` lead up to ``certificate`` and are empty when the certificate is the block's own. ``leaf_hashes`` is
    None when the shell gathered the list itself. ``view`` is the view in which it was decided here.
    """

    block_hash: bytes
    header: Header
    result: Result
    certificate: CommitCertificate
    links: tuple[tuple[Header, Result], ...]
    leaf_hashes: tuple[bytes, ...] | None
    view: int
    synced: bool


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """Fetch the blocks up to ``height`` from ``holders`` (validators that claim or proved to have them).

    Repeated while the replica is behind; nothing about it is trusted, catch-up verifies every certificate.
    """

    height: int
    holders: tuple[int, ...]


class AlarmKind(StrEnum):
    """What an operator should know about."""

    HALTED = "halted"
    QUARANTINE = "quarantine"
    RESULTS_DIFFER = "results_differ"
    OWN_KEY_ELSEWHERE = "own_key_elsewhere"
    SIGNING_REFUSED = "signing_refused"
    PROPOSAL_REFUSED = "proposal_refused"
    CERTIFIED_REFUSED = "certified_refused"
    CLOCK_DIFFERS = "clock_differs"
    VIEW_CHANGE = "view_change"
    NEW_VIEW = "new_view"
    EPOCH = "epoch"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something worth saying: an event name, one sentence, and the values behind it."""

    kind: AlarmKind
    text: str
    fields: tuple[tuple[str, int | str], ...] = ()


class EvidenceKind(StrEnum):
    """Two signed statements of one voter that no honest validator makes (consensus.md 1.12, amendment A6)."""

    EQUIVOCATION = "equivocation"  # (a) two hashes in one (type, view, height)
    TWO_NEW_VIEWS = "two_new_views"  # (b)
    LYING_VIEW_CHANGE = "lying_view_change"  # (c) a COMMIT whose PC its later VIEW-CHANGE leaves out
    TWO_VIEW_CHANGES = "two_view_changes"  # (d)
    TWO_RESULTS = "two_results"  # (e) two results for one block
    INVALID_NEW_VIEW = "invalid_new_view"  # signed by the primary, does not follow from its own proof (L12)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Transferable proof against ``voter``: two encoded messages (the second empty for INVALID_NEW_VIEW).

    ``public_key`` is the voter's in the set of ``epoch``. ``proof`` is what goes on chain (``primitives.evidence``),
    empty for what does not: an INVALID_NEW_VIEW, or a lying VIEW-CHANGE larger than a transaction may be.
    """

    kind: EvidenceKind
    epoch: int
    voter: int
    public_key: bytes
    first: bytes
    second: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """What the shell must do now. Empty tuples and None mean nothing.

    ``discard`` and ``release`` are honoured before ``acquire`` and ``execute``, and those of one ``Ready`` before the
    next one's: a block that was dropped may be wanted again.

    ``discard``: these blocks lost their place: drop their overlay, stop gathering and judging, give their
    transactions back to the pool. Their *bodies* stay until ``release`` names them: a block somebody may have a
    quorum for must be servable (L5).
    """

    records: tuple[Record, ...] = ()
    messages: tuple[Outgoing, ...] = ()
    acquire: tuple[Acquire, ...] = ()
    execute: tuple[Execute, ...] = ()
    discard: tuple[bytes, ...] = ()
    release: tuple[bytes, ...] = ()
    decide: tuple[Decided, ...] = ()
    sync: SyncRequest | None = None
    alarms: tuple[Alarm, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return self is not _NOTHING and self != _NOTHING


_NOTHING = Ready()


@dataclass(slots=True)
class Outbox:
    """Where the parts of a replica leave their wishes until the next ``ready()``."""

    validators: ValidatorSet
    records: list[Record] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)
    acquire: list[Acquire] = field(default_factory=list)
    execute: list[Execute] = field(default_factory=list)
    discard: list[bytes] = field(default_factory=list)
    release: list[bytes] = field(default_factory=list)
    decide: list[Decided] = field(default_factory=list)
    sync: SyncRequest | None = None
    alarms: list[Alarm] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything is queued."""
        return bool(
            self.records
            or self.messages
            or self.acquire
            or self.execute
            or self.discard
            or self.release
            or self.decide
            or self.sync
            or self.alarms
            or self.evidence
        )

    def send(self, payload: bytes, to: tuple[int, ...] | None = None) -> None:
        """Queue an encoded message for ``to``, or for all other validators."""
        self.messages.append(Outgoing(to, payload, self.validators))

    def drop(self, block_hash: bytes, is_over: bool) -> None:
        """The block's overlay is void, and with ``is_over`` its bodies are not needed either.

        Wishes about the block that did not leave yet are void too, so that in one ``Ready`` whatever is dropped comes
        before what is wanted.
        """
        self.acquire = [wish for wish in self.acquire if wish.block_hash != block_hash]
        self.execute = [wish for wish in self.execute if wish.block_hash != block_hash]
        (self.release if is_over else self.discard).append(block_hash)

    def alarm(self, kind: AlarmKind, text: str, **fields: int | str) -> None:
        """Queue something worth saying."""
        self.alarms.append(Alarm(kind, text, tuple(fields.items())))

    def take(self) -> Ready:
        """Everything queued so far; the outbox is empty afterwards."""
        if not self:
            return _NOTHING
        ready = Ready(
            tuple(self.records),
            tuple(self.messages),
            tuple(self.acquire),
            tuple(self.execute),
            tuple(self.discard),
            tuple(self.release),
            tuple(self.decide),
            self.sync,
            tuple(self.alarms),
            tuple(self.evidence),
        )
        self.records.clear()
        self.messages.clear()
        self.acquire.clear()
        self.execute.clear()
        self.discard.clear()
        self.release.clear()
        self.decide.clear()
        self.sync = None
        self.alarms.clear()
        self.evidence.clear()
        return ready
