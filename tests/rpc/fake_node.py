"""A node without a chain: answers ``NodeApi`` from memory, decides every admitted transaction at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidTransaction
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.codes import Code
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.api import (
    ApiError,
    At,
    BlockInfo,
    CertificateWarning,
    ChannelInfo,
    ChannelStatus,
    DiskInfo,
    EventFilter,
    EventInfo,
    EventPage,
    EventPosition,
    EvidenceInfo,
    EvidenceReport,
    HaltInfo,
    HeadInfo,
    IdentityInfo,
    InFlight,
    MemberList,
    ModuleInfo,
    OrgInfo,
    PbftInfo,
    PeerInfo,
    PoolInfo,
    PrepareContext,
    QueryPage,
    ReceiptInfo,
    Refusal,
    StateInfo,
    StatusInfo,
    SubmitOutcome,
    TxInfo,
    TxStatus,
    ValidatorInfo,
    ValidatorsInfo,
    VersionInfo,
    Wait,
)

CHAIN_ID = bytes(range(32))
NOW_MS = 1_764_000_000_123
KEY = PrivateKey.from_seed(b"k" * 32)
NAMES = ("gz1", "hk1", "hq1", "mo1")
ORGS = ("gz", "hk", "hq", "mo")

# As the registry describes a module: references into $defs, bytes by contentEncoding, formats for money and instants.
TOY: dict[str, Any] = {
    "module": "toy",
    "version": 1,
    "commands": {"pay": {"summary": "Pay somebody.", "roles": [], "args": {"$ref": "#/$defs/Pay"}}},
    "queries": {
        "paid": {
            "summary": "What was paid.",
            "params": {
                "type": "object",
                "properties": {"to": {"type": "string"}, "least": {"$ref": "#/$defs/Money"}},
                "required": [],
                "additionalProperties": False,
            },
            "items": {"$ref": "#/$defs/Payment"},
        }
    },
    "entities": {"payment": {"schema_version": 1, "indexes": [], "value": {"$ref": "#/$defs/Payment"}}},
    "events": {
        "Paid": {
            "data": {
                "type": "object",
                "properties": {"amount": {"$ref": "#/$defs/Money"}, "at_ms": {"$ref": "#/$defs/Instant"}},
            }
        }
    },
    "$defs": {
        "Money": {
            "title": "Money",
            "format": "money",
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "integer"}],
        },
        "Instant": {"type": "integer", "minimum": 0, "format": "instant-ms"},
        "Pay": {
            "type": "object",
            "properties": {
                "to": {"type": "string", "minLength": 1, "maxLength": 20},
                "amount": {"$ref": "#/$defs/Money"},
                "due_ms": {"$ref": "#/$defs/Instant"},
                "ttl_ms": {"type": "integer", "minimum": 1},
                "document": {"type": "string", "contentEncoding": "base64", "minLength": 44, "maxLength": 44},
                "kind": {"enum": ["cash", "voucher"]},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/Money"}, "maxItems": 3},
            },
            "required": ["to", "amount"],
            "additionalProperties": False,
        },
        "Payment": {
            "type": "object",
            "properties": {
                "to": {"type": "string"},
                "amount": {"$ref": "#/$defs/Money"},
                "due_ms": {"$ref": "#/$defs/Instant"},
                "ttl_ms": {"type": "integer"},
                "document": {"type": "string", "contentEncoding": "base64"},
                "serial": {"type": "integer"},
            },
        },
    },
}

PAYMENT = {
    "to": "hk-bank",
    "amount": ["CNY", 123_450],
    "due_ms": NOW_MS,
    "ttl_ms": 5_000,
    "document": b"\x01" * 32,
    "serial": 2**60,
}


class FakeNode:
    """One channel ``trade`` with module ``toy``; ``delay_s`` slows submissions and heads.

    With ``channels`` there are several, all alike but for their members. ``calls`` records what was asked, in order.
    """

    def __init__(self, channels: Mapping[str, Collection[str]] = MappingProxyType({"trade": ORGS})) -> None:
        self.members_by_channel = {name: frozenset(orgs) for name, orgs in channels.items()}
        self.calls: list[str] = []
        self.delay_s = 0.0
        self.fails_with: BaseException | None = None
        self.commits = True
        self.pages = 0
        self.submitted: list[bytes] = []
        self.timeouts_ms: list[int] = []
        self.bearers: list[str] = []
        self.queries = 0
        self.queried: Mapping[str, Any] = {}
        self.receipts: dict[bytes, ReceiptInfo] = {}
        self.envelopes: dict[bytes, bytes] = {}
        self.unhealthy = False
        self.certificates: tuple[CertificateWarning, ...] = ()
        self.disk = DiskInfo(50 << 30, 64 << 20, 64 << 20)
        self.healing_to: int | None = None

    # -- memory

    def version(self) -> VersionInfo:
        self.calls.append("version")
        return VersionInfo("0.1.0", 1, "ed25519", "3.11.7", "1.22", "libsodium 1.0.20")

    def status(self) -> StatusInfo:
        if self.fails_with is not None:
            raise self.fails_with
        state, age = ("view_change", 40_000) if self.unhealthy else ("normal", 120)
        self.calls.append("status")
        channels = tuple(
            ChannelStatus(name, self.height, state, 0, "gz1", age, None, self.healing_to)
            for name in self.members_by_channel
        )
        return StatusInfo("gz1", "gz", "devnet", 12, channels, 3, self.certificates, self.disk)

    @property
    def height(self) -> int:
        return 1 + len(self.receipts)

    def channels(self) -> tuple[str, ...]:
        self.calls.append("channels")
        return tuple(self.members_by_channel)

    def is_member(self, channel: str, org: str, authorities: frozenset[bytes]) -> bool:
        self.calls.append("is_member")
        return org in self.members_by_channel.get(channel, frozenset())

    def channel(self, channel: str) -> ChannelInfo:
        self._require(channel)
        return ChannelInfo(channel, CHAIN_ID, self.height, (ModuleInfo("toy", 1),), ORGS, NAMES, 4, 1, 3)

    def prepare_context(self, channel: str) -> PrepareContext:
        self._require(channel)
        return PrepareContext(CHAIN_ID, NOW_MS, 3_600_000)

    def modules(self, channel: str) -> tuple[ModuleInfo, ...]:
        self._require(channel)
        return (ModuleInfo("toy", 1),)

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        self._require(channel)
        if module != "toy":
            raise ApiError.not_found("module", module)
        return TOY

    def check_command(self, channel: str, module: str, command: str, args: Mapping[str, Any]) -> None:
        self._require(channel)
        if args.get("to") == "nobody":
            raise InvalidTransaction(Code.E_SCHEMA, "E_SCHEMA", "nobody cannot be paid", "to")

    def pbft(self, channel: str) -> PbftInfo:
        self._require(channel)
        if not self.unhealthy:
            return PbftInfo("trade", "normal", 0, 0, "gz1", self.height, (), (), "")
        slot = InFlight(self.height + 1, "prepare", ("gz1", "hk1"), ("hq1", "mo1"))
        return PbftInfo(
            "trade", "view_change", 0, 3, "hq1", self.height, (slot,), (("gz1", 3), ("hk1", 3)), "2 of 3 votes"
        )

    def evidence(self, channel: str) -> EvidenceReport:
        self._require(channel)
        if not self.unhealthy:
            return EvidenceReport((), None)
        double = EvidenceInfo("equivocation", 0, "hk1", b"\x01", b"\x02", 7)
        huge = EvidenceInfo("invalid_new_view", 0, "mo1", None, b"", None)
        return EvidenceReport((double, huge), HaltInfo("two blocks are decided at height 9", b"\x03", b"\x04"))

    def peers(self) -> tuple[PeerInfo, ...]:
        self.calls.append("peers")
        up = () if self.unhealthy else ("hq1", "mo1")
        return tuple(
            PeerInfo(name, name[:2], "127.0.0.1:7100", "out", ("trade",), 3, {"trade": 0}) for name in ("hk1", *up)
        )

    def pool(self, channel: str) -> PoolInfo:
        self._require(channel)
        return PoolInfo(2, 700, 10_000, 2**26, (("gz", 2, 700),))

    # -- may wait

    async def head(self, channel: str) -> HeadInfo:
        self._require(channel)
        await asyncio.sleep(self.delay_s)
        return HeadInfo(self.height, b"\xaa" * 32, b"\xbb" * 32, NOW_MS)

    async def block(self, channel: str, at: At, full: bool) -> BlockInfo:
        self._require(channel)
        if at not in (1, "latest", b"\xaa" * 32):
            raise ApiError.not_found("block", str(at))
        ids = tuple(self.envelopes)
        header, result = header_and_result()
        return BlockInfo(
            1,
            header.hash,
            header,
            result,
            0,
            ("gz1", "hk1", "hq1"),
            ids,
            tuple(self.envelopes.values()) if full else (),
            tuple(self.receipts[tx_id].receipt for tx_id in ids) if full else (),
        )

    async def finality_proof(self, channel: str, at: At) -> bytes:
        self._require(channel)
        header, result = header_and_result()
        certificate = CommitCertificate(0, 0, 1, header.hash, result.hash, b"\x07", [b"\x01" * 64] * 3)
        return FinalityProof.build(header.encode(), result.encode(), [], certificate.encode()).encode()

    async def validators(self, channel: str, at: At) -> ValidatorsInfo:
        self._require(channel)
        members = tuple(
            ValidatorInfo(index, name, name[:2], "ed25519", bytes([index]) * 32) for index, name in enumerate(NAMES)
        )
        return ValidatorsInfo(0, b"\xcc" * 32, members)

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        self._require(channel)
        self.submitted.extend(envelopes)
        self.timeouts_ms.append(timeout_ms)
        self.bearers.append(bearer)
        await asyncio.sleep(min(self.delay_s, timeout_ms / 1000))
        return [self._admit(envelope, wait) for envelope in envelopes]

    def _admit(self, envelope: bytes, wait: Wait) -> SubmitOutcome:
        try:
            tx = Transaction.decode(envelope)
        except InvalidTransaction as error:
            return SubmitOutcome(b"", TxStatus.UNKNOWN, None, Refusal(error.code, error.reason, error.detail))
        if not tx.verify_signature():
            refusal = Refusal(Code.E_SIGNATURE, "E_SIGNATURE", "the signature does not verify")
            return SubmitOutcome(tx.tx_id, TxStatus.UNKNOWN, None, refusal)
        if wait is Wait.COMMITTED and not self.commits:
            refusal = Refusal(Code.E_WAIT_TIMEOUT, "E_WAIT_TIMEOUT", "not final in time")
            return SubmitOutcome(tx.tx_id, TxStatus.PENDING, None, refusal)
        failed = tx.body.args.get("to") == "the-loser"
        if tx.tx_id not in self.receipts:
            events: list[tuple[str, dict[str, Any]]] = [] if failed else [("Paid", {"amount": ["CNY", 5], "at_ms": 0})]
            receipt = Receipt(
                tx.tx_id, 1, len(self.receipts), 3 if failed else 0, "E_DUP_FINANCE" if failed else "", events
            )
            self.receipts[tx.tx_id] = ReceiptInfo(receipt, b"\xaa" * 32, tx.body.module)
            self.envelopes[tx.tx_id] = envelope
        info = self.receipts[tx.tx_id]
        if wait is Wait.ACCEPTED:
            return SubmitOutcome(tx.tx_id, TxStatus.PENDING)
        return SubmitOutcome(tx.tx_id, TxStatus.FAILED if info.receipt.code else TxStatus.COMMITTED, info)

    async def tx(self, channel: str, tx_id: bytes) -> TxInfo | None:
        self._require(channel)
        envelope = self.envelopes.get(tx_id)
        return None if envelope is None else TxInfo(envelope, TxStatus.COMMITTED, self.receipts[tx_id])

    async def receipt(self, channel: str, tx_id: bytes) -> ReceiptInfo | None:
        self._require(channel)
        return self.receipts.get(tx_id)

    async def tx_status(self, channel: str, tx_id: bytes) -> TxStatus:
        self._require(channel)
        info = self.receipts.get(tx_id)
        if info is None:
            return TxStatus.UNKNOWN
        return TxStatus.FAILED if info.receipt.code else TxStatus.COMMITTED

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> StateInfo:
        self._require(channel)
        encoded = b"\xc4\x02hi" if proof else None
        if (module, collection, key) == ("toy", "payment", b"001"):
            return StateInfo(7, b"\x91\x01", PAYMENT, encoded)
        if (module, collection) == ("governance", "replay"):
            return StateInfo(7, b"\x91\x01", None, encoded)
        return StateInfo(7, None, None, encoded)

    async def query(
        self, channel: str, module: str, query: str, params: Mapping[str, Any], limit: int, cursor: bytes | None
    ) -> QueryPage:
        self._require(channel)
        if query != "paid":
            raise ApiError.not_found("query", query)
        self.queried = dict(params)
        self.queries += 1
        count = self.pages or 2
        return QueryPage([PAYMENT] * min(limit, count), None if cursor else b"next", 7)

    async def events(self, channel: str, after: EventPosition, limit: int, event_filter: EventFilter) -> EventPage:
        self._require(channel)
        every = [
            EventInfo(EventPosition(height, 0, n), b"\x01" * 32, "toy", "Paid", {"amount": ["JPY", 7], "at_ms": 0})
            for height in (1, 2, 3)
            for n in (0, 1)
        ]
        later = [event for event in every if event.position > after][:limit]
        scanned_to = later[-1].position if later else after
        if event_filter.names and "Paid" not in event_filter.names:
            later = []
        return EventPage(tuple(later), scanned_to)

    async def members(self, channel: str) -> MemberList:
        self._require(channel)
        org = OrgInfo("gz", {"en": "Guangzhou", "zh-Hans": "广州"}, "founding", "active")
        alice = IdentityInfo("alice", "gz", ("supplier",), "ed25519", KEY.public_key, "active", 0)
        node = IdentityInfo("gz1", "gz", (), "ed25519", b"\x02" * 32, "active", 0, NOW_MS)
        return MemberList((org,), (alice, node))

    async def member(self, channel: str, name: str) -> OrgInfo | IdentityInfo | None:
        members = await self.members(channel)
        by_name: dict[str, OrgInfo | IdentityInfo] = {org.id: org for org in members.orgs}
        by_name.update({identity.name: identity for identity in members.identities})
        return by_name.get(name)

    def _require(self, channel: str) -> None:
        """Every method that looks at a channel comes through here, and leaves a trace."""
        self.calls.append(sys._getframe(1).f_code.co_name)
        if channel not in self.members_by_channel:
            raise ApiError.no_channel(channel)


def header_and_result() -> tuple[Header, Result]:
    """Block 1 of the fake channel."""
    header = Header(1, CHAIN_ID, 0, 1, CHAIN_ID, b"\x01" * 32, 1, 300, NOW_MS, 0, b"\xcc" * 32, barrier=False)
    return header, Result(1, header.hash, b"\x02" * 32, b"\xbb" * 32, b"\x03" * 32, b"\xcc" * 32)
