"""Canonical MessagePack: one value, one encoding (formats A.1).

Everything that is hashed or signed is MessagePack in its shortest form: ints of -2^63..2^63-1, bool, bin, UTF-8
str, array and map; no float, no nil, no extension. MessagePack itself allows several encodings of one value
(longer ints, unsorted or repeated map keys), so a decoder here checks the byte cap *before* it decodes, checks the
types, encodes again and compares: bytes that differ are refused (reliability.md F12 and row F4).

Protocol objects are ``ProtocolStruct``: msgspec arrays of exactly the listed length.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec

from dawan_node.errors import InvalidEncoding

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

# A decoded map or array costs up to ~80 times its encoded size in memory; these bounds keep a 64 KiB envelope's
# worst case at a few megabytes and any walk over it short.
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 1_024
KEY_BYTES_MAX: Final = 64

Uint = Annotated[int, msgspec.Meta(ge=0, le=INT_MAX)]
Sint = Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_untyped = msgspec.msgpack.Decoder()

T = TypeVar("T")
S = TypeVar("S", bound="ProtocolStruct")


class ProtocolStruct(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of every protocol object: a fixed-position array. Subclasses are plain field lists."""

    def encode(self) -> bytes:
        """The canonical bytes."""
        return _encoder.encode(self)


def encode(value: Any) -> bytes:
    """Canonical bytes of a protocol object or of a plain value (map keys sorted by their UTF-8 bytes).

    The caller passes values that ``check_value`` accepts; nothing here checks them again.
    """
    return _encoder.encode(value)


def decoder_for(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """A reusable typed decoder for ``decode_struct``."""
    return msgspec.msgpack.Decoder(kind)


def decode_struct(decoder: msgspec.msgpack.Decoder[T], data: bytes, bytes_max: int) -> T:
    """Decode one protocol object and require that ``data`` is its one canonical encoding.

    Raises InvalidEncoding when it is longer than ``bytes_max``, not of the decoder's type, or not canonical.
    """
    if len(data) > bytes_max:
        raise InvalidEncoding(f"{len(data)} bytes where at most {bytes_max} are allowed")
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InvalidEncoding(f"not the expected MessagePack: {error}") from None
    _require_canonical(value, data)
    return value


def decode_value(data: bytes, bytes_max: int) -> Any:
    """Decode an untyped canonical value (args, event data). Raises InvalidEncoding."""
    if len(data) > bytes_max:
        raise InvalidEncoding(f"{len(data)} bytes where at most {bytes_max} are allowed")
    try:
        value = _untyped.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InvalidEncoding(f"not MessagePack: {error}") from None
    check_value(value)
    _require_canonical(value, data)
    return value


def _require_canonical(value: Any, data: bytes) -> None:
    """Require that ``data`` is the encoding of ``value``. Raises InvalidEncoding, also for what has no encoding.

    An untyped part of a value (args) may hold what the decoder takes and the encoder does not, such as a map whose
    keys are arrays or floats: those bytes come from anybody and must not end as another exception than this one.
    """
    try:
        encoded = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidEncoding("the value has no canonical encoding: maps are keyed by strings") from error
    if encoded != data:
        raise InvalidEncoding("the bytes are not the canonical encoding of their value")


def check_value(value: Any, depth_max: int = DEPTH_MAX) -> None:
    """Require that ``value`` consists only of what formats A.1 allows. Raises InvalidEncoding."""
    kind = type(value)
    if kind is str or kind is bytes or kind is bool:
        return
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise InvalidEncoding("an integer is outside 64 bits")
        return
    if kind is not dict and kind is not list and kind is not tuple:
        raise InvalidEncoding(f"a {kind.__name__} has no canonical encoding")
    if depth_max == 0:
        raise InvalidEncoding(f"nested deeper than {DEPTH_MAX}")
    if len(value) > ITEMS_MAX:
        raise InvalidEncoding(f"more than {ITEMS_MAX} items in one array or map")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not 1 <= len(key.encode("utf-8", "surrogatepass")) <= KEY_BYTES_MAX:
                raise InvalidEncoding(f"a map key must be a string of 1 to {KEY_BYTES_MAX} bytes")
            kind = type(item)
            if kind is str or kind is bytes or (kind is int and INT_MIN <= item <= INT_MAX):
                continue  # nearly all there is: no call for each
            check_value(item, depth_max - 1)
    else:
        for item in value:
            kind = type(item)
            if kind is str or kind is bytes or (kind is int and INT_MIN <= item <= INT_MAX):
                continue  # nearly all there is: no call for each
            check_value(item, depth_max - 1)
