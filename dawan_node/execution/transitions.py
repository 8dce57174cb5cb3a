"""State machines: which state a record can be in and which command moves it from which state to which.

The rules themselves are in the commands; what stands here says them in one place, for people and for
``module_describe``. A module declares it after its commands::

    module.state_machine(
        Invoice,
        "state",
        {
            "record_invoice": "-> RECORDED",
            "confirm_invoice": "RECORDED, DISPUTED -> CONFIRMED",
            "settle_invoice": ("CONFIRMED -> USED", "CONFIRMED, USED -> SETTLED"),
        },
    )

A name before the colon is a command of the module, or a function it exports where another module's command moves the
record through it. Nothing before the arrow: the record is new; nothing behind it: it is deleted. A command that leaves
the state as it is needs no line.

A declaration changes nothing a channel does, so it may be corrected without a new version. That it is true is what the
tests are for: ``testing.moves`` watches every record that a command writes, no move may be undeclared, and the
extended run meets every declared one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from dawan_node.execution.entity import DeclarationError, Entity

_ARROW: Final = "->"


@dataclass(frozen=True, slots=True, order=True)
class Transition:
    """One move: from ``before`` (empty: the record is new) to ``after`` (empty: it is deleted) by ``by``."""

    before: str
    after: str
    by: str

    def __str__(self) -> str:
        return f"{self.before or '(new)'} -> {self.after or '(deleted)'} by {self.by}"


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The states of one entity type, in the order of its declaration, and every move between them."""

    field: str
    states: tuple[str, ...]
    transitions: tuple[Transition, ...]

    @classmethod
    def of(cls, entity: type[Entity], field: str, moves: Mapping[str, str | Iterable[str]]) -> StateMachine:
        """Read a declaration as the head of this file shows it. Raises DeclarationError."""
        where = f"{entity.__name__}.{field}"
        states = states_of(entity, field)
        if not states:
            raise DeclarationError(f"{where} is no field of an enumeration or of literals, so it has no states")
        found: list[Transition] = []
        for by, lines in moves.items():
            for line in (lines,) if isinstance(lines, str) else lines:
                found += [_checked(where, states, move) for move in _read(where, by, line)]
        if len(set(found)) != len(found):
            twice = next(move for move in found if found.count(move) > 1)
            raise DeclarationError(f"{where}: {twice} is declared twice")
        return cls(field, states, tuple(found))


def states_of(entity: type[Entity], field: str) -> tuple[str, ...]:
    """The values a field of an enumeration or of literals can have; none for any other field."""
    kinds = {each.name: each.type for each in msgspec.structs.fields(entity)}
    kind: Any = kinds.get(field)
    if get_origin(kind) is Literal:
        return tuple([str(value) for value in get_args(kind)])
    members = getattr(kind, "__members__", None)
    return () if members is None else tuple([str(member.value) for member in members.values()])


def _read(where: str, by: str, line: str) -> list[Transition]:
    left, arrow, right = line.partition(_ARROW)
    befores = [word.strip() for word in left.split(",")]
    afters = [word.strip() for word in right.split(",")]
    if not arrow or _ARROW in right or (befores == [""] and afters == [""]):
        raise DeclarationError(f"{where}: {line!r} is not of the form 'BEFORE, BEFORE -> AFTER, AFTER'")
    return [Transition(before, after, by) for before in befores for after in afters if before != after]


def _checked(where: str, states: tuple[str, ...], move: Transition) -> Transition:
    for state in (move.before, move.after):
        if state and state not in states:
            raise DeclarationError(f"{where}: {state} is not a state; there are {', '.join(states)}")
    return move
