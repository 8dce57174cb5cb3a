"""What a node thinks of its peers."""

from __future__ import annotations

from dawan_node.p2p.scores import BEST, HALF_LIFE_MS, REPLACED, WORST, Deed, Scores


def test_praise_has_a_limit_so_that_few_failures_outweigh_an_hour_of_good_service() -> None:
    scores = Scores(0)
    for _ in range(10_000):
        scores.note("flash", Deed.FIRST)
    assert scores.of("flash") == BEST
    for _ in range(8):
        scores.note("flash", Deed.SILENT)
    assert scores.worst() == ("flash",)


def test_blame_has_a_limit_and_everything_fades() -> None:
    scores = Scores(0)
    for _ in range(100):
        scores.note("gz9", Deed.INVALID)
    assert scores.of("gz9") == WORST
    scores.tick(HALF_LIFE_MS)
    assert scores.of("gz9") == WORST // 2
    scores.tick(20 * HALF_LIFE_MS)
    assert scores.of("gz9") == 0
    assert scores.worst() == ()


def test_the_worst_peers_come_first_and_only_those_whose_links_are_better_used() -> None:
    scores = Scores(0)
    scores.note("a", Deed.INVALID)
    for _ in range(-REPLACED // -Deed.SILENT + 1):
        scores.note("b", Deed.SILENT)
    scores.note("c", Deed.SPAM)
    scores.note("d", Deed.FIRST)
    assert scores.worst() == ("a", "b")
    assert scores.is_distrusted("b")
    assert not scores.is_distrusted("c")
