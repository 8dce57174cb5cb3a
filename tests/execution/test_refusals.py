"""Reasons read from code: all that a command may be refused with, by whatever way the text gets to ``fail``."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping

import pytest

from dawan_node.execution.module import DeclarationError, Module
from dawan_node.execution.refusals import Source
from dawan_node.execution.registry import BUILTIN, installed_versions, load_module
from dawan_node.node.module_refusals import export_refusals_of, refusals_of
from dawan_node.testing import refusal_watch
from dawan_node.testing.module_kit import ModuleKit

HEAD = """
from __future__ import annotations
from dawan_node.execution.module import ANY_ROLE, Args, Context, Module, ShortText
"""
ERRORS = "errors={name: name for name in ('E_A', 'E_B', 'E_C', 'E_D', 'E_UNUSED')}"


def reasons(
    monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], name: str = "shop", *, of: str = "shop"
) -> dict[str, list[str]]:
    """Command -> reasons of the module ``name`` (``name.py`` holds ``module``), a foreign one as ``module:E_X``."""
    loaded: dict[str, types.ModuleType] = {}
    for file, text in files.items():
        made = types.ModuleType(file)
        monkeypatch.setitem(sys.modules, file, made)
        exec(compile(HEAD + text, file, "exec"), made.__dict__)  # noqa: S102 - the test's own text
        loaded[file] = made
    source = Source({f"{file}.py": HEAD + text for file, text in files.items()})
    modules: dict[str, Module] = {
        found.name: found for each in loaded.values() if isinstance(found := getattr(each, "module", None), Module)
    }
    told = source.refusals(modules[of], modules)
    return {
        command: [reason if owner == of else f"{owner}:{reason}" for owner, reason in found]
        for command, found in told.items()
    }


def shop(body: str, *, before: str = "", more: str = "", field: str = "") -> str:
    """A module with one command ``buy``."""
    return f"""
{before}
module = Module("shop", version=1, entities=(), {ERRORS}, {more})
class Buy(Args):
    what: ShortText
    {field}
@module.command("buy", args=Buy, roles=ANY_ROLE)
def buy(ctx: Context, args: Buy) -> None:
    \"\"\"Buy. E_UNUSED is no reason of it, whatever this text says: 'E_UNUSED'.\"\"\"
{body}
"""


HELPERS = """
from enum import Enum
from types import MappingProxyType
class Flaw(Enum):
    OLD = "E_A"
    NEW = "E_B"
class Judge:
    def verdict(self, ctx):
        ctx.fail("E_C")
    @property
    def reason(self):
        return "E_D"
class Shelf:
    untouched: str = "x"
    module: str
    @property
    def what(self):
        return self.untouched
class Red: pass
class Blue(Args):
    shade: int
class Green: pass
KINDS = MappingProxyType({Red: "E_A", Blue: "E_B", Green: "E_C"})
def missing(ctx, kind):
    ctx.fail(KINDS[kind])
def asked(ctx, kind):
    ctx.fail(KINDS.get(kind, "E_D"))
def any_of_them(ctx):
    for kind, reason in KINDS.items():
        ctx.fail(reason)
TABLE = {"old": "E_A", "new": "E_B"}
def require(ctx, condition, reason="E_C"):
    ctx.require(condition, reason)
def untouched(ctx):
    ctx.fail("E_UNUSED")
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    ctx.fail('E_A')", ["E_A"]),
        ("    ctx.require(bool(args.what), 'E_A' if args.what else 'E_B')", ["E_A", "E_B"]),
        ("    helpers.require(ctx, False)", ["E_C"]),
        ("    helpers.require(ctx, False, 'E_B')", ["E_B", "E_C"]),
        ("    require(ctx, False, reason='E_D')", ["E_C", "E_D"]),
        ("    ctx.fail(helpers.TABLE[args.what])", ["E_A", "E_B"]),
        ("    ctx.fail(helpers.Flaw(args.what).value)", ["E_A", "E_B"]),
        ("    made().verdict(ctx)", ["E_C"]),
        ("    ctx.fail(made().reason)", ["E_D"]),
        ("    for check in (require,):\n        check(ctx, False)", ["E_C"]),
        ("    def inner():\n        ctx.fail('E_B')\n    inner()", ["E_B"]),
        ("    [ctx.fail(each) for each in ('E_A',)]", ["E_A"]),
        ("    untouched = args.what\n    ctx.require(untouched == '', 'E_A')", ["E_A"]),
        ("    [untouched for untouched in args.what]\n    untouched(ctx)", ["E_UNUSED"]),
        ("    ctx.require(args.what != module.name, 'E_A')", ["E_A"]),
        ("    ctx.fail(sorted(module.errors)[0])", ["E_A", "E_B", "E_C", "E_D", "E_UNUSED"]),
        ("    ctx.fail(helpers.Shelf().what)", []),
        ("    helpers.missing(ctx, helpers.Red)  # or what the arguments hold", ["E_A", "E_B"]),
        ("    helpers.asked(ctx, type(args.colour))", ["E_B", "E_D"]),
        ("    helpers.any_of_them(ctx)", ["E_A", "E_B", "E_C"]),
        ("    ctx.fail(helpers.KINDS[args.what])", ["E_A", "E_B", "E_C"]),
        ("    ctx.emit(args)", []),
    ],
)
def test_every_way_of_a_reason_to_fail_is_found_and_nothing_that_is_not_mentioned(
    monkeypatch: pytest.MonkeyPatch, body: str, expected: list[str]
) -> None:
    before = "import helpers\nfrom helpers import require, untouched, Blue, Judge as made"
    found = reasons(monkeypatch, {"helpers": HELPERS, "shop": shop(body, before=before, field="colour: Blue")})
    assert found == {"buy": expected}


BANK = """
module = Module("bank", version=1, entities=(), errors={"E_A": "a", "E_POOR": "p", "E_OTHER": "o", "E_GIVEN": "g"})
@module.export("pay")
def pay(ctx, sum):
    _check(ctx)
def _check(ctx):
    ctx.fail("E_POOR")
@module.export("lend")
def lend(ctx, reason):
    ctx.fail(reason)
@module.export("other")
def other(ctx):
    ctx.fail("E_OTHER")
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    ctx.call('bank', 'pay', 5)\n    ctx.fail('E_A')", ["E_A", "bank:E_POOR"]),
        ("    call = ('pay', 5)\n    ctx.call('bank', *call)", ["bank:E_POOR"]),
        ("    ctx.call('bank', 'lend', 'E_GIVEN')", ["bank:E_GIVEN"]),
        ("    ctx.call('nobody', 'pay')", []),
    ],
)
def test_a_call_leads_to_the_reasons_of_the_module_that_is_called(
    monkeypatch: pytest.MonkeyPatch, body: str, expected: list[str]
) -> None:
    assert reasons(monkeypatch, {"bank": BANK, "shop": shop(body, more="uses=('bank',)")}) == {"buy": expected}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("    ctx.fail(f'E_{args.what}')", "written out"),
        ("    ctx.call(args.what, 'pay')", "names the module it calls"),
    ],
)
def test_code_that_cannot_be_read_gives_no_list_instead_of_a_wrong_one(
    monkeypatch: pytest.MonkeyPatch, body: str, told: str
) -> None:
    with pytest.raises(DeclarationError, match=told):
        reasons(monkeypatch, {"shop": shop(body)})


def test_code_that_is_not_there_gives_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeclarationError, match="is not in the code of kernel"):
        Source({}).refusals(load_module("kernel", 1), {"kernel": load_module("kernel", 1)})
    with pytest.raises(DeclarationError, match="cannot be read"):
        Source({"shop.py": "def ("})


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_reason_a_module_declares_is_one_that_something_of_it_gives(name: str) -> None:
    module = installed_versions(name)[-1]
    tables = [*refusals_of(module).values(), *export_refusals_of(module).values()]
    given = {reason for table in tables for owner, reason, _ in table if owner == name}
    assert module.errors.keys() - given == set()


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_the_tables_have_the_sentences_of_the_modules_they_name(name: str) -> None:
    module = installed_versions(name)[-1]
    tables = refusals_of(module)
    assert tables.keys() == module.commands.keys()
    for table in tables.values():
        assert len(dict.fromkeys(table)) == len(table)
        for owner, reason, sentence in table:
            assert load_module(owner, 1).errors[reason] == sentence
            assert owner == name or owner in _reach(module)


def _reach(module: Module) -> set[str]:
    found: set[str] = set()
    left = [*module.uses, *module.may_use]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [*load_module(name, 1).uses, *load_module(name, 1).may_use]
    return found


def test_a_kit_fails_at_a_refusal_that_no_page_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    vote = ("gz-admin", "vote", {"proposal": "nothing", "approve": True})
    refused = ModuleKit([load_module("governance", 1)], {}).run(*vote)
    assert refused.reason in refusal_watch.told("governance", 1)["vote"]
    fewer = {"vote": refusal_watch.told("governance", 1)["vote"] - {refused.reason}}
    monkeypatch.setattr(refusal_watch, "told", lambda module, version: fewer)
    with pytest.raises(AssertionError, match=f"governance.vote was refused with {refused.reason}"):
        ModuleKit([load_module("governance", 1)], {}).run(*vote)
