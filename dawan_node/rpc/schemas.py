"""What a module says about its types, as far as JSON needs it.

``module_describe`` is one JSON document per module (the registry's). This file is the only place that knows where in
it the schema of an argument map, an event, an entity, a query's parameters or a query's items stands, so that
``values`` can walk any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dawan_node.rpc.api import ApiError, NodeApi

Schema = Mapping[str, Any]
#: A schema and the document whose ``$defs`` it refers to; (None, None) when the module says nothing about it.
Typed = tuple[Schema | None, Schema | None]

# Section of the description -> the member that holds the schema, when it is not the entry itself.
_MEMBER: Final = {"commands": "args", "queries": "params", "items": "items", "entities": "value", "events": "data"}


class ModuleSchemas:
    """Schemas of the modules of one channel, read once per call; a module unknown here simply types nothing."""

    __slots__ = ("_describe", "_known")

    def __init__(self, describe: Callable[[str], Schema]) -> None:
        self._describe = describe
        self._known: dict[str, Schema | None] = {}

    def __call__(self, module: str, kind: str, name: str) -> Typed:
        """The schema of ``name`` among the module's ``commands``, ``queries``, ``items``, ``entities``, ``events``."""
        document = self.document(module)
        if document is None:
            return None, None
        return schema_in(document, kind, name), document

    def document(self, module: str) -> Schema | None:
        """The module's whole description, None when the channel does not run it."""
        if module not in self._known:
            try:
                self._known[module] = self._describe(module)
            except ApiError:
                self._known[module] = None
        return self._known[module]


def schemas_of(api: NodeApi, channel: str) -> ModuleSchemas:
    """The schemas of a channel's modules."""
    return ModuleSchemas(lambda module: api.describe(channel, module))


def schema_in(document: Schema, kind: str, name: str) -> Schema | None:
    """The schema of one command, query, entity or event inside a module's description."""
    section = document.get("queries" if kind == "items" else kind, {})
    entry = section.get(name) if isinstance(section, Mapping) else None
    if not isinstance(entry, Mapping):
        return None
    inner = entry.get(_MEMBER[kind])
    if isinstance(inner, Mapping):
        return inner
    # An entry that is itself a schema; a description of something else types nothing.
    return entry if "type" in entry or "$ref" in entry else None
