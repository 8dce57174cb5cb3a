"""Answers that a snapshot's fetching did not ask for, and what it says of itself meanwhile."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from dawan_node.errors import InvalidMessage
from dawan_node.sync.snapshot_fetch import GIVE_UP_MS, TIMEOUT_MS, SnapshotFetch
from dawan_node.sync.snapshot_format import Chunk, HeaderRun
from dawan_node.sync.snapshot_messages import (
    EpochQuery,
    EpochReply,
    PartQuery,
    PartReply,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
    decode_snapshot_message,
)
from tests.sync.chain import CHAIN_ID, set_of
from tests.sync.snapshot_world import FORGED, SECOND, TRUE, TRUSTED, witness


class Fetching:
    """One fetch whose requests wait until the test answers them; but a witness without a snapshot, who is needed to be
    believed about the epochs, answers at once."""

    def __init__(self, *peers: str) -> None:
        self.fetch = SnapshotFetch(CHAIN_ID, 0, TRUSTED, 0)
        self.now_ms = 0
        self.asked: list[tuple[str, SnapshotRequest]] = []
        self.blamed: list[str] = []
        for peer in (*peers, "witness"):
            self.fetch.peer_up(peer, self.now_ms)
        self.pump()

    def pump(self) -> None:
        ready = self.fetch.ready()
        self.asked += [(peer, request) for peer, request in ready.requests if peer != "witness"]
        self.blamed += [blame.peer for blame in ready.blames]
        for arrived in ready.arrived:
            self.fetch.checked(arrived, arrived.rule.verify(arrived.data), self.now_ms)
            self.pump()
        for peer, request in ready.requests:
            if peer == "witness":
                self.deliver(peer, request)

    def answer(self, kind: type[SnapshotRequest]) -> None:
        """Everything of this kind that waits is answered truly."""
        waiting = [(peer, request) for peer, request in self.asked if isinstance(request, kind)]
        self.asked = [each for each in self.asked if each not in waiting]
        for peer, request in waiting:
            self.deliver(peer, request)

    def deliver(self, peer: str, request: SnapshotRequest) -> None:
        reply = witness(request) if peer == "witness" else TRUE.answer(request)
        if isinstance(reply, EpochReply):
            self.fetch.epochs_arrived(peer, reply, self.now_ms)
        elif isinstance(reply, PartReply):
            self.fetch.part_arrived(peer, reply, self.now_ms)
        else:
            assert isinstance(reply, SnapshotOffer)
            self.fetch.offer_arrived(peer, reply, self.now_ms)
        self.pump()

    def to_parts(self) -> Fetching:
        self.answer(SnapshotQuery)
        self.answer(EpochQuery)
        return self


def test_progress_counts_what_is_here_and_not_what_is_on_its_way() -> None:
    node = Fetching("a")
    assert node.fetch.progress == (0, 0) and node.fetch.epoch == 0
    node.to_parts()
    assert node.fetch.progress == (0, TRUE.layout.parts)
    node.answer(PartQuery)
    assert node.fetch.progress == (1, TRUE.layout.parts), "headers come first, alone"
    node.answer(PartQuery)
    assert node.fetch.progress == (3, TRUE.layout.parts), "two at a time from one peer"


def test_an_answer_that_was_not_asked_for_changes_nothing() -> None:
    node = Fetching("a", "b")
    node.answer(SnapshotQuery)
    (peer, query), (other, other_query) = node.asked
    assert isinstance(query, EpochQuery) and isinstance(other_query, EpochQuery)
    node.fetch.epochs_arrived(other, EpochReply(query.id, ()), 0)
    node.fetch.epochs_arrived(peer, EpochReply(99, ()), 0)
    node.fetch.epochs_arrived("nobody", EpochReply(query.id, ()), 0)
    node.fetch.part_arrived(peer, PartReply(query.id, b"false"), 0)
    node.pump()
    assert node.asked == [(peer, query), (other, other_query)] and not node.blamed
    node.answer(EpochQuery)
    node.fetch.epochs_arrived(peer, EpochReply(query.id, FORGED.epochs()), 0)
    node.pump()
    assert not node.blamed, "the second answer to one question"
    ((holder, part),) = node.asked
    assert isinstance(part, PartQuery)
    node.fetch.epochs_arrived(holder, EpochReply(part.id, ()), 0)
    node.fetch.part_arrived("b" if holder == "a" else "a", PartReply(part.id, b"false"), 0)
    node.fetch.part_arrived(holder, PartReply(part.id + 1, b"false"), 0)
    node.pump()
    assert node.asked == [(holder, part)] and not node.blamed
    node.answer(PartQuery)
    assert node.fetch.progress[0] == 1


def test_the_only_holder_is_asked_again_for_the_epochs_when_it_has_rested() -> None:
    node = Fetching("a")
    node.answer(SnapshotQuery)
    node.asked.clear()
    for now_ms, asked in ((TIMEOUT_MS - 1, 0), (TIMEOUT_MS, 0), (TIMEOUT_MS + 999, 0), (TIMEOUT_MS + 1_000, 1)):
        node.fetch.tick(now_ms)
        node.pump()
        assert len(node.asked) == asked, now_ms
    node.answer(EpochQuery)
    assert node.blamed == ["a"] and node.fetch.chosen is not None, "late is no lie"


def test_what_is_on_its_way_of_a_snapshot_that_is_let_go_does_not_keep_its_peer_from_being_asked() -> None:
    node = Fetching("a")
    (_, query), _ = node.asked
    other = msgspec.structs.replace(TRUE.manifest, chunk_bytes=2)
    node.fetch.offer_arrived("a", SnapshotOffer(query.id, 1, (TRUE.manifest.encode(), other.encode())), 0)
    node.pump()
    node.answer(EpochQuery)

    def headers() -> bytes:
        """Bring them; the name of the snapshot that they belong to."""
        _, part = node.asked.pop()
        assert isinstance(part, PartQuery) and part.part == 0
        node.asked.clear()
        node.fetch.part_arrived("a", PartReply(part.id, TRUE.part(TRUE.layout, 0)), node.now_ms)
        node.pump()
        return part.snapshot

    first = headers()
    for node.now_ms, asked in ((GIVE_UP_MS - 10_000, 0), (GIVE_UP_MS - 8_000, 2), (GIVE_UP_MS, 1)):
        node.asked.clear()
        node.fetch.tick(node.now_ms)
        node.pump()
        assert len(node.asked) == asked and node.blamed == ["a", "a"]
    assert headers() != first and len(node.asked) == 2


def test_a_false_part_of_a_peer_that_has_left_is_fetched_again_and_the_peer_named() -> None:
    node = Fetching("a").to_parts()
    ((_, query),) = node.asked
    node.fetch.part_arrived("a", PartReply(query.id, b"false"), 0)
    (arrived,) = node.fetch.ready().arrived
    node.fetch.peer_gone("a", 0)
    with pytest.raises(InvalidMessage) as caught:
        arrived.rule.verify(arrived.data)
    node.fetch.checked(arrived, caught.value, 0)
    node.pump()
    assert node.blamed == ["a"]
    node.fetch.checked(arrived, b"", 0)
    assert node.fetch.progress == (0, TRUE.layout.parts), "a verdict counts once"
    node.fetch.peer_up("b", 0)
    node.pump()
    node.asked.sort(key=lambda each: each[0])
    node.answer(SnapshotQuery)
    assert [(peer, request.part) for peer, request in node.asked if isinstance(request, PartQuery)][-1] == ("b", 0)


def test_a_true_part_of_a_peer_that_has_left_is_taken() -> None:
    node = Fetching("a").to_parts()
    ((_, query),) = node.asked
    node.fetch.part_arrived("a", TRUE.answer(query), 0)  # type: ignore[arg-type]
    (arrived,) = node.fetch.ready().arrived
    node.fetch.peer_gone("a", 0)
    assert node.fetch.progress == (0, TRUE.layout.parts), "it is not verified yet"
    node.fetch.checked(arrived, arrived.rule.verify(arrived.data), 0)
    assert node.fetch.progress == (1, TRUE.layout.parts)


def test_a_run_of_headers_has_the_heights_that_were_asked_for() -> None:
    run = HeaderRun(1, tuple(TRUE.headers[29:39]))
    below = run.verify(30, 39, TRUE.headers[38].hash)
    assert below == TRUE.headers[28].hash
    for first, last in ((30, 38), (31, 39), (29, 39)):
        with pytest.raises(InvalidMessage, match="headers where"):
            run.verify(first, last, TRUE.headers[last - 1].hash)


def test_a_lone_subtree_counts_where_it_hangs_and_nowhere_else() -> None:
    """What two keys have in common is nodes of one child each, and a hash deep in the tree is not one higher up."""
    deep = bytes(range(32))

    def above(nibble: int, child: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + (1 << nibble).to_bytes(2, "big") + child).digest()

    first = b"\xff" * 32
    chunk = Chunk(1, first, b"", (), (), (), ((b"\x01\x02", deep),))
    assert chunk.verify(above(1, above(2, deep)), first, b"") == {}
    for root in (deep, above(1, deep), above(2, above(1, deep))):
        with pytest.raises(InvalidMessage, match="state root"):
            chunk.verify(root, first, b"")


@pytest.mark.parametrize("payload", [b"", b"\x92\x0a", b"\x93\x0a\x01\x02", b"\x92\x10\x01", b"\x92\x0a\xcc\x01"])
def test_what_is_no_snapshot_message_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMessage, match="snapshot message"):
        decode_snapshot_message(payload)


def test_a_kept_choice_names_every_certificate_in_it_with_the_set_that_signed_it() -> None:
    node = Fetching("a")
    node.answer(SnapshotQuery)
    ((peer, query),) = node.asked
    node.fetch.epochs_arrived(peer, EpochReply(query.id, TRUE.epochs()), 0)
    chosen = node.fetch.ready().chosen
    assert chosen is not None
    first, second = (validators for _, validators in chosen.certificates(TRUSTED.validators))
    assert (first, second) == (TRUSTED.validators, set_of(SECOND))
    for certificate, validators in chosen.certificates(TRUSTED.validators):
        certificate.verify(CHAIN_ID, validators)
    assert [each.height for each, _ in chosen.certificates(first)] == [10, 40]
    proof = chosen.epochs[0]
    for changes in (
        {"manifest": b""},
        {"epochs": (msgspec.structs.replace(proof, finality=b""),)},
        {"epochs": (msgspec.structs.replace(proof, members=proof.members[:1] * 2),)},
        {"epochs": (msgspec.structs.replace(proof, members=(("unheard-of", b"key"),)),)},
    ):
        with pytest.raises(InvalidMessage, match="kept snapshot"):
            msgspec.structs.replace(chosen, **changes).certificates(TRUSTED.validators)
