"""Finds what could make one node compute differently from another, in the source text of a module.

The sandbox of a module is a promise, kept by review; this checker is the part of the review that needs no judgement.
It refuses what depends on the machine or the interpreter (clock, randomness, I/O, floats, hash order, Unicode version)
and what has no counted bound (``while``, recursion). It works on syntax alone: it cannot prove a module
deterministic, and it is not a defence against a developer who means harm. Names that are hidden on purpose
(``getattr`` with a computed name, for example) are refused because they would blind it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: What module code may import; everything else reaches the machine or differs between interpreter versions. ``re`` is
#: for patterns of spelled-out ASCII classes, ``msgspec`` for declaring structs inside entities.
IMPORTS_ALLOWED: Final = frozenset(
    {
        "__future__", "collections.abc", "dataclasses", "enum", "msgspec", "re", "types", "typing",
        "dawan_node.execution.module",
    }
)  # fmt: skip
PACKAGES_ALLOWED: Final = ("dawan_node.primitives", "dawan_node.modules")

_FORBIDDEN_CALLS: Final = frozenset(
    {
        "__import__", "breakpoint", "compile", "complex", "delattr", "dir", "eval", "exec", "float", "getattr",
        "globals", "hash", "id", "input", "iter", "locals", "memoryview", "open", "print", "setattr", "vars",
    }
)  # fmt: skip
_SETS: Final = frozenset({"set", "frozenset"})
_ORDER_FREE: Final = frozenset({"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"})
_UNICODE_METHODS: Final = frozenset(
    {
        "capitalize", "casefold", "isalnum", "isalpha", "isdecimal", "isdigit", "isidentifier", "islower",
        "isnumeric", "isprintable", "isspace", "istitle", "isupper", "swapcase", "title",
    }
)  # fmt: skip
_CASE_METHODS: Final = frozenset({"lower", "upper"})


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing a module may not do."""

    line: int
    text: str


def lint_source(source: str) -> list[Finding]:
    """What is wrong with one file of a module, by line. A file that does not parse is one finding."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [Finding(error.lineno or 0, "does not parse")]
    findings = [finding for node in ast.walk(tree) for finding in _check(node)]
    findings += _recursion(tree)
    findings += _unguarded_case(tree)
    return sorted(set(findings))


def _check(node: ast.AST) -> Iterator[Finding]:
    line = getattr(node, "lineno", 0)
    match node:
        case ast.Import(names=names):
            for name in names:
                if not _may_import(name.name):
                    yield Finding(line, f"imports {name.name}")
        case ast.ImportFrom(module=module, level=level):
            if level == 0 and not _may_import(module or ""):
                yield Finding(line, f"imports {module}")
        case ast.Constant(value=float() | complex()):
            yield Finding(line, "a float")
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield Finding(line, "true division gives a float; use //")
        case ast.BinOp(op=ast.Pow(), right=right) if not _is_natural(right):
            yield Finding(line, "a power with an exponent that is not a constant natural number can be a float")
        case ast.While():
            yield Finding(line, "while has no counted bound; use for over something finite")
        case ast.AsyncFunctionDef() | ast.Await() | ast.Yield() if not isinstance(node, ast.Yield):
            yield Finding(line, "asynchronous code")
        case ast.Global() | ast.Nonlocal():
            yield Finding(line, "state outside the channel (global, nonlocal)")
        case ast.ExceptHandler(type=caught):
            if caught is None or (isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException")):
                yield Finding(line, "catches everything; failures of the SDK must pass")
        case ast.Attribute(attr=attribute) if attribute.startswith("_"):
            yield Finding(line, f"private attribute {attribute}")
        case ast.Call(func=ast.Name(id=name)) if name in _FORBIDDEN_CALLS:
            yield Finding(line, f"calls {name}")
        case ast.Call(func=ast.Attribute(attr=name)) if name in _UNICODE_METHODS:
            yield Finding(line, f".{name}() follows the interpreter's Unicode version; use fold, alphanumeric or re")
        case ast.Call(func=ast.Name(id=name), args=[argument, *_]) if name not in _ORDER_FREE and _is_set(argument):
            yield Finding(line, f"{name}() of a set takes its order; sort it")
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated) if _is_set(iterated):
            yield Finding(getattr(iterated, "lineno", line), "iterates over a set; sort it")


def _may_import(name: str) -> bool:
    return name in IMPORTS_ALLOWED or any(
        name == package or name.startswith(package + ".") for package in PACKAGES_ALLOWED
    )


def _is_natural(node: ast.expr) -> bool:
    """A constant, or a currency's number of decimal places."""
    match node:
        case ast.Constant(value=int(number)):
            return number >= 0
        case ast.Subscript(value=ast.Name(id="CURRENCIES")):
            return True
    return False


def _is_set(node: ast.expr) -> bool:
    """Whether the expression is visibly a set: a literal, a comprehension, a call, or an operation on one."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _SETS
        case ast.BinOp(left=left, right=right, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return _is_set(left) or _is_set(right)
    return False


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _recursion(tree: ast.Module) -> list[Finding]:
    """Functions of this file that can reach themselves by plain calls or by calls on self."""
    functions = _functions(tree)
    calls = {name: _called(function) & functions.keys() for name, function in functions.items()}
    findings = []
    for name in functions:
        reached: set[str] = set()
        frontier = set(calls[name])
        for _ in functions:
            reached |= frontier
            frontier = set().union(*(calls[called] for called in frontier)) - reached
        if name in reached:
            findings.append(Finding(functions[name].lineno, f"{name} calls itself, directly or through others"))
    return findings


def _called(function: ast.FunctionDef) -> set[str]:
    called: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                called.add(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                called.add(name)
    return called


def _unguarded_case(tree: ast.Module) -> list[Finding]:
    """``upper`` and ``lower`` outside a function that looks at ``isascii``: case mapping follows the interpreter."""
    guarded: set[ast.AST] = set()
    for function in _functions(tree).values():
        inside = list(ast.walk(function))
        if any(isinstance(node, ast.Attribute) and node.attr == "isascii" for node in inside):
            guarded.update(inside)
    return [
        Finding(node.lineno, f".{node.func.attr}() without an isascii check; use fold")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _CASE_METHODS
        and node not in guarded
    ]
