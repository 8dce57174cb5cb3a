"""Is every file in ``keys`` what it should be? One finding each, with what to do about it.

Nothing is repaired: a key file that others could read must be assumed known, and only its owner can decide what that
means.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import public_key_of
from dawan_node.crypto.keystore import PRODUCTION, KeyInfo
from dawan_node.errors import ConfigError, KeystoreError, OperatorError
from dawan_node.node.home import Home, read_certificates
from dawan_node.primitives.names import is_label

_KEY: Final = ".key.json"
# Enough to see the first line of a PEM file, wherever in a small file it stands.
_LOOKED_AT_BYTES: Final = 64 * 1024
#: Files of a home that others may read.
_PUBLIC: Final = frozenset({"tls.pem", "tls.csr.pem", "ca.pem", "crl.pem"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One file. ``problem`` and ``fix`` are empty when it is as it should be."""

    path: Path
    problem: str = ""
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done."""
        return not self.problem


def examine(home: Home, passphrase: bytes | None, *, devnet: bool) -> list[Finding]:
    """Every folder and file in ``keys``, in order of path.

    With a passphrase every key file is opened with it. ``devnet`` allows keys that are cheap to guess.
    """
    found = []
    for path in [home.keys, *sorted(home.keys.rglob("*"))]:
        problem, fix = _examine(home, path, passphrase, devnet)
        found.append(Finding(path, problem, fix))
    return found


def _examine(home: Home, path: Path, passphrase: bytes | None, devnet: bool) -> tuple[str, str]:
    try:
        if path.is_symlink():
            return "it is a symbolic link, which somebody else may redirect", "Put the file itself there."
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            keystore.make_private_folder(path)
            if path == home.pending_keys and any(path.iterdir()):
                return "a change of keys was interrupted", "Run the same `keys rotate` or `cert renew --new-key` again."
            return "", ""
        if path.name.endswith(_KEY):
            return _examine_key(home, path, passphrase, devnet)
        return _examine_other(home, path, status)
    except OSError as error:
        return f"it cannot be read: {error.strerror}", "Check its owner and mode."
    except OperatorError as error:
        return error.why, error.fix


def _examine_key(home: Home, path: Path, passphrase: bytes | None, devnet: bool) -> tuple[str, str]:
    info = keystore.describe(path)
    if passphrase is not None:
        keystore.load(path, passphrase)
    cost = info.cost
    if not devnet and (cost.memory_kib < PRODUCTION.memory_kib or cost.iterations < PRODUCTION.iterations):
        return (
            f"its passphrase is cheap to guess (Argon2id with {cost.memory_kib} KiB, {cost.iterations} passes)",
            "Make a new key without --devnet; `keys export` and `keys import` write it with the full cost.",
        )
    if path == home.tls_key:
        return _require_certificate(info, home.tls_certificate, _fix_of_tls(home))
    if path == home.authority_key:
        return _require_certificate(info, home.authority_certificate, "Put back both from the same backup.")
    if path.parent == home.keys and path != home.node_key:
        stem = path.name.removesuffix(_KEY)
        if info.name != stem or not is_label(stem):
            return (
                f"the key in it is named {info.name!r}",
                f"Rename the file to {info.name}{_KEY}: commands find it by that name.",
            )
    return "", ""


def _fix_of_tls(home: Home) -> str:
    if home.tls_request.exists():
        return "Have tls.csr.pem signed, then run `cert install CHAIN.pem`."
    return "Run `cert renew --new-key`; with an authority elsewhere: `cert request`, then `cert install`."


def _require_certificate(info: KeyInfo, file: Path, fix: str) -> tuple[str, str]:
    """The key's certificate is in ``file``."""
    if not file.exists():
        return f"its certificate is missing: there is no {file.name}", fix
    for key in _keys_of(file):
        if key == info.public_key:
            return "", ""
    return f"no certificate in {file.name} is for this key", fix


def _keys_of(file: Path) -> Iterator[bytes]:
    for der in read_certificates(file):
        try:
            yield public_key_of(x509.load_der_x509_certificate(der))
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError(f"{file} is damaged", "it has a key nobody can read", "Put it back.") from None


def _examine_other(home: Home, path: Path, status: os.stat_result) -> tuple[str, str]:
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file", "Remove it yourself."
    with path.open("rb") as file:
        if b"PRIVATE KEY-----" in file.read(_LOOKED_AT_BYTES):
            return "it holds a private key outside the key file format", "Import it with `keys import --pkcs8`."
    if path.name in _PUBLIC:
        if path.suffix == ".pem" and path in (home.tls_certificate, home.authority_certificate):
            read_certificates(path)
        return "", ""
    if status.st_mode & 0o077:
        return f"its mode {stat.S_IMODE(status.st_mode):04o} lets other users in", f"chmod 0600 {path}"
    return "", ""


def require_keys(home: Home) -> None:
    """Raises KeystoreError when the home has no ``keys``."""
    if not home.keys.is_dir():
        raise KeystoreError(
            f"there are no keys in {home.path}", "it has no folder keys", "Name the node's folder with --home."
        )
