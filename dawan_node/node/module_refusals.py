"""The reasons with which each command of an installed module can be refused, with their sentences, for its page.

``execution.refusals`` reads them; here is where the code comes from: the module's own package, the node's modules and
the formats they use, and the packages of the modules it calls.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import dawan_node
from dawan_node.execution.module import DeclarationError, Module
from dawan_node.execution.refusals import Source
from dawan_node.execution.registry import BUILTIN, installed_names, installed_versions
from dawan_node.node.module_package import installed

#: Command -> (module whose reason it is, reason, its sentence).
Told = Mapping[str, tuple[tuple[str, str, str], ...]]


def refusals_of(module: Module) -> Told:
    """Of every command. Raises DeclarationError when the code cannot be read, ConfigError when it is not there."""
    return _told(module, False)


def export_refusals_of(module: Module) -> Told:
    """Of every function that other modules call."""
    return _told(module, True)


@cache
def _told(module: Module, exports: bool) -> Told:
    modules = _reach(module)
    foreign = tuple(sorted(name for name in modules if name not in BUILTIN))
    source = _source(foreign)
    found = source.export_refusals(module, modules) if exports else source.refusals(module, modules)
    return {
        command: tuple([(name, reason, modules[name].errors[reason]) for name, reason in reasons])
        for command, reasons in found.items()
    }


def _reach(module: Module) -> dict[str, Module]:
    """The module and every installed one that its calls may lead to, each in its newest version."""
    here = frozenset(installed_names())
    found, left = {module.name: module}, sorted(module.uses | module.may_use)
    while left:
        name = left.pop()
        if name in found or name not in here:
            continue
        found[name] = max(installed_versions(name), key=lambda each: each.version)
        left += sorted(found[name].uses | found[name].may_use)
    return found


@cache
def _source(foreign: tuple[str, ...]) -> Source:
    """The node's own modules and formats, and the packages of these modules. Read once: a process runs one state of
    them."""
    root = Path(dawan_node.__file__).resolve().parent
    files: dict[str, str] = {}
    for part in ("modules", "primitives"):
        for path in sorted((root / part).rglob("*.py")):
            files[path.relative_to(root.parent).as_posix()] = path.read_text(encoding="utf-8")
    for name in foreign:
        package = installed(name)
        prefix = "" if package.place.is_file() else f"{package.own}/"
        for name_below, content in package.sources().items():
            try:
                files[prefix + name_below] = importlib.util.decode_source(content)
            except (UnicodeDecodeError, SyntaxError):
                raise DeclarationError(f"{prefix}{name_below} is not text") from None
    return Source(files)
