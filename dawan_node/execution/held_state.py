"""Finds what a loaded package could keep between transactions: values that change and outlive the call that did it.

``lint`` sees where a name of the file is changed; a row of a table that was taken into a local name, or a counter
behind a method, it cannot see. So a guarded package may hold no such value at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Final

import msgspec

#: Values of one file, those that stand in many places counted at each: twenty tables of ten thousand rows. Beyond,
#: they share parts so many times over that nobody could look at all.
VALUES_MAX: Final = 200_000


def held_state(names: Mapping[str, Any], package: str) -> str:
    """The first of a file's names that holds what can change, and what that is; empty if none does."""
    seen: set[object] = set()
    left = VALUES_MAX
    for name, value in names.items():
        if name.startswith("__"):
            continue  # Python's own, which no module can name
        pending = [value]
        for found in pending:  # grows while it is gone through
            left -= 1
            if left < 0:
                return f"more than {VALUES_MAX} values"
            if isinstance(found, type | FunctionType):  # only through them can a value reach itself
                if found in seen:
                    continue
                seen.add(found)
            if _changes(found, package):
                return f"a {type(found).__name__} in {name}"
            pending.extend(_parts(found, package))
    return ""


def _changes(value: Any, package: str) -> bool:
    if isinstance(value, list | dict | set | bytearray) or hasattr(type(value), "__next__"):
        return True
    if isinstance(value, type) or not _is_of(type(value), package) or isinstance(value, Enum | tuple | str | int):
        return False
    if isinstance(value, msgspec.Struct):
        return not value.__struct_config__.frozen
    parameters = getattr(value, "__dataclass_params__", None)
    return parameters is None or not parameters.frozen


def _parts(value: Any, package: str) -> Iterator[Any]:
    if isinstance(value, tuple | frozenset):
        yield from value
    elif isinstance(value, MappingProxyType):
        yield from value.values()
    elif isinstance(value, MethodType):
        yield value.__self__
        yield value.__func__
    elif isinstance(value, staticmethod):
        yield value.__func__
    elif isinstance(value, FunctionType) and _is_of(value, package):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        yield from (cell.cell_contents for cell in value.__closure__ or () if _is_full(cell))
    elif isinstance(value, type) and _is_of(value, package):
        # ``indexes`` of an entity is made unchangeable when a Module declares it.
        yield from (part for name, part in vars(value).items() if name != "indexes" and not name.startswith("_"))
    elif isinstance(value, msgspec.Struct):
        yield from (getattr(value, name) for name in value.__struct_fields__)
    elif is_dataclass(value) and not isinstance(value, type) and _is_of(type(value), package):
        yield from (getattr(value, field.name) for field in fields(value))


def _is_full(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that was never bound
        return False


def _is_of(value: Any, package: str) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == package
