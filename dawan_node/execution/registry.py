"""Which modules a channel runs: found by entry point, loaded once, indexed for the executor.

Modules of this package run as they are; those of other packages are guarded (``loading``).
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from dawan_node.errors import InvalidTransaction
from dawan_node.execution.channel import GOVERNANCE
from dawan_node.execution.entity import Entity
from dawan_node.execution.loading import OWN_PACKAGE, load_guarded
from dawan_node.execution.module import Command, DeclarationError, Module
from dawan_node.execution.text import first_unassigned
from dawan_node.primitives.codes import Code

ENTRY_POINT_GROUP: Final = "dawan_node.modules"

#: Modules of this package, where no installed distribution says so (a source tree, a test).
BUILTIN: Final = MappingProxyType(
    {
        "governance": "dawan_node.modules.governance:module",
        "kernel": "dawan_node.modules.kernel:module",
        "lc": "dawan_node.modules.lc:module",
        "light_client": "dawan_node.modules.light_client:module",
        "logistics": "dawan_node.modules.logistics:module",
        "receivable": "dawan_node.modules.receivable:versions",
        "refdata": "dawan_node.modules.refdata:module",
        "title": "dawan_node.modules.title:module",
    }
)


class UnknownModule(DeclarationError):
    """A channel asks for a module or version that is not installed here."""


class Registry:
    """The modules of one channel. Immutable; ``governance`` is always one of them."""

    def __init__(self, modules: Iterable[Module]) -> None:
        """Raises DeclarationError when governance or a used module is missing."""
        self.modules: Final = MappingProxyType({module.name: module for module in modules})
        if GOVERNANCE not in self.modules:
            raise DeclarationError("every channel runs the module governance")
        for module in self.modules.values():
            missing = sorted(module.uses - self.modules.keys())
            if missing:
                raise DeclarationError(f"{module.name} uses {missing[0]}, which this channel does not run")
        self._commands: Final = {
            (module.name, command.name): (module, command)
            for module in self.modules.values()
            for command in module.commands.values()
        }

    @classmethod
    def load(cls, entries: Sequence[tuple[str, int]]) -> Registry:
        """The registry of a channel whose genesis lists ``entries`` (name, version). Raises UnknownModule."""
        return cls([load_module(name, version) for name, version in entries])

    def module(self, name: str) -> Module | None:
        """The module of that name."""
        return self.modules.get(name)

    def command(self, module: str, command: str) -> tuple[Module, Command] | None:
        """The command and its module."""
        return self._commands.get((module, command))

    def decode_entity(self, module: str, collection: str, value: bytes) -> Entity | None:
        """The typed entity of a stored value; None when this version of the module declares no such record."""
        found = self.modules.get(module)
        kind = found.entities.get(collection) if found is not None else None
        if kind is None:
            return None
        try:
            entity: Entity = kind.spec.decode(value)
        except msgspec.MsgspecError:
            return None
        return entity

    def check_command(self, module: str, command: str, args: dict[str, Any]) -> None:
        """What admission can say of a command without state. Raises InvalidTransaction 1008 or 1009 with the path."""
        found = self._commands.get((module, command))
        if found is None:
            raise InvalidTransaction(
                Code.E_UNKNOWN_COMMAND, "E_UNKNOWN_COMMAND", f"{module}.{command} is not a command of this channel"
            )
        path = first_unassigned(args)
        if path is not None:
            raise InvalidTransaction(
                Code.E_SCHEMA, "E_SCHEMA", "a string holds a code point that Unicode 14.0 does not assign", path
            )
        try:
            convert_args(args, found[1].args)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            raise InvalidTransaction(
                Code.E_SCHEMA, "E_SCHEMA", message, where.removesuffix("`").removeprefix(".")
            ) from None


def convert_args(args: dict[str, Any], kind: type[Any]) -> Any:
    """Typed arguments of a decoded map. Strict: no bool for an int, no text for bytes, no unknown field.

    Raises msgspec.ValidationError.
    """
    return msgspec.convert(args, kind, strict=True, builtin_types=(bytes,))


def load_module(name: str, version: int) -> Module:
    """Find an installed module by entry point, which names a Module or, of several versions, a dict by version.

    Raises UnknownModule.
    """
    versions = _load_versions(name)
    module = versions.get(version)
    if module is None:
        known = ", ".join(str(number) for number in sorted(versions))
        raise UnknownModule(f"module {name} is installed in version {known}, not {version}")
    if (module.name, module.version) != (name, version):
        raise DeclarationError(f"the entry point {name} names {module!r}")
    return module


def installed_modules() -> tuple[Module, ...]:
    """Every module that is installed here, in its newest version, by name."""
    return tuple(versions[max(versions)] for versions in map(_load_versions, installed_names()))


def installed_names() -> list[str]:
    """The names of every installed module, in order."""
    return sorted({point.name for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)} | BUILTIN.keys())


def installed_versions(name: str) -> tuple[Module, ...]:
    """Every version of an installed module, in order. Raises DeclarationError."""
    return tuple(module for _, module in sorted(_load_versions(name).items()))


def _load_versions(name: str) -> Mapping[int, Module]:
    target = entry_point_of(name)
    if target is None:
        raise UnknownModule(f"no module {name} is installed")
    if target.partition(":")[0].partition(".")[0] != OWN_PACKAGE:
        loaded = load_guarded(target)
    else:
        package, _, attribute = target.partition(":")
        loaded = getattr(importlib.import_module(package), attribute)
    return {loaded.version: loaded} if isinstance(loaded, Module) else loaded


def entry_point_of(name: str) -> str | None:
    """``package.file:attribute`` of an installed module; a built-in one cannot be replaced by another package's.

    Raises UnknownModule when several packages bring a module of that name: which one runs would be chance.
    """
    if name in BUILTIN:
        return BUILTIN[name]
    targets = {point.value for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if len(targets) > 1:
        raise UnknownModule(f"several installed packages bring a module {name}: {', '.join(sorted(targets))}")
    return next(iter(targets), None)
