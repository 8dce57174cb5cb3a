"""The journal: what is open survives a crash at any byte, and a file that does not check is never believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawan_node.cli import import_journal
from dawan_node.cli.exit_codes import CommandFailed
from dawan_node.cli.import_journal import Journal

OWNER = {"channel": "trade", "chain_id": "0x01", "public_key": "0x02", "command": "trade import-ubl"}


def opened(path: Path) -> dict[int, tuple[bytes, ...]]:
    with Journal(path, OWNER) as journal:
        return dict(journal.open_batches)


def written(path: Path) -> None:
    with Journal(path, OWNER) as journal:
        journal.set_open(journal.next_batch(), [b"first", b"second"])
        journal.set_open(journal.next_batch(), [b"third"])
        journal.set_open(1, [b"second"])
        journal.set_open(2, [])


def test_what_is_open_is_there_after_closing_and_settled_batches_are_not(tmp_path: Path) -> None:
    written(tmp_path / "j")
    assert opened(tmp_path / "j") == {1: (b"second",)}
    assert (tmp_path / "j").stat().st_mode & 0o077 == 0


def test_a_crash_at_any_byte_leaves_a_state_that_once_was(tmp_path: Path) -> None:
    written(tmp_path / "j")
    data = (tmp_path / "j").read_bytes()
    states: list[dict[int, tuple[bytes, ...]]] = [
        {},
        {1: (b"first", b"second")},
        {1: (b"first", b"second"), 2: (b"third",)},
        {1: (b"second",), 2: (b"third",)},
        {1: (b"second",)},
    ]
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    for size in range(len(data) + 1):
        cut = tmp_path / "cut"
        cut.write_bytes(data[:size])
        whole_lines = sum(1 for end in ends if end <= size)
        assert opened(cut) == states[max(0, whole_lines - 1)], size
        with Journal(cut, OWNER) as journal:
            journal.set_open(9, [b"later"])
        assert opened(cut) == states[max(0, whole_lines - 1)] | {9: (b"later",)}, "what was cut off is gone for good"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: data.replace(b'"batch":1', b'"batch":7', 1), "is damaged"),
        (lambda data: data.replace(b"trade", b"other", 1), "is no journal"),
        (lambda data: b"hello\n" + data, "is no journal"),
        (lambda data: data[: data.index(b"\n") + 1] + b"\n" + data[data.index(b"\n") + 1 :], "is damaged"),
        (lambda data: data + b"\x00\n", "is damaged"),
        (lambda data: data + b"00000000 {}\n", "is damaged"),
    ],
)
def test_a_file_that_does_not_check_is_refused(tmp_path: Path, spoil: object, says: str) -> None:
    written(tmp_path / "j")
    assert callable(spoil)
    (tmp_path / "j").write_bytes(spoil((tmp_path / "j").read_bytes()))
    with pytest.raises(CommandFailed, match=says):
        opened(tmp_path / "j")


def test_a_journal_of_another_version_channel_or_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "j")
    with pytest.raises(CommandFailed, match="belongs to another import"):
        Journal(tmp_path / "j", OWNER | {"public_key": "0x03"})
    monkeypatch.setattr(import_journal, "VERSION", 2)
    with pytest.raises(CommandFailed, match="is of version 1"):
        opened(tmp_path / "j")


def test_two_imports_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", OWNER), pytest.raises(CommandFailed, match="is in use"):
        opened(tmp_path / "j")
    assert opened(tmp_path / "j") == {}


def test_it_stays_small_however_long_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_journal, "BYTES_MAX", 4_096)
    path = tmp_path / "j"
    with Journal(path, OWNER) as journal:
        journal.set_open(1, [b"kept"])
        for _ in range(200):
            number = journal.next_batch()
            journal.set_open(number, [b"x" * 300])
            journal.set_open(number, [])
            assert path.stat().st_size < 2 * 4_096
        with pytest.raises(CommandFailed, match="is in use"):
            opened(path)
    assert opened(path) == {1: (b"kept",)}
