"""Building and signing transactions on the client's side (formats A.4), with ``msgpack`` alone.

The node decodes with ``msgspec``; a client that builds with another codec keeps both honest. ``README`` shows the same
steps byte by byte for other languages.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_DEPTH_MAX: Final = 8
_TX_BYTES_MAX: Final = 65_536


class TransactionKey(Protocol):
    """What signing needs: ``dawan_node.crypto.signatures.PrivateKey`` or a device that offers the same."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, tag: bytes, data: bytes) -> bytes: ...


def build_body(
    chain_id: bytes,
    module: str,
    command: str,
    args: Mapping[str, Any],
    *,
    valid_until_ms: int,
    nonce: bytes | None = None,
) -> bytes:
    """The bytes to sign (formats A.4). ``args`` hold ledger values: money as ``[currency, minor units]``, bytes as
    bytes, instants as milliseconds. ``nonce`` defaults to 16 random bytes; keep it to make a resend the same
    transaction. Raises TypeError or ValueError for what has no canonical encoding."""
    import msgpack

    nonce = os.urandom(16) if nonce is None else nonce
    if len(chain_id) != 32 or len(nonce) != 16:
        raise ValueError("a chain id has 32 bytes and a nonce 16")
    body = [1, chain_id, nonce, valid_until_ms, module, command, canonical(args)]
    packed = msgpack.packb(body, use_bin_type=True)
    return bytes(packed)


def sign_transaction(key: TransactionKey, body: bytes) -> bytes:
    """The envelope: the body with the key's signature under ``dawan:tx:v1``."""
    return assemble_transaction(body, "ed25519", key.public_key, key.sign(b"dawan:tx:v1", body))


def assemble_transaction(body: bytes, suite: str, public_key: bytes, signature: bytes) -> bytes:
    """The envelope of a body signed elsewhere."""
    import msgpack

    return bytes(msgpack.packb([body, suite, public_key, signature], use_bin_type=True))


def signing_bytes(body: bytes) -> bytes:
    """Exactly what the key signs."""
    return b"dawan:tx:v1\n" + body


def transaction_id(body: bytes, suite: str, public_key: bytes) -> bytes:
    """``tx_id`` of a transaction, known before it is signed."""
    import msgpack

    packed = msgpack.packb([suite, public_key, body], use_bin_type=True)
    return hashlib.sha256(b"dawan:tx-id:v1\n" + packed).digest()


def read_body(body: bytes) -> dict[str, Any]:
    """The fields of a body, so that a person can see what is about to be signed.

    Raises ValueError, also for bytes that are not the one encoding of what they show: a signer must never see one
    thing and sign another.
    """
    names = ("version", "chain_id", "nonce", "valid_until_ms", "module", "command", "args")
    match _unpack(body, "body"):
        case [1, bytes(), bytes(), int() as until, str(), str(), dict()] as fields if not isinstance(until, bool):
            return dict(zip(names, fields, strict=True))
    raise ValueError("not a transaction body of version 1")


def read_envelope(envelope: bytes) -> tuple[bytes, str, bytes, bytes]:
    """(body, suite, public key, signature) of an envelope. Raises ValueError."""
    match _unpack(envelope, "envelope"):
        case [bytes() as body, str() as suite, bytes() as public_key, bytes() as signature]:
            return body, suite, public_key, signature
    raise ValueError("not a transaction envelope")


def _unpack(data: bytes, kind: str) -> Any:
    """A canonical value. Raises ValueError."""
    import msgpack

    if len(data) > _TX_BYTES_MAX:
        raise ValueError(f"not a transaction {kind}: it has more than {_TX_BYTES_MAX} bytes")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
        if msgpack.packb(canonical(value, _DEPTH_MAX + 1), use_bin_type=True) != data:
            raise ValueError("not the canonical encoding")
    except (msgpack.UnpackException, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a transaction {kind}: {error}") from None
    return value


def canonical(value: Any, depth: int = _DEPTH_MAX) -> Any:
    """``value`` with sorted map keys, checked against formats A.1. Raises TypeError or ValueError."""
    if isinstance(value, str | bytes | bool):
        return value
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise ValueError(f"{value} does not fit 64 bits")
        return value
    if depth == 0:
        raise ValueError(f"nested deeper than {_DEPTH_MAX}")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("map keys are strings")
        return {key: canonical(value[key], depth - 1) for key in sorted(value, key=str.encode)}
    if isinstance(value, list | tuple):
        return [canonical(item, depth - 1) for item in value]
    raise TypeError(f"a {type(value).__name__} has no canonical encoding (no floats, no None)")
