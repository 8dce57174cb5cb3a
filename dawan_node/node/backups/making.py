"""``backup create``: from snapshots of the databases, into a folder that is complete or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dawan_node
from dawan_node.errors import DawanError, StorageError
from dawan_node.node.backups.manifest import (
    FORMAT,
    LEFT_OUT,
    MANIFEST,
    NAME,
    BackedUpChannel,
    BackedUpFile,
    Manifest,
    read_manifest,
)
from dawan_node.node.backups.records import write_records
from dawan_node.node.database.finding import FileRefused
from dawan_node.node.home import Home
from dawan_node.storage import schema
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.files import make_private_directory, sync_directory
from dawan_node.storage.kv import KeyValueSnapshot

#: Bytes a second a backup writes beside a running node: a quarter of what a small server's disk takes, and a few
#: percent of one core.
BYTES_PER_S: Final = 32 * 1024 * 1024
#: What must stay free beside a backup: a running node needs room for its own log and compactions.
RESERVE_BYTES: Final = 256 * 1024 * 1024


class Cancelled(DawanError):
    """The node stops; the unfinished backup is removed."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose backup it is."""

    network: str
    node: str
    org: str


class Pace:
    """Holds a backup to so many bytes a second, counts them, and ends it when asked to. Thread-safe."""

    def __init__(self, bytes_per_s: int = BYTES_PER_S) -> None:
        self._bytes_per_s: Final = bytes_per_s
        self._stop: Final = threading.Event()
        self._started = time.monotonic()
        self.bytes = 0

    def cancel(self) -> None:
        """End the backup at the next chunk."""
        self._stop.set()

    def __call__(self, written: int) -> None:
        """Wait as long as ``written`` bytes ought to have taken. Raises Cancelled."""
        self.bytes += written
        ahead_s = self.bytes / self._bytes_per_s - (time.monotonic() - self._started)
        if self._stop.wait(max(0.0, ahead_s)):
            raise Cancelled("the backup was ended")


def backup_folder(home: Home) -> Path:
    """Where a home keeps its backups until somebody carries them elsewhere."""
    return home.path / "backups"


def name_for(now: datetime) -> str:
    """The name of a backup made now, where none is given."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}"


def check_name(home: Home, name: str) -> Path:
    """The folder a new backup of that name goes to. Raises FileRefused."""
    if not NAME.fullmatch(name):
        raise FileRefused(
            "BK_NAME", f"{name[:80]!r} cannot name a backup", f"a name is {NAME.pattern}", "Choose another one."
        )
    target = backup_folder(home) / name
    if target.exists() or target.is_symlink():
        raise FileRefused("BK_EXISTS", f"{target} exists", "a backup is never overwritten", "Choose another name.")
    return target


def check_space(home: Home, needed: int) -> None:
    """Raises FileRefused when a backup of about ``needed`` bytes would not leave the node enough room."""
    folder = backup_folder(home)
    free = shutil.disk_usage(folder if folder.is_dir() else home.path).free
    if free < needed + RESERVE_BYTES:
        raise FileRefused(
            "BK_SPACE",
            "there is not enough free disk for a backup",
            f"it needs about {needed >> 20:,} MiB and must leave {RESERVE_BYTES >> 20}; {free >> 20:,} MiB are free",
            "Remove or carry away old backups, or make HOME/backups a mount of another disk.",
        )


def create(
    home: Home,
    target: Path,
    about: About,
    snapshots: Mapping[str, Callable[[], KeyValueSnapshot]],
    pace: Callable[[int], None],
    now: datetime,
) -> Manifest:
    """Write the backup of the channels whose databases ``snapshots`` show into the new folder ``target``.

    Each channel is as of the moment its turn comes. Raises FileRefused when the folder cannot be written, StorageError
    when a database cannot be read, Cancelled; then nothing is left but what cannot be removed.
    """
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        make_private_directory(target.parent)
        make_private_directory(unfinished)
        try:
            manifest = _write(home, unfinished, about, snapshots, pace, now)
            os.rename(unfinished, target)
            sync_directory(target.parent)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except OSError as error:
        raise FileRefused(
            "BK_UNWRITABLE", f"{target} cannot be written", error.strerror or "unknown reason", "Check folder and disk."
        ) from None
    return manifest


def _write(
    home: Home,
    folder: Path,
    about: About,
    snapshots: Mapping[str, Callable[[], KeyValueSnapshot]],
    pace: Callable[[int], None],
    now: datetime,
) -> Manifest:
    files: list[BackedUpFile] = []
    channels: list[BackedUpChannel] = []
    for relative, data in public_files(home).items():
        path = folder / relative
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_file(path, data)
        files.append(BackedUpFile(relative, hashlib.sha256(data).hexdigest(), len(data)))
    for channel, take in snapshots.items():
        snapshot = take()
        try:
            name = f"{channel}.records"
            facts = _facts(channel, snapshot)
            records, size, digest = write_records(snapshot, folder / name, pace)
        finally:
            snapshot.close()
        files.append(BackedUpFile(name, digest, size))
        channels.append(BackedUpChannel(*facts, records))
    created = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest = Manifest(
        FORMAT,
        about.network,
        about.node,
        about.org,
        created,
        dawan_node.__version__,
        tuple(channels),
        tuple(files),
        LEFT_OUT,
    )
    for parent in sorted({(folder / entry.file).parent for entry in files} | {folder}):
        sync_directory(parent)
    _write_file(folder / MANIFEST, manifest.render())
    sync_directory(folder)
    return read_manifest(folder)


def public_files(home: Home) -> dict[str, bytes]:
    """The public files of the network by path below the backup: nothing of the keys, nothing that names this party.

    Raises OSError.
    """
    paths = [
        home.consortium_file,
        *sorted(home.network.glob("*.pem")),
        *sorted(home.network.glob("genesis/*.bin")),
        *sorted(home.revocation_lists.glob("*.pem")),
    ]
    return {path.relative_to(home.path).as_posix(): path.read_bytes() for path in paths}


def _facts(channel: str, snapshot: KeyValueSnapshot) -> tuple[str, str, int, str, str, int]:
    blocks = BlockStore(snapshot)
    head, genesis = blocks.head(), blocks.result(0)
    version = snapshot.get(schema.SCHEMA_KEY)
    if head is None or genesis is None or version is None:
        raise StorageError(f"the database of {channel} has no genesis")
    return (
        channel,
        f"0x{genesis.block_hash.hex()}",
        head.height,
        f"0x{head.block_hash.hex()}",
        f"0x{head.result.state_root.hex()}",
        int.from_bytes(version, "big"),
    )


def _write_file(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def list_backups(home: Home) -> list[tuple[str, Manifest | FileRefused]]:
    """Every folder in HOME/backups by name, with its manifest or what is wrong with that."""
    found: list[tuple[str, Manifest | FileRefused]] = []
    folder = backup_folder(home)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for name in names:
        if name.startswith("."):
            continue  # being made, or left over from a crash; never complete
        try:
            found.append((name, read_manifest(folder / name)))
        except FileRefused as error:
            found.append((name, error))
    return found
