"""Transactions: what a client signs, and how its bytes are checked once (design section 4, formats A.4).

``body`` is signed raw; ``envelope`` carries it with the key and the signature. A transaction has two names:

- ``tx_id`` covers suite, key and body but not the signature: its identity for clients, receipts and the index;
- ``leaf_hash`` covers the envelope bytes: what blocks, fetches and the verification cache use, because two
  envelopes with one tx_id may differ in their signature (amendment U8).

The bytes are kept as received and passed on untouched; they are never encoded again.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import msgspec

from dawan_node.crypto.hashing import domain_separated
from dawan_node.crypto.signatures import (
    ED25519,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    PrivateKey,
    verify_ed25519,
)
from dawan_node.errors import InvalidEncoding, InvalidTransaction
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import (
    Bytes16,
    Bytes32,
    ProtocolStruct,
    Uint,
    check_value,
    decode_struct,
    decoder_for,
    encode,
)
from dawan_node.primitives.names import is_identifier

TX_TAG: Final = b"dawan:tx:v1"
TX_ID_TAG: Final = b"dawan:tx-id:v1"
BODY_VERSION: Final = 1

# Large enough for any business command with document hashes; payloads themselves stay off chain (design section 11).
TX_BYTES_MAX: Final = 64 * 1024

# The fixed list of commands that travel alone in a barrier block, known from the bytes alone (amendment U11).
BARRIER_COMMANDS: Final = frozenset({("governance", "enact")})


class Body(ProtocolStruct, frozen=True):
    """What is signed. ``valid_until_ms`` is block time in milliseconds UTC; ``nonce`` is the idempotency key."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    chain_id: Bytes32
    nonce: Bytes16
    valid_until_ms: Uint
    module: str
    command: str
    args: dict[str, Any]


class _Envelope(ProtocolStruct, frozen=True):
    body: bytes
    suite: str
    public_key: bytes
    signature: bytes


class _BodyHead(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The first fields of a body; what follows is passed over."""

    version: int
    chain_id: bytes
    nonce: Bytes16
    valid_until_ms: Uint


class _EnvelopeHead(msgspec.Struct, array_like=True, frozen=True, gc=False):
    body: bytes
    suite: str
    public_key: bytes


_head_decoder = msgspec.msgpack.Decoder(_EnvelopeHead)
_body_head_decoder = msgspec.msgpack.Decoder(_BodyHead)
_body_decoder = decoder_for(Body)
_envelope_decoder = decoder_for(_Envelope)


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """A decoded envelope, well formed but not yet verified. Build it with ``decode``."""

    envelope: bytes
    leaf_hash: bytes
    tx_id: bytes
    body: Body
    body_bytes: bytes
    suite: str
    public_key: bytes
    signature: bytes

    @classmethod
    def decode(cls, envelope: bytes, leaf_hash: bytes | None = None) -> Transaction:
        """Decode and check everything the bytes alone can tell; the signature is checked by ``verify_signature``.

        ``leaf_hash`` is the envelope's, from a caller who has computed it already.
        Raises InvalidTransaction with 1000, 1005 or 1010.
        """
        if len(envelope) > TX_BYTES_MAX:
            raise InvalidTransaction(
                Code.E_TOO_LARGE,
                "E_TOO_LARGE",
                f"the envelope has {len(envelope)} bytes, at most {TX_BYTES_MAX}",
            )
        try:
            outer = decode_struct(_envelope_decoder, envelope, TX_BYTES_MAX)
            if outer.suite != ED25519:
                raise InvalidTransaction(Code.E_SUITE, "E_SUITE", f"suite {outer.suite[:32]!r} is not {ED25519!r}")
            body = decode_struct(_body_decoder, outer.body, TX_BYTES_MAX)
            check_value(body.args)
        except InvalidEncoding as error:
            raise InvalidTransaction(Code.E_MALFORMED, "E_MALFORMED", str(error)) from None
        if len(outer.public_key) != PUBLIC_KEY_BYTES or len(outer.signature) != SIGNATURE_BYTES:
            raise InvalidTransaction(Code.E_MALFORMED, "E_MALFORMED", "a key has 32 bytes and a signature 64")
        if not is_identifier(body.module) or not is_identifier(body.command):
            raise InvalidTransaction(Code.E_MALFORMED, "E_MALFORMED", "module and command are not well-formed names")
        return cls(
            envelope,
            leaf_hash or hashlib.sha256(b"\x00" + envelope).digest(),
            transaction_id(outer.suite, outer.public_key, outer.body),
            body,
            outer.body,
            outer.suite,
            outer.public_key,
            outer.signature,
        )

    @property
    def signed(self) -> bytes:
        """What the signature is over, for whoever checks it elsewhere."""
        return b"dawan:tx:v1\n" + self.body_bytes

    def verify_signature(self) -> bool:
        """Whether the signature is the key's over the body. Costs about 55 us; releases the GIL."""
        return verify_ed25519(self.public_key, self.signed, self.signature)

    @property
    def is_barrier(self) -> bool:
        """Whether this transaction must be alone in its block (amendment U11)."""
        return (self.body.module, self.body.command) in BARRIER_COMMANDS


#: How an envelope of suite ed25519 ends: its name, a key of 32 bytes, a signature of 64, each behind bytes of its own.
_SUITE_MARK: Final = b"\xa7ed25519"
_KEY_MARK: Final = b"\xc4\x20"
_SIGNATURE_MARK: Final = b"\xc4\x40"


def claimed_key(envelope: bytes) -> bytes | None:
    """The public key that a well-formed envelope names, from where it must lie; None where that cannot be one.

    Nothing is decoded: whether the envelope is well-formed, and whether the key signed it, is not known afterwards.
    """
    if envelope[-100:-98] != _KEY_MARK or envelope[-66:-64] != _SIGNATURE_MARK:
        return None
    return envelope[-98:-66]


def claimed_id(envelope: bytes) -> bytes | None:
    """The ``tx_id`` of a well-formed envelope, for one hash of its bytes; None where it cannot be one.

    Nothing is decoded: of an envelope that is not well-formed it is the id of nothing.
    """
    if claimed_key(envelope) is None or envelope[-108:-100] != _SUITE_MARK:
        return None
    # An envelope is [body, suite, key, signature], its id is of [suite, key, body].
    return hashlib.sha256(b"dawan:tx-id:v1\n\x93" + envelope[-108:-66] + envelope[1:-108]).digest()


def nonce_use(envelope: bytes) -> tuple[bytes, bytes, int]:
    """Public key, nonce and ``valid_until_ms`` of an envelope that was decoded before, without checking it again.

    A twentieth of the work of ``Transaction.decode``. Raises InvalidTransaction.
    """
    try:
        outer = _head_decoder.decode(envelope)
        body = _body_head_decoder.decode(outer.body)
    except msgspec.MsgspecError as error:
        raise InvalidTransaction(Code.E_MALFORMED, "E_MALFORMED", str(error)) from None
    return outer.public_key, body.nonce, body.valid_until_ms


def transaction_id(suite: str, public_key: bytes, body_bytes: bytes) -> bytes:
    """``Hash("dawan:tx-id:v1", enc([suite, public_key, body]))``."""
    return hashlib.sha256(b"dawan:tx-id:v1\n" + encode([suite, public_key, body_bytes])).digest()


def signing_bytes(body_bytes: bytes) -> bytes:
    """Exactly the bytes that a client signs."""
    return domain_separated(TX_TAG, body_bytes)


def assemble_envelope(body_bytes: bytes, suite: str, public_key: bytes, signature: bytes) -> bytes:
    """The envelope of a body and a signature made elsewhere (``tx_assemble``)."""
    return _Envelope(body_bytes, suite, public_key, signature).encode()


def sign_transaction(key: PrivateKey, body: Body) -> bytes:
    """The signed envelope of ``body``."""
    body_bytes = body.encode()
    return assemble_envelope(body_bytes, ED25519, key.public_key, key.sign(TX_TAG, body_bytes))
