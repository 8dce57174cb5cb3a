"""Commands as lines of text, played on a channel in memory that runs a module as its files are now.

    person anna gz clerk
    anna register_item {"number": "A-1", "quantity": 5}
    ben transfer_item {"number": "A-1", "receiver": "hk"}
    after 2 days
    ? items {"owner": "gz"}

``person NAME ORG ROLE...`` says who is enrolled; without such a line there are ``anna`` of gz and ``ben`` of hk with
every role the module's commands ask for. A command is a person, the command (``other_module.command`` for another
module) and its arguments in the JSON of ``tx_prepare``; ``?`` asks a query; ``after`` lets block time go on. What
stands behind ``#`` is for people. Each command is a block of its own, and after it every invariant is checked.

One process plays one state of the code: ``module dev`` makes a process for each (``module_dev``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from dawan_node.errors import DawanError
from dawan_node.execution.loading import load_guarded
from dawan_node.execution.module import DeclarationError, Module
from dawan_node.execution.registry import installed_names, installed_versions
from dawan_node.node.module_package import at
from dawan_node.rpc import values
from dawan_node.rpc.schemas import ModuleSchemas
from dawan_node.rpc.values import BadValue
from dawan_node.testing.module_kit import ModuleKit, People

#: The first line of what came of a line that cannot be played.
MISTAKE: Final = "not understood"
#: Who is there when nobody is named.
_ANYBODY: Final = (("anna", "gz"), ("ben", "hk"))
_UNITS_MS: Final = {"ms": 1, "seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}
#: Records of the final state that are told; a session is typed by hand, so more is a mistake or a test of size.
_RECORDS_MAX: Final = 10_000


class Step(msgspec.Struct, frozen=True):
    """A line and what came of it, each a line for people."""

    line: str
    came: list[str]


class Played(msgspec.Struct, frozen=True):
    """``trouble``: why nothing was played. ``state``: record (``item 4a5b..``) -> its fields as JSON, of the project's
    own modules."""

    steps: list[Step] = []
    state: dict[str, str] = {}
    trouble: str = ""


class _Mistake(ValueError):
    """A line that cannot be played; the text says why and what would do."""


def play(project: Path, lines: Sequence[str]) -> Played:
    """Load the project's modules and play ``lines`` on a new channel. Call it once in a process.

    What a module does wrong, and what a line gets wrong, is told in its step; the lines behind a violated invariant are
    not played.
    """
    try:
        modules = _load(project)
        people = _people(lines, modules)
        kit = ModuleKit([*modules, *_used(modules)], people)
    except (DawanError, DeclarationError, _Mistake) as error:
        return Played(trouble=str(error))
    session = _Session(kit, people)
    steps: list[Step] = []
    for line in lines:
        if session.is_over:
            steps.append(Step(line, ["not played"]))
            continue
        try:
            came = session.play(line)
        except _Mistake as mistake:
            came = [MISTAKE, f"  {mistake}"]
        steps.append(Step(line, came))
    return Played(steps, session.state({module.name for module in modules}))


class _Session:
    """One channel and what its modules say about their types."""

    def __init__(self, kit: ModuleKit, people: People) -> None:
        self._kit: Final = kit
        self._people: Final = people
        self._schemas: Final = ModuleSchemas(lambda module: kit.executor.describe(module) or {})
        #: An invariant is violated: what comes now would say nothing about the rules.
        self.is_over = False

    def play(self, line: str) -> list[str]:
        """What comes of one line. Raises _Mistake."""
        words = line.split(None, 2)
        if not words or words[0] == "person" or words[0].startswith("#"):
            return []
        if words[0] == "?":
            return self._ask(words[1:])
        if words[0] == "after":
            return self._wait(words[1:])
        return self._send(words)

    def state(self, modules: set[str]) -> dict[str, str]:
        """Every record of these modules now."""
        found: dict[str, str] = {}
        for (module, collection, key), value in sorted(self._kit.state.values.items()):
            entity = self._kit.executor.registry.decode_entity(module, collection, value) if module in modules else None
            if entity is None:
                continue
            if len(found) == _RECORDS_MAX:
                found["..."] = f"and more than {_RECORDS_MAX} records are not compared"
                break
            fields = {name: getattr(entity, name) for name in msgspec.structs.asdict(entity)}
            shown = values.to_json(fields, *self._schemas(module, "entities", collection))
            found[f"{module}.{collection} {key.hex()[:16]}"] = _json(shown)
        return found

    def _send(self, words: Sequence[str]) -> list[str]:
        person, command, args = (*words, "", "")[:3]
        if person not in self._people and not person.endswith("-admin"):
            known = ", ".join(sorted(self._people))
            raise _Mistake(f"nobody here is called {person} (there are {known}); add the line: person {person} gz ROLE")
        module, _, name = command.rpartition(".")
        module = module or self._kit.default_module
        ledger_args = self._typed(module, "commands", name, args)
        try:
            receipt = self._kit.run(person, name, ledger_args, module=module)
        except AssertionError as violation:
            self.is_over = True
            return [f"! {violation}"]
        if receipt.code:
            meaning = self._kit.executor.registry.modules[module].errors.get(receipt.reason, "")
            said = f": {meaning}" if meaning else ""
            faults = [f"  {fault.error}" for fault in self._kit.blocks[-1].faults]
            return [f"refused, code {receipt.code} {receipt.reason}{said}", *faults]
        events = [
            f"{event} {_json(values.to_json(data, *self._schemas(module, 'events', event)))}"
            for event, data in receipt.events
        ]
        return ["done", *events]

    def _ask(self, words: Sequence[str]) -> list[str]:
        if not words:
            raise _Mistake('a question is ? QUERY {"parameter": value}')
        module, _, name = words[0].rpartition(".")
        module = module or self._kit.default_module
        params = self._typed(module, "queries", name, " ".join(words[1:]))
        items, cursor = self._kit.query(name, params, module=module)
        typed = self._schemas(module, "items", name)
        shown = [_json(values.to_json(item, *typed)) for item in items]
        return [*(shown or ["nothing"]), *(["and more"] if cursor is not None else [])]

    def _wait(self, rest: Sequence[str]) -> list[str]:
        words = " ".join(rest).partition("#")[0].split()
        if len(words) != 2 or not words[0].isascii() or not words[0].isdigit() or words[1] not in _UNITS_MS:
            raise _Mistake(f"time goes on with: after NUMBER {'|'.join(_UNITS_MS)}")
        self._kit.pass_time(int(words[0]) * _UNITS_MS[words[1]])
        return []

    def _typed(self, module: str, section: str, name: str, text: str) -> Any:
        """Arguments as the ledger has them. Raises _Mistake."""
        schema, root = self._schemas(module, section, name)
        if schema is None:
            described = self._schemas.document(module) or {}
            known = ", ".join(described.get(section, ())) or f"none; there is no module {module} here"
            raise _Mistake(f"{module} has no {'command' if section == 'commands' else 'query'} {name}: {known}")
        given: Any = {}
        rest = text
        if text and not text.startswith("#"):
            try:
                given, end = json.JSONDecoder().raw_decode(text)
            except (ValueError, RecursionError) as error:
                raise _Mistake(f"the arguments are no JSON: {error}") from None
            rest = text[end:].strip()
        if rest and not rest.startswith("#"):
            raise _Mistake(f"behind the arguments stands {rest[:40]!r}; remarks begin with #")
        try:
            return values.from_json(given, schema, "args", root)
        except BadValue as error:
            raise _Mistake(str(error)) from None


def _load(project: Path) -> list[Module]:
    """The project's modules, in their newest version, guarded as on a node. Raises DeclarationError, ConfigError."""
    package = at(project)
    if not package.entry_points:
        raise DeclarationError(f"{project} is no project: it has no pyproject.toml with an entry point")
    sys.path.insert(0, str(package.root))
    found: list[Module] = []
    for target in package.entry_points.values():
        loaded = load_guarded(target)
        found.append(loaded[max(loaded)] if isinstance(loaded, dict) else loaded)
    return found


def _used(modules: Sequence[Module]) -> list[Module]:
    """What they use, and what they use where it is there; governance comes by itself."""
    here, own = frozenset(installed_names()), {module.name for module in modules}
    found: dict[str, Module] = {}
    left = [name for module in modules for name in sorted(module.uses | module.may_use)]
    while left:
        name = left.pop()
        if name in found or name in own or name not in here:
            continue
        found[name] = installed_versions(name)[-1]
        left += sorted(found[name].uses)
    return list(found.values())


def _people(lines: Sequence[str], modules: Sequence[Module]) -> People:
    named: dict[str, tuple[str, Sequence[str]]] = {}
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["person"]:
            if len(words) < 3:
                raise _Mistake(f"{line!r} is not of the form: person NAME ORG ROLE...")
            named[words[1]] = (words[2], words[3:])
    if named:
        return named
    roles = sorted({role for module in modules for command in module.commands.values() for role in command.roles})
    return {name: (org, roles) for name, org in _ANYBODY}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
