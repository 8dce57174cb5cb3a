"""What is in a backup: one folder, one manifest, and every file of it by hash.

::

    manifest.json           written last: without it there is no backup
    network/...             consortium.toml, CA certificates and revocation lists, genesis of every channel
    <channel>.records       every record of the channel's database as of one moment (see ``records``)

Not in it: keys, whose copies are ``keys backup``'s business, and the write-ahead log, which must never be restored
(amendment U6): a node that forgets what it signed may sign otherwise.

The manifest names itself by a digest over all the rest of it, and its bytes are the only ones that say the same, so
one changed byte anywhere in the folder is found.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from dawan_node.node.database.finding import FileRefused

FORMAT: Final = "dawan-backup-1"
MANIFEST: Final = "manifest.json"
LEFT_OUT: Final = (
    "keys: see dawan-node keys backup",
    "data/wal: never restored, it would forget what was signed since",
)
#: A channel's entry is a few hundred bytes, and a node serves tens of channels.
MANIFEST_BYTES_MAX: Final = 1024 * 1024
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_CHUNK: Final = 1024 * 1024


class BackedUpFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file, by its path below the folder."""

    file: str
    sha256: str
    bytes: int


class BackedUpChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ledger as of one height."""

    channel: str
    chain_id: str
    height: int
    block_hash: str
    state_root: str
    schema: int
    records: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of contents. ``created`` is RFC 3339 UTC; ``digest`` the SHA-256 of the manifest with an empty one."""

    format: str
    network: str
    node: str
    org: str
    created: str
    program: str
    channels: tuple[BackedUpChannel, ...]
    files: tuple[BackedUpFile, ...]
    left_out: tuple[str, ...]
    digest: str = ""

    def render(self) -> bytes:
        """The bytes of ``manifest.json``; the only ones that are accepted for this content."""
        plain = msgspec.structs.replace(self, digest="")
        digest = hashlib.sha256(_render(plain)).hexdigest()
        return _render(msgspec.structs.replace(plain, digest=digest))


def _render(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup, itself undamaged. Raises FileRefused."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MANIFEST_BYTES_MAX + 1)
    except FileNotFoundError:
        raise FileRefused(
            "BK_INCOMPLETE",
            f"{folder} is no backup",
            f"{MANIFEST}, which is written last, is missing",
            "Name another folder: `dawan-node backup list` shows those that are complete.",
        ) from None
    except OSError as error:
        raise FileRefused(
            "BK_UNREADABLE", f"{path} cannot be read", error.strerror or "unknown reason", "Check the folder's mode."
        ) from None
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise altered(folder, f"{MANIFEST} cannot be read") from None
    if found.format != FORMAT:
        raise FileRefused(
            "BK_VERSION",
            f"{folder} has format {found.format[:40]!r}",
            f"this program knows {FORMAT}",
            "Use the version of dawan-node that made it.",
        )
    if found.render() != data:
        raise altered(folder, f"{MANIFEST} is not as it was written")
    return found


def check_files(folder: Path, manifest: Manifest) -> Iterator[BackedUpFile]:
    """Read every file of a backup; yields each that is as it was written. Raises FileRefused at the first other."""
    named = {entry.file for entry in manifest.files} | {MANIFEST}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and relative not in named):
            raise altered(folder, f"{relative} is not in its manifest")
    for entry in manifest.files:
        size, digest = _digest(folder, entry.file)
        if (size, digest) != (entry.bytes, entry.sha256):
            raise altered(folder, f"{entry.file} is not as it was written")
        yield entry


def altered(folder: Path, why: str) -> FileRefused:
    """The backup was changed since it was made."""
    return FileRefused("BK_ALTERED", f"the backup {folder} is damaged", why, "Use another backup; nothing was changed.")


def _digest(folder: Path, name: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        with (folder / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        raise altered(folder, f"{name} is missing") from None
    except OSError as error:
        raise FileRefused(
            "BK_UNREADABLE", f"{folder / name} cannot be read", error.strerror or os.strerror(5), "Check the disk."
        ) from None
    return size, digest.hexdigest()
