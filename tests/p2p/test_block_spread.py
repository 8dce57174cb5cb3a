"""The tree that blocks are spread along, one node at a time."""

from __future__ import annotations

import pytest

from dawan_node.p2p.block_spread import (
    AHEAD_MAX,
    ANSWER_MS,
    CHILDREN_MAX,
    DECLINED_MS,
    LAG_BLOCKS,
    LAG_MS,
    MISSES_MAX,
    PATIENCE_MS,
    REMEMBERED,
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


def test_a_block_that_does_not_come_is_asked_for_after_the_patience_of_one_then_of_two_others() -> None:
    spread = with_parent("a", "b", "c", "d")
    for peer in ("b", "c", "d"):
        spread.on_have(peer, 2, 10)
    spread.tick(10 + PATIENCE_MS - 1)
    assert spread.take() == []
    assert spread.next_deadline() == 10 + PATIENCE_MS
    spread.tick(10 + PATIENCE_MS)
    assert spread.take() == [Order("b", Word.WANT, 2)]
    spread.tick(10 + PATIENCE_MS + ANSWER_MS)
    assert spread.take() == [Order("c", Word.WANT, 2), Order("d", Word.WANT, 2)]


def test_one_late_block_leaves_the_tree_as_it_is_and_the_second_makes_the_helper_the_parent() -> None:
    spread = with_parent("a", "b")
    for height in range(2, 2 + MISSES_MAX):
        assert spread.parent == "a"
        spread.on_have("b", height, 0)
        spread.tick(PATIENCE_MS)
        receive(spread, "b", height, PATIENCE_MS)
    assert spread.parent == "b"
    assert [order for order in spread.take() if order.word in (Word.PRUNE, Word.GRAFT)] == [
        Order("a", Word.PRUNE),
        Order("b", Word.GRAFT, 0),
    ]


def test_a_block_that_was_asked_for_too_soon_makes_the_node_more_patient_and_punctual_ones_less() -> None:
    spread = with_parent("a", "b")
    spread.on_have("b", 2, 0)
    spread.tick(PATIENCE_MS)
    receive(spread, "b", 2)
    assert not spread.on_block("a", 2, 0)  # it was on its way
    spread.on_have("b", 3, 1_000)
    assert spread.next_deadline() == 1_000 + 2 * PATIENCE_MS
    for height in range(3, 40):
        receive(spread, "a", height)
    spread.on_have("b", 40, 2_000)
    assert spread.next_deadline() == 2_000 + PATIENCE_MS


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
    spread.tick(DECLINED_MS)
    assert Order("a", Word.GRAFT, 1) in spread.take()


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
    assert len(spread._answers) <= REMEMBERED
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
