"""How transactions and blocks spread, and how what is missing is asked for.

Pure. Two families of messages, each the payload of one topic:

GOSSIP  TXS          envelopes, pushed
        IHAVE        leaf hashes the sender holds
        IWANT        leaf hashes the sender would like
        BLOCK        a decided block, whole, with its proof
        HAVE, GRAFT, WANT, PRUNE   about blocks, by height (``block_spread``)
FETCH   FETCH_TX     envelopes by leaf hash        -> TXS_REPLY
        FETCH_BLOCK  the leaf list of a block      -> BLOCK_REPLY

A transaction goes by its *leaf hash*, the hash of its envelope bytes (design section 4): content that does not hash
to its name is dropped and asked for elsewhere.

Who gets what: a validator pushes a transaction that came from its own client, or from an observer, to all other
validators, once. What came from a validator was pushed to all of them already and is not pushed again. An observer
pushes what its clients send to one validator and tells the others its hash: normally it reaches them from that
validator before they ask, and when that one is down or silent, they ask. Observers are not told of transactions
(design section 8 lets them be told lazily): blocks bring them, once; a pending transaction is the business of the
node its client chose. As long as no block brings it, that node tells its validators of it again (``Reminders``), and
after some seconds the mempool sends it to all of them (amendment L7).

Answers are cheaper to ask for than to give, so every list has a limit and each peer's requests go through a
``TokenBucket``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Final

import msgspec

from dawan_node.errors import InvalidEncoding, InvalidMessage
from dawan_node.p2p.framing import KIB, MIB, Topic, payload_bytes_max
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.encoding import INT_MAX, Bytes32, ProtocolStruct, Uint, decode_struct
from dawan_node.primitives.transaction import TX_BYTES_MAX

#: A batch leaves when it holds this much, and else so long after the one before (design section 8): with small
#: transactions about 200 share one frame, and what comes after a pause does not wait for company.
BATCH_BYTES_MAX: Final = 64 * KIB
BATCH_DELAY_MS: Final = 5

#: Leaf hashes per message; a list of 1,024 has 35 KB.
LEAVES_MAX: Final = 1_024
#: Envelope bytes per reply: one block's worth.
REPLY_BYTES_MAX: Final = 4 * MIB
#: Leaves of one block (formats A.1).
BLOCK_LEAVES_MAX: Final = 65_536
#: A pushed block with its proof. What is larger takes longer on the line than a round trip, and goes by the topic for
#: bulk (``sync``), whose answers are asked for one at a time; here it would stand in the way of everything behind it.
BLOCK_BYTES_MAX: Final = MIB
#: What any other message on GOSSIP may have: a batch of 64 KiB that one more envelope of 64 KiB tipped over.
SMALL_BYTES_MAX: Final = 256 * KIB
#: Second byte of an encoded BLOCK: its kind, behind the array's length.
_BLOCK_PREFIX: Final = b"\x93\x03"

Positive = Annotated[int, msgspec.Meta(ge=1, le=INT_MAX)]
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


class Block(ProtocolStruct, frozen=True, tag=3):
    """A decided block with its proof; ``block`` is what topic SYNC carries in a range (opaque here)."""

    height: Positive
    block: Annotated[bytes, msgspec.Meta(min_length=1, max_length=BLOCK_BYTES_MAX)]


class Have(ProtocolStruct, frozen=True, tag=4):
    """The sender has the blocks up to ``height``."""

    height: Positive


class Graft(ProtocolStruct, frozen=True, tag=5):
    """Push blocks to the sender from now on, and send it ``height`` now unless that is 0."""

    height: Uint


class Want(ProtocolStruct, frozen=True, tag=6):
    """Send the block at ``height`` to the sender, this once."""

    height: Positive


class Prune(ProtocolStruct, frozen=True, tag=7):
    """No blocks are pushed on this link any more, in either direction."""


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


BlockMessage = Block | Have | Graft | Want | Prune
GossipMessage = Txs | IHave | IWant | BlockMessage
FetchMessage = FetchTx | TxsReply | FetchBlock | BlockReply

_gossip_decoder: msgspec.msgpack.Decoder[GossipMessage] = msgspec.msgpack.Decoder(GossipMessage)
_fetch_decoder: msgspec.msgpack.Decoder[FetchMessage] = msgspec.msgpack.Decoder(FetchMessage)


def decode_gossip(payload: bytes) -> GossipMessage:
    """A GOSSIP payload. Raises InvalidMessage."""
    try:
        is_block = payload[:2] == _BLOCK_PREFIX
        bytes_max = payload_bytes_max(Topic.GOSSIP) if is_block else SMALL_BYTES_MAX
        return decode_struct(_gossip_decoder, payload, bytes_max)
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

    __slots__ = ("_bytes", "_deadline_ms", "_envelopes", "_not_before_ms")

    def __init__(self) -> None:
        self._envelopes: list[bytes] = []
        self._bytes = 0
        self._deadline_ms: int | None = None
        self._not_before_ms = 0  # when the next batch may leave that is not full

    @property
    def deadline_ms(self) -> int | None:
        """When ``flush`` is due, perhaps at once; None while nothing waits."""
        return self._deadline_ms

    def add(self, envelope: bytes, now_ms: int) -> list[bytes]:
        """Add one envelope; returns the GOSSIP payloads that are full now (usually none)."""
        full: list[bytes] = []
        if self._bytes + len(envelope) > BATCH_BYTES_MAX or len(self._envelopes) == LEAVES_MAX:
            full += self.flush(now_ms)
        self._envelopes.append(envelope)
        self._bytes += len(envelope)
        if self._bytes >= BATCH_BYTES_MAX:
            full += self.flush(now_ms)
        elif self._deadline_ms is None:
            self._deadline_ms = max(now_ms, self._not_before_ms)
        return full

    def flush(self, now_ms: int) -> list[bytes]:
        """Everything that waits, as at most one GOSSIP payload."""
        if not self._envelopes:
            return []
        payload = Txs(self._envelopes).encode()
        self._envelopes, self._bytes, self._deadline_ms = [], 0, None
        self._not_before_ms = now_ms + BATCH_DELAY_MS
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
        self._earn(now_ms)
        if amount * 1_000 > self._level:
            return False
        self._level -= amount * 1_000
        return True

    def spend(self, amount: int, now_ms: int) -> None:
        """Use up ``amount`` units, also those that are still to be earned."""
        self._earn(now_ms)
        self._level -= amount * 1_000

    def wait_ms(self, now_ms: int) -> int:
        """How long until nothing is owed."""
        self._earn(now_ms)
        return max(0, -(self._level // self._rate))

    def _earn(self, now_ms: int) -> None:
        if now_ms > self._updated_ms:  # a clock that steps back earns nothing and costs nothing
            self._level = min(self._burst, self._level + (now_ms - self._updated_ms) * self._rate)
        self._updated_ms = now_ms


class Origin(Enum):
    """Where a transaction came from."""

    CLIENT = auto()  # this node's own RPC
    VALIDATOR = auto()
    OBSERVER = auto()


#: Announcers of one transaction that are remembered: f + 1 of the largest set are more than anybody has links to.
ANNOUNCERS_MAX: Final = 8

Points = Callable[[str], int]


def _no_points(peer: str) -> int:
    return 0


@dataclass(slots=True)
class _Announced:
    announcers: list[str]
    ask_at_ms: int
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Audience:
    """Names of the peers that get the envelope, and of those that are told its hash."""

    push: tuple[str, ...]
    announce: tuple[str, ...]


def audience(
    local: Role, origin: Origin, source: str, peers: Iterable[PeerId], points: Points = _no_points
) -> Audience:
    """Who is to hear of a new transaction that ``source`` brought (empty for a client); see the module's text.

    An observer without a link to a validator pushes to two other observers, which have some; one may be of no help.
    ``points`` is what this node thinks of a peer (``scores``); of equals the first by name is taken.
    """
    others = sorted((peer for peer in peers if peer.name != source), key=lambda peer: (-points(peer.name), peer.name))
    validators = tuple(peer.name for peer in others if peer.role is Role.VALIDATOR)
    observers = tuple(peer.name for peer in others if peer.role is Role.OBSERVER)
    if origin is Origin.VALIDATOR:
        return Audience((), ())
    if local is Role.VALIDATOR:
        return Audience(validators, ())
    if validators:
        return Audience(validators[:1], validators[1:])
    # What came from an observer that found no validator either is passed on once more, not round in circles.
    return Audience(observers[:2] if origin is Origin.CLIENT else (), ())


class WantList:
    """Which announced transactions are still to come, and of whom to ask them when they do not.

    A transaction that was announced is normally on its way by another path: it is asked for after ``grace_ms``, of its
    announcers in turn, ``patience_ms`` apart, each once. Bounded: at most ``capacity`` transactions and
    ``ANNOUNCERS_MAX`` announcers of each; what is announced beyond is not asked for, and comes with its block.
    """

    __slots__ = ("_capacity", "_grace_ms", "_open", "_patience_ms")

    def __init__(self, capacity: int, grace_ms: int, patience_ms: int) -> None:
        self._open: dict[bytes, _Announced] = {}
        self._capacity = capacity
        self._grace_ms = grace_ms
        self._patience_ms = patience_ms

    def announced(self, peer: str, leaves: Iterable[bytes], is_known: Callable[[bytes], bool], now_ms: int) -> None:
        """``peer`` says that it holds ``leaves``."""
        for leaf in leaves:
            entry = self._open.get(leaf)
            if entry is not None:
                if len(entry.announcers) < ANNOUNCERS_MAX and peer not in entry.announcers:
                    entry.announcers.append(peer)
            elif len(self._open) < self._capacity and not is_known(leaf):
                self._open[leaf] = _Announced([peer], now_ms + self._grace_ms)

    def due(self, is_known: Callable[[bytes], bool], now_ms: int) -> dict[str, list[bytes]]:
        """Whom to ask for what now; what has arrived, and what was asked of everybody, is forgotten."""
        asking: dict[str, list[bytes]] = {}
        for leaf, entry in list(self._open.items()):
            if now_ms < entry.ask_at_ms:
                continue
            if is_known(leaf) or entry.asked == len(entry.announcers):
                del self._open[leaf]
                continue
            leaves = asking.setdefault(entry.announcers[entry.asked], [])
            if len(leaves) < LEAVES_MAX:  # the others wait for the next time
                leaves.append(leaf)
                entry.asked += 1
                entry.ask_at_ms = now_ms + self._patience_ms
        return asking

    def __len__(self) -> int:
        return len(self._open)


#: No block has brought a transaction after so long: its validators are told of it once more, of a push, announcement,
#: question or answer that was lost. A few blocks' time; then twice, four and eight times as long.
REMIND_FIRST_MS: Final = 1_000
#: So often. After 15 s, a transaction waits for something else than gossip, and the mempool sends it again all along.
REMINDERS_MAX: Final = 4


class Reminders:
    """Transactions of this node's clients that are announced again until a block has brought them.

    32 bytes each, to the few validators an observer is linked to. Bounded: at most ``capacity`` transactions; what is
    sent beyond is left to the mempool, which sends whole transactions again, later (amendment L7).
    """

    __slots__ = ("_capacity", "_due")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._due: list[tuple[int, bytes, int]] = []  # a heap of (when, leaf, how often before)

    def sent(self, leaves: Iterable[bytes], now_ms: int) -> None:
        """``leaves`` were sent for the first time."""
        for leaf in leaves:
            if len(self._due) < self._capacity:
                heapq.heappush(self._due, (now_ms + REMIND_FIRST_MS, leaf, 0))

    def due(self, is_pending: Callable[[bytes], bool], now_ms: int) -> list[bytes]:
        """What to announce now, at most one message's worth; what does not wait any more is forgotten."""
        leaves: list[bytes] = []
        while self._due and self._due[0][0] <= now_ms and len(leaves) < LEAVES_MAX:
            _, leaf, times = heapq.heappop(self._due)
            if not is_pending(leaf):
                continue
            leaves.append(leaf)
            if times + 1 < REMINDERS_MAX:
                heapq.heappush(self._due, (now_ms + (REMIND_FIRST_MS << (times + 1)), leaf, times + 1))
        return list(dict.fromkeys(leaves))

    def __len__(self) -> int:
        return len(self._due)
