"""What would show the process that guarded code runs in: the order of a set, an object's place in memory.

A set of strings comes in another order in every process, and what is made from it one after the other differs. So
guarded code neither goes through a set, nor takes one apart, nor writes one out, wherever the set stands. The functions
whose names begin with ``guard_`` are called by rewritten code only (``instrument``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import (
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

import msgspec

from dawan_node.execution.layers import ModuleFault, OutOfSteps
from dawan_node.execution.meter import charge, guard_tick

#: Characters or bytes of one value: sixteen times the largest transaction.
TEXT_MAX: Final = 1 << 20

#: Members of one list, tuple, dict, set or range: what the largest protocol list has (formats A.1).
ITEMS_MAX: Final = 65_536

#: Bits of an int: money and rates need 128, products of several of them some hundred. Far below the number of digits at
#: which Python refuses to write an int out, which the environment can change.
INT_BITS_MAX: Final = 4_096

#: Bytes or members that are copied or compared in the time of one unit of work.
UNIT_BITS: Final = 5

#: How deep the parts of a value that is written out may lie; deeper ones are no text for anybody.
SHOWN_DEPTH_MAX: Final = 8

#: The part of a target that takes what the others leave (``a, *b = ...``).
STAR: Final = "*"

Text: Final = (str, bytes)
Many: Final = (list, tuple, dict, set, frozenset, range)
Views: Final[tuple[type[Any], ...]] = (type({}.keys()), type({}.values()), type({}.items()))


def size_of(value: Any) -> int:
    """How many characters or members; 0 for what counts itself as it goes (generators of guarded code)."""
    try:
        return len(value) if isinstance(value, (*Text, *Many)) or hasattr(value, "__len__") else 0
    except OverflowError:  # a range beyond the machine's word
        raise OutOfSteps from None


def guard_sized(value: Any) -> Any:
    """A value that was made by joining or cutting others."""
    if isinstance(value, Text):
        if len(value) > TEXT_MAX:
            raise OutOfSteps
        charge(len(value) >> UNIT_BITS)
    elif isinstance(value, Many):
        if len(value) > ITEMS_MAX:
            raise OutOfSteps
        charge(len(value) >> UNIT_BITS)
    return value


def guard_iter(values: Any) -> Any:
    """What a loop goes through: not a set, whose order differs from process to process."""
    if isinstance(values, set | frozenset):
        raise ModuleFault("goes through a set in its order; sort it")
    return values


def guard_spread(values: Any) -> Any:
    """What a display or call spreads out (``[*values]``)."""
    charge(size_of(guard_iter(values)) >> UNIT_BITS)
    return values


def guard_taken(value: Any, shape: tuple[Any, ...] | str | None) -> Any:
    """A value that is taken apart, each part of it that is taken apart in turn looked at, too.

    ``shape`` has a shape for each part, None for one that is taken whole.
    """
    if shape is None or shape == STAR:
        return value
    guard_spread(value)
    if not any(part is not None and part != STAR for part in shape):
        return value
    values = value if isinstance(value, list | tuple) else list(value)  # what is read once is read here
    parts: list[Any] = list(shape)
    if STAR in parts:
        at = parts.index(STAR)
        parts[at : at + 1] = [None] * (len(values) - len(parts) + 1)
    if len(parts) != len(values):
        return values  # which raises what it always raises
    taken = [guard_taken(part, below) for part, below in zip(values, parts, strict=True)]
    return value if value is values and all(a is b for a, b in zip(taken, values, strict=True)) else taken


def guard_each(values: Any, shape: tuple[Any, ...]) -> Iterator[Any]:
    """What a loop goes through that takes each value apart (``for a, b in values``)."""
    for value in values:
        yield guard_taken(value, shape)


def pairs_of(values: Any) -> Any:
    """What a dict is made of or updated with: a dict, or pairs in an order of their own."""
    guard_spread(values)
    if isinstance(values, Mapping) or hasattr(values, "keys"):
        return values
    return list(guard_each(values, ()))


def require_ordered(values: Any) -> None:
    """Before members are compared: sets of sets have no order that is the same in every process."""
    if isinstance(values, set | frozenset):
        charge(len(values) >> UNIT_BITS)
        for value in values:
            if isinstance(value, set | frozenset | tuple) and _holds_set(value):
                raise ModuleFault("compares members of a set that are sets themselves")


def _holds_set(value: Any, depth: int = SHOWN_DEPTH_MAX) -> bool:
    if isinstance(value, tuple):
        return depth == 0 or any(_holds_set(part, depth - 1) for part in value)
    return isinstance(value, set | frozenset)


def guard_shown(value: Any) -> Any:
    """A value in an f-string: one whose text is the same in every process."""
    kind = type(value)
    if kind is not str and kind is not int:
        require_plain(value)
    elif kind is int and value.bit_length() > INT_BITS_MAX:
        raise OutOfSteps
    return value


def require_plain(value: Any, depth: int = SHOWN_DEPTH_MAX) -> None:
    """That the text of a value, and of all that it holds, is the same in every process. Raises ModuleFault."""
    if isinstance(value, str | bytes | bool) or value is None:
        return
    if isinstance(value, int) and not isinstance(value, Enum):
        if value.bit_length() > INT_BITS_MAX:
            raise OutOfSteps
        return
    if isinstance(value, _SHOWS_THE_PROCESS):
        raise ModuleFault(f"the text of a {type(value).__name__} differs from process to process")
    kind: Any = type(value)
    if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
        raise ModuleFault("the text of this value shows where it lies in memory")
    parts = _parts(value)
    if parts and depth == 0:
        raise ModuleFault(f"writes out a value that is more than {SHOWN_DEPTH_MAX} levels deep")
    for part in parts:
        guard_tick()
        require_plain(part, depth - 1)


def _parts(value: Any) -> list[Any]:
    """What shows in the text of a value."""
    if isinstance(value, dict | MappingProxyType):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        return [*value]
    if isinstance(value, Views):
        return [*value]
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, Enum):
        return [value.value]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return []


#: An exception's text is Python's own and changes with its version.
_SHOWS_THE_PROCESS: Final = (
    FunctionType, BuiltinFunctionType, MethodType, ModuleType, GeneratorType, set, frozenset, type, BaseException,
)  # fmt: skip
