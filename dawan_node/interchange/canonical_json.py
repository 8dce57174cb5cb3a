"""The canonical form of JSON under which bills of lading are hashed (canonicaljson-spec 2, as PINT prescribes).

Two texts that say the same have one canonical form: no white space, names in order of code points, integers without
exponent, other numbers as ``1.25E1``, strings with the fewest escapes. It is *not* RFC 8785, and a foreign document is
hashed by no rule but its own (domain.md 1.1). Numbers are never turned into binary ones: ``0.1`` stays one tenth.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from dawan_node.crypto.hashing import sha256
from dawan_node.primitives.jws import json_depth

#: A transport document with its terms and a hundred boxes has some 200 KiB.
TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
DEPTH_MAX: Final = 32
#: From here on a whole number is written with an exponent, or a short text would become a long one.
ZEROS_MAX: Final = 30

_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,9}))?")
_ESCAPED: Final = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')
_SHORT: Final = {
    "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\",
}  # fmt: skip


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class NoCanonicalForm(ValueError):
    """The text is no JSON, names a member twice, or is too large or too deep."""


def canonical(data: bytes) -> bytes:
    """The canonical form of a JSON text. Raises NoCanonicalForm."""
    if len(data) > TEXT_BYTES_MAX:
        raise NoCanonicalForm(f"the text has more than {TEXT_BYTES_MAX} bytes")
    if json_depth(data) > DEPTH_MAX:
        raise NoCanonicalForm(f"the text nests deeper than {DEPTH_MAX}")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_members,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise NoCanonicalForm(f"the text is no JSON: {error}") from None
    # A lone surrogate has no UTF-8; it is written as an escape, so what is joined here always has.
    return _written(value).encode("utf-8")


def checksum(data: bytes) -> bytes:
    """The SHA-256 of the canonical form: PINT's ``transportDocumentChecksum``. Raises NoCanonicalForm."""
    return sha256(canonical(data))


def _refuse_constant(name: str) -> Any:
    raise NoCanonicalForm(f"{name} is no JSON number")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NoCanonicalForm("an object names a member twice: two readers could understand two documents")
    return members


def _written(value: Any) -> str:
    if isinstance(value, _Number):
        return _number(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_string(name)}:{_written(value[name])}" for name in sorted(value)]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_written(item) for item in value]) + "]"
    return {True: "true", False: "false", None: "null"}[value]


def _number(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise NoCanonicalForm("a number has an exponent of more than nine digits")
    sign, whole, fraction, exponent = found[1], found[2], found[3] or "", int(found[4] or "0")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return "0"
    zeros = exponent - len(fraction) + len(digits) - len(significant)
    if 0 <= zeros < ZEROS_MAX:
        return sign + significant + "0" * zeros
    return f"{sign}{significant[0]}.{significant[1:] or '0'}E{zeros + len(significant) - 1}"


def _string(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04X}", text) + '"'
