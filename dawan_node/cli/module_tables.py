"""A module's description as tables on a terminal (``rpc.module_page`` makes the page of documentation)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
Section = tuple[str, Mapping[str, str], list[dict[str, object]]]


def rows_of(document: Document) -> Iterator[Section]:
    """Title, columns and rows of each part."""
    yield (
        "Commands",
        {"name": "COMMAND", "roles": "ROLES", "arguments": "ARGUMENTS", "summary": "WHAT IT DOES"},
        [
            {
                "name": name,
                "roles": command["roles"] or "anybody",
                "arguments": _fields(command["args"], document),
                "summary": command["summary"],
            }
            for name, command in document["commands"].items()
        ],
    )
    yield (
        "Queries",
        {"name": "QUERY", "parameters": "PARAMETERS", "summary": "WHAT IT ANSWERS"},
        [
            {"name": name, "parameters": _fields(query["params"], document), "summary": query["summary"]}
            for name, query in document["queries"].items()
        ],
    )
    yield (
        "Records",
        {"name": "COLLECTION", "indexes": "INDEXES", "fields": "FIELDS"},
        [
            {"name": name, "indexes": entity["indexes"], "fields": _fields(entity["value"], document)}
            for name, entity in document["entities"].items()
        ],
    )
    yield (
        "Events",
        {"name": "EVENT", "fields": "FIELDS"},
        [{"name": name, "fields": _fields(event["data"], document)} for name, event in document["events"].items()],
    )
    yield (
        "Reasons",
        {"name": "REASON", "text": "MEANING"},
        [{"name": name, "text": text} for name, text in document["errors"].items()],
    )


def _resolved(schema: Document, document: Document) -> Document:
    reference = schema.get("$ref")
    found: Document = document["$defs"][reference.rpartition("/")[2]] if isinstance(reference, str) else schema
    return found


def _fields(schema: Document, document: Document) -> list[str]:
    return list(_resolved(schema, document).get("properties", {}))
