"""JSON Web Signatures in compact form (RFC 7515), as platforms of electronic bills of lading exchange them (DCSA PINT).

Three base64url parts with dots between them; the signature is over the first two as they stand. Only ``EdDSA`` with
Ed25519 (RFC 8037) is read: the network has one signature rule, and one library that applies it.

Whoever sends such a text also chooses how it is spelled. So each part must be the one base64url spelling of its bytes
(otherwise one signature had several hashes), and JSON is not nested deeper than a fixed bound, because how deep a
decoder can go differs between interpreters.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

#: Chain entries with a dozen transactions have some ten thousand characters.
JWS_CHARS_MAX: Final = 32_768
#: Transport documents nest six deep.
JSON_DEPTH_MAX: Final = 16

_COMPACT: Final = re.compile("([A-Za-z0-9_-]+)\\.([A-Za-z0-9_-]+)\\.([A-Za-z0-9_-]+)")
# One that does not end is a string too, or each quote in it would be tried again to the end.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.|\\\Z)*(?:"|\Z)', re.S)
_BRACKET: Final = re.compile(rb"[\[\]{}]")


class _Header(msgspec.Struct, frozen=True):
    alg: str
    # Extensions that must be understood: none are.
    crit: Any = None


@dataclass(frozen=True, slots=True)
class Jws:
    """A signature that has the right form; nothing says yet that it verifies."""

    payload: bytes
    signing_input: bytes
    signature: bytes


def read_jws(text: str) -> Jws | None:
    """The parts of a compact JWS; None when it is malformed, not EdDSA, or asks for an extension."""
    found = _COMPACT.fullmatch(text) if len(text) <= JWS_CHARS_MAX else None
    if found is None:
        return None
    header, payload, signature = [_decoded(part) for part in found.groups()]
    if header is None or payload is None or signature is None:
        return None
    read = read_json(header, _Header)
    if read is None or read.alg != "EdDSA" or read.crit is not None:
        return None
    return Jws(payload, f"{found[1]}.{found[2]}".encode(), signature)


def read_json(data: bytes, kind: type[T]) -> T | None:
    """``data`` as a ``kind``, fields it does not declare left out; None when it is not, or is nested too deep."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    if json_depth(data) > JSON_DEPTH_MAX:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None


def json_depth(data: bytes) -> int:
    """How deep the brackets of a JSON text nest, those inside strings left out; for any bytes, in linear time."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", data)):
        depth += 1 if bracket in (b"[", b"{") else -1
        deepest = max(deepest, depth)
    return deepest


def _decoded(part: str) -> bytes | None:
    if len(part) % 4 == 1:
        return None
    decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    return decoded if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == part else None
