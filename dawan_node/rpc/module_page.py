"""A module's description as a page for people: what ``module_describe`` says, in Markdown.

Everything on the page comes from the description (``for_json(describe_module(module))``, what a node answers), from
what is read in its code (``node.module_refusals``) and from examples that somebody ran, so it cannot say what the
module does not. Pure: text in, text out; no clock, no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_REF: Final = "#/$defs/"
#: An example on one line is easier to read than one on ten, as long as it fits the page.
_LINE_CHARS: Final = 100

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """One transaction that was executed, as a user writes it, and the receipt it got; both in the JSON of formats B."""

    command: str
    sender: str
    args: Mapping[str, Any]
    receipt: Mapping[str, Any]


def module_page(
    description: Mapping[str, Any],
    examples: Sequence[Example] = (),
    *,
    preface: str = "",
    refusals: Mapping[str, Sequence[tuple[str, str, str]]] | None = None,
) -> str:
    """The page: states as diagrams, commands with roles, arguments, refusals and one example each, queries, events,
    records, errors. ``preface`` is a paragraph below the title, where there is more to say; ``refusals`` are module,
    reason and sentence of all with which a command can be refused, None where nobody read them."""
    name, version = description["module"], description["version"]
    page = [f"# The module `{name}`, version {version}", ""]
    if preface:
        page += [preface, ""]
    page += _dependencies(description)
    page += _states(description["entities"])
    page += _commands(description, examples, refusals)
    page += _queries(description)
    page += _events(description)
    page += _records(description)
    page += _types(description)
    page += _errors(description["errors"])
    return "\n".join(page).rstrip("\n") + "\n"


def diagram(states: Mapping[str, Any]) -> str:
    """A Mermaid state diagram of ``states`` of an entity."""
    lines = ["stateDiagram-v2"]
    leaves = {move["from"] for move in states["transitions"]}
    for move in states["transitions"]:
        before, after = move["from"] or "[*]", move["to"] or "[*]"
        lines.append(f"    {before} --> {after}: {', '.join(move['by'])}")
    lines += [f"    {state} --> [*]" for state in states["values"] if state not in leaves]
    return "\n".join(lines)


def missing_examples(description: Mapping[str, Any], examples: Sequence[Example]) -> list[str]:
    """The commands that no example shows, in the order of their declaration."""
    shown = {example.command for example in examples}
    return [command for command in description["commands"] if command not in shown]


def _dependencies(description: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (("uses", "Needs on the same channel"), ("may_use", "Uses where the channel runs it")):
        if description[key]:
            yield f"{words}: {_names(description[key])}."
            yield ""


def _states(entities: Mapping[str, Any]) -> Iterator[str]:
    if not any("states" in entity for entity in entities.values()):
        return
    yield from ("## States", "")
    yield from ("Beside each arrow stand the commands that make the move, or functions that other modules call.", "")
    for collection, entity in entities.items():
        if "states" in entity:
            states = entity["states"]
            yield from (f"### `{collection}.{states['field']}`", "", "```mermaid", diagram(states), "```", "")


def _commands(
    description: Mapping[str, Any],
    examples: Sequence[Example],
    refusals: Mapping[str, Sequence[tuple[str, str, str]]] | None,
) -> Iterator[str]:
    commands: Mapping[str, Any] = description["commands"]
    if not commands:
        return
    yield from ("## Commands", "", "| Command | Roles | What it does |", "|---|---|---|")
    for name, command in commands.items():
        yield f"| [`{name}`](#{name}) | {_roles(command['roles'])} | {_cell(command['summary'])} |"
    yield ""
    if refusals is not None:
        yield from (_REFUSALS, "")
    for name, command in commands.items():
        yield from (f"### `{name}`", "", command["summary"], "", f"Roles: {_roles(command['roles'])}.", "")
        yield from _fields(description, command["args"], "Argument")
        if refusals is not None:
            yield from _refused(description["module"], refusals[name])
        for example in examples:
            if example.command == name:
                yield from _example(example)


def _example(example: Example) -> Iterator[str]:
    yield from (f"Example: what `{example.sender}` sends, and the receipt.", "")
    yield from ("```json", _json(example.args), _json(example.receipt), "```", "")


def _queries(description: Mapping[str, Any]) -> Iterator[str]:
    queries: Mapping[str, Any] = description["queries"]
    if not queries:
        return
    yield from ("## Queries", "", "Answers come in pages, all from one height.", "")
    for name, query in queries.items():
        yield from (f"### `{name}`", "", query["summary"], "")
        yield from _fields(description, query["params"], "Parameter")
        yield from (f"Items: {_kind(query['items'])}.", "")


def _events(description: Mapping[str, Any]) -> Iterator[str]:
    events: Mapping[str, Any] = description["events"]
    if not events:
        return
    yield from ("## Events", "", "| Event | Data |", "|---|---|")
    for name, event in events.items():
        yield f"| `{name}` | {_listed(description, event['data'])} |"
    yield ""


def _records(description: Mapping[str, Any]) -> Iterator[str]:
    entities: Mapping[str, Any] = description["entities"]
    if not entities:
        return
    yield from ("## Records", "", "| Collection | Schema | Indexes | Fields |", "|---|---|---|---|")
    for name, entity in entities.items():
        fields = _listed(description, entity["value"])
        yield f"| `{name}` | {entity['schema_version']} | {_names(entity['indexes']) or '-'} | {fields} |"
    yield ""


def _types(description: Mapping[str, Any]) -> Iterator[str]:
    """What the tables above only name: structures inside others, items of queries, enumerations."""
    definitions: Mapping[str, Schema] = description["$defs"]
    sections = (("commands", "args"), ("queries", "params"), ("events", "data"), ("entities", "value"))
    shown = {
        entry[member].get("$ref", "").removeprefix(_REF)
        for section, member in sections
        for entry in description[section].values()
    }
    rest = {name: schema for name, schema in definitions.items() if name not in shown and name != "Money"}
    if not rest:
        return
    yield from ("## Types", "", "| Type | Made of |", "|---|---|")
    for name, schema in sorted(rest.items()):
        made = _listed(description, schema) if "properties" in schema else _kind(schema)
        yield f"| `{name}` | {made} |"
    yield ""


#: What the tables of refusals say, and what not.
_REFUSALS: Final = (
    "A command is refused with the reasons below it and with no others, beside those of every transaction (signature, "
    "validity, role, form of the arguments). They are read from the code that it may run; whether each can really come "
    "depends on its rules."
)


def _refused(module: str, refusals: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    if not refusals:
        yield from ("No reason of its own refuses it.", "")
        return
    yield from ("| Refused with | When |", "|---|---|")
    for owner, reason, sentence in refusals:
        of = "" if owner == module else f" of `{owner}`"
        yield f"| `{reason}`{of} | {_cell(sentence)} |"
    yield ""


def _errors(errors: Mapping[str, str]) -> Iterator[str]:
    if not errors:
        return
    yield from ("## Errors", "")
    yield from ("A refused command leaves the state as it was; its receipt has code 3 and one of these reasons.", "")
    yield from ("| Reason | Meaning |", "|---|---|")
    for reason, sentence in errors.items():
        yield f"| `{reason}` | {_cell(sentence)} |"
    yield ""


# -- types in words --------------------------------------------------------------------------------------------------


def _fields(description: Mapping[str, Any], schema: Schema, heading: str) -> Iterator[str]:
    """A table of an object's fields."""
    found = _resolved(description, schema)
    text = found.get("description", "")
    if text:
        # Docstrings mark names the way of reStructuredText.
        yield from (" ".join(text.split()).replace("``", "`"), "")
    properties = found.get("properties", {})
    if not properties:
        return
    yield from (f"| {heading} | Type | |", "|---|---|---|")
    required = found.get("required", ())
    for name, field in properties.items():
        note = "" if name in required else f"default {_default(field)}" if "default" in field else "may be absent"
        yield f"| `{name}` | {_cell(_kind(field))} | {note} |"
    yield ""


def _listed(description: Mapping[str, Any], schema: Schema) -> str:
    """An object's fields in one cell."""
    properties = _resolved(description, schema).get("properties", {})
    return _cell(", ".join([f"`{name}`: {_kind(field)}" for name, field in properties.items()])) or "-"


def _resolved(description: Mapping[str, Any], schema: Schema) -> Schema:
    name = schema.get("$ref", "").removeprefix(_REF)
    found: Schema = description["$defs"][name] if name else schema
    return found


def _kind(schema: Schema) -> str:
    """What a value of this schema is, in words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return "money" if name == "Money" else f"`{name}`"
    if "anyOf" in schema:
        return " or ".join([_kind(each) for each in schema["anyOf"]])
    if "enum" in schema:
        return ", ".join([_line(each) for each in schema["enum"]])
    match schema.get("format"):
        case "money":
            return "money"
        case "date":
            return "date"
        case "date-time":
            return "time"
        case "hex":
            return "32 bytes in hex" if "{64}" in schema.get("pattern", "") else "bytes in hex"
    match schema.get("type"):
        case "integer":
            return "integer" + _range(schema, "minimum", "maximum", "")
        case "string":
            pattern = f" `{schema['pattern']}`" if "pattern" in schema else ""
            return "text" + _range(schema, "minLength", "maxLength", " characters") + pattern
        case "boolean":
            return "true or false"
        case "array":
            return _array(schema)
        case "object":
            inner = schema.get("additionalProperties")
            return f"map of names to {_kind(inner)}" if isinstance(inner, Mapping) else "map"
    return "any value"


def _array(schema: Schema) -> str:
    if "prefixItems" in schema:
        return "[" + ", ".join([_kind(each) for each in schema["prefixItems"]]) + "]"
    items = schema.get("items", {})
    inside = _kind(items) if isinstance(items, Mapping) else "any value"
    return f"list of {inside}" + _range(schema, "minItems", "maxItems", " items")


def _range(schema: Schema, low: str, high: str, unit: str) -> str:
    least, most = schema.get(low), schema.get(high)
    if least is None and most is None:
        return ""
    if least == most:
        return f" ({least:,}{unit})"
    if most is None:
        return f" (at least {least:,}{unit})"
    return f" (at most {most:,}{unit})" if least is None else f" ({least:,} to {most:,}{unit})"


def _default(schema: Schema) -> str:
    value = schema["default"]
    return "empty" if value in ("", [], {}) else f"`{_line(value)}`"


def _roles(roles: Sequence[str]) -> str:
    return ", ".join(roles) if roles else "any active identity"


def _names(names: Sequence[str]) -> str:
    return ", ".join([f"`{name}`" for name in names])


def _cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def _json(value: Any) -> str:
    """On one line if it fits, else an item a line."""
    line = _line(value)
    if len(line) <= _LINE_CHARS or not value:
        return line
    if isinstance(value, Mapping):
        items = [f"{_line(key)}: {_line(item)}" for key, item in value.items()]
        return "{\n  " + ",\n  ".join(items) + "\n}"
    return json.dumps(value, ensure_ascii=False, indent=2)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
