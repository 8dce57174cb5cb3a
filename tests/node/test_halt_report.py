"""The proof of a halt is one private file, whole or absent, the same however often it is written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from dawan_node.consensus.records import HaltedRecord
from dawan_node.errors import ConfigError
from dawan_node.node.halt_report import read_halt, write_halt

HALTED = HaltedRecord("two blocks are prepared at height 4 in view 2", b"\x01\x02", b"\x03")


def write(path: Path, halted: HaltedRecord = HALTED) -> None:
    write_halt(path, "gz1", "trade", bytes(range(32)), halted)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "halt-trade.json"


def test_it_holds_both_signed_statements_and_is_for_its_owner_alone(path: Path) -> None:
    write(path)
    assert (
        json.loads(path.read_text())
        == read_halt(path)
        == {
            "channel": "trade",
            "chain_id": "0x" + bytes(range(32)).hex(),
            "node": "gz1",
            "reason": HALTED.reason,
            "first": "0x0102",
            "second": "0x03",
        }
    )
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["halt-trade.json"]


def test_the_same_halt_leaves_the_file_alone_and_another_replaces_it(path: Path) -> None:
    write(path)
    inode = path.stat().st_ino
    write(path)
    assert path.stat().st_ino == inode
    write(path, HaltedRecord("another", b"", b""))
    assert read_halt(path)["reason"] == "another"


def test_a_link_put_in_its_place_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    path.parent.mkdir()
    path.symlink_to(target)
    path.with_name(f".{path.name}.new").symlink_to(target)
    write(path)
    assert target.read_text() == "precious" and not path.is_symlink()


def test_a_full_disk_leaves_nothing_half_written_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"halt-trade.json cannot be written.*No space left"):
        write(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"reason": 1}', "\x00"])
def test_a_damaged_file_is_the_operators_to_know(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_halt(path)
