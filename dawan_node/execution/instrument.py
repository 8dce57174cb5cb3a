"""Rewrites the syntax tree of a module's file so that everything that takes time or room is counted.

Loops and comprehensions count a turn, functions and lambdas an entry and a level of depth; operators, comparisons,
methods and built-in functions that copy, search or grow go through ``guard``. Names that no source file can contain
(``@tick``) stand for the functions there, so a module can neither call nor replace them. What cannot be counted in
this way is refused by ``lint`` before; the rewriting itself never fails and never changes what honest code computes.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, Final, cast

from dawan_node.execution.guard import CALLS, METHODS, OF_EXCEPTIONS
from dawan_node.execution.guard_order import STAR

_OPERATORS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "@add",
    ast.Div: "@divide",
    ast.LShift: "@shift",
    ast.Mod: "@mod",
    ast.Mult: "@mul",
    ast.Pow: "@pow",
}
#: What combines sets and dicts; in place it stays in place.
_COMBINING: Final[dict[type[ast.operator], str]] = {
    ast.BitAnd: "@and",
    ast.BitOr: "@or",
    ast.BitXor: "@xor",
    ast.Sub: "@sub",
}

#: What takes time, or makes a value one level deeper than its parts.
_OPERATIONS: Final = (
    ast.Attribute, ast.BinOp, ast.Call, ast.Compare, ast.Dict, ast.JoinedStr, ast.List, ast.Set, ast.Subscript,
    ast.Tuple, ast.UnaryOp,
)  # fmt: skip
_COUNT_THEMSELVES: Final = (
    ast.For, ast.While, ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
#: Eight operations take about as long as the turn of a loop that does nothing.
_NODES_PER_UNIT: Final = 8
#: More than any file has that anybody reads.
_NODES_MAX: Final = 10_000_000

#: What the parser writes where an f-string says neither ``!r``, ``!s`` nor ``!a``.
_NO_CONVERSION: Final = -1


def instrument(tree: ast.Module) -> ast.Module:
    """The same program, counted."""
    rewritten = _Rewriter(_fixed_names(tree)).visit(tree)
    ast.fix_missing_locations(rewritten)
    return cast(ast.Module, rewritten)


def _fixed_names(tree: ast.Module) -> frozenset[str]:
    """Names that mean one function or class of this file or of an import, wherever the file uses them."""
    fixed: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                fixed.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                fixed |= {alias.asname or alias.name for alias in names}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                fixed.discard(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                fixed.discard(name)
    return frozenset(fixed)


class _Rewriter(ast.NodeTransformer):
    """One file. Annotations keep their form: they are for readers and for msgspec."""

    def __init__(self, fixed: frozenset[str]) -> None:
        self._fixed = fixed

    # Statements

    def visit_For(self, node: ast.For) -> ast.AST:
        tick = _counted(node, node.body)
        self.generic_visit(node)
        node.iter = _iterated(node.iter, node.target)
        node.body = [tick, *node.body]
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        tick = _counted(node, [node.test, *node.body])
        self.generic_visit(node)
        node.body = [tick, *node.body]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        units = _units(node.body)
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        arguments = node.args
        arguments.defaults = [self.visit(default) for default in arguments.defaults]
        arguments.kw_defaults = [None if default is None else self.visit(default) for default in arguments.kw_defaults]
        body = [self.visit(statement) for statement in node.body]
        head = body[:1] if ast.get_docstring(node, clean=False) is not None else []
        rest = body[len(head) :] or [ast.Pass()]
        mark = ast.Assign([ast.Name("@meter", ast.Store())], _call("@enter", units))
        leave = ast.Expr(_call("@leave", ast.Name("@meter", ast.Load())))
        node.body = [*head, ast.copy_location(mark, node), ast.copy_location(ast.Try(rest, [], [], [leave]), node)]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.target = self.visit(node.target)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        name = _OPERATORS.get(type(node.op))
        if isinstance(node.op, ast.Add):
            node.value = _call("@addend", node.value)
        elif isinstance(node.op, ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub):
            # In place, so that other names of a set or dict see it, too.
            named = isinstance(node.target, ast.Name)
            left = ast.Name(node.target.id, ast.Load()) if isinstance(node.target, ast.Name) else ast.Constant(None)
            node.value = _call("@merged", node.value, left, ast.Constant(named))
        elif name is not None and isinstance(node.target, ast.Name):
            left = ast.Name(node.target.id, ast.Load())
            return ast.copy_location(ast.Assign([node.target], _call(name, left, node.value)), node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        match node.targets:
            case [ast.Attribute(value=owner, attr=name)]:
                return ast.copy_location(ast.Expr(_call("@assign", owner, ast.Constant(name), node.value)), node)
        for shape in map(_shape, node.targets):
            # A display of as many parts as there are names is in the order that is written there.
            if shape is not None and (any(shape) or () in shape or not isinstance(node.value, ast.Tuple)):
                node.value = _call("@taken", node.value, ast.Constant(cast(Any, shape)))
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        # A pattern has no room for calls, and what it compares with are constants.
        node.guard = None if node.guard is None else self.visit(node.guard)
        node.body = [self.visit(statement) for statement in node.body]
        return node

    # Expressions

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._comprehension(node, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._comprehension(node, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._comprehension(node, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._comprehension(node, [node.key, node.value])

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, made: list[ast.expr]
    ) -> ast.AST:
        # What is made counts with the innermost turn, conditions with their own.
        parts: list[list[ast.expr]] = [list(turn.ifs) for turn in node.generators]
        parts[-1] += made
        ticks = [_call("@tick", _units(part)) for part in parts]
        self.generic_visit(node)
        for turn, tick in zip(node.generators, ticks, strict=True):
            turn.iter = _iterated(turn.iter, turn.target)
            turn.ifs = [tick, *turn.ifs]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        units = _units([node.body])
        self.generic_visit(node)
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        node.body = _call("@thunk", ast.Lambda(nothing, node.body), units)
        return ast.copy_location(node, node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, float | complex):
            return ast.copy_location(_call("@float"), node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        name = _OPERATORS.get(type(node.op)) or _COMBINING.get(type(node.op))
        if name is None or _is_small(node):
            return node
        return ast.copy_location(_call(name, node.left, node.right), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        node.comparators = [
            side
            if isinstance(operator, ast.Is | ast.IsNot) or isinstance(side, ast.Constant)
            else ast.copy_location(
                _call("@members" if isinstance(operator, ast.In | ast.NotIn) else "@searched", side), side
            )
            for operator, side in zip(node.ops, node.comparators, strict=True)
        ]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load):
            return ast.copy_location(_call("@sized", node), node)
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            node.value = _call("@spread", node.value)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        node.values = [
            _call("@spread", value) if key is None else value for key, value in zip(node.keys, node.values, strict=True)
        ]
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        self.generic_visit(node)
        node.value = _call("@spread", node.value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                part.value = _call("@shown", self.visit(part.value))
                if isinstance(part.format_spec, ast.JoinedStr):
                    spec = self.visit(part.format_spec)
                    part.value = _call("@format", part.value, ast.Constant(part.conversion), spec)
                    part.format_spec, part.conversion = None, _NO_CONVERSION
        return ast.copy_location(_call("@sized", node), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr.startswith("_") and isinstance(node.ctx, ast.Load):
            return ast.copy_location(_call("@private", node.value, ast.Constant(node.attr)), node)
        if (node.attr in METHODS or node.attr in OF_EXCEPTIONS) and isinstance(node.ctx, ast.Load):
            return ast.copy_location(_call("@attribute", node.value, ast.Constant(node.attr)), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        if isinstance(function, ast.Name):
            name = function.id
            if name in CALLS and name not in self._fixed:
                node.func = ast.copy_location(ast.Name(f"@call {name}", ast.Load()), function)
            elif name not in self._fixed and not _is_plain_class(name):
                node.func = ast.copy_location(_call("@callee", function), function)
            self._visit_arguments(node)
            return node
        if isinstance(function, ast.Attribute) and not function.attr.startswith("_"):
            owner = self.visit(function.value)
            self._visit_arguments(node)
            hook = "@method" if function.attr in METHODS else "@sent"
            node.args = [owner, ast.Constant(function.attr), *node.args]
            node.func = ast.copy_location(ast.Name(hook, ast.Load()), function)
            ast.fix_missing_locations(node)
            return node
        node.func = ast.copy_location(_call("@callee", self.visit(function)), function)
        self._visit_arguments(node)
        return node

    def _visit_arguments(self, node: ast.Call) -> None:
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)


def _is_plain_class(name: str) -> bool:
    """Built-in functions and exceptions that cost nothing."""
    return name in _FREE or name.endswith(("Error", "Exception", "StopIteration"))


_FREE: Final = frozenset(
    {"abs", "bool", "chr", "divmod", "isinstance", "issubclass", "len", "ord", "property", "slice", "super"}
)


def _shape(target: ast.expr) -> tuple[Any, ...] | None:
    """How ``a, b = ...`` and ``a[1:2] = ...`` go through what they are given: None for what takes it whole.

    One shape for each part, ``guard.STAR`` for the one with the star.
    """
    match target:
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple([STAR if isinstance(part, ast.Starred) else _shape(part) for part in parts])
        case ast.Subscript(slice=ast.Slice()):
            return ()
    return None


def _iterated(values: ast.expr, target: ast.expr) -> ast.expr:
    """What a loop goes through, each value looked at when the target takes it apart."""
    shape = _shape(target)
    checked = _call("@iter", values)
    return checked if shape is None else _call("@each", checked, ast.Constant(cast(Any, shape)))


def _is_small(node: ast.BinOp) -> bool:
    """Arithmetic of two constants that the compiler does once: small enough to leave alone."""
    match node:
        case ast.BinOp(left=ast.Constant(value=int(left)), right=ast.Constant(value=int(right)), op=operator):
            if isinstance(operator, ast.Pow | ast.LShift):
                return 0 <= right <= 64 and left.bit_length() <= 64
            return isinstance(operator, ast.Add | ast.Mult) and max(left, right) <= 1 << 64
    return False


def _counted(node: ast.stmt, body: Sequence[ast.AST]) -> ast.stmt:
    return ast.copy_location(ast.Expr(_call("@tick", _units(body))), node)


def _units(body: Sequence[ast.AST]) -> ast.Constant:
    """What one run through ``body`` costs: one, and one more for each ``_NODES_PER_UNIT`` operations in it.

    What is in loops, comprehensions and functions inside counts there.
    """
    operations = 0
    pending = list(body)
    for _ in range(_NODES_MAX):
        if not pending:
            break
        node = pending.pop()
        operations += isinstance(node, _OPERATIONS)
        if not isinstance(node, _COUNT_THEMSELVES):
            pending.extend(ast.iter_child_nodes(node))
    return ast.Constant(1 + operations // _NODES_PER_UNIT)


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
