"""How ledger values look in JSON, both directions (formats B). Pure; the client uses the same functions.

| Ledger | JSON |
|---|---|
| bytes | ``"0x"`` + lower-case hexadecimal |
| int | number up to 2^53-1 in size, beyond that a decimal string |
| instant, ms since 1970 UTC, field ``x_ms`` | RFC 3339 with milliseconds and ``Z`` under the key ``x`` |
| duration | the plain number, its key keeps ``_ms`` or ``_s`` |
| money ``[currency, minor units]`` | ``{"currency": "CNY", "amount": "1234.50"}`` |
| date, str, bool, list, map | themselves |

The bytes of a transaction do not say which int is an instant or which pair is money; the schema of its module does
(``module_describe``, JSON Schema with ``format`` "money", "instant-ms" and "hex"). ``to_json`` and ``from_json`` walk
a value along its schema. ``to_json`` is total: what fits no schema is shown plainly rather than hidden. ``from_json``
is strict: it raises ``BadValue`` with the path of the first value that does not fit.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dawan_node.errors import InvalidInput

SAFE_INTEGER_MAX: Final = 2**53 - 1
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

# ISO 4217 minor units that are not two digits. A currency the module does not know is the module's error to give,
# so every three capital letters are converted here.
_PLACES_OF: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_PLACES: Final = {currency: places for places, row in _PLACES_OF.items() for currency in row.split()}
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_AMOUNT: Final = re.compile(r"(-?)(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,4}))?")
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_INSTANT: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,3}))?Z")

_DAY_MS: Final = 86_400_000
_EPOCH_DAY: Final = datetime.date(1970, 1, 1).toordinal()
_LAST_DAY: Final = datetime.date.max.toordinal()
# Formats A.1 allows 8 levels; a schema that refers to itself may not make the walk endless.
_DEPTH_MAX: Final = 8

_NO_SCHEMA: Final[Mapping[str, Any]] = {}

# In a schema rewritten for JSON: the name a renamed field has on the ledger.
LEDGER_NAME: Final = "x-ledger-name"


class BadValue(InvalidInput):
    """A JSON value that does not fit; ``path`` leads to it (``args.total.amount``)."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


# -- single values -------------------------------------------------------------------------------------------------


def to_hex(data: bytes) -> str:
    """``0x`` and lower-case hexadecimal."""
    return "0x" + data.hex()


def from_hex(value: Any, path: str, length: int | None = None) -> bytes:
    """The bytes of a ``0x..`` string, exactly ``length`` of them when given. Raises BadValue."""
    # Not a regular expression: this runs over every byte of every submitted transaction.
    if not isinstance(value, str) or value[:2] != "0x" or len(value) % 2 or not value.isascii():
        raise BadValue(path, "expected 0x and an even number of lower-case hexadecimal digits")
    try:
        data = bytes.fromhex(value[2:])
    except ValueError:
        data = b""
    if 2 * len(data) + 2 != len(value) or value != value.lower():  # fromhex skips blanks and takes capitals
        raise BadValue(path, "expected 0x and an even number of lower-case hexadecimal digits")
    if length is not None and len(data) != length:
        raise BadValue(path, f"expected {length} bytes, not {len(data)}")
    return data


def is_hex(value: Any) -> bool:
    """Whether ``value`` is a ``0x..`` string in the one accepted spelling."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def to_int(value: int) -> int | str:
    """The number itself while every JSON reader holds it exactly, else its decimal digits."""
    return value if -SAFE_INTEGER_MAX <= value <= SAFE_INTEGER_MAX else str(value)


def from_int(value: Any, path: str, minimum: int = INT_MIN, maximum: int = INT_MAX) -> int:
    """An integer given as a JSON number or as decimal digits. Raises BadValue."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value) and value != "-0":
        value = int(value)
    if type(value) is not int:
        raise BadValue(path, "expected an integer; beyond 2^53-1 as a string of decimal digits")
    if not minimum <= value <= maximum:
        raise BadValue(path, f"expected an integer from {minimum} to {maximum}")
    return value


def to_instant(ms: int) -> str:
    """``2026-05-20T08:00:00.000Z``; plain digits for what lies outside the years 1 to 9999."""
    days, rest = divmod(ms, _DAY_MS)
    ordinal = _EPOCH_DAY + days
    if not 1 <= ordinal <= _LAST_DAY:
        return str(ms)
    seconds, milliseconds = divmod(rest, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{datetime.date.fromordinal(ordinal).isoformat()}T{clock}.{milliseconds:03}Z"


def from_instant(value: Any, path: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time in UTC (``Z``), with up to three decimals. Raises BadValue."""
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValue(path, "expected a time such as 2026-05-20T08:00:00.000Z, in UTC")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        ordinal = datetime.date(year, month, day).toordinal()
    except ValueError:
        raise BadValue(path, "there is no such date") from None
    if hour > 23 or minute > 59 or second > 59:
        raise BadValue(path, "there is no such time of day (leap seconds are not counted)")
    milliseconds = int((match[7] or "").ljust(3, "0"))
    return (ordinal - _EPOCH_DAY) * _DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds


def decimal_places(currency: str) -> int:
    """Decimal places of a currency's minor unit (ISO 4217)."""
    return _PLACES.get(currency, 2)


def to_money(currency: str, minor: int) -> dict[str, str]:
    """``{"currency": "CNY", "amount": "1234.50"}``."""
    places = decimal_places(currency)
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(places + 1, "0")
    amount = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return {"currency": currency, "amount": sign + amount}


def from_money(value: Any, path: str) -> list[Any]:
    """``[currency, minor units]``. The amount is a string with at most the currency's decimals. Raises BadValue."""
    if not isinstance(value, dict) or value.keys() != {"currency", "amount"}:
        raise BadValue(path, 'expected {"currency": "CNY", "amount": "1234.50"}')
    currency, amount = value["currency"], value["amount"]
    if not isinstance(currency, str) or _CURRENCY.fullmatch(currency) is None:
        raise BadValue(f"{path}.currency", "expected three capital letters (ISO 4217)")
    match = _AMOUNT.fullmatch(amount) if isinstance(amount, str) else None
    if match is None:
        raise BadValue(f"{path}.amount", 'expected a decimal string such as "1234.50", not a number')
    sign, whole, fraction = match[1], match[2], match[3] or ""
    places = decimal_places(currency)
    if len(fraction) > places:
        raise BadValue(f"{path}.amount", f"{currency} has {places} decimal places")
    minor = int(whole + fraction.ljust(places, "0"))
    minor = -minor if sign else minor
    if not INT_MIN <= minor <= INT_MAX:
        raise BadValue(f"{path}.amount", "the amount does not fit 64 bits of minor units")
    return [currency, minor]


# -- values along their schema -------------------------------------------------------------------------------------


def to_json(value: Any, schema: Mapping[str, Any] | None = None, root: Mapping[str, Any] | None = None) -> Any:
    """The JSON of a ledger value. ``schema`` types it where known; ``root`` holds its ``$defs``. Never raises."""
    return _to_json(value, schema or _NO_SCHEMA, root or schema or _NO_SCHEMA, _DEPTH_MAX + 2)


def from_json(value: Any, schema: Mapping[str, Any], path: str, root: Mapping[str, Any] | None = None) -> Any:
    """The ledger value of a JSON value that must fit ``schema``. Raises BadValue with the path of the misfit."""
    return _from_json(value, schema, root or schema, path, _DEPTH_MAX)


def json_name(name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """The key a field has in JSON: an instant loses its ``_ms``."""
    if name.endswith("_ms") and format_of(resolve(schema, root)) == "instant-ms":
        return name[:-3]
    return name


def ledger_name(name: str, schema: Mapping[str, Any]) -> str:
    """The key a property has on the ledger, in either notation of its schema."""
    return str(schema.get(LEDGER_NAME, name))


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself: follows ``$ref`` into ``$defs``, a few steps at most, and looks through "or null"."""
    for _ in range(_DEPTH_MAX):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = root.get("$defs", {}).get(reference.rsplit("/", 1)[-1])
            if not isinstance(target, Mapping):
                return _NO_SCHEMA
            schema = target
            continue
        arms = [arm for arm in schema.get("anyOf", ()) if arm.get("type") != "null"]
        if len(arms) != 1:
            return schema
        schema = arms[0]
    return schema


def format_of(schema: Mapping[str, Any]) -> str:
    """``"money"``, ``"instant-ms"``, ``"hex"`` or another format name of a resolved schema."""
    name = schema.get("format", "")
    if name == "date-time" and schema.get("type") == "string":  # an instant in a schema rewritten for JSON
        return "instant-ms"
    if not name and schema.get("contentEncoding") == "base64":  # msgspec's word for a field of type bytes
        return "hex"
    if not name and schema.get("title") == "Money" and schema.get("type") == "array":
        return "money"
    return str(name)


def _to_json(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if depth == 0:
        return "…"
    schema = resolve(schema, root)
    if isinstance(value, bytes):
        return to_hex(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return to_instant(value) if format_of(schema) == "instant-ms" else to_int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return _map_to_json(value, schema, root, depth)
    fields: tuple[str, ...] = getattr(value, "__struct_fields__", ())
    if fields == ("currency", "minor") or (format_of(schema) == "money" and _is_money(value)):
        currency, minor = (value.currency, value.minor) if fields else value
        return to_money(currency, minor)
    if fields:
        return _map_to_json({name: getattr(value, name) for name in fields}, schema, root, depth)
    if isinstance(value, Sequence):
        return _sequence_to_json(value, schema, root, depth)
    return str(value)


def _map_to_json(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    properties = schema.get("properties", _NO_SCHEMA)
    other = schema.get("additionalProperties", _NO_SCHEMA)
    other = other if isinstance(other, Mapping) else _NO_SCHEMA
    members: dict[str, Any] = {}
    for name, item in value.items():
        if type(item).__name__ == "UnsetType":  # an optional field that is absent on the ledger is absent here
            continue
        item_schema = properties.get(name, other)
        members[json_name(name, item_schema, root)] = _to_json(item, item_schema, root, depth - 1)
    return members


def _sequence_to_json(
    value: Sequence[Any], schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> list[Any]:
    first = schema.get("prefixItems", ())
    rest = schema.get("items", _NO_SCHEMA)
    rest = rest if isinstance(rest, Mapping) else _NO_SCHEMA
    return [
        _to_json(item, first[position] if position < len(first) else rest, root, depth - 1)
        for position, item in enumerate(value)
    ]


def _is_money(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _from_json(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int) -> Any:
    if depth < 0:
        raise BadValue(path, f"nested deeper than {_DEPTH_MAX}")
    schema = resolve(schema, root)
    kind = format_of(schema)
    if kind == "money":
        return from_money(value, path)
    if kind == "instant-ms":
        return from_instant(value, path)
    if kind == "hex":
        data = from_hex(value, path)
        if schema.get("contentEncoding") == "base64":  # msgspec counts the characters of base64
            low, high = schema.get("minLength", 0) // 4 * 3 - 2, schema.get("maxLength", INT_MAX) // 4 * 3
            schema = {"minLength": low, "maxLength": high}
        _check_length(len(data), schema, "minLength", "maxLength", path, "bytes")
        _check_pattern(value, schema, path)
        return data
    if "anyOf" in schema:
        return _first_fitting(value, schema["anyOf"], root, path, depth)
    choices = schema.get("enum")
    if choices is not None and (value not in choices or isinstance(value, bool)):
        raise BadValue(path, f"expected one of {', '.join(str(choice) for choice in choices)}")
    match schema.get("type"):
        case "integer":
            return from_int(value, path, *_bounds(schema))
        case "string":
            return _text(value, schema, path)
        case "boolean":
            if not isinstance(value, bool):
                raise BadValue(path, "expected true or false")
            return value
        case "array":
            return _array(value, schema, root, path, depth)
        case "object":
            return _object(value, schema, root, path, depth)
        case None:
            return _untyped(value, path, depth)
    raise BadValue(path, "this value cannot be written to the ledger")


def _first_fitting(
    value: Any, arms: Sequence[Mapping[str, Any]], root: Mapping[str, Any], path: str, depth: int
) -> Any:
    """Alternatives are tried in the order of the schema; the complaint of the last one is reported."""
    refusal = BadValue(path, "fits no alternative")
    for arm in arms:
        try:
            return _from_json(value, arm, root, path, depth)
        except BadValue as error:
            refusal = error
    raise refusal


def _bounds(schema: Mapping[str, Any]) -> tuple[int, int]:
    low = schema.get("minimum", INT_MIN)
    high = schema.get("maximum", INT_MAX)
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + 1
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - 1
    return int(low), int(high)


def _text(value: Any, schema: Mapping[str, Any], path: str) -> str:
    if not isinstance(value, str):
        raise BadValue(path, "expected a string")
    _check_length(len(value), schema, "minLength", "maxLength", path, "characters")
    _check_pattern(value, schema, path)
    return value


def _check_pattern(value: str, schema: Mapping[str, Any], path: str) -> None:
    pattern = schema.get("pattern")
    if pattern is not None and re.search(pattern, value) is None:
        raise BadValue(path, f"does not match {pattern}")


def _array(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int) -> list[Any]:
    if not isinstance(value, list):
        raise BadValue(path, "expected an array")
    _check_length(len(value), schema, "minItems", "maxItems", path, "items")
    first = schema.get("prefixItems", ())
    rest = schema.get("items", _NO_SCHEMA)
    items: list[Any] = []
    for position, item in enumerate(value):
        item_schema = first[position] if position < len(first) else rest
        if not isinstance(item_schema, Mapping):
            raise BadValue(f"{path}[{position}]", "one item too many")
        items.append(_from_json(item, item_schema, root, f"{path}[{position}]", depth - 1))
    return items


def _object(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadValue(path, "expected an object")
    properties: Mapping[str, Any] = schema.get("properties", _NO_SCHEMA)
    by_json_name = {json_name(name, item, root): name for name, item in properties.items()}
    other = schema.get("additionalProperties", not properties)
    members: dict[str, Any] = {}
    for key, item in value.items():
        name = by_json_name.get(key)
        if name is not None:
            read = _from_json(item, properties[name], root, f"{path}.{key}", depth - 1)
            members[ledger_name(name, properties[name])] = read
        elif other is False:
            known = ", ".join(sorted(by_json_name)) or "no fields"
            raise BadValue(f"{path}.{key[:64]}", f"unknown field; known: {known}")
        else:
            other_schema = other if isinstance(other, Mapping) else _NO_SCHEMA
            members[key] = _from_json(item, other_schema, root, f"{path}.{key[:64]}", depth - 1)
    for name in schema.get("required", ()):
        required = properties.get(name, _NO_SCHEMA)
        if ledger_name(name, required) not in members:
            raise BadValue(f"{path}.{json_name(name, required, root)}", "is missing")
    return members


def _untyped(value: Any, path: str, depth: int) -> Any:
    """A value no schema types: strings, ints, bools and nests of them, as they are."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, list):
        return [_from_json(item, _NO_SCHEMA, _NO_SCHEMA, f"{path}[{n}]", depth - 1) for n, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            key: _from_json(item, _NO_SCHEMA, _NO_SCHEMA, f"{path}.{key[:64]}", depth - 1)
            for key, item in value.items()
        }
    return from_int(value, path)


def _check_length(size: int, schema: Mapping[str, Any], low: str, high: str, path: str, unit: str) -> None:
    if size < schema.get(low, 0):
        raise BadValue(path, f"expected at least {schema[low]} {unit}, not {size}")
    if size > schema.get(high, size):
        raise BadValue(path, f"expected at most {schema[high]} {unit}, not {size}")
