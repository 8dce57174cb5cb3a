"""Public files change all at once, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.errors import ConfigError
from dawan_node.node.public_files import replace_files

OLD = {"genesis/trade.bin": b"old genesis", "gz.pem": b"old pem", "consortium.toml": b"old"}
NEW = {"genesis/trade.bin": b"new genesis", "gz.pem": b"new pem", "consortium.toml": b"new"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    replace_files(tmp_path / "network", OLD)
    return tmp_path / "network"


def test_new_content_takes_the_place_of_the_old_and_leaves_no_temporary_file(folder: Path) -> None:
    paths = replace_files(folder, NEW)
    assert content(folder) == NEW and [path.name for path in paths] == ["trade.bin", "gz.pem", "consortium.toml"]


def test_what_is_the_same_is_not_written_again(folder: Path) -> None:
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    replace_files(folder, OLD)
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before


@pytest.mark.parametrize("call", range(3))
def test_a_disk_that_is_full_at_any_file_leaves_the_old_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    calls = iter(range(100))

    def full(descriptor: int, sync: Callable[[int], None] = os.fsync) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot be written.*No space left"):
        replace_files(folder, NEW)
    assert content(folder) == OLD


def test_the_last_entry_is_the_last_to_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between two renames leaves an old consortium.toml, beside which `network verify` finds new files."""
    seen: list[bytes] = []

    def watched(source: Path, target: Path, replace: Callable[[Path, Path], None] = os.replace) -> None:
        seen.append((folder / "consortium.toml").read_bytes())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    replace_files(folder, NEW)
    assert seen == [b"old"] * 3 and content(folder) == NEW


def test_a_link_is_replaced_and_never_written_through(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"new pem")
    (folder / "gz.pem").unlink()
    (folder / "gz.pem").symlink_to(elsewhere)
    (folder / ".consortium.toml.new").symlink_to(elsewhere)
    replace_files(folder, NEW)
    assert elsewhere.read_bytes() == b"new pem" and content(folder) == NEW
    assert not (folder / "gz.pem").is_symlink()


def test_something_in_the_way_is_one_clear_error(folder: Path) -> None:
    (folder / ".gz.pem.new").mkdir()
    with pytest.raises(ConfigError, match=r"\.gz\.pem\.new cannot be written"):
        replace_files(folder, NEW)
    assert content(folder) == OLD
