"""Fetching a snapshot among liars: whatever they say, what is complete at the end is the true state."""

from __future__ import annotations

import random
from itertools import count

import msgspec
import pytest

from dawan_node.errors import InvalidMessage
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_fetch import OFFERS_MS, SnapshotFetch
from dawan_node.sync.snapshot_format import Layout
from dawan_node.sync.snapshot_messages import (
    EpochQuery,
    PartQuery,
    PartReply,
    SnapshotAnswer,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
    TrustedEpoch,
)
from tests.sync.chain import CHAIN_ID, set_of
from tests.sync.snapshot_world import ATTACKER, FORGED, SECOND, TRUE, TRUSTED, Answer, Fetcher


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
    assert set(kinds[:4]) == {SnapshotQuery, EpochQuery} and set(kinds[4:]) == {PartQuery}


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


def nothing(request: SnapshotRequest) -> SnapshotAnswer:
    return SnapshotOffer(request.id, 1, ()) if isinstance(request, SnapshotQuery) else TRUE.answer(request)


def test_peers_with_nothing_to_offer_that_answer_first_do_not_end_it() -> None:
    """Validators that make no snapshots were connected a moment before the observer that does."""
    fetcher = Fetcher({"x": nothing, "y": nothing})
    fetcher.run(stop=lambda: fetcher.now_ms >= OFFERS_MS - 250)
    assert not fetcher.failure
    fetcher.peers["a"] = TRUE.answer
    fetcher.fetch.peer_up("a", fetcher.now_ms)
    while not fetcher.is_complete and not fetcher.failure and fetcher.turn():
        continue
    fetcher.assert_true()
    assert fetcher.now_ms < OFFERS_MS, "what is there is taken at once"


def test_where_nobody_has_anything_it_fails_when_the_time_for_offers_is_over() -> None:
    fetcher = Fetcher({"x": nothing, "y": nothing}).run()
    assert "no peer offers" in fetcher.failure and fetcher.now_ms == OFFERS_MS


def test_a_peer_whose_offer_was_lost_is_asked_again() -> None:
    lost: list[SnapshotRequest] = []

    def forgetful(request: SnapshotRequest) -> SnapshotAnswer | None:
        if isinstance(request, SnapshotQuery) and len(lost) < 2:
            lost.append(request)
            return None
        return TRUE.answer(request)

    fetcher = Fetcher({"a": forgetful}).run()
    fetcher.assert_true()
    assert fetcher.now_ms < OFFERS_MS and len(lost) == 2


def test_an_answer_to_an_earlier_attempt_is_no_answer_to_this_one() -> None:
    """An honest peer whose late part met the same number in the next attempt would be taken for a liar."""
    ids = count(1)
    numbers: list[int] = []
    for _ in range(3):
        fetch = SnapshotFetch(CHAIN_ID, 0, TRUSTED, 0, ids=ids)
        fetch.peer_up("a", 0)
        numbers += [request.id for _, request in fetch.ready().requests]
    assert len(numbers) == len(set(numbers)) == 6


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
