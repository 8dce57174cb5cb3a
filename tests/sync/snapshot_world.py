"""A chain with a snapshot, and a node that fetches it: peers answer each request as the test says, with a clock of its
own."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidMessage
from dawan_node.execution import state_tree
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.replay import replay_value
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_fetch import SnapshotFetch
from dawan_node.sync.snapshot_format import Chunk, Entry, HeaderRun, Layout, Manifest
from dawan_node.sync.snapshot_messages import (
    EpochProof,
    EpochQuery,
    EpochReply,
    PartReply,
    SnapshotAnswer,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
    TrustedEpoch,
    decode_snapshot_message,
    is_snapshot_message,
)
from dawan_node.sync.snapshot_parts import Arrived
from tests.sync.chain import CHAIN_ID, certify, keys_of, set_of

FIRST, SECOND, ATTACKER = keys_of(4), keys_of(7, b"second"), keys_of(4, b"attacker")
TRUSTED = TrustedEpoch(0, 1, set_of(FIRST))


@dataclass
class World:
    """A chain of 40 headers: epoch 0 ends at height 10 (``end``; 0: it never does) and names SECOND; a snapshot of
    height 40 with replay entries from height 30 on."""

    entries: int = 300
    salt: bytes = b""
    first: list[PrivateKey] = field(default_factory=lambda: FIRST)
    second: list[PrivateKey] = field(default_factory=lambda: SECOND)
    signers: list[PrivateKey] = field(default_factory=lambda: FIRST)
    end: int = 10

    def __post_init__(self) -> None:
        entries = [Entry("trade", "invoice", b"%d" % n + self.salt, b"value %d" % n) for n in range(self.entries)]
        self.nonces = {h: ((b"k" * 32, h.to_bytes(16, "big"), 9_000_000),) for h in range(30, 41)}
        entries += [
            Entry("governance", "replay", h.to_bytes(8, "big"), replay_value(n)) for h, n in self.nonces.items()
        ]
        self.state = sorted(entries, key=lambda entry: entry.key_hash)
        self.hashes = [entry.key_hash for entry in self.state]
        self.nodes: dict[bytes, bytes] = {}
        self.root, nodes, _ = state_tree.update(
            self.nodes.get, {e.key_hash: hashlib.sha256(e.value).digest() for e in self.state}
        )
        self.nodes |= {path: node for path, node in nodes.items() if node is not None}
        self.headers: list[Header] = []
        self.results: list[Result] = []
        below, below_result = CHAIN_ID, bytes(32)
        for height in range(1, 41):
            keys, epoch = (self.first, 0) if self.is_old(height) else (self.second, 1)
            ends = height == self.end
            valset, following = set_of(keys).hash, set_of(self.second).hash if ends else set_of(keys).hash
            header = Header(
                1, CHAIN_ID, epoch, height, below, bytes(32), 1, 1, 1_000 * height, 0, valset, ends,
            )  # fmt: skip
            root = self.root if height == 40 else bytes(32)
            result = Result(height, header.hash, below_result, root, bytes(32), following)
            below, below_result = header.hash, result.hash
            self.headers.append(header)
            self.results.append(result)
        self.manifest = self.manifest_of(12)
        self.layout = Layout.of(self.manifest)

    def is_old(self, height: int) -> bool:
        return not self.end or height <= self.end

    def finality(self, height: int) -> bytes:
        header, result = self.headers[height - 1], self.results[height - 1]
        certificate = certify(self.signers if self.is_old(height) else self.second, header, result)
        return FinalityProof.build(header.encode(), result.encode(), [], certificate).encode()

    def manifest_of(self, chunks: int, headers_from: int = 30) -> Manifest:
        step = len(self.state) // chunks
        bounds = tuple(self.state[n * step].key_hash for n in range(1, chunks))
        return Manifest(1, self.finality(40), len(self.state), 1, headers_from, bounds)

    def epochs(self) -> tuple[EpochProof, ...]:
        return (EpochProof(self.finality(self.end), set_of(self.second).members),) if self.end else ()

    def part(self, layout: Layout, part: int) -> bytes:
        if part < layout.runs:
            first, last = layout.heights(part)
            return HeaderRun(1, tuple(self.headers[first - 1 : last])).encode()
        first_hash, after = layout.range(part)
        last = bisect_left(self.hashes, after) if after else None
        entries = tuple(self.state[bisect_left(self.hashes, first_hash) : last])
        nonces = tuple(self.nonces[int.from_bytes(e.key, "big")] for e in entries if e.is_replay)
        leaves, subtrees = state_tree.outside(self.nodes.get, first_hash, after)
        return Chunk(1, first_hash, after, entries, nonces, tuple(leaves), tuple(subtrees)).encode()

    def answer(self, request: SnapshotRequest) -> SnapshotAnswer:
        if isinstance(request, SnapshotQuery):
            return SnapshotOffer(request.id, 1, (self.manifest.encode(),))
        if isinstance(request, EpochQuery):
            return EpochReply(request.id, self.epochs() if request.epoch == 0 else ())
        return PartReply(
            request.id, self.part(self.layout, request.part) if request.snapshot == self.manifest.id else b""
        )


TRUE = World()
FORGED = World(
    salt=b"!", second=ATTACKER, signers=ATTACKER
)  # epoch 1 of the attacker's own, certified by nobody who is trusted
#: What whoever stole the keys of FIRST can certify: an epoch 0 that goes on for ever, or one that ended later.
STOLEN = World(salt=b"?", end=0)
STOLEN_END = World(salt=b"?", end=14, second=ATTACKER)
Answer = Callable[[SnapshotRequest], SnapshotAnswer | None]


def witness(request: SnapshotRequest) -> SnapshotAnswer | None:
    """Who has no snapshot and tells the truth about the epochs."""
    return SnapshotOffer(request.id, 1, ()) if isinstance(request, SnapshotQuery) else TRUE.answer(request)


class Fetcher:
    """Runs a machine against peers that answer at once, in virtual time. Beside them is one ``witness``, with whom a
    single other peer is enough to be believed about the epochs; None: there is none."""

    def __init__(
        self,
        peers: dict[str, Answer],
        height: int = 0,
        trusted: TrustedEpoch = TRUSTED,
        witness: Answer | None = witness,
    ) -> None:
        self.peers = peers if witness is None else {**peers, "witness": witness}
        self.now_ms = 0
        self.fetch = SnapshotFetch(CHAIN_ID, height, trusted, 0)
        self.parts: dict[int, bytes] = {}
        self.chosen: Chosen | None = None
        self.banned: set[str] = set()
        self.reasons: list[str] = []
        self.asked: list[tuple[str, SnapshotRequest]] = []
        self.is_complete = False
        self.failure = ""
        self.alarms: list[str] = []

    def run(self, seconds: int = 600, stop: Callable[[], bool] = lambda: False) -> Fetcher:
        for name in self.peers:
            self.fetch.peer_up(name, self.now_ms)
        while self.now_ms < seconds * 1_000 and not self.is_complete and not self.failure and not stop():
            if not self.turn():
                self.now_ms += 250
                self.fetch.tick(self.now_ms)
        return self

    def turn(self) -> bool:
        ready = self.fetch.ready()
        if ready.chosen is not None:
            self.chosen, self.parts = ready.chosen, {}
        for blame in ready.blames:
            self.reasons.append(blame.reason)
            if blame.proven:
                self.banned.add(blame.peer)
        for peer, request in ready.requests:
            assert peer not in self.banned or isinstance(request, SnapshotQuery)
            self.asked.append((peer, request))
            answer = self.peers[peer](request)
            if answer is not None:
                self.deliver(peer, answer)
        for arrived in ready.arrived:
            self.check(arrived)
        self.is_complete |= ready.is_complete
        self.failure = ready.failure
        if ready.alarm:
            self.alarms.append(ready.alarm)
        return bool(ready)

    def deliver(self, peer: str, answer: SnapshotAnswer) -> None:
        payload = answer.encode()
        assert is_snapshot_message(payload)
        message = decode_snapshot_message(payload)
        if isinstance(message, SnapshotOffer):
            self.fetch.offer_arrived(peer, message, self.now_ms)
        elif isinstance(message, EpochReply):
            self.fetch.epochs_arrived(peer, message, self.now_ms)
        elif isinstance(message, PartReply):
            self.fetch.part_arrived(peer, message, self.now_ms)

    def check(self, arrived: Arrived) -> None:
        outcome: bytes | InvalidMessage
        try:
            outcome = arrived.rule.verify(arrived.data)
            self.parts[arrived.part] = arrived.data
        except InvalidMessage as error:
            outcome = error
        self.fetch.checked(arrived, outcome, self.now_ms)

    def assert_true(self) -> None:
        assert self.is_complete and not self.failure
        assert self.parts == {part: TRUE.part(TRUE.layout, part) for part in range(TRUE.layout.parts)}
