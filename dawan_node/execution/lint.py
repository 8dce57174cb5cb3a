"""Finds what could make one node compute differently from another, or without end, in the source text of a module.

It refuses what depends on the machine or the interpreter (clock, randomness, I/O, floats, hash order, Unicode version),
what has no counted bound (``while``, recursion, patterns that backtrack), state outside the channel, and names that
are hidden on purpose (``getattr`` and its kin), because they would blind it. Each finding has a stable code; ``RULES``
says why and what to do instead.

It works on syntax alone. What it cannot see: the type of a value (a set that came from another function, a dict that
was filled from one), how often a ``for`` really runs, how large a value grows, what a function got as an argument does,
and whether the rules of the business are right. ``guard`` counts and refuses much of that while it runs; the rest is
review and tests: it cannot prove a module deterministic, and is no defence against a developer who means harm.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dawan_node.execution.lint_patterns import slow_pattern
from dawan_node.execution.lint_sets import set_findings


@dataclass(frozen=True, slots=True)
class Rule:
    """Why something is refused, and what to write instead."""

    why: str
    instead: str


#: Codes are API: a code keeps its meaning for ever.
RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "M101": Rule(
            "it reaches the machine, or differs between interpreters", "use what dawan_node.execution.module offers"
        ),
        "M102": Rule("floats are rounded, and rounding differs", "count in minor units or parts per million"),
        "M103": Rule("it gives a float", "use // with int, or share and converted for money"),
        "M104": Rule(
            "with a negative exponent it is a float, with a large one it never ends", "use a constant exponent"
        ),
        "M105": Rule(
            "it differs from process to process or shows the machine", "compute it from the arguments and the state"
        ),
        "M106": Rule("the order of a set differs from process to process", "sort it, or use a dict or a tuple"),
        "M107": Rule(
            "it follows the Unicode version of the interpreter", "use fold, alphanumeric, or a pattern of ASCII classes"
        ),
        "M108": Rule("what it reaches cannot be seen", "name what you use: from ... import name"),
        "M109": Rule("what is private of others may change, and leads out of the module", "use what is public"),
        "M201": Rule("it has no counted bound", "use for over something finite"),
        "M202": Rule("how deep it can go differs from thread to thread", "use a loop"),
        "M203": Rule("matching may take for ever", "write a pattern that can split a text in one way only"),
        "M204": Rule("a short text can make a result of any size", "use an f-string with a plain width"),
        "M301": Rule("state outside the channel is lost at a restart and differs between nodes", "put an entity"),
        "M302": Rule("it changes what other code relies on", "make a new value with replace"),
        "M303": Rule("only the owner writes a module's collections", "ctx.call what that module exports"),
        "M401": Rule("failures of the SDK must pass", "catch the one exception you expect, such as ValueError"),
        "M402": Rule("it would swallow a failure of the SDK", "leave finally at its end"),
        "M403": Rule("it ends or stands for the process, not the transaction", "ctx.fail with a declared error"),
        "M404": Rule("it runs outside the order of transactions", "write plain functions"),
        "M405": Rule("special methods change what operators and loops do", "write a function with a name"),
        "M900": Rule("it cannot be read", "correct it"),
    }
)

#: What module code may import; everything else reaches the machine or differs between interpreter versions. ``re`` is
#: for patterns of spelled-out ASCII classes, ``msgspec`` for declaring structs inside entities. None: every name.
IMPORTS_ALLOWED: Final[Mapping[str, frozenset[str] | None]] = MappingProxyType(
    {
        "__future__": frozenset({"annotations"}),
        "collections.abc": None,
        "dataclasses": frozenset({"dataclass", "field", "replace"}),
        "enum": frozenset({"Enum", "IntEnum", "StrEnum", "unique"}),
        "msgspec": frozenset({"UNSET", "Meta", "Struct", "UnsetType", "field", "structs"}),
        "msgspec.structs": frozenset({"asdict", "astuple", "replace"}),
        "re": frozenset({"ASCII", "Match", "Pattern", "compile"}),
        "types": frozenset({"MappingProxyType"}),
        "typing": frozenset(
            {
                "TYPE_CHECKING", "Annotated", "Any", "ClassVar", "Final", "Generic", "Literal", "NamedTuple",
                "NoReturn", "Protocol", "Self", "TypeAlias", "TypeVar", "assert_never", "cast",
            }
        ),
        "dawan_node.execution.module": None,
    }
)  # fmt: skip
PACKAGES_ALLOWED: Final = ("dawan_node.primitives", "dawan_node.modules")

#: What a module of this package keeps for itself: its imports.
_NOT_REEXPORTED: Final = frozenset(
    {"hashlib", "importlib", "itertools", "msgspec", "operator", "re", "sys", "unicodedata"}
)

_FORBIDDEN_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("hash", "id", "input", "open", "print", "breakpoint", "help", "exit", "quit"), "M105"),
        **dict.fromkeys(("float", "complex"), "M102"),
        **dict.fromkeys(
            (
                "compile", "delattr", "dir", "eval", "exec", "getattr", "globals", "hasattr", "iter", "locals",
                "memoryview", "setattr", "vars", "aiter", "anext", "classmethod", "object", "bytearray",
            ),
            "M108",
        ),
        **dict.fromkeys(
            ("BaseException", "BaseExceptionGroup", "GeneratorExit", "KeyboardInterrupt", "MemoryError",
             "RecursionError", "RuntimeError", "SystemExit"),
            "M403",
        ),
    }
)  # fmt: skip
_UNICODE_METHODS: Final = frozenset(
    {
        "capitalize", "casefold", "isalnum", "isalpha", "isdecimal", "isdigit", "isidentifier", "islower",
        "isnumeric", "isprintable", "isspace", "istitle", "isupper", "swapcase", "title",
    }
)  # fmt: skip
_CASE_METHODS: Final = frozenset({"lower", "upper"})
_GROWING_METHODS: Final = frozenset({"expandtabs", "format", "format_map"})
_CHANGING_METHODS: Final = frozenset(
    {
        "add",
        "append",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "setdefault",
        "sort",
        "update",
    }
)
#: Nodes of one channel may run on this and later ones: a module is written in what all of them read.
OLDEST_PYTHON: Final = (3, 11)

#: Their subclasses change what operators and loops do, and hide what the value is.
_NO_BASES: Final = frozenset({"bytes", "dict", "frozenset", "list", "set", "tuple", "type"})
_CLASS_NAMES: Final = frozenset({"__all__", "__slots__"})
#: Classes and edges of words that follow the Unicode version unless a pattern is told to be ASCII.
_UNICODE_CLASS: Final = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[wWdDbB]|\(\?[a-zA-Z]*i)")

#: Dots in a row; the parser itself gives up at some hundred.
_CHAIN_MAX: Final = 200
_MUTABLE: Final = frozenset({"dict", "list", "set"})


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing a module may not do."""

    line: int
    text: str
    code: str = "M900"

    @property
    def rule(self) -> Rule:
        """Why, and what instead."""
        return RULES[self.code]


def lint_source(source: str, own: str = "") -> list[Finding]:
    """What is wrong with one file of a module, by line. A file that does not parse is one finding.

    ``own`` is the module's own package, whose files may import each other.
    """
    try:
        tree = ast.parse(source, feature_version=OLDEST_PYTHON)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [Finding(getattr(error, "lineno", None) or 0, "does not parse")]
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    findings = [finding for node in ast.walk(tree) for finding in _check(node, own)]
    findings += _recursion(tree)
    findings += _unguarded_case(tree)
    findings += _late_imports(tree)
    findings += _exceptions(tree)
    findings += _shared_state(tree, parents, own)
    findings += [Finding(line, text, "M106") for line, text in set_findings(tree)]
    return sorted(set(findings))


def may_import(name: str, own: str = "") -> bool:
    """Whether module code may import the module of that dotted name."""
    packages = (*PACKAGES_ALLOWED, own) if own else PACKAGES_ALLOWED
    return name in IMPORTS_ALLOWED or any(name == package or name.startswith(package + ".") for package in packages)


def _check(node: ast.AST, own: str) -> Iterator[Finding]:
    line = getattr(node, "lineno", 0)
    match node:
        case ast.Import() | ast.ImportFrom():
            yield from _imports(node, own)
        case ast.Constant(value=float() | complex()):
            yield Finding(line, "a float", "M102")
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield Finding(line, "true division", "M103")
        case ast.BinOp(op=ast.Pow(), right=right) if not _is_natural(right):
            yield Finding(line, "a power whose exponent is no constant natural number", "M104")
        case ast.AugAssign(op=ast.Pow()):
            yield Finding(line, "a power in place", "M104")
        case ast.AugAssign(
            target=ast.Attribute() | ast.Subscript(), op=ast.Mult() | ast.LShift() | ast.Mod() | ast.BitOr()
        ):
            yield Finding(line, "an operation in place on a part of something", "M204")
        case ast.While():
            yield Finding(line, "while", "M201")
        case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            yield Finding(line, "asynchronous code", "M404")
        case ast.Global() | ast.Nonlocal():
            yield Finding(line, "global or nonlocal", "M301")
        case ast.ExceptHandler(type=caught):
            if caught is None or any(name in ("Exception", "BaseException") for name in _names(caught)):
                yield Finding(line, "catches everything", "M401")
        case ast.TryStar():
            yield Finding(line, "except* catches groups", "M401")
        case ast.Try(finalbody=[_, *_] as final):
            for statement in final:
                for inside in ast.walk(statement):
                    if isinstance(inside, ast.Return | ast.Break | ast.Continue | ast.Raise):
                        yield Finding(inside.lineno, "leaves finally early", "M402")
        case ast.With():
            yield Finding(line, "with", "M402")
        case ast.Attribute(attr=attribute) if attribute.startswith("_"):
            yield Finding(line, f"private attribute {attribute}", "M109")
        case ast.Attribute(value=ast.Name(id=module), attr=attribute) if IMPORTS_ALLOWED.get(module) is not None:
            if attribute not in (IMPORTS_ALLOWED[module] or ()):
                yield Finding(line, f"{module}.{attribute}", "M101")
        case ast.MatchClass(kwd_attrs=names) if any(name.startswith("_") for name in names):
            yield Finding(line, "a pattern on a private attribute", "M109")
        case ast.Name(id=name, ctx=ast.Load()):
            if name in _FORBIDDEN_NAMES:
                yield Finding(line, name, _FORBIDDEN_NAMES[name])
            elif name.startswith("__") and name != "__name__":
                yield Finding(line, name, "M109")
        case ast.Name(id=name, ctx=ast.Store()) if name.startswith("__") and name not in _CLASS_NAMES:
            yield Finding(line, f"special name {name}", "M405")
        case ast.FunctionDef(name=name) if name.startswith("__"):
            yield Finding(line, f"special method {name}", "M405")
        case ast.ClassDef(bases=bases) if any(isinstance(base, ast.Name) and base.id in _NO_BASES for base in bases):
            yield Finding(line, "a subclass of a built-in collection", "M405")
        case ast.ClassDef(keywords=keywords) if any(keyword.arg == "metaclass" for keyword in keywords):
            yield Finding(line, "a metaclass", "M405")
        case ast.Call(func=ast.Name(id="type"), args=[_, _, *_]):
            yield Finding(line, "makes a class at run time", "M108")
        case ast.Call(func=ast.Name(id="Meta") | ast.Attribute(attr="Meta"), keywords=keywords):
            for keyword in keywords:
                if keyword.arg == "pattern":
                    yield from _spelled(line, keyword.value, is_ascii=False)
        case ast.Call(func=ast.Attribute(attr=name)):
            yield from _method_call(node, name)
        case ast.FormattedValue(format_spec=ast.JoinedStr(values=parts)):
            if not all(isinstance(part, ast.Constant) and _is_plain_format(str(part.value)) for part in parts):
                yield Finding(line, "a format with a computed or large width", "M204")


def _imports(node: ast.Import | ast.ImportFrom, own: str) -> Iterator[Finding]:
    line = node.lineno
    if isinstance(node, ast.Import):
        for alias in node.names:
            if not may_import(alias.name, own):
                yield Finding(line, f"imports {alias.name}", "M101")
            elif "." in alias.name:
                yield Finding(line, f"imports {alias.name} as a whole", "M108")
            elif alias.asname is not None:
                yield Finding(line, f"imports {alias.name} under another name", "M108")
        return
    module = node.module or ""
    if node.level:
        return  # its own package, whose files are all looked at
    if not may_import(module, own):
        yield Finding(line, f"imports {module}", "M101")
        return
    allowed = IMPORTS_ALLOWED.get(module)
    for alias in node.names:
        if (alias.asname or "").startswith("__"):
            yield Finding(line, f"special name {alias.asname}", "M405")
        if alias.name == "*":
            yield Finding(line, f"imports everything of {module}", "M108")
        elif alias.name.startswith("_") and not f"{module}.".startswith(f"{own}."):
            yield Finding(line, f"imports {module}.{alias.name}", "M109")
        elif (allowed is not None and alias.name not in allowed) or alias.name in _NOT_REEXPORTED:
            yield Finding(line, f"imports {module}.{alias.name}", "M101")


def _method_call(node: ast.Call, name: str) -> Iterator[Finding]:
    assert isinstance(node.func, ast.Attribute)
    owner = node.func.value
    if isinstance(owner, ast.Name) and owner.id == "re":
        if name == "compile":
            yield from _pattern(node)
    elif name in _UNICODE_METHODS:
        yield Finding(node.lineno, f".{name}()", "M107")
    elif name in _GROWING_METHODS:
        yield Finding(node.lineno, f".{name}()", "M204")


def _pattern(node: ast.Call) -> Iterator[Finding]:
    flags = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
    named = {part.attr for flag in flags for part in ast.walk(flag) if isinstance(part, ast.Attribute)}
    pattern = node.args[0] if node.args else None
    yield from _spelled(node.lineno, pattern, is_ascii="ASCII" in named)


def _spelled(line: int, node: ast.expr | None, is_ascii: bool) -> Iterator[Finding]:
    match node:
        case ast.Constant(value=str(pattern)):
            slow = slow_pattern(pattern)
            if slow is not None:
                yield Finding(line, f"the pattern {pattern!r}: {slow}", "M203")
            if not is_ascii and _UNICODE_CLASS.search(pattern):
                yield Finding(line, f"the pattern {pattern!r} has classes of Unicode", "M107")
        case ast.Constant(value=bytes(pattern)):
            slow = slow_pattern(pattern.decode("latin-1"))
            if slow is not None:
                yield Finding(line, f"the pattern {pattern!r}: {slow}", "M203")
        case _:
            yield Finding(line, "a pattern that is not spelled out here", "M203")


def _names(node: ast.expr) -> list[str]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return [part.id for part in parts if isinstance(part, ast.Name)]


def _is_natural(node: ast.expr) -> bool:
    """A constant, or a currency's number of decimal places."""
    match node:
        case ast.Constant(value=int(number)):
            return number >= 0
        case ast.Subscript(value=ast.Name(id="CURRENCIES")):
            return True
    return False


def _is_plain_format(spec: str) -> bool:
    """Whether no number in a format has more than three digits."""
    return not any(spec[at : at + 4].isdecimal() and len(spec[at : at + 4]) == 4 for at in range(len(spec)))


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef | ast.Lambda]:
    """Every function by name; a lambda has the name it is assigned to."""
    found: dict[str, ast.FunctionDef | ast.Lambda] = {}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name):
                found[name] = node
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as function):
                found[name] = function
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Lambda() as function):
                found[name] = function
    return found


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
            findings.append(Finding(functions[name].lineno, f"{name} calls itself, directly or through others", "M202"))
    return findings


def _called(function: ast.AST) -> set[str]:
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
        Finding(node.lineno, f".{node.func.attr}() without an isascii check", "M107")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _CASE_METHODS
        and node not in guarded
    ]


def _exceptions(tree: ast.Module) -> Iterator[Finding]:
    """``Exception`` for anything but raising and deriving, and the text of an exception that was caught."""
    allowed: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=raised)) | ast.Raise(exc=ast.Name() as raised):
                allowed.add(raised)
            case ast.ClassDef(bases=bases):
                allowed.update(bases)
            case ast.ExceptHandler(name=str(name), body=body):
                for inside in (part for statement in body for part in ast.walk(statement)):
                    match inside:
                        case ast.Attribute(value=ast.Name(id=owner), attr="args") if owner == name:
                            yield Finding(inside.lineno, f"the text of {name}", "M105")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "Exception" and node not in allowed:
            yield Finding(node.lineno, "Exception as a value", "M401")


def _late_imports(tree: ast.Module) -> list[Finding]:
    """Imports inside functions: what they find may have changed since the node started."""
    return [
        Finding(node.lineno, "imports inside a function", "M108")
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def _shared_state(tree: ast.Module, parents: Mapping[ast.AST, ast.AST], own: str) -> Iterator[Finding]:
    """What functions change that is not theirs: names of the file, attributes of others, default values."""
    shared = _file_names(tree) | _imported_names(tree)
    foreign = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and own and _is_foreign(node.module or "", own)
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(args=arguments) | ast.Lambda(args=arguments):
                for default in (*arguments.defaults, *arguments.kw_defaults):
                    if default is not None and _is_mutable(default):
                        yield Finding(default.lineno, "a default value that can be changed", "M301")
            case ast.Attribute(ctx=ast.Store() | ast.Del(), value=value):
                if not (isinstance(value, ast.Name) and value.id == "self"):
                    yield Finding(node.lineno, f"sets the attribute {node.attr}", "M302")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="ctx"), attr="put" | "delete"), args=[argument, *_]):
                called = argument.func if isinstance(argument, ast.Call) else argument
                if isinstance(called, ast.Name) and called.id in foreign:
                    yield Finding(node.lineno, f"writes {called.id}, which another module owns", "M303")
            case (
                ast.Subscript(ctx=ast.Store() | ast.Del(), value=changed)
                | ast.Call(func=ast.Attribute(value=changed, attr=_))
            ):
                if isinstance(node, ast.Call) and node.func.attr not in _CHANGING_METHODS:  # type: ignore[attr-defined]
                    continue
                name = _root(changed)
                if name in shared - _local_names(node, parents) and _is_in_function(node, parents):
                    yield Finding(node.lineno, f"changes {name}, which the file holds", "M301")


def _root(node: ast.expr) -> str:
    """The name that a chain of attributes and parts begins with; empty for anything else."""
    current = node
    for _ in range(_CHAIN_MAX):
        match current:
            case ast.Name(id=name):
                return name
            case ast.Attribute(value=below) | ast.Subscript(value=below):
                current = below
            case _:
                return ""
    return ""


def _is_foreign(module: str, own: str) -> bool:
    return module.startswith("dawan_node.modules.") and not f"{module}.".startswith(f"{own}.")


def _file_names(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


def _imported_names(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _is_in_function(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    return any(isinstance(above, ast.FunctionDef | ast.Lambda) for above in _above(node, parents))


def _local_names(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> set[str]:
    """The names that the functions around ``node`` bind themselves."""
    found: set[str] = set()
    for above in _above(node, parents):
        if isinstance(above, ast.FunctionDef | ast.Lambda):
            found |= {argument.arg for argument in ast.walk(above) if isinstance(argument, ast.arg)}
            found |= {
                name.id for name in ast.walk(above) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
    return found


def _above(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    """What ``node`` stands in, from the inside out; a tree is as deep as it has nodes at most."""
    current = parents.get(node)
    for _ in range(len(parents)):
        if current is None:
            return
        yield current
        current = parents.get(current)


def _is_mutable(node: ast.expr) -> bool:
    match node:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _MUTABLE
    return False
