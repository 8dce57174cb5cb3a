"""Snapshots on disk: the ones this node made and offers, and the one it is fetching.

``data/<channel>/snapshots/<height>/`` holds a finished snapshot: ``manifest`` and ``part-000000`` and so on. It is made
in a folder whose name begins with ``making-`` and renamed when every file in it is durable, so a folder with a height
as its name is whole. ``data/<channel>/incoming/`` holds what is being fetched, in the same files, and at the end the
database made of it.

Every file carries a checksum, because parts are handed to peers who would blame this node for what the disk changed.
A file that does not fit is as good as none.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from zlib import crc32

from dawan_node import failpoints
from dawan_node.storage.files import PRIVATE_FILE_MODE, make_private_directory, sync_directory

#: The newest and the one before: whoever began to fetch the older one has as long as a whole interval to finish.
KEPT_SNAPSHOTS = 2

_MANIFEST = "manifest"
_MAKING = "making-"
_REMOVING = "removing-"
_CRC_BYTES = 4


class PartFolder:
    """The files of one snapshot. Every method may raise ``OSError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_manifest(self, data: bytes) -> None:
        """Keep what describes the parts, durably; replaces an earlier one at once or not at all."""
        _write(self.path / _MANIFEST, data)
        sync_directory(self.path)

    def manifest(self) -> bytes | None:
        """What ``write_manifest`` kept, None when it is not there or not whole."""
        return _read(self.path / _MANIFEST)

    def write_part(self, part: int, data: bytes) -> None:
        """Keep one part, durably but for its name: ``sync`` before relying on a whole set."""
        _write(self.part_file(part), data)

    def part(self, part: int) -> bytes | None:
        """One part, None when it is not there or not whole."""
        return _read(self.part_file(part))

    def part_file(self, part: int) -> Path:
        """The file of one part."""
        return self.path / f"part-{part:06d}"

    def sync(self) -> None:
        """Make the names of the parts durable."""
        sync_directory(self.path)


class SnapshotFolders:
    """The finished snapshots of one channel. Every method may raise ``OSError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def heights(self) -> list[int]:
        """Of the finished snapshots, newest first."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)

    def at(self, height: int) -> PartFolder:
        """The finished snapshot of ``height``."""
        return PartFolder(self.path / str(height))

    def begin(self, height: int) -> PartFolder:
        """An empty folder to make a snapshot in."""
        make_private_directory(self.path)
        self.clear()
        folder = PartFolder(self.path / f"{_MAKING}{height}")
        make_private_directory(folder.path)
        failpoints.reach("snapshot.begun")
        return folder

    def finish(self, folder: PartFolder, height: int) -> None:
        """``folder`` is complete: it appears under its height, and the oldest that are too many leave."""
        folder.sync()
        failpoints.reach("snapshot.before_finish")
        os.rename(folder.path, self.path / str(height))
        failpoints.reach("snapshot.between")
        sync_directory(self.path)
        for old in self.heights()[KEPT_SNAPSHOTS:]:
            self.remove(old)
        failpoints.reach("snapshot.finished")

    def remove(self, height: int) -> None:
        """Remove a finished snapshot; interrupted, it is no longer one and ``clear`` removes the rest."""
        removing = self.path / f"{_REMOVING}{height}"
        os.rename(self.path / str(height), removing)
        failpoints.reach("snapshot.removing")
        shutil.rmtree(removing)

    def clear(self) -> None:
        """Remove what was interrupted."""
        failpoints.reach("snapshot.before_clear")
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in names:
            if name.startswith((_MAKING, _REMOVING)):
                shutil.rmtree(self.path / name)


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(path.name + ".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    try:
        view = memoryview(data + crc32(data).to_bytes(_CRC_BYTES, "big"))
        while view:
            view = view[os.write(descriptor, view) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    failpoints.reach("part.before_rename")
    os.rename(unfinished, path)
    failpoints.reach("part.after_rename")


def _read(path: Path) -> bytes | None:
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    data = stored[:-_CRC_BYTES]
    return data if crc32(data).to_bytes(_CRC_BYTES, "big") == stored[len(data) :] else None
