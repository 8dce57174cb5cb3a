"""What the JSON-RPC layer needs of a node, and nothing more.

``NodeApi`` belongs to its consumer, this package; the node implements it. Everything crosses this border as plain
frozen values: bytes are raw bytes, heights and times are ints (``_ms`` = milliseconds since 1970 UTC), names are
strings. Hexadecimal, RFC 3339 and money notation are the business of ``values`` and ``shapes``.

Rules for an implementation:

- A channel that does not exist here raises ``ApiError.no_channel(name)``, as this package does itself for one that the
  caller may not see; an unknown height or hash raises ``ApiError.not_found``. Methods that say ``| None`` return None
  instead of raising.
- ``ApiError`` and ``InvalidTransaction`` are the only exceptions with a meaning; any other is our own fault, is logged
  with a trace id and reaches the caller as -32603 without its text.
- The methods marked *memory* answer from memory at once and are not coroutines. All others may wait for the store or
  for the chain and must not block the event loop.
- All pages come from one consistent height, which they name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from dawan_node.errors import DawanError
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.receipt import Receipt

# A block selector: a height, a 32-byte block hash, or the newest decided block (which is final in PBFT).
At = int | bytes | Literal["latest"]


class ApiError(DawanError):
    """A request the node understood and will not or cannot answer; ``code`` is a number of ``jsonrpc.ERRORS``."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        hint: str = "",
        reason: str = "",
        path: str = "",
        extra: Mapping[str, str | int] | None = None,
    ) -> None:
        """``reason`` and ``hint`` replace those of the table; ``extra`` adds fields to ``error.data``."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.reason = reason
        self.path = path
        self.extra = dict(extra or {})

    @classmethod
    def not_found(cls, kind: str, name: str, hint: str = "") -> ApiError:
        """-32001: there is no such channel, block, transaction, module, collection or member here."""
        return cls(-32001, f"no {kind} {name}", hint=hint)

    @classmethod
    def no_channel(cls, name: str) -> ApiError:
        """-32001 for a channel that is not here or that the caller may not see: nobody can tell which."""
        return cls.not_found("channel", name, "channel_list names the channels you may see")

    @classmethod
    def unavailable(cls, message: str, hint: str = "") -> ApiError:
        """-32002: cannot be answered now, but may be later (starting, catching up, draining)."""
        return cls(-32002, message, hint=hint)

    @classmethod
    def invalid(cls, message: str, path: str = "", hint: str = "") -> ApiError:
        """-32602 when ``path`` names the offending parameter (``params.args.amount``), else -32000."""
        return cls(-32602 if path else -32000, message, hint=hint, path=path)

    @classmethod
    def refused(cls, refusal: Refusal, tx_id: str = "") -> ApiError:
        """A transaction was not admitted; ``tx_id`` (0x…) when its bytes could be read."""
        return cls(
            refusal.code,
            refusal.detail or refusal.reason,
            reason=refusal.reason,
            path=refusal.path,
            extra={"tx_id": tx_id} if tx_id else None,
        )

    @classmethod
    def pruned(cls, height: int, oldest: int) -> ApiError:
        """1302: that height is older than the history this node keeps (design section 6)."""
        return cls(1302, f"height {height} is no longer kept", hint=f"the oldest kept height is {oldest}")

    @classmethod
    def block_pruned(cls, what: str, oldest: int) -> ApiError:
        """1301: ``what`` is not kept here any more; the blocks from ``oldest`` on are."""
        return cls(
            1301,
            f"{what} is no longer kept on this node",
            hint=f"its blocks are complete from height {oldest:,} on; ask a node with full history",
        )


class TxStatus(StrEnum):
    """Where a transaction stands, seen from this node. COMMITTED and FAILED are final: both are on chain."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    COMMITTED = "committed"
    FAILED = "failed"
    EXPIRED = "expired"


class Wait(StrEnum):
    """How long a submission waits: for admission to the pool, or for finality."""

    ACCEPTED = "accepted"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class VersionInfo:
    version: str  # of this software
    protocol: int
    suite: str
    python: str
    leveldb: str
    ed25519: str  # the one verifying library of this process, for example "libsodium 1.0.20"


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How a channel that is behind catches up: where to, how far headers are proven, how fast, and how long yet."""

    target: int
    verified: int
    blocks_per_s: int  # over the last half minute, rounded down
    eta_s: int | None  # None: not known yet


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    channel: str
    height: int
    state: str  # the replica's mode: normal, view_change, syncing, observer, quarantine, halted
    view: int
    primary: str
    last_commit_age_ms: int | None  # None: nothing committed since this process started
    sync: SyncProgress | None = None  # None: not catching up
    healing_to: int | None = None  # lost here, fetched anew from peers: up to this height at least, and no vote before


@dataclass(frozen=True, slots=True)
class CertificateWarning:
    org: str
    level: str  # "30 days", "14 days", "3 days" or "expired"
    not_after_ms: int
    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """Room where the node writes, as of the last look, a second ago at most."""

    free_bytes: int
    floor_bytes: int  # below this it stops
    reserve_bytes: int  # kept back beside it for the recovery of a full disk


@dataclass(frozen=True, slots=True)
class StatusInfo:
    node: str
    org: str
    network: str
    uptime_s: int
    channels: tuple[ChannelStatus, ...]
    peers: int | None  # connected now; None: not for this caller
    certificates: tuple[CertificateWarning, ...] = ()  # those near their end, the worst first; empty for outsiders
    disk: DiskInfo | None = None  # None: not for this caller


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    channel: str
    chain_id: bytes
    height: int
    modules: tuple[ModuleInfo, ...]
    orgs: tuple[str, ...]
    validators: tuple[str, ...]  # names in index order
    n: int
    f: int
    quorum: int


@dataclass(frozen=True, slots=True)
class HeadInfo:
    height: int
    block_hash: bytes
    state_root: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A decided block. ``header`` and ``view`` are None at height 0, which is the genesis."""

    height: int
    block_hash: bytes
    header: Header | None
    result: Result
    view: int | None  # of the stored commit certificate; differs from node to node
    signers: tuple[str, ...]  # validator names in index order
    tx_ids: tuple[bytes, ...]
    envelopes: tuple[bytes, ...]  # filled only when asked with full=True, like the next
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class ValidatorInfo:
    index: int
    name: str
    org: str
    suite: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class ValidatorsInfo:
    epoch: int
    valset_hash: bytes
    validators: tuple[ValidatorInfo, ...]


@dataclass(frozen=True, slots=True)
class PrepareContext:
    """What ``tx_prepare`` must know: the channel, the node's idea of block time, the longest allowed lifetime."""

    chain_id: bytes
    now_ms: int  # max(this node's clock, timestamp of the head)
    tx_lifetime_ms_max: int


@dataclass(frozen=True, slots=True)
class ReceiptInfo:
    """A receipt with its place. ``module`` is the module the transaction called (its schema types the event data)."""

    receipt: Receipt
    block_hash: bytes
    module: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one transaction was not admitted: a code and reason of formats section C."""

    code: int
    reason: str
    detail: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """The verdict on one submitted envelope.

    - Not admitted: ``refusal`` says why; ``tx_id`` is empty if the envelope could not be decoded.
    - Waited for commit in vain: ``refusal`` with code 1100; the transaction may still commit.
    - Otherwise ``status`` tells; ``receipt`` is there once it is COMMITTED or FAILED. The same bytes again give the
      same answer as the first time, never an error.
    """

    tx_id: bytes
    status: TxStatus
    receipt: ReceiptInfo | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class TxInfo:
    """A transaction in a block or in the pool of this node."""

    envelope: bytes
    status: TxStatus
    receipt: ReceiptInfo | None  # None while pending


@dataclass(frozen=True, slots=True)
class StateInfo:
    """One state entry at one height. ``fields`` is the entity by field name, decoded by its module's entity type;
    None when no module describes the collection, then the caller sees ``value`` as raw bytes."""

    height: int
    value: bytes | None  # enc([schema_version, field, ...]); None = absent
    fields: Mapping[str, Any] | None
    proof: bytes | None  # encoded StateProof, when asked for


@dataclass(frozen=True, slots=True)
class QueryPage:
    """``items`` are plain values or entity structs; ``cursor`` is None on the last page, else opaque bytes."""

    items: Sequence[Any]
    cursor: bytes | None
    height: int


@dataclass(frozen=True, slots=True, order=True)
class EventPosition:
    """A place in a channel's event stream: the n-th event of transaction ``index`` of block ``height``."""

    height: int
    index: int
    n: int


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Empty tuples let everything through; otherwise an event must match each filled one."""

    modules: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventInfo:
    position: EventPosition
    tx_id: bytes
    module: str
    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventPage:
    """``scanned_to`` is the last position looked at (it moves on even if no event matched), or the position asked
    for when there was nothing new. A following call continues strictly after it: no gap, no repetition."""

    events: tuple[EventInfo, ...]
    scanned_to: EventPosition


@dataclass(frozen=True, slots=True)
class OrgInfo:
    id: str
    names: Mapping[str, str]  # language tag (en, zh-Hans, zh-Hant, pt) -> name
    tier: str  # "founding" or "member"
    status: str


@dataclass(frozen=True, slots=True)
class IdentityInfo:
    name: str
    org: str
    roles: tuple[str, ...]
    suite: str
    public_key: bytes
    status: str
    since_height: int
    certificate_not_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MemberList:
    orgs: tuple[OrgInfo, ...]
    identities: tuple[IdentityInfo, ...]


@dataclass(frozen=True, slots=True)
class InFlight:
    height: int
    phase: str  # what it is in: proposal, bodies, prepare, execution, commit
    have: tuple[str, ...]  # validators whose vote of this phase was seen
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PbftInfo:
    channel: str
    state: str
    epoch: int
    view: int
    primary: str
    height: int  # decided
    in_flight: tuple[InFlight, ...]
    suspects: tuple[tuple[str, int], ...]  # (validator name, view it wants)
    waiting_for: str  # one sentence, empty when nothing is awaited


@dataclass(frozen=True, slots=True)
class EvidenceInfo:
    """What a validator signed and no honest one signs. The messages are encoded; None when too long for one reply."""

    kind: str
    epoch: int
    validator: str  # its name, or its key as 0x.. when nobody of that key is known here any more
    first: bytes | None
    second: bytes | None
    on_chain: int | None  # the height it was recorded at


@dataclass(frozen=True, slots=True)
class HaltInfo:
    """Why a channel stopped for good, with the two statements that contradict each other."""

    reason: str
    first: bytes | None
    second: bytes | None


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    evidence: tuple[EvidenceInfo, ...]
    halted: HaltInfo | None


@dataclass(frozen=True, slots=True)
class PeerInfo:
    name: str
    org: str
    address: str
    direction: str  # "in" or "out"
    channels: tuple[str, ...]
    rtt_ms: int | None
    behind: Mapping[str, int]  # channel -> blocks this peer is behind us (0: level or ahead)
    software: str = ""
    clock_skew_ms: int | None = None  # its wall clock minus ours when the link came up


@dataclass(frozen=True, slots=True)
class PoolInfo:
    count: int
    bytes: int
    count_max: int
    bytes_max: int
    by_org: tuple[tuple[str, int, int], ...]  # (org, count, bytes)


class NodeApi(Protocol):
    """The node as JSON-RPC sees it. Method names are those of the RPC namespace without the prefix."""

    # -- memory ------------------------------------------------------------------------------------------------
    def version(self) -> VersionInfo: ...

    def status(self) -> StatusInfo: ...

    def channels(self) -> tuple[str, ...]: ...

    def is_member(self, channel: str, org: str, authorities: frozenset[bytes]) -> bool:
        """Whether the organisation is active on the channel now, and what it showed is a certificate below authorities
        (fingerprints) that this channel registered for it; False for a channel that does not exist here.

        Asked before every call of another organisation: answer at once, and for every name alike."""
        ...

    def channel(self, channel: str) -> ChannelInfo: ...

    def prepare_context(self, channel: str) -> PrepareContext: ...

    def modules(self, channel: str) -> tuple[ModuleInfo, ...]: ...

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        """The registry's description of the module: commands, queries, entities and events as JSON Schema.

        Asked for on almost every call that shows module data: answer from a cache. Unknown module: -32001."""
        ...

    def check_command(self, channel: str, module: str, command: str, args: Mapping[str, Any]) -> None:
        """What admission would say of a command without looking at state (``Registry.check_command``).

        Raises InvalidTransaction 1008 or 1009; its path is relative to the arguments (``total.currency``)."""
        ...

    def pbft(self, channel: str) -> PbftInfo: ...

    def evidence(self, channel: str) -> EvidenceReport: ...

    def peers(self) -> tuple[PeerInfo, ...]: ...

    def pool(self, channel: str) -> PoolInfo: ...

    # -- may wait ----------------------------------------------------------------------------------------------
    async def head(self, channel: str) -> HeadInfo: ...

    async def block(self, channel: str, at: At, full: bool) -> BlockInfo: ...

    async def finality_proof(self, channel: str, at: At) -> bytes:
        """The encoded FinalityProof of that block."""
        ...

    async def validators(self, channel: str, at: At) -> ValidatorsInfo:
        """The set that votes on the block at that height; for "latest" the set that votes on the next block."""
        ...

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        """Admit envelopes (1 to 500), one outcome each in the same order. Returns when every one is refused,
        accepted or, with COMMITTED, final; at the latest after ``timeout_ms``. ``bearer``: ``Caller.bearer``."""
        ...

    async def tx(self, channel: str, tx_id: bytes) -> TxInfo | None: ...

    async def receipt(self, channel: str, tx_id: bytes) -> ReceiptInfo | None: ...

    async def tx_status(self, channel: str, tx_id: bytes) -> TxStatus: ...

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> StateInfo: ...

    async def query(
        self,
        channel: str,
        module: str,
        query: str,
        params: Mapping[str, Any],
        limit: int,
        cursor: bytes | None,
    ) -> QueryPage:
        """``params`` are already ledger values (money as [currency, minor], bytes as bytes). An unknown query is
        -32001; params that do not fit the query's type are ``ApiError.invalid(..., path="params.params.x")``."""
        ...

    async def events(self, channel: str, after: EventPosition, limit: int, event_filter: EventFilter) -> EventPage: ...

    async def members(self, channel: str) -> MemberList: ...

    async def member(self, channel: str, name: str) -> OrgInfo | IdentityInfo | None: ...
