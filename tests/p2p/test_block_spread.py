"""The tree that blocks are spread along, one node at a time."""

from __future__ import annotations

import pytest

from dawan_node.p2p.block_spread import (
    AHEAD_MAX,
    ANSWER_MS_MIN,
    CHILDREN_MAX,
    DECLINED_MS,
    LAG_BLOCKS,
    LAG_MS,
    NEARER_AFTER,
    PATIENCE_MS,
    PATIENCE_MS_MIN,
    REMEMBERED,
    ROUND_TRIP_MS,
    WORDS_BURST,
    BlockSpread,
    Order,
    Word,
)
from dawan_node.p2p.scores import DISTRUSTED, Deed, Scores


def follower(*peers: str, height: int = 0) -> BlockSpread:
    spread = BlockSpread(height, True, Scores(0))
    for peer in peers:
        spread.peer_up(peer, False, 0)
    return spread


def receive(spread: BlockSpread, peer: str, height: int, now_ms: int = 0) -> None:
    assert spread.on_block(peer, height, now_ms)
    spread.accepted(peer, height, now_ms)


def with_parent(parent: str = "a", *others: str) -> BlockSpread:
    """A node that has block 1 from its parent."""
    spread = follower(parent, *others)
    spread.on_have(parent, 1, 0)
    receive(spread, parent, 1)
    assert spread.parent == parent
    spread.take()
    return spread


def test_the_first_to_announce_a_block_becomes_the_parent_and_the_others_stay_lazy() -> None:
    spread = follower("a", "b", "c")
    spread.on_have("b", 1, 0)
    assert spread.take() == [Order("b", Word.GRAFT, 1)]
    spread.on_have("a", 1, 0)
    assert spread.take() == []
    receive(spread, "b", 1)
    assert spread.parent == "b"
    assert spread.take() == [Order("c", Word.HAVE, 1)]  # "a" has it, as it said


def test_a_block_goes_whole_to_children_and_by_name_to_the_others_but_not_to_voters() -> None:
    spread = with_parent("a", "child", "lazy", "voter")
    spread.set_voters(["voter"])
    spread.on_graft("child", 0, 0)
    assert spread.take() == []
    receive(spread, "a", 2)
    assert spread.take() == [Order("child", Word.BLOCK, 2), Order("lazy", Word.HAVE, 2)]


def test_a_node_that_votes_gives_its_own_blocks_and_takes_none() -> None:
    spread = BlockSpread(0, False, Scores(0))
    spread.peer_up("child", False, 0)
    spread.on_graft("child", 0, 0)
    spread.committed(1)
    assert spread.take() == [Order("child", Word.BLOCK, 1)]
    assert not spread.on_block("child", 2, 0)
    assert spread.take() == [Order("child", Word.PRUNE)]


def test_a_block_that_does_not_come_is_asked_for_after_the_patience_of_two_then_of_others() -> None:
    spread = with_parent("a", "b", "c", "d")
    for peer in ("b", "c", "d"):
        spread.on_have(peer, 2, 10)
    spread.tick(10 + PATIENCE_MS - 1)
    assert spread.take() == []
    assert spread.next_deadline() == 10 + PATIENCE_MS
    spread.tick(10 + PATIENCE_MS)
    assert spread.take() == [Order("b", Word.WANT, 2), Order("c", Word.WANT, 2)]
    spread.tick(10 + PATIENCE_MS + ROUND_TRIP_MS + ANSWER_MS_MIN)
    assert spread.take() == [Order("d", Word.WANT, 2), Order("b", Word.WANT, 2)]


def test_the_nearest_are_asked_first_and_given_up_after_their_own_round_trip() -> None:
    far = {"a": 10, "b": 90, "c": 14, "d": 50}
    spread = BlockSpread(0, True, Scores(0), far.get)
    for peer in far:
        spread.peer_up(peer, False, 0)
    spread.on_have("a", 1, 0)
    receive(spread, "a", 1, 10)
    spread.take()
    for peer in ("b", "c", "d"):
        spread.on_have(peer, 2, 100)
    spread.tick(100 + PATIENCE_MS)
    assert spread.take() == [Order("c", Word.WANT, 2), Order("d", Word.WANT, 2)]
    assert spread.next_deadline() == 100 + PATIENCE_MS + 14 + ANSWER_MS_MIN
    spread.tick(100 + PATIENCE_MS + 14 + ANSWER_MS_MIN)
    assert spread.take() == [Order("b", Word.WANT, 2)]


def test_whoever_is_asked_for_the_same_block_again_gets_twice_the_time() -> None:
    spread = with_parent("a", "b")
    spread.on_have("b", 2, 0)
    now = PATIENCE_MS
    for doubled in range(3):
        spread.tick(now)
        assert spread.take() == [Order("b", Word.WANT, 2)]
        deadline = spread.next_deadline()
        assert deadline == now + ((ROUND_TRIP_MS + ANSWER_MS_MIN) << doubled)
        now = deadline


def test_answers_that_take_longer_than_the_round_trip_are_waited_for_longer() -> None:
    spread = follower("a", "b")
    spread.on_have("a", 1, 0)
    receive(spread, "a", 1, ROUND_TRIP_MS + 200)  # a line that takes 200 ms for a block
    spread.on_have("b", 2, 1_000)
    spread.tick(1_000 + PATIENCE_MS)
    assert spread.next_deadline() == 1_000 + PATIENCE_MS + ROUND_TRIP_MS + 200 + 4 * 100


def test_one_late_block_leaves_the_tree_as_it_is_and_the_second_makes_the_helper_the_parent() -> None:
    spread = with_parent("a", "b")
    for height in (2, 3):
        assert spread.parent == "a"
        spread.on_have("b", height, 0)
        spread.tick(PATIENCE_MS)
        receive(spread, "b", height, PATIENCE_MS)
    assert spread.parent == "b"
    assert [order for order in spread.take() if order.word in (Word.PRUNE, Word.GRAFT)] == [
        Order("a", Word.PRUNE),
        Order("b", Word.GRAFT, 0),
    ]


def test_a_parent_that_keeps_every_fourth_block_to_itself_is_replaced_soon() -> None:
    spread = with_parent("flatterer", "b")
    lost = 0
    for height in range(2, 100):
        if spread.parent == "b":
            break
        if height % 4:
            receive(spread, "flatterer", height)
        else:
            lost += 1
            spread.on_have("b", height, 0)
            spread.tick(PATIENCE_MS_MIN)
            receive(spread, "b", height, PATIENCE_MS_MIN)
    assert spread.parent == "b"
    assert lost == 4


def test_a_block_that_was_asked_for_too_soon_makes_the_node_more_patient_and_punctual_ones_less() -> None:
    spread = with_parent("a", "b")
    spread.on_have("b", 2, 0)
    spread.tick(PATIENCE_MS)
    receive(spread, "b", 2, PATIENCE_MS)
    assert not spread.on_block("a", 2, 150)  # it was on its way
    spread.on_have("b", 3, 1_000)
    assert spread.next_deadline() == 1_000 + PATIENCE_MS * 3 // 2
    for height in range(3, 60):
        receive(spread, "a", height)
    spread.on_have("b", 60, 2_000)
    assert spread.next_deadline() == 2_000 + PATIENCE_MS_MIN


def test_a_parent_that_is_slow_on_every_block_gets_its_time_and_one_that_was_slow_once_does_not() -> None:
    def deadline_after(*lags_ms: int) -> int:
        spread = with_parent("a", "b")
        for height, lag_ms in enumerate(lags_ms, 2):
            spread.on_have("b", height, 10_000 * height)
            receive(spread, "a", height, 10_000 * height + lag_ms)
        spread.on_have("b", len(lags_ms) + 2, 900_000)
        deadline = spread.next_deadline()
        assert deadline is not None
        return deadline - 900_000

    assert deadline_after(*[800] * 20) > 800
    assert deadline_after(*[10] * 10, 800, *[10] * 4, 800, *[10] * 4) <= PATIENCE_MS


def test_a_parent_that_was_merely_asked_past_keeps_its_good_name() -> None:
    spread = with_parent("a", "b")
    for height in range(2, 10):
        receive(spread, "b", height, 1_000 * height)
        assert not spread.on_block("a", height, 1_000 * height + 1)
    assert spread.parent == "a"
    receive(spread, "b", 10, 20_000)
    for _ in range(3):
        assert not spread.on_block("a", 9, 20_001)  # an old one sent again makes up for nothing
    receive(spread, "b", 11, 21_000)
    assert spread.parent == "b"


def test_whoever_pushes_unasked_what_is_here_is_pruned_and_loses_a_point() -> None:
    spread = with_parent("a", "b")
    assert not spread.on_block("b", 1, 0)
    assert spread.take() == [Order("b", Word.PRUNE)]
    assert spread._scores.of("b") == Deed.DUPLICATE


def test_a_full_node_declines_another_child_but_gives_it_the_block() -> None:
    spread = follower("late", *(f"child{number}" for number in range(CHILDREN_MAX)))
    spread.committed(1)
    for number in range(CHILDREN_MAX):
        spread.on_graft(f"child{number}", 0, 0)
    spread.take()
    spread.on_graft("late", 1, 0)
    assert spread.take() == [Order("late", Word.PRUNE), Order("late", Word.BLOCK, 1)]
    assert len(spread.children) == CHILDREN_MAX


def test_a_peer_that_declined_is_asked_for_single_blocks_until_some_time_has_passed() -> None:
    spread = follower("a")
    spread.on_have("a", 1, 0)
    spread.on_prune("a", 0)
    assert spread.take() == [Order("a", Word.GRAFT, 1)]
    assert spread.parent is None
    spread.on_have("a", 2, 10)
    assert spread.take() == [Order("a", Word.WANT, 2)]
    receive(spread, "a", 1, 20)
    assert spread.parent is None, "nor because it has brought one"
    spread.take()
    spread.tick(DECLINED_MS)
    assert Order("a", Word.GRAFT, 2) in spread.take()


def test_where_the_first_decline_a_later_announcer_is_asked_to_push_but_no_child_and_no_bad_peer() -> None:
    spread = follower("a", "child", "bad", "later")
    spread.on_graft("child", 0, 0)
    spread._scores.note("bad", Deed.SILENT)
    spread.on_have("a", 1, 0)
    spread.on_prune("a", 0)
    receive(spread, "a", 1, 10)
    spread.take()
    for peer in ("child", "bad", "later"):
        spread.on_have(peer, 1, 20)
    assert spread.take() == [Order("later", Word.GRAFT, 0)]
    assert spread.parent == "later"


def test_a_pushed_block_above_a_gap_tells_that_its_bringer_has_what_is_missing() -> None:
    spread = with_parent("a")
    receive(spread, "a", 3, 1_000)
    spread.take()
    spread.tick(1_000 + PATIENCE_MS)
    assert spread.take() == [Order("a", Word.WANT, 2)]


def beside_a_validator(scores: Scores | None = None, votes: bool = False) -> BlockSpread:
    """A node that has block 1 from its parent, and a link to a validator that is ahead until it is asked to push."""
    spread = BlockSpread(0, True, Scores(0) if scores is None else scores)
    spread.peer_up("parent", votes, 0)
    spread.on_have("parent", 1, 0)
    receive(spread, "parent", 1)
    spread.peer_up("validator", True, 0)
    spread.take()
    for height in range(2, 2 + NEARER_AFTER):
        assert spread.take() == []
        spread.on_have("validator", height, height)
        receive(spread, "parent", height, height)
    assert (spread.parent, spread.take()) == ("parent", [Order("validator", Word.GRAFT)])
    return spread


TRIED = 2 + NEARER_AFTER


@pytest.mark.parametrize("votes", [False, True])
def test_a_validator_that_is_always_ahead_is_tried_and_the_parent_once_it_is_the_first_to_bring_a_block(
    votes: bool,
) -> None:
    spread = beside_a_validator(votes=votes)
    receive(spread, "parent", TRIED)  # it goes on meanwhile
    assert (spread.parent, spread.take()) == ("parent", [])
    receive(spread, "validator", TRIED + 1)
    assert spread.parent == "validator"
    assert Order("parent", Word.PRUNE) in spread.take()


def test_a_validator_whose_first_push_comes_second_is_not_the_parent_and_not_tried_again_soon() -> None:
    scores = Scores(0)
    spread = beside_a_validator(scores)
    receive(spread, "parent", TRIED, 100)
    assert not spread.on_block("validator", TRIED, 100)
    assert (spread.parent, spread.take(), scores.of("validator")) == ("parent", [Order("validator", Word.PRUNE)], 0)
    for height in range(TRIED + 1, TRIED + 4 * NEARER_AFTER):
        spread.on_have("validator", height, 100 + height)
        receive(spread, "parent", height, 100 + height)
        assert (spread.parent, spread.take()) == ("parent", [])


def test_where_the_validator_that_is_tried_declines_leaves_or_lies_the_parent_stays_as_trusted_as_it_was() -> None:
    for end in ("declines", "leaves", "lies", "repeats"):
        spread = beside_a_validator()
        match end:
            case "declines":
                spread.on_prune("validator", 20)
            case "leaves":
                spread.peer_down("validator")
            case "lies":
                assert spread.on_block("validator", TRIED, 20)
                spread.refused("validator", TRIED)
            case "repeats":
                assert not spread.on_block("validator", 1, 20)
        assert Order("parent", Word.PRUNE) not in spread.take(), end
        receive(spread, "parent", TRIED)
        assert (spread.parent, Order("parent", Word.PRUNE) in spread.take()) == ("parent", False), end


def test_a_validator_that_is_tried_and_never_pushes_is_given_up_and_no_block_was_late() -> None:
    spread = beside_a_validator()
    for height in range(TRIED, TRIED + NEARER_AFTER):
        assert spread.take() == []
        spread.on_have("validator", height, height)
        receive(spread, "parent", height, height)
    assert (spread.parent, spread.take()) == ("parent", [Order("validator", Word.PRUNE)])


def test_the_one_that_is_tried_takes_the_place_of_a_parent_that_left() -> None:
    spread = beside_a_validator()
    spread.peer_down("parent")
    receive(spread, "validator", TRIED)
    assert spread.parent == "validator"


def test_no_other_observer_and_no_validators_that_take_turns_at_being_ahead_are_tried() -> None:
    spread = with_parent("parent", "observer")
    for name in ("v1", "v2"):
        spread.peer_up(name, True, 0)
    for height in range(2, 2 + 6 * NEARER_AFTER):
        spread.on_have("observer", height, height)
        spread.on_have(f"v{1 + height % 2}", height, height)
        receive(spread, "parent", height, height)
        assert Order(f"v{1 + height % 2}", Word.GRAFT) not in spread.take()


def test_a_child_that_a_validator_never_heard_from_gets_the_next_block_however_long_the_chain() -> None:
    spread = BlockSpread(1_000_000, False, Scores(0))
    spread.peer_up("child", False, 0)
    spread.on_graft("child", 0, 0)
    spread.committed(1_000_001)
    assert spread.take() == [Order("child", Word.BLOCK, 1_000_001)]


def test_two_nodes_are_never_each_others_parent() -> None:
    spread = with_parent("a", "b")
    spread.on_graft("a", 1, 0)
    assert spread.parent is None
    assert spread.children == ("a",)


def test_blocks_above_a_gap_are_taken_and_the_gap_is_asked_for() -> None:
    spread = with_parent("a", "b")
    receive(spread, "a", 3)
    assert spread.height == 1
    spread.on_have("b", 3, 0)
    spread.tick(PATIENCE_MS)
    assert Order("b", Word.WANT, 2) in spread.take()
    receive(spread, "b", 2)
    assert spread.height == 3
    assert spread.open_questions == 0


def test_heights_far_ahead_are_left_to_catch_up() -> None:
    spread = with_parent("a", "b")
    spread.on_have("b", 2 + AHEAD_MAX, 0)
    assert spread.open_questions == 0
    assert not spread.on_block("b", 2 + AHEAD_MAX, 0)


def test_a_liar_that_announces_what_does_not_exist_is_soon_not_believed_and_asked_last() -> None:
    spread = with_parent("a", "liar", "b")
    now = 0
    spread.on_have("liar", 2, now)
    for _ in range(20):
        now += 1_000
        spread.tick(now)
    assert spread._scores.of("liar") <= DISTRUSTED
    assert spread.open_questions == 0
    spread.take()
    spread.on_have("liar", 3, now)
    assert spread.open_questions == 0
    spread.on_have("b", 2, now)
    spread.tick(now + PATIENCE_MS)
    assert spread.take() == [Order("b", Word.WANT, 2)]


def test_a_forged_block_costs_its_bringer_everything_and_is_not_held() -> None:
    spread = with_parent("a")
    assert spread.on_block("a", 2, 0)
    spread.refused("a", 2)
    assert spread.parent is None
    assert spread._scores.is_distrusted("a")
    assert spread.height == 1
    assert spread.on_block("a", 2, 0), "the true one may still come"


def test_a_block_of_another_epoch_is_put_off_and_may_come_again() -> None:
    spread = with_parent("a", "b")
    assert spread.on_block("b", 2, 0)
    spread.put_off("b", 2)
    assert spread.height == 1
    receive(spread, "a", 2)


def test_a_flood_of_words_is_reported_and_not_listened_to() -> None:
    spread = with_parent("a", "b")
    for _ in range(WORDS_BURST):
        spread.on_have("b", 5_000, 0)
    assert spread.take_floods() == []
    spread.on_have("b", 2, 0)
    assert spread.take_floods() == ["b"]
    assert spread.open_questions == 0


def test_a_peer_that_stays_far_behind_loses_points() -> None:
    spread = with_parent("a", "b")
    spread.committed(2 + LAG_BLOCKS)
    spread.claimed("a", 2 + LAG_BLOCKS, 0)
    spread.tick(0)
    spread.tick(LAG_MS)
    assert spread._scores.of("b") == Deed.LAGGING
    assert spread._scores.of("a") > 0


def test_a_link_that_ends_takes_its_part_in_the_tree_with_it_and_questions_go_to_others_at_once() -> None:
    spread = with_parent("a", "b", "c")
    spread.on_graft("c", 0, 0)
    spread.peer_down("c")
    spread.peer_down("a")
    assert (spread.parent, spread.children) == (None, ())
    spread.take()
    spread.on_have("b", 2, 0)
    assert spread.take() == [Order("b", Word.GRAFT, 2)]
    spread.peer_down("b")
    spread.tick(10)
    assert spread.take() == []
    assert spread.open_questions == 0


def test_what_is_remembered_is_bounded_however_long_the_chain() -> None:
    spread = with_parent("a")
    for height in range(2, 500):
        receive(spread, "a", height)
    assert len(spread._settled) <= REMEMBERED
    assert not spread._held
    assert not spread._checking


def test_blocks_that_others_hear_of_in_another_way_are_not_announced() -> None:
    spread = follower("a")
    spread.committed(1, is_announced=False)
    assert spread.take() == []
    assert spread.height == 1


@pytest.mark.parametrize("word", ["on_have", "on_graft", "on_want"])
def test_words_of_a_peer_without_a_link_change_nothing(word: str) -> None:
    spread = follower("a")
    getattr(spread, word)("nobody", 1, 0)
    spread.on_prune("nobody", 0)
    assert not spread.on_block("nobody", 1, 0)
    assert spread.take() == []
