"""A test network's clock moves the wall clock only, and a node without fault injection has none to move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dawan_node.cli.devnet_shift import parse_shift, shift_words
from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node.clock import AHEAD_MS_MAX, DevnetClock, SystemClock, node_clock

DAY_MS = 86_400_000


def ahead_of(clock: SystemClock) -> int:
    """How far the wall clock is from the machine's, in whole seconds' precision."""
    return round((clock.wall_ms() - SystemClock().wall_ms()) / 1000) * 1000


def test_only_a_node_with_fault_injection_has_a_clock_that_can_be_moved(tmp_path: Path) -> None:
    assert not isinstance(node_clock(tmp_path, faults=False), DevnetClock)
    (tmp_path / "devnet.clock").write_text(f"{21 * DAY_MS}\n")
    assert ahead_of(node_clock(tmp_path, faults=False)) == 0
    assert ahead_of(node_clock(tmp_path, faults=True)) == 21 * DAY_MS


def test_the_wall_clock_moves_both_its_faces_and_the_monotonic_one_stays(tmp_path: Path) -> None:
    clock = DevnetClock(tmp_path / "devnet.clock")
    before = clock.monotonic_ms()
    clock.move(21 * DAY_MS)
    assert ahead_of(clock) == 21 * DAY_MS
    assert abs(clock.now() - datetime.now(UTC) - timedelta(days=21)) < timedelta(seconds=1)
    assert clock.monotonic_ms() - before < DAY_MS
    clock.move(-3_600_000)
    assert ahead_of(clock) == -3_600_000


def test_a_moved_clock_stays_moved_when_the_process_is_restarted(tmp_path: Path) -> None:
    DevnetClock(tmp_path / "devnet.clock").move(5 * DAY_MS)
    assert DevnetClock(tmp_path / "devnet.clock").ahead_ms == 5 * DAY_MS


def test_a_clock_is_not_moved_beyond_the_calendar(tmp_path: Path) -> None:
    clock = DevnetClock(tmp_path / "devnet.clock")
    with pytest.raises(OperatorError, match="50 years"):
        clock.move(AHEAD_MS_MAX + 1)
    assert clock.ahead_ms == 0 and not (tmp_path / "devnet.clock").exists()


@pytest.mark.parametrize("content", [b"", b"soon\n", b"\xff", b"9" * 40])
def test_a_damaged_setting_is_named_and_not_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "devnet.clock").write_bytes(content)
    with pytest.raises(ConfigError, match=r"devnet\.clock"):
        DevnetClock(tmp_path / "devnet.clock")


@pytest.mark.parametrize(
    ("text", "ms", "words"),
    [
        ("+21d", 21 * DAY_MS, "21 d ahead of the machine's time"),
        ("-1h", -3_600_000, "1 h behind the machine's time"),
        ("+90min", 5_400_000, "90 min ahead of the machine's time"),
        ("+5s", 5_000, "5 s ahead of the machine's time"),
        ("+0d", 0, "the machine's time"),
    ],
)
def test_a_shift_reads_as_people_write_it(text: str, ms: int, words: str) -> None:
    assert parse_shift(text) == ms
    assert shift_words(ms) == words


@pytest.mark.parametrize("text", ["21d", "+d", "+1w", "+1.5h", "later", "+9999999999d", "+1d2h", "+²d"])
def test_any_other_shift_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(OperatorError) as refused:
        parse_shift(text)
    assert "+21d" in refused.value.fix
