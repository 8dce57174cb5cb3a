"""Key files: one secret each, encrypted under a passphrase, readable by their owner only.

A file is JSON. Its public half (name, kind, public key, how the passphrase was stretched) can be listed without the
passphrase; the secret half is AES-256-GCM under a key that Argon2id (RFC 9106) derives from the passphrase. The
public half is the associated data of the encryption, so nobody can give a secret another name or another public key.

The file system is part of the protection: a key file is created with ``O_EXCL`` and mode 0600 inside a folder of mode
0700, written through to the disk before it is used, and refused on loading when it is a link, belongs to somebody
else, or can be read by others: then it must be assumed known (reliability.md P3). No error text and no ``repr``
contains a secret or a passphrase.
"""

from __future__ import annotations

import enum
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.errors import InvalidKey, KeystoreError

FORMAT: Final = "dawan-keystore-1"
FILE_BYTES_MAX: Final = 16 * 1024  # a P-256 key file has about 1 KiB; more is not a key file
PASSPHRASE_BYTES_MAX: Final = 1024  # a passphrase file larger than this is some other file
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at a passphrase costs: memory in KiB, passes over it, and lanes (RFC 9106 section 3.1)."""

    memory_kib: int
    iterations: int
    lanes: int


# RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes; about 0.1 s on current machines.
PRODUCTION: Final = Cost(64 * 1024, 3, 4)
# A local test network makes some twenty keys at once, whose passphrase lies beside them anyway.
DEVNET: Final = Cost(8 * 1024, 1, 1)
# A file weaker than this is refused: it looks protected while one machine tries thousands of passphrases a second.
MINIMUM: Final = DEVNET
# A file that asks for more is refused before the memory is taken: 1 GiB would end a small server.
MAXIMUM: Final = Cost(1024 * 1024, 64, 64)


class SecretKind(enum.StrEnum):
    """What the secret bytes of a file are."""

    ED25519 = ED25519  # the 32-byte seed of a node, validator or user key
    P256 = "p256-pkcs8"  # DER PKCS#8 of a P-256 key: TLS or certificate authority


class _Kdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["argon2id"]
    memory_kib: Annotated[int, msgspec.Meta(ge=0)]
    iterations: Annotated[int, msgspec.Meta(ge=0)]
    lanes: Annotated[int, msgspec.Meta(ge=0)]
    salt: str


class _Cipher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["aes-256-gcm"]
    nonce: str
    text: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["dawan-keystore-1"]
    name: str
    kind: SecretKind
    public_key: str
    kdf: _Kdf
    cipher: _Cipher

    def associated_data(self) -> bytes:
        """Everything but the cipher part, in one fixed order: bound to the secret by the encryption."""
        fields = [self.format, self.name, self.kind.value, self.public_key]
        return msgspec.json.encode([*fields, *msgspec.structs.astuple(self.kdf)])


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What a key file says without its passphrase."""

    path: Path
    name: str
    kind: SecretKind
    public_key: bytes
    cost: Cost


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A decrypted key. ``secret`` stays out of ``repr``."""

    info: KeyInfo
    secret: bytes = field(repr=False)

    def signing_key(self) -> PrivateKey:
        """The Ed25519 key of the seed. Raises KeystoreError for a file of another kind."""
        if self.info.kind is not SecretKind.ED25519:
            raise KeystoreError(
                f"{self.info.path} cannot sign transactions or votes",
                f"it holds a key of kind {self.info.kind.value}",
                "Name a key file made by `keys new` or `init`.",
            )
        return PrivateKey.from_seed(self.secret)


def create(
    path: Path,
    secret: bytes,
    *,
    name: str,
    kind: SecretKind,
    public_key: bytes,
    passphrase: bytes,
    cost: Cost = PRODUCTION,
) -> KeyInfo:
    """Write a new key file, durable when this returns. An existing file is never replaced.

    Raises KeystoreError: the file exists, the passphrase is empty, or the folder is open to others.
    """
    _require_passphrase(passphrase)
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    kdf = _Kdf("argon2id", cost.memory_kib, cost.iterations, cost.lanes, "0x" + salt.hex())
    file = _File(FORMAT, name, kind, "0x" + public_key.hex(), kdf, _Cipher("aes-256-gcm", "0x" + nonce.hex(), ""))
    _require_cost(path, cost)
    sealed = AESGCM(_stretch(passphrase, salt, cost)).encrypt(nonce, secret, file.associated_data())
    file = msgspec.structs.replace(file, cipher=_Cipher("aes-256-gcm", "0x" + nonce.hex(), "0x" + sealed.hex()))
    write_new(path, msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
    return _info(path, file)


def create_signing_key(
    path: Path, name: str, passphrase: bytes, *, cost: Cost = PRODUCTION, seed: bytes | None = None
) -> PrivateKey:
    """A new Ed25519 key (or the one of ``seed``), stored at ``path``. Raises KeystoreError."""
    key = PrivateKey.generate() if seed is None else PrivateKey.from_seed(seed)
    create(
        path,
        key.seed(),
        name=name,
        kind=SecretKind.ED25519,
        public_key=key.public_key,
        passphrase=passphrase,
        cost=cost,
    )
    return key


def load(path: Path, passphrase: bytes) -> StoredKey:
    """Decrypt a key file. Raises KeystoreError for anything but exactly the key that was stored."""
    info, file = _read(path)
    salt, nonce = _hex(path, file.kdf.salt, _SALT_BYTES), _hex(path, file.cipher.nonce, _NONCE_BYTES)
    sealed = _hex(path, file.cipher.text)
    try:
        secret = AESGCM(_stretch(passphrase, salt, info.cost)).decrypt(nonce, sealed, file.associated_data())
    except InvalidTag:
        raise KeystoreError(
            f"{path} does not open",
            "the passphrase is wrong, or the file was changed after it was written",
            "Try the passphrase again; if it is right, put back the file from its backup.",
        ) from None
    if info.kind is SecretKind.ED25519:
        _require_pair(path, secret, info.public_key)
    return StoredKey(info, secret)


def load_signing_key(path: Path, passphrase: bytes) -> PrivateKey:
    """The Ed25519 key in ``path``. Raises KeystoreError."""
    return load(path, passphrase).signing_key()


def describe(path: Path) -> KeyInfo:
    """The public half of a key file, with the same checks of the file as loading. Raises KeystoreError."""
    return _read(path)[0]


def list_keys(folder: Path) -> list[KeyInfo]:
    """The key files (``*.key.json``) directly inside ``folder``, by name. Raises KeystoreError on a bad one."""
    return sorted((describe(path) for path in folder.glob("*.key.json")), key=lambda info: info.name)


def read_passphrase_file(path: Path, *, guarded: bool = True) -> bytes:
    """The first line of a file that only its owner can read. Raises KeystoreError.

    ``guarded=False`` is for systemd's credential folder, whose files carry access lists instead of plain modes and
    are guarded by systemd itself.
    """
    if guarded:
        data = read_guarded(path, "passphrase file", PASSPHRASE_BYTES_MAX)
    else:
        try:
            data = path.read_bytes()[:PASSPHRASE_BYTES_MAX]
        except OSError as error:
            raise _unreadable(path, "credential", error) from None
    passphrase = data.split(b"\n", 1)[0].rstrip(b"\r")
    _require_passphrase(passphrase)
    return passphrase


def make_private_folder(folder: Path) -> None:
    """Create ``folder`` with mode 0700 (parents too), durable; an existing one must already be private.

    Raises KeystoreError when it is open to others.
    """
    if not folder.exists():
        for parent in reversed([folder, *folder.parents]):
            if not parent.exists():
                parent.mkdir(mode=0o700)
                _sync_folder(parent.parent)
    with _private_folder(folder):
        pass


def read_guarded(path: Path, noun: str, bytes_max: int) -> bytes:
    """The content of a regular file of ours that nobody else can read; checks and read are of the same open file.

    ``noun`` names it in messages; the folder of a "key file" must be private too. Raises KeystoreError.
    """
    with _private_folder(path.parent) if noun == "key file" else _anywhere(path.parent) as folder:
        try:
            # O_NONBLOCK: a named pipe put in place of the file must not block the start.
            descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            if path.is_symlink():
                raise KeystoreError(
                    f"{noun} {path} is refused",
                    "it is a symbolic link, which somebody else may redirect",
                    "Put the file itself there.",
                ) from None
            if isinstance(error, FileNotFoundError):
                raise KeystoreError(
                    f"{noun} {path} is missing", "there is no such file", "Check the path, or run `init` first."
                ) from None
            raise _unreadable(path, noun, error) from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeystoreError(
                    f"{noun} {path} is refused", "it is not a regular file", "Put the file itself there."
                )
            _require_private(path, noun, status)
            if status.st_size > bytes_max:
                raise KeystoreError(
                    f"{noun} {path} is refused", f"it is larger than {bytes_max} bytes", "Name the right file."
                )
            return os.read(descriptor, bytes_max)
        finally:
            os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600 in a private folder, durable when this returns; an existing one is never replaced.

    Raises KeystoreError; nothing is left behind then.
    """
    make_private_folder(path.parent)
    with _private_folder(path.parent) as folder:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path.name, flags, 0o600, dir_fd=folder)
        except FileExistsError:
            raise KeystoreError(
                f"{path} exists",
                "a key is never overwritten",
                "Choose another name, or move the old file away yourself.",
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.fsync(folder)
        except OSError as error:
            # Not durable, so nobody has been told of this key yet: leave no half-written file behind.
            os.unlink(path.name, dir_fd=folder)
            raise _unwritable(path, error) from None


def _require_passphrase(passphrase: bytes) -> None:
    if not passphrase:
        raise KeystoreError(
            "no passphrase", "an empty one protects nothing", "Give one at the prompt or with --passphrase-file."
        )


def _require_cost(path: Path, cost: Cost) -> None:
    if cost.memory_kib < MINIMUM.memory_kib or cost.iterations < MINIMUM.iterations or cost.lanes < MINIMUM.lanes:
        raise KeystoreError(
            f"{path} is too weakly protected",
            f"Argon2id with {cost.memory_kib} KiB and {cost.iterations} passes lets its passphrase be guessed quickly",
            f"Make a new key; at least {MINIMUM.memory_kib} KiB and {MINIMUM.iterations} pass are needed.",
        )
    if cost.memory_kib > MAXIMUM.memory_kib or cost.iterations > MAXIMUM.iterations or cost.lanes > MAXIMUM.lanes:
        raise KeystoreError(
            f"{path} asks for more work than any key file of this program",
            f"Argon2id with {cost.memory_kib} KiB, {cost.iterations} passes and {cost.lanes} lanes",
            "Put back the file from its backup.",
        )


def _require_pair(path: Path, seed: bytes, public_key: bytes) -> None:
    try:
        matches = PrivateKey.from_seed(seed).public_key == public_key
    except InvalidKey:
        matches = False
    if not matches:
        raise _damaged(path, "its secret does not belong to its public key")


def _stretch(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    return Argon2id(
        salt=salt, length=_KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(passphrase)


def _read(path: Path) -> tuple[KeyInfo, _File]:
    data = read_guarded(path, "key file", FILE_BYTES_MAX)
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.DecodeError:
        raise _damaged(path, "it is not a complete key file of this program") from None
    info = _info(path, file)
    _require_cost(path, info.cost)
    return info, file


def _info(path: Path, file: _File) -> KeyInfo:
    cost = Cost(file.kdf.memory_kib, file.kdf.iterations, file.kdf.lanes)
    return KeyInfo(path, file.name, file.kind, _hex(path, file.public_key), cost)


def _hex(path: Path, text: str, length: int | None = None) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise _damaged(path, "a field is not hexadecimal") from None
    if length is not None and len(value) != length:
        raise _damaged(path, f"a field has {len(value)} bytes instead of {length}")
    return value


def _damaged(path: Path, why: str) -> KeystoreError:
    return KeystoreError(f"{path} is damaged", why, "Put back the file from its backup.")


def _unreadable(path: Path, noun: str, error: OSError) -> KeystoreError:
    return KeystoreError(f"{noun} {path} cannot be read", error.strerror or "unknown reason", "Check the path.")


def _unwritable(path: Path, error: OSError) -> KeystoreError:
    return KeystoreError(
        f"{path} cannot be written", error.strerror or "unknown reason", "Check the disk and the folder's mode."
    )


def _require_private(path: Path, noun: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise KeystoreError(
            f"{noun} {path} is refused",
            f"it belongs to user {status.st_uid}, this process runs as {os.geteuid()}",
            f"Run as the owner, or: chown {os.geteuid()} {path}",
        )
    if status.st_mode & 0o077:
        mode = "0700" if stat.S_ISDIR(status.st_mode) else "0600"
        raise KeystoreError(
            f"{noun} {path} is refused",
            f"its mode {stat.S_IMODE(status.st_mode):04o} lets other users in",
            f"Assume its content is known to them and replace it; on a machine you trust: chmod {mode} {path}",
        )


@contextmanager
def _anywhere(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(folder, "folder", error) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _private_folder(folder: Path) -> Iterator[int]:
    """An open descriptor of a folder that belongs to us and lets nobody else in."""
    if folder.is_symlink():
        raise KeystoreError(
            f"key folder {folder} is refused",
            "it is a symbolic link, which somebody else may redirect",
            "Move it here.",
        )
    with _anywhere(folder) as descriptor:
        _require_private(folder, "key folder", os.fstat(descriptor))
        yield descriptor


def _sync_folder(folder: Path) -> None:
    with _anywhere(folder) as descriptor:
        os.fsync(descriptor)
