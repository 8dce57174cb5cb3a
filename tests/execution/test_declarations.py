"""What a module may declare, how it is described, found and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dawan_node.errors import InvalidTransaction
from dawan_node.execution.describe import describe_module
from dawan_node.execution.entity import encode_entity
from dawan_node.execution.lint import lint_source
from dawan_node.execution.module import Args, DeclarationError, Entity, Event, Module, Money, key_of
from dawan_node.execution.registry import Registry, UnknownModule, load_module
from dawan_node.primitives.encoding import decode_value
from tests.execution.toy import MODULES, Account, bank

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "dawan_node" / "modules").rglob("*.py"))


def declare(**fields: Any) -> type[Entity]:
    namespace = {"__annotations__": fields, "__module__": __name__, "primary_key": lambda self: b"k"}
    return type(Entity)("Thing", (Entity,), namespace, collection="thing", schema=1)


class Open(msgspec.Struct):
    a: int


# -- entities ------------------------------------------------------------------------------------------------------


def test_an_entity_is_stored_as_its_schema_version_and_fields():
    account = Account("anna", "1", Money("CNY", 5), 7)
    assert decode_value(encode_entity(account), 1_000) == [1, "anna", "1", ["CNY", 5], 7]
    assert Account.spec.decode(encode_entity(account)) == account
    assert account.primary_key() == key_of("anna", "1")


@pytest.mark.parametrize("kind", [float, int | None, set[int], dict[str, int], list[int], Any, Open, tuple[float, ...]])
def test_types_without_canonical_encoding_or_mutable_ones_are_refused_when_declared(kind):
    with pytest.raises(DeclarationError):
        Module("m", version=1, entities=(declare(field=kind),))


def test_arguments_may_hold_lists_and_maps_but_no_floats():
    class Fine(Args):
        lines: list[Money]
        names: dict[str, str]

    class Broken(Args):
        rate: float

    module = Module("m", version=1, entities=())
    module.command("fine", args=Fine, roles=())(lambda ctx, args: None)
    with pytest.raises(DeclarationError):
        module.command("broken", args=Broken, roles=())
    with pytest.raises(DeclarationError):
        module.command("fine", args=Fine, roles=())(lambda ctx, args: None)


def test_names_errors_and_owners_are_checked():
    class lowercase(Event):  # noqa: N801
        a: int

    for broken in (
        lambda: Module("Upper", version=1, entities=()),
        lambda: Module("m", version=0, entities=()),
        lambda: Module("m", version=1, entities=(), errors={"BAD": ""}),
        lambda: Module("m", version=1, entities=(), events=(lowercase,)),
        lambda: Module("other", version=1, entities=(Account,)),
        lambda: Module("m", version=1, entities=(declare(a=int), declare(a=str))),
    ):
        with pytest.raises(DeclarationError):
            broken()


# -- registry ------------------------------------------------------------------------------------------------------


def test_a_registry_has_governance_and_everything_its_modules_use():
    governance = load_module("governance", 1)
    with pytest.raises(DeclarationError):
        Registry([bank])
    with pytest.raises(DeclarationError):
        Registry([governance, MODULES[1]])
    assert set(Registry([governance, *MODULES]).modules) == {"governance", "bank", "poison"}
    assert Registry.load([("governance", 1)]).module("governance") is governance


@pytest.mark.parametrize(("name", "version"), [("governance", 2), ("no_such_module", 1)])
def test_a_module_that_is_not_installed_is_named(name, version):
    with pytest.raises(UnknownModule, match=name):
        load_module(name, version)


@pytest.mark.parametrize(
    ("command", "args", "code", "path"),
    [
        ("none", {}, 1008, ""),
        ("deposit", {"number": "1", "amount": ["CNY", "5"]}, 1009, "amount[1]"),
        ("deposit", {"amount": ["CNY", 5]}, 1009, ""),
        ("deposit", {"number": "\u0378", "amount": ["CNY", 5]}, 1009, "number"),
    ],
)
def test_admission_names_the_first_wrong_argument(command, args, code, path):
    registry = Registry([load_module("governance", 1), *MODULES])
    with pytest.raises(InvalidTransaction) as caught:
        registry.check_command("bank", command, args)
    assert (caught.value.code, caught.value.path) == (code, path)
    registry.check_command("bank", "deposit", {"number": "1", "amount": ["CNY", 5]})


def test_a_stored_value_is_shown_by_field_names_where_its_module_knows_it():
    registry = Registry([load_module("governance", 1), *MODULES])
    account = Account("anna", "1", Money("CNY", 5), 7)
    assert registry.decode_entity("bank", "account", encode_entity(account)) == account
    assert registry.decode_entity("bank", "account", b"\x92\x02\xa1x") is None
    assert registry.decode_entity("bank", "nothing", b"") is None


# -- descriptions --------------------------------------------------------------------------------------------------


def test_a_description_types_commands_queries_entities_and_events():
    document = describe_module(bank)
    definitions = document["$defs"]

    def schema(reference):
        return definitions[reference["$ref"].rsplit("/", 1)[1]]

    deposit = schema(document["commands"]["deposit"]["args"])
    assert document["commands"]["deposit"]["roles"] == ["customer"]
    assert document["commands"]["deposit"]["summary"].startswith("Put money into an account")
    assert (deposit["required"], deposit["additionalProperties"]) == (["number", "amount"], False)
    assert definitions["Money"]["format"] == "money"
    account = schema(document["entities"]["account"]["value"])
    assert (account["type"], list(account["properties"])) == ("object", ["owner", "number", "balance", "changed_ms"])
    assert document["entities"]["account"]["indexes"] == ["by_currency", "by_owner"]
    assert schema(document["queries"]["accounts"]["items"]) == account
    assert schema(document["events"]["Deposited"]["data"])["properties"].keys() == {"number", "balance", "note"}
    assert document["errors"]["E_AMOUNT"]
    msgspec.json.encode(document)


# -- lint ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_shipped_modules_pass_the_lint(path):
    assert lint_source(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import os.path",
        "from random import choice",
        "from datetime import datetime",
        "import dawan_node.storage.kv",
        "from dawan_node.execution.executor import Executor",
        "x = 0.5",
        "x = 1 / 2",
        "x = y\nx /= 2",
        "x = 2 ** n",
        "while True: pass",
        "hash(x)",
        "id(x)",
        "open('f')",
        "getattr(x, name)",
        "x._private",
        "for a in {1, 2}: pass",
        "for a in set(x) | y: pass",
        "[a for a in frozenset(x)]",
        "list({1, 2})",
        "tuple(set(x) - y)",
        "x.casefold()",
        "x.isdigit()",
        "x.upper()",
        "def f(): global a",
        "async def f(): pass",
        "try: pass\nexcept Exception: pass",
        "try: pass\nexcept: pass",
        "def f(): f()",
        "def f(): g()\ndef g(): h()\ndef h(): f()",
        "def f(:",
    ],
)
def test_what_could_differ_between_nodes_is_found(line):
    assert lint_source(line) != []


def test_honest_code_is_left_alone():
    source = """
from __future__ import annotations
from typing import Final
from dawan_node.execution.module import Args, Context, key_of
LIMIT: Final = 10**15
def g(x): return sorted(set(x))
def f(ctx, args):
    total = sum([part.minor for part in args.parts])
    for name in sorted({"a", "b"}):
        ctx.require(name in {"a", "b"} and len(set(args.names)) == 2, "E_X")
    if args.text.isascii():
        args.text.upper()
    return total // 2, g(args.names)
"""
    assert lint_source(source) == []
