"""Which snapshot is fetched when liars offer some: theirs delay a node, and never stop it."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.errors import InvalidMessage
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_fetch import GIVE_UP_MS, TIMEOUT_MS, SnapshotFetch
from dawan_node.sync.snapshot_format import Layout, Manifest
from dawan_node.sync.snapshot_messages import (
    EpochQuery,
    EpochReply,
    PartQuery,
    PartReply,
    SnapshotAnswer,
    SnapshotOffer,
    SnapshotQuery,
    SnapshotRequest,
)
from tests.sync.chain import CHAIN_ID, certify
from tests.sync.snapshot_world import ATTACKER, TRUE, TRUSTED, Answer, Fetcher, World

replace = msgspec.structs.replace

#: The same state cut otherwise: true in every part, and offered under another name.
OTHER = World()
OTHER.manifest = OTHER.manifest_of(7)
OTHER.layout = Layout.of(OTHER.manifest)


def of_block(manifest: Manifest, **changes: object) -> Manifest:
    """A manifest whose block was changed after it was certified."""
    proof = FinalityProof.decode(manifest.finality)
    header = replace(manifest.header, **changes)
    return replace(
        manifest, finality=FinalityProof.build(header.encode(), proof.result, [], proof.certificate).encode()
    )


#: Of blocks that do not exist, at heights that nobody will reach.
MADE_UP = of_block(TRUE.manifest, height=2**62, epoch=2**40)


def offering(*manifests: bytes | Manifest, parts: Answer = TRUE.answer, epochs: Answer = TRUE.answer) -> Answer:
    """Who offers these and answers what it is asked then as others would."""

    def answer(request: SnapshotRequest) -> SnapshotAnswer | None:
        if isinstance(request, SnapshotQuery):
            encoded = [each.encode() if isinstance(each, Manifest) else each for each in manifests]
            return SnapshotOffer(request.id, 1, tuple(encoded))
        return epochs(request) if isinstance(request, EpochQuery) else parts(request)

    return answer


def silent(request: SnapshotRequest) -> SnapshotAnswer | None:
    return None


def empty_handed(request: SnapshotRequest) -> SnapshotAnswer:
    return EpochReply(request.id, ()) if isinstance(request, EpochQuery) else PartReply(request.id, b"")


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        TRUE.manifest.encode() + b"\x00",
        replace(TRUE.manifest, bounds=TRUE.manifest.bounds[::-1]),
        replace(TRUE.manifest, bounds=(bytes(32),)),
        replace(TRUE.manifest, headers_from=41),
        replace(TRUE.manifest, headers_from=0),
        of_block(TRUE.manifest, chain_id=bytes(32)),
    ],
    ids=["none", "longer", "descending", "empty chunk", "headers above", "headers of genesis", "another chain"],
)
def test_who_offers_what_no_honest_node_makes_is_not_listened_to_again(manifest: bytes | Manifest) -> None:
    fetcher = Fetcher({"liar": offering(manifest, TRUE.manifest), "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert fetcher.banned == {"liar"}
    assert {type(request) for peer, request in fetcher.asked if peer == "liar"} == {SnapshotQuery, EpochQuery}


def test_an_offer_counts_once_and_only_as_the_answer_to_its_question() -> None:
    """Otherwise a peer could have manifests of a megabyte read for as long as it likes."""
    fetch = SnapshotFetch(CHAIN_ID, 0, TRUSTED, 0)
    fetch.peer_up("a", 0)
    (peer, query), (_, about_epochs) = fetch.ready().requests
    assert isinstance(about_epochs, EpochQuery)
    fetch.offer_arrived("nobody", SnapshotOffer(query.id, 7, ()), 0)
    fetch.offer_arrived(peer, SnapshotOffer(query.id + 1, 7, (b"",)), 0)
    assert fetch.oldest_blocks() == [] and not fetch.ready()
    fetch.offer_arrived(peer, SnapshotOffer(query.id, 5, ()), 0)
    fetch.offer_arrived(peer, SnapshotOffer(query.id, 7, (b"",)), 0)
    assert fetch.oldest_blocks() == [5] and not fetch.ready().blames


def test_a_block_that_is_not_final_is_not_fetched_however_many_offer_it() -> None:
    forged = FinalityProof.build(
        TRUE.headers[-1].encode(), TRUE.results[-1].encode(), [], certify(ATTACKER, TRUE.headers[-1], TRUE.results[-1])
    ).encode()
    liar = offering(replace(TRUE.manifest, finality=forged, entries=5))
    fetcher = Fetcher({"x": liar, "y": liar, "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert fetcher.banned == {"x", "y"}


def test_a_liar_that_offers_several_blocks_that_are_not_final_is_blamed_once() -> None:
    lies = [of_block(TRUE.manifest, timestamp_ms=time_ms) for time_ms in (1, 2)]
    fetcher = Fetcher({"liar": offering(*lies)}).run()
    assert fetcher.failure and fetcher.banned == {"liar"} and len(fetcher.reasons) == 1


def test_a_node_that_nobody_is_connected_to_says_so() -> None:
    fetch = SnapshotFetch(CHAIN_ID, 0, TRUSTED, 0)
    fetch.tick(GIVE_UP_MS - 1)
    assert not fetch.ready().failure
    fetch.tick(GIVE_UP_MS)
    assert fetch.ready().failure == "no peer has sent anything of it for too long"


def test_a_snapshot_of_an_epoch_that_its_only_holder_cannot_prove_is_let_go_at_once() -> None:
    fetcher = Fetcher({"liar": offering(MADE_UP, epochs=empty_handed), "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert fetcher.now_ms < 1_000 and "liar" not in fetcher.banned


@pytest.mark.parametrize("epochs", [silent, TRUE.answer], ids=["silent", "no further than the truth"])
def test_a_liar_with_a_newer_snapshot_than_the_only_honest_holder_does_not_stop_the_node(epochs: Answer) -> None:
    fetcher = Fetcher({"liar": offering(MADE_UP, epochs=epochs), "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert fetcher.now_ms <= TIMEOUT_MS + 1_000


def test_a_majority_that_withholds_the_parts_of_its_snapshot_does_not_stop_the_node() -> None:
    liar = offering(OTHER.manifest, parts=silent)
    fetcher = Fetcher({"x": liar, "y": liar, "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert GIVE_UP_MS <= fetcher.now_ms < GIVE_UP_MS + TIMEOUT_MS and not fetcher.banned


def test_when_nobody_sends_anything_the_node_says_so() -> None:
    fetcher = Fetcher({"x": offering(TRUE.manifest, parts=silent)}).run()
    assert fetcher.failure == "no peer has sent anything of it for too long" and not fetcher.is_complete


def test_a_kept_snapshot_that_nobody_has_any_more_gives_way_to_one_that_is_offered() -> None:
    """Nodes keep two. Who was away for longer must not wait for the third for ever."""
    earlier = Fetcher({"a": offering(OTHER.manifest, parts=OTHER.answer)})
    earlier.run(stop=lambda: len(earlier.parts) >= 2)
    assert earlier.chosen is not None and len(earlier.parts) < OTHER.layout.parts
    later = Fetcher({"a": TRUE.answer, "b": TRUE.answer})
    later.fetch.resume(Chosen.decode(earlier.chosen.encode()), earlier.parts.get)
    later.run()
    later.assert_true()
    assert later.chosen == Fetcher({"a": TRUE.answer}).run().chosen
    gone = Fetcher({"a": offering()})
    gone.fetch.resume(earlier.chosen, earlier.parts.get)
    assert gone.run().failure == "no peer that is connected has the rest of it"


def test_who_says_that_it_has_a_part_no_more_is_asked_for_no_further_one_and_is_no_liar() -> None:
    fetcher = Fetcher({"a": offering(TRUE.manifest, parts=empty_handed), "b": TRUE.answer}).run()
    fetcher.assert_true()
    assert not fetcher.banned
    assert sum(isinstance(request, PartQuery) for peer, request in fetcher.asked if peer == "a") == 1


def test_what_is_wanted_of_a_liar_is_wanted_again_of_others() -> None:
    """Two parts are on their way from it when the first turns out to be false."""
    fetch, answers = Fetcher({"liar": silent, "a": silent}).fetch, []
    for peer in ("liar", "a"):
        fetch.peer_up(peer, 0)
    for _ in range(9):
        for peer, request in fetch.ready().requests:
            if not isinstance(request, PartQuery):
                (fetch.offer_arrived if isinstance(request, SnapshotQuery) else fetch.epochs_arrived)(
                    peer,
                    TRUE.answer(request),
                    0,  # type: ignore[arg-type]
                )
            elif request.part < TRUE.layout.runs:
                fetch.part_arrived(peer, TRUE.answer(request), 0)  # type: ignore[arg-type]
                (arrived,) = fetch.ready().arrived
                fetch.checked(arrived, arrived.rule.verify(arrived.data), 0)
            else:
                answers.append((peer, request))
    lost = {request.part for peer, request in answers if peer == "liar"}
    assert len(lost) == 2 and len(answers) == 4
    first = next(request for peer, request in answers if peer == "liar")
    fetch.part_arrived("liar", PartReply(first.id, b"false"), 0)
    (arrived,) = fetch.ready().arrived
    with pytest.raises(InvalidMessage) as caught:
        arrived.rule.verify(arrived.data)
    fetch.checked(arrived, caught.value, 0)
    for peer, request in answers:
        if peer == "a":
            fetch.part_arrived("a", TRUE.answer(request), 0)  # type: ignore[arg-type]
    ready = fetch.ready()
    assert [blame.peer for blame in ready.blames] == ["liar"]
    assert {request.part for _, request in ready.requests if isinstance(request, PartQuery)} == lost
    assert {peer for peer, _ in ready.requests} == {"a"}
