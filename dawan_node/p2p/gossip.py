"""How transactions and blocks spread, and how what is missing is asked for.

Pure. Two families of messages, each the payload of one topic:

GOSSIP  TXS          envelopes, pushed
        IHAVE        leaf hashes the sender holds
        IWANT        leaf hashes the sender would like
        BLOCK        a decided block's header and certificate, announced
FETCH   FETCH_TX     envelopes by leaf hash        -> TXS_REPLY
        FETCH_BLOCK  the leaf list of a block      -> BLOCK_REPLY

A transaction goes by its *leaf hash*, the hash of its envelope bytes (design section 4): content that does not hash
to its name is dropped and asked for elsewhere.

Who gets what (design section 8): a validator pushes a transaction that came from its own client, or from an observer,
to all other validators, once. What came from a validator was pushed to all of them already and is not pushed again.
Observers are only told the hash and ask if they lack it. Repair after loss is the mempool's business (amendment L7).

Answers are cheaper to ask for than to give, so every list has a limit and each peer's requests go through a
``TokenBucket``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Final

import msgspec

from dawan_node.errors import InvalidEncoding, InvalidMessage
from dawan_node.p2p.framing import KIB, MIB, Topic, payload_bytes_max
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.certificate import CERTIFICATE_BYTES_MAX
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct
from dawan_node.primitives.transaction import TX_BYTES_MAX

#: A batch leaves when it holds this much or is this old (design section 8): with small transactions about 200 share
#: one frame, and 5 ms is little beside the round trips of a commit.
BATCH_BYTES_MAX: Final = 64 * KIB
BATCH_DELAY_MS: Final = 5

#: Leaf hashes per message; a list of 1,024 has 35 KB.
LEAVES_MAX: Final = 1_024
#: Envelope bytes per reply: one block's worth.
REPLY_BYTES_MAX: Final = 4 * MIB
#: Leaves of one block (formats A.1).
BLOCK_LEAVES_MAX: Final = 65_536
# A header is twelve small fields (design section 4), at most 256 bytes.
_HEADER_BYTES_MAX: Final = 512

_Leaves = Annotated[list[Bytes32], msgspec.Meta(min_length=1, max_length=LEAVES_MAX)]
_Envelope = Annotated[bytes, msgspec.Meta(min_length=1, max_length=TX_BYTES_MAX)]
_Envelopes = Annotated[list[_Envelope], msgspec.Meta(min_length=1, max_length=LEAVES_MAX)]


def _require_distinct(leaves: list[bytes]) -> None:
    # One hash 1,024 times would be a small question with a large answer.
    if len(set(leaves)) != len(leaves):
        raise ValueError("a leaf hash is named twice")


class Txs(ProtocolStruct, frozen=True, tag=0):
    """New transactions: envelopes as received from their authors."""

    envelopes: _Envelopes


class IHave(ProtocolStruct, frozen=True, tag=1):
    """Transactions the sender holds."""

    leaves: _Leaves

    def __post_init__(self) -> None:
        _require_distinct(self.leaves)


class IWant(ProtocolStruct, frozen=True, tag=2):
    """Transactions the sender asks for, answered with Txs."""

    leaves: _Leaves

    def __post_init__(self) -> None:
        _require_distinct(self.leaves)


class BlockAnnounce(ProtocolStruct, frozen=True, tag=3):
    """A decided block: encoded header and encoded commit certificate."""

    height: Uint
    header: Annotated[bytes, msgspec.Meta(min_length=1, max_length=_HEADER_BYTES_MAX)]
    certificate: Annotated[bytes, msgspec.Meta(min_length=1, max_length=CERTIFICATE_BYTES_MAX)]


class FetchTx(ProtocolStruct, frozen=True, tag=0):
    """Asks for the envelopes of these leaves."""

    request_id: Uint
    leaves: _Leaves

    def __post_init__(self) -> None:
        _require_distinct(self.leaves)


class TxsReply(ProtocolStruct, frozen=True, tag=1):
    """The envelopes found, at most ``REPLY_BYTES_MAX``; what is missing was not held or did not fit: ask again."""

    request_id: Uint
    envelopes: Annotated[list[_Envelope], msgspec.Meta(max_length=LEAVES_MAX)]


class FetchBlock(ProtocolStruct, frozen=True, tag=2):
    """Asks for the leaf list of a block, decided or not."""

    block_hash: Bytes32


class BlockReply(ProtocolStruct, frozen=True, tag=3):
    """The leaf list, to be checked against ``tx_root`` and ``tx_count`` of the header; empty: the block is not held."""

    block_hash: Bytes32
    leaves: Annotated[list[Bytes32], msgspec.Meta(max_length=BLOCK_LEAVES_MAX)]


GossipMessage = Txs | IHave | IWant | BlockAnnounce
FetchMessage = FetchTx | TxsReply | FetchBlock | BlockReply

_gossip_decoder: msgspec.msgpack.Decoder[GossipMessage] = msgspec.msgpack.Decoder(GossipMessage)
_fetch_decoder: msgspec.msgpack.Decoder[FetchMessage] = msgspec.msgpack.Decoder(FetchMessage)


def decode_gossip(payload: bytes) -> GossipMessage:
    """A GOSSIP payload. Raises InvalidMessage."""
    try:
        return decode_struct(_gossip_decoder, payload, payload_bytes_max(Topic.GOSSIP))
    except InvalidEncoding as error:
        raise InvalidMessage(f"a gossip message that cannot be read: {error}") from None


def decode_fetch(payload: bytes) -> FetchMessage:
    """A FETCH payload. Raises InvalidMessage."""
    try:
        return decode_struct(_fetch_decoder, payload, payload_bytes_max(Topic.FETCH))
    except InvalidEncoding as error:
        raise InvalidMessage(f"a fetch message that cannot be read: {error}") from None


def txs_reply(request_id: int, envelopes: Iterable[bytes]) -> TxsReply:
    """A reply with as many of ``envelopes``, in order, as one may hold."""
    fitting: list[bytes] = []
    size = 0
    for envelope in envelopes:
        size += len(envelope)
        if size > REPLY_BYTES_MAX or len(fitting) == LEAVES_MAX:
            break
        fitting.append(envelope)
    return TxsReply(request_id, fitting)


class TransactionBatcher:
    """Collects envelopes so that many share one frame. One per channel and audience."""

    __slots__ = ("_bytes", "_deadline_ms", "_envelopes")

    def __init__(self) -> None:
        self._envelopes: list[bytes] = []
        self._bytes = 0
        self._deadline_ms: int | None = None

    @property
    def deadline_ms(self) -> int | None:
        """When ``flush`` is due; None while nothing waits."""
        return self._deadline_ms

    def add(self, envelope: bytes, now_ms: int) -> list[bytes]:
        """Add one envelope; returns the GOSSIP payloads that are full now (usually none)."""
        full: list[bytes] = []
        if self._bytes + len(envelope) > BATCH_BYTES_MAX or len(self._envelopes) == LEAVES_MAX:
            full += self.flush()
        self._envelopes.append(envelope)
        self._bytes += len(envelope)
        if self._bytes >= BATCH_BYTES_MAX:
            full += self.flush()
        elif self._deadline_ms is None:
            self._deadline_ms = now_ms + BATCH_DELAY_MS
        return full

    def flush(self) -> list[bytes]:
        """Everything that waits, as at most one GOSSIP payload."""
        if not self._envelopes:
            return []
        payload = Txs(self._envelopes).encode()
        self._envelopes, self._bytes, self._deadline_ms = [], 0, None
        return [payload]


class SeenCache:
    """Remembers the last hashes seen, between ``capacity`` and twice as many, in bounded memory.

    Two generations: when the young one is full it becomes the old one and the old one is forgotten. Nothing is
    evicted by chance or clock, so equal inputs leave equal caches.
    """

    __slots__ = ("_capacity", "_old", "_young")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def add(self, key: bytes) -> bool:
        """Remember ``key``; whether it was new."""
        if key in self._young:
            return False
        new = key not in self._old
        self._young.add(key)  # also when old: what is seen again stays longer
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, set()
        return new


class TokenBucket:
    """Allows ``rate`` units a second on average and ``burst`` at once, in integers.

    Counted in thousandths of a unit, so that a call every millisecond still earns something.
    """

    __slots__ = ("_burst", "_level", "_rate", "_updated_ms")

    def __init__(self, rate: int, burst: int, now_ms: int) -> None:
        self._rate = rate
        self._burst = burst * 1_000
        self._level = self._burst
        self._updated_ms = now_ms

    def take(self, amount: int, now_ms: int) -> bool:
        """Use up ``amount`` units; False, and nothing used, when there are not so many."""
        if now_ms > self._updated_ms:  # a clock that steps back earns nothing and costs nothing
            self._level = min(self._burst, self._level + (now_ms - self._updated_ms) * self._rate)
        self._updated_ms = now_ms
        if amount * 1_000 > self._level:
            return False
        self._level -= amount * 1_000
        return True


class Origin(Enum):
    """Where a transaction came from."""

    CLIENT = auto()  # this node's own RPC
    VALIDATOR = auto()
    OBSERVER = auto()


@dataclass(frozen=True, slots=True)
class Audience:
    """Names of the peers that get the envelope, and of those that are told its hash."""

    push: tuple[str, ...]
    announce: tuple[str, ...]


def audience(local: Role, origin: Origin, source: str, peers: Iterable[PeerId]) -> Audience:
    """Who is to hear of a new transaction that ``source`` brought (empty for a client); see the module's text.

    An observer pushes its clients' transactions to every validator it has a link to, or, having none, to the other
    observers, one of which has.
    """
    others = sorted((peer for peer in peers if peer.name != source), key=lambda peer: peer.name)
    validators = tuple(peer.name for peer in others if peer.role is Role.VALIDATOR)
    observers = tuple(peer.name for peer in others if peer.role is Role.OBSERVER)
    if origin is Origin.VALIDATOR:
        # An observer that heard it from a validator passes nothing on: each observer has links to validators.
        return Audience((), observers if local is Role.VALIDATOR else ())
    if validators:
        return Audience(validators, observers)
    return Audience(observers, ())


class WantList:
    """Which announced transactions were asked of whom, so that each is asked of one peer at a time.

    Bounded: at most ``capacity`` open questions, each forgotten when answered, or after ``patience_ms``, when the next
    peer that announces the transaction is asked.
    """

    __slots__ = ("_asked_ms", "_capacity", "_patience_ms")

    def __init__(self, capacity: int, patience_ms: int) -> None:
        self._asked_ms: dict[bytes, int] = {}
        self._capacity = capacity
        self._patience_ms = patience_ms

    def to_ask(self, announced: Iterable[bytes], is_known: Callable[[bytes], bool], now_ms: int) -> list[bytes]:
        """Which of the ``announced`` leaves to ask their announcer for now."""
        wanted = [leaf for leaf in announced if not is_known(leaf) and self._may_ask(leaf, now_ms)]
        for leaf in wanted:
            self._asked_ms.pop(leaf, None)  # asked again: to the end, so that the oldest questions stand first
            self._asked_ms[leaf] = now_ms
        self._forget(now_ms)
        return [leaf for leaf in wanted if leaf in self._asked_ms]

    def answered(self, leaf: bytes) -> None:
        """``leaf`` has arrived, from whomever."""
        self._asked_ms.pop(leaf, None)

    def __len__(self) -> int:
        return len(self._asked_ms)

    def _may_ask(self, leaf: bytes, now_ms: int) -> bool:
        asked_ms = self._asked_ms.get(leaf)
        return asked_ms is None or now_ms - asked_ms >= self._patience_ms

    def _forget(self, now_ms: int) -> None:
        """Questions without patience left, then the newest beyond the capacity, are given up."""
        while self._asked_ms:
            oldest = next(iter(self._asked_ms))
            if now_ms - self._asked_ms[oldest] < self._patience_ms:
                break
            del self._asked_ms[oldest]
        while len(self._asked_ms) > self._capacity:
            self._asked_ms.popitem()
