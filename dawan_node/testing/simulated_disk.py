"""A disk in memory that keeps exactly the promises a real one makes, and no more.

Content counts as durable only after ``sync_data``, names only after ``sync_directory``. ``crash`` gives the disk as it
might be after a power cut: everything durable, plus an arbitrary part of the rest. ``fail_at`` makes one chosen
operation fail, which for a write may leave a part of it behind.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dawan_node.storage.files import FileOperations

OPERATIONS = (
    "make_directory", "list_directory", "read", "open_append", "append", "sync_data", "truncate", "rename", "remove",
    "sync_directory",
)  # fmt: skip


@dataclass
class Inode:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass
class Directory:
    names: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)
    exists_for_good: bool = False


class HeldNowhere:
    def release(self) -> None:
        pass


class SimulatedDisk(FileOperations):
    def __init__(self) -> None:
        self.directories: dict[Path, Directory] = {}
        self.open_files: dict[int, Inode] = {}
        self.calls = 0
        self.fail_at: int | None = None
        self.error = errno.EIO
        self.failed_in: str | None = None
        self.counts = dict.fromkeys(OPERATIONS, 0)
        self._forgets = False
        #: Told of every operation before it happens; it may raise, as power does that fails.
        self.listener: Callable[[str], None] | None = None

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Meanwhile a sync says it is done and does nothing: a disk that no program can be right on."""
        self._forgets = True
        try:
            yield
        finally:
            self._forgets = False

    def make_directory(self, path: Path) -> None:
        self._call("make_directory")
        self.directories.setdefault(path, Directory())

    def list_directory(self, path: Path) -> list[str]:
        self._call("list_directory")
        if path not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
        return list(self.directories[path].names)

    def lock(self, path: Path, protects: Path) -> HeldNowhere:
        return HeldNowhere()

    def read(self, path: Path) -> bytes:
        self._call("read")
        return bytes(self._inode(path).content)

    def open_append(self, path: Path, *, create: bool) -> int:
        self._call("open_append")
        names = self.directories[path.parent].names
        if create:
            if path.name in names:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            names[path.name] = Inode()
        descriptor = len(self.open_files) + 3
        self.open_files[descriptor] = self._inode(path)
        return descriptor

    def append(self, descriptor: int, data: bytes | memoryview) -> int:
        content = self.open_files[descriptor].content
        try:
            self._call("append")
        except OSError:
            content += bytes(data[: len(data) // 2])
            raise
        # Like the system call, it may write less than asked.
        written = max(1, len(data) - self.calls % 3)
        content += bytes(data[:written])
        return written

    def sync_data(self, descriptor: int) -> None:
        self._call("sync_data")
        if not self._forgets:
            inode = self.open_files[descriptor]
            inode.durable = bytes(inode.content)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._call("truncate")
        del self.open_files[descriptor].content[size_bytes:]

    def close(self, descriptor: int) -> None:
        self.open_files[descriptor] = Inode()

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        names = self.directories[source.parent].names
        names[target.name] = names.pop(source.name)

    def remove(self, path: Path) -> None:
        self._call("remove")
        self._inode(path)
        del self.directories[path.parent].names[path.name]

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        if path in self.directories:
            self.directories[path].durable = dict(self.directories[path].names)
        for child, directory in self.directories.items():
            directory.exists_for_good |= child.parent == path

    def crash(self, source: random.Random) -> SimulatedDisk:
        """The disk after a power cut; what was not synced is there, cut off, zeroed or missing."""
        after = SimulatedDisk()
        for path, directory in self.directories.items():
            if not directory.exists_for_good and source.random() < 0.5:
                continue
            names = dict(directory.durable)
            for name in sorted(directory.durable.keys() | directory.names.keys()):
                if directory.durable.get(name) is not directory.names.get(name) and source.random() < 0.5:
                    if name in directory.names:
                        names[name] = directory.names[name]
                    else:
                        del names[name]
            survivors = {name: survivor(inode, source) for name, inode in names.items()}
            after.directories[path] = Directory(survivors, dict(survivors), exists_for_good=True)
        return after

    def _inode(self, path: Path) -> Inode:
        names = self.directories[path.parent].names
        if path.name not in names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return names[path.name]

    def _call(self, operation: str) -> None:
        if self.listener is not None:
            self.listener(operation)
        self.counts[operation] += 1
        self.calls += 1
        if self.calls == self.fail_at:
            self.failed_in = operation
            raise OSError(self.error, os.strerror(self.error))


def survivor(inode: Inode, source: random.Random) -> Inode:
    content, durable = bytes(inode.content), inode.durable
    if content.startswith(durable):
        tail = content[len(durable) :]
        kept = tail[: source.randint(0, len(tail))]
        if source.random() < 0.3:
            # The length reached the disk, the last blocks did not.
            kept += bytes(source.randint(0, len(tail) - len(kept)))
        content = durable + kept
    elif source.random() < 0.5:
        content = durable
    return Inode(bytearray(content), content)
