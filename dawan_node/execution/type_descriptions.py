"""What msgspec says of declared types, asked once for each: a node looks at every type of every module when it starts.

``msgspec.inspect.type_info`` describes a struct with everything inside it, anew in each call, and the same few types
(money, dates, short texts) are inside nearly all of them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import inspect

#: Types are declared when modules are imported, so there are as many entries as the installed modules have types.
_known: Final[dict[Any, inspect.Type]] = {}
_under_way: Final[set[type]] = set()


def describe_type(kind: Any) -> inspect.Type:
    """As ``msgspec.inspect.type_info``: of a struct its class and its fields with their names and types, no more."""
    try:
        found = _known.get(kind)
    except TypeError:  # not hashable: an annotation with a value in it that is none of ours
        return inspect.type_info(kind)
    if found is None:
        found = _known[kind] = _struct(kind) if _is_struct(kind) else inspect.type_info(kind)
    return found


def _is_struct(kind: Any) -> bool:
    # One that is inside itself is left to msgspec, which knows when to stop.
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in _under_way


def _struct(kind: type[msgspec.Struct]) -> inspect.Type:
    _under_way.add(kind)
    try:
        fields = [
            inspect.Field(field.name, field.encode_name, describe_type(field.type))
            for field in msgspec.structs.fields(kind)
        ]
    finally:
        _under_way.discard(kind)
    return inspect.StructType(kind, tuple(fields))
