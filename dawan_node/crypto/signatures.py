"""Ed25519 signatures under the one rule of the network, ``ed25519-strict``.

The rule: canonical S, canonical encodings of A and R, no small-order A or R, and the cofactorless equation. It is
what libsodium enforces, so libsodium (through PyNaCl) is the only Ed25519 implementation in a process: two
libraries that disagree about one crafted signature would fork a chain (ecosystem.md E2, reliability.md F10).

A suite name travels with every key so that another suite can be added without a new format.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import nacl
import nacl.utils
from nacl import bindings
from nacl.exceptions import BadSignatureError

from dawan_node.crypto.hashing import domain_separated
from dawan_node.errors import InvalidKey

ED25519: Final = "ed25519"
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32

_FIELD_PRIME: Final = 2**255 - 19

_BUNDLED_LIBSODIUM: Final = {"1.6.0": "1.0.20", "1.6.1": "1.0.20", "1.6.2": "1.0.20"}

# The eight points of small order in their canonical encodings (y coordinates of the 8-torsion, with either sign
# bit). A key among them verifies one constant signature over almost any message.
_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)


class PrivateKey:
    """An Ed25519 private key. Its representation never shows the secret."""

    __slots__ = ("_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise InvalidKey(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.public_key, self._secret = bindings.crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key from the operating system's randomness."""
        return cls(nacl.utils.random(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The key of a 32-byte seed (RFC 8032 section 5.1.5)."""
        return cls(seed)

    def seed(self) -> bytes:
        """The 32 secret bytes, for the keystore only."""
        return bindings.crypto_sign_ed25519_sk_to_seed(self._secret)

    def sign(self, tag: bytes, data: bytes) -> bytes:
        """The 64-byte signature over ``tag LF data``."""
        return bindings.crypto_sign(domain_separated(tag, data), self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"PrivateKey(public_key={self.public_key.hex()}, secret=<redacted>)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is never serialised implicitly")


def verify(suite: str, public_key: bytes, tag: bytes, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s over ``tag LF data`` under ``ed25519-strict``.

    Total: wrong suites and lengths are simply not valid signatures.
    """
    if suite != ED25519:
        return False
    return verify_ed25519(public_key, domain_separated(tag, data), signature)


#: ``verify(public_key, signed, signature)``, as ``verify_ed25519``: simulations put something fast in its place.
Verify = Callable[[bytes, bytes, bytes], bool]


def verify_ed25519(public_key: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over exactly the bytes ``signed`` verifies. Releases the GIL while it computes."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + signed, public_key)
    except BadSignatureError:
        return False
    return True


def check_public_key(suite: str, public_key: bytes) -> None:
    """Refuse a key that must never be registered: unknown suite, wrong length, non-canonical or of small order.

    Raises InvalidKey. Checked where keys enter (genesis, enrolment, peers), because a small-order key makes one
    constant signature valid for any message (reliability.md F10).
    """
    if suite != ED25519:
        raise InvalidKey(f"unknown signature suite {suite!r}; this network knows {ED25519!r}")
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidKey(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    _check_point(public_key)


@lru_cache(maxsize=4_096)  # every restart and every change of a validator set asks about the same keys again
def _check_point(public_key: bytes) -> None:
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME:
        raise InvalidKey("the public key is not canonically encoded")
    if y in _SMALL_ORDER_Y:
        raise InvalidKey("the public key is a point of small order")
    if not bindings.crypto_core_ed25519_is_valid_point(public_key):
        raise InvalidKey("the public key is not a point of the prime-order group")


def ed25519_library() -> str:
    """Name and version of the one verifying library, for ``node_version``.

    The binding does not export libsodium's version function; this is what PyNaCl's change log says it bundles.
    """
    version = _BUNDLED_LIBSODIUM.get(nacl.__version__)
    return f"libsodium {version}" if version else f"libsodium of PyNaCl {nacl.__version__}"
