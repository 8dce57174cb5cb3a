"""What a module declares, as one JSON document: what ``module_describe`` shows and JSON arguments are read by.

The schemas are of the *named* fields, as people and ERPs write them: an entity is stored as an array, but described
as an object. ``format`` marks what JSON writes differently: ``money``, ``instant-ms``, ``date``; fields of type bytes
carry ``contentEncoding`` and are written as ``0x`` hexadecimal. ``states`` of an entity are its field, the values and
the transitions: ``from`` is empty for a new record, ``to`` for a deleted one, ``by`` the commands or exported
functions that make the move.
"""

from __future__ import annotations

from typing import Any, Final, get_args, get_origin

import msgspec

from dawan_node.execution.module import Module
from dawan_node.execution.money import Money
from dawan_node.execution.transitions import StateMachine

_REFERENCE: Final = "#/$defs/{name}"


def describe_module(module: Module) -> dict[str, Any]:
    """The module's description."""
    doubles = _Doubles()
    commands = {name: command.args for name, command in module.commands.items()}
    params = {name: query.params for name, query in module.queries.items()}
    items = {name: doubles.of(query.item) for name, query in module.queries.items()}
    entities = {name: doubles.of(entity) for name, entity in module.entities.items()}
    events = {event.__name__: event for event in sorted(module.events, key=lambda event: event.__name__)}
    kinds: list[type] = [*commands.values(), *params.values(), *items.values(), *entities.values(), *events.values()]
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    schema_of = dict(zip(kinds, schemas, strict=True))
    if Money.__name__ in definitions:
        definitions[Money.__name__]["format"] = "money"
    return {
        "module": module.name,
        "version": module.version,
        "uses": sorted(module.uses),
        "may_use": sorted(module.may_use),
        "errors": dict(module.errors),
        "commands": {
            name: {
                "summary": command.summary,
                "roles": list(command.roles),
                "args": schema_of[commands[name]],
            }
            for name, command in module.commands.items()
        },
        "queries": {
            name: {
                "summary": query.summary,
                "params": schema_of[params[name]],
                "items": schema_of[items[name]],
            }
            for name, query in module.queries.items()
        },
        "entities": {
            name: {
                "schema_version": entity.spec.schema,
                "indexes": sorted(entity.indexes),
                "value": schema_of[entities[name]],
                **_states(module.state_machines.get(name)),
            }
            for name, entity in module.entities.items()
        },
        "events": {name: {"data": schema_of[kind]} for name, kind in events.items()},
        "$defs": definitions,
    }


def _states(machine: StateMachine | None) -> dict[str, Any]:
    """``states`` of a record that has any: the field, its values in order, the moves with all that make each."""
    if machine is None:
        return {}
    moves: dict[tuple[str, str], list[str]] = {}
    for move in machine.transitions:
        moves.setdefault((move.before, move.after), []).append(move.by)
    transitions = [{"from": before, "to": after, "by": by} for (before, after), by in moves.items()]
    return {"states": {"field": machine.field, "values": list(machine.states), "transitions": transitions}}


class _Doubles:
    """Map-like doubles of array-like structs, made for their schemas alone; ``Money`` keeps its own form.

    Only what is read from the ledger as structs is doubled: entities and query items. Arguments and events are
    described in the shape they have on the ledger.
    """

    def __init__(self) -> None:
        self._known: dict[type, type] = {Money: Money}

    def of(self, kind: type[msgspec.Struct]) -> type:
        """``kind`` itself when it is map-like, else its double."""
        known = self._known.get(kind)
        if known is None:
            fields = [(field.name, self._inside(field.type)) for field in msgspec.structs.fields(kind)]
            array_like = kind.__struct_config__.array_like
            known = msgspec.defstruct(kind.__name__, fields, module=kind.__module__) if array_like else kind
            self._known[kind] = known
        return known

    def _inside(self, annotation: Any) -> Any:
        """An annotation with the structs inside it doubled; declarations are finite, so is this walk."""
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return self.of(annotation)
        if get_origin(annotation) is tuple:
            parts = [part if part is Ellipsis else self._inside(part) for part in get_args(annotation)]
            return tuple.__class_getitem__(tuple(parts))
        return annotation
