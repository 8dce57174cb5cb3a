"""A module's description as tables, and as a page of documentation: made from the code, so it cannot be behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def page(document: Document) -> str:
    """Markdown, with a final line end."""
    lines = [f"# {document['module']}", "", f"Version {document['version']}. Made by `dawan-node module describe`.", ""]
    if document["uses"] or document["may_use"]:
        lines += [f"Uses: {', '.join([*document['uses'], *document['may_use']])}.", ""]
    for title, columns, rows in rows_of(document):
        if rows:
            lines += [f"## {title}", "", _line(list(columns.values())), _line(["---"] * len(columns))]
            lines += [_line([_cell(row[key]) for key in columns]) for row in rows]
            lines.append("")
    for name, command in document["commands"].items():
        lines += [f"## {name}", "", command["summary"], "", "| ARGUMENT | FORM | NEEDED |", "| --- | --- | --- |"]
        schema = _resolved(command["args"], document)
        needed = schema.get("required", [])
        for field, form in schema.get("properties", {}).items():
            lines.append(_line([f"`{field}`", _form(form, document), "yes" if field in needed else "no"]))
        lines.append("")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return (text or "-").replace("|", "\\|")


def _resolved(schema: Document, document: Document) -> Document:
    reference = schema.get("$ref")
    found: Document = document["$defs"][reference.rpartition("/")[2]] if isinstance(reference, str) else schema
    return found


def _fields(schema: Document, document: Document) -> list[str]:
    return list(_resolved(schema, document).get("properties", {}))


def _form(schema: Document, document: Document) -> str:
    """A schema in a few words."""
    found = _resolved(schema, document)
    if "enum" in found:
        return " or ".join(f"`{value}`" for value in found["enum"])
    if "anyOf" in found:
        return " or ".join(_form(part, document) for part in found["anyOf"])
    kind = str(found.get("format") or found.get("title") or found.get("type", "any"))
    if found.get("type") == "array" and isinstance(found.get("items"), Mapping):
        kind = f"list of {_form(found['items'], document)}"
    bounds = [
        f"{word} {found[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("minLength", "at least"), ("maxLength", "at most"))
        if key in found
    ]
    return f"{kind} ({', '.join(bounds)})" if bounds else kind
