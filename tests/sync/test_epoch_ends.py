"""A thief has the keys of a quorum of old validators (amendment U14). What he certifies above their epoch's end is
contradicted by that end alone, so a node that trusts the old set takes no snapshot before it has asked for the end."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.sync import epoch_walk
from dawan_node.sync.epoch_walk import EpochWalk
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_fetch import GIVE_UP_MS, TIMEOUT_MS, WITNESSES_MS
from dawan_node.sync.snapshot_messages import (
    EPOCHS_PER_REPLY,
    EpochProof,
    EpochQuery,
    EpochReply,
    PartQuery,
    SnapshotAnswer,
    SnapshotQuery,
    SnapshotRequest,
)
from tests.sync.chain import CHAIN_ID, certify, keys_of, set_of
from tests.sync.snapshot_world import (
    ATTACKER,
    FIRST,
    FORGED,
    STOLEN,
    STOLEN_END,
    TRUE,
    TRUSTED,
    Answer,
    Fetcher,
    World,
    witness,
)

replace = msgspec.structs.replace


def silent(request: SnapshotRequest) -> SnapshotAnswer | None:
    return None


def silent_on_epochs(request: SnapshotRequest) -> SnapshotAnswer | None:
    return None if isinstance(request, EpochQuery) else STOLEN.answer(request)


def parts_asked_of(fetcher: Fetcher) -> set[str]:
    return {peer for peer, request in fetcher.asked if isinstance(request, PartQuery)}


class Later:
    """A peer that keeps silent until it is told to speak."""

    def __init__(self, answer: Answer, *silent_on: type[SnapshotRequest]) -> None:
        self.answer, self.silent_on, self.is_silent = answer, silent_on, True

    def __call__(self, request: SnapshotRequest) -> SnapshotAnswer | None:
        return None if self.is_silent and isinstance(request, self.silent_on) else self.answer(request)


def test_what_the_thief_certifies_is_believed_where_nobody_shows_the_end() -> None:
    """So all of the following is about the end, and not about something else that is wrong with his snapshot."""
    fetcher = Fetcher({"thief": STOLEN.answer, "other": STOLEN.answer}, witness=None).run()
    assert fetcher.is_complete and fetcher.parts[0] == STOLEN.part(STOLEN.layout, 0)


def test_of_a_majority_of_thieves_nothing_is_fetched_once_the_end_is_shown() -> None:
    thieves = dict.fromkeys("vwxyz", STOLEN.answer)
    fetcher = Fetcher({**thieves, "a": TRUE.answer}, witness=TRUE.answer).run()
    fetcher.assert_true()
    assert fetcher.banned == set(thieves) and parts_asked_of(fetcher) == {"a", "witness"}
    assert any("height 40 is not one of epoch 0" in reason for reason in fetcher.reasons)


def test_a_peer_without_a_snapshot_of_its_own_is_enough_to_refuse_the_thiefs() -> None:
    fetcher = Fetcher({"x": STOLEN.answer, "y": STOLEN.answer}).run()
    assert fetcher.failure == "no peer offers a snapshot that would help" and fetcher.banned == {"x", "y"}
    assert not parts_asked_of(fetcher) and fetcher.chosen is None


def test_one_peer_alone_is_not_believed_when_it_says_that_no_epoch_ended() -> None:
    """Everybody else is silent about the epochs, be it that the thief holds up their answers."""
    fetcher = Fetcher({"thief": STOLEN.answer, "x": silent, "y": silent_on_epochs}, witness=silent).run()
    assert fetcher.failure == "only 1 of the 2 peers that are needed have said how the epochs ended"
    assert not parts_asked_of(fetcher) and WITNESSES_MS <= fetcher.now_ms <= WITNESSES_MS + 1_000
    asked = Counter(peer for peer, request in fetcher.asked if isinstance(request, EpochQuery))
    assert asked == {"thief": 1, "x": 3, "y": 3, "witness": 3}, "who was late is asked again"


def test_a_peer_that_does_not_answer_holds_up_the_choice_for_the_time_of_one_answer() -> None:
    fetcher = Fetcher({"a": TRUE.answer, "x": silent})
    fetcher.run(stop=lambda: fetcher.chosen is not None)
    assert fetcher.chosen is not None and fetcher.now_ms == TIMEOUT_MS and not fetcher.banned


def test_an_end_that_is_shown_while_the_parts_come_makes_an_end_of_the_thiefs_snapshot() -> None:
    slow, late = Later(STOLEN.answer, PartQuery), Later(TRUE.answer, EpochQuery, SnapshotQuery)
    fetcher = Fetcher({"x": slow, "y": slow, "a": late}, witness=None)
    fetcher.run(stop=lambda: fetcher.chosen is not None)
    assert fetcher.chosen is not None and not fetcher.parts and not fetcher.banned
    late.is_silent = slow.is_silent = False
    fetcher.run()
    assert fetcher.failure and fetcher.banned == {"x", "y"} and not fetcher.is_complete
    assert any("height 40, and epoch 0 ended at 10" in reason for reason in fetcher.reasons)


@pytest.mark.parametrize("order", [("a", "thief"), ("thief", "a")])
def test_of_two_certified_ends_neither_is_believed_and_people_are_told(order: tuple[str, str]) -> None:
    answers: dict[str, Answer] = {"a": TRUE.answer, "thief": STOLEN_END.answer}
    fetcher = Fetcher({name: answers[name] for name in order}, witness=None).run()
    (alarm,) = fetcher.alarms
    assert fetcher.failure == alarm and "epoch 0 has two ends" in alarm
    assert all(f"at height {end} that {name} shows" in alarm for name, end in (("a", 10), ("thief", 14)))
    assert not fetcher.banned and not parts_asked_of(fetcher), "which of the two lies cannot be told"


def test_a_second_end_makes_an_end_of_a_snapshot_that_is_being_fetched() -> None:
    late = Later(STOLEN_END.answer, EpochQuery, SnapshotQuery)
    slow = Later(TRUE.answer, PartQuery)
    fetcher = Fetcher({"a": slow, "thief": late})
    fetcher.run(stop=lambda: fetcher.chosen is not None)
    late.is_silent = False
    fetcher.run()
    assert fetcher.failure == fetcher.alarms[0] and not fetcher.is_complete


def test_an_end_counts_by_its_own_certificate_only() -> None:
    """Anybody can say that an epoch ended early: it would make liars of the honest."""
    headers, results = TRUE.headers, TRUE.results
    early = World(end=5, signers=ATTACKER, second=ATTACKER)
    unsigned = FinalityProof.build(
        headers[9].encode(), results[9].encode(), [], certify(ATTACKER, headers[9], results[9])
    )

    def lying(proof: EpochProof) -> Answer:
        return lambda request: EpochReply(request.id, (proof,)) if isinstance(request, EpochQuery) else witness(request)

    (true,) = TRUE.epochs()
    for proof in (*early.epochs(), *FORGED.epochs(), EpochProof(TRUE.finality(9), true.members)):
        fetcher = Fetcher({"liar": lying(proof), "a": TRUE.answer}).run()
        fetcher.assert_true()
        assert fetcher.banned == {"liar"}
    # The true end under a false certificate: false, and no harm, where the true one is here already.
    fetcher = Fetcher({"a": TRUE.answer, "liar": lying(EpochProof(unsigned.encode(), true.members))}).run()
    fetcher.assert_true()
    fetcher = Fetcher({"liar": lying(EpochProof(unsigned.encode(), true.members)), "a": TRUE.answer}).run()
    fetcher.assert_true()
    assert fetcher.banned == {"liar"}


def test_a_snapshot_that_was_kept_is_complete_only_when_the_peers_were_heard() -> None:
    first = Fetcher({"x": STOLEN.answer, "y": STOLEN.answer}, witness=None)
    first.run(stop=lambda: len(first.parts) == STOLEN.layout.parts)
    assert first.chosen is not None
    kept = Chosen.decode(first.chosen.encode())
    alone = Fetcher({"x": STOLEN.answer}, witness=None)
    alone.fetch.resume(kept, first.parts.get)
    assert alone.run().failure.startswith("only 1 of the 2 peers") and alone.now_ms >= GIVE_UP_MS
    second = Fetcher({"x": STOLEN.answer, "y": STOLEN.answer})
    second.fetch.resume(kept, first.parts.get)
    second.run()
    assert not second.is_complete and second.banned == {"x", "y"}
    true = Fetcher({"a": TRUE.answer}).run()
    assert true.chosen is not None
    again = Fetcher({"a": TRUE.answer})
    again.fetch.resume(true.chosen, true.parts.get)
    again.parts = true.parts
    again.run().assert_true()


class Epochs:
    """Many epochs of one block each, every one with validators of its own."""

    def __init__(self, count: int) -> None:
        self.proofs: list[EpochProof] = []
        keys, below, below_result = FIRST, CHAIN_ID, bytes(32)
        for height in range(1, count + 1):
            following = keys_of(1, b"%d" % height)
            header = Header(1, CHAIN_ID, height - 1, height, below, bytes(32), 1, 1, height, 0, set_of(keys).hash, True)
            result = Result(height, header.hash, below_result, bytes(32), bytes(32), set_of(following).hash)
            finality = FinalityProof.build(header.encode(), result.encode(), [], certify(keys, header, result))
            self.proofs.append(EpochProof(finality.encode(), set_of(following).members))
            keys, below, below_result = following, header.hash, result.hash

    def answer(self, epoch: int) -> list[EpochProof]:
        return self.proofs[epoch : epoch + EPOCHS_PER_REPLY]


def test_a_peer_is_asked_on_until_it_has_said_all_and_others_say_it_without_being_verified_again() -> None:
    epochs = Epochs(EPOCHS_PER_REPLY + 8)
    verified = 0

    def count(*arguments: bytes) -> bool:
        nonlocal verified
        verified += 1
        return verify_ed25519(*arguments)

    walk = EpochWalk(CHAIN_ID, TRUSTED, count)
    assert (walk.witnesses, walk.witnesses_needed, walk.end_of(0)) == (0, 2, None)
    for source in ("a", "b"):
        assert walk.take(source, 0, epochs.answer(0)) == EPOCHS_PER_REPLY
        assert walk.take(source, EPOCHS_PER_REPLY, epochs.answer(EPOCHS_PER_REPLY)) is None
    assert walk.witnesses == 2 and walk.end_of(39) == 40 and walk.end_of(40) is None and walk.end_of(-1) is None
    assert verified == len(FIRST) - 1 + 39, "a quorum of four, and one each"
    last = walk.at(40)
    assert last is not None and (last.epoch, last.first) == (40, 41) and walk.at(41) is None
    assert walk.proofs_to(2) == tuple(epochs.proofs[:2])
    walk.disbelieve("b")
    assert walk.witnesses == 1


def test_epochs_without_end_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the keys of one epoch can invent as many after it as he likes."""
    monkeypatch.setattr(epoch_walk, "EPOCHS_MAX", EPOCHS_PER_REPLY - 1)
    walk = EpochWalk(CHAIN_ID, TRUSTED, verify_ed25519)
    epochs = Epochs(EPOCHS_PER_REPLY + 8)
    assert walk.take("a", 0, epochs.answer(0)) is None and walk.witnesses == 1
    assert walk.at(EPOCHS_PER_REPLY - 1) is not None and walk.at(EPOCHS_PER_REPLY) is None


def test_below_the_epoch_of_two_ends_all_stays_as_it_was() -> None:
    epochs = Epochs(6)
    other = Epochs(2).proofs[:1]
    walk = EpochWalk(CHAIN_ID, TRUSTED, verify_ed25519)
    walk.take("a", 0, epochs.answer(0))
    header = Header.decode(FinalityProof.decode(epochs.proofs[3].finality).header)
    result = Result.decode(FinalityProof.decode(epochs.proofs[3].finality).result)
    forged = replace(header, timestamp_ms=header.timestamp_ms + 1)
    forged_result = replace(result, block_hash=forged.hash)
    certificate = certify(keys_of(1, b"3"), forged, forged_result)
    finality = FinalityProof.build(forged.encode(), forged_result.encode(), [], certificate).encode()
    assert walk.take("thief", 0, [*other, *epochs.proofs[1:3], EpochProof(finality, epochs.proofs[3].members)]) is None
    assert "epoch 3 has two ends" in walk.contradiction
    assert walk.at(2) is not None and walk.at(3) is None and walk.at(4) is None and walk.end_of(2) == 3
    with pytest.raises(InvalidMessage):
        walk.take("liar", 0, [EpochProof(b"", epochs.proofs[0].members)])


def test_a_third_end_of_an_epoch_changes_nothing_about_what_people_are_told() -> None:
    walk = EpochWalk(CHAIN_ID, TRUSTED, verify_ed25519)
    for source, world in (("a", TRUE), ("thief", STOLEN_END)):
        walk.take(source, 0, world.epochs())
    told = walk.contradiction
    assert "that thief shows" in told
    walk.take("another", 0, World(salt=b"?", end=20, second=ATTACKER).epochs())
    assert walk.contradiction == told and walk.at(0) is None


def test_a_peer_that_lied_about_something_else_is_no_witness_any_more() -> None:
    def corrupt(request: SnapshotRequest) -> SnapshotAnswer | None:
        answer = TRUE.answer(request)
        return replace(answer, data=b"false") if isinstance(request, PartQuery) else answer

    fetcher = Fetcher({"liar": corrupt, "a": TRUE.answer}, witness=None).run()
    assert fetcher.banned == {"liar"} and not fetcher.is_complete
    assert fetcher.failure.startswith("only 1 of the 2 peers")
