"""What guarded module code runs on, in place of Python's own operators, methods and functions.

``meter`` counts; here is what would escape the count: operations that copy, search or grow. Each charges by size, and
sizes of values and the length of integers have fixed limits, far below what any node of the network can hold. What
shows the process it runs in (the order of a set, the place of an object in memory, a float) is refused.

The functions whose names begin with ``guard_`` are called by rewritten code only (``instrument``); ``builtins`` holds
what such code finds in place of Python's own names. What is left uncounted is bounded by a limit of its own: one
operation takes a few milliseconds at most. Values that share parts many times over can still be dear to compare or to
print: this is protection from mistakes and from careless code, not a prison for code that was written to break out;
whoever votes for a module reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

from dawan_node.execution.guard_order import (
    INT_BITS_MAX,
    ITEMS_MAX,
    TEXT_MAX,
    UNIT_BITS,
    Text,
    Views,
    guard_each,
    guard_iter,
    guard_shown,
    guard_sized,
    guard_spread,
    guard_taken,
    pairs_of,
    require_ordered,
    require_plain,
    size_of,
)
from dawan_node.execution.guard_sets import guard_and, guard_merged, guard_or, guard_sub, guard_xor
from dawan_node.execution.layers import ModuleFault, OutOfSteps
from dawan_node.execution.lint_patterns import open_repeats, slow_pattern
from dawan_node.execution.meter import charge, guard_enter, guard_leave, guard_thunk, guard_tick

#: Digits that ``int`` reads: what INT_BITS_MAX holds. Python's own limit can be changed by the environment.
DIGITS_MAX: Final = 1_233

#: Characters a pattern is matched against.
MATCH_MAX: Final = 4_096

#: A width in a method such as ``rjust``.
WIDTH_MAX: Final = 4_096

#: Digits of a width or precision in a format; lint allows no more where it sees it.
_WIDTH_DIGITS: Final = 3
_NUMBER: Final = re.compile("[0-9]+")
_CONVERSIONS: Final[Mapping[int, Callable[[Any], str]]] = MappingProxyType(
    {ord("s"): str, ord("r"): repr, ord("a"): ascii}
)


# Loops and calls


def guard_callee(function: Any) -> Any:
    """What is called by a name that can stand for anything: functions and classes of modules, nothing built in."""
    if isinstance(function, FunctionType | MethodType):
        return function
    if isinstance(function, type) and function.__module__ != "builtins":
        return function
    for plain, guarded in _GUARDED_CALLS.items():
        if function is plain:
            return guarded
    raise ModuleFault("calls a value that is neither a function nor a class of a module")


def guard_private(owner: Any, name: str) -> Any:
    """``owner._name``: what others keep for themselves leads out of the module."""
    raise ModuleFault(f"reaches for {name}")


def guard_assign(owner: Any, name: str, value: Any) -> None:
    """``owner.name = value``: never on what others share."""
    if isinstance(owner, type | ModuleType | FunctionType):
        raise ModuleFault(f"changes {name} of something that other code relies on")
    setattr(owner, name, value)


# Operators


def guard_add(left: Any, right: Any) -> Any:
    """``left + right``."""
    found = left + right
    if type(found) is int:
        _require_bits(found)
        return found
    return guard_sized(found)


def guard_addend(right: Any) -> Any:
    """The right side of ``+=``."""
    if type(right) is int:
        _require_bits(right)
        return right
    return guard_sized(guard_iter(right))


def _require_bits(number: int) -> None:
    if number.bit_length() > INT_BITS_MAX:
        raise OutOfSteps


def guard_mul(left: Any, right: Any) -> Any:
    """``left * right``."""
    if isinstance(left, int):
        if isinstance(right, int):
            if left.bit_length() + right.bit_length() > INT_BITS_MAX:
                raise OutOfSteps
            return left * right
        left, right = right, left  # a row times a number is the same either way
    if isinstance(right, int) and isinstance(left, str | bytes | list | tuple):
        _require_size(left, len(left) * right)
        return guard_sized(left * right)
    return left * right


def guard_pow(base: Any, exponent: Any) -> Any:
    """``base ** exponent``."""
    if not (isinstance(base, int) and isinstance(exponent, int)):
        return base**exponent
    if exponent < 0:
        raise ModuleFault("a negative exponent gives a float")
    if base.bit_length() * exponent > INT_BITS_MAX:
        raise OutOfSteps
    return base**exponent


def guard_shift(left: Any, right: Any) -> Any:
    """``left << right``."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right > INT_BITS_MAX:
        raise OutOfSteps
    return left << right


def guard_mod(left: Any, right: Any) -> Any:
    """``left % right``: a remainder, not a format."""
    if isinstance(left, Text):
        raise ModuleFault("formats with %; use an f-string")
    return left % right


def guard_divide(left: Any, right: Any) -> Any:
    """``left / right``."""
    raise ModuleFault("true division gives a float")


def guard_float() -> Any:
    """A number with a point."""
    raise ModuleFault("computes with floats")


def guard_searched(values: Any) -> Any:
    """The right side of a comparison, which may be read to its end."""
    if isinstance(values, (*Text, list, tuple, range, *Views)):
        charge(size_of(values) >> UNIT_BITS)
    return values


def guard_members(values: Any) -> Any:
    """The right side of ``in``."""
    if isinstance(values, type):
        raise ModuleFault("in of a class differs between interpreters; compare with its members")
    return guard_searched(values)


def guard_format(value: Any, conversion: int, spec: str) -> str:
    """A value in an f-string with a format; ``conversion`` is the letter after ``!``, or -1."""
    if any(len(number) > _WIDTH_DIGITS for number in _NUMBER.findall(spec)):
        raise OutOfSteps
    if conversion in _CONVERSIONS:
        value = _CONVERSIONS[conversion](value)
    return format(value, spec)


def _require_size(like: Any, size: int) -> None:
    if size > (TEXT_MAX if isinstance(like, Text) else ITEMS_MAX):
        raise OutOfSteps


# Methods


def guard_attribute(owner: Any, name: str) -> Any:
    """``owner.name`` where built-in types have a method of that name that must not get away uncounted."""
    if isinstance(owner, BaseException) and name in OF_EXCEPTIONS:
        raise ModuleFault("reads the text of an exception, which differs between interpreters")
    if isinstance(owner, (*Text, list, dict, set, frozenset, int, re.Pattern)) or _is_builtin(owner):
        raise ModuleFault(f"takes the method {name} without calling it")
    return getattr(owner, name)


def guard_sent(owner: Any, name: str, /, *arguments: Any, **named: Any) -> Any:
    """``owner.name(...)``, where the name may stand for one of Python's own functions or classes."""
    called = getattr(owner, name)
    is_plain = isinstance(called, type | BuiltinFunctionType) and called.__module__ == "builtins"
    if is_plain and not (isinstance(called, type) and issubclass(called, Exception)):
        called = guard_callee(called)
    return called(*arguments, **named)


def guard_method(owner: Any, name: str, /, *arguments: Any, **named: Any) -> Any:
    """``owner.name(...)`` for the names in ``METHODS``: counted when the owner is of a built-in type."""
    if name == "from_bytes" and issubclass(owner if isinstance(owner, type) else type(owner), int):
        return _from_bytes(owner, arguments, named)
    if name == "fromkeys" and _is_builtin(owner) and arguments:
        return guard_sized(owner.fromkeys(guard_spread(arguments[0]), *arguments[1:]))
    if _is_builtin(owner) and arguments:
        if not isinstance(arguments[0], owner):
            raise ModuleFault(f"calls {owner.__name__}.{name} on something else")
        owner, arguments = arguments[0], arguments[1:]
    if isinstance(owner, Text):
        return _text_method(owner, name, arguments, named)
    if isinstance(owner, re.Pattern):
        return _match(owner, name, arguments, named)
    if isinstance(owner, list | dict | set | frozenset):
        charge(size_of(owner) >> UNIT_BITS)
        for argument in arguments:
            charge(size_of(argument) >> UNIT_BITS)
            if name in _IN_ORDER:
                guard_iter(argument)
        if name == "update" and isinstance(owner, dict):
            arguments = tuple(map(pairs_of, arguments))
        if name == "pop" and isinstance(owner, set):
            raise ModuleFault("takes any member of a set")
        _guard_key(named)
        result = getattr(owner, name)(*arguments, **named)
        guard_sized(owner)
        return guard_sized(result)
    if isinstance(owner, int) and name == "to_bytes":
        _require_width(arguments[:1] or (named.get("length", 1),))
    return guard_sent(owner, name, *arguments, **named)


def _from_bytes(owner: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    source = arguments[0] if arguments else named.get("bytes")
    if not isinstance(source, bytes | list | tuple):
        raise ModuleFault("makes a number of something else than bytes")
    if len(source) > INT_BITS_MAX // 8:
        raise OutOfSteps
    return owner.from_bytes(*arguments, **named)


def _text_method(owner: Any, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if name in ("format", "format_map", "expandtabs"):
        raise ModuleFault(f".{name}() makes texts of any size")
    if name in ("ljust", "rjust", "center", "zfill"):
        _require_width(arguments[:1])
    charge(len(owner) >> UNIT_BITS)
    if name == "join":
        parts = guard_list(*arguments)
        sizes = [len(part) for part in parts if isinstance(part, Text)]
        _require_size(owner, sum(sizes) + len(owner) * len(parts))
        return guard_sized(owner.join(parts))
    if name == "translate":
        table = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        charge(len(table) >> UNIT_BITS)
        longest = max([len(part) for part in table.values() if isinstance(part, str)], default=1)
        _require_size(owner, len(owner) * longest)
    if name == "replace" and len(arguments) >= 2:
        old, new = arguments[0], arguments[1]
        if isinstance(old, Text) and isinstance(new, Text):
            _require_size(owner, (owner.count(old) + 1) * len(new) + len(owner))
    return guard_sized(getattr(owner, name)(*arguments, **named))


def _match(owner: Any, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """A method of a pattern. Its text is the last argument of ``sub``, else the only one."""
    place = 1 if name == "sub" else 0
    if name not in _MATCHING or named or len(arguments) != place + 1 or not isinstance(arguments[place], Text):
        raise ModuleFault(f"uses {name} of a pattern in a way that is not counted")
    size = len(arguments[place])
    if size > MATCH_MAX:
        raise OutOfSteps
    if place:
        if not isinstance(arguments[0], Text):
            raise ModuleFault("replaces by a function")
        _require_size(owner.pattern, (size + 1) * len(arguments[0]))
    pattern = owner.pattern if isinstance(owner.pattern, str) else owner.pattern.decode("latin-1")
    if slow_pattern(pattern) is not None:
        raise ModuleFault("matches a pattern that may take for ever")
    # What is not bound to the beginning is tried at every place.
    power = open_repeats(pattern) + (name not in ("match", "fullmatch"))
    charge(1 + (size**power >> UNIT_BITS))
    return guard_sized(getattr(owner, name)(*arguments))


def _require_width(widths: Iterable[Any]) -> None:
    if any(isinstance(width, int) and width > WIDTH_MAX for width in widths):
        raise OutOfSteps


def _is_builtin(owner: Any) -> bool:
    return isinstance(owner, type) and owner.__module__ == "builtins"


_MATCHING: Final = frozenset({"findall", "fullmatch", "match", "search", "split", "sub"})
_IN_ORDER: Final = frozenset({"extend", "fromkeys"})

#: Attributes of exceptions that Python fills.
OF_EXCEPTIONS: Final = frozenset({"args", "msg", "reason"})

#: Methods of built-in types whose cost or result is not bounded by a constant.
METHODS: Final = frozenset(
    {
        "center", "copy", "count", "decode", "difference", "encode", "endswith", "expandtabs", "extend", "find",
        "findall", "finditer", "format", "format_map", "from_bytes", "fromkeys", "fullmatch", "hex", "index", "insert",
        "intersection", "isdisjoint", "issubset", "issuperset", "join", "ljust", "lower", "lstrip", "match",
        "partition", "pop", "remove", "removeprefix", "removesuffix", "replace", "reverse", "rfind", "rindex", "rjust",
        "rpartition", "rsplit", "rstrip", "search", "sort", "split", "splitlines", "startswith", "strip", "sub", "subn",
        "symmetric_difference", "to_bytes", "translate", "union", "update", "upper", "zfill",
    }
)  # fmt: skip


# Python's own functions


def guard_range(*bounds: int) -> range:
    """``range``, no longer than a list may be."""
    found = range(*bounds)
    if size_of(found) > ITEMS_MAX:
        raise OutOfSteps
    return found


def guard_list(*values: Any) -> list[Any]:
    """``list``."""
    return guard_sized(list(*map(guard_spread, values)))  # type: ignore[no-any-return]


def guard_tuple(*values: Any) -> tuple[Any, ...]:
    """``tuple``."""
    return guard_sized(tuple(*map(guard_spread, values)))  # type: ignore[no-any-return]


def guard_dict(*values: Any, **named: Any) -> dict[Any, Any]:
    """``dict``."""
    return guard_sized(dict(*map(pairs_of, values), **named))  # type: ignore[no-any-return]


def guard_set(*values: Any) -> set[Any]:
    """``set``."""
    charge(sum(map(size_of, values)) >> UNIT_BITS)
    return guard_sized(set(*values))  # type: ignore[no-any-return]


def guard_frozenset(*values: Any) -> frozenset[Any]:
    """``frozenset``."""
    charge(sum(map(size_of, values)) >> UNIT_BITS)
    return guard_sized(frozenset(*values))  # type: ignore[no-any-return]


def guard_bytes(*values: Any) -> bytes:
    """``bytes``: of that many zeros, or of those members."""
    for value in values:
        if isinstance(value, int):
            _require_size(b"", value)
        else:
            guard_spread(value)
    return guard_sized(bytes(*values))  # type: ignore[no-any-return]


def guard_str(*values: Any) -> str:
    """``str``."""
    for value in values:
        guard_shown(value)
    return guard_sized(str(*values))  # type: ignore[no-any-return]


def guard_repr(value: Any) -> str:
    """``repr``."""
    require_plain(value)
    return guard_sized(repr(value))  # type: ignore[no-any-return]


def guard_int(*values: Any, **named: Any) -> int:
    """``int``, with a limit of its own for the digits it reads."""
    if values and isinstance(values[0], Text) and len(values[0]) > DIGITS_MAX:
        raise OutOfSteps
    return int(*values, **named)


def guard_sum(values: Any, start: Any = 0) -> Any:
    """``sum``, of ints and of what adds up like them."""
    total = start
    # Numbers come to the same in every order, what is joined does not.
    for value in values if isinstance(start, int) else guard_iter(values):
        guard_tick()
        total = guard_add(total, value)
    return total


def guard_sorted(values: Any, **named: Any) -> list[Any]:
    """``sorted``; a set only without a key, which may make two members equal."""
    if named.get("key") is not None:
        guard_iter(values)
    require_ordered(values)
    _guard_key(named)
    charge(size_of(values) >> 1)
    return guard_sized(sorted(values, **named))  # type: ignore[no-any-return]


def guard_min(*values: Any, **named: Any) -> Any:
    """``min``."""
    return _extreme(min, values, named)


def guard_max(*values: Any, **named: Any) -> Any:
    """``max``."""
    return _extreme(max, values, named)


def _extreme(choose: Any, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if len(values) == 1:
        if named.get("key") is not None:
            guard_iter(values[0])
        require_ordered(values[0])
        charge(size_of(values[0]) >> UNIT_BITS)
    _guard_key(named)
    return choose(*values, **named)


def guard_any(values: Any) -> bool:
    """``any``."""
    charge(size_of(values) >> UNIT_BITS)
    return any(values)


def guard_all(values: Any) -> bool:
    """``all``."""
    charge(size_of(values) >> UNIT_BITS)
    return all(values)


def guard_enumerate(values: Any, start: int = 0) -> Iterator[tuple[int, Any]]:
    """``enumerate``."""
    for pair in enumerate(guard_iter(values), start):
        guard_tick()
        yield pair


def guard_zip(*rows: Any, strict: bool = False) -> Iterator[tuple[Any, ...]]:
    """``zip``."""
    for pair in zip(*map(guard_iter, rows), strict=strict):
        guard_tick()
        yield pair


def guard_map(function: Any, *rows: Any) -> Iterator[Any]:
    """``map``."""
    called = guard_callee(function)
    for values in zip(*map(guard_iter, rows), strict=False):
        guard_tick()
        yield called(*values)


def guard_filter(function: Any, values: Any) -> Iterator[Any]:
    """``filter``."""
    called = None if function is None else guard_callee(function)
    for value in guard_iter(values):
        guard_tick()
        if value if called is None else called(value):
            yield value


def guard_reversed(values: Any) -> Any:
    """``reversed``."""
    charge(size_of(values) >> UNIT_BITS)
    return reversed(values)


def guard_next(values: Any, *default: Any) -> Any:
    """``next``."""
    guard_tick()
    return next(values, *default)


def guard_pow_call(base: Any, exponent: Any, modulus: Any = None) -> Any:
    """``pow``."""
    if modulus is None:
        return guard_pow(base, exponent)
    for number in (base, exponent, modulus):
        if isinstance(number, int):
            _require_bits(number)
    charge(exponent.bit_length() if isinstance(exponent, int) else 1)
    return pow(base, exponent, modulus)


def guard_type(value: Any) -> Any:
    """``type`` of one value."""
    return type(value)


def _guard_key(named: dict[str, Any]) -> None:
    if named.get("key") is not None:
        named["key"] = guard_callee(named["key"])


#: Calls of these names are rewritten to the function beside it; as values the names keep their meaning, so that
#: annotations and ``isinstance`` see the classes they know.
CALLS: Final = MappingProxyType(
    {
        "all": guard_all, "any": guard_any, "bytes": guard_bytes, "dict": guard_dict, "enumerate": guard_enumerate,
        "filter": guard_filter, "frozenset": guard_frozenset, "int": guard_int, "list": guard_list, "map": guard_map,
        "max": guard_max, "min": guard_min, "next": guard_next, "pow": guard_pow_call, "range": guard_range,
        "repr": guard_repr, "reversed": guard_reversed, "set": guard_set, "sorted": guard_sorted, "str": guard_str,
        "sum": guard_sum, "tuple": guard_tuple, "type": guard_type, "zip": guard_zip,
    }
)  # fmt: skip

#: What is harmless as it is.
_PLAIN: Final = (
    "abs", "bool", "chr", "divmod", "isinstance", "issubclass", "len", "ord", "property", "slice", "staticmethod",
    "super", "True", "False", "None", "Ellipsis", "NotImplemented", "__build_class__", "__debug__",
    "ArithmeticError", "AssertionError", "AttributeError", "IndexError", "KeyError", "LookupError",
    "NotImplementedError", "OverflowError", "StopIteration", "TypeError", "UnicodeDecodeError", "UnicodeEncodeError",
    "UnicodeError", "ValueError", "ZeroDivisionError", "Exception",
)  # fmt: skip

#: What rewritten code calls; the names cannot be written in a source file.
HOOKS: Final = MappingProxyType(
    {
        "@add": guard_add, "@addend": guard_addend, "@and": guard_and, "@assign": guard_assign,
        "@attribute": guard_attribute, "@callee": guard_callee, "@divide": guard_divide, "@each": guard_each,
        "@enter": guard_enter, "@float": guard_float, "@members": guard_members, "@merged": guard_merged,
        "@or": guard_or, "@sent": guard_sent, "@sub": guard_sub, "@taken": guard_taken, "@xor": guard_xor,
        "@format": guard_format, "@iter": guard_iter,
        "@leave": guard_leave, "@method": guard_method, "@mod": guard_mod, "@mul": guard_mul, "@pow": guard_pow,
        "@private": guard_private, "@searched": guard_searched, "@shift": guard_shift, "@shown": guard_shown,
        "@sized": guard_sized, "@spread": guard_spread, "@thunk": guard_thunk, "@tick": guard_tick,
        **{f"@call {name}": function for name, function in CALLS.items()},
    }
)  # fmt: skip


def builtins(plain: dict[str, Any], importer: Callable[..., Any]) -> dict[str, Any]:
    """The names that guarded code finds without importing them. ``plain`` are Python's own, ``importer`` imports."""
    names = {name: plain[name] for name in (*_PLAIN, *CALLS)}
    return {**names, **HOOKS, "__import__": importer}


_GUARDED_CALLS: Final[dict[Any, Any]] = {
    **{plain: CALLS[plain.__name__] for plain in (
        all, any, bytes, dict, frozenset, int, list, max, min, range, repr, set, sorted, str, sum, tuple,
    )},
    len: len, abs: abs, bool: bool, ord: ord, chr: chr, divmod: divmod, isinstance: isinstance,
}  # fmt: skip
