"""The reserve on the disk, and how much of it must be free."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from dawan_node.errors import StorageError, StorageReason
from dawan_node.storage.room import FLOOR_BYTES, RESERVE_BYTES, Room

MIB = 1024 * 1024


class Disk:
    """What ``statvfs`` is made to say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.size, self.free = 1024 * MIB * 16, 1024 * MIB
        monkeypatch.setattr(os, "statvfs", self._statvfs)

    def _statvfs(self, _: object) -> object:
        return SimpleNamespace(f_frsize=4096, f_blocks=self.size // 4096, f_bavail=self.free // 4096)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_the_reserve_holds_real_blocks_and_is_given_back(tmp_path: Path, disk: Disk) -> None:
    room = Room(tmp_path, 2 * MIB)
    assert not room.has_reserve() and room.secure_for_start() and room.has_reserve()
    assert os.stat(tmp_path / "reserve").st_blocks * 512 >= 2 * MIB
    os.truncate(tmp_path / "reserve", 4096)
    assert not room.has_reserve(), "a reserve that lost its blocks is none"
    room.secure()
    room.release()
    assert list(tmp_path.iterdir()) == []


def test_a_start_on_a_full_disk_gives_the_reserve_up_once_and_is_refused_without_one(
    tmp_path: Path, disk: Disk
) -> None:
    room = Room(tmp_path, 2 * MIB)
    room.secure()
    disk.free = FLOOR_BYTES - 4096
    with pytest.raises(StorageError) as full:
        room.check()
    assert full.value.reason is StorageReason.FULL
    assert room.secure_for_start() is False and not room.has_reserve()
    with pytest.raises(StorageError) as again:
        room.secure_for_start()
    assert again.value.reason is StorageReason.FULL
    with pytest.raises(StorageError):
        room.secure()
    disk.free = FLOOR_BYTES + 2 * MIB
    assert room.secure_for_start() and room.has_reserve()


def test_on_a_small_disk_reserve_and_floor_are_small(tmp_path: Path, disk: Disk) -> None:
    assert (Room(tmp_path).reserve_bytes, Room(tmp_path).floor_bytes) == (RESERVE_BYTES, FLOOR_BYTES)
    disk.size = 24 * MIB
    assert (Room(tmp_path).reserve_bytes, Room(tmp_path).floor_bytes) == (24 * MIB // 16, 24 * MIB // 16)
