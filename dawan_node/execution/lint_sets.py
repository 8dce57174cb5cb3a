"""Where the order of a set can leak into a result: the part of ``lint`` that follows values through names.

A set of strings comes in another order in every process. What does not look at the order (``len``, ``in``, ``sorted``
without a key, ``min`` and ``max`` without one) may have it; everything that goes through it one after the other may
not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

_SETS: Final = frozenset({"set", "frozenset"})
_SET_ANNOTATIONS: Final = frozenset({"set", "frozenset", "Set", "AbstractSet", "MutableSet"})
_SET_METHODS: Final = frozenset({"difference", "intersection", "symmetric_difference", "union"})
_VIEWS: Final = frozenset({"keys", "items"})
#: These give the same for every order; ``KEYED`` ones only as long as no key makes two members equal.
_ORDER_FREE: Final = frozenset({"all", "any", "bool", "frozenset", "isinstance", "len", "set", "sum"})
_KEYED: Final = frozenset({"max", "min", "sorted"})
_IN_ORDER: Final = frozenset({"extend", "fromkeys", "join"})


def set_findings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text for each place."""
    yield from _in_scope(tree, frozenset())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from _in_scope(node, _set_names(node))


def _set_names(function: ast.FunctionDef) -> frozenset[str]:
    """Names that this function binds to sets and to nothing else, as far as it shows."""
    arguments = function.args
    found = {
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        if _is_set_annotation(argument.annotation)
    }
    others: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                (found if _is_set(value, frozenset(found)) else others).add(name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                is_set = _is_set_annotation(annotation) or (value is not None and _is_set(value, frozenset(found)))
                (found if is_set else others).add(name)
            case ast.For(target=ast.Name(id=name)) | ast.comprehension(target=ast.Name(id=name)):
                others.add(name)
    return frozenset(found - others)


def _is_set_annotation(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Name(id=name):
            return name in _SET_ANNOTATIONS
        case ast.Subscript(value=ast.Name(id=name)):
            return name in _SET_ANNOTATIONS
        case ast.Constant(value=str(text)):
            return text.partition("[")[0] in _SET_ANNOTATIONS
    return False


def _in_scope(scope: ast.AST, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(scope):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.For(iter=iterated) | ast.comprehension(iter=iterated) if _is_set(iterated, names):
                yield getattr(iterated, "lineno", line), "iterates over a set"
            case ast.Call(func=ast.Name(id=name), args=[argument, *_], keywords=keywords) if _is_set(argument, names):
                if name in _KEYED:
                    if any(keyword.arg == "key" for keyword in keywords):
                        yield line, f"{name}() of a set by a key, which may make members equal"
                elif name not in _ORDER_FREE:
                    yield line, f"{name}() of a set takes its order"
            case ast.Call(func=ast.Attribute(attr=name), args=[argument, *_]) if _is_set(argument, names):
                if name in _IN_ORDER:
                    yield line, f".{name}() of a set takes its order"
            case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[]) if _is_set(owner, names):
                yield line, "takes any member of a set"
            case ast.Starred(value=value, ctx=ast.Load()) if _is_set(value, names):
                yield line, "spreads a set in its order"
            case ast.YieldFrom(value=value) if _is_set(value, names):
                yield line, "yields a set in its order"
            case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value) if _is_set(value, names):
                yield line, "takes a set apart in its order"


def _is_set(node: ast.expr, names: frozenset[str]) -> bool:
    """Whether the expression is visibly a set: a literal, a comprehension, a call, an operation on one, such a name."""
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _SETS
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in _SET_METHODS:
            return _is_set(owner, names) or _is_view(owner)
        case ast.BinOp(left=left, right=right, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return any(_is_set(side, names) or _is_view(side) for side in (left, right))
        case ast.IfExp(body=body, orelse=other):
            return _is_set(body, names) or _is_set(other, names)
    return False


def _is_view(node: ast.expr) -> bool:
    """A dict's keys or items: in order by themselves, a set as soon as an operation combines them."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=[]):
            return name in _VIEWS
    return False
