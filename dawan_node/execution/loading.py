"""Loads the code of modules that are not part of this package: looked at, rewritten, and with little to hold on to.

Every file of such a module, and nothing else, is imported by ``GuardedLoader``: ``lint`` must find nothing in it,
``instrument`` rewrites it, and it finds ``guard.builtins`` in place of Python's own names, so that an import that lint
could not see is refused when it happens. What a file does while it is imported is counted like a transaction. The
rewritten code is never written to ``__pycache__`` and never read from there: only the source counts.

``code_hash`` is over exactly these sources; a genesis may pin it (formats A.3).
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import CodeType, ModuleType
from typing import Any, Final

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.execution import guard
from dawan_node.execution.entity import DeclarationError
from dawan_node.execution.held_state import held_state
from dawan_node.execution.instrument import instrument
from dawan_node.execution.layers import Abort
from dawan_node.execution.lint import IMPORTS_ALLOWED, OLDEST_PYTHON, Finding, lint_source, may_import
from dawan_node.execution.meter import Metered, limited
from dawan_node.execution.module import Module
from dawan_node.primitives.encoding import encode

#: Work of one file while it is imported: enough to make a table of some ten thousand rows.
IMPORT_WORK_MAX: Final = 500_000

#: The package whose modules are reviewed and tested with the node and run as they are.
OWN_PACKAGE: Final = __name__.partition(".")[0]

CODE_TAG: Final = b"dawan:module-code:v1"


class ModuleRefused(DeclarationError):
    """The code of a module is not loaded; says which file and line, why, and what to do instead."""


class GuardedLoader(importlib.machinery.SourceFileLoader):
    """Imports one file of a guarded package."""

    def __init__(self, fullname: str, path: str, own: str, is_linted: bool = True) -> None:
        """``own``: the package that is loaded. ``is_linted`` is false only in tests of what happens behind lint."""
        super().__init__(fullname, path)
        self._own: Final = own
        self._is_linted: Final = is_linted

    def get_code(self, fullname: str) -> CodeType:
        """The rewritten code, from source. Raises ModuleRefused."""
        path = self.get_filename(fullname)
        source = importlib.util.decode_source(self.get_data(path))
        if self._is_linted:
            findings = lint_source(source, self._own)
            if findings:
                raise ModuleRefused(refusal(path, findings))
        code: CodeType = self.source_to_code(instrument(_parsed(source, path)), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run the file with its own builtins and a budget. Raises ModuleRefused."""
        vars(module)["__builtins__"] = guard.builtins(vars(builtins), self._import)
        try:
            limited(IMPORT_WORK_MAX, lambda: super(GuardedLoader, self).exec_module(module))
        except Abort as error:
            raise ModuleRefused(f"{self.path} does not end its import: {type(error).__name__} {error}") from None

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` of guarded code. Raises ImportError for what module code may not have."""
        if level == 0 and not may_import(name, self._own):
            raise ImportError(f"a channel module may not import {name}")
        names = IMPORTS_ALLOWED.get(name) if level == 0 else None
        if names is not None and name != "__future__":
            for part in fromlist or ():
                if part not in names:
                    raise ImportError(f"a channel module may not import {name}.{part}")
            return _facade(name, names)
        if level == 0 and "." in name and not fromlist:
            raise ImportError(f"a channel module imports names from {name}, not all of it")
        found = importlib.__import__(name, globals, locals, fromlist or (), level)
        for part in fromlist or ():
            inner = getattr(found, part, None)
            if isinstance(inner, ModuleType) and not f"{inner.__name__}.".startswith(f"{self._own}."):
                raise ImportError(f"a channel module may not import {inner.__name__}")
        return found


def _facade(name: str, names: frozenset[str]) -> ModuleType:
    """A module with those names and nothing else of the real one: not what that imported for itself."""
    real = importlib.import_module(name)
    shown = ModuleType(name)
    for each in sorted(names):
        found = getattr(real, each)
        below = IMPORTS_ALLOWED.get(f"{name}.{each}")
        vars(shown)[each] = found if below is None else _facade(f"{name}.{each}", below)
    return shown


class _Finder(importlib.abc.MetaPathFinder):
    """Sends the files of guarded packages to their loader."""

    def __init__(self) -> None:
        self.packages: dict[str, bool] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        own = fullname.partition(".")[0]
        if own not in self.packages:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return None
        if not isinstance(spec.loader, importlib.machinery.SourceFileLoader) or spec.origin is None:
            raise ModuleRefused(
                f"{fullname} is not a Python source file: {spec.origin or 'a folder without __init__.py'}"
            )
        guarded = GuardedLoader(fullname, spec.origin, own, self.packages[own])
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=guarded, submodule_search_locations=spec.submodule_search_locations
        )


_finder: Final = _Finder()


def guard_package(name: str, *, is_linted: bool = True) -> None:
    """From now on the files of the top-level package ``name`` are guarded when they are imported.

    Raises ModuleRefused when it was imported before, or is the node's own.
    """
    if name == OWN_PACKAGE:
        raise ModuleRefused(f"{name} is the node itself")
    known = sys.modules.get(name)
    if known is not None and not isinstance(getattr(known, "__loader__", None), GuardedLoader):
        raise ModuleRefused(f"{name} was imported before it could be guarded")
    _finder.packages[name] = is_linted
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def load_guarded(target: str) -> Any:
    """What an entry point ``package.file:attribute`` of another package names, its modules counted.

    Raises ModuleRefused.
    """
    place, _, attribute = target.partition(":")
    guard_package(place.partition(".")[0])
    try:
        found: Any = importlib.import_module(place)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleRefused:
        raise
    except (Abort, Exception, SystemExit) as error:  # noqa: BLE001 - whatever foreign code does while it is imported
        raise ModuleRefused(f"{target} cannot be loaded: {type(error).__name__}: {error}") from None
    for module in found.values() if isinstance(found, dict) else (found,):
        if not isinstance(module, Module):
            raise ModuleRefused(f"{target} is {type(module).__name__}, not a Module or a dict of them by version")
        counted(module)
    package = place.partition(".")[0]
    for name in sorted(sys.modules):
        if name == package or name.startswith(package + "."):
            where = held_state(vars(sys.modules[name]), package)
            if where:
                raise ModuleRefused(
                    f"{name} holds {where}, which can change: state outside the channel is lost at a restart and "
                    "differs between nodes; use a tuple or MappingProxyType, a frozen class, or put an entity"
                )
    return found


def counted(module: Module) -> Module:
    """``module`` with a count that begins at every way into its code, if that code is guarded; any other as it is."""
    for name, command in module.commands.items():
        if _is_guarded(command.function):
            module.commands[name] = replace(command, function=Metered(command.function))
    for name, query in module.queries.items():
        if _is_guarded(query.function):
            module.queries[name] = replace(query, function=Metered(query.function))
    return module


def _is_guarded(function: object) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in _finder.packages


def code_hash(sources: Mapping[str, bytes]) -> bytes:
    """What pins the code of a module: over every file of its package, by path below it with ``/``."""
    return tagged_hash(CODE_TAG, encode([[path, source] for path, source in sorted(sources.items())]))


def refusal(path: str, findings: Sequence[Finding]) -> str:
    """The first finding in one line, and how many there are."""
    first = findings[0]
    more = f" ({len(findings)} findings; dawan-node module lint shows them)" if len(findings) > 1 else ""
    file = path.rpartition("/")[2]
    return f"{file}:{first.line}: {first.code} {first.text}: {first.rule.why}; {first.rule.instead}{more}"


def _parsed(source: str, path: str) -> ast.Module:
    try:
        return ast.parse(source, path, feature_version=OLDEST_PYTHON)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ModuleRefused(f"{path} does not parse: {error}") from None
