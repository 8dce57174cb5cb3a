"""A module's description for those who write JSON: the schemas of what ``tx_prepare`` takes and queries return.

The registry describes values as the ledger holds them: money is a pair, an instant an integer, bytes are bytes. In
JSON these look different (see ``values``), so a form or validator generated from the ledger's schema would be wrong.
``for_json`` rewrites a description accordingly; ``values.from_json`` reads arguments along either one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from dawan_node.rpc.values import LEDGER_NAME, format_of, json_name, resolve

_SECTIONS: Final = MappingProxyType(
    {"commands": ("args",), "queries": ("params", "items"), "entities": ("value",), "events": ("data",)}
)
_MONEY: Final = {
    "title": "Money",
    "format": "money",
    "type": "object",
    "properties": {
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "amount": {"type": "string", "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$"},
    },
    "required": ["currency", "amount"],
    "additionalProperties": False,
}


def for_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """The description with every schema rewritten to the JSON notation of formats B."""
    shown = dict(document)
    for section, members in _SECTIONS.items():
        shown[section] = {
            name: {
                key: _rewrite(value, document) if key in members and isinstance(value, Mapping) else value
                for key, value in entry.items()
            }
            for name, entry in document.get(section, {}).items()
        }
    shown["$defs"] = {name: _rewrite(schema, document) for name, schema in document.get("$defs", {}).items()}
    return shown


def _rewrite(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """One schema. Declarations are finite and references are kept as references, so the walk ends."""
    kind = format_of(schema)
    if kind == "money":
        return dict(_MONEY)
    if kind == "hex":
        return {"type": "string", "format": "hex", "pattern": _hex_pattern(schema)}
    if kind == "instant-ms":
        return {"type": "string", "format": "date-time"}
    shown = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            shown[key] = _rewrite(schema[key], root)
    for key in ("anyOf", "prefixItems"):
        if key in schema:
            shown[key] = [_rewrite(part, root) for part in schema[key]]
    if "properties" in schema:
        renamed = {name: json_name(name, item, root) for name, item in schema["properties"].items()}
        shown["properties"] = {
            renamed[name]: _property(name, renamed[name], item, root) for name, item in schema["properties"].items()
        }
        if "required" in schema:
            shown["required"] = [renamed.get(name, name) for name in schema["required"]]
    return shown


def _property(name: str, shown_name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    if name == shown_name:
        return _rewrite(schema, root)
    return {**_rewrite(resolve(schema, root), root), LEDGER_NAME: name}


def _hex_pattern(schema: Mapping[str, Any]) -> str:
    """msgspec counts base64 characters; only an exact multiple of three or a fixed length can be told back."""
    low, high = schema.get("minLength"), schema.get("maxLength")
    if low is not None and low == high == 44:  # 32 bytes: every hash and key
        return "^0x[0-9a-f]{64}$"
    return "^0x([0-9a-f]{2})*$"
