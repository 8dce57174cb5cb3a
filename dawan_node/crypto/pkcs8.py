"""Ed25519 keys as encrypted PKCS#8 (RFC 8410, RFC 5958), for other programs only.

The format that every tool reads protects badly: the library stretches the passphrase with PBKDF2 and 2,048 rounds,
hundreds of times less work for somebody who guesses than a key file of crypto.keystore (ecosystem.md E3). So a key
passes through it on its way and does not live in it. Keys in the clear are neither read nor written.

The library only encodes here; signatures are made and checked by crypto.signatures alone.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import KeystoreError

FILE_BYTES_MAX: Final = 16 * 1024  # an Ed25519 key has about 300 bytes; more is some other file
WARNING: Final = (
    "PKCS#8 protects the passphrase badly (PBKDF2, 2,048 rounds): whoever gets the file can guess quickly. "
    "Use a long random passphrase, import it where it belongs, and destroy the file."
)
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def to_pem(key: PrivateKey, passphrase: bytes) -> bytes:
    """The key as encrypted PEM. Raises KeystoreError when the passphrase is empty."""
    if not passphrase:
        raise KeystoreError("no passphrase", "an empty one protects nothing", "Give one.")
    return Ed25519PrivateKey.from_private_bytes(key.seed()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
    )


def from_pem(data: bytes, passphrase: bytes, title: str) -> PrivateKey:
    """The key in an encrypted PEM text; ``title`` names it in messages. Raises KeystoreError."""
    if not data.lstrip().startswith(_ENCRYPTED):
        clear = b"PRIVATE KEY-----" in data
        raise KeystoreError(
            f"{title} is refused",
            "the key in it is not encrypted" if clear else "it is not an encrypted PKCS#8 key in PEM",
            "Encrypt it: openssl pkcs8 -topk8 -v2 aes-256-cbc; or better, make a new key with `keys new`."
            if clear
            else "Name the right file.",
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeystoreError(
            f"{title} does not open", "the passphrase is wrong, or the file is damaged", "Try the passphrase again."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeystoreError(
            f"{title} is refused", "it holds a key of another kind than Ed25519", "Make a key with `keys new`."
        )
    return PrivateKey.from_seed(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
