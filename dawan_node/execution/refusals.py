"""With which reasons each command can be refused, read from the source of modules.

A module refuses by ``ctx.fail(reason)`` and ``ctx.require(condition, reason)``, and the reason is a text that stands
somewhere in its code. From a command this follows every name that its function mentions, and the names that those
mention, and collects the reasons that stand there; ``ctx.call`` leads on to what another module exports, and to that
module's reasons. What is not on the list cannot come, because a text that no mentioned code holds cannot be given to
``fail``; what is on it stands in code that the command may run, though some condition may rule it out there.

So it is an upper bound, and it rests on what ``lint`` guarantees of modules: no ``getattr``, no ``eval``, no special
methods that run unseen. Where it does not understand something it takes everything: an attribute may be any method of
that name, a function's name that is not written out in ``ctx.call`` any export whose name stands in what was read. Of a
table by type (``{Invoice: "E_UNKNOWN_INVOICE", ...}``) that is only looked up in, those entries count whose type is
mentioned too, in code or as the type of a field of what is: no other object can be the key.
Texts that are put together of parts are out of its reach, and refused (``DeclarationError``) where they begin like a
reason. The module kit checks every refusal of every test against it (``testing.refusal_watch``).

Decorators and annotations do not run when a command does, and what the module object declares is given to nobody but by
its ``errors``, so the error table is not read where code only mentions the module.
Pure: text in, names out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dawan_node.execution.meter import Metered
from dawan_node.execution.module import DeclarationError, Module

_REASON: Final = re.compile(r"E_[A-Z0-9_]{1,62}")
_PREFIX: Final = "E_"
#: What has names of its own.
_SCOPES: Final = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp,
)  # fmt: skip

#: Command -> (module whose reason it is, reason), its own module's first, then by name of module; each in the order of
#: that module's error table.
Refusals = Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Facts:
    """What a definition mentions."""

    names: set[str] = field(default_factory=set)
    attributes: set[tuple[str, str]] = field(default_factory=set)  # (name before the dot or empty, name behind it)
    looked_up: set[str] = field(default_factory=set)  # of the names those that are only subscripted or asked by ``get``
    texts: set[str] = field(default_factory=set)
    entries: list[tuple[str, _Facts]] = field(
        default_factory=list
    )  # of a table by type: name of the type, what it gives
    calls: list[_Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Call:
    """A ``ctx.call``: the module, the export (empty where it is not written out), and the texts handed over."""

    module: str
    function: str
    handed: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """A definition: file, name, and for a method its class."""

    file: str
    name: str
    owner: str = ""


class _File:
    """The definitions of one file and where its other names come from."""

    def __init__(self, name: str, tree: ast.Module, is_package: bool) -> None:
        self.name: Final = name
        self.facts: Final[dict[tuple[str, str], _Facts]] = {}  # (owner, name)
        self.imports: Final[dict[str, tuple[str, str]]] = {}  # alias -> (module, name or empty for the module itself)
        self._package: Final = name if is_package else name.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for each in node.names:
                    top = each.name.partition(".")[0]
                    self.imports[each.asname or top] = (each.name if each.asname else top, "")
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(node)
                for each in node.names:
                    self.imports[each.asname or each.name] = (source, each.name)
        for statement in tree.body:
            self._define(statement)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        base = self._package.split(".")
        kept = ".".join(base[: len(base) - node.level + 1])
        return f"{kept}.{node.module}" if node.module else kept

    def _define(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            self.facts[("", statement.name)] = _facts_of_function(self.name, statement)
        elif isinstance(statement, ast.ClassDef):
            body: list[ast.AST] = [*statement.bases, *(keyword.value for keyword in statement.keywords)]
            for each in statement.body:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    self.facts[(statement.name, each.name)] = _facts_of_function(self.name, each)
                elif not isinstance(each, ast.Assign | ast.AnnAssign):
                    body.append(each)
                else:  # not the field's own name
                    body += [part for part in (each.value, getattr(each, "annotation", None)) if part is not None]
            self.facts[("", statement.name)] = _facts_of(self.name, body)
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            value = statement.value
            # The module object: its texts are sentences and declarations. Who reads its ``errors`` may give any.
            is_module = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Module"
            facts = _Facts() if value is None or is_module else _facts_of_value(self.name, value)
            for target in targets:
                for node in ast.walk(target):
                    if isinstance(node, ast.Name):
                        self.facts[("", node.id)] = facts
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
            for child in ast.iter_child_nodes(statement):
                if isinstance(child, ast.stmt):
                    self._define(child)


def _facts_of_function(file: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> _Facts:
    """What runs of a function when it is called, its defaults included. A local name is never the file's."""
    given = function.args
    defaults = [each for each in (*given.defaults, *given.kw_defaults) if each is not None]
    facts = _facts_of(file, function.body)
    parameters = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
    local = {each.arg for each in parameters if each is not None} | _assigned(function.body)
    facts.names -= local
    facts.looked_up -= local
    facts.attributes = {("" if name in local else name, attribute) for name, attribute in facts.attributes}
    outside = _facts_of(file, defaults)
    facts.names |= outside.names
    facts.looked_up -= outside.names
    facts.attributes |= outside.attributes
    facts.texts |= outside.texts
    return facts


def _assigned(body: Sequence[ast.AST]) -> set[str]:
    """Names that these statements assign in their own scope, not in functions and comprehensions inside."""
    found: set[str] = set()
    left = list(body)
    while left:
        node = left.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if not isinstance(node, _SCOPES):
            left += ast.iter_child_nodes(node)
    return found


def _facts_of_value(file: str, value: ast.expr) -> _Facts:
    """What a name of a file stands for; a table by type is kept apart by entry."""
    table = value.args[0] if isinstance(value, ast.Call) and len(value.args) == 1 and not value.keywords else value
    if not isinstance(table, ast.Dict) or not all(isinstance(key, ast.Name) for key in table.keys):
        return _facts_of(file, [value])
    keys = [key.id for key in table.keys if isinstance(key, ast.Name)]
    return _Facts(entries=[(key, _facts_of(file, [given])) for key, given in zip(keys, table.values, strict=True)])


def _facts_of(file: str, nodes: Iterable[ast.AST]) -> _Facts:
    facts = _Facts()
    plain: set[str] = set()
    looked_up: set[int] = set()  # places of names in the file
    for top in nodes:
        for node in ast.walk(top):
            match node:
                case ast.Subscript(value=ast.Name() as table, ctx=ast.Load()):
                    looked_up.add(table.lineno << 16 | table.col_offset)
                case ast.Call(func=ast.Attribute(value=ast.Name() as table, attr="get")):
                    looked_up.add(table.lineno << 16 | table.col_offset)
                case ast.Name(id=name):
                    facts.names.add(name)
                    if node.lineno << 16 | node.col_offset not in looked_up:
                        plain.add(name)
                case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                    facts.attributes.add((name, attribute))
                case ast.Attribute(attr=attribute):
                    facts.attributes.add(("", attribute))
                case ast.Constant(value=str() as text):
                    facts.texts.add(text)
                case ast.JoinedStr(values=[ast.Constant(value=str() as text), *_]) if text.startswith(_PREFIX):
                    raise DeclarationError(f"{file}, line {node.lineno}: a reason is written out, not put together")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call":
                facts.calls.append(_called(file, node))
    facts.looked_up = facts.names - plain
    return facts


def _called(file: str, node: ast.Call) -> _Call:
    """A ``ctx.call``. Raises DeclarationError."""
    inside = (each for argument in (*node.args, *node.keywords) for each in ast.walk(argument))
    handed = frozenset(
        [each.value for each in inside if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    )
    match node.args:
        case [ast.Constant(value=str() as module), ast.Constant(value=str() as function), *_]:
            return _Call(module, function, handed)
        case [ast.Constant(value=str() as module), *_]:
            return _Call(module, "", handed)
        case _:
            raise DeclarationError(f"{file}, line {node.lineno}: ctx.call names the module it calls")


class Source:
    """The code of some modules, and of what they import of each other, by dotted name of the file."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """``files``: path as Python finds it (``package/file.py``) and text. Raises DeclarationError."""
        self._files: Final[dict[str, _File]] = {}
        self._methods: Final[dict[str, list[_Place]]] = {}
        for path, content in files.items():
            if not path.endswith(".py"):
                continue
            name = path.removesuffix(".py").replace("/", ".")
            is_package = name.endswith(".__init__")
            name = name.removesuffix(".__init__")
            try:
                tree = ast.parse(content)
            except (SyntaxError, ValueError, RecursionError) as error:
                raise DeclarationError(f"{path} cannot be read: {error}") from None
            file = self._files[name] = _File(name, tree, is_package)
            for owner, method in file.facts:
                if owner:
                    self._methods.setdefault(method, []).append(_Place(name, method, owner))

    def refusals(self, module: Module, modules: Mapping[str, Module]) -> Refusals:
        """The reasons of every command of ``module``; ``modules`` are those it may call, itself among them.

        Raises DeclarationError when a command's function is not in what was read.
        """
        return {
            name: self._reasons(module, modules, command.function, command.args)
            for name, command in module.commands.items()
        }

    def export_refusals(self, module: Module, modules: Mapping[str, Module]) -> Refusals:
        """The same of every function that ``module`` exports."""
        return {name: self._reasons(module, modules, function) for name, function in module.exports.items()}

    def _reasons(
        self, module: Module, modules: Mapping[str, Module], function: Callable[..., Any], *types: type[Any]
    ) -> tuple[tuple[str, str], ...]:
        inner = function.function if isinstance(function, Metered) else function
        start = _Place(inner.__module__, inner.__qualname__)
        if self.facts(start) is None:
            raise DeclarationError(f"{start.file}.{start.name} is not in the code of {module.name}")
        walk = _Walk(self, modules)
        for place in (start, *[_Place(each.__module__, each.__qualname__) for each in types]):
            walk.enter(module.name, place)
        walk.finish()
        found = walk.reasons
        order = [module.name, *sorted(found.keys() - {module.name})]
        return tuple(
            (name, reason) for name in order for reason in modules[name].errors if reason in found.get(name, ())
        )

    def facts(self, place: _Place) -> _Facts | None:
        """What a definition mentions; None where there is none of that name."""
        file = self._files.get(place.file)
        return None if file is None else file.facts.get((place.owner, place.name))

    def defined(self, file: str, name: str) -> _Place | str | None:
        """What a name means in a file: a definition, the dotted name of a file, or None for what is not read."""
        for _ in range(_IMPORTS_MAX):
            found = self._files.get(file)
            if found is None:
                return None
            if ("", name) in found.facts:
                return _Place(file, name)
            if name not in found.imports:
                return None
            source, original = found.imports[name]
            if not original:
                return source if source in self._files else None
            holder = self._files.get(source)
            whole = f"{source}.{original}"
            if whole in self._files and (holder is None or ("", original) not in holder.facts):
                return whole
            file, name = source, original
        return None

    def methods(self, name: str) -> list[_Place]:
        """Every method of that name."""
        return self._methods.get(name, [])

    def special_methods(self, place: _Place) -> list[_Place]:
        """The special methods of a class, which run without being mentioned."""
        file = self._files[place.file]
        return [
            _Place(place.file, name, owner) for owner, name in file.facts if owner == place.name and name[:2] == "__"
        ]


#: Files that hand a name on to each other; three in a row are the most there are, and a circle ends here.
_IMPORTS_MAX: Final = 16


class _Walk:
    """From one command through all that it may run. Places are kept apart by whose context is at work there."""

    def __init__(self, source: Source, modules: Mapping[str, Module]) -> None:
        self._source: Final = source
        self._modules: Final = modules
        self._seen: set[tuple[str, _Place]] = set()
        self._left: list[tuple[str, _Place]] = []
        self._texts: dict[str, set[str]] = {}  # by module at work
        self._tables: list[tuple[str, str, str, _Facts]] = []  # (module at work, file, type, what it gives)
        self._whole: set[tuple[str, _Place]] = set()  # tables by type that are not only looked up in
        self._unnamed: set[tuple[str, str]] = set()  # (module at work, module it calls by a name not written out)
        self.reasons: dict[str, set[str]] = {}

    def enter(self, module: str, place: _Place) -> None:
        """This may run, in that module's context."""
        if (module, place) not in self._seen:
            self._seen.add((module, place))
            self._left.append((module, place))

    def finish(self) -> None:
        """Follow everything."""
        while self._left:
            while self._left:
                self._visit(*self._left.pop())
            live = {place for _, place in self._seen}
            for table in self._tables[:]:
                module, file, name, facts = table
                key = self._source.defined(file, name)
                if not isinstance(key, _Place) or key in live:
                    self._tables.remove(table)
                    self._take(module, file, facts)
            for module, callee in self._unnamed:
                for name in self._modules[callee].exports.keys() & self._texts.get(module, set()):
                    self._enter_export(callee, name)

    def _visit(self, module: str, place: _Place) -> None:
        facts = self._source.facts(place)
        if facts is not None:
            self._take(module, place.file, facts)
            self._tables += [(module, place.file, name, given) for name, given in facts.entries]

    def _take(self, module: str, file: str, facts: _Facts) -> None:
        """All that code mentions which runs in a module's context."""
        self._texts.setdefault(module, set()).update(facts.texts)
        errors = self._modules[module].errors
        found = {text for text in facts.texts if _REASON.fullmatch(text) is not None and text in errors}
        if any(attribute == "errors" for _, attribute in facts.attributes):
            found = set(errors)
        if found:
            self.reasons.setdefault(module, set()).update(found)
        for name in facts.names:
            self._mention(module, self._source.defined(file, name), whole=name not in facts.looked_up)
        for base, attribute in facts.attributes:
            of = self._source.defined(file, base) if base else None
            if isinstance(of, str):
                self._mention(module, self._source.defined(of, attribute))
                continue
            for method in self._source.methods(attribute):
                self.enter(module, method)
        for call in facts.calls:
            callee = self._modules.get(call.module)
            if callee is None:
                continue  # not installed: no channel here runs it
            # A reason that is handed over is the callee's to give.
            handed = call.handed & callee.errors.keys()
            if handed:
                self.reasons.setdefault(callee.name, set()).update(handed)
            if call.function:
                self._enter_export(callee.name, call.function)
            else:
                self._unnamed.add((module, callee.name))

    def _mention(self, module: str, found: _Place | str | None, whole: bool = True) -> None:
        if isinstance(found, _Place):
            self.enter(module, found)
            facts = self._source.facts(found)
            if whole and facts is not None and (module, found) not in self._whole:
                self._whole.add((module, found))
                for _, given in facts.entries:
                    self._take(module, found.file, given)
            for method in self._source.special_methods(found):
                self.enter(module, method)

    def _enter_export(self, module: str, name: str) -> None:
        function = self._modules[module].exports.get(name)
        if function is not None:
            self.enter(module, _Place(function.__module__, function.__qualname__))
