"""File systems of our own to break: an ext4 image whose power can be cut, and a small memory disk that can be filled.

Mounting needs root. It happens in a mount namespace of this process and its children, so that nothing is left behind
whatever happens; a process that called ``own_namespace`` stays in it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x00020000
#: ``EXT4_IOC_SHUTDOWN`` (linux/fs/ext4/ext4.h): from now on every operation fails, and ...
_EXT4_IOC_SHUTDOWN = 0x8004587D
#: ... not even the journal is flushed, which is what a power cut does.
_NO_LOG_FLUSH = 2

IMAGE_BYTES = 96 * 1024 * 1024


def why_not() -> str | None:
    """Why mounts cannot be made here, or None."""
    if os.geteuid() != 0:
        return "mounting needs root"
    return None


def why_no_power_cuts() -> str | None:
    """Why there is no ext4 to cut the power of, or None."""
    missing = [tool for tool in ("mkfs.ext4", "mount", "losetup") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    return why_not()


def own_namespace() -> None:
    """Mounts made from now on are seen by this process and its children alone. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "a mount namespace cannot be made")
    run("mount", "--make-rprivate", "/")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class PowerDisk:
    """An ext4 file system in an image, mounted on ``path``."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.ext4"
        self.path = folder / "disk"
        self.path.mkdir()
        with open(self._image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", str(self._image))
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", str(self._image), str(self.path))

    def cut_power(self) -> None:
        """Nothing reaches the disk any more, and what it was not told to keep is gone."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        run("umount", str(self.path))


def mount_memory_disk(path: Path, mebibytes: int) -> None:
    """A tmpfs of that size."""
    path.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path))
