"""Extended walks go on where they were interrupted, each seed is played once, and a failing one says how to play it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.modules import walk_shards
from tests.modules.walk_shards import LONG_ONE_OF, Busy, Lengths, Shard, Walks, play_shard, read, replay_command

LENGTHS = Lengths(7, 20)
SHARD = Shard("title", 1, 3, 20, LENGTHS)


class Played:
    """Walks that note their seeds, and stop or fail at some of them."""

    def __init__(self, *, stop_at: int = -1, fail_at: tuple[int, ...] = ()) -> None:
        self.seeds: list[int] = []
        self.stop_at, self.fail_at = stop_at, fail_at
        self.walks = Walks("title", lambda: None, self.play, Lengths(1, 2), LENGTHS)

    def play(self, seed: int, blocks: int) -> None:
        assert blocks == SHARD.lengths.of(seed) == (7 if seed % LONG_ONE_OF else 20)
        if seed == self.stop_at:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        if seed in self.fail_at:
            raise AssertionError(f"{seed} is odd")


@pytest.mark.parametrize(("walks", "of"), [(10_000, 1), (10_000, 10), (10_000, 7), (3, 3), (2, 5)])
def test_each_seed_is_in_one_shard(walks: int, of: int) -> None:
    seeds = [seed for number in range(of) for seed in Shard("lc", number, of, walks, LENGTHS).seeds]
    assert seeds == list(range(walks))


def test_an_interrupted_shard_goes_on_after_the_last_walk_that_was_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_shards, "WRITTEN_EVERY_S", 0.0)
    first = Played(stop_at=10)
    with pytest.raises(KeyboardInterrupt):
        play_shard(SHARD, first.walks, tmp_path)
    second = Played()
    said: list[str] = []
    progress = play_shard(SHARD, second.walks, tmp_path, said.append)
    assert first.seeds + second.seeds == list(SHARD.seeds)
    assert progress.tally.walks == len(SHARD.seeds)
    assert said[0] == "title 1/3: goes on at seed 10"
    third = Played()
    play_shard(SHARD, third.walks, tmp_path)
    assert third.seeds == []


def test_what_other_code_came_by_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_shard(SHARD, Played().walks, tmp_path)
    assert read(SHARD, tmp_path) is not None
    monkeypatch.setattr(walk_shards, "version", lambda: "another")
    again = Played()
    play_shard(SHARD, again.walks, tmp_path)
    assert again.seeds == list(SHARD.seeds)


def test_a_failing_walk_is_told_with_the_command_that_plays_it_again(tmp_path: Path) -> None:
    said: list[str] = []
    progress = play_shard(SHARD, Played(fail_at=(9,)).walks, tmp_path, said.append)
    assert progress.failures == [(9, "AssertionError: 9 is odd")]
    assert "FAILED: scripts/walks title --seed 9 --blocks 20: AssertionError: 9 is odd" in said
    assert replay_command(SHARD, 9) in said[0]
    assert progress.next == SHARD.seeds.stop
    found = read(SHARD, tmp_path)
    assert found is not None and found.failures == progress.failures


def test_a_shard_that_only_fails_ends_early(tmp_path: Path) -> None:
    played = Played(fail_at=tuple(SHARD.seeds))
    assert len(play_shard(SHARD, played.walks, tmp_path).failures) == walk_shards.FAILURES_MAX == len(played.seeds)


def test_two_processes_do_not_play_one_shard(tmp_path: Path) -> None:
    inner: list[str] = []

    def play(seed: int, blocks: int) -> None:
        try:
            play_shard(SHARD, Played().walks, tmp_path)
        except Busy as error:
            inner.append(str(error))

    play_shard(SHARD, Walks("title", lambda: None, play, Lengths(1, 2), LENGTHS), tmp_path)
    assert len(inner) == len(SHARD.seeds)
