"""A copy of the keys that can be restored without danger, each proven to open before it is copied.

Identities and the certificate authority cannot be replaced by their owner alone, so they are copied: as encrypted as
they are, with a manifest of SHA-256 hashes. The node key is not: a second machine with it could sign two things for
one slot, and the log that prevents this is never restored (design section 6). The TLS key needs no copy, because a
new one costs a certificate.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dawan_node.crypto import keystore
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.keystore import SecretKind
from dawan_node.errors import KeystoreError
from dawan_node.node.home import Home
from dawan_node.node.own_authority import REGISTER_BYTES_MAX
from dawan_node.storage.files import sync_directory

FORMAT: Final = "dawan-key-backup-1"
MANIFEST: Final = "manifest.json"
LEFT_OUT: Final = (
    "keys/node.key.json: one machine only; lost, it is replaced by a vote",
    "data/wal: never restored, it would forget what was signed since",
    "keys/tls.key.json: lost, it is replaced by `cert renew --new-key`",
)


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of a backup."""

    file: str
    sha256: str
    bytes: int


def back_up(home: Home, target: Path, passphrase: bytes, now: datetime) -> list[Copied]:
    """Copy the keys of ``home`` that may be copied into the new folder ``target``; complete when it has that name.

    Raises KeystoreError: a key does not open under ``passphrase``, there is nothing to copy, or ``target`` exists.
    """
    if target.exists() or target.is_symlink():
        raise KeystoreError(f"{target} exists", "a backup is never overwritten", "Choose another folder.")
    contents = _contents(home, passphrase)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        return _write(unfinished, target, contents, now)
    except OSError as error:
        raise KeystoreError(
            f"the backup {target} cannot be written",
            error.strerror or "unknown reason",
            f"Check the disk; remove {unfinished} if it is there.",
        ) from None


def _contents(home: Home, passphrase: bytes) -> dict[str, bytes]:
    """Path below the backup -> content; every key was opened."""
    authority = home.authority_key
    keys = [
        info.path
        for info in keystore.list_keys(home.keys)
        if info.kind is SecretKind.ED25519 and info.path != home.node_key
    ]
    if authority.exists():
        keys.append(authority)
    if not keys:
        raise KeystoreError(
            f"there is nothing to back up in {home.keys}", "it holds no identity and no authority", "Check --home."
        )
    found = {}
    for path in keys:
        keystore.load(path, passphrase)
        found[_name(home, path)] = keystore.read_guarded(path, "key file", keystore.FILE_BYTES_MAX)
    for path in (home.authority_certificate, authority.with_name("issued.jsonl"), home.own_revocation_file):
        if path.exists():
            with path.open("rb") as file:
                found[_name(home, path)] = file.read(REGISTER_BYTES_MAX)
    return found


def _write(unfinished: Path, target: Path, contents: dict[str, bytes], now: datetime) -> list[Copied]:
    unfinished.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied = []
    for name, data in sorted(contents.items()):
        path = unfinished / name
        keystore.write_new(path, data)
        written = path.read_bytes()
        if written != data:
            raise KeystoreError(f"{path} differs from its source", "the disk changed it", "Use another disk.")
        copied.append(Copied(name, sha256(written).hex(), len(written)))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "made": now.isoformat(),
        "files": [{"file": each.file, "sha256": each.sha256, "bytes": each.bytes} for each in copied],
        "not_included": list(LEFT_OUT),
    }
    keystore.write_new(unfinished / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
    os.rename(unfinished, target)
    sync_directory(target.parent)
    return copied


def _name(home: Home, path: Path) -> str:
    return path.relative_to(home.path).as_posix()
