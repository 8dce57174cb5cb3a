"""Fetching a snapshot among liars: whatever they say, what is complete at the end is the true state."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidMessage
from dawan_node.execution import state_tree
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.replay import replay_value
from dawan_node.sync.snapshot_fetch import Arrived, Chosen, SnapshotFetch
from dawan_node.sync.snapshot_format import Chunk, Entry, HeaderRun, Layout, Manifest
from dawan_node.sync.snapshot_messages import (
    EpochProof,
    EpochQuery,
    EpochReply,
    PartQuery,
    PartReply,
    SnapshotAnswer,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
    TrustedEpoch,
    decode_snapshot_message,
    is_snapshot_message,
)
from tests.sync.chain import CHAIN_ID, certify, keys_of, set_of

FIRST, SECOND, ATTACKER = keys_of(4), keys_of(7, b"second"), keys_of(4, b"attacker")
TRUSTED = TrustedEpoch(0, 1, set_of(FIRST))


@dataclass
class World:
    """A chain of 40 headers: epoch 0 ends at height 10 and names SECOND; a snapshot of height 40 with replay entries
    from height 30 on."""

    entries: int = 300
    salt: bytes = b""
    first: list[PrivateKey] = field(default_factory=lambda: FIRST)
    second: list[PrivateKey] = field(default_factory=lambda: SECOND)
    signers: list[PrivateKey] = field(default_factory=lambda: FIRST)

    def __post_init__(self) -> None:
        entries = [Entry("trade", "invoice", b"%d" % n + self.salt, b"value %d" % n) for n in range(self.entries)]
        self.nonces = {h: ((b"k" * 32, h.to_bytes(16, "big"), 9_000_000),) for h in range(30, 41)}
        entries += [
            Entry("governance", "replay", h.to_bytes(8, "big"), replay_value(n)) for h, n in self.nonces.items()
        ]
        self.state = sorted(entries, key=lambda entry: entry.key_hash)
        self.nodes: dict[bytes, bytes] = {}
        self.root, nodes = state_tree.update(
            self.nodes.get, {e.key_hash: hashlib.sha256(e.value).digest() for e in self.state}
        )
        self.nodes |= {path: node for path, node in nodes.items() if node is not None}
        self.headers: list[Header] = []
        self.results: list[Result] = []
        below, below_result = CHAIN_ID, bytes(32)
        for height in range(1, 41):
            keys, epoch = (self.first, 0) if height <= 10 else (self.second, 1)
            ends = height == 10
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

    def finality(self, height: int) -> bytes:
        header, result = self.headers[height - 1], self.results[height - 1]
        certificate = certify(self.signers if height <= 10 else self.second, header, result)
        return FinalityProof.build(header.encode(), result.encode(), [], certificate).encode()

    def manifest_of(self, chunks: int, headers_from: int = 30) -> Manifest:
        step = len(self.state) // chunks
        bounds = tuple(self.state[n * step].key_hash for n in range(1, chunks))
        return Manifest(1, self.finality(40), len(self.state), 1, headers_from, bounds)

    def epochs(self) -> tuple[EpochProof, ...]:
        return (EpochProof(self.finality(10), set_of(self.second).members),)

    def part(self, layout: Layout, part: int) -> bytes:
        if part < layout.runs:
            first, last = layout.heights(part)
            return HeaderRun(1, tuple(self.headers[first - 1 : last])).encode()
        first_hash, after = layout.range(part)
        entries = tuple(e for e in self.state if e.key_hash >= first_hash and (not after or e.key_hash < after))
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
Answer = Callable[[SnapshotRequest], SnapshotAnswer | None]


class Fetcher:
    """Runs a machine against peers that answer at once, in virtual time."""

    def __init__(self, peers: dict[str, Answer], height: int = 0, trusted: TrustedEpoch = TRUSTED) -> None:
        self.peers = peers
        self.now_ms = 0
        self.fetch = SnapshotFetch(CHAIN_ID, height, trusted, 0)
        self.parts: dict[int, bytes] = {}
        self.chosen: Chosen | None = None
        self.banned: set[str] = set()
        self.reasons: list[str] = []
        self.asked: list[tuple[str, SnapshotRequest]] = []
        self.is_complete = False
        self.failure = ""

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


def silent(request: SnapshotRequest) -> SnapshotAnswer | None:
    return None


def corrupt(request: SnapshotRequest) -> SnapshotAnswer:
    answer = TRUE.answer(request)
    if isinstance(answer, PartReply) and answer.data:
        data = bytearray(answer.data)
        data[len(data) // 2] ^= 1
        return PartReply(answer.id, bytes(data))
    return answer


def withholding(request: SnapshotRequest) -> SnapshotAnswer | None:
    return None if isinstance(request, PartQuery) else TRUE.answer(request)


def other_part(request: SnapshotRequest) -> SnapshotAnswer:
    if isinstance(request, PartQuery):
        return PartReply(request.id, TRUE.part(TRUE.layout, (request.part + 1) % TRUE.layout.parts))
    return TRUE.answer(request)


def test_parts_come_from_several_peers_and_headers_first() -> None:
    fetcher = Fetcher({"a": TRUE.answer, "b": TRUE.answer, "c": TRUE.answer}).run()
    fetcher.assert_true()
    parts = [(peer, request.part) for peer, request in fetcher.asked if isinstance(request, PartQuery)]
    assert [part for _, part in parts][: TRUE.layout.runs] == list(range(TRUE.layout.runs))
    assert {peer for peer, _ in parts} == {"a", "b", "c"} and len(parts) == TRUE.layout.parts


def test_nothing_of_the_state_is_asked_for_before_the_epochs_are_proven() -> None:
    """Amendment U4, also before a snapshot."""
    fetcher = Fetcher({"a": TRUE.answer}).run()
    kinds = [type(request) for _, request in fetcher.asked]
    assert kinds[:2] == [SnapshotQuery, EpochQuery] and set(kinds[2:]) == {PartQuery}


@pytest.mark.parametrize("liar", [silent, corrupt, withholding, other_part, FORGED.answer])
def test_liars_do_not_keep_a_node_from_the_true_state(liar: Answer) -> None:
    fetcher = Fetcher({"liar": liar, "other-liar": liar, "a": TRUE.answer, "b": TRUE.answer, "c": TRUE.answer}).run()
    fetcher.assert_true()
    assert not fetcher.banned & {"a", "b", "c"}
    if liar in (corrupt, other_part):
        assert "liar" in fetcher.banned


def test_a_majority_of_forgers_is_found_out_by_the_epoch_walk() -> None:
    """Their snapshot is chosen by number, and refused by proof: another epoch 1 than the trusted validators named."""
    fetcher = Fetcher({"x": FORGED.answer, "y": FORGED.answer, "z": FORGED.answer, "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert {"x", "y", "z"} <= fetcher.banned
    assert not any(peer != "a" for peer, request in fetcher.asked if isinstance(request, PartQuery))


def test_a_manifest_that_hides_headers_is_found_out_by_a_true_chunk() -> None:
    lying = TRUE.manifest_of(12, headers_from=35)

    def short(request: SnapshotRequest) -> SnapshotAnswer:
        if isinstance(request, SnapshotQuery):
            return SnapshotOffer(request.id, 1, (lying.encode(),))
        if isinstance(request, PartQuery) and request.snapshot == lying.id:
            return PartReply(request.id, TRUE.part(Layout.of(lying), request.part))
        return TRUE.answer(request)

    fetcher = Fetcher({"x": short, "y": short, "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert fetcher.banned == {"x", "y"} and any("no header" in reason for reason in fetcher.reasons)


def test_with_liars_alone_it_fails_and_says_so() -> None:
    assert "no peer" in Fetcher({"x": FORGED.answer, "y": silent}).run().failure
    assert "no peer" in Fetcher({}).run().failure
    below = Fetcher({"a": TRUE.answer}, height=40, trusted=TrustedEpoch(1, 11, set_of(SECOND))).run()
    assert below.failure == "no peer offers a snapshot that would help"


def test_what_was_fetched_is_not_fetched_again_after_a_restart() -> None:
    first = Fetcher({"a": TRUE.answer, "b": TRUE.answer})
    first.run(stop=lambda: len(first.parts) >= 5)
    assert first.chosen is not None
    kept = dict(first.parts)
    damaged = max(kept)
    kept[damaged] = kept[damaged][:-1] + bytes([kept[damaged][-1] ^ 1])
    second = Fetcher({"a": TRUE.answer})
    second.fetch.resume(Chosen.decode(first.chosen.encode()), kept.get)
    kept.pop(damaged)
    second.parts = kept
    second.run()
    second.assert_true()
    asked = {request.part for _, request in second.asked if isinstance(request, PartQuery)}
    assert asked == set(range(TRUE.layout.parts)) - set(first.parts) | {damaged}


def test_a_kept_choice_that_was_changed_or_is_of_no_use_is_refused() -> None:
    fetcher = Fetcher({"a": TRUE.answer}).run()
    assert fetcher.chosen is not None
    whole = fetcher.chosen.encode()
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 4
        machine = SnapshotFetch(CHAIN_ID, 0, TRUSTED, 0)
        try:
            machine.resume(Chosen.decode(bytes(changed)), lambda part: None)
        except InvalidMessage:
            continue
        # Where the cuts lie is nobody's promise: such a choice only finds nobody who serves it.
        assert machine.chosen is not None and machine.chosen[2] == TRUE.results[-1]
    with pytest.raises(InvalidMessage, match="not above"):
        SnapshotFetch(CHAIN_ID, 40, TRUSTED, 0).resume(fetcher.chosen, lambda part: None)


def test_under_random_liars_losses_and_departures_only_the_true_state_arrives() -> None:
    for seed in range(25):
        chance = random.Random(seed)
        peers: dict[str, Answer] = {}
        for number in range(chance.randint(1, 4)):
            peers[f"liar{number}"] = chance.choice([silent, corrupt, withholding, other_part, FORGED.answer])

        def lossy(request: SnapshotRequest, chance: random.Random = chance) -> SnapshotAnswer | None:
            if chance.random() < 0.15 and not isinstance(request, SnapshotQuery):
                return None
            return TRUE.answer(request)

        peers |= {"a": lossy, "b": lossy}
        fetcher = Fetcher(dict(sorted(peers.items(), key=lambda item: chance.random())))
        fetcher.run(stop=lambda fetcher=fetcher: len(fetcher.parts) > 4)  # type: ignore[misc]
        fetcher.fetch.peer_gone("b", fetcher.now_ms)
        fetcher.peers.pop("b")
        fetcher.peers["c"] = lossy
        fetcher.run()
        fetcher.assert_true()
        assert not fetcher.banned & {"a", "b", "c"}, seed


def test_an_epoch_proof_counts_only_with_the_validators_its_block_named() -> None:
    proof = TRUE.epochs()[0]
    reached = TRUSTED.follow(CHAIN_ID, [proof])
    assert [(epoch.epoch, epoch.first, epoch.validators) for epoch in reached] == [(1, 11, set_of(SECOND))]
    replace = msgspec.structs.replace
    for wrong in (
        replace(proof, members=set_of(ATTACKER).members),
        replace(proof, members=proof.members[::-1]),
        replace(proof, members=proof.members[:-1]),
        replace(proof, finality=FORGED.finality(10)),
        replace(proof, finality=TRUE.finality(9)),
        replace(proof, finality=TRUE.finality(40)),
        replace(proof, finality=b""),
    ):
        with pytest.raises(InvalidMessage):
            TRUSTED.follow(CHAIN_ID, [wrong])
